//! Reports of many nodes as one. Order and grouping don't matter: every part of the state is a
//! union, a sum, or the worst or smallest of a total order, and a node is in it once.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    Coverage, DestinationEntry, Input, Node, NodesByVerdict, ProfileUsed, Report, RuleEntry, SCHEMA,
};
use crate::{
    decode::Transport,
    verdict::{
        Class, DestinationFinding, Evidence, Meaning, RuleFinding, Stage, Summary, TargetFinding,
        Verdict,
    },
};

/// Nodes whose evidence a merged finding keeps: those with failures first, then by name.
const EVIDENCE_NODES: usize = 16;

/// Sentences of advice that a merged finding keeps.
const ADVICE: usize = 8;

/// Gathers reports of nodes, one at a time.
#[derive(Default)]
pub struct Fleet {
    nodes: BTreeMap<String, OneNode>,
    coverage: Coverage,
    rules: BTreeMap<String, Rule>,
    destinations: BTreeMap<DestinationKey, Destination>,
}

/// Why a report can't be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A node is there already.
    #[error(
        "node `{0}` is there already; audit a node's captures together, or name them apart with audit --node"
    )]
    Twice(String),
    /// Something refers to an input or a node that the report doesn't have.
    #[error("the report contradicts itself: {0}")]
    Broken(String),
}

type DestinationKey = (String, Option<Transport>, Option<u16>);

struct OneNode {
    profile: ProfileUsed,
    inputs: Vec<Input>,
}

/// Evidence of each node: inputs are counted within the node.
type Proof = BTreeMap<(u8, String), Vec<Evidence>>;

struct Rule {
    finding: RuleFinding,
    advice: BTreeSet<String>,
    targets: BTreeMap<String, TargetFinding>,
    proof: Proof,
    nodes: BTreeMap<Verdict, BTreeSet<String>>,
}

struct Destination {
    finding: DestinationFinding,
    proof: Proof,
    nodes: BTreeMap<Verdict, BTreeSet<String>>,
}

impl Report {
    /// Says which node the report is about. Merging keeps this name.
    pub fn name_node(&mut self, name: &str) {
        self.nodes = vec![Node { name: name.to_owned(), profile: self.profile.clone() }];
        self.inputs.iter_mut().for_each(|input| input.node = Some(name.to_owned()));
        let nodes = |verdict| NodesByVerdict::from([(verdict, vec![name.to_owned()])]);
        self.rules.iter_mut().for_each(|rule| rule.nodes = nodes(rule.verdict));
        self.destinations.iter_mut().for_each(|found| found.nodes = nodes(found.verdict));
    }
}

impl Fleet {
    /// Adds the report of a node that is called `name`, unless the report says otherwise; or a
    /// merged report, whose nodes have names.
    ///
    /// # Errors
    ///
    /// When a node is in twice, or when the report contradicts itself. What was added before stays.
    pub fn add(&mut self, mut report: Report, name: &str) -> Result<(), MergeError> {
        if report.nodes.is_empty() {
            report.name_node(name);
        }
        let places = self.enter_nodes(&report)?;
        add_coverage(&mut self.coverage, &report.coverage);
        for entry in report.rules {
            let rule = Rule::new(entry, &places)?;
            match self.rules.entry(rule.finding.id.clone()) {
                Entry::Occupied(known) => known.into_mut().add(rule),
                Entry::Vacant(free) => {
                    free.insert(rule);
                }
            }
        }
        for entry in report.destinations {
            let found = Destination::new(entry, &places)?;
            match self.destinations.entry(key(&found.finding)) {
                Entry::Occupied(known) => known.into_mut().add(found),
                Entry::Vacant(free) => {
                    free.insert(found);
                }
            }
        }
        Ok(())
    }

    /// The report on all nodes.
    pub fn finish(self) -> Report {
        let mut offsets = BTreeMap::new();
        let mut inputs = Vec::new();
        let mut nodes = Vec::new();
        for (name, node) in self.nodes {
            offsets.insert(name.clone(), u32::try_from(inputs.len()).unwrap_or(u32::MAX));
            inputs.extend(node.inputs);
            nodes.push(Node { name, profile: node.profile });
        }
        let rules = self.rules.into_values().map(|rule| rule.finish(&offsets));
        let mut rules: Vec<RuleEntry> = rules.collect();
        rules.sort_by(|a, b| (a.verdict, &a.id).cmp(&(b.verdict, &b.id)));
        let found = self.destinations.into_values().map(|found| found.finish(&offsets));
        let mut destinations: Vec<DestinationEntry> = found.collect();
        destinations.sort_by_key(|found| found.class);
        let profile = nodes.iter().map(|node| &node.profile).min().cloned();
        Report {
            schema: SCHEMA.to_owned(),
            inputs,
            coverage: self.coverage,
            profile: profile.unwrap_or_default(),
            summary: Summary::count(
                rules.iter().map(|rule| (rule.level, rule.verdict)),
                destinations.iter().map(|found| found.class),
            ),
            rules,
            destinations,
            firewall_log: None,
            baseline: None,
            nodes,
        }
    }

    /// Takes the report's nodes and inputs. Gives the place of each input: its node, and its number
    /// within the node.
    fn enter_nodes(&mut self, report: &Report) -> Result<Vec<(String, u32)>, MergeError> {
        let mut nodes = BTreeMap::new();
        for Node { name, profile } in &report.nodes {
            let node = OneNode { profile: profile.clone(), inputs: Vec::new() };
            if self.nodes.contains_key(name) || nodes.insert(name.clone(), node).is_some() {
                return Err(MergeError::Twice(name.clone()));
            }
        }
        let mut places = Vec::new();
        for input in &report.inputs {
            let name = input.node.clone().unwrap_or_default();
            let node = nodes.get_mut(&name).ok_or_else(|| {
                MergeError::Broken(format!("no node `{name}`, but an input of it"))
            })?;
            places.push((name, u32::try_from(node.inputs.len()).unwrap_or(u32::MAX)));
            node.inputs.push(input.clone());
        }
        self.nodes.extend(nodes);
        Ok(places)
    }
}

fn key(found: &DestinationFinding) -> DestinationKey {
    (found.name.clone(), found.transport, found.port)
}

/// How bad a verdict is on one of many nodes: the worst node's counts.
const fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Blocked => 5,
        Verdict::Degraded => 4,
        Verdict::Inconclusive => 3,
        Verdict::Reachable => 2,
        Verdict::NotExercised => 1,
        Verdict::NotApplicable => 0,
    }
}

fn worst(one: Verdict, other: Verdict) -> Verdict {
    if badness(one) >= badness(other) { one } else { other }
}

/// The stage that goes with the worst verdict.
fn worst_stage(one: (Verdict, Option<Stage>), other: (Verdict, Option<Stage>)) -> Option<Stage> {
    let rank = |(verdict, stage): (Verdict, Option<Stage>)| (badness(verdict), stage);
    if rank(one) >= rank(other) { one.1 } else { other.1 }
}

impl Rule {
    fn new(entry: RuleEntry, places: &[(String, u32)]) -> Result<Self, MergeError> {
        let RuleEntry { mut finding, nodes, change: _ } = entry;
        let advice = finding.advice.take();
        let targets = std::mem::take(&mut finding.destinations).into_iter();
        let mut by_pattern: BTreeMap<String, TargetFinding> = BTreeMap::new();
        for mut target in targets {
            sort(&mut target.names);
            add_target(&mut by_pattern, target);
        }
        Ok(Self {
            advice: advice.iter().flat_map(|text| text.lines()).map(str::to_owned).collect(),
            targets: by_pattern,
            proof: proof(std::mem::take(&mut finding.evidence), places)?,
            nodes: sets(nodes),
            finding,
        })
    }

    /// Adds what is smaller to what is bigger: the cost is that of the smaller.
    fn add(&mut self, other: Self) {
        let (mine, theirs) = (&self.finding, &other.finding);
        let verdict = worst(mine.verdict, theirs.verdict);
        let stage = worst_stage((mine.verdict, mine.stage), (theirs.verdict, theirs.stage));
        // Catalogs of different versions may describe a rule differently.
        if described(theirs) < described(mine) {
            self.finding = other.finding;
        }
        (self.finding.verdict, self.finding.stage) = (verdict, stage);
        self.advice.extend(other.advice);
        while self.advice.len() > ADVICE {
            self.advice.pop_last();
        }
        for target in other.targets.into_values() {
            add_target(&mut self.targets, target);
        }
        join_proof(&mut self.proof, other.proof);
        join_nodes(&mut self.nodes, other.nodes);
    }

    fn finish(self, offsets: &BTreeMap<String, u32>) -> RuleEntry {
        let mut finding = self.finding;
        finding.destinations = self.targets.into_values().collect();
        finding.evidence = evidence(self.proof, offsets);
        let advice: Vec<_> = self.advice.into_iter().collect();
        finding.advice = (!advice.is_empty()).then(|| advice.join("\n"));
        RuleEntry { finding, change: None, nodes: lists(self.nodes) }
    }
}

/// What a catalog says of a rule, in some total order.
fn described(finding: &RuleFinding) -> impl Ord + '_ {
    let RuleFinding { service, level, purpose, transport, ports, when, source, .. } = finding;
    (level, service, purpose, transport, ports, when, &source.document, &source.section)
}

fn add_target(targets: &mut BTreeMap<String, TargetFinding>, target: TargetFinding) {
    match targets.entry(target.pattern.clone()) {
        Entry::Vacant(free) => {
            free.insert(target);
        }
        Entry::Occupied(known) => {
            let mine = known.into_mut();
            mine.verdict = worst(mine.verdict, target.verdict);
            union(&mut mine.names, target.names);
            add(&mut mine.attempts, target.attempts);
            for (outcome, count) in target.outcomes {
                add(mine.outcomes.entry(outcome).or_default(), count);
            }
            mine.unresolved = mine.unresolved.take().max(target.unresolved);
        }
    }
}

impl Destination {
    fn new(entry: DestinationEntry, places: &[(String, u32)]) -> Result<Self, MergeError> {
        let DestinationEntry { mut finding, nodes, change: _ } = entry;
        sort(&mut finding.candidates);
        sort(&mut finding.addresses);
        sort(&mut finding.rules);
        sort(&mut finding.allowed_by);
        sort(&mut finding.undecided_by);
        sort(&mut finding.clients);
        sort(&mut finding.flags);
        let proof = proof(std::mem::take(&mut finding.evidence), places)?;
        Ok(Self { proof, nodes: sets(nodes), finding })
    }

    fn add(&mut self, other: Self) {
        let mine = &mut self.finding;
        let theirs = other.finding;
        mine.stage = worst_stage((mine.verdict, mine.stage), (theirs.verdict, theirs.stage));
        mine.verdict = worst(mine.verdict, theirs.verdict);
        mine.named_by = mine.named_by.min(theirs.named_by);
        union(&mut mine.candidates, theirs.candidates);
        union(&mut mine.addresses, theirs.addresses);
        mine.class = mine.class.min(theirs.class);
        union(&mut mine.rules, theirs.rules);
        mine.condition = mine.condition.take().max(theirs.condition);
        union(&mut mine.allowed_by, theirs.allowed_by);
        union(&mut mine.undecided_by, theirs.undecided_by);
        add(&mut mine.attempts, theirs.attempts);
        for (outcome, count) in theirs.outcomes {
            add(mine.outcomes.entry(outcome).or_default(), count);
        }
        for (reason, count) in theirs.reasons {
            add(mine.reasons.entry(reason).or_default(), count);
        }
        union(&mut mine.clients, theirs.clients);
        add(&mut mine.bytes.out, theirs.bytes.out);
        add(&mut mine.bytes.inward, theirs.bytes.inward);
        mine.first = mine.first.min(theirs.first);
        mine.last = mine.last.max(theirs.last);
        union(&mut mine.flags, theirs.flags);
        join_proof(&mut self.proof, other.proof);
        join_nodes(&mut self.nodes, other.nodes);
    }

    fn finish(self, offsets: &BTreeMap<String, u32>) -> DestinationEntry {
        let mut finding = self.finding;
        // What one node's allowlist permits isn't permitted everywhere.
        if finding.class != Class::Allowed {
            finding.allowed_by.clear();
        }
        finding.evidence = evidence(self.proof, offsets);
        DestinationEntry { finding, change: None, nodes: lists(self.nodes) }
    }
}

/// Groups evidence by node.
fn proof(items: Vec<Evidence>, places: &[(String, u32)]) -> Result<Proof, MergeError> {
    let mut by_node: BTreeMap<String, Vec<Evidence>> = BTreeMap::new();
    for mut item in items {
        let place = usize::try_from(item.input).ok().and_then(|index| places.get(index));
        let (node, input) = place.ok_or_else(|| {
            MergeError::Broken(format!("no input {}, but evidence in it", item.input))
        })?;
        item.input = *input;
        by_node.entry(node.clone()).or_default().push(item);
    }
    let mut proof = Proof::new();
    for (node, items) in by_node {
        let rank = items.iter().map(|item| rank(item.outcome.meaning())).min().unwrap_or(u8::MAX);
        proof.insert((rank, node), items);
    }
    cut_proof(&mut proof);
    Ok(proof)
}

const fn rank(meaning: Meaning) -> u8 {
    match meaning {
        Meaning::Blocked => 0,
        Meaning::Open => 1,
        Meaning::Reached => 2,
    }
}

fn join_proof(mine: &mut Proof, theirs: Proof) {
    mine.extend(theirs);
    cut_proof(mine);
}

/// Keeps the first nodes of the one order: which they are doesn't depend on when others came.
fn cut_proof(proof: &mut Proof) {
    while proof.len() > EVIDENCE_NODES {
        proof.pop_last();
    }
}

fn evidence(proof: Proof, offsets: &BTreeMap<String, u32>) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    for ((_, node), items) in proof {
        let offset = offsets.get(&node).copied().unwrap_or_default();
        evidence.extend(items.into_iter().map(|mut item| {
            item.input = item.input.saturating_add(offset);
            item
        }));
    }
    evidence
}

fn sets(nodes: NodesByVerdict) -> BTreeMap<Verdict, BTreeSet<String>> {
    nodes.into_iter().map(|(verdict, names)| (verdict, names.into_iter().collect())).collect()
}

fn lists(nodes: BTreeMap<Verdict, BTreeSet<String>>) -> NodesByVerdict {
    nodes.into_iter().map(|(verdict, names)| (verdict, names.into_iter().collect())).collect()
}

fn join_nodes(
    mine: &mut BTreeMap<Verdict, BTreeSet<String>>,
    theirs: BTreeMap<Verdict, BTreeSet<String>>,
) {
    for (verdict, names) in theirs {
        mine.entry(verdict).or_default().extend(names);
    }
}

/// What is written sorted is read sorted, unless somebody changed it.
fn sort<T: Ord>(items: &mut Vec<T>) {
    items.sort_unstable();
    items.dedup();
}

/// Adds to a sorted list what it lacks.
fn union<T: Ord>(mine: &mut Vec<T>, theirs: Vec<T>) {
    for item in theirs {
        if let Err(place) = mine.binary_search(&item) {
            mine.insert(place, item);
        }
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

fn add_coverage(sum: &mut Coverage, more: &Coverage) {
    add(&mut sum.frames, more.frames);
    add(&mut sum.decoded, more.decoded);
    add(&mut sum.dropped, more.dropped);
    add(&mut sum.midstream_flows, more.midstream_flows);
    add(&mut sum.one_sided, more.one_sided);
    add(&mut sum.evicted, more.evicted);
    add(&mut sum.unnamed_flows, more.unnamed_flows);
    add(&mut sum.inbound_flows, more.inbound_flows);
    for (reason, count) in &more.undecoded {
        add(sum.undecoded.entry(reason.clone()).or_default(), *count);
    }
    for (link, count) in &more.unsupported_link_types {
        add(sum.unsupported_link_types.entry(link.clone()).or_default(), *count);
    }
}
