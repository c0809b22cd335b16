use std::{mem::size_of, ops::Range};

/// The handshake bytes of one direction (RFC 9000 section 19.6), in whatever order they come.
///
/// Bytes that came first stay.
#[derive(Clone, Debug, Default)]
pub(super) struct CryptoStream {
    /// Zero where nothing came yet.
    bytes: Vec<u8>,
    /// What came: sorted, with gaps between.
    known: Vec<Range<usize>>,
}

/// Bytes beyond this offset are dropped. Real ClientHellos stay below 8 KiB, even with two
/// post-quantum key shares and a ticket.
const MAX_LEN: usize = 16 * 1024;

/// Separate pieces that are kept. A client that cuts its hello on purpose makes a few dozen.
const MAX_PIECES: usize = 128;

impl CryptoStream {
    /// Adds what a frame carries. False when it brings nothing new, or can't be kept.
    pub(super) fn insert(&mut self, offset: u64, data: &[u8]) -> bool {
        let Some(start) = usize::try_from(offset).ok().filter(|start| *start <= MAX_LEN) else {
            return false;
        };
        let end = start + data.len();
        if data.is_empty() || end > MAX_LEN {
            return false;
        }
        // Most often it follows what is there.
        if start == self.bytes.len() && start == self.prefix().len() {
            self.bytes.extend_from_slice(data);
            match self.known.first_mut() {
                Some(piece) => piece.end = end,
                None => self.known.push(0..end),
            }
            return true;
        }
        let first = self.known.partition_point(|piece| piece.end < start);
        let last = self.known.partition_point(|piece| piece.start <= end);
        if first == last && self.known.len() == MAX_PIECES {
            return false;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let (mut grew, mut at, mut merged) = (false, start, start..end);
        for piece in &self.known[first..last] {
            grew |= fill(&mut self.bytes, at..piece.start, start, data);
            at = at.max(piece.end);
            merged = merged.start.min(piece.start)..merged.end.max(piece.end);
        }
        grew |= fill(&mut self.bytes, at..end, start, data);
        self.known.splice(first..last, [merged]);
        grew
    }

    /// Bytes of memory that it takes.
    pub(super) fn footprint(&self) -> usize {
        self.bytes.capacity() + self.known.capacity() * size_of::<Range<usize>>()
    }

    /// The bytes from the beginning to the first gap.
    pub(super) fn prefix(&self) -> &[u8] {
        match self.known.first() {
            Some(piece) if piece.start == 0 => &self.bytes[..piece.end],
            _ => &[],
        }
    }
}

/// Copies what belongs into a gap from `data`, which begins at `start`. False when that is nothing.
fn fill(bytes: &mut [u8], gap: Range<usize>, start: usize, data: &[u8]) -> bool {
    if gap.is_empty() {
        return false;
    }
    bytes[gap.clone()].copy_from_slice(&data[gap.start - start..gap.end - start]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_came_first_stay() {
        let mut stream = CryptoStream::default();
        assert!(stream.insert(4, b"efgh"));
        assert_eq!(stream.prefix(), b"");
        assert!(stream.insert(10, b"kl"));
        assert!(stream.insert(2, b"CDEFGHIJKLM"));
        assert!(stream.insert(0, b"abc"));
        assert!(!stream.insert(1, b"??????"));
        assert_eq!(stream.prefix(), b"abCDefghIJklM");
    }

    #[test]
    fn what_is_out_of_bounds_is_dropped() {
        let mut stream = CryptoStream::default();
        assert!(!stream.insert(u64::MAX, b"x"));
        assert!(!stream.insert(MAX_LEN as u64, b"x"));
        assert!(stream.insert(MAX_LEN as u64 - 1, b"x"));
        for piece in 0..1000 {
            stream.insert(piece * 2, b"x");
        }
        assert_eq!(stream.known.len(), MAX_PIECES);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_of_bytes(
            pieces in prop::collection::vec((0..60_u64, prop::collection::vec(any::<u8>(), 0..20)), 0..30)
        ) {
            let mut stream = CryptoStream::default();
            let mut model = [None; 80];
            for (offset, data) in &pieces {
                let mut new = false;
                for (slot, byte) in model[*offset as usize..].iter_mut().zip(data) {
                    new |= slot.is_none();
                    slot.get_or_insert(*byte);
                }
                prop_assert_eq!(stream.insert(*offset, data), new);
                let prefix: Vec<u8> = model.iter().map_while(|byte| *byte).collect();
                prop_assert_eq!(stream.prefix(), prefix);
            }
        }
    }
}
