//! DNS observations in, candidate names of (client, address, time) out.
//!
//! Knowledge is a union: it doesn't matter in which order, or in which stretch of a capture, the
//! answers were seen. What is asked of it always names a time.

use std::{cell::RefCell, net::IpAddr, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::Entry};

use serde::{Deserialize, Serialize};

use crate::{
    base::{HostName, Stamp, Timestamp},
    flow::Mark,
};

/// How long after its TTL an answer may still name a connection: programs keep addresses longer
/// than they should.
const GRACE: Duration = Duration::from_secs(3600);

/// Spans of validity kept for one (client, address, name); beyond it the two oldest are joined.
const MAX_SPANS: usize = 64;

/// Names kept for one address.
const MAX_BINDINGS: usize = 256;

/// Lists of names that are shared by connections to one address.
const MAX_GIVEN: usize = 16;

/// Addresses kept for one lookup.
const MAX_ADDRESSES: usize = 32;

/// What a resolver answered to an A or AAAA query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// At least one address.
    Addresses,
    /// The name exists, without such a record (RFC 2308 section 2.2).
    NoData,
    /// RCODE 3.
    NxDomain,
    /// RCODE 2.
    ServFail,
    /// RCODE 5.
    Refused,
    /// Another RCODE.
    Other(u16),
}

/// All that was seen of one client's A or AAAA lookups of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Queries.
    pub queries: Mark,
    /// Replies by kind, in the order of [`Reply`].
    pub replies: Vec<(Reply, Mark)>,
    /// Addresses that answers held, sorted; bounded.
    pub addresses: Vec<IpAddr>,
    /// Resolvers asked, sorted; bounded.
    pub servers: Vec<IpAddr>,
}

impl Lookup {
    /// The reply that came last, and when.
    pub fn final_reply(&self) -> Option<(Reply, Stamp)> {
        let last = |(reply, mark): &(Reply, Mark)| mark.last().map(|stamp| (*reply, stamp));
        self.replies.iter().filter_map(last).max_by_key(|&(reply, stamp)| (stamp, reply))
    }

    /// The marks of one kind of reply.
    pub fn replied(&self, reply: Reply) -> Option<&Mark> {
        self.replies.iter().find(|(kind, _)| *kind == reply).map(|(_, mark)| mark)
    }

    fn note(&mut self, reply: Reply, mark: &Mark) {
        match self.replies.binary_search_by_key(&reply, |(kind, _)| *kind) {
            Ok(at) => self.replies[at].1.then(mark),
            Err(at) => {
                make_room(&mut self.replies);
                self.replies.insert(at, (reply, *mark));
            }
        }
    }

    fn then(&mut self, later: Self) {
        self.queries.then(&later.queries);
        for (reply, mark) in &later.replies {
            self.note(*reply, mark);
        }
        later.addresses.into_iter().for_each(|addr| insert(&mut self.addresses, addr));
        later.servers.into_iter().for_each(|addr| insert(&mut self.servers, addr));
    }
}

/// Which lookup: who asked, for what, A or AAAA.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LookupKey {
    /// The client.
    pub client: IpAddr,
    /// The name in the question.
    pub name: HostName,
    /// True for AAAA.
    pub v6: bool,
}

/// The names that an address may have had for a client, by what resolvers told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// The names that were asked for, sorted.
    pub names: Arc<[HostName]>,
    /// True when they come from other clients' lookups.
    pub other_client: bool,
}

/// Everything that DNS told, as far as it was seen.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Knowledge {
    lookups: HashMap<LookupKey, Lookup, RandomState>,
    /// By address; sorted by client and name.
    bindings: HashMap<IpAddr, Vec<Binding>, RandomState>,
    /// When each client was first seen to get an answer.
    clients: HashMap<IpAddr, Stamp, RandomState>,
    limit: usize,
    shed: u64,
}

/// A resolver's word that an address belongs to a name.
#[derive(Clone, Serialize, Deserialize)]
struct Binding {
    client: IpAddr,
    name: HostName,
    /// Sorted, disjoint. Mostly there is one, which isn't here.
    spans: Vec<Span>,
    /// The first of them.
    first: Span,
}

/// From an answer to the end of its TTL.
type Span = (Timestamp, Timestamp);

impl Knowledge {
    /// Will remember at most that many lookups and named addresses.
    pub fn widen(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Knows nothing yet and will remember at most `limit` lookups, and as many named addresses.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Notes a query for A or AAAA records.
    pub fn query(&mut self, key: LookupKey, server: IpAddr, stamp: Stamp) {
        if self.has_room(&key) {
            let lookup = self.lookups.entry(key).or_default();
            lookup.queries.add(stamp);
            insert(&mut lookup.servers, server);
        }
    }

    /// Notes the reply to a query for A or AAAA records: the addresses that it gave, each valid for so
    /// many seconds.
    pub fn reply(
        &mut self,
        key: LookupKey,
        server: IpAddr,
        stamp: Stamp,
        reply: Reply,
        addresses: &[(IpAddr, u32)],
    ) {
        let client = key.client;
        self.saw(client, stamp);
        let name = if self.has_room(&key) {
            let asked = self.lookups.entry(key);
            // The question's text serves its answers, too.
            let name = asked.key().name.clone();
            let lookup = asked.or_default();
            let mut mark = Mark::default();
            mark.add(stamp);
            lookup.note(reply, &mark);
            insert(&mut lookup.servers, server);
            addresses.iter().for_each(|(addr, _)| insert(&mut lookup.addresses, *addr));
            name
        } else {
            key.name
        };
        for &(addr, ttl) in addresses {
            self.hint(client, &name, addr, stamp, ttl);
        }
    }

    /// Notes that `client` was told an address of a name, as it is by a hint in an HTTPS or SVCB record
    /// (RFC 9460 section 7.3), valid for `ttl` seconds.
    pub fn hint(&mut self, client: IpAddr, name: &HostName, addr: IpAddr, at: Stamp, ttl: u32) {
        let until = at.time.plus(Duration::from_secs(u64::from(ttl)));
        self.bind(client, name, addr, (at.time, until));
    }

    /// Names that `addr` may have meant for `client` at `time`.
    ///
    /// Answers to this client within their TTL win; then those within the grace period; then those
    /// to other clients. Several names remain when several were given.
    pub fn candidates(&self, client: IpAddr, addr: IpAddr, time: Timestamp) -> Candidates {
        Recall::new(self).candidates(client, addr, time)
    }

    fn bindings_of(&self, addr: IpAddr) -> &[Binding] {
        self.bindings.get(&addr).map_or(&[], Vec::as_slice)
    }

    /// True when answers to this client were seen at or before `time`.
    pub fn is_visible(&self, client: IpAddr, time: Timestamp) -> bool {
        self.clients.get(&client).is_some_and(|first| first.time <= time)
    }

    /// True when any lookup of `name` by `client` was seen.
    pub fn looked_up(&self, client: IpAddr, name: &HostName) -> bool {
        [false, true]
            .into_iter()
            .any(|v6| self.lookups.contains_key(&LookupKey { client, name: name.clone(), v6 }))
    }

    /// All lookups, sorted.
    pub fn lookups(&self) -> Vec<(&LookupKey, &Lookup)> {
        let mut all: Vec<_> = self.lookups.iter().collect();
        all.sort_by_key(|&(key, _)| key);
        all
    }

    /// How many lookups, and how many addresses that have names.
    pub fn counts(&self) -> (usize, usize) {
        (self.lookups.len(), self.bindings.len())
    }

    /// Facts that were dropped because a bound was reached.
    pub fn shed(&self) -> u64 {
        self.shed
    }

    /// Adds what another stretch, or another node, knows.
    pub fn union(&mut self, other: Self) {
        self.shed += other.shed;
        for (key, lookup) in other.lookups {
            let is_full = self.lookups.len() >= self.limit;
            match self.lookups.entry(key) {
                Entry::Occupied(mut known) => known.get_mut().then(lookup),
                Entry::Vacant(_) if is_full => self.shed += 1,
                Entry::Vacant(place) => drop(place.insert(lookup)),
            }
        }
        for (addr, bindings) in other.bindings {
            let is_full = self.bindings.len() >= self.limit;
            match self.bindings.entry(addr) {
                Entry::Vacant(place) if !is_full => drop(place.insert(bindings)),
                _ => self.bind_all(addr, &bindings),
            }
        }
        for (client, stamp) in other.clients {
            self.saw(client, stamp);
        }
    }

    fn saw(&mut self, client: IpAddr, stamp: Stamp) {
        if self.clients.len() < self.limit || self.clients.contains_key(&client) {
            let first = self.clients.entry(client).or_insert(stamp);
            *first = stamp.min(*first);
        }
    }

    /// True when the lookup is known or may still be noted; counts it otherwise.
    fn has_room(&mut self, key: &LookupKey) -> bool {
        let room = self.lookups.len() < self.limit || self.lookups.contains_key(key);
        self.shed += u64::from(!room);
        room
    }

    fn bind_all(&mut self, addr: IpAddr, bindings: &[Binding]) {
        for binding in bindings {
            for &span in binding.spans() {
                self.bind(binding.client, &binding.name, addr, span);
            }
        }
    }

    fn bind(&mut self, client: IpAddr, name: &HostName, addr: IpAddr, span: Span) {
        if self.bindings.len() >= self.limit && !self.bindings.contains_key(&addr) {
            self.shed += 1;
            return;
        }
        let bindings = self.bindings.entry(addr).or_default();
        match bindings.binary_search_by(|b| b.client.cmp(&client).then_with(|| b.name.cmp(name))) {
            Ok(at) => bindings[at].add(span),
            Err(at) if bindings.len() < MAX_BINDINGS => {
                make_room(bindings);
                let name = name.clone();
                bindings.insert(at, Binding { client, name, spans: Vec::new(), first: span });
            }
            Err(_) => self.shed += 1,
        }
    }
}

/// Candidates for many connections: most of those to one address have the same.
pub struct Recall<'k> {
    names: &'k Knowledge,
    known: RefCell<Known<'k>>,
}

#[derive(Default)]
struct Known<'k> {
    addresses: HashMap<IpAddr, Address<'k>, RandomState>,
    /// Room for the names that hold, again and again.
    names: Vec<&'k HostName>,
}

/// An address that has names.
struct Address<'k> {
    /// Sorted by client and name.
    told: &'k [Binding],
    /// By name, whoever was told, if several were. Empty until it is asked for.
    told_to_anyone: Vec<(&'k HostName, Vec<Span>)>,
    /// What was given before, for others to share.
    given: Vec<Arc<[HostName]>>,
}

impl<'k> Recall<'k> {
    /// Remembers nothing yet.
    pub fn new(names: &'k Knowledge) -> Self {
        Self { names, known: RefCell::default() }
    }

    /// What DNS told.
    pub fn names(&self) -> &'k Knowledge {
        self.names
    }

    /// As [`Knowledge::candidates`].
    pub fn candidates(&self, client: IpAddr, addr: IpAddr, time: Timestamp) -> Candidates {
        let Known { addresses, names } = &mut *self.known.borrow_mut();
        if let Some(address) = addresses.get_mut(&addr) {
            return address.candidates(client, time, names);
        }
        // Many addresses may be scanned that never had a name: nothing is remembered of those.
        match self.names.bindings_of(addr) {
            [] => Candidates::default(),
            told => {
                let address = Address { told, told_to_anyone: Vec::new(), given: Vec::new() };
                addresses.entry(addr).or_insert(address).candidates(client, time, names)
            }
        }
    }
}

impl<'k> Address<'k> {
    /// `names` is room for some.
    fn candidates(
        &mut self,
        client: IpAddr,
        time: Timestamp,
        names: &mut Vec<&'k HostName>,
    ) -> Candidates {
        let rest = &self.told[self.told.partition_point(|binding| binding.client < client)..];
        let own = rest.iter().take_while(|binding| binding.client == client);
        find_named(own.map(|binding| (&binding.name, binding.spans())), time, names);
        let other_client = names.is_empty();
        if other_client {
            let client = |binding: Option<&Binding>| binding.map(|binding| binding.client);
            if client(self.told.first()) == client(self.told.last()) {
                let all = self.told.iter().map(|binding| (&binding.name, binding.spans()));
                find_named(all, time, names);
            } else {
                if self.told_to_anyone.is_empty() {
                    self.told_to_anyone = by_name(self.told);
                }
                let all = self.told_to_anyone.iter().map(|(name, spans)| (*name, &spans[..]));
                find_named(all, time, names);
            }
        }
        if names.is_empty() {
            return Candidates::default();
        }
        // Mostly the very same text, which needn't be read.
        let is_same = |a: &HostName, b: &HostName| a.as_ptr() == b.as_ptr() || a == b;
        let same = |given: &&Arc<[HostName]>| {
            given.len() == names.len() && given.iter().zip(&*names).all(|(a, b)| is_same(a, b))
        };
        if let Some(given) = self.given.iter().find(same) {
            return Candidates { names: Arc::clone(given), other_client };
        }
        let names: Arc<[HostName]> = names.iter().copied().cloned().collect();
        if self.given.len() < MAX_GIVEN {
            self.given.push(Arc::clone(&names));
        }
        Candidates { names, other_client }
    }
}

/// What all clients together were told, by name.
fn by_name(told: &[Binding]) -> Vec<(&HostName, Vec<Span>)> {
    let mut all: Vec<_> = told.iter().collect();
    all.sort_by_key(|binding| &binding.name);
    let same = |a: &&Binding, b: &&Binding| a.name == b.name;
    let spans = |of_name: &[&Binding]| joined(of_name.iter().flat_map(|one| one.spans()).copied());
    all.chunk_by(same).map(|of_name| (&of_name[0].name, spans(of_name))).collect()
}

/// Sorted and disjoint.
fn joined(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut all: Vec<_> = spans.collect();
    all.sort_unstable();
    all.dedup_by(|(from, until), before| {
        let touches = *from <= before.1;
        if touches {
            before.1 = before.1.max(*until);
        }
        touches
    });
    all
}

/// Finds the names that hold at `time`; if none does, those within the grace period.
fn find_named<'k, 's>(
    told: impl Iterator<Item = (&'k HostName, &'s [Span])>,
    time: Timestamp,
    names: &mut Vec<&'k HostName>,
) {
    names.clear();
    let mut all_late = true;
    for (name, spans) in told {
        match is_late(spans, time) {
            Some(late) if late == all_late => names.push(name),
            Some(false) => {
                all_late = false;
                names.clear();
                names.push(name);
            }
            Some(true) | None => {}
        }
    }
}

/// Whether one of them holds at `time`: within the TTL (false) or within the grace period (true).
fn is_late(spans: &[Span], time: Timestamp) -> Option<bool> {
    // Those that began before it ended before it, too.
    let begun = spans.partition_point(|&(from, _)| from <= time);
    let (_, until) = spans[begun.checked_sub(1)?];
    let behind = |end: Timestamp| end.plus(Duration::from_nanos(1));
    (time < behind(until.plus(GRACE))).then_some(time >= behind(until))
}

impl Binding {
    fn spans(&self) -> &[Span] {
        match self.spans.len() {
            0 | 1 => std::slice::from_ref(&self.first),
            _ => &self.spans,
        }
    }

    /// Adds a span, joining those that touch.
    fn add(&mut self, (mut from, mut until): Span) {
        if self.spans.is_empty() {
            let (start, end) = self.first;
            if from <= end && start <= until {
                // Mostly it is asked for again while the answer holds.
                self.first = (start.min(from), end.max(until));
                return;
            }
            self.spans.push(self.first);
        }
        self.spans.retain(|&(start, end)| {
            let apart = until < start || end < from;
            if !apart {
                from = from.min(start);
                until = until.max(end);
            }
            apart
        });
        let at = self.spans.partition_point(|&(start, _)| start < from);
        self.spans.insert(at, (from, until));
        if self.spans.len() > MAX_SPANS {
            let (_, end) = self.spans.remove(1);
            self.spans[0].1 = end;
        }
        self.first = self.spans[0];
        if self.spans.len() == 1 {
            self.spans = Vec::new();
        }
    }
}

/// For one, as there is mostly no more.
fn make_room<T>(list: &mut Vec<T>) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
}

fn insert(sorted: &mut Vec<IpAddr>, addr: IpAddr) {
    if let Err(at) = sorted.binary_search(&addr)
        && sorted.len() < MAX_ADDRESSES
    {
        make_room(sorted);
        sorted.insert(at, addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const CDN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    fn at(seconds: u64) -> Stamp {
        let frame = FrameId::new(0, seconds);
        Stamp { time: Timestamp::from_parts(seconds, 0), frame }
    }

    fn key(client: IpAddr, name: &str) -> LookupKey {
        LookupKey { client, name: HostName::parse(name.as_bytes()).unwrap(), v6: false }
    }

    fn told(known: &mut Knowledge, name: &str, at: Stamp, ttl: u32) {
        known.reply(key(ALICE, name), BOB, at, Reply::Addresses, &[(CDN, ttl)]);
    }

    fn names(known: &Knowledge, client: IpAddr, seconds: u64) -> Vec<(String, bool)> {
        let candidates = known.candidates(client, CDN, at(seconds).time);
        candidates.names.iter().map(|name| (name.to_string(), candidates.other_client)).collect()
    }

    #[test]
    fn an_answer_names_what_comes_after_it() {
        let mut known = Knowledge::new(100);
        told(&mut known, "a.example", at(1000), 60);
        assert_eq!(names(&known, ALICE, 999), []);
        assert_eq!(names(&known, ALICE, 1000), [("a.example".into(), false)]);
        assert_eq!(names(&known, ALICE, 1060 + 3600), [("a.example".into(), false)]);
        assert_eq!(names(&known, ALICE, 1061 + 3600), []);
        assert_eq!(names(&known, BOB, 1001), [("a.example".into(), true)]);
    }

    #[test]
    fn a_shared_address_keeps_its_names_and_fresh_ones_win() {
        let mut known = Knowledge::new(100);
        told(&mut known, "a.example", at(1000), 60);
        told(&mut known, "b.example", at(1050), 60);
        assert_eq!(names(&known, ALICE, 1055).len(), 2);
        assert_eq!(names(&known, ALICE, 1080), [("b.example".into(), false)]);
        assert_eq!(names(&known, ALICE, 1200).len(), 2);
    }

    #[test]
    fn union_is_the_same_in_any_order() {
        let stretch = |answers: &[(u64, u32)]| {
            let mut known = Knowledge::new(100);
            for &(seconds, ttl) in answers {
                told(&mut known, "a.example", at(seconds), ttl);
            }
            known
        };
        let mut forth = stretch(&[(10, 10), (100, 5)]);
        forth.union(stretch(&[(18, 10), (102, 1)]));
        let mut back = stretch(&[(18, 10), (102, 1)]);
        back.union(stretch(&[(10, 10), (100, 5)]));
        assert_eq!(forth.lookups(), back.lookups());
        let spans = |known: &Knowledge| known.bindings[&CDN][0].spans().to_vec();
        assert_eq!(spans(&forth), spans(&back));
        assert_eq!(spans(&forth).len(), 2);
    }

    #[test]
    fn the_last_reply_counts() {
        let mut known = Knowledge::new(100);
        known.reply(key(ALICE, "a.example"), BOB, at(1), Reply::NxDomain, &[]);
        known.reply(key(ALICE, "a.example"), BOB, at(2), Reply::Addresses, &[]);
        let lookups = known.lookups();
        assert_eq!(lookups[0].1.final_reply(), Some((Reply::Addresses, at(2))));
    }

    #[test]
    fn bounds_hold_and_are_counted() {
        let mut known = Knowledge::new(2);
        for n in 0..5 {
            known.query(key(ALICE, &format!("h{n}.example")), BOB, at(n));
        }
        assert_eq!((known.lookups().len(), known.shed()), (2, 3));
    }
}
