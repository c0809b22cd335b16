use super::{
    Addr, Body, Packet, Tcp, TcpFlags, Udp, Undecoded,
    span::{Span, be16},
    tunnel,
    walk::{Head, Stop, Walk},
};

/// A TCP segment (RFC 9293 section 3.1). Options may be cut off; the first 20 bytes may not.
#[inline(always)]
pub(super) fn tcp(span: Span<'_>, head: Head) -> Walk<'_> {
    let Some(h) = span.here.first_chunk::<20>() else {
        return Err(Undecoded::TruncatedTransport.into());
    };
    let header_len = usize::from(h[12] >> 4) * 4;
    if header_len < 20 || header_len > span.len {
        return Err(Undecoded::BadTransportHeader.into());
    }
    let tcp = Tcp {
        src_port: be16(h[0], h[1]),
        dst_port: be16(h[2], h[3]),
        seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        flags: TcpFlags(h[13]),
        payload_len: wire_len(span.len - header_len),
        payload: span.here.get(header_len..).unwrap_or_default(),
    };
    Ok(Packet {
        src: Addr::new(head.src),
        dst: Addr::new(head.dst),
        ident: head.ident,
        tunnel: head.path.tunnel,
        body: Body::Tcp(tcp),
    })
}

/// A UDP datagram (RFC 768), or what the tunnel that it is part of carries.
#[inline(always)]
pub(super) fn udp(span: Span<'_>, head: Head) -> Walk<'_> {
    let (src_port, dst_port, rest) = udp_header(span)?;
    match tunnel::in_udp(src_port, dst_port, rest, head.path) {
        Some(Ok(inner)) => return Ok(inner),
        Some(Err(stop @ (Stop::Fragment(_) | Stop::Compressed(_)))) => return Err(stop),
        Some(Err(Stop::Undecoded(_))) | None => {}
    }
    Ok(datagram(src_port, dst_port, rest, head))
}

/// A UDP datagram; `None` when it may be part of a tunnel, or is wrong.
#[inline(always)]
pub(super) fn plain_udp(span: Span<'_>, head: Head) -> Option<Packet<'_>> {
    let (src_port, dst_port, rest) = udp_header(span).ok()?;
    (!tunnel::may_be_in_udp(src_port, dst_port)).then(|| datagram(src_port, dst_port, rest, head))
}

/// Source port, destination port and payload.
#[inline(always)]
fn udp_header(span: Span<'_>) -> Result<(u16, u16, Span<'_>), Undecoded> {
    let (h, rest) = span.take::<8>().ok_or(Undecoded::TruncatedTransport)?;
    // The field may say less than the IP header leaves, and 0 when it can't say it (RFC 2675).
    let rest = match usize::from(be16(h[4], h[5])) {
        0 => rest,
        n if n < 8 => return Err(Undecoded::BadTransportHeader),
        n => rest.claim((n - 8).min(rest.len)),
    };
    Ok((be16(h[0], h[1]), be16(h[2], h[3]), rest))
}

#[inline(always)]
fn datagram<'a>(src_port: u16, dst_port: u16, rest: Span<'a>, head: Head) -> Packet<'a> {
    let udp = Udp { src_port, dst_port, payload_len: wire_len(rest.len), payload: rest.here };
    Packet {
        src: Addr::new(head.src),
        dst: Addr::new(head.dst),
        ident: head.ident,
        tunnel: head.path.tunnel,
        body: Body::Udp(udp),
    }
}

fn wire_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::walk::Path;
    use std::net::{IpAddr, Ipv4Addr};

    const HEAD: Head = Head {
        src: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dst: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ident: 0,
        path: Path::OUTSIDE,
    };

    /// 443 to 40000, sequence number 1, acknowledging 2, SYN and ACK, four bytes of options.
    const TCP: [u8; 26] = [
        0x01, 0xbb, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x12, 0xff, 0xff, 0, 0, 0, 0, 2, 4,
        5, 0xb4, b'h', b'i',
    ];

    fn segment(span: Span<'_>) -> Result<Tcp<'_>, Undecoded> {
        match tcp(span, HEAD) {
            Ok(Packet { body: Body::Tcp(tcp), .. }) => Ok(tcp),
            Err(Stop::Undecoded(reason)) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_a_segment() {
        let tcp = segment(Span::whole(&TCP)).unwrap();
        assert_eq!((tcp.src_port, tcp.dst_port), (443, 40_000));
        assert_eq!((tcp.seq, tcp.ack), (1, 2));
        assert!(tcp.flags.has(TcpFlags::SYN) && tcp.flags.has(TcpFlags::ACK));
        assert_eq!((tcp.payload, tcp.payload_len), (&b"hi"[..], 2));
    }

    #[test]
    fn options_may_be_cut_but_no_more() {
        let tcp = segment(Span::new(&TCP[..21], 26)).unwrap();
        assert_eq!((tcp.payload, tcp.payload_len), (&b""[..], 2));
        assert_eq!(segment(Span::new(&TCP[..19], 26)), Err(Undecoded::TruncatedTransport));
        // A header that is longer than the packet, or shorter than a header.
        assert_eq!(segment(Span::whole(&TCP[..23])), Err(Undecoded::BadTransportHeader));
        let mut short = TCP;
        short[12] = 0x40;
        assert_eq!(segment(Span::whole(&short)), Err(Undecoded::BadTransportHeader));
    }

    #[test]
    fn a_tunnel_port_proves_nothing() {
        let mut datagram = vec![0x9c, 0x40, 0x12, 0xb5, 0, 0, 0, 0];
        datagram.extend([8, 0, 0, 0, 0, 0, 1, 0]);
        datagram.extend(b"no frame at all");
        let packet = udp(Span::whole(&datagram), HEAD).unwrap();
        assert_eq!(packet.tunnel, None);
        assert!(matches!(packet.body, Body::Udp(Udp { dst_port: 4789, payload_len: 23, .. })));
        datagram[5] = 7;
        assert!(udp(Span::whole(&datagram), HEAD).is_err());
    }
}
