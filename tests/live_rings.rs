//! Live captures on several rings beside each other.
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
use told::{check_windows, forget, has_destination, json, lines, profile, rule};

#[test]
fn the_report_is_that_of_the_same_packets_in_a_file() {
    for (interface, link_type, rings) in
        [("eth0", "EN10MB", "2"), ("any", "LINUX_SLL", "2"), ("eth0", "EN10MB", "7")]
    {
        let Some(lab) = Lab::new() else { return };
        let profile = profile(&lab);
        lab.block("mcr.microsoft.com");
        let (pcap, live) = (lab.path("node.pcap"), lab.path("live.json"));
        let tcpdump = lab.start(&["tcpdump", "-i", interface, "-y", link_type, "-U", "-w", &pcap]);
        tcpdump.wait_for("listening on");
        let live_args = ["-i", interface, "--rings", rings, "--profile", &profile];
        let audit = lab.audit(&[&live_args[..], &["--format", "json", "-o", &live]].concat());
        assert!(!audit.said().contains("one ring"), "{}", audit.said());
        for _ in 0..4 {
            assert!(lab.fetch("management.azure.com"));
            assert!(lab.fetch("telemetry.example.net"));
        }
        assert!(!lab.fetch("mcr.microsoft.com"));
        // Nobody listens there: an ICMP error comes back.
        let send = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                    s.connect(('10.77.1.1', 9999)); s.send(b'hello')";
        lab.in_node(&["python3", "-c", send]);
        // An answer in fragments.
        lab.in_node(&["ping", "-c", "1", "-W", "2", "-s", "4000", "10.77.1.1"]);
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
        assert_eq!(live["coverage"]["dropped"], 0);
        for report in [&mut live, &mut offline] {
            let input = report["inputs"][0].as_object_mut().unwrap();
            input.retain(|key, _| !["path", "live", "dropped"].contains(&key.as_str()));
            // Frames are numbered as they are read.
            forget(report, &["ts", "first", "last", "frame"]);
        }
        assert_eq!(live, offline, "{interface}");
    }
}

#[test]
fn windows_end_at_the_same_time_for_all() {
    let Some(lab) = Lab::new() else { return };
    let (profile, output) = (profile(&lab), lab.path("report.txt"));
    let audit = lab.audit(&[
        "-i",
        "eth0",
        "--rings",
        "3",
        "--window",
        "500ms",
        "--profile",
        &profile,
        "-o",
        &output,
    ]);
    assert!(lab.fetch("mcr.microsoft.com"));
    audit.wait_for("\"verdict\":\"reachable\"");
    lab.block("management.azure.com");
    assert!(!lab.fetch("management.azure.com"));
    audit.wait_for("\"verdict\":\"blocked\"");
    assert!(lab.fetch("telemetry.example.net"));
    audit.wait_for("telemetry.example.net");
    let (code, said) = audit.end();
    assert_eq!(code, Some(1), "{said}");
    check_windows(&said, &output);
}

#[test]
fn what_the_rings_lost_adds_up() {
    const OFFERED: u64 = 30_000;
    let Some(lab) = Lab::new() else { return };
    let output = lab.path("report.json");
    let arguments = ["-i", "eth0", "--rings", "2", "--buffer-size", "1M"];
    let more = ["--filter", "udp port 9999", "--format", "json", "-o", &output];
    let audit = lab.audit(&[&arguments[..], &more].concat());
    // Nobody reads while these are sent, and they don't fit into the buffers.
    audit.signal("STOP");
    let send = format!(
        "import socket\nall = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]\n\
         for n in range({OFFERED}): all[n % 20].sendto(bytes(200), ('10.77.1.1', 9999))"
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
    assert_eq!(report["inputs"][0]["frames"], seen);
}

#[test]
fn an_interface_that_goes_away_is_shared_again() {
    let Some(lab) = Lab::new() else { return };
    let (profile, output) = (profile(&lab), lab.path("report.json"));
    let arguments = ["-i", "eth0", "--rings", "2", "--window", "500ms", "--user", "root"];
    let more = ["--no-sandbox", "--profile", &profile, "--format", "json", "-o", &output];
    let audit = lab.audit(&[&arguments[..], &more].concat());
    assert!(lab.fetch("management.azure.com"));
    let back = || {
        let last = lines(&audit.said()).pop();
        last.is_some_and(|last| {
            last["gaps"].as_array().unwrap().iter().all(|gap| !gap["to"].is_null())
        })
    };
    lab.down();
    audit.wait_for("\"to\":null");
    lab.up();
    lab.until("the interface is seen to be back", back);
    assert!(lab.fetch("telemetry.example.net"));
    audit.wait_for("telemetry.example.net");
    lab.unlink();
    lab.until("the interface is seen to be gone", || !back());
    lab.link();
    lab.until("the interface is opened anew", back);
    for _ in 0..4 {
        assert!(lab.fetch("mcr.microsoft.com"));
    }
    audit.wait_for("mcr.microsoft.com");
    let (code, said) = audit.end();
    assert_eq!(code, Some(0), "{said}");
    let report = json(&output);
    assert_eq!(report["inputs"][0]["live"]["gap_count"], 2, "{report}");
    assert_eq!(report["inputs"][0]["frames"], report["coverage"]["frames"]);
    assert_eq!(report["coverage"]["midstream_flows"], 0, "{report}");
    for id in ["aks/core/mcr", "aks/core/resource-manager"] {
        assert_eq!(rule(&report, id), "reachable", "{said}");
    }
}

#[test]
fn it_goes_on_from_a_state_with_any_number_of_rings() {
    let Some(lab) = Lab::new() else { return };
    let profile = profile(&lab);
    let folder = lab.path("kept");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (state, output) = (format!("{folder}/state"), lab.path("report.json"));
    let mut frames = 0;
    for (rings, name) in
        [("3", "management.azure.com"), ("1", "mcr.microsoft.com"), ("2", "telemetry.example.net")]
    {
        let arguments = ["-i", "eth0", "--rings", rings, "--profile", &profile, "--state", &state];
        let audit = lab.audit(&[&arguments[..], &["--format", "json", "-o", &output]].concat());
        assert!(lab.fetch(name));
        let (code, said) = audit.end();
        assert_eq!(code, Some(0), "{said}");
        let report = json(&output);
        let now = report["coverage"]["frames"].as_u64().unwrap();
        assert!(now > frames, "{now} after {frames}");
        frames = now;
        let numbers = numbers(&report["destinations"]);
        assert!(numbers.iter().all(|number| (1..=now).contains(number)), "{numbers:?} of {now}");
        assert_eq!(rule(&report, "aks/core/resource-manager"), "reachable");
    }
    let report = json(&output);
    assert_eq!(rule(&report, "aks/core/mcr"), "reachable");
    assert!(has_destination(&report["destinations"], "telemetry.example.net"));
}

/// The frames of all evidence.
fn numbers(value: &Value) -> Vec<u64> {
    let items: Vec<_> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    let own = value.get("frame").and_then(Value::as_u64);
    own.into_iter().chain(items.into_iter().flat_map(numbers)).collect()
}

#[test]
fn where_the_kernel_cannot_spread_frames_one_ring_reads_all() {
    let Some(lab) = Lab::new() else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: needs strace");
    }
    let output = lab.path("report.json");
    let audit = ["audit", "-i", "eth0", "--rings", "2", "--format", "json", "-o", &output];
    // Which of its calls it is depends on libpcap.
    for call in 1..20 {
        let inject = format!("inject=setsockopt:error=ENOPROTOOPT:when={call}");
        let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=setsockopt", "-e", &inject];
        let binary = [env!("CARGO_BIN_EXE_egress-auditor")];
        let audit = lab.start(&[&strace[..], &binary, &audit].concat());
        lab.until("it captures or ends", || {
            let said = audit.said();
            said.contains("capturing on") || said.contains("interface eth0: ")
        });
        // strace doesn't hand signals on, and what it traced goes on without it.
        let signal = |signal| {
            let children = format!("/proc/{0}/task/{0}/children", audit.id());
            let child = fs::read_to_string(children).unwrap_or_default();
            lab.in_node(&["kill", signal, child.trim()]);
        };
        if !audit.said().contains("one ring, and so one core") {
            signal("-KILL");
            continue;
        }
        audit.wait_for("capturing on");
        assert!(lab.fetch("management.azure.com"));
        signal("-INT");
        lab.until("the report is written", || fs::metadata(&output).is_ok_and(|it| it.len() > 0));
        return assert_eq!(rule(&json(&output), "aks/core/resource-manager"), "reachable");
    }
    panic!("it wasn't refused anything");
}
