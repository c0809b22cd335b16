use super::{Group, has_inner_star, skipped, widened, zone};
use crate::catalog::Transport;

/// One global policy, a rule for each kind of destination of a group.
pub(super) fn write(groups: &[Group<'_>], remarks: &mut Vec<String>) -> String {
    let mut rules = String::new();
    for group in groups {
        let names = names(group, remarks);
        rules += &rule(group, "domains", &names);
        rules += &rule(group, "nets", &group.prefixes());
        if group.has_any() {
            rules += &rule(group, "nets", &["0.0.0.0/0".to_owned()]);
        }
    }
    let mut text = String::new();
    for remark in remarks.iter() {
        text += &format!("# {remark}\n");
    }
    text += "\
# `domains` needs Calico Enterprise or Calico Cloud.
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: default.required-egress
spec:
  tier: default
  order: 1000
  selector: all()
  types:
    - Egress
  egress:
";
    text + &rules
}

fn rule(group: &Group<'_>, key: &str, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let protocol = if group.transport == Transport::Tcp { "TCP" } else { "UDP" };
    let mut text =
        format!("    # {}\n    - action: Allow\n      protocol: {protocol}\n", group.comment());
    if let Some(sources) = group.sources() {
        text += "      source:\n        nets:\n";
        sources.iter().for_each(|net| text += &format!("          - \"{net}\"\n"));
    }
    text += &format!("      destination:\n        {key}:\n");
    for value in values {
        text += &format!("          - \"{value}\"\n");
    }
    text += "        ports:\n";
    for &(first, last) in group.port_ranges() {
        let port = if first == last { first.to_string() } else { format!("\"{first}:{last}\"") };
        text += &format!("          - {port}\n");
    }
    text
}

fn names(group: &Group<'_>, remarks: &mut Vec<String>) -> Vec<String> {
    let mut names = Vec::new();
    for name in group.names() {
        if has_inner_star(name) {
            match zone(name) {
                Some(zone) => {
                    let value = format!("*.{zone}");
                    remarks.push(widened(group, name, &value, "Calico's star is whole labels"));
                    names.push(value);
                }
                None => remarks.push(skipped(group, name, "no domain stands for it")),
            }
        } else if let Some(zone) = name.strip_prefix('.') {
            names.extend([zone.to_owned(), format!("*.{zone}")]);
        } else {
            names.push(name.to_owned());
        }
    }
    names
}
