//! Captures in, frames out: the only room that does capture I/O.

mod frame;

pub use frame::{Frame, LinkType};
