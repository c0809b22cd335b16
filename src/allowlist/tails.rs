//! Name sets by the text that their names end in and the text that they begin with.

use std::{cmp::Ordering, ops::Range};

use super::glob::Glob;

/// Finds, among many name sets, those that may hold or meet another.
///
/// A set's names all end in its tail and begin with its head. One set can hold another only when
/// its tail and its head are part of the other's; they can meet only when of both tails, and of
/// both heads, one is part of the other. Tails are kept sorted, each with the longest other one
/// that it starts with, so that a look-up costs a binary search and what it finds.
pub(super) struct Tails<'a> {
    groups: Vec<Group<'a>>,
    buckets: Vec<Bucket<'a>>,
    ids: Vec<u32>,
}

/// Sets of one tail.
struct Group<'a> {
    tail: &'a [u8],
    /// The group of the longest shorter tail that this one starts with.
    outer: Option<u32>,
    buckets: Range<usize>,
}

/// Of those, the sets of one head.
struct Bucket<'a> {
    /// From the name's end to its start, as all text here.
    head: &'a [u8],
    /// The bucket of the same group with the longest shorter head that this one begins with.
    outer: Option<u32>,
    ids: Range<usize>,
}

impl<'a> Tails<'a> {
    /// Builds the index. An id may have several sets.
    pub(super) fn new(sets: impl IntoIterator<Item = (&'a Glob, u32)>) -> Self {
        let ends = |(glob, id): (&'a Glob, u32)| (glob.tail(), glob.head(), id);
        let mut rows: Vec<(&[u8], &[u8], u32)> = sets.into_iter().map(ends).collect();
        rows.sort_unstable_by(|a, b| {
            a.0.cmp(b.0).then_with(|| order(a.1, b.1)).then(a.2.cmp(&b.2))
        });
        rows.dedup();
        let mut tails = Self { groups: Vec::new(), buckets: Vec::new(), ids: Vec::new() };
        for group in rows.chunk_by(|a, b| a.0 == b.0) {
            let tail = group[0].0;
            let first = tails.buckets.len();
            for bucket in group.chunk_by(|a, b| a.1 == b.1) {
                let (head, from) = (bucket[0].1, tails.ids.len());
                tails.ids.extend(bucket.iter().map(|row| row.2));
                let outer = outer(&tails.buckets, first, |b| (b.outer, head.ends_with(b.head)));
                tails.buckets.push(Bucket { head, outer, ids: from..tails.ids.len() });
            }
            let outer = outer(&tails.groups, 0, |g| (g.outer, tail.starts_with(g.tail)));
            tails.groups.push(Group { tail, outer, buckets: first..tails.buckets.len() });
        }
        tails
    }

    /// The ids of sets that may hold all names of `glob`.
    pub(super) fn holding(&self, glob: &Glob, found: &mut Vec<u32>) {
        self.with_ends(glob.tail(), glob.head(), found);
    }

    /// The ids of sets that may hold the name with this reversed text.
    pub(super) fn holding_name(&self, reversed: &[u8], found: &mut Vec<u32>) {
        self.with_ends(reversed, reversed, found);
    }

    /// The ids of sets that may have names in common with `glob`.
    pub(super) fn meeting(&self, glob: &Glob, found: &mut Vec<u32>) {
        let (tail, head) = (glob.tail(), glob.head());
        let mut add = |group: &Group<'_>| {
            let alike = |b: &&Bucket<'_>| b.head.ends_with(head) || head.ends_with(b.head);
            for bucket in self.buckets[group.buckets.clone()].iter().filter(alike) {
                found.extend(&self.ids[bucket.ids.clone()]);
            }
        };
        let from = self.groups.partition_point(|group| group.tail < tail);
        self.groups[from..].iter().take_while(|g| g.tail.starts_with(tail)).for_each(&mut add);
        let mut at = from.checked_sub(1).map(|at| at as u32);
        while let Some(number) = at {
            let group = &self.groups[number as usize];
            if tail.starts_with(group.tail) {
                add(group);
            }
            at = group.outer;
        }
    }

    fn with_ends(&self, tail: &[u8], head: &[u8], found: &mut Vec<u32>) {
        let after = self.groups.partition_point(|group| group.tail <= tail);
        let mut at = after.checked_sub(1).map(|at| at as u32);
        while let Some(number) = at {
            let group = &self.groups[number as usize];
            if tail.starts_with(group.tail) {
                self.with_head(group.buckets.clone(), head, found);
            }
            at = group.outer;
        }
    }

    fn with_head(&self, range: Range<usize>, head: &[u8], found: &mut Vec<u32>) {
        let first = range.start;
        let after = self.buckets[range].partition_point(|b| order(b.head, head).is_le());
        let mut at = after.checked_sub(1).map(|at| (at + first) as u32);
        while let Some(number) = at {
            let bucket = &self.buckets[number as usize];
            if head.ends_with(bucket.head) {
                found.extend(&self.ids[bucket.ids.clone()]);
            }
            at = bucket.outer;
        }
    }
}

/// Of what is sorted so far, from `first` on, the last that the next one starts with: it is the
/// last itself, or one that the last starts with.
fn outer<T>(sorted: &[T], first: usize, look: impl Fn(&T) -> (Option<u32>, bool)) -> Option<u32> {
    let mut at = sorted.len().checked_sub(1).filter(|&at| at >= first).map(|at| at as u32);
    while let Some(number) = at {
        let (outer, fits) = look(&sorted[number as usize]);
        if fits {
            return Some(number);
        }
        at = outer;
    }
    None
}

/// Heads in the order of the names' own text.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowlist::glob::{ANY, LABEL};
    use proptest::prelude::*;

    fn glob() -> impl Strategy<Value = Glob> {
        let symbol = prop::sample::select(vec![b'a', b'b', b'.', ANY, LABEL]);
        prop::collection::vec(symbol, 1..=6).prop_map(Glob::from_symbols)
    }

    proptest! {
        #[test]
        fn look_ups_find_what_all_pairs_would(
            sets in prop::collection::vec(glob(), 0..20),
            asked in glob(),
        ) {
            let index = Tails::new(sets.iter().zip(0..));
            let sorted = |mut ids: Vec<u32>| {
                ids.sort_unstable();
                ids
            };
            let naive = |fits: &dyn Fn(&Glob) -> bool| -> Vec<u32> {
                sets.iter().zip(0..).filter(|(set, _)| fits(set)).map(|(_, id)| id).collect()
            };
            let (tail, head) = (asked.tail(), asked.head());
            let mut found = Vec::new();
            index.holding(&asked, &mut found);
            let wanted = naive(&|s| tail.starts_with(s.tail()) && head.ends_with(s.head()));
            prop_assert_eq!(sorted(found), wanted);
            let mut found = Vec::new();
            index.meeting(&asked, &mut found);
            let wanted = naive(&|s| {
                (tail.starts_with(s.tail()) || s.tail().starts_with(tail))
                    && (head.ends_with(s.head()) || s.head().ends_with(head))
            });
            prop_assert_eq!(sorted(found), wanted);
        }
    }
}
