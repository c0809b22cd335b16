//! Attempts on one thing: how often it was tried, what became of it, what shows that.

use std::{net::IpAddr, time::Duration};

use crate::{
    base::{Stamp, Timestamp},
    scan::TRY_GAP,
    verdict::{
        Evidence, Flag, Meaning, Stage, Verdict,
        attempt::{Attempt, Try},
        finding::Outcomes,
    },
};

/// Tries over IPv4 and IPv6 that begin within this time are one. RFC 8305 section 5 recommends
/// 250 ms between them.
const FAMILY_WINDOW: Duration = Duration::from_secs(3);

/// Evidence shown for one finding.
const MAX_EVIDENCE: usize = 6;

/// Attempts on one thing, gathered: for evidence, in the order in which they began.
#[derive(Clone, Copy)]
pub(super) struct Gathered<'g, 'a>(pub(super) &'g [&'a Attempt<'a>]);

impl<'g, 'a> Gathered<'g, 'a> {
    pub(super) fn attempts(self) -> impl Iterator<Item = &'a Attempt<'a>> + use<'g, 'a> {
        self.0.iter().copied()
    }

    /// All tries to reach one destination, those of each client together, in the order in which they
    /// began.
    pub(super) fn tries(self) -> Vec<Tries> {
        let mut all = Vec::with_capacity(self.attempts().map(|one| one.tries().len()).sum());
        for attempt in self.attempts() {
            all.extend(attempt.tries().map(|one| Tries::new(attempt, one)));
        }
        all.sort_unstable_by_key(|one| (one.client, one.first, one.last));
        all
    }

    /// The verdict over all attempts. QUIC without a fallback to TCP is as blocked as the rest.
    pub(super) fn verdict_with_fallback(self) -> Verdict {
        let fell_back = |one: &Attempt<'_>| one.flags.has(Flag::TcpFallback);
        match self.verdict() {
            Verdict::Blocked if self.attempts().any(fell_back) => Verdict::Degraded,
            verdict => verdict,
        }
    }

    pub(super) fn verdict(self) -> Verdict {
        let (mut reached, mut blocked, mut made_good, mut doubted) = (false, false, false, false);
        for attempt in self.attempts() {
            reached |= attempt.is_reached();
            made_good |= attempt.made_good;
            if attempt.is_blocked() {
                blocked |= !attempt.made_good;
                doubted |= attempt.reason().is_some();
            }
        }
        match (reached, blocked) {
            (true, true) => Verdict::Degraded,
            (true, false) => Verdict::Reachable,
            (false, true) if doubted => Verdict::Inconclusive,
            (false, true) => Verdict::Blocked,
            (false, false) if made_good => Verdict::Degraded,
            (false, false) if self.0.is_empty() => Verdict::NotExercised,
            (false, false) => Verdict::Inconclusive,
        }
    }

    pub(super) fn outcomes(self) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for attempt in self.attempts() {
            *outcomes.entry(attempt.result.outcome).or_default() += attempt.count();
        }
        outcomes
    }

    /// The attempts that make the verdict what it is.
    pub(super) fn decisive(
        self,
        verdict: Verdict,
    ) -> impl Iterator<Item = &'a Attempt<'a>> + use<'g, 'a> {
        let wanted = match verdict {
            Verdict::Blocked | Verdict::Degraded => Meaning::Blocked,
            Verdict::Reachable => Meaning::Reached,
            _ => Meaning::Open,
        };
        let fits = move |attempt: &&Attempt<'_>| attempt.result.outcome.meaning() == wanted;
        self.attempts().filter(fits)
    }

    pub(super) fn evidence(self, verdict: Verdict) -> Vec<Evidence> {
        let mut shown = Vec::with_capacity(MAX_EVIDENCE);
        let mut show = |attempts| {
            for Earliest { attempt, place, .. } in earliest(attempts).iter().flatten() {
                let outcome = attempt.result.outcome;
                shown.extend(attempt.proofs(*place).map(|proof| Evidence::new(outcome, proof)));
            }
        };
        // What fails is worth a look also where something else succeeded, or may have.
        if matches!(verdict, Verdict::Reachable | Verdict::Inconclusive) {
            show(self.decisive(Verdict::Degraded));
        }
        show(self.decisive(verdict));
        shown.truncate(MAX_EVIDENCE);
        shown
    }

    /// The furthest stage that the decisive attempts got to.
    pub(super) fn stage(self, verdict: Verdict) -> Option<Stage> {
        self.decisive(verdict).map(|attempt| attempt.result.stage).max()
    }
}

/// One of the earliest tries: an attempt, and the place among its tries.
#[derive(Clone, Copy)]
struct Earliest<'a> {
    began: (Stamp, IpAddr),
    attempt: &'a Attempt<'a>,
    place: usize,
}

/// The earliest tries, in order, no more than are shown. Takes attempts in the order in which they
/// began.
fn earliest<'a>(
    attempts: impl Iterator<Item = &'a Attempt<'a>>,
) -> [Option<Earliest<'a>>; MAX_EVIDENCE] {
    let mut earliest = [None::<Earliest<'_>>; MAX_EVIDENCE];
    // Each has a try that is before all of later attempts.
    for attempt in attempts.take(MAX_EVIDENCE) {
        for (place, tried) in attempt.tries().take(MAX_EVIDENCE).enumerate() {
            let next = Earliest { began: (tried.first, tried.client), attempt, place };
            let is_later =
                |one: &Option<Earliest<'_>>| one.is_none_or(|one| next.began < one.began);
            if let Some(at) = earliest.iter().position(is_later) {
                earliest[at..].rotate_right(1);
                earliest[at] = Some(next);
            }
        }
    }
    earliest
}

/// Tries of one client to reach one destination.
pub(super) struct Tries {
    pub(super) client: IpAddr,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    reached: bool,
    /// How many they are.
    count: u64,
}

impl Tries {
    fn new(attempt: &Attempt<'_>, Try { first, client, last, repeats }: Try) -> Self {
        let (first, count) = (first.time, u64::from(repeats.tries));
        Self { client, first, last, reached: attempt.is_reached(), count }
    }

    /// True when `next`, which begins no sooner, belongs to it.
    fn goes_on(&self, next: &Self) -> bool {
        self.client == next.client && next.first.since(self.last) <= TRY_GAP
    }

    fn add(&mut self, next: &Self) {
        // Of several that one stands for, the times in between aren't known: what overlaps is taken to
        // have happened side by side.
        self.count = match (next.first <= self.last, next.last <= self.last) {
            (true, true) if self.count == 1 => 1,
            (true, _) => self.count.max(next.count),
            (false, _) => self.count + next.count - 1,
        };
        self.last = self.last.max(next.last);
        self.reached |= next.reached;
    }

    /// How many times something was tried: what follows each other closely is one, each client's apart.
    /// Takes all tries in the order of [`Gathered::tries`].
    pub(super) fn count(mut all: Vec<Self>) -> u64 {
        all.dedup_by(|next, chain| {
            let goes_on = chain.goes_on(next);
            if goes_on {
                chain.add(next);
            }
            goes_on
        });
        count_chains(&all)
    }
}

/// A client with two address families tries both and keeps what answers first (RFC 8305): what
/// fails over one while the other succeeds is part of the same try.
fn count_chains(chains: &[Tries]) -> u64 {
    if chains.iter().all(|chain| chain.reached) {
        return chains.iter().map(|chain| chain.count).sum();
    }
    let mut reached: Vec<_> = chains
        .iter()
        .filter(|chain| chain.reached)
        .map(|chain| (chain.client.is_ipv6(), chain.first))
        .collect();
    reached.sort_unstable();
    let is_part_of_another = |chain: &Tries| {
        let (other, first) = (chain.client.is_ipv4(), chain.first);
        let at = reached.partition_point(|one| *one < (other, first.minus(FAMILY_WINDOW)));
        let near =
            |&(v6, time): &(bool, Timestamp)| v6 == other && time.since(first) <= FAMILY_WINDOW;
        reached.get(at).is_some_and(near)
    };
    let own = chains.iter().filter(|chain| chain.reached || !is_part_of_another(chain));
    own.map(|chain| chain.count).sum()
}
