use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Body, Packet, Tunnel, Undecoded,
    fragment::Fragment,
    headers::{self, Extension, FragmentHeader, Ipv4Header},
    icmp, link,
    span::{Span, be16},
    transport, tunnel,
    walk::{Head, Path, Walk},
};

/// An IP packet of the version that its first byte names.
pub(super) fn any(span: Span<'_>, path: Path) -> Walk<'_> {
    match span.here.first().map(|b| b >> 4) {
        Some(4) => v4(span, path),
        Some(6) => v6(span, path),
        Some(_) => Err(Undecoded::BadIpHeader.into()),
        None => Err(Undecoded::TruncatedIp.into()),
    }
}

/// An IPv4 packet (RFC 791).
#[inline]
pub(super) fn v4(span: Span<'_>, path: Path) -> Walk<'_> {
    let header = match plain_v4(span.here) {
        Some(header) => header,
        None => headers::ipv4(span.here)?,
    };
    // A total length of 0 is left by segmentation offload: all that was captured is the packet.
    let total_len = match header.total_len {
        0 => span.len,
        n if n < header.len => return Err(Undecoded::BadIpHeader.into()),
        n => n,
    };
    let rest = span
        .claim(total_len)
        .skip(header.len)
        .ok_or(Undecoded::TruncatedIp)?;
    let head = Head {
        src: IpAddr::V4(Ipv4Addr::from(header.src)),
        dst: IpAddr::V4(Ipv4Addr::from(header.dst)),
        path,
    };
    match header.fragment {
        None => payload(header.protocol, rest, head),
        Some(place) => fragment(place, header.protocol, rest, head),
    }
}

/// An IPv6 packet (RFC 8200).
#[inline]
pub(super) fn v6(span: Span<'_>, path: Path) -> Walk<'_> {
    let (header, rest) = span.take::<40>().ok_or(Undecoded::TruncatedIp)?;
    if header[0] >> 4 != 6 {
        return Err(Undecoded::BadIpHeader.into());
    }
    // Length 0 is a jumbogram (RFC 2675) or left by segmentation offload.
    let rest = match be16(header[4], header[5]) {
        0 => rest,
        n => rest.claim(n.into()),
    };
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let head = Head {
        src: address(8),
        dst: address(24),
        path,
    };
    payload(header[6], rest, head)
}

/// What an IP packet carries, through its extension headers.
pub(super) fn payload<'a>(protocol: u8, span: Span<'a>, head: Head) -> Walk<'a> {
    match protocol {
        protocol::TCP => transport::tcp(span, head),
        protocol::UDP => transport::udp(span, head),
        _ => rare_payload(protocol, span, head),
    }
}

/// Protocol numbers (IANA "Assigned Internet Protocol Numbers").
pub(super) mod protocol {
    pub(in super::super) const ICMP: u8 = 1;
    pub(in super::super) const IPV4: u8 = 4;
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const IPV6: u8 = 41;
    pub(in super::super) const GRE: u8 = 47;
    pub(in super::super) const ESP: u8 = 50;
    pub(in super::super) const ICMPV6: u8 = 58;
    pub(in super::super) const ETHERNET: u8 = 143;
    pub(in super::super) const MPLS: u8 = 137;
}

/// Extension headers in a row that are read over. Nodes limit them to 8 (RFC 8504 section 5.3).
pub(super) const MAX_EXTENSIONS: usize = 16;

/// An IPv4 header without options that isn't a fragment's.
#[inline(always)]
fn plain_v4(bytes: &[u8]) -> Option<Ipv4Header> {
    let h = bytes.first_chunk::<20>()?;
    let fragmented = be16(h[6], h[7]) & 0x3fff != 0;
    (h[0] == 0x45 && !fragmented).then_some(Ipv4Header {
        len: 20,
        total_len: be16(h[2], h[3]).into(),
        protocol: h[9],
        src: [h[12], h[13], h[14], h[15]],
        dst: [h[16], h[17], h[18], h[19]],
        fragment: None,
    })
}

fn rare_payload<'a>(mut protocol: u8, mut span: Span<'a>, head: Head) -> Walk<'a> {
    let is_v6 = head.src.is_ipv6();
    for _ in 0..MAX_EXTENSIONS {
        match protocol {
            protocol::TCP => return transport::tcp(span, head),
            protocol::UDP => return transport::udp(span, head),
            protocol::ICMP if !is_v6 => return icmp::message(span, head),
            protocol::ICMPV6 if is_v6 => return icmp::message(span, head),
            protocol::IPV4 => return v4(span, head.path.enter(Tunnel::IpInIp)?),
            protocol::IPV6 => return v6(span, head.path.enter(Tunnel::IpInIp)?),
            // SRv6 carries Ethernet so (RFC 8986 section 4.9).
            protocol::ETHERNET => return link::ethernet(span, head.path.enter(Tunnel::IpInIp)?),
            protocol::MPLS => return tunnel::mpls(span, head.path),
            protocol::GRE => return tunnel::gre(span, head),
            protocol::ESP => return Err(Undecoded::Encrypted.into()),
            _ => {}
        }
        match headers::extension(protocol, span, is_v6)? {
            Extension::Next(next, rest) => (protocol, span) = (next, rest),
            Extension::Fragment(place, next, rest) => return fragment(place, next, rest, head),
            Extension::None => return Ok(other(protocol, head)),
        }
    }
    Err(Undecoded::TooManyHeaders.into())
}

#[cold]
fn fragment<'a>(place: FragmentHeader, protocol: u8, data: Span<'a>, head: Head) -> Walk<'a> {
    Err(super::Stop::Fragment(Fragment {
        head,
        protocol,
        place,
        data,
    }))
}

/// The packet of a protocol that isn't read further.
pub(super) fn other<'a>(protocol: u8, head: Head) -> Packet<'a> {
    Packet {
        src: head.src,
        dst: head.dst,
        tunnel: head.path.tunnel,
        body: Body::Other(protocol),
    }
}
