//! Finds all patterns that match a name, at a cost that doesn't grow with their number.
//!
//! The patterns form a tree by label, from the right. A step down by a literal label is one look
//! into a hash table for the whole tree. Its key is a hash over all labels so far, not over the
//! node's number, so that the memory reads of one step needn't wait for those of the step before. Labels with gaps that stand below one node are grouped by
//! the literal text before the first and after the last gap: for each pair of lengths that occurs
//! there, again one look-up finds the group. Within a group each label is tried: only patterns with
//! text between two gaps (`a*1*b`, `a*2*b`) or with placeholders share a group.

use std::{
    cmp::Reverse,
    hash::{BuildHasher as _, Hasher as _},
};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable, hash_table::Entry};

use super::{
    label::Label,
    pattern::{NamePattern, Specificity},
};

/// Finds all patterns that match a name.
///
/// `Id` is what stands for a pattern: a small number. Built once, then immutable. A look-up
/// allocates nothing and costs one hash probe for each label until no pattern has the rest of the
/// name, plus what patterns with gaps ask for (see the module).
#[derive(Clone, Debug)]
pub struct NameMatcher<Id> {
    labels: Labels,
    root: Node,
    edges: HashTable<Edge>,
    /// For each node that has labels with gaps below: their shapes.
    shapes: HashMap<u32, Vec<Shape>, RandomState>,
    groups: HashTable<Group>,
    members: Vec<Member>,
    ranked: Vec<Ranked<Id>>,
}

/// The labels of all nodes, end to end, and how to hash them.
#[derive(Clone, Debug, Default)]
struct Labels {
    text: String,
    hasher: RandomState,
}

/// A set of labels that patterns begin with, from the right.
#[derive(Clone, Copy, Debug)]
struct Node {
    number: u32,
    /// Where its entries begin: patterns that end here, then those for this name and all below,
    /// then those for all below.
    exact: u32,
    open: u32,
    below: u32,
    end: u32,
    /// Its leftmost label.
    label: u32,
    label_len: u16,
    below_it: Below,
}

/// What labels stand below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    Nothing,
    Literals,
    /// Labels with gaps, and perhaps literal ones.
    Gaps,
}

/// Leads from a node to the one a label further left. Labels with gaps have one as well, under
/// their pattern's text, which no name has. A node stands here alone, and two edges fill a cache
/// line, so that a step reads little memory.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Edge {
    parent: u32,
    node: Node,
}

const _: () = assert!(size_of::<Edge>() == 32);

/// Literal text before the first and after the last gap: how many octets each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    prefix: u8,
    suffix: u8,
}

/// The labels with gaps at one node that begin and end with the same text.
#[derive(Clone, Copy, Debug)]
struct Group {
    parent: u32,
    shape: Shape,
    /// Index of the first member.
    first: u32,
}

/// A label with gaps; a copy of its edge's node.
#[derive(Clone, Copy, Debug)]
struct Member {
    node: Node,
    /// Index of the group's next member, or `END`.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ranked<Id> {
    id: Id,
    /// Place among all patterns, most specific first.
    rank: u32,
}

/// What is known of each node while the tree grows.
#[derive(Default)]
struct Growth {
    /// Hash of the edge that leads there, for the table to grow by.
    keys: Vec<u64>,
    below: Vec<Below>,
}

/// End of a list of members.
const END: u32 = u32::MAX;

impl<Id: Copy + Ord> NameMatcher<Id> {
    /// Builds the matcher. A pattern may stand for several ids; a pair given twice counts once.
    ///
    /// Placeholders that aren't bound match as [`NamePattern`] says.
    ///
    /// # Panics
    ///
    /// When there are more than a thousand million different labels, or 1 GiB of them.
    pub fn new(patterns: impl IntoIterator<Item = (NamePattern, Id)>) -> Self {
        let mut ranked: Vec<(Reverse<Specificity>, NamePattern, Id)> = patterns
            .into_iter()
            .map(|(pattern, id)| (Reverse(pattern.specificity()), pattern, id))
            .collect();
        ranked.sort_unstable();
        ranked.dedup();
        let mut growth = Growth::default();
        let mut labels = Labels::default();
        let mut matcher = Self {
            root: growth.node(&mut labels, "", 0),
            labels,
            edges: HashTable::new(),
            shapes: HashMap::default(),
            groups: HashTable::new(),
            members: Vec::new(),
            ranked: Vec::new(),
        };
        let slots: Vec<u32> =
            ranked.iter().map(|(_, pattern, _)| matcher.insert(pattern, &mut growth)).collect();
        let ids: Vec<Id> = ranked.into_iter().map(|(_, _, id)| id).collect();
        matcher.place(&slots, &ids, &growth.below);
        matcher
    }

    /// Gives the id of each pattern that matches `name`, which is in canonical form
    /// ([`HostName`](crate::base::HostName)). An id comes once for each of its patterns that
    /// matches; the order is fixed but means nothing.
    pub fn lookup(&self, name: &str, found: &mut impl FnMut(Id)) {
        self.walk(&self.root, name.as_bytes(), &mut |entry| found(entry.id));
    }

    /// The id of the most specific pattern that matches `name`. Between equally specific patterns
    /// the order of their texts decides, then the lower id.
    pub fn most_specific(&self, name: &str) -> Option<Id> {
        let mut best: Option<&Ranked<Id>> = None;
        self.walk(&self.root, name.as_bytes(), &mut |entry| {
            if best.is_none_or(|best| entry.rank < best.rank) {
                best = Some(entry);
            }
        });
        best.map(|entry| entry.id)
    }

    /// Visits the entries for `rest` from `node` on. Recurses for labels with gaps only, so at
    /// most as deep as a pattern has labels.
    fn walk<'m>(
        &'m self,
        mut node: &'m Node,
        mut rest: &[u8],
        found: &mut impl FnMut(&'m Ranked<Id>),
    ) {
        // A label with gaps has no hash that a name leads to: a new chain begins behind it.
        let mut key = node.number.into();
        loop {
            let (from, to) = match rest.is_empty() {
                true => (node.exact, node.below),
                false => (node.open, node.end),
            };
            if from != to {
                let entries = &self.ranked[from as usize..to as usize];
                entries.iter().for_each(&mut *found);
            }
            if rest.is_empty() || node.below_it == Below::Nothing {
                return;
            }
            let dot = memchr::memrchr(b'.', rest);
            let label = &rest[dot.map_or(0, |dot| dot + 1)..];
            rest = &rest[..dot.unwrap_or(0)];
            if node.below_it == Below::Gaps {
                self.walk_gaps(node.number, label, rest, found);
            }
            key = self.labels.hash(key, &[label]);
            node = match self.child(node.number, key, label) {
                Some(child) => child,
                None => return,
            };
        }
    }

    fn walk_gaps<'m>(
        &'m self,
        parent: u32,
        label: &[u8],
        rest: &[u8],
        found: &mut impl FnMut(&'m Ranked<Id>),
    ) {
        for &shape in self.shapes.get(&parent).into_iter().flatten() {
            let group = self.group(parent, shape, label);
            let mut next = group.map_or(END, |group| group.first);
            while let Some(member) = self.members.get(next as usize) {
                if Label::new(self.labels.get(&member.node)).matches(label) {
                    self.walk(&member.node, rest, found);
                }
                next = member.next;
            }
        }
    }

    /// One label further. `key` is the hash over the labels up to and with this one.
    fn child(&self, parent: u32, key: u64, label: &[u8]) -> Option<&Node> {
        let is_it =
            |edge: &Edge| edge.parent == parent && self.labels.get(&edge.node).as_bytes() == label;
        self.edges.find(key, is_it).map(|edge| &edge.node)
    }

    /// The group of labels that begin and end as `label` does, at these lengths.
    fn group(&self, parent: u32, shape: Shape, label: &[u8]) -> Option<&Group> {
        let (prefix, suffix) = shape.ends(label)?;
        let is_it = |group: &Group| {
            let member = &self.members[group.first as usize].node;
            (group.parent, group.shape) == (parent, shape)
                && shape.ends(self.labels.get(member).as_bytes()) == Some((prefix, suffix))
        };
        let key = self.labels.hash(parent.into(), &[prefix, suffix]);
        self.groups.find(key, is_it)
    }

    /// Adds the pattern's nodes and gives its slot: three for each node, in `Node`'s order.
    fn insert(&mut self, pattern: &NamePattern, growth: &mut Growth) -> u32 {
        let (mut node, mut key) = (self.root.number, self.root.number.into());
        let mut labels = pattern.texts_from_right().peekable();
        while let Some(label) = labels.next() {
            // `*.x` needs no node of its own.
            if label == "*" && pattern.is_open() && labels.peek().is_none() {
                return node * 3 + 2;
            }
            key = self.labels.hash(key, &[label.as_bytes()]);
            node = match self.child(node, key, label.as_bytes()) {
                Some(child) => child.number,
                None => self.add_child(node, key, label, growth),
            };
            if !Label::new(label).is_literal() {
                key = node.into();
            }
        }
        node * 3 + u32::from(pattern.is_open())
    }

    fn add_child(&mut self, parent: u32, key: u64, label: &str, growth: &mut Growth) -> u32 {
        let node = growth.node(&mut self.labels, label, key);
        let edge = Edge { parent, node };
        let keys = &growth.keys;
        self.edges.insert_unique(key, edge, |edge| keys[edge.node.number as usize]);
        let below = &mut growth.below[parent as usize];
        if !Label::new(label).is_literal() {
            *below = Below::Gaps;
            self.add_member(parent, node);
        } else if *below == Below::Nothing {
            *below = Below::Literals;
        }
        node.number
    }

    /// Adds a label with gaps to its group.
    fn add_member(&mut self, parent: u32, node: Node) {
        let first = index(self.members.len());
        self.members.push(Member { node, next: END });
        let shape = Shape::of(Label::new(self.labels.get(&node)));
        let shapes = self.shapes.entry(parent).or_default();
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
        let group = Group { parent, shape, first };
        let (labels, members) = (&self.labels, &self.members);
        let ends = |group: &Group| {
            let label = labels.get(&members[group.first as usize].node);
            group.shape.ends(label.as_bytes()).unwrap_or_default()
        };
        let key = |group: &Group| {
            let (prefix, suffix) = ends(group);
            labels.hash(group.parent.into(), &[prefix, suffix])
        };
        let same = |other: &Group| {
            (other.parent, other.shape, ends(other)) == (parent, shape, ends(&group))
        };
        match self.groups.entry(key(&group), same, key) {
            Entry::Occupied(mut old) => {
                let next = std::mem::replace(&mut old.get_mut().first, first);
                self.members[first as usize].next = next;
            }
            Entry::Vacant(place) => drop(place.insert(group)),
        }
    }

    /// Puts the ids, given by rank, in the order of their slots, and tells the nodes.
    fn place(&mut self, slots: &[u32], ids: &[Id], below: &[Below]) {
        let mut starts = vec![0_u32; below.len() * 3 + 1];
        for &slot in slots {
            starts[slot as usize + 1] += 1;
        }
        for slot in 1..starts.len() {
            starts[slot] += starts[slot - 1];
        }
        let edges = self.edges.iter_mut().map(|edge| &mut edge.node);
        let members = self.members.iter_mut().map(|member| &mut member.node);
        for node in edges.chain(members).chain([&mut self.root]) {
            let number = node.number as usize;
            let starts = &starts[number * 3..];
            (node.exact, node.open) = (starts[0], starts[1]);
            (node.below, node.end) = (starts[2], starts[3]);
            node.below_it = below[number];
        }
        let mut ranks = vec![0_u32; ids.len()];
        for (rank, &slot) in slots.iter().enumerate() {
            let at = &mut starts[slot as usize];
            ranks[*at as usize] = index(rank);
            *at += 1;
        }
        let ranked = |rank: u32| Ranked { id: ids[rank as usize], rank };
        self.ranked = ranks.into_iter().map(ranked).collect();
    }
}

impl Growth {
    /// A new node without entries.
    fn node(&mut self, labels: &mut Labels, label: &str, key: u64) -> Node {
        let number = index(self.keys.len());
        self.keys.push(key);
        self.below.push(Below::Nothing);
        let start = index(labels.text.len());
        labels.text.push_str(label);
        Node {
            number,
            exact: 0,
            open: 0,
            below: 0,
            end: 0,
            label: start,
            // A pattern's label stays below 8 KiB: see `MAX_PARAMETER`.
            label_len: label.len() as u16,
            below_it: Below::Nothing,
        }
    }
}

impl Labels {
    fn get(&self, node: &Node) -> &str {
        let start = node.label as usize;
        &self.text[start..start + usize::from(node.label_len)]
    }

    fn hash(&self, before: u64, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(before);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}

impl Shape {
    fn of(label: Label<'_>) -> Self {
        let (prefix, suffix) = (label.prefix.len() as u8, label.suffix().len() as u8);
        Self { prefix, suffix }
    }

    /// The two ends of a label; `None` when it is too short.
    fn ends(self, label: &[u8]) -> Option<(&[u8], &[u8])> {
        let (prefix, suffix) = (usize::from(self.prefix), usize::from(self.suffix));
        let after = label.len().checked_sub(suffix).filter(|&after| after >= prefix)?;
        Some((&label[..prefix], &label[after..]))
    }
}

/// A position in one of the lists. Three slots for each node must have numbers as well.
fn index(position: usize) -> u32 {
    assert!(position < 1 << 30, "too many name patterns: {position} parts");
    position as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(texts: &[&str]) -> NameMatcher<u32> {
        let patterns = texts.iter().map(|text| NamePattern::parse(text).unwrap());
        NameMatcher::new(patterns.zip(0..))
    }

    fn found(matcher: &NameMatcher<u32>, name: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        matcher.lookup(name, &mut |id| ids.push(id));
        ids.sort_unstable();
        ids
    }

    #[test]
    fn finds_all_and_the_most_specific() {
        let texts =
            ["*", "*.x.y", ".x.y", "md-*.x.y", "md-1.x.y", "*.{p}.y", "a.*.y", "*1.x.y", "*d*.x.y"];
        let matcher = matcher(&texts);
        assert_eq!(found(&matcher, "md-1.x.y"), [0, 1, 2, 3, 4, 5, 7, 8]);
        assert_eq!(found(&matcher, "x.y"), [0, 2]);
        assert_eq!(found(&matcher, "a.x.y"), [0, 1, 2, 5, 6]);
        assert_eq!(found(&matcher, "z.md-1.x.y"), [0, 1, 2, 5]);
        assert!(found(&matcher, "").is_empty());
        for (name, id) in [("md-1.x.y", 4), ("md-2.x.y", 3), ("x.y", 2), ("q.x.y", 1), ("q", 0)] {
            assert_eq!(matcher.most_specific(name), Some(id), "{name}");
        }
        assert_eq!(NameMatcher::<u32>::new([]).most_specific("x"), None);
    }

    #[test]
    fn one_pattern_may_have_many_ids() {
        let pattern = || NamePattern::parse("*.x").unwrap();
        let matcher = NameMatcher::new([(pattern(), 7), (pattern(), 3), (pattern(), 7)]);
        assert_eq!(found(&matcher, "a.x"), [3, 7]);
        assert_eq!(matcher.most_specific("a.x"), Some(3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn equals_trying_every_pattern(
            texts in prop::collection::vec(
                r"\.?([ab*]|[ab]{1,3}|[ab]\*[ab]?|\*[ab]\*?|\{p\}[ab]?)(\.([ab]|[ab]\*|\*|\{p\}|[ab]\*[ab]\*[ab])){0,3}",
                0..60,
            ),
            names in prop::collection::vec(r"[abc]{1,5}(\.[abc]{1,2}){0,4}", 40),
        ) {
            let patterns: Vec<_> = texts.iter().map(|t| NamePattern::parse(t).unwrap()).collect();
            let matcher = NameMatcher::new(patterns.iter().cloned().zip(0..));
            for name in &names {
                let matching: Vec<u32> = (0..patterns.len())
                    .filter(|&i| patterns[i].matches(name))
                    .map(|i| i as u32)
                    .collect();
                let order = |&i: &u32| {
                    let pattern = &patterns[i as usize];
                    (Reverse(pattern.specificity()), pattern, i)
                };
                prop_assert_eq!(matcher.most_specific(name), matching.iter().copied().min_by_key(order));
                prop_assert_eq!(found(&matcher, name), matching);
            }
        }
    }
}
