//! Frame in, packet out: addresses, ports, the transport header and the payload, borrowed from the
//! frame, or a counted reason why not.
//!
//! One walk from the outside in, a file for each kind of header: `link` (and `wlan`) finds the
//! network layer, `ip` finds the transport, `transport` and `icmp` finish, and `tunnel` starts
//! again at what an encapsulation carries. `fragment` keeps the pieces of datagrams until they are
//! whole. Every length is checked against what was captured; none is trusted.

mod fragment;
mod headers;
mod icmp;
mod ip;
mod link;
mod packet;
mod span;
mod transport;
mod tunnel;
mod undecoded;
mod walk;
mod wlan;

use std::mem;

use crate::{base::Timestamp, source::Frame};
use fragment::{Fragment, Reassembly};
use span::Span;
use walk::{MAX_DEPTH, Path, Stop};

pub use fragment::FragmentLimits;
pub use packet::{Body, IcmpError, Packet, Quoted, Tcp, TcpFlags, Transport, Tunnel, Udp};
pub use undecoded::Undecoded;

/// Decodes frames. Keeps nothing between frames but IP fragments that wait for their datagram's
/// other parts, within [`FragmentLimits`].
#[derive(Debug)]
pub struct Decoder {
    reassembly: Reassembly,
    /// The last reassembled datagram, borrowed by the packet that was given for it.
    whole: Vec<u8>,
}

impl Decoder {
    /// A decoder that holds no fragment yet.
    pub fn new(limits: FragmentLimits) -> Self {
        Self { reassembly: Reassembly::new(limits), whole: Vec::new() }
    }

    /// The innermost IP packet of a frame, from any link type, through any known encapsulation.
    ///
    /// The frame that completes a fragmented datagram gives the whole datagram; fragments may
    /// repeat bytes but not contradict each other. A UDP tunnel whose content can't be decoded is
    /// given as the plain UDP datagram that it is.
    ///
    /// # Errors
    /// The reason why there is no packet; to be counted, never fatal.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Packet<'a>, Undecoded> {
        let span = Span::new(frame.data, frame.wire_len);
        match link::frame(frame.link, span, Path::OUTSIDE) {
            Ok(packet) => Ok(packet),
            Err(Stop::Undecoded(reason)) => Err(reason),
            Err(Stop::Fragment(fragment)) => self.reassemble(fragment, frame.stamp.time),
        }
    }

    /// Datagrams given up so far with parts missing: their time was over, or room was needed. The
    /// fragments were counted as [`Undecoded::FragmentHeld`] when they came.
    pub fn incomplete_datagrams(&self) -> u64 {
        self.reassembly.incomplete()
    }

    #[cold]
    fn reassemble<'a>(
        &'a mut self,
        fragment: Fragment<'a>,
        now: Timestamp,
    ) -> Result<Packet<'a>, Undecoded> {
        let mut datagram = self.reassembly.add(&fragment, now)?;
        // What was reassembled may be a tunnel that carries a fragment, and so on.
        for _ in 0..MAX_DEPTH {
            let last = mem::replace(&mut self.whole, mem::take(&mut datagram.bytes));
            self.reassembly.recycle(last);
            match ip::payload(datagram.protocol, Span::whole(&self.whole), datagram.head) {
                Err(Stop::Fragment(inner)) => datagram = self.reassembly.add(&inner, now)?,
                _ => break,
            }
        }
        // Walked a second time because a borrow can't be kept over a loop that may replace it.
        ip::payload(datagram.protocol, Span::whole(&self.whole), datagram.head).map_err(|stop| {
            match stop {
                Stop::Undecoded(reason) => reason,
                Stop::Fragment(_) => Undecoded::TunnelTooDeep,
            }
        })
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(FragmentLimits::default())
    }
}
