use std::{cmp::Ordering, fmt, hash, sync::Arc};

use serde::{Serialize, Serializer};

use super::{
    Malformed,
    wire::{Labels, pointer_at},
};
use crate::base::HostName;

/// A domain name as text: lower case, without the trailing dot; the root is `.`.
///
/// DNS allows any octet in a label. A dot or backslash inside a label is written `\.` or `\\`, and
/// an octet outside 0x21 to 0x7e as `\DDD` in decimal (RFC 1035 section 5.1, RFC 4343 section 2.1).
/// So two names have the same text only when they are the same name, and no text holds a control
/// character. Cheap to clone.
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Host(HostName),
    Other(Arc<str>),
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Host(name) => name,
            Repr::Other(text) => text,
        }
    }

    /// The name as a host name; `None` for the root, a name that reads as an address, and one with
    /// an octet that host names don't have.
    pub fn host_name(&self) -> Option<&HostName> {
        match &self.0 {
            Repr::Host(name) => Some(name),
            Repr::Other(_) => None,
        }
    }

    fn from_ascii(text: &[u8]) -> Self {
        Self(match HostName::parse(text) {
            Some(name) => Repr::Host(name),
            None => Repr::Other(String::from_utf8_lossy(text).into()),
        })
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl hash::Hash for Name {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Makes the names of one message. Names repeat (an owner is the question, or the alias before
/// it), so one like a recent one shares its text.
pub(super) struct Names {
    text: Text,
    recent: [Option<Name>; 4],
    oldest: usize,
    /// The last name read off the wire and where its labels begin, for pointers to it.
    last: Option<(usize, Name)>,
}

/// ASCII under construction.
struct Text(Vec<u8>);

impl Names {
    pub(super) fn new() -> Self {
        Self {
            text: Text(Vec::with_capacity(256)),
            recent: [const { None }; 4],
            oldest: 0,
            last: None,
        }
    }

    /// The name at `at`, as [`Labels::new`] takes it, and where it ends in place.
    pub(super) fn read(&mut self, message: &[u8], at: usize) -> Result<(Name, usize), Malformed> {
        let target = pointer_at(message, at);
        if let (Some(target), Some((start, name))) = (target, &self.last)
            && target == *start
        {
            return Ok((name.clone(), at + 2));
        }
        self.text.0.clear();
        let mut labels = Labels::new(message, at);
        while let Some(label) = labels.next()? {
            if !self.text.0.is_empty() {
                self.text.0.push(b'.');
            }
            self.text.push_label(label);
        }
        let name = self.intern();
        self.last = Some((target.unwrap_or(at), name.clone()));
        Ok((name, labels.end().ok_or(Malformed::Cut)?))
    }

    /// A name whose labels hold only octets of host names, from its text in any case.
    pub(super) fn of_host_text(&mut self, text: impl fmt::Display) -> Name {
        use fmt::Write;
        self.text.0.clear();
        // Writing to memory can't fail.
        let _ = write!(self.text, "{text}");
        self.text.0.make_ascii_lowercase();
        // Labels and then a pointer to a root come with a dot behind them.
        if self.text.0.ends_with(b".") {
            self.text.0.pop();
        }
        self.intern()
    }

    fn intern(&mut self) -> Name {
        if self.text.0.is_empty() {
            self.text.0.push(b'.');
        }
        let text = &self.text.0[..];
        let known = |name: &&Name| name.as_str().as_bytes() == text;
        if let Some(name) = self.recent.iter().flatten().find(known) {
            return name.clone();
        }
        let name = Name::from_ascii(text);
        self.recent[self.oldest] = Some(name.clone());
        self.oldest = (self.oldest + 1) % self.recent.len();
        name
    }
}

impl Text {
    fn push_label(&mut self, label: &[u8]) {
        if is_host_label(label) {
            self.0.extend(label.iter().map(u8::to_ascii_lowercase));
            return;
        }
        for &octet in label {
            match octet {
                b'.' => self.0.extend(b"\\."),
                _ => push_octet(&mut self.0, octet.to_ascii_lowercase()),
            }
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// True when all octets are ones that [`HostName`] allows.
pub(super) fn is_host_label(label: &[u8]) -> bool {
    label.iter().all(|&octet| is_host_octet(octet))
}

fn is_host_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// Writes an octet of a character string: itself, or escaped when it isn't printable.
pub(super) fn push_octet(text: &mut Vec<u8>, octet: u8) {
    match octet {
        b'\\' => text.extend(b"\\\\"),
        0x21..=0x7e => text.push(octet),
        _ => {
            let digits = [octet / 100, octet / 10 % 10, octet % 10];
            text.push(b'\\');
            text.extend(digits.map(|digit| b'0' + digit));
        }
    }
}
