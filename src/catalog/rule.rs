//! A publisher's requirement as data.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::feature::{Condition, FeatureSet};

/// One requirement: who has to reach what, how, when, and which document says so.
///
/// Serialises to the object that `catalog show --format json` lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable and unique: `CATALOG/GROUP/NAME`.
    pub id: String,
    /// Name of the catalog that the rule is in.
    pub catalog: String,
    /// The part of the product that needs it, such as `aks-core`.
    pub service: String,
    /// The clouds it holds in; never empty.
    pub cloud: Vec<Cloud>,
    /// How strongly it is needed while [`when`](Self::when) holds.
    pub level: Level,
    /// The features that make it apply; always applies when absent.
    pub when: Option<Condition>,
    /// The choice that it is part of; absent for most rules.
    pub option: Option<ChoiceOption>,
    /// Where the traffic goes.
    pub scope: Scope,
    /// The role of the client; any client when absent.
    pub from: Option<String>,
    /// What has to be reached; never empty.
    pub destinations: Vec<Destination>,
    /// True when one of the destinations is enough, false when all are needed.
    pub alternatives: bool,
    /// Transport protocol.
    pub transport: Transport,
    /// Destination ports; none means that the document states none: any port.
    pub ports: Vec<PortRange>,
    /// The protocol on top.
    pub app: App,
    /// What it is for, in one sentence.
    #[serde(rename = "use")]
    pub purpose: String,
    /// Where the requirement is stated.
    pub source: Source,
}

impl Rule {
    /// True when the rule holds in this cloud with these features on.
    pub fn applies(&self, cloud: Cloud, features: FeatureSet) -> bool {
        self.cloud.contains(&cloud) && self.when.as_ref().is_none_or(|w| w.holds(features))
    }

    /// The parameters that its destinations mention, each once, in the order of [`Param::ALL`].
    pub fn params(&self) -> impl Iterator<Item = Param> {
        Param::ALL.iter().copied().filter(|p| {
            self.destinations
                .iter()
                .filter_map(Destination::text)
                .flat_map(placeholders)
                .any(|name| name == p.name())
        })
    }

    /// True when the rule's ports include `port`; a rule that states none takes any.
    pub fn takes_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|r| r.contains(port))
    }
}

/// A document's "either these rules or those": of the rules that name the same choice, all of one
/// option are enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceOption {
    /// What there is to choose, the same in all rules that belong together.
    pub choice: String,
    /// One way to choose.
    pub name: String,
}

/// A rule's document and the heading that people find it under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Name of the document.
    pub document: String,
    /// Headings from the outer to the inner one, joined by ` > `.
    pub section: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $text:literal)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it in files and reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// A cloud with its own names.
    Cloud {
        /// The global one.
        Public "public"
        /// Operated by 21Vianet.
        China "china"
        /// US Government.
        UsGov "usgov"
    }
}

words! {
    /// How strongly the document asks for it while the rule's condition holds.
    Level {
        /// Doesn't work without.
        Required "required"
        /// Works without, but worse.
        Recommended "recommended"
        /// The document says "may be needed" and names no condition that a profile could state.
        Conditional "conditional"
    }
}

words! {
    /// Transport protocol.
    Transport {
        /// TCP.
        Tcp "tcp"
        /// UDP.
        Udp "udp"
    }
}

words! {
    /// Protocol above the transport.
    App {
        /// HTTP over TLS.
        Https "https"
        /// HTTP in clear.
        Http "http"
        /// DNS.
        Dns "dns"
        /// Network time.
        Ntp "ntp"
        /// Anything else, or not stated.
        Other "other"
    }
}

words! {
    /// Where a rule's traffic goes. Only `egress` crosses the firewall.
    Scope {
        /// Out of the site.
        Egress "egress"
        /// Between hosts of the site.
        Internal "internal"
        /// Between pods and services of one cluster.
        InCluster "in-cluster"
        /// Destinations that must be left out of the proxy, not sent to it.
        ProxyBypass "proxy-bypass"
    }
}

words! {
    /// A placeholder in destinations, written `{name}`; the profile gives its values.
    Param {
        /// Region, lower-case and in one word.
        Region "region"
        /// The region's short code.
        RegionCode "region-code"
        /// Name of a container registry.
        Acr "acr"
        /// Name of a storage account.
        StorageAccount "storage-account"
        /// Id of a machine learning workspace.
        WorkspaceId "workspace-id"
        /// Public address of the API server.
        ApiServer "api-server"
        /// Address of one of the site's own DNS servers.
        CustomDns "custom-dns"
        /// Prefixes of the region.
        RegionCidrs "region-cidrs"
    }
}

impl Param {
    /// True when its values are addresses or CIDRs; else they are single labels of a name.
    pub const fn is_address(self) -> bool {
        matches!(self, Self::ApiServer | Self::CustomDns | Self::RegionCidrs)
    }

    /// The parameter of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.name() == name)
    }
}

/// What a rule lets its clients reach. Texts may hold `{param}` placeholders.
///
/// In a file: a name pattern as a string, `"*"`, or a table with one key. Serialises to an object
/// with that one key: `{"fqdn": ..}`, `{"service_tag": ..}`, `{"cidr": ..}`, `{"any": true}`,
/// `{"role": ..}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A host name pattern, in lower case: `x`, `*.x`, `.x`, or `*` inside a label.
    Fqdn(String),
    /// A name in the publisher's service tags file.
    ServiceTag(String),
    /// A prefix or address, or one placeholder that takes such values.
    Cidr(String),
    /// Anything.
    Any,
    /// Hosts or pods of that role, bound to CIDRs by the profile.
    Role(String),
}

impl Destination {
    /// Its text; `None` for [`Destination::Any`].
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Fqdn(t) | Self::ServiceTag(t) | Self::Cidr(t) | Self::Role(t) => Some(t),
            Self::Any => None,
        }
    }

    fn from_key(key: &str, text: &str) -> Option<Self> {
        Some(match key {
            "fqdn" => Self::Fqdn(text.into()),
            "service_tag" => Self::ServiceTag(text.into()),
            "cidr" => Self::Cidr(text.into()),
            "role" => Self::Role(text.into()),
            _ => return None,
        })
    }

    /// Checks the text for its kind. The error says what is wrong, not where.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Any => Ok(()),
            Self::Fqdn(t) => validate_fqdn_pattern(t),
            Self::ServiceTag(t) => validate_service_tag(t),
            Self::Cidr(t) => validate_cidr(t),
            Self::Role(t) if is_kebab(t) => Ok(()),
            Self::Role(t) => Err(format!("role `{t}` has to be lower-case words joined by `-`")),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fqdn(t) | Self::Cidr(t) => f.write_str(t),
            Self::ServiceTag(t) => write!(f, "tag {t}"),
            Self::Role(t) => write!(f, "role {t}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Fqdn(t) => map.serialize_entry("fqdn", t)?,
            Self::ServiceTag(t) => map.serialize_entry("service_tag", t)?,
            Self::Cidr(t) => map.serialize_entry("cidr", t)?,
            Self::Role(t) => map.serialize_entry("role", t)?,
            Self::Any => map.serialize_entry("any", &true)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Destination;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, `*`, or one of { service_tag = .. }, { cidr = .. }, { role = .. }, { fqdn = .. }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Destination, E> {
                Ok(match text {
                    "*" => Destination::Any,
                    name => Destination::Fqdn(name.into()),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Destination, A::Error> {
                let invalid = || {
                    de::Error::custom(
                        "a destination has exactly one of `service_tag`, `cidr`, `role`, `fqdn`",
                    )
                };
                let key: String = map.next_key()?.ok_or_else(invalid)?;
                let text: String = map.next_value()?;
                if map.next_key::<String>()?.is_some() {
                    return Err(invalid());
                }
                Destination::from_key(&key, &text).ok_or_else(invalid)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// One port or an inclusive range: `443` or `"8000-8001"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`, both included; `None` when empty or when it holds port 0.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// True when `port` is in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// True when all of `other` is in the range.
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = PortRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535 or a range such as \"8000-8001\"")
            }

            fn visit_i64<E: de::Error>(self, port: i64) -> Result<PortRange, E> {
                u16::try_from(port)
                    .ok()
                    .and_then(|p| PortRange::new(p, p))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(port), &self))
            }

            fn visit_u64<E: de::Error>(self, port: u64) -> Result<PortRange, E> {
                self.visit_i64(i64::try_from(port).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
                PortRange::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The names in `{..}` of a text, in order. A brace without its partner ends the list.
pub(super) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('{')?;
        let (name, tail) = after.split_once('}')?;
        rest = tail;
        Some(name)
    })
}

/// True for words of `a-z`, `0-9` joined by single `-`.
pub(super) fn is_kebab(text: &str) -> bool {
    text.split('-').all(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

/// Checks a name pattern's form, not whether its placeholders are known.
///
/// Accepts `x`, `*.x`, `.x`, `*` inside a label or as one, and `{param}` as a label or part of one.
pub(super) fn validate_fqdn_pattern(text: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("`{text}` is no name pattern: {what}"));
    if text.contains("://") {
        return wrong("leave out the scheme");
    }
    if text.contains(['/', ':']) {
        return wrong("only the name, without port or path");
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return wrong("write it in lower case");
    }
    if text.parse::<IpAddr>().is_ok() {
        return wrong("an address goes into { cidr = .. }");
    }
    let name = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    if name == "*" {
        return wrong("for any name write \"*\" alone");
    }
    if text.contains("**") {
        return wrong("one `*` is enough");
    }
    if name.len() > 253 {
        return wrong("longer than 253 characters");
    }
    for label in name.split('.') {
        if let Err(what) = check_label(label) {
            return wrong(&what);
        }
    }
    if name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit())) {
        return wrong("it ends in a number");
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() || label.len() > 63 {
        return Err("a label has 1 to 63 characters".into());
    }
    let mut outside = String::new();
    let mut rest = label;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, tail) = after.split_once('}').ok_or("`{` without its `}`")?;
        outside.push_str(before);
        rest = tail;
    }
    outside.push_str(rest);
    match outside.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-_*".contains(c))) {
        Some(c) => Err(format!("`{}` is in no host name", c.escape_default())),
        None => Ok(()),
    }
}

fn validate_service_tag(text: &str) -> Result<(), String> {
    let plain = text.replace(['{', '}'], "");
    if plain.is_empty()
        || !plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    {
        return Err(format!(
            "`{text}` is no service tag: letters, digits and dots, such as Storage.{{region}}"
        ));
    }
    Ok(())
}

fn validate_cidr(text: &str) -> Result<(), String> {
    let is_placeholder = || {
        text.strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .is_some_and(|name| Param::parse(name).is_none_or(Param::is_address))
    };
    if is_placeholder() {
        return Ok(());
    }
    parse_net(text).map(drop)
}

/// Reads an address or CIDR. Bits beyond the prefix length are an error: either the address or the
/// length is then a mistake.
pub(super) fn parse_net(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("`{text}` is no address or CIDR, such as 10.0.0.0/8 or fd00::/8"))?;
    if net.trunc() != net {
        return Err(format!(
            "`{text}` has bits beyond its prefix length: `{}` for the network, `{}` for the host",
            net.trunc(),
            net.addr()
        ));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_every_form_of_name_pattern() {
        for good in [
            "mcr.microsoft.com",
            "*.data.mcr.microsoft.com",
            ".data.mcr.microsoft.com",
            "md-*.blob.storage.azure.net",
            "a.*.blob.example",
            "*.hcp.{region}.azmk8s.io",
            "{acr}.{region}.data.azurecr.io",
            "_sip._tcp.example",
            "localhost",
        ] {
            assert_eq!(validate_fqdn_pattern(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn refuses_what_is_no_name_pattern() {
        for (bad, says) in [
            ("", "1 to 63"),
            ("https://gcr.io", "scheme"),
            ("gcr.io:443", "without port"),
            ("gcr.io/v2", "without port or path"),
            ("Gcr.io", "lower case"),
            ("10.0.0.1", "cidr"),
            ("1.2.3", "ends in a number"),
            ("a..b", "1 to 63"),
            ("*", "alone"),
            ("a**.b", "is enough"),
            ("a.{region.b", "without its"),
            ("a b.c", "` ` is in no"),
        ] {
            let error = validate_fqdn_pattern(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn nets_are_addresses_or_exact_cidrs() {
        assert_eq!(parse_net("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(parse_net("fd00::/8").unwrap().prefix_len(), 8);
        assert!(parse_net("10.0.0.5/8").unwrap_err().contains("`10.0.0.0/8`"));
        assert!(parse_net("10.0.0.0/33").is_err());
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        assert_eq!(PortRange::parse("8000-8001"), PortRange::new(8000, 8001));
        assert_eq!(PortRange::parse("443"), PortRange::new(443, 443));
        for bad in ["0", "9-8", "70000", "", "-", "a"] {
            assert_eq!(PortRange::parse(bad), None, "{bad}");
        }
        let json = serde_json::to_string(&[PortRange::new(443, 443), PortRange::new(1, 2)]);
        assert_eq!(json.unwrap(), r#"[443,"1-2"]"#);
    }
}
