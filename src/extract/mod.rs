//! Bytes in, observations out: one file for each protocol, and each third-party parser named in one
//! of them alone.

mod authority;
mod conversation;
pub mod dns;
mod facts;
pub mod http;
mod observation;
pub mod proxy_protocol;
mod quic;
pub mod socks;
pub mod starttls;
pub mod tls;

pub use authority::{Authority, Host};
pub use conversation::{Conversation, Listener};
pub use facts::{Connect, Exchange, Facts, Hello, ServerCertificate};
pub use observation::{Answer, Ech, Ends, Fact, Observation, QuotedFlow};

/// What a parser says of a prefix: the bytes of one direction, in order, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe<T> {
    /// It is this protocol and here is what it says.
    Found(T),
    /// Could be, but can't be `Found` before the prefix has this many bytes in all. Always more than
    /// it has now. Fewer may show that it's `Not`.
    More(usize),
    /// It is something else, now and for any continuation.
    Not,
}

impl<T> Probe<T> {
    /// With what is made of what was found.
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Probe<U> {
        match self {
            Self::Found(found) => Probe::Found(f(found)),
            Self::More(len) => Probe::More(len),
            Self::Not => Probe::Not,
        }
    }
}
