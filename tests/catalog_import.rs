//! Importing the publisher's documents gives the endpoints of the catalogs that were made from them.
//!
//! The documents themselves aren't part of this repository; `../shared` has them where at hand.

#![allow(clippy::unwrap_used)] // Helpers panic as the tests that call them do.

use std::{collections::BTreeSet, fs, path::PathBuf};

use egress_auditor::catalog::{
    Catalog, Compare, Diff, Requirement, builtin, import_markdown, names,
};

/// What the built-in catalogs have from sentences, and so an import hasn't.
const PROSE: [(&str, &[&str]); 5] = [
    ("aks", &["md-*.blob.storage.azure.net tcp 443", "tag Storage tcp 443"]),
    // The server of two ports of the port table stands in the text around it.
    ("aks-arc", &["role cluster-vm tcp 6443"]),
    (
        "aml-firewall",
        &[
            "tag AzureKeyVault.{region} tcp 443",
            "tag Keyvault.{region} tcp 443",
            "tag Storage.{region} tcp 445",
            "role amlarc-identity-proxy tcp 9999",
            "role api-server tcp any",
            "role azureml tcp any",
            "role azureml-fe tcp 8000",
            "role azureml-fe tcp 8001",
            "role azureml-fe tcp 9001",
            "role azureml-fe tcp 11001",
            "role azureml-fe tcp 12001",
            "role azureml-fe tcp 12101",
            "role azureml-fe tcp 12201",
            "role azureml-fe tcp 20000",
            "role konnectivity-agent tcp any",
            "role kube-dns tcp 53",
            "role kube-dns udp 53",
            "role model-pod tcp 5001",
        ],
    ),
    ("aml-kubernetes", &["127.0.0.1 tcp any", "localhost tcp any"]),
    ("amlarc", &[]),
];

/// What an import has instead.
const INSTEAD: [(&str, &[&str]); 1] = [("aks-arc", &["* tcp 22", "* tcp 6443"])];

#[test]
fn a_document_gives_the_endpoints_of_its_catalog() {
    let mut compared = 0;
    for name in names() {
        let catalog = builtin(name).unwrap();
        let Some(text) = document(&catalog) else { continue };
        let imported = import_markdown(&text, name, &catalog.document);
        let parsed = Catalog::parse(&imported.catalog.to_toml(), name).unwrap();
        assert_eq!(parsed, imported.catalog);
        let diff = Diff::new(&catalog.rules, &parsed.rules, Compare::Endpoints);
        assert_eq!(shown(&diff.went), listed(&PROSE, name), "{name}: not in the import");
        assert_eq!(shown(&diff.came), listed(&INSTEAD, name), "{name}: only in the import");
        assert!(diff.changed.is_empty(), "{name}: {:?}", diff.changed);
        compared += parsed.rules.len();
    }
    println!("{compared} imported rules compared");
}

/// The catalogs name more of the headings above where that reads better.
#[test]
fn sections_end_as_in_the_catalogs() {
    for name in names() {
        let catalog = builtin(name).unwrap();
        let Some(text) = document(&catalog) else { continue };
        for rule in import_markdown(&text, name, &catalog.document).catalog.rules {
            let section = rule.source.section.as_str();
            let found = catalog.rules.iter().any(|r| r.source.section.ends_with(section));
            assert!(found, "{name}: {section}");
        }
    }
}

/// Every sentence that a built-in rule was made from is among what has to be looked at.
#[test]
fn requirements_in_prose_are_told() {
    for (name, words) in [
        ("aks", &["md-*.blob", "port 443 of your API"][..]),
        ("aml-firewall", &["port 445", "Keyvault", "5001", "11001", "9999"]),
        ("aml-kubernetes", &["127.0.0.1"]),
    ] {
        let catalog = builtin(name).unwrap();
        let Some(text) = document(&catalog) else { continue };
        let places = import_markdown(&text, name, &catalog.document).not_understood;
        for word in words {
            let line = |number: usize| text.lines().nth(number - 1).unwrap();
            assert!(places.iter().any(|p| line(p.line).contains(word)), "{name}: {word}");
        }
    }
}

fn document(catalog: &Catalog) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/seeds");
    let text = fs::read_to_string(folder.join(format!("{}.md", catalog.document))).ok();
    if text.is_none() {
        println!("skipped: the document of {} is not here", catalog.name);
    }
    text
}

fn listed(list: &[(&str, &[&str])], name: &str) -> BTreeSet<String> {
    let texts = list.iter().filter(|(n, _)| *n == name).flat_map(|(_, texts)| texts.iter());
    texts.map(|&text| text.to_owned()).collect()
}

fn shown(list: &[Requirement]) -> BTreeSet<String> {
    let port = |r: &Requirement| r.terms.ports.first().map_or("any".into(), ToString::to_string);
    list.iter().map(|r| format!("{} {} {}", r.destination, r.transport, port(r))).collect()
}
