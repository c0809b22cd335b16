use std::net::IpAddr;

use crate::{
    base::Stamp,
    decode::{Body, IcmpError, Packet, Transport, Tunnel},
    flow::{Endpoint, FlowKey, Side},
    scan::heard::Heard,
};

/// What a packet means to one connection. `B` is where its payload lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery<B> {
    pub(super) key: FlowKey,
    pub(super) what: What<B>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What<B> {
    /// One of its packets.
    Heard { heard: Heard<B>, tunnel: Option<Tunnel> },
    /// An ICMP error that `from` sent about a packet of the side `about`.
    Error { about: Side, stamp: Stamp, from: IpAddr, error: IcmpError },
}

impl<'a> Delivery<&'a [u8]> {
    /// `None` for a packet of a protocol that has no connections.
    pub(super) fn of(packet: &Packet<'a>, stamp: Stamp) -> Option<Self> {
        let key = |transport, src_port, dst_port| {
            let src = Endpoint::new(packet.src, src_port);
            FlowKey::new(transport, src, Endpoint::new(packet.dst, dst_port))
        };
        let (heard, key) = match &packet.body {
            Body::Tcp(tcp) => {
                let (key, from) = key(Transport::Tcp, tcp.src_port, tcp.dst_port);
                (Heard::tcp(from, stamp, packet, tcp), key)
            }
            Body::Udp(udp) => {
                let (key, from) = key(Transport::Udp, udp.src_port, udp.dst_port);
                (Heard::udp(from, stamp, packet, udp), key)
            }
            Body::IcmpError(error) => return Some(Self::error(packet.src, *error, stamp)),
            Body::Other(_) => return None,
        };
        Some(Self { key, what: What::Heard { heard, tunnel: packet.tunnel } })
    }

    /// An error counts for the flow that it quotes, which may never have been seen: a capture of
    /// one direction still shows who was refused.
    fn error(from: IpAddr, error: IcmpError, stamp: Stamp) -> Self {
        let quoted = error.quoted;
        let src = Endpoint::new(quoted.src, quoted.src_port);
        let dst = Endpoint::new(quoted.dst, quoted.dst_port);
        let (key, about) = FlowKey::new(quoted.transport, src, dst);
        Self { key, what: What::Error { about, stamp, from, error } }
    }
}

impl<B> Delivery<B> {
    /// The same, with its payload elsewhere.
    pub(super) fn map<C>(self, payload: impl FnOnce(B) -> C) -> Delivery<C> {
        let what = match self.what {
            What::Heard { heard, tunnel } => What::Heard { heard: heard.map(payload), tunnel },
            What::Error { about, stamp, from, error } => What::Error { about, stamp, from, error },
        };
        Delivery { key: self.key, what }
    }
}
