//! IP fragments on both sides of a cut: scanned in stretches and merged in any grouping, a capture
//! tells what one scan over it tells.

#![allow(clippy::unwrap_used)]

use std::{fs, ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    extract::{Fact, Observation},
    scan::{Limits, Partial, Place, Scanner},
    source::{Capture, Frame, LinkType},
};
use proptest::{collection::vec, prelude::*, sample::Index};

#[derive(Clone, Debug)]
struct Sent {
    at: Timestamp,
    link: LinkType,
    wire_len: u32,
    bytes: Vec<u8>,
}

/// Counters, connections and observations, as text.
fn told(partial: Partial, mut seen: Vec<Observation>) -> (String, Vec<String>) {
    let census = partial.conclude(&mut seen);
    let mut seen: Vec<_> = seen.iter().map(|one| serde_json::to_string(one).unwrap()).collect();
    seen.sort();
    (format!("{:#?} {:#?}", census.counters, census.connections), seen)
}

fn scan(frames: &[Sent], first: usize, place: Place, seen: &mut Vec<Observation>) -> Partial {
    let mut scanner =
        Scanner::new(place, Limits { fold: false, ..Limits::default() }, Arc::default());
    for (number, sent) in (first as u64 + 1..).zip(frames) {
        let stamp = Stamp { time: sent.at, frame: FrameId::new(0, number) };
        let Sent { link, wire_len, ref bytes, .. } = *sent;
        scanner.push(&Frame { stamp, link, wire_len, data: bytes }, seen);
    }
    scanner.finish()
}

/// Scans the stretches between `cuts` (sorted) apart and merges neighbours as `order` says.
fn cut(frames: &[Sent], cuts: &[usize], order: &[usize]) -> (String, Vec<String>) {
    let mut seen = Vec::new();
    let bounds: Vec<_> = [0].iter().chain(cuts).chain(&[frames.len()]).copied().collect();
    let place = |at| if at == 0 { Place::Beginning } else { Place::Later };
    let mut partials: Vec<_> = (0..)
        .zip(bounds.windows(2))
        .map(|(at, ends)| scan(&frames[ends[0]..ends[1]], ends[0], place(at), &mut seen))
        .collect();
    for pick in order.iter().cycle() {
        if partials.len() == 1 {
            break;
        }
        let at = pick % (partials.len() - 1);
        let later = partials.remove(at + 1);
        let earlier = partials.remove(at);
        partials.insert(at, earlier.merge(later, &mut seen));
    }
    told(partials.pop().unwrap(), seen)
}

/// The IPv4 packets of a UDP datagram, in fragments of `size` bytes.
fn fragments(ident: u16, ports: [u16; 2], payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let len = 8 + payload.len() as u16;
    let header = [ports[0], ports[1], len, 0].map(u16::to_be_bytes).concat();
    let datagram = [&header, payload].concat();
    let pieces: Vec<_> = datagram.chunks(size).collect();
    (0..)
        .zip(&pieces)
        .map(|(at, piece)| {
            let more = if at + 1 < pieces.len() { 0x2000 } else { 0 };
            let place = more | (at * size / 8) as u16;
            let len = 20 + piece.len() as u16;
            let words = [0x4500, len, ident, place, 0x4011, 0, 0x0a00, 1, 0x0a00, 2];
            [&words.map(u16::to_be_bytes).concat(), *piece].concat()
        })
        .collect()
}

/// A DNS query for a name of this length.
fn query(id: u8, label: usize) -> Vec<u8> {
    let head = [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label as u8];
    let name = vec![b'a' + id % 26; label];
    [&head[..], &name, &[4, b't', b'e', b's', b't', 0, 0, 1, 0, 1]].concat()
}

#[derive(Clone, Debug)]
enum Step {
    /// A datagram, in fragments of so many units of eight bytes.
    Datagram { ident: u16, port: u16, id: u8, label: usize, units: usize },
    /// A frame again.
    Copy(Index),
    /// A frame is lost.
    Lose(Index),
    /// Two frames change places.
    Swap(Index, Index),
}

fn step() -> impl Strategy<Value = Step> {
    let datagram = (0..4_u16, 5000..5003_u16, 0..4_u8, 20..60_usize, 2..20_usize).prop_map(
        |(ident, port, id, label, units)| Step::Datagram { ident, port, id, label, units },
    );
    prop_oneof![
        6 => datagram,
        1 => any::<Index>().prop_map(Step::Copy),
        1 => any::<Index>().prop_map(Step::Lose),
        1 => any::<(Index, Index)>().prop_map(|(a, b)| Step::Swap(a, b)),
    ]
}

/// Packets, in the order of capture.
fn packets(steps: Vec<Step>) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for step in steps {
        match step {
            Step::Datagram { ident, port, id, label, units } => {
                packets.extend(fragments(ident, [port, 53], &query(id, label), units * 8));
            }
            Step::Copy(at) if !packets.is_empty() => packets.push(at.get(&packets).clone()),
            Step::Lose(at) if !packets.is_empty() => {
                packets.remove(at.index(packets.len()));
            }
            Step::Swap(a, b) if !packets.is_empty() => {
                let len = packets.len();
                packets.swap(a.index(len), b.index(len));
            }
            _ => {}
        }
    }
    packets
}

fn spread(packets: Vec<Vec<u8>>, gaps: &[u64]) -> Vec<Sent> {
    let mut at = Timestamp::from_parts(1_700_000_000, 0);
    packets
        .into_iter()
        .zip(gaps.iter().cycle())
        .map(|(bytes, &gap)| {
            at = at.plus(Duration::from_millis(gap));
            Sent { at, link: LinkType::RAW, wire_len: bytes.len() as u32, bytes }
        })
        .collect()
}

#[test]
fn a_datagram_cut_in_two_is_read_once() {
    let pieces = fragments(7, [5000, 53], &query(1, 60), 40);
    assert_eq!(pieces.len(), 3);
    let frames = spread(pieces, &[1]);
    for cuts in [vec![1], vec![2], vec![1, 2], vec![0, 1, 1, 2, 3]] {
        for pick in [0, usize::MAX] {
            let (census, seen) = cut(&frames, &cuts, &[pick]);
            assert_eq!(seen.len(), 1, "{cuts:?}");
            assert!(census.contains("\"fragment_held\": 2"), "{census}");
        }
    }
    let mut seen = Vec::new();
    scan(&frames, 0, Place::Beginning, &mut seen);
    assert!(matches!(&seen[..], [Observation { fact: Fact::Dns { .. }, frame: 3, .. }]));
}

#[test]
fn no_frame_is_lost_when_too_many_wait() {
    let mut packets = Vec::new();
    for ident in 0..3000 {
        packets.push(fragments(ident, [5000, 53], &query(1, 60), 40).remove(1));
        packets.extend(fragments(ident, [5000, 53], b"no DNS", 80));
    }
    let frames = spread(packets, &[0]);
    let partial = scan(&frames, 0, Place::Later, &mut Vec::new());
    let census = partial.conclude(&mut Vec::new());
    assert_eq!(census.counters.frames, 6000);
    assert_eq!(census.counters.undecoded["fragment_held"], 3000);
    assert_eq!(
        census.connections[0].tally.sides.iter().map(|side| side.packets).sum::<u64>(),
        3000
    );
}

#[test]
fn captures_with_fragments_may_be_cut_anywhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(list) = fs::read_to_string(folder.join("truth.jsonl")) else {
        return println!("skipped: no captures at {}", folder.display());
    };
    let mut compared = 0;
    for line in list.lines() {
        let truth: serde_json::Value = serde_json::from_str(line).unwrap();
        let file = truth["file"].as_str().unwrap();
        let frames = read(&folder.join(file));
        let mut seen = Vec::new();
        let whole = scan(&frames, 0, Place::Beginning, &mut seen);
        if !whole.counters.undecoded.keys().any(|why| why.starts_with("fragment")) {
            continue;
        }
        compared += 1;
        let whole = told(whole, seen);
        let step = frames.len() / 40 + 1;
        for at in (0..=frames.len()).step_by(step) {
            assert!(cut(&frames, &[at], &[0]) == whole, "{file} cut at {at}");
        }
        let cuts: Vec<_> = (0..frames.len()).step_by(step).collect();
        for pick in [0, usize::MAX, 5] {
            assert!(cut(&frames, &cuts, &[pick]) == whole, "{file} cut every {step}, {pick}");
        }
    }
    println!("{compared} captures with fragments cut");
    assert!(compared > 5);
}

fn read(path: &Path) -> Vec<Sent> {
    let mut frames = Vec::new();
    let mut capture = Capture::open(path, 0).unwrap();
    // A damaged capture is read up to the damage.
    let _ = capture.for_each(|frame| {
        let Frame { stamp, link, wire_len, data } = frame;
        frames.push(Sent { at: stamp.time, link, wire_len, bytes: data.to_vec() });
        ControlFlow::Continue(())
    });
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_tells_the_same(
        steps in vec(step(), 1..14),
        gaps in vec(prop_oneof![Just(0_u64), Just(1), Just(30), Just(900), Just(5000), Just(20_000), Just(31_000)], 1..8),
        cuts in vec(any::<Index>(), 0..5),
        order in vec(any::<usize>(), 1..4),
    ) {
        let frames = spread(packets(steps), &gaps);
        let mut cuts: Vec<_> = cuts.iter().map(|at| at.index(frames.len() + 1)).collect();
        cuts.sort_unstable();
        let mut seen = Vec::new();
        let whole = scan(&frames, 0, Place::Beginning, &mut seen);
        let whole = told(whole, seen);
        let pieces = cut(&frames, &cuts, &order);
        prop_assert_eq!(&whole.1, &pieces.1);
        prop_assert_eq!(whole.0, pieces.0);
    }
}
