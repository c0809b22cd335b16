use std::net::IpAddr;

use super::{Packet, Tunnel, Undecoded, fragment::Fragment};

/// What a step of the walk through a frame's headers comes to.
pub(super) type Walk<'a> = Result<Packet<'a>, Stop<'a>>;

/// Encapsulations that are followed into each other. Real networks have three or four.
pub(super) const MAX_DEPTH: u8 = 8;

/// Why the walk ended before a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop<'a> {
    /// There is none.
    Undecoded(Undecoded),
    /// The rest is in other frames.
    Fragment(Fragment<'a>),
    /// The rest must be unpacked.
    Compressed(Compressed<'a>),
}

/// What an IP packet carries, packed with DEFLATE.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compressed<'a> {
    pub(super) head: Head,
    /// What the unpacked bytes begin with.
    pub(super) protocol: u8,
    pub(super) data: &'a [u8],
}

impl From<Undecoded> for Stop<'_> {
    fn from(reason: Undecoded) -> Self {
        Self::Undecoded(reason)
    }
}

/// The encapsulations walked through so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path {
    /// The outermost one.
    pub(super) tunnel: Option<Tunnel>,
    depth: u8,
}

impl Path {
    /// Before the first.
    pub(super) const OUTSIDE: Self = Self { tunnel: None, depth: 0 };

    /// One encapsulation further in. The outermost gives the label.
    pub(super) fn enter(self, tunnel: Tunnel) -> Result<Self, Undecoded> {
        let inside = self.nest()?;
        Ok(Self { tunnel: self.tunnel.or(Some(tunnel)), ..inside })
    }

    /// One header further in that nests but isn't a tunnel.
    pub(super) fn nest(self) -> Result<Self, Undecoded> {
        if self.depth >= MAX_DEPTH {
            return Err(Undecoded::TunnelTooDeep);
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// The IP packet that is being walked through, and how it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Head {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) ident: u16,
    pub(super) path: Path,
}
