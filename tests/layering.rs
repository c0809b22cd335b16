//! The structure that the crate's documentation promises, read off the sources: data passes the
//! rooms in one direction, each third-party parser has one file, and only the outer rooms touch
//! files, sockets and clocks.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Each room may use the ones before it.
const ROOMS: [&str; 11] = [
    "base",
    "source",
    "decode",
    "flow",
    "extract",
    "names",
    "catalog",
    "allowlist",
    "scan",
    "verdict",
    "report",
];

/// What runs the rooms: may use all of them.
const COMMAND: [&str; 2] = ["cli", "main.rs"];

/// A third-party parser or reader, and the one file of a room that may name it; the others see our
/// words. `flate2` unpacks whole captures in one room, single packets in another, and packs partials.
const PARSERS: [(&str, &str); 15] = [
    ("pcap", "source/live.rs"),
    ("memmap2", "source/map.rs"),
    ("flate2", "source/stream.rs"),
    ("flate2", "decode/inflate.rs"),
    ("flate2", "cli/saved.rs"),
    ("postcard", "cli/saved.rs"),
    ("ruzstd", "source/stream.rs"),
    ("etherparse", "decode/headers.rs"),
    ("tls_parser", "extract/tls/message.rs"),
    ("dns_parser", "extract/dns/plain.rs"),
    ("x509_parser", "extract/tls/certificate.rs"),
    ("ring", "extract/quic/protection.rs"),
    ("humantime", "base/stamp.rs"),
    ("hcl_edit", "allowlist/hcl.rs"),
    ("saphyr_parser", "allowlist/yaml.rs"),
];

/// What only `source` and the command may touch.
const WORLD: [&str; 12] = [
    "std::fs",
    "fs",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "SystemTime",
    "Instant",
    "thread",
    "stdin",
    "stdout",
];

/// The files elsewhere that start threads: they only compute, and end before it returns.
const THREADS: [&str; 2] = ["base/parallel.rs", "scan/team.rs"];

/// A source file without comments and string literals.
struct Source {
    /// Below `src`, with `/`.
    path: String,
    room: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .iter()
        .map(|file| {
            let parts: Vec<_> = file.strip_prefix(&root).unwrap().iter().collect();
            let parts: Vec<_> = parts.iter().map(|part| part.to_str().unwrap()).collect();
            let room = match parts[0] {
                "main.rs" | "lib.rs" => parts[0],
                file_or_folder => file_or_folder.trim_end_matches(".rs"),
            };
            let code = code(&fs::read_to_string(file).unwrap());
            Source { path: parts.join("/"), room: room.to_owned(), code }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Drops `//` comments and what stands in string literals. Block comments and raw strings with
/// quotes in them aren't used here.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|&c| c == '\n');
                code.push('\n');
            }
            '"' => {
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => {
                            chars.next();
                        }
                        '"' => break,
                        _ => {}
                    }
                }
                code.push_str("\"\"");
            }
            // '"', '\'' and '/' as characters.
            '\'' => {
                let rest: Vec<_> = chars.clone().take(3).collect();
                let len = match rest[..] {
                    ['\\', _, '\''] => 3,
                    [_, '\'', _] | [_, '\''] => 2,
                    _ => 0,
                };
                chars.by_ref().take(len).for_each(drop);
                code.push('\'');
            }
            _ => code.push(c),
        }
    }
    code
}

/// The places where `path` stands in the code as a whole path, or the beginning of one.
fn mentions<'c>(code: &'c str, path: &'c str) -> impl Iterator<Item = &'c str> {
    let continues = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.match_indices(path).filter_map(move |(at, _)| {
        let behind = &code[at + path.len()..];
        let inside = code[..at].ends_with(continues)
            || behind.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        (!inside).then_some(behind)
    })
}

/// The first segments below `crate::`, in single paths and in `use crate::{...}` groups.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for behind in mentions(code, "crate").filter_map(|behind| behind.strip_prefix("::")) {
        match behind.strip_prefix('{') {
            None => {
                rooms.insert(ident(behind));
            }
            Some(group) => {
                let mut depth = 0;
                let mut at_start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => at_start = true,
                        c if at_start && !c.is_whitespace() => {
                            rooms.insert(ident(&group[at..]));
                            at_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn every_source_file_has_a_room() {
    for Source { path, room, .. } in sources() {
        let known = ROOMS.contains(&&*room) || COMMAND.contains(&&*room) || room == "lib.rs";
        assert!(known, "src/{path} is in no room that this test knows");
    }
}

#[test]
fn no_room_uses_a_later_one() {
    for Source { path, room, code } in sources() {
        let Some(rank) = ROOMS.iter().position(|name| *name == room) else { continue };
        for used in rooms_used(&code) {
            let other = ROOMS.iter().position(|name| *name == used);
            let other = other.unwrap_or_else(|| panic!("src/{path} uses crate::{used}"));
            assert!(other <= rank, "src/{path} uses crate::{used}, a later room");
        }
        // `super` stays inside the room: `names.rs` and a `mod.rs` right below `src` have the crate
        // above them, but for their unit tests.
        let top = !path.contains('/') || path == format!("{room}/mod.rs");
        let above = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        assert!(!top || mentions(above, "super").next().is_none(), "src/{path} leaves its room");
    }
}

#[test]
fn each_third_party_parser_has_one_file() {
    for Source { path, code, .. } in sources() {
        for (parser, _) in PARSERS {
            let named = mentions(&code, parser).any(|behind| behind.starts_with("::"));
            let home = PARSERS.contains(&(parser, path.as_str()));
            assert!(!named || home, "src/{path} names {parser}, which belongs elsewhere");
        }
    }
}

#[test]
fn only_sources_and_the_command_touch_the_world() {
    for Source { path, room, code } in sources() {
        if room == "source" || COMMAND.contains(&&*room) {
            continue;
        }
        for thing in
            WORLD.into_iter().filter(|thing| *thing != "thread" || !THREADS.contains(&&*path))
        {
            let path_only = matches!(thing, "fs" | "thread");
            let found = mentions(&code, thing).any(|behind| !path_only || behind.starts_with("::"));
            assert!(!found, "src/{path} touches {thing}");
        }
    }
}

#[test]
fn reads_paths_as_rust_does() {
    let code = code(
        "use crate::{\n  base::{Stamp, x}, // crate::no\n  flow::y,\n};\nlet a = \"crate::no\"; crate::names::z(); '\"'; mycrate::no; 'a'",
    );
    assert_eq!(rooms_used(&code), ["base", "flow", "names"].map(str::to_owned).into());
    assert_eq!(mentions("std::fs::read; offs::x; fs_x", "std::fs").count(), 1);
    assert_eq!(mentions("std::fs::read; offs::x; fs_x; fs::y", "fs").count(), 1);
}
