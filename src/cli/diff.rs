use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use egress_auditor::{
    allowlist::{
        self, Allowlist, AllowlistChange, Context as ReadContext, Diff, FqdnTags, Input, Policy,
        Rendered, Seen, SiteChange, diff, read_report, write_markdown, write_text,
    },
    catalog::{Level, ServiceTags, Site},
    source::SourceError,
    verdict::judge,
};
use serde::Serialize;

use super::{
    EXIT_ERROR, EXIT_FINDINGS, Inputs,
    read::{Reading, read},
    site::{SiteArgs, read_text, resolvers},
};

/// Compare what is required, what the firewall allows, and what was seen.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor diff --profile site.toml --allowlist policy.json
  egress-auditor diff --allowlist squid.conf --report report.json --format md
  egress-auditor diff --profile site.toml --allowlist policy.json captures/
  egress-auditor diff --profile site.toml --against-profile next.toml --allowlist policy.json
  egress-auditor diff --profile site.toml --catalog aks --against-catalog aks-next.toml
  egress-auditor diff --allowlist policy.json --against-allowlist policy-next.json
  az network firewall policy rule-collection-group list -g RG --policy-name P | \\
    egress-auditor diff --profile site.toml --service-tags ServiceTags_Public.json --allowlist -

Exit codes: 0 nothing found, 1 differences selected by --fail-on, 2 usage or input error.
With --against-... it is 1 when anything changes, unless --fail-on none.
All files given with --allowlist are one policy. For two devices in series compare with each.")]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,

    #[command(flatten)]
    allowlist: AllowlistArgs,

    /// Instead: what changes when moving to this profile. With --allowlist, whether it is allowed.
    #[arg(long, value_name = "FILE", group = "against")]
    against_profile: Option<PathBuf>,

    /// Instead: what changes with these catalogs in place of the profile's, such as another version
    /// of one; repeatable.
    #[arg(long, value_name = "NAME|FILE", group = "against")]
    against_catalog: Vec<String>,

    /// Instead: what is allowed, or no longer allowed, when this allowlist takes the place of that
    /// of --allowlist; repeatable, all files are one policy.
    #[arg(long, value_name = "FILE", group = "against", requires = "allowlist")]
    against_allowlist: Vec<PathBuf>,

    /// What was seen: capture files as `audit` takes them, folders of them, or `-` for standard
    /// input.
    #[arg(value_name = "CAPTURE|DIR|-", conflicts_with = "against")]
    captures: Vec<PathBuf>,

    /// What was seen: the output of `audit --format json`; repeatable.
    #[arg(long, value_name = "REPORT.json", conflicts_with = "against")]
    report: Vec<PathBuf>,

    /// How to write the differences.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Exit with 1 when there are differences of these classes; `none` for never.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "not-allowed,partly,seen-not-allowed"
    )]
    fail_on: Vec<FailOn>,
}

/// What the firewall allows.
#[derive(clap::Args)]
struct AllowlistArgs {
    /// The firewall's allowlist in its own format, `-` for standard input; repeatable.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["against_profile", "against_catalog"]
    )]
    allowlist: Vec<PathBuf>,

    #[command(flatten)]
    reading: ReadingArgs,
}

/// How allowlists are read.
#[derive(clap::Args)]
pub(super) struct ReadingArgs {
    /// The allowlists' format, when it isn't detected rightly.
    #[arg(long, value_enum, value_name = "FORMAT")]
    allowlist_format: Option<AllowlistFormat>,

    /// What FQDN tags stand for: a JSON or TOML mapping from tag to list of names.
    #[arg(long, value_name = "FILE")]
    fqdn_tags: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum AllowlistFormat {
    /// A destination a line.
    Plain,
    /// With a heading line.
    Csv,
    /// External dynamic list.
    Edl,
    /// ARM template, compiled Bicep, or the CLI's output.
    AzureFirewall,
    /// Terraform with azurerm_firewall resources.
    AzureFirewallTerraform,
    /// Cilium, Calico or Kubernetes network policies.
    Kubernetes,
    /// Squid configuration.
    Squid,
    /// Domain lists of AWS Network Firewall.
    AwsNetworkFirewall,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For tickets.
    Md,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Required and not allowed.
    NotAllowed,
    /// Required and allowed only in part.
    Partly,
    /// Required, and it can't be told whether it is allowed.
    Undecided,
    /// Recommended or conditional, and not allowed in full.
    Recommended,
    /// Seen and not allowed.
    SeenNotAllowed,
    /// Allowed and seen, not required.
    NotRequired,
    /// Allowed, neither required nor seen.
    Stale,
    /// Wider than needed.
    Wide,
    /// Shadowed or contradictory rules.
    Shadowed,
    /// Never.
    None,
}

/// What was seen, by reports and captures.
#[derive(Default)]
struct Observed {
    /// `None` when there are neither.
    seen: Option<Vec<Seen>>,
    /// What of the captures couldn't be read.
    errors: Vec<SourceError>,
    /// True when the user broke off.
    interrupted: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (site, tags) = self.site.load()?;
        if !self.against_allowlist.is_empty() {
            let reading = &self.allowlist.reading;
            let before = reading.read(&self.allowlist.allowlist, tags.as_ref())?;
            let after = reading.read(&self.against_allowlist, tags.as_ref())?;
            let change = AllowlistChange::new(&before, &after);
            self.write(&change)?;
            return Ok(self.code(!change.is_empty()));
        }
        if self.against_profile.is_some() || !self.against_catalog.is_empty() {
            let after =
                self.site.against(self.against_profile.as_deref(), &self.against_catalog)?;
            let files = &self.allowlist.allowlist;
            let list = (!files.is_empty())
                .then(|| self.allowlist.reading.read(files, tags.as_ref()))
                .transpose()?;
            let policy = list.as_ref().map(Policy::new);
            let change = SiteChange::new(&site, &after, policy.as_ref());
            self.write(&change)?;
            return Ok(self.code(!change.is_empty()));
        }
        let list = self.allowlist.reading.read(&self.allowlist.allowlist, tags.as_ref())?;
        let Observed { seen, errors, interrupted } = self.seen(&site)?;
        let found = diff(&site, &Policy::new(&list), seen.as_deref());
        self.write(&found)?;
        if interrupted {
            eprintln!("egress-auditor: interrupted: what was seen is what was read until then");
        }
        for error in &errors {
            eprintln!("egress-auditor: {error}");
        }
        Ok(match () {
            () if !errors.is_empty() => ExitCode::from(EXIT_ERROR),
            () if self.fail_on.iter().any(|class| class.selects(&found)) => {
                ExitCode::from(EXIT_FINDINGS)
            }
            () => ExitCode::SUCCESS,
        })
    }

    fn write(&self, found: &(impl Rendered + Serialize)) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Text => write_text(found, &mut out)?,
            Format::Md => write_markdown(found, &mut out)?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, found)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(out.flush()?)
    }

    fn code(&self, differs: bool) -> ExitCode {
        match differs && !self.fail_on.contains(&FailOn::None) {
            true => ExitCode::from(EXIT_FINDINGS),
            false => ExitCode::SUCCESS,
        }
    }

    /// What reports and captures show.
    fn seen(&self, site: &Site) -> anyhow::Result<Observed> {
        if self.report.is_empty() && self.captures.is_empty() {
            return Ok(Observed::default());
        }
        let mut seen = Vec::new();
        for report in &self.report {
            seen.extend(load_report(report)?);
        }
        if self.captures.is_empty() {
            return Ok(Observed { seen: Some(seen), ..Observed::default() });
        }
        let inputs = Inputs::of_files(self.captures.clone());
        let reading = read(&inputs, resolvers(site.profile()), false, &mut ())?;
        // The same form as a report's, so that both ways give the same.
        let destinations = serde_json::to_value(judge(&reading.census, site).destinations)?;
        seen.extend(serde_json::from_value::<Vec<Seen>>(destinations)?);
        let Reading { errors, interrupted, .. } = reading;
        Ok(Observed { seen: Some(seen), errors, interrupted })
    }
}

impl ReadingArgs {
    /// True when some option about reading is given.
    pub(super) fn is_given(&self) -> bool {
        self.allowlist_format.is_some() || self.fqdn_tags.is_some()
    }

    /// The file that is read beside the allowlists, if any.
    #[cfg(feature = "live")]
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.fqdn_tags.as_ref()
    }

    pub(super) fn read(
        &self,
        files: &[PathBuf],
        tags: Option<&ServiceTags>,
    ) -> anyhow::Result<Allowlist> {
        let fqdn_tags = self.fqdn_tags.as_deref().map(load_fqdn_tags).transpose()?;
        let context = ReadContext { service_tags: tags, fqdn_tags: fqdn_tags.as_ref() };
        let mut texts = Vec::new();
        for path in files {
            let (name, text) = match path.as_os_str() == "-" {
                true => (
                    "standard input".to_owned(),
                    io::read_to_string(io::stdin()).context("standard input: cannot read")?,
                ),
                false => (path.display().to_string(), read_text(path)?),
            };
            texts.push((name, text));
        }
        let format = self.allowlist_format.map(AllowlistFormat::into_library);
        let inputs: Vec<Input<'_>> =
            texts.iter().map(|(file, text)| Input { file, text, format }).collect();
        Ok(Allowlist::read(&inputs, context)?)
    }
}

impl AllowlistFormat {
    fn into_library(self) -> allowlist::Format {
        match self {
            Self::Plain => allowlist::Format::Plain,
            Self::Csv => allowlist::Format::Csv,
            Self::Edl => allowlist::Format::Edl,
            Self::AzureFirewall => allowlist::Format::AzureFirewall,
            Self::AzureFirewallTerraform => allowlist::Format::AzureFirewallTerraform,
            Self::Kubernetes => allowlist::Format::Kubernetes,
            Self::Squid => allowlist::Format::Squid,
            Self::AwsNetworkFirewall => allowlist::Format::AwsNetworkFirewall,
        }
    }
}

impl FailOn {
    fn selects(self, diff: &Diff) -> bool {
        let required =
            |rows: &[allowlist::NeedRow]| rows.iter().any(|row| row.level == Level::Required);
        match self {
            Self::NotAllowed => required(&diff.not_allowed),
            Self::Partly => required(&diff.partly_allowed),
            Self::Undecided => required(&diff.undecided),
            Self::Recommended => diff
                .not_allowed
                .iter()
                .chain(&diff.partly_allowed)
                .any(|row| row.level != Level::Required),
            Self::SeenNotAllowed => !diff.seen_not_allowed.is_empty(),
            Self::NotRequired => !diff.not_required.is_empty(),
            Self::Stale => !diff.stale.is_empty(),
            Self::Wide => !diff.wide.is_empty(),
            Self::Shadowed => !diff.shadowed.is_empty(),
            Self::None => false,
        }
    }
}

pub(super) fn load_report(path: &Path) -> anyhow::Result<Vec<Seen>> {
    read_report(&read_text(path)?).map_err(|message| anyhow!("{}: {message}", path.display()))
}

fn load_fqdn_tags(path: &Path) -> anyhow::Result<FqdnTags> {
    FqdnTags::parse(&read_text(path)?).map_err(|message| anyhow!("{}: {message}", path.display()))
}
