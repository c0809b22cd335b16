//! Words that every room uses: capture time, positions in a capture, host names.

mod name;
mod stamp;

pub use name::HostName;
pub use stamp::{FrameId, Stamp, Timestamp};
