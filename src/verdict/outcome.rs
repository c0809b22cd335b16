use serde::Serialize;

/// What became of one attempt. Names are an interface that others script against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Outcome {
    DnsNxdomain,
    DnsNodata,
    DnsServfail,
    DnsRefused,
    DnsNoAnswer,
    DnsSinkhole,
    TcpNoAnswer,
    TcpReset,
    IcmpUnreachable,
    TlsReset,
    TlsClosed,
    TlsNoAnswer,
    TlsAlert,
    TlsIntercepted,
    QuicNoAnswer,
    /// The connection was reset after an HTTP request, before any answer.
    HttpReset,
    /// The connection was closed after an HTTP request, before any answer.
    HttpClosed,
    /// An HTTP request, and nothing came back.
    HttpNoAnswer,
    HttpDenied,
    ProxyDenied,
    ProxyFailed,
    UdpNoAnswer,
    Established,
    TransportOnly,
    Inconclusive,
}

/// Where on its way an attempt got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Stage {
    Dns,
    Tcp,
    Udp,
    Tls,
    Quic,
    Proxy,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
