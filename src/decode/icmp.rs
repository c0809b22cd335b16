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
        Some(quoted) => Body::IcmpError(IcmpError {
            v6,
            kind,
            code,
            quoted,
        }),
    };
    Ok(Packet {
        body,
        ..ip::other(protocol, head)
    })
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
