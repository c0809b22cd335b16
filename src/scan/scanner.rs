use std::{net::IpAddr, sync::Arc};

use crate::{
    base::{Stamp, Timestamp},
    decode::{Body, Decoder, FragmentLimits, IcmpError, Tunnel, Undecoded},
    extract::{Ends, Fact, Observation, QuotedFlow},
    flow::{Endpoint, FlowKey, KeyHash, Slot, Table},
    scan::{
        Census, Partial, Usage,
        delivery::{Delivery, What},
        heard::Heard,
        held::{Held, Kept},
        part::{Beginning, Boundary, LEAST_OVER, Opening, Part},
    },
    source::Frame,
};

/// Takes observations as they are made.
pub trait Sink {
    /// Takes one. `make` builds it, so that a sink that wants none pays nothing.
    fn observe(&mut self, make: impl FnOnce() -> Observation);

    /// False when it takes none at all.
    fn wants_any(&self) -> bool {
        true
    }
}

/// Wants no observations.
impl Sink for () {
    fn observe(&mut self, _: impl FnOnce() -> Observation) {}

    fn wants_any(&self) -> bool {
        false
    }
}

/// Collects observations.
impl Sink for Vec<Observation> {
    fn observe(&mut self, make: impl FnOnce() -> Observation) {
        self.push(make());
    }
}

/// Bounds of a scan's tables.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows open at the same time. Idle and finished ones are dropped first.
    pub flows: usize,
    /// DNS lookups remembered, and as many addresses.
    pub lookups: usize,
    /// Bytes of memory that payload may take which waits for the rest of its message. Beyond it, the
    /// flows that hold the most are no longer read, and count as evicted.
    pub payload: usize,
    /// Finished connections kept for the report.
    pub connections: usize,
    /// IP fragments.
    pub fragments: FragmentLimits,
    /// Keep of connections that went well only what verdicts are made from.
    pub fold: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            lookups: 1 << 20,
            payload: 1 << 30,
            connections: 1 << 22,
            fragments: FragmentLimits::default(),
            fold: true,
        }
    }
}

/// Where a stretch lies in its capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the beginning: what was open before can't be known.
    Beginning,
    /// After another stretch, which may hold the beginning of its connections.
    Later,
}

/// Consumes the frames of a contiguous stretch of capture.
///
/// Does no I/O and reads no clock. Memory is bounded by [`Limits`]; frames of flows that are known
/// and have told what they can cost no allocation.
pub struct Scanner {
    /// `None` before the first frame.
    decoder: Option<Decoder>,
    pub(super) table: Table<Part>,
    partial: Partial,
    limits: Limits,
}

/// Places of the flow table that each new flow pays to look at, for finished flows.
const SWEEP: usize = 4;

/// Places looked at for a flow that holds much payload.
const EVICTION_SWEEP: usize = 512;

/// Payload from which no flow is worth more than another, in bytes: hellos, certificates and heads in
/// the field take less.
const BULK: usize = 16 * 1024;

impl Scanner {
    /// A scanner for a stretch at `place`. `resolvers` are DNS servers on ports other than 53.
    pub fn new(place: Place, limits: Limits, resolvers: Arc<[Endpoint]>) -> Self {
        let (table, partial) = (Table::new(limits.flows), Partial::new(place, limits, resolvers));
        Self { decoder: None, table, partial, limits }
    }

    /// One at the beginning, for connections that are found elsewhere by this table's hashes.
    pub(super) fn with_table(
        table: Table<Part>,
        limits: Limits,
        resolvers: Arc<[Endpoint]>,
    ) -> Self {
        Self { table, ..Self::new(Place::Beginning, limits, resolvers) }
    }

    /// Takes the next frame.
    pub fn push(&mut self, frame: &Frame<'_>, sink: &mut impl Sink) {
        let Self { decoder, table, partial, limits } = self;
        let decoder = decoder.get_or_insert_with(|| match partial.place {
            Place::Beginning => Decoder::new(limits.fragments),
            Place::Later => Decoder::later(limits.fragments, frame.stamp.time),
        });
        match decoder.decode(frame) {
            Ok(packet) => {
                partial.counters.frame(frame);
                let Some((delivery, payload)) = Delivery::of(&packet, frame.stamp) else {
                    partial.counters.other_protocol += 1;
                    return;
                };
                if let Body::IcmpError(error) = &packet.body {
                    observe(packet.src.ip(), error, frame.stamp, sink);
                }
                let hash = table.hash(&delivery.key);
                let clock = partial.clock.tick(frame.stamp.time);
                let step = Step { table, partial };
                step.deliver(&delivery, || payload, Route { hash, likely: None, clock }, sink);
            }
            Err(Undecoded::FragmentUnplaced) => self.hold(frame, sink),
            Err(why) => {
                partial.counters.frame(frame);
                partial.counters.undecoded(why, frame.link);
            }
        }
    }

    /// Brings a connection into the cache that something comes for soon; says where it probably is.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: KeyHash) -> Option<Slot> {
        self.table.prefetch(hash)
    }

    /// Notes that frames were captured from the first time to the last.
    pub(super) fn extend(&mut self, span: Option<(Timestamp, Timestamp)>) {
        span.into_iter().for_each(|(first, last)| self.partial.counters.extend(first, last));
    }

    /// Takes what came for a connection. Mostly nobody wants the payload.
    #[inline(always)]
    pub(super) fn deliver<'p>(
        &mut self,
        delivery: &Delivery,
        payload: impl Fn() -> &'p [u8],
        route: Route,
        sink: &mut impl Sink,
    ) {
        let Self { table, partial, .. } = self;
        Step { table, partial }.deliver(delivery, payload, route, sink);
    }

    /// Goes on after a stretch. What it holds stays with it.
    pub fn resume(mut partial: Partial) -> Self {
        let limits = partial.limits;
        let mut table = Table::new(limits.flows);
        for (key, part) in std::mem::take(&mut partial.open) {
            let hash = table.hash(&key);
            put(&mut table, key, hash, part);
        }
        Self { decoder: partial.decoder.take(), table, partial, limits }
    }

    /// Bytes of memory that payload takes which waits for the rest of its message. At most
    /// [`Limits::payload`] at the beginning of the capture; after another stretch, what was told of
    /// it can make it more while stretches are appended.
    pub fn payload(&self) -> usize {
        self.partial.payload
    }

    /// How full the tables are.
    pub fn usage(&self) -> Usage {
        let Partial { ledger, names, payload, .. } = &self.partial;
        let (lookups, addresses) = names.counts();
        let (flows, connections) = (self.table.len(), ledger.len());
        Usage { flows, connections, lookups, addresses, payload: *payload }
    }

    /// Takes note that no frame is from after a time, by the clock that stamps those of a live capture. To
    /// be called again and again: idle flows are ended by how far the capture has come, which without
    /// this never goes back, so that a clock that was set back would keep them until it has caught up.
    pub fn heed_clock(&mut self, latest: Timestamp) {
        if self.partial.clock.heed(latest) {
            self.table.values_mut().for_each(|part| part.set_back(latest));
            self.table.look_again();
        }
    }

    /// Takes note that frames were lost between two times.
    pub fn lost(&mut self, from: Timestamp, to: Timestamp) {
        self.partial.counters.losses.add(from, to);
    }

    /// Appends the stretch that comes right after.
    pub fn append(&mut self, mut later: Partial, sink: &mut impl Sink) {
        for Held { before, frames } in std::mem::take(&mut later.held) {
            self.append_scanned(before, sink);
            for kept in &frames {
                self.push(&kept.frame(), sink);
            }
        }
        self.append_scanned(later, sink);
    }

    /// Keeps a frame that can't be placed without the stretch before, and begins anew after it.
    #[cold]
    fn hold(&mut self, frame: &Frame<'_>, sink: &mut impl Sink) {
        if self.partial.holds_enough() {
            if let Some(decoder) = &mut self.decoder {
                decoder.place_all();
            }
            return self.push(frame, sink);
        }
        if self.partial.held.is_empty() || self.partial.counters.frames > 0 {
            let Partial { place, limits, resolvers, .. } = &self.partial;
            let mut next = Partial::new(*place, *limits, Arc::clone(resolvers));
            next.payload = self.partial.payload;
            let mut before = std::mem::replace(&mut self.partial, next);
            self.partial.held = std::mem::take(&mut before.held);
            let table = std::mem::replace(&mut self.table, Table::new(self.limits.flows));
            before.open = table.into_entries().collect();
            self.partial.held.push(Held { before, frames: Vec::new() });
        }
        if let Some(held) = self.partial.held.last_mut() {
            held.frames.push(Kept::new(frame));
        }
    }

    /// Appends a stretch that holds no frames.
    fn append_scanned<S: Sink>(&mut self, later: Partial, sink: &mut S) {
        let Partial { decoder, counters, names, ledger, heads, open, clock, .. } = later;
        let place = self.partial.place;
        match (&mut self.decoder, decoder) {
            (Some(decoder), Some(later)) => decoder.then(later),
            (None, later) => self.decoder = later,
            (Some(_), None) => {}
        }
        if let (Place::Beginning, Some(decoder)) = (place, &mut self.decoder) {
            decoder.place_all();
        }
        self.partial.counters.add(counters);
        self.partial.names.union(names);
        self.partial.append(ledger);
        let mut seam = Seam { scanner: self, sink };
        for (key, part, boundary) in heads {
            let next_may_belong = part.leaves_open() && boundary != Boundary::Idle;
            seam.splice(key, part, (!next_may_belong).then_some(boundary));
        }
        for (key, part) in open {
            seam.splice(key, part, None);
        }
        self.partial.clock.then(clock);
    }

    /// A copy of what the stretch told so far, to conclude while the capture goes on. Fragments that
    /// wait for others stay behind.
    pub fn snapshot(&self) -> Partial {
        let mut copy = self.partial.snapshot();
        copy.open = self.table.entries().cloned().collect();
        copy
    }

    /// What the stretch told. Nothing is judged to have ended.
    pub fn finish(self) -> Partial {
        let Self { mut partial, table, decoder, .. } = self;
        partial.decoder = decoder;
        partial.keep_open(table);
        partial
    }

    /// What the whole capture told: `finish` and [`Partial::conclude`] in one, for less.
    pub fn conclude(self, sink: &mut impl Sink) -> Census {
        let begins = self.partial.place == Place::Beginning && self.partial.held.is_empty();
        if !begins {
            return self.finish().conclude(sink);
        }
        let Self { mut partial, table, .. } = self;
        table.end(Part::prefetch, |key, part| partial.ended(key, part, None, sink));
        partial.census()
    }
}

/// Where a stretch is appended.
struct Seam<'s, S> {
    scanner: &'s mut Scanner,
    sink: &'s mut S,
}

impl<S: Sink> Seam<'_, S> {
    /// Puts a part of the later stretch behind what is open of its flow, as the same connection or
    /// as the next one; ends it when it has ended.
    fn splice(&mut self, key: FlowKey, mut part: Part, end: Option<Boundary>) {
        let Scanner { table, partial, .. } = &mut *self.scanner;
        partial.weigh(0, part.payload());
        let (hash, clock) = (table.hash(&key), partial.clock.now());
        if let Some(slot) = table.find(&key, hash)
            && let Some(current) = table.get_mut(slot)
        {
            let Some(boundary) = current.boundary(part.began(), clock, part.opening) else {
                let before = current.payload() + part.payload();
                current.join(&key, part, &mut partial.out(self.sink));
                partial.weigh(before, current.payload());
                table.look_again();
                let mut step = Step { table, partial };
                match end {
                    Some(end) => step.close(slot, end, self.sink),
                    None => step.shed(slot, self.sink),
                }
                return;
            };
            if boundary == Boundary::Idle || !current.leaves_open() {
                settle(partial, &key, &mut part, self.sink);
            }
            Step { table, partial }.close(slot, boundary, self.sink);
        } else if partial.place == Place::Beginning {
            settle(partial, &key, &mut part, self.sink);
        }
        match end {
            Some(end) => partial.ended(key, &mut part, Some(end), self.sink),
            None => {
                Step { table, partial }.make_room(clock, self.sink);
                let slot = put(table, key, hash, part);
                Step { table, partial }.shed(slot, self.sink);
            }
        }
    }
}

/// Adds what is known of a connection already.
fn put(table: &mut Table<Part>, key: FlowKey, hash: KeyHash, part: Part) -> Slot {
    let is_finished = part.is_finished();
    let slot = table.insert(key, hash, part);
    table.look_again();
    if is_finished {
        table.retire(slot);
    }
    slot
}

/// Interprets a part of a later stretch: nothing comes before it.
fn settle<S: Sink>(partial: &mut Partial, key: &FlowKey, part: &mut Part, sink: &mut S) {
    let before = part.payload();
    part.settle(key, &mut partial.out(sink));
    partial.weigh(before, part.payload());
}

/// How what came for a connection finds it.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// The table's, of the connection's key.
    pub(super) hash: KeyHash,
    /// Where the connection probably is.
    pub(super) likely: Option<Slot>,
    /// When it came, by the capture's clock.
    pub(super) clock: Timestamp,
}

/// One packet's way through the tables.
struct Step<'s> {
    table: &'s mut Table<Part>,
    partial: &'s mut Partial,
}

impl Step<'_> {
    #[inline(always)]
    fn deliver<'p, S: Sink>(
        mut self,
        delivery: &Delivery,
        payload: impl Fn() -> &'p [u8],
        route: Route,
        sink: &mut S,
    ) {
        let key = &delivery.key;
        match &delivery.what {
            What::Heard { heard, tunnel } => {
                let slot = self.slot(key, route, heard.stamp, heard.opening(), sink);
                self.hear(slot, key, (heard, payload), *tunnel, sink);
            }
            What::Unreachable(seen) => {
                let slot = self.slot(key, route, seen.stamp, None, sink);
                self.table.get_mut(slot).into_iter().for_each(|part| part.unreachable(seen));
            }
            What::Error(stamp) => {
                let slot = self.slot(key, route, *stamp, None, sink);
                self.table.get_mut(slot).into_iter().for_each(|part| part.error(*stamp));
            }
        }
    }

    #[inline(always)]
    fn hear<'p, S: Sink>(
        &mut self,
        slot: Slot,
        key: &FlowKey,
        (heard, payload): (&Heard, impl Fn() -> &'p [u8]),
        tunnel: Option<Tunnel>,
        sink: &mut S,
    ) {
        let Some(part) = self.table.get_mut(slot) else { return };
        part.tunnel = part.tunnel.or(tunnel);
        let may_finish = heard.closes() && !part.is_finished();
        let before = part.payload();
        if !part.hear_told(heard) {
            part.hear(key, heard, payload(), &mut self.partial.out(sink));
        }
        let after = part.payload();
        if may_finish && part.is_finished() {
            self.table.retire(slot);
        }
        if before != after {
            self.partial.weigh(before, after);
            self.shed(slot, sink);
        }
    }

    /// While payload takes too much memory, stops reading the flow that holds the most of it, as far
    /// as a look at some tells; in doubt the one that asked for more.
    fn shed<S: Sink>(&mut self, asking: Slot, sink: &mut S) {
        while self.partial.is_overweight() {
            let asks = self.table.get(asking).map_or(0, Part::payload);
            let most = self.table.heaviest(EVICTION_SWEEP, BULK.max(asks), Part::payload);
            let most = most
                .filter(|slot| self.table.get(*slot).is_some_and(|part| part.payload() >= asks));
            if most.is_none() && asks == 0 {
                return;
            }
            self.give_up(most.unwrap_or(asking), sink);
        }
    }

    #[cold]
    fn give_up<S: Sink>(&mut self, slot: Slot, sink: &mut S) {
        if let Some((key, part)) = self.table.entry_mut(slot) {
            self.partial.weigh(part.payload(), 0);
            part.give_up(&key, &mut self.partial.out(sink));
        }
    }

    /// The connection that a packet belongs to, begun here if need be.
    #[inline(always)]
    fn slot<S: Sink>(
        &mut self,
        key: &FlowKey,
        route: Route,
        stamp: Stamp,
        opening: Option<Opening>,
        sink: &mut S,
    ) -> Slot {
        let Route { hash, likely, clock } = route;
        let mut before = None;
        if let Some((slot, part)) = self.table.find_near(key, hash, likely) {
            let Some(boundary) = part.boundary(stamp.time, clock, opening) else {
                part.go_on(clock, opening);
                return slot;
            };
            before = Some((slot, boundary));
        }
        self.begin(before, (key, hash), (stamp, clock), opening, sink)
    }

    /// Begins a connection, and ends the one before on the same tuple.
    #[inline(never)]
    fn begin<S: Sink>(
        &mut self,
        before: Option<(Slot, Boundary)>,
        (key, hash): (&FlowKey, KeyHash),
        (stamp, clock): (Stamp, Timestamp),
        opening: Option<Opening>,
        sink: &mut S,
    ) -> Slot {
        let mut beginning = match self.partial.place {
            Place::Beginning => Beginning::Here,
            Place::Later => Beginning::Unknown,
        };
        if let Some((slot, boundary)) = before {
            let leaves_open = self.table.get(slot).is_some_and(Part::leaves_open);
            beginning = match boundary != Boundary::Idle && leaves_open {
                true => Beginning::Unknown,
                false => Beginning::Here,
            };
            self.close(slot, boundary, sink);
        } else {
            self.make_room(clock, sink);
        }
        let part = Part::new(key.transport(), stamp, clock, opening, beginning);
        self.table.insert(*key, hash, part)
    }

    fn close<S: Sink>(&mut self, slot: Slot, boundary: Boundary, sink: &mut S) {
        if let Some((key, mut part)) = self.table.remove(slot) {
            self.partial.ended(key, &mut part, Some(boundary), sink);
        }
    }

    /// Ends idle flows a few at a time; when the table is full, drops one.
    fn make_room<S: Sink>(&mut self, clock: Timestamp, sink: &mut S) {
        while let Some(slot) = self.table.sweep_over(SWEEP, clock, LEAST_OVER, Part::over) {
            self.close(slot, Boundary::Idle, sink);
        }
        while self.table.is_full() {
            let slot =
                self.table.next_retired(Part::is_finished).or_else(|| self.table.next_in_walk());
            let Some((key, part)) = slot.and_then(|slot| self.table.remove(slot)) else { return };
            self.partial.evict(key, part, sink);
        }
    }
}

#[cold]
fn observe(from: IpAddr, error: &IcmpError, stamp: Stamp, sink: &mut impl Sink) {
    let IcmpError { kind, code, quoted, .. } = *error;
    sink.observe(|| {
        let ends = Ends {
            client: quoted.src,
            client_port: quoted.src_port,
            server: quoted.dst,
            server_port: quoted.dst_port,
        };
        let quoted = QuotedFlow { ends, transport: quoted.transport };
        Observation::new(stamp, Fact::IcmpError { from, kind, code, quoted })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::FrameId, source::LinkType};

    /// A UDP datagram without payload, to the discard port, each time on another flow.
    fn datagram(number: u16, second: u64) -> (Stamp, [u8; 28]) {
        let mut data = [0; 28];
        data[0] = 0x45;
        (data[3], data[8], data[9]) = (28, 64, 17);
        data[12..16].copy_from_slice(&[10, 0, 0, 1]);
        data[16..20].copy_from_slice(&[192, 0, 2, 1]);
        data[20..22].copy_from_slice(&(1024 + number).to_be_bytes());
        (data[23], data[25]) = (9, 8);
        let time = Timestamp::from_parts(second, 0);
        (Stamp { time, frame: FrameId::new(0, u64::from(number) + 1) }, data)
    }

    #[test]
    fn idle_flows_end_also_after_the_clock_was_set_back() {
        const DAY: u64 = 24 * 3600;
        let mut scanner = Scanner::new(Place::Beginning, Limits::default(), [].into());
        let push = |scanner: &mut Scanner, number, second, clock| {
            scanner.heed_clock(Timestamp::from_parts(clock + 5, 0));
            let (stamp, data) = datagram(number, second);
            scanner.push(&Frame { stamp, link: LinkType(101), wire_len: 28, data: &data }, &mut ());
        };
        for number in 0..600 {
            push(&mut scanner, number % 10, DAY + 1000, DAY + 1000);
        }
        // Read when the clock was set back already.
        for number in 0..600 {
            push(&mut scanner, number % 10, DAY + 1000, 1000);
        }
        for number in 10..4010 {
            let second = 1000 + u64::from(number);
            push(&mut scanner, number, second, second);
        }
        let open = scanner.usage().flows;
        // Without the clock, all of them.
        assert!((10..2000).contains(&open), "{open}");
    }
}
