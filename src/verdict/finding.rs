use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    allowlist::Origin,
    base::{HostName, Timestamp},
    catalog::{Level, Source},
    decode::Transport,
    verdict::{Outcome, Proof, Reason, Stage},
};

/// What is found about a rule, or about one of its destinations.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Attempts fail, and none succeeds.
    Blocked,
    /// Some attempts fail.
    Degraded,
    /// There were attempts, but the packets don't tell.
    Inconclusive,
    /// Nobody tried.
    NotExercised,
    /// Attempts succeed.
    Reachable,
    /// The rule's condition is off.
    NotApplicable,
}

/// Why a destination is in the report.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// No rule explains it.
    Unexpected,
    /// It has several possible names, which would be classed differently; or it began before the
    /// capture, and its name can't be known.
    Ambiguous,
    /// A rule would explain it, but its condition is off.
    Conditional,
    /// No rule explains it, but the firewall's allowlist permits it.
    Allowed,
    /// A rule requires it.
    Required,
    /// A rule recommends it.
    Recommended,
    /// Inside the site.
    Internal,
}

/// What a destination's name comes from, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum NamedBy {
    Sni,
    QuicSni,
    Connect,
    HttpHost,
    Lookup,
    Dns,
    DnsOtherClient,
    Address,
}

/// What else is worth knowing about a destination.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The client never resolved this name to this address, although its DNS was seen.
    NameUncorroborated,
    /// The name is the outer one of Encrypted Client Hello: it may hide another.
    EchOuter,
    /// It was reached through a proxy.
    Proxied,
    /// It is a proxy of the profile, or acted as one.
    Proxy,
    /// It was reached directly, although the profile has a proxy.
    ProxyBypass,
    /// It was asked of the proxy, although it lies on the host itself or inside the site.
    ProxySkipMissed,
    /// Only seen under way: the connections began before the capture.
    Midstream,
    /// QUIC failed, but the client reached the same name over TCP.
    TcpFallback,
}

impl Flag {
    const ALL: [Self; 8] = [
        Self::NameUncorroborated,
        Self::EchOuter,
        Self::Proxied,
        Self::Proxy,
        Self::ProxyBypass,
        Self::ProxySkipMissed,
        Self::Midstream,
        Self::TcpFallback,
    ];
}

/// A set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Adds one.
    pub fn add(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Adds those of another set.
    pub fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// True when the flag is among them.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// All, sorted.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        Self(1 << flag as u8)
    }
}

/// How often each outcome occurred.
pub type Outcomes = BTreeMap<Outcome, u64>;

/// A packet that shows something, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Capture time.
    pub ts: Timestamp,
    /// Index of the input.
    pub input: u32,
    /// 1-based number of the frame in it.
    pub frame: u64,
    /// Outcome of the attempt that it belongs to.
    pub outcome: Outcome,
    /// What the frame shows.
    pub detail: Cow<'static, str>,
}

impl Evidence {
    pub(super) fn new(outcome: Outcome, Proof { stamp, detail }: Proof) -> Self {
        let (input, frame) = (stamp.frame.input(), stamp.frame.number());
        Self { ts: stamp.time, input, frame, outcome, detail }
    }
}

/// What is found about a rule.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RuleFinding {
    /// The rule.
    pub id: String,
    /// The part of the product that needs it.
    pub service: String,
    /// How strongly.
    pub level: Level,
    /// The verdict.
    pub verdict: Verdict,
    /// Its destinations, each with its own verdict.
    pub destinations: Vec<TargetFinding>,
    /// The stage at which the failing attempts fail.
    pub stage: Option<Stage>,
    /// Where the evidence says the block sits, and what to ask for.
    pub advice: Option<String>,
    /// Frames that show it.
    pub evidence: Vec<Evidence>,
    /// What it is needed for.
    #[serde(rename = "use")]
    pub purpose: String,
    /// TCP or UDP.
    pub transport: Transport,
    /// Ports, as in the catalog.
    pub ports: Vec<String>,
    /// The features that make it apply.
    pub when: Option<String>,
    /// Where it is stated.
    pub source: Source,
}

/// What is found about one of a rule's destinations.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TargetFinding {
    /// The destination as the rule writes it, with the profile's values.
    pub pattern: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Names seen that match it, sorted.
    pub names: Vec<String>,
    /// Attempts: tries that follow each other closely are one.
    pub attempts: u64,
    /// Connections and failed lookups, by outcome.
    pub outcomes: Outcomes,
    /// What keeps it from being matched.
    pub unresolved: Option<String>,
}

/// What is found about a destination.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DestinationFinding {
    /// Its name, or its address.
    pub name: String,
    /// Where the name comes from.
    pub named_by: NamedBy,
    /// Other names that it may have been, sorted.
    pub candidates: Vec<HostName>,
    /// Addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// TCP or UDP; null for a name that was only looked up.
    pub transport: Option<Transport>,
    /// Port; null for a name that was only looked up.
    pub port: Option<u16>,
    /// Why it is here.
    pub class: Class,
    /// The rules that explain it, the most specific first.
    pub rules: Vec<String>,
    /// The condition that would explain it.
    pub condition: Option<String>,
    /// The allowlist's entries that permit it, where no rule explains it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<Origin>,
    /// The allowlist's entries that can't be compared and may decide otherwise than its class says,
    /// where no rule explains it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided_by: Vec<Origin>,
    /// Tries that follow each other closely are one.
    pub attempts: u64,
    /// Connections and failed lookups, by outcome.
    pub outcomes: Outcomes,
    /// Why some are inconclusive.
    pub reasons: BTreeMap<Reason, u64>,
    /// How far the attempts got: the furthest of those that fail, else of all.
    pub stage: Option<Stage>,
    /// The verdict over its attempts.
    pub verdict: Verdict,
    /// Clients, sorted.
    pub clients: Vec<IpAddr>,
    /// Payload bytes.
    pub bytes: Bytes,
    /// First packet.
    pub first: Timestamp,
    /// Last packet.
    pub last: Timestamp,
    /// What else is worth knowing.
    pub flags: Vec<Flag>,
    /// Frames that show it.
    pub evidence: Vec<Evidence>,
}

/// Payload bytes by direction, from the client's point of view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Bytes {
    pub out: u64,
    #[serde(rename = "in")]
    pub inward: u64,
}

/// All findings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// By verdict, blocked first, then in the catalogs' order.
    pub rules: Vec<RuleFinding>,
    /// By class, unexpected first, then by name.
    pub destinations: Vec<DestinationFinding>,
    /// Numbers.
    pub summary: Summary,
    /// TCP connections that began before the capture.
    #[serde(skip)]
    pub midstream_flows: u64,
    /// Flows of which only one direction was captured.
    #[serde(skip)]
    pub one_sided: u64,
    /// Flows that have no name.
    #[serde(skip)]
    pub unnamed_flows: u64,
    /// Flows that came from outside: not egress, not judged.
    #[serde(skip)]
    pub inbound_flows: u64,
}

/// Numbers of findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Required rules that apply.
    pub required: RuleCounts,
    /// Recommended and conditional rules that apply.
    pub recommended: RuleCounts,
    /// Destinations that no rule explains.
    pub unexpected: u64,
    /// Destinations of several possible names.
    pub ambiguous: u64,
    /// Destinations that a rule would explain if its condition were on.
    pub conditional: u64,
    /// Destinations that only the firewall's allowlist explains.
    #[serde(default)]
    pub allowed: u64,
    /// Destinations inside the site.
    pub internal: u64,
}

impl Summary {
    /// Counts rules by level and verdict, and destinations by class.
    pub fn count(
        rules: impl Iterator<Item = (Level, Verdict)>,
        classes: impl Iterator<Item = Class>,
    ) -> Self {
        let mut summary = Self::default();
        for (level, verdict) in rules {
            match level {
                Level::Required => summary.required.add(verdict),
                Level::Recommended | Level::Conditional => summary.recommended.add(verdict),
            }
        }
        for class in classes {
            match class {
                Class::Unexpected => summary.unexpected += 1,
                Class::Ambiguous => summary.ambiguous += 1,
                Class::Conditional => summary.conditional += 1,
                Class::Allowed => summary.allowed += 1,
                Class::Internal => summary.internal += 1,
                Class::Required | Class::Recommended => {}
            }
        }
        summary
    }
}

/// Rules by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct RuleCounts {
    pub reachable: u64,
    pub degraded: u64,
    pub blocked: u64,
    pub inconclusive: u64,
    pub not_exercised: u64,
}

impl RuleCounts {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Reachable => self.reachable += 1,
            Verdict::Degraded => self.degraded += 1,
            Verdict::Blocked => self.blocked += 1,
            Verdict::Inconclusive => self.inconclusive += 1,
            Verdict::NotExercised => self.not_exercised += 1,
            Verdict::NotApplicable => {}
        }
    }
}
