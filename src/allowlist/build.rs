//! What all formats' readers share: texts to destinations, and the list that they fill.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    entry::{Action, Allowlist, Apps, Entry, RuleTerms, To, Transports},
    error::ParseError,
    glob::{Glob, Star},
    intervals::{Nets, Ports, number},
    tree::{Node, Value},
};
use crate::catalog::{NamePattern, ServiceTags};

/// What is needed beside the files to read them.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// The publisher's service tags.
    pub service_tags: Option<&'a ServiceTags>,
    /// What FQDN tags stand for.
    pub fqdn_tags: Option<&'a FqdnTags>,
}

/// Names that FQDN tags stand for, by tag in lower case.
#[derive(Clone, Debug, Default)]
pub struct FqdnTags(pub(super) BTreeMap<String, Vec<String>>);

impl FqdnTags {
    /// Reads a mapping from tag to list of names, JSON (starts with `{`) or TOML.
    ///
    /// # Errors
    ///
    /// When it is neither, or maps to something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        type Raw = BTreeMap<String, Vec<String>>;
        let raw: Raw = match text.trim_start().starts_with('{') {
            true => serde_json::from_str(text).map_err(|e| e.to_string())?,
            false => toml::from_str(text).map_err(|e| e.to_string())?,
        };
        Ok(Self(raw.into_iter().map(|(tag, names)| (tag.to_ascii_lowercase(), names)).collect()))
    }
}

/// When a rule is tried, lower first: stage, priority of the group, priority in it, and order.
pub(super) type Rank = [i64; 4];

/// What one file gave: entries with their ranks, and notes.
pub(super) type Filled = (Vec<(Rank, Entry)>, Vec<String>);

/// A text and its place, or why it can't be known.
pub(super) type Word<'n> = (&'n Node, Result<&'n str, String>);

/// Fills an allowlist from one file.
pub(super) struct Builder<'c> {
    pub(super) context: Context<'c>,
    pub(super) file: Arc<str>,
    entries: Vec<(Rank, Entry)>,
    pub(super) notes: Vec<String>,
}

impl<'c> Builder<'c> {
    pub(super) fn new(file: &str, context: Context<'c>) -> Self {
        Self { context, file: file.into(), entries: Vec::new(), notes: Vec::new() }
    }

    /// Terms of a rule that allows or denies everything of its destinations.
    pub(super) fn terms(&self, collection: &str, name: &str) -> RuleTerms {
        RuleTerms {
            file: Arc::clone(&self.file),
            name: name.to_owned(),
            collection: collection.to_owned(),
            transports: Transports::BOTH,
            apps: Apps::ANY,
            ports: Ports::all(),
            clients: None,
        }
    }

    pub(super) fn add(
        &mut self,
        rank: Rank,
        action: Action,
        rule: &Arc<RuleTerms>,
        to: To,
        text: &str,
        line: usize,
    ) {
        self.add_except(rank, action, rule, to, Vec::new(), (text, line));
    }

    pub(super) fn add_except(
        &mut self,
        rank: Rank,
        action: Action,
        rule: &Arc<RuleTerms>,
        to: To,
        except: Vec<Glob>,
        (text, line): (&str, usize),
    ) {
        let rule = Arc::clone(rule);
        self.entries.push((rank, Entry { action, to, except, text: text.to_owned(), line, rule }));
    }

    /// Says once what can't be compared.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn error(&self, line: usize, field: &str, message: impl Into<String>) -> ParseError {
        ParseError::new(&self.file, line, field, message)
    }

    pub(super) fn finish(self) -> Filled {
        (self.entries, self.notes)
    }

    /// A name with the product's stars.
    pub(super) fn name(
        &self,
        text: &str,
        star: Star,
        (line, field): (usize, &str),
    ) -> Result<Glob, ParseError> {
        glob(text, star).map_err(|message| self.error(line, field, message))
    }

    /// An address, a prefix or a range, `None` when it is none of these.
    pub(super) fn nets(text: &str) -> Option<Nets> {
        let text = text.trim();
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Some(Nets::of([IpNet::from(addr)]));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Some(Nets::of([net]));
        }
        let (first, last) = text.split_once('-')?;
        let (first, last): (IpAddr, IpAddr) =
            (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first.is_ipv4() == last.is_ipv4() && first <= last)
            .then(|| Nets::new([(number(first), number(last))]))
    }

    /// A network destination as Azure writes it: `*`, addresses, or a service tag.
    pub(super) fn address_or_tag(&self, text: &str) -> To {
        if text == "*" || text.eq_ignore_ascii_case("any") {
            return To::Any;
        }
        if let Some(nets) = Self::nets(text) {
            return To::Nets(nets);
        }
        match self.context.service_tags {
            Some(tags) => match tags.prefixes(text) {
                Some(nets) => To::Nets(Nets::of(nets.iter().copied())),
                None => {
                    let near = tags.suggest(text).map(|near| format!("; there is `{near}`"));
                    let near = near.unwrap_or_default();
                    To::Unevaluated(format!("no service tag `{text}` in the file{near}"), None)
                }
            },
            None => To::Unevaluated(
                format!("service tag `{text}`: give its prefixes with --service-tags"),
                None,
            ),
        }
    }

    /// Ports from texts such as `443`, `8000-8001`, `*`.
    pub(super) fn ports(&self, nodes: &[Node], field: &str) -> Result<Ports, ParseError> {
        let mut all = Ports::empty();
        for node in nodes {
            let text = node.text().ok_or_else(|| {
                self.error(node.line, field, format!("a port is needed, not {}", node.shown()))
            })?;
            let ports = ports(text).ok_or_else(|| {
                self.error(
                    node.line,
                    field,
                    format!("`{text}` is no port: write 443, 8000-8001 or *"),
                )
            })?;
            all = all.union(&ports);
        }
        Ok(all)
    }

    /// A list of texts. What is an expression gives an error text in its place.
    pub(super) fn texts<'n>(
        &self,
        nodes: &'n [Node],
        field: &str,
    ) -> Result<Vec<Word<'n>>, ParseError> {
        nodes
            .iter()
            .map(|node| match &node.value {
                Value::Text(text) if text.starts_with('[') && !text.starts_with("[[") => {
                    Ok((node, Err(format!("ARM expression `{text}`"))))
                }
                Value::Text(text) => Ok((node, Ok(text.trim()))),
                Value::Expression(text) => Ok((node, Err(format!("expression `{text}`")))),
                _ => Err(self.error(
                    node.line,
                    field,
                    format!("a text is needed, not {}", node.shown()),
                )),
            })
            .collect()
    }
}

/// Puts files together: one order over all of them.
pub(super) fn assemble(files: Vec<Filled>) -> Allowlist {
    let (mut ranked, mut notes) = (Vec::new(), Vec::new());
    for (entries, said) in files {
        ranked.extend(entries);
        notes.extend(said);
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    Allowlist { entries: ranked.into_iter().map(|(_, entry)| entry).collect(), notes }
}

/// `443`, `8000-8001`, `8000:8001`, `*`, several with commas.
pub(super) fn ports(text: &str) -> Option<Ports> {
    let text = text.trim();
    if text == "*" || text.eq_ignore_ascii_case("any") {
        return Some(Ports::all());
    }
    let range = |part: &str| {
        let (first, last) = part.split_once(['-', ':']).unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // Port 0 can't be used, but ranges from 0 are written.
        (first <= last && last > 0).then_some((first.max(1), last))
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.map(Ports::new)
}

/// Checks a name with stars, and gives it in lower case.
pub(super) fn checked(text: &str) -> Result<String, String> {
    let text = text.trim();
    let single = text.replace("**", "*");
    NamePattern::parse(single.trim_start_matches('.')).map_err(|error| error.to_string())?;
    if text.contains(['{', '}']) {
        return Err(format!("`{}` has braces, which no host name has", text.escape_debug()));
    }
    let text = text.to_ascii_lowercase();
    Ok(text.strip_suffix('.').map_or(text.clone(), ToOwned::to_owned))
}

/// A name with the product's stars.
pub(super) fn glob(text: &str, star: Star) -> Result<Glob, String> {
    let text = checked(text)?;
    match &*text {
        "*" => Ok(Glob::any()),
        _ if text.starts_with('.') => Err(format!("`{text}` starts with a dot: write `*{text}`")),
        _ => Ok(Glob::with_stars(&text, star)),
    }
}

/// A name and all below it.
pub(super) fn at_or_below(zone: &str) -> Vec<Glob> {
    vec![Glob::exact(zone), Glob::ending(&format!(".{zone}"))]
}

/// `*.x` any depth below x, `.x` x and below, other stars within their label: plain lists.
pub(super) fn plain_globs(text: &str) -> Result<Vec<Glob>, String> {
    let pattern = NamePattern::parse(text.trim()).map_err(|error| error.to_string())?;
    Ok(Glob::of_pattern(&pattern))
}
