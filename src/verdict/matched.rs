//! What the rules say of attempts, and the allowlist where they say nothing.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    allowlist::Policy,
    base::HostName,
    catalog::{Hit, Level, Site},
    decode::Transport,
    verdict::{
        Class, Flag, NamedBy,
        attempt::Attempt,
        permit::{Permit, Permits, rule_transport},
    },
};

/// Transport and port.
pub(super) type Service = Option<(Transport, u16)>;

/// What the rules and the allowlist say.
pub(super) struct Said {
    /// Matching targets, the most specific first.
    pub(super) hits: Vec<Hit>,
    pub(super) class: Class,
    /// What the allowlist says, where no rule explains it.
    pub(super) permit: Option<Permit>,
}

/// What is said of attempts, each once, and for each attempt its place. Their destinations are
/// numbered, those on each next to each other.
pub(super) fn look_at_all(
    all: &[&Attempt<'_>],
    site: &Site,
    policy: Option<&Policy<'_>>,
) -> (Vec<Said>, Vec<usize>) {
    let tells_clients_apart =
        !site.profile().roles.is_empty() || policy.is_some_and(Policy::tells_clients_apart);
    let permits = Permits(policy);
    let (known, said) = (HashMap::default(), Vec::new());
    let mut matcher = Matcher { site, permits, tells_clients_apart, known, said };
    let mut places = Vec::with_capacity(all.len());
    for same in all.chunk_by(|a, b| a.subject == b.subject) {
        let named = same[0].name.as_ref().map(|name| site.named(name)).unwrap_or_default();
        if let [only] = same {
            places.push(matcher.said.len());
            matcher.said.push(Said::of(only, &named, site, permits));
            continue;
        }
        matcher.known.clear();
        places.extend(same.iter().map(|attempt| matcher.look(attempt, &named)));
    }
    (matcher.said, places)
}

/// Matches attempts, and remembers what was said: most attempts repeat others.
struct Matcher<'s> {
    site: &'s Site,
    permits: Permits<'s>,
    /// True when it may matter who asks.
    tells_clients_apart: bool,
    /// Of one destination.
    known: HashMap<Asked, usize, RandomState>,
    said: Vec<Said>,
}

/// All of an attempt on one destination that anything is said about.
#[derive(PartialEq, Eq, Hash)]
struct Asked {
    client: Option<IpAddr>,
    addr: Option<IpAddr>,
    service: Service,
    named_by: NamedBy,
    is_to_proxy: bool,
    is_midstream: bool,
    /// Where the list of candidates lies, when it matters: attempts that are alike share it.
    candidates: usize,
}

impl<'s> Matcher<'s> {
    /// What is said of an attempt on a destination whose name these targets match: its place.
    fn look(&mut self, attempt: &Attempt<'_>, named: &[u32]) -> usize {
        let asked = Asked {
            client: self.tells_clients_apart.then_some(attempt.client),
            addr: attempt.addr,
            service: attempt.service,
            named_by: attempt.named_by,
            is_to_proxy: is_to_proxy(attempt),
            is_midstream: attempt.flags.has(Flag::Midstream),
            candidates: if is_guessed(attempt) { attempt.candidates.as_ptr().addr() } else { 0 },
        };
        let Self { site, permits, known, said, .. } = self;
        *known.entry(asked).or_insert_with(|| {
            said.push(Said::of(attempt, named, site, *permits));
            said.len() - 1
        })
    }
}

impl Said {
    /// `named` are the targets that match the attempt's name.
    fn of(attempt: &Attempt<'_>, named: &[u32], site: &Site, permits: Permits<'_>) -> Self {
        let find = |named: &[u32], addr, service: Service| {
            let service = service.map(|(transport, port)| (rule_transport(transport), port));
            site.find_among(named, attempt.client, addr, service)
        };
        let (name, addr, service) = (attempt.name.as_ref(), attempt.addr, attempt.service);
        let hits = find(named, addr, service);
        let (mut class, permit) = match service {
            // HTTP/3 is another way to an HTTPS destination (RFC 9114 section 3.1): it explains the
            // traffic, but the rule asks for TCP.
            Some((Transport::Udp, port))
                if hits.is_empty() && attempt.named_by == NamedBy::QuicSni =>
            {
                let explaining = find(named, None, Some((Transport::Tcp, port)));
                classify(attempt, name, &explaining, site, permits)
            }
            _ => classify(attempt, name, &hits, site, permits),
        };
        // Without a name of its own, a connection to a shared address may be any of them.
        if is_guessed(attempt) && attempt.candidates.len() > 1 {
            let differs = |name: &HostName| {
                let other = find(&site.named(name), addr, service);
                classify(attempt, Some(name), &other, site, permits).0 != class
                    || other.first().map(|hit| hit.rule) != hits.first().map(|hit| hit.rule)
            };
            let mut others = attempt.candidates.iter().filter(|other| Some(*other) != name);
            if others.any(differs) {
                class = Class::Ambiguous;
            }
        }
        Self { hits, class, permit }
    }
}

/// The class of an attempt if it was for this name, and what the allowlist says where no rule
/// explains it.
fn classify(
    attempt: &Attempt<'_>,
    name: Option<&HostName>,
    hits: &[Hit],
    site: &Site,
    permits: Permits<'_>,
) -> (Class, Option<Permit>) {
    let class = by_rules(attempt, hits, site);
    let permit = match class {
        Class::Unexpected => permits.of(attempt, name),
        _ => None,
    };
    (permit.as_ref().map_or(class, Permit::class), permit)
}

fn by_rules(attempt: &Attempt<'_>, hits: &[Hit], site: &Site) -> Class {
    let level = |hit: &Hit| site.rules()[hit.rule].rule.level;
    let active = || hits.iter().filter(|hit| hit.active);
    if is_to_proxy(attempt) {
        return Class::Internal;
    }
    if active().any(|hit| level(hit) == Level::Required) {
        return Class::Required;
    }
    if active().next().is_some() {
        return Class::Recommended;
    }
    if attempt.addr.is_some_and(|addr| is_internal(addr, site)) {
        return Class::Internal;
    }
    if !hits.is_empty() {
        Class::Conditional
    } else if attempt.name.is_none() && attempt.flags.has(Flag::Midstream) {
        // Its name was said before the capture began: it may be any.
        Class::Ambiguous
    } else {
        Class::Unexpected
    }
}

/// True when it may be any of the names that DNS gave for the address.
fn is_guessed(attempt: &Attempt<'_>) -> bool {
    matches!(attempt.named_by, NamedBy::Dns | NamedBy::DnsOtherClient)
}

/// To the proxy itself, or to what must be left out of it.
fn is_to_proxy(attempt: &Attempt<'_>) -> bool {
    attempt.flags.has(Flag::Proxy) || attempt.flags.has(Flag::ProxySkipMissed)
}

/// Inside the site, or never routed out of it.
fn is_internal(addr: IpAddr, site: &Site) -> bool {
    let listed = site.profile().network.is_inside(addr);
    let unrouted = match addr {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_broadcast() || v4 == AZURE_PLATFORM || v4.is_unspecified()
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    listed || unrouted || addr.is_loopback() || addr.is_multicast()
}

/// The virtual address of Azure's platform services (DNS, DHCP, health probes): it never leaves
/// the physical host.
const AZURE_PLATFORM: std::net::Ipv4Addr = std::net::Ipv4Addr::new(168, 63, 129, 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        allowlist::{Allowlist, Context, Input, Origin},
        catalog::{Profile, builtin},
        verdict::{Outcome, testing},
    };

    const WEB: Option<(Transport, u16)> = Some((Transport::Tcp, 443));

    fn tried(name: &str, service: Option<(Transport, u16)>) -> Attempt<'static> {
        testing::attempt("10.0.0.1", name, service, Outcome::Established, (0, 1))
    }

    /// The class with this allowlist, and the lines of the entries that allow it, or may.
    fn class(attempt: &Attempt<'_>, list: &str) -> (Class, Vec<usize>, Vec<usize>) {
        let profile = "[network]\ninternal = [\"203.0.113.64/26\"]";
        let profile = Profile::parse(profile, "p").unwrap();
        let site = Site::new(&[builtin("aks").unwrap()], profile, None);
        let inputs = [Input { file: "list", text: list, format: None }];
        let list = Allowlist::read(&inputs, Context::default()).unwrap();
        let policy = Policy::new(&list);
        let permits = Permits(Some(&policy));
        let named = attempt.name.as_ref().map(|name| site.named(name)).unwrap_or_default();
        let said = Said::of(attempt, &named, &site, permits);
        let (by, undecided) = permits.shown(said.permit.iter());
        let lines = |origins: Vec<Origin>| origins.into_iter().map(|origin| origin.line);
        (said.class, lines(by).collect(), lines(undecided).collect())
    }

    #[test]
    fn the_allowlist_explains_what_no_rule_does() {
        let list = "# ours\n*.example.net:443\n198.51.100.0/24\n203.0.113.64/26\n";
        let telemetry = tried("telemetry.example.net", WEB);
        assert_eq!(class(&telemetry, list), (Class::Allowed, vec![2], vec![]));
        assert_eq!(class(&telemetry, "example.net:443\n").0, Class::Unexpected);
        // Other ports, and UDP where the list has TCP only, aren't permitted.
        let other = tried("telemetry.example.net", Some((Transport::Tcp, 8443)));
        assert_eq!(class(&other, list).0, Class::Unexpected);
        let quic = Attempt {
            named_by: NamedBy::QuicSni,
            ..tried("telemetry.example.net", Some((Transport::Udp, 443)))
        };
        let csv = "destination,port,protocol,action\n*.example.net,443,tcp,allow\n";
        assert_eq!(class(&quic, csv).0, Class::Unexpected);
        assert_eq!(class(&telemetry, csv).0, Class::Allowed);
        // By address, with a name or without.
        let addr = Some("198.51.100.7".parse().unwrap());
        for name in [None, HostName::parse(b"other.example.org")] {
            let attempt = Attempt { addr, name, ..tried("x", WEB) };
            assert_eq!(class(&attempt, list), (Class::Allowed, vec![3], vec![]));
        }
        // Rules and the site's own networks come first.
        assert_eq!(class(&tried("mcr.microsoft.com", WEB), "*\n").0, Class::Required);
        let inside = Attempt { addr: Some("203.0.113.70".parse().unwrap()), ..tried("x.y", WEB) };
        assert_eq!(class(&inside, list).0, Class::Internal);
    }

    #[test]
    fn what_the_allowlist_denies_or_cannot_tell_stays_unexpected() {
        let telemetry = tried("telemetry.example.net", WEB);
        let denied = "destination,port,action\nbad.example.net,443,deny\n*.example.net,443,allow\n";
        assert_eq!(class(&telemetry, denied), (Class::Allowed, vec![3], vec![]));
        assert_eq!(class(&tried("bad.example.net", WEB), denied).0, Class::Unexpected);
        let tag = r#"{"ruleCollections": [{"name": "c", "priority": 100,
            "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
            "action": {"type": "Allow"}, "rules": [{"name": "r", "ruleType": "NetworkRule",
            "ipProtocols": ["TCP"], "sourceAddresses": ["*"],
            "destinationAddresses": ["AzureCloud.westeurope"], "destinationPorts": ["443"]}]}]}"#;
        let (told, by, undecided) = class(&telemetry, tag);
        assert_eq!((told, by.len(), undecided.len()), (Class::Unexpected, 0, 1));
    }

    #[test]
    fn candidates_are_ambiguous_only_where_the_allowlist_tells_them_apart() {
        let names = ["a.example.net", "b.example.net"].map(|n| HostName::parse(n.as_bytes()));
        let guessed = Attempt {
            named_by: NamedBy::Dns,
            candidates: names.into_iter().flatten().collect(),
            ..tried("a.example.net", WEB)
        };
        assert_eq!(class(&guessed, "a.example.net\n").0, Class::Ambiguous);
        assert_eq!(class(&guessed, "a.example.net\nb.example.net\n").0, Class::Allowed);
        assert_eq!(class(&guessed, "c.example.net\n").0, Class::Unexpected);
        // Its name isn't known, and a rule may ask for it.
        let midstream = Attempt { name: None, flags: Flag::Midstream.into(), ..tried("x", WEB) };
        assert_eq!(class(&midstream, "*\n").0, Class::Ambiguous);
    }

    #[test]
    fn a_name_only_looked_up_is_allowed_on_some_port() {
        let lookup = Attempt { addr: None, ..tried("mail.example.net", None) };
        assert_eq!(class(&lookup, "mail.example.net:587\n").0, Class::Allowed);
        assert_eq!(class(&lookup, "*:443\n").0, Class::Allowed);
        // That NTP may go anywhere says nothing about names.
        assert_eq!(class(&lookup, "*:123/udp\n").0, Class::Unexpected);
        let list = "destination,port,action\nmail.example.net,*,deny\n*.example.net,587,allow\n";
        assert_eq!(class(&lookup, list).0, Class::Unexpected);
    }
}
