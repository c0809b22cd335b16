//! What the fuzz targets share.

mod growth;
mod input;
mod memory;
mod quic;
mod talk;

pub use growth::{grow, grow_both, grow_to_whole};
pub use input::Input;
pub use quic::{Sender, seal};
pub use talk::{Heard, converse, datagrams};
