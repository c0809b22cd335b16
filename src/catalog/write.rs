//! A catalog as the text of a catalog file.

use std::fmt::{self, Display, Write};

use super::{
    Catalog,
    rule::{Cloud, Destination, PortRange, Rule, Scope},
};

impl Catalog {
    /// The text of a catalog file: [`Catalog::parse`] of it gives this catalog again.
    ///
    /// The same catalog always gives the same text.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = write_catalog(self, &mut out);
        out
    }
}

fn write_catalog(catalog: &Catalog, out: &mut String) -> fmt::Result {
    writeln!(out, "name = {}", quoted(&catalog.name))?;
    writeln!(out, "title = {}", quoted(&catalog.title))?;
    writeln!(out, "document = {}", quoted(&catalog.document))?;
    if let Some(url) = &catalog.url {
        writeln!(out, "url = {}", quoted(url))?;
    }
    for related in &catalog.related {
        writeln!(out, "\n[[related]]\ntitle = {}", quoted(&related.title))?;
        if let Some(catalog) = &related.catalog {
            writeln!(out, "catalog = {}", quoted(catalog))?;
        }
        if let Some(when) = &related.when {
            writeln!(out, "when = {}", quoted(&when.to_string()))?;
        }
        writeln!(out, "use = {}", quoted(&related.purpose))?;
    }
    catalog.rules.iter().try_for_each(|rule| write_rule(rule, &catalog.document, out))
}

fn write_rule(rule: &Rule, document: &str, out: &mut String) -> fmt::Result {
    writeln!(out, "\n[[rule]]\nid = {}", quoted(&rule.id))?;
    writeln!(out, "service = {}", quoted(&rule.service))?;
    writeln!(out, "cloud = {}", list(rule.cloud.iter().copied().map(Cloud::name).map(quoted)))?;
    writeln!(out, "level = {}", quoted(rule.level.name()))?;
    if let Some(when) = &rule.when {
        writeln!(out, "when = {}", quoted(&when.to_string()))?;
    }
    if let Some(option) = &rule.option {
        let (choice, name) = (quoted(&option.choice), quoted(&option.name));
        writeln!(out, "option = {{ choice = {choice}, name = {name} }}")?;
    }
    if rule.scope != Scope::Egress {
        writeln!(out, "scope = {}", quoted(rule.scope.name()))?;
    }
    if let Some(from) = &rule.from {
        writeln!(out, "from = {}", quoted(from))?;
    }
    let key = if rule.alternatives { "any_of" } else { "destinations" };
    writeln!(out, "{key} = {}", list(rule.destinations.iter().map(destination)))?;
    writeln!(out, "transport = {}", quoted(rule.transport.name()))?;
    writeln!(out, "ports = {}", list(rule.ports.iter().map(port)))?;
    writeln!(out, "app = {}", quoted(rule.app.name()))?;
    writeln!(out, "use = {}", quoted(&rule.purpose))?;
    let mut source = String::new();
    if rule.source.document != document {
        write!(source, "document = {}, ", quoted(&rule.source.document))?;
    }
    writeln!(out, "source = {{ {source}section = {} }}", quoted(&rule.source.section))
}

fn destination(destination: &Destination) -> String {
    match destination {
        Destination::Any => quoted("*"),
        Destination::Fqdn(text) => quoted(text),
        Destination::ServiceTag(text) => format!("{{ service_tag = {} }}", quoted(text)),
        Destination::Cidr(text) => format!("{{ cidr = {} }}", quoted(text)),
        Destination::Role(text) => format!("{{ role = {} }}", quoted(text)),
    }
}

fn port(port: &PortRange) -> String {
    if port.first() == port.last() { port.to_string() } else { quoted(&port.to_string()) }
}

/// On one line while it is short.
fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.map(|item| item.to_string()).collect();
    let line = items.join(", ");
    if line.len() <= 80 || items.len() < 2 {
        format!("[{line}]")
    } else {
        let lines = items.iter().map(|item| format!("    {item},\n"));
        format!("[\n{}]", lines.collect::<String>())
    }
}

/// A basic string (TOML 1.0, section "String").
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::{builtin, names};
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for name in names() {
            let catalog = builtin(name).unwrap();
            let text = catalog.to_toml();
            assert_eq!(Catalog::parse(&text, name).unwrap(), catalog);
        }
        let odd =
            Catalog { title: "a\"b\\c\u{7f}\u{85}\nd\u{0}".into(), ..builtin("aks").unwrap() };
        assert_eq!(Catalog::parse(&odd.to_toml(), "odd").unwrap(), odd);
    }
}
