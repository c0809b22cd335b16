use std::{cmp::Reverse, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    label::Label,
    pattern_text::{self, PatternError, PatternProblem},
};

/// A set of host names.
///
/// | text | stands for |
/// |---|---|
/// | `x.y` | that name |
/// | `*.x.y` | all names below `x.y` at any depth, not `x.y` itself |
/// | `.x.y` | `x.y` and all names below |
/// | `*` | any name |
/// | `md-*.y`, `a*b*.y` | `*` inside a label is any text within that label, also none |
/// | `a.*.y` | `*` as a whole label that isn't the first is exactly one label |
/// | `{p}.y`, `pre-{p}.y` | one of the profile's values for `p`; until bound, at least one character within that label |
///
/// Names are in the form of [`HostName`](crate::base::HostName): lower case, A-labels, no trailing
/// dot. As sets, patterns hold names of labels of any octets and any length: what
/// [`contains`](Self::contains) grants always holds, and what it denies could fail only for want
/// of room in the 63 octets of a label or the 253 of a name. A placeholder that stands twice in an
/// unbound pattern is two gaps.
///
/// A pattern is its canonical text, and orders and displays as that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(Box<str>);

/// How narrow a pattern is; greater is more specific.
///
/// In this order: an exact name; more labels without a gap; more literal characters; a fixed
/// depth; more labels; longer gaps; fewer gaps. A pattern whose set is a proper part of another's
/// is always more specific. Two patterns may be equally specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    exact: bool,
    literal_labels: u8,
    literal_characters: u8,
    fixed_depth: bool,
    labels: u8,
    gap_characters: u8,
    gaps: Reverse<u8>,
}

/// Most patterns that [`NamePattern::bind`] makes from one.
const MAX_BOUND: usize = 1 << 16;

impl NamePattern {
    /// Reads a pattern. Case and one trailing dot don't matter.
    ///
    /// # Errors
    ///
    /// When the text is no pattern. The error says what to write instead where that is clear, as
    /// for a URL or a name with letters outside ASCII.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        pattern_text::canonical(text).map(|text| Self(text.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when `name` (canonical, see above) is in the set.
    pub fn matches(&self, name: &str) -> bool {
        let mut labels = name.rsplit('.');
        self.labels_from_right()
            .all(|label| labels.next().is_some_and(|l| label.matches(l.as_bytes())))
            && (self.is_open() || labels.next().is_none())
    }

    /// True when every name of `other` is one of `self`'s.
    pub fn contains(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.depth(), other.depth());
        let deep_enough = match (self.is_open(), other.is_open()) {
            (true, _) => theirs >= ours,
            (false, open) => !open && theirs == ours,
        };
        // What stands further left in `other` than `self`'s labels is free.
        deep_enough && self.pairs(other).all(|(ours, theirs)| ours.contains(theirs))
    }

    /// True when some name is in both sets.
    pub fn intersects(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.depth(), other.depth());
        (ours >= theirs || self.is_open())
            && (theirs >= ours || other.is_open())
            && self.pairs(other).all(|(ours, theirs)| ours.intersects(theirs))
    }

    /// How narrow the set is.
    pub fn specificity(&self) -> Specificity {
        let mut s = Specificity {
            exact: false,
            literal_labels: 0,
            literal_characters: 0,
            fixed_depth: !self.is_open(),
            labels: 0,
            gap_characters: 0,
            gaps: Reverse(0),
        };
        // The text's limits keep every sum in a byte.
        for label in self.labels_from_right() {
            s.labels += 1;
            s.literal_labels += u8::from(label.is_literal());
            s.literal_characters += label.prefix.len() as u8;
            for gap in label.gaps() {
                s.literal_characters += gap.literal.len() as u8;
                s.gap_characters += gap.min as u8;
                s.gaps.0 += 1;
            }
        }
        s.exact = s.fixed_depth && s.gaps.0 == 0;
        s
    }

    /// The placeholders' names, in order, as often as they stand there. None: all bound.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let parts = self.0.split('{').skip(1);
        parts.filter_map(|part| part.split_once('}').map(|(name, _)| name))
    }

    /// Puts values in place of placeholders: one pattern for each combination, in the order of the
    /// values. Placeholders without values stay, and [`parameters`](Self::parameters) of each
    /// result names them.
    ///
    /// A value may have dots only where nothing but the placeholder ends the pattern (`{server}`,
    /// `*.{zone}`): elsewhere they'd make a name that can't be meant.
    ///
    /// # Errors
    ///
    /// When a value isn't plain host-name text, a result isn't a pattern, or there are more than
    /// 65,536 combinations.
    pub fn bind<'v>(
        &self,
        values: &dyn Fn(&str) -> Option<&'v [String]>,
    ) -> Result<Vec<Self>, PatternError> {
        let mut bound = vec![self.0.to_string()];
        let mut names: Vec<&str> = self.parameters().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some(values) = values(name).filter(|values| !values.is_empty()) else {
                continue;
            };
            if bound.len().saturating_mul(values.len()) > MAX_BOUND {
                return Err(PatternError::new(&self.0, PatternProblem::Combinations));
            }
            let holder = format!("{{{name}}}");
            for value in values {
                self.check_value(&holder, value)?;
            }
            bound = bound
                .iter()
                .flat_map(|text| values.iter().map(|value| text.replace(&holder, value)))
                .collect();
        }
        bound.iter().map(|text| Self::parse(text)).collect()
    }

    /// True when further labels may stand to the left.
    pub(super) fn is_open(&self) -> bool {
        self.0.starts_with('.') || &*self.0 == "*" || self.0.starts_with("*.")
    }

    /// The labels' texts. An open pattern's first label may be followed, to its left, by more.
    pub(super) fn texts_from_right(&self) -> impl Iterator<Item = &str> {
        self.0.strip_prefix('.').unwrap_or(&self.0).rsplit('.')
    }

    fn labels_from_right(&self) -> impl Iterator<Item = Label<'_>> {
        self.texts_from_right().map(Label::new)
    }

    /// Least number of labels of a name in the set.
    fn depth(&self) -> usize {
        self.texts_from_right().count()
    }

    /// Labels at the same place, from the right, as far as both patterns have one.
    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (Label<'a>, Label<'a>)> {
        self.labels_from_right().zip(other.labels_from_right())
    }

    fn check_value(&self, holder: &str, value: &str) -> Result<(), PatternError> {
        let ends_pattern = self
            .0
            .strip_suffix(holder)
            .is_some_and(|left| (left.is_empty() || left.ends_with('.')) && !left.contains(holder));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let fits =
            !value.is_empty() && value.bytes().all(|b| plain(b) || ends_pattern && b == b'.');
        let problem = || PatternProblem::Value {
            parameter: holder.trim_matches(['{', '}']).into(),
            value: value.into(),
        };
        fits.then_some(()).ok_or_else(|| PatternError::new(&self.0, problem()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> NamePattern {
        NamePattern::parse(text).unwrap()
    }

    /// All sequences of 1 to `longest` of these labels, joined by dots.
    fn joined(labels: &[&str], longest: usize) -> Vec<String> {
        let mut all: Vec<String> = labels.iter().map(|&l| l.into()).collect();
        let mut from = 0;
        for _ in 1..longest {
            let to = all.len();
            for i in from..to {
                for label in labels {
                    all.push(format!("{label}.{}", all[i]));
                }
            }
            from = to;
        }
        all
    }

    #[test]
    fn the_table_of_forms() {
        for (text, inside, outside) in [
            ("x.y", &["x.y"][..], &["a.x.y", "y", "xx.y"][..]),
            ("*.x.y", &["a.x.y", "a.b.x.y"], &["x.y", "ax.y"]),
            (".x.y", &["x.y", "a.x.y", "a.b.x.y"], &["ax.y", "y"]),
            ("*", &["x", "x.y.z"], &[]),
            ("md-*.y", &["md-.y", "md-1.y"], &["md-1.a.y", "md.y", "a.md-1.y"]),
            ("a*b*.y", &["ab.y", "axxbz.y"], &["a.b.y", "ba.y"]),
            ("a.*.y", &["a.x.y"], &["a.y", "a.x.x.y", "b.a.x.y"]),
            ("{p}.y", &["x.y"], &["y", "a.x.y"]),
            ("pre-{p}.y", &["pre-x.y"], &["pre-.y"]),
            ("*.*.y", &["a.b.y", "a.b.c.y"], &["a.y"]),
        ] {
            let pattern = pattern(text);
            assert_eq!(pattern.to_string(), text);
            assert!(inside.iter().all(|name| pattern.matches(name)), "{text}");
            assert!(!outside.iter().any(|name| pattern.matches(name)), "{text}");
        }
    }

    #[test]
    fn canonical_text() {
        assert_eq!(pattern("MCR.Microsoft.com.").as_str(), "mcr.microsoft.com");
        assert_eq!(pattern(".*.x").as_str(), "*.x");
        assert_eq!(pattern(".*").as_str(), "*");
    }

    #[test]
    fn set_algebra_is_exact_for_all_small_patterns() {
        let mut texts = joined(&["a", "b", "*", "a*", "*b", "{p}"], 3);
        texts.extend(texts.clone().iter().map(|text| format!(".{text}")));
        let patterns: Vec<NamePattern> = texts.iter().map(|text| pattern(text)).collect();
        let names = joined(&["a", "b", "ab", "c"], 4);
        // A bit for each name.
        let set = |p: &NamePattern| -> Vec<u64> {
            let word = |names: &[String]| {
                let bit = |word: u64, name: &String| word << 1 | u64::from(p.matches(name));
                names.iter().fold(0, bit)
            };
            names.chunks(64).map(word).collect()
        };
        let sets: Vec<Vec<u64>> = patterns.iter().map(set).collect();
        for (p, in_p) in patterns.iter().zip(&sets) {
            for (q, in_q) in patterns.iter().zip(&sets) {
                let both = || in_p.iter().zip(in_q);
                let subset = both().all(|(p, q)| q & !p == 0);
                assert_eq!(p.contains(q), subset, "{p} contains {q}");
                let common = both().any(|(p, q)| p & q != 0);
                assert_eq!(p.intersects(q), common, "{p} intersects {q}");
                if subset && in_p != in_q {
                    assert!(q.specificity() > p.specificity(), "{q} before {p}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn algebra_agrees_with_names(
            p in "\\.?([ab*]|[ab]{1,3}|[ab]\\*[ab]?|\\*[ab]\\*|\\{p\\}[ab])(\\.([ab]|[ab]\\*|\\*)){0,3}",
            q in "\\.?([ab*]|[ab]{1,3}|[ab]\\*[ab]?|\\*[ab]\\*|\\{p\\}[ab])(\\.([ab]|[ab]\\*|\\*)){0,3}",
            names in prop::collection::vec("[abc]{1,4}(\\.[abc]{1,2}){0,4}", 50),
        ) {
            let (p, q) = (pattern(&p), pattern(&q));
            prop_assert_eq!(&pattern(p.as_str()), &p);
            prop_assert_eq!(p.intersects(&q), q.intersects(&p));
            prop_assert!(p.contains(&p) && (!p.contains(&q) || p.intersects(&q)));
            if p.contains(&q) && !q.contains(&p) {
                prop_assert!(q.specificity() > p.specificity());
            }
            for name in &names {
                let (in_p, in_q) = (p.matches(name), q.matches(name));
                prop_assert!(!p.contains(&q) || !in_q || in_p);
                prop_assert!(p.intersects(&q) || !in_p || !in_q);
                prop_assert_eq!(in_p, p.contains(&pattern(name)));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}|[a-c.*{}<>:/ -]{0,12}") {
            if let Err(error) = NamePattern::parse(&text) {
                let _ = error.to_string();
            }
        }
    }

    #[test]
    fn order_of_specificity() {
        let order = ["*", ".x.y", "*.x.y", "*.b.x.y", "md-*.b.x.y", "md-1.b.x.y"];
        let specificities = order.map(|text| pattern(text).specificity());
        assert!(specificities.is_sorted_by(|a, b| a < b));
        assert!(pattern("a.y").specificity() > pattern("*.a.b.c.d.y").specificity());
    }

    #[test]
    fn binds_every_combination() {
        let regions = ["westeurope".to_owned(), "NorthEurope".to_owned()];
        let none: [String; 0] = [];
        let values = |name: &str| match name {
            "region" => Some(&regions[..]),
            "empty" => Some(&none[..]),
            _ => None,
        };
        let bound = pattern("{acr}.{region}.data.azurecr.io").bind(&values).unwrap();
        let texts: Vec<_> = bound.iter().map(NamePattern::as_str).collect();
        assert_eq!(
            texts,
            ["{acr}.westeurope.data.azurecr.io", "{acr}.northeurope.data.azurecr.io"]
        );
        assert_eq!(bound[0].parameters().collect::<Vec<_>>(), ["acr"]);
        assert!(bound[0].matches("contoso.westeurope.data.azurecr.io"));
        let same = pattern("{empty}.{region}-{region}.x").bind(&values).unwrap();
        assert_eq!(same[0].as_str(), "{empty}.westeurope-westeurope.x");
    }

    #[test]
    fn values_are_plain_text() {
        let bind = |text: &str, value: &str| {
            let values = [value.to_owned()];
            pattern(text).bind(&|_| Some(&values[..])).map(|p| p[0].to_string())
        };
        assert_eq!(bind("{server}", "k8s.example.net").unwrap(), "k8s.example.net");
        assert_eq!(bind("*.{zone}", "example.net").unwrap(), "*.example.net");
        let error = bind("{acr}.azurecr.io", "contoso.azurecr.io").unwrap_err();
        assert!(error.to_string().contains("`contoso.azurecr.io`"), "{error}");
        for value in ["*", "", "a b", "{x}", "ü", "https://a"] {
            assert!(bind("{acr}.azurecr.io", value).is_err(), "{value}");
        }
        assert!(bind("{server}", "10.0.0.1").is_err());
        let many = vec!["a".to_owned(); 300];
        assert!(pattern("{a}.{b}.x").bind(&|_| Some(&many[..])).is_err());
    }
}
