use memchr::memmem;

use super::{Sides, Turn};

/// StartTLS is an extended request by this OID.
const LDAP_STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// Extended request -> extended response with result code success.
pub(super) fn ldap(sides: Sides<'_>) -> Turn {
    // A few operations, reading the root entry say, may come before.
    const MOST_BEFORE: usize = 4;
    if sides.server.first().is_some_and(|&b| b != 0x30) {
        return Turn::Never;
    }
    let mut at = 0;
    for _ in 0..=MOST_BEFORE {
        let message = match ldap_message(&sides.client[at..]) {
            Ok(message) => message,
            Err(turn) => return turn,
        };
        at += message.len;
        match message.operation {
            // ExtendedRequest; its first element is requestName [0].
            0x77 if message.content.starts_with(&[0x80, 22])
                && message.content[2..].starts_with(LDAP_STARTTLS) =>
            {
                return ldap_answer(sides.server, message.id, at);
            }
            // Unbind, search, abandon.
            0x42 | 0x63 | 0x50 => {}
            _ => return Turn::Never,
        }
    }
    Turn::Never
}

/// The ExtendedResponse to the request of this id.
fn ldap_answer(server: &[u8], id: &[u8], client_offset: usize) -> Turn {
    let mut at = 0;
    loop {
        let message = match ldap_message(&server[at..]) {
            Ok(message) => message,
            Err(turn) => return turn,
        };
        at += message.len;
        if message.operation == 0x78 && message.id == id {
            // resultCode ENUMERATED, success.
            return match message.content.starts_with(&[0x0a, 1, 0]) {
                true => Turn::At(client_offset, at),
                false => Turn::Never,
            };
        }
    }
}

struct LdapMessage<'a> {
    id: &'a [u8],
    /// Tag of the operation.
    operation: u8,
    content: &'a [u8],
    len: usize,
}

/// LDAPMessage ::= SEQUENCE { messageID INTEGER, protocolOp CHOICE, ... } (RFC 4511 section 4.1.1)
fn ldap_message(bytes: &[u8]) -> Result<LdapMessage<'_>, Turn> {
    let (sequence, len) = element(bytes, 0x30)?;
    let whole = sequence.ok_or(Turn::Later)?;
    let inner = |bytes| match element(bytes, 0x02) {
        Ok((Some(id), len)) if (1..=4).contains(&id.len()) => Ok((id, len)),
        _ => Err(Turn::Never),
    };
    let (id, id_len) = inner(whole)?;
    let operation = *whole.get(id_len).ok_or(Turn::Never)?;
    match element(&whole[id_len..], operation) {
        Ok((Some(content), _)) => Ok(LdapMessage { id, operation, content, len }),
        _ => Err(Turn::Never),
    }
}

/// A BER element with this tag: its content, `None` if that isn't there to its end, and its length
/// with tag and length bytes.
fn element(bytes: &[u8], tag: u8) -> Result<(Option<&[u8]>, usize), Turn> {
    let [first, rest @ ..] = bytes else {
        return Err(Turn::Later);
    };
    if *first != tag {
        return Err(Turn::Never);
    }
    let (len, at) = match rest {
        [] => return Err(Turn::Later),
        [len @ 0..=0x7f, ..] => (usize::from(*len), 2),
        [form @ 0x81..=0x84, rest @ ..] => {
            let count = usize::from(form & 0x7f);
            let digits = rest.get(..count).ok_or(Turn::Later)?;
            let len = digits.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
            // Beyond what is looked at anyway.
            let len = usize::try_from(len).ok().filter(|&len| len < 1 << 20);
            (len.ok_or(Turn::Never)?, 2 + count)
        }
        _ => return Err(Turn::Never),
    };
    Ok((bytes.get(at..at + len), at + len))
}

/// SSLRequest -> `S`. A GSSENCRequest may be refused with `N` before it.
pub(super) fn postgres(sides: Sides<'_>) -> Turn {
    const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
    let (client, before) = match sides.client.strip_prefix(GSS) {
        Some(rest) => (rest, 1),
        None => (sides.client, 0),
    };
    let refused = before == 0 || matches!(sides.server.first(), None | Some(b'N'));
    let could_be_request = SSL.starts_with(client) || before == 0 && GSS.starts_with(client);
    match sides.server.get(before..).unwrap_or_default() {
        _ if !refused => Turn::Never,
        [b'S', ..] if client.starts_with(SSL) => Turn::At((before + 1) * SSL.len(), before + 1),
        [] if client.starts_with(SSL) || could_be_request => Turn::Later,
        // The server's byte was captured before the end of the request.
        [b'S' | b'N'] if could_be_request && client.len() < SSL.len() => Turn::Later,
        _ => Turn::Never,
    }
}

/// Server greeting -> a handshake response cut short after its fixed part, with CLIENT_SSL set. The
/// server doesn't answer to that.
pub(super) fn mysql(sides: Sides<'_>) -> Turn {
    const CLIENT_SSL: u8 = 0x08;
    const CLIENT_PROTOCOL_41: u8 = 0x02;
    const SSL_REQUEST: usize = 4 + 32;
    let start = &sides.client[..sides.client.len().min(4)];
    if ![32, 0, 0, 1].starts_with(start) {
        return Turn::Never;
    }
    // Length (3 bytes, little-endian), sequence number 0, protocol version 10.
    let greeting = match sides.server {
        [low, high, 0, 0, 10, ..] => usize::from(u16::from_le_bytes([*low, *high])),
        [_, _, 0, 0] | [_, _, 0] | [_, _] | [_] | [] => return Turn::Later,
        _ => return Turn::Never,
    };
    let Some(greeting) = sides.server.get(4..4 + greeting) else {
        return Turn::Later;
    };
    // Version (NUL-terminated), thread id, 8 bytes of salt, filler, capabilities.
    let Some(capabilities) = memchr::memchr(0, greeting).map(|nul| nul + 1 + 4 + 8 + 1) else {
        return Turn::Never;
    };
    if greeting.get(capabilities + 1).is_none_or(|high| high & CLIENT_SSL == 0) {
        return Turn::Never;
    }
    let wanted = CLIENT_SSL | CLIENT_PROTOCOL_41;
    match sides.client.get(5) {
        Some(flags) if flags & wanted != wanted => Turn::Never,
        Some(_) if sides.client.len() >= SSL_REQUEST => Turn::At(SSL_REQUEST, 4 + greeting.len()),
        _ => Turn::Later,
    }
}

/// X.224 connection request with a negotiation request -> connection confirm that selects TLS, with
/// or without CredSSP inside.
pub(super) fn rdp(sides: Sides<'_>) -> Turn {
    const CONNECTION_REQUEST: u8 = 0xe0;
    const CONNECTION_CONFIRM: u8 = 0xd0;
    const NEGOTIATION_RESPONSE: u8 = 2;
    let (request, confirm) =
        match (tpkt(sides.client, CONNECTION_REQUEST), tpkt(sides.server, CONNECTION_CONFIRM)) {
            (Err(Turn::Never), _) | (_, Err(Turn::Never)) => return Turn::Never,
            (Ok(request), confirm) => (request, confirm),
            _ => return Turn::Later,
        };
    // A cookie or routing token line may come before RDP_NEG_REQ: type 1, flags, length 8.
    let data = request.get(11..).unwrap_or_default();
    let line = memmem::find(data, b"\r\n").map_or(0, |at| at + 2);
    if ![data, &data[line..]].iter().any(|data| matches!(data, [1, _, 8, 0, ..])) {
        return Turn::Never;
    }
    let Ok(confirm) = confirm else {
        return Turn::Later;
    };
    match confirm.get(11..) {
        // PROTOCOL_RDP, 0, keeps RDP's own encryption; the others are TLS.
        Some([NEGOTIATION_RESPONSE, _, 8, 0, 1 | 2 | 4 | 8, 0, 0, 0]) => {
            Turn::At(request.len(), confirm.len())
        }
        _ => Turn::Never,
    }
}

/// A TPKT packet (RFC 1006 section 6) with an X.224 unit of this type.
fn tpkt(bytes: &[u8], unit: u8) -> Result<&[u8], Turn> {
    const SHORTEST: usize = 11;
    let expected = |at: usize, wanted: u8| bytes.get(at).is_none_or(|&b| b == wanted);
    if !expected(0, 3) || !expected(1, 0) || !expected(5, unit) {
        return Err(Turn::Never);
    }
    let &[_, _, high, low, ..] = bytes else {
        return Err(Turn::Later);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    // The length indicator counts the unit without itself.
    let indicator = bytes.get(4).is_none_or(|&li| usize::from(li) + 5 == len);
    if len < SHORTEST || !indicator {
        return Err(Turn::Never);
    }
    bytes.get(..len).ok_or(Turn::Later)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::extract::{
        Probe,
        starttls::{Protocol, StartTls, starttls},
    };

    const LDAP_REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    const LDAP_SUCCESS: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
    const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
    const RDP_REQUEST: &[u8] =
        b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=user1\r\n\x01\0\x08\0\x03\0\0\0";
    const RDP_CONFIRM: &[u8] = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x02\0\0\0";

    fn mysql_greeting() -> Vec<u8> {
        let mut body = b"\x0a8.0.36\0\x08\0\0\0saltsalt\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
        body.extend([0; 10]);
        body.extend(b"saltsaltsalt\0caching_sha2_password\0");
        [&[body.len() as u8, 0, 0, 0], &body[..]].concat()
    }

    fn mysql_ssl_request() -> Vec<u8> {
        [&b"\x20\0\0\x01\x85\xae\xff\x19\0\0\0\x01\xff"[..], &[0; 23]].concat()
    }

    fn dialogues() -> Vec<(Protocol, Vec<u8>, Vec<u8>)> {
        vec![
            (Protocol::Ldap, LDAP_REQUEST.to_vec(), LDAP_SUCCESS.to_vec()),
            (Protocol::Postgres, SSL_REQUEST.to_vec(), b"S".to_vec()),
            (Protocol::Postgres, [GSS_REQUEST, SSL_REQUEST].concat(), b"NS".to_vec()),
            (Protocol::Mysql, mysql_ssl_request(), mysql_greeting()),
            (Protocol::Rdp, RDP_REQUEST.to_vec(), RDP_CONFIRM.to_vec()),
        ]
    }

    #[test]
    fn finds_where_tls_begins() {
        for (protocol, client, server) in dialogues() {
            let expected = Probe::Found(StartTls {
                protocol,
                client_offset: client.len(),
                server_offset: server.len(),
            });
            assert_eq!(starttls(&client, &server), expected);
            let longer = starttls(
                &[&client[..], b"\x16\x03\x01"].concat(),
                &[&server[..], b"\x16\x03\x03"].concat(),
            );
            assert_eq!(longer, expected);
        }
    }

    #[test]
    fn a_cut_dialogue_asks_for_more() {
        for (protocol, client, server) in dialogues() {
            for c in 0..client.len() {
                // What a server says before the whole request is there is nonsense, save for MySQL.
                let s = if protocol == Protocol::Mysql { server.len() } else { 0 };
                let probe = starttls(&client[..c], &server[..s]);
                assert_eq!(probe, Probe::More(c + s + 1), "{protocol:?} {c}");
            }
            for s in 0..server.len() {
                let probe = starttls(&client, &server[..s]);
                assert_eq!(probe, Probe::More(client.len() + s + 1), "{protocol:?} {s}");
            }
        }
    }

    #[test]
    fn refusals_and_strangers_are_not() {
        let mut no_ssl = mysql_greeting();
        no_ssl[4 + 8 + 13 + 1] &= !0x08;
        let mut ldap_refused = LDAP_SUCCESS.to_vec();
        ldap_refused[9] = 2;
        let mut rdp_plain = RDP_CONFIRM.to_vec();
        rdp_plain[15] = 0;
        for (client, server) in [
            (SSL_REQUEST, &b"N"[..]),
            (SSL_REQUEST, b"E"),
            (GSS_REQUEST, b"G"),
            (b"\0\0\0\x54\0\x03\0\0user\0", b""),
            (&mysql_ssl_request(), &no_ssl),
            (b"\x54\0\0\x01\x85\xa2\xff\x19", &mysql_greeting()),
            (LDAP_REQUEST, &ldap_refused),
            (b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0", b""),
            (RDP_REQUEST, &rdp_plain),
            (b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02", b""),
        ] {
            assert_eq!(starttls(client, server), Probe::Not, "{client:?} {server:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(
            which in 0usize..5,
            client_at: u16, server_at: u16, client_bits: u8, server_bits: u8,
            client_tail: Vec<u8>, server_tail: Vec<u8>,
        ) {
            let (_, mut client, mut server) = dialogues().swap_remove(which);
            let at = usize::from(client_at) % client.len();
            client[at] ^= client_bits;
            let at = usize::from(server_at) % server.len();
            server[at] ^= server_bits;
            for (client, server) in [
                (&client[..], &server[..]),
                (&client_tail, &server),
                (&client, &server_tail),
                (&client_tail, &server_tail),
            ] {
                match starttls(client, server) {
                    Probe::Found(turn) => prop_assert!(
                        turn.client_offset <= client.len() && turn.server_offset <= server.len()
                    ),
                    Probe::More(len) => prop_assert!(len > client.len() + server.len()),
                    Probe::Not => {}
                }
            }
        }
    }
}
