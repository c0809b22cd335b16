//! Captures that arrive piece by piece: pipes and compressed files. A thread reads, and
//! decompresses, blocks ahead; the parser works in a buffer that carries a cut record over.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use super::{Progress, format::Encoding};

/// Fits a core's second-level cache together with what the parser touches.
const BLOCK: usize = 256 << 10;
/// Blocks that the reader may be ahead: bounds memory whatever the input decompresses to.
const AHEAD: usize = 4;

/// The receiving end: a window of consecutive bytes of the stream.
#[derive(Debug)]
pub(super) struct Stream {
    blocks: Receiver<io::Result<Vec<u8>>>,
    spare: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    start: usize,
    /// How long to wait for a block; for ever without.
    patience: Option<Duration>,
    /// Bytes that are being passed over, and how many of them were.
    passing: Option<(u64, u64)>,
}

/// What came of waiting for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// They are there.
    Yes,
    /// The stream ends before.
    Ended,
    /// Patience ended before.
    NotYet,
}

impl Stream {
    /// Reads `head` and then `input` on a thread of its own. The thread ends with the input, or at
    /// its next block after the stream is dropped.
    pub(super) fn spawn(
        head: Vec<u8>,
        input: Box<dyn Read + Send>,
        encoding: Encoding,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let counted = Counted { input, progress };
        let source = BufReader::with_capacity(BLOCK, io::Cursor::new(head).chain(counted));
        let (to_parser, blocks) = bounded(AHEAD);
        let (spare, from_parser) = bounded(AHEAD);
        let pump = Pump { to_parser, from_parser };
        let work = move || match encoding {
            Encoding::Plain => pump.run(source, false),
            Encoding::Gzip => pump.run(MultiGzDecoder::new(source), true),
            Encoding::Zstd => pump.run(Zstd::new(source), true),
        };
        thread::Builder::new().name("capture reader".to_owned()).spawn(work)?;
        let buffer = Vec::new();
        Ok(Self { blocks, spare, buffer, start: 0, patience: None, passing: None })
    }

    /// Waits no longer than so long for a block from now on, and passes over no more than one at a time.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// True when its reader is to get control back now and then.
    pub(super) fn has_patience(&self) -> bool {
        self.patience.is_some()
    }

    /// The bytes at hand.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Drops the first `count` of the bytes at hand.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.buffer.len());
    }

    /// Waits until `count` bytes are at hand.
    pub(super) fn fill(&mut self, count: usize) -> io::Result<Filled> {
        while self.buffered().len() < count {
            let block = match self.patience {
                None => self.blocks.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(patience) => self.blocks.recv_timeout(patience),
            };
            match block {
                Ok(block) => self.append(block?),
                Err(RecvTimeoutError::Timeout) => return Ok(Filled::NotYet),
                Err(RecvTimeoutError::Disconnected) => return Ok(Filled::Ended),
            }
        }
        Ok(Filled::Yes)
    }

    /// Drops the next `count` bytes, at hand or yet to come. To be called again, with the same count,
    /// while they aren't there yet.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<Filled> {
        let mut done = self.passing.take().map_or(0, |(_, done)| done);
        loop {
            let here = (self.buffered().len() as u64).min(count - done);
            self.consume(here as usize);
            done += here;
            if done == count {
                return Ok(Filled::Yes);
            }
            match self.fill(1)? {
                Filled::Yes if !self.has_patience() => {}
                Filled::Ended => return Ok(Filled::Ended),
                Filled::Yes | Filled::NotYet => {
                    self.passing = Some((count, done));
                    return Ok(Filled::NotYet);
                }
            }
        }
    }

    /// The count of a [`Self::skip`] that isn't done.
    pub(super) fn passing(&self) -> Option<u64> {
        self.passing.map(|(count, _)| count)
    }

    fn append(&mut self, mut block: Vec<u8>) {
        if self.start == self.buffer.len() {
            std::mem::swap(&mut self.buffer, &mut block);
        } else {
            self.buffer.drain(..self.start);
            self.buffer.extend_from_slice(&block);
        }
        self.start = 0;
        if block.capacity() <= 2 * BLOCK {
            // Full or closed: then nobody needs the block.
            let _ = self.spare.try_send(block);
        }
    }
}

/// The reading end.
struct Pump {
    to_parser: Sender<io::Result<Vec<u8>>>,
    from_parser: Receiver<Vec<u8>>,
}

impl Pump {
    /// With `whole`, blocks are filled up. Otherwise they are sent as they come, so that a pipe's
    /// frames are seen as soon as they were written.
    fn run(self, mut source: impl Read, whole: bool) {
        loop {
            let mut block = self.from_parser.try_recv().unwrap_or_default();
            block.clear();
            block.resize(BLOCK, 0);
            let (len, outcome) = read_block(&mut source, &mut block, whole);
            block.truncate(len);
            if len > 0 && self.to_parser.send(Ok(block)).is_err() {
                return;
            }
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // The parser is gone: nobody wants to know.
                    let _ = self.to_parser.send(Err(error));
                    return;
                }
            }
        }
    }
}

/// Bytes read, and whether more may come.
fn read_block(source: &mut impl Read, block: &mut [u8], whole: bool) -> (usize, io::Result<bool>) {
    let mut len = 0;
    while len < block.len() {
        match source.read(&mut block[len..]) {
            Ok(0) => return (len, Ok(false)),
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return (len, Err(error)),
        }
        if !whole {
            break;
        }
    }
    (len, Ok(true))
}

struct Counted {
    input: Box<dyn Read + Send>,
    progress: Arc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

/// Decompresses consecutive Zstandard frames and passes over skippable ones (RFC 8878 section 3).
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// False at the end of the source.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut content = (&mut self.source).take(length);
                    if io::copy(&mut content, &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(false)
    }

    fn finish_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match self.decoder.get_checksum_from_data() {
            Some(told) if self.decoder.get_calculated_checksum() != Some(told) => Err(
                io::Error::new(io::ErrorKind::InvalidData, "a Zstandard frame's checksum is wrong"),
            ),
            _ => Ok(()),
        }
    }

    /// The decoder doesn't tell damage from a source that ends.
    fn failure(&mut self, error: FrameDecoderError) -> io::Error {
        match self.source.fill_buf() {
            Ok([]) => io::ErrorKind::UnexpectedEof.into(),
            _ => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if self.decoder.is_finished() {
                self.finish_frame()?;
                continue;
            }
            let strategy = BlockDecodingStrategy::UptoBlocks(1);
            if let Err(error) = self.decoder.decode_blocks(&mut self.source, strategy) {
                return Err(self.failure(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// What comes out, and how it ends.
    fn read(compressed: Vec<u8>) -> (Vec<u8>, Option<io::ErrorKind>) {
        let encoding = Encoding::detect(&compressed);
        assert_ne!(encoding, Encoding::Plain);
        let (head, rest) = compressed.split_at(4);
        let input = Box::new(io::Cursor::new(rest.to_vec()));
        let progress = Arc::new(Progress::default());
        let mut stream = Stream::spawn(head.to_vec(), input, encoding, progress).unwrap();
        let mut out = Vec::new();
        loop {
            match stream.fill(1) {
                Ok(Filled::Yes) => {
                    out.extend(stream.buffered());
                    stream.consume(usize::MAX);
                }
                Ok(_) => return (out, None),
                Err(error) => return (out, Some(error.kind())),
            }
        }
    }

    /// Neither all alike nor incompressible.
    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * i / 7 % 251) as u8).collect()
    }

    #[test]
    fn concatenated_members_and_frames_are_one_stream() {
        let (a, b) = (content(700_000), content(300));
        let both = [a.clone(), b.clone()].concat();
        for pack in [gzip, zstd] {
            assert_eq!(read(pack(&a)), (a.clone(), None));
            assert_eq!(read([pack(&a), pack(&b)].concat()), (both.clone(), None));
        }
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3].to_vec();
        let framed = [&skippable[..], &zstd(&a), &skippable, &zstd(&b)].concat();
        assert_eq!(read(framed), (both, None));
    }

    #[test]
    fn what_comes_before_damage_is_given() {
        let whole = content(700_000);
        for pack in [gzip, zstd] {
            let packed = pack(&whole);
            let cut = packed[..packed.len() / 2].to_vec();
            let (out, error) = read(cut);
            assert_eq!(error, Some(io::ErrorKind::UnexpectedEof));
            assert!(!out.is_empty() && whole.starts_with(&out));
            let (out, error) = read([packed, b"something else".to_vec()].concat());
            assert!(matches!(
                error,
                Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            ));
            assert_eq!(out, whole);
        }
        let (_, error) = read([0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1, 2].to_vec());
        assert_eq!(error, Some(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn the_reader_is_only_a_few_blocks_ahead() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(buffer.len())
            }
        }
        let progress = Arc::new(Progress::default());
        let read = Arc::clone(&progress);
        let mut stream =
            Stream::spawn(Vec::new(), Box::new(Endless), Encoding::Plain, progress).unwrap();
        for _ in 0..100 {
            assert_eq!(stream.fill(BLOCK).unwrap(), Filled::Yes);
            stream.consume(BLOCK);
        }
        // Blocks in the channel, one at either end, and the buffered reader's.
        let most = (100 + AHEAD + 4) as u64 * BLOCK as u64;
        assert!(read.done() <= most, "{}", read.done());
        assert!(stream.buffer.capacity() <= 4 * BLOCK);
    }
}
