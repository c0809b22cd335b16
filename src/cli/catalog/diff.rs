use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use egress_auditor::catalog::{Catalog, Cloud, Compare, Diff, Requirement, Terms, Transport};

use super::{
    Format,
    import::{has_ending, import},
    load,
};

/// Exit code when something differs.
const EXIT_DIFFERS: u8 = 1;

/// Tell which endpoints came, went or changed from one catalog or document to another.
///
/// Documents (.md, .json) are imported first; `catalog import` tells what of them isn't understood.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor catalog diff outbound-2024.md outbound-2025.md
  egress-auditor catalog diff contoso.toml contoso-new.toml --format json
  egress-auditor catalog diff aks outbound-rules.md --endpoints

Exit codes: 0 no difference, 1 a difference, 2 unreadable input.")]
pub(crate) struct Args {
    /// Before: a built-in catalog, a catalog file or a document.
    #[arg(value_name = "OLD")]
    old: String,

    /// After.
    #[arg(value_name = "NEW")]
    new: String,

    /// Compare destinations, ports, transports and clouds only, not sections, levels, conditions.
    #[arg(long)]
    endpoints: bool,

    /// How to write the difference.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (old, new) = (read(&self.old)?, read(&self.new)?);
        let compare = if self.endpoints { Compare::Endpoints } else { Compare::Terms };
        let diff = Diff::new(&old.rules, &new.rules, compare);
        match self.format {
            Format::Text => print_text(&diff)?,
            Format::Json => load::print_json(&diff)?,
        }
        Ok(if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
    }
}

fn read(named: &str) -> anyhow::Result<Catalog> {
    let path = Path::new(named);
    if !has_ending(path, &["md", "markdown", "json"]) {
        return load::catalog(named);
    }
    let imported = import(path, None)?;
    let places = imported.not_understood.len();
    if places > 0 {
        eprintln!(
            "egress-auditor: {named}: {places} places to look at, see `egress-auditor catalog import {named}`"
        );
    }
    Ok(imported.catalog)
}

fn print_text(diff: &Diff) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (sign, list) in [('-', &diff.went), ('+', &diff.came)] {
        for Requirement { destination, transport, cloud, terms, .. } in list {
            write!(out, "{sign} {}", endpoint(destination, *transport, cloud, &ports(terms)))?;
            writeln!(out, "{}", stated(terms))?;
        }
    }
    for change in &diff.changed {
        let (old, new) = (&change.old, &change.new);
        let place = endpoint(&change.destination, change.transport, &change.cloud, &ports(old));
        writeln!(out, "~ {place}{}", stated(old))?;
        let none = || "none".to_owned();
        for (what, before, after) in [
            ("ports", ports(old), ports(new)),
            ("level", old.level.to_string(), new.level.to_string()),
            ("when", old.when.clone().unwrap_or_else(none), new.when.clone().unwrap_or_else(none)),
            ("needed", needed(old).into(), needed(new).into()),
            ("section", old.section.clone(), new.section.clone()),
        ] {
            if before != after {
                writeln!(out, "    {what}: {before} -> {after}")?;
            }
        }
    }
    let (went, came, changed) = (diff.went.len(), diff.came.len(), diff.changed.len());
    writeln!(out, "{came} came, {went} went, {changed} changed")?;
    out.flush()
}

fn endpoint(to: &impl Display, transport: Transport, cloud: &[Cloud], ports: &str) -> String {
    let clouds: Vec<_> = cloud.iter().map(|c| c.name()).collect();
    format!("{to} {transport} {ports} ({})", clouds.join(", "))
}

/// The section, where terms are compared.
fn stated(terms: &Terms) -> String {
    if terms.section.is_empty() { String::new() } else { format!(" in: {}", terms.section) }
}

fn ports(terms: &Terms) -> String {
    let ports: Vec<_> = terms.ports.iter().map(ToString::to_string).collect();
    if ports.is_empty() { "any port".into() } else { ports.join(",") }
}

fn needed(terms: &Terms) -> &'static str {
    if terms.alternatives { "or another" } else { "itself" }
}
