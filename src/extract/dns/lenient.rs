//! Messages that `dns_parser` refuses: keeps every record that can be read, whatever is beside it.

use super::{
    Malformed, Message, Mx, Name, Question, RData, Record, Srv, class,
    guard::{End, Shape},
    name::Names,
    rtype, svcb,
    wire::{Cursor, Header, Labels, RawRecord},
};

/// Reads what the guard found in the message.
pub(super) fn read(message: &[u8], shape: &Shape) -> Result<Message, Malformed> {
    let header = Header::read(message)?;
    let mut reader =
        Reader { message, cursor: Cursor::new(message), names: Names::new(), extended: None };
    let questions = reader.questions(shape.questions)?;
    let [answers, authority, additional] = shape.records;
    let answers = reader.section(answers, false)?;
    let authority = reader.section(authority, false)?;
    let additional = reader.section(additional, true)?;
    Ok(Message {
        id: header.id,
        is_response: header.is_response(),
        opcode: header.opcode(),
        truncated: header.truncated(),
        rcode: reader.extended.unwrap_or(0) << 4 | header.rcode(),
        complete: shape.end == End::Complete,
        questions,
        answers,
        authority,
        additional,
    })
}

struct Reader<'a> {
    message: &'a [u8],
    cursor: Cursor<'a>,
    names: Names,
    /// The upper eight bits of the rcode, from the first OPT (RFC 6891 section 6.1.3).
    extended: Option<u16>,
}

impl Reader<'_> {
    fn questions(&mut self, count: usize) -> Result<Vec<Question>, Malformed> {
        let mut questions = Vec::with_capacity(count);
        for _ in 0..count {
            let raw = self.cursor.question()?;
            questions.push(Question {
                qname: self.names.read(self.message, raw.name)?.0,
                qtype: raw.qtype,
                qclass: raw.qclass,
            });
        }
        Ok(questions)
    }

    /// `count` comes from the guard: the records are there.
    fn section(&mut self, count: usize, additional: bool) -> Result<Vec<Record>, Malformed> {
        let mut records = Vec::new();
        for left in (0..count).rev() {
            let raw = self.cursor.record()?;
            if additional && raw.rtype == rtype::OPT && self.message[raw.owner] == 0 {
                self.extended.get_or_insert((raw.ttl >> 24) as u16);
                continue;
            }
            if records.is_empty() {
                records.reserve_exact(left + 1);
            }
            records.push(self.record(&raw)?);
        }
        Ok(records)
    }

    fn record(&mut self, raw: &RawRecord) -> Result<Record, Malformed> {
        let (owner, _) = self.names.read(self.message, raw.owner)?;
        let data = if raw.class == class::IN {
            self.data(raw).unwrap_or(RData::Other)
        } else {
            RData::Other
        };
        Ok(Record {
            owner,
            rtype: raw.rtype,
            class: raw.class,
            // RFC 2181 section 8: a TTL with the top bit is 0.
            ttl: if raw.ttl >> 31 == 0 { raw.ttl } else { 0 },
            data,
        })
    }

    /// `None` for a type that isn't read, and for data that isn't what its type says.
    fn data(&mut self, raw: &RawRecord) -> Option<RData> {
        let start = raw.rdata.start;
        let rdata = &self.message[raw.rdata.clone()];
        Some(match raw.rtype {
            rtype::A => RData::A(<[u8; 4]>::try_from(rdata).ok()?.into()),
            rtype::AAAA => RData::Aaaa(<[u8; 16]>::try_from(rdata).ok()?.into()),
            rtype::CNAME => RData::Cname(self.last_name(raw, start)?),
            rtype::DNAME => RData::Dname(self.last_name(raw, start)?),
            rtype::NS => RData::Ns(self.last_name(raw, start)?),
            rtype::PTR => RData::Ptr(self.last_name(raw, start)?),
            rtype::MX => RData::Mx(Mx {
                preference: be16(rdata, 0)?,
                exchange: self.last_name(raw, start + 2)?,
            }),
            rtype::SRV => RData::Srv(Srv {
                priority: be16(rdata, 0)?,
                weight: be16(rdata, 2)?,
                port: be16(rdata, 4)?,
                target: self.last_name(raw, start + 6)?,
            }),
            rtype::SOA => self.soa(raw)?,
            rtype::SVCB | rtype::HTTPS => {
                RData::Svcb(svcb::read(self.message, raw, &mut self.names)?.into())
            }
            _ => return None,
        })
    }

    /// The name at `at`, which must fill the rest of the data.
    fn last_name(&mut self, raw: &RawRecord, at: usize) -> Option<Name> {
        let rdata_end = raw.rdata.end;
        let (name, end) = self.names.read(&self.message[..rdata_end], at).ok()?;
        (end == rdata_end).then_some(name)
    }

    fn soa(&mut self, raw: &RawRecord) -> Option<RData> {
        let message = &self.message[..raw.rdata.end];
        let mailbox = name_end(message, raw.rdata.start)?;
        let numbers = message.get(name_end(message, mailbox)?..)?;
        let [.., m0, m1, m2, m3] = *<&[u8; 20]>::try_from(numbers).ok()?;
        Some(RData::Soa { minimum: u32::from_be_bytes([m0, m1, m2, m3]) })
    }
}

/// Reads over a name; says where it ends in place.
fn name_end(message: &[u8], at: usize) -> Option<usize> {
    let mut labels = Labels::new(message, at);
    while labels.next().ok()?.is_some() {}
    labels.end()
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    let field = octets.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*field))
}
