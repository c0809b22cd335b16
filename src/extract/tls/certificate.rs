//! X.509 certificates (RFC 5280), read by x509-parser. This is the one file that names it.

use std::{borrow::Cow, fmt::Write};

use x509_parser::{
    certificate::{X509Certificate, X509CertificateParser},
    der_parser::asn1_rs::{Any, Oid, Tag},
    nom::Parser,
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
        let issuer = chain.first().and_then(|leaf| parse(leaf)).map(|leaf| rfc4514(leaf.issuer()));
        let root_sent = chain.len() > 1 && chain.last().is_some_and(|der| is_root(der));
        Self { issuer, root_sent }
    }
}

/// True when subject and issuer are the same entity (RFC 5280 section 3.2).
fn is_root(der: &[u8]) -> bool {
    parse(der).is_some_and(|one| one.subject().as_raw() == one.issuer().as_raw())
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    // No extension matters, and a bad one mustn't cost time or the rest.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    parser.parse(der).ok().map(|(_, certificate)| certificate)
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
    // Arcs of any size could be asked for, and printing them takes quadratic time.
    if oid.as_bytes().len() > 32 {
        return "?".into();
    }
    let dotted = oid.to_id_string();
    short_name(&dotted).map_or(dotted.into(), Cow::Borrowed)
}

/// The registered short name of an attribute type (RFC 4514 section 3, RFC 4519, RFC 2985).
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.42" => "GN",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// A value, escaped (RFC 4514 section 2.4); its content in hexadecimal when it isn't a string.
fn push_value(text: &mut String, value: &Any<'_>) {
    let Some(mut decoded) = decode(value) else {
        text.push('#');
        push_hex(text, "", &value.data[..value.data.len().min(MAX_NAME)]);
        return;
    };
    if let Some((end, _)) = decoded.char_indices().nth(MAX_NAME) {
        decoded.truncate(end);
    }
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

fn push_hex(text: &mut String, before: &str, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}{byte:02x}");
    }
}

/// The string types of DirectoryString (RFC 5280 section 4.1.2.4) and IA5String.
fn decode(value: &Any<'_>) -> Option<String> {
    let data = value.data;
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => Some(String::from_utf8_lossy(data).into_owned()),
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
    use x509_parser::{
        der_parser::asn1_rs::{Class, Header, Length},
        prelude::FromDer,
    };

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
}
