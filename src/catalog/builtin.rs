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
