//! From a publisher's documents to a compiled matcher.
//!
//! A [`NamePattern`] stands for a set of names, a [`NameMatcher`] finds all patterns that match a
//! name, a [`PrefixMatcher`] all address prefixes that hold an address, and [`ServiceTags`] are the
//! named prefix lists that the publisher gives out. Nothing here changes after it is built.

mod label;
mod names;
mod pattern;
mod pattern_text;
mod prefixes;
mod punycode;
mod service_tags;

pub use names::NameMatcher;
pub use pattern::{NamePattern, Specificity};
pub use pattern_text::{PatternError, PatternProblem};
pub use prefixes::PrefixMatcher;
pub use service_tags::{ServiceTag, ServiceTags, ServiceTagsError};
