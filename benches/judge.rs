//! What comes after scanning: `conclude` and `judge`, of a capture that is scanned once.
//!
//! `JUDGE_BENCH_PCAP` names a capture; without it a fixture is judged.

#![allow(clippy::expect_used)]

use std::{env, hint::black_box, ops::ControlFlow, path::Path, sync::Arc};

use criterion::{BatchSize, Criterion};
use egress_auditor::{
    catalog::{Profile, Site, builtin},
    scan::{Limits, Place, Scanner},
    source::Capture,
    verdict::judge,
};

/// The command's allocator.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chromium/capture.pcap");
    let path = env::var_os("JUDGE_BENCH_PCAP").map_or(fixture, Into::into);
    let scanner = scan(&path);
    let census = scanner.snapshot().conclude(&mut ());
    let catalog = builtin("aks").expect("a built-in catalog");
    let site = Site::new(&[catalog], Profile::default(), None);
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    criterion.bench_function("conclude", |bencher| {
        let told = || scanner.snapshot();
        bencher.iter_batched(told, |told| told.conclude(&mut ()), BatchSize::PerIteration);
    });
    criterion.bench_function("judge", |bencher| {
        bencher.iter_with_large_drop(|| judge(black_box(&census), &site));
    });
    criterion.final_summary();
}

fn scan(path: &Path) -> Scanner {
    let mut capture = Capture::open(path, 0).expect("a capture");
    let mut scanner = Scanner::new(Place::Beginning, Limits::default(), Arc::from([]));
    capture
        .for_each(|frame| {
            scanner.push(&frame, &mut ());
            ControlFlow::Continue(())
        })
        .expect("an undamaged capture");
    scanner
}
