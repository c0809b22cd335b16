//! Connections that went well are folded: a report says the same as if each had been kept.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, sync::Arc, time::Duration};

use common::{OwnedFrame, Setting, captures, cases, corpus, frames, frames_of, json, name, scan};
use egress_auditor::scan::{Census, Limits, Place, Scanner};

#[test]
fn each_fixture() {
    for case in cases() {
        same_folded(&frames(&case), &Setting::of(&case), name(&case));
    }
}

/// The same again and again, so that there is something to fold.
#[test]
fn each_fixture_repeated() {
    for case in cases() {
        let once = frames(&case);
        // Longer than a flow stays open without packets.
        let later = |n: u64| {
            let by = Duration::from_secs(n * 1000);
            once.iter().map(move |one| OwnedFrame { time: one.time.plus(by), ..one.clone() })
        };
        let repeated: Vec<_> = (0..12).flat_map(later).collect();
        let folded = same_folded(&repeated, &Setting::of(&case), name(&case));
        let visits: usize = folded.kinds.iter().map(|(_, visits)| visits.len()).sum();
        let most = folded.kinds.iter().map(|(_, visits)| visits.len()).max().unwrap_or(12);
        assert!(visits == 0 || most >= 12, "{}: {most} alike", name(&case));
    }
}

#[test]
fn each_capture_of_the_corpus() {
    let Some(folder) = corpus() else { return };
    for file in captures(&folder) {
        let mut frames = frames_of(&fs::read(&file).unwrap());
        frames.truncate(3000);
        same_folded(&frames, &Setting::default(), name(&file));
    }
}

/// Scans without folding, and in three stretches with it; compares the reports.
fn same_folded(frames: &[OwnedFrame], setting: &Setting, what: &str) -> Census {
    let whole = scan(frames, &setting.resolvers(), &mut Vec::new());
    assert!(whole.kinds.is_empty());
    let (plain, mut stretches) = (json(&setting.report(&whole)), Vec::new());
    for at in 0..3 {
        let place = if at == 0 { Place::Beginning } else { Place::Later };
        let mut scanner = Scanner::new(place, Limits::default(), Arc::clone(&setting.resolvers()));
        let ends = frames.len() * at / 3..frames.len() * (at + 1) / 3;
        for (number, frame) in (1..).zip(frames).take(ends.end).skip(ends.start) {
            scanner.push(&frame.numbered(number), &mut ());
        }
        stretches.push(scanner.finish());
    }
    let merged = stretches.into_iter().reduce(|a, b| a.merge(b, &mut ())).unwrap();
    let folded = merged.conclude(&mut ());
    let report = json(&setting.report(&folded));
    let difference = plain.lines().zip(report.lines()).find(|(a, b)| a != b);
    assert!(plain == report, "{what}: {difference:?}");
    folded
}
