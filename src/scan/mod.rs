//! The one driver: frames of a stretch of capture in, a [`Partial`] out.
//!
//! A capture may be cut anywhere. Each stretch is scanned apart, and
//! [`Partial::merge`] gives what one scan over the whole would have given. What makes this hold:
//!
//! - counters, stamps and DNS knowledge are commutative monoids;
//! - a connection that a stretch can't know the beginning of is *tentative*: its payload is logged,
//!   within the budget that bounds every prefix, and interpreted when the stretch before is there;
//! - a fragment of an IP datagram that may have begun in the stretch before is *held*: the stretch
//!   is cut around its frame, which is scanned when the stretch before is there;
//! - where one connection ends and the next on the same tuple begins is decided by what two
//!   neighbouring packets say, never by what a table happens to hold; unless the clock was set back by
//!   many minutes (`Clock`).
//!
//! A [`Team`] scans one capture with several threads, which divide the connections between them.

mod beside;
mod census;
mod clock;
mod delivery;
mod heard;
mod held;
mod ledger;
mod losses;
mod outlet;
mod part;
mod partial;
mod scanner;
mod sound;
mod talk;
mod team;
mod thin;
mod times;
mod uncaptured;
mod usage;

pub use census::Census;
pub use ledger::{Kind, Visit};
pub use losses::Losses;
pub use part::Connection;
pub use partial::{Counters, Partial};
pub use scanner::{Limits, Place, Scanner, Sink};
pub use team::{Backing, Team, Turn};
pub use thin::Repeats;
pub use times::{ANSWER_WAIT, CUT, RETRY_WINDOW, SIDE_BY_SIDE, TRY_GAP};
pub use usage::Usage;
