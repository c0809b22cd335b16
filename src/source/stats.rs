use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Damage, Format, Frame, LinkType};
use crate::base::Timestamp;

/// What was read of one input so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputStats {
    /// As the user named it.
    pub path: PathBuf,
    /// Format of the file.
    pub format: Format,
    /// Link types of the frames, sorted; before the first frame those that the headers declare.
    pub link_types: Vec<LinkType>,
    /// Frames handed out.
    pub frames: u64,
    /// Sum of their lengths on the wire, in bytes.
    pub bytes: u64,
    /// Earliest capture time.
    pub first: Option<Timestamp>,
    /// Latest capture time.
    pub last: Option<Timestamp>,
    /// Frames that were lost while capturing; `None` when nothing says how many.
    pub dropped: Option<u64>,
    /// Where and why reading ended before the end of the input.
    pub truncated: Option<Damage>,
}

/// How far reading has come, for another thread to show.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: Option<u64>,
}

impl Progress {
    pub(super) fn of(total: Option<u64>) -> Self {
        let done = AtomicU64::new(0);
        Self { done, total }
    }

    /// Bytes of the file that were consumed; of a compressed file, compressed ones.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of the file; `None` for a pipe.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    pub(super) fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    pub(super) fn add(&self, more: u64) {
        self.done.fetch_add(more, Ordering::Relaxed);
    }
}

/// Counts frames as they pass.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    first: Timestamp,
    last: Timestamp,
    link: Option<LinkType>,
    links: Vec<LinkType>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            frames: 0,
            bytes: 0,
            first: Timestamp::from_nanos(u64::MAX),
            last: Timestamp::default(),
            link: None,
            links: Vec::new(),
        }
    }
}

impl Tally {
    #[inline(always)]
    pub(super) fn count(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        self.bytes += u64::from(frame.wire_len);
        self.first = self.first.min(frame.stamp.time);
        self.last = self.last.max(frame.stamp.time);
        if self.link != Some(frame.link) {
            self.change_link(frame.link);
        }
    }

    /// Earliest and latest capture time.
    pub(super) fn span(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let any = self.frames > 0;
        (any.then_some(self.first), any.then_some(self.last))
    }

    pub(super) fn links(&self) -> &[LinkType] {
        &self.links
    }

    #[cold]
    fn change_link(&mut self, link: LinkType) {
        self.link = Some(link);
        if let Err(place) = self.links.binary_search(&link) {
            self.links.insert(place, link);
        }
    }
}

impl Serialize for LinkType {
    /// As its name; in binary formats as its number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u16(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for LinkType {
    /// From its number alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u16::deserialize(deserializer).map(Self)
    }
}
