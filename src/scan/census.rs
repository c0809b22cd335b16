use serde::{Deserialize, Serialize};

use crate::{
    base::both,
    names::Knowledge,
    scan::{Connection, Counters, Kind, Visit, ledger},
};

/// All that a capture told, ready to be judged.
#[derive(Default, Serialize, Deserialize)]
pub struct Census {
    /// Frames, and what became of them.
    pub counters: Counters,
    /// What DNS told.
    pub names: Knowledge,
    /// Connections that are kept as they were, in the order in which they began.
    #[allow(clippy::vec_box)]
    pub connections: Vec<Box<Connection>>,
    /// Those that went well, by what they have in common, in the order in which they began; none
    /// unless [`Limits::fold`](crate::scan::Limits::fold).
    pub kinds: Vec<(Kind, Vec<Visit>)>,
}

impl Census {
    /// One of what several told, each of other connections of one capture. It knows at most that many
    /// lookups; of connections, their bounds together.
    pub(super) fn of_all(all: Vec<Self>, lookups: usize) -> Self {
        if all.len() <= 1 {
            return all.into_iter().next().unwrap_or_default();
        }
        let mut whole = Self::default();
        let mut names = Vec::new();
        for one in all {
            whole.counters.add(one.counters);
            whole.connections.extend(one.connections);
            whole.kinds.extend(one.kinds);
            names.push(one.names);
        }
        // They have nothing to do with each other.
        let sorted = || {
            ledger::sort(&mut whole.connections);
            ledger::join(&mut whole.kinds);
        };
        (whole.names, ()) = both(|| united(names, lookups), sorted);
        whole
    }
}

fn united(names: Vec<Knowledge>, lookups: usize) -> Knowledge {
    let mut names = names.into_iter();
    let mut whole = names.next().unwrap_or_default();
    whole.widen(lookups);
    names.for_each(|other| whole.union(other));
    whole
}
