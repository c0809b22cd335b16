use std::io::{self, Write};

use super::{
    DestinationEntry, Report, RuleEntry, witness,
    wording::{
        InputText, advice, allowlist, bytes, change, class_name, flag_meaning, frame, headline,
        inputs, is_lost_proxy, limits, nodes, outcomes, patterns, permits, printable, profile,
        reached_by, seen_as, service, shortened, show_commands, unbound, verdict,
    },
};
use crate::verdict::{Class, Evidence, Verdict};

/// Writes the report as Markdown (GitHub's flavour), to paste into a ticket.
///
/// # Errors
///
/// When writing fails.
pub fn write_markdown(report: &Report, out: &mut impl Write) -> io::Result<()> {
    head(report, out)?;
    for (wanted, title) in SECTIONS {
        let found: Vec<_> = report.rules.iter().filter(|rule| rule.verdict == wanted).collect();
        if !found.is_empty() {
            writeln!(out, "\n## {title} ({})", found.len())?;
            found.into_iter().try_for_each(|rule| troubled(rule, report, out))?;
        }
    }
    let lost: Vec<_> = report.destinations.iter().filter(|found| is_lost_proxy(found)).collect();
    if !lost.is_empty() {
        writeln!(out, "\n## Proxy not reached ({})\n", lost.len())?;
        destinations(&lost, report, out)?;
    }
    for (class, title) in CLASSES {
        let found: Vec<_> = report.destinations.iter().filter(|d| d.class == class).collect();
        if !found.is_empty() {
            writeln!(out, "\n## {title} ({})\n", found.len())?;
            destinations(&found, report, out)?;
        }
    }
    if let Some(log) = &report.firewall_log {
        // Indented as code: nothing in it is markup.
        writeln!(out, "\n## Firewall log\n")?;
        let mut lines = witness::lines(log).into_iter();
        lines.try_for_each(|text| writeln!(out, "    {}", printable(&text)))?;
    }
    for (wanted, title) in LISTS {
        let found: Vec<_> = report.rules.iter().filter(|rule| rule.verdict == wanted).collect();
        if !found.is_empty() {
            writeln!(out, "\n## {title} ({})\n", found.len())?;
            rules(&found, out)?;
        }
    }
    gone(report, out)
}

const SECTIONS: [(Verdict, &str); 3] = [
    (Verdict::Blocked, "Blocked"),
    (Verdict::Degraded, "Degraded: some attempts fail"),
    (Verdict::Inconclusive, "Inconclusive: the packets don't tell"),
];

const CLASSES: [(Class, &str); 7] = [
    (Class::Unexpected, "Unexpected destinations: no rule explains them"),
    (Class::Ambiguous, "Ambiguous destinations: several names are possible, or none"),
    (Class::Conditional, "Conditional destinations: a rule's condition is off"),
    (Class::Allowed, "Allowed destinations: only the firewall's allowlist explains them"),
    (Class::Required, "Required destinations"),
    (Class::Recommended, "Recommended destinations"),
    (Class::Internal, "Internal destinations"),
];

const LISTS: [(Verdict, &str); 3] = [
    (Verdict::Reachable, "Reachable"),
    (Verdict::NotExercised, "Not exercised: nobody tried while the capture ran"),
    (Verdict::NotApplicable, "Not applicable: the rule's condition is off"),
];

fn head(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# Egress audit\n\n**{}**\n", headline(report))?;
    let (rules, seen) = (report.summary.required, &report.summary);
    writeln!(
        out,
        "| required rules | blocked | degraded | inconclusive | reachable | not exercised |\n\
         |---|---:|---:|---:|---:|---:|\n| | {} | {} | {} | {} | {} |\n",
        rules.blocked, rules.degraded, rules.inconclusive, rules.reachable, rules.not_exercised
    )?;
    writeln!(
        out,
        "| destinations | unexpected | ambiguous | conditional | allowed | internal |\n\
         |---|---:|---:|---:|---:|---:|\n| | {} | {} | {} | {} | {} |\n",
        seen.unexpected, seen.ambiguous, seen.conditional, seen.allowed, seen.internal
    )?;
    for InputText { path, size, damage, notes } in inputs(report) {
        writeln!(out, "- Capture {}: {}", code(&path), plain(&size))?;
        if let Some(damage) = damage {
            writeln!(out, "  - **Read only in part**: {}", plain(&damage))?;
        }
        notes.iter().try_for_each(|note| writeln!(out, "  - {}", plain(note)))?;
    }
    writeln!(out, "- Profile {}", plain(&profile(report)))?;
    unbound(report).iter().try_for_each(|lack| writeln!(out, "- {}", code(lack)))?;
    if let Some((used, notes)) = allowlist(report) {
        writeln!(out, "- Allowlist {}", plain(&used))?;
        notes.iter().try_for_each(|note| writeln!(out, "  - {}", plain(note)))?;
    }
    if !report.nodes.is_empty() {
        let names: Vec<_> = report.nodes.iter().map(|node| &node.name).collect();
        writeln!(out, "- {} nodes: {}", names.len(), code(&shortened(&names)))?;
    }
    let limits = limits(report);
    if !limits.is_empty() {
        writeln!(out, "- Coverage: {}", plain(&limits.join("; ")))?;
    }
    if let Some(baseline) = &report.baseline {
        let (new, known, gone) = (baseline.new, baseline.known, baseline.gone.len());
        writeln!(out, "- Since the baseline: {new} new, {known} known, {gone} gone")?;
    }
    Ok(())
}

fn troubled(rule: &RuleEntry, report: &Report, out: &mut impl Write) -> io::Result<()> {
    let stage = rule.stage.map_or(String::new(), |stage| format!(" at {}", stage.as_str()));
    let mark = change(rule.change);
    let mark = if mark.is_empty() { String::new() } else { format!(" ({mark})") };
    let told = verdict(rule.verdict);
    writeln!(out, "\n### {}: {told}{stage}{mark}\n", code(&rule.id))?;
    for target in rule.destinations.iter().filter(|target| target.attempts > 0) {
        writeln!(
            out,
            "- {} {}{}: **{}**, {}",
            code(&target.pattern),
            service(rule),
            plain(&seen_as(target)),
            verdict(target.verdict),
            outcomes(&target.outcomes)
        )?;
    }
    if let Some(advice) = advice(rule) {
        writeln!(out, "- **Ask for:** {}", plain(&advice))?;
    }
    writeln!(out, "- Level {}; needed for: {}", rule.level.name(), plain(&rule.purpose))?;
    let source = &rule.source;
    writeln!(out, "- Stated in {}, \"{}\"", plain(&source.document), plain(&source.section))?;
    if !rule.nodes.is_empty() {
        writeln!(out, "- Nodes: {}", plain(&nodes(&rule.nodes)))?;
    }
    proof(&rule.evidence, report, out)
}

fn proof(evidence: &[Evidence], report: &Report, out: &mut impl Write) -> io::Result<()> {
    if evidence.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| evidence | time | outcome | what it shows |\n|---|---|---|---|")?;
    for item in evidence {
        let (place, outcome) = (frame(item, report), item.outcome.as_str());
        writeln!(out, "| {place} | {} | `{outcome}` | {} |", item.ts, plain(&item.detail))?;
    }
    let commands = show_commands(evidence, report);
    writeln!(out, "\n```sh\n{}\n```", commands.join("\n"))
}

fn destinations(
    found: &[&DestinationEntry],
    report: &Report,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        out,
        "| destination | service | class | verdict | outcomes | out | in | clients | first seen | frames | notes |\n\
         |---|---|---|---|---|---:|---:|---|---|---|---|"
    )?;
    for one in found {
        let frames: Vec<_> = one.evidence.iter().map(|item| frame(item, report)).collect();
        let (sent, received) = (bytes(one.bytes.out), bytes(one.bytes.inward));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {sent} | {received} | {} | {} | {} | {} |",
            code(&one.name),
            reached_by(one),
            class_name(one.class),
            verdict(one.verdict),
            outcomes(&one.outcomes),
            shortened(&one.clients),
            one.first,
            frames.join(", "),
            plain(&notes(one))
        )?;
    }
    Ok(())
}

fn notes(found: &DestinationEntry) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(found.flags.iter().filter_map(|flag| flag_meaning(*flag)).map(str::to_owned));
    if found.candidates.len() > 1 {
        notes.push(format!("DNS gave this address for {}", shortened(&found.candidates)));
    }
    notes.extend(found.condition.as_ref().map(|condition| format!("condition: {condition}")));
    notes.extend(permits(found));
    let change = change(found.change);
    notes.extend((!change.is_empty()).then(|| change.to_owned()));
    notes.extend((!found.nodes.is_empty()).then(|| nodes(&found.nodes)));
    notes.join("; ")
}

fn rules(found: &[&RuleEntry], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| rule | verdict | level | service | destinations |\n|---|---|---|---|---|")?;
    for rule in found {
        let (id, level, told) = (code(&rule.id), rule.level.name(), verdict(rule.verdict));
        let patterns = code(&shortened(&patterns(rule)));
        writeln!(out, "| {id} | {told} | {level} | {} | {patterns} |", service(rule))?;
    }
    Ok(())
}

fn gone(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Some(baseline) = report.baseline.as_ref().filter(|baseline| !baseline.gone.is_empty())
    else {
        return Ok(());
    };
    writeln!(out, "\n## Gone since the baseline ({})\n", baseline.gone.len())?;
    writeln!(out, "| what | was | is |\n|---|---|---|")?;
    for gone in &baseline.gone {
        let what = gone.rule.as_ref().or(gone.destination.as_ref());
        let now = gone.now.as_deref().unwrap_or("not in this report");
        let what = code(what.map_or("", String::as_str));
        writeln!(out, "| {what} | {} | {} |", plain(&gone.was), plain(now))?;
    }
    Ok(())
}

/// A code span, in which nothing is a link or markup; also inside tables.
fn code(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!("`{}`", printable(text).replace('`', "'").replace('|', "\\|")),
    }
}

/// Text without markup.
fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for c in printable(text).chars() {
        if "\\`*_[]<>|#~&@".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    // GitHub makes links of bare addresses.
    escaped.replace("://", "\\://").replace("www.", "www\\.")
}
