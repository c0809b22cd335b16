use super::{
    cursor::Cursor,
    version::{Kind, Version},
};

/// A packet of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::extract) enum Packet<'a> {
    Long(Long<'a>),
    /// All of it. Only its first byte is in clear, and the destination's connection ID, whose
    /// length it doesn't tell (RFC 9000 section 17.3.1).
    Short(&'a [u8]),
    Negotiation(Negotiation<'a>),
}

/// A Version Negotiation packet (RFC 9000 section 17.2.1): a server that doesn't speak the version
/// which a client chose. Nothing protects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::extract) struct Negotiation<'a> {
    /// The client's connection ID.
    pub(in crate::extract) dcid: &'a [u8],
    /// Where the client sent to.
    pub(in crate::extract) scid: &'a [u8],
    /// What the server speaks, 4 bytes each.
    versions: &'a [u8],
}

impl Negotiation<'_> {
    /// True when it lists this version. Such an answer to it is to be ignored (section 6.2).
    pub(in crate::extract) fn lists(&self, version: Version) -> bool {
        self.versions.chunks_exact(4).any(|listed| listed == version.to_bytes())
    }
}

/// A packet with a long header (RFC 9000 section 17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::extract) struct Long<'a> {
    pub(in crate::extract) kind: Kind,
    pub(in crate::extract) version: Version,
    /// Destination Connection ID, at most [`MAX_CID`] bytes.
    pub(in crate::extract) dcid: &'a [u8],
    /// Source Connection ID, at most [`MAX_CID`] bytes.
    pub(in crate::extract) scid: &'a [u8],
    /// The packet, as much of it as there is.
    pub(super) bytes: &'a [u8],
    /// Where the packet number begins.
    pub(super) number_at: usize,
    /// False when the capture cut it short.
    pub(super) complete: bool,
}

/// Longest connection ID (RFC 9000 section 17.2).
pub(super) const MAX_CID: usize = 20;

/// Fewer bytes than this are no packet with a short header: whoever sends so few can't tell it from
/// a stateless reset (RFC 9000 section 10.3).
const MIN_SHORT: usize = 21;

const LONG: u8 = 0x80;
const FIXED: u8 = 0x40;

/// True when a datagram begins with a long header of a known version. Costs next to nothing.
pub(in crate::extract) fn begins_long(datagram: &[u8]) -> bool {
    match *datagram {
        [first, a, b, c, d, ..] if first & LONG != 0 => {
            Version::known(u32::from_be_bytes([a, b, c, d])).is_some()
        }
        _ => false,
    }
}

/// The packets that a datagram consists of (RFC 9000 section 12.2), up to one that can't be read.
///
/// The fixed bit of a long header may be greased (RFC 9287): the version tells enough. Bytes that
/// pad a datagram behind its last packet are none.
pub(in crate::extract) fn packets(datagram: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let bytes = std::mem::take(&mut rest);
        if *bytes.first()? & LONG == 0 {
            let short = bytes[0] & FIXED != 0 && bytes.len() >= MIN_SHORT;
            return short.then_some(Packet::Short(bytes));
        }
        if let Some(negotiation) = negotiation(bytes) {
            return Some(Packet::Negotiation(negotiation));
        }
        let packet = long(bytes)?;
        rest = &bytes[packet.bytes.len()..];
        Some(Packet::Long(packet))
    })
}

fn long(bytes: &[u8]) -> Option<Long<'_>> {
    let mut cursor = Cursor(bytes);
    let first = cursor.u8()?;
    let version = Version::known(cursor.u32()?)?;
    let kind = version.kind(first);
    let dcid = connection_id(&mut cursor)?;
    let scid = connection_id(&mut cursor)?;
    if kind == Kind::Initial {
        let token_len = cursor.varint()?;
        cursor.take_u64(token_len)?;
    }
    if kind == Kind::Retry {
        // It takes the rest of the datagram (RFC 9000 section 17.2.5).
        let number_at = bytes.len();
        return Some(Long { kind, version, dcid, scid, bytes, number_at, complete: true });
    }
    let len = usize::try_from(cursor.varint()?).ok()?;
    let number_at = bytes.len() - cursor.0.len();
    let complete = len <= cursor.0.len();
    let end = number_at + len.min(cursor.0.len());
    Some(Long { kind, version, dcid, scid, bytes: &bytes[..end], number_at, complete })
}

/// It takes the whole datagram.
fn negotiation(bytes: &[u8]) -> Option<Negotiation<'_>> {
    let mut cursor = Cursor(bytes);
    cursor.u8()?;
    if cursor.u32()? != 0 {
        return None;
    }
    let (dcid, scid) = (connection_id(&mut cursor)?, connection_id(&mut cursor)?);
    let versions = cursor.0;
    let some = !versions.is_empty() && versions.len().is_multiple_of(4);
    some.then_some(Negotiation { dcid, scid, versions })
}

fn connection_id<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = usize::from(cursor.u8()?);
    if len > MAX_CID { None } else { cursor.take(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_coalesced_packets() {
        let initial = [0xc0, 0, 0, 0, 1, 1, 7, 2, 8, 9, 1, 0xaa, 3, 1, 2, 3];
        let handshake = [0xe0, 0, 0, 0, 1, 1, 7, 2, 8, 9, 0x40, 2, 1, 2];
        let short = [0x40; 21];
        let datagram = [&initial[..], &handshake, &short].concat();
        let found: Vec<_> = packets(&datagram).collect();
        let [Packet::Long(a), Packet::Long(b), Packet::Short(c)] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((a.kind, a.dcid, a.scid), (Kind::Initial, &[7][..], &[8, 9][..]));
        assert_eq!((a.bytes, a.number_at, a.complete), (&initial[..], 13, true));
        assert_eq!((b.kind, b.bytes, b.number_at), (Kind::Handshake, &handshake[..], 12));
        assert_eq!(c, short);
    }

    #[test]
    fn padding_behind_the_last_packet_is_no_packet() {
        let handshake = [0xe0, 0, 0, 0, 1, 0, 0, 1, 0xff];
        assert_eq!(packets(&[&handshake[..], &[0; 40]].concat()).count(), 1);
        assert_eq!(packets(&[&handshake[..], &[0x40; 20]].concat()).count(), 1);
    }

    #[test]
    fn a_cut_packet_is_told() {
        let found: Vec<_> = packets(&[0x80, 0, 0, 0, 1, 0, 0, 0, 9, 1, 2]).collect();
        let [Packet::Long(packet)] = found[..] else { panic!("{found:?}") };
        assert!(!packet.complete && packet.bytes.len() == 11);
    }

    #[test]
    fn a_version_negotiation_takes_the_whole_datagram() {
        let bytes = [0x80, 0, 0, 0, 0, 2, 1, 2, 1, 3, 0, 0, 0, 1, 0x1a, 0x2a, 0x3a, 0x4a];
        let found: Vec<_> = packets(&bytes).collect();
        let [Packet::Negotiation(packet)] = found[..] else { panic!("{found:?}") };
        assert_eq!((packet.dcid, packet.scid), (&[1, 2][..], &[3][..]));
        let lists = |number| packet.lists(Version::known(number).unwrap());
        assert!(lists(1) && !lists(0x6b33_43cf));
    }

    #[test]
    fn other_datagrams_hold_none() {
        let cid_too_long = [&[0xc0, 0, 0, 0, 1, 21][..], &[0; 60]].concat();
        let negotiation = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let grease = [0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 0, 0, 0, 1, 0];
        for datagram in [&b""[..], b"\x16\xfe\xfd", &cid_too_long, &negotiation, &grease] {
            assert_eq!(packets(datagram).count(), 0);
        }
        assert!(!begins_long(&negotiation) && !begins_long(&grease) && begins_long(&cid_too_long));
    }
}
