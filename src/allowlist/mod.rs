//! What a firewall lets through, in any product's notation, against what a site needs and does.
//!
//! Each format's file turns the product's rules into [`Entry`]s with the product's own meaning of
//! `*`, of order and of defaults. An [`Allowlist`] is those entries in the order in which they are
//! tried; a [`Policy`] is the list compiled, and answers exactly what becomes of a set of
//! destinations: names as [`Glob`]s, addresses and ports as [`Intervals`]. [`diff`] puts a site's
//! needs, the list and what was seen side by side.
//!
//! Nothing here does I/O. A third-party parser is named in one file only: `csv`, `hcl`, `yaml`.

mod automaton;
mod aws;
mod azure;
mod build;
mod calico;
mod change;
mod cilium;
mod csv;
mod diff;
mod edl;
mod entry;
mod error;
mod format;
mod generate;
mod glob;
mod hcl;
mod index;
mod intervals;
mod json;
mod kubernetes;
mod log;
mod needs;
mod plain;
mod policy;
mod render;
mod seen;
mod shadow;
mod spans;
mod squid;
mod tails;
mod tree;
mod yaml;

pub use build::{Context, FqdnTags};
pub use change::{AllowlistChange, CHANGE_SCHEMA, Difference, EntryChange, NeedChange, SiteChange};
pub use diff::{
    Diff, Missing, NeedRow, RuleRef, SCHEMA, SeenRow, ShadowRow, Summary, WideRow, diff,
};
pub use entry::{Action, Allowlist, Apps, Entry, Origin, RuleTerms, To, Transports};
pub use error::ParseError;
pub use format::{Format, Input};
pub use generate::{Generated, Product, generate};
pub use glob::{Glob, Star};
pub use intervals::{Intervals, Nets, Ports, Step};
pub use log::{FirewallLog, LogCount, LogReader, LogTarget, Logged, LoggedRule};
pub use needs::Need;
pub use policy::{Coverage, Gap, Policy, Question, What, Who};
pub use render::{Rendered, write_markdown, write_text};
pub use seen::{Seen, read_report};

/// The keys are chosen by whoever writes the files.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
