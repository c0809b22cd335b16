use std::net::IpAddr;

use egress_auditor::{
    base::Stamp,
    decode::{Body, Decoder, Packet},
    source::{Frame, LinkType},
};
use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice};

/// The IP protocol number of compressed payload.
const IPCOMP: u8 = 108;

pub(crate) fn frame(link: u16, data: &[u8]) -> Frame<'_> {
    Frame { stamp: Stamp::default(), link: LinkType(link), wire_len: data.len() as u32, data }
}

pub(crate) fn payload<'a>(packet: &Packet<'a>) -> (&'a [u8], u32) {
    match packet.body {
        Body::Tcp(tcp) => (tcp.payload, tcp.payload_len),
        Body::Udp(udp) => (udp.payload, udp.payload_len),
        Body::IcmpError(_) | Body::Other(_) => (&[], 0),
    }
}

/// Decodes with a fresh decoder; what is given must lie inside the frame, unless it was unpacked.
pub(crate) fn check_one(frame: &Frame<'_>) {
    let mut decoder = Decoder::default();
    if let Ok(packet) = decoder.decode(frame) {
        let (bytes, len) = payload(&packet);
        let (outer, inner) = (frame.data.as_ptr_range(), bytes.as_ptr_range());
        let inside = outer.start <= inner.start && inner.end <= outer.end;
        let unpacked = frame.data.contains(&IPCOMP) && bytes.len() <= 65_535;
        assert!(bytes.is_empty() || inside || unpacked);
        assert!(bytes.len() <= len as usize);
    }
}

/// What etherparse accepts with a transport header must come out the same here. False when it
/// has nothing to compare.
pub(crate) fn compare_with_etherparse(bytes: &[u8]) -> bool {
    compare_at_link(1, bytes)
}

/// The same for a frame of this link type: Ethernet, Linux' "any", or raw IP.
pub(crate) fn compare_at_link(link: u16, bytes: &[u8]) -> bool {
    let sliced = match link {
        1 => SlicedPacket::from_ethernet(bytes),
        113 => SlicedPacket::from_linux_sll(bytes),
        101 => SlicedPacket::from_ip(bytes),
        other => panic!("link type {other}"),
    };
    let Ok(sliced) = sliced else {
        return false;
    };
    let (src, dst, ident): (IpAddr, IpAddr, u16) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let ident = header.identification();
            (header.source_addr().into(), header.destination_addr().into(), ident)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), 0)
        }
        _ => return false,
    };
    let mut decoder = Decoder::default();
    let decoded = decoder.decode(&frame(link, bytes));
    if sliced.is_ip_payload_fragmented() {
        assert!(decoded.is_err(), "a fragment: {decoded:?}");
        return false;
    }
    match &sliced.transport {
        Some(TransportSlice::Tcp(theirs)) => {
            let packet = decoded.unwrap();
            assert_eq!((packet.src.ip(), packet.dst.ip(), packet.ident), (src, dst, ident));
            compare_tcp(&packet, theirs);
            assert_eq!(payload(&packet).1 as usize, theirs.payload().len());
        }
        Some(TransportSlice::Udp(theirs)) => {
            let packet = match decoded {
                Ok(packet) if packet.tunnel.is_none() => packet,
                // By chance a tunnel, perhaps with a fragment in it.
                Ok(_) => return false,
                Err(reason) => {
                    assert!(reason.reason().starts_with("fragment_"), "{reason}");
                    return false;
                }
            };
            assert_eq!((packet.src.ip(), packet.dst.ip(), packet.ident), (src, dst, ident));
            compare_udp(&packet, theirs);
            assert_eq!(payload(&packet).1 as usize, theirs.payload().len());
        }
        _ => return false,
    }
    true
}

/// The captured part of a TCP segment, whether a snap length cut it or not.
pub(crate) fn compare_tcp(packet: &Packet<'_>, theirs: &TcpSlice<'_>) {
    let Body::Tcp(ours) = packet.body else {
        panic!("{packet:?}");
    };
    assert_eq!(
        (ours.src_port, ours.dst_port, ours.seq, ours.ack),
        (
            theirs.source_port(),
            theirs.destination_port(),
            theirs.sequence_number(),
            theirs.acknowledgment_number()
        )
    );
    let flags = [
        theirs.fin(),
        theirs.syn(),
        theirs.rst(),
        theirs.psh(),
        theirs.ack(),
        theirs.urg(),
        theirs.ece(),
        theirs.cwr(),
    ];
    let flags = flags.iter().rev().fold(0, |all, f| all << 1 | u8::from(*f));
    assert_eq!(ours.flags.0, flags);
    assert_eq!(ours.payload, theirs.payload());
}

/// The captured part of a UDP datagram, whether a snap length cut it or not.
pub(crate) fn compare_udp(packet: &Packet<'_>, theirs: &UdpSlice<'_>) {
    let Body::Udp(ours) = packet.body else {
        panic!("{packet:?}");
    };
    assert_eq!((ours.src_port, ours.dst_port), (theirs.source_port(), theirs.destination_port()));
    assert_eq!(ours.payload, theirs.payload());
}
