//! Failed DNS lookups as attempts.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::{
    base::{HostName, Stamp, Timestamp},
    catalog::Profile,
    names::{Knowledge, Lookup, Reply},
    scan::Census,
    verdict::{
        NamedBy, Outcome, Reason, Stage,
        attempt::Attempt,
        finding::Bytes,
        transport::{Proof, Result},
    },
};

/// How long a resolver may take. Stub resolvers give up after 5 s.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// What one client heard about one name: its A and its AAAA lookups.
#[derive(Default)]
struct Heard<'l> {
    lookups: Vec<(bool, &'l Lookup)>,
}

/// The lookups that gave no address to connect to.
///
/// A client asks for A and AAAA records; one of them is enough. Names that a resolver library
/// made by appending a search domain aren't destinations.
pub(super) fn failed(census: &Census, profile: &Profile, end: Timestamp) -> Vec<Attempt> {
    let mut heard: BTreeMap<(IpAddr, &HostName), Heard<'_>> = BTreeMap::new();
    for (key, lookup) in census.names.lookups() {
        heard.entry((key.client, &key.name)).or_default().lookups.push((key.v6, lookup));
    }
    heard
        .into_iter()
        .filter(|((client, name), _)| !is_expansion(*client, name, &census.names, profile))
        .filter_map(|((client, name), heard)| heard.attempt(client, name, profile, end))
        .collect()
}

impl Heard<'_> {
    fn attempt(
        &self,
        client: IpAddr,
        name: &HostName,
        profile: &Profile,
        end: Timestamp,
    ) -> Option<Attempt> {
        let results: Vec<_> =
            self.lookups.iter().map(|(v6, lookup)| outcome(*v6, lookup, profile, end)).collect();
        let result = results.into_iter().reduce(better).flatten()?;
        let marks = |lookup: &Lookup| {
            let replies = lookup.replies.iter().flat_map(|(_, mark)| [mark.first(), mark.last()]);
            let queries = [lookup.queries.first(), lookup.queries.last()];
            replies.chain(queries).flatten().collect::<Vec<_>>()
        };
        let stamps: Vec<Stamp> =
            self.lookups.iter().flat_map(|(_, lookup)| marks(lookup)).collect();
        Some(Attempt {
            client,
            name: Some(name.clone()),
            named_by: NamedBy::Lookup,
            candidates: Vec::new(),
            addr: None,
            service: None,
            result,
            bytes: Bytes::default(),
            first: stamps.iter().copied().min()?,
            last: stamps.iter().copied().max()?,
            flags: Vec::new(),
        })
    }
}

/// Of the A and the AAAA lookup, the one that decides. `None` stands for one that gave an address.
fn better(a: Option<Result>, b: Option<Result>) -> Option<Result> {
    let (a, b) = (a?, b?);
    // That a family has no record says nothing about the other one.
    let weight = |result: &Result| match result.outcome {
        Outcome::DnsNodata => 0,
        Outcome::Inconclusive => 1,
        Outcome::DnsNoAnswer => 2,
        _ => 3,
    };
    Some(if weight(&b) > weight(&a) { b } else { a })
}

/// What became of one lookup; `None` when it gave an address to connect to.
fn outcome(v6: bool, lookup: &Lookup, profile: &Profile, end: Timestamp) -> Option<Result> {
    let rtype = if v6 { "AAAA" } else { "A" };
    let Some((reply, stamp)) = lookup.final_reply() else {
        return Some(unanswered(rtype, lookup, end));
    };
    let (outcome, what) = match reply {
        Reply::Addresses => {
            let sunk = |addr: &IpAddr| is_sinkhole(*addr, profile);
            if lookup.addresses.is_empty() || !lookup.addresses.iter().all(sunk) {
                return None;
            }
            (Outcome::DnsSinkhole, format!("address {}", lookup.addresses[0]))
        }
        Reply::NxDomain => (Outcome::DnsNxdomain, "NXDOMAIN".to_owned()),
        Reply::NoData => (Outcome::DnsNodata, format!("no {rtype} record")),
        Reply::ServFail => (Outcome::DnsServfail, "SERVFAIL".to_owned()),
        Reply::Refused => (Outcome::DnsRefused, "REFUSED".to_owned()),
        Reply::Other(rcode) => (Outcome::DnsServfail, format!("RCODE {rcode}")),
    };
    let proof = Proof { stamp, detail: format!("DNS answer to {rtype}: {what}") };
    Some(Result { outcome, reason: None, stage: Stage::Dns, proof: vec![proof] })
}

fn unanswered(rtype: &str, lookup: &Lookup, end: Timestamp) -> Result {
    let proof = |stamp: Stamp, detail: String| Proof { stamp, detail };
    let count = lookup.queries.count;
    let mut shown = Vec::new();
    if let Some(first) = lookup.queries.first() {
        shown.push(proof(first, format!("DNS query for {rtype}")));
    }
    let waited = lookup.queries.first().is_some_and(|q| end.since(q.time) >= ANSWER_WAIT);
    if let Some(last) = lookup.queries.last().filter(|_| count > 1) {
        shown.push(proof(last, format!("asked {count} times, never answered")));
    }
    let (outcome, reason) = match waited {
        true => (Outcome::DnsNoAnswer, None),
        false => (Outcome::Inconclusive, Some(Reason::CaptureEnded)),
    };
    Result { outcome, reason, stage: Stage::Dns, proof: shown }
}

/// An address that stands for "blocked". Private ones are legitimate (private endpoints).
fn is_sinkhole(addr: IpAddr, profile: &Profile) -> bool {
    addr.is_unspecified()
        || addr.is_loopback()
        || profile.network.sinkholes.iter().any(|net| net.contains(&addr))
}

/// True when `name` is another name that this client asked for, plus a search domain: the
/// profile's, or one that shows itself by that.
fn is_expansion(client: IpAddr, name: &HostName, names: &Knowledge, profile: &Profile) -> bool {
    let listed = |domain: &String| {
        name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
    };
    if profile.network.search_domains.iter().any(listed) {
        return true;
    }
    let mut shorter: &str = name;
    while let Some((rest, _)) = shorter.rsplit_once('.') {
        shorter = rest;
        let asked = |host: HostName| names.looked_up(client, &host);
        if shorter.contains('.') && HostName::parse(shorter.as_bytes()).is_some_and(asked) {
            return true;
        }
    }
    false
}
