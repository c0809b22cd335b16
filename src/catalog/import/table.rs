//! From tables to rules.

use std::collections::{HashMap, HashSet};

use super::{
    super::{App, Cloud, Condition, Destination, Feature, Level, PortRange, Scope, Transport},
    cells,
    clouds::{cloud_of, clouds_in, without_clouds},
    columns::Columns,
    conditions,
    draft::{Draft, Requirement},
    endpoint::{Endpoint, Named, named},
    markdown::{Heading, Page, Row, Table},
    ports::{Service, services},
    prose, shortened,
};

/// The tables of a page, read with what the page as a whole says.
pub(super) struct Tables<'p, 't> {
    page: &'p Page<'t>,
    /// True when some heading or cell tells clouds apart.
    tells_clouds: bool,
    /// How many headings end in each path.
    paths: HashMap<Vec<&'p str>, usize>,
    /// What headings that name a cloud say besides, by the heading above them.
    of_clouds: HashSet<(Option<usize>, Vec<String>)>,
}

/// What a row inherits.
struct Place<'p> {
    section: String,
    service: String,
    /// The headings, from the outer to the inner one, without the page's own: what that is about
    /// needs no condition.
    path: Vec<&'p str>,
    /// The clouds that the section is about, where that is known.
    cloud: Option<Vec<Cloud>>,
}

impl<'p, 't> Tables<'p, 't> {
    pub(super) fn new(page: &'p Page<'t>) -> Self {
        let mut paths: HashMap<Vec<&str>, usize> = HashMap::new();
        for heading in 0..page.headings.len() {
            let path = page.path(heading);
            for from in 0..path.len() {
                *paths.entry(path[from..].to_vec()).or_default() += 1;
            }
        }
        let cells = page.tables.iter().flat_map(|table| &table.rows).flat_map(|row| &row.cells);
        let other = |text: &str| clouds_in(text).iter().any(|&cloud| cloud != Cloud::Public);
        let tells_clouds =
            page.headings.iter().any(|heading| other(&heading.title)) || cells.copied().any(other);
        let of_cloud = page.headings.iter().filter(|heading| !clouds_in(&heading.title).is_empty());
        let of_clouds = of_cloud.map(|h| (h.parent, without_clouds(&h.title))).collect();
        Self { page, tells_clouds, paths, of_clouds }
    }

    pub(super) fn read(&self, draft: &mut Draft) {
        for table in &self.page.tables {
            let columns = Columns::read(&table.columns);
            if columns.lists_destinations() {
                let place = self.place(table);
                table.rows.iter().for_each(|row| self.row(row, &columns, &place, draft));
            } else if columns.lists_internal_ports() {
                let place = self.place(table);
                if let Some(first) = table.rows.first() {
                    let why = "the table names no servers: taken as `*`, any host of the site";
                    draft.report(first.line.number, first.line.text, why);
                }
                table.rows.iter().for_each(|row| internal_row(row, &columns, &place, draft));
            } else {
                for row in &table.rows {
                    prose::report_line(
                        row.line,
                        "in a table without a column of destinations",
                        draft,
                    );
                }
            }
        }
        for line in &self.page.html_tables {
            draft.report(line.number, line.text, "an HTML table: write it as a Markdown table");
        }
    }

    fn place(&self, table: &Table<'_>) -> Place<'p> {
        let path = table.heading.map(|heading| self.page.path(heading)).unwrap_or_default();
        let shortest =
            (0..path.len()).rev().find(|&from| self.paths.get(&path[from..]) == Some(&1));
        let section = path[shortest.unwrap_or(0)..].join(" > ");
        Place {
            section: shortened(if section.is_empty() { &self.page.title } else { &section }, 300),
            service: path
                .iter()
                .rev()
                .map(|title| topic(title))
                .find(|t| !t.is_empty())
                .unwrap_or_default(),
            cloud: table.heading.and_then(|heading| self.clouds_of_section(heading)),
            path: match self.page.headings.first() {
                Some(first) if first.level == 1 && path.first() == Some(&first.title.as_str()) => {
                    path[1..].to_vec()
                }
                _ => path,
            },
        }
    }

    /// The clouds that the headings name. A section with the same beside or below it for another
    /// cloud is about the public one.
    fn clouds_of_section(&self, heading: usize) -> Option<Vec<Cloud>> {
        let path = self.page.path(heading);
        let named =
            path.iter().rev().map(|title| clouds_in(title)).find(|clouds| !clouds.is_empty());
        let Heading { parent, title, .. } = &self.page.headings[heading];
        let tail = without_clouds(title);
        let twin = || {
            [*parent, Some(heading)]
                .into_iter()
                .any(|parent| self.of_clouds.contains(&(parent, tail.clone())))
        };
        named.or_else(|| twin().then(|| vec![Cloud::Public]))
    }

    fn row(&self, row: &Row<'_>, columns: &Columns, place: &Place<'_>, draft: &mut Draft) {
        let cell =
            |at: Option<usize>| at.and_then(|at| row.cells.get(at)).copied().unwrap_or_default();
        let (line, text) = (row.line.number, row.line.text);
        if row.cells.iter().all(|cell| cell.is_empty()) {
            return;
        }
        if cells::plain(cell(columns.direction)).text.to_lowercase().contains("inbound") {
            return draft.report(line, text, "inbound, so no rule was made");
        }
        let mut found = named(cell(columns.destination), false);
        found.add(named(cell(columns.tag), true));
        for (text, why) in &found.odd {
            draft.report(line, text, why.as_str());
        }
        if found.endpoints.is_empty() {
            return draft.report(line, text, "no destination found in this row");
        }
        let (services, odd) = services(cell(columns.port), cell(columns.protocol));
        for word in odd {
            draft.report(line, &word, "neither port nor protocol: left out");
        }
        if columns.port.is_some() && services.is_empty() {
            let own = found.endpoints.iter().all(|endpoint| endpoint.port.is_some());
            let why = "no port in this row: the rule takes any";
            if !own {
                draft.report(line, text, why);
            }
        }
        let when = match self.condition(row, columns, place, draft) {
            Ok(when) => when,
            Err(()) => {
                return draft.report(line, text, "no check mark in this row: no rule was made");
            }
        };
        let from = source(cell(columns.source), line, draft);
        let clouds_of_row = clouds_in(&cells::plain(cell(columns.cloud)).text);
        for (cloud, endpoints) in self.by_cloud(&found, &clouds_of_row, place) {
            for (how, destinations) in by_service(&endpoints, &services, line, draft) {
                draft.push(Requirement {
                    service: &place.service,
                    section: &place.section,
                    cloud: cloud.clone(),
                    level: level(cell(columns.needed), place),
                    when: when.clone(),
                    scope: Scope::Egress,
                    from: from.clone(),
                    destinations,
                    alternatives: found.alternatives,
                    transport: how.transport,
                    ports: how.ports,
                    app: how.app,
                    purpose: purpose(row, columns, place),
                });
            }
        }
    }

    /// The condition of headings and check marks; an error when no column is checked.
    fn condition(
        &self,
        row: &Row<'_>,
        columns: &Columns,
        place: &Place<'_>,
        draft: &mut Draft,
    ) -> Result<Option<Condition>, ()> {
        let mut on = Vec::new();
        for &(at, feature) in &columns.features {
            let text = cells::plain(row.cells.get(at).copied().unwrap_or_default()).text;
            let checked = conditions::checked(&text);
            if checked.is_none() {
                let why = format!("neither yes nor no in column `{feature}`: taken as yes");
                draft.report(row.line.number, &text, why);
            }
            if checked.unwrap_or(true) {
                on.push(feature);
            }
        }
        if on.is_empty() && !columns.features.is_empty() {
            return Err(());
        }
        Ok(conditions::both(conditions::of_headings(&place.path), conditions::any_of(&on)))
    }

    /// The endpoints of a row by the clouds that they hold in, in order.
    fn by_cloud<'e>(
        &self,
        found: &'e Named,
        row: &[Cloud],
        place: &Place<'_>,
    ) -> Vec<(Vec<Cloud>, Vec<&'e Endpoint>)> {
        let tells = found.endpoints.iter().any(|endpoint| !endpoint.cloud.is_empty());
        let mut groups: Vec<(Vec<Cloud>, Vec<&Endpoint>)> = Vec::new();
        for endpoint in &found.endpoints {
            let cloud = if !endpoint.cloud.is_empty() {
                endpoint.cloud.clone()
            } else {
                self.cloud(endpoint, tells, row, place)
            };
            match groups.iter_mut().find(|(clouds, _)| *clouds == cloud) {
                Some((_, endpoints)) => endpoints.push(endpoint),
                None => groups.push((cloud, vec![endpoint])),
            }
        }
        groups
    }

    fn cloud(
        &self,
        endpoint: &Endpoint,
        tells: bool,
        row: &[Cloud],
        place: &Place<'_>,
    ) -> Vec<Cloud> {
        let own = match &endpoint.destination {
            Destination::Fqdn(name) => cloud_of(name),
            _ => None,
        };
        if !row.is_empty() {
            row.to_vec()
        } else if let Some(cloud) = &place.cloud {
            cloud.clone()
        } else if tells || !self.tells_clouds {
            // Beside a name for another cloud, the one without a remark is the public one's.
            vec![own.unwrap_or(Cloud::Public)]
        } else {
            own.map_or_else(|| Cloud::ALL.to_vec(), |cloud| vec![cloud])
        }
    }
}

impl Named {
    fn add(&mut self, other: Named) {
        self.endpoints.extend(other.endpoints);
        self.odd.extend(other.odd);
        self.alternatives |= other.alternatives;
    }
}

/// How a rule's destinations are reached.
struct How {
    transport: Transport,
    app: App,
    ports: Vec<PortRange>,
}

/// A row's destinations by how they are reached. A port after a name goes before the row's.
fn by_service(
    endpoints: &[&Endpoint],
    services: &[Service],
    line: usize,
    draft: &mut Draft,
) -> Vec<(How, Vec<Destination>)> {
    let mut rules: Vec<(How, Vec<Destination>)> = Vec::new();
    let mut by_port: Vec<(Vec<Service>, Vec<Destination>)> = Vec::new();
    for endpoint in endpoints {
        let own = own_services(endpoint, services, line, draft);
        match by_port.iter_mut().find(|(services, _)| *services == own) {
            Some((_, destinations)) => destinations.push(endpoint.destination.clone()),
            None => by_port.push((own, vec![endpoint.destination.clone()])),
        }
    }
    for (services, destinations) in by_port {
        let first = rules.len();
        for service in services {
            let same = |(how, _): &&mut (How, _)| {
                how.transport == service.transport && how.app == service.app
            };
            match rules[first..].iter_mut().find(same) {
                Some((how, _)) => how.ports.extend(service.port),
                None => {
                    let Service { transport, app, port } = service;
                    let how = How { transport, app, ports: port.into_iter().collect() };
                    rules.push((how, destinations.clone()));
                }
            }
        }
    }
    rules
}

fn own_services(
    endpoint: &Endpoint,
    row: &[Service],
    line: usize,
    draft: &mut Draft,
) -> Vec<Service> {
    let any = || vec![Service::new(Transport::Tcp, None, None)];
    let Some(port) = endpoint.port else {
        return if row.is_empty() { any() } else { row.to_vec() };
    };
    let same: Vec<_> = row.iter().filter(|s| s.port == Some(port)).copied().collect();
    if !same.is_empty() {
        // `https://x` in a row for 80 and 443 means both.
        return row.to_vec();
    }
    if let Some(first) = row.first() {
        let text = format!("{} and {port}", endpoint.destination);
        draft.report(line, &text, "the port beside the name isn't one of the row's: both taken");
        let mut both = row.to_vec();
        both.push(Service::new(first.transport, None, Some(port)));
        return both;
    }
    vec![Service::new(Transport::Tcp, None, Some(port))]
}

fn level(needed: &str, place: &Place<'_>) -> Level {
    match conditions::checked(&cells::plain(needed).text) {
        Some(false) if !needed.is_empty() => Level::Recommended,
        _ => conditions::level_of_headings(&place.path),
    }
}

/// The first sentence that says what it is for.
fn purpose(row: &Row<'_>, columns: &Columns, place: &Place<'_>) -> String {
    let text = |at: usize| {
        let plain = cells::plain(row.cells.get(at).copied().unwrap_or_default()).text;
        Some(shortened(first_sentence(&plain), 200)).filter(|text| !text.is_empty())
    };
    let mut purpose = columns.purpose.iter().find_map(|&at| text(at));
    if let Some(service) = columns.service.and_then(text) {
        purpose =
            Some(purpose.map_or_else(|| service.clone(), |use_| format!("{service}: {use_}")));
    }
    let mut purpose = purpose.unwrap_or_else(|| place.section.clone());
    if let Some(operations) = columns.operations.and_then(text) {
        purpose.push_str(&format!(" ({operations})"));
    }
    purpose
}

fn first_sentence(text: &str) -> &str {
    let end = text.match_indices(". ").map(|(at, _)| at).find(|&at| {
        let before = &text[..at];
        !(before.ends_with("e.g") || before.ends_with("i.e") || before.ends_with("etc"))
    });
    end.map_or(text, |end| &text[..=end])
}

/// What a heading is about, without the words that all such headings have.
fn topic(title: &str) -> String {
    let words = without_clouds(title);
    let words: Vec<_> = words.iter().filter(|word| !COMMON.contains(&word.as_str())).collect();
    words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join("-")
}

const COMMON: [&str; 24] = [
    "required",
    "requirements",
    "optional",
    "recommended",
    "outbound",
    "network",
    "fqdn",
    "fqdns",
    "application",
    "rules",
    "rule",
    "and",
    "or",
    "of",
    "to",
    "a",
    "url",
    "urls",
    "endpoints",
    "endpoint",
    "firewall",
    "meet",
    "enabled",
    "based",
];

/// The role that a cell in the column of clients names.
fn source(cell: &str, line: usize, draft: &mut Draft) -> Option<String> {
    let text = cells::plain(cell).text;
    if text.trim().is_empty() {
        return None;
    }
    let found = role(&text);
    if found.is_none() {
        draft.report(line, &text, "no known role: the rule takes any client");
    }
    found.map(str::to_owned)
}

/// Roles of hosts by the words that name them.
fn role(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let known = [
        ("resource bridge", "resource-bridge"),
        ("cluster resource", "cluster-resource"),
        ("hyper-v host", "physical-host"),
        ("physical host", "physical-host"),
        ("cluster vm", "cluster-vm"),
    ];
    known.iter().find(|(words, _)| lower.contains(words)).map(|(_, role)| *role)
}

/// A port between hosts of the site; and the one that a note asks for when networks are separate.
fn internal_row(row: &Row<'_>, columns: &Columns, place: &Place<'_>, draft: &mut Draft) {
    let cell = |at: Option<usize>| at.and_then(|at| row.cells.get(at)).copied().unwrap_or_default();
    let (line, text) = (row.line.number, row.line.text);
    let (services, odd) = services(cell(columns.port), cell(columns.protocol));
    if services.is_empty() || !odd.is_empty() {
        return draft.report(line, text, "no port found in this row");
    }
    let from = source(cell(columns.source), line, draft);
    let mut push = |when: Option<Condition>, from: Option<String>, to: Destination| {
        for service in &services {
            draft.push(Requirement {
                service: &place.service,
                section: &place.section,
                cloud: place.cloud.clone().unwrap_or_else(|| vec![Cloud::Public]),
                level: conditions::level_of_headings(&place.path),
                when: when.clone(),
                scope: Scope::Internal,
                from: from.clone(),
                destinations: vec![to.clone()],
                alternatives: false,
                transport: service.transport,
                ports: service.port.into_iter().collect(),
                app: service.app,
                purpose: purpose(row, columns, place),
            });
        }
    };
    push(None, from, Destination::Any);
    let separate = Condition::Feature(Feature::SeparateVlans);
    for (from, to) in row.cells.iter().filter_map(|cell| across_vlans(cell)) {
        push(Some(separate.clone()), Some(from.into()), Destination::Role(to.into()));
    }
}

/// "If you use separate VLANs, A needs to access B on this port": client and server.
fn across_vlans(note: &str) -> Option<(&'static str, &'static str)> {
    let lower = note.to_lowercase();
    let (_, rest) = lower.split_once("separate vlan")?;
    let (client, server) = rest.split_once(" access ")?;
    Some((role(client)?, role(server)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_give_short_services() {
        assert_eq!(topic("Azure Global required network rules"), "");
        assert_eq!(
            topic("GPU enabled AKS clusters required FQDN / application rules"),
            "gpu-aks-clusters"
        );
        assert_eq!(topic("Azure Monitor for containers"), "monitor-containers");
    }

    #[test]
    fn purposes_are_one_sentence() {
        assert_eq!(
            first_sentence("Needed, e.g. for images. Not always."),
            "Needed, e.g. for images."
        );
        assert_eq!(first_sentence("Needed"), "Needed");
    }
}
