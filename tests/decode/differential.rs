//! The hand-written reading of common headers against etherparse's, and against what was built:
//! frames with any values in their headers, whole, damaged, and cut by a snap length.

use std::net::IpAddr;

use egress_auditor::decode::{Body, Decoder};
use egress_auditor::source::Frame;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use proptest::{array, collection::vec, prelude::*, sample::Index};

use crate::checks::{check_one, compare_at_link, compare_tcp, compare_udp, frame, payload};

/// A frame, and what a decoder must say of it.
#[derive(Clone, Debug)]
struct Built {
    link: u16,
    bytes: Vec<u8>,
    src: IpAddr,
    dst: IpAddr,
    /// 0 for IPv6.
    ident: u16,
    is_tcp: bool,
    ports: (u16, u16),
    /// Sequence and acknowledgment numbers and flags; zeros for UDP.
    tcp: (u32, u32, u8),
    /// Where the fixed transport header ends in `bytes`.
    fixed: usize,
    /// Where the payload begins in `bytes`.
    start: usize,
    payload: Vec<u8>,
}

/// A transport header's bytes, how many are fixed, and what they say.
#[derive(Clone, Debug)]
struct Segment {
    header: Vec<u8>,
    fixed: usize,
    is_tcp: bool,
    ports: (u16, u16),
    tcp: (u32, u32, u8),
    payload: Vec<u8>,
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..90)
}

fn tcp() -> impl Strategy<Value = Segment> {
    let header = (any::<(u16, u16)>(), any::<(u32, u32)>(), any::<(u8, u8)>(), any::<[u8; 6]>());
    (header, vec(any::<[u8; 4]>(), 0..=10), data()).prop_map(
        |((ports, (seq, ack), (reserved, flags), rest), options, payload)| {
            let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
            header.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
            header.extend([((5 + options.len()) as u8) << 4 | reserved & 0x0f, flags]);
            header.extend(rest);
            header.extend(options.concat());
            Segment { header, fixed: 20, is_tcp: true, ports, tcp: (seq, ack, flags), payload }
        },
    )
}

/// Ports that no tunnel has. The length may be left to IP (RFC 2675, segmentation offload).
fn udp() -> impl Strategy<Value = Segment> {
    let ports = (10_000..30_000_u16, 10_000..30_000_u16);
    (ports, any::<[u8; 2]>(), data(), prop::bool::weighted(0.1)).prop_map(
        |(ports, checksum, payload, zero)| {
            let len = if zero { 0 } else { payload.len() as u16 + 8 };
            let mut header = [ports.0, ports.1, len].map(u16::to_be_bytes).concat();
            header.extend(checksum);
            Segment { header, fixed: 8, is_tcp: false, ports, tcp: (0, 0, 0), payload }
        },
    )
}

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![3 => tcp(), 2 => udp()]
}

/// What stands before the transport header: addresses, identification, bytes, and whether it is
/// IPv6.
#[derive(Clone, Debug)]
struct Network {
    v6: bool,
    src: IpAddr,
    dst: IpAddr,
    ident: u16,
    /// The header, lengths and protocol zero.
    header: Vec<u8>,
    /// Extension headers: the number of each, and its bytes, the next one's number zero.
    extensions: Vec<(u8, Vec<u8>)>,
}

fn ipv4() -> impl Strategy<Value = Network> {
    let fields = (any::<u8>(), any::<u16>(), any::<bool>(), any::<u8>(), any::<[u8; 2]>());
    let options = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<[u8; 4]>(), 1..=10)];
    let authenticated = prop::option::weighted(0.2, authentication());
    (fields, any::<([u8; 4], [u8; 4])>(), options, authenticated).prop_map(
        |((tos, ident, keep_whole, ttl, checksum), (src, dst), options, extension)| {
            let [high, low] = ident.to_be_bytes();
            let dont_fragment = if keep_whole { 0x40 } else { 0 };
            let mut header = vec![0x45 + options.len() as u8, tos, 0, 0];
            header.extend([high, low, dont_fragment, 0, ttl, 0]);
            header.extend([&checksum[..], &src, &dst].concat());
            header.extend(options.concat());
            let (src, dst) = (src.into(), dst.into());
            let extensions = extension.into_iter().collect();
            Network { v6: false, src, dst, ident, header, extensions }
        },
    )
}

fn ipv6() -> impl Strategy<Value = Network> {
    let chain = vec(prop_oneof![options(43), options(60), authentication(), atomic()], 0..4);
    let first = prop::option::weighted(0.2, options(0));
    let addrs = array::uniform2(any::<[u8; 16]>());
    (any::<[u8; 4]>(), any::<u8>(), addrs, first, chain).prop_map(
        |(head, hops, [src, dst], first, chain)| {
            let mut header = vec![0x60 | head[0] & 0x0f, head[1], head[2], head[3], 0, 0, 0, hops];
            header.extend([src, dst].concat());
            let (src, dst) = (src.into(), dst.into());
            let extensions = first.into_iter().chain(chain).collect();
            Network { v6: true, src, dst, ident: 0, header, extensions }
        },
    )
}

/// An extension header of the common form (RFC 8200 section 4.2), of any content.
fn options(number: u8) -> impl Strategy<Value = (u8, Vec<u8>)> {
    vec(any::<[u8; 8]>(), 1..4).prop_map(move |words| {
        let mut bytes = words.concat();
        (bytes[0], bytes[1]) = (0, words.len() as u8 - 1);
        (number, bytes)
    })
}

/// AH (RFC 4302 section 2): in words of four bytes, less two.
fn authentication() -> impl Strategy<Value = (u8, Vec<u8>)> {
    vec(any::<[u8; 4]>(), 3..8).prop_map(|words| {
        let mut bytes = words.concat();
        (bytes[0], bytes[1]) = (0, words.len() as u8 - 2);
        (51, bytes)
    })
}

/// A fragment that is the whole (RFC 6946).
fn atomic() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (any::<u8>(), any::<[u8; 4]>()).prop_map(|(reserved, id)| {
        let mut bytes = vec![0, reserved, 0, 0];
        bytes.extend(id);
        (44, bytes)
    })
}

impl Network {
    /// The packet up to the transport header.
    fn head(&self, segment: &Segment) -> Vec<u8> {
        let transport = if segment.is_tcp { 6 } else { 17 };
        let behind: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
            + segment.header.len()
            + segment.payload.len();
        let numbers = self.extensions.iter().map(|(number, _)| *number).chain([transport]);
        let mut numbers = numbers.collect::<Vec<_>>().into_iter();
        let first = numbers.next().unwrap();
        let mut head = self.header.clone();
        if self.v6 {
            head[4..6].copy_from_slice(&(behind as u16).to_be_bytes());
            head[6] = first;
        } else {
            let total = (head.len() + behind) as u16;
            head[2..4].copy_from_slice(&total.to_be_bytes());
            head[9] = first;
        }
        for ((_, bytes), next) in self.extensions.iter().zip(numbers) {
            head.push(next);
            head.extend(&bytes[1..]);
        }
        head
    }
}

/// Ethernet with up to three tags, Linux' "any" device, or nothing; padding behind.
fn built() -> impl Strategy<Value = Built> {
    let tag = (prop::sample::select(&[0x8100_u16, 0x88a8, 0x9100][..]), any::<u16>());
    let link = prop_oneof![
        6 => vec(tag, 0..=3).prop_map(|tags| (1_u16, tags)),
        1 => Just((113, Vec::new())),
        1 => Just((101, Vec::new())),
    ];
    let network = prop_oneof![ipv4(), ipv6()];
    (link, array::uniform12(any::<u8>()), network, segment(), vec(any::<u8>(), 0..20)).prop_map(
        |((link, tags), macs, network, segment, padding)| {
            let kind: u16 = if network.v6 { 0x86dd } else { 0x0800 };
            let mut bytes = match link {
                1 => macs.to_vec(),
                // Packet type, Ethernet, six bytes of address.
                113 => vec![0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0],
                _ => Vec::new(),
            };
            for (number, control) in tags {
                bytes.extend([number.to_be_bytes(), control.to_be_bytes()].concat());
            }
            if link != 101 {
                bytes.extend(kind.to_be_bytes());
            }
            bytes.extend(network.head(&segment));
            let fixed = bytes.len() + segment.fixed;
            bytes.extend(&segment.header);
            let start = bytes.len();
            bytes.extend(&segment.payload);
            bytes.extend(padding);
            let Network { src, dst, ident, .. } = network;
            let Segment { is_tcp, ports, tcp, payload, .. } = segment;
            Built { link, bytes, src, dst, ident, is_tcp, ports, tcp, fixed, start, payload }
        },
    )
}

impl Built {
    /// Decodes the first `captured` bytes and compares with what was built.
    fn check(&self, captured: usize) {
        let (data, wire_len) = (&self.bytes[..captured], self.bytes.len() as u32);
        let cut = Frame { wire_len, ..frame(self.link, data) };
        check_one(&cut);
        let mut decoder = Decoder::default();
        let decoded = decoder.decode(&cut);
        if captured < self.fixed {
            assert!(decoded.is_err(), "{decoded:?}");
            return;
        }
        let packet = decoded.unwrap();
        assert_eq!(
            (packet.src.ip(), packet.dst.ip(), packet.ident),
            (self.src, self.dst, self.ident)
        );
        assert_eq!(packet.tunnel, None);
        let said = match packet.body {
            Body::Tcp(tcp) => (true, (tcp.src_port, tcp.dst_port), (tcp.seq, tcp.ack, tcp.flags.0)),
            Body::Udp(udp) => (false, (udp.src_port, udp.dst_port), (0, 0, 0)),
            other => panic!("{other:?}"),
        };
        assert_eq!(said, (self.is_tcp, self.ports, self.tcp));
        let here = captured.saturating_sub(self.start).min(self.payload.len());
        assert_eq!(payload(&packet), (&self.payload[..here], self.payload.len() as u32));
    }

    /// What etherparse makes of the first `captured` bytes must come out the same here. False when
    /// it makes nothing of them.
    fn compare_cut(&self, captured: usize) -> bool {
        let data = &self.bytes[..captured];
        let sliced = match self.link {
            1 => LaxSlicedPacket::from_ethernet(data).ok(),
            101 => LaxSlicedPacket::from_ip(data).ok(),
            _ => None,
        };
        let Some(sliced) = sliced else { return false };
        let (Some(net), Some(transport)) = (&sliced.net, &sliced.transport) else { return false };
        let (src, dst): (IpAddr, IpAddr) = match net {
            LaxNetSlice::Ipv4(ip) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            LaxNetSlice::Ipv6(ip) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            LaxNetSlice::Arp(_) => return false,
        };
        let wire_len = self.bytes.len() as u32;
        let mut decoder = Decoder::default();
        let packet = decoder.decode(&Frame { wire_len, ..frame(self.link, data) }).unwrap();
        assert_eq!((packet.src.ip(), packet.dst.ip()), (src, dst));
        match transport {
            TransportSlice::Tcp(theirs) => compare_tcp(&packet, theirs),
            TransportSlice::Udp(theirs) => compare_udp(&packet, theirs),
            _ => return false,
        }
        true
    }
}

/// One change to a frame's bytes.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Set(u8),
    /// A little more or less: lengths that nearly fit.
    Shift(i8),
    Insert(u8),
    Remove,
    /// Nothing from here on.
    End,
}

fn damage() -> impl Strategy<Value = (Index, Damage)> {
    let sort = prop_oneof![
        3 => any::<u8>().prop_map(Damage::Set),
        4 => (-6..=6_i8).prop_map(Damage::Shift),
        1 => any::<u8>().prop_map(Damage::Insert),
        1 => Just(Damage::Remove),
        1 => Just(Damage::End),
    ];
    (any::<Index>(), sort)
}

fn hurt(bytes: &mut Vec<u8>, at: Index, damage: Damage) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match damage {
        Damage::Set(value) => bytes[at] = value,
        Damage::Shift(by) => bytes[at] = bytes[at].wrapping_add_signed(by),
        Damage::Insert(value) => bytes.insert(at, value),
        Damage::Remove => drop(bytes.remove(at)),
        Damage::End => bytes.truncate(at),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whole_frames_say_what_was_built(built in built()) {
        built.check(built.bytes.len());
        prop_assert!(compare_at_link(built.link, &built.bytes), "etherparse reads them all");
    }

    #[test]
    fn cut_frames_say_what_was_captured(built in built(), keep in any::<Index>()) {
        let captured = keep.index(built.bytes.len() + 1);
        built.check(captured);
        let compared = built.compare_cut(captured);
        // With all of the header there's nothing that etherparse couldn't read.
        prop_assert!(compared || captured < built.start || built.link == 113);
    }

    #[test]
    fn damaged_frames_are_read_alike(
        built in built(),
        changes in vec(damage(), 1..5),
    ) {
        let mut bytes = built.bytes;
        for (at, change) in changes {
            hurt(&mut bytes, at, change);
        }
        check_one(&frame(built.link, &bytes));
        compare_at_link(built.link, &bytes);
    }

    #[test]
    fn any_values_in_the_headers_are_read_alike(
        built in built(),
        values in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        // Lengths, versions and protocols are where readers part: the first 60 bytes of the packet.
        let mut bytes = built.bytes;
        let headers = bytes.len().min(74);
        for (at, value) in values {
            bytes[at.index(headers)] = value;
        }
        check_one(&frame(built.link, &bytes));
        compare_at_link(built.link, &bytes);
    }
}
