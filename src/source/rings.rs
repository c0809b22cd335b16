use std::{
    cell::Cell,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    Cut, CutFlow, Format, Frame, InputStats, KernelStats, LinkType, LiveOptions, SourceError,
    carrier::Carrier,
    fanout::{Fanout, NoFanout},
    live::{Live, TIMEOUT_MS},
    stats::Tally,
};
use crate::base::{Stamp, Timestamp};

/// Interfaces that are captured at the same time.
///
/// Frames come in the order of their capture times, whichever interface they came through. An
/// interface that goes away is opened again as soon as it is back.
///
/// Several of these may share the same interfaces, for a thread each: see [`Rings::open_beside`].
pub struct Rings {
    rings: Vec<Ring>,
    options: LiveOptions,
    /// When the interfaces were last looked at.
    checked: Instant,
    horizon: Timestamp,
}

/// A time in which an interface was down, or gone: what happened in it wasn't seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last time that it was known to be up.
    pub from: Timestamp,
    /// When it was seen to be back; `None` while it is away.
    pub to: Option<Timestamp>,
}

/// What a live capture can say of one interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveStats {
    /// Frames and bytes.
    pub input: InputStats,
    /// What the kernel counted.
    pub kernel: KernelStats,
    /// The latest times in which the interface was away, at most [`MAX_GAPS`].
    pub gaps: Vec<Gap>,
    /// How often it was away.
    pub gap_count: u64,
    /// What a cut-off kept in the kernel, up to the last [`Rings::ask`]; `None` without one.
    pub cut: Option<Cut>,
}

/// Gaps that are kept for each interface.
pub const MAX_GAPS: usize = 100;

/// What [`Rings::turn`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There may be more frames to read at once.
    More,
    /// All frames that were ready have been read.
    Idle,
}

struct Ring {
    name: String,
    index: u32,
    /// `None` while the interface is gone.
    live: Option<Live>,
    head: Head,
    /// What was read before the interface went away.
    before: Tally,
    link: LinkType,
    /// The kernel's counts of handles that are closed.
    closed: KernelStats,
    open: KernelStats,
    carrier: Carrier,
    seen_up: Timestamp,
    gaps: Vec<Gap>,
    gap_count: u64,
    /// Those that share the interface's frames, and which of them this is.
    share: Option<(Arc<Fanout>, usize)>,
    notes: Vec<String>,
    /// What was cut before the interface went away.
    cut: Option<Cut>,
}

/// The next frame of one of several interfaces, kept until the others have shown theirs.
#[derive(Default)]
struct Head {
    full: bool,
    /// Nothing more was ready in this turn.
    dry: bool,
    stamp: Stamp,
    wire_len: u32,
    data: Vec<u8>,
}

/// Frames that one turn hands out, about.
const BATCH: usize = 16_384;

/// Frames of a turn after which more are sure to come soon.
const BUSY: usize = 128;

/// Bytes a second that a busy interface may fill its buffer with while nobody reads: 20 Gbit/s, of
/// which a quarter of the buffer must hold what comes during a rest.
const FILL: u64 = 4 * 2_500_000_000;

/// How often the interfaces' state and counters are looked at.
const CHECK: Duration = Duration::from_secs(1);

/// A clock that goes back by more isn't waited for, and no frame is from so far ahead.
pub const SET_BACK: Duration = Duration::from_secs(5);

/// How late the kernel may hand over a frame: its time-out, and as much again for a busy machine.
const LATENESS: Duration = Duration::from_millis(TIMEOUT_MS as u64 * 2);

impl Rings {
    /// Starts to capture on interfaces, or on all of them (`any`, on Linux).
    ///
    /// # Errors
    ///
    /// When there is no such interface, the right to capture is missing, or the filter is wrong.
    pub fn open(names: &[String], options: &LiveOptions) -> Result<Self, SourceError> {
        let now = now();
        let ring = |(index, name): (u32, &String)| Ring::open(name, index, options, now);
        let rings = (0..).zip(names).map(ring).collect::<Result<_, _>>()?;
        Ok(Self { rings, options: options.clone(), checked: Instant::now(), horizon: now })
    }

    /// The same, `count` times beside each other: the kernel spreads the frames of each interface, so
    /// that all of a flow come to the same one, also if they pass several interfaces. What can't be
    /// told to belong to a flow, as fragments, and tunnels, comes to the first.
    ///
    /// Gives one alone, with a [note](Self::notes), where the kernel can't.
    ///
    /// # Errors
    ///
    /// As [`Rings::open`].
    pub fn open_beside(
        names: &[String],
        options: &LiveOptions,
        count: usize,
    ) -> Result<Vec<Self>, SourceError> {
        let mut all = vec![Self::open(names, options)?];
        if count <= 1 {
            return Ok(all);
        }
        let groups: Vec<_> = names.iter().map(|_| Arc::new(Fanout::new(count))).collect();
        for place in 0..count {
            if place > 0 {
                all.push(Self::open(names, options)?);
            }
            for (ring, group) in all[place].rings.iter_mut().zip(&groups) {
                if let Err(refused) = ring.share(group, place) {
                    return Self::alone(names, options, all, &refused);
                }
            }
        }
        all.iter_mut().flat_map(|rings| &mut rings.rings).for_each(Ring::begin);
        Ok(all)
    }

    /// One that sees everything.
    fn alone(
        names: &[String],
        options: &LiveOptions,
        open: Vec<Self>,
        refused: &NoFanout,
    ) -> Result<Vec<Self>, SourceError> {
        drop(open);
        let mut one = Self::open(names, options)?;
        one.rings.iter_mut().take(1).for_each(|ring| ring.notes.push(refused.to_string()));
        Ok(vec![one])
    }

    /// Hands out the frames that are ready, a batch at most; when there are none, waits for some,
    /// `patience` at most.
    ///
    /// # Errors
    ///
    /// When the last interface went away and can't be expected back.
    pub fn turn(
        &mut self,
        patience: Duration,
        mut on_frame: impl FnMut(&Frame<'_>),
    ) -> Result<Turn, SourceError> {
        let lately = late(now());
        // Also while there is always more to read.
        self.horizon = not_ahead(self.horizon, lately);
        let read = match &mut self.rings[..] {
            [one] => one.read(BATCH, &mut on_frame),
            _ => self.merge(lately, &mut on_frame),
        };
        if read >= BATCH {
            return Ok(Turn::More);
        }
        self.horizon = self.horizon.max(lately);
        if self.checked.elapsed() >= CHECK {
            self.check()?;
        }
        match read {
            0 => self.wait(patience),
            // The kernel would wake us for each block of its buffer, of which there are a thousand
            // a second and more.
            BUSY.. => self.rest(patience),
            _ => {}
        }
        Ok(Turn::Idle)
    }

    /// The capture time up to which all frames have been handed out; those that are later handed
    /// out are later, unless the clock was set back.
    pub fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// Hands out what has been captured until now, for the end: the kernel hands over its last
    /// frames a little late.
    pub fn drain(&mut self, mut on_frame: impl FnMut(&Frame<'_>)) {
        let (end, deadline) = (now(), Instant::now() + LATENESS);
        // On a busy interface frames would never cease to come.
        let last = Cell::new(Timestamp::default());
        let mut see = |frame: &Frame<'_>| {
            last.set(last.get().max(frame.stamp.time));
            on_frame(frame);
        };
        while last.get() <= end {
            let late = Instant::now() >= deadline;
            let read = match &mut self.rings[..] {
                [one] => one.read(BATCH, &mut see),
                _ if late => self.merge(end, &mut see),
                _ => self.merge(self.horizon, &mut see),
            };
            match (read, late) {
                (0, true) => break,
                (0, false) => thread::sleep(Duration::from_millis(5)),
                _ => {}
            }
        }
        let _ = self.check();
    }

    /// Tells what a cut-off kept in the kernel of each flow since the last call. `knows` says whether
    /// the flow is known to it. Of copies of the same packets, on several interfaces or on the
    /// loopback, one counts.
    ///
    /// Costs some milliseconds when there are many flows.
    pub fn ask(&mut self, mut knows: impl FnMut(&CutFlow) -> bool) {
        let open = self.rings.iter_mut().map(|ring| ring.live.as_mut());
        let read: Vec<_> = open.map(|live| live.map_or(Ok(None), Live::read_cut)).collect();
        // While one can't be read, nothing is told: copies that are told later would count again. What
        // isn't told isn't accounted for, which shows.
        let Ok(read) = read.into_iter().collect::<io::Result<Vec<_>>>() else { return };
        let mut all = Vec::new();
        for (at, (ring, counted)) in self.rings.iter_mut().zip(read).enumerate() {
            if let (Some(live), Some(counted)) = (&mut ring.live, counted) {
                live.tell_cut(counted, |flow| all.push((at, flow)));
            }
        }
        let whose = |flow: &CutFlow| (flow.udp, flow.from, flow.to);
        all.sort_unstable_by_key(|(at, flow)| (whose(flow), *at));
        for copies in all.chunk_by(|(_, a), (_, b)| whose(a) == whose(b)) {
            let most =
                |number: fn(&CutFlow) -> u64| copies.iter().map(|(_, flow)| number(flow)).max();
            let (packets, bytes) = (most(|flow| flow.packets), most(|flow| flow.bytes));
            let (packets, bytes) = (packets.unwrap_or_default(), bytes.unwrap_or_default());
            if knows(&CutFlow { packets, bytes, ..copies[0].1 }) {
                for (at, flow) in copies {
                    if let Some(live) = &mut self.rings[*at].live {
                        live.account(flow.bytes);
                    }
                }
            }
        }
    }

    /// What is known of each interface, in the order in which they were named.
    pub fn stats(&self) -> Vec<LiveStats> {
        self.rings.iter().map(Ring::stats).collect()
    }

    /// What was asked for and can't be had, and what that costs, by interface.
    pub fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rings.iter().flat_map(|ring| {
            let notes = ring.live.iter().flat_map(Live::notes).chain(&ring.notes);
            notes.map(|note| (ring.name.as_str(), note.as_str()))
        })
    }

    /// Frames in capture order up to `end`; those of an interface that has nothing ready may still
    /// come, so the others' later ones wait.
    fn merge(&mut self, end: Timestamp, on_frame: &mut impl FnMut(&Frame<'_>)) -> usize {
        self.rings.iter_mut().for_each(|ring| ring.head.dry = false);
        for count in 0..BATCH {
            self.rings.iter_mut().for_each(Ring::peek);
            let all = self.rings.iter().all(|ring| ring.head.full);
            let first = self.rings.iter_mut().filter(|ring| ring.head.full);
            let order = |ring: &&mut Ring| (!ring.head.is_overtaken(end), ring.head.stamp);
            let Some(first) = first.min_by_key(order) else { return count };
            if !all && first.head.stamp.time > end && !first.head.is_overtaken(end) {
                return count;
            }
            on_frame(&first.head.frame(first.link));
            first.head.full = false;
        }
        BATCH
    }

    /// Lets frames gather on a busy interface, for as long as its buffer is sure to hold them.
    fn rest(&self, patience: Duration) {
        let room = u64::from(self.options.buffer).saturating_mul(1_000_000_000) / FILL;
        let rest = Duration::from_nanos(room).min(patience);
        if rest >= Duration::from_millis(1) {
            thread::sleep(rest);
        }
    }

    fn wait(&self, patience: Duration) {
        // Frames that wait for their turn will get it soon, without news from the kernel.
        let waiting = self.rings.iter().any(|ring| ring.head.full);
        let patience = if waiting { Duration::from_millis(5) } else { patience };
        if waiting || !self.poll(patience) {
            thread::sleep(patience);
        }
    }

    /// Waits for frames; false when that isn't possible.
    #[cfg(unix)]
    fn poll(&self, patience: Duration) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let open = self.rings.iter().filter_map(|ring| ring.live.as_ref());
        let mut fds: Vec<_> =
            open.map(|live| PollFd::new(live.as_fd(), PollFlags::POLLIN)).collect();
        if fds.is_empty() {
            return false;
        }
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        // Interrupted by a signal is as good as done. An interface in error would be ready at once.
        let ready = poll(&mut fds, patience).unwrap_or(0);
        let failed = |fd: &PollFd<'_>| {
            fd.revents().is_some_and(|got| !(got & !PollFlags::POLLIN).is_empty())
        };
        !(ready > 0 && fds.iter().any(failed))
    }

    #[cfg(not(unix))]
    fn poll(&self, _: Duration) -> bool {
        false
    }

    /// Looks at the interfaces: counters, those that went down, those that are back.
    fn check(&mut self) -> Result<(), SourceError> {
        self.checked = Instant::now();
        let now = now();
        let mut last = None;
        for ring in &mut self.rings {
            ring.check(now);
            if ring.live.is_none() {
                last = ring.reopen(&self.options, now).err().or(last);
            }
        }
        match last {
            // Whoever gave up the right to capture can't open an interface again.
            Some(error) if self.rings.iter().all(|ring| ring.live.is_none() && ring.is_lost()) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

impl Ring {
    fn open(
        name: &str,
        index: u32,
        options: &LiveOptions,
        now: Timestamp,
    ) -> Result<Self, SourceError> {
        let live = Live::open(name, index, Tally::default(), options)?;
        let carrier = match Carrier::of(name) {
            // It was opened just now: this /sys is about another network namespace.
            Carrier::Gone => Carrier::Unknown,
            known => known,
        };
        Ok(Self {
            name: name.to_owned(),
            index,
            link: live.link(),
            live: Some(live),
            head: Head::default(),
            before: Tally::default(),
            closed: KernelStats::default(),
            open: KernelStats::default(),
            carrier,
            seen_up: now,
            gaps: Vec::new(),
            gap_count: 0,
            share: None,
            notes: Vec::new(),
            cut: None,
        })
    }

    /// Shares the interface's frames with those before.
    fn share(&mut self, group: &Arc<Fanout>, place: usize) -> Result<(), NoFanout> {
        if let Some(live) = &mut self.live {
            live.hold();
            group.join(live, now)?;
        }
        self.share = Some((Arc::clone(group), place));
        Ok(())
    }

    /// Hands out frames from when all that share them were there.
    fn begin(&mut self) {
        if let (Some(live), Some((group, _))) = (&mut self.live, &self.share)
            && !live.has_begun()
            && let Some(since) = group.since()
        {
            live.begin(since);
        }
    }

    fn read(&mut self, max: usize, on_frame: &mut impl FnMut(&Frame<'_>)) -> usize {
        self.begin();
        let Some(live) = &mut self.live else { return 0 };
        let mut read = 0;
        while read < max {
            match live.read(max - read, |frame| on_frame(&frame)) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(_) => {
                    self.close();
                    break;
                }
            }
        }
        read
    }

    /// Makes the head the next frame, if there is one.
    fn peek(&mut self) {
        self.begin();
        let Self { live: Some(live), head, .. } = self else { return };
        while !head.full && !head.dry {
            match live.next() {
                Ok(Some(frame)) => head.keep(&frame),
                Ok(None) => head.dry = true,
                Err(_) => return self.close(),
            }
            head.full &= live.counts(head.stamp.time);
        }
    }

    /// The interface is gone.
    #[cold]
    fn close(&mut self) {
        let Some(live) = self.live.take() else { return };
        self.before = live.tally().clone();
        self.cut = self.cut();
        drop(live);
        if let Some((group, _)) = &self.share {
            group.leave();
        }
        self.closed = self.closed.plus(self.open);
        self.open = KernelStats::default();
        self.begin_gap();
    }

    fn check(&mut self, now: Timestamp) {
        if let Some(live) = &mut self.live
            && let Ok(stats) = live.kernel_stats()
        {
            self.open = stats;
        }
        let carrier = match self.carrier {
            Carrier::Unknown => Carrier::Unknown,
            _ => Carrier::of(&self.name),
        };
        if !carrier.is_up() {
            self.begin_gap();
        } else if self.live.is_some() {
            if carrier != self.carrier {
                // Down and up again since the last look.
                self.begin_gap();
            }
            self.end_gap(now);
            self.seen_up = now;
        }
        self.carrier = carrier;
    }

    fn reopen(&mut self, options: &LiveOptions, now: Timestamp) -> Result<(), SourceError> {
        if self.share.as_ref().is_some_and(|(group, place)| !group.is_turn_of(*place)) {
            return Ok(());
        }
        let mut live = Live::open(&self.name, self.index, self.before.clone(), options)?;
        if let Some((group, _)) = &self.share {
            live.hold();
            group.join(&live, self::now).map_err(|refused| SourceError::Interface {
                name: self.name.clone(),
                what: refused.to_string(),
            })?;
        }
        self.link = live.link();
        self.live = Some(live);
        if self.carrier != Carrier::Unknown {
            self.carrier = Carrier::of(&self.name);
        }
        self.end_gap(now);
        self.seen_up = now;
        Ok(())
    }

    /// True when the interface is there, and still can't be opened.
    fn is_lost(&self) -> bool {
        self.carrier.is_up()
    }

    fn begin_gap(&mut self) {
        if self.gaps.last().is_some_and(|gap| gap.to.is_none()) {
            return;
        }
        if self.gaps.len() == MAX_GAPS {
            self.gaps.remove(0);
        }
        self.gap_count += 1;
        self.gaps.push(Gap { from: self.seen_up, to: None });
    }

    fn end_gap(&mut self, now: Timestamp) {
        if let Some(gap) = self.gaps.last_mut() {
            // The clock may have been set back.
            gap.to = gap.to.or(Some(now.max(gap.from)));
        }
    }

    fn stats(&self) -> LiveStats {
        let kernel = self.closed.plus(self.open);
        let tally = self.live.as_ref().map_or(&self.before, Live::tally);
        let (first, last) = tally.span();
        let mut link_types = tally.links().to_vec();
        if link_types.is_empty() {
            link_types.push(self.link);
        }
        let input = InputStats {
            path: (&self.name).into(),
            format: Format::Live,
            link_types,
            frames: tally.frames,
            bytes: tally.bytes,
            first,
            last,
            dropped: Some(kernel.dropped.saturating_add(kernel.if_dropped)),
            truncated: None,
        };
        let (gaps, gap_count) = (self.gaps.clone(), self.gap_count);
        LiveStats { input, kernel, gaps, gap_count, cut: self.cut() }
    }

    /// What was cut, also before the interface went away.
    fn cut(&self) -> Option<Cut> {
        let now = self.live.as_ref().and_then(Live::cut);
        let all = [self.cut, now].into_iter().flatten();
        all.reduce(|mut sum, more| {
            sum.add(&more);
            sum
        })
    }
}

impl Head {
    fn keep(&mut self, frame: &Frame<'_>) {
        self.full = true;
        self.stamp = frame.stamp;
        self.wire_len = frame.wire_len;
        self.data.clear();
        self.data.extend_from_slice(frame.data);
    }

    /// True when it came before the clock was set back, where all up to `end` have come. It would have to
    /// wait until the clock has caught up, and all behind it as well.
    fn is_overtaken(&self, end: Timestamp) -> bool {
        self.stamp.time > end.plus(SET_BACK)
    }

    fn frame(&self, link: LinkType) -> Frame<'_> {
        Frame { stamp: self.stamp, link, wire_len: self.wire_len, data: &self.data }
    }
}

impl LiveStats {
    /// Adds what another one that shares the interface counted.
    pub fn beside(&mut self, other: &Self) {
        let (mine, its) = (&mut self.input, &other.input);
        mine.frames += its.frames;
        mine.bytes += its.bytes;
        mine.first = [mine.first, its.first].into_iter().flatten().min();
        mine.last = mine.last.max(its.last);
        mine.link_types.extend_from_slice(&its.link_types);
        mine.link_types.sort_unstable();
        mine.link_types.dedup();
        self.kernel.received += other.kernel.received;
        self.kernel.dropped += other.kernel.dropped;
        // The interface lost them for all.
        self.kernel.if_dropped = self.kernel.if_dropped.max(other.kernel.if_dropped);
        mine.dropped = Some(self.kernel.dropped.saturating_add(self.kernel.if_dropped));
        self.cut = match (self.cut, other.cut) {
            (Some(mut sum), Some(more)) => {
                sum.add(&more);
                Some(sum)
            }
            (one, other) => one.or(other),
        };
        // All saw it go away, one of them last.
        if other.gap_count > self.gap_count {
            (self.gaps, self.gap_count) = (other.gaps.clone(), other.gap_count);
        } else if let (Some(mine), Some(its)) = (self.gaps.last_mut(), other.gaps.last())
            && other.gap_count == self.gap_count
        {
            mine.to = mine.to.zip(its.to).map(|(one, other)| one.max(other));
        }
    }
}

impl KernelStats {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            dropped: self.dropped + other.dropped,
            if_dropped: self.if_dropped + other.if_dropped,
        }
    }
}

/// Capture time now: the kernel stamps frames by the same clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), u64::from(since.subsec_nanos()))
}

/// The horizon, unless a later look at the clock shows that it was set back.
fn not_ahead(horizon: Timestamp, lately: Timestamp) -> Timestamp {
    if lately.plus(SET_BACK) < horizon { lately } else { horizon }
}

fn late(now: Timestamp) -> Timestamp {
    let lateness = u64::try_from(LATENESS.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_nanos(now.nanos().saturating_sub(lateness))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_interface_is_answered_with_those_there_are() {
        let error = match Rings::open(&["no-such-if0".to_owned()], &LiveOptions::default()) {
            Ok(_) => panic!("opened an interface that can't exist"),
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with("interface no-such-if0: "), "{error}");
    }

    #[test]
    fn nobody_waits_for_a_clock_that_was_set_back() {
        let at = |seconds| Timestamp::from_parts(seconds, 0);
        assert_eq!(not_ahead(at(100), at(101)), at(100));
        assert_eq!(not_ahead(at(100), at(97)), at(100));
        assert_eq!(not_ahead(at(100), at(50)), at(50));
        let stamp = Stamp { time: at(100), ..Stamp::default() };
        let head = Head { full: true, stamp, ..Head::default() };
        assert!(!head.is_overtaken(at(99)) && head.is_overtaken(at(50)));
    }

    #[test]
    fn rings_beside_each_other_share_the_frames() {
        let options = LiveOptions { filter: Some("udp".to_owned()), ..LiveOptions::default() };
        for name in ["lo", "any"] {
            let mut all = match Rings::open_beside(&[name.to_owned()], &options, 3) {
                Ok(all) => all,
                Err(error) => return eprintln!("skipped: {error}"),
            };
            if all.len() == 1 {
                return eprintln!("skipped: {:?}", all[0].notes().collect::<Vec<_>>());
            }
            let sockets: Vec<_> =
                (0..20).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            let to = sockets[0].local_addr().unwrap();
            for _ in 0..3 {
                sockets[1..].iter().for_each(|socket| {
                    socket.send_to(b"seen on one ring", to).unwrap();
                    sockets[0].send_to(b"seen on one ring", socket.local_addr().unwrap()).unwrap();
                });
            }
            let mut flows = vec![std::collections::BTreeMap::new(); 3];
            let total = || 3 * 2 * 19;
            for _ in 0..500 {
                for (rings, flows) in all.iter_mut().zip(&mut flows) {
                    let see = |frame: &Frame<'_>| {
                        if frame.data.ends_with(b"seen on one ring") {
                            let ports = &frame.data[frame.data.len() - 24..][..4];
                            let mut ports = [&ports[..2], &ports[2..]];
                            ports.sort_unstable();
                            *flows.entry(ports.concat()).or_insert(0) += 1;
                        }
                    };
                    rings.turn(Duration::from_millis(3), see).unwrap();
                }
                let seen: i32 = flows.iter().flat_map(|flows| flows.values()).sum();
                // The loopback shows each twice: going out and coming in.
                if seen >= total() && seen % total() == 0 {
                    break;
                }
            }
            assert!(flows.iter().all(|flows| !flows.is_empty()), "{name}: {flows:?}");
            let keys: Vec<_> = flows.iter().flat_map(|flows| flows.keys()).collect();
            assert_eq!(keys.len(), 19, "{name}: a flow is on several rings: {flows:?}");
            let stats: Vec<_> = all.iter().map(|rings| rings.stats().remove(0)).collect();
            let mut sum = stats[0].clone();
            stats[1..].iter().for_each(|more| sum.beside(more));
            assert_eq!(sum.input.frames, stats.iter().map(|one| one.input.frames).sum::<u64>());
        }
    }

    #[test]
    fn captures_on_loopback_and_merges_what_two_rings_saw() {
        let options = LiveOptions { filter: Some("udp".to_owned()), ..LiveOptions::default() };
        for names in [&["lo"][..], &["lo", "lo"]] {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let mut rings = match Rings::open(&names, &options) {
                Ok(rings) => rings,
                Err(error) => return eprintln!("skipped: {error}"),
            };
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = socket.local_addr().unwrap();
            for _ in 0..3 {
                socket.send_to(b"seen on the wire", to).unwrap();
            }
            let mut stamps = Vec::new();
            for _ in 0..500 {
                let see = |frame: &Frame<'_>| {
                    if frame.data.ends_with(b"seen on the wire") {
                        stamps.push(frame.stamp);
                    }
                };
                rings.turn(Duration::from_millis(10), see).unwrap();
                if stamps.len() == 3 * names.len() {
                    break;
                }
            }
            assert_eq!(stamps.len(), 3 * names.len());
            assert!(stamps.is_sorted_by_key(|stamp| stamp.time), "{stamps:?}");
            assert!(stamps[0].time > Timestamp::from_parts(1_700_000_000, 0));
            rings.drain(|_| {});
            for stats in rings.stats() {
                assert!(stats.kernel.received >= 3);
                assert_eq!(stats.gap_count, 0);
            }
        }
    }
}
