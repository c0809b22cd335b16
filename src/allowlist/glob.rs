//! Sets of host names as the products write them, in one form.

use std::fmt::{self, Write as _};

use crate::catalog::NamePattern;

/// A set of host names: literal text with gaps.
///
/// Wider than [`NamePattern`], as products differ in what their `*` stands for. A gap is any text
/// within a label, one character within a label, or any text at all, dots included. Only
/// well-formed names count: labels that aren't empty, one dot between them. So the gap in `*.x`
/// has at least one character whatever the sort of gap.
///
/// Displays with `*` for text within a label, `?` for one character, `**` for any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    /// From the name's end to its start, since names are nested from there.
    symbols: Box<[u8]>,
}

/// Any text within a label.
pub(super) const LABEL: u8 = 0;
/// One character other than the dot.
pub(super) const ONE: u8 = 1;
/// Any text.
pub(super) const ANY: u8 = 2;

/// What a product's `*` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Star {
    /// Any text within a label.
    Label,
    /// Any text, dots included.
    Any,
}

impl Glob {
    /// One name, in lower case.
    pub fn exact(name: &str) -> Self {
        Self::with_stars(name, Star::Label)
    }

    /// All names.
    pub fn any() -> Self {
        Self { symbols: [ANY].into() }
    }

    /// All names that end in this text: `.x.y`, or `x.y`, which `ax.y` ends in as well.
    pub fn ending(text: &str) -> Self {
        Self::from_forward(std::iter::once(ANY).chain(text.bytes()))
    }

    /// Lower-case text with `*` for a sort of gap.
    pub fn with_stars(text: &str, star: Star) -> Self {
        let gap = match star {
            Star::Label => LABEL,
            Star::Any => ANY,
        };
        Self::from_forward(text.bytes().map(|b| if b == b'*' { gap } else { b }))
    }

    /// One or more labels, then lower-case text in which `*` is any text within a label.
    pub fn below_stars(zone: &str) -> Self {
        let rest = zone.bytes().map(|b| if b == b'*' { LABEL } else { b });
        Self::from_forward([ANY, b'.'].into_iter().chain(rest))
    }

    /// The same set as a catalog's pattern.
    pub fn of_pattern(pattern: &NamePattern) -> Vec<Self> {
        let text = pattern.as_str();
        if text == "*" {
            return vec![Self::any()];
        }
        if let Some(zone) = text.strip_prefix('.') {
            return vec![Self::of_labels(false, zone), Self::of_labels(true, zone)];
        }
        match text.strip_prefix("*.") {
            Some(zone) => vec![Self::of_labels(true, zone)],
            None => vec![Self::of_labels(false, text)],
        }
    }

    /// Open start, then labels in which `*` is any text and `{..}` at least one character.
    fn of_labels(open: bool, text: &str) -> Self {
        let mut symbols = if open { vec![ANY, b'.'] } else { Vec::new() };
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            match first {
                b'{' => {
                    symbols.extend([ONE, LABEL]);
                    rest = rest.split_once('}').map_or("", |(_, rest)| rest);
                }
                b'*' => {
                    symbols.push(LABEL);
                    rest = &rest[1..];
                }
                literal => {
                    symbols.push(literal);
                    rest = &rest[1..];
                }
            }
        }
        Self::from_forward(symbols)
    }

    fn from_forward(symbols: impl IntoIterator<Item = u8>) -> Self {
        let mut symbols: Vec<u8> = symbols.into_iter().collect();
        symbols.reverse();
        symbols.dedup_by(|a, b| a == b && matches!(*a, LABEL | ANY));
        Self { symbols: symbols.into() }
    }

    /// From the symbols in the name's order.
    #[cfg(test)]
    pub(super) fn from_symbols(symbols: impl IntoIterator<Item = u8>) -> Self {
        Self::from_forward(symbols)
    }

    /// True when it is one name.
    pub fn is_exact(&self) -> bool {
        self.symbols.iter().all(|&s| s > ANY)
    }

    /// True when it holds every name.
    pub fn is_any(&self) -> bool {
        *self.symbols == [ANY]
    }

    /// True when `name` (lower case, well-formed, without trailing dot) is in the set.
    pub fn matches(&self, name: &str) -> bool {
        let reversed: Vec<u8> = name.bytes().rev().collect();
        self.matches_reversed(&reversed)
    }

    /// The same for a name from its end to its start.
    pub(super) fn matches_reversed(&self, name: &[u8]) -> bool {
        let (tail, head) = (self.tail().len(), self.head().len());
        if tail == self.symbols.len() {
            return *self.symbols == *name;
        }
        let (literal, inner) = self.symbols.split_at(tail);
        let Some(name) = name.strip_prefix(literal) else { return false };
        let (inner, literal) = inner.split_at(inner.len() - head);
        let Some(name) = name.strip_suffix(literal) else { return false };
        match inner {
            [ANY] => true,
            [LABEL] => !name.contains(&b'.'),
            _ => walks(inner, name),
        }
    }

    /// Tells whether every name of `inner` is in the set, where that can be told at a glance.
    pub(super) fn holds(&self, inner: &Self) -> Option<bool> {
        /// In no pattern and no name.
        const STRANGE: u8 = b'~';
        if walks(&self.symbols, &inner.symbols) {
            return Some(true);
        }
        let one: Vec<u8> =
            inner.symbols.iter().map(|&s| if s <= ANY { STRANGE } else { s }).collect();
        (!self.matches_reversed(&one)).then_some(false)
    }

    /// The literal text, reversed, that every name of the set ends in.
    pub(super) fn tail(&self) -> &[u8] {
        let end = self.symbols.iter().position(|&s| s <= ANY).unwrap_or(self.symbols.len());
        &self.symbols[..end]
    }

    /// The literal text, reversed, that every name of the set begins with.
    pub(super) fn head(&self) -> &[u8] {
        let start = self.symbols.iter().rposition(|&s| s <= ANY).map_or(0, |last| last + 1);
        &self.symbols[start..]
    }

    /// From the end to the start.
    pub(super) fn symbols(&self) -> &[u8] {
        &self.symbols
    }

    /// The position behind the last symbol: all was matched.
    pub(super) fn end(&self) -> u16 {
        self.symbols.len() as u16
    }

    /// Adds a position and those that are reached from it by empty gaps.
    pub(super) fn open(&self, mut position: u16, to: &mut Vec<u16>) {
        to.push(position);
        while matches!(self.symbols.get(usize::from(position)), Some(&(LABEL | ANY))) {
            position += 1;
            to.push(position);
        }
    }

    /// Adds the positions that `byte` leads to.
    pub(super) fn step(&self, position: u16, byte: u8, to: &mut Vec<u16>) {
        match self.symbols.get(usize::from(position)) {
            Some(&ANY) => self.open(position, to),
            Some(&LABEL) if byte != b'.' => self.open(position, to),
            Some(&ONE) if byte != b'.' => self.open(position + 1, to),
            Some(&literal) if literal > ANY && literal == byte => self.open(position + 1, to),
            _ => {}
        }
    }
}

/// True when the symbols can stand for all of the text: the positions that may be reached are bits.
///
/// The text may have gaps of its own; then it is true when the symbols stand for the text whatever
/// its gaps are filled with.
fn walks(symbols: &[u8], text: &[u8]) -> bool {
    let words = symbols.len() / 64 + 1;
    let (mut at, mut next) = (vec![0_u64; words], vec![0_u64; words]);
    let open = |mut position: usize, to: &mut [u64]| {
        to[position / 64] |= 1 << (position % 64);
        while matches!(symbols.get(position), Some(&(LABEL | ANY))) {
            position += 1;
            to[position / 64] |= 1 << (position % 64);
        }
    };
    open(0, &mut at);
    for &byte in text {
        next.fill(0);
        for (word, &bits) in at.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let position = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                match symbols.get(position) {
                    Some(&ANY) => open(position, &mut next),
                    Some(&LABEL) if byte != b'.' && byte != ANY => open(position, &mut next),
                    Some(&ONE) if byte != b'.' && byte != ANY && byte != LABEL => {
                        open(position + 1, &mut next);
                    }
                    Some(&literal) if literal > ANY && literal == byte => {
                        open(position + 1, &mut next);
                    }
                    _ => {}
                }
            }
        }
        std::mem::swap(&mut at, &mut next);
    }
    at[symbols.len() / 64] >> (symbols.len() % 64) & 1 == 1
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &symbol in self.symbols.iter().rev() {
            match symbol {
                ANY => f.write_str("**")?,
                LABEL => f.write_char('*')?,
                ONE => f.write_char('?')?,
                literal => f.write_char(char::from(literal))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_differ() {
        let azure = Glob::with_stars("*contoso.com", Star::Any);
        for name in ["contoso.com", "notcontoso.com", "a.b.contoso.com"] {
            assert!(azure.matches(name), "{name}");
        }
        let below = Glob::with_stars("*.contoso.com", Star::Any);
        assert!(below.matches("a.b.contoso.com") && !below.matches("contoso.com"));
        let cilium = Glob::with_stars("*.contoso.com", Star::Label);
        assert!(cilium.matches("a.contoso.com") && !cilium.matches("a.b.contoso.com"));
        assert_eq!(
            (azure.to_string(), cilium.to_string()),
            ("**contoso.com".into(), "*.contoso.com".into())
        );
    }

    #[test]
    fn patterns_of_the_catalog_keep_their_meaning() {
        let names = ["y", "x.y", "a.x.y", "a.b.x.y", "ax.y", "md-1.y", "md-.y", "md.y", "a.b.y"];
        for text in [
            "x.y", "*.x.y", ".x.y", "*", "md-*.y", "a.*.y", "{p}.y", "md-{p}.y", "*.*.y", "*.{p}.y",
        ] {
            let pattern = NamePattern::parse(text).unwrap();
            let globs = Glob::of_pattern(&pattern);
            for name in names {
                let matched = globs.iter().any(|glob| glob.matches(name));
                assert_eq!(matched, pattern.matches(name), "{text} {name}");
            }
        }
    }
}
