//! The catalogs that come with the binary, one for each source document.

use super::Catalog;

/// Names and texts, sorted by name.
const FILES: [(&str, &str); 5] = [
    ("aks", include_str!("builtin/aks.toml")),
    ("aks-arc", include_str!("builtin/aks-arc.toml")),
    ("aml-firewall", include_str!("builtin/aml-firewall.toml")),
    ("aml-kubernetes", include_str!("builtin/aml-kubernetes.toml")),
    ("amlarc", include_str!("builtin/amlarc.toml")),
];

/// The names of the built-in catalogs, sorted.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    FILES.iter().map(|(name, _)| *name)
}

/// The built-in catalog of that name.
pub fn builtin(name: &str) -> Option<Catalog> {
    let (_, text) = FILES.iter().find(|(n, _)| *n == name)?;
    // Tests keep every embedded file free of errors.
    Catalog::parse(text, name).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::{
        super::{App, Feature, Level, Profile, Scope, Transport},
        *,
    };

    fn all() -> Vec<Catalog> {
        FILES
            .iter()
            .map(|(name, text)| Catalog::parse(text, name).unwrap_or_else(|e| panic!("{e}")))
            .collect()
    }

    #[test]
    fn every_file_is_free_of_errors_and_under_its_own_name() {
        assert!(names().is_sorted());
        let mut ids = HashSet::new();
        for (catalog, name) in all().into_iter().zip(names()) {
            assert_eq!(catalog.name, name);
            assert!(!catalog.rules.is_empty());
            for rule in &catalog.rules {
                assert!(ids.insert(rule.id.clone()), "{} is used twice", rule.id);
                assert_eq!(rule.source.document, catalog.document);
                assert!(rule.purpose.ends_with('.'), "{}: `use` is a sentence", rule.id);
            }
            for related in catalog.related.iter().filter_map(|r| r.catalog.as_deref()) {
                assert!(names().any(|n| n == related), "{name}: no catalog {related}");
            }
        }
    }

    #[test]
    fn a_sections_rules_stand_together() {
        for catalog in all() {
            let mut sections: Vec<_> = catalog.rules.iter().map(|r| &r.source.section).collect();
            sections.dedup();
            let unique: HashSet<_> = sections.iter().collect();
            assert_eq!(sections.len(), unique.len(), "{}", catalog.name);
        }
    }

    #[test]
    fn protocols_fit_their_ports() {
        for rule in all().iter().flat_map(|c| &c.rules) {
            let port = rule.ports.first().map(|p| p.first());
            let fits = match rule.app {
                App::Https => rule.transport == Transport::Tcp && matches!(port, Some(443 | 6443)),
                App::Http => rule.transport == Transport::Tcp && port == Some(80),
                App::Dns => port == Some(53),
                App::Ntp => rule.transport == Transport::Udp && port == Some(123),
                App::Other => !matches!(port, Some(443 | 80 | 53 | 123)),
            };
            assert!(fits, "{}", rule.id);
            assert!(port.is_some() || rule.scope != Scope::Egress, "{}", rule.id);
        }
    }

    #[test]
    fn every_feature_decides_about_some_rule() {
        let used: BTreeSet<_> = all()
            .iter()
            .flat_map(|c| &c.rules)
            .filter_map(|r| r.when.as_ref())
            .flat_map(|w| w.features().iter())
            .collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), Feature::ALL);
    }

    #[test]
    fn only_managed_disks_are_conditional_without_a_condition() {
        let ids: Vec<_> = all()
            .into_iter()
            .flat_map(|c| c.rules)
            .filter(|r| r.level == Level::Conditional)
            .map(|r| r.id)
            .collect();
        assert_eq!(ids, ["aks/core/managed-disks"]);
    }

    #[test]
    fn the_features_pick_the_rules_that_the_document_means() {
        let rules = builtin("aks").unwrap().rules;
        let applies = |features: &str, id: &str| {
            let profile = Profile::parse(&format!("features = [{features}]"), "p").unwrap();
            profile.applies(rules.iter().find(|r| r.id == id).unwrap())
        };
        for (features, id, expected) in [
            ("", "aks/core/tunnel-udp", true),
            ("\"konnectivity\"", "aks/core/tunnel-udp", false),
            ("\"private-cluster\"", "aks/core/tunnel-tcp", false),
            ("", "aks/core/api-server-name", true),
            ("\"konnectivity\"", "aks/core/api-server-name", true),
            ("\"konnectivity\", \"private-cluster\"", "aks/core/api-server-name", false),
            ("\"api-server-access\"", "aks/core/api-server", true),
            ("\"api-server-access\", \"private-cluster\"", "aks/core/api-server", false),
            ("", "aks/core/ntp", false),
            ("\"node-image-before-2021-03\"", "aks/core/ntp", true),
            ("\"marketplace-extensions\"", "aks/extensions/mcr", true),
            ("\"extensions\"", "aks/extensions/marketplace", false),
            ("", "aks/china/core/ntp", false),
        ] {
            assert_eq!(applies(features, id), expected, "{id} with {features}");
        }
    }
}
