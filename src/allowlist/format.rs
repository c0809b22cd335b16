//! Which format a file is in, and reading it.

use std::fmt;

use super::{
    aws, azure,
    build::{Builder, Context, assemble},
    calico, cilium, csv, edl,
    entry::Allowlist,
    error::ParseError,
    hcl, json, kubernetes, plain, squid,
    tree::Node,
    yaml,
};

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A destination a line.
    Plain,
    /// With a heading line.
    Csv,
    /// External dynamic list.
    Edl,
    /// ARM template or CLI output.
    AzureFirewall,
    /// Terraform with `azurerm_firewall_*` resources.
    AzureFirewallTerraform,
    /// Cilium, Calico or Kubernetes policies, also mixed.
    Kubernetes,
    /// Squid configuration.
    Squid,
    /// Domain lists of AWS Network Firewall.
    AwsNetworkFirewall,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Csv,
        Self::Edl,
        Self::AzureFirewall,
        Self::AzureFirewallTerraform,
        Self::Kubernetes,
        Self::Squid,
        Self::AwsNetworkFirewall,
    ];

    /// As it is written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Csv => "csv",
            Self::Edl => "edl",
            Self::AzureFirewall => "azure-firewall",
            Self::AzureFirewallTerraform => "azure-firewall-terraform",
            Self::Kubernetes => "kubernetes",
            Self::Squid => "squid",
            Self::AwsNetworkFirewall => "aws-network-firewall",
        }
    }

    /// Tells the format by the file's name and its first lines.
    pub fn detect(text: &str, file: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let has = |needle: &str| text.contains(needle);
        let lower = file.to_ascii_lowercase();
        let json = text.starts_with('{')
            || text.starts_with('[') && text[1..].trim_start().starts_with(['{', ']', '"']);
        if lower.ends_with(".tf") || has("resource \"azurerm_firewall") {
            Self::AzureFirewallTerraform
        } else if json && (has("RulesSourceList") || has("rulesSourceList") || has("\"Targets\"")) {
            Self::AwsNetworkFirewall
        } else if json && has("\"apiVersion\"") && has("\"kind\"") && !has("$schema") {
            Self::Kubernetes
        } else if json || lower.ends_with(".json") {
            Self::AzureFirewall
        } else if has("apiVersion:") && has("kind:") {
            Self::Kubernetes
        } else if text.lines().any(|line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("acl" | "http_access")) && words.count() >= 2
        }) {
            Self::Squid
        } else if lower.ends_with(".csv") || first_line(text).contains([',', ';', '\t']) {
            Self::Csv
        } else if lower.ends_with(".edl")
            || text.lines().any(|l| l.starts_with("^.") || l.starts_with("http"))
        {
            Self::Edl
        } else {
            Self::Plain
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file to read: its name for messages, its text, and its format when that is forced.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// As the user named it.
    pub file: &'a str,
    /// What it holds.
    pub text: &'a str,
    /// Detected when absent.
    pub format: Option<Format>,
}

impl Allowlist {
    /// Reads files. Together they are one policy: files of the same product are tried in the order
    /// of its priorities.
    ///
    /// # Errors
    ///
    /// The first mistake, with file, line and field.
    pub fn read(inputs: &[Input<'_>], context: Context<'_>) -> Result<Self, ParseError> {
        let mut files = Vec::new();
        for input in inputs {
            let mut builder = Builder::new(input.file, context);
            let format = input.format.unwrap_or_else(|| Format::detect(input.text, input.file));
            read(format, input, &mut builder)?;
            files.push(builder.finish());
        }
        Ok(assemble(files))
    }
}

fn read(format: Format, input: &Input<'_>, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    let Input { text, file, .. } = *input;
    let (found, what) = match format {
        Format::Plain => return plain::read(text, builder),
        Format::Csv => return csv::read(text, builder),
        Format::Edl => return edl::read(text, builder),
        Format::Squid => return squid::read(text, builder),
        Format::AzureFirewall => {
            (azure::read(&json::read(text, file)?, builder)?, "rule collection")
        }
        Format::AzureFirewallTerraform => (
            azure::read_terraform(&hcl::read(text, file)?, builder)?,
            "azurerm_firewall rule collection",
        ),
        Format::AwsNetworkFirewall => {
            let tree = if text.trim_start().starts_with('{') || text.trim_start().starts_with('[') {
                vec![json::read(text, file)?]
            } else {
                yaml::read(text, file)?
            };
            (aws::read(&tree, builder)?, "rulesSourceList")
        }
        Format::Kubernetes => {
            let tree = match text.trim_start().starts_with('{') {
                true => vec![json::read(text, file)?],
                false => yaml::read(text, file)?,
            };
            (policies(&tree, builder)?, "network policy")
        }
    };
    if found {
        Ok(())
    } else {
        Err(builder.error(
            1,
            "",
            format!("no {what} in it; --allowlist-format names another format"),
        ))
    }
}

/// Cilium's, Calico's and Kubernetes' own policies, each document by its kind.
fn policies(documents: &[Node], builder: &mut Builder<'_>) -> Result<bool, ParseError> {
    let mut found = false;
    let mut sets = Vec::new();
    for document in documents {
        let items = document.items("items");
        sets.extend(if items.is_empty() { std::slice::from_ref(document) } else { items });
    }
    for policy in &sets {
        let version = policy.text_of("apiVersion").unwrap_or_default();
        match (
            version.split('/').next().unwrap_or_default(),
            policy.text_of("kind").unwrap_or_default(),
        ) {
            ("cilium.io", "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy") => {
                cilium::read(policy, &sets, builder)?;
            }
            ("networking.k8s.io" | "extensions", "NetworkPolicy") => {
                kubernetes::read(policy, builder)?
            }
            (
                "projectcalico.org" | "crd.projectcalico.org",
                "NetworkPolicy" | "GlobalNetworkPolicy",
            ) => {
                calico::read(policy, &sets, builder)?;
            }
            _ => continue,
        }
        found = true;
    }
    Ok(found)
}

/// The first line that says something.
fn first_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default()
}
