//! Payload that waits for the rest of its message takes no more memory than it may, whatever is
//! sent, and what isn't read for want of it never becomes a block.

#![allow(clippy::unwrap_used)]

mod common;

use std::{net::Ipv4Addr, ops::Range, sync::Arc, time::Duration};

use common::{
    OwnedFrame, Setting, cases, frames, name,
    packets::{self, ACK, End, PSH, RST, SYN},
    text,
};
use egress_auditor::{
    base::Timestamp,
    report::Report,
    scan::{Census, Limits, Partial, Place, Scanner},
    verdict::{Reason, Verdict},
};

const BEGIN: Timestamp = Timestamp::from_parts(1_800_000_000, 0);

/// Of what a segment carries at most here.
const SEGMENT: usize = 16 * 1024;

fn at(millis: u64) -> Timestamp {
    BEGIN.plus(Duration::from_millis(millis))
}

fn ends(flow: u16) -> (End, End) {
    ((Ipv4Addr::new(10, 77, 1, 10), 1024 + flow), (Ipv4Addr::new(203, 0, 113, 10), 80))
}

/// A request whose head goes on and on, up to the bytes of a flow that are read; a little of each
/// flow in turn.
fn endless_heads(flows: u16) -> Vec<OwnedFrame> {
    let mut head = b"GET / HTTP/1.1\r\nHost: mcr.microsoft.com\r\n".to_vec();
    while head.len() < 4 * SEGMENT - 1 {
        head.extend(b"X-Padding: 0123456789012345678901234567890123456789\r\n");
    }
    head.truncate(4 * SEGMENT - 1);
    let mut frames = Vec::new();
    for flow in 0..flows {
        let (client, server) = ends(flow);
        frames.push(packets::tcp(at(0), (client, server), SYN, (1000, 0), &[]));
        frames.push(packets::tcp(at(1), (server, client), SYN | ACK, (5000, 1001), &[]));
    }
    for (turn, part) in (0..).zip(head.chunks(SEGMENT)) {
        for flow in 0..flows {
            let seq = 1001 + turn * SEGMENT as u32;
            let time = at(2 + u64::from(turn) * 1000);
            frames.push(packets::tcp(time, ends(flow), PSH | ACK, (seq, 5001), part));
        }
    }
    frames
}

fn limits(payload: usize) -> Limits {
    Limits { payload, ..Limits::default() }
}

/// Scans frames after which payload must be within the limit each time.
fn push(scanner: &mut Scanner, frames: &[OwnedFrame], limit: usize) {
    for (number, frame) in (1..).zip(frames) {
        scanner.push(&frame.numbered(number), &mut ());
        assert!(scanner.payload() <= limit, "{} bytes after frame {number}", scanner.payload());
    }
}

#[test]
fn thousands_of_endless_heads_take_what_they_may() {
    const LIMIT: usize = 8 << 20;
    let flows = 2000;
    let mut scanner = Scanner::new(Place::Beginning, limits(LIMIT), Arc::from([]));
    let frames = endless_heads(flows);
    push(&mut scanner, &frames, LIMIT);
    assert!(scanner.payload() > LIMIT / 2, "{} bytes are enough", scanner.payload());
    let resets: Vec<_> = (0..flows)
        .map(|flow| packets::tcp(at(60_000), ends(flow), RST, (1001 + 65535, 0), &[]))
        .collect();
    push(&mut scanner, &resets, LIMIT);
    let census = scanner.conclude(&mut ());
    assert!(census.counters.evicted > u64::from(flows) / 2, "{}", census.counters.evicted);
    let cut_short = census.connections.iter().filter(|connection| connection.evicted).count();
    assert!(cut_short > usize::from(flows) / 2 && cut_short < usize::from(flows));
    // Every packet is counted, read or not.
    let packets: u64 = census.connections.iter().map(|one| packets_of(one)).sum();
    assert_eq!(packets, (frames.len() + resets.len()) as u64);
    let case = common::fixtures().join("reachable");
    let report = Setting::of(&case).report(&census);
    assert!(report.rules.iter().all(|rule| rule.verdict != Verdict::Blocked));
    let target = report.destinations.iter().find(|one| one.name == "mcr.microsoft.com").unwrap();
    assert!(target.reasons.contains_key(&Reason::Evicted), "{:?}", target.reasons);
    assert!(text(&report).contains("entries dropped from full tables"));
}

fn packets_of(connection: &egress_auditor::scan::Connection) -> u64 {
    connection.tally.sides.iter().map(|side| side.packets).sum()
}

/// One byte a segment: what a segment costs to remember counts as well.
#[test]
fn tiny_segments_take_what_they_may() {
    const LIMIT: usize = 256 << 10;
    let mut frames = Vec::new();
    for flow in 0..40 {
        for (n, byte) in (0..).zip(&b"GET /0123456789".repeat(40)) {
            frames.push(packets::tcp(at(u64::from(n)), ends(flow), ACK, (n, 0), &[*byte]));
        }
    }
    let mut scanner = Scanner::new(Place::Beginning, limits(LIMIT), Arc::from([]));
    push(&mut scanner, &frames, LIMIT);
    assert!(scanner.conclude(&mut ()).counters.evicted > 0);
}

/// Pieces that wait for one that never comes.
#[test]
fn gaps_take_what_they_may() {
    const LIMIT: usize = 256 << 10;
    let mut frames = Vec::new();
    for flow in 0..100 {
        frames.push(packets::tcp(at(0), ends(flow), SYN, (0, 0), &[]));
        for n in 1..30 {
            let time = at(u64::from(n));
            frames.push(packets::tcp(time, ends(flow), ACK, (n * 2000, 0), &[b'x'; 1400]));
        }
    }
    let mut scanner = Scanner::new(Place::Beginning, limits(LIMIT), Arc::from([]));
    push(&mut scanner, &frames, LIMIT);
    assert!(scanner.conclude(&mut ()).counters.evicted > 0);
}

#[test]
fn nothing_is_left_when_all_is_closed() {
    let flows = 200;
    let mut scanner = Scanner::new(Place::Beginning, Limits::default(), Arc::from([]));
    push(&mut scanner, &endless_heads(flows), usize::MAX);
    assert!(scanner.payload() >= usize::from(flows) * (4 * SEGMENT - 1));
    // Long after, others begin, enough of them to be believed that time has passed: each looks for
    // flows that are over.
    let day = 24 * 3600 * 1000;
    let later: Vec<_> =
        (0..2048).map(|flow| packets::tcp(at(day), ends(5000 + flow), SYN, (0, 0), &[])).collect();
    push(&mut scanner, &later, usize::MAX);
    assert_eq!(scanner.payload(), 0);
    assert_eq!(scanner.conclude(&mut ()).counters.evicted, 0);
}

/// A flow that takes little keeps being read while others take all there is.
#[test]
fn who_takes_most_gives_way() {
    const LIMIT: usize = 1 << 20;
    let mut scanner = Scanner::new(Place::Beginning, limits(LIMIT), Arc::from([]));
    let frames = endless_heads(100);
    let (before, rest) = frames.split_at(frames.len() - 50);
    push(&mut scanner, before, LIMIT);
    let mut lone = ends(9000);
    lone.1.0 = Ipv4Addr::new(203, 0, 113, 11);
    let request: &[u8] = b"GET / HTTP/1.1\r\nHost: packages.microsoft.com\r\n\r\n";
    let (first, second) = request.split_at(20);
    let seq = 1 + first.len() as u32;
    let lone = [
        packets::tcp(at(9000), lone, SYN, (0, 0), &[]),
        packets::tcp(at(9001), lone, PSH | ACK, (1, 1), first),
        packets::tcp(at(9500), lone, PSH | ACK, (seq, 1), second),
    ];
    push(&mut scanner, &lone[..2], LIMIT);
    push(&mut scanner, rest, LIMIT);
    push(&mut scanner, &lone[2..], LIMIT);
    let census = scanner.conclude(&mut ());
    let hosts = |connection: &egress_auditor::scan::Connection| {
        let host = connection.facts.exchanges.first().and_then(|one| one.host.clone());
        host.is_some_and(|host| &*host == "packages.microsoft.com")
    };
    let found = census.connections.iter().find(|connection| hosts(connection)).unwrap();
    assert!(!found.evicted);
}

/// However little there is, and wherever the capture is cut, no rule becomes blocked that isn't,
/// and what is held adds up (debug assertions).
#[test]
fn little_memory_invents_nothing() {
    for case in cases() {
        let (setting, frames) = (Setting::of(&case), frames(&case));
        let whole = blocked(&setting.report(&whole(&frames, &setting, Limits::default())));
        for payload in [0, 600, 3000, 20_000] {
            let cut = [0, 1, 2].map(|at| frames.len() * at / 3);
            let [_, a, b] = cut;
            let later = |range| scan(&frames, range, Place::Later, &setting, limits(payload));
            let first = || scan(&frames, 0..a, Place::Beginning, &setting, limits(payload));
            let parts = || (first(), later(a..b), later(b..frames.len()));
            let (one, two, three) = parts();
            let left = one.merge(two, &mut ()).merge(three, &mut ()).conclude(&mut ());
            let (one, two, three) = parts();
            let right = one.merge(two.merge(three, &mut ()), &mut ()).conclude(&mut ());
            let once = self::whole(&frames, &setting, limits(payload));
            for census in [once, left, right] {
                for rule in blocked(&setting.report(&census)) {
                    let known = whole.contains(&rule);
                    assert!(known, "{}: {rule} within {payload} bytes", name(&case));
                }
            }
        }
    }
}

fn blocked(report: &Report) -> Vec<String> {
    let blocked = report.rules.iter().filter(|rule| rule.verdict == Verdict::Blocked);
    blocked.map(|rule| rule.id.clone()).collect()
}

fn whole(frames: &[OwnedFrame], setting: &Setting, limits: Limits) -> Census {
    scan(frames, 0..frames.len(), Place::Beginning, setting, limits).conclude(&mut ())
}

fn scan(
    frames: &[OwnedFrame],
    range: Range<usize>,
    place: Place,
    setting: &Setting,
    limits: Limits,
) -> Partial {
    let mut scanner = Scanner::new(place, limits, setting.resolvers());
    for index in range {
        scanner.push(&frames[index].numbered(index as u64 + 1), &mut ());
        assert!(scanner.payload() <= limits.payload);
    }
    scanner.finish()
}
