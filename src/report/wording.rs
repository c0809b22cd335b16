//! Words that the formats for people share.

use std::collections::BTreeSet;

use super::{Change, CutOff, DestinationEntry, LiveInput, NodesByVerdict, Report, RuleEntry};
use crate::{
    allowlist::{Action, Origin},
    catalog::Param,
    verdict::{Class, Evidence, Flag, NamedBy, Outcome, Outcomes, TargetFinding, Verdict},
};

/// How many items of a list are shown where space is short.
const SHOWN: usize = 5;

/// What a report says in one sentence.
pub(super) fn headline(report: &Report) -> String {
    let summary = &report.summary;
    let rules = |count: u64| match count {
        1 => "1 required rule is".to_owned(),
        _ => format!("{count} required rules are"),
    };
    let lost = report.destinations.iter().filter(|d| is_lost_proxy(d)).count();
    let required = &summary.required;
    let first = match (required.blocked, required.degraded) {
        (0, 0) if lost > 0 => "The proxy can't be reached".to_owned(),
        (0, 0) if required.reachable > 0 => "Nothing required was seen blocked".to_owned(),
        (0, 0) => "No required destination was seen to work or to fail".to_owned(),
        (0, degraded) => format!("{} degraded", rules(degraded)),
        (blocked, 0) => format!("{} blocked", rules(blocked)),
        (blocked, degraded) => format!("{} blocked, {degraded} degraded", rules(blocked)),
    };
    let second = match summary.unexpected {
        0 => String::new(),
        1 => "; 1 unexpected destination".to_owned(),
        count => format!("; {count} unexpected destinations"),
    };
    format!("{first}{second}.")
}

/// A proxy that attempts didn't get through to.
pub(super) fn is_lost_proxy(found: &DestinationEntry) -> bool {
    found.flags.contains(&Flag::Proxy)
        && !matches!(found.verdict, Verdict::Reachable | Verdict::NotExercised)
}

/// One input, for people.
pub(super) struct InputText {
    pub(super) path: String,
    /// Frames and span.
    pub(super) size: String,
    /// Where reading it ended early.
    pub(super) damage: Option<String>,
    /// What a live capture left out.
    pub(super) notes: Vec<String>,
}

/// What was read.
pub(super) fn inputs(report: &Report) -> Vec<InputText> {
    let described = report.inputs.iter().map(|input| {
        let span = match (input.first, input.last) {
            (Some(first), Some(last)) => {
                let seconds = last.since(first).as_secs_f64();
                format!(", {seconds:.1} s from {first}")
            }
            _ => String::new(),
        };
        let size = format!("{} frames, {}{span}", input.frames, printable(&input.link_type));
        InputText {
            path: printable(&input.path),
            size,
            damage: input.truncated.as_deref().map(printable),
            notes: input.live.as_ref().map(left_out).unwrap_or_default(),
        }
    });
    described.collect()
}

/// What a live capture left out.
fn left_out(live: &LiveInput) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(filter) = &live.filter {
        notes.push(format!("only what passes the filter `{}`", printable(filter)));
    }
    if live.prefilter {
        notes.push(
            "without the bulk of downloads (--prefilter): bytes in are too few, and certificates \
             may be missed"
                .to_owned(),
        );
    }
    if let Some(CutOff { limit, frames, bytes, uncounted }) = live.cutoff {
        let lost = match uncounted {
            0 => String::new(),
            some => format!(", of which {some} are missing from the bytes of destinations"),
        };
        notes.push(format!(
            "of each flow the first {} KiB each way (--cutoff); {frames} frames with {bytes} bytes of \
             payload were only counted{lost}",
            limit >> 10
        ));
    }
    if let Some(last) = live.gaps.last() {
        let until = last.to.map_or_else(|| "now".to_owned(), |to| to.to_string());
        let (count, from) = (live.gap_count, last.from);
        notes.push(format!(
            "NOTHING SEEN while the interface was away, {count} times, last from {from} to {until}"
        ));
    }
    notes
}

/// The profile in a line.
pub(super) fn profile(report: &Report) -> String {
    let used = &report.profile;
    let file = used.file.as_deref().map_or_else(|| "none given, defaults".to_owned(), printable);
    let list = |items: &[String]| match items.is_empty() {
        true => "none".to_owned(),
        false => items.iter().map(|item| printable(item)).collect::<Vec<_>>().join(", "),
    };
    let profiles: BTreeSet<_> = report.nodes.iter().map(|node| &node.profile).collect();
    let others = match profiles.len() {
        0 | 1 => String::new(),
        count => format!("; nodes have {} other profiles", count - 1),
    };
    format!(
        "{file}: cloud {}, region {}, catalogs {}, features {}{others}",
        used.cloud,
        used.region.as_deref().map_or_else(|| "not set".to_owned(), printable),
        list(&used.catalogs),
        list(&used.features)
    )
}

/// The firewall's allowlist, if there is one, and what is worth knowing of it.
pub(super) fn allowlist(report: &Report) -> Option<(String, Vec<String>)> {
    let used = report.profile.allowlist.as_ref()?;
    let unknown = match used.not_evaluated {
        0 => String::new(),
        count => format!(", {count} of them can't be compared"),
    };
    let entries = match used.entries {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    let text = format!("{}: {entries}{unknown}", shortened(&used.files));
    let mut notes: Vec<_> = used.notes.iter().take(SHOWN).map(|note| printable(note)).collect();
    let more = used.notes.len().saturating_sub(SHOWN);
    notes.extend((more > 0).then(|| format!("and {more} more notes")));
    Some((text, notes))
}

/// What the allowlist's entries say of a destination.
pub(super) fn permits(found: &DestinationEntry) -> Vec<String> {
    let by = found.allowed_by.iter().map(|entry| format!("allowlist: {entry}"));
    let may = |entry: &Origin| {
        let what = match entry.action {
            Action::Allow => "may be allowed",
            Action::Deny => "may be denied",
        };
        let why = entry.not_evaluated.as_deref().map_or(String::new(), |why| format!(": {why}"));
        format!("allowlist: {what}, {entry}{why}")
    };
    let told = by.chain(found.undecided_by.iter().map(may));
    told.map(|line| printable(&line)).collect()
}

/// Parameters without a value, and what that does.
pub(super) fn unbound(report: &Report) -> Vec<String> {
    let is_address = |name: &str| Param::parse(name).is_some_and(Param::is_address);
    [(false, "matches any one label"), (true, "matches no address")]
        .into_iter()
        .filter_map(|(address, what)| {
            let names = report.profile.unbound.iter().filter(|name| is_address(name) == address);
            let names: Vec<_> = names.map(|name| format!("{{{}}}", printable(name))).collect();
            (!names.is_empty()).then(|| format!("no value for {}, which {what}", names.join(", ")))
        })
        .collect()
}

/// What the capture couldn't show; nothing when it shows all.
pub(super) fn limits(report: &Report) -> Vec<String> {
    let coverage = &report.coverage;
    let mut limits = Vec::new();
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    };
    add(coverage.dropped, "frames lost by the kernel");
    // ARP and the like are no loss, nor is a fragment that waits for the others.
    let harmless = ["not_ip", "netlink", "fragment_held", "fragment_late"];
    for (reason, count) in
        coverage.undecoded.iter().filter(|(reason, _)| !harmless.contains(&reason.as_str()))
    {
        add(*count, &format!("frames not decoded ({})", spaced(reason)));
    }
    for (link, count) in &coverage.unsupported_link_types {
        add(*count, &format!("frames of link type {}, which isn't supported", printable(link)));
    }
    add(coverage.midstream_flows, "connections began before the capture");
    add(coverage.one_sided, "flows seen in one direction only");
    add(coverage.evicted, "entries dropped from full tables");
    add(coverage.unnamed_flows, "flows without a name");
    limits
}

/// The commands that show the evidence, one for each file that it's in.
pub(super) fn show_commands(evidence: &[Evidence], report: &Report) -> Vec<String> {
    let mut commands = Vec::new();
    for (index, input) in (0..).zip(&report.inputs) {
        let frames: BTreeSet<_> =
            evidence.iter().filter(|item| item.input == index).map(|item| item.frame).collect();
        // Nothing was kept of a live capture that tshark could show.
        if !frames.is_empty() && input.live.is_none() {
            let path = shell_word(&printable(&input.path));
            let frames: Vec<_> = frames.iter().map(ToString::to_string).collect();
            let filter = format!("frame.number in {{{}}}", frames.join(","));
            commands.push(format!("tshark -r {path} -Y '{filter}'"));
        }
    }
    commands
}

/// Where a frame is: `frame 7`, with its input when there are several.
pub(super) fn frame(item: &Evidence, report: &Report) -> String {
    match report.inputs.len() {
        0 | 1 => format!("frame {}", item.frame),
        _ => format!("frame {} of input {}", item.frame, item.input),
    }
}

/// A word that a POSIX shell takes as it is.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        true => text.to_owned(),
        false if text.starts_with('-') => format!("'./{}'", text.replace('\'', "'\\''")),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// The names behind a pattern, where they aren't the pattern itself.
pub(super) fn seen_as(target: &TargetFinding) -> String {
    match &target.names[..] {
        [one] if *one == target.pattern => String::new(),
        names => format!(" as {}", shortened(names)),
    }
}

/// What to ask for, as one line: a merged report has a line for each answer of its nodes.
pub(super) fn advice(rule: &RuleEntry) -> Option<String> {
    rule.advice.as_ref().map(|advice| advice.lines().collect::<Vec<_>>().join(" "))
}

/// Patterns that were tried; all of them when none was.
pub(super) fn patterns(rule: &RuleEntry) -> Vec<String> {
    let tried: Vec<_> = rule.destinations.iter().filter(|d| d.attempts > 0).collect();
    let shown = if tried.is_empty() { rule.destinations.iter().collect() } else { tried };
    shown.iter().map(|target| target.pattern.clone()).collect()
}

/// Transport and ports of a rule.
pub(super) fn service(rule: &RuleEntry) -> String {
    match rule.ports.is_empty() {
        true => rule.transport.to_string(),
        false => format!("{} {}", rule.transport, rule.ports.join(",")),
    }
}

/// Transport and port of a destination.
pub(super) fn reached_by(found: &DestinationEntry) -> String {
    match (found.transport, found.port) {
        (Some(transport), Some(port)) => format!("{transport} {port}"),
        _ => "(only looked up)".to_owned(),
    }
}

/// `tcp_reset x2, established`.
pub(super) fn outcomes(outcomes: &Outcomes) -> String {
    let counted = |(outcome, count): (&Outcome, &u64)| match count {
        1 => outcome.as_str().to_owned(),
        _ => format!("{} x{count}", outcome.as_str()),
    };
    outcomes.iter().map(counted).collect::<Vec<_>>().join(", ")
}

/// A verdict as in the JSON report.
pub(super) const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Blocked => "blocked",
        Verdict::Degraded => "degraded",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NotExercised => "not_exercised",
        Verdict::Reachable => "reachable",
        Verdict::NotApplicable => "not_applicable",
    }
}

/// A verdict for people.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotExercised => "not exercised",
        Verdict::NotApplicable => "not applicable",
        other => verdict_name(other),
    }
}

/// A class as in the JSON report.
pub(super) const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Unexpected => "unexpected",
        Class::Ambiguous => "ambiguous",
        Class::Conditional => "conditional",
        Class::Allowed => "allowed",
        Class::Required => "required",
        Class::Recommended => "recommended",
        Class::Internal => "internal",
    }
}

/// What a destination's name comes from.
pub(super) const fn named_by(source: NamedBy) -> &'static str {
    match source {
        NamedBy::Sni => "TLS SNI",
        NamedBy::QuicSni => "QUIC SNI",
        NamedBy::Connect => "CONNECT",
        NamedBy::HttpHost => "HTTP Host",
        NamedBy::Lookup => "DNS query",
        NamedBy::Dns => "DNS",
        NamedBy::DnsOtherClient => "DNS of another client",
        NamedBy::Address => "nothing but the address",
    }
}

/// What a flag says; nothing where a heading says it.
pub(super) const fn flag_meaning(flag: Flag) -> Option<&'static str> {
    match flag {
        Flag::NameUncorroborated => Some(
            "the client never resolved this name to this address (hosts file, DNS over HTTPS, or domain fronting)",
        ),
        Flag::EchOuter => Some("Encrypted Client Hello: the real name is hidden behind this one"),
        Flag::Midstream => Some("some connections began before the capture"),
        Flag::ProxyBypass => Some("reached directly, although the profile has a proxy"),
        Flag::ProxySkipMissed => {
            Some("asked of the proxy, although it lies inside: add it to the proxy skip range")
        }
        Flag::Proxied => Some("reached through a proxy"),
        Flag::TcpFallback => Some("QUIC fails, but the client reached the same name over TCP"),
        Flag::Proxy => None,
    }
}

/// What the baseline has of a finding; empty without a baseline.
pub(super) const fn change(change: Option<Change>) -> &'static str {
    match change {
        None => "",
        Some(Change::New) => "new",
        Some(Change::Known) => "known",
    }
}

/// Nodes of a merged report by verdict, as in `blocked on a, b; reachable on c`.
pub(super) fn nodes(nodes: &NodesByVerdict) -> String {
    let by_verdict =
        nodes.iter().map(|(told, names)| format!("{} on {}", verdict(*told), shortened(names)));
    by_verdict.collect::<Vec<_>>().join("; ")
}

/// At most five items, and how many more there are.
pub(super) fn shortened<T: ToString>(items: &[T]) -> String {
    let shown: Vec<_> = items.iter().take(SHOWN).map(|item| printable(&item.to_string())).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A number of bytes, rounded down.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{} GB", count / 1_000_000_000),
    }
}

/// `not_ip` as `not ip`.
pub(super) fn spaced(word: &str) -> String {
    printable(word).replace('_', " ")
}

/// Text from the wire or the command line without what a terminal or a browser would obey: control
/// characters, and those that change the direction of text or are invisible (Unicode TR 36 section
/// 2.5).
pub(super) fn printable(text: &str) -> String {
    // Mostly a host name.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn is_harmless(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' | '\u{fffe}' | '\u{ffff}'
    );
    !c.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_quoted_where_needed() {
        assert_eq!(shell_word("a/b-c.pcap"), "a/b-c.pcap");
        assert_eq!(shell_word("my file"), "'my file'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("-r x"), "'./-r x'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let told = printable("a\u{1b}[2J\u{202e}moc.live\u{2066}\u{200b}\nb\u{7f}");
        assert_eq!(told, "a\u{fffd}[2J\u{fffd}moc.live\u{fffd}\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(printable("bücher – 東京"), "bücher – 東京");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(shortened(&["a", "b"]), "a, b");
        assert_eq!(shortened(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
    }
}
