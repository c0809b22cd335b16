//! Made-up conversations of a few clients with a few servers, some of which fail: whether those that
//! went well are folded, and whether old ones stand for others, changes no verdict.

#![allow(clippy::unwrap_used)]

mod common;

use std::{net::Ipv4Addr, sync::LazyLock, time::Duration};

use common::{
    OwnedFrame, Setting, json,
    packets::{
        ACK, FIN, PSH, RST, SYN, client_hello, dns, encrypted, response, server_hello, tcp, udp,
        unreachable,
    },
    rings::{By, joined, spread},
};
use egress_auditor::{
    allowlist::{Allowlist, Context, Input, Policy},
    base::Timestamp,
    catalog::Profile,
    scan::{Census, Limits, Place, Scanner},
};
use proptest::{prelude::*, sample::select};
use serde_json::Value;

/// The profile's proxy, and its sinkhole.
const PROXY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 90);
const SINKHOLE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
const SERVERS: [Ipv4Addr; 5] = [
    Ipv4Addr::new(203, 0, 113, 10),
    Ipv4Addr::new(203, 0, 113, 11),
    PROXY,
    SINKHOLE,
    // Another captured host.
    Ipv4Addr::new(10, 77, 1, 9),
];
const CLIENTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 77, 1, 10),
    Ipv4Addr::new(10, 77, 1, 11),
    Ipv4Addr::new(10, 77, 1, 200),
    // From outside.
    Ipv4Addr::new(192, 0, 2, 77),
];
const NAMES: [&str; 3] = ["mcr.microsoft.com", "telemetry.example.net", "other.example.org"];
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 53);

const PROFILE: &str = r#"
catalogs = ["aks"]
features = ["os-updates"]

[network]
local = ["10.77.1.0/24"]
internal = ["10.77.0.0/16"]
proxies = ["198.51.100.90:3128"]
sinkholes = ["203.0.113.99"]
"#;

static SETTING: LazyLock<Setting> =
    LazyLock::new(|| Setting::new(Profile::parse(PROFILE, "profile").unwrap()));

/// One conversation, so long after the one before began.
#[derive(Clone, Debug)]
struct Talk {
    after: u64,
    client: usize,
    server: usize,
    name: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lookup,
    NoSuchName,
    Tls,
    TlsReset,
    TcpSilent,
    TcpReset,
    Refused,
    Http,
    /// The request comes so many seconds after the handshake.
    HttpLater(u64),
    HttpDenied,
    Through,
    ThroughWithoutName,
    ThroughDenied,
    ProxySilent,
    Data(u16),
    Datagrams(u16, u16),
    DatagramsSilent,
}

const KINDS: [Kind; 20] = [
    Kind::Lookup,
    Kind::NoSuchName,
    Kind::Tls,
    Kind::Tls,
    Kind::TlsReset,
    Kind::TcpSilent,
    Kind::TcpReset,
    Kind::Refused,
    Kind::Http,
    Kind::HttpLater(7),
    Kind::HttpLater(45),
    Kind::HttpDenied,
    Kind::Through,
    Kind::ThroughWithoutName,
    Kind::ThroughDenied,
    Kind::ProxySilent,
    Kind::Data(443),
    Kind::Datagrams(443, 40_000),
    Kind::Datagrams(5000, 40_000),
    Kind::DatagramsSilent,
];

/// Frames, each at its millisecond.
#[derive(Default)]
struct Stage {
    frames: Vec<OwnedFrame>,
    ports: u16,
}

impl Stage {
    fn perform(talks: &[Talk]) -> Self {
        let mut stage = Self::default();
        let mut now = 0;
        for talk in talks {
            now += talk.after;
            stage.talk(now, talk);
        }
        stage
    }

    fn talk(&mut self, at: u64, talk: &Talk) {
        self.ports += 1;
        let (client, server) = (CLIENTS[talk.client], SERVERS[talk.server]);
        let (name, port) = (NAMES[talk.name], 20_000 + self.ports);
        let get = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
        let connect = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n");
        let connect = connect.into_bytes();
        let granted = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let denied = response(407, "");
        let (hello, finished) = (client_hello(name), [server_hello(), encrypted()].concat());
        let tls = |to: u16| ((client, port), (server, to));
        let proxy = ((client, port), (PROXY, 3128));
        match talk.kind {
            Kind::Lookup => self.lookup(at, client, name, (0, Some(server))),
            Kind::NoSuchName => self.lookup(at, client, name, (3, None)),
            Kind::Tls => self.tcp(at, tls(443), 0, &[(0, &hello), (1, &finished)], FIN),
            Kind::TlsReset => self.tcp(at, tls(443), 0, &[(0, &hello)], RST),
            Kind::Http => self.tcp(at, tls(80), 0, &[(0, &get), (1, &response(200, ""))], FIN),
            Kind::HttpLater(seconds) => {
                let wait = seconds * 1000;
                self.tcp(at, tls(80), wait, &[(0, &get), (1, &response(200, ""))], FIN)
            }
            Kind::HttpDenied => {
                self.tcp(at, tls(80), 0, &[(0, &get), (1, &response(451, ""))], FIN)
            }
            Kind::Through => {
                let said = [(0, &connect), (1, &granted), (0, &hello), (1, &finished)];
                self.tcp(at, proxy, 0, &said, FIN)
            }
            Kind::ThroughWithoutName => {
                let hello = client_hello("x.invalid");
                let said = [(0, &connect), (1, &granted), (0, &hello), (1, &finished)];
                self.tcp(at, proxy, 0, &said, FIN)
            }
            Kind::ThroughDenied => self.tcp(at, proxy, 0, &[(0, &connect), (1, &denied)], FIN),
            Kind::Data(to) => {
                self.tcp(at, tls(to), 0, &[(1, &b"220 hello".to_vec())], FIN);
            }
            Kind::TcpSilent | Kind::ProxySilent | Kind::TcpReset | Kind::Refused => {
                let ends = if talk.kind == Kind::ProxySilent { proxy } else { tls(443) };
                self.push(at, |time| tcp(time, ends, SYN, (7, 0), &[]));
                let back = (ends.1, ends.0);
                match talk.kind {
                    Kind::TcpReset => {
                        self.push(at + 3, |time| tcp(time, back, RST | ACK, (0, 8), &[]))
                    }
                    Kind::Refused => self.push(at + 3, |time| {
                        unreachable(time, Ipv4Addr::new(10, 77, 1, 1), 13, ends, true)
                    }),
                    _ => self.push(at + 1000, |time| tcp(time, ends, SYN, (7, 0), &[])),
                }
            }
            Kind::Datagrams(from, to) => {
                let ends = ((client, from), (server, to));
                self.push(at, |time| udp(time, ends, b"question"));
                self.push(at + 5, |time| udp(time, (ends.1, ends.0), b"an answer"));
            }
            Kind::DatagramsSilent => self.push(at, |time| udp(time, tls(443), b"question")),
        }
    }

    fn push(&mut self, at: u64, make: impl Fn(Timestamp) -> OwnedFrame) {
        self.frames.push(make(Timestamp::from_nanos((1_800_000_000_000 + at) * 1_000_000)));
    }

    fn lookup(&mut self, at: u64, client: Ipv4Addr, name: &str, answer: (u8, Option<Ipv4Addr>)) {
        let ends = ((client, 30_000 + self.ports), (RESOLVER, 53));
        self.push(at, |time| udp(time, ends, &dns(name, 1, None)));
        self.push(at + 2, |time| udp(time, (ends.1, ends.0), &dns(name, 1, Some(answer))));
    }

    /// A handshake, then what the client (0) and the server (1) say after a while, then an end.
    fn tcp(
        &mut self,
        at: u64,
        (client, server): ((Ipv4Addr, u16), (Ipv4Addr, u16)),
        wait: u64,
        said: &[(usize, &Vec<u8>)],
        end: u8,
    ) {
        let mut next = [1000_u32, 9000];
        let opening = [(0, SYN, 0), (1, SYN | ACK, 1), (0, ACK, 2)];
        let mut steps: Vec<(usize, u8, u64, &[u8])> =
            opening.map(|(side, flags, at)| (side, flags, at, &[][..])).to_vec();
        let after = wait + 3;
        steps.extend(
            (0..).zip(said).map(|(n, (side, text))| (*side, PSH | ACK, after + n, &text[..])),
        );
        let close = after + said.len() as u64;
        steps.push((1, end | ACK, close, &[]));
        if end == FIN {
            steps.push((0, FIN | ACK, close + 1, &[]));
        }
        for (side, flags, later, text) in steps {
            let ends = if side == 0 { (client, server) } else { (server, client) };
            let ack = if flags & ACK == 0 { 0 } else { next[1 - side] };
            let numbers = (next[side], ack);
            self.push(at + later, |time| tcp(time, ends, flags, numbers, text));
            let phantom = u32::from(flags & (SYN | FIN) != 0);
            next[side] = next[side].wrapping_add(text.len() as u32 + phantom);
        }
    }

    fn in_order(mut self) -> Vec<OwnedFrame> {
        self.frames.sort_by_key(|frame| frame.time);
        self.frames
    }
}

fn census(frames: &[OwnedFrame], limits: Limits) -> Census {
    let mut scanner = Scanner::new(Place::Beginning, limits, SETTING.resolvers());
    for (number, frame) in (1..).zip(frames) {
        scanner.push(&frame.numbered(number), &mut ());
    }
    scanner.conclude(&mut ())
}

/// One allowlist that permits one of the clients what it denies the others.
fn reports(census: &Census) -> [String; 2] {
    let list = "source,destination,port,action\n10.77.1.10,telemetry.example.net,443,allow\n";
    let inputs = [Input { file: "list.csv", text: list, format: None }];
    let list = Allowlist::read(&inputs, Context::default()).unwrap();
    let policy = Policy::new(&list);
    [None, Some(&policy)].map(|policy| json(&SETTING.report_with(census, policy)))
}

fn same_folded(frames: &[OwnedFrame]) -> Result<(), String> {
    let folded = census(frames, Limits::default());
    let plain = census(frames, Limits { fold: false, ..Limits::default() });
    for (a, b) in reports(&plain).iter().zip(&reports(&folded)) {
        same(a, b)?;
    }
    Ok(())
}

fn same(a: &str, b: &str) -> Result<(), String> {
    let at = a.lines().zip(b.lines()).position(|(a, b)| a != b);
    if a == b {
        return Ok(());
    }
    let at = at.unwrap_or_default();
    let around = |text: &str| {
        text.lines().skip(at.saturating_sub(12)).take(24).collect::<Vec<_>>().join("\n")
    };
    Err(format!("expected\n{}\nfound\n{}", around(a), around(b)))
}

/// With room for these alone, then so many later ones that room runs out.
fn same_thinned(talks: &[Talk]) -> Result<bool, String> {
    let mut stage = Stage::perform(talks);
    let end = talks.iter().map(|talk| talk.after).sum::<u64>() + 20_000_000;
    let more = Talk { after: 0, client: 2, server: 1, name: 2, kind: Kind::Tls };
    let room = talks.len() + 4;
    for n in 0..6 {
        stage.talk(end + n * 10, &more);
    }
    let frames = stage.in_order();
    let all = census(&frames, Limits::default());
    let thinned = census(&frames, Limits { connections: room, ..Limits::default() });
    let count = |census: &Census| {
        census.connections.len() + census.kinds.iter().map(|(_, all)| all.len()).sum::<usize>()
    };
    if thinned.counters.evicted > 0 || count(&thinned) == count(&all) {
        return Ok(false);
    }
    for (a, b) in reports(&all).iter().zip(&reports(&thinned)) {
        same(&outlines(a), &outlines(b))?;
    }
    Ok(true)
}

/// A report without what is said to be approximate.
fn outlines(report: &str) -> String {
    let mut report: Value = serde_json::from_str(report).unwrap();
    forget(&mut report);
    serde_json::to_string_pretty(&report).unwrap()
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in ["evidence", "candidates", "attempts"] {
                fields.remove(field);
            }
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

/// The same packets on several rings.
fn same_spread(frames: &[OwnedFrame], rings: usize, seed: u64) -> Result<(), String> {
    let one = reports(&census(frames, Limits::default()));
    for by in [By::Program, By::Hash] {
        let mut apart = spread(frames, rings, by, seed, Limits::default(), &SETTING.resolvers());
        apart.rotate_left(seed as usize % rings);
        for (a, b) in one.iter().zip(&reports(&joined(apart))) {
            same(a, b).map_err(|told| format!("{by:?}: {told}"))?;
        }
    }
    Ok(())
}

fn talks(most: usize) -> impl Strategy<Value = Vec<Talk>> {
    let after = select(vec![
        0, 0, 1, 200, 1000, 2900, 3000, 3001, 9000, 27_000, 29_900, 31_000, 40_000, 61_000,
        700_000, 4_000_000,
    ]);
    let client = prop_oneof![8 => Just(0usize), 3 => Just(1usize), 2 => 0usize..4];
    let server = prop_oneof![6 => Just(0usize), 3 => Just(1usize), 3 => 0usize..5];
    let name = prop_oneof![6 => Just(0usize), 3 => 0usize..3];
    let talk = (after, client, server, name, select(&KINDS[..]));
    let talk = talk.prop_map(|(after, client, server, name, kind)| Talk {
        after,
        client,
        server,
        name,
        kind,
    });
    prop::collection::vec(talk, 3..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn folded_or_not(talks in talks(60)) {
        let told = same_folded(&Stage::perform(&talks).in_order());
        prop_assert!(told.is_ok(), "{}", told.unwrap_err());
    }

    /// The clock jumps, or stands still.
    #[test]
    fn folded_or_not_by_any_clock(talks in talks(40), jump in 1usize..9, back in 0u64..5000) {
        let mut frames = Stage::perform(&talks).in_order();
        let first = frames[0].time;
        for (n, frame) in frames.iter_mut().enumerate() {
            frame.time = match jump {
                1 => first,
                _ if n % jump == 0 => frame.time.minus(Duration::from_secs(back)),
                _ => frame.time,
            };
        }
        let told = same_folded(&frames);
        prop_assert!(told.is_ok(), "{}", told.unwrap_err());
    }

    #[test]
    fn spread_or_not(talks in talks(60), rings in 2usize..6, seed in 0u64..1000) {
        let told = same_spread(&Stage::perform(&talks).in_order(), rings, seed);
        prop_assert!(told.is_ok(), "{}", told.unwrap_err());
    }

    #[test]
    fn thinned_or_not(mut talks in talks(60)) {
        // Whoever thins out doesn't know the profile, and takes a sinkhole's answer for one.
        talks.iter_mut().filter(|talk| SERVERS[talk.server] == SINKHOLE).for_each(|t| t.server = 0);
        let told = same_thinned(&talks);
        prop_assert!(told.is_ok(), "{}", told.unwrap_err());
    }
}

fn talk(after: u64, kind: Kind) -> Talk {
    Talk { after, client: 0, server: 0, name: 0, kind }
}

/// Requests needn't come in the order in which connections were opened.
#[test]
fn evidence_is_the_earliest_request() {
    let mut talks = vec![talk(0, Kind::HttpLater(45)); 8];
    talks.push(talk(1000, Kind::Http));
    same_folded(&Stage::perform(&talks).in_order()).unwrap();
}

#[test]
fn an_allowlist_may_permit_one_client_alone() {
    let by = |client: usize| Talk { client, name: 1, ..talk(1000, Kind::Tls) };
    same_folded(&Stage::perform(&[by(0), by(1), by(0)]).in_order()).unwrap();
}

/// Of HTTP, the request counts, also where a failure lies between one and the next.
#[test]
fn requests_out_of_order_are_not_joined_across_a_failure() {
    let talks = [
        talk(0, Kind::Lookup),
        talk(1000, Kind::HttpLater(100)),
        talk(1000, Kind::HttpLater(50)),
        Talk { name: 0, ..talk(51_000, Kind::TcpSilent) },
        talk(400_000, Kind::Http),
        talk(60_000, Kind::Http),
        talk(60_000, Kind::Http),
        talk(60_000, Kind::Http),
        talk(60_000, Kind::Http),
        talk(60_000, Kind::Http),
    ];
    assert_eq!(same_thinned(&talks), Ok(true));
}

/// A proxy that denies can be reached, which makes silence before that good.
#[test]
fn a_proxys_denial_parts_its_failures() {
    let mut talks = vec![
        talk(0, Kind::ProxySilent),
        talk(5_000, Kind::ThroughDenied),
        talk(100_000, Kind::ProxySilent),
        talk(100_000, Kind::ThroughDenied),
    ];
    talks.extend(vec![talk(60_000, Kind::Tls); 8]);
    assert_eq!(same_thinned(&talks), Ok(true));
}

/// A tunnel is to what the proxy was asked for, whatever is said inside.
#[test]
fn tunnels_are_not_joined_across_a_failure_of_their_target() {
    let mut talks = vec![talk(0, Kind::Lookup)];
    talks.extend([talk(1000, Kind::ThroughWithoutName), talk(50_000, Kind::ThroughWithoutName)]);
    talks.push(talk(2_000, Kind::TlsReset));
    talks.extend(vec![talk(60_000, Kind::Tls); 8]);
    assert_eq!(same_thinned(&talks), Ok(true));
}

/// A name that DNS doesn't confirm any more is said to be one, also where older ones were confirmed.
#[test]
fn names_without_a_lookup_stay_visible() {
    let mut talks = vec![talk(0, Kind::Lookup)];
    talks.extend(vec![talk(10_000, Kind::Tls); 5]);
    talks.extend(vec![talk(8_000_000, Kind::Tls); 5]);
    assert_eq!(same_thinned(&talks), Ok(true));
}
