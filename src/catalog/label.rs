//! One label of a name pattern: literal text and gaps.
//!
//! Between literals stand gaps, each of "so many characters or more". As no gap has an upper
//! bound, matching each literal as far left as it goes is enough: nothing here backtracks.

/// One label of a pattern. `*` is a gap of any length, `{name}` one of at least one character;
/// `*` as the whole label is any label, which has at least one character.
#[derive(Clone, Copy)]
pub(super) struct Label<'a> {
    /// Literal text before the first gap.
    pub(super) prefix: &'a str,
    /// Everything from the first gap on.
    tail: &'a str,
}

/// A gap and the literal text that follows it.
pub(super) struct Gap<'a> {
    /// Least number of characters in the gap.
    pub(super) min: usize,
    /// Literal text up to the next gap or the label's end.
    pub(super) literal: &'a str,
}

/// True for the bytes that begin a gap.
fn opens_gap(byte: u8) -> bool {
    matches!(byte, b'*' | b'{')
}

impl<'a> Label<'a> {
    /// Takes one label of a well-formed pattern.
    pub(super) fn new(text: &'a str) -> Self {
        // Any label is the same as an unnamed placeholder.
        let text = if text == "*" { "{}" } else { text };
        let (prefix, tail) = split_literal(text);
        Self { prefix, tail }
    }

    /// True when the label has no gap.
    pub(super) fn is_literal(self) -> bool {
        self.tail.is_empty()
    }

    /// The gaps from left to right.
    pub(super) fn gaps(self) -> Gaps<'a> {
        Gaps(self.tail)
    }

    /// Literal text after the last gap; the whole label when it has none.
    pub(super) fn suffix(self) -> &'a str {
        let end = self.tail.bytes().rposition(|b| matches!(b, b'*' | b'}'));
        end.map_or(self.prefix, |end| &self.tail[end + 1..])
    }

    /// True when the label's text (no gap signs in it) is one that this pattern stands for.
    pub(super) fn matches(self, text: &[u8]) -> bool {
        self.covers(text)
    }

    /// True when every label that `other` stands for is one that `self` stands for.
    ///
    /// Exact as long as some character isn't in `self`'s literals, which holds since DNS labels
    /// are any octets (RFC 2181 section 11). Read `other` as characters, `?` for each that a gap
    /// must have, and `*` for the open rest of a gap. An adversary who fills `other`'s gaps knows
    /// where the leftmost match of `self` stands: while it counts a gap's least characters, they
    /// leave `*` empty, and while it looks for a literal, they put that strange character there.
    /// So `self` covers all fillings only if it covers the symbols themselves.
    pub(super) fn contains(self, other: Label<'_>) -> bool {
        let mut symbols = other.prefix.as_bytes().to_vec();
        for gap in other.gaps() {
            symbols.extend(std::iter::repeat_n(b'?', gap.min));
            symbols.push(b'*');
            symbols.extend_from_slice(gap.literal.as_bytes());
        }
        self.covers(&symbols)
    }

    /// True when some label is one that both stand for.
    pub(super) fn intersects(self, other: Label<'_>) -> bool {
        match (self.is_literal(), other.is_literal()) {
            (true, _) => other.matches(self.prefix.as_bytes()),
            (_, true) => self.matches(other.prefix.as_bytes()),
            // Both have a gap: write the longer prefix, then all that each wants in between, then
            // the longer suffix. The gaps take whatever isn't theirs.
            (false, false) => {
                let (a, b) = (self.prefix, other.prefix);
                let (y, z) = (self.suffix(), other.suffix());
                (a.starts_with(b) || b.starts_with(a)) && (y.ends_with(z) || z.ends_with(y))
            }
        }
    }

    /// The leftmost match, over characters, `?` (some character) and `*` (perhaps nothing).
    fn covers(self, symbols: &[u8]) -> bool {
        let Some(mut rest) = symbols.strip_prefix(self.prefix.as_bytes()) else {
            return false;
        };
        let mut gaps = self.gaps();
        let Some(mut gap) = gaps.next() else {
            return rest.is_empty();
        };
        for following in gaps {
            let Some(found) = skip(rest, gap.min).and_then(|r| after(r, gap.literal)) else {
                return false;
            };
            (rest, gap) = (found, following);
        }
        rest.strip_suffix(gap.literal.as_bytes()).is_some_and(|rest| skip(rest, gap.min).is_some())
    }
}

/// Iterator over a label's gaps.
pub(super) struct Gaps<'a>(&'a str);

impl<'a> Iterator for Gaps<'a> {
    type Item = Gap<'a>;

    fn next(&mut self) -> Option<Gap<'a>> {
        let mut rest = self.0;
        let mut min = 0;
        // Gaps side by side are one gap.
        loop {
            rest = match rest.as_bytes().first() {
                Some(b'*') => &rest[1..],
                Some(b'{') => {
                    min += 1;
                    rest.split_once('}').map_or("", |(_, rest)| rest)
                }
                _ => break,
            };
        }
        if rest.len() == self.0.len() {
            return None;
        }
        let (literal, rest) = split_literal(rest);
        self.0 = rest;
        Some(Gap { min, literal })
    }
}

/// Splits at the first gap.
fn split_literal(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(opens_gap).unwrap_or(text.len()))
}

/// What follows the first `count` sure characters; `None` when there are fewer.
fn skip(symbols: &[u8], count: usize) -> Option<&[u8]> {
    if count == 0 {
        return Some(symbols);
    }
    let sure = |&(_, &symbol): &(usize, &u8)| symbol != b'*';
    let (last, _) = symbols.iter().enumerate().filter(sure).nth(count - 1)?;
    Some(&symbols[last + 1..])
}

/// What follows the first occurrence of `literal`, which isn't empty.
fn after<'s>(symbols: &'s [u8], literal: &str) -> Option<&'s [u8]> {
    let at = symbols.windows(literal.len()).position(|window| window == literal.as_bytes())?;
    Some(&symbols[at + literal.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All texts of 1 to `longest` of these characters.
    fn texts(alphabet: &[&str], longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..longest {
            let to = all.len();
            for i in from..to {
                for letter in alphabet {
                    all.push(format!("{}{letter}", all[i]));
                }
            }
            from = to;
        }
        all.remove(0);
        all
    }

    /// Says the same as `covers`, by trying every split.
    fn naive(pattern: &[&str], text: &str) -> bool {
        let Some((first, rest)) = pattern.split_first() else {
            return text.is_empty();
        };
        let from = match *first {
            "*" => 0,
            "{p}" => 1,
            literal => return text.strip_prefix(literal).is_some_and(|t| naive(rest, t)),
        };
        (from..=text.len()).any(|n| naive(rest, &text[n..]))
    }

    #[test]
    fn is_exact_for_all_small_patterns() {
        let tokens = ["a", "b", "*", "{p}"];
        let words = texts(&["a", "b", "c"], 6);
        let patterns: Vec<String> =
            texts(&tokens, 4).into_iter().filter(|p| !p.contains("**")).collect();
        let languages: Vec<Vec<bool>> = patterns
            .iter()
            .map(|pattern| {
                let parts: Vec<&str> = pattern.split_inclusive(['a', 'b', '*', '}']).collect();
                words
                    .iter()
                    .map(|word| {
                        let matched = Label::new(pattern).matches(word.as_bytes());
                        assert_eq!(matched, naive(&parts, word), "{pattern} {word}");
                        matched
                    })
                    .collect()
            })
            .collect();
        for (p, in_p) in patterns.iter().zip(&languages) {
            for (q, in_q) in patterns.iter().zip(&languages) {
                let (lp, lq) = (Label::new(p), Label::new(q));
                let subset = in_q.iter().zip(in_p).all(|(q, p)| !q || *p);
                assert_eq!(lp.contains(lq), subset, "{p} contains {q}");
                let common = in_q.iter().zip(in_p).any(|(q, p)| *q && *p);
                assert_eq!(lp.intersects(lq), common, "{p} intersects {q}");
            }
        }
    }

    #[test]
    fn gaps_and_suffix() {
        let label = Label::new("a*{x}b{y}");
        assert_eq!((label.prefix, label.suffix()), ("a", ""));
        let gaps: Vec<_> = label.gaps().map(|g| (g.min, g.literal)).collect();
        assert_eq!(gaps, [(1, "b"), (1, "")]);
        assert_eq!(Label::new("md-*-z").suffix(), "-z");
        assert!(Label::new("abc").is_literal() && !Label::new("*").matches(b""));
    }
}
