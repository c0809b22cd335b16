use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    Change, DestinationEntry, Gate, Gone, Report, RuleEntry,
    wording::{
        advice, change, class_name, frame, headline, outcomes, patterns, printable, reached_by,
        service, shortened, show_commands, verdict, verdict_name,
    },
};
use crate::{
    catalog::Level,
    verdict::{Class, Evidence, Verdict},
};

/// Writes the report as SARIF 2.1.0 (OASIS standard): a rule for each of the catalogs' rules and
/// for each class of destinations, a result for each finding. What `gate` selects has level
/// `error`.
///
/// # Errors
///
/// When writing fails.
pub fn write_sarif(report: &Report, gate: &Gate, out: &mut impl Write) -> io::Result<()> {
    let mut results: Vec<Value> = Vec::new();
    for (index, rule) in report.rules.iter().enumerate() {
        results.push(rule_result(index, rule, report, gate));
    }
    for found in &report.destinations {
        let index = report.rules.len() + class_index(found.class);
        results.push(destination_result(index, found, report, gate));
    }
    results.extend(report.baseline.iter().flat_map(|baseline| &baseline.gone).map(gone_result));
    let mut rules: Vec<Value> = report.rules.iter().map(rule_descriptor).collect();
    rules.extend(CLASSES.iter().map(|(class, meaning)| class_descriptor(*class, meaning)));
    let run = json!({
        "tool": {"driver": {
            "name": "egress-auditor",
            "version": env!("CARGO_PKG_VERSION"),
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": rules,
        }},
        "invocations": [invocation(report)],
        "artifacts": report.inputs.iter().map(artifact).collect::<Vec<_>>(),
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {"summary": report.summary, "coverage": report.coverage},
    });
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    out.write_all(b"\n")
}

const CLASSES: [(Class, &str); 7] = [
    (Class::Unexpected, "No rule explains the destination."),
    (Class::Ambiguous, "The destination has several possible names, or none that can be known."),
    (Class::Conditional, "A rule would explain the destination if its condition were on."),
    (Class::Allowed, "No rule explains the destination, but the firewall's allowlist permits it."),
    (Class::Required, "A required rule explains the destination."),
    (Class::Recommended, "A recommended rule explains the destination."),
    (Class::Internal, "The destination is inside the site."),
];

fn class_index(class: Class) -> usize {
    CLASSES.iter().position(|(other, _)| *other == class).unwrap_or_default()
}

fn class_rule(class: Class) -> String {
    format!("destination/{}", class_name(class))
}

fn rule_descriptor(rule: &RuleEntry) -> Value {
    let purpose = printable(&rule.purpose);
    let source = format!("{}, \"{}\"", rule.source.document, rule.source.section);
    let help = format!(
        "{} {} must be reachable by {}. {purpose} Stated in {source}.",
        printable(&shortened(&all_patterns(rule))),
        if rule.destinations.len() == 1 { "" } else { "(each)" },
        service(rule)
    );
    json!({
        "id": printable(&rule.id),
        "shortDescription": {"text": format!("{} of {}", rule.id, rule.service)},
        "fullDescription": {"text": purpose},
        "help": {"text": printable(&help.replace("  ", " "))},
        "defaultConfiguration": {"level": level_of(rule.level)},
        "properties": {"service": rule.service, "level": rule.level, "when": rule.when},
    })
}

fn all_patterns(rule: &RuleEntry) -> Vec<String> {
    rule.destinations.iter().map(|target| target.pattern.clone()).collect()
}

fn class_descriptor(class: Class, meaning: &str) -> Value {
    json!({
        "id": class_rule(class),
        "shortDescription": {"text": meaning},
        "defaultConfiguration": {"level": "warning"},
    })
}

const fn level_of(level: Level) -> &'static str {
    match level {
        Level::Required => "error",
        _ => "warning",
    }
}

fn rule_result(index: usize, rule: &RuleEntry, report: &Report, gate: &Gate) -> Value {
    let kind = match rule.verdict {
        _ if gate.fails_rule(rule) => "fail",
        Verdict::Blocked | Verdict::Degraded => "fail",
        Verdict::Inconclusive => "open",
        Verdict::NotExercised => "informational",
        Verdict::Reachable => "pass",
        Verdict::NotApplicable => "notApplicable",
    };
    let stage = rule.stage.map_or(String::new(), |stage| format!(" at {}", stage.as_str()));
    let advice = advice(rule).map_or(String::new(), |advice| format!(" {advice}"));
    let what = shortened(&patterns(rule));
    let text = format!("{what} {}: {}{stage}.{advice}", service(rule), verdict(rule.verdict));
    let fails = gate.fails_rule(rule);
    let mut result = result(&rule.id, index, kind, fails, level_of(rule.level), &text);
    result["partialFingerprints"] = json!({"rule/v1": rule.id});
    result["properties"] = json!({
        "verdict": verdict_name(rule.verdict),
        "stage": rule.stage,
        "destinations": rule.destinations,
        "commands": show_commands(&rule.evidence, report),
        "nodes": rule.nodes,
    });
    place(&mut result, &rule.evidence, rule.change, report);
    result
}

fn destination_result(
    index: usize,
    found: &DestinationEntry,
    report: &Report,
    gate: &Gate,
) -> Value {
    let kind = match found.class {
        _ if gate.fails_destination(found) => "fail",
        Class::Unexpected => "fail",
        Class::Ambiguous | Class::Conditional => "review",
        Class::Allowed | Class::Required | Class::Recommended | Class::Internal => "informational",
    };
    let text = format!(
        "{} {}: {}, {} ({}) from {}.",
        found.name,
        reached_by(found),
        class_name(found.class),
        verdict(found.verdict),
        outcomes(&found.outcomes),
        shortened(&found.clients)
    );
    let fails = gate.fails_destination(found);
    let mut result = result(&class_rule(found.class), index, kind, fails, "warning", &text);
    let identity = format!("{} {}", found.name, reached_by(found));
    result["partialFingerprints"] = json!({"destination/v1": identity});
    result["properties"] = json!({
        "name": found.name,
        "class": found.class,
        "verdict": verdict_name(found.verdict),
        "stage": found.stage,
        "transport": found.transport,
        "port": found.port,
        "bytes": found.bytes,
        "clients": found.clients,
        "flags": found.flags,
        "allowed_by": found.allowed_by,
        "undecided_by": found.undecided_by,
        "commands": show_commands(&found.evidence, report),
        "nodes": found.nodes,
    });
    place(&mut result, &found.evidence, found.change, report);
    result
}

/// What the baseline had and this report hasn't (section 3.27.24).
fn gone_result(gone: &Gone) -> Value {
    let (id, what) = match (&gone.rule, &gone.destination) {
        (Some(rule), _) => (rule.clone(), rule.clone()),
        (None, Some(name)) => (format!("destination/{}", gone.was), name.clone()),
        (None, None) => return json!({"message": {"text": "gone"}, "baselineState": "absent"}),
    };
    let now = gone.now.as_deref().unwrap_or("not in this report");
    json!({
        "ruleId": printable(&id),
        "kind": "informational",
        "level": "none",
        "message": {"text": printable(&format!("{what} was {}, is {now}.", gone.was))},
        "baselineState": "absent",
    })
}

/// A result without its places. Only what fails may have a level (section 3.27.9).
fn result(id: &str, index: usize, kind: &str, fails: bool, level: &str, text: &str) -> Value {
    let level = match kind {
        "fail" if fails => "error",
        // Not what the pipeline fails on: at most a warning.
        "fail" if level == "error" => "warning",
        "fail" => "note",
        _ => "none",
    };
    json!({
        "ruleId": printable(id),
        "ruleIndex": index,
        "kind": kind,
        "level": level,
        "message": {"text": printable(text)},
    })
}

/// Where the proof is: the capture, and each frame that shows it.
fn place(result: &mut Value, evidence: &[Evidence], changed: Option<Change>, report: &Report) {
    if let Some(first) = evidence.first() {
        result["locations"] = json!([location(first, report)]);
        let related = evidence.iter().enumerate().map(|(id, item)| {
            let mut place = location(item, report);
            place["id"] = json!(id);
            place["message"] = json!({"text": printable(&format!(
                "{} at {}: {} ({})",
                frame(item, report),
                item.ts,
                item.detail,
                item.outcome.as_str()
            ))});
            place
        });
        result["relatedLocations"] = related.collect();
    } else if !report.inputs.is_empty() {
        result["locations"] =
            json!([{"physicalLocation": {"artifactLocation": artifact_at(0, report)}}]);
    }
    if changed.is_some() {
        let known = change(changed) == "known";
        result["baselineState"] = json!(if known { "unchanged" } else { "new" });
    }
}

fn location(item: &Evidence, report: &Report) -> Value {
    let input = usize::try_from(item.input).unwrap_or(usize::MAX);
    json!({
        "physicalLocation": {"artifactLocation": artifact_at(input, report)},
        "logicalLocations": [{
            "name": format!("frame {}", item.frame),
            "fullyQualifiedName": format!("input {}, frame {}", item.input, item.frame),
            "kind": "frame",
        }],
    })
}

fn artifact_at(input: usize, report: &Report) -> Value {
    match report.inputs.get(input) {
        Some(found) => json!({"uri": uri(&found.path), "index": input}),
        None => json!({"uri": "unknown"}),
    }
}

fn artifact(input: &super::Input) -> Value {
    json!({
        "location": {"uri": uri(&input.path)},
        "roles": ["analysisTarget"],
        "description": {"text": printable(&format!(
            "{} frames, {}",
            input.frames, input.link_type
        ))},
    })
}

fn invocation(report: &Report) -> Value {
    let damaged = report.inputs.iter().enumerate();
    let notes: Vec<Value> = damaged
        .filter_map(|(index, input)| {
            let damage = input.truncated.as_ref()?;
            Some(json!({
                "level": "error",
                "message": {"text": printable(&format!("read only in part: {damage}"))},
                "locations": [{"physicalLocation": {"artifactLocation": artifact_at(index, report)}}],
            }))
        })
        .collect();
    json!({
        "executionSuccessful": notes.is_empty(),
        "toolExecutionNotifications": notes,
        "properties": {"headline": headline(report)},
    })
}

/// A path as a URI reference (RFC 3986 sections 2.1 and 4.2).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    } else if path.split('/').next().is_some_and(|first| first.contains(':')) {
        // Or else the part before the colon would be a scheme.
        uri.push_str("./");
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_uri_references() {
        assert_eq!(uri("fixtures/a b.pcap"), "fixtures/a%20b.pcap");
        assert_eq!(uri("/var/x%.pcap"), "file:///var/x%25.pcap");
        assert_eq!(uri("c:ap/x"), "./c%3Aap/x");
        assert_eq!(uri("-"), "-");
    }
}
