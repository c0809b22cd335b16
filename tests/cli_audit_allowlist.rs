//! `audit --allowlist`: what only the firewall's allowlist explains.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

#[path = "common/command.rs"]
mod run;

use std::{fs, path::Path};

use run::{Run, run};
use serde_json::Value;

const CASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/unexpected");

fn audit(args: &[&str]) -> Run {
    let profile = format!("{CASE}/profile.toml");
    let capture = format!("{CASE}/capture.pcap");
    run(["audit", "--profile", &profile, &capture].iter().chain(args))
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_the_allowlist_permits_is_not_unexpected() {
    let folder = tempfile::tempdir().unwrap();
    let list = file(folder.path(), "list.txt", "# ours\n*.example.net:443\n");
    let other = file(folder.path(), "other.txt", "*.example.org\n");
    let run = audit(&["--allowlist", &list, "--format", "json", "--fail-on", "unexpected"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let found = &report["destinations"][0];
    assert_eq!(
        (&found["name"], &found["class"]),
        (&"telemetry.example.net".into(), &"allowed".into())
    );
    let entry = &found["allowed_by"][0];
    assert_eq!((&entry["file"], &entry["line"]), (&list.clone().into(), &2.into()));
    assert_eq!(
        (&report["summary"]["unexpected"], &report["summary"]["allowed"]),
        (&0.into(), &1.into())
    );
    let used = &report["profile"]["allowlist"];
    assert_eq!((&used["entries"], &used["files"][0]), (&1.into(), &list.clone().into()));
    // Required rules are what they were.
    assert_eq!(report["summary"]["required"]["reachable"], 1);
    assert_eq!(audit(&["--allowlist", &list, "--fail-on", "allowed"]).code, Some(1));
    // All files are one policy.
    let both = audit(&["--allowlist", &other, "--allowlist", &list, "--fail-on", "unexpected"]);
    assert_eq!(both.code, Some(0), "{both:?}");
    assert_eq!(audit(&["--allowlist", &other, "--fail-on", "unexpected"]).code, Some(1));
}

#[test]
fn every_format_shows_the_entry() {
    let folder = tempfile::tempdir().unwrap();
    let list = file(folder.path(), "list.txt", "*.example.net:443\n");
    for format in ["text", "json", "ndjson", "md", "html", "junit", "sarif"] {
        let run = audit(&["--allowlist", &list, "--format", format, "--fail-on", "none"]);
        assert!(run.stdout.contains("allowed"), "{format}: {run:?}");
        assert!(run.stdout.contains("list.txt"), "{format}: {run:?}");
    }
    let text = audit(&["--allowlist", &list]).stdout;
    assert!(text.contains("ALLOWED: only the firewall's allowlist explains these (1)"), "{text}");
    assert!(text.contains("list.txt:1 allows *.example.net 443/tcp+udp"), "{text}");
    // Nothing that needs attention.
    assert_eq!(audit(&["--allowlist", &list, "--quiet"]).stdout, "");
}

#[test]
fn a_baseline_tells_that_it_was_unexpected() {
    let folder = tempfile::tempdir().unwrap();
    let before = audit(&["--format", "json"]).stdout;
    let before = file(folder.path(), "before.json", &before);
    let list = file(folder.path(), "list.txt", "*.example.net:443\n");
    let text = audit(&["--allowlist", &list, "--baseline", &before]).stdout;
    assert!(text.contains("telemetry.example.net tcp 443: was unexpected, is allowed"), "{text}");
}

#[test]
fn nodes_with_other_lists_merge() {
    let folder = tempfile::tempdir().unwrap();
    let report = |node: &str, text: Option<&str>| {
        let list = text.map(|text| file(folder.path(), &format!("{node}.txt"), text));
        let list: Vec<&str> = list.iter().flat_map(|list| ["--allowlist", list]).collect();
        let run = audit(&[&["--node", node, "--format", "json"], &list[..]].concat());
        file(folder.path(), &format!("{node}.json"), &run.stdout)
    };
    let wide = report("wide", Some("*\n"));
    let narrow = report("narrow", Some("*.example.net\n"));
    let none = report("none", None);
    let merged = |reports: &[&str]| -> Value {
        let run = run(["merge", "--fail-on", "none"].iter().chain(reports));
        serde_json::from_str(&run.stdout).unwrap()
    };
    let both = merged(&[&wide, &narrow]);
    assert_eq!(both["destinations"][0]["class"], "allowed");
    assert_eq!(both["destinations"][0]["allowed_by"].as_array().unwrap().len(), 2);
    assert_eq!(both["nodes"][0]["profile"]["allowlist"]["entries"], 1);
    // Where one node has no list that permits it, it is unexpected.
    let all = merged(&[&wide, &narrow, &none]);
    assert_eq!(all["destinations"][0]["class"], "unexpected");
    assert_eq!(all["destinations"][0]["allowed_by"], Value::Null);
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let list = file(folder.path(), "list.csv", "destination,port\na.example,70000\n");
    for (args, said) in [
        (&["--allowlist", &list][..], "list.csv:2"),
        (&["--allowlist", "nothing.txt"], "nothing.txt"),
        (&["--allowlist-format", "plain"], "--allowlist"),
        (&["--allowlist", "-", "-"], "only once"),
        (&["--allowlist", "-", "--allowlist", "-"], "only once"),
    ] {
        let run = audit(args);
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.stderr.contains(said), "{args:?}: {run:?}");
    }
}
