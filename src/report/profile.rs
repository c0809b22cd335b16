use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    allowlist::{Allowlist, To},
    catalog::{Cloud, Param, Profile},
};

/// The profile as used, in the words of its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ProfileUsed {
    /// Its file; null when none was given.
    pub file: Option<String>,
    /// The cloud that the site is in.
    pub cloud: Cloud,
    /// Its region.
    pub region: Option<String>,
    /// Built-in catalogs' names and catalog files' paths.
    pub catalogs: Vec<String>,
    /// The features that are on.
    pub features: Vec<String>,
    /// Values of parameters, those that follow from the region included.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Its networks and what stands in them.
    pub network: NetworkUsed,
    /// Which addresses have a role.
    pub roles: BTreeMap<String, Vec<String>>,
    /// Parameters that the applying rules mention and that have no value: names match any one
    /// label, addresses match nothing.
    pub unbound: Vec<String>,
    /// What the firewall permits; absent when no allowlist was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowlist: Option<AllowlistUsed>,
}

/// An allowlist as used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AllowlistUsed {
    /// Its files, as the user named them: together they are one policy.
    pub files: Vec<String>,
    /// How many entries they have.
    pub entries: usize,
    /// Those that can't be compared: what they decide isn't known.
    pub not_evaluated: usize,
    /// What is worth knowing before the result is trusted.
    pub notes: Vec<String>,
}

/// The network part of a profile as used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkUsed {
    /// The captured hosts.
    pub local: Vec<String>,
    /// Ranges that are never egress.
    pub internal: Vec<String>,
    /// Explicit proxies.
    pub proxies: Vec<String>,
    /// Suffixes that resolvers append.
    pub search_domains: Vec<String>,
    /// Addresses that stand for "blocked" in DNS answers.
    pub sinkholes: Vec<String>,
    /// DNS servers on unusual ports.
    pub resolvers: Vec<String>,
    /// Issuer names of the CAs of devices that decrypt TLS.
    pub resigning_cas: Vec<String>,
}

impl Default for ProfileUsed {
    fn default() -> Self {
        Self::new(None, &Profile::default(), &[])
    }
}

impl ProfileUsed {
    /// The profile in a file, or the default one, and what the applying rules lack.
    pub fn new(file: Option<String>, profile: &Profile, unbound: &[Param]) -> Self {
        let network = &profile.network;
        Self {
            file,
            cloud: profile.cloud,
            region: profile.region.clone(),
            catalogs: texts(&profile.catalogs),
            features: profile.features.iter().map(|feature| feature.name().to_owned()).collect(),
            parameters: profile
                .parameters
                .iter()
                .map(|(param, values)| (param.name().to_owned(), values.clone()))
                .collect(),
            network: NetworkUsed {
                local: texts(&network.local),
                internal: texts(&network.internal),
                proxies: texts(&network.proxies),
                search_domains: network.search_domains.clone(),
                sinkholes: texts(&network.sinkholes),
                resolvers: texts(&network.resolvers),
                resigning_cas: network.resigning_cas.clone(),
            },
            roles: profile.roles.iter().map(|(role, nets)| (role.clone(), texts(nets))).collect(),
            unbound: texts(unbound),
            allowlist: None,
        }
    }
}

impl AllowlistUsed {
    /// What was read from these files.
    pub fn new(files: Vec<String>, list: &Allowlist) -> Self {
        let unknown = list.entries.iter().filter(|entry| matches!(entry.to, To::Unevaluated(..)));
        let (entries, not_evaluated) = (list.entries.len(), unknown.count());
        Self { files, entries, not_evaluated, notes: list.notes.clone() }
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
