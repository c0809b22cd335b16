//! A firewall's log beside the packets. It changes no verdict: where the two disagree, that is said.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    net::IpAddr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DestinationEntry, Report, wording::printable};
use crate::{
    allowlist::{Action, FirewallLog, LogCount, LogTarget, Logged, LoggedRule},
    base::Timestamp,
    catalog::Transport,
    verdict::{DestinationFinding, Flag, Outcome, Verdict},
};

/// What a firewall logged while the capture ran.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Witness {
    /// What was read.
    #[serde(flatten)]
    pub log: FirewallLog,
    /// How far the clocks may differ, in seconds.
    pub tolerance: u64,
    /// Of the lines, those about clients that the capture doesn't show.
    pub other_clients: u64,
    /// What it says about destinations of the report, in their order.
    pub destinations: Vec<Witnessed>,
    /// What it denied and the capture doesn't show.
    pub denied_not_seen: Vec<NotSeen>,
}

/// What the log says about a destination of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Witnessed {
    /// Index into the report's destinations.
    pub destination: usize,
    /// Its name.
    pub name: String,
    /// Transport.
    pub transport: Transport,
    /// Port.
    pub port: u16,
    /// Lines that say it was let through.
    pub allowed: u64,
    /// Lines that say it was stopped.
    pub denied: u64,
    /// How that fits what the packets show.
    pub agreement: Agreement,
    /// The earliest line's time.
    pub first: Option<Timestamp>,
    /// The latest line's.
    pub last: Option<Timestamp>,
    /// By which rules, the most frequent first.
    pub rules: Vec<Decision>,
}

/// How a log fits the packets.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Contradiction: the packets show it working, and the log only denies.
    EstablishedButDenied,
    /// Contradiction: the packets show it blocked, and the log only allows. Something else blocks.
    BlockedButAllowed,
    /// The log has both.
    Mixed,
    /// Both say that it is blocked.
    ConfirmsBlocked,
    /// Both say that it works.
    ConfirmsEstablished,
    /// The packets don't tell.
    OnlyLogTells,
}

/// A rule of the device, and how often it decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// Allow or deny.
    pub action: Action,
    /// The rule.
    #[serde(flatten)]
    pub by: LoggedRule,
    /// Lines.
    pub count: u64,
    /// What it was joined by: `name`, `address`.
    pub joined_by: String,
    /// The first such line's file.
    pub file: String,
    /// That line.
    pub line: usize,
}

/// What was denied and the capture doesn't show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotSeen {
    /// Name or address.
    pub target: String,
    /// Transport.
    pub transport: Transport,
    /// Port.
    pub port: u16,
    /// Who tried, sorted.
    pub clients: Vec<IpAddr>,
    /// The earliest line's time.
    pub first: Option<Timestamp>,
    /// The latest line's.
    pub last: Option<Timestamp>,
    /// By which rules.
    pub rules: Vec<Decision>,
}

/// Most rules that are listed for a destination.
const MAX_RULES: usize = 6;

/// Joins a log with a report's destinations: by name or address, transport, port, and client.
pub fn join(report: &Report, log: FirewallLog, tolerance: u64) -> Witness {
    let destinations = &report.destinations;
    let seen_clients: BTreeSet<IpAddr> =
        destinations.iter().flat_map(|d| d.clients.iter().copied()).collect();
    let (by_name, by_addr) = index(destinations);
    let mut joined: BTreeMap<usize, Vec<Line<'_>>> = BTreeMap::new();
    let mut not_seen: BTreeMap<(&LogTarget, Service), Vec<Line<'_>>> = BTreeMap::new();
    let mut other_clients = 0;
    for (logged, count) in &log.entries {
        if logged.client.is_some_and(|client| !seen_clients.contains(&client)) {
            other_clients += count.count;
            continue;
        }
        let service = (logged.transport, logged.port);
        let (found, how) = match &logged.target {
            LogTarget::Name(name) => (by_name.get(&(&**name, service)), "name"),
            LogTarget::Addr(addr) => (by_addr.get(&(*addr, service)), "address"),
        };
        let tried = |&&at: &&usize| {
            logged.client.is_none_or(|client| destinations[at].clients.contains(&client))
        };
        let found: Vec<usize> = found.into_iter().flatten().filter(tried).copied().collect();
        for &at in &found {
            joined.entry(at).or_default().push((logged, count, how));
        }
        if found.is_empty() && logged.action == Action::Deny {
            not_seen.entry((&logged.target, service)).or_default().push((logged, count, ""));
        }
    }
    let witnessed = |(at, lines): (usize, Vec<_>)| witnessed(at, &destinations[at], &lines, &log);
    let mut told: Vec<Witnessed> = joined.into_iter().filter_map(witnessed).collect();
    told.sort_by_key(|told| (told.agreement, told.destination));
    let denied_not_seen = not_seen
        .into_iter()
        .map(|((target, (transport, port)), lines)| {
            let clients: BTreeSet<IpAddr> = lines.iter().filter_map(|(l, ..)| l.client).collect();
            let counts = || lines.iter().map(|(_, count, _)| *count);
            NotSeen {
                target: shown(target),
                transport,
                port,
                clients: clients.into_iter().collect(),
                first: counts().filter_map(|c| c.first).min(),
                last: counts().filter_map(|c| c.last).max(),
                rules: decisions(&lines, &log),
            }
        })
        .collect();
    Witness { tolerance, other_clients, destinations: told, denied_not_seen, log }
}

type Service = (Transport, u16);

/// What was logged, how often, and what it was joined by.
type Line<'l> = (&'l Logged, &'l LogCount, &'static str);

/// Places in a list.
type Places<K> = BTreeMap<(K, Service), Vec<usize>>;

/// Destinations by name and by address.
fn index(destinations: &[DestinationEntry]) -> (Places<&str>, Places<IpAddr>) {
    let (mut by_name, mut by_addr) = (BTreeMap::new(), BTreeMap::new());
    for (at, found) in destinations.iter().enumerate() {
        let (Some(transport), Some(port)) = (found.transport, found.port) else { continue };
        let transport = match transport {
            crate::decode::Transport::Tcp => Transport::Tcp,
            crate::decode::Transport::Udp => Transport::Udp,
        };
        let service = (transport, port);
        by_name.entry((&*found.name, service)).or_insert_with(Vec::new).push(at);
        // Behind a proxy the addresses are the proxy's.
        if !found.flags.contains(&Flag::Proxied) {
            for &addr in &found.addresses {
                by_addr.entry((addr.to_canonical(), service)).or_insert_with(Vec::new).push(at);
            }
        }
    }
    (by_name, by_addr)
}

fn witnessed(
    at: usize,
    found: &DestinationFinding,
    lines: &[Line<'_>],
    log: &FirewallLog,
) -> Option<Witnessed> {
    let (first, ..) = lines.first()?;
    let count = |action: Action| {
        lines.iter().filter(|(l, ..)| l.action == action).map(|(_, c, _)| c.count).sum::<u64>()
    };
    let (allowed, denied) = (count(Action::Allow), count(Action::Deny));
    let established = found.outcomes.contains_key(&Outcome::Established);
    let blocked = found.verdict == Verdict::Blocked;
    let agreement = match (allowed > 0, denied > 0) {
        (true, true) => Agreement::Mixed,
        (_, true) if established => Agreement::EstablishedButDenied,
        (_, true) if blocked => Agreement::ConfirmsBlocked,
        (true, _) if blocked => Agreement::BlockedButAllowed,
        (true, _) if established => Agreement::ConfirmsEstablished,
        _ => Agreement::OnlyLogTells,
    };
    Some(Witnessed {
        destination: at,
        name: found.name.clone(),
        transport: first.transport,
        port: first.port,
        allowed,
        denied,
        agreement,
        first: lines.iter().filter_map(|(_, c, _)| c.first).min(),
        last: lines.iter().filter_map(|(_, c, _)| c.last).max(),
        rules: decisions(lines, log),
    })
}

/// The rules that decided, denying ones first, each with its first line.
fn decisions(lines: &[Line<'_>], log: &FirewallLog) -> Vec<Decision> {
    // Lines, and the first one's file and place in it.
    let mut known: BTreeMap<_, (u64, (usize, usize))> = BTreeMap::new();
    for &(logged, count, how) in lines {
        let place = (count.file, count.line);
        let entry =
            known.entry((logged.action == Action::Allow, &logged.by, how)).or_insert((0, place));
        entry.0 += count.count;
        entry.1 = entry.1.min(place);
    }
    let mut decisions: Vec<Decision> = known
        .into_iter()
        .map(|((allow, by, joined_by), (count, (file, line)))| Decision {
            action: if allow { Action::Allow } else { Action::Deny },
            by: by.clone(),
            count,
            joined_by: joined_by.to_owned(),
            file: log.files.get(file).cloned().unwrap_or_default(),
            line,
        })
        .collect();
    decisions.sort_by_key(|decision| (decision.action == Action::Allow, u64::MAX - decision.count));
    decisions.truncate(MAX_RULES);
    decisions
}

fn shown(target: &LogTarget) -> String {
    match target {
        LogTarget::Name(name) => name.to_string(),
        LogTarget::Addr(addr) => addr.to_string(),
    }
}

/// What the log says, as lines of text.
pub(super) fn lines(witness: &Witness) -> Vec<String> {
    let mut text = Vec::new();
    // Writing to memory doesn't fail.
    drop(write(witness, &mut text));
    String::from_utf8_lossy(&text).trim().lines().map(str::to_owned).collect()
}

/// Writes what the log says, contradictions first.
pub(super) fn write(witness: &Witness, out: &mut impl Write) -> io::Result<()> {
    let log = &witness.log;
    writeln!(out, "\nFIREWALL LOG: a second witness; it changes no verdict")?;
    let files = log.files.iter().map(|file| printable(file)).collect::<Vec<_>>().join(", ");
    writeln!(
        out,
        "  {files}: {} lines within {} s of the capture, {} outside, {} about clients that it doesn't show",
        log.records, witness.tolerance, log.outside, witness.other_clients
    )?;
    if log.untimed + log.dropped > 0 {
        writeln!(
            out,
            "  {} lines have no time and count as within; {} were too many to keep",
            log.untimed, log.dropped
        )?;
    }
    for told in &witness.destinations {
        let meaning = match told.agreement {
            Agreement::EstablishedButDenied => {
                "CONTRADICTION: the packets show it working, the log denies it"
            }
            Agreement::BlockedButAllowed => {
                "CONTRADICTION: the packets show it blocked, the log allows it: look behind this device"
            }
            Agreement::Mixed => "the log allows and denies it",
            Agreement::ConfirmsBlocked => "the log confirms the block",
            Agreement::OnlyLogTells => "the packets don't tell",
            // Nothing to look into.
            Agreement::ConfirmsEstablished => continue,
        };
        writeln!(out, "\n  {} {} {}: {meaning}", printable(&told.name), told.transport, told.port)?;
        writeln!(out, "    {} denied, {} allowed", told.denied, told.allowed)?;
        told.rules.iter().try_for_each(|rule| decision(rule, out))?;
    }
    if !witness.denied_not_seen.is_empty() {
        writeln!(
            out,
            "\n  DENIED AND NOT SEEN: in the log only ({})",
            witness.denied_not_seen.len()
        )?;
    }
    for denied in &witness.denied_not_seen {
        let clients: Vec<String> = denied.clients.iter().map(ToString::to_string).collect();
        let from = if clients.is_empty() {
            String::new()
        } else {
            format!(" from {}", clients.join(", "))
        };
        writeln!(
            out,
            "\n  {} {} {}{from}",
            printable(&denied.target),
            denied.transport,
            denied.port
        )?;
        denied.rules.iter().try_for_each(|rule| decision(rule, out))?;
    }
    Ok(())
}

fn decision(decision: &Decision, out: &mut impl Write) -> io::Result<()> {
    let action = match decision.action {
        Action::Allow => "allowed",
        Action::Deny => "denied",
    };
    let by = &decision.by;
    let parts = [&by.policy, &by.group, &by.collection, &by.rule];
    let rule: Vec<&str> = parts.into_iter().map(|part| &**part).filter(|p| !p.is_empty()).collect();
    let rule = if rule.is_empty() { "no rule named".to_owned() } else { rule.join(" / ") };
    let reason = if by.reason.is_empty() { String::new() } else { format!(" ({})", by.reason) };
    let text = format!(
        "{action} x{} by {rule}{reason}, {}:{}",
        decision.count, decision.file, decision.line
    );
    writeln!(out, "    {}", printable(&text))
}
