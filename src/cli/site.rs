//! The files that describe a site: profile, catalogs, service tags.

use std::{
    fs,
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use egress_auditor::{
    allowlist::Policy,
    catalog::{Catalog, CatalogRef, Profile, ServiceTags, Site, builtin, names},
    flow::Endpoint,
    report::{ProfileUsed, Report},
    scan::Census,
    source::InputStats,
    verdict::judge_with,
};

/// What a site needs.
#[derive(clap::Args)]
pub(super) struct SiteArgs {
    /// The site: cloud, region, features, networks. See `profile init`.
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,

    /// Catalogs to audit against, built-in names or files, instead of the profile's.
    #[arg(long, value_name = "NAME|FILE")]
    catalog: Vec<String>,

    /// The publisher's ServiceTags_*.json, for rules that name service tags.
    #[arg(long, value_name = "FILE")]
    service_tags: Option<PathBuf>,
}

impl SiteArgs {
    /// The site, and the service tags that the user gave.
    pub(super) fn load(&self) -> anyhow::Result<(Site, Option<ServiceTags>)> {
        self.load_for(&[])
    }

    /// The files that [`Self::load`] reads with this profile.
    #[cfg(feature = "live")]
    pub(super) fn files(&self, profile: &Profile) -> Vec<PathBuf> {
        let base = match self.catalog.is_empty() {
            true => self.profile.as_deref().and_then(Path::parent),
            false => None,
        };
        let catalogs = profile.catalogs.iter().filter_map(|reference| match reference {
            CatalogRef::Builtin(_) => None,
            CatalogRef::File(file) => {
                Some(base.map_or_else(|| PathBuf::from(file), |base| base.join(file)))
            }
        });
        self.profile.iter().chain(&self.service_tags).cloned().chain(catalogs).collect()
    }

    /// The report of what a capture told.
    pub(super) fn judge(
        &self,
        site: &Site,
        policy: Option<&Policy<'_>>,
        census: &Census,
        inputs: &[InputStats],
        threads: NonZeroUsize,
    ) -> Report {
        let file = self.profile.as_ref().map(|path| path.display().to_string());
        let unbound = site.profile().unbound(site.rules().iter().map(|rule| &rule.rule));
        let used = ProfileUsed::new(file, site.profile(), &unbound);
        Report::new(inputs, census, used, judge_with(census, site, policy, threads))
    }

    /// What [`Self::load`] gives, for a host with these addresses: without a profile, they are local.
    pub(super) fn load_for(&self, own: &[IpAddr]) -> anyhow::Result<(Site, Option<ServiceTags>)> {
        let mut profile = load_profile(self.profile.as_deref())?;
        if self.profile.is_none() {
            let local = &mut profile.network.local;
            let all = own.iter().filter(|addr| !addr.is_loopback() && !addr.is_unspecified());
            for &addr in all {
                if !local.iter().any(|net| net.contains(&addr)) {
                    local.push(addr.into());
                }
            }
        }
        let base = choose_catalogs(&mut profile, &self.catalog, self.profile.as_deref());
        let catalogs = load_catalogs(&profile, base)?;
        let tags = self.service_tags.as_deref().map(load_tags).transpose()?;
        Ok((Site::new(&catalogs, profile, tags.as_ref()), tags))
    }
}

impl SiteArgs {
    /// The site with another profile, or with other catalogs.
    pub(super) fn against(
        &self,
        profile: Option<&Path>,
        catalogs: &[String],
    ) -> anyhow::Result<Site> {
        let file = profile.or(self.profile.as_deref());
        let mut profile = load_profile(file)?;
        let named = if catalogs.is_empty() { &self.catalog } else { catalogs };
        let base = choose_catalogs(&mut profile, named, file);
        let catalogs = load_catalogs(&profile, base)?;
        let tags = self.service_tags.as_deref().map(load_tags).transpose()?;
        Ok(Site::new(&catalogs, profile, tags.as_ref()))
    }
}

/// The profile in a file, or the default one.
pub(super) fn load_profile(path: Option<&Path>) -> anyhow::Result<Profile> {
    match path {
        Some(path) => Ok(Profile::parse(&read_text(path)?, &path.display().to_string())?),
        None => Ok(Profile::default()),
    }
}

/// Puts the catalogs that the command line names in place of the profile's. Gives the folder that
/// catalog files are relative to: the profile's own for those that it names.
pub(super) fn choose_catalogs<'p>(
    profile: &mut Profile,
    named: &[String],
    file: Option<&'p Path>,
) -> Option<&'p Path> {
    if named.is_empty() {
        return file.and_then(Path::parent);
    }
    let reference = |text: &String| match builtin(text) {
        Some(_) => CatalogRef::Builtin(text.clone()),
        None => CatalogRef::File(text.clone()),
    };
    profile.catalogs = named.iter().map(reference).collect();
    None
}

/// The profile's catalogs.
pub(super) fn load_catalogs(
    profile: &Profile,
    base: Option<&Path>,
) -> anyhow::Result<Vec<Catalog>> {
    profile.catalogs.iter().map(|reference| load_catalog(reference, base)).collect()
}

fn load_catalog(reference: &CatalogRef, base: Option<&Path>) -> anyhow::Result<Catalog> {
    match reference {
        CatalogRef::Builtin(name) => {
            builtin(name).with_context(|| format!("no built-in catalog `{name}`"))
        }
        CatalogRef::File(file) => {
            let path = base.map_or_else(|| PathBuf::from(file), |base| base.join(file));
            if !path.exists() && !file.contains(['/', '.']) {
                let known = names().collect::<Vec<_>>().join(", ");
                bail!("no catalog `{file}`: built in are {known}");
            }
            Ok(Catalog::parse(&read_text(&path)?, &path.display().to_string())?)
        }
    }
}

/// The publisher's service tags.
pub(super) fn load_tags(path: &Path) -> anyhow::Result<ServiceTags> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot read", path.display()))?;
    ServiceTags::from_json(&bytes).with_context(|| path.display().to_string())
}

/// DNS servers on unusual ports.
pub(super) fn resolvers(profile: &Profile) -> Arc<[Endpoint]> {
    let resolvers = profile.network.resolvers.iter();
    resolvers.map(|resolver| Endpoint::new(resolver.ip(), resolver.port())).collect()
}

pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))
}
