//! Sources through the scanner.

use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
};

use anyhow::{Context, bail};
use egress_auditor::{
    flow::Endpoint,
    scan::{Census, Limits, Place, Scanner, Sink},
    source::{Capture, End, InputStats, SourceError, plan},
};

use super::{Inputs, progress::Bar};
#[cfg(feature = "live")]
use super::{
    live::{LiveArgs, PATIENCE},
    sandbox::SandboxArgs,
};

/// Frames between two looks at how far reading has come.
const SHOW_EVERY: u32 = 4096;

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
    for skipped in &plan.skipped {
        eprintln!("egress-auditor: {}: skipped: {}", skipped.path.display(), skipped.reason);
    }
    let mut scanner = Scanner::new(Place::Beginning, Limits::default(), resolvers);
    let threads = inputs.threads.or_else(|| available_parallelism().ok());
    let mut stats = Vec::new();
    let mut errors = plan.errors;
    for (index, input) in (0..).zip(&plan.inputs) {
        let mut capture = match Capture::open(&input.path, index) {
            Ok(capture) => capture,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let bar =
            (!quiet).then(|| Bar::new(&input.path, index, plan.inputs.len(), capture.progress()));
        let result = push_all(&mut capture, &mut scanner, threads, &stop, bar.as_ref(), sink);
        drop(bar);
        stats.push(capture.stats());
        match result {
            Ok(End::Complete | End::Stopped) => {}
            Ok(End::Truncated) => {
                if let Some(damage) = capture.stats().truncated {
                    errors.push(SourceError::Damaged { path: input.path.clone(), damage });
                }
            }
            Err(error) => errors.push(error),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if stats.is_empty() && !errors.is_empty() {
        // Not even an empty capture: there is nothing to report on.
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        bail!("{}", lines.join("\n"));
    }
    let interrupted = stop.load(Ordering::Relaxed);
    let mut census = scanner.conclude(sink);
    census.counters.dropped = dropped(&stats);
    Ok(Reading { census, inputs: stats, errors, interrupted })
}

/// Frames that were lost while capturing, as far as the inputs tell.
pub(super) fn dropped(inputs: &[InputStats]) -> u64 {
    inputs.iter().filter_map(|stats| stats.dropped).fold(0, u64::saturating_add)
}

/// Bytes that a thread scans at a time: enough to make up for the merge, little enough that all of
/// it stays in the processor's cache from the walk that cuts it to the scan.
const STRETCH: u64 = 4 << 20;

/// Reads one input.
fn push_all(
    capture: &mut Capture,
    scanner: &mut Scanner,
    threads: Option<NonZeroUsize>,
    stop: &AtomicBool,
    bar: Option<&Bar>,
    sink: &mut impl Sink,
) -> Result<End, SourceError> {
    let stopped = || stop.load(Ordering::Relaxed);
    let show = || bar.into_iter().for_each(Bar::update);
    let several = threads.filter(|threads| threads.get() > 1 && !sink.wants_any());
    let Some((threads, cutter)) = several.zip(capture.cut(STRETCH)) else {
        let mut count = 0_u32;
        return capture.for_each(|frame| {
            scanner.push(&frame, sink);
            count = count.wrapping_add(1);
            if count.is_multiple_of(SHOW_EVERY) {
                show();
            }
            match stopped() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
    };
    let mut end = Ok(None);
    let stretches = cutter.take_while(|_| !stopped());
    scanner.push_stretches(stretches, threads, |stretch| {
        end = capture.have_read(stretch);
        show();
    });
    end.map(|end| end.unwrap_or(End::Stopped))
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
    let mut scanner = Scanner::new(Place::Beginning, args.limits()?, resolvers);
    let mut rings = args.open()?;
    sandbox.enter(&[])?;
    eprintln!("egress-auditor: capturing on {}; Ctrl-C ends it", args.interface.join(", "));
    let mut errors = Vec::new();
    while !stop.load(Ordering::Relaxed) {
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
