//! Whether what a file tells could come from a scan: sums are made of it without another look.

use crate::scan::{Census, Repeats};

/// More than this, of bytes or anything else, nobody captures: an exabyte.
const MAX_SUM: u64 = 1 << 60;

impl Census {
    /// Why no scan can have told this; `None` when one can. Of what is only shown, anything goes.
    pub fn flaw(&self) -> Option<&'static str> {
        let Self { counters, names, connections, kinds } = self;
        let undecoded = sum(counters.undecoded.values().copied());
        if undecoded > counters.frames {
            return Some("more frames that weren't decoded than frames");
        }
        let visits = || kinds.iter().flat_map(|(_, visits)| visits);
        let repeats = || connections.iter().map(|c| c.repeats).chain(visits().map(|v| v.repeats));
        let fits = |one: Repeats| 1 <= one.tries && one.tries <= one.connections;
        if !repeats().all(fits) {
            return Some("fewer connections than tries");
        }
        let own = [counters.frames, counters.bytes, counters.dropped, counters.other_protocol];
        let sides = connections.iter().flat_map(|connection| &connection.tally.sides);
        let total = [
            sum(own.into_iter().chain([counters.evicted, names.shed()])),
            sum(counters.unsupported_links.values().copied()),
            sum(repeats().map(|one| u64::from(one.connections))),
            sum(sides.flat_map(|side| [side.packets, side.bytes])),
            sum(visits().flat_map(|visit| visit.bytes)),
        ];
        (sum(total.into_iter()) > MAX_SUM).then_some("numbers that are too large")
    }
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
