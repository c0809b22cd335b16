//! Attempts and rules in, findings out.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    allowlist::Policy,
    base::{HostName, in_parallel, prefetch},
    catalog::{self, Hit, Site, SiteRule, TargetKind},
    decode::Transport,
    scan::Census,
    verdict::{
        Class, Flags, NamedBy, RuleFinding, Verdict,
        advice::advice,
        attempt::{Attempt, Attempts, attempts_by_part},
        fallback,
        finding::{Bytes, DestinationFinding, Findings, Summary, TargetFinding},
        gathered::{Gathered, Tries},
        matched::{Said, look_at_all},
        permit::Permits,
        retry,
    },
};

/// Judges what a capture told by a site's rules. Pure: the same input gives the same findings.
pub fn judge(census: &Census, site: &Site) -> Findings {
    judge_with(census, site, None, NonZeroUsize::MIN)
}

/// The same with what the firewall's allowlist permits: of destinations that no rule explains,
/// those are [`Class::Allowed`]. It changes no verdict. The findings are the same with any number of
/// `threads`; with one, none is started.
pub fn judge_with(
    census: &Census,
    site: &Site,
    policy: Option<&Policy<'_>>,
    threads: NonZeroUsize,
) -> Findings {
    let each_client = policy.is_some_and(Policy::tells_clients_apart);
    let mut parts = attempts_by_part(census, site.profile(), each_client, threads);
    let judged =
        in_parallel(in_batches(&mut parts), threads, || |batch| Judged::new(batch, site, policy));
    let rules = judge_rules(judged.iter().flat_map(|batch| &batch.matched), site, threads);
    let unnamed_flows = judged.iter().map(|batch| batch.unnamed_flows).sum();
    let destinations = sorted_findings(judged.into_iter().map(|batch| batch.destinations));
    let summary = Summary::count(
        rules.iter().map(|rule| (rule.level, rule.verdict)),
        destinations.iter().map(|found| found.class),
    );
    let findings = Findings {
        rules,
        destinations,
        summary,
        midstream_flows: parts.iter().map(|part| part.midstream_flows).sum(),
        one_sided: parts.iter().map(|part| part.one_sided).sum(),
        unnamed_flows,
        inbound_flows: parts.iter().map(|part| part.inbound_flows).sum(),
    };
    // To free so many takes as long as some of the steps before.
    in_parallel(parts, threads, || drop);
    findings
}

/// By class, then by name.
fn sorted_findings(
    batches: impl Iterator<Item = Vec<DestinationFinding>>,
) -> Vec<DestinationFinding> {
    let batches: Vec<_> = batches.collect();
    let mut all = Vec::with_capacity(batches.iter().map(Vec::len).sum());
    all.extend(batches.into_iter().flatten());
    all.sort_by_cached_key(|one| (one.class, one.name.clone(), one.transport, one.port));
    all
}

/// Attempts that one thread judges at a time, more or less.
const BATCH: usize = 256;

/// Attempts that are judged together: all on the same destination are.
struct Batch<'a, 'c> {
    attempts: Vec<&'a mut Attempt<'c>>,
    /// The number of its first destination.
    first: u32,
}

fn in_batches<'a, 'c>(parts: &'a mut [Attempts<'c>]) -> Vec<Batch<'a, 'c>> {
    let count: usize = parts.iter().map(|part| part.all.len()).sum();
    let mut batches: Vec<Vec<_>> = Vec::new();
    batches.resize_with(count.div_ceil(BATCH), || Vec::with_capacity(BATCH));
    for attempt in parts.iter_mut().flat_map(|part| &mut part.all) {
        let batch = attempt.lot as usize % batches.len();
        batches[batch].push(attempt);
    }
    let mut first = 0;
    let batch = |attempts: Vec<_>| {
        let batch = Batch { first, attempts };
        first += batch.attempts.len() as u32;
        batch
    };
    batches.into_iter().map(batch).collect()
}

/// A batch of attempts, judged.
struct Judged<'a> {
    /// What matches rules, those on each destination in the order in which they began.
    matched: Vec<(Hit, &'a Attempt<'a>)>,
    destinations: Vec<DestinationFinding>,
    unnamed_flows: u64,
}

impl<'a> Judged<'a> {
    fn new(batch: Batch<'a, '_>, site: &Site, policy: Option<&Policy<'_>>) -> Self {
        let Batch { attempts: mut all, first } = batch;
        // They lie anywhere: all are fetched at once.
        all.iter().for_each(|one| prefetch(&**one));
        number_destinations(&mut all, first);
        all.sort_by_cached_key(|one| (one.subject, one.service, one.first, one.client));
        retry::mark(&mut all);
        fallback::mark(&mut all);
        let all: Vec<&'a Attempt<'a>> = all.into_iter().map(|one| &*one).collect();
        let (said, places) = look_at_all(&all, site, policy);
        let mut matched = Vec::new();
        let mut unnamed_flows = 0;
        for (attempt, place) in all.iter().zip(&places) {
            let Said { hits, class, .. } = &said[*place];
            // A guessed name that could be another one proves nothing about a rule.
            if *class != Class::Ambiguous {
                matched.extend(hits.iter().map(|hit| (*hit, *attempt)));
            }
            if attempt.name.is_none() && attempt.service.is_some() && *class != Class::Internal {
                unnamed_flows += attempt.count();
            }
        }
        let destinations = judge_destinations(&all, &said, &places, site, Permits(policy));
        Self { matched, destinations, unnamed_flows }
    }
}

/// Gives each destination a number, from `first` on.
pub(super) fn number_destinations(all: &mut [&mut Attempt<'_>], first: u32) {
    let mut known = HashMap::with_capacity_and_hasher(all.len(), RandomState::default());
    let mut numbers = Vec::with_capacity(all.len());
    for attempt in &*all {
        let next = first + known.len() as u32;
        numbers.push(*known.entry(attempt.destination()).or_insert(next));
    }
    drop(known);
    for (attempt, number) in all.iter_mut().zip(numbers) {
        attempt.subject = number;
    }
}

fn judge_rules<'a>(
    matched: impl Iterator<Item = &'a (Hit, &'a Attempt<'a>)>,
    site: &Site,
    threads: NonZeroUsize,
) -> Vec<RuleFinding> {
    let targets = site.rules().last().map_or(0, |rule| rule.targets.end);
    let mut by_target: Vec<Vec<&Attempt<'_>>> = vec![Vec::new(); targets];
    let mut by_rule: Vec<Vec<&Attempt<'_>>> = vec![Vec::new(); site.rules().len()];
    for (hit, attempt) in matched {
        by_target[hit.target].push(attempt);
        let of_rule = &mut by_rule[hit.rule];
        // It may match several targets of one rule.
        if !of_rule.last().is_some_and(|last| std::ptr::eq(*last, *attempt)) {
            of_rule.push(attempt);
        }
    }
    let rules = site.rules().iter().zip(by_rule).collect();
    let mut findings = in_parallel(rules, threads, || {
        |(rule, mut of_rule): (_, Vec<_>)| {
            of_rule.sort_by(|a, b| a.cmp_begun(b));
            judge_rule(rule, Gathered(&of_rule), &by_target, site)
        }
    });
    findings.sort_by_key(|finding| finding.verdict);
    findings
}

fn judge_rule(
    site_rule: &SiteRule,
    gathered: Gathered<'_, '_>,
    by_target: &[Vec<&Attempt<'_>>],
    site: &Site,
) -> RuleFinding {
    let SiteRule { rule, active, targets } = site_rule;
    let target = |index: usize| judge_target(index, Gathered(&by_target[index]), site);
    let destinations: Vec<_> = targets.clone().map(target).collect();
    let verdict = match active {
        false => Verdict::NotApplicable,
        true => combine(destinations.iter().map(|d| d.verdict), rule.alternatives),
    };
    let failing = matches!(verdict, Verdict::Blocked | Verdict::Degraded);
    let stage = failing.then(|| gathered.stage(verdict)).flatten();
    let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
    let decisive: Vec<_> = gathered.decisive(verdict).collect();
    let lasting: Vec<_> = decisive.iter().copied().filter(|attempt| !attempt.made_good).collect();
    let attempts = if lasting.is_empty() { decisive } else { lasting };
    RuleFinding {
        id: rule.id.clone(),
        service: rule.service.clone(),
        level: rule.level,
        verdict,
        stage,
        advice: failing.then(|| advice(rule, &destinations, &attempts)),
        evidence: gathered.evidence(verdict),
        destinations,
        purpose: rule.purpose.clone(),
        transport: match rule.transport {
            catalog::Transport::Tcp => Transport::Tcp,
            catalog::Transport::Udp => Transport::Udp,
        },
        ports,
        when: rule.when.as_ref().map(ToString::to_string),
        source: rule.source.clone(),
    }
}

fn judge_target(index: usize, found: Gathered<'_, '_>, site: &Site) -> TargetFinding {
    let target = site.target(index);
    let by_name = || found.0.chunk_by(|a, b| a.subject == b.subject);
    TargetFinding {
        pattern: target.text.clone(),
        verdict: found.verdict(),
        names: sorted(by_name().map(|same| same[0].label())),
        attempts: by_name().map(|same| Tries::count(Gathered(same).tries())).sum(),
        outcomes: found.outcomes(),
        unresolved: match &target.kind {
            TargetKind::Unresolved(what) => Some(what.clone()),
            _ => None,
        },
    }
}

/// The verdict over a rule's destinations: all of them are needed, or one of the alternatives.
fn combine(verdicts: impl Iterator<Item = Verdict>, alternatives: bool) -> Verdict {
    let tried: Vec<_> = verdicts.filter(|verdict| *verdict != Verdict::NotExercised).collect();
    if alternatives && tried.contains(&Verdict::Reachable) {
        return Verdict::Reachable;
    }
    // The worst comes first in the order of verdicts.
    tried.into_iter().min().unwrap_or(Verdict::NotExercised)
}

/// Takes attempts by destination and service, and what is said, with its places for each.
fn judge_destinations(
    all: &[&Attempt<'_>],
    said: &[Said],
    mut places: &[usize],
    site: &Site,
    permits: Permits<'_>,
) -> Vec<DestinationFinding> {
    let of_one = || all.chunk_by(|a, b| (a.subject, a.service) == (b.subject, b.service));
    let mut findings = Vec::with_capacity(of_one().count());
    for found in of_one() {
        let (own, rest) = places.split_at(found.len());
        places = rest;
        let said = own.chunk_by(|a, b| a == b).map(|same| &said[same[0]]);
        findings.push(judge_destination(Gathered(found), said, site, permits));
    }
    findings
}

fn judge_destination<'s>(
    found: Gathered<'_, '_>,
    said: impl Iterator<Item = &'s Said> + Clone,
    site: &Site,
    permits: Permits<'_>,
) -> DestinationFinding {
    let service = found.attempts().next().and_then(|one| one.service);
    let verdict = found.verdict_with_fallback();
    let attempts = || found.attempts();
    let tries = found.tries();
    let mut hits: Vec<Hit> = said.clone().flat_map(|said| &said.hits).copied().collect();
    hits.sort_unstable_by(|a, b| b.cmp(a));
    hits.dedup();
    let mut rules = Vec::new();
    for hit in &hits {
        let id = &site.rules()[hit.rule].rule.id;
        if !rules.contains(id) {
            rules.push(id.clone());
        }
    }
    // The worst class wins: Unexpected comes first in the order of classes.
    let class = said.clone().map(|said| said.class).min().unwrap_or(Class::Unexpected);
    let decisive = said.filter(|said| said.class == class);
    let (allowed_by, undecided_by) =
        permits.shown(decisive.filter_map(|said| said.permit.as_ref()));
    let mut bytes = Bytes::default();
    let mut reasons = BTreeMap::new();
    let mut flags = Flags::default();
    for attempt in attempts() {
        bytes.out += attempt.bytes.out;
        bytes.inward += attempt.bytes.inward;
        flags.join(attempt.flags);
        if let Some(reason) = attempt.reason() {
            *reasons.entry(reason).or_default() += attempt.count();
        }
    }
    DestinationFinding {
        name: attempts().next().map_or_else(String::new, |one| one.label()),
        named_by: attempts().map(|a| a.named_by).min().unwrap_or(NamedBy::Address),
        candidates: candidates(attempts()),
        addresses: sorted(attempts().filter_map(|a| a.addr)),
        transport: service.map(|(transport, _)| transport),
        port: service.map(|(_, port)| port),
        class,
        condition: (class == Class::Conditional).then(|| condition(&hits, site)).flatten(),
        rules,
        allowed_by,
        undecided_by,
        outcomes: found.outcomes(),
        reasons,
        stage: found.stage(verdict),
        verdict,
        clients: tries.chunk_by(|a, b| a.client == b.client).map(|of| of[0].client).collect(),
        bytes,
        first: tries.iter().map(|one| one.first).min().unwrap_or_default(),
        last: tries.iter().map(|one| one.last).max().unwrap_or_default(),
        attempts: Tries::count(tries),
        flags: flags.iter().collect(),
        evidence: found.evidence(verdict),
    }
}

/// All names that DNS makes possible for one of the attempts.
fn candidates<'a>(attempts: impl Iterator<Item = &'a Attempt<'a>>) -> Vec<HostName> {
    // Few lists, each shared by many attempts.
    let mut lists: Vec<&Arc<[HostName]>> = Vec::new();
    for attempt in attempts {
        for list in attempt.candidate_lists().filter(|list| !list.is_empty()) {
            if !lists.last().is_some_and(|last| Arc::ptr_eq(last, list)) {
                lists.push(list);
            }
        }
    }
    if let [only] = lists[..] {
        return only.to_vec();
    }
    lists.sort_unstable_by_key(|list| list.as_ptr());
    lists.dedup_by_key(|list| list.as_ptr());
    let names = sorted(lists.into_iter().flat_map(|list| list.iter()));
    names.into_iter().cloned().collect()
}

/// What would have to be on for a rule to explain the destination.
fn condition(hits: &[Hit], site: &Site) -> Option<String> {
    let best = hits.first()?;
    site.rules()[best.rule].rule.when.as_ref().map(ToString::to_string)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
