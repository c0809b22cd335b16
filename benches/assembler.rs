//! What putting a stream's segments in order costs: [`Prefix`], fed as the scanner feeds it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    flow::{Arrival, BUDGET, Prefix},
};

const SEGMENT: usize = 1400;
const ISN: u32 = 0xffff_8000;

/// Segments by their place in the stream, in the order in which they arrive.
type Order = Vec<usize>;

/// Feeds segments and reads the stream in records of `record` bytes; 0 reads none. Gives the bytes
/// that could be read.
fn feed(order: &Order, payload: &[u8], record: usize) -> usize {
    let mut prefix = Prefix::default();
    prefix.anchor(ISN);
    let mut read = 0;
    for (number, &place) in order.iter().enumerate() {
        let seq = ISN.wrapping_add(1 + (place * SEGMENT) as u32);
        let time = Timestamp::from_nanos(number as u64);
        let stamp = Stamp { time, frame: FrameId::new(0, number as u64) };
        let whole = |len: usize| len.checked_div(record).map_or(0, |records| records * record);
        match prefix.offer(seq, payload, stamp) {
            Arrival::Direct => {
                let used = whole(payload.len());
                prefix.keep(payload, used, stamp);
                read += used;
            }
            Arrival::Grew => {
                let used = whole(prefix.view().bytes.len());
                prefix.consume(used);
                read += used;
            }
            Arrival::Nothing => {}
        }
    }
    read + prefix.view().bytes.len()
}

/// As many segments as the budget takes, in these orders.
fn orders() -> [(&'static str, Order); 5] {
    let count = BUDGET as usize / SEGMENT;
    let in_order: Order = (0..count).collect();
    // Every other pair swapped, as several paths do.
    let mut swapped = in_order.clone();
    swapped.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    // One lost near the beginning, and sent again when all others are there.
    let mut lost = in_order.clone();
    let first = lost.remove(1);
    lost.push(first);
    let reversed: Order = in_order.iter().rev().copied().collect();
    // Everything twice.
    let twice: Order = in_order.iter().flat_map(|&place| [place, place]).collect();
    [
        ("in_order", in_order),
        ("swapped", swapped),
        ("one_lost", lost),
        ("reversed", reversed),
        ("twice", twice),
    ]
}

fn assembler(c: &mut Criterion) {
    let payload = vec![0x17; SEGMENT];
    // Records that segments don't end with, whole segments, and a reader that wants all at once.
    for (reader, record) in [("records", 300), ("segments", SEGMENT), ("whole", 0)] {
        let mut group = c.benchmark_group(format!("assembler/{reader}"));
        for (name, order) in orders() {
            let stream = BUDGET as usize / SEGMENT * SEGMENT;
            assert_eq!(feed(&order, &payload, record), stream, "{reader} {name}");
            group.throughput(Throughput::Elements(order.len() as u64));
            group.bench_function(name, |b| {
                b.iter(|| feed(&order, black_box(&payload), record));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, assembler);
criterion_main!(benches);
