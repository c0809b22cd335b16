//! Framing: records, length-prefixed fields, extensions. Nothing here trusts a length.

use crate::extract::Probe;

/// Bytes of a record header: type, version, length (RFC 8446 section 5.1).
pub(super) const HEADER: usize = 5;

/// Bytes of a handshake message's header: type, 24-bit length (RFC 8446 section 4).
pub(super) const MESSAGE_HEADER: usize = 4;

/// Longest record: RFC 5246 section 6.2.3 allows 2048 bytes of expansion, RFC 8446 fewer.
const MAX_RECORD: usize = (1 << 14) + 2048;

/// Content types (RFC 8446 appendix B.1).
pub(super) mod content {
    pub(in super::super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
    pub(in super::super) const APPLICATION_DATA: u8 = 23;
}

/// Handshake types (RFC 8446 appendix B.3) that are told apart here.
pub(super) mod handshake {
    pub(in super::super) const CLIENT_HELLO: u8 = 1;
    pub(in super::super) const SERVER_HELLO: u8 = 2;
    pub(in super::super) const CERTIFICATE: u8 = 11;
    pub(in super::super) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(in super::super) const SERVER_HELLO_DONE: u8 = 14;
    pub(in super::super) const CLIENT_KEY_EXCHANGE: u8 = 16;
}

/// Extension types (RFC 6066, 7301, 8446, 9849) that are told apart here.
pub(super) mod extension {
    pub(in super::super) const SERVER_NAME: u16 = 0;
    pub(in super::super) const ALPN: u16 = 16;
    pub(in super::super) const SESSION_TICKET: u16 = 35;
    pub(in super::super) const PRE_SHARED_KEY: u16 = 41;
    pub(in super::super) const EARLY_DATA: u16 = 42;
    pub(in super::super) const SUPPORTED_VERSIONS: u16 = 43;
    pub(in super::super) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// A record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Content type.
    pub(super) kind: u8,
    /// Payload bytes that follow.
    pub(super) len: usize,
}

/// Reads a record header; `Not` as soon as the first wrong byte is there.
pub(super) fn header(bytes: &[u8]) -> Probe<Header> {
    let plausible = bytes
        .iter()
        .zip([20..=24, 3..=3, 0..=4, 0..=(MAX_RECORD >> 8) as u8])
        .all(|(byte, range)| range.contains(byte));
    match *bytes {
        _ if !plausible => Probe::Not,
        [kind, _, _, high, low, ..] => match usize::from(u16::from_be_bytes([high, low])) {
            len if len <= MAX_RECORD => Probe::Found(Header { kind, len }),
            _ => Probe::Not,
        },
        _ => Probe::More(HEADER),
    }
}

/// Length of a handshake message with its header, once that is there.
pub(super) fn message_len(message: &[u8]) -> Option<usize> {
    let mut cursor = Cursor(message.get(1..)?);
    Some(MESSAGE_HEADER + cursor.u24()?)
}

/// Reads fields off the front of a slice. A read that doesn't fit gives `None` and takes nothing.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// As `take`, but what is there when there is less.
    pub(super) fn take_at_most(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    pub(super) fn u24(&mut self) -> Option<usize> {
        self.take(3).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]) as usize)
    }

    /// A vector with an 8-bit length (RFC 8446 section 3.4).
    pub(super) fn vec8(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let field = ahead.u8().and_then(|n| ahead.take(n.into()))?;
        *self = ahead;
        Some(field)
    }

    /// A vector with a 16-bit length.
    pub(super) fn vec16(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let field = ahead.u16().and_then(|n| ahead.take(n.into()))?;
        *self = ahead;
        Some(field)
    }
}

/// One extension of a hello (RFC 8446 section 4.2).
pub(super) struct Extension<'a> {
    pub(super) kind: u16,
    /// Type, length and data, as on the wire.
    pub(super) whole: &'a [u8],
    /// As much of the data as there is.
    pub(super) data: &'a [u8],
    /// False when the data is cut short.
    pub(super) complete: bool,
}

/// The extensions of a block, the last of which may be cut short.
pub(super) fn extensions(block: &[u8]) -> impl Iterator<Item = Extension<'_>> {
    let mut cursor = Cursor(block);
    std::iter::from_fn(move || {
        let start = cursor.0;
        let kind = cursor.u16()?;
        let len = usize::from(cursor.u16()?);
        let data = cursor.take_at_most(len);
        Some(Extension { kind, whole: &start[..4 + data.len()], data, complete: data.len() == len })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_refused_at_its_first_wrong_byte() {
        assert_eq!(header(b""), Probe::More(5));
        assert_eq!(header(b"G"), Probe::Not);
        assert_eq!(header(&[22, 4]), Probe::Not);
        assert_eq!(header(&[22, 3, 5]), Probe::Not);
        assert_eq!(header(&[22, 3, 1, 0x49]), Probe::Not);
        assert_eq!(header(&[22, 3, 1, 0x48, 1]), Probe::Not);
        assert_eq!(header(&[22, 3, 1, 2]), Probe::More(5));
        let whole = Header { kind: 22, len: 512 };
        assert_eq!(header(&[22, 3, 1, 2, 0, 1]), Probe::Found(whole));
    }

    #[test]
    fn a_read_that_does_not_fit_takes_nothing() {
        let mut cursor = Cursor(&[0, 3, 1, 2]);
        assert_eq!(cursor.vec16(), None);
        assert_eq!(cursor.vec8(), Some(&[][..]));
        assert_eq!(cursor.u24(), Some(0x03_0102));
        assert_eq!(cursor.u8(), None);
    }
}
