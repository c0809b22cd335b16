//! One connection's payload, from first bytes to facts. The first bytes decide what it is, never
//! the port.

mod http;
mod quic;
mod tls;

use self::{http::HttpTalk, quic::QuicTalk, tls::TlsTalk};
use crate::{
    base::Stamp,
    extract::{
        Connect, Ends, Fact, Facts, Host, Probe, dns, http as http1, proxy_protocol,
        quic::begins_long,
        socks::{self, Reply},
        starttls, tls as tls13,
    },
    flow::{Side, View},
};

/// Takes what a conversation brings to light.
pub trait Listener {
    /// An observation about the flow, whose client is `client`.
    fn observe(&mut self, client: Side, stamp: Stamp, make: impl FnOnce(Ends) -> Fact);

    /// A DNS message that `from` sent.
    fn dns(&mut self, from: Side, message: &dns::Message, stamp: Stamp);

    /// The side that is a DNS server, by its port.
    fn dns_server(&self) -> Option<Side>;
}

/// Tunnels inside tunnels (a CONNECT through a CONNECT, ...) that are followed.
const MAX_DEPTH: u8 = 4;

/// Reads both directions of one flow.
///
/// Never sees a packet, only contiguous bytes, so that segmentation, reordering and retransmission
/// make no difference to it.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    state: State,
    facts: Facts,
    depth: u8,
    finished: [bool; 2],
    /// A direction isn't worth another look before it is this long.
    threshold: [usize; 2],
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Nothing is known yet.
    #[default]
    Undecided,
    /// No protocol that is known, so far: each segment is looked at for the beginning of one.
    Skimming,
    Tls(Box<TlsTalk>),
    Http(Box<HttpTalk>),
    Quic(Box<QuicTalk>),
    Dns(Side),
    /// There's nothing more to learn.
    Over,
}

/// What both sides have sent and is not consumed yet.
pub(super) type Views<'a> = [View<'a>; 2];

impl Conversation {
    /// Bytes of memory that parts of messages take here, beside what isn't consumed.
    pub fn footprint(&self) -> usize {
        match &self.state {
            State::Tls(talk) => talk.footprint(),
            State::Quic(talk) => talk.footprint(),
            _ => 0,
        }
    }

    /// What is known, once there is nothing more to learn.
    pub fn outcome(&mut self) -> Option<Facts> {
        matches!(self.state, State::Over).then(|| std::mem::take(&mut self.facts))
    }

    /// False when further bytes from `side` would tell nothing.
    pub fn wants(&self, side: Side) -> bool {
        !self.finished[side.index()]
    }

    /// True when a step has left nothing to see in the bytes that it was given.
    pub fn has_read_all(&self) -> bool {
        matches!(self.state, State::Tls(_)) || self.finished == [true; 2]
    }

    /// Reads on. Gives the bytes that are done with from the front of each direction, which may be
    /// more than there are; call again until it's none, or until it [has read
    /// all](Self::has_read_all) and there is nothing behind a gap that this filled.
    pub fn step(
        &mut self,
        views: Views<'_>,
        anchored: [bool; 2],
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        match &mut self.state {
            State::Undecided => self.decide(views, listener),
            State::Skimming => self.skim(views, anchored, listener),
            State::Tls(_) => self.step_tls(views),
            State::Http(_) => self.step_http(views, listener),
            State::Dns(server) => {
                let server = *server;
                self.step_dns(views, server, listener)
            }
            State::Quic(_) | State::Over => {
                self.finished = [true; 2];
                [0, 0]
            }
        }
    }

    /// Reads a datagram of a UDP flow.
    pub fn datagram(
        &mut self,
        from: Side,
        bytes: &[u8],
        stamp: Stamp,
        listener: &mut impl Listener,
    ) {
        if matches!(self.state, State::Undecided) && begins_long(bytes) {
            self.state = State::Quic(Box::default());
        }
        if let State::Quic(talk) = &mut self.state {
            talk.datagram(from, bytes, stamp, &mut self.facts, listener);
        }
    }

    /// Reads what is there of a message that will never be whole, and gives all facts.
    pub fn finish(mut self, views: Views<'_>, listener: &mut impl Listener) -> Facts {
        match &mut self.state {
            State::Undecided | State::Skimming => self.finish_undecided(views, listener),
            State::Http(talk) => talk.finish(views, &mut self.facts, listener),
            State::Quic(talk) => talk.finish(&mut self.facts, listener),
            State::Tls(_) | State::Dns(_) | State::Over => {}
        }
        self.facts
    }

    /// Finds out what is spoken. More than one protocol may still be possible.
    fn decide(&mut self, views: Views<'_>, listener: &mut impl Listener) -> [usize; 2] {
        if let Some(server) = listener.dns_server() {
            self.state = State::Dns(server);
            return self.step_dns(views, server, listener);
        }
        let (mut waiting, mut is_tls) = (false, false);
        for side in [Side::Low, Side::High] {
            let bytes = views[side.index()].bytes;
            if bytes.is_empty() {
                continue;
            }
            if bytes.len() < self.threshold[side.index()] {
                waiting = true;
                continue;
            }
            match proxy_protocol::proxy_header(bytes) {
                Probe::Found(header) => return consume(side, header.len),
                Probe::More(_) => waiting = true,
                Probe::Not => {}
            }
            match tls13::client_hello(bytes) {
                Probe::Found(hello) => return self.enter_tls(side, hello, views, listener),
                Probe::More(len) => {
                    self.threshold[side.index()] = len;
                    is_tls = true;
                    continue;
                }
                Probe::Not => {}
            }
            match http1::is_request(bytes) {
                Probe::Found(_) => return self.enter_http(side, views, listener),
                Probe::More(len) => {
                    self.threshold[side.index()] = len;
                    waiting = true;
                }
                Probe::Not => {}
            }
        }
        // No other protocol could be told from so few bytes.
        if is_tls {
            return [0, 0];
        }
        self.decide_by_both(views, waiting, listener)
    }

    /// Protocols that only both directions together give away.
    fn decide_by_both(
        &mut self,
        views: Views<'_>,
        mut waiting: bool,
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        for client in [Side::Low, Side::High] {
            let (asked, answered) = directions(views, client);
            match socks::socks(asked.bytes, answered.bytes) {
                Probe::Found(socks) => return self.enter_socks(client, socks, views, listener),
                Probe::More(_) => waiting = true,
                Probe::Not => {}
            }
            match starttls::starttls(asked.bytes, answered.bytes) {
                Probe::Found(turn) => {
                    self.deepen();
                    return pair(client, turn.client_offset, turn.server_offset);
                }
                Probe::More(_) => waiting = true,
                Probe::Not => {}
            }
        }
        if !waiting {
            self.state = State::Skimming;
            return [views[0].bytes.len(), views[1].bytes.len()];
        }
        [0, 0]
    }

    /// Looks at what follows in a connection of another kind. A capture that begins in the middle
    /// of an HTTP connection shows its next request; a protocol that isn't known may turn to TLS.
    fn skim(
        &mut self,
        views: Views<'_>,
        anchored: [bool; 2],
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        let mut used = [0, 0];
        for side in [Side::Low, Side::High] {
            let bytes = views[side.index()].bytes;
            if bytes.is_empty() {
                continue;
            }
            match tls13::client_hello(bytes) {
                Probe::Found(hello) => return self.enter_tls(side, hello, views, listener),
                Probe::More(_) => continue,
                Probe::Not => {}
            }
            if !anchored[side.index()] {
                match http1::is_request(bytes) {
                    Probe::Found(_) => return self.enter_http(side, views, listener),
                    Probe::More(_) => continue,
                    Probe::Not => {}
                }
            }
            used[side.index()] = bytes.len();
        }
        used
    }

    fn enter_tls(
        &mut self,
        client: Side,
        hello: tls13::ClientHello,
        views: Views<'_>,
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        let talk = Box::new(TlsTalk::new(client, &hello));
        talk.note_hello(hello, views[client.index()], &mut self.facts, listener);
        self.state = State::Tls(talk);
        self.step_tls(views)
    }

    fn step_tls(&mut self, views: Views<'_>) -> [usize; 2] {
        let State::Tls(talk) = &mut self.state else { return [0, 0] };
        let used = talk.step(views, &mut self.facts);
        self.finished = talk.finished();
        if self.finished == [true; 2] {
            self.state = State::Over;
        }
        used
    }

    fn enter_http(
        &mut self,
        client: Side,
        views: Views<'_>,
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        self.facts.client = self.facts.client.or(Some(client));
        self.state = State::Http(Box::new(HttpTalk::new(client, views)));
        self.step_http(views, listener)
    }

    fn step_http(&mut self, views: Views<'_>, listener: &mut impl Listener) -> [usize; 2] {
        let State::Http(talk) = &mut self.state else { return [0, 0] };
        let progress = talk.step(views, &mut self.facts, listener);
        if progress.tunnel {
            self.deepen();
        }
        progress.used
    }

    fn enter_socks(
        &mut self,
        client: Side,
        found: socks::Socks,
        views: Views<'_>,
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        let socks::Socks { request, reply, client_len, server_len, .. } = found;
        let (asked, answered) = directions(views, client);
        let stamp = asked.complete_at(client_len);
        let status = (answered.complete_at(server_len), socks_status(reply));
        self.facts.client = self.facts.client.or(Some(client));
        if let Some(target) = request.and_then(|request| request.target) {
            let status = Some(status);
            let connect = Connect { socks: true, status, ..Connect::to(stamp, &target) };
            listener.observe(client, stamp, |ends| Fact::SocksConnect {
                ends,
                target: connect.target.clone(),
                status: status.map(|(_, status)| status),
            });
            self.facts.connect = Some(Box::new(connect));
        }
        match reply {
            Reply::Granted => self.deepen(),
            _ => self.state = State::Over,
        }
        pair(client, client_len, server_len)
    }

    fn step_dns(
        &mut self,
        views: Views<'_>,
        server: Side,
        listener: &mut impl Listener,
    ) -> [usize; 2] {
        self.facts.client = Some(server.other());
        let mut used = [0, 0];
        for side in [Side::Low, Side::High] {
            let view = views[side.index()];
            match dns::tcp_message(view.bytes) {
                Probe::Found(range) => {
                    used[side.index()] = range.end;
                    if let Ok(message) = dns::parse(&view.bytes[range.clone()]) {
                        listener.dns(side, &message, view.complete_at(range.end));
                    }
                }
                Probe::More(_) => {}
                Probe::Not => self.finished[side.index()] = true,
            }
        }
        used
    }

    /// What follows runs inside what came before: it begins anew.
    fn deepen(&mut self) {
        self.depth += 1;
        self.threshold = [0, 0];
        self.state = if self.depth > MAX_DEPTH { State::Over } else { State::Undecided };
    }

    fn finish_undecided(&mut self, views: Views<'_>, listener: &mut impl Listener) {
        for side in [Side::Low, Side::High] {
            let view = views[side.index()];
            if let Some(hello) = tls13::partial_client_hello(view.bytes) {
                TlsTalk::new(side, &hello).note_hello(hello, view, &mut self.facts, listener);
                return;
            }
            if let Some(request) = http1::partial_request(view.bytes) {
                HttpTalk::new(side, views).note_request(&request, view, &mut self.facts, listener);
                return;
            }
        }
    }
}

impl Connect {
    /// A CONNECT request; one with a malformed target is kept with what was sent.
    fn of_request(stamp: Stamp, request: &http1::Request) -> Self {
        match &request.target_authority {
            Some(target) => Self::to(stamp, target),
            None => {
                let target = request.target.clone();
                Self { stamp, target, host: None, port: 0, socks: false, status: None }
            }
        }
    }

    /// A request that is still without an answer.
    fn to(stamp: Stamp, target: &super::Authority) -> Self {
        let host = match &target.host {
            Host::Name(name) => Some(name.clone()),
            Host::Ip(_) => None,
        };
        let port = target.port.unwrap_or(443);
        Self { stamp, target: target.to_string(), host, port, socks: false, status: None }
    }
}

pub(super) fn observe_connect(client: Side, connect: &Connect, listener: &mut impl Listener) {
    listener.observe(client, connect.stamp, |ends| Fact::HttpConnect {
        ends,
        target: connect.target.clone(),
        status: connect.status.map(|(_, status)| status),
    });
}

/// The nearest HTTP status to a SOCKS reply, so that both kinds of proxy are judged alike.
fn socks_status(reply: Reply) -> u16 {
    match reply {
        Reply::Granted => 200,
        Reply::Refused(2) => 403,
        Reply::NoAuthMethod | Reply::AuthFailed => 407,
        Reply::Refused(_) => 502,
    }
}

/// The client's and the server's view.
pub(super) fn directions(views: Views<'_>, client: Side) -> (View<'_>, View<'_>) {
    (views[client.index()], views[client.other().index()])
}

pub(super) fn pair(client: Side, of_client: usize, of_server: usize) -> [usize; 2] {
    match client {
        Side::Low => [of_client, of_server],
        Side::High => [of_server, of_client],
    }
}

fn consume(side: Side, len: usize) -> [usize; 2] {
    pair(side, len, 0)
}
