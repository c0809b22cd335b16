//! What to do about a blocked rule: what to open, and where the evidence says the block sits.

use std::collections::BTreeSet;

use crate::{
    catalog::Rule,
    verdict::{Outcome, attempt::Attempt},
};

/// One or two sentences that can be sent to whoever runs the firewall, the resolver or the proxy.
pub(super) fn advice(rule: &Rule, failing: &[&Attempt]) -> String {
    let names: BTreeSet<_> = failing.iter().map(|a| a.destination().to_string()).collect();
    let what = names.into_iter().collect::<Vec<_>>().join(", ");
    let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
    let service = match ports.is_empty() {
        true => rule.transport.name().to_uppercase(),
        false => format!("{} {}", rule.transport.name().to_uppercase(), ports.join(", ")),
    };
    let Some(attempt) = failing.iter().max_by_key(|attempt| attempt.result.outcome.stage()) else {
        return format!("Allow {what} on {service}.");
    };
    let shown = attempt.result.proof.last().map_or("", |proof| &*proof.detail);
    match attempt.result.outcome {
        Outcome::DnsNxdomain | Outcome::DnsNodata | Outcome::DnsServfail | Outcome::DnsRefused => {
            format!("Have the resolver resolve {what} ({shown}), then allow it on {service}.")
        }
        Outcome::DnsNoAnswer => format!(
            "The resolver doesn't answer: check the path to it (UDP and TCP 53), then allow {what} on {service}."
        ),
        Outcome::DnsSinkhole => format!(
            "The resolver sends {what} nowhere ({shown}): take it off the DNS block list and allow it on {service}."
        ),
        Outcome::TcpNoAnswer | Outcome::UdpNoAnswer | Outcome::QuicNoAnswer => {
            format!("Allow {what} on {service}: packets vanish on the way, nothing answers.")
        }
        Outcome::TcpReset => {
            format!("Allow {what} on {service}: connections are refused with RST.")
        }
        Outcome::IcmpUnreachable => format!("Allow {what} on {service}: {shown}."),
        Outcome::TlsReset | Outcome::TlsClosed | Outcome::TlsNoAnswer => format!(
            "Allow {what} on {service} in the rule that inspects names: TCP is let through, but the connection dies after the ClientHello."
        ),
        Outcome::TlsAlert => format!(
            "{what} on {service}: the answer to the ClientHello is an alert ({shown}). Allow the name, and exempt it from TLS inspection."
        ),
        Outcome::TlsIntercepted => {
            format!("Exempt {what} on {service} from TLS inspection ({shown}).")
        }
        Outcome::HttpDenied | Outcome::HttpReset | Outcome::HttpClosed | Outcome::HttpNoAnswer => {
            format!("Allow {what} on {service}: the HTTP request is turned away ({shown}).")
        }
        Outcome::ProxyDenied => format!("Allow CONNECT to {what} on the proxy ({shown})."),
        Outcome::ProxyFailed if !shown.contains("proxy") => format!(
            "The proxy doesn't answer the CONNECT to {what} ({shown}): check the path from the client to the proxy, and what filters it."
        ),
        Outcome::ProxyFailed => {
            format!("The proxy can't reach {what} ({shown}): allow {service} from the proxy to it.")
        }
        Outcome::Established | Outcome::TransportOnly | Outcome::Inconclusive => {
            format!("Allow {what} on {service}.")
        }
    }
}
