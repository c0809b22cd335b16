//! What reading a DNS message costs, against the crates that read them.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::expect_used, reason = "the messages are fixed")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use domain::{
    base::Message,
    rdata::{A, Cname},
};
use egress_auditor::extract::dns;

/// `edge.example.net` A, two addresses, OPT.
const A_ANSWER: &str = "6e15858000010002000000010465646765076578616d706c65036e65740000010001\
    c00c00010001000000000004cb007107c00c00010001000000000004cb00710800002904d0000000000000";
/// `www.contoso.example` A, four aliases, two addresses, OPT.
const CHAIN: &str = "ecd0858000010006000000010377777707636f6e746f736f076578616d706c650000010001\
    c00c0005000100000000000f0162076578616d706c65036e657400c0310005000100000000000f01630765\
    78616d706c65036e657400c04c0005000100000000000f0164076578616d706c65036e657400c067000500\
    010000000000120465646765076578616d706c65036e657400c08200010001000000000004cb007107c082\
    00010001000000000004cb00710800002904d0000000000000";

fn hex(text: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The same message with the reserved bit, which sends it to the lenient reader.
fn reserved(mut message: Vec<u8>) -> Vec<u8> {
    message[3] |= 0x40;
    message
}

/// Question, then owners that end in a long chain of pointers, as many as 64 KiB hold.
fn pointer_chains() -> Vec<u8> {
    let mut wire = vec![0, 1, 0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
    wire.extend([0, 0, 1, 0, 1, 0, 0, 10, 0, 1, 0, 0, 0, 0, 0, 243]);
    let mut last = wire.len() as u16;
    wire.extend([1, b'a', 0]);
    for _ in 0..120 {
        let here = wire.len() as u16;
        wire.extend((0xc000 | last).to_be_bytes());
        last = here;
    }
    for turn in 0..5_400 {
        wire.extend((0xc000 | (last - 2 * (turn % 2))).to_be_bytes());
        wire.extend([0, 99, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    wire
}

/// Question, types, addresses and aliases, without making text of names.
fn domain_reads(wire: &[u8]) -> usize {
    let message = Message::from_slice(wire).expect("a header");
    let asked = message.sole_question().expect("a question");
    let answers = message.answer().expect("an answer section");
    let known = answers.flatten().filter(|record| {
        matches!(record.to_record::<A>(), Ok(Some(_)))
            || matches!(record.to_record::<Cname<_>>(), Ok(Some(_)))
    });
    known.count() + usize::from(asked.qtype().to_int())
}

fn read(criterion: &mut Criterion) {
    for (name, text) in [("a_answer", A_ANSWER), ("chain_of_4", CHAIN)] {
        let wire = hex(text);
        let odd = reserved(wire.clone());
        let mut group = criterion.benchmark_group(name);
        group.bench_function("plain", |b| b.iter(|| dns::parse(black_box(&wire))));
        group.bench_function("lenient", |b| b.iter(|| dns::parse(black_box(&odd))));
        group.bench_function("dns_parser", |b| {
            b.iter(|| dns_parser::Packet::parse(black_box(&wire)).is_ok());
        });
        group.bench_function("domain", |b| b.iter(|| domain_reads(black_box(&wire))));
        group.finish();
    }
    let hostile = pointer_chains();
    criterion.bench_function("hostile_64k", |b| b.iter(|| dns::parse(black_box(&hostile))));
}

criterion_group!(benches, read);
criterion_main!(benches);
