//! What a capture couldn't show, or a scanner couldn't keep, never becomes a block.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{OwnedFrame, Setting, cases, dropped, fixtures, frames, name, text};
use egress_auditor::{
    flow::Endpoint,
    report::Report,
    scan::{Census, Limits, Place, Scanner},
    verdict::{Outcome, Reason, RuleFinding, Verdict},
};

/// A real capture that lost an answer, which its pcapng file says.
#[test]
fn lost_frames_doubt_silence_but_not_what_was_seen() {
    let case = fixtures().join("drops");
    let setting = Setting::of(&case);
    let mut census = scan(&frames(&case), &setting.resolvers(), Limits::default());
    census.counters.dropped = dropped(&case);
    let report = setting.report(&census);
    assert!(report.coverage.dropped > 0);
    assert_eq!(verdict(&report, "aks/core/mcr"), Verdict::Inconclusive);
    assert_eq!(reasons(&report, "mcr.microsoft.com"), [Reason::Drops]);
    assert_eq!(verdict(&report, "aks/core/packages"), Verdict::Blocked);
    assert_eq!(verdict(&report, "aks/core/resource-manager"), Verdict::Reachable);
    let told = format!("{} frames lost by the kernel", report.coverage.dropped);
    assert!(text(&report).contains(&told));
}

/// When it's known when frames were lost, silence at other times counts.
#[test]
fn a_loss_doubts_what_is_near_it_alone() {
    for case in ["clienthello-dropped", "tls-silent", "http-silent", "dns-timeout"] {
        let case = fixtures().join(case);
        let setting = Setting::of(&case);
        let mut census = scan(&frames(&case), &setting.resolvers(), Limits::default());
        let blocked = blocked(&setting.report(&census));
        assert!(!blocked.is_empty(), "{}", name(&case));
        let (first, last) = census.counters.span.unwrap();
        let minute = Duration::from_secs(60);
        census.counters.dropped = 7;
        for (from, to) in
            [(first.minus(minute), first.minus(minute)), (last.plus(minute), last.plus(minute))]
        {
            census.counters.losses.add(from, to);
            assert_eq!(self::blocked(&setting.report(&census)), blocked, "{}", name(&case));
        }
        census.counters.losses.add(first, last);
        assert!(self::blocked(&setting.report(&census)).is_empty(), "{}", name(&case));
    }
}

/// With any loss, no fixture has a block that stands on silence alone, but for a client that repeats
/// its SYN: it has heard nothing either. And none that wasn't there.
#[test]
fn a_loss_invents_nothing() {
    for (case, frames, setting) in all() {
        let mut census = scan(&frames, &setting.resolvers(), Limits::default());
        let blocked = blocked(&setting.report(&census));
        census.counters.dropped = 1;
        let lossy = setting.report(&census);
        for (rule, outcomes) in self::blocked(&lossy) {
            assert!(blocked.iter().any(|(id, _)| *id == rule), "{case}: {rule}");
            let silent = |outcome: &Outcome| {
                outcome.as_str().ends_with("_no_answer") && *outcome != Outcome::TcpNoAnswer
            };
            let silent = outcomes.iter().all(silent);
            assert!(!silent, "{case}: {rule} by {outcomes:?}");
        }
    }
}

/// Small tables lose flows, connections and lookups: rules may become inconclusive or not
/// exercised, but none becomes blocked that isn't, and the report says that entries were dropped.
#[test]
fn full_tables_invent_nothing() {
    for (case, frames, setting) in all() {
        let whole = setting.report(&scan(&frames, &setting.resolvers(), Limits::default()));
        let blocked = blocked(&whole);
        for limits in limits() {
            let report = setting.report(&scan(&frames, &setting.resolvers(), limits));
            for (rule, outcomes) in self::blocked(&report) {
                let known = blocked.iter().any(|(id, _)| *id == rule);
                assert!(known, "{case}: {rule} by {outcomes:?} within {limits:?}");
            }
        }
    }
}

#[test]
fn a_flow_dropped_from_a_full_table_is_inconclusive() {
    let case = fixtures().join("tls-silent");
    let setting = Setting::of(&case);
    // The query of a later name, made by hand, takes the place of the connection.
    let mut frames = frames(&case);
    let query = frames.iter().find(|frame| frame.data.get(23) == Some(&17)).unwrap().clone();
    let hello = frames.iter().rposition(|frame| frame.data.len() > 300).unwrap();
    frames.insert(hello + 1, OwnedFrame { time: frames[hello].time, ..query });
    let limits = Limits { flows: 1, ..Limits::default() };
    let report = setting.report(&scan(&frames, &setting.resolvers(), limits));
    assert!(report.coverage.evicted > 0);
    assert!(text(&report).contains("entries dropped from full tables"));
    assert_eq!(verdict(&report, "aks/core/mcr"), Verdict::Inconclusive);
    assert!(reasons(&report, "mcr.microsoft.com").contains(&Reason::Evicted));
}

/// Which connections are kept isn't said; a success that isn't may be what a rule needs.
#[test]
fn failures_alone_block_nothing_when_connections_were_not_kept() {
    let case = fixtures().join("syn-reset");
    let (setting, frames) = (Setting::of(&case), frames(&case));
    let all = kept(&scan(&frames, &setting.resolvers(), Limits::default()));
    // One is missing, and two were reset.
    let limits = Limits { connections: all - 1, ..Limits::default() };
    let report = setting.report(&scan(&frames, &setting.resolvers(), limits));
    assert_eq!(report.coverage.evicted, 1);
    assert_eq!(verdict(&report, "aks/core/mcr"), Verdict::Inconclusive);
    assert_eq!(reasons(&report, "mcr.microsoft.com"), [Reason::Evicted]);
}

/// Connections, folded or not.
fn kept(census: &Census) -> usize {
    census.connections.len() + census.kinds.iter().map(|(_, visits)| visits.len()).sum::<usize>()
}

fn all() -> impl Iterator<Item = (String, Vec<OwnedFrame>, Setting)> {
    let load = |case: &Path| (name(case).to_owned(), frames(case), Setting::of(case));
    cases().into_iter().map(move |case| load(&case))
}

fn limits() -> impl Iterator<Item = Limits> {
    let all = Limits::default();
    let small = [1, 3];
    small.into_iter().flat_map(move |n| {
        [
            Limits { flows: n, ..all },
            Limits { lookups: n, ..all },
            Limits { connections: n, ..all },
            Limits { flows: n, lookups: n, connections: n, ..all },
        ]
    })
}

fn scan(frames: &[OwnedFrame], resolvers: &Arc<[Endpoint]>, limits: Limits) -> Census {
    let mut scanner = Scanner::new(Place::Beginning, limits, Arc::clone(resolvers));
    for (number, frame) in (1..).zip(frames) {
        scanner.push(&frame.numbered(number), &mut ());
    }
    scanner.finish().conclude(&mut ())
}

/// Blocked rules and the outcomes of their attempts.
fn blocked(report: &Report) -> Vec<(String, Vec<Outcome>)> {
    let blocked = report.rules.iter().filter(|rule| rule.verdict == Verdict::Blocked);
    let outcomes = |rule: &RuleFinding| {
        rule.destinations.iter().flat_map(|target| target.outcomes.keys().copied()).collect()
    };
    blocked.map(|rule| (rule.id.clone(), outcomes(rule))).collect()
}

fn verdict(report: &Report, rule: &str) -> Verdict {
    report.rules.iter().find(|found| found.id == rule).unwrap().verdict
}

fn reasons(report: &Report, destination: &str) -> Vec<Reason> {
    let found = report.destinations.iter().find(|found| found.name == destination).unwrap();
    found.reasons.keys().copied().collect()
}
