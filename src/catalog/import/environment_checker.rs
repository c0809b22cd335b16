//! The Environment Checker's list of targets, as JSON. serde_json is named here alone.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::{
    super::{Cloud, Level, PortRange, Scope, Transport},
    Imported,
    clouds::cloud_of,
    draft::{Draft, Requirement},
    endpoint::named,
    ports::{Service, services},
    shortened,
};

/// A text that is no list of targets. Displays with line and column where the JSON is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentCheckerError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another shape.
    #[error("no list of targets: an array of objects is needed, or an object that holds one")]
    NoList,
}

/// Reads an array of targets, or an object that has one as a value. Keys in any case.
///
/// `name` and `document` as for [`import_markdown`](super::import_markdown).
///
/// # Errors
///
/// When the text isn't JSON, or holds no array.
pub fn import_environment_checker(
    text: &str,
    name: &str,
    document: &str,
) -> Result<Imported, EnvironmentCheckerError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut draft = Draft::new(name, document, "");
    for item in targets(text)? {
        // The item is a part of the text, so their addresses tell where.
        let offset = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        match serde_json::from_str::<BTreeMap<String, Value>>(item.get()) {
            Ok(fields) => Target::new(fields).read(line, &mut draft),
            Err(_) => draft.report(line, item.get(), "not an object: no target"),
        }
    }
    Ok(draft.finish())
}

fn targets(text: &str) -> Result<Vec<&RawValue>, EnvironmentCheckerError> {
    let whole: &RawValue = serde_json::from_str(text)?;
    if let Ok(list) = serde_json::from_str(whole.get()) {
        return Ok(list);
    }
    let members: Vec<&RawValue> = serde_json::from_str::<BTreeMap<String, &RawValue>>(whole.get())
        .map_err(|_| EnvironmentCheckerError::NoList)?
        .into_values()
        .collect();
    let list = members.iter().find_map(|member| serde_json::from_str(member.get()).ok());
    list.ok_or(EnvironmentCheckerError::NoList)
}

/// A target's fields, by lower-case key.
struct Target(BTreeMap<String, Value>);

impl Target {
    fn new(fields: BTreeMap<String, Value>) -> Self {
        Self(fields.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect())
    }

    /// A text, or the texts of a list.
    fn texts(&self, key: &str) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let texts: Vec<_> = match self.0.get(key) {
            Some(Value::Array(list)) => list.iter().filter_map(text).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        };
        texts.into_iter().filter(|text| !text.is_empty()).collect()
    }

    fn first(&self, keys: &[&str]) -> String {
        keys.iter().find_map(|key| self.texts(key).into_iter().next()).unwrap_or_default()
    }

    fn read(&self, line: usize, draft: &mut Draft) {
        let title = self.first(&["title", "name", "description"]);
        let (row, odd) =
            services(&self.first(&["port", "ports"]), &self.texts("protocol").join(", "));
        for word in odd {
            draft.report(line, &word, "neither port nor protocol: left out");
        }
        let found = named(&self.texts("endpoint").join("\n"), false);
        for (text, why) in &found.odd {
            draft.report(line, text, why.as_str());
        }
        if found.endpoints.is_empty() {
            return draft.report(line, &title, "no endpoint found in this target");
        }
        let service = self.texts("service").join(" ");
        for endpoint in found.endpoints {
            let services = own_services(endpoint.port, &row);
            if services.iter().any(|service| service.port.is_none()) {
                let text = endpoint.destination.to_string();
                draft.report(
                    line,
                    &text,
                    "neither port nor protocol given: the rule takes any port",
                );
            }
            let own = endpoint.destination.text().and_then(cloud_of);
            let named = endpoint.cloud.first().copied();
            for how in services {
                draft.push(Requirement {
                    service: &service,
                    section: &self.section(),
                    cloud: vec![named.or(own).unwrap_or(Cloud::Public)],
                    level: self.level(),
                    when: None,
                    scope: Scope::Egress,
                    from: None,
                    destinations: vec![endpoint.destination.clone()],
                    alternatives: false,
                    transport: how.transport,
                    ports: how.port.into_iter().collect(),
                    app: how.app,
                    purpose: self.purpose(),
                });
            }
        }
    }

    fn section(&self) -> String {
        let group = self.first(&["group", "service", "title", "name"]);
        shortened(if group.is_empty() { "Targets" } else { &group }, 300)
    }

    fn level(&self) -> Level {
        let mandatory = match self.0.get("mandatory") {
            Some(Value::Bool(mandatory)) => Some(*mandatory),
            Some(Value::String(text)) => Some(text.eq_ignore_ascii_case("true")),
            _ => None,
        };
        let severity = self.first(&["severity"]).to_lowercase();
        let critical =
            !matches!(&*severity, "warning" | "informational" | "information" | "hidden");
        if mandatory.unwrap_or(critical) { Level::Required } else { Level::Recommended }
    }

    fn purpose(&self) -> String {
        let mut purpose = shortened(&self.first(&["description", "title", "name"]), 200);
        let operations = shortened(&self.texts("operationtype").join(", "), 100);
        if purpose.is_empty() {
            purpose = self.section();
        }
        if !operations.is_empty() {
            purpose.push_str(&format!(" ({operations})"));
        }
        purpose
    }
}

/// A port in the endpoint goes before the protocols' usual ones.
fn own_services(port: Option<PortRange>, row: &[Service]) -> Vec<Service> {
    match port {
        Some(_) if row.iter().any(|service| service.port == port) => row.to_vec(),
        Some(_) => {
            let transport = row.first().map_or(Transport::Tcp, |service| service.transport);
            let app = row.first().map(|service| service.app).filter(|_| row.len() == 1);
            vec![Service::new(transport, app, port)]
        }
        None if row.is_empty() => vec![Service::new(Transport::Tcp, None, None)],
        None => row.to_vec(),
    }
}
