//! Ethernet frames made by hand. Checksums are zero: nobody checks them.

use std::net::Ipv4Addr;

use egress_auditor::{base::Timestamp, source::LinkType};

use super::OwnedFrame;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// An end of a flow.
pub type End = (Ipv4Addr, u16);

/// A frame with a TCP segment.
pub fn tcp(
    at: Timestamp,
    (from, to): (End, End),
    flags: u8,
    (seq, ack): (u32, u32),
    payload: &[u8],
) -> OwnedFrame {
    ethernet(at, &ipv4((from.0, to.0), 6, &tcp_segment((from.1, to.1), flags, (seq, ack), payload)))
}

/// A frame with a UDP datagram.
pub fn udp(at: Timestamp, (from, to): (End, End), payload: &[u8]) -> OwnedFrame {
    ethernet(at, &ipv4((from.0, to.0), 17, &udp_datagram((from.1, to.1), payload)))
}

/// A frame with an ICMP error (type 3) of a router about a packet that `from` sent over TCP (or
/// UDP) to `to`.
pub fn unreachable(
    at: Timestamp,
    router: Ipv4Addr,
    code: u8,
    (from, to): (End, End),
    over_tcp: bool,
) -> OwnedFrame {
    let quoted = match over_tcp {
        true => ipv4((from.0, to.0), 6, &tcp_segment((from.1, to.1), SYN, (1, 0), &[])),
        false => ipv4((from.0, to.0), 17, &udp_datagram((from.1, to.1), b"12345678")),
    };
    let mut icmp = vec![3, code, 0, 0, 0, 0, 0, 0];
    icmp.extend(quoted);
    ethernet(at, &ipv4((router, from.0), 1, &icmp))
}

fn tcp_segment(ports: (u16, u16), flags: u8, (seq, ack): (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + payload.len());
    segment.extend(ports.0.to_be_bytes());
    segment.extend(ports.1.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn udp_datagram(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend(ports.0.to_be_bytes());
    datagram.extend(ports.1.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn ipv4((from, to): (Ipv4Addr, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(20 + payload.len());
    packet.extend([0x45, 0]);
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

fn ethernet(at: Timestamp, packet: &[u8]) -> OwnedFrame {
    let mut data = Vec::with_capacity(14 + packet.len());
    data.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    data.extend(packet);
    OwnedFrame { time: at, link: LinkType::ETHERNET, wire_len: data.len() as u32, data }
}
