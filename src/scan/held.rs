use super::Partial;
use crate::{
    base::Stamp,
    source::{Frame, LinkType},
};

/// Frames that a stretch can't place, and all that came before them.
///
/// A fragment may belong to a datagram that began in the stretch before, and what the whole datagram
/// tells has its place between two packets of this stretch. So the stretch is cut there: the frame
/// is kept as it is, and scanned when the stretch before is there.
pub(super) struct Held {
    /// The stretch up to the frames, from the beginning or from the frames held before.
    pub(super) before: Partial,
    /// One or more, in order.
    pub(super) frames: Vec<Kept>,
}

impl Held {
    pub(super) fn snapshot(&self) -> Self {
        Self { before: self.before.snapshot(), frames: self.frames.clone() }
    }
}

/// Times that a stretch is cut; each costs about as much as a merge.
pub(super) const MAX_HELD: usize = 256;
/// Frames kept in all.
pub(super) const MAX_KEPT: usize = 4096;

/// A frame with bytes of its own.
#[derive(Clone)]
pub(super) struct Kept {
    stamp: Stamp,
    link: LinkType,
    wire_len: u32,
    data: Box<[u8]>,
}

impl Kept {
    pub(super) fn new(frame: &Frame<'_>) -> Self {
        let Frame { stamp, link, wire_len, data } = *frame;
        Self { stamp, link, wire_len, data: data.into() }
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        let Self { stamp, link, wire_len, ref data } = *self;
        Frame { stamp, link, wire_len, data }
    }
}
