//! Entries that another one makes useless, or contradicts.

use super::{
    HashMap, automaton,
    diff::ShadowRow,
    entry::{Action, Entry, RuleTerms, To},
    glob::Glob,
    intervals::Nets,
    policy::Policy,
    spans::Spans,
};

/// How much comparing is done for a whole list, in steps of a few nanoseconds.
const MAX_WORK: usize = 1 << 26;
/// What looking at two entries costs, at least.
const LOOK: usize = 4;
/// What comparing two sets of names costs when their ends don't tell.
const COMPARE: usize = 64;

/// For each entry that another one makes useless, the first such; and how many entries couldn't
/// be compared with all others.
///
/// An earlier entry makes one useless that it holds whole; where nothing denies, order doesn't
/// matter, and a later one does as well.
pub(super) fn shadowed(policy: &Policy<'_>) -> (Vec<ShadowRow>, usize) {
    let entries = &policy.list().entries;
    let mut search = Search::new(policy);
    let mut rows = Vec::new();
    let mut not_compared = 0;
    let mut known: HashMap<u32, Option<u32>> = HashMap::default();
    for (number, entry) in (0_u32..).zip(entries) {
        let Some(&first) = search.firsts.get(&search.statement(number)) else { continue };
        let mut look = |number| {
            let (found, all) = search.first_over(number);
            not_compared += usize::from(!all);
            found
        };
        let over = match entry.except_nothing() {
            true => {
                let over = *known.entry(first).or_insert_with(|| look(first));
                // The same was said before, unless something wider came even before that.
                let said = (first < number).then_some(first);
                over.filter(|&over| over < first).or(said).or(over)
            }
            false => look(number),
        };
        if let Some(over) = over {
            let by = &entries[over as usize];
            rows.push(ShadowRow {
                entry: entry.origin(),
                by: by.origin(),
                contradiction: by.action != entry.action,
            });
        }
    }
    (rows, not_compared)
}

/// What an entry says beside its action: its destinations, and the class of its terms.
type Statement<'a> = (&'a To, &'a [Glob], u32);

struct Search<'p, 'a> {
    policy: &'p Policy<'a>,
    /// The first entry that says it.
    firsts: HashMap<Statement<'a>, u32>,
    /// Entries for everything, the first of each class.
    anywhere: Vec<u32>,
    /// Entries for addresses, the first of each statement.
    addresses: Spans,
    denies: bool,
    work: usize,
}

impl<'p, 'a> Search<'p, 'a> {
    fn new(policy: &'p Policy<'a>) -> Self {
        let entries = &policy.list().entries;
        let denies = entries.iter().any(|entry| entry.action == Action::Deny);
        let mut search = Self {
            policy,
            firsts: HashMap::default(),
            anywhere: Vec::new(),
            addresses: Spans::new([]),
            denies,
            work: MAX_WORK,
        };
        let mut addresses = Vec::new();
        for (number, entry) in (0_u32..).zip(entries) {
            if matches!(entry.to, To::Unevaluated(..)) {
                continue;
            }
            let first = *search.firsts.entry(search.statement(number)).or_insert(number);
            if first == number && entry.to == To::Any && entry.except_nothing() {
                search.anywhere.push(number);
            }
            if let (true, To::Nets(nets)) = (first == number, &entry.to) {
                addresses.push((nets, number));
            }
        }
        search.addresses = Spans::new(addresses);
        search
    }

    fn statement(&self, number: u32) -> Statement<'a> {
        let entry = self.entry(number);
        (&entry.to, &entry.except, self.policy.index().class(number))
    }

    fn entry(&self, number: u32) -> &'a Entry {
        &self.policy.list().entries[number as usize]
    }

    /// The first entry that makes another useless, and whether all that could were looked at.
    fn first_over(&mut self, number: u32) -> (Option<u32>, bool) {
        if self.work == 0 {
            return (None, false);
        }
        let mut near = Vec::new();
        let index = self.policy.index();
        match &self.entry(number).to {
            To::Names(globs) => {
                if let Some(glob) = globs.first() {
                    index.holding(glob, &mut near);
                }
            }
            To::Nets(nets) => {
                if let Some(first) = nets.first() {
                    self.addresses.meeting(first, first, &mut near);
                }
            }
            To::Any | To::Unevaluated(..) => {}
        }
        near.extend(&self.anywhere);
        self.work = self.work.saturating_sub(near.len() * LOOK);
        near.sort_unstable();
        near.dedup();
        for other in near {
            if self.work == 0 {
                return (None, false);
            }
            if other == number || other > number && self.denies {
                continue;
            }
            if self.holds(other, number) && (other < number || !self.holds(number, other)) {
                return (Some(other), true);
            }
        }
        (None, true)
    }

    /// True when all that `inner` matches, `outer` matches.
    fn holds(&mut self, outer: u32, inner: u32) -> bool {
        let (o, i) = (self.entry(outer), self.entry(inner));
        if !o.except_nothing() || !self.serves(outer, inner) {
            return false;
        }
        match (&o.to, &i.to) {
            (To::Unevaluated(..), _) | (_, To::Unevaluated(..)) => false,
            (To::Any, _) => true,
            (To::Names(outer), To::Names(inner)) => {
                inner.iter().all(|i| outer.iter().any(|o| self.has(o, i)))
            }
            (To::Nets(outer), To::Nets(inner)) => self.has_nets(outer, inner),
            _ => false,
        }
    }

    fn serves(&self, outer: u32, inner: u32) -> bool {
        let index = self.policy.index();
        let (outer, inner) = (index.class(outer), index.class(inner));
        outer == inner || inside(index.terms(outer), index.terms(inner))
    }

    fn has(&mut self, outer: &Glob, inner: &Glob) -> bool {
        let quick =
            inner.is_exact() || outer.is_exact() || outer.symbols().len() == outer.tail().len() + 1;
        self.work = self.work.saturating_sub(if quick { LOOK } else { COMPARE });
        automaton::contains(outer, inner)
    }

    fn has_nets(&mut self, outer: &Nets, inner: &Nets) -> bool {
        self.work = self.work.saturating_sub(inner.ranges().len() * LOOK);
        outer.contains(inner)
    }
}

/// True when a rule's terms let through all that another's do.
fn inside(outer: &RuleTerms, inner: &RuleTerms) -> bool {
    let clients = match (&outer.clients, &inner.clients) {
        (None, _) => true,
        (Some(outer), Some(inner)) => outer.contains(inner),
        (Some(_), None) => false,
    };
    clients
        && outer.transports.contains(inner.transports)
        && outer.apps.contains(inner.apps)
        && outer.ports.contains(&inner.ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowlist::{
        entry::{Allowlist, Apps, Transports},
        glob::Star,
        intervals::Ports,
    };
    use proptest::prelude::*;
    use std::sync::Arc;

    const NAMES: [&str; 9] =
        ["*", "*.x", "*.a.x", "a.x", "b.a.x", "a*.x", "*a.x", "a*b*.x", "*a*b*"];
    const NETS: [&str; 5] =
        ["10.0.0.0/31", "10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"];

    fn nets(text: &str) -> Nets {
        Nets::of([text.parse().unwrap()])
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let glob = (prop::sample::select(&NAMES[..]), any::<bool>()).prop_map(|(text, dots)| {
            Glob::with_stars(text, if dots { Star::Any } else { Star::Label })
        });
        let to = prop_oneof![
            4 => prop::collection::vec(glob.clone(), 1..3).prop_map(To::Names),
            2 => prop::sample::select(&NETS[..]).prop_map(|net| To::Nets(nets(net))),
            1 => Just(To::Any),
        ];
        let except = prop::option::weighted(0.1, glob);
        let clients = prop::option::weighted(0.3, prop::sample::select(&NETS[..2]));
        let action = prop::bool::weighted(0.9);
        (to, except, clients, action, (1..3_u16, 0..2_u16)).prop_map(
            |(to, except, clients, allow, (port, more))| Entry {
                action: if allow { Action::Allow } else { Action::Deny },
                to,
                except: except.into_iter().collect(),
                text: String::new(),
                line: 1,
                rule: Arc::new(RuleTerms {
                    file: "f".into(),
                    name: String::new(),
                    collection: String::new(),
                    transports: Transports::TCP,
                    apps: Apps::ANY,
                    ports: Ports::new([(port, port + more)]),
                    clients: clients.map(nets),
                }),
            },
        )
    }

    /// All that `inner` matches, `outer` matches: by looking at every pair.
    fn holds(outer: &Entry, inner: &Entry) -> bool {
        outer.except.is_empty()
            && inside(&outer.rule, &inner.rule)
            && match (&outer.to, &inner.to) {
                (To::Any, _) => true,
                (To::Names(outer), To::Names(inner)) => {
                    inner.iter().all(|i| outer.iter().any(|o| automaton::contains(o, i)))
                }
                (To::Nets(outer), To::Nets(inner)) => outer.contains(inner),
                _ => false,
            }
    }

    fn naive(entries: &[Entry]) -> Vec<(usize, usize)> {
        let denies = entries.iter().any(|entry| entry.action == Action::Deny);
        let over = |at: usize| {
            (0..entries.len()).find(|&other| {
                let earlier = other < at;
                let later = other > at && !denies && !holds(&entries[at], &entries[other]);
                (earlier || later) && holds(&entries[other], &entries[at])
            })
        };
        (0..entries.len()).filter_map(|at| Some((at, over(at)?))).collect()
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_all_pairs_give(entries in prop::collection::vec(entry(), 0..25)) {
            let mut list = Allowlist { entries, notes: Vec::new() };
            for (line, entry) in list.entries.iter_mut().enumerate() {
                entry.line = line;
            }
            let (rows, not_compared) = shadowed(&Policy::new(&list));
            let found: Vec<_> = rows.iter().map(|row| (row.entry.line, row.by.line)).collect();
            prop_assert_eq!(found, naive(&list.entries));
            prop_assert_eq!(not_compared, 0);
        }
    }
}
