use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    base::{HostName, Timestamp},
    catalog::Profile,
    decode::{Transport, Tunnel},
    names::Recall,
    scan::Census,
    verdict::{
        NamedBy, Outcome, Reason, Stage,
        attempt::{Viewpoint, client_of},
        finding::Bytes,
    },
};

/// A flow from beginning to end, as `egress-auditor observe` prints it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename = "flow")]
#[allow(missing_docs)]
pub struct FlowSummary {
    pub client: IpAddr,
    pub client_port: u16,
    pub server: IpAddr,
    pub server_port: u16,
    pub transport: Transport,
    pub tunnel: Option<Tunnel>,
    pub start: Timestamp,
    pub end: Timestamp,
    pub packets: Bytes,
    pub bytes: Bytes,
    pub stage: Stage,
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    pub name: Option<HostName>,
    pub named_by: NamedBy,
    pub candidates: Vec<HostName>,
    /// The last packet's.
    pub ts: Timestamp,
    pub input: u32,
    pub frame: u64,
}

/// All flows of a capture, in the order in which they began.
pub fn flows<'c>(census: &'c Census, profile: &'c Profile) -> impl Iterator<Item = FlowSummary> {
    let (viewpoint, naming) = (Viewpoint::new(census, profile), Recall::new(&census.names));
    census.connections.iter().map(move |connection| {
        let client = client_of(connection, profile);
        let (asks, answers) = (connection.key.end(client), connection.key.end(client.other()));
        let tally = &connection.tally;
        let (mine, theirs) = (tally.side(client), tally.side(client.other()));
        let attempt = viewpoint.destination(connection, client, &naming);
        FlowSummary {
            client: asks.addr(),
            client_port: asks.port(),
            server: answers.addr(),
            server_port: answers.port(),
            transport: connection.key.transport(),
            tunnel: connection.tunnel,
            start: tally.first.time,
            end: tally.last.time,
            packets: Bytes { out: mine.packets, inward: theirs.packets },
            bytes: Bytes { out: mine.bytes, inward: theirs.bytes },
            stage: attempt.result.stage,
            outcome: attempt.result.outcome,
            reason: attempt.result.reason,
            name: attempt.name,
            named_by: attempt.named_by,
            candidates: attempt.candidates.to_vec(),
            ts: tally.last.time,
            input: tally.last.frame.input(),
            frame: tally.last.frame.number(),
        }
    })
}
