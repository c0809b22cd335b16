//! Failed DNS lookups as attempts.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::{
    base::{HostName, Stamp, Timestamp},
    catalog::{Profile, holds},
    flow::{IcmpSeen, Mark},
    names::{Knowledge, Lookup, LookupKey, Reply},
    scan::{Census, Repeats},
    verdict::{
        Flags, NamedBy, Outcome, Reason, Stage,
        attempt::Attempt,
        finding::Bytes,
        transport::{Proof, Result, Watch, icmp_detail},
    },
};

/// How long a resolver may take. Stub resolvers ask again, or give up, after 5 s.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// How long it may take when the client has asked again in the meantime.
const RETRY_WAIT: Duration = Duration::from_secs(2);

/// A failure that follows an answer with addresses within this time is another resolver's, which
/// the client, who asked several, no longer waits for.
const OTHER_RESOLVER: Duration = Duration::from_secs(5);

/// What else the capture says of a client's way to its resolvers.
struct Path<'p> {
    profile: &'p Profile,
    /// True when answers may have been forgotten.
    shed: bool,
    /// Errors about queries, by client and resolver.
    refused: BTreeMap<(IpAddr, IpAddr), IcmpSeen>,
}

/// What one client heard about one name: its A and its AAAA lookups, at least one of them.
struct Heard<'l> {
    lookups: &'l [(&'l LookupKey, &'l Lookup)],
}

/// The lookups that gave no address to connect to.
///
/// A client asks for A and AAAA records; one of them is enough. Names that a resolver library
/// made by appending a search domain aren't destinations. `watch` tells what the capture could show
/// of a client's traffic.
pub(super) fn failed(
    census: &Census,
    profile: &Profile,
    watch: impl Fn(IpAddr, Timestamp, Timestamp) -> Watch,
) -> Vec<Attempt<'static>> {
    let path = Path::new(census, profile);
    let lookups = census.names.lookups();
    let same = |(a, _): &(&LookupKey, _), (b, _): &(&LookupKey, _)| {
        (a.client, &a.name) == (b.client, &b.name)
    };
    let heard = lookups.chunk_by(same).map(|lookups| Heard { lookups });
    let failed = heard.filter_map(|heard| heard.attempt(&path, &watch));
    failed
        .filter(|attempt| {
            let expands = |name| is_expansion(attempt.client, name, &census.names, profile);
            !attempt.name.as_ref().is_some_and(expands)
        })
        .collect()
}

impl<'p> Path<'p> {
    fn new(census: &Census, profile: &'p Profile) -> Self {
        let mut refused = BTreeMap::new();
        for connection in &census.connections {
            if let Some(icmp) = &connection.tally.icmp {
                let client = connection.key.end(icmp.about).addr();
                let server = connection.key.end(icmp.about.other()).addr();
                refused.entry((client, server)).or_insert(**icmp);
            }
        }
        Self { profile, shed: census.names.shed() > 0, refused }
    }

    /// The error that answered a query, when nothing else did.
    fn refusal(&self, client: IpAddr, lookup: &Lookup) -> Option<&IcmpSeen> {
        lookup.servers.iter().find_map(|server| self.refused.get(&(client, *server)))
    }
}

impl Heard<'_> {
    /// From the first query to the last.
    fn span(&self) -> (Timestamp, Timestamp) {
        let queries = || self.lookups.iter().map(|(_, lookup)| lookup.queries);
        let first = queries().filter_map(|mark| mark.first()).min().unwrap_or_default();
        let last = queries().filter_map(|mark| mark.last()).max().unwrap_or_default();
        (first.time, last.time)
    }

    fn attempt(
        &self,
        path: &Path<'_>,
        watch: impl Fn(IpAddr, Timestamp, Timestamp) -> Watch,
    ) -> Option<Attempt<'static>> {
        let LookupKey { client, name, .. } = self.lookups.first()?.0;
        let (first, last) = self.span();
        let watch = watch(*client, first, last);
        let results = self.lookups.iter().map(|(key, lookup)| path.outcome(key, lookup, watch));
        let result = results.reduce(better).flatten()?;
        // That a name has no IPv6 address is no failure of who asks for nothing else.
        if result.outcome == Outcome::DnsNodata && self.lookups.iter().all(|(key, _)| key.v6) {
            return None;
        }
        let stamps: Vec<Stamp> =
            self.lookups.iter().flat_map(|(_, lookup)| failing_since(lookup)).collect();
        Some(Attempt {
            client: *client,
            name: Some(name.clone()),
            lot: 0,
            subject: 0,
            named_by: NamedBy::Lookup,
            candidates: std::sync::Arc::default(),
            addr: None,
            service: None,
            result,
            bytes: Bytes::default(),
            first: stamps.iter().copied().min()?,
            last: stamps.iter().copied().max()?,
            flags: Flags::default(),
            repeats: Repeats::default(),
            made_good: false,
            again: None,
        })
    }
}

/// The first and last packets, of those after the last answer with addresses.
fn failing_since(lookup: &Lookup) -> impl Iterator<Item = Stamp> {
    let worked = lookup.replied(Reply::Addresses).and_then(Mark::last);
    let replies = lookup.replies.iter().map(|(_, mark)| mark);
    let all = replies.chain([&lookup.queries]).flat_map(|mark| [mark.first(), mark.last()]);
    all.flatten().filter(move |stamp| worked.is_none_or(|worked| *stamp >= worked))
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

impl Path<'_> {
    /// What became of one lookup; `None` when it gave an address to connect to.
    fn outcome(&self, key: &LookupKey, lookup: &Lookup, watch: Watch) -> Option<Result> {
        let rtype = if key.v6 { "AAAA" } else { "A" };
        let Some((reply, stamp)) = decisive_reply(lookup) else {
            return Some(self.unanswered(key.client, rtype, lookup, watch));
        };
        let (outcome, what) = match reply {
            Reply::Addresses => {
                let sunk = |addr: &IpAddr| is_sinkhole(*addr, self.profile);
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
        let detail = format!("DNS answer to {rtype}: {what}").into();
        let proof = vec![Proof { stamp, detail }];
        Some(Result { outcome, reason: None, stage: Stage::Dns, proof })
    }

    fn unanswered(&self, client: IpAddr, rtype: &str, lookup: &Lookup, watch: Watch) -> Result {
        let servers: Vec<_> = lookup.servers.iter().map(ToString::to_string).collect();
        let count = lookup.queries.count;
        let mut proof = Vec::new();
        let mut show =
            |stamp: Stamp, detail: String| proof.push(Proof { stamp, detail: detail.into() });
        if let Some(first) = lookup.queries.first() {
            show(first, format!("DNS query for {rtype} to {}", servers.join(", ")));
        }
        if let Some(last) = lookup.queries.last().filter(|_| count > 1) {
            show(last, format!("asked {count} times, never answered"));
        }
        let waited = lookup.queries.first().map_or(Duration::ZERO, |q| watch.end.since(q.time));
        let wait = if count > 1 { RETRY_WAIT } else { ANSWER_WAIT };
        let (outcome, reason) = if let Some(icmp) = self.refusal(client, lookup) {
            show(icmp.stamp, icmp_detail(icmp));
            (Outcome::IcmpUnreachable, None)
        } else if watch.one_sided {
            (Outcome::Inconclusive, Some(Reason::OneSided))
        } else if watch.lossy {
            (Outcome::Inconclusive, Some(Reason::Drops))
        } else if self.shed {
            (Outcome::Inconclusive, Some(Reason::Evicted))
        } else if waited >= wait {
            (Outcome::DnsNoAnswer, None)
        } else {
            (Outcome::Inconclusive, Some(Reason::CaptureEnded))
        };
        Result { outcome, reason, stage: Stage::Dns, proof }
    }
}

/// The reply that the client goes by: the last one, or addresses from another resolver shortly
/// before it.
fn decisive_reply(lookup: &Lookup) -> Option<(Reply, Stamp)> {
    let (reply, stamp) = lookup.final_reply()?;
    let addresses = lookup.replied(Reply::Addresses).and_then(Mark::last);
    match addresses.filter(|told| stamp.time.since(told.time) <= OTHER_RESOLVER) {
        Some(told) => Some((Reply::Addresses, told)),
        None => Some((reply, stamp)),
    }
}

/// An address that stands for "blocked". Private ones are legitimate (private endpoints).
fn is_sinkhole(addr: IpAddr, profile: &Profile) -> bool {
    addr.is_unspecified() || addr.is_loopback() || holds(&profile.network.sinkholes, addr)
}

/// True when `name` is another name that this client asked for, plus a search domain: the
/// profile's, or one that shows itself by that.
fn is_expansion(client: IpAddr, name: &HostName, names: &Knowledge, profile: &Profile) -> bool {
    if profile.network.is_own_name(name) {
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
