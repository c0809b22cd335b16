//! Captures: the records of bytes in memory, the same from a place in the middle, and the same
//! bytes through a pipe, where they may also be compressed.
//!
//! Input: place of the cut (1 byte), the file's bytes.

#![no_main]

use std::{
    io::{Write, pipe},
    ops::ControlFlow,
    os::fd::AsRawFd,
};

use egress_auditor::source::{Capture, Damage, DamageKind, Frame, Records, SourceError};
use egress_auditor_fuzz::Input;
use libfuzzer_sys::{Corpus, fuzz_target};

/// A pipe takes so much without a reader.
const LONGEST: usize = 60_000;

/// Frames that a compressed file is followed for.
const MOST_FRAMES: usize = 10_000;

/// Number, time, link type, length on the wire and data of a frame.
type Seen = (u64, u64, u16, u32, Vec<u8>);

fuzz_target!(|data: &[u8]| -> Corpus {
    if data.len() > LONGEST {
        return Corpus::Reject;
    }
    let mut input = Input(data);
    let cut = usize::from(input.byte()) * input.0.len() / 255;
    let bytes = input.0;
    let piped = through_a_pipe(bytes, cut);
    if let Ok(records) = Records::new(bytes, 0) {
        let mut frames = Vec::new();
        let damage = rest(records, &mut frames);
        assert!(frames.len() <= bytes.len() / 12);
        resumed(bytes, cut, &frames, damage.as_ref());
        let (from_pipe, kind) = piped.expect("the header was good");
        assert_eq!(from_pipe.len(), frames.len());
        assert!(from_pipe == frames && kind == damage.map(|damage| damage.kind));
    }
    Corpus::Keep
});

fn seen(frame: &Frame<'_>) -> Seen {
    let Frame { stamp, link, wire_len, data } = *frame;
    (stamp.frame.number(), stamp.time.nanos(), link.0, wire_len, data.to_vec())
}

/// Reads to the end, and what it says there once more.
fn rest(mut records: Records<'_>, frames: &mut Vec<Seen>) -> Option<Damage> {
    loop {
        match records.next() {
            Ok(Some(frame)) => frames.push(seen(&frame)),
            Ok(None) => return None,
            Err(damage) => {
                assert_eq!(records.next().err(), Some(damage.clone()));
                return Some(damage);
            }
        }
    }
}

/// Reads what lies before the cut, then goes on behind the last frame of it.
fn resumed(bytes: &[u8], cut: usize, frames: &[Seen], damage: Option<&Damage>) {
    let Ok(mut records) = Records::new(&bytes[..cut], 0) else { return };
    let mut before = Vec::new();
    while let Ok(Some(frame)) = records.next() {
        before.push(seen(&frame));
    }
    let end = rest(Records::resume(bytes, records.cursor().clone()), &mut before);
    assert!(before == frames && end.as_ref() == damage);
}

/// Writes the bytes into a pipe in two pieces and reads them as a stream.
fn through_a_pipe(bytes: &[u8], cut: usize) -> Option<(Vec<Seen>, Option<DamageKind>)> {
    let (reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(&bytes[..cut]).expect("fits");
    writer.write_all(&bytes[cut..]).expect("fits");
    drop(writer);
    let mut capture = Capture::open(format!("/proc/self/fd/{}", reader.as_raw_fd()), 0).ok()?;
    let mut frames = Vec::new();
    let end = capture.for_each(|frame| {
        frames.push(seen(&frame));
        if frames.len() < MOST_FRAMES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let damage = capture.stats().truncated;
    match end {
        Err(SourceError::Damaged { .. }) => assert!(damage.is_some()),
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(_) => {}
    }
    Some((frames, damage.map(|damage| damage.kind)))
}
