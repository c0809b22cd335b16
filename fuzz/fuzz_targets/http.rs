//! HTTP/1: heads, and conversations in windows that grow.
//!
//! Input: step of growth (1 byte), the client's bytes with their length (2 bytes) before them, the
//! server's bytes.

#![no_main]

use egress_auditor::extract::{
    Authority, Probe,
    http::{
        Asked, Conversation, Event, Window, deny_marker, h2_preface, partial_request, request,
        response,
    },
};
use egress_auditor_fuzz::{Input, grow};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let step = usize::from(input.byte());
    let (client, server) = (input.counted(), input.0);
    grow(client, step, request);
    grow(client, step, h2_preface);
    partial_request(client);
    Authority::parse(client);
    for asked in [Asked::Other, Asked::Head, Asked::Connect] {
        grow(server, step, |prefix| response(prefix, asked));
        if let Probe::Found(response) = response(server, asked) {
            deny_marker(&response, &server[response.len.min(server.len())..]);
        }
    }
    walk(client, server, step);
});

/// What was told doesn't change when the bytes come in pieces and those read are dropped.
fn walk(client: &[u8], server: &[u8], step: usize) {
    let mut at_once = Vec::new();
    let mut conversation = Conversation::default();
    tell(&mut conversation, client.into(), server.into(), &mut at_once);

    let mut pieces = Vec::new();
    let mut conversation = Conversation::default();
    let step = step.max(client.len().max(server.len()) / 64).max(1);
    for round in 1.. {
        let (from_client, from_server) = conversation.positions();
        let client_end = client.len().min(round * step);
        let server_end = server.len().min(round * step);
        let (client_now, server_now) = (&client[..client_end], &server[..server_end]);
        tell(
            &mut conversation,
            window(client_now, from_client),
            window(server_now, from_server),
            &mut pieces,
        );
        if client_end == client.len() && server_end == server.len() {
            conversation.cut_request(window(client_now, conversation.positions().0));
            break;
        }
    }
    // Which of a request and an answer is told first depends on what came first.
    for of_client in [true, false] {
        let side = |events: &[Event]| -> Vec<Event> {
            let from_client = |event: &&Event| matches!(event, Event::Request { .. }) == of_client;
            events.iter().filter(from_client).cloned().collect()
        };
        assert_eq!(side(&at_once), side(&pieces));
    }
}

fn window(bytes: &[u8], start: u64) -> Window<'_> {
    let from = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    Window { start: from as u64, bytes: &bytes[from..] }
}

fn tell(
    conversation: &mut Conversation,
    client: Window<'_>,
    server: Window<'_>,
    events: &mut Vec<Event>,
) {
    while let Some(event) = conversation.step(client, server) {
        events.push(event);
        assert!(events.len() <= 0x2_0000, "more events than bytes");
    }
}
