//! Live: the lab records a few cases anew, and their audits must say what was reviewed.
//!
//! Needs Linux, root and the programs in [`PROGRAMS`]; skips with a printed reason otherwise. All
//! traffic stays in network namespaces, which the recorder removes.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

const CASES: [&str; 7] = [
    "reachable",
    "syn-dropped",
    "syn-reset",
    "icmp-prohibited",
    "dns-nxdomain",
    "reset-after-clienthello",
    "unexpected",
];

/// What the recorder and these cases run.
const PROGRAMS: [&str; 11] = [
    "ip", "ss", "setpriv", "ethtool", "nft", "tcpdump", "curl", "nginx", "dnsmasq", "python3",
    "openssl",
];

/// About 15 s on an idle machine of two cores.
const TIME_LIMIT: Duration = Duration::from_secs(150);

#[test]
fn fresh_captures_are_judged_like_the_committed_ones() {
    if let Some(reason) = obstacle() {
        println!("skipped: {reason}");
        return;
    }
    let out = TemporaryFolder::new();
    let began = Instant::now();
    record(&out.0);
    println!("{} cases recorded in {:.1} s", CASES.len(), began.elapsed().as_secs_f64());
    let wrong: Vec<_> = CASES.iter().filter_map(|case| difference(case, &out.0)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Why the lab can't run here.
fn obstacle() -> Option<String> {
    if !recorder().exists() {
        return Some(format!("{} isn't part of the package", recorder().display()));
    }
    if output("id", &["-u"]).as_deref() != Some("0\n") {
        return Some("network namespaces need root".into());
    }
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !is_installed(program)).collect();
    if !missing.is_empty() {
        return Some(format!("the lab needs {}; .ci/setup installs them", missing.join(", ")));
    }
    // Some containers' root may not make namespaces, and some kernels lack veth or nftables.
    let script = "ip netns add $0 && trap 'ip netns del $0' EXIT && ip netns exec $0 sh -ec \
                  'ip link add veth0 type veth peer name veth1; nft add table inet lab'";
    let name = format!("egresslab{}-probe", process::id());
    let possible = output("sh", &["-ec", script, &name]).is_some();
    (!possible).then(|| "this machine has no network namespaces with veth and nftables".into())
}

fn recorder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lab/record")
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What a command prints; `None` when it fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Records the cases into a folder.
fn record(out: &Path) {
    let log = out.join("log");
    // When this process dies, the recorder ends too, and cleans up.
    let mut recorder = Command::new("setpriv")
        .args(["--pdeathsig", "TERM"])
        .arg(recorder())
        .args(["--no-check", "--out"])
        .arg(out)
        .args(CASES)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let ended = wait(&mut recorder, TIME_LIMIT);
    if ended.is_none() {
        stop(&mut recorder);
    }
    let log = fs::read_to_string(log).unwrap();
    match ended {
        None => panic!("recording takes more than {} s:\n{log}", TIME_LIMIT.as_secs()),
        Some(well) => assert!(well, "{log}"),
    }
}

/// Whether the process ended well; `None` when it still runs after the limit.
fn wait(process: &mut Child, limit: Duration) -> Option<bool> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return Some(status.success());
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Asks the recorder to clean up and end, which takes as long as the cases under way.
fn stop(recorder: &mut Child) {
    let _ = Command::new("kill").arg(recorder.id().to_string()).status();
    if wait(recorder, Duration::from_secs(30)).is_none() {
        let _ = recorder.kill();
        let _ = recorder.wait();
    }
}

/// How the audit of a fresh capture differs from the reviewed one.
fn difference(case: &str, out: &Path) -> Option<String> {
    let expected = fs::read_to_string(common::fixtures().join(case).join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let folder = out.join(case);
    let audit = Command::new(env!("CARGO_BIN_EXE_egress-auditor"))
        .args(["audit", "--format", "json", "--profile"])
        .args([folder.join("profile.toml"), folder.join("capture.pcap")])
        .output()
        .unwrap();
    let Ok(told) = serde_json::from_slice(&audit.stdout) else {
        return Some(format!("{case}: {}", String::from_utf8_lossy(&audit.stderr)));
    };
    let exit = audit.status.code().map(i64::from);
    let expected = (expected["exit"].as_i64(), reviewed_rules(&expected), destinations(&expected));
    let told = (exit, rules(&told), destinations(&told));
    (expected != told).then(|| format!("{case}\n  - {expected:?}\n  + {told:?}"))
}

/// The verdicts of the rules that were tried, by the rules' ids, in `expected.json`.
fn reviewed_rules(expected: &Value) -> BTreeMap<&str, &str> {
    let rules = expected["rules"].as_object().unwrap();
    rules.iter().map(|(id, verdict)| (id.as_str(), verdict.as_str().unwrap())).collect()
}

/// The same in a report.
fn rules(report: &Value) -> BTreeMap<&str, &str> {
    let rules = report["rules"].as_array().unwrap().iter();
    let verdicts = rules.map(|rule| (text(rule, "id"), text(rule, "verdict")));
    verdicts.filter(|(_, told)| !matches!(*told, "not_exercised" | "not_applicable")).collect()
}

/// A line for each destination, of what is the same in every recording: not how often a client
/// tried, nor the frames.
fn destinations(report: &Value) -> BTreeSet<String> {
    let line = |found: &Value| {
        let outcomes: Vec<_> = found["outcomes"].as_object().unwrap().keys().collect();
        let told = ["name", "transport", "port", "class", "verdict", "stage", "flags"];
        let told: Vec<_> = told.iter().map(|key| found[*key].to_string()).collect();
        format!("{} {outcomes:?}", told.join(" "))
    };
    report["destinations"].as_array().unwrap().iter().map(line).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

/// A folder that goes when the test ends, well or not.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("egress-auditor-lab-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
