use std::{collections::VecDeque, hash::BuildHasher, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    base::{Timestamp, prefetch},
    flow::FlowKey,
};

/// Where an entry of a [`Table`] is. Stays the same while the entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// What a table hashes a key to: [`Table::hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u64);

impl KeyHash {
    /// What tables with this hasher hash the key to.
    #[inline(always)]
    pub fn new(hasher: &RandomState, key: &FlowKey) -> Self {
        Self(hasher.hash_one(key))
    }

    /// One of `shares`, by bits that a table makes no use of.
    pub const fn share(self, shares: usize) -> usize {
        (self.0 as u16 as usize * shares) >> 16
    }
}

/// An entry of the index. The hash is there so that no entry has to be looked at to move it, or to
/// know where one probably is.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    slot: u32,
}

impl Place {
    /// Half of a hash is enough for as many slots as there can be; the index wants a whole one.
    fn index_hash(self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A bounded table of flows.
///
/// Entries live in a slab beside the hash index, so that a sweep can walk them in a fixed order and
/// a lookup touches one index bucket and one entry. Hashing is randomly seeded: flow keys are
/// chosen by whoever sends the packets.
pub struct Table<V> {
    index: HashTable<Place>,
    slab: Slab<(FlowKey, V)>,
    free: Vec<u32>,
    /// Flows that may go before others, in the order in which that was said. Some may be gone by now, or
    /// their slots another one's.
    retired: VecDeque<u32>,
    hasher: RandomState,
    capacity: usize,
    cursor: usize,
    rest: Rest,
}

/// When looking for flows that are over may be worthwhile again.
#[derive(Default)]
struct Rest {
    /// Before this, none is over.
    until: Timestamp,
    /// The same after this round, by those that were looked at in it.
    next: Timestamp,
    /// Places that this round has yet to look at: the first ones.
    left: usize,
}

impl<V> Table<V> {
    /// An empty table for at most `capacity` flows.
    pub fn new(capacity: usize) -> Self {
        Self::with_hasher(capacity, RandomState::default())
    }

    /// The same, with the hasher of other tables.
    pub fn with_hasher(capacity: usize, hasher: RandomState) -> Self {
        Self {
            index: HashTable::new(),
            slab: Slab::default(),
            free: Vec::new(),
            retired: VecDeque::new(),
            hasher,
            capacity: capacity.clamp(1, u32::MAX as usize),
            cursor: 0,
            rest: Rest::default(),
        }
    }

    /// Number of flows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True without flows.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// True when an insertion needs an eviction first.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// What finds a flow here.
    pub fn hash(&self, key: &FlowKey) -> KeyHash {
        KeyHash::new(&self.hasher, key)
    }

    /// Finds a flow by its key and that one's hash, where it probably is or elsewhere.
    #[inline(always)]
    pub fn find_near(
        &mut self,
        key: &FlowKey,
        hash: KeyHash,
        likely: Option<Slot>,
    ) -> Option<(Slot, &mut V)> {
        match likely {
            // Two branches, so that the entry is looked up once.
            Some(slot) if self.is_at(slot.0, key) => Some((slot, self.get_mut(slot)?)),
            _ => {
                let slot = self.find(key, hash)?;
                Some((slot, self.get_mut(slot)?))
            }
        }
    }

    /// Finds a flow by its key and that one's hash.
    pub fn find(&self, key: &FlowKey, hash: KeyHash) -> Option<Slot> {
        let place = place(hash, 0);
        let is_it = |other: &Place| other.hash == place.hash && self.is_at(other.slot, key);
        self.index.find(place.index_hash(), is_it).map(|place| Slot(place.slot))
    }

    /// Brings the flow that probably has this hash into the cache; says where it is.
    #[inline(always)]
    pub fn prefetch(&self, hash: KeyHash) -> Option<Slot> {
        let place = place(hash, 0);
        let found = self.index.find(place.index_hash(), |p| p.hash == place.hash)?;
        prefetch(self.slab.at(found.slot as usize));
        Some(Slot(found.slot))
    }

    /// Adds a flow that isn't there yet. The caller makes room first when the table is full.
    pub fn insert(&mut self, key: FlowKey, hash: KeyHash, value: V) -> Slot {
        debug_assert!(self.find(&key, hash).is_none(), "{key:?} is there already");
        let slot = self.free.pop().unwrap_or_else(|| self.slab.add() as u32);
        *self.slab.at_mut(slot as usize) = Some((key, value));
        let place = place(hash, slot);
        self.index.insert_unique(place.index_hash(), place, |other| other.index_hash());
        Slot(slot)
    }

    /// The value in a slot; `None` when it was removed.
    pub fn get(&self, slot: Slot) -> Option<&V> {
        self.slab.at(slot.0 as usize).as_ref().map(|(_, value)| value)
    }

    /// The value in a slot, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut V> {
        self.slab.at_mut(slot.0 as usize).as_mut().map(|(_, value)| value)
    }

    /// The flow in a slot, its value to change.
    pub fn entry_mut(&mut self, slot: Slot) -> Option<(FlowKey, &mut V)> {
        self.slab.at_mut(slot.0 as usize).as_mut().map(|(key, value)| (*key, value))
    }

    /// Removes a flow.
    pub fn remove(&mut self, slot: Slot) -> Option<(FlowKey, V)> {
        let (key, value) = self.slab.at_mut(slot.0 as usize).take()?;
        let place = place(KeyHash::new(&self.hasher, &key), slot.0);
        if let Ok(entry) = self.index.find_entry(place.index_hash(), |p| p.slot == slot.0) {
            entry.remove();
        }
        self.free.push(slot.0);
        Some((key, value))
    }

    /// Says that a flow may go before others when room is needed.
    pub fn retire(&mut self, slot: Slot) {
        // Slots of flows that are gone stay in here, so it needs a bound of its own.
        if self.retired.len() >= self.capacity {
            self.retired.pop_front();
        }
        self.retired.push_back(slot.0);
    }

    /// The first that was [retired](Self::retire) and is still `condemned`.
    pub fn next_retired(&mut self, condemned: impl Fn(&V) -> bool) -> Option<Slot> {
        loop {
            let slot = Slot(self.retired.pop_front()?);
            if self.get(slot).is_some_and(&condemned) {
                return Some(slot);
            }
        }
    }

    /// The next flow of an endless walk, if there is any. Repeated calls visit every one.
    pub fn next_in_walk(&mut self) -> Option<Slot> {
        for _ in 0..self.slab.len {
            let slot = self.step();
            if self.get(slot).is_some() {
                return Some(slot);
            }
        }
        None
    }

    /// Looks at `steps` places, of all in turn, for a flow that is over at `now`, by the time that `end`
    /// tells. Looks at none while none can be over.
    ///
    /// What is new or changes must last for `least` from then on, and `now` not go back; else
    /// [`Table::look_again`].
    pub fn sweep_over(
        &mut self,
        steps: usize,
        now: Timestamp,
        least: Duration,
        end: impl Fn(&V) -> Timestamp,
    ) -> Option<Slot> {
        if now <= self.rest.until {
            return None;
        }
        for _ in 0..steps {
            if self.rest.left == 0 {
                let (until, next) = (self.rest.next, now.plus(least));
                self.rest = Rest { until, next, left: self.slab.len };
                if now <= until || self.slab.len == 0 {
                    return None;
                }
            }
            self.rest.left -= 1;
            let slot = Slot(self.rest.left as u32);
            let Some(end) = self.get(slot).map(&end) else { continue };
            if end < now {
                return Some(slot);
            }
            self.rest.next = self.rest.next.min(end);
        }
        None
    }

    /// Flows may be over earlier than was told.
    pub fn look_again(&mut self) {
        // The round goes on where it is.
        (self.rest.until, self.rest.next) = Default::default();
    }

    /// Looks at the next `steps` places of the endless walk and gives the entry of the most weight, or
    /// the first that weighs `enough`; none that weighs nothing.
    pub fn heaviest(
        &mut self,
        steps: usize,
        enough: usize,
        weight: impl Fn(&V) -> usize,
    ) -> Option<Slot> {
        let (mut most, mut found) = (0, None);
        for _ in 0..steps.min(self.slab.len) {
            let slot = self.step();
            let weight = self.get(slot).map_or(0, &weight);
            if weight > most {
                (most, found) = (weight, Some(slot));
            }
            if most >= enough {
                break;
            }
        }
        found
    }

    /// All flows, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = &(FlowKey, V)> {
        self.slab.chunks.iter().flatten().flatten()
    }

    /// The values of all flows, in no particular order, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slab.chunks.iter_mut().flatten().flatten().map(|(_, value)| value)
    }

    /// Ends all flows, in no particular order: `end` is shown each where it lies, and `soon` a little
    /// before, to bring into the cache what it will need. Memory is freed on the way.
    pub fn end(self, soon: impl Fn(&V), mut end: impl FnMut(FlowKey, &mut V)) {
        for mut chunk in self.slab.chunks {
            for at in 0..chunk.len() {
                chunk.get(at + SOON).into_iter().flatten().for_each(|(_, value)| soon(value));
                chunk[at].iter_mut().for_each(|(key, value)| end(*key, value));
            }
        }
    }

    /// All flows, in no particular order.
    pub fn into_entries(self) -> impl Iterator<Item = (FlowKey, V)> {
        self.slab.chunks.into_iter().flatten().flatten()
    }

    /// The next place of the walk.
    fn step(&mut self) -> Slot {
        self.cursor = if self.cursor + 1 >= self.slab.len { 0 } else { self.cursor + 1 };
        Slot(self.cursor as u32)
    }

    fn is_at(&self, slot: u32, key: &FlowKey) -> bool {
        self.slab.at(slot as usize).as_ref().is_some_and(|(other, _)| other == key)
    }
}

fn place(hash: KeyHash, slot: u32) -> Place {
    Place { hash: (hash.0 >> 32) as u32, slot }
}

/// Places for entries, in chunks: growing moves none of them.
struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    len: usize,
}

/// Places between what is about to end and what will soon.
const SOON: usize = 8;

/// Places of a chunk.
const CHUNK: usize = 1024;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Adds an empty place.
    fn add(&mut self) -> usize {
        let at = self.len;
        if at.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[at / CHUNK].push(None);
        self.len += 1;
        at
    }

    fn at(&self, at: usize) -> &Option<T> {
        &self.chunks[at / CHUNK][at % CHUNK]
    }

    fn at_mut(&mut self, at: usize) -> &mut Option<T> {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{decode::Transport, flow::Endpoint};

    fn key(n: u16) -> FlowKey {
        let end = |port| Endpoint::new([10, 0, 0, 1].into(), port);
        FlowKey::new(Transport::Tcp, end(n), end(65535)).0
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec((0u16..40, any::<bool>()), 0..400)) {
            let mut table = Table::new(100);
            let mut model = HashMap::new();
            for (n, (port, add)) in steps.into_iter().enumerate() {
                let hash = table.hash(&key(port));
                match (table.find(&key(port), hash), add) {
                    (Some(slot), false) => {
                        prop_assert_eq!(table.remove(slot), Some((key(port), model[&port])));
                        model.remove(&port);
                    }
                    (Some(slot), true) => {
                        *table.get_mut(slot).unwrap() = n;
                        model.insert(port, n);
                    }
                    (None, true) => {
                        table.insert(key(port), hash, n);
                        model.insert(port, n);
                    }
                    (None, false) => prop_assert!(!model.contains_key(&port)),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let mut left: Vec<_> = table.into_entries().collect();
            let mut want: Vec<_> = model.into_iter().map(|(port, n)| (key(port), n)).collect();
            left.sort();
            want.sort();
            prop_assert_eq!(left, want);
        }
    }

    proptest! {
        /// Time goes on, flows begin, go on and end: of those that are over, none stays for long.
        #[test]
        fn who_is_over_is_found(steps in prop::collection::vec((0u16..30, 0u64..40), 0..300)) {
            const LEAST: u64 = 50;
            let at = Timestamp::from_nanos;
            let (mut table, mut now) = (Table::new(100), 1000);
            for (port, later) in steps {
                now += later;
                let sweep = |table: &mut Table<u64>| {
                    table.sweep_over(4, at(now), Duration::from_nanos(LEAST), |end| at(*end))
                };
                while let Some(slot) = sweep(&mut table) {
                    prop_assert!(table.remove(slot).unwrap().1 < now);
                }
                let (key, end) = (key(port), now + LEAST + u64::from(port) % 3);
                let hash = table.hash(&key);
                match table.find(&key, hash) {
                    Some(slot) => *table.get_mut(slot).unwrap() = end,
                    None => drop(table.insert(key, hash, end)),
                }
            }
            // A round is over after so many, and then the next one.
            for _ in 0..30 {
                let least = Duration::from_nanos(LEAST);
                while let Some(slot) = table.sweep_over(4, at(now + 60), least, |end| at(*end)) {
                    table.remove(slot);
                }
            }
            prop_assert!(table.is_empty(), "{:?}", table.entries().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_walk_reaches_every_entry() {
        let mut table = Table::new(10);
        for n in 0..7 {
            table.insert(key(n), table.hash(&key(n)), n);
        }
        let mut left: Vec<_> = (0..7).collect();
        while let Some(slot) = table.next_in_walk() {
            let (_, n) = table.remove(slot).unwrap();
            left.retain(|other| *other != n);
        }
        assert!(left.is_empty() && table.is_empty());
    }

    #[test]
    fn retired_flows_go_first_one_after_the_other() {
        let mut table = Table::new(3);
        let slots: Vec<_> = (0..3).map(|n| table.insert(key(n), table.hash(&key(n)), n)).collect();
        for at in [2, 0, 1, 2] {
            table.retire(slots[at]);
        }
        // The first was forgotten, since there can't be as many.
        assert_eq!(table.next_retired(|&n| n != 1), Some(slots[0]));
        table.remove(slots[2]);
        assert_eq!(table.next_retired(|&n| n != 1), None);
    }

    #[test]
    fn the_heaviest_is_found_or_one_that_is_heavy_enough() {
        let mut table = Table::new(10);
        for n in 0..7 {
            table.insert(key(n), table.hash(&key(n)), usize::from(n));
        }
        let mut heaviest = |enough| {
            let slot = table.heaviest(7, enough, |&n| n)?;
            table.get(slot).copied()
        };
        assert_eq!(heaviest(usize::MAX), Some(6));
        // The walk begins anew after the last place.
        assert_eq!(heaviest(3), Some(3));
        assert_eq!(heaviest(3), Some(4));
        assert_eq!(table.heaviest(7, 1, |_| 0), None);
    }
}
