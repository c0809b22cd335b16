//! Frames spread over rings, as the kernel does it.

use std::sync::Arc;

use egress_auditor::{
    flow::Endpoint,
    scan::{Census, Limits, Partial, Place, Scanner},
    source::LinkType,
};

use super::OwnedFrame;

/// By what the kernel spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// TCP and UDP by addresses and ports, ICMP errors as what they quote; fragments, tunnels and all
    /// else to the first ring.
    Program,
    /// As `PACKET_FANOUT_HASH`: all by addresses, and by ports where there are some.
    Hash,
}

/// The ring of a frame.
pub fn ring_of(frame: &OwnedFrame, rings: usize, by: By, seed: u64) -> usize {
    let Some((addresses, ports)) = ends(frame, by) else { return 0 };
    if by == By::Program && ports.is_none() {
        return 0;
    }
    let mut hash = addresses.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ u64::from(ports.unwrap_or(0))).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash >> 33) as usize % rings
}

/// Sums that are the same both ways: of the addresses, and of the ports of whole TCP and UDP packets.
fn ends(frame: &OwnedFrame, by: By) -> Option<(u64, Option<u32>)> {
    let data = &frame.data[..];
    let mut at = match frame.link {
        LinkType::ETHERNET => 12,
        LinkType(113) => 14,
        _ => return None,
    };
    while matches!(word(data, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    match word(data, at)? {
        0x0800 => ipv4(data.get(at + 2..)?, by == By::Program),
        0x86dd => ipv6(data.get(at + 2..)?, by == By::Program),
        _ => None,
    }
}

fn ipv4(packet: &[u8], quotes: bool) -> Option<(u64, Option<u32>)> {
    let rest = packet.get(usize::from(packet.first()? & 15) * 4..)?;
    let whole = word(packet, 6)? & 0x3fff == 0;
    match packet.get(9)? {
        1 if quotes && whole && matches!(rest.first()?, 3..=5 | 11 | 12) => {
            ipv4(rest.get(8..)?, false)
        }
        protocol => Some((sum(packet, 12, 4)?, ports(*protocol, rest).filter(|_| whole))),
    }
}

fn ipv6(packet: &[u8], quotes: bool) -> Option<(u64, Option<u32>)> {
    let rest = packet.get(40..)?;
    match packet.get(6)? {
        58 if quotes && *rest.first()? < 128 => ipv6(rest.get(8..)?, false),
        protocol => Some((sum(packet, 8, 16)?, ports(*protocol, rest))),
    }
}

fn ports(protocol: u8, rest: &[u8]) -> Option<u32> {
    let [from, to] = [word(rest, 0)?, word(rest, 2)?];
    let is_tunnel = |port: u16| [4789, 8472, 4790, 6081, 2152, 3544].contains(&port);
    let plain = matches!(protocol, 6 | 17) && !is_tunnel(from) && !is_tunnel(to);
    plain.then_some(u32::from(from) + u32::from(to))
}

fn word(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]))
}

fn sum(packet: &[u8], at: usize, len: usize) -> Option<u64> {
    let address = |at: usize| {
        let bytes = packet.get(at..at + len)?.iter();
        Some(bytes.fold(0u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(*byte))))
    };
    Some(address(at)?.wrapping_add(address(at + len)?))
}

/// One scan for each ring.
pub fn spread(
    frames: &[OwnedFrame],
    rings: usize,
    by: By,
    seed: u64,
    limits: Limits,
    resolvers: &Arc<[Endpoint]>,
) -> Vec<Partial> {
    let new = |_| Scanner::new(Place::Beginning, limits, Arc::clone(resolvers));
    let mut scanners: Vec<_> = (0..rings).map(new).collect();
    for (number, frame) in (1..).zip(frames) {
        scanners[ring_of(frame, rings, by, seed)].push(&frame.numbered(number), &mut ());
    }
    scanners.into_iter().map(Scanner::finish).collect()
}

/// Joins what the rings told.
pub fn joined(mut rings: Vec<Partial>) -> Census {
    let first = rings.remove(0);
    first.beside(rings, &mut ()).conclude(&mut ())
}
