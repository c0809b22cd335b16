use super::{
    Listener,
    tls::{as_sent, ech},
};
use crate::{
    base::{HostName, Stamp},
    extract::{
        Fact, Facts, Hello,
        quic::{Attempt, Frame, Kind, Long, Packet, Payload, Version, frames, packets},
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
#[derive(Clone, Debug, Default)]
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
                Packet::Negotiation(packet) => {
                    if self.attempts.iter().any(|a| a.is_turned_away_by(&packet)) {
                        facts.other_versions.get_or_insert(stamp);
                    }
                }
            }
        }
    }

    /// Bytes of memory that parts of hellos take.
    pub(super) fn footprint(&self) -> usize {
        self.attempts.iter().map(Attempt::footprint).sum()
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
    fn open(&mut self, packet: &Long<'_>) -> Option<(usize, Payload)> {
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
            // Most often it stays the only one.
            self.attempts.reserve_exact(1);
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
        self.told.reserve_exact(1);
        self.told.push(hello.sni.clone());
        let Told { client, version, stamp, segments } = told;
        let (sni, ech, complete) = (hello.sni.clone(), ech(hello), hello.complete);
        listener.observe(client, stamp, |ends| Fact::QuicInitial {
            ends,
            sni: as_sent(hello),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{FrameId, Timestamp},
        extract::{Conversation, Ends, dns, quic::sealing},
        flow::Prefix,
    };
    use proptest::prelude::*;

    const V1: u32 = 1;
    const V2: u32 = 0x6b33_43cf;
    const CLIENT: Side = Side::High;
    const SERVER: Side = Side::Low;
    /// Where the client sends first, what it calls itself, what the server calls itself.
    const DCID: &[u8] = &[1; 8];
    const MINE: &[u8] = &[2; 4];
    const THEIRS: &[u8] = &[3; 9];
    const ACK: &[u8] = &[2, 0, 0, 0, 0];

    fn negotiation(dcid: &[u8], scid: &[u8], versions: &[u32]) -> Vec<u8> {
        let (to, from) = ([dcid.len() as u8], [scid.len() as u8]);
        let head = [&[0x80, 0, 0, 0, 0][..], &to, dcid, &from, scid].concat();
        let listed = versions.iter().flat_map(|version| version.to_be_bytes());
        head.into_iter().chain(listed).collect()
    }

    #[derive(Default)]
    struct Heard(Vec<Fact>);

    impl Listener for Heard {
        fn observe(&mut self, client: Side, _: Stamp, make: impl FnOnce(Ends) -> Fact) {
            let (side, addr) = (client.index() as u16, [127, 0, 0, 1].into());
            let (client_port, server_port) = (side, 1 - side);
            self.0.push(make(Ends { client: addr, client_port, server: addr, server_port }));
        }
        fn dns(&mut self, _: Side, _: &dns::Message, _: Stamp) {}
        fn dns_server(&self) -> Option<Side> {
            None
        }
    }

    /// A conversation whose n-th datagram is frame n.
    #[derive(Default)]
    struct Talk {
        conversation: Conversation,
        heard: Heard,
        frames: u64,
    }

    impl Talk {
        fn send(mut self, from: Side, datagram: &[u8]) -> Self {
            self.frames += 1;
            let stamp = stamp(self.frames);
            self.conversation.datagram(from, datagram, stamp, &mut self.heard);
            self
        }

        fn end(mut self) -> (Facts, Vec<(Option<String>, u32, String)>) {
            let facts = finish(self.conversation, &mut self.heard);
            let told = self.heard.0.into_iter().map(|fact| match fact {
                Fact::QuicInitial { ends, sni, segments, version, .. } => {
                    assert_eq!(ends.client_port, CLIENT.index() as u16);
                    (sni, segments, version)
                }
                other => panic!("{other:?}"),
            });
            (facts, told.collect())
        }
    }

    fn finish(conversation: Conversation, heard: &mut Heard) -> Facts {
        let none = Prefix::default();
        conversation.finish([none.view(); 2], heard)
    }

    fn stamp(frame: u64) -> Stamp {
        Stamp { time: Timestamp::from_nanos(frame), frame: FrameId::new(0, frame) }
    }

    fn told(sni: &str, segments: u32, version: &str) -> Vec<(Option<String>, u32, String)> {
        vec![(Some(sni.to_owned()), segments, version.to_owned())]
    }

    /// A ClientHello with an extension of `padding` bytes behind its name.
    fn hello(name: &str, padding: usize) -> Vec<u8> {
        let len16 = |len: usize| (len as u16).to_be_bytes();
        let list = [&[0][..], &len16(name.len()), name.as_bytes()].concat();
        let sni = [&[0, 0][..], &len16(list.len() + 2), &len16(list.len()), &list].concat();
        let pad = [&[0, 21][..], &len16(padding), &vec![0; padding]].concat();
        let fixed = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        let body = [&fixed[..], &len16(sni.len() + pad.len()), &sni, &pad].concat();
        [&[1, 0][..], &len16(body.len()), &body].concat()
    }

    fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
        let [offset, len] = [offset, data.len()].map(|n| (n as u16 | 0x4000).to_be_bytes());
        [&[6][..], &offset, &len, data].concat()
    }

    /// A long header with a packet number of 4 bytes, for a payload of this length.
    fn header(version: u32, kind: u8, dcid: &[u8], scid: &[u8], len: usize) -> Vec<u8> {
        let kind = if version == V2 { (kind + 1) & 3 } else { kind };
        let token: &[u8] = if kind == u8::from(version == V2) { &[2, 9, 9] } else { &[] };
        let len = ((len as u16 + 4 + 16) | 0x4000).to_be_bytes();
        [
            &[0xc3 | kind << 4][..],
            &version.to_be_bytes(),
            &[dcid.len() as u8],
            dcid,
            &[scid.len() as u8],
            scid,
            token,
            &len,
            &[0, 0, 0, 1],
        ]
        .concat()
    }

    fn ask(version: u32, key_dcid: &[u8], dcid: &[u8], payload: &[u8]) -> Vec<u8> {
        let payload = [payload, &[0; 20]].concat();
        let header = header(version, 0, dcid, MINE, payload.len());
        sealing::seal_client(version, key_dcid, &header, &payload)
    }

    fn answer(version: u32, key_dcid: &[u8], payload: &[u8]) -> Vec<u8> {
        let payload = [payload, &[0; 20]].concat();
        let header = header(version, 0, MINE, THEIRS, payload.len());
        sealing::seal_server(version, key_dcid, &header, &payload)
    }

    fn handshake(version: u32, dcid: &[u8], scid: &[u8]) -> Vec<u8> {
        [header(version, 2, dcid, scid, 100), vec![0x5a; 116]].concat()
    }

    fn asked(version: u32) -> Talk {
        let hello = crypto(0, &hello("a.example", 0));
        Talk::default().send(CLIENT, &ask(version, DCID, DCID, &hello))
    }

    #[test]
    fn a_handshake() {
        for (version, name) in [(V1, "v1"), (V2, "v2"), (0xff00_001d, "draft-29")] {
            let reply = [answer(version, DCID, &crypto(0, &[2])), handshake(version, MINE, THEIRS)];
            let (facts, heard) = asked(version).send(SERVER, &reply.concat()).end();
            assert_eq!(heard, told("a.example", 1, name));
            let hello = facts.hello.unwrap();
            assert!(hello.quic && hello.complete && hello.stamp == stamp(1));
            assert_eq!(facts.client, Some(CLIENT));
            assert_eq!((facts.server_hello, facts.encrypted), (Some(stamp(2)), Some(stamp(2))));
        }
    }

    #[test]
    fn answers_that_are_no_handshake_yet() {
        let (facts, _) = asked(V1).send(SERVER, &answer(V1, DCID, ACK)).end();
        assert_eq!((facts.server_hello, facts.encrypted), (Some(stamp(2)), None));

        let mut retry = header(V1, 3, MINE, THEIRS, 0);
        retry.extend([7; 40]);
        let negotiation = [&[0x80, 0, 0, 0, 0, 4][..], MINE, &[8], DCID, &[0, 0, 0, 1]].concat();
        let reset = [0x41; 43];
        let not_ours = handshake(V1, DCID, THEIRS);
        let forged = answer(V1, THEIRS, ACK);
        for reply in [&retry[..], &negotiation, &reset, &not_ours, &forged] {
            let (facts, _) = asked(V1).send(SERVER, reply).end();
            assert_eq!((facts.server_hello, facts.encrypted), (None, None));
        }
    }

    #[test]
    fn a_server_of_other_versions_turns_the_client_away() {
        let (facts, _) = asked(V1).send(SERVER, &negotiation(MINE, DCID, &[V2])).end();
        assert_eq!((facts.other_versions, facts.server_hello), (Some(stamp(2)), None));
        // Not from who got the Initial, or against what was chosen, or by the client itself.
        for (from, reply) in [
            (SERVER, negotiation(MINE, THEIRS, &[V2])),
            (SERVER, negotiation(THEIRS, DCID, &[V2])),
            (SERVER, negotiation(MINE, DCID, &[V2, V1])),
            (CLIENT, negotiation(DCID, MINE, &[V2])),
        ] {
            assert_eq!(asked(V1).send(from, &reply).end().0.other_versions, None);
        }
    }

    #[test]
    fn after_a_version_negotiation_the_client_goes_on_with_the_same_ids() {
        let hello = crypto(0, &hello("a.example", 0));
        let talk = asked(V2).send(SERVER, &negotiation(MINE, DCID, &[V1]));
        let talk = talk.send(CLIENT, &ask(V1, DCID, DCID, &hello));
        let reply = [answer(V1, DCID, &crypto(0, &[2])), handshake(V1, MINE, THEIRS)].concat();
        let (facts, heard) = talk.send(SERVER, &reply).end();
        assert_eq!(heard, told("a.example", 1, "v2"));
        assert_eq!((facts.other_versions, facts.encrypted), (Some(stamp(2)), Some(stamp(4))));
    }

    #[test]
    fn a_server_that_refuses() {
        let close = [0x1c, 0x41, 120, 0x06, 0];
        let reply = [answer(V1, DCID, &close), handshake(V1, MINE, THEIRS)].concat();
        let (facts, _) = asked(V1).send(SERVER, &reply).send(SERVER, &[0x41; 43]).end();
        assert_eq!(facts.server_alert, Some((stamp(2), 120)));
        assert_eq!((facts.server_hello, facts.encrypted), (Some(stamp(2)), None));
    }

    /// The capture missed the server's first packets.
    #[test]
    fn short_headers_prove_a_handshake() {
        let anonymous = [0x41; 43];
        let named = [&[0x41][..], MINE, &[7; 30]].concat();
        let (facts, _) = asked(V1).send(SERVER, &named).end();
        assert_eq!(facts.encrypted, Some(stamp(2)));
        for client in [&handshake(V1, THEIRS, MINE), &anonymous[..]] {
            let (facts, _) = asked(V1).send(CLIENT, client).send(SERVER, &anonymous).end();
            assert_eq!(facts.encrypted, Some(stamp(3)));
        }
    }

    /// Pieces of a hello in two datagrams, back to front, some of them twice.
    fn scrambled() -> [Vec<u8>; 2] {
        let hello = hello("a.example", 1000);
        let mut payloads = [vec![1, 0], vec![1]];
        for start in (0..hello.len()).step_by(50).rev() {
            let end = hello.len().min(start + 70);
            payloads[usize::from(start % 100 == 0)].extend(crypto(start, &hello[start..end]));
        }
        payloads.map(|payload| ask(V1, DCID, DCID, &payload))
    }

    #[test]
    fn a_scrambled_hello_in_two_datagrams() {
        let [a, b] = scrambled();
        for pair in [[&a, &b], [&b, &a]] {
            let talk = Talk::default().send(CLIENT, pair[0]).send(CLIENT, pair[0]);
            let (facts, heard) = talk.send(CLIENT, pair[1]).end();
            assert_eq!(heard, told("a.example", 2, "v1"));
            assert_eq!(facts.hello.unwrap().stamp, stamp(3));
        }
        let (_, heard) = Talk::default().send(CLIENT, &[a, b].concat()).end();
        assert_eq!(heard, told("a.example", 1, "v1"));
    }

    #[test]
    fn part_of_a_hello() {
        let hello = hello("a.example", 1000);
        let datagram = ask(V1, DCID, DCID, &crypto(0, &hello[..600]));
        let (facts, heard) = Talk::default().send(CLIENT, &datagram).end();
        assert_eq!(heard, told("a.example", 1, "v1"));
        assert!(!facts.hello.unwrap().complete);

        let datagram = ask(V1, DCID, DCID, &crypto(600, &hello[600..]));
        let (facts, heard) = Talk::default().send(CLIENT, &datagram).end();
        assert!(heard.is_empty() && facts.hello.is_none() && facts.client == Some(CLIENT));
    }

    #[test]
    fn after_a_retry_the_hello_is_told_once() {
        let hello = crypto(0, &hello("a.example", 0));
        let (facts, heard) = asked(V1)
            .send(CLIENT, &ask(V1, THEIRS, THEIRS, &hello))
            .send(SERVER, &answer(V1, THEIRS, &crypto(0, &[2])))
            .end();
        assert_eq!(heard, told("a.example", 1, "v1"));
        assert_eq!(facts.server_hello, Some(stamp(3)));
    }

    /// The first attempt isn't in the capture: only the keys of the second one fit.
    #[test]
    fn a_capture_that_begins_after_the_retry() {
        let hello = crypto(0, &hello("a.example", 0));
        let (_, heard) = Talk::default().send(CLIENT, &ask(V1, THEIRS, THEIRS, &hello)).end();
        assert_eq!(heard, told("a.example", 1, "v1"));
    }

    #[test]
    fn other_versions_after_the_first() {
        let hello = crypto(0, &hello("a.example", 0));
        // Version Negotiation: the client tries again.
        let (facts, heard) = asked(V2)
            .send(CLIENT, &ask(V1, DCID, DCID, &hello))
            .send(SERVER, &answer(V1, DCID, ACK))
            .end();
        assert_eq!(heard, told("a.example", 1, "v2"));
        assert_eq!(facts.server_hello, Some(stamp(3)));
        // The server changes to a compatible version.
        let (facts, _) = asked(V1).send(SERVER, &answer(V2, DCID, ACK)).end();
        assert_eq!(facts.server_hello, Some(stamp(2)));
    }

    #[test]
    fn the_client_changes_to_the_servers_id_amid_its_hello() {
        let hello = hello("a.example", 1000);
        let first = ask(V1, DCID, DCID, &crypto(0, &hello[..500]));
        let second = ask(V1, DCID, THEIRS, &crypto(500, &hello[500..]));
        let seen = Talk::default().send(CLIENT, &first).send(SERVER, &answer(V1, DCID, ACK));
        let unseen = Talk::default().send(CLIENT, &first);
        for talk in [seen, unseen] {
            let (facts, heard) = talk.send(CLIENT, &second).end();
            assert_eq!(heard, told("a.example", 2, "v1"));
            assert!(facts.hello.unwrap().complete);
        }
    }

    #[test]
    fn several_connections_from_one_port() {
        let other = crypto(0, &hello("b.example", 0));
        let (facts, heard) = asked(V1).send(CLIENT, &ask(V1, &[9; 8], &[9; 8], &other)).end();
        assert_eq!(heard, [told("a.example", 1, "v1"), told("b.example", 1, "v1")].concat());
        assert_eq!(facts.hello.unwrap().sni.as_deref(), Some("a.example"));
    }

    #[test]
    fn work_and_memory_have_bounds() {
        let mut talk = QuicTalk::default();
        let (mut facts, mut heard) = (Facts::default(), Heard::default());
        for n in 0..200_u8 {
            let dcid = [n; 8];
            let payload = if n % 2 == 0 { vec![1] } else { crypto(0, b"?") };
            let forged = if n % 3 == 0 { [0; 8] } else { dcid };
            let datagram = ask(V1, &forged, &dcid, &payload);
            talk.datagram(CLIENT, &datagram, stamp(n.into()), &mut facts, &mut heard);
            let reply = answer(V1, &dcid, ACK);
            talk.datagram(SERVER, &reply, stamp(n.into()), &mut facts, &mut heard);
            assert!(talk.attempts.len() <= MAX_ATTEMPTS);
        }
        assert!(talk.tries > MAX_TRIES && heard.0.is_empty());
    }

    fn any_datagram() -> impl Strategy<Value = Vec<u8>> {
        let [a, b] = scrambled();
        let long = [handshake(V1, MINE, THEIRS), answer(V1, DCID, ACK)].concat();
        let start = prop::sample::select(vec![a, b, long, answer(V2, DCID, ACK), vec![]]);
        let tail = prop::collection::vec(any::<u8>(), 0..100);
        let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (start, tail, flips, any::<prop::sample::Index>()).prop_map(|(mut d, tail, flips, cut)| {
            d.extend(tail);
            for (at, mask) in flips {
                if !d.is_empty() {
                    let at = at.index(d.len());
                    d[at] ^= mask;
                }
            }
            if cut.index(3) == 0 {
                d.truncate(cut.index(d.len() + 1));
            }
            d
        })
    }

    proptest! {
        #[test]
        fn no_datagrams_break_it(
            datagrams in prop::collection::vec((any::<bool>(), any_datagram()), 0..12)
        ) {
            let mut talk = Talk::default();
            for (client, datagram) in &datagrams {
                talk = talk.send(if *client { CLIENT } else { SERVER }, datagram);
            }
            finish(talk.conversation, &mut talk.heard);
            for fact in &talk.heard.0 {
                let Fact::QuicInitial { sni, .. } = fact else { panic!("{fact:?}") };
                prop_assert!(sni.as_deref().is_none_or(|name| name == "a.example"));
            }
        }

        /// Whatever the pieces and their order, the hello is the same.
        #[test]
        fn pieces_in_any_order(
            cuts in prop::collection::vec(1..1000_usize, 0..20),
            order in any::<u64>(),
            datagrams in 1..4_usize,
        ) {
            let hello = hello("a.example", 1000);
            let mut cuts = [cuts, vec![0, hello.len()]].concat();
            cuts.sort_unstable();
            cuts.dedup();
            let mut pieces: Vec<_> = cuts.windows(2).map(|w| crypto(w[0], &hello[w[0]..w[1]])).collect();
            let mut random = order;
            for i in (1..pieces.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(i, (random >> 33) as usize % (i + 1));
            }
            let mut talk = Talk::default();
            for part in pieces.chunks(pieces.len().div_ceil(datagrams)) {
                talk = talk.send(CLIENT, &ask(V1, DCID, DCID, &part.concat()));
            }
            let segments = talk.frames as u32;
            prop_assert_eq!(talk.end().1, told("a.example", segments, "v1"));
        }
    }
}
