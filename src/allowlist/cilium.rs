//! Cilium's network policies.
//!
//! What any policy allows is allowed unless one denies it. In a `matchPattern`, `*` is any text
//! within a label, a leading `**.` one or more labels, and `*` or `**` alone every name.

use std::sync::Arc;

use super::{
    build::{Builder, checked},
    entry::{Action, RuleTerms, To},
    error::ParseError,
    glob::{Glob, Star},
    intervals::Nets,
    kubernetes::{block, policy_name, port_terms, selector_note},
    tree::Node,
};

pub(super) fn read(
    policy: &Node,
    all: &[&Node],
    builder: &mut Builder<'_>,
) -> Result<(), ParseError> {
    let name = policy_name(policy);
    for spec in policy.items("spec").iter().chain(policy.items("specs")) {
        selector_note(&name, spec, &["endpointSelector", "nodeSelector"], builder);
        for (key, action) in [("egress", Action::Allow), ("egressDeny", Action::Deny)] {
            for (number, rule) in (1..).zip(spec.items(key)) {
                egress(rule, &format!("{key} {number}"), (&name, action), all, builder)?;
            }
        }
    }
    Ok(())
}

fn egress(
    rule: &Node,
    label: &str,
    (policy, action): (&str, Action),
    all: &[&Node],
    builder: &mut Builder<'_>,
) -> Result<(), ParseError> {
    let rank = [0, i64::from(action == Action::Allow), 0, 0];
    let destinations = destinations(rule, all, builder)?;
    let lists: &[Node] = match rule.items("toPorts") {
        [] => std::slice::from_ref(rule),
        lists => lists,
    };
    for list in lists {
        // Rules for HTTP and server names narrow what passes in ways that aren't compared.
        let narrowed = [&["rules", "http"][..], &["serverNames"][..]]
            .iter()
            .any(|path| list.at(path).is_some());
        for terms in port_terms(list.items("ports"), policy, (label, "ANY"), builder)? {
            for (to, text, line) in &destinations {
                let to = match to {
                    To::Names(names) if narrowed => To::Unevaluated(
                        "rules for HTTP or server names".into(),
                        Some(names.clone()),
                    ),
                    _ if narrowed => To::Unevaluated("rules for HTTP or server names".into(), None),
                    to => to.clone(),
                };
                let terms: &Arc<RuleTerms> = &terms;
                builder.add(rank, action, terms, to, text, *line);
            }
        }
    }
    Ok(())
}

const INSIDE: [&str; 3] = ["toEndpoints", "toServices", "toNodes"];

fn destinations(
    rule: &Node,
    all: &[&Node],
    builder: &Builder<'_>,
) -> Result<Vec<(To, String, usize)>, ParseError> {
    let mut to = Vec::new();
    for node in rule.items("toFQDNs") {
        let (glob, text) = match (node.text_of("matchName"), node.text_of("matchPattern")) {
            (Some(name), _) => (match_name(name), name),
            (None, Some(text)) => (pattern(text), text),
            (None, None) => {
                return Err(builder.error(
                    node.line,
                    "toFQDNs",
                    "matchName or matchPattern is needed",
                ));
            }
        };
        let glob = glob.map_err(|message| builder.error(node.line, "toFQDNs", message))?;
        to.push((To::Names(vec![glob]), text.to_owned(), node.line));
    }
    for node in rule.items("toCIDR") {
        let text = node.text().unwrap_or_default();
        let nets = Builder::nets(text)
            .ok_or_else(|| builder.error(node.line, "toCIDR", format!("`{text}` is no CIDR")))?;
        to.push((To::Nets(nets), text.to_owned(), node.line));
    }
    for node in rule.items("toCIDRSet") {
        let set = match node.text_of("cidrGroupRef") {
            Some(group) => (cidr_group(group, all), format!("CIDR group {group}")),
            None => {
                let text = node.text_of("cidr").unwrap_or_default().to_owned();
                (To::Nets(block(node, "toCIDRSet", builder)?), text)
            }
        };
        to.push((set.0, set.1, node.line));
    }
    for node in rule.items("toEntities") {
        let text = node.text().unwrap_or_default();
        let set = match text {
            "world" | "all" => To::Any,
            "world-ipv4" => To::Nets(Nets::all_v4()),
            "world-ipv6" => To::Nets(Nets::all().minus(&Nets::all_v4())),
            _ => continue,
        };
        to.push((set, text.to_owned(), node.line));
    }
    if let Some(groups) = rule.get("toGroups") {
        to.push((
            To::Unevaluated("cloud provider groups".into(), None),
            "toGroups".into(),
            groups.line,
        ));
    }
    let named = ["toFQDNs", "toCIDR", "toCIDRSet", "toEntities", "toGroups"].iter().chain(&INSIDE);
    if !named.into_iter().any(|key| rule.get(key).is_some()) {
        to.push((To::Any, "any".into(), rule.line));
    }
    Ok(to)
}

fn match_name(text: &str) -> Result<Glob, String> {
    let name = checked(text)?;
    if name.contains('*') {
        Err(format!("`{text}`: matchName takes no `*`; use matchPattern"))
    } else {
        Ok(Glob::exact(&name))
    }
}

fn pattern(text: &str) -> Result<Glob, String> {
    let text = checked(text)?;
    if text.bytes().all(|b| b == b'*') {
        return Ok(Glob::any());
    }
    let inner = text.trim_start_matches('*');
    match inner.strip_prefix('.') {
        Some(zone) if text.starts_with("**") => {
            // One or more whole labels, then the rest with its own stars.
            Ok(Glob::below_stars(zone))
        }
        _ => Ok(Glob::with_stars(&text, Star::Label)),
    }
}

fn cidr_group(name: &str, all: &[&Node]) -> To {
    let found = all.iter().find(|node| {
        node.text_of("kind") == Some("CiliumCIDRGroup")
            && node.at(&["metadata", "name"]).and_then(Node::text) == Some(name)
    });
    let nets = found.and_then(|group| {
        let cidrs = group.get("spec")?.items("externalCIDRs");
        cidrs
            .iter()
            .map(|n| Builder::nets(n.text()?))
            .try_fold(Nets::empty(), |all, more| Some(all.union(&more?)))
    });
    nets.map_or_else(
        || To::Unevaluated(format!("CIDR group `{name}` isn't in the file"), None),
        To::Nets,
    )
}
