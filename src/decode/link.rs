use crate::source::LinkType;

use super::{
    Undecoded, headers, ip,
    span::{Span, be16},
    tunnel,
    walk::{Path, Walk},
    wlan,
};

/// A captured frame, by the capture's link type.
#[inline]
pub(super) fn frame(link: LinkType, span: Span<'_>, path: Path) -> Walk<'_> {
    match link {
        LinkType::ETHERNET => ethernet(span, path),
        LinkType::LINUX_SLL => linux_sll(span, path),
        LinkType::LINUX_SLL2 => linux_sll2(span, path),
        LinkType::IPV4 => ip::v4(span, path),
        LinkType::IPV6 => ip::v6(span, path),
        LinkType::RAW => ip::any(span, path),
        _ => rare_frame(link, span, path),
    }
}

/// An Ethernet frame, without preamble; a frame check sequence may follow.
#[inline]
pub(super) fn ethernet(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<14>().ok_or(Undecoded::TruncatedLink)?;
    ethertype(be16(h[12], h[13]), rest, path)
}

/// What an EtherType describes (IANA "IEEE 802 Numbers"), through VLAN and similar tags; values up
/// to 1500 are IEEE 802.3 lengths.
#[inline]
pub(super) fn ethertype(mut kind: u16, mut span: Span<'_>, path: Path) -> Walk<'_> {
    for _ in 0..MAX_TAGS {
        let tag_len = match kind {
            ether::IPV4 => return ip::v4(span, path),
            ether::IPV6 => return ip::v6(span, path),
            ether::VLAN | ether::SERVICE_VLAN | 0x9100 | 0x9200 => 2,
            ether::VN_TAG | ether::HSR => 4,
            _ => return rare_ethertype(kind, span, path),
        };
        let rest = span.skip(tag_len).ok_or(Undecoded::TruncatedLink)?;
        let (next, rest) = rest.take::<2>().ok_or(Undecoded::TruncatedLink)?;
        (kind, span) = (u16::from_be_bytes(*next), rest);
    }
    Err(Undecoded::TooManyHeaders.into())
}

/// An IEEE 802.2 LLC header, mostly with SNAP (RFC 1042).
pub(super) fn llc(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<3>().ok_or(Undecoded::TruncatedLink)?;
    match h {
        [0xaa, 0xaa, 0x03] => {
            let (snap, rest) = rest.take::<5>().ok_or(Undecoded::TruncatedLink)?;
            match snap {
                // RFC 1042, and the bridge tunnel of IEEE 802.1H.
                [0, 0, 0 | 0xf8, high, low] => ethertype(be16(*high, *low), rest, path),
                _ => Err(Undecoded::NotIp.into()),
            }
        }
        [0x06, 0x06, 0x03] => ip::v4(rest, path),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// PPP (RFC 1661), with or without address and control (RFC 1662 section 3.1).
pub(super) fn ppp(span: Span<'_>, path: Path) -> Walk<'_> {
    let span = match span.here {
        [0xff, 0x03, ..] => span.skip(2).ok_or(Undecoded::TruncatedLink)?,
        _ => span,
    };
    let (high, rest) = span.take::<1>().ok_or(Undecoded::TruncatedLink)?;
    // An odd first byte is a whole, compressed protocol field (RFC 1661 section 6.5).
    let (protocol, rest) = if high[0] & 1 == 1 {
        (u16::from(high[0]), rest)
    } else {
        let (low, rest) = rest.take::<1>().ok_or(Undecoded::TruncatedLink)?;
        (be16(high[0], low[0]), rest)
    };
    match protocol {
        0x0021 => ip::v4(rest, path),
        0x0057 => ip::v6(rest, path),
        0x0281 | 0x0283 => tunnel::mpls(rest, path),
        // Compressed or, with MPPE, encrypted datagrams (RFC 1962, RFC 3078).
        0x00fb | 0x00fd | 0x0053 | 0x0055 => Err(Undecoded::Encrypted.into()),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// EtherTypes that lead to IP.
pub(super) mod ether {
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(in super::super) const BRIDGING: u16 = 0x6558;
    pub(in super::super) const VLAN: u16 = 0x8100;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    pub(in super::super) const MPLS: u16 = 0x8847;
    pub(in super::super) const MPLS_MULTICAST: u16 = 0x8848;
    pub(in super::super) const PPPOE_SESSION: u16 = 0x8864;
    pub(in super::super) const SERVICE_VLAN: u16 = 0x88a8;
    pub(in super::super) const MACSEC: u16 = 0x88e5;
    /// The service instance tag of provider backbone bridges.
    pub(in super::super) const BACKBONE: u16 = 0x88e7;
    pub(in super::super) const VN_TAG: u16 = 0x8926;
    pub(in super::super) const HSR: u16 = 0x892f;
    pub(in super::super) const NSH: u16 = 0x894f;
}

/// Tags in a row that are read over. Networks use two or three.
const MAX_TAGS: usize = 16;

/// Link types of other systems, and those that `LinkType` doesn't name.
fn rare_frame(link: LinkType, span: Span<'_>, path: Path) -> Walk<'_> {
    match link {
        LinkType::NULL | LinkType::LOOP => loopback(span, path),
        // The numbers of raw IP on BSDs, found in files that were written without mapping them.
        LinkType(12 | 14) => ip::any(span, path),
        LinkType::PPP | LinkType::PPP_HDLC => ppp_or_hdlc(span, path),
        LinkType::PPP_ETHER => tunnel::pppoe(span, path),
        LinkType::IEEE802_11 => wlan::ieee802_11(span, path),
        LinkType::IEEE802_11_RADIOTAP => wlan::radiotap(span, path),
        LinkType::NETLINK => Err(Undecoded::Netlink.into()),
        LinkType(other) => other_frame(other, span, path),
    }
}

fn other_frame(link: u16, span: Span<'_>, path: Path) -> Walk<'_> {
    const ARCNET: u16 = 7;
    const SLIP: u16 = 8;
    const FDDI: u16 = 10;
    const ATM_RFC1483: u16 = 11;
    const C_HDLC: u16 = 104;
    const FRELAY: u16 = 107;
    const ENC: u16 = 109;
    const PFLOG: u16 = 117;
    const ARCNET_LINUX: u16 = 129;
    const PPI: u16 = 192;
    const PPP_WITH_DIR: u16 = 204;
    const NFLOG: u16 = 239;
    let after = |n: usize| span.skip(n).ok_or(Undecoded::TruncatedLink);
    match link {
        ARCNET => arcnet(after(2)?, path),
        // Two bytes of offset that say nothing.
        ARCNET_LINUX => arcnet(after(4)?, path),
        SLIP => ip::any(after(16)?, path),
        FDDI => llc(after(13)?, path),
        ATM_RFC1483 => llc(span, path),
        C_HDLC => cisco_hdlc(span, path),
        FRELAY => frame_relay(span, path),
        ENC => ip::any(after(12)?, path),
        // The first byte is the header's length, without its padding to four bytes.
        PFLOG => {
            let len = *span.here.first().ok_or(Undecoded::TruncatedLink)?;
            ip::any(after(usize::from(len).next_multiple_of(4))?, path)
        }
        PPI => ppi(span, path),
        PPP_WITH_DIR => ppp(after(1)?, path),
        NFLOG => nflog(span, path),
        _ => Err(Undecoded::UnsupportedLinkType.into()),
    }
}

fn rare_ethertype(kind: u16, span: Span<'_>, path: Path) -> Walk<'_> {
    match kind {
        0..=1500 => llc(span, path),
        ether::MPLS | ether::MPLS_MULTICAST => tunnel::mpls(span, path),
        ether::PPPOE_SESSION => tunnel::pppoe(span, path),
        ether::MACSEC => {
            let (kind, rest) = headers::macsec(span)?;
            ethertype(kind, rest, path.nest()?)
        }
        ether::BACKBONE => {
            let rest = span.skip(4).ok_or(Undecoded::TruncatedLink)?;
            ethernet(rest, path.nest()?)
        }
        ether::BRIDGING => ethernet(span, path.nest()?),
        ether::NSH => tunnel::nsh(span, path),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// Linux cooked capture, version 1.
fn linux_sll(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<16>().ok_or(Undecoded::TruncatedLink)?;
    cooked(be16(h[2], h[3]), be16(h[14], h[15]), rest, path)
}

/// Linux cooked capture, version 2.
fn linux_sll2(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<20>().ok_or(Undecoded::TruncatedLink)?;
    cooked(be16(h[8], h[9]), be16(h[0], h[1]), rest, path)
}

#[inline]
fn cooked<'a>(hardware: u16, protocol: u16, rest: Span<'a>, path: Path) -> Walk<'a> {
    /// Linux's ARPHRD_NETLINK.
    const NETLINK: u16 = 824;
    /// Linux's ETH_P_802_2.
    const LLC: u16 = 4;
    match (hardware, protocol) {
        (NETLINK, _) => Err(Undecoded::Netlink.into()),
        (_, LLC) => llc(rest, path),
        (_, 0..=1500) => Err(Undecoded::NotIp.into()),
        _ => ethertype(protocol, rest, path),
    }
}

/// A four-byte address family in the byte order of the capturing host (NULL) or of the network
/// (LOOP); either is taken, for both.
fn loopback(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<4>().ok_or(Undecoded::TruncatedLink)?;
    let family = u32::from_le_bytes(*h).min(u32::from_be_bytes(*h));
    match family {
        2 => ip::v4(rest, path),
        // AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 23 | 24 | 28 | 30 => ip::v6(rest, path),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// An ARCNET frame from its protocol on. Software fragments are not put together: the first is read
/// as if the rest had been cut off, the others say nothing of IP.
fn arcnet(span: Span<'_>, path: Path) -> Walk<'_> {
    let (protocol, rest) = span.take::<1>().ok_or(Undecoded::TruncatedLink)?;
    match protocol[0] {
        // RFC 1051: nothing more in the header.
        0xf0 => ip::v4(rest, path),
        // RFC 1201 and, for IPv6, RFC 2497.
        0xd4 => ip::v4(unsplit_arcnet(rest)?, path),
        0xc4 => ip::v6(unsplit_arcnet(rest)?, path),
        _ => Err(Undecoded::NotIp.into()),
    }
}

/// Reads over the split flag and the sequence number (RFC 1201 section 2).
fn unsplit_arcnet(span: Span<'_>) -> Result<Span<'_>, Undecoded> {
    const EXCEPTION: u8 = 0xff;
    let (h, rest) = span.take::<3>().ok_or(Undecoded::TruncatedLink)?;
    let (flag, rest) = match h[0] {
        // What came so far is padding; the header comes again.
        EXCEPTION => {
            let (h, rest) = rest.take::<4>().ok_or(Undecoded::TruncatedLink)?;
            (h[1], rest)
        }
        flag => (flag, rest),
    };
    // 0 is a whole packet, odd the first of several fragments.
    if flag != 0 && flag & 1 == 0 {
        return Err(Undecoded::NotIp);
    }
    Ok(rest)
}

/// PPP captures hold Cisco HDLC too, told by its address byte.
fn ppp_or_hdlc(span: Span<'_>, path: Path) -> Walk<'_> {
    match span.here {
        [0x0f | 0x8f, 0, ..] => cisco_hdlc(span, path),
        _ => ppp(span, path),
    }
}

fn cisco_hdlc(span: Span<'_>, path: Path) -> Walk<'_> {
    let (h, rest) = span.take::<4>().ok_or(Undecoded::TruncatedLink)?;
    ethertype(be16(h[2], h[3]), rest, path)
}

/// Frame Relay: RFC 2427 encapsulation, or Cisco's with an EtherType.
fn frame_relay(span: Span<'_>, path: Path) -> Walk<'_> {
    let cut = Undecoded::TruncatedLink;
    // The address ends with the byte whose lowest bit is set: two to four.
    let address_len = match span.here.iter().take(4).position(|b| b & 1 == 1) {
        Some(last @ 1..) => last + 1,
        Some(0) => return Err(Undecoded::BadLinkHeader.into()),
        None if span.here.len() < 4 => return Err(cut.into()),
        None => return Err(Undecoded::BadLinkHeader.into()),
    };
    let rest = span.skip(address_len).ok_or(cut)?;
    match rest.here {
        [0x03, 0xcc, ..] => ip::v4(rest.skip(2).ok_or(cut)?, path),
        [0x03, 0x8e, ..] => ip::v6(rest.skip(2).ok_or(cut)?, path),
        [0x03, 0x00, 0x80, 0, 0, 0, high, low, ..] => {
            ethertype(be16(*high, *low), rest.skip(8).ok_or(cut)?, path)
        }
        [0x03, 0x80, 0, 0, 0, high, low, ..] => {
            ethertype(be16(*high, *low), rest.skip(7).ok_or(cut)?, path)
        }
        [0x03, 0xcf, ..] => ppp(rest.skip(2).ok_or(cut)?, path),
        [0x03, ..] => Err(Undecoded::NotIp.into()),
        [high, low, ..] => ethertype(be16(*high, *low), rest.skip(2).ok_or(cut)?, path),
        _ => Err(cut.into()),
    }
}

/// Per-packet information: a header of known length, then a frame of the link type that it names.
fn ppi(span: Span<'_>, path: Path) -> Walk<'_> {
    let h = span.here.first_chunk::<8>().ok_or(Undecoded::TruncatedLink)?;
    let len = usize::from(u16::from_le_bytes([h[2], h[3]]));
    let link = u32::from_le_bytes([h[4], h[5], h[6], h[7]]);
    if h[0] != 0 || len < 8 {
        return Err(Undecoded::BadLinkHeader.into());
    }
    let rest = span.skip(len).ok_or(Undecoded::TruncatedLink)?;
    let link = u16::try_from(link).map_err(|_| Undecoded::BadLinkHeader)?;
    frame(LinkType(link), rest, path.nest()?)
}

/// Linux NFLOG: type-length-value records in host byte order; type 9 is the packet.
fn nflog(span: Span<'_>, path: Path) -> Walk<'_> {
    const PAYLOAD: u16 = 9;
    let mut rest = span.skip(4).ok_or(Undecoded::TruncatedLink)?;
    for _ in 0..MAX_NFLOG_RECORDS {
        let (h, value) = rest.take::<4>().ok_or(Undecoded::TruncatedLink)?;
        let little = u16::from_le_bytes([h[0], h[1]]);
        let (len, kind) = if little >= 4 && usize::from(little) <= rest.len {
            (little, u16::from_le_bytes([h[2], h[3]]))
        } else {
            (be16(h[0], h[1]), be16(h[2], h[3]))
        };
        let len = usize::from(len);
        if len < 4 {
            return Err(Undecoded::BadLinkHeader.into());
        }
        if kind == PAYLOAD {
            return ip::any(value.claim((len - 4).min(value.len)), path);
        }
        rest = rest.skip(len.next_multiple_of(4)).ok_or(Undecoded::TruncatedLink)?;
    }
    Err(Undecoded::TooManyHeaders.into())
}

/// Records before the payload; the kernel knows about 20 types.
const MAX_NFLOG_RECORDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Body, Stop};

    /// OSPF, which is given by its number: enough to see that IP was found.
    const V4: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 89, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

    fn decode(link: u16, head: &[u8]) -> Result<(), Undecoded> {
        let bytes = [head, &V4].concat();
        match frame(LinkType(link), Span::whole(&bytes), Path::OUTSIDE) {
            Ok(packet) => {
                assert_eq!(packet.body, Body::Other(89));
                Ok(())
            }
            Err(Stop::Undecoded(reason)) => Err(reason),
            Err(stop) => panic!("{stop:?}"),
        }
    }

    #[test]
    fn ethernet_with_tags() {
        let mac = [0; 12];
        let ethernet = |rest: &[u8]| decode(1, &[&mac, rest].concat());
        assert_eq!(ethernet(&[8, 0]), Ok(()));
        assert_eq!(ethernet(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x91, 0, 0, 3, 8, 0]), Ok(()));
        // A virtual network tag, redundancy, LLC with SNAP and without, behind a VLAN tag.
        assert_eq!(ethernet(&[0x89, 0x26, 0, 0, 0, 0, 8, 0]), Ok(()));
        assert_eq!(ethernet(&[0x89, 0x2f, 0, 0, 0, 0, 8, 0]), Ok(()));
        assert_eq!(ethernet(&[0, 28, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), Ok(()));
        assert_eq!(ethernet(&[0x81, 0, 0, 1, 0, 23, 6, 6, 3]), Ok(()));
        // ARP, spanning tree, Cisco's SNAP.
        assert_eq!(ethernet(&[8, 6]), Err(Undecoded::NotIp));
        assert_eq!(ethernet(&[0, 38, 0x42, 0x42, 3]), Err(Undecoded::NotIp));
        assert_eq!(ethernet(&[0, 38, 0xaa, 0xaa, 3, 0, 0, 12, 0x20, 0]), Err(Undecoded::NotIp));
        let tags = [0x81, 0, 0, 1].repeat(20);
        assert_eq!(ethernet(&tags), Err(Undecoded::TooManyHeaders));
    }

    #[test]
    fn loopback_in_either_byte_order() {
        for head in [[2, 0, 0, 0], [0, 0, 0, 2]] {
            assert_eq!(decode(0, &head), Ok(()));
            assert_eq!(decode(108, &head), Ok(()));
        }
        for family in [10, 23, 24, 28, 30] {
            // IPv4 where IPv6 was announced.
            assert!(decode(0, &[family, 0, 0, 0]).is_err_and(|e| e != Undecoded::NotIp));
        }
        assert_eq!(decode(0, &[7, 0, 0, 0]), Err(Undecoded::NotIp));
    }

    #[test]
    fn cooked_captures() {
        let sll = |hardware: u16, protocol: u16| {
            let mut v1 = [0; 16];
            v1[2..4].copy_from_slice(&hardware.to_be_bytes());
            v1[14..].copy_from_slice(&protocol.to_be_bytes());
            let mut v2 = [0; 20];
            v2[8..10].copy_from_slice(&hardware.to_be_bytes());
            v2[..2].copy_from_slice(&protocol.to_be_bytes());
            let both = [decode(113, &v1), decode(276, &v2)];
            assert_eq!(both[0], both[1]);
            both[0]
        };
        assert_eq!(sll(1, 0x0800), Ok(()));
        assert_eq!(sll(824, 0), Err(Undecoded::Netlink));
        assert_eq!(sll(1, 1), Err(Undecoded::NotIp));
        assert_eq!(sll(1, 0x0806), Err(Undecoded::NotIp));
    }

    #[test]
    fn serial_lines_and_firewalls() {
        for (link, head) in [
            (9, &[0xff, 3, 0, 0x21][..]),
            (9, &[0x21]),
            (50, &[0x0f, 0, 8, 0]),
            (51, &[0x11, 0, 0, 1, 0, 22, 0, 0x21]),
            (104, &[0x8f, 0, 8, 0]),
            (107, &[0x18, 0x41, 3, 0xcc]),
            (107, &[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0]),
            (107, &[0x18, 0x41, 8, 0]),
            (117, &[61, 2, 0, 0]),
            (204, &[1, 0xff, 3, 0, 0x21]),
            (239, &[2, 0, 0, 0, 5, 0, 2, 0, 1, 0, 0, 0, 24, 0, 9, 0]),
            (239, &[2, 0, 0, 0, 0, 5, 0, 2, 1, 0, 0, 0, 0, 24, 0, 9]),
            (192, &[0, 0, 8, 0, 101, 0, 0, 0]),
            (12, &[]),
            (14, &[]),
        ] {
            let mut head = head.to_vec();
            if link == 117 {
                head.resize(64, 0);
            }
            assert_eq!(decode(link, &head), Ok(()), "link type {link} {head:?}");
        }
        assert_eq!(decode(9, &[0xff, 3, 0, 0xfd]), Err(Undecoded::Encrypted));
        assert_eq!(decode(9, &[0xff, 3, 0xc0, 0x21]), Err(Undecoded::NotIp));
        assert_eq!(decode(253, &[]), Err(Undecoded::Netlink));
        assert_eq!(decode(147, &[]), Err(Undecoded::UnsupportedLinkType));
    }

    #[test]
    fn arcnet_old_and_new() {
        for head in [
            // RFC 1051; RFC 1201: whole, the first of two fragments, an exception frame.
            &[0xf0][..],
            &[0xd4, 0, 0, 1],
            &[0xd4, 1, 0, 1],
            &[0xd4, 0xff, 0xff, 0xff, 0xd4, 0, 0, 1],
        ] {
            assert_eq!(decode(7, &[&[0xbe, 0x50], head].concat()), Ok(()));
            assert_eq!(decode(129, &[&[0xbe, 0x50, 0xab, 8], head].concat()), Ok(()));
        }
        // ARP; the second fragment, also as an exception.
        for head in [&[0xf1][..], &[0xd4, 2, 0, 1], &[0xd4, 0xff, 0xff, 0xff, 0xd4, 2, 0, 1]] {
            assert_eq!(decode(7, &[&[0xbe, 0x50], head].concat()), Err(Undecoded::NotIp));
        }
        assert_eq!(decode(129, &[0xbe, 0x50, 0, 0, 0xc4, 0, 0, 1]), Err(Undecoded::TruncatedIp));
    }

    #[test]
    fn wrapped_link_types_are_bounded() {
        let nested = [0, 0, 8, 0, 192, 0, 0, 0].repeat(20);
        assert_eq!(decode(192, &nested), Err(Undecoded::TunnelTooDeep));
    }
}
