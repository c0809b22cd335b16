//! What a shell and `man` know of the command.

use std::{fs, io, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Print a script that completes this command in a shell.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor completions bash > /etc/bash_completion.d/egress-auditor
  egress-auditor completions zsh > ~/.zfunc/_egress-auditor
  egress-auditor completions fish > ~/.config/fish/completions/egress-auditor.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Print the manual page, or write those of all commands into a folder.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor man | man -l -
  egress-auditor man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder.
    folder: Option<PathBuf>,
}

impl CompletionsArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), NAME, &mut script);
        io::Write::write_all(&mut io::stdout().lock(), &script)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ManArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let command = Cli::command().name(NAME);
        match &self.folder {
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                io::Write::write_all(&mut io::stdout().lock(), &page)?;
            }
            Some(folder) => {
                let context = || format!("{}: cannot write", folder.display());
                fs::create_dir_all(folder).with_context(context)?;
                clap_mangen::generate_to(command, folder).with_context(context)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

const NAME: &str = "egress-auditor";
