//! Catalogs, profiles, service tags, documents, patterns and conditions: what users write or fetch.
//!
//! Input: kind (1 byte), text. A site is a catalog, a line of `---`, a profile.

#![no_main]

use egress_auditor::catalog::{
    Catalog, Condition, NameMatcher, NamePattern, Profile, ServiceTags, Site,
    import_environment_checker, import_markdown, lint_text,
};
use egress_auditor_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let kind = input.byte();
    if kind % 7 == 0 {
        let _ = ServiceTags::from_json(input.0);
        return;
    }
    let Ok(text) = str::from_utf8(input.0) else { return };
    match kind % 7 {
        1 => site(text),
        2 => profile(text),
        3 => patterns(text),
        4 => condition(text),
        5 => drop(import_markdown(text, "name", "document").catalog.to_toml()),
        _ => drop(import_environment_checker(text, "name", "document")),
    }
});

fn site(text: &str) {
    let (catalog, profile) = text.split_once("\n---\n").unwrap_or((text, ""));
    let profile = Profile::parse(profile, "profile.toml").unwrap_or_default();
    lint_text(catalog, "catalog.toml", Some(&profile));
    match Catalog::parse(catalog, "catalog.toml") {
        Ok(catalog) => {
            assert_eq!(Catalog::parse(&catalog.to_toml(), "").as_ref(), Ok(&catalog));
            let unbound = profile.unbound(&catalog.rules);
            let site = Site::new(&[catalog], profile, None);
            assert!(unbound.len() < 32 && site.rules().len() <= text.len());
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

fn profile(text: &str) {
    match Profile::parse(text, "profile.toml") {
        Ok(profile) => drop(serde_json::to_vec(&profile).expect("a profile can be written")),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The first line is a name, the others are patterns.
fn patterns(text: &str) {
    let (name, patterns) = text.split_once('\n').unwrap_or(("a.example", text));
    let mut all = Vec::new();
    for line in patterns.lines().take(64) {
        match NamePattern::parse(line) {
            Ok(pattern) => {
                assert_eq!(NamePattern::parse(pattern.as_str()).as_ref(), Ok(&pattern));
                assert!(pattern.contains(&pattern) && pattern.intersects(&pattern));
                all.push(pattern);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let Some(name) = egress_auditor::base::HostName::parse(name.as_bytes()) else { return };
    let matcher = NameMatcher::new(all.iter().cloned().zip(0_usize..));
    let mut found = Vec::new();
    matcher.lookup(&name, &mut |id| found.push(id));
    found.sort_unstable();
    let expected: Vec<_> = (0..all.len()).filter(|&id| all[id].matches(&name)).collect();
    assert_eq!(found, expected);
}

fn condition(text: &str) {
    if let Ok(condition) = Condition::parse(text) {
        assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
    }
}
