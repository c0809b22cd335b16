//! Attempts and rules in, findings out.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use crate::{
    allowlist::Policy,
    base::{HostName, in_parallel},
    catalog::{self, Hit, Site, SiteRule, TargetKind},
    decode::Transport,
    scan::Census,
    verdict::{
        Class, NamedBy, RuleFinding, Verdict,
        advice::advice,
        attempt::{Attempt, Attempts, Destinations, attempts_by_part},
        fallback,
        finding::{Bytes, DestinationFinding, Findings, Summary, TargetFinding},
        gathered::{Gathered, Tries},
        matched::{Matched, Matcher, Said},
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
    let mut batches = in_batches(&mut parts);
    let judged = in_parallel(batches.iter_mut().collect(), threads, || {
        |batch: &mut Vec<_>| Judged::new(batch, site, policy)
    });
    let rules = judge_rules(judged.iter().flat_map(|batch| &batch.matched), site);
    let unnamed_flows = judged.iter().map(|batch| batch.unnamed_flows).sum();
    let destinations = sorted_findings(judged.into_iter().map(|batch| batch.destinations));
    let summary = Summary::count(
        rules.iter().map(|rule| (rule.level, rule.verdict)),
        destinations.iter().map(|found| found.class),
    );
    Findings {
        rules,
        destinations,
        summary,
        midstream_flows: parts.iter().map(|part| part.midstream_flows).sum(),
        one_sided: parts.iter().map(|part| part.one_sided).sum(),
        unnamed_flows,
        inbound_flows: parts.iter().map(|part| part.inbound_flows).sum(),
    }
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

/// Destinations that one thread judges at a time.
const BATCH: usize = 64;

/// The attempts, those on the same destination in one batch.
fn in_batches<'c>(parts: &mut [Attempts<'c>]) -> Vec<Vec<Attempt<'c>>> {
    let mut destinations = Destinations::default();
    let mut sizes = Vec::new();
    for attempt in parts.iter_mut().flat_map(|part| &mut part.all) {
        attempt.subject = destinations.number(attempt);
        let batch = attempt.subject as usize / BATCH;
        if batch == sizes.len() {
            sizes.push(0);
        }
        sizes[batch] += 1;
    }
    let mut batches: Vec<_> = sizes.into_iter().map(Vec::with_capacity).collect();
    for attempt in parts.iter_mut().flat_map(|part| std::mem::take(&mut part.all)) {
        batches[attempt.subject as usize / BATCH].push(attempt);
    }
    batches
}

/// A batch of attempts, judged.
struct Judged<'a> {
    /// By destination, those of each in the order in which they began.
    matched: Vec<Matched<'a>>,
    destinations: Vec<DestinationFinding>,
    unnamed_flows: u64,
}

impl<'a> Judged<'a> {
    fn new(batch: &'a mut [Attempt<'_>], site: &Site, policy: Option<&Policy<'_>>) -> Self {
        batch.sort_by_cached_key(|one| (one.subject, one.service, one.first, one.client));
        retry::mark(batch);
        fallback::mark(batch);
        let matched = Matcher::new(site, policy).look_at_all(batch);
        let key = |one: &Matched<'_>| (one.attempt.subject, one.attempt.service);
        let destinations = matched
            .chunk_by(|a, b| key(a) == key(b))
            .map(|found| judge_destination(found, site, Permits(policy)))
            .collect();
        let is_unnamed = |one: &&Matched<'_>| {
            let Matched { attempt, said } = one;
            attempt.name.is_none() && attempt.service.is_some() && said.class != Class::Internal
        };
        let unnamed_flows = matched.iter().filter(is_unnamed).map(|one| one.attempt.count()).sum();
        Self { matched, destinations, unnamed_flows }
    }
}

fn judge_rules<'a>(
    matched: impl Iterator<Item = &'a Matched<'a>>,
    site: &Site,
) -> Vec<RuleFinding> {
    let mut by_rule: BTreeMap<usize, Gathered<'_>> = BTreeMap::new();
    let mut by_target: BTreeMap<usize, Gathered<'_>> = BTreeMap::new();
    // A guessed name that could be another one proves nothing about a rule.
    for one in matched.filter(|one| one.said.class != Class::Ambiguous) {
        for hit in &one.said.hits {
            by_target.entry(hit.target).or_default().matched.push(one);
            let of_rule = &mut by_rule.entry(hit.rule).or_default().matched;
            // It may match several targets of one rule.
            if !of_rule.last().is_some_and(|last| std::ptr::eq(*last, one)) {
                of_rule.push(one);
            }
        }
    }
    for gathered in by_rule.values_mut() {
        gathered.matched.sort_by(|a, b| a.attempt.cmp_begun(b.attempt));
    }
    let judged = site.rules().iter().enumerate().map(|(index, rule)| {
        let of_rule = by_rule.remove(&index).unwrap_or_default();
        judge_rule(rule, &of_rule, &by_target, site)
    });
    let mut findings: Vec<_> = judged.collect();
    findings.sort_by_key(|finding| finding.verdict);
    findings
}

fn judge_rule(
    site_rule: &SiteRule,
    gathered: &Gathered<'_>,
    by_target: &BTreeMap<usize, Gathered<'_>>,
    site: &Site,
) -> RuleFinding {
    let SiteRule { rule, active, targets } = site_rule;
    let none = Gathered::default();
    let target = |index| judge_target(index, by_target.get(&index).unwrap_or(&none), site);
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

fn judge_target(index: usize, found: &Gathered<'_>, site: &Site) -> TargetFinding {
    let target = site.target(index);
    let names: BTreeMap<_, _> =
        found.matched.iter().map(|one| (one.attempt.subject, one.attempt)).collect();
    TargetFinding {
        pattern: target.text.clone(),
        verdict: found.verdict(),
        names: sorted(names.into_values().map(|attempt| attempt.label())),
        attempts: Tries::count(found.tries()),
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

fn judge_destination(
    matched: &[Matched<'_>],
    site: &Site,
    permits: Permits<'_>,
) -> DestinationFinding {
    let found = Gathered { matched: matched.iter().collect() };
    let service = matched.first().and_then(|one| one.attempt.service);
    let verdict = found.verdict_with_fallback();
    let attempts = || found.attempts();
    let tries = found.tries();
    let said = said(matched);
    let mut hits: Vec<Hit> = said.iter().flat_map(|said| &said.hits).copied().collect();
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
    let class = said.iter().map(|said| said.class).min().unwrap_or(Class::Unexpected);
    let decisive = said.iter().filter(|said| said.class == class);
    let (allowed_by, undecided_by) =
        permits.shown(decisive.filter_map(|said| said.permit.as_ref()));
    let mut bytes = Bytes::default();
    let mut reasons = BTreeMap::new();
    for attempt in attempts() {
        bytes.out += attempt.bytes.out;
        bytes.inward += attempt.bytes.inward;
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
        flags: sorted(attempts().flat_map(|a| a.flags.iter().copied())),
        evidence: found.evidence(verdict),
    }
}

/// What is said of the attempts, once each.
fn said<'a>(matched: &'a [Matched<'_>]) -> Vec<&'a Said> {
    let mut said: Vec<_> = matched.iter().map(|one| &one.said).collect();
    said.sort_unstable_by_key(|said| Arc::as_ptr(said));
    said.dedup_by_key(|said| Arc::as_ptr(said));
    said.into_iter().map(|said| &**said).collect()
}

/// All names that DNS makes possible for one of the attempts.
fn candidates<'a>(attempts: impl Iterator<Item = &'a Attempt<'a>>) -> Vec<HostName> {
    // Few lists, each shared by many attempts.
    let lists = |attempt: &'a Attempt<'a>| {
        let others = attempt.again.iter().map(|again| &again.candidates);
        std::iter::once(&attempt.candidates).chain(others)
    };
    let mut lists: Vec<_> = attempts.flat_map(lists).filter(|list| !list.is_empty()).collect();
    lists.sort_unstable_by_key(|list| list.as_ptr());
    lists.dedup_by_key(|list| list.as_ptr());
    match lists[..] {
        [] => return Vec::new(),
        [only] => return only.to_vec(),
        _ => {}
    }
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
