use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    base::Timestamp,
    decode::{Decoder, Undecoded},
    flow::{Endpoint, FlowKey, Table},
    names::Knowledge,
    scan::{
        Census, Limits, Losses, Place, Scanner, Sink,
        clock::Clock,
        held::{Held, MAX_HELD, MAX_KEPT},
        ledger::Ledger,
        outlet::Out,
        part::{Boundary, Part},
    },
    source::{Frame, LinkType},
};

/// Connections that ended this long ago aren't thinned out.
const RECENT: Duration = Duration::from_secs(3600);

/// What a contiguous stretch of capture told.
pub struct Partial {
    pub(super) place: Place,
    /// Earlier parts of this stretch; all that follows is about what came after them.
    pub(super) held: Vec<Held>,
    /// With the fragments that wait for others in the next stretch; `None` before the first frame.
    pub(super) decoder: Option<Decoder>,
    /// Frames, and what became of them; those that wait for the stretch before aren't counted yet.
    pub counters: Counters,
    /// What DNS told.
    pub(super) names: Knowledge,
    /// Finished connections.
    pub(super) ledger: Ledger,
    /// Connections that ended, but may have begun in the stretch before: for each key in order.
    pub(super) heads: Vec<(FlowKey, Part, Boundary)>,
    /// Connections that may go on in the next stretch, roughly in the order in which they began.
    pub(super) open: Vec<(FlowKey, Part)>,
    /// Frames lost to full tables up to which connections aren't thinned out again.
    pub(super) thin_from: u64,
    pub(super) clock: Clock,
    /// Bytes of memory that the payload of all connections in here takes, and of those in a scanner's
    /// table.
    pub(super) payload: usize,
    pub(super) limits: Limits,
    pub(super) resolvers: Arc<[Endpoint]>,
}

/// Frames, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames read.
    pub frames: u64,
    /// Captured bytes.
    pub bytes: u64,
    /// Frames not decoded, by [`Undecoded::reason`].
    pub undecoded: BTreeMap<Cow<'static, str>, u64>,
    /// Frames of link types that aren't supported.
    pub unsupported_links: BTreeMap<LinkType, u64>,
    /// Frames that were lost while capturing. Scanning can't know: whoever reads the inputs says.
    pub dropped: u64,
    /// When, as far as that is known; empty when it isn't.
    pub losses: Losses,
    /// Packets of other protocols than TCP, UDP and ICMP errors.
    pub other_protocol: u64,
    /// Flows dropped from a full table before they ended, or not read to their end for want of
    /// memory (these count twice), and finished connections beyond the bound.
    pub evicted: u64,
    /// Capture time of the earliest and the latest frame.
    pub span: Option<(Timestamp, Timestamp)>,
}

impl Partial {
    pub(super) fn new(place: Place, limits: Limits, resolvers: Arc<[Endpoint]>) -> Self {
        Self {
            place,
            held: Vec::new(),
            decoder: None,
            counters: Counters::default(),
            names: Knowledge::new(limits.lookups),
            ledger: Ledger::default(),
            heads: Vec::new(),
            open: Vec::new(),
            thin_from: 0,
            clock: Clock::default(),
            payload: 0,
            limits,
            resolvers,
        }
    }

    /// Goes on after a capture that ended: another one of the same host begins. What comes of the
    /// connections that were open then counts as new ones.
    pub fn after(census: Census, limits: Limits, resolvers: Arc<[Endpoint]>) -> Self {
        let Census { counters, names, mut connections, kinds } = census;
        let end = counters.span.map_or(Timestamp::default(), |(_, last)| last);
        for connection in &mut connections {
            connection.watched_until = Some(connection.watched_until(end));
        }
        let ledger = Ledger::restore(kinds, connections);
        // With this capture's bound.
        let mut known = Knowledge::new(limits.lookups);
        known.union(names);
        Self { counters, names: known, ledger, ..Self::new(Place::Beginning, limits, resolvers) }
    }

    /// A copy without the decoder.
    pub(super) fn snapshot(&self) -> Self {
        Self {
            place: self.place,
            held: self.held.iter().map(Held::snapshot).collect(),
            decoder: None,
            counters: self.counters.clone(),
            names: self.names.clone(),
            ledger: self.ledger.clone(),
            heads: self.heads.clone(),
            open: self.open.clone(),
            thin_from: self.thin_from,
            clock: self.clock,
            payload: self.payload,
            limits: self.limits,
            resolvers: Arc::clone(&self.resolvers),
        }
    }

    /// Notes that the payload of a connection in here, which took `before` bytes, takes `after`.
    pub(super) fn weigh(&mut self, before: usize, after: usize) {
        debug_assert!(before <= self.payload, "{before} of {} bytes", self.payload);
        self.payload = (self.payload + after).saturating_sub(before);
    }

    /// True when payload takes more than it may.
    pub(super) fn is_overweight(&self) -> bool {
        self.payload > self.limits.payload
    }

    /// What `payload` must be, when nothing is in a table.
    fn weight(&self) -> usize {
        let own = |partial: &Self| -> usize {
            let heads = partial.heads.iter().map(|(_, part, _)| part.payload());
            heads.chain(partial.open.iter().map(|(_, part)| part.payload())).sum()
        };
        own(self) + self.held.iter().map(|held| own(&held.before)).sum::<usize>()
    }

    /// Appends the stretch that comes right after this one. Associative.
    pub fn merge(self, later: Self, sink: &mut impl Sink) -> Self {
        let mut scanner = Scanner::resume(self);
        scanner.append(later, sink);
        scanner.finish()
    }

    /// Keeps the connections that may go on after this stretch.
    pub(super) fn keep_open(&mut self, table: Table<Part>) {
        self.open = table.into_entries().collect();
        debug_assert_eq!(self.payload, self.weight());
    }

    /// True when no more frames may be held.
    pub(super) fn holds_enough(&self) -> bool {
        let kept: usize = self.held.iter().map(|held| held.frames.len()).sum();
        self.held.len() >= MAX_HELD || kept >= MAX_KEPT
    }

    /// Ends everything: nothing comes after this stretch, and what came before can't be known.
    pub fn conclude(self, sink: &mut impl Sink) -> Census {
        let mut whole = match self.place {
            Place::Beginning => self,
            Place::Later => {
                Self::new(Place::Beginning, self.limits, self.resolvers.clone()).merge(self, sink)
            }
        };
        whole.end_open(sink);
        whole.census()
    }

    /// Ends what is open.
    pub(super) fn end_open(&mut self, sink: &mut impl Sink) {
        for (key, mut part) in std::mem::take(&mut self.open) {
            self.ended(key, &mut part, None, sink);
        }
    }

    /// All that was told, when everything has ended.
    pub(super) fn census(self) -> Census {
        debug_assert_eq!(self.payload, 0);
        let Self { counters, names, ledger, .. } = self;
        let (kinds, connections) = ledger.conclude();
        Census { counters, names, connections, kinds }
    }

    /// Ends a connection; of what lies there, nothing is of use after that.
    pub(super) fn ended<S: Sink>(
        &mut self,
        key: FlowKey,
        part: &mut Part,
        boundary: Option<Boundary>,
        sink: &mut S,
    ) {
        match boundary {
            Some(boundary) if part.is_tentative() => {
                if self.is_overweight() {
                    self.weigh(part.payload(), 0);
                    part.give_up(&key, &mut self.out(sink));
                }
                self.heads.push((key, part.leave(), boundary));
            }
            _ => {
                self.weigh(part.payload(), 0);
                part.finish(&key, &mut self.out(sink));
                self.keep(key, part, boundary, part.is_given_up());
            }
        }
    }

    pub(super) fn evict<S: Sink>(&mut self, key: FlowKey, mut part: Part, sink: &mut S) {
        self.weigh(part.payload(), 0);
        let finished = part.is_finished() && !part.is_tentative();
        let mut out = self.out(sink);
        part.settle(&key, &mut out);
        part.finish(&key, &mut out);
        let evicted = !finished || part.is_given_up();
        self.keep(key, &mut part, None, evicted);
    }

    /// Keeps a finished connection, and counts it when it was cut short or there is no room.
    fn keep(&mut self, key: FlowKey, part: &mut Part, boundary: Option<Boundary>, evicted: bool) {
        // Once more, as something is missing that no connection shows: a success that would decide,
        // the answer to a lookup.
        self.counters.evicted += u64::from(part.is_given_up());
        if self.ledger.len() >= self.limits.connections {
            self.thin();
        }
        if self.ledger.len() >= self.limits.connections {
            self.counters.evicted += 1;
            return;
        }
        self.counters.evicted += u64::from(evicted);
        if !self.limits.fold || !self.ledger.fold(&part.ended(key, evicted)) {
            self.ledger.keep(Box::new(part.take(key, boundary, evicted)));
        }
    }

    pub(super) fn out<'o, S>(&'o mut self, sink: &'o mut S) -> Out<'o, S> {
        Out { names: &mut self.names, sink, resolvers: &self.resolvers }
    }

    /// Adds finished connections of a later stretch.
    pub(super) fn append(&mut self, later: Ledger) {
        self.ledger.append(later);
        if self.ledger.len() > self.limits.connections {
            self.thin();
        }
        self.counters.evicted += self.ledger.truncate(self.limits.connections);
    }

    /// Has old connections stand for others. That takes a while, so it isn't tried in vain again and
    /// again.
    #[cold]
    fn thin(&mut self) {
        if !self.limits.fold || self.counters.evicted < self.thin_from {
            return;
        }
        let (began, now) = self.counters.span.unwrap_or_default();
        let before = now.minus(RECENT);
        if before > began {
            self.ledger.thin(&self.names, before);
        }
        let eighth = self.limits.connections / 8;
        if self.ledger.len() + eighth > self.limits.connections {
            self.thin_from = self.counters.evicted + eighth as u64;
        }
    }
}

impl Counters {
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        self.frames(1, frame.data.len(), Some((frame.stamp.time, frame.stamp.time)));
    }

    /// That many frames, of so many captured bytes, from the first time to the last.
    pub(super) fn frames(
        &mut self,
        frames: usize,
        bytes: usize,
        span: Option<(Timestamp, Timestamp)>,
    ) {
        self.frames += frames as u64;
        self.bytes += bytes as u64;
        span.into_iter().for_each(|(first, last)| self.extend(first, last));
    }

    pub(super) fn undecoded(&mut self, why: Undecoded, link: LinkType) {
        *self.undecoded.entry(why.reason().into()).or_default() += 1;
        if why == Undecoded::UnsupportedLinkType {
            *self.unsupported_links.entry(link).or_default() += 1;
        }
    }

    /// Whether frames may have been lost between two times.
    pub fn lost_any(&self, from: Timestamp, to: Timestamp) -> bool {
        self.dropped > 0 && (self.losses.is_empty() || self.losses.any(from, to))
    }

    /// Frames that gave a packet.
    pub fn decoded(&self) -> u64 {
        self.frames - self.undecoded.values().sum::<u64>()
    }

    pub(super) fn add(&mut self, later: Self) {
        self.frames += later.frames;
        self.bytes += later.bytes;
        for (reason, count) in later.undecoded {
            *self.undecoded.entry(reason).or_default() += count;
        }
        for (link, count) in later.unsupported_links {
            *self.unsupported_links.entry(link).or_default() += count;
        }
        self.dropped += later.dropped;
        self.losses.then(later.losses);
        self.other_protocol += later.other_protocol;
        self.evicted += later.evicted;
        if let Some((first, last)) = later.span {
            self.extend(first, last);
        }
    }

    pub(super) fn extend(&mut self, first: Timestamp, last: Timestamp) {
        let (earliest, latest) = self.span.unwrap_or((first, last));
        self.span = Some((earliest.min(first), latest.max(last)));
    }
}
