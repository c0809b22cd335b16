use std::time::Duration;

use crate::{
    base::{Stamp, Timestamp},
    decode::{Transport, Tunnel},
    extract::Facts,
    flow::{BUDGET, FlowKey, Side, Tally},
    scan::{
        Sink,
        outlet::Out,
        talk::{Chunk, Talk},
    },
};

/// A connection ends when nothing is seen of it for this long, and at once when a SYN opens another
/// one on the same tuple.
const fn idle_limit(transport: Transport) -> Duration {
    match transport {
        // Above the 4 minutes after which middleboxes forget, so that their reset still belongs.
        Transport::Tcp => Duration::from_secs(600),
        Transport::Udp => Duration::from_secs(180),
    }
}

/// Who opened a TCP connection, and with which initial sequence number: what tells two connections
/// on one tuple apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) client: Side,
    pub(super) isn: u32,
}

/// One connection, or as much of it as a stretch of capture holds.
#[derive(Debug)]
pub(super) struct Part {
    transport: Transport,
    pub(super) tally: Tally,
    pub(super) opening: Option<Opening>,
    pub(super) tunnel: Option<Tunnel>,
    /// Capture time of the last packet in reading order.
    last: Timestamp,
    first: Timestamp,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Interpreted as it comes; `None` until there is payload.
    Settled(Option<Box<Talk>>),
    /// The stretch before may hold the beginning: payload is kept, to be interpreted later.
    Tentative(Vec<Chunk<Box<[u8]>>>),
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
        opening: Option<Opening>,
        tentative: bool,
    ) -> Self {
        let content =
            if tentative { Content::Tentative(Vec::new()) } else { Content::Settled(None) };
        Self {
            transport,
            tally: Tally::new(stamp),
            opening,
            tunnel: None,
            last: stamp.time,
            first: stamp.time,
            content,
        }
    }

    /// Whether what comes at `time`, saying `opening`, belongs to another connection.
    pub(super) fn boundary(&self, time: Timestamp, opening: Option<Opening>) -> Option<Boundary> {
        if self.is_idle(time, Duration::ZERO) {
            Some(Boundary::Idle)
        } else if opening.is_some() && opening != self.opening {
            Some(Boundary::Opened(time))
        } else {
            None
        }
    }

    /// True when the connection is over by `time`, and by `margin` more, for want of packets.
    pub(super) fn is_idle(&self, time: Timestamp, margin: Duration) -> bool {
        time.since(self.last) > idle_limit(self.transport) + margin
    }

    /// True when both sides have closed, or one has reset: at most stragglers will come.
    pub(super) fn is_finished(&self) -> bool {
        let [low, high] = &self.tally.sides;
        low.rst.seen() || high.rst.seen() || (low.fin.seen() && high.fin.seen())
    }

    pub(super) fn is_tentative(&self) -> bool {
        matches!(self.content, Content::Tentative(_))
    }

    /// True when a connection that follows this one in the same stretch can't be told from this
    /// one's continuation without the stretch before.
    pub(super) fn leaves_open(&self) -> bool {
        self.is_tentative() && self.opening.is_none()
    }

    pub(super) fn touch(&mut self, time: Timestamp) {
        self.last = time;
    }

    /// Hands over payload; `before` counts the bytes that its sender had sent before.
    pub(super) fn payload<S: Sink>(
        &mut self,
        key: &FlowKey,
        chunk: Chunk<&[u8]>,
        out: &mut Out<'_, S>,
    ) {
        if chunk.before >= u64::from(BUDGET) {
            return;
        }
        match &mut self.content {
            Content::Tentative(log) => log.push(chunk.to_owned()),
            Content::Settled(talk) => {
                talk.get_or_insert_default().feed(key, chunk, out);
            }
        }
    }

    /// Appends the same connection's continuation in the stretch after.
    pub(super) fn join<S: Sink>(&mut self, key: &FlowKey, later: Self, out: &mut Out<'_, S>) {
        let sent = self.tally.sides.map(|side| side.bytes);
        let isns = self.tally.sides.map(|side| side.isn);
        if let Content::Tentative(log) = later.content {
            for chunk in log {
                let at = chunk.from.index();
                let before = chunk.before.saturating_add(sent[at]);
                let isn = isns[at].or(chunk.isn);
                self.payload(key, Chunk { before, isn, ..chunk.borrow() }, out);
            }
        }
        self.tally.then(&later.tally);
        self.opening = self.opening.or(later.opening);
        self.tunnel = self.tunnel.or(later.tunnel);
        self.last = later.last;
    }

    /// Interprets what was kept: there is no stretch before that could hold the beginning.
    pub(super) fn settle<S: Sink>(&mut self, key: &FlowKey, out: &mut Out<'_, S>) {
        if let Content::Tentative(log) = &mut self.content {
            let log = std::mem::take(log);
            self.content = Content::Settled(None);
            for chunk in log {
                self.payload(key, chunk.borrow(), out);
            }
        }
    }

    /// What the connection came to. The flow was watched until `Boundary` or, without one, until
    /// the capture ended.
    pub(super) fn close<S: Sink>(
        self,
        key: FlowKey,
        boundary: Option<Boundary>,
        out: &mut Out<'_, S>,
    ) -> Connection {
        let watched_until = match boundary {
            Some(Boundary::Opened(time)) => Some(time),
            _ => None,
        };
        let facts = match self.content {
            Content::Settled(Some(talk)) => talk.finish(&key, out),
            _ => Facts::default(),
        };
        Connection {
            key,
            tally: self.tally,
            opener: self.opening.map(|opening| opening.client),
            facts,
            tunnel: self.tunnel,
            watched_until,
            evicted: false,
        }
    }

    /// Capture time of the first packet in reading order.
    pub(super) fn began(&self) -> Timestamp {
        self.first
    }
}

/// A finished connection: everything that verdicts are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// True when it was dropped from a full table before it ended.
    pub evicted: bool,
}

impl Connection {
    /// Until when an answer would have been seen, in a capture that ends at `end`.
    pub fn watched_until(&self, end: Timestamp) -> Timestamp {
        let idle = self.tally.last.time.plus(idle_limit(self.key.transport()));
        self.watched_until.unwrap_or(end).min(idle).min(end)
    }
}
