//! What is wrong in a catalog or profile file, where, and what to write instead.

use std::{fmt, ops::Range};

/// A mistake in a catalog or profile file. Displays as `FILE:LINE: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    file: String,
    line: usize,
    kind: Mistake,
    message: String,
}

/// The sort of mistake, for tools that report some of them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// No TOML, an unknown key, or a value of the wrong type.
    Syntax,
    /// A value that is well-formed TOML but makes no sense here.
    Value,
    /// A condition that names no known feature, or is malformed.
    Condition,
    /// A placeholder that is no parameter.
    Placeholder,
    /// Two values that can't both be true.
    Contradiction,
}

impl LoadError {
    /// 1-based line of the mistake.
    pub fn line(&self) -> usize {
        self.line
    }

    /// `FILE:LINE`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// The sort of mistake.
    pub fn kind(&self) -> Mistake {
        self.kind
    }

    /// What is wrong and what to do, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn from_toml(input: Input<'_>, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        // Some of the parser's messages have several lines; one is enough beside a line number.
        let message = error.message().split('\n').collect::<Vec<_>>().join(", ");
        input.error(&span, Mistake::Syntax, message)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for LoadError {}

/// Everything that is wrong in one file, in the order of its lines. Never empty.
///
/// Displays as one line for each mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadErrors(pub(super) Vec<LoadError>);

impl LoadErrors {
    /// The mistakes, in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = &LoadError> {
        self.0.iter()
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}

/// A file's text and the name to show for it.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Input<'_> {
    /// A mistake at a byte range of the text.
    pub(super) fn error(&self, span: &Range<usize>, kind: Mistake, message: String) -> LoadError {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        LoadError {
            file: self.file.to_owned(),
            line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
            kind,
            message,
        }
    }
}

/// The known word that `word` was probably meant to be; `None` when nothing is near.
pub(super) fn suggest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Longer words may have more typing mistakes; short ones are soon near to everything.
    let limit = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|k| k.len().abs_diff(word.len()) <= limit)
        .map(|k| (distance(word.as_bytes(), k.as_bytes()), k))
        .filter(|&(d, _)| d <= limit)
        .min_by_key(|&(d, _)| d)
        .map(|(_, k)| k)
}

/// `: did you mean X?` when something is near, else the list of what is known.
pub(super) fn alternatives<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> String {
    match suggest(word, known.clone()) {
        Some(near) => format!(": did you mean `{near}`?"),
        None => {
            let all: Vec<_> = known.into_iter().map(|k| format!("`{k}`")).collect();
            format!("; known are {}", all.join(", "))
        }
    }
}

/// Number of insertions, deletions, substitutions and swaps of neighbours between two words
/// (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["konnectivity", "gpu", "custom-dns"];
        assert_eq!(suggest("konectivity", known), Some("konnectivity"));
        assert_eq!(suggest("gup", known), Some("gpu"));
        assert_eq!(suggest("custom_dns", known), Some("custom-dns"));
        assert_eq!(suggest("windows", known), None);
    }

    #[test]
    fn counts_lines_from_one() {
        let input = Input { file: "x.toml", text: "a\nb\nc" };
        let at = |n| input.error(&(n..n), Mistake::Value, "bad".into());
        assert_eq!(at(0).to_string(), "x.toml:1: bad");
        assert_eq!(at(4).line(), 3);
        assert_eq!(at(99).line(), 1);
    }
}
