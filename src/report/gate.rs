use super::{Change, DestinationEntry, Report, RuleEntry};
use crate::verdict::{Class, Flag, Verdict};

/// A class of findings that a pipeline may fail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateClass {
    /// A rule is blocked, or a proxy can't be reached.
    Blocked,
    /// Some attempts on a rule fail.
    Degraded,
    /// There were attempts, but the packets don't tell.
    Inconclusive,
    /// A rule that applies and that nobody tried.
    NotExercised,
    /// A destination that no rule explains.
    Unexpected,
    /// A destination of several possible names, or of none that can be known.
    Ambiguous,
    /// A destination that a rule would explain if its condition were on.
    Conditional,
    /// A destination that only the firewall's allowlist explains.
    Allowed,
    /// A destination reached directly, although the profile has a proxy.
    ProxyBypass,
    /// A destination asked of the proxy, although it lies inside.
    ProxySkipMissed,
    /// A name that the client never resolved to the address.
    NameUncorroborated,
}

/// The classes that a pipeline fails on. With a baseline, only what is new fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate(Vec<GateClass>);

impl GateClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::Blocked,
        Self::Degraded,
        Self::Inconclusive,
        Self::NotExercised,
        Self::Unexpected,
        Self::Ambiguous,
        Self::Conditional,
        Self::Allowed,
        Self::ProxyBypass,
        Self::ProxySkipMissed,
        Self::NameUncorroborated,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Degraded => "degraded",
            Self::Inconclusive => "inconclusive",
            Self::NotExercised => "not-exercised",
            Self::Unexpected => "unexpected",
            Self::Ambiguous => "ambiguous",
            Self::Conditional => "conditional",
            Self::Allowed => "allowed",
            Self::ProxyBypass => "proxy-bypass",
            Self::ProxySkipMissed => "proxy-skip-missed",
            Self::NameUncorroborated => "name-uncorroborated",
        }
    }

    /// What it selects, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Blocked => "a rule is blocked, or a proxy can't be reached",
            Self::Degraded => "some attempts on a rule fail",
            Self::Inconclusive => "a rule was tried, but the packets don't tell",
            Self::NotExercised => "nobody tried a rule that applies",
            Self::Unexpected => "no rule explains a destination",
            Self::Ambiguous => "a destination has several possible names, or none",
            Self::Conditional => "a rule would explain a destination if its condition were on",
            Self::Allowed => "only the firewall's allowlist explains a destination",
            Self::ProxyBypass => "a destination was reached past the profile's proxy",
            Self::ProxySkipMissed => "a destination inside was asked of the proxy",
            Self::NameUncorroborated => "a client never resolved the name that it used",
        }
    }

    fn takes_rule(self, rule: &RuleEntry) -> bool {
        match self {
            Self::Blocked => rule.verdict == Verdict::Blocked,
            Self::Degraded => rule.verdict == Verdict::Degraded,
            Self::Inconclusive => rule.verdict == Verdict::Inconclusive,
            Self::NotExercised => rule.verdict == Verdict::NotExercised,
            _ => false,
        }
    }

    fn takes_destination(self, found: &DestinationEntry) -> bool {
        let flagged = |flag| found.flags.contains(&flag);
        match self {
            // A proxy that can't be reached blocks everything behind it.
            Self::Blocked => flagged(Flag::Proxy) && found.verdict == Verdict::Blocked,
            Self::Unexpected => found.class == Class::Unexpected,
            Self::Ambiguous => found.class == Class::Ambiguous,
            Self::Conditional => found.class == Class::Conditional,
            Self::Allowed => found.class == Class::Allowed,
            Self::ProxyBypass => flagged(Flag::ProxyBypass),
            Self::ProxySkipMissed => flagged(Flag::ProxySkipMissed),
            Self::NameUncorroborated => flagged(Flag::NameUncorroborated),
            Self::Degraded | Self::Inconclusive | Self::NotExercised => false,
        }
    }
}

impl Gate {
    /// A gate that fails on these classes; on nothing when there are none.
    pub fn new(classes: impl IntoIterator<Item = GateClass>) -> Self {
        Self(classes.into_iter().collect())
    }

    /// True when the rule's finding fails the pipeline.
    pub fn fails_rule(&self, rule: &RuleEntry) -> bool {
        rule.change != Some(Change::Known) && self.0.iter().any(|class| class.takes_rule(rule))
    }

    /// True when the destination's finding fails the pipeline.
    pub fn fails_destination(&self, found: &DestinationEntry) -> bool {
        found.change != Some(Change::Known)
            && self.0.iter().any(|class| class.takes_destination(found))
    }

    /// True when anything in the report fails the pipeline.
    pub fn fails(&self, report: &Report) -> bool {
        report.rules.iter().any(|rule| self.fails_rule(rule))
            || report.destinations.iter().any(|found| self.fails_destination(found))
    }
}
