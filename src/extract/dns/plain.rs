//! Plain messages, read by `dns_parser`.

use dns_parser::{Class, Packet, Question as WireQuestion, RData as Data, ResourceRecord};

use super::{
    Message, Mx, Name, Question, RData, Record, Srv, class,
    name::Names,
    rtype,
    wire::{Cursor, RawRecord},
};

/// Reads a message that the guard calls plain. `None` when the crate refuses it all the same.
pub(super) fn read(message: &[u8]) -> Option<Message> {
    let packet = Packet::parse(message).ok()?;
    let header = packet.header;
    let extended = packet.opt.as_ref().map_or(0, |opt| u16::from(opt.extrcode));
    let mut reader = Reader { message, cursor: Cursor::new(message), names: Names::new() };
    Some(Message {
        id: header.id,
        is_response: !header.query,
        opcode: Into::<u16>::into(header.opcode) as u8,
        truncated: header.truncated,
        rcode: extended << 4 | u16::from(Into::<u8>::into(header.response_code)),
        complete: true,
        questions: reader.questions(&packet.questions)?,
        answers: reader.section(&packet.answers)?,
        authority: reader.section(&packet.nameservers)?,
        additional: reader.section(&packet.additional)?,
    })
}

/// Takes over what the crate has read.
struct Reader<'a> {
    message: &'a [u8],
    /// Goes along, to tell where the names are: most are pointers to one that was read before.
    cursor: Cursor<'a>,
    names: Names,
}

impl Reader<'_> {
    fn questions(&mut self, questions: &[WireQuestion<'_>]) -> Option<Vec<Question>> {
        let mut read = Vec::with_capacity(questions.len());
        for question in questions {
            let raw = self.cursor.question().ok()?;
            read.push(Question {
                qname: self.name(raw.name, question.qname),
                qtype: question.qtype as u16,
                qclass: question.qclass as u16,
            });
        }
        Some(read)
    }

    fn section(&mut self, records: &[ResourceRecord<'_>]) -> Option<Vec<Record>> {
        let mut read = Vec::with_capacity(records.len());
        for record in records {
            let mut raw = self.cursor.record().ok()?;
            // The crate keeps it apart.
            if raw.rtype == rtype::OPT {
                raw = self.cursor.record().ok()?;
            }
            read.push(self.record(&raw, record)?);
        }
        Some(read)
    }

    fn record(&mut self, raw: &RawRecord, record: &ResourceRecord<'_>) -> Option<Record> {
        let owner = self.name(raw.owner, record.name);
        let data = self.data(raw, &record.data)?;
        Some(Record {
            owner,
            rtype: raw.rtype,
            class: record.cls as u16,
            // The crate has already made a TTL with the top bit 0 (RFC 2181 section 8).
            ttl: record.ttl,
            data: if record.cls == Class::IN { data } else { RData::Other },
        })
    }

    /// `None` for kinds that the crate doesn't read.
    fn data(&mut self, raw: &RawRecord, data: &Data<'_>) -> Option<RData> {
        let at = raw.rdata.start;
        Some(match data {
            Data::A(a) => RData::A(a.0),
            Data::AAAA(aaaa) => RData::Aaaa(aaaa.0),
            Data::CNAME(cname) => RData::Cname(self.name(at, cname.0)),
            Data::NS(ns) => RData::Ns(self.name(at, ns.0)),
            Data::PTR(ptr) => RData::Ptr(self.name(at, ptr.0)),
            Data::MX(mx) => RData::Mx(Mx {
                preference: mx.preference,
                exchange: self.name(at + 2, mx.exchange),
            }),
            Data::SRV(srv) => RData::Srv(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: self.name(at + 6, srv.target),
            }),
            Data::SOA(soa) => RData::Soa { minimum: soa.minimum_ttl },
            Data::TXT(_) => RData::Other,
            Data::Unknown(_) => return None,
        })
    }

    fn name(&mut self, at: usize, name: dns_parser::Name<'_>) -> Name {
        self.names.of_host_text(self.message, at, name)
    }
}

const _: () = assert!(Class::IN as u16 == class::IN);
