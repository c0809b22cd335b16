//! Which cloud a text or a name belongs to.

use super::super::Cloud;

/// The clouds that a heading or remark names.
pub(super) fn clouds_in(text: &str) -> Vec<Cloud> {
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let mut clouds = Vec::new();
    if says(&["azure global", "global azure", "azure public", "public cloud", "azure commercial"]) {
        clouds.push(Cloud::Public);
    }
    if says(&["21vianet", "azure china", "china cloud", "mooncake"]) || lower.trim() == "china" {
        clouds.push(Cloud::China);
    }
    if says(&["us gov", "u.s. gov", "usgov", "azure gov", "fairfax"]) {
        clouds.push(Cloud::UsGov);
    }
    clouds
}

/// The one cloud that a name exists in, told by the publisher's own domains.
pub(super) fn cloud_of(name: &str) -> Option<Cloud> {
    let below = |domains: &[&str]| {
        domains.iter().any(|domain| {
            let left = name.strip_suffix(domain);
            left.is_some_and(|left| left.is_empty() || left.ends_with('.'))
        })
    };
    if name.ends_with(".cn") {
        Some(Cloud::China)
    } else if below(&US_GOV) {
        Some(Cloud::UsGov)
    } else if below(&PUBLIC) {
        Some(Cloud::Public)
    } else {
        None
    }
}

/// A heading's words without those for clouds, to find the sections that differ in cloud only.
pub(super) fn without_clouds(heading: &str) -> Vec<String> {
    let words = heading.to_lowercase();
    let words = words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.filter(|word| !CLOUD_WORDS.contains(word)).map(str::to_owned).collect()
}

const US_GOV: [&str; 5] =
    ["azure.us", "microsoftonline.us", "usgovcloudapi.net", "azurecr.us", "microsoft.us"];

const PUBLIC: [&str; 9] = [
    "azure.com",
    "azure.net",
    "azurecr.io",
    "azureml.ms",
    "azureml.net",
    "azmk8s.io",
    "azurewebsites.net",
    "microsoftonline.com",
    "windows.net",
];

const CLOUD_WORDS: [&str; 16] = [
    "microsoft",
    "azure",
    "operated",
    "by",
    "21vianet",
    "china",
    "us",
    "government",
    "gov",
    "global",
    "public",
    "cloud",
    "clouds",
    "in",
    "for",
    "the",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_headings_tell_their_cloud() {
        assert_eq!(clouds_in("Microsoft Azure operated by 21Vianet rules"), [Cloud::China]);
        assert_eq!(clouds_in("(Azure Government)"), [Cloud::UsGov]);
        assert_eq!(clouds_in("Azure Global required rules"), [Cloud::Public]);
        assert!(clouds_in("Azure Monitor in global regions").is_empty());
        assert_eq!(cloud_of("*.azure.net"), Some(Cloud::Public));
        assert_eq!(cloud_of("notazure.net"), None);
        assert_eq!(cloud_of("x.azure.us"), Some(Cloud::UsGov));
        assert_eq!(cloud_of("login.chinacloudapi.cn"), Some(Cloud::China));
        assert_eq!(
            without_clouds("Azure US Government required FQDN / application rules"),
            without_clouds("Required FQDN / application rules")
        );
    }
}
