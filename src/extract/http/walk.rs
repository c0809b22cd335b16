use std::collections::VecDeque;

use memchr::memchr;

use super::{
    Asked, BodyLength, MAX_HEAD, Probe, Request, Response, partial_request, request_after,
    response_after,
};

/// Contiguous bytes of one direction. A prefix is a window that starts at 0.
///
/// A walker needs no byte before its [`Requests::position`], so that a caller may drop those that
/// lie before it, a long body for instance, and go on with a window that starts there.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Offset of the first byte in its direction of the stream.
    pub start: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> From<&'a [u8]> for Window<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { start: 0, bytes }
    }
}

/// What a walker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// The next head, and the offset where it starts.
    Message(u64, T),
    /// Nothing to tell before this direction has so many bytes; always more than it has now.
    More(u64),
    /// A tunnel may begin here: whether it does depends on the answer. Stays so until
    /// [`Requests::answered`].
    Pending(u64),
    /// No further message will be read.
    End(End),
}

/// Why no further message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// From this offset on the direction carries another protocol.
    Tunnel(u64),
    /// The last message's body ends with the connection.
    UntilClose,
    /// At this offset there should be HTTP and isn't, or bytes are missing.
    Garbled(u64),
}

/// Reads the requests of a connection in order, stepping over their bodies.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    walker: Walker,
}

/// Reads the responses of a connection in order, stepping over their bodies.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    walker: Walker,
}

impl Requests {
    /// Where reading goes on; bytes before it aren't needed any more.
    pub fn position(&self) -> u64 {
        self.walker.at
    }

    /// The next request in `client`, the client's bytes so far.
    ///
    /// After CONNECT it waits for [`Self::answered`]. After an offer to upgrade it waits as well,
    /// unless the next bytes are another request: then the offer wasn't taken up.
    pub fn step(&mut self, client: Window<'_>) -> Step<Request> {
        let at = match self.walker.head(client) {
            Ok(at) => at,
            Err(Step::Pending(at)) if self.continues_as_http(client) => {
                self.walker.state = State::Head;
                at
            }
            Err(step) => return step,
        };
        match request_after(client.from(at), self.walker.scanned) {
            Probe::Found(request) => {
                self.walker.enter_body(request.len, request.body);
                if request.upgrade.is_some() && request.body == BodyLength::None {
                    self.walker.state = State::Pending { upgrade: true };
                } else if request.body == BodyLength::Tunnel {
                    self.walker.state = State::Pending { upgrade: false };
                }
                Step::Message(at, request)
            }
            Probe::More(len) => self.walker.wait(client, len),
            Probe::Not => self.walker.end(End::Garbled(at)),
        }
    }

    /// Tells what became of the request that the walker waits on: with `true` a tunnel begins, with
    /// `false` the next request follows.
    pub fn answered(&mut self, switched: bool) {
        if let State::Pending { .. } = self.walker.state {
            self.walker.state = match switched {
                true => State::End(End::Tunnel(self.walker.at)),
                false => State::Head,
            };
        }
    }

    /// The request whose head was cut by the end of the connection or a gap, and where it starts;
    /// see [`partial_request`]. `client` is all that there is.
    pub fn cut(&self, client: Window<'_>) -> Option<(u64, Request)> {
        let at_head = self.walker.state == State::Head;
        let request = partial_request(client.from(self.walker.at)).filter(|_| at_head)?;
        Some((self.walker.at, request))
    }

    fn continues_as_http(&self, client: Window<'_>) -> bool {
        self.walker.state == State::Pending { upgrade: true }
            && matches!(request_after(client.from(self.walker.at), 0), Probe::Found(_))
    }
}

impl Responses {
    /// Where reading goes on; bytes before it aren't needed any more.
    pub fn position(&self) -> u64 {
        self.walker.at
    }

    /// The next response in `server`, the server's bytes so far, which answers `asked`.
    ///
    /// Responses below 200 other than 101 come before the real answer to the same request.
    pub fn step(&mut self, server: Window<'_>, asked: Asked) -> Step<Response> {
        let at = match self.walker.head(server) {
            Ok(at) => at,
            Err(step) => return step,
        };
        match response_after(server.from(at), self.walker.scanned, asked) {
            Probe::Found(response) => {
                self.walker.enter_body(response.len, response.body);
                Step::Message(at, response)
            }
            Probe::More(len) => self.walker.wait(server, len),
            Probe::Not => self.walker.end(End::Garbled(at)),
        }
    }
}

/// Both directions of an HTTP connection: requests and their answers, in order.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    requests: Requests,
    responses: Responses,
    /// Requests without an answer yet, oldest first.
    open: VecDeque<Asked>,
    /// Answers seen.
    answers: u64,
    /// More requests were open than are remembered: answers can't be assigned any more.
    lost_count: bool,
    tunnel: Option<(u64, u64)>,
    told: bool,
}

/// What happens in a [`Conversation`]. Offsets are those in the sender's direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request.
    Request {
        /// Where it starts.
        offset: u64,
        /// Its head.
        request: Request,
    },
    /// A response.
    Response {
        /// Where it starts.
        offset: u64,
        /// Number of the request that it answers, from 0.
        answers: u64,
        /// Its head.
        response: Response,
    },
    /// From these offsets on the connection carries another protocol. The last event.
    Tunnel {
        /// First tunnelled byte that the client sends.
        client: u64,
        /// First tunnelled byte that the server sends.
        server: u64,
    },
}

impl Conversation {
    /// Unanswered requests that are remembered. With more, only requests are told.
    const MOST_OPEN: usize = 1024;

    /// The next event, `None` when there is none in the bytes so far.
    ///
    /// A response is told after its request, so that one whose request isn't in `client` is not
    /// told.
    pub fn step(&mut self, client: Window<'_>, server: Window<'_>) -> Option<Event> {
        if let Some((client, server)) = self.tunnel {
            return (!std::mem::replace(&mut self.told, true))
                .then_some(Event::Tunnel { client, server });
        }
        if let Step::Message(offset, request) = self.requests.step(client) {
            if self.open.len() < Self::MOST_OPEN {
                self.open.push_back(request.asked());
            } else {
                self.lost_count = true;
            }
            return Some(Event::Request { offset, request });
        }
        let asked = *self.open.front().filter(|_| !self.lost_count)?;
        let answers = self.answers;
        let Step::Message(offset, response) = self.responses.step(server, asked) else {
            return None;
        };
        self.answered(&response);
        Some(Event::Response { offset, answers, response })
    }

    /// The request that was cut by the end of the connection or a gap, to be asked when no bytes
    /// will come any more; see [`Requests::cut`].
    pub fn cut_request(&self, client: Window<'_>) -> Option<(u64, Request)> {
        self.requests.cut(client)
    }

    /// Offsets before which neither direction's bytes are needed any more: client's, server's.
    pub fn positions(&self) -> (u64, u64) {
        (self.requests.position(), self.responses.position())
    }

    /// Where the client's tunnelled bytes begin if the CONNECT or upgrade that is still without an
    /// answer has been granted: all that can be said when the server's direction isn't captured.
    pub fn pending_tunnel(&self) -> Option<u64> {
        matches!(self.requests.walker.state, State::Pending { .. })
            .then(|| self.requests.position())
    }

    fn answered(&mut self, response: &Response) {
        let switched = response.body == BodyLength::Tunnel;
        if response.status < 200 && !switched {
            return;
        }
        self.open.pop_front();
        self.answers += 1;
        if self.open.is_empty() {
            self.requests.answered(switched);
        }
        if switched {
            self.tunnel = Some((self.requests.position(), self.responses.position()));
        }
    }
}

/// A position in one direction and what is expected there.
#[derive(Clone, Debug, Default)]
struct Walker {
    at: u64,
    state: State,
    /// Bytes from `at` on that are known to hold no end of a head.
    scanned: usize,
    /// Bytes of the trailer section so far.
    trailer: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// A chunk-size line.
    ChunkSize,
    /// The line end after a chunk's data.
    ChunkEnd,
    /// A line of the trailer section, or the empty one that ends it.
    Trailer,
    Pending {
        upgrade: bool,
    },
    End(End),
}

impl Walker {
    /// Chunk-size lines with their extensions are short; what is longer isn't one.
    const LONGEST_LINE: usize = 4 * 1024;

    /// Steps over what remains of a body. Gives the position of the next head.
    fn head<T>(&mut self, window: Window<'_>) -> Result<u64, Step<T>> {
        if self.at < window.start {
            return Err(self.end(End::Garbled(self.at)));
        }
        loop {
            let state = self.state;
            match state {
                State::Head => {
                    return if self.at < window.end() {
                        Ok(self.at)
                    } else {
                        Err(Step::More(self.at.saturating_add(1)))
                    };
                }
                State::Pending { .. } => return Err(Step::Pending(self.at)),
                State::End(end) => return Err(Step::End(end)),
                State::ChunkSize | State::ChunkEnd | State::Trailer => {}
            }
            let bytes = window.from(self.at);
            let Some(len) = memchr(b'\n', &bytes[..bytes.len().min(Self::LONGEST_LINE)]) else {
                return Err(if bytes.len() < Self::LONGEST_LINE {
                    Step::More((self.at + bytes.len() as u64).saturating_add(1))
                } else {
                    self.end(End::Garbled(self.at))
                });
            };
            match self.next_state(bytes[..len].trim_ascii()) {
                Some((next, skip)) => {
                    self.at = (self.at + len as u64 + 1).saturating_add(skip);
                    self.state = next;
                }
                None => return Err(self.end(End::Garbled(self.at))),
            }
        }
    }

    /// What follows a line of a chunked body (RFC 9112 section 7.1), and how many bytes of chunk
    /// data lie between.
    fn next_state(&mut self, line: &[u8]) -> Option<(State, u64)> {
        match self.state {
            State::ChunkSize => Some(match chunk_size(line)? {
                0 => (State::Trailer, 0),
                size => (State::ChunkEnd, size),
            }),
            State::ChunkEnd => line.is_empty().then_some((State::ChunkSize, 0)),
            _ if line.is_empty() => Some((State::Head, 0)),
            _ => {
                self.trailer += line.len();
                (self.trailer <= MAX_HEAD).then_some((State::Trailer, 0))
            }
        }
    }

    /// Steps over a head and, where that is known at once, over its body.
    fn enter_body(&mut self, head_len: usize, body: BodyLength) {
        self.at += head_len as u64;
        self.scanned = 0;
        self.trailer = 0;
        match body {
            BodyLength::None => {}
            BodyLength::Length(len) => self.at = self.at.saturating_add(len),
            BodyLength::Chunked => self.state = State::ChunkSize,
            BodyLength::UntilClose => self.state = State::End(End::UntilClose),
            BodyLength::Tunnel => self.state = State::End(End::Tunnel(self.at)),
        }
    }

    /// Asks for more of the head at the position: `len` bytes of it.
    fn wait<T>(&mut self, window: Window<'_>, len: usize) -> Step<T> {
        // The last three bytes may be the beginning of the end: LF CR LF.
        self.scanned = window.from(self.at).len().saturating_sub(3);
        Step::More(self.at.saturating_add(len as u64))
    }

    fn end<T>(&mut self, end: End) -> Step<T> {
        self.state = State::End(end);
        Step::End(end)
    }
}

impl<'a> Window<'a> {
    fn end(self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    /// The bytes from an offset on; empty when it lies beyond the end.
    fn from(self, at: u64) -> &'a [u8] {
        at.checked_sub(self.start)
            .and_then(|skip| self.bytes.get(usize::try_from(skip).ok()?..))
            .unwrap_or_default()
    }
}

/// `chunk-size [chunk-ext]`
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(bytes: &[u8]) -> Window<'_> {
        bytes.into()
    }

    /// Events as short texts.
    fn events(client: &[u8], server: &[u8]) -> Vec<String> {
        let mut conversation = Conversation::default();
        std::iter::from_fn(|| conversation.step(window(client), window(server)))
            .map(|event| show(&event))
            .collect()
    }

    fn show(event: &Event) -> String {
        match event {
            Event::Request { offset, request } => {
                format!("{offset} {} {}", request.method, request.target)
            }
            Event::Response { offset, answers, response } => {
                format!("{offset} {answers}: {}", response.status)
            }
            Event::Tunnel { client, server } => format!("tunnel {client} {server}"),
        }
    }

    #[test]
    fn pairs_pipelined_requests_with_their_answers() {
        let client = b"HEAD /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /GET /c HTTP/1.1\r\n\r\n";
        let server = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\nrest";
        assert_eq!(
            events(client, server),
            [
                "0 HEAD /a",
                "20 POST /b",
                "64 GET /c",
                "0 0: 200",
                "38 1: 100",
                "63 1: 201",
                "144 2: 404",
            ]
        );
    }

    #[test]
    fn a_granted_connect_opens_a_tunnel() {
        let connect = b"CONNECT a.example:443 HTTP/1.1\r\n\r\n";
        let granted = b"HTTP/1.1 200 Connection established\r\n\r\n";
        let client = [&connect[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        let server = [&granted[..], b"\x16\x03\x03"].concat();
        assert_eq!(
            events(&client, &server),
            ["0 CONNECT a.example:443", "0 0: 200", "tunnel 34 39"]
        );
    }

    #[test]
    fn a_refused_connect_may_be_tried_again() {
        let connect = b"CONNECT a.example:443 HTTP/1.1\r\n\r\n".repeat(2);
        let server = b"HTTP/1.1 407 Auth\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(
            events(&connect, server),
            [
                "0 CONNECT a.example:443",
                "0 0: 407",
                "34 CONNECT a.example:443",
                "42 1: 200",
                "tunnel 68 61",
            ]
        );
        let mut alone = Conversation::default();
        assert!(alone.step(window(&connect), window(b"")).is_some());
        assert!(alone.step(window(&connect), window(b"")).is_none());
        assert_eq!(alone.pending_tunnel(), Some(34));
    }

    #[test]
    fn an_upgrade_waits_for_the_answer_unless_http_goes_on() {
        let upgrade = b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        let client = [&upgrade[..], b"\x81\x85mask"].concat();
        assert_eq!(events(&client, switch), ["0 GET /ws", "0 0: 101", "tunnel 61 56"]);
        let ignored = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(2);
        assert_eq!(
            events(&upgrade.repeat(2), &ignored),
            ["0 GET /ws", "61 GET /ws", "0 0: 200", "38 1: 200"]
        );
    }

    #[test]
    fn a_cut_request_is_told_on_demand() {
        let whole = b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n";
        let cut = b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Ag";
        let stream = [&whole[..], &[b'x'; 40], cut].concat();
        let mut requests = Requests::default();
        assert!(matches!(requests.step(window(&stream)), Step::Message(..)));
        assert!(matches!(requests.step(window(&stream)), Step::More(_)));
        let (at, request) = requests.cut(window(&stream)).unwrap();
        assert_eq!(at, 40 + whole.len() as u64);
        assert_eq!(request.host.unwrap().to_string(), "a.example");
        // What a body or a tunnel holds is no request.
        assert_eq!(requests.cut(window(&stream[..60])), None);
        let mut tunnel = Requests::default();
        let stream = [&b"CONNECT b:1 HTTP/1.1\r\n\r\n"[..], cut].concat();
        assert!(matches!(tunnel.step(window(&stream)), Step::Message(..)));
        assert_eq!(tunnel.cut(window(&stream)), None);
    }

    #[test]
    fn long_bodies_need_no_buffer() {
        let head = b"PUT / HTTP/1.1\r\nContent-Length: 5000000000\r\n\r\n";
        let mut requests = Requests::default();
        assert!(matches!(requests.step(window(head)), Step::Message(0, _)));
        let next = head.len() as u64 + 5_000_000_000;
        assert_eq!(requests.step(window(head)), Step::More(next + 1));
        assert_eq!(requests.position(), next);
        let later = Window { start: next, bytes: b"GET / HTTP/1.1\r\n\r\n" };
        assert!(matches!(requests.step(later), Step::Message(at, _) if at == next));
    }

    #[test]
    fn lost_bytes_and_nonsense_end_the_walk() {
        let mut requests = Requests::default();
        let late = Window { start: 1, bytes: b"GET / HTTP/1.1\r\n\r\n" };
        assert_eq!(requests.step(late), Step::End(End::Garbled(0)));
        for bytes in [
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        ] {
            let mut requests = Requests::default();
            assert!(matches!(requests.step(window(bytes.as_bytes())), Step::Message(..)));
            let end = requests.step(window(bytes.as_bytes()));
            assert!(matches!(end, Step::End(End::Garbled(_))), "{bytes}");
        }
    }

    /// A request with a body in some framing.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let chunks = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..4);
        ("[a-z]{1,8}", 0..3, chunks).prop_map(|(name, framing, chunks)| {
            let body = chunks.concat();
            let mut bytes = format!("POST /{name} HTTP/1.1\r\nHost: {name}\r\n").into_bytes();
            match framing {
                0 => bytes.extend(b"\r\n"),
                1 => {
                    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                    bytes.extend(body);
                }
                _ => {
                    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in chunks {
                        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn finds_every_request_however_it_arrives(
            messages in proptest::collection::vec(message(), 1..8),
            steps in proptest::collection::vec(1usize..40, 1..20),
            drops: bool,
        ) {
            let stream = messages.concat();
            let mut expected = vec![0];
            for message in &messages {
                expected.push(expected[expected.len() - 1] + message.len() as u64);
            }
            expected.pop();
            let mut requests = Requests::default();
            let mut found = Vec::new();
            let mut len = 0;
            for step in steps.iter().cycle() {
                let start = if drops { requests.position().min(len as u64) } else { 0 };
                let seen = Window { start, bytes: &stream[start as usize..len] };
                loop {
                    match requests.step(seen) {
                        Step::Message(at, _) => found.push(at),
                        Step::More(more) => {
                            prop_assert!(more > len as u64);
                            break;
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                if len == stream.len() {
                    break;
                }
                len = stream.len().min(len + step);
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn never_panics_and_always_ends(client: Vec<u8>, server: Vec<u8>, messages in proptest::collection::vec(message(), 0..3), flip: (u8, u8)) {
            let mut client = [messages.concat(), client].concat();
            if let Some(byte) = client.get_mut(usize::from(flip.0)) {
                *byte ^= flip.1;
            }
            let server = [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &server].concat();
            prop_assert!(events(&client, &server).len() <= client.len() + server.len());
        }
    }
}
