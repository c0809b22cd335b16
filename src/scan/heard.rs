use crate::{
    base::{Stamp, Timestamp},
    decode::{Packet, Tcp, TcpFlags, Udp},
    flow::{Side, Tally},
    scan::part::Opening,
};

/// A packet of a flow, as its connection gets to see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<B> {
    pub(super) from: Side,
    pub(super) stamp: Stamp,
    /// The IPv4 identification; 0 for IPv6.
    pub(super) ident: u16,
    pub(super) header: Header,
    /// Payload bytes on the wire.
    pub(super) payload_len: u32,
    /// Captured payload.
    pub(super) bytes: B,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Header {
    Tcp { seq: u32, ack: u32, flags: TcpFlags },
    Udp,
}

impl<'a> Heard<&'a [u8]> {
    pub(super) fn tcp(from: Side, stamp: Stamp, packet: &Packet<'_>, tcp: &Tcp<'a>) -> Self {
        let Tcp { seq, ack, flags, payload_len, payload: bytes, .. } = *tcp;
        let header = Header::Tcp { seq, ack, flags };
        Self { from, stamp, ident: packet.ident, header, payload_len, bytes }
    }

    pub(super) fn udp(from: Side, stamp: Stamp, packet: &Packet<'_>, udp: &Udp<'a>) -> Self {
        let Udp { payload_len, payload: bytes, .. } = *udp;
        Self { from, stamp, ident: packet.ident, header: Header::Udp, payload_len, bytes }
    }

    /// What a segment says of how its connection was opened.
    pub(super) fn opening(&self) -> Option<Opening> {
        let Header::Tcp { seq, flags, .. } = self.header else { return None };
        let opens = flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK);
        opens.then_some(Opening { client: self.from, isn: seq })
    }

    pub(super) fn count(&self, tally: &mut Tally) {
        match self.header {
            Header::Tcp { seq, flags, .. } => {
                tally.tcp(self.from, self.stamp, seq, flags, self.payload_len);
            }
            Header::Udp => tally.udp(self.from, self.stamp, self.payload_len),
        }
    }

    /// Counts it as one that isn't read.
    pub(super) fn count_unread(&self, tally: &mut Tally) {
        tally.unread(self.from, self.stamp, self.payload_len);
    }

    /// Sequence number of the first payload byte: a SYN takes one of its own (RFC 9293 section
    /// 3.4).
    pub(super) fn payload_seq(&self) -> u32 {
        match self.header {
            Header::Tcp { seq, flags, .. } => seq.wrapping_add(u32::from(flags.has(TcpFlags::SYN))),
            Header::Udp => 0,
        }
    }

    /// Equal for two copies of one packet. A retransmission has another identification, or comes
    /// later.
    fn fingerprint(&self) -> u32 {
        let base = u64::from(self.ident) << 32 | u64::from(self.payload_len);
        let words = match self.header {
            Header::Tcp { seq, ack, flags } => {
                [u64::from(seq) << 32 | u64::from(ack), u64::from(flags.0)]
            }
            Header::Udp => [word(self.bytes, 0), word(self.bytes, 8)],
        };
        let start = base ^ (self.from.index() as u64) << 63;
        let hash = words.into_iter().fold(start, |hash, word| {
            (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        });
        (hash >> 32) as u32
    }
}

impl<B> Heard<B> {
    /// The same, with its payload elsewhere.
    pub(super) fn map<C>(self, payload: impl FnOnce(B) -> C) -> Heard<C> {
        let Self { from, stamp, ident, header, payload_len, bytes } = self;
        Heard { from, stamp, ident, header, payload_len, bytes: payload(bytes) }
    }
}

impl Heard<Box<[u8]>> {
    pub(super) fn borrow(&self) -> Heard<&[u8]> {
        let Self { from, stamp, ident, header, payload_len, ref bytes } = *self;
        Heard { from, stamp, ident, header, payload_len, bytes }
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(rest) = bytes.get(at..) {
        let len = rest.len().min(8);
        word[..len].copy_from_slice(&rest[..len]);
    }
    u64::from_le_bytes(word)
}

/// The last packets of a connection, to know a second copy of one: a capture on several interfaces
/// (`-i any`, a veth and the NIC behind it, pktmon) sees packets more than once.
///
/// Remembers copies too: what is a copy depends on the last [`Recent::LEN`] packets alone, wherever
/// a stretch begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    prints: [u32; Recent::LEN],
    /// Capture time of each, in units of 2^20 ns (about 1 ms).
    times: [u32; Recent::LEN],
    next: u8,
    filled: u8,
}

impl Recent {
    /// Packets remembered.
    pub(super) const LEN: usize = 8;

    /// Copies follow each other within this many units, about 20 ms; a retransmission takes longer
    /// (RFC 6298 section 2.4 sets 1 s, systems as little as 200 ms).
    const WINDOW: u32 = 20;

    /// True when the packet is a copy of a remembered one. Remembers it.
    pub(super) fn is_copy(&mut self, heard: &Heard<&[u8]>) -> bool {
        let (print, time) = (heard.fingerprint(), units(heard.stamp.time));
        let filled = usize::from(self.filled);
        let copy = (0..filled).any(|at| {
            self.prints[at] == print && time.wrapping_sub(self.times[at]) <= Self::WINDOW
        });
        self.remember(print, time);
        copy
    }

    /// Remembers a packet whatever it is.
    pub(super) fn note(&mut self, heard: &Heard<&[u8]>) {
        self.remember(heard.fingerprint(), units(heard.stamp.time));
    }

    fn remember(&mut self, print: u32, time: u32) {
        let at = usize::from(self.next) % Self::LEN;
        self.prints[at] = print;
        self.times[at] = time;
        self.next = (self.next + 1) % Self::LEN as u8;
        self.filled = self.filled.saturating_add(1).min(Self::LEN as u8);
    }
}

fn units(time: Timestamp) -> u32 {
    (time.nanos() >> 20) as u32
}
