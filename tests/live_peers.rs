//! `benches/live/peers` on a small capture: what the audit saw and lost adds up to what was offered.
//!
//! Needs Linux, root and tcpreplay; skips with a printed reason otherwise.

#![cfg(all(target_os = "linux", feature = "cli", feature = "live"))]
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

/// What the script ends with when it can't run here.
const SKIPPED: i32 = 77;

#[test]
fn seen_and_dropped_are_what_was_offered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let replay = Command::new("python3")
        .arg(root.join("benches/live/peers"))
        .args(["--binary", env!("CARGO_BIN_EXE_egress-auditor")])
        .args(["--only", "audit,prefilter,cutoff,rings", "--buffer", "2M", "--loops", "2000"])
        .arg(root.join("fixtures/reachable/capture.pcap"))
        .output();
    let Ok(replay) = replay else { return println!("skipped: needs python3") };
    let said = String::from_utf8_lossy(&replay.stdout);
    if replay.status.code() == Some(SKIPPED) {
        return println!("{said}");
    }
    assert!(replay.status.success(), "{said}{}", String::from_utf8_lossy(&replay.stderr));
    assert!(said.contains("audit ") && said.contains("prefilter "), "{said}");
}
