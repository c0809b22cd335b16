//! HAProxy's PROXY protocol, versions 1 and 2: a load balancer's note on whose connection it
//! passes on, before the first byte of the connection itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Probe;
use crate::base::HostName;

/// A PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes to skip: the connection's own first byte is at this offset.
    pub len: usize,
    /// The connection that is passed on: its client and the address that the client connected to.
    /// `None` for health checks and for what isn't IP.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The name that the client asked for (version 2's PP2_TYPE_AUTHORITY), usually its SNI.
    pub authority: Option<HostName>,
}

/// Reads the PROXY header at the start of `prefix`.
pub fn proxy_header(prefix: &[u8]) -> Probe<ProxyHeader> {
    let starts = |with: &[u8]| prefix.starts_with(with) || with.starts_with(prefix);
    match prefix.first() {
        None | Some(b'\r') if starts(V2_SIGNATURE) => version_2(prefix),
        Some(b'P') if starts(b"PROXY ") => version_1(prefix),
        _ => Probe::Not,
    }
}

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest line of version 1, its line end included (section 2.1 of the specification).
const V1_LONGEST: usize = 107;

fn version_1(prefix: &[u8]) -> Probe<ProxyHeader> {
    let line = &prefix[..prefix.len().min(V1_LONGEST)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        let viable = line.len() < V1_LONGEST && line.iter().all(|&b| b == b'\r' || is_print(b));
        return if viable { Probe::More(prefix.len() + 1) } else { Probe::Not };
    };
    let found = |addresses| Probe::Found(ProxyHeader { len: end + 1, addresses, authority: None });
    let Some(line) = line[..end].strip_suffix(b"\r") else {
        return Probe::Not;
    };
    let Ok(line) = std::str::from_utf8(line) else {
        return Probe::Not;
    };
    let mut words = line.split(' ').skip(1);
    match words.next() {
        Some("UNKNOWN") => found(None),
        Some(family @ ("TCP4" | "TCP6")) => match v1_addresses(words, family == "TCP6") {
            Some(addresses) => found(Some(addresses)),
            None => Probe::Not,
        },
        _ => Probe::Not,
    }
}

fn is_print(b: u8) -> bool {
    matches!(b, b' '..=b'~')
}

fn v1_addresses<'a>(
    mut words: impl Iterator<Item = &'a str>,
    v6: bool,
) -> Option<(SocketAddr, SocketAddr)> {
    let mut ip = || {
        let ip: IpAddr = words.next()?.parse().ok()?;
        (ip.is_ipv6() == v6).then_some(ip)
    };
    let (src, dst) = (ip()?, ip()?);
    let (src_port, dst_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let ended = words.next().is_none();
    ended.then_some((SocketAddr::new(src, src_port), SocketAddr::new(dst, dst_port)))
}

/// Signature, version and command, family, length, addresses, TLVs.
fn version_2(prefix: &[u8]) -> Probe<ProxyHeader> {
    const FIXED: usize = 16;
    let Some(&command) = prefix.get(12) else {
        return Probe::More(FIXED);
    };
    // Version 2; LOCAL or PROXY.
    if !matches!(command, 0x20 | 0x21) {
        return Probe::Not;
    }
    let Some(&[family, len_high, len_low]) = prefix.get(13..FIXED) else {
        return Probe::More(FIXED);
    };
    let len = FIXED + usize::from(u16::from_be_bytes([len_high, len_low]));
    let Some(body) = prefix.get(FIXED..len) else {
        return Probe::More(len);
    };
    // Families: IPv4, IPv6, UNIX sockets over stream or datagram; anything else is unspecified.
    let addresses_len = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let Some((addresses, tlvs)) = body.split_at_checked(addresses_len) else {
        return Probe::Not;
    };
    Probe::Found(ProxyHeader {
        len,
        addresses: v2_addresses(addresses).filter(|_| command == 0x21),
        authority: authority(tlvs),
    })
}

fn v2_addresses(raw: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    fn pair<const N: usize>(raw: &[u8]) -> Option<(SocketAddr, SocketAddr)>
    where
        [u8; N]: Into<IpAddr>,
    {
        let ip = |at: usize| Some(<[u8; N]>::try_from(raw.get(at..at + N)?).ok()?.into());
        let port = |at: usize| Some(u16::from_be_bytes(raw.get(at..at + 2)?.try_into().ok()?));
        Some((SocketAddr::new(ip(0)?, port(2 * N)?), SocketAddr::new(ip(N)?, port(2 * N + 2)?)))
    }
    const V4: usize = size_of::<Ipv4Addr>();
    const V6: usize = size_of::<Ipv6Addr>();
    match raw.len() {
        12 => pair::<V4>(raw),
        36 => pair::<V6>(raw),
        _ => None,
    }
}

/// The value of PP2_TYPE_AUTHORITY in a list of TLVs.
fn authority(mut tlvs: &[u8]) -> Option<HostName> {
    while let [kind, high, low, rest @ ..] = tlvs {
        let (value, next) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *kind == 0x02 {
            return HostName::parse(value);
        }
        tlvs = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [V2_SIGNATURE, &[command, family], &len, body].concat()
    }

    fn found(prefix: &[u8]) -> ProxyHeader {
        match proxy_header(prefix) {
            Probe::Found(header) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn version_1_names_both_ends() {
        let header = found(&[V1, b"GET / HTTP/1.1\r\n"].concat());
        assert_eq!(header.len, V1.len());
        let (src, dst) = header.addresses.unwrap();
        assert_eq!(src.to_string(), "192.0.2.1:56324");
        assert_eq!(dst.to_string(), "198.51.100.7:443");
        let v6 = found(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
        assert_eq!(v6.addresses.unwrap().1.to_string(), "[2001:db8::2]:65535");
        assert_eq!(found(b"PROXY UNKNOWN\r\n").addresses, None);
        assert_eq!(found(b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n").len, 31);
    }

    #[test]
    fn version_2_names_both_ends_and_the_authority() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];
        let tlvs = b"\xee\0\x03xyz\x02\0\x0bexample.com";
        let header = found(&v2(0x21, 0x11, &[&v4[..], tlvs].concat()));
        assert_eq!(header.addresses.unwrap().0.to_string(), "192.0.2.1:56324");
        assert_eq!(header.authority.as_deref(), Some("example.com"));
        let v6 = [[0u8; 16], [1; 16]].concat();
        let header = found(&v2(0x21, 0x21, &[&v6[..], &[0, 1, 0, 2]].concat()));
        assert_eq!(header.addresses.unwrap().1.port(), 2);
        assert_eq!(found(&v2(0x20, 0, b"")).addresses, None);
        assert_eq!(found(&v2(0x20, 0x11, &v4)).addresses, None);
    }

    #[test]
    fn everything_else_is_not() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
            b"PROXY TCP4 \xff",
            b"PROXYING",
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 4]),
            &[b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        ] {
            assert_eq!(proxy_header(bytes), Probe::Not, "{bytes:?}");
        }
    }

    #[test]
    fn a_cut_header_asks_for_more() {
        let long = v2(0x21, 0x11, &[1; 40]);
        for whole in [V1, &long] {
            for cut in 0..whole.len() {
                let probe = proxy_header(&whole[..cut]);
                assert!(matches!(probe, Probe::More(n) if n > cut && n <= whole.len()));
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, v1: bool) {
            let start = if v1 { b"PROXY " } else { V2_SIGNATURE };
            for bytes in [&bytes[..], &[start, &bytes].concat()] {
                match proxy_header(bytes) {
                    Probe::Found(header) => prop_assert!(header.len <= bytes.len()),
                    Probe::More(len) => prop_assert!(len > bytes.len()),
                    Probe::Not => {}
                }
            }
        }
    }
}
