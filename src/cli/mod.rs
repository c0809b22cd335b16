//! Arguments and the commands behind them.

mod allowlist;
mod audit;
mod catalog;
#[cfg(feature = "live")]
mod delta;
mod diff;
mod explain;
mod files;
#[cfg(feature = "live")]
mod http;
#[cfg(feature = "live")]
mod listen;
#[cfg(feature = "live")]
mod live;
mod memory;
mod merge;
#[cfg(feature = "live")]
mod metrics;
mod observe;
mod output;
mod permitted;
mod profile;
mod progress;
mod read;
#[cfg(feature = "live")]
mod reader;
#[cfg(feature = "live")]
mod sandbox;
mod saved;
mod schema;
#[cfg(feature = "live")]
mod shared;
mod shell;
mod site;
#[cfg(feature = "live")]
mod state;
#[cfg(feature = "tui")]
mod tui;
#[cfg(feature = "live")]
mod watch;
#[cfg(feature = "live")]
mod window;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, thread::available_parallelism};

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
    Audit(Box<audit::Args>),
    Observe(observe::Args),
    Diff(diff::Args),
    Allowlist(allowlist::Args),
    Catalog(catalog::Args),
    Profile(profile::Args),
    Merge(merge::Args),
    Explain(explain::Args),
    Schema(schema::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// Where the packets come from.
#[derive(clap::Args)]
pub(crate) struct Inputs {
    /// Capture files (pcap or pcapng, also .gz or .zst), folders of them, or `-` for standard
    /// input. Several files are one capture, in the order of their first frames.
    #[arg(value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,

    /// Threads that read capture files, at most 64, and judge; all cores when not given. The report is
    /// the same with any number.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    #[cfg(feature = "live")]
    #[command(flatten)]
    live: live::LiveArgs,
}

impl Inputs {
    /// True when the packets come from interfaces.
    fn is_live(&self) -> bool {
        #[cfg(feature = "live")]
        return self.live.is_live();
        #[cfg(not(feature = "live"))]
        false
    }

    /// Threads to read files with, and to judge. Live, other cores are for who is being watched.
    fn threads(&self) -> NonZeroUsize {
        match self.is_live() {
            true => NonZeroUsize::MIN,
            false => self.threads.unwrap_or_else(all_cores),
        }
    }
}

/// As many threads as there are cores.
fn all_cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl Inputs {
    /// Capture files and folders only.
    fn of_files(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            threads: None,
            #[cfg(feature = "live")]
            live: live::LiveArgs::default(),
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
            Command::Merge(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Schema(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
        }
    }
}
