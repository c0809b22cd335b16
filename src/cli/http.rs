//! The least of HTTP/1.1 that serves a page: GET and HEAD of a few paths, a connection each.
//!
//! All that a peer can do is bounded: connections, bytes, time.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Connections served at the same time; more are closed at once.
const MAX_CONNECTIONS: usize = 16;
/// Bytes of a request's head.
const MAX_HEAD: usize = 8192;
const MAX_HEADERS: usize = 64;
/// For the whole request.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// For the whole answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// A request's path, without the query.
pub(super) struct Request<'r> {
    pub(super) path: &'r str,
    /// Host (RFC 9110 section 7.2), if it has just one.
    pub(super) host: Option<&'r str>,
    /// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
    pub(super) token: Option<&'r str>,
}

/// What to answer.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) media_type: &'static str,
    pub(super) body: Arc<Vec<u8>>,
}

impl Answer {
    pub(super) fn ok(media_type: &'static str, body: Arc<Vec<u8>>) -> Self {
        Self { status: "200 OK", media_type, body }
    }

    pub(super) fn text(status: &'static str, body: impl Into<String>) -> Self {
        let body = Arc::new(body.into().into_bytes());
        Self { status, media_type: "text/plain; charset=utf-8", body }
    }
}

/// Answers whoever connects, as long as the process lives.
pub(super) fn serve(
    listener: TcpListener,
    answer: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
) {
    let (answer, open) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of file descriptors, perhaps: others may be free soon.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (answer, slot) = (Arc::clone(&answer), Slot(Arc::clone(&open)));
            let served = thread::Builder::new().spawn(move || {
                let _slot = slot;
                // Who hangs up or dawdles gets no answer.
                let _ = converse(stream, &*answer);
            });
            if served.is_err() {
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
}

/// One of the connections that may be open.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(
    mut stream: TcpStream,
    answer: &(impl Fn(&Request<'_>) -> Answer + ?Sized),
) -> io::Result<()> {
    let mut head = Vec::new();
    let (answer, with_body) = match read_head(&mut stream, &mut head)? {
        true => respond(&head, answer),
        false => (Answer::text("431 Request Header Fields Too Large", "too long\n"), true),
    };
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
         Referrer-Policy: no-referrer\r\n\r\n",
        answer.status,
        answer.media_type,
        answer.body.len()
    );
    let deadline = Instant::now() + ANSWER_TIME;
    write(&mut stream, text.as_bytes(), deadline)?;
    if with_body {
        write(&mut stream, &answer.body, deadline)?;
    }
    stream.flush()
}

/// Reads up to the empty line. False when there is none within bounds.
fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<bool> {
    let deadline = Instant::now() + REQUEST_TIME;
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Ok(false);
        }
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(true)
}

/// The answer to a whole head, and whether its body is wanted.
fn respond(head: &[u8], answer: &(impl Fn(&Request<'_>) -> Answer + ?Sized)) -> (Answer, bool) {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let whole = parsed.parse(head).is_ok_and(|status| status.is_complete());
    let (true, Some(method), Some(target)) = (whole, parsed.method, parsed.path) else {
        return (Answer::text("400 Bad Request", "not a request\n"), true);
    };
    if !matches!(method, "GET" | "HEAD") {
        return (Answer::text("405 Method Not Allowed", "GET or HEAD\n"), true);
    }
    let value = |name: &str| {
        let mut all = parsed.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        let one = all.next().and_then(|header| std::str::from_utf8(header.value).ok());
        one.filter(|_| all.next().is_none()).map(str::trim)
    };
    let bearer = |value: &'_ str| -> Option<usize> {
        let scheme = value.get(..7)?;
        scheme.eq_ignore_ascii_case("bearer ").then_some(7)
    };
    let token = value("authorization").and_then(|text| Some(text[bearer(text)?..].trim()));
    let path = target.split(['?', '#']).next().unwrap_or_default();
    (answer(&Request { path, host: value("host"), token }), method == "GET")
}

fn write(stream: &mut TcpStream, mut text: &[u8], deadline: Instant) -> io::Result<()> {
    while !text.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(text)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => text = &text[written..],
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, |request| {
            let (host, token) = (request.host.unwrap_or("-"), request.token.unwrap_or("-"));
            Answer::text("200 OK", format!("{} {host} {token}", request.path))
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        // Refused requests end in a reset when not all of them was read.
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn answers_gets_and_heads() {
        let got = ask(b"GET /a?b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer  tok\r\n\r\n");
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\n/a x tok"), "{got}");
        let got = ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(got.contains("Content-Length: 5\r\n") && got.ends_with("\r\n\r\n"), "{got}");
    }

    #[test]
    fn refuses_the_rest() {
        for (request, status) in [
            (&b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "405"),
            (b"\x16\x03\x01\r\n\r\n", "400"),
            (b"GET /\r\n\r\n", "400"),
        ] {
            let got = ask(request);
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
        }
        let mut long = b"GET / HTTP/1.1\r\n".to_vec();
        long.resize(MAX_HEAD + 2000, b'a');
        let got = ask(&long);
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 431 "), "{got}");
        assert_eq!(
            ask(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").split("\r\n\r\n").nth(1),
            Some("/ - -")
        );
    }
}
