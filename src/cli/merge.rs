use std::{io, path::PathBuf, process::ExitCode};

use anyhow::{Context, anyhow, bail};
use egress_auditor::report::{Fleet, read_json};

use super::{
    output::{Format, OutputArgs},
    site::read_text,
};

/// Put the JSON reports of many nodes together.
///
/// A report's node is named as its file, without `.json`, or as --node said when it was made.
/// Reports that were merged before may be merged again: order and grouping don't matter.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor merge nodes/*.json > fleet.json
  egress-auditor merge --format html -o fleet.html nodes/*.json
  egress-auditor merge --fail-on none rack1.json rack2.json | egress-auditor merge - rack3.json

Exit codes: 0 nothing found, 1 findings selected by --fail-on, 2 usage or input error.")]
pub(crate) struct Args {
    /// Outputs of `audit --format json` or of this command; `-` for standard input.
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,

    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,

    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut fleet = Fleet::default();
        // One at a time: thousands of reports needn't fit in memory.
        for path in &self.reports {
            let (name, text) = match path.as_os_str() == "-" {
                true => (
                    "standard input".to_owned(),
                    io::read_to_string(io::stdin()).context("standard input: cannot read")?,
                ),
                false => (path.display().to_string(), read_text(path)?),
            };
            let report = read_json(&text).map_err(|message| anyhow!("{name}: {message}"))?;
            let node = name.strip_suffix(".json").unwrap_or(&name);
            if let Err(error) = fleet.add(report, node) {
                bail!("{name}: {error}");
            }
        }
        let mut report = fleet.finish();
        if let Some(earlier) = self.output.baseline()? {
            report.compare(&earlier);
        }
        self.output.write(&report, self.format)?;
        Ok(self.output.exit_code(&report))
    }
}
