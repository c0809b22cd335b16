//! Reading a ClientHello: the own walk against tls-parser with all extensions.
//!
//! `cargo bench --bench tls`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use egress_auditor::extract::tls::client_hello;
use tls_parser::{
    TlsMessage, TlsMessageHandshake, parse_tls_client_hello_extensions, parse_tls_message_handshake,
};

/// A hello as curl 7.88 sends it: 517 bytes, one record.
const CURL: &[u8] = include_bytes!("../src/extract/tls/testdata/tls12.client");

fn hellos(c: &mut Criterion) {
    let one = CURL[..517].to_vec();
    let post_quantum = widened(&one, 1300);
    let two_records = split(&post_quantum, 1000);
    let cases = [
        ("1 record, 517 B", one),
        ("post-quantum, 1.8 kB", post_quantum),
        ("2 records, 1.8 kB", two_records),
    ];
    let mut group = c.benchmark_group("client_hello");
    for (name, stream) in &cases {
        group.bench_function(format!("own/{name}"), |b| {
            b.iter(|| client_hello(black_box(stream)));
        });
        group.bench_function(format!("tls-parser/{name}"), |b| {
            b.iter(|| with_tls_parser(black_box(stream)));
        });
    }
    group.bench_function("refuse HTTP", |b| {
        b.iter(|| client_hello(black_box(b"GET / HTTP/1.1\r\n")));
    });
    group.finish();
}

/// Joins the records, as tls-parser leaves to its caller, and reads everything.
fn with_tls_parser(stream: &[u8]) -> usize {
    let mut joined = Vec::new();
    let mut rest = stream;
    while let Ok((after, record)) = tls_parser::parse_tls_raw_record(rest) {
        joined.extend_from_slice(record.data);
        rest = after;
    }
    let Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) =
        parse_tls_message_handshake(&joined)
    else {
        return 0;
    };
    parse_tls_client_hello_extensions(hello.ext.unwrap_or_default())
        .map_or(0, |(_, extensions)| black_box(extensions).len())
}

/// The same hello with `more` bytes in an extension at the end, as key_share would have.
fn widened(stream: &[u8], more: usize) -> Vec<u8> {
    let mut out = stream.to_vec();
    out.extend([0x7a, 0x7b]);
    out.extend((more as u16 - 4).to_be_bytes());
    out.resize(stream.len() + more, 7);
    let block = 9 + 2 + 32 + 1 + usize::from(out[43]);
    let ciphers = usize::from(u16::from_be_bytes([out[block], out[block + 1]]));
    let extensions = block + 2 + ciphers + 1 + usize::from(out[block + 2 + ciphers]);
    for at in [3, 7, extensions] {
        let len = u16::from_be_bytes([out[at], out[at + 1]]) + more as u16;
        out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }
    out
}

/// The same hello in two records, the first with `first` bytes of payload.
fn split(stream: &[u8], first: usize) -> Vec<u8> {
    let (one, two) = stream[5..].split_at(first);
    let record = |part: &[u8]| {
        let len = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1, len[0], len[1]][..], part].concat()
    };
    [record(one), record(two)].concat()
}

criterion_group!(benches, hellos);
criterion_main!(benches);
