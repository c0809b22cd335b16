use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Body, IcmpError, Packet, Quoted, Transport, Undecoded,
    headers::{self, Extension},
    ip::{self, MAX_EXTENSIONS, protocol},
    span::{Span, be16_at},
    walk::{Head, Walk},
};

/// An ICMP (RFC 792) or ICMPv6 (RFC 4443) message, by the packet's family.
///
/// An error is given with what it quotes; anything else, and an error whose quotation has no
/// ports, by the protocol's number alone.
pub(super) fn message(span: Span<'_>, head: Head) -> Walk<'_> {
    let v6 = head.src.is_ipv6();
    let (header, rest) = span.take::<8>().ok_or(Undecoded::TruncatedTransport)?;
    let (kind, code) = (header[0], header[1]);
    let quoted = match (v6, kind) {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        (false, 3 | 4 | 5 | 11 | 12) => quoted_v4(rest),
        // Unreachable, packet too big, time exceeded, parameter problem.
        (true, 1..=4) => quoted_v6(rest),
        _ => None,
    };
    let protocol = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
    let body = match quoted {
        None => Body::Other(protocol),
        Some(quoted) => Body::IcmpError(IcmpError { v6, kind, code, quoted }),
    };
    Ok(Packet { body, ..ip::other(protocol, head) })
}

fn quoted_v4(span: Span<'_>) -> Option<Quoted> {
    let header = headers::ipv4(span.here).ok()?;
    if header.fragment.is_some_and(|f| f.offset != 0) {
        return None;
    }
    let (src, dst) = (Ipv4Addr::from(header.src), Ipv4Addr::from(header.dst));
    let rest = span.skip(header.len)?;
    ports(header.protocol, rest, IpAddr::V4(src), IpAddr::V4(dst))
}

fn quoted_v6(span: Span<'_>) -> Option<Quoted> {
    let (header, rest) = span.take::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let src = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
    let dst = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
    ports(header[6], rest, IpAddr::V6(src), IpAddr::V6(dst))
}

/// The quoted packet's addressing. `None` when it has no ports: another protocol, a fragment that
/// isn't the first, or cut too early.
fn ports(mut protocol: u8, mut span: Span<'_>, src: IpAddr, dst: IpAddr) -> Option<Quoted> {
    for _ in 0..MAX_EXTENSIONS {
        let transport = match protocol {
            protocol::TCP => Transport::Tcp,
            protocol::UDP => Transport::Udp,
            _ => {
                (protocol, span) = match headers::extension(protocol, span, src.is_ipv6()).ok()? {
                    Extension::Next(next, rest) => (next, rest),
                    Extension::Fragment(place, next, rest) if place.offset == 0 => (next, rest),
                    Extension::Fragment(..) | Extension::None => return None,
                };
                continue;
            }
        };
        return Some(Quoted {
            transport,
            src,
            src_port: be16_at(span.here, 0)?,
            dst,
            dst_port: be16_at(span.here, 2)?,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::walk::Path;

    const V4: Head = Head {
        src: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dst: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ident: 0,
        path: Path::OUTSIDE,
    };
    const V6: Head = Head {
        src: IpAddr::V6(Ipv6Addr::LOCALHOST),
        dst: IpAddr::V6(Ipv6Addr::LOCALHOST),
        ident: 0,
        path: Path::OUTSIDE,
    };

    fn body(bytes: &[u8], head: Head) -> Body<'_> {
        message(Span::whole(bytes), head).unwrap().body
    }

    #[test]
    fn reads_the_quoted_addressing() {
        // Administratively prohibited; a quoted TCP packet with options, cut after the ports.
        let mut error = vec![3, 13, 0, 0, 0, 0, 0, 0];
        error.extend([0x46, 0, 0, 60, 0, 1, 0, 0, 1, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9]);
        error.extend([1, 1, 1, 0, 0x9c, 0x40, 0x01, 0xbb]);
        let Body::IcmpError(read) = body(&error, V4) else {
            panic!();
        };
        assert_eq!((read.v6, read.kind, read.code), (false, 3, 13));
        assert!(read.is_unreachable());
        let quoted = read.quoted;
        assert_eq!((quoted.src_port, quoted.dst_port), (40_000, 443));
        assert_eq!(quoted.dst, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)));
        assert_eq!(quoted.transport, Transport::Tcp);
        // Without all ports; not the first fragment; an echo.
        assert_eq!(body(&error[..35], V4), Body::Other(1));
        error[15] = 9;
        assert_eq!(body(&error, V4), Body::Other(1));
        (error[15], error[0]) = (0, 8);
        assert_eq!(body(&error, V4), Body::Other(1));
        assert!(message(Span::whole(&error[..7]), V4).is_err());
    }

    #[test]
    fn reads_over_quoted_extension_headers() {
        let mut error = vec![1, 1, 0, 0, 0, 0, 0, 0];
        error.extend([0x60, 0, 0, 0, 0, 40, 0, 1]);
        error.extend([0x20; 32]);
        // Hop-by-hop, a first fragment, UDP.
        error.extend([44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 7]);
        error.extend([0, 5, 0, 53, 0, 10, 0, 0]);
        let Body::IcmpError(read) = body(&error, V6) else {
            panic!();
        };
        assert!(read.v6 && read.is_unreachable());
        assert_eq!((read.quoted.src_port, read.quoted.dst_port), (5, 53));
        assert_eq!(read.quoted.transport, Transport::Udp);
        // The second one.
        error[8 + 40 + 8 + 3] = 8;
        assert_eq!(body(&error, V6), Body::Other(58));
    }
}
