use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{base::Stamp, decode::TcpFlags, flow::Side};

/// How often something happened, and the first and last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Number of times.
    pub count: u32,
    /// [`Stamp::MAX`] when it never happened.
    first: Stamp,
    last: Stamp,
}

/// It never happened.
impl Default for Mark {
    fn default() -> Self {
        Self { count: 0, first: Stamp::MAX, last: Stamp::default() }
    }
}

impl Mark {
    /// The first time.
    pub fn first(&self) -> Option<Stamp> {
        self.seen().then_some(self.first)
    }

    /// The last time.
    pub fn last(&self) -> Option<Stamp> {
        self.seen().then_some(self.last)
    }

    /// True when it happened.
    pub fn seen(&self) -> bool {
        self.count > 0
    }

    /// Notes that it happened.
    #[inline]
    pub fn add(&mut self, stamp: Stamp) {
        self.count = self.count.saturating_add(1);
        widen(&mut self.first, &mut self.last, stamp);
    }

    /// Adds the marks of a later (or any other) stretch.
    pub fn then(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.first = self.first.min(later.first);
        self.last = self.last.max(later.last);
    }
}

/// What one side of a flow sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideTally {
    /// Packets.
    pub packets: u64,
    /// Transport payload bytes, as on the wire.
    pub bytes: u64,
    /// Segments with payload, or datagrams.
    pub payload: Mark,
    /// SYN without ACK.
    pub syn: Mark,
    /// SYN with ACK.
    pub syn_ack: Mark,
    /// The last segment with ACK and without SYN or RST: this side has heard the other one.
    pub last_ack: Option<Stamp>,
    /// FIN.
    pub fin: Mark,
    /// RST.
    pub rst: Mark,
    /// Sequence number of the first SYN seen, with or without ACK.
    pub isn: Option<u32>,
}

impl SideTally {
    fn then(&mut self, later: &Self) {
        self.packets += later.packets;
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.payload.then(&later.payload);
        self.syn.then(&later.syn);
        self.syn_ack.then(&later.syn_ack);
        self.last_ack = self.last_ack.max(later.last_ack);
        self.fin.then(&later.fin);
        self.rst.then(&later.rst);
        self.isn = self.isn.or(later.isn);
    }
}

/// The first ICMP error that quoted a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpSeen {
    /// When.
    pub stamp: Stamp,
    /// The side whose packet is quoted.
    pub about: Side,
    /// The device that sent the error.
    pub from: IpAddr,
    /// True for ICMPv6.
    pub v6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// Counters and stamps of one flow: a commutative monoid under [`Tally::then`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What each side sent, by [`Side::index`].
    pub sides: [SideTally; 2],
    /// The first packet, or ICMP error about one; [`Stamp::MAX`] before there is any.
    pub first: Stamp,
    /// The last packet, or ICMP error about one; the default before there is any.
    pub last: Stamp,
    /// The first "unreachable" that quotes this flow. Apart, because few flows have one.
    pub icmp: Option<Box<IcmpSeen>>,
}

/// Nothing was seen yet.
impl Default for Tally {
    fn default() -> Self {
        Self { sides: Default::default(), first: Stamp::MAX, last: Stamp::default(), icmp: None }
    }
}

impl Tally {
    /// What `side` sent.
    pub fn side(&self, side: Side) -> &SideTally {
        &self.sides[side.index()]
    }

    /// Counts a TCP segment that `from` sent.
    #[inline(always)]
    pub fn tcp(&mut self, from: Side, stamp: Stamp, seq: u32, flags: TcpFlags, payload_len: u32) {
        let side = self.packet(from, stamp, payload_len);
        if flags.has(TcpFlags::SYN) {
            side.isn = side.isn.or(Some(seq));
            let mark = if flags.has(TcpFlags::ACK) { &mut side.syn_ack } else { &mut side.syn };
            mark.add(stamp);
        } else if flags.has(TcpFlags::ACK) && !flags.has(TcpFlags::RST) {
            let last = side.last_ack.get_or_insert(stamp);
            *last = stamp.max(*last);
        }
        if flags.has(TcpFlags::FIN) {
            side.fin.add(stamp);
        }
        if flags.has(TcpFlags::RST) {
            side.rst.add(stamp);
        }
    }

    /// Counts a UDP datagram that `from` sent.
    pub fn udp(&mut self, from: Side, stamp: Stamp, payload_len: u32) {
        self.packet(from, stamp, payload_len);
    }

    /// Counts a packet of `from` and no more: nothing is to be concluded from it.
    pub fn unread(&mut self, from: Side, stamp: Stamp, payload_len: u32) {
        self.touch(stamp);
        let side = &mut self.sides[from.index()];
        side.packets += 1;
        side.bytes = side.bytes.saturating_add(u64::from(payload_len));
    }

    /// Notes that a packet couldn't be delivered, as an ICMP error says.
    pub fn unreachable(&mut self, error: &IcmpSeen) {
        self.touch(error.stamp);
        if self.icmp.as_ref().is_none_or(|seen| error.stamp < seen.stamp) {
            self.icmp = Some(Box::new(*error));
        }
    }

    /// Joins the tally of a later stretch of the same flow.
    pub fn then(&mut self, later: Self) {
        self.first = self.first.min(later.first);
        self.last = self.last.max(later.last);
        for (side, more) in self.sides.iter_mut().zip(&later.sides) {
            side.then(more);
        }
        self.icmp = match (self.icmp.take(), later.icmp) {
            (Some(a), Some(b)) if b.stamp < a.stamp => Some(b),
            (a, b) => a.or(b),
        };
    }

    /// Joins no more of the tally of a later stretch than [`Tally::unread`] counts.
    pub fn then_unread(&mut self, later: &Self) {
        self.first = self.first.min(later.first);
        self.last = self.last.max(later.last);
        for (side, more) in self.sides.iter_mut().zip(&later.sides) {
            side.packets += more.packets;
            side.bytes = side.bytes.saturating_add(more.bytes);
        }
    }

    #[inline(always)]
    fn packet(&mut self, from: Side, stamp: Stamp, payload_len: u32) -> &mut SideTally {
        self.touch(stamp);
        let side = &mut self.sides[from.index()];
        side.packets += 1;
        if payload_len > 0 {
            side.bytes = side.bytes.saturating_add(u64::from(payload_len));
            side.payload.add(stamp);
        }
        side
    }

    /// Notes that something was seen of it.
    #[inline(always)]
    pub fn touch(&mut self, stamp: Stamp) {
        widen(&mut self.first, &mut self.last, stamp);
    }
}

/// Includes a stamp between the first and the last. Mostly it's the last, as the time alone shows.
#[inline(always)]
fn widen(first: &mut Stamp, last: &mut Stamp, stamp: Stamp) {
    if stamp.time > last.time || stamp > *last {
        *last = stamp;
    }
    if stamp.time <= first.time && stamp < *first {
        *first = stamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{FrameId, Timestamp};

    fn at(n: u64) -> Stamp {
        Stamp { time: Timestamp::from_nanos(n), frame: FrameId::new(0, n) }
    }

    #[test]
    fn joins_to_what_one_scan_counts() {
        let packets = [
            (Side::Low, (0x02, 7, 0)),
            (Side::High, (0x12, 9, 0)),
            (Side::Low, (0x10, 8, 0)),
            (Side::Low, (0x18, 8, 500)),
            (Side::High, (0x14, 10, 0)),
        ];
        let scan = |range: std::ops::Range<usize>| {
            let mut tally = Tally::default();
            for (n, &(side, (flags, seq, len))) in packets[range.clone()].iter().enumerate() {
                tally.tcp(side, at((range.start + n) as u64), seq, TcpFlags(flags), len);
            }
            tally
        };
        let whole = scan(0..5);
        for cut in 1..5 {
            let mut joined = scan(0..cut);
            joined.then(scan(cut..5));
            assert_eq!(joined, whole, "cut at {cut}");
        }
        assert_eq!(whole.side(Side::Low).isn, Some(7));
        assert_eq!(whole.side(Side::Low).bytes, 500);
        assert!(whole.side(Side::High).rst.seen());
        assert!(whole.side(Side::High).last_ack.is_none());
    }
}
