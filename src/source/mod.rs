//! Captures in, frames out: the only room that does capture I/O.
//!
//! [`plan`] turns the paths that a user named into [`Input`]s in capture order, [`Capture`] reads
//! one of them, [`Records`] walks the records of bytes that are in memory already, and `Rings` reads
//! interfaces. All of them hand out [`Frame`]s that borrow the bytes they were read into.

mod capture;
#[cfg(feature = "capture")]
mod carrier;
mod classic;
#[cfg(feature = "capture")]
mod cutoff;
#[cfg(all(feature = "capture", target_os = "linux"))]
mod cutoff_program;
mod error;
#[cfg(feature = "capture")]
mod fanout;
mod format;
mod frame;
mod inputs;
#[cfg(all(feature = "capture", target_os = "linux"))]
mod kernel;
#[cfg(feature = "capture")]
mod live;
mod map;
mod pcapng;
#[cfg(feature = "capture")]
mod prefilter;
mod records;
#[cfg(feature = "capture")]
mod rings;
#[cfg(all(feature = "capture", target_os = "linux"))]
mod spread;
mod stats;
mod stream;
#[cfg(test)]
mod testing;

pub use capture::{Capture, End};
#[cfg(feature = "capture")]
pub use cutoff::{Cut, CutFlow, Cutoff};
pub use error::{Damage, DamageKind, SourceError};
pub use format::Format;
pub use frame::{Frame, LinkType};
pub use inputs::{Input, Plan, Skipped, plan};
#[cfg(feature = "capture")]
pub use live::{KernelStats, LiveOptions, addresses, interfaces};
#[cfg(feature = "capture")]
pub use prefilter::prefilter;
pub use records::{Cursor, Layout, Records};
#[cfg(feature = "capture")]
pub use rings::{Gap, LiveStats, MAX_GAPS, Rings, SET_BACK, Turn, now};
pub use stats::{InputStats, Progress};
