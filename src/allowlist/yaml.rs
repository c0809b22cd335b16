//! YAML as trees, one for each document. The parser is named here alone.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{
    error::ParseError,
    tree::{MAX_DEPTH, Node, Value, too_deep},
};

/// A list or map that isn't closed yet.
enum Open {
    List(Vec<Node>),
    /// The key that waits for its value comes last.
    Map(Vec<(String, Node)>, Option<String>),
}

/// Reads all documents.
///
/// Aliases are refused: no policy needs them, and they let a small file stand for a huge one.
pub(super) fn read(text: &str, file: &str) -> Result<Vec<Node>, ParseError> {
    let mut documents = Vec::new();
    let mut open: Vec<(usize, Open)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let message = format!("not YAML: {}", error.info());
            ParseError::new(file, error.marker().line(), "", message)
        })?;
        let line = span.start.line();
        let done = match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
                    _ => Value::Text(text.into_owned()),
                };
                Node { line, value }
            }
            Event::SequenceStart(..) => {
                open.push((line, Open::List(Vec::new())));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((line, Open::Map(Vec::new(), None)));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((line, Open::List(list))) => Node { line, value: Value::List(list) },
                Some((line, Open::Map(entries, _))) => Node { line, value: Value::Map(entries) },
                None => continue,
            },
            Event::Alias(_) => {
                return Err(ParseError::new(
                    file,
                    line,
                    "",
                    "YAML aliases aren't supported: write it out",
                ));
            }
            _ => continue,
        };
        if open.len() > MAX_DEPTH {
            return Err(too_deep(file, line));
        }
        match open.last_mut() {
            None => documents.push(done),
            Some((_, Open::List(list))) => list.push(done),
            Some((_, Open::Map(entries, key))) => match key.take() {
                Some(name) => entries.push((name, done)),
                None => *key = Some(done.text().unwrap_or_default().to_owned()),
            },
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_lines_and_documents() {
        let documents = read("a: 1\n---\nb:\n- x: \"443\"\n- ~\n", "f").unwrap();
        assert_eq!(documents.len(), 2);
        let list = documents[1].get("b").unwrap().list().unwrap();
        assert_eq!((list[0].line, list[0].text_of("x")), (4, Some("443")));
        assert!(matches!(list[1].value, Value::Null));
    }

    #[test]
    fn refuses_what_is_no_yaml_or_dangerous() {
        assert!(read("a: [1\nb: 2", "f").unwrap_err().to_string().starts_with("f:2: not YAML"));
        assert!(
            read("a: &x 1\nb: *x", "f").unwrap_err().to_string().starts_with("f:2: YAML aliases")
        );
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(read(&deep, "f").is_err());
    }
}
