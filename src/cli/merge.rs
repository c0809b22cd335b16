use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use egress_auditor::{
    catalog::Site,
    report::{Fleet, Report, read_json},
};

use super::{
    all_cores,
    output::{Format, OutputArgs},
    saved::{self, Saved},
    site::SiteArgs,
};

/// Put the JSON reports of many nodes together, and judge partials.
///
/// A partial is what `audit --partial` or `audit -i --state` wrote: it is judged here, by --profile and
/// --catalog. A node is named as its file, without `.json` or `.partial`, or as --node said when the file
/// was made.
/// Reports that were merged before may be merged again: order and grouping don't matter.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor merge nodes/*.json > fleet.json
  egress-auditor merge --format html -o fleet.html nodes/*.json
  egress-auditor merge --profile new-site.toml nodes/*.partial > fleet.json
  egress-auditor merge --fail-on none rack1.json rack2.json | egress-auditor merge - rack3.json

Exit codes: 0 nothing found, 1 findings selected by --fail-on, 2 usage or input error.")]
pub(crate) struct Args {
    /// Outputs of `audit --format json`, of `audit --partial` or `--state`, or of this command; `-` for
    /// standard input.
    #[arg(value_name = "REPORT|PARTIAL", required = true)]
    reports: Vec<PathBuf>,

    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,

    #[command(flatten)]
    site: SiteArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut fleet = Fleet::default();
        let mut site = None;
        // One at a time: thousands of reports needn't fit in memory.
        for path in &self.reports {
            let (name, mut bytes) = ("standard input".to_owned(), Vec::new());
            let (name, read) = match path.as_os_str() == "-" {
                true => (name, io::stdin().read_to_end(&mut bytes)),
                false => (path.display().to_string(), read_to(path, &mut bytes)),
            };
            read.with_context(|| format!("{name}: cannot read"))?;
            let report = match saved::is_saved(&bytes) {
                true => self.judged(&bytes, &mut site).with_context(|| name.clone())?,
                false => {
                    let text = str::from_utf8(&bytes).with_context(|| name.clone())?;
                    read_json(text).map_err(|message| anyhow!("{name}: {message}"))?
                }
            };
            let node = name.strip_suffix(".json").or(name.strip_suffix(".partial"));
            if let Err(error) = fleet.add(report, node.unwrap_or(&name)) {
                bail!("{name}: {error}");
            }
        }
        let mut report = fleet.finish();
        if let Some(earlier) = self.output.baseline()? {
            report.compare(&earlier);
        }
        self.output.write(&report, self.format)?;
        Ok(self.output.exit_code(&report))
    }

    /// The report of a partial. The site is loaded for the first.
    fn judged(&self, bytes: &[u8], site: &mut Option<Site>) -> anyhow::Result<Report> {
        let Saved { node, inputs, census } =
            saved::decode(bytes).map_err(|error| anyhow!("{error}"))?;
        let site = match site {
            Some(site) => site,
            None => site.insert(self.site.load()?.0),
        };
        let stats: Vec<_> = inputs.iter().map(|input| input.stats.clone()).collect();
        let mut report = self.site.judge(site, None, &census, &stats, all_cores());
        for (shown, input) in report.inputs.iter_mut().zip(inputs) {
            shown.live = input.live;
        }
        if let Some(node) = &node {
            report.name_node(node);
        }
        Ok(report)
    }
}

fn read_to(path: &Path, bytes: &mut Vec<u8>) -> io::Result<usize> {
    fs::File::open(path)?.read_to_end(bytes)
}
