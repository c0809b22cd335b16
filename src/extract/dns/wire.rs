//! The wire form (RFC 1035 section 4.1) as bounded steps over a slice. Nothing here allocates, and
//! no length or count from the wire is trusted.

use std::ops::Range;

use super::Malformed;

/// Octets before the first question.
pub(super) const HEADER: usize = 12;

/// Enough for one pointer before each of a name's 127 labels, which no encoder needs.
const MAX_JUMPS: u8 = 128;

/// Labels with their length octets, without the root: 255 octets in all (RFC 1035 section 3.1).
const MAX_LABEL_OCTETS: usize = 254;

/// The fixed header, with counts as the sender claims them.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) id: u16,
    flags: u16,
    pub(super) questions: u16,
    /// Answers, authority, additional.
    pub(super) records: [u16; 3],
}

impl Header {
    pub(super) fn read(message: &[u8]) -> Result<Self, Malformed> {
        if message.len() < HEADER {
            return Err(Malformed::Header);
        }
        let field = |i: usize| u16::from_be_bytes([message[2 * i], message[2 * i + 1]]);
        Ok(Self {
            id: field(0),
            flags: field(1),
            questions: field(2),
            records: [field(3), field(4), field(5)],
        })
    }

    pub(super) fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(super) fn opcode(self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    pub(super) fn truncated(self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// The one reserved bit that is left (RFC 6895 section 2).
    pub(super) fn reserved(self) -> bool {
        self.flags & 0x0040 != 0
    }

    pub(super) fn rcode(self) -> u16 {
        self.flags & 0xf
    }

    /// The fewest octets that such a message can have: each name at least the root.
    pub(super) fn least_size(self) -> usize {
        let records: usize = self.records.iter().map(|&n| usize::from(n)).sum();
        HEADER + 5 * usize::from(self.questions) + 11 * records
    }
}

/// A question before its name is read.
pub(super) struct RawQuestion {
    /// Where its name begins.
    pub(super) name: usize,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// A record before its owner and data are read.
pub(super) struct RawRecord {
    /// Where its owner name begins.
    pub(super) owner: usize,
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// Within the message.
    pub(super) rdata: Range<usize>,
}

/// Steps from item to item, over names without following them.
pub(super) struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the first question.
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { message, at: HEADER }
    }

    pub(super) fn question(&mut self) -> Result<RawQuestion, Malformed> {
        let name = self.at;
        let fixed = self.skip_name()?;
        let [t0, t1, c0, c1] = *self.take(fixed)?;
        Ok(RawQuestion {
            name,
            qtype: u16::from_be_bytes([t0, t1]),
            qclass: u16::from_be_bytes([c0, c1]),
        })
    }

    pub(super) fn record(&mut self) -> Result<RawRecord, Malformed> {
        let owner = self.at;
        let fixed = self.skip_name()?;
        let [t0, t1, c0, c1, l0, l1, l2, l3, n0, n1] = *self.take(fixed)?;
        let end = self.at + usize::from(u16::from_be_bytes([n0, n1]));
        if end > self.message.len() {
            return Err(Malformed::Cut);
        }
        let rdata = self.at..end;
        self.at = end;
        Ok(RawRecord {
            owner,
            rtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([l0, l1, l2, l3]),
            rdata,
        })
    }

    /// Where the name ends in place: after its root, or after its first pointer.
    fn skip_name(&self) -> Result<usize, Malformed> {
        let mut at = self.at;
        loop {
            match *self.message.get(at).ok_or(Malformed::Cut)? {
                0 => return Ok(at + 1),
                len @ 1..=63 => at += 1 + usize::from(len),
                0xc0.. => return Ok(at + 2),
                _ => return Err(Malformed::LabelType),
            }
            if at - self.at > MAX_LABEL_OCTETS {
                return Err(Malformed::NameTooLong);
            }
        }
    }

    /// Takes `N` octets at `at` and stands after them.
    fn take<const N: usize>(&mut self, at: usize) -> Result<&'a [u8; N], Malformed> {
        let octets = self.message.get(at..).and_then(<[u8]>::first_chunk);
        self.at = at + N;
        octets.ok_or(Malformed::Cut)
    }
}

/// The labels of one name, through its pointers (RFC 1035 section 4.1.4).
///
/// A pointer must go before the start of the run of labels that it ends. One inside that run can
/// only be a loop, one behind it is no "prior occurrence"; so the walk ends without counting.
pub(super) struct Labels<'a> {
    message: &'a [u8],
    at: usize,
    run: usize,
    end: Option<usize>,
    octets: usize,
    jumps: u8,
}

impl<'a> Labels<'a> {
    /// Of the name that begins at `at`. For a name in RDATA, `message` is cut at the end of the
    /// RDATA, so that it can't run over.
    pub(super) fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at, run: at, end: None, octets: 0, jumps: 0 }
    }

    /// The next label, without its length; `None` at the root, which it stays at.
    pub(super) fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        loop {
            let len = *self.message.get(self.at).ok_or(Malformed::Cut)?;
            match len {
                0 => {
                    self.end.get_or_insert(self.at + 1);
                    return Ok(None);
                }
                1..=63 => return self.label(usize::from(len)).map(Some),
                0xc0.. => self.jump(len)?,
                _ => return Err(Malformed::LabelType),
            }
        }
    }

    /// Where the name ends in place. Known once [`next`](Self::next) has said `None`.
    pub(super) fn end(&self) -> Option<usize> {
        self.end
    }

    /// Pointers followed so far.
    pub(super) fn jumps(&self) -> u8 {
        self.jumps
    }

    /// What the walk has cost so far, in octets. A jump costs as much as several: it is a load
    /// that waits for another.
    pub(super) fn work(&self) -> usize {
        1 + self.octets + 8 * usize::from(self.jumps)
    }

    fn label(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let start = self.at + 1;
        let label = self.message.get(start..start + len);
        self.at = start + len;
        self.octets += 1 + len;
        if self.octets > MAX_LABEL_OCTETS {
            return Err(Malformed::NameTooLong);
        }
        label.ok_or(Malformed::Cut)
    }

    fn jump(&mut self, high: u8) -> Result<(), Malformed> {
        let low = *self.message.get(self.at + 1).ok_or(Malformed::Cut)?;
        let target = pointer_target(high, low);
        self.end.get_or_insert(self.at + 2);
        self.jumps += 1;
        if target < HEADER || target >= self.run || self.jumps > MAX_JUMPS {
            return Err(Malformed::Pointer);
        }
        self.run = target;
        self.at = target;
        Ok(())
    }
}

/// Where the name at `at` points when it is nothing but a pointer.
pub(super) fn pointer_at(message: &[u8], at: usize) -> Option<usize> {
    match *message.get(at..)? {
        [high @ 0xc0..=0xff, low, ..] => Some(pointer_target(high, low)),
        _ => None,
    }
}

fn pointer_target(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0x3f, low]))
}
