//! A diff for people.

use std::io::{self, Write};

use super::{
    diff::{Diff, NeedRow, SeenRow, ShadowRow, WideRow},
    entry::Origin,
};

/// A heading and its rows: first line, then details.
struct Section {
    title: &'static str,
    rows: Vec<(String, Vec<String>)>,
}

/// Writes plain text.
///
/// # Errors
///
/// When writing fails.
pub fn write_text(diff: &Diff, out: &mut impl Write) -> io::Result<()> {
    let summary = &diff.summary;
    writeln!(
        out,
        "{} of {} needed destinations are allowed; {} allowlist entries, {} destinations seen",
        summary.allowed, summary.needed, summary.entries, summary.seen
    )?;
    for section in sections(diff) {
        writeln!(out, "\n{} ({})", section.title, section.rows.len())?;
        for (head, details) in &section.rows {
            writeln!(out, "  {head}")?;
            for detail in details {
                writeln!(out, "    {detail}")?;
            }
        }
    }
    if !diff.notes.is_empty() {
        writeln!(out, "\nNotes")?;
        for note in &diff.notes {
            writeln!(out, "  {note}")?;
        }
    }
    Ok(())
}

/// Writes Markdown.
///
/// # Errors
///
/// When writing fails.
pub fn write_markdown(diff: &Diff, out: &mut impl Write) -> io::Result<()> {
    let summary = &diff.summary;
    writeln!(out, "# Allowlist against requirements\n")?;
    writeln!(
        out,
        "{} of {} needed destinations are allowed; {} allowlist entries, {} destinations seen.",
        summary.allowed, summary.needed, summary.entries, summary.seen
    )?;
    for section in sections(diff) {
        writeln!(out, "\n## {} ({})\n", section.title, section.rows.len())?;
        for (head, details) in &section.rows {
            writeln!(out, "- {}", escaped(head))?;
            for detail in details {
                writeln!(out, "  - {}", escaped(detail))?;
            }
        }
    }
    if !diff.notes.is_empty() {
        writeln!(out, "\n## Notes\n")?;
        for note in &diff.notes {
            writeln!(out, "- {}", escaped(note))?;
        }
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    let special = |c: char| matches!(c, '*' | '_' | '<' | '>' | '[' | ']' | '|' | '#');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn sections(diff: &Diff) -> Vec<Section> {
    let all = [
        ("Required, not allowed", diff.not_allowed.iter().map(need).collect()),
        ("Required, allowed only in part", diff.partly_allowed.iter().map(need).collect()),
        ("Required, can't be told", diff.undecided.iter().map(need).collect()),
        ("Seen, not allowed", diff.seen_not_allowed.iter().map(seen).collect()),
        ("Allowed and seen, not required", diff.not_required.iter().map(seen).collect()),
        ("Allowed, neither required nor seen", diff.stale.iter().map(origin).collect()),
        ("Wider than needed", diff.wide.iter().map(wide).collect()),
        ("Shadowed or contradictory", diff.shadowed.iter().map(shadow).collect()),
        ("Not evaluated", diff.not_evaluated.iter().map(origin).collect::<Vec<_>>()),
    ];
    let sections = all.into_iter().map(|(title, rows)| Section { title, rows });
    sections.filter(|section| !section.rows.is_empty()).collect()
}

fn need(row: &NeedRow) -> (String, Vec<String>) {
    let head = format!("{} {}/{} ({})", row.destination, row.ports, row.transport, row.level);
    let mut details: Vec<String> = row
        .rules
        .iter()
        .map(|rule| {
            format!(
                "{}: {} [{}: {}]",
                rule.id, rule.purpose, rule.source.document, rule.source.section
            )
        })
        .collect();
    for missing in row.missing.iter().filter(|m| {
        m.example != row.destination
            || m.clients.is_some()
            || m.denied_by.is_some()
            || m.ports != row.ports
    }) {
        let clients =
            missing.clients.as_ref().map(|c| format!(" from {}", c.join(", "))).unwrap_or_default();
        let by = match &missing.denied_by {
            Some(by) => format!(", {by}"),
            None => String::new(),
        };
        details.push(format!(
            "not allowed, for example: {} {}/{}{clients}{by}",
            missing.example, missing.ports, row.transport
        ));
    }
    details.extend(row.allowed_by.iter().map(|by| format!("in part: {by}")));
    details.extend(row.why.iter().map(|why| format!("can't be told: {why}")));
    (head, details)
}

fn seen(row: &SeenRow) -> (String, Vec<String>) {
    let state = if row.established { "works in the capture" } else { "didn't work in the capture" };
    let head = format!("{} {}/{} ({}; {state})", row.name, row.port, row.transport, row.class);
    let mut details: Vec<String> = row.decided_by.iter().map(ToString::to_string).collect();
    details.extend(row.maybe.iter().map(|by| format!("may be allowed: {by}")));
    if !row.conditional.is_empty() {
        details.push(format!(
            "rules whose condition is off in the profile: {}",
            row.conditional.join(", ")
        ));
    }
    (head, details)
}

fn origin(row: &Origin) -> (String, Vec<String>) {
    (row.to_string(), row.not_evaluated.iter().cloned().collect())
}

fn wide(row: &WideRow) -> (String, Vec<String>) {
    let mut details = Vec::new();
    if !row.destinations.is_empty() {
        let more = if row.more == 0 { String::new() } else { format!(" and {} more", row.more) };
        details.push(format!("would do: {}{more}", row.destinations.join(", ")));
    }
    details.push(format!("ports needed or seen: {}", row.ports));
    if !row.seen.is_empty() {
        details.push(format!("seen: {}", row.seen.join(", ")));
    }
    (row.entry.to_string(), details)
}

fn shadow(row: &ShadowRow) -> (String, Vec<String>) {
    let what = if row.contradiction {
        "never takes effect, contradicted by"
    } else {
        "has no effect, covered by"
    };
    (row.entry.to_string(), vec![format!("{what}: {}", row.by)])
}
