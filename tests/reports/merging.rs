//! Reports of many nodes as one, and reports against a baseline.

use std::{fs, sync::LazyLock};

use egress_auditor::{
    report::{Change, Fleet, Gate, GateClass, MergeError, Report, read_json},
    verdict::{Class, Verdict},
};
use proptest::prelude::*;

use super::{audit, common, run::run};

/// Reports of all fixtures, each a node of its own.
static NODES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let node =
        |case: &std::path::PathBuf| (common::name(case).to_owned(), common::json(&audit(case)));
    common::cases().iter().map(node).collect()
});

fn merged(parts: &[(String, Report)]) -> Report {
    let mut fleet = Fleet::default();
    for (name, report) in parts {
        fleet.add(report.clone(), name).unwrap();
    }
    fleet.finish()
}

fn node(index: usize) -> (String, Report) {
    let (name, text) = &NODES[index];
    (name.clone(), read_json(text).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any order, any grouping, written and read in between: the same bytes.
    #[test]
    fn order_and_grouping_do_not_matter(
        (order, cuts) in (2_usize..24).prop_flat_map(|count| {
            let order = Just((0..NODES.len()).collect::<Vec<_>>()).prop_shuffle();
            let order = order.prop_map(move |order| order[..count].to_vec());
            (order, proptest::collection::vec(0..count, 0..5))
        })
    ) {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        let flat: Vec<_> = sorted.iter().map(|index| node(*index)).collect();
        let expected = common::json(&merged(&flat));

        let mut cuts = cuts;
        cuts.extend([0, order.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let groups = cuts.windows(2).map(|cut| {
            let group: Vec<_> = order[cut[0]..cut[1]].iter().map(|index| node(*index)).collect();
            let text = common::json(&merged(&group));
            ("ignored".to_owned(), read_json(&text).unwrap())
        });
        let groups: Vec<_> = groups.collect();
        prop_assert_eq!(common::json(&merged(&groups)), expected);
    }
}

#[test]
fn what_one_node_lacks_stays_visible() {
    let all: Vec<_> = (0..NODES.len()).map(node).collect();
    let fleet = merged(&all);
    assert_eq!(fleet.nodes.len(), NODES.len());
    let rule = fleet.rules.iter().find(|rule| rule.id == "aks/core/mcr").unwrap();
    assert_eq!(rule.verdict, Verdict::Blocked);
    let on = |verdict, node: &str| rule.nodes[&verdict].iter().any(|name| name == node);
    assert!(on(Verdict::Blocked, "syn-dropped") && on(Verdict::Reachable, "reachable"));
    // The evidence leads to the node's own file.
    for item in &rule.evidence {
        let input = &fleet.inputs[usize::try_from(item.input).unwrap()];
        let node = input.node.as_ref().unwrap();
        assert!(rule.nodes.values().flatten().any(|name| name == node));
        assert_eq!(input.path, "capture.pcap");
    }
    let nodes: usize = rule.nodes.values().map(Vec::len).sum();
    assert_eq!(nodes, all.iter().filter(|(_, r)| r.rules.iter().any(|r| r.id == rule.id)).count());
    assert_eq!(fleet.coverage.frames, all.iter().map(|(_, r)| r.coverage.frames).sum::<u64>());
    assert!(fleet.destinations.iter().any(|found| found.class == Class::Unexpected));
}

#[test]
fn a_node_is_in_once() {
    let mut fleet = Fleet::default();
    let (name, report) = node(0);
    fleet.add(report.clone(), &name).unwrap();
    assert_eq!(fleet.add(report, &name), Err(MergeError::Twice(name)));
}

#[test]
fn contradictions_are_refused() {
    let (name, mut report) = node(NODES.iter().position(|(n, _)| n == "syn-dropped").unwrap());
    report.inputs.clear();
    assert!(matches!(Fleet::default().add(report, &name), Err(MergeError::Broken(_))));
}

#[test]
fn the_command_merges_in_any_grouping() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, text) in &NODES[..3] {
        fs::write(path(&format!("{name}.json")), text).unwrap();
    }
    let [a, b, c] = [0, 1, 2].map(|index| path(&format!("{}.json", NODES[index].0)));
    let flat = run(["merge", "--fail-on", "none", &a, &b, &c]);
    assert_eq!((flat.code, &*flat.stderr), (Some(0), ""));
    let two = path("two.json");
    assert_eq!(run(["merge", "--fail-on", "none", "-o", &two, &c, &b]).code, Some(0));
    assert_eq!(run(["merge", "--fail-on", "none", &two, &a]).stdout, flat.stdout);
    let twice = run(["merge", &a, &a]);
    assert_eq!(twice.code, Some(2));
    assert!(twice.stderr.contains("is there already"), "{}", twice.stderr);
}

fn named(name: &str) -> Report {
    audit(&common::fixtures().join(name))
}

#[test]
fn only_what_is_new_fails() {
    let gate = Gate::new([GateClass::Blocked, GateClass::Unexpected]);
    let mut same = named("syn-dropped");
    assert!(gate.fails(&same));
    same.compare(&named("syn-dropped"));
    assert!(!gate.fails(&same));
    assert_eq!(same.baseline.as_ref().unwrap().new, 0);
    assert!(same.rules.iter().all(|rule| rule.change == Some(Change::Known)));

    let mut worse = named("syn-dropped");
    worse.compare(&named("reachable"));
    assert!(gate.fails(&worse));
    assert!(worse.baseline.as_ref().unwrap().new > 0);

    let mut better = named("reachable");
    better.compare(&named("syn-dropped"));
    assert!(!gate.fails(&better));
    let gone = &better.baseline.as_ref().unwrap().gone;
    assert!(
        gone.iter().any(|gone| gone.was == "blocked" && gone.now.as_deref() == Some("reachable"))
    );
}

#[test]
fn the_command_compares_with_a_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("report.json");
    let baseline = baseline.to_str().unwrap();
    let case = common::fixtures().join("syn-dropped");
    let [profile, capture] =
        ["profile.toml", "capture.pcap"].map(|name| case.join(name).to_str().unwrap().to_owned());
    let common = ["audit", "--profile", &*profile, &*capture];
    let first = run(common.iter().chain(&["--format", "json", "-o", baseline]));
    assert_eq!(first.code, Some(1));
    let second = run(common.iter().chain(&["--baseline", baseline]));
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.stdout.contains("0 new, 1 known, 0 gone"), "{}", second.stdout);
    let broken = run(common.iter().chain(&["--baseline", &*profile]));
    assert_eq!(broken.code, Some(2));
    assert!(broken.stderr.contains("not a report"), "{}", broken.stderr);
}
