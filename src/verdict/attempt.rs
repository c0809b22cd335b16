//! Connections and lookups as attempts to reach a destination.

use std::{
    cmp::Ordering, fmt, hash::BuildHasher as _, net::IpAddr, num::NonZeroUsize, sync::Arc,
    time::Duration,
};

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::{
    base::{HostName, Stamp, Timestamp, in_parallel, prefetch},
    catalog::{Profile, Proxy, holds},
    decode::Transport,
    extract::{Connect, Exchange},
    flow::{Endpoint, FlowKey, Side, Tally},
    names::{Candidates, Recall},
    scan::{Census, Connection, Kind, Repeats, Visit},
    verdict::{
        Flag, Flags, Inspection, NamedBy, Outcome, Reason, Stage,
        contact::Contact,
        finding::Bytes,
        lookup,
        repeated::Repeated,
        transport::{Conduct, Proof, Result, Watch},
    },
};

/// One try of one client to reach a destination.
#[derive(Clone, Debug)]
pub struct Attempt<'c> {
    /// Who tried.
    pub client: IpAddr,
    /// The best name, when there is one.
    pub name: Option<HostName>,
    /// A number that all attempts on its destination have. Others may have it, too.
    pub lot: u32,
    /// The number of its destination among those of all attempts.
    pub subject: u32,
    /// Where it comes from.
    pub named_by: NamedBy,
    /// All names that DNS makes possible, sorted.
    pub candidates: Arc<[HostName]>,
    /// The address, when the client itself connected to the destination.
    pub addr: Option<IpAddr>,
    /// Transport and port; `None` for a lookup.
    pub service: Option<(Transport, u16)>,
    /// What became of it.
    pub result: Result,
    /// Payload bytes.
    pub bytes: Bytes,
    /// The first packet.
    pub first: Stamp,
    /// The last packet.
    pub last: Stamp,
    /// What else is worth knowing.
    pub flags: Flags,
    /// How many connections it is.
    pub repeats: Repeats,
    /// True when it failed, but the client succeeded side by side with it or soon after.
    pub made_good: bool,
    /// Others that succeeded just like this one, which stands for them. `bytes` are those of all.
    pub again: Option<Box<Again<'c>>>,
}

/// Connections of which another one's attempt tells all but the times and the clients.
#[derive(Clone, Debug)]
pub struct Again<'c> {
    kind: &'c Kind,
    visits: Vec<&'c Visit>,
    /// How many connections those are.
    connections: u64,
    /// Names that DNS makes possible for them, where those differ from the ones before.
    candidates: Vec<Arc<[HostName]>>,
}

/// When an attempt was made, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) first: Stamp,
    pub(super) client: IpAddr,
    pub(super) last: Timestamp,
    pub(super) repeats: Repeats,
}

/// What an attempt wants to reach, as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination<'n> {
    /// By its name.
    Name(&'n HostName),
    /// By its address, for want of a name.
    Addr(IpAddr),
    /// By neither: a proxy was asked for something that can't be read.
    Unknown,
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Addr(addr) => addr.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Attempts, and what is no attempt.
#[derive(Default)]
pub struct Attempts<'c> {
    /// In no particular order.
    pub all: Vec<Attempt<'c>>,
    /// TCP connections that began before the capture.
    pub midstream_flows: u64,
    /// Flows of which only one direction was captured.
    pub one_sided: u64,
    /// Flows that came from outside.
    pub inbound_flows: u64,
}

/// Finds the attempts in what a capture told.
pub fn attempts<'c>(census: &'c Census, profile: &Profile) -> Attempts<'c> {
    let mut found = Attempts::default();
    for mut part in attempts_by_part(census, profile, false, NonZeroUsize::MIN) {
        found.all.append(&mut part.all);
        found.midstream_flows += part.midstream_flows;
        found.one_sided += part.one_sided;
        found.inbound_flows += part.inbound_flows;
    }
    found
}

/// The same, as several threads find it. With `each_client`, those of several clients may mean different
/// things, however alike they are.
pub(super) fn attempts_by_part<'c>(
    census: &'c Census,
    profile: &Profile,
    each_client: bool,
    threads: NonZeroUsize,
) -> Vec<Attempts<'c>> {
    let viewpoint = &Viewpoint { each_client, ..Viewpoint::new(census, profile) };
    let is_incomplete = is_incomplete(census);
    in_parallel(Part::all(census), threads, || {
        let naming = Recall::new(&census.names);
        move |part: Part<'c>| {
            let mut found = part.attempts(viewpoint, &naming);
            for attempt in &mut found.all {
                if is_incomplete {
                    attempt.result.doubt(Reason::Evicted);
                }
                attempt.lot = FixedState::default().hash_one(attempt.destination()) as u32;
            }
            found
        }
    })
}

/// Kinds between a look for visits and their use.
const AHEAD: usize = 8;

/// A part of what a capture told: small enough that all threads get done at about the same time.
enum Part<'c> {
    Connections(&'c [Box<Connection>]),
    Kinds(&'c [(Kind, Vec<Visit>)]),
    Lookups,
}

impl<'c> Part<'c> {
    /// Connections, or kinds of them, in one part.
    const SIZE: usize = 256;

    fn all(census: &'c Census) -> Vec<Self> {
        let connections = census.connections.chunks(Self::SIZE).map(Self::Connections);
        let kinds = census.kinds.chunks(Self::SIZE).map(Self::Kinds);
        // The one that can't be divided comes first: no other thread waits for it at the end.
        [Self::Lookups].into_iter().chain(connections).chain(kinds).collect()
    }

    fn attempts(self, viewpoint: &Viewpoint<'_>, naming: &Recall<'c>) -> Attempts<'c> {
        let mut found = Attempts::default();
        match self {
            Self::Connections(connections) => {
                found.all.reserve(connections.len());
                for connection in connections {
                    viewpoint.attempts(connection, naming, &mut found);
                }
            }
            Self::Kinds(kinds) => {
                found.all.reserve(kinds.len());
                // Visits lie anywhere: they are fetched a little ahead.
                for (at, (kind, visits)) in kinds.iter().enumerate() {
                    let next = kinds.get(at + AHEAD).and_then(|(_, visits)| visits.first());
                    next.into_iter().for_each(prefetch);
                    Repeated::new(kind, viewpoint, naming).attempts(visits, &mut found);
                }
            }
            Self::Lookups => {
                let watch = |client, first, last| viewpoint.watch(client, first, last);
                found.all = lookup::failed(viewpoint.census, viewpoint.profile, watch);
            }
        }
        found
    }
}

/// True when there were more connections than could be kept. The success that would decide may be
/// among those that weren't.
fn is_incomplete(census: &Census) -> bool {
    let cut_short = || {
        let cut_short = census.connections.iter().filter(|connection| connection.evicted);
        cut_short.map(|one| u64::from(one.repeats.connections)).sum()
    };
    census.counters.evicted > 0 && census.counters.evicted > cut_short()
}

/// After the last packet of a connection, an answer may come for so long.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What the whole capture says about how to read one connection.
pub(super) struct Viewpoint<'v> {
    pub(super) census: &'v Census,
    pub(super) profile: &'v Profile,
    hearing: Hearing,
    pub(super) inspection: Inspection<'v>,
    /// True when attempts of several clients may mean different things, however alike they are.
    pub(super) each_client: bool,
    end: Timestamp,
}

impl<'v> Viewpoint<'v> {
    pub(super) fn new(census: &'v Census, profile: &'v Profile) -> Self {
        let end = census.counters.span.map_or(Timestamp::default(), |(_, last)| last);
        let hearing = Hearing::new(census, profile);
        let inspection = Inspection::new(census, profile);
        Self { census, profile, hearing, inspection, each_client: false, end }
    }

    /// The connection as one or several attempts; none when it came from outside.
    pub(super) fn attempts(
        &self,
        connection: &Connection,
        naming: &Recall<'_>,
        found: &mut Attempts<'_>,
    ) {
        let client = client_of(connection, self.profile);
        let local = |side| is_local(connection.key.end(side).addr(), self.profile);
        if local(client.other()) && !local(client) {
            found.inbound_flows += u64::from(connection.repeats.connections);
            return;
        }
        let flow = self.flow(connection, client, naming);
        flow.count(found);
        flow.attempts(&mut found.all);
    }

    /// The connection as an attempt to reach what it is about: behind a proxy, its target.
    pub(super) fn destination(
        &self,
        connection: &Connection,
        client: Side,
        naming: &Recall<'_>,
    ) -> Attempt<'static> {
        let flow = self.flow(connection, client, naming);
        let mut all = Vec::new();
        flow.attempts(&mut all);
        all.into_iter().next_back().unwrap_or_else(|| flow.direct())
    }

    fn flow<'f, 'n>(
        &'f self,
        connection: &'f Connection,
        client: Side,
        naming: &'f Recall<'n>,
    ) -> Flow<'f, 'n> {
        let Connection { key, ref tally, opener, repeats, .. } = *connection;
        let Tally { first, last, .. } = *tally;
        let watch = self.watch(key.end(client).addr(), first.time, last.time);
        let conduct = Conduct::new(connection, client, watch, &self.inspection);
        let has_packets = tally.sides.iter().any(|side| side.packets > 0);
        let contact = Contact {
            viewpoint: self,
            client: key.end(client).addr(),
            server: key.end(client.other()),
            transport: key.transport(),
            first,
            last,
            bytes: Bytes {
                out: tally.side(client).bytes,
                inward: tally.side(client.other()).bytes,
            },
            repeats,
            is_midstream: has_packets && key.transport() == Transport::Tcp && opener.is_none(),
        };
        Flow { connection, client, contact, conduct, naming }
    }

    /// True when a client, whose DNS is visible by then, gave a name that isn't among those that DNS makes
    /// possible.
    pub(super) fn is_uncorroborated(
        &self,
        name: &HostName,
        candidates: &[HostName],
        client: IpAddr,
        at: Timestamp,
    ) -> bool {
        candidates.binary_search(name).is_err() && self.census.names.is_visible(client, at)
    }

    /// What the capture could show of a client between two times.
    fn watch(&self, client: IpAddr, first: Timestamp, last: Timestamp) -> Watch {
        let one_sided = self.hearing.is_deaf(client);
        // What would still have come belongs to it, and what tells of losses is a little late.
        let lossy = self.census.counters.lost_any(first, last.plus(ANSWER_TIME));
        Watch { end: self.end, one_sided, lossy }
    }
}

/// Who opened a connection: the sender of the SYN; else who spoke first in a protocol that shows
/// it; else the captured host; else the end with the higher port.
pub fn client_of(connection: &Connection, profile: &Profile) -> Side {
    connection.client().unwrap_or_else(|| likely_client(&connection.key, profile))
}

/// The same, of a connection that doesn't show it.
pub(super) fn likely_client(key: &FlowKey, profile: &Profile) -> Side {
    let [low, high] = [Side::Low, Side::High].map(|side| key.end(side));
    let by_port = if low.port() > high.port() { Side::Low } else { Side::High };
    // A captured host's well-known port serves others, whoever was heard first.
    let serves = |end: Endpoint, other: Endpoint| end.port() < 1024 && other.port() >= 1024;
    match (is_local(low.addr(), profile), is_local(high.addr(), profile)) {
        (true, false) if !serves(low, high) => Side::Low,
        (false, true) if !serves(high, low) => Side::High,
        _ => by_port,
    }
}

pub(super) fn is_local(addr: IpAddr, profile: &Profile) -> bool {
    holds(&profile.network.local, addr)
}

pub(super) fn is_proxy(server: Endpoint, profile: &Profile) -> bool {
    let is_it =
        |proxy: &Proxy| proxy.port == server.port() && proxy.host.parse() == Ok(server.addr());
    profile.network.proxies.iter().any(is_it)
}

/// One that the profile lists.
pub(super) fn is_sinkhole(addr: IpAddr, profile: &Profile) -> bool {
    holds(&profile.network.sinkholes, addr)
}

/// Of which hosts both directions were captured.
struct Hearing {
    deaf: HashSet<IpAddr, foldhash::fast::RandomState>,
}

impl Hearing {
    /// A host is deaf when its packets acknowledge others that aren't in the capture, and never
    /// does an answer show up.
    fn new(census: &Census, profile: &Profile) -> Self {
        let mut deaf: HashSet<_, _> = HashSet::default();
        let mut heard = Vec::new();
        let tcp = census.connections.iter().filter(|c| c.key.transport() == Transport::Tcp);
        for connection in tcp {
            let client = client_of(connection, profile);
            let (mine, theirs) =
                (connection.tally.side(client), connection.tally.side(client.other()));
            let addr = connection.key.end(client).addr();
            if theirs.packets > 0 && mine.packets > 0 {
                heard.push(addr);
            } else if mine.last_ack.is_some() {
                deaf.insert(addr);
            }
        }
        heard.iter().for_each(|addr| _ = deaf.remove(addr));
        // One that went well was heard in both directions.
        let well = census.kinds.iter().filter(|(kind, _)| kind.transport == Transport::Tcp);
        for visit in well.flat_map(|(_, visits)| visits) {
            if deaf.is_empty() {
                break;
            }
            deaf.remove(&visit.client.addr());
        }
        Self { deaf }
    }

    fn is_deaf(&self, client: IpAddr) -> bool {
        self.deaf.contains(&client)
    }
}

/// A connection on its way to attempts.
struct Flow<'f, 'n> {
    connection: &'f Connection,
    client: Side,
    contact: Contact<'f>,
    conduct: Conduct<'f>,
    naming: &'f Recall<'n>,
}

impl Flow<'_, '_> {
    fn profile(&self) -> &Profile {
        self.contact.viewpoint.profile
    }

    fn count(&self, found: &mut Attempts<'_>) {
        let tally = &self.connection.tally;
        let is_tcp = self.contact.transport == Transport::Tcp;
        let count = u64::from(self.connection.repeats.connections);
        if self.contact.is_midstream {
            found.midstream_flows += count;
        }
        if is_tcp && tally.sides.iter().any(|side| side.packets == 0) && self.is_half_heard() {
            found.one_sided += count;
        }
    }

    /// True when one side's packets can only follow on packets of the other side, of which there
    /// are none.
    fn is_half_heard(&self) -> bool {
        let tally = &self.connection.tally;
        let (mine, theirs) = (tally.side(self.client), tally.side(self.client.other()));
        mine.last_ack.is_some() || theirs.last_ack.is_some() || theirs.syn_ack.seen()
    }

    fn attempts(&self, all: &mut Vec<Attempt<'_>>) {
        let begin = all.len();
        self.tries(all);
        // Whatever a sinkhole answers, it isn't what was asked for.
        let (server, first) = (self.contact.server.addr(), self.contact.first);
        if is_sinkhole(server, self.profile()) {
            all[begin..].iter_mut().for_each(|attempt| attempt.result.sink(first, server));
        }
    }

    fn tries(&self, all: &mut Vec<Attempt<'_>>) {
        let facts = &self.connection.facts;
        let is_proxy = self.is_proxy();
        if is_proxy {
            all.push(self.to_proxy());
        }
        if let Some(connect) = &facts.connect {
            all.push(self.through(connect));
        } else if facts.hello.is_none() && !facts.exchanges.is_empty() {
            for exchange in &facts.exchanges {
                all.push(match is_proxy {
                    true => self.proxied_request(exchange),
                    false => self.request(exchange),
                });
            }
        } else if !is_proxy {
            all.push(self.direct());
        }
    }

    fn is_proxy(&self) -> bool {
        is_proxy(self.contact.server, self.profile()) || self.connection.facts.connect.is_some()
    }

    /// The client itself connects to the destination.
    fn direct(&self) -> Attempt<'static> {
        let hello = self.connection.facts.hello.clone();
        self.contact.direct(self.conduct.result(), hello, self.candidates())
    }

    /// An HTTP request on the connection.
    fn request(&self, exchange: &Exchange) -> Attempt<'static> {
        self.contact.request(self.conduct.exchange(exchange), exchange, self.candidates())
    }

    /// The same to a proxy, which does the connecting.
    fn proxied_request(&self, exchange: &Exchange) -> Attempt<'static> {
        let result = self.conduct.exchange(exchange);
        let mut attempt = self.contact.asking(result, exchange, Arc::default());
        attempt.addr = None;
        attempt.service = Some((Transport::Tcp, exchange.port.unwrap_or(80)));
        attempt.flags.add(Flag::Proxied);
        self.note_missed_skip(&mut attempt);
        attempt
    }

    fn through(&self, connect: &Connect) -> Attempt<'static> {
        let mut attempt = self.contact.attempt(self.conduct.result(), Arc::default());
        attempt.named_by = NamedBy::Connect;
        attempt.name.clone_from(&connect.host);
        // The inner hello says more than the CONNECT when that only has an address.
        if attempt.name.is_none()
            && let Some(sni) = self.connection.facts.hello.as_ref().and_then(|h| h.sni.clone())
        {
            attempt.name = Some(sni);
            attempt.named_by = NamedBy::Sni;
        }
        let literal = connect.target.rsplit_once(':').map_or("", |(host, _)| host);
        attempt.addr = literal.trim_matches(['[', ']']).parse().ok();
        attempt.service = Some((Transport::Tcp, connect.port));
        attempt.flags.add(Flag::Proxied);
        self.note_missed_skip(&mut attempt);
        attempt
    }

    /// What is asked of a proxy but must be left out of it (the proxy skip range).
    fn note_missed_skip(&self, attempt: &mut Attempt<'_>) {
        let network = &self.profile().network;
        let own_name = attempt.name.as_deref().is_some_and(|name| {
            name == "localhost" || name.ends_with(".localhost") || network.is_own_name(name)
        });
        let inside = attempt.addr.is_some_and(|addr| addr.is_loopback() || network.is_inside(addr));
        if own_name || inside {
            attempt.flags.add(Flag::ProxySkipMissed);
        }
    }

    /// The proxy itself is a destination too: it can be unreachable.
    fn to_proxy(&self) -> Attempt<'static> {
        let facts = &self.connection.facts;
        let mut attempt = self.direct();
        let answer = facts
            .connect
            .as_ref()
            .and_then(|connect| connect.status)
            .or_else(|| facts.exchanges.first().and_then(|exchange| exchange.status));
        if let Some((stamp, status)) = answer {
            let detail = format!("the proxy answers {status}");
            attempt.result = Result::established(Stage::Proxy, stamp, detail);
        }
        let candidate = attempt.candidates.first().cloned();
        attempt.named_by = if candidate.is_some() { NamedBy::Dns } else { NamedBy::Address };
        attempt.name = candidate;
        attempt.flags = Flag::Proxy.into();
        attempt
    }

    fn candidates(&self) -> Candidates {
        let Contact { client, server, first, .. } = self.contact;
        self.naming.candidates(client, server.addr(), first.time)
    }
}

impl Attempt<'_> {
    /// True when it shows that the destination can't be reached.
    pub fn is_blocked(&self) -> bool {
        self.result.outcome.meaning() == super::Meaning::Blocked
    }

    /// True when it reached the destination.
    pub fn is_reached(&self) -> bool {
        self.result.outcome == Outcome::Established
    }

    /// The name, or the address, under which it is reported.
    pub fn destination(&self) -> Destination<'_> {
        match (&self.name, self.addr) {
            (Some(name), _) => Destination::Name(name),
            (None, Some(addr)) => Destination::Addr(addr),
            (None, None) => Destination::Unknown,
        }
    }

    /// Its [`destination`](Self::destination), as text.
    pub(super) fn label(&self) -> String {
        match &self.name {
            Some(name) => String::from(&**name),
            None => self.destination().to_string(),
        }
    }

    /// The order in which attempts began; those that began together, by destination.
    pub(super) fn cmp_begun(&self, other: &Self) -> Ordering {
        let names = || self.destination().cmp(&other.destination());
        (self.first, self.client).cmp(&(other.first, other.client)).then_with(names)
    }

    /// How many it stands for, itself included.
    pub fn count(&self) -> u64 {
        let others = self.again.as_ref().map_or(0, |again| again.connections);
        u64::from(self.repeats.connections) + others
    }

    /// When each that it stands for was made, and by whom.
    pub(super) fn tries(&self) -> impl ExactSizeIterator<Item = Try> {
        let others = self.again.as_ref().map_or(0, |again| again.visits.len());
        (0..1 + others).map(|place| self.tried(place))
    }

    fn tried(&self, place: usize) -> Try {
        let again = self.again.as_ref().zip(place.checked_sub(1));
        if let Some((again, place)) = again {
            return again.tried(place);
        }
        let Self { first, client, repeats, .. } = *self;
        Try { first, client, last: self.last.time, repeats }
    }

    /// What proves the outcome of one of [these](Self::tries), by its place.
    pub(super) fn proofs(&self, place: usize) -> impl Iterator<Item = Proof> {
        let again = self.again.as_ref().zip(place.checked_sub(1));
        let stamps = again.map(|(again, place)| again.visits[place].proof(again.kind));
        self.result.proof.iter().enumerate().map_while(move |(at, proof)| {
            let stamp = match &stamps {
                Some(stamps) => stamps.get(at).copied().flatten()?,
                None => proof.stamp,
            };
            Some(Proof { stamp, detail: proof.detail.clone() })
        })
    }

    /// Names that DNS makes possible for any of [these](Self::tries).
    pub(super) fn candidate_lists(&self) -> impl Iterator<Item = &Arc<[HostName]>> {
        let others = self.again.iter().flat_map(|again| &again.candidates);
        std::iter::once(&self.candidates).chain(others)
    }

    /// Why it's inconclusive.
    pub fn reason(&self) -> Option<Reason> {
        self.result.reason
    }
}

impl<'c> Attempt<'c> {
    /// Lets it stand for another connection, too.
    pub(super) fn add(&mut self, kind: &'c Kind, visit: &'c Visit, candidates: Arc<[HostName]>) {
        self.bytes.out += visit.bytes[0];
        self.bytes.inward += visit.bytes[1];
        let none = || Again { kind, visits: Vec::new(), connections: 0, candidates: Vec::new() };
        let again = self.again.get_or_insert_with(|| none().into());
        again.visits.push(visit);
        again.connections += u64::from(visit.repeats.connections);
        if !Arc::ptr_eq(again.candidates.last().unwrap_or(&self.candidates), &candidates) {
            again.candidates.push(candidates);
        }
    }
}

impl Again<'_> {
    fn tried(&self, place: usize) -> Try {
        let visit = self.visits[place];
        let (first, client) = (visit.began(self.kind), visit.client.addr());
        Try { first, client, last: visit.last.time, repeats: visit.repeats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{extract::Facts, flow::Tally, scan::Counters};

    /// Those that one stands for are there, too.
    #[test]
    fn dropped_flows_that_one_stands_for_are_not_missing() {
        let end = |port| Endpoint::new("10.0.0.1".parse().unwrap(), port);
        let evicted = |connections| Connection {
            key: FlowKey::new(Transport::Tcp, end(1), end(2)).0,
            tally: Tally::default(),
            opener: None,
            facts: Facts::default(),
            tunnel: None,
            watched_until: None,
            evicted: true,
            repeats: Repeats { connections, tries: 1 },
        };
        let census = |evicted: Vec<Connection>| Census {
            counters: Counters { evicted: 3, ..Counters::default() },
            connections: evicted.into_iter().map(Box::new).collect(),
            ..Census::default()
        };
        assert!(!is_incomplete(&census(vec![evicted(1), evicted(2)])));
        assert!(is_incomplete(&census(vec![evicted(1), evicted(1)])));
    }
}
