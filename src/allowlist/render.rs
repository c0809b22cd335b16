//! A diff for people.

use std::io::{self, Write};

use super::{
    change::{AllowlistChange, Difference, EntryChange, NeedChange, SiteChange},
    diff::{Diff, NeedRow, RuleRef, SeenRow, ShadowRow, WideRow},
    entry::Origin,
};
use crate::catalog::Level;

/// A heading and its rows: first line, then details.
struct Section {
    title: &'static str,
    rows: Vec<Row>,
}

/// First line, then details.
type Row = (String, Vec<String>);

/// What can be written for people.
pub trait Rendered {
    #[doc(hidden)]
    fn outline(&self) -> Outline;
}

/// A title, a sentence, sections and notes.
#[doc(hidden)]
pub struct Outline {
    title: &'static str,
    summary: String,
    sections: Vec<Section>,
    notes: Vec<String>,
}

/// Writes plain text.
///
/// # Errors
///
/// When writing fails.
pub fn write_text(what: &impl Rendered, out: &mut impl Write) -> io::Result<()> {
    let Outline { summary, sections, notes, .. } = what.outline();
    writeln!(out, "{summary}")?;
    for section in sections {
        writeln!(out, "\n{} ({})", section.title, section.rows.len())?;
        for (head, details) in &section.rows {
            writeln!(out, "  {head}")?;
            for detail in details {
                writeln!(out, "    {detail}")?;
            }
        }
    }
    if !notes.is_empty() {
        writeln!(out, "\nNotes")?;
        for note in notes {
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
pub fn write_markdown(what: &impl Rendered, out: &mut impl Write) -> io::Result<()> {
    let Outline { title, summary, sections, notes } = what.outline();
    writeln!(out, "# {title}\n")?;
    writeln!(out, "{summary}.")?;
    for section in sections {
        writeln!(out, "\n## {} ({})\n", section.title, section.rows.len())?;
        for (head, details) in &section.rows {
            writeln!(out, "- {}", escaped(head))?;
            for detail in details {
                writeln!(out, "  - {}", escaped(detail))?;
            }
        }
    }
    if !notes.is_empty() {
        writeln!(out, "\n## Notes\n")?;
        for note in notes {
            writeln!(out, "- {}", escaped(&note))?;
        }
    }
    Ok(())
}

impl Rendered for Diff {
    fn outline(&self) -> Outline {
        let summary = &self.summary;
        Outline {
            title: "Allowlist against requirements",
            summary: format!(
                "{} of {} needed destinations are allowed; {} allowlist entries, {} destinations seen",
                summary.allowed, summary.needed, summary.entries, summary.seen
            ),
            sections: sections(self),
            notes: self.notes.clone(),
        }
    }
}

impl Rendered for SiteChange {
    fn outline(&self) -> Outline {
        let plain = |ids: &[String]| ids.iter().map(|id| (id.clone(), Vec::new())).collect();
        let levels = self.levels.iter();
        let level = |(id, old, new): &(String, Level, Level)| {
            (format!("{id}: {old} before, {new} after"), Vec::new())
        };
        let all = [
            ("Needed after, not before", self.needed_now.iter().map(need_change).collect()),
            ("Needed before, not after", self.not_needed_now.iter().map(need_change).collect()),
            ("Rules that came", plain(&self.rules_came)),
            ("Rules that went", plain(&self.rules_went)),
            ("Rules on another level", levels.map(level).collect::<Vec<_>>()),
        ];
        Outline {
            title: "What changes in the requirements",
            summary: format!(
                "{} destinations come, {} go; {} rules come, {} go",
                self.needed_now.len(),
                self.not_needed_now.len(),
                self.rules_came.len(),
                self.rules_went.len()
            ),
            sections: filled(all),
            notes: Vec::new(),
        }
    }
}

impl Rendered for AllowlistChange {
    fn outline(&self) -> Outline {
        let all = [
            ("Allowed after, not before", self.allowed_now.iter().map(entry_change).collect()),
            ("Allowed before, not after", self.forbidden_now.iter().map(entry_change).collect()),
            ("Can't be told", self.undecided.iter().map(entry_change).collect::<Vec<_>>()),
        ];
        Outline {
            title: "What changes in the allowlist",
            summary: format!(
                "{} entries allow more than before, {} entries' destinations are no longer allowed in full",
                self.allowed_now.len(),
                self.forbidden_now.len()
            ),
            sections: filled(all),
            notes: self.notes.clone(),
        }
    }
}

fn need_change(row: &NeedChange) -> Row {
    let part = if row.in_part { " in part" } else { "" };
    let one_of = if row.alternative { ", one of several that do" } else { "" };
    let allowlist = row.allowlist.map(|what| format!(": {}", what.replace('_', " ")));
    let allowlist = allowlist.unwrap_or_default();
    let head = format!(
        "{} {}/{} {}{part}{one_of}{allowlist}",
        row.destination, row.ports, row.transport, row.app
    );
    let rule = |rule: &RuleRef| {
        format!(
            "{} ({}): {} [{}: {}]",
            rule.id, rule.level, rule.purpose, rule.source.document, rule.source.section
        )
    };
    let mut details: Vec<String> = row.rules.iter().map(rule).collect();
    if row.in_part {
        details.extend(row.examples.iter().map(|e| difference(e, row.transport.name())));
    }
    (head, details)
}

fn entry_change(row: &EntryChange) -> Row {
    let part = if row.in_part { " (in part)" } else { "" };
    let transport = &*row.entry.transport;
    let mut details: Vec<String> =
        row.examples.iter().map(|example| difference(example, transport)).collect();
    details.extend(row.why.iter().map(|why| format!("can't be told: {why}")));
    (format!("{}{part}", row.entry), details)
}

fn difference(row: &Difference, transport: &str) -> String {
    let by = row.denied_by.as_ref().map(|by| format!(", {by}")).unwrap_or_default();
    format!("for example: {} {}/{transport}{by}", row.example, row.ports)
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
    filled(all)
}

fn filled<const N: usize>(all: [(&'static str, Vec<Row>); N]) -> Vec<Section> {
    let sections = all.into_iter().map(|(title, rows)| Section { title, rows });
    sections.filter(|section| !section.rows.is_empty()).collect()
}

fn need(row: &NeedRow) -> Row {
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

fn seen(row: &SeenRow) -> Row {
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

fn origin(row: &Origin) -> Row {
    (row.to_string(), row.not_evaluated.iter().cloned().collect())
}

fn wide(row: &WideRow) -> Row {
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

fn shadow(row: &ShadowRow) -> Row {
    let what = if row.contradiction {
        "never takes effect, contradicted by"
    } else {
        "has no effect, covered by"
    };
    (row.entry.to_string(), vec![format!("{what}: {}", row.by)])
}
