//! JSON with lines (RFC 8259), and with comments, which ARM templates may have.

use super::{
    error::ParseError,
    tree::{MAX_DEPTH, Node, Value, line_of, too_deep},
};

/// Reads one JSON value.
pub(super) fn read(text: &str, file: &str) -> Result<Node, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { text, file, at: 0, line: 1 };
    let node = reader.value(0)?;
    reader.space()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.error("there is more text after the JSON value")),
    }
}

/// Reads JSON values that follow each other, as in a file with one a line.
pub(super) fn each(
    text: &str,
    file: &str,
    visit: &mut impl FnMut(Node) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let mut reader = Reader { text, file, at: 0, line: 1 };
    loop {
        reader.space()?;
        if reader.peek().is_none() {
            return Ok(());
        }
        let node = reader.value(0)?;
        visit(node)?;
    }
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
    at: usize,
    line: usize,
}

impl Reader<'_> {
    fn error(&self, message: &str) -> ParseError {
        let line = line_of(self.text, self.at);
        ParseError::new(self.file, line, "", format!("not JSON: {message}"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek() {
                Some(b'\n') => {
                    self.line += 1;
                    self.at += 1;
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'/') if self.rest().starts_with("//") => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                Some(b'/') if self.rest().starts_with("/*") => {
                    let Some(end) = self.rest().find("*/") else {
                        return Err(self.error("a comment has no end"));
                    };
                    self.line += self.rest()[..end].matches('\n').count();
                    self.at += end + 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, ParseError> {
        self.space()?;
        if depth > MAX_DEPTH {
            return Err(too_deep(self.file, self.line));
        }
        let line = self.line;
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b) if b.is_ascii_alphanumeric() || b == b'-' => self.word()?,
            Some(_) => return Err(self.error("a value is needed here")),
            None => return Err(self.error("the text ends where a value is needed")),
        };
        Ok(Node { line, value })
    }

    fn word(&mut self) -> Result<Value, ParseError> {
        let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let length = self.rest().bytes().take_while(|&b| part(b)).count();
        let word = &self.rest()[..length];
        let value = match word {
            "null" => Value::Null,
            "true" | "false" => Value::Text(word.into()),
            _ if word.parse::<f64>().is_ok() => Value::Text(word.into()),
            _ => return Err(self.error(&format!("`{word}` is no value"))),
        };
        self.at += length;
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut list = Vec::new();
        loop {
            self.space()?;
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Value::List(list));
            }
            list.push(self.value(depth + 1)?);
            self.comma(b']')?;
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Map(entries));
                }
                Some(b'"') => {}
                _ => return Err(self.error("a name in quotation marks is needed here")),
            }
            let key = self.string()?;
            self.space()?;
            if self.peek() != Some(b':') {
                return Err(self.error(&format!("`:` is needed after \"{key}\"")));
            }
            self.at += 1;
            entries.push((key, self.value(depth + 1)?));
            self.comma(b'}')?;
        }
    }

    fn comma(&mut self, end: u8) -> Result<(), ParseError> {
        self.space()?;
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(())
            }
            Some(b) if b == end => Ok(()),
            _ => Err(self.error(&format!("`,` or `{}` is needed here", char::from(end)))),
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let mut end = start + 1;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(b'\n') | None => {
                    return Err(self.error("a text has no closing quotation mark"));
                }
                Some(_) => end += 1,
            }
        }
        let raw = &self.text[start..=end];
        let text =
            serde_json::from_str(raw).map_err(|_| self.error("a text has a malformed escape"))?;
        self.at = end + 1;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_lines() {
        let node = read("{\n // why\n \"a\": [1,\n \"b\\u0041\"], \"n\": null}", "f").unwrap();
        let list = node.get("A").unwrap().list().unwrap();
        assert_eq!((list[0].line, list[1].line), (3, 4));
        assert_eq!((list[0].text(), list[1].text()), (Some("1"), Some("bA")));
        assert!(node.get("n").is_none());
    }

    #[test]
    fn says_where_it_goes_wrong() {
        for (text, says) in [
            ("{\n\"a\" 1}", "f:2: not JSON: `:`"),
            ("[1 2]", "f:1: not JSON: `,` or `]`"),
            ("{\"a\":\n\"b", "f:2: not JSON: a text has no closing"),
            ("nul", "f:1: not JSON: `nul` is no value"),
            ("[] x", "f:1: not JSON: there is more"),
        ] {
            let error = read(text, "f").unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        assert!(read(&"[".repeat(100_000), "f").unwrap_err().to_string().contains("too deep"));
    }
}
