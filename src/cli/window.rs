//! Capture time in windows of one length.

use egress_auditor::base::Timestamp;
use serde::Serialize;

/// A stretch of capture time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Window {
    /// When it began.
    pub(crate) start: Timestamp,
    /// The first moment after it.
    pub(crate) end: Timestamp,
}

impl Window {
    /// With the one before, if there is one that nothing was said about.
    pub(crate) fn after(self, before: Option<Self>) -> Self {
        before.map_or(self, |before| Self { start: before.start, ..self })
    }
}

/// Cuts capture time at the multiples of a length since 1970, so that windows of different hosts
/// fit.
#[derive(Debug)]
pub(crate) struct Windows {
    length: u64,
    open: Option<Window>,
    /// The times of the last look and of the one before.
    looks: [Timestamp; 2],
}

impl Windows {
    pub(crate) fn new(length: std::time::Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { length, open: None, looks: Default::default() }
    }

    /// How long they are.
    pub(crate) fn length(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.length)
    }

    /// When the open one ends.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        self.open.map(|window| window.end)
    }

    /// Whether the open window is over at `now`. The first call opens one. To be asked all the time,
    /// also when it isn't going to be closed.
    pub(crate) fn is_over(&mut self, now: Timestamp) -> bool {
        let length = self.length;
        self.looks = [self.looks[1], now];
        let Window { start, end } =
            *self.open.get_or_insert_with(|| Window { start: now, end: boundary(now, length) });
        // Or the clock was set back.
        now >= end || now.nanos().saturating_add(length) < start.nanos()
    }

    /// Ends the open window and opens the next. One that could be closed only late is longer.
    pub(crate) fn close(&mut self, now: Timestamp) -> Option<Window> {
        let end = boundary(now, self.length);
        let begin = Timestamp::from_nanos(end.nanos().saturating_sub(self.length));
        let next = Window { start: begin, end };
        let done = self.open.replace(next)?;
        // Hours without a look, as in a machine that slept, are no part of the window before.
        let awake = self.looks[0].max(done.end).nanos();
        let slept = awake.saturating_add(self.length) < begin.nanos();
        let end = if begin < done.end || slept { done.end } else { begin };
        Some(Window { start: done.start, end })
    }

    /// Ends the last window with the capture.
    pub(crate) fn finish(&mut self, last: Timestamp) -> Option<Window> {
        let Window { start, end } = self.open.take()?;
        Some(Window { start, end: last.min(end).max(start) })
    }
}

/// The first boundary after a time.
fn boundary(time: Timestamp, length: u64) -> Timestamp {
    Timestamp::from_nanos((time.nanos() / length).saturating_add(1).saturating_mul(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_parts(seconds, 0)
    }

    fn cut(windows: &mut Windows, times: &[u64]) -> Vec<(u64, u64)> {
        let mut done = Vec::new();
        for &time in times {
            if windows.is_over(at(time)) {
                done.extend(windows.close(at(time)));
            }
        }
        let last = times.last().map_or(0, |&time| time);
        done.extend(windows.finish(at(last)));
        let seconds = |time: Timestamp| time.nanos() / 1_000_000_000;
        done.iter().map(|window| (seconds(window.start), seconds(window.end))).collect()
    }

    fn windows() -> Windows {
        Windows::new(std::time::Duration::from_secs(10))
    }

    #[test]
    fn windows_end_at_round_times() {
        assert_eq!(
            cut(&mut windows(), &[103, 109, 110, 115, 121, 123]),
            [(103, 110), (110, 120), (120, 123)]
        );
    }

    #[test]
    fn a_long_sleep_is_no_part_of_a_window() {
        assert_eq!(cut(&mut windows(), &[103, 1005, 1006]), [(103, 110), (1000, 1006)]);
    }

    #[test]
    fn a_window_that_closes_late_is_longer() {
        let mut windows = windows();
        assert!(!windows.is_over(at(103)) && windows.is_over(at(112)));
        assert_eq!(windows.close(at(121)), Some(Window { start: at(103), end: at(120) }));
    }

    #[test]
    fn however_late_it_closes() {
        let mut windows = windows();
        for time in (103..165).step_by(3) {
            windows.is_over(at(time));
        }
        assert_eq!(windows.close(at(163)), Some(Window { start: at(103), end: at(160) }));
        assert!(!windows.is_over(at(166)));
    }

    #[test]
    fn a_clock_set_back_begins_anew() {
        assert_eq!(
            cut(&mut windows(), &[1003, 1004, 500, 505, 511]),
            [(1003, 1010), (500, 510), (510, 511)]
        );
    }
}
