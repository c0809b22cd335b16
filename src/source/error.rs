use std::{borrow::Cow, fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a capture can't be read, or not any further. Displays the file, the byte offset, what is
/// wrong and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file can't be opened, or the folder can't be listed.
    #[error("{}: cannot open: {cause}", .path.display())]
    Open {
        /// As the user named it.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The system failed to read on.
    #[error("{}: byte {offset}: cannot read: {cause}", .path.display())]
    Read {
        /// As the user named it.
        path: PathBuf,
        /// Offset in the capture, after decompression.
        offset: u64,
        /// What the system said.
        cause: io::Error,
    },
    /// The bytes aren't those of a capture, or stop making sense.
    #[error("{}: {damage}", .path.display())]
    Damaged {
        /// As the user named it.
        path: PathBuf,
        /// What and where.
        damage: Damage,
    },
    /// The inputs don't go together.
    #[error("{}: {what}", .path.display())]
    Input {
        /// The path at fault.
        path: PathBuf,
        /// What and what to do.
        what: &'static str,
    },
    /// An interface can't be opened or read.
    #[error("interface {name}: {what}")]
    Interface {
        /// As the user named it.
        name: String,
        /// What and what to do.
        what: String,
    },
}

/// What is wrong with the bytes of a capture, and where. All that lies before is good.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("byte {offset}: {what}")]
pub struct Damage {
    /// Offset of the record or header at fault, after decompression.
    pub offset: u64,
    /// How bad it is.
    pub kind: DamageKind,
    /// What is wrong and what to do.
    pub what: Cow<'static, str>,
}

/// How bad a [`Damage`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// The file ends inside a record, as it does while the capture is still running.
    Truncated,
    /// A record contradicts the format.
    Corrupt,
    /// A capture format, or a version of one, that isn't read here.
    Unsupported,
    /// Something else than a capture.
    NotACapture,
}

impl Damage {
    #[cold]
    pub(super) fn new(offset: u64, kind: DamageKind, what: impl Into<Cow<'static, str>>) -> Self {
        let what = what.into();
        Self { offset, kind, what }
    }

    #[cold]
    pub(super) fn truncated(offset: u64) -> Self {
        let what = "the file ends inside this record; what comes before it was read";
        Self::new(offset, DamageKind::Truncated, what)
    }

    #[cold]
    pub(super) fn corrupt(offset: u64, what: impl fmt::Display) -> Self {
        let what =
            format!("{what}; reading ends here, copy the capture anew if it was transferred");
        Self::new(offset, DamageKind::Corrupt, what)
    }
}
