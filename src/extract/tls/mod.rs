//! What TLS shows in clear (RFC 8446, RFC 5246): names, versions, certificates, alerts, and the
//! moment from which everything is encrypted.
//!
//! Input is always a *prefix*: the bytes of one direction, in order, from where its TLS stream
//! begins (byte 0 of the TCP stream, or the first byte after a proxy's answer to CONNECT), or from
//! where a reader was done with those before ([`Reader::release`]).
//!
//! - [`client_hello`] reads the first flight of the client; [`partial_client_hello`] reads what
//!   there is of one that will never be whole.
//! - [`client_hello_message`] and [`partial_client_hello_message`] read one that comes without
//!   records, as in QUIC.
//! - [`Reader`] walks on, in either direction, and yields [`Event`]s with the offset in the bytes at
//!   hand that each ends at.
//!
//! Who reads what: records, the joining of messages and the ClientHello are walked here, because
//! they must be read while they are incomplete or damaged, and without copying. Whole messages of
//! the server go to `tls-parser` (in `message`), names in certificates to `x509-parser` (in `certificate`).

mod alert;
mod certificate;
mod client;
mod ech;
mod message;
mod reader;
#[cfg(test)]
mod testdata;
mod version;
mod wire;

pub use alert::{Alert, alert_name};
pub use certificate::Chain;
pub use client::{
    ClientHello, Dialect, SniProblem, client_hello, client_hello_message, partial_client_hello,
    partial_client_hello_message,
};
pub use ech::{Ech, EchConfig, EchOffer, OuterEch};
pub use message::ServerHello;
pub use reader::{Encrypted, Event, Foreign, Reader, Seen};
pub use version::Version;

/// The longest handshake message that is read. Real hellos stay below 4 KiB, real chains below
/// 20 KiB.
const MAX_MESSAGE: usize = 1 << 16;

/// Empty records that one flight may hold; OpenSSL allows as many. More are an attack on the reader's time.
const MAX_EMPTY_RECORDS: u32 = 32;
