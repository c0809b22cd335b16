//! One HTML file for whoever must convince a firewall team: no network, no script needed.

mod figure;
mod timeline;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    DestinationEntry, Report, RuleEntry, witness,
    wording::{
        InputText, allowlist, bytes, change, class_name, flag_meaning, frame, headline, inputs,
        is_lost_proxy, limits, named_by, nodes, outcomes, permits, printable, profile, reached_by,
        seen_as, service, shortened, show_commands, unbound, verdict, verdict_name,
    },
};
use crate::verdict::{Class, Evidence, Flag, Meaning, Stage, Verdict};

/// Captures that the head shows; others open on demand.
const CAPTURES_SHOWN: usize = 3;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page may load or run: its own style and script, by their SHA-256. A test keeps them
/// right.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-xwHtQ/Arp33+yM5Eqp7qpz1N7Ucsw74Ej9LfjEoXXeY='; \
    script-src 'sha256-u/+799BwfkOFNCcvTU979k2GX8Kw0CPCHjnxQnmK+b4='; \
    base-uri 'none'; form-action 'none'";

/// Writes the report as one HTML page that loads nothing. Without scripts it's plain tables.
///
/// # Errors
///
/// When writing fails.
pub fn write_html(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut page = String::new();
    head(report, &mut page);
    page.push_str("<main id=\"main\">\n");
    troubles(report, &mut page);
    figure::figure(report, &mut page);
    timeline::timeline(report, &mut page);
    page.push_str("<div id=\"tools\"></div>\n");
    requirements(report, &mut page);
    unexpected(report, &mut page);
    others(report, &mut page);
    firewall_log(report, &mut page);
    gone(report, &mut page);
    coverage(report, &mut page);
    page.push_str("</main>\n");
    footer(&mut page);
    out.write_all(page.as_bytes())
}

/// Text as HTML, also inside quoted attributes.
pub(super) fn esc(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name or address, in a type that tells its characters apart.
fn code(text: &str) -> String {
    format!("<code>{}</code>", esc(text))
}

/// The colour of a verdict. Words always say the same.
const fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Blocked => "bad",
        Verdict::Degraded | Verdict::Inconclusive => "warn",
        Verdict::Reachable => "good",
        Verdict::NotExercised | Verdict::NotApplicable => "idle",
    }
}

const fn class_tone(class: Class) -> &'static str {
    match class {
        Class::Unexpected | Class::Ambiguous | Class::Conditional => "warn",
        Class::Allowed | Class::Required | Class::Recommended => "good",
        Class::Internal => "idle",
    }
}

fn badge(tone: &str, text: &str) -> String {
    format!("<span class=\"badge {tone}\">{}</span>", esc(text))
}

fn verdict_badge(told: Verdict) -> String {
    badge(tone(told), verdict(told))
}

/// Which findings the page's filter takes an item for.
fn kinds(words: &[&str]) -> String {
    format!("data-k=\"{}\"", words.join(" ").trim())
}

fn head(report: &Report, page: &mut String) {
    let style = STYLE.trim();
    let title = esc(&headline(report));
    page.push_str(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Egress audit: {title}</title>\n<style>{style}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the findings</a>\n\
         <header class=\"top\">\n<h1>Egress audit</h1>\n<p class=\"headline\">{title}</p>\n"
    ));
    page.push_str("<dl class=\"meta\">\n");
    let captures: Vec<String> = inputs(report).iter().map(capture).collect();
    let (shown, rest) = captures.split_at(captures.len().min(CAPTURES_SHOWN));
    for capture in shown {
        page.push_str(&format!("<dt>Capture</dt><dd>{capture}</dd>\n"));
    }
    if !rest.is_empty() {
        let (count, rest) = (rest.len(), rest.join("</li><li>"));
        page.push_str(&format!(
            "<dt>Captures</dt><dd><details><summary>{count} more</summary><ul><li>{rest}</li></ul></details></dd>\n"
        ));
    }
    page.push_str(&format!("<dt>Site</dt><dd>{}</dd>\n", esc(&profile(report))));
    if let Some((used, notes)) = allowlist(report) {
        let notes: String = notes.iter().map(|note| format!("<br>{}", esc(note))).collect();
        page.push_str(&format!("<dt>Allowlist</dt><dd>{}{notes}</dd>\n", esc(&used)));
    }
    if !report.nodes.is_empty() {
        let names: Vec<_> = report.nodes.iter().map(|node| &node.name).collect();
        let (count, names) = (names.len(), esc(&shortened(&names)));
        page.push_str(&format!("<dt>Nodes</dt><dd>{count}: {names}</dd>\n"));
    }
    if let Some(baseline) = &report.baseline {
        page.push_str(&format!(
            "<dt>Baseline</dt><dd>{} new, {} known, {} gone</dd>\n",
            baseline.new,
            baseline.known,
            baseline.gone.len()
        ));
    }
    page.push_str("</dl>\n");
    tiles(report, page);
    contents(report, page);
    page.push_str("</header>\n");
}

/// A capture: path, size, and where reading it ended early.
fn capture(input: &InputText) -> String {
    let InputText { path, size, damage, notes } = input;
    let damage = damage.as_ref().map_or(String::new(), |damage| {
        format!(" {} {}", badge("bad", "read only in part"), esc(damage))
    });
    let notes: String = notes.iter().map(|note| format!("<br>{}", esc(note))).collect();
    format!("{}: {}{damage}{notes}", code(path), esc(size))
}

fn tiles(report: &Report, page: &mut String) {
    let (rules, seen) = (report.summary.required, &report.summary);
    let tiles = [
        ("bad", rules.blocked, "required, blocked"),
        ("warn", rules.degraded, "required, degraded"),
        ("warn", rules.inconclusive, "required, inconclusive"),
        ("good", rules.reachable, "required, reachable"),
        ("idle", rules.not_exercised, "required, nobody tried"),
        ("warn", seen.unexpected, "unexpected destinations"),
        ("warn", seen.ambiguous, "ambiguous destinations"),
    ];
    page.push_str("<ul class=\"tiles\" aria-label=\"Summary\">\n");
    for (tone, count, what) in tiles {
        let tone = if count == 0 { "idle" } else { tone };
        page.push_str(&format!("<li class=\"{tone}\"><b>{count}</b> {what}</li>\n"));
    }
    page.push_str("</ul>\n");
}

fn contents(report: &Report, page: &mut String) {
    let mut links = vec![("what-fails", "What fails")];
    if figure::shows(report) {
        links.push(("where", "Where attempts end"));
    }
    if timeline::shows(report) {
        links.push(("when", "Timeline"));
    }
    links.push(("requirements", "Requirements"));
    links.push(("unexpected", "Unexpected"));
    links.push(("others", "Other destinations"));
    if report.firewall_log.is_some() {
        links.push(("firewall-log", "Firewall log"));
    }
    links.push(("coverage", "What the capture can't show"));
    page.push_str("<nav aria-label=\"Contents\"><ul>");
    for (id, title) in links {
        page.push_str(&format!("<li><a href=\"#{id}\">{title}</a></li>"));
    }
    page.push_str("</ul></nav>\n");
}

/// Cards for rules that fail, and for proxies that can't be reached.
fn troubles(report: &Report, page: &mut String) {
    page.push_str(
        "<section aria-labelledby=\"what-fails\">\n<h2 id=\"what-fails\">What fails</h2>\n",
    );
    let failing = |rule: &&RuleEntry| {
        matches!(rule.verdict, Verdict::Blocked | Verdict::Degraded | Verdict::Inconclusive)
    };
    let rules: Vec<_> = report.rules.iter().filter(failing).collect();
    let proxies: Vec<_> = report.destinations.iter().filter(|found| is_lost_proxy(found)).collect();
    if rules.is_empty() && proxies.is_empty() {
        page.push_str("<p class=\"note\">No rule that was tried fails in this capture. Rules that nobody tried are listed under Requirements: about those it says nothing.</p>\n");
    }
    for found in proxies {
        proxy_card(found, report, page);
    }
    for rule in rules {
        rule_card(rule, report, page);
    }
    page.push_str("</section>\n");
}

fn rule_card(rule: &RuleEntry, report: &Report, page: &mut String) {
    let patterns: Vec<_> =
        rule.destinations.iter().filter(|d| d.attempts > 0).map(|d| code(&d.pattern)).collect();
    page.push_str(&format!(
        "<article class=\"card {}\" {}>\n<header>{}<h3>{} <span class=\"quiet\">{}</span></h3>{}</header>\n",
        tone(rule.verdict),
        kinds(&[verdict_name(rule.verdict), rule.level.name(), change(rule.change)]),
        verdict_badge(rule.verdict),
        patterns.join(", "),
        esc(&service(rule)),
        change_badge(change(rule.change))
    ));
    if let Some(stage) = rule.stage {
        path(rule, stage, page);
    }
    if let Some(advice) = &rule.advice {
        let lines: Vec<_> = advice.lines().map(esc).collect();
        page.push_str(&format!(
            "<div class=\"ask\"><b>What to ask for</b>{}</div>\n",
            lines.join("<br>")
        ));
    }
    page.push_str("<dl class=\"facts\">\n");
    let mut fact = |what: &str, html: String| {
        page.push_str(&format!("<dt>{what}</dt><dd>{html}</dd>\n"));
    };
    fact("Rule", format!("{} ({}, {})", code(&rule.id), rule.level.name(), esc(&rule.service)));
    fact("Needed for", esc(&rule.purpose));
    fact("Stated in", esc(&format!("{}, \"{}\"", rule.source.document, rule.source.section)));
    for target in rule.destinations.iter().filter(|target| target.attempts > 0) {
        fact(
            "Attempts",
            format!(
                "{}{}: {} in {} ({})",
                code(&target.pattern),
                esc(&seen_as(target)),
                verdict(target.verdict),
                match target.attempts {
                    1 => "1 attempt".to_owned(),
                    count => format!("{count} attempts"),
                },
                esc(&outcomes(&target.outcomes))
            ),
        );
    }
    if !rule.nodes.is_empty() {
        fact("Nodes", esc(&nodes(&rule.nodes)));
    }
    page.push_str("</dl>\n");
    proof_table(&rule.evidence, report, page);
    page.push_str("</article>\n");
}

fn proxy_card(found: &DestinationEntry, report: &Report, page: &mut String) {
    page.push_str(&format!(
        "<article class=\"card {}\" {}>\n<header>{}<h3>Proxy {} <span class=\"quiet\">{}</span></h3>{}</header>\n\
         <div class=\"ask\"><b>What to ask for</b>Let {} reach the proxy: everything behind it depends on this ({}).</div>\n",
        tone(found.verdict),
        kinds(&[verdict_name(found.verdict), class_name(found.class), change(found.change)]),
        verdict_badge(found.verdict),
        code(&found.name),
        esc(&reached_by(found)),
        change_badge(change(found.change)),
        esc(&shortened(&found.clients)),
        esc(&outcomes(&found.outcomes)),
    ));
    proof_table(&found.evidence, report, page);
    page.push_str("</article>\n");
}

/// How far the failing attempts got: where each ended, and what all of them got past.
fn path(rule: &RuleEntry, furthest: Stage, page: &mut String) {
    let mut failing: BTreeMap<Stage, u64> = BTreeMap::new();
    for (outcome, count) in rule.destinations.iter().flat_map(|target| &target.outcomes) {
        if outcome.meaning() == Meaning::Blocked {
            *failing.entry(outcome.stage().unwrap_or(furthest)).or_default() += count;
        }
    }
    let order =
        [Stage::Dns, Stage::Tcp, Stage::Udp, Stage::Proxy, Stage::Quic, Stage::Tls, Stage::Http];
    let place = |stage: Stage| order.iter().position(|other| *other == stage);
    let last = failing.keys().filter_map(|stage| place(*stage)).max();
    let passed_tcp = !matches!(furthest, Stage::Dns | Stage::Tcp | Stage::Udp | Stage::Quic);
    page.push_str(
        "<ol class=\"path\" aria-label=\"Where the failing connections and lookups end\">",
    );
    for (index, step) in order.iter().enumerate() {
        let name = step.as_str().to_uppercase();
        match failing.get(step) {
            Some(count) => {
                page.push_str(&format!("<li class=\"dies\">{name}: {count} fail</li>"));
            }
            None if *step == Stage::Tcp && passed_tcp => {
                page.push_str(&format!("<li class=\"ok\">{name}: got past</li>"));
            }
            None if rule.verdict == Verdict::Blocked
                && *step == Stage::Tls
                && matches!(furthest, Stage::Tcp | Stage::Proxy)
                && last < Some(index) =>
            {
                page.push_str(&format!("<li>{name}: never reached</li>"));
            }
            None => {}
        }
    }
    page.push_str("</ol>\n");
}

/// The frames that show it, open to see.
fn proof_table(evidence: &[Evidence], report: &Report, page: &mut String) {
    if evidence.is_empty() {
        return;
    }
    page.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Proof\"><table>\n<caption>Proof, in packets</caption>\n<thead><tr><th scope=\"col\">Frame</th><th scope=\"col\">Time (UTC)</th><th scope=\"col\">Outcome</th><th scope=\"col\">What it shows</th></tr></thead>\n<tbody>\n");
    for item in evidence {
        page.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"time\">{}</td><td class=\"port\">{}</td><td>{}</td></tr>\n",
            esc(&place(item, report)),
            item.ts,
            code(item.outcome.as_str()),
            esc(&item.detail)
        ));
    }
    page.push_str("</tbody></table></div>\n");
    commands(evidence, report, page);
}

fn place(item: &Evidence, report: &Report) -> String {
    let input = usize::try_from(item.input).ok().and_then(|index| report.inputs.get(index));
    match input.and_then(|input| input.node.as_ref()) {
        Some(node) => format!("{} on {node}", frame(item, report)),
        None => frame(item, report),
    }
}

fn commands(evidence: &[Evidence], report: &Report, page: &mut String) {
    let commands = show_commands(evidence, report);
    if !commands.is_empty() {
        page.push_str(&format!("<pre>{}</pre>\n", esc_lines(&commands)));
    }
}

fn esc_lines(lines: &[String]) -> String {
    lines.iter().map(|line| esc(line)).collect::<Vec<_>>().join("\n")
}

/// Evidence in a cell: closed, so that tables stay short.
fn proof_cell(evidence: &[Evidence], report: &Report) -> String {
    if evidence.is_empty() {
        return "<span class=\"quiet\">none</span>".to_owned();
    }
    // On paper the summary is all there is.
    let summary = match (evidence, report.inputs.len()) {
        ([one], 0 | 1) => format!("frame {}", one.frame),
        ([_], _) => "1 frame".to_owned(),
        (some, 0 | 1) => {
            let frames: Vec<_> = some.iter().map(|item| item.frame.to_string()).collect();
            format!("frames {}", frames.join(", "))
        }
        (some, _) => format!("{} frames", some.len()),
    };
    let mut cell = format!("<details><summary>{summary}</summary><ul>");
    for item in evidence {
        let (at, detail) = (esc(&place(item, report)), esc(&item.detail));
        cell.push_str(&format!("<li>{at}: {detail} <span class=\"quiet\">{}</span></li>", item.ts));
    }
    cell.push_str("</ul>");
    commands(evidence, report, &mut cell);
    cell.push_str("</details>");
    cell
}

fn change_badge(change: &str) -> String {
    match change {
        "" => String::new(),
        "new" => format!(" {}", badge("bad", "new")),
        other => format!(" {}", badge("idle", other)),
    }
}

/// Every rule, by service.
fn requirements(report: &Report, page: &mut String) {
    page.push_str(
        "<section aria-labelledby=\"requirements\">\n<h2 id=\"requirements\">Requirements by service</h2>\n\
         <p class=\"note\">Every rule of the site's catalogs. <em>Not exercised</em> means that nobody tried while the capture ran: it may work or not.</p>\n",
    );
    let mut services: BTreeMap<&str, Vec<&RuleEntry>> = BTreeMap::new();
    for rule in &report.rules {
        services.entry(&rule.service).or_default().push(rule);
    }
    table(
        "Requirements",
        &["Verdict", "Service", "Destinations", "Port", "Stage", "Outcomes", "Evidence", "Rule"],
        page,
    );
    for rule in services.into_values().flatten() {
        requirement(rule, report, page);
    }
    page.push_str("</tbody></table></div>\n</section>\n");
}

fn requirement(rule: &RuleEntry, report: &Report, page: &mut String) {
    let mut destinations = Vec::new();
    let mut found = Vec::new();
    for target in &rule.destinations {
        let note = target
            .unresolved
            .as_ref()
            .map_or(String::new(), |what| format!(" <span class=\"quiet\">({})</span>", esc(what)));
        let names = if target.names.is_empty() { String::new() } else { esc(&seen_as(target)) };
        destinations.push(format!("{}{names}{note}", code(&target.pattern)));
        if !target.outcomes.is_empty() {
            found.push(esc(&outcomes(&target.outcomes)));
        }
    }
    let mut told = verdict_badge(rule.verdict) + &change_badge(change(rule.change));
    if !rule.nodes.is_empty() {
        told.push_str(&format!("<div class=\"quiet\">{}</div>", esc(&nodes(&rule.nodes))));
    }
    page.push_str(&format!(
        "<tr {}><td data-v=\"{}\">{told}</td><td>{}</td><th scope=\"row\">{}</th><td class=\"port\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}<div class=\"quiet\">{}, {}</div></td></tr>\n",
        kinds(&[verdict_name(rule.verdict), rule.level.name(), change(rule.change)]),
        rule.verdict as u8,
        esc(&rule.service),
        destinations.join("<br>"),
        esc(&service(rule)),
        rule.stage.map_or("", |stage| stage.as_str()),
        found.join("; "),
        proof_cell(&rule.evidence, report),
        code(&rule.id),
        rule.level.name(),
        esc(&rule.source.document)
    ));
}

/// Opens a table that can be sorted.
fn table(label: &str, heads: &[&str], page: &mut String) {
    page.push_str(&format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{label}\"><table class=\"data\">\n<thead><tr>"
    ));
    for head in heads {
        let class = if matches!(*head, "Out" | "In") { " class=\"num\"" } else { "" };
        page.push_str(&format!("<th scope=\"col\"{class}>{head}</th>"));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
}

fn unexpected(report: &Report, page: &mut String) {
    page.push_str("<section aria-labelledby=\"unexpected\">\n<h2 id=\"unexpected\">Unexpected destinations</h2>\n");
    let fits = |found: &&DestinationEntry| found.class == Class::Unexpected;
    let found: Vec<_> = report.destinations.iter().filter(fits).collect();
    if found.is_empty() {
        page.push_str("<p class=\"note\">None: rules, the allowlist or the profile explain every destination that was seen.</p>\n</section>\n");
        return;
    }
    page.push_str("<p class=\"note\">No rule explains them. Bytes are payload, as the clients sent (out) and received (in).</p>\n");
    destinations("Unexpected destinations", &found, report, page);
    page.push_str("</section>\n");
}

fn others(report: &Report, page: &mut String) {
    page.push_str(
        "<section aria-labelledby=\"others\">\n<h2 id=\"others\">Other destinations</h2>\n",
    );
    let fits = |found: &&DestinationEntry| found.class != Class::Unexpected;
    let found: Vec<_> = report.destinations.iter().filter(fits).collect();
    if found.is_empty() {
        page.push_str("<p class=\"note\">None.</p>\n</section>\n");
        return;
    }
    page.push_str("<p class=\"note\">Ambiguous ones have several possible names, or none; conditional ones would be explained if a rule's condition were on; allowed ones only the firewall's allowlist explains.</p>\n");
    destinations("Other destinations", &found, report, page);
    page.push_str("</section>\n");
}

fn destinations(label: &str, found: &[&DestinationEntry], report: &Report, page: &mut String) {
    table(
        label,
        &[
            "Destination",
            "Port",
            "Class",
            "Verdict",
            "Out",
            "In",
            "Clients",
            "First seen (UTC)",
            "Notes",
            "Evidence",
        ],
        page,
    );
    for one in found {
        destination(one, report, page);
    }
    page.push_str("</tbody></table></div>\n");
}

fn destination(found: &DestinationEntry, report: &Report, page: &mut String) {
    let clients: Vec<_> = found.clients.iter().map(|client| code(&client.to_string())).collect();
    let clients = match clients.len() {
        0..=4 => clients.join("<br>"),
        count => {
            format!("<details><summary>{count} clients</summary>{}</details>", clients.join("<br>"))
        }
    };
    page.push_str(&format!(
        "<tr {}><th scope=\"row\">{}</th><td class=\"port\" data-v=\"{}\">{}</td><td>{}{}</td><td data-v=\"{}\">{}<div class=\"quiet\">{}</div></td><td class=\"num\" data-v=\"{}\">{}</td><td class=\"num\" data-v=\"{}\">{}</td><td>{clients}</td><td class=\"time\">{}</td><td>{}</td><td>{}</td></tr>\n",
        kinds(&[class_name(found.class), verdict_name(found.verdict), change(found.change)]),
        code(&found.name),
        found.port.unwrap_or(0),
        esc(&reached_by(found)),
        badge(class_tone(found.class), class_name(found.class)),
        change_badge(change(found.change)),
        found.verdict as u8,
        verdict_badge(found.verdict),
        esc(&outcomes(&found.outcomes)),
        found.bytes.out,
        bytes(found.bytes.out),
        found.bytes.inward,
        bytes(found.bytes.inward),
        // To the second; the whole stamp is with the evidence.
        esc(&found.first.to_string().replace('T', " ").chars().take(19).collect::<String>()),
        notes(found),
        proof_cell(&found.evidence, report)
    ));
}

fn notes(found: &DestinationEntry) -> String {
    let mut notes = Vec::new();
    if !found.addresses.is_empty() {
        let by = named_by(found.named_by);
        notes.push(format!("{}, named by {by}", esc(&shortened(&found.addresses))));
    }
    if !found.rules.is_empty() {
        notes.push(format!("rule {}", esc(&shortened(&found.rules))));
    }
    if let Some(condition) = &found.condition {
        notes.push(format!("applies when: {}", esc(condition)));
    }
    notes.extend(permits(found).iter().map(|line| esc(line)));
    if found.candidates.len() > 1 {
        notes.push(format!("DNS gave this address for {}", esc(&shortened(&found.candidates))));
    }
    let flags = found.flags.iter().filter(|flag| **flag != Flag::Proxied);
    notes.extend(flags.filter_map(|flag| flag_meaning(*flag)).map(esc));
    if found.flags.contains(&Flag::Proxied) {
        notes.push("through a proxy".to_owned());
    }
    if !found.nodes.is_empty() {
        notes.push(esc(&nodes(&found.nodes)));
    }
    notes.join("<br>")
}

/// As in the text report.
fn firewall_log(report: &Report, page: &mut String) {
    let Some(log) = &report.firewall_log else { return };
    page.push_str("<section aria-labelledby=\"firewall-log\">\n<h2 id=\"firewall-log\">Firewall log</h2>\n<pre class=\"scroll\" tabindex=\"0\">");
    for line in witness::lines(log) {
        page.push_str(&format!("{}\n", esc(&line)));
    }
    page.push_str("</pre>\n</section>\n");
}

fn gone(report: &Report, page: &mut String) {
    let Some(baseline) = report.baseline.as_ref().filter(|baseline| !baseline.gone.is_empty())
    else {
        return;
    };
    page.push_str(
        "<section aria-labelledby=\"gone\">\n<h2 id=\"gone\">Gone since the baseline</h2>\n",
    );
    table("Gone since the baseline", &["What", "Was", "Is"], page);
    for gone in &baseline.gone {
        let what = gone.rule.as_ref().or(gone.destination.as_ref()).map_or("", String::as_str);
        page.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
            code(what),
            esc(&gone.was.replace('_', " ")),
            esc(&gone.now.as_deref().unwrap_or("not in this report").replace('_', " "))
        ));
    }
    page.push_str("</tbody></table></div>\n</section>\n");
}

fn coverage(report: &Report, page: &mut String) {
    page.push_str("<section aria-labelledby=\"coverage\">\n<h2 id=\"coverage\">What the capture can't show</h2>\n<ul>\n");
    for limit in unbound(report).into_iter().chain(limits(report)) {
        page.push_str(&format!("<li>{}</li>\n", esc(&limit)));
    }
    page.push_str(
        "<li>A SYN-ACK is no proof: firewalls and proxies answer handshakes themselves. <em>Reachable</em> means an answer at the layer that the rule is about.</li>\n\
         <li>What is encrypted stays so: that a server answered is seen, what it said isn't.</li>\n</ul>\n",
    );
    page.push_str(&format!(
        "<p class=\"note\">{} frames read, {} decoded; {} flows from outside weren't judged.</p>\n</section>\n",
        report.coverage.frames, report.coverage.decoded, report.coverage.inbound_flows
    ));
}

fn footer(page: &mut String) {
    let script = SCRIPT.trim();
    page.push_str(&format!(
        "<footer><p>Written by egress-auditor {}. Times are capture times. The commands need <code>tshark</code> and the capture at the path shown.</p></footer>\n\
         <script>{script}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    ));
}
