//! What a packet costs in the table of flows as flows grow: finding its flow, and adding a new one in
//! place of an old one; beside what memory alone costs, a visit to an array of as many states.
//!
//! CPU time of this thread, medians. Two kinds of traffic: `mixed`, in which nine
//! of ten packets are of some thousand flows that are busy now, as on a real link, and `scattered`,
//! in which each packet is of any flow, the worst that can be. The aim is that `mixed` stays flat:
//! a packet among two million flows costs at most twice what it does among 60 thousand.
//!
//! `FLOW_BENCH_ROUNDS` sets the number of rounds.

#![allow(clippy::expect_used)]

use std::{
    env, fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use egress_auditor::{
    decode::Transport,
    flow::{Endpoint, FlowKey, Table},
};

/// Numbers of flows.
const SIZES: [usize; 4] = [60_000, 250_000, 1_000_000, 2_000_000];

/// Flows that are busy at the same time.
const BUSY: u64 = 4_000;

/// Packets of a measurement.
const PACKETS: usize = 1 << 20;

/// State of a flow: about what the scanner keeps at hand.
type State = [u64; 12];

fn main() {
    // `cargo test --benches` only wants to see it run.
    let test = !env::args().any(|arg| arg == "--bench");
    let (sizes, rounds) = if test { (&SIZES[..1], 1) } else { (&SIZES[..], 5) };
    let rounds = env::var("FLOW_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(rounds);
    let medians: Vec<[f64; WAYS.len()]> = sizes.iter().map(|&size| measure(size, rounds)).collect();
    println!(
        "CPU time of a packet in ns, medians of {rounds} rounds; the last column to the first"
    );
    print!("{:<20}", "flows");
    sizes.iter().for_each(|size| print!("{size:>12}"));
    println!("{:>10}", "ratio");
    for (way, (name, _)) in WAYS.iter().enumerate() {
        let medians: Vec<f64> = medians.iter().map(|medians| medians[way]).collect();
        print!("{name:<20}");
        medians.iter().for_each(|nanos| print!("{nanos:>12.1}"));
        println!("{:>10.2}", medians[medians.len() - 1] / medians[0]);
    }
}

/// One size at a time, so that the others take no memory.
fn measure(size: usize, rounds: usize) -> [f64; WAYS.len()] {
    let mut bed = Bed::new(size);
    let mut took = WAYS.map(|_| Vec::new());
    for _ in 0..rounds {
        for ((_, run), took) in WAYS.iter().zip(&mut took) {
            took.push(run(&mut bed));
        }
    }
    took.map(|mut took| median(&mut took))
}

/// What is measured, in ns per packet.
type Way = (&'static str, fn(&mut Bed) -> f64);

const WAYS: [Way; 6] = [
    ("find, mixed", |bed| bed.find(true)),
    ("find, scattered", |bed| bed.find(false)),
    ("memory, mixed", |bed| bed.visit(true)),
    ("memory, scattered", |bed| bed.visit(false)),
    ("replace oldest", Bed::replace),
    ("fill from empty", |bed| bed.fill()),
];

/// A full table, and an array of as many states.
struct Bed {
    size: usize,
    table: Table<State>,
    array: Vec<State>,
    numbers: Numbers,
    /// The oldest flow, and the next that is new.
    oldest: u64,
    next: u64,
}

impl Bed {
    fn new(size: usize) -> Self {
        let mut table = Table::new(size);
        for number in 0..size as u64 {
            let key = key(number);
            table.insert(key, table.hash(&key), State::default());
        }
        assert!(table.is_full());
        let array = vec![State::default(); size];
        let (numbers, oldest, next) = (Numbers(size as u64), 0, size as u64);
        Self { size, table, array, numbers, oldest, next }
    }

    /// Which flows the packets to come are of, the oldest being 0.
    fn packets(&mut self, mixed: bool) -> Vec<u32> {
        let size = self.size as u64;
        let start = self.numbers.below(size);
        let mut pick = |_| {
            let numbers = &mut self.numbers;
            let of_busy = mixed && numbers.below(10) > 0;
            // Those that are busy lie anywhere in the table.
            match of_busy {
                true => ((start + numbers.below(BUSY) * 104_729) % size) as u32,
                false => numbers.below(size) as u32,
            }
        };
        (0..PACKETS).map(&mut pick).collect()
    }

    fn find(&mut self, mixed: bool) -> f64 {
        let packets = self.packets(mixed);
        let packets: Vec<_> = packets.iter().map(|&n| key(self.oldest + u64::from(n))).collect();
        let table = &mut self.table;
        cpu(packets.len(), || {
            for key in &packets {
                let slot = table.find(black_box(key), table.hash(key)).expect("a flow");
                table.get_mut(slot).expect("its state")[0] += 1;
            }
        })
    }

    fn visit(&mut self, mixed: bool) -> f64 {
        let packets = self.packets(mixed);
        let array = &mut self.array;
        cpu(packets.len(), || {
            for &place in &packets {
                array[black_box(place) as usize][0] += 1;
            }
        })
    }

    /// A flow ends, another takes its place.
    fn replace(&mut self) -> f64 {
        let pairs: Vec<(FlowKey, FlowKey)> =
            (0..PACKETS as u64 / 4).map(|n| (key(self.oldest + n), key(self.next + n))).collect();
        let count = pairs.len() as u64;
        (self.oldest, self.next) = (self.oldest + count, self.next + count);
        let table = &mut self.table;
        cpu(pairs.len(), || {
            for (old, new) in &pairs {
                let slot = table.find(black_box(old), table.hash(old)).expect("a flow");
                table.remove(slot);
                table.insert(*black_box(new), table.hash(new), State::default());
            }
        })
    }

    /// A table that grows, as at the beginning of a capture.
    fn fill(&self) -> f64 {
        let keys: Vec<FlowKey> = (0..self.size as u64).map(key).collect();
        cpu(keys.len(), || {
            let mut table = Table::<State>::new(keys.len());
            for key in &keys {
                table.insert(*black_box(key), table.hash(key), State::default());
            }
            black_box(table.len());
        })
    }
}

/// A flow of some client to one of many servers.
fn key(number: u64) -> FlowKey {
    let bits = number as u32;
    let client = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 | bits >> 12));
    let server = IpAddr::from(Ipv4Addr::from_bits(0xc633_6400 + bits % 251));
    let port = 20_000 + (bits & 0xfff) as u16;
    let (client, server) = (Endpoint::new(client, port), Endpoint::new(server, 443));
    FlowKey::new(Transport::Tcp, client, server).0
}

/// SplitMix64: the same packets in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// CPU time of this thread per item, in ns; wall time where the kernel doesn't tell.
fn cpu(items: usize, work: impl FnOnce()) -> f64 {
    let used = || -> Option<u64> {
        let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let (start, before) = (Instant::now(), used());
    work();
    let nanos = match before.zip(used()) {
        Some((before, after)) => (after - before) as f64,
        None => start.elapsed().as_nanos() as f64,
    };
    nanos / items as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
