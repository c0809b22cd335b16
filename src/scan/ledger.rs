//! Finished connections. Most went well, and like many others: what those share is kept once, and of
//! each only what verdicts are made from.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::Entry};

use serde::{Deserialize, Serialize};

use crate::{
    base::{HostName, Stamp},
    decode::Transport,
    extract::{Connect, Ech, Exchange, Facts, Hello, ServerCertificate},
    flow::{Endpoint, FlowKey, Side, Tally},
    scan::{Connection, Repeats, part::Ended},
};

/// Finished connections, those that went well folded.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    kinds: HashMap<Kind, Vec<Visit>, RandomState>,
    /// Visits of all kinds.
    folded: usize,
    #[allow(clippy::vec_box)] // Half a kilobyte each, and sorted.
    pub(super) apart: Vec<Box<Connection>>,
}

/// What connections that went well have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// Whom the client reached. Of a flow that doesn't show its client, the end with the lower port.
    pub server: Endpoint,
    /// TCP or UDP.
    pub transport: Transport,
    /// True when the packets show who is the client.
    pub is_client_known: bool,
    story: Story,
}

/// What the payload told, but for the times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Story {
    /// Data from the server, in a protocol without names.
    Data,
    /// A handshake that went through.
    Handshake(Handshake),
    /// One HTTP host, which answered.
    Http { host: Option<HostName>, port: Option<u16>, status: u16 },
    /// A handshake that went through, inside a tunnel that a proxy opened.
    Tunnel { connect: Box<Connect>, status: u16, handshake: Handshake },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Handshake {
    sni: Option<HostName>,
    ech: Ech,
    quic: bool,
    complete: bool,
    /// Issuer, and whether the root was sent.
    certificate: Option<(Arc<str>, bool)>,
}

/// One connection of a [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Visit {
    /// The first packet.
    pub first: Stamp,
    /// The last packet.
    pub last: Stamp,
    /// The end that isn't [`Kind::server`].
    pub client: Endpoint,
    /// Payload bytes to and from the server.
    pub bytes: [u64; 2],
    /// How many connections it stands for.
    pub repeats: Repeats,
    /// By kind. Data: the first from the server, from the client. HTTP: request, answer. Handshake:
    /// ClientHello, first encrypted data from the server, certificate. In a tunnel: request, answer,
    /// encrypted data.
    stamps: [Stamp; 3],
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.folded + self.apart.len()
    }

    /// What was concluded, again.
    #[allow(clippy::vec_box)]
    pub(super) fn restore(kinds: Vec<(Kind, Vec<Visit>)>, apart: Vec<Box<Connection>>) -> Self {
        let mut ledger = Self { apart, ..Self::default() };
        ledger.add(kinds);
        ledger
    }

    /// Takes a connection as it is.
    pub(super) fn keep(&mut self, connection: Box<Connection>) {
        self.apart.push(connection);
    }

    /// Takes a connection that went well, folded; false for any other one, which is to be kept.
    pub(super) fn fold(&mut self, connection: &Ended<'_>) -> bool {
        let Some((kind, visit)) = Visit::of(connection) else { return false };
        // Most kinds have no second one.
        self.kinds.entry(kind).or_insert_with(|| Vec::with_capacity(1)).push(visit);
        self.folded += 1;
        true
    }

    /// Whether a connection is one that [`Ledger::fold`] folds.
    pub(super) fn folds(connection: &Ended<'_>) -> bool {
        Visit::of(connection).is_some()
    }

    /// The folded ones, by what they have in common, in no particular order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&Kind, &[Visit])> {
        self.kinds.iter().map(|(kind, visits)| (kind, &visits[..]))
    }

    /// Changes the visits of each kind, or takes some away.
    pub(super) fn change(&mut self, mut f: impl FnMut(&Kind, &mut Vec<Visit>)) {
        self.folded = 0;
        self.kinds.retain(|kind, visits| {
            f(kind, visits);
            self.folded += visits.len();
            !visits.is_empty()
        });
    }

    /// Forgets all beyond a number of connections, those that began last of the folded ones first, and
    /// tells how many they are.
    pub(super) fn truncate(&mut self, limit: usize) -> u64 {
        let excess = self.len().saturating_sub(limit);
        if excess == 0 {
            return 0;
        }
        let left = self.folded.saturating_sub(excess);
        let apart = self.apart.drain(limit.min(self.apart.len())..);
        let also: u64 = apart.map(|one| u64::from(one.repeats.connections)).sum();
        also + self.keep_first(left)
    }

    /// Forgets all but so many of the folded ones, at most, and tells how many those are: of some that
    /// began at once, as files of several hosts may show them, all.
    #[cold]
    fn keep_first(&mut self, count: usize) -> u64 {
        let mut began: Vec<_> = self.kinds.values().flatten().map(|visit| visit.first).collect();
        let bound = match began.get(count) {
            Some(_) => *began.select_nth_unstable(count).1,
            None => return 0,
        };
        let mut forgotten = 0;
        self.change(|_, visits| {
            let late = visits.extract_if(.., |visit| visit.first >= bound);
            forgotten += late.map(|one| u64::from(one.repeats.connections)).sum::<u64>();
        });
        forgotten
    }

    /// Adds what another one holds.
    pub(super) fn append(&mut self, other: Self) {
        self.add(other.kinds);
        self.apart.extend(other.apart);
    }

    fn add(&mut self, kinds: impl IntoIterator<Item = (Kind, Vec<Visit>)>) {
        for (kind, mut visits) in kinds {
            self.folded += visits.len();
            match self.kinds.entry(kind) {
                Entry::Occupied(mut known) => known.get_mut().append(&mut visits),
                Entry::Vacant(place) => drop(place.insert(visits)),
            }
        }
    }

    /// All, sorted: folded ones by kind, then by when they began.
    #[allow(clippy::vec_box, clippy::type_complexity)]
    pub(super) fn conclude(self) -> (Vec<(Kind, Vec<Visit>)>, Vec<Box<Connection>>) {
        let Self { kinds, mut apart, .. } = self;
        sort(&mut apart);
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        kinds.iter_mut().for_each(|(kind, visits)| sort_visits(kind, visits));
        (kinds, apart)
    }
}

/// By when they began.
pub(super) fn sort(connections: &mut [Box<Connection>]) {
    connections.sort_by_cached_key(|connection| (connection.tally.first, connection.key));
}

/// Makes one of what several ledgers concluded, one behind the other.
pub(super) fn join(kinds: &mut Vec<(Kind, Vec<Visit>)>) {
    // Stable, as that merges what is in order already.
    kinds.sort_by(|(a, _), (b, _)| a.cmp(b));
    kinds.dedup_by(|(kind, visits), (before, its)| {
        let is_same = kind == before;
        if is_same {
            its.append(visits);
            sort_visits(kind, its);
        }
        is_same
    });
}

fn sort_visits(kind: &Kind, visits: &mut [Visit]) {
    visits.sort_unstable_by(|a, b| (a.began(kind), a).cmp(&(b.began(kind), b)));
}

impl Visit {
    /// A connection that went well, as a visit; `None` for any other.
    ///
    /// It went well when it gives the same result whatever else the capture shows, but for who signed
    /// the certificate.
    fn of(connection: &Ended<'_>) -> Option<(Kind, Self)> {
        let Ended { key, tally, opener, facts, evicted, .. } = *connection;
        let heard_both = tally.sides.iter().all(|side| side.packets > 0);
        if evicted || tally.icmp.is_some() || !heard_both {
            return None;
        }
        let known = match key.transport() {
            Transport::Tcp => Some(opener?),
            Transport::Udp => connection.client(),
        };
        let client = known.or_else(|| higher_port(&key))?;
        let sent = [client.other(), client].map(|side| tally.side(side).payload.first());
        let (story, stamps) = Story::of(facts, sent)?;
        if known.is_none() && sent.contains(&None) {
            return None;
        }
        let server = key.end(client.other());
        let kind =
            Kind { server, transport: key.transport(), is_client_known: known.is_some(), story };
        let visit = Self {
            first: tally.first,
            last: tally.last,
            client: key.end(client),
            bytes: [tally.side(client).bytes, tally.side(client.other()).bytes],
            repeats: connection.repeats,
            stamps,
        };
        Some((kind, visit))
    }

    /// The key of its flow.
    pub(crate) fn key(&self, kind: &Kind) -> FlowKey {
        FlowKey::new(kind.transport, self.client, kind.server).0
    }

    /// The stamps of what proves the success, in order: as many as there are proofs.
    pub fn proof(&self, kind: &Kind) -> [Option<Stamp>; 2] {
        let [asked, answered, encrypted] = self.stamps;
        match kind.story {
            Story::Data => [Some(asked), None],
            Story::Handshake(_) => [Some(answered), None],
            Story::Http { .. } => [Some(asked), Some(answered)],
            Story::Tunnel { .. } => [Some(answered), Some(encrypted)],
        }
    }

    /// The request, of an HTTP connection; else the first packet.
    pub fn began(&self, kind: &Kind) -> Stamp {
        match kind.story {
            Story::Http { .. } => self.stamps[0],
            _ => self.first,
        }
    }
}

/// The answer to a request, unless it comes from a device in between that denies it.
pub(super) fn granted(exchange: &Exchange) -> Option<(Stamp, u16)> {
    let (answered, status) = exchange.status?;
    let denied = matches!(status, 407 | 451 | 470 | 511) || exchange.deny_marker.is_some();
    (!denied).then_some((answered, status))
}

/// The side with the higher port: the client's, as a rule.
pub(super) fn higher_port(key: &FlowKey) -> Option<Side> {
    let [low, high] = [Side::Low, Side::High].map(|side| key.end(side).port());
    (low != high).then_some(if low > high { Side::Low } else { Side::High })
}

impl Story {
    /// What is told of a connection that went well, and when each of it happened.
    ///
    /// `sent` is the first payload of the server and of the client.
    fn of(facts: &Facts, sent: [Option<Stamp>; 2]) -> Option<(Self, [Stamp; 3])> {
        let none = Stamp::default();
        match (&facts.hello, &facts.connect, &facts.exchanges[..]) {
            (None, None, []) if facts.certificate.is_none() => {
                Some((Self::Data, [sent[0]?, sent[1].unwrap_or(none), none]))
            }
            (None, None, [exchange]) if facts.certificate.is_none() => {
                let Exchange { stamp, host, port, .. } = exchange;
                let (answered, status) = granted(exchange)?;
                let story = Self::Http { host: host.clone(), port: *port, status };
                Some((story, [*stamp, answered, none]))
            }
            (Some(hello), None, []) => {
                let encrypted = facts.encrypted?;
                let certified = facts.certificate.as_ref().map_or(none, |found| found.stamp);
                let handshake = Handshake::of(hello, facts.certificate.as_deref());
                Some((Self::Handshake(handshake), [hello.stamp, encrypted, certified]))
            }
            (Some(hello), Some(connect), []) if facts.certificate.is_none() => {
                let encrypted = facts.encrypted?;
                let (answered, status) = connect.status.filter(|(_, s)| (200..300).contains(s))?;
                let handshake = Handshake::of(hello, None);
                let mut shared = connect.clone();
                (shared.stamp, shared.status) = (none, None);
                let stamps = [connect.stamp, answered, encrypted];
                Some((Self::Tunnel { connect: shared, status, handshake }, stamps))
            }
            _ => None,
        }
    }

    fn exchange(&self, [asked, answered, _]: [Stamp; 3]) -> Option<Exchange> {
        let Self::Http { ref host, port, status } = *self else { return None };
        let (host, status) = (host.clone(), Some((answered, status)));
        Some(Exchange { stamp: asked, host, port, status, deny_marker: None })
    }

    fn facts(&self, stamps: [Stamp; 3]) -> Facts {
        let [asked, answered, third] = stamps;
        let none = Facts::default();
        match self {
            Self::Data => none,
            Self::Http { .. } => {
                Facts { exchanges: self.exchange(stamps).into_iter().collect(), ..none }
            }
            Self::Handshake(handshake) => Facts {
                hello: Some(handshake.hello(asked)),
                encrypted: Some(answered),
                certificate: handshake.certificate(third),
                ..none
            },
            Self::Tunnel { connect, status, handshake } => {
                let mut connect = connect.clone();
                (connect.stamp, connect.status) = (asked, Some((answered, *status)));
                let (hello, connect) = (Some(handshake.hello(answered)), Some(connect));
                Facts { hello, connect, encrypted: Some(third), ..none }
            }
        }
    }
}

impl Handshake {
    fn of(hello: &Hello, certificate: Option<&ServerCertificate>) -> Self {
        let Hello { ref sni, ech, quic, complete, .. } = *hello;
        let certificate = certificate.map(|it| (it.issuer.as_str().into(), it.root_sent));
        Self { sni: sni.clone(), ech, quic, complete, certificate }
    }

    fn hello(&self, stamp: Stamp) -> Hello {
        let Self { ref sni, ech, quic, complete, .. } = *self;
        Hello { stamp, sni: sni.clone(), ech, quic, complete }
    }

    fn certificate(&self, stamp: Stamp) -> Option<Box<ServerCertificate>> {
        let (issuer, root_sent) = self.certificate.as_ref()?;
        let (issuer, root_sent) = (issuer.to_string(), *root_sent);
        Some(Box::new(ServerCertificate { stamp, issuer, root_sent }))
    }
}

impl Kind {
    /// The name that the client asked for, inside the connection.
    pub fn name(&self) -> Option<&HostName> {
        match &self.story {
            Story::Http { host, .. } => host.as_ref(),
            Story::Data | Story::Handshake(_) | Story::Tunnel { .. } => self.sni(),
        }
    }

    /// All names that it may be reported under.
    pub(super) fn names(&self) -> impl Iterator<Item = &HostName> {
        let target = match &self.story {
            Story::Tunnel { connect, .. } => connect.host.as_ref(),
            Story::Data | Story::Handshake(_) | Story::Http { .. } => None,
        };
        self.name().into_iter().chain(target)
    }

    /// The server name that the handshake asked for.
    pub fn sni(&self) -> Option<&HostName> {
        match &self.story {
            Story::Handshake(handshake) => handshake.sni.as_ref(),
            Story::Tunnel { handshake, .. } => handshake.sni.as_ref(),
            Story::Data | Story::Http { .. } => None,
        }
    }

    /// Who issued the server's certificate, and whether the root was sent along.
    pub fn certificate(&self) -> Option<(&str, bool)> {
        match &self.story {
            Story::Handshake(Handshake { certificate: Some((issuer, root_sent)), .. }) => {
                Some((issuer, *root_sent))
            }
            _ => None,
        }
    }

    /// The ClientHello of one of its connections, unless that came in a tunnel.
    pub fn hello(&self, visit: &Visit) -> Option<Hello> {
        match &self.story {
            Story::Handshake(handshake) => Some(handshake.hello(visit.stamps[0])),
            Story::Data | Story::Http { .. } | Story::Tunnel { .. } => None,
        }
    }

    /// The HTTP request of one of its connections, and its answer.
    pub fn exchange(&self, visit: &Visit) -> Option<Exchange> {
        self.story.exchange(visit.stamps)
    }

    /// True when it ran through a tunnel that a proxy opened.
    pub fn is_tunnelled(&self) -> bool {
        matches!(self.story, Story::Tunnel { .. })
    }

    /// One of its connections, as far as verdicts are made from it: counters of packets, and what has
    /// no influence any more, are lost.
    pub fn connection(&self, visit: &Visit) -> Connection {
        let (key, client) = FlowKey::new(self.transport, visit.client, self.server);
        let mut tally = Tally { first: visit.first, last: visit.last, ..Tally::default() };
        for (side, bytes) in [client, client.other()].into_iter().zip(visit.bytes) {
            let side = &mut tally.sides[side.index()];
            (side.packets, side.bytes) = (1, bytes);
        }
        if matches!(self.story, Story::Data) {
            let sent = [client.other(), client].into_iter().zip(visit.stamps);
            for (side, stamp) in sent.filter(|(_, stamp)| *stamp != Stamp::default()) {
                tally.sides[side.index()].payload.add(stamp);
            }
        }
        let known = self.is_client_known.then_some(client);
        let mut facts = self.story.facts(visit.stamps);
        facts.client = known;
        Connection {
            key,
            tally,
            opener: known.filter(|_| self.transport == Transport::Tcp),
            facts,
            tunnel: None,
            watched_until: None,
            evicted: false,
            repeats: visit.repeats,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::base::{FrameId, Timestamp};

    fn at(n: u64) -> Stamp {
        Stamp { time: Timestamp::from_parts(n, 0), frame: FrameId::new(0, n) }
    }

    fn end(addr: &str, port: u16) -> Endpoint {
        Endpoint::new(addr.parse::<IpAddr>().unwrap(), port)
    }

    /// A TLS connection from a client port, its handshake done.
    fn tls(port: u16) -> Connection {
        let (key, client) =
            FlowKey::new(Transport::Tcp, end("10.0.0.1", port), end("203.0.113.1", 443));
        let mut tally = Tally { first: at(1), last: at(9), ..Tally::default() };
        for side in &mut tally.sides {
            (side.packets, side.bytes) = (5, 500);
        }
        let hello = Hello {
            stamp: at(3),
            sni: HostName::parse(b"a.example"),
            ech: Ech::None,
            quic: false,
            complete: true,
        };
        let facts = Facts {
            hello: Some(hello),
            encrypted: Some(at(5)),
            client: Some(client),
            ..Facts::default()
        };
        let (opener, tunnel) = (Some(client), None);
        let (watched_until, evicted, repeats) = (None, false, Repeats::default());
        Connection { key, tally, opener, facts, tunnel, watched_until, evicted, repeats }
    }

    #[test]
    fn what_is_judged_survives() {
        let mut ledger = Ledger::default();
        assert!(ledger.fold(&tls(40_001).ended()) && ledger.fold(&tls(40_000).ended()));
        let evicted = Connection { evicted: true, ..tls(40_002) };
        assert!(!ledger.fold(&evicted.ended()));
        ledger.keep(Box::new(evicted));
        assert_eq!(ledger.len(), 3);
        let (kinds, apart) = ledger.conclude();
        assert_eq!(apart.len(), 1);
        let [(kind, visits)] = &kinds[..] else { panic!("{kinds:?}") };
        assert_eq!(kind.name().map(|name| &**name), Some("a.example"));
        for (visit, port) in visits.iter().zip([40_000, 40_001]) {
            let (kept, whole) = (kind.connection(visit), tls(port));
            assert_eq!((kept.key, kept.facts, kept.opener), (whole.key, whole.facts, whole.opener));
            assert_eq!((kept.tally.first, kept.tally.last), (at(1), at(9)));
            assert_eq!(kept.tally.sides.map(|side| side.bytes), [500, 500]);
            assert_eq!(visit.proof(kind), [Some(at(5)), None]);
        }
    }

    #[test]
    fn what_may_yet_mean_something_else_is_kept() {
        let failing = Connection { facts: Facts { encrypted: None, ..tls(1).facts }, ..tls(1) };
        let midstream = Connection { opener: None, ..tls(1) };
        let mut one_sided = tls(1);
        one_sided.tally.sides[0].packets = 0;
        for connection in [failing, midstream, one_sided] {
            assert!(Visit::of(&connection.ended()).is_none(), "{connection:?}");
        }
    }

    #[test]
    fn appending_joins_kinds_and_a_bound_holds() {
        let of = |name: &[u8], first| {
            let mut connection = tls(1);
            connection.tally.first = at(first);
            connection.facts.hello.as_mut().unwrap().sni = HostName::parse(name);
            let mut ledger = Ledger::default();
            assert!(ledger.fold(&connection.ended()));
            ledger
        };
        let mut whole = of(b"a.example", 1);
        whole.append(of(b"b.example", 2));
        whole.append(of(b"a.example", 3));
        let counts = |ledger: &Ledger| {
            let (kinds, _) = ledger.clone().conclude();
            kinds
                .iter()
                .map(|(kind, visits)| (kind.name().unwrap().to_string(), visits.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(&whole), [("a.example".into(), 2), ("b.example".into(), 1)]);
        assert_eq!(whole.truncate(2), 1);
        assert_eq!(whole.len(), 2);
        // One of which nothing is left is no kind any more.
        assert_eq!(whole.truncate(1), 1);
        assert_eq!(whole.kinds().count(), 1);
        whole.append(of(b"c.example", 4));
        assert_eq!(counts(&whole), [("a.example".into(), 1), ("c.example".into(), 1)]);
    }
}
