//! `--state`: a live audit that goes on where the one before ended.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use egress_auditor::{
    report::GapSpan,
    scan::Census,
    source::{Format, InputStats, MAX_GAPS, now},
};

use super::{
    audit,
    saved::{self, Saved, SavedInput, Unusable},
};

/// The file, and what it told at the start.
pub(super) struct State {
    path: PathBuf,
    /// What was read before, with the gap since then.
    pub(super) before: Vec<SavedInput>,
}

impl State {
    /// Reads the file, and gives what it tells: nothing was seen yet when there is none. One that can't
    /// be used is set aside, with a message.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is about other interfaces.
    pub(super) fn open(path: &Path, args: &audit::Args) -> anyhow::Result<(Self, Saved)> {
        let name = path.display();
        let interfaces = &args.inputs.live.interface;
        let mut told = match saved::read(path) {
            Ok(told) => told,
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                nothing(interfaces)
            }
            Err(Unusable::Io(error)) => {
                return Err(error).with_context(|| format!("--state {name}"));
            }
            Err(Unusable::Damaged(what)) => {
                let aside = saved::set_aside(path)
                    .with_context(|| format!("--state {name}: {what}; cannot set it aside"))?;
                eprintln!(
                    "egress-auditor: --state {name}: {what}; it is now {}, and the audit begins anew",
                    aside.display()
                );
                nothing(interfaces)
            }
        };
        let of: Vec<_> =
            told.inputs.iter().map(|input| input.stats.path.display().to_string()).collect();
        if of != *interfaces {
            bail!(
                "--state {name}: it is about -i {}; name the same interfaces, or another file",
                of.join(" -i ")
            );
        }
        told.inputs.iter_mut().for_each(interrupted);
        Ok((Self { path: path.to_owned(), before: told.inputs.clone() }, told))
    }

    /// Writes what was told so far.
    pub(super) fn write<C: std::borrow::Borrow<Census> + serde::Serialize>(
        &mut self,
        saved: &Saved<C>,
    ) -> anyhow::Result<()> {
        let named = || format!("{}: cannot write", self.path.display());
        saved::write(&self.path, saved).with_context(named)
    }
}

/// Adds what an input's capture before had counted. Frames and their times already go on from there.
pub(super) fn go_on(input: &mut SavedInput, before: &SavedInput) {
    if let Some(more) = before.stats.dropped {
        add(input.stats.dropped.get_or_insert(0), more);
    }
    let (Some(live), Some(before)) = (&mut input.live, &before.live) else { return };
    add(&mut live.received, before.received);
    add(&mut live.dropped, before.dropped);
    add(&mut live.interface_dropped, before.interface_dropped);
    add(&mut live.gap_count, before.gap_count);
    live.cutoff = match (live.cutoff, before.cutoff) {
        (Some(mut now), Some(before)) => {
            add(&mut now.frames, before.frames);
            add(&mut now.bytes, before.bytes);
            add(&mut now.uncounted, before.uncounted);
            Some(now)
        }
        (now, before) => now.or(before),
    };
    live.gaps.splice(0..0, before.gaps.iter().copied());
    let excess = live.gaps.len().saturating_sub(MAX_GAPS);
    live.gaps.drain(..excess);
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// Of interfaces that were never captured.
fn nothing(interfaces: &[String]) -> Saved {
    let input = |name: &String| SavedInput {
        stats: InputStats {
            path: name.into(),
            format: Format::Live,
            link_types: Vec::new(),
            frames: 0,
            bytes: 0,
            first: None,
            last: None,
            dropped: None,
            truncated: None,
        },
        live: None,
    };
    Saved { node: None, inputs: interfaces.iter().map(input).collect(), census: Census::default() }
}

/// Notes that nothing was seen from the last frame until now.
fn interrupted(input: &mut SavedInput) {
    let (Some(from), Some(live)) = (input.stats.last, &mut input.live) else { return };
    // One that was open goes on.
    if live.gaps.last().is_some_and(|gap| gap.to.is_none()) {
        live.gaps.pop();
        live.gap_count = live.gap_count.saturating_sub(1);
    }
    let from = live.gaps.last().and_then(|gap| gap.to).map_or(from, |to| to.max(from));
    // The clock may have been set back.
    live.gaps.push(GapSpan { from, to: Some(now().max(from)) });
    add(&mut live.gap_count, 1);
}
