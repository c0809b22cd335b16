//! Structured text as a tree that remembers its lines, whatever notation it came in.

use super::error::ParseError;

/// A value and the line that it begins on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// 1-based.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    /// Text, and numbers and truth values as written.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// Something that only the tool which owns the file could work out.
    Expression(String),
}

/// Deeper than any real file.
pub(super) const MAX_DEPTH: usize = 64;

/// Names that hold their value in any case, as ARM does.
impl Node {
    /// A map's value; `None` when there is none or it is null.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        let found = entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, node)| node).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The value at the end of several keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The first of these keys that is there.
    pub(super) fn any_of<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Self)> {
        keys.iter().find_map(|key| Some((*key, self.get(key)?)))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A map's text; `None` when it isn't there or isn't text.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// A list's members, or a single value as a list of one; nothing for none.
    pub(super) fn items(&self, key: &str) -> &[Self] {
        match self.get(key) {
            Some(Self { value: Value::List(list), .. }) => list,
            Some(node) => std::slice::from_ref(node),
            None => &[],
        }
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Walks this node and all below it, outer ones first.
    pub(super) fn walk<'n>(&'n self, visit: &mut impl FnMut(&'n Self)) {
        visit(self);
        match &self.value {
            Value::List(list) => list.iter().for_each(|node| node.walk(visit)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| node.walk(visit)),
            _ => {}
        }
    }

    /// What it is, for messages.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".into(),
            Value::Text(text) => format!("`{}`", text.escape_debug()),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "an object".into(),
            Value::Expression(text) => format!("the expression `{}`", text.escape_debug()),
        }
    }
}

/// Line of a byte offset, 1-based.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&b| b == b'\n').count()
}

/// For a file that nests too deep.
pub(super) fn too_deep(file: &str, line: usize) -> ParseError {
    ParseError::new(file, line, "", "nested too deep to be an allowlist")
}
