use std::{
    num::NonZeroUsize,
    ops::{ControlFlow, Range},
    panic::resume_unwind,
    sync::Arc,
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use foldhash::fast::RandomState;

use crate::{
    base::{Stamp, Timestamp, in_parallel},
    decode::{self, Decoder, Packet},
    flow::{Endpoint, KeyHash, Table},
    scan::{Census, Counters, Limits, Scanner, clock::Clock, delivery::Delivery, scanner::Route},
    source::Frame,
};

/// Scans a capture from its beginning with several threads. It tells what one [`Scanner`] would,
/// unless tables are full: each thread has its part of the bounds.
///
/// Each thread follows its own share of the connections. Who gets which packet is found out in turns:
/// a thread with fewer than eight batches in hand decodes the next frames, for all.
pub struct Team {
    router: Router,
    scanners: Vec<Scanner>,
    limits: Limits,
}

/// Bytes that frames lie in, and that outlive them.
pub type Backing = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Each one's part of the bounds must be worth something.
const MAX_THREADS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Frames of a turn: enough that waiting for one costs little, and few enough that what is read of
/// them stays in the processor's cache until it is used.
const BATCH: usize = 512;

/// Captured bytes of a turn, but for the last frame's: those that wait in a mapping or a copy are few.
const BYTES: usize = 2 << 20;

/// Packets between a look for a connection and its use: memory takes as long as it takes to read some.
const AHEAD: usize = 8;

/// Batches that a thread may lie behind.
const BEHIND: usize = 16;

/// Batches that a thread has in hand before it would rather work on them than read more: enough that
/// it seldom waits, since to sleep and be woken takes as long as a batch.
const IN_HAND: usize = 8;

impl Team {
    /// One of that many threads, of 64 at most. `resolvers` are DNS servers on ports other than 53.
    pub fn new(threads: NonZeroUsize, limits: Limits, resolvers: Arc<[Endpoint]>) -> Self {
        let threads = threads.min(MAX_THREADS);
        let hasher = RandomState::default();
        let part = limits.share(threads.get());
        let scanner = |_| {
            let table = Table::with_hasher(part.flows, hasher.clone());
            Scanner::with_table(table, part, Arc::clone(&resolvers))
        };
        let scanners = (0..threads.get()).map(scanner).collect();
        let router = Router {
            decoder: Decoder::new(limits.fragments),
            dealer: Dealer::new(hasher, threads),
        };
        Self { router, scanners, limits }
    }

    /// Takes the frames that `read` gives. It is called by one thread at a time, hands frames to
    /// [`Turn::frame`] until that breaks, and says whether there may be more.
    pub fn scan(&mut self, read: impl FnMut(&mut Turn<'_>) -> bool + Send) {
        let Self { router, scanners, .. } = self;
        let mut reading = Reading { router, read, is_over: false };
        if let [scanner] = &mut scanners[..] {
            let mut batch = Batch::default();
            while reading.next(&mut batch) {
                scanner.take(&batch, 0);
            }
            return;
        }
        let (outboxes, inboxes): (Vec<_>, Vec<_>) =
            scanners.iter().map(|_| bounded(BEHIND)).unzip();
        let (used, unused) = unbounded();
        let (back, turns) = bounded(1);
        let first = Reader { reading, back: back.clone() };
        // There is room for one.
        let _ = back.send(first);
        drop(back);
        thread::scope(|scope| {
            let workers: Vec<_> = scanners
                .iter_mut()
                .zip(inboxes)
                .enumerate()
                .map(|(share, (scanner, inbox))| {
                    let (used, unused) = (used.clone(), unused.clone());
                    let outboxes = outboxes.clone();
                    let worker = Worker { share, scanner, inbox, outboxes, used, unused };
                    let turns = turns.clone();
                    scope.spawn(move || worker.work(&turns))
                })
                .collect();
            for worker in workers {
                worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
    }

    /// What the whole capture told.
    pub fn conclude(self) -> Census {
        let Self { router, scanners, limits } = self;
        let Dealer { counters, shares: threads, .. } = router.dealer;
        let ended = in_parallel(scanners, threads, || |scanner| scanner.conclude(&mut ()));
        let mut census = Census::of_all(ended, limits.lookups);
        census.counters.add(counters);
        census
    }
}

/// A thread's turn at reading.
pub struct Turn<'t> {
    router: &'t mut Router,
    batch: &'t mut Batch,
}

impl Turn<'_> {
    /// Where the frames of this turn lie, so that nothing of them has to be copied.
    pub fn backed_by(&mut self, backing: Option<Backing>) {
        self.batch.back_with(backing);
    }

    /// Takes the next frame; breaks when it is the last of this turn.
    #[inline(always)] // It's where each frame goes.
    pub fn frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.router.frame(frame, self.batch);
        match self.batch.frames < BATCH && self.batch.bytes < BYTES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}

/// Decodes frames, and finds out whose packets are in them.
struct Router {
    decoder: Decoder,
    dealer: Dealer,
}

/// Deals packets out.
struct Dealer {
    counters: Counters,
    clock: Clock,
    /// That of all tables.
    hasher: RandomState,
    shares: NonZeroUsize,
}

impl Router {
    fn frame(&mut self, frame: &Frame<'_>, batch: &mut Batch) {
        batch.count(frame);
        match decode::plain(frame) {
            Some(packet) => self.dealer.deal(&packet, frame.stamp, batch),
            None => self.rare_frame(frame, batch),
        }
    }

    #[inline(never)]
    fn rare_frame(&mut self, frame: &Frame<'_>, batch: &mut Batch) {
        let Self { decoder, dealer } = self;
        match decoder.walk(frame) {
            Ok(packet) => dealer.deal(&packet, frame.stamp, batch),
            Err(why) => dealer.counters.undecoded(why, frame.link),
        }
    }
}

impl Dealer {
    fn new(hasher: RandomState, shares: NonZeroUsize) -> Self {
        Self { counters: Counters::default(), clock: Clock::default(), hasher, shares }
    }

    #[inline(always)] // Of a plain packet, it knows much beforehand.
    fn deal(&mut self, packet: &Packet<'_>, stamp: Stamp, batch: &mut Batch) {
        let Some((delivery, payload)) = Delivery::of(packet, stamp) else {
            self.counters.other_protocol += 1;
            return;
        };
        let hash = KeyHash::new(&self.hasher, &delivery.key);
        let clock = self.clock.tick(stamp.time);
        let payload = batch.keep(payload);
        let share = hash.share(self.shares.get());
        batch.packets[share].push(Parcel { hash, clock, payload, delivery });
    }
}

/// Where frames come from, and who decodes them.
struct Reading<'r, R> {
    router: &'r mut Router,
    read: R,
    is_over: bool,
}

impl<R: FnMut(&mut Turn<'_>) -> bool> Reading<'_, R> {
    /// Fills the batch; false when there is nothing more.
    fn next(&mut self, batch: &mut Batch) -> bool {
        batch.clear(self.router.dealer.shares.get());
        while batch.frames == 0 && !self.is_over {
            self.is_over = !(self.read)(&mut Turn { router: self.router, batch });
        }
        self.router.dealer.counters.frames(batch.frames, batch.bytes, batch.span());
        batch.frames > 0
    }
}

/// Goes from hand to hand: who has it reads.
struct Reader<'r, R> {
    reading: Reading<'r, R>,
    back: Sender<Reader<'r, R>>,
}

/// The packets of a turn.
#[derive(Default)]
struct Batch {
    frames: usize,
    bytes: usize,
    /// Capture times of the earliest and the latest frame.
    earliest: Timestamp,
    latest: Timestamp,
    backing: Option<Backing>,
    /// The addresses of the backing's bytes.
    backed: Range<usize>,
    /// Payload that doesn't lie in the backing.
    arena: Vec<u8>,
    /// For each share in the order of the frames.
    packets: Vec<Vec<Parcel>>,
}

/// A packet on its way to its connection.
struct Parcel {
    /// The connection's.
    hash: KeyHash,
    /// The capture's, when it came.
    clock: Timestamp,
    payload: Span,
    delivery: Delivery,
}

/// Where the payload of a packet lies.
#[derive(Clone, Copy, Debug)]
struct Span {
    offset: usize,
    len: u32,
    in_arena: bool,
}

impl Batch {
    fn clear(&mut self, shares: usize) {
        (self.frames, self.bytes) = (0, 0);
        (self.earliest, self.latest) = (Timestamp::from_nanos(u64::MAX), Timestamp::default());
        self.back_with(None);
        self.arena.clear();
        self.packets.resize_with(shares, Vec::new);
        self.packets.iter_mut().for_each(Vec::clear);
    }

    fn back_with(&mut self, backing: Option<Backing>) {
        self.backing = backing;
        let bytes = self.backing();
        self.backed = bytes.as_ptr().addr()..bytes.as_ptr().addr() + bytes.len();
    }

    fn backing(&self) -> &[u8] {
        self.backing.as_ref().map_or(&[], |backing| (**backing).as_ref())
    }

    #[inline(always)]
    fn count(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        self.bytes += frame.data.len();
        self.earliest = self.earliest.min(frame.stamp.time);
        self.latest = self.latest.max(frame.stamp.time);
    }

    /// Capture times of the earliest and the latest frame.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        (self.frames > 0).then_some((self.earliest, self.latest))
    }

    /// Has the bytes outlive the frame.
    #[inline(always)]
    fn keep(&mut self, bytes: &[u8]) -> Span {
        let (at, len) = (bytes.as_ptr().addr(), bytes.len());
        if self.backed.start <= at && at + len <= self.backed.end {
            return Span { offset: at - self.backed.start, len: len as u32, in_arena: false };
        }
        let offset = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span { offset, len: len as u32, in_arena: true }
    }
}

impl Span {
    #[inline(always)]
    fn of<'a>(&self, arena: &'a [u8], backing: &'a [u8]) -> &'a [u8] {
        let all = if self.in_arena { arena } else { backing };
        all.get(self.offset..self.offset + self.len as usize).unwrap_or_default()
    }
}

impl Scanner {
    fn take(&mut self, batch: &Batch, share: usize) {
        self.extend(batch.span());
        let (arena, backing, packets) = (&batch.arena, batch.backing(), &batch.packets[share]);
        // Where those to come probably go, by their places modulo AHEAD.
        let mut ahead = [None; AHEAD];
        for (place, next) in ahead.iter_mut().zip(packets) {
            *place = self.prefetch(next.hash);
        }
        for (at, Parcel { hash, clock, payload, delivery }) in packets.iter().enumerate() {
            let next = packets.get(at + AHEAD).and_then(|next| self.prefetch(next.hash));
            let likely = std::mem::replace(&mut ahead[at % AHEAD], next);
            let route = Route { hash: *hash, likely, clock: *clock };
            self.deliver(delivery, || payload.of(arena, backing), route, &mut ());
        }
    }
}

/// One thread of a team.
struct Worker<'s> {
    share: usize,
    scanner: &'s mut Scanner,
    inbox: Receiver<Arc<Batch>>,
    outboxes: Vec<Sender<Arc<Batch>>>,
    used: Sender<Batch>,
    unused: Receiver<Batch>,
}

impl Worker<'_> {
    fn work<R: FnMut(&mut Turn<'_>) -> bool>(self, turns: &Receiver<Reader<'_, R>>) {
        while let Some(batch) = self.next(turns) {
            self.scanner.take(&batch, self.share);
            // The last one to be done with it.
            if let Some(batch) = Arc::into_inner(batch) {
                // There is always a receiver: this thread has one.
                let _ = self.used.send(batch);
            }
        }
    }

    /// The next batch to work on; `None` when all is over.
    fn next<R>(&self, turns: &Receiver<Reader<'_, R>>) -> Option<Arc<Batch>>
    where
        R: FnMut(&mut Turn<'_>) -> bool,
    {
        // Who reads before it has run out of work leaves no other one without.
        while self.inbox.len() < IN_HAND
            && let Ok(reader) = turns.try_recv()
        {
            if !self.read(reader) {
                // Of all turns, this thread has what it gets by now.
                return self.inbox.try_recv().ok();
            }
        }
        self.inbox.try_recv().ok().or_else(|| {
            select! {
                recv(self.inbox) -> batch => batch.ok(),
                // It's lost when another thread panicked.
                recv(turns) -> reader => {
                    self.read(reader.ok()?);
                    self.inbox.try_recv().ok()
                }
            }
        })
    }

    /// Reads a batch, for all, unless enough of them are in hand; false when there is nothing more.
    fn read<R>(&self, mut reader: Reader<'_, R>) -> bool
    where
        R: FnMut(&mut Turn<'_>) -> bool,
    {
        // Only who has the reader fills inboxes. A full one of its own would never be emptied.
        let is_more = self.inbox.len() >= IN_HAND || self.fill(&mut reader.reading);
        let back = reader.back.clone();
        let _ = back.send(reader);
        is_more
    }

    fn fill<R>(&self, reading: &mut Reading<'_, R>) -> bool
    where
        R: FnMut(&mut Turn<'_>) -> bool,
    {
        let mut batch = self.unused.try_recv().unwrap_or_default();
        let is_more = reading.next(&mut batch);
        if is_more {
            let batch = Arc::new(batch);
            for outbox in &self.outboxes {
                // Waits for one that lies far behind; fails when that one panicked, and all is over.
                reading.is_over |= outbox.send(Arc::clone(&batch)).is_err();
            }
        }
        is_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Stamp, scan::Place, source::LinkType};

    #[test]
    fn a_batch_spans_its_frames_whatever_their_order() {
        let mut batch = Batch::default();
        batch.clear(1);
        assert_eq!(batch.span(), None);
        for second in [5, 4, 6] {
            let time = Timestamp::from_parts(second, 0);
            let stamp = Stamp { time, ..Stamp::default() };
            batch.count(&Frame { stamp, link: LinkType::ETHERNET, wire_len: 9, data: &[0; 9] });
        }
        let (first, last) = (Timestamp::from_parts(4, 0), Timestamp::from_parts(6, 0));
        assert_eq!((batch.frames, batch.bytes, batch.span()), (3, 27, Some((first, last))));
    }

    #[test]
    fn when_a_thread_panicked_the_others_read_no_further() {
        let (limits, hasher) = (Limits::default(), RandomState::default());
        let shares = NonZeroUsize::new(2).unwrap();
        let decoder = Decoder::new(limits.fragments);
        let mut router = Router { decoder, dealer: Dealer::new(hasher, shares) };
        let mut batches = 0;
        // There is no end to what it reads.
        let read = |turn: &mut Turn<'_>| {
            let stamp = Stamp::default();
            let frame = Frame { stamp, link: LinkType::ETHERNET, wire_len: 0, data: &[] };
            while turn.frame(&frame).is_continue() {}
            batches += 1;
            true
        };
        let (back, turns) = bounded(1);
        let reading = Reading { router: &mut router, read, is_over: false };
        back.send(Reader { reading, back: back.clone() }).ok().unwrap();
        drop(back);
        let (outboxes, mut inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| bounded(BEHIND)).unzip();
        // As a thread that panics does.
        inboxes.truncate(1);
        let inbox = inboxes.remove(0);
        let (used, unused) = unbounded();
        let mut scanner = Scanner::new(Place::Beginning, limits, [].into());
        let worker = Worker { share: 0, scanner: &mut scanner, inbox, outboxes, used, unused };
        worker.work(&turns);
        drop(turns);
        assert_eq!(batches, 1);
    }
}
