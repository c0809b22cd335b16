use super::{
    Damage, DamageKind, Format, Frame, LinkType,
    classic::{self, Classic},
    format,
    pcapng::{self, Section},
};
use crate::base::{FrameId, Stamp, Timestamp};

/// What a capture's headers say about its records: byte order, time resolution, link types, and
/// for pcapng the interfaces of the current section so far.
///
/// Cheap to clone, so that several workers can parse stretches of one file. Equal layouts read
/// records alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Classic(Classic),
    Ng(Section),
}

impl Layout {
    /// The format of the file.
    pub fn format(&self) -> Format {
        match self.0 {
            Kind::Classic(_) => Format::Pcap,
            Kind::Ng(_) => Format::PcapNg,
        }
    }

    /// The link types that the headers read so far declare, in their order.
    pub fn links(&self) -> impl Iterator<Item = LinkType> {
        let (classic, interfaces) = match &self.0 {
            Kind::Classic(classic) => (Some(classic.link), [].as_slice()),
            Kind::Ng(section) => (None, section.interfaces()),
        };
        classic.into_iter().chain(interfaces.iter().map(|i| i.link))
    }
}

/// Where in a capture a parser stands and what it knows there: all that it takes to go on.
///
/// A cursor at a guessed record boundary lets a worker start in the middle of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// How records read from here on.
    pub layout: Layout,
    /// Byte offset of the next record.
    pub offset: u64,
    /// Frame number of the record before, as Wireshark counts; 0 at the start.
    pub number: u64,
    /// Capture time of the frame before: that of records which carry none.
    pub last: Timestamp,
    /// Index of the input, for [`FrameId`].
    pub input: u32,
}

/// Pulls the frames out of a capture that is in memory as a whole.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    cursor: Cursor,
}

impl<'a> Records<'a> {
    /// Reads the header of the capture that `bytes` hold from its first byte to its last.
    ///
    /// # Errors
    ///
    /// When they aren't a capture, end inside its header, or are of an unsupported version.
    pub fn new(bytes: &'a [u8], input: u32) -> Result<Self, Damage> {
        let cursor = Cursor::start(bytes, input)?;
        Ok(Self { bytes, cursor })
    }

    /// Goes on at `cursor`, whose offset counts from the start of `bytes`.
    pub fn resume(bytes: &'a [u8], cursor: Cursor) -> Self {
        Self { bytes, cursor }
    }

    /// Byte offset of the next record.
    pub fn offset(&self) -> u64 {
        self.cursor.offset
    }

    /// Where the parser stands.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The next frame; `None` at the end of the capture.
    ///
    /// # Errors
    ///
    /// When the capture ends inside a record, or a record contradicts the format. Every further
    /// call says the same.
    #[inline]
    #[allow(clippy::should_implement_trait)] // An Iterator couldn't tell the end from an error.
    pub fn next(&mut self) -> Result<Option<Frame<'a>>, Damage> {
        loop {
            let start = usize::try_from(self.cursor.offset).unwrap_or(usize::MAX);
            let rest = self.bytes.get(start..).unwrap_or_default();
            match self.cursor.step(rest)? {
                Step::Frame(frame) => return Ok(Some(frame)),
                Step::Skip(size) if size <= rest.len() as u64 => self.cursor.offset += size,
                Step::Need(_) if rest.is_empty() => return Ok(None),
                Step::Skip(_) | Step::Need(_) => return Err(Damage::truncated(self.cursor.offset)),
            }
        }
    }
}

/// What lies at the cursor.
pub(super) enum Step<'a> {
    /// A frame. The cursor is behind it now.
    Frame(Frame<'a>),
    /// Nothing to hand out: that many bytes to go on. They may lie beyond the bytes at hand; the
    /// cursor's offset hasn't moved.
    Skip(u64),
    /// That many bytes from the cursor's offset on are needed to tell; always more than there were.
    Need(usize),
}

/// Bytes that [`Cursor::start`] wants to see, unless the file is shorter. More than the headers
/// take, to say what a file is that isn't a capture.
pub(super) const HEAD: usize = 512;

/// Length of a file's header by its first four bytes. A pcapng section header is a block like the
/// others, and not waited for.
pub(super) fn header_len(magic: &[u8]) -> Option<usize> {
    if magic.starts_with(&pcapng::SECTION_HEADER) {
        return Some(magic.len());
    }
    Classic::header_len(magic)
}

impl Cursor {
    /// Reads the header at the start of a capture.
    pub(super) fn start(head: &[u8], input: u32) -> Result<Self, Damage> {
        const { assert!(HEAD >= classic::HEADER_MAX) }
        let (kind, offset) = if let Some((classic, size)) = Classic::read(head)? {
            (Kind::Classic(classic), size as u64)
        } else if head.starts_with(&pcapng::SECTION_HEADER) {
            (Kind::Ng(Section::default()), 0)
        } else if (1..4).contains(&head.len()) {
            let what = "the file is shorter than a capture's header";
            return Err(Damage::new(0, DamageKind::NotACapture, what));
        } else {
            return Err(format::foreign(&head[..head.len().min(HEAD)]));
        };
        Ok(Self {
            layout: Layout(kind),
            offset,
            number: 0,
            last: Timestamp::default(),
            input,
        })
    }

    /// Parses what is at the start of `rest`, the bytes from the cursor's offset on.
    #[inline(always)]
    pub(super) fn step<'a>(&mut self, rest: &'a [u8]) -> Result<Step<'a>, Damage> {
        let (link, record) = match &mut self.layout.0 {
            Kind::Classic(classic) => match classic.record(rest, self.offset)? {
                Ok(record) => (classic.link, record),
                Err(need) => return Ok(Step::Need(need)),
            },
            Kind::Ng(section) => match section.block(rest, self.offset, self.last)? {
                pcapng::Block::Packet(link, record) => (link, record),
                pcapng::Block::Event(size) => {
                    self.number += 1;
                    return Ok(Step::Skip(size));
                }
                pcapng::Block::Other(size) => return Ok(Step::Skip(size)),
                pcapng::Block::Need(need) => return Ok(Step::Need(need)),
            },
        };
        self.offset += record.size as u64;
        self.number += 1;
        self.last = record.time;
        Ok(Step::Frame(Frame {
            stamp: Stamp {
                time: record.time,
                frame: FrameId::new(self.input, self.number),
            },
            link,
            wire_len: record.wire_len,
            data: record.data,
        }))
    }
}

/// The longest record that is believed. Writers exceed the snap length that they declare, so it
/// may only raise the limit that all tools share; and a header is data, so it can't raise it much.
pub(super) fn captured_limit(snap_len: u32) -> u32 {
    const USUAL: u32 = 262_144;
    const MOST: u32 = 128 << 20;
    snap_len.clamp(USUAL, MOST)
}
