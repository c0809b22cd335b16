//! pcap: a header of 24 bytes, then records (draft-ietf-opsawg-pcap), and its modified forms.

use super::{Damage, DamageKind, LinkType, records::captured_limit};
use crate::base::Timestamp;

/// All that a pcap file's header says about its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Classic {
    pub(super) link: LinkType,
    big_endian: bool,
    /// Nanoseconds in one unit of a timestamp's fraction: 1 or 1000.
    unit: u64,
    /// Length of a record's header: 16 or 24.
    record_header: usize,
    lengths: Lengths,
    /// A longer captured length is damage.
    limit: u32,
}

/// Order of a record's two lengths. It changed with version 2.3, not in every writer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    OriginalFirst,
    SmallerIsCaptured,
}

/// What a file's first four bytes tell.
struct Variant {
    big_endian: bool,
    unit: u64,
    record_header: usize,
    file_header: usize,
}

/// A record, without its place in the capture.
pub(super) struct Record<'a> {
    pub(super) time: Timestamp,
    pub(super) wire_len: u32,
    pub(super) data: &'a [u8],
    /// Bytes to the next record.
    pub(super) size: usize,
}

/// Bytes that the longest file header takes.
pub(super) const HEADER_MAX: usize = 28;

impl Classic {
    /// Length of the file header by the file's first bytes, when they are pcap's.
    pub(super) fn header_len(bytes: &[u8]) -> Option<usize> {
        let magic = bytes.first_chunk()?;
        Variant::of(*magic).map(|variant| variant.file_header)
    }

    /// Reads the file header. `Ok(None)`: the magic number is none of pcap's. Otherwise the header
    /// and its length. Needs [`HEADER_MAX`] bytes, or the whole file if that is shorter.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Damage> {
        let Some(variant) = bytes.first_chunk().and_then(|magic| Variant::of(*magic)) else {
            return Ok(None);
        };
        let Some((head, _)) = bytes
            .split_at_checked(variant.file_header)
            .and_then(|(head, _)| head.split_first_chunk::<24>())
        else {
            let what = "the file ends inside the pcap header; wait for the capture to write more";
            return Err(Damage::new(0, DamageKind::Truncated, what));
        };
        let u32_at = |at: usize| read_u32(head, at, variant.big_endian);
        // Two u16 of the file's byte order, read as one u32.
        let (major, minor) = match (u32_at(4), variant.big_endian) {
            (both, true) => (both >> 16, both & 0xffff),
            (both, false) => (both & 0xffff, both >> 16),
        };
        let lengths = match (major, minor) {
            (2, 0..=2) | (543, _) => Lengths::OriginalFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            (2, _) => Lengths::CapturedFirst,
            _ => {
                let what = format!(
                    "pcap version {major}.{minor} isn't supported (2.x is); \
                     convert it with `editcap -F pcapng IN OUT`"
                );
                return Err(Damage::new(4, DamageKind::Unsupported, what));
            }
        };
        let classic = Self {
            link: LinkType::from_header(u32_at(20)),
            big_endian: variant.big_endian,
            unit: variant.unit,
            record_header: variant.record_header,
            lengths,
            limit: captured_limit(u32_at(16)),
        };
        Ok(Some((classic, variant.file_header)))
    }

    /// The record at the start of `rest`, or the number of bytes it takes to tell. `offset` is where
    /// `rest` starts in the file.
    #[inline(always)]
    pub(super) fn record<'a>(
        &self,
        rest: &'a [u8],
        offset: u64,
    ) -> Result<Result<Record<'a>, usize>, Damage> {
        let Some(head) = rest.first_chunk::<16>() else {
            return Ok(Err(16));
        };
        let u32_at = |at: usize| read_u32(head, at, self.big_endian);
        let (captured, wire_len) = match self.lengths {
            Lengths::CapturedFirst => (u32_at(8), u32_at(12)),
            _ => self.old_lengths(u32_at(8), u32_at(12)),
        };
        if captured > self.limit {
            return Err(self.absurd(captured, offset));
        }
        let size = self.record_header + captured as usize;
        let Some(data) = rest.get(self.record_header..size) else {
            return Ok(Err(size));
        };
        // Can't overflow: 2^32 seconds are 4.3e18 ns, 2^32 units at most 4.3e12.
        let nanos = u64::from(u32_at(0)) * 1_000_000_000 + u64::from(u32_at(4)) * self.unit;
        Ok(Ok(Record { time: Timestamp::from_nanos(nanos), wire_len, data, size }))
    }

    #[cold]
    fn old_lengths(&self, first: u32, second: u32) -> (u32, u32) {
        match self.lengths {
            Lengths::OriginalFirst => (second, first),
            Lengths::SmallerIsCaptured if first > second => (second, first),
            _ => (first, second),
        }
    }

    #[cold]
    fn absurd(&self, captured: u32, offset: u64) -> Damage {
        let limit = self.limit;
        Damage::corrupt(
            offset,
            format_args!("a record claims {captured} captured bytes, more than {limit}"),
        )
    }
}

impl Variant {
    fn of(magic: [u8; 4]) -> Option<Self> {
        let (big_endian, number) = match u32::from_be_bytes(magic) {
            known @ (0xa1b2_c3d4 | 0xa1b2_3c4d | 0xa1b2_cd34 | 0x1c00_01ab | 0x1c00_01ac) => {
                (true, known)
            }
            other => (false, other.swap_bytes()),
        };
        let (unit, record_header, file_header) = match number {
            0xa1b2_c3d4 => (1000, 16, 24),
            0xa1b2_3c4d => (1, 16, 24),
            // Kuznetzov's patched libpcap: interface index, protocol and packet type behind each
            // record's header.
            0xa1b2_cd34 => (1000, 24, 24),
            // Ixia: the total length of all records behind the file's header; made in software
            // with microseconds, in hardware with nanoseconds.
            0x1c00_01ab => (1000, 16, 28),
            0x1c00_01ac => (1, 16, 28),
            _ => return None,
        };
        Some(Self { big_endian, unit, record_header, file_header })
    }
}

#[inline(always)]
fn read_u32<const N: usize>(bytes: &[u8; N], at: usize, big_endian: bool) -> u32 {
    let raw = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
}
