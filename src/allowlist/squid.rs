//! Squid's `acl` and `http_access` lines.
//!
//! `http_access` lines are tried in order, each matches when all its ACLs do, and when none does
//! the opposite of the last one's action holds. `dstdomain x` is that name, `.x` is x and all
//! below.

use std::{collections::HashMap, sync::Arc};

use super::{
    build::{Builder, at_or_below, checked, ports},
    entry::{Action, Apps, To, Transports},
    error::ParseError,
    glob::Glob,
    intervals::{Nets, Ports},
};

/// What an ACL's values come to.
#[derive(Clone)]
enum Acl {
    Names(Vec<Glob>, Nets),
    Nets(Nets),
    Clients(Nets),
    Ports(Ports),
    /// CONNECT and others.
    Methods {
        connect: bool,
        plain: bool,
    },
    /// Squid's own pages.
    Manager,
    Unknown(String),
}

pub(super) fn read(text: &str, builder: &mut Builder<'_>) -> Result<(), ParseError> {
    let mut acls = built_in();
    let mut last = None;
    for (line, text) in lines(text) {
        let mut words = text.split_whitespace();
        match words.next() {
            Some("acl") => define(&mut acls, words, line, builder)?,
            Some("http_access") => {
                let everything = words.clone().skip(1).eq(["all"]);
                let action = access(&acls, words, line, builder)?;
                last = Some((line, if everything { Action::Allow } else { action }));
            }
            Some("include") => {
                let note = format!(
                    "{}:{line}: `{text}` isn't followed: give that file as well, in its place",
                    builder.file
                );
                builder.note(note);
            }
            _ => {}
        }
    }
    match last {
        // What nothing allows is denied anyway.
        Some((_, Action::Allow)) => Ok(()),
        Some((line, Action::Deny)) => {
            let mut terms = builder.terms("", "no http_access line matches");
            terms.transports = Transports::TCP;
            builder.add(
                [0, 0, 0, i64::MAX],
                Action::Allow,
                &Arc::new(terms),
                To::Any,
                "the rest",
                line,
            );
            Ok(())
        }
        None => Err(builder.error(1, "http_access", "there is no http_access line")),
    }
}

/// Lines without comments, continued ones joined.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = if line.trim_start().starts_with('#') {
            ""
        } else {
            line.split(" #").next().unwrap_or_default()
        };
        let continued = line.ends_with('\\');
        let line = line.trim_end_matches('\\').trim();
        match joined.last_mut() {
            Some((_, last)) if open => *last = format!("{last} {line}"),
            _ => joined.push((number, line.to_owned())),
        }
        open = continued;
    }
    joined
}

fn built_in() -> HashMap<String, Acl> {
    let nets = |list: &[&str]| Nets::of(list.iter().filter_map(|n| n.parse().ok()));
    [
        ("all", Acl::Clients(Nets::all())),
        ("localhost", Acl::Clients(nets(&["127.0.0.0/8", "::1/128"]))),
        ("to_localhost", Acl::Nets(nets(&["127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128"]))),
        ("to_linklocal", Acl::Nets(nets(&["169.254.0.0/16", "fe80::/10"]))),
        ("manager", Acl::Manager),
        ("CONNECT", Acl::Methods { connect: true, plain: false }),
    ]
    .into_iter()
    .map(|(name, acl)| (name.to_owned(), acl))
    .collect()
}

fn define<'w>(
    acls: &mut HashMap<String, Acl>,
    mut words: impl Iterator<Item = &'w str>,
    line: usize,
    builder: &Builder<'_>,
) -> Result<(), ParseError> {
    let (Some(name), Some(kind)) = (words.next(), words.next()) else {
        return Err(builder.error(line, "acl", "a name and a type are needed"));
    };
    let values: Vec<&str> = words.filter(|word| !word.starts_with('-') || kind == "port").collect();
    let more = match values.iter().any(|v| v.starts_with('"')) {
        true => {
            Acl::Unknown(format!("acl {name}, whose values are in the file {}", values.join(" ")))
        }
        false => acl(name, kind, &values)
            .map_err(|message| builder.error(line, &format!("acl {name}"), message))?,
    };
    let merged = match (acls.remove(name).filter(|_| !built_in().contains_key(name)), more) {
        (Some(Acl::Names(mut a, n)), Acl::Names(b, m)) => {
            a.extend(b);
            Acl::Names(a, n.union(&m))
        }
        (Some(Acl::Nets(a)), Acl::Nets(b)) => Acl::Nets(a.union(&b)),
        (Some(Acl::Clients(a)), Acl::Clients(b)) => Acl::Clients(a.union(&b)),
        (Some(Acl::Ports(a)), Acl::Ports(b)) => Acl::Ports(a.union(&b)),
        (Some(Acl::Methods { connect, plain }), Acl::Methods { connect: c, plain: p }) => {
            Acl::Methods { connect: connect || c, plain: plain || p }
        }
        (Some(Acl::Unknown(why)), _) => Acl::Unknown(why),
        (_, more) => more,
    };
    acls.insert(name.to_owned(), merged);
    Ok(())
}

fn acl(name: &str, kind: &str, values: &[&str]) -> Result<Acl, String> {
    Ok(match kind {
        "dstdomain" => {
            let (mut globs, mut nets) = (Vec::new(), Nets::empty());
            for value in values {
                if let Some(more) = Builder::nets(value) {
                    nets = nets.union(&more);
                    continue;
                }
                let zone = checked(value.strip_prefix('.').unwrap_or(value))?;
                if zone.contains('*') {
                    return Err(format!(
                        "`{value}`: dstdomain has no `*`; write `.x` for x and below"
                    ));
                }
                if value.starts_with('.') {
                    globs.extend(at_or_below(&zone));
                } else {
                    globs.push(Glob::exact(&zone));
                }
            }
            Acl::Names(globs, nets)
        }
        "dst" | "src" => {
            let mut nets = Nets::empty();
            for value in values {
                let more = match *value {
                    "all" => Nets::all(),
                    value => match Builder::nets(value) {
                        Some(more) => more,
                        None => {
                            return Ok(Acl::Unknown(format!(
                                "acl {name} with the value `{value}`"
                            )));
                        }
                    },
                };
                nets = nets.union(&more);
            }
            if kind == "dst" { Acl::Nets(nets) } else { Acl::Clients(nets) }
        }
        "port" => {
            let mut all = Ports::empty();
            for value in values {
                all = all.union(&ports(value).ok_or_else(|| format!("`{value}` is no port"))?);
            }
            Acl::Ports(all)
        }
        "method" => Acl::Methods {
            connect: values.contains(&"CONNECT"),
            plain: values.iter().any(|&value| value != "CONNECT"),
        },
        _ => Acl::Unknown(format!("acl {name} of type {kind}")),
    })
}

fn access<'w>(
    acls: &HashMap<String, Acl>,
    mut words: impl Iterator<Item = &'w str>,
    line: usize,
    builder: &mut Builder<'_>,
) -> Result<Action, ParseError> {
    let action = match words.next() {
        Some("allow") => Action::Allow,
        Some("deny") => Action::Deny,
        _ => return Err(builder.error(line, "http_access", "allow or deny is needed")),
    };
    let words: Vec<&str> = words.collect();
    let mut terms = builder.terms("", &format!("http_access {}", words.join(" ")));
    terms.transports = Transports::TCP;
    let mut names: Option<(Vec<Glob>, Nets)> = None;
    let mut nets: Option<Nets> = None;
    let mut except = Vec::new();
    let mut unknown = None;
    for word in &words {
        let (negated, name) = word.strip_prefix('!').map_or((false, *word), |name| (true, name));
        let Some(acl) = acls.get(name) else {
            return Err(builder.error(
                line,
                "http_access",
                format!("there is no acl `{name}` above"),
            ));
        };
        match (acl, negated) {
            (Acl::Manager, false) => return Ok(action),
            (Acl::Manager, true) => {}
            (Acl::Ports(ports), false) => terms.ports = terms.ports.intersection(ports),
            (Acl::Ports(ports), true) => terms.ports = terms.ports.minus(ports),
            (Acl::Clients(clients), negated) => {
                let all = terms.clients.take().unwrap_or_else(Nets::all);
                let left = if negated { all.minus(clients) } else { all.intersection(clients) };
                terms.clients = Some(left).filter(|left| *left != Nets::all());
            }
            (&Acl::Methods { connect, plain }, negated) => {
                let meant = Apps {
                    http: plain != negated,
                    https: connect != negated,
                    other: connect != negated,
                };
                let apps = terms.apps;
                terms.apps = Apps {
                    http: apps.http && meant.http,
                    https: apps.https && meant.https,
                    other: apps.other && meant.other,
                };
            }
            (Acl::Names(globs, addresses), false) => match &names {
                None => names = Some((globs.clone(), addresses.clone())),
                Some(_) => unknown = Some("two dstdomain ACLs at once".to_owned()),
            },
            (Acl::Names(globs, _), true) => except.extend(globs.iter().cloned()),
            (Acl::Nets(more), false) => {
                nets = Some(nets.map_or_else(|| more.clone(), |nets| nets.intersection(more)));
            }
            (Acl::Nets(more), true) => {
                if !matches!(name, "to_localhost" | "to_linklocal") {
                    nets = Some(nets.unwrap_or_else(Nets::all).minus(more));
                }
            }
            (Acl::Unknown(why), _) => unknown = Some(why.clone()),
        }
    }
    if terms.ports.is_empty() || terms.clients.as_ref().is_some_and(Nets::is_empty) {
        return Ok(action);
    }
    let text = words.join(" ");
    let terms = Arc::new(terms);
    let rank = [0, 0, 0, line as i64];
    let sets: Vec<To> = match (unknown, names, nets) {
        (Some(why), names, _) => vec![To::Unevaluated(why, names.map(|(globs, _)| globs))],
        (None, Some((globs, _)), Some(_)) => {
            vec![To::Unevaluated("dstdomain and dst at once".into(), Some(globs))]
        }
        (None, Some((globs, addresses)), None) => {
            // One entry for each, so that each can be found unneeded.
            let mut sets: Vec<To> = pairs(globs).into_iter().map(To::Names).collect();
            sets.extend(Some(addresses).filter(|a| !a.is_empty()).map(To::Nets));
            sets
        }
        (None, None, Some(nets)) => vec![To::Nets(nets)],
        (None, None, None) => vec![To::Any],
    };
    for to in sets {
        let shown = match &to {
            To::Names(globs) => match &globs[..] {
                [zone, _] => format!(".{zone}"),
                globs => globs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            },
            _ => text.clone(),
        };
        builder.add_except(rank, action, &terms, to, except.clone(), (&shown, line));
    }
    Ok(action)
}

/// `.x` is two sets that stand side by side; keeps them together.
fn pairs(globs: Vec<Glob>) -> Vec<Vec<Glob>> {
    let mut sets: Vec<Vec<Glob>> = Vec::new();
    for glob in globs {
        match sets.last_mut() {
            Some(last) if last.len() == 1 && glob == Glob::ending(&format!(".{}", last[0])) => {
                last.push(glob)
            }
            _ => sets.push(vec![glob]),
        }
    }
    sets
}
