//! Writes captures for tests, byte by byte.

/// Writes integers in one byte order.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    pub(super) big_endian: bool,
}

pub(super) const LE: Writer = Writer { big_endian: false };
pub(super) const BE: Writer = Writer { big_endian: true };

impl Writer {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        match self.big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        match self.big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        }
    }

    pub(super) fn u32s(self, values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|v| self.u32(*v)).collect()
    }

    /// A pcap file header of version 2.4.
    pub(super) fn pcap(self, magic: u32, snap_len: u32, link: u32) -> Vec<u8> {
        self.pcap_version(magic, (2, 4), snap_len, link)
    }

    pub(super) fn pcap_version(
        self,
        magic: u32,
        (major, minor): (u16, u16),
        snap_len: u32,
        link: u32,
    ) -> Vec<u8> {
        let mut out = self.u32(magic).to_vec();
        out.extend(self.u16(major));
        out.extend(self.u16(minor));
        out.extend(self.u32s(&[0, 0, snap_len, link]));
        out
    }

    /// A pcap record whose frame was 1000 bytes longer on the wire.
    pub(super) fn record(self, seconds: u32, fraction: u32, data: &[u8]) -> Vec<u8> {
        let len = data.len() as u32;
        let mut out = self.u32s(&[seconds, fraction, len, len + 1000]);
        out.extend(data);
        out
    }

    pub(super) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = body.len() as u32 + 12;
        [&self.u32s(&[kind, len])[..], &body, &self.u32(len)].concat()
    }

    pub(super) fn section(self) -> Vec<u8> {
        let version = [self.u16(1), self.u16(0)].concat();
        let body = [&self.u32(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    pub(super) fn interface(self, link: u16, snap_len: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = [self.u16(link), self.u16(0)].concat();
        body.extend(self.u32(snap_len));
        self.options(&mut body, options);
        self.block(1, &body)
    }

    /// An Interface Statistics Block with options that are numbers.
    pub(super) fn statistics(self, interface: u32, options: &[(u16, u64)]) -> Vec<u8> {
        let raw = |count: u64| match self.big_endian {
            true => count.to_be_bytes(),
            false => count.to_le_bytes(),
        };
        let raw: Vec<_> = options.iter().map(|&(code, count)| (code, raw(count))).collect();
        let options: Vec<_> = raw.iter().map(|(code, raw)| (*code, &raw[..])).collect();
        let mut body = self.u32s(&[interface, 0, 0]);
        self.options(&mut body, &options);
        self.block(5, &body)
    }

    fn options(self, body: &mut Vec<u8>, options: &[(u16, &[u8])]) {
        for (code, value) in options {
            body.extend(self.u16(*code));
            body.extend(self.u16(value.len() as u16));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            body.extend([0; 4]);
        }
    }

    /// An Enhanced Packet Block with a comment.
    pub(super) fn packet(self, interface: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
        let (high, low) = ((ticks >> 32) as u32, ticks as u32);
        let len = data.len() as u32;
        let mut body = self.u32s(&[interface, high, low, len, len + 1000]);
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([self.u16(1), self.u16(2)].concat());
        body.extend(b"hi\0\0\0\0\0\0");
        self.block(6, &body)
    }

    pub(super) fn simple_packet(self, wire_len: u32, data: &[u8]) -> Vec<u8> {
        self.block(3, &[&self.u32(wire_len)[..], data].concat())
    }

    /// The obsolete Packet Block.
    pub(super) fn old_packet(self, interface: u16, ticks: u64, data: &[u8]) -> Vec<u8> {
        let len = data.len() as u32;
        let mut body = [self.u16(interface), self.u16(7)].concat();
        body.extend(self.u32s(&[(ticks >> 32) as u32, ticks as u32, len, len + 1000]));
        body.extend(data);
        self.block(2, &body)
    }
}

pub(super) const MICROS: u32 = 0xa1b2_c3d4;
pub(super) const NANOS: u32 = 0xa1b2_3c4d;

/// A small pcap file: 5 frames.
pub(super) fn small_pcap() -> Vec<u8> {
    let mut out = LE.pcap(MICROS, 65_535, 1);
    for i in 0..5u8 {
        out.extend(LE.record(100 + u32::from(i), 7, &vec![i; 3 + usize::from(i)]));
    }
    out
}

/// A small pcapng file: 8 frames, two sections of either byte order, all kinds of packet blocks,
/// and blocks that hold no frame.
pub(super) fn small_pcapng() -> Vec<u8> {
    [
        LE.section(),
        LE.block(10, b"a secret that isn't looked at"),
        LE.interface(1, 0, &[(2, b"eth0"), (9, &[9])]),
        LE.interface(113, 96, &[]),
        LE.packet(0, 1_000_000_005, b"first"),
        LE.packet(1, 2_000_005, b"second"),
        LE.simple_packet(5, b"third"),
        LE.block(0xbad, b"custom"),
        LE.old_packet(1, 3_000_005, b"fourth"),
        LE.block(0x77, b"unknown"),
        LE.statistics(1, &[(4, 9), (5, 2), (7, 1)]),
        BE.section(),
        BE.interface(14, 4, &[(9, &[0x80 | 10]), (14, &[0, 0, 0, 0, 0, 0, 0, 100])]),
        BE.packet(0, 1024 + 512, b"fifth"),
        BE.simple_packet(9, b"sixth packet"),
        BE.block(5, b"statistics..."),
        BE.packet(0, 2048, b""),
        BE.old_packet(0, 4096, b"8"),
        BE.statistics(0, &[(5, 4)]),
    ]
    .concat()
}
