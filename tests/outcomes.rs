//! Ways of being blocked, and of not being blocked, that no fixture was recorded for: conversations
//! written by hand.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::Ipv4Addr;

use common::{
    OwnedFrame, Setting, fixtures, json,
    packets::{
        ACK, End, FIN, PSH, RST, SYN, client_hello, dns, encrypted, response, server_hello, tcp,
        udp, unreachable,
    },
    scan,
};
use egress_auditor::base::Timestamp;
use serde_json::Value;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 10);
const MCR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const MIRROR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 30);
const PROXY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 90);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 53);
const OTHER_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 54);

const A: u16 = 1;
const AAAA: u16 = 28;

// -- resets, closes and silence ---------------------------------------------

#[test]
fn a_device_that_resets_both_ends_blocks() {
    // Seen where the device mirrors what it sends: the reset that the server gets comes first.
    for gap in [0, 5, 50] {
        let story = Story::tls("mcr.microsoft.com").c(RST).wait(gap).s(RST).idle();
        assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec!["tls_reset"]));
        let story = Story::tls("mcr.microsoft.com").s(RST).wait(gap).c(RST).idle();
        assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec!["tls_reset"]));
    }
}

#[test]
fn a_client_that_leaves_first_is_not_blocked() {
    for (flags, answer) in [(RST, FIN), (FIN, FIN), (FIN, RST)] {
        let story = Story::tls("mcr.microsoft.com").c(flags).wait(50).s(answer).idle();
        assert_eq!(story.rule("aks/core/mcr"), ("inconclusive", vec!["inconclusive"]));
    }
}

#[test]
fn payload_on_a_syn_changes_nothing() {
    let hello = client_hello("mcr.microsoft.com");
    let opening = || Story::lookup("mcr.microsoft.com").to(MCR, 443).syn(&hello);
    let silent = opening().wait(1000).again().wait(2000).again().idle();
    assert_eq!(silent.rule("aks/core/mcr"), ("blocked", vec!["tcp_no_answer"]));
    let reset = opening().s(RST).idle();
    assert_eq!(reset.rule("aks/core/mcr"), ("blocked", vec!["tcp_reset"]));
    // The server takes the SYN, but not its payload; then the path drops the ClientHello.
    let later = opening().s(SYN | ACK).c(ACK).client(&hello).idle();
    assert_eq!(later.rule("aks/core/mcr"), ("blocked", vec!["tls_no_answer"]));
}

#[test]
fn an_answered_syn_alone_proves_nothing() {
    let handshake = || Story::lookup("mcr.microsoft.com").to(MCR, 443).handshake();
    for story in [handshake(), handshake().s(RST), handshake().s(FIN), handshake().c(FIN)] {
        assert_eq!(story.idle().rule("aks/core/mcr"), ("inconclusive", vec!["transport_only"]));
    }
}

#[test]
fn text_in_place_of_tls_is_a_refusal_when_the_connection_ends() {
    let page = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nblocked";
    let story = Story::tls("mcr.microsoft.com").server(page).s(FIN | ACK).idle();
    assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec!["tls_closed"]));
}

#[test]
fn each_kind_of_fatal_alert_blocks() {
    for alert in [40, 49, 70, 80, 112] {
        let story =
            Story::tls("mcr.microsoft.com").server(&[21, 3, 3, 0, 2, 2, alert]).s(FIN).idle();
        assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec!["tls_alert"]), "{alert}");
    }
    // A warning that the name isn't known (RFC 6066 section 3) goes before a ServerHello.
    let warned = Story::tls("mcr.microsoft.com").server(&[21, 3, 3, 0, 2, 1, 112]);
    let story = warned.server(&server_hello()).client(&[20, 3, 3, 0, 1, 1]).client(&encrypted());
    assert_eq!(story.server(&encrypted()).idle().rule("aks/core/mcr").0, "reachable");
}

#[test]
fn a_client_that_goes_on_had_an_answer() {
    let went_on = Story::tls("mcr.microsoft.com").client(&[20, 3, 3, 0, 1, 1]).client(&encrypted());
    for story in [went_on.clone().s(FIN), went_on.clone().s(RST), went_on] {
        let (verdict, outcomes) = story.idle().rule("aks/core/mcr");
        assert_eq!((verdict, outcomes), ("inconclusive", vec!["inconclusive"]));
    }
}

#[test]
fn unreachable_counts_until_the_server_speaks() {
    let asked = || Story::lookup("mcr.microsoft.com").to(MCR, 443).syn(&[]);
    for code in [0, 1, 9, 10, 13] {
        let story = asked().icmp(code).idle();
        assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec!["icmp_unreachable"]), "{code}");
    }
    // Fragmentation needed is a message about size.
    assert_eq!(asked().icmp(4).idle().rule("aks/core/mcr"), ("blocked", vec!["tcp_no_answer"]));
    let recovered =
        asked().icmp(1).wait(1000).again().s(SYN | ACK).c(ACK).hello("mcr.microsoft.com");
    let story = recovered.server(&server_hello()).server(&encrypted()).idle();
    assert_eq!(story.rule("aks/core/mcr"), ("reachable", vec!["established"]));
}

#[test]
fn what_begins_before_the_capture_is_not_judged() {
    let answered = Story::new().to(MCR, 443).server(&encrypted()).c(ACK).idle();
    assert_eq!(answered.rule("aks/core/mcr").0, "not_exercised");
    for flags in [RST, FIN | ACK] {
        let ended = Story::lookup("mcr.microsoft.com").to(MCR, 443).c(ACK).s(flags).idle();
        assert_eq!(ended.rule("aks/core/mcr").0, "inconclusive");
    }
}

#[test]
fn a_reset_after_minutes_of_idling_is_no_block() {
    let works = Story::tls("mcr.microsoft.com").server(&server_hello()).server(&encrypted());
    for minutes in [4, 9, 30] {
        let story = works.clone().wait(minutes * 60_000).s(RST).idle();
        assert_eq!(story.rule("aks/core/mcr").0, "reachable", "{minutes} min");
        // The client finds out with its next request.
        let late = works.clone().wait(minutes * 60_000).client(&encrypted()).s(RST).idle();
        assert_eq!(late.rule("aks/core/mcr").0, "reachable", "{minutes} min");
    }
}

#[test]
fn a_search_domain_is_no_destination() {
    let mut story = Story::new();
    for domain in ["default.svc.cluster.local", "svc.cluster.local", "corp.example"] {
        let long = format!("mcr.microsoft.com.{domain}");
        story = story.query(RESOLVER, &long, A).answer(RESOLVER, &long, A, 3, None);
    }
    let story = story.query(RESOLVER, "mcr.microsoft.com", A);
    let story = story.answer(RESOLVER, "mcr.microsoft.com", A, 0, Some(MCR)).idle();
    let names = story.destinations();
    assert!(names.iter().all(|name| !name.starts_with("mcr.")), "{names:?}");
}

// -- time -------------------------------------------------------------------

#[test]
fn a_long_connection_hides_no_later_block() {
    let works = Story::tls("mcr.microsoft.com").server(&server_hello()).server(&encrypted());
    let refused = works.clone().wait(120_000).port().handshake().hello("mcr.microsoft.com").s(RST);
    // The first one is still alive.
    let story = refused.wait(1000).first_port().server(&encrypted()).idle();
    assert_eq!(story.rule("aks/core/mcr"), ("degraded", vec!["established", "tls_reset"]));
}

#[test]
fn a_success_at_last_excuses_no_hour_of_failures() {
    let mut story = Story::lookup("mcr.microsoft.com").to(MCR, 443);
    for _ in 0..60 {
        story = story.handshake().hello("mcr.microsoft.com").s(RST).wait(20_000).port();
    }
    let works = story.handshake().hello("mcr.microsoft.com").server(&server_hello());
    assert_eq!(works.server(&encrypted()).idle().rule("aks/core/mcr").0, "degraded");
}

#[test]
fn a_retry_that_works_makes_a_failure_good() {
    let failed = Story::tls("mcr.microsoft.com").s(RST).wait(10_000).port();
    let story = failed.handshake().hello("mcr.microsoft.com").server(&server_hello());
    let (verdict, outcomes) = story.server(&encrypted()).idle().rule("aks/core/mcr");
    assert_eq!((verdict, outcomes), ("reachable", vec!["established", "tls_reset"]));
}

// -- DNS --------------------------------------------------------------------

#[test]
fn a_slower_resolvers_refusal_decides_nothing() {
    for rcode in [2, 3, 5] {
        let story = Story::new().query(RESOLVER, "mcr.microsoft.com", A);
        let story = story.query(OTHER_RESOLVER, "mcr.microsoft.com", A);
        let answered = story.answer(RESOLVER, "mcr.microsoft.com", A, 0, Some(MCR)).wait(300);
        let story = answered.answer(OTHER_RESOLVER, "mcr.microsoft.com", A, rcode, None).idle();
        assert_eq!(story.rule("aks/core/mcr").0, "not_exercised", "{rcode}");
    }
}

#[test]
fn a_name_that_stops_resolving_is_blocked() {
    let works = Story::lookup("mcr.microsoft.com").wait(600_000);
    let story = works.query(RESOLVER, "mcr.microsoft.com", A);
    let story = story.answer(RESOLVER, "mcr.microsoft.com", A, 3, None).idle();
    assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec!["dns_nxdomain"]));
}

#[test]
fn no_record_of_one_family_is_no_block() {
    let v6_only = Story::new()
        .query(RESOLVER, "mcr.microsoft.com", AAAA)
        .answer(RESOLVER, "mcr.microsoft.com", AAAA, 0, None)
        .idle();
    assert_eq!(v6_only.rule("aks/core/mcr").0, "not_exercised");
    let both = Story::lookup("mcr.microsoft.com")
        .query(RESOLVER, "mcr.microsoft.com", AAAA)
        .answer(RESOLVER, "mcr.microsoft.com", AAAA, 2, None)
        .idle();
    assert_eq!(both.rule("aks/core/mcr").0, "not_exercised");
    let neither = Story::new()
        .query(RESOLVER, "mcr.microsoft.com", A)
        .answer(RESOLVER, "mcr.microsoft.com", A, 0, None)
        .idle();
    assert_eq!(neither.rule("aks/core/mcr"), ("blocked", vec!["dns_nodata"]));
}

// -- HTTP and proxies -------------------------------------------------------

#[test]
fn what_a_server_says_itself_is_an_answer() {
    for status in [200, 204, 301, 302, 307, 400, 401, 403, 404, 405, 410, 418, 429, 500, 502, 503] {
        let story = Story::http().server(&response(status, "")).idle();
        let rule = story.rule("aks/os-updates/ubuntu");
        assert_eq!(rule, ("reachable", vec!["established"]), "{status}");
    }
    for status in [407, 451, 470, 511] {
        let story = Story::http().server(&response(status, "")).idle();
        let rule = story.rule("aks/os-updates/ubuntu");
        assert_eq!(rule, ("blocked", vec!["http_denied"]), "{status}");
    }
}

#[test]
fn a_password_after_407_is_no_denial() {
    let request = b"GET http://security.ubuntu.com/ HTTP/1.1\r\nHost: security.ubuntu.com\r\n\r\n";
    let asked = Story::new().to(PROXY, 3128).handshake().client(request);
    let refused = asked.server(&response(407, "")).client(request);
    let story = refused.clone().server(&response(200, "")).idle();
    assert_eq!(story.rule("aks/os-updates/ubuntu"), ("reachable", vec!["established"]));
    let story = refused.server(&response(407, "")).idle();
    assert_eq!(story.rule("aks/os-updates/ubuntu"), ("blocked", vec!["http_denied"]));

    let connect = b"CONNECT mcr.microsoft.com:443 HTTP/1.1\r\nHost: mcr.microsoft.com:443\r\n\r\n";
    let asked = Story::new().to(PROXY, 3128).handshake().client(connect);
    let story = asked.server(&response(407, "")).client(connect).server(&response(200, ""));
    let story =
        story.hello("mcr.microsoft.com").server(&server_hello()).server(&encrypted()).idle();
    assert_eq!(story.rule("aks/core/mcr"), ("reachable", vec!["established"]));
}

#[test]
fn a_proxys_own_error_page_is_no_answer() {
    let request = b"GET http://security.ubuntu.com/ HTTP/1.1\r\nHost: security.ubuntu.com\r\n\r\n";
    let page = response(503, "X-Squid-Error: ERR_CONNECT_FAIL 111\r\n");
    let story = Story::new().to(PROXY, 3128).handshake().client(request).server(&page).idle();
    assert_eq!(story.rule("aks/os-updates/ubuntu"), ("blocked", vec!["proxy_failed"]));
}

#[test]
fn each_refusal_of_a_connect_blocks() {
    let connect = b"CONNECT mcr.microsoft.com:443 HTTP/1.1\r\nHost: mcr.microsoft.com:443\r\n\r\n";
    let asked = || Story::new().to(PROXY, 3128).handshake().client(connect);
    for (status, outcome) in [
        (400, "proxy_denied"),
        (403, "proxy_denied"),
        (405, "proxy_denied"),
        (407, "proxy_denied"),
        (429, "proxy_denied"),
        (302, "proxy_denied"),
        (500, "proxy_failed"),
        (502, "proxy_failed"),
        (503, "proxy_failed"),
        (504, "proxy_failed"),
    ] {
        let story = asked().server(&response(status, "")).idle();
        assert_eq!(story.rule("aks/core/mcr"), ("blocked", vec![outcome]), "{status}");
    }
    // The proxy's word alone is what a SYN-ACK is: it proves nothing about the target.
    let silent = asked().server(b"HTTP/1.1 200 OK\r\n\r\n").hello("mcr.microsoft.com").idle();
    assert_eq!(silent.rule("aks/core/mcr"), ("blocked", vec!["tls_no_answer"]));
    let unused = asked().server(b"HTTP/1.1 200 OK\r\n\r\n").c(FIN).idle();
    assert_eq!(unused.rule("aks/core/mcr").0, "inconclusive");
}

// -- what stories are made of -----------------------------------------------

/// Packets of one client, a millisecond apart unless it waits.
#[derive(Clone)]
struct Story {
    frames: Vec<OwnedFrame>,
    millis: u64,
    ends: (End, End),
    /// Next sequence numbers, the client's first; for each client port.
    next: Vec<[u32; 2]>,
    last: OwnedFrame,
}

impl Story {
    fn new() -> Self {
        let ends = ((CLIENT, 40_000), (MCR, 443));
        let last = tcp(Timestamp::default(), ends, 0, (0, 0), &[]);
        Self { frames: Vec::new(), millis: 0, ends, next: vec![[1000, 9000]], last }
    }

    /// The name is resolved to MCR's address.
    fn lookup(name: &str) -> Self {
        Self::new().query(RESOLVER, name, A).answer(RESOLVER, name, A, 0, Some(MCR))
    }

    /// A ClientHello after a handshake.
    fn tls(name: &str) -> Self {
        Self::lookup(name).to(MCR, 443).handshake().hello(name)
    }

    /// A request in clear.
    fn http() -> Self {
        let request = b"GET / HTTP/1.1\r\nHost: security.ubuntu.com\r\n\r\n";
        Self::new().to(MIRROR, 80).handshake().client(request)
    }

    fn to(mut self, server: Ipv4Addr, port: u16) -> Self {
        self.ends.1 = (server, port);
        self
    }

    /// Goes on from another port of the client.
    fn port(mut self) -> Self {
        self.next.push([1000, 9000]);
        self.ends.0.1 += 1;
        self
    }

    fn first_port(mut self) -> Self {
        self.ends.0.1 = 40_000;
        self
    }

    fn wait(mut self, millis: u64) -> Self {
        self.millis += millis;
        self
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_nanos((1_700_000_000_000 + self.millis) * 1_000_000)
    }

    fn push(mut self, frame: OwnedFrame) -> Self {
        self.last = frame.clone();
        self.frames.push(frame);
        self.millis += 1;
        self
    }

    fn segment(mut self, from_client: bool, flags: u8, payload: &[u8]) -> Self {
        let (client, server) = self.ends;
        let next = &mut self.next[usize::from(client.1 - 40_000)];
        let (mine, theirs) = if from_client { (0, 1) } else { (1, 0) };
        let numbers = (next[mine], if flags & ACK == 0 { 0 } else { next[theirs] });
        let phantom = u32::from(flags & (SYN | FIN) != 0);
        next[mine] = next[mine].wrapping_add(payload.len() as u32 + phantom);
        let ends = if from_client { (client, server) } else { (server, client) };
        let frame = tcp(self.time(), ends, flags, numbers, payload);
        self.push(frame)
    }

    /// The client sends a segment without payload.
    fn c(self, flags: u8) -> Self {
        self.segment(true, flags, &[])
    }

    fn s(self, flags: u8) -> Self {
        self.segment(false, flags, &[])
    }

    fn syn(self, payload: &[u8]) -> Self {
        self.segment(true, SYN, payload)
    }

    /// The last frame once more.
    fn again(self) -> Self {
        let frame = OwnedFrame { time: self.time(), ..self.last.clone() };
        self.push(frame)
    }

    fn handshake(self) -> Self {
        self.syn(&[]).s(SYN | ACK).c(ACK)
    }

    fn client(self, payload: &[u8]) -> Self {
        self.segment(true, PSH | ACK, payload)
    }

    fn server(self, payload: &[u8]) -> Self {
        self.segment(false, PSH | ACK, payload)
    }

    fn hello(self, name: &str) -> Self {
        self.client(&client_hello(name)).s(ACK)
    }

    fn icmp(self, code: u8) -> Self {
        let frame = unreachable(self.time(), Ipv4Addr::new(10, 77, 1, 1), code, self.ends, true);
        self.push(frame)
    }

    fn query(self, resolver: Ipv4Addr, name: &str, rtype: u16) -> Self {
        let ends = ((CLIENT, 50_000 + rtype), (resolver, 53));
        let frame = udp(self.time(), ends, &dns(name, rtype, None));
        self.push(frame)
    }

    fn answer(
        self,
        resolver: Ipv4Addr,
        name: &str,
        rtype: u16,
        rcode: u8,
        addr: Option<Ipv4Addr>,
    ) -> Self {
        let ends = ((resolver, 53), (CLIENT, 50_000 + rtype));
        let frame = udp(self.time(), ends, &dns(name, rtype, Some((rcode, addr))));
        self.push(frame)
    }

    /// The capture goes on for 10 s with something else.
    fn idle(mut self) -> Self {
        self.millis += 10_000;
        let ends = ((CLIENT, 60_000), (RESOLVER, 53));
        let frame = udp(self.time(), ends, &dns("idle.svc.cluster.local", A, None));
        self.push(frame)
    }

    fn report(&self) -> Value {
        let setting = Setting::of(&fixtures().join("proxy-connect"));
        let report = setting.report(&scan(&self.frames, &setting.resolvers(), &mut ()));
        serde_json::from_str(&json(&report)).unwrap()
    }

    fn destinations(&self) -> Vec<String> {
        let report = self.report();
        let found = report["destinations"].as_array().unwrap().iter();
        found.map(|found| found["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Verdict and outcomes of a rule.
    fn rule(&self, id: &str) -> (&'static str, Vec<&'static str>) {
        let report = self.report();
        let mut rules = report["rules"].as_array().unwrap().iter();
        let rule = rules.find(|rule| rule["id"] == id).unwrap_or_else(|| panic!("no rule {id}"));
        let targets = rule["destinations"].as_array().unwrap().iter();
        let mut outcomes: Vec<_> = targets
            .flat_map(|target| target["outcomes"].as_object().unwrap().keys())
            .map(|outcome| known(outcome))
            .collect();
        outcomes.dedup();
        (known(rule["verdict"].as_str().unwrap()), outcomes)
    }
}

fn known(text: &str) -> &'static str {
    let all = "blocked degraded inconclusive not_exercised reachable dns_nxdomain dns_nodata \
               tcp_no_answer tcp_reset icmp_unreachable tls_no_answer tls_closed tls_alert \
               tls_reset http_denied proxy_denied proxy_failed transport_only established";
    all.split_whitespace().find(|known| *known == text).unwrap_or("another one")
}
