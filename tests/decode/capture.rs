//! A reader of pcap and pcapng files, only as strict as the corpus needs.

/// Calls back with link type, nanoseconds, wire length and bytes. `None` when it is neither pcap nor pcapng.
pub(crate) fn read<'a>(bytes: &'a [u8], each: impl FnMut(u16, u64, u32, &'a [u8])) -> Option<()> {
    match bytes.first_chunk::<4>()? {
        [0x0a, 0x0d, 0x0d, 0x0a] => read_pcapng(bytes, each),
        magic => {
            let (big, nano) = match magic {
                [0xa1, 0xb2, 0xc3, 0xd4] => (true, false),
                [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
                [0xd4, 0xc3, 0xb2, 0xa1] | [0x34, 0xcd, 0xb2, 0xa1] => (false, false),
                [0x4d, 0x3c, 0xb2, 0xa1] => (false, true),
                _ => return None,
            };
            // Kuznetzov's variant has eight more bytes in each record header.
            let header_len = if magic[0] == 0x34 { 24 } else { 16 };
            read_pcap(bytes, Endian(big), nano, header_len, each)
        }
    }
}

#[derive(Clone, Copy)]
struct Endian(bool);

impl Endian {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let raw = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.0 { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let raw = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.0 { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
    }
}

fn read_pcap<'a>(
    bytes: &'a [u8],
    endian: Endian,
    nano: bool,
    header_len: usize,
    mut each: impl FnMut(u16, u64, u32, &'a [u8]),
) -> Option<()> {
    let link = (endian.u32(bytes, 20)? & 0xffff) as u16;
    let mut at = 24;
    while let Some(wire_len) = endian.u32(bytes, at + 12) {
        let seconds = u64::from(endian.u32(bytes, at)?);
        let fraction = u64::from(endian.u32(bytes, at + 4)?);
        let len = endian.u32(bytes, at + 8)? as usize;
        at += header_len;
        let Some(data) = bytes.get(at..at + len) else {
            break;
        };
        at += len;
        let nanos = fraction * if nano { 1 } else { 1000 };
        each(link, seconds * 1_000_000_000 + nanos, wire_len, data);
    }
    Some(())
}

fn read_pcapng<'a>(bytes: &'a [u8], mut each: impl FnMut(u16, u64, u32, &'a [u8])) -> Option<()> {
    let mut endian = Endian(false);
    // Link type, snap length, ticks per second.
    let mut interfaces: Vec<(u16, u32, u64)> = Vec::new();
    let mut last = 0;
    let mut at = 0;
    while let Some(mut kind) = endian.u32(bytes, at) {
        if kind == 0x0a0d_0d0a {
            endian = Endian(bytes.get(at + 8..at + 12)? == [0x1a, 0x2b, 0x3c, 0x4d]);
            interfaces.clear();
            kind = 0;
        }
        let len = endian.u32(bytes, at + 4)? as usize;
        let Some(block) = bytes.get(at..at + len).filter(|_| len >= 12) else {
            break;
        };
        at += len;
        let body = &block[8..len - 4];
        match kind {
            1 => interfaces.push((endian.u16(body, 0)?, endian.u32(body, 4)?, ticks(endian, body))),
            // Obsolete, enhanced, simple packet blocks.
            2 | 6 => {
                let interface = if kind == 2 {
                    usize::from(endian.u16(body, 0)?)
                } else {
                    endian.u32(body, 0)? as usize
                };
                let &(link, _, per_second) = interfaces.get(interface)?;
                let stamp = u64::from(endian.u32(body, 4)?) << 32 | u64::from(endian.u32(body, 8)?);
                last = (u128::from(stamp) * 1_000_000_000 / u128::from(per_second)) as u64;
                let len = endian.u32(body, 12)? as usize;
                each(link, last, endian.u32(body, 16)?, body.get(20..20 + len)?);
            }
            3 => {
                let &(link, snap, _) = interfaces.first()?;
                let wire_len = endian.u32(body, 0)?;
                let len = if snap == 0 { wire_len } else { wire_len.min(snap) } as usize;
                each(link, last, wire_len, body.get(4..4 + len.min(body.len() - 4))?);
            }
            _ => {}
        }
    }
    Some(())
}

/// The interface's time resolution: option 9.
fn ticks(endian: Endian, body: &[u8]) -> u64 {
    let mut at = 8;
    while let (Some(code), Some(len)) = (endian.u16(body, at), endian.u16(body, at + 2)) {
        if code == 9 {
            let value = body.get(at + 4).copied().unwrap_or(6);
            let exponent = u32::from(value & 0x7f);
            return if value & 0x80 != 0 {
                1 << exponent.min(63)
            } else {
                10_u64.pow(exponent.min(19))
            };
        }
        if code == 0 {
            break;
        }
        at += 4 + usize::from(len).next_multiple_of(4);
    }
    1_000_000
}
