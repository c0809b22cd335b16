//! Decodes every capture of the shared corpus and compares the TCP conversations found with those
//! that the corpus's ground truth lists. Skipped where the corpus is absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::Path,
};

use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    decode::{Body, Decoder, Packet},
    source::{Frame, LinkType},
};
use serde_json::Value;

/// Source and destination.
type Way = ((IpAddr, u16), (IpAddr, u16));

/// Segments or datagrams, and payload bytes on the wire.
type Volume = (u64, u64);

/// What a capture holds, or should hold.
#[derive(Default)]
struct Census {
    tcp: BTreeMap<Way, Volume>,
    udp: BTreeMap<Way, Volume>,
    /// Frame number, type, code and the quoted packet.
    unreachable: BTreeSet<(u64, u8, u8, Way)>,
    undecoded: BTreeMap<&'static str, u64>,
    links: BTreeSet<u16>,
}

#[test]
fn finds_the_packets_of_the_ground_truth() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if !root.is_dir() {
        eprintln!("skipped: no corpus at {}", root.display());
        return;
    }
    let mut files = 0;
    let mut ways = 0;
    let mut differ = Vec::new();
    for list in ["truth.jsonl", "truth-mutants.jsonl"] {
        for line in fs::read_to_string(root.join(list)).unwrap().lines() {
            let truth: Value = serde_json::from_str(line).unwrap();
            let file = truth["file"].as_str().unwrap();
            let Some(seen) = decode(&root.join(file)) else {
                eprintln!("{file}: container not read by this test");
                continue;
            };
            files += 1;
            let expected = census(&truth);
            ways += expected.tcp.len() + expected.udp.len() + expected.unreachable.len();
            let mut report = compare("tcp", &seen.tcp, &expected.tcp);
            report += &compare("udp", &seen.udp, &expected.udp);
            for row in seen.unreachable.symmetric_difference(&expected.unreachable) {
                let known = expected.unreachable.contains(row);
                report += &format!(
                    "  icmp {}: {row:?}\n",
                    if known { "missing" } else { "extra" }
                );
            }
            if !report.is_empty() {
                let lines: Vec<_> = report.lines().take(6).collect();
                eprintln!(
                    "{file}\n  links {:?} undecoded {:?} {:?}\n{}",
                    seen.links,
                    seen.undecoded,
                    encaps(&truth),
                    lines.join("\n")
                );
                differ.push(file.to_owned());
            }
        }
    }
    eprintln!("{files} files, {ways} rows, {} files differ", differ.len());
}

fn compare(name: &str, seen: &BTreeMap<Way, Volume>, expected: &BTreeMap<Way, Volume>) -> String {
    let ways: BTreeSet<_> = seen.keys().chain(expected.keys()).collect();
    ways.into_iter()
        .map(|way| (way, seen.get(way), expected.get(way)))
        .filter(|(_, seen, expected)| seen != expected)
        .map(|(way, seen, expected)| format!("  {name} {way:?}: {seen:?}, expected {expected:?}\n"))
        .collect()
}

fn encaps(truth: &Value) -> BTreeSet<&str> {
    let flows = truth["flows"].as_array().unwrap();
    flows.iter().filter_map(|f| f["encap"].as_str()).collect()
}

fn census(truth: &Value) -> Census {
    let mut census = Census::default();
    let rows = |key: &str| truth[key].as_array().unwrap().iter();
    let end = |row: &Value, who: &str| {
        let ip = row[format!("{who}_ip")].as_str()?;
        let port = row[format!("{who}_port")].as_u64()?;
        Some((ip.parse().unwrap(), u16::try_from(port).unwrap()))
    };
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or(0);
    let mut count = |udp: bool, row: &Value, from: &str, to: &str, way: &str| {
        let packets = number(row, &format!("pkts_{way}"));
        let bytes = number(row, &format!("bytes_{way}"));
        if packets > 0 {
            let key = (end(row, from).unwrap(), end(row, to).unwrap());
            let map = if udp {
                &mut census.udp
            } else {
                &mut census.tcp
            };
            let volume = map.entry(key).or_default();
            *volume = (volume.0 + packets, volume.1 + bytes);
        }
    };
    for row in rows("flows") {
        count(false, row, "client", "server", "c2s");
        count(false, row, "server", "client", "s2c");
    }
    for row in rows("udp_flows").filter(|row| row["tunnel"] != true) {
        count(true, row, "client", "server", "c2s");
        count(true, row, "server", "client", "s2c");
    }
    for row in rows("icmp_unreachable") {
        if let (Some(src), Some(dst)) = (end(row, "src"), end(row, "dst")) {
            let (kind, code) = (number(row, "type") as u8, number(row, "code") as u8);
            census
                .unreachable
                .insert((number(row, "frame"), kind, code, (src, dst)));
        }
    }
    census
}

fn decode(file: &Path) -> Option<Census> {
    let bytes = fs::read(file).unwrap();
    let mut seen = Census::default();
    let mut decoder = Decoder::default();
    let mut number = 0;
    read(&bytes, |link, nanos, wire_len, data| {
        number += 1;
        seen.links.insert(link);
        let frame = Frame {
            stamp: Stamp {
                time: Timestamp::from_nanos(nanos),
                frame: FrameId::new(0, number),
            },
            link: LinkType(link),
            wire_len,
            data,
        };
        match decoder.decode(&frame) {
            Ok(packet) => seen.note(number, &packet),
            Err(reason) => *seen.undecoded.entry(reason.reason()).or_default() += 1,
        }
    })?;
    Some(seen)
}

impl Census {
    fn note(&mut self, number: u64, packet: &Packet<'_>) {
        let way = |src, dst| ((packet.src, src), (packet.dst, dst));
        let add = |volume: &mut Volume, bytes: u32| {
            *volume = (volume.0 + 1, volume.1 + u64::from(bytes));
        };
        match packet.body {
            Body::Tcp(tcp) => {
                let way = way(tcp.src_port, tcp.dst_port);
                add(self.tcp.entry(way).or_default(), tcp.payload_len);
            }
            Body::Udp(udp) => {
                let way = way(udp.src_port, udp.dst_port);
                add(self.udp.entry(way).or_default(), 0);
            }
            Body::IcmpError(error) if error.kind == if error.v6 { 1 } else { 3 } => {
                let quoted = error.quoted;
                let way = ((quoted.src, quoted.src_port), (quoted.dst, quoted.dst_port));
                self.unreachable
                    .insert((number, error.kind, error.code, way));
            }
            Body::IcmpError(_) | Body::Other(_) => {}
        }
    }
}

/// Calls back with link type, nanoseconds, wire length and bytes. A minimal reader, only as strict
/// as the corpus needs. `None` when it is neither pcap nor pcapng.
fn read<'a>(bytes: &'a [u8], each: impl FnMut(u16, u64, u32, &'a [u8])) -> Option<()> {
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
        Some(if self.0 {
            u32::from_be_bytes(raw)
        } else {
            u32::from_le_bytes(raw)
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let raw = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.0 {
            u16::from_be_bytes(raw)
        } else {
            u16::from_le_bytes(raw)
        })
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
            1 => interfaces.push((
                endian.u16(body, 0)?,
                endian.u32(body, 4)?,
                ticks(endian, body),
            )),
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
                let len = if snap == 0 {
                    wire_len
                } else {
                    wire_len.min(snap)
                } as usize;
                each(
                    link,
                    last,
                    wire_len,
                    body.get(4..4 + len.min(body.len() - 4))?,
                );
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
