//! External dynamic lists, as firewalls fetch them: domains, URLs or addresses, one a line.
//!
//! `x` is that name, `*.x` any depth below, `^.x` exactly one label below. A URL's path can't be
//! compared, `x/` is the whole host.

use std::sync::Arc;

use super::{
    build::{Builder, glob},
    entry::{Action, To, Transports},
    error::ParseError,
    glob::{Glob, Star},
};

pub(super) fn read(text: &str, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    let terms = builder.terms("", "");
    let any = Arc::new(terms.clone());
    // Names and URLs are looked for in HTTP and TLS.
    let web = Arc::new(super::entry::RuleTerms { transports: Transports::TCP, ..terms });
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or_default().trim().trim_start_matches('\u{feff}');
        if text.is_empty() || text.starts_with("//") {
            continue;
        }
        if let Some(nets) = Builder::nets(text) {
            builder.add([0; 4], Action::Allow, &any, To::Nets(nets), text, line);
            continue;
        }
        let bare = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let names = names(host).map_err(|message| builder.error(line, "domain", message))?;
        let to = match path {
            "" | "*" => To::Names(names),
            _ => To::Unevaluated(format!("URL path `/{path}`"), Some(names)),
        };
        builder.add([0; 4], Action::Allow, &web, to, text, line);
    }
    Ok(())
}

fn names(host: &str) -> Result<Vec<Glob>, String> {
    match host.strip_prefix("^.") {
        Some(zone) => glob(&format!("*.{zone}"), Star::Label),
        None => match host.strip_prefix("*.") {
            Some(zone) => {
                glob(zone, Star::Label)?;
                glob(host, Star::Any)
            }
            None => glob(host, Star::Label),
        },
    }
    .map(|glob| vec![glob])
}
