//! JSON Schemas of what others script against, made from the types that are written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Report;
use crate::{
    base::{HostName, Timestamp},
    catalog::Profile,
    decode::{Transport, Tunnel},
    extract::Observation,
    verdict::FlowSummary,
};

/// Schema of the JSON report.
pub fn report_schema() -> Schema {
    titled(schemars::schema_for!(Report), "JSON report of egress-auditor audit")
}

/// Schema of one line of `observe`.
pub fn observation_schema() -> Schema {
    titled(schemars::schema_for!(Line), "A line of egress-auditor observe")
}

/// Schema of a profile, as TOML that is read into JSON.
pub fn profile_schema() -> Schema {
    titled(Profile::schema(), "Profile of a site, for egress-auditor")
}

/// A line of `observe`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Line {
    Observation(Observation),
    Flow(FlowSummary),
}

fn titled(mut schema: Schema, title: &str) -> Schema {
    schema.insert("title".to_owned(), title.into());
    schema
}

/// Types that are written as text.
macro_rules! text_schema {
    ($($name:ident $schema:tt)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text_schema! {
    Timestamp {
        "type": "string",
        "description": "RFC 3339, UTC, nine fractional digits.",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"
    }
    HostName {
        "type": "string",
        "description": "A host name, in lower case and without the trailing dot.",
        "maxLength": 253,
        "pattern": "^[a-z0-9_.-]+$"
    }
    Transport {
        "type": "string",
        "description": "TCP or UDP.",
        "enum": ["tcp", "udp"]
    }
    Tunnel {
        "type": "string",
        "description": "An encapsulation that carries whole packets.",
        "enum": [
            "ipinip", "gre", "erspan", "vxlan", "geneve", "gtp", "mpls", "pppoe", "teredo"
        ]
    }
}
