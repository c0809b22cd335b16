use crate::{
    base::Stamp,
    decode::Transport,
    extract::{Conversation, Facts},
    flow::{Arrival, FlowKey, Prefix, Side, View},
    scan::{
        Sink,
        outlet::{Out, Outlet},
    },
};

/// The payload of one packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<B> {
    pub(super) from: Side,
    pub(super) stamp: Stamp,
    /// TCP sequence number of the first byte; 0 for UDP.
    pub(super) seq: u32,
    /// The sender's initial sequence number, if it was seen by now.
    pub(super) isn: Option<u32>,
    /// Payload bytes that the sender had sent before.
    pub(super) before: u64,
    pub(super) bytes: B,
}

impl Chunk<&[u8]> {
    pub(super) fn keep(self) -> Chunk<Box<[u8]>> {
        let Self { from, stamp, seq, isn, before, bytes } = self;
        Chunk { from, stamp, seq, isn, before, bytes: bytes.into() }
    }
}

impl Chunk<Box<[u8]>> {
    pub(super) fn borrow(&self) -> Chunk<&[u8]> {
        let Self { from, stamp, seq, isn, before, ref bytes } = *self;
        Chunk { from, stamp, seq, isn, before, bytes }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Talk {
    /// Those of TCP: datagrams need none.
    streams: Option<Box<[Prefix; 2]>>,
    conversation: Conversation,
}

impl Talk {
    pub(super) fn feed<S: Sink>(
        &mut self,
        key: &FlowKey,
        chunk: Chunk<&[u8]>,
        out: &mut Out<'_, S>,
    ) {
        let mut outlet = Outlet::new(key, out);
        if key.transport() == Transport::Udp {
            self.conversation.datagram(chunk.from, chunk.bytes, chunk.stamp, &mut outlet);
        } else if self.conversation.wants(chunk.from) {
            self.segment(chunk, &mut outlet);
        }
    }

    /// What was said, once there is nothing more to learn.
    pub(super) fn outcome(&mut self) -> Option<Facts> {
        self.conversation.outcome()
    }

    pub(super) fn finish<S: Sink>(self, key: &FlowKey, out: &mut Out<'_, S>) -> Facts {
        let streams = self.streams.as_deref();
        let views = [0, 1].map(|side| streams.map(|both| both[side].view()).unwrap_or_default());
        self.conversation.finish(views, &mut Outlet::new(key, out))
    }

    /// Bytes of memory that unread payload takes.
    pub(super) fn footprint(&self) -> usize {
        let streams = match self.streams.as_deref() {
            Some([low, high]) => low.footprint() + high.footprint(),
            None => 0,
        };
        streams + self.conversation.footprint()
    }

    fn segment<S: Sink>(&mut self, chunk: Chunk<&[u8]>, outlet: &mut Outlet<'_, '_, S>) {
        let Chunk { from, stamp, seq, bytes, .. } = chunk;
        let Self { streams, conversation } = self;
        let streams = &mut **streams.get_or_insert_default();
        let stream = &mut streams[from.index()];
        if let Some(isn) = chunk.isn {
            stream.anchor(isn);
        }
        match stream.offer(seq, bytes, stamp) {
            Arrival::Nothing => return,
            Arrival::Grew => {}
            Arrival::Direct => {
                let ends = [(bytes.len() as u32, stamp)];
                let view = stream.view_of(bytes, &ends);
                let used = step(conversation, streams, Some((from, view)), outlet);
                let gaps = streams.iter().any(Prefix::has_gap);
                if conversation.wants(from) {
                    streams[from.index()].keep(bytes, used[from.index()], stamp);
                }
                streams[from.other().index()].consume(used[from.other().index()]);
                if used == [0, 0] || (conversation.has_read_all() && !gaps) {
                    return release(conversation, streams);
                }
            }
        }
        loop {
            let used = step(conversation, streams, None, outlet);
            if used == [0, 0] {
                break;
            }
            let gaps = streams.iter().any(Prefix::has_gap);
            streams[0].consume(used[0]);
            streams[1].consume(used[1]);
            if conversation.has_read_all() && !gaps {
                break;
            }
        }
        release(conversation, streams);
    }
}

/// Lets the conversation read both directions; what is `fresh` stands in for the bytes of its side.
fn step<S: Sink>(
    conversation: &mut Conversation,
    streams: &[Prefix; 2],
    fresh: Option<(Side, View<'_>)>,
    outlet: &mut Outlet<'_, '_, S>,
) -> [usize; 2] {
    let mut views = [streams[0].view(), streams[1].view()];
    if let Some((from, view)) = fresh {
        views[from.index()] = view;
    }
    let anchored = [streams[0].is_anchored(), streams[1].is_anchored()];
    conversation.step(views, anchored, outlet)
}

/// Frees what nobody will read any more.
fn release(conversation: &Conversation, streams: &mut [Prefix; 2]) {
    for side in [Side::Low, Side::High] {
        if !conversation.wants(side) {
            streams[side.index()].clear();
        }
    }
}
