use std::fmt;

/// Why a frame gave no packet. Cheap to count: `counts[reason.index()] += 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Undecoded {
    /// Nothing of the IP family: ARP, LLDP, spanning tree, 802.11 management and the like.
    NotIp,
    /// The capture's link type isn't known here; the frame's `link` names it.
    UnsupportedLinkType,
    /// A message between processes and the Linux kernel, not a packet.
    Netlink,
    /// Cut by snap length or damage within the link-layer header, or a tunnel's.
    TruncatedLink,
    /// Cut within the IP header or its extensions.
    TruncatedIp,
    /// Cut within the TCP, UDP or ICMP header.
    TruncatedTransport,
    /// A link-layer or tunnel header that contradicts itself.
    BadLinkHeader,
    /// An IP header with a wrong version or impossible lengths.
    BadIpHeader,
    /// A TCP or UDP header with impossible lengths.
    BadTransportHeader,
    /// More VLAN tags, labels or extension headers than any network uses.
    TooManyHeaders,
    /// More nested tunnels than are followed.
    TunnelTooDeep,
    /// The content is encrypted: ESP, MACsec, protected 802.11, compressed or encrypted PPP, IPComp
    /// that isn't DEFLATE.
    Encrypted,
    /// A fragment that waits for the rest of its datagram.
    FragmentHeld,
    /// A fragment of a datagram that was given or given up a moment ago.
    FragmentLate,
    /// A fragment that was cut by the snap length, so that its datagram can't be completed.
    FragmentCut,
    /// A fragment with an impossible offset or length.
    FragmentBad,
    /// A fragment that contradicts the bytes of an earlier one; its datagram is dropped.
    FragmentOverlap,
    /// A fragment that didn't fit into the bound on bytes held.
    FragmentLimit,
    /// A fragment whose datagram may have begun before the first frame of this decoder, where
    /// another one was at work. Nothing was done with it.
    FragmentUnplaced,
}

impl Undecoded {
    /// Every reason, in the order of [`Self::index`].
    pub const ALL: [Self; 19] = [
        Self::NotIp,
        Self::UnsupportedLinkType,
        Self::Netlink,
        Self::TruncatedLink,
        Self::TruncatedIp,
        Self::TruncatedTransport,
        Self::BadLinkHeader,
        Self::BadIpHeader,
        Self::BadTransportHeader,
        Self::TooManyHeaders,
        Self::TunnelTooDeep,
        Self::Encrypted,
        Self::FragmentHeld,
        Self::FragmentLate,
        Self::FragmentCut,
        Self::FragmentBad,
        Self::FragmentOverlap,
        Self::FragmentLimit,
        Self::FragmentUnplaced,
    ];

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Stable name, as reports print it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::UnsupportedLinkType => "unsupported_link_type",
            Self::Netlink => "netlink",
            Self::TruncatedLink => "truncated_link",
            Self::TruncatedIp => "truncated_ip",
            Self::TruncatedTransport => "truncated_transport",
            Self::BadLinkHeader => "bad_link_header",
            Self::BadIpHeader => "bad_ip_header",
            Self::BadTransportHeader => "bad_transport_header",
            Self::TooManyHeaders => "too_many_headers",
            Self::TunnelTooDeep => "tunnel_too_deep",
            Self::Encrypted => "encrypted",
            Self::FragmentHeld => "fragment_held",
            Self::FragmentLate => "fragment_late",
            Self::FragmentCut => "fragment_cut",
            Self::FragmentBad => "fragment_bad",
            Self::FragmentOverlap => "fragment_overlap",
            Self::FragmentLimit => "fragment_limit",
            Self::FragmentUnplaced => "fragment_unplaced",
        }
    }
}

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn index_is_the_position_and_names_are_unique() {
        for (i, reason) in Undecoded::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
        }
        let names: HashSet<_> = Undecoded::ALL.iter().map(Undecoded::reason).collect();
        assert_eq!(names.len(), Undecoded::ALL.len());
    }
}
