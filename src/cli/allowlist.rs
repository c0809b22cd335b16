use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Subcommand, ValueEnum};
use egress_auditor::allowlist::{Generated, Origin, Product, generate};
use serde::Serialize;

use super::{
    diff::{ReadingArgs, load_report},
    site::{SiteArgs, load_tags},
};

/// Show allowlists in one form, or write one from what is required.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(Show),
    Generate(Generate),
}

/// Show what allowlists say, each destination on a line, in the order in which they are tried.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor allowlist show policy.json
  egress-auditor allowlist show --format json squid.conf")]
struct Show {
    /// Allowlists in their own formats, `-` for standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    reading: ReadingArgs,

    /// The publisher's ServiceTags_*.json.
    #[arg(long, value_name = "FILE")]
    service_tags: Option<PathBuf>,

    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Write an allowlist with all that the catalogs require.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor allowlist generate --for azure-firewall --profile site.toml > policy.json
  egress-auditor allowlist generate --for squid --catalog aks > squid.conf
  egress-auditor allowlist generate --for plain --seen report.json")]
struct Generate {
    /// The product.
    #[arg(long = "for", value_enum, value_name = "PRODUCT")]
    product: ProductName,

    #[command(flatten)]
    site: SiteArgs,

    /// Only what was seen: the output of `audit --format json`.
    #[arg(long, value_name = "REPORT.json")]
    seen: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProductName {
    /// ARM template of a rule collection group.
    AzureFirewall,
    /// Terraform resource of a rule collection group.
    AzureFirewallTerraform,
    /// CiliumClusterwideNetworkPolicy.
    Cilium,
    /// GlobalNetworkPolicy of Calico Enterprise or Cloud.
    Calico,
    /// acl and http_access lines.
    Squid,
    /// A destination a line.
    Plain,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Show(show) => show.run(),
            Command::Generate(generate) => generate.run(),
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    entries: Vec<Origin>,
    notes: &'a [String],
}

impl Show {
    fn run(self) -> anyhow::Result<ExitCode> {
        let tags = self.service_tags.as_deref().map(load_tags).transpose()?;
        let list = self.reading.read(&self.files, tags.as_ref())?;
        let entries: Vec<Origin> = list.entries.iter().map(|entry| entry.origin()).collect();
        let mut out = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Text => {
                for entry in &entries {
                    writeln!(out, "{entry}")?;
                    if let Some(why) = &entry.not_evaluated {
                        writeln!(out, "    not evaluated: {why}")?;
                    }
                }
                for note in &list.notes {
                    writeln!(out, "note: {note}")?;
                }
            }
            Format::Json => {
                let shown =
                    Shown { schema: "egress-auditor/allowlist/1", entries, notes: &list.notes };
                serde_json::to_writer_pretty(&mut out, &shown)?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Generate {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (site, _) = self.site.load()?;
        let seen = self.seen.as_deref().map(load_report).transpose()?;
        let product = match self.product {
            ProductName::AzureFirewall => Product::AzureFirewall,
            ProductName::AzureFirewallTerraform => Product::AzureFirewallTerraform,
            ProductName::Cilium => Product::Cilium,
            ProductName::Calico => Product::Calico,
            ProductName::Squid => Product::Squid,
            ProductName::Plain => Product::Plain,
        };
        let Generated { text, remarks } = generate(product, &site, seen.as_deref());
        io::stdout().lock().write_all(text.as_bytes())?;
        for remark in remarks {
            eprintln!("egress-auditor: {remark}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
