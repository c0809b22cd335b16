//! All formats tell the same: every finding of the JSON report is in each of the others, with the
//! same verdict. And each can be read by those who read such files.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "reports/formats.rs"]
mod formats;
#[path = "reports/hostile.rs"]
mod hostile;
#[path = "reports/merging.rs"]
mod merging;
#[path = "common/command.rs"]
mod run;
#[path = "reports/schemas.rs"]
mod schemas;

use std::{path::Path, sync::Arc};

use common::{Setting, frames, scan};
use egress_auditor::report::{
    Detail, Gate, GateClass, Report, TextOptions, write_html, write_junit, write_markdown,
    write_ndjson, write_sarif, write_text_with,
};

/// The report on a case.
fn audit(case: &Path) -> Report {
    let setting = Setting::of(case);
    let resolvers: Arc<[_]> = setting.resolvers();
    setting.report(&scan(&frames(case), &resolvers, &mut ()))
}

fn gate() -> Gate {
    Gate::new([GateClass::Blocked])
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn text(report: &Report) -> String {
    let options = TextOptions { detail: Detail::Verbose, ..TextOptions::default() };
    written(|out| write_text_with(report, options, out))
}

fn markdown(report: &Report) -> String {
    written(|out| write_markdown(report, out))
}

fn html(report: &Report) -> String {
    written(|out| write_html(report, out))
}

fn ndjson(report: &Report) -> String {
    written(|out| write_ndjson(report, out))
}

fn junit(report: &Report) -> String {
    written(|out| write_junit(report, &gate(), out))
}

fn sarif(report: &Report) -> String {
    written(|out| write_sarif(report, &gate(), out))
}
