//! DNS: one message, and the same bytes as the beginning of a TCP stream.
//!
//! Input: step of growth (1 byte), bytes.

#![no_main]

use egress_auditor::extract::{
    Probe,
    dns::{parse, tcp_message},
};
use egress_auditor_fuzz::{Input, grow};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let step = usize::from(input.byte());
    let bytes = input.0;
    read(bytes);
    grow(bytes, step, tcp_message);
    if let Probe::Found(range) = tcp_message(bytes) {
        read(&bytes[range]);
    }
});

fn read(bytes: &[u8]) {
    let Ok(message) = parse(bytes) else { return };
    let records = [&message.answers, &message.authority, &message.additional];
    // A record takes 11 bytes and a question 5: memory stays linear in the length.
    assert!(records.iter().map(|r| r.len()).sum::<usize>() <= bytes.len() / 11);
    assert!(message.questions.len() <= bytes.len() / 5);
    let names = message.questions.iter().map(|question| &question.qname);
    for name in names.chain(records.into_iter().flatten().map(|record| &record.owner)) {
        assert!(!name.as_str().chars().any(char::is_control), "{name:?}");
    }
}
