use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr},
};

use super::{
    MAX_EMPTY_RECORDS, MAX_MESSAGE,
    ech::EchOffer,
    version::Version,
    wire::{self, Cursor, Extension, HEADER, MESSAGE_HEADER, content, extension, handshake},
};
use crate::{base::HostName, extract::Probe};

/// What a ClientHello says (RFC 8446 section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// TLS framing, or that of SSL 2.0.
    pub dialect: Dialect,
    /// False when the message wasn't all there. What was there has been read.
    pub complete: bool,
    /// True when lengths inside the message contradict each other, or when a started message is
    /// followed by something else. What could be read has been read.
    pub malformed: bool,
    /// The server's name (RFC 6066 section 3).
    pub sni: Option<HostName>,
    /// What is wrong with the server_name extension. An SNI next to it is the first host name in
    /// it.
    pub sni_problem: Option<SniProblem>,
    /// Protocols offered (RFC 7301), at most 64, odd bytes escaped, reserved values (RFC 8701)
    /// left out.
    pub alpn: Vec<Cow<'static, str>>,
    /// Encrypted Client Hello; [`Ech::classify`](super::Ech::classify) says what it means.
    pub ech: Option<EchOffer>,
    /// Version in the message; TLS 1.3 says TLS 1.2 here.
    pub legacy_version: Version,
    /// Newest version offered.
    pub max_version: Version,
    /// Offers a session ticket (RFC 5077).
    pub ticket: bool,
    /// Offers a pre-shared key, in practice a resumption (RFC 8446 section 4.2.11).
    pub psk: bool,
    /// Announces 0-RTT data: encrypted records follow before the server has answered.
    pub early_data: bool,
    /// Records that carried the message; 0 when it came without.
    pub records: u32,
    /// Bytes of the prefix up to the message's end, or all of them when it isn't complete.
    pub len: usize,
}

/// Framing of a ClientHello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SSL 3.0 to TLS 1.3.
    #[default]
    Tls,
    /// The compatible hello of SSL 2.0 (RFC 5246 appendix E.2). It has no extensions.
    Sslv2,
}

/// Why a server_name extension isn't simply one host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SniProblem {
    /// An address literal, which RFC 6066 section 3 forbids.
    Address(IpAddr),
    /// No host name: escaped, at most 255 bytes.
    NotAHostName(String),
    /// Several different names, which RFC 6066 section 3 forbids.
    SeveralNames,
    /// Lengths that contradict each other.
    Malformed,
}

/// Reads the ClientHello that a client's stream begins with.
///
/// `More` tells the least length at which the hello can be whole, so that calling at each
/// threshold costs little more than one call at the end, however it is cut into records. A
/// damaged hello is still `Found`, see [`ClientHello::malformed`].
pub fn client_hello(prefix: &[u8]) -> Probe<ClientHello> {
    match sslv2_hello(prefix) {
        Probe::Not => {}
        decided => return decided,
    }
    match Gathered::from(prefix) {
        None => Probe::Not,
        Some(Gathered { state: State::Cut { need }, .. }) => Probe::More(need),
        Some(gathered) => Probe::Found(gathered.read()),
    }
}

/// Reads what is there of a ClientHello that will never be whole: the flow ended, or a gap stayed.
///
/// A name that is cut short isn't given. `None` when the prefix doesn't begin a ClientHello or
/// ends before its version.
pub fn partial_client_hello(prefix: &[u8]) -> Option<ClientHello> {
    match sslv2_hello(prefix) {
        Probe::Found(hello) => return Some(hello),
        Probe::More(_) => return sslv2_version(prefix).map(|v| sslv2(v, prefix.len(), false)),
        Probe::Not => {}
    }
    let gathered = Gathered::from(prefix)?;
    (gathered.message.len() >= MESSAGE_HEADER + 2).then(|| gathered.read())
}

/// As [`client_hello`], for a message without records, as QUIC carries it (RFC 9001 section 4).
pub fn client_hello_message(prefix: &[u8]) -> Probe<ClientHello> {
    match Gathered::from_message(prefix) {
        None => Probe::Not,
        Some(Gathered { state: State::Cut { need }, .. }) => Probe::More(need),
        Some(gathered) => Probe::Found(gathered.read()),
    }
}

/// As [`partial_client_hello`], for a message without records.
pub fn partial_client_hello_message(prefix: &[u8]) -> Option<ClientHello> {
    let gathered = Gathered::from_message(prefix)?;
    (gathered.message.len() >= MESSAGE_HEADER + 2).then(|| gathered.read())
}

impl ClientHello {
    /// Reads a whole message, header included.
    pub(super) fn from_message(message: &[u8]) -> Self {
        let mut hello = Self { complete: true, ..Self::default() };
        hello.read_message(message);
        hello
    }

    fn read_message(&mut self, message: &[u8]) {
        let intact = self.read_body(message.get(MESSAGE_HEADER..).unwrap_or_default());
        self.malformed |= self.complete && intact.is_none();
        if self.max_version == Version::default() {
            self.max_version = self.legacy_version;
        }
    }

    /// `None` when the body ends early or late.
    fn read_body(&mut self, body: &[u8]) -> Option<()> {
        let mut cursor = Cursor(body);
        self.legacy_version = Version(cursor.u16()?);
        cursor.take(32)?; // random
        cursor.vec8()?; // session ID
        cursor.vec16()?; // cipher suites
        cursor.vec8()?; // compression methods
        if cursor.0.is_empty() {
            return Some(()); // SSL 3.0 and TLS 1.0 know no extensions.
        }
        let len = usize::from(cursor.u16()?);
        let block = cursor.take_at_most(len);
        let mut read = 0;
        for ext in wire::extensions(block) {
            read += ext.whole.len();
            self.malformed |= self.complete && !ext.complete;
            self.read_extension(&ext);
        }
        (block.len() == len && read == len && cursor.0.is_empty()).then_some(())
    }

    fn read_extension(&mut self, ext: &Extension<'_>) {
        match ext.kind {
            extension::SERVER_NAME => self.read_server_name(ext),
            extension::ALPN => self.read_alpn(ext.data),
            extension::SUPPORTED_VERSIONS => {
                let list = ext.data.get(1..).unwrap_or_default().chunks_exact(2);
                let newest = Version::newest(list.map(|v| u16::from_be_bytes([v[0], v[1]])));
                self.max_version = newest.unwrap_or_default();
            }
            // An empty ticket only asks for one (RFC 5077 section 3.2).
            extension::SESSION_TICKET => self.ticket = !ext.data.is_empty(),
            extension::PRE_SHARED_KEY => self.psk = true,
            extension::EARLY_DATA => self.early_data = true,
            extension::ENCRYPTED_CLIENT_HELLO if ext.complete => {
                self.ech = Some(EchOffer::parse(ext.data));
            }
            _ => {}
        }
    }

    /// Takes every entry that is there in full, whatever the list's own length says.
    fn read_server_name(&mut self, ext: &Extension<'_>) {
        if ext.data.is_empty() {
            return; // Some clients send it so. It names nothing.
        }
        let mut cursor = Cursor(ext.data);
        let list_len = cursor.u16().map(usize::from);
        let consistent = list_len == Some(cursor.0.len());
        while let Some(kind) = cursor.u8() {
            // Unknown types would be free to look otherwise; none was ever defined.
            let Some(name) = cursor.vec16() else {
                return self.sni_malformed(ext);
            };
            if kind == 0 {
                self.add_name(name);
            }
        }
        if !consistent {
            self.sni_malformed(ext);
        }
    }

    fn sni_malformed(&mut self, ext: &Extension<'_>) {
        if ext.complete {
            self.sni_problem.get_or_insert(SniProblem::Malformed);
        }
    }

    fn add_name(&mut self, raw: &[u8]) {
        let name = HostName::parse(raw);
        if self.sni.is_some() {
            if self.sni != name {
                self.sni_problem = Some(SniProblem::SeveralNames);
            }
        } else if name.is_some() {
            self.sni = name;
        } else {
            self.sni_problem.get_or_insert_with(|| not_a_name(raw));
        }
    }

    fn read_alpn(&mut self, data: &[u8]) {
        let mut cursor = Cursor(data);
        cursor.u16();
        self.alpn = std::iter::from_fn(|| cursor.vec8())
            .filter(|protocol| !is_grease(protocol))
            .take(64)
            .map(protocol_name)
            .collect();
    }
}

fn not_a_name(raw: &[u8]) -> SniProblem {
    let text = raw.strip_suffix(b".").unwrap_or(raw);
    let text = std::str::from_utf8(text).unwrap_or_default();
    let v6 = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = match v6 {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    address.map_or_else(
        || SniProblem::NotAHostName(raw[..raw.len().min(255)].escape_ascii().to_string()),
        SniProblem::Address,
    )
}

/// A reserved protocol (RFC 8701 section 2): twice the same byte, which ends in 0xA.
fn is_grease(protocol: &[u8]) -> bool {
    matches!(protocol, [a, b] if a == b && a & 0x0f == 0x0a)
}

/// An ALPN protocol as text, odd bytes escaped. The usual ones cost nothing.
pub(super) fn protocol_name(protocol: &[u8]) -> Cow<'static, str> {
    match protocol {
        b"h2" => "h2".into(),
        b"http/1.1" => "http/1.1".into(),
        other => other.escape_ascii().to_string().into(),
    }
}

/// The bytes of a stream's first handshake message, as far as they are there.
struct Gathered<'a> {
    message: Cow<'a, [u8]>,
    records: u32,
    end: usize,
    state: State,
}

enum State {
    /// All there.
    Whole,
    /// The prefix ends; more can be said when it has `need` bytes.
    Cut { need: usize },
    /// Something other than the message's continuation follows.
    Broken,
}

/// Version, random and the lengths of three empty vectors: no ClientHello is shorter.
const MIN_MESSAGE: usize = MESSAGE_HEADER + 2 + 32 + 1 + 2 + 1;

impl<'a> Gathered<'a> {
    /// `None` when it isn't a ClientHello.
    fn from(prefix: &'a [u8]) -> Option<Self> {
        let mut gathered =
            Self { message: Cow::Borrowed(&[]), records: 0, end: 0, state: State::Whole };
        let mut empty = 0;
        loop {
            let missing = gathered.missing()?;
            if missing == 0 {
                return Some(gathered);
            }
            let header = match wire::header(&prefix[gathered.end..]) {
                Probe::Found(header) if header.kind == content::HANDSHAKE => header,
                Probe::More(_) if may_continue(&prefix[gathered.end..]) => {
                    let need = gathered.end + HEADER + missing;
                    return Some(gathered.cut(prefix, need));
                }
                _ if gathered.message.is_empty() => return None,
                _ => {
                    gathered.state = State::Broken;
                    return Some(gathered);
                }
            };
            empty += u32::from(header.len == 0);
            if empty > MAX_EMPTY_RECORDS {
                return None;
            }
            let payload = &prefix[gathered.end + HEADER..];
            let there = header.len.min(payload.len());
            gathered.add(&payload[..there]);
            let missing = gathered.missing()?;
            if missing > 0 && there < header.len {
                let record_end = gathered.end + header.len - there;
                let need = match missing.checked_sub(header.len - there) {
                    None | Some(0) => prefix.len() + missing,
                    Some(beyond) => record_end + HEADER + beyond,
                };
                return Some(gathered.cut(prefix, need));
            }
        }
    }

    /// The same for a message that isn't in records.
    fn from_message(prefix: &'a [u8]) -> Option<Self> {
        let (message, end) = (Cow::Borrowed(prefix), prefix.len());
        let mut gathered = Self { message, records: 0, end, state: State::Whole };
        match gathered.missing()? {
            0 => {
                gathered.end = wire::message_len(prefix)?;
                gathered.message = Cow::Borrowed(&prefix[..gathered.end]);
                Some(gathered)
            }
            missing => Some(gathered.cut(prefix, prefix.len() + missing)),
        }
    }

    /// Appends a record's payload: borrowed while there is one record only.
    fn add(&mut self, payload: &'a [u8]) {
        self.records += 1;
        self.end += HEADER + payload.len();
        if self.message.is_empty() {
            self.message = Cow::Borrowed(payload);
        } else {
            self.message.to_mut().extend_from_slice(payload);
        }
        if let Some(surplus) =
            wire::message_len(&self.message).and_then(|len| self.message.len().checked_sub(len))
        {
            self.end -= surplus;
            let len = self.message.len() - surplus;
            match &mut self.message {
                Cow::Borrowed(slice) => *slice = &slice[..len],
                Cow::Owned(vec) => vec.truncate(len),
            }
        }
    }

    /// How many bytes the message lacks at least; `None` when it can't be a ClientHello.
    fn missing(&self) -> Option<usize> {
        if self.message.first().is_some_and(|t| *t != handshake::CLIENT_HELLO) {
            return None;
        }
        let len = wire::message_len(&self.message).unwrap_or(MIN_MESSAGE);
        (MIN_MESSAGE..=MAX_MESSAGE).contains(&len).then(|| len.saturating_sub(self.message.len()))
    }

    fn cut(mut self, prefix: &[u8], need: usize) -> Self {
        self.end = prefix.len();
        self.state = State::Cut { need };
        self
    }

    fn read(self) -> ClientHello {
        let mut hello = ClientHello {
            complete: matches!(self.state, State::Whole),
            malformed: matches!(self.state, State::Broken),
            records: self.records,
            len: self.end,
            ..ClientHello::default()
        };
        hello.read_message(&self.message);
        hello
    }
}

/// True when an incomplete record header can still be that of a handshake record.
fn may_continue(header: &[u8]) -> bool {
    header.first().is_none_or(|&kind| kind == content::HANDSHAKE)
}

/// Reads a hello in SSL 2.0 framing (RFC 5246 appendix E.2): a 15-bit length with the high bit
/// set, type 1, version, then the lengths of three fields, which must add up.
fn sslv2_hello(prefix: &[u8]) -> Probe<ClientHello> {
    const FIXED: usize = 9;
    let plausible = prefix
        .iter()
        .zip([0x80..=0xff, 0..=0xff, 1..=1, 0..=3])
        .all(|(byte, range): (_, std::ops::RangeInclusive<u8>)| range.contains(byte));
    if !plausible {
        return Probe::Not;
    }
    let Some((fixed, _)) = prefix.split_at_checked(2 + FIXED) else {
        return Probe::More(2 + FIXED);
    };
    let field = |at: usize| usize::from(u16::from_be_bytes([fixed[at], fixed[at + 1]]));
    let len = field(0) & 0x7fff;
    let (ciphers, session, challenge) = (field(5), field(7), field(9));
    let version = match field(3) as u16 {
        version @ (0x0002 | 0x0300..=0x0304) => Version(version),
        _ => return Probe::Not,
    };
    let adds_up = FIXED + ciphers + session + challenge == len;
    if !adds_up || ciphers == 0 || ciphers % 3 != 0 || !(16..=32).contains(&challenge) {
        Probe::Not
    } else if prefix.len() < 2 + len {
        Probe::More(2 + len)
    } else {
        Probe::Found(sslv2(version, 2 + len, true))
    }
}

fn sslv2_version(prefix: &[u8]) -> Option<Version> {
    let version = prefix.get(3..5)?;
    match u16::from_be_bytes([version[0], version[1]]) {
        version @ (0x0002 | 0x0300..=0x0304) => Some(Version(version)),
        _ => None,
    }
}

fn sslv2(version: Version, len: usize, complete: bool) -> ClientHello {
    ClientHello {
        dialect: Dialect::Sslv2,
        complete,
        legacy_version: version,
        max_version: version,
        records: 1,
        len,
        ..ClientHello::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testdata::*, *};
    use proptest::prelude::*;

    fn found(prefix: &[u8]) -> ClientHello {
        match client_hello(prefix) {
            Probe::Found(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    fn of(extensions: &[u8]) -> ClientHello {
        found(&records(22, &hello(Some(extensions)), &[]))
    }

    fn of_name(name: &[u8]) -> (Option<HostName>, Option<SniProblem>) {
        let hello = of(&server_name(&[(0, name)]));
        (hello.sni, hello.sni_problem)
    }

    fn name(text: &str) -> Option<HostName> {
        HostName::parse(text.as_bytes())
    }

    #[test]
    fn reads_what_curl_and_openssl_send() {
        let curl = found(TLS12_CLIENT);
        assert_eq!(curl.sni, name("mcr.example.com"));
        assert_eq!(curl.alpn, ["h2", "http/1.1"]);
        assert_eq!(curl.legacy_version, Version::TLS12);
        assert_eq!(curl.max_version, Version::TLS13);
        assert_eq!((curl.records, curl.len), (1, 517));
        assert!(curl.complete && !curl.malformed && curl.ech.is_none());
        assert!(!curl.ticket && !curl.psk && !curl.early_data);
        let frag = found(FRAG12_CLIENT);
        assert_eq!(frag.max_version, Version::TLS12);
        assert_eq!(frag.sni, name("frag.example.com"));
        assert!(found(RESUMED12_CLIENT).ticket);
    }

    #[test]
    fn old_hellos_have_no_name() {
        let bare = found(&records(22, &hello(None), &[]));
        assert_eq!((bare.sni, bare.malformed, bare.complete), (None, false, true));
        assert_eq!(bare.max_version, Version::TLS12);
        let empty = of(&[]);
        assert_eq!((empty.sni_problem, empty.malformed), (None, false));
        let empty_sni = of(&ext(0, &[]));
        assert_eq!((empty_sni.sni, empty_sni.sni_problem), (None, None));
    }

    #[test]
    fn names_are_validated() {
        assert_eq!(of_name(b"MCR.Microsoft.com."), (name("mcr.microsoft.com"), None));
        for address in ["192.0.2.7", "2001:db8::7", "[2001:db8::7]"] {
            let bare = address.trim_matches(['[', ']']).parse().unwrap();
            assert_eq!(of_name(address.as_bytes()), (None, Some(SniProblem::Address(bare))));
        }
        for (raw, text) in [
            (&b"a\0.example"[..], "a\\x00.example"),
            ("b\u{fc}cher.example".as_bytes(), "b\\xc3\\xbccher.example"),
            (b"", ""),
            (b"host:443", "host:443"),
        ] {
            let problem = SniProblem::NotAHostName(text.into());
            assert_eq!(of_name(raw), (None, Some(problem)));
        }
        let long = [b'a'; 9000];
        let (_, Some(SniProblem::NotAHostName(text))) = of_name(&long) else { panic!() };
        assert_eq!(text.len(), 255);
    }

    #[test]
    fn a_list_may_hold_other_types_but_one_name() {
        let other = of(&server_name(&[(7, b"\0\0x"), (0, b"a.example")]));
        assert_eq!((other.sni, other.sni_problem), (name("a.example"), None));
        let same = of(&server_name(&[(0, b"a.example"), (0, b"A.example")]));
        assert_eq!(same.sni_problem, None);
        let two = of(&server_name(&[(0, b"a.example"), (0, b"b.example")]));
        assert_eq!(two.sni, name("a.example"));
        assert_eq!(two.sni_problem, Some(SniProblem::SeveralNames));
        let mut lying = server_name(&[(0, b"a.example")]);
        lying[5] += 1;
        let lying = of(&lying);
        assert_eq!(lying.sni, name("a.example"));
        assert_eq!(lying.sni_problem, Some(SniProblem::Malformed));
    }

    #[test]
    fn grease_is_left_out_and_what_follows_the_name_cannot_hide_it() {
        let mut block = ext(0x0a0a, &[]);
        block.extend(server_name(&[(0, b"a.example")]));
        block.extend(ext(16, &[0, 6, 2, 0x3a, 0x3a, 2, b'h', b'2']));
        block.extend(ext(43, &[6, 0xda, 0xda, 3, 4, 3, 3]));
        block.extend(ext(41, &[]));
        block.extend(ext(42, &[]));
        block.extend(ext(0xfafa, &[0]));
        let hello = of(&block);
        assert_eq!(hello.alpn, ["h2"]);
        assert_eq!(hello.max_version, Version::TLS13);
        assert!(hello.psk && hello.early_data && !hello.malformed);
        block.extend([0, 23, 0xff, 0xff, 1]); // longer than the block
        let hello = of(&block);
        assert_eq!(hello.sni, name("a.example"));
        assert!(hello.malformed && hello.complete);
    }

    #[test]
    fn post_quantum_key_shares_span_segments_and_records() {
        let mut block = ext(51, &[7; 1221]); // X25519MLKEM768
        block.extend(ext(0xfe0d, &[0, 0, 1, 0, 1, 9, 0, 1, 7, 0, 2, 8, 8]));
        block.extend(ext(21, &[0; 400]));
        block.extend(server_name(&[(0, b"pq.example")]));
        let message = hello(Some(&block));
        let one = found(&records(22, &message, &[]));
        assert_eq!(one.sni, name("pq.example"));
        assert!(matches!(one.ech, Some(EchOffer::Outer(_))));
        let many = found(&records(22, &message, &[1]));
        assert_eq!(many.records as usize, message.len());
        assert_eq!(many.sni, one.sni);
    }

    #[test]
    fn the_hello_may_share_its_record() {
        let message = hello(Some(&server_name(&[(0, b"a.example")])));
        let stream = records(22, &[&message[..], &[14, 0, 0, 0]].concat(), &[9]);
        let shared = found(&stream);
        assert_eq!(shared.sni, name("a.example"));
        let alone = records(22, &message, &[9]);
        assert_eq!(shared.len, alone.len());
    }

    #[test]
    fn empty_records_are_passed_over_but_not_for_ever() {
        let empty = [22, 3, 1, 0, 0];
        let hello = records(22, &hello(None), &[]);
        assert!(found(&[&empty.repeat(32), &hello[..]].concat()).complete);
        assert_eq!(client_hello(&[&empty.repeat(33), &hello[..]].concat()), Probe::Not);
    }

    #[test]
    fn sizes_are_bounded() {
        let huge = hello(Some(&ext(21, &[0; 65_400])));
        assert!(found(&records(22, &huge, &[])).complete);
        assert_eq!(client_hello(&[22, 3, 1, 0x40, 0, 1, 1, 0, 0]), Probe::Not);
        assert_eq!(client_hello(&[22, 3, 1, 0, 4, 1, 0, 0, 0]), Probe::Not);
    }

    #[test]
    fn reads_sslv2_framing() {
        let mut v2 = vec![0x80, 28, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f];
        v2.extend([0; 16]);
        for cut in 0..v2.len() {
            assert!(matches!(client_hello(&v2[..cut]), Probe::More(n) if n > cut));
        }
        assert_eq!(partial_client_hello(&v2[..4]), None);
        assert!(!partial_client_hello(&v2[..5]).unwrap().complete);
        v2.extend(b"more");
        let hello = found(&v2);
        assert_eq!((hello.dialect, hello.len), (Dialect::Sslv2, 30));
        assert_eq!(hello.max_version, Version(0x0301));
        v2[6] = 4;
        assert_eq!(client_hello(&v2), Probe::Not);
    }

    #[test]
    fn other_protocols_are_refused_at_once() {
        for other in [
            &b"G"[..],
            b"SSH-2.0",
            &[0x15, 3, 3, 0, 2, 1, 0],
            &[0x17],
            &[22, 2],
            &[22, 3, 3, 0, 50, 2],
            &[0x80, 46, 4],
        ] {
            assert_eq!(client_hello(other), Probe::Not, "{other:?}");
            assert_eq!(partial_client_hello(other), None);
        }
    }

    #[test]
    fn a_message_without_records_reads_the_same() {
        for stream in [TLS12_CLIENT, TLS13_CLIENT] {
            let message = first_payload(stream);
            let expected = ClientHello { records: 0, len: message.len(), ..found(stream) };
            assert_eq!(client_hello_message(message), Probe::Found(expected.clone()));
            let longer = [message, b"more"].concat();
            assert_eq!(client_hello_message(&longer), Probe::Found(expected));
            for len in 0..message.len() {
                let need = if len < MESSAGE_HEADER { MIN_MESSAGE } else { message.len() };
                assert_eq!(client_hello_message(&message[..len]), Probe::More(need));
                let partial = partial_client_hello_message(&message[..len]);
                assert_eq!(partial.is_some(), len >= MESSAGE_HEADER + 2);
            }
        }
        assert_eq!(client_hello_message(&[2]), Probe::Not);
    }

    #[test]
    fn a_cut_name_is_not_a_name() {
        let stream = records(22, &hello(Some(&server_name(&[(0, b"a.example.com")]))), &[]);
        for cut in 0..stream.len() {
            let Some(hello) = partial_client_hello(&stream[..cut]) else {
                assert!(cut < 11);
                continue;
            };
            assert!(!hello.complete && !hello.malformed && hello.sni_problem.is_none());
            assert!(hello.sni.is_none());
        }
        let behind = [&server_name(&[(0, b"a.example.com")])[..], &ext(21, &[0; 9])].concat();
        let stream = records(22, &hello(Some(&behind)), &[]);
        let cut = partial_client_hello(&stream[..stream.len() - 5]).unwrap();
        assert_eq!(cut.sni, name("a.example.com"));
    }

    #[test]
    fn a_hello_that_breaks_off_is_told_with_what_it_has() {
        let named = [&server_name(&[(0, b"a.example")])[..], &ext(21, &[0; 90])].concat();
        let mut stream = records(22, &hello(Some(&named)), &[100]);
        stream.truncate(105);
        stream.extend([21, 3, 1, 0, 2, 2, 80]);
        let hello = found(&stream);
        assert_eq!(hello.sni, name("a.example"));
        assert!(hello.malformed && !hello.complete);
    }

    /// Calls at each threshold, as a flow does, and gives the number of calls.
    fn by_thresholds(stream: &[u8]) -> (Probe<ClientHello>, usize) {
        let (mut len, mut calls) = (0, 0);
        loop {
            calls += 1;
            match client_hello(&stream[..len]) {
                Probe::More(need) if need <= stream.len() => {
                    assert!(need > len);
                    len = need;
                }
                decided => return (decided, calls),
            }
        }
    }

    #[test]
    fn thresholds_keep_the_work_linear() {
        let message = hello(Some(&ext(21, &[0; 20_000])));
        let (read, calls) = by_thresholds(&records(22, &message, &[1]));
        assert!(matches!(read, Probe::Found(_)));
        assert!(calls < 80, "{calls}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), tls: bool) {
            let stream = if tls { records(22, &hello(Some(&bytes)), &[]) } else { bytes };
            if let Probe::More(need) = client_hello(&stream) {
                prop_assert!(need > stream.len());
            }
            partial_client_hello(&stream);
        }

        #[test]
        fn damage_is_survived(which in 0..CLIENTS.len(), at in 0usize..600, byte: u8, cut in 0usize..600) {
            let mut stream = CLIENTS[which].to_vec();
            let at = at % stream.len();
            stream[at] = byte;
            stream.truncate(stream.len() - cut % stream.len());
            if let Probe::More(need) = client_hello(&stream) {
                prop_assert!(need > stream.len());
            }
            partial_client_hello(&stream);
        }

        #[test]
        fn records_and_cuts_change_nothing(
            which in 0..CLIENTS.len(),
            sizes in prop::collection::vec(1usize..300, 1..40),
        ) {
            let expected = found(CLIENTS[which]);
            let stream = records(22, first_payload(CLIENTS[which]), &sizes);
            for cut in 0..stream.len() {
                let probe = client_hello(&stream[..cut]);
                prop_assert!(matches!(probe, Probe::More(need) if need > cut && need <= stream.len()));
            }
            let (read, _) = by_thresholds(&stream);
            prop_assert_eq!(&read, &Probe::Found(found(&stream)));
            let Probe::Found(mut read) = read else { unreachable!() };
            (read.records, read.len) = (expected.records, expected.len);
            prop_assert_eq!(read, expected);
        }
    }
}
