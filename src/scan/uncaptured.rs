use crate::{
    flow::{FlowKey, Side},
    scan::Scanner,
};

impl Scanner {
    /// Counts packets of an open connection that were only counted by whoever captured. False when
    /// there is no such connection.
    ///
    /// They must come after what is read of a connection ([`BUDGET`](crate::flow::BUDGET)), open and
    /// close none, and leave no silence in which it would end.
    pub fn uncaptured(&mut self, key: &FlowKey, from: Side, packets: u64, bytes: u64) -> bool {
        let slot = self.table.find(key, self.table.hash(key));
        let Some(part) = slot.and_then(|slot| self.table.get_mut(slot)) else { return false };
        let side = &mut part.tally.sides[from.index()];
        side.packets = side.packets.saturating_add(packets);
        side.bytes = side.bytes.saturating_add(bytes);
        true
    }
}
