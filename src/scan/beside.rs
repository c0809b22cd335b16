//! Joins what several rings, over which the kernel spreads one interface's frames, told of the same
//! time.
//!
//! The kernel keeps both directions of a connection on one ring. What it can't tell to belong to it,
//! as fragments and tunnelled packets, or an ICMP error that quotes it, may come on another. So of
//! one connection there may be pieces on several rings, each of which looks like a connection of its
//! own: they are found by their key and the time, and joined to what a single ring would have shown.

use std::{hash::BuildHasher, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::{
    base::Stamp,
    decode::Transport,
    extract::{Exchange, Facts, Hello},
    flow::{FlowKey, Side, Tally},
    names::Knowledge,
    scan::{
        Connection, Limits, Partial, Place, Repeats, Sink,
        ledger::Ledger,
        part::{Ended, idle_limit},
    },
};

impl Partial {
    /// Joins what others, over the same time, told of other packets of the same host. All end here:
    /// what comes after is told apart. In which order they come doesn't matter.
    ///
    /// Gives what one scan over all their packets gives, as long as the TCP payload of each connection
    /// is where its SYN is. A connection of which it isn't, and that tells of no success for all that,
    /// counts as one that wasn't read to its end (`evicted`).
    pub fn beside(self, others: impl IntoIterator<Item = Self>, sink: &mut impl Sink) -> Self {
        let mut all: Vec<_> = vec![self.over(sink)];
        for other in others {
            all.push(other.over(sink));
        }
        if all.len() == 1 {
            return all.remove(0);
        }
        let limits = all.iter().skip(1).fold(all[0].limits, |sum, one| sum.and(&one.limits));
        let shared = Shared::among(&all);
        let mut whole = Self::new(Place::Beginning, limits, all[0].resolvers.clone());
        whole.names = Knowledge::new(limits.lookups);
        let mut pieces = Vec::new();
        for (ring, mut one) in all.into_iter().enumerate() {
            let found = one.ledger.take_pieces(&shared).into_iter();
            pieces.extend(found.map(|connection| Piece::new(ring, connection)));
            whole.counters.add(one.counters);
            whole.names.union(one.names);
            whole.ledger.append(one.ledger);
        }
        for Piece { connection, doubtful, .. } in join_all(pieces) {
            whole.counters.evicted += u64::from(doubtful);
            if !limits.fold || !whole.ledger.fold(&connection.ended()) {
                whole.ledger.keep(connection);
            }
        }
        whole
    }

    /// With nothing open.
    fn over(self, sink: &mut impl Sink) -> Self {
        let mut whole = match self.place {
            Place::Beginning => self,
            Place::Later => {
                Self::new(Place::Beginning, self.limits, self.resolvers.clone()).merge(self, sink)
            }
        };
        whole.end_open(sink);
        whole.decoder = None;
        whole
    }
}

impl Limits {
    /// A part of these for each of so many scanners, which together stay within them.
    #[must_use]
    pub fn share(self, scanners: usize) -> Self {
        let share = |all: usize| (all / scanners.max(1)).max(1);
        Self {
            flows: share(self.flows),
            lookups: share(self.lookups),
            payload: share(self.payload),
            connections: share(self.connections),
            ..self
        }
    }

    fn and(self, other: &Self) -> Self {
        Self {
            flows: self.flows.saturating_add(other.flows),
            lookups: self.lookups.saturating_add(other.lookups),
            payload: self.payload.saturating_add(other.payload),
            connections: self.connections.saturating_add(other.connections),
            ..self
        }
    }
}

/// Hashes of the keys of which there is something on several rings; and of a few others.
struct Shared {
    hasher: RandomState,
    hashes: HashSet<u64, RandomState>,
}

impl Shared {
    fn among(all: &[Partial]) -> Self {
        let hasher = RandomState::default();
        let mut seen: Vec<(u64, usize)> = Vec::new();
        for (ring, one) in all.iter().enumerate() {
            one.ledger.each_key(|key| seen.push((hasher.hash_one(key), ring)));
        }
        seen.sort_unstable();
        seen.dedup();
        let several = seen.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let hashes = several.map(|pair| pair[0].0).collect();
        Self { hasher, hashes }
    }

    fn has(&self, key: &FlowKey) -> bool {
        self.hashes.contains(&self.hasher.hash_one(key))
    }
}

impl Ledger {
    /// Takes out the connections of shared keys, as they were.
    #[allow(clippy::vec_box)]
    fn take_pieces(&mut self, shared: &Shared) -> Vec<Box<Connection>> {
        if shared.hashes.is_empty() {
            return Vec::new();
        }
        // One that stands for several doesn't go on.
        let fits = |repeats: Repeats, key| repeats.connections == 1 && shared.has(&key);
        let apart = self.apart.extract_if(.., |one| fits(one.repeats, one.key));
        let mut pieces: Vec<_> = apart.collect();
        self.change(|kind, visits| {
            let taken = visits.extract_if(.., |visit| fits(visit.repeats, visit.key(kind)));
            pieces.extend(taken.map(|visit| Box::new(kind.connection(&visit))));
        });
        pieces
    }

    fn each_key(&self, mut see: impl FnMut(FlowKey)) {
        self.apart.iter().for_each(|connection| see(connection.key));
        for (kind, visits) in self.kinds() {
            visits.iter().for_each(|visit| see(visit.key(kind)));
        }
    }
}

/// What one ring told of a connection, or several did.
struct Piece {
    connection: Box<Connection>,
    /// The ring that saw it being opened, if any did.
    opened_on: Option<usize>,
    /// True when it can't be known what the payload on several rings says in all.
    doubtful: bool,
}

/// Joins the pieces of each connection.
fn join_all(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_unstable_by_key(|piece| (piece.connection.key, piece.connection.tally.first));
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for next in pieces {
        if let Some(current) = joined.last_mut()
            && current.connection.key == next.connection.key
        {
            if current.is_continued_by(&next) {
                current.join(next);
                continue;
            }
            current.give_way(&next);
        }
        joined.push(next);
    }
    joined
}

impl Piece {
    fn new(ring: usize, connection: Box<Connection>) -> Self {
        let opened_on = is_opened(&connection).then_some(ring);
        Self { connection, opened_on, doubtful: false }
    }

    /// Whether the next piece of the same key, which begins later, belongs to the same connection.
    fn is_continued_by(&self, next: &Self) -> bool {
        let (one, other) = (&*self.connection, &*next.connection);
        let start = other.tally.first;
        let over = one.watched_until.is_some_and(|until| start.time >= until);
        if over || one.evicted || other.evicted || is_idle(one, other) {
            return false;
        }
        let overlaps = start <= one.tally.last;
        match (self.opened_on, next.opened_on) {
            (_, None) => true,
            (Some(here), Some(there)) if here == there => false,
            (Some(_), Some(_)) => match (isn(one), isn(other)) {
                (Some(mine), Some(theirs)) => one.opener == other.opener && mine == theirs,
                // Those that went well don't keep it.
                _ => one.opener == other.opener && overlaps,
            },
            // A SYN opens another connection, unless what was there is its answer, or goes on.
            (None, Some(_)) => {
                overlaps || other.opener.is_some_and(|client| is_answer_to(&one.tally, client))
            }
        }
    }

    /// Another connection begins with the next piece: nothing of this one would be known after.
    fn give_way(&mut self, next: &Self) {
        let one = &mut *self.connection;
        if one.watched_until.is_none()
            && next.opened_on.is_some()
            && !is_idle(one, &next.connection)
        {
            one.watched_until = Some(next.connection.tally.first.time);
        }
    }

    fn join(&mut self, next: Self) {
        let read = |piece: &Self| piece.connection.tally.sides.iter().any(|side| side.bytes > 0);
        // Payload can be read from its beginning only where the SYN is.
        let partly = |read_here: bool, piece: &Self, other: &Self| {
            read_here && piece.opened_on.is_none() && other.opened_on.is_some()
        };
        let (mine, its) = (read(self), read(&next));
        let torn = self.connection.key.transport() == Transport::Tcp
            && (mine && its || partly(mine, self, &next) || partly(its, &next, self));
        self.opened_on = self.opened_on.or(next.opened_on);
        self.doubtful |= next.doubtful;
        let are_copies = join(&mut self.connection, *next.connection);
        if torn && !are_copies && !went_well(&self.connection) {
            self.doubtful = true;
            self.connection.evicted = true;
        }
    }
}

fn is_idle(one: &Connection, next: &Connection) -> bool {
    let silence = next.tally.first.time.since(one.tally.last.time);
    silence > idle_limit(one.key.transport())
}

/// Whether the client's SYN was seen. Those that went well don't keep it.
fn is_opened(connection: &Connection) -> bool {
    let folded = connection.tally.sides.iter().all(|side| side.isn.is_none());
    connection.opener.is_some_and(|client| folded || connection.tally.side(client).syn.seen())
}

/// The client's initial sequence number.
fn isn(connection: &Connection) -> Option<u32> {
    connection.opener.and_then(|client| connection.tally.side(client).isn)
}

fn is_answer_to(tally: &Tally, client: Side) -> bool {
    let (mine, theirs) = (tally.side(client), tally.side(client.other()));
    mine.packets == 0 && theirs.packets > 0 && theirs.packets == u64::from(theirs.syn_ack.count)
}

/// Adds a piece. True when it is the same packets again.
fn join(current: &mut Connection, next: Connection) -> bool {
    let Connection { tally, opener, facts, tunnel, watched_until, .. } = next;
    current.tunnel = current.tunnel.or(tunnel);
    current.opener = current.opener.or(opener);
    current.watched_until = match (current.watched_until, watched_until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    if are_copies(&current.tally, &tally) {
        take_copies(current, tally, facts);
        return true;
    }
    current.tally.then(tally);
    current.facts = facts_of_both(std::mem::take(&mut current.facts), facts);
    false
}

/// Whether what the payload told is a success that nothing more could change.
fn went_well(connection: &Connection) -> bool {
    let Facts { hello, exchanges, connect, .. } = &connection.facts;
    if hello.is_none() && exchanges.is_empty() && connect.is_none() {
        return false;
    }
    let tally = &Tally { icmp: None, ..connection.tally.clone() };
    Ledger::folds(&Ended { tally, ..connection.ended() })
}

/// Copies of a packet, as on the interfaces that it passes, follow each other within this time.
const COPY: Duration = Duration::from_millis(20);

/// Whether two pieces are of the same packets, once in a tunnel and once not.
fn are_copies(one: &Tally, other: &Tally) -> bool {
    let near = |a: Stamp, b: Stamp| a.time.since(b.time).max(b.time.since(a.time)) <= COPY;
    let same = |side: Side| {
        let (a, b) = (one.side(side), other.side(side));
        a.bytes == b.bytes && (a.packets > 0) == (b.packets > 0)
    };
    let any = one.sides.iter().any(|side| side.packets > 0);
    any && [Side::Low, Side::High].into_iter().all(same)
        && near(one.first, other.first)
        && near(one.last, other.last)
}

/// Of copies, those of which more is known count.
fn take_copies(current: &mut Connection, tally: Tally, facts: Facts) {
    let packets = |tally: &Tally| tally.sides.iter().map(|side| side.packets).sum::<u64>();
    let icmp = match (current.tally.icmp.take(), tally.icmp.clone()) {
        (Some(a), Some(b)) => Some(if b.stamp < a.stamp { b } else { a }),
        (a, b) => a.or(b),
    };
    if packets(&tally) > packets(&current.tally) {
        let (first, last) = (current.tally.first, current.tally.last.max(tally.last));
        current.tally = Tally { first, last, ..tally };
        current.facts = facts;
    }
    current.tally.icmp = icmp;
}

/// What either told; of what both told, what came first.
fn facts_of_both(one: Facts, other: Facts) -> Facts {
    let none = Facts::default();
    if other == none {
        return one;
    }
    if one == none {
        return other;
    }
    let hello = match (one.hello, other.hello) {
        (Some(a), Some(b)) => Some(earlier(a, b, |hello: &Hello| (!hello.complete, hello.stamp))),
        (a, b) => a.or(b),
    };
    let connect = match (one.connect, other.connect) {
        (Some(a), Some(b)) => Some(earlier(a, b, |it| (it.status.is_none(), it.stamp))),
        (a, b) => a.or(b),
    };
    let certificate = match (one.certificate, other.certificate) {
        (Some(a), Some(b)) => Some(earlier(a, b, |it| it.stamp)),
        (a, b) => a.or(b),
    };
    Facts {
        client: one.client.or(other.client),
        hello,
        server_hello: first(one.server_hello, other.server_hello),
        hello_retry: first(one.hello_retry, other.hello_retry),
        other_versions: first(one.other_versions, other.other_versions),
        encrypted: first(one.encrypted, other.encrypted),
        client_encrypted: first(one.client_encrypted, other.client_encrypted),
        server_alert: first(one.server_alert, other.server_alert),
        client_alert: first(one.client_alert, other.client_alert),
        not_tls: first(one.not_tls, other.not_tls),
        certificate,
        exchanges: exchanges_of_both(one.exchanges, other.exchanges),
        connect,
    }
}

fn first<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn earlier<T, K: Ord>(one: T, other: T, key: impl Fn(&T) -> K) -> T {
    if key(&other) < key(&one) { other } else { one }
}

/// The first for each host, the answered before others.
fn exchanges_of_both(mut one: Vec<Exchange>, other: Vec<Exchange>) -> Vec<Exchange> {
    one.extend(other);
    one.sort_by(|a, b| {
        let order = |it: &Exchange| (it.status.is_none(), it.stamp);
        (&a.host, a.port).cmp(&(&b.host, b.port)).then(order(a).cmp(&order(b)))
    });
    one.dedup_by(|b, a| (&a.host, a.port) == (&b.host, b.port));
    one.sort_by_key(|it| it.stamp);
    one
}
