use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Addr, Body, Packet, Tunnel, Undecoded,
    fragment::Fragment,
    headers::{self, Extension, FragmentHeader},
    icmp, link,
    span::{Span, be16},
    transport, tunnel,
    walk::{Compressed, Head, Path, Stop, Walk},
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
    if let Some((protocol, rest, head)) = plain_v4(span, path) {
        return payload(protocol, rest, head);
    }
    let header = headers::ipv4(span.here)?;
    // A total length of 0 is left by segmentation offload: all that was captured is the packet.
    let total_len = match header.total_len {
        0 => span.len,
        n if n < header.len => return Err(Undecoded::BadIpHeader.into()),
        n => n,
    };
    let rest = span.claim(total_len).skip(header.len).ok_or(Undecoded::TruncatedIp)?;
    let head = Head {
        src: IpAddr::V4(Ipv4Addr::from(header.src)),
        dst: IpAddr::V4(Ipv4Addr::from(header.dst)),
        ident: header.ident,
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
    let (protocol, rest, head) = header_v6(span, path)?;
    payload(protocol, rest, head)
}

/// The payload's protocol and the payload of an IPv4 packet that isn't a fragment and has neither
/// options nor an unusual length.
#[inline(always)]
pub(super) fn plain_v4(span: Span<'_>, path: Path) -> Option<(u8, Span<'_>, Head)> {
    let h = span.here.first_chunk::<20>()?;
    let total_len = usize::from(be16(h[2], h[3]));
    let fragmented = be16(h[6], h[7]) & 0x3fff != 0;
    if h[0] != 0x45 || fragmented || total_len < 20 {
        return None;
    }
    let address = |at: usize| IpAddr::from([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let head = Head { src: address(12), dst: address(16), ident: be16(h[4], h[5]), path };
    Some((h[9], span.claim(total_len).skip(20)?, head))
}

/// What follows an IPv6 header, and its protocol.
#[inline(always)]
pub(super) fn header_v6(span: Span<'_>, path: Path) -> Result<(u8, Span<'_>, Head), Undecoded> {
    let (header, rest) = span.take::<40>().ok_or(Undecoded::TruncatedIp)?;
    if header[0] >> 4 != 6 {
        return Err(Undecoded::BadIpHeader);
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
    let head = Head { src: address(8), dst: address(24), ident: 0, path };
    Ok((header[6], rest, head))
}

/// What an IP packet carries, through its extension headers.
#[inline(always)]
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
    pub(in super::super) const IPCOMP: u8 = 108;
    pub(in super::super) const ETHERNET: u8 = 143;
    pub(in super::super) const MPLS: u8 = 137;
}

/// Extension headers in a row that are read over. Nodes limit them to 8 (RFC 8504 section 5.3).
pub(super) const MAX_EXTENSIONS: usize = 16;

#[inline(never)]
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
            protocol::IPCOMP => return ipcomp(span, head),
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
    Err(Stop::Fragment(Fragment { head, protocol, place, data }))
}

/// IPComp (RFC 3173 section 3). Only DEFLATE is unpacked (RFC 2394).
#[cold]
fn ipcomp(span: Span<'_>, head: Head) -> Walk<'_> {
    const DEFLATE: u16 = 2;
    let (h, rest) = span.take::<4>().ok_or(Undecoded::TruncatedIp)?;
    let cpi = be16(h[2], h[3]);
    // The other numbers below 256 are other algorithms. Those above were agreed on in a negotiation
    // that isn't read, so what they mean shows when it is unpacked.
    if cpi != DEFLATE && cpi < 256 {
        return Err(Undecoded::Encrypted.into());
    }
    if rest.is_cut() {
        return Err(Undecoded::TruncatedIp.into());
    }
    let head = Head { path: head.path.nest()?, ..head };
    Err(Stop::Compressed(Compressed { head, protocol: h[0], data: rest.here }))
}

/// The packet of a protocol that isn't read further.
pub(super) fn other<'a>(protocol: u8, head: Head) -> Packet<'a> {
    Packet {
        src: Addr::new(head.src),
        dst: Addr::new(head.dst),
        ident: head.ident,
        tunnel: head.path.tunnel,
        body: Body::Other(protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Udp;

    /// An IPv4 UDP datagram with the payload `hi` and two bytes of Ethernet padding behind it.
    const V4: [u8; 32] = [
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 53, 0, 10, 0,
        0, b'h', b'i', 0xee, 0xee,
    ];

    fn decode(bytes: &[u8]) -> Result<(Body<'_>, IpAddr), Undecoded> {
        decode_span(Span::whole(bytes))
    }

    fn decode_span(span: Span<'_>) -> Result<(Body<'_>, IpAddr), Undecoded> {
        match any(span, Path::OUTSIDE) {
            Ok(packet) => Ok((packet.body, packet.dst.ip())),
            Err(Stop::Undecoded(reason)) => Err(reason),
            Err(Stop::Fragment(_)) => Err(Undecoded::FragmentHeld),
            Err(Stop::Compressed(_)) => panic!("compressed"),
        }
    }

    fn hi(payload_len: u32, payload: &[u8]) -> Body<'_> {
        Body::Udp(Udp { src_port: 5, dst_port: 53, payload_len, payload })
    }

    #[test]
    fn padding_is_no_payload() {
        let dst = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(decode(&V4), Ok((hi(2, b"hi"), dst)));
        // Neither when UDP says less than IP.
        let mut ip_longer = V4;
        ip_longer[3] = 32;
        assert_eq!(decode(&ip_longer), Ok((hi(2, b"hi"), dst)));
    }

    #[test]
    fn offloaded_and_cut_lengths() {
        let mut offloaded = V4;
        (offloaded[3], offloaded[25]) = (0, 0);
        assert_eq!(decode(&offloaded).unwrap().0, hi(4, b"hi\xee\xee"));
        let cut = Span::new(&V4[..29], 32);
        assert_eq!(decode_span(cut).unwrap().0, hi(2, b"h"));
        for (len, reason) in [
            (19, Undecoded::TruncatedIp),
            (20, Undecoded::TruncatedTransport),
            (27, Undecoded::TruncatedTransport),
        ] {
            assert_eq!(decode(&V4[..len]), Err(reason));
        }
    }

    #[test]
    fn options_are_read_over() {
        let mut options = V4.to_vec();
        (options[0], options[3]) = (0x46, 34);
        options.splice(20..20, [1, 1, 1, 0]);
        assert_eq!(decode(&options).unwrap().0, hi(2, b"hi"));
        options[0] = 0x44;
        assert_eq!(decode(&options), Err(Undecoded::BadIpHeader));
        options[0] = 0x55;
        assert_eq!(decode(&options), Err(Undecoded::BadIpHeader));
        options[0] = 0x4f;
        assert_eq!(decode(&options), Err(Undecoded::TruncatedIp));
    }

    #[test]
    fn extension_headers_are_read_over() {
        let mut v6 = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
        v6.extend([0; 32]);
        // Hop-by-hop, destination options, atomic fragment; UDP.
        v6.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        v6.extend([44, 0, 0, 0, 0, 0, 0, 0]);
        v6.extend([17, 0, 0, 0, 0, 0, 0, 9]);
        v6.extend(&V4[20..30]);
        v6[5] = 34;
        v6.extend([0xee; 6]);
        assert_eq!(decode(&v6).unwrap().0, hi(2, b"hi"));
        // More to come: a fragment.
        v6[59] = 1;
        assert_eq!(decode(&v6), Err(Undecoded::FragmentHeld));
        assert_eq!(decode(&v6[..60]), Err(Undecoded::TruncatedIp));
    }

    #[test]
    fn other_protocols_are_named_or_refused() {
        let mut packet = V4;
        packet[9] = 89;
        assert_eq!(decode(&packet).unwrap().0, Body::Other(89));
        packet[9] = 50;
        assert_eq!(decode(&packet), Err(Undecoded::Encrypted));
        // Extension headers of IPv6 are protocols like others in IPv4.
        packet[9] = 60;
        assert_eq!(decode(&packet).unwrap().0, Body::Other(60));
    }
}
