//! What headings and check marks say about when a rule applies.

use super::super::{Condition, Feature, Level};

/// The feature that a heading is about, from the innermost heading outwards.
pub(super) fn of_headings(path: &[&str]) -> Option<Condition> {
    path.iter().rev().find_map(|title| {
        let title = title.to_lowercase();
        let about = |words: &[&str]| words.iter().all(|word| title.contains(word));
        TOPICS.iter().find(|(words, _)| about(words)).map(|(_, f)| Condition::Feature(*f))
    })
}

/// `recommended` where the innermost heading that says anything about it calls its rules so.
pub(super) fn level_of_headings(path: &[&str]) -> Level {
    let said = path.iter().rev().find_map(|title| {
        let title = title.to_lowercase();
        if title.contains("required") {
            Some(Level::Required)
        } else if title.contains("recommended") || title.contains("optional") {
            Some(Level::Recommended)
        } else {
            None
        }
    });
    said.unwrap_or(Level::Required)
}

/// True when at least one of the features is on.
pub(super) fn any_of(features: &[Feature]) -> Option<Condition> {
    let each = features.iter().map(|&f| Condition::Feature(f));
    each.reduce(|a, b| Condition::Or(Box::new(a), Box::new(b)))
}

/// Both, where both are given.
pub(super) fn both(a: Option<Condition>, b: Option<Condition>) -> Option<Condition> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Some(Condition::And(Box::new(a), Box::new(b))),
        (a, b) => a.or(b),
    }
}

/// What a check mark says; `None` when the cell holds something else.
pub(super) fn checked(text: &str) -> Option<bool> {
    let text = text.trim().trim_matches('\u{fe0f}').to_lowercase();
    match &*text {
        "✓" | "✔" | "✅" | "☑" | "x" | "yes" | "y" | "true" | "required" | "supported" => {
            Some(true)
        }
        "" | "-" | "–" | "—" | "✗" | "✘" | "❌" | "no" | "n" | "n/a" | "na" | "false"
        | "not required" | "optional" | "none" => Some(false),
        _ => None,
    }
}

/// All of the words stand in the heading.
const TOPICS: [(&[&str], Feature); 11] = [
    (&["gpu"], Feature::Gpu),
    (&["windows", "node pool"], Feature::Windows),
    (&["defender for containers"], Feature::Defender),
    (&["csi", "secret"], Feature::SecretsStore),
    (&["azure monitor"], Feature::Monitor),
    (&["azure policy"], Feature::Policy),
    (&["cost analysis"], Feature::CostAnalysis),
    (&["cluster extensions"], Feature::Extensions),
    (&["training job"], Feature::Training),
    (&["cluster connect"], Feature::ClusterConnect),
    (&["custom location"], Feature::CustomLocation),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_heading_decides() {
        let level = level_of_headings;
        assert_eq!(level(&["Required rules", "Optional recommended rules"]), Level::Recommended);
        assert_eq!(level(&["Required and recommended rules"]), Level::Required);
        assert_eq!(level(&["Rules"]), Level::Required);
        let when = |path: &[&str]| of_headings(path).map(|w| w.to_string());
        assert_eq!(when(&["Add-ons", "Azure Policy", "Required rules"]).as_deref(), Some("policy"));
        assert_eq!(when(&["Windows Admin Center"]), None);
    }

    #[test]
    fn check_marks() {
        assert_eq!(
            [checked(" ✓"), checked("N/A"), checked("maybe")],
            [Some(true), Some(false), None]
        );
    }
}
