//! pcapng: sections of blocks (draft-ietf-opsawg-pcapng).

use super::{Damage, DamageKind, LinkType, classic::Record, records::captured_limit};
use crate::base::Timestamp;

/// Type of the Section Header Block: the same in either byte order, so also a file's magic number.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// A section as far as it was read: its byte order and its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Frames lost in the sections before, as far as those say.
    dropped_before: Option<u64>,
}

/// An Interface Description Block (section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) link: LinkType,
    /// 0 for no limit.
    snap_len: u32,
    resolution: Resolution,
    /// Nanoseconds to add to each timestamp (`if_tsoffset`).
    offset: i128,
    /// Frames lost so far, as far as statistics say.
    dropped: Drops,
}

/// Frames that didn't come from an interface into the capture, by the latest of its statistics that
/// says so.
///
/// The interface drops before the filter, the operating system behind it (`isb_usrdeliv` is about
/// `isb_filteraccept` less `isb_osdrop`): no frame is in both. dumpcap has one number only, the sum
/// of what the system and dumpcap itself dropped, and writes it as `isb_ifdrop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Drops {
    /// `isb_ifdrop`.
    interface: Option<u64>,
    /// `isb_osdrop`.
    system: Option<u64>,
}

/// Length of a timestamp's unit (`if_tsresol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// So many nanoseconds.
    Multiple(u64),
    /// The nanosecond divided by so many.
    Fraction(u64),
    /// The second divided by 2 to this power.
    Binary(u32),
}

/// What a block is to the caller.
pub(super) enum Block<'a> {
    Packet(LinkType, Record<'a>),
    /// Not a packet, but Wireshark gives it a frame number. That many bytes.
    Event(u64),
    /// Nothing to hand out. That many bytes, of which not all need to be there.
    Other(u64),
    /// As many bytes are needed to tell.
    Need(usize),
}

mod kind {
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const STATISTICS: u32 = 5;
    pub(super) const ENHANCED_PACKET: u32 = 6;
    pub(super) const JOURNAL: u32 = 9;
    pub(super) const CUSTOM: u32 = 0x0000_0bad;
    pub(super) const CUSTOM_NO_COPY: u32 = 0x4000_0bad;
    /// Sysdig's events, in three forms.
    pub(super) const SYSDIG: [u32; 3] = [0x204, 0x216, 0x221];
}

/// More is no capture of a host, but an attempt on memory.
const INTERFACES_MAX: usize = 65_536;
/// Bound of a block that has to be in memory as a whole, unless its interface's snap length asks for
/// more.
const BLOCK_MAX: u32 = 16 << 20;
/// Where the data of (Enhanced) Packet Blocks starts.
const PACKET_DATA: usize = 28;

impl Section {
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Frames lost in this section and those before it; `None` when no statistics tell.
    pub(super) fn dropped(&self) -> Option<u64> {
        let here = self.interfaces.iter().flat_map(|i| [i.dropped.interface, i.dropped.system]);
        self.dropped_before.into_iter().chain(here.flatten()).reduce(u64::saturating_add)
    }

    /// The block at the start of `rest`, which starts at `offset` in the file. `last` is the
    /// timestamp for packets without one.
    #[inline]
    pub(super) fn block<'a>(
        &mut self,
        rest: &'a [u8],
        offset: u64,
        last: Timestamp,
    ) -> Result<Block<'a>, Damage> {
        let Some(head) = rest.first_chunk::<12>() else {
            return Ok(Block::Need(12));
        };
        if head.starts_with(&SECTION_HEADER) {
            return self.section(rest, offset);
        }
        let (kind, len) = (self.u32_at(head, 0), self.u32_at(head, 4));
        if len < 12 {
            return Err(bad_length(kind, len, offset));
        }
        match kind {
            kind::ENHANCED_PACKET | kind::PACKET => self.packet(rest, kind, len, offset),
            kind::SIMPLE_PACKET => self.simple_packet(rest, len, offset, last),
            kind::INTERFACE => self.interface(rest, len, offset),
            kind::STATISTICS if (24..=BLOCK_MAX).contains(&len) => {
                self.statistics(rest, len, offset)
            }
            other => self.unread(rest, other, len, offset),
        }
    }

    /// A block that isn't looked into: secrets, names, custom ones.
    #[cold]
    fn unread<'a>(
        &self,
        rest: &'a [u8],
        kind: u32,
        len: u32,
        offset: u64,
    ) -> Result<Block<'a>, Damage> {
        let size = if len.is_multiple_of(4) || len > BLOCK_MAX {
            u64::from(len).next_multiple_of(4)
        } else {
            match self.size(rest, len, offset)? {
                Ok(size) => size as u64,
                Err(need) => return Ok(Block::Need(need)),
            }
        };
        Ok(match kind {
            kind::JOURNAL | kind::CUSTOM | kind::CUSTOM_NO_COPY => Block::Event(size),
            other if kind::SYSDIG.contains(&other) => Block::Event(size),
            _ => Block::Other(size),
        })
    }

    /// Section Header Block (section 4.1). The section's length isn't used: blocks are walked.
    #[cold]
    fn section<'a>(&mut self, rest: &'a [u8], offset: u64) -> Result<Block<'a>, Damage> {
        let Some(head) = rest.first_chunk::<16>() else {
            return Ok(Block::Need(16));
        };
        let big_endian = match [head[8], head[9], head[10], head[11]] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => {
                return Err(Damage::corrupt(offset, "a section without a byte-order magic"));
            }
        };
        let dropped_before = self.dropped();
        let section = Self { big_endian, interfaces: Vec::new(), dropped_before };
        let len = section.u32_at(head, 4);
        if !(28..=BLOCK_MAX).contains(&len) {
            return Err(bad_length(u32::from_le_bytes(SECTION_HEADER), len, offset));
        }
        let major = match big_endian {
            true => u16::from_be_bytes([head[12], head[13]]),
            false => u16::from_le_bytes([head[12], head[13]]),
        };
        if major != 1 {
            let what = format!(
                "pcapng version {major} isn't supported (1 is); \
                 convert it with `editcap -F pcapng IN OUT`"
            );
            return Err(Damage::new(offset, DamageKind::Unsupported, what));
        }
        match section.size(rest, len, offset)? {
            Ok(size) => {
                *self = section;
                Ok(Block::Other(size as u64))
            }
            Err(need) => Ok(Block::Need(need)),
        }
    }

    /// Interface Description Block (section 4.2).
    #[cold]
    fn interface<'a>(
        &mut self,
        rest: &'a [u8],
        len: u32,
        offset: u64,
    ) -> Result<Block<'a>, Damage> {
        if !(20..=BLOCK_MAX).contains(&len) {
            return Err(bad_length(kind::INTERFACE, len, offset));
        }
        let size = match self.size(rest, len, offset)? {
            Ok(size) => size,
            Err(need) => return Ok(Block::Need(need)),
        };
        if self.interfaces.len() >= INTERFACES_MAX {
            let what = format_args!("a section of more than {INTERFACES_MAX} interfaces");
            return Err(Damage::corrupt(offset, what));
        }
        let body = &rest[8..len as usize - 4];
        let (link, snap_len) = (self.u16_at(body, 0), self.u32_at(body, 4));
        let mut interface = Interface {
            link: LinkType::from_header(u32::from(link)),
            snap_len,
            resolution: Resolution::Multiple(1000),
            offset: 0,
            dropped: Drops::default(),
        };
        self.options(&body[8..], |code, value| match (code, value) {
            (9, [resolution, ..]) => interface.resolution = Resolution::new(*resolution),
            (14, value) => {
                if let Some(seconds) = self.u64_of(value) {
                    interface.offset = i128::from(seconds.cast_signed()) * 1_000_000_000;
                }
            }
            _ => {}
        });
        self.interfaces.push(interface);
        Ok(Block::Other(size as u64))
    }

    /// Interface Statistics Block (section 4.6): at the end of the section or anywhere in it, also
    /// several times. Each counts from the beginning of the capture, so the latest one counts. One
    /// about an interface that isn't there is left alone.
    #[cold]
    fn statistics<'a>(
        &mut self,
        rest: &'a [u8],
        len: u32,
        offset: u64,
    ) -> Result<Block<'a>, Damage> {
        let size = match self.size(rest, len, offset)? {
            Ok(size) => size,
            Err(need) => return Ok(Block::Need(need)),
        };
        // The interface and a timestamp come before the options.
        let body = &rest[8..len as usize - 4];
        let id = self.u32_at(body, 0) as usize;
        let Some(mut told) = self.interfaces.get(id).map(|interface| interface.dropped) else {
            return Ok(Block::Other(size as u64));
        };
        self.options(&body[12..], |code, value| {
            // Writers that don't know a number have all bits set for it.
            let count = self.u64_of(value).filter(|&count| count != u64::MAX);
            match code {
                5 => told.interface = count.or(told.interface),
                7 => told.system = count.or(told.system),
                _ => {}
            }
        });
        self.interfaces[id].dropped = told;
        Ok(Block::Other(size as u64))
    }

    /// Enhanced Packet Block (section 4.3) and the obsolete Packet Block, which differs in that
    /// 16 bits of the interface number are a count of drops.
    #[inline]
    fn packet<'a>(
        &self,
        rest: &'a [u8],
        kind: u32,
        len: u32,
        offset: u64,
    ) -> Result<Block<'a>, Damage> {
        let Some(head) = rest.first_chunk::<PACKET_DATA>() else {
            return Ok(Block::Need(PACKET_DATA));
        };
        let id = match kind {
            kind::PACKET => u32::from(self.u16_at(head, 8)),
            _ => self.u32_at(head, 8),
        };
        let interface = self.interface_of(id, offset)?;
        let (captured, wire_len) = (self.u32_at(head, 20), self.u32_at(head, 24));
        // 4 bytes of trailing length behind the data. `len` may lack the data's padding.
        if u64::from(captured) + (PACKET_DATA as u64 + 4) > u64::from(len) {
            return Err(overlong(captured, len, offset));
        }
        self.check_packet(interface, captured, kind, len, offset)?;
        let size = match self.size(rest, len, offset)? {
            Ok(size) => size,
            Err(need) => return Ok(Block::Need(need)),
        };
        let ticks = u64::from(self.u32_at(head, 12)) << 32 | u64::from(self.u32_at(head, 16));
        let record = Record {
            time: interface.time(ticks),
            wire_len,
            data: &rest[PACKET_DATA..PACKET_DATA + captured as usize],
            size,
        };
        Ok(Block::Packet(interface.link, record))
    }

    /// Simple Packet Block (section 4.4): of the first interface, without a time, and as long as
    /// the interface's snap length allows.
    fn simple_packet<'a>(
        &self,
        rest: &'a [u8],
        len: u32,
        offset: u64,
        last: Timestamp,
    ) -> Result<Block<'a>, Damage> {
        if len < 16 {
            return Err(bad_length(kind::SIMPLE_PACKET, len, offset));
        }
        let interface = self.interface_of(0, offset)?;
        let wire_len = self.u32_at(rest, 8);
        let snap_len = match interface.snap_len {
            0 => u32::MAX,
            limit => limit,
        };
        let captured = wire_len.min(snap_len).min(len - 16);
        self.check_packet(interface, captured, kind::SIMPLE_PACKET, len, offset)?;
        let size = match self.size(rest, len, offset)? {
            Ok(size) => size,
            Err(need) => return Ok(Block::Need(need)),
        };
        let record = Record { time: last, wire_len, data: &rest[12..12 + captured as usize], size };
        Ok(Block::Packet(interface.link, record))
    }

    #[inline]
    fn interface_of(&self, id: u32, offset: u64) -> Result<&Interface, Damage> {
        self.interfaces.get(id as usize).ok_or_else(|| {
            let known = self.interfaces.len();
            let what = format_args!("a packet of interface {id}, of {known} described before it");
            Damage::corrupt(offset, what)
        })
    }

    #[inline]
    fn check_packet(
        &self,
        interface: &Interface,
        captured: u32,
        kind: u32,
        len: u32,
        offset: u64,
    ) -> Result<(), Damage> {
        let limit = captured_limit(interface.snap_len);
        if captured > limit {
            let what = format_args!("a packet claims {captured} captured bytes, more than {limit}");
            return Err(Damage::corrupt(offset, what));
        }
        if len > BLOCK_MAX.max(limit + 65_536) {
            return Err(bad_length(kind, len, offset));
        }
        Ok(())
    }

    /// Bytes from a block's start to the next block's, or how many are needed to tell.
    ///
    /// The length in the block's header rules; it should be a multiple of four, but some writers
    /// don't count the padding, and some don't write it either.
    #[inline]
    fn size(&self, rest: &[u8], len: u32, offset: u64) -> Result<Result<usize, usize>, Damage> {
        let exact = len as usize;
        if rest.len() < exact {
            return Ok(Err(exact));
        }
        if exact.is_multiple_of(4) {
            let trailing = self.u32_at(rest, exact - 4);
            if trailing == len {
                return Ok(Ok(exact));
            }
            return unequal(len, trailing, offset).map(Ok);
        }
        if self.u32_at(rest, exact - 4) == len {
            return Ok(Ok(exact));
        }
        let whole = exact.next_multiple_of(4);
        Ok(if rest.len() < whole { Err(whole) } else { Ok(whole) })
    }

    /// Calls `found` for each option (section 3.5). Ends silently where they stop making sense.
    fn options(&self, mut bytes: &[u8], mut found: impl FnMut(u16, &[u8])) {
        while bytes.len() >= 4 {
            let (code, len) = (self.u16_at(bytes, 0), usize::from(self.u16_at(bytes, 2)));
            let Some(value) = bytes.get(4..4 + len) else {
                return;
            };
            if code == 0 {
                return;
            }
            found(code, value);
            bytes = bytes.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// Panics when `bytes` end before `at + 4`.
    #[inline(always)]
    fn u32_at(&self, bytes: &[u8], at: usize) -> u32 {
        let raw = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self.big_endian {
            true => u32::from_be_bytes(raw),
            false => u32::from_le_bytes(raw),
        }
    }

    /// The value of an option that is a number of 64 bits.
    fn u64_of(&self, value: &[u8]) -> Option<u64> {
        let raw = *value.first_chunk::<8>()?;
        Some(match self.big_endian {
            true => u64::from_be_bytes(raw),
            false => u64::from_le_bytes(raw),
        })
    }

    /// Panics when `bytes` end before `at + 2`.
    #[inline(always)]
    fn u16_at(&self, bytes: &[u8], at: usize) -> u16 {
        let raw = [bytes[at], bytes[at + 1]];
        match self.big_endian {
            true => u16::from_be_bytes(raw),
            false => u16::from_le_bytes(raw),
        }
    }
}

impl Interface {
    /// Saturates at either end of what a [`Timestamp`] holds.
    #[inline]
    fn time(&self, ticks: u64) -> Timestamp {
        let nanos = match self.resolution {
            Resolution::Multiple(1) if self.offset == 0 => return Timestamp::from_nanos(ticks),
            Resolution::Multiple(n) => u128::from(ticks) * u128::from(n),
            Resolution::Fraction(n) => u128::from(ticks / n),
            Resolution::Binary(power) => (u128::from(ticks) * 1_000_000_000) >> power,
        };
        // At most 2^94 + 2^93: far from overflow.
        let nanos = (nanos as i128 + self.offset).clamp(0, i128::from(u64::MAX));
        Timestamp::from_nanos(nanos as u64)
    }
}

impl Resolution {
    /// From `if_tsresol`: a negative power of 10, or of 2 when the top bit is set.
    fn new(value: u8) -> Self {
        let power = u32::from(value & 0x7f);
        if value & 0x80 != 0 {
            return Self::Binary(power);
        }
        match power {
            0..=9 => Self::Multiple(10u64.pow(9 - power)),
            // Units so short that no u64 of them makes a nanosecond read as the shortest.
            _ => match 10u64.checked_pow(power - 9) {
                Some(n) => Self::Fraction(n),
                None => Self::Binary(127),
            },
        }
    }
}

#[cold]
fn bad_length(kind: u32, len: u32, offset: u64) -> Damage {
    Damage::corrupt(offset, format_args!("a block of type {kind:#x} claims {len} bytes"))
}

#[cold]
fn overlong(captured: u32, len: u32, offset: u64) -> Damage {
    let what = format_args!("a packet of {captured} captured bytes in a block of {len}");
    Damage::corrupt(offset, what)
}

/// A trailing length that isn't the leading one: tolerated from writers that leave it out or forget
/// the padding in it.
#[cold]
fn unequal(len: u32, trailing: u32, offset: u64) -> Result<usize, Damage> {
    if trailing == 0 || u64::from(trailing).next_multiple_of(4) == u64::from(len) {
        return Ok(len as usize);
    }
    let what = format_args!("a block of {len} bytes that ends with a length of {trailing}");
    Err(Damage::corrupt(offset, what))
}
