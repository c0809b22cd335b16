//! CSV with a heading line. The parser is named here alone.
//!
//! Columns by what people call them: a destination, and perhaps port, protocol, action, source,
//! name. Several values stand in one cell with `;` or spaces, ports also with `,`.

use std::sync::Arc;

use super::{
    build::{Builder, ports},
    entry::{Action, Apps, To, Transports},
    error::ParseError,
    intervals::{Nets, Ports},
    plain,
};

const DESTINATION: [&str; 12] = [
    "destination",
    "destinations",
    "fqdn",
    "fqdns",
    "host",
    "hostname",
    "domain",
    "url",
    "address",
    "endpoint",
    "target",
    "destination fqdn",
];
const PORT: [&str; 5] = ["port", "ports", "destination port", "destination ports", "dport"];
const PROTOCOL: [&str; 3] = ["protocol", "protocols", "transport"];
const ACTION: [&str; 3] = ["action", "access", "verdict"];
const SOURCE: [&str; 5] = ["source", "sources", "client", "source address", "from"];
const NAME: [&str; 4] = ["name", "rule", "rule name", "description"];

/// A line's place, and its cells beside the heading's.
type Visit<'v> =
    dyn FnMut(&::csv::StringRecord, usize, &::csv::StringRecord) -> Result<(), ParseError> + 'v;

/// Reads the lines of any table.
pub(super) fn records(text: &str, file: &str, visit: &mut Visit<'_>) -> Result<(), ParseError> {
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .flexible(true)
        .from_reader(text.as_bytes());
    let broken = |error: ::csv::Error| {
        let line = error.position().map_or(1, |at| at.line() as usize);
        ParseError::new(file, line, "", format!("not CSV: {error}"))
    };
    let head = reader.headers().map_err(broken)?.clone();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(1, |at| at.line() as usize);
        visit(&head, line, &record)?;
    }
    Ok(())
}

/// What the heading has most of.
fn delimiter(text: &str) -> u8 {
    let head = text.lines().next().unwrap_or_default();
    let count = |delimiter: &u8| head.bytes().filter(|b| b == delimiter).count();
    [b';', b'\t', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

pub(super) fn read(text: &str, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .flexible(true)
        .comment(Some(b'#'))
        .trim(::csv::Trim::All)
        .from_reader(text.as_bytes());
    let broken = |builder: &Builder<'_>, error: &::csv::Error| {
        let line = error.position().map_or(1, |at| at.line() as usize);
        builder.error(line, "", format!("not CSV: {error}"))
    };
    let head = reader.headers().map_err(|error| broken(builder, &error))?.clone();
    let column = |names: &[&str]| {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], " ");
        head.iter().position(|cell| names.contains(&&*plain(cell)))
    };
    let Some(destination) = column(&DESTINATION) else {
        let known = "a column called destination, fqdn, host, domain or address is needed";
        return Err(builder.error(1, "", known));
    };
    let columns =
        [column(&PORT), column(&PROTOCOL), column(&ACTION), column(&SOURCE), column(&NAME)];
    for (order, record) in (0..).zip(reader.records()) {
        let record = record.map_err(|error| broken(builder, &error))?;
        let line = record.position().map_or(1, |at| at.line() as usize);
        let cell = |column: Option<usize>| column.and_then(|at| record.get(at)).unwrap_or_default();
        let [port, protocol, action, source, name] = columns.map(cell);
        let mut terms = builder.terms("", name);
        terms.ports = cell_ports(port)
            .ok_or_else(|| builder.error(line, "port", format!("`{port}` is no port")))?;
        protocols(protocol, port, &mut terms)
            .map_err(|message| builder.error(line, "protocol", message))?;
        terms.clients =
            clients(source).map_err(|message| builder.error(line, "source", message))?;
        let action = match &*action.to_ascii_lowercase() {
            "" | "allow" | "permit" | "accept" | "yes" => Action::Allow,
            "deny" | "block" | "drop" | "reject" | "no" => Action::Deny,
            other => {
                return Err(builder.error(
                    line,
                    "action",
                    format!("`{other}` is neither allow nor deny"),
                ));
            }
        };
        let terms = Arc::new(terms);
        for text in cell(Some(destination)).split([';', ' ', '\n']).filter(|text| !text.is_empty())
        {
            let to: To =
                plain::to(text).map_err(|message| builder.error(line, "destination", message))?;
            builder.add([0, 0, 0, order], action, &terms, to, text, line);
        }
    }
    Ok(())
}

fn cell_ports(text: &str) -> Option<Ports> {
    if text.is_empty() {
        return Some(Ports::all());
    }
    text.split([';', ' ', '\n'])
        .filter(|part| !part.is_empty())
        .try_fold(Ports::empty(), |all, part| Some(all.union(&ports(part.trim_end_matches(','))?)))
}

fn protocols(text: &str, port: &str, terms: &mut super::entry::RuleTerms) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    (terms.transports, terms.apps) =
        (Transports::NONE, Apps { http: false, https: false, other: false });
    for word in text.split([';', ' ', ',', '/']).filter(|word| !word.is_empty()) {
        match &*word.to_ascii_lowercase() {
            "tcp" => (terms.transports.tcp, terms.apps) = (true, Apps::ANY),
            "udp" => (terms.transports.udp, terms.apps) = (true, Apps::ANY),
            "any" | "*" | "all" => (terms.transports, terms.apps) = (Transports::BOTH, Apps::ANY),
            "https" | "tls" | "ssl" => (terms.transports.tcp, terms.apps.https) = (true, true),
            "http" => (terms.transports.tcp, terms.apps.http) = (true, true),
            "icmp" => {}
            other => {
                return Err(format!(
                    "`{other}` is no protocol: write tcp, udp, http, https or any"
                ));
            }
        }
    }
    if port.is_empty() && !terms.apps.other {
        let apps = terms.apps;
        let default = [(apps.http, 80), (apps.https, 443)].into_iter().filter(|(on, _)| *on);
        terms.ports = Ports::new(default.map(|(_, port)| (port, port)));
    }
    Ok(())
}

fn clients(text: &str) -> Result<Option<Nets>, String> {
    if text.is_empty() || text == "*" || text.eq_ignore_ascii_case("any") {
        return Ok(None);
    }
    let mut all = Nets::empty();
    for part in text.split([';', ' ', ',', '\n']).filter(|part| !part.is_empty()) {
        all = all.union(
            &Builder::nets(part).ok_or_else(|| format!("`{part}` is no address or prefix"))?,
        );
    }
    Ok(Some(all))
}
