//! What is required, what is allowed, and what was seen, side by side.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use serde::Serialize;

use super::{
    automaton::{contains, intersects},
    entry::{Action, Entry, Origin, To},
    glob::Glob,
    intervals::{Nets, Ports},
    needs::Need,
    policy::{Coverage, Policy, Question, What, Who},
    seen::Seen,
    shadow::shadowed,
    tails::Tails,
};
use crate::catalog::{App, Level, Param, Rule, Site, Source, Transport};

/// Name and version of the JSON form.
pub const SCHEMA: &str = "egress-auditor/diff/1";

/// All differences. Lists are in the order of the catalogs, the report or the allowlist.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Required and not allowed at all.
    pub not_allowed: Vec<NeedRow>,
    /// Required and allowed in part.
    pub partly_allowed: Vec<NeedRow>,
    /// Required, and whether it is allowed can't be told: why.
    pub undecided: Vec<NeedRow>,
    /// Seen and not allowed.
    pub seen_not_allowed: Vec<SeenRow>,
    /// Allowed and seen, not required.
    pub not_required: Vec<SeenRow>,
    /// Allowed, neither required nor seen.
    pub stale: Vec<Origin>,
    /// Allowed wider than needed.
    pub wide: Vec<WideRow>,
    /// Rules that other rules make useless, or contradict.
    pub shadowed: Vec<ShadowRow>,
    /// Entries that can't be compared.
    pub not_evaluated: Vec<Origin>,
    /// What limits the comparison.
    pub notes: Vec<String>,
    /// Numbers.
    pub summary: Summary,
}

/// Numbers of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Destinations of the rules that apply.
    pub needed: usize,
    /// Those that are allowed in full.
    pub allowed: usize,
    /// Entries of the allowlist.
    pub entries: usize,
    /// Destinations seen, without those inside the site.
    pub seen: usize,
}

/// A destination that rules need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedRow {
    /// As the catalog writes it, with the profile's values; alternatives joined by ` or `.
    pub destination: String,
    /// Transport.
    pub transport: Transport,
    /// Ports needed.
    pub ports: String,
    /// The protocol on top.
    pub app: App,
    /// The strongest of the rules' levels.
    pub level: Level,
    /// Who needs it and what for.
    pub rules: Vec<RuleRef>,
    /// Parts that aren't allowed.
    pub missing: Vec<Missing>,
    /// Entries that allow a part of it.
    pub allowed_by: Vec<Origin>,
    /// Why it can't be told, when it can't.
    pub why: Vec<String>,
}

/// A rule, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// Its id.
    pub id: String,
    /// How strongly.
    pub level: Level,
    /// What it is for.
    #[serde(rename = "use")]
    pub purpose: String,
    /// Where it is stated.
    pub source: Source,
}

/// A part that isn't allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// A name or address of it.
    pub example: String,
    /// On these ports.
    pub ports: String,
    /// For these clients; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<String>>,
    /// The entry that denies it; absent when none allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<Origin>,
}

/// A destination that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenRow {
    /// Name, or address when it has none.
    pub name: String,
    /// Where it was.
    pub addresses: Vec<IpAddr>,
    /// Transport.
    pub transport: Transport,
    /// Port.
    pub port: u16,
    /// The class in the report.
    pub class: String,
    /// True when some attempt got through.
    pub established: bool,
    /// The entries that decide: deny here, or allow.
    pub decided_by: Vec<Origin>,
    /// Entries before it that can't be compared and may decide otherwise.
    pub maybe: Vec<Origin>,
    /// Rules that would need it if their condition were on.
    pub conditional: Vec<String>,
}

/// An entry that allows more than is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WideRow {
    /// The entry.
    pub entry: Origin,
    /// The destinations that would do instead, with ports and transport; empty when only ports are
    /// too many.
    pub destinations: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// Transport and ports that would do.
    pub ports: String,
    /// What was seen of it.
    pub seen: Vec<String>,
}

/// An entry that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowRow {
    /// The entry without effect.
    pub entry: Origin,
    /// The entry that makes it so.
    pub by: Origin,
    /// True when that one does the opposite.
    pub contradiction: bool,
}

/// Most destinations that a narrower proposal lists.
const MAX_NARROWER: usize = 40;
/// Most clients of a seen destination that are tried.
const MAX_CLIENTS: usize = 16;

/// Compares. Without `seen`, what was seen isn't known.
pub fn diff(site: &Site, policy: &Policy<'_>, seen: Option<&[Seen]>) -> Diff {
    let mut needs = Need::of_site(site);
    let mut notes = policy.list().notes.clone();
    only_v4_clients(&mut needs, policy, &mut notes);
    let mut diff = Diff {
        schema: SCHEMA,
        not_allowed: Vec::new(),
        partly_allowed: Vec::new(),
        undecided: Vec::new(),
        seen_not_allowed: Vec::new(),
        not_required: Vec::new(),
        stale: Vec::new(),
        wide: Vec::new(),
        shadowed: Vec::new(),
        not_evaluated: Vec::new(),
        notes,
        summary: Summary { entries: policy.list().entries.len(), ..Summary::default() },
    };
    required(&needs, policy, &mut diff);
    let (shadowed, not_compared) = shadowed(policy);
    diff.shadowed = shadowed;
    if not_compared > 0 {
        diff.notes.push(format!(
            "{not_compared} entries overlap with too many others to look for all that make them useless"
        ));
    }
    let outside: Vec<&Seen> =
        seen.unwrap_or_default().iter().filter(|s| !s.is_internal()).collect();
    diff.summary.seen = outside.len();
    for seen in &outside {
        judge_seen(seen, site, policy, &mut diff);
    }
    entries(&needs, &outside, policy, &mut diff);
    add_notes(site, &needs, policy, seen, &mut diff);
    diff
}

/// A device whose rules name no IPv6 client isn't asked about those.
fn only_v4_clients(needs: &mut [Need<'_>], policy: &Policy<'_>, notes: &mut Vec<String>) {
    let v4 = Nets::all_v4();
    let mut clients =
        policy.list().entries.iter().filter_map(|e| e.rule.clients.as_ref()).peekable();
    if clients.peek().is_none() || clients.any(|clients| !v4.contains(clients)) {
        return;
    }
    let mut cut = false;
    for need in needs {
        if let Who::All(nets) = &mut need.from {
            let left = nets.intersection(&v4);
            cut |= left != *nets;
            *nets = left;
        }
    }
    if cut {
        notes.push(
            "no rule names an IPv6 client: the profile's IPv6 networks aren't compared".into(),
        );
    }
}

/// What became of one need.
struct Asked<'n, 's> {
    need: &'n Need<'s>,
    coverage: Coverage,
    why: Vec<String>,
}

impl Asked<'_, '_> {
    fn is_full(&self) -> bool {
        self.coverage.is_full() && self.why.is_empty()
    }
}

fn required(needs: &[Need<'_>], policy: &Policy<'_>, diff: &mut Diff) {
    let mut known: HashMap<String, (Coverage, Vec<String>)> = HashMap::new();
    let mut rules: Vec<Vec<Asked<'_, '_>>> = Vec::new();
    for rule in needs.chunk_by(|a, b| a.rule.id == b.rule.id) {
        let asked = rule.iter().map(|need| {
            let key = format!(
                "{} {} {} {:?} {:?}",
                need.text,
                need.rule.transport,
                need.ports.text(),
                need.rule.app,
                need.from
            );
            let (coverage, why) = known.entry(key).or_insert_with(|| ask(need, policy)).clone();
            Asked { need, coverage, why }
        });
        rules.push(asked.collect());
    }
    let met = |asked: &Vec<Asked<'_, '_>>| match asked[0].need.rule.alternatives {
        true => asked.iter().any(Asked::is_full),
        false => asked.iter().all(Asked::is_full),
    };
    // A choice is made when all rules of one of its options are met.
    let mut options: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for asked in &rules {
        if let Some(option) = &asked[0].need.rule.option {
            *options.entry((&option.choice, &option.name)).or_insert(true) &= met(asked);
        }
    }
    let chosen: BTreeSet<&str> =
        options.iter().filter(|(_, met)| **met).map(|((choice, _), _)| *choice).collect();
    let mut rows = Rows::default();
    for asked in &rules {
        let rule = asked[0].need.rule;
        diff.summary.needed += if rule.alternatives { 1 } else { asked.len() };
        let is_chosen = rule.option.as_ref().is_some_and(|option| chosen.contains(&*option.choice));
        if rule.alternatives {
            if met(asked) || is_chosen {
                diff.summary.allowed += 1;
            } else {
                rows.add(merge_alternatives(asked), rule, policy);
            }
            continue;
        }
        for asked in asked {
            if asked.is_full() || is_chosen {
                diff.summary.allowed += 1;
            } else {
                rows.add(
                    (
                        asked.need.text.to_owned(),
                        asked.need,
                        asked.coverage.clone(),
                        asked.why.clone(),
                    ),
                    rule,
                    policy,
                );
            }
        }
    }
    for (_, (row, some)) in rows.0 {
        match (row.why.is_empty(), some) {
            (false, _) => diff.undecided.push(row),
            (true, true) => diff.partly_allowed.push(row),
            (true, false) => diff.not_allowed.push(row),
        }
    }
}

/// Coverage, and why it can't be told when that is so.
fn ask(need: &Need<'_>, policy: &Policy<'_>) -> (Coverage, Vec<String>) {
    let question = |what: What| Question {
        what,
        transport: need.rule.transport,
        ports: need.ports.clone(),
        app: Some(need.rule.app),
        from: need.from.clone(),
    };
    let what = match &need.what {
        Ok(what) => what.clone(),
        Err(why) => {
            // The same tag in the allowlist needs no prefixes, and what allows all allows this.
            let question = question(What::Any);
            if policy.ask(&question).is_full() || names_tag(need, policy) {
                return (Coverage::default(), Vec::new());
            }
            // Where nothing at all is allowed, no value could make it so.
            let why = if policy.allows_any_of(&question) { vec![why.clone()] } else { Vec::new() };
            return (Coverage::unknown(need.text, &need.ports), why);
        }
    };
    let coverage = policy.ask(&question(what));
    let mut why = Vec::new();
    if coverage.too_many {
        why.push("too many entries overlap here to tell them apart".into());
    }
    if !coverage.is_full() {
        why.extend(coverage.maybe.iter().map(|&at| maybe(&policy.list().entries[at])));
        if coverage.some {
            why.extend(
                need.unbound
                    .iter()
                    .map(|name| format!("parameter `{name}` has no value in the profile")),
            );
        }
    }
    (coverage, why)
}

/// True when the allowlist allows the same service tag by its name.
fn names_tag(need: &Need<'_>, policy: &Policy<'_>) -> bool {
    let Some(tag) = need.text.strip_prefix("tag ") else { return false };
    policy.list().entries.iter().any(|entry| {
        let rule = &entry.rule;
        entry.action == Action::Allow
            && matches!(entry.to, To::Unevaluated(_, None))
            && entry.text.eq_ignore_ascii_case(tag)
            && rule.transports.has(need.rule.transport)
            && rule.apps.has(need.rule.app)
            && rule.ports.contains(&need.ports)
            && match (&rule.clients, &need.from) {
                (Some(clients), Who::All(nets)) => clients.contains(nets),
                _ => true,
            }
    })
}

fn maybe(entry: &Entry) -> String {
    match &entry.to {
        To::Unevaluated(why, _) => format!("{}: {why}", entry.origin()),
        To::Nets(_) => {
            format!("{}: an address; whether the name resolves into it isn't known", entry.origin())
        }
        To::Names(_) => format!(
            "{}: a name; whether it resolves into the prefix, or the protocol is one it takes, isn't known",
            entry.origin()
        ),
        To::Any => format!(
            "{}: takes only HTTP and TLS, and the rule's protocol isn't stated",
            entry.origin()
        ),
    }
}

type Row<'n, 's> = (String, &'n Need<'s>, Coverage, Vec<String>);

/// One row for "any of these": it is as well off as its best alternative.
fn merge_alternatives<'n, 's>(asked: &[Asked<'n, 's>]) -> Row<'n, 's> {
    let text = asked.iter().map(|a| a.need.text).collect::<Vec<_>>().join(" or ");
    // Names tell most.
    let named = asked.iter().filter(|a| matches!(a.need.what, Ok(What::Names(_) | What::Nets(_))));
    let best = asked.iter().find(|a| a.coverage.some).or(named.clone().next()).or(asked.first());
    let coverage = best.map(|a| a.coverage.clone()).unwrap_or_default();
    let mut why: Vec<String> = asked.iter().flat_map(|a| a.why.iter().cloned()).collect();
    why.sort_unstable();
    why.dedup();
    (text, asked[0].need, coverage, why)
}

/// Rows by what they are about: several rules may need the same.
#[derive(Default)]
struct Rows(Vec<(String, (NeedRow, bool))>);

impl Rows {
    fn add(&mut self, (text, need, coverage, why): Row<'_, '_>, rule: &Rule, policy: &Policy<'_>) {
        let key = format!(
            "{text} {} {} {:?} {:?}",
            rule.transport,
            need.ports.text(),
            rule.app,
            need.from
        );
        let reference = RuleRef {
            id: rule.id.clone(),
            level: rule.level,
            purpose: rule.purpose.clone(),
            source: rule.source.clone(),
        };
        if let Some((_, (row, _))) = self.0.iter_mut().find(|(known, _)| *known == key) {
            row.level = row.level.min(rule.level);
            row.rules.push(reference);
            return;
        }
        let origin = |at: usize| policy.list().entries[at].origin();
        let missing = coverage.gaps.iter().map(|gap| Missing {
            example: gap.example.clone(),
            ports: gap.ports.text(),
            clients: gap
                .clients
                .as_ref()
                .map(|c| c.prefixes().iter().take(8).map(ToString::to_string).collect()),
            denied_by: gap.denied_by.map(origin),
        });
        let row = NeedRow {
            destination: text,
            transport: rule.transport,
            ports: need.ports.text(),
            app: rule.app,
            level: rule.level,
            rules: vec![reference],
            missing: missing.collect(),
            allowed_by: coverage.allowed_by.iter().take(8).map(|&at| origin(at)).collect(),
            why,
        };
        self.0.push((key, (row, coverage.some)));
    }
}

fn judge_seen(seen: &Seen, site: &Site, policy: &Policy<'_>, diff: &mut Diff) {
    let (Some(transport), Some(port)) = (seen.transport, seen.port) else { return };
    let host = seen.host();
    let addresses: Vec<Option<IpAddr>> = match &seen.addresses[..] {
        [] => vec![None],
        list => list.iter().copied().map(Some).collect(),
    };
    let clients: Vec<Option<IpAddr>> = match &seen.clients[..] {
        [] => vec![None],
        list => list.iter().take(MAX_CLIENTS).copied().map(Some).collect(),
    };
    let (mut all, mut decided, mut perhaps) = (true, BTreeSet::new(), BTreeSet::new());
    let mut denied = BTreeSet::new();
    let named = policy.named(host);
    for &addr in &addresses {
        for &client in &clients {
            let (entry, maybe) = policy.decide_among(&named, addr, (transport, port), client);
            let allowed = entry.is_some_and(|e| policy.list().entries[e].action == Action::Allow);
            all &= allowed;
            match entry {
                Some(entry) if allowed => decided.insert(entry),
                Some(entry) => denied.insert(entry),
                None => false,
            };
            if !allowed {
                perhaps.extend(
                    maybe.into_iter().filter(|&m| policy.list().entries[m].action == Action::Allow),
                );
            }
        }
    }
    let client = clients[0].unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let hits: Vec<_> = addresses
        .iter()
        .flat_map(|&addr| site.find(client, host, addr, Some((transport, port))))
        .collect();
    let conditional: BTreeSet<&str> =
        hits.iter().filter(|hit| !hit.active).map(|hit| &*site.rules()[hit.rule].rule.id).collect();
    if all && hits.iter().any(|hit| hit.active) {
        return;
    }
    let origins =
        |set: &BTreeSet<usize>| set.iter().map(|&at| policy.list().entries[at].origin()).collect();
    let row = SeenRow {
        name: seen.name.clone(),
        addresses: seen.addresses.clone(),
        transport,
        port,
        class: seen.class.clone(),
        established: seen.established(),
        decided_by: if all { origins(&decided) } else { origins(&denied) },
        maybe: origins(&perhaps),
        conditional: conditional.into_iter().map(str::to_owned).collect(),
    };
    if all {
        diff.not_required.push(row);
    } else {
        diff.seen_not_allowed.push(row);
    }
}

/// The needs by the ends of their names.
struct NeedIndex<'n, 's> {
    needs: &'n [Need<'s>],
    names: Tails<'n>,
    /// Those that aren't names.
    others: Vec<usize>,
}

impl<'n, 's> NeedIndex<'n, 's> {
    fn new(needs: &'n [Need<'s>]) -> Self {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        for (at, need) in needs.iter().enumerate() {
            match &need.what {
                Ok(What::Names(globs)) => names.extend(globs.iter().map(|glob| (glob, at as u32))),
                _ => others.push(at),
            }
        }
        Self { needs, names: Tails::new(names), others }
    }

    /// Needs some of which the entry allows.
    fn met_by(&self, entry: &Entry) -> Vec<usize> {
        let mut found: Vec<usize> = match &entry.to {
            To::Names(globs) => globs.iter().flat_map(|glob| self.named(glob)).collect(),
            To::Any => (0..self.needs.len()).collect(),
            To::Nets(_) if entry.takes_all_names() => (0..self.needs.len()).collect(),
            To::Nets(_) | To::Unevaluated(..) => Vec::new(),
        };
        if let To::Nets(nets) = &entry.to {
            let meets = |at: &&usize| match &self.needs[**at].what {
                Ok(What::Nets(wanted)) => wanted.intersects(nets),
                // Anything, or a tag whose prefixes aren't known.
                Ok(What::Any) | Err(_) => true,
                Ok(What::Names(_)) => false,
            };
            found.extend(self.others.iter().filter(meets));
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|&at| {
            let need = &self.needs[at];
            entry.rule.transports.has(need.rule.transport)
                && entry.rule.ports.intersects(&need.ports)
        });
        found
    }

    fn named(&self, glob: &Glob) -> Vec<usize> {
        let mut near = Vec::new();
        self.names.meeting(glob, &mut near);
        let meets = |&at: &usize| match &self.needs[at].what {
            Ok(What::Names(globs)) => globs.iter().any(|g| intersects(g, glob)),
            _ => false,
        };
        near.into_iter().map(|at| at as usize).filter(meets).collect()
    }
}

/// Judges each entry by what is needed and seen of it.
fn entries(needs: &[Need<'_>], seen: &[&Seen], policy: &Policy<'_>, diff: &mut Diff) {
    let index = NeedIndex::new(needs);
    let used = used_by(seen, policy);
    for (at, entry) in policy.list().entries.iter().enumerate() {
        if let To::Unevaluated(..) = entry.to {
            diff.not_evaluated.push(entry.origin());
            continue;
        }
        if entry.action == Action::Deny {
            continue;
        }
        let met = index.met_by(entry);
        let seen: Vec<&Seen> = used.get(&at).into_iter().flatten().map(|&s| seen[s]).collect();
        if met.is_empty() && seen.is_empty() {
            diff.stale.push(entry.origin());
            continue;
        }
        let met: Vec<&Need<'_>> = met.into_iter().map(|at| &needs[at]).collect();
        diff.wide.extend(wider_than_needed(entry, &met, &seen));
    }
}

/// For each entry, the seen destinations that it matches.
fn used_by(seen: &[&Seen], policy: &Policy<'_>) -> HashMap<usize, Vec<usize>> {
    let mut used: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, seen) in seen.iter().enumerate() {
        for entry in policy.matching(seen, &policy.named(seen.host())) {
            used.entry(entry).or_default().push(at);
        }
    }
    used
}

fn wider_than_needed(entry: &Entry, met: &[&Need<'_>], seen: &[&Seen]) -> Option<WideRow> {
    let rule = &entry.rule;
    let mut wanted = [Ports::empty(), Ports::empty()];
    for need in met {
        let side = usize::from(need.rule.transport == Transport::Udp);
        wanted[side] = wanted[side].union(&need.ports.intersection(&rule.ports));
    }
    for seen in seen {
        if let (Some(transport), Some(port)) = (seen.transport, seen.port) {
            let side = usize::from(transport == Transport::Udp);
            wanted[side] = wanted[side].union(&Ports::one(port));
        }
    }
    let too_many = |side: &Ports, on: bool| on && *side != rule.ports;
    let ports_wide =
        too_many(&wanted[0], rule.transports.tcp) || too_many(&wanted[1], rule.transports.udp);
    let needed_whole = met.iter().any(|need| match need.what {
        Ok(What::Any) => !ports_wide && need.ports.contains(&rule.ports),
        _ => need_has(need, entry),
    });
    let exact = match &entry.to {
        To::Names(globs) => globs.iter().all(Glob::is_exact),
        To::Nets(nets) => matches!(nets.ranges(), [(first, last)] if first == last),
        _ => false,
    };
    if !ports_wide && (needed_whole || exact) {
        return None;
    }
    let mut narrower: Vec<String> = Vec::new();
    if !needed_whole && !exact {
        // "Anywhere, on this port" makes no destination needed.
        for need in met.iter().filter(|need| need.what != Ok(What::Any)) {
            let part = if entry_has(entry, need) { "" } else { " as far as it is inside" };
            let (ports, transport) =
                (need.ports.intersection(&rule.ports).text(), need.rule.transport);
            narrower.push(format!("{} {ports}/{transport}{part}", need.text));
        }
        let named = |seen: &&&Seen| {
            match &seen.host() {
            Some(host) => !met.iter().any(|need| matches!(&need.what, Ok(What::Names(globs)) if globs.iter().any(|g| g.matches(host)))),
            None => true,
        }
        };
        narrower.extend(seen.iter().filter(named).map(|seen| match (seen.port, seen.transport) {
            (Some(port), Some(transport)) => format!("{} {port}/{transport}", seen.name),
            _ => seen.name.clone(),
        }));
        narrower.sort_unstable();
        narrower.dedup();
    }
    let more = narrower.len().saturating_sub(MAX_NARROWER);
    narrower.truncate(MAX_NARROWER);
    let part =
        |ports: &Ports, word: &str| (!ports.is_empty()).then(|| format!("{}/{word}", ports.text()));
    let ports: Vec<String> =
        [part(&wanted[0], "tcp"), part(&wanted[1], "udp")].into_iter().flatten().collect();
    let mut names: Vec<String> = seen.iter().map(|seen| seen.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MAX_NARROWER);
    Some(WideRow {
        entry: entry.origin(),
        destinations: narrower,
        more,
        ports: ports.join(" "),
        seen: names,
    })
}

/// True when the need asks for all that the entry stands for.
fn need_has(need: &Need<'_>, entry: &Entry) -> bool {
    match (&need.what, &entry.to) {
        (Ok(What::Any), _) => true,
        (Ok(What::Names(outer)), To::Names(inner)) => {
            inner.iter().all(|i| outer.iter().any(|o| contains(o, i)))
        }
        (Ok(What::Nets(outer)), To::Nets(inner)) => outer.contains(inner),
        // The prefixes aren't known, so no narrower ones can be told.
        (Err(_), To::Nets(_)) => true,
        _ => false,
    }
}

/// True when the entry stands for all that the need asks for.
fn entry_has(entry: &Entry, need: &Need<'_>) -> bool {
    match (&need.what, &entry.to) {
        (_, To::Any) => true,
        (Ok(What::Names(inner)), To::Names(outer)) => {
            inner.iter().all(|i| outer.iter().any(|o| contains(o, i)))
        }
        (Ok(What::Nets(inner)), To::Nets(outer)) => outer.contains(inner),
        _ => entry.takes_all_names(),
    }
}

fn add_notes(
    site: &Site,
    needs: &[Need<'_>],
    policy: &Policy<'_>,
    seen: Option<&[Seen]>,
    diff: &mut Diff,
) {
    if seen.is_none() {
        diff.notes.push(
            "no report given: what was seen isn't known, so \"not seen\" isn't either".into(),
        );
    }
    let unbound = site.profile().unbound(site.rules().iter().map(|r| &r.rule));
    if !unbound.is_empty() {
        let names: Vec<&str> = unbound.iter().map(|p: &Param| p.name()).collect();
        diff.notes.push(format!("parameters without a value in the profile: {}", names.join(", ")));
    }
    let entries = &policy.list().entries;
    if entries.iter().any(|e| e.rule.clients.is_some()) && needs.iter().any(|n| n.from == Who::Some)
    {
        diff.notes.push("the profile doesn't name the client networks (network.local or roles): rules that are for some clients only count as if they were for these".into());
    }
    let mut first_allow =
        entries.iter().position(|e| e.action == Action::Allow).unwrap_or(usize::MAX);
    first_allow =
        first_allow.max(entries.iter().rposition(|e| e.action == Action::Allow).unwrap_or(0));
    let deny = |e: &&Entry, unknown: bool| {
        e.action == Action::Deny
            && matches!(e.to, To::Unevaluated(..)) == unknown
            && (unknown || matches!(e.to, To::Nets(_)))
    };
    let before = &entries[..first_allow.min(entries.len())];
    let unknown: Vec<String> =
        before.iter().filter(|e| deny(e, true)).take(3).map(|e| e.origin().to_string()).collect();
    if !unknown.is_empty() {
        diff.notes.push(format!("denying rules that can't be evaluated come first, and may stop what counts as allowed: {}", unknown.join("; ")));
    }
    let nets: Vec<String> =
        before.iter().filter(|e| deny(e, false)).take(3).map(|e| e.origin().to_string()).collect();
    if !nets.is_empty() {
        diff.notes.push(format!("names that resolve into denied addresses are stopped although their name is allowed: {}", nets.join("; ")));
    }
    let addresses = entries
        .iter()
        .filter(|e| {
            e.action == Action::Allow && matches!(e.to, To::Nets(_)) && !e.takes_all_names()
        })
        .count();
    if addresses > 0 {
        diff.notes.push(format!("{addresses} entries allow by address: names that resolve into them aren't counted as allowed by them, nor as needing them"));
    }
}
