use std::mem::size_of;

use crate::base::Stamp;

/// Payload bytes that each direction of a flow offers to the extractors, counted as they arrive:
/// a segment takes part when fewer bytes than this came before it.
///
/// Counting arrivals (and not sequence space) makes the rule hold however the capture is cut: a
/// segment beyond the budget of a later stretch is beyond the budget of the whole.
pub const BUDGET: u32 = 64 * 1024;

/// Out-of-order pieces that wait for a gap to fill; more are dropped.
const MAX_HELD: usize = 64;

/// How far ahead of the contiguous bytes a segment may lie.
const MAX_AHEAD: i32 = 2 * BUDGET as i32;

/// The first bytes of one direction of a flow, put in order as they arrive.
///
/// Retransmitted and overlapping bytes are dropped in favour of those that came first. Bytes can be
/// consumed from the front, also ones that haven't arrived yet.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    /// Sequence number of the first unconsumed byte, once known.
    base: Option<u32>,
    /// True when `base` came from a SYN: nothing lies before it.
    anchored: bool,
    /// True once something was consumed: nothing earlier can be put in front any more.
    consumed: bool,
    /// Number of bytes consumed.
    start: u64,
    bytes: Vec<u8>,
    /// Where each segment ends in `bytes`, and when it arrived.
    ends: Vec<(u32, Stamp)>,
    held: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    seq: u32,
    bytes: Box<[u8]>,
    stamp: Stamp,
}

/// Contiguous bytes with the arrival of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// Offset of the first byte from the beginning of what was seen of the stream.
    pub start: u64,
    /// The bytes in order.
    pub bytes: &'a [u8],
    /// Where each segment ends, counted from the first byte less `skipped`.
    ends: &'a [(u32, Stamp)],
    skipped: usize,
}

impl<'a> View<'a> {
    /// The view without its first `len` bytes.
    pub fn skip(self, len: usize) -> Self {
        let bytes = self.bytes.get(len..).unwrap_or_default();
        let (start, skipped) = (self.start + len as u64, self.skipped + len);
        Self { start, bytes, skipped, ..self }
    }

    /// When the first `len` bytes were complete: the latest arrival among them.
    pub fn complete_at(&self, len: usize) -> Stamp {
        self.parts(len).iter().map(|&(_, stamp)| stamp).max().unwrap_or_default()
    }

    /// Number of segments that the first `len` bytes came in.
    pub fn segments(&self, len: usize) -> u32 {
        self.parts(len).len() as u32
    }

    fn parts(&self, len: usize) -> &'a [(u32, Stamp)] {
        let before = self.ends.partition_point(|&(end, _)| end as usize <= self.skipped);
        let whole = self.ends.partition_point(|&(end, _)| (end as usize) < self.skipped + len);
        self.ends.get(before..self.ends.len().min(whole + 1)).unwrap_or_default()
    }
}

/// What a segment did to a [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next in order and nothing is buffered: read it where it is, then call
    /// [`Prefix::keep`].
    Direct,
    /// The buffered bytes grew.
    Grew,
    /// Nothing new in order.
    Nothing,
}

impl Prefix {
    /// Anchors the stream at the byte after a SYN. Later calls do nothing.
    pub fn anchor(&mut self, isn: u32) {
        if !self.anchored && self.base.is_none() {
            self.base = Some(isn.wrapping_add(1));
            self.anchored = true;
        }
    }

    /// True when the first byte is known to be the stream's first.
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// True when bytes arrived that a gap keeps from being read.
    pub fn has_gap(&self) -> bool {
        !self.held.is_empty()
    }

    /// The contiguous unconsumed bytes.
    pub fn view(&self) -> View<'_> {
        View { start: self.start, bytes: &self.bytes, ends: &self.ends, skipped: 0 }
    }

    /// The view of a segment that is [`Arrival::Direct`]; `ends` holds its length and arrival.
    pub fn view_of<'a>(&self, bytes: &'a [u8], ends: &'a [(u32, Stamp); 1]) -> View<'a> {
        View { start: self.start, bytes, ends, skipped: 0 }
    }

    /// Takes a segment whose first payload byte has sequence number `seq`.
    pub fn offer(&mut self, seq: u32, payload: &[u8], stamp: Stamp) -> Arrival {
        let base = self.base_near(seq);
        let ahead = seq.wrapping_sub(base.wrapping_add(self.bytes.len() as u32)) as i32;
        if ahead == 0 && self.bytes.is_empty() && self.held.is_empty() {
            return Arrival::Direct;
        }
        if ahead > 0 {
            self.hold(seq, payload, stamp, ahead);
            return Arrival::Nothing;
        }
        if self.precedes(seq, base) {
            self.put_in_front(seq);
        }
        let before = self.bytes.len();
        self.append(seq, payload, stamp);
        self.drain_held();
        if self.bytes.len() > before { Arrival::Grew } else { Arrival::Nothing }
    }

    /// Buffers what is left of a [`Arrival::Direct`] segment after `used` bytes of it were read;
    /// `used` may be more than its length.
    pub fn keep(&mut self, payload: &[u8], used: usize, stamp: Stamp) {
        let Some(base) = self.base else { return };
        self.advance(base, used);
        if let Some(rest) = payload.get(used..).filter(|rest| !rest.is_empty()) {
            self.push(rest, stamp);
        }
    }

    /// Bytes of memory that the buffers take.
    pub fn footprint(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<(u32, Stamp)>()
            + self.held.capacity() * size_of::<Piece>()
            + self.held.iter().map(|piece| piece.bytes.len()).sum::<usize>()
    }

    /// Drops `len` bytes from the front; those that haven't arrived yet are dropped when they do.
    pub fn consume(&mut self, len: usize) {
        let Some(base) = self.base.filter(|_| len > 0) else {
            return;
        };
        self.advance(base, len);
        let have = len.min(self.bytes.len());
        self.bytes.drain(..have);
        self.ends.retain_mut(|(end, _)| {
            *end = end.saturating_sub(have as u32);
            *end > 0
        });
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
            self.ends = Vec::new();
        }
        self.drain_held();
    }

    /// Frees the buffers.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
        self.ends = Vec::new();
        self.held = Vec::new();
    }

    fn advance(&mut self, base: u32, len: usize) {
        self.consumed |= len > 0;
        self.start += len as u64;
        self.base = Some(base.wrapping_add(len as u32));
    }

    /// The base, which becomes `seq` when there is none yet, or when nothing was read and `seq` is
    /// so far from it that the SYN must have been a forged one.
    fn base_near(&mut self, seq: u32) -> u32 {
        let near = |base: u32| {
            let ahead = seq.wrapping_sub(base) as i32;
            (-MAX_AHEAD..MAX_AHEAD).contains(&ahead)
        };
        let untouched = !self.consumed && self.bytes.is_empty() && self.held.is_empty();
        if self.base.is_none_or(|base| untouched && !near(base)) {
            self.anchored = false;
            self.base = Some(seq);
        }
        self.base.unwrap_or(seq)
    }

    /// True when an unanchored stream turns out to begin earlier.
    fn precedes(&self, seq: u32, base: u32) -> bool {
        let before = base.wrapping_sub(seq) as i32;
        !self.anchored && !self.consumed && (1..BUDGET as i32).contains(&before)
    }

    /// Makes `seq` the first byte and sets aside what is there until it connects.
    fn put_in_front(&mut self, seq: u32) {
        let Some(base) = self.base.replace(seq) else {
            return;
        };
        let stamp = self.view().complete_at(self.bytes.len());
        let bytes = std::mem::take(&mut self.bytes).into();
        self.ends.clear();
        self.held.insert(0, Piece { seq: base, bytes, stamp });
    }

    /// Appends what of a segment lies beyond the contiguous bytes, if it connects.
    fn append(&mut self, seq: u32, payload: &[u8], stamp: Stamp) {
        let Some(base) = self.base else { return };
        let next = base.wrapping_add(self.bytes.len() as u32);
        let known = next.wrapping_sub(seq) as i32;
        if let Some(fresh) = usize::try_from(known).ok().and_then(|known| payload.get(known..)) {
            self.push(fresh, stamp);
        }
    }

    fn push(&mut self, bytes: &[u8], stamp: Stamp) {
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            self.ends.push((self.bytes.len() as u32, stamp));
        }
    }

    fn hold(&mut self, seq: u32, payload: &[u8], stamp: Stamp, ahead: i32) {
        if ahead < MAX_AHEAD && self.held.len() < MAX_HELD {
            self.held.push(Piece { seq, bytes: payload.into(), stamp });
        }
    }

    /// Moves held pieces that connect by now, the earliest arrival first.
    fn drain_held(&mut self) {
        let Some(base) = self.base else { return };
        loop {
            let next = base.wrapping_add(self.bytes.len() as u32);
            let connects = |piece: &Piece| (next.wrapping_sub(piece.seq) as i32) >= 0;
            let Some(at) = self.held.iter().position(connects) else {
                return;
            };
            let piece = self.held.remove(at);
            self.append(piece.seq, &piece.bytes, piece.stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{FrameId, Timestamp};

    fn at(n: u64) -> Stamp {
        Stamp { time: Timestamp::from_nanos(n), frame: FrameId::new(0, n) }
    }

    /// Feeds a segment the way the scanner does, without consuming.
    fn feed(prefix: &mut Prefix, seq: u32, payload: &[u8], n: u64) {
        if prefix.offer(seq, payload, at(n)) == Arrival::Direct {
            prefix.keep(payload, 0, at(n));
        }
    }

    #[test]
    fn puts_segments_in_order_and_counts_them() {
        let mut prefix = Prefix::default();
        prefix.anchor(99);
        feed(&mut prefix, 104, b"o, world", 1);
        assert!(prefix.has_gap());
        feed(&mut prefix, 100, b"hell", 2);
        assert_eq!(prefix.view().bytes, b"hello, world");
        assert_eq!(prefix.view().segments(4), 1);
        assert_eq!(prefix.view().segments(5), 2);
        assert_eq!(prefix.view().complete_at(12), at(2));
        assert_eq!(prefix.view().skip(4).segments(2), 1);
        assert_eq!(prefix.view().skip(3).segments(2), 2);
        assert_eq!(prefix.view().skip(4).complete_at(1), at(1));
    }

    #[test]
    fn the_first_copy_of_a_byte_wins() {
        let mut prefix = Prefix::default();
        prefix.anchor(0);
        feed(&mut prefix, 1, b"abc", 1);
        feed(&mut prefix, 1, b"XXXd", 2);
        assert_eq!(prefix.view().bytes, b"abcd");
        feed(&mut prefix, 3, b"YY", 3);
        assert_eq!(prefix.view().bytes, b"abcd");
    }

    #[test]
    fn consumes_past_the_end() {
        let mut prefix = Prefix::default();
        feed(&mut prefix, 10, b"head", 1);
        prefix.consume(7);
        feed(&mut prefix, 14, b"xyzNEXT", 2);
        assert_eq!(prefix.view().bytes, b"NEXT");
        prefix.consume(4);
        assert_eq!(prefix.offer(21, b"direct", at(3)), Arrival::Direct);
        prefix.keep(b"direct", 10, at(3));
        feed(&mut prefix, 27, b"skip!", 4);
        assert_eq!(prefix.view().bytes, b"!");
    }

    #[test]
    fn an_unanchored_stream_may_turn_out_to_begin_earlier() {
        let mut prefix = Prefix::default();
        feed(&mut prefix, 50, b"second", 1);
        feed(&mut prefix, 45, b"first", 2);
        assert_eq!(prefix.view().bytes, b"firstsecond");
        let mut anchored = Prefix::default();
        anchored.anchor(49);
        feed(&mut anchored, 50, b"data", 1);
        feed(&mut anchored, 45, b"stale", 2);
        assert_eq!(anchored.view().bytes, b"data");
    }

    proptest! {
        #[test]
        fn any_order_and_overlap_gives_the_stream(
            stream in prop::collection::vec(any::<u8>(), 1..200),
            isn in any::<u32>(),
            picks in prop::collection::vec((0usize..200, 1usize..60), 0..30),
        ) {
            let mut prefix = Prefix::default();
            prefix.anchor(isn);
            let seq = |offset: usize| isn.wrapping_add(1).wrapping_add(offset as u32);
            for (n, &(from, len)) in picks.iter().enumerate() {
                let from = from.min(stream.len() - 1);
                let to = (from + len).min(stream.len());
                feed(&mut prefix, seq(from), &stream[from..to], n as u64);
                prop_assert!(stream.starts_with(prefix.view().bytes));
            }
            feed(&mut prefix, seq(0), &stream, 99);
            prop_assert_eq!(prefix.view().bytes, &stream[..]);
            prop_assert!(!prefix.has_gap());
        }

        #[test]
        fn hostile_sequence_numbers_stay_bounded(
            segments in prop::collection::vec((any::<u32>(), 0usize..40), 0..300),
        ) {
            let mut prefix = Prefix::default();
            for (n, &(seq, len)) in segments.iter().enumerate() {
                feed(&mut prefix, seq, &[7; 40][..len], n as u64);
                prop_assert!(prefix.held.len() <= MAX_HELD + 1);
            }
        }
    }
}
