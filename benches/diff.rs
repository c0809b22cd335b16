//! A long allowlist against all catalogs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fmt::Write,
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use egress_auditor::{
    allowlist::{Allowlist, Context, Input, Policy, Product, diff, generate},
    catalog::{Profile, Site, builtin, names},
};

const PROFILE: &str = "cloud = \"public\"\nregion = \"westeurope\"\nfeatures = [\"konnectivity\", \"monitor\", \"training\"]\n";

/// All that is required, among names, wildcards and prefixes that nobody needs, many of them below
/// the same zones as what is needed.
fn list(site: &Site, count: usize) -> String {
    let mut text = generate(Product::Plain, site, None).text;
    for n in 0..count {
        let zone = n % 997;
        let _ = match n % 10 {
            0..=4 => writeln!(text, "host{n}.svc{zone}.example{}.com:443", zone % 97),
            5 => writeln!(text, "*.r{n}.svc{zone}.example{}.com:443", zone % 97),
            6 => writeln!(text, "s{n}.blob.core.windows.net:443"),
            7 => writeln!(text, "*.z{n}.azurecr.io"),
            8 => writeln!(text, "md{n}-*.blob.storage.azure.net:443"),
            _ => writeln!(text, "198.{}.{}.0/24:443", 18 + n / 256 % 2, n % 256),
        };
    }
    text
}

/// Lists that no site has: all wildcards overlap, or each entry has a port range of its own.
fn hostile(sort: &str, count: usize) -> String {
    let mut text = "fqdn,port\n".to_owned();
    for n in 0..count {
        let _ = match sort {
            "wildcards" => writeln!(text, "*a*b{}*c{n}*.com,443", n % 7),
            _ => writeln!(text, "*.com,{}-{}", n % 64_000 + 1, n % 64_000 + 1_000),
        };
    }
    text
}

/// CPU time of this thread, which other load on the machine doesn't count into; wall time where
/// the kernel doesn't tell.
fn cpu<T>(times: u64, mut work: impl FnMut() -> T) -> Duration {
    let used = || -> Option<u64> {
        let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let (start, before) = (Instant::now(), used());
    for _ in 0..times {
        black_box(work());
    }
    match before.zip(used()) {
        Some((before, after)) => Duration::from_nanos(after - before),
        None => start.elapsed(),
    }
}

fn benches(c: &mut Criterion) {
    let catalogs: Vec<_> = names().map(|name| builtin(name).unwrap()).collect();
    let site = Site::new(&catalogs, Profile::parse(PROFILE, "profile").unwrap(), None);
    let mut group = c.benchmark_group("diff");
    group.sample_size(10);
    for count in [1_000, 100_000] {
        let text = list(&site, count);
        let input = Input { file: "list", text: &text, format: None };
        let read = || Allowlist::read(&[input], Context::default()).unwrap();
        group.bench_function(format!("read/{count}"), |b| {
            b.iter_custom(|times| cpu(times, read));
        });
        let list = read();
        group.bench_function(format!("diff/{count}"), |b| {
            b.iter_custom(|times| cpu(times, || diff(&site, &Policy::new(&list), None)));
        });
    }
    for sort in ["wildcards", "ranges"] {
        let text = hostile(sort, 100_000);
        let input = Input { file: "list", text: &text, format: None };
        let list = Allowlist::read(&[input], Context::default()).unwrap();
        group.bench_function(format!("hostile/{sort}"), |b| {
            b.iter_custom(|times| cpu(times, || diff(&site, &Policy::new(&list), None)));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
