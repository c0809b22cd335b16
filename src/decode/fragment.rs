use std::{collections::VecDeque, ops::Range, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::base::Timestamp;

use super::{Undecoded, headers::FragmentHeader, span::Span, walk::Head};

/// Bounds of IP reassembly. Beyond them the oldest datagrams are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Datagrams that are waited for at a time.
    pub datagrams: usize,
    /// Bytes held for them, gaps included.
    pub bytes: usize,
    /// Capture time from a datagram's first-seen fragment to its last.
    pub age: Duration,
}

impl Default for FragmentLimits {
    /// 1,024 datagrams, 8 MiB, and the 30 seconds of Linux (RFC 8200 section 4.5 has 60).
    fn default() -> Self {
        Self { datagrams: 1024, bytes: 8 << 20, age: Duration::from_secs(30) }
    }
}

/// A part of a datagram's payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) head: Head,
    /// What the payload begins with; IPv6 knows it from the first fragment alone.
    pub(super) protocol: u8,
    pub(super) place: FragmentHeader,
    pub(super) data: Span<'a>,
}

/// A payload that was put together or unpacked.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) head: Head,
    pub(super) protocol: u8,
    pub(super) bytes: Vec<u8>,
}

/// Fragments that wait for the rest of their datagram.
///
/// Overlaps: bytes that are sent twice must be the same, otherwise the whole datagram is dropped
/// (RFC 5722 drops on any overlap; captures hold duplicates). Fragments that come after their
/// datagram was completed or dropped are told from those of a new one for a second.
#[derive(Debug)]
pub(super) struct Reassembly {
    limits: FragmentLimits,
    open: HashMap<Key, Partial, RandomState>,
    /// Keys of `open`, oldest first, with the serial number of each.
    order: VecDeque<(u64, Key)>,
    /// Recently completed or dropped datagrams, oldest first.
    closed: VecDeque<(Key, Timestamp)>,
    /// Sum of the lengths of all buffers in `open`.
    held: usize,
    serial: u64,
    incomplete: u64,
    spare: Vec<Vec<u8>>,
    unplaced: Option<Unplaced>,
}

/// Which fragments may belong to datagrams that began before the first frame.
#[derive(Debug)]
struct Unplaced {
    /// Capture time of the first frame.
    start: Timestamp,
    /// When such a fragment was last seen: as long as others follow it, one of them may complete or
    /// contradict what it began.
    last: HashMap<Key, Timestamp, RandomState>,
}

impl Reassembly {
    pub(super) fn new(limits: FragmentLimits) -> Self {
        Self {
            limits,
            open: HashMap::with_hasher(RandomState::default()),
            order: VecDeque::new(),
            closed: VecDeque::new(),
            held: 0,
            serial: 0,
            incomplete: 0,
            spare: Vec::new(),
            unplaced: None,
        }
    }

    /// For fragments that come after others, in frames from `start` on.
    pub(super) fn later(limits: FragmentLimits, start: Timestamp) -> Self {
        let last = HashMap::with_hasher(RandomState::default());
        Self { unplaced: Some(Unplaced { start, last }), ..Self::new(limits) }
    }

    /// Takes over the datagrams of `later`, whose fragments came after this one's.
    pub(super) fn then(&mut self, later: Self) {
        self.incomplete += later.incomplete;
        for (key, partial) in later.open {
            self.held += partial.bytes.len();
            // What it takes the place of was over before the later one began.
            if let Some(over) = self.open.insert(key, partial) {
                self.held -= over.bytes.len();
                self.incomplete += 1;
            }
        }
        // Where both have datagrams of one time, the earlier's are older.
        let mut order: Vec<_> = self.open.iter_mut().collect();
        order.sort_by_key(|(_, partial)| (partial.started, partial.serial));
        self.order.clear();
        for (serial, (key, partial)) in (0..).zip(order) {
            partial.serial = serial;
            self.order.push_back((serial, *key));
        }
        self.serial = self.order.len() as u64;
        self.closed.extend(later.closed);
        self.closed.make_contiguous().sort_by_key(|&(_, at)| at);
        let surplus = self.closed.len().saturating_sub(MAX_CLOSED);
        self.closed.drain(..surplus);
    }

    pub(super) fn place_all(&mut self) {
        self.unplaced = None;
    }

    /// Adds a fragment; gives the datagram that it completes.
    ///
    /// # Errors
    /// [`Undecoded::FragmentHeld`] when parts are missing yet; other reasons when the fragment, or
    /// its whole datagram, is of no use.
    pub(super) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        now: Timestamp,
    ) -> Result<Datagram, Undecoded> {
        let key = Key::of(fragment);
        if self.is_unplaced(key, now) {
            return Err(Undecoded::FragmentUnplaced);
        }
        self.expire(now);
        if !self.open.contains_key(&key) && self.is_closed(&key, now) {
            return Err(Undecoded::FragmentLate);
        }
        match self.put(key, fragment, now) {
            Ok(false) => Err(Undecoded::FragmentHeld),
            Ok(true) => {
                let partial = self.close(&key, now);
                let partial = partial.ok_or(Undecoded::FragmentLimit)?;
                Ok(Datagram {
                    head: fragment.head,
                    protocol: partial.protocol.unwrap_or(fragment.protocol),
                    bytes: partial.bytes,
                })
            }
            Err(reason) => {
                if let Some(dropped) = self.close(&key, now) {
                    self.recycle(dropped.bytes);
                }
                Err(reason)
            }
        }
    }

    /// Takes a datagram's buffer back for later ones.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.spare.len() < MAX_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// An empty buffer, if possible one that was used before.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Datagrams given up for age or room.
    pub(super) fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// True when the fragment's place depends on what came before the first frame.
    fn is_unplaced(&mut self, key: Key, now: Timestamp) -> bool {
        let Some(Unplaced { start, last }) = &mut self.unplaced else { return false };
        let reach = self.limits.age.max(LATE);
        let since = last.get(&key).unwrap_or(start);
        let room = last.len() < self.limits.datagrams || last.contains_key(&key);
        let unplaced = now.since(*since) <= reach && room;
        if unplaced {
            last.insert(key, now);
        } else {
            last.remove(&key);
        }
        unplaced
    }

    /// Stores the fragment. True when its datagram is whole; an error drops the datagram.
    fn put(
        &mut self,
        key: Key,
        fragment: &Fragment<'_>,
        now: Timestamp,
    ) -> Result<bool, Undecoded> {
        let range = checked_range(fragment)?;
        let known = self.open.get(&key).map_or(0, |p| p.bytes.len());
        self.make_room(range.end.saturating_sub(known), &key)?;
        let partial = match self.open.get_mut(&key) {
            Some(partial) => partial,
            None => {
                self.serial += 1;
                self.order.push_back((self.serial, key));
                let buffer = self.buffer();
                let partial = Partial::new(self.serial, now, buffer);
                self.open.entry(key).insert(partial).into_mut()
            }
        };
        let before = partial.bytes.len();
        let stored = partial.store(fragment, range);
        self.held += partial.bytes.len() - before;
        stored?;
        Ok(partial.is_whole())
    }

    /// Gives up old datagrams until `growth` more bytes, and one more datagram, are within bounds.
    fn make_room(&mut self, growth: usize, key: &Key) -> Result<(), Undecoded> {
        let new = usize::from(!self.open.contains_key(key));
        while self.held + growth > self.limits.bytes
            || self.open.len() + new > self.limits.datagrams
        {
            match self.order.front() {
                Some((_, oldest)) if oldest != key => self.give_up_oldest(),
                // Nothing but the datagram itself is left to give up.
                _ => return Err(Undecoded::FragmentLimit),
            }
        }
        Ok(())
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((_, oldest)) = self.order.front() {
            let started = self.open.get(oldest).map(|p| p.started);
            if started.is_some_and(|t| now.since(t) <= self.limits.age) {
                break;
            }
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front()
            && let Some(partial) = self.open.remove(&key)
        {
            self.held -= partial.bytes.len();
            self.incomplete += 1;
            self.recycle(partial.bytes);
        }
    }

    fn close(&mut self, key: &Key, now: Timestamp) -> Option<Partial> {
        if self.closed.len() == MAX_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back((*key, now));
        let partial = self.open.remove(key)?;
        self.held -= partial.bytes.len();
        let place = self.order.binary_search_by_key(&partial.serial, |(serial, _)| *serial);
        if let Ok(place) = place {
            self.order.remove(place);
        }
        Some(partial)
    }

    fn is_closed(&self, key: &Key, now: Timestamp) -> bool {
        let recent = self.closed.iter().rev();
        recent.take_while(|(_, at)| now.since(*at) <= LATE).any(|(closed, _)| closed == key)
    }
}

/// How long fragments of a closed datagram are expected: longer than copies of a packet lie apart
/// in a capture, shorter than a busy sender takes to use an identification again.
const LATE: Duration = Duration::from_secs(1);
const MAX_CLOSED: usize = 64;
const MAX_SPARE: usize = 16;
/// The most that IPv4's length field can say.
const MAX_PAYLOAD: usize = 65_535;

/// What fragments of one datagram have in common: addresses, identification, for IPv4 the protocol
/// (RFC 791 section 2.3; RFC 8200 section 4.5), and the tunnels around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    head: Head,
    id: u32,
    protocol: u8,
}

impl Key {
    fn of(fragment: &Fragment<'_>) -> Self {
        let v6 = fragment.head.src.is_ipv6();
        Self {
            head: fragment.head,
            id: fragment.place.id,
            protocol: if v6 { 0 } else { fragment.protocol },
        }
    }
}

/// A datagram with parts missing.
#[derive(Debug)]
struct Partial {
    serial: u64,
    started: Timestamp,
    /// From the fragment with offset 0.
    protocol: Option<u8>,
    /// Zero in the gaps.
    bytes: Vec<u8>,
    /// What has come, in order, neither touching nor overlapping.
    have: Vec<Range<usize>>,
    /// Known from the last fragment.
    total: Option<usize>,
}

impl Partial {
    fn new(serial: u64, started: Timestamp, bytes: Vec<u8>) -> Self {
        Self { serial, started, protocol: None, bytes, have: Vec::new(), total: None }
    }

    fn store(&mut self, fragment: &Fragment<'_>, range: Range<usize>) -> Result<(), Undecoded> {
        let last = !fragment.place.more;
        let fits = match self.total {
            Some(total) => range.end <= total && (!last || range.end == total),
            None => !last || range.end >= self.bytes.len(),
        };
        if !fits || !self.agrees(fragment.data.here, &range) {
            return Err(Undecoded::FragmentOverlap);
        }
        if last {
            self.total = Some(range.end);
        }
        if range.start == 0 {
            self.protocol = Some(fragment.protocol);
        }
        if self.bytes.len() < range.end {
            self.bytes.resize(range.end, 0);
        }
        self.bytes[range.clone()].copy_from_slice(fragment.data.here);
        self.note(range);
        Ok(())
    }

    /// True when what has come before for the same place is the same.
    fn agrees(&self, data: &[u8], range: &Range<usize>) -> bool {
        self.touching(range)
            .iter()
            .map(|r| r.start.max(range.start)..r.end.min(range.end))
            .filter(|both| both.start < both.end)
            .all(|both| {
                self.bytes[both.clone()] == data[both.start - range.start..both.end - range.start]
            })
    }

    /// The ranges at hand that overlap or touch this one.
    fn touching(&self, range: &Range<usize>) -> &[Range<usize>] {
        &self.have[self.touching_places(range)]
    }

    fn touching_places(&self, range: &Range<usize>) -> Range<usize> {
        let from = self.have.partition_point(|r| r.end < range.start);
        let to = self.have.partition_point(|r| r.start <= range.end);
        from..to.max(from)
    }

    fn note(&mut self, range: Range<usize>) {
        let places = self.touching_places(&range);
        match self.have.get_mut(places.start).filter(|_| !places.is_empty()) {
            None => self.have.insert(places.start, range),
            Some(_) => {
                let end = self.have[places.end - 1].end.max(range.end);
                let first = &mut self.have[places.start];
                *first = first.start.min(range.start)..end;
                self.have.drain(places.start + 1..places.end);
            }
        }
    }

    fn is_whole(&self) -> bool {
        matches!((&*self.have, self.total), ([r], Some(total)) if *r == (0..total))
    }
}

/// Where the fragment's bytes belong, if that is possible at all.
fn checked_range(fragment: &Fragment<'_>) -> Result<Range<usize>, Undecoded> {
    let FragmentHeader { offset, more, .. } = fragment.place;
    let len = fragment.data.len;
    let end = offset + len;
    // Only the last may have an odd length (RFC 791 section 3.2, RFC 8200 section 4.5).
    if len == 0 || end > MAX_PAYLOAD || more && !len.is_multiple_of(8) {
        return Err(Undecoded::FragmentBad);
    }
    if fragment.data.is_cut() {
        return Err(Undecoded::FragmentCut);
    }
    Ok(offset..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::walk::Path;
    use proptest::{collection::vec, prelude::*};
    use std::net::{IpAddr, Ipv4Addr};

    fn fragment(id: u32, offset: usize, more: bool, data: &[u8]) -> Fragment<'_> {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Fragment {
            head: Head { src: ip, dst: ip, ident: 0, path: Path::OUTSIDE },
            protocol: 17,
            place: FragmentHeader { id, offset, more },
            data: Span::whole(data),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_parts(1000 + seconds, 0)
    }

    fn small() -> Reassembly {
        Reassembly::new(FragmentLimits { datagrams: 2, bytes: 100, age: Duration::from_secs(30) })
    }

    /// The reason, or the bytes.
    fn add(r: &mut Reassembly, f: Fragment<'_>, seconds: u64) -> Result<Vec<u8>, Undecoded> {
        r.add(&f, at(seconds)).map(|datagram| datagram.bytes)
    }

    #[test]
    fn joins_and_forgets() {
        let mut r = small();
        assert_eq!(add(&mut r, fragment(1, 8, false, b"end"), 0), Err(Undecoded::FragmentHeld));
        assert_eq!(add(&mut r, fragment(1, 8, false, b"end"), 0), Err(Undecoded::FragmentHeld));
        assert_eq!(add(&mut r, fragment(1, 0, true, b"12345678"), 0), Ok(b"12345678end".to_vec()));
        // A copy of the last fragment opens no new datagram; a second later it would.
        assert_eq!(add(&mut r, fragment(1, 8, false, b"end"), 1), Err(Undecoded::FragmentLate));
        assert_eq!(add(&mut r, fragment(1, 8, false, b"end"), 2), Err(Undecoded::FragmentHeld));
        assert_eq!((r.held, r.open.len(), r.incomplete), (11, 1, 0));
    }

    #[test]
    fn contradictions_drop_the_datagram() {
        for second in [
            // Other bytes; beyond the end; another end.
            fragment(1, 0, true, b"abcdefgh"),
            fragment(1, 16, true, b"abcdefgh"),
            fragment(1, 8, false, b"longer"),
        ] {
            let mut r = small();
            assert_eq!(
                add(&mut r, fragment(1, 0, true, b"12345678"), 0),
                Err(Undecoded::FragmentHeld)
            );
            assert_eq!(add(&mut r, fragment(1, 16, false, b"x"), 0), Err(Undecoded::FragmentHeld));
            assert_eq!(add(&mut r, second, 0), Err(Undecoded::FragmentOverlap));
            assert_eq!(
                add(&mut r, fragment(1, 8, true, b"abcdefgh"), 0),
                Err(Undecoded::FragmentLate)
            );
            assert_eq!((r.held, r.open.len(), r.order.len()), (0, 0, 0));
        }
    }

    #[test]
    fn the_same_bytes_again_are_no_contradiction() {
        let mut r = small();
        assert!(add(&mut r, fragment(1, 0, true, b"1234567890123456"), 0).is_err());
        assert_eq!(
            add(&mut r, fragment(1, 8, false, b"90123456end"), 0),
            Ok(b"1234567890123456end".to_vec())
        );
    }

    #[test]
    fn fragments_that_may_have_begun_before_are_refused() {
        let limits = small().limits;
        let mut r = Reassembly::later(limits, at(0));
        let unplaced = Err(Undecoded::FragmentUnplaced);
        assert_eq!(add(&mut r, fragment(1, 0, true, b"12345678"), 30), unplaced);
        // Followed by another one, the first may still wait for it.
        assert_eq!(add(&mut r, fragment(1, 8, false, b"end"), 60), unplaced);
        assert_eq!(
            add(&mut r, fragment(2, 0, true, b"12345678"), 60),
            Err(Undecoded::FragmentHeld)
        );
        assert_eq!(
            add(&mut r, fragment(1, 0, true, b"12345678"), 91),
            Err(Undecoded::FragmentHeld)
        );
        let mut r = Reassembly::later(limits, at(0));
        r.place_all();
        assert_eq!(add(&mut r, fragment(1, 0, true, b"12345678"), 0), Err(Undecoded::FragmentHeld));
        // As many as datagrams, no more.
        let mut r = Reassembly::later(limits, at(0));
        let held = (0..9).filter(|&id| add(&mut r, fragment(id, 8, false, b"end"), 0) == unplaced);
        assert_eq!(held.count(), 2);
    }

    #[test]
    fn goes_on_where_a_later_one_ended() {
        let (mut first, mut second) = (small(), small());
        let begin = |id| fragment(id, 0, true, b"12345678");
        assert!(add(&mut first, begin(1), 0).is_err());
        assert!(add(&mut first, begin(2), 1).is_err());
        assert!(add(&mut second, begin(1), 31).is_err());
        assert!(add(&mut second, fragment(3, 0, false, b"whole"), 31).is_ok());
        first.then(second);
        assert_eq!((first.held, first.open.len(), first.incomplete), (16, 2, 1));
        assert_eq!(
            add(&mut first, fragment(3, 0, true, b"12345678"), 31),
            Err(Undecoded::FragmentLate)
        );
        assert_eq!(add(&mut first, fragment(1, 8, false, b"end"), 32), Ok(b"12345678end".to_vec()));
        assert_eq!((first.held, first.open.len(), first.incomplete), (0, 0, 2));
    }

    #[test]
    fn age_count_and_bytes_are_bounded() {
        let mut r = small();
        for id in 0..3 {
            assert!(add(&mut r, fragment(id, 0, true, b"12345678"), 0).is_err());
        }
        assert_eq!((r.open.len(), r.incomplete), (2, 1));
        assert!(add(&mut r, fragment(9, 80, false, b"x"), 0).is_err());
        assert_eq!((r.held, r.incomplete), (89, 2));
        assert_eq!(
            add(&mut r, fragment(8, 96, true, b"12345678"), 0),
            Err(Undecoded::FragmentLimit)
        );
        assert!(add(&mut r, fragment(7, 0, true, b"12345678"), 31).is_err());
        assert_eq!((r.held, r.open.len()), (8, 1));
    }

    #[test]
    fn impossible_fragments_are_refused() {
        let mut r = small();
        let mut cut = fragment(4, 0, true, b"12345678");
        cut.data.len = 16;
        for (bad, reason) in [
            (fragment(1, 0, true, b"odd"), Undecoded::FragmentBad),
            (fragment(2, 8, false, b""), Undecoded::FragmentBad),
            (fragment(3, 65_528, true, b"12345678"), Undecoded::FragmentBad),
            (cut, Undecoded::FragmentCut),
        ] {
            assert_eq!(add(&mut r, bad, 0), Err(reason));
        }
        assert!(r.open.is_empty());
    }

    proptest! {
        #[test]
        fn books_balance(
            pieces in vec((0..6_u32, 0..14_usize, any::<bool>(), 0..40_usize, 0..3_u8, 0..9_u64), 0..80)
        ) {
            let mut r = Reassembly::new(FragmentLimits { datagrams: 3, ..small().limits });
            let mut now = 0;
            for (id, offset, more, len, fill, later) in pieces {
                now += later;
                let data = vec![fill; if more { len & !7 } else { len }];
                if let Ok(bytes) = add(&mut r, fragment(id, offset * 8, more, &data), now) {
                    r.recycle(bytes);
                }
                prop_assert_eq!(r.held, r.open.values().map(|p| p.bytes.len()).sum::<usize>());
                prop_assert_eq!(r.open.len(), r.order.len());
                prop_assert!(r.order.iter().all(|(_, key)| r.open.contains_key(key)));
                prop_assert!(r.held <= 100 && r.open.len() <= 3);
                for partial in r.open.values() {
                    prop_assert!(partial.have.windows(2).all(|w| w[0].end < w[1].start));
                    prop_assert!(partial.have.iter().all(|r| r.start < r.end));
                    prop_assert_eq!(partial.have.last().map(|r| r.end), Some(partial.bytes.len()));
                }
            }
        }
    }
}
