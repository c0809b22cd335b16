//! What a firewall logged: a second witness beside the packets.
//!
//! Azure Firewall's structured tables (`AZFWApplicationRule`, `AZFWNetworkRule` and alike) and the
//! older text lines (`msg_s`), as JSON (a value a line, lists, exports of queries) or CSV. Columns
//! may come in any order and case; those that aren't known are skipped.

mod line;
mod row;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HashMap, csv, entry::Action, error::ParseError, json};
use crate::{
    base::{HostName, Timestamp},
    catalog::Transport,
};
use row::Row;

/// Reads log files, and keeps what was logged while a capture ran.
pub struct LogReader {
    window: Option<(Timestamp, Timestamp)>,
    log: FirewallLog,
    known: HashMap<Logged, LogCount>,
}

/// What the logs say, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallLog {
    /// The files, as the user named them.
    pub files: Vec<String>,
    /// Lines about a connection within the time that counts.
    pub records: u64,
    /// Lines about a connection before or after it.
    pub outside: u64,
    /// Of `records`, lines without a time.
    pub untimed: u64,
    /// Lines about something else: DNS, address translation, ICMP.
    pub other: u64,
    /// Of `records`, lines that were too many different ones to keep.
    pub dropped: u64,
    /// What was logged, in an order of its own.
    #[serde(skip)]
    pub entries: Vec<(Logged, LogCount)>,
}

/// One thing that was logged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Logged {
    /// What it was about.
    pub target: LogTarget,
    /// Transport.
    pub transport: Transport,
    /// Destination port.
    pub port: u16,
    /// Who tried.
    pub client: Option<IpAddr>,
    /// What the device did.
    pub action: Action,
    /// By which of its rules.
    pub by: LoggedRule,
}

/// What a log line is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogTarget {
    /// A name.
    Name(HostName),
    /// An address.
    Addr(IpAddr),
}

/// The rule that decided, as far as the device says.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct LoggedRule {
    /// The policy.
    pub policy: Box<str>,
    /// The rule collection group.
    pub group: Box<str>,
    /// The rule collection.
    pub collection: Box<str>,
    /// The rule.
    pub rule: Box<str>,
    /// Why, in the device's words.
    pub reason: Box<str>,
}

/// How often, when, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCount {
    /// Lines.
    pub count: u64,
    /// The earliest of them.
    pub first: Option<Timestamp>,
    /// The latest.
    pub last: Option<Timestamp>,
    /// Index of the first line's file.
    pub file: usize,
    /// That line, from 1.
    pub line: usize,
}

/// More different log lines than this aren't kept.
const MAX_KEPT: usize = 1 << 20;

impl LogReader {
    /// For what was logged from one time to another, or ever.
    pub fn new(window: Option<(Timestamp, Timestamp)>) -> Self {
        Self { window, log: FirewallLog::default(), known: HashMap::default() }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it is neither JSON nor CSV, nothing in it is a firewall's log, or a value can't be
    /// read; with file, line and field.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), ParseError> {
        let index = self.log.files.len();
        self.log.files.push(file.to_owned());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = 0;
        let mut add = |row: Row| {
            lines += 1;
            self.add(&row, file, index)
        };
        if text.trim_start().starts_with(['{', '[']) {
            json::each(text, file, &mut |node| row::of_json(&node, file, &mut add))?;
        } else {
            csv::records(text, file, &mut |head, line, cells| {
                add(Row::of_cells(head, line, cells))
            })?;
        }
        let none = self.log.records + self.log.outside + self.log.other == 0;
        if none && (lines > 0 || !text.trim().is_empty()) {
            let what = "no log of Azure Firewall in it: columns Action, and Fqdn or DestinationIp, or msg_s are needed";
            return Err(ParseError::new(file, 1, "", what));
        }
        Ok(())
    }

    /// What was read.
    pub fn finish(mut self) -> FirewallLog {
        self.log.entries = self.known.into_iter().collect();
        self.log.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.log
    }

    fn add(&mut self, row: &Row, file: &str, index: usize) -> Result<(), ParseError> {
        let Some((time, logged)) = row.logged(file)? else {
            self.log.other += u64::from(row.is_firewall());
            return Ok(());
        };
        if let (Some((first, last)), Some(time)) = (self.window, time)
            && !(first..=last).contains(&time)
        {
            self.log.outside += 1;
            return Ok(());
        }
        self.log.records += 1;
        self.log.untimed += u64::from(time.is_none());
        if self.known.len() >= MAX_KEPT && !self.known.contains_key(&logged) {
            self.log.dropped += 1;
            return Ok(());
        }
        let seen = self.known.entry(logged).or_insert(LogCount {
            count: 0,
            first: time,
            last: time,
            file: index,
            line: row.line,
        });
        seen.count += 1;
        seen.first = seen.first.into_iter().chain(time).min();
        seen.last = seen.last.max(time);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FirewallLog, ParseError> {
        let mut reader = LogReader::new(None);
        reader.read("log", text)?;
        Ok(reader.finish())
    }

    fn shown(log: &FirewallLog) -> Vec<String> {
        log.entries
            .iter()
            .map(|(l, c)| {
                let target = match &l.target {
                    LogTarget::Name(name) => name.to_string(),
                    LogTarget::Addr(addr) => addr.to_string(),
                };
                let by = [&l.by.policy, &l.by.group, &l.by.collection, &l.by.rule, &l.by.reason];
                let by: Vec<&str> =
                    by.into_iter().map(|t| &**t).filter(|t| !t.is_empty()).collect();
                let client = l.client.map(|c| c.to_string()).unwrap_or_default();
                format!(
                    "{:?} {target} {}/{} {client} x{} :{} {}",
                    l.action,
                    l.port,
                    l.transport,
                    c.count,
                    c.line,
                    by.join("/")
                )
            })
            .collect()
    }

    const WANTED: &str = "Deny mcr.microsoft.com 443/tcp 10.0.0.4 x1 :2 p/g/c/r/Default Action";

    #[test]
    fn the_notations_say_the_same() {
        let object = r#"{"TimeGenerated":"2026-11-21T12:00:00.123Z","Protocol":"HTTPS","SourceIp":"10.0.0.4","SourcePort":50001,"DestinationPort":443,"Fqdn":"MCR.microsoft.com","Action":"Deny","Policy":"p","RuleCollectionGroup":"g","RuleCollection":"c","Rule":"r","ActionReason":"Default Action","Type":"AZFWApplicationRule","Later":[1]}"#;
        let csv = "timegenerated [UTC],PROTOCOL,sourceip,DestinationPort,Fqdn,Action,Policy,RuleCollectionGroup,RuleCollection,Rule,ActionReason\n\"11/21/2026, 12:00:00.123 PM\",HTTPS,10.0.0.4,443,mcr.microsoft.com.,Deny,p,g,c,r,Default Action\n";
        let tables = "{\"tables\":[{\"name\":\"PrimaryResult\",\"columns\":[{\"name\":\"Action\"},{\"name\":\"Fqdn\"},{\"name\":\"DestinationPort\"},{\"name\":\"Protocol\"},{\"name\":\"SourceIp\"},{\"name\":\"Policy\"},{\"name\":\"RuleCollectionGroup\"},{\"name\":\"RuleCollection\"},{\"name\":\"Rule\"},{\"name\":\"ActionReason\"},{\"name\":\"time\"}],\n\"rows\":[[\"deny\",\"mcr.microsoft.com\",443,\"Https\",\"10.0.0.4\",\"p\",\"g\",\"c\",\"r\",\"Default Action\",\"2026-11-21T12:00:00Z\"]]}]}";
        let inner = object.replacen("{\"Time", "{\"x\":1,\"Time", 1);
        let stored = format!(
            "\n{{\"category\":\"AZFWApplicationRule\",\"time\":\"2026-11-21T12:00:00Z\",\"properties\":{inner}}}"
        );
        let line = "\n{\"Category\":\"AzureFirewallApplicationRule\",\"TimeGenerated\":\"2026-11-21T12:00:00Z\",\"msg_s\":\"HTTPS request from 10.0.0.4:50001 to mcr.microsoft.com:443. Action: Deny. Reason: Default Action. Policy: p. Rule Collection Group: g. Rule Collection: c. Rule: r\"}";
        for text in [&format!("\n{object}\n"), &format!("[\n{object}]"), csv, tables, &stored, line]
        {
            let log = read(text).unwrap();
            assert_eq!(shown(&log), [WANTED], "{text}");
            assert!(log.entries[0].1.first.is_some(), "{text}");
        }
    }

    #[test]
    fn older_lines() {
        let log = read(concat!(
            "msg_s\n",
            "TCP request from 10.0.0.4:50001 to 203.0.113.9:1433. Action: Deny\n",
            "\"HTTP request from 10.0.0.4:50001 to x.example:80. Url: x.example/a. Action: Allow. Rule Collection: c 1. Rule: r.1\"\n",
            "HTTPS request from 10.0.0.4:1 to y.example:443. Action: Deny. No rule matched. Proceeding with default action\n",
            "UDP request from 10.0.0.4:123 to 203.0.113.9:123 was DNAT'ed to 10.0.0.9:123\n",
            "ICMP Type=8 request from 10.0.0.4:0 to 203.0.113.9:0. Action: Allow\n",
        ))
        .unwrap();
        assert_eq!(
            shown(&log),
            [
                "Allow x.example 80/tcp 10.0.0.4 x1 :3 c 1/r.1",
                "Deny y.example 443/tcp 10.0.0.4 x1 :4 No rule matched",
                "Deny 203.0.113.9 1433/tcp 10.0.0.4 x1 :2 ",
            ]
        );
        assert_eq!((log.other, log.untimed), (2, 3));
    }

    #[test]
    fn time_counts() {
        let at = |s| Timestamp::from_parts(s, 0);
        let mut reader = LogReader::new(Some((at(1_795_262_400), at(1_795_262_460))));
        let text = "Action,Fqdn,DestinationPort,Protocol,time\nAllow,a.example,443,HTTPS,2026-11-21T12:00:30Z\nAllow,a.example,443,HTTPS,2026-11-21T12:02:00Z\nAllow,a.example,443,HTTPS,2026-11-21T12:00:10+00:00\n";
        reader.read("log", text).unwrap();
        let log = reader.finish();
        assert_eq!((log.records, log.outside, log.entries[0].1.count), (2, 1, 2));
    }

    #[test]
    fn mistakes_name_file_line_and_field() {
        let csv = |cells: &str| {
            format!(
                "Action,Fqdn,DestinationPort,Protocol,TimeGenerated,SourceIp\nAllow,a.example,443,HTTPS,,\n{cells}\n"
            )
        };
        for (cells, says) in [
            ("Maybe,a.example,443,HTTPS,,", "log:3: Action: `Maybe`"),
            ("Allow,a.example,99999,HTTPS,,", "log:3: DestinationPort: `99999`"),
            ("Allow,a.example,443,HTTPS,yesterday,", "log:3: TimeGenerated: `yesterday`"),
            ("Allow,a.example,443,HTTPS,,me", "log:3: SourceIp: `me`"),
        ] {
            let error = read(&csv(cells)).unwrap_err();
            assert!(error.to_string().starts_with(says), "{error}");
        }
        assert!(read("a,b\n1,2\n").unwrap_err().to_string().contains("no log of Azure Firewall"));
        assert!(read("{\"a\":\n!}").unwrap_err().to_string().starts_with("log:2: not JSON"));
    }
}
