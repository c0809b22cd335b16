//! Frames of one link type through a decoder that keeps fragments between them.
//!
//! Input: link type (2 bytes), then frames: seconds since the one before (1 byte), length
//! (2 bytes), data.

#![no_main]

use egress_auditor::{
    base::{FrameId, Stamp, Timestamp},
    decode::{Body, Decoder},
    source::{Frame, LinkType},
};
use egress_auditor_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let link = LinkType(input.word());
    let mut decoder = Decoder::default();
    let (mut number, mut seconds) = (0, 0);
    while !input.is_empty() {
        number += 1;
        seconds += u64::from(input.byte());
        let data = input.counted();
        let time = Timestamp::from_parts(seconds, 0);
        let stamp = Stamp { time, frame: FrameId::new(0, number) };
        let frame = Frame { stamp, link, wire_len: data.len() as u32, data };
        check(&mut decoder, &frame);
        let longer = Frame { wire_len: u32::MAX, ..frame };
        check(&mut Decoder::default(), &longer);
    }
});

fn check(decoder: &mut Decoder, frame: &Frame<'_>) {
    match decoder.decode(frame) {
        Ok(packet) => {
            if let Body::Tcp(tcp) = &packet.body {
                assert!(tcp.payload.len() <= 0xffff + frame.data.len());
            }
        }
        Err(why) => assert!(!why.reason().is_empty()),
    }
}
