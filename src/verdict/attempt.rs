//! Connections and lookups as attempts to reach a destination.

use std::{cmp::Ordering, fmt, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};

use crate::{
    base::{HostName, Stamp, Timestamp, in_parallel},
    catalog::{Profile, Proxy},
    decode::Transport,
    extract::{Connect, Ech, Exchange},
    flow::{Endpoint, FlowKey, Side, Tally},
    names::{Candidates, Recall},
    scan::{Census, Connection, Kind, Repeats, Visit},
    verdict::{
        Flag, Inspection, NamedBy, Outcome, Reason, Stage,
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
    pub flags: Vec<Flag>,
    /// How many connections it is.
    pub repeats: Repeats,
    /// True when it failed, but the client succeeded side by side with it or soon after.
    pub made_good: bool,
    /// Others that succeeded just like this one, which stands for them. `bytes` are those of all.
    pub again: Vec<Again<'c>>,
}

/// A connection of which another one's attempt tells all but the times and the client.
#[derive(Clone, Debug)]
pub struct Again<'c> {
    pub(super) kind: &'c Kind,
    pub(super) visit: &'c Visit,
    pub(super) candidates: Arc<[HostName]>,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// By its name.
    Name(HostName),
    /// By its address, for want of a name.
    Addr(IpAddr),
    /// By neither: a proxy was asked for something that can't be read.
    Unknown,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Addr(addr) => addr.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Destinations, numbered.
#[derive(Default)]
pub(super) struct Destinations {
    known: HashMap<Destination, u32, foldhash::fast::RandomState>,
}

impl Destinations {
    /// The number of an attempt's destination.
    pub(super) fn number(&mut self, attempt: &Attempt<'_>) -> u32 {
        let next = self.known.len() as u32;
        *self.known.entry(attempt.destination()).or_insert(next)
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
            if is_incomplete {
                found.all.iter_mut().for_each(|attempt| attempt.result.doubt(Reason::Evicted));
            }
            found
        }
    })
}

/// A part of what a capture told: small enough that all threads get done at about the same time.
enum Part<'c> {
    Connections(&'c [Box<Connection>]),
    Kinds(&'c [(Kind, Vec<Visit>)]),
    Lookups,
}

impl<'c> Part<'c> {
    /// Connections, or kinds of them, in one part.
    const SIZE: usize = 1024;

    fn all(census: &'c Census) -> Vec<Self> {
        let connections = census.connections.chunks(Self::SIZE).map(Self::Connections);
        let kinds = census.kinds.chunks(Self::SIZE).map(Self::Kinds);
        connections.chain(kinds).chain([Self::Lookups]).collect()
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
                for (kind, visits) in kinds {
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
    let cut_short = census.connections.iter().filter(|connection| connection.evicted);
    let cut_short: u64 = cut_short.map(|one| u64::from(one.repeats.connections)).sum();
    census.counters.evicted > cut_short
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
        let Tally { first, last, .. } = connection.tally;
        let watch = self.watch(connection.key.end(client).addr(), first.time, last.time);
        let conduct = Conduct::new(connection, client, watch, &self.inspection);
        let Self { census, profile, .. } = self;
        Flow { connection, client, conduct, census, naming, profile }
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
    profile.network.local.iter().any(|net| net.contains(&addr))
}

pub(super) fn is_proxy(server: Endpoint, profile: &Profile) -> bool {
    let is_it =
        |proxy: &Proxy| proxy.port == server.port() && proxy.host.parse() == Ok(server.addr());
    profile.network.proxies.iter().any(is_it)
}

/// One that the profile lists.
pub(super) fn is_sinkhole(addr: IpAddr, profile: &Profile) -> bool {
    profile.network.sinkholes.iter().any(|net| net.contains(&addr))
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
    conduct: Conduct<'f>,
    census: &'f Census,
    naming: &'f Recall<'n>,
    profile: &'f Profile,
}

impl Flow<'_, '_> {
    fn client_addr(&self) -> IpAddr {
        self.connection.key.end(self.client).addr()
    }

    fn server(&self) -> Endpoint {
        self.connection.key.end(self.client.other())
    }

    fn count(&self, found: &mut Attempts<'_>) {
        let tally = &self.connection.tally;
        let is_tcp = self.connection.key.transport() == Transport::Tcp;
        let packets = [tally.side(self.client).packets, tally.side(self.client.other()).packets];
        let count = u64::from(self.connection.repeats.connections);
        if self.is_midstream() {
            found.midstream_flows += count;
        }
        if is_tcp && packets.contains(&0) && self.is_half_heard() {
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

    fn is_midstream(&self) -> bool {
        let packets = self.connection.tally.sides.iter().any(|side| side.packets > 0);
        packets
            && self.connection.key.transport() == Transport::Tcp
            && self.connection.opener.is_none()
    }

    fn attempts(&self, all: &mut Vec<Attempt<'_>>) {
        let begin = all.len();
        self.tries(all);
        // Whatever a sinkhole answers, it isn't what was asked for.
        let (server, first) = (self.server().addr(), self.connection.tally.first);
        if is_sinkhole(server, self.profile) {
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
                all.push(self.request(exchange, is_proxy));
            }
        } else if !is_proxy {
            all.push(self.direct());
        }
    }

    fn is_proxy(&self) -> bool {
        is_proxy(self.server(), self.profile) || self.connection.facts.connect.is_some()
    }

    /// The client itself connects to the destination.
    fn direct(&self) -> Attempt<'static> {
        let candidates = self.candidates();
        let mut attempt = self.attempt(self.conduct.result());
        if let Some(hello) = &self.connection.facts.hello
            && let Some(sni) = &hello.sni
        {
            attempt.name = Some(sni.clone());
            attempt.named_by = if hello.quic { NamedBy::QuicSni } else { NamedBy::Sni };
            if hello.ech == Ech::Outer {
                attempt.flags.push(Flag::EchOuter);
            }
            self.corroborate(&mut attempt, &candidates);
        } else if let Some(first) = candidates.names.first() {
            attempt.name = Some(first.clone());
            attempt.named_by =
                if candidates.other_client { NamedBy::DnsOtherClient } else { NamedBy::Dns };
        }
        attempt.candidates = candidates.names;
        if self.connection.facts.hello.is_some() {
            self.note_bypass(&mut attempt);
        }
        attempt
    }

    /// Web traffic that leaves the site past the profile's proxy.
    fn note_bypass(&self, attempt: &mut Attempt<'_>) {
        let network = &self.profile.network;
        if !network.proxies.is_empty() && !network.is_inside(self.server().addr()) {
            attempt.flags.push(Flag::ProxyBypass);
        }
    }

    /// An HTTP request on the connection. Behind a proxy, the proxy does the connecting.
    fn request(&self, exchange: &Exchange, is_proxy: bool) -> Attempt<'static> {
        let candidates = self.candidates();
        let mut attempt = self.attempt(self.conduct.exchange(exchange));
        attempt.first = exchange.stamp.min(self.connection.tally.first.max(exchange.stamp));
        if let Some(host) = &exchange.host {
            attempt.name = Some(host.clone());
            attempt.named_by = NamedBy::HttpHost;
        }
        if is_proxy {
            attempt.addr = None;
            attempt.service = Some((Transport::Tcp, exchange.port.unwrap_or(80)));
            attempt.flags.push(Flag::Proxied);
            self.note_missed_skip(&mut attempt);
            return attempt;
        }
        self.note_bypass(&mut attempt);
        self.corroborate(&mut attempt, &candidates);
        if attempt.name.is_none()
            && let Some(first) = candidates.names.first()
        {
            attempt.name = Some(first.clone());
            attempt.named_by =
                if candidates.other_client { NamedBy::DnsOtherClient } else { NamedBy::Dns };
        }
        attempt.candidates = candidates.names;
        attempt
    }

    fn through(&self, connect: &Connect) -> Attempt<'static> {
        let mut attempt = self.attempt(self.conduct.result());
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
        attempt.flags.push(Flag::Proxied);
        self.note_missed_skip(&mut attempt);
        attempt
    }

    /// What is asked of a proxy but must be left out of it (the proxy skip range).
    fn note_missed_skip(&self, attempt: &mut Attempt<'_>) {
        let network = &self.profile.network;
        let own_name = attempt.name.as_deref().is_some_and(|name| {
            name == "localhost" || name.ends_with(".localhost") || network.is_own_name(name)
        });
        let inside = attempt.addr.is_some_and(|addr| addr.is_loopback() || network.is_inside(addr));
        if own_name || inside {
            attempt.flags.push(Flag::ProxySkipMissed);
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
        attempt.flags = vec![Flag::Proxy];
        attempt
    }

    fn attempt(&self, result: Result) -> Attempt<'static> {
        let tally = &self.connection.tally;
        let (mine, theirs) = (tally.side(self.client), tally.side(self.client.other()));
        let mut flags = Vec::new();
        if self.is_midstream() {
            flags.push(Flag::Midstream);
        }
        Attempt {
            client: self.client_addr(),
            name: None,
            subject: 0,
            named_by: NamedBy::Address,
            candidates: Arc::default(),
            addr: Some(self.server().addr()),
            service: Some((self.connection.key.transport(), self.server().port())),
            result,
            bytes: Bytes { out: mine.bytes, inward: theirs.bytes },
            first: tally.first,
            last: tally.last,
            flags,
            repeats: self.connection.repeats,
            made_good: false,
            again: Vec::new(),
        }
    }

    fn candidates(&self) -> Candidates {
        let began = self.connection.tally.first.time;
        self.naming.candidates(self.client_addr(), self.server().addr(), began)
    }

    /// Flags a name that the client, whose DNS is visible, never resolved to this address.
    fn corroborate(&self, attempt: &mut Attempt<'_>, candidates: &Candidates) {
        let began = self.connection.tally.first.time;
        let Some(name) = &attempt.name else { return };
        let told = candidates.names.binary_search(name).is_ok();
        if !told && !self.is_midstream() && self.census.names.is_visible(self.client_addr(), began)
        {
            attempt.flags.push(Flag::NameUncorroborated);
        }
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
    pub fn destination(&self) -> Destination {
        match (&self.name, self.addr) {
            (Some(name), _) => Destination::Name(name.clone()),
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
        let others = self.again.iter().map(|again| u64::from(again.visit.repeats.connections));
        u64::from(self.repeats.connections) + others.sum::<u64>()
    }

    /// When each that it stands for was made, and by whom.
    pub(super) fn tries(&self) -> impl Iterator<Item = Try> {
        let Self { first, client, repeats, .. } = *self;
        let own = Try { first, client, last: self.last.time, repeats };
        std::iter::once(own).chain(self.again.iter().map(Again::tried))
    }

    /// What proves the outcome of one of [these](Self::tries), by its place.
    pub(super) fn proofs(&self, place: usize) -> impl Iterator<Item = Proof> {
        let again = place.checked_sub(1).and_then(|place| self.again.get(place));
        let stamps = again.map(|again| again.visit.proof(again.kind));
        self.result.proof.iter().enumerate().map_while(move |(at, proof)| {
            let stamp = match &stamps {
                Some(stamps) => stamps.get(at).copied().flatten()?,
                None => proof.stamp,
            };
            Some(Proof { stamp, detail: proof.detail.clone() })
        })
    }

    /// Why it's inconclusive.
    pub fn reason(&self) -> Option<Reason> {
        self.result.reason
    }
}

impl Again<'_> {
    fn tried(&self) -> Try {
        let Self { kind, visit, .. } = self;
        let (first, client) = (visit.began(kind), visit.client.addr());
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
