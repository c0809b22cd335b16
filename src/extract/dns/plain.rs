//! Plain messages, read by `dns_parser`.

use dns_parser::{Class, Packet, Question as WireQuestion, RData as Data, ResourceRecord};

use super::{Message, Mx, Name, Question, RData, Record, Srv, class, name::Names, rtype};

/// Reads a message that the guard calls plain. `None` when the crate refuses it all the same.
pub(super) fn read(message: &[u8]) -> Option<Message> {
    let packet = Packet::parse(message).ok()?;
    let header = packet.header;
    let extended = packet.opt.as_ref().map_or(0, |opt| u16::from(opt.extrcode));
    let mut names = Names::new();
    Some(Message {
        id: header.id,
        is_response: !header.query,
        opcode: Into::<u16>::into(header.opcode) as u8,
        truncated: header.truncated,
        rcode: extended << 4 | u16::from(Into::<u8>::into(header.response_code)),
        complete: true,
        questions: packet.questions.iter().map(|q| question(q, &mut names)).collect(),
        answers: section(&packet.answers, &mut names)?,
        authority: section(&packet.nameservers, &mut names)?,
        additional: section(&packet.additional, &mut names)?,
    })
}

fn question(question: &WireQuestion<'_>, names: &mut Names) -> Question {
    Question {
        qname: names.of_host_text(question.qname),
        qtype: question.qtype as u16,
        qclass: question.qclass as u16,
    }
}

fn section(records: &[ResourceRecord<'_>], names: &mut Names) -> Option<Vec<Record>> {
    records.iter().map(|r| record(r, names)).collect()
}

fn record(record: &ResourceRecord<'_>, names: &mut Names) -> Option<Record> {
    let owner = names.of_host_text(record.name);
    let (rtype, data) = data(&record.data, names)?;
    Some(Record {
        owner,
        rtype,
        class: record.cls as u16,
        // The crate has already made a TTL with the top bit 0 (RFC 2181 section 8).
        ttl: record.ttl,
        data: if record.cls == Class::IN { data } else { RData::Other },
    })
}

/// The crate keeps the type only as the kind of data, so `None` for kinds it doesn't read.
fn data(data: &Data<'_>, names: &mut Names) -> Option<(u16, RData)> {
    let mut name = |name: dns_parser::Name<'_>| -> Name { names.of_host_text(name) };
    Some(match data {
        Data::A(a) => (rtype::A, RData::A(a.0)),
        Data::AAAA(aaaa) => (rtype::AAAA, RData::Aaaa(aaaa.0)),
        Data::CNAME(cname) => (rtype::CNAME, RData::Cname(name(cname.0))),
        Data::NS(ns) => (rtype::NS, RData::Ns(name(ns.0))),
        Data::PTR(ptr) => (rtype::PTR, RData::Ptr(name(ptr.0))),
        Data::MX(mx) => {
            (rtype::MX, RData::Mx(Mx { preference: mx.preference, exchange: name(mx.exchange) }))
        }
        Data::SRV(srv) => (
            rtype::SRV,
            RData::Srv(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: name(srv.target),
            }),
        ),
        Data::SOA(soa) => (rtype::SOA, RData::Soa { minimum: soa.minimum_ttl }),
        Data::TXT(_) => (rtype::TXT, RData::Other),
        Data::Unknown(_) => return None,
    })
}

const _: () = assert!(Class::IN as u16 == class::IN);
