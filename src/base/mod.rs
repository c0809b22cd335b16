//! Words that every room uses: capture time, positions in a capture, host names; and how work is
//! shared between threads.

mod name;
mod parallel;
mod prefetch;
mod stamp;

pub use name::HostName;
pub use parallel::{both, in_parallel};
pub use prefetch::{prefetch, prefetch_at};
pub use stamp::{FrameId, Stamp, Timestamp};
