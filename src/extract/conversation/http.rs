use super::{Listener, Views, directions, observe_connect, pair};
use crate::{
    extract::{
        Connect, Exchange, Fact, Facts, Host,
        facts::MAX_EXCHANGES,
        http::{self, Event, Request, Response, Window},
    },
    flow::{Side, View},
};

/// Requests of one connection whose answers are waited for.
const MAX_OPENED: usize = 4 * MAX_EXCHANGES;

/// An HTTP/1 connection.
#[derive(Clone, Debug)]
pub(super) struct HttpTalk {
    client: Side,
    /// Where HTTP begins in the client's and in the server's stream.
    base: [u64; 2],
    walk: http::Conversation,
    /// Requests so far.
    requests: u64,
    /// Which exchange each of the first requests belongs to, where it opened one.
    opened: Vec<(u64, usize)>,
    /// Number of the CONNECT request that waits for its answer.
    connect: Option<u64>,
}

/// What a step did.
pub(super) struct Progress {
    pub(super) used: [usize; 2],
    /// What follows is another protocol.
    pub(super) tunnel: bool,
}

impl HttpTalk {
    /// HTTP begins with the views' first bytes.
    pub(super) fn new(client: Side, views: Views<'_>) -> Self {
        let (ask, answer) = directions(views, client);
        let base = [ask.start, answer.start];
        let walk = http::Conversation::default();
        Self { client, base, walk, requests: 0, opened: Vec::new(), connect: None }
    }

    pub(super) fn step(
        &mut self,
        views: Views<'_>,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) -> Progress {
        let (ask, answer) = directions(views, self.client);
        let ask_window = Window { start: ask.start - self.base[0], bytes: ask.bytes };
        let answer_window = Window { start: answer.start - self.base[1], bytes: answer.bytes };
        let mut tunnel = false;
        while let Some(event) = self.walk.step(ask_window, answer_window) {
            match event {
                Event::Request { offset, request } => {
                    let view = ask.skip((offset - ask_window.start) as usize);
                    self.note_request(&request, view, facts, listener);
                }
                Event::Response { offset, answers, response } => {
                    let view = answer.skip((offset - answer_window.start) as usize);
                    self.note_response(answers, &response, view, facts, listener);
                }
                Event::Tunnel { .. } => tunnel = true,
            }
        }
        let (asked, answered) = self.walk.positions();
        let used = |position: u64, window: Window<'_>| (position - window.start) as usize;
        let used = pair(self.client, used(asked, ask_window), used(answered, answer_window));
        Progress { used, tunnel }
    }

    pub(super) fn note_request(
        &mut self,
        request: &Request,
        view: View<'_>,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        let number = self.requests;
        self.requests += 1;
        let stamp = view.complete_at(request.len);
        facts.client = facts.client.or(Some(self.client));
        let is_connect = request.method == "CONNECT";
        // In a CONNECT the Host header is what it says besides its target.
        let host = if is_connect { request.host.as_ref() } else { request.authority() };
        listener.observe(self.client, stamp, |ends| Fact::HttpRequest {
            ends,
            method: request.method.clone(),
            host: host.map(ToString::to_string),
            target: request.target.clone(),
        });
        if is_connect {
            facts.connect = Some(Box::new(Connect::of_request(stamp, request)));
            self.connect = Some(number);
            return;
        }
        let host = request.authority().and_then(|authority| match &authority.host {
            Host::Name(name) => Some(name.clone()),
            Host::Ip(_) => None,
        });
        let port = request.authority().and_then(|authority| authority.port);
        let same = |exchange: &Exchange| exchange.host == host && exchange.port == port;
        let known = facts.exchanges.iter().position(same);
        if let Some(at) = known {
            // With a password, after the proxy asked for one (RFC 9110 section 11.7).
            let unauthorised = facts.exchanges[at].status.is_some_and(|(_, status)| status == 407);
            if unauthorised && self.opened.len() < MAX_OPENED {
                self.opened.push((number, at));
            }
        } else if facts.exchanges.len() < MAX_EXCHANGES {
            self.opened.push((number, facts.exchanges.len()));
            facts.exchanges.push(Exchange { stamp, host, port, status: None, deny_marker: None });
        }
    }

    fn note_response(
        &mut self,
        answers: u64,
        response: &Response,
        view: View<'_>,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        if response.status < 200 && response.status != 101 {
            return;
        }
        let status = (view.complete_at(response.len), response.status);
        if self.connect == Some(answers) {
            self.connect = None;
            if let Some(connect) = facts.connect.as_deref_mut() {
                connect.status = Some(status);
                observe_connect(self.client, connect, listener);
            }
        } else if let Some(&(_, at)) = self.opened.iter().find(|(number, _)| *number == answers) {
            let body = view.bytes.get(response.len..).unwrap_or_default();
            facts.exchanges[at].status = Some(status);
            facts.exchanges[at].deny_marker = http::deny_marker(response, body).map(Into::into);
        }
    }

    /// Reads a request head that was cut, and tells of a CONNECT that nobody answered.
    pub(super) fn finish(
        &mut self,
        views: Views<'_>,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        let (ask, _) = directions(views, self.client);
        let at = (self.base[0] + self.walk.positions().0).saturating_sub(ask.start);
        let rest = ask.skip(at as usize);
        if let Some(request) = http::partial_request(rest.bytes) {
            self.note_request(&request, rest, facts, listener);
        }
        if let (Some(_), Some(connect)) = (self.connect, facts.connect.as_deref()) {
            observe_connect(self.client, connect, listener);
        }
    }
}
