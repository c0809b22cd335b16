//! What comes off the wire or out of a file may be meant to deceive whoever opens the report.

use egress_auditor::report::Report;

use super::{audit, common, html, junit, markdown, sarif, text};

const NASTY: &str =
    "<script>alert(1)</script>\"'&amp;`|*_[x](javascript:1)\u{202e}\u{1b}[31m\u{0}]]>\n# h\u{200b}";

fn nasty() -> Report {
    let mut report = audit(&common::fixtures().join("reset-after-clienthello"));
    for input in &mut report.inputs {
        input.path = NASTY.to_owned();
        input.link_type = NASTY.to_owned();
        input.truncated = Some(NASTY.to_owned());
    }
    report.profile.file = Some(NASTY.to_owned());
    report.profile.region = Some(NASTY.to_owned());
    report.profile.unbound = vec![NASTY.to_owned()];
    report.coverage.undecoded.insert(NASTY.to_owned(), 1);
    for rule in &mut report.rules {
        let finding = &mut rule.finding;
        finding.purpose = NASTY.to_owned();
        finding.service = NASTY.to_owned();
        finding.advice = Some(NASTY.to_owned());
        finding.source.section = NASTY.to_owned();
        for target in &mut finding.destinations {
            target.names = vec![NASTY.to_owned()];
            target.pattern = NASTY.to_owned();
        }
        finding.evidence.iter_mut().for_each(|item| item.detail = NASTY.into());
    }
    for found in &mut report.destinations {
        found.finding.name = NASTY.to_owned();
        found.finding.condition = Some(NASTY.to_owned());
        found.finding.evidence.iter_mut().for_each(|item| item.detail = NASTY.into());
    }
    report.name_node(NASTY);
    report
}

/// None of these may reach a terminal or a browser.
fn assert_tame(told: &str, format: &str) {
    let wild = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{200b}');
    assert!(!told.contains(wild), "{format}");
}

#[test]
fn terminals_get_no_control_characters() {
    assert_tame(&text(&nasty()), "text");
    assert!(!text(&nasty()).contains("\n# h"));
}

#[test]
fn pages_get_no_markup() {
    let page = html(&nasty());
    assert_tame(&page, "html");
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("alert(1)</script>"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;amp;"));
}

#[test]
fn xml_stays_well_formed() {
    let told = junit(&nasty());
    assert_tame(&told, "junit");
    let document = roxmltree::Document::parse(&told).unwrap();
    assert!(document.descendants().all(|node| !node.has_tag_name("script")));
}

#[test]
fn tickets_get_no_markup() {
    let told = markdown(&nasty());
    assert_tame(&told, "md");
    // Outside code, everything that means something is escaped.
    for line in told.lines() {
        let mut in_code = false;
        let mut before = ' ';
        for c in line.chars() {
            in_code ^= c == '`' && before != '\\';
            assert!(in_code || c != '<' || before == '\\' || line.starts_with("tshark"), "{line}");
            before = c;
        }
    }
}

#[test]
fn json_formats_parse() {
    let told = sarif(&nasty());
    assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok());
}
