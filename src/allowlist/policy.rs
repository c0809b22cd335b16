//! An allowlist compiled for questions: what becomes of this set of destinations?

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    HashMap,
    automaton::{self, Automaton, Say},
    entry::{Action, Allowlist, Entry, To},
    glob::Glob,
    index::{FEW, Index},
    intervals::{Intervals, Left, Nets, Ports, Step, address, number},
    seen::Seen,
};
use crate::catalog::{App, Transport};

/// An allowlist, indexed.
pub struct Policy<'a> {
    list: &'a Allowlist,
    index: Index<'a>,
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
    /// True when so many entries overlap that not all could be told apart.
    pub too_many: bool,
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

/// What most names are looked up for.
const HTTPS: u16 = 443;
/// Most entries by address or without evaluation that are named as perhaps allowing.
const MAX_MAYBE: usize = FEW;
/// More parts than this, by ports or by clients, aren't asked about one by one.
const MAX_PARTS: usize = 512;
/// Nor are more entries than this, counted over all parts.
const MAX_LOOKED_AT: usize = 1 << 22;

impl<'a> Policy<'a> {
    /// Compiles the index.
    pub fn new(list: &'a Allowlist) -> Self {
        Self { list, index: Index::new(list) }
    }

    /// The allowlist.
    pub fn list(&self) -> &'a Allowlist {
        self.list
    }

    /// True when it may permit one client what it denies another one.
    pub fn tells_clients_apart(&self) -> bool {
        self.list.entries.iter().any(|entry| entry.rule.clients.is_some())
    }

    pub(super) fn index(&self) -> &Index<'a> {
        &self.index
    }

    /// Decides a question.
    pub fn ask(&self, question: &Question) -> Coverage {
        self.ask_among(&self.candidates(question), question)
    }

    /// The same by chosen entries, which are in order.
    fn ask_among(&self, candidates: &[u32], question: &Question) -> Coverage {
        let mut coverage = Coverage::default();
        let mut known: HashMap<Vec<u32>, Coverage> = HashMap::default();
        let mut budget = MAX_LOOKED_AT;
        let Some(port_parts) = self.port_parts(candidates, &question.ports) else {
            return Coverage::not_told(question);
        };
        for ports in port_parts {
            let Some(port) = ports.first() else { continue };
            let at_port: Vec<u32> = candidates
                .iter()
                .copied()
                .filter(|&e| self.entry(e).rule.ports.has(port))
                .collect();
            let Some(client_parts) = self.client_parts(&at_port, &question.from) else {
                return Coverage::not_told(question);
            };
            let mut parts: Vec<(Option<Nets>, Coverage)> = Vec::new();
            for clients in client_parts {
                let Some(left) = budget.checked_sub(at_port.len()) else {
                    return Coverage::not_told(question);
                };
                budget = left;
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
        service: (Transport, u16),
        client: Option<IpAddr>,
    ) -> (Option<usize>, Vec<usize>) {
        self.decide_among(&self.named(name), addr, service, client)
    }

    /// What becomes of a name that was only looked up: the entry that lets it pass on some port, and
    /// entries before it that can't be compared. An entry for everything counts where it has TCP
    /// 443: that NTP may go anywhere says nothing about a name.
    pub fn decide_lookup(&self, name: &str, client: IpAddr) -> (Option<usize>, Vec<usize>) {
        let mut numbers = self.named(Some(name));
        numbers.extend(self.index.anywhere.iter().chain(&self.index.few_unknown));
        numbers.sort_unstable();
        numbers.dedup();
        let mut left = [Ports::all(), Ports::all()];
        let mut maybe = Vec::new();
        for number in numbers {
            let entry = self.entry(number);
            let rule = &entry.rule;
            if rule.clients.as_ref().is_some_and(|clients| !clients.has_addr(client)) {
                continue;
            }
            if let To::Unevaluated(..) = entry.to {
                if maybe.len() < MAX_MAYBE {
                    maybe.push(number as usize);
                }
                continue;
            }
            for (left, transport) in left.iter_mut().zip([Transport::Tcp, Transport::Udp]) {
                if !rule.transports.has(transport) {
                    continue;
                }
                let here = left.intersection(&rule.ports);
                let counts = match &entry.to {
                    To::Names(_) => !here.is_empty(),
                    _ => transport == Transport::Tcp && here.has(HTTPS),
                };
                match entry.action {
                    Action::Allow if counts => return (Some(number as usize), maybe),
                    Action::Allow => {}
                    Action::Deny => *left = left.minus(&rule.ports),
                }
            }
        }
        (None, maybe)
    }

    /// The entries that match a name by itself, or can't be compared and may.
    pub(super) fn named(&self, name: Option<&str>) -> Vec<u32> {
        let mut numbers = Vec::new();
        if let Some(name) = name {
            self.index.matching_name(name, &mut numbers);
            numbers.extend(&self.index.but_some);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let reversed: Vec<u8> = name.unwrap_or_default().bytes().rev().collect();
        let has = |globs: &[Glob]| globs.iter().any(|glob| glob.matches_reversed(&reversed));
        numbers.retain(|&number| {
            let entry = self.entry(number);
            let meant = match &entry.to {
                To::Names(globs) | To::Unevaluated(_, Some(globs)) => has(globs),
                _ => true,
            };
            meant && !has(&entry.except)
        });
        if name.is_none() {
            // "All but these names" takes what has no name.
            numbers.extend(&self.index.but_some);
        }
        numbers
    }

    /// The same as [`decide_one`](Self::decide_one) for a name whose entries are known.
    pub(super) fn decide_among(
        &self,
        named: &[u32],
        addr: Option<IpAddr>,
        (transport, port): (Transport, u16),
        client: Option<IpAddr>,
    ) -> (Option<usize>, Vec<usize>) {
        let mut numbers = named.to_vec();
        numbers.extend(self.index.anywhere.iter().filter(|&&n| self.entry(n).to == To::Any));
        if let Some(addr) = addr.map(|addr| number(addr.to_canonical())) {
            self.index.within(addr, addr, &mut numbers);
        }
        numbers.extend(&self.index.few_unknown);
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
            match &entry.to {
                To::Unevaluated(..) if maybe.len() < MAX_MAYBE => maybe.push(number as usize),
                To::Unevaluated(..) => {}
                _ => return (Some(number as usize), maybe),
            }
        }
        (None, maybe)
    }

    /// All entries that match what was seen, whichever comes first.
    pub(super) fn matching(&self, seen: &Seen, named: &[u32]) -> Vec<usize> {
        let mut numbers = named.to_vec();
        numbers.extend(self.index.anywhere.iter().filter(|&&n| self.entry(n).to == To::Any));
        for addr in seen.addresses.iter().map(|addr| number(addr.to_canonical())) {
            self.index.within(addr, addr, &mut numbers);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|&number| {
            let entry = self.entry(number);
            seen.transport.is_none_or(|t| entry.rule.transports.has(t))
                && seen.port.is_none_or(|p| entry.rule.ports.has(p))
                && !matches!(entry.to, To::Unevaluated(..))
        });
        numbers.into_iter().map(|n| n as usize).collect()
    }

    fn entry(&self, number: u32) -> &'a Entry {
        &self.list.entries[number as usize]
    }

    /// Entries that may have a say, in order. Of those that could only be named as perhaps
    /// allowing, a few of each class.
    fn candidates(&self, question: &Question) -> Vec<u32> {
        let index = &self.index;
        let mut numbers: Vec<u32> = [&index.anywhere, &index.but_some, &index.few_unknown]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        match &question.what {
            What::Names(globs) => {
                for glob in globs {
                    index.meeting(glob, &mut numbers);
                    index.perhaps_meeting(glob, &mut numbers);
                }
                numbers.extend(&index.few_nets);
            }
            What::Nets(wanted) => {
                for &(first, last) in wanted.ranges() {
                    index.within(first, last, &mut numbers);
                }
                // Names could lead to these addresses.
                numbers.extend(index.few_names.iter().chain(&index.few_perhaps));
            }
            What::Any => {
                numbers.extend(index.nets.iter().chain(&index.few_names).chain(&index.few_perhaps));
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut fits: Vec<Option<bool>> = vec![None; index.class_count()];
        numbers.retain(|&number| {
            let class = index.class(number);
            *fits[class as usize].get_or_insert_with(|| {
                let rule = index.terms(class);
                rule.transports.has(question.transport) && rule.ports.intersects(&question.ports)
            })
        });
        numbers
    }

    /// The classes of entries, each once.
    fn classes_of(&self, numbers: &[u32]) -> Vec<u32> {
        let mut classes: Vec<u32> = numbers.iter().map(|&n| self.index.class(n)).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// The asked-for ports, cut where some entry's begin or end; alike ports together. `None` for
    /// too many parts.
    fn port_parts(&self, candidates: &[u32], asked: &Ports) -> Option<Vec<Ports>> {
        let mut parts = vec![asked.clone()];
        for class in self.classes_of(candidates) {
            let ports = &self.index.terms(class).ports;
            if !ports.contains(asked) {
                parts = split(parts, ports)?;
            }
        }
        Some(parts)
    }

    /// The asked-for clients, cut where some entry's begin or end; `None` in the list is a client
    /// that no entry mentions. `None` for too many parts.
    fn client_parts(&self, candidates: &[u32], from: &Who) -> Option<Vec<Option<Nets>>> {
        let asked = match from {
            Who::All(nets) => nets.clone(),
            Who::Some => Nets::all(),
        };
        let mut parts = vec![asked];
        let mut mentioned = false;
        for class in self.classes_of(candidates) {
            if let Some(clients) = &self.index.terms(class).clients {
                mentioned = true;
                parts = split(parts, clients)?;
            }
        }
        Some(if mentioned { parts.into_iter().map(Some).collect() } else { vec![None] })
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
            // A name may resolve into them: candidates are those on the internet, or everything.
            (To::Nets(_), What::Names(_)) => taken,
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
            // Most candidates end alike and meet all the same.
            let meets = |at: &usize| {
                let say: &Say<'_> = &says[*at];
                say.names.iter().any(|name| automaton::intersects(name, glob))
            };
            let met: Vec<usize> = (0..says.len()).filter(meets).collect();
            let says: Vec<Say<'_>> = met.iter().map(|&at| says[at]).collect();
            let numbers: Vec<usize> = met.iter().map(|&at| numbers[at]).collect();
            self.decide_glob(glob, &says, &numbers, &mut coverage);
        }
        coverage
    }

    /// Decides on the names of one set by the entries that meet it.
    fn decide_glob(
        &self,
        glob: &Glob,
        says: &[Say<'_>],
        numbers: &[usize],
        coverage: &mut Coverage,
    ) {
        let has_all = |say: &Say<'_>| say.names.iter().any(|name| automaton::contains(name, glob));
        if glob.is_exact() {
            let excepted =
                |say: &Say<'_>| say.except.iter().any(|name| automaton::contains(name, glob));
            match says.iter().position(|say| has_all(say) && !excepted(say)) {
                Some(decides) => coverage.count(self.list, glob, numbers[decides]),
                None => coverage.gap(glob, None),
            }
            return;
        }
        // Mostly one entry takes it all before any other has a say.
        let Some(first) = says.first() else {
            coverage.gap(glob, None);
            return;
        };
        if first.except.is_empty() && has_all(first) {
            coverage.count(self.list, glob, numbers[0]);
            return;
        }
        let asked = |name: &&Glob| name.is_exact() && glob.matches_reversed(name.symbols());
        let texts: Vec<(String, usize)> = says
            .iter()
            .enumerate()
            .filter(|(_, say)| say.except.is_empty())
            .flat_map(|(at, say)| {
                say.names.iter().filter(asked).map(move |name| (name.to_string(), at))
            })
            .collect();
        let mut exact: HashMap<&str, usize> = HashMap::default();
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
            coverage.gap(glob, None);
            coverage.too_many = true;
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
        let mut left = Left::of(nets);
        let mut gaps: Vec<(u128, Option<usize>)> = Vec::new();
        let all = Nets::all();
        for &number in here {
            let entry = self.entry(number);
            let hit = match &entry.to {
                To::Nets(nets) => nets,
                To::Any if entry.except.is_empty() => &all,
                _ => continue,
            };
            if left.is_empty() {
                break;
            }
            if !self.decides(entry, app) {
                continue;
            }
            let Some(lowest) = left.take(hit) else { continue };
            match entry.action {
                Action::Allow => {
                    coverage.some = true;
                    coverage.allowed_by.insert(number as usize);
                }
                Action::Deny if gaps.len() < MAX_MAYBE => {
                    gaps.push((lowest, Some(number as usize)));
                }
                Action::Deny => {}
            }
        }
        gaps.extend(left.lowest().map(|lowest| (lowest, None)));
        for (lowest, denied_by) in gaps {
            coverage.gaps.push(Gap::new(&address(lowest).to_string(), denied_by));
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

    /// Of a question that too many entries have a say in.
    fn not_told(question: &Question) -> Self {
        let example = match &question.what {
            What::Names(globs) => globs.first().map(automaton::example),
            What::Nets(nets) => nets.example().map(|addr| addr.to_string()),
            What::Any => None,
        };
        let coverage = Self::unknown(example.as_deref().unwrap_or("*"), &question.ports);
        Self { too_many: true, ..coverage }
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
            self.too_many |= part.too_many;
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

/// Cuts each part in what is inside and what is outside; `None` for too many parts.
fn split<T: Step>(parts: Vec<Intervals<T>>, by: &Intervals<T>) -> Option<Vec<Intervals<T>>> {
    let halves = parts.iter().flat_map(|part| [part.intersection(by), part.minus(by)]);
    let parts: Vec<_> = halves.filter(|half| !half.is_empty()).collect();
    (parts.len() <= MAX_PARTS).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::{
        super::entry::{Apps, RuleTerms, Transports},
        *,
    };
    use proptest::prelude::*;
    use std::{collections::BTreeMap, sync::Arc};

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
        fn the_index_leaves_out_only_what_has_no_say(
            entries in prop::collection::vec(entry(), 0..30),
            (set, net, sort) in (prop::sample::select(&SETS[..]), prop::sample::select(&NETS[..]), 0..3),
            (port, more) in (1..4_u16, 0..3_u16),
            app in prop::sample::select(&[App::Https, App::Other][..]),
        ) {
            let list = Allowlist { entries, notes: Vec::new() };
            let policy = Policy::new(&list);
            let question = Question {
                what: match sort {
                    0 => What::Names(globs(set)),
                    1 => What::Nets(nets(net)),
                    _ => What::Any,
                },
                transport: Transport::Tcp,
                ports: Ports::new([(port, port + more)]),
                app: Some(app),
                from: Who::All(nets("10.0.0.0/30")),
            };
            // The entries for private addresses are never named as what a name may resolve into.
            let all: Vec<u32> = (0..list.entries.len() as u32)
                .filter(|&n| match &list.entries[n as usize].to {
                    To::Nets(nets) => sort != 0 || nets.is_everywhere(),
                    _ => true,
                })
                .filter(|&n| list.entries[n as usize].rule.ports.intersects(&question.ports))
                .collect();
            let (found, wanted) = (policy.ask(&question), policy.ask_among(&all, &question));
            // Entries without a say may cut ports and clients into more parts.
            let gaps = |coverage: &Coverage| {
                let mut gaps: BTreeMap<_, Ports> = BTreeMap::new();
                for Gap { example, denied_by, ports, .. } in coverage.gaps.clone() {
                    let all = gaps.entry((example, denied_by)).or_insert_with(Ports::empty);
                    *all = all.union(&ports);
                }
                gaps
            };
            prop_assert_eq!(gaps(&found), gaps(&wanted));
            let rest = |coverage: Coverage| Coverage { gaps: Vec::new(), ..coverage };
            prop_assert_eq!(rest(found), rest(wanted));
        }

        #[test]
        fn lookups_are_decided_as_by_trying_all(
            mut entries in prop::collection::vec(entry(), 0..6),
            https in prop::collection::vec(any::<bool>(), 6),
            client in 0..4_u8,
        ) {
            for (entry, https) in entries.iter_mut().zip(https) {
                if https {
                    let rule = Arc::make_mut(&mut entry.rule);
                    rule.ports = rule.ports.union(&Ports::one(HTTPS));
                }
            }
            let list = Allowlist { entries, notes: Vec::new() };
            let policy = Policy::new(&list);
            let client = IpAddr::from([10, 0, 0, client]);
            for name in names().iter().filter(|name| name.len() < 4) {
                let says = |entry: &Entry, port: u16| {
                    entry.rule.ports.has(port)
                        && entry.rule.clients.as_ref().is_none_or(|c| c.has_addr(client))
                        && !entry.except.iter().any(|g| g.matches(name))
                        && match &entry.to {
                            To::Names(globs) => globs.iter().any(|g| g.matches(name)),
                            _ => entry.takes_all_names() || entry.to == To::Any,
                        }
                };
                let permits = |port: u16| {
                    let saying = list.entries.iter().filter(|entry| says(entry, port));
                    let mut before = saying.take_while(|entry| entry.action == Action::Allow);
                    before.any(|entry| matches!(entry.to, To::Names(_)) || port == HTTPS)
                };
                let wanted = (1..8).chain([HTTPS]).any(permits);
                let (by, _) = policy.decide_lookup(name, client);
                prop_assert_eq!(by.is_some(), wanted, "{}: {:?}", name, by);
                let allows = |by: usize| list.entries[by].action == Action::Allow;
                prop_assert!(by.is_none_or(allows));
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
