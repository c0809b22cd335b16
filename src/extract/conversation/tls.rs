use super::{Listener, Views, directions, pair};
use crate::{
    base::Stamp,
    extract::{
        Ech, Fact, Facts, Hello, Probe, ServerCertificate,
        tls::{self, Chain, ClientHello, Event, Reader, Seen, SniProblem},
    },
    flow::{Side, View},
};

/// A TLS connection after its ClientHello.
#[derive(Clone, Debug)]
pub(super) struct TlsTalk {
    client: Side,
    ask: Reader,
    answer: Reader,
    /// The client may send data before it has an answer.
    early_data: bool,
    ask_done: bool,
    answer_done: bool,
    /// When the latest of what was read came, by direction: the bytes before it are gone.
    asked_at: Stamp,
    answered_at: Stamp,
}

impl TlsTalk {
    pub(super) fn new(client: Side, hello: &ClientHello) -> Self {
        Self {
            client,
            ask: Reader::after(hello),
            answer: Reader::new(),
            early_data: hello.early_data,
            ask_done: false,
            answer_done: false,
            asked_at: Stamp::default(),
            answered_at: Stamp::default(),
        }
    }

    /// Bytes of memory that parts of messages take.
    pub(super) fn footprint(&self) -> usize {
        self.ask.footprint() + self.answer.footprint()
    }

    /// Which directions are read to the end.
    pub(super) fn finished(&self) -> [bool; 2] {
        let mut finished = [self.answer_done; 2];
        finished[self.client.index()] = self.ask_done;
        finished
    }

    pub(super) fn note_hello(
        &self,
        hello: ClientHello,
        view: View<'_>,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        let stamp = view.complete_at(hello.len);
        let ech = ech(&hello);
        listener.observe(self.client, stamp, |ends| Fact::TlsClientHello {
            ends,
            sni: as_sent(&hello),
            alpn: hello.alpn.iter().map(|protocol| protocol.to_string()).collect(),
            ech,
            segments: view.segments(hello.len),
            complete: hello.complete,
        });
        facts.client = facts.client.or(Some(self.client));
        let ClientHello { sni, complete, .. } = hello;
        facts.hello = Some(Hello { stamp, sni, ech, quic: false, complete });
    }

    /// Reads on. Gives the bytes that are done with.
    pub(super) fn step(&mut self, views: Views<'_>, facts: &mut Facts) -> [usize; 2] {
        let (ask, answer) = directions(views, self.client);
        while !self.ask_done && !ask.bytes.is_empty() {
            match self.ask.read(ask.bytes) {
                Probe::Found(seen) => self.asked(&seen, ask, facts),
                Probe::More(_) => break,
                Probe::Not => self.ask_done = true,
            }
        }
        while !self.answer_done && !answer.bytes.is_empty() {
            match self.answer.read(answer.bytes) {
                Probe::Found(seen) => self.answered(seen, answer, facts),
                Probe::More(_) => break,
                Probe::Not => self.answer_done = true,
            }
        }
        pair(self.client, self.ask.release(), self.answer.release())
    }

    fn asked(&mut self, seen: &Seen, view: View<'_>, facts: &mut Facts) {
        self.asked_at = view.complete_at(seen.end).max(self.asked_at);
        let stamp = self.asked_at;
        match &seen.event {
            Event::Alert(alert) if alert.is_fatal() => {
                facts.client_alert.get_or_insert((stamp, alert.description));
            }
            Event::Encrypted(record) if !self.early_data && !record.looks_like_alert() => {
                facts.client_encrypted.get_or_insert(stamp);
            }
            _ => {}
        }
    }

    fn answered(&mut self, seen: Seen, view: View<'_>, facts: &mut Facts) {
        self.answered_at = view.complete_at(seen.end).max(self.answered_at);
        let stamp = self.answered_at;
        match seen.event {
            // After a HelloRetryRequest the answer is still to come (RFC 8446 section 4.1.4).
            Event::ServerHello(hello) if hello.retry => {
                facts.hello_retry.get_or_insert(stamp);
            }
            Event::ServerHello(_) => {
                facts.server_hello.get_or_insert(stamp);
            }
            Event::Certificates(Chain { issuer: Some(issuer), root_sent })
                if facts.certificate.is_none() =>
            {
                let certificate = ServerCertificate { stamp, issuer, root_sent };
                facts.certificate = Some(Box::new(certificate));
            }
            Event::Alert(alert) if alert.is_fatal() => {
                facts.server_alert.get_or_insert((stamp, alert.description));
            }
            Event::Encrypted(record) => {
                if !record.looks_like_alert() {
                    facts.encrypted.get_or_insert(stamp);
                }
                self.ask_done = true;
                self.answer_done = true;
            }
            Event::Foreign(_) => {
                facts.not_tls.get_or_insert(stamp);
            }
            _ => {}
        }
    }
}

/// What the name in a hello is worth.
pub(super) fn ech(hello: &ClientHello) -> Ech {
    match tls::Ech::classify(hello.ech.as_ref(), hello.sni.as_deref(), &[]) {
        tls::Ech::None => Ech::None,
        tls::Ech::Grease => Ech::Grease,
        tls::Ech::Outer => Ech::Outer,
    }
}

/// The server name as the client sent it, which may be none that names a host.
pub(super) fn as_sent(hello: &ClientHello) -> Option<String> {
    let sni = hello.sni.as_ref().map(ToString::to_string);
    sni.or_else(|| match &hello.sni_problem {
        Some(SniProblem::Address(addr)) => Some(addr.to_string()),
        Some(SniProblem::NotAHostName(text)) => Some(text.clone()),
        _ => None,
    })
}
