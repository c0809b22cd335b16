//! Packets in, flow state out: counters, stamps of events, a bounded in-order prefix of each
//! direction.
//!
//! Everything here joins: [`Tally::then`] gives for two stretches of one flow what a single scan
//! over both would have given.

mod key;
mod prefix;
mod table;
mod tally;

pub use key::{Endpoint, FlowKey, Side};
pub use prefix::{Arrival, BUDGET, Prefix, View};
pub use table::{KeyHash, Slot, Table};
pub use tally::{IcmpSeen, Mark, SideTally, Tally};
