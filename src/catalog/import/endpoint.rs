//! From the plain text of a cell to destinations.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    super::{Cloud, Destination, NamePattern, PortRange},
    cells::{self, UNKNOWN},
    clouds::clouds_in,
    ports::scheme_port,
    shortened,
};

/// What a cell names.
#[derive(Default)]
pub(super) struct Named {
    pub(super) endpoints: Vec<Endpoint>,
    /// True when they are joined by "or".
    pub(super) alternatives: bool,
    /// Texts that look like destinations and aren't, and why; placeholders that are no parameters.
    pub(super) odd: Vec<(String, String)>,
    /// True when there was more than is read of one cell.
    cut: bool,
}

/// One destination with what its text says beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) destination: Destination,
    /// The port after its name, or that of its scheme.
    pub(super) port: Option<PortRange>,
    /// The clouds that the text beside it names.
    pub(super) cloud: Vec<Cloud>,
}

/// Most destinations and odd words of one cell.
const MAX_WORDS: usize = 1000;

/// Reads a cell. `tags` is true in a column of service tags.
pub(super) fn named(cell: &str, tags: bool) -> Named {
    let plain = cells::plain(cell);
    let mut named = Named::default();
    for written in plain.unknown.into_iter().take(MAX_WORDS) {
        let written = shortened(&written, 60);
        named.odd.push((
            format!("<{written}>"),
            "placeholder that is no parameter: taken as `*`, which in front stands for any depth"
                .into(),
        ));
    }
    for line in plain.text.lines() {
        let first = named.endpoints.len();
        let said = named.line(line, tags);
        let clouds = clouds_in(&said);
        for endpoint in &mut named.endpoints[first..] {
            if endpoint.cloud.is_empty() {
                endpoint.cloud.clone_from(&clouds);
            }
        }
    }
    if named.cut {
        let why = format!("more than {MAX_WORDS} destinations in a cell: the others are left out");
        named.odd.push((shortened(cell, 80), why));
    }
    let mut seen = HashSet::new();
    named.endpoints.retain(|e| seen.insert((e.destination.clone(), e.port, e.cloud.clone())));
    named
}

/// The destination that one word names, if any.
pub(super) fn endpoint(word: &str) -> Option<Endpoint> {
    match read(word, false) {
        Word::Endpoint(endpoint) => Some(endpoint),
        Word::Plain | Word::Odd(_) => None,
    }
}

impl Named {
    /// Reads one line and gives its words that are no destinations.
    fn line(&mut self, line: &str, tags: bool) -> String {
        let mut said = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('(') {
            self.words(before, tags, &mut said);
            let (inner, tail) = after.split_once(')').unwrap_or((after, ""));
            let count = self.endpoints.len();
            let mut note = String::new();
            self.words(inner, false, &mut note);
            if self.endpoints.len() == count
                && let Some(last) = self.endpoints.last_mut()
            {
                last.cloud.extend(clouds_in(inner));
                last.cloud.dedup();
            }
            rest = tail;
        }
        self.words(rest, tags, &mut said);
        said
    }

    fn words(&mut self, text: &str, mut tags: bool, said: &mut String) {
        for word in text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';')) {
            match read(word, tags) {
                Word::Endpoint(_) | Word::Odd(_)
                    if self.endpoints.len() + self.odd.len() >= MAX_WORDS =>
                {
                    self.cut = true;
                }
                Word::Endpoint(endpoint) => self.endpoints.push(endpoint),
                Word::Odd(why) => self.odd.push((shortened(word, 80), why)),
                Word::Plain => {
                    let letters: String =
                        word.chars().filter(char::is_ascii_alphanumeric).collect();
                    match &*letters.to_ascii_lowercase() {
                        "or" => self.alternatives = true,
                        "tag" | "tags" | "servicetag" | "servicetags" => tags = true,
                        _ => {}
                    }
                    said.push_str(word);
                    said.push(' ');
                }
            }
        }
    }
}

enum Word {
    Endpoint(Endpoint),
    /// Looks like a destination, but can't be one.
    Odd(String),
    Plain,
}

fn read(word: &str, tags: bool) -> Word {
    let word = bare(word);
    if let Some(cidr) = address(word) {
        return found(Destination::Cidr(cidr), None);
    }
    let (scheme, rest) = match word.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, word),
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = split_port(host);
    let port = port.or_else(|| scheme.and_then(scheme_port));
    let host = host.trim_end_matches('.');
    if host == "*" {
        return found(Destination::Any, port);
    }
    if let Some(destination) = well_known(host).or_else(|| service_tag(host, tags)) {
        return found(destination, port);
    }
    if let Some(cidr) = address(host) {
        return found(Destination::Cidr(cidr), port);
    }
    match name(host) {
        Ok(name) => found(Destination::Fqdn(name), port),
        Err(_) if !looks_like_name(host) && scheme.is_none() => Word::Plain,
        Err(why) => Word::Odd(why),
    }
}

fn found(destination: Destination, port: Option<PortRange>) -> Word {
    if destination.check().is_err() {
        return Word::Odd("not a destination that a rule can have".into());
    }
    Word::Endpoint(Endpoint { destination, port, cloud: Vec::new() })
}

/// Without the quotes and punctuation around it.
fn bare(word: &str) -> &str {
    let around = |c: char| {
        matches!(
            c,
            '"' | '\''
                | ':'
                | '“'
                | '”'
                | '„'
                | '‘'
                | '’'
                | '«'
                | '»'
                | '•'
                | '–'
                | '—'
                | '!'
        )
    };
    let word = word.trim_matches(around).trim_end_matches(['.', '?']);
    match word.strip_prefix('_').and_then(|w| w.strip_suffix('_')) {
        Some(emphasised) => emphasised,
        None => word,
    }
}

fn address(text: &str) -> Option<String> {
    let address = text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|a| a.to_string());
    address.or_else(|| text.parse::<IpNet>().ok().map(|net| net.trunc().to_string()))
}

fn split_port(host: &str) -> (&str, Option<PortRange>) {
    match host.split_once(':') {
        Some((host, port)) => (host, PortRange::parse(port)),
        None => (host, None),
    }
}

/// The words by which the publisher names addresses that only the site knows.
fn well_known(host: &str) -> Option<Destination> {
    let param = match &*host.to_ascii_lowercase() {
        "regioncidrs" | "regionalcidrs" => "{region-cidrs}",
        "apiserverpublicip" | "apiserverip" => "{api-server}",
        "customdnsip" | "customdnsips" => "{custom-dns}",
        "{region-cidrs}" => "{region-cidrs}",
        "{api-server}" => "{api-server}",
        "{custom-dns}" => "{custom-dns}",
        _ => return None,
    };
    Some(Destination::Cidr(param.into()))
}

/// `Storage.{region}` anywhere; `Storage` only where service tags are spoken of.
fn service_tag(host: &str, tags: bool) -> Option<Destination> {
    let (tag, scope) = match host.split_once('.') {
        Some((tag, scope)) => (tag, Some(scope)),
        None => (host, None),
    };
    let is_tag = tag.starts_with(|c: char| c.is_ascii_uppercase())
        && tag.len() > 1
        && tag.bytes().all(|b| b.is_ascii_alphanumeric())
        && !matches!(
            tag,
            "ServiceTag" | "ServiceTags" | "Service" | "Tag" | "Tags" | "Or" | "Regional"
        );
    let region = |scope: &str| scope == "{region}" || scope.eq_ignore_ascii_case("region");
    match scope {
        _ if !is_tag => None,
        Some(scope) if region(scope) => Some(Destination::ServiceTag(format!("{tag}.{{region}}"))),
        Some(scope) if tags && scope.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Some(Destination::ServiceTag(format!("{tag}.{scope}")))
        }
        None if tags => Some(Destination::ServiceTag(tag.to_owned())),
        _ => None,
    }
}

/// The canonical text of a host name pattern with at least two labels.
fn name(host: &str) -> Result<String, String> {
    let mut text = host.replace(UNKNOWN, "*");
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    let pattern = NamePattern::parse(&text).map_err(|e| e.problem().to_string())?;
    let text = pattern.to_string();
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_top = |label: &str| {
        label.len() > 1 && label.bytes().all(|b| b.is_ascii_lowercase())
            || label.starts_with("xn--")
    };
    if !text.trim_start_matches(['*', '.']).contains('.') || !is_top(last) {
        return Err("not a host name".into());
    }
    Destination::Fqdn(text.clone()).check()?;
    Ok(text)
}

fn looks_like_name(host: &str) -> bool {
    let wordy = host.chars().any(char::is_alphanumeric);
    let dots = host.split('.').filter(|label| !label.is_empty()).count();
    wordy && (host.contains("*.") || host.contains(UNKNOWN) || dots > 2 && !abbreviation(host))
}

/// `e.g.`, `U.S.` and the like.
fn abbreviation(host: &str) -> bool {
    host.split('.').all(|label| label.len() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cell: &str) -> Vec<String> {
        let text = |e: &Endpoint| {
            let port = e.port.map(|p| format!(" {p}")).unwrap_or_default();
            let clouds: String = e.cloud.iter().map(|c| format!(" {c}")).collect();
            format!("{}{port}{clouds}", e.destination)
        };
        named(cell, false).endpoints.iter().map(text).collect()
    }

    #[test]
    fn reads_what_documents_write() {
        for (cell, expected) in [
            (
                "**`*:1194`** <br/> *Or* <br/> [ServiceTag](x.md) - **`AzureCloud.<Region>:1194`** <br/> *Or* \
                 <br/> [Regional CIDRs](y.md) - **`RegionCIDRs:1194`** <br/> *Or* <br/> \
                 **`APIServerPublicIP:1194`** `(only known after creation)`",
                &[
                    "* 1194",
                    "tag AzureCloud.{region} 1194",
                    "{region-cidrs} 1194",
                    "{api-server} 1194",
                ][..],
            ),
            ("[ServiceTag](x.md) - **`AzureMonitor:443`**", &["tag AzureMonitor 443"]),
            (
                "**`AzureCloud.Region:22`** **`CustomDNSIP:53`**",
                &["tag AzureCloud.{region} 22", "{custom-dns} 53"],
            ),
            (
                "**`a.example`** <br/> **`a.azure.us`** (Azure Government) <br/> **`a.azure.cn`** (operated by 21Vianet)",
                &["a.example", "a.azure.us usgov", "a.azure.cn china"],
            ),
            (
                "`https://A.example/v2/*`, http://b.example:8080 , “c.example”;d.example. ",
                &["a.example 443", "b.example 8080", "c.example", "d.example"],
            ),
            ("Azure Government: `x.example`<br>`y.example`", &["x.example usgov", "y.example"]),
            (
                "Docker hub (`registry.example`), e.g. for U.S. sites, version 1.25",
                &["registry.example"],
            ),
            (
                ".data.x.example, md-*.y.example, 10.1.2.3/8, [fd00::1]",
                &[".data.x.example", "md-*.y.example", "10.0.0.0/8", "fd00::1"],
            ),
            (
                "<vault>.v.example and a-<vault>.v.example, a.*.v.example",
                &["*.v.example", "a-*.v.example", "a.*.v.example"],
            ),
        ] {
            assert_eq!(shown(cell), expected, "{cell}");
        }
        assert!(named("a.example or b.example", false).alternatives);
        let odd = named("*.x_y$.example, ab.c.d.1", false);
        assert_eq!(odd.odd.len(), 2, "{:?}", odd.odd);
        assert_eq!(named("Storage", true).endpoints.len(), 1);
    }
}
