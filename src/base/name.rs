use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A host name in the one form that names are compared in: lower case, without the trailing dot.
///
/// Holds only bytes that a name in the field really uses (RFC 1123 section 2.1 plus `_`, which
/// service names need), in labels of 1 to 63 octets, 253 octets in all. Never an address literal.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Reads a name as it came off the wire or out of a file.
    ///
    /// `None` when it isn't a host name: empty, too long, an empty label, a byte outside letters,
    /// digits, `-` and `_`, or something that reads as an IPv4 address.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let raw = raw.strip_suffix(b".").unwrap_or(raw);
        if raw.len() > MAX_LEN {
            return None;
        }
        let mut text = [0; MAX_LEN];
        let text = &mut text[..raw.len()];
        // Where the label begins, and whether digits are all that it has. A last label of digits only
        // makes it an address or nothing (RFC 3696 section 2).
        let (mut start, mut numeric) = (0, true);
        for (at, (to, &octet)) in text.iter_mut().zip(raw).enumerate() {
            *to = FOLDED[usize::from(octet)];
            match *to {
                b'0'..=b'9' => {}
                0 => return None,
                b'.' => {
                    if !is_label_len(at - start) {
                        return None;
                    }
                    (start, numeric) = (at + 1, true);
                }
                _ => numeric = false,
            }
        }
        if numeric || !is_label_len(text.len() - start) {
            return None;
        }
        Some(Self(std::str::from_utf8(text).ok()?.into()))
    }
}

/// Octets of a name, without the dot behind it.
const MAX_LEN: usize = 253;

const fn is_label_len(len: usize) -> bool {
    matches!(len, 1..=63)
}

/// Each octet in lower case; 0 for those that no host name has.
const FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut octet = 0;
    while octet < folded.len() {
        if matches!(octet as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.') {
            folded[octet] = (octet as u8).to_ascii_lowercase();
        }
        octet += 1;
    }
    folded
};

impl Deref for HostName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.as_bytes())
            .ok_or_else(|| D::Error::custom(format!("`{text}` is no host name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_case_and_the_root_dot() {
        assert_eq!(&*HostName::parse(b"MCR.Microsoft.com.").unwrap(), "mcr.microsoft.com");
        assert_eq!(&*HostName::parse(b"_sip._tcp.example").unwrap(), "_sip._tcp.example");
    }

    #[test]
    fn refuses_what_is_no_host_name() {
        for bad in [
            "",
            ".",
            "a..b",
            "a..",
            ".a",
            "10.0.0.1",
            "a.1",
            "a b.c",
            "a\0.c",
            "evil.com\n",
            "[::1]",
            "::1",
        ] {
            assert!(HostName::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
        assert!(HostName::parse("bücher.example".as_bytes()).is_none());
        assert!(HostName::parse(&[b'a'; 63]).is_some());
        assert!(HostName::parse(&[b'a'; 64]).is_none());
        assert!(HostName::parse("a.".repeat(127).as_bytes()).is_some());
        assert!(HostName::parse("a.".repeat(128).as_bytes()).is_none());
    }
}
