//! From what a site needs to a product's own notation.

mod azure;
mod calico;
mod cilium;
mod plain;
mod squid;

use std::collections::BTreeMap;

use super::{
    intervals::{Nets, Ports},
    needs::Need,
    policy::{What, Who},
    seen::Seen,
};
use crate::catalog::{App, Site, Transport};

/// What to write for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// ARM template.
    AzureFirewall,
    /// Terraform.
    AzureFirewallTerraform,
    /// CiliumClusterwideNetworkPolicy.
    Cilium,
    /// GlobalNetworkPolicy of Calico Enterprise or Cloud.
    Calico,
    /// Squid configuration.
    Squid,
    /// A destination a line.
    Plain,
}

/// A written allowlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The file.
    pub text: String,
    /// What couldn't be written, and what is wider than required; also in the file's comments
    /// where it can have any.
    pub remarks: Vec<String>,
}

/// Destinations that the same rules need at the same service.
struct Group<'s> {
    needs: Vec<&'s Need<'s>>,
    /// Ids of the rules, each with what it is for.
    rules: Vec<(&'s str, &'s str)>,
    transport: Transport,
    ports: Ports,
    app: App,
    clients: Option<Nets>,
}

/// Writes all that a site's rules need, or what of it was seen. The same input gives the same
/// bytes.
pub fn generate(product: Product, site: &Site, seen: Option<&[Seen]>) -> Generated {
    let needs = Need::of_site(site);
    let mut remarks = Vec::new();
    let tags = matches!(product, Product::AzureFirewall | Product::AzureFirewallTerraform);
    let chosen: Vec<&Need<'_>> = chosen(&needs, tags, &mut remarks)
        .into_iter()
        .filter(|need| was_seen(need, seen))
        .collect();
    let groups = groups(&chosen);
    let text = match product {
        Product::AzureFirewall => azure::arm(&groups, &mut remarks),
        Product::AzureFirewallTerraform => azure::terraform(&groups, &mut remarks),
        Product::Cilium => cilium::write(&groups, &mut remarks),
        Product::Calico => calico::write(&groups, &mut remarks),
        Product::Squid => squid::write(&groups, &mut remarks),
        Product::Plain => plain::write(&groups, &mut remarks),
    };
    Generated { text, remarks }
}

/// Of alternatives and choices, one; of the rest, all that can be known.
fn chosen<'n, 's>(
    needs: &'n [Need<'s>],
    tags: bool,
    remarks: &mut Vec<String>,
) -> Vec<&'n Need<'s>> {
    let mut kept: Vec<&Need<'_>> = Vec::new();
    let options = options(needs, tags);
    for rule in needs.chunk_by(|a, b| a.rule.id == b.rule.id) {
        let stated = rule[0].rule;
        if let Some(option) = &stated.option
            && options.get(&*option.choice).is_some_and(|name| *name != option.name)
        {
            remarks.push(format!(
                "{}: left out, as `{}` is met in another way",
                stated.id, option.choice
            ));
            continue;
        }
        if stated.alternatives {
            let best =
                rule.iter().filter(|need| expressible(need, tags)).min_by_key(|need| width(need));
            match best {
                Some(best) => kept.push(best),
                None => remarks.push(format!("{}: not written: {}", stated.id, why_not(&rule[0]))),
            }
            continue;
        }
        for need in rule {
            match expressible(need, tags) {
                true => kept.push(need),
                false => remarks.push(format!(
                    "{}: {} not written: {}",
                    stated.id,
                    need.text,
                    why_not(need)
                )),
            }
        }
    }
    kept
}

/// For each choice the first option all of whose destinations can be written, names before others.
fn options<'n>(needs: &'n [Need<'_>], tags: bool) -> BTreeMap<&'n str, &'n str> {
    let mut fit: BTreeMap<(&str, bool, &str), bool> = BTreeMap::new();
    let named: BTreeMap<&str, bool> = needs
        .iter()
        .filter_map(|need| need.rule.option.as_ref())
        .fold(BTreeMap::new(), |mut all, option| {
            all.insert(
                &option.name,
                needs
                    .iter()
                    .filter(|n| n.rule.option.as_ref() == Some(option))
                    .all(|n| matches!(n.what, Ok(What::Names(_)))),
            );
            all
        });
    for need in needs {
        if let Some(option) = &need.rule.option {
            let other = !named.get(&*option.name).copied().unwrap_or_default();
            *fit.entry((&option.choice, other, &option.name)).or_insert(true) &=
                expressible(need, tags);
        }
    }
    let mut first = BTreeMap::new();
    for ((choice, _, name), _) in fit.iter().filter(|(_, fit)| **fit) {
        first.entry(*choice).or_insert(*name);
    }
    first
}

/// True when enough is known to write it.
fn expressible(need: &Need<'_>, tags: bool) -> bool {
    need.unbound.is_empty() && (need.what.is_ok() || tags && service_tag(need).is_some())
}

/// The service tag whose prefixes aren't known here, but are to the device.
fn service_tag<'n>(need: &'n Need<'_>) -> Option<&'n str> {
    need.text.strip_prefix("tag ").filter(|tag| need.what.is_err() && !tag.contains('{'))
}

fn why_not(need: &Need<'_>) -> String {
    match &need.what {
        Err(why) => why.clone(),
        Ok(_) => format!("no value in the profile for {}", need.unbound.join(", ")),
    }
}

/// Narrow alternatives before wide ones.
fn width(need: &Need<'_>) -> u8 {
    match &need.what {
        Ok(What::Names(_)) => 0,
        Ok(What::Nets(_)) => 1,
        Err(_) => 2,
        Ok(What::Any) => 3,
    }
}

fn was_seen(need: &Need<'_>, seen: Option<&[Seen]>) -> bool {
    let Some(seen) = seen else { return true };
    seen.iter().any(|seen| {
        let service = seen.transport.is_none_or(|t| t == need.rule.transport)
            && seen.port.is_none_or(|p| need.ports.has(p));
        service
            && match &need.what {
                Ok(What::Names(globs)) => {
                    seen.host().is_some_and(|h| globs.iter().any(|g| g.matches(h)))
                }
                Ok(What::Nets(nets)) => seen.addresses.iter().any(|&a| nets.has_addr(a)),
                // Whether it was seen can't be told, so it stays.
                Ok(What::Any) | Err(_) => true,
            }
    })
}

/// Each destination once, at the first rule that needs it.
fn groups<'s>(needs: &[&'s Need<'s>]) -> Vec<Group<'s>> {
    let key = |need: &Need<'_>| {
        format!(
            "{} {} {} {} {:?}",
            need.text,
            need.rule.transport,
            need.ports.text(),
            need.rule.app,
            need.from
        )
    };
    let mut users: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
    for need in needs {
        users.entry(key(need)).or_default().push((&need.rule.id, &need.rule.purpose));
    }
    let mut groups: Vec<Group<'s>> = Vec::new();
    for &need in needs {
        // Taken at its first rule; later ones find nothing.
        let Some(rules) = users.remove(&key(need)) else { continue };
        let clients = match &need.from {
            Who::All(nets) => Some(nets.clone()),
            Who::Some => None,
        };
        let same = groups.last_mut().filter(|group| {
            group.rules == rules
                && group.transport == need.rule.transport
                && group.ports == need.ports
                && group.app == need.rule.app
                && group.clients == clients
        });
        match same {
            Some(group) => group.needs.push(need),
            None => groups.push(Group {
                needs: vec![need],
                rules,
                transport: need.rule.transport,
                ports: need.ports.clone(),
                app: need.rule.app,
                clients,
            }),
        }
    }
    groups
}

impl Group<'_> {
    /// `id: use` of the first rule, and the ids of the others.
    fn comment(&self) -> String {
        let (id, purpose) = self.rules[0];
        let others: Vec<&str> = self.rules[1..].iter().map(|(id, _)| *id).collect();
        let others =
            if others.is_empty() { String::new() } else { format!(" Also {}.", others.join(", ")) };
        format!("{id}: {purpose}{others}")
    }

    /// The first rule's id as an identifier.
    fn name(&self) -> String {
        self.rules[0].0.replace('/', "-")
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.needs
            .iter()
            .filter(|need| matches!(need.what, Ok(What::Names(_))))
            .map(|need| need.text)
    }

    fn prefixes(&self) -> Vec<String> {
        let nets = self.needs.iter().filter_map(|need| match &need.what {
            Ok(What::Nets(nets)) => Some(nets),
            _ => None,
        });
        nets.flat_map(Nets::prefixes).map(|net| net.to_string()).collect()
    }

    fn has_any(&self) -> bool {
        self.needs.iter().any(|need| need.what == Ok(What::Any))
    }

    /// Client prefixes; `None` for any.
    fn sources(&self) -> Option<Vec<String>> {
        Some(self.clients.as_ref()?.prefixes().iter().map(ToString::to_string).collect())
    }

    /// First and last of each range of ports.
    fn port_ranges(&self) -> &[(u16, u16)] {
        self.ports.ranges()
    }
}

/// The zone that everything of a pattern with inner stars is below: `y` of `md-*.y`.
fn zone(pattern: &str) -> Option<&str> {
    let (_, after) = pattern.rsplit_once('*')?;
    after.split_once('.').map(|(_, zone)| zone)
}

/// True for `*` elsewhere than as the whole first label.
fn has_inner_star(pattern: &str) -> bool {
    pattern.strip_prefix("*.").unwrap_or(pattern).contains('*')
}

fn widened(group: &Group<'_>, from: &str, to: &str, why: &str) -> String {
    format!("{}: `{from}` is written as `{to}`, which is wider: {why}", group.rules[0].0)
}

fn skipped(group: &Group<'_>, what: &str, why: &str) -> String {
    format!("{}: {what} not written: {why}", group.rules[0].0)
}
