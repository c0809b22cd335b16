//! The papers keep to the truth: the README's report is what its command prints, and links lead
//! somewhere.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const README: &str = include_str!("../README.md");

#[test]
fn the_report_is_what_the_command_prints() {
    let audit = &blocks("sh")[0];
    let (_, arguments) = audit.trim().split_once(" -- ").unwrap();
    let shown = &blocks("text")[0];
    let output = Command::new(env!("CARGO_BIN_EXE_egress-auditor"))
        .args(arguments.split(' '))
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), *shown);
    assert!(output.status.success());
}

#[test]
fn ci_passes_the_tests_with_the_same_command() {
    let run = root().join(".ci/run");
    let Ok(run) = fs::read_to_string(&run) else {
        println!("skipped: {} isn't part of the package", run.display());
        return;
    };
    let test = format!("step {}", blocks("sh")[1].trim());
    assert!(run.lines().any(|line| line == test), "no line `{test}` in .ci/run");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let folder = page.parent().unwrap();
        let text = fs::read_to_string(&page).unwrap();
        for target in links(&text).filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// Fenced blocks of the README in a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let parts = README.split(open.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The README and its likes, and everything in docs.
fn pages() -> Vec<PathBuf> {
    let markdown = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    };
    let folders = [root().into(), root().join("docs"), root().join("docs/guide")];
    folders.into_iter().flat_map(markdown).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
