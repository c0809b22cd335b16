use std::fmt;

use serde::{Serialize, Serializer};

/// A protocol version as it is on the wire: `0x0303` is TLS 1.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version(pub u16);

impl Version {
    /// SSL 3.0 (RFC 6101).
    pub const SSL3: Self = Self(0x0300);
    /// TLS 1.2 (RFC 5246).
    pub const TLS12: Self = Self(0x0303);
    /// TLS 1.3 (RFC 8446).
    pub const TLS13: Self = Self(0x0304);

    /// The newest of those in a supported_versions list; reserved values (RFC 8701) don't count.
    pub(super) fn newest(list: impl Iterator<Item = u16>) -> Option<Self> {
        list.filter(|v| matches!(v >> 8, 0x03 | 0x7f)).map(Self).max_by_key(|v| v.rank())
    }

    /// True for TLS 1.3, its drafts, and whatever comes after it.
    pub fn is_13(self) -> bool {
        self.rank() > Self::TLS12.rank()
    }

    /// Orders by age: the drafts of TLS 1.3 (0x7fNN) stand between TLS 1.2 and TLS 1.3.
    fn rank(self) -> (u16, u16) {
        match self.0 >> 8 {
            0x7f => (Self::TLS12.0, self.0),
            _ => (self.0, 0),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x0002 => f.write_str("SSL 2.0"),
            0x0300 => f.write_str("SSL 3.0"),
            0x0301..=0x0304 => write!(f, "TLS 1.{}", self.0 - 0x0301),
            0x7f00..=0x7fff => write!(f, "TLS 1.3 draft {}", self.0 & 0xff),
            other => write!(f, "{other:#06x}"),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_ignores_grease_and_puts_drafts_before_the_rfc() {
        let newest = |list: &[u16]| Version::newest(list.iter().copied());
        assert_eq!(newest(&[0xfafa, 0x0303, 0x0304]), Some(Version::TLS13));
        assert_eq!(newest(&[0x7f1c, 0x0304]), Some(Version::TLS13));
        assert_eq!(newest(&[0x0303, 0x7f1c]), Some(Version(0x7f1c)));
        assert_eq!(newest(&[0x0a0a]), None);
        assert_eq!(Version(0x7f1c).to_string(), "TLS 1.3 draft 28");
        assert!(Version(0x7f1c).is_13() && !Version::TLS12.is_13());
    }
}
