use std::fmt;

/// What is wrong in an allowlist file. Displays as `FILE:LINE: FIELD: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    file: String,
    line: usize,
    field: String,
    message: String,
}

impl ParseError {
    pub(super) fn new(file: &str, line: usize, field: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, field: field.into(), message: message.into() }
    }

    /// 1-based line.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The field as the product calls it; empty when it is none.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}
