//! What matching costs as the rules grow, beside the usual ways to do it.
//!
//! `BENCH_LARGE=1` adds a million name rules.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use egress_auditor::catalog::{NameMatcher, NamePattern, PrefixMatcher};
use ipnet::IpNet;

/// SplitMix64: the same rules in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Like a large catalog: mostly exact names, a third suffixes, some gaps inside a label.
fn rules(count: usize) -> Vec<String> {
    let zones = (count / 20).max(1) as u64;
    let mut numbers = Numbers(count as u64);
    (0..count)
        .map(|n| {
            let zone = numbers.below(zones);
            match n % 12 {
                0..=6 => format!("host{n}.svc{zone}.example{}.com", zone % 97),
                7..=9 => format!("*.r{n}.svc{zone}.example{}.com", zone % 97),
                10 => format!(".z{n}.example{}.net", zone % 97),
                _ => format!("md{n}-*.blob.svc{zone}.example{}.com", zone % 97),
            }
        })
        .collect()
}

/// Names that match a rule, that match none, and that have many labels.
fn names(rules: &[String]) -> [(&'static str, Vec<String>); 3] {
    let mut numbers = Numbers(1);
    let mut pick = || rules[numbers.below(rules.len() as u64) as usize].clone();
    let text = |rule: String| rule.trim_start_matches('.').replace('*', "x1");
    let hit: Vec<String> = (0..1024).map(|_| text(pick())).collect();
    let miss = hit.iter().map(|name| name.replacen("svc", "none", 1).replace(".net", ".org"));
    let deep = hit.iter().map(|name| format!("{}{name}", "a.b.c.d.e.f.g.h.".repeat(4)));
    [("hit", hit.clone()), ("miss", miss.collect()), ("deep", deep.collect())]
}

fn matcher(rules: &[String]) -> NameMatcher<u32> {
    let patterns = rules.iter().map(|text| NamePattern::parse(text).unwrap());
    NameMatcher::new(patterns.zip(0..))
}

/// A pattern of another matcher with the same meaning.
fn glob(rule: &str) -> String {
    match rule.strip_prefix('.') {
        Some(zone) => format!("{{{zone},*.{zone}}}"),
        None if rule.starts_with('*') => rule.into(),
        None => rule.replace('*', "[^.]*"),
    }
}

fn regex(rule: &str) -> String {
    let text = rule.trim_start_matches(['.', '*']).replace('.', "\\.").replace('*', "[^.]*");
    match rule.as_bytes()[0] {
        b'.' => format!("^(?:.*\\.)?{text}$"),
        b'*' => format!("^.+{}$", text),
        _ => format!("^{text}$"),
    }
}

/// Times a look-up, over names that change from one to the next.
fn time(
    c: &mut Criterion,
    group: &str,
    id: BenchmarkId,
    names: &[String],
    look: impl Fn(&str) -> u32,
) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(names.len() as u64));
    group.bench_function(id, |b| {
        b.iter(|| names.iter().map(|name| look(black_box(name))).fold(0, u32::wrapping_add));
    });
    group.finish();
}

fn name_rules(c: &mut Criterion) {
    let large = std::env::var_os("BENCH_LARGE").is_some_and(|v| v == "1");
    let sizes = [1_000, 10_000, 100_000, 1_000_000];
    for size in sizes.into_iter().filter(|&size| large || size < 1_000_000) {
        let rules = rules(size);
        let patterns: Vec<NamePattern> = rules.iter().map(|r| r.parse().unwrap()).collect();
        c.bench_function(&format!("build/{size}"), |b| {
            b.iter_with_large_drop(|| NameMatcher::new(patterns.iter().cloned().zip(0_u32..)));
        });
        let matcher = matcher(&rules);
        for (kind, names) in names(&rules) {
            let id = |way: &str| BenchmarkId::new(way, size);
            let count = |name: &str| {
                let mut count = 0;
                matcher.lookup(name, &mut |_| count += 1);
                count
            };
            time(c, kind, id("all"), &names, count);
            time(c, kind, id("best"), &names, |name| matcher.most_specific(name).unwrap_or(0));
            if size <= 10_000 {
                others(c, kind, &rules, &patterns, &names);
            }
        }
    }
}

fn others(
    c: &mut Criterion,
    kind: &str,
    rules: &[String],
    patterns: &[NamePattern],
    names: &[String],
) {
    let id = |way: &str| BenchmarkId::new(way, rules.len());
    // A scan is slow enough that a few names tell.
    let few = &names[..16];
    let scan = |name: &str| patterns.iter().filter(|p| p.matches(name)).count() as u32;
    time(c, kind, id("linear scan"), few, scan);

    let mut globs = globset::GlobSetBuilder::new();
    for rule in rules {
        globs.add(globset::Glob::new(&glob(rule)).unwrap());
    }
    let globs = globs.build().unwrap();
    time(c, kind, id("globset"), few, |name| globs.matches(name).len() as u32);

    let regexes = rules.iter().map(|rule| regex(rule));
    let regexes =
        regex::bytes::RegexSetBuilder::new(regexes).unicode(false).size_limit(1 << 30).build();
    match regexes {
        Ok(set) => time(c, kind, id("RegexSet"), few, |name| {
            set.matches(name.as_bytes()).iter().count() as u32
        }),
        Err(error) => eprintln!("RegexSet of {}: {error}", rules.len()),
    }
}

fn prefix_rules(c: &mut Criterion) {
    let mut numbers = Numbers(7);
    let v4 = |numbers: &mut Numbers| Ipv4Addr::from_bits(numbers.below(1 << 32) as u32);
    // IPv6 as publishers have it: a handful of blocks, many prefixes in each.
    let v6 = |numbers: &mut Numbers| {
        let block = [0x2603_1000_u128, 0x2620_01ec, 0x2a01_0111][numbers.below(3) as usize];
        Ipv6Addr::from_bits(block << 96 | u128::from(numbers.below(1 << 32)) << 64)
    };
    let nets: Vec<(IpNet, u32)> = (0..100_000)
        .map(|n| {
            let net = match n % 4 {
                0 => IpNet::new(v6(&mut numbers).into(), 40 + numbers.below(24) as u8),
                _ => IpNet::new(v4(&mut numbers).into(), 14 + numbers.below(18) as u8),
            };
            (net.unwrap(), n)
        })
        .collect();
    let matcher = PrefixMatcher::new(nets.iter().copied());
    let v4: Vec<IpAddr> = (0..1024).map(|_| v4(&mut numbers).into()).collect();
    let v6: Vec<IpAddr> = (0..1024).map(|_| v6(&mut numbers).into()).collect();
    c.bench_function("prefixes/build/100000", |b| {
        b.iter_with_large_drop(|| PrefixMatcher::new(nets.iter().copied()));
    });
    let mut group = c.benchmark_group("prefixes/100000");
    group.throughput(Throughput::Elements(1024));
    for (kind, addresses) in [("IPv4", v4), ("IPv6", v6)] {
        let longest = |a: &IpAddr| matcher.longest(black_box(*a)).unwrap_or(0);
        group.bench_function(BenchmarkId::new("longest", kind), |b| {
            b.iter(|| addresses.iter().map(longest).fold(0, u32::wrapping_add));
        });
        let all = |a: &IpAddr| matcher.matches(black_box(*a)).fold(0, u32::wrapping_add);
        group.bench_function(BenchmarkId::new("all", kind), |b| {
            b.iter(|| addresses.iter().map(all).fold(0, u32::wrapping_add));
        });
    }
    group.finish();
}

criterion_group!(benches, name_rules, prefix_rules);
criterion_main!(benches);
