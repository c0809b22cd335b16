//! X.509 certificates (RFC 5280), read by x509-parser. This is the one file that names it.

use std::{borrow::Cow, fmt::Write};

use x509_parser::{
    der_parser::asn1_rs::{Any, Class, Oid, Tag},
    prelude::FromDer,
    x509::X509Name,
};

/// What a certificate chain tells of who issued it. No signature is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The leaf's issuer, in the form of RFC 4514; `None` without a leaf that can be read.
    pub issuer: Option<String>,
    /// A root comes behind the leaf.
    pub root_sent: bool,
}

/// Certificates of a chain that are looked at.
const MAX_CHAIN: usize = 16;

impl Chain {
    /// Reads a chain of certificates in DER, leaf first.
    pub(super) fn read(chain: &[&[u8]]) -> Self {
        let chain = &chain[..chain.len().min(MAX_CHAIN)];
        let issuer = chain.first().and_then(|leaf| issuer(leaf));
        let root_sent = chain.len() > 1 && chain.last().is_some_and(|der| is_root(der));
        Self { issuer, root_sent }
    }
}

fn issuer(der: &[u8]) -> Option<String> {
    let (_, name) = X509Name::from_der(names(der)?.issuer).ok()?;
    Some(rfc4514(&name))
}

/// True when subject and issuer are the same entity (RFC 5280 section 3.2).
fn is_root(der: &[u8]) -> bool {
    names(der).is_some_and(|names| names.subject == names.issuer)
}

/// Names of a certificate, in DER.
struct Names<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
}

/// Reads no more of a certificate than it takes to find its names (RFC 5280 section 4.1).
fn names(der: &[u8]) -> Option<Names<'_>> {
    let mut certificate = Fields(der);
    let mut certificate = Fields(certificate.sequence()?);
    let mut fields = Fields(certificate.sequence()?);
    // A version is tagged; without one, this is the serial number.
    if fields.next()?.0.class() == Class::ContextSpecific {
        fields.next()?;
    }
    fields.whole_sequence()?; // algorithm of the signature
    let issuer = fields.whole_sequence()?;
    fields.whole_sequence()?; // validity
    let subject = fields.whole_sequence()?;
    fields.whole_sequence()?; // public key
    Some(Names { issuer, subject })
}

/// What is left of a sequence.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next value, and it as it stands there.
    fn next(&mut self) -> Option<(Any<'a>, &'a [u8])> {
        let (rest, value) = Any::from_der(self.0).ok()?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some((value, whole))
    }

    /// The next value, which is a sequence.
    fn whole_sequence(&mut self) -> Option<&'a [u8]> {
        let (value, whole) = self.next()?;
        (value.tag() == Tag::Sequence).then_some(whole)
    }

    /// The content of the next value, which is a sequence.
    fn sequence(&mut self) -> Option<&'a [u8]> {
        let (value, _) = self.next()?;
        (value.tag() == Tag::Sequence).then_some(value.data)
    }
}

/// Where the text of a name is broken off; RFC 5280 appendix A.1 bounds most attributes to 64
/// characters.
const MAX_NAME: usize = 1024;

/// A distinguished name as text (RFC 4514 section 2): last RDN first.
fn rfc4514(name: &X509Name<'_>) -> String {
    let rdns: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (i, rdn) in rdns.iter().rev().enumerate() {
        text.push_str(if i == 0 { "" } else { "," });
        for (j, attribute) in rdn.iter().enumerate() {
            if text.len() > MAX_NAME {
                return text;
            }
            text.push_str(if j == 0 { "" } else { "+" });
            text.push_str(&attribute_name(attribute.attr_type()));
            text.push('=');
            push_value(&mut text, attribute.attr_value());
        }
    }
    text
}

fn attribute_name(oid: &Oid<'_>) -> Cow<'static, str> {
    match short_name(oid.as_bytes()) {
        Some(name) => name.into(),
        // Arcs of any size could be asked for, and printing them takes quadratic time.
        None if oid.as_bytes().len() > 32 => "?".into(),
        None => oid.to_id_string().into(),
    }
}

/// The registered short name of an attribute type in DER (RFC 4514 section 3, RFC 4519, RFC 2985).
fn short_name(oid: &[u8]) -> Option<&'static str> {
    Some(match oid {
        // 2.5.4
        [0x55, 4, attribute] => match attribute {
            3 => "CN",
            4 => "SN",
            5 => "serialNumber",
            6 => "C",
            7 => "L",
            8 => "ST",
            9 => "STREET",
            10 => "O",
            11 => "OU",
            12 => "title",
            15 => "businessCategory",
            17 => "postalCode",
            42 => "GN",
            97 => "organizationIdentifier",
            _ => return None,
        },
        // 0.9.2342.19200300.100.1
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01" => "UID",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19" => "DC",
        // 1.2.840.113549.1.9.1
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01" => "emailAddress",
        _ => return None,
    })
}

/// A value, escaped (RFC 4514 section 2.4); its content in hexadecimal when it isn't a string.
fn push_value(text: &mut String, value: &Any<'_>) {
    let Some(decoded) = decode(value) else {
        text.push('#');
        push_hex(text, "", &value.data[..value.data.len().min(MAX_NAME)]);
        return;
    };
    if decoded.len() <= MAX_NAME && is_plain(&decoded) {
        return text.push_str(&decoded);
    }
    let end = decoded.char_indices().nth(MAX_NAME).map_or(decoded.len(), |(end, _)| end);
    let decoded = &decoded[..end];
    let last = decoded.chars().count().saturating_sub(1);
    for (i, c) in decoded.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if i == 0 => text.push_str("\\#"),
            ' ' if i == 0 || i == last => text.push_str("\\ "),
            c if c.is_control() => push_hex(text, "\\", c.encode_utf8(&mut [0; 4]).as_bytes()),
            c => text.push(c),
        }
    }
}

/// True when nothing of it is to be escaped.
fn is_plain(text: &str) -> bool {
    let plain = |octet| matches!(octet, b' ' | b'-' | b'.' | b'\'') | octet.is_ascii_alphanumeric();
    let padded = text.starts_with(' ') || text.ends_with(' ');
    !padded && text.bytes().all(plain)
}

fn push_hex(text: &mut String, before: &str, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}{byte:02x}");
    }
}

/// The string types of DirectoryString (RFC 5280 section 4.1.2.4) and IA5String.
fn decode<'a>(value: &Any<'a>) -> Option<Cow<'a, str>> {
    let data = value.data;
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => Some(String::from_utf8_lossy(data)),
        Tag::T61String => Some(data.iter().map(|&b| char::from(b)).collect()),
        Tag::BmpString => {
            let units = data.chunks_exact(2).map(|u| u16::from_be_bytes([u[0], u[1]]));
            Some(char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::der_parser::asn1_rs::{Header, Length};

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = (content.len() as u32).to_be_bytes();
        [&[tag, 0x83, len[1], len[2], len[3]][..], content].concat()
    }

    fn value(tag: Tag, data: &[u8]) -> String {
        let len = Length::Definite(data.len());
        let any = Any::new(Header::new(Class::Universal, false, tag, len), data);
        let mut text = String::new();
        push_value(&mut text, &any);
        text
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(value(Tag::Utf8String, b" a,b\\\n# "), "\\ a\\,b\\\\\\0a#\\ ");
        assert_eq!(value(Tag::Utf8String, b"#1"), "\\#1");
        assert_eq!(value(Tag::BmpString, &[0, 0x41, 1, 0x42]), "A\u{142}");
        assert_eq!(value(Tag::T61String, &[0xe9]), "\u{e9}");
        assert_eq!(value(Tag::Integer, &[1, 0xff]), "#01ff");
        assert_eq!(value(Tag::Utf8String, &[b'x'; 9000]).len(), MAX_NAME);
    }

    #[test]
    fn a_huge_attribute_type_costs_nothing() {
        let mut oid = vec![0x2a];
        oid.resize(60_000, 0xff);
        oid.push(1);
        let attribute = tlv(0x30, &[tlv(6, &oid), tlv(12, b"x")].concat());
        let name = tlv(0x30, &tlv(0x31, &attribute));
        let (_, name) = X509Name::from_der(&name).unwrap();
        assert_eq!(rfc4514(&name), "?=x");
    }

    /// A certificate up to its key, with a name for issuer and one for subject.
    fn certificate(version: &[u8], issuer: &[u8], subject: &[u8]) -> Vec<u8> {
        let (serial, other) = (tlv(2, &[7]), tlv(0x30, &[]));
        let fields = [version, &serial, &other, issuer, &other, subject, &other].concat();
        tlv(0x30, &tlv(0x30, &fields))
    }

    fn name(types: &[&[u8]]) -> Vec<u8> {
        let rdn = |oid: &&[u8]| tlv(0x31, &tlv(0x30, &[tlv(6, oid), tlv(12, b"x")].concat()));
        tlv(0x30, &types.iter().flat_map(rdn).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_found_with_and_without_a_version() {
        let (root, leaf) = (name(&[&[0x55, 4, 3]]), name(&[&[0x55, 4, 10]]));
        for version in [&tlv(0xa0, &tlv(2, &[2]))[..], &[]] {
            let signed = certificate(version, &root, &leaf);
            let itself = certificate(version, &root, &root);
            let chain = Chain::read(&[&signed, &itself]);
            assert_eq!(chain, Chain { issuer: Some("CN=x".into()), root_sent: true });
            assert!(!Chain::read(&[&itself, &signed]).root_sent);
            for len in 0..signed.len() {
                let cut = Chain::read(&[&signed[..len], &itself[..len]]);
                assert_eq!(cut, Chain { issuer: None, root_sent: false });
            }
        }
    }

    #[test]
    fn what_has_no_names_is_no_certificate() {
        let (null, name) = (tlv(5, &[]), name(&[&[0x55, 4, 3]]));
        let nulls = certificate(&[], &null, &null);
        let chain = Chain::read(&[&certificate(&[], &name, &null), &nulls]);
        assert_eq!(chain, Chain { issuer: None, root_sent: false });
    }

    #[test]
    fn attribute_types_have_their_registered_names() {
        let types: [&[u8]; 6] = [
            &[0x55, 4, 97],
            &[0x55, 4, 99],
            &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
            &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
            &[0x2a, 3],
        ];
        let name = certificate(&[], &name(&types), &name(&[]));
        let text = "1.2.3=x,emailAddress=x,DC=x,UID=x,2.5.4.99=x,organizationIdentifier=x";
        assert_eq!(Chain::read(&[&name]).issuer.as_deref(), Some(text));
        for (dotted, known) in
            [("0.9.2342.19200300.100.1.25", types[3]), ("1.2.840.113549.1.9.1", types[4])]
        {
            assert_eq!(Oid::new(known.into()).to_id_string(), dotted);
        }
    }
}
