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
use hashbrown::{HashTable, hash_table::Entry};

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
    edges: HashTable<Edge>,
    groups: HashTable<Group>,
    members: Vec<Member>,
    /// For each node that has labels with gaps below: their shapes.
    shapes: Vec<Vec<Shape>>,
    /// The root is the first; after the last comes one that marks the entries' end.
    nodes: Vec<Node>,
    ranked: Vec<Ranked<Id>>,
}

/// The edges' labels, end to end, and how to hash them.
#[derive(Clone, Debug, Default)]
struct Labels {
    text: String,
    hasher: RandomState,
}

/// A label in [`Labels`].
#[derive(Clone, Copy, Debug)]
struct Text {
    start: u32,
    len: u16,
}

/// Leads from a node to the one a label further left. Labels with gaps have one as well, under
/// their pattern's text, which no name has.
#[derive(Clone, Copy, Debug)]
struct Edge {
    parent: u32,
    child: u32,
    label: Text,
}

/// Literal text before the first and after the last gap: how many octets each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    prefix: u8,
    suffix: u8,
}

/// The labels with gaps at one node that begin and end with the same text: a linked list.
#[derive(Clone, Copy, Debug)]
struct Group {
    parent: u32,
    shape: Shape,
    /// One of the labels.
    label: Text,
    first: u32,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    child: u32,
    label: Text,
    next: u32,
}

/// Where a node's entries begin in the one list: patterns that end here, then those that hold this
/// name and all below, then those that hold all below. The next node's `exact` is the end.
#[derive(Clone, Copy, Debug)]
struct Node {
    exact: u32,
    open: u32,
    below: u32,
    /// Index into `shapes`, `NO_GAPS` or `LEAF`.
    gaps: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ranked<Id> {
    id: Id,
    /// Place among all patterns, most specific first.
    rank: u32,
}

/// Where a walk has come to: a node, and the hash over the labels that led there.
#[derive(Clone, Copy, Debug)]
struct Place {
    node: u32,
    key: u64,
}

const ROOT: Place = Place { node: 0, key: 0 };
/// A node with edges, all literal.
const NO_GAPS: u32 = u32::MAX - 1;
/// A node without edges.
const LEAF: u32 = u32::MAX;
/// End of a list of members.
const END: u32 = u32::MAX;

impl<Id: Copy + Ord> NameMatcher<Id> {
    /// Builds the matcher. A pattern may stand for several ids; a pair given twice counts once.
    ///
    /// Placeholders that aren't bound match as [`NamePattern`] says.
    ///
    /// # Panics
    ///
    /// When there are 2^32 labels or 4 GiB of them.
    pub fn new(patterns: impl IntoIterator<Item = (NamePattern, Id)>) -> Self {
        let mut ranked: Vec<(Reverse<Specificity>, NamePattern, Id)> = patterns
            .into_iter()
            .map(|(pattern, id)| (Reverse(pattern.specificity()), pattern, id))
            .collect();
        ranked.sort_unstable();
        ranked.dedup();
        let mut matcher = Self {
            labels: Labels::default(),
            edges: HashTable::new(),
            groups: HashTable::new(),
            members: Vec::new(),
            shapes: Vec::new(),
            nodes: Vec::new(),
            ranked: Vec::new(),
        };
        matcher.add_node();
        // Of the edge to each node, for the table to grow by.
        let mut keys = vec![ROOT.key];
        let slots: Vec<u32> = ranked
            .iter()
            .map(|(_, pattern, _)| matcher.insert(pattern, &mut keys))
            .collect();
        let ids: Vec<Id> = ranked.into_iter().map(|(_, _, id)| id).collect();
        matcher.place(&slots, &ids);
        matcher
    }

    /// Gives the id of each pattern that matches `name`, which is in canonical form
    /// ([`HostName`](crate::base::HostName)). An id comes once for each of its patterns that
    /// matches; the order is fixed but means nothing.
    pub fn lookup(&self, name: &str, found: &mut impl FnMut(Id)) {
        self.walk(ROOT, name.as_bytes(), &mut |entry| found(entry.id));
    }

    /// The id of the most specific pattern that matches `name`. Between equally specific patterns
    /// the order of their texts decides, then the lower id.
    pub fn most_specific(&self, name: &str) -> Option<Id> {
        let mut best: Option<&Ranked<Id>> = None;
        self.walk(ROOT, name.as_bytes(), &mut |entry| {
            if best.is_none_or(|best| entry.rank < best.rank) {
                best = Some(entry);
            }
        });
        best.map(|entry| entry.id)
    }

    /// Visits the entries for `rest` from `place` on. Recurses for labels with gaps only, so at most
    /// as deep as a pattern has labels.
    fn walk<'m>(
        &'m self,
        mut place: Place,
        mut rest: &[u8],
        found: &mut impl FnMut(&'m Ranked<Id>),
    ) {
        loop {
            let node = place.node as usize;
            let here = self.nodes[node];
            let (from, to) = match rest.is_empty() {
                true => (here.exact, here.below),
                false => (here.open, self.nodes[node + 1].exact),
            };
            self.ranked[from as usize..to as usize]
                .iter()
                .for_each(&mut *found);
            if rest.is_empty() || here.gaps == LEAF {
                return;
            }
            let dot = memchr::memrchr(b'.', rest);
            let label = &rest[dot.map_or(0, |dot| dot + 1)..];
            rest = &rest[..dot.unwrap_or(0)];
            if here.gaps != NO_GAPS {
                self.walk_gaps(place.node, here.gaps, label, rest, found);
            }
            place = match self.child(place, label) {
                Ok(child) => child,
                Err(_) => return,
            };
        }
    }

    fn walk_gaps<'m>(
        &'m self,
        node: u32,
        gaps: u32,
        label: &[u8],
        rest: &[u8],
        found: &mut impl FnMut(&'m Ranked<Id>),
    ) {
        for &shape in &self.shapes[gaps as usize] {
            let mut next = self
                .group(node, shape, label)
                .map_or(END, |group| group.first);
            while next != END {
                let member = self.members[next as usize];
                if Label::new(self.labels.get(member.label)).matches(label) {
                    self.walk(Place::behind_gaps(member.child), rest, found);
                }
                next = member.next;
            }
        }
    }

    /// One literal label further, or the key of the edge that isn't there.
    fn child(&self, parent: Place, label: &[u8]) -> Result<Place, u64> {
        let is_it = |edge: &Edge| {
            edge.parent == parent.node && self.labels.get(edge.label).as_bytes() == label
        };
        let key = self.labels.hash(parent.key, &[label]);
        let edge = self.edges.find(key, is_it).ok_or(key)?;
        let node = edge.child;
        Ok(Place { node, key })
    }

    /// The group of labels that begin and end as `label` does, at these lengths.
    fn group(&self, parent: u32, shape: Shape, label: &[u8]) -> Option<&Group> {
        let (prefix, suffix) = shape.ends(label)?;
        let is_it = |group: &Group| {
            let member = self.labels.get(group.label).as_bytes();
            (group.parent, group.shape) == (parent, shape)
                && shape.ends(member) == Some((prefix, suffix))
        };
        self.groups
            .find(self.labels.hash(parent.into(), &[prefix, suffix]), is_it)
    }

    /// Adds the pattern's nodes and gives its slot: three for each node, in `Node`'s order.
    fn insert(&mut self, pattern: &NamePattern, keys: &mut Vec<u64>) -> u32 {
        let mut place = ROOT;
        let mut labels = pattern.texts_from_right().peekable();
        while let Some(label) = labels.next() {
            // `*.x` needs no node of its own.
            if label == "*" && pattern.is_open() && labels.peek().is_none() {
                return place.node * 3 + 2;
            }
            let child = self.child(place, label.as_bytes());
            place = child.unwrap_or_else(|key| {
                keys.push(key);
                let node = self.add_child(place.node, label, keys);
                Place { node, key }
            });
            if !Label::new(label).is_literal() {
                place = Place::behind_gaps(place.node);
            }
        }
        place.node * 3 + u32::from(pattern.is_open())
    }

    fn add_node(&mut self) -> u32 {
        let gaps = LEAF;
        self.nodes.push(Node {
            exact: 0,
            open: 0,
            below: 0,
            gaps,
        });
        // Three slots for each node must have numbers as well.
        index(self.nodes.len() * 3) / 3 - 1
    }

    fn add_child(&mut self, parent: u32, label: &str, keys: &[u64]) -> u32 {
        let child = self.add_node();
        let text = self.labels.add(label);
        let key = |edge: &Edge| keys[edge.child as usize];
        let edge = Edge {
            parent,
            child,
            label: text,
        };
        self.edges.insert_unique(key(&edge), edge, key);
        let gaps = &mut self.nodes[parent as usize].gaps;
        if Label::new(label).is_literal() {
            *gaps = (*gaps).min(NO_GAPS);
        } else {
            if *gaps >= NO_GAPS {
                *gaps = index(self.shapes.len());
                self.shapes.push(Vec::new());
            }
            let gaps = *gaps;
            self.add_member(parent, gaps, child, text);
        }
        child
    }

    /// Adds a label with gaps to its group.
    fn add_member(&mut self, parent: u32, gaps: u32, child: u32, label: Text) {
        let text = self.labels.get(label);
        let shape = Shape::of(Label::new(text));
        let shapes = &mut self.shapes[gaps as usize];
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
        let first = index(self.members.len());
        let group = Group {
            parent,
            shape,
            label,
            first,
        };
        let labels = &self.labels;
        let ends = |group: &Group| group.shape.ends(labels.get(group.label).as_bytes());
        let hash = |group: &Group| {
            let (prefix, suffix) = ends(group).unwrap_or_default();
            labels.hash(group.parent.into(), &[prefix, suffix])
        };
        let same = |other: &Group| {
            (other.parent, other.shape, ends(other)) == (parent, shape, ends(&group))
        };
        let next = match self.groups.entry(hash(&group), same, hash) {
            Entry::Occupied(mut old) => std::mem::replace(&mut old.get_mut().first, first),
            Entry::Vacant(place) => {
                place.insert(group);
                END
            }
        };
        self.members.push(Member { child, label, next });
    }

    /// Puts the ids, given by rank, in the order of their slots.
    fn place(&mut self, slots: &[u32], ids: &[Id]) {
        self.add_node();
        let mut starts = vec![0_u32; self.nodes.len() * 3];
        for &slot in slots {
            starts[slot as usize + 1] += 1;
        }
        for slot in 1..starts.len() {
            starts[slot] += starts[slot - 1];
        }
        for (node, starts) in self.nodes.iter_mut().zip(starts.chunks_exact(3)) {
            (node.exact, node.open, node.below) = (starts[0], starts[1], starts[2]);
        }
        let mut ranks = vec![0_u32; ids.len()];
        for (rank, &slot) in slots.iter().enumerate() {
            let at = &mut starts[slot as usize];
            ranks[*at as usize] = index(rank);
            *at += 1;
        }
        let ranked = |rank: u32| Ranked {
            id: ids[rank as usize],
            rank,
        };
        self.ranked = ranks.into_iter().map(ranked).collect();
    }
}

impl Labels {
    fn get(&self, text: Text) -> &str {
        let start = text.start as usize;
        &self.text[start..start + usize::from(text.len)]
    }

    fn add(&mut self, label: &str) -> Text {
        let start = index(self.text.len());
        self.text.push_str(label);
        // A pattern's label stays below 8 KiB: see `MAX_PARAMETER`.
        Text {
            start,
            len: label.len() as u16,
        }
    }

    fn hash(&self, before: u64, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(before);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}

impl Place {
    /// A label with gaps has no hash that a name leads to: a new chain begins.
    fn behind_gaps(node: u32) -> Self {
        let key = node.into();
        Self { node, key }
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
        let after = label
            .len()
            .checked_sub(suffix)
            .filter(|&after| after >= prefix)?;
        Some((&label[..prefix], &label[after..]))
    }
}

/// A position in one of the lists.
fn index(position: usize) -> u32 {
    assert!(
        position < NO_GAPS as usize,
        "too many name patterns: {position} parts"
    );
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
        let texts = [
            "*", "*.x.y", ".x.y", "md-*.x.y", "md-1.x.y", "*.{p}.y", "a.*.y", "*1.x.y", "*d*.x.y",
        ];
        let matcher = matcher(&texts);
        assert_eq!(found(&matcher, "md-1.x.y"), [0, 1, 2, 3, 4, 5, 7, 8]);
        assert_eq!(found(&matcher, "x.y"), [0, 2]);
        assert_eq!(found(&matcher, "a.x.y"), [0, 1, 2, 5, 6]);
        assert_eq!(found(&matcher, "z.md-1.x.y"), [0, 1, 2, 5]);
        assert!(found(&matcher, "").is_empty());
        for (name, id) in [
            ("md-1.x.y", 4),
            ("md-2.x.y", 3),
            ("x.y", 2),
            ("q.x.y", 1),
            ("q", 0),
        ] {
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
