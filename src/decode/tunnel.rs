use super::{
    Tunnel, Undecoded, ip,
    ip::protocol,
    link::{self, ether},
    span::{Span, be16, be16_at},
    walk::{Head, Path, Walk},
    wlan,
};

/// What a UDP datagram carries when its port and its content both say that it is a tunnel.
///
/// A port alone proves nothing: reserved bits, versions and lengths must hold too. `None` when
/// they don't; an error when what is inside can't be decoded.
#[inline(always)]
pub(super) fn in_udp<'a>(src: u16, dst: u16, span: Span<'a>, path: Path) -> Option<Walk<'a>> {
    if !may_be_in_udp(src, dst) {
        return None;
    }
    match (src, dst) {
        // The source port of these is a hash of the inner flow, so it may be any number (RFC 7348
        // section 5, RFC 8926 section 3.3). 8472 is Linux's default, older than the assignment.
        (_, 4789 | 8472) => vxlan(span, path),
        (_, 4790) => vxlan_gpe(span, path),
        (_, 6081) => geneve(span, path),
        // These are sent from the port as well as to it.
        (2152, _) | (_, 2152) => gtp(span, path),
        (3544, _) | (_, 3544) => teredo(span, path),
        _ => None,
    }
}

/// True for the ports of the tunnels that are opened: [`in_udp`] knows no others.
#[inline(always)]
pub(super) fn may_be_in_udp(src: u16, dst: u16) -> bool {
    matches!((src, dst), (_, 4789 | 8472 | 4790 | 6081) | (2152 | 3544, _) | (_, 2152 | 3544))
}

/// GRE: version 0 (RFC 2784, RFC 2890, NVGRE, ERSPAN), or version 1 of PPTP (RFC 2637 section 4.1).
pub(super) fn gre<'a>(span: Span<'a>, head: Head) -> Walk<'a> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGMENT: u16 = 0x0080;
    let (h, rest) = span.take::<4>().ok_or(Undecoded::TruncatedLink)?;
    let (flags, kind) = (be16(h[0], h[1]), be16(h[2], h[3]));
    let version = flags & 7;
    // Source routing was withdrawn by RFC 2784; other kinds of version 1 are vendors' own.
    let foreign = flags & ROUTING != 0 || version > 1 || version == 1 && kind != PPP;
    // Without a sequence number, PPTP's packet is a bare acknowledgment.
    if foreign || version == 1 && flags & SEQUENCE == 0 {
        return Ok(ip::other(protocol::GRE, head));
    }
    let mut fields = CHECKSUM | KEY | SEQUENCE;
    if version == 1 {
        fields |= ACKNOWLEDGMENT;
    }
    let fields = (flags & fields).count_ones() as usize;
    let rest = rest.skip(fields * 4).ok_or(Undecoded::TruncatedLink)?;
    match kind {
        PPP => link::ppp(rest, head.path.enter(Tunnel::Gre)?),
        ERSPAN => erspan(rest, flags & SEQUENCE != 0, head.path),
        ERSPAN_3 => erspan_3(rest, head.path),
        ether::IPV4
        | ether::IPV6
        | ether::BRIDGING
        | ether::MPLS
        | ether::MPLS_MULTICAST
        | ether::NSH => link::ethertype(kind, rest, head.path.enter(Tunnel::Gre)?),
        ARUBA_FIRST..=ARUBA_LAST | ARUBA_MIRROR => {
            wlan::ieee802_11(rest, head.path.enter(Tunnel::Gre)?)
        }
        _ => Ok(ip::other(protocol::GRE, head)),
    }
}

/// An MPLS label stack (RFC 3032) and what seems to be under it: no field says.
pub(super) fn mpls(mut span: Span<'_>, path: Path) -> Walk<'_> {
    let path = path.enter(Tunnel::Mpls)?;
    for _ in 0..MAX_LABELS {
        let (entry, rest) = span.take::<4>().ok_or(Undecoded::TruncatedLink)?;
        span = rest;
        if entry[2] & 1 == 1 {
            return under_labels(span, path);
        }
    }
    Err(Undecoded::TooManyHeaders.into())
}

/// A PPPoE session packet (RFC 2516 section 4).
pub(super) fn pppoe(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<6>().ok_or(Undecoded::TruncatedLink)?;
    if h[0] != 0x11 {
        return Err(Undecoded::BadLinkHeader.into());
    }
    // Other codes are discovery.
    if h[1] != 0 {
        return Err(Undecoded::NotIp.into());
    }
    link::ppp(rest, path.enter(Tunnel::Pppoe)?)
}

/// A network service header (RFC 8300 section 2). Not a tunnel of its own.
pub(super) fn nsh(span: Span<'_>, path: Path) -> Walk<'_> {
    let h = span.here.first_chunk::<8>().ok_or(Undecoded::TruncatedLink)?;
    let len = usize::from(h[1] & 0x3f) * 4;
    if h[0] >> 6 != 0 || len < 8 {
        return Err(Undecoded::BadLinkHeader.into());
    }
    let rest = span.skip(len).ok_or(Undecoded::TruncatedLink)?;
    next_protocol(h[3], rest, path.nest()?)
}

const PPP: u16 = 0x880b;
const ERSPAN: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
/// Wireless frames from Aruba access points, one number for each access class.
const ARUBA_FIRST: u16 = 0x8200;
const ARUBA_LAST: u16 = 0x8370;
const ARUBA_MIRROR: u16 = 0x9000;
/// Labels in a row that are read over.
const MAX_LABELS: usize = 32;

/// The numbering that NSH and VXLAN-GPE share.
fn next_protocol(number: u8, span: Span<'_>, path: Path) -> Walk<'_> {
    match number {
        1 => ip::v4(span, path),
        2 => ip::v6(span, path),
        3 => link::ethernet(span, path),
        4 => nsh(span, path),
        5 => mpls(span, path),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// IP, or an Ethernet pseudowire with or without control word (RFC 4448 section 4.6). Decided by
/// looking, never by trying, so that nested stacks stay linear.
fn under_labels(span: Span<'_>, path: Path) -> Walk<'_> {
    const CONTROL_WORD: usize = 4;
    let nibble = span.here.first().map(|b| b >> 4);
    match nibble {
        Some(4) if looks_like_v4(span) => ip::v4(span, path),
        Some(6) if looks_like_v6(span) => ip::v6(span, path),
        Some(0) if looks_like_ethernet(span, CONTROL_WORD) => {
            link::ethernet(span.skip(CONTROL_WORD).ok_or(Undecoded::TruncatedLink)?, path)
        }
        Some(_) if looks_like_ethernet(span, 0) => link::ethernet(span, path),
        Some(_) => Err(Undecoded::NotIp.into()),
        None => Err(Undecoded::TruncatedLink.into()),
    }
}

fn looks_like_v4(span: Span<'_>) -> bool {
    let total_len = be16_at(span.here, 2).map(usize::from);
    span.here.first().is_some_and(|b| b & 0x0f >= 5)
        && total_len.is_some_and(|n| n == 0 || (20..=span.len).contains(&n))
}

fn looks_like_v6(span: Span<'_>) -> bool {
    be16_at(span.here, 4).is_some_and(|n| usize::from(n) + 40 <= span.len)
}

fn looks_like_ethernet(span: Span<'_>, at: usize) -> bool {
    matches!(
        be16_at(span.here, at + 12),
        Some(
            ether::IPV4
                | ether::IPV6
                | ether::VLAN
                | ether::SERVICE_VLAN
                | ether::MPLS
                | ether::PPPOE_SESSION
                | ether::MACSEC
        )
    )
}

/// ERSPAN type I (no header) and II (8 bytes), told apart by GRE's sequence bit
/// (draft-foschiano-erspan).
fn erspan(span: Span<'_>, sequenced: bool, path: Path) -> Walk<'_> {
    let path = path.enter(Tunnel::Erspan)?;
    if !sequenced {
        return link::ethernet(span, path);
    }
    let (h, rest) = span.take::<8>().ok_or(Undecoded::TruncatedLink)?;
    match h[0] >> 4 {
        1 => link::ethernet(rest, path),
        _ => Err(Undecoded::BadLinkHeader.into()),
    }
}

/// ERSPAN type III: 12 bytes, and 8 more with the O bit.
fn erspan_3(span: Span<'_>, path: Path) -> Walk<'_> {
    let path = path.enter(Tunnel::Erspan)?;
    let (h, rest) = span.take::<12>().ok_or(Undecoded::TruncatedLink)?;
    if h[0] >> 4 != 2 {
        return Err(Undecoded::BadLinkHeader.into());
    }
    let optional = if h[11] & 1 == 1 { 8 } else { 0 };
    let rest = rest.skip(optional).ok_or(Undecoded::TruncatedLink)?;
    // The frame type: Ethernet or IP.
    match h[10] >> 2 & 0x1f {
        0 => link::ethernet(rest, path),
        2 => ip::any(rest, path),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// VXLAN (RFC 7348 section 5), also with a group policy (draft-smith-vxlan-group-policy).
fn vxlan(span: Span<'_>, path: Path) -> Option<Walk<'_>> {
    let (h, rest) = span.take::<8>()?;
    let plain = h[0] == 0x08 && h[1..4] == [0; 3];
    let policy = h[0] == 0x88 && h[1] & !0x48 == 0;
    ((plain || policy) && h[7] == 0).then(|| link::ethernet(rest, path.enter(Tunnel::Vxlan)?))
}

/// VXLAN with a protocol field (draft-ietf-nvo3-vxlan-gpe section 3).
fn vxlan_gpe(span: Span<'_>, path: Path) -> Option<Walk<'_>> {
    const INSTANCE: u8 = 0x08;
    const PROTOCOL: u8 = 0x04;
    let (h, rest) = span.take::<8>()?;
    // Version 0, no OAM, reserved bits clear; the broadcast bit may be set.
    let expected = h[0] & !(PROTOCOL | 0x02) == INSTANCE && h[1..3] == [0; 2] && h[7] == 0;
    let number = match (h[0] & PROTOCOL != 0, h[3]) {
        (true, number @ 1..=4) => number,
        (false, 0) => 3,
        _ => return None,
    };
    expected.then(|| next_protocol(number, rest, path.enter(Tunnel::Vxlan)?))
}

/// Geneve (RFC 8926 section 3.4).
fn geneve(span: Span<'_>, path: Path) -> Option<Walk<'_>> {
    let (h, rest) = span.take::<8>()?;
    let kind = be16(h[2], h[3]);
    let known = matches!(kind, ether::IPV4 | ether::IPV6 | ether::BRIDGING);
    if h[0] >> 6 != 0 || h[1] & 0x3f != 0 || h[7] != 0 || !known {
        return None;
    }
    let rest = rest.skip(usize::from(h[0] & 0x3f) * 4)?;
    Some((|| link::ethertype(kind, rest, path.enter(Tunnel::Geneve)?))())
}

/// A GTPv1-U user packet (3GPP TS 29.281 section 5).
fn gtp(span: Span<'_>, path: Path) -> Option<Walk<'_>> {
    const USER_DATA: u8 = 0xff;
    let (h, rest) = span.take::<8>()?;
    // Version 1, protocol type 1, spare bit clear; and the length is that of what follows.
    if h[0] & 0xf8 != 0x30 || h[1] != USER_DATA || usize::from(be16(h[2], h[3])) != rest.len {
        return None;
    }
    let rest = if h[0] & 0x07 == 0 { rest } else { gtp_extensions(rest, h[0] & 0x04 != 0)? };
    matches!(rest.here.first()? >> 4, 4 | 6).then(|| ip::any(rest, path.enter(Tunnel::Gtp)?))
}

/// Reads over sequence number, N-PDU number and extension headers.
fn gtp_extensions(span: Span<'_>, chained: bool) -> Option<Span<'_>> {
    let (h, mut rest) = span.take::<4>()?;
    let mut next = if chained { h[3] } else { 0 };
    for _ in 0..ip::MAX_EXTENSIONS {
        if next == 0 {
            return Some(rest);
        }
        // Length in units of four bytes; the last byte is the next header's type.
        let len = usize::from(*rest.here.first()?) * 4;
        next = *rest.here.get(len.checked_sub(1)?)?;
        rest = rest.skip(len)?;
    }
    None
}

/// Teredo (RFC 4380 section 5.1.1): IPv6 after optional authentication and origin indications.
fn teredo(mut span: Span<'_>, path: Path) -> Option<Walk<'_>> {
    if let [0, 1, id_len, value_len, ..] = *span.here {
        span = span.skip(13 + usize::from(id_len) + usize::from(value_len))?;
    }
    if let [0, 0, ..] = span.here {
        span = span.skip(8)?;
    }
    let h = span.here.first_chunk::<6>()?;
    // Exactly one packet.
    let expected = h[0] >> 4 == 6 && usize::from(be16(h[4], h[5])) + 40 == span.len;
    expected.then(|| ip::v6(span, path.enter(Tunnel::Teredo)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Body, Packet, Stop, packet::Udp};
    use std::net::{IpAddr, Ipv4Addr};

    /// An IPv4 UDP datagram from 10.0.0.1:5 to 10.0.0.2:53 with the payload `hi`.
    const INNER: [u8; 30] = [
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 53, 0, 10, 0,
        0, b'h', b'i',
    ];
    const MACS: [u8; 12] = [0x40, 0, 0, 0, 0, 1, 0x60, 0, 0, 0, 0, 2];

    fn head() -> Head {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        Head { src: ip, dst: ip, ident: 0, path: Path::OUTSIDE }
    }

    fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
        [&MACS[..], &kind.to_be_bytes(), body].concat()
    }

    fn assert_inner(walk: Walk<'_>, tunnel: Tunnel) {
        let packet = walk.unwrap();
        assert_eq!(packet.src.ip(), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(packet.tunnel, Some(tunnel));
        assert!(matches!(
            packet.body,
            Body::Udp(Udp { src_port: 5, dst_port: 53, payload: b"hi", .. })
        ));
    }

    fn udp_tunnel(port: u16, bytes: &[u8]) -> Option<Walk<'_>> {
        in_udp(40_000, port, Span::whole(bytes), Path::OUTSIDE)
    }

    #[test]
    fn opens_gre() {
        let opens = |bytes: &[u8], tunnel| {
            let whole = [bytes, &INNER].concat();
            assert_inner(gre(Span::whole(&whole), head()), tunnel);
        };
        opens(&[0, 0, 8, 0], Tunnel::Gre);
        opens(&[0xb0, 0, 8, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], Tunnel::Gre);
        // PPTP: key, sequence, acknowledgment; PPP with compressed protocol field.
        opens(&[0x30, 0x81, 0x88, 0x0b, 0, 31, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x21], Tunnel::Gre);
        // NVGRE and ERSPAN I and III.
        opens(&[&[0x20, 0, 0x65, 0x58, 0, 0, 1, 0][..], &MACS, &[8, 0]].concat(), Tunnel::Gre);
        opens(&[&[0, 0, 0x88, 0xbe][..], &MACS, &[8, 0]].concat(), Tunnel::Erspan);
        let mut erspan = [0; 24];
        erspan[..4].copy_from_slice(&[0, 0, 0x22, 0xeb]);
        (erspan[4], erspan[15]) = (0x20, 1);
        opens(&[&erspan[..], &MACS, &[8, 0]].concat(), Tunnel::Erspan);
    }

    #[test]
    fn leaves_foreign_gre_alone() {
        // A routed one, version 2, Mikrotik's, PPTP's bare acknowledgment, keep-alive.
        for bytes in [
            [0x40, 0, 8, 0],
            [0, 2, 8, 0],
            [0x20, 1, 0x64, 0],
            [0x20, 0x81, 0x88, 0x0b],
            [0, 0, 0, 0],
        ] {
            let whole = [&bytes[..], &INNER].concat();
            let packet = gre(Span::whole(&whole), head()).unwrap();
            assert_eq!((packet.tunnel, packet.body), (None, Body::Other(47)));
        }
    }

    #[test]
    fn guesses_what_labels_cover() {
        let stack = [0, 1, 0x10, 64, 0, 2, 0x11, 64];
        let ipv4 = [&stack[..], &INNER].concat();
        // MAC addresses that begin like IPv4 and IPv6 don't mislead.
        let wire = [&stack[..], &ethernet(0x0800, &INNER)].concat();
        let controlled = [&stack[..], &[0; 4], &ethernet(0x0800, &INNER)].concat();
        for bytes in [ipv4, wire, controlled] {
            assert_inner(mpls(Span::whole(&bytes), Path::OUTSIDE), Tunnel::Mpls);
        }
        let endless = [0; 400];
        assert!(matches!(
            mpls(Span::whole(&endless), Path::OUTSIDE),
            Err(Stop::Undecoded(Undecoded::TooManyHeaders))
        ));
    }

    #[test]
    fn opens_udp_tunnels_only_when_the_header_is_right() {
        let frame = ethernet(0x0800, &INNER);
        let cases = [
            (4789, Tunnel::Vxlan, [&[8, 0, 0, 0, 0, 0, 9, 0][..], &frame].concat()),
            (8472, Tunnel::Vxlan, [&[0x88, 0x08, 0, 7, 0, 0, 9, 0][..], &frame].concat()),
            (4790, Tunnel::Vxlan, [&[0x0c, 0, 0, 1, 0, 0, 9, 0][..], &INNER].concat()),
            (4790, Tunnel::Vxlan, [&[0x08, 0, 0, 0, 0, 0, 9, 0][..], &frame].concat()),
            (6081, Tunnel::Geneve, [&[0, 0, 0x65, 0x58, 0, 0, 9, 0][..], &frame].concat()),
            (6081, Tunnel::Geneve, [&[1, 0x40, 8, 0, 0, 0, 9, 0, 1, 1, 1, 0][..], &INNER].concat()),
            (2152, Tunnel::Gtp, [&[0x30, 0xff, 0, 30, 0, 0, 0, 1][..], &INNER].concat()),
            (
                2152,
                Tunnel::Gtp,
                [&[0x32, 0xff, 0, 34, 0, 0, 0, 1, 0, 1, 0, 0][..], &INNER].concat(),
            ),
        ];
        for (port, tunnel, bytes) in cases {
            assert_inner(udp_tunnel(port, &bytes).unwrap(), tunnel);
            assert!(udp_tunnel(port + 1000, &bytes).is_none());
            // A reserved bit or another version.
            let mut wrong = bytes.clone();
            wrong[0] ^= 0x80;
            wrong[7] ^= 0xff;
            assert!(udp_tunnel(port, &wrong).is_none());
        }
    }

    #[test]
    fn either_port_names_a_tunnel_only_where_both_ends_use_it() {
        let frame = ethernet(0x0800, &INNER);
        let vxlan = [&[8, 0, 0, 0, 0, 0, 9, 0][..], &frame].concat();
        let gtp = [&[0x30, 0xff, 0, 30, 0, 0, 0, 1][..], &INNER].concat();
        let open = |src, dst, bytes| in_udp(src, dst, Span::whole(bytes), Path::OUTSIDE);
        assert_inner(open(2152, 40_000, &gtp).unwrap(), Tunnel::Gtp);
        assert!(open(4789, 40_000, &vxlan).is_none());
        // A source port that was picked at random.
        assert_inner(open(2152, 4789, &vxlan).unwrap(), Tunnel::Vxlan);
        assert_inner(open(3544, 4789, &vxlan).unwrap(), Tunnel::Vxlan);
    }

    #[test]
    fn opens_teredo_by_its_exact_length() {
        let mut ipv6 = vec![0x60, 0, 0, 0, 0, 10, 17, 64];
        ipv6.extend([0x20; 32]);
        ipv6.extend(&INNER[20..]);
        let authenticated = [&[0, 1, 0, 0][..], &[0; 9], &[0; 8], &ipv6].concat();
        for bytes in [&ipv6, &authenticated] {
            let packet: Packet<'_> = udp_tunnel(3544, bytes).unwrap().unwrap();
            assert_eq!(packet.tunnel, Some(Tunnel::Teredo));
            assert!(udp_tunnel(3544, &bytes[..bytes.len() - 1]).is_none());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut packet = INNER.to_vec();
        for _ in 0..9 {
            let len = packet.len() as u8 + 20;
            let outer = [0x45, 0, 0, len, 0, 0, 0, 0, 64, 4, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
            packet = [&outer[..], &packet].concat();
        }
        let walk = |bytes| ip::any(Span::whole(bytes), Path::OUTSIDE);
        assert!(matches!(walk(&packet), Err(Stop::Undecoded(Undecoded::TunnelTooDeep))));
        assert_inner(walk(&packet[20..]), Tunnel::IpInIp);
    }
}
