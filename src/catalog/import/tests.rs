//! The parts together. Whole documents with what they give are under `fixtures/documents`.

use proptest::prelude::*;

use super::{super::Catalog, import_environment_checker, import_markdown};

/// The result is a catalog whose text parses, and gives the same catalog.
fn check(catalog: &Catalog) {
    let text = catalog.to_toml();
    match Catalog::parse(&text, "imported") {
        Ok(parsed) => assert_eq!(parsed, *catalog),
        Err(errors) => panic!("{errors}\n{text}"),
    }
}

fn destinations(text: &str) -> Vec<String> {
    let imported = import_markdown(text, "t", "t");
    check(&imported.catalog);
    let rules = imported.catalog.rules.iter();
    rules.flat_map(|rule| rule.destinations.iter().map(ToString::to_string)).collect()
}

#[test]
fn names_and_sections_may_be_anything() {
    let table = "| FQDN | Port |\n|--|--|\n| a.example | 443 |\n";
    for (name, heading) in
        [("", ""), ("Ünï", "# \"q\" \\ \u{1}\n"), ("A b_c", "###### `x` [y](z)\n")]
    {
        let imported = import_markdown(&format!("{heading}{table}"), name, name);
        check(&imported.catalog);
        assert_eq!(imported.catalog.rules.len(), 1);
    }
}

#[test]
fn rows_may_be_malformed() {
    let text = "FQDN | Port\n---|---\na.example | 443\n| b.example | 443 | more | cells |\n|c.example\n\n|d.example|443|";
    assert_eq!(destinations(text), ["a.example", "b.example", "c.example"]);
    let text = "> | URL | Port |\r\n> |:--|--:|\r\n> | `https://a.example` | 443 |\r\n";
    assert_eq!(destinations(text), ["a.example"]);
}

#[test]
fn ids_are_unique_and_stay_when_rows_come() {
    let table = |rows: &str| format!("# T\n| FQDN | Port |\n|--|--|\n{rows}");
    let ids = |rows: &str| -> Vec<_> {
        let rules = import_markdown(&table(rows), "t", "t").catalog.rules;
        rules.into_iter().map(|rule| rule.id).collect()
    };
    let (a, b) = ("|a.example|443|\n", "|b.example|443|\n");
    assert_eq!(ids(b)[0], ids(&format!("{a}{b}"))[1]);
    assert_eq!(
        ids(&format!("{a}{a}{a}")),
        ["t/t/a-example", "t/t/a-example-tcp-443", "t/t/a-example-tcp-443-2"]
    );
}

#[test]
fn hostile_texts_take_linear_time() {
    for part in ["](", "<sup>", "&", "[", "(", "<", "*a", "{", "`", "a.example:1,", "<!--", "__"] {
        let many = part.repeat(20_000);
        destinations(&many);
        destinations(&format!("|FQDN|Port|\n|--|--|\n|{many}|{many}|\n"));
    }
    let rows = "|a.example|443|\n".repeat(5_000);
    destinations(&format!("|FQDN|Port|\n|--|--|\n{rows}"));
    destinations(&"# Azure China\n|FQDN|\n|--|\n|a.example|\n".repeat(1_000));
}

#[test]
fn a_list_of_targets_may_be_wrapped() {
    let text = "\u{feff}{\"Version\": 1, \"Targets\": [\n{\"endpoint\": \"a.example\", \"PROTOCOL\": \"Https\"}]}";
    let imported = import_environment_checker(text, "t", "t").unwrap();
    check(&imported.catalog);
    assert_eq!(imported.catalog.rules.len(), 1);
    for (text, says) in [("[", "line 1 column 1"), ("{}", "no list"), ("7", "no list")] {
        let error = import_environment_checker(text, "t", "t").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

const PARTS: [&str; 58] = [
    "|",
    "|",
    "|",
    "\n",
    "\n",
    "\n|",
    "---",
    "|---|---|\n",
    "# ",
    "## Azure China\n",
    "FQDN",
    "Port",
    "Protocol",
    "Use",
    "Source",
    "Service tag",
    "Training",
    "Direction",
    "a.example",
    "*.b.example",
    "*",
    "**",
    "`",
    "\\",
    "\\*",
    "<region>",
    "<x y>",
    "{",
    "}",
    "{_}",
    "{region}",
    "<",
    ">",
    "<br>",
    "Or",
    " or ",
    ":443",
    "https://",
    "HTTPS:443",
    "443",
    "0",
    "80-90",
    "UDP",
    "(",
    ")",
    "(Azure Government)",
    "[",
    "](x)",
    "&check;",
    "&lt;",
    "AzureCloud.<Region>:1194",
    ".",
    "-",
    "_",
    "é",
    "\u{0}",
    "10.0.0.1/8",
    "~~~\n",
];

proptest! {
    #[test]
    fn any_page_gives_a_catalog(
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..60),
        name in "\\PC{0,8}",
        in_table: bool,
    ) {
        let head = if in_table { "| FQDN | Port | Protocol | Use | Training |\n|-|-|-|-|-|\n|" } else { "" };
        check(&import_markdown(&format!("{head}{}", parts.concat()), &name, &name).catalog);
    }

    #[test]
    fn any_text_gives_a_catalog(text in "(\\PC|\n){0,200}") {
        check(&import_markdown(&text, "t", &text).catalog);
        check(&import_markdown(&format!("|URL|Ports|\n|-|-|\n|{text}|443|\n"), "t", "t").catalog);
        let _ = import_environment_checker(&text, "t", "t");
    }

    #[test]
    fn any_target_gives_a_catalog(
        endpoint in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..8),
        protocol in prop::sample::select(&PARTS[..]),
        title in "\\PC{0,20}",
    ) {
        let target = serde_json::json!([{
            "Endpoint": [endpoint.concat(), title], "Protocol": protocol, "Title": title, "Group": title,
            "Service": [title],
        }]);
        check(&import_environment_checker(&target.to_string(), "t", &title).unwrap().catalog);
    }
}
