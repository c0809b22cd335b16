//! Capture files, one after the other.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use egress_auditor::{
    scan::Turn,
    source::{Capture, End, Frame, Input, InputStats, SourceError},
};

use super::progress::Bar;

/// Reads inputs in their order.
pub(super) struct Files<'f> {
    left: std::iter::Enumerate<std::slice::Iter<'f, Input>>,
    open: Option<Open>,
    stop: &'f AtomicBool,
    /// Show how far reading has come.
    shown: bool,
    /// What each input that could be opened is, as far as it was read.
    pub(super) stats: Vec<InputStats>,
    /// What couldn't be read.
    pub(super) errors: Vec<SourceError>,
}

struct Open {
    capture: Capture,
    bar: Option<Bar>,
    frames: u32,
}

/// Frames between two looks at how far reading has come.
const SHOW_EVERY: u32 = 4096;

/// How long to wait for a pipe that is silent before a look at whether to stop.
const PATIENCE: Duration = Duration::from_millis(100);

impl<'f> Files<'f> {
    /// Reads until `stop` says so.
    pub(super) fn new(inputs: &'f [Input], stop: &'f AtomicBool, shown: bool) -> Self {
        let (stats, errors) = (Vec::new(), Vec::new());
        Self { left: inputs.iter().enumerate(), open: None, stop, shown, stats, errors }
    }

    /// Hands all frames to `on_frame`.
    pub(super) fn each(&mut self, mut on_frame: impl FnMut(&Frame<'_>)) {
        while self.open_next() {
            self.read(|frame| {
                on_frame(&frame);
                ControlFlow::Continue(())
            });
        }
    }

    /// Hands over the frames of one turn, none when nothing came for a while; false when there are no more.
    pub(super) fn turn(&mut self, turn: &mut Turn<'_>) -> bool {
        if !self.open_next() {
            return false;
        }
        turn.backed_by(self.open.as_ref().and_then(|open| open.capture.backing()));
        self.read(|frame| turn.frame(&frame));
        true
    }

    /// Opens the next input, when none is open; false when there is none to read.
    fn open_next(&mut self) -> bool {
        while self.open.is_none()
            && !self.is_stopped()
            && let Some((index, input)) = self.left.next()
        {
            let Some(opened) = self.open(input, index as u32) else { break };
            match opened {
                Ok(mut capture) => {
                    capture.set_patience(PATIENCE);
                    let count = index + 1 + self.left.len();
                    let bar = self
                        .shown
                        .then(|| Bar::new(&input.path, index as u32, count, capture.progress()));
                    self.open = Some(Open { capture, bar, frames: 0 });
                }
                Err(error) => self.errors.push(error),
            }
        }
        self.open.is_some()
    }

    /// Opens an input; `None` when it is to stop before the first bytes of a stream came.
    fn open(&self, input: &Input, index: u32) -> Option<Result<Capture, SourceError>> {
        let path = input.path.clone();
        if !input.stream {
            return Some(Capture::open(path, index));
        }
        let (told, opened) = channel();
        let open = move || {
            // Nobody wants to know any more when it is to stop.
            let _ = told.send(Capture::open(path, index));
        };
        let failed = |cause| Some(Err(SourceError::Open { path: input.path.clone(), cause }));
        if let Err(cause) = thread::Builder::new().name("opener".to_owned()).spawn(open) {
            return failed(cause);
        }
        loop {
            match opened.recv_timeout(PATIENCE) {
                Ok(opened) => return Some(opened),
                Err(RecvTimeoutError::Timeout) if self.is_stopped() => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return failed(io::Error::other("an internal error"));
                }
            }
        }
    }

    /// Hands over frames of the open input until `on_frame` breaks off, or it ends or is silent.
    fn read(&mut self, mut on_frame: impl FnMut(Frame<'_>) -> ControlFlow<()>) {
        let Some(Open { capture, bar, frames }) = &mut self.open else { return };
        let stop = self.stop;
        let end = capture.for_each(|frame| {
            *frames = frames.wrapping_add(1);
            if frames.is_multiple_of(SHOW_EVERY) {
                bar.iter().for_each(Bar::update);
            }
            on_frame(frame)?;
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if !matches!(end, Ok(End::Stopped | End::Waiting)) || self.is_stopped() {
            self.ended(end);
        }
    }

    fn ended(&mut self, end: Result<End, SourceError>) {
        let Some(Open { capture, .. }) = self.open.take() else { return };
        let stats = capture.stats();
        match end {
            Ok(End::Complete | End::Stopped | End::Waiting) => {}
            Ok(End::Truncated) => self.errors.extend(
                stats
                    .truncated
                    .clone()
                    .map(|damage| SourceError::Damaged { path: stats.path.clone(), damage }),
            ),
            Err(error) => self.errors.push(error),
        }
        self.stats.push(stats);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
