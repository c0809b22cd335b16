use super::{
    Body, Packet, Tcp, TcpFlags, Udp, Undecoded,
    span::{Span, be16},
    tunnel,
    walk::{Head, Stop, Walk},
};

/// A TCP segment (RFC 9293 section 3.1). Options may be cut off; the first 20 bytes may not.
#[inline]
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
        src: head.src,
        dst: head.dst,
        tunnel: head.path.tunnel,
        body: Body::Tcp(tcp),
    })
}

/// A UDP datagram (RFC 768), or what the tunnel that it is part of carries.
#[inline]
pub(super) fn udp(span: Span<'_>, head: Head) -> Walk<'_> {
    let Some((h, rest)) = span.take::<8>() else {
        return Err(Undecoded::TruncatedTransport.into());
    };
    // The field may say less than the IP header leaves, and 0 when it can't say it (RFC 2675).
    let rest = match usize::from(be16(h[4], h[5])) {
        0 => rest,
        n if n < 8 => return Err(Undecoded::BadTransportHeader.into()),
        n => rest.claim((n - 8).min(rest.len)),
    };
    let (src_port, dst_port) = (be16(h[0], h[1]), be16(h[2], h[3]));
    match tunnel::in_udp(src_port, dst_port, rest, head.path) {
        Some(Ok(inner)) => return Ok(inner),
        Some(Err(Stop::Fragment(inner))) => return Err(Stop::Fragment(inner)),
        Some(Err(Stop::Undecoded(_))) | None => {}
    }
    let udp = Udp {
        src_port,
        dst_port,
        payload_len: wire_len(rest.len),
        payload: rest.here,
    };
    Ok(Packet {
        src: head.src,
        dst: head.dst,
        tunnel: head.path.tunnel,
        body: Body::Udp(udp),
    })
}

fn wire_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
