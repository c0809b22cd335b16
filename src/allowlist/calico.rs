//! Calico's network policies: tried by `order`, the first rule that matches decides.
//!
//! `*` in a domain is one or more labels' text at that place: `*.x` is any depth below x.

use std::sync::Arc;

use super::{
    build::{Builder, glob, ports},
    entry::{Action, RuleTerms, To, Transports},
    error::ParseError,
    glob::{Glob, Star},
    intervals::{Nets, Ports},
    kubernetes::{policy_name, selector_note},
    tree::Node,
};

/// Policies without an order come last.
const LAST: i64 = i64::MAX / 2;

pub(super) fn read(
    policy: &Node,
    all: &[&Node],
    builder: &mut Builder<'_>,
) -> Result<(), ParseError> {
    let name = policy_name(policy);
    let Some(spec) = policy.get("spec") else {
        return Err(builder.error(policy.line, "spec", "the policy has none"));
    };
    selector_note(&name, spec, &["selector", "namespaceSelector"], builder);
    if let Some(tier) = spec.text_of("tier").filter(|tier| *tier != "default") {
        builder.note(format!(
            "policy {name} is in tier `{tier}`: tiers' own order isn't known, only `order` counts"
        ));
    }
    let order = match spec.get("order") {
        Some(node) => {
            let order: Option<f64> = node.text().and_then(|text| text.parse().ok());
            let order = order.ok_or_else(|| {
                builder.error(
                    node.line,
                    "order",
                    format!("a number is needed, not {}", node.shown()),
                )
            })?;
            (order * 1000.0) as i64
        }
        None => LAST,
    };
    for (number, rule) in (1..).zip(spec.items("egress")) {
        egress(rule, [0, 1, order, number], (&name, number), all, builder)?;
    }
    Ok(())
}

fn egress(
    rule: &Node,
    rank: [i64; 4],
    (policy, number): (&str, i64),
    all: &[&Node],
    builder: &mut Builder<'_>,
) -> Result<(), ParseError> {
    let action = match rule.text_of("action") {
        Some("Allow") => Action::Allow,
        Some("Deny") => Action::Deny,
        Some("Log") => return Ok(()),
        Some("Pass") => {
            builder.note(format!("policy {policy}: egress rule {number} passes to the next tier, which isn't compared"));
            return Ok(());
        }
        _ => return Err(builder.error(rule.line, "action", "Allow, Deny, Log or Pass is needed")),
    };
    let mut terms = builder.terms(policy, &format!("egress {number}"));
    terms.transports = match rule.text_of("protocol").map(str::to_ascii_uppercase).as_deref() {
        None => Transports::BOTH,
        Some("TCP" | "6") => Transports::TCP,
        Some("UDP" | "17") => Transports::UDP,
        Some(_) => return Ok(()),
    };
    match rule.text_of("notProtocol").map(str::to_ascii_uppercase).as_deref() {
        Some("TCP" | "6") => terms.transports.tcp = false,
        Some("UDP" | "17") => terms.transports.udp = false,
        _ => {}
    }
    let unknown = clients(rule, &mut terms, builder)?;
    let empty = Node { line: rule.line, value: super::tree::Value::Null };
    let to = rule.get("destination").unwrap_or(&empty);
    terms.ports = port_set(to, "ports", builder)?.unwrap_or_else(Ports::all);
    if let Some(not) = port_set(to, "notPorts", builder)? {
        terms.ports = terms.ports.minus(&not);
    }
    let terms = Arc::new(terms);
    for (set, text, line) in destinations(to, all, builder)? {
        let set = match (&unknown, set) {
            (Some(why), To::Names(names)) => To::Unevaluated(why.clone(), Some(names)),
            (Some(why), _) => To::Unevaluated(why.clone(), None),
            (None, set) => set,
        };
        builder.add(rank, action, &terms, set, &text, line);
    }
    Ok(())
}

fn clients(
    rule: &Node,
    terms: &mut RuleTerms,
    builder: &Builder<'_>,
) -> Result<Option<String>, ParseError> {
    let Some(source) = rule.get("source") else { return Ok(None) };
    if source.get("nets").is_some() {
        terms.clients = Some(net_set(source, "nets", builder)?);
    }
    let other = source.entries().iter().find(|(key, _)| key != "nets");
    Ok(other.map(|(key, _)| format!("clients by source.{key}")))
}

fn destinations(
    to: &Node,
    all: &[&Node],
    builder: &Builder<'_>,
) -> Result<Vec<(To, String, usize)>, ParseError> {
    let mut sets = Vec::new();
    for node in to.items("domains") {
        let text = node.text().unwrap_or_default();
        sets.push((
            To::Names(vec![domain(text, node, "domains", builder)?]),
            text.to_owned(),
            node.line,
        ));
    }
    let not = net_set(to, "notNets", builder)?;
    for node in to.items("nets") {
        let text = node.text().unwrap_or_default();
        let nets = Builder::nets(text)
            .ok_or_else(|| builder.error(node.line, "nets", format!("`{text}` is no CIDR")))?;
        sets.push((To::Nets(nets.minus(&not)), text.to_owned(), node.line));
    }
    let narrowed = ["selector", "namespaceSelector", "notSelector", "serviceAccounts", "services"];
    let narrowed = narrowed.iter().find_map(|key| Some((*key, to.get(key)?)));
    match narrowed {
        Some(("selector", selector)) if sets.is_empty() => {
            sets.extend(network_sets(selector, all, builder)?);
        }
        Some((key, node)) if sets.is_empty() => {
            let text = format!("{key} {}", node.shown());
            sets.push((To::Unevaluated(text.clone(), None), text, node.line));
        }
        _ if sets.is_empty() && not.is_empty() => sets.push((To::Any, "any".into(), to.line)),
        _ if sets.is_empty() => {
            sets.push((To::Nets(Nets::all().minus(&not)), "notNets".into(), to.line))
        }
        // All that a rule says about its destination has to hold.
        Some((key, node)) => {
            for (set, ..) in &mut sets {
                let why = format!("{key} {} beside it", node.shown());
                let names = match set {
                    To::Names(names) => Some(std::mem::take(names)),
                    _ => None,
                };
                *set = To::Unevaluated(why, names);
            }
        }
        None => {}
    }
    Ok(sets)
}

/// Network sets that a selector of the form `key == 'value'` chooses.
fn network_sets(
    selector: &Node,
    all: &[&Node],
    builder: &Builder<'_>,
) -> Result<Vec<(To, String, usize)>, ParseError> {
    let text = selector.text().unwrap_or_default();
    let unknown =
        vec![(To::Unevaluated(format!("selector `{text}`"), None), text.to_owned(), selector.line)];
    let Some((key, value)) = text.split_once("==") else { return Ok(unknown) };
    let (key, value) = (key.trim(), value.trim().trim_matches(['\'', '"']));
    let mut sets = Vec::new();
    for node in all {
        let is_set = matches!(node.text_of("kind"), Some("GlobalNetworkSet" | "NetworkSet"));
        let label = node.at(&["metadata", "labels"]).and_then(|labels| labels.text_of(key));
        let Some(spec) = node.get("spec").filter(|_| is_set && label == Some(value)) else {
            continue;
        };
        for domain_node in spec.items("allowedEgressDomains") {
            let text = domain_node.text().unwrap_or_default();
            let glob = domain(text, domain_node, "allowedEgressDomains", builder)?;
            sets.push((To::Names(vec![glob]), text.to_owned(), domain_node.line));
        }
        for net in spec.items("nets") {
            let text = net.text().unwrap_or_default();
            let nets = Builder::nets(text)
                .ok_or_else(|| builder.error(net.line, "nets", format!("`{text}` is no CIDR")))?;
            sets.push((To::Nets(nets), text.to_owned(), net.line));
        }
    }
    Ok(if sets.is_empty() { unknown } else { sets })
}

fn domain(text: &str, node: &Node, field: &str, builder: &Builder<'_>) -> Result<Glob, ParseError> {
    glob(text, Star::Any).map_err(|message| builder.error(node.line, field, message))
}

fn net_set(node: &Node, field: &str, builder: &Builder<'_>) -> Result<Nets, ParseError> {
    node.items(field).iter().try_fold(Nets::empty(), |all, node| {
        let text = node.text().unwrap_or_default();
        let more = Builder::nets(text);
        more.map(|more| all.union(&more))
            .ok_or_else(|| builder.error(node.line, field, format!("`{text}` is no CIDR")))
    })
}

fn port_set(node: &Node, field: &str, builder: &Builder<'_>) -> Result<Option<Ports>, ParseError> {
    if node.get(field).is_none() {
        return Ok(None);
    }
    let all = node.items(field).iter().try_fold(Ports::empty(), |all, node| {
        let text = node.text().unwrap_or_default();
        let more = ports(text).ok_or_else(|| {
            builder.error(
                node.line,
                field,
                format!("`{text}` is no port (named ports can't be evaluated)"),
            )
        });
        Ok(all.union(&more?))
    });
    all.map(Some)
}
