//! Allowlists in every product's format, compiled and compared with a site's needs.
//!
//! Input: format (1 byte; one too many lets it be detected), text.

#![no_main]

use std::sync::OnceLock;

use egress_auditor::{
    allowlist::{
        Allowlist, Context, Format, FqdnTags, Input as File, Policy, diff, read_report,
        write_markdown, write_text,
    },
    catalog::{Profile, Site, builtin},
};
use egress_auditor_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let kind = usize::from(input.byte()) % (Format::ALL.len() + 2);
    let Ok(text) = str::from_utf8(input.0) else { return };
    if kind == Format::ALL.len() + 1 {
        let _ = (FqdnTags::parse(text), read_report(text));
        return;
    }
    let file = File { file: "list", text, format: Format::ALL.get(kind).copied() };
    match Allowlist::read(&[file], Context::default()) {
        Ok(list) => compare(&list),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn compare(list: &Allowlist) {
    let policy = Policy::new(list);
    let rows = diff(site(), &policy, None);
    let (mut text, mut again) = (Vec::new(), Vec::new());
    write_text(&rows, &mut text).expect("memory takes everything");
    write_text(&diff(site(), &policy, None), &mut again).expect("memory takes everything");
    assert!(text == again, "the same list, another answer");
    write_markdown(&rows, &mut text).expect("memory takes everything");
    serde_json::to_vec(&rows).expect("a diff can be written");
    assert!(String::from_utf8(text).is_ok());
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        // A small one.
        let catalog = builtin("aml-kubernetes").expect("built in");
        let profile = "catalogs = [\"aml-kubernetes\"]\nfeatures = [\"training\", \"inference\"]";
        let profile = Profile::parse(profile, "profile.toml").expect("it is right");
        Site::new(&[catalog], profile, None)
    })
}
