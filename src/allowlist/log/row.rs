//! One line of a log, whatever its notation.

use std::net::IpAddr;

use super::{LogTarget, Logged, LoggedRule, line::Line};
use crate::{
    allowlist::{
        entry::Action,
        error::ParseError,
        tree::{Node, Value},
    },
    base::{HostName, Timestamp},
    catalog::Transport,
};

/// The columns that count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Time,
    Action,
    Fqdn,
    Url,
    Addr,
    Port,
    Protocol,
    Client,
    Policy,
    Group,
    Collection,
    Rule,
    Reason,
    Message,
}

/// Their names without case, spaces and the suffixes that Log Analytics adds.
const NAMES: [(&str, Field); 17] = [
    ("timegenerated", Field::Time),
    ("time", Field::Time),
    ("timestamp", Field::Time),
    ("action", Field::Action),
    ("fqdn", Field::Fqdn),
    ("targetfqdn", Field::Fqdn),
    ("targeturl", Field::Url),
    ("destinationip", Field::Addr),
    ("destinationport", Field::Port),
    ("protocol", Field::Protocol),
    ("sourceip", Field::Client),
    ("policy", Field::Policy),
    ("rulecollectiongroup", Field::Group),
    ("rulecollection", Field::Collection),
    ("rule", Field::Rule),
    ("actionreason", Field::Reason),
    ("msg", Field::Message),
];

/// One line's values.
pub(super) struct Row {
    pub(super) line: usize,
    values: Vec<(Field, String)>,
    /// True when a column says that it is a firewall's.
    firewall: bool,
}

impl Row {
    fn new(line: usize) -> Self {
        Self { line, values: Vec::new(), firewall: false }
    }

    /// From a CSV line and its heading.
    pub(super) fn of_cells<'t>(
        head: impl IntoIterator<Item = &'t str>,
        line: usize,
        cells: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let mut row = Self::new(line);
        head.into_iter().zip(cells).for_each(|(name, value)| row.set(name, value));
        row
    }

    /// The first value of a name counts: `properties` come after what stands around them.
    fn set(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if value.is_empty() {
            return;
        }
        let mut plain = name.to_ascii_lowercase();
        plain.retain(|c| !matches!(c, ' ' | '_'));
        let plain = plain.strip_suffix("[utc]").unwrap_or(&plain);
        let short = plain
            .strip_suffix(['s', 'd', 'g'])
            .filter(|_| name.len() > 2 && name.as_bytes()[name.len() - 2] == b'_');
        let name = short.unwrap_or(plain);
        if matches!(name, "type" | "category") {
            self.firewall |= value.starts_with("AZFW") || value.starts_with("AzureFirewall");
        }
        if let Some(&(_, field)) = NAMES.iter().find(|(known, _)| *known == name)
            && self.get(field).is_empty()
        {
            self.values.push((field, value.to_owned()));
        }
    }

    fn get(&self, field: Field) -> &str {
        self.values.iter().find(|(known, _)| *known == field).map_or("", |(_, value)| value)
    }

    /// True when it is a firewall's, although perhaps not about a connection.
    pub(super) fn is_firewall(&self) -> bool {
        self.firewall || !self.get(Field::Message).is_empty() || !self.get(Field::Action).is_empty()
    }

    /// When, and what; `None` when it isn't about a connection over TCP or UDP.
    pub(super) fn logged(
        &self,
        file: &str,
    ) -> Result<Option<(Option<Timestamp>, Logged)>, ParseError> {
        let error = |field: &str, message: String| ParseError::new(file, self.line, field, message);
        let time = match self.get(Field::Time) {
            "" => None,
            text => Some(
                time(text).ok_or_else(|| error("TimeGenerated", format!("`{text}` is no time")))?,
            ),
        };
        let message = self.get(Field::Message);
        let line = Line::parse(message);
        if !message.is_empty() && line.is_none() {
            return Ok(None);
        }
        let value = |key: &str, field: Field| match &line {
            Some(line) => line.value(key).into(),
            None => self.get(field).into(),
        };
        let by = LoggedRule {
            policy: value("Policy", Field::Policy),
            group: value("Rule Collection Group", Field::Group),
            collection: value("Rule Collection", Field::Collection),
            rule: value("Rule", Field::Rule),
            reason: line.as_ref().map_or(self.get(Field::Reason), Line::reason).into(),
        };
        let (protocol, client, to, port, action) = match &line {
            Some(line) => {
                let (to, port) = line.to.rsplit_once(':').unwrap_or((line.to, ""));
                let client = line.from.rsplit_once(':').map_or(line.from, |(client, _)| client);
                (line.protocol, client, to, port, line.value("Action"))
            }
            None => (
                self.get(Field::Protocol),
                self.get(Field::Client),
                self.target(),
                self.get(Field::Port),
                self.get(Field::Action),
            ),
        };
        let transport = match &*protocol.to_ascii_lowercase() {
            "http" | "https" | "mssql" | "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Ok(None),
        };
        if action.is_empty() || to.is_empty() {
            return Ok(None);
        }
        let action = match &*action.to_ascii_lowercase() {
            "allow" | "alert" => Action::Allow,
            "deny" => Action::Deny,
            _ => return Err(error("Action", format!("`{action}` is neither Allow nor Deny"))),
        };
        let port = port.strip_suffix(".0").unwrap_or(port);
        let port: u16 =
            port.parse().map_err(|_| error("DestinationPort", format!("`{port}` is no port")))?;
        let client = match client {
            "" => None,
            text => Some(
                text.trim_matches(['[', ']'])
                    .parse::<IpAddr>()
                    .map_err(|_| error("SourceIp", format!("`{text}` is no address")))?
                    .to_canonical(),
            ),
        };
        let target = match to.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(addr) => LogTarget::Addr(addr.to_canonical()),
            Err(_) => LogTarget::Name(HostName::parse(to.as_bytes()).ok_or_else(|| {
                let shown = to.escape_debug();
                error("Fqdn", format!("`{shown}` is neither a host name nor an address"))
            })?),
        };
        Ok(Some((time, Logged { target, transport, port, client, action, by })))
    }

    /// The name before the address: it is what application rules decide by.
    fn target(&self) -> &str {
        let (fqdn, url) = (self.get(Field::Fqdn), self.get(Field::Url));
        if !fqdn.is_empty() {
            // A port may follow.
            return fqdn.split_once(':').filter(|(_, p)| !p.contains(':')).map_or(fqdn, |(n, _)| n);
        }
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split(['/', ':', '?']).next().unwrap_or_default();
        if host.is_empty() { self.get(Field::Addr) } else { host }
    }
}

/// Rows of a JSON value: one object, lists of them, `records` of an event hub, `tables` of a query.
pub(super) fn of_json(
    node: &Node,
    file: &str,
    add: &mut impl FnMut(Row) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    if let Some(list) = node.list() {
        return list.iter().try_for_each(|node| of_json(node, file, add));
    }
    if let Some(records) = node.get("records").and_then(Node::list) {
        return records.iter().try_for_each(|node| of_json(node, file, add));
    }
    if let Some(tables) = node.get("tables").and_then(Node::list) {
        return tables.iter().try_for_each(|table| of_table(table, add));
    }
    if node.entries().is_empty() {
        return Err(ParseError::new(file, node.line, "", "an object is needed in a log"));
    }
    let mut row = Row::new(node.line);
    let inner = node.get("properties").map(Node::entries).unwrap_or_default();
    for (name, value) in node.entries().iter().chain(inner) {
        if let Value::Text(text) = &value.value {
            row.set(name, text);
        }
    }
    add(row)
}

fn of_table(
    table: &Node,
    add: &mut impl FnMut(Row) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let head: Vec<&str> =
        table.items("columns").iter().map(|c| c.text_of("name").unwrap_or_default()).collect();
    for line in table.items("rows") {
        let cells = line.list().unwrap_or_default().iter().map(|c| c.text().unwrap_or_default());
        add(Row::of_cells(head.iter().copied(), line.line, cells))?;
    }
    Ok(())
}

/// RFC 3339 in UTC, or as the portal exports it: `11/21/2026, 12:00:00.123 PM`.
fn time(text: &str) -> Option<Timestamp> {
    if let Some(time) = Timestamp::parse(text) {
        return Some(time);
    }
    let (date, clock) = text.split_once(", ")?;
    let mut date = date.split('/').map(|part| part.parse::<u16>().ok());
    let (month, day, year) = (date.next()??, date.next()??, date.next()??);
    let (clock, half) = clock.rsplit_once(' ')?;
    let (hour, rest) = clock.split_once(':')?;
    let hour = hour.parse::<u8>().ok().filter(|hour| (1..=12).contains(hour))? % 12;
    let hour = match half {
        "AM" => hour,
        "PM" => hour + 12,
        _ => return None,
    };
    Timestamp::parse(&format!("{year:04}-{month:02}-{day:02}T{hour:02}:{rest}Z"))
}
