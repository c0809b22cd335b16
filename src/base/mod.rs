//! Words that every room uses: capture time, positions in a capture, host names.

mod name;
mod prefetch;
mod stamp;

pub use name::HostName;
pub use prefetch::prefetch;
pub use stamp::{FrameId, Stamp, Timestamp};
