//! `catalog`: look at requirements, check them, make them from documents, compare them.

mod diff;
mod import;
mod lint;
mod list;
mod load;
mod show;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

/// Show, check, import and compare catalogs of required destinations.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Lint(lint::Args),
    Import(import::Args),
    Diff(diff::Args),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(args) => args.run(),
            Command::Show(args) => args.run(),
            Command::Lint(args) => args.run(),
            Command::Import(args) => args.run(),
            Command::Diff(args) => args.run(),
        }
    }
}
