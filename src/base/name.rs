use std::{borrow::Borrow, cmp::Ordering, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A host name in the one form that names are compared in: lower case, without the trailing dot.
///
/// Holds only bytes that a name in the field really uses (RFC 1123 section 2.1 plus `_`, which
/// service names need), in labels of 1 to 63 octets, 253 octets in all. Never an address literal.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
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
        // Whole blocks, for many octets at a time. What fills the last one is of host names, too.
        let mut text = [b'-'; MAX_LEN.next_multiple_of(BLOCK)];
        text[..raw.len()].copy_from_slice(raw);
        let blocks = &mut text.as_chunks_mut::<BLOCK>().0[..raw.len().div_ceil(BLOCK)];
        if !blocks.iter_mut().all(fold) {
            return None;
        }
        let text = std::str::from_utf8(blocks.as_flattened()).ok()?.get(..raw.len())?;
        let mut start = 0;
        for at in dots(blocks) {
            if !is_label_len(at - start) {
                return None;
            }
            start = at + 1;
        }
        let last = &text[start..];
        // One of digits only makes it an address or nothing (RFC 3696 section 2).
        let is_name = is_label_len(last.len()) && !last.bytes().all(|octet| octet.is_ascii_digit());
        is_name.then(|| Self(text.into()))
    }
}

/// Octets of a name, without the dot behind it.
const MAX_LEN: usize = 253;

const BLOCK: usize = 16;

/// Makes them lower case. False when a host name can't have one of them. Without branches, so that it
/// takes few instructions for all.
fn fold(block: &mut [u8; BLOCK]) -> bool {
    block.make_ascii_lowercase();
    block.iter().fold(true, |all, &octet| {
        let is_alphanumeric = octet.is_ascii_lowercase() | octet.is_ascii_digit();
        all & (is_alphanumeric | matches!(octet, b'-' | b'.') | (octet == b'_'))
    })
}

/// Where the dots are in octets of ASCII, a word at a time: the sum has no top bit where one is.
fn dots(blocks: &[[u8; BLOCK]]) -> impl Iterator<Item = usize> {
    let words = blocks.as_flattened().as_chunks::<8>().0.iter().zip((0..).step_by(8));
    words.flat_map(|(word, base)| {
        let others = u64::from_le_bytes(*word) ^ u64::from_le_bytes([b'.'; 8]);
        let mut found = !(others + u64::from_le_bytes([0x7f; 8])) & u64::from_le_bytes([0x80; 8]);
        std::iter::from_fn(move || {
            let at = (found != 0).then(|| base + found.trailing_zeros() as usize / 8)?;
            found &= found - 1;
            Some(at)
        })
    })
}

const fn is_label_len(len: usize) -> bool {
    matches!(len, 1..=63)
}

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

/// Mostly it is the very same text, which needn't be read.
impl Ord for HostName {
    fn cmp(&self, other: &Self) -> Ordering {
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for HostName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
