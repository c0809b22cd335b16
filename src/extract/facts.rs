use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    base::{HostName, Stamp},
    extract::Ech,
    flow::Side,
};

/// Distinct HTTP hosts kept for one connection.
pub(super) const MAX_EXCHANGES: usize = 16;

/// What the payload of one flow told: the material of names and verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The client, as the protocol shows it: who sent the ClientHello, the request, the query.
    pub client: Option<Side>,
    /// The ClientHello, of TLS or inside QUIC.
    pub hello: Option<Hello>,
    /// First sign of life from a TLS or QUIC server: ServerHello (no HelloRetryRequest), a QUIC
    /// server packet.
    pub server_hello: Option<Stamp>,
    /// HelloRetryRequest: a TLS server wants another ClientHello (RFC 8446 section 4.1.4).
    pub hello_retry: Option<Stamp>,
    /// A QUIC server speaks other versions than the one that the client chose (RFC 9000 section 6).
    pub other_versions: Option<Stamp>,
    /// First encrypted record from the server: the handshake went through.
    pub encrypted: Option<Stamp>,
    /// First encrypted record from a TLS client that can't have sent it without an answer. Early data
    /// (RFC 8446 section 2.3) is none.
    pub client_encrypted: Option<Stamp>,
    /// Fatal alert in clear from the server, by its number (RFC 8446 section 6).
    pub server_alert: Option<(Stamp, u8)>,
    /// Fatal alert in clear from the client.
    pub client_alert: Option<(Stamp, u8)>,
    /// First bytes of a server that answers a ClientHello with something that isn't TLS.
    pub not_tls: Option<Stamp>,
    /// The server's certificate where it travels in clear (TLS 1.2 and before).
    pub certificate: Option<Box<ServerCertificate>>,
    /// HTTP requests and their answers: the first for each host, in order; bounded.
    pub exchanges: Vec<Exchange>,
    /// The proxy request that the rest of the connection runs through.
    pub connect: Option<Box<Connect>>,
}

/// A server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCertificate {
    /// When it was complete.
    pub stamp: Stamp,
    /// Its issuer, in the form of RFC 4514.
    pub issuer: String,
    /// True when the chain ends in a certificate that its subject issued itself: public servers
    /// leave the root out (RFC 8446 section 4.4.2).
    pub root_sent: bool,
}

/// A ClientHello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// When it was complete, or as complete as it got.
    pub stamp: Stamp,
    /// The server name.
    pub sni: Option<HostName>,
    /// Encrypted Client Hello.
    pub ech: Ech,
    /// True when it came in QUIC.
    pub quic: bool,
    /// False when only a part of it was seen.
    pub complete: bool,
}

/// An HTTP request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When the request's head was complete.
    pub stamp: Stamp,
    /// The authority's host, when it is a name.
    pub host: Option<HostName>,
    /// The authority's port, when it has one.
    pub port: Option<u16>,
    /// The final answer's status, and when its head was complete.
    pub status: Option<(Stamp, u16)>,
    /// What shows that the answer is a firewall's or proxy's block page.
    pub deny_marker: Option<Cow<'static, str>>,
}

/// A request to a proxy to open a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Connect {
    /// When the request was complete.
    pub stamp: Stamp,
    /// The target as sent: `host:port`.
    pub target: String,
    /// The target's host, when it is a name.
    pub host: Option<HostName>,
    /// The target's port.
    pub port: u16,
    /// True for a SOCKS proxy.
    pub socks: bool,
    /// The proxy's final answer as an HTTP status; SOCKS replies are mapped to the nearest one.
    pub status: Option<(Stamp, u16)>,
}
