use std::fmt;

use super::protection::Salt;

/// A version whose Initial packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::extract) struct Version(u32);

/// What a long header announces (RFC 9000 section 17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::extract) enum Kind {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
}

/// HKDF labels (RFC 9001 section 5.1, RFC 9369 section 3.3.2), as HKDF-Expand takes them: length of
/// the output, label, empty context (HkdfLabel, RFC 8446 section 7.1), and number of its only round
/// (RFC 5869 section 2.3).
#[derive(Debug)]
pub(super) struct Labels {
    pub(super) key: &'static [u8],
    pub(super) iv: &'static [u8],
    pub(super) hp: &'static [u8],
}

const V1: u32 = 1;
const V2: u32 = 0x6b33_43cf;

/// Google's, with TLS: "T050" and "T051".
const T050: u32 = 0x5430_3530;
const T051: u32 = 0x5430_3531;

const LABELS_V1: Labels = Labels {
    key: b"\0\x10\x0etls13 quic key\0\x01",
    iv: b"\0\x0c\x0dtls13 quic iv\0\x01",
    hp: b"\0\x10\x0dtls13 quic hp\0\x01",
};
const LABELS_V2: Labels = Labels {
    key: b"\0\x10\x10tls13 quicv2 key\0\x01",
    iv: b"\0\x0c\x0ftls13 quicv2 iv\0\x01",
    hp: b"\0\x10\x0ftls13 quicv2 hp\0\x01",
};

/// Initial salts: RFC 9001 and RFC 9369 section 3.3.1, drafts of RFC 9001 section 5.2, and those of
/// Google's T050 and T051.
static SALT_V1: Salt =
    Salt::new(b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a");
static SALT_V2: Salt =
    Salt::new(b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9");
static SALT_29: Salt =
    Salt::new(b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99");
static SALT_23: Salt =
    Salt::new(b"\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02");
static SALT_22: Salt =
    Salt::new(b"\x7f\xbc\xdb\x0e\x7c\x66\xbb\xe9\x19\x3a\x96\xcd\x21\x51\x9e\xbd\x7a\x02\x64\x4a");
static SALT_T050: Salt =
    Salt::new(b"\x7f\xf5\x79\xe5\xac\xd0\x72\x91\x55\x80\x30\x4c\x43\xa2\x36\x7c\x60\x48\x83\x10");
static SALT_T051: Salt =
    Salt::new(b"\x7a\x4e\xde\xf4\xe7\xcc\xee\x5f\xa4\x50\x6c\x19\x12\x4f\xc8\xcc\xda\x6e\x03\x3d");

impl Version {
    /// `None` for versions that are unknown, reserved for greasing, or a Version Negotiation.
    pub(super) fn known(number: u32) -> Option<Self> {
        let version = Self(number);
        version.salt().map(|_| version)
    }

    pub(super) fn salt(self) -> Option<&'static Salt> {
        Some(match self.0 {
            V1 => &SALT_V1,
            V2 => &SALT_V2,
            // Drafts of RFC 9000.
            0xff00_0021..=0xff00_0022 => &SALT_V1,
            0xff00_001d..=0xff00_0020 => &SALT_29,
            0xff00_0017..=0xff00_001c => &SALT_23,
            0xff00_0016 => &SALT_22,
            // Facebook's mvfst, made from drafts and from version 1.
            0xface_b001 => &SALT_22,
            0xface_b002 | 0xface_b00e | 0xface_b010..=0xface_b013 => &SALT_23,
            0xface_b003 => &SALT_V1,
            T050 => &SALT_T050,
            T051 => &SALT_T051,
            _ => return None,
        })
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(super) fn labels(self) -> &'static Labels {
        if self.0 == V2 { &LABELS_V2 } else { &LABELS_V1 }
    }

    /// The type in a long header's first byte. Version 2 counts from another one (RFC 9369 section
    /// 3.2).
    pub(super) fn kind(self, first: u8) -> Kind {
        const KINDS: [Kind; 4] = [Kind::Initial, Kind::ZeroRtt, Kind::Handshake, Kind::Retry];
        let bits = usize::from(first >> 4);
        KINDS[if self.0 == V2 { bits.wrapping_sub(1) & 3 } else { bits & 3 }]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            V1 => f.write_str("v1"),
            V2 => f.write_str("v2"),
            draft @ 0xff00_0000..=0xff00_00ff => write!(f, "draft-{}", draft & 0xff),
            T050 => f.write_str("T050"),
            T051 => f.write_str("T051"),
            other => write!(f, "{other:#010x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_can_be_read_have_names() {
        let name = |number| Version::known(number).map(|version| version.to_string());
        assert_eq!(name(1).as_deref(), Some("v1"));
        assert_eq!(name(0x6b33_43cf).as_deref(), Some("v2"));
        assert_eq!(name(0xff00_001d).as_deref(), Some("draft-29"));
        assert_eq!(name(0xface_b002).as_deref(), Some("0xfaceb002"));
        for number in [0, 0x1a2a_3a4a, 0xff00_0015, 0xff00_0023, u32::MAX] {
            assert_eq!(name(number), None);
        }
    }

    #[test]
    fn version_2_numbers_its_types_differently() {
        use Kind::*;
        let kinds = |number| {
            let version = Version::known(number).unwrap();
            [0xc0, 0xd0, 0xe0, 0xf0].map(|first| version.kind(first))
        };
        assert_eq!(kinds(V1), [Initial, ZeroRtt, Handshake, Retry]);
        assert_eq!(kinds(V2), [Retry, Initial, ZeroRtt, Handshake]);
    }
}
