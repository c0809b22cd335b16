//! QUIC: the datagrams of a flow, raw or sealed so that the fuzzer's frames get behind the
//! encryption of Initial packets.
//!
//! Input: datagrams: flags (1 byte: sender, sealed, connection IDs, joined to the next), length
//! (2 bytes), bytes.

#![no_main]

use egress_auditor::flow::Side;
use egress_auditor_fuzz::{Heard, Input, Sender, datagrams, seal};
use libfuzzer_sys::fuzz_target;

const FIRST: &[u8] = &[1; 8];
const CLIENT: &[u8] = &[2; 8];
const SERVER: &[u8] = &[3; 8];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let all = std::iter::from_fn(|| {
        let mut datagram = Vec::new();
        let mut sender = None;
        while !input.is_empty() {
            let flags = input.byte();
            let from = if flags & 1 == 0 { Sender::Client } else { Sender::Server };
            let bytes = input.counted();
            match flags & 2 {
                0 => datagram.extend(bytes),
                _ => datagram.extend(seal(from, ids(from, flags), bytes)),
            }
            sender = sender.or(Some(from));
            if flags & 0x80 == 0 {
                break;
            }
        }
        let side = if sender? == Sender::Client { Side::Low } else { Side::High };
        Some((side, datagram))
    });
    let mut heard = Heard::default();
    let facts = datagrams(all, &mut heard);
    assert!(facts.hello.is_none_or(|hello| hello.quic));
});

/// Key, destination and source connection IDs: of a normal handshake, or mixed up.
fn ids(from: Sender, flags: u8) -> [&'static [u8]; 3] {
    let key = if flags & 4 == 0 { FIRST } else { SERVER };
    match (from, flags & 8) {
        (Sender::Client, 0) => [key, FIRST, CLIENT],
        (Sender::Client, _) => [key, SERVER, CLIENT],
        (Sender::Server, 0) => [key, CLIENT, SERVER],
        (Sender::Server, _) => [key, CLIENT, &[]],
    }
}
