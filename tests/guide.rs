//! The guide's commands work: each page's `sh` blocks are run in order, in a folder of their own
//! that has the fixtures.

#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn every_command_works() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages: Vec<_> =
        fs::read_dir(docs.join("guide")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.push(docs.join("LIMITS.md"));
    pages.sort();
    let mut count = 0;
    for page in pages {
        let folder = tempfile::tempdir().unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        std::os::unix::fs::symlink(fixtures, folder.path().join("fixtures")).unwrap();
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            run(&block, folder.path(), &page);
            count += 1;
        }
    }
    assert!(count > 15, "only {count} blocks: are they marked as sh?");
}

fn run(block: &str, folder: &Path, page: &Path) {
    let bin = PathBuf::from(env!("CARGO_BIN_EXE_egress-auditor"));
    let path = env::join_paths(
        [bin.parent().unwrap().to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let output = Command::new("sh")
        .args(["-eu", "-c", block])
        .current_dir(folder)
        .env("PATH", path.unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {block}{said}", page.display());
}

/// Fenced blocks of shell commands, also inside lists.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim_start) {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}
