//! Live captures: a node's real traffic in network namespaces, captured, judged and lost.
//!
//! Needs Linux, root and some programs; skips with a printed reason otherwise.

#![cfg(all(target_os = "linux", feature = "cli", feature = "live"))]
#![allow(clippy::unwrap_used)]

#[path = "live/lab.rs"]
mod lab;
#[path = "live/told.rs"]
mod told;

use std::{fs, process::Command};

use lab::Lab;
use serde_json::Value;
use told::{PROFILE, check_windows, forget, has_destination, json, lines, profile, rule};

#[test]
fn a_live_report_is_that_of_the_same_packets_in_a_file() {
    for (interface, link_type) in [("eth0", "EN10MB"), ("any", "LINUX_SLL")] {
        let Some(lab) = Lab::new() else { return };
        let profile = profile(&lab);
        lab.block("mcr.microsoft.com");
        let (pcap, live) = (lab.path("node.pcap"), lab.path("live.json"));
        let tcpdump = lab.start(&["tcpdump", "-i", interface, "-y", link_type, "-U", "-w", &pcap]);
        tcpdump.wait_for("listening on");
        let audit =
            lab.audit(&["-i", interface, "--profile", &profile, "--format", "json", "-o", &live]);
        assert!(lab.fetch("management.azure.com"));
        assert!(!lab.fetch("mcr.microsoft.com"));
        assert!(lab.fetch("telemetry.example.net"));
        let (code, said) = audit.end();
        assert_eq!(code, Some(1), "{said}");
        let mut live = json(&live);
        let offline = || {
            let audit = Command::new(env!("CARGO_BIN_EXE_egress-auditor"))
                .args(["audit", "--profile", &profile, "--format", "json", &pcap])
                .output()
                .unwrap();
            serde_json::from_slice::<Value>(&audit.stdout).unwrap_or_default()
        };
        lab.until("tcpdump has written as much", || {
            offline()["coverage"]["frames"] == live["coverage"]["frames"]
        });
        let mut offline = offline();
        tcpdump.end();
        assert_eq!(rule(&live, "aks/core/mcr"), "blocked");
        assert_eq!(rule(&live, "aks/core/resource-manager"), "reachable");
        assert_eq!(live["summary"]["unexpected"], 1);
        assert_eq!(live["coverage"]["dropped"], 0);
        assert_eq!(live["inputs"][0]["live"]["gap_count"], 0);
        // A pcap file can't tell what was lost.
        assert_eq!(live["inputs"][0]["dropped"], 0);
        assert!(offline["inputs"][0]["dropped"].is_null());
        for report in [&mut live, &mut offline] {
            let input = report["inputs"][0].as_object_mut().unwrap();
            input.retain(|key, _| !["path", "live", "dropped"].contains(&key.as_str()));
            forget(report, &["ts", "first", "last"]);
        }
        assert_eq!(live, offline, "{interface}");
    }
}

#[test]
fn windows_tell_what_changed() {
    let Some(lab) = Lab::new() else { return };
    let profile = profile(&lab);
    let output = lab.path("report.txt");
    let audit =
        lab.audit(&["-i", "eth0", "--window", "500ms", "--profile", &profile, "-o", &output]);
    assert!(lab.fetch("mcr.microsoft.com"));
    audit.wait_for("\"verdict\":\"reachable\"");
    lab.block("management.azure.com");
    assert!(!lab.fetch("management.azure.com"));
    audit.wait_for("\"verdict\":\"blocked\"");
    assert!(lab.fetch("telemetry.example.net"));
    audit.wait_for("telemetry.example.net");
    // The report is kept up to date all the time.
    lab.until("the report has it too", || {
        fs::read_to_string(&output).unwrap().contains("telemetry.example.net")
    });
    let (code, said) = audit.end();
    assert_eq!(code, Some(1), "{said}");
    let windows = check_windows(&said, &output);
    assert!(windows.iter().all(|line| line["event"] == "window"), "{said}");
    let newly =
        windows.iter().filter(|line| has_destination(&line["blocked"], "management.azure.com"));
    assert_eq!(newly.count(), 1, "{said}");
}

#[test]
fn without_output_the_report_is_the_last_line() {
    let Some(lab) = Lab::new() else { return };
    let audit = lab.audit(&["-i", "eth0", "--window", "1h"]);
    assert!(lab.fetch("management.azure.com"));
    let (code, said) = audit.end();
    assert_eq!(code, Some(0), "{said}");
    let lines = lines(&said);
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(lines[1]["event"], "report");
    assert_eq!(lines[1]["schema"], "egress-auditor/report/1");
    assert_eq!(rule(&lines[1], "aks/core/resource-manager"), "reachable");
}

#[test]
fn hangup_reads_the_allowlist_anew_and_keeps_the_old_when_the_new_is_wrong() {
    let Some(lab) = Lab::new() else { return };
    let (profile, output) = (profile(&lab), lab.path("report.json"));
    let list = lab.path("list.csv");
    fs::write(&list, "destination,port\n*.example.org,443\n").unwrap();
    let arguments = ["-i", "eth0", "--profile", &profile, "--allowlist", &list];
    let arguments = [&arguments[..], &["--format", "json", "-o", &output]].concat();
    let audit = lab.audit(&arguments);
    assert!(lab.fetch("telemetry.example.net"));
    fs::write(&list, "no heading\n").unwrap();
    audit.signal("HUP");
    audit.wait_for("stay as they were");
    fs::write(&list, "destination,port\n*.example.net,443\n").unwrap();
    audit.signal("HUP");
    audit.wait_for("read profile, catalogs and allowlist anew");
    let (code, said) = audit.end();
    assert_eq!(code, Some(0), "{said}");
    let report = json(&output);
    assert_eq!(report["summary"]["unexpected"], 0, "{report}");
    assert_eq!(report["summary"]["allowed"], 1, "{report}");
}

#[test]
fn hangup_reads_the_profile_anew_and_keeps_the_old_when_the_new_is_wrong() {
    let Some(lab) = Lab::new() else { return };
    let profile = profile(&lab);
    let output = lab.path("report.json");
    let arguments = ["-i", "eth0", "--profile", &profile, "--format", "json", "-o", &output];
    let audit = lab.audit(&arguments);
    assert!(lab.fetch("telemetry.example.net"));
    fs::write(&profile, "region = 7").unwrap();
    audit.signal("HUP");
    audit.wait_for("stay as they were");
    let more = format!("{PROFILE}internal = [\"198.51.100.0/24\"]\n");
    fs::write(&profile, more).unwrap();
    audit.signal("HUP");
    audit.wait_for("read profile and catalogs anew");
    let (code, said) = audit.end();
    assert_eq!(code, Some(0), "{said}");
    let report = json(&output);
    assert_eq!(report["summary"]["unexpected"], 0, "{report}");
    assert_eq!(report["profile"]["region"], "westeurope");
}

#[test]
fn hangup_changes_the_resolvers() {
    let Some(lab) = Lab::new() else { return };
    let profile = profile(&lab);
    let output = lab.path("report.txt");
    let audit =
        lab.audit(&["-i", "eth0", "--window", "500ms", "--profile", &profile, "-o", &output]);
    // A question for a name, to a port where nobody answers.
    let ask = |name: &str| {
        let send = format!(
            "import socket\nq = b''.join(bytes([len(l)]) + l for l in b'{name}'.split(b'.'))\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             s.sendto(bytes.fromhex('000101000001000000000000') + q + bytes([0, 0, 1, 0, 1]), \
             ('10.77.1.1', 5300))"
        );
        assert!(lab.in_node(&["python3", "-c", &send]).status.success());
    };
    let told = |name: &str| fs::read_to_string(&output).unwrap_or_default().contains(name);
    ask("early.example.net");
    assert!(lab.fetch("management.azure.com"));
    lab.until("the question was captured", || told("management.azure.com"));
    fs::write(&profile, format!("{PROFILE}resolvers = [\"10.77.1.1:5300\"]\n")).unwrap();
    audit.signal("HUP");
    audit.wait_for("read profile and catalogs anew");
    lab.until("the question is known for one", || {
        ask("late.example.net");
        told("late.example.net")
    });
    let (_, said) = audit.end();
    // What was read before stays as it was read.
    assert!(told("management.azure.com") && !told("early.example.net"), "{said}");
}

#[test]
fn an_interface_that_goes_down_or_away_leaves_a_gap() {
    let Some(lab) = Lab::new() else { return };
    let profile = profile(&lab);
    let output = lab.path("report.json");
    let audit = lab.audit(&[
        "-i",
        "eth0",
        "--window",
        "500ms",
        "--user",
        "root",
        "--no-sandbox",
        "--profile",
        &profile,
        "--format",
        "json",
        "-o",
        &output,
    ]);
    assert!(lab.fetch("management.azure.com"));
    lab.down();
    audit.wait_for("\"to\":null");
    lab.up();
    let back = || {
        let last = lines(&audit.said()).pop().unwrap();
        last["gaps"].as_array().unwrap().iter().all(|gap| !gap["to"].is_null())
    };
    lab.until("the interface is seen to be back", back);
    assert!(lab.fetch("telemetry.example.net"));
    audit.wait_for("telemetry.example.net");
    lab.unlink();
    lab.until("the interface is seen to be gone", || !back());
    lab.link();
    lab.until("the interface is opened anew", back);
    assert!(lab.fetch("mcr.microsoft.com"));
    audit.wait_for("mcr.microsoft.com");
    let (code, said) = audit.end();
    assert_eq!(code, Some(0), "{said}");
    let report = json(&output);
    let live = &report["inputs"][0]["live"];
    assert_eq!(live["gap_count"], 2, "{report}");
    assert_eq!(live["gaps"].as_array().unwrap().len(), 2);
    assert_eq!(report["inputs"][0]["frames"], report["coverage"]["frames"]);
    for id in ["aks/core/mcr", "aks/core/resource-manager"] {
        assert_eq!(rule(&report, id), "reachable", "{said}");
    }
}

#[test]
fn lost_frames_are_counted() {
    const OFFERED: u64 = 20_000;
    let Some(lab) = Lab::new() else { return };
    let output = lab.path("report.json");
    let audit = lab.audit(&[
        "-i",
        "eth0",
        "--buffer-size",
        "1M",
        "--filter",
        "udp port 9999",
        "--format",
        "json",
        "-o",
        &output,
    ]);
    // Nobody reads while these are sent, and they don't fit into the buffer.
    audit.signal("STOP");
    let send = format!(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         for _ in range({OFFERED}): s.sendto(bytes(200), ('10.77.1.1', 9999))"
    );
    assert!(lab.in_node(&["python3", "-c", &send]).status.success());
    audit.signal("CONT");
    let (_, said) = audit.end();
    let report = json(&output);
    let (seen, lost) = (&report["coverage"]["frames"], &report["coverage"]["dropped"]);
    let (seen, lost) = (seen.as_u64().unwrap(), lost.as_u64().unwrap());
    assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost: {said}");
    assert_eq!(seen + lost, OFFERED, "{seen} seen, {lost} lost: {said}");
    assert_eq!(report["inputs"][0]["live"]["received"], OFFERED);
}

#[test]
fn observe_gives_up_rights_too() {
    let Some(lab) = Lab::new() else { return };
    let observe = lab.start(&[env!("CARGO_BIN_EXE_egress-auditor"), "observe", "-i", "eth0"]);
    observe.wait_for("capturing on");
    assert!(observe.said().contains("goes on as user nobody, without capabilities"));
    assert_eq!(status(observe.id(), "Uid").split('\t').next(), Some("65534"));
    assert_eq!(status(observe.id(), "CapPrm"), "0000000000000000");
    assert!(lab.fetch("management.azure.com"));
    observe.wait_for("management.azure.com");
    let (code, said) = observe.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"event\":\"flow\""), "{said}");
}

/// What a process may do, from /proc.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

#[test]
fn rights_are_given_up_once_the_capture_is_open() {
    let Some(lab) = Lab::new() else { return };
    let output = lab.path("report.txt");
    let audit = lab.audit(&["-i", "eth0", "--window", "500ms", "-o", &output]);
    let said = audit.said();
    assert!(said.contains("goes on as user nobody, without capabilities"), "{said}");
    let tasks = fs::read_dir(format!("/proc/{}/task", audit.id())).unwrap();
    for task in tasks {
        let task: u32 = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        assert_eq!(status(task, "Uid").split('\t').next(), Some("65534"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(task, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(task, "NoNewPrivs"), "1");
        assert_eq!(status(task, "Groups"), "");
        if said.contains("seccomp: ") {
            assert_eq!(status(task, "Seccomp"), "2");
        }
    }
    assert!(lab.fetch("management.azure.com"));
    audit.wait_for("management.azure.com");
    // The interface's state is still known.
    lab.down();
    audit.wait_for("\"to\":null");
    lab.up();
    let (code, said) = audit.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read_to_string(output).unwrap().contains("REACHABLE (1)"), "{said}");
}

#[test]
fn the_right_to_capture_is_all_it_needs() {
    let Some(lab) = Lab::new() else { return };
    let binary = env!("CARGO_BIN_EXE_egress-auditor");
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let none = [binary, "audit", "-i", "eth0"];
    let refused = lab.in_node(&nobody.iter().chain(&none).copied().collect::<Vec<_>>());
    let said = String::from_utf8(refused.stderr).unwrap();
    if said.contains("failed to execute") {
        return println!("skipped: nobody may not run {binary}");
    }
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("sudo setcap cap_net_raw+ep"), "{said}");
    let raw = ["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"];
    let windows = [binary, "audit", "-i", "eth0", "--window", "500ms"];
    let argv: Vec<_> = nobody.iter().chain(&raw).chain(&windows).copied().collect();
    let audit = lab.start(&argv);
    audit.wait_for("capturing on");
    assert_eq!(status(audit.id(), "CapEff"), "0000000000000000");
    assert!(lab.fetch("management.azure.com"));
    audit.wait_for("management.azure.com");
    assert_eq!(audit.end().0, Some(0));
}

#[test]
fn what_is_known_is_served_over_http() {
    let Some(lab) = Lab::new() else { return };
    let audit = lab.audit(&["-i", "eth0", "--listen", "127.0.0.1:9469", "--window", "500ms"]);
    let get = |path: &str| {
        let url = format!("http://127.0.0.1:9469{path}");
        let output = lab.in_node(&["curl", "-s", "--max-time", "10", &url]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(get("/healthz"), "ok\n");
    assert!(lab.fetch("management.azure.com"));
    assert!(lab.fetch("telemetry.example.net"));
    audit.wait_for("telemetry.example.net");
    // Tables are looked at each second, apart from the report.
    let addresses = "egress_auditor_table_entries{table=\"addresses\",ring=\"0\"} 2\n";
    lab.until("the metrics tell", || {
        let metrics = get("/metrics");
        metrics.contains("telemetry.example.net") && metrics.contains(addresses)
    });
    let metrics = get("/metrics");
    for line in [
        "egress_auditor_unexpected_attempts{name=\"telemetry.example.net\",transport=\"tcp\",port=\"443\"} 1",
        "egress_auditor_rule_verdict{rule=\"aks/core/resource-manager\",level=\"required\",verdict=\"reachable\",stage=\"\"} 1",
        "egress_auditor_dropped_frames_total{interface=\"eth0\",cause=\"buffer\"} 0",
        "egress_auditor_attempts{outcome=\"established\"}",
        "egress_auditor_interface_up{interface=\"eth0\"} 1",
        "egress_auditor_waiting_payload_bytes{ring=\"0\"} 0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} isn't in\n{metrics}");
    }
    let report: Value = serde_json::from_str(&get("/report.json")).unwrap();
    assert_eq!(rule(&report, "aks/core/resource-manager"), "reachable");
    assert!(get("/").contains("telemetry.example.net"));
    assert_eq!(audit.end().0, Some(0));
    let refused = lab.in_node(&[
        env!("CARGO_BIN_EXE_egress-auditor"),
        "audit",
        "-i",
        "eth0",
        "--listen",
        "0.0.0.0:9469",
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--listen-token-file"));
}

#[test]
fn state_survives_being_killed() {
    let Some(lab) = Lab::new() else { return };
    let profile = profile(&lab);
    let folder = lab.path("kept");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (state, output) = (format!("{folder}/state"), lab.path("report.json"));
    let arguments = ["-i", "eth0", "--profile", &profile, "--state", &state, "--window", "500ms"];
    let arguments = [&arguments[..], &["--format", "json", "-o", &output]].concat();
    let first = lab.audit(&arguments);
    lab.block("mcr.microsoft.com");
    assert!(!lab.fetch("mcr.microsoft.com"));
    assert!(lab.fetch("telemetry.example.net"));
    first.wait_for("telemetry.example.net");
    lab.until("its window is written", || {
        let judged = merged(&state, &profile);
        judged.is_ok_and(|report| has_destination(&report["destinations"], "telemetry.example.net"))
    });
    first.signal("KILL");
    drop(first);
    let before = merged(&state, &profile).unwrap();
    // What happens meanwhile isn't seen.
    let second = lab.audit(&arguments);
    assert!(lab.fetch("management.azure.com"));
    let (code, said) = second.end();
    assert_eq!(code, Some(1), "{said}");
    let report = json(&output);
    assert_eq!(rule(&report, "aks/core/mcr"), "blocked");
    assert_eq!(rule(&report, "aks/core/resource-manager"), "reachable");
    assert!(has_destination(&report["destinations"], "telemetry.example.net"));
    assert_eq!(report["inputs"][0]["live"]["gap_count"], 1);
    assert_eq!(report["inputs"][0]["first"], before["inputs"][0]["first"]);
    assert_eq!(report["coverage"]["frames"], report["inputs"][0]["frames"]);
    let frames = |report: &Value| report["coverage"]["frames"].as_u64().unwrap();
    assert!(frames(&report) > frames(&before));
    // Nothing is left beside it.
    let left: Vec<_> =
        fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["state"]);

    // A damaged one is set aside.
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let third = lab.audit(&arguments);
    let (_, said) = third.end();
    assert!(said.contains("state.damaged, and the audit begins anew"), "{said}");
    assert_eq!(fs::read(format!("{folder}/state.damaged")).unwrap(), whole[..whole.len() / 2]);
    assert_eq!(merged(&state, &profile).unwrap()["inputs"][0]["live"]["gap_count"], 0);

    // That of another interface isn't touched.
    let other =
        lab.start(&[env!("CARGO_BIN_EXE_egress-auditor"), "audit", "-i", "lo", "--state", &state]);
    other.wait_for("it is about -i eth0");
}

/// What `merge` makes of a state.
fn merged(state: &str, profile: &str) -> serde_json::Result<Value> {
    let merge = Command::new(env!("CARGO_BIN_EXE_egress-auditor"))
        .args(["merge", "--profile", profile, state])
        .output()
        .unwrap();
    serde_json::from_slice(&merge.stdout)
}

#[test]
fn a_state_that_cannot_be_written_ends_it_at_once() {
    let Some(lab) = Lab::new() else { return };
    let state = lab.path("state");
    let binary = env!("CARGO_BIN_EXE_egress-auditor");
    let audit = lab.start(&[binary, "audit", "-i", "eth0", "--state", &state]);
    audit.wait_for("--state: cannot go on without");
}
