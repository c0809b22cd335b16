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

// -- what is said ------------------------------------------------------------

/// A ClientHello that asks for a name.
pub fn client_hello(name: &str) -> Vec<u8> {
    let len16 = |len: usize| (len as u16).to_be_bytes();
    let list = [&[0][..], &len16(name.len()), name.as_bytes()].concat();
    let sni = [&[0, 0][..], &len16(list.len() + 2), &len16(list.len()), &list].concat();
    let fixed = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    let body = [&fixed[..], &len16(sni.len()), &sni].concat();
    let message = [&[1, 0][..], &len16(body.len()), &body].concat();
    [&[22, 3, 1][..], &len16(message.len()), &message].concat()
}

/// A ServerHello of TLS 1.3.
pub fn server_hello() -> Vec<u8> {
    let extensions = [0, 43, 0, 2, 3, 4];
    let fixed = [&[3, 3][..], &[9; 32], &[0, 0x13, 1, 0]].concat();
    let body = [&fixed[..], &[0, extensions.len() as u8], &extensions].concat();
    let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 3, 0, message.len() as u8][..], &message].concat()
}

/// An encrypted record.
pub fn encrypted() -> Vec<u8> {
    [&[23, 3, 3, 0, 200][..], &[0x5a; 200]].concat()
}

/// The head of an HTTP answer.
pub fn response(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{headers}\r\n").into_bytes()
}

/// A query, or its answer with an RCODE and an address.
pub fn dns(name: &str, rtype: u16, answer: Option<(u8, Option<Ipv4Addr>)>) -> Vec<u8> {
    let (flags, addr) = match answer {
        None => ([1, 0], None),
        Some((rcode, addr)) => ([0x81, 0x80 | rcode], addr),
    };
    let counts = [0, 1, 0, u8::from(addr.is_some()), 0, 0, 0, 0];
    let labels = name.split('.').flat_map(|l| [&[l.len() as u8][..], l.as_bytes()].concat());
    let mut message = [&[0x12, 0x34][..], &flags, &counts].concat();
    message.extend(labels.chain([0]));
    message.extend([&rtype.to_be_bytes()[..], &[0, 1]].concat());
    if let Some(addr) = addr {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(addr.octets());
    }
    message
}
