//! The publisher's service tags: named lists of address prefixes, in a JSON file that they renew
//! every week and that the user gives.

use std::collections::HashMap;

use ipnet::IpNet;
use serde::{Deserialize, de};

/// All tags of one `ServiceTags_*.json`.
#[derive(Clone, Debug)]
pub struct ServiceTags {
    cloud: String,
    change_number: u64,
    tags: Vec<ServiceTag>,
    by_name: HashMap<String, usize>,
}

/// One tag: a service, in one region or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTag {
    /// Name as published, such as `Storage.WestEurope`.
    pub name: String,
    /// Region's name, such as `westeurope`; empty for the tag of all regions.
    pub region: String,
    /// Service's name, such as `AzureStorage`; empty for tags that belong to none.
    pub service: String,
    /// Number of the tag's last change.
    pub change_number: u64,
    /// IPv4 and IPv6 prefixes in the file's order, host bits zero.
    pub prefixes: Vec<IpNet>,
}

/// Why a service tags file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceTagsError {
    /// Not JSON, or not of the expected shape. Says line and column.
    #[error("not a service tags file: {0}")]
    Json(#[from] serde_json::Error),
    /// An address prefix that is none.
    #[error("service tag `{tag}`: `{prefix}` is no address prefix")]
    Prefix {
        /// The tag's name.
        tag: String,
        /// The text in the file.
        prefix: String,
    },
    /// Two tags whose names differ in case at most.
    #[error("service tag `{0}` is there twice")]
    Twice(String),
}

impl ServiceTags {
    /// Reads the file's contents. Fields it doesn't know are skipped, as is a byte order mark.
    ///
    /// # Errors
    ///
    /// When the JSON is malformed or lacks something, a prefix is malformed, or a tag comes twice.
    pub fn from_json(json: &[u8]) -> Result<Self, ServiceTagsError> {
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let file: File = serde_json::from_slice(json)?;
        let mut tags = Vec::with_capacity(file.values.len());
        let mut by_name = HashMap::with_capacity(file.values.len());
        for value in file.values {
            let tag = value.into_tag()?;
            if by_name.insert(tag.name.to_ascii_lowercase(), tags.len()).is_some() {
                return Err(ServiceTagsError::Twice(tag.name));
            }
            tags.push(tag);
        }
        Ok(Self { cloud: file.cloud, change_number: file.change_number.0, tags, by_name })
    }

    /// The cloud that the file is for: `Public`, `AzureGovernment`, `China`.
    pub fn cloud(&self) -> &str {
        &self.cloud
    }

    /// The file's change number, which grows with each issue.
    pub fn change_number(&self) -> u64 {
        self.change_number
    }

    /// All tags in the file's order.
    pub fn tags(&self) -> &[ServiceTag] {
        &self.tags
    }

    /// The tag of that name, in any case: `AzureCloud.westeurope`.
    pub fn get(&self, name: &str) -> Option<&ServiceTag> {
        let place = self.by_name.get(&name.to_ascii_lowercase())?;
        self.tags.get(*place)
    }

    /// The prefixes of the tag of that name, in any case.
    pub fn prefixes(&self, name: &str) -> Option<&[IpNet]> {
        self.get(name).map(|tag| &*tag.prefixes)
    }

    /// The tag whose name is nearest to one that isn't there, if any is near enough to have been
    /// meant. Of equally near ones, the first in the alphabet.
    pub fn suggest(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        // A typing error in every fifth letter, as many as a name still resembles itself with.
        let most = name.chars().count().div_ceil(5).min(4);
        let near = self.by_name.iter().filter_map(|(candidate, &place)| {
            let distance = strsim::osa_distance(&name, candidate);
            (distance <= most).then_some((distance, candidate, place))
        });
        near.min().map(|(_, _, place)| &*self.tags[place].name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    change_number: Number,
    cloud: String,
    values: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    name: String,
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    change_number: Number,
    #[serde(default)]
    region: String,
    #[serde(default)]
    system_service: String,
    address_prefixes: Vec<String>,
}

impl Value {
    fn into_tag(self) -> Result<ServiceTag, ServiceTagsError> {
        let Self { name, properties } = self;
        let prefixes = properties.address_prefixes.into_iter().map(|text| {
            let prefix: Result<IpNet, _> = text.parse();
            prefix
                .map(|net| net.trunc())
                .map_err(|_| ServiceTagsError::Prefix { tag: name.clone(), prefix: text })
        });
        Ok(ServiceTag {
            prefixes: prefixes.collect::<Result<_, _>>()?,
            region: properties.region,
            service: properties.system_service,
            change_number: properties.change_number.0,
            name,
        })
    }
}

/// A number that some issues of the file have in quotes.
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Number;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, perhaps in quotes")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let number = text.trim().parse().map(Number);
                number.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{
  "changeNumber": "71",
  "cloud": "Public",
  "values": [
    {
      "name": "AzureCloud.westeurope",
      "id": "AzureCloud.westeurope",
      "properties": {
        "changeNumber": 12,
        "region": "westeurope",
        "regionId": 18,
        "platform": "Azure",
        "systemService": "",
        "addressPrefixes": ["192.0.2.0/25", "198.51.100.8/29", "2001:db8:4000::/40"],
        "networkFeatures": ["API", "NSG"]
      }
    },
    {
      "name": "Storage",
      "id": "Storage",
      "properties": {
        "changeNumber": "40",
        "region": "",
        "regionId": 0,
        "platform": "Azure",
        "systemService": "AzureStorage",
        "addressPrefixes": ["203.0.113.7/24"],
        "networkFeatures": null,
        "aNewField": {"x": [1]}
      }
    },
    {
      "name": "Storage.WestEurope",
      "id": "Storage.WestEurope",
      "properties": {"changeNumber": 3, "addressPrefixes": []}
    }
  ]
}"#;

    fn sample() -> ServiceTags {
        ServiceTags::from_json(SAMPLE.as_bytes()).unwrap()
    }

    #[test]
    fn reads_tags() {
        let tags = sample();
        assert_eq!((tags.cloud(), tags.change_number()), ("Public", 71));
        let nets = |name| {
            let prefixes = tags.prefixes(name)?;
            Some(prefixes.iter().map(IpNet::to_string).collect::<Vec<_>>())
        };
        let cloud = ["192.0.2.0/25", "198.51.100.8/29", "2001:db8:4000::/40"];
        assert_eq!(nets("azurecloud.WestEurope").unwrap(), cloud);
        assert_eq!(nets("STORAGE").unwrap(), ["203.0.113.0/24"]);
        assert_eq!(nets("storage.westeurope").unwrap().len(), 0);
        assert_eq!(nets("Sql"), None);
        let storage = tags.get("storage").unwrap();
        assert_eq!((&*storage.name, &*storage.region), ("Storage", ""));
        assert_eq!((&*storage.service, storage.change_number), ("AzureStorage", 40));
        assert_eq!(tags.tags().len(), 3);
    }

    #[test]
    fn skips_a_byte_order_mark() {
        let json = format!("\u{feff}{SAMPLE}");
        assert!(ServiceTags::from_json(json.as_bytes()).is_ok());
    }

    #[test]
    fn suggests_the_nearest() {
        let tags = sample();
        assert_eq!(tags.suggest("Storage.WestEurop"), Some("Storage.WestEurope"));
        assert_eq!(tags.suggest("azurecluod.westeurope"), Some("AzureCloud.westeurope"));
        assert_eq!(tags.suggest("Storge"), Some("Storage"));
        assert_eq!(tags.suggest("Sql"), None);
        assert_eq!(tags.suggest(""), None);
    }

    #[test]
    fn errors_say_where() {
        let error = |from, to| {
            let json = SAMPLE.replace(from, to);
            ServiceTags::from_json(json.as_bytes()).unwrap_err().to_string()
        };
        assert_eq!(
            error("203.0.113.7/24", "203.0.113.7/33"),
            "service tag `Storage`: `203.0.113.7/33` is no address prefix"
        );
        assert_eq!(error("Storage.WestEurope", "STORAGE"), "service tag `STORAGE` is there twice");
        let missing = error("addressPrefixes", "prefixes");
        assert!(missing.contains("addressPrefixes") && missing.contains("line "), "{missing}");
        assert!(error("\"71\"", "\"x\"").contains("line 2 column"));
        assert!(error("\"cloud\": \"Public\",", "\"cloud\": ").contains("line 4"));
        assert!(ServiceTags::from_json(b"\xff\xfe").is_err());
    }
}
