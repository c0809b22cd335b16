//! What became of one connection: a pure function of its stamps.

use std::{borrow::Cow, net::IpAddr};

use crate::{
    base::{Stamp, Timestamp},
    decode::Transport,
    extract::{Connect, Exchange, Facts, Hello, tls::alert_name},
    flow::{IcmpSeen, Side, SideTally},
    scan::{ANSWER_WAIT, CUT, Connection},
    verdict::{Inspection, Meaning, Outcome, Reason, Stage},
};

/// The result of an attempt, with what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// What became of it.
    pub outcome: Outcome,
    /// Why it's inconclusive, or why a verdict may not stand on it.
    pub reason: Option<Reason>,
    /// How far it got.
    pub stage: Stage,
    /// The packets that show it, in order.
    pub proof: Vec<Proof>,
}

impl Result {
    /// The resolver sent the client to a sinkhole: what it met there is no answer.
    pub(super) fn sink(&mut self, first: Stamp, addr: IpAddr) {
        (self.outcome, self.reason, self.stage) = (Outcome::DnsSinkhole, None, Stage::Dns);
        self.proof = vec![proof(first, format!("sent to {addr}, a sinkhole of the profile"))];
    }

    /// Keeps what was found, with a reason why no verdict can stand on its failure.
    pub(super) fn doubt(&mut self, reason: Reason) {
        if self.outcome.meaning() == Meaning::Blocked {
            self.reason.get_or_insert(reason);
        }
    }

    pub(super) fn established(
        stage: Stage,
        stamp: Stamp,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        found(Outcome::Established, stage, vec![proof(stamp, detail)])
    }

    /// The handshake went through: a TLS or QUIC server sends encrypted data.
    pub(super) fn encrypted(hello: &Hello, stamp: Stamp) -> Self {
        let stage = if hello.quic { Stage::Quic } else { Stage::Tls };
        Self::established(stage, stamp, "encrypted data from the server")
    }

    /// The server sends data, in a protocol that shows no more.
    pub(super) fn data(transport: Transport, stamp: Stamp) -> Self {
        Self::established(transport_stage(transport), stamp, "data from the server")
    }

    /// An HTTP request got this answer.
    pub(super) fn answered(exchange: &Exchange, (stamp, status): (Stamp, u16)) -> Self {
        let answer = proof(
            stamp,
            match &exchange.deny_marker {
                Some(marker) => format!("HTTP status {status}, {marker}"),
                None => format!("HTTP status {status}"),
            },
        );
        let (outcome, stage) = match (status, &exchange.deny_marker) {
            // A proxy's own page about what it couldn't fetch.
            (500..=599, Some(_)) if status != 511 => (Outcome::ProxyFailed, Stage::Proxy),
            (407 | 451 | 470 | 511, _) | (_, Some(_)) => (Outcome::HttpDenied, Stage::Http),
            _ => (Outcome::Established, Stage::Http),
        };
        found(outcome, stage, vec![asked(exchange), answer])
    }
}

/// A packet that shows something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proof {
    /// When, and which frame.
    pub stamp: Stamp,
    /// What it shows, in a few words.
    pub detail: Cow<'static, str>,
}

/// What a capture could show of a client's connections.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// When the capture ended.
    pub end: Timestamp,
    /// True when it shows only one direction of this client's traffic.
    pub one_sided: bool,
    /// True when it lost frames: an answer that isn't there may be one of them.
    pub lossy: bool,
}

/// A connection from the client's point of view.
#[derive(Clone, Copy)]
pub struct Conduct<'c> {
    connection: &'c Connection,
    client: Side,
    watch: Watch,
    /// Until when an answer would have been seen.
    until: Timestamp,
    inspection: &'c Inspection<'c>,
}

impl<'c> Conduct<'c> {
    /// Looks at a connection that `client` opened.
    pub fn new(
        connection: &'c Connection,
        client: Side,
        watch: Watch,
        inspection: &'c Inspection<'c>,
    ) -> Self {
        let until = connection.watched_until(watch.end);
        Self { connection, client, watch, until, inspection }
    }

    /// What became of the connection itself, or of the destination behind it when it runs through
    /// a proxy.
    pub fn result(&self) -> Result {
        let facts = self.facts();
        match &facts.connect {
            Some(connect) => self.through_proxy(connect),
            None => self.direct(),
        }
    }

    /// What became of one of the HTTP requests on this connection.
    pub fn exchange(&self, exchange: &Exchange) -> Result {
        match exchange.status {
            Some(answer) => Result::answered(exchange, answer),
            None => self.unanswered(asked(exchange), Layer::HTTP),
        }
    }

    fn facts(&self) -> &'c Facts {
        &self.connection.facts
    }

    fn mine(&self) -> &'c SideTally {
        self.connection.tally.side(self.client)
    }

    fn theirs(&self) -> &'c SideTally {
        self.connection.tally.side(self.client.other())
    }

    fn direct(&self) -> Result {
        let facts = self.facts();
        if let Some(resigned) = self.intercepted() {
            return resigned;
        }
        if let Some(proven) = self.established() {
            return proven;
        }
        if let Some(icmp) = &self.connection.tally.icmp
            && icmp.about == self.client
            && !self.theirs().payload.seen()
        {
            return self.unreachable(icmp);
        }
        if self.is_opening() {
            return self.tcp();
        }
        if facts.hello.is_some() {
            return self.tls();
        }
        if let Some(exchange) = facts.exchanges.first() {
            return self.exchange(exchange);
        }
        match self.transport() {
            Transport::Tcp => self.tcp(),
            Transport::Udp => self.udp(),
        }
    }

    /// True while the client has sent nothing but its SYN, which may carry payload (TCP Fast Open,
    /// RFC 7413), and the server hasn't taken it.
    fn is_opening(&self) -> bool {
        let (mine, theirs) = (self.mine(), self.theirs());
        self.transport() == Transport::Tcp
            && mine.syn.seen()
            && mine.last_ack.is_none()
            && !theirs.syn_ack.seen()
            && theirs.last_ack.is_none()
    }

    /// An answer at the layer that the destination is about (design: a SYN-ACK is none).
    fn established(&self) -> Option<Result> {
        let facts = self.facts();
        match &facts.hello {
            Some(hello) => Some(Result::encrypted(hello, facts.encrypted?)),
            None if !facts.exchanges.is_empty() => None,
            None => Some(Result::data(self.transport(), self.theirs().payload.first()?)),
        }
    }

    /// A certificate in clear that a device on the path made.
    fn intercepted(&self) -> Option<Result> {
        let certificate = self.facts().certificate.as_deref()?;
        let resigned = self.inspection.is_resigned(&certificate.issuer);
        resigned.then(|| {
            let hello = self.facts().hello.as_ref().map(|hello| proof(hello.stamp, "ClientHello"));
            let detail = format!("certificate issued by {}", certificate.issuer);
            let shown = hello.into_iter().chain([proof(certificate.stamp, detail)]).collect();
            found(Outcome::TlsIntercepted, Stage::Tls, shown)
        })
    }

    fn tls(&self) -> Result {
        let facts = self.facts();
        let Some(hello) = &facts.hello else { return self.tcp() };
        let what = if hello.complete { "ClientHello" } else { "part of a ClientHello" };
        let request = proof(hello.stamp, what);
        if hello.quic {
            return self.quic(request);
        }
        if let Some((stamp, alert)) = facts.server_alert {
            let name = alert_name(alert);
            let shown = proof(stamp, format!("fatal alert {alert} ({name}) from the server"));
            return found(Outcome::TlsAlert, Stage::Tls, vec![request, shown]);
        }
        match facts.server_hello {
            Some(stamp) => self.tls_unfinished(request, stamp),
            None => self.unanswered(request, Layer::TLS),
        }
    }

    /// QUIC without a handshake that goes on.
    fn quic(&self, request: Proof) -> Result {
        let facts = self.facts();
        let answer = facts.server_hello.map(|stamp| (stamp, "without a handshake"));
        let other = facts.other_versions.map(|stamp| (stamp, "it speaks other versions"));
        match answer.or(other) {
            Some((stamp, what)) => {
                let answer = proof(stamp, format!("answer from the server, {what}"));
                found(Outcome::TransportOnly, Stage::Quic, vec![request, answer])
            }
            None => self.unanswered(request, Layer::QUIC),
        }
    }

    /// ServerHello, but nothing encrypted after it: it was the client, or the capture, that ended
    /// the handshake, unless the server's side says otherwise.
    fn tls_unfinished(&self, request: Proof, server_hello: Stamp) -> Result {
        let mut shown = vec![request, proof(server_hello, "ServerHello")];
        if let Some((stamp, alert)) = self.facts().client_alert {
            let name = alert_name(alert);
            shown.push(proof(stamp, format!("fatal alert {alert} ({name}) from the client")));
            return open(Reason::ClientAborted, Stage::Tls, shown);
        }
        let left = |side: &SideTally| earliest(side.rst.first(), side.fin.first());
        match (left(self.theirs()), left(self.mine())) {
            (Some(server), client)
                if client.is_none_or(|client| server <= client) || self.is_cut() =>
            {
                let reset = self.theirs().rst.first() == Some(server);
                if self.may_be_lost(server_hello, server, reset) {
                    return open(Reason::Drops, Stage::Tls, shown);
                }
                let outcome = if reset { Outcome::TlsReset } else { Outcome::TlsClosed };
                shown.push(proof(server, "the server's side ends the handshake"));
                found(outcome, Stage::Tls, shown)
            }
            (_, Some(client)) => {
                shown.push(proof(client, "the client ends the handshake"));
                open(Reason::ClientAborted, Stage::Tls, shown)
            }
            _ if self.until.since(server_hello.time) < ANSWER_WAIT => {
                open(Reason::CaptureEnded, Stage::Tls, shown)
            }
            _ => found(Outcome::TransportOnly, Stage::Tls, shown),
        }
    }

    /// A request at some layer without an answer: reset, closed or silence.
    fn unanswered(&self, request: Proof, layer: Layer) -> Result {
        let asked = request.stamp;
        let after = |stamp: &Stamp| *stamp >= asked;
        let client_left = earliest(self.mine().rst.last(), self.mine().fin.last()).filter(after);
        let mut shown = vec![request];
        let unheard = match self.transport() {
            Transport::Tcp => self.theirs().packets == 0,
            Transport::Udp => self.watch.one_sided,
        };
        if unheard {
            return open(Reason::OneSided, layer.stage, shown);
        }
        if let Some(part) = self.part_of_an_answer(asked) {
            shown.push(part);
            return open(Reason::Drops, layer.stage, shown);
        }
        if let Some((stamp, reset)) = self.server_left(asked) {
            if self.may_be_lost(asked, stamp, reset) {
                return open(Reason::Drops, layer.stage, shown);
            }
            let (outcome, what) = match reset {
                true => (layer.reset, "RST from the server's address"),
                false => (layer.closed, "FIN from the server's address"),
            };
            shown.push(proof(stamp, what));
            return found(outcome, layer.stage, shown);
        }
        self.silence(shown, asked, client_left, layer)
    }

    /// Nothing came back to what was asked.
    fn silence(
        &self,
        mut shown: Vec<Proof>,
        asked: Stamp,
        client_left: Option<Stamp>,
        layer: Layer,
    ) -> Result {
        let repeated = self.mine().payload;
        if let Some(stamp) = repeated.last().filter(|last| *last > asked)
            && !self.theirs().payload.seen()
        {
            shown.push(proof(stamp, "sent again, never answered"));
        }
        if let Some(reason) = self.doubt() {
            return open(reason, layer.stage, shown);
        }
        let waited_until = client_left.map_or(self.until, |stamp| stamp.time.min(self.until));
        if waited_until.since(asked.time) >= ANSWER_WAIT {
            let seconds = waited_until.since(asked.time).as_secs();
            if let Some(stamp) = client_left {
                shown.push(proof(stamp, format!("the client gives up after {seconds} s")));
            }
            return found(layer.no_answer, layer.stage, shown);
        }
        let reason =
            if client_left.is_some() { Reason::ClientAborted } else { Reason::CaptureEnded };
        open(reason, layer.stage, shown)
    }

    /// What shows that there was an answer of which the capture lacks the beginning.
    fn part_of_an_answer(&self, asked: Stamp) -> Option<Proof> {
        let facts = self.facts();
        if let Some(stamp) = facts.client_encrypted {
            return Some(proof(stamp, "the client goes on as if it had an answer"));
        }
        // What was read, and is no answer yet.
        let read = facts.hello_retry.or(facts.not_tls);
        let is_stream = self.transport() == Transport::Tcp;
        let data = self.theirs().payload.last().filter(|stamp| is_stream && *stamp >= asked);
        let data = data.filter(|_| read.is_none())?;
        Some(proof(data, "data from the server, whose beginning isn't in the capture"))
    }

    /// When the server's side ended the connection after it was asked, before the client did, and
    /// whether by RST.
    fn server_left(&self, asked: Stamp) -> Option<(Stamp, bool)> {
        let after = |stamp: &Stamp| *stamp >= asked;
        let client_left = earliest(self.mine().rst.last(), self.mine().fin.last()).filter(after);
        let first = |stamp: &Stamp| client_left.is_none_or(|client| *stamp <= client);
        let reset = self.theirs().rst.last().filter(after);
        if let Some(stamp) = reset.filter(|stamp| first(stamp) || self.is_cut()) {
            return Some((stamp, true));
        }
        let close = self.theirs().fin.last().filter(after).filter(first)?;
        Some((close, false))
    }

    /// True when both ends got a RST, as it seems from each other, at about the same time. No host
    /// answers a RST with a RST (RFC 9293 section 3.10.7): both are a device's in between.
    fn is_cut(&self) -> bool {
        let (mine, theirs) = (self.mine().rst.first(), self.theirs().rst.first());
        let (Some(mine), Some(theirs)) = (mine, theirs) else { return false };
        mine.time.since(theirs.time).max(theirs.time.since(mine.time)) <= CUT
    }

    /// Why silence proves nothing here.
    fn doubt(&self) -> Option<Reason> {
        if self.connection.evicted {
            return Some(Reason::Evicted);
        }
        self.watch.lossy.then_some(Reason::Drops)
    }

    /// True when an answer may have been lost before the server's side ended the connection. Every
    /// connection ends with a FIN; a device that refuses by RST does so at once.
    fn may_be_lost(&self, asked: Stamp, ended: Stamp, reset: bool) -> bool {
        let client_went_on = self.mine().last_ack.is_some_and(|last| last > asked);
        let at_once = ended.time.since(asked.time) < ANSWER_WAIT;
        self.watch.lossy && (!reset || !at_once || client_went_on)
    }

    /// TCP without anything that an extractor knew, and without data from the server.
    fn tcp(&self) -> Result {
        let (mine, theirs) = (self.mine(), self.theirs());
        if let Some(stamp) = theirs.syn_ack.first() {
            return found(Outcome::TransportOnly, Stage::Tcp, vec![proof(stamp, "SYN-ACK")]);
        }
        let Some(syn) = mine.syn.first() else {
            return open(Reason::Midstream, Stage::Tcp, vec![]);
        };
        let mut shown = vec![proof(syn, "SYN")];
        if let Some(stamp) = theirs.rst.first() {
            shown.push(proof(stamp, "RST in answer to the SYN"));
            return found(Outcome::TcpReset, Stage::Tcp, shown);
        }
        if theirs.packets > 0 {
            return found(Outcome::TransportOnly, Stage::Tcp, shown);
        }
        // Only a client that heard a SYN-ACK sends an ACK.
        if mine.last_ack.is_some() || (self.watch.one_sided && mine.syn.count < 2) {
            return open(Reason::OneSided, Stage::Tcp, shown);
        }
        if self.until.since(syn.time) < ANSWER_WAIT {
            return open(Reason::CaptureEnded, Stage::Tcp, shown);
        }
        if let Some(last) = mine.syn.last().filter(|last| *last != syn) {
            let count = mine.syn.count;
            shown.push(proof(last, format!("SYN sent {count} times, never answered")));
        }
        // A client that still asks has heard nothing, whatever the capture lacks.
        let still_asks =
            mine.syn.last().is_some_and(|last| last.time.since(syn.time) >= ANSWER_WAIT);
        match self.doubt().filter(|_| !still_asks) {
            Some(reason) => open(reason, Stage::Tcp, shown),
            None => found(Outcome::TcpNoAnswer, Stage::Tcp, shown),
        }
    }

    fn udp(&self) -> Result {
        let Some(request) = self.mine().payload.first() else {
            return open(Reason::OneSided, Stage::Udp, vec![]);
        };
        let shown = vec![proof(request, "first datagram")];
        if self.watch.one_sided {
            open(Reason::OneSided, Stage::Udp, shown)
        } else if self.until.since(request.time) < ANSWER_WAIT {
            open(Reason::CaptureEnded, Stage::Udp, shown)
        } else if let Some(reason) = self.doubt() {
            open(reason, Stage::Udp, shown)
        } else {
            found(Outcome::UdpNoAnswer, Stage::Udp, shown)
        }
    }

    fn unreachable(&self, icmp: &IcmpSeen) -> Result {
        let shown = proof(icmp.stamp, icmp_detail(icmp));
        let first = self.mine().syn.first().or(self.mine().payload.first());
        let proofs = first.map(|stamp| proof(stamp, "first packet")).into_iter().chain([shown]);
        found(Outcome::IcmpUnreachable, transport_stage(self.transport()), proofs.collect())
    }

    fn through_proxy(&self, connect: &Connect) -> Result {
        let request = proof(connect.stamp, format!("CONNECT {}", connect.target));
        let Some((stamp, status)) = connect.status else {
            return self.unanswered(request, Layer::PROXY);
        };
        let said = match (connect.socks, status) {
            (false, _) => format!("proxy answers {status}"),
            (true, 200..=299) => "the SOCKS proxy grants it".to_owned(),
            (true, _) => "the SOCKS proxy refuses it".to_owned(),
        };
        let answer = proof(stamp, said);
        match status {
            200..=299 => {
                let mut inner = self.inside_tunnel(stamp);
                inner.proof.insert(0, answer);
                inner
            }
            500..=599 => found(Outcome::ProxyFailed, Stage::Proxy, vec![request, answer]),
            _ => found(Outcome::ProxyDenied, Stage::Proxy, vec![request, answer]),
        }
    }

    /// What became of the destination behind a proxy that opened a tunnel. Its word proves as little
    /// as a SYN-ACK.
    fn inside_tunnel(&self, opened: Stamp) -> Result {
        let facts = self.facts();
        if facts.hello.is_some() || !facts.exchanges.is_empty() {
            return self.direct();
        }
        let data = self.theirs().payload.last().filter(|last| *last > opened);
        match data {
            Some(stamp) => {
                let shown = proof(stamp, "data from the server");
                found(Outcome::Established, Stage::Proxy, vec![shown])
            }
            None => found(Outcome::TransportOnly, Stage::Proxy, vec![]),
        }
    }

    fn transport(&self) -> Transport {
        self.connection.key.transport()
    }
}

fn transport_stage(transport: Transport) -> Stage {
    match transport {
        Transport::Tcp => Stage::Tcp,
        Transport::Udp => Stage::Udp,
    }
}

fn asked(exchange: &Exchange) -> Proof {
    proof(exchange.stamp, "HTTP request")
}

/// The outcomes of a request that nobody answers.
#[derive(Clone, Copy)]
struct Layer {
    stage: Stage,
    reset: Outcome,
    closed: Outcome,
    no_answer: Outcome,
}

impl Layer {
    const TLS: Self = Self {
        stage: Stage::Tls,
        reset: Outcome::TlsReset,
        closed: Outcome::TlsClosed,
        no_answer: Outcome::TlsNoAnswer,
    };
    const HTTP: Self = Self {
        stage: Stage::Http,
        reset: Outcome::HttpReset,
        closed: Outcome::HttpClosed,
        no_answer: Outcome::HttpNoAnswer,
    };
    const QUIC: Self = Self {
        stage: Stage::Quic,
        reset: Outcome::QuicNoAnswer,
        closed: Outcome::QuicNoAnswer,
        no_answer: Outcome::QuicNoAnswer,
    };
    const PROXY: Self = Self {
        stage: Stage::Proxy,
        reset: Outcome::ProxyFailed,
        closed: Outcome::ProxyFailed,
        no_answer: Outcome::ProxyFailed,
    };
}

/// An ICMP error in a few words.
pub(super) fn icmp_detail(icmp: &IcmpSeen) -> String {
    let IcmpSeen { from, v6, kind, code, .. } = *icmp;
    let name = if v6 { "ICMPv6" } else { "ICMP" };
    let meaning = icmp_meaning(v6, kind, code);
    format!("{name} type {kind} code {code} ({meaning}) from {from}")
}

/// The meaning of a code, in the words of RFC 792, RFC 1812 section 5.2.7.1 and RFC 4443.
fn icmp_meaning(v6: bool, kind: u8, code: u8) -> &'static str {
    match (v6, kind, code) {
        (false, 11, _) | (true, 3, _) => "time exceeded in transit",
        (false, 3, 0) | (true, 1, 0) => "no route to the network",
        (false, 3, 1) | (true, 1, 3) => "host unreachable",
        (false, 3, 2) => "protocol unreachable",
        (false, 3, 3) | (true, 1, 4) => "port unreachable",
        (false, 3, 9 | 10 | 13) | (true, 1, 1) => "administratively prohibited",
        (true, 1, 5) => "source address failed policy",
        (true, 1, 6) => "route rejected",
        _ => "unreachable",
    }
}

fn earliest(a: Option<Stamp>, b: Option<Stamp>) -> Option<Stamp> {
    a.into_iter().chain(b).min()
}

fn proof(stamp: Stamp, detail: impl Into<Cow<'static, str>>) -> Proof {
    Proof { stamp, detail: detail.into() }
}

fn found(outcome: Outcome, stage: Stage, proof: Vec<Proof>) -> Result {
    Result { outcome, reason: None, stage, proof }
}

fn open(reason: Reason, stage: Stage, proof: Vec<Proof>) -> Result {
    Result { outcome: Outcome::Inconclusive, reason: Some(reason), stage, proof }
}
