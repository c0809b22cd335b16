use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use crate::base::HostName;

/// A host and perhaps a port, as a URI or a Host header writes them (RFC 3986 section 3.2).
///
/// Displays as it would be written there: IPv6 literals in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Name or address.
    pub host: Host,
    /// Port, when one was written.
    pub port: Option<u16>,
}

/// What stands for the host in an authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A host name.
    Name(HostName),
    /// An address literal.
    Ip(IpAddr),
}

impl Authority {
    /// Reads `[userinfo "@"] host [":" port]`. User information is dropped, as is an IPv6 zone; an
    /// empty port counts as none.
    ///
    /// `None` when the host is neither a host name nor an address, or the port isn't one.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let raw = raw.rsplit(|&b| b == b'@').next().unwrap_or(raw);
        if let Some(bracketed) = raw.strip_prefix(b"[") {
            let end = memchr::memchr(b']', bracketed)?;
            let host = Host::Ip(parse_v6(&bracketed[..end])?.into());
            let port = match &bracketed[end + 1..] {
                [] => None,
                [b':', digits @ ..] => parse_port(digits)?,
                _ => return None,
            };
            return Some(Self { host, port });
        }
        // A second colon without brackets is an IPv6 address that was written carelessly.
        if raw.iter().filter(|&&b| b == b':').count() > 1 {
            let host = Host::Ip(parse_v6(raw)?.into());
            return Some(Self { host, port: None });
        }
        let mut parts = raw.splitn(2, |&b| b == b':');
        let host = Host::parse(parts.next()?)?;
        let port = match parts.next() {
            Some(digits) => parse_port(digits)?,
            None => None,
        };
        Some(Self { host, port })
    }
}

impl Host {
    /// Reads a host name or an address without brackets. `None` when it is neither.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        // No address is a host name, too.
        let address = || std::str::from_utf8(raw).ok()?.parse().ok().map(Self::Ip);
        HostName::parse(raw).map(Self::Name).or_else(address)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            host => host.fmt(f)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// An IPv6 address, its zone (RFC 6874) dropped.
fn parse_v6(raw: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(raw).ok()?;
    text.split('%').next()?.parse().ok()
}

/// `Some(None)` for an empty port (RFC 3986 section 3.2.3), `None` for what isn't a port.
fn parse_port(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_addresses_and_ports() {
        for (raw, shown) in [
            ("MCR.microsoft.com", "mcr.microsoft.com"),
            ("mcr.microsoft.com.:443", "mcr.microsoft.com:443"),
            ("mcr.microsoft.com:", "mcr.microsoft.com"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("[fe80::1%25eth0]", "[fe80::1]"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("user:secret@host.example:1", "host.example:1"),
            ("localhost", "localhost"),
        ] {
            let authority = Authority::parse(raw.as_bytes()).unwrap();
            assert_eq!(authority.to_string(), shown, "{raw}");
        }
    }

    #[test]
    fn refuses_what_is_no_authority() {
        for raw in [
            "", ":80", "/", "a b", "a:x", "a:65536", "a:+1", "[::1", "[::1]x", "[a]", "a/b",
            "1:2:3",
        ] {
            assert_eq!(Authority::parse(raw.as_bytes()), None, "{raw}");
        }
    }
}
