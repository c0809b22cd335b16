//! The kernel prefilter, run over every fixture: verdicts and outcomes must not change, but where
//! it is known to cost something.

#![cfg(feature = "capture")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{OwnedFrame, Setting, cases, frames, name, scan};
use egress_auditor::source::prefilter;
use pcap::{Capture, Linktype};
use serde_json::Value;

/// Cases that need what the filter drops: certificates in a segment of their own.
const COST: [&str; 0] = [];

fn kept(frames: &[OwnedFrame]) -> Vec<OwnedFrame> {
    let mut programs = BTreeMap::new();
    let mut fits = |frame: &OwnedFrame| {
        let program = programs.entry(frame.link).or_insert_with(|| {
            let dead = Capture::dead(Linktype(i32::from(frame.link.0))).unwrap();
            dead.compile(&prefilter(), true).ok()
        });
        program.as_ref().is_none_or(|program| program.filter(&frame.data))
    };
    frames.iter().filter(|frame| fits(frame)).cloned().collect()
}

/// What the report says of rules and destinations.
fn told(setting: &Setting, frames: &[OwnedFrame]) -> BTreeSet<String> {
    let report = setting.report(&scan(frames, &setting.resolvers(), &mut ()));
    let report: Value = serde_json::from_str(&common::json(&report)).unwrap();
    let rules = report["rules"].as_array().unwrap().iter();
    let rules = rules.map(|rule| format!("{} {} {}", rule["id"], rule["verdict"], rule["stage"]));
    let destinations = report["destinations"].as_array().unwrap().iter();
    let line = |found: &Value| {
        let fields = ["name", "transport", "port", "class", "verdict", "outcomes", "flags"];
        fields.map(|field| found[field].to_string()).join(" ")
    };
    rules.chain(destinations.map(line)).collect()
}

#[test]
fn verdicts_stay_the_same() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (setting, frames) = (Setting::of(&case), frames(&case));
        let kept = kept(&frames);
        let (whole, part) = (told(&setting, &frames), told(&setting, &kept));
        if (whole != part) != COST.contains(&name(&case)) {
            let difference: Vec<_> = whole.symmetric_difference(&part).collect();
            wrong.push(format!(
                "{}: {} of {} frames kept\n  {difference:#?}",
                name(&case),
                kept.len(),
                frames.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn drops_the_bulk_of_downloads_alone() {
    let dead = Capture::dead(Linktype::ETHERNET).unwrap();
    let program = dead.compile(&prefilter(), true).unwrap();
    // Ethernet, IPv4 of 20 bytes, TCP of 20 bytes: ports, flags, payload.
    let tcp = |src: u16, dst: u16, flags: u8, payload: &[u8]| {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[23] = 6;
        frame[34..36].copy_from_slice(&src.to_be_bytes());
        frame[36..38].copy_from_slice(&dst.to_be_bytes());
        frame[46] = 5 << 4;
        frame[47] = flags;
        frame.extend_from_slice(payload);
        frame
    };
    let bulk = [0xaa; 1400];
    let begins = |begin: &[u8]| [begin, &bulk[..]].concat();
    assert!(!program.filter(&tcp(443, 40000, 0x10, &bulk)));
    assert!(!program.filter(&tcp(80, 40000, 0x10, &bulk)));
    for frame in [
        tcp(40000, 443, 0x10, &bulk),
        tcp(9000, 40000, 0x10, &bulk),
        tcp(443, 40000, 0x10, &bulk[..100]),
        tcp(443, 40000, 0x10, &[]),
        tcp(443, 40000, 0x11, &bulk),
        tcp(443, 40000, 0x14, &bulk),
        tcp(443, 40000, 0x12, &bulk),
        tcp(443, 40000, 0x10, &begins(&[0x16, 3, 3])),
        tcp(443, 40000, 0x10, &begins(&[0x17, 3, 3])),
        tcp(80, 40000, 0x10, &begins(b"HTTP/1.1 200")),
    ] {
        assert!(program.filter(&frame), "{:02x?}", &frame[34..60.min(frame.len())]);
    }
}
