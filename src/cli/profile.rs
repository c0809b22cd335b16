use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Subcommand;
use egress_auditor::catalog::Profile;

/// Start and check the file that describes a site.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented profile to start from. An existing file is left alone.
    #[command(after_help = "\
Examples:
  egress-auditor profile init -o site.toml
  egress-auditor profile init > site.toml")]
    Init {
        /// Write it to this new file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Tell whether a profile can be used: exit code 0, or 2 with the mistake.
    Check {
        /// The profile.
        file: PathBuf,
    },
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Init { output: None } => {
                io::stdout().lock().write_all(Profile::template().as_bytes())?;
            }
            Command::Init { output: Some(path) } => create(&path, Profile::template())?,
            Command::Check { file } => check(&file)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Somebody's own profile must not be lost.
fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{}: cannot write", path.display()))
}

fn check(path: &Path) -> anyhow::Result<()> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("{shown}: cannot read"))?;
    let profile = Profile::parse(&text, &shown)?;
    let catalogs: Vec<_> = profile.catalogs.iter().map(ToString::to_string).collect();
    let features: Vec<_> = profile.features.iter().map(|f| f.name()).collect();
    let list = |items: &[&str]| if items.is_empty() { "none".into() } else { items.join(", ") };
    let mut out = io::stdout().lock();
    writeln!(out, "{shown}: can be used")?;
    writeln!(out, "cloud: {}", profile.cloud)?;
    writeln!(out, "region: {}", profile.region.as_deref().unwrap_or("not given"))?;
    writeln!(out, "catalogs: {}", catalogs.join(", "))?;
    writeln!(out, "features: {}", list(&features))?;
    Ok(())
}
