//! `catalog` and `profile` on the command line.

#![allow(clippy::unwrap_used)] // Helpers panic as the tests that call them do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

struct Run {
    code: i32,
    out: String,
    err: String,
}

/// Runs in the folder of the documents, so that what is shown names no place.
fn run(args: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_egress-auditor"))
        .args(args)
        .current_dir(folder())
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/documents")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&run(args).out).unwrap()
}

/// A catalog file of one rule with these lines.
fn write(dir: &Path, name: &str, lines: &str) -> String {
    let file = dir.join(name);
    let text = format!(
        "name = \"t\"\ntitle = \"T\"\n[[rule]]\nid = \"t/a\"\nservice = \"t\"\ncloud = [\"public\"]\n\
         level = \"required\"\ntransport = \"tcp\"\nports = [443]\napp = \"https\"\nuse = \"T.\"\n\
         source = {{ section = \"S\" }}\n{lines}\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn documents_give_their_catalogs() {
    for document in ["clouds.md", "columns.md", "url-list.md", "targets.json"] {
        let stem = document.split('.').next().unwrap();
        let expected =
            |ending| fs::read_to_string(folder().join(format!("{stem}.{ending}"))).unwrap();
        let run = run(&["catalog", "import", document]);
        assert_eq!(run.code, 0);
        assert_eq!(run.out, expected("toml"), "{document}");
        assert_eq!(run.err, expected("stderr"), "{document}");
    }
}

#[test]
fn an_imported_document_is_its_catalog() {
    for document in ["clouds", "columns", "url-list"] {
        let (page, catalog) = (format!("{document}.md"), format!("{document}.toml"));
        assert_eq!(run(&["catalog", "diff", &page, &catalog]).code, 0);
        let lint = run(&["catalog", "lint", &catalog]);
        assert_eq!(lint.code, 0, "{}", lint.out);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.toml").display().to_string();
    let run = run(&["catalog", "import", "clouds.md", "--name", "My cloud", "-o", &file]);
    assert_eq!((run.code, &*run.out), (0, ""));
    assert!(fs::read_to_string(&file).unwrap().contains("\nname = \"my-cloud\"\n"));
}

#[test]
fn import_refuses_what_is_no_document() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    for (file, says) in [
        (file("a.md", "# Nothing\n"), "no table or list of destinations"),
        (file("a.json", "[\n{]"), "not JSON: key must be a string at line 2 column 2"),
        (file("a.txt", ""), "ends in .md or .json"),
        (dir.path().join("none.md").display().to_string(), "cannot read"),
    ] {
        let run = run(&["catalog", "import", &file]);
        assert_eq!((run.code, &*run.out), (2, ""), "{}", run.err);
        assert!(run.err.contains(says), "{}", run.err);
    }
}

#[test]
fn list_counts_rules_by_cloud() {
    let list = json(&["catalog", "list", "--format", "json"]);
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["aks", "aks-arc", "aml-firewall", "aml-kubernetes", "amlarc"]);
    assert_eq!(list[0]["document"], "aks-outbound-rules");
    assert!(list[0]["rules"]["china"].as_u64() > Some(0) && list[1]["rules"]["china"] == 0);
    assert!(run(&["catalog", "list"]).out.contains("aks-outbound-rules"));
}

#[test]
fn show_all_is_an_array_of_rules() {
    let rules = json(&["catalog", "show", "--all", "--format", "json"]);
    let rules = rules.as_array().unwrap();
    assert!(rules.len() > 150);
    for rule in rules {
        for key in ["id", "level", "transport", "app", "use", "service", "catalog"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        assert!(rule["cloud"].as_array().is_some_and(|c| !c.is_empty()), "{rule}");
        assert!(rule["ports"].as_array().unwrap().iter().all(Value::is_u64), "{rule}");
        assert!(rule["when"].is_string() || rule["when"].is_null(), "{rule}");
        assert!(rule["source"]["document"].is_string() && rule["source"]["section"].is_string());
        for destination in rule["destinations"].as_array().unwrap() {
            let keys: Vec<_> = destination.as_object().unwrap().keys().collect();
            assert!(["fqdn", "service_tag", "cidr", "any", "role"].contains(&keys[0].as_str()));
            assert_eq!(keys.len(), 1);
        }
    }
    let any = rules
        .iter()
        .flat_map(|r| r["destinations"].as_array().unwrap())
        .find(|d| !d["any"].is_null());
    assert_eq!(any.unwrap(), &serde_json::json!({"any": true}));
}

#[test]
fn show_takes_names_rules_files_and_clouds() {
    let ids = |args: &[&str]| -> Vec<String> {
        let all = [&["catalog", "show", "--format", "json"], args].concat();
        let rules = json(&all);
        rules.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["aks/core/mcr"]), ["aks/core/mcr"]);
    assert!(ids(&["aks/china"]).iter().all(|id| id.starts_with("aks/china/")));
    assert_eq!(ids(&["aks/core", "aks"]).len(), ids(&["aks"]).len());
    assert!(ids(&["./clouds.toml"]).len() > 10);
    assert!(ids(&["aks", "--cloud", "china"]).len() < ids(&["aks"]).len());
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("p.toml");
    fs::write(&profile, "cloud = \"usgov\"\nfeatures = [\"policy\"]\n").unwrap();
    let shown = ids(&["--profile", profile.to_str().unwrap()]);
    assert!(shown.iter().any(|id| id.starts_with("aks/usgov/policy")));
    assert!(!shown.iter().any(|id| id.contains("monitor") || id.contains("china")));
    for (args, says) in [
        (&["catalog", "show"][..], "nothing to show"),
        (&["catalog", "show", "nope"], "no catalog `nope`"),
        (&["catalog", "show", "aks/nope"], "no rule `aks/nope`"),
        (&["catalog", "show", "nope.toml"], "cannot read"),
    ] {
        let run = run(args);
        assert_eq!(run.code, 2);
        assert!(run.err.contains(says), "{}", run.err);
    }
    assert!(
        run(&["catalog", "show", "aks/core/mcr"]).out.contains("tcp 443 https: mcr.microsoft.com")
    );
}

#[test]
fn lint_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let lint = |name: &str, lines: &str| {
        let file = write(dir.path(), name, lines);
        run(&["catalog", "lint", &file])
    };
    let found = lint("feature.toml", "destinations = [\"a.example\"]\nwhen = \"konectivity\"");
    assert_eq!(found.code, 1);
    assert!(
        found.out.contains(
            "feature.toml:14: error: condition, character 1: unknown feature `konectivity`"
        )
    );
    assert_eq!(lint("holder.toml", "destinations = [\"{regoin}.example\"]").code, 1);
    let found = lint(
        "hints.toml",
        "destinations = [\"*.a.example\", \"b.a.example\", \"c.example\", \"c.example\"]",
    );
    assert_eq!(found.code, 0);
    for says in ["in this rule twice", "doesn't cover `a.example` itself", "0 errors, 0 warnings"] {
        assert!(found.out.contains(says), "{}", found.out);
    }
    let file = write(dir.path(), "p.toml", "destinations = [\"{acr}.example\"]");
    let profile = dir.path().join("profile.toml");
    fs::write(&profile, "").unwrap();
    let args =
        ["catalog", "lint", &file, "--profile", profile.to_str().unwrap(), "--format", "json"];
    let found = json(&args);
    assert_eq!((&found[0]["kind"], &found[0]["severity"]), (&"unbound".into(), &"warning".into()));
    assert_eq!(run(&args).code, 1);
    assert_eq!(run(&["catalog", "lint"]).code, 0);
    assert_eq!(run(&["catalog", "lint", "none.toml"]).code, 2);
}

#[test]
fn diff_tells_what_came_went_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let page = |name: &str, rows: &str| {
        let file = dir.path().join(name);
        fs::write(&file, format!("# Rules\n| FQDN | Port |\n|--|--|\n{rows}")).unwrap();
        file.display().to_string()
    };
    let old = page("old.md", "| a.example | 443 |\n| b.example | 443 |\n");
    let new = page("new.md", "| c.example | 443 |\n| b.example | 8443 |\n");
    let text = run(&["catalog", "diff", &old, &new]);
    assert_eq!(text.code, 1);
    assert_eq!(
        text.out,
        "- a.example tcp 443 (public) in: Rules\n+ c.example tcp 443 (public) in: Rules\n\
         ~ b.example tcp 443 (public) in: Rules\n    ports: 443 -> 8443\n1 came, 1 went, 1 changed\n"
    );
    let parts = json(&["catalog", "diff", &old, &new, "--format", "json"]);
    assert_eq!(parts["came"][0]["destination"]["fqdn"], "c.example");
    assert_eq!(parts["changed"][0]["new"]["ports"][0], 8443);
    assert_eq!(run(&["catalog", "diff", &old, &old]).code, 0);
    assert_eq!(run(&["catalog", "diff", "aks", "aks"]).code, 0);
    assert_eq!(run(&["catalog", "diff", "aks", "none.toml"]).code, 2);
}

#[test]
fn profile_init_gives_a_profile_that_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("site.toml");
    let name = file.to_str().unwrap();
    assert_eq!(run(&["profile", "init", "-o", name]).code, 0);
    assert_eq!(run(&["profile", "init"]).out, fs::read_to_string(&file).unwrap());
    assert_eq!(run(&["profile", "check", name]).code, 0);
    let again = run(&["profile", "init", "-o", name]);
    assert_eq!(again.code, 2);
    fs::write(&file, "features = [\"gup\"]").unwrap();
    let checked = run(&["profile", "check", name]);
    assert_eq!(checked.code, 2);
    assert!(checked.err.contains("site.toml:1: unknown feature `gup`: did you mean `gpu`?"));
}
