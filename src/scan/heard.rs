use crate::{
    base::{Stamp, Timestamp},
    decode::{Packet, Tcp, TcpFlags, Transport, Udp},
    flow::{Side, Tally},
    scan::part::Opening,
};

/// A packet of a flow, as its connection gets to see it. Its captured payload goes beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) from: Side,
    pub(super) stamp: Stamp,
    /// Equal for two copies of one packet. A retransmission has another IPv4 identification, or comes
    /// later. Taken while headers and payload are at hand.
    print: u32,
    pub(super) transport: Transport,
    /// Of TCP; 0 for UDP, as the next one.
    seq: u32,
    flags: TcpFlags,
    /// Payload bytes on the wire.
    pub(super) payload_len: u32,
}

impl Heard {
    #[inline(always)]
    pub(super) fn tcp(from: Side, stamp: Stamp, packet: &Packet<'_>, tcp: &Tcp<'_>) -> Self {
        let Tcp { seq, ack, flags, payload_len, .. } = *tcp;
        let words = [u64::from(seq) << 32 | u64::from(ack), u64::from(flags.0)];
        let print = print(from, packet.ident, payload_len, words);
        Self { from, stamp, print, transport: Transport::Tcp, seq, flags, payload_len }
    }

    #[inline(always)]
    pub(super) fn udp(from: Side, stamp: Stamp, packet: &Packet<'_>, udp: &Udp<'_>) -> Self {
        let payload_len = udp.payload_len;
        let words = [word(udp.payload, 0), word(udp.payload, 8)];
        let print = print(from, packet.ident, payload_len, words);
        let (seq, flags) = (0, TcpFlags::default());
        Self { from, stamp, print, transport: Transport::Udp, seq, flags, payload_len }
    }

    /// What a segment says of how its connection was opened.
    pub(super) fn opening(&self) -> Option<Opening> {
        let opens = self.flags.has(TcpFlags::SYN) && !self.flags.has(TcpFlags::ACK);
        opens.then_some(Opening { client: self.from, isn: self.seq })
    }

    /// True when it may be a connection's last but for stragglers.
    pub(super) fn closes(&self) -> bool {
        self.flags.has(TcpFlags::FIN) || self.flags.has(TcpFlags::RST)
    }

    #[inline(always)]
    pub(super) fn count(&self, tally: &mut Tally) {
        match self.transport {
            Transport::Tcp => {
                tally.tcp(self.from, self.stamp, self.seq, self.flags, self.payload_len);
            }
            Transport::Udp => tally.udp(self.from, self.stamp, self.payload_len),
        }
    }

    /// Counts it as one that isn't read.
    pub(super) fn count_unread(&self, tally: &mut Tally) {
        tally.unread(self.from, self.stamp, self.payload_len);
    }

    /// Sequence number of the first payload byte: a SYN takes one of its own (RFC 9293 section
    /// 3.4). 0 for UDP.
    pub(super) fn payload_seq(&self) -> u32 {
        self.seq.wrapping_add(u32::from(self.flags.has(TcpFlags::SYN)))
    }
}

/// Of a packet: who sent it, its IPv4 identification (0 for IPv6), its length, and what else tells it from
/// others.
#[inline(always)]
fn print(from: Side, ident: u16, payload_len: u32, words: [u64; 2]) -> u32 {
    let base = u64::from(ident) << 32 | u64::from(payload_len);
    let start = base ^ (from.index() as u64) << 63;
    let hash = words.into_iter().fold(start, |hash, word| {
        (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    });
    (hash >> 32) as u32
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(word) = rest.first_chunk() {
        return u64::from_le_bytes(*word);
    }
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
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
    /// Where the next goes; beyond the places once, after that, all are taken.
    next: u8,
}

impl Recent {
    /// Packets remembered.
    pub(super) const LEN: usize = 8;

    /// Copies follow each other within this many units, about 20 ms; a retransmission takes longer
    /// (RFC 6298 section 2.4 sets 1 s, systems as little as 200 ms).
    const WINDOW: u32 = 20;

    /// True when the packet is a copy of a remembered one. Remembers it.
    #[inline(always)]
    pub(super) fn is_copy(&mut self, heard: &Heard) -> bool {
        let (print, time) = (heard.print, units(heard.stamp.time));
        // All are compared, several at once: that takes less time than to stop at the first.
        let is_known = self.prints.iter().fold(false, |any, known| any | (*known == print));
        let is_copy = is_known && self.was_just_heard(print, time);
        self.remember(print, time);
        is_copy
    }

    /// True when the print was remembered a little while ago.
    #[inline(never)]
    fn was_just_heard(&self, print: u32, time: u32) -> bool {
        let mut known = self.prints.iter().zip(&self.times).take(self.next.into());
        known.any(|(known, then)| *known == print && time.wrapping_sub(*then) <= Self::WINDOW)
    }

    /// Remembers a packet whatever it is.
    pub(super) fn note(&mut self, heard: &Heard) {
        self.remember(heard.print, units(heard.stamp.time));
    }

    fn remember(&mut self, print: u32, time: u32) {
        const LEN: u8 = Recent::LEN as u8;
        let at = usize::from(self.next % LEN);
        self.prints[at] = print;
        self.times[at] = time;
        self.next = if self.next == 2 * LEN - 1 { LEN } else { self.next + 1 };
    }
}

fn units(time: Timestamp) -> u32 {
    (time.nanos() >> 20) as u32
}
