use super::{
    Undecoded, link,
    span::Span,
    walk::{Path, Walk},
};

/// An IEEE 802.11 frame. Data frames only; of an aggregate (A-MSDU) the first packet.
pub(super) fn ieee802_11(span: Span<'_>, path: Path) -> Walk<'_> {
    data_frame(span, false, path)
}

/// A radiotap header, then an IEEE 802.11 frame.
pub(super) fn radiotap(span: Span<'_>, path: Path) -> Walk<'_> {
    let h = span
        .here
        .first_chunk::<8>()
        .ok_or(Undecoded::TruncatedLink)?;
    let len = usize::from(u16::from_le_bytes([h[2], h[3]]));
    if h[0] != 0 || len < 8 {
        return Err(Undecoded::BadLinkHeader.into());
    }
    let rest = span.skip(len).ok_or(Undecoded::TruncatedLink)?;
    let header = span.here.get(..len).unwrap_or_default();
    data_frame(rest, is_padded(header), path)
}

/// The data-pad flag: the 802.11 header is padded to a multiple of four bytes.
fn is_padded(radiotap: &[u8]) -> bool {
    const TSFT: u32 = 1;
    const FLAGS: u32 = 2;
    const MORE_WORDS: u32 = 1 << 31;
    const DATA_PAD: u8 = 0x20;
    let words = radiotap.get(4..).unwrap_or_default().chunks_exact(4);
    let words = words.map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    let mut present = 0;
    let mut at = 4_usize;
    for (i, word) in words.enumerate() {
        if i == 0 {
            present = word;
        }
        at += 4;
        if word & MORE_WORDS == 0 {
            break;
        }
    }
    if present & TSFT != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    present & FLAGS != 0 && radiotap.get(at).is_some_and(|flags| flags & DATA_PAD != 0)
}

fn data_frame(span: Span<'_>, padded: bool, path: Path) -> Walk<'_> {
    let cut = Undecoded::TruncatedLink;
    let h = span.here.first_chunk::<24>();
    let control = span.here.first_chunk::<2>().ok_or(cut)?;
    let (version, kind, subtype) = (control[0] & 3, control[0] >> 2 & 3, control[0] >> 4);
    let flags = control[1];
    // Data frames that carry none have the subtype's third bit.
    if version != 0 || kind != 2 || subtype & 4 != 0 {
        return Err(Undecoded::NotIp.into());
    }
    if flags & 0x40 != 0 {
        return Err(Undecoded::Encrypted.into());
    }
    let h = h.ok_or(cut)?;
    // Only the first fragment of an MSDU has the headers; it is read as a cut packet.
    if h[22] & 0x0f != 0 {
        return Err(cut.into());
    }
    let mut len = 24;
    if flags & 0x03 == 0x03 {
        len += 6;
    }
    let mut aggregate = false;
    if subtype & 8 != 0 {
        aggregate = span.here.get(len).ok_or(cut)? & 0x80 != 0;
        len += 2;
        // The order bit of a QoS frame announces the HT control field.
        if flags & 0x80 != 0 {
            len += 4;
        }
    }
    if padded {
        len = usize::next_multiple_of(len, 4);
    }
    // A subframe of an aggregate begins with its addresses and length.
    if aggregate {
        len += 14;
    }
    link::llc(span.skip(len).ok_or(cut)?, path)
}
