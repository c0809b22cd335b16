//! Every fixture's audit against its reviewed `expected.json`.
//!
//! `UPDATE_EXPECTED=1 cargo test --test cases` rewrites the files that are there;
//! `UPDATE_EXPECTED=all` also those that aren't yet. Review what it changes against "What an audit
//! must say" in the case's README.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, env, fs, path::Path, sync::Arc};

use common::{Setting, cases, dropped, frames, name, scan};
use egress_auditor::report::Report;
use serde_json::{Value, json};

#[test]
fn audits_say_what_was_reviewed() {
    let update = env::var("UPDATE_EXPECTED").unwrap_or_default();
    let mut wrong = Vec::new();
    for case in cases() {
        let file = case.join("expected.json");
        let told = pretty(&reduced(&audit(&case)));
        let expected = fs::read_to_string(&file).ok();
        if (update == "1" && expected.is_some()) || update == "all" {
            fs::write(&file, &told).unwrap();
            continue;
        }
        match expected {
            None => println!("{}: not reviewed yet, no expected.json", name(&case)),
            Some(expected) if expected == told => {}
            Some(expected) => wrong.push(difference(name(&case), &expected, &told)),
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn audit(case: &Path) -> Report {
    let setting = Setting::of(case);
    let resolvers: Arc<[_]> = setting.resolvers();
    let mut census = scan(&frames(case), &resolvers, &mut ());
    census.counters.dropped = dropped(case);
    setting.report(&census)
}

/// What of a report stays the same when a case is recorded anew, and the frames that prove it.
fn reduced(report: &Report) -> Value {
    let report: Value = serde_json::from_str(&common::json(report)).unwrap();
    let told = |rule: &&Value| !matches!(text(rule, "verdict"), "not_exercised" | "not_applicable");
    let rules: BTreeMap<_, _> = list(&report, "rules")
        .filter(told)
        .map(|rule| (text(rule, "id").to_owned(), rule["verdict"].clone()))
        .collect();
    let blocked = rules.values().any(|verdict| verdict == "blocked");
    let destinations: Vec<_> = list(&report, "destinations").map(destination).collect();
    let coverage = &report["coverage"];
    let mut covered = json!({
        "midstream_flows": coverage["midstream_flows"],
        "one_sided": coverage["one_sided"],
        "inbound_flows": coverage["inbound_flows"],
    });
    if coverage["dropped"] != 0 {
        covered["lossy"] = json!(true);
    }
    json!({
        "exit": i32::from(blocked),
        "coverage": covered,
        "rules": rules,
        "destinations": destinations,
    })
}

fn destination(found: &Value) -> Value {
    const KEPT: [&str; 10] = [
        "name",
        "named_by",
        "transport",
        "port",
        "class",
        "verdict",
        "stage",
        "outcomes",
        "reasons",
        "flags",
    ];
    let mut kept: serde_json::Map<_, _> =
        KEPT.iter().map(|key| ((*key).to_owned(), found[*key].clone())).collect();
    let evidence = list(found, "evidence").map(|item| {
        json!(format!("{} {}: {}", item["frame"], text(item, "outcome"), text(item, "detail")))
    });
    kept.insert("evidence".to_owned(), evidence.collect());
    Value::Object(kept)
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().unwrap().iter()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// The lines that only one of the two has.
fn difference(name: &str, expected: &str, told: &str) -> String {
    let only = |one: &str, other: &str, mark: char| {
        let others: Vec<_> = other.lines().collect();
        let lines = one.lines().filter(|line| !others.contains(line));
        lines.map(|line| format!("  {mark} {line}\n")).collect::<String>()
    };
    format!("{name}\n{}{}", only(expected, told, '-'), only(told, expected, '+'))
}
