//! `diff` with captures and between two, and `audit --firewall-log`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use serde_json::Value;

fn run(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_egress-auditor"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(args: &[&str]) -> Value {
    let (_, out, errors) = run(args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {errors}"))
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const CASE: &str = "fixtures/reset-after-clienthello";

#[test]
fn captures_give_what_their_report_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (profile, capture) = (format!("{CASE}/profile.toml"), format!("{CASE}/capture.pcap"));
    let list = file(folder.path(), "list.txt", "*.example.com:443\n");
    let (_, report, _) = run(&["audit", "--format", "json", "--profile", &profile, &capture]);
    let report = file(folder.path(), "report.json", &report);
    let common = ["diff", "--format", "json", "--profile", &profile, "--allowlist", &list];
    let by_report = run(&[&common[..], &["--report", &report]].concat());
    let by_capture = run(&[&common[..], &[&*capture]].concat());
    assert!(!by_report.1.is_empty());
    assert_eq!(by_capture, by_report);
}

#[test]
fn a_damaged_capture_is_an_error_with_its_diff() {
    let folder = tempfile::tempdir().unwrap();
    let list = file(folder.path(), "list.txt", "*.example.com:443\n");
    let mut capture = fs::read(format!("{CASE}/capture.pcap")).unwrap();
    capture.truncate(capture.len() - 3);
    let damaged = folder.path().join("damaged.pcap");
    fs::write(&damaged, capture).unwrap();
    let (code, out, errors) = run(&["diff", "--allowlist", &list, damaged.to_str().unwrap()]);
    assert_eq!(code, 2, "{errors}");
    assert!(out.contains("needed destinations") && errors.contains("damaged.pcap"));
}

#[test]
fn the_firewalls_log_is_a_second_witness() {
    let folder = tempfile::tempdir().unwrap();
    let (profile, capture) = (format!("{CASE}/profile.toml"), format!("{CASE}/capture.pcap"));
    let audit = ["audit", "--format", "json", "--profile", &profile, &capture];
    let plain = json(&audit);
    let found = plain["destinations"].as_array().unwrap();
    let blocked = found.iter().find(|d| d["verdict"] == "blocked").unwrap();
    let (name, port) = (blocked["name"].as_str().unwrap(), blocked["port"].as_u64().unwrap());
    let (client, time) =
        (blocked["clients"][0].as_str().unwrap(), blocked["first"].as_str().unwrap());
    let line = |action: &str, name: &str, client: &str, rule: &str| {
        format!(
            "{{\"TimeGenerated\":\"{time}\",\"Action\":\"{action}\",\"Fqdn\":\"{name}\",\"DestinationPort\":{port},\"Protocol\":\"HTTPS\",\"SourceIp\":\"{client}\",\"Policy\":\"hub\",\"Rule\":\"{rule}\",\"Type\":\"AZFWApplicationRule\"}}\n"
        )
    };
    let log = line("Deny", name, client, "r1")
        + &line("Deny", name, client, "r1")
        + &line("Deny", "elsewhere.example", client, "r2")
        + &line("Deny", "elsewhere.example", "192.0.2.99", "r2");
    let log = file(folder.path(), "log.json", &log);
    let both = json(&[&audit[..], &["--firewall-log", &log]].concat());
    let told = &both["firewall_log"];
    let first = &told["destinations"][0];
    assert_eq!(
        (&first["name"], &first["denied"], &first["agreement"]),
        (&name.into(), &2.into(), &"confirms_blocked".into()),
        "{told:#}"
    );
    assert_eq!((&first["rules"][0]["rule"], &first["rules"][0]["line"]), (&"r1".into(), &1.into()));
    assert_eq!(told["denied_not_seen"][0]["target"], "elsewhere.example");
    assert_eq!(told["denied_not_seen"][0]["rules"][0]["line"], 3);
    assert_eq!(told["other_clients"], 1);
    // No verdict changes.
    assert_eq!((&both["rules"], &both["destinations"]), (&plain["rules"], &plain["destinations"]));
    let allowed = file(folder.path(), "allowed.json", &line("Allow", name, client, "r1"));
    let text = ["audit", "--profile", &profile, &capture, "--firewall-log", &allowed];
    let (_, out, _) = run(&text);
    assert!(out.contains("CONTRADICTION: the packets show it blocked"), "{out}");
    let broken = file(folder.path(), "broken.json", &line("Perhaps", name, client, "r1"));
    let (code, _, errors) = run(&[&audit[..], &["--firewall-log", &broken]].concat());
    assert_eq!(code, 2);
    assert!(errors.contains("broken.json:1: Action: `Perhaps`"), "{errors}");
}

#[test]
fn between_two_profiles_catalogs_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    let old = file(folder.path(), "old.toml", "cloud = \"public\"\nregion = \"westeurope\"\n");
    let new = file(
        folder.path(),
        "new.toml",
        "cloud = \"public\"\nregion = \"northeurope\"\nfeatures = [\"gpu\"]\n",
    );
    let list = file(folder.path(), "list.txt", "mcr.microsoft.com:443\n");
    let same = run(&["diff", "--profile", &old, "--against-profile", &old]);
    assert_eq!(same.0, 0, "{}", same.1);
    let change = json(&[
        "diff",
        "--profile",
        &old,
        "--against-profile",
        &new,
        "--allowlist",
        &list,
        "--format",
        "json",
    ]);
    let needed = change["needed_now"].as_array().unwrap();
    let gpu = needed.iter().find(|row| row["destination"] == "nvidia.github.io").unwrap();
    assert_eq!(gpu["allowlist"], "not_allowed");
    assert!(needed.iter().any(|row| row["destination"].as_str().unwrap().contains("northeurope")));
    assert!(!needed.iter().any(|row| row["destination"] == "mcr.microsoft.com"));
    let went = change["not_needed_now"].as_array().unwrap();
    assert!(went.iter().any(|row| row["destination"].as_str().unwrap().contains("westeurope")));
    let (code, out, errors) = run(&["diff", "--catalog", "aks", "--against-catalog", "aks-arc"]);
    assert_eq!(code, 1, "{errors}");
    assert!(out.contains("Rules that came") && out.contains("Rules that went"), "{out}");
    let next = file(folder.path(), "next.txt", "*.microsoft.com:443\n");
    let lists = ["diff", "--allowlist", &list, "--against-allowlist", &next];
    let (code, out, errors) = run(&lists);
    assert_eq!(code, 1, "{errors}");
    assert!(out.contains("Allowed after, not before (1)"), "{out}");
    let (code, ..) = run(&[&lists[..], &["--fail-on", "none"]].concat());
    assert_eq!(code, 0);
    let (code, _, errors) = run(&["diff"]);
    assert!(code == 2 && errors.contains("--allowlist"), "{errors}");
}
