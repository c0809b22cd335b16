//! The firewall's allowlist, for `audit`.

use std::path::PathBuf;

use anyhow::bail;
use egress_auditor::{
    allowlist::Allowlist,
    catalog::ServiceTags,
    report::{AllowlistUsed, ProfileUsed},
};

use super::{Inputs, diff::ReadingArgs};

/// What the firewall permits.
#[derive(clap::Args)]
pub(super) struct PermittedArgs {
    /// The firewall's allowlist in its own format, as `diff` reads it, `-` for standard input;
    /// repeatable, all files are one policy. Destinations that it permits and no rule explains are
    /// `allowed`, not `unexpected`. Changes no verdict.
    #[arg(long, value_name = "FILE")]
    allowlist: Vec<PathBuf>,

    #[command(flatten)]
    reading: ReadingArgs,
}

impl PermittedArgs {
    /// Refuses what can't work.
    pub(super) fn check(&self, inputs: &Inputs) -> anyhow::Result<()> {
        if self.allowlist.is_empty() && self.reading.is_given() {
            bail!("--allowlist-format and --fqdn-tags are about --allowlist, which isn't given");
        }
        let stdin = |files: &[PathBuf]| files.iter().filter(|f| f.as_os_str() == "-").count();
        match stdin(&self.allowlist) {
            0 => Ok(()),
            _ if inputs.is_live() => {
                bail!("--allowlist -: with -i it must be a file, which SIGHUP reads anew")
            }
            1 if stdin(&inputs.files) == 0 => Ok(()),
            _ => bail!("standard input can be read only once"),
        }
    }

    /// The allowlist; `None` when there is none.
    pub(super) fn read(&self, tags: Option<&ServiceTags>) -> anyhow::Result<Option<Allowlist>> {
        match self.allowlist.is_empty() {
            true => Ok(None),
            false => self.reading.read(&self.allowlist, tags).map(Some),
        }
    }

    /// The files that [`Self::read`] reads.
    #[cfg(feature = "live")]
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.allowlist.iter().chain(self.reading.file()).cloned()
    }

    /// Says in the report what was read.
    pub(super) fn note(&self, list: Option<&Allowlist>, used: &mut ProfileUsed) {
        let files = || self.allowlist.iter().map(|path| path.display().to_string()).collect();
        used.allowlist = list.map(|list| AllowlistUsed::new(files(), list));
    }
}
