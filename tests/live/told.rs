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
