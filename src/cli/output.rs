//! How a report is written, and what it makes the command exit with.

use std::{
    env, fs,
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use egress_auditor::report::{
    Detail, Gate, GateClass, Report, TextOptions, read_json, write_html, write_json, write_junit,
    write_markdown, write_ndjson, write_sarif, write_text_with,
};

use super::{EXIT_FINDINGS, site::read_text};

/// What becomes of a report.
#[derive(clap::Args)]
pub(super) struct OutputArgs {
    /// Write the report to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Exit with 1 when there are findings of these classes; `none` for never. `explain CLASS`
    /// tells what each selects.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "blocked",
        value_name = "CLASS"
    )]
    fail_on: Vec<FailOn>,

    /// An earlier JSON report: mark what is new, known or gone since, and fail only on what is new.
    #[arg(long, value_name = "REPORT.json")]
    baseline: Option<PathBuf>,

    /// Colours in text: when standard output is a terminal (and NO_COLOR isn't set), or as
    /// CLICOLOR_FORCE says.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,

    /// Text: only what needs attention, a line each. No progress.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// Text: also rules that don't apply, and destinations that are as expected.
    #[arg(short, long)]
    verbose: bool,
}

/// Formats of a report.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people, and for tickets.
    Text,
    /// For programs.
    Json,
    /// JSON, a finding a line.
    Ndjson,
    /// Markdown, for tickets.
    Md,
    /// One page with figures, that loads nothing.
    Html,
    /// Test results, for CI servers.
    Junit,
    /// Static analysis results (SARIF 2.1.0), for code hosts.
    Sarif,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FailOn {
    Class(GateClass),
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

impl ValueEnum for FailOn {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FailOn; GateClass::ALL.len() + 1] = {
            let mut all = [FailOn::None; GateClass::ALL.len() + 1];
            let mut at = 0;
            while at < GateClass::ALL.len() {
                all[at] = FailOn::Class(GateClass::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self {
            Self::Class(class) => {
                clap::builder::PossibleValue::new(class.name()).help(class.meaning())
            }
            Self::None => clap::builder::PossibleValue::new("none").help("nothing"),
        })
    }
}

impl OutputArgs {
    /// The earlier report to compare with, when one was given.
    pub(super) fn baseline(&self) -> anyhow::Result<Option<Report>> {
        let Some(path) = &self.baseline else { return Ok(None) };
        let earlier = read_json(&read_text(path)?);
        earlier.map(Some).map_err(|message| anyhow!("{}: {message}", path.display()))
    }

    /// Writes the report where it belongs.
    pub(super) fn write(&self, report: &Report, format: Format) -> anyhow::Result<()> {
        match &self.output {
            None => self.write_to(report, format, &mut BufWriter::new(io::stdout().lock()))?,
            Some(path) => {
                let context = || format!("{}: cannot write", path.display());
                let file = fs::File::create(path).with_context(context)?;
                self.write_to(report, format, &mut BufWriter::new(file)).with_context(context)?;
            }
        }
        Ok(())
    }

    /// Writes the report.
    pub(super) fn write_to(
        &self,
        report: &Report,
        format: Format,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match format {
            Format::Text => write_text_with(report, self.text(), out)?,
            Format::Json => write_json(report, out)?,
            Format::Ndjson => write_ndjson(report, out)?,
            Format::Md => write_markdown(report, out)?,
            Format::Html => write_html(report, out)?,
            Format::Junit => write_junit(report, &self.gate(), out)?,
            Format::Sarif => write_sarif(report, &self.gate(), out)?,
        }
        out.flush()
    }

    /// What to exit with after this report.
    pub(super) fn exit_code(&self, report: &Report) -> ExitCode {
        match self.gate().fails(report) {
            true => ExitCode::from(EXIT_FINDINGS),
            false => ExitCode::SUCCESS,
        }
    }

    fn gate(&self) -> Gate {
        Gate::new(self.fail_on.iter().filter_map(|class| match class {
            FailOn::Class(class) => Some(*class),
            FailOn::None => None,
        }))
    }

    fn text(&self) -> TextOptions {
        let terminal = self.output.is_none() && io::stdout().is_terminal();
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (_, true) => Detail::Verbose,
            _ => Detail::Normal,
        };
        let width = terminal.then(terminal_size::terminal_size).flatten();
        TextOptions {
            detail,
            colour: self.color.is_on(terminal),
            width: width.map(|(terminal_size::Width(columns), _)| usize::from(columns)),
        }
    }
}

impl Colour {
    /// What the option says; else <https://no-color.org> and <https://bixense.com/clicolors>.
    fn is_on(self, terminal: bool) -> bool {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("NO_COLOR") => false,
            Self::Auto => {
                let forced = env::var_os("CLICOLOR_FORCE").filter(|value| !value.is_empty());
                forced.is_some_and(|value| value != "0")
                    || (terminal && env::var_os("TERM").is_none_or(|term| term != "dumb"))
            }
        }
    }
}
