//! HTTP/1.x in clear text (RFC 9110, RFC 9112): request and response heads, and walkers over the
//! messages of a connection.
//!
//! Heads are read as leniently as common servers read them: bare LF line ends, folded lines, white
//! space around the colon, blanks in the target, malformed header lines skipped. The start line is
//! strict, so that other text protocols aren't taken for HTTP.

mod block_page;
mod walk;

pub use block_page::deny_marker;
pub use walk::{Conversation, End, Event, Requests, Responses, Step, Window};

use memchr::{memchr, memmem};

use super::{Authority, Probe};

/// Longest head that is waited for, in bytes. Servers refuse far shorter ones.
pub const MAX_HEAD: usize = 64 * 1024;

/// A request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method as sent; an RFC 9110 token.
    pub method: String,
    /// Request target as sent, without user information; see [`MAX_TEXT`] for its form.
    pub target: String,
    /// Authority in the target itself: absolute-form, or CONNECT's authority-form. Where there is
    /// one, it is what counts and the Host header is ignored (RFC 9112 section 3.2.2).
    pub target_authority: Option<Authority>,
    /// The first Host header, if it is a valid one.
    pub host: Option<Authority>,
    /// What is wrong with the Host header.
    pub host_flaw: Option<HostFlaw>,
    /// Length of the head in bytes, leading empty lines and the closing one included.
    pub len: usize,
    /// False when the head was cut or is longer than [`MAX_HEAD`]: fields may be missing and `len`
    /// is what was read.
    pub complete: bool,
    /// What follows the head.
    pub body: BodyLength,
    /// Protocols that the client offers to switch to (the Upgrade header); see [`MAX_TEXT`].
    pub upgrade: Option<String>,
}

/// Why a Host header is to be doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFlaw {
    /// Several were sent. The first counts here, servers differ.
    Repeated,
    /// It is neither a name nor an address.
    Malformed,
}

/// How the end of a message's body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// Everything to the end of the connection; also where the message's framing is invalid.
    UntilClose,
    /// Not a body: from here on the connection carries another protocol, for a CONNECT request
    /// provided that it is granted.
    Tunnel,
}

/// A response head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code, 100 to 999.
    pub status: u16,
    /// Length of the head in bytes.
    pub len: usize,
    /// False when the head was cut or is longer than [`MAX_HEAD`].
    pub complete: bool,
    /// What follows the head.
    pub body: BodyLength,
    /// Content-Type. This and the following texts: see [`MAX_TEXT`].
    pub content_type: Option<String>,
    /// Server.
    pub server: Option<String>,
    /// Location.
    pub location: Option<String>,
    /// Upgrade: what a 101 switches to.
    pub upgrade: Option<String>,
    /// Via: proxies passed on the way, reverse proxies and CDNs too.
    pub via: Option<String>,
    /// X-Cache.
    pub x_cache: Option<String>,
    /// X-Squid-Error: Squid wrote this response itself.
    pub squid_error: Option<String>,
    /// Proxy-Authenticate: a proxy asks for credentials.
    pub proxy_authenticate: Option<String>,
}

/// What a response answers, as far as that decides whether it has a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: there is never a body.
    Head,
    /// CONNECT: a 2xx answer has none and opens a tunnel.
    Connect,
    /// Any other method, or not known.
    #[default]
    Other,
}

/// Longest text that is kept of a target or header, in bytes as sent. Longer ones are cut. Printable
/// ASCII is kept as it is, a backslash is doubled, any other byte is written as `\xNN`.
pub const MAX_TEXT: usize = 1024;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the request head at the start of `prefix`.
///
/// Method, target and an HTTP/1.x version are required; ICY, RTSP, SIP, HTTP/2 and binary are
/// [`Probe::Not`], most of them within the first bytes. A head beyond [`MAX_HEAD`] gives what is
/// known if it names a host, else `Not`.
pub fn request(prefix: &[u8]) -> Probe<Request> {
    request_after(prefix, 0)
}

/// As [`request`], without reading what it finds.
pub(super) fn is_request(prefix: &[u8]) -> Probe<()> {
    request_head(prefix, 0).map(drop)
}

/// Reads a request head that was cut by the end of the connection or by a gap.
///
/// `None` unless a line that names the host is there to its end: a cut name is worse than none.
pub fn partial_request(prefix: &[u8]) -> Option<Request> {
    match split(prefix, 0, could_be_request_line, request_line) {
        Split::Head(head) => Some(read_request(&head)),
        Split::Partial(head) => Some(read_request(&head)).filter(Request::names_host),
        Split::More | Split::Not => None,
    }
}

/// Reads the response head at the start of `prefix`, which answers `asked`.
pub fn response(prefix: &[u8], asked: Asked) -> Probe<Response> {
    response_after(prefix, 0, asked)
}

/// Recognises HTTP/2 with prior knowledge; `Found` holds the length of the preface.
pub fn h2_preface(prefix: &[u8]) -> Probe<usize> {
    if prefix.starts_with(H2_PREFACE) {
        Probe::Found(H2_PREFACE.len())
    } else if H2_PREFACE.starts_with(prefix) {
        Probe::More(H2_PREFACE.len())
    } else {
        Probe::Not
    }
}

impl Request {
    /// The host that is asked for: the target's authority, else the Host header's.
    pub fn authority(&self) -> Option<&Authority> {
        self.target_authority.as_ref().or(self.host.as_ref())
    }

    /// What the answer to it has to be read as.
    pub fn asked(&self) -> Asked {
        // Methods are case-sensitive (RFC 9110 section 9.1).
        match self.method.as_str() {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other,
        }
    }

    fn names_host(&self) -> bool {
        self.authority().is_some()
    }
}

/// [`request`], knowing that no head ends before `scanned`.
fn request_after(prefix: &[u8], scanned: usize) -> Probe<Request> {
    request_head(prefix, scanned).map(|head| read_request(&head))
}

/// The head that [`request_after`] reads.
fn request_head(prefix: &[u8], scanned: usize) -> Probe<Head<'_, RequestLine<'_>>> {
    match split(prefix, scanned, could_be_request_line, request_line) {
        Split::Head(head) => Probe::Found(head),
        Split::Partial(head) if head.too_long() => match read_request(&head).names_host() {
            true => Probe::Found(head),
            false => Probe::Not,
        },
        Split::Partial(_) | Split::More => Probe::More(prefix.len() + 1),
        Split::Not => Probe::Not,
    }
}

/// [`response`], knowing that no head ends before `scanned`.
fn response_after(prefix: &[u8], scanned: usize, asked: Asked) -> Probe<Response> {
    match split(prefix, scanned, could_be_status_line, status_line) {
        Split::Head(head) => Probe::Found(read_response(&head, asked)),
        Split::Partial(head) if head.too_long() => Probe::Found(read_response(&head, asked)),
        Split::Partial(_) | Split::More => Probe::More(prefix.len() + 1),
        Split::Not => Probe::Not,
    }
}

/// A head taken apart: its start line, its field lines, and how long it is.
struct Head<'a, L> {
    line: L,
    /// Whole lines only.
    fields: &'a [u8],
    len: usize,
    complete: bool,
}

impl<L> Head<'_, L> {
    fn too_long(&self) -> bool {
        !self.complete && self.len >= MAX_HEAD
    }
}

enum Split<'a, L> {
    Head(Head<'a, L>),
    /// The start line is there, the end of the head isn't.
    Partial(Head<'a, L>),
    More,
    Not,
}

fn split<'a, L>(
    prefix: &'a [u8],
    scanned: usize,
    could_be: fn(&[u8]) -> bool,
    parse: fn(&'a [u8]) -> Option<L>,
) -> Split<'a, L> {
    let bytes = &prefix[..prefix.len().min(MAX_HEAD)];
    let Some(start) = after_empty_lines(bytes) else {
        return Split::Not;
    };
    let Some(line_len) = memchr(b'\n', &bytes[start..]) else {
        let viable = bytes.len() < MAX_HEAD && could_be(without_cr(&bytes[start..]));
        return if viable { Split::More } else { Split::Not };
    };
    let Some(line) = parse(without_cr(&bytes[start..start + line_len])) else {
        return Split::Not;
    };
    let fields_at = start + line_len + 1;
    match end_of_head(bytes, scanned.max(fields_at - 1)) {
        Some(len) => {
            Split::Head(Head { line, fields: &bytes[fields_at..len], len, complete: true })
        }
        None => {
            let lines_end = memchr::memrchr(b'\n', bytes).map_or(fields_at, |at| at + 1);
            Split::Partial(Head {
                line,
                fields: &bytes[fields_at..lines_end],
                len: bytes.len(),
                complete: false,
            })
        }
    }
}

/// Where the start line begins: a few empty lines may precede it (RFC 9112 section 2.2).
fn after_empty_lines(bytes: &[u8]) -> Option<usize> {
    const MOST: usize = 16;
    let at = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    (at <= MOST).then_some(at)
}

/// Offset just after the empty line that ends the head, looking at line ends from `from` on.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from.min(bytes.len())..]).find_map(|at| {
        let next = from + at + 1;
        match &bytes[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
}

/// `method SP target SP HTTP/1.x`. Blanks in the target are let through, as browsers of old sent
/// them.
fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let line = line.trim_ascii_end();
    if !could_be_request_line(line) || !is_line(line) {
        return None;
    }
    let method_len = memchr(b' ', line)?;
    let (rest, version) = line.split_at(memchr::memrchr(b' ', line)?);
    let target = rest.get(method_len + 1..)?.trim_ascii();
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] = version[1..] else {
        return None;
    };
    (!target.is_empty()).then_some(RequestLine { method: &line[..method_len], target })
}

/// False when no continuation of `part` makes a request line.
fn could_be_request_line(part: &[u8]) -> bool {
    // The longest registered method is UPDATEREDIRECTREF.
    const LONGEST_METHOD: usize = 32;
    let method_len = memchr(b' ', part);
    let (method, rest) = part.split_at(method_len.unwrap_or(part.len()));
    // Not all of a long target, so that one which comes in small pieces stays cheap.
    let rest = &rest[..rest.len().min(MAX_TEXT)];
    method.len() <= LONGEST_METHOD
        && !(method.is_empty() && method_len.is_some())
        && method.iter().all(|&b| is_token_byte(b))
        // Blanks, tabs too, may be the line's end, where they don't count.
        && is_line(rest.trim_ascii_end())
}

/// Any bytes but control characters: targets in the field hold bytes that URIs don't allow. Without
/// branches, so that it takes few instructions for many.
fn is_line(part: &[u8]) -> bool {
    part.iter().fold(true, |all, &b| all & (b >= b' ') & (b != 0x7f))
}

/// A `tchar` (RFC 9110 section 5.6.2).
fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`; gives the status.
fn status_line(line: &[u8]) -> Option<u16> {
    if !could_be_status_line(line) {
        return None;
    }
    let digits: [u8; 3] = line.get(9..12)?.try_into().ok()?;
    Some(digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
}

/// False when no continuation of `part` makes a status line.
fn could_be_status_line(part: &[u8]) -> bool {
    part.iter().take(13).enumerate().all(|(at, &b)| match at {
        0..7 => b == b"HTTP/1."[at],
        7 | 10 | 11 => b.is_ascii_digit(),
        9 => matches!(b, b'1'..=b'9'),
        _ => b == b' ',
    })
}

/// The field lines of a head: trimmed name and value. A folded value (RFC 9112 section 5.2) keeps
/// the line ends inside it. What isn't a field line is skipped.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let mut len = line_len(self.0);
            while matches!(self.0.get(len), Some(b' ' | b'\t')) {
                len += line_len(&self.0[len..]);
            }
            let (line, rest) = self.0.split_at(len);
            self.0 = rest;
            if let Some(colon) = memchr(b':', line) {
                let name = line[..colon].trim_ascii_end();
                if !name.is_empty() && name.iter().all(|&b| is_token_byte(b)) {
                    return Some((name, line[colon + 1..].trim_ascii()));
                }
            }
        }
    }
}

/// Length of the first line with its LF.
fn line_len(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

fn read_request(head: &Head<'_, RequestLine<'_>>) -> Request {
    let RequestLine { method, target } = head.line;
    let mut host = None;
    let mut host_flaw = None;
    let mut framing = Framing::default();
    let mut upgrade = None;
    for (name, value) in Fields(head.fields) {
        if name.eq_ignore_ascii_case(b"host") {
            if host.is_some() {
                host_flaw = Some(HostFlaw::Repeated);
            } else {
                host = Some(value);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = Some(text(value));
        } else {
            framing.read(name, value);
        }
    }
    // An empty Host is valid where the target has no authority (RFC 9112 section 3.2).
    let host = host.filter(|value| !value.is_empty());
    let parsed = host.and_then(Authority::parse);
    if host.is_some() && parsed.is_none() {
        host_flaw = Some(HostFlaw::Malformed);
    }
    Request {
        method: text(method),
        target: target_text(method, target),
        target_authority: target_authority(method, target),
        host: parsed,
        host_flaw,
        len: head.len,
        complete: head.complete,
        body: if !head.complete {
            BodyLength::UntilClose
        } else if method == b"CONNECT" {
            BodyLength::Tunnel
        } else {
            framing.body(BodyLength::None)
        },
        upgrade,
    }
}

/// The authority in absolute-form and, for CONNECT, authority-form (RFC 9112 section 3.2).
fn target_authority(method: &[u8], target: &[u8]) -> Option<Authority> {
    if method == b"CONNECT" {
        return Authority::parse(target);
    }
    let (at, end) = authority_in_uri(target)?;
    Authority::parse(&target[at..end])
}

/// Where the authority of an absolute URI begins and ends.
fn authority_in_uri(target: &[u8]) -> Option<(usize, usize)> {
    // Most targets have none, but a path only.
    target.first().filter(|first| first.is_ascii_alphabetic())?;
    let scheme = memmem::find(&target[..target.len().min(64)], b"://")?;
    let is_scheme =
        target[..scheme].iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    let at = scheme + 3;
    let len = target[at..]
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(target.len() - at);
    is_scheme.then_some((at, at + len))
}

/// The target as text. Credentials in an authority are never kept.
fn target_text(method: &[u8], target: &[u8]) -> String {
    let (at, end) = match method {
        b"CONNECT" => (0, target.len()),
        _ => authority_in_uri(target).unwrap_or((0, 0)),
    };
    match memchr::memrchr(b'@', &target[at..end]) {
        Some(userinfo) => text(&[&target[..at], &target[at + userinfo + 1..]].concat()),
        None => text(target),
    }
}

fn read_response(head: &Head<'_, u16>, asked: Asked) -> Response {
    let status = head.line;
    let mut framing = Framing::default();
    let mut response = Response {
        status,
        len: head.len,
        complete: head.complete,
        body: BodyLength::UntilClose,
        content_type: None,
        server: None,
        location: None,
        upgrade: None,
        via: None,
        x_cache: None,
        squid_error: None,
        proxy_authenticate: None,
    };
    for (name, value) in Fields(head.fields) {
        match response.slot(name) {
            Some(slot) => *slot = slot.take().or_else(|| Some(text(value))),
            None => framing.read(name, value),
        }
    }
    if head.complete {
        response.body = match (status, asked) {
            (101, _) | (200..300, Asked::Connect) => BodyLength::Tunnel,
            (100..200 | 204 | 304, _) | (_, Asked::Head) => BodyLength::None,
            _ => framing.body(BodyLength::UntilClose),
        };
    }
    response
}

impl Response {
    /// The text that a header of this name is kept in.
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<String>> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        Some(match name.len() {
            3 if is(b"via") => &mut self.via,
            6 if is(b"server") => &mut self.server,
            7 if is(b"upgrade") => &mut self.upgrade,
            7 if is(b"x-cache") => &mut self.x_cache,
            8 if is(b"location") => &mut self.location,
            12 if is(b"content-type") => &mut self.content_type,
            13 if is(b"x-squid-error") => &mut self.squid_error,
            18 if is(b"proxy-authenticate") => &mut self.proxy_authenticate,
            _ => return None,
        })
    }
}

/// What Transfer-Encoding and Content-Length say.
#[derive(Default)]
struct Framing {
    /// Whether chunked is the last transfer coding, if there is any.
    chunked: Option<bool>,
    /// `Some(None)` when the lengths given contradict each other or aren't numbers.
    length: Option<Option<u64>>,
}

impl Framing {
    fn read(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|&b| b == b',').next().unwrap_or(value);
            self.chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // Repeated equal values are as one (RFC 9110 section 8.6).
            for item in value.split(|&b| b == b',') {
                let length = parse_length(item.trim_ascii());
                self.length = match self.length {
                    None => Some(length),
                    same if same == Some(length) => same,
                    _ => Some(None),
                };
            }
        }
    }

    /// RFC 9112 section 6.3, from the fourth rule on.
    fn body(&self, otherwise: BodyLength) -> BodyLength {
        match (self.chunked, self.length) {
            (Some(true), _) => BodyLength::Chunked,
            (Some(false), _) | (None, Some(None)) => BodyLength::UntilClose,
            (None, Some(Some(length))) => BodyLength::Length(length),
            (None, None) => otherwise,
        }
    }
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Bytes off the wire as text that is safe to show; [`MAX_TEXT`] says how.
fn text(raw: &[u8]) -> String {
    let raw = &raw[..raw.len().min(MAX_TEXT)];
    let is_plain = |all, b: &u8| all & (b' '..=b'~').contains(b) & (*b != b'\\');
    if let Ok(text) = str::from_utf8(raw)
        && raw.iter().fold(true, is_plain)
    {
        return text.to_owned();
    }
    let mut text = String::with_capacity(raw.len());
    for &b in raw {
        match b {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(b as char),
            _ => {
                let hex = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
                text.extend(['\\', 'x', hex(b >> 4), hex(b & 15)]);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(head: &str) -> Request {
        match request(head.as_bytes()) {
            Probe::Found(request) => request,
            other => panic!("{other:?}: {head:?}"),
        }
    }

    fn host(head: &str) -> Option<String> {
        read(head).authority().map(Authority::to_string)
    }

    fn answer(head: &str, asked: Asked) -> Response {
        match response(head.as_bytes(), asked) {
            Probe::Found(response) => response,
            other => panic!("{other:?}: {head:?}"),
        }
    }

    #[test]
    fn reads_a_request_as_curl_sends_it() {
        let head = "GET /v2/ HTTP/1.1\r\nHost: mcr.microsoft.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
        let got = read(&format!("{head}GET"));
        assert_eq!((got.method.as_str(), got.target.as_str()), ("GET", "/v2/"));
        assert_eq!(got.host.unwrap().to_string(), "mcr.microsoft.com");
        assert_eq!((got.len, got.body), (head.len(), BodyLength::None));
        assert_eq!((got.complete, got.host_flaw), (true, None));
    }

    #[test]
    fn reads_what_lenient_servers_read() {
        for head in [
            "GET / HTTP/1.1\nHost: a.example\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHOST:a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nhost \t:\t a.example \t\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n a.example\r\n\r\n",
            "GET  /a b  HTTP/1.1 \r\nHost: A.example.\r\n\r\n",
            "GET / HTTP/1.1\r\n stray fold\r\nno colon\r\n: x\r\nb\u{e4}d: x\r\nHost: a.example\r\n\r\n",
            "X-OWN!METHOD * HTTP/1.0\r\nHost: a.example\r\n\r\n",
            "RPC_IN_DATA /rpc HTTP/1.1\r\nX-Host: b.example\r\nHost: a.example\r\n\r\n",
        ] {
            assert_eq!(host(head).as_deref(), Some("a.example"), "{head:?}");
        }
    }

    #[test]
    fn reads_hosts_of_every_form() {
        for (value, shown) in [
            ("a.example:8080", Some("a.example:8080")),
            ("[2001:db8::1]:8080", Some("[2001:db8::1]:8080")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("a.example:", Some("a.example")),
            ("", None),
            ("a b", None),
            ("a.example, b.example", None),
            ("a\0b", None),
        ] {
            let got = read(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"));
            assert_eq!(got.host.map(|host| host.to_string()).as_deref(), shown);
            let bad = shown.is_none() && !value.is_empty();
            assert_eq!(got.host_flaw, bad.then_some(HostFlaw::Malformed));
        }
        assert_eq!(read("GET / HTTP/1.0\r\n\r\n").authority(), None);
        let twice = read("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        assert_eq!(&twice.host.unwrap().to_string(), "a");
        assert_eq!(twice.host_flaw, Some(HostFlaw::Repeated));
    }

    /// Found by fuzzing: without the line end, the tab made it another protocol.
    #[test]
    fn blanks_behind_the_request_line_may_come_alone() {
        let head = b"GET / HTTP/1.1 \t\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(request(&head[..end]), Probe::More(end + 1));
        }
        assert!(matches!(request(head), Probe::Found(_)));
        assert_eq!(request(b"GET /\tx"), Probe::Not);
    }

    #[test]
    fn the_targets_authority_wins_over_host() {
        let got = read("GET http://u:secret@a.example:81/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n");
        assert_eq!(got.authority().unwrap().to_string(), "a.example:81");
        assert_eq!(got.host.unwrap().to_string(), "b.example");
        assert_eq!(got.target, "http://a.example:81/x?y");
        assert_eq!(host("GET /?u=http://x/ HTTP/1.1\r\n\r\n"), None);
        assert_eq!(host("OPTIONS http://c.example HTTP/1.1\r\n\r\n").unwrap(), "c.example");
    }

    #[test]
    fn connect_names_its_target() {
        let got =
            read("CONNECT mcr.microsoft.com:443 HTTP/1.1\r\nHost: mcr.microsoft.com:443\r\n\r\n");
        assert_eq!(got.target, "mcr.microsoft.com:443");
        assert_eq!(got.target_authority.unwrap().port, Some(443));
        assert_eq!(got.body, BodyLength::Tunnel);
        assert_eq!(host("CONNECT [::1]:443 HTTP/1.0\n\n").unwrap(), "[::1]:443");
        assert_eq!(host("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), "a");
    }

    #[test]
    fn body_lengths_follow_rfc_9112() {
        for (fields, body) in [
            ("", BodyLength::None),
            ("Content-Length: 42\r\n", BodyLength::Length(42)),
            ("Content-Length: 42, 42\r\ncontent-length:42\r\n", BodyLength::Length(42)),
            ("Content-Length: 42\r\nContent-Length: 43\r\n", BodyLength::UntilClose),
            ("Content-Length: +1\r\n", BodyLength::UntilClose),
            ("Content-Length: 99999999999999999999\r\n", BodyLength::UntilClose),
            ("Content-Length: 9\r\nTransfer-Encoding: gzip, Chunked\r\n", BodyLength::Chunked),
            ("Transfer-Encoding: gzip\r\n", BodyLength::UntilClose),
        ] {
            assert_eq!(read(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).body, body, "{fields}");
            let expected = match body {
                BodyLength::None => BodyLength::UntilClose,
                body => body,
            };
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(answer(&head, Asked::Other).body, expected, "{fields}");
            assert_eq!(answer(&head, Asked::Head).body, BodyLength::None);
            assert_eq!(answer(&head, Asked::Connect).body, BodyLength::Tunnel);
        }
        for (status, asked, body) in [
            (100, Asked::Connect, BodyLength::None),
            (101, Asked::Other, BodyLength::Tunnel),
            (204, Asked::Other, BodyLength::None),
            (204, Asked::Connect, BodyLength::Tunnel),
            (304, Asked::Other, BodyLength::None),
            (407, Asked::Connect, BodyLength::Length(3)),
        ] {
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 3\r\n\r\n");
            assert_eq!(answer(&head, asked).body, body, "{status}");
        }
    }

    #[test]
    fn other_protocols_are_not() {
        for line in [
            "EHLO client.example\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "OPTIONS sip:a@b.example SIP/2.0\r\n",
            "DESCRIBE rtsp://a.example/ RTSP/1.0\r\n",
            "SOURCE /x ICE/1.0\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET /\r\n",
            "GET HTTP/1.1\r\n",
            "GET / HTTP/1.1x\r\n",
            "GET / http/1.1\r\n",
            " GET / HTTP/1.1\r\n",
            "G\0T",
            "GET /\x01",
            "\x16\x03\x01\x02\x00\x01",
            "$4:\r\n",
        ] {
            assert_eq!(request(line.as_bytes()), Probe::Not, "{line:?}");
        }
        for line in [
            "ICY 200 OK\r\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 2000\r\n",
            "SIP/2.0 200 OK\r\n",
            "HTTP/1.1 099\r\n",
            "220 x\r\n",
        ] {
            assert_eq!(response(line.as_bytes(), Asked::Other), Probe::Not, "{line:?}");
        }
    }

    #[test]
    fn reads_a_response() {
        let squid = "HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\nContent-Type: text/html;charset=utf-8\r\nContent-Length: 3500\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nX-Cache: MISS from gw\r\nVia: 1.1 gw (squid/5.7)\r\n\r\n";
        let got = answer(squid, Asked::Connect);
        assert_eq!((got.status, got.len), (403, squid.len()));
        assert_eq!(got.body, BodyLength::Length(3500));
        assert_eq!(got.squid_error.as_deref(), Some("ERR_ACCESS_DENIED 0"));
        assert_eq!(got.via.as_deref(), Some("1.1 gw (squid/5.7)"));
        assert_eq!(answer("HTTP/1.1 200\r\n\r\n", Asked::Other).status, 200);
    }

    #[test]
    fn cut_heads_never_give_a_cut_host() {
        let head = "GET / HTTP/1.1\r\nA: b\r\nHost: mcr.microsoft.com\r\nC: d\r\n\r\n";
        let line_end = head.find("C: d").unwrap();
        for cut in 0..head.len() {
            let part = &head.as_bytes()[..cut];
            assert_eq!(request(part), Probe::More(cut + 1), "{cut}");
            let partial = partial_request(part);
            assert_eq!(partial.is_some(), cut >= line_end, "{cut}");
            assert!(partial.is_none_or(
                |it| !it.complete && it.host.unwrap().to_string() == "mcr.microsoft.com"
            ));
        }
        assert!(partial_request(b"CONNECT a.example:443 HTTP/1.1\r\nUser-").is_some());
    }

    #[test]
    fn endless_heads_are_bounded() {
        let filler = "X: y\r\n".repeat(MAX_HEAD / 6 + 1);
        let named = read(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{filler}"));
        assert_eq!((named.complete, named.body), (false, BodyLength::UntilClose));
        let unnamed = format!("GET / HTTP/1.1\r\n{filler}");
        assert_eq!(request(unnamed.as_bytes()), Probe::Not);
        let no_line = format!("GET /{}", "a".repeat(MAX_HEAD));
        assert_eq!(request(no_line.as_bytes()), Probe::Not);
    }

    #[test]
    fn texts_are_bounded_and_harmless() {
        let target = format!("/\\\u{e9}{}", "a".repeat(2000));
        let got = read(&format!("GET {target} HTTP/1.1\r\n\r\n"));
        assert!(got.target.starts_with("/\\\\\\xc3\\xa9aaa"));
        assert!(got.target.len() < MAX_TEXT + 16);
        let got = read("GET / HTTP/1.1\r\nUpgrade: \x1b[31m\r\n\r\n");
        assert_eq!(got.upgrade.as_deref(), Some("\\x1b[31m"));
    }

    #[test]
    fn recognises_http_2_with_prior_knowledge() {
        assert_eq!(h2_preface(H2_PREFACE), Probe::Found(24));
        assert_eq!(h2_preface(b"PRI"), Probe::More(24));
        assert_eq!(h2_preface(b"PRO"), Probe::Not);
    }

    /// Heads that are valid, or nearly.
    fn heads() -> impl Strategy<Value = String> {
        let line = "(GET|POST|CONNECT|PRI|[A-Z!_]{1,9}) (/[a-z]{0,5}|\\*|http://[a-z.]{1,9}/|[a-z]{1,5}:[0-9]{1,3}) HTTP/1\\.[01]";
        let field = "(Host|Upgrade|Content-Length|Transfer-Encoding|[A-Za-z-]{1,8}):[ \t]{0,2}[ -~]{0,12}(\r\n|\n)";
        (line, "\r\n|\n", proptest::collection::vec(field, 0..6), "\r\n|\n")
            .prop_map(|(line, eol, fields, end)| format!("{line}{eol}{}{end}", fields.concat()))
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, line in "(GET / HTTP/1\\.1|HTTP/1\\.1 200 OK)?\r?\n?") {
            let bytes = [line.as_bytes(), &bytes].concat();
            for probe in [
                request(&bytes).map_len(|it| it.len),
                response(&bytes, Asked::Other).map_len(|it| it.len),
            ] {
                match probe {
                    Probe::Found(len) => prop_assert!(len <= bytes.len()),
                    Probe::More(len) => prop_assert!(len > bytes.len()),
                    Probe::Not => {}
                }
            }
            partial_request(&bytes);
        }

        #[test]
        fn a_cut_request_is_more(head in heads(), tail: Vec<u8>) {
            let whole = request(&[head.as_bytes(), &tail].concat());
            let Probe::Found(found) = &whole else { panic!("{head:?}") };
            prop_assert_eq!(found.len, head.len());
            for cut in 0..head.len() {
                let probe = request(&head.as_bytes()[..cut]);
                prop_assert!(matches!(probe, Probe::More(len) if len > cut && len <= head.len()));
            }
        }

        #[test]
        fn agrees_with_httparse(head in heads()) {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut theirs = httparse::Request::new(&mut fields);
            let Ok(httparse::Status::Complete(len)) = theirs.parse(head.as_bytes()) else {
                return Ok(());
            };
            let ours = read(&head);
            prop_assert_eq!(ours.len, len);
            prop_assert_eq!(Some(ours.method.as_str()), theirs.method);
            prop_assert_eq!(Some(ours.target.as_str()), theirs.path);
            let is_host = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("host");
            let host = theirs.headers.iter().find(is_host);
            prop_assert_eq!(ours.host, host.and_then(|field| Authority::parse(field.value)));
        }
    }

    impl<T> Probe<T> {
        fn map_len(self, len: fn(&T) -> usize) -> Probe<usize> {
            match self {
                Self::Found(it) => Probe::Found(len(&it)),
                Self::More(len) => Probe::More(len),
                Self::Not => Probe::Not,
            }
        }
    }
}
