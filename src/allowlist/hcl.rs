//! HCL as a tree. The parser is named here alone.
//!
//! A block becomes a map in a list under its name; its labels are under the empty key.

use hcl_edit::{
    Span,
    expr::{Expression, ObjectKey},
    parser::parse_body,
    structure::{Body, Structure},
};

use super::{
    error::ParseError,
    tree::{Node, Value},
};

/// Reads a file's body.
pub(super) fn read(text: &str, file: &str) -> Result<Node, ParseError> {
    let body = parse_body(text).map_err(|error| {
        let message = format!("not HCL: {}", error.message());
        ParseError::new(file, error.location().line(), "", message)
    })?;
    let starts = text.match_indices('\n').map(|(at, _)| at).collect();
    Ok(Reader { text, starts }.body(&body, 1))
}

struct Reader<'a> {
    text: &'a str,
    /// Where lines end.
    starts: Vec<usize>,
}

impl Reader<'_> {
    fn line(&self, node: &impl Span) -> usize {
        let at = node.span().map_or(0, |span| span.start);
        1 + self.starts.partition_point(|&end| end < at)
    }

    fn body(&self, body: &Body, line: usize) -> Node {
        let mut entries: Vec<(String, Node)> = Vec::new();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    entries.push((attribute.key.to_string(), self.value(&attribute.value)));
                }
                Structure::Block(block) => {
                    let line = self.line(block);
                    let mut node = self.body(&block.body, line);
                    if let Value::Map(inner) = &mut node.value {
                        let label = |l: &hcl_edit::structure::BlockLabel| Node {
                            line,
                            value: Value::Text(l.as_str().to_owned()),
                        };
                        let labels = block.labels.iter().map(label).collect();
                        inner.push((String::new(), Node { line, value: Value::List(labels) }));
                    }
                    let name = block.ident.to_string();
                    match entries.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, Node { value: Value::List(list), .. })) => list.push(node),
                        _ => entries.push((name, Node { line, value: Value::List(vec![node]) })),
                    }
                }
            }
        }
        Node { line, value: Value::Map(entries) }
    }

    fn value(&self, expression: &Expression) -> Node {
        let value = match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Text(value.to_string()),
            Expression::Number(value) => Value::Text(value.to_string()),
            Expression::String(value) => Value::Text(value.as_str().to_owned()),
            Expression::Array(array) => Value::List(array.iter().map(|e| self.value(e)).collect()),
            Expression::Object(object) => {
                let key = |key: &ObjectKey| match key {
                    ObjectKey::Ident(ident) => ident.to_string(),
                    ObjectKey::Expression(expression) => match self.value(expression).value {
                        Value::Text(text) | Value::Expression(text) => text,
                        _ => String::new(),
                    },
                };
                Value::Map(object.iter().map(|(k, v)| (key(k), self.value(v.expr()))).collect())
            }
            Expression::Parenthesis(inner) => return self.value(inner.inner()),
            other => {
                let text = other.span().and_then(|span| self.text.get(span)).unwrap_or_default();
                Value::Expression(text.trim().to_owned())
            }
        };
        Node { line: self.line(expression), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_blocks_and_lines() {
        let text = "resource \"t\" \"n\" {\n  rule {\n    ports = [443, \"80\"]\n  }\n  rule {\n    to = var.x\n  }\n}\n";
        let tree = read(text, "f").unwrap();
        let resource = &tree.items("resource")[0];
        let labels: Vec<_> = resource.items("").iter().filter_map(Node::text).collect();
        assert_eq!(labels, ["t", "n"]);
        let rules = resource.items("rule");
        assert_eq!(
            (rules[0].items("ports")[1].line, rules[0].items("ports")[0].text()),
            (3, Some("443"))
        );
        assert!(matches!(&rules[1].get("to").unwrap().value, Value::Expression(e) if e == "var.x"));
        assert!(read("a = [\n", "f").unwrap_err().to_string().contains("not HCL"));
    }
}
