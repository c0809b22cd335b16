use std::net::IpAddr;

use crate::{
    base::Stamp,
    decode::{Body, IcmpError, Packet, Transport, Tunnel},
    flow::{Endpoint, FlowKey, IcmpSeen},
    scan::heard::Heard,
};

/// What a packet means to one connection. Its captured payload goes beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) key: FlowKey,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// One of its packets.
    Heard { heard: Heard, tunnel: Option<Tunnel> },
    /// One of its packets couldn't be delivered, as an ICMP error says.
    Unreachable(IcmpSeen),
    /// Another ICMP error about one of its packets, which came then.
    Error(Stamp),
}

impl Delivery {
    /// With the payload. `None` for a packet of a protocol that has no connections.
    #[inline(always)]
    pub(super) fn of<'a>(packet: &Packet<'a>, stamp: Stamp) -> Option<(Self, &'a [u8])> {
        let key = |transport, src_port, dst_port| {
            let (src, dst) =
                (Endpoint::at(packet.src, src_port), Endpoint::at(packet.dst, dst_port));
            FlowKey::new(transport, src, dst)
        };
        let (heard, key, payload) = match &packet.body {
            Body::Tcp(tcp) => {
                let (key, from) = key(Transport::Tcp, tcp.src_port, tcp.dst_port);
                (Heard::tcp(from, stamp, packet, tcp), key, tcp.payload)
            }
            Body::Udp(udp) => {
                let (key, from) = key(Transport::Udp, udp.src_port, udp.dst_port);
                (Heard::udp(from, stamp, packet, udp), key, udp.payload)
            }
            Body::IcmpError(error) => {
                return Some((Self::error(packet.src.ip(), *error, stamp), &[]));
            }
            Body::Other(_) => return None,
        };
        Some((Self { key, what: What::Heard { heard, tunnel: packet.tunnel } }, payload))
    }

    /// An error counts for the flow that it quotes, which may never have been seen: a capture of
    /// one direction still shows who was refused.
    fn error(from: IpAddr, error: IcmpError, stamp: Stamp) -> Self {
        let quoted = error.quoted;
        let src = Endpoint::new(quoted.src, quoted.src_port);
        let dst = Endpoint::new(quoted.dst, quoted.dst_port);
        let (key, about) = FlowKey::new(quoted.transport, src, dst);
        let IcmpError { v6, kind, code, .. } = error;
        let what = match error.is_unreachable() {
            true => What::Unreachable(IcmpSeen { stamp, about, from, v6, kind, code }),
            false => What::Error(stamp),
        };
        Self { key, what }
    }
}
