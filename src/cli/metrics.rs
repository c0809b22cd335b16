//! Metrics in the OpenMetrics text format, made anew for each request.

use egress_auditor::{
    report::Report,
    scan::{Limits, Usage},
    source::LiveStats,
    verdict::{Class, DestinationFinding, Verdict},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use serde::Serialize;

/// Labels of one series.
type Labels = Vec<(&'static str, String)>;

/// Unexpected destinations with a series of their own: those seen first, so that series stay. All
/// others share one.
const MAX_DESTINATIONS: usize = 50;

/// What a scrape gets.
pub(super) fn metrics(
    live: &[LiveStats],
    tables: &[Option<(Usage, Limits)>],
    report: Option<&Report>,
) -> String {
    let mut registry = Registry::with_prefix("egress_auditor");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program", build);
    interfaces(&mut registry, live);
    fullness(&mut registry, tables);
    if let Some(report) = report {
        coverage(&mut registry, report);
        rules(&mut registry, report);
        destinations(&mut registry, report);
    }
    let mut text = String::new();
    // Writing to a string doesn't fail.
    let _ = encode(&mut text, &registry);
    text
}

fn interfaces(registry: &mut Registry, live: &[LiveStats]) {
    let [frames, bytes, dropped, gaps, cut] =
        [(); 5].map(|()| Family::<Labels, Counter>::default());
    for stats in live {
        let interface = ("interface", stats.input.path.display().to_string());
        let labels = vec![interface.clone()];
        frames.get_or_create(&labels).inc_by(stats.input.frames);
        bytes.get_or_create(&labels).inc_by(stats.input.bytes);
        gaps.get_or_create(&labels).inc_by(stats.gap_count);
        if let Some(kept) = stats.cut {
            cut.get_or_create(&labels).inc_by(kept.frames);
        }
        let kernel = stats.kernel;
        for (cause, count) in [("buffer", kernel.dropped), ("interface", kernel.if_dropped)] {
            let labels = vec![interface.clone(), ("cause", cause.to_owned())];
            dropped.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("frames", "Frames read", frames);
    registry.register("bytes", "Their lengths on the wire", bytes);
    registry.register("dropped_frames", "Frames lost, by cause", dropped);
    registry.register("cut_frames", "Frames that the cut-off only counted", cut);
    registry.register("gaps", "Times that the interface was down or gone", gaps);
    let gauge = Family::<Labels, Gauge>::default();
    for stats in live {
        let away = stats.gaps.last().is_some_and(|gap| gap.to.is_none());
        let labels = vec![("interface", stats.input.path.display().to_string())];
        gauge.get_or_create(&labels).set(i64::from(!away));
    }
    registry.register("interface_up", "1 while the interface is up", gauge);
}

/// By ring: each has its own bounds, and the first gets what can't be spread.
fn fullness(registry: &mut Registry, tables: &[Option<(Usage, Limits)>]) {
    let [entries, most, payload, most_payload] =
        [(); 4].map(|()| Family::<Labels, Gauge>::default());
    for (ring, table) in tables.iter().enumerate() {
        let Some((usage, limits)) = table else { continue };
        let ring = ("ring", ring.to_string());
        for (table, count, limit) in [
            ("flows", usage.flows, limits.flows),
            ("connections", usage.connections, limits.connections),
            ("lookups", usage.lookups, limits.lookups),
            ("addresses", usage.addresses, limits.lookups),
        ] {
            let labels = vec![("table", table.to_owned()), ring.clone()];
            set(&entries, labels.clone(), count as u64);
            set(&most, labels, limit as u64);
        }
        set(&payload, vec![ring.clone()], usage.payload as u64);
        set(&most_payload, vec![ring], limits.payload as u64);
    }
    let help = "Open flows, finished connections kept, DNS lookups and addresses remembered";
    registry.register("table_entries", help, entries);
    registry.register("table_entries_limit", "How many there may be", most);
    let help = "Payload that waits for the rest of its message";
    registry.register("waiting_payload_bytes", help, payload);
    registry.register("waiting_payload_limit_bytes", "How much may wait", most_payload);
}

fn coverage(registry: &mut Registry, report: &Report) {
    let coverage = &report.coverage;
    let undecoded = Family::<Labels, Counter>::default();
    for (reason, &count) in &coverage.undecoded {
        undecoded.get_or_create(&vec![("reason", reason.clone())]).inc_by(count);
    }
    registry.register("undecoded_frames", "Frames that gave no packet, by reason", undecoded);
    let evicted = Counter::<u64>::default();
    evicted.inc_by(coverage.evicted);
    registry.register("evicted", "Flows and names dropped because a table was full", evicted);
    let flows = Family::<Labels, Gauge>::default();
    for (kind, count) in [
        ("midstream", coverage.midstream_flows),
        ("one_sided", coverage.one_sided),
        ("unnamed", coverage.unnamed_flows),
        ("inbound", coverage.inbound_flows),
    ] {
        set(&flows, vec![("kind", kind.to_owned())], count);
    }
    registry.register("flows", "Flows that couldn't be judged in full, by kind", flows);
}

fn rules(registry: &mut Registry, report: &Report) {
    let verdicts = Family::<Labels, Gauge>::default();
    let counts = Family::<Labels, Gauge>::default();
    for rule in report.rules.iter().filter(|rule| rule.verdict != Verdict::NotApplicable) {
        let verdict = ("verdict", word(&rule.verdict));
        let level = ("level", rule.level.name().to_owned());
        let stage = rule.stage.map_or("", |stage| stage.as_str()).to_owned();
        counts.get_or_create(&vec![level.clone(), verdict.clone()]).inc();
        let rule = ("rule", rule.id.clone());
        verdicts.get_or_create(&vec![rule, level, verdict, ("stage", stage)]).set(1);
    }
    registry.register("rule_verdict", "1 for each rule's verdict, and where it fails", verdicts);
    registry.register("rules", "Rules that apply, by level and verdict", counts);
}

fn destinations(registry: &mut Registry, report: &Report) {
    let classes = Family::<Labels, Gauge>::default();
    let attempts = Family::<Labels, Gauge>::default();
    for found in &report.destinations {
        classes.get_or_create(&vec![("class", word(&found.class))]).inc();
        for (outcome, &count) in &found.outcomes {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            attempts.get_or_create(&vec![("outcome", outcome.as_str().to_owned())]).inc_by(count);
        }
    }
    registry.register("destinations", "Destinations, by class", classes);
    registry.register("attempts", "Connections and failed lookups, by outcome", attempts);
    let mut unexpected: Vec<_> =
        report.destinations.iter().filter(|d| d.class == Class::Unexpected).collect();
    unexpected.sort_by_key(|found| found.first);
    let (own, others) = unexpected.split_at(unexpected.len().min(MAX_DESTINATIONS));
    let series = Family::<Labels, Gauge>::default();
    for found in own {
        set(&series, destination(found), found.attempts);
    }
    if !others.is_empty() {
        let labels = [("name", "others"), ("transport", ""), ("port", "")];
        let labels = labels.map(|(key, value)| (key, value.to_owned())).to_vec();
        set(&series, labels, others.iter().map(|found| found.attempts).sum());
    }
    let help = "Attempts to reach destinations that no rule explains: the first 50, and the others";
    registry.register("unexpected_attempts", help, series);
}

fn destination(found: &DestinationFinding) -> Labels {
    vec![
        ("name", found.name.clone()),
        ("transport", found.transport.map_or(String::new(), |transport| transport.to_string())),
        ("port", found.port.map_or(String::new(), |port| port.to_string())),
    ]
}

fn set(family: &Family<Labels, Gauge>, labels: Labels, count: u64) {
    family.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// The word that the JSON report has for something.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use egress_auditor::{
        catalog::{self, Site},
        scan::{Limits, Place, Scanner},
        source::{Format, InputStats, KernelStats, LinkType},
        verdict::judge,
    };

    use super::*;

    fn example() -> String {
        let catalogs: Vec<_> = ["aks"].into_iter().filter_map(catalog::builtin).collect();
        let site = Site::new(&catalogs, catalog::Profile::default(), None);
        let scanner = Scanner::new(Place::Beginning, Limits::default(), [].into());
        let mut census = scanner.conclude(&mut ());
        census.counters.frames = 3;
        census.counters.undecoded.insert("not_ip".into(), 3);
        let findings = judge(&census, &site);
        let used = egress_auditor::report::ProfileUsed::new(None, site.profile(), &[]);
        let report = Report::new(&[], &census, used, findings);
        let input = InputStats {
            path: "eth0".into(),
            format: Format::Live,
            link_types: vec![LinkType::ETHERNET],
            frames: 7,
            bytes: 700,
            first: None,
            last: None,
            dropped: Some(0),
            truncated: None,
        };
        let kernel = KernelStats::default();
        let live = LiveStats { input, kernel, gaps: Vec::new(), gap_count: 0, cut: None };
        let usage = Usage { flows: 5, connections: 4, lookups: 3, addresses: 2, payload: 1 };
        let limits =
            Limits { flows: 50, connections: 40, lookups: 30, payload: 10, ..Limits::default() };
        let tables = [Some((Usage::default(), limits)), None, Some((usage, limits))];
        metrics(&[live], &tables, Some(&report))
    }

    /// OpenMetrics 1.0: metric families, samples, and what counters' names end with.
    #[test]
    fn the_text_is_as_open_metrics_wants_it() {
        let text = example();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut types = BTreeMap::new();
        let mut helped = BTreeSet::new();
        let mut series = BTreeSet::new();
        for line in text.lines().filter(|&line| line != "# EOF") {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                assert!(types.insert(name, kind).is_none(), "{line} comes twice");
            } else if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.ends_with('.') && helped.insert(name), "{line}");
            } else {
                let (labels, value) = line.rsplit_once(' ').unwrap();
                let name = labels.split('{').next().unwrap();
                let suffix = |suffix| name.strip_suffix(suffix).and_then(|name| types.get(name));
                let fits = match types.get(name) {
                    Some(kind) => *kind == "gauge",
                    None => {
                        suffix("_total") == Some(&"counter") || suffix("_info") == Some(&"info")
                    }
                };
                assert!(fits, "{line} has no fitting TYPE");
                assert!(name.starts_with("egress_auditor_") && value.parse::<f64>().is_ok());
                assert!(series.insert(labels), "{line} comes twice");
            }
        }
        assert!(types.keys().all(|name| helped.contains(name)), "{text}");
        for line in [
            "egress_auditor_build_info{version=",
            "egress_auditor_frames_total{interface=\"eth0\"} 7",
            "egress_auditor_undecoded_frames_total{reason=\"not_ip\"} 3",
            "egress_auditor_evicted_total 0",
            "egress_auditor_table_entries{table=\"flows\",ring=\"0\"} 0",
            "egress_auditor_table_entries{table=\"flows\",ring=\"2\"} 5",
            "egress_auditor_table_entries_limit{table=\"flows\",ring=\"2\"} 50",
            "egress_auditor_table_entries{table=\"connections\",ring=\"2\"} 4",
            "egress_auditor_table_entries{table=\"lookups\",ring=\"2\"} 3",
            "egress_auditor_table_entries{table=\"addresses\",ring=\"2\"} 2",
            "egress_auditor_table_entries_limit{table=\"addresses\",ring=\"2\"} 30",
            "egress_auditor_waiting_payload_bytes{ring=\"2\"} 1",
            "egress_auditor_waiting_payload_limit_bytes{ring=\"2\"} 10",
        ] {
            assert!(text.contains(line), "{line} isn't in\n{text}");
        }
        // It hasn't begun.
        assert!(!text.contains("ring=\"1\""), "{text}");
    }
}
