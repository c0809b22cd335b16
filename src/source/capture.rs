use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;

use super::{
    Cursor, Damage, DamageKind, Frame, InputStats, Progress, Records, SourceError,
    format::{self, Encoding},
    map,
    records::{HEAD, Step, header_len},
    stats::Tally,
    stream::Stream,
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
    /// All frames were handed out, but the last record is cut: the capture is still being written,
    /// or its copy is incomplete. [`InputStats::truncated`] says where.
    Truncated,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Stream(Stream),
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
        let at_open = |cause| SourceError::Open {
            path: path.clone(),
            cause,
        };
        let (mut bytes, progress) = Bytes::open(&path).map_err(at_open)?;
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
        Ok(Self {
            path,
            bytes,
            cursor,
            tally: Tally::default(),
            truncated: None,
            progress,
        })
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
            Bytes::Mapped(map) => {
                let mut records = Records::resume(map, self.cursor.clone());
                let end = walk(&mut records, &mut self.tally, &self.progress, on_frame);
                self.cursor = records.cursor().clone();
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
            truncated: self.truncated.clone(),
        }
    }

    /// How far reading has come. Mapped files update it every few thousand frames.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// The whole capture when it is in memory, for reading several stretches at once with
    /// [`Records::resume`]; `None` for a stream.
    pub fn mapped(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Mapped(map) => Some(map),
            Bytes::Stream(_) => None,
        }
    }

    /// Where reading stands: at first, behind the header.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
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

/// Frames between two updates of the progress.
const PROGRESS_EVERY: u64 = 4096;

/// Why reading ended early.
enum Failure {
    Damage(Damage),
    Read(io::Error),
}

#[inline]
fn walk<F>(
    records: &mut Records<'_>,
    tally: &mut Tally,
    progress: &Progress,
    mut on_frame: F,
) -> Result<End, Damage>
where
    F: FnMut(Frame<'_>) -> ControlFlow<()>,
{
    while let Some(frame) = records.next()? {
        tally.count(&frame);
        if tally.frames.is_multiple_of(PROGRESS_EVERY) {
            progress.set(records.offset());
        }
        if on_frame(frame).is_break() {
            return Ok(End::Stopped);
        }
    }
    Ok(End::Complete)
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
        let start = cursor.offset;
        let outcome = drain(stream.buffered(), cursor, tally, &mut on_frame);
        // Fits: it is at most what was buffered.
        stream.consume((cursor.offset - start) as usize);
        let more = match outcome.map_err(Failure::Damage)? {
            Pause::Stopped => return Ok(End::Stopped),
            Pause::Need(count) => match stream.fill(count) {
                Ok(false) if stream.buffered().is_empty() => return Ok(End::Complete),
                filled => filled,
            },
            Pause::Skip(count) => stream.skip(count).inspect(|&whole| {
                if whole {
                    cursor.offset += count;
                }
            }),
        };
        match more {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Damage(Damage::truncated(cursor.offset))),
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
                return Ok((Self::Mapped(map), Arc::new(progress)));
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
            Self::Mapped(map) => Ok(&map[..map.len().min(HEAD)]),
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
            Self::Read(cause) => SourceError::Read {
                path,
                offset,
                cause,
            },
            Self::Damage(mut damage) => {
                let etl = path
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case("etl"));
                if etl && damage.kind == DamageKind::NotACapture && damage.offset == 0 {
                    damage.what = format::EVENT_TRACE.into();
                }
                SourceError::Damaged { path, damage }
            }
        }
    }
}
