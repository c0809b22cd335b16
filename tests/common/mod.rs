//! What the integration tests share: fixtures, frames in memory, a whole audit.

#![allow(dead_code, unreachable_pub)]

pub mod packets;
pub mod rings;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use egress_auditor::{
    allowlist::Policy,
    base::{FrameId, Stamp, Timestamp},
    catalog::{Catalog, CatalogRef, Profile, Site, builtin},
    flow::Endpoint,
    report::{ProfileUsed, Report, write_json, write_text},
    scan::{Census, Limits, Place, Scanner, Sink},
    source::{Format, Frame, InputStats, LinkType, Records},
    verdict::judge_with,
};

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// All cases, sorted: folders that hold a capture.
pub fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries.filter(|path| capture(path).exists()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

/// A case's capture.
pub fn capture(case: &Path) -> PathBuf {
    let pcapng = case.join("capture.pcapng");
    if pcapng.exists() { pcapng } else { case.join("capture.pcap") }
}

/// Frames that a case's capture says it lost.
pub fn dropped(case: &Path) -> u64 {
    let bytes = fs::read(capture(case)).unwrap();
    let mut records = Records::new(&bytes, 0).unwrap();
    while records.next().unwrap().is_some() {}
    records.cursor().layout.dropped().unwrap_or(0)
}

/// A case's name.
pub fn name(case: &Path) -> &str {
    case.file_name().unwrap().to_str().unwrap()
}

/// The shared corpus of captures, or `None` with a printed reason.
pub fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no captures at {}", folder.display());
    None
}

/// The captures of a corpus, sorted.
pub fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for part in ["corpus", "mutants"] {
        collect(&folder.join(part), &mut files);
    }
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    pub time: Timestamp,
    pub link: LinkType,
    pub wire_len: u32,
    pub data: Vec<u8>,
}

impl OwnedFrame {
    /// The frame as the `number`th of its capture.
    pub fn numbered(&self, number: u64) -> Frame<'_> {
        let stamp = Stamp { time: self.time, frame: FrameId::new(0, number) };
        Frame { stamp, link: self.link, wire_len: self.wire_len, data: &self.data }
    }
}

/// The frames of a capture in memory, as far as it can be read.
pub fn frames_of(bytes: &[u8]) -> Vec<OwnedFrame> {
    let Ok(mut records) = Records::new(bytes, 0) else { return Vec::new() };
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = records.next() {
        frames.push(OwnedFrame {
            time: frame.stamp.time,
            link: frame.link,
            wire_len: frame.wire_len,
            data: frame.data.to_vec(),
        });
    }
    frames
}

/// The frames of a case.
pub fn frames(case: &Path) -> Vec<OwnedFrame> {
    frames_of(&fs::read(capture(case)).unwrap())
}

/// One scan from the first frame to the last. Folds unless observations are wanted, as the command.
pub fn scan(frames: &[OwnedFrame], resolvers: &Arc<[Endpoint]>, sink: &mut impl Sink) -> Census {
    let limits = Limits { fold: !sink.wants_any(), ..Limits::default() };
    let mut scanner = Scanner::new(Place::Beginning, limits, Arc::clone(resolvers));
    for (number, frame) in (1..).zip(frames) {
        scanner.push(&frame.numbered(number), sink);
    }
    scanner.finish().conclude(sink)
}

/// A site to audit.
pub struct Setting {
    catalogs: Vec<Catalog>,
    site: Site,
}

impl Setting {
    /// The site of a case.
    pub fn of(case: &Path) -> Self {
        let file = case.join("profile.toml");
        let text = fs::read_to_string(&file).unwrap();
        Self::new(Profile::parse(&text, &file.display().to_string()).unwrap())
    }

    /// The site that is assumed without a profile.
    pub fn default() -> Self {
        Self::new(Profile::default())
    }

    /// A site by its profile.
    pub fn new(profile: Profile) -> Self {
        let load = |reference: &CatalogRef| match reference {
            CatalogRef::Builtin(name) => builtin(name).unwrap(),
            CatalogRef::File(file) => panic!("fixtures use built-in catalogs, not {file}"),
        };
        let catalogs: Vec<_> = profile.catalogs.iter().map(load).collect();
        let site = Site::new(&catalogs, profile, None);
        Self { catalogs, site }
    }

    /// DNS servers that the profile lists.
    pub fn resolvers(&self) -> Arc<[Endpoint]> {
        let resolvers = &self.site.profile().network.resolvers;
        resolvers.iter().map(|resolver| Endpoint::new(resolver.ip(), resolver.port())).collect()
    }

    /// The report on what a capture told.
    pub fn report(&self, census: &Census) -> Report {
        self.report_with(census, None)
    }

    /// The same beside an allowlist.
    pub fn report_with(&self, census: &Census, policy: Option<&Policy<'_>>) -> Report {
        let unbound = self.site.profile().unbound(self.catalogs.iter().flat_map(|c| &c.rules));
        let used = ProfileUsed::new(None, self.site.profile(), &unbound);
        let span = census.counters.span;
        let stats = InputStats {
            path: "capture.pcap".into(),
            format: Format::Pcap,
            link_types: vec![LinkType::ETHERNET],
            frames: census.counters.frames,
            bytes: census.counters.bytes,
            first: span.map(|(first, _)| first),
            last: span.map(|(_, last)| last),
            dropped: None,
            truncated: None,
        };
        Report::new(
            &[stats],
            census,
            used,
            judge_with(census, &self.site, policy, NonZeroUsize::MIN),
        )
    }
}

/// A report as JSON.
pub fn json(report: &Report) -> String {
    let mut bytes = Vec::new();
    write_json(report, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A report as text.
pub fn text(report: &Report) -> String {
    let mut bytes = Vec::new();
    write_text(report, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}
