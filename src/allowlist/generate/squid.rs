use super::{Group, has_inner_star, skipped, widened, zone};
use crate::catalog::{App, Transport};

/// ACLs and one `http_access` line for each kind of destination of a group.
pub(super) fn write(groups: &[Group<'_>], remarks: &mut Vec<String>) -> String {
    let mut lines = String::new();
    for (number, group) in (1..).zip(groups) {
        if group.transport == Transport::Udp {
            remarks.push(skipped(group, "UDP destinations", "UDP doesn't pass an HTTP proxy"));
            continue;
        }
        let acl = format!("need{number}");
        lines += &format!("\n# {}\n", group.comment());
        let ports: Vec<String> = group
            .port_ranges()
            .iter()
            .map(|&(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
            .collect();
        lines += &format!("acl {acl}-ports port {}\n", ports.join(" "));
        let mut terms = if group.app == App::Http { String::new() } else { "CONNECT ".to_owned() };
        if let Some(sources) = group.sources() {
            lines += &format!("acl {acl}-clients src {}\n", sources.join(" "));
            terms += &format!("{acl}-clients ");
        }
        terms += &format!("{acl}-ports");
        let names = names(group, remarks);
        if !names.is_empty() {
            lines += &format!("acl {acl}-names dstdomain {}\n", names.join(" "));
            lines += &format!("http_access allow {terms} {acl}-names\n");
        }
        let prefixes = group.prefixes();
        if !prefixes.is_empty() {
            lines += &format!("acl {acl}-nets dst {}\n", prefixes.join(" "));
            lines += &format!("http_access allow {terms} {acl}-nets\n");
        }
        if group.has_any() {
            lines += &format!("http_access allow {terms}\n");
        }
    }
    let mut text = String::new();
    for remark in remarks.iter() {
        text += &format!("# {remark}\n");
    }
    text += "# Squid has CONNECT built in from version 6 on.\nacl CONNECT method CONNECT\n";
    format!("{text}{lines}\nhttp_access deny all\n")
}

/// `dstdomain` values, without those that another one includes, which Squid refuses.
fn names(group: &Group<'_>, remarks: &mut Vec<String>) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for name in group.names() {
        let value = if has_inner_star(name) {
            let Some(zone) = zone(name) else {
                remarks.push(skipped(group, name, "no dstdomain stands for it"));
                continue;
            };
            let value = format!(".{zone}");
            remarks.push(widened(group, name, &value, "dstdomain has no star"));
            value
        } else if let Some(zone) = name.strip_prefix('*').filter(|zone| zone.starts_with('.')) {
            remarks.push(widened(
                group,
                name,
                zone,
                "dstdomain has no form without the name itself",
            ));
            zone.to_owned()
        } else {
            name.to_owned()
        };
        values.push(value);
    }
    let covered = |name: &str| {
        values.iter().any(|other| {
            let zone = other.strip_prefix('.').unwrap_or_default();
            other != name
                && !zone.is_empty()
                && (name.trim_start_matches('.') == zone || name.ends_with(&**other))
        })
    };
    let mut kept: Vec<String> = values.iter().filter(|name| !covered(name)).cloned().collect();
    let mut seen = std::collections::BTreeSet::new();
    kept.retain(|name| seen.insert(name.clone()));
    kept
}
