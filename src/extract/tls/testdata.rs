//! Bytes for tests. The streams were recorded on loopback from OpenSSL 3.0.19 and curl 7.88 and
//! end soon after the first encrypted record.

use super::wire::{HEADER, extension};

macro_rules! stream {
    ($name:literal) => {
        include_bytes!(concat!("testdata/", $name)).as_slice()
    };
}

/// TLS 1.2 with certificates and ALPN, full handshake.
pub(super) const TLS12_CLIENT: &[u8] = stream!("tls12.client");
pub(super) const TLS12_SERVER: &[u8] = stream!("tls12.server");
/// TLS 1.2, the certificate over three records.
pub(super) const FRAG12_CLIENT: &[u8] = stream!("frag12.client");
pub(super) const FRAG12_SERVER: &[u8] = stream!("frag12.server");
/// TLS 1.2, resumed by a ticket.
pub(super) const RESUMED12_CLIENT: &[u8] = stream!("resumed12.client");
pub(super) const RESUMED12_SERVER: &[u8] = stream!("resumed12.server");
/// TLS 1.2, the client refuses the certificate.
pub(super) const BADCA12_CLIENT: &[u8] = stream!("badca12.client");
/// TLS 1.3.
pub(super) const TLS13_CLIENT: &[u8] = stream!("tls13.client");
pub(super) const TLS13_SERVER: &[u8] = stream!("tls13.server");
/// TLS 1.3, the client refuses the certificate. OpenSSL's alert is in clear.
pub(super) const BADCA13_CLIENT: &[u8] = stream!("badca13.client");
/// TLS 1.3 with HelloRetryRequest.
pub(super) const HRR_CLIENT: &[u8] = stream!("hrr.client");
pub(super) const HRR_SERVER: &[u8] = stream!("hrr.server");
/// A server of TLS 1.3 alone refuses TLS 1.2.
pub(super) const ALERT12_SERVER: &[u8] = stream!("alert12.server");
/// A web server without TLS: bare HTML, as in HTTP/0.9.
pub(super) const PLAIN_SERVER: &[u8] = stream!("plain.server");

/// All streams that begin with a ClientHello.
pub(super) const CLIENTS: [&[u8]; 7] = [
    TLS12_CLIENT,
    FRAG12_CLIENT,
    RESUMED12_CLIENT,
    BADCA12_CLIENT,
    TLS13_CLIENT,
    BADCA13_CLIENT,
    HRR_CLIENT,
];

/// All streams of servers.
pub(super) const SERVERS: [&[u8]; 7] = [
    TLS12_SERVER,
    FRAG12_SERVER,
    RESUMED12_SERVER,
    TLS13_SERVER,
    HRR_SERVER,
    ALERT12_SERVER,
    PLAIN_SERVER,
];

/// An extension.
pub(super) fn ext(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

/// A server_name extension with these entries.
pub(super) fn server_name(entries: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> = entries
        .iter()
        .flat_map(|(kind, name)| [&[*kind][..], &(name.len() as u16).to_be_bytes(), name].concat())
        .collect();
    let data = [&(list.len() as u16).to_be_bytes()[..], &list].concat();
    ext(extension::SERVER_NAME, &data)
}

/// A ClientHello message of TLS 1.2 with these extensions; `None` leaves the block out.
pub(super) fn hello(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 4, 0x0a, 0x0a, 0x13, 0x01, 1, 0]);
    if let Some(block) = extensions {
        body.extend((block.len() as u16).to_be_bytes());
        body.extend(block);
    }
    let len = (body.len() as u32).to_be_bytes();
    [&[1, len[1], len[2], len[3]][..], &body].concat()
}

/// Payload as records of at most `sizes` bytes each, the last size for the rest.
pub(super) fn records(kind: u8, mut payload: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut sizes = sizes.iter().copied();
    let mut size = 1 << 14;
    let mut out = Vec::new();
    while !payload.is_empty() {
        size = sizes.next().unwrap_or(size.max(1));
        let (part, rest) = payload.split_at(size.min(payload.len()));
        out.extend([kind, 3, 1]);
        out.extend((part.len() as u16).to_be_bytes());
        out.extend(part);
        payload = rest;
    }
    out
}

/// The payload of a stream's first record.
pub(super) fn first_payload(stream: &[u8]) -> &[u8] {
    let len = usize::from(u16::from_be_bytes([stream[3], stream[4]]));
    &stream[HEADER..HEADER + len]
}
