//! Observations and rules in, findings out: pure functions.

mod outcome;
mod transport;

pub use outcome::{Meaning, Outcome, Reason, Stage};
pub use transport::{Conduct, Proof, Result};
