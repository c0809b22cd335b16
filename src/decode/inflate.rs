//! DEFLATE (RFC 1951) inside packets. `source` names the same crate to read compressed files: the
//! format is the same, but one unpacks endless streams, the other a packet at a time within a bound,
//! and neither room may know the other.

use flate2::{Decompress, FlushDecompress, Status};

use super::Undecoded;

/// The most that an IP packet can hold.
const MAX_LEN: usize = 65_535;

/// Unpacks what single packets carry; keeps nothing from one to the next but memory.
#[derive(Debug, Default)]
pub(super) struct Inflater(Option<Decompress>);

impl Inflater {
    /// Replaces what is in `out` by the unpacked bytes.
    ///
    /// # Errors
    /// [`Undecoded::Encrypted`] when the data aren't exactly one DEFLATE stream;
    /// [`Undecoded::BadIpHeader`] when they unpack to more than any packet holds.
    pub(super) fn inflate(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
        let state = self.0.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        out.resize(MAX_LEN, 0);
        let status = state.decompress(data, out, FlushDecompress::Finish);
        let (read, written) = (state.total_in() as usize, state.total_out() as usize);
        out.truncate(written);
        match status {
            Ok(Status::StreamEnd) if read == data.len() => Ok(()),
            Ok(_) if written == MAX_LEN => Err(Undecoded::BadIpHeader),
            _ => Err(Undecoded::Encrypted),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use proptest::{collection::vec, prelude::*};
    use std::io::Write;

    pub(in super::super) fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_packet_at_a_time_within_a_bound() {
        let (mut inflater, mut out) = (Inflater::default(), b"old".to_vec());
        let packed = deflate(b"a packet");
        assert_eq!(inflater.inflate(&packed, &mut out), Ok(()));
        assert_eq!(out, b"a packet");
        // Cut, followed by something, not DEFLATE at all.
        let more = [&packed[..], b"x"].concat();
        for wrong in [&packed[..packed.len() - 1], &more, b"", b"\xff\xff\xff\xff"] {
            assert_eq!(inflater.inflate(wrong, &mut out), Err(Undecoded::Encrypted));
        }
        assert_eq!(inflater.inflate(&deflate(&[0; MAX_LEN]), &mut out), Ok(()));
        assert_eq!(out.len(), MAX_LEN);
        let bomb = deflate(&vec![0; 1 << 20]);
        assert_eq!(inflater.inflate(&bomb, &mut out), Err(Undecoded::BadIpHeader));
    }

    proptest! {
        #[test]
        fn any_bytes(data in vec(any::<u8>(), 0..200)) {
            let (mut inflater, mut out) = (Inflater::default(), Vec::new());
            let _ = inflater.inflate(&data, &mut out);
            prop_assert!(out.len() <= MAX_LEN);
            prop_assert_eq!(inflater.inflate(&deflate(&data), &mut out), Ok(()));
            prop_assert_eq!(out, data);
        }
    }
}
