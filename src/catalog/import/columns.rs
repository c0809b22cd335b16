//! What a table's columns hold, by their headings.

use super::{super::Feature, cells, slug};

/// The columns of a table that matter, as indices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) destination: Option<usize>,
    /// Service tags, beside or in place of names.
    pub(super) tag: Option<usize>,
    pub(super) port: Option<usize>,
    pub(super) protocol: Option<usize>,
    pub(super) source: Option<usize>,
    pub(super) direction: Option<usize>,
    pub(super) cloud: Option<usize>,
    /// Whether it is needed: yes or no.
    pub(super) needed: Option<usize>,
    /// The part of the product that needs it.
    pub(super) service: Option<usize>,
    /// What it is for, best first.
    pub(super) purpose: Vec<usize>,
    /// Operations that need it.
    pub(super) operations: Option<usize>,
    /// Columns of check marks.
    pub(super) features: Vec<(usize, Feature)>,
}

impl Columns {
    pub(super) fn read(headings: &[&str]) -> Self {
        let mut columns = Self::default();
        let mut best = usize::MAX;
        for (at, heading) in headings.iter().enumerate() {
            let words = slug(&cells::plain(heading).text);
            let words: Vec<_> = words.split('-').collect();
            let says = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
            // Sentences are no headings of such a column.
            let short = words.len() <= 5;
            let rank = DESTINATIONS.iter().position(|names| says(names)).filter(|_| short);
            if says(&["port", "ports"]) {
                if !says(&["source", "src"]) || says(&["destination"]) {
                    columns.port = Some(at);
                }
            } else if says(&["protocol", "protocols", "transport"]) {
                columns.protocol.get_or_insert(at);
            } else if says(&["tag", "tags"]) && says(&["service", "servicetag"]) {
                columns.tag.get_or_insert(at);
            } else if says(&["source", "from", "client"]) && short {
                columns.source.get_or_insert(at);
            } else if let Some(rank) = rank {
                if rank < best {
                    (best, columns.destination) = (rank, Some(at));
                }
            } else if let Ok(feature) = Feature::parse(&words.join("-")) {
                columns.features.push((at, feature));
            } else {
                columns.other(at, &words.join("-"));
            }
        }
        columns.purpose.sort_by_key(|&at| purpose_rank(&slug(headings[at])));
        columns
    }

    /// Names or ports, at least: anything else is a table about something else.
    pub(super) fn lists_destinations(&self) -> bool {
        self.destination.is_some() || self.tag.is_some() && self.port.is_some()
    }

    /// Ports of hosts of the site: who calls is told, whom isn't.
    pub(super) fn lists_internal_ports(&self) -> bool {
        !self.lists_destinations() && self.port.is_some() && self.source.is_some()
    }

    fn other(&mut self, at: usize, words: &str) {
        match words {
            "direction" => self.direction = Some(at),
            "cloud" | "azure-cloud" | "environment" => self.cloud = Some(at),
            "required" | "mandatory" => self.needed = Some(at),
            "required-for" => self.operations = Some(at),
            "service" | "component" | "feature" | "category" | "name" => {
                self.service.get_or_insert(at);
            }
            _ if words.ends_with("-component") => {
                self.service.get_or_insert(at);
            }
            _ if purpose_rank(words) < usize::MAX => self.purpose.push(at),
            _ => {}
        }
    }
}

/// Words for a column of destinations, surest first.
const DESTINATIONS: [&[&str]; 5] = [
    &["fqdn", "fqdns"],
    &["url", "urls"],
    &["endpoint", "endpoints"],
    &["destination", "destinations"],
    &["host", "hosts", "hostname", "hostnames", "domain", "domains"],
];

fn purpose_rank(words: &str) -> usize {
    let known = [
        "use",
        "usage",
        "purpose",
        "description",
        "notes",
        "note",
        "firewall-notes",
        "reason",
        "comment",
        "comments",
        "details",
    ];
    known.iter().position(|word| *word == words).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_headings_of_several_publishers() {
        let read =
            |headings: &str| Columns::read(&headings.split('|').map(str::trim).collect::<Vec<_>>());
        let columns = read("Destination Endpoint | Protocol | Port | Use");
        assert_eq!(
            (columns.destination, columns.protocol, columns.port),
            (Some(0), Some(1), Some(2))
        );
        assert_eq!(columns.purpose, [3]);
        let columns = read("Outbound Endpoint| Port | Description|Training |Inference");
        assert_eq!(columns.features, [(3, Feature::Training), (4, Feature::Inference)]);
        let columns = read(
            "Id | Azure Local Component | Endpoint URL | Port | Notes | Arc gateway support | Required for",
        );
        assert_eq!(
            (columns.destination, columns.port, columns.operations),
            (Some(2), Some(3), Some(6))
        );
        assert_eq!(columns.service, Some(1));
        let columns = read(
            "Direction | Ports | Source | Source<br>ports | Destination | **Destination ports** | Purpose",
        );
        assert_eq!(
            (columns.destination, columns.port, columns.source),
            (Some(4), Some(5), Some(2))
        );
        assert!(read("Port | Source | Description | Firewall notes").lists_internal_ports());
        for other in [
            "Parameter | Description | Supported for DHCP",
            "Parameter | Minimum number of IP addresses",
        ] {
            let columns = read(other);
            assert!(!columns.lists_destinations() && !columns.lists_internal_ports());
        }
    }
}
