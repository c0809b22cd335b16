//! A cut-off in the kernel: of TCP and UDP flows no more than their beginnings, and their ends, are
//! handed over; the rest is counted.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a cut-off lets through.
#[derive(Clone, Debug)]
pub struct Cutoff {
    /// Payload bytes of each direction of a flow. What a scan reads, or more, or it finds gaps.
    pub limit: u32,
    /// Ports of which all is let through, beside those of DNS and tunnels.
    pub whole: Vec<u16>,
}

/// What a cut-off kept from being handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Payload bytes of each direction that are let through.
    pub limit: u64,
    /// Frames that weren't.
    pub frames: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// Those of them that belong to flows that are known.
    pub accounted: u64,
}

impl Cut {
    pub(super) fn add(&mut self, other: &Self) {
        self.limit = self.limit.max(other.limit);
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.accounted += other.accounted;
    }
}

/// What was cut of one direction of a flow since it was last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutFlow {
    /// UDP, not TCP.
    pub udp: bool,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Packets.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

#[cfg(target_os = "linux")]
pub(super) use linux::{Attached, Counted};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{Attached, Counted};

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::HashMap,
        io,
        net::{Ipv6Addr, SocketAddr},
        os::fd::BorrowedFd,
    };

    use super::{
        super::{
            LinkType,
            cutoff_program::{Rule, TOTALS, key, program, value},
            kernel::{self, LRU_HASH, Map, Numbers, Program},
        },
        Cut, CutFlow, Cutoff,
    };

    /// A cut-off that is at work.
    #[derive(Debug)]
    pub(in super::super) struct Attached {
        flows: Map,
        totals: Numbers<TOTALS>,
        /// What was told of each flow that was still there then.
        told: Counted,
        cut: Cut,
    }

    /// What was cut of each flow since the table has known it: packets, bytes.
    #[derive(Debug, Default)]
    pub(in super::super) struct Counted(HashMap<[u8; key::LEN], [u64; 2]>);

    /// Directions of flows that are known at a time; beyond it, those of which nothing was seen for
    /// long are forgotten, and begin anew. Takes 10 MiB.
    const FLOWS: u32 = 1 << 16;

    /// DNS (RFC 1035), and tunnels: VXLAN, its generic form, Geneve, GTP-U, Teredo.
    const WHOLE: [u16; 7] = [53, 4789, 8472, 4790, 6081, 2152, 3544];

    impl Attached {
        pub(in super::super) fn new(
            fd: BorrowedFd<'_>,
            link: LinkType,
            snap_len: u32,
            cutoff: &Cutoff,
        ) -> io::Result<Self> {
            let Some(link_len) = link_len(link) else {
                return Err(io::Error::other("not for this kind of interface"));
            };
            let (attached, program) = Self::load(link_len, snap_len, cutoff)?;
            kernel::attach(fd, &program)?;
            Ok(attached)
        }

        pub(super) fn load(
            link_len: u8,
            snap_len: u32,
            cutoff: &Cutoff,
        ) -> io::Result<(Self, Program)> {
            let flows = Map::new(LRU_HASH, key::LEN, value::LEN, FLOWS)?;
            let totals = Numbers::new()?;
            let mut whole = [&WHOLE[..], &cutoff.whole].concat();
            whole.sort_unstable();
            whole.dedup();
            let rule = Rule { link_len, limit: cutoff.limit, snap_len, whole: &whole };
            let program = Program::load(&program(&flows, totals.map(), &rule))?;
            let cut = Cut { limit: cutoff.limit.into(), ..Cut::default() };
            Ok((Self { flows, totals, told: Counted::default(), cut }, program))
        }

        /// What was cut so far. All of it, or nothing: of flows that couldn't be read, nobody would
        /// know what was told of them.
        pub(in super::super) fn read(&mut self) -> io::Result<Counted> {
            // First: of what comes meanwhile, flows may know more than these. They count whether flows
            // can be read or not: what isn't told yet isn't accounted for.
            [self.cut.frames, self.cut.bytes] = self.totals.get();
            let mut counted = Counted::default();
            self.flows.for_each(|key, value| counted.add(key, value))?;
            Ok(counted)
        }

        /// Tells what was cut since the last call, by flow.
        pub(in super::super) fn tell(&mut self, now: Counted, each: impl FnMut(CutFlow)) {
            let before = std::mem::replace(&mut self.told, now);
            self.told.since(&before).for_each(each);
        }

        /// Notes that bytes belong to a flow that is known.
        pub(in super::super) fn account(&mut self, bytes: u64) {
            self.cut.accounted += bytes;
        }

        pub(in super::super) fn cut(&self) -> Cut {
            self.cut
        }
    }

    impl Counted {
        /// One that comes twice counts as it was last.
        pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
            let now = [number(value, value::CUT_PACKETS), number(value, value::CUT_BYTES)];
            if let (Ok(key), true) = (key.try_into(), now[0] > 0) {
                self.0.insert(key, now);
            }
        }

        pub(super) fn since(&self, before: &Self) -> impl Iterator<Item = CutFlow> {
            self.0.iter().filter_map(|(key, now)| {
                // One that was forgotten meanwhile began anew.
                let known = before.0.get(key).filter(|known| known[0] <= now[0]);
                let known = known.copied().unwrap_or_default();
                let (packets, bytes) = (now[0] - known[0], now[1].saturating_sub(known[1]));
                (packets > 0).then(|| flow(key, packets, bytes))
            })
        }
    }

    /// Bytes before the network header, as the kernel's filters see a frame.
    fn link_len(link: LinkType) -> Option<u8> {
        match link {
            LinkType::ETHERNET => Some(14),
            // Raw IP; `any`, where the kernel strips the header and libpcap makes another.
            LinkType(12 | 101 | 113 | 276) => Some(0),
            _ => None,
        }
    }

    fn flow(key: &[u8; key::LEN], packets: u64, bytes: u64) -> CutFlow {
        let end = |port: i16, address: i16| {
            let port = u16::from_be_bytes([key[port as usize], key[port as usize + 1]]);
            let mut octets = [0; 16];
            octets.copy_from_slice(&key[address as usize..][..16]);
            SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port)
        };
        CutFlow {
            udp: key[key::PROTOCOL as usize] == 17,
            from: end(key::PORTS, key::ADDRESSES),
            to: end(key::PORTS + 2, key::ADDRESSES + 16),
            packets,
            bytes,
        }
    }

    fn number(bytes: &[u8], at: i16) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at as usize..][..8]);
        u64::from_ne_bytes(number)
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;

    use super::{super::LinkType, Cut, CutFlow, Cutoff};

    /// There is none.
    #[derive(Debug)]
    pub(in super::super) enum Attached {}

    /// What was cut.
    #[derive(Debug)]
    pub(in super::super) enum Counted {}

    impl Attached {
        pub(in super::super) fn new<F>(_: F, _: LinkType, _: u32, _: &Cutoff) -> io::Result<Self> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux can"))
        }

        pub(in super::super) fn read(&mut self) -> io::Result<Counted> {
            match *self {}
        }

        pub(in super::super) fn tell(&mut self, _: Counted, _: impl FnMut(CutFlow)) {
            match *self {}
        }

        pub(in super::super) fn account(&mut self, _: u64) {
            match *self {}
        }

        pub(in super::super) fn cut(&self) -> Cut {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const SNAP: u32 = 1234;

    /// Loaded for packets as the kernel's test has them, after their Ethernet header. `None`, with a
    /// printed reason, without the right to.
    fn load(limit: u32) -> Option<(Attached, super::super::kernel::Program)> {
        let cutoff = Cutoff { limit, whole: vec![5353] };
        match Attached::load(0, SNAP, &cutoff) {
            Ok(loaded) => Some(loaded),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                println!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What was cut since the last call.
    fn tell(attached: &mut Attached, now: Counted) -> Vec<CutFlow> {
        let mut told = Vec::new();
        attached.tell(now, |flow| told.push(flow));
        told
    }

    /// A packet behind an Ethernet header, of so many payload bytes.
    fn v4(protocol: u8, ports: [u16; 2], flags: u8, payload: usize) -> Vec<u8> {
        let l4 = l4(protocol, ports, flags, payload);
        let len = (20 + l4.len()) as u16;
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        header[2..4].copy_from_slice(&len.to_be_bytes());
        [&[0; 12][..], &[8, 0], &header, &[10, 77, 1, 10, 203, 0, 113, 20], &l4].concat()
    }

    fn v6(protocol: u8, ports: [u16; 2], flags: u8, payload: usize) -> Vec<u8> {
        let l4 = l4(protocol, ports, flags, payload);
        let len = (l4.len() as u16).to_be_bytes();
        let end = |last: u8| [[0x20, 1, 0xd, 0xb8].as_slice(), &[7; 11], &[last]].concat();
        let header = [&[0x60, 0, 0, 0][..], &len, &[protocol, 64]].concat();
        [&[0; 12][..], &[0x86, 0xdd], &header, &end(1), &end(2), &l4].concat()
    }

    fn l4(protocol: u8, [from, to]: [u16; 2], flags: u8, payload: usize) -> Vec<u8> {
        let mut header = [&from.to_be_bytes()[..], &to.to_be_bytes()].concat();
        header.resize(if protocol == 6 { 20 } else { 8 }, 0);
        if protocol == 6 {
            (header[12], header[13]) = (5 << 4, flags);
        }
        header.resize(header.len() + payload, 0xaa);
        header
    }

    const ACK: u8 = 0x10;

    #[test]
    fn beginnings_and_ends_pass_and_the_rest_is_counted() {
        for packet in [v4, v6] {
            let Some((mut attached, program)) = load(10_000) else { return };
            let ends = [443, 40_000];
            let passes = |frame: Vec<u8>| match program.test(&frame).unwrap() {
                0 => false,
                kept => {
                    assert_eq!(kept, SNAP);
                    true
                }
            };
            let passed = (0..100).filter(|_| passes(packet(6, ends, ACK, 1000))).count();
            assert_eq!(passed, 10);
            for flags in [1 | ACK, 4, 2 | ACK] {
                assert!(passes(packet(6, ends, flags, 0)), "{flags}");
            }
            // After a SYN it begins anew.
            let passed = (0..20).filter(|_| passes(packet(6, ends, ACK, 1000))).count();
            assert_eq!(passed, 10);
            // Neither the other direction nor another flow is any of its business.
            assert!(passes(packet(6, [40_000, 443], ACK, 1000)));
            assert!(passes(packet(6, [443, 40_001], ACK, 1000)));
            let bare = (0..1000).filter(|_| passes(packet(6, [40_000, 443], ACK, 0))).count();
            assert_eq!(bare, 256);
            let now = attached.read().unwrap();
            let told = tell(&mut attached, now).into_iter();
            let mut told: Vec<_> =
                told.map(|flow| (flow.from.port(), flow.packets, flow.bytes)).collect();
            told.sort_unstable();
            assert_eq!(told, [(443, 100, 100_000), (40_000, 744, 0)]);
            assert_eq!((attached.cut().frames, attached.cut().bytes), (844, 100_000));
            // Once.
            let now = attached.read().unwrap();
            assert_eq!(tell(&mut attached, now), []);
            assert!(!passes(packet(6, ends, ACK, 700)));
            // A reading that nobody is told of, as another interface's failed, changes nothing.
            drop(attached.read().unwrap());
            let now = attached.read().unwrap();
            let told = tell(&mut attached, now);
            assert_eq!(told.len(), 1);
            let from = if told[0].from.is_ipv4() {
                "203.0.113.20"
            } else {
                "2001:db8:707:707:707:707:707:702"
            };
            let client = if told[0].from.is_ipv4() {
                "10.77.1.10"
            } else {
                "2001:db8:707:707:707:707:707:701"
            };
            assert_eq!(told[0].to.ip().to_string(), from);
            assert_eq!(told[0].from.ip().to_string(), client);
            assert_eq!((told[0].packets, told[0].bytes, told[0].udp), (1, 700, false));
        }
    }

    #[test]
    fn each_count_is_told_once() {
        let counted = |flows: &[(u8, u64, u64)]| {
            let mut all = Counted::default();
            for &(port, packets, bytes) in flows {
                let (mut key, mut value) = ([0; 44], [0; 48]);
                (key[4], key[9]) = (17, port);
                value[24..32].copy_from_slice(&packets.to_ne_bytes());
                value[32..40].copy_from_slice(&bytes.to_ne_bytes());
                all.add(&key, &value);
            }
            all
        };
        let since = |now: &[_], before: &[_]| {
            let (now, before) = (counted(now), counted(before));
            let told = now.since(&before);
            let mut told: Vec<_> =
                told.map(|flow| (flow.from.port(), flow.packets, flow.bytes)).collect();
            told.sort_unstable();
            told
        };
        assert_eq!(since(&[(1, 2, 20), (2, 0, 0), (3, 4, 0)], &[]), [(1, 2, 20), (3, 4, 0)]);
        assert_eq!(since(&[(1, 2, 20), (2, 1, 9)], &[(1, 2, 20)]), [(2, 1, 9)]);
        assert_eq!(since(&[(1, 5, 50)], &[(1, 2, 20), (2, 7, 7)]), [(1, 3, 30)]);
        // Seen twice in one reading.
        assert_eq!(since(&[(1, 3, 30), (1, 5, 50)], &[(1, 2, 20)]), [(1, 3, 30)]);
        // Forgotten, and there again.
        assert_eq!(since(&[(1, 1, 10)], &[(1, 2, 20)]), [(1, 1, 10)]);
    }

    /// Whether there was an answer must not depend on what is cut.
    #[test]
    fn after_a_question_the_next_packets_back_pass() {
        let Some((_, program)) = load(10_000) else { return };
        let back = |payload: usize| {
            let mut frame = v4(6, [443, 40_000], ACK, payload);
            let ends = frame[26..34].to_vec();
            frame[26..30].copy_from_slice(&ends[4..]);
            frame[30..34].copy_from_slice(&ends[..4]);
            program.test(&frame).unwrap() > 0
        };
        let ask = |len: usize| program.test(&v4(6, [40_000, 443], ACK, len)).unwrap() > 0;
        assert_eq!((0..100).filter(|_| back(1000)).count(), 10);
        assert_eq!((0..1000).filter(|_| back(0)).count(), 256);
        for _ in 0..20 {
            assert!(ask(400));
            assert_eq!((0..100).filter(|_| back(1000)).count(), 5);
            assert_eq!((0..100).filter(|_| back(0)).count(), 5);
            assert!(ask(0));
            assert!(!back(1000) && !back(0));
        }
        // What is cut itself is no question that anybody reads.
        assert!(ask(3000));
        assert!(!ask(400));
        assert_eq!((0..100).filter(|_| back(1000)).count(), 5);
        assert!(!ask(400) && !back(1000));
    }

    #[test]
    fn datagrams_are_cut_too_but_not_dns_nor_tunnels() {
        let Some((_, program)) = load(10_000) else { return };
        let passed = |frame: &[u8]| (0..100).filter(|_| program.test(frame).unwrap() > 0).count();
        assert_eq!(passed(&v4(17, [443, 40_000], 0, 1000)), 10);
        assert_eq!(passed(&v6(17, [443, 40_000], 0, 1000)), 10);
        for ports in [[53, 40_000], [40_000, 53], [9, 4789], [5353, 5353], [2152, 9]] {
            assert_eq!(passed(&v4(17, ports, 0, 1000)), 100, "{ports:?}");
            assert_eq!(passed(&v6(6, ports, ACK, 1000)), 100, "{ports:?}");
        }
    }

    #[test]
    fn what_it_cannot_read_passes() {
        let Some((_, program)) = load(1) else { return };
        let passed = |frame: &[u8]| (0..9).filter(|_| program.test(frame).unwrap() > 0).count();
        let whole = v4(6, [443, 40_000], ACK, 1000);
        assert_eq!(passed(&whole), 1);
        let with = |at: usize, value: u8| {
            let mut frame = whole.clone();
            frame[at] = value;
            frame
        };
        // Fragments, other protocols, another version.
        for (at, value) in [(20, 0x20), (21, 1), (23, 47), (23, 1), (14, 0x55)] {
            assert_eq!(passed(&with(at, value)), 9, "{at} {value}");
        }
        // Headers that end behind the packet, or behind what it says is its end.
        assert_eq!(passed(&with(14, 0x4f)[..54]), 9);
        let mut frame = with(46, 0xf0);
        frame[16..18].copy_from_slice(&[0, 44]);
        assert_eq!(passed(&frame), 9);
        for len in [34, 50] {
            assert_eq!(passed(&whole[..len]), 9, "{len}");
        }
    }
}
