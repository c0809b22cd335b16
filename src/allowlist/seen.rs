//! What was seen, from the report that `audit --format json` writes.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use crate::catalog::Transport;

/// A destination that some client tried to reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// Its name; an address when it has none.
    pub name: String,
    /// What the name comes from.
    #[serde(default)]
    pub named_by: String,
    /// Where it was.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// TCP or UDP; none when only a lookup was seen.
    #[serde(default)]
    pub transport: Option<Transport>,
    /// Port; none when only a lookup was seen.
    #[serde(default)]
    pub port: Option<u16>,
    /// The report's class.
    #[serde(default)]
    pub class: String,
    /// Attempts.
    #[serde(default)]
    pub attempts: u64,
    /// How often each outcome occurred.
    #[serde(default)]
    pub outcomes: BTreeMap<String, u64>,
    /// Who tried.
    #[serde(default)]
    pub clients: Vec<IpAddr>,
}

impl Seen {
    /// The name, `None` when it is only an address.
    pub fn host(&self) -> Option<&str> {
        (self.named_by != "address" && self.name.parse::<IpAddr>().is_err()).then_some(&*self.name)
    }

    /// True when some attempt got through.
    pub fn established(&self) -> bool {
        self.outcomes.contains_key("established")
    }

    /// Inside the site: the firewall doesn't see it.
    pub(super) fn is_internal(&self) -> bool {
        self.class == "internal"
    }
}

/// Reads the destinations of a report. Fields it doesn't know are skipped.
///
/// # Errors
///
/// When it isn't JSON of that shape, or of another version; says line and column.
pub fn read_report(text: &str) -> Result<Vec<Seen>, String> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(default)]
        schema: String,
        destinations: Vec<Seen>,
    }
    let report: Report = serde_json::from_str(text)
        .map_err(|error| format!("not a report of `audit --format json`: {error}"))?;
    match &*report.schema {
        "" | "egress-auditor/report/1" => Ok(report.destinations),
        other => {
            Err(format!("a report of schema `{other}`; this version reads egress-auditor/report/1"))
        }
    }
}
