//! Real captures: every file gives as many frames as the reference reading says.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use egress_auditor::source::{Capture, End, Format, SourceError};
use serde_json::Value;

/// Says version 2.3 and has its lengths in the order of 2.2, so it holds one whole frame of 4 bytes;
/// the reference guesses a record header of 24 bytes and then finds it cut short.
const SWAPPED: &str = "clusterfuzz-testcase-minimized-FuzzTarget-5766899836387328";

/// Folder of the captures, or `None` with a printed reason.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no captures at {}", folder.display());
    None
}

fn truth(folder: &Path) -> Vec<(PathBuf, Value)> {
    ["truth.jsonl", "truth-mutants.jsonl"]
        .iter()
        .filter_map(|name| fs::read_to_string(folder.join(name)).ok())
        .flat_map(|text| {
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.collect::<Vec<Value>>()
        })
        .map(|line| {
            let file = folder.join(line["file"].as_str().unwrap());
            (file, line["meta"].clone())
        })
        .collect()
}

fn frames(path: &Path) -> (u64, Result<End, SourceError>, Capture) {
    let mut capture = Capture::open(path, 0).unwrap();
    let mut count = 0;
    let end = capture.for_each(|frame| {
        count += 1;
        // pcapng blocks that hold no frame may take a number too.
        assert!(frame.stamp.frame.number() >= count);
        ControlFlow::Continue(())
    });
    (count, end, capture)
}

#[test]
fn as_many_frames_as_the_reference_reading() {
    let Some(folder) = corpus() else { return };
    let mut compared = 0;
    for (path, meta) in truth(&folder) {
        let complaint = meta["tshark_err"].to_string();
        if path.ends_with(SWAPPED) {
            assert_eq!(frames(&path).0, 1, "{}", path.display());
            continue;
        }
        let (count, end, capture) = frames(&path);
        let stats = capture.stats();
        let name = path.display();
        if !complaint.contains("doesn't support") {
            let number = capture.cursor().number;
            assert_eq!(Some(number), meta["packets"].as_u64(), "{name} {complaint}");
            compared += 1;
        }
        assert_eq!(stats.frames, count);
        if complaint.contains("cut short") || complaint.contains("damaged") {
            assert!(stats.truncated.is_some(), "{name}");
        } else {
            assert_eq!(end.unwrap(), End::Complete, "{name}");
        }
        let container = &meta["container"];
        let kind = match stats.format {
            Format::Live => unreachable!("a file isn't live"),
            Format::Pcap => "pcap",
            Format::PcapNg => "pcapng",
        };
        assert_eq!(container["kind"], kind, "{name}");
        let declared: Vec<u64> = container["linktypes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|link| match link.as_u64().unwrap() {
                12 | 14 => 101,
                other => other,
            })
            .collect();
        for link in stats.link_types {
            assert!(declared.contains(&u64::from(link.0)), "{name}: {link}");
        }
    }
    println!("compared {compared} captures");
    assert!(compared > 250);
}
