//! Reads rings, a thread for each, and hands over what the frames told at the end of each window.
//!
//! One of the threads sees to the windows. It says a little ahead at which capture time one ends, so
//! that all of them cut there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    decode::Transport,
    flow::{Endpoint, FlowKey},
    scan::{Census, Limits, Partial, Place, Scanner},
    source::{Frame, InputStats, LiveStats, Rings, SET_BACK, SourceError, now},
};

use super::{
    live::PATIENCE,
    read::dropped,
    saved::{Saved, SavedInput},
    shared::Shared,
    window::{Window, Windows},
};

/// What those who read share.
pub(super) struct Crew<'w> {
    rings: usize,
    /// Frames read of each interface, by all.
    numbers: Vec<AtomicU64>,
    /// What was seen before.
    before: Vec<Seen>,
    /// The capture time at which all hand over what they know, in nanoseconds; another one for each
    /// window.
    cut: AtomicU64,
    shared: &'w Shared,
    /// False while what was handed over last is being judged.
    idle: &'w AtomicBool,
    stop: &'w AtomicBool,
}

/// Reads a ring of each interface.
pub(super) struct Reader<'w> {
    crew: &'w Crew<'w>,
    ring: usize,
    /// `None` only while it is taken apart.
    scanner: Option<Scanner>,
    limits: Limits,
    /// The resolvers of a profile that was read anew.
    changed: Receiver<Arc<[Endpoint]>>,
    /// Of whoever sees to the windows.
    lead: Option<Lead>,
    /// What was scanned, by input.
    seen: Vec<Seen>,
    looked: Look,
    /// The last cut.
    done: u64,
    /// What is to be handed over after the batch of frames.
    cut: Option<Piece>,
    pieces: Sender<Piece>,
}

/// A look at what the interfaces counted.
struct Look {
    at: Instant,
    /// Frames that were lost by then.
    lost: u64,
    /// Up to when all that weren't had come.
    come: Timestamp,
    /// What the clock said.
    clock: Timestamp,
}

/// Sees to the windows.
struct Lead {
    windows: Windows,
    /// One that is about to end.
    ending: Option<Window>,
    /// How much ahead the others must know.
    ahead: Duration,
    /// Snapshots cost capturing time, and may take a small share of it alone.
    not_before: Instant,
}

/// What a ring told up to some time.
pub(super) struct Piece {
    ring: usize,
    /// Which time that is; `None` at the end of the capture.
    cut: Option<u64>,
    partial: Partial,
    seen: Vec<Seen>,
    /// What the interfaces counted, which may be a little more.
    live: Vec<LiveStats>,
    window: Option<Window>,
}

/// What all rings told.
pub(super) struct Snapshot {
    /// At least one.
    pub(super) partials: Vec<Partial>,
    pub(super) seen: Vec<Seen>,
    pub(super) live: Vec<LiveStats>,
    pub(super) window: Option<Window>,
    pub(super) last: bool,
}

/// What was scanned of one input.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) span: Option<(Timestamp, Timestamp)>,
}

/// Clocks, and the order in which frames are stamped and counted, may differ by so much.
const LATE: Duration = Duration::from_secs(1);

/// How often a cut-off is asked for what it kept; more often than flows end that were idle for long.
const ASK: Duration = Duration::from_secs(10);

/// How much ahead of its end a window is announced: above the time that a ring is read late. Less for
/// short ones.
const AHEAD: Duration = Duration::from_secs(1);

impl<'w> Crew<'w> {
    pub(super) fn new(
        before: Option<&Saved>,
        interfaces: usize,
        rings: usize,
        shared: &'w Shared,
        idle: &'w AtomicBool,
        stop: &'w AtomicBool,
    ) -> Self {
        let before: Vec<_> = match before {
            Some(before) => before.inputs.iter().map(Seen::before).collect(),
            None => vec![Seen::default(); interfaces],
        };
        let numbers = before.iter().map(|seen| AtomicU64::new(seen.frames)).collect();
        Self { rings, numbers, before, cut: AtomicU64::new(0), shared, idle, stop }
    }

    /// Who reads, the one that sees to the windows first; it goes on from what was told before.
    pub(super) fn readers(
        &'w self,
        before: Option<Saved>,
        limits: Limits,
        resolvers: &Arc<[Endpoint]>,
        windows: Option<Windows>,
        changed: Vec<Receiver<Arc<[Endpoint]>>>,
        pieces: &Sender<Piece>,
    ) -> Vec<Reader<'w>> {
        let census = before.map(|before| before.census);
        let (first, other) = shares(limits, self.rings, census.as_ref());
        let mut lead = windows.map(|windows| Lead::new(windows, self.rings));
        let mut census = census;
        let reader = |(ring, changed): (usize, Receiver<_>)| {
            let limits = if ring == 0 { first } else { other };
            let resolvers = Arc::clone(resolvers);
            let scanner = match census.take() {
                Some(census) => Scanner::resume(Partial::after(census, limits, resolvers)),
                None => Scanner::new(Place::Beginning, limits, resolvers),
            };
            let seen = match ring {
                0 => self.before.clone(),
                _ => vec![Seen::default(); self.before.len()],
            };
            Reader {
                crew: self,
                ring,
                scanner: Some(scanner),
                limits,
                changed,
                lead: lead.take(),
                seen,
                looked: Look {
                    at: Instant::now(),
                    lost: 0,
                    come: Timestamp::default(),
                    clock: Timestamp::default(),
                },
                done: 0,
                cut: None,
                pieces: pieces.clone(),
            }
        };
        changed.into_iter().enumerate().map(reader).collect()
    }
}

/// The bounds of the first ring, which has what was told before too, and those of each other. What was
/// told before leaves them less, but a quarter in all.
fn shares(limits: Limits, rings: usize, before: Option<&Census>) -> (Limits, Limits) {
    if rings == 1 {
        return (limits, limits);
    }
    let known = before.map_or((0, 0), |census| {
        let folded: usize = census.kinds.iter().map(|(_, visits)| visits.len()).sum();
        (census.connections.len() + folded, census.names.lookups().len())
    });
    let left = |all: usize, known: usize| all.saturating_sub(known).max(all / 4);
    let free = Limits {
        connections: left(limits.connections, known.0),
        lookups: left(limits.lookups, known.1),
        ..limits
    };
    let other = free.share(rings);
    let first = Limits {
        connections: (known.0 + other.connections).min(limits.connections),
        lookups: (known.1 + other.lookups).min(limits.lookups),
        ..other
    };
    (first, other)
}

/// Ends the capture of all when one ends, in whatever way.
pub(super) struct Ending<'w>(pub(super) &'w AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Reader<'_> {
    /// Captures until it is to stop, or the interfaces are gone.
    pub(super) fn capture(mut self, mut rings: Rings) -> Result<(), SourceError> {
        let Crew { shared, stop, .. } = *self.crew;
        let _ending = Ending(stop);
        let mut result = Ok(());
        let (mut shown, mut asked) = (Instant::now(), Instant::now());
        self.show(rings.stats());
        while !stop.load(Ordering::Relaxed) && result.is_ok() {
            self.heed_clock(now());
            result = rings.turn(PATIENCE, |frame| self.frame(frame)).map(drop);
            self.heed_time(rings.horizon());
            self.heed_changes();
            shared.beat(self.ring);
            if asked.elapsed() >= ASK {
                asked = Instant::now();
                self.ask(&mut rings);
            }
            if shown.elapsed() >= Duration::from_secs(1) {
                shown = Instant::now();
                self.look(&rings);
            }
            if let Some(piece) = self.cut.take() {
                // Refused only when nobody judges any more, who will say why.
                let _ = self.pieces.send(Piece { live: rings.stats(), ..piece });
            }
        }
        stop.store(true, Ordering::Relaxed);
        rings.drain(|frame| self.frame(frame));
        self.ask(&mut rings);
        self.look(&rings);
        self.finish(&rings);
        result
    }

    /// Adds what a cut-off kept in the kernel to the connections that it belongs to.
    fn ask(&mut self, rings: &mut Rings) {
        let Some(scanner) = &mut self.scanner else { return };
        rings.ask(|cut| {
            let transport = if cut.udp { Transport::Udp } else { Transport::Tcp };
            let [from, to] = [cut.from, cut.to].map(|end| Endpoint::new(end.ip(), end.port()));
            let (key, side) = FlowKey::new(transport, from, to);
            scanner.uncaptured(&key, side, cut.packets, cut.bytes)
        });
    }

    /// Looks at what the interfaces counted. What was lost since the look before was lost after the
    /// last frame that had come then.
    fn look(&mut self, rings: &Rings) {
        let live = rings.stats();
        let lost = dropped(live.iter().map(|stats| &stats.input));
        let clock = now();
        // The horizon doesn't go back with a clock that is set back by little.
        let come = rings.horizon().min(clock).minus(LATE);
        let look = Look { at: Instant::now(), lost, come, clock };
        let before = std::mem::replace(&mut self.looked, look);
        if let Some(scanner) = &mut self.scanner
            && lost > before.lost
        {
            for (from, to) in lost_between(&before, clock, before.at.elapsed()) {
                scanner.lost(from, to);
            }
        }
        self.show(live);
    }

    fn show(&self, live: Vec<LiveStats>) {
        let shared = self.crew.shared;
        shared.set_live(self.ring, live);
        if let Some(scanner) = &self.scanner {
            shared.set_tables(self.ring, scanner.usage(), self.limits);
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.heed_time(frame.stamp.time);
        let input = frame.stamp.frame.input();
        let Some(seen) = self.seen.get_mut(input as usize) else { return };
        seen.count(frame);
        // Numbers go on from those of the capture before, whichever ring a frame came on.
        let number = match self.crew.rings {
            1 => seen.frames,
            _ => self.crew.numbers[input as usize].fetch_add(1, Ordering::Relaxed) + 1,
        };
        if let Some(scanner) = &mut self.scanner {
            let stamp = Stamp { frame: FrameId::new(input, number), ..frame.stamp };
            scanner.push(&Frame { stamp, ..*frame }, &mut ());
        }
    }

    /// Goes on with other resolvers, as if the capture had begun with them; what was read stays.
    fn heed_changes(&mut self) {
        while let Ok(resolvers) = self.changed.try_recv() {
            let Some(scanner) = self.scanner.take() else { return };
            let mut next = Scanner::new(Place::Beginning, self.limits, resolvers);
            next.append(scanner.finish(), &mut ());
            self.scanner = Some(next);
        }
    }

    /// Ends the window that is over by a time, if it can be dealt with now; otherwise it gets
    /// longer.
    #[inline]
    fn heed_time(&mut self, now: Timestamp) {
        if let Some(lead) = &mut self.lead {
            lead.announce(now, self.crew);
        }
        let cut = self.crew.cut.load(Ordering::Acquire);
        if cut != self.done && now.nanos() >= cut {
            self.hand_over(cut);
        }
    }

    /// Ends the window when the clock was set back: waiting until it has caught up could take hours. So
    /// could idle flows.
    fn heed_clock(&mut self, now: Timestamp) {
        if let Some(scanner) = &mut self.scanner {
            scanner.heed_clock(now.plus(SET_BACK));
        }
        if let Some(lead) = &mut self.lead {
            lead.windows.heed_clock(now);
        }
        let cut = self.crew.cut.load(Ordering::Acquire);
        // Nobody announces a cut that long ahead.
        if cut != self.done && now.plus(SET_BACK).nanos() < cut {
            self.hand_over(cut);
        }
    }

    #[cold]
    fn hand_over(&mut self, cut: u64) {
        self.done = cut;
        let began = Instant::now();
        let Some(scanner) = &self.scanner else { return };
        let partial = scanner.snapshot();
        let window = self.lead.as_mut().and_then(|lead| lead.ending.take());
        let (seen, live) = (self.seen.clone(), Vec::new());
        self.cut = Some(Piece { ring: self.ring, cut: Some(cut), partial, seen, live, window });
        if let Some(lead) = &mut self.lead {
            lead.not_before = Instant::now() + began.elapsed() * 10;
        }
    }

    fn finish(&mut self, rings: &Rings) {
        let window = self.lead.as_mut().and_then(|lead| {
            let last = lead.windows.finish(now())?;
            Some(last.after(lead.ending.take()))
        });
        if let Some(piece) = self.cut.take() {
            let _ = self.pieces.send(Piece { live: rings.stats(), ..piece });
        }
        if let Some(scanner) = self.scanner.take() {
            let (partial, seen, live) = (scanner.finish(), self.seen.clone(), rings.stats());
            let piece = Piece { ring: self.ring, cut: None, partial, seen, live, window };
            let _ = self.pieces.send(piece);
        }
    }
}

/// When frames may have been lost since a look, which was so long ago by a clock that isn't set.
fn lost_between(
    look: &Look,
    now: Timestamp,
    ago: Duration,
) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let (since, until) = (look.come, now.plus(LATE));
    let set_back = now < look.clock;
    let whole = (!set_back).then_some((since, until));
    // Before it was set back, and after. What had come then may be long before what the clock said, when
    // there is more to read all the time.
    let parts = [(since, look.clock.plus(ago + LATE)), (now.minus(ago + LATE), until)];
    whole.into_iter().chain(parts.into_iter().filter(move |_| set_back))
}

impl Lead {
    fn new(windows: Windows, rings: usize) -> Self {
        let ahead = match rings {
            1 => Duration::ZERO,
            _ => AHEAD.min(windows.length() / 2),
        };
        Self { windows, ending: None, ahead, not_before: Instant::now() }
    }

    /// Says when the open window ends, once it is about to.
    #[inline]
    fn announce(&mut self, now: Timestamp, crew: &Crew<'_>) {
        let soon = now.plus(self.ahead);
        if !self.windows.is_over(now, self.ahead)
            || !crew.idle.load(Ordering::Acquire)
            || Instant::now() < self.not_before
        {
            return;
        }
        // As planned, unless some may be past that by the time they hear of it.
        let planned = self
            .windows
            .end()
            .filter(|end| (now.plus(self.ahead / 3)..=soon).contains(end) && !self.ahead.is_zero());
        let cut = planned.unwrap_or(soon);
        self.ending = self.windows.close(cut);
        crew.idle.store(false, Ordering::Release);
        crew.cut.store(cut.nanos(), Ordering::Release);
    }
}

impl Seen {
    /// What the capture before had seen of it.
    fn before(input: &SavedInput) -> Self {
        let InputStats { frames, bytes, first, last, .. } = input.stats;
        Self { frames, bytes, span: first.zip(last) }
    }

    fn count(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        self.bytes += u64::from(frame.wire_len);
        self.extend((frame.stamp.time, frame.stamp.time));
    }

    fn extend(&mut self, (first, last): (Timestamp, Timestamp)) {
        let (earliest, latest) = self.span.unwrap_or((first, last));
        self.span = Some((earliest.min(first), latest.max(last)));
    }

    fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        if let Some(span) = other.span {
            self.extend(span);
        }
    }
}

/// Puts together what the rings hand over.
pub(super) struct Gathering {
    pieces: Vec<Option<Piece>>,
}

impl Gathering {
    pub(super) fn new(rings: usize) -> Self {
        Self { pieces: (0..rings).map(|_| None).collect() }
    }

    /// Takes a piece. Gives all, once there is one of each ring for the same time.
    pub(super) fn add(&mut self, mut piece: Piece) -> Option<Snapshot> {
        let place = self.pieces.get_mut(piece.ring)?;
        if let Some(older) = place.take() {
            // The end came before all were there: its window goes on.
            piece.window = piece.window.map(|window| window.after(older.window));
        }
        let cut = piece.cut;
        *place = Some(piece);
        let fits = |piece: &Option<Piece>| piece.as_ref().is_some_and(|piece| piece.cut == cut);
        if !self.pieces.iter().all(fits) {
            return None;
        }
        let mut pieces = self.pieces.iter_mut().filter_map(Option::take);
        let Piece { partial, mut seen, mut live, mut window, .. } = pieces.next()?;
        let mut partials = vec![partial];
        for more in pieces {
            partials.push(more.partial);
            seen.iter_mut().zip(&more.seen).for_each(|(sum, more)| sum.add(more));
            live.iter_mut().zip(&more.live).for_each(|(sum, more)| sum.beside(more));
            window = window.or(more.window);
        }
        Some(Snapshot { partials, seen, live, window, last: cut.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_parts(seconds, 0)
    }

    /// What each ring hands over when the clock says a time, and all frames up to then have come.
    fn turn(readers: &mut [Reader<'_>], time: Timestamp) -> Vec<Option<(u64, Option<Window>)>> {
        let turn = |reader: &mut Reader<'_>| {
            if let Some(lead) = &mut reader.lead {
                lead.not_before = Instant::now();
            }
            reader.heed_clock(time);
            reader.heed_time(time);
            let piece = reader.cut.take()?;
            Some((piece.cut? / 1_000_000_000, piece.window))
        };
        readers.iter_mut().map(turn).collect()
    }

    #[test]
    fn a_clock_set_back_ends_the_window_on_all_rings() {
        let (shared, idle, stop) = (Shared::new(2), AtomicBool::new(true), AtomicBool::new(false));
        let crew = Crew::new(None, 1, 2, &shared, &idle, &stop);
        let windows = Windows::new(Duration::from_secs(60));
        let (pieces, _judge) = channel();
        let changed = (0..2).map(|_| channel().1).collect();
        let limits = Limits::default();
        let mut readers = crew.readers(None, limits, &[].into(), Some(windows), changed, &pieces);
        let window = |start, end| Some(Window { start: at(start), end: at(end) });
        let none = [None, None];
        assert_eq!(turn(&mut readers, at(1000)), none);
        // Its end is announced, and never comes.
        assert_eq!(turn(&mut readers, at(1019).plus(AHEAD / 2)), none);
        let both = [Some((1020, window(1000, 1020))), Some((1020, None))];
        assert_eq!(turn(&mut readers, at(500)), both);
        // While that is judged, no window ends.
        assert_eq!(turn(&mut readers, at(200)), none);
        idle.store(true, Ordering::Relaxed);
        assert_eq!(turn(&mut readers, at(201)), none);
        let both = [Some((202, window(500, 500))), Some((202, None))];
        assert_eq!(turn(&mut readers, at(202)), both);
        // And on as ever.
        idle.store(true, Ordering::Relaxed);
        assert_eq!(turn(&mut readers, at(239)), none);
        let both = [Some((240, window(202, 240))), Some((240, None))];
        assert_eq!(turn(&mut readers, at(240)), both);
        assert_eq!(crew.cut.load(Ordering::Relaxed), at(240).nanos());
    }

    #[test]
    fn lost_frames_are_looked_for_on_both_sides_of_a_clock_set_back() {
        let ago = Duration::from_secs(2);
        let spans = |come, clock, now| {
            let look = Look { at: Instant::now(), lost: 0, come: at(come), clock: at(clock) };
            lost_between(&look, at(now), ago).collect::<Vec<_>>()
        };
        assert_eq!(spans(100, 101, 103), [(at(100), at(104))]);
        assert_eq!(spans(100, 101, 50), [(at(100), at(104)), (at(47), at(51))]);
        // Long after what had come.
        assert_eq!(spans(100, 130, 132), [(at(100), at(133))]);
        assert_eq!(spans(100, 130, 110), [(at(100), at(133)), (at(107), at(111))]);
    }
}
