//! What a window changed: two reports in, one line out.

use std::collections::{BTreeMap, HashMap};

use egress_auditor::{
    decode::Transport,
    report::{GapSpan, Report},
    verdict::{
        Class, DestinationFinding, Evidence, Outcomes, RuleFinding, Stage, Summary, Verdict,
    },
};
use serde::Serialize;

use super::window::Window;

/// One line of `audit --window`.
#[derive(Debug, Serialize)]
pub(crate) struct WindowLine {
    event: &'static str,
    #[serde(flatten)]
    window: Window,
    /// What came in this window.
    frames: u64,
    bytes: u64,
    undecoded: BTreeMap<String, u64>,
    /// Frames that were lost in this window.
    dropped: u64,
    /// Entries dropped from full tables in this window.
    evicted: u64,
    /// Times in which an interface was away, and this window had part of.
    gaps: Vec<InputGap>,
    /// Rules whose verdict isn't what it was.
    verdicts: Vec<RuleChange>,
    /// Destinations that are blocked and weren't.
    blocked: Vec<DestinationChange>,
    /// Destinations that no rule explains, and that weren't there before.
    unexpected: Vec<DestinationChange>,
    /// True when profile, catalogs, service tags or allowlist were read anew since the window before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reloaded: bool,
    /// Numbers since the capture began.
    summary: Summary,
}

#[derive(Debug, Serialize)]
struct InputGap {
    input: usize,
    #[serde(flatten)]
    span: GapSpan,
}

#[derive(Debug, Serialize)]
struct RuleChange {
    rule: String,
    was: Option<Verdict>,
    verdict: Verdict,
    /// Names that were tried.
    names: Vec<String>,
    stage: Option<Stage>,
    advice: Option<String>,
    evidence: Vec<Evidence>,
}

#[derive(Debug, Serialize)]
struct DestinationChange {
    name: String,
    transport: Option<Transport>,
    port: Option<u16>,
    class: Class,
    verdict: Verdict,
    stage: Option<Stage>,
    outcomes: Outcomes,
    rules: Vec<String>,
    evidence: Vec<Evidence>,
}

/// What makes a destination the same in two reports.
type Key<'r> = (&'r str, Option<Transport>, Option<u16>);

impl WindowLine {
    /// The difference between what was known before the window, if anything, and after it.
    pub(crate) fn new(
        window: Window,
        before: Option<&Report>,
        after: &Report,
        reloaded: bool,
    ) -> Self {
        let count = |of: fn(&Report) -> u64| of(after).saturating_sub(before.map_or(0, of));
        let rules: HashMap<_, _> =
            before.iter().flat_map(|r| &r.rules).map(|rule| rule_entry(rule)).collect();
        let known: HashMap<_, _> =
            before.iter().flat_map(|report| &report.destinations).map(|d| (key(d), d)).collect();
        let newly = |is: fn(&DestinationFinding) -> bool| {
            let found = after.destinations.iter().filter(|d| is(d));
            let fresh = found.filter(|d| !known.get(&key(d)).is_some_and(|d| is(d)));
            fresh.map(|found| DestinationChange::new(found)).collect()
        };
        Self {
            event: "window",
            window,
            frames: count(|report| report.coverage.frames),
            bytes: count(|report| report.inputs.iter().map(|input| input.bytes).sum()),
            undecoded: undecoded(before, after),
            dropped: count(|report| report.coverage.dropped),
            evicted: count(|report| report.coverage.evicted),
            gaps: gaps(window, after),
            verdicts: after
                .rules
                .iter()
                .filter_map(|rule| RuleChange::new(rules.get(&rule.id[..]).copied(), rule))
                .collect(),
            blocked: newly(|d| d.verdict == Verdict::Blocked),
            unexpected: newly(|d| d.class == Class::Unexpected),
            reloaded,
            summary: after.summary.clone(),
        }
    }
}

impl RuleChange {
    fn new(was: Option<Verdict>, rule: &RuleFinding) -> Option<Self> {
        // Nobody having tried is no news.
        let idle = |verdict| matches!(verdict, Verdict::NotExercised | Verdict::NotApplicable);
        if was == Some(rule.verdict) || (was.is_none_or(idle) && idle(rule.verdict)) {
            return None;
        }
        Some(Self {
            rule: rule.id.clone(),
            was,
            verdict: rule.verdict,
            names: rule.destinations.iter().flat_map(|target| target.names.clone()).collect(),
            stage: rule.stage,
            advice: rule.advice.clone(),
            evidence: rule.evidence.clone(),
        })
    }
}

impl DestinationChange {
    fn new(found: &DestinationFinding) -> Self {
        Self {
            name: found.name.clone(),
            transport: found.transport,
            port: found.port,
            class: found.class,
            verdict: found.verdict,
            stage: found.stage,
            outcomes: found.outcomes.clone(),
            rules: found.rules.clone(),
            evidence: found.evidence.clone(),
        }
    }
}

fn rule_entry(rule: &RuleFinding) -> (&str, Verdict) {
    (&rule.id, rule.verdict)
}

fn key(found: &DestinationFinding) -> Key<'_> {
    (&found.name, found.transport, found.port)
}

fn undecoded(before: Option<&Report>, after: &Report) -> BTreeMap<String, u64> {
    let was =
        |reason: &str| before.and_then(|r| r.coverage.undecoded.get(reason)).copied().unwrap_or(0);
    let counts = after.coverage.undecoded.iter();
    let more = counts.map(|(reason, &count)| (reason.clone(), count.saturating_sub(was(reason))));
    more.filter(|&(_, count)| count > 0).collect()
}

fn gaps(window: Window, after: &Report) -> Vec<InputGap> {
    let touches =
        |span: &GapSpan| span.from < window.end && span.to.is_none_or(|to| to >= window.start);
    let mut found = Vec::new();
    for (input, live) in after.inputs.iter().enumerate() {
        let spans = live.live.iter().flat_map(|live| &live.gaps).filter(|span| touches(span));
        found.extend(spans.map(|&span| InputGap { input, span }));
    }
    found
}
