use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use egress_auditor::catalog::{Imported, import_environment_checker, import_markdown};

use super::load;

/// Make a catalog file from a publisher's document.
///
/// Reads the tables of a Markdown page, or the Environment Checker's targets as JSON. The catalog
/// goes to standard output; what couldn't be understood, and sentences that look like a
/// requirement, go to standard error with their lines. Look over both before you use the catalog:
/// conditions that stand in sentences aren't read.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor catalog import outbound-rules.md -o contoso.toml
  egress-auditor catalog import targets.json --name azure-local > azure-local.toml

Exit codes: 0 there is a catalog, 2 the file can't be read or lists no destinations.")]
pub(crate) struct Args {
    /// The document: Markdown (.md) or the Environment Checker's JSON (.json).
    #[arg(value_name = "FILE.md|FILE.json")]
    file: PathBuf,

    /// The catalog's name; the file's name when left out.
    #[arg(long)]
    name: Option<String>,

    /// Write the catalog to this file instead of standard output.
    #[arg(short, long, value_name = "OUT.toml")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let imported = import(&self.file, self.name.as_deref())?;
        let shown = self.file.display();
        let mut err = io::stderr().lock();
        for place in &imported.not_understood {
            writeln!(err, "{shown}:{}: {}\n    {}", place.line, place.why, place.text)?;
        }
        let rules = imported.catalog.rules.len();
        let places = imported.not_understood.len();
        if rules == 0 {
            bail!("{shown}: no table or list of destinations found");
        }
        writeln!(err, "{shown}: {rules} rules; {places} places to look at")?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let text = format!(
            "# Imported from {}. To look over: levels, conditions (`when`), uses.\n\n{}",
            name.replace(char::is_control, " "),
            imported.catalog.to_toml()
        );
        match &self.output {
            None => io::stdout().lock().write_all(text.as_bytes())?,
            Some(path) => fs::write(path, text)
                .with_context(|| format!("{}: cannot write", path.display()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a document by its ending; `name` for the catalog is the file's when none is given.
pub(super) fn import(path: &Path, name: Option<&str>) -> anyhow::Result<Imported> {
    let document = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.unwrap_or(&document);
    let text = load::text(path)?;
    if has_ending(path, &["json"]) {
        import_environment_checker(&text, name, &document)
            .with_context(|| path.display().to_string())
    } else if has_ending(path, &["md", "markdown"]) {
        Ok(import_markdown(&text, name, &document))
    } else {
        bail!("{}: a document's name ends in .md or .json", path.display())
    }
}

/// True for the ending, in any case.
pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    endings.iter().any(|e| ending.eq_ignore_ascii_case(e))
}
