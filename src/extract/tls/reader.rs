use super::{
    MAX_EMPTY_RECORDS, MAX_MESSAGE,
    alert::Alert,
    certificate::Chain,
    client::ClientHello,
    message::{self, ServerHello},
    version::Version,
    wire::{self, HEADER, Header, MESSAGE_HEADER, content, handshake},
};
use crate::extract::Probe;

/// One thing that a direction of a TLS stream showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of the prefix that were needed to see it, without those released before.
    pub end: usize,
    /// What it is.
    pub event: Event,
}

/// What a direction of a TLS stream shows in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A ClientHello: the first one, or the one that answers a HelloRetryRequest. Its `records`
    /// and `len` are 0: they count from a stream's beginning.
    ClientHello(Box<ClientHello>),
    /// A ServerHello or HelloRetryRequest.
    ServerHello(ServerHello),
    /// A certificate chain. Only before TLS 1.3. Clients may send one too, also an empty one.
    Certificates(Chain),
    /// An alert in clear.
    Alert(Alert),
    /// From here on the sender encrypts. In TLS 1.3 only a courtesy to middleboxes.
    ChangeCipherSpec {
        /// The server of TLS 1.2 or earlier skipped its key exchange: a session is resumed.
        resumed: bool,
    },
    /// The first encrypted record. From a server this proves that keys were agreed on. The last
    /// event.
    Encrypted(Encrypted),
    /// It isn't TLS, from its first byte on. The last event.
    Foreign(Foreign),
    /// A message of this handshake type that makes no sense.
    Unreadable(u8),
}

/// An encrypted record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encrypted {
    /// Content type of the record; TLS 1.3 makes every one application data.
    pub content_type: u8,
    /// Bytes of ciphertext.
    pub len: u16,
}

impl Encrypted {
    /// True when the sender most likely encrypted an alert: it gave up.
    ///
    /// Before TLS 1.3 the content type says so. In TLS 1.3 an alert makes 19 bytes: itself, the
    /// inner type and the tag (RFC 8446 section 5.2), and no handshake message that may come first
    /// is that short.
    pub fn looks_like_alert(self) -> bool {
        match self.content_type {
            content::ALERT => true,
            content::APPLICATION_DATA => self.len == 19,
            _ => false,
        }
    }
}

/// What a stream that isn't TLS looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// An HTTP answer: a proxy, or a block page in clear.
    Http,
    /// Other text, such as a banner or bare HTML.
    Text,
    /// Anything else.
    Binary,
}

/// Reads one direction of a TLS stream, event by event.
///
/// Give it the same growing prefix each time, or what is left of it after [`Reader::release`]. It
/// remembers how far it is, so the work of all calls together is linear in the bytes. Only messages
/// that span records are copied.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Where to read on.
    at: usize,
    /// Bytes came before the prefix.
    begun: bool,
    /// Payload bytes that the current handshake record still has.
    left: usize,
    /// The beginning of a message that spans records.
    message: Vec<u8>,
    /// Bytes to pass over of a message that tells nothing.
    skip: usize,
    /// Version that the server chose.
    version: Option<Version>,
    /// A message of a full handshake came by (RFC 5246 section 7.3).
    full: bool,
    /// ChangeCipherSpec came by.
    changed: bool,
    empty: u32,
    done: bool,
}

/// What one look at the prefix gave.
enum Step {
    Event(Event),
    Need(usize),
    On,
    End,
}

impl Reader {
    /// Reads a direction from its beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the client's direction on, after its first hello.
    pub fn after(hello: &ClientHello) -> Self {
        Self { at: hello.len, ..Self::default() }
    }

    /// Bytes of memory that the beginning of a message takes.
    pub fn footprint(&self) -> usize {
        self.message.capacity()
    }

    /// Number of bytes at the front of the prefix that aren't needed any more, which may be more than
    /// there are. From now on the prefix begins behind them.
    pub fn release(&mut self) -> usize {
        self.begun |= self.at > 0;
        std::mem::take(&mut self.at)
    }

    /// The next event. `Not` when there is nothing more to learn from this direction.
    pub fn read(&mut self, prefix: &[u8]) -> Probe<Seen> {
        while !self.done {
            let step = if self.left == 0 { self.record(prefix) } else { self.handshake(prefix) };
            match step {
                Step::On => {}
                Step::End => self.done = true,
                Step::Need(need) => return Probe::More(need),
                Step::Event(event) => {
                    let end = self.at;
                    return Probe::Found(Seen { end, event });
                }
            }
        }
        Probe::Not
    }

    /// Reads a record's header, and its payload unless it is a handshake in clear.
    fn record(&mut self, prefix: &[u8]) -> Step {
        let rest = prefix.get(self.at..).unwrap_or_default();
        let header = match wire::header(rest) {
            Probe::Found(header) => header,
            Probe::More(_) => return Step::Need(self.at + HEADER),
            Probe::Not if self.at == 0 && !self.begun => return self.foreign(prefix),
            Probe::Not => return Step::End,
        };
        let payload = &rest[HEADER..];
        match header.kind {
            content::HANDSHAKE => self.handshake_record(header, payload),
            content::ALERT => self.alert_record(header, payload),
            content::CHANGE_CIPHER_SPEC => self.change_record(header, payload),
            content::APPLICATION_DATA if header.len > 0 => self.encrypted(header),
            // Heartbeats (RFC 6520), and empty records.
            _ => self.pass(header),
        }
    }

    fn handshake_record(&mut self, header: Header, payload: &[u8]) -> Step {
        // After ChangeCipherSpec a handshake record is encrypted, except for the second hellos
        // that a HelloRetryRequest leads to. Ciphertext has at least 16 bytes of tag or MAC.
        let begins = self.message.is_empty() && self.skip == 0;
        if self.changed && begins && header.len >= 16 {
            match payload.get(..6) {
                None => return Step::Need(self.at + HEADER + 6),
                Some(head) if !begins_hello(head) => return self.encrypted(header),
                Some(_) => {}
            }
        }
        if header.len == 0 {
            return self.pass(header);
        }
        self.at += HEADER;
        self.left = header.len;
        Step::On
    }

    fn alert_record(&mut self, header: Header, payload: &[u8]) -> Step {
        if header.len >= 16 {
            return self.encrypted(header);
        }
        if header.len < 2 {
            return self.pass(header);
        }
        let Some(alert) = payload.get(..header.len) else {
            return Step::Need(self.at + HEADER + header.len);
        };
        self.at += HEADER + header.len;
        Step::Event(Event::Alert(Alert { level: alert[0], description: alert[1] }))
    }

    fn change_record(&mut self, header: Header, payload: &[u8]) -> Step {
        if header.len != 1 {
            return Step::End;
        }
        if payload.is_empty() {
            return Step::Need(self.at + HEADER + 1);
        }
        self.at += HEADER + 1;
        self.changed = true;
        let resumed = !self.full && self.version.is_some_and(|v| !v.is_13());
        Step::Event(Event::ChangeCipherSpec { resumed })
    }

    /// The header says enough.
    fn encrypted(&mut self, header: Header) -> Step {
        self.at += HEADER;
        self.done = true;
        Step::Event(Event::Encrypted(Encrypted {
            content_type: header.kind,
            len: header.len as u16,
        }))
    }

    /// Passes over a whole record.
    fn pass(&mut self, header: Header) -> Step {
        self.empty += u32::from(header.len == 0);
        self.at += HEADER + header.len;
        if self.empty > MAX_EMPTY_RECORDS { Step::End } else { Step::On }
    }

    fn foreign(&mut self, prefix: &[u8]) -> Step {
        const DECISIVE: &[u8] = b"HTTP/";
        let Some(head) = prefix.get(..DECISIVE.len()) else {
            return Step::Need(DECISIVE.len());
        };
        self.done = true;
        self.at = head.len();
        let is_text = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
        Step::Event(Event::Foreign(if head == DECISIVE {
            Foreign::Http
        } else if head.iter().all(is_text) {
            Foreign::Text
        } else {
            Foreign::Binary
        }))
    }

    /// Reads on within the payload of a handshake record.
    fn handshake(&mut self, prefix: &[u8]) -> Step {
        let rest = prefix.get(self.at..).unwrap_or_default();
        let rest = &rest[..rest.len().min(self.left)];
        if self.skip > 0 {
            return self.skip_on(rest);
        }
        if !self.message.is_empty() || self.left < MESSAGE_HEADER {
            return self.join(rest);
        }
        let Some(len) = wire::message_len(rest) else {
            return Step::Need(self.at + MESSAGE_HEADER);
        };
        match self.look_at(rest[0], len) {
            Some(step) => step,
            None if len > self.left => self.join(rest),
            None => match rest.get(..len) {
                None => Step::Need(self.at + len),
                Some(message) => {
                    self.forward(len);
                    self.finish(message)
                }
            },
        }
    }

    /// Notes what a message's type tells. `None` when its content is to be read as well.
    fn look_at(&mut self, kind: u8, len: usize) -> Option<Step> {
        use handshake::{
            CERTIFICATE, CLIENT_HELLO, CLIENT_KEY_EXCHANGE, SERVER_HELLO, SERVER_HELLO_DONE,
            SERVER_KEY_EXCHANGE,
        };
        self.full |= matches!(
            kind,
            CERTIFICATE | SERVER_KEY_EXCHANGE | SERVER_HELLO_DONE | CLIENT_KEY_EXCHANGE
        );
        // The registered types; 67 was Next Protocol Negotiation.
        if !matches!(kind, 0..=6 | 8..=16 | 20..=26 | 67) {
            self.done = true;
            return Some(Step::Event(Event::Unreadable(kind)));
        }
        if matches!(kind, CLIENT_HELLO | SERVER_HELLO | CERTIFICATE) && len <= MAX_MESSAGE {
            return None;
        }
        self.skip = len;
        Some(Step::On)
    }

    fn skip_on(&mut self, rest: &[u8]) -> Step {
        let n = self.skip.min(rest.len());
        if n == 0 {
            return Step::Need(self.need(self.skip));
        }
        self.skip -= n;
        self.forward(n);
        Step::On
    }

    /// Collects a message that spans records, its header first.
    fn join(&mut self, rest: &[u8]) -> Step {
        let len = wire::message_len(&self.message);
        let missing = len.unwrap_or(MESSAGE_HEADER) - self.message.len();
        let Some(part) = rest.get(..missing.min(rest.len())).filter(|p| !p.is_empty()) else {
            return Step::Need(self.need(missing));
        };
        self.message.extend_from_slice(part);
        self.forward(part.len());
        match wire::message_len(&self.message) {
            Some(whole) if whole == self.message.len() => {
                let message = std::mem::take(&mut self.message);
                // A message of four bytes is looked at here for the first time.
                match len.is_none().then(|| self.look_at(message[0], 0)) {
                    Some(Some(step)) => step,
                    _ => self.finish(&message),
                }
            }
            Some(whole) if len.is_none() => self.begin_joined(whole),
            _ => Step::On,
        }
    }

    /// The header of a message that spans records has become whole.
    fn begin_joined(&mut self, len: usize) -> Step {
        let step = self.look_at(self.message[0], len);
        if step.is_some() {
            self.skip = self.skip.saturating_sub(self.message.len());
            self.message.clear();
        }
        step.unwrap_or(Step::On)
    }

    fn forward(&mut self, n: usize) {
        self.at += n;
        self.left -= n;
    }

    /// Length of prefix from which there is more to see when a message lacks `missing` bytes and
    /// all that is there of it is used up. The next record's header counts too: it may be the
    /// alert that ends the matter.
    fn need(&self, missing: usize) -> usize {
        if missing <= self.left { self.at + missing } else { self.at + self.left + HEADER }
    }

    /// Reads a whole message of one of the types that `look_at` lets through.
    fn finish(&mut self, message: &[u8]) -> Step {
        let event = match message[0] {
            handshake::CLIENT_HELLO => {
                Some(Event::ClientHello(Box::new(ClientHello::from_message(message))))
            }
            handshake::SERVER_HELLO => message::server_hello(message).map(|hello| {
                self.version = Some(hello.version);
                Event::ServerHello(hello)
            }),
            _ => {
                message::certificates(message).map(|chain| Event::Certificates(Chain::read(&chain)))
            }
        };
        Step::Event(event.unwrap_or(Event::Unreadable(message[0])))
    }
}

/// True when a record's first bytes are those of a hello in clear: type, a sane length, version.
/// Ciphertext looks so once in 2^24.
fn begins_hello(head: &[u8]) -> bool {
    let kind = head[0];
    matches!(kind, handshake::CLIENT_HELLO | handshake::SERVER_HELLO)
        && wire::message_len(head).is_some_and(|len| (42..=MAX_MESSAGE).contains(&len))
        && head[4] == 3
        && head[5] <= 4
}

#[cfg(test)]
mod tests {
    use super::super::{client::client_hello, testdata::*};
    use super::*;
    use proptest::prelude::*;

    /// All events of a stream that is there as a whole.
    fn all(mut reader: Reader, stream: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Probe::Found(event) = reader.read(stream) {
            assert!(event.end <= stream.len());
            seen.push(event);
        }
        seen
    }

    fn events(stream: &[u8]) -> Vec<Event> {
        let seen = all(Reader::new(), stream);
        seen.into_iter().map(|s| s.event).collect()
    }

    fn after_hello(stream: &[u8]) -> Vec<Event> {
        let Probe::Found(hello) = client_hello(stream) else { panic!("no hello") };
        let seen = all(Reader::after(&hello), stream);
        seen.into_iter().map(|s| s.event).collect()
    }

    fn changed(resumed: bool) -> Event {
        Event::ChangeCipherSpec { resumed }
    }

    fn encrypted(content_type: u8, len: u16) -> Event {
        Event::Encrypted(Encrypted { content_type, len })
    }

    fn alert(level: u8, description: u8) -> Event {
        Event::Alert(Alert { level, description })
    }

    fn server_hello(version: Version, alpn: Option<&'static str>, retry: bool) -> Event {
        Event::ServerHello(ServerHello { version, retry, alpn: alpn.map(Into::into), psk: false })
    }

    #[test]
    fn tls12_shows_its_certificates() {
        let seen = events(TLS12_SERVER);
        assert_eq!(seen.len(), 4);
        assert_eq!(seen[0], server_hello(Version::TLS12, Some("h2"), false));
        assert_eq!(seen[2..], [changed(false), encrypted(22, 40)]);
        let Event::Certificates(chain) = &seen[1] else { panic!("no chain") };
        let ca = "OU=Ops+CN=Re\\\"sign CA,O=Example\\, Inc.,C=ZZ";
        assert_eq!(chain.issuer.as_deref(), Some(ca));
        assert!(chain.root_sent);
        let ends: Vec<_> = all(Reader::new(), TLS12_SERVER).iter().map(|s| s.end).collect();
        assert_eq!(ends, [107, 1603, 1737, 1742]);
        assert_eq!(after_hello(TLS12_CLIENT), [changed(false), encrypted(22, 40)]);
    }

    #[test]
    fn records_do_not_matter_to_certificates() {
        let seen = events(FRAG12_SERVER);
        assert_eq!(seen[1], events(TLS12_SERVER)[1]);
        assert_eq!(seen[2..], [changed(false), encrypted(22, 40)]);
    }

    #[test]
    fn tls13_shows_hello_and_encryption() {
        let expected =
            [server_hello(Version::TLS13, None, false), changed(false), encrypted(23, 32)];
        assert_eq!(events(TLS13_SERVER), expected);
        assert_eq!(after_hello(TLS13_CLIENT), [changed(false), encrypted(23, 69)]);
    }

    #[test]
    fn a_retry_brings_second_hellos_after_change_cipher_spec() {
        let expected = [
            server_hello(Version::TLS13, None, true),
            changed(false),
            server_hello(Version::TLS13, None, false),
            encrypted(23, 23),
        ];
        assert_eq!(events(HRR_SERVER), expected);
        let client = after_hello(HRR_CLIENT);
        let [first, Event::ClientHello(second), last] = &client[..] else { panic!("{client:?}") };
        assert_eq!((first, last), (&changed(false), &encrypted(23, 69)));
        assert_eq!(second.sni.as_deref(), Some("hrr.example.com"));
        assert!(second.complete);
    }

    #[test]
    fn resumption_skips_the_key_exchange() {
        let seen = events(RESUMED12_SERVER);
        assert_eq!(seen[1..], [changed(true), encrypted(22, 40)]);
    }

    #[test]
    fn alerts_in_clear() {
        assert_eq!(events(ALERT12_SERVER), [alert(2, 70)]);
        assert_eq!(after_hello(BADCA12_CLIENT), [alert(2, 48)]);
        assert_eq!(after_hello(BADCA13_CLIENT), [alert(2, 48)]);
        let Event::Alert(refusal) = events(ALERT12_SERVER)[0] else { panic!() };
        assert_eq!((refusal.name(), refusal.is_fatal()), ("protocol_version", true));
        // A client's stream may hold nothing else.
        assert_eq!(events(&[21, 3, 1, 0, 2, 1, 0]), [alert(1, 0)]);
        assert_eq!(events(&records(21, &[1, 112], &[])), [alert(1, 112)]);
    }

    #[test]
    fn encrypted_alerts_show_by_their_size() {
        let looks = |stream: &[u8]| match events(stream).pop() {
            Some(Event::Encrypted(record)) => record.looks_like_alert(),
            other => panic!("{other:?}"),
        };
        assert!(looks(&[20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 19]));
        assert!(looks(&[20, 3, 3, 0, 1, 1, 21, 3, 3, 0, 26]));
        assert!(!looks(TLS13_CLIENT.split_at(517).1));
    }

    #[test]
    fn what_is_not_tls_is_named() {
        let http = b"HTTP/1.1 400 Bad Request";
        assert_eq!(events(http), [Event::Foreign(Foreign::Http)]);
        assert_eq!(events(PLAIN_SERVER), [Event::Foreign(Foreign::Text)]);
        assert_eq!(events(b"220 mail"), [Event::Foreign(Foreign::Text)]);
        assert_eq!(events(&[0; 9]), [Event::Foreign(Foreign::Binary)]);
        assert_eq!(Reader::new().read(b"HTT"), Probe::More(5));
    }

    #[test]
    fn a_hello_counts_although_its_record_is_cut() {
        let mut both = first_payload(TLS12_SERVER).to_vec();
        both.extend([11, 0, 0x10, 0, 0]);
        let stream = records(22, &both, &[]);
        let seen = all(Reader::new(), &stream[..stream.len() - 2]);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].end, 107);
    }

    #[test]
    fn oversized_and_unknown_messages_are_not_kept() {
        let mut huge = vec![11, 0xff, 0xff, 0xff];
        huge.resize(60_000, 0);
        let stream = records(22, &huge, &[]);
        let mut reader = Reader::new();
        assert!(matches!(reader.read(&stream), Probe::More(n) if n > stream.len()));
        assert!(reader.skip > 1 << 23);
        assert!(reader.message.is_empty());
        assert_eq!(events(&records(22, &[99; 50], &[])), [Event::Unreadable(99)]);
        let cut_chain = [11, 0, 0, 3, 0, 0, 9];
        assert_eq!(events(&records(22, &cut_chain, &[])), [Event::Unreadable(11)]);
    }

    /// The stream byte by byte, honouring thresholds or not.
    fn dripped(stream: &[u8], honour: bool) -> Vec<Seen> {
        let (mut reader, mut seen, mut need) = (Reader::new(), Vec::new(), 0);
        for len in 0..=stream.len() {
            if honour && len < need {
                continue;
            }
            loop {
                match reader.read(&stream[..len]) {
                    Probe::Found(event) => {
                        assert!(event.end <= len);
                        seen.push(event);
                    }
                    Probe::More(n) => {
                        assert!(n > len);
                        need = n;
                        break;
                    }
                    Probe::Not => return seen,
                }
            }
        }
        seen
    }

    /// The stream in steps of so many bytes, of which those that were read are dropped.
    fn released(stream: &[u8], step: usize) -> Vec<Seen> {
        let (mut reader, mut seen, mut start) = (Reader::new(), Vec::new(), 0);
        for end in (0..=stream.len()).step_by(step).chain([stream.len()]) {
            let prefix = stream.get(start..end).unwrap_or_default();
            while let Probe::Found(event) = reader.read(prefix) {
                seen.push(Seen { end: start + event.end, ..event });
            }
            start += reader.release();
        }
        seen
    }

    #[test]
    fn prefixes_of_any_length_give_the_same() {
        for stream in SERVERS.iter().chain(&CLIENTS) {
            let whole = all(Reader::new(), stream);
            for step in [1, 7, 100, 1000] {
                assert_eq!(released(stream, step), whole);
            }
            assert_eq!(dripped(stream, false), whole);
            assert_eq!(dripped(stream, true), whole);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(stream in prop::collection::vec(any::<u8>(), 0..300), tls: bool) {
            let stream = if tls { records(22, &stream, &[20]) } else { stream };
            prop_assert_eq!(dripped(&stream, false), all(Reader::new(), &stream));
            prop_assert_eq!(released(&stream, 3), all(Reader::new(), &stream));
        }

        #[test]
        fn damage_is_survived(which in 0..SERVERS.len(), at in 0usize..2000, byte: u8) {
            let mut stream = SERVERS[which].to_vec();
            let at = at % stream.len();
            stream[at] = byte;
            let whole = all(Reader::new(), &stream);
            prop_assert_eq!(dripped(&stream, true), whole.clone());
            prop_assert_eq!(released(&stream, 50), whole);
        }

        #[test]
        fn records_change_nothing(sizes in prop::collection::vec(1usize..200, 1..60)) {
            // Everything before ChangeCipherSpec, cut into other records.
            let clear: Vec<u8> = [(5, 102), (112, 1491), (1608, 114), (1727, 4)]
                .iter()
                .flat_map(|&(at, len)| TLS12_SERVER[at..at + len].to_vec())
                .collect();
            let mut stream = records(22, &clear, &sizes);
            stream.extend(&TLS12_SERVER[1731..]);
            prop_assert_eq!(events(&stream), events(TLS12_SERVER));
            prop_assert_eq!(dripped(&stream, true), all(Reader::new(), &stream));
        }
    }
}
