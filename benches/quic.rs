//! What a QUIC Initial costs, and what other datagrams cost that only look like one or don't.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use egress_auditor::{
    base::Stamp,
    extract::{Conversation, Ends, Fact, Listener, dns::Message},
    flow::Side,
};

/// RFC 9001 appendix A.2.
const INITIAL: &[u8] = include_bytes!("rfc9001-client-initial.bin");

struct Deaf;

impl Listener for Deaf {
    fn observe(&mut self, _: Side, _: Stamp, _: impl FnOnce(Ends) -> Fact) {}
    fn dns(&mut self, _: Side, _: &Message, _: Stamp) {}
    fn dns_server(&self) -> Option<Side> {
        None
    }
}

fn read(conversation: &mut Conversation, datagram: &[u8]) {
    conversation.datagram(Side::High, black_box(datagram), Stamp::default(), &mut Deaf);
}

fn datagrams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("quic");
    group.throughput(Throughput::Elements(1));
    let mut forged = INITIAL.to_vec();
    forged[600] ^= 1;
    for (name, datagram) in [("initial", INITIAL), ("forged", &forged)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                Conversation::default,
                |conversation| read(conversation, datagram),
                BatchSize::SmallInput,
            );
        });
    }
    // Datagrams of a flow that is known to be QUIC, or not to be.
    let short = [0x41; 1200];
    let mut quic = Conversation::default();
    read(&mut quic, INITIAL);
    group.bench_function("short", |bencher| bencher.iter(|| read(&mut quic, &short)));
    let mut other = Conversation::default();
    group.bench_function("other", |bencher| bencher.iter(|| read(&mut other, &short)));
    group.finish();
}

criterion_group!(benches, datagrams);
criterion_main!(benches);
