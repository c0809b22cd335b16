use std::ops::Range;

use super::{
    Malformed,
    guard::{self, End},
    wire::{HEADER, Header},
};
use crate::extract::Probe;

/// Finds the message at the start of `prefix`, a place in a TCP stream where one should begin: two
/// octets of length, then the message (RFC 1035 section 4.2.2).
///
/// The range is the message's within `prefix`. The next message, if any, begins at its end. Octets
/// that can't be a DNS message are `Not`, as soon as they show. `More` is at most 65,537; when the
/// rest never comes, [`parse`](super::parse) still reads what is there from the third octet on.
pub fn tcp_message(prefix: &[u8]) -> Probe<Range<usize>> {
    let Some((&len, rest)) = prefix.split_first_chunk() else {
        return Probe::More(2 + HEADER);
    };
    let len = usize::from(u16::from_be_bytes(len));
    if len < HEADER {
        return Probe::Not;
    }
    let there = &rest[..len.min(rest.len())];
    let whole = there.len() == len;
    match Header::read(there) {
        Ok(header) if is_plausible(header, len) => {}
        Ok(_) => return Probe::Not,
        Err(_) => return Probe::More(2 + HEADER),
    }
    match guard::check(there).map(|shape| shape.end) {
        Ok(End::Complete) if whole => Probe::Found(2..2 + len),
        Ok(End::Complete | End::Cut) | Err(Malformed::Cut) if !whole => Probe::More(2 + len),
        _ => Probe::Not,
    }
}

/// What holds for every message and rarely for other octets.
fn is_plausible(header: Header, len: usize) -> bool {
    // 3 is unassigned, 6 (RFC 8490) and above name no destination.
    let opcode = matches!(header.opcode(), 0..=2 | 4 | 5);
    // A query asks something and brings no result. Only an answer may have no question (RFC 5936
    // section 2.2).
    let role = header.is_response() || header.rcode() == 0 && header.questions > 0;
    opcode && role && header.least_size() <= len
}
