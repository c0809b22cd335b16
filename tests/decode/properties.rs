//! Any stack of encapsulations opens, fragments in any order join, and nothing hostile panics or
//! points outside the frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egress_auditor::{
    decode::{Body, Decoder, FragmentLimits, Undecoded},
    source::Frame,
};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::checks::{check_one, frame, payload};

const LINKS: [u16; 30] = [
    0, 1, 8, 9, 10, 11, 12, 14, 50, 51, 101, 104, 105, 107, 108, 109, 113, 117, 127, 192, 204, 228,
    229, 239, 253, 276, 147, 129, 2, 65_535,
];

fn tcp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut b = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    b.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x18, 1, 0, 0, 0, 0, 0]);
    b.extend([1, 1, 1, 0]);
    b.extend(payload);
    b
}

fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut b = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    b.extend((payload.len() as u16 + 8).to_be_bytes());
    b.extend([0, 0]);
    b.extend(payload);
    b
}

/// An IP packet of either version. `odd` adds options or an extension header.
fn ip(v6: bool, protocol: u8, odd: bool, body: &[u8]) -> Vec<u8> {
    if v6 {
        let extension = [protocol, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let extension = if odd { &extension[..] } else { &[] };
        let len = (extension.len() + body.len()) as u16;
        let mut b = vec![0x60, 0, 0, 0];
        b.extend(len.to_be_bytes());
        b.extend([if odd { 60 } else { protocol }, 64]);
        b.extend(SRC6.octets());
        b.extend(DST6.octets());
        return [&b, extension, body].concat();
    }
    let options: &[u8] = if odd { &[1, 1, 1, 0] } else { &[] };
    let header_len = 20 + options.len();
    let mut b = vec![0x40 | (header_len / 4) as u8, 0];
    b.extend(((header_len + body.len()) as u16).to_be_bytes());
    b.extend([0, 7, 0x40, 0, 64, protocol, 0, 0]);
    b.extend(SRC4.octets());
    b.extend(DST4.octets());
    [&b, options, body].concat()
}

const SRC4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DST4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const SRC6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

fn is_v6(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6
}

fn ethertype(packet: &[u8]) -> [u8; 2] {
    if is_v6(packet) { [0x86, 0xdd] } else { [8, 0] }
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// Ethernet around an IP packet, in one of ten manners, with padding and check sequence behind.
fn ethernet(manner: u8, packet: &[u8]) -> Vec<u8> {
    let kind = ethertype(packet);
    let mut b = MACS.to_vec();
    match manner % 10 {
        0 => b.extend(kind),
        1 => b.extend([&[0x81, 0, 0, 5], &kind[..]].concat()),
        2 => b.extend([&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x91, 0, 0, 7], &kind[..]].concat()),
        3 => {
            b.extend((packet.len() as u16 + 8).min(1500).to_be_bytes());
            b.extend([&[0xaa, 0xaa, 3, 0, 0, 0], &kind[..]].concat());
        }
        4 => b.extend([0x88, 0x47, 0, 1, 0x10, 64, 0, 2, 0x11, 64]),
        5 => {
            b.extend([0x88, 0x47, 0, 1, 0x11, 64, 0, 0, 0, 0]);
            b.extend([&MACS[..], &kind[..]].concat());
        }
        6 => {
            b.extend([0x88, 0x64, 0x11, 0, 0, 9]);
            b.extend((packet.len() as u16 + 2).to_be_bytes());
            b.extend([0, if is_v6(packet) { 0x57 } else { 0x21 }]);
        }
        7 => b.extend([&[0x88, 0xe5, 0, 0, 0, 0, 0, 1], &kind[..]].concat()),
        8 => {
            b.extend([0x88, 0xe7, 0, 0, 0, 1]);
            b.extend([&MACS[..], &[0x81, 0, 0, 5], &kind[..]].concat());
        }
        _ => b.extend([&[0x89, 0x2f, 0, 50, 0, 1], &kind[..]].concat()),
    }
    b.extend(packet);
    b.extend([0xee; 10]);
    b
}

/// One more encapsulation around an IP packet; gives an IP packet.
fn wrap(manner: u8, outer6: bool, packet: &[u8]) -> Vec<u8> {
    let kind = ethertype(packet);
    let inner_protocol = if is_v6(packet) { 41 } else { 4 };
    let gre = |head: &[u8], body: &[u8]| ip(outer6, 47, false, &[head, body].concat());
    let in_udp = |port: u16, head: &[u8], body: &[u8]| {
        ip(outer6, 17, false, &udp((40_000, port), &[head, body].concat()))
    };
    let [a, b] = kind;
    match manner % 14 {
        0 => ip(outer6, inner_protocol, true, packet),
        1 => gre(&[0, 0, a, b], packet),
        2 => gre(&[0xb0, 0, a, b, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], packet),
        3 => gre(&[0x20, 0, 0x65, 0x58, 0, 0, 1, 0], &ethernet(1, packet)),
        4 => {
            gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0], &ethernet(0, packet))
        }
        5 => gre(
            &[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &ethernet(2, packet),
        ),
        6 => in_udp(4789, &[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(0, packet)),
        7 => in_udp(8472, &[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(1, packet)),
        8 => in_udp(6081, &[1, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 2, 3, 0], &ethernet(0, packet)),
        9 => in_udp(6081, &[0, 0, a, b, 0, 0, 1, 0], packet),
        10 => {
            let len = (packet.len() as u16 + 8).to_be_bytes();
            let head = [0x34, 0xff, len[0], len[1], 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0x10, 1, 0];
            in_udp(2152, &head, packet)
        }
        11 => in_udp(4790, &[0x0c, 0, 0, if is_v6(packet) { 2 } else { 1 }, 0, 0, 1, 0], packet),
        12 => ip(outer6, 51, false, &[&[inner_protocol, 4][..], &[0; 22], packet].concat()),
        _ => gre(&[0, 0, 0x88, 0x47, 0, 1, 0x11, 64], packet),
    }
}

/// A captured frame around an IP packet.
fn link(manner: u8, packet: &[u8]) -> (u16, Vec<u8>) {
    let [a, b] = ethertype(packet);
    let v6 = is_v6(packet);
    let (number, head): (u16, Vec<u8>) = match manner % 16 {
        0 => (113, [&[0; 14][..], &[a, b]].concat()),
        1 => (276, [&[a, b][..], &[0; 18]].concat()),
        2 => (101, vec![]),
        3 => (0, vec![if v6 { 30 } else { 2 }, 0, 0, 0]),
        4 => (0, vec![0, 0, 0, if v6 { 24 } else { 2 }]),
        5 => (108, vec![0, 0, 0, if v6 { 10 } else { 2 }]),
        6 => (9, vec![0xff, 3, 0, if v6 { 0x57 } else { 0x21 }]),
        7 => (104, vec![0x0f, 0, a, b]),
        8 => (if v6 { 229 } else { 228 }, vec![]),
        9 => {
            let mut head = vec![0, 0, 9, 0, 2, 0, 0, 0, 0x10];
            head.extend([0x88, 2, 0, 0]);
            head.extend([0; 22]);
            head.extend([0xaa, 0xaa, 3, 0, 0, 0, a, b]);
            (127, head)
        }
        10 => {
            let len = (packet.len() as u16 + 4).to_le_bytes();
            let records = [2, 0, 0, 0, 5, 0, 2, 0, 1, 0, 0, 0, len[0], len[1], 9, 0];
            (239, records.to_vec())
        }
        11 => (107, vec![0x18, 0x41, 3, if v6 { 0x8e } else { 0xcc }]),
        _ => return (1, ethernet(manner / 16, packet)),
    };
    (number, [head, packet.to_vec()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_stack_opens(
        transport_tcp in any::<bool>(),
        ports in (1..30_000_u16, 10_000..30_000_u16),
        data in vec(any::<u8>(), 0..60),
        v6 in any::<bool>(),
        odd in any::<bool>(),
        wraps in vec((any::<u8>(), any::<bool>()), 0..4),
        manner in any::<u8>(),
    ) {
        let segment = if transport_tcp { tcp(ports, &data) } else { udp(ports, &data) };
        let mut packet = ip(v6, if transport_tcp { 6 } else { 17 }, odd, &segment);
        for (manner, outer6) in &wraps {
            packet = wrap(*manner, *outer6, &packet);
        }
        let (number, bytes) = link(manner, &packet);
        check_one(&frame(number, &bytes));
        let mut decoder = Decoder::default();
        let packet = decoder.decode(&frame(number, &bytes)).unwrap();
        let (src, dst): (IpAddr, IpAddr) =
            if v6 { (SRC6.into(), DST6.into()) } else { (SRC4.into(), DST4.into()) };
        prop_assert_eq!((packet.src.ip(), packet.dst.ip()), (src, dst));
        prop_assert_eq!(payload(&packet), (&*data, data.len() as u32));
        let seen = match packet.body {
            Body::Tcp(tcp) => (true, (tcp.src_port, tcp.dst_port)),
            Body::Udp(udp) => (false, (udp.src_port, udp.dst_port)),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(seen, (transport_tcp, ports));
        let labels_or_pppoe = number == 1 && matches!(manner / 16 % 10, 4..=6);
        prop_assert_eq!(packet.tunnel.is_some(), !wraps.is_empty() || labels_or_pppoe);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        number in prop_oneof![any::<u16>(), any::<Index>().prop_map(|i| LINKS[i.index(LINKS.len())])],
        bytes in vec(any::<u8>(), 0..200),
        wire_len in any::<u32>(),
    ) {
        check_one(&Frame { wire_len, ..frame(number, &bytes) });
    }

    #[test]
    fn damaged_stacks_never_panic(
        v6 in any::<bool>(),
        wraps in vec((any::<u8>(), any::<bool>()), 0..8),
        manner in any::<u8>(),
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
        keep in any::<Index>(),
        cut in any::<bool>(),
    ) {
        let mut packet = ip(v6, 6, true, &tcp((1, 2), b"data"));
        for (manner, outer6) in wraps {
            packet = wrap(manner, outer6, &packet);
        }
        let (number, mut bytes) = link(manner, &packet);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let wire_len = bytes.len() as u32;
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        check_one(&Frame { wire_len, ..frame(number, &bytes) });
    }

    #[test]
    fn fragments_in_any_order_join(
        data in vec(any::<u8>(), 20..400),
        v6 in any::<bool>(),
        tunneled in proptest::option::of((any::<u8>(), any::<bool>())),
        cuts in vec(any::<Index>(), 1..6),
        order in vec(any::<u32>(), 7),
        repeat in any::<Index>(),
    ) {
        let segment = udp((53, 50_000), &data);
        let mut frames: Vec<_> = fragments(&segment, &cuts)
            .into_iter()
            .map(|(offset, more, part)| fragment(v6, 9, offset, more, 17, part))
            .map(|packet| match tunneled {
                Some((manner, outer6)) => wrap(manner, outer6, &packet),
                None => packet,
            })
            .zip(order)
            .collect();
        frames.sort_by_key(|(_, rank)| *rank);
        let twice = frames[repeat.index(frames.len())].clone();
        let whole = frames.len();
        frames.insert(repeat.index(frames.len()), twice);
        let mut decoder = Decoder::default();
        let mut given = 0;
        for (packet, _) in &frames {
            match decoder.decode(&frame(101, packet)) {
                Ok(packet) => {
                    prop_assert_eq!(payload(&packet), (&*data, data.len() as u32));
                    given += 1;
                }
                Err(reason) => prop_assert!(matches!(
                    reason,
                    Undecoded::FragmentHeld | Undecoded::FragmentLate
                )),
            }
        }
        // A cut that leaves one piece is no fragment, and its copy a packet of its own.
        prop_assert_eq!(given, if whole == 1 { 2 } else { 1 });
    }

    #[test]
    fn fragments_inside_a_fragmented_tunnel_join(
        data in vec(any::<u8>(), 20..400),
        v6 in any::<bool>(),
        manner in any::<u8>(),
        outer6 in any::<bool>(),
        cuts in vec(any::<Index>(), 1..4),
    ) {
        let segment = tcp((53, 50_000), &data);
        let mut decoder = Decoder::default();
        let mut given = Vec::new();
        for (id, (offset, more, part)) in fragments(&segment, &cuts).into_iter().enumerate() {
            let outer = wrap(manner, outer6, &fragment(v6, 9, offset, more, 6, part));
            let (protocol, body) = match (outer6, outer[0] & 0x0f) {
                (true, _) => (outer[6], &outer[40..]),
                (false, words) => (outer[9], &outer[usize::from(words) * 4..]),
            };
            for (offset, more, part) in fragments(body, &cuts) {
                let packet = fragment(outer6, id as u32 + 100, offset, more, protocol, part);
                if let Ok(packet) = decoder.decode(&frame(101, &packet)) {
                    given.push(payload(&packet).0.to_vec());
                }
            }
        }
        prop_assert_eq!(given, [data]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn hostile_fragments_stay_within_bounds(
        pieces in vec((0..40_u32, 0..8192_u16, any::<bool>(), 0..64_usize, any::<u8>()), 0..200),
        v6 in any::<bool>(),
    ) {
        let limits = FragmentLimits { datagrams: 8, bytes: 70_000, ..FragmentLimits::default() };
        let mut decoder = Decoder::new(limits);
        for (id, offset, more, len, fill) in pieces {
            let part = vec![fill; len];
            let packet = fragment(v6, id, usize::from(offset) * 8, more, 17, &part);
            let _ = decoder.decode(&frame(101, &packet));
        }
    }
}

/// Cuts a payload at multiples of eight: offset, more, bytes.
fn fragments<'a>(data: &'a [u8], cuts: &[Index]) -> Vec<(usize, bool, &'a [u8])> {
    let mut at: Vec<_> = cuts.iter().map(|c| c.index(data.len()) / 8 * 8).collect();
    at.extend([0, data.len()]);
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|w| (w[0], w[1] < data.len(), &data[w[0]..w[1]])).collect()
}

fn fragment(v6: bool, id: u32, offset: usize, more: bool, protocol: u8, part: &[u8]) -> Vec<u8> {
    if v6 {
        let place = (offset as u16 & !7 | u16::from(more)).to_be_bytes();
        let id = id.to_be_bytes();
        let head = [protocol, 0, place[0], place[1], id[0], id[1], id[2], id[3]];
        return ip(true, 44, false, &[&head, part].concat());
    }
    let mut packet = ip(false, protocol, false, part);
    packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
    let place = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
    packet[6..8].copy_from_slice(&place.to_be_bytes());
    packet
}
