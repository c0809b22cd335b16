//! The whole audit against a bare libpcap loop over the same file, in turn; prints the median of
//! the ratios of wall time.
//!
//! `AUDIT_BENCH_PCAP` names a capture; without it one is made from the fixtures, repeated with other
//! client addresses. `AUDIT_BENCH_PAIRS` sets the number of pairs.

#![allow(clippy::expect_used)]

use std::{
    env, fs,
    io::Write,
    num::NonZeroUsize,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use egress_auditor::{
    catalog::{Profile, Site, builtin},
    scan::{Limits, Team},
    source::{Capture, End},
    verdict::judge,
};

/// Size of the capture that is made.
const BYTES: usize = 256 << 20;

fn main() {
    // `cargo test --benches` only wants to see it run.
    let test = !env::args().any(|arg| arg == "--bench");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, pairs) = match env::var_os("AUDIT_BENCH_PCAP") {
        Some(path) => (PathBuf::from(path), 7),
        None if test => (make(folder.path(), 1 << 20), 1),
        None => (make(folder.path(), BYTES), 7),
    };
    let pairs = env::var("AUDIT_BENCH_PAIRS").ok().and_then(|n| n.parse().ok()).unwrap_or(pairs);
    // Once each, so that both find the file in the page cache.
    let frames = bare_loop(&path);
    assert_eq!(frames, audit(&path), "both read every frame");
    let mut ratios: Vec<f64> = (0..pairs)
        .map(|pair| {
            let (bare, ours) = (timed(|| bare_loop(&path)), timed(|| audit(&path)));
            println!("pair {pair}: libpcap loop {bare:?}, audit {ours:?}");
            ours.as_secs_f64() / bare.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("{frames} frames; audit / bare libpcap loop: {:.2}", ratios[ratios.len() / 2]);
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn bare_loop(path: &Path) -> u64 {
    let mut capture = pcap::Capture::from_file(path).expect("a capture");
    let mut frames = 0;
    while capture.next_packet().is_ok() {
        frames += 1;
    }
    frames
}

fn audit(path: &Path) -> u64 {
    let mut capture = Capture::open(path, 0).expect("a capture");
    let mut team = Team::new(NonZeroUsize::MIN, Limits::default(), Arc::from([]));
    team.scan(|turn| {
        turn.backed_by(capture.backing());
        let end = capture.for_each(|frame| turn.frame(&frame)).expect("an undamaged capture");
        end == End::Stopped
    });
    let census = team.conclude();
    let catalog = builtin("aks").expect("a built-in catalog");
    let findings = judge(&census, &Site::new(&[catalog], Profile::default(), None));
    assert!(!findings.rules.is_empty());
    census.counters.frames
}

/// A capture of at least `bytes`: the Ethernet fixtures again and again, each time from another
/// client.
fn make(folder: &Path, bytes: usize) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut frames = Vec::new();
    for case in
        ["reachable", "syn-dropped", "reset-after-clienthello", "http-plain", "tls12-intercepted"]
    {
        let mut capture = Capture::open(fixtures.join(case).join("capture.pcap"), 0).expect(case);
        capture
            .for_each(|frame| {
                frames.push(frame.data.to_vec());
                ControlFlow::Continue(())
            })
            .expect(case);
    }
    let path = folder.join("made.pcap");
    let mut out = std::io::BufWriter::new(fs::File::create(&path).expect("a file"));
    let mut write = |bytes: &[u8]| out.write_all(bytes).expect("disk space");
    write(&0xa1b2_c3d4_u32.to_le_bytes());
    write(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0]);
    let (mut written, mut round, mut micros) = (0, 0_u16, 0_u64);
    while written < bytes {
        round = round.wrapping_add(1);
        for frame in &mut frames {
            rename_client(frame, round);
            micros += 50;
            let len = (frame.len() as u32).to_le_bytes();
            write(&(1_700_000_000 + (micros / 1_000_000) as u32).to_le_bytes());
            write(&((micros % 1_000_000) as u32).to_le_bytes());
            write(&len);
            write(&len);
            write(frame);
            written += frame.len() + 16;
        }
    }
    drop(out);
    path
}

/// Puts another address in the place of the fixtures' node, 10.77.x.y, at 10.78.0.0 and above.
fn rename_client(frame: &mut [u8], round: u16) {
    if frame.get(12..14) != Some(&[8, 0]) {
        return;
    }
    for at in [26, 30] {
        let node = matches!(frame.get(at..at + 4), Some([10, 77, 1, 10] | [10, 78, ..]));
        if node {
            let [high, low] = round.to_be_bytes();
            frame[at..at + 4].copy_from_slice(&[10, 78, high, low]);
        }
    }
}
