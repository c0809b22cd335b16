use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use super::{LiveInput, Report};
use crate::verdict::{
    Class, DestinationFinding, Evidence, Flag, NamedBy, Outcome, Outcomes, RuleFinding,
    TargetFinding, Verdict,
};

/// Writes the report as text that can be pasted into a ticket: what is blocked comes first, each
/// with stage, proof, reason and what to ask for.
///
/// # Errors
///
/// When writing fails.
pub fn write_text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    head(report, out)?;
    for (verdict, title) in SECTIONS {
        let found: Vec<_> = report.rules.iter().filter(|rule| rule.verdict == verdict).collect();
        if !found.is_empty() {
            writeln!(out, "\n{title} ({})", found.len())?;
            found.iter().try_for_each(|rule| troubled(rule, report, out))?;
        }
    }
    let lost =
        |d: &&DestinationFinding| d.flags.contains(&Flag::Proxy) && d.verdict != Verdict::Reachable;
    destinations("PROXY NOT REACHED", lost, report, out)?;
    let bypassing = |d: &&DestinationFinding| d.flags.contains(&Flag::ProxyBypass);
    destinations(
        "PAST THE PROXY: reached directly, although the profile has one",
        bypassing,
        report,
        out,
    )?;
    let skipped = |d: &&DestinationFinding| d.flags.contains(&Flag::ProxySkipMissed);
    destinations("TO THE PROXY BY MISTAKE", skipped, report, out)?;
    for (class, title) in CLASSES {
        destinations(title, |d| d.class == class, report, out)?;
    }
    list(report, Verdict::Reachable, "REACHABLE", out)?;
    list(report, Verdict::NotExercised, "NOT EXERCISED: nobody tried while the capture ran", out)
}

/// Verdicts that need somebody's attention, worst first.
const SECTIONS: [(Verdict, &str); 3] = [
    (Verdict::Blocked, "BLOCKED"),
    (Verdict::Degraded, "DEGRADED: some attempts fail"),
    (Verdict::Inconclusive, "INCONCLUSIVE: the packets don't tell"),
];

/// Destinations that no active rule explains.
const CLASSES: [(Class, &str); 3] = [
    (Class::Unexpected, "UNEXPECTED: no rule explains these destinations"),
    (Class::Ambiguous, "AMBIGUOUS: several names are possible, or none can be known"),
    (Class::Conditional, "CONDITIONAL: a rule would explain these if its condition were on"),
];

fn head(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Egress audit")?;
    for input in &report.inputs {
        let span = match (input.first, input.last) {
            (Some(first), Some(last)) => {
                let seconds = last.since(first).as_secs_f64();
                format!(", {seconds:.1} s from {first}")
            }
            _ => String::new(),
        };
        let path = printable(&input.path.display().to_string());
        writeln!(out, "  capture   {path}: {} frames, {}{span}", input.frames, input.link_type)?;
        if let Some(damage) = &input.truncated {
            writeln!(out, "            READ ONLY IN PART: {}", printable(damage))?;
        }
        if let Some(live) = &input.live {
            captured(live, out)?;
        }
    }
    profile(report, out)?;
    coverage(report, out)?;
    let (rules, seen) = (report.summary.required, &report.summary);
    writeln!(
        out,
        "  required  {} blocked, {} degraded, {} inconclusive, {} reachable, {} not exercised",
        rules.blocked, rules.degraded, rules.inconclusive, rules.reachable, rules.not_exercised
    )?;
    writeln!(
        out,
        "  seen      {} unexpected, {} ambiguous, {} conditional, {} internal destinations",
        seen.unexpected, seen.ambiguous, seen.conditional, seen.internal
    )
}

/// What was kept from a live capture.
fn captured(live: &LiveInput, out: &mut impl Write) -> io::Result<()> {
    if let Some(filter) = &live.filter {
        writeln!(out, "            only what passes the filter `{}`", printable(filter))?;
    }
    if live.prefilter {
        writeln!(
            out,
            "            without the bulk of downloads (--prefilter): bytes in are too few, and \
             certificates may be missed"
        )?;
    }
    if let Some(last) = live.gaps.last() {
        let until = last.to.map_or_else(|| "now".to_owned(), |to| to.to_string());
        let (count, from) = (live.gap_count, last.from);
        writeln!(
            out,
            "            NOTHING SEEN while the interface was away, {count} times, last from \
             {from} to {until}"
        )?;
    }
    Ok(())
}

fn profile(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let used = &report.profile;
    let profile = &used.profile;
    let file = used.file.as_deref().map_or_else(|| "none given, defaults".to_owned(), printable);
    let join = |items: Vec<String>| match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    };
    let catalogs = profile.catalogs.iter().map(|c| printable(&c.to_string())).collect();
    let features = profile.features.iter().map(|feature| feature.name().to_owned()).collect();
    writeln!(
        out,
        "  profile   {file}: cloud {}, region {}, catalogs {}, features {}",
        profile.cloud,
        profile.region.as_deref().unwrap_or("not set"),
        join(catalogs),
        join(features)
    )?;
    let unbound = |address: bool| {
        let params = used.unbound.iter().filter(|param| param.is_address() == address);
        params.map(|param| format!("{{{}}}", param.name())).collect::<Vec<_>>()
    };
    for (params, what) in
        [(unbound(false), "matches any one label"), (unbound(true), "matches no address")]
    {
        if !params.is_empty() {
            writeln!(out, "            no value for {}, which {what}", join(params))?;
        }
    }
    Ok(())
}

/// What the capture couldn't show; nothing when it shows all.
fn coverage(report: &Report, out: &mut impl Write) -> io::Result<()> {
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
        coverage.undecoded.iter().filter(|(reason, _)| !harmless.contains(reason))
    {
        add(*count, &format!("frames not decoded ({})", reason.replace('_', " ")));
    }
    for (link, count) in &coverage.unsupported_link_types {
        add(*count, &format!("frames of link type {link}, which isn't supported"));
    }
    add(coverage.midstream_flows, "connections began before the capture");
    add(coverage.one_sided, "flows seen in one direction only");
    add(coverage.evicted, "entries dropped from full tables");
    add(coverage.unnamed_flows, "flows without a name");
    if !limits.is_empty() {
        writeln!(out, "  coverage  {}", limits.join("; "))?;
    }
    Ok(())
}

/// A rule with its failing destinations, proof, source and advice.
fn troubled(rule: &RuleFinding, report: &Report, out: &mut impl Write) -> io::Result<()> {
    let stage = rule.stage.map_or(String::new(), |stage| format!(" at {}", stage.as_str()));
    writeln!(out, "\n  {} [{}]{stage}", rule.id, rule.level.name())?;
    for target in rule.destinations.iter().filter(|target| target.attempts > 0) {
        writeln!(
            out,
            "    {} {}{}: {}, {}",
            target.pattern,
            service(rule),
            seen_as(target),
            verdict(target.verdict),
            outcomes(&target.outcomes)
        )?;
    }
    evidence(&rule.evidence, report, out)?;
    show_proof(&rule.evidence, report, out)?;
    writeln!(out, "    needed for  {}", rule.purpose)?;
    writeln!(out, "    stated in   {}, \"{}\"", rule.source.document, rule.source.section)?;
    if let Some(advice) = &rule.advice {
        writeln!(out, "    ask for     {}", printable(advice))?;
    }
    Ok(())
}

/// The names behind a pattern, where they aren't the pattern itself.
fn seen_as(target: &TargetFinding) -> String {
    match &target.names[..] {
        [one] if *one == target.pattern => String::new(),
        names => format!(" as {}", shortened(names)),
    }
}

fn destinations(
    title: &str,
    fits: impl Fn(&&DestinationFinding) -> bool,
    report: &Report,
    out: &mut impl Write,
) -> io::Result<()> {
    let found: Vec<_> = report.destinations.iter().filter(fits).collect();
    if found.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title} ({})", found.len())?;
    found.into_iter().try_for_each(|found| destination(found, report, out))
}

fn destination(
    found: &DestinationFinding,
    report: &Report,
    out: &mut impl Write,
) -> io::Result<()> {
    let service = match (found.transport, found.port) {
        (Some(transport), Some(port)) => format!(" {transport} {port}"),
        _ => " (only looked up)".to_owned(),
    };
    writeln!(out, "\n  {}{service}: {}", found.name, outcomes(&found.outcomes))?;
    let texts = |items: Vec<String>| shortened(&items);
    let clients = texts(found.clients.iter().map(ToString::to_string).collect());
    let (sent, received) = (bytes(found.bytes.out), bytes(found.bytes.inward));
    writeln!(out, "    from {clients}, {sent} out, {received} in, first {}", found.first)?;
    if !found.addresses.is_empty() {
        let addresses = texts(found.addresses.iter().map(ToString::to_string).collect());
        writeln!(out, "    address {addresses}, named by {}", named_by(found.named_by))?;
    }
    if found.candidates.len() > 1 {
        let names = texts(found.candidates.iter().map(ToString::to_string).collect());
        writeln!(out, "    DNS gave this address for {names}")?;
    }
    if let (Some(condition), Some(rule)) = (&found.condition, found.rules.first()) {
        writeln!(out, "    {rule} applies when: {condition}")?;
    }
    for meaning in found.flags.iter().filter_map(|flag| flag_meaning(*flag)) {
        writeln!(out, "    note: {meaning}")?;
    }
    evidence(&found.evidence, report, out)
}

fn evidence(evidence: &[Evidence], report: &Report, out: &mut impl Write) -> io::Result<()> {
    for item in evidence {
        let file = match report.inputs.len() {
            0 | 1 => String::new(),
            _ => format!(" of input {}", item.input),
        };
        let detail = printable(&item.detail);
        writeln!(out, "    frame {}{file}  {}  {detail}", item.frame, item.ts)?;
    }
    Ok(())
}

/// The command that shows the evidence, for each file that it's in.
fn show_proof(evidence: &[Evidence], report: &Report, out: &mut impl Write) -> io::Result<()> {
    for (index, input) in (0..).zip(&report.inputs) {
        let frames: BTreeSet<_> =
            evidence.iter().filter(|item| item.input == index).map(|item| item.frame).collect();
        if !frames.is_empty() {
            let path = shell_word(&printable(&input.path.display().to_string()));
            let frames: Vec<_> = frames.iter().map(ToString::to_string).collect();
            let filter = format!("frame.number in {{{}}}", frames.join(","));
            writeln!(out, "    show with   tshark -r {path} -Y '{filter}'")?;
        }
    }
    Ok(())
}

/// A word that a POSIX shell takes as it is.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Rules that need nobody's attention, a line each.
fn list(report: &Report, wanted: Verdict, title: &str, out: &mut impl Write) -> io::Result<()> {
    let found: Vec<_> = report.rules.iter().filter(|rule| rule.verdict == wanted).collect();
    if found.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title} ({})", found.len())?;
    for rule in found {
        let tried: Vec<_> = rule.destinations.iter().filter(|d| d.attempts > 0).collect();
        let shown = if tried.is_empty() { rule.destinations.iter().collect() } else { tried };
        let patterns: Vec<_> = shown.iter().map(|target| target.pattern.clone()).collect();
        writeln!(out, "  {:<32} {} {}", rule.id, service(rule), shortened(&patterns))?;
    }
    Ok(())
}

fn service(rule: &RuleFinding) -> String {
    match rule.ports.is_empty() {
        true => rule.transport.to_string(),
        false => format!("{} {}", rule.transport, rule.ports.join(",")),
    }
}

fn outcomes(outcomes: &Outcomes) -> String {
    let counted = |(outcome, count): (&Outcome, &u64)| match count {
        1 => outcome.as_str().to_owned(),
        _ => format!("{} x{count}", outcome.as_str()),
    };
    outcomes.iter().map(counted).collect::<Vec<_>>().join(", ")
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Blocked => "blocked",
        Verdict::Degraded => "degraded",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NotExercised => "not exercised",
        Verdict::Reachable => "reachable",
        Verdict::NotApplicable => "not applicable",
    }
}

fn named_by(source: NamedBy) -> &'static str {
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

fn flag_meaning(flag: Flag) -> Option<&'static str> {
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

/// At most five items, and how many more there are.
fn shortened(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = items[..items.len().min(SHOWN)].join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

/// Text from the wire or the command line without control characters: a terminal obeys those.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
