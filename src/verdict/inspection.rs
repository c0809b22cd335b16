//! Who re-signs TLS certificates: what the profile says, and what the capture shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::{catalog::Profile, scan::Census};

/// The CAs that sign in other people's names.
pub struct Inspection<'i> {
    profile: &'i Profile,
    shown: BTreeSet<&'i str>,
}

/// Organisations of the Web PKI: they sign for everybody, openly.
const PUBLIC_CAS: [&str; 34] = [
    "actalis",
    "amazon",
    "apple inc",
    "asseco",
    "baltimore",
    "buypass",
    "certainly",
    "certigna",
    "certum",
    "cloudflare",
    "comodo",
    "d-trust",
    "digicert",
    "entrust",
    "geotrust",
    "globalsign",
    "godaddy",
    "google trust services",
    "harica",
    "identrust",
    "internet security research",
    "isrg",
    "let's encrypt",
    "microsoft corporation",
    "quovadis",
    "sectigo",
    "ssl corporation",
    "starfield",
    "swisssign",
    "symantec",
    "thawte",
    "trustasia",
    "verisign",
    "zerossl",
];

impl<'i> Inspection<'i> {
    /// Looks for CAs that show themselves: outside the Web PKI, with their own root sent along,
    /// signing for names of publishers that have nothing in common.
    pub fn new(census: &'i Census, profile: &'i Profile) -> Self {
        let mut by_issuer: BTreeMap<&str, (BTreeSet<&str>, bool)> = BTreeMap::new();
        let single = census.connections.iter().map(|connection| {
            let facts = &connection.facts;
            let certificate = facts.certificate.as_ref().map(|it| (&*it.issuer, it.root_sent));
            (facts.hello.as_ref().and_then(|hello| hello.sni.as_deref()), certificate)
        });
        let folded =
            census.kinds.iter().map(|(kind, _)| (kind.sni().map(|n| &**n), kind.certificate()));
        for (sni, certificate) in single.chain(folded) {
            if let (Some(sni), Some((issuer, root_sent))) = (sni, certificate) {
                let (domains, root) = by_issuer.entry(issuer).or_default();
                domains.insert(domain(sni));
                *root |= root_sent;
            }
        }
        let resigns = |(issuer, (domains, root)): (&'i str, (BTreeSet<&str>, bool))| {
            let public = PUBLIC_CAS.iter().any(|ca| issuer.to_lowercase().contains(ca));
            (root && domains.len() >= 2 && !public).then_some(issuer)
        };
        Self { profile, shown: by_issuer.into_iter().filter_map(resigns).collect() }
    }

    /// True when a certificate by this issuer is one that a device on the path made.
    pub fn is_resigned(&self, issuer: &str) -> bool {
        let lower = issuer.to_lowercase();
        let listed = |ca: &String| lower.contains(&ca.to_lowercase());
        self.profile.network.resigning_cas.iter().any(listed) || self.shown.contains(issuer)
    }
}

/// The last two labels: close enough to tell publishers apart.
fn domain(name: &str) -> &str {
    let last_two = name.rmatch_indices('.').nth(1);
    last_two.map_or(name, |(at, _)| &name[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_the_last_two_labels() {
        assert_eq!(domain("a.b.example.com"), "example.com");
        assert_eq!(domain("example.com"), "example.com");
        assert_eq!(domain("localhost"), "localhost");
    }
}
