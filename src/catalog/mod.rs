//! From a publisher's documents to rules that apply at a site, compiled for matching.
//!
//! A [`Catalog`] is what one document requires, as [`Rule`]s; [`builtin`] ones come with the
//! binary. A [`Profile`] is what a site has: its cloud, its [`Feature`]s, the values of the rules'
//! [`Param`]s, its networks.
//!
//! A [`NamePattern`] stands for a set of names, a [`NameMatcher`] finds all patterns that match a
//! name, a [`PrefixMatcher`] all prefixes that hold an address, [`ServiceTags`] are the named
//! prefix lists that the publisher gives out. A [`Site`] puts them together: destination in, rules
//! out.
//!
//! Nothing here does I/O, and nothing changes after it is built.

mod builtin;
mod diff;
mod error;
mod feature;
mod import;
mod label;
mod lint;
mod names;
mod pattern;
mod pattern_text;
mod prefixes;
mod profile;
mod punycode;
mod read;
mod rule;
mod service_tags;
mod site;
mod write;

pub use builtin::{builtin, names};
pub use diff::{Change, Compare, Diff, Requirement, Terms};
pub use error::{LoadError, LoadErrors, Mistake};
pub use feature::{Condition, ConditionError, Feature, FeatureSet, UnknownFeature};
pub use import::{
    EnvironmentCheckerError, Imported, NotUnderstood, import_environment_checker, import_markdown,
};
pub use lint::{Finding, FindingKind, lint, lint_text};
pub use names::NameMatcher;
pub use pattern::{NamePattern, Specificity};
pub use pattern_text::{PatternError, PatternProblem};
pub use prefixes::PrefixMatcher;
pub(crate) use prefixes::holds;

pub use profile::{CatalogRef, Network, Profile, Proxy, region_code};
pub use rule::{
    App, ChoiceOption, Cloud, Destination, Level, Param, PortRange, Rule, Scope, Source, Transport,
};
pub use service_tags::{ServiceTag, ServiceTags, ServiceTagsError};
pub use site::{Hit, Site, SiteRule, Target, TargetKind};

use serde::Serialize;

/// A publisher's list of rules, made from one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Catalog {
    /// Short name, the first part of its rules' ids.
    pub name: String,
    /// What it covers, for people.
    pub title: String,
    /// Name of the document that it is made from.
    pub document: String,
    /// Where the document is published.
    pub url: Option<String>,
    /// Other requirements that the document refers to.
    pub related: Vec<Related>,
    /// The rules, in the document's order.
    pub rules: Vec<Rule>,
}

/// Requirements stated elsewhere that a catalog's document asks to meet as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// What to read.
    pub title: String,
    /// The built-in catalog that has them, when there is one.
    pub catalog: Option<String>,
    /// When they are needed; always when absent.
    pub when: Option<Condition>,
    /// Why, in one sentence.
    #[serde(rename = "use")]
    pub purpose: String,
}

impl Catalog {
    /// Reads a catalog file's text. `file` is the name that errors show.
    ///
    /// # Errors
    ///
    /// All mistakes in the file, each with its line and what to write instead.
    pub fn parse(text: &str, file: &str) -> Result<Self, LoadErrors> {
        let (catalog, errors) = read::read(text, file)?;
        if errors.is_empty() { Ok(catalog) } else { Err(LoadErrors(errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../docs/CATALOG.md");

    /// The rows of the table below a heading: first cell without backticks, second cell.
    fn table(heading: &str) -> Vec<(String, String)> {
        let (_, section) = GUIDE.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|l| l.strip_prefix("| `"));
        rows.filter_map(|row| row.trim_end_matches(" |").split_once("` | "))
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect()
    }

    #[test]
    fn the_guide_lists_every_feature_and_placeholder() {
        let features = Feature::ALL.iter().map(|f| (f.name().into(), f.sentence().into()));
        assert_eq!(table("Features"), features.collect::<Vec<_>>());
        let params: Vec<_> = table("Placeholders").into_iter().map(|(name, _)| name).collect();
        assert_eq!(params, Param::ALL.iter().map(|p| p.name()).collect::<Vec<_>>());
    }

    #[test]
    fn the_guides_example_is_a_catalog() {
        let (_, example) = GUIDE.split_once("```toml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let catalog = Catalog::parse(example, "guide").unwrap();
        assert_eq!((catalog.rules.len(), catalog.related.len()), (1, 1));
    }

    #[test]
    fn the_guide_names_every_role() {
        for name in names() {
            for rule in builtin(name).unwrap().rules {
                let to = rule.destinations.iter().filter_map(|d| match d {
                    Destination::Role(role) => Some(role),
                    _ => None,
                });
                for role in rule.from.iter().chain(to) {
                    assert!(GUIDE.contains(&format!("`{role}`")), "{role}");
                }
            }
        }
    }
}
