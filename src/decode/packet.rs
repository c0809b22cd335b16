use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

/// A decoded frame: the innermost IP packet and its transport header. Borrows the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// The IPv4 identification; 0 for IPv6. Tells a second copy of a packet from a retransmission.
    pub ident: u16,
    /// The outermost tunnel that was opened to get here.
    pub tunnel: Option<Tunnel>,
    /// What the IP packet carries.
    pub body: Body<'a>,
}

/// An address in two words, IPv4 as its IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2): what is
/// done with each packet's addresses takes a fraction of the time that [`IpAddr`] does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Addr(
    /// The upper half first. One `u128` takes more room, as it is aligned to 16 bytes.
    [u64; 2],
);

/// The lower half of an IPv4-mapped address, without the IPv4 address.
const MAPPED: u64 = 0xffff << 32;

impl Addr {
    /// From an address.
    #[inline(always)]
    pub const fn new(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => Self([0, MAPPED | v4.to_bits() as u64]),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                Self([(bits >> 64) as u64, bits as u64])
            }
        }
    }

    /// The address; IPv4-mapped ones as IPv4.
    #[inline]
    pub const fn ip(self) -> IpAddr {
        let [upper, lower] = self.0;
        if upper == 0 && lower & !(u32::MAX as u64) == MAPPED {
            return IpAddr::V4(Ipv4Addr::from_bits(lower as u32));
        }
        IpAddr::V6(Ipv6Addr::from_bits(self.bits()))
    }

    /// As a number.
    #[inline(always)]
    pub const fn bits(self) -> u128 {
        let [upper, lower] = self.0;
        (upper as u128) << 64 | lower as u128
    }

    /// The two words, the upper half first.
    pub const fn words(self) -> [u64; 2] {
        self.0
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A TCP segment.
    Tcp(Tcp<'a>),
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// An ICMP or ICMPv6 error that quotes a TCP or UDP packet.
    IcmpError(IcmpError),
    /// Another ICMP or ICMPv6 message, or another IP protocol, by its number.
    Other(u8),
}

/// A TCP segment (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first payload byte, or of the SYN.
    pub seq: u32,
    /// Acknowledgment number; meaningless without [`TcpFlags::ACK`].
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Payload bytes on the wire. May exceed `payload.len()` in a snaplen-cut frame.
    pub payload_len: u32,
    /// Captured payload.
    pub payload: &'a [u8],
}

/// A UDP datagram (RFC 768).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Payload bytes on the wire. May exceed `payload.len()` in a snaplen-cut frame.
    pub payload_len: u32,
    /// Captured payload.
    pub payload: &'a [u8],
}

/// TCP control bits: the low eight of the field in RFC 9293 section 3.1.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);

    /// True when every bit of `bits` is set.
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = b"FSRPAUEC";
        for (bit, letter) in letters.iter().enumerate() {
            if self.0 >> bit & 1 == 1 {
                write!(f, "{}", *letter as char)?;
            }
        }
        Ok(())
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// `tcp` or `udp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An ICMP (RFC 792) or ICMPv6 (RFC 4443) error: destination unreachable, time exceeded, packet
/// too big, parameter problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// True for ICMPv6.
    pub v6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The packet that the error is about, as far as it is quoted.
    pub quoted: Quoted,
}

impl IcmpError {
    /// True when the error says that the destination can't be reached or mustn't be: every
    /// destination-unreachable code except IPv4's "fragmentation needed" (RFC 1191), which asks for
    /// smaller packets, and time exceeded in transit, which is a routing loop.
    pub const fn is_unreachable(self) -> bool {
        match (self.v6, self.kind) {
            (false, 3) => self.code != 4,
            (true, 1) => true,
            (false, 11) | (true, 3) => self.code == 0,
            _ => false,
        }
    }
}

/// The addressing of a packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// TCP or UDP.
    pub transport: Transport,
    /// Source: the sender who is told about the error.
    pub src: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination that wasn't reached.
    pub dst: IpAddr,
    /// Destination port.
    pub dst_port: u16,
}

/// An encapsulation that carries whole packets. The flow is the inner one; this is its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Tunnel {
    IpInIp,
    Gre,
    Erspan,
    Vxlan,
    Geneve,
    Gtp,
    Mpls,
    Pppoe,
    Teredo,
}
