//! The whole way: a capture file's bytes in, a report out; and the same report when the capture is
//! cut into three stretches that are scanned apart and merged.
//!
//! Input: two places to cut at, an operation on the list of frames and its two operands (a byte
//! each), the file's bytes.

#![no_main]

use std::sync::{Arc, OnceLock};

use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    catalog::{Profile, Site, builtin},
    decode::FragmentLimits,
    extract::Observation,
    report::{ProfileUsed, Report, write_json, write_text},
    scan::{Limits, Partial, Place, Scanner, Sink},
    source::{Format, Frame, InputStats, Records},
    verdict::{flows, judge},
};
use egress_auditor_fuzz::Input;
use libfuzzer_sys::{Corpus, fuzz_target};

/// More frames tell nothing new and take long.
const MOST_FRAMES: usize = 2000;

/// Tables that no input fills: what a full table drops depends on where a capture is cut.
const LIMITS: Limits = Limits {
    payload: 1 << 28,
    flows: 1 << 14,
    lookups: 1 << 14,
    connections: 1 << 14,
    fragments: FragmentLimits {
        datagrams: 64,
        bytes: 1 << 20,
        age: std::time::Duration::from_secs(30),
    },
    fold: true,
};

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut input = Input(data);
    let cuts = [input.byte(), input.byte()];
    let change = [input.byte(), input.byte(), input.byte()];
    let Ok(records) = Records::new(input.0, 0) else { return Corpus::Reject };
    let mut buffer = Vec::new();
    let frames = changed(frames(records), change, &mut buffer);

    let mut observations = Vec::new();
    let whole = scan(&frames, Place::Beginning, &mut observations);
    let seam_free = !holds_fragments(&whole);
    let expected = report(whole);
    if !observations.is_empty() {
        serde_json::to_vec(&observations).expect("observations can be written");
    }

    // Fragments of one datagram on both sides of a cut aren't joined.
    if seam_free {
        let mut cuts = cuts.map(|cut| usize::from(cut) * frames.len() / 255);
        cuts.sort_unstable();
        let part = |from: usize, to: usize| {
            let place = if from == 0 { Place::Beginning } else { Place::Later };
            scan(&frames[from..to], place, &mut ())
        };
        let parts = || {
            let [a, b] = cuts;
            (part(0, a), part(a, b), part(b, frames.len()))
        };
        let (a, b, c) = parts();
        assert_same(&expected, &report(a.merge(b, &mut ()).merge(c, &mut ())), cuts);
        let (a, b, c) = parts();
        assert_same(&expected, &report(a.merge(b.merge(c, &mut ()), &mut ())), cuts);
    }
    Corpus::Keep
});

fn frames(mut records: Records<'_>) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = records.next() {
        frames.push(frame);
        if frames.len() == MOST_FRAMES {
            break;
        }
    }
    frames
}

/// Duplicates, moves, drops or damages a frame, or turns a stretch around; numbers them anew and
/// raises each time stamp to the one before.
fn changed<'a>(
    mut frames: Vec<Frame<'a>>,
    [operation, a, b]: [u8; 3],
    buffer: &'a mut Vec<u8>,
) -> Vec<Frame<'a>> {
    let place = |byte: u8| usize::from(byte) * frames.len().saturating_sub(1) / 255;
    let (from, to) = (place(a), place(b));
    if frames.is_empty() {
        return frames;
    }
    match operation {
        1 => frames.insert(to, frames[from]),
        2 => {
            let frame = frames.remove(from);
            frames.insert(to, frame);
        }
        3 => drop(frames.remove(from)),
        4 => frames[from.min(to)..=from.max(to)].reverse(),
        5 => {
            let frame = &mut frames[from];
            frame.data = &frame.data[..frame.data.len().min(b.into())];
        }
        6 => {
            let frame = &mut frames[from];
            buffer.extend(frame.data);
            if let Some(byte) = buffer.get_mut(usize::from(b)) {
                *byte ^= 1 << (a & 7);
            }
            frame.data = buffer;
        }
        7 => frames.extend_from_within(from..),
        8 => frames.truncate(from + 1),
        9 => drop(frames.drain(..from)),
        _ => {}
    }
    // When idle connections end is only defined for a clock that doesn't go back.
    let mut time = Timestamp::default();
    for (number, frame) in (1..).zip(&mut frames) {
        time = time.max(frame.stamp.time);
        frame.stamp = Stamp { time, frame: FrameId::new(0, number) };
    }
    frames
}

fn scan(frames: &[Frame<'_>], place: Place, sink: &mut impl Sink) -> Partial {
    let mut scanner = Scanner::new(place, LIMITS, Arc::new([]));
    for frame in frames {
        scanner.push(frame, sink);
    }
    scanner.finish()
}

fn holds_fragments(partial: &Partial) -> bool {
    partial.counters.undecoded.keys().any(|reason| reason.starts_with("fragment"))
}

/// The JSON form of the report.
fn report(partial: Partial) -> Vec<u8> {
    let site = site();
    let census = partial.conclude(&mut Vec::<Observation>::new());
    flows(&census, site.profile()).for_each(drop);
    let findings = judge(&census, site);
    let used = ProfileUsed::new(None, site.profile(), &[]);
    let counters = &census.counters;
    let span = counters.span;
    let input = InputStats {
        path: "capture.pcap".into(),
        format: Format::Pcap,
        link_types: Vec::new(),
        frames: counters.frames,
        bytes: counters.bytes,
        first: span.map(|(first, _)| first),
        last: span.map(|(_, last)| last),
        dropped: None,
        truncated: None,
    };
    let report = Report::new(&[input], &census, used, findings);
    let mut text = Vec::new();
    write_text(&report, &mut text).expect("memory takes everything");
    let text = String::from_utf8(text).expect("text is UTF-8");
    let bad = text.chars().find(|&c| c.is_control() && c != '\n');
    assert_eq!(bad, None, "a control character in the text report");
    let mut json = Vec::new();
    write_json(&report, &mut json).expect("memory takes everything");
    json
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| Site::new(&[builtin("aks").expect("built in")], Profile::default(), None))
}

fn assert_same(expected: &[u8], cut: &[u8], cuts: [usize; 2]) {
    if expected != cut {
        let [expected, cut] = [expected, cut].map(String::from_utf8_lossy);
        for (a, b) in expected.lines().zip(cut.lines()).filter(|(a, b)| a != b) {
            eprintln!("whole: {a}\n  cut: {b}");
        }
        panic!("cut before frames {cuts:?} (from 0), the report is another");
    }
}
