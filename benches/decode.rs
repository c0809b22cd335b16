//! What decoding a frame costs, by its layout: from the link layer to the innermost TCP payload.
//!
//! Each layout is a batch of frames with addresses and ports of their own, small enough to stay in
//! the cache: what memory costs is in the `audit` bench.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use egress_auditor::{
    base::Stamp,
    decode::{Body, Decoder, Packet},
    source::{Frame, LinkType},
};

/// Frames of each layout.
const FRAMES: u16 = 64;

/// Payload of each: a full segment.
const PAYLOAD: usize = 1200;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn tcp(number: u16) -> Vec<u8> {
    let mut segment = [(40_000 + number).to_be_bytes(), 443_u16.to_be_bytes()].concat();
    // Sequence numbers, eight words of header, ACK and PSH, then timestamps as nearly all have.
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 0]);
    segment.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    segment.extend([0x17; PAYLOAD]);
    segment
}

fn ipv4(number: u16, protocol: u8, options: &[u8], body: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let [high, low] = number.to_be_bytes();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + body.len()) as u16).to_be_bytes());
    packet.extend([high, low, 0x40, 0, 64, protocol, 0, 0, 10, 0, high, low, 192, 0, 2, 7]);
    [&packet, options, body].concat()
}

fn ipv6(number: u16, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([protocol, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(number.to_be_bytes());
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    [&packet, body].concat()
}

fn ethernet(tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let kind: &[u8] = if packet[0] >> 4 == 6 { &[0x86, 0xdd] } else { &[8, 0] };
    [&MACS, tags, kind, packet].concat()
}

fn udp(port: u16, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16 + 8).to_be_bytes();
    let [high, low] = port.to_be_bytes();
    [&[0xc0, 0, high, low, len[0], len[1], 0, 0], body].concat()
}

/// Link type and frames of a layout.
type Layout = (&'static str, u16, fn(u16) -> Vec<u8>);

const LAYOUTS: [Layout; 10] = [
    ("plain", 1, |n| ethernet(&[], &ipv4(n, 6, &[], &tcp(n)))),
    ("vlan", 1, |n| ethernet(&[0x81, 0, 0, 5], &ipv4(n, 6, &[], &tcp(n)))),
    ("qinq", 1, |n| ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &ipv4(n, 6, &[], &tcp(n)))),
    ("ipv6", 1, |n| ethernet(&[], &ipv6(n, 6, &tcp(n)))),
    ("ipv4_options", 1, |n| ethernet(&[], &ipv4(n, 6, &[1; 4], &tcp(n)))),
    ("ipv6_extension", 1, |n| {
        ethernet(&[], &ipv6(n, 60, &[&[6, 0, 1, 4, 0, 0, 0, 0], &*tcp(n)].concat()))
    }),
    ("vxlan", 1, |n| {
        let inner = ethernet(&[], &ipv4(n, 6, &[], &tcp(n)));
        let body = udp(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &*inner].concat());
        ethernet(&[], &ipv4(n, 17, &[], &body))
    }),
    ("geneve_ipv6", 1, |n| {
        let inner = ethernet(&[], &ipv6(n, 6, &tcp(n)));
        let body = udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0], &*inner].concat());
        ethernet(&[], &ipv6(n, 17, &body))
    }),
    ("gre", 1, |n| {
        let inner = ipv4(n, 6, &[], &tcp(n));
        ethernet(&[], &ipv4(n, 47, &[], &[&[0, 0, 8, 0], &*inner].concat()))
    }),
    ("linux_any", 276, |n| {
        let head = [&[8, 0], &[0_u8; 18][..]].concat();
        [&*head, &ipv4(n, 6, &[], &tcp(n))].concat()
    }),
];

/// Something that depends on all that was decoded.
fn digest(packet: &Packet<'_>) -> usize {
    match packet.body {
        Body::Tcp(tcp) => {
            tcp.payload.len() + usize::from(tcp.src_port) + usize::from(packet.src.ip().is_ipv4())
        }
        _ => 0,
    }
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(FRAMES.into()));
    for (name, link, make) in LAYOUTS {
        let frames: Vec<Vec<u8>> = (0..FRAMES).map(make).collect();
        let frames: Vec<Frame<'_>> = frames
            .iter()
            .map(|data| {
                let (stamp, wire_len) = (Stamp::default(), data.len() as u32);
                Frame { stamp, link: LinkType(link), wire_len, data }
            })
            .collect();
        let mut decoder = Decoder::default();
        for frame in &frames {
            let packet = decoder.decode(frame).unwrap();
            assert!(digest(&packet) > PAYLOAD, "{name}: {packet:?}");
        }
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut all = 0;
                for frame in &frames {
                    all += decoder.decode(black_box(frame)).map_or(0, |packet| digest(&packet));
                }
                all
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
