//! What came, went and changed between two versions of a catalog.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::rule::{Cloud, Destination, Level, PortRange, Rule, Scope, Transport};

/// The difference between two lists of rules, each part in the order of its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Endpoints that only the new rules have.
    pub came: Vec<Requirement>,
    /// Endpoints that only the old rules have.
    pub went: Vec<Requirement>,
    /// Endpoints that both have, on other terms.
    pub changed: Vec<Change>,
}

/// One destination of a rule, with the terms on which it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// What has to be reached.
    pub destination: Destination,
    /// Transport protocol.
    pub transport: Transport,
    /// The clouds that this line is about.
    pub cloud: Vec<Cloud>,
    /// Where the traffic goes.
    pub scope: Scope,
    /// The role of the client.
    pub from: Option<String>,
    /// The terms.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What may change about an endpoint that stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Terms {
    /// Where it is stated.
    pub section: String,
    /// Ports, sorted; none for any.
    pub ports: Vec<PortRange>,
    /// How strongly it is needed.
    pub level: Level,
    /// Its condition.
    pub when: Option<String>,
    /// True when another destination of its rule does as well.
    pub alternatives: bool,
}

/// An endpoint that stays, on other terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What has to be reached.
    pub destination: Destination,
    /// Transport protocol.
    pub transport: Transport,
    /// The clouds that this line is about.
    pub cloud: Vec<Cloud>,
    /// Where the traffic goes.
    pub scope: Scope,
    /// The role of the client.
    pub from: Option<String>,
    /// Before.
    pub old: Terms,
    /// After.
    pub new: Terms,
}

/// What a comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Endpoints and their terms.
    Terms,
    /// Destinations, transports, ports and clouds only.
    Endpoints,
}

/// How many lines of one endpoint are searched for the same one in another cloud.
const MAX_NEAR: usize = 64;

impl Diff {
    /// Compares two lists of rules. Ids, services, words about the use and the order of rules don't
    /// count.
    pub fn new(old: &[Rule], new: &[Rule], compare: Compare) -> Self {
        let (mut old, mut new) = (endpoints(old, compare), endpoints(new, compare));
        let mut places: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
        places.sort_unstable();
        places.dedup();
        let mut diff = Self::default();
        for place in places {
            let before = old.remove(&place).unwrap_or_default();
            let after = new.remove(&place).unwrap_or_default();
            diff.add(&place, before, after);
        }
        diff
    }

    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        self.came.is_empty() && self.went.is_empty() && self.changed.is_empty()
    }

    fn add(&mut self, place: &Place, mut before: Vec<Terms>, mut after: Vec<Terms>) {
        pairs(&mut before, &mut after, Terms::clone);
        // The same section with other terms is a change, and so is another section with the same
        // ports, as when a heading was renamed.
        let mut changed = pairs(&mut before, &mut after, |terms| terms.section.clone());
        changed.extend(pairs(&mut before, &mut after, |terms| terms.ports.clone()));
        for (old, new) in changed {
            let near =
                self.changed.iter_mut().rev().take(MAX_NEAR).take_while(|c| {
                    place.is(c.transport, &c.destination, c.scope, c.from.as_deref())
                });
            match near.into_iter().find(|c| c.old == old && c.new == new) {
                Some(change) => change.cloud.push(place.cloud),
                None => self.changed.push(place.change(old, new)),
            }
        }
        place.list(before, &mut self.went);
        place.list(after, &mut self.came);
    }
}

/// What makes an endpoint the same in both versions. The cloud is last, so that an endpoint's
/// clouds follow each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    scope: Scope,
    kind: u8,
    text: String,
    transport: Transport,
    from: Option<String>,
    cloud: Cloud,
}

impl Place {
    fn new(rule: &Rule, destination: &Destination, cloud: Cloud, compare: Compare) -> Self {
        let kind = match destination {
            Destination::Fqdn(_) => 0,
            Destination::ServiceTag(_) => 1,
            Destination::Cidr(_) => 2,
            Destination::Role(_) => 3,
            Destination::Any => 4,
        };
        Self {
            scope: rule.scope,
            kind,
            text: destination.text().unwrap_or("*").to_owned(),
            transport: rule.transport,
            from: rule.from.clone().filter(|_| compare == Compare::Terms),
            cloud,
        }
    }

    fn destination(&self) -> Destination {
        let text = self.text.clone();
        match self.kind {
            0 => Destination::Fqdn(text),
            1 => Destination::ServiceTag(text),
            2 => Destination::Cidr(text),
            3 => Destination::Role(text),
            _ => Destination::Any,
        }
    }

    /// True for the same endpoint, whatever the cloud.
    fn is(&self, transport: Transport, to: &Destination, scope: Scope, from: Option<&str>) -> bool {
        self.transport == transport
            && self.scope == scope
            && self.from.as_deref() == from
            && self.destination() == *to
    }

    /// Adds to the list, or the cloud to what is there already.
    fn list(&self, terms: Vec<Terms>, list: &mut Vec<Requirement>) {
        for terms in terms {
            let near =
                list.iter_mut().rev().take(MAX_NEAR).take_while(|r| {
                    self.is(r.transport, &r.destination, r.scope, r.from.as_deref())
                });
            match near.into_iter().find(|r| r.terms == terms) {
                Some(requirement) => requirement.cloud.push(self.cloud),
                None => list.push(self.requirement(terms)),
            }
        }
    }

    fn requirement(&self, terms: Terms) -> Requirement {
        Requirement {
            destination: self.destination(),
            transport: self.transport,
            cloud: vec![self.cloud],
            scope: self.scope,
            from: self.from.clone(),
            terms,
        }
    }

    fn change(&self, old: Terms, new: Terms) -> Change {
        Change {
            destination: self.destination(),
            transport: self.transport,
            cloud: vec![self.cloud],
            scope: self.scope,
            from: self.from.clone(),
            old,
            new,
        }
    }
}

fn endpoints(rules: &[Rule], compare: Compare) -> BTreeMap<Place, Vec<Terms>> {
    let mut found: BTreeMap<Place, Vec<Terms>> = BTreeMap::new();
    for rule in rules {
        for destination in &rule.destinations {
            for &cloud in &rule.cloud {
                let place = Place::new(rule, destination, cloud, compare);
                let list = found.entry(place).or_default();
                match compare {
                    Compare::Terms => list.push(terms(rule)),
                    Compare::Endpoints => list.extend(bare_terms(rule)),
                }
            }
        }
    }
    for list in found.values_mut() {
        list.sort();
        list.dedup();
    }
    found
}

fn terms(rule: &Rule) -> Terms {
    let mut ports = rule.ports.clone();
    ports.sort_unstable();
    ports.dedup();
    Terms {
        section: rule.source.section.clone(),
        ports,
        level: rule.level,
        when: rule.when.as_ref().map(ToString::to_string),
        alternatives: rule.alternatives,
    }
}

/// One for each port, alike in all else.
fn bare_terms(rule: &Rule) -> Vec<Terms> {
    let bare = |ports| Terms {
        section: String::new(),
        ports,
        level: Level::Required,
        when: None,
        alternatives: false,
    };
    match &rule.ports[..] {
        [] => vec![bare(Vec::new())],
        ports => ports.iter().map(|&port| bare(vec![port])).collect(),
    }
}

/// Takes out the pairs with the same key, in order.
fn pairs<K: Ord>(
    before: &mut Vec<Terms>,
    after: &mut Vec<Terms>,
    key: impl Fn(&Terms) -> K,
) -> Vec<(Terms, Terms)> {
    let mut partners: BTreeMap<K, VecDeque<Terms>> = BTreeMap::new();
    for new in after.drain(..) {
        partners.entry(key(&new)).or_default().push_back(new);
    }
    let mut found = Vec::new();
    let mut left = Vec::new();
    for old in before.drain(..) {
        match partners.get_mut(&key(&old)).and_then(VecDeque::pop_front) {
            Some(new) => found.push((old, new)),
            None => left.push(old),
        }
    }
    *before = left;
    after.extend(partners.into_values().flatten());
    after.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::*;

    fn rules(list: &[(&str, &str, &str, &str)]) -> Vec<Rule> {
        let mut text = String::from("name = \"t\"\ntitle = \"T\"\n");
        for (at, (cloud, destination, ports, rest)) in list.iter().enumerate() {
            text += &format!(
                "[[rule]]\nid = \"t/{at}\"\nservice = \"t\"\ncloud = [{cloud}]\nlevel = \"required\"\n\
                 destinations = [\"{destination}\"]\ntransport = \"tcp\"\nports = [{ports}]\n\
                 app = \"other\"\nuse = \"T.\"\n{rest}\n"
            );
        }
        Catalog::parse(&text, "t").unwrap_or_else(|e| panic!("{e}")).rules
    }

    const ALL: &str = "\"public\", \"china\"";
    const S: &str = "source = { section = \"S\" }";

    #[test]
    fn finds_what_came_went_and_changed() {
        let old = rules(&[
            (ALL, "a.example", "443", S),
            (ALL, "b.example", "443", S),
            (ALL, "c.example", "443", S),
        ]);
        let gpu = format!("when = \"gpu\"\n{S}");
        let new = rules(&[
            (ALL, "c.example", "443, 80", &gpu),
            (ALL, "d.example", "443", S),
            (ALL, "a.example", "443", S),
        ]);
        let diff = Diff::new(&old, &new, Compare::Terms);
        let names = |list: &[Requirement]| {
            list.iter().map(|r| r.destination.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&diff.came), names(&diff.went)),
            (vec!["d.example".into()], vec!["b.example".into()])
        );
        assert_eq!(diff.came[0].cloud, [Cloud::Public, Cloud::China]);
        let [change] = &diff.changed[..] else { panic!("{:?}", diff.changed) };
        assert_eq!((change.old.when.as_deref(), change.new.when.as_deref()), (None, Some("gpu")));
        assert_eq!((change.old.ports.len(), change.new.ports.len(), change.cloud.len()), (1, 2, 2));
        assert!(Diff::new(&old, &old, Compare::Terms).is_empty());
    }

    #[test]
    fn a_renamed_section_is_a_change_of_its_endpoints() {
        let old = rules(&[("\"public\"", "a.example", "443", S)]);
        let new = rules(&[("\"public\"", "a.example", "443", "source = { section = \"R\" }")]);
        let diff = Diff::new(&old, &new, Compare::Terms);
        assert_eq!((diff.came.len(), diff.went.len(), diff.changed.len()), (0, 0, 1));
        assert!(Diff::new(&old, &new, Compare::Endpoints).is_empty());
    }

    #[test]
    fn endpoints_are_the_same_however_rules_group_their_ports() {
        let apart =
            rules(&[("\"public\"", "a.example", "443", S), ("\"public\"", "a.example", "80", S)]);
        let together = rules(&[("\"public\"", "a.example", "80, 443", S)]);
        assert!(Diff::new(&apart, &together, Compare::Endpoints).is_empty());
    }
}
