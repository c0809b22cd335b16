//! What a site needs, as questions to an allowlist.

use super::{
    glob::Glob,
    intervals::{Nets, Ports},
    policy::{What, Who},
};
use crate::catalog::{Network, Rule, Scope, Site, TargetKind};

/// One destination of one rule that applies and crosses the firewall.
#[derive(Clone, Debug)]
pub struct Need<'s> {
    /// The rule.
    pub rule: &'s Rule,
    /// The destination as reports show it.
    pub text: &'s str,
    /// What it stands for; the reason when something is missing to know.
    pub what: Result<What, String>,
    /// Placeholders without a value in it.
    pub unbound: Vec<String>,
    /// Ports; all when the rule states none.
    pub ports: Ports,
    /// Who needs it.
    pub from: Who,
}

impl<'s> Need<'s> {
    /// All of a site's needs, in the catalogs' order.
    pub fn of_site(site: &'s Site) -> Vec<Self> {
        let mut needs = Vec::new();
        for stated in site.rules().iter().filter(|r| r.active && r.rule.scope == Scope::Egress) {
            let rule = &stated.rule;
            let ports = if rule.ports.is_empty() { Ports::all() } else { Ports::of(&rule.ports) };
            for index in stated.targets.clone() {
                let target = site.target(index);
                let (what, unbound) = match &target.kind {
                    TargetKind::Name(pattern) => (
                        Ok(What::Names(Glob::of_pattern(pattern))),
                        pattern.parameters().map(str::to_owned).collect(),
                    ),
                    TargetKind::Prefixes(nets) => {
                        (Ok(What::Nets(Nets::of(nets.iter().copied()))), Vec::new())
                    }
                    TargetKind::Any => (Ok(What::Any), Vec::new()),
                    TargetKind::Unresolved(why) => (Err(why.clone()), Vec::new()),
                };
                let (ports, from) = (ports.clone(), clients(site, rule));
                needs.push(Self { rule, text: &target.text, what, unbound, ports, from });
            }
        }
        needs
    }
}

/// The rule's role when the profile binds it, else the site's own networks when it names them.
fn clients(site: &Site, rule: &Rule) -> Who {
    let profile = site.profile();
    let role = rule.from.as_ref().and_then(|role| profile.roles.get(role));
    let local = Some(&profile.network.local).filter(|local| **local != Network::default().local);
    match role.or(local) {
        Some(nets) => Who::All(Nets::of(nets.iter().copied())),
        None => Who::Some,
    }
}
