use memchr::{memchr, memmem};

use super::{Sides, Turn};

/// EHLO, STARTTLS -> 220.
pub(super) fn smtp(sides: Sides<'_>) -> Turn {
    replies(
        sides,
        &["EHLO", "HELO", "LHLO", "NOOP", "RSET", "HELP", "VRFY", "XCLIENT"],
        |line| is(line, "STARTTLS"),
        b"220",
    )
}

/// AUTH TLS -> 234.
pub(super) fn ftp(sides: Sides<'_>) -> Turn {
    replies(
        sides,
        &["FEAT", "SYST", "OPTS", "HELP", "NOOP", "HOST", "CLNT", "AUTH"],
        |line| ["AUTH TLS", "AUTH SSL", "AUTH TLS-C"].iter().any(|auth| is(line, auth)),
        b"234",
    )
}

/// `tag STARTTLS` -> `tag OK`.
pub(super) fn imap(sides: Sides<'_>) -> Turn {
    fn command(line: &[u8]) -> &[u8] {
        let tag = first_word(line).len();
        line.get(tag + 1..).unwrap_or_default()
    }
    let starts = |line: &[u8]| is(command(line), "STARTTLS");
    let before = |line: &[u8]| is_one_of(command(line), &["CAPABILITY", "NOOP", "ID"]);
    let greeting = could_start(sides.server, &[b"* OK", b"* PREAUTH"]);
    if greeting == Turn::Never || !plausible(sides.client, before, starts) {
        return Turn::Never;
    }
    let mut client = Lines::new(sides.client);
    let mut server = Lines::new(sides.server);
    while let Some(line) = client.next() {
        // Some clients use one tag throughout, so that each command takes its own answer.
        match (tagged_answer(&mut server, first_word(line)), starts(line)) {
            (Some(b"OK"), true) => return Turn::At(client.at, server.at),
            (Some(_), true) => return Turn::Never,
            (Some(_), false) => {}
            (None, _) => return Turn::Later,
        }
    }
    Turn::Later
}

/// Steps to the end of the line that answers the command with this tag; gives OK, NO or BAD.
fn tagged_answer<'a>(lines: &mut Lines<'a>, tag: &[u8]) -> Option<&'a [u8]> {
    loop {
        let answer = lines.next()?.strip_prefix(tag);
        if let Some(answer) = answer.and_then(|rest| rest.strip_prefix(b" ")) {
            return Some(first_word(answer));
        }
    }
}

/// STLS -> +OK.
pub(super) fn pop3(sides: Sides<'_>) -> Turn {
    let starts = |line: &[u8]| is(line, "STLS");
    // Without an argument AUTH lists mechanisms, as CAPA lists capabilities.
    let lists = |line: &[u8]| is(line, "CAPA") || is(line, "AUTH");
    let before = |line: &[u8]| lists(line) || is(line, "NOOP");
    let greeting = could_start(sides.server, &[b"+OK"]);
    if greeting == Turn::Never || !plausible(sides.client, before, starts) {
        return Turn::Never;
    }
    let mut client = Lines::new(sides.client);
    let mut server = Lines::new(sides.server);
    if server.next().is_none() {
        return Turn::Later;
    }
    while let Some(line) = client.next() {
        let Some(status) = server.next() else {
            return Turn::Later;
        };
        let ok = is(first_word(status), "+OK");
        match (starts(line), ok) {
            (true, true) => return Turn::At(client.at, server.at),
            (true, false) => return Turn::Never,
            (false, true) if lists(line) => loop {
                match server.next() {
                    Some(b".") => break,
                    Some(_) => {}
                    None => return Turn::Later,
                }
            },
            _ => {}
        }
    }
    Turn::Later
}

/// `<starttls/>` -> `<proceed/>`.
pub(super) fn xmpp(sides: Sides<'_>) -> Turn {
    // A stream header is shorter than this.
    const HEADER: usize = 1024;
    const OPENINGS: &[&[u8]] = &[b"<?xml", b"<stream:stream"];
    let start = sides.client.trim_ascii_start();
    match (could_start(start, OPENINGS), could_start(sides.server.trim_ascii_start(), OPENINGS)) {
        (Turn::Never, _) | (_, Turn::Never) => return Turn::Never,
        (Turn::Later, _) => return Turn::Later,
        _ => {}
    }
    let header = &start[..start.len().min(HEADER)];
    if memmem::find(header, b"<stream:stream").is_none() {
        return match start.len() < HEADER {
            true => Turn::Later,
            false => Turn::Never,
        };
    }
    if memmem::find(sides.server, b"<failure").is_some() || memmem::find(start, b"<auth").is_some()
    {
        return Turn::Never;
    }
    match (after_element(sides.client, "starttls"), after_element(sides.server, "proceed")) {
        (Some(client), Some(server)) => Turn::At(client, server),
        _ => Turn::Later,
    }
}

/// Offset after the first empty element of this name: `<name .../>` or `<name ...></name>`.
fn after_element(bytes: &[u8], name: &str) -> Option<usize> {
    let start = memmem::find(bytes, format!("<{name}").as_bytes())?;
    let end = start + memchr(b'>', &bytes[start..])? + 1;
    if bytes[..end].ends_with(b"/>") {
        return Some(end);
    }
    let close = format!("</{name}>");
    let at = memmem::find(&bytes[end..], close.as_bytes())?;
    Some(end + at + close.len())
}

/// A dialogue of command lines and three-digit replies: the greeting, then one final reply to each
/// line. `before` are the commands that may come before `starts`; FTP's refused AUTH may be tried
/// again, SMTP's STARTTLS not.
fn replies(
    sides: Sides<'_>,
    before: &[&str],
    starts: fn(&[u8]) -> bool,
    granted: &[u8; 3],
) -> Turn {
    let known = |line: &[u8]| is_one_of(line, before);
    let greeting = could_start(sides.server, &[b"220 ", b"220-"]);
    if greeting == Turn::Never || !plausible(sides.client, known, starts) {
        return Turn::Never;
    }
    let mut client = Lines::new(sides.client);
    let mut server = Lines::new(sides.server);
    match final_reply(&mut server) {
        Reply::Final(_) => {}
        Reply::Cut => return Turn::Later,
        Reply::None => return Turn::Never,
    }
    while let Some(line) = client.next() {
        if !known(line) && !starts(line) {
            return Turn::Never;
        }
        match final_reply(&mut server) {
            Reply::Final(code) if starts(line) && code == granted => {
                return Turn::At(client.at, server.at);
            }
            Reply::Final(_) if !known(line) => return Turn::Never,
            Reply::Final(_) => {}
            Reply::Cut => return Turn::Later,
            Reply::None => return Turn::Never,
        }
    }
    Turn::Later
}

/// Longest command line that SMTP allows, in bytes (RFC 5321 section 4.5.3.1.4); the others' are
/// shorter before TLS.
const LONGEST_COMMAND: usize = 512;

/// Commands that are waited through. Clients ask for the capabilities and start TLS.
const MOST_COMMANDS: usize = 16;

/// Whether the client's lines, up to the one that starts TLS, are commands that may come before it.
/// Needs nothing of the server, so that other protocols are given up with their first line.
fn plausible(
    client: &[u8],
    before: impl Fn(&[u8]) -> bool,
    starts: impl Fn(&[u8]) -> bool,
) -> bool {
    let mut lines = Lines::new(client);
    let mut commands = 0;
    while let Some(line) = lines.next() {
        if starts(line) {
            return true;
        }
        commands += 1;
        if !before(line) || commands > MOST_COMMANDS {
            return false;
        }
    }
    let rest = &client[lines.at..];
    rest.len() <= LONGEST_COMMAND && rest.iter().all(|&b| matches!(b, b'\r' | b' '..=b'~'))
}

enum Reply<'a> {
    /// A whole reply and its code.
    Final(&'a [u8]),
    /// The reply isn't there to its end.
    Cut,
    /// Not a reply.
    None,
}

/// Steps over one reply and over preliminary (1xx) ones before it. `ddd-` opens a reply of several
/// lines, which `ddd ` with the same code ends (RFC 959 section 4.2, RFC 5321 section 4.2.1).
fn final_reply<'a>(lines: &mut Lines<'a>) -> Reply<'a> {
    loop {
        let Some(first) = lines.next() else {
            return Reply::Cut;
        };
        let Some((code, rest)) = first.split_at_checked(3) else {
            return Reply::None;
        };
        if !code.iter().all(u8::is_ascii_digit) {
            return Reply::None;
        }
        if rest.first() == Some(&b'-') {
            let is_last = |line: &[u8]| {
                line.strip_prefix(code).is_some_and(|rest| rest.first() != Some(&b'-'))
            };
            loop {
                match lines.next() {
                    Some(line) if is_last(line) => break,
                    Some(_) => {}
                    None => return Reply::Cut,
                }
            }
        }
        if code[0] != b'1' {
            return Reply::Final(code);
        }
    }
}

/// Whether `bytes` begin with one of some words (`At`), don't (`Never`), or are too short.
fn could_start(bytes: &[u8], words: &[&[u8]]) -> Turn {
    if words.iter().any(|word| bytes.starts_with(word)) {
        Turn::At(0, 0)
    } else if words.iter().any(|word| word.starts_with(bytes)) {
        Turn::Later
    } else {
        Turn::Never
    }
}

fn is(word: &[u8], wanted: &str) -> bool {
    word.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

/// Whether the line's first word is one of these.
fn is_one_of(line: &[u8], commands: &[&str]) -> bool {
    let word = first_word(line);
    commands.iter().any(|command| is(word, command))
}

fn first_word(line: &[u8]) -> &[u8] {
    line.split(|&b| b == b' ').next().unwrap_or(line)
}

/// Whole lines, without their line ends.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Offset after the last line given.
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let len = memchr(b'\n', rest)?;
        self.at += len + 1;
        let line = &rest[..len];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::extract::{
        Probe,
        starttls::{Protocol, StartTls, starttls},
    };

    const TLS: &[u8] = b"\x16\x03\x01\x02\x00";

    /// Dialogues up to where TLS begins: protocol, client's bytes, server's.
    const DIALOGUES: &[(Protocol, &str, &str)] = &[
        (
            Protocol::Smtp,
            "EHLO client.example\r\nSTARTTLS\r\n",
            "220 mail.example ESMTP\r\n250-mail.example\r\n250-STARTTLS\r\n250 HELP\r\n220 2.0.0 Ready\r\n",
        ),
        (Protocol::Smtp, "ehlo x\nstarttls\n", "220-a\n220 b\n250 ok\n220 go\n"),
        (
            Protocol::Ftp,
            "AUTH TLS\r\n",
            "220-Welcome\r\n 220 is not the end\r\n220 ready\r\n234 Proceed\r\n",
        ),
        (Protocol::Ftp, "AUTH SSL\r\nAUTH TLS\r\n", "220 x\r\n504 no\r\n234 yes\r\n"),
        (
            Protocol::Imap,
            "a1 CAPABILITY\r\na2 STARTTLS\r\n",
            "* OK IMAP4rev1 ready\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\na2 OK Begin\r\n",
        ),
        (
            Protocol::Imap,
            ". CAPABILITY\r\n. STARTTLS\r\n",
            "* OK ready\r\n* CAPABILITY STARTTLS\r\n. OK done\r\n. OK begin\r\n",
        ),
        (
            Protocol::Pop3,
            "CAPA\r\nSTLS\r\n",
            "+OK ready\r\n+OK list\r\nSTLS\r\nUIDL\r\n.\r\n+OK Begin TLS\r\n",
        ),
        (Protocol::Pop3, "STLS\r\n", "+OK ready\r\n+OK\r\n"),
        (
            Protocol::Xmpp,
            "<?xml version='1.0'?><stream:stream to='a.example' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            "<?xml version='1.0'?><stream:stream from='a.example' id='1'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></proceed>",
        ),
    ];

    #[test]
    fn finds_where_tls_begins() {
        for &(protocol, client, server) in DIALOGUES {
            let expected = Probe::Found(StartTls {
                protocol,
                client_offset: client.len(),
                server_offset: server.len(),
            });
            let (client, server) = (client.as_bytes(), server.as_bytes());
            assert_eq!(starttls(client, server), expected, "{protocol:?}");
            let longer = starttls(&[client, TLS].concat(), &[server, TLS].concat());
            assert_eq!(longer, expected, "{protocol:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_dialogue_asks_for_more(which in 0..DIALOGUES.len(), c in 0.0..1.0, s in 0.0..1.0) {
            let (_, client, server) = DIALOGUES[which];
            let cut = |text: &'static str, at: f64| &text.as_bytes()[..(text.len() as f64 * at) as usize];
            let (client, server) = (cut(client, c), cut(server, s));
            let probe = starttls(client, server);
            prop_assert_eq!(probe, Probe::More(client.len() + server.len() + 1));
        }
    }

    #[test]
    fn gives_up_at_once() {
        for (client, server) in [
            ("GET / HTTP/1.1\r\n", ""),
            ("GET / HTTP/1.1\r\n", "HTTP/1.1 200"),
            ("", "HTTP/1.1 200"),
            ("SSH-2.0-x\r\n", "SSH-2.0-y\r\n"),
            ("EHLO x\r\nMAIL FROM:<a@b>\r\n", "220 x\r\n250 y\r\n"),
            ("EHLO x\r\nSTARTTLS\r\n", "220 x\r\n250 y\r\n454 no\r\n"),
            ("USER a\r\n", "220 x\r\n"),
            ("a1 LOGIN u p\r\n", "* OK x\r\n"),
            ("a1 STARTTLS\r\n", "* OK x\r\na1 BAD no\r\n"),
            ("USER u\r\n", "+OK x\r\n"),
            ("STLS\r\n", "+OK x\r\n-ERR no\r\n"),
            ("<?xml?><stream:stream><starttls/>", "<stream:stream><failure/>"),
        ] {
            let probe = starttls(client.as_bytes(), server.as_bytes());
            assert_eq!(probe, Probe::Not, "{client:?} {server:?}");
        }
        assert_eq!(starttls(TLS, b""), Probe::Not);
        assert_eq!(starttls(b"", b""), Probe::More(1));
    }
}
