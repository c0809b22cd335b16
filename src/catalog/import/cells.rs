//! From marked-up text to plain text whose stars and placeholders survive.

use super::super::Param;

/// Text without markup. Line breaks are `\n`, placeholders are `{param}`, or [`UNKNOWN`] where no
/// parameter is meant.
pub(super) struct Plain {
    pub(super) text: String,
    /// The placeholders that are no parameters, as they are written.
    pub(super) unknown: Vec<String>,
}

/// Stands for a placeholder that is no parameter.
pub(super) const UNKNOWN: &str = "{_}";

/// Longest text in angle brackets or braces that is taken for a tag or placeholder.
const MAX_BRACKET: usize = 120;

/// How far the end of a link's target or a footnote is looked for. Without a limit, many openings
/// that never end would take quadratic time.
const MAX_TARGET: usize = 512;

/// A star that is surely no emphasis, until the end.
const STAR: char = '\u{e000}';

const LINE_TAGS: [&str; 8] = ["br", "p", "li", "ul", "ol", "div", "tr", "td"];
const TEXT_TAGS: [&str; 17] = [
    "a", "b", "i", "u", "em", "strong", "code", "span", "sup", "sub", "font", "small", "kbd",
    "mark", "pre", "img", "tt",
];

/// Removes emphasis, code marks, links, tags, entities and escapes.
pub(super) fn plain(marked: &str) -> Plain {
    let decoded = decode_entities(marked);
    let mut cleaner = Cleaner { rest: &decoded, out: String::new(), unknown: Vec::new() };
    while let Some(c) = cleaner.rest.chars().next() {
        cleaner.step(c);
    }
    let text = without_emphasis(&cleaner.out).replace(STAR, "*");
    Plain { text, unknown: cleaner.unknown }
}

struct Cleaner<'t> {
    rest: &'t str,
    out: String,
    unknown: Vec<String>,
}

impl Cleaner<'_> {
    fn step(&mut self, c: char) {
        let after = &self.rest[c.len_utf8()..];
        match c {
            '\\' if after.starts_with(|c: char| c.is_ascii_punctuation()) => {
                self.rest = after;
                match after.as_bytes()[0] {
                    b'<' => self.angle(),
                    b'*' => self.emit(STAR, 1),
                    other => self.emit(char::from(other), 1),
                }
            }
            '<' => self.angle(),
            '{' => self.brace(),
            '[' => self.bracket(),
            ']' => self.rest = after_link(after),
            '!' if after.starts_with('[') => self.rest = after,
            '*' | '_' if after.starts_with(c) => self.rest = &after[1..],
            '`' => self.emit(' ', 1),
            '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => self.rest = after,
            _ => self.emit(c, c.len_utf8()),
        }
    }

    fn emit(&mut self, c: char, len: usize) {
        self.out.push(c);
        self.rest = &self.rest[len..];
    }

    /// A tag, a link or a placeholder.
    fn angle(&mut self) {
        if let Some(comment) = self.rest.strip_prefix("<!--") {
            self.rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
            return;
        }
        let Some((inner, rest)) = enclosed(self.rest, '>') else {
            return self.emit('<', 1);
        };
        let name = inner.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        if inner.contains("://") {
            self.out.push_str(inner);
        } else if LINE_TAGS.contains(&&*name) {
            self.out.push('\n');
        } else if name == "sup" && !inner.starts_with('/') {
            // A footnote's number would grow onto the name before it.
            self.rest = after_near(rest, "</sup>").unwrap_or(rest);
            return;
        } else if !TEXT_TAGS.contains(&&*name) {
            self.placeholder(inner);
        }
        self.rest = rest;
    }

    fn brace(&mut self) {
        match enclosed(self.rest, '}') {
            Some((inner, rest)) => {
                self.placeholder(inner);
                self.rest = rest;
            }
            None => self.emit('{', 1),
        }
    }

    /// `[name].x` and `x.[name]` are placeholders; other brackets belong to links.
    fn bracket(&mut self) {
        if let Some((inner, rest)) = enclosed(self.rest, ']')
            && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b" -_".contains(&b))
            && (rest.starts_with(['.', '-']) || self.out.ends_with(['.', '-']))
        {
            self.placeholder(inner);
            self.rest = rest;
        } else {
            self.rest = &self.rest[1..];
        }
    }

    fn placeholder(&mut self, inner: &str) {
        let written = inner.replace('\\', "");
        match param(&written) {
            Some(param) => {
                self.out.push('{');
                self.out.push_str(param.name());
                self.out.push('}');
            }
            None => {
                self.unknown.push(written);
                self.out.push_str(UNKNOWN);
            }
        }
    }
}

/// The text between the bracket that `text` begins with and `close`, and what follows.
fn enclosed(text: &str, close: char) -> Option<(&str, &str)> {
    let mut inside = text.char_indices().skip(1).take(MAX_BRACKET);
    let (end, _) =
        inside.find(|&(_, c)| c == close || c == '\n' || c == '<').filter(|f| f.1 == close)?;
    let inner = text[1..end].trim_end_matches('\\');
    (!inner.trim().is_empty()).then(|| (inner, &text[end + close.len_utf8()..]))
}

/// Skips a link's target, after the `]` of its text.
fn after_link(text: &str) -> &str {
    let close = match text.as_bytes().first() {
        Some(b'(') => ")",
        Some(b'[') => "]",
        _ => return text,
    };
    after_near(&text[1..], close).unwrap_or(text)
}

/// What follows the first `end`, when that is near.
fn after_near<'t>(text: &'t str, end: &str) -> Option<&'t str> {
    let mut near = MAX_TARGET.min(text.len());
    while !text.is_char_boundary(near) {
        near -= 1;
    }
    text[..near].find(end).map(|at| &text[at + end.len()..])
}

/// The parameter that a placeholder's text means.
fn param(written: &str) -> Option<Param> {
    if let Some(param) = Param::parse(written) {
        return Some(param);
    }
    let mut word: String = written
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    for prefix in ["your", "the", "azure", "aml"] {
        if let Some(rest) = word.strip_prefix(prefix) {
            word = rest.to_owned();
        }
    }
    Some(match word.strip_suffix("name").unwrap_or(&word) {
        "region" | "location" | "clusterregion" | "clusterlocation" | "regionalias" => {
            Param::Region
        }
        "regioncode" | "locationcode" | "regionshort" => Param::RegionCode,
        "acr" | "registry" | "containerregistry" => Param::Acr,
        "storage" | "storageaccount" => Param::StorageAccount,
        "workspaceid" | "workspaceworkspaceid" | "mlworkspaceid" => Param::WorkspaceId,
        _ => return None,
    })
}

/// Longest name of a character reference, with its `;`.
const MAX_ENTITY: usize = 12;

/// Decodes the character references that documents use; others stay as they are.
fn decode_entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let end = after.bytes().take(MAX_ENTITY).position(|byte| byte == b';');
        let name = end.map(|end| &after[..end]);
        match name.and_then(entity) {
            Some((c, len)) => {
                out.push(c);
                rest = &after[len + 1..];
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<(char, usize)> {
    let number = name.strip_prefix('#').and_then(|digits| {
        let hex = digits.strip_prefix(['x', 'X']);
        hex.map_or_else(|| digits.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
    });
    let c = match name {
        "check" | "checkmark" => '✓',
        "cross" => '✗',
        "nbsp" => ' ',
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "ast" => STAR,
        _ => char::from_u32(number?)?,
    };
    Some((c, name.len()))
}

/// Removes the stars of `*word*`, not those of patterns.
fn without_emphasis(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('*') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(before);
        let opens = !out.ends_with(in_name) && after.starts_with(char::is_alphanumeric);
        let close = after.find(['*', '\n']).filter(|&end| opens && after[end..].starts_with('*'));
        let closes = |end: &usize| {
            after[..*end].ends_with(char::is_alphanumeric)
                && !after[end + 1..].starts_with(|c| in_name(c) || c == ':')
        };
        match close.filter(closes) {
            Some(end) => {
                out.push_str(&after[..end]);
                rest = &after[end + 1..];
            }
            None => {
                out.push('*');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '{' | '}' | '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_stars_and_placeholders() {
        for (marked, text) in [
            ("**`*:1194`** <br/> *Or* <BR>x", " *:1194  \n Or \nx"),
            (
                "*.a.example,*.b.example,<br> \\*.c.example",
                "*.a.example,*.b.example,\n *.c.example",
            ),
            ("\\<your ACR name>\\.\\<region name\\>\\.x", "{acr}.{region}.x"),
            ("<region-code>.x <b>bold</b> *\\<location\\>*", "{region-code}.x bold *{region}*"),
            ("&lt;your storage account&gt;.x {workspace-id}", "{storage-account}.x {workspace-id}"),
            ("[Tag](../x.md#y) - **`T.<Region>:1`** [p][q]", "Tag -  T.{region}:1  p"),
            ("__&check;__ &#10003; &#x2714; &unknown; a&b", "✓ ✓ ✔ &unknown; a&b"),
            ("***.x.example** md-*.y the *apt-get* job", "*.x.example md-*.y the apt-get job"),
            (
                "a.example<sup>1</sup> <https://b.example/x> 1 < 2",
                "a.example https://b.example/x 1 < 2",
            ),
            ("[region].x.example ![Yes](check.png)", "{region}.x.example Yes"),
        ] {
            assert_eq!(plain(marked).text, text, "{marked}");
        }
        let odd = plain("<your vault>.vault.example");
        assert_eq!(
            (&*odd.text, &odd.unknown[..]),
            ("{_}.vault.example", &["your vault".to_owned()][..])
        );
    }
}
