//! Allowlists in the products' own syntax, and the way from catalogs to allowlists and back.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path, process::Command};

use egress_auditor::{
    allowlist::{
        Allowlist, Context, Diff, Format, FqdnTags, Input, Policy, Product, Seen, diff, generate,
        read_report,
    },
    catalog::{Catalog, Profile, Site, builtin, names},
};

const PRODUCTS: [(Product, Format); 6] = [
    (Product::Plain, Format::Plain),
    (Product::AzureFirewall, Format::AzureFirewall),
    (Product::AzureFirewallTerraform, Format::AzureFirewallTerraform),
    (Product::Cilium, Format::Kubernetes),
    (Product::Calico, Format::Kubernetes),
    (Product::Squid, Format::Squid),
];

const PROFILE: &str = r#"
cloud = "public"
region = "westeurope"
catalogs = ["aks"]
features = ["konnectivity", "monitor", "os-updates", "gpu", "policy", "training", "inference"]
[parameters]
acr = ["contosoacr"]
storage-account = ["contosostore"]
workspace-id = ["0a1b2c3d"]
api-server = ["203.0.113.5"]
custom-dns = ["10.0.0.10"]
region-cidrs = ["198.51.100.0/24"]
"#;

fn site(profile: &str, catalogs: &[Catalog]) -> Site {
    Site::new(catalogs, Profile::parse(profile, "profile.toml").unwrap(), None)
}

fn everything() -> Site {
    let catalogs: Vec<Catalog> = names().map(|name| builtin(name).unwrap()).collect();
    site(PROFILE, &catalogs)
}

fn read(text: &str, format: Option<Format>) -> Allowlist {
    Allowlist::read(&[Input { file: "list", text, format }], Context::default()).unwrap()
}

fn compare(site: &Site, text: &str, seen: Option<&[Seen]>) -> Diff {
    let list = read(text, None);
    diff(site, &Policy::new(&list), seen)
}

fn shown(list: &Allowlist) -> String {
    let mut text = String::new();
    for entry in &list.entries {
        let origin = entry.origin();
        text += &format!("{origin}\n");
        if let Some(why) = origin.not_evaluated {
            text += &format!("    not evaluated: {why}\n");
        }
    }
    for note in &list.notes {
        text += &format!("note: {note}\n");
    }
    text
}

#[test]
fn every_fixture_is_read_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/allowlists");
    let mut count = 0;
    for folder in
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_dir())
    {
        let format = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ext| ext == "expected") {
                continue;
            }
            let name = file.file_name().unwrap().to_str().unwrap();
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(Format::detect(&text, name).name(), format, "{name}");
            let list = Allowlist::read(
                &[Input { file: name, text: &text, format: None }],
                Context::default(),
            );
            let shown = shown(&list.unwrap_or_else(|e| panic!("{e}")));
            let expected = file.with_file_name(format!("{name}.expected"));
            if std::env::var_os("UPDATE_EXPECTED").is_some() {
                fs::write(&expected, &shown).unwrap();
            }
            assert_eq!(shown, fs::read_to_string(&expected).unwrap_or_default(), "{name}");
            count += 1;
        }
    }
    assert!(count >= 13, "{count}");
}

#[test]
fn what_is_generated_allows_what_is_required() {
    let site = everything();
    for (product, format) in PRODUCTS {
        let generated = generate(product, &site, None);
        assert_eq!(generated, generate(product, &site, None));
        assert_eq!(Format::detect(&generated.text, ""), format, "{product:?}");
        let found = compare(&site, &generated.text, None);
        let rows = found.not_allowed.iter().chain(&found.partly_allowed).chain(&found.undecided);
        for row in rows {
            // Only what the product can't express, and that is said.
            let said = row.rules.iter().any(|rule| {
                generated
                    .remarks
                    .iter()
                    .any(|r| r.starts_with(&format!("{}: ", rule.id)) && r.contains("not written"))
            });
            assert!(said, "{product:?}: {row:#?}");
        }
        assert!(found.stale.is_empty(), "{product:?}: {:#?}", found.stale);
    }
}

#[test]
fn the_plain_list_gives_an_empty_diff() {
    let generated = generate(Product::Plain, &everything(), None);
    let found = compare(&everything(), &generated.text, None);
    assert_eq!(
        found.summary.allowed + found.undecided.len() + found.not_allowed.len(),
        found.summary.needed
    );
    assert!(found.partly_allowed.is_empty() && found.wide.is_empty(), "{:#?}", found.wide);
}

#[test]
fn an_entry_that_is_taken_away_is_missed_with_its_rule() {
    let site = everything();
    let generated = generate(Product::Plain, &site, None).text;
    let before = compare(&site, &generated, None);
    let without: Vec<&str> =
        generated.lines().filter(|line| *line != "mcr.microsoft.com:443/tcp").collect();
    let found = compare(&site, &without.join("\n"), None);
    let rows: Vec<_> =
        found.not_allowed.iter().filter(|row| !before.not_allowed.contains(row)).collect();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0].destination, "mcr.microsoft.com");
    assert!(
        rows[0].rules.iter().any(|r| r.id == "aks/core/mcr"
            && !r.purpose.is_empty()
            && !r.source.section.is_empty())
    );
    assert_eq!((found.partly_allowed, found.undecided), (before.partly_allowed, before.undecided));
}

#[test]
fn a_name_that_is_taken_out_of_any_product_is_missed_alone() {
    let site = site("cloud = \"public\"\nregion = \"westeurope\"\n", &[builtin("aks").unwrap()]);
    for (product, _) in PRODUCTS {
        let text = generate(product, &site, None).text;
        let before = compare(&site, &text, None);
        // Another name stands in its place.
        let without = text.replace("packages.microsoft.com", "packages.example");
        assert_ne!(without, text, "{product:?}");
        let found = compare(&site, &without, None);
        let new: Vec<_> =
            found.not_allowed.iter().filter(|row| !before.not_allowed.contains(row)).collect();
        let names: Vec<&str> = new.iter().map(|row| &*row.destination).collect();
        assert_eq!(names, ["packages.microsoft.com"], "{product:?}");
        assert!(new[0].rules.iter().all(|r| !r.purpose.is_empty() && !r.source.section.is_empty()));
        let same = (&found.partly_allowed, &found.undecided);
        assert_eq!(same, (&before.partly_allowed, &before.undecided), "{product:?}");
    }
}

#[test]
fn a_hole_in_a_wide_rule_is_found() {
    let site = site("cloud = \"public\"\nregion = \"westeurope\"\n", &[builtin("aks").unwrap()]);
    let text = fs::read_to_string("fixtures/allowlists/azure-firewall/template.json").unwrap();
    let found = compare(&site, &text, None);
    let row =
        found.undecided.iter().find(|row| row.destination == "*.data.mcr.microsoft.com").unwrap();
    assert_eq!(row.missing[0].example, "eastus.data.mcr.microsoft.com");
    assert!(row.missing[0].denied_by.as_ref().is_some_and(|by| by.rule == "no-eastus"));
    // The tag may hold everything, and nothing says so.
    assert!(row.why[0].contains("AzureKubernetesService"), "{row:#?}");
}

#[test]
fn fqdn_tags_come_from_a_file() {
    let tags = FqdnTags::parse(
        "AzureKubernetesService = [\"mcr.microsoft.com\", \"*.data.mcr.microsoft.com\"]",
    )
    .unwrap();
    let context = Context { fqdn_tags: Some(&tags), ..Context::default() };
    let text = fs::read_to_string("fixtures/allowlists/azure-firewall-terraform/main.tf").unwrap();
    let list =
        Allowlist::read(&[Input { file: "main.tf", text: &text, format: None }], context).unwrap();
    assert!(!shown(&list).contains("FQDN tag `Azure"));
}

#[test]
fn what_was_seen_is_joined() {
    let site = site("cloud = \"public\"\nregion = \"westeurope\"\n", &[builtin("aks").unwrap()]);
    let report = r#"{"schema": "egress-auditor/report/1", "later": 1, "destinations": [
        {"name": "mcr.microsoft.com", "named_by": "sni", "addresses": ["203.0.113.10"], "transport": "tcp", "port": 443, "class": "required", "outcomes": {"established": 1}, "clients": ["10.77.1.10"]},
        {"name": "telemetry.example.net", "named_by": "sni", "addresses": ["198.51.100.200"], "transport": "tcp", "port": 443, "class": "unexpected", "outcomes": {"established": 1}},
        {"name": "pkg.example.org", "named_by": "sni", "transport": "tcp", "port": 443, "class": "unexpected", "outcomes": {}},
        {"name": "10.77.0.53", "named_by": "address", "addresses": ["10.77.0.53"], "transport": "udp", "port": 53, "class": "internal"}]}"#;
    let seen = read_report(report).unwrap();
    let found =
        compare(&site, "*.example.org:443\n*.microsoft.com\nold.example.com:443\n", Some(&seen));
    let names = |rows: &[egress_auditor::allowlist::SeenRow]| {
        rows.iter().map(|r| r.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&found.seen_not_allowed), ["telemetry.example.net"]);
    assert_eq!(names(&found.not_required), ["pkg.example.org"]);
    assert_eq!(found.stale.iter().map(|o| &*o.text).collect::<Vec<_>>(), ["old.example.com"]);
    let wide: Vec<_> =
        found.wide.iter().map(|w| (&*w.entry.text, w.destinations.clone(), &*w.ports)).collect();
    assert_eq!(wide[0].0, "*.example.org");
    assert_eq!(wide[0].1, ["pkg.example.org 443/tcp"]);
    assert_eq!(wide[1].0, "*.microsoft.com");
    assert!(
        wide[1].1.contains(&"mcr.microsoft.com 443/tcp".to_owned()) && wide[1].2.contains("443")
    );
    // Narrowed to what was seen.
    let generated = generate(Product::Plain, &site, Some(&seen)).text;
    assert!(
        generated.contains("\nmcr.microsoft.com:443/tcp")
            && !generated.contains("management.azure.com")
    );
}

#[test]
fn rules_without_effect_are_found() {
    let site = site("cloud = \"public\"\n", &[builtin("aks").unwrap()]);
    let text = "action,destination,port\nallow,*.example.com,443\nallow,a.example.com,443\ndeny,b.example.com,443\nallow,c.example.com,80\nallow,10.0.0.0/8,\nallow,10.1.0.0/16,22\n";
    let found = compare(&site, text, None);
    let rows: Vec<_> =
        found.shadowed.iter().map(|r| (&*r.entry.text, &*r.by.text, r.contradiction)).collect();
    assert_eq!(
        rows,
        [
            ("a.example.com", "*.example.com", false),
            ("b.example.com", "*.example.com", true),
            ("10.1.0.0/16", "10.0.0.0/8", false)
        ]
    );
}

#[test]
fn all_that_a_calico_rule_says_has_to_hold() {
    let text = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec:\n  egress:\n  - action: Allow\n    protocol: TCP\n    destination: {nets: [\"0.0.0.0/0\"], selector: \"x == 'y'\"}\n  - action: Deny\n    notProtocol: UDP\n    destination: {nets: [\"192.0.2.0/24\"]}\n";
    let list = read(text, None);
    let shown = shown(&list);
    assert!(shown.contains("not evaluated: selector"), "{shown}");
    assert!(shown.contains("denies 192.0.2.0/24 */tcp"), "{shown}");
}

#[test]
fn suricata_passes_before_it_drops_unless_the_order_is_strict() {
    let list = |kind: &str, order: &str| {
        format!(
            "{{\"RuleGroup\": {{\"StatefulRuleOptions\": {{\"RuleOrder\": \"{order}\"}}, \"RulesSource\": {{\"RulesSourceList\": {{\"GeneratedRulesType\": \"{kind}\", \"TargetTypes\": [\"TLS_SNI\"], \"Targets\": [\"x.example\"]}}}}}}}}"
        )
    };
    for (order, first) in [("DEFAULT_ACTION_ORDER", "allows"), ("STRICT_ORDER", "denies")] {
        let text = format!("[{},{}]", list("DENYLIST", order), list("ALLOWLIST", order));
        let shown = shown(&read(&text, Some(Format::AwsNetworkFirewall)));
        assert!(shown.lines().next().unwrap().contains(first), "{order}: {shown}");
    }
}

#[test]
fn an_ip_group_that_is_known_in_part_is_not_known() {
    let text = r#"{"resources": [
        {"type": "Microsoft.Network/ipGroups", "name": "g", "properties": {"ipAddresses": ["192.0.2.1", "[parameters('more')]"]}},
        {"ruleCollections": [{"name": "c", "priority": 1, "action": {"type": "Deny"}, "rules": [
            {"ruleType": "NetworkRule", "name": "r", "ipProtocols": ["TCP"], "destinationIpGroups": ["[resourceId('Microsoft.Network/ipGroups', 'g')]"], "destinationPorts": ["443"], "sourceAddresses": ["*"]}]}]}]}"#;
    let shown = shown(&read(text, Some(Format::AzureFirewall)));
    assert!(shown.contains("not evaluated: IP group"), "{shown}");
}

#[test]
fn mistakes_name_file_line_and_field() {
    let cases = [
        ("x.txt", "mcr.microsoft.com\na..example\n", "x.txt:2: destination: "),
        ("x.csv", "fqdn,port\nx.example,99999\n", "x.csv:2: port: `99999` is no port"),
        (
            "x.json",
            "{\"ruleCollections\": [{\n\"name\": \"a\", \"priority\": 1, \"action\": {\"type\": \"Allow\"}, \"rules\": [\n{\"ruleType\": \"ApplicationRule\", \"targetFqdns\": [\"a.*.example\"], \"protocols\": []}]}]}",
            "x.json:3: targetFqdns: `a.*.example`",
        ),
        ("x.json", "{\"a\": [}", "x.json:1: not JSON"),
        ("x.tf", "resource \"azurerm_firewall_x\" {\n  a = \n}\n", "x.tf:2: not HCL"),
        (
            "x.yaml",
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nspec:\n  egress:\n  - toFQDNs:\n    - matchName: \"*.x.example\"\n",
            "x.yaml:6: toFQDNs: ",
        ),
        ("x.conf", "acl a dstdomain *.x.example\nhttp_access allow a\n", "x.conf:1: acl a: "),
        ("x.conf", "http_access allow nobody\n", "x.conf:1: http_access: there is no acl `nobody`"),
        (
            "x.json",
            "{\"RulesSourceList\": {\"GeneratedRulesType\": \"ALLOWLIST\", \"TargetTypes\": [\"TLS_SNI\"], \"Targets\": [\"*.x.example\"]}}",
            "x.json:1: Targets: ",
        ),
    ];
    for (file, text, says) in cases {
        let error =
            Allowlist::read(&[Input { file, text, format: None }], Context::default()).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[test]
fn squid_accepts_its_own() {
    let squid = "/usr/sbin/squid";
    if !Path::new(squid).exists() {
        println!("skipped: {squid} isn't installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let generated = folder.path().join("generated.conf");
    fs::write(&generated, generate(Product::Squid, &everything(), None).text).unwrap();
    let fixture = Path::new("fixtures/allowlists/squid/squid.conf").to_owned();
    for file in [generated, fixture] {
        let output = Command::new(squid).args(["-k", "parse", "-f"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let mine = |line: &&str| {
            line.contains("FATAL") || line.contains("ERROR") || line.contains("WARNING: '")
        };
        // No scheme for `proxy_auth` is configured in the fixture.
        let bad: Vec<&str> = said
            .lines()
            .filter(mine)
            .filter(|l| !l.contains("proxy_auth") && !l.contains("authentication"))
            .collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", file.display());
    }
}
