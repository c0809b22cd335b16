use crate::base::Timestamp;

/// Frames of which the earliest moves the clock.
const FRAMES: u32 = 512;

/// How far a capture has come for sure, in capture time. Never goes back, and isn't put ahead by a few
/// wrong stamps; but is set back when the clock by which frames are stamped was.
///
/// It depends on the frames alone, not on who scans which of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    now: Timestamp,
    /// Of the latest frames, which are fewer than [`FRAMES`]: the earliest, and how many.
    low: Timestamp,
    count: u32,
    /// No frame is from after this.
    latest: Timestamp,
}

impl Default for Clock {
    fn default() -> Self {
        let (now, low) = Default::default();
        Self { now, low, count: 0, latest: Timestamp::from_nanos(u64::MAX) }
    }
}

impl Clock {
    /// Is told that no frame is from after a time, until it is told another one. Frames that are were
    /// stamped before the clock was set back. True when that sets this one back, too.
    pub(super) fn heed(&mut self, latest: Timestamp) -> bool {
        let is_set_back = latest < self.now;
        self.now = self.now.min(latest);
        self.latest = latest;
        is_set_back
    }

    /// Takes the next frame's time; gives the clock's.
    pub(super) fn tick(&mut self, time: Timestamp) -> Timestamp {
        self.low = if self.count == 0 { time } else { self.low.min(time) };
        self.count += 1;
        if self.count == FRAMES {
            self.now = self.now.max(self.low.min(self.latest));
            self.count = 0;
        }
        self.now
    }

    /// The time by the frames so far; that of no capture before there were enough.
    pub(super) fn now(self) -> Timestamp {
        self.now
    }

    /// Goes on as the clock of a later stretch.
    pub(super) fn then(&mut self, later: Self) {
        *self = Self { now: self.now.max(later.now), ..later };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_goes_back_nor_follows_a_few_frames() {
        let at = |second| Timestamp::from_parts(second, 0);
        let mut clock = Clock::default();
        let mut all =
            |second, count: u32| (0..count).map(|_| clock.tick(at(second))).last().unwrap();
        assert_eq!(all(100, FRAMES), at(100));
        assert_eq!(all(9_000, FRAMES - 1), at(100));
        assert_eq!(all(101, 1), at(101));
        assert_eq!(all(50, FRAMES), at(101));
        assert_eq!(all(9_000, FRAMES), at(9_000));
    }

    #[test]
    fn goes_back_when_the_clock_was_set_back() {
        let at = |second| Timestamp::from_parts(second, 0);
        let mut clock = Clock::default();
        let tick = |clock: &mut Clock, second, count: u32| {
            (0..count).map(|_| clock.tick(at(second))).last().unwrap()
        };
        clock.heed(at(9_005));
        assert_eq!(tick(&mut clock, 9_000, FRAMES), at(9_000));
        clock.heed(at(55));
        assert_eq!(clock.now(), at(55));
        // From before, and read after.
        assert_eq!(tick(&mut clock, 9_000, 3 * FRAMES), at(55));
        clock.heed(at(80));
        assert_eq!(tick(&mut clock, 75, FRAMES), at(75));
        // Set ahead again.
        clock.heed(at(9_005));
        assert_eq!(tick(&mut clock, 9_001, FRAMES), at(9_001));
    }
}
