use std::io::{self, Write};

use super::Report;

/// Writes the report as indented JSON with a newline at the end.
///
/// # Errors
///
/// When writing fails.
pub fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}
