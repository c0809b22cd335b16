//! Address ranges, found by an address or a range that they meet.

use super::intervals::Nets;

/// Ranges of many address sets. A look-up costs a binary search for each range that it finds.
pub(super) struct Spans {
    /// First and last address, and what the range belongs to; sorted.
    rows: Vec<(u128, u128, u32)>,
    /// A binary tree over the rows, root at 1: the greatest last address below each node.
    greatest: Vec<u128>,
}

impl Spans {
    pub(super) fn new<'n>(sets: impl IntoIterator<Item = (&'n Nets, u32)>) -> Self {
        let ranges = |(nets, id): (&'n Nets, u32)| {
            nets.ranges().iter().map(move |&(first, last)| (first, last, id))
        };
        let mut rows: Vec<_> = sets.into_iter().flat_map(ranges).collect();
        rows.sort_unstable();
        let leaves = rows.len().next_power_of_two();
        let mut greatest = vec![0; leaves * 2];
        for (leaf, row) in greatest[leaves..].iter_mut().zip(&rows) {
            *leaf = row.1;
        }
        for node in (1..leaves).rev() {
            greatest[node] = greatest[node * 2].max(greatest[node * 2 + 1]);
        }
        Self { rows, greatest }
    }

    /// The ids of ranges that have an address from `first` to `last`; one id may come several
    /// times.
    pub(super) fn meeting(&self, first: u128, last: u128, found: &mut Vec<u32>) {
        let to = self.rows.partition_point(|row| row.0 <= last);
        let mut open = vec![(1, 0, self.greatest.len() / 2)];
        while let Some((node, from, width)) = open.pop() {
            if from >= to || self.greatest[node] < first {
                continue;
            }
            if width == 1 {
                found.push(self.rows[from].2);
                continue;
            }
            let half = width / 2;
            open.extend([(node * 2 + 1, from + half, half), (node * 2, from, half)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_looking_at_all_would(
            sets in prop::collection::vec(prop::collection::vec((0..40_u128, 0..9_u128), 0..3), 0..12),
            (first, more) in (0..50_u128, 0..9_u128),
        ) {
            let nets: Vec<Nets> =
                sets.iter().map(|set| Nets::new(set.iter().map(|&(a, n)| (a, a + n)))).collect();
            let mut found = Vec::new();
            Spans::new(nets.iter().zip(0..)).meeting(first, first + more, &mut found);
            found.sort_unstable();
            found.dedup();
            let asked = Nets::new([(first, first + more)]);
            let wanted: Vec<u32> =
                nets.iter().zip(0..).filter(|(n, _)| n.intersects(&asked)).map(|(_, id)| id).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
