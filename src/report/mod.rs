//! Findings in, bytes out: one file for each format.

mod json;
mod text;

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

pub use self::{json::write_json, text::write_text};
use crate::{
    base::Timestamp,
    catalog::{Param, Profile},
    scan::Census,
    source::{InputStats, LinkType},
    verdict::{DestinationFinding, Findings, RuleFinding, Summary},
};

/// Name and version of the report's JSON form.
pub const SCHEMA: &str = "egress-auditor/report/1";

/// Everything that a report says. Serialises to the JSON form. The same data always gives the same
/// bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was read.
    pub inputs: Vec<Input>,
    /// What the capture could and couldn't show.
    pub coverage: Coverage,
    /// The site, as the profile describes it.
    pub profile: ProfileUsed,
    /// Findings by rule.
    pub rules: Vec<RuleFinding>,
    /// Findings by destination.
    pub destinations: Vec<DestinationFinding>,
    /// Numbers.
    pub summary: Summary,
}

/// One input.
#[derive(Clone, Debug, Serialize)]
pub struct Input {
    /// As the user named it.
    pub path: PathBuf,
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
    /// Where and why reading ended early.
    pub truncated: Option<String>,
    /// What only a live capture tells; absent for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveInput>,
}

/// What a live capture tells beside its frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

/// A time of which nothing was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GapSpan {
    /// The last time that the interface was known to be up.
    pub from: Timestamp,
    /// When it was back; null while it is away.
    pub to: Option<Timestamp>,
}

/// What the capture could and couldn't show.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Frames read.
    pub frames: u64,
    /// Frames that gave a packet.
    pub decoded: u64,
    /// Frames that didn't, by reason.
    pub undecoded: BTreeMap<&'static str, u64>,
    /// Frames of link types that aren't supported, by link type.
    pub unsupported_link_types: BTreeMap<String, u64>,
    /// Frames that the kernel lost.
    pub dropped: u64,
    /// TCP connections that began before the capture.
    pub midstream_flows: u64,
    /// Flows of which only one direction was captured.
    pub one_sided: u64,
    /// Flows and names dropped because a table was full.
    pub evicted: u64,
    /// Flows that have no name.
    pub unnamed_flows: u64,
    /// Flows that came from outside, and aren't egress.
    pub inbound_flows: u64,
}

/// The profile as used.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileUsed {
    /// Its file; null when none was given.
    pub file: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub profile: Profile,
    /// Parameters that the applying rules mention and that have no value: they match one label.
    pub unbound: Vec<Param>,
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
        let coverage = Coverage {
            frames: counters.frames,
            decoded: counters.decoded(),
            undecoded: counters.undecoded.clone(),
            unsupported_link_types: counters.unsupported_links.iter().map(link).collect(),
            dropped: counters.dropped,
            midstream_flows: findings.midstream_flows,
            one_sided: findings.one_sided,
            evicted: counters.evicted + names.shed(),
            unnamed_flows: findings.unnamed_flows,
            inbound_flows: findings.inbound_flows,
        };
        let Findings { rules, destinations, summary, .. } = findings;
        let inputs = inputs.iter().map(Input::new).collect();
        Self { schema: SCHEMA, inputs, coverage, profile, rules, destinations, summary }
    }
}

impl Input {
    fn new(stats: &InputStats) -> Self {
        let links: Vec<_> = stats.link_types.iter().map(ToString::to_string).collect();
        Self {
            path: stats.path.clone(),
            link_type: links.join(","),
            frames: stats.frames,
            bytes: stats.bytes,
            first: stats.first,
            last: stats.last,
            truncated: stats.truncated.as_ref().map(ToString::to_string),
            live: None,
        }
    }
}
