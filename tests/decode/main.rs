//! Decoding, from outside: properties over built frames, and the shared corpus of captures.

mod capture;
mod checks;
mod corpus;
mod properties;
