//! What a site has and uses, so that rules can be picked and their placeholders bound.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::LazyLock,
};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use toml::Spanned;

use super::{
    builtin::{builtin, names},
    error::{Input, LoadError, Mistake, alternatives},
    feature::{Feature, FeatureSet},
    prefixes::holds,
    rule::{Cloud, Param, Rule, is_kebab, parse_net},
};

/// Private (RFC 1918), link-local (RFC 3927, RFC 4291) and unique local (RFC 4193) ranges.
const LOCAL_RANGES: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];

/// A site. [`Profile::default`] is what holds when none is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// The cloud that it is in.
    pub cloud: Cloud,
    /// Its region, lower-case and in one word.
    pub region: Option<String>,
    /// The catalogs to audit against; never empty.
    pub catalogs: Vec<CatalogRef>,
    /// The features that are on.
    pub features: FeatureSet,
    /// Values of parameters, those that follow from the region included. No list is empty.
    pub parameters: BTreeMap<Param, Vec<String>>,
    /// Its networks and what stands in them.
    pub network: Network,
    /// Which addresses have a role.
    pub roles: BTreeMap<String, Vec<IpNet>>,
}

/// The network part of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// The captured hosts.
    pub local: Vec<IpNet>,
    /// Ranges that are never egress.
    pub internal: Vec<IpNet>,
    /// Explicit proxies.
    pub proxies: Vec<Proxy>,
    /// Suffixes that resolvers append, lower-case and without dots around them.
    pub search_domains: Vec<String>,
    /// Addresses that stand for "blocked" in DNS answers.
    pub sinkholes: Vec<IpNet>,
    /// DNS servers on unusual ports.
    pub resolvers: Vec<SocketAddr>,
    /// Issuer names of the CAs of devices that decrypt TLS.
    pub resigning_cas: Vec<String>,
}

/// A built-in catalog's name or a catalog file's path. Serialises as that text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CatalogRef {
    /// One of [`names`].
    Builtin(String),
    /// A path as the profile gives it.
    File(String),
}

/// Where an explicit proxy listens. Displays and serialises as `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// An address, or a name in lower case.
    pub host: String,
    /// Its port, never 0.
    pub port: u16,
}

/// The short code of a region, where the table of codes has it.
pub fn region_code(region: &str) -> Option<&'static str> {
    REGION_CODES.get(region).map(String::as_str)
}

impl Profile {
    /// Reads a profile's text. `file` is the name that errors show.
    ///
    /// # Errors
    ///
    /// The first mistake, with its line and what to write instead.
    pub fn parse(text: &str, file: &str) -> Result<Self, LoadError> {
        let input = Input { file, text };
        let raw: RawProfile = toml::from_str(text).map_err(|e| LoadError::from_toml(input, &e))?;
        Reader { input }.profile(raw)
    }

    /// A commented profile to start from. It parses, and means the default.
    pub const fn template() -> &'static str {
        include_str!("builtin/profile-template.toml")
    }

    /// JSON Schema of a profile's text.
    pub fn schema() -> Schema {
        schemars::schema_for!(RawProfile)
    }

    /// The values that a placeholder takes; none when it is unbound.
    pub fn values(&self, param: Param) -> &[String] {
        self.parameters.get(&param).map_or(&[], Vec::as_slice)
    }

    /// True when the rule holds in this cloud with these features.
    pub fn applies(&self, rule: &Rule) -> bool {
        rule.applies(self.cloud, self.features)
    }

    /// The parameters that the rules which apply mention and that have no value, each once.
    pub fn unbound<'r>(&self, rules: impl IntoIterator<Item = &'r Rule>) -> Vec<Param> {
        let mut unbound: Vec<_> = rules
            .into_iter()
            .filter(|rule| self.applies(rule))
            .flat_map(Rule::params)
            .filter(|&p| self.values(p).is_empty())
            .collect();
        unbound.sort_unstable();
        unbound.dedup();
        unbound
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            cloud: Cloud::Public,
            region: None,
            catalogs: vec![CatalogRef::Builtin("aks".into())],
            features: FeatureSet::default(),
            parameters: BTreeMap::new(),
            network: Network::default(),
            roles: BTreeMap::new(),
        }
    }
}

impl Network {
    /// True for addresses of the site: the captured hosts' and the internal ones.
    pub fn is_inside(&self, addr: IpAddr) -> bool {
        holds(&self.internal, addr) || holds(&self.local, addr)
    }

    /// True for names under one of the search domains.
    pub fn is_own_name(&self, name: &str) -> bool {
        let under = |domain: &String| {
            name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
        };
        self.search_domains.iter().any(under)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            local: LOCAL_RANGES.iter().filter_map(|r| r.parse().ok()).collect(),
            internal: Vec::new(),
            proxies: Vec::new(),
            search_domains: Vec::new(),
            sinkholes: Vec::new(),
            resolvers: Vec::new(),
            resigning_cas: Vec::new(),
        }
    }
}

impl fmt::Display for CatalogRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Builtin(text) | Self::File(text)) = self;
        f.write_str(text)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

static REGION_CODES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Regions {
        region_code: BTreeMap<String, String>,
    }
    // A test keeps the embedded table readable.
    toml::from_str(include_str!("builtin/regions.toml"))
        .map(|r: Regions| r.region_code)
        .unwrap_or_default()
});

type List = Vec<Spanned<String>>;

/// A site: its cloud, its features, its networks.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    /// The cloud; `public` when not given.
    cloud: Option<Cloud>,
    /// Region, lower-case and in one word.
    #[schemars(with = "Option<String>")]
    region: Option<Spanned<String>>,
    /// Built-in catalogs' names and catalog files' paths; `aks` when not given.
    #[schemars(with = "Option<Vec<String>>")]
    catalogs: Option<Spanned<List>>,
    /// What is on.
    #[serde(default)]
    #[schemars(schema_with = "feature_list")]
    features: List,
    /// Values of the rules' placeholders.
    #[serde(default)]
    #[schemars(schema_with = "parameter_lists")]
    parameters: BTreeMap<Spanned<String>, List>,
    /// Networks and what stands in them.
    #[serde(default)]
    network: RawNetwork,
    /// Addresses and CIDRs by role.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    roles: BTreeMap<Spanned<String>, List>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawNetwork {
    /// Addresses and CIDRs of the captured hosts; private and link-local ranges when not given.
    #[schemars(with = "Option<Vec<String>>")]
    local: Option<List>,
    /// Addresses and CIDRs that are never egress.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    internal: List,
    /// Explicit proxies, `HOST:PORT`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    proxies: List,
    /// Suffixes that resolvers append.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    search_domains: List,
    /// Addresses and CIDRs that stand for "blocked" in DNS answers.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    sinkholes: List,
    /// DNS servers on unusual ports, `ADDRESS` or `ADDRESS:PORT`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    resolvers: List,
    /// Issuer names of the CAs of devices that decrypt TLS.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    resigning_cas: List,
}

fn feature_list(_: &mut SchemaGenerator) -> Schema {
    let known = Feature::ALL.iter().map(
        |feature| json_schema!({ "const": feature.name(), "description": feature.sentence() }),
    );
    let known: Vec<_> = known.collect();
    json_schema!({ "type": "array", "items": { "type": "string", "oneOf": known } })
}

fn parameter_lists(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = Param::ALL.iter().map(|param| param.name()).collect();
    json_schema!({
        "type": "object",
        "propertyNames": { "enum": names },
        "additionalProperties": { "type": "array", "items": { "type": "string" } }
    })
}

struct Reader<'a> {
    input: Input<'a>,
}

impl Reader<'_> {
    fn profile(&self, raw: RawProfile) -> Result<Profile, LoadError> {
        let cloud = raw.cloud.unwrap_or(Cloud::Public);
        let region = raw.region.as_ref().map(|r| self.region(r, cloud)).transpose()?;
        let parameters = self.parameters(&raw, cloud, region.as_deref())?;
        Ok(Profile {
            cloud,
            region,
            catalogs: self.catalogs(raw.catalogs.as_ref(), cloud)?,
            features: self.each(&raw.features, |f| Feature::parse(f).map_err(|e| e.to_string()))?,
            parameters,
            network: self.network(&raw.network)?,
            roles: self.roles(&raw.roles)?,
        })
    }

    /// Reads every text of a list; the error names the line of the text at fault.
    fn each<T, C: FromIterator<T>>(
        &self,
        list: &List,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<C, LoadError> {
        list.iter()
            .map(|text| {
                read(text.as_ref()).map_err(|e| self.input.error(&text.span(), Mistake::Value, e))
            })
            .collect()
    }

    fn contradiction<T>(&self, span: &Range<usize>, message: String) -> Result<T, LoadError> {
        Err(self.input.error(span, Mistake::Contradiction, message))
    }

    fn region(&self, region: &Spanned<String>, cloud: Cloud) -> Result<String, LoadError> {
        let text = region.as_ref();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
            let message = format!(
                "region `{text}` has to be one lower-case word: did you mean `{}`?",
                plain.to_ascii_lowercase()
            );
            return Err(self.input.error(&region.span(), Mistake::Value, message));
        }
        match cloud_of_region(text) {
            Some(other) if other != cloud => self.contradiction(
                &region.span(),
                format!(
                    "region `{text}` is in cloud `{other}`, but the profile's cloud is `{cloud}`"
                ),
            ),
            _ => Ok(text.clone()),
        }
    }

    fn parameters(
        &self,
        raw: &RawProfile,
        cloud: Cloud,
        region: Option<&str>,
    ) -> Result<BTreeMap<Param, Vec<String>>, LoadError> {
        let mut bound = BTreeMap::new();
        let mut codes = None;
        for (key, list) in &raw.parameters {
            let param = self.param(key)?;
            let values: Vec<String> = match param {
                Param::Region => {
                    list.iter().map(|r| self.region(r, cloud)).collect::<Result<_, _>>()
                }
                _ => self.each(list, |value| parameter_value(param, value)),
            }?;
            if param == Param::RegionCode {
                codes = Some(list);
            }
            if !values.is_empty() {
                bound.insert(param, values);
            }
        }
        self.bind_region(&mut bound, raw, region)?;
        if let Some(regions) = bound.get(&Param::Region).cloned() {
            self.check_codes(codes.unwrap_or(&Vec::new()), &regions)?;
            bind_codes(&mut bound, &regions);
        }
        Ok(bound)
    }

    fn param(&self, key: &Spanned<String>) -> Result<Param, LoadError> {
        let name = key.as_ref();
        Param::parse(name).ok_or_else(|| {
            let known = Param::ALL.iter().map(|p| p.name());
            let message = format!("unknown parameter `{name}`{}", alternatives(name, known));
            self.input.error(&key.span(), Mistake::Value, message)
        })
    }

    fn bind_region(
        &self,
        bound: &mut BTreeMap<Param, Vec<String>>,
        raw: &RawProfile,
        region: Option<&str>,
    ) -> Result<(), LoadError> {
        let (Some(region), Some(spanned)) = (region, &raw.region) else {
            return Ok(());
        };
        let regions = bound.entry(Param::Region).or_insert_with(|| vec![region.to_owned()]);
        if regions.iter().any(|r| r == region) {
            return Ok(());
        }
        self.contradiction(
            &spanned.span(),
            format!("region `{region}` is not among parameter `region`: {}", regions.join(", ")),
        )
    }

    /// A code of the table has to belong to one of the regions.
    fn check_codes(&self, codes: &List, regions: &[String]) -> Result<(), LoadError> {
        for code in codes {
            let owner = REGION_CODES.iter().find(|(_, c)| *c == code.as_ref());
            if let Some((owner, code_text)) = owner
                && !regions.contains(owner)
            {
                let expected: Vec<_> = regions
                    .iter()
                    .filter_map(|r| region_code(r))
                    .map(|c| format!("`{c}`"))
                    .collect();
                let hint = if expected.is_empty() {
                    String::new()
                } else {
                    format!("; the code there is {}", expected.join(", "))
                };
                return self.contradiction(
                    &code.span(),
                    format!(
                        "region-code `{code_text}` stands for `{owner}`, but region is `{}`{hint}",
                        regions.join(", ")
                    ),
                );
            }
        }
        Ok(())
    }

    fn catalogs(
        &self,
        list: Option<&Spanned<List>>,
        cloud: Cloud,
    ) -> Result<Vec<CatalogRef>, LoadError> {
        let Some(list) = list else {
            return Ok(Profile::default().catalogs);
        };
        if list.as_ref().is_empty() {
            let known: Vec<_> = names().collect();
            let message = format!("`catalogs` is empty; known are {}", known.join(", "));
            return Err(self.input.error(&list.span(), Mistake::Value, message));
        }
        let catalogs: Vec<CatalogRef> = self.each(list.as_ref(), catalog_ref)?;
        for (i, (catalog, spanned)) in catalogs.iter().zip(list.as_ref()).enumerate() {
            if catalogs[..i].contains(catalog) {
                let message = format!("catalog `{catalog}` is listed twice");
                return Err(self.input.error(&spanned.span(), Mistake::Value, message));
            }
            let CatalogRef::Builtin(name) = catalog else {
                continue;
            };
            if builtin(name).is_some_and(|c| !c.rules.iter().any(|r| r.cloud.contains(&cloud))) {
                let message = format!(
                    "catalog `{name}` has no rules for cloud `{cloud}`: its document covers none"
                );
                return self.contradiction(&spanned.span(), message);
            }
        }
        Ok(catalogs)
    }

    fn network(&self, raw: &RawNetwork) -> Result<Network, LoadError> {
        let local = match &raw.local {
            Some(list) => self.each(list, parse_net)?,
            None => Network::default().local,
        };
        Ok(Network {
            local,
            internal: self.each(&raw.internal, parse_net)?,
            proxies: self.each(&raw.proxies, parse_proxy)?,
            search_domains: self.each(&raw.search_domains, parse_domain)?,
            sinkholes: self.each(&raw.sinkholes, parse_net)?,
            resolvers: self.each(&raw.resolvers, parse_resolver)?,
            resigning_cas: self.each(&raw.resigning_cas, parse_issuer)?,
        })
    }

    fn roles(
        &self,
        raw: &BTreeMap<Spanned<String>, List>,
    ) -> Result<BTreeMap<String, Vec<IpNet>>, LoadError> {
        raw.iter()
            .map(|(role, list)| {
                let name = role.as_ref();
                if !is_kebab(name) {
                    let message = format!("role `{name}` has to be lower-case words joined by `-`");
                    return Err(self.input.error(&role.span(), Mistake::Value, message));
                }
                Ok((name.clone(), self.each(list, parse_net)?))
            })
            .collect()
    }
}

/// Binds the regions' codes where none are given and all are known: with one missing, the list
/// would silently leave a region out.
fn bind_codes(bound: &mut BTreeMap<Param, Vec<String>>, regions: &[String]) {
    let codes: Option<Vec<_>> = regions.iter().map(|r| region_code(r).map(str::to_owned)).collect();
    if let Some(codes) = codes {
        bound.entry(Param::RegionCode).or_insert(codes);
    }
}

/// The cloud that a region is surely in; `None` when its name doesn't tell.
fn cloud_of_region(region: &str) -> Option<Cloud> {
    if region.starts_with("china") {
        Some(Cloud::China)
    } else if region.starts_with("usgov") || region.starts_with("usdod") {
        Some(Cloud::UsGov)
    } else {
        region_code(region).map(|_| Cloud::Public)
    }
}

fn parameter_value(param: Param, value: &str) -> Result<String, String> {
    if param.is_address() {
        return parse_net(value)
            .map(|_| value.to_owned())
            .map_err(|e| format!("parameter `{param}`: {e}"));
    }
    let is_label = (1..=63).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_label {
        return Ok(value.to_ascii_lowercase());
    }
    match value.split_once('.') {
        Some((label, _)) if !label.is_empty() => Err(format!(
            "parameter `{param}`: `{value}` is more than one label: did you mean `{label}`?"
        )),
        _ => Err(format!("parameter `{param}`: `{value}` is no label of a host name")),
    }
}

fn catalog_ref(text: &str) -> Result<CatalogRef, String> {
    if text.contains(['/', '\\']) || text.ends_with(".toml") {
        Ok(CatalogRef::File(text.to_owned()))
    } else if names().any(|n| n == text) {
        Ok(CatalogRef::Builtin(text.to_owned()))
    } else {
        Err(format!(
            "unknown catalog `{text}`{}; a file's name ends in .toml",
            alternatives(text, names())
        ))
    }
}

fn parse_proxy(text: &str) -> Result<Proxy, String> {
    if let Ok(address) = text.parse::<SocketAddr>()
        && address.port() != 0
    {
        return Ok(Proxy { host: address.ip().to_string(), port: address.port() });
    }
    let wrong = || {
        format!(
            "`{text}` is no proxy: write ADDRESS:PORT or NAME:PORT, such as 198.51.100.90:3128, without a scheme"
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|&p| p != 0).ok_or_else(wrong)?;
    let host = parse_domain(host).map_err(|_| wrong())?;
    Ok(Proxy { host, port })
}

fn parse_domain(text: &str) -> Result<String, String> {
    let name = text.trim_matches('.');
    crate::base::HostName::parse(name.as_bytes())
        .map(|n| n.to_string())
        .ok_or_else(|| format!("`{text}` is no domain name, such as svc.cluster.local"))
}

fn parse_resolver(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 53));
    }
    text.parse().ok().filter(|a: &SocketAddr| a.port() != 0).ok_or_else(|| {
        format!("`{text}` is no resolver: write ADDRESS or ADDRESS:PORT, such as 10.0.0.10:5353")
    })
}

fn parse_issuer(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("an issuer's name can't be empty".into())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Profile {
        Profile::parse(text, "profile.toml").unwrap()
    }

    fn error(text: &str) -> String {
        Profile::parse(text, "profile.toml").unwrap_err().to_string()
    }

    const FULL: &str = r#"
cloud = "public"
region = "westeurope"
catalogs = ["aks", "./mine.toml"]
features = ["konnectivity", "monitor", "training"]
[parameters]
acr = ["contosoacr", "ContosoTwo"]
api-server = ["198.51.100.7"]
[network]
local = ["10.77.1.0/24"]
internal = ["10.0.0.0/8"]
proxies = ["198.51.100.90:3128", "[2001:db8::1]:8080", "Proxy.contoso.example:3128"]
search-domains = ["svc.cluster.local", "cluster.local."]
sinkholes = ["198.51.100.66"]
resolvers = ["10.0.0.10", "10.0.0.10:5353", "fd00::53"]
resigning-cas = ["Contoso Inspection CA"]
[roles]
resource-bridge = ["10.0.1.5/32"]
"#;

    #[test]
    fn reads_a_full_profile() {
        let profile = parse(FULL);
        assert_eq!(
            serde_json::to_value(&profile).unwrap(),
            serde_json::json!({
                "cloud": "public", "region": "westeurope", "catalogs": ["aks", "./mine.toml"],
                "features": ["konnectivity", "monitor", "training"],
                "parameters": {
                    "acr": ["contosoacr", "contosotwo"], "api-server": ["198.51.100.7"],
                    "region": ["westeurope"], "region-code": ["weu"],
                },
                "network": {
                    "local": ["10.77.1.0/24"], "internal": ["10.0.0.0/8"],
                    "proxies": ["198.51.100.90:3128", "[2001:db8::1]:8080", "proxy.contoso.example:3128"],
                    "search-domains": ["svc.cluster.local", "cluster.local"],
                    "sinkholes": ["198.51.100.66/32"],
                    "resolvers": ["10.0.0.10:53", "10.0.0.10:5353", "[fd00::53]:53"],
                    "resigning-cas": ["Contoso Inspection CA"],
                },
                "roles": {"resource-bridge": ["10.0.1.5/32"]},
            })
        );
    }

    #[test]
    fn empty_text_and_the_template_mean_the_default() {
        assert_eq!(parse(""), Profile::default());
        assert_eq!(parse(Profile::template()), Profile::default());
        let default = Profile::default();
        assert_eq!(default.network.local.len(), LOCAL_RANGES.len());
        assert_eq!(default.catalogs, [CatalogRef::Builtin("aks".into())]);
    }

    /// The template with its suggestions switched on: every `# key = ..` and `# "feature",` line.
    #[test]
    fn the_templates_suggestions_parse_and_name_every_feature_and_parameter() {
        let suggested = |line: &&str| {
            let rest = line.trim_start().trim_start_matches("# ");
            rest.starts_with('"') || rest.split_once(" = ").is_some_and(|(key, _)| is_kebab(key))
        };
        let on: Vec<_> = Profile::template()
            .lines()
            .map(|l| if suggested(&l) { l.trim_start().trim_start_matches("# ") } else { l })
            .collect();
        let profile = parse(&on.join("\n"));
        assert_eq!(profile.features.iter().collect::<Vec<_>>(), Feature::ALL);
        assert_eq!(profile.parameters.keys().copied().collect::<Vec<_>>(), Param::ALL);
        for catalog in names() {
            assert!(Profile::template().contains(catalog));
        }
    }

    #[test]
    fn errors_name_line_and_alternatives() {
        assert_eq!(
            error("cloud = \"public\"\n\nfeatures = [\n  \"konectivity\",\n]"),
            "profile.toml:4: unknown feature `konectivity`: did you mean `konnectivity`?"
        );
        for (text, says) in [
            ("clod = 1", "profile.toml:1: unknown field `clod`, expected one of `cloud`, `region`"),
            (
                "cloud = \"mars\"",
                "profile.toml:1: unknown variant `mars`, expected one of `public`, `china`, `usgov`",
            ),
            ("catalogs = [\"asks\"]", "unknown catalog `asks`: did you mean `aks`?"),
            ("catalogs = [\"aks\",\n\"aks\"]", "profile.toml:2: catalog `aks` is listed twice"),
            ("catalogs = []", "`catalogs` is empty; known are aks,"),
            (
                "[network]\nlocal = [\"10.0.0.0/33\"]",
                "profile.toml:2: `10.0.0.0/33` is no address or CIDR",
            ),
            ("[network]\nlocal = [\"10.0.0.5/8\"]", "`10.0.0.0/8` for the network"),
            ("[network]\nproxys = []", "profile.toml:2: unknown field `proxys`"),
            ("[network]\nproxies = [\"http://p:3128\"]", "without a scheme"),
            ("[network]\nproxies = [\"10.0.0.1\"]", "is no proxy"),
            ("[network]\nproxies = [\"10.0.0.1:0\"]", "is no proxy"),
            ("[network]\nresolvers = [\"dns.example\"]", "is no resolver"),
            ("[network]\nsearch-domains = [\"a b\"]", "is no domain name"),
            ("[network]\nresigning-cas = [\" \"]", "can't be empty"),
            ("[parameters]\nark = [\"x\"]", "profile.toml:2: unknown parameter `ark`"),
            ("[parameters]\nacr = [\"x.azurecr.io\"]", "did you mean `x`?"),
            ("[parameters]\nacr = \"x\"", "invalid type: string"),
            (
                "[parameters]\napi-server = [\"x.example\"]",
                "parameter `api-server`: `x.example` is no address",
            ),
            ("[roles]\n\"Node A\" = []", "profile.toml:2: role `Node A`"),
            ("region = \"West Europe\"", "did you mean `westeurope`?"),
        ] {
            let error = error(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_or_refused(
            key in proptest::sample::select(vec![
                "region = ", "catalogs = ", "features = ", "[parameters]\nregion = ",
                "[parameters]\nregion-code = ", "[parameters]\napi-server = ",
                "[network]\nproxies = ", "[network]\nresolvers = ", "[network]\nlocal = ",
                "[network]\nsearch-domains = ", "[roles]\na = ",
            ]),
            value in "[\\[\\]a-f0-9.:/*\u{e9} -]{0,20}",
        ) {
            for text in [value.clone(), format!("{value:?}"), format!("[{value:?}]")] {
                let _ = Profile::parse(&format!("{key}{text}\n"), "profile.toml");
            }
        }
    }

    #[test]
    fn editors_on_windows_change_nothing() {
        let text = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
        assert_eq!(parse(&text), parse(FULL));
        assert!(error("\u{feff}\r\nregion = \"X\"").starts_with("profile.toml:2: "));
    }

    #[test]
    fn contradictions_are_errors() {
        for (text, says) in [
            (
                "cloud = \"china\"\nregion = \"westeurope\"",
                "profile.toml:2: region `westeurope` is in cloud `public`",
            ),
            ("region = \"chinaeast2\"", "is in cloud `china`"),
            ("cloud = \"china\"\nregion = \"usgovvirginia\"", "is in cloud `usgov`"),
            (
                "region = \"westeurope\"\n[parameters]\nregion-code = [\"eus\"]",
                "profile.toml:3: region-code `eus` stands for `eastus`, but region is `westeurope`; the code there is `weu`",
            ),
            (
                "region = \"westeurope\"\n[parameters]\nregion = [\"eastus\"]",
                "profile.toml:1: region `westeurope` is not among",
            ),
            (
                "cloud = \"china\"\ncatalogs = [\"amlarc\"]",
                "catalog `amlarc` has no rules for cloud `china`",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_regions_code_is_bound_where_it_is_known() {
        let code = |text| parse(text).values(Param::RegionCode).to_vec();
        assert_eq!(code("region = \"eastus\""), ["eus"]);
        assert_eq!(code("[parameters]\nregion = [\"eastus\", \"northeurope\"]"), ["eus", "ne"]);
        assert_eq!(code("region = \"norwayeast\"\n[parameters]\nregion-code = [\"noe\"]"), ["noe"]);
        assert!(code("region = \"norwayeast\"").is_empty());
        assert!(code("[parameters]\nregion = [\"eastus\", \"norwayeast\"]").is_empty());
        assert_eq!(REGION_CODES.len(), 11);
    }

    #[test]
    fn unbound_parameters_are_those_of_rules_that_apply() {
        let rules = builtin("aks").unwrap().rules;
        let unbound = |text| parse(text).unbound(&rules);
        assert_eq!(unbound(""), [Param::Region, Param::ApiServer, Param::RegionCidrs]);
        assert_eq!(unbound("region = \"eastus\"\nfeatures = [\"konnectivity\"]"), []);
        assert_eq!(
            unbound("region = \"eastus\"\nfeatures = [\"konnectivity\", \"custom-dns\"]"),
            [Param::CustomDns]
        );
    }
}
