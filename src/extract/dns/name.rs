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
    /// With where their labels begin.
    recent: [Option<(usize, Name)>; 4],
    oldest: usize,
    /// The last name read off the wire and where its labels begin, for pointers to it.
    last: Option<(usize, Name)>,
}

/// ASCII under construction.
struct Text {
    octets: [u8; MAX_TEXT],
    len: usize,
}

/// Room for a name of 255 octets (RFC 1035 section 3.1), each of them escaped.
const MAX_TEXT: usize = 1024;

impl Names {
    pub(super) fn new() -> Self {
        Self {
            text: Text { octets: [0; MAX_TEXT], len: 0 },
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
        let start = target.unwrap_or(at);
        self.text.len = 0;
        let mut labels = Labels::new(message, at);
        while let Some(label) = labels.next()? {
            if self.text.len > 0 {
                self.text.push(b'.');
            }
            self.text.push_label(label);
        }
        let name = self.intern(start);
        self.last = Some((start, name.clone()));
        Ok((name, labels.end().ok_or(Malformed::Cut)?))
    }

    /// The name at `at`, whose labels hold only octets of host names, from its text in any case.
    pub(super) fn of_host_text(
        &mut self,
        message: &[u8],
        at: usize,
        text: impl fmt::Display,
    ) -> Name {
        use fmt::Write;
        let start = pointer_at(message, at).unwrap_or(at);
        if let Some((_, name)) = self.recent.iter().flatten().find(|(known, _)| *known == start) {
            return name.clone();
        }
        self.text.len = 0;
        // There is room for every name.
        let _ = write!(self.text, "{text}");
        self.text.octets[..self.text.len].make_ascii_lowercase();
        // Labels and then a pointer to a root come with a dot behind them.
        if self.text.as_bytes().ends_with(b".") {
            self.text.len -= 1;
        }
        self.intern(start)
    }

    fn intern(&mut self, start: usize) -> Name {
        if self.text.len == 0 {
            self.text.push(b'.');
        }
        let text = self.text.as_bytes();
        let known = |(_, name): &&(usize, Name)| name.as_str().as_bytes() == text;
        if let Some((_, name)) = self.recent.iter().flatten().find(known) {
            return name.clone();
        }
        let name = Name::from_ascii(text);
        self.recent[self.oldest] = Some((start, name.clone()));
        self.oldest = (self.oldest + 1) % self.recent.len();
        name
    }
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    fn push(&mut self, octet: u8) {
        if let Some(to) = self.octets.get_mut(self.len) {
            *to = octet;
            self.len += 1;
        }
    }

    /// Nothing that it has no room for.
    fn extend(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        if let Some(to) = self.octets.get_mut(self.len..end) {
            to.copy_from_slice(octets);
            self.len = end;
        }
    }

    fn push_label(&mut self, label: &[u8]) {
        if is_host_label(label) {
            let start = self.len;
            self.extend(label);
            self.octets[start..self.len].make_ascii_lowercase();
            return;
        }
        for &octet in label {
            match octet {
                b'.' => self.extend(b"\\."),
                _ => push_octet(octet.to_ascii_lowercase(), |text| self.extend(text)),
            }
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }

    /// The dots.
    fn write_char(&mut self, c: char) -> fmt::Result {
        self.push(u8::try_from(c).map_err(|_| fmt::Error)?);
        Ok(())
    }
}

/// True when all octets are ones that [`HostName`] allows.
pub(super) fn is_host_label(label: &[u8]) -> bool {
    label.iter().all(|&octet| HOST_OCTETS[usize::from(octet)])
}

/// Those of letters, digits, hyphen and underscore.
const HOST_OCTETS: [bool; 256] = {
    let mut octets = [false; 256];
    let mut octet = 0;
    while octet < octets.len() {
        octets[octet] = (octet as u8).is_ascii_alphanumeric() || matches!(octet as u8, b'-' | b'_');
        octet += 1;
    }
    octets
};

/// Writes an octet of a character string: itself, or escaped when it isn't printable.
pub(super) fn push_octet(octet: u8, mut push: impl FnMut(&[u8])) {
    match octet {
        b'\\' => push(b"\\\\"),
        0x21..=0x7e => push(&[octet]),
        _ => {
            let digits = [octet / 100, octet / 10 % 10, octet % 10];
            push(b"\\");
            push(&digits.map(|digit| b'0' + digit));
        }
    }
}
