use std::{mem::size_of, sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    base::{Stamp, Timestamp, prefetch},
    decode::{Transport, Tunnel},
    extract::Facts,
    flow::{BUDGET, FlowKey, IcmpSeen, Side, Tally},
    scan::{
        Repeats, Sink,
        heard::{Heard, Recent},
        outlet::{Out, Outlet},
        talk::{Chunk, Talk},
    },
};

/// A margin over the idle limit, for packets that come a little out of order.
const MARGIN: Duration = Duration::from_secs(60);

/// A connection ends when nothing is seen of it for this long, and at once when a SYN opens another
/// one on the same tuple.
pub(super) const fn idle_limit(transport: Transport) -> Duration {
    match transport {
        // Above the 4 minutes after which middleboxes forget, so that their reset still belongs.
        Transport::Tcp => Duration::from_secs(600),
        Transport::Udp => Duration::from_secs(180),
    }
}

/// The same by the capture's clock, which packets may be behind.
const fn over_limit(transport: Transport) -> Duration {
    idle_limit(transport).saturating_add(MARGIN)
}

/// How long after its last packet any connection goes on by the capture's clock.
pub(super) const LEAST_OVER: Duration = over_limit(Transport::Udp);

/// Who opened a TCP connection, and with which initial sequence number: what tells two connections
/// on one tuple apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) client: Side,
    pub(super) isn: u32,
}

/// One connection, or as much of it as a stretch of capture holds.
#[derive(Clone, Debug)]
pub(super) struct Part {
    transport: Transport,
    pub(super) tally: Tally,
    pub(super) opening: Option<Opening>,
    pub(super) tunnel: Option<Tunnel>,
    /// Capture time of the first packet in reading order.
    began: Timestamp,
    /// Capture time of the last packet in reading order.
    last: Timestamp,
    /// The capture's clock then.
    clock: Timestamp,
    recent: Recent,
    content: Content,
    /// Bytes of memory that its payload takes, as [`Part::weigh`] found.
    payload: u32,
    /// True once it is no longer read, for want of memory. Packets are counted from then on, and
    /// tell nothing: they may be answers to what wasn't read.
    given_up: bool,
}

#[derive(Clone, Debug)]
enum Content {
    /// There was no payload yet.
    Silent,
    /// Interpreted as it comes.
    Talking(Box<Talk>),
    /// There is nothing more to learn.
    Told(Box<Facts>),
    /// The stretch before may hold the beginning.
    Tentative(Box<Log>),
}

/// How a connection begins in its stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// There is nothing of it before.
    Here,
    /// There may be something of it before.
    Unknown,
}

/// What a tentative connection keeps, to be interpreted when its beginning is known.
#[derive(Clone, Debug, Default)]
struct Log {
    /// The first packets, not even counted: they may be copies of the stretch before's last ones.
    early: Vec<(Heard, Box<[u8]>)>,
    /// Payload after that, within the budget.
    chunks: Vec<Chunk<Box<[u8]>>>,
    /// Bytes of payload.
    bytes: usize,
}

/// Why a packet opens a new connection instead of belonging to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    Idle,
    Opened(Timestamp),
}

impl Part {
    pub(super) fn new(
        transport: Transport,
        stamp: Stamp,
        clock: Timestamp,
        opening: Option<Opening>,
        beginning: Beginning,
    ) -> Self {
        let content = match beginning {
            Beginning::Here => Content::Silent,
            Beginning::Unknown => Content::Tentative(Box::default()),
        };
        let (began, last) = (stamp.time, stamp.time);
        Self {
            transport,
            tally: Tally::default(),
            opening,
            tunnel: None,
            began,
            last,
            clock,
            recent: Recent::default(),
            content,
            payload: 0,
            given_up: false,
        }
    }

    /// Bytes of memory that its payload takes.
    pub(super) fn payload(&self) -> usize {
        self.payload as usize
    }

    /// True when it wasn't read to its end.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Frees the payload, after what is there of a message was read as at the end.
    pub(super) fn give_up<S: Sink>(&mut self, key: &FlowKey, out: &mut Out<'_, S>) {
        self.given_up = true;
        self.finish(key, out);
        if let Content::Tentative(log) = &mut self.content {
            log.clear();
        }
        self.weigh();
        debug_assert_eq!(self.payload, 0, "{key:?} keeps payload that it doesn't read");
    }

    fn weigh(&mut self) {
        let bytes = match &self.content {
            Content::Tentative(log) => log.footprint(),
            Content::Talking(talk) => talk.footprint(),
            Content::Silent | Content::Told(_) => 0,
        };
        self.payload = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Whether what comes at `time`, opening a connection or not, belongs to another one.
    ///
    /// A SYN opens another connection unless it repeats the SYN of this one, or nothing but its
    /// answer was seen so far: SYN and SYN-ACK may be captured in the wrong order.
    pub(super) fn boundary(
        &self,
        time: Timestamp,
        clock: Timestamp,
        opening: Option<Opening>,
    ) -> Option<Boundary> {
        let is_idle = time.is_beyond(self.last, idle_limit(self.transport));
        if is_idle || clock > self.over() {
            return Some(Boundary::Idle);
        }
        let opening = opening?;
        let same = match self.opening {
            Some(known) => known == opening,
            None => !self.is_tentative() && self.is_answer_to(opening.client),
        };
        (!same).then_some(Boundary::Opened(time))
    }

    /// True when all that was seen is SYN-ACKs to `client`.
    fn is_answer_to(&self, client: Side) -> bool {
        let (mine, theirs) = (self.tally.side(client), self.tally.side(client.other()));
        mine.packets == 0 && theirs.packets > 0 && theirs.packets == u64::from(theirs.syn_ack.count)
    }

    /// The connection is over when the clock is beyond this, for want of packets, whatever still comes.
    pub(super) fn over(&self) -> Timestamp {
        self.last.max(self.clock).plus(over_limit(self.transport))
    }

    /// The clock was set back to a time: by it, nothing was seen later.
    pub(super) fn set_back(&mut self, latest: Timestamp) {
        self.last = self.last.min(latest);
        self.clock = self.clock.min(latest);
    }

    /// Notes when a packet that belongs to it came.
    pub(super) fn go_on(&mut self, clock: Timestamp, opening: Option<Opening>) {
        self.clock = clock;
        if opening.is_some() {
            self.opening = self.opening.or(opening);
        }
    }

    /// True when both sides have closed, or one has reset: at most stragglers will come.
    pub(super) fn is_finished(&self) -> bool {
        let [low, high] = &self.tally.sides;
        low.rst.seen() || high.rst.seen() || (low.fin.seen() && high.fin.seen())
    }

    /// True when the stretch before may hold its beginning.
    pub(super) fn is_tentative(&self) -> bool {
        matches!(self.content, Content::Tentative(_))
    }

    /// True when a connection that follows this one in the same stretch can't be told from this
    /// one's continuation without the stretch before.
    pub(super) fn leaves_open(&self) -> bool {
        self.is_tentative() && self.opening.is_none()
    }

    /// Takes a packet that belongs to this connection, if none of its payload is wanted any more; else
    /// false, and [`Part::hear`] takes it. Most packets are of TCP connections that have told all.
    #[inline(always)]
    pub(super) fn hear_told(&mut self, heard: &Heard) -> bool {
        // Datagrams of DNS may still tell more.
        let is_told = self.transport == Transport::Tcp && matches!(self.content, Content::Told(_));
        if !is_told || self.given_up {
            return false;
        }
        self.last = heard.stamp.time;
        if !self.recent.is_copy(heard) {
            heard.count(&mut self.tally);
        }
        true
    }

    /// Takes a packet that belongs to this connection.
    pub(super) fn hear<S: Sink>(
        &mut self,
        key: &FlowKey,
        heard: &Heard,
        payload: &[u8],
        out: &mut Out<'_, S>,
    ) {
        self.last = heard.stamp.time;
        if let Content::Tentative(log) = &mut self.content
            && log.early.len() < Recent::LEN
        {
            self.recent.note(heard);
            log.hear(heard, if self.given_up { &[] } else { payload });
            return self.weigh();
        }
        if !self.recent.is_copy(heard) {
            self.count(key, heard, payload, out);
        }
    }

    /// Notes that a packet of this connection couldn't be delivered, as an ICMP error says.
    pub(super) fn unreachable(&mut self, error: &IcmpSeen) {
        self.last = error.stamp.time;
        if !self.given_up {
            self.tally.unreachable(error);
        }
    }

    /// Notes another ICMP error about a packet of this connection.
    pub(super) fn error(&mut self, stamp: Stamp) {
        self.last = stamp.time;
        if !self.given_up {
            self.tally.touch(stamp);
        }
    }

    /// Counts and reads a packet that is no copy.
    #[inline(always)]
    fn count<S: Sink>(&mut self, key: &FlowKey, heard: &Heard, bytes: &[u8], out: &mut Out<'_, S>) {
        if self.given_up {
            return heard.count_unread(&mut self.tally);
        }
        let from = heard.from;
        let before = self.tally.side(from).bytes;
        heard.count(&mut self.tally);
        if !bytes.is_empty() {
            let isn = self.tally.side(from).isn;
            let (stamp, seq) = (heard.stamp, heard.payload_seq());
            self.read(key, Chunk { from, stamp, seq, isn, before, bytes }, out);
        }
    }

    /// Hands over payload; `before` counts the bytes that its sender had sent before.
    fn read<S: Sink>(&mut self, key: &FlowKey, chunk: Chunk<&[u8]>, out: &mut Out<'_, S>) {
        // Each DNS datagram stands for itself.
        let lookup = self.transport == Transport::Udp && out.is_dns(key);
        if self.given_up || (chunk.before >= u64::from(BUDGET) && !lookup) {
            return;
        }
        match &mut self.content {
            Content::Tentative(log) => log.chunk(chunk.keep()),
            _ if lookup => return Outlet::new(key, out).dns_datagram(&chunk),
            Content::Silent => {
                let mut talk = Box::<Talk>::default();
                talk.feed(key, chunk, out);
                self.content = Content::Talking(talk);
            }
            Content::Talking(talk) => {
                talk.feed(key, chunk, out);
                if let Some(facts) = talk.outcome() {
                    self.content = Content::Told(Box::new(facts));
                }
            }
            Content::Told(_) => return,
        }
        self.weigh();
    }

    /// Appends the same connection's continuation in the stretch after.
    pub(super) fn join<S: Sink>(&mut self, key: &FlowKey, later: Self, out: &mut Out<'_, S>) {
        // What wasn't read there was the first that came.
        if later.given_up && later.is_tentative() {
            self.give_up(key, out);
        }
        if let Content::Tentative(log) = later.content {
            for (heard, payload) in &log.early {
                self.hear(key, heard, payload, out);
            }
            // With fewer, all of them were heard just now.
            if log.early.len() == Recent::LEN {
                self.recent = later.recent;
            }
            self.replay(key, &log.chunks, out);
        }
        match self.given_up {
            true => self.tally.then_unread(&later.tally),
            false => self.tally.then(later.tally),
        }
        self.given_up |= later.given_up;
        self.opening = self.opening.or(later.opening);
        self.tunnel = self.tunnel.or(later.tunnel);
        self.last = later.last;
        self.clock = self.clock.max(later.clock);
        self.weigh();
    }

    /// Reads payload that was kept; its positions count from the end of what was heard before it.
    fn replay<S: Sink>(
        &mut self,
        key: &FlowKey,
        chunks: &[Chunk<Box<[u8]>>],
        out: &mut Out<'_, S>,
    ) {
        let sent = self.tally.sides.map(|side| side.bytes);
        let isns = self.tally.sides.map(|side| side.isn);
        for chunk in chunks {
            let at = chunk.from.index();
            let before = chunk.before.saturating_add(sent[at]);
            let isn = isns[at].or(chunk.isn);
            self.read(key, Chunk { before, isn, ..chunk.borrow() }, out);
        }
    }

    /// Interprets what was kept: there is no stretch before that could hold the beginning.
    pub(super) fn settle<S: Sink>(&mut self, key: &FlowKey, out: &mut Out<'_, S>) {
        if self.is_tentative() {
            let began = Stamp { time: self.began, ..Stamp::default() };
            let settled =
                Self::new(self.transport, began, self.clock, self.opening, Beginning::Here);
            let tentative = std::mem::replace(self, settled);
            self.join(key, tentative, out);
        }
    }

    /// Moves it out. Nothing of it is left here.
    pub(super) fn leave(&mut self) -> Self {
        let (transport, clock) = (self.transport, self.clock);
        let nothing = Self::new(transport, Stamp::default(), clock, None, Beginning::Here);
        std::mem::replace(self, nothing)
    }

    /// Brings what [`Part::ended`] tells of into the cache.
    pub(super) fn prefetch(&self) {
        match &self.content {
            Content::Told(facts) => prefetch(&**facts),
            Content::Talking(talk) => prefetch(&**talk),
            Content::Silent | Content::Tentative(_) => {}
        }
    }

    /// Reads what is there of a message as at the end.
    pub(super) fn finish<S: Sink>(&mut self, key: &FlowKey, out: &mut Out<'_, S>) {
        if let Content::Talking(talk) = &mut self.content {
            let facts = std::mem::take(&mut **talk).finish(key, out);
            self.content = Content::Told(Box::new(facts));
        }
    }

    /// What the finished connection came to, where it lies.
    pub(super) fn ended(&self, key: FlowKey, evicted: bool) -> Ended<'_> {
        static NOTHING: LazyLock<Facts> = LazyLock::new(Facts::default);
        let facts: &Facts = match &self.content {
            Content::Told(facts) => facts,
            Content::Talking(_) | Content::Silent | Content::Tentative(_) => &NOTHING,
        };
        let (tally, opener, repeats) = (&self.tally, self.opener(), Repeats::default());
        Ended { key, tally, opener, facts, evicted, repeats }
    }

    /// The finished connection. The flow was watched until `Boundary` or, without one, until the capture
    /// ended. Nothing of it is left here.
    pub(super) fn take(
        &mut self,
        key: FlowKey,
        boundary: Option<Boundary>,
        evicted: bool,
    ) -> Connection {
        let opener = self.opener();
        let watched_until = match boundary {
            Some(Boundary::Opened(time)) => Some(time),
            _ => None,
        };
        let facts = match std::mem::replace(&mut self.content, Content::Silent) {
            Content::Told(facts) => *facts,
            Content::Talking(_) | Content::Silent | Content::Tentative(_) => Facts::default(),
        };
        Connection {
            key,
            tally: std::mem::take(&mut self.tally),
            opener,
            facts,
            tunnel: self.tunnel,
            watched_until,
            evicted,
            repeats: Repeats::default(),
        }
    }

    /// The side that sent the SYN, or was sent the SYN-ACK.
    fn opener(&self) -> Option<Side> {
        let answered = |side: &Side| self.tally.side(side.other()).syn_ack.seen();
        let by_answer = || [Side::Low, Side::High].into_iter().find(answered);
        self.opening.map(|opening| opening.client).or_else(by_answer)
    }

    /// Capture time of the first packet in reading order.
    pub(super) fn began(&self) -> Timestamp {
        self.began
    }
}

impl Log {
    fn hear(&mut self, heard: &Heard, payload: &[u8]) {
        self.bytes += payload.len();
        self.early.push((*heard, payload.into()));
    }

    fn chunk(&mut self, chunk: Chunk<Box<[u8]>>) {
        self.bytes += chunk.bytes.len();
        self.chunks.push(chunk);
    }

    /// Forgets the payload.
    fn clear(&mut self) {
        self.chunks = Vec::new();
        self.early.iter_mut().for_each(|(_, payload)| *payload = Box::default());
        self.bytes = 0;
    }

    /// Bytes of memory that payload takes. The first packets themselves, few, count as a part of the
    /// flow's entry.
    fn footprint(&self) -> usize {
        self.bytes + self.chunks.capacity() * size_of::<Chunk<Box<[u8]>>>()
    }
}

/// A finished connection: everything that verdicts are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The two endpoints.
    pub key: FlowKey,
    /// Counters and stamps.
    pub tally: Tally,
    /// The side that sent the SYN (or was sent the SYN-ACK).
    pub opener: Option<Side>,
    /// What the payload told.
    pub facts: Facts,
    /// The tunnel that the packets came in.
    pub tunnel: Option<Tunnel>,
    /// When another connection took over the tuple; without, it was watched to the end.
    pub watched_until: Option<Timestamp>,
    /// True when it was dropped from a full table before it ended, or not read to its end for want
    /// of memory. What is told here is about what came before.
    pub evicted: bool,
    /// How many it stands for.
    pub repeats: Repeats,
}

/// What of a finished connection, wherever it lies, decides whether it went well.
#[derive(Clone, Copy)]
pub(super) struct Ended<'e> {
    pub(super) key: FlowKey,
    pub(super) tally: &'e Tally,
    pub(super) opener: Option<Side>,
    pub(super) facts: &'e Facts,
    pub(super) evicted: bool,
    pub(super) repeats: Repeats,
}

impl Ended<'_> {
    /// As [`Connection::client`].
    pub(super) fn client(&self) -> Option<Side> {
        self.opener.or(self.facts.client)
    }
}

impl Connection {
    /// The client, as far as the packets show it: the sender of the SYN, else who spoke first in a
    /// protocol that shows it.
    pub fn client(&self) -> Option<Side> {
        self.ended().client()
    }

    pub(super) fn ended(&self) -> Ended<'_> {
        let Self { key, ref tally, opener, ref facts, evicted, repeats, .. } = *self;
        Ended { key, tally, opener, facts, evicted, repeats }
    }

    /// Until when an answer would have been seen, in a capture that ends at `end`.
    pub fn watched_until(&self, end: Timestamp) -> Timestamp {
        let idle = self.tally.last.time.plus(idle_limit(self.key.transport()));
        self.watched_until.unwrap_or(end).min(idle).min(end)
    }
}
