//! What is written fits the schemas that are published; and those are the ones in the docs.

use std::{fs, path::Path, process::Command};

use egress_auditor::report::{observation_schema, profile_schema, read_json, report_schema};
use serde_json::Value;

use super::{audit, common, junit, run::run, sarif};

fn docs(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(name)
}

/// `UPDATE_EXPECTED=1 cargo test --test reports` rewrites the files.
#[test]
fn published_schemas_are_up_to_date() {
    for (of, schema) in [
        ("report", report_schema()),
        ("observations", observation_schema()),
        ("profile", profile_schema()),
    ] {
        let file = docs(&format!("{of}.schema.json"));
        let told = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var("UPDATE_EXPECTED").is_ok() {
            fs::write(&file, &told).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), told, "docs/schema/{of}.schema.json");
        assert_eq!(run(["schema", of]).stdout, told);
    }
}

fn validator(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(docs(name)).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn assert_valid(validator: &jsonschema::Validator, value: &Value, what: &str) {
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .take(3)
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?}");
}

#[test]
fn reports_fit_their_schema_and_read_back() {
    let validator = validator("report.schema.json");
    for case in common::cases() {
        let told = common::json(&audit(&case));
        assert_valid(&validator, &serde_json::from_str(&told).unwrap(), common::name(&case));
        assert_eq!(common::json(&read_json(&told).unwrap()), told, "{}", common::name(&case));
    }
}

#[test]
fn observations_fit_their_schema() {
    let validator = validator("observations.schema.json");
    for case in common::cases() {
        let told = run(["observe".as_ref(), common::capture(&case).as_os_str()]).stdout;
        for line in told.lines() {
            assert_valid(&validator, &serde_json::from_str(line).unwrap(), line);
        }
    }
    assert!(!validator.is_valid(&serde_json::json!({"event": "flow"})));
}

#[test]
fn profiles_fit_their_schema() {
    let validator = validator("profile.schema.json");
    for case in common::cases() {
        let text = fs::read_to_string(case.join("profile.toml")).unwrap();
        assert_valid(&validator, &toml::from_str(&text).unwrap(), common::name(&case));
    }
    let template = run(["profile", "init"]).stdout;
    assert_valid(&validator, &toml::from_str(&template).unwrap(), "template");
    assert!(!validator.is_valid(&serde_json::json!({"features": ["no-such"]})));
    assert!(!validator.is_valid(&serde_json::json!({"clud": "public"})));
}

#[test]
fn what_is_no_report_is_refused() {
    assert!(read_json("{}").unwrap_err().contains("not a report"));
    assert!(read_json(r#"{"schema": "egress-auditor/report/9"}"#).unwrap_err().contains("/9"));
}

/// The structure that readers of JUnit XML rely on: counts that are right, known elements alone.
#[test]
fn junit_counts_are_right() {
    for case in common::cases() {
        let told = junit(&audit(&case));
        let document = roxmltree::Document::parse(&told).unwrap();
        let root = document.root_element();
        let count = |node: roxmltree::Node<'_, '_>, tag: &str| {
            node.descendants().filter(|child| child.has_tag_name(tag)).count().to_string()
        };
        assert_eq!(root.attribute("tests"), Some(&*count(root, "testcase")));
        assert_eq!(root.attribute("failures"), Some(&*count(root, "failure")));
        for suite in root.children().filter(roxmltree::Node::is_element) {
            assert_eq!(suite.attribute("tests"), Some(&*count(suite, "testcase")));
            assert_eq!(suite.attribute("failures"), Some(&*count(suite, "failure")));
            assert_eq!(suite.attribute("skipped"), Some(&*count(suite, "skipped")));
        }
    }
}

/// What the standard asks for beyond its schema: a level only for what fails, rules by their index,
/// artifacts by theirs.
#[test]
fn sarif_refers_to_what_is_there() {
    for case in common::cases() {
        let log: Value = serde_json::from_str(&sarif(&audit(&case))).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let artifacts = run["artifacts"].as_array().unwrap();
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert_eq!(result["kind"] == "fail", result["level"] != "none");
            let verdict = &result["properties"]["verdict"];
            let rule = !result["ruleId"].as_str().unwrap().starts_with("destination/");
            assert_eq!(rule && verdict == "blocked", rule && result["level"] == "error");
            for place in result["locations"].as_array().into_iter().flatten() {
                let artifact = &place["physicalLocation"]["artifactLocation"];
                let index = usize::try_from(artifact["index"].as_u64().unwrap()).unwrap();
                assert_eq!(artifacts[index]["location"]["uri"], artifact["uri"]);
            }
        }
    }
}

/// The page allows its own style and script by their hashes, and loads nothing.
#[test]
fn the_page_allows_itself_alone() {
    let page = super::html(&audit(&common::fixtures().join("syn-dropped")));
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let open = format!("<{tag}>");
        let inside = page.split(open.as_str()).nth(1).unwrap();
        let inside = inside.split(&format!("</{tag}>")).next().unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, inside.as_bytes());
        let expected = format!("{directive} 'sha256-{}'", base64(digest.as_ref()));
        assert!(page.contains(&expected), "write {expected} into src/report/html/mod.rs");
    }
    assert!(page.contains("default-src 'none'"));
    for loads in [" src=", "@import", "url(", "<link", " style=", " onclick"] {
        assert!(!page.contains(loads), "{loads}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            (0..3).fold(0_u32, |word, at| word << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let index = (word >> (18 - 6 * at) & 63) as usize;
            text.push(if at <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

/// In a real browser: renders, filters, sorts, without an error or a request.
#[test]
fn a_browser_shows_the_page() {
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
            Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
        })
    else {
        println!("skipped: no chromium here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let log = folder.path().join("net.json");
    fs::write(&page, super::html(&audit(&common::fixtures().join("unexpected")))).unwrap();
    let url = format!("file://{}#?q=telemetry&k=unexpected&sort=1.0", page.display());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(&url)
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || dom.is_empty() {
        println!("skipped: {browser} doesn't run here: {}", output.status);
        return;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("CONSOLE"), "{said}");
    assert!(dom.contains("aria-sort=\"ascending\""), "not sorted");
    let rows = |hidden: bool| {
        let rows = dom.split("<tr ").skip(1).map(|row| row.split('>').next().unwrap());
        rows.filter(|row| row.contains("data-k") && row.contains("hidden") == hidden).count()
    };
    assert!(rows(false) > 0 && rows(true) > 0, "not filtered");
    let net = fs::read_to_string(&log).unwrap_or_default();
    // The browser's own requests have no origin.
    let by_page = |line: &&str| line.contains("\"initiator\":\"null\"") || line.contains("file:");
    let requests = net.lines().filter(|line| line.contains("\"url\":\"http")).filter(by_page);
    assert_eq!(requests.count(), 0);
}
