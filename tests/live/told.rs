//! What live audits say, read.

#![allow(dead_code, unreachable_pub)]

use std::fs;

use serde_json::Value;

use super::lab::Lab;

/// The site of the lab.
pub const PROFILE: &str = "region = \"westeurope\"\n[network]\nlocal = [\"10.77.1.0/24\"]\n";

pub fn profile(lab: &Lab) -> String {
    let path = lab.path("profile.toml");
    fs::write(&path, PROFILE).unwrap();
    path
}

pub fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub fn rule<'v>(report: &'v Value, id: &str) -> &'v str {
    let rules = report["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["id"] == id).unwrap()["verdict"].as_str().unwrap()
}

pub fn lines(said: &str) -> Vec<Value> {
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn has_destination(list: &Value, name: &str) -> bool {
    list.as_array().unwrap().iter().any(|found| found["name"] == name)
}

/// The windows that an audit told of, from beginning to end, while one required name was reached, one was
/// blocked, and one was reached that nobody expected: each is told once, and the report in `output` has
/// all frames of eth0.
pub fn check_windows(said: &str, output: &str) -> Vec<Value> {
    let windows = lines(said);
    assert!(windows.windows(2).all(|pair| pair[0]["end"] == pair[1]["start"]), "{said}");
    let changes = |rule: &str| {
        let all = windows.iter().flat_map(|line| line["verdicts"].as_array().unwrap());
        let verdicts = all.filter(|change| change["rule"] == rule);
        let verdicts = verdicts.map(|change| change["verdict"].as_str().unwrap());
        verdicts.filter(|verdict| *verdict != "inconclusive").collect::<Vec<_>>()
    };
    assert_eq!(changes("aks/core/mcr"), ["reachable"], "{said}");
    assert_eq!(changes("aks/core/resource-manager"), ["blocked"], "{said}");
    let unexpected =
        windows.iter().filter(|line| has_destination(&line["unexpected"], "telemetry.example.net"));
    assert_eq!(unexpected.count(), 1, "{said}");
    let frames: u64 = windows.iter().map(|line| line["frames"].as_u64().unwrap()).sum();
    let text = fs::read_to_string(output).unwrap();
    assert!(text.contains(&format!("eth0: {frames} frames")), "{frames}\n{text}");
    windows
}

/// Makes fields null, wherever they are: the kernel stamps a frame for each of its readers anew.
pub fn forget(value: &mut Value, fields: &[&str]) {
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                match fields.contains(&key.as_str()) {
                    true => *value = Value::Null,
                    false => forget(value, fields),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget(item, fields)),
        _ => {}
    }
}
