//! Damaged captures: never a panic, always the report of what could be read, and a message that
//! names the file and the byte.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/command.rs"]
mod run;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{OwnedFrame, Setting, cases, frames_of, name, scan};
use egress_auditor::source::{DamageKind, Records};
use run::{Run, run, run_with};
use serde_json::Value;

/// Small and repeatable (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

/// A whole audit; gives the report as JSON and as text.
fn audit(frames: &[OwnedFrame], setting: &Setting) -> (String, String) {
    let mut seen = Vec::new();
    let resolvers: Arc<[_]> = setting.resolvers();
    let report = setting.report(&scan(frames, &resolvers, &mut seen));
    for observation in &seen {
        serde_json::to_string(observation).unwrap();
    }
    (common::json(&report), common::text(&report))
}

fn for_each_case(mut test: impl FnMut(&str, Vec<u8>, &Setting, &mut Random)) {
    let mut random = Random(7);
    let classic = |case: &PathBuf| case.join("capture.pcap").exists();
    for case in cases().into_iter().filter(classic) {
        let bytes = fs::read(case.join("capture.pcap")).unwrap();
        test(name(&case), bytes, &Setting::of(&case), &mut random);
    }
}

/// These captures have the classic header: 24 bytes, then records of 16 bytes and data.
const HEADER: usize = 24;
const RECORD: usize = 16;

/// Where the records begin, and the end of the last.
fn bounds(bytes: &[u8]) -> Vec<usize> {
    let mut bounds = vec![HEADER];
    let mut records = Records::new(bytes, 0).unwrap();
    while records.next().unwrap().is_some() {
        bounds.push(usize::try_from(records.offset()).unwrap());
    }
    bounds
}

#[test]
fn cut_short() {
    for_each_case(|name, bytes, setting, random| {
        let (whole, bounds) = (frames_of(&bytes), bounds(&bytes));
        let mut lengths: Vec<_> = (0..30).map(|_| random.below(bytes.len())).collect();
        lengths.extend(0..HEADER + 2);
        lengths.extend(bounds.iter().flat_map(|&at| [at - 1, at, at + 1, at + RECORD]));
        lengths.retain(|&len| len <= bytes.len());
        for len in lengths {
            let cut = &bytes[..len];
            let read = frames_of(cut);
            let count = bounds.iter().filter(|&&at| at > HEADER && at <= len).count();
            assert_eq!(read, whole[..count], "{name} cut at {len}");
            let Ok(mut records) = Records::new(cut, 0) else {
                assert!(len < HEADER);
                continue;
            };
            let end = loop {
                match records.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(damage) => break Some(damage),
                }
            };
            let last = bounds[count] as u64;
            match end {
                None => assert_eq!(len as u64, last, "{name} cut at {len}"),
                Some(damage) => {
                    assert_eq!((damage.kind, damage.offset), (DamageKind::Truncated, last));
                }
            }
        }
        for _ in 0..5 {
            audit(&whole[..random.below(whole.len())], setting);
        }
    });
}

#[test]
fn bits_flipped() {
    for_each_case(|_, bytes, setting, random| {
        for round in 0..12 {
            let mut broken = bytes.clone();
            for _ in 0..1 + round {
                let at = random.below(broken.len());
                broken[at] ^= 1 << random.below(8);
            }
            audit(&frames_of(&broken), setting);
        }
    });
}

/// Damage inside frames only: the records stay whole, so everything behind the damage is read.
#[test]
fn bits_flipped_in_the_packets() {
    for_each_case(|_, bytes, setting, random| {
        let whole = frames_of(&bytes);
        for _ in 0..12 {
            let mut broken = whole.clone();
            for frame in &mut broken {
                if random.below(3) == 0 {
                    let at = random.below(frame.data.len());
                    frame.data[at] ^= 1 << random.below(8);
                }
                if random.below(8) == 0 {
                    frame.data.truncate(random.below(frame.data.len() + 1));
                }
            }
            audit(&broken, setting);
        }
    });
}

#[test]
fn bytes_lost_or_doubled() {
    for_each_case(|_, bytes, setting, random| {
        for _ in 0..8 {
            let at = random.below(bytes.len());
            let end = bytes.len().min(at + 1 + random.below(100));
            let lost = [&bytes[..at], &bytes[end..]].concat();
            audit(&frames_of(&lost), setting);
            let doubled = [&bytes[..end], &bytes[at..]].concat();
            audit(&frames_of(&doubled), setting);
        }
    });
}

#[test]
fn frames_lost_doubled_and_out_of_order() {
    for_each_case(|_, bytes, setting, random| {
        let whole = frames_of(&bytes);
        for _ in 0..12 {
            let mut frames = whole.clone();
            for _ in 0..1 + random.below(6) {
                let at = random.below(frames.len());
                match random.below(3) {
                    0 => {
                        frames.remove(at);
                    }
                    1 => {
                        let to = random.below(frames.len());
                        frames.insert(to, frames[at].clone());
                    }
                    _ => {
                        let to = random.below(frames.len());
                        frames.swap(at, to);
                    }
                }
                if frames.is_empty() {
                    break;
                }
            }
            audit(&frames, setting);
        }
    });
}

// ---- Through the binary -------------------------------------------------------------------------

const SAMPLE: [&str; 4] = ["syn-dropped", "reachable", "proxy-denied", "quic"];

/// Audits `bytes` as a file, as JSON and as text, with `observe`, and as a stream.
fn damaged(bytes: &[u8], each: impl Fn(&str, &Run)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.pcap");
    fs::write(&file, bytes).unwrap();
    let file = file.to_str().unwrap();
    for args in [&["audit", file][..], &["audit", "--format", "json", file], &["observe", file]] {
        each("broken.pcap", &run(args));
    }
    each("-", &run_with(["audit", "-"], bytes));
}

fn says_where(run: &Run, file: &str, offset: usize) {
    assert_eq!(run.code, Some(2), "{run:?}");
    let place = format!("{file}: byte {offset}: ");
    assert!(run.stderr.contains(&place), "no `{place}` in {}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_cut_capture_gives_its_report_and_says_where() {
    for case in SAMPLE {
        let bytes = fs::read(common::fixtures().join(case).join("capture.pcap")).unwrap();
        let bounds = bounds(&bytes);
        for (record, more) in [(0, 5), (1, RECORD), (bounds.len() / 2, RECORD + 9)] {
            let cut = &bytes[..bounds[record] + more];
            damaged(cut, |file, run| {
                says_where(run, file, bounds[record]);
                if run.stdout.starts_with("Egress audit") {
                    assert!(run.stdout.contains(&format!(": {record} frames")), "{}", run.stdout);
                    assert!(run.stdout.contains("READ ONLY IN PART: byte"), "{}", run.stdout);
                } else if run.stdout.starts_with("{\n") {
                    let report: Value = serde_json::from_str(&run.stdout).unwrap();
                    let input = &report["inputs"][0];
                    assert_eq!(input["frames"], record);
                    let damage = input["truncated"].as_str().unwrap();
                    assert!(damage.starts_with(&format!("byte {}: ", bounds[record])));
                }
            });
        }
    }
}

#[test]
fn an_impossible_length_ends_the_reading() {
    for case in SAMPLE {
        let mut bytes = fs::read(common::fixtures().join(case).join("capture.pcap")).unwrap();
        let at = bounds(&bytes)[3];
        bytes[at + 8..at + 12].fill(0xff);
        damaged(&bytes, |file, run| {
            says_where(run, file, at);
            if run.stdout.starts_with("Egress audit") {
                assert!(run.stdout.contains(": 3 frames"), "{}", run.stdout);
            }
        });
    }
}

#[test]
fn what_is_no_capture_is_told() {
    let header = fs::read(common::fixtures().join("quic/capture.pcap")).unwrap();
    for (bytes, said) in [
        (&b""[..], "empty"),
        (b"Dear Sir or Madam,\nplease find no capture attached.\n", "text, not a capture"),
        (
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0",
            "not a pcap or pcapng file",
        ),
        (&header[..HEADER - 1], "header"),
    ] {
        damaged(bytes, |file, run| {
            says_where(run, file, 0);
            assert!(run.stderr.contains(said), "no `{said}` in {}", run.stderr);
            assert_eq!(run.stdout, "");
        });
    }
}

#[test]
fn a_header_alone_is_an_empty_capture() {
    let bytes = fs::read(common::fixtures().join("quic/capture.pcap")).unwrap();
    damaged(&bytes[..HEADER], |_, run| {
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{run:?}");
        if run.stdout.starts_with("Egress audit") {
            assert!(run.stdout.contains(": 0 frames"), "{}", run.stdout);
            assert!(!run.stdout.contains("BLOCKED"), "{}", run.stdout);
        }
    });
}

#[test]
fn damage_outranks_findings() {
    // Blocked, and cut short behind it.
    let case = common::fixtures().join("syn-dropped");
    let mut bytes = fs::read(case.join("capture.pcap")).unwrap();
    let end = bytes.len();
    bytes.extend([0; 7]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.pcap");
    fs::write(&file, &bytes).unwrap();
    let run = run(["audit".as_ref(), file.as_os_str()]);
    says_where(&run, "broken.pcap", end);
    assert!(run.stdout.contains("BLOCKED (1)"), "{}", run.stdout);
}

#[test]
fn flipped_bits_through_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(9);
    for case in SAMPLE {
        let bytes = fs::read(common::fixtures().join(case).join("capture.pcap")).unwrap();
        for round in 0..12 {
            let mut broken = bytes.clone();
            for _ in 0..1 + 4 * round {
                let at = random.below(broken.len());
                broken[at] ^= 1 << random.below(8);
            }
            let file = folder.path().join(format!("{case}-{round}.pcap"));
            fs::write(&file, &broken).unwrap();
            no_panic(&file);
        }
    }
}

fn no_panic(file: &Path) {
    let run = run(["audit".as_ref(), file.as_os_str()]);
    assert!(matches!(run.code, Some(0..=2)), "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    // Exit code 2 comes with a message, and only then there is one.
    assert_eq!(run.code == Some(2), !run.stderr.is_empty(), "{run:?}");
}
