//! Domain lists of AWS Network Firewall: `RulesSourceList` in CLI output, CloudFormation (JSON or
//! YAML).
//!
//! `x` is that name, `.x` is x and all below. An ALLOWLIST lets pass what it names, a DENYLIST
//! drops it; they look at TLS's server name, at HTTP's Host, or at both. By default what passes
//! comes before what is dropped; with `STRICT_ORDER` the policy says.

use std::sync::Arc;

use super::{
    build::{Builder, at_or_below, checked},
    entry::{Action, Apps, To, Transports},
    error::ParseError,
    glob::Glob,
    tree::Node,
};

pub(super) fn read(documents: &[Node], builder: &mut Builder<'_>) -> Result<bool, ParseError> {
    let mut lists: Vec<(String, &Node)> = Vec::new();
    let mut strict = false;
    for document in documents {
        let name = document.any_of(&["RuleGroupName", "Name"]).and_then(|(_, n)| n.text());
        let name =
            name.or(document.at(&["RuleGroupResponse", "RuleGroupName"]).and_then(Node::text));
        let name = name.unwrap_or_default();
        document.walk(&mut |node| {
            strict |= node.text_of("RuleOrder") == Some("STRICT_ORDER");
            if node.get("Targets").is_some() && node.get("GeneratedRulesType").is_some() {
                lists.push((name.to_owned(), node));
            }
        });
    }
    if strict && lists.len() > 1 {
        let note = format!(
            "{}: strict order: the groups' priorities stand in the firewall policy; taken in the file's order",
            builder.file
        );
        builder.note(note);
    }
    for (number, (name, list)) in (0..).zip(&lists) {
        read_list(name, list, strict.then_some(number), builder)?;
    }
    Ok(!lists.is_empty())
}

/// `place` is the list's own in a strict order; else actions have an order.
fn read_list(
    name: &str,
    list: &Node,
    place: Option<i64>,
    builder: &mut Builder<'_>,
) -> Result<(), ParseError> {
    let kind = list.get("GeneratedRulesType");
    let action = match kind.and_then(Node::text).unwrap_or_default() {
        "ALLOWLIST" => Action::Allow,
        "DENYLIST" | "REJECTLIST" | "ALERTLIST" => Action::Deny,
        _ => {
            let line = kind.map_or(list.line, |kind| kind.line);
            return Err(builder.error(
                line,
                "GeneratedRulesType",
                "ALLOWLIST or DENYLIST is needed",
            ));
        }
    };
    if kind.and_then(Node::text) == Some("ALERTLIST") {
        return Ok(());
    }
    let mut terms = builder.terms("", name);
    terms.transports = Transports::TCP;
    let types: Vec<&str> = list.items("TargetTypes").iter().filter_map(Node::text).collect();
    terms.apps = Apps {
        http: types.contains(&"HTTP_HOST"),
        https: types.contains(&"TLS_SNI"),
        other: false,
    };
    if types.is_empty() {
        return Err(builder.error(
            list.line,
            "TargetTypes",
            "TLS_SNI, HTTP_HOST or both are needed",
        ));
    }
    let terms = Arc::new(terms);
    for (node, text) in builder.texts(list.items("Targets"), "Targets")? {
        let to = match text {
            Err(why) => To::Unevaluated(why, None),
            Ok(text) => {
                let zone = text.strip_prefix('.').unwrap_or(text);
                let name = checked(zone)
                    .and_then(|name| {
                        if name.contains('*') {
                            Err(format!("`{text}`: write `.x` for x and below"))
                        } else {
                            Ok(name)
                        }
                    })
                    .map_err(|message| builder.error(node.line, "Targets", message))?;
                To::Names(if text.starts_with('.') {
                    at_or_below(&name)
                } else {
                    vec![Glob::exact(&name)]
                })
            }
        };
        // Suricata's default: pass rules before those that drop.
        let rank = [0, place.unwrap_or(i64::from(action == Action::Deny)), 0, 0];
        builder.add(rank, action, &terms, to, node.text().unwrap_or_default(), node.line);
    }
    Ok(())
}
