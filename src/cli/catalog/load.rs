//! From what the user names to catalogs.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use egress_auditor::catalog::{Catalog, CatalogRef, Profile, builtin, names};
use serde::Serialize;

/// The built-in catalog of that name, or the one in that file.
pub(super) fn catalog(named: &str) -> anyhow::Result<Catalog> {
    match builtin(named) {
        Some(catalog) => Ok(catalog),
        None => Ok(Catalog::parse(&file(named)?, named)?),
    }
}

/// The text of a catalog file.
pub(super) fn file(named: &str) -> anyhow::Result<String> {
    let path = Path::new(named);
    if !path.exists() && !named.contains(['/', '\\', '.']) {
        bail!("no catalog `{named}`: built in are {}; a file needs its ending", known());
    }
    text(path)
}

/// The names of the built-in catalogs, for messages.
pub(super) fn known() -> String {
    names().collect::<Vec<_>>().join(", ")
}

pub(super) fn profile(path: &Path) -> anyhow::Result<Profile> {
    Ok(Profile::parse(&text(path)?, &path.display().to_string())?)
}

/// What the profile names as its catalogs; files lie relative to it.
pub(super) fn catalogs_of(profile: &Profile, path: &Path) -> Vec<String> {
    let base = path.parent().unwrap_or(Path::new(""));
    let named = |reference: &CatalogRef| match reference {
        CatalogRef::Builtin(name) => name.clone(),
        CatalogRef::File(file) => base.join(file).display().to_string(),
    };
    profile.catalogs.iter().map(named).collect()
}

pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))
}

pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}
