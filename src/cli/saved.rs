//! What a capture told, unjudged, as a file: the state of a live audit, and what `merge` judges.
//!
//! gzip around a line that names the form and its version, and the data in postcard's wire format. gzip
//! brings the checksum.

use std::{
    borrow::Borrow,
    fmt, fs,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use egress_auditor::{report::LiveInput, scan::Census, source::InputStats};
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

/// The first line. Another version can't be read.
const FORM: &str = "egress-auditor/partial/1\n";

/// Unpacked, a file that is longer isn't one of ours.
const MAX_LEN: u64 = 8 << 30;

/// What a capture told.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved<C = Census> {
    /// The node that it is about.
    pub(super) node: Option<String>,
    pub(super) inputs: Vec<SavedInput>,
    pub(super) census: C,
}

/// What was read.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SavedInput {
    pub(super) stats: InputStats,
    /// Of an interface.
    pub(super) live: Option<LiveInput>,
}

/// Why a file can't be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It can't be read at all.
    Io(io::Error),
    /// It isn't what this version writes.
    Damaged(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read: {error}"),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

/// True when a file begins as those that [`write`] makes: gzip.
pub(super) fn is_saved(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Reads what [`write`] wrote.
pub(super) fn read(path: &Path) -> Result<Saved, Unusable> {
    let file = fs::File::open(path).map_err(Unusable::Io)?;
    decode(BufReader::new(file))
}

/// The same, from bytes.
pub(super) fn decode(packed: impl BufRead) -> Result<Saved, Unusable> {
    let damaged = |what: &str| Unusable::Damaged(format!("not a whole partial: {what}"));
    let mut unpacked = MultiGzDecoder::new(packed).take(MAX_LEN);
    let mut form = Vec::new();
    let first = (&mut unpacked).take(FORM.len() as u64).read_to_end(&mut form);
    first.map_err(|error| damaged(&error.to_string()))?;
    if form != FORM.as_bytes() {
        let begins = String::from_utf8_lossy(&form);
        return Err(damaged(&format!("it begins with {begins:?} and not with {FORM:?}")));
    }
    let mut data = Vec::new();
    unpacked.read_to_end(&mut data).map_err(|error| damaged(&error.to_string()))?;
    postcard::from_bytes(&data).map_err(|error| damaged(&error.to_string()))
}

/// Writes so that there is the old file or the new one, whatever happens meanwhile.
pub(super) fn write<C: Borrow<Census> + Serialize>(
    path: &Path,
    saved: &Saved<C>,
) -> io::Result<()> {
    let temporary = beside(path, "new");
    let put = || {
        let file = fs::File::create(&temporary)?;
        let mut packed = GzEncoder::new(BufWriter::new(file), Compression::fast());
        packed.write_all(FORM.as_bytes())?;
        postcard::to_io(saved, &mut packed).map_err(io::Error::other)?;
        let file = packed.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    put().inspect_err(|_| {
        // What is left of it is of no use.
        let _ = fs::remove_file(&temporary);
    })
}

/// Moves a file that can't be used out of the way. Gives its new name.
#[cfg(feature = "live")]
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, "damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// The name with something appended.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}
