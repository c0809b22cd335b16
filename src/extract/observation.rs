use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{Stamp, Timestamp},
    decode::Transport,
};

/// One fact read off the wire, as `egress-auditor observe` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Observation {
    /// What it is.
    #[serde(flatten)]
    pub fact: Fact,
    /// Capture time at which it was complete.
    pub ts: Timestamp,
    /// Index of the input, in reading order.
    pub input: u32,
    /// 1-based number of the frame that completed it.
    pub frame: u64,
}

impl Observation {
    /// A fact that was complete at `stamp`.
    pub fn new(stamp: Stamp, fact: Fact) -> Self {
        let Stamp { time: ts, frame } = stamp;
        Self { fact, ts, input: frame.input(), frame: frame.number() }
    }
}

/// The kinds of observation. Field names are an interface that others script against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Fact {
    /// A DNS message: a query (`rcode` null) or a response.
    Dns {
        client: IpAddr,
        client_port: u16,
        server: IpAddr,
        server_port: u16,
        transport: Transport,
        qname: String,
        qtype: String,
        rcode: Option<String>,
        answers: Vec<Answer>,
    },
    /// A TLS ClientHello over TCP.
    TlsClientHello {
        #[serde(flatten)]
        ends: Ends,
        sni: Option<String>,
        alpn: Vec<String>,
        ech: Ech,
        segments: u32,
        complete: bool,
    },
    /// The ClientHello in a QUIC Initial.
    QuicInitial {
        #[serde(flatten)]
        ends: Ends,
        sni: Option<String>,
        alpn: Vec<String>,
        ech: Ech,
        segments: u32,
        version: String,
    },
    /// The head of an HTTP/1 request in clear text.
    HttpRequest {
        #[serde(flatten)]
        ends: Ends,
        method: String,
        host: Option<String>,
        target: String,
    },
    /// A request to a SOCKS proxy, with the nearest HTTP status to what the proxy answered.
    SocksConnect {
        #[serde(flatten)]
        ends: Ends,
        target: String,
        status: Option<u16>,
    },
    /// A CONNECT through a proxy and what the proxy answered; `status` is null while it hasn't.
    HttpConnect {
        #[serde(flatten)]
        ends: Ends,
        target: String,
        status: Option<u16>,
    },
    /// An ICMP or ICMPv6 error.
    IcmpError {
        from: IpAddr,
        #[serde(rename = "type")]
        kind: u8,
        code: u8,
        quoted: QuotedFlow,
    },
}

/// Client and server of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Ends {
    pub client: IpAddr,
    pub client_port: u16,
    pub server: IpAddr,
    pub server_port: u16,
}

/// A record of a DNS answer section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Answer {
    pub name: String,
    pub rtype: String,
    pub rdata: String,
    pub ttl: u32,
}

/// The flow that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct QuotedFlow {
    #[serde(flatten)]
    pub ends: Ends,
    pub transport: Transport,
}

/// Whether a ClientHello carries Encrypted Client Hello (RFC 9849).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    JsonSchema,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Ech {
    /// No such extension.
    #[default]
    None,
    /// A placeholder that hides nothing: the SNI is real.
    Grease,
    /// A real one: the SNI is the public name of the provider, not the destination.
    Outer,
}
