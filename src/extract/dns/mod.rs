//! DNS messages (RFC 1035), read off UDP or TCP.
//!
//! A message passes a guard first, which bounds what reading it can cost. What is plain then goes
//! to `dns_parser`. That crate refuses a whole message for one record it doesn't know, so the rest
//! goes to a lenient reader, which keeps the good records. Both say the same of what both read.
//!
//! Which ports carry DNS, and that mDNS and LLMNR aren't it, is the caller's to know.

mod codes;
mod guard;
mod lenient;
mod name;
mod plain;
#[cfg(test)]
mod properties;
mod svcb;
mod tcp;
#[cfg(test)]
mod tests;
mod wire;

use std::net::{Ipv4Addr, Ipv6Addr};

use codes::rtype;
pub use codes::{rcode_name, rtype_name};
pub use name::Name;
pub use tcp::tcp_message;

/// One DNS message. Queries and responses alike, of any opcode: only opcode 0 with one question is
/// a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Matches a response with its query.
    pub id: u16,
    /// The QR bit.
    pub is_response: bool,
    /// 0 is a standard query; 4 NOTIFY, 5 UPDATE.
    pub opcode: u8,
    /// The TC bit: the server had more to say, and will over TCP.
    pub truncated: bool,
    /// Response code, with the upper bits from EDNS if there (RFC 6891 section 6.1.3).
    pub rcode: u16,
    /// All records that the header counts were read. False when the message was cut, by the
    /// capture or on the way, or is unreadable from some record on; what was before that is here.
    pub complete: bool,
    /// One, save in some messages that are no lookups.
    pub questions: Vec<Question>,
    /// Records of the answer section, in order.
    pub answers: Vec<Record>,
    /// Records of the authority section.
    pub authority: Vec<Record>,
    /// Records of the additional section, without OPT.
    pub additional: Vec<Record>,
}

impl Message {
    /// True when the authority section has an SOA record: with an empty answer and NOERROR, the
    /// name has no data of the asked type; with NXDOMAIN, it isn't there (RFC 2308 section 2).
    pub fn has_soa(&self) -> bool {
        self.authority.iter().any(|r| r.rtype == rtype::SOA)
    }
}

/// An entry of the question section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Asked name.
    pub qname: Name,
    /// Asked type, which [`rtype_name`] names.
    pub qtype: u16,
    /// Asked class; 1 is the Internet's.
    pub qclass: u16,
}

/// A resource record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Name that the record belongs to.
    pub owner: Name,
    /// Type, which [`rtype_name`] names.
    pub rtype: u16,
    /// Class; 1 is the Internet's.
    pub class: u16,
    /// Seconds; 0 when the top bit is set (RFC 2181 section 8).
    pub ttl: u32,
    /// What it says.
    pub data: RData,
}

/// Data of a record of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RData {
    /// A.
    A(Ipv4Addr),
    /// AAAA.
    Aaaa(Ipv6Addr),
    /// CNAME: the owner is an alias of this name.
    Cname(Name),
    /// DNAME: names below the owner are aliases of names below this one (RFC 6672).
    Dname(Name),
    /// NS.
    Ns(Name),
    /// PTR.
    Ptr(Name),
    /// MX.
    Mx(Mx),
    /// SRV (RFC 2782).
    Srv(Srv),
    /// SVCB or HTTPS (RFC 9460).
    Svcb(Box<Svcb>),
    /// SOA.
    Soa {
        /// Seconds that the absence may be cached, at most (RFC 2308 section 4).
        minimum: u32,
    },
    /// Another type or class, or data that isn't what its type says.
    Other,
}

/// Data of an MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The mail server.
    pub exchange: Name,
}

/// Data of an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host of the service.
    pub target: Name,
}

/// Data of an SVCB or HTTPS record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svcb {
    /// 0 makes the record an alias of `target`, without parameters.
    pub priority: u16,
    /// Host of the service; the root stands for the owner, or in an alias for "no service".
    pub target: Name,
    /// Protocols, with octets that aren't printable as `\DDD`.
    pub alpn: Vec<String>,
    /// Port, when it isn't the protocol's own.
    pub port: Option<u16>,
    /// Addresses that a client may use before it has A records.
    pub ipv4hint: Vec<Ipv4Addr>,
    /// Addresses that a client may use before it has AAAA records.
    pub ipv6hint: Vec<Ipv6Addr>,
    /// There is a configuration for Encrypted Client Hello.
    pub ech: bool,
}

/// Why nothing of a message can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Malformed {
    /// Fewer octets than a header has.
    Header,
    /// Ends within a question.
    Cut,
    /// A label that is neither text nor a pointer.
    LabelType,
    /// A compression pointer that doesn't go backwards, or one too many.
    Pointer,
    /// A name of more than 255 octets.
    NameTooLong,
    /// Names that expand to far more than the message holds.
    Work,
}

impl Malformed {
    /// A short stable text, to count by.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Header => "DNS message shorter than its header",
            Self::Cut => "DNS message ends in a question",
            Self::LabelType => "DNS label of unknown type",
            Self::Pointer => "DNS name with a bad compression pointer",
            Self::NameTooLong => "DNS name over 255 octets",
            Self::Work => "DNS names expand without bound",
        }
    }
}

/// Reads one message: the payload of a UDP datagram, or what [`tcp_message`] found.
///
/// Keeps every complete record before a cut. Octets behind the last record are ignored. Time and
/// memory are linear in the length, whatever the octets.
///
/// # Errors
///
/// When header or questions can't be read. Bad records are no error.
pub fn parse(message: &[u8]) -> Result<Message, Malformed> {
    let shape = guard::check(message)?;
    let plain = if shape.plain { plain::read(message) } else { None };
    match plain {
        Some(plain) => Ok(plain),
        None => lenient::read(message, &shape),
    }
}

mod class {
    pub(super) const IN: u16 = 1;
}
