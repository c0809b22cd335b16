use super::Group;
use crate::catalog::Transport;

/// One cluster-wide policy, a rule for each kind of destination of a group.
pub(super) fn write(groups: &[Group<'_>], remarks: &mut Vec<String>) -> String {
    let mut rules = String::new();
    for group in groups {
        if group.clients.is_some() {
            let id = group.rules[0].0;
            remarks.push(format!("{id}: written for all endpoints: Cilium chooses clients by labels, not by addresses"));
        }
        let names: Vec<String> = group.names().flat_map(selectors).collect();
        rules += &rule(group, "toFQDNs", &names);
        rules += &rule(
            group,
            "toCIDR",
            &group.prefixes().iter().map(|net| quoted(net)).collect::<Vec<_>>(),
        );
        if group.has_any() {
            rules += &rule(group, "toEntities", &["world".to_owned()]);
        }
    }
    let mut text = String::new();
    for remark in remarks.iter() {
        text += &format!("# {remark}\n");
    }
    text += "\
# `**.` is any depth, from Cilium 1.18 on. Names are learnt from DNS, so DNS has to pass its proxy.
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata:
  name: required-egress
spec:
  endpointSelector: {}
  egress:
";
    text + &rules
}

fn rule(group: &Group<'_>, key: &str, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mut text = format!("    # {}\n    - {key}:\n", group.comment());
    for value in values {
        text += &format!("        - {value}\n");
    }
    let protocol = if group.transport == Transport::Tcp { "TCP" } else { "UDP" };
    text += "      toPorts:\n        - ports:\n";
    for &(first, last) in group.port_ranges() {
        text += &format!("            - port: \"{first}\"\n");
        if first != last {
            text += &format!("              endPort: {last}\n");
        }
        text += &format!("              protocol: {protocol}\n");
    }
    text
}

fn selectors(name: &str) -> Vec<String> {
    let exact = |name: &str| format!("matchName: {}", quoted(name));
    let pattern = |name: &str| format!("matchPattern: {}", quoted(name));
    if let Some(zone) = name.strip_prefix('.') {
        vec![exact(zone), pattern(&format!("**.{zone}"))]
    } else if name.starts_with("*.") {
        vec![pattern(&format!("*{name}"))]
    } else if name.contains('*') {
        vec![pattern(name)]
    } else {
        vec![exact(name)]
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
