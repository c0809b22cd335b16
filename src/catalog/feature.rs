//! What a site may have switched on, and conditions over it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::error::alternatives;

/// Conditions longer than this are refused: they come from files that anybody may have written.
const MAX_WORDS: usize = 128;

macro_rules! features {
    ($($variant:ident $name:literal $sentence:literal)*) => {
        /// Something that a site has or uses and that decides which rules apply to it.
        ///
        /// A feature is on when the profile lists it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Feature {
            $(#[doc = $sentence] $variant,)*
        }

        impl Feature {
            /// Every feature, in the order in which lists show them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in catalogs and profiles.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means that the feature is on, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

features! {
    Konnectivity "konnectivity" "The cluster tunnels to its control plane through the konnectivity agent."
    PrivateCluster "private-cluster" "The API server has a private address only."
    CustomDns "custom-dns" "Nodes ask DNS servers of the site's own, given as parameter `custom-dns`."
    ApiServerAccess "api-server-access" "Pods call the API server by its public address."
    AzureFirewall "azure-firewall" "The egress device is an Azure Firewall, whose network rules may hold names."
    NodeImageBefore202103 "node-image-before-2021-03" "Some Linux nodes were provisioned before or in March 2021 and set their clock by NTP."
    OsUpdates "os-updates" "Linux nodes fetch security updates themselves, between node image upgrades."
    Gpu "gpu" "There are node pools with GPUs."
    Windows "windows" "There are Windows Server node pools."
    Defender "defender" "Microsoft Defender for Containers is on."
    SecretsStore "secrets-store" "The Secrets Store CSI driver reads from Azure Key Vault."
    Monitor "monitor" "Azure Monitor for containers is on."
    Policy "policy" "The Azure Policy add-on is on."
    CostAnalysis "cost-analysis" "The cost analysis add-on is on."
    Extensions "extensions" "Cluster extensions are installed."
    MarketplaceExtensions "marketplace-extensions" "Cluster extensions from the marketplace are installed."
    Training "training" "Machine learning training jobs run on the cluster."
    Inference "inference" "Machine learning models are served from the cluster."
    LogUpload "log-upload" "Machine learning system logs are uploaded to the publisher (not opted out)."
    ClusterConnect "cluster-connect" "Cluster Connect gives access to the cluster without an inbound port."
    CustomLocation "custom-location" "The cluster serves as a custom location."
    HbiWorkspace "hbi-workspace" "The machine learning workspace was created with the `hbi_workspace` flag."
    StorageFirewall "storage-firewall" "A firewall stands between machine learning and its storage account."
    SeparateVlans "separate-vlans" "Physical hosts, resource bridge and cluster machines are on separate VLANs."
}

impl Feature {
    /// The feature of that name. The error says what was probably meant.
    pub fn parse(name: &str) -> Result<Self, UnknownFeature> {
        Self::ALL
            .iter()
            .copied()
            .find(|f| f.name() == name)
            .ok_or_else(|| UnknownFeature(name.to_owned()))
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Feature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that is no feature's name. Displays with what was probably meant, or with all names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFeature(String);

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Feature::ALL.iter().map(|k| k.name());
        write!(f, "unknown feature `{}`{}", self.0, alternatives(&self.0, known))
    }
}

impl std::error::Error for UnknownFeature {}

/// A set of features; iterates in the order of [`Feature::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// Adds a feature.
    pub fn insert(&mut self, feature: Feature) {
        self.0 |= 1 << feature as u64;
    }

    /// True when `feature` is in the set.
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u64 != 0
    }

    /// The features in the set.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |&f| self.contains(f))
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut set = Self::default();
        features.into_iter().for_each(|f| set.insert(f));
        set
    }
}

impl Serialize for FeatureSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// A condition over features: `konnectivity and not (gpu or windows)`.
///
/// `not` binds tighter than `and`, `and` tighter than `or`. Displays in that language with the
/// fewest parentheses that keep its structure, so that `parse(x.to_string()) == x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// True when the feature is on.
    Feature(Feature),
    /// True when the condition isn't.
    Not(Box<Condition>),
    /// True when both are.
    And(Box<Condition>, Box<Condition>),
    /// True when at least one is.
    Or(Box<Condition>, Box<Condition>),
}

impl Condition {
    /// Reads a condition of at most 128 words and parentheses.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let words = split_words(text)?;
        let mut parser = Parser { words: &words, next: 0, end: text.len() };
        let condition = parser.either()?;
        match parser.peek() {
            None => Ok(condition),
            Some(word) => Err(word.error("`and`, `or` or the end is needed here")),
        }
    }

    /// True when the condition holds with exactly `on` switched on.
    pub fn holds(&self, on: FeatureSet) -> bool {
        match self {
            Self::Feature(f) => on.contains(*f),
            Self::Not(c) => !c.holds(on),
            Self::And(a, b) => a.holds(on) && b.holds(on),
            Self::Or(a, b) => a.holds(on) || b.holds(on),
        }
    }

    /// The features that the condition mentions.
    pub fn features(&self) -> FeatureSet {
        match self {
            Self::Feature(f) => FeatureSet::from_iter([*f]),
            Self::Not(c) => c.features(),
            Self::And(a, b) | Self::Or(a, b) => FeatureSet(a.features().0 | b.features().0),
        }
    }

    /// 0 for `or`, 1 for `and`, 2 for what needs no parentheses.
    fn binding(&self) -> u8 {
        match self {
            Self::Or(..) => 0,
            Self::And(..) => 1,
            Self::Not(_) | Self::Feature(_) => 2,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, c: &Self, binding| {
            if c.binding() < binding { write!(f, "({c})") } else { write!(f, "{c}") }
        };
        match self {
            Self::Feature(feature) => feature.fmt(f),
            Self::Not(c) => {
                f.write_str("not ")?;
                part(f, c, 2)
            }
            // Both operators group to the left, so an equal one on the right needs parentheses.
            Self::And(a, b) => {
                part(f, a, 1)?;
                f.write_str(" and ")?;
                part(f, b, 2)
            }
            Self::Or(a, b) => {
                part(f, a, 0)?;
                f.write_str(" or ")?;
                part(f, b, 1)
            }
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is wrong with a condition. Displays with the position, in characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    offset: usize,
    message: String,
}

impl ConditionError {
    /// Byte offset in the condition's text.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "condition, character {}: {}", self.offset + 1, self.message)
    }
}

impl std::error::Error for ConditionError {}

/// One word or parenthesis and where it stands.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    offset: usize,
}

impl Word<'_> {
    fn error(self, message: impl fmt::Display) -> ConditionError {
        ConditionError { offset: self.offset, message: message.to_string() }
    }
}

fn split_words(text: &str) -> Result<Vec<Word<'_>>, ConditionError> {
    let mut words = Vec::new();
    let mut offset = 0;
    while let Some(first) = text[offset..].chars().next() {
        let rest = &text[offset..];
        let len = match first {
            ' ' | '\t' | '\n' | '\r' => {
                offset += 1;
                continue;
            }
            '(' | ')' => 1,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => {
                let word = Word { text: rest, offset };
                return Err(word.error(format!(
                    "`{}` is no part of a condition; write features with `and`, `or`, `not` and parentheses",
                    c.escape_default()
                )));
            }
        };
        let word = Word { text: &rest[..len], offset };
        if words.len() == MAX_WORDS {
            return Err(word.error(format!("longer than {MAX_WORDS} words")));
        }
        words.push(word);
        offset += len;
    }
    Ok(words)
}

/// `_` and capitals are in no feature's name, but reading them gives the better error.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Recursive descent; its depth is bounded by [`MAX_WORDS`].
struct Parser<'w, 't> {
    words: &'w [Word<'t>],
    next: usize,
    end: usize,
}

impl<'t> Parser<'_, 't> {
    fn peek(&self) -> Option<Word<'t>> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|w| w.text == text);
        self.next += usize::from(found);
        found
    }

    fn either(&mut self) -> Result<Condition, ConditionError> {
        let mut left = self.both()?;
        while self.take("or") {
            left = Condition::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Condition, ConditionError> {
        let mut left = self.one()?;
        while self.take("and") {
            left = Condition::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Condition, ConditionError> {
        if self.take("not") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        let end = Word { text: "", offset: self.end };
        let word = self.peek().unwrap_or(end);
        if self.take("(") {
            let inner = self.either()?;
            return if self.take(")") { Ok(inner) } else { Err(word.error("`(` without its `)`")) };
        }
        self.next += 1;
        match word.text {
            "" | ")" | "and" | "or" => Err(word.error("a feature is needed here")),
            name => Feature::parse(name).map(Condition::Feature).map_err(|e| word.error(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(names: &[&str]) -> FeatureSet {
        names.iter().map(|n| Feature::parse(n).unwrap()).collect()
    }

    #[test]
    fn features_fit_the_set_and_have_unique_kebab_names() {
        assert!(Feature::ALL.len() <= 64);
        for (i, f) in Feature::ALL.iter().enumerate() {
            assert_eq!(Feature::parse(f.name()), Ok(*f));
            assert_eq!(*f as usize, i);
            assert!(
                f.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert!(f.sentence().ends_with('.'));
        }
    }

    #[test]
    fn not_binds_tighter_than_and_than_or() {
        let c = Condition::parse("gpu or windows and not monitor").unwrap();
        assert!(c.holds(on(&["gpu", "monitor"])));
        assert!(c.holds(on(&["windows"])));
        assert!(!c.holds(on(&["windows", "monitor"])));
        assert!(!c.holds(FeatureSet::default()));
        assert_eq!(c.features(), on(&["monitor", "windows", "gpu"]));
        let c = Condition::parse("not(gpu or windows)").unwrap();
        assert!(c.holds(FeatureSet::default()));
        assert!(!c.holds(on(&["windows"])));
        assert_eq!(c.to_string(), "not (gpu or windows)");
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        let message = |t: &str| Condition::parse(t).unwrap_err().to_string();
        assert_eq!(
            message("gpu and konectivity"),
            "condition, character 9: unknown feature `konectivity`: did you mean `konnectivity`?"
        );
        assert!(message("").starts_with("condition, character 1: a feature is needed"));
        assert!(message("gpu and").starts_with("condition, character 8: a feature is needed"));
        assert!(message("gpu windows").starts_with("condition, character 5: `and`, `or`"));
        assert!(message("not (gpu").starts_with("condition, character 5: `(` without"));
        assert!(message("gpu && windows").starts_with("condition, character 5: `&` is no part"));
        assert!(message("gpu)").starts_with("condition, character 4"));
        assert!(message("ünder").starts_with("condition, character 1: `\\u{fc}`"));
        assert!(message("tls").contains("known are `konnectivity`, "));
        assert!(message(&"not ".repeat(100_000)).contains("longer than"));
        assert!(message(&"(".repeat(100_000)).contains("longer than"));
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let leaf = prop::sample::select(Feature::ALL).prop_map(Condition::Feature);
        leaf.prop_recursive(4, 24, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|c| Condition::Not(Box::new(c))),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
                (inner.clone(), inner).prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_the_same(c in condition()) {
            prop_assert_eq!(Condition::parse(&c.to_string()), Ok(c));
        }

        #[test]
        fn any_text_is_a_condition_or_an_error(text in "[a-z()\\- \u{e9}]{0,40}") {
            let _ = Condition::parse(&text);
        }
    }
}
