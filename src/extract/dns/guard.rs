//! Looks over a message before anyone reads it: how many records are really there, that the names
//! cost no more than the message is worth, and whether it is plain enough for the crate.

use super::{
    Malformed,
    name::is_host_label,
    rtype,
    wire::{Cursor, Header, Labels, RawRecord, pointer_at},
};

/// What is really in a message.
pub(super) struct Shape {
    /// Complete questions.
    pub(super) questions: usize,
    /// Complete records of answers, authority, additional.
    pub(super) records: [usize; 3],
    /// Why the walk ended.
    pub(super) end: End,
    /// `dns_parser` reads all of it, at a bounded cost, and says the same as our own reader.
    pub(super) plain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All that the header counts is there.
    Complete,
    /// The message ends before that.
    Cut,
    /// An owner name can't be read, so nothing behind it can be trusted.
    Bad,
}

/// The crate resolves pointers by recursion and rescans the name at each.
const MAX_PLAIN_JUMPS: u8 = 4;

/// Octets of names per octet of message. Compression seldom gives more than 4.
const WORK_PER_OCTET: usize = 8;

/// Walks the message once. An error means that not even its header and questions are readable.
pub(super) fn check(message: &[u8]) -> Result<Shape, Malformed> {
    let header = Header::read(message)?;
    let mut guard = Guard {
        message,
        budget: 1024 + WORK_PER_OCTET * message.len(),
        last: None,
        plain: !header.reserved(),
        has_opt: false,
    };
    let mut cursor = Cursor::new(message);
    let mut shape = Shape { questions: 0, records: [0; 3], end: End::Complete, plain: false };
    for _ in 0..header.questions {
        let question = cursor.question()?;
        guard.name(message.len(), question.name)?;
        guard.plain &= is_plain_qtype(question.qtype) && matches!(question.qclass, 1..=4 | 255);
        shape.questions += 1;
    }
    shape.end = guard.sections(&mut cursor, header, &mut shape.records);
    shape.plain = guard.plain && shape.end == End::Complete;
    Ok(shape)
}

struct Guard<'a> {
    message: &'a [u8],
    /// Work left for names.
    budget: usize,
    /// Where the labels of the last plain name begin, for pointers to it.
    last: Option<usize>,
    plain: bool,
    has_opt: bool,
}

impl Guard<'_> {
    fn sections(&mut self, cursor: &mut Cursor<'_>, header: Header, found: &mut [usize; 3]) -> End {
        for (section, claimed) in header.records.into_iter().enumerate() {
            for _ in 0..claimed {
                let checked = cursor.record().and_then(|record| {
                    self.name(self.message.len(), record.owner)?;
                    self.record(&record, section == 2)
                });
                match checked {
                    Ok(()) => {}
                    Err(Malformed::Cut) => return End::Cut,
                    Err(_) => return End::Bad,
                }
                found[section] += 1;
            }
        }
        End::Complete
    }

    /// Judges all of a record but its owner. An error when its names take too much work.
    fn record(&mut self, record: &RawRecord, additional: bool) -> Result<(), Malformed> {
        if record.rtype == rtype::OPT {
            // RFC 6891 section 6.1.1: one, in the additional section, owned by the root.
            let expected = additional && self.message[record.owner] == 0 && !self.has_opt;
            self.plain &= expected;
            self.has_opt = true;
            return Ok(());
        }
        self.plain &= matches!(record.class, 1..=4);
        match self.rdata(record) {
            Ok(plain) => self.plain &= plain,
            Err(Malformed::Work) => return Err(Malformed::Work),
            Err(_) => self.plain = false,
        }
        Ok(())
    }

    /// Whether the crate knows the type, and the data's names fill it as they should.
    fn rdata(&mut self, record: &RawRecord) -> Result<bool, Malformed> {
        let (start, end) = (record.rdata.start, record.rdata.end);
        let after_names = match record.rtype {
            rtype::A | rtype::AAAA | rtype::TXT => return Ok(true),
            rtype::CNAME | rtype::NS | rtype::PTR => self.name(end, start)?,
            rtype::MX => self.name(end, start + 2)?,
            rtype::SRV => self.name(end, start + 6)?,
            rtype::SOA => {
                let mailbox = self.name(end, start)?;
                self.name(end, mailbox)? + 20
            }
            rtype::DNAME => return self.name(end, start).map(|_| false),
            rtype::SVCB | rtype::HTTPS => return self.name(end, start + 2).map(|_| false),
            _ => return Ok(false),
        };
        Ok(after_names == end)
    }

    /// Checks the name at `at`, which must end in place before `end`; says where it does.
    fn name(&mut self, end: usize, at: usize) -> Result<usize, Malformed> {
        let message = &self.message[..end];
        let target = pointer_at(message, at);
        if target.is_some() && target == self.last {
            return Ok(at + 2);
        }
        let mut labels = Labels::new(message, at);
        let host = all_host_labels(&mut labels);
        self.budget = self.budget.checked_sub(labels.work()).ok_or(Malformed::Work)?;
        let plain = host? && labels.jumps() <= MAX_PLAIN_JUMPS;
        self.plain &= plain;
        self.last = plain.then_some(target.unwrap_or(at));
        labels.end().ok_or(Malformed::Cut)
    }
}

/// Walks the whole name; true when its labels are ones of host names.
fn all_host_labels(labels: &mut Labels<'_>) -> Result<bool, Malformed> {
    let mut host = true;
    while let Some(label) = labels.next()? {
        host &= is_host_label(label);
    }
    Ok(host)
}

/// Types that the crate takes in a question.
fn is_plain_qtype(qtype: u16) -> bool {
    matches!(qtype, 1 | 2 | 4..=16 | 28 | 33 | 252..=255)
}
