use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of one attempt. Names are an interface that others script against.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The resolver's last answer says that the name doesn't exist (RCODE 3).
    DnsNxdomain,
    /// The resolver's last answer has no address, for every family that was asked for.
    DnsNodata,
    /// The resolver's last answer is a failure (RCODE 2 or another without a row of its own).
    DnsServfail,
    /// The resolver refuses to answer (RCODE 5).
    DnsRefused,
    /// The resolver gives no answer.
    DnsNoAnswer,
    /// The resolver sends the client nowhere: to an unspecified, loopback or listed address.
    DnsSinkhole,
    /// A SYN, and nothing comes back.
    TcpNoAnswer,
    /// A RST answers the SYN.
    TcpReset,
    /// An ICMP error quotes the client's packet, and the server sent no data.
    IcmpUnreachable,
    /// A RST after the ClientHello, before anything encrypted from the server.
    TlsReset,
    /// A FIN after the ClientHello, before anything encrypted from the server.
    TlsClosed,
    /// A ClientHello, and nothing comes back.
    TlsNoAnswer,
    /// A fatal alert in clear from the server's address.
    TlsAlert,
    /// A certificate of a CA that signs in place of the real one: something decrypts TLS.
    TlsIntercepted,
    /// QUIC Initials, and no answer from the server. Clients mostly fall back to TCP.
    QuicNoAnswer,
    /// The connection was reset after an HTTP request, before any answer.
    HttpReset,
    /// The connection was closed after an HTTP request, before any answer.
    HttpClosed,
    /// An HTTP request, and nothing came back.
    HttpNoAnswer,
    /// An HTTP answer that is a firewall's or proxy's: 407, 451, 470, 511, or a block page.
    HttpDenied,
    /// The proxy refuses the CONNECT (neither 2xx nor 5xx).
    ProxyDenied,
    /// The proxy fails at the CONNECT (5xx), or doesn't answer it.
    ProxyFailed,
    /// A datagram, and nothing comes back.
    UdpNoAnswer,
    /// An answer at the layer that counts: encrypted data, an HTTP status, a reply.
    Established,
    /// A handshake, and nothing that proves the layer above.
    TransportOnly,
    /// The packets don't tell, for a reason that the report gives.
    Inconclusive,
}

/// Where on its way an attempt got to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Looking up the name.
    Dns,
    /// The TCP handshake.
    Tcp,
    /// A UDP exchange.
    Udp,
    /// The TLS handshake.
    Tls,
    /// The QUIC handshake.
    Quic,
    /// Asking a proxy for the destination.
    Proxy,
    /// An HTTP request in clear.
    Http,
}

/// What an attempt's outcome means for the question "can it be reached?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// It can.
    Reached,
    /// It can't: something in between, or its absence, is proven.
    Blocked,
    /// The packets don't tell.
    Open,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 25] = [
        Self::DnsNxdomain,
        Self::DnsNodata,
        Self::DnsServfail,
        Self::DnsRefused,
        Self::DnsNoAnswer,
        Self::DnsSinkhole,
        Self::TcpNoAnswer,
        Self::TcpReset,
        Self::IcmpUnreachable,
        Self::TlsReset,
        Self::TlsClosed,
        Self::TlsNoAnswer,
        Self::TlsAlert,
        Self::TlsIntercepted,
        Self::QuicNoAnswer,
        Self::HttpReset,
        Self::HttpClosed,
        Self::HttpNoAnswer,
        Self::HttpDenied,
        Self::ProxyDenied,
        Self::ProxyFailed,
        Self::UdpNoAnswer,
        Self::Established,
        Self::TransportOnly,
        Self::Inconclusive,
    ];

    /// The stage at which it was decided; `None` when it depends on the attempt.
    pub const fn stage(self) -> Option<Stage> {
        Some(match self {
            Self::DnsNxdomain
            | Self::DnsNodata
            | Self::DnsServfail
            | Self::DnsRefused
            | Self::DnsNoAnswer
            | Self::DnsSinkhole => Stage::Dns,
            Self::TcpNoAnswer | Self::TcpReset => Stage::Tcp,
            Self::TlsReset
            | Self::TlsClosed
            | Self::TlsNoAnswer
            | Self::TlsAlert
            | Self::TlsIntercepted => Stage::Tls,
            Self::QuicNoAnswer => Stage::Quic,
            Self::HttpReset | Self::HttpClosed | Self::HttpNoAnswer | Self::HttpDenied => {
                Stage::Http
            }
            Self::ProxyDenied | Self::ProxyFailed => Stage::Proxy,
            Self::UdpNoAnswer => Stage::Udp,
            Self::IcmpUnreachable
            | Self::Established
            | Self::TransportOnly
            | Self::Inconclusive => return None,
        })
    }

    /// What it says about reachability over its own transport.
    pub const fn meaning(self) -> Meaning {
        match self {
            Self::Established => Meaning::Reached,
            Self::TransportOnly | Self::Inconclusive => Meaning::Open,
            _ => Meaning::Blocked,
        }
    }

    /// The name in reports, as in `tcp_no_answer`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsNxdomain => "dns_nxdomain",
            Self::DnsNodata => "dns_nodata",
            Self::DnsServfail => "dns_servfail",
            Self::DnsRefused => "dns_refused",
            Self::DnsNoAnswer => "dns_no_answer",
            Self::DnsSinkhole => "dns_sinkhole",
            Self::TcpNoAnswer => "tcp_no_answer",
            Self::TcpReset => "tcp_reset",
            Self::IcmpUnreachable => "icmp_unreachable",
            Self::TlsReset => "tls_reset",
            Self::TlsClosed => "tls_closed",
            Self::TlsNoAnswer => "tls_no_answer",
            Self::TlsAlert => "tls_alert",
            Self::TlsIntercepted => "tls_intercepted",
            Self::QuicNoAnswer => "quic_no_answer",
            Self::HttpReset => "http_reset",
            Self::HttpClosed => "http_closed",
            Self::HttpNoAnswer => "http_no_answer",
            Self::HttpDenied => "http_denied",
            Self::ProxyDenied => "proxy_denied",
            Self::ProxyFailed => "proxy_failed",
            Self::UdpNoAnswer => "udp_no_answer",
            Self::Established => "established",
            Self::TransportOnly => "transport_only",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl Stage {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Proxy => "proxy",
            Self::Http => "http",
        }
    }
}

/// Why the packets don't tell what became of an attempt.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The connection began before the capture.
    Midstream,
    /// The capture ended before an answer could be expected.
    CaptureEnded,
    /// Only one direction was captured.
    OneSided,
    /// The capture lacks frames: it lost some, or the client goes on as if it had an answer.
    Drops,
    /// The client gave up before an answer could be expected.
    ClientAborted,
    /// The flow was dropped from a full table.
    Evicted,
}

impl Reason {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Midstream => "midstream",
            Self::CaptureEnded => "capture_ended",
            Self::OneSided => "one_sided",
            Self::Drops => "drops",
            Self::ClientAborted => "client_aborted",
            Self::Evicted => "evicted",
        }
    }
}
