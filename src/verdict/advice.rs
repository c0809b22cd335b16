//! What to do about a blocked rule: what to open, and where the evidence says the block sits.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    catalog::Rule,
    verdict::{Outcome, Stage, TargetFinding, Verdict, attempt::Attempt, transport::Result},
};

/// Names or addresses listed in a sentence.
const SHOWN: usize = 5;

/// Sentences that can be sent to whoever runs the firewall, the resolver or the proxy: one or two for
/// each way in which the attempts fail, the one that got furthest first.
pub(super) fn advice(rule: &Rule, targets: &[TargetFinding], failing: &[&Attempt<'_>]) -> String {
    let mut ways: BTreeMap<_, Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in failing {
        let result = &attempt.result;
        ways.entry((result.stage, result.outcome, refused_at(attempt))).or_default().push(attempt);
    }
    let texts = ways.values().rev().map(|attempts| Case::new(rule, targets, attempts).text());
    texts.collect::<Vec<_>>().join(" ")
}

/// The device whose ICMP errors count apart: each has an owner of its own.
fn refused_at(attempt: &Attempt<'_>) -> Option<String> {
    let is_icmp = attempt.result.outcome == Outcome::IcmpUnreachable;
    is_icmp.then(|| shown(&attempt.result).to_owned())
}

/// What the decisive packet shows.
fn shown(result: &Result) -> &str {
    result.proof.last().map_or("", |proof| &*proof.detail)
}

/// Attempts that fail in the same way.
struct Case<'a> {
    result: &'a Result,
    /// The destinations as the rule has them, and what was seen of them.
    what: String,
    /// `what` with the addresses, for firewalls that know no names.
    where_to: String,
    /// Transport and ports.
    service: String,
    clients: String,
}

impl<'a> Case<'a> {
    fn new(rule: &Rule, targets: &[TargetFinding], attempts: &[&'a Attempt<'_>]) -> Self {
        let names: BTreeSet<_> =
            attempts.iter().map(|attempt| attempt.destination().to_string()).collect();
        let what = destinations(targets, &names);
        let addresses: BTreeSet<_> = attempts.iter().filter_map(|attempt| attempt.addr).collect();
        let new = |addr: &&IpAddr| !names.contains(&addr.to_string());
        let addresses = listed(addresses.iter().filter(new).map(ToString::to_string));
        let where_to = match addresses.is_empty() {
            true => what.clone(),
            false => format!("{what} (address {addresses})"),
        };
        let tried: BTreeSet<_> =
            attempts.iter().filter_map(|attempt| attempt.service).map(|(_, port)| port).collect();
        let mut ports: Vec<String> = tried.iter().map(ToString::to_string).collect();
        if ports.is_empty() {
            ports = rule.ports.iter().map(ToString::to_string).collect();
        }
        let transport = rule.transport.name().to_uppercase();
        let service = format!("{transport} {}", ports.join(", ")).trim_end().to_owned();
        let clients: BTreeSet<_> = attempts.iter().map(|attempt| attempt.client).collect();
        let clients = listed(clients.iter().map(ToString::to_string));
        // Attempts come in order: the first shows what the others repeat.
        Self { result: &attempts[0].result, what, where_to, service, clients }
    }

    fn text(&self) -> String {
        let Self { result, what, where_to, service, clients } = self;
        let shown = shown(result);
        match result.outcome {
            Outcome::DnsNxdomain | Outcome::DnsNodata => format!(
                "Have the resolver resolve {what} ({shown}): forward the name to public DNS, or complete the private zone that hides it. Then allow it on {service}."
            ),
            Outcome::DnsServfail => format!(
                "Find out why the resolver fails on {what} ({shown}): its forwarders, or what they may ask. Then allow it on {service}."
            ),
            Outcome::DnsRefused => format!(
                "Let the resolver answer {clients} for {what} ({shown}). Then allow it on {service}."
            ),
            Outcome::DnsNoAnswer => format!(
                "Allow UDP and TCP 53 from {clients} to the resolver, which doesn't answer for {what} ({}). Then allow {what} on {service}.",
                self.asked()
            ),
            Outcome::DnsSinkhole => format!(
                "Take {what} off the DNS filter's block list ({shown}), and allow it on {service}."
            ),
            Outcome::IcmpUnreachable => self.unreachable(),
            Outcome::TcpNoAnswer => format!(
                "Allow {where_to} on {service}: packets vanish on the way, nothing answers the SYN."
            ),
            Outcome::TcpReset => format!(
                "Allow {where_to} on {service}: a RST answers the SYN, from a firewall on the way in the destination's name, or from the destination."
            ),
            Outcome::UdpNoAnswer => format!(
                "Allow {where_to} on {service}, and the replies: packets vanish on the way, nothing answers."
            ),
            Outcome::QuicNoAnswer => format!(
                "Allow {where_to} on {service}, and the replies: QUIC's first packets are never answered."
            ),
            Outcome::TlsReset => self.by_name("a RST follows the ClientHello"),
            Outcome::TlsClosed => {
                self.by_name("the connection is closed as soon as the ClientHello was read")
            }
            Outcome::TlsNoAnswer => self.by_name("nothing answers the ClientHello"),
            Outcome::TlsAlert => format!(
                "Allow {what} on {service} where TLS is filtered by server name, and exempt it from TLS inspection: what answers the ClientHello refuses it ({shown})."
            ),
            Outcome::TlsIntercepted => {
                format!("Exempt {what} on {service} from TLS inspection ({shown}).")
            }
            Outcome::HttpDenied | Outcome::ProxyDenied if shown.contains("407") => format!(
                "Give {clients} a password for the proxy, or let the proxy pass {what} on {service} without one ({shown})."
            ),
            Outcome::HttpDenied => format!(
                "Allow {what} on {service} in the web filter or proxy that answers in the server's place ({shown})."
            ),
            Outcome::HttpReset | Outcome::HttpClosed | Outcome::HttpNoAnswer => format!(
                "Allow {what} on {service} where HTTP is filtered by host: the TCP handshake passes, but the request gets no answer ({shown})."
            ),
            Outcome::ProxyDenied => {
                format!("Allow CONNECT to {what} on {service} in the proxy ({shown}).")
            }
            // An answer of the proxy's own.
            Outcome::ProxyFailed if shown.contains("proxy") || shown.contains("status") => format!(
                "Let the proxy reach {what} on {service} ({shown}): its resolver, its route, or a firewall behind it."
            ),
            Outcome::ProxyFailed => format!(
                "Check what filters between {clients} and the proxy: the CONNECT to {what} gets no answer ({shown})."
            ),
            Outcome::Established | Outcome::TransportOnly | Outcome::Inconclusive => {
                format!("Allow {what} on {service}.")
            }
        }
    }

    /// A device that reads the ClientHello.
    fn by_name(&self, how: &str) -> String {
        let Self { what, service, .. } = self;
        format!(
            "Allow {what} on {service} in the rule that filters by server name (SNI): the TCP handshake passes, but {how}."
        )
    }

    fn unreachable(&self) -> String {
        let Self { result, what, where_to, service, clients } = self;
        let shown = shown(result);
        if result.stage == Stage::Dns {
            return format!(
                "Allow UDP and TCP 53 from {clients} to the resolver, or point them to one that listens ({shown}). Then allow {what} on {service}."
            );
        }
        if shown.contains("prohibited") || shown.contains("policy") || shown.contains("rejected") {
            return format!(
                "Allow {where_to} on {service} in the device that rejects it: {shown}."
            );
        }
        format!("Allow {where_to} on {service}, and check the route to it: {shown}.")
    }

    /// What was asked of whom.
    fn asked(&self) -> &str {
        self.result.proof.first().map_or("", |proof| &*proof.detail)
    }
}

/// The failing destinations as the rule writes them: to open one name that was seen of a wildcard
/// leaves the others blocked.
fn destinations(targets: &[TargetFinding], names: &BTreeSet<String>) -> String {
    let failing = |target: &&TargetFinding| {
        matches!(target.verdict, Verdict::Blocked | Verdict::Degraded)
            && target.names.iter().any(|name| names.contains(name))
    };
    let described = targets.iter().filter(failing).map(|target| {
        let seen =
            target.names.iter().filter(|name| names.contains(*name) && **name != target.pattern);
        match listed(seen.cloned()) {
            seen if seen.is_empty() => target.pattern.clone(),
            seen => format!("{} (seen: {seen})", target.pattern),
        }
    });
    match listed(described) {
        none if none.is_empty() => listed(names.iter().cloned()),
        described => described,
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = items.collect();
    let shown = all[..all.len().min(SHOWN)].join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::builtin, decode::Transport, verdict::testing};

    /// The advice about attempts on one name, which the rule for container images writes as
    /// `pattern`.
    fn told(pattern: &str, outcomes: &[Outcome]) -> String {
        let catalog = builtin("aks").unwrap();
        let rule = catalog.rules.iter().find(|rule| rule.id == "aks/core/mcr").unwrap();
        let target = TargetFinding {
            pattern: pattern.to_owned(),
            verdict: Verdict::Blocked,
            names: vec!["a.example".to_owned()],
            attempts: 1,
            outcomes: Default::default(),
            unresolved: None,
        };
        let service = |outcome: &Outcome| {
            (outcome.stage() != Some(Stage::Dns)).then_some((Transport::Tcp, 443))
        };
        let attempts: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                testing::attempt("10.0.0.1", "a.example", service(outcome), *outcome, (0, 1))
            })
            .collect();
        advice(rule, &[target], &attempts.iter().collect::<Vec<_>>())
    }

    #[test]
    fn says_what_to_open_for_each_way_of_failing() {
        use Outcome::*;
        for outcome in [
            DnsNxdomain,
            DnsNodata,
            DnsServfail,
            DnsRefused,
            DnsNoAnswer,
            DnsSinkhole,
            TcpNoAnswer,
            TcpReset,
            IcmpUnreachable,
            TlsReset,
            TlsClosed,
            TlsNoAnswer,
            TlsAlert,
            TlsIntercepted,
            QuicNoAnswer,
            HttpReset,
            HttpClosed,
            HttpNoAnswer,
            HttpDenied,
            ProxyDenied,
            UdpNoAnswer,
        ] {
            let text = told("a.example", &[outcome]);
            assert!(text.contains("a.example") && text.contains("TCP 443"), "{outcome:?}: {text}");
            assert!(!text.contains("seen"), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_opened_as_a_whole() {
        let text = told("*.example", &[Outcome::TlsReset]);
        assert!(text.starts_with("Allow *.example (seen: a.example) on TCP 443"), "{text}");
    }

    #[test]
    fn each_way_has_its_sentence_the_furthest_first() {
        let text = told("a.example", &[Outcome::DnsServfail, Outcome::TlsReset, Outcome::TlsReset]);
        assert_eq!(text.matches("ClientHello").count(), 1);
        assert!(text.find("ClientHello") < text.find("resolver"), "{text}");
    }
}
