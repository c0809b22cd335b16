//! Which rule decides on which names: exact, by walking all patterns at once.
//!
//! Names are read from their end. A state is where a name so far may stand in each pattern; the
//! patterns' next literals split the names, and one fresh character stands for all others. So the
//! states that an asked-for set can reach are few, and each says which rule is first to match.

use std::collections::VecDeque;

use foldhash::fast::RandomState;

use super::{
    HashMap,
    glob::{ANY, Glob, LABEL},
};

/// One rule as far as names go; the first in a list that matches decides.
#[derive(Clone, Copy)]
pub(super) struct Say<'a> {
    /// It matches names in any of these ...
    pub(super) names: &'a [Glob],
    /// ... and in none of these.
    pub(super) except: &'a [Glob],
}

/// Decides on the names of a set.
pub(super) struct Automaton<'a> {
    patterns: Vec<Pattern<'a>>,
    states: Vec<State>,
    /// Names that are rules of their own, with their position among the rules.
    exact: HashMap<&'a str, usize>,
}

type HashSet<K> = std::collections::HashSet<K, RandomState>;

/// More states than this are too many overlapping patterns to tell apart.
const MAX_STATES: usize = 1 << 16;
/// More places than this, counted over all states, take too long.
const MAX_STEPS: usize = 1 << 22;
/// More names than this aren't tried one by one.
const MAX_TRIED: usize = 1 << 17;
/// What a fresh character is drawn from, the best readable first.
const LETTERS: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789-_";
/// Stands for an octet that no pattern mentions when all of the above are mentioned.
const STRANGE: u8 = b'?';

struct Pattern<'a> {
    glob: &'a Glob,
    /// Position of its rule; the asked-for set has none.
    rule: Option<usize>,
    except: bool,
}

/// Places in patterns: (pattern, position), ascending.
type Places = Vec<(u32, u16)>;

struct State {
    next: Vec<(u8, u32)>,
    /// Where the fresh character leads.
    fresh: Option<u32>,
    accepts: bool,
    decided: Option<usize>,
    /// The state and character before, for the shortest name that leads here.
    from: Option<(u32, u8)>,
}

/// A name of the asked-for set and the position of the rule that decides on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) name: String,
    pub(super) rule: Option<usize>,
}

impl<'a> Automaton<'a> {
    /// Walks `asked` and the rules. `None` when they have too many states.
    pub(super) fn new(
        asked: &'a Glob,
        says: &[Say<'a>],
        exact: HashMap<&'a str, usize>,
    ) -> Option<Self> {
        let mut patterns = vec![Pattern { glob: asked, rule: None, except: false }];
        for (rule, say) in says.iter().enumerate() {
            let named = say.names.iter().filter(|glob| !glob.is_exact() || !say.except.is_empty());
            patterns.extend(named.map(|glob| Pattern { glob, rule: Some(rule), except: false }));
            let except = say.except.iter();
            patterns.extend(except.map(|glob| Pattern { glob, rule: Some(rule), except: true }));
        }
        let mut automaton = Self { patterns, states: Vec::new(), exact };
        automaton.walk()?;
        Some(automaton)
    }

    /// For each sort of decision (as `sort` says) that is made on some asked-for name, a shortest
    /// such name. `None` when there are too many to try.
    pub(super) fn decisions<S: Copy + Eq + std::hash::Hash>(
        &self,
        sort: impl Fn(Option<usize>) -> S,
    ) -> Option<Vec<Decided>> {
        let mut found: HashMap<S, Decided> = HashMap::default();
        let asked: HashSet<&str> =
            self.exact.keys().copied().filter(|name| self.patterns[0].glob.matches(name)).collect();
        let mut names: Vec<&str> = asked.iter().copied().collect();
        names.sort_unstable_by_key(|name| (name.len(), *name));
        for name in names {
            let wide = self.run(name);
            let rule = [self.exact.get(name).copied(), wide].into_iter().flatten().min();
            found.entry(sort(rule)).or_insert_with(|| Decided { name: name.to_owned(), rule });
        }
        let mut sorts: HashMap<S, usize> = HashMap::default();
        let mut order: Vec<S> = Vec::new();
        for (at, state) in self.states.iter().enumerate().filter(|(_, state)| state.accepts) {
            sorts.entry(sort(state.decided)).or_insert_with_key(|sort| {
                order.push(*sort);
                at
            });
        }
        let mut tries = MAX_TRIED;
        for wanted in order {
            if found.contains_key(&wanted) {
                continue;
            }
            let is_wanted = |state: &State| sort(state.decided) == wanted;
            if let Some(decided) = self.first(sorts[&wanted], is_wanted, &asked, &mut tries)? {
                found.insert(wanted, decided);
            }
        }
        let mut found: Vec<Decided> = found.into_values().collect();
        found.sort_unstable_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        Some(found)
    }

    fn walk(&mut self) -> Option<()> {
        let mut start = Places::new();
        let mut opened = Vec::new();
        for (number, pattern) in (0..).zip(&self.patterns) {
            opened.clear();
            pattern.glob.open(0, &mut opened);
            start.extend(opened.iter().map(|&position| (number, position)));
        }
        let start = (self.prune(start), true);
        let mut known: HashMap<(Places, bool), u32> = HashMap::default();
        self.add(&start, None);
        known.insert(start.clone(), 0);
        let mut open = VecDeque::from([(0_u32, start)]);
        let mut steps = MAX_STEPS;
        while let Some((number, (places, after_dot))) = open.pop_front() {
            let literals = self.literals(&places);
            let fresh = LETTERS.iter().copied().find(|b| !literals.contains(b)).unwrap_or(STRANGE);
            for (byte, is_fresh) in
                literals.iter().map(|&b| (b, false)).chain(std::iter::once((fresh, true)))
            {
                // Most often nothing asked-for goes on this way.
                if byte == b'.' && after_dot || !self.asks(&places, byte) {
                    continue;
                }
                steps = steps.checked_sub(places.len())?;
                let next = self.prune(self.stepped(&places, byte));
                if next.first().is_none_or(|&(pattern, _)| pattern != 0) {
                    continue;
                }
                let key = (next, byte == b'.');
                let to = match known.get(&key) {
                    Some(&to) => to,
                    None => {
                        let to = self.add(&key, Some((number, byte)));
                        if self.states.len() > MAX_STATES {
                            return None;
                        }
                        known.insert(key.clone(), to);
                        open.push_back((to, key));
                        to
                    }
                };
                let state = &mut self.states[number as usize];
                if is_fresh {
                    state.fresh = Some(to);
                } else {
                    state.next.push((byte, to));
                }
            }
        }
        Some(())
    }

    fn add(&mut self, (places, after_dot): &(Places, bool), from: Option<(u32, u8)>) -> u32 {
        let at_end = |&(pattern, position): &(u32, u16)| {
            let pattern = &self.patterns[pattern as usize];
            (position == pattern.glob.end()).then_some((pattern.rule, pattern.except))
        };
        let ended: Vec<_> = places.iter().filter_map(at_end).collect();
        let excepted = |rule| ended.iter().any(|&(other, except)| except && other == rule);
        let decided = ended
            .iter()
            .filter(|&&(rule, except)| rule.is_some() && !except && !excepted(rule))
            .filter_map(|&(rule, _)| rule)
            .min();
        let accepts = !after_dot && ended.iter().any(|&(rule, _)| rule.is_none());
        self.states.push(State { next: Vec::new(), fresh: None, accepts, decided, from });
        self.states.len() as u32 - 1
    }

    /// Rules behind one that takes every name from here on have no say.
    fn prune(&self, mut places: Places) -> Places {
        places.sort_unstable();
        places.dedup();
        let takes_all = |&(pattern, position): &(u32, u16)| {
            let pattern = &self.patterns[pattern as usize];
            let rest = pattern.glob.symbols().get(usize::from(position)..);
            rest == Some(&[ANY])
                && !pattern.except
                && pattern.rule.is_some_and(|rule| !self.has_exceptions(rule))
        };
        let first = places
            .iter()
            .filter(|place| takes_all(place))
            .map(|&(p, _)| self.patterns[p as usize].rule)
            .min();
        if let Some(first) = first {
            places.retain(|&(pattern, _)| {
                let rule = self.patterns[pattern as usize].rule;
                rule.is_none() || rule <= first
            });
        }
        places
    }

    fn has_exceptions(&self, rule: usize) -> bool {
        let end = self.patterns.partition_point(|pattern| pattern.rule <= Some(rule));
        self.patterns[end - 1].except
    }

    /// True when the asked-for set, whose places come first, has names with this character next.
    fn asks(&self, places: &Places, byte: u8) -> bool {
        let symbols = self.patterns[0].glob.symbols();
        let of_asked = places.iter().take_while(|&&(pattern, _)| pattern == 0);
        of_asked.map(|&(_, at)| symbols.get(usize::from(at))).any(|symbol| match symbol {
            Some(&ANY) => true,
            Some(&symbol) if symbol < ANY => byte != b'.',
            Some(&literal) => literal == byte,
            None => false,
        })
    }

    /// The characters that some pattern wants next; the dot always counts.
    fn literals(&self, places: &Places) -> Vec<u8> {
        let next = |&(pattern, position): &(u32, u16)| {
            let symbols = self.patterns[pattern as usize].glob.symbols();
            symbols.get(usize::from(position)).copied().filter(|&s| s > ANY)
        };
        let mut literals: Vec<u8> = places.iter().filter_map(next).collect();
        literals.push(b'.');
        literals.sort_unstable();
        literals.dedup();
        literals
    }

    fn stepped(&self, places: &Places, byte: u8) -> Places {
        let mut to = Places::new();
        let mut positions = Vec::new();
        for &(pattern, position) in places {
            positions.clear();
            self.patterns[pattern as usize].glob.step(position, byte, &mut positions);
            to.extend(positions.iter().map(|&position| (pattern, position)));
        }
        to
    }

    /// The rule that decides on an asked-for name.
    fn run(&self, name: &str) -> Option<usize> {
        let mut at = self.states.first()?;
        for byte in name.bytes().rev() {
            let literal = at.next.iter().find(|&&(b, _)| b == byte);
            let to = literal.map(|&(_, to)| to).or(at.fresh.filter(|_| byte != b'.'))?;
            at = &self.states[to as usize];
        }
        at.decided
    }

    /// A shortest name that ends in a wanted state, of which `shortest` is the first, and isn't in
    /// `without`.
    fn first(
        &self,
        shortest: usize,
        wanted: impl Fn(&State) -> bool,
        without: &HashSet<&str>,
        tries: &mut usize,
    ) -> Option<Option<Decided>> {
        let wanted = |state: &State| state.accepts && wanted(state);
        let name = self.name(shortest);
        let state = &self.states[shortest];
        if !without.contains(&*name) {
            return Some(Some(Decided { name, rule: state.decided }));
        }
        *tries = tries.checked_sub(self.states.len())?;
        let leads = self.leading(&wanted);
        // Each path is another name, and there are only so many to leave out.
        let mut open = VecDeque::from([(0_u32, Vec::new())]);
        while let Some((at, path)) = open.pop_front() {
            let state = &self.states[at as usize];
            let name: String = path.iter().rev().map(|&b| char::from(b)).collect();
            if wanted(state) && !without.contains(&*name) {
                return Some(Some(Decided { name, rule: state.decided }));
            }
            let fresh = state.fresh.into_iter().flat_map(|to| {
                let free = |b: &&u8| state.next.iter().all(|(taken, _)| taken != *b);
                LETTERS.iter().chain(&[STRANGE]).filter(free).map(move |&b| (b, to))
            });
            for (byte, to) in state.next.iter().copied().chain(fresh) {
                if leads.contains(&to) {
                    *tries = tries.checked_sub(1)?;
                    let mut path = path.clone();
                    path.push(byte);
                    open.push_back((to, path));
                }
            }
        }
        Some(None)
    }

    /// The states from which a wanted one can be reached.
    fn leading(&self, wanted: &impl Fn(&State) -> bool) -> HashSet<u32> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for (from, state) in (0..).zip(&self.states) {
            for to in state.next.iter().map(|&(_, to)| to).chain(state.fresh) {
                before[to as usize].push(from);
            }
        }
        let mut leads: HashSet<u32> =
            (0..).zip(&self.states).filter(|(_, state)| wanted(state)).map(|(n, _)| n).collect();
        let mut open: Vec<u32> = leads.iter().copied().collect();
        while let Some(at) = open.pop() {
            for &from in &before[at as usize] {
                if leads.insert(from) {
                    open.push(from);
                }
            }
        }
        leads
    }

    fn name(&self, state: usize) -> String {
        let mut name = String::new();
        let mut at = state;
        while let Some((from, byte)) = self.states[at].from {
            name.push(char::from(byte));
            at = from as usize;
        }
        name
    }
}

/// True when every name of `inner` is in `outer`. Too many states count as no.
pub(super) fn contains(outer: &Glob, inner: &Glob) -> bool {
    if inner.is_exact() {
        return outer.matches_reversed(inner.symbols());
    }
    // A gap of `inner` may hold another character than the one that `outer` wants there.
    let (tail, head) = (outer.tail(), outer.head());
    if outer.is_exact() || !inner.tail().starts_with(tail) || !inner.head().ends_with(head) {
        return false;
    }
    if outer.symbols()[tail.len()..] == [ANY] || outer == inner {
        return true;
    }
    if let Some(held) = outer.holds(inner) {
        return held;
    }
    let says = [Say { names: std::slice::from_ref(outer), except: &[] }];
    Automaton::new(inner, &says, HashMap::default())
        .is_some_and(|walked| walked.states.iter().all(|s| !s.accepts || s.decided.is_some()))
}

/// True when some name is in both.
pub(super) fn intersects(a: &Glob, b: &Glob) -> bool {
    if a.is_exact() {
        return b.matches_reversed(a.symbols());
    }
    if b.is_exact() {
        return a.matches_reversed(b.symbols());
    }
    if !a.head().ends_with(b.head()) && !b.head().ends_with(a.head()) {
        return false;
    }
    let (a, b) = (a.symbols(), b.symbols());
    let same = a.iter().zip(b).take_while(|(x, y)| x == y && **x > ANY).count();
    let after_dot = same == 0 || a[same - 1] == b'.';
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([x, ..], [y, ..]) if *x > ANY && *y > ANY => false,
        // Whatever the other one has there.
        ([ANY], _) | (_, [ANY]) => true,
        _ => meet(a, b, after_dot),
    }
}

/// Looks for a common name by all pairs of places in both.
fn meet(a: &[u8], b: &[u8], after_dot: bool) -> bool {
    let number = |i: usize, j: usize, dot: bool| (i * (b.len() + 1) + j) * 2 + usize::from(dot);
    let mut seen = vec![false; (a.len() + 1) * (b.len() + 1) * 2];
    let mut open = vec![(0, 0, after_dot)];
    while let Some((i, j, after_dot)) = open.pop() {
        if std::mem::replace(&mut seen[number(i, j, after_dot)], true) {
            continue;
        }
        if i == a.len() && j == b.len() && !after_dot {
            return true;
        }
        let (x, y) = (a.get(i).copied(), b.get(j).copied());
        let is_gap = |symbol: Option<u8>| matches!(symbol, Some(LABEL | ANY));
        if is_gap(x) {
            open.push((i + 1, j, after_dot));
        }
        if is_gap(y) {
            open.push((i, j + 1, after_dot));
        }
        let (Some(x), Some(y)) = (x, y) else { continue };
        let (next_i, next_j) =
            (i + usize::from(!is_gap(Some(x))), j + usize::from(!is_gap(Some(y))));
        let takes_dot = |symbol: u8| matches!(symbol, ANY | b'.');
        if takes_dot(x) && takes_dot(y) && !after_dot {
            open.push((next_i, next_j, true));
        }
        if x != b'.' && y != b'.' && (x <= ANY || y <= ANY || x == y) {
            open.push((next_i, next_j, false));
        }
    }
    false
}

/// A short name of the set; its text when it has none.
pub(super) fn example(glob: &Glob) -> String {
    if glob.is_exact() {
        return glob.to_string();
    }
    let first = Automaton::new(glob, &[], HashMap::default())
        .and_then(|walked| walked.states.iter().position(|s| s.accepts).map(|at| walked.name(at)));
    first.unwrap_or_else(|| glob.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All well-formed names up to a length.
    fn names(longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..longest {
            let to = all.len();
            for i in from..to {
                for letter in ['a', 'b', 'x', '.'] {
                    all.push(format!("{}{letter}", all[i]));
                }
            }
            from = to;
        }
        all.retain(|name| name.split('.').all(|label| !label.is_empty()));
        all
    }

    fn glob(longest: usize) -> impl Strategy<Value = Glob> {
        let symbol = prop::sample::select(vec![b'a', b'b', b'.', b'*', b'+', b'?']);
        let well_formed = |symbols: &Vec<u8>| {
            let text: Vec<&[u8]> = symbols.split(|&b| b == b'.').collect();
            text.iter().all(|label| !label.is_empty())
        };
        let symbols = prop::collection::vec(symbol, 1..=longest);
        symbols.prop_filter("labels are not empty", well_formed).prop_map(|symbols| {
            Glob::from_symbols(symbols.into_iter().map(|s| match s {
                b'*' => LABEL,
                b'+' => ANY,
                b'?' => super::super::glob::ONE,
                literal => literal,
            }))
        })
    }

    fn exact_of<'a>(
        says: &[(&'a [Glob], &'a [Glob])],
        texts: &'a [(String, usize)],
    ) -> HashMap<&'a str, usize> {
        let _ = says;
        let mut exact = HashMap::default();
        for (name, rule) in texts {
            let first = exact.entry(name.as_str()).or_insert(*rule);
            *first = (*first).min(*rule);
        }
        exact
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn pairs_agree_with_trying_every_name(a in glob(4), b in glob(4)) {
            let all = names(7);
            let (mut inside, mut common) = (true, false);
            for name in &all {
                let (p, q) = (a.matches(name), b.matches(name));
                inside &= !q || p;
                common |= p && q;
            }
            prop_assert_eq!(contains(&a, &b), inside, "{} contains {}", a, b);
            prop_assert_eq!(intersects(&a, &b), common, "{} intersects {}", a, b);
        }

        #[test]
        fn the_first_rule_decides(
            asked in glob(3),
            rules in prop::collection::vec((prop::collection::vec(glob(3), 1..3), prop::collection::vec(glob(3), 0..2)), 0..4),
        ) {
            let says: Vec<Say<'_>> = rules.iter().map(|(names, except)| Say { names, except }).collect();
            let mut texts = Vec::new();
            for (rule, (names, except)) in rules.iter().enumerate() {
                if except.is_empty() {
                    let exact = names.iter().filter(|g| g.is_exact());
                    texts.extend(exact.map(|g| (g.to_string(), rule)));
                }
            }
            let automaton = Automaton::new(&asked, &says, exact_of(&[], &texts)).unwrap();
            let decide = |name: &str| rules.iter().position(|(names, except)| {
                names.iter().any(|g| g.matches(name)) && !except.iter().any(|g| g.matches(name))
            });
            // Each rule is a sort of its own.
            let found = automaton.decisions(|rule| rule).unwrap();
            for decided in &found {
                prop_assert!(asked.matches(&decided.name));
                prop_assert_eq!(decide(&decided.name), decided.rule, "{}", decided.name);
            }
            for name in names(6).iter().filter(|name| asked.matches(name)) {
                let rule = decide(name);
                prop_assert!(found.iter().any(|d| d.rule == rule), "{} by {:?}", name, rule);
            }
        }
    }

    #[test]
    fn a_set_may_be_covered_by_several_and_holes_are_found() {
        let ask = |text: &str, rules: &[&str]| {
            let globs: Vec<Vec<Glob>> = rules
                .iter()
                .map(|r| vec![Glob::with_stars(r, super::super::glob::Star::Any)])
                .collect();
            let says: Vec<Say<'_>> = globs.iter().map(|names| Say { names, except: &[] }).collect();
            let texts: Vec<(String, usize)> = globs
                .iter()
                .enumerate()
                .filter(|(_, g)| g[0].is_exact())
                .map(|(i, g)| (g[0].to_string(), i))
                .collect();
            let asked = Glob::with_stars(text, super::super::glob::Star::Any);
            let automaton = Automaton::new(&asked, &says, exact_of(&[], &texts)).unwrap();
            let hole =
                automaton.decisions(|rule| rule).unwrap().into_iter().find(|d| d.rule.is_none());
            hole.map(|d| d.name)
        };
        assert_eq!(ask("*.data.mcr.example", &["*.example"]), None);
        assert_eq!(
            ask("*mcr.example", &["*.mcr.example", "mcr.example"]).as_deref(),
            Some("xmcr.example")
        );
        assert_eq!(ask("*.example", &["x.example", "a.example"]).as_deref(), Some("b.example"));
    }
}
