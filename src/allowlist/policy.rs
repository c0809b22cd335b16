//! An allowlist compiled for questions: what becomes of this set of destinations?

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::{
    automaton::{self, Automaton, Say},
    entry::{Action, Allowlist, Entry, To},
    glob::Glob,
    intervals::{Intervals, Nets, Ports},
    seen::Seen,
};
use crate::catalog::{App, PrefixMatcher, Transport};

/// An allowlist, indexed by the ends of its names.
pub struct Policy<'a> {
    list: &'a Allowlist,
    /// The end of each name set and its entry, sorted.
    tails: Vec<(&'a [u8], u32)>,
    /// Entries that match every name.
    anywhere: Vec<u32>,
    /// Entries for addresses.
    nets: Vec<u32>,
    /// Entries that can't be compared.
    unevaluated: Vec<u32>,
}

/// A set of destinations to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Names.
    Names(Vec<Glob>),
    /// Addresses.
    Nets(Nets),
    /// Everything.
    Any,
}

/// Which clients have to be let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// All of these.
    All(Nets),
    /// The site's clients aren't known: some client, whichever the allowlist serves best.
    Some,
}

/// A question: all of `what` on all of `ports`.
#[derive(Clone, Debug)]
pub struct Question {
    /// The destinations.
    pub what: What,
    /// Transport.
    pub transport: Transport,
    /// Ports.
    pub ports: Ports,
    /// The protocol above; `None` when not known: any that the allowlist takes.
    pub app: Option<App>,
    /// The clients.
    pub from: Who,
}

/// What becomes of a set of destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// True when some of it is allowed.
    pub some: bool,
    /// What isn't allowed; all is when there are none.
    pub gaps: Vec<Gap>,
    /// The entries that allow some of it.
    pub allowed_by: BTreeSet<usize>,
    /// Entries that can't be compared and may allow what isn't.
    pub maybe: BTreeSet<usize>,
}

/// A part that isn't allowed, with an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// A name or address of the set that isn't allowed.
    pub example: String,
    /// The ports on which it isn't.
    pub ports: Ports,
    /// Clients for which it isn't; `None` when for all that were asked about.
    pub clients: Option<Nets>,
    /// The entry that denies it; `None` when no entry allows it.
    pub denied_by: Option<usize>,
}

/// What one name at one place is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sort {
    Allowed(usize),
    NotAllowed,
}

/// Most entries by address or without evaluation that are named as perhaps allowing.
const MAX_MAYBE: usize = 5;

impl<'a> Policy<'a> {
    /// Compiles the index.
    pub fn new(list: &'a Allowlist) -> Self {
        let mut policy = Self {
            list,
            tails: Vec::new(),
            anywhere: Vec::new(),
            nets: Vec::new(),
            unevaluated: Vec::new(),
        };
        for (number, entry) in (0..).zip(&list.entries) {
            if entry.takes_all_names() {
                policy.anywhere.push(number);
            }
            match &entry.to {
                To::Any if !entry.except.is_empty() => policy.tails.push((&[], number)),
                To::Any => {}
                To::Names(globs) => {
                    policy.tails.extend(globs.iter().map(|glob| (glob.tail(), number)));
                }
                To::Nets(_) => policy.nets.push(number),
                To::Unevaluated(..) => policy.unevaluated.push(number),
            }
        }
        policy.tails.sort_unstable();
        policy
    }

    /// The allowlist.
    pub fn list(&self) -> &'a Allowlist {
        self.list
    }

    /// Decides a question.
    pub fn ask(&self, question: &Question) -> Coverage {
        let candidates = self.candidates(question);
        let mut coverage = Coverage::default();
        let mut known: HashMap<Vec<u32>, Coverage> = HashMap::new();
        for ports in self.port_parts(&candidates, &question.ports) {
            let Some(port) = ports.first() else { continue };
            let at_port: Vec<u32> = candidates
                .iter()
                .copied()
                .filter(|&e| self.entry(e).rule.ports.has(port))
                .collect();
            let mut parts: Vec<(Option<Nets>, Coverage)> = Vec::new();
            for clients in self.client_parts(&at_port, &question.from) {
                let client = clients.as_ref().and_then(Nets::first);
                let here: Vec<u32> =
                    at_port.iter().copied().filter(|&e| self.serves(e, client)).collect();
                let part = known.entry(here).or_insert_with_key(|here| self.decide(question, here));
                parts.push((clients, part.clone()));
            }
            coverage.add(&ports, parts, question.from == Who::Some);
        }
        coverage
    }

    /// True when some entry allows something at this service.
    pub(super) fn allows_any_of(&self, question: &Question) -> bool {
        self.candidates(question).iter().any(|&n| self.entry(n).action == Action::Allow)
    }

    /// What becomes of one destination whose name and address are both known: the deciding entry,
    /// and entries before it that can't be compared.
    pub fn decide_one(
        &self,
        name: Option<&str>,
        addr: Option<IpAddr>,
        (transport, port): (Transport, u16),
        client: Option<IpAddr>,
    ) -> (Option<usize>, Vec<usize>) {
        let mut numbers: Vec<u32> = Vec::new();
        if let Some(name) = name {
            let reversed: Vec<u8> = name.bytes().rev().collect();
            self.ending_in_part(&reversed, &mut numbers);
        }
        numbers.extend(&self.anywhere);
        numbers.extend(&self.nets);
        numbers.extend(&self.unevaluated);
        numbers.sort_unstable();
        numbers.dedup();
        let mut maybe = Vec::new();
        for number in numbers {
            let entry = self.entry(number);
            let rule = &entry.rule;
            let served = match (&rule.clients, client) {
                (Some(clients), Some(client)) => clients.has_addr(client),
                _ => true,
            };
            if !rule.transports.has(transport) || !rule.ports.has(port) || !served {
                continue;
            }
            let excepted = name.is_some_and(|name| entry.except.iter().any(|g| g.matches(name)));
            let meant = match &entry.to {
                To::Any => true,
                To::Names(globs) => name.is_some_and(|name| globs.iter().any(|g| g.matches(name))),
                To::Nets(nets) => addr.is_some_and(|addr| nets.has_addr(addr)),
                To::Unevaluated(_, globs) => {
                    let may = |globs: &Vec<Glob>| {
                        name.is_some_and(|n| globs.iter().any(|g| g.matches(n)))
                    };
                    if globs.as_ref().is_none_or(may) && maybe.len() < MAX_MAYBE {
                        maybe.push(number as usize);
                    }
                    false
                }
            };
            if meant && !excepted {
                return (Some(number as usize), maybe);
            }
        }
        (None, maybe)
    }

    /// Entries that an entry's names are all in, earlier or later, by what their ends allow.
    pub(super) fn wider(&self, glob: &Glob) -> Vec<u32> {
        let mut numbers = Vec::new();
        self.ending_in_part(glob.tail(), &mut numbers);
        numbers.extend(&self.anywhere);
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Entries that match every name.
    pub(super) fn anywhere(&self) -> &[u32] {
        &self.anywhere
    }

    /// Entries by the addresses that they hold.
    pub(super) fn by_address(&self) -> PrefixMatcher<u32> {
        PrefixMatcher::new(self.nets.iter().flat_map(|&number| {
            let prefixes = match &self.entry(number).to {
                To::Nets(nets) => nets.prefixes(),
                _ => Vec::new(),
            };
            prefixes.into_iter().map(move |net| (net, number))
        }))
    }

    /// All entries that match what was seen, whichever comes first.
    pub(super) fn matching(&self, seen: &Seen) -> Vec<usize> {
        let mut numbers: Vec<u32> = Vec::new();
        if let Some(name) = seen.host() {
            let reversed: Vec<u8> = name.bytes().rev().collect();
            self.ending_in_part(&reversed, &mut numbers);
        }
        numbers.extend(self.anywhere.iter().chain(&self.nets));
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|&number| {
            let entry = self.entry(number);
            let rule = &entry.rule;
            let served = seen.transport.is_none_or(|t| rule.transports.has(t))
                && seen.port.is_none_or(|p| rule.ports.has(p));
            let named =
                |globs: &[Glob]| seen.host().is_some_and(|n| globs.iter().any(|g| g.matches(n)));
            served
                && !named(&entry.except)
                && match &entry.to {
                    To::Any => true,
                    To::Names(globs) => named(globs),
                    To::Nets(nets) => seen.addresses.iter().any(|&a| nets.has_addr(a)),
                    To::Unevaluated(..) => false,
                }
        });
        numbers.into_iter().map(|n| n as usize).collect()
    }

    fn entry(&self, number: u32) -> &'a Entry {
        &self.list.entries[number as usize]
    }

    /// Entries that may have a say, in order.
    fn candidates(&self, question: &Question) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::new();
        match &question.what {
            What::Names(globs) => {
                for glob in globs {
                    let tail = glob.tail();
                    self.ending_in_part(tail, &mut numbers);
                    let longer = self.tails.partition_point(|&(other, _)| other < tail);
                    let longer = self.tails[longer..].iter();
                    numbers.extend(
                        longer.take_while(|(other, _)| other.starts_with(tail)).map(|&(_, n)| n),
                    );
                }
                numbers.extend(&self.anywhere);
                numbers.extend(&self.nets);
            }
            What::Nets(wanted) => {
                let near = |&&n: &&u32| match &self.entry(n).to {
                    To::Nets(nets) => nets.intersects(wanted),
                    _ => false,
                };
                numbers.extend(&self.anywhere);
                numbers.extend(self.nets.iter().filter(near));
                // Names could lead to these addresses.
                numbers.extend(self.tails.iter().map(|&(_, n)| n));
            }
            What::Any => {
                numbers.extend(&self.anywhere);
                numbers.extend(&self.nets);
                numbers.extend(self.tails.iter().map(|&(_, n)| n));
            }
        }
        numbers.extend(&self.unevaluated);
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|&n| {
            let rule = &self.entry(n).rule;
            rule.transports.has(question.transport) && rule.ports.intersects(&question.ports)
        });
        numbers
    }

    /// Entries whose names end in the whole tail or in less of it.
    fn ending_in_part(&self, tail: &[u8], to: &mut Vec<u32>) {
        for length in 0..=tail.len() {
            let part = &tail[..length];
            let from = self.tails.partition_point(|&(other, _)| other < part);
            let same = self.tails[from..].iter().take_while(|(other, _)| *other == part);
            to.extend(same.map(|&(_, number)| number));
        }
    }

    /// The asked-for ports, cut where some entry's begin or end; alike ports together.
    fn port_parts(&self, candidates: &[u32], asked: &Ports) -> Vec<Ports> {
        let mut parts = vec![asked.clone()];
        let mut seen: Vec<&Ports> = Vec::new();
        for &number in candidates {
            let ports = &self.entry(number).rule.ports;
            if ports.contains(asked) || seen.contains(&ports) {
                continue;
            }
            seen.push(ports);
            parts = split(parts, ports);
        }
        parts
    }

    /// The asked-for clients, cut where some entry's begin or end. `None` is a client that no entry
    /// mentions.
    fn client_parts(&self, candidates: &[u32], from: &Who) -> Vec<Option<Nets>> {
        let asked = match from {
            Who::All(nets) => nets.clone(),
            Who::Some => Nets::all(),
        };
        let mut parts = vec![asked];
        let mut seen: Vec<&Nets> = Vec::new();
        for &number in candidates {
            if let Some(clients) = &self.entry(number).rule.clients
                && !seen.contains(&clients)
            {
                seen.push(clients);
                parts = split(parts, clients);
            }
        }
        if seen.is_empty() {
            return vec![None];
        }
        parts.into_iter().map(Some).collect()
    }

    fn serves(&self, number: u32, client: Option<u128>) -> bool {
        match (&self.entry(number).rule.clients, client) {
            (Some(clients), Some(client)) => clients.has(client),
            (Some(_), None) => false,
            (None, _) => true,
        }
    }

    /// At one port and for one client.
    fn decide(&self, question: &Question, here: &[u32]) -> Coverage {
        let mut coverage = match &question.what {
            What::Names(globs) => self.decide_names(globs, question.app, here),
            What::Nets(nets) => self.decide_nets(nets, question.app, here),
            What::Any => self.decide_any(question.app, here),
        };
        if coverage.gaps.is_empty() {
            coverage.maybe.clear();
            return coverage;
        }
        for &number in here {
            let entry = self.entry(number);
            if entry.action == Action::Allow
                && coverage.maybe.len() < MAX_MAYBE
                && self.may(entry, &question.what, question.app)
            {
                coverage.maybe.insert(number as usize);
            }
        }
        coverage
    }

    /// True when an entry that doesn't decide about the destinations could still let some pass.
    fn may(&self, entry: &Entry, what: &What, app: Option<App>) -> bool {
        let taken = app.is_none_or(|app| entry.rule.apps.has(app));
        match (&entry.to, what) {
            (To::Unevaluated(_, Some(may)), What::Names(globs)) => {
                may.iter().any(|m| globs.iter().any(|g| automaton::intersects(m, g)))
            }
            (To::Unevaluated(..), _) => true,
            // A name may resolve into them, wherever they are on the internet.
            (To::Nets(nets), What::Names(_)) => taken && is_public(nets),
            // An address may have such a name.
            (To::Names(_), What::Nets(_)) => taken,
            // The rule's own protocol isn't stated, or isn't one that the device looks into.
            (To::Names(_) | To::Any, _) => {
                app == Some(App::Other) && !entry.rule.apps.other && self.meets(entry, what)
            }
            _ => false,
        }
    }

    fn meets(&self, entry: &Entry, what: &What) -> bool {
        match (&entry.to, what) {
            (To::Names(a), What::Names(b)) => {
                a.iter().any(|a| b.iter().any(|b| automaton::intersects(a, b)))
            }
            _ => true,
        }
    }

    fn decide_names(&self, globs: &[Glob], app: Option<App>, here: &[u32]) -> Coverage {
        let any = [Glob::any()];
        let mut says: Vec<Say<'_>> = Vec::new();
        let mut numbers: Vec<usize> = Vec::new();
        for &number in here {
            let entry = self.entry(number);
            let names: &[Glob] = match &entry.to {
                To::Names(names) => names,
                To::Any => &any,
                To::Nets(_) if entry.takes_all_names() => &any,
                To::Nets(_) | To::Unevaluated(..) => continue,
            };
            if !self.decides(entry, app) {
                continue;
            }
            says.push(Say { names, except: &entry.except });
            numbers.push(number as usize);
        }
        let mut coverage = Coverage::default();
        for glob in globs {
            self.decide_glob(glob, &says, &numbers, &mut coverage);
        }
        coverage
    }

    fn decide_glob(
        &self,
        glob: &Glob,
        says: &[Say<'_>],
        numbers: &[usize],
        coverage: &mut Coverage,
    ) {
        // Mostly one entry takes it all before any other has a say.
        let first =
            says.iter().position(|say| say.names.iter().any(|n| automaton::intersects(n, glob)));
        let Some(first) = first else {
            coverage.gap(glob, None);
            return;
        };
        let takes_all = |say: &Say<'_>| {
            say.except.is_empty() && say.names.iter().any(|n| automaton::contains(n, glob))
        };
        if takes_all(&says[first]) {
            coverage.count(self.list, glob, numbers[first]);
            return;
        }
        let texts: Vec<(String, usize)> = says
            .iter()
            .enumerate()
            .filter(|(_, say)| say.except.is_empty())
            .flat_map(|(at, say)| {
                say.names.iter().filter(|g| g.is_exact()).map(move |g| (g.to_string(), at))
            })
            .collect();
        let mut exact: HashMap<&str, usize> = HashMap::new();
        for (name, at) in &texts {
            exact.entry(name).and_modify(|first| *first = (*first).min(*at)).or_insert(*at);
        }
        let sort = |rule: Option<usize>| match rule {
            Some(rule) if self.list.entries[numbers[rule]].action == Action::Allow => {
                Sort::Allowed(rule)
            }
            _ => Sort::NotAllowed,
        };
        let decided = Automaton::new(glob, says, exact).and_then(|walked| walked.decisions(sort));
        let Some(decided) = decided else {
            // Too many to tell: what overlaps may or may not do.
            coverage.gap(glob, None);
            coverage.maybe.insert(numbers[first]);
            return;
        };
        for decided in decided {
            match sort(decided.rule) {
                Sort::Allowed(rule) => {
                    coverage.some = true;
                    coverage.allowed_by.insert(numbers[rule]);
                }
                Sort::NotAllowed => {
                    let denied_by = decided.rule.map(|rule| numbers[rule]);
                    coverage.gaps.push(Gap::new(&decided.name, denied_by));
                }
            }
        }
    }

    /// A rule for HTTP decides on nothing else, and a denying one stops all that it looks into.
    fn decides(&self, entry: &Entry, app: Option<App>) -> bool {
        app.is_none_or(|app| entry.rule.apps.has(app))
    }

    fn decide_nets(&self, nets: &Nets, app: Option<App>, here: &[u32]) -> Coverage {
        let mut coverage = Coverage::default();
        let mut left = nets.clone();
        let mut denied: Vec<(usize, Nets)> = Vec::new();
        for &number in here {
            let entry = self.entry(number);
            let all = Nets::all();
            let hit = match &entry.to {
                To::Nets(nets) => nets,
                To::Any if entry.except.is_empty() => &all,
                _ => continue,
            };
            if left.is_empty() || !self.decides(entry, app) || !hit.intersects(&left) {
                continue;
            }
            let taken = left.intersection(hit);
            left = left.minus(hit);
            match entry.action {
                Action::Allow => {
                    coverage.some = true;
                    coverage.allowed_by.insert(number as usize);
                }
                Action::Deny => denied.push((number as usize, taken)),
            }
        }
        denied.truncate(MAX_MAYBE);
        let gaps = denied.iter().map(|(number, nets)| (nets, Some(*number))).chain([(&left, None)]);
        for (nets, denied_by) in gaps.filter(|(nets, _)| !nets.is_empty()) {
            let example = nets.example().map(|addr| addr.to_string()).unwrap_or_default();
            coverage.gaps.push(Gap::new(&example, denied_by));
        }
        coverage
    }

    /// "Anywhere" is allowed in part by addresses, not by single names.
    fn decide_any(&self, app: Option<App>, here: &[u32]) -> Coverage {
        let mut coverage = Coverage::default();
        let mut denied: Vec<Gap> = Vec::new();
        for &number in here {
            let entry = self.entry(number);
            if !self.decides(entry, app) || matches!(entry.to, To::Unevaluated(..)) {
                continue;
            }
            let all = entry.takes_all_names();
            match entry.action {
                Action::Allow if all || matches!(entry.to, To::Nets(_)) => {
                    coverage.some = true;
                    coverage.allowed_by.insert(number as usize);
                    if all {
                        coverage.gaps = denied;
                        return coverage;
                    }
                }
                Action::Allow => {}
                Action::Deny if all => {
                    coverage.gaps.push(Gap::new("*", Some(number as usize)));
                    return coverage;
                }
                Action::Deny if denied.len() < MAX_MAYBE => {
                    denied.push(Gap::new(&entry.text, Some(number as usize)));
                }
                Action::Deny => {}
            }
        }
        coverage.gaps.push(Gap::new("*", None));
        coverage
    }
}

impl Gap {
    fn new(example: &str, denied_by: Option<usize>) -> Self {
        Self { example: example.to_owned(), ports: Ports::empty(), clients: None, denied_by }
    }
}

impl Coverage {
    /// True when all of it is allowed.
    pub fn is_full(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Of destinations that can't be known: as far as anybody can tell, not allowed.
    pub(super) fn unknown(text: &str, ports: &Ports) -> Self {
        let gap = Gap { ports: ports.clone(), ..Gap::new(text, None) };
        Self { gaps: vec![gap], ..Self::default() }
    }

    fn gap(&mut self, glob: &Glob, denied_by: Option<usize>) {
        self.gaps.push(Gap::new(&automaton::example(glob), denied_by));
    }

    fn count(&mut self, list: &Allowlist, glob: &Glob, entry: usize) {
        match list.entries[entry].action {
            Action::Allow => {
                self.some = true;
                self.allowed_by.insert(entry);
            }
            Action::Deny => self.gap(glob, Some(entry)),
        }
    }

    /// Adds what holds on some ports, for each part of the clients.
    fn add(&mut self, ports: &Ports, parts: Vec<(Option<Nets>, Self)>, any_client: bool) {
        let full = parts.iter().position(|(_, part)| part.is_full());
        let parts: Vec<_> = match (any_client, full) {
            // Some client gets all of it, and which clients there are isn't known.
            (true, Some(full)) => parts.into_iter().skip(full).take(1).collect(),
            (true, None) => {
                let best = parts.iter().position(|(_, part)| part.some).unwrap_or(0);
                parts.into_iter().skip(best).take(1).map(|(_, part)| (None, part)).collect()
            }
            (false, _) => parts,
        };
        for (clients, part) in parts {
            self.some |= part.some;
            self.allowed_by.extend(part.allowed_by);
            self.maybe.extend(part.maybe);
            for gap in part.gaps {
                let known = self.gaps.iter_mut().find(|other| {
                    other.example == gap.example
                        && other.denied_by == gap.denied_by
                        && other.clients == clients
                });
                match known {
                    Some(known) => known.ports = known.ports.union(ports),
                    None => {
                        self.gaps.push(Gap {
                            ports: ports.clone(),
                            clients: clients.clone(),
                            ..gap
                        });
                    }
                }
            }
        }
    }
}

/// Cuts each part in what is inside and what is outside.
fn split<T: super::intervals::Step>(
    parts: Vec<Intervals<T>>,
    by: &Intervals<T>,
) -> Vec<Intervals<T>> {
    let halves = parts.iter().flat_map(|part| [part.intersection(by), part.minus(by)]);
    halves.filter(|half| !half.is_empty()).collect()
}

/// True when some of the addresses are reachable over the internet: not private (RFC 1918),
/// shared (RFC 6598), loopback or link-local, and not unique local (RFC 4193).
fn is_public(nets: &Nets) -> bool {
    const LOCAL: [&str; 9] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    ];
    let local = Nets::of(LOCAL.iter().filter_map(|net| net.parse().ok()));
    !local.contains(nets)
}

#[cfg(test)]
mod tests {
    use super::{
        super::entry::{Apps, RuleTerms, Transports},
        *,
    };
    use proptest::prelude::*;
    use std::sync::Arc;

    /// All names over these characters that are long enough to tell the sets below apart.
    fn names() -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..5 {
            let to = all.len();
            for at in from..to {
                all.extend(['a', 'b', 'x', '.'].map(|letter| format!("{}{letter}", all[at])));
            }
            from = to;
        }
        all.retain(|name| name.split('.').all(|label| !label.is_empty()));
        all
    }

    const SETS: [&[&str]; 9] =
        [&["a"], &["b.a"], &["+.a"], &["a", "+.a"], &["+a"], &["*.a"], &["a*.a"], &["+"], &["x.a"]];
    const NETS: [&str; 5] =
        ["10.0.0.0/31", "10.0.0.1/32", "10.0.0.2/31", "0.0.0.0/0", "10.0.0.3/32"];

    fn globs(texts: &[&str]) -> Vec<Glob> {
        use super::super::glob::{ANY, LABEL};
        let symbol = |b| match b {
            b'+' => ANY,
            b'*' => LABEL,
            literal => literal,
        };
        texts.iter().map(|text| Glob::from_symbols(text.bytes().map(symbol))).collect()
    }

    fn nets(text: &str) -> Nets {
        Nets::of([text.parse().unwrap()])
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let to = prop_oneof![
            3 => prop::sample::select(&SETS[..]).prop_map(|set| To::Names(globs(set))),
            2 => prop::sample::select(&NETS[..]).prop_map(|net| To::Nets(nets(net))),
            1 => Just(To::Any),
        ];
        let except = prop::option::weighted(0.2, prop::sample::select(&SETS[..]));
        let clients = prop::option::of(prop::sample::select(&NETS[..]));
        (to, except, clients, any::<bool>(), (1..4_u16, 0..3_u16)).prop_map(
            |(to, except, clients, allow, (port, more))| {
                let except = if matches!(to, To::Nets(_)) { None } else { except };
                Entry {
                    action: if allow { Action::Allow } else { Action::Deny },
                    to,
                    except: except.map(globs).unwrap_or_default(),
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
                }
            },
        )
    }

    fn clients() -> impl Iterator<Item = IpAddr> {
        (0..4_u8).map(|n| IpAddr::from([10, 0, 0, n]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn names_are_decided_as_by_trying_all(
            entries in prop::collection::vec(entry(), 0..6),
            asked in prop::sample::select(&SETS[..]),
            (port, more) in (1..4_u16, 0..3_u16),
        ) {
            let list = Allowlist { entries, notes: Vec::new() };
            let policy = Policy::new(&list);
            let asked = globs(asked);
            let ports = Ports::new([(port, port + more)]);
            let coverage = policy.ask(&Question {
                what: What::Names(asked.clone()),
                transport: Transport::Tcp,
                ports: ports.clone(),
                app: Some(App::Https),
                from: Who::All(nets("10.0.0.0/30")),
            });
            let (mut all, mut some) = (true, false);
            for name in names().iter().filter(|name| asked.iter().any(|g| g.matches(name))) {
                for port in port..=port + more {
                    for client in clients() {
                        let first = list.entries.iter().find(|entry| {
                            entry.rule.ports.has(port)
                                && entry.rule.clients.as_ref().is_none_or(|c| c.has_addr(client))
                                && !entry.except.iter().any(|g| g.matches(name))
                                && match &entry.to {
                                    To::Names(globs) => globs.iter().any(|g| g.matches(name)),
                                    _ => entry.takes_all_names() || entry.to == To::Any,
                                }
                        });
                        let allowed = first.is_some_and(|entry| entry.action == Action::Allow);
                        all &= allowed;
                        some |= allowed;
                    }
                }
            }
            prop_assert_eq!(coverage.is_full(), all, "{:?}", &coverage);
            prop_assert_eq!(coverage.some, some, "{:?}", &coverage);
            for gap in &coverage.gaps {
                prop_assert!(asked.iter().any(|g| g.matches(&gap.example)));
                prop_assert!(ports.contains(&gap.ports) && !gap.ports.is_empty());
            }
        }

        #[test]
        fn addresses_are_decided_as_by_trying_all(
            entries in prop::collection::vec(entry(), 0..6),
            asked in prop::sample::select(&NETS[..]),
            port in 1..5_u16,
        ) {
            let list = Allowlist { entries, notes: Vec::new() };
            let policy = Policy::new(&list);
            let asked = nets(asked);
            let coverage = policy.ask(&Question {
                what: What::Nets(asked.clone()),
                transport: Transport::Tcp,
                ports: Ports::one(port),
                app: Some(App::Https),
                from: Who::All(nets("10.0.0.0/30")),
            });
            // 10.0.0.9 stands for all addresses that no prefix but the whole has.
            let tried = (0..4_u8).chain([9]).map(|n| IpAddr::from([10, 0, 0, n]));
            let (mut all, mut some) = (true, false);
            for addr in tried.filter(|&addr| asked.has_addr(addr)) {
                for client in clients() {
                    let first = list.entries.iter().find(|entry| {
                        entry.rule.ports.has(port)
                            && entry.rule.clients.as_ref().is_none_or(|c| c.has_addr(client))
                            && match &entry.to {
                                To::Nets(nets) => nets.has_addr(addr),
                                To::Any => entry.except.is_empty(),
                                _ => false,
                            }
                    });
                    let allowed = first.is_some_and(|entry| entry.action == Action::Allow);
                    all &= allowed;
                    some |= allowed;
                }
            }
            prop_assert_eq!(coverage.is_full(), all, "{:?}", &coverage);
            prop_assert_eq!(coverage.some, some, "{:?}", &coverage);
        }
    }
}
