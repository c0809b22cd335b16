//! SOCKS 4, 4a and 5 (RFC 1928): the destination asked for, the answer, and where the relayed
//! connection begins.
//!
//! A few bytes make a SOCKS request, so that both directions must agree before anything is told.
//! Credentials are stepped over and never kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Authority, Host, Probe};

/// A SOCKS negotiation that has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socks {
    /// Version: 4 (for 4a too) or 5.
    pub version: u8,
    /// What was asked for; `None` when the server refused before.
    pub request: Option<SocksRequest>,
    /// The server's answer.
    pub reply: Reply,
    /// Length of the negotiation in the client's direction: the relayed bytes begin there.
    pub client_len: usize,
    /// The same in the server's direction.
    pub server_len: usize,
}

/// What a SOCKS client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocksRequest {
    /// What to do.
    pub command: Command,
    /// Destination; `None` when the name isn't a host name.
    pub target: Option<Authority>,
}

/// What to do with the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect to it.
    Connect,
    /// Wait for a connection from it.
    Bind,
    /// Relay datagrams.
    UdpAssociate,
}

/// A SOCKS server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Granted.
    Granted,
    /// Refused or failed, with the protocol's own code: SOCKS 5 1 general failure, 2 not allowed by
    /// ruleset, 3 network unreachable, 4 host unreachable, 5 connection refused, 6 TTL expired, 7 and 8
    /// not supported; SOCKS 4 91 to 93.
    Refused(u8),
    /// SOCKS 5: the server takes none of the client's ways to authenticate.
    NoAuthMethod,
    /// SOCKS 5: the user name or password is wrong (RFC 1929).
    AuthFailed,
}

/// Reads a negotiation from the first bytes of both directions.
///
/// [`Probe::More`] counts both directions together. `Not` also stands for authentication that wraps
/// the connection (GSS-API).
pub fn socks(client: &[u8], server: &[u8]) -> Probe<Socks> {
    finish(negotiate(client, server), client, server)
}

/// What the client asked for when the connection ended or the capture has nothing of the server
/// before there was an answer. Told only if the server has agreed to speak SOCKS 5; SOCKS 4 has no
/// such step, so nothing is told.
pub fn unanswered(client: &[u8], server: &[u8]) -> Option<SocksRequest> {
    let mut sides = Sides::new(client, server);
    if client.first() != Some(&5) || socks5_methods(&mut sides).ok()?.is_some() {
        return None;
    }
    socks5_request(&mut sides).ok()
}

/// Why a negotiation can't be read on.
enum Stop {
    /// So many bytes are missing at least.
    Missing(usize),
    Not,
}

fn finish(result: Result<Socks, Stop>, client: &[u8], server: &[u8]) -> Probe<Socks> {
    match result {
        Ok(socks) => Probe::Found(socks),
        Err(Stop::Missing(bytes)) => Probe::More(client.len() + server.len() + bytes),
        Err(Stop::Not) => Probe::Not,
    }
}

/// A cursor in either direction.
struct Sides<'a> {
    client: Cursor<'a>,
    server: Cursor<'a>,
}

impl<'a> Sides<'a> {
    fn new(client: &'a [u8], server: &'a [u8]) -> Self {
        Self { client: Cursor { bytes: client, at: 0 }, server: Cursor { bytes: server, at: 0 } }
    }

    fn end(&self, version: u8, request: Option<SocksRequest>, reply: Reply) -> Socks {
        Socks { version, request, reply, client_len: self.client.at, server_len: self.server.at }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or(Stop::Missing(len - rest.len().min(len)))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let at = self.at;
        self.take(N)?;
        self.bytes[at..at + N].try_into().map_err(|_| Stop::Not)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.array::<1>()?[0])
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Stop> {
        (self.byte()? == wanted).then_some(()).ok_or(Stop::Not)
    }

    /// A string with a length byte before it.
    fn counted(&mut self) -> Result<&'a [u8], Stop> {
        let len = self.byte()?;
        self.take(usize::from(len))
    }

    /// A string with a NUL after it.
    fn terminated(&mut self) -> Result<&'a [u8], Stop> {
        const LONGEST: usize = 255;
        let rest = &self.bytes[self.at..];
        match memchr::memchr(0, &rest[..rest.len().min(LONGEST + 1)]) {
            Some(len) => {
                self.at += len + 1;
                Ok(&rest[..len])
            }
            None if rest.len() > LONGEST => Err(Stop::Not),
            None => Err(Stop::Missing(1)),
        }
    }
}

fn negotiate(client: &[u8], server: &[u8]) -> Result<Socks, Stop> {
    // SOCKS 5's server says its version, SOCKS 4's says 0.
    match (client.first(), server.first()) {
        (None | Some(5), None | Some(5)) => socks5(&mut Sides::new(client, server)),
        (Some(4), None | Some(0)) => socks4(&mut Sides::new(client, server)),
        _ => Err(Stop::Not),
    }
}

fn socks4(sides: &mut Sides<'_>) -> Result<Socks, Stop> {
    sides.client.expect(4)?;
    let command = match sides.client.byte()? {
        1 => Command::Connect,
        2 => Command::Bind,
        _ => return Err(Stop::Not),
    };
    let port = u16::from_be_bytes(sides.client.array()?);
    let ip: [u8; 4] = sides.client.array()?;
    sides.client.terminated()?;
    // 4a: an impossible address announces a name.
    let host = match ip {
        [0, 0, 0, 1..=255] => Host::parse(sides.client.terminated()?),
        _ => Some(Host::Ip(Ipv4Addr::from(ip).into())),
    };
    let request =
        SocksRequest { command, target: host.map(|host| Authority { host, port: Some(port) }) };
    sides.server.expect(0)?;
    let reply = match sides.server.byte()? {
        90 => Reply::Granted,
        code @ 91..=93 => Reply::Refused(code),
        _ => return Err(Stop::Not),
    };
    sides.server.take(6)?;
    Ok(sides.end(4, Some(request), reply))
}

fn socks5(sides: &mut Sides<'_>) -> Result<Socks, Stop> {
    if let Some(refusal) = socks5_methods(sides)? {
        return Ok(sides.end(5, None, refusal));
    }
    let request = socks5_request(sides)?;
    sides.server.expect(5)?;
    let code = sides.server.byte()?;
    sides.server.expect(0)?;
    socks5_address(&mut sides.server)?;
    let reply = match code {
        0 => Reply::Granted,
        code => Reply::Refused(code),
    };
    Ok(sides.end(5, Some(request), reply))
}

/// Greeting, choice of a method, and RFC 1929 if chosen. Gives the server's refusal, if any.
fn socks5_methods(sides: &mut Sides<'_>) -> Result<Option<Reply>, Stop> {
    const NONE: u8 = 0;
    const PASSWORD: u8 = 2;
    const UNACCEPTABLE: u8 = 0xff;
    sides.client.expect(5)?;
    let offered = sides.client.counted()?;
    if offered.is_empty() {
        return Err(Stop::Not);
    }
    sides.server.expect(5)?;
    let chosen = sides.server.byte()?;
    if chosen == UNACCEPTABLE {
        return Ok(Some(Reply::NoAuthMethod));
    }
    if !offered.contains(&chosen) {
        return Err(Stop::Not);
    }
    match chosen {
        NONE => Ok(None),
        PASSWORD => {
            sides.client.expect(1)?;
            sides.client.counted()?;
            sides.client.counted()?;
            sides.server.expect(1)?;
            let accepted = sides.server.byte()? == 0;
            Ok((!accepted).then_some(Reply::AuthFailed))
        }
        _ => Err(Stop::Not),
    }
}

fn socks5_request(sides: &mut Sides<'_>) -> Result<SocksRequest, Stop> {
    sides.client.expect(5)?;
    let command = match sides.client.byte()? {
        1 => Command::Connect,
        2 => Command::Bind,
        3 => Command::UdpAssociate,
        _ => return Err(Stop::Not),
    };
    sides.client.expect(0)?;
    let target = socks5_address(&mut sides.client)?;
    Ok(SocksRequest { command, target })
}

/// Address type, address, port (RFC 1928 section 5). `None` for a name that isn't a host name.
fn socks5_address(cursor: &mut Cursor<'_>) -> Result<Option<Authority>, Stop> {
    let host = match cursor.byte()? {
        1 => Some(Host::Ip(IpAddr::from(Ipv4Addr::from(cursor.array::<4>()?)))),
        3 => Host::parse(cursor.counted()?),
        4 => Some(Host::Ip(IpAddr::from(Ipv6Addr::from(cursor.array::<16>()?)))),
        _ => return Err(Stop::Not),
    };
    let port = Some(u16::from_be_bytes(cursor.array()?));
    Ok(host.map(|host| Authority { host, port }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GREETING: &[u8] = b"\x05\x02\x00\x02";
    const CONNECT: &[u8] = b"\x05\x01\x00\x03\x11mcr.microsoft.com\x01\xbb";
    const GRANTED: &[u8] = b"\x05\x00\x00\x01\x0a\0\0\x01\x04\x38";

    fn found(client: &[u8], server: &[u8]) -> Socks {
        match socks(client, server) {
            Probe::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    fn target(found: &Socks) -> String {
        let request = found.request.as_ref().unwrap();
        request.target.as_ref().unwrap().to_string()
    }

    #[test]
    fn version_5_by_name() {
        let client = [GREETING, CONNECT, b"\x16\x03\x01"].concat();
        let server = [b"\x05\x00", GRANTED, b"\x16\x03\x03"].concat();
        let it = found(&client, &server);
        assert_eq!(target(&it), "mcr.microsoft.com:443");
        assert_eq!(it.reply, Reply::Granted);
        assert_eq!((it.client_len, it.server_len), (28, 12));
        assert_eq!(client[it.client_len], 0x16);
        assert_eq!(server[it.server_len], 0x16);
    }

    #[test]
    fn version_5_by_address_and_refused() {
        let client = b"\x05\x01\x00\x05\x01\x00\x01\xc0\0\x02\x01\x00\x50";
        let it = found(client, b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0");
        assert_eq!(target(&it), "192.0.2.1:80");
        assert_eq!(it.reply, Reply::Refused(2));
        let v6 = [b"\x05\x01\x00\x05\x01\x00\x04", &[1; 16][..], b"\x00\x50"].concat();
        let it = found(&v6, &[b"\x05\x00", GRANTED].concat());
        assert_eq!(target(&it), "[101:101:101:101:101:101:101:101]:80");
    }

    #[test]
    fn credentials_are_stepped_over() {
        let client = [GREETING, b"\x01\x04user\x06secret", CONNECT].concat();
        let server = [b"\x05\x02\x01\x00", GRANTED].concat();
        let it = found(&client, &server);
        assert_eq!(target(&it), "mcr.microsoft.com:443");
        assert!(!format!("{it:?}").contains("secret"));
        let it = found(&client, b"\x05\x02\x01\x01");
        assert_eq!((it.reply, it.request), (Reply::AuthFailed, None));
        assert_eq!(found(GREETING, b"\x05\xff").reply, Reply::NoAuthMethod);
    }

    #[test]
    fn version_4_and_4a() {
        let it = found(b"\x04\x01\x01\xbb\xc0\0\x02\x01me\0", b"\0\x5a\0\0\0\0\0\0");
        assert_eq!(target(&it), "192.0.2.1:443");
        assert_eq!((it.reply, it.server_len), (Reply::Granted, 8));
        let it = found(b"\x04\x01\x01\xbb\0\0\0\x01\0example.com\0", b"\0\x5b\0\0\0\0\0\0");
        assert_eq!(target(&it), "example.com:443");
        assert_eq!(it.reply, Reply::Refused(91));
    }

    #[test]
    fn both_directions_must_agree() {
        for (client, server) in [
            (GREETING, &b"HTTP/1.1 400"[..]),
            (GREETING, b"\x05\x80"),
            (b"\x05\x00\x0b\x03", b""),
            (b"\x04\x01\x01\xbb\xc0\0\x02\x01\0", b"\x04"),
            (b"\x04\x03", b""),
            (b"\x16\x03\x01", b""),
            (b"", b"220 mail\r\n"),
        ] {
            assert_eq!(socks(client, server), Probe::Not, "{client:?} {server:?}");
        }
    }

    #[test]
    fn a_request_without_answer_is_told_on_demand() {
        let client = [GREETING, CONNECT].concat();
        assert!(unanswered(&client, b"\x05\x00").is_some());
        assert!(unanswered(&client, b"").is_none());
        assert!(unanswered(&client[..client.len() - 1], b"\x05\x00").is_none());
    }

    proptest! {
        #[test]
        fn never_panics(client: Vec<u8>, server: Vec<u8>, version in 4u8..6) {
            let client = [&[version], &client[..]].concat();
            if let Probe::More(len) = socks(&client, &server) {
                prop_assert!(len > client.len() + server.len());
            }
            unanswered(&client, &server);
        }

        #[test]
        fn a_cut_negotiation_asks_for_more(client_cut in 0usize..40, server_cut in 0usize..16) {
            let client = [GREETING, b"\x01\x04user\x06secret", CONNECT].concat();
            let server = [b"\x05\x02\x01\x00", GRANTED].concat();
            let (c, s) = (client_cut.min(client.len()), server_cut.min(server.len()));
            match socks(&client[..c], &server[..s]) {
                Probe::Found(_) => prop_assert_eq!((c, s), (client.len(), server.len())),
                Probe::More(len) => prop_assert!(len > c + s && len <= client.len() + server.len()),
                Probe::Not => prop_assert!(false),
            }
        }
    }
}
