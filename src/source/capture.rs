use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Cursor, Damage, DamageKind, Frame, InputStats, Progress, Records, SourceError,
    format::{self, Encoding},
    map::{self, Mmap},
    records::{HEAD, Step, header_len},
    stats::Tally,
    stream::{Filled, Stream},
};

/// One capture file or stream, open for reading from front to back.
///
/// A regular file is mapped into memory. Pipes and gzip or Zstandard files are read by a thread of
/// their own and take constant memory, whatever they decompress to.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    bytes: Bytes,
    cursor: Cursor,
    tally: Tally,
    truncated: Option<Damage>,
    progress: Arc<Progress>,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All frames were handed out.
    Complete,
    /// The caller broke off. Reading can go on.
    Stopped,
    /// Nothing more came for as long as [`Capture::set_patience`] says, or only blocks without frames.
    /// Reading can go on.
    Waiting,
    /// All frames were handed out, but the last record is cut: the capture is still being written,
    /// or its copy is incomplete. [`InputStats::truncated`] says where.
    Truncated,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mapped),
    Stream(Stream),
}

/// A file in memory, and what of its pages is.
#[derive(Debug)]
struct Mapped {
    map: Arc<Mmap>,
    /// Up to where pages were mapped in.
    ahead: u64,
    /// Up to where they were given back.
    released: u64,
}

impl Capture {
    /// Opens a file, a pipe, or the standard input (`-`), and reads the capture's header. `input` is
    /// the index that its frames carry. Waits for a pipe's first bytes.
    ///
    /// # Errors
    ///
    /// When it can't be opened or isn't a capture in a supported version.
    pub fn open(path: impl Into<PathBuf>, input: u32) -> Result<Self, SourceError> {
        let path = path.into();
        let at_open = |cause| SourceError::Open { path: path.clone(), cause };
        let (bytes, progress) = Bytes::open(&path).map_err(at_open)?;
        Self::start(path, input, bytes, progress)
    }

    fn start(
        path: PathBuf,
        input: u32,
        mut bytes: Bytes,
        progress: Arc<Progress>,
    ) -> Result<Self, SourceError> {
        let cursor = match bytes.head() {
            Ok(head) => Cursor::start(head, input).map_err(Failure::Damage),
            Err(cause) => Err(Failure::of_stream(0, cause)),
        };
        let cursor = match cursor {
            Ok(cursor) => cursor,
            Err(failure) => return Err(failure.at(path, 0)),
        };
        if let Bytes::Stream(stream) = &mut bytes {
            stream.consume(usize::try_from(cursor.offset).unwrap_or(usize::MAX));
        }
        Ok(Self { path, bytes, cursor, tally: Tally::default(), truncated: None, progress })
    }

    /// Has [`Self::for_each`] wait no longer than this for a pipe that is silent, or tells of no frames, so
    /// that its caller can look at what else there is to do.
    pub fn set_patience(&mut self, patience: Duration) {
        if let Bytes::Stream(stream) = &mut self.bytes {
            stream.set_patience(patience);
        }
    }

    /// Hands every frame to `on_frame` until it breaks off. Called again, goes on behind the last
    /// frame handed out.
    ///
    /// # Errors
    ///
    /// When the system can't read on, or the capture is damaged. All frames before that were handed
    /// out and [`Self::stats`] counts them.
    #[inline]
    pub fn for_each<F>(&mut self, on_frame: F) -> Result<End, SourceError>
    where
        F: FnMut(Frame<'_>) -> ControlFlow<()>,
    {
        let outcome = match &mut self.bytes {
            Bytes::Mapped(mapped) => {
                let map = Arc::clone(&mapped.map);
                // Moved, not copied: there may be many interfaces, and calls for few frames each.
                let mut records = Records::resume(&map, self.cursor.take());
                let end = walk(mapped, &mut records, &mut self.tally, &self.progress, on_frame);
                self.cursor = records.into_cursor();
                end.map_err(Failure::Damage)
            }
            Bytes::Stream(stream) => follow(stream, &mut self.cursor, &mut self.tally, on_frame),
        };
        if let Bytes::Mapped(_) = self.bytes {
            self.progress.set(self.cursor.offset);
        }
        outcome.or_else(|failure| self.fail(failure))
    }

    /// What was read so far.
    pub fn stats(&self) -> InputStats {
        let (first, last) = self.tally.span();
        let mut link_types = self.tally.links().to_vec();
        if link_types.is_empty() {
            link_types.extend(self.cursor.layout.links());
            link_types.sort_unstable();
            link_types.dedup();
        }
        InputStats {
            path: self.path.clone(),
            format: self.cursor.layout.format(),
            link_types,
            frames: self.tally.frames,
            bytes: self.tally.bytes,
            first,
            last,
            dropped: self.cursor.layout.dropped(),
            truncated: self.truncated.clone(),
        }
    }

    /// How far reading has come. Mapped files update it every few thousand frames.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Where reading stands: at first, behind the header.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What all frames lie in; `None` for a stream.
    pub fn backing(&self) -> Option<Arc<dyn AsRef<[u8]> + Send + Sync>> {
        match &self.bytes {
            Bytes::Mapped(mapped) => Some(Arc::clone(&mapped.map) as _),
            Bytes::Stream(_) => None,
        }
    }

    #[cold]
    fn fail(&mut self, failure: Failure) -> Result<End, SourceError> {
        if let Failure::Damage(damage) = &failure {
            self.truncated = Some(damage.clone());
            if damage.kind == DamageKind::Truncated {
                return Ok(End::Truncated);
            }
        }
        Err(failure.at(self.path.clone(), self.cursor.offset))
    }
}

/// Why reading ended early.
enum Failure {
    Damage(Damage),
    Read(io::Error),
}

/// Bytes that are mapped in at a time, ahead of the walk.
const AHEAD: u64 = 2 << 20;

/// Bytes behind the walk that stay mapped: other threads may still read there.
const KEPT: u64 = 16 << 20;

/// Bytes that are given back at a time.
const GIVEN_BACK: u64 = 32 << 20;

impl Mapped {
    fn new(map: Mmap) -> Self {
        Self { map: Arc::new(map), ahead: 0, released: 0 }
    }

    /// Has pages mapped in ahead of the walk, and gives back those that are done with.
    #[cold]
    fn turn(&mut self, offset: u64) {
        map::populate(&self.map, offset as usize, AHEAD as usize);
        self.ahead = offset + AHEAD;
        let done = offset.saturating_sub(KEPT).saturating_sub(self.released);
        if done >= GIVEN_BACK {
            map::release(&self.map, self.released as usize, done as usize);
            self.released += done;
        }
    }
}

#[inline]
fn walk<F>(
    mapped: &mut Mapped,
    records: &mut Records<'_>,
    tally: &mut Tally,
    progress: &Progress,
    mut on_frame: F,
) -> Result<End, Damage>
where
    F: FnMut(Frame<'_>) -> ControlFlow<()>,
{
    loop {
        let start = records.offset();
        let Some(frame) = records.next()? else { return Ok(End::Complete) };
        records.prefetch((records.offset() - start) as usize);
        tally.count(&frame);
        if records.offset() >= mapped.ahead {
            mapped.turn(records.offset());
            progress.set(records.offset());
        }
        if on_frame(frame).is_break() {
            return Ok(End::Stopped);
        }
    }
}

#[inline]
fn follow<F>(
    stream: &mut Stream,
    cursor: &mut Cursor,
    tally: &mut Tally,
    mut on_frame: F,
) -> Result<End, Failure>
where
    F: FnMut(Frame<'_>) -> ControlFlow<()>,
{
    loop {
        let (start, frames) = (cursor.offset, tally.frames);
        let outcome = match stream.passing() {
            Some(count) => Ok(Pause::Skip(count)),
            None => drain(stream.buffered(), cursor, tally, &mut on_frame),
        };
        // Fits: it is at most what was buffered.
        stream.consume((cursor.offset - start) as usize);
        let more = match outcome.map_err(Failure::Damage)? {
            Pause::Stopped => return Ok(End::Stopped),
            Pause::Need(count) => match stream.fill(count) {
                Ok(Filled::Ended) if stream.buffered().is_empty() => return Ok(End::Complete),
                filled => filled,
            },
            Pause::Skip(count) => stream.skip(count).inspect(|&filled| {
                if filled == Filled::Yes {
                    cursor.offset += count;
                }
            }),
        };
        match more {
            Ok(Filled::Yes) if tally.frames > frames || !stream.has_patience() => {}
            Ok(Filled::Yes | Filled::NotYet) => return Ok(End::Waiting),
            Ok(Filled::Ended) => return Err(Failure::Damage(Damage::truncated(cursor.offset))),
            Err(cause) => return Err(Failure::of_stream(cursor.offset, cause)),
        }
    }
}

/// Why the parser stopped inside a stream's buffer.
enum Pause {
    Stopped,
    Need(usize),
    Skip(u64),
}

/// Hands out the whole frames of `buffered`, which starts at the cursor.
#[inline]
fn drain<F>(
    mut buffered: &[u8],
    cursor: &mut Cursor,
    tally: &mut Tally,
    on_frame: &mut F,
) -> Result<Pause, Damage>
where
    F: FnMut(Frame<'_>) -> ControlFlow<()>,
{
    loop {
        let before = cursor.offset;
        match cursor.step(buffered)? {
            Step::Frame(frame) => {
                tally.count(&frame);
                if on_frame(frame).is_break() {
                    return Ok(Pause::Stopped);
                }
            }
            Step::Skip(count) if count <= buffered.len() as u64 => cursor.offset += count,
            Step::Skip(count) => return Ok(Pause::Skip(count)),
            Step::Need(count) => return Ok(Pause::Need(count)),
        }
        buffered = &buffered[(cursor.offset - before) as usize..];
    }
}

impl Bytes {
    fn open(path: &Path) -> io::Result<(Self, Arc<Progress>)> {
        if path.as_os_str() == "-" {
            return Self::stream(Box::new(io::stdin()), None);
        }
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Self::stream(Box::new(file), None);
        }
        let mut head = [0; 4];
        let len = read_head(&mut file, &mut head)?;
        file.seek(SeekFrom::Start(0))?;
        if Encoding::detect(&head[..len]) == Encoding::Plain {
            // Some file systems can't map.
            if let Ok(map) = map::map(&file) {
                let progress = Progress::of(Some(map.len() as u64));
                return Ok((Self::Mapped(Mapped::new(map)), Arc::new(progress)));
            }
        }
        Self::stream(Box::new(file), Some(metadata.len()))
    }

    fn stream(
        mut input: Box<dyn Read + Send>,
        total: Option<u64>,
    ) -> io::Result<(Self, Arc<Progress>)> {
        let mut head = vec![0; 4];
        let len = read_head(&mut input, &mut head)?;
        head.truncate(len);
        let progress = Arc::new(Progress::of(total));
        let encoding = Encoding::detect(&head);
        let stream = Stream::spawn(head, input, encoding, Arc::clone(&progress))?;
        Ok((Self::Stream(stream), progress))
    }

    /// The first bytes: as many as the header takes, or to say what it is instead. No more, as a
    /// pipe's writer may send the header and then nothing for long.
    fn head(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Mapped(Mapped { map, .. }) => Ok(&map[..map.len().min(HEAD)]),
            Self::Stream(stream) => {
                stream.fill(4)?;
                let enough = header_len(stream.buffered()).unwrap_or(HEAD);
                stream.fill(enough)?;
                Ok(stream.buffered())
            }
        }
    }
}

/// Fills `head` from the start of `input`, as far as it goes.
fn read_head(input: &mut impl Read, head: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < head.len() {
        match input.read(&mut head[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

impl Failure {
    /// Tells what a stream's end says about the capture from what it says about the system.
    #[cold]
    fn of_stream(offset: u64, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damage(Damage::new(
                offset,
                DamageKind::Truncated,
                "the compressed file ends too early; what could be decompressed was read",
            )),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Damage(
                Damage::corrupt(offset, format_args!("cannot decompress from here: {cause}")),
            ),
            _ => Self::Read(cause),
        }
    }

    #[cold]
    fn at(self, path: PathBuf, offset: u64) -> SourceError {
        match self {
            Self::Read(cause) => SourceError::Read { path, offset, cause },
            Self::Damage(mut damage) => {
                let etl = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("etl"));
                if etl && damage.kind == DamageKind::NotACapture && damage.offset == 0 {
                    damage.what = format::EVENT_TRACE.into();
                }
                SourceError::Damaged { path, damage }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::{
        super::{Format, testing::*},
        *,
    };

    type Seen = (u64, u16, u32, Vec<u8>, u64);

    fn read_all(capture: &mut Capture) -> (Vec<Seen>, Result<End, SourceError>) {
        let mut seen = Vec::new();
        let end = capture.for_each(|frame| {
            seen.push((
                frame.stamp.time.nanos(),
                frame.link.0,
                frame.wire_len,
                frame.data.to_vec(),
                frame.stamp.frame.number(),
            ));
            ControlFlow::Continue(())
        });
        (seen, end)
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn mapped(bytes: &[u8]) -> (Vec<Seen>, Result<End, SourceError>) {
        read_all(&mut Capture::open(file(bytes).path(), 0).unwrap())
    }

    /// Hands out the given pieces, one a read.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop_front() else {
                return Ok(0);
            };
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            if count < piece.len() {
                self.0.push_front(piece[count..].to_vec());
            }
            Ok(count)
        }
    }

    fn pieces(bytes: &[u8], sizes: &[usize]) -> Result<Capture, SourceError> {
        let mut rest = bytes;
        let mut pieces = VecDeque::new();
        for size in sizes {
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            rest = more;
            if !piece.is_empty() {
                pieces.push_back(piece.to_vec());
            }
        }
        pieces.push_back(rest.to_vec());
        let (bytes, progress) = Bytes::stream(Box::new(Pieces(pieces)), None).unwrap();
        Capture::start("pieces".into(), 0, bytes, progress)
    }

    #[test]
    fn counts_what_it_hands_out() {
        let file = file(&small_pcapng());
        let mut capture = Capture::open(file.path(), 0).unwrap();
        assert_eq!(capture.stats().frames, 0);
        assert_eq!(read_all(&mut capture).1.unwrap(), End::Complete);
        let stats = capture.stats();
        assert_eq!(stats.format, Format::PcapNg);
        assert_eq!(stats.link_types.iter().map(|l| l.0).collect::<Vec<_>>(), [1, 101, 113]);
        assert_eq!((stats.frames, stats.truncated), (8, None));
        assert_eq!(stats.bytes, 1005 + 1006 + 5 + 1006 + 1005 + 9 + 1000 + 1001);
        assert_eq!(stats.first.unwrap().nanos(), 1_000_000_005);
        assert_eq!(stats.last.unwrap().nanos(), 104_000_000_000);
        let progress = capture.progress();
        assert_eq!(Some(progress.done()), progress.total());
    }

    #[test]
    fn an_empty_capture_declares_its_link_type() {
        let file = file(&LE.pcap(MICROS, 0, 113));
        let mut capture = Capture::open(file.path(), 0).unwrap();
        assert_eq!(read_all(&mut capture).1.unwrap(), End::Complete);
        let stats = capture.stats();
        assert_eq!(stats.link_types[0].0, 113);
        assert_eq!((stats.first, stats.last), (None, None));
    }

    #[test]
    fn goes_on_where_the_caller_broke_off() {
        for bytes in [small_pcap(), small_pcapng()] {
            let whole = mapped(&bytes).0;
            let file = file(&bytes);
            for mut capture in
                [Capture::open(file.path(), 0).unwrap(), pieces(&bytes, &[30, 50]).unwrap()]
            {
                let mut numbers = Vec::new();
                while capture
                    .for_each(|frame| {
                        numbers.push(frame.stamp.frame.number());
                        ControlFlow::Break(())
                    })
                    .unwrap()
                    == End::Stopped
                {}
                let expected: Vec<u64> = whole.iter().map(|frame| frame.4).collect();
                assert_eq!(numbers, expected);
            }
        }
    }

    #[test]
    fn truncation_is_a_warning_and_corruption_an_error() {
        let mut bytes = small_pcap();
        let at = bytes.len() as u64;
        bytes.extend([0; 10]);
        let file = file(&bytes);
        for mut capture in [Capture::open(file.path(), 0).unwrap(), pieces(&bytes, &[]).unwrap()] {
            assert_eq!(read_all(&mut capture).1.unwrap(), End::Truncated);
            let damage = capture.stats().truncated.unwrap();
            assert_eq!((damage.offset, capture.stats().frames), (at, 5));
        }
        bytes.truncate(at as usize);
        bytes.extend([0xff; 20]);
        let (seen, end) = mapped(&bytes);
        let error = end.unwrap_err().to_string();
        assert_eq!(seen.len(), 5);
        assert!(error.contains(&format!(": byte {at}: ")), "{error}");
    }

    #[test]
    fn a_record_longer_than_a_block_grows_the_buffer() {
        let mut bytes = LE.pcap(MICROS, 8 << 20, 1);
        let big = vec![7; 3 << 20];
        for i in 0..3 {
            bytes.extend(LE.record(i, 0, &big));
            bytes.extend(LE.record(i, 1, b"small"));
        }
        let mut capture = pieces(&bytes, &[1000, 300_000, 1_000_000]).unwrap();
        let (seen, end) = read_all(&mut capture);
        assert_eq!((seen, end.unwrap()), (mapped(&bytes).0, End::Complete));
    }

    #[test]
    fn blocks_without_frames_are_not_buffered() {
        let mut bytes = [LE.section(), LE.interface(1, 0, &[])].concat();
        bytes.extend(LE.block(0x77, &vec![0; 40 << 20]));
        bytes.extend(LE.packet(0, 5, b"behind"));
        let mut capture = pieces(&bytes, &[]).unwrap();
        let (seen, end) = read_all(&mut capture);
        assert_eq!((seen.len(), end.unwrap()), (1, End::Complete));
        // The file ends in such a block: that block is where.
        let mut cut = pieces(&bytes[..bytes.len() / 2], &[]).unwrap();
        assert_eq!(read_all(&mut cut).1.unwrap(), End::Truncated);
        assert_eq!(cut.stats().truncated.unwrap().offset, 48);
    }

    #[test]
    fn a_stream_without_frames_gives_control_back() {
        let head = [LE.section(), LE.interface(1, 0, &[])].concat();
        let (long, short) = (LE.block(0x77, &vec![0; 4 << 20]), LE.block(0x77, &[0; 400]));
        for blocks in [long, short.repeat(2000)] {
            let bytes = [&*head, &*blocks, &LE.packet(0, 5, b"behind")].concat();
            let mut capture = pieces(&bytes, &[100_000; 100]).unwrap();
            capture.set_patience(Duration::from_secs(60));
            let (mut waits, mut seen) = (0, Vec::new());
            let end = loop {
                let (more, end) = read_all(&mut capture);
                seen.extend(more);
                match end.unwrap() {
                    End::Waiting => waits += 1,
                    end => break end,
                }
            };
            assert_eq!((seen.len(), end), (1, End::Complete));
            assert!(waits >= 5, "{waits}");
            assert_eq!(capture.cursor().offset, bytes.len() as u64);
        }
    }

    #[test]
    fn opening_says_what_is_wrong() {
        let says = |bytes: &[u8]| Capture::open(file(bytes).path(), 0).unwrap_err().to_string();
        assert!(says(b"").contains("byte 0: the file is empty"));
        assert!(says(b"{}").contains("JSON"));
        let error = Capture::open("/no/such/file.pcap", 0).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/file.pcap: cannot open: "));
        let folder = tempfile::tempdir().unwrap();
        let etl = folder.path().join("PktMon.ETL");
        std::fs::write(&etl, [0; 99]).unwrap();
        let error = Capture::open(etl, 0).unwrap_err().to_string();
        assert!(error.contains("pktmon etl2pcap"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_gives_its_frames_as_they_are_written() {
        use std::io::Write;
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&LE.pcap(MICROS, 0, 1)).unwrap();
        // Opens although nothing but the header has come.
        let (bytes, progress) = Bytes::stream(Box::new(reader), None).unwrap();
        let mut capture = Capture::start("pipe".into(), 0, bytes, progress).unwrap();
        for i in 0..3 {
            writer.write_all(&LE.record(i, 0, b"live")).unwrap();
            let end = capture.for_each(|_| ControlFlow::Break(()));
            assert_eq!(end.unwrap(), End::Stopped);
        }
        drop(writer);
        assert_eq!(read_all(&mut capture).1.unwrap(), End::Complete);
        assert_eq!(capture.stats().frames, 3);
    }

    /// In the middle of a record, too, or of a block that is passed over.
    #[cfg(unix)]
    #[test]
    fn a_silent_pipe_gives_control_back() {
        use std::io::Write;
        let mut bytes = [LE.section(), LE.interface(1, 0, &[])].concat();
        bytes.extend(LE.block(0x77, &[0; 400]));
        bytes.extend(LE.packet(0, 5, b"behind"));
        bytes.extend(LE.block(0x77, &[0; 400]));
        let (whole, _) = mapped(&bytes);
        for step in [1, 30, 200, 450] {
            let (reader, mut writer) = io::pipe().unwrap();
            let (header, rest) = bytes.split_at(48);
            writer.write_all(header).unwrap();
            let (opened, progress) = Bytes::stream(Box::new(reader), None).unwrap();
            let mut capture = Capture::start("pipe".into(), 0, opened, progress).unwrap();
            capture.set_patience(Duration::from_millis(1));
            let mut seen = Vec::new();
            for piece in rest.chunks(step) {
                let (more, end) = read_all(&mut capture);
                assert_eq!(end.unwrap(), End::Waiting);
                seen.extend(more);
                writer.write_all(piece).unwrap();
            }
            drop(writer);
            let end = loop {
                let (more, end) = read_all(&mut capture);
                seen.extend(more);
                match end.unwrap() {
                    End::Waiting => {}
                    end => break end,
                }
            };
            assert_eq!((&seen, end), (&whole, End::Complete), "{step}");
            assert_eq!(capture.cursor().offset, bytes.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn a_stream_in_pieces_reads_like_the_file(
            ng: bool,
            sizes in prop::collection::vec(1..60usize, 0..60),
            cut in any::<prop::sample::Index>(),
            change: Option<u8>,
        ) {
            let mut bytes = if ng { small_pcapng() } else { small_pcap() };
            bytes.truncate(24 + cut.index(bytes.len() - 23));
            if let Some(value) = change {
                let middle = bytes.len() / 2;
                bytes[middle] = value;
            }
            let file = file(&bytes);
            match (Capture::open(file.path(), 0), pieces(&bytes, &sizes)) {
                (Ok(mut whole), Ok(mut pieces)) => {
                    let (seen, end) = read_all(&mut whole);
                    let (also_seen, also_end) = read_all(&mut pieces);
                    prop_assert_eq!(seen, also_seen);
                    prop_assert_eq!(end.ok(), also_end.ok());
                    prop_assert_eq!(whole.stats().truncated, pieces.stats().truncated);
                    prop_assert_eq!(whole.cursor(), pieces.cursor());
                }
                (Err(_), Err(_)) => {}
                _ => prop_assert!(false, "only one of them opens"),
            }
        }
    }
}
