//! Observations and rules in, findings out: pure functions.

mod advice;
mod attempt;
mod contact;
mod fallback;
mod finding;
mod flow;
mod gathered;
mod inspection;
mod judge;
mod lookup;
mod matched;
mod outcome;
mod permit;
mod repeated;
mod retry;
#[cfg(test)]
mod testing;
mod transport;

pub use attempt::{Again, Attempt, Attempts, attempts, client_of};
pub use finding::{
    Bytes, Class, DestinationFinding, Evidence, Findings, Flag, Flags, NamedBy, Outcomes,
    RuleCounts, RuleFinding, Summary, TargetFinding, Verdict,
};
pub use flow::{FlowSummary, flows};
pub use inspection::Inspection;
pub use judge::{judge, judge_with};
pub use outcome::{Meaning, Outcome, Reason, Stage};
pub use transport::{Conduct, Proof, Result, Watch};
