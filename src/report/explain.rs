//! What the report's words mean. The texts are the documentation of the types, as their schemas
//! carry it.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::GateClass;
use crate::{
    catalog::{Feature, Level},
    verdict::{Class, Flag, Meaning, Outcome, Reason, Stage, Verdict},
};

/// What a word of the report means: an entry for each kind of thing that has this name.
pub fn explain(word: &str) -> Vec<String> {
    let word = word.trim();
    let mut found = Vec::new();
    for (kind, words) in vocabulary() {
        for (name, meaning) in words {
            if name == word || (kind == FAIL_ON && name.replace('-', "_") == word) {
                let more = outcome_notes(kind, &name);
                found.push(format!("{name}: {kind}\n  {}\n{more}", meaning.trim()));
            }
        }
    }
    found
}

/// Kinds of things that can be explained, and their names.
pub fn explainable() -> Vec<(&'static str, Vec<String>)> {
    let names = |words: Vec<(String, String)>| words.into_iter().map(|(name, _)| name).collect();
    vocabulary().into_iter().map(|(kind, words)| (kind, names(words))).collect()
}

const OUTCOME: &str = "outcome of an attempt";
const FAIL_ON: &str = "class of --fail-on";

fn vocabulary() -> Vec<(&'static str, Vec<(String, String)>)> {
    let gate = GateClass::ALL.iter();
    let features = Feature::ALL.iter();
    vec![
        ("verdict on a rule or a destination", words::<Verdict>()),
        (OUTCOME, words::<Outcome>()),
        ("class of a destination", words::<Class>()),
        ("reason for inconclusive", words::<Reason>()),
        ("flag of a destination", words::<Flag>()),
        ("stage", words::<Stage>()),
        ("level of a rule", words::<Level>()),
        (FAIL_ON, gate.map(|class| (class.name().to_owned(), sentence(class.meaning()))).collect()),
        (
            "feature of a profile",
            features
                .map(|feature| (feature.name().to_owned(), feature.sentence().to_owned()))
                .collect(),
        ),
    ]
}

fn sentence(words: &str) -> String {
    format!("Selects findings where {words}.")
}

/// Names and documentation of an enum's values.
fn words<T: JsonSchema>() -> Vec<(String, String)> {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let values = schema.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    values
        .iter()
        .filter_map(|value| {
            let meaning = text(value, "description").unwrap_or_default().replace('\n', " ");
            Some((text(value, "const")?, meaning))
        })
        .collect()
}

fn outcome_notes(kind: &str, name: &str) -> String {
    let Some(outcome) = Outcome::ALL.iter().find(|outcome| outcome.as_str() == name) else {
        return String::new();
    };
    if kind != OUTCOME {
        return String::new();
    }
    let stage = outcome.stage().map_or("as far as the attempt got", |stage| stage.as_str());
    let meaning = match outcome.meaning() {
        Meaning::Reached => "reached",
        Meaning::Blocked => "blocked, unless another try of the same attempt succeeds",
        Meaning::Open => "open: the packets don't tell",
    };
    format!("  stage       {stage}\n  means       {meaning}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_documented() {
        let told = words::<Outcome>();
        for outcome in Outcome::ALL {
            let found = told.iter().find(|(name, _)| name == outcome.as_str());
            assert!(found.is_some_and(|(_, text)| text.len() > 20), "{outcome:?}");
        }
        assert_eq!(told.len(), Outcome::ALL.len());
    }

    #[test]
    fn every_word_has_a_meaning() {
        for (kind, words) in vocabulary() {
            assert!(!words.is_empty(), "{kind}");
            for (name, meaning) in words {
                assert!(!meaning.is_empty(), "{kind} {name}");
                assert!(!explain(&name).is_empty());
            }
        }
    }

    #[test]
    fn one_name_may_mean_several_things() {
        assert_eq!(explain("inconclusive").len(), 3);
        assert!(explain("tls_reset")[0].contains("stage       tls"));
        assert!(explain("nonsense").is_empty());
    }
}
