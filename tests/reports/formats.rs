//! Every finding, in every format, with the same verdict.

use std::collections::{BTreeMap, BTreeSet};

use egress_auditor::report::Report;
use serde_json::Value;

use super::{audit, common, html, junit, markdown, ndjson, sarif, text};

/// A rule's id, or a destination's name and service, with its verdict.
type Findings = BTreeSet<(String, String)>;

#[test]
fn all_formats_tell_the_same() {
    for case in common::cases() {
        let report = audit(&case);
        let expected = of_json(&report);
        assert!(!expected.is_empty());
        for (format, found) in [
            ("text", of_text(&text(&report))),
            ("md", of_markdown(&markdown(&report))),
            ("html", of_html(&html(&report))),
            ("ndjson", of_ndjson(&ndjson(&report))),
            ("junit", of_junit(&junit(&report))),
            ("sarif", of_sarif(&sarif(&report))),
        ] {
            let missing: Vec<_> = expected.difference(&found).collect();
            let added: Vec<_> = found.difference(&expected).collect();
            assert!(
                missing.is_empty() && added.is_empty(),
                "{} {format}: missing {missing:?}, added {added:?}",
                common::name(&case)
            );
        }
    }
}

fn of_json(report: &Report) -> Findings {
    let report: Value = serde_json::from_str(&common::json(report)).unwrap();
    let rules = report["rules"].as_array().unwrap().iter().map(rule);
    rules.chain(report["destinations"].as_array().unwrap().iter().map(destination)).collect()
}

fn rule(found: &Value) -> (String, String) {
    (string(&found["id"]), string(&found["verdict"]))
}

fn destination(found: &Value) -> (String, String) {
    let service = match (&found["transport"], &found["port"]) {
        (Value::String(transport), Value::Number(port)) => format!("{transport} {port}"),
        _ => "(only looked up)".to_owned(),
    };
    (format!("{} {service}", string(&found["name"])), string(&found["verdict"]))
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn verdict(word: &str) -> Option<String> {
    const VERDICTS: [&str; 6] =
        ["blocked", "degraded", "inconclusive", "not_exercised", "reachable", "not_applicable"];
    let word = word.trim().replace(' ', "_");
    VERDICTS.contains(&&*word).then_some(word)
}

fn of_ndjson(told: &str) -> Findings {
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| match line["record"].as_str().unwrap() {
            "rule" => Some(rule(&line)),
            "destination" => Some(destination(&line)),
            _ => None,
        })
        .collect()
}

fn of_sarif(told: &str) -> Findings {
    let log: Value = serde_json::from_str(told).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap().iter();
    results
        .map(|result| {
            let properties = &result["properties"];
            match string(&result["ruleId"]).starts_with("destination/") {
                true => destination(properties),
                false => (string(&result["ruleId"]), string(&properties["verdict"])),
            }
        })
        .collect()
}

fn of_junit(told: &str) -> Findings {
    let document = roxmltree::Document::parse(told).unwrap();
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    cases
        .map(|case| {
            let output = case.children().find(|node| node.has_tag_name("system-out")).unwrap();
            let line = output.text().unwrap().lines().next().unwrap();
            let verdict = line.strip_prefix("verdict: ").unwrap().to_owned();
            let name = case.attribute("name").unwrap();
            match case.attribute("classname").unwrap().starts_with("destinations.") {
                true => (name.to_owned(), verdict),
                false => (name.split_once(": ").unwrap().0.to_owned(), verdict),
            }
        })
        .collect()
}

/// Rows of tables, by the headings of their columns.
fn of_markdown(told: &str) -> Findings {
    let mut found = Findings::new();
    let mut columns: BTreeMap<String, usize> = BTreeMap::new();
    for line in told.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let (id, rest) = heading.split_once(": ").unwrap();
            let word = rest.split(" at ").next().unwrap();
            found.insert((id.trim_matches('`').to_owned(), verdict(word).unwrap()));
            continue;
        }
        if line.starts_with("|---") {
            continue;
        }
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            columns.clear();
            continue;
        };
        let cells: Vec<_> = row.split(" | ").map(str::trim).collect();
        if columns.is_empty() {
            columns = (0..).zip(&cells).map(|(at, cell)| ((*cell).to_owned(), at)).collect();
            continue;
        }
        let cell = |name: &str| columns.get(name).map(|at| cells[*at].trim_matches('`'));
        if let (Some(name), Some(service), Some(word)) =
            (cell("destination"), cell("service"), cell("verdict"))
        {
            found.insert((format!("{name} {service}"), verdict(word).unwrap()));
        } else if let (Some(id), Some(word)) = (cell("rule"), cell("verdict")) {
            found.insert((id.to_owned(), verdict(word).unwrap()));
        }
    }
    found
}

/// Rows of tables that can be sorted.
fn of_html(told: &str) -> Findings {
    let mut found = Findings::new();
    for table in told.split("<table class=\"data\">").skip(1) {
        let table = table.split("</table>").next().unwrap();
        for row in table.split("<tr data-k=").skip(1) {
            let badges = row.split("<span class=\"badge ").skip(1);
            let words = badges.filter_map(|badge| badge.split_once('>')?.1.split('<').next());
            let word = words.filter_map(verdict).next().unwrap();
            let codes: Vec<_> =
                row.split("<code>").skip(1).map(|code| code.split('<').next().unwrap()).collect();
            let head = row.split("<th scope=\"row\">").nth(1).unwrap();
            // A destination's row begins with its name, a rule's ends with its id.
            let key = match row.split_once('>').unwrap().1.starts_with("<th") {
                true => {
                    let port = head.split("<td").nth(1).unwrap();
                    let port = port.split_once('>').unwrap().1.split('<').next().unwrap();
                    format!("{} {port}", codes[0])
                }
                false => (*codes.last().unwrap()).to_owned(),
            };
            found.insert((key, word));
        }
    }
    found
}

/// The verbose report: rules under the headings of their verdicts, destinations with their own.
fn of_text(told: &str) -> Findings {
    let mut found = Findings::new();
    let mut section = String::new();
    let mut name = String::new();
    for line in told.lines().skip_while(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        if !line.is_empty() && !line.starts_with(' ') {
            section = line.split([':', '(']).next().unwrap().trim().to_lowercase();
        } else if line.starts_with("    ") {
            // A destination's own verdict: `reachable, stage tls`.
            if let Some((word, _)) = line.split_once(", stage ") {
                found.insert((name.clone(), verdict(word).unwrap()));
            }
        } else if section == "explained" && !words.is_empty() {
            let rest = line.trim();
            let at = ["not exercised", words[1]].into_iter().find(|word| rest.contains(word));
            let told = at.unwrap();
            let name = rest.split_once(told).unwrap().1.trim().split(", ").next().unwrap();
            let name = name.rsplit_once(' ').map_or(name, |_| name);
            found.insert((name.to_owned(), verdict(told).unwrap()));
        } else if let Some(word) = verdict(&section).filter(|_| !words.is_empty()) {
            found.insert((words[0].to_owned(), word));
        } else if !words.is_empty() {
            name = line.trim().split(": ").next().unwrap().to_owned();
        }
    }
    found
}
