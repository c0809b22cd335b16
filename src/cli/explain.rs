use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use egress_auditor::{
    catalog::{Catalog, Rule, builtin, names},
    report::{explain, explainable},
};

use super::site::read_text;

/// Tell what a rule, outcome, verdict, class, flag or reason means.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor explain tls_reset
  egress-auditor explain degraded
  egress-auditor explain aks/core/mcr

Without a word it lists what can be explained.")]
pub(crate) struct Args {
    /// A rule's id, or a word of the report.
    word: Option<String>,

    /// Also look for the rule in these catalog files.
    #[arg(long, value_name = "FILE")]
    catalog: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match &self.word {
            Some(word) => told(word, &self.catalog),
            None => {
                let mut out = io::stdout().lock();
                for (kind, words) in explainable() {
                    writeln!(out, "{kind}: {}", words.join(", "))?;
                }
                writeln!(out, "rule: the ids that `catalog show` lists")?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Prints what a word means.
pub(super) fn told(word: &str, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut parts = explain(word);
    let mut catalogs: Vec<Catalog> = names().filter_map(builtin).collect();
    for file in files {
        catalogs.push(Catalog::parse(&read_text(file)?, &file.display().to_string())?);
    }
    let rules = catalogs.iter().flat_map(|catalog| &catalog.rules);
    parts.extend(rules.clone().filter(|rule| rule.id == word).map(rule));
    if parts.is_empty() {
        let near = rules.map(|rule| rule.id.as_str()).filter(|id| id.contains(word));
        let near: Vec<_> = near.take(8).collect();
        match near.is_empty() {
            true => bail!("nothing is called `{word}`: `explain` alone lists the words"),
            false => bail!("nothing is called `{word}`: did you mean {}?", near.join(", ")),
        }
    }
    io::stdout().lock().write_all(parts.join("\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn rule(rule: &Rule) -> String {
    let ports: Vec<_> = rule.ports.iter().map(ToString::to_string).collect();
    let mut text = format!("{}: rule\n  {}\n", rule.id, rule.purpose);
    let mut add = |what: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("  {what:<11} {value}\n"));
        }
    };
    add("service", rule.service.clone());
    add("level", rule.level.to_string());
    add("clouds", rule.cloud.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    add("when", rule.when.as_ref().map(ToString::to_string).unwrap_or_default());
    let destinations: Vec<_> = rule.destinations.iter().map(ToString::to_string).collect();
    let all = if rule.alternatives { " (one of them is enough)" } else { "" };
    add("reach", destinations.join(", ") + all);
    add("on", format!("{} {}", rule.transport, ports.join(", ")).trim().to_owned());
    add("stated in", format!("{}, \"{}\"", rule.source.document, rule.source.section));
    text
}
