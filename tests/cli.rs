//! The command as scripts use it: help, exit codes, inputs, outputs.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/command.rs"]
mod run;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use run::{Run, command, run, run_with};
use serde_json::Value;

/// A capture with a blocked rule.
fn blocked() -> PathBuf {
    common::fixtures().join("syn-dropped/capture.pcap")
}

/// A capture with a destination that no rule explains, and nothing blocked.
fn unexpected() -> PathBuf {
    common::fixtures().join("unexpected/capture.pcap")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn report(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

fn audit_json(args: &[&str]) -> Run {
    run(["audit", "--format", "json"].iter().chain(args))
}

#[test]
fn help_shows_examples() {
    for args in [&["--help"][..], &["audit", "--help"], &["observe", "--help"], &["audit", "-h"]] {
        let run = run(args);
        assert_eq!(run.code, Some(0), "{args:?}");
        assert!(run.stdout.contains("Examples:\n  egress-auditor "), "{args:?}: {}", run.stdout);
        assert!(run.stdout.contains("Usage: egress-auditor"), "{args:?}");
        assert_eq!(run.stderr, "", "{args:?}");
    }
    let version = run(["--version"]);
    assert_eq!(version.stdout, format!("egress-auditor {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_2() {
    let capture = blocked();
    let capture = text(&capture);
    for (args, said) in [
        (&[][..], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["audit", "--frobnicate", capture], "--frobnicate"),
        (&["audit", "--format", "xml", capture], "xml"),
        (&["audit", "--fail-on", "everything", capture], "everything"),
        (&["audit"], "nothing to read"),
        (&["observe"], "nothing to read"),
        (&["audit", "--profile", "no-such.toml", capture], "no-such.toml"),
        (&["audit", "--catalog", "no-such", capture], "no-such"),
        (&["audit", "--service-tags", "no-such.json", capture], "no-such.json"),
        #[cfg(feature = "live")]
        (&["audit", "--state", "state", capture], "cannot be used with"),
        #[cfg(feature = "live")]
        (&["audit", "--window", "60s", capture], "cannot be used with"),
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.stderr.contains(said), "{args:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{args:?}");
    }
}

#[test]
fn missing_files_are_named() {
    for command in ["audit", "observe"] {
        let run = run([command, "no-such.pcap"]);
        assert_eq!((run.code, &*run.stdout), (Some(2), ""));
        assert!(run.stderr.contains("no-such.pcap: cannot open: "), "{}", run.stderr);
    }
}

#[test]
fn all_ways_in_give_the_same_findings() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(blocked()).unwrap();
    let plain = folder.path().join("a.pcap");
    fs::write(&plain, &bytes).unwrap();
    let of_folder = audit_json(&[text(folder.path())]);
    let gz = folder.path().join("a.pcap.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&gz).unwrap(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap();
    let zst = folder.path().join("a.pcap.zst");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    fs::write(&zst, ruzstd::encoding::compress_to_vec(&bytes[..], level)).unwrap();

    let expected = report(&audit_json(&[text(&plain)]));
    assert_eq!(expected["summary"]["required"]["blocked"], 1);
    let stdin = |bytes: &[u8]| run_with(["audit", "--format", "json", "-"], bytes);
    let runs = [
        of_folder,
        audit_json(&[text(&gz)]),
        audit_json(&[text(&zst)]),
        stdin(&bytes),
        stdin(&fs::read(&gz).unwrap()),
        stdin(&fs::read(&zst).unwrap()),
    ];
    for run in runs {
        assert_eq!((run.code, &*run.stderr), (Some(1), ""));
        let told = report(&run);
        for part in ["coverage", "rules", "destinations", "summary"] {
            assert_eq!(told[part], expected[part]);
        }
        assert_eq!(told["inputs"][0]["frames"], expected["inputs"][0]["frames"]);
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (blocked, unexpected) = (blocked(), unexpected());
    let both = [text(&blocked), text(&unexpected)];
    let first = audit_json(&both);
    assert_eq!(first.stdout, audit_json(&both).stdout);
    assert_eq!(report(&first)["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(report(&first)["schema"], "egress-auditor/report/1");
}

#[test]
fn output_goes_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report.txt");
    let capture = blocked();
    for option in ["-o", "--output"] {
        let run = run(["audit", option, text(&out), text(&capture)]);
        assert_eq!((run.code, &*run.stdout, &*run.stderr), (Some(1), "", ""));
        let written = fs::read_to_string(&out).unwrap();
        assert!(written.starts_with("Egress audit\n") && written.contains("BLOCKED (1)"));
    }
    let nowhere = folder.path().join("no/such/folder");
    let run = run(["audit", "-o", text(&nowhere), text(&capture)]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("cannot write"), "{}", run.stderr);
}

#[test]
fn fail_on_selects_the_exit_code() {
    let (blocked, unexpected) = (blocked(), unexpected());
    for (capture, classes, code) in [
        (&blocked, None, 1),
        (&blocked, Some("blocked"), 1),
        (&blocked, Some("none"), 0),
        (&blocked, Some("degraded"), 0),
        (&blocked, Some("degraded,blocked"), 1),
        (&blocked, Some("unexpected"), 0),
        (&blocked, Some("inconclusive"), 0),
        (&blocked, Some("not-exercised"), 1),
        (&unexpected, None, 0),
        (&unexpected, Some("unexpected"), 1),
        (&unexpected, Some("blocked,unexpected"), 1),
        (&unexpected, Some("ambiguous,conditional"), 0),
    ] {
        let profile = capture.with_file_name("profile.toml");
        let mut args = vec!["audit", "--profile", text(&profile), text(capture)];
        args.extend(classes.iter().flat_map(|classes| ["--fail-on", classes]));
        let run = run(&args);
        assert_eq!(run.code, Some(code), "{args:?}: {}", run.stderr);
    }
}

/// However a pcapng file comes in, what it says it lost is in the report.
#[test]
fn a_capture_tells_what_it_lost() {
    let case = common::fixtures().join("drops");
    let (capture, profile) = (common::capture(&case), case.join("profile.toml"));
    let bytes = fs::read(&capture).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let zipped = folder.path().join("capture.pcapng.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&zipped).unwrap(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap();
    let lost = common::dropped(&case);
    assert!(lost > 0);
    for (inputs, streamed) in [
        (&[text(&capture)][..], false),
        (&["--threads", "1", text(&capture)], false),
        (&["--threads", "3", text(&capture)], false),
        (&[text(&zipped)], false),
        (&["-"], true),
    ] {
        let args =
            [&["audit", "--format", "json", "--profile", text(&profile)][..], inputs].concat();
        let run = if streamed { run_with(&args, &bytes) } else { run(&args) };
        let told = report(&run);
        assert_eq!(told["coverage"]["dropped"], lost, "{inputs:?}");
        assert_eq!(told["inputs"][0]["dropped"], lost, "{inputs:?}");
        let silent = told["rules"].as_array().unwrap().iter().find(|r| r["id"] == "aks/core/mcr");
        assert_eq!(silent.unwrap()["verdict"], "inconclusive", "{inputs:?}");
    }
    // A pcap file can't tell.
    assert!(report(&audit_json(&[text(&blocked())]))["inputs"][0]["dropped"].is_null());
}

#[test]
fn every_observation_is_a_line_of_json() {
    for case in common::cases() {
        let run = run(["observe", text(&common::capture(&case))]);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""));
        for line in run.stdout.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line["event"].is_string() && line["ts"].is_string() && line["frame"].is_u64());
        }
    }
}

/// A reader that has seen enough (`| head -1`) ends the command, without a word.
#[test]
fn a_closed_pipe_is_no_error() {
    let bytes = fs::read(unexpected()).unwrap();
    for args in [&["observe", "-"][..], &["audit", "-"], &["audit", "--format", "json", "-"]] {
        let mut child = command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before the command has anything to write.
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""), "{args:?}");
    }
}

/// Its input may be silent for hours: before its first byte, behind its header, in the middle of a
/// record.
#[cfg(unix)]
#[test]
fn a_signal_while_a_pipe_is_silent_ends_it_with_the_report() {
    let file = blocked();
    let stream = fs::read(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let whole = audit_json(&[text(&file)]);
    let least = report(&whole)["coverage"]["frames"].as_u64().unwrap();
    for (threads, written, signal) in [
        ("1", 0, "INT"),
        ("2", 0, "TERM"),
        ("2", 24, "INT"),
        ("1", stream.len() - 10, "TERM"),
        ("2", stream.len() - 10, "INT"),
    ] {
        let args = ["audit", "--format", "json", "--threads", threads, text(&file), text(&pipe)];
        let audit = Silent::start(&args, folder.path());
        // Waits until the pipe is opened; by then, the file before it has been read.
        let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
        writer.write_all(&stream[..written]).unwrap();
        let run = audit.end(signal);
        drop(writer);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let said = "egress-auditor: interrupted: the report covers what was read until then\n";
        assert_eq!(run.stderr, said);
        let report = report(&run);
        assert!(report["coverage"]["frames"].as_u64().unwrap() >= least);
        assert_eq!(report["summary"]["required"]["blocked"], 1);
    }
}

/// Other blocks alone, without a pause.
#[cfg(unix)]
#[test]
fn a_signal_while_a_pipe_has_no_frames_ends_it_with_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let section = "0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000";
    let interface = "0100000014000000010000000000040014000000";
    let bytes = |hex: &str| {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>()
    };
    let (head, block) =
        (bytes(&format!("{section}{interface}")), bytes("770000000c0000000c000000"));
    for (number, threads) in ["1", "2"].into_iter().enumerate() {
        let pipe = folder.path().join(format!("pipe{number}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let audit = Silent::start(&["audit", "--threads", threads, text(&pipe)], folder.path());
        let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
        writer.write_all(&head).unwrap();
        let (sent, begun) = std::sync::mpsc::channel();
        let blocks = block.repeat(10_000);
        let endless = std::thread::spawn(move || {
            while writer.write_all(&blocks).is_ok() {
                let _ = sent.send(());
            }
        });
        // More than can be on the way: it is being read.
        (0..20).for_each(|_| begun.recv().unwrap());
        let run = audit.end("INT");
        endless.join().unwrap();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
    }
}

#[cfg(unix)]
#[test]
fn a_comparison_with_what_was_read_until_a_signal_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (list, pipe) = (folder.path().join("list.txt"), folder.path().join("pipe"));
    fs::write(&list, "*.example.com:443\n").unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let diff = Silent::start(&["diff", "--allowlist", text(&list), text(&pipe)], folder.path());
    let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
    writer.write_all(&fs::read(unexpected()).unwrap()).unwrap();
    let run = diff.end("INT");
    drop(writer);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let said = "egress-auditor: interrupted: what was seen is what was read until then\n";
    assert_eq!(run.stderr, said);
}

#[cfg(unix)]
#[test]
fn a_signal_while_standard_input_is_silent_ends_it_with_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let stream = fs::read(unexpected()).unwrap();
    let (header, records) = stream.split_at(24);
    for args in [&["observe", "-"][..], &["audit", "-"], &["audit", "--threads", "2", "-"]] {
        let mut command = Silent::start(args, folder.path());
        // Far more than can be on the way when all of it is written.
        let stdin = command.child.stdin.as_mut().unwrap();
        stdin.write_all(header).unwrap();
        for _ in 0..(8 << 20) / records.len() {
            stdin.write_all(records).unwrap();
        }
        let run = command.end("INT");
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
        assert!(run.stdout.contains("telemetry"), "{args:?}: {}", run.stderr);
    }
}

/// A command whose input stays open.
#[cfg(unix)]
struct Silent {
    child: std::process::Child,
    folder: PathBuf,
}

#[cfg(unix)]
impl Silent {
    fn start(args: &[&str], folder: &Path) -> Self {
        let file = |name: &str| fs::File::create(folder.join(name)).unwrap();
        let mut command = command(args);
        command.stdin(Stdio::piped()).stdout(file("stdout")).stderr(file("stderr"));
        Self { child: command.spawn().unwrap(), folder: folder.to_owned() }
    }

    /// Sends a signal, and waits for the end, which doesn't depend on the input.
    fn end(mut self, signal: &str) -> Run {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        // Long enough for the slowest machine.
        let patience = std::time::Duration::from_secs(60);
        let deadline = std::time::Instant::now() + patience;
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if std::time::Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("it goes on after SIG{signal}");
                }
                None => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        };
        let said = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        Run { code, stdout: said("stdout"), stderr: said("stderr") }
    }
}

#[test]
fn head_takes_one_line() {
    let shell = format!(
        "'{}' observe '{}' | head -1",
        env!("CARGO_BIN_EXE_egress-auditor"),
        text(&unexpected())
    );
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert!(output.stderr.is_empty());
}

#[test]
fn a_folder_gives_the_same_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for case in common::cases() {
        let capture = common::capture(&case);
        let ending = capture.extension().unwrap().to_str().unwrap();
        let name = format!("{}.{ending}", common::name(&case));
        fs::copy(&capture, folder.path().join(name)).unwrap();
    }
    // One of them is damaged.
    let whole = fs::read(common::capture(&common::fixtures().join("reachable"))).unwrap();
    fs::write(folder.path().join("cut.pcap"), &whole[..whole.len() - 10]).unwrap();
    let audit = |threads: &str| {
        let folder = folder.path().to_str().unwrap();
        run(["audit", "--format", "json", "--threads", threads, folder])
    };
    let (one, four) = (audit("1"), audit("4"));
    assert_eq!(one.code, Some(2), "{}", one.stderr);
    assert!(one.stderr.contains("cut.pcap"), "{}", one.stderr);
    assert_eq!((one.code, one.stdout, one.stderr), (four.code, four.stdout, four.stderr));
}
