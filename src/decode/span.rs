/// Bytes of one layer: those captured, and how many there were on the wire.
///
/// The captured ones are a prefix: a snap length cuts at the end. `len >= here.len()` always.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    /// What was captured.
    pub(super) here: &'a [u8],
    /// Bytes on the wire.
    pub(super) len: usize,
}

impl<'a> Span<'a> {
    pub(super) fn new(here: &'a [u8], wire_len: u32) -> Self {
        let len = here.len().max(wire_len as usize);
        Self { here, len }
    }

    pub(super) fn whole(here: &'a [u8]) -> Self {
        let len = here.len();
        Self { here, len }
    }

    /// The first `N` bytes and the rest. `None` when they weren't all captured.
    #[inline(always)]
    pub(super) fn take<const N: usize>(self) -> Option<(&'a [u8; N], Self)> {
        let (head, here) = self.here.split_first_chunk::<N>()?;
        let len = self.len - N;
        Some((head, Self { here, len }))
    }

    /// Without the first `n` bytes. `None` when they weren't all captured.
    #[inline(always)]
    pub(super) fn skip(self, n: usize) -> Option<Self> {
        let here = self.here.get(n..)?;
        let len = self.len - n;
        Some(Self { here, len })
    }

    /// `n` bytes, as a length field says. Cuts what follows them (padding, checksums); when fewer
    /// were captured, the difference counts as cut away.
    #[inline(always)]
    pub(super) fn claim(self, n: usize) -> Self {
        let here = self.here.get(..n).unwrap_or(self.here);
        Self { here, len: n }
    }

    /// True when a part of these bytes wasn't captured.
    pub(super) fn is_cut(self) -> bool {
        self.here.len() < self.len
    }
}

/// A big-endian number out of a header.
#[inline(always)]
pub(super) fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// The big-endian number at an offset, if the slice has it.
pub(super) fn be16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}
