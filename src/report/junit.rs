use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    DestinationEntry, Gate, Report, RuleEntry,
    wording::{
        advice, bytes, change, class_name, flag_meaning, frame, limits, nodes, outcomes, patterns,
        permits, printable, reached_by, service, shortened, show_commands, verdict_name,
    },
};
use crate::verdict::{Evidence, Verdict};

/// Writes the report as JUnit XML: a suite for each service, whose cases are its rules, and one of
/// destinations. What `gate` selects is a failure; what nobody tried, doesn't apply or can't be
/// told is skipped.
///
/// # Errors
///
/// When writing fails.
pub fn write_junit(report: &Report, gate: &Gate, out: &mut impl Write) -> io::Result<()> {
    let mut services: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    for rule in &report.rules {
        services.entry(&rule.service).or_default().push(rule_case(rule, report, gate));
    }
    let mut suites: Vec<(String, Vec<Case>)> =
        services.into_iter().map(|(name, cases)| (name.to_owned(), cases)).collect();
    let found = report.destinations.iter();
    suites.push((
        "destinations".to_owned(),
        found.map(|found| destination_case(found, report, gate)).collect(),
    ));
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let (tests, failures) = (all().count(), all().filter(|case| case.failed()).count());
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuites name=\"egress-auditor\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">"
    )?;
    for (name, cases) in &suites {
        suite(name, cases, report, out)?;
    }
    writeln!(out, "</testsuites>")
}

struct Case {
    class: String,
    name: String,
    verdict: &'static str,
    result: Outcome,
    /// What the case prints.
    told: String,
}

enum Outcome {
    Passed,
    /// With the reason in a few words.
    Skipped(&'static str),
    /// With what to do.
    Failed(String),
}

impl Case {
    const fn failed(&self) -> bool {
        matches!(self.result, Outcome::Failed(_))
    }
}

fn rule_case(rule: &RuleEntry, report: &Report, gate: &Gate) -> Case {
    let verdict = verdict_name(rule.verdict);
    let result = match rule.verdict {
        _ if gate.fails_rule(rule) => Outcome::Failed(match advice(rule) {
            Some(advice) => advice,
            None => format!("{verdict}: {}", patterns(rule).join(", ")),
        }),
        Verdict::NotExercised => Outcome::Skipped("nobody tried while the capture ran"),
        Verdict::NotApplicable => Outcome::Skipped("the rule's condition is off"),
        Verdict::Inconclusive => Outcome::Skipped("the packets don't tell"),
        Verdict::Blocked | Verdict::Degraded | Verdict::Reachable => Outcome::Passed,
    };
    let mut told = format!("verdict: {verdict}\nlevel: {}\n", rule.level.name());
    let mut add = |what: &str, value: String| {
        if !value.is_empty() {
            told.push_str(&format!("{what}: {value}\n"));
        }
    };
    add("stage", rule.stage.map_or(String::new(), |stage| stage.as_str().to_owned()));
    for target in &rule.destinations {
        let verdict = verdict_name(target.verdict);
        let text = format!(
            "{} {}: {verdict} {}",
            target.pattern,
            service(rule),
            outcomes(&target.outcomes)
        );
        add("destination", text.trim_end().to_owned());
    }
    add("needed for", rule.purpose.clone());
    add("stated in", format!("{}, \"{}\"", rule.source.document, rule.source.section));
    add("baseline", change(rule.change).to_owned());
    add("nodes", nodes(&rule.nodes));
    proof(&rule.evidence, report, &mut told);
    let name = format!("{}: {} {}", rule.id, shortened(&patterns(rule)), service(rule));
    Case { class: rule.service.clone(), name, verdict, result, told }
}

fn destination_case(found: &DestinationEntry, report: &Report, gate: &Gate) -> Case {
    let class = class_name(found.class);
    let verdict = verdict_name(found.verdict);
    let result = match found.verdict {
        _ if gate.fails_destination(found) => Outcome::Failed(format!(
            "{class}: {} {} from {}",
            found.name,
            reached_by(found),
            shortened(&found.clients)
        )),
        Verdict::Inconclusive => Outcome::Skipped("the packets don't tell"),
        _ => Outcome::Passed,
    };
    let mut told = format!(
        "verdict: {verdict}\nclass: {class}\noutcomes: {}\nclients: {}\nbytes: {} out, {} in\n",
        outcomes(&found.outcomes),
        shortened(&found.clients),
        bytes(found.bytes.out),
        bytes(found.bytes.inward)
    );
    for meaning in found.flags.iter().filter_map(|flag| flag_meaning(*flag)) {
        told.push_str(&format!("note: {meaning}\n"));
    }
    permits(found).iter().for_each(|line| told.push_str(&format!("{line}\n")));
    for (what, value) in
        [("baseline", change(found.change).to_owned()), ("nodes", nodes(&found.nodes))]
    {
        if !value.is_empty() {
            told.push_str(&format!("{what}: {value}\n"));
        }
    }
    proof(&found.evidence, report, &mut told);
    let name = format!("{} {}", found.name, reached_by(found));
    Case { class: format!("destinations.{class}"), name, verdict, result, told }
}

fn proof(evidence: &[Evidence], report: &Report, told: &mut String) {
    for item in evidence {
        told.push_str(&format!("{} {} {}\n", frame(item, report), item.ts, item.detail));
    }
    for command in show_commands(evidence, report) {
        told.push_str(&format!("show with: {command}\n"));
    }
}

fn suite(name: &str, cases: &[Case], report: &Report, out: &mut impl Write) -> io::Result<()> {
    let failures = cases.iter().filter(|case| case.failed()).count();
    let skipped = cases.iter().filter(|case| matches!(case.result, Outcome::Skipped(_))).count();
    writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">",
        xml(name),
        cases.len()
    )?;
    let limits = limits(report);
    if !limits.is_empty() {
        writeln!(out, "    <properties>")?;
        let limits = xml(&limits.join("; "));
        writeln!(out, "      <property name=\"coverage\" value=\"{limits}\"/>")?;
        writeln!(out, "    </properties>")?;
    }
    for case in cases {
        writeln!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\">",
            xml(&case.class),
            xml(&case.name)
        )?;
        match &case.result {
            Outcome::Passed => {}
            Outcome::Skipped(why) => {
                writeln!(out, "      <skipped message=\"{}: {}\"/>", case.verdict, xml(why))?;
            }
            Outcome::Failed(why) => writeln!(
                out,
                "      <failure type=\"{}\" message=\"{}\">{}</failure>",
                case.verdict,
                xml(why),
                xml_lines(&case.told)
            )?,
        }
        writeln!(out, "      <system-out>{}</system-out>", xml_lines(&case.told))?;
        writeln!(out, "    </testcase>")?;
    }
    writeln!(out, "  </testsuite>")
}

/// Text that XML 1.0 can hold (section 2.2), with its markup escaped.
fn xml(text: &str) -> String {
    let mut escaped = String::new();
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn xml_lines(text: &str) -> String {
    text.lines().map(|line| xml(line) + "\n").collect()
}
