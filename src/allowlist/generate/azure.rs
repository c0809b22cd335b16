use serde_json::{Value, json};

use super::{Group, service_tag, skipped, widened};
use crate::catalog::{App, Transport};

/// A rule of either kind, in neither notation.
struct Rule {
    name: String,
    comment: String,
    sources: Vec<String>,
    kind: Kind,
}

enum Kind {
    Application {
        protocol: &'static str,
        ports: Vec<u16>,
        fqdns: Vec<String>,
    },
    Network {
        protocol: &'static str,
        ports: Vec<String>,
        addresses: Vec<String>,
        fqdns: Vec<String>,
    },
}

/// An ARM template with one rule collection group.
pub(super) fn arm(groups: &[Group<'_>], remarks: &mut Vec<String>) -> String {
    let rules = rules(groups, remarks);
    let (network, application): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| matches!(rule.kind, Kind::Network { .. }));
    let collection = |name: &str, priority: u16, rules: &[&Rule]| {
        json!({
            "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
            "name": name,
            "priority": priority,
            "action": { "type": "Allow" },
            "rules": rules.iter().map(|rule| arm_rule(rule)).collect::<Vec<_>>(),
        })
    };
    let template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "metadata": { "remarks": remarks },
        "parameters": { "firewallPolicyName": { "type": "string" } },
        "resources": [{
            "type": "Microsoft.Network/firewallPolicies/ruleCollectionGroups",
            "apiVersion": "2023-11-01",
            "name": "[format('{0}/required-egress', parameters('firewallPolicyName'))]",
            "properties": {
                "priority": 200,
                "ruleCollections": [
                    collection("required-network", 200, &network),
                    collection("required-application", 300, &application),
                ],
            },
        }],
    });
    // Values of JSON's own types always serialise.
    serde_json::to_string_pretty(&template).map(|text| text + "\n").unwrap_or_default()
}

fn arm_rule(rule: &Rule) -> Value {
    match &rule.kind {
        Kind::Application { protocol, ports, fqdns } => json!({
            "ruleType": "ApplicationRule",
            "name": rule.name,
            "description": rule.comment,
            "protocols": ports.iter().map(|port| json!({ "protocolType": protocol, "port": port })).collect::<Vec<_>>(),
            "targetFqdns": fqdns,
            "fqdnTags": [],
            "sourceAddresses": rule.sources,
        }),
        Kind::Network { protocol, ports, addresses, fqdns } => json!({
            "ruleType": "NetworkRule",
            "name": rule.name,
            "description": rule.comment,
            "ipProtocols": [protocol],
            "destinationPorts": ports,
            "destinationAddresses": addresses,
            "destinationFqdns": fqdns,
            "sourceAddresses": rule.sources,
        }),
    }
}

/// A Terraform resource with one rule collection group.
pub(super) fn terraform(groups: &[Group<'_>], remarks: &mut Vec<String>) -> String {
    let rules = rules(groups, remarks);
    let mut text: String = remarks.iter().map(|remark| format!("# {remark}\n")).collect();
    text += "\
variable \"firewall_policy_id\" {
  type = string
}

resource \"azurerm_firewall_policy_rule_collection_group\" \"required_egress\" {
  name               = \"required-egress\"
  firewall_policy_id = var.firewall_policy_id
  priority           = 200
";
    for (key, network, priority) in
        [("network_rule_collection", true, 200), ("application_rule_collection", false, 300)]
    {
        let mut body = String::new();
        for rule in rules.iter().filter(|rule| matches!(rule.kind, Kind::Network { .. }) == network)
        {
            body += &block(rule);
        }
        if !body.is_empty() {
            let name = if network { "required-network" } else { "required-application" };
            text += &format!(
                "\n  {key} {{\n    name     = \"{name}\"\n    priority = {priority}\n    action   = \"Allow\"\n{body}  }}\n"
            );
        }
    }
    text + "}\n"
}

fn block(rule: &Rule) -> String {
    let mut text =
        format!("\n    # {}\n    rule {{\n      name = \"{}\"\n", rule.comment, rule.name);
    match &rule.kind {
        Kind::Application { protocol, ports, fqdns } => {
            for port in ports {
                text += &format!(
                    "      protocols {{\n        type = \"{protocol}\"\n        port = {port}\n      }}\n"
                );
            }
            text += &list("source_addresses", &rule.sources);
            text += &list("destination_fqdns", fqdns);
        }
        Kind::Network { protocol, ports, addresses, fqdns } => {
            text += &list("protocols", &[(*protocol).to_owned()]);
            text += &list("source_addresses", &rule.sources);
            text += &list("destination_addresses", addresses);
            text += &list("destination_fqdns", fqdns);
            text += &list("destination_ports", ports);
        }
    }
    text + "    }\n"
}

fn list(key: &str, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    format!("      {key} = [{}]\n", values.join(", "))
}

fn rules(groups: &[Group<'_>], remarks: &mut Vec<String>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for group in groups {
        let (sources, v6): (Vec<String>, Vec<String>) = group
            .sources()
            .unwrap_or_else(|| vec!["*".to_owned()])
            .into_iter()
            .partition(|s| !s.contains(':'));
        if !v6.is_empty() {
            let remark = format!(
                "clients {} not written: Azure Firewall's rules are for IPv4",
                v6.join(", ")
            );
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        if sources.is_empty() {
            continue;
        }
        let web = match (group.transport, group.app) {
            (Transport::Tcp, App::Https) => Some("Https"),
            (Transport::Tcp, App::Http) => Some("Http"),
            _ => None,
        };
        let single: Vec<u16> =
            group.port_ranges().iter().filter(|(a, b)| a == b).map(|&(a, _)| a).collect();
        let web = web.filter(|_| single.len() == group.port_ranges().len());
        let (mut fqdns, mut addresses) = (Vec::new(), group.prefixes());
        for name in group.names() {
            if web.is_some() {
                fqdns.extend(application_names(group, name, remarks));
            } else if name.contains('*') || name.starts_with('.') {
                remarks.push(skipped(group, name, "network rules take no `*` in names, and application rules only HTTP and TLS; allow its addresses"));
            } else {
                fqdns.push(name.to_owned());
            }
        }
        if group.has_any() {
            addresses.push("*".into());
        }
        addresses
            .extend(group.needs.iter().filter_map(|need| service_tag(need)).map(str::to_owned));
        let ports: Vec<String> = group.ports.text().split(',').map(str::to_owned).collect();
        let protocol = if group.transport == Transport::Tcp { "TCP" } else { "UDP" };
        let mut add = |kind: Kind| {
            let count = rules.iter().filter(|rule| rule.name.starts_with(&group.name())).count();
            let name =
                if count == 0 { group.name() } else { format!("{}-{}", group.name(), count + 1) };
            rules.push(Rule { name, comment: group.comment(), sources: sources.clone(), kind });
        };
        match web {
            Some(protocol) if !fqdns.is_empty() => {
                add(Kind::Application { protocol, ports: single, fqdns })
            }
            None if !fqdns.is_empty() => {
                add(Kind::Network { protocol, ports: ports.clone(), addresses: Vec::new(), fqdns });
            }
            _ => {}
        }
        if !addresses.is_empty() {
            add(Kind::Network { protocol, ports, addresses, fqdns: Vec::new() });
        }
    }
    rules
}

/// A star only at the start: what has one elsewhere is cut to what follows the last one.
fn application_names(group: &Group<'_>, name: &str, remarks: &mut Vec<String>) -> Vec<String> {
    if let Some(zone) = name.strip_prefix('.') {
        return vec![zone.to_owned(), format!("*.{zone}")];
    }
    let star = name.rfind('*');
    match star {
        None => vec![name.to_owned()],
        Some(0) if name.starts_with("*.") => vec![name.to_owned()],
        Some(at) => {
            let value = name[at..].to_owned();
            remarks.push(widened(
                group,
                name,
                &value,
                "Azure Firewall takes `*` at the start only, and it is any text there",
            ));
            vec![value]
        }
    }
}
