//! From a catalog file's text to checked rules.

use std::{collections::HashMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use super::{
    Catalog, Related,
    error::{Input, LoadError, LoadErrors, Mistake, alternatives},
    feature::Condition,
    rule::{
        App, ChoiceOption, Cloud, Destination, Level, Param, PortRange, Rule, Scope, Source,
        Transport, is_kebab, placeholders,
    },
};

/// Reads a catalog as far as possible: the rules without mistakes, and all mistakes.
///
/// Fails when the text isn't TOML of the right shape.
pub(super) fn read(text: &str, file: &str) -> Result<(Catalog, Vec<LoadError>), LoadErrors> {
    let input = Input { file, text };
    let raw: RawCatalog =
        toml::from_str(text).map_err(|e| LoadErrors(vec![LoadError::from_toml(input, &e)]))?;
    let mut reader = Reader {
        input,
        name: raw.name.as_ref(),
        document: raw.document.as_deref().unwrap_or(raw.name.as_ref()),
        ids: HashMap::new(),
        errors: Vec::new(),
    };
    if !is_kebab(raw.name.as_ref()) {
        let message = format!(
            "catalog name `{}` has to be lower-case words joined by `-`",
            raw.name.as_ref()
        );
        reader.error(&raw.name.span(), Mistake::Value, message);
    }
    let rules = raw.rule.iter().filter_map(|r| reader.rule(r)).collect();
    let related = raw.related.iter().map(|r| reader.related(r)).collect();
    let mut errors = reader.errors;
    errors.sort_by_key(LoadError::line);
    let catalog = Catalog {
        title: raw.title,
        document: raw.document.unwrap_or_else(|| raw.name.as_ref().clone()),
        url: raw.url,
        name: raw.name.into_inner(),
        rules,
        related,
    };
    Ok((catalog, errors))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCatalog {
    name: Spanned<String>,
    title: String,
    document: Option<String>,
    url: Option<String>,
    #[serde(default)]
    related: Vec<RawRelated>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelated {
    title: String,
    catalog: Option<String>,
    when: Option<Spanned<String>>,
    r#use: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: Spanned<String>,
    service: Spanned<String>,
    cloud: Spanned<Vec<Cloud>>,
    level: Level,
    when: Option<Spanned<String>>,
    option: Option<ChoiceOption>,
    #[serde(default = "egress")]
    scope: Scope,
    from: Option<Spanned<String>>,
    #[serde(default)]
    destinations: Vec<Spanned<Destination>>,
    #[serde(default)]
    any_of: Vec<Spanned<Destination>>,
    transport: Transport,
    ports: Vec<PortRange>,
    app: App,
    r#use: String,
    source: RawSource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    document: Option<String>,
    section: String,
}

fn egress() -> Scope {
    Scope::Egress
}

struct Reader<'a> {
    input: Input<'a>,
    name: &'a str,
    document: &'a str,
    ids: HashMap<&'a str, ()>,
    errors: Vec<LoadError>,
}

impl<'a> Reader<'a> {
    fn error(&mut self, span: &Range<usize>, kind: Mistake, message: String) {
        self.errors.push(self.input.error(span, kind, message));
    }

    /// The rule, or `None` and at least one more error.
    fn rule(&mut self, raw: &'a RawRule) -> Option<Rule> {
        let mistakes = self.errors.len();
        self.check_id(&raw.id);
        for word in std::iter::once(&raw.service).chain(&raw.from) {
            if !is_kebab(word.as_ref()) {
                let message =
                    format!("`{}` has to be lower-case words joined by `-`", word.as_ref());
                self.error(&word.span(), Mistake::Value, message);
            }
        }
        if raw.cloud.as_ref().is_empty() {
            let message = "`cloud` is empty; give at least one of `public`, `china`, `usgov`";
            self.error(&raw.cloud.span(), Mistake::Value, message.into());
        }
        let destinations = self.destinations(raw);
        let when = raw.when.as_ref().and_then(|w| self.condition(w));
        (self.errors.len() == mistakes).then(|| Rule {
            id: raw.id.as_ref().clone(),
            catalog: self.name.to_owned(),
            service: raw.service.as_ref().clone(),
            cloud: raw.cloud.as_ref().clone(),
            level: raw.level,
            when,
            option: raw.option.clone(),
            scope: raw.scope,
            from: raw.from.as_ref().map(|f| f.as_ref().clone()),
            destinations,
            alternatives: !raw.any_of.is_empty(),
            transport: raw.transport,
            ports: raw.ports.clone(),
            app: raw.app,
            purpose: raw.r#use.clone(),
            source: Source {
                document: raw.source.document.clone().unwrap_or_else(|| self.document.to_owned()),
                section: raw.source.section.clone(),
            },
        })
    }

    fn check_id(&mut self, id: &'a Spanned<String>) {
        let (text, span) = (id.as_ref(), id.span());
        let parts: Vec<_> = text.split('/').collect();
        if parts.len() < 2 || parts[0] != self.name || !parts.iter().all(|p| is_kebab(p)) {
            let message = format!(
                "id `{text}` has to be `{}/..`, in lower-case words joined by `-` and `/`",
                self.name
            );
            self.error(&span, Mistake::Value, message);
        }
        if self.ids.insert(text, ()).is_some() {
            self.error(&span, Mistake::Value, format!("id `{text}` is used twice"));
        }
    }

    fn destinations(&mut self, raw: &RawRule) -> Vec<Destination> {
        let wrong = match (raw.destinations.is_empty(), raw.any_of.is_empty()) {
            (true, true) => Some(
                "no destinations: give `destinations` (all needed) or `any_of` (one is enough)",
            ),
            (false, false) => {
                Some("`destinations` and `any_of` exclude each other: make two rules")
            }
            _ => None,
        };
        if let Some(message) = wrong {
            self.error(
                &raw.id.span(),
                Mistake::Value,
                format!("rule `{}`: {message}", raw.id.as_ref()),
            );
        }
        let mut checked = Vec::new();
        for spanned in raw.destinations.iter().chain(&raw.any_of) {
            let (destination, span) = (spanned.as_ref(), spanned.span());
            if let Err(message) = destination.check() {
                self.error(&span, Mistake::Value, message);
            }
            self.check_placeholders(destination, &span);
            checked.push(destination.clone());
        }
        checked
    }

    fn check_placeholders(&mut self, destination: &Destination, span: &Range<usize>) {
        let is_cidr = matches!(destination, Destination::Cidr(_));
        for name in destination.text().into_iter().flat_map(placeholders) {
            let message = match Param::parse(name) {
                None => {
                    let known = Param::ALL.iter().map(|p| p.name());
                    format!("unknown placeholder `{{{name}}}`{}", alternatives(name, known))
                }
                Some(p) if p.is_address() != is_cidr => {
                    let place = if is_cidr {
                        "a name's label"
                    } else {
                        "an address: use it as { cidr = .. }"
                    };
                    format!("placeholder `{{{name}}}` stands for {place}")
                }
                Some(_) => continue,
            };
            self.error(span, Mistake::Placeholder, message);
        }
    }

    fn condition(&mut self, text: &Spanned<String>) -> Option<Condition> {
        Condition::parse(text.as_ref())
            .map_err(|e| self.error(&text.span(), Mistake::Condition, e.to_string()))
            .ok()
    }

    fn related(&mut self, raw: &RawRelated) -> Related {
        Related {
            title: raw.title.clone(),
            catalog: raw.catalog.clone(),
            when: raw.when.as_ref().and_then(|w| self.condition(w)),
            purpose: raw.r#use.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"mine\"\ntitle = \"Mine\"\n";

    fn rule(change: &[(&str, &str)]) -> String {
        let mut keys = vec![
            ("id", "\"mine/a/b\""),
            ("service", "\"mine\""),
            ("cloud", "[\"public\"]"),
            ("level", "\"required\""),
            ("destinations", "[\"a.example\"]"),
            ("transport", "\"tcp\""),
            ("ports", "[443]"),
            ("app", "\"https\""),
            ("use", "\"Testing.\""),
            ("source", "{ section = \"S\" }"),
        ];
        for &(key, value) in change {
            keys.retain(|k| k.0 != key);
            keys.push((key, value));
        }
        let lines: Vec<_> =
            keys.iter().filter(|k| !k.1.is_empty()).map(|(k, v)| format!("{k} = {v}\n")).collect();
        format!("[[rule]]\n{}", lines.concat())
    }

    fn errors(text: &str) -> String {
        Catalog::parse(text, "mine.toml").unwrap_err().to_string()
    }

    fn error(change: &[(&str, &str)]) -> String {
        errors(&format!("{HEAD}{}", rule(change)))
    }

    #[test]
    fn reads_every_form_of_destination() {
        let all = "[\"a.example\", \"*\", { service_tag = \"Storage.{region}\" }, { cidr = \"{api-server}\" }, { role = \"node\" }, { fqdn = \"*.b.example\" }]";
        let text = format!(
            "{HEAD}{}",
            rule(&[
                ("destinations", ""),
                ("any_of", all),
                ("ports", "[443, \"8000-8001\"]"),
                ("when", "\"gpu and not windows\""),
                ("from", "\"node\""),
            ])
        );
        let catalog = Catalog::parse(&text, "mine.toml").unwrap();
        let json = serde_json::to_value(&catalog.rules).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{
                "id": "mine/a/b", "catalog": "mine", "service": "mine", "cloud": ["public"],
                "level": "required", "when": "gpu and not windows", "option": null, "scope": "egress", "from": "node",
                "destinations": [
                    {"fqdn": "a.example"}, {"any": true}, {"service_tag": "Storage.{region}"},
                    {"cidr": "{api-server}"}, {"role": "node"}, {"fqdn": "*.b.example"},
                ],
                "alternatives": true, "transport": "tcp", "ports": [443, "8000-8001"],
                "app": "https", "use": "Testing.",
                "source": {"document": "mine", "section": "S"},
            }])
        );
        let params: Vec<_> = catalog.rules[0].params().collect();
        assert_eq!(params, [Param::Region, Param::ApiServer]);
    }

    #[test]
    fn errors_name_file_line_and_what_to_write() {
        assert_eq!(
            error(&[("when", "\"gpu or konectivity\"")]),
            "mine.toml:14: condition, character 8: unknown feature `konectivity`: did you mean `konnectivity`?"
        );
        assert_eq!(
            error(&[("destinations", "[\n\"a.example\",\n\"{regoin}.example\"]")]),
            "mine.toml:15: unknown placeholder `{regoin}`: did you mean `region`?"
        );
        for (change, says) in [
            (("colour", "1"), "mine.toml:14: unknown field `colour`, expected"),
            (
                ("cloud", "[\"mars\"]"),
                "mine.toml:13: unknown variant `mars`, expected one of `public`",
            ),
            (("cloud", "[]"), "`cloud` is empty"),
            (("ports", "[0]"), "mine.toml:13: invalid value: integer `0`, expected a port from 1"),
            (("id", "\"other/a\""), "has to be `mine/..`"),
            (("service", "\"My Service\""), "lower-case words"),
            (("destinations", ""), "no destinations"),
            (("any_of", "[\"*\"]"), "exclude each other"),
            (("destinations", "[\"https://a.example\"]"), "leave out the scheme"),
            (("destinations", "[{ cidr = \"10.0.0.1/8\" }]"), "bits beyond"),
            (("destinations", "[{ cidr = \"{region}\" }]"), "stands for a name's label"),
            (("destinations", "[\"{api-server}.example\"]"), "stands for an address"),
            (("destinations", "[{ ip = \"10.0.0.1\" }]"), "exactly one of"),
            (("destinations", "[{ cidr = \"10.0.0.1\", fqdn = \"a\" }]"), "exactly one of"),
            (("use", ""), "missing field `use`"),
        ] {
            let error = error(&[change]);
            assert!(error.contains(says), "{change:?}: {error}");
        }
        assert!(errors("name = ").starts_with("mine.toml:1: "));
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_or_refused(
            key in "when|id|ports|destinations|any_of|from|cloud",
            value in "[\\[\"{}a-z0-9 .*(),=/:\u{e9}-]{0,30}",
        ) {
            let text = format!("{HEAD}{}", rule(&[(&key, &value)]));
            let _ = Catalog::parse(&text, "mine.toml");
            let quoted = format!("{HEAD}{}", rule(&[(&key, &format!("{value:?}"))]));
            let _ = Catalog::parse(&quoted, "mine.toml");
            let listed = format!("{HEAD}{}", rule(&[(&key, &format!("[{value:?}]"))]));
            let _ = Catalog::parse(&listed, "mine.toml");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = format!("{HEAD}{}{}", rule(&[("cloud", "[]"), ("when", "\"gup\"")]), rule(&[]));
        let errors = Catalog::parse(&text, "mine.toml").unwrap_err();
        let lines: Vec<_> = errors.iter().map(LoadError::line).collect();
        assert_eq!(lines, [13, 14, 16]);
    }
}
