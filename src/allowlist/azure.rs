//! Azure Firewall: policies and classic rule collections, from ARM templates (also compiled from
//! Bicep), the CLI's output, and Terraform.
//!
//! Rule collections are tried by stage (network, then application), the group's priority, their
//! own priority; the first rule that matches decides. `*` stands only at a name's start and is any
//! text: `*.contoso.com` excludes `contoso.com`, `*contoso.com` includes `notcontoso.com`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    build::{Builder, Rank, glob},
    entry::{Action, Apps, RuleTerms, To, Transports},
    error::ParseError,
    glob::{Glob, Star},
    intervals::{Nets, Ports},
    tree::{Node, Value},
};

/// Network rules come before application rules, whatever their priority.
const NETWORK: i64 = 0;
const APPLICATION: i64 = 1;
/// For what has no priority that can be read.
const LAST: i64 = 65_000;

/// Reads every rule collection in the tree; false when there is none.
pub(super) fn read(tree: &Node, builder: &mut Builder<'_>) -> Result<bool, ParseError> {
    let groups = ip_groups(tree);
    let mut reader = Reader { builder, groups, found: false };
    reader.find(tree, &Group { name: String::new(), priority: 0 })?;
    Ok(reader.found)
}

struct Reader<'r, 'c> {
    builder: &'r mut Builder<'c>,
    /// IP groups of the same file by name in lower case.
    groups: BTreeMap<String, Nets>,
    found: bool,
}

struct Group {
    name: String,
    priority: i64,
}

struct Collection {
    name: String,
    rank: (i64, i64),
    action: Action,
}

const COLLECTIONS: [&str; 5] = [
    "ruleCollections",
    "applicationRuleCollections",
    "networkRuleCollections",
    "application_rule_collection",
    "network_rule_collection",
];

impl Reader<'_, '_> {
    fn find(&mut self, node: &Node, group: &Group) -> Result<(), ParseError> {
        if let Value::List(list) = &node.value {
            return list.iter().try_for_each(|node| self.find(node, group));
        }
        let inner = node.get("properties").filter(|p| !p.entries().is_empty()).unwrap_or(node);
        let mut held = false;
        let own = self.group(node, inner, group);
        for key in COLLECTIONS {
            for collection in inner.items(key) {
                held = true;
                self.found = true;
                self.collection(collection, &own)?;
            }
        }
        let nat = ["nat_rule_collection", "natRuleCollections"];
        if nat.iter().any(|key| !inner.items(key).is_empty()) {
            held = true;
            self.dnat();
        }
        if !held && is_collection(inner) {
            self.found = true;
            return self.collection(node, group);
        }
        node.entries()
            .iter()
            .filter(|(key, _)| !held || key == "resources")
            .try_for_each(|(_, node)| self.find(node, group))
    }

    fn group(&mut self, node: &Node, inner: &Node, outer: &Group) -> Group {
        let name = node.text_of("name").unwrap_or(&outer.name);
        let name = last_segment(name).to_owned();
        let priority = match inner.get("priority") {
            Some(priority) => self.priority(priority),
            None => outer.priority,
        };
        Group { name, priority }
    }

    fn priority(&mut self, node: &Node) -> i64 {
        node.text().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            self.builder.note(format!(
                "{}:{}: priority is {}: taken as the last ({LAST})",
                self.builder.file,
                node.line,
                node.shown()
            ));
            LAST
        })
    }

    fn collection(&mut self, node: &Node, group: &Group) -> Result<(), ParseError> {
        let inner = node.get("properties").filter(|p| p.get("rules").is_some()).unwrap_or(node);
        let kind = inner.text_of("ruleCollectionType").unwrap_or_default();
        if kind.contains("Nat") {
            self.dnat();
            return Ok(());
        }
        let own = match inner.get("priority") {
            Some(priority) => self.priority(priority),
            None => LAST,
        };
        let action = self.action(inner)?;
        let name = node.text_of("name").unwrap_or_default();
        let name = match &*group.name {
            "" => name.to_owned(),
            group => format!("{group} / {name}"),
        };
        let collection = Collection { name, rank: (group.priority, own), action };
        let rules =
            inner.any_of(&["rules", "rule"]).map(|(key, _)| inner.items(key)).unwrap_or_default();
        rules.iter().try_for_each(|rule| self.rule(rule, &collection))
    }

    fn action(&self, inner: &Node) -> Result<Action, ParseError> {
        let Some(action) = inner.get("action") else {
            return Err(self.builder.error(inner.line, "action", "the rule collection has none"));
        };
        let text = action.text().or(action.text_of("type")).unwrap_or_default();
        match &*text.to_ascii_lowercase() {
            "allow" => Ok(Action::Allow),
            "deny" => Ok(Action::Deny),
            _ => Err(self.builder.error(
                action.line,
                "action",
                format!("Allow or Deny is needed, not {}", action.shown()),
            )),
        }
    }

    fn rule(&mut self, rule: &Node, collection: &Collection) -> Result<(), ParseError> {
        let kind = rule.text_of("ruleType").unwrap_or_default();
        let by_name = [
            "targetFqdns",
            "target_fqdns",
            "fqdnTags",
            "fqdn_tags",
            "destination_fqdn_tags",
            "targetUrls",
            "destination_urls",
            "webCategories",
            "web_categories",
        ];
        let application = match kind {
            "ApplicationRule" => true,
            "NetworkRule" => false,
            "NatRule" => {
                self.dnat();
                return Ok(());
            }
            _ => {
                by_name.iter().any(|key| !rule.items(key).is_empty())
                    || rule.any_of(&["protocols", "protocol"]).is_some_and(|(key, _)| {
                        rule.items(key)
                            .iter()
                            .any(|p| p.any_of(&["protocolType", "type"]).is_some())
                    })
            }
        };
        let stage = if application { APPLICATION } else { NETWORK };
        let rank: Rank = [0, stage, collection.rank.0, collection.rank.1];
        let name = rule.text_of("name").unwrap_or_default();
        let mut terms = self.builder.terms(&collection.name, name);
        let unknown_clients = self.clients(rule, &mut terms)?;
        let (destinations, services) = match application {
            true => {
                let destinations = self.application(rule, &mut terms)?;
                (destinations, self.protocols(rule, &terms)?)
            }
            false => (self.network(rule, &mut terms)?, vec![Arc::new(terms)]),
        };
        if destinations.is_empty() {
            let message =
                format!("rule `{name}` of collection `{}` has no destination", collection.name);
            self.builder.note(format!("{}:{}: {message}", self.builder.file, rule.line));
        }
        for (to, text, line) in destinations {
            let to = match (&unknown_clients, to) {
                (Some(why), To::Names(names)) => To::Unevaluated(why.clone(), Some(names)),
                (Some(why), _) => To::Unevaluated(why.clone(), None),
                (None, to) => to,
            };
            for terms in &services {
                self.builder.add(rank, collection.action, terms, to.clone(), &text, line);
            }
        }
        Ok(())
    }

    /// Sets the clients; gives the reason when they can't be known.
    fn clients(&self, rule: &Node, terms: &mut RuleTerms) -> Result<Option<String>, ParseError> {
        let mut nets = Nets::empty();
        let (mut any, mut unknown) = (false, None);
        for key in ["sourceAddresses", "source_addresses"] {
            for (node, text) in self.builder.texts(rule.items(key), key)? {
                match text {
                    Ok("*") => any = true,
                    Ok(text) => match Builder::nets(text) {
                        Some(more) => nets = nets.union(&more),
                        None => {
                            return Err(self.builder.error(
                                node.line,
                                key,
                                format!("`{text}` is no address, prefix, range or *"),
                            ));
                        }
                    },
                    Err(why) => unknown = Some(format!("clients by {why}")),
                }
            }
        }
        for key in ["sourceIpGroups", "source_ip_groups"] {
            for node in rule.items(key) {
                match self.ip_group(node) {
                    Ok(more) => nets = nets.union(&more),
                    Err(why) => unknown = Some(format!("clients by {why}")),
                }
            }
        }
        if !any && unknown.is_none() && !nets.is_empty() {
            terms.clients = Some(nets);
        }
        Ok(unknown.filter(|_| !any))
    }

    fn ip_group(&self, node: &Node) -> Result<Nets, String> {
        let text = match &node.value {
            Value::Text(text) | Value::Expression(text) => text.to_ascii_lowercase(),
            _ => node.shown(),
        };
        // A resource id, resourceId('..', 'name'), or azurerm_ip_group.name.id.
        let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let whole = words.clone().next_back().and_then(|word| self.groups.get(word));
        let nets = whole.or_else(|| {
            words.find_map(|word| {
                let inner = word.split('.').nth(1).unwrap_or(word);
                self.groups.get(word).or_else(|| self.groups.get(inner))
            })
        });
        nets.cloned().ok_or_else(|| {
            format!("IP group {}, which isn't in the file with all its addresses", node.shown())
        })
    }

    fn application(
        &self,
        rule: &Node,
        terms: &mut RuleTerms,
    ) -> Result<Vec<(To, String, usize)>, ParseError> {
        terms.transports = Transports::TCP;
        let mut to = Vec::new();
        for key in ["targetFqdns", "target_fqdns", "destination_fqdns", "destinationFqdns"] {
            for (node, text) in self.builder.texts(rule.items(key), key)? {
                let set = match text {
                    Ok(text) => To::Names(vec![self.fqdn(text, node.line, key)?]),
                    Err(why) => To::Unevaluated(why, None),
                };
                to.push((set, shown(node), node.line));
            }
        }
        for key in ["fqdnTags", "fqdn_tags", "destination_fqdn_tags"] {
            for (node, text) in self.builder.texts(rule.items(key), key)? {
                let set = match text {
                    Ok(tag) => self.tag(tag),
                    Err(why) => To::Unevaluated(why, None),
                };
                to.push((set, format!("FQDN tag {}", shown(node)), node.line));
            }
        }
        for key in ["targetUrls", "destination_urls"] {
            for node in rule.items(key) {
                let text = shown(node);
                let bare = text.split_once("://").map_or(&*text, |(_, rest)| rest);
                let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
                let names = glob(host, Star::Any).ok().map(|glob| vec![glob]);
                to.push((
                    To::Unevaluated(format!("URL path `/{path}`"), names),
                    text.clone(),
                    node.line,
                ));
            }
        }
        for key in ["webCategories", "web_categories"] {
            for node in rule.items(key) {
                let text = format!("web category {}", shown(node));
                to.push((To::Unevaluated(text.clone(), None), text, node.line));
            }
        }
        Ok(to)
    }

    /// Terms for each protocol, as each has ports of its own. A rule without any is one for FQDN
    /// tags, which bring theirs: HTTP and TLS.
    fn protocols(&self, rule: &Node, terms: &RuleTerms) -> Result<Vec<Arc<RuleTerms>>, ParseError> {
        const NONE: Apps = Apps { http: false, https: false, other: false };
        let mut services: Vec<RuleTerms> = Vec::new();
        for key in ["protocols", "protocol"] {
            for node in rule.items(key) {
                let kind = node.any_of(&["protocolType", "type"]).and_then(|(_, kind)| kind.text());
                let (apps, default) = match kind.unwrap_or_default().to_ascii_lowercase().as_str() {
                    "http" => (Apps { http: true, ..NONE }, 80),
                    "https" => (Apps { https: true, ..NONE }, 443),
                    "mssql" => (Apps { other: true, ..NONE }, 1433),
                    _ => {
                        return Err(self.builder.error(
                            node.line,
                            key,
                            format!(
                                "Http, Https or Mssql with a port is needed, not {}",
                                node.shown()
                            ),
                        ));
                    }
                };
                let ports = match node.get("port") {
                    Some(port) => self.builder.ports(std::slice::from_ref(port), "port")?,
                    None => Ports::one(default),
                };
                match services.iter_mut().find(|known| known.apps == apps) {
                    Some(known) => known.ports = known.ports.union(&ports),
                    None => services.push(RuleTerms { apps, ports, ..terms.clone() }),
                }
            }
        }
        if services.is_empty() {
            let web = [(Apps { http: true, ..NONE }, 80), (Apps { https: true, ..NONE }, 443)];
            services.extend(web.map(|(apps, port)| RuleTerms {
                apps,
                ports: Ports::one(port),
                ..terms.clone()
            }));
        }
        Ok(services.into_iter().map(Arc::new).collect())
    }

    /// A star stands at the start only.
    fn fqdn(&self, text: &str, line: usize, field: &str) -> Result<Glob, ParseError> {
        if text.get(1..).is_some_and(|rest| rest.contains('*')) {
            let message = format!("`{text}`: Azure Firewall takes `*` at the start only");
            return Err(self.builder.error(line, field, message));
        }
        if let Some(zone) = text.strip_prefix('.') {
            return Err(self.builder.error(
                line,
                field,
                format!("`{text}`: write `{zone}` and `*.{zone}`"),
            ));
        }
        self.builder.name(text, Star::Any, (line, field))
    }

    fn tag(&self, tag: &str) -> To {
        let known =
            self.builder.context.fqdn_tags.and_then(|tags| tags.0.get(&tag.to_ascii_lowercase()));
        let Some(names) = known else {
            return To::Unevaluated(
                format!("FQDN tag `{tag}`: give its names with --fqdn-tags"),
                None,
            );
        };
        match names.iter().map(|name| glob(name, Star::Any)).collect() {
            Ok(globs) => To::Names(globs),
            Err(why) => To::Unevaluated(format!("FQDN tag `{tag}`: {why}"), None),
        }
    }

    fn network(
        &self,
        rule: &Node,
        terms: &mut RuleTerms,
    ) -> Result<Vec<(To, String, usize)>, ParseError> {
        terms.transports = Transports::NONE;
        for key in ["ipProtocols", "protocols"] {
            for node in rule.items(key) {
                match &*node.text().unwrap_or_default().to_ascii_lowercase() {
                    "tcp" => terms.transports.tcp = true,
                    "udp" => terms.transports.udp = true,
                    "any" => terms.transports = Transports::BOTH,
                    "icmp" => {}
                    _ => {
                        return Err(self.builder.error(
                            node.line,
                            key,
                            format!("TCP, UDP, ICMP or Any is needed, not {}", node.shown()),
                        ));
                    }
                }
            }
        }
        for key in ["destinationPorts", "destination_ports"] {
            if rule.get(key).is_some() {
                terms.ports = self.builder.ports(rule.items(key), key)?;
            }
        }
        let mut to = Vec::new();
        for key in ["destinationAddresses", "destination_addresses"] {
            for (node, text) in self.builder.texts(rule.items(key), key)? {
                let set = match text {
                    Ok(text) => self.builder.address_or_tag(text),
                    Err(why) => To::Unevaluated(why, None),
                };
                to.push((set, shown(node), node.line));
            }
        }
        for key in ["destinationFqdns", "destination_fqdns"] {
            for (node, text) in self.builder.texts(rule.items(key), key)? {
                // The firewall resolves these itself, so they have no stars.
                let set = match text {
                    Ok(text) if text.contains('*') => {
                        return Err(self.builder.error(
                            node.line,
                            key,
                            format!("`{text}`: network rules take no `*` in names"),
                        ));
                    }
                    Ok(text) => {
                        To::Names(vec![self.builder.name(text, Star::Any, (node.line, key))?])
                    }
                    Err(why) => To::Unevaluated(why, None),
                };
                to.push((set, shown(node), node.line));
            }
        }
        for key in ["destinationIpGroups", "destination_ip_groups"] {
            for node in rule.items(key) {
                let set =
                    self.ip_group(node).map_or_else(|why| To::Unevaluated(why, None), To::Nets);
                to.push((set, shown(node), node.line));
            }
        }
        Ok(to)
    }

    fn dnat(&mut self) {
        self.found = true;
        let note = format!(
            "{}: DNAT rules are for traffic from outside and aren't compared",
            self.builder.file
        );
        self.builder.note(note);
    }
}

/// The last part of a resource's name, also of one that an expression makes.
fn last_segment(name: &str) -> &str {
    let literals = name.split('\'').skip(1).step_by(2);
    let own = |text: &str| text.contains('/') && !text.ends_with(['/', '}']);
    let name = match name.starts_with('[') {
        true => literals.clone().find(|text| own(text)).or(literals.last()).unwrap_or(name),
        false => name,
    };
    name.rsplit('/').next().unwrap_or(name)
}

fn shown(node: &Node) -> String {
    match &node.value {
        Value::Text(text) | Value::Expression(text) => text.trim().to_owned(),
        _ => node.shown(),
    }
}

fn is_collection(node: &Node) -> bool {
    node.any_of(&["rules", "rule"]).is_some_and(|(_, rules)| rules.list().is_some())
        && node.get("action").is_some()
        && node.get("priority").is_some()
}

/// IP groups: ARM resources, CLI output, Terraform resources.
fn ip_groups(tree: &Node) -> BTreeMap<String, Nets> {
    let mut groups = BTreeMap::new();
    tree.walk(&mut |node| {
        let inner = node.get("properties").unwrap_or(node);
        let Some((key, _)) = inner.any_of(&["ipAddresses", "cidrs"]) else { return };
        // A group that is known in part only isn't known.
        let mut nets = inner.items(key).iter().map(|n| Builder::nets(n.text()?));
        let Some(nets) = nets.try_fold(Nets::empty(), |all, more| Some(all.union(&more?))) else {
            return;
        };
        let name = node.text_of("name").map(|n| n.rsplit('/').next().unwrap_or(n).to_owned());
        let label = node.items("").get(1).and_then(Node::text).map(str::to_owned);
        for name in [name, label].into_iter().flatten() {
            groups.insert(name.to_ascii_lowercase(), nets.clone());
        }
    });
    groups
}

/// Terraform: the resources that hold rule collections.
pub(super) fn read_terraform(tree: &Node, builder: &mut Builder<'_>) -> Result<bool, ParseError> {
    let groups = ip_groups(tree);
    let mut reader = Reader { builder, groups, found: false };
    for resource in tree.items("resource") {
        let labels: Vec<&str> = resource.items("").iter().filter_map(Node::text).collect();
        let outer =
            Group { name: labels.get(1).copied().unwrap_or_default().to_owned(), priority: 0 };
        match labels.first().copied() {
            Some("azurerm_firewall_policy_rule_collection_group") => {
                reader.find(resource, &outer)?
            }
            Some(
                "azurerm_firewall_application_rule_collection"
                | "azurerm_firewall_network_rule_collection",
            ) => {
                reader.found = true;
                reader.collection(resource, &Group { name: String::new(), priority: 0 })?;
            }
            _ => {}
        }
        let dynamic = resource.items("dynamic").iter().chain(
            ["application_rule_collection", "network_rule_collection"]
                .iter()
                .flat_map(|key| resource.items(key))
                .flat_map(|c| c.items("dynamic")),
        );
        for block in dynamic {
            let note = format!(
                "{}:{}: `dynamic` blocks can't be evaluated: give `terraform show -json` or the CLI's output",
                reader.builder.file, block.line
            );
            reader.builder.note(note);
        }
    }
    Ok(reader.found)
}
