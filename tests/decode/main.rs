//! Decoding, from outside: properties over built frames, and the shared corpus of captures.

#![allow(clippy::unwrap_used)]

mod capture;
mod checks;
mod corpus;
mod differential;
mod properties;
