//! Arguments and the commands behind them.

mod allowlist;
mod audit;
mod catalog;
mod diff;
mod observe;
mod profile;
mod read;
mod site;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Exit code when findings were selected by --fail-on.
pub(crate) const EXIT_FINDINGS: u8 = 1;
/// Exit code for usage and input errors.
pub(crate) const EXIT_ERROR: u8 = 2;

/// Tells from packets which required destinations are blocked, which reached ones nobody expected.
#[derive(Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    propagate_version = true,
    after_help = "\
Examples:
  egress-auditor audit node.pcap
  egress-auditor audit --profile site.toml --format json captures/ > report.json
  egress-auditor observe node.pcap"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Audit(audit::Args),
    Observe(observe::Args),
    Diff(diff::Args),
    Allowlist(allowlist::Args),
    Catalog(catalog::Args),
    Profile(profile::Args),
}

/// Where the packets come from.
#[derive(clap::Args)]
pub(crate) struct Inputs {
    /// Capture files (pcap or pcapng, also .gz or .zst), folders of them, or `-` for standard
    /// input. Several files are one capture, in the order of their first frames.
    #[arg(value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,

    /// Threads that read capture files; all cores when not given. The report is the same with any
    /// number.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Capture live on this interface, or on `any`; Ctrl-C ends it with the report.
    #[cfg(feature = "capture")]
    #[arg(short = 'i', long = "interface", value_name = "IFACE", conflicts_with = "files")]
    interface: Option<String>,

    /// Capture only what this filter lets through (pcap-filter(7) syntax), with -i.
    #[cfg(feature = "capture")]
    #[arg(long, value_name = "EXPRESSION", requires = "interface")]
    filter: Option<String>,
}

impl Inputs {
    /// Capture files and folders only.
    fn of_files(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            #[cfg(feature = "capture")]
            interface: None,
            #[cfg(feature = "capture")]
            filter: None,
        }
    }
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Audit(args) => args.run(),
            Command::Observe(args) => args.run(),
            Command::Diff(args) => args.run(),
            Command::Allowlist(args) => args.run(),
            Command::Catalog(args) => args.run(),
            Command::Profile(args) => args.run(),
        }
    }
}
