//! Ports and protocols as tables write them: `HTTPS:443`, `443/TCP`, `UDP 53, 123`, `80 (HTTP)`.

use super::{
    super::{App, PortRange, Transport},
    cells,
};

/// How a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) transport: Transport,
    pub(super) app: App,
    /// None when the document states none.
    pub(super) port: Option<PortRange>,
}

impl Service {
    /// The application follows from the port unless the text names it.
    pub(super) fn new(transport: Transport, app: Option<App>, port: Option<PortRange>) -> Self {
        let number = port.filter(|p| p.first() == p.last()).map(PortRange::first);
        let usual = match (transport, number) {
            (Transport::Tcp, Some(443 | 6443)) => App::Https,
            (Transport::Tcp, Some(80)) => App::Http,
            (_, Some(53)) => App::Dns,
            (Transport::Udp, Some(123)) => App::Ntp,
            _ => App::Other,
        };
        Self { transport, app: app.unwrap_or(usual), port }
    }
}

/// A word for a protocol.
#[derive(Clone, Copy)]
struct Protocol {
    transport: Transport,
    app: Option<App>,
    /// The port when none is given.
    port: Option<u16>,
}

/// The usual port of a URL's scheme.
pub(super) fn scheme_port(scheme: &str) -> Option<PortRange> {
    let port = protocol(&scheme.to_ascii_lowercase())?.port?;
    PortRange::new(port, port)
}

/// Reads the cells for port and protocol. The second part lists the words that it can't place.
pub(super) fn services(port: &str, protocols: &str) -> (Vec<Service>, Vec<String>) {
    let mut odd = Vec::new();
    let general = self::protocols(&words(&cells::plain(protocols).text), &mut odd);
    let mut services = Vec::new();
    let mut before: Vec<Protocol> = Vec::new();
    for item in cells::plain(port).text.split([',', ';', '\n']) {
        let words = words(item);
        let named = self::protocols(&words, &mut odd);
        let ranges: Vec<_> = words.iter().filter_map(|word| PortRange::parse(word)).collect();
        if words.is_empty() {
            continue;
        }
        // `TCP: 443, 8084`: what stands before a number holds for those that follow.
        let leads = words.first().is_some_and(|word| protocol(word).is_some());
        let how = [&named, &before, &general].into_iter().find(|list| !list.is_empty());
        let how = how.map_or(&[TCP][..], |list| &list[..]);
        for protocol in how {
            let rivals = how.iter().filter(|p| p.transport == protocol.transport).count() > 1;
            // `HTTP, HTTPS` on `80, 443`: each port has its own.
            let app = protocol.app.filter(|_| !rivals || ranges.is_empty());
            services.extend(Protocol { app, ..*protocol }.services(&ranges));
        }
        if leads {
            before = named;
        }
    }
    if services.is_empty() {
        services = general.iter().flat_map(|protocol| protocol.services(&[])).collect();
    }
    let mut distinct = Vec::new();
    for service in services {
        if !distinct.contains(&service) && distinct.len() < MAX_SERVICES {
            distinct.push(service);
        }
    }
    (distinct, odd)
}

/// A few words show what is wrong with a cell.
const MAX_ODD: usize = 8;

/// A row has a handful; more is no port cell.
const MAX_SERVICES: usize = 256;

const TCP: Protocol = Protocol { transport: Transport::Tcp, app: None, port: None };

impl Protocol {
    fn services(self, ranges: &[PortRange]) -> Vec<Service> {
        let usual = self.port.and_then(|port| PortRange::new(port, port));
        if ranges.is_empty() {
            return usual
                .map(|port| Service::new(self.transport, self.app, Some(port)))
                .into_iter()
                .collect();
        }
        ranges.iter().map(|&port| Service::new(self.transport, self.app, Some(port))).collect()
    }
}

fn protocol(word: &str) -> Option<Protocol> {
    let (transport, app, port) = match word {
        "tcp" => (Transport::Tcp, None, None),
        "udp" => (Transport::Udp, None, None),
        "https" | "wss" | "tls" | "ssl" => (Transport::Tcp, Some(App::Https), Some(443)),
        "http" | "ws" => (Transport::Tcp, Some(App::Http), Some(80)),
        "quic" => (Transport::Udp, Some(App::Other), Some(443)),
        "ntp" => (Transport::Udp, Some(App::Ntp), Some(123)),
        "dns" => (Transport::Udp, Some(App::Dns), Some(53)),
        "ssh" => (Transport::Tcp, Some(App::Other), Some(22)),
        "smb" => (Transport::Tcp, Some(App::Other), Some(445)),
        "amqps" | "amqp" => (Transport::Tcp, Some(App::Other), Some(5671)),
        _ => return None,
    };
    Some(Protocol { transport, app, port })
}

/// The protocols among the words. Words that are neither protocol nor port are odd.
fn protocols(words: &[String], odd: &mut Vec<String>) -> Vec<Protocol> {
    let mut found: Vec<Protocol> = Vec::new();
    for word in words {
        match protocol(word) {
            Some(protocol) => found.push(protocol),
            None if PortRange::parse(word).is_some() || IGNORED.contains(&&**word) => {}
            None if odd.len() < MAX_ODD => odd.push(word.clone()),
            None => {}
        }
    }
    // `TCP (HTTPS)` is one protocol, of which the second word says more.
    let specific = |p: &Protocol| p.app.is_some();
    if found.iter().any(specific) {
        let transports: Vec<_> =
            found.iter().filter(|p| specific(p)).map(|p| p.transport).collect();
        found.retain(|p| specific(p) || !transports.contains(&p.transport));
    }
    found
}

const IGNORED: [&str; 8] = ["and", "or", "port", "ports", "outbound", "n", "a", "over"];

/// Lower-case words and ranges of numbers.
fn words(text: &str) -> Vec<String> {
    let text = text.replace(['–', '—'], "-").to_ascii_lowercase();
    let split = |c: char| !(c.is_alphanumeric() || c == '-' || c == '*');
    let words = text.split(split).map(|word| word.trim_matches('-'));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(port: &str, protocol: &str) -> String {
        let (services, odd) = services(port, protocol);
        let text = |s: &Service| {
            format!("{} {} {}", s.transport, s.port.map_or("-".into(), |p| p.to_string()), s.app)
        };
        let mut all: Vec<_> = services.iter().map(text).collect();
        all.extend(odd.iter().map(|word| format!("odd {word}")));
        all.join(", ")
    }

    #[test]
    fn reads_what_documents_write() {
        for (port, protocol, expected) in [
            ("**`HTTPS:443`**", "", "tcp 443 https"),
            ("https:443", "", "tcp 443 https"),
            ("**`HTTPS: 443`**", "", "tcp 443 https"),
            ("443", "", "tcp 443 https"),
            ("1194", "UDP", "udp 1194 other"),
            ("123", "UDP", "udp 123 ntp"),
            ("80, 443", "TCP", "tcp 80 http, tcp 443 https"),
            ("443/TCP<br>53/UDP", "", "tcp 443 https, udp 53 dns"),
            ("TCP: 443, 8084", "", "tcp 443 https, tcp 8084 other"),
            ("53", "TCP/UDP", "tcp 53 dns, udp 53 dns"),
            ("8000-8001", "", "tcp 8000-8001 other"),
            ("8443 (HTTPS)", "", "tcp 8443 https"),
            ("TCP (HTTPS) 443", "", "tcp 443 https"),
            ("HTTPS", "", "tcp 443 https"),
            ("", "HTTP, HTTPS", "tcp 80 http, tcp 443 https"),
            ("N/A", "", ""),
            ("", "", ""),
            ("any", "TCP", "odd any"),
            ("80, 443", "HTTP, HTTPS", "tcp 80 http, tcp 443 https"),
            ("", "ICMP", "odd icmp"),
            ("99999", "", "odd 99999"),
        ] {
            assert_eq!(shown(port, protocol), expected, "{port} {protocol}");
        }
    }
}
