//! From what people write in lists of destinations to a pattern's canonical text, or an error that
//! says what to write.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use super::punycode;

/// A text that is no name pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    text: String,
    problem: PatternProblem,
    instead: Option<String>,
}

/// What is wrong with the text of a name pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternProblem {
    /// Nothing there.
    #[error("empty; a host name is needed")]
    Empty,
    /// White space before, in or after the name.
    #[error("has a space")]
    Space,
    /// A quotation mark of any kind.
    #[error("has a quotation mark")]
    Quote,
    /// A URL scheme.
    #[error("has a scheme; only the host name counts")]
    Scheme,
    /// A path, query or fragment.
    #[error("has a path; only the host name counts")]
    Path,
    /// A port.
    #[error("has a port; ports are given apart from the name")]
    Port,
    /// An address or prefix.
    #[error("is an address, not a name; give it as a CIDR")]
    Address,
    /// Several names in one text.
    #[error("has a comma or semicolon; give each name on its own")]
    Several,
    /// A placeholder in angle brackets.
    #[error("has angle brackets; placeholders are written `{{region}}`")]
    AngleBrackets,
    /// Letters outside ASCII.
    #[error("has letters outside ASCII; names are compared as A-labels (`xn--...`)")]
    NotAscii,
    /// A character that no host name has.
    #[error("has `{0}`, which no host name has")]
    Character(char),
    /// Two dots in a row, or a dot where a label is needed.
    #[error("has an empty label")]
    EmptyLabel,
    /// `**`.
    #[error("has `**`; one `*` is enough (`*.x` is any depth below x)")]
    DoubleStar,
    /// A brace that isn't part of a well-formed placeholder.
    #[error("has a malformed placeholder; write `{{name}}` with letters, digits and `-`")]
    Placeholder,
    /// More than 63 octets in a label or 253 in all (RFC 1035 section 2.3.4).
    #[error("is too long for a host name (63 characters a label, 253 in all)")]
    Length,
    /// The last label has only digits (RFC 3696 section 2).
    #[error("ends in a number, so it is no host name")]
    NumericEnd,
    /// A profile's value that doesn't fit where its placeholder stands.
    #[error("can't take the value `{value}` of `{parameter}`: letters, digits and `-` only")]
    Value {
        /// The placeholder's name.
        parameter: String,
        /// The value.
        value: String,
    },
    /// The profile's values make too many patterns.
    #[error("has more than 65,536 combinations of its parameters' values")]
    Combinations,
}

impl PatternError {
    pub(super) fn new(text: &str, problem: PatternProblem) -> Self {
        let (text, instead) = (text.into(), None);
        Self { text, problem, instead }
    }

    /// What is wrong.
    pub fn problem(&self) -> &PatternProblem {
        &self.problem
    }

    /// The pattern that was probably meant.
    pub fn instead(&self) -> Option<&str> {
        self.instead.as_deref()
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.text.escape_debug(), self.problem)?;
        match &self.instead {
            Some(instead) => write!(f, ": write `{instead}`"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PatternError {}

/// The canonical text of a pattern.
pub(super) fn canonical(text: &str) -> Result<String, PatternError> {
    strict(text).map_err(|problem| PatternError {
        instead: meant(text).filter(|_| problem != PatternProblem::Address),
        ..PatternError::new(text, problem)
    })
}

/// Quotation marks, straight and curly, and the backtick.
const QUOTES: [char; 11] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '‚', '«', '»'];

/// Longest name of a placeholder. It keeps a label's text below 8 KiB.
const MAX_PARAMETER: usize = 64;

fn strict(text: &str) -> Result<String, PatternProblem> {
    foreign(text)?;
    let mut text = text.to_ascii_lowercase();
    if text.len() > 1 && text.ends_with('.') {
        text.pop();
    }
    // `.*.x` holds what `*.x` does.
    if text == ".*" || text.starts_with(".*.") {
        text.remove(0);
    }
    let name = text.strip_prefix('.').unwrap_or(&text);
    let mut length = name.matches('.').count();
    for label in name.split('.') {
        let shortest = check_label(label)?;
        if shortest > 63 {
            return Err(PatternProblem::Length);
        }
        length += shortest;
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if length > 253 {
        Err(PatternProblem::Length)
    } else if last.bytes().all(|b| b.is_ascii_digit()) {
        Err(PatternProblem::NumericEnd)
    } else {
        Ok(text)
    }
}

/// Finds what belongs to another kind of text: a URL, an address, a list, prose.
fn foreign(text: &str) -> Result<(), PatternProblem> {
    let bare = text.trim_matches(['[', ']']);
    if text.is_empty() {
        Err(PatternProblem::Empty)
    } else if bare.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        Err(PatternProblem::Address)
    } else if text.contains("://") {
        Err(PatternProblem::Scheme)
    } else if text.contains(char::is_whitespace) {
        Err(PatternProblem::Space)
    } else if text.contains(QUOTES) {
        Err(PatternProblem::Quote)
    } else if text.contains([',', ';']) {
        Err(PatternProblem::Several)
    } else if text.contains(['/', '\\', '?', '#']) {
        Err(PatternProblem::Path)
    } else if text.contains(':') {
        Err(PatternProblem::Port)
    } else if text.contains(['<', '>']) {
        Err(PatternProblem::AngleBrackets)
    } else if !text.is_ascii() {
        Err(PatternProblem::NotAscii)
    } else {
        Ok(())
    }
}

/// Checks one label and gives the length of its shortest name.
fn check_label(label: &str) -> Result<usize, PatternProblem> {
    if label.is_empty() {
        return Err(PatternProblem::EmptyLabel);
    }
    if label.contains("**") {
        return Err(PatternProblem::DoubleStar);
    }
    let mut rest = label;
    let mut shortest = 0;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            'a'..='z' | '0'..='9' | '-' | '_' => shortest += 1,
            '*' => {}
            '{' => {
                let (name, after) = rest.split_once('}').ok_or(PatternProblem::Placeholder)?;
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                if !(1..=MAX_PARAMETER).contains(&name.len()) || !name.bytes().all(plain) {
                    return Err(PatternProblem::Placeholder);
                }
                rest = after;
                shortest += 1;
            }
            '}' => return Err(PatternProblem::Placeholder),
            other => return Err(PatternProblem::Character(other)),
        }
    }
    Ok(shortest.max(1))
}

/// The one pattern that a text with URL parts, quotes or the like was meant to be, if clear.
fn meant(text: &str) -> Option<String> {
    let around = |c: char| c.is_whitespace() || QUOTES.contains(&c) || matches!(c, ',' | ';');
    let text = text.trim_matches(around);
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = text.split(['/', '\\', '?', '#', ':']).next()?;
    let host = angle_to_brace(host.trim_matches(around)).replace("**", "*");
    let labels: Option<Vec<String>> = host
        .split('.')
        .map(|label| match label.is_ascii() {
            true => Some(label.to_owned()),
            false => punycode::a_label(label),
        })
        .collect();
    strict(&labels?.join(".")).ok()
}

/// `<your ACR name>` to `{your-acr-name}`.
fn angle_to_brace(text: &str) -> String {
    let mut inside = false;
    let turn = |c| match c {
        '<' => {
            inside = true;
            '{'
        }
        '>' => {
            inside = false;
            '}'
        }
        ' ' if inside => '-',
        other => other,
    };
    text.chars().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_write() {
        use PatternProblem as P;
        for (text, problem, instead) in [
            ("", P::Empty, None),
            ("https://mcr.microsoft.com:443/v2/", P::Scheme, Some("mcr.microsoft.com")),
            ("mcr.microsoft.com/v2", P::Path, Some("mcr.microsoft.com")),
            ("mcr.microsoft.com:443", P::Port, Some("mcr.microsoft.com")),
            ("mcr.microsoft.com ", P::Space, Some("mcr.microsoft.com")),
            ("a.com b.com", P::Space, None),
            ("“mcr.microsoft.com”", P::Quote, Some("mcr.microsoft.com")),
            ("a.com,b.com", P::Several, None),
            ("a.com,", P::Several, Some("a.com")),
            ("<region>.api.azureml.ms", P::AngleBrackets, Some("{region}.api.azureml.ms")),
            ("<your ACR name>.azurecr.io", P::Space, Some("{your-acr-name}.azurecr.io")),
            ("bücher.example", P::NotAscii, Some("xn--bcher-kva.example")),
            ("b*ü.example", P::NotAscii, None),
            ("**.x.y", P::DoubleStar, Some("*.x.y")),
            ("10.0.0.0/8", P::Address, None),
            ("10.0.0.1", P::Address, None),
            ("[2001:db8::1]", P::Address, None),
            ("a..b", P::EmptyLabel, None),
            (".", P::EmptyLabel, None),
            ("..a", P::EmptyLabel, None),
            ("a.{b", P::Placeholder, None),
            ("a.b}", P::Placeholder, None),
            ("a.{}", P::Placeholder, None),
            ("a.{b.c}", P::Placeholder, None),
            ("a%.b", P::Character('%'), None),
            ("*.5", P::NumericEnd, None),
        ] {
            let error = canonical(text).unwrap_err();
            assert_eq!((error.problem(), error.instead()), (&problem, instead), "{text}");
        }
        let error = canonical("HTTPS://Mcr.Microsoft.com").unwrap_err().to_string();
        assert_eq!(
            error,
            "`HTTPS://Mcr.Microsoft.com` has a scheme; only the host name counts: \
             write `mcr.microsoft.com`"
        );
    }

    #[test]
    fn lengths_count_the_shortest_name() {
        let label = "a".repeat(63);
        assert!(canonical(&format!("{label}*.x")).is_ok());
        assert!(canonical(&format!("{label}{{p}}.x")).is_err());
        let name = "a.".repeat(126) + "a";
        assert!(canonical(&name).is_ok() && canonical(&format!("*.{name}")).is_err());
    }
}
