//! Capture time in windows of one length.

use std::time::Duration;

use egress_auditor::{base::Timestamp, source::SET_BACK};
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
        // The clock may have been set back between them.
        before.map_or(self, |before| Self { start: before.start, end: self.end.max(before.end) })
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
    /// What the clock said last.
    clock: Option<Timestamp>,
    /// What it said before it was set back, in the open window.
    set_back: Option<Timestamp>,
}

impl Windows {
    pub(crate) fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { length, open: None, looks: Default::default(), clock: None, set_back: None }
    }

    /// How long they are.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_nanos(self.length)
    }

    /// Takes what the clock says by which frames are stamped. When it was set back by more than
    /// [`SET_BACK`], the open window is over; one that had not begun by then gives way to one that begins
    /// now. To be called much more often than windows end.
    pub(crate) fn heed_clock(&mut self, now: Timestamp) {
        let before = self.clock.replace(now).filter(|before| now.plus(SET_BACK) < *before);
        let (Some(before), Some(open)) = (before, &mut self.open) else { return };
        if self.set_back.is_none() && before < open.start {
            // It was to begin soon.
            *open = Window { start: now, end: boundary(now, self.length) };
        } else {
            self.set_back.get_or_insert(before);
        }
    }

    /// When the open one ends.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        self.open.map(|window| window.end)
    }

    /// Whether the open window is over so long after `now`. The first call opens one. To be asked all the
    /// time, also when it isn't going to be closed.
    #[inline]
    pub(crate) fn is_over(&mut self, now: Timestamp, ahead: Duration) -> bool {
        if self.clock.is_some_and(|clock| now > clock.plus(SET_BACK)) {
            // A frame from before the clock was set back.
            return false;
        }
        let length = self.length;
        self.looks = [self.looks[1], now];
        let Window { end, .. } =
            *self.open.get_or_insert_with(|| Window { start: now, end: boundary(now, length) });
        now.plus(ahead) >= end || self.set_back.is_some()
    }

    /// Ends the open window and opens the next. One that could be closed only late is longer.
    pub(crate) fn close(&mut self, now: Timestamp) -> Option<Window> {
        let end = boundary(now, self.length);
        let begin = Timestamp::from_nanos(end.nanos().saturating_sub(self.length));
        if let Some(before) = self.set_back.take() {
            self.looks = [now; 2];
            let Window { start, .. } = self.open.replace(Window { start: now, end })?;
            return Some(Window { start, end: before });
        }
        let done = self.open.replace(Window { start: begin, end })?;
        // Hours without a look, as in a machine that slept, are no part of the window before.
        let awake = self.looks[0].max(done.end).nanos();
        let slept = awake.saturating_add(self.length) < begin.nanos();
        let end = if slept { done.end } else { begin };
        Some(Window { start: done.start, end })
    }

    /// Ends the last window with the capture.
    pub(crate) fn finish(&mut self, last: Timestamp) -> Option<Window> {
        let Window { start, end } = self.open.take()?;
        let last = self.set_back.take().unwrap_or(last);
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

    const NOW: Duration = Duration::ZERO;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_parts(seconds, 0)
    }

    fn cut(windows: &mut Windows, times: &[u64]) -> Vec<(u64, u64)> {
        let mut done = Vec::new();
        for &time in times {
            if windows.is_over(at(time), NOW) {
                done.extend(windows.close(at(time)));
            }
        }
        let last = times.last().map_or(0, |&time| time);
        done.extend(windows.finish(at(last)));
        let seconds = |time: Timestamp| time.nanos() / 1_000_000_000;
        done.iter().map(|window| (seconds(window.start), seconds(window.end))).collect()
    }

    fn windows() -> Windows {
        Windows::new(Duration::from_secs(10))
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
        assert!(!windows.is_over(at(103), NOW) && windows.is_over(at(112), NOW));
        assert_eq!(windows.close(at(121)), Some(Window { start: at(103), end: at(120) }));
    }

    #[test]
    fn however_late_it_closes() {
        let mut windows = windows();
        for time in (103..165).step_by(3) {
            windows.is_over(at(time), NOW);
        }
        assert_eq!(windows.close(at(163)), Some(Window { start: at(103), end: at(160) }));
        assert!(!windows.is_over(at(166), NOW));
    }

    /// As `cut`, with a look at the clock before each time.
    fn cut_by_clock(windows: &mut Windows, times: &[u64]) -> Vec<(u64, u64)> {
        let mut done = Vec::new();
        for &time in times {
            windows.heed_clock(at(time));
            done.extend(cut_one(windows, time));
        }
        done
    }

    fn cut_one(windows: &mut Windows, time: u64) -> Option<(u64, u64)> {
        let window = windows.is_over(at(time), NOW).then(|| windows.close(at(time)))??;
        let [start, end] = [window.start, window.end].map(|time| time.nanos() / 1_000_000_000);
        Some((start, end))
    }

    #[test]
    fn a_clock_set_back_ends_the_window_and_begins_anew() {
        let mut windows = windows();
        // By much, by less than a window, and then on as ever.
        let times = [1003, 1004, 503, 509, 511, 519, 512, 519, 520, 530];
        let expected = [(1003, 1004), (503, 510), (510, 519), (512, 520), (520, 530)];
        assert_eq!(cut_by_clock(&mut windows, &times), expected);
        assert_eq!(windows.finish(at(531)), Some(Window { start: at(530), end: at(531) }));
    }

    #[test]
    fn a_clock_that_goes_back_a_little_is_waited_for() {
        let mut windows = windows();
        assert_eq!(cut_by_clock(&mut windows, &[1003, 1008, 1004, 1009, 1010]), [(1003, 1010)]);
    }

    #[test]
    fn frames_from_before_the_clock_was_set_back_end_no_window() {
        let mut windows = windows();
        assert_eq!(cut_by_clock(&mut windows, &[1003, 503]), [(1003, 1003)]);
        for late in [1003, 1010, 2000] {
            assert_eq!(cut_one(&mut windows, late), None);
        }
        assert_eq!(cut_by_clock(&mut windows, &[509, 510, 511]), [(503, 510)]);
        // Nor does it matter when the window couldn't be closed at once.
        windows.heed_clock(at(300));
        assert_eq!(cut_one(&mut windows, 512), None);
        assert_eq!(cut_by_clock(&mut windows, &[304, 305, 310]), [(510, 511), (304, 310)]);
    }

    #[test]
    fn a_window_that_had_not_begun_when_the_clock_was_set_back_is_none() {
        let mut windows = windows();
        assert_eq!(cut_by_clock(&mut windows, &[1003, 1009]), []);
        // Closed ahead of its end.
        assert_eq!(windows.close(at(1010)), Some(Window { start: at(1003), end: at(1010) }));
        assert_eq!(cut_by_clock(&mut windows, &[503, 509, 510]), [(503, 510)]);
    }

    #[test]
    fn a_clock_set_back_twice_before_the_window_can_be_closed_is_set_back_once() {
        let mut windows = windows();
        assert_eq!(cut_by_clock(&mut windows, &[1003, 1004]), []);
        windows.heed_clock(at(503));
        windows.heed_clock(at(203));
        assert_eq!(cut_by_clock(&mut windows, &[204, 209, 210]), [(1003, 1004), (204, 210)]);
    }

    #[test]
    fn a_window_with_the_one_before_never_ends_before_it_began() {
        let window = |start, end| Window { start: at(start), end: at(end) };
        let (before, last) = (window(1000, 1020), window(500, 510));
        assert_eq!(last.after(Some(before)), window(1000, 1020));
        assert_eq!(window(1020, 1030).after(Some(before)), window(1000, 1030));
        assert_eq!(last.after(None), last);
    }

    #[test]
    fn the_clock_may_be_set_back_right_before_the_end() {
        let mut windows = windows();
        assert_eq!(cut_by_clock(&mut windows, &[1003, 1004]), []);
        windows.heed_clock(at(503));
        assert_eq!(windows.finish(at(503)), Some(Window { start: at(1003), end: at(1004) }));
    }
}
