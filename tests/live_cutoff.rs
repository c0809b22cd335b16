//! The cut-off in the kernel: bulk isn't handed over, and the report is the same.
//!
//! Needs Linux, root and some programs; skips with a printed reason otherwise.

#![cfg(all(target_os = "linux", feature = "cli", feature = "live"))]
#![allow(clippy::unwrap_used)]

#[path = "live/lab.rs"]
mod lab;
#[path = "live/told.rs"]
mod told;

use std::{fs, process::Command};

use lab::{Lab, Program};
use serde_json::Value;
use told::{forget, json, profile, rule};

/// What the big file weighs.
const BULK: u64 = 120 << 20;

/// Serves one file by TLS, and takes whatever comes by TCP on another port.
fn serve(lab: &Lab) -> Program {
    let script = format!(
        "import socket, ssl, threading\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         context.load_cert_chain({:?}, {:?})\n\
         listener = socket.create_server(('203.0.113.20', 8443))\n\
         def answer(s):\n\
         \x20 s = context.wrap_socket(s, server_side=True)\n\
         \x20 s.recv(4096)\n\
         \x20 s.sendall(b'HTTP/1.0 200 OK\\r\\nContent-Length: {BULK}\\r\\n\\r\\n')\n\
         \x20 for _ in range({BULK} >> 20): s.sendall(bytes(1 << 20))\n\
         \x20 s.close()\n\
         def hosts(s):\n\
         \x20 f = s.makefile('rb')\n\
         \x20 while True:\n\
         \x20   line = f.readline()\n\
         \x20   if not line: return s.close()\n\
         \x20   size = int(line.split()[1][1:])\n\
         \x20   while f.readline().strip(): pass\n\
         \x20   s.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % size + bytes(size))\n\
         def web(l):\n\
         \x20 while True: threading.Thread(target=hosts, args=(l.accept()[0],)).start()\n\
         threading.Thread(target=web, args=(socket.create_server(('203.0.113.20', 80)),)).start()\n\
         def swallow(u):\n\
         \x20 n = 0\n\
         \x20 while True:\n\
         \x20   peer = u.recvfrom(65536)[1]; n += 1\n\
         \x20   if n % 50 == 0: u.sendto(b'thanks', peer)\n\
         udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('203.0.113.20', 7000))\n\
         threading.Thread(target=swallow, args=(udp,)).start()\n\
         print('serves', flush=True)\n\
         while True: threading.Thread(target=answer, args=(listener.accept()[0],)).start()",
        lab.path("cert.pem"),
        lab.path("key.pem"),
    );
    let server = lab.start_in_net(&["python3", "-c", &script]);
    server.wait_for("serves");
    server
}

fn download(lab: &Lab) {
    let url = "https://management.azure.com:8443/";
    let curl = ["curl", "-sk4", "-o", "/dev/null", "--max-time", "60", "-w", "%{size_download}"];
    let done = lab.in_node(&[&curl[..], &[url]].concat());
    assert_eq!(String::from_utf8(done.stdout).unwrap(), BULK.to_string());
}

/// Asks for large things and small ones, of several hosts on one connection.
fn ask_hosts(lab: &Lab) {
    let script = "import socket\n\
                  s = socket.create_connection(('203.0.113.20', 80))\n\
                  f = s.makefile('rb')\n\
                  for host, size in [('one', 3000000), ('two', 5), ('three', 2000000), ('four', 7)]:\n\
                  \x20 s.sendall(b'GET /%d HTTP/1.1\\r\\nHost: %s.example.net\\r\\n\\r\\n' \
                  % (size, host.encode()))\n\
                  \x20 while f.readline().strip(): pass\n\
                  \x20 f.read(size)\n\
                  s.close()";
    assert!(lab.in_node(&["python3", "-c", script]).status.success());
}

fn send_datagrams(lab: &Lab) {
    let script = "import socket, time\n\
                  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  s.connect(('203.0.113.20', 7000))\n\
                  for n in range(2000):\n\
                  \x20 s.send(bytes(1200))\n\
                  \x20 if n % 50 == 49: s.recv(100)";
    assert!(lab.in_node(&["python3", "-c", script]).status.success());
}

/// Two reports of the same packets, the second with a cut-off.
fn both(lab: &Lab, more: &[&str], traffic: impl Fn()) -> Option<[Value; 2]> {
    let profile = profile(lab);
    let (whole, cut) = (lab.path("whole.json"), lab.path("cut.json"));
    let common = ["-i", "eth0", "--profile", &profile, "--format", "json", "-o"];
    let first = lab.audit(&[&common[..], &[&whole[..], "--buffer-size", "400M"]].concat());
    let second = lab.audit(&[&common[..], &[&cut[..], "--cutoff"], more].concat());
    if second.said().contains("no cut-off") {
        println!("skipped: {}", second.said());
        return None;
    }
    traffic();
    for audit in [first, second] {
        let (code, said) = audit.end();
        assert!(matches!(code, Some(0 | 1)), "{said}");
    }
    Some([json(&whole), json(&cut)])
}

/// What a cut-off must not change.
fn comparable(report: &Value) -> Value {
    let mut told = serde_json::json!({
        "rules": report["rules"], "destinations": report["destinations"],
        "summary": report["summary"],
    });
    // The kernel stamps a frame for each of its readers anew, and numbers differ where some are left
    // out.
    forget(&mut told, &["ts", "first", "last", "frame"]);
    told
}

#[test]
fn bulk_is_cut_and_the_report_stays() {
    for more in [&[][..], &["--rings", "3"], &["--window", "500ms"]] {
        let Some(lab) = Lab::new() else { return };
        let _server = serve(&lab);
        lab.block("mcr.microsoft.com");
        let traffic = || {
            assert!(lab.fetch("management.azure.com"));
            assert!(!lab.fetch("mcr.microsoft.com"));
            download(&lab);
            ask_hosts(&lab);
            send_datagrams(&lab);
            assert!(lab.fetch("telemetry.example.net"));
        };
        let Some([whole, cut]) = both(&lab, more, traffic) else { return };
        assert_eq!(whole["coverage"]["dropped"], 0);
        assert_eq!(rule(&whole, "aks/core/mcr"), "blocked");
        assert_eq!(comparable(&whole), comparable(&cut), "{more:?}");
        let frames = |report: &Value| report["coverage"]["frames"].as_u64().unwrap();
        let told = &cut["inputs"][0]["live"]["cutoff"];
        let (cut_frames, bytes) = (&told["frames"], &told["bytes"]);
        let (cut_frames, bytes) = (cut_frames.as_u64().unwrap(), bytes.as_u64().unwrap());
        assert!(bytes > BULK - (1 << 20), "{told}");
        assert_eq!(told["uncounted"], 0, "{told}");
        assert_eq!(told["limit"], 64 << 10);
        assert_eq!(frames(&cut) + cut_frames, frames(&whole), "{told}");
        assert!(frames(&cut) * 3 < frames(&whole), "{} of {}", frames(&cut), frames(&whole));
        println!("{more:?}: {} of {} frames", frames(&cut), frames(&whole));
    }
}

/// Of the loopback each packet is seen twice, and counts once.
#[test]
fn copies_are_cut_alike() {
    for interface in ["lo", "any"] {
        let Some(lab) = Lab::new() else { return };
        let output = [lab.path("whole.json"), lab.path("cut.json")];
        let profile = lab.path("local.toml");
        fs::write(&profile, "[network]\nlocal = [\"127.0.0.1/32\"]\n").unwrap();
        let common = ["-i", interface, "--profile", &profile, "--format", "json", "-o"];
        let first = lab.audit(&[&common[..], &[&output[0][..], "--buffer-size", "600M"]].concat());
        let second = lab.audit(&[&common[..], &[&output[1], "--cutoff=128K"]].concat());
        if second.said().contains("no cut-off") {
            return println!("skipped: {}", second.said());
        }
        let talk = "import socket, threading\n\
                    l = socket.create_server(('127.0.0.2', 5000))\n\
                    def send():\n\
                    \x20 s = socket.create_connection(('127.0.0.2', 5000))\n\
                    \x20 for _ in range(100): s.sendall(bytes(1 << 20))\n\
                    \x20 s.close()\n\
                    threading.Thread(target=send).start()\n\
                    s = l.accept()[0]\n\
                    while s.recv(1 << 20): pass\n\
                    s.sendall(b'thanks')\n\
                    s.close()";
        assert!(lab.in_node(&["python3", "-c", talk]).status.success());
        for audit in [first, second] {
            let (code, said) = audit.end();
            assert_eq!(code, Some(0), "{said}");
        }
        let [whole, cut] = output.map(|path| json(&path));
        assert_eq!(whole["coverage"]["dropped"], 0);
        let sent = |report: &Value| {
            let all = report["destinations"].as_array().unwrap().iter();
            let ours = all.filter(|found| found["port"] == 5000);
            ours.map(|found| found["bytes"]["out"].as_u64().unwrap()).sum::<u64>()
        };
        // A retransmission counts again.
        let about = (100 << 20)..=(101 << 20);
        for report in [&whole, &cut] {
            assert!(about.contains(&sent(report)), "{interface}: {} bytes", sent(report));
        }
        assert_eq!(cut["inputs"][0]["live"]["cutoff"]["uncounted"], 0);
        let frames = |report: &Value| report["coverage"]["frames"].as_u64().unwrap();
        assert!(frames(&cut) * 3 < frames(&whole), "{} of {}", frames(&cut), frames(&whole));
    }
}

#[test]
fn without_the_right_to_it_goes_on_without() {
    let Some(lab) = Lab::new() else { return };
    let audit = [env!("CARGO_BIN_EXE_egress-auditor"), "audit", "-i", "eth0", "--cutoff"];
    let raw = ["setpriv", "--bounding-set", "-bpf,-sys_admin"];
    let refused = lab.start(&[&raw[..], &audit].concat());
    refused.wait_for("capturing on");
    let said = refused.said();
    assert!(said.contains("no cut-off (it needs CAP_BPF"), "{said}");
    assert!(lab.fetch("management.azure.com"));
    let (code, said) = refused.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("REACHABLE (1)") && !said.contains("--cutoff)"), "{said}");
}

/// As before Linux 5.19, once rights are given up.
#[test]
fn what_cannot_be_read_is_uncounted() {
    let Some(lab) = Lab::new() else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: needs strace");
    }
    let _server = serve(&lab);
    let output = lab.path("report.json");
    // The first three make two maps and a program.
    let inject = ["-e", "trace=bpf", "-e", "inject=bpf:error=EPERM:when=4+"];
    let strace = [&["strace", "-f", "-o", "/dev/null"][..], &inject].concat();
    let audit = [env!("CARGO_BIN_EXE_egress-auditor"), "audit", "-i", "eth0", "--cutoff"];
    let more = ["--format", "json", "-o", &output];
    let audit = lab.start(&[&strace[..], &audit, &more].concat());
    audit.wait_for("capturing on");
    if audit.said().contains("no cut-off") {
        return println!("skipped: {}", audit.said());
    }
    download(&lab);
    // strace doesn't hand signals on.
    let children = format!("/proc/{0}/task/{0}/children", audit.id());
    let child = fs::read_to_string(children).unwrap();
    lab.in_node(&["kill", "-INT", child.trim()]);
    lab.until("the report is written", || fs::metadata(&output).is_ok_and(|it| it.len() > 0));
    lab.until("it has ended", || !fs::exists(format!("/proc/{}", child.trim())).unwrap());
    let report = json(&output);
    let told = &report["inputs"][0]["live"]["cutoff"];
    assert!(told["bytes"].as_u64().unwrap() > BULK - (1 << 20), "{told}");
    assert_eq!(told["uncounted"], told["bytes"]);
    assert!(told["frames"].as_u64().unwrap() > 0);
}

#[test]
fn it_takes_the_place_of_filters() {
    let binary = env!("CARGO_BIN_EXE_egress-auditor");
    for filter in [&["--filter", "tcp"][..], &["--prefilter"]] {
        let arguments = [&["audit", "-i", "lo", "--cutoff"], filter].concat();
        let refused = Command::new(binary).args(&arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot be used with"));
    }
}
