//! A capture may be cut anywhere: scanned in stretches and merged in any grouping, it gives the
//! report of one scan, byte for byte, and the same observations.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    net::Ipv4Addr,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use common::{
    OwnedFrame, Setting, captures, cases, corpus, frames, frames_of, json, name,
    packets::{self, ACK, FIN, PSH, RST, SYN},
    rings::{By, joined, spread},
    scan,
};
use egress_auditor::{
    base::Timestamp,
    decode::{Body, Decoder, FragmentLimits},
    extract::Observation,
    flow::Endpoint,
    scan::{Limits, Partial, Place, Scanner, Team},
    source::Frame,
};
use proptest::{prelude::*, sample::select};

/// Every connection is kept as it was, so that nothing goes unnoticed.
fn limits() -> Limits {
    Limits { fold: false, ..Limits::default() }
}

/// What a scan leads to: the report, and the observations in no particular order.
#[derive(PartialEq, Eq)]
struct Told {
    report: String,
    observations: Vec<String>,
}

impl Told {
    fn new(setting: &Setting, census: &egress_auditor::scan::Census, seen: &[Observation]) -> Self {
        let mut observations: Vec<_> =
            seen.iter().map(|one| serde_json::to_string(one).unwrap()).collect();
        observations.sort();
        // More than the report shows: every connection with all that is known about it.
        let report = format!("{}{:#?}", json(&setting.report(census)), census.connections);
        Self { report, observations }
    }
}

/// A capture with what one scan over it tells.
struct Subject {
    frames: Vec<OwnedFrame>,
    setting: Setting,
    resolvers: Arc<[Endpoint]>,
    whole: Told,
}

impl Subject {
    fn new(frames: Vec<OwnedFrame>, setting: Setting) -> Self {
        let resolvers = setting.resolvers();
        let mut seen = Vec::new();
        let census = scan(&frames, &resolvers, &mut seen);
        let whole = Told::new(&setting, &census, &seen);
        Self { frames, setting, resolvers, whole }
    }

    /// Scans the stretches between `cuts` (sorted) apart and merges neighbours as `pick` says, which
    /// gets the number of neighbouring pairs.
    fn cut(&self, cuts: &[usize], mut pick: impl FnMut(usize) -> usize) -> Told {
        let mut seen = Vec::new();
        let bounds: Vec<_> = [0].iter().chain(cuts).chain(&[self.frames.len()]).copied().collect();
        let mut partials: Vec<_> =
            bounds.windows(2).map(|ends| self.stretch(ends[0]..ends[1], &mut seen)).collect();
        while partials.len() > 1 {
            let at = pick(partials.len() - 1);
            let later = partials.remove(at + 1);
            let earlier = partials.remove(at);
            partials.insert(at, earlier.merge(later, &mut seen));
        }
        let census = partials.pop().unwrap().conclude(&mut seen);
        Told::new(&self.setting, &census, &seen)
    }

    fn stretch(&self, range: std::ops::Range<usize>, seen: &mut Vec<Observation>) -> Partial {
        let place = if range.start == 0 { Place::Beginning } else { Place::Later };
        let mut scanner = Scanner::new(place, limits(), Arc::clone(&self.resolvers));
        for index in range {
            scanner.push(&self.frames[index].numbered(index as u64 + 1), seen);
        }
        scanner.finish()
    }

    /// Panics unless a team of threads that reads up to each of `cuts` in one turn tells the same.
    fn check_team(&self, threads: usize, cuts: &[usize], backed: bool) {
        let all: Arc<Vec<u8>> = Arc::new(self.frames.iter().flat_map(|f| f.data.clone()).collect());
        let (mut at, mut offset) = (0, 0);
        let mut team =
            Team::new(NonZeroUsize::new(threads).unwrap(), limits(), Arc::clone(&self.resolvers));
        team.scan(|turn| {
            turn.backed_by(backed.then(|| Arc::clone(&all) as _));
            let until = cuts.iter().copied().find(|cut| *cut > at).unwrap_or(self.frames.len());
            while at < until {
                let frame = self.frames[at].numbered(at as u64 + 1);
                let data = &all[offset..offset + frame.data.len()];
                (at, offset) = (at + 1, offset + data.len());
                if turn.frame(&Frame { data, ..frame }).is_break() {
                    break;
                }
            }
            at < self.frames.len()
        });
        let told = Told::new(&self.setting, &team.conclude(), &[]);
        let told = Told { observations: self.whole.observations.clone(), ..told };
        self.check(&told, &format!("{threads} threads, turns end at {cuts:?}"));
    }

    /// Panics with the first lines that differ.
    fn check(&self, told: &Told, what: &str) {
        if let Some(difference) = self.difference(told) {
            panic!("{what}: {difference}");
        }
    }

    fn difference(&self, told: &Told) -> Option<String> {
        if *told == self.whole {
            return None;
        }
        let (whole, cut) = (&self.whole, told);
        let line = whole.report.lines().zip(cut.report.lines()).position(|(a, b)| a != b);
        let around = |text: &str| {
            let line = line.unwrap_or_default();
            text.lines().skip(line.saturating_sub(5)).take(12).collect::<Vec<_>>().join("\n")
        };
        let only = |one: &[String], other: &[String]| {
            one.iter().filter(|line| !other.contains(line)).cloned().collect::<Vec<_>>().join("\n")
        };
        Some(format!(
            "one scan says\n{}\ncut, it says\n{}\nobservations missing:\n{}\nadditional:\n{}",
            around(&whole.report),
            around(&cut.report),
            only(&whole.observations, &cut.observations),
            only(&cut.observations, &whole.observations),
        ))
    }
}

/// Small and repeatable (xorshift64*): which cuts are tried doesn't change from run to run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// Up to `most` places to cut, sorted; equal ones make empty stretches.
    fn cuts(&mut self, most: usize, frames: usize) -> Vec<usize> {
        let count = 1 + self.below(most);
        let mut cuts: Vec<_> = (0..count).map(|_| self.below(frames + 1)).collect();
        cuts.sort_unstable();
        // The beginning of the capture is what begins it, also when it is an empty stretch.
        cuts.retain(|&cut| cut > 0);
        cuts
    }
}

#[test]
fn one_cut_anywhere_in_any_fixture() {
    for case in cases() {
        let subject = Subject::new(frames(&case), Setting::of(&case));
        for cut in 1..=subject.frames.len() {
            subject.check(&subject.cut(&[cut], |_| 0), &format!("{} cut at {cut}", name(&case)));
        }
    }
}

#[test]
fn every_frame_of_any_fixture_apart() {
    let mut random = Random(1);
    for case in cases() {
        let subject = Subject::new(frames(&case), Setting::of(&case));
        let cuts: Vec<_> = (1..subject.frames.len()).collect();
        subject.check(&subject.cut(&cuts, |_| 0), &format!("{} from the left", name(&case)));
        let last = |pairs: usize| pairs - 1;
        subject.check(&subject.cut(&cuts, last), &format!("{} from the right", name(&case)));
        let any = subject.cut(&cuts, |pairs| random.below(pairs));
        subject.check(&any, &format!("{} in any grouping", name(&case)));
    }
}

#[test]
fn random_cuts_of_any_fixture() {
    let mut random = Random(2);
    for case in cases() {
        let subject = Subject::new(frames(&case), Setting::of(&case));
        for _ in 0..20 {
            let cuts = random.cuts(12, subject.frames.len());
            subject.check_team(1 + random.below(4), &cuts, random.below(2) == 0);
            let told = subject.cut(&cuts, |pairs| random.below(pairs));
            subject.check(&told, &format!("{} cut at {cuts:?}", name(&case)));
        }
    }
}

/// Several fixtures, also the same one again, one after the other: the same names, addresses and
/// tuples come back, at once or after everything has timed out.
#[test]
fn fixtures_one_after_the_other() {
    let all: Vec<_> = cases().iter().map(|case| frames(case)).collect();
    let mut random = Random(3);
    for _ in 0..40 {
        let mut joined: Vec<OwnedFrame> = Vec::new();
        let mut chosen = Vec::new();
        for _ in 0..2 + random.below(4) {
            // Often one that is there already.
            let again = chosen.get(random.below(chosen.len() * 2)).copied();
            let pick = again.unwrap_or_else(|| random.below(all.len()));
            chosen.push(pick);
            let gap = [0, 1, 200, 700][random.below(4)];
            append(&mut joined, &all[pick], Duration::from_secs(gap));
        }
        let subject = Subject::new(joined, Setting::default());
        for _ in 0..6 {
            let cuts = random.cuts(20, subject.frames.len());
            subject.check_team(1 + random.below(4), &cuts, random.below(2) == 0);
            let told = subject.cut(&cuts, |pairs| random.below(pairs));
            subject.check(&told, &format!("fixtures {chosen:?} cut at {cuts:?}"));
        }
    }
}

fn append(joined: &mut Vec<OwnedFrame>, more: &[OwnedFrame], gap: Duration) {
    let begin = joined.last().map(|frame| frame.time.plus(gap));
    let first = more.first().map_or_else(Timestamp::default, |frame| frame.time);
    joined.extend(more.iter().cloned().map(|frame| match begin {
        Some(begin) => OwnedFrame { time: begin.plus(frame.time.since(first)), ..frame },
        None => frame,
    }));
}

#[test]
fn random_cuts_of_the_corpus() {
    const TIME: Duration = Duration::from_secs(40);
    let Some(folder) = corpus() else { return };
    let mut files = captures(&folder);
    let mut random = Random(4);
    for index in (1..files.len()).rev() {
        files.swap(index, random.below(index + 1));
    }
    let (begun, mut tried) = (Instant::now(), 0);
    for file in &files {
        if begun.elapsed() > TIME {
            break;
        }
        let mut frames = frames_of(&fs::read(file).unwrap());
        frames.truncate(3000);
        if frames.len() < 2 {
            continue;
        }
        in_order(&mut frames);
        let subject = Subject::new(frames, Setting::default());
        for _ in 0..4 {
            let cuts = random.cuts(8, subject.frames.len());
            subject.check_team(1 + random.below(4), &cuts, random.below(2) == 0);
            let told = subject.cut(&cuts, |pairs| random.below(pairs));
            subject.check(&told, &format!("{} cut at {cuts:?}", file.display()));
        }
        tried += 1;
    }
    println!("{tried} captures cut");
    assert!(tried > 20);
}

/// Raises each time stamp to the one before: when idle connections end is only defined for a clock
/// that doesn't go backwards.
fn in_order(frames: &mut [OwnedFrame]) {
    let mut latest = Timestamp::default();
    for frame in frames {
        latest = latest.max(frame.time);
        frame.time = latest;
    }
}

// ---- Made-up captures ---------------------------------------------------------------------------

/// Both directions of a connection: the client's bytes, the server's bytes.
type Script = [Vec<u8>; 2];

/// What connections say: TLS, HTTP, CONNECT, DNS over TCP, and something unknown.
static SCRIPTS: LazyLock<Vec<Script>> = LazyLock::new(|| {
    let of = |case: &str, port: u16| script(&common::fixtures().join(case), port);
    vec![
        of("reachable", 443),
        of("segmented-pq-clienthello", 443),
        of("reachable-tls12", 443),
        of("http-plain", 80),
        of("proxy-connect", 3128),
        of("proxy-denied", 3128),
        of("dns-tcp-retry", 53),
        [b"hello there".repeat(40), b"general".repeat(60)],
        [vec![0x16; 900], vec![0; 900]],
    ]
});

/// DNS messages, and something else.
static DATAGRAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut found = vec![Vec::new(), vec![0xff; 30], b"\xc0\0\0\0\x01\x08aaaaaaaa".to_vec()];
    for case in ["reachable", "dns-nxdomain", "search-domains", "quic"] {
        let mut decoder = Decoder::new(FragmentLimits::default());
        for frame in frames(&common::fixtures().join(case)) {
            if let Ok(packet) = decoder.decode(&frame.numbered(1))
                && let Body::Udp(udp) = packet.body
            {
                found.push(udp.payload.to_vec());
            }
        }
    }
    found
});

/// The first bytes of both directions of the first connection to `port`.
fn script(case: &std::path::Path, port: u16) -> Script {
    let mut sides = [Vec::new(), Vec::new()];
    let mut tuple = None;
    let mut decoder = Decoder::new(FragmentLimits::default());
    for frame in frames(case) {
        let frame = frame.numbered(1);
        let Ok(packet) = decoder.decode(&frame) else { continue };
        let Body::Tcp(tcp) = packet.body else { continue };
        let (side, client_port) = match (tcp.src_port == port, tcp.dst_port == port) {
            (true, _) => (1, tcp.dst_port),
            (_, true) => (0, tcp.src_port),
            _ => continue,
        };
        if *tuple.get_or_insert(client_port) == client_port {
            sides[side].extend_from_slice(tcp.payload);
        }
    }
    assert!(sides.iter().all(|side| !side.is_empty()), "{}", case.display());
    sides
}

/// One packet of a made-up capture.
#[derive(Clone, Debug)]
struct Act {
    gap: u64,
    /// Which of a few tuples, and from which side.
    tuple: usize,
    reverse: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// `isn` picks one of a few initial sequence numbers; `offset` and `len` pick a piece of what
    /// the side says, `shift` puts it elsewhere.
    Tcp {
        flags: u8,
        isn: [usize; 2],
        offset: usize,
        len: usize,
        shift: u32,
    },
    Udp {
        message: usize,
    },
    Unreachable {
        code: u8,
        over_tcp: bool,
    },
}

const ISNS: [u32; 4] = [1000, 1400, 70_000, u32::MAX - 700];

fn gaps() -> impl Strategy<Value = u64> {
    const SECOND: u64 = 1_000_000_000;
    prop_oneof![
        12 => Just(0),
        12 => 1u64..5_000_000,
        4 => Just(2 * SECOND),
        2 => select(vec![179 * SECOND, 180 * SECOND, 180 * SECOND + 1, 239 * SECOND, 241 * SECOND]),
        2 => select(vec![599 * SECOND, 600 * SECOND, 600 * SECOND + 1, 659 * SECOND]),
        1 => select(vec![661 * SECOND, 5000 * SECOND]),
    ]
}

fn kinds() -> impl Strategy<Value = Kind> {
    let flags = prop_oneof![
        6 => select(vec![ACK, PSH | ACK]),
        3 => Just(SYN),
        2 => Just(SYN | ACK),
        1 => select(vec![FIN | ACK, RST, RST | ACK]),
        1 => any::<u8>(),
    ];
    // The same number mostly, so that some connections hold together.
    let isn = || prop_oneof![6 => Just(0usize), 1 => 0..ISNS.len()];
    let offset = prop_oneof![3 => Just(0usize), 3 => 0usize..1600];
    let len = prop_oneof![2 => Just(0usize), 2 => 1usize..40, 4 => 1usize..1600];
    let shift = prop_oneof![9 => Just(0u32), 1 => 0u32..3000, 1 => any::<u32>()];
    prop_oneof![
        12 => (flags, [isn(), isn()], offset, len, shift)
            .prop_map(|(flags, isn, offset, len, shift)| Kind::Tcp { flags, isn, offset, len, shift }),
        3 => (0usize..64).prop_map(|message| Kind::Udp { message }),
        1 => (select(vec![0u8, 1, 3, 13]), any::<bool>())
            .prop_map(|(code, over_tcp)| Kind::Unreachable { code, over_tcp }),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (gaps(), 0usize..4, any::<bool>(), kinds())
        .prop_map(|(gap, tuple, reverse, kind)| Act { gap, tuple, reverse, kind });
    prop::collection::vec(act, 2..60)
}

/// A capture of `acts`. `scripts` says what is said on each tuple.
fn perform(acts: &[Act], scripts: &[usize]) -> Vec<OwnedFrame> {
    let mut now = Timestamp::from_parts(1_800_000_000, 0);
    let mut frames = Vec::new();
    for act in acts {
        now = now.plus(Duration::from_nanos(act.gap));
        let server_port = [443, 80, 3128, 53][act.tuple];
        let client = (Ipv4Addr::new(10, 77, 1, 10), 40_000 + act.tuple as u16 / 2);
        let server = (Ipv4Addr::new(203, 0, 113, 10), server_port);
        let ends = if act.reverse { (server, client) } else { (client, server) };
        let side = usize::from(act.reverse);
        frames.push(match act.kind {
            Kind::Tcp { flags, isn, offset, len, shift } => {
                let said = &SCRIPTS[scripts[act.tuple] % SCRIPTS.len()][side];
                let offset = offset.min(said.len());
                let payload = &said[offset..said.len().min(offset + len)];
                let syn = flags & SYN != 0;
                // A SYN's data begins behind the SYN.
                let before = if syn { 0 } else { 1 + offset as u32 };
                let seq = ISNS[isn[side]].wrapping_add(before).wrapping_add(shift);
                // A SYN-ACK may accept data that came with the SYN (RFC 7413).
                let accepted = if syn && len % 3 == 0 { offset as u32 } else { 0 };
                let ack = ISNS[isn[1 - side]].wrapping_add(1 + accepted);
                // Most SYNs carry nothing.
                let payload = if syn && len % 4 > 0 { &[] } else { payload };
                packets::tcp(now, ends, flags, (seq, ack), payload)
            }
            Kind::Udp { message } => packets::udp(now, ends, &DATAGRAMS[message % DATAGRAMS.len()]),
            Kind::Unreachable { code, over_tcp } => {
                packets::unreachable(now, Ipv4Addr::new(10, 77, 1, 1), code, ends, over_tcp)
            }
        });
    }
    frames
}

/// Only so many bytes of each direction are looked at, counted from its beginning, wherever the
/// capture is cut.
#[test]
fn what_is_looked_at_ends_at_the_same_byte() {
    let client = (Ipv4Addr::new(10, 77, 1, 10), 40_000);
    let server = (Ipv4Addr::new(203, 0, 113, 10), 9000);
    let mut random = Random(5);
    let mut found = Vec::new();
    for filler in 40..52_u32 {
        let mut frames = Vec::new();
        let mut next = [1000_u32, 5000];
        let mut say = |side: usize, flags: u8, payload: &[u8]| {
            let ends = [(client, server), (server, client)][side];
            let at = Timestamp::from_parts(1_800_000_000, frames.len() as u64 * 1_000_000);
            frames.push(packets::tcp(at, ends, flags, (next[side], next[1 - side]), payload));
            next[side] += payload.len() as u32 + u32::from(flags & SYN != 0);
        };
        say(0, SYN, &[]);
        say(1, SYN | ACK, &[]);
        for _ in 0..filler {
            say(0, PSH | ACK, &[0xee; 1400]);
            say(1, ACK, b"yes");
        }
        for _ in 0..4 {
            say(0, PSH | ACK, &SCRIPTS[0][0]);
            say(1, PSH | ACK, &SCRIPTS[0][1]);
        }
        let subject = Subject::new(frames, Setting::default());
        found.push(!subject.whole.observations.is_empty());
        for _ in 0..12 {
            let cuts = random.cuts(6, subject.frames.len());
            subject.check_team(1 + random.below(4), &cuts, random.below(2) == 0);
            let told = subject.cut(&cuts, |pairs| random.below(pairs));
            subject.check(&told, &format!("behind {filler} segments, cut at {cuts:?}"));
        }
    }
    assert!(found.contains(&true) && found.contains(&false), "{found:?}");
}

/// Handshakes; `between`; the rest of the same connections, as if nothing had been between.
fn around(between: Vec<OwnedFrame>) -> Subject {
    let at = |millis: u64| Timestamp::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000);
    let server = (Ipv4Addr::new(203, 0, 113, 20), 443);
    let client = |port| (Ipv4Addr::new(10, 77, 1, 10), port);
    let mut frames = Vec::new();
    for port in 40_000..40_060 {
        frames.push(packets::tcp(at(0), (client(port), server), SYN, (1000, 0), &[]));
    }
    frames.extend(between);
    for port in 40_000..40_060 {
        frames.push(packets::tcp(at(20), (server, client(port)), SYN | ACK, (2000, 1001), &[]));
        frames.push(packets::tcp(at(21), (client(port), server), ACK, (1001, 2001), &[]));
        frames.push(packets::tcp(at(22), (client(port), server), FIN | ACK, (1001, 2001), &[]));
        frames.push(packets::tcp(at(23), (server, client(port)), FIN | ACK, (2001, 1002), &[]));
    }
    Subject::new(frames, Setting::default())
}

/// SYNs of other connections, two hours later.
fn ahead(count: u16) -> Vec<OwnedFrame> {
    let at = Timestamp::from_nanos(1_700_007_200_000_000_000);
    let server = (Ipv4Addr::new(203, 0, 113, 21), 443);
    let client = |port| (Ipv4Addr::new(10, 77, 1, 11), port);
    (0..count).map(|n| packets::tcp(at, (client(10_000 + n), server), SYN, (1, 0), &[])).collect()
}

#[test]
fn a_few_wrong_stamps_end_no_connection() {
    let few = around(ahead(3));
    for threads in 1..6 {
        few.check_team(threads, &[], true);
    }
    // Those with the wrong stamps, and no parts.
    let census = scan(&few.frames, &few.resolvers, &mut ());
    let connections: usize = census.kinds.iter().map(|(_, visits)| visits.len()).sum();
    assert_eq!(connections + census.connections.len(), 60 + 3);
}

#[test]
fn a_clock_that_is_set_back_tells_all_threads_the_same() {
    for count in [600, 3000] {
        let subject = around(ahead(count));
        for threads in 1..6 {
            subject.check_team(threads, &[], true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn random_cuts_of_hostile_captures(
        acts in acts(),
        scripts in prop::collection::vec(0usize..9, 4),
        seed in 1u64..,
    ) {
        let subject = Subject::new(perform(&acts, &scripts), Setting::default());
        let mut random = Random(seed);
        let frames = subject.frames.len();
        for round in 0..6 {
            let cuts = match round {
                0 => (1..frames).collect(),
                _ => random.cuts(8, frames),
            };
            subject.check_team(1 + random.below(4), &cuts, random.below(2) == 0);
            let told = subject.cut(&cuts, |pairs| random.below(pairs));
            let difference = subject.difference(&told);
            prop_assert!(difference.is_none(), "cut at {:?}: {}", cuts, difference.unwrap());
        }
    }

    /// Neither does it matter over how many rings the kernel spreads them.
    #[test]
    fn hostile_captures_on_several_rings(
        acts in acts(),
        scripts in prop::collection::vec(0usize..9, 4),
        rings in 2usize..5,
        seed in any::<u64>(),
    ) {
        let frames = perform(&acts, &scripts);
        let setting = Setting::default();
        let one = scan(&frames, &setting.resolvers(), &mut ());
        let mut apart =
            spread(&frames, rings, By::Program, seed, Limits::default(), &setting.resolvers());
        apart.rotate_left(seed as usize % rings);
        let several = joined(apart);
        prop_assert_eq!(json(&setting.report(&one)), json(&setting.report(&several)));
    }
}
