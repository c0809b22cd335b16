//! Which entries can have a say about a destination, found without looking at all of them.

use std::sync::LazyLock;

use super::{
    HashMap,
    entry::{Action, Allowlist, Apps, RuleTerms, To, Transports},
    glob::Glob,
    intervals::{Nets, Ports},
    spans::Spans,
    tails::Tails,
};

/// An allowlist's entries by what they are for. Numbers are places in the list.
pub(super) struct Index<'a> {
    /// For each entry, its class.
    class_of: Vec<u32>,
    /// Terms that differ in something that counts.
    classes: Vec<&'a RuleTerms>,
    /// Entries for names, by the ends of these.
    names: Tails<'a>,
    /// Entries for addresses, by these.
    addresses: Spans,
    /// Entries that can't be compared, by the names that they can be at all.
    perhaps: Tails<'a>,
    /// Entries that match every name.
    pub(super) anywhere: Vec<u32>,
    /// Entries for all but some names.
    pub(super) but_some: Vec<u32>,
    /// Entries for addresses.
    pub(super) nets: Vec<u32>,
    /// Of each class, the first entries for names.
    pub(super) few_names: Vec<u32>,
    /// Of each class, the first entries for addresses that are reachable over the internet.
    pub(super) few_nets: Vec<u32>,
    /// Of each class, the first entries of which nothing is known.
    pub(super) few_unknown: Vec<u32>,
    /// Of each class, the first entries that can't be compared and are for known names.
    pub(super) few_perhaps: Vec<u32>,
}

/// Of entries that differ only in their destinations, as many are enough to say who may decide.
pub(super) const FEW: usize = 5;

/// What of a rule counts.
type Class<'a> = (Transports, Apps, &'a Ports, Option<&'a Nets>);

impl<'a> Index<'a> {
    pub(super) fn new(list: &'a Allowlist) -> Self {
        let (class_of, classes) = classes(list);
        let (mut names, mut perhaps) = (Vec::new(), Vec::new());
        let (mut anywhere, mut but_some, mut nets) = (Vec::new(), Vec::new(), Vec::new());
        let mut few = [(); 4].map(|()| Few::default());
        for (number, entry) in (0_u32..).zip(&list.entries) {
            let class = (class_of[number as usize], entry.action);
            if entry.takes_all_names() {
                anywhere.push(number);
            }
            match &entry.to {
                To::Any if entry.except.is_empty() => {}
                To::Any => but_some.push(number),
                To::Names(globs) => {
                    names.extend(globs.iter().map(|glob| (glob, number)));
                    few[0].add(class, number);
                }
                To::Nets(set) => {
                    nets.push((set, number));
                    if is_public(set) {
                        few[1].add(class, number);
                    }
                }
                To::Unevaluated(_, Some(globs)) => {
                    perhaps.extend(globs.iter().map(|glob| (glob, number)));
                    few[3].add(class, number);
                }
                To::Unevaluated(_, None) => few[2].add(class, number),
            }
        }
        let [few_names, few_nets, few_unknown, few_perhaps] = few.map(|few| few.numbers);
        Self {
            class_of,
            classes,
            names: Tails::new(names),
            addresses: Spans::new(nets.iter().copied()),
            perhaps: Tails::new(perhaps),
            anywhere,
            but_some,
            nets: nets.into_iter().map(|(_, number)| number).collect(),
            few_names,
            few_nets,
            few_unknown,
            few_perhaps,
        }
    }

    /// The class of an entry: those of one class differ in nothing but action and destination.
    pub(super) fn class(&self, number: u32) -> u32 {
        self.class_of[number as usize]
    }

    /// The terms that an entry's class has in common.
    pub(super) fn terms(&self, class: u32) -> &'a RuleTerms {
        self.classes[class as usize]
    }

    /// How many classes there are.
    pub(super) fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Adds entries that may hold all names of a set.
    pub(super) fn holding(&self, glob: &Glob, found: &mut Vec<u32>) {
        self.names.holding(glob, found);
    }

    /// Adds entries for names that may have some of a set's.
    pub(super) fn meeting(&self, glob: &Glob, found: &mut Vec<u32>) {
        self.names.meeting(glob, found);
    }

    /// Adds entries that may match a name, also those that can't be compared.
    pub(super) fn matching_name(&self, name: &str, found: &mut Vec<u32>) {
        let reversed: Vec<u8> = name.bytes().rev().collect();
        self.names.holding_name(&reversed, found);
        self.perhaps.holding_name(&reversed, found);
    }

    /// Adds entries that can't be compared and may have some of a set's names.
    pub(super) fn perhaps_meeting(&self, glob: &Glob, found: &mut Vec<u32>) {
        self.perhaps.meeting(glob, found);
    }

    /// Adds entries for addresses that have one from `first` to `last`.
    pub(super) fn within(&self, first: u128, last: u128, found: &mut Vec<u32>) {
        self.addresses.meeting(first, last, found);
    }
}

/// Terms by what counts: most rules of a list have the same few services and clients.
fn classes(list: &Allowlist) -> (Vec<u32>, Vec<&RuleTerms>) {
    let mut known: HashMap<Class<'_>, u32> = HashMap::default();
    let mut classes = Vec::new();
    let class_of = list.entries.iter().map(|entry| {
        let rule = &*entry.rule;
        *known
            .entry((rule.transports, rule.apps, &rule.ports, rule.clients.as_ref()))
            .or_insert_with(|| {
                classes.push(rule);
                classes.len() as u32 - 1
            })
    });
    (class_of.collect(), classes)
}

/// The first entries of each class.
#[derive(Default)]
struct Few {
    counts: HashMap<(u32, Action), usize>,
    numbers: Vec<u32>,
}

impl Few {
    fn add(&mut self, class: (u32, Action), number: u32) {
        let count = self.counts.entry(class).or_default();
        *count += 1;
        if *count <= FEW {
            self.numbers.push(number);
        }
    }
}

/// True when some of the addresses are reachable over the internet: not private (RFC 1918),
/// shared (RFC 6598), loopback or link-local, and not unique local (RFC 4193).
fn is_public(nets: &Nets) -> bool {
    static LOCAL: LazyLock<Nets> = LazyLock::new(|| {
        let local = [
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
        Nets::of(local.iter().filter_map(|net| net.parse().ok()))
    });
    !LOCAL.contains(nets)
}
