//! Egress auditing from packets: which required destinations are blocked, which reached ones
//! nobody expected, and how catalog, allowlist and traffic differ.
//!
//! A frame enters at [`source`] and leaves as a finding in [`report`]. It passes each room once,
//! and no room imports a later one:
//!
//! 1. [`source`]: captures (files, streams, a NIC) -> [`source::Frame`]s. The only room that does
//!    capture I/O.
//! 2. [`decode`]: frame -> [`decode::Packet`], or a counted reason why not.
//! 3. [`flow`]: packet -> flow state: counters, stamps of events, a bounded in-order prefix of
//!    each direction.
//! 4. [`extract`]: prefix bytes -> observations; one file for each protocol.
//! 5. [`names`]: DNS observations -> candidate names of (client, address, time).
//! 6. [`catalog`]: rules and profile -> a compiled matcher.
//! 7. [`verdict`]: pure functions from observations and rules to findings.
//! 8. [`report`]: findings -> bytes in a chosen format.
//!
//! [`allowlist`] stands beside the line: what a firewall lets through, against what the catalogs
//! require and what a report has seen.
//!
//! [`scan`] drives the rooms from frame to names; it cuts and joins stretches of a capture.
//!
//! The core does no I/O and reads no clock: all time is capture time.

pub mod allowlist;
pub mod base;
pub mod catalog;
pub mod decode;
pub mod extract;
pub mod flow;
pub mod names;
pub mod report;
pub mod scan;
pub mod source;
pub mod verdict;
