//! Makes room among finished connections: of old ones that went alike, one stands for several.
//!
//! Counts, bytes, spans and verdicts stay the same. A success may make a failure good that is near
//! it in time, so none is joined with another across such a time; nor are failures across a success.

use std::{net::IpAddr, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{
    base::{HostName, Stamp, Timestamp},
    decode::Transport,
    extract::Facts,
    flow::{Endpoint, FlowKey, Mark, Side, Tally},
    names::{Knowledge, Recall},
    scan::{
        ANSWER_WAIT, CUT, Connection, Kind, RETRY_WINDOW, SIDE_BY_SIDE, TRY_GAP, Visit,
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

/// A success makes failures good that ended so long before it at most: a little more than that.
const AFTER: Duration = Duration::from_secs(RETRY_WINDOW.as_secs() + 1);

/// Times that tell results apart.
const THRESHOLDS: [Duration; 2] = [CUT, ANSWER_WAIT];

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
        let names = &Recall::new(names);
        let troubles = self.troubles(names);
        let successes = self.successes(names, &troubles);
        let servers = Servers::new(&self.apart, names);
        self.thin_visits(names, &troubles, before);
        self.thin_apart(names, &successes, &servers, before);
    }

    /// When what makes failures good begins and ceases to do so.
    fn troubles(&self, names: &Recall<'_>) -> Moments {
        let mut found = Moments::default();
        for connection in &self.apart {
            let times = window(&connection.tally);
            let tokens = tokens(connection, names);
            tokens.into_iter().for_each(|token| found.extend(token, &times));
        }
        for (key, lookup) in names.names().lookups() {
            let marks = lookup.replies.iter().map(|(_, mark)| mark).chain([&lookup.queries]);
            let stamps = marks.flat_map(|mark| [mark.first(), mark.last()]).flatten();
            let times: Vec<_> = stamps.flat_map(|stamp| around(stamp.time)).collect();
            found.extend(Token::Name(key.name.clone()), &times);
        }
        found.sorted()
    }

    /// When what failed now and then succeeded.
    fn successes(&self, names: &Recall<'_>, troubles: &Moments) -> Moments {
        let mut found = Moments::default();
        let mut note = |tokens: Vec<Token>, time| {
            let wanted = tokens.into_iter().filter(|token| troubles.times.contains_key(token));
            wanted.for_each(|token| found.extend(token, &[time]));
        };
        for (kind, visits) in self.kinds() {
            for visit in visits {
                note(tokens_of_visit(kind, visit, names), visit.began(kind).time);
            }
        }
        for connection in self.apart.iter().filter(|connection| may_have_succeeded(connection)) {
            note(tokens(connection, names), connection.tally.first.time);
        }
        found.sorted()
    }

    fn thin_visits(&mut self, names: &Recall<'_>, troubles: &Moments, before: Timestamp) {
        self.change(|kind, visits| {
            let whose = |one: &Visit| whose(one.client, kind.is_client_known);
            visits.sort_unstable_by(|a, b| {
                (whose(a), a.began(kind), a).cmp(&(whose(b), b.began(kind), b))
            });
            visits.dedup_by(|next, kept| {
                if whose(next) != whose(kept) || next.last.time >= before {
                    return false;
                }
                let (began, begins) = (kept.began(kind).time, next.began(kind).time);
                // Those of which DNS says the same are about the same.
                let alike = told(kind, kept, names) == told(kind, next, names);
                if !alike || troubles.any(&tokens_of_visit(kind, next, names), began, begins) {
                    return false;
                }
                kept.repeats.add(next.repeats, begins.since(kept.last.time));
                kept.last = kept.last.max(next.last);
                kept.bytes.iter_mut().zip(next.bytes).for_each(|(sum, more)| *sum += more);
                true
            });
        });
    }

    fn thin_apart(
        &mut self,
        names: &Recall<'_>,
        successes: &Moments,
        servers: &Servers,
        before: Timestamp,
    ) {
        self.apart.sort_by_key(|connection| (connection.tally.first, connection.key));
        let mut kept: Vec<Box<Connection>> = Vec::new();
        let mut ways: HashMap<_, Vec<(Way, usize)>, RandomState> = HashMap::default();
        for connection in std::mem::take(&mut self.apart) {
            let end = connection.tally.last.time;
            let Some(way) = Way::of(&connection, names).filter(|_| end < before) else {
                kept.push(connection);
                continue;
            };
            let known = ways.entry(way.whom).or_default();
            let at = known.iter().position(|(other, _)| *other == way);
            if let Some(at) = at {
                let first = &mut kept[known[at].1];
                let tokens = tokens(&connection, names);
                let (from, to) = (first.tally.first.time.minus(SIDE_BY_SIDE), end.plus(AFTER));
                if !successes.any(&tokens, from, to) && !servers.part(first, &connection, names) {
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

/// A client's port is another one each time. What may be a server keeps it.
fn whose(client: Endpoint, is_client_known: bool) -> Endpoint {
    if is_client_known { Endpoint::new(client.addr(), 0) } else { client }
}

/// The client, or who probably is.
fn client(connection: &Connection) -> Option<Side> {
    connection.client().or_else(|| higher_port(&connection.key))
}

/// The addresses of client and server.
fn ends(connection: &Connection) -> Option<[IpAddr; 2]> {
    let client = client(connection)?;
    Some([client, client.other()].map(|side| connection.key.end(side).addr()))
}

/// What servers did themselves: where one is a proxy, its denial shows that it can be reached.
struct Servers {
    /// When they denied something.
    answered: Moments,
    /// When what fails without an answer begins and ceases to be made good by one.
    silent: Moments,
}

impl Servers {
    #[allow(clippy::vec_box)]
    fn new(apart: &[Box<Connection>], names: &Recall<'_>) -> Self {
        let (mut answered, mut silent) = (Moments::default(), Moments::default());
        for connection in apart.iter().filter(|connection| is_answered(connection)) {
            let time = connection.tally.first.time;
            server_tokens(connection, names).into_iter().for_each(|t| answered.extend(t, &[time]));
        }
        // Mostly there is none.
        let others = apart.iter().filter(|other| !answered.is_empty() && !is_answered(other));
        for connection in others {
            let times = window(&connection.tally);
            let wanted = |token: &Token| answered.times.contains_key(token);
            let tokens = server_tokens(connection, names).into_iter().filter(wanted);
            tokens.for_each(|token| silent.extend(token, &times));
        }
        Self { answered: answered.sorted(), silent: silent.sorted() }
    }

    /// True when one can't stand for a later one that went the same way.
    fn part(&self, first: &Connection, later: &Connection, names: &Recall<'_>) -> bool {
        let (from, to) = (first.tally.first.time, later.tally.first.time);
        let tokens = || server_tokens(later, names);
        match is_answered(later) {
            true => self.silent.any(&tokens(), from, to),
            false if self.answered.is_empty() => false,
            false => {
                let to = later.tally.last.time.plus(AFTER);
                self.answered.any(&tokens(), from.minus(SIDE_BY_SIDE), to)
            }
        }
    }
}

/// True when the server said something itself.
fn is_answered(connection: &Connection) -> bool {
    let Facts { exchanges, connect, .. } = &connection.facts;
    let asked = connect.as_ref().and_then(|connect| connect.status);
    asked.or_else(|| exchanges.first().and_then(|exchange| exchange.status)).is_some()
}

/// When what fails at a time begins and ceases to be made good.
fn around(at: Timestamp) -> [Timestamp; 2] {
    [at.minus(SIDE_BY_SIDE), at.plus(AFTER)]
}

/// The same, of a connection from beginning to end.
fn window(tally: &Tally) -> [Timestamp; 4] {
    let ([a, b], [c, d]) = (around(tally.first.time), around(tally.last.time));
    [a, b, c, d]
}

fn told(kind: &Kind, visit: &Visit, names: &Recall<'_>) -> [Told; 2] {
    let name = kind.name().filter(|_| !kind.is_tunnelled());
    let ends = (visit.client.addr(), kind.server.addr());
    by_dns(name, ends, kind.is_client_known, names, visit.first.time)
}

/// Names, and what is to be said about them.
type Told = (Arc<[HostName]>, bool);

/// What DNS says of a connection, as far as reports show it: its names, and whether they are another
/// client's; of one that says its name itself, whether DNS doesn't confirm that.
///
/// Who is the client may be for the profile to say: then both ends are asked about.
fn by_dns(
    name: Option<&HostName>,
    (client, server): (IpAddr, IpAddr),
    is_client_known: bool,
    names: &Recall<'_>,
    at: Timestamp,
) -> [Told; 2] {
    let candidates = names.candidates(client, server, at);
    match name {
        None => {
            let other = || names.candidates(server, client, at);
            let other = (!is_client_known).then(other);
            [Some(candidates), other]
                .map(|it| it.map_or_else(Told::default, |it| (it.names, it.other_client)))
        }
        Some(name) => {
            let is_told = candidates.names.binary_search(name).is_ok();
            let uncorroborated = !is_told && names.names().is_visible(client, at);
            [(Arc::default(), uncorroborated), Told::default()]
        }
    }
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

fn tokens(connection: &Connection, names: &Recall<'_>) -> Vec<Token> {
    let Some([client, server]) = ends(connection) else { return Vec::new() };
    let Facts { hello, exchanges, connect, .. } = &connection.facts;
    let sni = hello.iter().filter_map(|hello| hello.sni.as_ref());
    let hosts = exchanges.iter().filter_map(|exchange| exchange.host.as_ref());
    let target = connect.iter().filter_map(|connect| connect.host.as_ref());
    let at = connection.tally.first.time;
    let mut tokens = tokens_of(client, server, sni.chain(hosts).chain(target), names, at);
    if connection.client().is_none() {
        tokens.extend(tokens_of(server, client, std::iter::empty(), names, at));
    }
    tokens
}

fn tokens_of_visit(kind: &Kind, visit: &Visit, names: &Recall<'_>) -> Vec<Token> {
    let (client, at) = (visit.client.addr(), visit.first.time);
    let server = kind.server.addr();
    let mut tokens = tokens_of(client, server, kind.names(), names, at);
    if !kind.is_client_known {
        tokens.extend(tokens_of(server, client, std::iter::empty(), names, at));
    }
    tokens
}

/// The server's address and names, whatever was asked of it.
fn server_tokens(connection: &Connection, names: &Recall<'_>) -> Vec<Token> {
    let Some([client, server]) = ends(connection) else { return Vec::new() };
    tokens_of(client, server, std::iter::empty(), names, connection.tally.first.time)
}

/// The address, and the names; those of DNS for want of others.
fn tokens_of<'n>(
    client: IpAddr,
    server: IpAddr,
    named: impl Iterator<Item = &'n HostName>,
    names: &Recall<'_>,
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

    fn is_empty(&self) -> bool {
        self.times.is_empty()
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
    whom: (Endpoint, Endpoint, Transport),
    /// Without stamps, and numbers no greater than is told apart.
    told: Connection,
    /// Of each two stamps, which comes first and by how much.
    order: Vec<u8>,
    /// Its names by DNS, where they count, and how sure they are.
    named: [Told; 2],
    /// Of the two ends, whether their DNS was seen by then.
    visible: [bool; 2],
}

impl Way {
    /// `None` when the two ends can't be told apart.
    fn of(connection: &Connection, names: &Recall<'_>) -> Option<Self> {
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
        let is_known = connection.client().is_some();
        told.key = FlowKey::new(transport, whose(mine, is_known), server).0;
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
        let Facts { hello, exchanges, connect, .. } = &connection.facts;
        let sni = hello.as_ref().and_then(|hello| hello.sni.as_ref());
        let sni = sni.filter(|_| exchanges.is_empty() && connect.is_none());
        let ends = (mine.addr(), server.addr());
        let at = connection.tally.first.time;
        let named = by_dns(sni, ends, is_known, names, at);
        // Whether names that were never looked up are remarkable.
        let visible = [mine, server].map(|end| names.names().is_visible(end.addr(), at));
        let whom = (whose(mine, is_known), server, transport);
        Some(Self { whom, told, order, named, visible })
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
