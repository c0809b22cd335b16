//! Sources through the scanner.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, bail};
use egress_auditor::{
    flow::Endpoint,
    scan::{Census, Limits, Place, Scanner, Sink, Team},
    source::{InputStats, SourceError, plan},
};

#[cfg(feature = "live")]
use egress_auditor::source::{SET_BACK, now};

use super::{Inputs, files::Files, memory};
#[cfg(feature = "live")]
use super::{
    live::{LiveArgs, PATIENCE},
    sandbox::SandboxArgs,
};

/// What the inputs gave.
pub(crate) struct Reading {
    /// What the packets told.
    pub(crate) census: Census,
    /// What was read of each input.
    pub(crate) inputs: Vec<InputStats>,
    /// What couldn't be read.
    pub(crate) errors: Vec<SourceError>,
    /// True when the user broke off.
    pub(crate) interrupted: bool,
}

/// Reads all files to their end, or until the user breaks off. Observations go to `sink` as they
/// are made.
pub(crate) fn read(
    inputs: &Inputs,
    resolvers: Arc<[Endpoint]>,
    quiet: bool,
    sink: &mut impl Sink,
) -> anyhow::Result<Reading> {
    let stop = stop_on_signals()?;
    if inputs.files.is_empty() {
        bail!("nothing to read: name capture files, `-` for standard input, or -i IFACE");
    }
    let plan = plan(&inputs.files);
    if plan.inputs.iter().all(|input| !input.stream) {
        memory::keep_freed();
    }
    for skipped in &plan.skipped {
        eprintln!("egress-auditor: {}: skipped: {}", skipped.path.display(), skipped.reason);
    }
    let mut files = Files::new(&plan.inputs, &stop, !quiet);
    let mut census = if sink.wants_any() {
        // Who wants observations wants each connection, and all in order.
        let limits = Limits { fold: false, ..Limits::default() };
        let mut scanner = Scanner::new(Place::Beginning, limits, resolvers);
        files.each(|frame| scanner.push(frame, sink));
        scanner.conclude(sink)
    } else {
        let mut team = Team::new(inputs.threads(), Limits::default(), resolvers);
        team.scan(|turn| files.turn(turn));
        team.conclude()
    };
    let Files { stats, errors: failed, .. } = files;
    let errors: Vec<_> = plan.errors.into_iter().chain(failed).collect();
    if stats.is_empty() && !errors.is_empty() {
        // Not even an empty capture: there is nothing to report on.
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        bail!("{}", lines.join("\n"));
    }
    let interrupted = stop.load(Ordering::Relaxed);
    census.counters.dropped = dropped(&stats);
    Ok(Reading { census, inputs: stats, errors, interrupted })
}

/// Frames that were lost while capturing, as far as the inputs tell.
pub(super) fn dropped<'i>(inputs: impl IntoIterator<Item = &'i InputStats>) -> u64 {
    inputs.into_iter().filter_map(|stats| stats.dropped).fold(0, u64::saturating_add)
}

/// Captures until the user breaks off. Rights that aren't needed any more are given up
/// once the capture is open.
#[cfg(feature = "live")]
pub(super) fn capture(
    args: &LiveArgs,
    sandbox: &SandboxArgs,
    resolvers: Arc<[Endpoint]>,
    sink: &mut impl Sink,
) -> anyhow::Result<Reading> {
    let stop = stop_on_signals()?;
    let limits = Limits { fold: !sink.wants_any(), ..args.limits(1, false)? };
    let mut scanner = Scanner::new(Place::Beginning, limits, resolvers);
    let Some(mut rings) = args.open(1, None)?.pop() else { bail!("no interface") };
    sandbox.enter(&[], None, false)?;
    eprintln!("egress-auditor: capturing on {}; Ctrl-C ends it", args.interface.join(", "));
    let mut errors = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        scanner.heed_clock(now().plus(SET_BACK));
        if let Err(error) = rings.turn(PATIENCE, |frame| scanner.push(frame, sink)) {
            errors.push(error);
            break;
        }
    }
    rings.drain(|frame| scanner.push(frame, sink));
    let stats = rings.stats();
    let mut census = scanner.finish().conclude(sink);
    let inputs: Vec<_> = stats.into_iter().map(|stats| stats.input).collect();
    census.counters.dropped = dropped(&inputs);
    Ok(Reading { census, inputs, errors, interrupted: false })
}

/// A flag that SIGINT and SIGTERM raise. A second signal ends the process at once.
pub(super) fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::{consts::TERM_SIGNALS, flag};
    let stop = Arc::new(AtomicBool::new(false));
    for &signal in TERM_SIGNALS {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot handle signals")?;
    }
    Ok(stop)
}
