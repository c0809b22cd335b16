//! What a capture may do to traffic that works: none of it makes a block.
//!
//! Each fixture is cut, halved, thinned and doubled. Whatever is blocked then must have been blocked
//! before.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeSet, path::Path};

use common::{OwnedFrame, Setting, cases, frames, json, name, scan};
use egress_auditor::{base::Timestamp, report::Report, verdict::Verdict};
use serde_json::Value;

struct Case {
    name: String,
    setting: Setting,
    frames: Vec<OwnedFrame>,
    /// Rules that are blocked when all of it is seen.
    blocked: BTreeSet<String>,
}

impl Case {
    fn new(folder: &Path) -> Self {
        let (setting, frames) = (Setting::of(folder), frames(folder));
        let name = name(folder).to_owned();
        let mut case = Self { name, setting, frames, blocked: BTreeSet::new() };
        case.blocked = blocked(&case.report(&case.frames, 0));
        case
    }

    fn report(&self, frames: &[OwnedFrame], dropped: u64) -> Report {
        let mut census = scan(frames, &self.setting.resolvers(), &mut ());
        census.counters.dropped = dropped;
        self.setting.report(&census)
    }

    /// Fails when less of the capture shows a block that all of it doesn't.
    fn check(&self, frames: &[OwnedFrame], dropped: u64, how: impl Fn() -> String) {
        let report = self.report(frames, dropped);
        let invented: Vec<_> = blocked(&report).difference(&self.blocked).cloned().collect();
        assert!(invented.is_empty(), "{} {}: {invented:?}\n{}", self.name, how(), shown(&report));
    }
}

/// Frames may be lost anywhere: one by one, and many at once.
#[test]
fn losses_that_are_known_invent_nothing() {
    let mut random = Random(7);
    for case in all() {
        let count = case.frames.len();
        for round in 0..16 {
            let kept: Vec<bool> = match round % 2 {
                0 => (0..count).map(|_| random.below(10) > round as u64 / 4).collect(),
                _ => {
                    let (a, b) = (random.below(count as u64), random.below(count as u64));
                    (0..count as u64).map(|n| n < a.min(b) || n > a.max(b)).collect()
                }
            };
            let frames = picked(&case.frames, |n| kept[n]);
            let lost: Vec<_> = (0..count).filter(|n| !kept[*n]).map(|n| n + 1).collect();
            case.check(&frames, lost.len() as u64, || format!("without frames {lost:?}"));
        }
    }
}

/// A capture that sees what the node sends, and one that sees what it gets.
#[test]
fn one_direction_invents_nothing() {
    for case in all() {
        for inbound in [false, true] {
            let frames = picked(&case.frames, |n| is_inbound(&case.frames[n]) == inbound);
            case.check(&frames, 0, || format!("inbound {inbound}"));
        }
    }
}

/// A capture that begins, or ends, anywhere. A failure that a retry would make good is a failure
/// before the retry: only captures in which nothing fails are cut at their end.
#[test]
fn a_cut_capture_invents_nothing() {
    for case in all() {
        let whole = case.report(&case.frames, 0);
        let fails =
            ["_reset", "_closed", "icmp_", "dns_", "denied", "failed", "alert", "_no_answer"];
        let outcomes = shown(&whole);
        let works = !fails.iter().any(|failure| outcomes.contains(failure));
        let count = case.frames.len();
        for cut in (0..count).step_by(1 + count / 12) {
            if works {
                case.check(&case.frames[..cut], 0, || format!("up to frame {cut}"));
            }
            case.check(&case.frames[cut..], 0, || format!("from frame {}", cut + 1));
        }
    }
}

/// Each packet twice, the copy a little later and with a lower TTL, as where a node routes for a
/// pod.
#[test]
fn copies_change_no_verdict() {
    for case in all() {
        let mut doubled = Vec::new();
        for frame in &case.frames {
            let mut copy = frame.clone();
            copy.time = Timestamp::from_nanos(frame.time.nanos() + 20_000);
            if copy.data.get(12..14) == Some(&[8, 0]) {
                copy.data[22] = copy.data[22].wrapping_sub(1);
            }
            doubled.extend([frame.clone(), copy]);
        }
        doubled.sort_by_key(|frame| frame.time);
        let (once, twice) = (case.report(&case.frames, 0), case.report(&doubled, 0));
        assert_eq!(verdicts(&once), verdicts(&twice), "{}", case.name);
    }
}

/// A TTL says how far away the sender is, which a firewall's RST may belie. Verdicts don't look.
#[test]
fn hop_counts_change_no_verdict() {
    for case in all() {
        let mut frames = case.frames.clone();
        for (n, frame) in frames.iter_mut().enumerate() {
            match frame.data.get(12..14) {
                Some([8, 0]) => frame.data[22] = 17 + (n * 37 % 200) as u8,
                Some([0x86, 0xdd]) => frame.data[21] = 17 + (n * 37 % 200) as u8,
                _ => {}
            }
        }
        assert_eq!(json(&case.report(&frames, 0)), json(&case.report(&case.frames, 0)));
    }
}

fn all() -> impl Iterator<Item = Case> {
    cases().into_iter().map(|folder| Case::new(&folder))
}

fn picked(frames: &[OwnedFrame], keep: impl Fn(usize) -> bool) -> Vec<OwnedFrame> {
    (0..frames.len()).filter(|n| keep(*n)).map(|n| frames[n].clone()).collect()
}

/// Sent to the node, whose MAC address every case shares.
fn is_inbound(frame: &OwnedFrame) -> bool {
    frame.data.starts_with(&[2, 0, 0, 0, 1, 0x10])
}

fn blocked(report: &Report) -> BTreeSet<String> {
    let blocked = report.rules.iter().filter(|rule| rule.verdict == Verdict::Blocked);
    blocked.map(|rule| rule.id.clone()).collect()
}

fn verdicts(report: &Report) -> BTreeSet<(&str, Verdict)> {
    report.rules.iter().map(|rule| (rule.id.as_str(), rule.verdict)).collect()
}

/// What the destinations came to.
fn shown(report: &Report) -> String {
    let report: Value = serde_json::from_str(&json(report)).unwrap();
    let line = |found: &Value| {
        let part = |key: &str| found[key].to_string();
        ["name", "port", "verdict", "outcomes", "evidence"].map(part).join(" ") + "\n"
    };
    report["destinations"].as_array().unwrap().iter().map(line).collect()
}

/// Numbers that look random, the same in each run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}
