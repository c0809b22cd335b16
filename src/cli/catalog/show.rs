use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use clap::ValueEnum;
use egress_auditor::catalog::{Catalog, Cloud, Profile, Rule, builtin, names};

use super::{Format, load};

/// Show the rules of catalogs.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor catalog show aks
  egress-auditor catalog show aks/core/mcr
  egress-auditor catalog show aks/china --format json
  egress-auditor catalog show --profile site.toml
  egress-auditor catalog show --all --format json")]
pub(crate) struct Args {
    /// Built-in catalogs, catalog files, ids of built-in rules, or beginnings of ids.
    #[arg(value_name = "NAME|FILE|RULE-ID")]
    named: Vec<String>,

    /// Every built-in catalog.
    #[arg(long, conflicts_with = "named")]
    all: bool,

    /// Only rules that hold in one of these clouds.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CLOUD")]
    cloud: Vec<CloudName>,

    /// Only rules that apply at this site; its catalogs, when none are named.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// How to write the rules: JSON is one array.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum CloudName {
    Public,
    China,
    Usgov,
}

/// A catalog and those of its rules that are asked for.
struct Part {
    catalog: Catalog,
    rules: Vec<Rule>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let profile = self.profile.as_deref().map(load::profile).transpose()?;
        let clouds: Vec<Cloud> = self.cloud.iter().map(|c| c.cloud()).collect();
        let mut parts = Vec::new();
        let mut shown = BTreeSet::new();
        for named in self.wanted(profile.as_ref())? {
            let mut part = Part::find(&named)?;
            part.rules.retain(|rule| {
                (clouds.is_empty() || rule.cloud.iter().any(|c| clouds.contains(c)))
                    && profile.as_ref().is_none_or(|p| p.applies(rule))
                    && shown.insert(rule.id.clone())
            });
            parts.push(part);
        }
        match self.format {
            Format::Text => print_text(&parts)?,
            Format::Json => {
                load::print_json(&parts.iter().flat_map(|p| &p.rules).collect::<Vec<_>>())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn wanted(&self, profile: Option<&Profile>) -> anyhow::Result<Vec<String>> {
        if self.all {
            return Ok(names().map(str::to_owned).collect());
        }
        match (profile, &self.profile) {
            _ if !self.named.is_empty() => Ok(self.named.clone()),
            (Some(profile), Some(path)) => Ok(load::catalogs_of(profile, path)),
            _ => bail!(
                "nothing to show: name a catalog ({}), a file or a rule, or give --all",
                load::known()
            ),
        }
    }
}

impl Part {
    fn find(named: &str) -> anyhow::Result<Self> {
        let first = named.split('/').next().unwrap_or_default();
        if first == named || Path::new(named).exists() {
            let catalog = load::catalog(named)?;
            return Ok(Self { rules: catalog.rules.clone(), catalog });
        }
        let Some(catalog) = builtin(first) else {
            let catalog = load::catalog(named)?;
            return Ok(Self { rules: catalog.rules.clone(), catalog });
        };
        let below = format!("{}/", named.trim_end_matches('/'));
        let asked = |rule: &&Rule| rule.id == named || rule.id.starts_with(&below);
        let rules: Vec<_> = catalog.rules.iter().filter(asked).cloned().collect();
        if rules.is_empty() {
            bail!("no rule `{named}`: `egress-auditor catalog show {first}` lists them");
        }
        Ok(Self { catalog, rules })
    }
}

impl CloudName {
    const fn cloud(self) -> Cloud {
        match self {
            Self::Public => Cloud::Public,
            Self::China => Cloud::China,
            Self::Usgov => Cloud::UsGov,
        }
    }
}

fn print_text(parts: &[Part]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for Part { catalog, rules } in parts {
        writeln!(out, "{}: {}", catalog.name, catalog.title)?;
        writeln!(out, "document: {}", catalog.document)?;
        if let Some(url) = &catalog.url {
            writeln!(out, "published: {url}")?;
        }
        for related in &catalog.related {
            let see = related.catalog.as_ref().map(|c| format!(" (catalog {c})"));
            let see = see.unwrap_or_default();
            writeln!(out, "see also: {}{see}: {}", related.title, related.purpose)?;
        }
        let mut section = None;
        for rule in rules {
            if section != Some(&rule.source.section) {
                section = Some(&rule.source.section);
                writeln!(out, "\n{}", rule.source.section)?;
            }
            print_rule(rule, &mut out)?;
        }
        writeln!(out, "\n{} of {} rules\n", rules.len(), catalog.rules.len())?;
    }
    out.flush()
}

fn print_rule(rule: &Rule, out: &mut impl Write) -> io::Result<()> {
    let list = |items: Vec<String>| items.join(", ");
    let clouds = list(rule.cloud.iter().map(ToString::to_string).collect());
    write!(out, "  {}  {} in {clouds}", rule.id, rule.level)?;
    if let Some(when) = &rule.when {
        write!(out, ", when {when}")?;
    }
    if let Some(option) = &rule.option {
        write!(out, ", choice {}: {}", option.choice, option.name)?;
    }
    if let Some(from) = &rule.from {
        write!(out, ", from {from}")?;
    }
    let ports = match &rule.ports[..] {
        [] => "any port".into(),
        ports => list(ports.iter().map(ToString::to_string).collect()),
    };
    let app = if rule.app.name() == "other" { "" } else { rule.app.name() };
    let scope = if rule.scope.name() == "egress" { "" } else { rule.scope.name() };
    let head: Vec<_> =
        [rule.transport.name(), &ports, app, scope].into_iter().filter(|t| !t.is_empty()).collect();
    let joint = if rule.alternatives { " or " } else { ", " };
    let to: Vec<_> = rule.destinations.iter().map(ToString::to_string).collect();
    writeln!(out, "\n    {}: {}", head.join(" "), to.join(joint))?;
    writeln!(out, "    {}", rule.purpose)
}
