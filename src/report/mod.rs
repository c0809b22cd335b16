//! Findings in, bytes out: one file for each format.

mod baseline;
mod explain;
mod gate;
mod html;
mod json;
mod junit;
mod markdown;
mod merge;
mod ndjson;
mod profile;
mod sarif;
mod schema;
mod text;
mod witness;
mod wording;

use std::{borrow::Cow, collections::BTreeMap, ops::Deref};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    baseline::{Baseline, Change, Gone},
    explain::{explain, explainable},
    gate::{Gate, GateClass},
    html::write_html,
    json::{read_json, write_json},
    junit::write_junit,
    markdown::write_markdown,
    merge::{Fleet, MergeError},
    ndjson::write_ndjson,
    profile::{AllowlistUsed, NetworkUsed, ProfileUsed},
    sarif::write_sarif,
    schema::{observation_schema, profile_schema, report_schema},
    text::{Detail, TextOptions, write_text, write_text_with},
    witness::{Agreement, Decision, NotSeen, Witness, Witnessed, join},
};
use crate::{
    base::Timestamp,
    scan::Census,
    source::{InputStats, LinkType},
    verdict::{DestinationFinding, Findings, RuleFinding, Summary, Verdict},
};

/// Name and version of the report's JSON form.
pub const SCHEMA: &str = "egress-auditor/report/1";

/// Everything that a report says. Serialises to the JSON form, and is read back from it. The same
/// data always gives the same bytes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was read.
    pub inputs: Vec<Input>,
    /// What the capture could and couldn't show.
    pub coverage: Coverage,
    /// The site, as the profile describes it.
    pub profile: ProfileUsed,
    /// Findings by rule: by verdict, `blocked` first, then in the catalogs' order.
    pub rules: Vec<RuleEntry>,
    /// Findings by destination: by class, `unexpected` first, then by name.
    pub destinations: Vec<DestinationEntry>,
    /// Numbers.
    pub summary: Summary,
    /// What a firewall logged meanwhile; absent when no log was given, and in merged reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_log: Option<Witness>,
    /// What changed since an earlier report; absent when none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The nodes that a merged report is about, sorted; absent in a report on one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
}

/// Names of nodes by their verdict, sorted.
pub type NodesByVerdict = BTreeMap<Verdict, Vec<String>>;

/// A node of a merged report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its site, as its profile describes it.
    pub profile: ProfileUsed,
}

/// A finding about a rule, with what is known only beyond one audit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RuleEntry {
    /// The finding.
    #[serde(flatten)]
    pub finding: RuleFinding,
    /// Whether the baseline has it; absent without a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The nodes that it was found on, in a merged report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: NodesByVerdict,
}

/// A finding about a destination, with what is known only beyond one audit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DestinationEntry {
    /// The finding.
    #[serde(flatten)]
    pub finding: DestinationFinding,
    /// Whether the baseline has it; absent without a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The nodes that it was found on, in a merged report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: NodesByVerdict,
}

impl RuleEntry {
    fn new(finding: RuleFinding) -> Self {
        Self { finding, change: None, nodes: NodesByVerdict::new() }
    }
}

impl DestinationEntry {
    fn new(finding: DestinationFinding) -> Self {
        Self { finding, change: None, nodes: NodesByVerdict::new() }
    }
}

impl Deref for RuleEntry {
    type Target = RuleFinding;
    fn deref(&self) -> &RuleFinding {
        &self.finding
    }
}

impl Deref for DestinationEntry {
    type Target = DestinationFinding;
    fn deref(&self) -> &DestinationFinding {
        &self.finding
    }
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// As the user named it.
    pub path: String,
    /// Link types of its frames, joined by commas.
    pub link_type: String,
    /// Frames read.
    pub frames: u64,
    /// Sum of their lengths on the wire.
    pub bytes: u64,
    /// Earliest capture time.
    pub first: Option<Timestamp>,
    /// Latest capture time.
    pub last: Option<Timestamp>,
    /// Frames that were lost while capturing; null when neither the file nor the system says.
    #[serde(default)]
    pub dropped: Option<u64>,
    /// Where and why reading ended early.
    pub truncated: Option<String>,
    /// What only a live capture tells; absent for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveInput>,
    /// The node that it was captured on, in a merged report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What a live capture tells beside its frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct LiveInput {
    /// Frames that passed the filter, as the kernel counted them.
    pub received: u64,
    /// Frames that were lost because the kernel's buffer was full.
    pub dropped: u64,
    /// Frames that the interface or its driver lost, as far as the system tells.
    pub interface_dropped: u64,
    /// The user's filter.
    pub filter: Option<String>,
    /// True when the kernel dropped the bulk of downloads: bytes that came in are too few.
    pub prefilter: bool,
    /// The latest times in which the interface was down or gone, and nothing was seen.
    pub gaps: Vec<GapSpan>,
    /// How many there were.
    pub gap_count: u64,
    /// What the kernel only counted; null when it handed over all that passed the filter.
    #[serde(default)]
    pub cutoff: Option<CutOff>,
}

/// Frames that came late in their flows, which the kernel counted and didn't hand over.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct CutOff {
    /// Payload bytes of each direction of a flow that were handed over.
    pub limit: u64,
    /// Frames that weren't.
    pub frames: u64,
    /// Payload bytes in them. They are counted in the bytes of destinations, but for `uncounted`.
    pub bytes: u64,
    /// Those of which it isn't known any more to whom they went: by so much, the bytes of destinations
    /// are too few in all.
    pub uncounted: u64,
}

/// A time of which nothing was seen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct GapSpan {
    /// The last time that the interface was known to be up.
    pub from: Timestamp,
    /// When it was back; null while it is away.
    pub to: Option<Timestamp>,
}

/// What the capture could and couldn't show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Frames read.
    pub frames: u64,
    /// Frames that gave a packet.
    pub decoded: u64,
    /// Frames that didn't, by reason.
    pub undecoded: BTreeMap<String, u64>,
    /// Frames of link types that aren't supported, by link type.
    pub unsupported_link_types: BTreeMap<String, u64>,
    /// Frames that were lost while capturing, as far as the inputs tell.
    pub dropped: u64,
    /// TCP connections that began before the capture.
    pub midstream_flows: u64,
    /// Flows of which only one direction was captured.
    pub one_sided: u64,
    /// Flows and names dropped because a table was full; flows not read to their end for want of memory,
    /// twice.
    pub evicted: u64,
    /// Flows that have no name.
    pub unnamed_flows: u64,
    /// Flows that came from outside, and aren't egress.
    pub inbound_flows: u64,
}

impl Report {
    /// Puts a report together.
    pub fn new(
        inputs: &[InputStats],
        census: &Census,
        profile: ProfileUsed,
        findings: Findings,
    ) -> Self {
        let Census { counters, names, .. } = census;
        let link = |(link, count): (&LinkType, &u64)| (link.to_string(), *count);
        let reason = |(reason, count): (&Cow<'_, str>, &u64)| (reason.to_string(), *count);
        let coverage = Coverage {
            frames: counters.frames,
            decoded: counters.decoded(),
            undecoded: counters.undecoded.iter().map(reason).collect(),
            unsupported_link_types: counters.unsupported_links.iter().map(link).collect(),
            dropped: counters.dropped,
            midstream_flows: findings.midstream_flows,
            one_sided: findings.one_sided,
            evicted: counters.evicted + names.shed(),
            unnamed_flows: findings.unnamed_flows,
            inbound_flows: findings.inbound_flows,
        };
        let Findings { rules, destinations, summary, .. } = findings;
        Self {
            schema: SCHEMA.to_owned(),
            inputs: inputs.iter().map(Input::new).collect(),
            coverage,
            profile,
            rules: rules.into_iter().map(RuleEntry::new).collect(),
            destinations: destinations.into_iter().map(DestinationEntry::new).collect(),
            summary,
            firewall_log: None,
            baseline: None,
            nodes: Vec::new(),
        }
    }
}

impl Input {
    fn new(stats: &InputStats) -> Self {
        let links: Vec<_> = stats.link_types.iter().map(ToString::to_string).collect();
        Self {
            path: stats.path.display().to_string(),
            link_type: links.join(","),
            frames: stats.frames,
            bytes: stats.bytes,
            first: stats.first,
            last: stats.last,
            dropped: stats.dropped,
            truncated: stats.truncated.as_ref().map(ToString::to_string),
            live: None,
            node: None,
        }
    }
}
