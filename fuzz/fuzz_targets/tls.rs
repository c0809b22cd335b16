//! TLS: one direction, read as a client's and as a server's.
//!
//! Input: step of growth (1 byte), bytes.

#![no_main]

use egress_auditor::extract::{
    Probe,
    tls::{
        ClientHello, EchConfig, Event, Reader, Seen, client_hello, client_hello_message,
        partial_client_hello, partial_client_hello_message,
    },
};
use egress_auditor_fuzz::{Input, grow_to_whole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let step = usize::from(input.byte());
    let bytes = input.0;
    grow_to_whole(bytes, step, client_hello, |hello| hello.complete);
    grow_to_whole(bytes, step, client_hello_message, |hello| hello.complete);
    for hello in [partial_client_hello(bytes), partial_client_hello_message(bytes)] {
        hello.as_ref().inspect(|hello| check(hello));
    }
    if let Probe::Found(hello) = client_hello(bytes) {
        check(&hello);
        if hello.complete {
            assert_eq!(partial_client_hello(bytes), Some(hello.clone()));
        }
        read(bytes, step, &Reader::after(&hello));
    }
    read(bytes, step, &Reader::new());
    EchConfig::parse_list(bytes);
});

fn check(hello: &ClientHello) {
    assert!(hello.alpn.len() <= 64);
    let sni = hello.sni.as_deref().unwrap_or_default();
    assert!(sni.len() <= 253 && sni.bytes().all(|b| b.is_ascii_graphic()), "{sni}");
}

/// The events are the same whether the stream is there at once or grows.
fn read(bytes: &[u8], step: usize, reader: &Reader) {
    let step = step.max(bytes.len() / 64).max(1);
    let (mut whole, mut growing) = (reader.clone(), reader.clone());
    let mut seen = Vec::new();
    for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
        events(&mut growing, &bytes[..end], &mut seen);
    }
    let mut at_once = Vec::new();
    events(&mut whole, bytes, &mut at_once);
    assert_eq!(seen, at_once);
}

fn events(reader: &mut Reader, prefix: &[u8], seen: &mut Vec<Seen>) {
    loop {
        match reader.read(prefix) {
            Probe::Found(one) => {
                assert!(seen.len() <= prefix.len(), "more events than bytes");
                if let Event::ClientHello(hello) = &one.event {
                    check(hello);
                }
                seen.push(one);
            }
            Probe::More(need) => break assert!(need > prefix.len()),
            Probe::Not => break,
        }
    }
}
