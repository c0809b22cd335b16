//! Attempts for tests.

use crate::{
    base::{FrameId, HostName, Stamp, Timestamp},
    decode::Transport,
    scan::Repeats,
    verdict::{
        Flags, NamedBy, Outcome, Proof, Reason, Result, Stage, attempt::Attempt, finding::Bytes,
        judge::number_destinations,
    },
};

/// A stamp at this second.
pub(super) fn at(seconds: u64) -> Stamp {
    let time = Timestamp::from_parts(1000 + seconds, 0);
    Stamp { time, frame: FrameId::new(0, seconds + 1) }
}

/// An attempt that lasted from one second to another; the last one shows its outcome.
pub(super) fn attempt(
    client: &str,
    name: &str,
    service: Option<(Transport, u16)>,
    outcome: Outcome,
    (first, last): (u64, u64),
) -> Attempt<'static> {
    let reason = (outcome == Outcome::Inconclusive).then_some(Reason::CaptureEnded);
    let proof = vec![Proof { stamp: at(last), detail: "shown".into() }];
    let stage = outcome.stage().unwrap_or(Stage::Udp);
    Attempt {
        client: client.parse().unwrap(),
        name: HostName::parse(name.as_bytes()),
        lot: 0,
        subject: 0,
        named_by: NamedBy::Sni,
        candidates: std::sync::Arc::default(),
        addr: Some("203.0.113.1".parse().unwrap()),
        service,
        result: Result { outcome, reason, stage, proof },
        bytes: Bytes::default(),
        first: at(first),
        last: at(last),
        flags: Flags::default(),
        repeats: Repeats::default(),
        made_good: false,
        again: None,
    }
}

/// Numbers their destinations.
pub(super) fn numbered<'a, 'c>(all: &'a mut [Attempt<'c>]) -> Vec<&'a mut Attempt<'c>> {
    let mut all: Vec<_> = all.iter_mut().collect();
    number_destinations(&mut all, 0);
    all
}
