use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Catalog, Destination, NameMatcher, NamePattern, Param, PrefixMatcher, Profile, Rule, Scope,
    ServiceTags, Specificity, Transport, holds,
};

/// The rules of a site, compiled: destination in, rules out.
///
/// Holds the rules of the profile's cloud, those whose condition is off too: what they would
/// explain is worth telling. A lookup's cost doesn't depend on the number of rules.
pub struct Site {
    rules: Vec<SiteRule>,
    targets: Vec<Target>,
    by_name: NameMatcher<u32>,
    by_prefix: PrefixMatcher<u32>,
    anywhere: Vec<u32>,
    /// How specific each target is.
    ranks: Vec<Rank>,
    profile: Profile,
}

/// A rule at a site.
#[derive(Clone, Debug)]
pub struct SiteRule {
    /// The rule.
    pub rule: Rule,
    /// True when its condition holds here.
    pub active: bool,
    /// Its targets: indices for [`Site::target`].
    pub targets: std::ops::Range<usize>,
}

/// One destination of a rule, with the profile's values in place.
#[derive(Clone, Debug)]
pub struct Target {
    /// Index of the rule, for [`Site::rules`].
    pub rule: usize,
    /// As reports show it.
    pub text: String,
    /// What it stands for.
    pub kind: TargetKind,
}

/// What a target stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Host names.
    Name(NamePattern),
    /// Addresses.
    Prefixes(Vec<IpNet>),
    /// Anything.
    Any,
    /// Nothing that can be matched, because something is missing: what.
    Unresolved(String),
}

/// A rule's target that matches. The greatest is the most specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// True when the rule's condition holds.
    pub active: bool,
    rank: Rank,
    /// Index of the rule.
    pub rule: usize,
    /// Index of the target.
    pub target: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Any,
    Prefix,
    Name(Specificity),
}

impl Site {
    /// Compiles the rules for a profile. Without `tags`, service tags match nothing.
    pub fn new(catalogs: &[Catalog], profile: Profile, tags: Option<&ServiceTags>) -> Self {
        let mut rules: Vec<SiteRule> = Vec::new();
        let mut targets = Vec::new();
        let here = |rule: &&Rule| rule.cloud.contains(&profile.cloud);
        for rule in catalogs.iter().flat_map(|catalog| &catalog.rules).filter(here) {
            let first = targets.len();
            for destination in &rule.destinations {
                for (text, kind) in resolve(destination, &profile, tags) {
                    targets.push(Target { rule: rules.len(), text, kind });
                }
            }
            let (active, rule) = (profile.applies(rule), rule.clone());
            rules.push(SiteRule { rule, active, targets: first..targets.len() });
        }
        Self::index(rules, targets, profile)
    }

    fn index(rules: Vec<SiteRule>, targets: Vec<Target>, profile: Profile) -> Self {
        let mut names = Vec::new();
        let mut prefixes = Vec::new();
        let mut anywhere = Vec::new();
        for (id, target) in (0..).zip(&targets) {
            if rules[target.rule].rule.scope == Scope::ProxyBypass {
                continue;
            }
            match &target.kind {
                TargetKind::Name(pattern) => names.push((pattern.clone(), id)),
                TargetKind::Prefixes(nets) => prefixes.extend(nets.iter().map(|&net| (net, id))),
                TargetKind::Any => anywhere.push(id),
                TargetKind::Unresolved(_) => {}
            }
        }
        let (by_name, by_prefix) = (NameMatcher::new(names), PrefixMatcher::new(prefixes));
        let ranks = targets.iter().map(|target| Rank::of(&target.kind)).collect();
        Self { rules, targets, by_name, by_prefix, anywhere, ranks, profile }
    }

    /// The rules, in the catalogs' order.
    pub fn rules(&self) -> &[SiteRule] {
        &self.rules
    }

    /// A target by its index.
    pub fn target(&self, index: usize) -> &Target {
        &self.targets[index]
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The targets that match what a client wants to reach, the most specific first. `service` is
    /// the transport and port; without it (a failed lookup) any will do.
    pub fn find(
        &self,
        client: IpAddr,
        name: Option<&str>,
        addr: Option<IpAddr>,
        service: Option<(Transport, u16)>,
    ) -> Vec<Hit> {
        let named = name.map(|name| self.named(name)).unwrap_or_default();
        self.find_among(&named, client, addr, service)
    }

    /// The targets that match a name, for [`find_among`](Self::find_among).
    pub fn named(&self, name: &str) -> Vec<u32> {
        let mut named = Vec::new();
        self.by_name.lookup(name, &mut |id| named.push(id));
        named
    }

    /// The same as [`find`](Self::find) for a name whose targets are known.
    pub fn find_among(
        &self,
        named: &[u32],
        client: IpAddr,
        addr: Option<IpAddr>,
        service: Option<(Transport, u16)>,
    ) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut add = |id: u32| hits.extend(self.hit(id as usize, client, addr, service));
        named.iter().for_each(|&id| add(id));
        if let Some(addr) = addr {
            self.by_prefix.lookup(addr, &mut add);
            self.anywhere.iter().for_each(|&id| add(id));
        }
        hits.sort_unstable_by(|a, b| b.cmp(a));
        hits.dedup_by_key(|hit| hit.target);
        hits
    }

    fn hit(
        &self,
        target: usize,
        client: IpAddr,
        addr: Option<IpAddr>,
        service: Option<(Transport, u16)>,
    ) -> Option<Hit> {
        let rule = self.targets[target].rule;
        let SiteRule { rule: stated, active, .. } = &self.rules[rule];
        let served = service.is_none_or(|(transport, port)| {
            stated.transport == transport && stated.takes_port(port)
        });
        let from = || stated.from.as_ref().and_then(|role| self.profile.roles.get(role));
        let meant = || from().is_none_or(|nets| holds(nets, client));
        // What stays inside the site explains nothing that leaves it.
        let inside = || addr.is_some_and(|addr| self.profile.network.is_inside(addr));
        if !served || !meant() || (stated.scope != Scope::Egress && !inside()) {
            return None;
        }
        Some(Hit { active: *active, rank: self.ranks[target], rule, target })
    }
}

impl Rank {
    fn of(kind: &TargetKind) -> Self {
        match kind {
            TargetKind::Name(pattern) => Self::Name(pattern.specificity()),
            TargetKind::Prefixes(_) => Self::Prefix,
            TargetKind::Any | TargetKind::Unresolved(_) => Self::Any,
        }
    }
}

/// A destination with the profile's values in place.
fn resolve(
    destination: &Destination,
    profile: &Profile,
    tags: Option<&ServiceTags>,
) -> Vec<(String, TargetKind)> {
    match destination {
        Destination::Any => vec![("*".into(), TargetKind::Any)],
        Destination::Fqdn(text) => resolve_name(text, profile),
        Destination::Cidr(text) => vec![resolve_cidr(text, profile)],
        Destination::ServiceTag(text) => resolve_tag(text, profile, tags),
        Destination::Role(role) => {
            let text = format!("role {role}");
            let kind = match profile.roles.get(role) {
                Some(nets) => TargetKind::Prefixes(nets.clone()),
                None => TargetKind::Unresolved(format!("the profile binds no role `{role}`")),
            };
            vec![(text, kind)]
        }
    }
}

fn resolve_name(text: &str, profile: &Profile) -> Vec<(String, TargetKind)> {
    let bound = NamePattern::parse(text).and_then(|pattern| {
        pattern.bind(&|name| Param::parse(name).map(|param| profile.values(param)))
    });
    match bound {
        Ok(patterns) => patterns
            .into_iter()
            .map(|pattern| (pattern.as_str().to_owned(), TargetKind::Name(pattern)))
            .collect(),
        Err(error) => vec![(text.to_owned(), TargetKind::Unresolved(error.to_string()))],
    }
}

fn resolve_cidr(text: &str, profile: &Profile) -> (String, TargetKind) {
    let param = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let values = match param {
        Some(name) => Param::parse(name).map_or(&[][..], |param| profile.values(param)),
        None => &[text.to_owned()][..],
    };
    let net = |value: &String| {
        value.parse::<IpNet>().ok().or_else(|| Some(value.parse::<IpAddr>().ok()?.into()))
    };
    let nets: Vec<IpNet> = values.iter().filter_map(net).collect();
    let shown = if values.is_empty() { text.to_owned() } else { values.join(", ") };
    if nets.is_empty() {
        let what = format!("the profile has no value for `{}`", param.unwrap_or(text));
        return (shown, TargetKind::Unresolved(what));
    }
    (shown, TargetKind::Prefixes(nets))
}

fn resolve_tag(
    text: &str,
    profile: &Profile,
    tags: Option<&ServiceTags>,
) -> Vec<(String, TargetKind)> {
    let regions = match text.contains("{region}") {
        true => profile.values(Param::Region),
        false => &[String::new()][..],
    };
    if regions.is_empty() {
        let what = TargetKind::Unresolved("the profile has no region".into());
        return vec![(format!("tag {text}"), what)];
    }
    let resolve = |region: &String| {
        let tag = text.replace("{region}", region);
        let kind = match tags.map(|tags| tags.prefixes(&tag)) {
            Some(Some(nets)) => TargetKind::Prefixes(nets.to_vec()),
            Some(None) => TargetKind::Unresolved(format!("no service tag `{tag}` in the file")),
            None => TargetKind::Unresolved("no service tags file was given".into()),
        };
        (format!("tag {tag}"), kind)
    };
    regions.iter().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::builtin;

    fn site(profile: &str) -> Site {
        let profile = Profile::parse(profile, "profile.toml").unwrap();
        Site::new(&[builtin("aks").unwrap()], profile, None)
    }

    fn ids(
        site: &Site,
        name: Option<&str>,
        transport: Transport,
        port: u16,
    ) -> Vec<(String, bool)> {
        let (client, addr) = ([10, 0, 0, 4].into(), [203, 0, 113, 9].into());
        site.find(client, name, Some(addr), Some((transport, port)))
            .iter()
            .map(|hit| (site.rules()[hit.rule].rule.id.clone(), hit.active))
            .collect()
    }

    #[test]
    fn finds_rules_by_name_and_service() {
        let site = site("cloud = \"public\"\nregion = \"westeurope\"\n");
        assert_eq!(
            ids(&site, Some("mcr.microsoft.com"), Transport::Tcp, 443)[0],
            ("aks/core/mcr".into(), true)
        );
        assert_eq!(ids(&site, Some("mcr.microsoft.com"), Transport::Tcp, 80), []);
        assert_eq!(ids(&site, Some("evil.example"), Transport::Tcp, 443), []);
        let lookup = site.find([10, 0, 0, 4].into(), Some("mcr.microsoft.com"), None, None);
        assert!(!lookup.is_empty());
    }

    #[test]
    fn conditions_and_parameters_come_from_the_profile() {
        let on =
            site("cloud = \"public\"\nregion = \"westeurope\"\nfeatures = [\"konnectivity\"]\n");
        let api = Some("abc.hcp.westeurope.azmk8s.io");
        assert!(ids(&on, api, Transport::Tcp, 443).iter().any(|(_, active)| *active));
        assert_eq!(ids(&on, Some("abc.hcp.eastus.azmk8s.io"), Transport::Tcp, 443), []);
        assert!(ids(&on, None, Transport::Udp, 1194).iter().all(|(_, active)| !active));
        let off = site("cloud = \"public\"\n");
        assert!(ids(&off, None, Transport::Udp, 1194)[0].1);
        assert!(!ids(&off, Some("store.policy.core.windows.net"), Transport::Tcp, 443)[0].1);
    }
}
