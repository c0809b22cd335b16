//! What an allowlist says, whatever product it is for.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    glob::Glob,
    intervals::{Nets, Ports},
};
use crate::catalog::{App, Transport};

/// The rules of one or more files in the order in which they are tried: the first that matches
/// decides, and what none matches is denied.
#[derive(Clone, Debug, Default)]
pub struct Allowlist {
    /// In the order of evaluation.
    pub entries: Vec<Entry>,
    /// What is worth knowing before the result is trusted: parts that can't be compared.
    pub notes: Vec<String>,
}

/// One destination of one rule.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Allow or deny.
    pub action: Action,
    /// What it is for.
    pub to: To,
    /// Names that it isn't for, although `to` has them.
    pub except: Vec<Glob>,
    /// The destination as the file writes it.
    pub text: String,
    /// 1-based line of the destination.
    pub line: usize,
    /// What it shares with the rule's other destinations.
    pub rule: Arc<RuleTerms>,
}

/// What a rule says beside its destinations.
#[derive(Clone, Debug)]
pub struct RuleTerms {
    /// File, as the user named it.
    pub file: Arc<str>,
    /// The rule's name; empty when it has none.
    pub name: String,
    /// What the rule stands in: a collection, a policy; empty when there is none.
    pub collection: String,
    /// Transport protocols.
    pub transports: Transports,
    /// Protocols above it.
    pub apps: Apps,
    /// Destination ports.
    pub ports: Ports,
    /// Client addresses; none means any.
    pub clients: Option<Nets>,
}

/// What a rule does with what it matches.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets it pass.
    Allow,
    /// Stops it.
    Deny,
}

/// What an entry's destination stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// Everything, by whatever name or address.
    Any,
    /// Names in any of these sets.
    Names(Vec<Glob>),
    /// Addresses.
    Nets(Nets),
    /// Something that can't be compared: why, and the names that it can be at all, when known.
    Unevaluated(String, Option<Vec<Glob>>),
}

/// Transport protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transports {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
}

/// Protocols above the transport. A device that looks into HTTP and TLS passes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Apps {
    /// HTTP in clear.
    pub http: bool,
    /// HTTP over TLS.
    pub https: bool,
    /// All else.
    pub other: bool,
}

impl Transports {
    /// TCP and UDP.
    pub const BOTH: Self = Self { tcp: true, udp: true };
    /// TCP only.
    pub const TCP: Self = Self { tcp: true, udp: false };
    /// UDP only.
    pub const UDP: Self = Self { tcp: false, udp: true };
    /// Neither.
    pub const NONE: Self = Self { tcp: false, udp: false };

    /// True when it has that one.
    pub fn has(self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
        }
    }

    /// True when it has all of the other.
    pub fn contains(self, other: Self) -> bool {
        (self.tcp || !other.tcp) && (self.udp || !other.udp)
    }

    /// `tcp`, `udp`, `tcp+udp`.
    pub fn text(self) -> &'static str {
        match (self.tcp, self.udp) {
            (true, true) => "tcp+udp",
            (true, false) => "tcp",
            (false, true) => "udp",
            (false, false) => "none",
        }
    }
}

impl Apps {
    /// Whatever it is.
    pub const ANY: Self = Self { http: true, https: true, other: true };

    /// True when it has that one.
    pub fn has(self, app: App) -> bool {
        match app {
            App::Http => self.http,
            App::Https => self.https,
            _ => self.other,
        }
    }

    /// True when it has all of the other.
    pub fn contains(self, other: Self) -> bool {
        (self.http || !other.http) && (self.https || !other.https) && (self.other || !other.other)
    }

    fn text(self) -> &'static str {
        match (self.http, self.https, self.other) {
            (_, _, true) => "any",
            (true, true, _) => "http+https",
            (true, ..) => "http",
            (_, true, _) => "https",
            _ => "none",
        }
    }
}

impl Entry {
    /// True when it matches every name, whatever address it resolves to.
    pub(super) fn takes_all_names(&self) -> bool {
        self.except.is_empty()
            && match &self.to {
                To::Any => true,
                To::Nets(nets) => nets.is_everywhere(),
                To::Names(_) | To::Unevaluated(..) => false,
            }
    }

    /// True when nothing is left out of its destination.
    pub(super) fn except_nothing(&self) -> bool {
        self.except.is_empty()
    }

    /// Where it stands: file, line, collection and rule.
    pub fn origin(&self) -> Origin {
        let rule = &self.rule;
        Origin {
            file: rule.file.to_string(),
            line: self.line,
            collection: rule.collection.clone(),
            rule: rule.name.clone(),
            text: self.text.clone(),
            action: self.action,
            transport: rule.transports.text().to_owned(),
            ports: rule.ports.text(),
            app: rule.apps.text().to_owned(),
            clients: rule
                .clients
                .as_ref()
                .map(|c| c.prefixes().iter().map(ToString::to_string).collect()),
            not_evaluated: match &self.to {
                To::Unevaluated(why, _) => Some(why.clone()),
                _ => None,
            },
        }
    }
}

/// An entry as reports show it.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Origin {
    /// File.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// What the rule stands in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub collection: String,
    /// The rule's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// The destination as written.
    pub text: String,
    /// Allow or deny.
    pub action: Action,
    /// `tcp`, `udp`, `tcp+udp`.
    pub transport: String,
    /// `443`, `80,443`, `8000-8001`, `*`.
    pub ports: String,
    /// `any`, `http`, `https`, `http+https`.
    pub app: String,
    /// Client prefixes; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<String>>,
    /// Why it can't be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_evaluated: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        match (&*self.collection, &*self.rule) {
            ("", "") => {}
            (name, "") | ("", name) => write!(f, " ({name})")?,
            (collection, rule) => write!(f, " ({collection} / {rule})")?,
        }
        let action = match self.action {
            Action::Allow => "allows",
            Action::Deny => "denies",
        };
        write!(f, " {action} {} {}/{}", self.text, self.ports, self.transport)?;
        if self.app != "any" {
            write!(f, " {} only", self.app)?;
        }
        if let Some(clients) = &self.clients {
            write!(f, " from {}", clients.join(", "))?;
        }
        Ok(())
    }
}
