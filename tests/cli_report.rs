//! What surrounds a report on the command line: formats, colours, how much is told, explanations,
//! completions, manual pages.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/command.rs"]
mod run;

use run::{Run, command, run};

fn audit(case: &str, more: &[&str]) -> Run {
    let case = common::fixtures().join(case);
    let [profile, capture] =
        ["profile.toml", "capture.pcap"].map(|name| case.join(name).to_str().unwrap().to_owned());
    let never = ["--fail-on", "none"];
    let never = if more.contains(&"--fail-on") { &[][..] } else { &never };
    run(["audit", "--profile", &*profile, &*capture].iter().chain(never).chain(more))
}

#[test]
fn every_format_is_written() {
    for (format, begins) in [
        ("text", "Egress audit\n"),
        ("json", "{\n  \"schema\": \"egress-auditor/report/1\""),
        ("ndjson", "{\"record\":\"head\""),
        ("md", "# Egress audit\n"),
        ("html", "<!DOCTYPE html>"),
        ("junit", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"),
        ("sarif", "{\n  \"$schema\""),
    ] {
        let first = audit("syn-dropped", &["--format", format]);
        assert_eq!((first.code, &*first.stderr), (Some(0), ""));
        assert!(first.stdout.starts_with(begins), "{format}: {}", &first.stdout[..80]);
        assert!(first.stdout.ends_with('\n'));
        assert_eq!(first.stdout, audit("syn-dropped", &["--format", format]).stdout);
    }
}

#[test]
fn colours_follow_the_option_then_the_environment() {
    let case = common::fixtures().join("syn-dropped/capture.pcap");
    for (option, variables, coloured) in [
        (None, &[][..], false),
        (Some("always"), &[], true),
        (Some("always"), &[("NO_COLOR", "1")], true),
        (Some("never"), &[("CLICOLOR_FORCE", "1")], false),
        (None, &[("CLICOLOR_FORCE", "1")], true),
        (None, &[("CLICOLOR_FORCE", "0")], false),
        (None, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (None, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], true),
    ] {
        let mut command = command([&"audit".into(), &case]);
        command.args(option.iter().flat_map(|when| ["--color", when]));
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.contains('\u{1b}'), coloured, "{option:?} {variables:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn quiet_tells_less_and_verbose_more() {
    let [quiet, normal, verbose] =
        [&["--quiet"][..], &[], &["--verbose"]].map(|more| audit("syn-dropped", more).stdout);
    assert_eq!(quiet, "blocked aks/core/mcr at tcp: mcr.microsoft.com tcp 443\n");
    assert!(!normal.contains("NOT APPLICABLE") && verbose.contains("NOT APPLICABLE"));
    assert!(!normal.contains("EXPLAINED") && verbose.contains("EXPLAINED"));
    assert_eq!(run(["audit", "-q", "-v", "x"]).code, Some(2));
}

#[test]
fn words_are_explained() {
    for (word, said) in [
        ("tls_reset", "RST after the ClientHello"),
        ("degraded", "Some attempts fail"),
        ("unexpected", "No rule explains it"),
        ("midstream", "before the capture"),
        ("proxy-bypass", "past the profile's proxy"),
        ("konnectivity", "konnectivity agent"),
        ("aks/core/mcr", "mcr.microsoft.com"),
    ] {
        let told = run(["explain", word]);
        assert_eq!((told.code, &*told.stderr), (Some(0), ""), "{word}");
        assert!(told.stdout.contains(said), "{word}: {}", told.stdout);
        assert_eq!(run(["audit", "--explain", word]).stdout, told.stdout);
    }
    let wrong = run(["explain", "core/mcr"]);
    assert_eq!((wrong.code, &*wrong.stdout), (Some(2), ""));
    assert!(wrong.stderr.contains("did you mean aks/core/mcr"), "{}", wrong.stderr);
    assert!(run(["explain"]).stdout.contains("tls_reset"));
}

#[test]
fn shells_and_man_know_the_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let told = run(["completions", shell]);
        assert_eq!((told.code, &*told.stderr), (Some(0), ""));
        assert!(told.stdout.contains("egress-auditor") && told.stdout.contains("audit"), "{shell}");
    }
    assert!(run(["man"]).stdout.contains(".TH egress-auditor 1"));
    let folder = tempfile::tempdir().unwrap();
    let told = run(["man".as_ref(), folder.path().as_os_str()]);
    assert_eq!((told.code, &*told.stderr), (Some(0), ""));
    for page in ["egress-auditor.1", "egress-auditor-audit.1", "egress-auditor-merge.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}

#[test]
fn every_class_can_fail_a_pipeline() {
    use egress_auditor::report::GateClass;
    for class in GateClass::ALL {
        let told = audit("reachable", &["--fail-on", class.name()]);
        assert!(matches!(told.code, Some(0 | 1)), "{}: {}", class.name(), told.stderr);
    }
    let case = common::fixtures().join("syn-dropped/capture.pcap");
    let told = run(["audit", "--fail-on", "not-exercised", case.to_str().unwrap()]);
    assert_eq!(told.code, Some(1));
}

/// The path of a file in a folder of its own.
fn scratch(test: &str, name: &str) -> String {
    let folder = std::env::temp_dir().join(format!("egress-auditor-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_partial_is_judged_as_its_capture() {
    let site =
        |case: &str| common::fixtures().join(case).join("profile.toml").display().to_string();
    for case in ["reachable", "reset-after-clienthello", "search-domains", "http-470", "drops"] {
        let capture = common::capture(&common::fixtures().join(case));
        let capture = capture.to_str().unwrap();
        let (site, file) = (site(case), scratch("partial", &format!("{case}.partial")));
        let json = ["--format", "json", "--fail-on", "none", "--node", "n1", "--profile", &site];
        let report = run(["audit", capture, "--partial", &file].iter().chain(&json));
        assert_eq!(report.code, Some(0), "{}", report.stderr);
        let told = scratch("partial", &format!("{case}.json"));
        std::fs::write(&told, &report.stdout).unwrap();
        let judged = run(["merge", "--fail-on", "none", "--profile", &site, &file]);
        assert_eq!((judged.code, &*judged.stderr), (Some(0), ""));
        assert_eq!(judged.stdout, run(["merge", "--fail-on", "none", &told]).stdout, "{case}");
    }
}

#[test]
fn a_partial_is_judged_by_another_profile() {
    let case = common::fixtures().join("reset-after-clienthello");
    let (capture, file) = (case.join("capture.pcap"), scratch("profile", "node7.partial"));
    run(["audit", capture.to_str().unwrap(), "--partial", &file]);
    let site = scratch("profile", "site.toml");
    std::fs::write(&site, "catalogs = [\"aml-firewall\"]\n").unwrap();
    let judged = run(["merge", "--profile", &site, &file]);
    assert!(judged.stdout.contains("aml-firewall/") && !judged.stdout.contains("\"aks/"));
    // Its name is the file's.
    assert!(judged.stdout.contains("node7"), "{}", judged.stdout);
}

#[test]
fn a_damaged_partial_is_refused() {
    let case = common::fixtures().join("reachable").join("capture.pcap");
    let file = scratch("damaged", "node.partial");
    assert_eq!(run(["audit", case.to_str().unwrap(), "--partial", &file]).code, Some(0));
    let whole = std::fs::read(&file).unwrap();
    let bad = scratch("damaged", "bad.partial");
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        for bytes in [&whole[..at], &changed] {
            std::fs::write(&bad, bytes).unwrap();
            let judged = run(["merge", &bad]);
            // gzip's header has bytes that mean nothing here.
            let unharmed = judged.code == Some(0) && (3..10).contains(&at);
            let refused = judged.code == Some(2) && judged.stderr.contains("bad.partial");
            assert!(unharmed || refused, "byte {at}: {:?} {}", judged.code, judged.stderr);
        }
    }
}
