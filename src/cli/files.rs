//! Capture files through the scanner.

use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
};

use egress_auditor::{
    scan::{Scanner, Sink},
    source::{Capture, End, Input, InputStats, SourceError},
};

use super::progress::Bar;

/// Reads files one after the other, as far as the report is concerned: several threads scan stretches of
/// mapped files, of the next ones too when a file is short.
pub(super) struct Files<'f> {
    scanner: &'f mut Scanner,
    /// More than one; `None` to read in this thread.
    threads: Option<NonZeroUsize>,
    stop: &'f AtomicBool,
    /// How many files there are, for who is shown how far reading has come.
    shown: Option<usize>,
    /// What was read of each.
    pub(super) stats: Vec<InputStats>,
    /// What couldn't be read.
    pub(super) errors: Vec<SourceError>,
}

/// Frames between two looks at how far reading has come.
const SHOW_EVERY: u32 = 4096;

/// Bytes that a thread scans at a time: enough to make up for the merge, little enough that all of
/// it stays in the processor's cache from the walk that cuts it to the scan.
const STRETCH: u64 = 4 << 20;

/// Files that are mapped at the same time.
const RUN: usize = 64;

/// An open file, and its place among all.
struct Opened {
    index: u32,
    capture: Capture,
}

impl<'f> Files<'f> {
    pub(super) fn new(
        scanner: &'f mut Scanner,
        threads: Option<NonZeroUsize>,
        stop: &'f AtomicBool,
        shown: Option<usize>,
    ) -> Self {
        Self { scanner, threads, stop, shown, stats: Vec::new(), errors: Vec::new() }
    }

    /// Reads all files to their end, or until the user breaks off.
    pub(super) fn read(&mut self, inputs: &[Input], sink: &mut impl Sink) {
        let mut run = Vec::new();
        for (index, input) in (0..).zip(inputs) {
            let opened = match Capture::open(&input.path, index) {
                Ok(capture) => Opened { index, capture },
                Err(error) => {
                    self.errors.push(error);
                    continue;
                }
            };
            let is_cut = self.threads.is_some() && opened.capture.cut(STRETCH).is_some();
            if is_cut {
                run.push(opened);
                if run.len() == RUN {
                    self.side_by_side(std::mem::take(&mut run));
                }
            } else {
                self.side_by_side(std::mem::take(&mut run));
                self.alone(opened, sink);
            }
            if self.is_stopped() {
                return;
            }
        }
        self.side_by_side(run);
    }

    /// Reads a file in this thread.
    fn alone(&mut self, mut opened: Opened, sink: &mut impl Sink) {
        if self.is_stopped() {
            return;
        }
        let (bar, stop, mut count) = (self.bar(&opened), self.stop, 0_u32);
        let end = opened.capture.for_each(|frame| {
            self.scanner.push(&frame, sink);
            count = count.wrapping_add(1);
            if count.is_multiple_of(SHOW_EVERY) {
                bar.iter().for_each(Bar::update);
            }
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        self.ended(&opened, end);
    }

    /// Reads mapped files in several threads.
    fn side_by_side(&mut self, mut run: Vec<Opened>) {
        let Some(threads) = self.threads else { return };
        if run.is_empty() || self.is_stopped() {
            return;
        }
        let cutters: Vec<_> = run.iter().filter_map(|opened| opened.capture.cut(STRETCH)).collect();
        let stop = self.stop;
        let stretches = cutters.into_iter().flatten().take_while(|_| !stop.load(Ordering::Relaxed));
        let mut bar = self.bar(&run[0]);
        let (mut at, mut ends) = (0, Vec::new());
        self.scanner.push_stretches(stretches, threads, |stretch| {
            match run[at].capture.have_read(stretch).transpose() {
                None => bar.iter().for_each(Bar::update),
                Some(end) => {
                    ends.push(end);
                    at += 1;
                    bar = run.get(at).and_then(|opened| bar_of(self.shown, opened));
                }
            }
        });
        // The user broke off in the one that has no end.
        let unread = run.len().min(ends.len() + 1);
        run.truncate(unread);
        let ends = ends.into_iter().chain([Ok(End::Stopped)]);
        for (opened, end) in run.iter().zip(ends) {
            self.ended(opened, end);
        }
    }

    /// Takes note of how reading a file ended.
    fn ended(&mut self, opened: &Opened, end: Result<End, SourceError>) {
        let stats = opened.capture.stats();
        match end {
            Ok(End::Complete | End::Stopped) => {}
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

    fn bar(&self, opened: &Opened) -> Option<Bar> {
        bar_of(self.shown, opened)
    }
}

/// Shows how far reading a file has come, of `shown` files.
fn bar_of(shown: Option<usize>, opened: &Opened) -> Option<Bar> {
    let Opened { index, capture } = opened;
    Some(Bar::new(&capture.stats().path, *index, shown?, capture.progress()))
}
