//! The built-in catalogs hold what their documents require: every row, and nothing else.
//!
//! The documents themselves aren't part of this repository. Where they are at hand (`../shared`),
//! every cell of every rule table is compared with the catalogs, both ways.

#![allow(clippy::unwrap_used)] // Helpers panic as the tests that call them do.

use std::{collections::BTreeSet, fs, path::PathBuf};

use egress_auditor::catalog::{
    Catalog, Cloud, Destination, Rule, Scope, Transport, builtin, names, region_code,
};

/// One endpoint of one table row: (section, destination, transport, port).
type Endpoint = (String, String, Transport, u16);

#[test]
fn every_row_of_every_table_is_a_rule() {
    for (catalog, text) in documents() {
        let endpoints = endpoints_of(&text);
        assert!(endpoints.len() >= 8, "{}: the tables were not read", catalog.name);
        for (section, name, transport, port) in &endpoints {
            let found = catalog.rules.iter().any(|rule| {
                rule.source.document == catalog.document
                    && rule.source.section.ends_with(section.as_str())
                    && rule.transport == *transport
                    && rule.ports.iter().any(|p| p.contains(*port))
                    && holds_cloud(rule, section)
                    && rule.destinations.iter().any(|d| d.to_string() == *name)
            });
            assert!(found, "{}: {section}: {name} {transport} {port} is missing", catalog.name);
        }
        println!("{}: {} endpoints found", catalog.name, endpoints.len());
    }
}

#[test]
fn no_rule_is_absent_from_its_document() {
    for (catalog, text) in documents() {
        let endpoints = endpoints_of(&text);
        let plain = placeholders(&text);
        for rule in &catalog.rules {
            for destination in &rule.destinations {
                let Destination::Fqdn(name) = destination else {
                    continue;
                };
                let in_table = rule.ports.iter().all(|p| {
                    endpoints.iter().any(|(section, n, transport, port)| {
                        n == name
                            && rule.source.section.ends_with(section.as_str())
                            && *transport == rule.transport
                            && p.contains(*port)
                    })
                });
                let in_prose = rule.ports.is_empty() || name.starts_with("md-");
                assert!(
                    plain.contains(name.as_str()) && (in_table || in_prose),
                    "{}: {name} is not in the document",
                    rule.id
                );
            }
        }
    }
}

#[test]
fn rules_are_in_the_order_of_their_document() {
    for (catalog, text) in documents() {
        let headings: Vec<Vec<String>> = heading_paths(&text);
        let mut last = 0;
        for rule in &catalog.rules {
            let path: Vec<_> = rule.source.section.split(" > ").collect();
            let places: Vec<usize> = (0..headings.len())
                .filter(|&i| {
                    headings[i].len() >= path.len() && headings[i].ends_with(&to_owned(&path))
                })
                .collect();
            assert_eq!(places.len(), 1, "{}: heading {path:?} has to name one place", rule.id);
            assert!(last <= places[0], "{} is out of the document's order", rule.id);
            last = places[0];
        }
    }
}

/// Stated outside of the rule tables, so no table says whether they are complete.
#[test]
fn requirements_in_prose_are_rules() {
    let expect = |id: &str, destinations: &[&str], transport, ports: &str, when: &str| {
        let rule = rule(id);
        let shown: Vec<_> = rule.destinations.iter().map(ToString::to_string).collect();
        let numbers: Vec<_> = rule.ports.iter().map(ToString::to_string).collect();
        let condition = rule.when.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(shown, destinations, "{id}");
        assert_eq!(rule.transport, transport, "{id}");
        assert_eq!(numbers.join(" "), ports, "{id}");
        assert_eq!(condition, when, "{id}");
        rule
    };
    let (tcp, udp) = (Transport::Tcp, Transport::Udp);
    expect(
        "aks/core/managed-disks",
        &["md-*.blob.storage.azure.net", "tag Storage"],
        tcp,
        "443",
        "",
    );
    expect(
        "aks/core/api-server",
        &["{api-server}"],
        tcp,
        "443",
        "api-server-access and not private-cluster",
    );
    expect("aml-firewall/storage/smb", &["tag Storage.{region}"], tcp, "445", "storage-firewall");
    expect(
        "aml-firewall/key-vault/batch",
        &["tag Keyvault.{region}", "tag AzureKeyVault.{region}"],
        tcp,
        "443",
        "hbi-workspace",
    );
    let bypass = expect("aml-kubernetes/proxy/bypass", &["127.0.0.1", "localhost"], tcp, "", "");
    assert_eq!(bypass.scope, Scope::ProxyBypass);
    for (name, from, to, transport, ports, when) in [
        ("api-server", "azureml", "api-server", tcp, "", ""),
        ("components", "azureml", "azureml", tcp, "", ""),
        ("dns-udp", "azureml", "kube-dns", udp, "53", ""),
        ("dns-tcp", "azureml", "kube-dns", tcp, "53", ""),
        ("konnectivity", "azureml", "konnectivity-agent", tcp, "", ""),
        ("model", "azureml-fe", "model-pod", tcp, "5001", "inference"),
        (
            "front-end",
            "azureml",
            "azureml-fe",
            tcp,
            "11001 12001 12101 12201 20000 8000 8001 9001",
            "inference",
        ),
        ("identity-proxy", "model-pod", "amlarc-identity-proxy", tcp, "9999", "inference"),
    ] {
        let id = format!("aml-firewall/in-cluster/{name}");
        let rule = expect(&id, &[&format!("role {to}")], transport, ports, when);
        assert_eq!((rule.from.as_deref(), rule.scope), (Some(from), Scope::InCluster), "{id}");
    }
}

#[test]
fn the_internal_port_table_is_complete() {
    let (bridge, host, resource) = ("resource-bridge", "physical-host", "cluster-resource");
    let expected: BTreeSet<(u16, &str, &str, bool)> = [
        (22, bridge, "role cluster-vm", false),
        (22, host, "role cluster-vm", true),
        (6443, bridge, "role cluster-vm", false),
        (6443, host, "role resource-bridge", true),
        (45000, host, "*", false),
        (45001, host, "*", false),
        (46000, bridge, "*", false),
        (46000, host, "role resource-bridge", true),
        (55000, resource, "*", false),
        (55000, bridge, "role cluster-resource", true),
        (65000, resource, "*", false),
        (65000, bridge, "role cluster-resource", true),
    ]
    .into();
    let catalog = builtin("aks-arc").unwrap();
    let internal: Vec<_> = catalog.rules.iter().filter(|r| r.scope == Scope::Internal).collect();
    let shown: Vec<_> = internal.iter().map(|r| r.destinations[0].to_string()).collect();
    let found: BTreeSet<_> = internal
        .iter()
        .zip(&shown)
        .map(|(r, to)| {
            let separate = r.when.as_ref().map(ToString::to_string);
            assert!(separate.as_deref().is_none_or(|w| w == "separate-vlans"));
            (r.ports[0].first(), r.from.as_deref().unwrap(), to.as_str(), separate.is_some())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_region_codes_are_those_of_the_document() {
    for (catalog, text) in documents() {
        let Some((_, note)) = text.split_once("mapping for Azure cloud regions: ") else {
            assert_ne!(catalog.name, "amlarc", "the table of codes was not read");
            continue;
        };
        let (list, _) = note.split_once("). ").unwrap();
        let pairs: Vec<_> = list.split("), ").filter_map(|p| p.split_once(" (")).collect();
        assert_eq!(pairs.len(), 11);
        for (code, name) in pairs {
            let region = name.replace(' ', "").to_lowercase();
            assert_eq!(region_code(&region), Some(code));
        }
    }
}

fn rule(id: &str) -> Rule {
    let catalog = builtin(id.split('/').next().unwrap()).unwrap();
    catalog.rules.into_iter().find(|r| r.id == id).unwrap_or_else(|| panic!("no rule {id}"))
}

/// The catalogs with the text of their documents; none where the documents are not at hand.
fn documents() -> Vec<(Catalog, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/seeds");
    if !folder.is_dir() {
        println!("skipped: the documents are not here");
        return Vec::new();
    }
    names()
        .map(|name| {
            let catalog = builtin(name).unwrap();
            let file = folder.join(format!("{}.md", catalog.document));
            let text = fs::read_to_string(&file).unwrap();
            (catalog, text)
        })
        .collect()
}

/// A heading that names a cloud decides the cloud of the rules below it.
fn holds_cloud(rule: &Rule, section: &str) -> bool {
    if section.contains("21Vianet") {
        rule.cloud == [Cloud::China]
    } else if section.contains("US Government") {
        rule.cloud == [Cloud::UsGov]
    } else if section.contains("Azure Global") {
        rule.cloud == [Cloud::Public]
    } else {
        true
    }
}

fn to_owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|&p| p.to_owned()).collect()
}

fn heading(line: &str) -> Option<(usize, String)> {
    let depth = line.bytes().take_while(|&b| b == b'#').count();
    (depth > 0 && line[depth..].starts_with(' ')).then(|| (depth, line[depth..].trim().to_owned()))
}

fn heading_paths(text: &str) -> Vec<Vec<String>> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut paths = Vec::new();
    for (depth, title) in text.lines().filter_map(heading) {
        open.retain(|(d, _)| *d < depth);
        open.push((depth, title));
        paths.push(open.iter().map(|(_, t)| t.clone()).collect());
    }
    paths
}

fn endpoints_of(text: &str) -> Vec<Endpoint> {
    let mut section = String::new();
    let mut header: Option<Vec<String>> = None;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some((_, title)) = heading(line) {
            section = title;
        }
        let line = line.trim();
        if !line.starts_with('|') {
            header = None;
            continue;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(columns) = &header else {
            header = Some(cells.iter().map(|c| c.to_lowercase()).collect());
            continue;
        };
        let column =
            |words: &[&str]| columns.iter().position(|c| words.iter().any(|w| c.contains(w)));
        let (Some(name), Some(port)) = (column(&["endpoint", "fqdn", "url"]), column(&["port"]))
        else {
            continue;
        };
        let Ok(port) = cells[port].chars().filter(char::is_ascii_digit).collect::<String>().parse()
        else {
            continue; // The line of dashes.
        };
        let udp = column(&["protocol"]).is_some_and(|c| cells[c] == "UDP");
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        for name in names_of(cells[name]) {
            found.push((section.clone(), name, transport, port));
        }
    }
    found
}

/// The destinations in a cell, as the catalog displays them.
fn names_of(cell: &str) -> Vec<String> {
    let tagged = cell.contains("[ServiceTag]");
    let plain = placeholders(cell);
    plain
        .replace("https://", "")
        .split(|c: char| c.is_whitespace() || c == ',' || c == '`')
        .map(|word| word.split(':').next().unwrap_or(word))
        .filter(|word| !word.contains(['(', ')', '[', ']', '/']))
        .filter_map(|word| match word {
            "CustomDNSIP" => Some("{custom-dns}".to_owned()),
            "RegionCIDRs" => Some("{region-cidrs}".to_owned()),
            "APIServerPublicIP" => Some("{api-server}".to_owned()),
            "AzureCloud.Region" => Some("tag AzureCloud.{region}".to_owned()),
            "AzureMonitor" if tagged => Some(format!("tag {word}")),
            _ if word.starts_with("AzureCloud.") => Some(format!("tag {word}")),
            "*" => Some(word.to_owned()),
            _ if word.contains('.') => Some(word.to_owned()),
            _ => None,
        })
        .collect()
}

/// Text without emphasis and escapes, with `{param}` for what the documents write as `<a name>`.
fn placeholders(text: &str) -> String {
    let mut plain = text.replace("**", "").replace('\\', "");
    for br in ["<br>", "<br/>", "<br />"] {
        plain = plain.replace(br, " ");
    }
    for (written, param) in [
        ("region", "region"),
        ("Region", "region"),
        ("location", "region"),
        ("region name", "region"),
        ("cluster-region-name", "region"),
        ("region-code", "region-code"),
        ("your ACR name", "acr"),
        ("your storage account name", "storage-account"),
        ("your Storage Account name", "storage-account"),
        ("your workspace ID", "workspace-id"),
        ("your AML workspace ID", "workspace-id"),
    ] {
        plain = plain.replace(&format!("<{written}>"), &format!("{{{param}}}"));
    }
    plain
}
