use std::io::{self, Write};

use serde::Serialize;

use super::{Baseline, Coverage, DestinationEntry, Input, Node, ProfileUsed, Report, RuleEntry};
use crate::verdict::Summary;

/// Writes the report as lines of JSON: the head, then one for each rule, then one for each
/// destination. Each has `"record"`: `head`, `rule` or `destination`.
///
/// # Errors
///
/// When writing fails.
pub fn write_ndjson(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Report { schema, inputs, coverage, profile, rules, destinations, .. } = report;
    let Report { summary, baseline, nodes, .. } = report;
    let baseline = baseline.as_ref();
    line(&Record::Head { schema, inputs, coverage, profile, summary, baseline, nodes }, out)?;
    rules.iter().try_for_each(|rule| line(&Record::Rule(rule), out))?;
    destinations.iter().try_for_each(|found| line(&Record::Destination(found), out))
}

#[derive(Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record<'r> {
    Head {
        schema: &'r str,
        inputs: &'r [Input],
        coverage: &'r Coverage,
        profile: &'r ProfileUsed,
        summary: &'r Summary,
        #[serde(skip_serializing_if = "Option::is_none")]
        baseline: Option<&'r Baseline>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        nodes: &'r [Node],
    },
    Rule(&'r RuleEntry),
    Destination(&'r DestinationEntry),
}

fn line(record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
}
