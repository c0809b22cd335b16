use super::cursor::Cursor;

/// What the frames of an Initial packet tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::extract) enum Frame<'a> {
    Ack,
    /// Bytes of the TLS handshake.
    Crypto {
        offset: u64,
        data: &'a [u8],
    },
    /// The sender gives up, with this error.
    Close {
        code: u64,
    },
}

/// The frames of an Initial packet (RFC 9000 section 19), up to one that can't be read. PADDING and
/// PING are left out.
pub(in crate::extract) fn frames(payload: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut cursor = Cursor(payload);
    std::iter::from_fn(move || {
        cursor.0 = skip_padding(cursor.0)?;
        let frame = frame(&mut cursor);
        if frame.is_none() {
            cursor.0 = &[];
        }
        frame
    })
}

/// What follows PADDING and PING. Some hundred bytes of PADDING are common: most of them are passed
/// over many at a time.
fn skip_padding(payload: &[u8]) -> Option<&[u8]> {
    let rest = skip_runs::<16>(skip_runs::<128>(payload));
    rest.iter().position(|kind| *kind > 1).map(|start| &rest[start..])
}

/// What follows whole runs of PADDING and PING.
fn skip_runs<const RUN: usize>(payload: &[u8]) -> &[u8] {
    let is_padding = |run: &&[u8; RUN]| run.iter().fold(0, |all, kind| all | kind) <= 1;
    let runs = payload.as_chunks::<RUN>().0.iter().take_while(is_padding).count();
    &payload[runs * RUN..]
}

fn frame<'a>(cursor: &mut Cursor<'a>) -> Option<Frame<'a>> {
    match cursor.u8()? {
        kind @ (0x02 | 0x03) => ack(cursor, kind == 0x03),
        0x06 => {
            let offset = cursor.varint()?;
            let len = cursor.varint()?;
            Some(Frame::Crypto { offset, data: cursor.take_u64(len)? })
        }
        kind @ (0x1c | 0x1d) => {
            let code = cursor.varint()?;
            if kind == 0x1c {
                cursor.varint()?; // type of the frame that is to blame
            }
            let len = cursor.varint()?;
            cursor.take_u64(len)?;
            Some(Frame::Close { code })
        }
        // No other frame may be in an Initial packet (RFC 9000 section 12.4).
        _ => None,
    }
}

fn ack<'a>(cursor: &mut Cursor<'a>, with_ecn: bool) -> Option<Frame<'a>> {
    cursor.varint()?; // largest acknowledged
    cursor.varint()?; // delay
    let ranges = cursor.varint()?;
    cursor.varint()?; // first range
    // Each range takes 2 bytes at least, so that the payload bounds the loop.
    for _ in 0..ranges {
        cursor.varint()?;
        cursor.varint()?;
    }
    if with_ecn {
        for _ in 0..3 {
            cursor.varint()?;
        }
    }
    Some(Frame::Ack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_kind() {
        let payload = [
            &[0, 0, 1][..],
            &[0x02, 9, 0, 1, 2, 0, 1],
            &[0x03, 9, 0, 0, 2, 1, 2, 3],
            &[0x06, 0x40, 5, 2, 0xaa, 0xbb],
            &[0x06, 0, 0],
            &[0x1c, 0x41, 0x28, 0x06, 1, b'x'],
            &[0; 30],
        ]
        .concat();
        let expected = [
            Frame::Ack,
            Frame::Ack,
            Frame::Crypto { offset: 5, data: &[0xaa, 0xbb] },
            Frame::Crypto { offset: 0, data: &[] },
            Frame::Close { code: 0x128 },
        ];
        assert_eq!(frames(&payload).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn stops_at_what_is_damaged() {
        let endless = [0x02, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
        for payload in [&[0x06, 0, 5, 1][..], &[0x08, 0x06, 0, 0], &endless, &[0x06]] {
            assert_eq!(frames(payload).count(), 0);
        }
    }
}
