//! Decodes every capture of the shared corpus and compares what is found with its ground truth,
//! then the same frames damaged. Skipped where the corpus is absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    decode::{Body, Decoder, Packet},
    source::{Frame, LinkType},
};
use serde_json::Value;

use crate::{
    capture::read,
    checks::{check_one, compare_with_etherparse},
};

/// Source and destination.
type Way = ((IpAddr, u16), (IpAddr, u16));

/// Segments or datagrams, and payload bytes on the wire.
type Volume = (u64, u64);

/// What a capture holds, or should hold.
#[derive(Default)]
struct Census {
    tcp: BTreeMap<Way, Volume>,
    udp: BTreeMap<Way, Volume>,
    /// Type, code and the quoted packet.
    unreachable: BTreeMap<(u64, u64, Way), ()>,
    /// UDP ways of frames with several IP headers: the truth has the outer and the inner ones.
    tunneled: BTreeSet<Way>,
    undecoded: BTreeMap<&'static str, u64>,
}

#[test]
fn finds_the_packets_of_the_ground_truth() {
    let Some(root) = corpus() else { return };
    let mut files = 0;
    let mut rows = 0;
    let mut differ = Vec::new();
    for truth in truths(&root) {
        let file = truth["file"].as_str().unwrap();
        let Some(mut seen) = decode(&root.join(file)) else {
            eprintln!("{file}: container not read by this test");
            continue;
        };
        files += 1;
        let expected = census(&truth);
        seen.udp.retain(|way, _| !expected.tunneled.contains(way));
        rows += expected.tcp.len() + expected.udp.len() + expected.unreachable.len();
        let mut report = compare("tcp", &seen.tcp, &expected.tcp);
        report += &compare("udp", &seen.udp, &expected.udp);
        report += &compare("icmp", &seen.unreachable, &expected.unreachable);
        let explained = EXPLAINED.iter().any(|(end, _)| file.ends_with(end));
        if report.is_empty() == explained {
            let lines: Vec<_> = report.lines().take(6).collect();
            differ.push(format!("{file} {:?}\n{}", seen.undecoded, lines.join("\n")));
        }
    }
    eprintln!("{files} files, {rows} rows");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn damaged_frames_of_real_captures_never_panic() {
    let Some(root) = corpus() else { return };
    let mut random = Random(1);
    let mut held = Decoder::default();
    for truth in truths(&root) {
        let bytes = fs::read(root.join(truth["file"].as_str().unwrap())).unwrap();
        read(&bytes, |link, nanos, wire_len, data| {
            let frame = frame(link, nanos, wire_len, data);
            check_one(&frame);
            if link == 1 {
                compare_with_etherparse(data);
            }
            for _ in 0..8 {
                let mut copy = data.to_vec();
                for _ in 0..=random.below(3) {
                    let reach = copy.len().min(120);
                    if let Some(byte) = copy.get_mut(random.below(reach)) {
                        *byte = random.below(256) as u8;
                    }
                }
                if random.below(4) == 0 {
                    copy.truncate(random.below(copy.len()));
                }
                let frame = Frame { data: &copy, ..frame };
                check_one(&frame);
                let _ = held.decode(&frame);
                if link == 1 {
                    compare_with_etherparse(&copy);
                }
            }
        });
    }
}

/// Where this decoder and the ground truth (tshark) differ, by the file's end, and why.
const EXPLAINED: [(&str, &str); 9] = [
    ("filestore-5408/input.pcap", "frames sampled into sFlow datagrams aren't packets of the link"),
    ("pcap/arkime_synthetic.pcap", "UDP length 0 is taken as \"up to the end\" (RFC 2675)"),
    ("data/top-https.mcap", "frame shorter than its IPv6 length: that is what the wire had"),
    ("tests/bgp-aigp.pcap", "Juniper's link types aren't supported"),
    ("tests/esp_truncated.pcap", "first fragment of an impossible length"),
    ("ipv4/fragmented-4.pcap", "fragments that contradict each other are dropped"),
    ("Traces/pppoe-over-qinq.pcap", "frames shorter than their IPv4 length"),
    ("tunnels/gre-aruba-amsdu.pcap", "only the first packet of an 802.11 aggregate is given"),
    ("gtp/gtp9_unknown_or_too_short_payload.pcap", "frames shorter than their IPv4 length"),
];

fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    name: &str,
    seen: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> String {
    let rows: BTreeSet<_> = seen.keys().chain(expected.keys()).collect();
    rows.into_iter()
        .map(|row| (row, seen.get(row), expected.get(row)))
        .filter(|(_, seen, expected)| seen != expected)
        .map(|(row, seen, expected)| format!("  {name} {row:?}: {seen:?}, expected {expected:?}\n"))
        .collect()
}

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if !root.is_dir() {
        eprintln!("skipped: no corpus at {}", root.display());
        return None;
    }
    Some(root)
}

fn truths(root: &Path) -> impl Iterator<Item = Value> {
    ["truth.jsonl", "truth-mutants.jsonl"]
        .map(|list| fs::read_to_string(root.join(list)).unwrap())
        .into_iter()
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).unwrap())
}

fn frame(link: u16, nanos: u64, wire_len: u32, data: &[u8]) -> Frame<'_> {
    Frame {
        stamp: Stamp { time: Timestamp::from_nanos(nanos), frame: FrameId::default() },
        link: LinkType(link),
        wire_len,
        data,
    }
}

/// Knuth's linear congruential generator: the same numbers in each run.
struct Random(u64);

impl Random {
    /// Below `n`, or 0.
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
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
    for row in rows("udp_flows") {
        if row["tunnel"] == true {
            let (client, server) = (end(row, "client").unwrap(), end(row, "server").unwrap());
            census.tunneled.extend([(client, server), (server, client)]);
        }
    }
    let mut count = |udp: bool, row: &Value, from: &str, to: &str, way: &str| {
        let packets = number(row, &format!("pkts_{way}"));
        let bytes = number(row, &format!("bytes_{way}"));
        if packets > 0 {
            let key = (end(row, from).unwrap(), end(row, to).unwrap());
            let map = if udp { &mut census.udp } else { &mut census.tcp };
            let volume = map.entry(key).or_default();
            *volume = (volume.0 + packets, volume.1 + bytes);
        }
    };
    for row in rows("udp_flows").filter(|row| row["tunnel"] != true) {
        count(true, row, "client", "server", "c2s");
        count(true, row, "server", "client", "s2c");
    }
    for row in rows("flows") {
        count(false, row, "client", "server", "c2s");
        count(false, row, "server", "client", "s2c");
    }
    for row in rows("icmp_unreachable") {
        if let (Some(src), Some(dst)) = (end(row, "src"), end(row, "dst")) {
            let key = (number(row, "type"), number(row, "code"), (src, dst));
            census.unreachable.insert(key, ());
        }
    }
    census
}

fn decode(file: &Path) -> Option<Census> {
    let bytes = fs::read(file).unwrap();
    let mut seen = Census::default();
    let mut decoder = Decoder::default();
    read(&bytes, |link, nanos, wire_len, data| {
        match decoder.decode(&frame(link, nanos, wire_len, data)) {
            Ok(packet) => seen.note(&packet),
            Err(reason) => *seen.undecoded.entry(reason.reason()).or_default() += 1,
        }
    })?;
    Some(seen)
}

impl Census {
    fn note(&mut self, packet: &Packet<'_>) {
        let way = |src, dst| ((packet.src.ip(), src), (packet.dst.ip(), dst));
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
                let key = (error.kind.into(), error.code.into(), way);
                self.unreachable.insert(key, ());
            }
            Body::IcmpError(_) | Body::Other(_) => {}
        }
    }
}
