//! A catalog in the making.

use std::collections::HashMap;

use super::{
    super::{
        App, Catalog, Cloud, Condition, Destination, Level, PortRange, Rule, Scope, Source,
        Transport,
    },
    Imported, NotUnderstood, shortened, slug,
};

/// Longest part of an id, in characters.
const MAX_PART: usize = 60;

pub(super) struct Draft {
    catalog: Catalog,
    /// Ids in use, with the number that the next one of that name gets.
    ids: HashMap<String, usize>,
    not_understood: Vec<NotUnderstood>,
}

/// A rule without what follows from the catalog.
pub(super) struct Requirement<'a> {
    pub(super) service: &'a str,
    pub(super) section: &'a str,
    pub(super) cloud: Vec<Cloud>,
    pub(super) level: Level,
    pub(super) when: Option<Condition>,
    pub(super) scope: Scope,
    pub(super) from: Option<String>,
    pub(super) destinations: Vec<Destination>,
    pub(super) alternatives: bool,
    pub(super) transport: Transport,
    pub(super) ports: Vec<PortRange>,
    pub(super) app: App,
    pub(super) purpose: String,
}

impl Draft {
    pub(super) fn new(name: &str, document: &str, title: &str) -> Self {
        let name = Some(slug(name)).filter(|slug| !slug.is_empty());
        let name = name.unwrap_or_else(|| "imported".into());
        let title = Some(shortened(title, 120)).filter(|title| !title.is_empty());
        let catalog = Catalog {
            title: title.unwrap_or_else(|| name.clone()),
            document: document.to_owned(),
            url: None,
            related: Vec::new(),
            rules: Vec::new(),
            name,
        };
        Self { catalog, ids: HashMap::new(), not_understood: Vec::new() }
    }

    pub(super) fn report(&mut self, line: usize, text: &str, why: impl Into<String>) {
        let (text, why) = (shortened(text, 160), why.into());
        self.not_understood.push(NotUnderstood { line, text, why });
    }

    pub(super) fn push(&mut self, requirement: Requirement<'_>) {
        let service = Some(part(requirement.service)).filter(|service| !service.is_empty());
        let service = service.unwrap_or_else(|| self.catalog.name.clone());
        let id = self.id(&service, &requirement);
        self.catalog.rules.push(Rule {
            id,
            catalog: self.catalog.name.clone(),
            service,
            cloud: requirement.cloud,
            level: requirement.level,
            when: requirement.when,
            option: None,
            scope: requirement.scope,
            from: requirement.from,
            alternatives: requirement.alternatives && requirement.destinations.len() > 1,
            destinations: requirement.destinations,
            transport: requirement.transport,
            ports: requirement.ports,
            app: requirement.app,
            purpose: requirement.purpose,
            source: Source {
                document: self.catalog.document.clone(),
                section: requirement.section.to_owned(),
            },
        });
    }

    pub(super) fn finish(mut self) -> Imported {
        self.not_understood.sort_by_key(|place| place.line);
        self.not_understood.dedup();
        Imported { catalog: self.catalog, not_understood: self.not_understood }
    }

    /// From cloud, service and first destination, so that it stays when rows come and go.
    fn id(&mut self, service: &str, requirement: &Requirement<'_>) -> String {
        let destination = requirement.destinations.first().and_then(Destination::text);
        let mut target = part(destination.unwrap_or_default());
        if target.is_empty() {
            target = "any".into();
        }
        let cloud = match requirement.cloud[..] {
            [cloud] if cloud != Cloud::Public => format!("/{cloud}"),
            _ => String::new(),
        };
        let plain = format!("{}{cloud}/{service}/{target}", self.catalog.name);
        let port = requirement.ports.first().map(|port| format!("-{}", port.first()));
        let longer = format!("{plain}-{}{}", requirement.transport, port.unwrap_or_default());
        let taken = self.ids.contains_key(&plain);
        self.unused(if taken || target == "any" { longer } else { plain })
    }

    /// The id itself, or the first free one with a number.
    fn unused(&mut self, id: String) -> String {
        let mut number = self.ids.get(&id).copied().unwrap_or(1);
        let mut free = id.clone();
        while self.ids.contains_key(&free) {
            number += 1;
            free = format!("{id}-{number}");
        }
        self.ids.insert(id, number);
        self.ids.entry(free.clone()).or_insert(1);
        free
    }
}

fn part(text: &str) -> String {
    let slug = slug(text);
    slug[..slug.len().min(MAX_PART)].trim_end_matches('-').to_owned()
}
