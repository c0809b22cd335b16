use std::{mem::ManuallyDrop, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use egress_auditor::{
    allowlist::{LogReader, Policy},
    catalog::Site,
    report::{Report, Witness, join},
    scan::Census,
    source::InputStats,
};

use super::{
    EXIT_ERROR, Inputs,
    explain::told,
    output::{Format, OutputArgs},
    permitted::PermittedArgs,
    read::read,
    saved::{self, Saved, SavedInput},
    site::{SiteArgs, read_text, resolvers},
};

/// Judge captured traffic by the publisher's requirements.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor audit node.pcap
  egress-auditor audit --profile site.toml --format json captures/ > report.json
  egress-auditor audit --profile site.toml --format html -o report.html node.pcap
  tcpdump -w - -i eth0 | egress-auditor audit -
  egress-auditor audit --profile site.toml --firewall-log AZFWApplicationRule.json node.pcap
  egress-auditor audit --profile site.toml --allowlist policy.json --fail-on unexpected node.pcap
  egress-auditor audit -i eth0 --window 60s -o report.txt

Exit codes: 0 nothing found, 1 findings selected by --fail-on, 2 usage or input error (a damaged
capture still gives the report of what could be read). Ctrl-C or SIGTERM ends reading with the report
of what was read; a second one ends it at once, with 130.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) inputs: Inputs,

    #[command(flatten)]
    pub(super) site: SiteArgs,

    #[command(flatten)]
    pub(super) permitted: PermittedArgs,

    #[cfg(feature = "live")]
    #[command(flatten)]
    pub(super) watch: super::watch::WatchArgs,

    /// What the firewall logged meanwhile, as a second witness: Azure Firewall's AZFWApplicationRule
    /// and AZFWNetworkRule tables or older text lines, JSON or CSV; repeatable. Changes no verdict. For files.
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "live", arg(conflicts_with = "interface"))]
    firewall_log: Vec<PathBuf>,

    /// How far the firewall's clock may be from the capture's, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "firewall_log")]
    log_tolerance: u64,

    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    /// Name the node in the report, for `merge`.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Write what the captures told, unjudged, for `merge`: it judges by another profile or catalog
    /// without the captures. For files.
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "live", arg(conflicts_with = "interface"))]
    partial: Option<PathBuf>,

    /// Tell what a rule, outcome, verdict or class means, as `explain` does, and read nothing.
    #[arg(long, value_name = "WORD")]
    explain: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(word) = &self.explain {
            return told(word, &[]);
        }
        self.permitted.check(&self.inputs)?;
        #[cfg(feature = "live")]
        if self.inputs.is_live() {
            return super::watch::run(&self);
        }
        let (site, tags) = self.site.load()?;
        let list = self.permitted.read(tags.as_ref())?;
        let policy = list.as_ref().map(Policy::new);
        let earlier = self.output.baseline()?;
        // Nothing of it is freed one by one: the process ends, and memory goes back at once.
        let reading = read(&self.inputs, resolvers(site.profile()), self.output.quiet, &mut ())?;
        let reading = ManuallyDrop::new(reading);
        let report = self.report(&site, policy.as_ref(), &reading.census, &reading.inputs);
        let mut report = ManuallyDrop::new(report);
        if let Some(path) = &self.partial {
            let input = |stats: &InputStats| SavedInput { stats: stats.clone(), live: None };
            let inputs = reading.inputs.iter().map(input).collect();
            let saved = Saved { node: self.node(), inputs, census: &reading.census };
            saved::write(path, &saved)
                .with_context(|| format!("--partial {}: cannot write", path.display()))?;
        }
        if let Some(earlier) = &earlier {
            report.compare(earlier);
        }
        report.firewall_log = self.witness(&report)?;
        self.output.write(&report, self.format)?;
        if reading.interrupted {
            eprintln!("egress-auditor: interrupted: the report covers what was read until then");
        }
        for error in &reading.errors {
            eprintln!("egress-auditor: {error}");
        }
        Ok(match reading.errors.is_empty() {
            true => self.output.exit_code(&report),
            false => ExitCode::from(EXIT_ERROR),
        })
    }

    /// What the firewall's logs say about the report's destinations.
    fn witness(&self, report: &Report) -> anyhow::Result<Option<Witness>> {
        if self.firewall_log.is_empty() {
            return Ok(None);
        }
        let tolerance = Duration::from_secs(self.log_tolerance);
        let first = report.inputs.iter().filter_map(|input| input.first).min();
        let last = report.inputs.iter().filter_map(|input| input.last).max();
        let window = first.zip(last).map(|(a, b)| (a.minus(tolerance), b.plus(tolerance)));
        let mut reader = LogReader::new(window);
        for path in &self.firewall_log {
            reader.read(&path.display().to_string(), &read_text(path)?)?;
        }
        Ok(Some(join(report, reader.finish(), self.log_tolerance)))
    }

    /// The node's name.
    pub(super) fn node(&self) -> Option<String> {
        self.node.clone()
    }

    /// Judges, and puts the report together.
    pub(super) fn report(
        &self,
        site: &Site,
        policy: Option<&Policy<'_>>,
        census: &Census,
        inputs: &[InputStats],
    ) -> Report {
        let mut report = self.site.judge(site, policy, census, inputs, self.inputs.threads());
        self.permitted.note(policy.map(Policy::list), &mut report.profile);
        if let Some(name) = &self.node {
            report.name_node(name);
        }
        report
    }
}
