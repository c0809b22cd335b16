use super::{Listener, tls::ech};
use crate::{
    base::{HostName, Stamp},
    extract::{
        Fact, Facts, Hello,
        quic::{Attempt, Frame, Kind, Long, Packet, Version, frames, packets},
        tls::ClientHello,
    },
    flow::Side,
};

/// Attempts of a client that are followed at the same time.
const MAX_ATTEMPTS: usize = 4;

/// Packets of one flow that are decrypted, or tried to.
const MAX_TRIES: u32 = 64;

/// CRYPTO_ERROR: 0x100 and the alert that TLS would have sent (RFC 9001 section 4.8).
const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// A UDP flow that speaks QUIC.
#[derive(Debug, Default)]
pub(super) struct QuicTalk {
    /// Who sent an Initial that is authentic as a client's.
    client: Option<Side>,
    /// The latest last. A client makes more than one after a Retry or a Version Negotiation, or
    /// when it uses its port for several connections.
    attempts: Vec<Attempt>,
    tries: u32,
    /// The client has keys that it can only have from the server.
    moved_on: bool,
    /// What each hello said that was told.
    told: Vec<Option<HostName>>,
}

impl QuicTalk {
    pub(super) fn datagram(
        &mut self,
        from: Side,
        bytes: &[u8],
        stamp: Stamp,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        for packet in packets(bytes) {
            match packet {
                Packet::Long(packet) => match packet.kind {
                    Kind::Initial if self.may_be_client(from) => {
                        self.asked(from, &packet, stamp, facts, listener);
                    }
                    Kind::Initial => self.answered(&packet, stamp, facts),
                    Kind::Handshake if self.client == Some(from) => self.moved_on = true,
                    Kind::Handshake => self.handshake(&packet, stamp, facts),
                    // A Retry is no answer yet: a middlebox can send it, the client asks again.
                    Kind::ZeroRtt | Kind::Retry => {}
                },
                Packet::Short(_) if self.client == Some(from) => self.moved_on = true,
                Packet::Short(packet) => self.short(packet, stamp, facts),
            }
        }
    }

    /// Tells what there is of hellos that will never be whole.
    pub(super) fn finish(&mut self, facts: &mut Facts, listener: &mut impl Listener) {
        let Some(client) = self.client else { return };
        for attempt in std::mem::take(&mut self.attempts) {
            if let Some((hello, progress)) = attempt.partial_hello()
                && (hello.sni.is_some() || self.told.is_empty())
            {
                let (stamp, segments) = (progress.stamp, progress.datagrams);
                let told = Told { client, version: attempt.version(), stamp, segments };
                self.tell(&hello, told, facts, listener);
            }
        }
    }

    fn may_be_client(&self, side: Side) -> bool {
        self.client.is_none_or(|client| client == side)
    }

    fn may_try(&mut self) -> bool {
        self.tries += 1;
        self.tries <= MAX_TRIES
    }

    /// An Initial of the client, or of who may be it.
    fn asked(
        &mut self,
        from: Side,
        packet: &Long<'_>,
        stamp: Stamp,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        let Some((index, payload)) = self.open(packet) else { return };
        self.client = Some(from);
        facts.client = facts.client.or(Some(from));
        let attempt = &mut self.attempts[index];
        if let Some((hello, progress)) = attempt.feed(&payload, stamp) {
            let (stamp, segments) = (progress.stamp, progress.datagrams);
            let told = Told { client: from, version: attempt.version(), stamp, segments };
            self.tell(&hello, told, facts, listener);
        }
    }

    /// Finds the attempt whose keys open a client's Initial, or begins one.
    fn open(&mut self, packet: &Long<'_>) -> Option<(usize, Vec<u8>)> {
        if let Some(index) = self.attempts.iter().rposition(|a| a.is_continued_by(packet)) {
            // Once its hello is read, what else it sends is of no interest.
            if !self.attempts[index].is_reading() || !self.may_try() {
                return None;
            }
            return self.attempts[index].open(packet).map(|payload| (index, payload));
        }
        if !self.may_try() {
            return None;
        }
        if let Some((attempt, payload)) = Attempt::begin(packet) {
            if self.attempts.len() == MAX_ATTEMPTS {
                self.attempts.remove(0);
            }
            self.attempts.push(attempt);
            return Some((self.attempts.len() - 1, payload));
        }
        // It may go to an ID that the server chose in a packet that isn't in the capture.
        for index in (0..self.attempts.len()).rev() {
            if self.attempts[index].is_reading() {
                if !self.may_try() {
                    return None;
                }
                if let Some(payload) = self.attempts[index].open(packet) {
                    return Some((index, payload));
                }
            }
        }
        None
    }

    /// An Initial of the server. Whatever an authentic one says, it is an answer.
    fn answered(&mut self, packet: &Long<'_>, stamp: Stamp, facts: &mut Facts) {
        if facts.encrypted.is_some() {
            return;
        }
        for index in (0..self.attempts.len()).rev() {
            if !self.attempts[index].is_answered_by(packet) || !self.may_try() {
                continue;
            }
            let attempt = &mut self.attempts[index];
            let Some(payload) = attempt.open_answer(packet) else { continue };
            for frame in frames(&payload) {
                facts.server_hello.get_or_insert(stamp);
                if let Frame::Close { code } = frame {
                    attempt.close();
                    if CRYPTO_ERRORS.contains(&code) {
                        facts.server_alert.get_or_insert((stamp, code as u8));
                    }
                }
            }
            return;
        }
    }

    /// A Handshake packet of the server: it has read the ClientHello and goes on.
    fn handshake(&self, packet: &Long<'_>, stamp: Stamp, facts: &mut Facts) {
        // A server that refuses says so at each level (RFC 9000 section 10.2.3).
        if self.attempts.iter().any(|a| !a.is_closed() && a.is_answered_by(packet)) {
            facts.server_hello.get_or_insert(stamp);
            facts.encrypted.get_or_insert(stamp);
        }
    }

    /// A packet of the server with a short header. A stateless reset looks alike, but it doesn't
    /// name the client, and nobody gets one who hasn't had another answer before.
    fn short(&self, packet: &[u8], stamp: Stamp, facts: &mut Facts) {
        if facts.encrypted.is_some() || self.attempts.iter().all(Attempt::is_closed) {
            return;
        }
        let named = self.attempts.iter().any(|a| !a.is_closed() && a.is_named_by(packet));
        if named || self.moved_on || facts.server_hello.is_some() {
            facts.server_hello.get_or_insert(stamp);
            facts.encrypted.get_or_insert(stamp);
        }
    }

    /// Tells of a hello. After a Retry the client sends the same one again: that is told once.
    fn tell(
        &mut self,
        hello: &ClientHello,
        told: Told,
        facts: &mut Facts,
        listener: &mut impl Listener,
    ) {
        if self.told.contains(&hello.sni) {
            return;
        }
        self.told.push(hello.sni.clone());
        let Told { client, version, stamp, segments } = told;
        let (sni, ech, complete) = (hello.sni.clone(), ech(hello), hello.complete);
        listener.observe(client, stamp, |ends| Fact::QuicInitial {
            ends,
            sni: sni.clone(),
            alpn: hello.alpn.iter().map(|protocol| protocol.to_string()).collect(),
            ech,
            segments,
            version: version.to_string(),
        });
        facts.hello.get_or_insert(Hello { stamp, sni, ech, quic: true, complete });
    }
}

/// How a hello came.
struct Told {
    client: Side,
    version: Version,
    stamp: Stamp,
    segments: u32,
}
