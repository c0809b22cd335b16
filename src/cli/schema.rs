use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use egress_auditor::report::{observation_schema, profile_schema, report_schema};

/// Print the JSON Schema of what this command writes or reads.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor schema report > report.schema.json
  egress-auditor schema observations")]
pub(crate) struct Args {
    /// Of what.
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, ValueEnum)]
enum Of {
    /// The report of `audit --format json`.
    Report,
    /// A line of `observe`.
    Observations,
    /// The file of --profile.
    Profile,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let schema = match self.of {
            Of::Report => report_schema(),
            Of::Observations => observation_schema(),
            Of::Profile => profile_schema(),
        };
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &schema)?;
        out.write_all(b"\n")?;
        Ok(ExitCode::SUCCESS)
    }
}
