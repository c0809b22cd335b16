//! Frame in, packet out: addresses, ports, the transport header and the payload, borrowed from the
//! frame, or a counted reason why not.
//!
//! One walk from the outside in, a file for each kind of header: `link` (and `wlan`) finds the
//! network layer, `ip` finds the transport, `transport` and `icmp` finish, and `tunnel` starts
//! again at what an encapsulation carries. `fragment` keeps the pieces of datagrams until they are
//! whole, `inflate` unpacks. Most frames need none of that: `plain` is for them. Every length is
//! checked against what was captured; none is trusted.

mod fragment;
mod headers;
mod icmp;
mod inflate;
mod ip;
mod link;
mod packet;
mod plain;
mod span;
mod transport;
mod tunnel;
mod undecoded;
mod walk;
mod wlan;

use std::mem;

use crate::{base::Timestamp, source::Frame};
use fragment::{Datagram, Reassembly};
use inflate::Inflater;
use span::Span;
use walk::{Compressed, MAX_DEPTH, Path, Stop};

pub use fragment::FragmentLimits;
pub use packet::{Addr, Body, IcmpError, Packet, Quoted, Tcp, TcpFlags, Transport, Tunnel, Udp};
pub(crate) use plain::plain;
pub use undecoded::Undecoded;

/// Decodes frames. Keeps nothing between frames but IP fragments that wait for their datagram's
/// other parts, within [`FragmentLimits`].
#[derive(Debug)]
pub struct Decoder {
    reassembly: Reassembly,
    inflater: Inflater,
    /// What was last put together or unpacked, borrowed by the packet that was given for it.
    whole: Vec<u8>,
}

impl Decoder {
    /// A decoder that holds no fragment yet.
    pub fn new(limits: FragmentLimits) -> Self {
        let (reassembly, inflater) = (Reassembly::new(limits), Inflater::default());
        Self { reassembly, inflater, whole: Vec::new() }
    }

    /// A decoder for the frames that come after others, the first of them at `start`. It refuses
    /// fragments of datagrams that may have begun before, as [`Undecoded::FragmentUnplaced`]; the
    /// decoder that had the frames before can place them.
    pub fn later(limits: FragmentLimits, start: Timestamp) -> Self {
        Self { reassembly: Reassembly::later(limits, start), ..Self::new(limits) }
    }

    /// Takes over what `later` holds, which had frames that came after this decoder's, the ones
    /// that it refused apart.
    pub fn then(&mut self, later: Self) {
        self.reassembly.then(later.reassembly);
    }

    /// Refuses no more fragments: those whose beginning isn't known are taken for new.
    pub fn place_all(&mut self) {
        self.reassembly.place_all();
    }

    /// The innermost IP packet of a frame, from any link type, through any known encapsulation.
    ///
    /// The frame that completes a fragmented datagram gives the whole datagram; fragments may
    /// repeat bytes but not contradict each other. A UDP tunnel whose content can't be decoded is
    /// given as the plain UDP datagram that it is.
    ///
    /// # Errors
    /// The reason why there is no packet; to be counted, never fatal.
    #[inline(always)]
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Packet<'a>, Undecoded> {
        match plain(frame) {
            Some(packet) => Ok(packet),
            None => self.walk(frame),
        }
    }

    /// Datagrams given up so far with parts missing: their time was over, or room was needed. The
    /// fragments were counted as [`Undecoded::FragmentHeld`] when they came.
    pub fn incomplete_datagrams(&self) -> u64 {
        self.reassembly.incomplete()
    }

    /// As [`Self::decode`], for frames that aren't [`plain`]: reads one header after the other.
    #[inline(never)]
    pub(crate) fn walk<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Packet<'a>, Undecoded> {
        let span = Span::new(frame.data, frame.wire_len);
        match link::frame(frame.link, span, Path::OUTSIDE) {
            Ok(packet) => Ok(packet),
            Err(Stop::Undecoded(reason)) => Err(reason),
            Err(stop) => self.resume(stop, frame.stamp.time),
        }
    }

    /// Goes on where a walk stopped, with bytes that aren't the frame's.
    #[cold]
    fn resume<'a>(&'a mut self, stop: Stop<'a>, now: Timestamp) -> Result<Packet<'a>, Undecoded> {
        let Self { reassembly, inflater, whole } = self;
        let mut content = restore(reassembly, inflater, &stop, now)?;
        // What was restored may be a tunnel that carries a fragment, and so on.
        for depth in 0.. {
            reassembly.recycle(mem::replace(whole, mem::take(&mut content.bytes)));
            match ip::payload(content.protocol, Span::whole(whole), content.head) {
                Ok(_) | Err(Stop::Undecoded(_)) => break,
                Err(_) if depth == MAX_DEPTH => return Err(Undecoded::TunnelTooDeep),
                Err(stop) => content = restore(reassembly, inflater, &stop, now)?,
            }
        }
        // Walked a second time because a borrow can't be kept over a loop that may replace it.
        ip::payload(content.protocol, Span::whole(whole), content.head).map_err(|stop| match stop {
            Stop::Undecoded(reason) => reason,
            Stop::Fragment(_) | Stop::Compressed(_) => Undecoded::TunnelTooDeep,
        })
    }
}

/// The content of the datagram that a walk stopped at, if it is all there.
fn restore(
    reassembly: &mut Reassembly,
    inflater: &mut Inflater,
    stop: &Stop<'_>,
    now: Timestamp,
) -> Result<Datagram, Undecoded> {
    match stop {
        Stop::Undecoded(reason) => Err(*reason),
        Stop::Fragment(fragment) => reassembly.add(fragment, now),
        Stop::Compressed(Compressed { head, protocol, data }) => {
            let mut bytes = reassembly.buffer();
            match inflater.inflate(data, &mut bytes) {
                Ok(()) => Ok(Datagram { head: *head, protocol: *protocol, bytes }),
                Err(reason) => {
                    reassembly.recycle(bytes);
                    Err(reason)
                }
            }
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(FragmentLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Stamp, source::LinkType};
    use inflate::tests::deflate;

    const DEFLATE: u16 = 2;

    /// An IPv4 packet of this protocol.
    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (20 + payload.len() as u16).to_be_bytes();
        let head = [0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol, 0, 0];
        [&head[..], &[10, 0, 0, 1, 10, 0, 0, 2], payload].concat()
    }

    fn ipcomp(next: u8, cpi: u16, payload: &[u8]) -> Vec<u8> {
        let cpi = cpi.to_be_bytes();
        v4(108, &[&[next, 0, cpi[0], cpi[1]], &*deflate(payload)].concat())
    }

    fn decode(data: &[u8], wire_len: usize) -> Result<(Option<Tunnel>, Vec<u8>), Undecoded> {
        let (stamp, link, wire_len) = (Stamp::default(), LinkType::RAW, wire_len as u32);
        let mut decoder = Decoder::default();
        let packet = decoder.decode(&Frame { stamp, link, wire_len, data })?;
        match packet.body {
            Body::Udp(udp) => Ok((packet.tunnel, udp.payload.to_vec())),
            other => panic!("{other:?}"),
        }
    }

    const UDP: [u8; 10] = [0, 5, 0, 53, 0, 10, 0, 0, b'h', b'i'];

    #[test]
    fn unpacks_ipcomp() {
        let tunneled = ipcomp(4, 0xeed1, &v4(17, &UDP));
        let transport = ipcomp(17, DEFLATE, &UDP);
        assert_eq!(decode(&transport, transport.len()), Ok((None, b"hi".to_vec())));
        assert_eq!(decode(&tunneled, tunneled.len()), Ok((Some(Tunnel::IpInIp), b"hi".to_vec())));
        // Another algorithm, another content, cut.
        let lzs = ipcomp(17, 3, &UDP);
        assert_eq!(decode(&lzs, lzs.len()), Err(Undecoded::Encrypted));
        let noise = v4(108, &[17, 0, 0, 2, 0xff, 0xff]);
        assert_eq!(decode(&noise, noise.len()), Err(Undecoded::Encrypted));
        assert_eq!(decode(&transport[..30], transport.len()), Err(Undecoded::TruncatedIp));
    }

    #[test]
    fn unpacking_is_bounded() {
        let mut nested = UDP.to_vec();
        for depth in 1..=9 {
            let next = if depth == 1 { 17 } else { 108 };
            nested = [&[next, 0, 0, 2], &*deflate(&nested)].concat();
            let packet = v4(108, &nested);
            let expected = match depth {
                9 => Err(Undecoded::TunnelTooDeep),
                _ => Ok((None, b"hi".to_vec())),
            };
            assert_eq!(decode(&packet, packet.len()), expected);
        }
        let bomb = ipcomp(17, DEFLATE, &vec![0; 1 << 20]);
        assert_eq!(decode(&bomb, bomb.len()), Err(Undecoded::BadIpHeader));
    }
}
