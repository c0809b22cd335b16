//! Makes room among finished connections: of old ones that went alike, one stands for several.
//!
//! Counts, bytes, spans and verdicts stay the same. A success may make a failure good that is near
//! it in time, so none is joined with another across such a time; nor are failures across a success.

use std::{net::IpAddr, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{
    base::{HostName, Stamp, Timestamp},
    decode::Transport,
    extract::Facts,
    flow::{Endpoint, FlowKey, Mark, Tally},
    names::Knowledge,
    scan::{
        Connection,
        ledger::{Ledger, granted, higher_port},
    },
};

/// How many connections one stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Repeats {
    /// Connections, itself included.
    pub connections: u32,
    /// What follows each other within [`TRY_GAP`] is one try.
    pub tries: u32,
}

/// Connections of one client that follow each other within this time are one try: retries, other
/// addresses, the other address family.
pub const TRY_GAP: Duration = Duration::from_secs(30);

/// A success makes failures good that began so long after it at most.
const BEFORE: Duration = Duration::from_secs(3);

/// A success makes failures good that ended so long before it at most.
const AFTER: Duration = Duration::from_secs(31);

/// Times that tell results apart: of an answer that comes, and of resets at both ends.
const THRESHOLDS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(3)];

/// Ways in which a destination fails that are told apart.
const MAX_WAYS: usize = 16;

impl Default for Repeats {
    fn default() -> Self {
        Self { connections: 1, tries: 1 }
    }
}

impl Repeats {
    /// Adds those of one that begins `gap` after these ended.
    fn add(&mut self, other: Self, gap: Duration) {
        self.connections = self.connections.saturating_add(other.connections);
        let joined = u32::from(gap <= TRY_GAP);
        self.tries = self.tries.saturating_add(other.tries - joined);
    }
}

impl Ledger {
    /// Joins connections that ended before a time.
    pub(super) fn thin(&mut self, names: &Knowledge, before: Timestamp) {
        let troubles = self.troubles(names);
        let successes = self.successes(names, &troubles);
        self.thin_visits(names, &troubles, before);
        self.thin_apart(names, &successes, before);
    }

    /// When what makes failures good begins and ceases to do so.
    fn troubles(&self, names: &Knowledge) -> Moments {
        let mut found = Moments::default();
        let around = |at: Timestamp| [at.minus(BEFORE), at.plus(AFTER)];
        for connection in &self.apart {
            let Tally { first, last, .. } = connection.tally;
            let times = [around(first.time), around(last.time)].concat();
            let tokens = tokens(connection, names);
            tokens.into_iter().for_each(|token| found.extend(token, &times));
        }
        for (key, lookup) in names.lookups() {
            let marks = lookup.replies.iter().map(|(_, mark)| mark).chain([&lookup.queries]);
            let stamps = marks.flat_map(|mark| [mark.first(), mark.last()]).flatten();
            let times: Vec<_> = stamps.flat_map(|stamp| around(stamp.time)).collect();
            found.extend(Token::Name(key.name.clone()), &times);
        }
        found.sorted()
    }

    /// When what failed now and then succeeded.
    fn successes(&self, names: &Knowledge, troubles: &Moments) -> Moments {
        let mut found = Moments::default();
        let mut note = |tokens: Vec<Token>, time| {
            let wanted = tokens.into_iter().filter(|token| troubles.times.contains_key(token));
            wanted.for_each(|token| found.extend(token, &[time]));
        };
        let kinds: HashMap<_, _, RandomState> =
            self.numbers.iter().map(|(kind, number)| (*number, kind)).collect();
        for (number, visit) in &self.visits {
            let kind = kinds[number];
            let (client, at) = (visit.client.addr(), visit.first.time);
            let named = kind.name().into_iter();
            note(tokens_of(client, kind.server.addr(), named, names, at), visit.began(kind).time);
        }
        for connection in self.apart.iter().filter(|connection| may_have_succeeded(connection)) {
            note(tokens(connection, names), connection.tally.first.time);
        }
        found.sorted()
    }

    fn thin_visits(&mut self, names: &Knowledge, troubles: &Moments, before: Timestamp) {
        let kinds: HashMap<_, _, RandomState> =
            self.numbers.iter().map(|(kind, number)| (*number, kind)).collect();
        self.visits.sort_unstable_by(|(a, x), (b, y)| {
            (a, x.client.addr(), x).cmp(&(b, y.client.addr(), y))
        });
        self.visits.dedup_by(|(number, next), (other, kept)| {
            let same = number == other && next.client.addr() == kept.client.addr();
            if !same || next.last.time >= before {
                return false;
            }
            let kind = kinds[number];
            let apart = [&*kept, &*next].into_iter().any(|visit| {
                let (client, at) = (visit.client.addr(), visit.first.time);
                let named = kind.name().into_iter();
                let tokens = tokens_of(client, kind.server.addr(), named, names, at);
                troubles.any(&tokens, kept.began(kind).time, next.began(kind).time)
            });
            // They may have other names.
            let renamed = kind.name().is_none() && {
                let named = |at| names.candidates(kept.client.addr(), kind.server.addr(), at);
                named(kept.first.time).names != named(next.first.time).names
            };
            if apart || renamed {
                return false;
            }
            kept.repeats.add(next.repeats, next.first.time.since(kept.last.time));
            kept.last = kept.last.max(next.last);
            kept.bytes.iter_mut().zip(next.bytes).for_each(|(sum, more)| *sum += more);
            true
        });
    }

    fn thin_apart(&mut self, names: &Knowledge, successes: &Moments, before: Timestamp) {
        self.apart.sort_by_key(|connection| (connection.tally.first, connection.key));
        let mut kept: Vec<Box<Connection>> = Vec::new();
        let mut ways: HashMap<_, Vec<(Way, usize)>, RandomState> = HashMap::default();
        for connection in std::mem::take(&mut self.apart) {
            let end = connection.tally.last.time;
            let Some(way) = Way::of(&connection).filter(|_| end < before) else {
                kept.push(connection);
                continue;
            };
            let known = ways.entry(way.whom).or_default();
            let at = known.iter().position(|(other, _)| *other == way);
            if let Some(at) = at {
                let first = &mut kept[known[at].1];
                let tokens = tokens(&connection, names);
                if !successes.any(&tokens, first.tally.first.time.minus(BEFORE), end.plus(AFTER)) {
                    join(first, &connection);
                    continue;
                }
                known.swap_remove(at);
            }
            if known.len() < MAX_WAYS {
                known.push((way, kept.len()));
            }
            kept.push(connection);
        }
        self.apart = kept;
    }
}

/// Makes one stand for a later one that went the same way.
fn join(first: &mut Connection, later: &Connection) {
    let gap = later.tally.first.time.since(first.tally.last.time);
    first.repeats.add(later.repeats, gap);
    first.tally.last = first.tally.last.max(later.tally.last);
    // By who is the client, since the ports, and so the sides, may differ.
    let (Some(mine), Some(theirs)) = (client(first), client(later)) else { return };
    for (to, from) in [(mine, theirs), (mine.other(), theirs.other())] {
        let more = *later.tally.side(from);
        let sum = &mut first.tally.sides[to.index()];
        sum.packets += more.packets;
        sum.bytes = sum.bytes.saturating_add(more.bytes);
    }
}

fn client(connection: &Connection) -> Option<crate::flow::Side> {
    let known = connection.opener.or(connection.facts.client);
    known.or_else(|| higher_port(&connection.key))
}

/// True unless it surely failed.
fn may_have_succeeded(connection: &Connection) -> bool {
    let Facts { hello, encrypted, exchanges, connect, .. } = &connection.facts;
    encrypted.is_some()
        || exchanges.iter().any(|exchange| granted(exchange).is_some())
        || (hello.is_none()
            && exchanges.is_empty()
            && connect.as_ref().is_none_or(|connect| connect.status.is_some_and(|(_, s)| s < 300))
            && connection.tally.sides.iter().all(|side| side.payload.seen()))
}

/// What a connection may be about.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Token {
    Name(HostName),
    Addr(IpAddr),
}

fn tokens(connection: &Connection, names: &Knowledge) -> Vec<Token> {
    let Some(client) = client(connection) else { return Vec::new() };
    let [client, server] = [client, client.other()].map(|side| connection.key.end(side).addr());
    let Facts { hello, exchanges, connect, .. } = &connection.facts;
    let sni = hello.iter().filter_map(|hello| hello.sni.as_ref());
    let hosts = exchanges.iter().filter_map(|exchange| exchange.host.as_ref());
    let target = connect.iter().filter_map(|connect| connect.host.as_ref());
    let at = connection.tally.first.time;
    tokens_of(client, server, sni.chain(hosts).chain(target), names, at)
}

/// The address, and the names; those of DNS for want of others.
fn tokens_of<'n>(
    client: IpAddr,
    server: IpAddr,
    named: impl Iterator<Item = &'n HostName>,
    names: &Knowledge,
    at: Timestamp,
) -> Vec<Token> {
    let mut tokens = vec![Token::Addr(server)];
    tokens.extend(named.cloned().map(Token::Name));
    if tokens.len() == 1 {
        let candidates = names.candidates(client, server, at).names;
        tokens.extend(candidates.iter().cloned().map(Token::Name));
    }
    tokens
}

/// Times by what they are about.
#[derive(Default)]
struct Moments {
    times: HashMap<Token, Vec<Timestamp>, RandomState>,
}

impl Moments {
    fn extend(&mut self, token: Token, times: &[Timestamp]) {
        self.times.entry(token).or_default().extend_from_slice(times);
    }

    fn sorted(mut self) -> Self {
        self.times.values_mut().for_each(|times| {
            times.sort_unstable();
            times.dedup();
        });
        self
    }

    /// True when there is one about any of the tokens, from one time to another.
    fn any(&self, tokens: &[Token], from: Timestamp, to: Timestamp) -> bool {
        tokens.iter().filter_map(|token| self.times.get(token)).any(|times| {
            let at = times.partition_point(|time| *time < from);
            times.get(at).is_some_and(|time| *time <= to)
        })
    }
}

/// How a connection went, but for the times themselves: connections with the same give the same
/// result.
#[derive(PartialEq)]
struct Way {
    whom: (IpAddr, Endpoint, Transport),
    /// Without stamps, and numbers no greater than is told apart.
    told: Connection,
    /// Of each two stamps, which comes first and by how much.
    order: Vec<u8>,
}

impl Way {
    /// `None` when the two ends can't be told apart.
    fn of(connection: &Connection) -> Option<Self> {
        let side = client(connection)?;
        let [mine, server] = [side, side.other()].map(|side| connection.key.end(side));
        let transport = connection.key.transport();
        if mine.addr() == server.addr() {
            return None;
        }
        let mut told = connection.clone();
        let mut stamps = Vec::new();
        each_stamp(&mut told, |stamp| stamps.push(std::mem::take(stamp)));
        let until = connection.watched_until(Timestamp::from_nanos(u64::MAX));
        stamps.push(Stamp { time: until, ..Stamp::MAX });
        // The client's port is another one each time.
        told.key = FlowKey::new(transport, Endpoint::new(mine.addr(), 0), server).0;
        (told.watched_until, told.repeats) = (None, Repeats::default());
        for side in &mut told.tally.sides {
            side.isn = None;
            (side.packets, side.bytes) = (side.packets.min(1), side.bytes.min(1));
        }
        let order = stamps
            .iter()
            .enumerate()
            .flat_map(|(at, a)| stamps[..at].iter().map(move |b| step(*a, *b)))
            .collect();
        Some(Self { whom: (mine.addr(), server, transport), told, order })
    }
}

/// How two stamps lie to each other.
fn step(a: Stamp, b: Stamp) -> u8 {
    let apart = a.time.since(b.time).max(b.time.since(a.time));
    let size = THRESHOLDS.iter().filter(|threshold| apart >= **threshold).count() as u8;
    // At a threshold itself, comparisons differ.
    let exact = THRESHOLDS.contains(&apart);
    size << 3 | u8::from(exact) << 2 | (a.cmp(&b) as i8 + 1) as u8
}

/// Calls `f` with each stamp of what a connection told, but its last packet's, in the same order.
fn each_stamp(connection: &mut Connection, mut f: impl FnMut(&mut Stamp)) {
    let Connection { tally, facts, .. } = connection;
    f(&mut tally.first);
    tally.last = Stamp::default();
    for side in &mut tally.sides {
        for mark in
            [&mut side.payload, &mut side.syn, &mut side.syn_ack, &mut side.fin, &mut side.rst]
        {
            each_of(mark, &mut f);
        }
        side.last_ack.iter_mut().for_each(&mut f);
    }
    tally.icmp.iter_mut().for_each(|icmp| f(&mut icmp.stamp));
    facts.hello.iter_mut().for_each(|hello| f(&mut hello.stamp));
    let Facts { server_hello, hello_retry, other_versions, encrypted, .. } = facts;
    let Facts { client_encrypted, server_alert, client_alert, not_tls, .. } = facts;
    for stamp in [server_hello, hello_retry, other_versions, encrypted, client_encrypted, not_tls] {
        stamp.iter_mut().for_each(&mut f);
    }
    for alert in [server_alert, client_alert] {
        alert.iter_mut().for_each(|(stamp, _)| f(stamp));
    }
    facts.certificate.iter_mut().for_each(|certificate| f(&mut certificate.stamp));
    for exchange in &mut facts.exchanges {
        f(&mut exchange.stamp);
        exchange.status.iter_mut().for_each(|(stamp, _)| f(stamp));
    }
    if let Some(connect) = &mut facts.connect {
        f(&mut connect.stamp);
        connect.status.iter_mut().for_each(|(stamp, _)| f(stamp));
    }
}

/// The stamps of a mark; of its count no more stays than whether it is one.
fn each_of(mark: &mut Mark, f: &mut impl FnMut(&mut Stamp)) {
    let (Some(mut first), Some(mut last)) = (mark.first(), mark.last()) else { return };
    f(&mut first);
    f(&mut last);
    let several = mark.count > 1;
    *mark = Mark::default();
    mark.add(Stamp::default());
    if several {
        mark.add(Stamp::default());
    }
}
