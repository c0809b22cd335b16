//! Attempts and rules in, findings out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    allowlist::Policy,
    base::{HostName, Timestamp},
    catalog::{self, Hit, Level, Site, SiteRule, TargetKind},
    decode::Transport,
    scan::{Census, TRY_GAP},
    verdict::{
        Class, Evidence, Flag, Meaning, NamedBy, Outcome, Proof, RuleFinding, Stage, Verdict,
        advice::advice,
        attempt::{Attempt, Attempts, Try, attempts, attempts_of_clients, number_destinations},
        fallback,
        finding::{Bytes, DestinationFinding, Findings, Outcomes, Summary, TargetFinding},
        permit::{Permit, Permits, rule_transport},
        retry,
    },
};

/// Tries over IPv4 and IPv6 that begin within this time are one. RFC 8305 section 5 recommends
/// 250 ms between them.
const FAMILY_WINDOW: Duration = Duration::from_secs(3);

/// Evidence shown for one finding.
const MAX_EVIDENCE: usize = 6;

/// Judges what a capture told by a site's rules. Pure: the same input gives the same findings.
pub fn judge(census: &Census, site: &Site) -> Findings {
    judge_with(census, site, None)
}

/// The same with what the firewall's allowlist permits: of destinations that no rule explains,
/// those are [`Class::Allowed`]. It changes no verdict.
pub fn judge_with(census: &Census, site: &Site, policy: Option<&Policy<'_>>) -> Findings {
    let found = match policy.is_some_and(Policy::tells_clients_apart) {
        true => attempts_of_clients(census, site.profile()),
        false => attempts(census, site.profile()),
    };
    let Attempts { mut all, midstream_flows, one_sided, inbound_flows } = found;
    all.sort_by(|a, b| {
        let names = || a.destination().cmp(&b.destination());
        (a.first, a.client).cmp(&(b.first, b.client)).then_with(names)
    });
    number_destinations(&mut all);
    retry::mark(&mut all);
    fallback::mark(&mut all);
    let mut lookup = Lookup {
        site,
        of_attempts: HashMap::default(),
        known: HashMap::default(),
        permits: Permits::new(policy),
    };
    let matched: Vec<Matched<'_>> = all
        .iter()
        .enumerate()
        .map(|(index, attempt)| Matched::new(index, attempt, &mut lookup))
        .collect();
    let rules = judge_rules(&matched, site);
    let destinations = judge_destinations(&matched, site, &lookup.permits);
    let summary = Summary::count(
        rules.iter().map(|rule| (rule.level, rule.verdict)),
        destinations.iter().map(|found| found.class),
    );
    let unnamed = |one: &&Matched<'_>| {
        one.attempt.name.is_none() && one.attempt.service.is_some() && one.class != Class::Internal
    };
    let unnamed_flows = matched.iter().filter(unnamed).map(|one| one.attempt.count()).sum();
    Findings {
        rules,
        destinations,
        summary,
        midstream_flows,
        one_sided,
        unnamed_flows,
        inbound_flows,
    }
}

/// An attempt with what the rules say of it.
struct Matched<'a> {
    /// Position among all attempts, in the order in which they began.
    index: usize,
    attempt: &'a Attempt,
    /// Matching targets, the most specific first.
    hits: Rc<[Hit]>,
    class: Class,
    /// What the allowlist says, where no rule explains it.
    permit: Option<Rc<Permit>>,
}

impl<'a> Matched<'a> {
    fn new(index: usize, attempt: &'a Attempt, rules: &mut Lookup<'_, '_>) -> Self {
        let (addr, service) = (attempt.addr, attempt.service);
        let hits = rules.of(attempt);
        let mut explaining = Rc::clone(&hits);
        // HTTP/3 is another way to an HTTPS destination (RFC 9114 section 3.1): it explains the
        // traffic, but the rule asks for TCP.
        if hits.is_empty()
            && attempt.named_by == NamedBy::QuicSni
            && let Some((Transport::Udp, port)) = attempt.service
        {
            let tcp = Some((Transport::Tcp, port));
            explaining = rules.find(attempt.client, attempt.name.as_ref(), None, tcp);
        }
        let (mut class, permit) = rules.classify(attempt, attempt.name.as_ref(), &explaining);
        // Without a name of its own, a connection to a shared address may be any of them.
        let guessed = matches!(attempt.named_by, NamedBy::Dns | NamedBy::DnsOtherClient);
        if guessed && attempt.candidates.len() > 1 {
            let differs = attempt.candidates.iter().any(|name| {
                let other = rules.find(attempt.client, Some(name), addr, service);
                rules.classify(attempt, Some(name), &other).0 != class
                    || other.first().map(|hit| hit.rule) != hits.first().map(|hit| hit.rule)
            });
            if differs {
                class = Class::Ambiguous;
            }
        }
        Self { index, attempt, hits, class, permit }
    }
}

/// What the rules say, remembered: most attempts repeat others.
struct Lookup<'s, 'p> {
    site: &'s Site,
    of_attempts: HashMap<Tried, Rc<[Hit]>, RandomState>,
    known: HashMap<Asked, Rc<[Hit]>, RandomState>,
    permits: Permits<'p>,
}

/// Transport and port.
type Service = Option<(Transport, u16)>;

/// Who tries, the number of the destination, its address and service.
type Tried = (IpAddr, u32, Option<IpAddr>, Service);

/// Who asks, for which name or address and service.
type Asked = (IpAddr, Option<HostName>, Option<IpAddr>, Service);

impl Lookup<'_, '_> {
    /// The class of an attempt if it was for this name, and what the allowlist says where no rule
    /// explains it.
    fn classify(
        &mut self,
        attempt: &Attempt,
        name: Option<&HostName>,
        hits: &[Hit],
    ) -> (Class, Option<Rc<Permit>>) {
        let class = classify(attempt, hits, self.site);
        let permit = match class {
            Class::Unexpected => self.permits.of(attempt, name),
            _ => None,
        };
        (permit.as_ref().map_or(class, |permit| permit.class()), permit)
    }

    fn of(&mut self, attempt: &Attempt) -> Rc<[Hit]> {
        let asked = (attempt.client, attempt.subject, attempt.addr, attempt.service);
        let found = self.of_attempts.entry(asked).or_insert_with(|| {
            let (name, service) = (attempt.name.as_deref(), attempt.service);
            let service = service.map(|(transport, port)| (rule_transport(transport), port));
            self.site.find(attempt.client, name, attempt.addr, service).into()
        });
        Rc::clone(found)
    }

    fn find(
        &mut self,
        client: IpAddr,
        name: Option<&HostName>,
        addr: Option<IpAddr>,
        service: Service,
    ) -> Rc<[Hit]> {
        let asked = (client, name.cloned(), addr, service);
        let found = self.known.entry(asked).or_insert_with(|| {
            let service = service.map(|(transport, port)| (rule_transport(transport), port));
            self.site.find(client, name.map(|name| &**name), addr, service).into()
        });
        Rc::clone(found)
    }
}

fn classify(attempt: &Attempt, hits: &[Hit], site: &Site) -> Class {
    let level = |hit: &Hit| site.rules()[hit.rule].rule.level;
    let active = || hits.iter().filter(|hit| hit.active);
    if attempt.flags.contains(&Flag::Proxy) || attempt.flags.contains(&Flag::ProxySkipMissed) {
        return Class::Internal;
    }
    if active().any(|hit| level(hit) == Level::Required) {
        return Class::Required;
    }
    if active().next().is_some() {
        return Class::Recommended;
    }
    if attempt.addr.is_some_and(|addr| is_internal(addr, site)) {
        return Class::Internal;
    }
    if !hits.is_empty() {
        Class::Conditional
    } else if attempt.name.is_none() && attempt.flags.contains(&Flag::Midstream) {
        // Its name was said before the capture began: it may be any.
        Class::Ambiguous
    } else {
        Class::Unexpected
    }
}

/// Inside the site, or never routed out of it.
fn is_internal(addr: IpAddr, site: &Site) -> bool {
    let listed = site.profile().network.is_inside(addr);
    let unrouted = match addr {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_broadcast() || v4 == AZURE_PLATFORM || v4.is_unspecified()
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    listed || unrouted || addr.is_loopback() || addr.is_multicast()
}

/// The virtual address of Azure's platform services (DNS, DHCP, health probes): it never leaves
/// the physical host.
const AZURE_PLATFORM: std::net::Ipv4Addr = std::net::Ipv4Addr::new(168, 63, 129, 16);

/// Attempts on one thing, gathered.
#[derive(Default)]
struct Gathered<'a> {
    matched: Vec<&'a Matched<'a>>,
}

impl<'a> Gathered<'a> {
    /// How many times it was tried: what follows each other closely is one, each client's apart.
    fn tries(&self) -> u64 {
        let chain = |attempt: &Attempt, tried: Try| Chain {
            subject: attempt.subject,
            client: tried.client,
            first: tried.first.time,
            last: tried.last,
            reached: attempt.is_reached(),
            tries: u64::from(tried.repeats.tries),
        };
        let each = |attempt: &'a Attempt| attempt.tries().map(move |tried| chain(attempt, tried));
        let mut all: Vec<_> = self.attempts().flat_map(each).collect();
        all.sort_unstable_by_key(|one| (one.subject, one.client, one.first, one.last));
        let mut chains: Vec<Chain> = Vec::new();
        for tried in all {
            match chains.last_mut().filter(|chain| chain.goes_on(&tried)) {
                Some(chain) => chain.add(&tried),
                None => chains.push(tried),
            }
        }
        count_tries(&chains)
    }

    fn attempts(&self) -> impl Iterator<Item = &'a Attempt> {
        self.matched.iter().map(|one| one.attempt)
    }

    /// The verdict over all attempts. QUIC without a fallback to TCP is as blocked as the rest.
    fn verdict_with_fallback(&self) -> Verdict {
        let fell_back = |one: &&Matched<'_>| one.attempt.flags.contains(&Flag::TcpFallback);
        match self.verdict() {
            Verdict::Blocked if self.matched.iter().any(fell_back) => Verdict::Degraded,
            verdict => verdict,
        }
    }

    fn verdict(&self) -> Verdict {
        let any = |fits: fn(&Attempt) -> bool| self.attempts().any(fits);
        let reached = any(Attempt::is_reached);
        let blocked = any(|attempt| attempt.is_blocked() && !attempt.made_good);
        let made_good = any(|attempt| attempt.made_good);
        match (reached, blocked) {
            (true, true) => Verdict::Degraded,
            (true, false) => Verdict::Reachable,
            (false, true) if any(|attempt| attempt.is_blocked() && attempt.reason().is_some()) => {
                Verdict::Inconclusive
            }
            (false, true) => Verdict::Blocked,
            (false, false) if made_good => Verdict::Degraded,
            (false, false) if self.matched.is_empty() => Verdict::NotExercised,
            (false, false) => Verdict::Inconclusive,
        }
    }

    fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for matched in &self.matched {
            *outcomes.entry(matched.attempt.result.outcome).or_default() += matched.attempt.count();
        }
        outcomes
    }

    /// The attempts that make the verdict what it is.
    fn decisive(&self, verdict: Verdict) -> impl Iterator<Item = &'a Attempt> {
        let wanted = match verdict {
            Verdict::Blocked | Verdict::Degraded => Meaning::Blocked,
            Verdict::Reachable => Meaning::Reached,
            _ => Meaning::Open,
        };
        let fits = move |attempt: &&Attempt| attempt.result.outcome.meaning() == wanted;
        self.matched.iter().map(|matched| matched.attempt).filter(fits)
    }

    fn evidence(&self, verdict: Verdict) -> Vec<Evidence> {
        let mut shown = Vec::new();
        // What fails is worth a look also where something else succeeded, or may have.
        let also = matches!(verdict, Verdict::Reachable | Verdict::Inconclusive);
        let failing = also.then(|| self.decisive(Verdict::Degraded));
        for attempts in [failing.map(earliest), Some(earliest(self.decisive(verdict)))] {
            for (outcome, proofs) in attempts.into_iter().flatten() {
                shown.extend(proofs.iter().map(|proof| Evidence::new(outcome, proof)));
            }
        }
        shown.truncate(MAX_EVIDENCE);
        shown
    }

    /// The furthest stage that the decisive attempts got to.
    fn stage(&self, verdict: Verdict) -> Option<Stage> {
        self.decisive(verdict).map(|attempt| attempt.result.stage).max()
    }
}

/// Of the earliest tries, in order, what became of them and what proves it. No more than are shown.
fn earliest<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> Vec<(Outcome, Vec<Proof>)> {
    let mut all: Vec<_> = attempts
        .flat_map(|attempt| {
            let outcome = attempt.result.outcome;
            attempt.proofs().take(MAX_EVIDENCE).map(move |(tried, proofs)| (tried, outcome, proofs))
        })
        .collect();
    all.sort_by_key(|(tried, ..)| (tried.first, tried.client));
    all.into_iter().map(|(_, outcome, proofs)| (outcome, proofs)).take(MAX_EVIDENCE).collect()
}

/// Tries of one client to reach one destination that follow each other closely.
struct Chain {
    subject: u32,
    client: IpAddr,
    first: Timestamp,
    last: Timestamp,
    reached: bool,
    /// How many tries it is.
    tries: u64,
}

impl Chain {
    /// True when `next`, which begins no sooner, belongs to it.
    fn goes_on(&self, next: &Self) -> bool {
        (self.subject, self.client) == (next.subject, next.client)
            && next.first.since(self.last) <= TRY_GAP
    }

    fn add(&mut self, next: &Self) {
        // Of several that one stands for, the times in between aren't known: what overlaps is taken to
        // have happened side by side.
        self.tries = match (next.first <= self.last, next.last <= self.last) {
            (true, true) if self.tries == 1 => 1,
            (true, _) => self.tries.max(next.tries),
            (false, _) => self.tries + next.tries - 1,
        };
        self.last = self.last.max(next.last);
        self.reached |= next.reached;
    }
}

/// A client with two address families tries both and keeps what answers first (RFC 8305): what
/// fails over one while the other succeeds is part of the same try.
fn count_tries(chains: &[Chain]) -> u64 {
    let mut reached: Vec<_> = chains
        .iter()
        .filter(|chain| chain.reached)
        .map(|chain| (chain.subject, chain.client.is_ipv6(), chain.first))
        .collect();
    reached.sort_unstable();
    let is_part_of_another = |chain: &Chain| {
        let (subject, other, first) = (chain.subject, chain.client.is_ipv4(), chain.first);
        let at = reached.partition_point(|one| *one < (subject, other, first.minus(FAMILY_WINDOW)));
        let near = |&(s, v6, time): &(u32, bool, Timestamp)| {
            (s, v6) == (subject, other) && time.since(first) <= FAMILY_WINDOW
        };
        reached.get(at).is_some_and(near)
    };
    let own = chains.iter().filter(|chain| chain.reached || !is_part_of_another(chain));
    own.map(|chain| chain.tries).sum()
}

fn judge_rules(matched: &[Matched<'_>], site: &Site) -> Vec<RuleFinding> {
    let mut by_target: BTreeMap<usize, Gathered<'_>> = BTreeMap::new();
    for one in matched {
        for target in distinct_targets(one) {
            by_target.entry(target).or_default().matched.push(one);
        }
    }
    let mut findings: Vec<_> =
        site.rules().iter().map(|rule| judge_rule(rule, &by_target, site)).collect();
    findings.sort_by_key(|finding| finding.verdict);
    findings
}

fn distinct_targets(matched: &Matched<'_>) -> BTreeSet<usize> {
    // A guessed name that could be another one proves nothing about a rule.
    if matched.class == Class::Ambiguous {
        return BTreeSet::new();
    }
    matched.hits.iter().map(|hit| hit.target).collect()
}

fn judge_rule(
    site_rule: &SiteRule,
    by_target: &BTreeMap<usize, Gathered<'_>>,
    site: &Site,
) -> RuleFinding {
    let SiteRule { rule, active, targets } = site_rule;
    let mut gathered = Gathered::default();
    let mut destinations = Vec::new();
    for index in targets.clone() {
        let none = Gathered::default();
        let found = by_target.get(&index).unwrap_or(&none);
        destinations.push(judge_target(index, found, site));
        gathered.matched.extend(&found.matched);
    }
    // An attempt may match several targets of one rule.
    gathered.matched.sort_by_key(|one| one.index);
    gathered.matched.dedup_by_key(|one| one.index);
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
        names: sorted(names.into_values().map(|attempt| attempt.destination().to_string())),
        attempts: found.tries(),
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

fn judge_destinations(
    matched: &[Matched<'_>],
    site: &Site,
    permits: &Permits<'_>,
) -> Vec<DestinationFinding> {
    let mut by_destination: HashMap<_, Gathered<'_>, RandomState> = HashMap::default();
    for one in matched {
        let key = (one.attempt.subject, one.attempt.service);
        by_destination.entry(key).or_default().matched.push(one);
    }
    let mut findings: Vec<_> = by_destination
        .iter()
        .map(|((_, service), found)| judge_destination(*service, found, site, permits))
        .collect();
    findings.sort_by(|a, b| {
        let key = |one: &DestinationFinding| (one.class, one.transport, one.port);
        let (x, y) = (key(a), key(b));
        x.0.cmp(&y.0).then_with(|| a.name.cmp(&b.name)).then_with(|| x.cmp(&y))
    });
    findings
}

fn judge_destination(
    service: Option<(Transport, u16)>,
    found: &Gathered<'_>,
    site: &Site,
    permits: &Permits<'_>,
) -> DestinationFinding {
    let verdict = found.verdict_with_fallback();
    let attempts = || found.attempts();
    let tries = || attempts().flat_map(Attempt::tries);
    let mut hits: BTreeSet<Hit> = BTreeSet::new();
    let mut last: Option<&Rc<[Hit]>> = None;
    for one in &found.matched {
        // Mostly the same list again.
        if !last.is_some_and(|last| Rc::ptr_eq(last, &one.hits)) {
            hits.extend(one.hits.iter().cloned());
            last = Some(&one.hits);
        }
    }
    let mut rules = Vec::new();
    for hit in hits.iter().rev() {
        let id = &site.rules()[hit.rule].rule.id;
        if !rules.contains(id) {
            rules.push(id.clone());
        }
    }
    // The worst class wins: Unexpected comes first in the order of classes.
    let class = found.matched.iter().map(|one| one.class).min().unwrap_or(Class::Unexpected);
    let decisive = found.matched.iter().filter(|one| one.class == class);
    let (allowed_by, undecided_by) =
        permits.shown(decisive.filter_map(|one| one.permit.as_deref()));
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
        name: found
            .matched
            .first()
            .map_or_else(String::new, |one| one.attempt.destination().to_string()),
        named_by: attempts().map(|a| a.named_by).min().unwrap_or(NamedBy::Address),
        candidates: candidates(&found.matched),
        addresses: sorted(attempts().filter_map(|a| a.addr)),
        transport: service.map(|(transport, _)| transport),
        port: service.map(|(_, port)| port),
        class,
        condition: (class == Class::Conditional).then(|| condition(&hits, site)).flatten(),
        rules,
        allowed_by,
        undecided_by,
        attempts: found.tries(),
        outcomes: found.outcomes(),
        reasons,
        stage: found.stage(verdict),
        verdict,
        clients: sorted(tries().map(|one| one.client)),
        bytes,
        first: tries().map(|one| one.first.time).min().unwrap_or_default(),
        last: tries().map(|one| one.last).max().unwrap_or_default(),
        flags: sorted(attempts().flat_map(|a| a.flags.iter().copied())),
        evidence: found.evidence(verdict),
    }
}

/// All names that DNS makes possible for one of the attempts.
fn candidates<'a>(matched: &[&'a Matched<'a>]) -> Vec<HostName> {
    // Few lists, each shared by many attempts.
    let lists = |attempt: &'a Attempt| {
        let others = attempt.again.iter().map(|again| &again.candidates);
        std::iter::once(&attempt.candidates).chain(others)
    };
    let mut lists: Vec<_> = matched.iter().flat_map(|one| lists(one.attempt)).collect();
    lists.sort_unstable_by_key(|list| list.as_ptr());
    lists.dedup_by_key(|list| list.as_ptr());
    sorted(lists.into_iter().flat_map(|list| list.iter().cloned()))
}

/// What would have to be on for a rule to explain the destination.
fn condition(hits: &BTreeSet<Hit>, site: &Site) -> Option<String> {
    let best = hits.iter().next_back()?;
    site.rules()[best.rule].rule.when.as_ref().map(ToString::to_string)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        allowlist::{Allowlist, Context, Input, Origin},
        catalog::{Profile, builtin},
        verdict::{Outcome, testing},
    };

    const WEB: Option<(Transport, u16)> = Some((Transport::Tcp, 443));

    fn tried(name: &str, service: Option<(Transport, u16)>) -> Attempt {
        testing::attempt("10.0.0.1", name, service, Outcome::Established, (0, 1))
    }

    /// The class with this allowlist, and the lines of the entries that allow it, or may.
    fn class(attempt: &Attempt, list: &str) -> (Class, Vec<usize>, Vec<usize>) {
        let profile = "[network]\ninternal = [\"203.0.113.64/26\"]";
        let profile = Profile::parse(profile, "p").unwrap();
        let site = Site::new(&[builtin("aks").unwrap()], profile, None);
        let inputs = [Input { file: "list", text: list, format: None }];
        let list = Allowlist::read(&inputs, Context::default()).unwrap();
        let policy = Policy::new(&list);
        let mut lookup = Lookup {
            site: &site,
            of_attempts: HashMap::default(),
            known: HashMap::default(),
            permits: Permits::new(Some(&policy)),
        };
        let matched = Matched::new(0, attempt, &mut lookup);
        let (by, undecided) = lookup.permits.shown(matched.permit.as_deref().into_iter());
        let lines = |origins: Vec<Origin>| origins.into_iter().map(|origin| origin.line);
        (matched.class, lines(by).collect(), lines(undecided).collect())
    }

    #[test]
    fn the_allowlist_explains_what_no_rule_does() {
        let list = "# ours\n*.example.net:443\n198.51.100.0/24\n203.0.113.64/26\n";
        let telemetry = tried("telemetry.example.net", WEB);
        assert_eq!(class(&telemetry, list), (Class::Allowed, vec![2], vec![]));
        assert_eq!(class(&telemetry, "example.net:443\n").0, Class::Unexpected);
        // Other ports, and UDP where the list has TCP only, aren't permitted.
        let other = tried("telemetry.example.net", Some((Transport::Tcp, 8443)));
        assert_eq!(class(&other, list).0, Class::Unexpected);
        let quic = Attempt {
            named_by: NamedBy::QuicSni,
            ..tried("telemetry.example.net", Some((Transport::Udp, 443)))
        };
        let csv = "destination,port,protocol,action\n*.example.net,443,tcp,allow\n";
        assert_eq!(class(&quic, csv).0, Class::Unexpected);
        assert_eq!(class(&telemetry, csv).0, Class::Allowed);
        // By address, with a name or without.
        let addr = Some("198.51.100.7".parse().unwrap());
        for name in [None, HostName::parse(b"other.example.org")] {
            let attempt = Attempt { addr, name, ..tried("x", WEB) };
            assert_eq!(class(&attempt, list), (Class::Allowed, vec![3], vec![]));
        }
        // Rules and the site's own networks come first.
        assert_eq!(class(&tried("mcr.microsoft.com", WEB), "*\n").0, Class::Required);
        let inside = Attempt { addr: Some("203.0.113.70".parse().unwrap()), ..tried("x.y", WEB) };
        assert_eq!(class(&inside, list).0, Class::Internal);
    }

    #[test]
    fn what_the_allowlist_denies_or_cannot_tell_stays_unexpected() {
        let telemetry = tried("telemetry.example.net", WEB);
        let denied = "destination,port,action\nbad.example.net,443,deny\n*.example.net,443,allow\n";
        assert_eq!(class(&telemetry, denied), (Class::Allowed, vec![3], vec![]));
        assert_eq!(class(&tried("bad.example.net", WEB), denied).0, Class::Unexpected);
        let tag = r#"{"ruleCollections": [{"name": "c", "priority": 100,
            "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
            "action": {"type": "Allow"}, "rules": [{"name": "r", "ruleType": "NetworkRule",
            "ipProtocols": ["TCP"], "sourceAddresses": ["*"],
            "destinationAddresses": ["AzureCloud.westeurope"], "destinationPorts": ["443"]}]}]}"#;
        let (told, by, undecided) = class(&telemetry, tag);
        assert_eq!((told, by.len(), undecided.len()), (Class::Unexpected, 0, 1));
    }

    #[test]
    fn candidates_are_ambiguous_only_where_the_allowlist_tells_them_apart() {
        let names = ["a.example.net", "b.example.net"].map(|n| HostName::parse(n.as_bytes()));
        let guessed = Attempt {
            named_by: NamedBy::Dns,
            candidates: names.into_iter().flatten().collect(),
            ..tried("a.example.net", WEB)
        };
        assert_eq!(class(&guessed, "a.example.net\n").0, Class::Ambiguous);
        assert_eq!(class(&guessed, "a.example.net\nb.example.net\n").0, Class::Allowed);
        assert_eq!(class(&guessed, "c.example.net\n").0, Class::Unexpected);
        // Its name isn't known, and a rule may ask for it.
        let midstream = Attempt { name: None, flags: vec![Flag::Midstream], ..tried("x", WEB) };
        assert_eq!(class(&midstream, "*\n").0, Class::Ambiguous);
    }

    #[test]
    fn a_name_only_looked_up_is_allowed_on_some_port() {
        let lookup = Attempt { addr: None, ..tried("mail.example.net", None) };
        assert_eq!(class(&lookup, "mail.example.net:587\n").0, Class::Allowed);
        assert_eq!(class(&lookup, "*:443\n").0, Class::Allowed);
        // That NTP may go anywhere says nothing about names.
        assert_eq!(class(&lookup, "*:123/udp\n").0, Class::Unexpected);
        let list = "destination,port,action\nmail.example.net,*,deny\n*.example.net,587,allow\n";
        assert_eq!(class(&lookup, list).0, Class::Unexpected);
    }
}
