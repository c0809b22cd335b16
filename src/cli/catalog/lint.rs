use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use egress_auditor::catalog::{Finding, builtin, lint, lint_text, names};

use super::{Format, load};

/// Exit code when there is more than hints.
const EXIT_PROBLEMS: u8 = 1;

/// Tell what is wrong or odd in catalogs.
///
/// Errors: what can't be read as rules, such as a misspelt feature or placeholder. Warnings: with
/// a profile, parameters and roles that it doesn't bind. Hints: duplicates, rules that a wider one
/// covers, `*.x` without x.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor catalog lint contoso.toml
  egress-auditor catalog lint --profile site.toml
  egress-auditor catalog lint aks --format json

Exit codes: 0 no errors or warnings (hints don't count), 1 errors or warnings, 2 unreadable input.")]
pub(crate) struct Args {
    /// Built-in catalogs and catalog files; without any, the profile's, or all built-in ones.
    #[arg(value_name = "NAME|FILE")]
    named: Vec<String>,

    /// Look only at rules that apply at this site, and tell what it leaves unbound.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// How to write the findings: JSON is one array.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(serde::Serialize)]
struct Entry {
    catalog: String,
    severity: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let profile = self.profile.as_deref().map(load::profile).transpose()?;
        let named: Vec<String> = match (&profile, &self.profile) {
            _ if !self.named.is_empty() => self.named,
            (Some(profile), Some(path)) => load::catalogs_of(profile, path),
            _ => names().map(str::to_owned).collect(),
        };
        let mut entries = Vec::new();
        for catalog in named {
            let findings = match builtin(&catalog) {
                Some(builtin) => lint(&builtin.rules, profile.as_ref()),
                None => lint_text(&load::file(&catalog)?, &catalog, profile.as_ref()),
            };
            entries.extend(findings.into_iter().map(|finding| Entry {
                catalog: catalog.clone(),
                severity: finding.kind.severity(),
                finding,
            }));
        }
        match self.format {
            Format::Text => print_text(&entries)?,
            Format::Json => load::print_json(&entries)?,
        }
        let problems = entries.iter().any(|entry| entry.severity != "hint");
        Ok(if problems { ExitCode::from(EXIT_PROBLEMS) } else { ExitCode::SUCCESS })
    }
}

fn print_text(entries: &[Entry]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for Entry { catalog, finding, .. } in entries {
        match finding.place {
            Some(_) => writeln!(out, "{finding}")?,
            None => writeln!(out, "{catalog}: {finding}")?,
        }
    }
    let count = |severity| entries.iter().filter(|e| e.severity == severity).count();
    let (errors, warnings, hints) = (count("error"), count("warning"), count("hint"));
    writeln!(out, "{errors} errors, {warnings} warnings, {hints} hints")?;
    out.flush()
}
