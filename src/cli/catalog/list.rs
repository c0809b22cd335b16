use std::{
    io::{self, Write},
    process::ExitCode,
};

use egress_auditor::catalog::{Catalog, Cloud, builtin, names};

use super::{Format, load::print_json};

/// List the built-in catalogs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How to write the list.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(serde::Serialize)]
struct Entry {
    name: String,
    title: String,
    document: String,
    url: Option<String>,
    rules: Counts,
}

#[derive(serde::Serialize)]
struct Counts {
    total: usize,
    public: usize,
    china: usize,
    usgov: usize,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let entries: Vec<_> = names().filter_map(builtin).map(Entry::new).collect();
        match self.format {
            Format::Text => print_text(&entries)?,
            Format::Json => print_json(&entries)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Entry {
    fn new(catalog: Catalog) -> Self {
        let count = |cloud| catalog.rules.iter().filter(|r| r.cloud.contains(&cloud)).count();
        let rules = Counts {
            total: catalog.rules.len(),
            public: count(Cloud::Public),
            china: count(Cloud::China),
            usgov: count(Cloud::UsGov),
        };
        let Catalog { name, title, document, url, .. } = catalog;
        Self { name, title, document, url, rules }
    }
}

fn print_text(entries: &[Entry]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let width = |text: fn(&Entry) -> &str| entries.iter().map(|e| text(e).len()).max().unwrap_or(0);
    let (name, document) = (width(|e| &e.name), width(|e| &e.document));
    writeln!(
        out,
        "{:name$}  {:>5}  {:>6}  {:>5}  {:>5}  {:document$}  TITLE",
        "NAME", "RULES", "PUBLIC", "CHINA", "USGOV", "DOCUMENT"
    )?;
    for entry in entries {
        let Counts { total, public, china, usgov } = entry.rules;
        writeln!(
            out,
            "{:name$}  {total:>5}  {public:>6}  {china:>5}  {usgov:>5}  {:document$}  {}",
            entry.name, entry.document, entry.title
        )?;
    }
    Ok(())
}
