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
    let h = span.here.first_chunk::<8>().ok_or(Undecoded::TruncatedLink)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Stop;

    /// LLC, SNAP and an IPv4 header.
    const DATA: [u8; 28] = [
        0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 89, 0, 0, 10, 0, 0, 1, 10, 0,
        0, 2,
    ];

    fn result(walk: Walk<'_>) -> Result<(), Undecoded> {
        match walk {
            Ok(_) => Ok(()),
            Err(Stop::Undecoded(reason)) => Err(reason),
            Err(stop) => panic!("{stop:?}"),
        }
    }

    /// A data frame with a header of this length.
    fn data(control: [u8; 2], header_len: usize) -> Vec<u8> {
        let mut frame = vec![0; header_len];
        frame[..2].copy_from_slice(&control);
        frame.extend(DATA);
        frame
    }

    #[test]
    fn header_lengths() {
        for (control, len) in [
            ([0x08, 0x01], 24),
            ([0x08, 0x03], 30),
            ([0x88, 0x02], 26),
            ([0x88, 0x03], 32),
            ([0x88, 0x82], 30),
        ] {
            let frame = data(control, len);
            assert_eq!(result(ieee802_11(Span::whole(&frame), Path::OUTSIDE)), Ok(()));
        }
        let mut aggregate = data([0x88, 0x02], 26 + 14);
        aggregate[24] = 0x80;
        assert_eq!(result(ieee802_11(Span::whole(&aggregate), Path::OUTSIDE)), Ok(()));
    }

    #[test]
    fn only_clear_data_frames() {
        for (control, reason) in [
            ([0x80, 0], Undecoded::NotIp),
            ([0x48, 0], Undecoded::NotIp),
            ([0x08, 0x41], Undecoded::Encrypted),
        ] {
            let frame = data(control, 24);
            assert_eq!(result(ieee802_11(Span::whole(&frame), Path::OUTSIDE)), Err(reason));
        }
    }

    #[test]
    fn radiotap_padding_flag() {
        // TSFT (aligned to 8), then flags with data padding, after a second presence word.
        let mut header = vec![0, 0, 25, 0, 3, 0, 0, 0x80, 0, 0, 0, 0];
        header.resize(24, 0);
        header.push(0x20);
        let frame = [&header[..], &data([0x88, 0x02], 28)].concat();
        assert_eq!(result(radiotap(Span::whole(&frame), Path::OUTSIDE)), Ok(()));
        let plain = [&[0, 0, 8, 0, 0, 0, 0, 0][..], &data([0x88, 0x02], 26)].concat();
        assert_eq!(result(radiotap(Span::whole(&plain), Path::OUTSIDE)), Ok(()));
    }
}
