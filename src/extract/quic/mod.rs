//! QUIC up to the ClientHello (RFC 9000, RFC 9001, RFC 9369): versions 1 and 2, the drafts from 22
//! on, and some that others made from them.
//!
//! Initial packets are encrypted with keys that anyone can make from their header. What follows them
//! is not readable, but its packet types are: enough to see that a handshake goes on.
//!
//! A datagram is cut into [`packets`]; an [`Attempt`] is what one client's Initials add up to;
//! [`frames`] reads those of the server.

mod attempt;
mod crypto_stream;
mod cursor;
mod frame;
mod packet;
mod protection;
mod version;

pub(super) use self::{
    attempt::Attempt,
    frame::{Frame, frames},
    packet::{Long, Packet, begins_long, packets},
    protection::Payload,
    version::{Kind, Version},
};

#[cfg(test)]
pub(super) use self::protection::sealing;
