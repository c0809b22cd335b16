//! Properties over generated messages, against the model they are made from, between the two
//! readers, and against the `domain` crate.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::{
    base::{Message as Theirs, ParsedName, message::RecordSection},
    rdata::{A, Aaaa, Cname, Dname, Https, Mx as TheirMx, Ns, Ptr, Soa, Srv as TheirSrv},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::extract::Probe;

type Labels = Vec<Vec<u8>>;

#[derive(Clone, Debug)]
enum Data {
    A([u8; 4]),
    Aaaa([u8; 16]),
    Cname(Labels),
    Dname(Labels),
    Ns(Labels),
    Ptr(Labels),
    Mx(u16, Labels),
    Srv(u16, u16, u16, Labels),
    Soa(Labels, Labels, u32),
    Https(u16, Labels, Option<u16>, Vec<[u8; 4]>, bool),
    Txt(Vec<u8>),
    Raw(u16, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Rr(Labels, u16, u32, Data);

#[derive(Clone, Debug)]
struct Model {
    id: u16,
    flags: u16,
    question: Option<(Labels, u16)>,
    sections: [Vec<Rr>; 3],
    opt: Option<u8>,
    compress: bool,
}

fn label(wild: bool) -> BoxedStrategy<Vec<u8>> {
    let host = "[a-cA-C0-9_-]{1,4}".prop_map(String::into_bytes);
    if wild {
        prop_oneof![4 => host, 1 => vec(any::<u8>(), 1..=63), 1 => Just(b"evil.com".to_vec())]
            .boxed()
    } else {
        host.boxed()
    }
}

fn name(wild: bool) -> impl Strategy<Value = Labels> {
    let suffix = prop_oneof![
        Just(&[][..]),
        Just(&["example", "com"][..]),
        Just(&["EXAMPLE", "com"][..]),
        Just(&["a", "b", "example", "com"][..]),
    ];
    (vec(label(wild), 0..3), suffix).prop_map(|(mut labels, suffix)| {
        labels.extend(suffix.iter().map(|l| l.as_bytes().to_vec()));
        labels
    })
}

fn data(wild: bool) -> BoxedStrategy<Data> {
    let plain = prop_oneof![
        any::<[u8; 4]>().prop_map(Data::A),
        any::<[u8; 16]>().prop_map(Data::Aaaa),
        name(wild).prop_map(Data::Cname),
        name(wild).prop_map(Data::Ns),
        name(wild).prop_map(Data::Ptr),
        (any::<u16>(), name(wild)).prop_map(|(p, n)| Data::Mx(p, n)),
        (any::<u16>(), any::<u16>(), any::<u16>(), name(wild))
            .prop_map(|(a, b, c, n)| Data::Srv(a, b, c, n)),
        (name(wild), name(wild), any::<u32>()).prop_map(|(a, b, m)| Data::Soa(a, b, m)),
        vec(any::<u8>(), 0..20).prop_map(Data::Txt),
    ];
    if !wild {
        return plain.boxed();
    }
    let https =
        (0..3u16, name(true), any::<Option<u16>>(), vec(any::<[u8; 4]>(), 0..3), any::<bool>());
    prop_oneof![
        6 => plain,
        1 => name(wild).prop_map(Data::Dname),
        2 => https.prop_map(|(p, n, port, v4, ech)| Data::Https(p, n, port, v4, ech)),
        1 => (256u16..300, vec(any::<u8>(), 0..20)).prop_map(|(t, d)| Data::Raw(t, d)),
    ]
    .boxed()
}

fn section(wild: bool) -> impl Strategy<Value = Vec<Rr>> {
    let class = prop_oneof![9 => Just(1u16), 1 => Just(3u16)];
    vec((name(wild), class, any::<u32>(), data(wild)).prop_map(|(n, c, t, d)| Rr(n, c, t, d)), 0..5)
}

fn model(wild: bool) -> impl Strategy<Value = Model> {
    let mask = if wild { 0xffff } else { 0xffbf };
    let qtype = if wild { 1..=300u16 } else { 1..=2u16 };
    let question = prop_oneof![
        9 => (name(wild), qtype).prop_map(Some),
        1 => Just(None),
    ];
    let sections = [section(wild), section(wild), section(wild)];
    (any::<[u16; 2]>(), question, sections, any::<Option<u8>>(), any::<bool>()).prop_map(
        move |([id, flags], question, sections, opt, compress)| Model {
            id,
            flags: flags & mask,
            question,
            sections,
            opt,
            compress,
        },
    )
}

#[derive(Default)]
struct Encoder {
    out: Vec<u8>,
    compress: bool,
    known: Vec<(Labels, usize)>,
}

impl Encoder {
    fn be16(&mut self, n: u16) {
        self.out.extend(n.to_be_bytes());
    }

    fn name(&mut self, name: &[Vec<u8>], compress: bool) {
        for (i, label) in name.iter().enumerate() {
            let rest = &name[i..];
            let known = self.known.iter().find(|(known, _)| known == rest);
            if let (true, Some(&(_, at))) = (compress && self.compress, known) {
                return self.be16(0xc000 | at as u16);
            }
            if self.out.len() < 0x4000 {
                self.known.push((rest.to_vec(), self.out.len()));
            }
            self.out.push(label.len() as u8);
            self.out.extend(label);
        }
        self.out.push(0);
    }

    fn record(&mut self, Rr(owner, class, ttl, data): &Rr) {
        self.name(owner, true);
        self.be16(data.rtype());
        self.be16(*class);
        self.out.extend(ttl.to_be_bytes());
        self.be16(0);
        let start = self.out.len();
        self.data(data);
        let len = (self.out.len() - start) as u16;
        self.out[start - 2..start].copy_from_slice(&len.to_be_bytes());
    }

    fn data(&mut self, data: &Data) {
        match data {
            Data::A(a) => self.out.extend(a),
            Data::Aaaa(a) => self.out.extend(a),
            Data::Cname(n) | Data::Ns(n) | Data::Ptr(n) => self.name(n, true),
            Data::Dname(n) => self.name(n, false),
            Data::Mx(p, n) => {
                self.be16(*p);
                self.name(n, true);
            }
            Data::Srv(a, b, c, n) => {
                [a, b, c].into_iter().for_each(|x| self.be16(*x));
                self.name(n, false);
            }
            Data::Soa(a, b, minimum) => {
                self.name(a, true);
                self.name(b, true);
                self.out.extend([7; 16]);
                self.out.extend(minimum.to_be_bytes());
            }
            Data::Https(priority, target, port, v4, ech) => {
                self.be16(*priority);
                self.name(target, false);
                if let Some(port) = port {
                    [3, 2, *port].into_iter().for_each(|x| self.be16(x));
                }
                if !v4.is_empty() {
                    self.be16(4);
                    self.be16(4 * v4.len() as u16);
                    self.out.extend(v4.concat());
                }
                if *ech {
                    self.out.extend([0, 5, 0, 1, 9]);
                }
            }
            Data::Txt(text) => {
                self.out.push(text.len() as u8);
                self.out.extend(text);
            }
            Data::Raw(_, raw) => self.out.extend(raw),
        }
    }
}

impl Data {
    fn rtype(&self) -> u16 {
        match self {
            Self::A(_) => 1,
            Self::Aaaa(_) => 28,
            Self::Cname(_) => 5,
            Self::Dname(_) => 39,
            Self::Ns(_) => 2,
            Self::Ptr(_) => 12,
            Self::Mx(..) => 15,
            Self::Srv(..) => 33,
            Self::Soa(..) => 6,
            Self::Https(..) => 65,
            Self::Txt(_) => 16,
            Self::Raw(rtype, _) => *rtype,
        }
    }
}

fn encode(model: &Model) -> Vec<u8> {
    let mut encoder = Encoder { compress: model.compress, ..Encoder::default() };
    let count = |i: usize| model.sections[i].len() as u16;
    let additional = count(2) + u16::from(model.opt.is_some());
    let questions = u16::from(model.question.is_some());
    [model.id, model.flags, questions, count(0), count(1), additional]
        .into_iter()
        .for_each(|n| encoder.be16(n));
    if let Some((name, qtype)) = &model.question {
        encoder.name(name, true);
        encoder.be16(*qtype);
        encoder.be16(1);
    }
    for record in model.sections.iter().flatten() {
        encoder.record(record);
    }
    if let Some(extended) = model.opt {
        encoder.out.extend([0, 0, 41, 4, 208, extended, 0, 0, 0, 0, 0]);
    }
    encoder.out
}

/// The text of a name, by the rules of RFC 1035 section 5.1.
fn text<'a>(labels: impl Iterator<Item = &'a [u8]>) -> String {
    let labels: Vec<String> = labels
        .map(|label| {
            let octets = label.iter().map(|&b| match b {
                b'.' | b'\\' => format!("\\{}", char::from(b)),
                0x21..=0x7e => char::from(b).to_ascii_lowercase().to_string(),
                _ => format!("\\{b:03}"),
            });
            octets.collect()
        })
        .collect();
    if labels.is_empty() { ".".into() } else { labels.join(".") }
}

fn model_text(labels: &Labels) -> String {
    text(labels.iter().map(Vec::as_slice))
}

/// What a record should say, in a form that model, parser and `domain` can all be brought to.
fn said(data: &RData) -> String {
    match data {
        RData::A(a) => a.to_string(),
        RData::Aaaa(a) => a.to_string(),
        RData::Cname(n) | RData::Dname(n) | RData::Ns(n) | RData::Ptr(n) => n.to_string(),
        RData::Mx(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::Srv(s) => format!("{} {} {} {}", s.priority, s.weight, s.port, s.target),
        RData::Soa { minimum } => minimum.to_string(),
        RData::Svcb(s) => {
            format!("{} {} {:?} {:?} {}", s.priority, s.target, s.port, s.ipv4hint, s.ech)
        }
        RData::Other => "other".into(),
    }
}

fn meant(Rr(_, class, _, data): &Rr) -> String {
    if *class != 1 {
        return "other".into();
    }
    match data {
        Data::A(a) => Ipv4Addr::from(*a).to_string(),
        Data::Aaaa(a) => Ipv6Addr::from(*a).to_string(),
        Data::Cname(n) | Data::Dname(n) | Data::Ns(n) | Data::Ptr(n) => model_text(n),
        Data::Mx(p, n) => format!("{p} {}", model_text(n)),
        Data::Srv(a, b, c, n) => format!("{a} {b} {c} {}", model_text(n)),
        Data::Soa(_, _, minimum) => minimum.to_string(),
        Data::Https(0, target, ..) => format!("0 {} None [] false", model_text(target)),
        Data::Https(p, target, port, v4, ech) => {
            let v4: Vec<_> = v4.iter().map(|&a| Ipv4Addr::from(a)).collect();
            format!("{p} {} {port:?} {v4:?} {ech}", model_text(target))
        }
        Data::Txt(_) | Data::Raw(..) => "other".into(),
    }
}

fn assert_says(message: &Message, model: &Model) -> Result<(), TestCaseError> {
    prop_assert!(message.complete);
    prop_assert_eq!(message.id, model.id);
    prop_assert_eq!(message.is_response, model.flags & 0x8000 != 0);
    prop_assert_eq!(message.truncated, model.flags & 0x200 != 0);
    prop_assert_eq!(u16::from(message.opcode), model.flags >> 11 & 0xf);
    let extended = u16::from(model.opt.unwrap_or(0));
    prop_assert_eq!(message.rcode, extended << 4 | model.flags & 0xf);
    let questions: Vec<_> =
        message.questions.iter().map(|q| (q.qname.to_string(), q.qtype)).collect();
    let asked: Vec<_> = model.question.iter().map(|(n, t)| (model_text(n), *t)).collect();
    prop_assert_eq!(questions, asked);
    let sections = [&message.answers, &message.authority, &message.additional];
    for (records, models) in sections.into_iter().zip(&model.sections) {
        prop_assert_eq!(records.len(), models.len());
        for (record, model) in records.iter().zip(models) {
            prop_assert_eq!(record.owner.as_str(), model_text(&model.0));
            prop_assert_eq!((record.class, record.rtype), (model.1, model.3.rtype()));
            prop_assert_eq!(record.ttl, if model.2 >> 31 == 0 { model.2 } else { 0 });
            prop_assert_eq!(said(&record.data), meant(model));
        }
    }
    Ok(())
}

type Parsed<'a> = ParsedName<&'a [u8]>;

fn their_text(name: &Parsed<'_>) -> String {
    text(name.iter().map(|l| l.as_slice()).filter(|l| !l.is_empty()))
}

/// Our records of a section against theirs, which must be able to read all that we did.
fn same_section(
    ours: &[Record],
    theirs: RecordSection<'_, [u8]>,
    additional: bool,
) -> Result<(), TestCaseError> {
    let mut ours = ours.iter();
    for record in theirs {
        let record = record.map_err(|e| TestCaseError::fail(format!("theirs: {e}")))?;
        let owner = text(record.owner().iter().map(|l| l.as_slice()).filter(|l| !l.is_empty()));
        let rtype = record.rtype().to_int();
        if additional && rtype == 41 && owner == "." {
            continue;
        }
        let our = ours.next().ok_or(TestCaseError::fail("one less"))?;
        prop_assert_eq!(our.owner.as_str(), owner);
        prop_assert_eq!((our.rtype, our.class), (rtype, record.class().to_int()));
        let ttl = record.ttl().as_secs();
        prop_assert_eq!(our.ttl, if ttl >> 31 == 0 { ttl } else { 0 });
        macro_rules! theirs {
            ($kind:ty) => {
                record.to_record::<$kind>().ok().flatten().map(|r| r.into_data())
            };
        }
        let theirs = match rtype {
            1 => theirs!(A).map(|d| d.addr().to_string()),
            28 => theirs!(Aaaa).map(|d| d.addr().to_string()),
            5 => theirs!(Cname<Parsed<'_>>).map(|d| their_text(d.cname())),
            39 => theirs!(Dname<Parsed<'_>>).map(|d| their_text(d.dname())),
            2 => theirs!(Ns<Parsed<'_>>).map(|d| their_text(d.nsdname())),
            12 => theirs!(Ptr<Parsed<'_>>).map(|d| their_text(d.ptrdname())),
            15 => theirs!(TheirMx<Parsed<'_>>)
                .map(|d| format!("{} {}", d.preference(), their_text(d.exchange()))),
            33 => theirs!(TheirSrv<Parsed<'_>>).map(|d| {
                format!("{} {} {} {}", d.priority(), d.weight(), d.port(), their_text(d.target()))
            }),
            6 => theirs!(Soa<Parsed<'_>>).map(|d| d.minimum().as_secs().to_string()),
            65 => theirs!(Https<&[u8], Parsed<'_>>)
                .map(|d| format!("{} {}", d.priority(), their_text(d.target()))),
            _ => None,
        };
        // Where we say something, they say the same.
        if our.data != RData::Other {
            let ours = match &our.data {
                // They mind bad parameters of an alias, which are to be ignored.
                RData::Svcb(s) if rtype != 65 || s.priority == 0 && theirs.is_none() => continue,
                RData::Svcb(s) => format!("{} {}", s.priority, s.target),
                data => said(data),
            };
            prop_assert_eq!(Some(ours), theirs);
        } else if our.class == 1 && matches!(rtype, 1 | 28) {
            prop_assert_eq!(None, theirs);
        }
    }
    prop_assert!(ours.next().is_none());
    Ok(())
}

fn assert_agrees_with_domain(wire: &[u8], ours: &Message) -> Result<(), TestCaseError> {
    let theirs = Theirs::from_slice(wire).map_err(|e| TestCaseError::fail(e.to_string()))?;
    for (our, their) in ours.questions.iter().zip(theirs.question()) {
        let their = their.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let qname = text(their.qname().iter().map(|l| l.as_slice()).filter(|l| !l.is_empty()));
        prop_assert_eq!(our.qname.as_str(), qname);
        prop_assert_eq!((our.qtype, our.qclass), (their.qtype().to_int(), their.qclass().to_int()));
    }
    let fail = |e: domain::base::wire::ParseError| TestCaseError::fail(e.to_string());
    same_section(&ours.answers, theirs.answer().map_err(fail)?, false)?;
    same_section(&ours.authority, theirs.authority().map_err(fail)?, false)?;
    same_section(&ours.additional, theirs.additional().map_err(fail)?, true)
}

/// When the guard calls it plain, both readers must say the same.
fn assert_readers_agree(wire: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(shape) = guard::check(wire) else {
        return Ok(false);
    };
    let lenient = lenient::read(wire, &shape);
    prop_assert!(lenient.is_ok(), "the guard found it readable");
    let Some(plain) = shape.plain.then(|| plain::read(wire)).flatten() else {
        return Ok(false);
    };
    prop_assert_eq!(Ok(plain), lenient);
    Ok(true)
}

fn mutated(wild: bool) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (model(wild), edits).prop_map(|(model, edits)| {
        let mut wire = encode(&model);
        for (at, octet) in edits {
            let at = at.index(wire.len());
            wire[at] = octet;
        }
        wire
    })
}

proptest! {
    #[test]
    fn reads_what_was_meant(model in model(true)) {
        let wire = encode(&model);
        let message = parse(&wire).unwrap();
        assert_says(&message, &model)?;
        assert_agrees_with_domain(&wire, &message)?;
        assert_readers_agree(&wire)?;
    }

    #[test]
    fn the_crate_reads_plain_messages(model in model(false)) {
        let wire = encode(&model);
        assert_says(&parse(&wire).unwrap(), &model)?;
        prop_assert!(assert_readers_agree(&wire)?, "not read by the crate");
    }

    #[test]
    fn damage_never_makes_readers_differ(wire in prop_oneof![mutated(false), mutated(true)]) {
        assert_readers_agree(&wire)?;
        if let Ok(message) = parse(&wire)
            && message.complete
        {
            assert_agrees_with_domain(&wire, &message)?;
        }
    }

    #[test]
    fn any_octets_are_safe(wire in vec(any::<u8>(), 0..300)) {
        assert_readers_agree(&wire)?;
        let _ = tcp_message(&wire);
    }

    #[test]
    fn a_cut_keeps_the_records_before_it(model in model(true), cut in any::<prop::sample::Index>()) {
        let wire = encode(&model);
        let whole = parse(&wire).unwrap();
        let cut = &wire[..cut.index(wire.len())];
        if let Ok(message) = parse(cut) {
            let all = |m: &Message| [&m.answers[..], &m.authority, &m.additional].concat();
            prop_assert!(!message.complete);
            prop_assert_eq!(&message.questions, &whole.questions);
            prop_assert!(all(&whole).starts_with(&all(&message)));
        }
    }

    #[test]
    fn finds_messages_in_tcp(model in model(true), flags in prop_oneof![Just(0x0100u16), Just(0x8180)]) {
        let question = model.question.or(Some((vec![], 1)));
        let model = Model { flags, question, ..model };
        let wire = encode(&model);
        let mut stream = (wire.len() as u16).to_be_bytes().to_vec();
        stream.extend(&wire);
        for end in 0..stream.len() {
            match tcp_message(&stream[..end]) {
                Probe::More(n) => prop_assert!(end < n && n <= stream.len().max(14)),
                other => prop_assert!(false, "{:?} at {}", other, end),
            }
        }
        let length = stream.len();
        stream.extend([0, 40, 1]);
        prop_assert_eq!(tcp_message(&stream), Probe::Found(2..length));
    }

    #[test]
    fn other_octets_in_tcp_are_not_dns(stream in vec(any::<u8>(), 64..200)) {
        prop_assume!(stream[4..14] != [0; 10]);
        prop_assert!(!matches!(tcp_message(&stream), Probe::Found(_)));
    }
}
