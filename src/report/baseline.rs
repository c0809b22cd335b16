//! What is new since an earlier report.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DestinationEntry, Report, RuleEntry,
    wording::{class_name, verdict_name},
};
use crate::{
    decode::Transport,
    verdict::{Class, RuleFinding, Verdict},
};

/// Whether the baseline has a finding.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The baseline doesn't have it, or something better.
    New,
    /// The baseline has it, or something worse.
    Known,
}

/// What changed since the baseline, as far as it needs attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// Findings that need attention and that the baseline doesn't have.
    pub new: u64,
    /// Findings that need attention and that the baseline has.
    pub known: u64,
    /// The baseline's findings that needed attention and are gone.
    pub gone: Vec<Gone>,
}

/// A finding of the baseline that is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Gone {
    /// The rule; null for a destination.
    pub rule: Option<String>,
    /// The destination's name, with transport and port; null for a rule.
    pub destination: Option<String>,
    /// Its verdict, or the destination's class, in the baseline.
    pub was: String,
    /// What it is now; null when this report hasn't got it at all.
    pub now: Option<String>,
}

impl Report {
    /// Marks what is new since `earlier` and what it already has, and lists what is gone.
    pub fn compare(&mut self, earlier: &Self) {
        let mut change = Baseline::default();
        let rules: BTreeMap<&str, &RuleFinding> =
            earlier.rules.iter().map(|rule| (rule.id.as_str(), &rule.finding)).collect();
        for rule in &mut self.rules {
            let known = rules.get(rule.id.as_str()).is_some_and(|was| has_rule(was, rule));
            rule.change = Some(if known { Change::Known } else { Change::New });
            if severity(rule.verdict) > 0 {
                change.count(known);
            }
        }
        let destinations: BTreeMap<_, _> =
            earlier.destinations.iter().map(|found| (key(found), found)).collect();
        for found in &mut self.destinations {
            let known =
                destinations.get(&key(found)).is_some_and(|was| has_destination(was, found));
            found.change = Some(if known { Change::Known } else { Change::New });
            if needs_attention(found.class) {
                change.count(known);
            }
        }
        change.gone = gone(earlier, self);
        self.baseline = Some(change);
    }
}

impl Baseline {
    fn count(&mut self, known: bool) {
        match known {
            true => self.known += 1,
            false => self.new += 1,
        }
    }
}

/// How bad a rule's verdict is.
const fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Blocked => 3,
        Verdict::Degraded => 2,
        Verdict::Inconclusive => 1,
        Verdict::NotExercised | Verdict::Reachable | Verdict::NotApplicable => 0,
    }
}

const fn needs_attention(class: Class) -> bool {
    matches!(class, Class::Unexpected | Class::Ambiguous | Class::Conditional)
}

/// True when the rule was as bad before, at every pattern that now fails.
fn has_rule(was: &RuleFinding, now: &RuleFinding) -> bool {
    if severity(now.verdict) == 0 {
        return was.verdict == now.verdict;
    }
    let before: BTreeMap<&str, u8> =
        was.destinations.iter().map(|d| (d.pattern.as_str(), severity(d.verdict))).collect();
    let as_bad = |pattern: &str, bad| before.get(pattern).is_some_and(|before| *before >= bad);
    severity(was.verdict) >= severity(now.verdict)
        && now
            .destinations
            .iter()
            .all(|d| severity(d.verdict) == 0 || as_bad(&d.pattern, severity(d.verdict)))
}

/// True when the destination had this class before, was as bad, and had these flags.
fn has_destination(was: &DestinationEntry, now: &DestinationEntry) -> bool {
    was.class == now.class
        && severity(was.verdict) >= severity(now.verdict)
        && now.flags.iter().all(|flag| was.flags.contains(flag))
}

fn key(found: &DestinationEntry) -> (&str, Option<Transport>, Option<u16>) {
    (&found.name, found.transport, found.port)
}

fn gone(earlier: &Report, now: &Report) -> Vec<Gone> {
    let rules: BTreeMap<&str, &RuleEntry> =
        now.rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
    let destinations: BTreeMap<_, _> =
        now.destinations.iter().map(|found| (key(found), found)).collect();
    let mut gone = BTreeSet::new();
    for was in earlier.rules.iter().filter(|rule| severity(rule.verdict) > 0) {
        let rule = rules.get(was.id.as_str());
        if rule.is_none_or(|rule| severity(rule.verdict) == 0) {
            gone.insert(Gone {
                rule: Some(was.id.clone()),
                destination: None,
                was: verdict_name(was.verdict).to_owned(),
                now: rule.map(|rule| verdict_name(rule.verdict).to_owned()),
            });
        }
    }
    for was in earlier.destinations.iter().filter(|found| needs_attention(found.class)) {
        let found = destinations.get(&key(was));
        if found.is_none_or(|found| !needs_attention(found.class)) {
            let service = match (was.transport, was.port) {
                (Some(transport), Some(port)) => format!(" {transport} {port}"),
                _ => String::new(),
            };
            gone.insert(Gone {
                rule: None,
                destination: Some(format!("{}{service}", was.name)),
                was: class_name(was.class).to_owned(),
                now: found.map(|found| class_name(found.class).to_owned()),
            });
        }
    }
    gone.into_iter().collect()
}
