//! Packets spread over several rings, as the kernel does it, and scanned apart: joined, they give the
//! report of one scan, byte for byte, in whatever order they are joined.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, net::Ipv4Addr, sync::Arc};

use common::{
    OwnedFrame, Setting, captures, cases, corpus, frames, frames_of, json, name,
    packets::{
        ACK, FIN, PSH, SYN, client_hello, dns, encrypted, server_hello, tcp, udp, unreachable,
    },
    rings::{By, joined, spread},
    scan,
};
use egress_auditor::{
    base::Timestamp,
    scan::{Limits, Partial, Place, Scanner},
};

/// The reports of one ring, and of several.
fn both(frames: &[OwnedFrame], setting: &Setting, rings: usize, by: By, seed: u64) -> [String; 2] {
    let resolvers = setting.resolvers();
    let one = scan(frames, &resolvers, &mut ());
    let mut apart = spread(frames, rings, by, seed, Limits::default(), &resolvers);
    apart.rotate_left(seed as usize % rings);
    [one, joined(apart)].map(|census| json(&setting.report(&census)))
}

/// Where two texts begin to differ.
fn difference([one, several]: &[String; 2]) -> Option<String> {
    let at = one.lines().zip(several.lines()).position(|(a, b)| a != b);
    let around = |text: &str| {
        let lines = text.lines().skip(at.unwrap_or(0).saturating_sub(9)).take(18);
        lines.collect::<Vec<_>>().join("\n")
    };
    (one != several).then(|| format!("one ring\n{}\nseveral\n{}", around(one), around(several)))
}

#[test]
fn any_fixture_spread_over_rings() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (setting, frames) = (Setting::of(&case), frames(&case));
        for (rings, seed) in [(1, 0), (2, 1), (2, 2), (3, 3), (5, 4), (16, 5)] {
            for by in [By::Program, By::Hash] {
                let reports = both(&frames, &setting, rings, by, seed);
                if let Some(difference) = difference(&reports) {
                    wrong.push(format!("{} {rings} {seed} {by:?}: {difference}", name(&case)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_spread_over_rings() {
    let Some(folder) = corpus() else { return };
    let (mut wrong, mut tried, mut torn) = (Vec::new(), 0, 0);
    for (seed, file) in (0..).zip(captures(&folder)).filter(|(seed, _)| seed % 3 == 0) {
        let mut frames = frames_of(&fs::read(&file).unwrap());
        frames.truncate(3000);
        // When idle connections end is only defined for a clock that doesn't go backwards.
        let mut latest = Timestamp::default();
        for frame in &mut frames {
            latest = latest.max(frame.time);
            frame.time = latest;
        }
        let reports = both(&frames, &Setting::default(), 3, By::Program, seed);
        tried += 1;
        // TCP in fragments is said not to have been read, and nothing is concluded from it.
        let evicted = |report: &str| !report.contains("\"evicted\": 0,");
        if let Some(difference) = difference(&reports) {
            match evicted(&reports[1]) && !evicted(&reports[0]) {
                true => torn += 1,
                false => wrong.push(format!("{}: {difference}", file.display())),
            }
        }
    }
    println!("{tried} captures spread; in {torn} TCP was torn");
    assert!(torn * 50 < tried, "{torn} of {tried}");
    assert!(tried > 20 && wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 1, 10), 40_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 20), 443);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_800_000_000_000 + millis) * 1_000_000)
}

/// A connection that went well; it takes 7 ms.
fn visit(begin: u64, isn: u32) -> Vec<OwnedFrame> {
    let (hello, answer) =
        (client_hello("management.azure.com"), [server_hello(), encrypted()].concat());
    let (out, back) = ((CLIENT, SERVER), (SERVER, CLIENT));
    let (mine, its) = (isn + 1, isn + 5001);
    let said = isn + 1 + hello.len() as u32;
    let answered = its + answer.len() as u32;
    vec![
        tcp(at(begin), out, SYN, (isn, 0), &[]),
        tcp(at(begin + 1), back, SYN | ACK, (its - 1, mine), &[]),
        tcp(at(begin + 2), out, ACK, (mine, its), &[]),
        tcp(at(begin + 3), out, PSH | ACK, (mine, its), &hello),
        tcp(at(begin + 4), back, PSH | ACK, (its, said), &answer),
        tcp(at(begin + 5), back, FIN | ACK, (answered, said), &[]),
        tcp(at(begin + 6), out, FIN | ACK, (said, answered + 1), &[]),
    ]
}

fn refused(millis: u64) -> OwnedFrame {
    unreachable(at(millis), ROUTER, 13, (CLIENT, SERVER), true)
}

/// Frames with the ring of each; the report of one ring must be that of several, in any order.
fn check(frames: &[(usize, OwnedFrame)], rings: usize) -> String {
    let setting = Setting::default();
    let mut all: Vec<_> = frames.to_vec();
    all.sort_by_key(|(_, frame)| frame.time);
    let partials = || -> Vec<Partial> {
        let new = |_| Scanner::new(Place::Beginning, Limits::default(), Arc::new([]));
        let mut scanners: Vec<_> = (0..rings).map(new).collect();
        for (number, (ring, frame)) in (1..).zip(&all) {
            scanners[*ring].push(&frame.numbered(number), &mut ());
        }
        scanners.into_iter().map(Scanner::finish).collect()
    };
    let report = |partials| json(&setting.report(&joined(partials)));
    let whole: Vec<_> = all.iter().map(|(_, frame)| frame.clone()).collect();
    let one = json(&setting.report(&scan(&whole, &setting.resolvers(), &mut ())));
    for turn in 0..rings {
        let mut apart = partials();
        apart.rotate_left(turn);
        let several = report(apart);
        assert!(one == several, "{}", difference(&[one.clone(), several]).unwrap());
    }
    // Two at a time, the last ones first.
    let mut apart = partials();
    while let (Some(last), Some(before)) = (apart.pop(), apart.pop()) {
        apart.push(before.beside([last], &mut ()));
        if apart.len() == 1 {
            break;
        }
    }
    let several = report(apart);
    assert!(one == several, "{}", difference(&[one.clone(), several]).unwrap());
    one
}

fn on(ring: usize, frames: Vec<OwnedFrame>) -> Vec<(usize, OwnedFrame)> {
    frames.into_iter().map(|frame| (ring, frame)).collect()
}

#[test]
fn an_error_on_another_ring_is_about_the_connection_that_it_quotes() {
    // Refused, and nothing else.
    let syn = tcp(at(0), (CLIENT, SERVER), SYN, (7, 0), &[]);
    let report = check(&[(1, syn), (0, refused(3))], 2);
    assert!(report.contains("\"icmp_unreachable\": 1") && report.contains("\"attempts\": 1,"));
    // One that goes well for all that, while it is open and after it ended.
    for (millis, later) in [(4, 0), (400, 0), (4, 2_000_000)] {
        let mut frames = on(1, visit(0, 1000));
        frames.push((0, refused(millis)));
        frames.push((2, udp(at(later + 1), (CLIENT, (ROUTER, 9)), b"time passes")));
        let report = check(&frames, 3);
        assert!(report.contains("\"established\": 1"), "{report}");
    }
    // Long after it: a connection of its own.
    let mut frames = on(1, visit(0, 1000));
    frames.push((0, refused(700_000)));
    check(&frames, 2);
}

#[test]
fn the_next_connection_on_the_same_ports_is_another_one() {
    let mut frames = on(1, visit(0, 1000));
    frames.extend(on(1, visit(1000, 900_000)));
    for errors in [&[][..], &[3], &[1003], &[500], &[3, 2000]] {
        let mut frames = frames.clone();
        // Each on a ring of its own: they can't be told apart otherwise.
        frames.extend((2..).zip(errors).map(|(ring, millis)| (ring, refused(*millis))));
        let report = check(&frames, 4);
        assert!(report.contains("\"established\": 2"), "{errors:?}: {report}");
    }
    // A refusal that comes first isn't about the connection that a SYN opens later.
    let mut frames = on(1, visit(1000, 1000));
    frames.push((0, refused(0)));
    check(&frames, 2);
}

#[test]
fn answers_on_another_ring_are_answers() {
    let ends = ((CLIENT.0, 50_000), (ROUTER, 53));
    let name = "management.azure.com";
    let asks = udp(at(0), ends, &dns(name, 1, None));
    let answer = dns(name, 1, Some((0, Some(SERVER.0))));
    let answers = udp(at(5), (ends.1, ends.0), &answer);
    let mut frames = vec![(1, asks), (0, answers)];
    frames.extend(on(2, visit(10, 1000)));
    let report = check(&frames, 3);
    assert!(!report.contains("name_uncorroborated"), "{report}");
}

/// A packet that passes several interfaces may be in a tunnel on one of them.
#[test]
fn copies_on_another_ring_count_once() {
    let setting = Setting::default();
    let scanner = |frames: &[OwnedFrame], first: u64| {
        let mut scanner = Scanner::new(Place::Beginning, Limits::default(), Arc::new([]));
        for (number, frame) in (first..).zip(frames) {
            scanner.push(&frame.numbered(number), &mut ());
        }
        scanner.finish()
    };
    let frames = visit(0, 1000);
    let census = joined(vec![scanner(&frames, 1), scanner(&frames, 8)]);
    let whole = scan(&frames, &setting.resolvers(), &mut ());
    let destinations = |census| {
        let report = json(&setting.report(census));
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        report["destinations"].clone()
    };
    assert_eq!(destinations(&census), destinations(&whole));
}

#[test]
fn torn_payload_proves_nothing() {
    let mut frames = visit(0, 1000);
    // The request is on another ring than the rest, and there's no answer.
    frames.drain(4..);
    let (rest, request) = (frames[..3].to_vec(), frames[3].clone());
    let mut torn = on(1, rest);
    torn.push((0, request));
    torn.push((1, tcp(at(9000), (CLIENT, SERVER), ACK, (1, 1), &[])));
    torn.push((1, udp(at(60_000), (CLIENT, (ROUTER, 9)), b"time passes")));
    let setting = Setting::default();
    let partials: Vec<_> = (0..2)
        .map(|ring| {
            let mut scanner = Scanner::new(Place::Beginning, Limits::default(), Arc::new([]));
            for (number, (_, frame)) in (1..).zip(&torn).filter(|(_, (on, _))| *on == ring) {
                scanner.push(&frame.numbered(number), &mut ());
            }
            scanner.finish()
        })
        .collect();
    let census = joined(partials);
    assert_eq!(census.counters.evicted, 1);
    let report = json(&setting.report(&census));
    assert!(report.contains("\"evicted\": 1") && !report.contains("\"blocked\": 1"), "{report}");
}
