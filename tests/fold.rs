//! Connections that went well are folded: a report says the same as if each had been kept.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, path::Path, sync::Arc, time::Duration};

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
        let repeated = repeated(&case, 12);
        let folded = same_folded(&repeated, &Setting::of(&case), name(&case));
        let visits: usize = folded.kinds.iter().map(|(_, visits)| visits.len()).sum();
        let most = folded.kinds.iter().map(|(_, visits)| visits.len()).max().unwrap_or(12);
        assert!(visits == 0 || most >= 12, "{}: {most} alike", name(&case));
    }
}

/// What a case's capture shows, again and again, with more than a flow's patience in between.
fn repeated(case: &Path, times: u64) -> Vec<OwnedFrame> {
    let once = frames(case);
    let later = |n: u64| {
        let by = Duration::from_secs(n * 1000);
        once.iter().map(move |one| OwnedFrame { time: one.time.plus(by), ..one.clone() })
    };
    (0..times).flat_map(later).collect()
}

/// With room for a part of the connections alone, old ones stand for others, and a report says the
/// same but for the packets that it shows.
#[test]
fn each_fixture_thinned_out() {
    let mut whole = 0;
    for case in cases() {
        let (frames, setting) = (repeated(&case, 40), Setting::of(&case));
        let kept = |limits: Limits| {
            let mut scanner = Scanner::new(Place::Beginning, limits, setting.resolvers());
            for (number, frame) in (1..).zip(&frames) {
                scanner.push(&frame.numbered(number), &mut ());
            }
            scanner.conclude(&mut ())
        };
        let all = kept(Limits::default());
        let room = connections(&all) / 3;
        let thinned = kept(Limits { connections: room.max(16), ..Limits::default() });
        assert!(connections(&thinned) <= room.max(16));
        if thinned.counters.evicted > 0 {
            println!("{}: too much happens at the same time", name(&case));
            continue;
        }
        whole += 1;
        let [all, thinned] = [all, thinned].map(|census| {
            let mut report = serde_json::to_value(setting.report(&census)).unwrap();
            forget_evidence(&mut report);
            serde_json::to_string_pretty(&report).unwrap()
        });
        let difference = all.lines().zip(thinned.lines()).find(|(a, b)| a != b);
        assert!(all == thinned, "{}: {difference:?}", name(&case));
    }
    assert!(whole * 10 > cases().len() * 7, "only {whole} could be thinned out");
}

fn connections(census: &Census) -> usize {
    census.connections.len() + census.kinds.iter().map(|(_, visits)| visits.len()).sum::<usize>()
}

fn forget_evidence(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("evidence");
            fields.values_mut().for_each(forget_evidence);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_evidence),
        _ => {}
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
