//! Kubernetes' own NetworkPolicy: what any egress rule names is allowed, in no order.

use std::sync::Arc;

use super::{
    build::Builder,
    entry::{Action, RuleTerms, To, Transports},
    error::ParseError,
    intervals::{Nets, Ports},
    tree::Node,
};

pub(super) fn read(policy: &Node, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    let name = policy_name(policy);
    let Some(spec) = policy.get("spec") else {
        return Err(builder.error(policy.line, "spec", "the policy has none"));
    };
    selector_note(&name, spec, &["podSelector"], builder);
    for (number, rule) in (1..).zip(spec.items("egress")) {
        let services =
            port_terms(rule.items("ports"), &name, (&format!("egress {number}"), "TCP"), builder)?;
        let peers = rule.items("to");
        for terms in &services {
            if peers.is_empty() {
                builder.add([0, 1, 0, 0], Action::Allow, terms, To::Any, "any", rule.line);
            }
            for peer in peers.iter().filter_map(|peer| peer.get("ipBlock")) {
                let nets = block(peer, "ipBlock", builder)?;
                let text = peer.text_of("cidr").unwrap_or_default();
                builder.add([0, 1, 0, 0], Action::Allow, terms, To::Nets(nets), text, peer.line);
            }
        }
    }
    Ok(())
}

/// `namespace/name`.
pub(super) fn policy_name(policy: &Node) -> String {
    let name = policy.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
    match policy.at(&["metadata", "namespace"]).and_then(Node::text) {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// Which pods a policy is for isn't known from packets.
pub(super) fn selector_note(name: &str, spec: &Node, keys: &[&str], builder: &mut Builder<'_>) {
    let chosen = keys.iter().filter_map(|key| Some((key, spec.get(key)?)));
    for (key, selector) in chosen {
        let everything = selector.entries().is_empty()
            && selector.text().is_none_or(|t| t.is_empty() || t == "all()");
        if !everything {
            builder.note(format!("policy {name} has a {key}: taken as if it were for all clients"));
        }
    }
}

/// A CIDR without its exceptions.
pub(super) fn block(node: &Node, field: &str, builder: &Builder<'_>) -> Result<Nets, ParseError> {
    let read = |node: &Node| {
        let text = node.text().unwrap_or_default();
        Builder::nets(text)
            .ok_or_else(|| builder.error(node.line, field, format!("`{text}` is no CIDR")))
    };
    let Some(cidr) = node.get("cidr") else {
        return Err(builder.error(node.line, field, "it has no cidr"));
    };
    node.items("except").iter().try_fold(read(cidr)?, |nets, except| Ok(nets.minus(&read(except)?)))
}

/// Terms for each transport that the ports name; any service when there are none. `default` is the
/// protocol of ports that name none.
pub(super) fn port_terms(
    ports: &[Node],
    policy: &str,
    (rule, default): (&str, &str),
    builder: &mut Builder<'_>,
) -> Result<Vec<Arc<RuleTerms>>, ParseError> {
    if ports.is_empty() {
        return Ok(vec![Arc::new(builder.terms(policy, rule))]);
    }
    let (mut tcp, mut udp) = (Ports::empty(), Ports::empty());
    for node in ports {
        let Some(more) = port(node, policy, builder)? else { continue };
        match node.text_of("protocol").unwrap_or(default) {
            "TCP" => tcp = tcp.union(&more),
            "UDP" => udp = udp.union(&more),
            "ANY" => (tcp, udp) = (tcp.union(&more), udp.union(&more)),
            _ => {}
        }
    }
    if tcp == udp && !tcp.is_empty() {
        return Ok(vec![Arc::new(RuleTerms { ports: tcp, ..builder.terms(policy, rule) })]);
    }
    let terms =
        [(tcp, Transports::TCP), (udp, Transports::UDP)].into_iter().filter(|(p, _)| !p.is_empty());
    Ok(terms
        .map(|(ports, transports)| {
            Arc::new(RuleTerms { ports, transports, ..builder.terms(policy, rule) })
        })
        .collect())
}

/// A port or range; `None` for a named one.
fn port(node: &Node, policy: &str, builder: &mut Builder<'_>) -> Result<Option<Ports>, ParseError> {
    let Some(first) = node.get("port") else { return Ok(Some(Ports::all())) };
    let Some(Ok(first_port)) = first.text().map(str::parse::<u16>) else {
        let note = format!(
            "{}:{}: policy {policy}: named port {} can't be evaluated",
            builder.file,
            first.line,
            first.shown()
        );
        builder.note(note);
        return Ok(None);
    };
    let last = match node.get("endPort") {
        Some(last) => last
            .text()
            .and_then(|text| text.parse().ok())
            .filter(|&last| last == 0 || last >= first_port)
            .ok_or_else(|| {
                builder.error(
                    last.line,
                    "endPort",
                    format!("{} is no port from {first_port} on", last.shown()),
                )
            })?,
        None => first_port,
    };
    Ok(Some(if first_port == 0 {
        Ports::all()
    } else {
        Ports::new([(first_port, last.max(first_port))])
    }))
}
