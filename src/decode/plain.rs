use crate::source::{Frame, LinkType};

use super::{
    Packet,
    ip::{self, protocol},
    link::ether,
    span::{Span, be16},
    transport,
    walk::Path,
};

/// The packet of a frame like most: Ethernet, IP without options, extensions or fragments, TCP, or UDP
/// that is no tunnel. What [`Decoder::decode`](super::Decoder::decode) gives, in one piece of code that
/// keeps all in registers; `None` for any other frame.
#[inline(always)]
pub(crate) fn plain<'a>(frame: &Frame<'a>) -> Option<Packet<'a>> {
    if frame.link != LinkType::ETHERNET {
        return None;
    }
    let (h, rest) = Span::new(frame.data, frame.wire_len).take::<14>()?;
    let (protocol, span, head) = match be16(h[12], h[13]) {
        ether::IPV4 => ip::plain_v4(rest, Path::OUTSIDE)?,
        ether::IPV6 => ip::header_v6(rest, Path::OUTSIDE).ok()?,
        _ => return None,
    };
    match protocol {
        protocol::TCP => transport::tcp(span, head).ok(),
        protocol::UDP => transport::plain_udp(span, head),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{base::Stamp, decode::link};

    const MACS: [u8; 12] = [2; 12];

    fn ethernet(data: &[u8], cut: u32) -> Frame<'_> {
        let wire_len = data.len() as u32 + cut;
        Frame { stamp: Stamp::default(), link: LinkType::ETHERNET, wire_len, data }
    }

    /// Headers as they mostly are, then changed somewhere.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let v4 = |protocol: u8| {
            let mut h = vec![0x45, 0, 0, 48, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1];
            h.extend([192, 0, 2, 1]);
            [&MACS[..], &[8, 0], &h].concat()
        };
        let v6 = |protocol: u8| {
            let mut h = vec![0x60, 0, 0, 0, 0, 28, protocol, 64];
            h.extend([[0x20; 16], [0x30; 16]].concat());
            [&MACS[..], &[0x86, 0xdd], &h].concat()
        };
        let tcp = [&[0, 80, 4, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18][..], &[7; 14]].concat();
        let udp = [&[18, 181, 0, 53, 0, 28, 0, 0][..], &[8; 20]].concat();
        let whole = [
            [v4(6), tcp.clone()].concat(),
            [v4(17), udp.clone()].concat(),
            [v6(6), tcp].concat(),
            [v6(17), udp].concat(),
        ];
        // Ports of tunnels, lengths and flags among them.
        let byte = prop_oneof![Just(0u8), Just(0x12), Just(0xb5), Just(0x45), any::<u8>()];
        let changes = prop::collection::vec((12usize..70, byte), 0..4);
        (prop::sample::select(whole.to_vec()), changes, 0usize..4).prop_map(
            |(mut bytes, changes, cut)| {
                for (at, byte) in changes {
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                }
                bytes.truncate(bytes.len() - cut * 9);
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn is_what_the_walk_finds(bytes in frame(), more in 0u32..20) {
            let frame = ethernet(&bytes, more);
            if let Some(packet) = plain(&frame) {
                let span = Span::new(frame.data, frame.wire_len);
                let walked = link::frame(frame.link, span, Path::OUTSIDE);
                prop_assert_eq!(walked.ok(), Some(packet));
            }
        }
    }

    #[test]
    fn is_found_without_the_walk() {
        let v4 = [0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
        let udp = |dst: u16| {
            let [high, low] = dst.to_be_bytes();
            [&MACS[..], &[8, 0], &v4, &[0, 9, high, low, 0, 8, 0, 0]].concat()
        };
        let found = |bytes: &[u8]| plain(&ethernet(bytes, 0)).is_some();
        assert!(found(&udp(53)));
        assert!(!found(&udp(4789)));
        assert!(!found(&udp(53)[..40]));
        assert_eq!(plain(&Frame { link: LinkType::RAW, ..ethernet(&udp(53)[14..], 0) }), None);
    }
}
