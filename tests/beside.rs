//! Packets spread over several rings, as the kernel does it, and scanned apart: joined, they give the
//! report of one scan, byte for byte, in whatever order they are joined.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{
    OwnedFrame, Setting, captures, cases, corpus, frames, frames_of, json, name,
    rings::{By, joined, spread},
    scan,
};
use egress_auditor::{base::Timestamp, scan::Limits};

/// The reports of one ring, and of several.
fn both(frames: &[OwnedFrame], setting: &Setting, rings: usize, by: By, seed: u64) -> [String; 2] {
    let resolvers = setting.resolvers();
    let one = scan(frames, &resolvers, &mut ());
    let mut apart = spread(frames, rings, by, seed, Limits::default(), &resolvers);
    apart.rotate_left(seed as usize % rings);
    [one, joined(apart)].map(|census| json(&setting.report(&census)))
}

/// Where two texts begin to differ.
fn difference([one, several]: &[String; 2]) -> Option<String> {
    let at = one.lines().zip(several.lines()).position(|(a, b)| a != b);
    let around = |text: &str| {
        let lines = text.lines().skip(at.unwrap_or(0).saturating_sub(9)).take(18);
        lines.collect::<Vec<_>>().join("\n")
    };
    (one != several).then(|| format!("one ring\n{}\nseveral\n{}", around(one), around(several)))
}

#[test]
fn any_fixture_spread_over_rings() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (setting, frames) = (Setting::of(&case), frames(&case));
        for (rings, seed) in [(1, 0), (2, 1), (2, 2), (3, 3), (5, 4), (16, 5)] {
            for by in [By::Program, By::Hash] {
                let reports = both(&frames, &setting, rings, by, seed);
                if let Some(difference) = difference(&reports) {
                    wrong.push(format!("{} {rings} {seed} {by:?}: {difference}", name(&case)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_spread_over_rings() {
    let Some(folder) = corpus() else { return };
    let (mut wrong, mut tried, mut torn) = (Vec::new(), 0, 0);
    for (seed, file) in (0..).zip(captures(&folder)).filter(|(seed, _)| seed % 3 == 0) {
        let mut frames = frames_of(&fs::read(&file).unwrap());
        frames.truncate(3000);
        // When idle connections end is only defined for a clock that doesn't go backwards.
        let mut latest = Timestamp::default();
        for frame in &mut frames {
            latest = latest.max(frame.time);
            frame.time = latest;
        }
        let reports = both(&frames, &Setting::default(), 3, By::Program, seed);
        tried += 1;
        // TCP in fragments is said not to have been read, and nothing is concluded from it.
        let evicted = |report: &str| !report.contains("\"evicted\": 0,");
        if let Some(difference) = difference(&reports) {
            match evicted(&reports[1]) && !evicted(&reports[0]) {
                true => torn += 1,
                false => wrong.push(format!("{}: {difference}", file.display())),
            }
        }
    }
    println!("{tried} captures spread; in {torn} TCP was torn");
    assert!(torn * 50 < tried, "{torn} of {tried}");
    assert!(tried > 20 && wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}
