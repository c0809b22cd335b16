use std::{
    fmt,
    hash::{Hash, Hasher},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::decode::{Addr, Transport};

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    addr: Addr,
    port: u16,
}

impl Endpoint {
    /// From an address and a port.
    pub const fn new(addr: IpAddr, port: u16) -> Self {
        Self::at(Addr::new(addr), port)
    }

    /// From an address of a packet and a port.
    #[inline(always)]
    pub const fn at(addr: Addr, port: u16) -> Self {
        Self { addr, port }
    }

    /// The address; IPv4-mapped ones as IPv4.
    #[inline]
    pub const fn addr(self) -> IpAddr {
        self.addr.ip()
    }

    /// The port.
    pub const fn port(self) -> u16 {
        self.port
    }

    #[inline(always)]
    const fn is_above(self, other: Self) -> bool {
        let (mine, others) = (self.addr.bits(), other.addr.bits());
        mine > others || (mine == others && self.port > other.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.addr(), self.port).fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One of the two ends of a flow, before it is known which of them is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The end with the lower (address, port).
    Low,
    /// The other end.
    High,
}

impl Side {
    /// 0 or 1, to index a pair.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The opposite end.
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// What all packets of a flow share, whichever way they go. 40 bytes: every flow has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowKey {
    /// By [`Side::index`], as the ports.
    addrs: [Addr; 2],
    ports: [u16; 2],
    transport: Transport,
}

impl FlowKey {
    /// The key of a packet from `src` to `dst`, and the side that sent it.
    #[inline(always)]
    pub fn new(transport: Transport, src: Endpoint, dst: Endpoint) -> (Self, Side) {
        // Looked up, not branched to: which way a packet goes can't be foreseen.
        let from = if src.is_above(dst) { Side::High } else { Side::Low };
        let ends = [src, dst];
        let (low, high) = (ends[from.index()], ends[from.other().index()]);
        let (addrs, ports) = ([low.addr, high.addr], [low.port, high.port]);
        (Self { addrs, ports, transport }, from)
    }

    /// The endpoint on a side.
    pub const fn end(&self, side: Side) -> Endpoint {
        Endpoint { addr: self.addrs[side.index()], port: self.ports[side.index()] }
    }

    /// TCP or UDP.
    pub const fn transport(&self) -> Transport {
        self.transport
    }
}

/// In five words, not byte by byte.
impl Hash for FlowKey {
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [[a, b], [c, d]] = self.addrs.map(Addr::words);
        let [low_port, high_port] = self.ports.map(u64::from);
        state.write_u64(a);
        state.write_u64(b);
        state.write_u64(c);
        state.write_u64(d);
        state.write_u64(low_port << 32 | high_port << 8 | self.transport as u64);
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.end(Side::Low), self.end(Side::High));
        write!(f, "{} {low} {high}", self.transport)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(addr: &str, port: u16) -> Endpoint {
        Endpoint::new(addr.parse().unwrap(), port)
    }

    #[test]
    fn both_directions_share_a_key() {
        let (a, b) = (end("10.0.0.1", 50000), end("2001:db8::1", 443));
        let (there, from_a) = FlowKey::new(Transport::Tcp, a, b);
        let (back, from_b) = FlowKey::new(Transport::Tcp, b, a);
        assert_eq!(there, back);
        assert_eq!(from_a, from_b.other());
        assert_eq!(there.end(from_a), a);
    }

    #[test]
    fn a_port_alone_tells_sides_apart() {
        let (key, side) = FlowKey::new(Transport::Udp, end("::1", 9), end("::1", 8));
        assert_eq!(key.end(side).port(), 9);
        assert_eq!(key.end(side.other()).port(), 8);
    }

    #[test]
    fn addresses_come_back_as_they_were() {
        assert_eq!(end("::ffff:192.0.2.1", 1), end("192.0.2.1", 1));
        assert_eq!(end("::192.0.2.1", 1).to_string(), "[::c000:201]:1");
        assert_eq!(end("192.0.2.1", 1).addr().to_string(), "192.0.2.1");
        assert_eq!(end("fe80::1", 1).to_string(), "[fe80::1]:1");
    }

    proptest! {
        #[test]
        fn an_end_is_above_another_when_it_is_greater(
            addrs: [IpAddr; 2],
            ports: [u16; 2],
            same_addr: bool,
        ) {
            let other = addrs[usize::from(!same_addr)];
            let (a, b) = (Endpoint::new(addrs[0], ports[0]), Endpoint::new(other, ports[1]));
            prop_assert_eq!(a.is_above(b), a > b);
            prop_assert_eq!(b.is_above(a), b > a);
            prop_assert!(!a.is_above(a));
        }
    }
}
