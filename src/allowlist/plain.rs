//! Plain lists: a destination a line, `#` for comments.

use std::sync::Arc;

use super::{
    build::{Builder, plain_globs, ports},
    entry::{Action, To, Transports},
    error::ParseError,
    intervals::Ports,
};

/// `host`, `host:port`, `host:port/udp`, `*.host`, `.host`, an address, a prefix, `[v6]:port`, `*`.
pub(super) fn read(text: &str, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split(['#']).next().unwrap_or_default();
        let text =
            text.split(" //").next().unwrap_or_default().trim().trim_start_matches('\u{feff}');
        if text.is_empty() || text.starts_with("//") {
            continue;
        }
        destination(text, line, builder)?;
    }
    Ok(())
}

fn destination(text: &str, line: usize, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    let (place, transports) = match text.rsplit_once('/') {
        Some((place, word)) if word.eq_ignore_ascii_case("udp") => (place, Transports::UDP),
        Some((place, word)) if word.eq_ignore_ascii_case("tcp") => (place, Transports::TCP),
        _ => (text, Transports::BOTH),
    };
    let (host, port) = split_port(place);
    let port = match port {
        Some(port) => ports(port).ok_or_else(|| {
            builder.error(line, "port", format!("`{port}` is no port: write 443, 8000-8001 or *"))
        })?,
        None => Ports::all(),
    };
    let to = to(host).map_err(|message| builder.error(line, "destination", message))?;
    let mut terms = builder.terms("", "");
    (terms.ports, terms.transports) = (port, transports);
    builder.add([0, 0, 0, 0], Action::Allow, &Arc::new(terms), to, host, line);
    Ok(())
}

/// A name, an address, a prefix, a range of addresses, or `*`.
pub(super) fn to(text: &str) -> Result<To, String> {
    if text == "*" {
        return Ok(To::Any);
    }
    if let Some(nets) = Builder::nets(text.trim_matches(['[', ']'])) {
        return Ok(To::Nets(nets));
    }
    plain_globs(text).map(To::Names)
}

/// Splits `host:port`. IPv6 addresses have a port only after their brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, after)) = rest.split_once(']')
    {
        return (host, after.strip_prefix(':'));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') && !host.is_empty() => (host, Some(port)),
        _ => (text, None),
    }
}
