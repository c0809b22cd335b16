//! What is odd about rules, though they can be read.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::Serialize;

use super::{
    LoadErrors,
    feature::{Condition, Feature, FeatureSet},
    pattern::NamePattern,
    profile::Profile,
    read::read,
    rule::{Destination, Rule, Scope, Transport},
};

/// Rules of one destination are compared with at most this many others, so that a hostile catalog
/// can't make the work quadratic.
const MAX_COMPARED: usize = 64;

/// Conditions over more features than this are taken to overlap and not to imply one another.
const MAX_FEATURES: usize = 12;

/// One remark about a catalog. Displays as `SEVERITY: MESSAGE`, after `FILE:LINE` where known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What sort of remark.
    pub kind: FindingKind,
    /// Name of the file and 1-based line, for mistakes in the text.
    pub place: Option<String>,
    /// The rule that it is about.
    pub rule: Option<String>,
    /// What is odd and what to do.
    pub message: String,
}

/// The sort of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The text can't be read as rules here; a misspelt feature or placeholder among others.
    Mistake,
    /// Two rules ask for the same destination, port and transport at the same time.
    Duplicate,
    /// Another rule covers all that a destination of this one does.
    Shadowed,
    /// A parameter or role that the rules use and the profile doesn't bind.
    Unbound,
    /// `*.x` without any rule for x itself.
    ApexNotCovered,
}

impl FindingKind {
    /// `error` for what can't be used, `warning` for what is probably unwanted, else `hint`.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::Mistake => "error",
            Self::Unbound => "warning",
            Self::Duplicate | Self::Shadowed | Self::ApexNotCovered => "hint",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: ", self.kind.severity())?;
        if let Some(rule) = &self.rule {
            write!(f, "{rule}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Remarks about a catalog file's text, mistakes first; then those of [`lint`] about the rules
/// that can be read.
pub fn lint_text(text: &str, file: &str, profile: Option<&Profile>) -> Vec<Finding> {
    let (rules, errors) = match read(text, file) {
        Ok((catalog, errors)) => (catalog.rules, LoadErrors(errors)),
        Err(errors) => (Vec::new(), errors),
    };
    let mistakes = errors.iter().map(|e| Finding {
        kind: FindingKind::Mistake,
        place: Some(e.place()),
        rule: None,
        message: e.message().to_owned(),
    });
    mistakes.chain(lint(&rules, profile)).collect()
}

/// Remarks about rules, which may come from several catalogs, in their order. With a profile, only
/// rules that apply there are looked at, and what it leaves unbound is told at the end.
pub fn lint<'r>(
    rules: impl IntoIterator<Item = &'r Rule>,
    profile: Option<&Profile>,
) -> Vec<Finding> {
    let rules: Vec<_> =
        rules.into_iter().filter(|r| profile.is_none_or(|p| p.applies(r))).collect();
    let index = Index::new(&rules);
    let mut findings = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        for destination in &rule.destinations {
            let remark = index
                .duplicate(at, destination)
                .or_else(|| index.shadow(at, destination))
                .or_else(|| index.apex(at, destination));
            findings.extend(remark.map(|(kind, message)| Finding {
                kind,
                place: None,
                rule: Some(rule.id.clone()),
                message,
            }));
        }
    }
    findings.extend(profile.into_iter().flat_map(|p| unbound(&rules, p)));
    findings
}

/// A pattern in which placeholders are equal only to themselves: text that no name has stands in
/// for each, as what holds for that value holds for any. `None` for what the matcher can't read.
fn pattern(text: &str) -> Option<NamePattern> {
    NamePattern::parse(&text.replace('{', "_-").replace('}', "-_")).ok()
}

/// The end of a pattern that all its names have: what follows the last label with a star in it.
fn literal_end(text: &str) -> &str {
    let after_star = text.rsplit_once('*').map(|(_, rest)| rest);
    match after_star {
        Some(rest) => rest.split_once('.').map_or("", |(_, end)| end),
        None => text.strip_prefix('.').unwrap_or(text),
    }
}

/// The base itself and everything after each of its dots: where wider patterns may hang.
fn suffixes(base: &str) -> impl Iterator<Item = &str> {
    let dots = base.match_indices('.').map(|(i, _)| &base[i + 1..]);
    std::iter::once(base).chain(dots)
}

/// A rule's position and its pattern that stands for several names.
struct Wide<'r> {
    at: usize,
    text: &'r str,
    pattern: NamePattern,
}

type Remark = (FindingKind, String);

/// Destinations by what can be compared at all.
struct Index<'r> {
    rules: &'r [&'r Rule],
    same: HashMap<Place<'r>, Vec<usize>>,
    wide: HashMap<(Scope, Transport, &'r str), Vec<Wide<'r>>>,
    any: HashMap<(Scope, Transport), Vec<usize>>,
}

/// Equal for destinations that are the same in the same direction.
type Place<'r> = (Scope, Transport, Option<&'r str>, &'r Destination);

impl<'r> Index<'r> {
    fn new(rules: &'r [&'r Rule]) -> Self {
        let mut index =
            Self { rules, same: HashMap::new(), wide: HashMap::new(), any: HashMap::new() };
        for (at, rule) in rules.iter().enumerate() {
            for destination in &rule.destinations {
                index.same.entry(place(rule, destination)).or_default().push(at);
                match destination {
                    Destination::Any => {
                        index.any.entry((rule.scope, rule.transport)).or_default().push(at);
                    }
                    Destination::Fqdn(text) if text.starts_with('.') || text.contains('*') => {
                        let key = (rule.scope, rule.transport, literal_end(text));
                        let wide = pattern(text).map(|pattern| Wide { at, text, pattern });
                        index.wide.entry(key).or_default().extend(wide);
                    }
                    _ => {}
                }
            }
        }
        index
    }

    /// The same destination twice in this rule, or in an earlier one that can apply at the same
    /// time.
    fn duplicate(&self, at: usize, destination: &'r Destination) -> Option<Remark> {
        let rule = self.rules[at];
        let others = self.same.get(&place(rule, destination))?;
        if others.iter().take(MAX_COMPARED).filter(|&&o| o == at).count() > 1 {
            let message = format!("`{destination}` is in this rule twice");
            return Some((FindingKind::Duplicate, message));
        }
        let earlier = others.iter().take(MAX_COMPARED).take_while(|&&o| o < at);
        let other = earlier.map(|&o| self.rules[o]).find(|o| {
            share_ports(rule, o)
                && rule.cloud.iter().any(|c| o.cloud.contains(c))
                && overlap(rule.when.as_ref(), o.when.as_ref())
        })?;
        let message = format!("`{destination}` is a duplicate of the one in rule `{}`", other.id);
        Some((FindingKind::Duplicate, message))
    }

    /// Another rule that asks for more whenever this one applies.
    fn shadow(&self, at: usize, destination: &'r Destination) -> Option<Remark> {
        let rule = self.rules[at];
        let covering = |o: usize| o != at && covers(self.rules[o], rule);
        let (other, wide) = match destination {
            Destination::Any => return None,
            Destination::Fqdn(text) => self
                .wider(rule, text)
                .find(|wide| wide.text != text && covering(wide.at))
                .map(|wide| (wide.at, wide.text)),
            _ => None,
        }
        .or_else(|| {
            let any = self.any.get(&(rule.scope, rule.transport))?;
            any.iter().take(MAX_COMPARED).find(|&&o| covering(o)).map(|&o| (o, "*"))
        })?;
        let other = self.rules[other];
        let message =
            format!("`{destination}` is shadowed by the wider `{wide}` of rule `{}`", other.id);
        Some((FindingKind::Shadowed, message))
    }

    /// Patterns that hold all names of `text`, in the same direction, whatever their ports.
    fn wider(&self, rule: &'r Rule, text: &'r str) -> impl Iterator<Item = &Wide<'r>> {
        let narrow = pattern(text);
        let key = (rule.scope, rule.transport);
        let near: Vec<_> = suffixes(literal_end(text))
            .filter_map(|end| self.wide.get(&(key.0, key.1, end)))
            .flat_map(|list| list.iter().take(MAX_COMPARED))
            .collect();
        near.into_iter()
            .filter(move |wide| narrow.as_ref().is_some_and(|n| wide.pattern.contains(n)))
    }

    /// `*.x` where no rule has x at any of the same ports and clouds.
    fn apex(&self, at: usize, destination: &'r Destination) -> Option<Remark> {
        let rule = self.rules[at];
        let Destination::Fqdn(text) = destination else {
            return None;
        };
        let base = text.strip_prefix("*.")?;
        let apex = Destination::Fqdn(base.to_owned());
        let met = |o: usize| {
            let other = self.rules[o];
            share_ports(rule, other) && rule.cloud.iter().any(|c| other.cloud.contains(c))
        };
        if find(&self.same, rule, &apex).any(met) || self.wider(rule, base).any(|wide| met(wide.at))
        {
            return None;
        }
        let message = format!(
            "`{text}` doesn't cover `{base}` itself, nor does another rule: write `.{base}` if it is needed"
        );
        Some((FindingKind::ApexNotCovered, message))
    }
}

fn place<'r>(rule: &'r Rule, destination: &'r Destination) -> Place<'r> {
    (rule.scope, rule.transport, rule.from.as_deref(), destination)
}

/// Look-up by a destination that lives shorter than the index: the shared borrow lets the key's
/// lifetime shrink.
fn find<'s>(
    same: &'s HashMap<Place<'s>, Vec<usize>>,
    rule: &'s Rule,
    destination: &'s Destination,
) -> impl Iterator<Item = usize> {
    let list = same.get(&place(rule, destination));
    list.into_iter().flatten().take(MAX_COMPARED).copied()
}

fn share_ports(a: &Rule, b: &Rule) -> bool {
    let touch =
        |r: &Rule, o: &Rule| r.ports.is_empty() || o.ports.iter().any(|p| r.takes_port(p.first()));
    touch(a, b) || touch(b, a)
}

/// True when `wide` applies wherever and whenever `narrow` does, to at least the same ports and
/// clients.
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let ports = wide.ports.is_empty()
        || !narrow.ports.is_empty()
            && narrow.ports.iter().all(|n| wide.ports.iter().any(|w| w.covers(*n)));
    ports
        && narrow.cloud.iter().all(|c| wide.cloud.contains(c))
        && (wide.from.is_none() || wide.from == narrow.from)
        && implies(narrow.when.as_ref(), wide.when.as_ref())
}

/// True when both conditions can hold at once.
fn overlap(a: Option<&Condition>, b: Option<&Condition>) -> bool {
    holds(a, b).is_none_or(|mut both| both.any(|(a, b)| a && b))
}

/// True when `b` holds whenever `a` does.
fn implies(a: Option<&Condition>, b: Option<&Condition>) -> bool {
    b.is_none() || holds(a, b).is_some_and(|mut both| both.all(|(a, b)| !a || b))
}

/// What two conditions come to for every setting of the features in them; `None` when there are
/// too many settings to try.
fn holds<'c>(
    a: Option<&'c Condition>,
    b: Option<&'c Condition>,
) -> Option<impl Iterator<Item = (bool, bool)> + 'c> {
    let mentioned = |c: &Condition| c.features().iter().collect::<Vec<_>>();
    let mut features: Vec<Feature> = [a, b].into_iter().flatten().flat_map(mentioned).collect();
    features.sort_unstable();
    features.dedup();
    (features.len() <= MAX_FEATURES).then(|| {
        (0..1_u32 << features.len()).map(move |setting| {
            let is_on = |(i, _): &(usize, &Feature)| setting >> i & 1 == 1;
            let on: FeatureSet =
                features.iter().enumerate().filter(is_on).map(|(_, &f)| f).collect();
            let value = |c: Option<&Condition>| c.is_none_or(|c| c.holds(on));
            (value(a), value(b))
        })
    })
}

/// What the rules need and the profile doesn't bind: parameters, then roles.
fn unbound(rules: &[&Rule], profile: &Profile) -> Vec<Finding> {
    let mut users: BTreeMap<(u8, String), Vec<&str>> = BTreeMap::new();
    for rule in rules {
        for param in rule.params().filter(|&p| profile.values(p).is_empty()) {
            let what = format!("parameter `{param}` has no value");
            users.entry((0, what)).or_default().push(&rule.id);
        }
        let to = rule.destinations.iter().filter_map(|d| match d {
            Destination::Role(role) => Some(role),
            _ => None,
        });
        for role in rule.from.iter().chain(to) {
            if !profile.roles.contains_key(role) {
                let what = format!("role `{role}` has no addresses");
                users.entry((1, what)).or_default().push(&rule.id);
            }
        }
    }
    users
        .into_iter()
        .map(|((_, what), ids)| Finding {
            kind: FindingKind::Unbound,
            place: None,
            rule: None,
            message: match ids.len() - 1 {
                0 => format!("{what} in the profile; `{}` needs it", ids[0]),
                more => format!("{what} in the profile; `{}` and {more} more need it", ids[0]),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{builtin, names},
        *,
    };

    fn rule(id: &str, keys: &str) -> String {
        format!(
            "[[rule]]\nid = \"t/{id}\"\nservice = \"t\"\ncloud = [\"public\"]\nlevel = \"required\"\n\
             transport = \"tcp\"\nports = [443]\napp = \"https\"\nuse = \"T.\"\n\
             source = {{ section = \"S\" }}\n{keys}\n"
        )
    }

    fn lint_rules(rules: &[(&str, &str)], profile: Option<&Profile>) -> Vec<String> {
        let rules: Vec<_> = rules.iter().map(|(id, keys)| rule(id, keys)).collect();
        let text = format!("name = \"t\"\ntitle = \"T\"\n{}", rules.concat());
        let found = lint_text(&text, "t.toml", profile);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_duplicates_only_where_both_can_apply() {
        let a = "destinations = [\"a.example\"]";
        assert_eq!(
            lint_rules(&[("1", a), ("2", a)], None),
            ["hint: t/2: `a.example` is a duplicate of the one in rule `t/1`"]
        );
        let twice = ("1", "destinations = [\"a.example\", \"a.example\"]");
        assert_eq!(lint_rules(&[twice], None).len(), 2);
        let gpu = format!("{a}\nwhen = \"gpu\"");
        let not_gpu = format!("{a}\nwhen = \"not gpu and windows\"");
        assert!(lint_rules(&[("1", &gpu), ("2", &not_gpu)], None).is_empty());
        let from = format!("{a}\nfrom = \"node\"");
        assert_eq!(lint_rules(&[("1", &from), ("2", &from)], None).len(), 1);
    }

    #[test]
    fn finds_what_a_wider_rule_covers() {
        let wide = ("wide", "destinations = [\".example\"]");
        assert_eq!(
            lint_rules(&[wide, ("a", "destinations = [\"*.a.example\"]")], None),
            ["hint: t/a: `*.a.example` is shadowed by the wider `.example` of rule `t/wide`"]
        );
        let conditional = ("wide", "when = \"gpu\"\ndestinations = [\".example\"]");
        let plain = ("a", "destinations = [\"a.example\"]");
        assert!(lint_rules(&[conditional, plain], None).is_empty());
        let narrower = ("a", "when = \"gpu and windows\"\ndestinations = [\"a.example\"]");
        assert_eq!(lint_rules(&[conditional, narrower], None).len(), 1);
        let any = ("any", "destinations = [\"*\"]");
        let tag = ("tag", "destinations = [{ service_tag = \"Storage\" }]");
        assert_eq!(lint_rules(&[any, tag], None).len(), 1);
        let star = ("star", "destinations = [\"md-*.example\"]");
        let disk = ("disk", "destinations = [\"md-7.example\"]");
        assert_eq!(lint_rules(&[disk, star], None).len(), 1);
    }

    #[test]
    fn placeholders_cover_only_themselves() {
        let wide = ("wide", "destinations = [\"*.{region}.example\"]");
        let lint = |name| {
            let keys = format!("destinations = [\"{name}\"]");
            let found = lint_rules(&[wide, ("a", &keys)], None);
            found.iter().filter(|f| f.contains("shadowed")).count()
        };
        assert_eq!(lint("a.{region}.example"), 1);
        assert_eq!(lint("a-{acr}.{region}.example"), 1);
        assert_eq!(lint("a.{acr}.example"), 0);
        assert_eq!(lint("a.westeurope.example"), 0);
    }

    #[test]
    fn finds_an_apex_that_nothing_covers() {
        let below = ("below", "destinations = [\"*.x.example\"]");
        assert_eq!(
            lint_rules(&[below], None),
            [
                "hint: t/below: `*.x.example` doesn't cover `x.example` itself, nor does another rule: write `.x.example` if it is needed"
            ]
        );
        let apex = ("apex", "destinations = [\"x.example\"]");
        assert!(lint_rules(&[below, apex], None).is_empty());
    }

    #[test]
    fn finds_misspelt_features_and_placeholders() {
        assert_eq!(
            lint_rules(
                &[("1", "when = \"konectivity\"\ndestinations = [\"{regon}.example\"]")],
                None
            ),
            [
                "t.toml:13: error: condition, character 1: unknown feature `konectivity`: did you mean `konnectivity`?",
                "t.toml:14: error: unknown placeholder `{regon}`: did you mean `region`?",
            ]
        );
    }

    #[test]
    fn finds_what_the_profile_leaves_unbound() {
        let rules = [
            ("1", "destinations = [\"{region}.example\"]"),
            ("2", "from = \"azureml\"\ndestinations = [\"a.{region}.example\"]"),
            ("3", "when = \"gpu\"\ndestinations = [\"{acr}.example\"]"),
        ];
        assert_eq!(
            lint_rules(&rules, Some(&Profile::default())),
            [
                "warning: parameter `region` has no value in the profile; `t/1` and 1 more need it",
                "warning: role `azureml` has no addresses in the profile; `t/2` needs it",
            ]
        );
    }

    #[test]
    fn built_in_catalogs_have_hints_only() {
        for name in names() {
            for finding in lint(&builtin(name).unwrap().rules, None) {
                assert_eq!(finding.kind.severity(), "hint", "{finding}");
            }
        }
    }
}
