use std::fmt;

use crate::base::Stamp;

/// One captured link-layer record. Borrows the capture's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When and where it was captured.
    pub stamp: Stamp,
    /// How `data` begins.
    pub link: LinkType,
    /// Length on the wire in bytes; more than `data` holds when a snap length cut it.
    pub wire_len: u32,
    /// The captured bytes.
    pub data: &'a [u8],
}

/// A link-layer header type: the LINKTYPE_ number that capture files carry
/// (draft-ietf-opsawg-pcaplinktype).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// From the link-type field of a capture's header. Drops the FCS length and the flags in the
    /// upper half (draft-ietf-opsawg-pcap section 4) and maps the platform-specific numbers of raw
    /// IP, 12 and 14, to [`Self::RAW`].
    pub const fn from_header(field: u32) -> Self {
        match field as u16 {
            12 | 14 => Self::RAW,
            other => Self(other),
        }
    }

    /// BSD loopback: a 4-byte address family in the capturing host's byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, perhaps with HDLC framing.
    pub const PPP: Self = Self(9);
    /// PPP in HDLC-like framing (RFC 1662).
    pub const PPP_HDLC: Self = Self(50);
    /// PPP over Ethernet session header (RFC 2516), without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IPv4 or IPv6, told apart by the version nibble.
    pub const RAW: Self = Self(101);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback: as [`Self::NULL`] in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, version 1 (`-i any` of older tools).
    pub const LINUX_SLL: Self = Self(113);
    /// Radiotap header, then IEEE 802.11.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netlink messages.
    pub const NETLINK: Self = Self(253);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NULL => "NULL",
            Self::ETHERNET => "ETHERNET",
            Self::PPP => "PPP",
            Self::PPP_HDLC => "PPP_HDLC",
            Self::PPP_ETHER => "PPP_ETHER",
            Self::RAW | Self(12) => "RAW",
            Self::IEEE802_11 => "IEEE802_11",
            Self::LOOP => "LOOP",
            Self::LINUX_SLL => "LINUX_SLL",
            Self::IEEE802_11_RADIOTAP => "IEEE802_11_RADIOTAP",
            Self::IPV4 => "IPV4",
            Self::IPV6 => "IPV6",
            Self::NETLINK => "NETLINK",
            Self::LINUX_SLL2 => "LINUX_SLL2",
            Self(other) => return write!(f, "LINKTYPE_{other}"),
        };
        f.write_str(name)
    }
}
