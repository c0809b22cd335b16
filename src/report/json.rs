use std::io::{self, Write};

use serde::Deserialize;

use super::{Report, SCHEMA};

/// Writes the report as indented JSON with a newline at the end.
///
/// # Errors
///
/// When writing fails.
pub fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

/// Reads a report back. Fields that it doesn't know are skipped.
///
/// # Errors
///
/// When it isn't JSON of that shape, or of another version; says line and column.
pub fn read_json(text: &str) -> Result<Report, String> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let not_a_report = |error| format!("not a report of `audit --format json`: {error}");
    let head: Head = serde_json::from_str(text).map_err(not_a_report)?;
    if head.schema != SCHEMA {
        return Err(format!("a report of schema `{}`; this version reads {SCHEMA}", head.schema));
    }
    serde_json::from_str(text).map_err(not_a_report)
}
