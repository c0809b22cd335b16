use std::{net::IpAddr, time::Duration};

use crate::{
    base::{Stamp, Timestamp},
    decode::{IcmpError, Transport, Tunnel},
    extract::Facts,
    flow::{BUDGET, FlowKey, Side, Tally},
    scan::{
        Sink,
        heard::{Heard, Recent},
        outlet::{Out, Outlet},
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
    /// Capture time of the first packet in reading order.
    began: Timestamp,
    /// Capture time of the last packet in reading order.
    last: Timestamp,
    recent: Recent,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Interpreted as it comes; `None` until there is payload.
    Settled(Option<Box<Talk>>),
    /// The stretch before may hold the beginning.
    Tentative(Box<Log>),
}

/// What a tentative connection keeps, to be interpreted when its beginning is known.
#[derive(Debug, Default)]
struct Log {
    /// The first packets, not even counted: they may be copies of the stretch before's last ones.
    early: Vec<Heard<Box<[u8]>>>,
    /// Payload after that, within the budget.
    chunks: Vec<Chunk<Box<[u8]>>>,
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
        let content = match tentative {
            true => Content::Tentative(Box::default()),
            false => Content::Settled(None),
        };
        let (began, last) = (stamp.time, stamp.time);
        let (tally, recent) = (Tally::default(), Recent::default());
        Self { transport, tally, opening, tunnel: None, began, last, recent, content }
    }

    /// Whether what comes at `time`, opening a connection or not, belongs to another one.
    ///
    /// A SYN opens another connection unless it repeats the SYN of this one, or nothing but its
    /// answer was seen so far: SYN and SYN-ACK may be captured in the wrong order.
    pub(super) fn boundary(&self, time: Timestamp, opening: Option<Opening>) -> Option<Boundary> {
        if self.is_idle(time, Duration::ZERO) {
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

    /// Takes a packet that belongs to this connection.
    pub(super) fn hear<S: Sink>(
        &mut self,
        key: &FlowKey,
        heard: Heard<&[u8]>,
        out: &mut Out<'_, S>,
    ) {
        self.last = heard.stamp.time;
        if let Content::Tentative(log) = &mut self.content
            && log.early.len() < Recent::LEN
        {
            self.recent.note(&heard);
            log.early.push(heard.to_owned());
        } else if !self.recent.is_copy(&heard) {
            self.take(key, heard, out);
        }
    }

    /// Notes an ICMP error about a packet that `about` sent.
    pub(super) fn icmp(&mut self, about: Side, stamp: Stamp, from: IpAddr, error: &IcmpError) {
        self.last = stamp.time;
        self.tally.icmp(about, stamp, from, error);
    }

    /// Counts and reads a packet that is no copy.
    fn take<S: Sink>(&mut self, key: &FlowKey, heard: Heard<&[u8]>, out: &mut Out<'_, S>) {
        let from = heard.from;
        let before = self.tally.side(from).bytes;
        heard.count(&mut self.tally);
        if !heard.bytes.is_empty() {
            let isn = self.tally.side(from).isn;
            let (stamp, seq, bytes) = (heard.stamp, heard.payload_seq(), heard.bytes);
            self.payload(key, Chunk { from, stamp, seq, isn, before, bytes }, out);
        }
    }

    /// Hands over payload; `before` counts the bytes that its sender had sent before.
    fn payload<S: Sink>(&mut self, key: &FlowKey, chunk: Chunk<&[u8]>, out: &mut Out<'_, S>) {
        // Each DNS datagram stands for itself.
        let lookup = self.transport == Transport::Udp && out.is_dns(key);
        if chunk.before >= u64::from(BUDGET) && !lookup {
            return;
        }
        match &mut self.content {
            Content::Tentative(log) => log.chunks.push(chunk.to_owned()),
            Content::Settled(_) if lookup => Outlet::new(key, out).dns_datagram(&chunk),
            Content::Settled(talk) => talk.get_or_insert_default().feed(key, chunk, out),
        }
    }

    /// Appends the same connection's continuation in the stretch after.
    pub(super) fn join<S: Sink>(&mut self, key: &FlowKey, later: Self, out: &mut Out<'_, S>) {
        if let Content::Tentative(log) = later.content {
            for heard in &log.early {
                self.hear(key, heard.borrow(), out);
            }
            // With fewer, all of them were heard just now.
            if log.early.len() == Recent::LEN {
                self.recent = later.recent;
            }
            self.replay(key, &log.chunks, out);
        }
        self.tally.then(later.tally);
        self.opening = self.opening.or(later.opening);
        self.tunnel = self.tunnel.or(later.tunnel);
        self.last = later.last;
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
            self.payload(key, Chunk { before, isn, ..chunk.borrow() }, out);
        }
    }

    /// Interprets what was kept: there is no stretch before that could hold the beginning.
    pub(super) fn settle<S: Sink>(&mut self, key: &FlowKey, out: &mut Out<'_, S>) {
        if self.is_tentative() {
            let began = Stamp { time: self.began, ..Stamp::default() };
            let settled = Self::new(self.transport, began, self.opening, false);
            let tentative = std::mem::replace(self, settled);
            self.join(key, tentative, out);
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
        let opener = self.opener();
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
            opener,
            facts,
            tunnel: self.tunnel,
            watched_until,
            evicted: false,
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
