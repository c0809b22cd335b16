use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

/// Spans of time kept; beyond it the two that are closest are joined.
const MAX_SPANS: usize = 256;

/// When frames were lost, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Sorted, disjoint.
    spans: Vec<(Timestamp, Timestamp)>,
}

impl Losses {
    /// Some were lost between two times.
    pub fn add(&mut self, mut from: Timestamp, mut to: Timestamp) {
        self.spans.retain(|&(start, end)| {
            let apart = to < start || end < from;
            if !apart {
                (from, to) = (from.min(start), to.max(end));
            }
            apart
        });
        let at = self.spans.partition_point(|&(start, _)| start < from);
        self.spans.insert(at, (from, to));
        if self.spans.len() > MAX_SPANS {
            let gap = |at: &usize| self.spans[at + 1].0.since(self.spans[*at].1);
            if let Some(at) = (0..self.spans.len() - 1).min_by_key(gap) {
                self.spans[at].1 = self.spans.remove(at + 1).1;
            }
        }
    }

    /// Whether some may have been lost between two times.
    pub fn any(&self, from: Timestamp, to: Timestamp) -> bool {
        let at = self.spans.partition_point(|&(_, end)| end < from);
        self.spans.get(at).is_some_and(|&(start, _)| start <= to)
    }

    /// True when no time is known.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn then(&mut self, later: Self) {
        later.spans.into_iter().for_each(|(from, to)| self.add(from, to));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(n: u64) -> Timestamp {
        Timestamp::from_parts(n, 0)
    }

    #[test]
    fn spans_that_touch_become_one_and_their_number_is_bounded() {
        let mut losses = Losses::default();
        for (from, to) in [(10, 20), (30, 40), (20, 30)] {
            losses.add(at(from), at(to));
        }
        assert_eq!(losses.spans, [(at(10), at(40))]);
        (0..2000).for_each(|n| losses.add(at(100 + 3 * n), at(101 + 3 * n)));
        assert_eq!(losses.spans.len(), MAX_SPANS);
        assert!(losses.any(at(6098), at(6098)) && !losses.any(at(50), at(60)));
    }

    proptest! {
        #[test]
        fn tells_what_was_added(
            spans in prop::collection::vec((0u64..1000, 0u64..20), 0..60), ask in (0u64..1000, 0u64..30),
        ) {
            let mut losses = Losses::default();
            spans.iter().for_each(|&(from, len)| losses.add(at(from), at(from + len)));
            let (from, to) = (ask.0, ask.0 + ask.1);
            let any = spans.iter().any(|&(start, len)| start <= to && from <= start + len);
            prop_assert_eq!(losses.any(at(from), at(to)), any);
        }
    }
}
