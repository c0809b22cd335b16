//! What comes before the protocol proper: SOCKS, STARTTLS, the PROXY protocol; and whole
//! conversations in which such things nest.
//!
//! Input: step of growth (1 byte), sizes of segments (2 bytes), the client's bytes with their
//! length (2 bytes) before them, the server's bytes.

#![no_main]

use egress_auditor::{
    extract::{
        proxy_protocol::proxy_header,
        socks::{socks, unanswered},
        starttls::starttls,
    },
    flow::Side,
};
use egress_auditor_fuzz::{Heard, Input, converse, grow, grow_both};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let step = usize::from(input.byte());
    let sizes = [input.byte(), input.byte()].map(|size| usize::from(size) * 8 + 1);
    let (client, server) = (input.counted(), input.0);
    grow(client, step, proxy_header);
    grow_both([client, server], step, socks);
    grow_both([client, server], step, starttls);
    unanswered(client, server);

    for dns_server in [None, Some(Side::High)] {
        let mut heard = Heard { dns_server, ..Heard::default() };
        let facts = converse(segments([client, server], sizes), &mut heard);
        assert!(facts.exchanges.len() <= 16);
    }
});

/// Both directions in segments, by turns.
fn segments<'a>(
    streams: [&'a [u8]; 2],
    sizes: [usize; 2],
) -> impl Iterator<Item = (Side, u32, &'a [u8])> {
    let mut at = [0; 2];
    let turns = [Side::Low, Side::High].into_iter().cycle();
    let mut silent = 0;
    turns
        .map(move |side| {
            let (i, start) = (side.index(), at[side.index()]);
            let end = streams[i].len().min(start + sizes[i]);
            at[i] = end;
            (side, start as u32, &streams[i][start..end])
        })
        .take_while(move |(_, _, bytes)| {
            silent = if bytes.is_empty() { silent + 1 } else { 0 };
            silent < 2
        })
}
