//! Frame in, packet out: addresses, ports, the transport header and the payload, borrowed from the
//! frame, or a counted reason why not.

mod packet;

pub use packet::{Body, IcmpError, Packet, Quoted, Tcp, TcpFlags, Transport, Tunnel, Udp};
