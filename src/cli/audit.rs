use std::{
    fs,
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::ValueEnum;
use egress_auditor::{
    catalog::Site,
    report::{ProfileUsed, Report, write_json, write_text},
    scan::Census,
    source::InputStats,
    verdict::{Class, DestinationFinding, Findings, Flag, Verdict, judge},
};

use super::{
    EXIT_ERROR, EXIT_FINDINGS, Inputs,
    read::read,
    site::{SiteArgs, resolvers},
};

/// Judge captured traffic by the publisher's requirements.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor audit node.pcap
  egress-auditor audit --profile site.toml --format json captures/ > report.json
  tcpdump -w - -i eth0 | egress-auditor audit -
  egress-auditor audit -i eth0 --window 60s -o report.txt

Exit codes: 0 nothing found, 1 findings selected by --fail-on, 2 usage or input error (a damaged
capture still gives the report of what could be read).")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) inputs: Inputs,

    #[command(flatten)]
    pub(super) site: SiteArgs,

    #[cfg(feature = "live")]
    #[command(flatten)]
    pub(super) watch: super::watch::WatchArgs,

    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Write the report to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Exit with 1 when there are findings of these classes; `none` for never.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "blocked")]
    fail_on: Vec<FailOn>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, and for tickets.
    Text,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Blocked,
    Degraded,
    Inconclusive,
    NotExercised,
    Unexpected,
    Ambiguous,
    Conditional,
    None,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        #[cfg(feature = "live")]
        if self.inputs.is_live() {
            return super::watch::run(&self);
        }
        let (site, _) = self.site.load()?;
        let reading = read(&self.inputs, resolvers(site.profile()), &mut ())?;
        let findings = judge(&reading.census, &site);
        let report = self.report(&site, &reading.census, &reading.inputs, findings);
        self.write(&report)?;
        if reading.interrupted {
            eprintln!("egress-auditor: interrupted: the report covers what was read until then");
        }
        for error in &reading.errors {
            eprintln!("egress-auditor: {error}");
        }
        Ok(match reading.errors.is_empty() {
            true => self.verdict(&report),
            false => ExitCode::from(EXIT_ERROR),
        })
    }

    /// Puts the report together.
    pub(super) fn report(
        &self,
        site: &Site,
        census: &Census,
        inputs: &[InputStats],
        findings: Findings,
    ) -> Report {
        let used = ProfileUsed {
            file: self.site.profile.as_ref().map(|path| path.display().to_string()),
            unbound: site.profile().unbound(site.rules().iter().map(|site_rule| &site_rule.rule)),
            profile: site.profile().clone(),
        };
        Report::new(inputs, census, used, findings)
    }

    /// What to exit with after this report.
    pub(super) fn verdict(&self, report: &Report) -> ExitCode {
        match self.fail_on.iter().any(|class| class.selects(report)) {
            true => ExitCode::from(EXIT_FINDINGS),
            false => ExitCode::SUCCESS,
        }
    }

    pub(super) fn write(&self, report: &Report) -> anyhow::Result<()> {
        match &self.output {
            None => self.write_to(report, &mut BufWriter::new(io::stdout().lock()))?,
            Some(path) => {
                let context = || format!("{}: cannot write", path.display());
                let file = fs::File::create(path).with_context(context)?;
                self.write_to(report, &mut BufWriter::new(file)).with_context(context)?;
            }
        }
        Ok(())
    }

    pub(super) fn write_to(&self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Text => write_text(report, out)?,
            Format::Json => write_json(report, out)?,
        }
        out.flush()
    }
}

impl FailOn {
    fn selects(self, report: &Report) -> bool {
        let rules = |verdict| report.rules.iter().any(|rule| rule.verdict == verdict);
        let destinations = |class| report.destinations.iter().any(|d| d.class == class);
        match self {
            Self::Blocked => rules(Verdict::Blocked) || lost_proxy(report),
            Self::Degraded => rules(Verdict::Degraded),
            Self::Inconclusive => rules(Verdict::Inconclusive),
            Self::NotExercised => rules(Verdict::NotExercised),
            Self::Unexpected => destinations(Class::Unexpected),
            Self::Ambiguous => destinations(Class::Ambiguous),
            Self::Conditional => destinations(Class::Conditional),
            Self::None => false,
        }
    }
}

/// A proxy that can't be reached blocks everything behind it.
fn lost_proxy(report: &Report) -> bool {
    let lost =
        |d: &DestinationFinding| d.flags.contains(&Flag::Proxy) && d.verdict == Verdict::Blocked;
    report.destinations.iter().any(lost)
}
