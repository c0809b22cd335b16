//! A short run of `benches/live/soak`: a live audit under more than it can hold stays within its
//! memory, and says what it left out.
//!
//! Needs Linux, root and some programs; skips with a printed reason otherwise.

#![cfg(all(target_os = "linux", feature = "cli", feature = "live"))]
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

/// What the script ends with when it can't run here.
const SKIPPED: i32 = 77;

#[test]
fn memory_is_bounded_and_what_is_shed_is_counted() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/live/soak");
    let soak = Command::new("python3")
        .arg(script)
        .args(["--binary", env!("CARGO_BIN_EXE_egress-auditor")])
        .args(["--seconds", "20", "--destinations", "40000", "--flood", "2000"])
        .args(["--memory", "256M", "--window", "2s"])
        .output();
    let Ok(soak) = soak else { return println!("skipped: needs python3") };
    let said = String::from_utf8_lossy(&soak.stdout);
    if soak.status.code() == Some(SKIPPED) {
        return println!("{said}");
    }
    let complaints = String::from_utf8_lossy(&soak.stderr);
    assert!(soak.status.success(), "{said}{complaints}");
    assert!(!said.contains(" 0 evicted"), "nothing had to be shed, so nothing was shown:\n{said}");
}
