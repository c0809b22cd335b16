//! What changes from one site to another, or from one allowlist to another.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    HashMap,
    diff::RuleRef,
    entry::{Action, Allowlist, Apps, Entry, Origin, RuleTerms, To, Transports},
    intervals::{Nets, Ports},
    needs::Need,
    policy::{Coverage, Policy, Question, What, Who},
};
use crate::catalog::{App, Level, Site, Transport};

/// Name and version of the JSON form.
pub const CHANGE_SCHEMA: &str = "egress-auditor/change/1";

/// What is needed at one site and not at another.
#[derive(Clone, Debug, Serialize)]
pub struct SiteChange {
    /// [`CHANGE_SCHEMA`].
    pub schema: &'static str,
    /// Needed after and not, or not in full, before.
    pub needed_now: Vec<NeedChange>,
    /// Needed before and not, or not in full, after.
    pub not_needed_now: Vec<NeedChange>,
    /// Rules that apply after and not before, by id.
    pub rules_came: Vec<String>,
    /// Rules that applied before and don't after.
    pub rules_went: Vec<String>,
    /// Rules that apply in both, on another level: id, before, after.
    pub levels: Vec<(String, Level, Level)>,
}

/// What is allowed by one allowlist and not by another.
#[derive(Clone, Debug, Serialize)]
pub struct AllowlistChange {
    /// [`CHANGE_SCHEMA`].
    pub schema: &'static str,
    /// Allowed after and not before, by the entries that allow it.
    pub allowed_now: Vec<EntryChange>,
    /// Allowed before and not after, by the entries that allowed it.
    pub forbidden_now: Vec<EntryChange>,
    /// Where it can't be told.
    pub undecided: Vec<EntryChange>,
    /// What limits the comparison.
    pub notes: Vec<String>,
}

/// A destination that is needed in one and not, or not in full, in the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedChange {
    /// As the catalog writes it, with the profile's values.
    pub destination: String,
    /// Transport.
    pub transport: Transport,
    /// Ports.
    pub ports: String,
    /// The protocol on top.
    pub app: App,
    /// True when the other needs a part of it.
    pub in_part: bool,
    /// True when another destination of its rule does as well.
    pub alternative: bool,
    /// What differs, for example.
    pub examples: Vec<Difference>,
    /// The rules that need it.
    pub rules: Vec<RuleRef>,
    /// What an allowlist, when one is given, does with it: `allowed`, `partly_allowed`,
    /// `not_allowed`, `undecided`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowlist: Option<&'static str>,
}

/// An entry that allows what the other list doesn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryChange {
    /// The entry.
    pub entry: Origin,
    /// True when the other list allows a part of it.
    pub in_part: bool,
    /// What differs, for example.
    pub examples: Vec<Difference>,
    /// Why it can't be told, when it can't.
    pub why: Vec<String>,
}

/// An example of what differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A name or address.
    pub example: String,
    /// On these ports.
    pub ports: String,
    /// The entry that denies it in the other list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<Origin>,
}

/// Most examples of one entry.
const MAX_EXAMPLES: usize = 8;
/// Most entries that lists made for a comparison may have together.
const MAX_COPIED: usize = 1 << 24;

impl SiteChange {
    /// Compares two sites; `policy`, when given, tells what of each is allowed already.
    pub fn new(before: &Site, after: &Site, policy: Option<&Policy<'_>>) -> Self {
        let (old, new) = (Need::of_site(before), Need::of_site(after));
        let levels = |needs: &[Need<'_>]| -> BTreeMap<String, Level> {
            needs.iter().map(|need| (need.rule.id.clone(), need.rule.level)).collect()
        };
        let (was, is) = (levels(&old), levels(&new));
        let only = |a: &BTreeMap<String, Level>, b: &BTreeMap<String, Level>| {
            a.keys().filter(|id| !b.contains_key(*id)).cloned().collect()
        };
        let moved = |(id, level): (&String, &Level)| {
            let other = was.get(id).filter(|other| *other != level)?;
            Some((id.clone(), *other, *level))
        };
        Self {
            schema: CHANGE_SCHEMA,
            needed_now: beyond(&new, &old, policy),
            not_needed_now: beyond(&old, &new, policy),
            rules_came: only(&is, &was),
            rules_went: only(&was, &is),
            levels: is.iter().filter_map(moved).collect(),
        }
    }

    /// True when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.needed_now.is_empty()
            && self.not_needed_now.is_empty()
            && self.rules_came.is_empty()
            && self.rules_went.is_empty()
            && self.levels.is_empty()
    }
}

/// What is needed beyond what the others need.
fn beyond(needs: &[Need<'_>], others: &[Need<'_>], policy: Option<&Policy<'_>>) -> Vec<NeedChange> {
    let list = as_list(others);
    let covered = Policy::new(&list);
    let mut rows: Vec<NeedChange> = Vec::new();
    let mut places: HashMap<(String, Transport, String, App, bool), usize> = HashMap::default();
    for need in needs {
        let coverage = match &need.what {
            Ok(what) => covered.ask(&question(need, what.clone())),
            // What can't be known is the same when it is written the same.
            Err(_) if others.iter().any(|other| same(need, other)) => continue,
            Err(_) => Coverage::unknown(need.text, &need.ports),
        };
        if coverage.is_full() {
            continue;
        }
        let reference = RuleRef {
            id: need.rule.id.clone(),
            level: need.rule.level,
            purpose: need.rule.purpose.clone(),
            source: need.rule.source.clone(),
        };
        let key = (
            need.text.to_owned(),
            need.rule.transport,
            need.ports.text(),
            need.rule.app,
            need.rule.alternatives,
        );
        if let Some(&at) = places.get(&key) {
            rows[at].rules.push(reference);
            continue;
        }
        places.insert(key, rows.len());
        rows.push(NeedChange {
            destination: need.text.to_owned(),
            transport: need.rule.transport,
            ports: need.ports.text(),
            app: need.rule.app,
            in_part: coverage.some,
            alternative: need.rule.alternatives,
            examples: differences(&coverage, None),
            rules: vec![reference],
            allowlist: policy.map(|policy| allowed(need, policy)),
        });
    }
    rows
}

fn same(a: &Need<'_>, b: &Need<'_>) -> bool {
    a.text == b.text
        && a.rule.transport == b.rule.transport
        && a.rule.app == b.rule.app
        && b.ports.contains(&a.ports)
}

fn question(need: &Need<'_>, what: What) -> Question {
    Question {
        what,
        transport: need.rule.transport,
        ports: need.ports.clone(),
        app: Some(need.rule.app),
        from: need.from.clone(),
    }
}

fn allowed(need: &Need<'_>, policy: &Policy<'_>) -> &'static str {
    let Ok(what) = &need.what else { return "undecided" };
    let coverage = policy.ask(&question(need, what.clone()));
    match (coverage.is_full(), coverage.too_many || !coverage.maybe.is_empty(), coverage.some) {
        (true, ..) => "allowed",
        (_, true, _) => "undecided",
        (.., true) => "partly_allowed",
        _ => "not_allowed",
    }
}

/// Needs as a list that allows just these.
fn as_list(needs: &[Need<'_>]) -> Allowlist {
    let entry = |need: &Need<'_>| {
        let to = match need.what.as_ref().ok()? {
            What::Names(names) => To::Names(names.clone()),
            What::Nets(nets) => To::Nets(nets.clone()),
            What::Any => To::Any,
        };
        let transports = match need.rule.transport {
            Transport::Tcp => Transports::TCP,
            Transport::Udp => Transports::UDP,
        };
        let clients = match &need.from {
            Who::All(nets) => Some(nets.clone()),
            Who::Some => None,
        };
        let (http, https) = (need.rule.app == App::Http, need.rule.app == App::Https);
        let apps = Apps { http, https, other: !http && !https };
        let rule = RuleTerms {
            file: "".into(),
            name: need.rule.id.clone(),
            collection: String::new(),
            transports,
            apps,
            ports: need.ports.clone(),
            clients,
        };
        Some(Entry {
            action: Action::Allow,
            to,
            except: Vec::new(),
            text: need.text.to_owned(),
            line: 1,
            rule: Arc::new(rule),
        })
    };
    Allowlist { entries: needs.iter().filter_map(entry).collect(), notes: Vec::new() }
}

impl AllowlistChange {
    /// Compares two allowlists, exactly: each row is about all names, addresses, ports and clients
    /// of an entry.
    pub fn new(before: &Allowlist, after: &Allowlist) -> Self {
        let mut change = Self {
            schema: CHANGE_SCHEMA,
            allowed_now: Vec::new(),
            forbidden_now: Vec::new(),
            undecided: Vec::new(),
            notes: Vec::new(),
        };
        for (from, to, side) in [(before, after, true), (after, before, false)] {
            let mut rows = Vec::new();
            let skipped = allowed_beyond(to, from, &mut rows);
            let (untold, told): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row: &EntryChange| !row.why.is_empty());
            change.undecided.extend(untold);
            match side {
                true => change.allowed_now = told,
                false => change.forbidden_now = told,
            }
            if skipped > 0 {
                change.notes.push(format!(
                    "{skipped} entries stand behind too many denying ones of their list to be compared"
                ));
            }
        }
        for note in before.notes.iter().chain(&after.notes) {
            if !change.notes.contains(note) {
                change.notes.push(note.clone());
            }
        }
        change
    }

    /// True when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.allowed_now.is_empty() && self.forbidden_now.is_empty() && self.undecided.is_empty()
    }
}

/// What a list allows and another doesn't. Gives how many entries weren't compared.
///
/// What an entry allows is its own set without what earlier entries of its list deny. So the
/// question whether the other list allows it all is asked of the other list behind these, each
/// turned to allow.
fn allowed_beyond(list: &Allowlist, other: &Allowlist, rows: &mut Vec<EntryChange>) -> usize {
    let mut front: Vec<Entry> = Vec::new();
    let mut copied = 0;
    let mut skipped = 0;
    let is_deny = |entry: &Entry| entry.action == Action::Deny;
    for run in list.entries.chunk_by(|a, b| is_deny(a) == is_deny(b)) {
        if is_deny(&run[0]) {
            let allow = |entry: &Entry| Entry { action: Action::Allow, ..entry.clone() };
            let known = run.iter().filter(|entry| !matches!(entry.to, To::Unevaluated(..)));
            front.extend(known.map(allow));
            continue;
        }
        copied += front.len() + other.entries.len();
        if copied > MAX_COPIED {
            skipped += run.len();
            continue;
        }
        let both = match front.is_empty() {
            true => None,
            false => Some(Allowlist {
                entries: front.iter().chain(&other.entries).cloned().collect(),
                notes: Vec::new(),
            }),
        };
        let policy = Policy::new(both.as_ref().unwrap_or(other));
        let compare = |entry| entry_beyond(entry, &policy, front.len(), other);
        rows.extend(run.iter().filter_map(compare));
    }
    skipped
}

/// What one entry allows that the other list, which begins at `from` in the policy, doesn't.
fn entry_beyond(
    entry: &Entry,
    policy: &Policy<'_>,
    from: usize,
    other: &Allowlist,
) -> Option<EntryChange> {
    let what = match &entry.to {
        To::Any => What::Any,
        To::Names(names) => What::Names(names.clone()),
        To::Nets(nets) => What::Nets(nets.clone()),
        To::Unevaluated(why, _) => {
            let alike = |o: &Entry| {
                o.action == entry.action
                    && o.text == entry.text
                    && o.rule.transports.contains(entry.rule.transports)
                    && o.rule.apps.contains(entry.rule.apps)
                    && o.rule.ports.contains(&entry.rule.ports)
                    && o.rule.clients == entry.rule.clients
            };
            return (!other.entries.iter().any(alike)).then(|| EntryChange {
                entry: entry.origin(),
                in_part: false,
                examples: Vec::new(),
                why: vec![why.clone()],
            });
        }
    };
    let rule = &entry.rule;
    let apps =
        [(rule.apps.https, App::Https), (rule.apps.http, App::Http), (rule.apps.other, App::Other)];
    let transports = [(rule.transports.tcp, Transport::Tcp), (rule.transports.udp, Transport::Udp)];
    let mut change = EntryChange {
        entry: entry.origin(),
        in_part: false,
        examples: Vec::new(),
        why: Vec::new(),
    };
    let mut full = true;
    for transport in transports.into_iter().filter_map(|(on, transport)| on.then_some(transport)) {
        for app in apps.into_iter().filter_map(|(on, app)| on.then_some(app)) {
            let question = Question {
                what: what.clone(),
                transport,
                ports: rule.ports.clone(),
                app: Some(app),
                from: Who::All(rule.clients.clone().unwrap_or_else(Nets::all)),
            };
            let coverage = policy.ask(&question);
            change.in_part |= coverage.allowed_by.iter().any(|&at| at >= from);
            if coverage.is_full() {
                continue;
            }
            full = false;
            for difference in differences(&coverage, Some(policy)) {
                if change.examples.len() < MAX_EXAMPLES && !change.examples.contains(&difference) {
                    change.examples.push(difference);
                }
            }
            let list = &policy.list().entries;
            let perhaps = coverage.maybe.iter().map(|&at| &list[at]);
            change.why.extend(perhaps.map(|by| format!("may be allowed by {}", by.origin())));
            if coverage.too_many {
                change.why.push("too many entries overlap here to tell them apart".into());
            }
            if !entry.except.is_empty() {
                change.why.push("the entry has exceptions".into());
            }
        }
    }
    change.why.sort_unstable();
    change.why.dedup();
    (!full).then_some(change)
}

fn differences(coverage: &Coverage, policy: Option<&Policy<'_>>) -> Vec<Difference> {
    let mut all: BTreeMap<(&str, Option<usize>), Ports> = BTreeMap::new();
    for gap in &coverage.gaps {
        let ports = all.entry((&gap.example, gap.denied_by)).or_insert_with(Ports::empty);
        *ports = ports.union(&gap.ports);
    }
    let difference = |((example, denied_by), ports): ((&str, Option<usize>), Ports)| Difference {
        example: example.to_owned(),
        ports: ports.text(),
        denied_by: policy.zip(denied_by).map(|(policy, at)| policy.list().entries[at].origin()),
    };
    all.into_iter().take(MAX_EXAMPLES).map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowlist::{Context, Input};

    fn list(text: &str) -> Allowlist {
        let input = Input { file: "list", text, format: None };
        Allowlist::read(&[input], Context::default()).unwrap()
    }

    fn shown(rows: &[EntryChange]) -> Vec<(&str, bool, &str)> {
        rows.iter()
            .map(|r| (&*r.entry.text, r.in_part, r.examples.first().map_or("", |e| &e.example)))
            .collect()
    }

    #[test]
    fn lists_differ_in_what_they_allow() {
        let old = list(
            "action,fqdn,port\nallow,*.x.example,443\nallow,10.0.0.0/8,22\nallow,b.example,80\n",
        );
        let new = list(
            "action,fqdn,port\ndeny,a.x.example,443\nallow,*.x.example,443\nallow,y.x.example,443\nallow,10.0.0.0/9,22\nallow,b.example,80-81\n",
        );
        let change = AllowlistChange::new(&old, &new);
        assert_eq!(shown(&change.allowed_now), [("b.example", true, "b.example")]);
        assert_eq!(change.allowed_now[0].examples[0].ports, "81");
        assert_eq!(
            shown(&change.forbidden_now),
            [("*.x.example", true, "a.x.example"), ("10.0.0.0/8", true, "10.128.0.0")]
        );
        let by = change.forbidden_now[0].examples[0].denied_by.as_ref().unwrap();
        assert_eq!((by.line, by.action), (2, Action::Deny));
        assert!(AllowlistChange::new(&new, &new).is_empty());
        assert!(AllowlistChange::new(&old, &old).is_empty());
    }
}
