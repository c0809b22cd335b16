//! What docs/deploy holds: files that would work, as far as that shows without a cluster.

#![cfg(feature = "live")]
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path, process::Command};

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

fn deploy(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// YAML documents as JSON.
fn documents(text: &str) -> Vec<Value> {
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    let mut documents = Vec::new();
    for event in Parser::new_from_str(text) {
        let done = match event.unwrap().0 {
            Event::Scalar(text, style, ..) => match (&*text, style == ScalarStyle::Plain) {
                ("true", true) => Value::Bool(true),
                ("false", true) => Value::Bool(false),
                (number, true) if number.parse::<u64>().is_ok() && !number.starts_with('0') => {
                    number.parse::<u64>().unwrap().into()
                }
                ("0", true) => 0.into(),
                (text, _) => text.into(),
            },
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().unwrap().0,
            _ => continue,
        };
        match open.last_mut() {
            None => documents.push(done),
            Some((Value::Array(list), _)) => list.push(done),
            Some((Value::Object(map), key)) => match key.take() {
                None => *key = Some(done.as_str().unwrap().to_owned()),
                Some(key) => assert!(map.insert(key, done).is_none(), "a key twice"),
            },
            Some(_) => unreachable!(),
        }
    }
    documents
}

/// Runs a deployment's command where its interface doesn't exist: all else must be right.
fn try_out(arguments: &[String], folder: &Path) {
    let arguments = arguments.iter().map(|argument| {
        let here = folder.to_str().unwrap();
        let argument = argument.replace("/etc/egress-auditor", here);
        argument.replace("/var/lib/egress-auditor", here).replace("%S/egress-auditor", here)
    });
    let arguments: Vec<_> = arguments
        .map(|argument| match argument.as_str() {
            "any" => "no-such-if0".to_owned(),
            "--interface=any" => "--interface=no-such-if0".to_owned(),
            _ => argument,
        })
        .collect();
    let output =
        Command::new(env!("CARGO_BIN_EXE_egress-auditor")).args(&arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("egress-auditor: interface no-such-if0: "), "{arguments:?}: {said}");
}

#[test]
fn the_daemon_set_fits_together() {
    let all = documents(&deploy("daemonset.yaml"));
    let find = |kind: &str| all.iter().find(|document| document["kind"] == kind).unwrap();
    for (kind, version) in [
        ("Namespace", "v1"),
        ("ServiceAccount", "v1"),
        ("Role", "rbac.authorization.k8s.io/v1"),
        ("RoleBinding", "rbac.authorization.k8s.io/v1"),
        ("ConfigMap", "v1"),
        ("DaemonSet", "apps/v1"),
    ] {
        assert_eq!(find(kind)["apiVersion"], version);
        assert_eq!(find(kind)["metadata"]["name"], "egress-auditor");
        if kind != "Namespace" {
            assert_eq!(find(kind)["metadata"]["namespace"], "egress-auditor");
        }
    }
    assert_eq!(all.len(), 6);
    let set = &find("DaemonSet")["spec"];
    assert_eq!(set["selector"]["matchLabels"], set["template"]["metadata"]["labels"]);
    let pod = &set["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["serviceAccountName"], "egress-auditor");
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    assert!(container["resources"]["limits"]["memory"].is_string());
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]));
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in find("ConfigMap")["data"].as_object().unwrap() {
        fs::write(folder.path().join(name), text.as_str().unwrap()).unwrap();
    }
    let arguments = container["args"].as_array().unwrap().iter();
    let arguments: Vec<_> = arguments.map(|text| text.as_str().unwrap().to_owned()).collect();
    try_out(&arguments, folder.path());
}

#[test]
fn the_unit_starts_what_there_is() {
    let unit = deploy("egress-auditor.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap().to_owned()
    };
    let mut words = value("ExecStart").split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words.remove(0), "/usr/local/bin/egress-auditor");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site.toml"), "region = \"westeurope\"\n").unwrap();
    try_out(&words, folder.path());
    assert_eq!(value("CapabilityBoundingSet"), "CAP_NET_RAW");
    verify(&unit);
}

/// `systemd-analyze verify`, with a program that exists.
fn verify(unit: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("egress-auditor.service");
    fs::write(&file, unit.replace("/usr/local/bin/egress-auditor", "/bin/true")).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&file).output() {
        Err(error) => println!("skipped: no systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
}
