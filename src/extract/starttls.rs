//! Protocols that begin in clear text and turn to TLS on the way: where in each direction the TLS
//! bytes begin.
//!
//! Only what may precede the turn is followed. A connection that does anything else in clear text,
//! logging in or sending mail, is given up at that command.

mod binary;
mod text;

use super::Probe;

/// A protocol that can turn to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP and LMTP (RFC 3207).
    Smtp,
    /// FTP (RFC 4217).
    Ftp,
    /// IMAP (RFC 9051 section 6.2.1).
    Imap,
    /// POP3 (RFC 2595 section 4).
    Pop3,
    /// XMPP (RFC 6120 section 5).
    Xmpp,
    /// LDAP (RFC 4511 section 4.14).
    Ldap,
    /// PostgreSQL's SSLRequest.
    Postgres,
    /// MySQL's and MariaDB's SSLRequest.
    Mysql,
    /// RDP's security negotiation (MS-RDPBCGR section 2.2.1).
    Rdp,
}

/// A turn to TLS that both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartTls {
    /// What was spoken before.
    pub protocol: Protocol,
    /// First byte of TLS in the client's direction.
    pub client_offset: usize,
    /// First byte of TLS in the server's direction.
    pub server_offset: usize,
}

/// Looks for a turn to TLS in the first bytes of both directions.
///
/// [`Probe::More`] counts both directions together. `Not` also stands for a turn that was refused.
/// Cheap to call again: most connections are `Not` with the first bytes of either direction, and no
/// more than 8 KiB of each are looked at.
pub fn starttls(client: &[u8], server: &[u8]) -> Probe<StartTls> {
    let sides = Sides {
        client: &client[..client.len().min(LONGEST)],
        server: &server[..server.len().min(LONGEST)],
    };
    if client.first().is_some_and(|&b| !can_begin(b)) {
        return Probe::Not;
    }
    let mut more = false;
    for (protocol, probe) in PROTOCOLS {
        match probe(sides) {
            Turn::At(client_offset, server_offset) => {
                return Probe::Found(StartTls { protocol, client_offset, server_offset });
            }
            Turn::Later => more = true,
            Turn::Never => {}
        }
    }
    // Beyond the bound nothing more is looked at, so that it can't be decided any more.
    if more && (client.len() < LONGEST || server.len() < LONGEST) {
        Probe::More(client.len() + server.len() + 1)
    } else {
        Probe::Not
    }
}

/// Whether a client of any of the protocols may begin with this byte: text, or RDP's and PostgreSQL's
/// first byte. LDAP's and MySQL's are printable. TLS itself doesn't.
fn can_begin(b: u8) -> bool {
    matches!(b, 0 | 3 | b'\t' | b'\r' | b'\n' | b' '..=b'~')
}

/// How much of each direction is looked at, in bytes.
const LONGEST: usize = 8 * 1024;

type Reader = fn(Sides<'_>) -> Turn;

const PROTOCOLS: [(Protocol, Reader); 9] = [
    (Protocol::Smtp, text::smtp),
    (Protocol::Ftp, text::ftp),
    (Protocol::Imap, text::imap),
    (Protocol::Pop3, text::pop3),
    (Protocol::Xmpp, text::xmpp),
    (Protocol::Ldap, binary::ldap),
    (Protocol::Postgres, binary::postgres),
    (Protocol::Mysql, binary::mysql),
    (Protocol::Rdp, binary::rdp),
];

/// The first bytes of both directions.
#[derive(Clone, Copy)]
struct Sides<'a> {
    client: &'a [u8],
    server: &'a [u8],
}

/// What one protocol's reader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// TLS begins at these offsets: client's, server's.
    At(usize, usize),
    /// Not decided yet.
    Later,
    /// Another protocol, or none that will turn to TLS.
    Never,
}
