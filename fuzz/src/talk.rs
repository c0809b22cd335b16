use egress_auditor::{
    base::Stamp,
    extract::{Conversation, Ends, Fact, Facts, Listener, dns},
    flow::{Arrival, Prefix, Side},
};

/// Listens, and keeps what it hears.
#[derive(Debug, Default)]
pub struct Heard {
    /// Observations.
    pub facts: Vec<Fact>,
    /// DNS messages.
    pub messages: usize,
    /// The side whose port is 53.
    pub dns_server: Option<Side>,
}

impl Listener for Heard {
    fn observe(&mut self, _: Side, _: Stamp, make: impl FnOnce(Ends) -> Fact) {
        let any = std::net::Ipv4Addr::UNSPECIFIED.into();
        self.facts.push(make(Ends { client: any, client_port: 1, server: any, server_port: 2 }));
    }

    fn dns(&mut self, _: Side, _: &dns::Message, _: Stamp) {
        self.messages += 1;
    }

    fn dns_server(&self) -> Option<Side> {
        self.dns_server
    }
}

/// Runs segments of a TCP connection, each (sender, sequence number, payload), to their facts.
pub fn converse<'a>(
    segments: impl Iterator<Item = (Side, u32, &'a [u8])>,
    heard: &mut Heard,
) -> Facts {
    let stamp = Stamp::default();
    let mut streams = [Prefix::default(), Prefix::default()];
    streams.iter_mut().for_each(|stream| stream.anchor(0));
    let mut conversation = Conversation::default();
    for (from, seq, bytes) in segments {
        if !conversation.wants(from) {
            continue;
        }
        let stream = &mut streams[from.index()];
        match stream.offer(seq.wrapping_add(1), bytes, stamp) {
            Arrival::Nothing => continue,
            Arrival::Grew => {}
            Arrival::Direct => stream.keep(bytes, 0, stamp),
        }
        loop {
            let views = [streams[0].view(), streams[1].view()];
            let used = conversation.step(views, [true; 2], heard);
            if used == [0, 0] {
                break;
            }
            streams.iter_mut().zip(used).for_each(|(stream, used)| stream.consume(used));
        }
    }
    conversation.finish([streams[0].view(), streams[1].view()], heard)
}

/// Runs datagrams of a UDP flow to their facts.
pub fn datagrams(all: impl Iterator<Item = (Side, Vec<u8>)>, heard: &mut Heard) -> Facts {
    let mut conversation = Conversation::default();
    for (from, bytes) in all {
        conversation.datagram(from, &bytes, Stamp::default(), heard);
    }
    let none = Prefix::default();
    conversation.finish([none.view(), none.view()], heard)
}
