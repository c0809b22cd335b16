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
    /// TCP and UDP by addresses and ports; fragments, ICMP, tunnels and all else to the first ring.
    Program,
    /// As `PACKET_FANOUT_HASH`: all by addresses, and by ports where there are some.
    Hash,
}

/// The ring of a frame.
pub fn ring_of(frame: &OwnedFrame, rings: usize, by: By, seed: u64) -> usize {
    let Some((addresses, ports)) = ends(frame) else { return 0 };
    if by == By::Program && ports.is_none() {
        return 0;
    }
    let mut hash = addresses.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ u64::from(ports.unwrap_or(0))).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash >> 33) as usize % rings
}

/// Sums that are the same both ways: of the addresses, and of the ports of whole TCP and UDP packets.
fn ends(frame: &OwnedFrame) -> Option<(u64, Option<u32>)> {
    let data = &frame.data[..];
    let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let mut at = match frame.link {
        LinkType::ETHERNET => 12,
        LinkType(113) => 14,
        _ => return None,
    };
    while matches!(word(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let (kind, ip) = (word(at)?, at + 2);
    let (protocol, from, len, next, whole) = match kind {
        0x0800 => {
            let header = usize::from(data.get(ip)? & 15) * 4;
            (*data.get(ip + 9)?, ip + 12, 4, ip + header, word(ip + 6)? & 0x3fff == 0)
        }
        0x86dd => (*data.get(ip + 6)?, ip + 8, 16, ip + 40, true),
        _ => return None,
    };
    let sum = |at: usize| {
        let bytes = data.get(at..at + len)?.iter();
        Some(bytes.fold(0u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(*byte))))
    };
    let addresses = sum(from)?.wrapping_add(sum(from + len)?);
    let ports = match protocol {
        6 | 17 if whole => Some(u32::from(word(next)?) + u32::from(word(next + 2)?)),
        _ => None,
    };
    let tunnels = [4789, 8472, 4790, 6081, 2152, 3544];
    let tunnelled = protocol == 17
        && ports.is_some()
        && [word(next)?, word(next + 2)?].iter().any(|port| tunnels.contains(port));
    Some((addresses, ports.filter(|_| !tunnelled)))
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
