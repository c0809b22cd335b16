use super::{
    Damage, Format, Frame, LinkType,
    classic::{self, Classic},
    format,
    pcapng::{self, Section},
};
use crate::base::{FrameId, Stamp, Timestamp, prefetch_at};

/// What a capture's headers say about its records: byte order, time resolution, link types, and
/// for pcapng the interfaces of the current section so far and what their statistics tell.
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

    /// Frames that whoever captured lost before here, as far as the file says; `None` when it
    /// doesn't. Only pcapng can.
    pub fn dropped(&self) -> Option<u64> {
        match &self.0 {
            Kind::Classic(_) => None,
            Kind::Ng(section) => section.dropped(),
        }
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

    pub(super) fn into_cursor(self) -> Cursor {
        self.cursor
    }

    /// Brings the next record's headers into the cache: its length is needed to find the one after, so
    /// each would be waited for. Not its payload, most of which nobody reads.
    ///
    /// Those of records to come as well, by guess: most are as long as `size`, that of the last one.
    #[inline(always)]
    pub(super) fn prefetch(&self, size: usize) {
        let next = self.cursor.offset as usize;
        for ahead in AHEAD {
            prefetch_at(self.bytes, next.wrapping_add(size.wrapping_mul(ahead)), HEADERS);
        }
    }

    /// The next frame; `None` at the end of the capture.
    ///
    /// # Errors
    ///
    /// When the capture ends inside a record, or a record contradicts the format. Every further
    /// call says the same.
    #[inline(always)] // What it gives takes longer to hand over in memory than to find.
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

/// Records after the next one whose headers are fetched early. One between was guessed before.
const AHEAD: [usize; 3] = [0, 1, 3];

/// What most records have of headers, the record's own among them, in bytes.
const HEADERS: usize = 128;

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
        } else {
            return Err(format::foreign(&head[..head.len().min(HEAD)]));
        };
        Ok(Self { layout: Layout(kind), offset, number: 0, last: Timestamp::default(), input })
    }

    /// Moves it out. What is left knows of no interfaces.
    pub(super) fn take(&mut self) -> Self {
        let nothing = Layout(Kind::Ng(Section::default()));
        Self { layout: std::mem::replace(&mut self.layout, nothing), ..*self }
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
            stamp: Stamp { time: record.time, frame: FrameId::new(self.input, self.number) },
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{DamageKind, testing::*},
        *,
    };

    /// Time in nanoseconds, link, wire length, data, number.
    type Seen = (u64, u16, u32, Vec<u8>, u64);

    fn read(bytes: &[u8]) -> (Vec<Seen>, Option<Damage>) {
        let mut seen = Vec::new();
        let mut records = match Records::new(bytes, 0) {
            Ok(records) => records,
            Err(damage) => return (seen, Some(damage)),
        };
        loop {
            match records.next() {
                Ok(Some(frame)) => seen.push((
                    frame.stamp.time.nanos(),
                    frame.link.0,
                    frame.wire_len,
                    frame.data.to_vec(),
                    frame.stamp.frame.number(),
                )),
                Ok(None) => return (seen, None),
                Err(damage) => return (seen, Some(damage)),
            }
        }
    }

    fn damage_of(bytes: &[u8]) -> Damage {
        read(bytes).1.expect("damaged")
    }

    #[test]
    fn pcap_in_either_byte_order_and_resolution() {
        for writer in [LE, BE] {
            for (magic, unit, extra, header_extra) in [
                (MICROS, 1000, 0, 0),
                (NANOS, 1, 0, 0),
                (0xa1b2_cd34, 1000, 8, 0),
                (0x1c00_01ab, 1000, 0, 4),
                (0x1c00_01ac, 1, 0, 4),
            ] {
                let mut bytes = writer.pcap(magic, 0, 1);
                bytes.resize(24 + header_extra, 0);
                let record = writer.record(3, 4, b"abc");
                bytes.extend(&record[..16]);
                bytes.resize(bytes.len() + extra, 0);
                bytes.extend(&record[16..]);
                let (seen, damage) = read(&bytes);
                let time = 3_000_000_000 + 4 * unit;
                assert_eq!(seen, [(time, 1, 1003, b"abc".to_vec(), 1)], "{magic:x}");
                assert_eq!(damage, None);
            }
        }
    }

    #[test]
    fn link_types_lose_their_flags_and_aliases() {
        for (field, link) in [
            (0x5400_0001, 1), // 4 bytes of FCS
            (0xf000_0071, 113),
            (12, 101),
            (14, 101),
            (276, 276),
        ] {
            let bytes = [BE.pcap(MICROS, 0, field), BE.record(0, 0, b"x")].concat();
            assert_eq!(read(&bytes).0[0].1, link);
        }
    }

    #[test]
    fn lengths_of_old_versions_are_swapped() {
        for (version, lengths, expected) in [
            ((2, 2), [9, 2], (9, 2)),
            ((2, 3), [9, 2], (9, 2)),
            ((2, 3), [2, 9], (9, 2)),
            ((2, 4), [2, 9], (9, 2)),
            ((543, 0), [9, 2], (9, 2)),
        ] {
            let mut bytes = LE.pcap_version(MICROS, version, 0, 1);
            bytes.extend(LE.u32s(&[0, 0, lengths[0], lengths[1]]));
            bytes.extend(b"ab");
            let (seen, damage) = read(&bytes);
            assert_eq!(damage, None);
            assert_eq!((seen[0].2, seen[0].3.len()), expected, "{version:?}");
        }
    }

    #[test]
    fn pcapng_sections_interfaces_and_all_packet_blocks() {
        let (seen, damage) = read(&small_pcapng());
        assert_eq!(damage, None);
        let s = 1_000_000_000;
        assert_eq!(
            seen,
            [
                (s + 5, 1, 1005, b"first".to_vec(), 1),
                (2 * s + 5000, 113, 1006, b"second".to_vec(), 2),
                // No time of its own: that of the frame before.
                (2 * s + 5000, 1, 5, b"third".to_vec(), 3),
                // Number 4 is the custom block.
                (3 * s + 5000, 113, 1006, b"fourth".to_vec(), 5),
                (101 * s + s / 2, 101, 1005, b"fifth".to_vec(), 6),
                // Cut at the interface's snap length.
                (101 * s + s / 2, 101, 9, b"sixt".to_vec(), 7),
                (102 * s, 101, 1000, b"".to_vec(), 8),
                (104 * s, 101, 1001, b"8".to_vec(), 9),
            ]
        );
    }

    #[test]
    fn pcapng_time_resolutions_and_saturation() {
        let time = |options: &[(u16, &[u8])], ticks| {
            let bytes = [LE.section(), LE.interface(1, 0, options), LE.packet(0, ticks, b"x")];
            read(&bytes.concat()).0[0].0
        };
        let offset = |seconds: i64| seconds.to_le_bytes();
        assert_eq!(time(&[], 5), 5000);
        assert_eq!(time(&[(9, &[0])], 5), 5_000_000_000);
        assert_eq!(time(&[(9, &[12])], 5_999), 5);
        assert_eq!(time(&[(9, &[127])], u64::MAX), 0);
        assert_eq!(time(&[(9, &[0x80])], 2), 2_000_000_000);
        assert_eq!(time(&[(9, &[0x80 | 32])], 3 << 31), 1_500_000_000);
        assert_eq!(time(&[(9, &[0xff])], u64::MAX), 0);
        assert_eq!(time(&[(14, &offset(2))], 5), 2_000_005_000);
        assert_eq!(time(&[(14, &offset(-1))], 1_500_000), 500_000_000);
        assert_eq!(time(&[(14, &offset(-9))], 5), 0);
        assert_eq!(time(&[(14, &offset(i64::MIN))], u64::MAX), 0);
        assert_eq!(time(&[(14, &offset(i64::MAX))], u64::MAX), u64::MAX);
        assert_eq!(time(&[(9, &[0])], u64::MAX), u64::MAX);
    }

    /// What a capture says it lost.
    fn lost(bytes: &[u8]) -> Option<u64> {
        let mut records = Records::new(bytes, 0).unwrap();
        while records.next().unwrap().is_some() {}
        records.cursor().layout.dropped()
    }

    #[test]
    fn pcapng_statistics_tell_what_was_lost() {
        for writer in [LE, BE] {
            let stats = |interface, options: &[(u16, u64)]| writer.statistics(interface, options);
            let interface = writer.interface(1, 0, &[]);
            let head = || [&writer.section()[..], &interface, &interface].concat();
            let told = |blocks: &[Vec<u8>]| lost(&[head(), blocks.concat()].concat());
            assert_eq!(told(&[]), None);
            assert_eq!(told(&[stats(0, &[]), stats(0, &[(4, 9), (6, 9), (8, 9)])]), None);
            assert_eq!(told(&[stats(0, &[(5, 0)])]), Some(0));
            // Before the filter and behind it; of each interface; the latest of each.
            assert_eq!(told(&[stats(0, &[(5, 3), (7, 4)])]), Some(7));
            assert_eq!(told(&[stats(0, &[(5, 3)]), stats(1, &[(7, 4)])]), Some(7));
            assert_eq!(told(&[stats(0, &[(5, 3)]), stats(0, &[(7, 4)])]), Some(7));
            assert_eq!(told(&[stats(0, &[(5, 3)]), stats(0, &[(5, 5)])]), Some(5));
            assert_eq!(told(&[stats(0, &[(5, 3)]), stats(0, &[(5, u64::MAX)])]), Some(3));
            // Sections add up.
            let three = || stats(0, &[(5, 3)]);
            assert_eq!(told(&[three(), head(), stats(1, &[(5, 4)]), head()]), Some(7));
            let most = stats(0, &[(5, u64::MAX - 1)]);
            assert_eq!(told(&[most.clone(), head(), most, three()]), Some(u64::MAX));
            // An interface that isn't there; blocks and options that are too short or too long.
            assert_eq!(told(&[stats(2, &[(5, 3)]), stats(u32::MAX, &[(5, 3)])]), None);
            assert_eq!(told(&[writer.block(5, b"12345678"), writer.block(5, b"")]), None);
            for len in [4, 0xffff] {
                let option = [writer.u16(5), writer.u16(len), *b"ab", *b"cd"].concat();
                let body = [writer.u32s(&[0, 0, 0]), option].concat();
                assert_eq!(told(&[writer.block(5, &body)]), None);
            }
        }
        assert_eq!(lost(&small_pcapng()), Some(7));
        assert_eq!(lost(&small_pcap()), None);
    }

    proptest! {
        #[test]
        fn hostile_statistics_do_no_harm(
            counts in proptest::collection::vec((0u32..3, 4u16..9, any::<u64>()), 0..8),
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..6),
            known in any::<bool>(),
        ) {
            let interface = LE.interface(1, 0, &[]);
            let mut bytes = [LE.section(), interface.clone(), interface].concat();
            for (interface, code, count) in counts {
                bytes.extend(LE.statistics(interface, &[(code, count)]));
            }
            for body in bodies {
                let begin: &[u8] = if known { &[0; 4] } else { &[] };
                bytes.extend(LE.block(5, &[begin, &body].concat()));
            }
            bytes.extend(LE.packet(0, 1, b"after"));
            let (seen, damage) = read(&bytes);
            prop_assert_eq!((seen.len(), damage), (1, None));
            lost(&bytes);
        }
    }

    #[test]
    fn pcapng_lengths_are_read_leniently() {
        let head = [LE.section(), LE.interface(1, 0, &[])].concat();
        let packet = |data: &[u8]| {
            let len = data.len() as u32;
            [LE.u32s(&[0, 0, 9, len, len]), data.to_vec()].concat()
        };
        // A length without the padding, with the padding there and not there.
        let body = packet(b"abcde");
        let len = body.len() as u32 + 12;
        let bare = [&LE.u32s(&[6, len])[..], &body, &LE.u32(len)].concat();
        let padded = [&LE.u32s(&[6, len])[..], &body, &[0; 3], &LE.u32(len)].concat();
        // No trailing length.
        let mut blank = LE.block(6, &packet(b"abcdefgh"));
        let end = blank.len();
        blank[end - 4..].fill(0);
        let after = LE.packet(0, 1, b"after");
        for block in [&bare, &padded, &blank] {
            let (seen, damage) = read(&[&head, block, &after].map(|b| &b[..]).concat());
            assert_eq!(damage, None);
            assert_eq!(seen.len(), 2);
            assert_eq!(seen[1].3, b"after");
        }
        // One that contradicts.
        blank[end - 1] = 9;
        let (seen, damage) = read(&[&head[..], &blank, &after].concat());
        assert_eq!((seen.len(), damage.unwrap().kind), (0, DamageKind::Corrupt));
    }

    #[test]
    fn damage_names_the_record_and_the_frames_before_it_count() {
        let mut bytes = small_pcap();
        let at = bytes.len() as u64;
        bytes.extend(LE.u32s(&[1, 1, 300_000_000, 60]));
        bytes.extend([0; 64]);
        let (seen, damage) = read(&bytes);
        let damage = damage.unwrap();
        assert_eq!((seen.len(), damage.offset), (5, at));
        assert_eq!(damage.kind, DamageKind::Corrupt);

        let head = [LE.section(), LE.interface(1, 0, &[])].concat();
        for block in [
            LE.packet(1, 0, b"of no interface"),
            LE.u32s(&[6, 8, 0]),
            LE.u32s(&[1, 12, 12]),
            LE.u32s(&[3, 12, 12]),
            LE.u32s(&[2, 32, 0, 0, 0, 900, 900, 32]),
            LE.u32s(&[6, u32::MAX, 0, 0, 0, 40, 40, 0]),
            LE.u32s(&[0x0a0d_0d0a, 28, 7, 0]),
            LE.u32s(&[0x0a0d_0d0a, 12, 0x1a2b_3c4d, 1]),
        ] {
            let damage = damage_of(&[&head[..], &block].concat());
            assert_eq!(damage.offset, head.len() as u64, "{damage}");
            assert_eq!(damage.kind, DamageKind::Corrupt, "{damage}");
        }
    }

    #[test]
    fn what_is_no_capture_or_too_new_is_refused() {
        assert_eq!(damage_of(b"").kind, DamageKind::NotACapture);
        assert_eq!(damage_of(&[0xd4, 0xc3]).kind, DamageKind::NotACapture);
        assert_eq!(damage_of(b"plain text").kind, DamageKind::NotACapture);
        assert_eq!(damage_of(&small_pcap()[..23]).kind, DamageKind::Truncated);
        let version = |v| damage_of(&LE.pcap_version(MICROS, v, 0, 1)).kind;
        assert_eq!(version((1, 0)), DamageKind::Unsupported);
        assert_eq!(version((3, 0)), DamageKind::Unsupported);
        let mut section = LE.section();
        section[12] = 2;
        assert_eq!(damage_of(&section).kind, DamageKind::Unsupported);
        assert_eq!(read(&LE.pcap(MICROS, 0, 1)), (vec![], None));
        assert_eq!(read(&LE.section()), (vec![], None));
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_a_prefix_of_its_frames() {
        for whole in [small_pcap(), small_pcapng()] {
            let (all, _) = read(&whole);
            for cut in 0..whole.len() {
                let (seen, damage) = read(&whole[..cut]);
                assert_eq!(seen, all[..seen.len()]);
                if let (Some(damage), 24..) = (damage, cut) {
                    assert_eq!(damage.kind, DamageKind::Truncated);
                    assert!(damage.offset <= cut as u64);
                }
            }
        }
    }

    #[test]
    fn goes_on_at_a_cursor() {
        for whole in [small_pcap(), small_pcapng()] {
            let (all, _) = read(&whole);
            let mut records = Records::new(&whole, 0).unwrap();
            for passed in 0..all.len() {
                let mut rest = Records::resume(&whole, records.cursor().clone());
                for seen in &all[passed..] {
                    let frame = rest.next().unwrap().unwrap();
                    let number = frame.stamp.frame.number();
                    assert_eq!((frame.data, number), (&seen.3[..], seen.4));
                }
                assert!(rest.next().unwrap().is_none());
                records.next().unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            start in 0..4usize,
            tail in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let start = [vec![], LE.pcap(MICROS, 0, 1), LE.section(), [
                BE.section(), BE.interface(1, 0, &[])].concat()][start].clone();
            read(&[start, tail].concat());
        }

        #[test]
        fn changed_bytes_never_panic(
            ng: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = if ng { small_pcapng() } else { small_pcap() };
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let (seen, _) = read(&bytes);
            let held: usize = seen.iter().map(|frame| frame.3.len()).sum();
            prop_assert!(held <= bytes.len());
        }
    }
}
