//! Live audits: captures, and judges window after window beside that.

use std::{
    fs::File,
    io::{self, Seek, Write},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use egress_auditor::{
    allowlist::{Allowlist, Policy},
    catalog::Site,
    flow::{BUDGET, Endpoint},
    report::{CutOff, GapSpan, LiveInput, Report},
    source::{Cut, Cutoff, Gap, InputStats, LiveStats, addresses},
};

use super::{
    EXIT_ERROR, audit,
    delta::WindowLine,
    listen::ListenArgs,
    live::{PATIENCE, size},
    read::{dropped, stop_on_signals},
    reader::{Crew, Ending, Gathering, Piece, Seen, Snapshot},
    sandbox::SandboxArgs,
    saved::{Saved, SavedInput},
    shared::Shared,
    site::resolvers,
    state::{State, go_on},
    window::Windows,
};

/// How a live audit goes on.
#[derive(clap::Args)]
pub(super) struct WatchArgs {
    /// Print a line of JSON on standard output for each such stretch of capture time (60s, 5m, 1h),
    /// with -i: what changed, and what was lost. With -o the report of all so far is written at the
    /// end of each; without, it is the last line. SIGHUP reads profile, catalogs and allowlist
    /// anew.
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "interface", conflicts_with = "files")]
    window: Option<Duration>,

    /// Show what is required, and what is unexpected, on the terminal while it captures, with -i.
    #[cfg(feature = "tui")]
    #[arg(long, requires = "interface", conflicts_with_all = ["window", "files"])]
    tui: bool,

    /// Go on from what this file tells of the capture before, and keep it up to date at the end of each
    /// window, with -i: a restart then loses the open window at most. `merge` reads it too.
    #[arg(long, value_name = "FILE", requires = "interface", conflicts_with = "files")]
    state: Option<PathBuf>,

    /// Have the kernel spread the frames of each interface over so many rings, by their flows, with
    /// -i: each has a buffer and a thread of its own. For links that are too fast for one core.
    #[arg(
        long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=64),
        requires = "interface", conflicts_with = "files"
    )]
    rings: u8,

    /// Let the kernel count what comes late in TCP and UDP flows instead of handing it over, with -i:
    /// what follows the first 64K (or SIZE) of payload of each direction, but for ends of connections.
    /// Verdicts, names and counts of bytes stay. For links that are too fast otherwise. Needs
    /// CAP_BPF (root has it) and Linux 5.11.
    #[arg(
        long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "64K",
        value_parser = cutoff, requires = "interface", conflicts_with_all = ["files", "filter", "prefilter"]
    )]
    cutoff: Option<u32>,

    #[command(flatten)]
    listen: ListenArgs,

    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// Windows of a report that nobody asked to have in windows.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

/// How often a view on the terminal gets a report.
const VIEW_WINDOW: Duration = Duration::from_secs(2);

impl WatchArgs {
    fn has_view(&self) -> bool {
        #[cfg(feature = "tui")]
        return self.tui;
        #[cfg(not(feature = "tui"))]
        false
    }

    /// How often a report is made, if it is before the end.
    fn window(&self) -> Option<Duration> {
        let view = self.has_view().then_some(VIEW_WINDOW);
        let kept = self.listen.is_wanted() || self.state.is_some();
        self.window.or(view).or(kept.then_some(DEFAULT_WINDOW))
    }
}

/// Captures until a signal comes, then reports.
pub(super) fn run(args: &audit::Args) -> anyhow::Result<ExitCode> {
    let live = &args.inputs.live;
    #[cfg(feature = "tui")]
    if args.watch.tui {
        super::tui::check()?;
    }
    let own: Vec<_> = live.interface.iter().flat_map(|name| addresses(name)).collect();
    let (site, list) = load(args, &own)?;
    let state = args.watch.state.as_deref().map(|path| State::open(path, args)).transpose()?;
    let limits = live.limits(args.watch.rings.into(), args.watch.cutoff.is_some())?;
    // What resolvers on unusual ports say isn't bulk.
    let whole = resolvers(site.profile()).iter().map(|resolver| resolver.port()).collect();
    let cutoff = args.watch.cutoff.map(|limit| Cutoff { limit, whole });
    let rings = live.open(args.watch.rings.into(), cutoff)?;
    let earlier = args.output.baseline()?;
    let output = args.output.output.as_deref().map(Output::open).transpose()?;
    let listener = args.watch.listen.open()?;
    let stop = stop_on_signals()?;
    let reload = reload_on_signal()?;
    let shared = Arc::new(Shared::new(rings.len()));
    // From here on there's only one thread and nothing to open, until there are no rights left.
    let mut files = args.site.files(site.profile());
    files.extend(args.permitted.files());
    let written = args.watch.state.as_deref();
    args.watch.sandbox.enter(&files, written, args.watch.cutoff.is_some())?;
    let (mut state, before) = state.unzip();
    if let (Some(state), Some(before)) = (&mut state, &before) {
        state.write(before).context("--state: cannot go on without")?;
    }
    if let Some(listener) = listener {
        listener.start(Arc::clone(&shared));
    }
    let (pieces, received) = channel();
    let (changes, changed): (Vec<_>, Vec<_>) = rings.iter().map(|_| channel()).unzip();
    let idle = AtomicBool::new(true);
    let lines = args.watch.window.is_some();
    let mut court = Court {
        args,
        own: &own,
        site,
        list,
        earlier,
        before: None,
        reloaded: false,
        lines,
        output,
        state,
        kept: Instant::now(),
        reload: &reload,
        changes,
        gathering: Gathering::new(rings.len()),
        idle: &idle,
        shared: &shared,
    };
    eprintln!(
        "egress-auditor: capturing on {}; Ctrl-C ends it with the report",
        live.interface.join(", ")
    );
    let windows = args.watch.window().map(Windows::new);
    let resolvers = resolvers(court.site.profile());
    let crew = Crew::new(before.as_ref(), live.interface.len(), rings.len(), &shared, &idle, &stop);
    let readers = crew.readers(before, limits, &resolvers, windows, changed, &pieces);
    drop(pieces);
    let (told, failed) = thread::scope(|scope| {
        #[cfg(feature = "tui")]
        if args.watch.tui {
            shared.keep_notes();
            scope.spawn(|| {
                // Without the view there would be no way to end it.
                let _ending = Ending(&stop);
                let shown = super::tui::run(&shared, &stop, &reload);
                shown.map_err(|error| shared.note(format!("--tui: {error}")))
            });
        }
        let (court, stop) = (&mut court, &*stop);
        let judging = scope.spawn(move || {
            // Whatever went wrong, capturing on would be for nothing.
            let _ending = Ending(stop);
            court.sit(&received)
        });
        let mut readers = readers.into_iter().zip(rings);
        let first = readers.next();
        let others: Vec<_> =
            readers.map(|(reader, rings)| scope.spawn(move || reader.capture(rings))).collect();
        let mut failed = first.and_then(|(reader, rings)| reader.capture(rings).err());
        for other in others {
            // One that panicked has handed over nothing, which ends the judging with an error.
            failed = failed.or(other.join().ok().and_then(Result::err));
        }
        (judging.join(), failed)
    });
    let report = told.map_err(|_| anyhow!("judging ended in an internal error"))??;
    court.conclude(&report)?;
    if let Some(error) = failed {
        eprintln!("egress-auditor: {error}");
        return Ok(ExitCode::from(EXIT_ERROR));
    }
    Ok(args.output.exit_code(&report))
}

/// Judges snapshots.
struct Court<'c> {
    args: &'c audit::Args,
    own: &'c [IpAddr],
    site: Site,
    /// What the firewall permits.
    list: Option<Arc<Allowlist>>,
    /// What `--baseline` names.
    earlier: Option<Report>,
    before: Option<Arc<Report>>,
    reloaded: bool,
    lines: bool,
    output: Option<Output>,
    state: Option<State>,
    /// When the state was written, or would have been.
    kept: Instant,
    reload: &'c AtomicBool,
    /// Tell those who capture of other resolvers.
    changes: Vec<Sender<Arc<[Endpoint]>>>,
    gathering: Gathering,
    idle: &'c AtomicBool,
    shared: &'c Shared,
}

impl Court<'_> {
    /// Judges one snapshot after another. Gives the report of the last.
    fn sit(&mut self, pieces: &Receiver<Piece>) -> anyhow::Result<Arc<Report>> {
        loop {
            let list = self.list.clone();
            let policy = list.as_deref().map(Policy::new);
            match self.session(pieces, policy.as_ref())? {
                Some(last) => return Ok(last),
                None => self.read_anew(),
            }
        }
    }

    /// Judges by the same files. Gives the last report; `None` when they are to be read anew.
    fn session(
        &mut self,
        pieces: &Receiver<Piece>,
        policy: Option<&Policy<'_>>,
    ) -> anyhow::Result<Option<Arc<Report>>> {
        loop {
            if self.reload.swap(false, Ordering::Relaxed) {
                return Ok(None);
            }
            let piece = match pieces.recv_timeout(PATIENCE) {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("capturing ended in an internal error"));
                }
            };
            let Some(snapshot) = self.gathering.add(piece) else { continue };
            let (window, last) = (snapshot.window, snapshot.last);
            let report = Arc::new(self.judge(snapshot, policy));
            self.shared.set_report(Arc::clone(&report));
            if let (Some(window), true) = (window, self.lines) {
                self.say(&WindowLine::new(window, self.before.as_deref(), &report, self.reloaded))?;
                self.reloaded = false;
            }
            if last {
                return Ok(Some(report));
            }
            // A full disk may have room again by the next window.
            if let Some(output) = &mut self.output
                && let Err(error) = output.write(self.args, &report)
            {
                self.shared.note(format!("{error:#}; capturing goes on"));
            }
            self.before = Some(report);
            self.idle.store(true, Ordering::Release);
        }
    }

    /// Writes the last report to where it was asked for.
    fn conclude(mut self, report: &Report) -> anyhow::Result<()> {
        match &mut self.output {
            Some(output) => output.write(self.args, report),
            None if self.lines => self.say(&LastLine { event: "report", report }),
            None => self.args.output.write(report, self.args.format),
        }
    }

    fn judge(&mut self, snapshot: Snapshot, policy: Option<&Policy<'_>>) -> Report {
        let Snapshot { mut partials, seen, mut live, last, .. } = snapshot;
        for (stats, seen) in live.iter_mut().zip(seen) {
            let Seen { frames, bytes, span } = seen;
            let (first, last) = (span.map(|(first, _)| first), span.map(|(_, last)| last));
            stats.input = InputStats { frames, bytes, first, last, ..stats.input.clone() };
        }
        let first = partials.remove(0);
        let mut census = first.beside(partials, &mut ()).conclude(&mut ());
        let mut inputs: Vec<_> = live.iter().map(|stats| self.input(stats)).collect();
        if let Some(state) = &self.state {
            inputs.iter_mut().zip(&state.before).for_each(|(input, before)| go_on(input, before));
        }
        let stats: Vec<_> = inputs.iter().map(|input| input.stats.clone()).collect();
        census.counters.dropped = dropped(&stats);
        let mut report = self.args.report(&self.site, policy, &census, &stats);
        for (shown, input) in report.inputs.iter_mut().zip(&inputs) {
            shown.live.clone_from(&input.live);
        }
        // The view on the terminal is judged more often than is worth a file.
        let is_due = !self.args.watch.has_view() || last || self.kept.elapsed() >= DEFAULT_WINDOW;
        if let Some(state) = self.state.as_mut().filter(|_| is_due)
            && let Err(error) =
                state.write(&Saved { node: self.args.node(), inputs, census: &census })
        {
            self.shared.note(format!("--state: {error:#}; capturing goes on"));
        }
        if is_due {
            self.kept = Instant::now();
        }
        if let Some(earlier) = &self.earlier {
            report.compare(earlier);
        }
        report
    }

    fn input(&self, stats: &LiveStats) -> SavedInput {
        let live = &self.args.inputs.live;
        let span = |&Gap { from, to }: &Gap| GapSpan { from, to };
        let told = LiveInput {
            received: stats.kernel.received,
            dropped: stats.kernel.dropped,
            interface_dropped: stats.kernel.if_dropped,
            filter: live.filter.clone(),
            prefilter: live.prefilter,
            gaps: stats.gaps.iter().map(span).collect(),
            gap_count: stats.gap_count,
            cutoff: stats.cut.map(|Cut { limit, frames, bytes, accounted }| CutOff {
                limit,
                frames,
                bytes,
                uncounted: bytes.saturating_sub(accounted),
            }),
        };
        SavedInput { stats: stats.input.clone(), live: Some(told) }
    }

    /// Takes profile, catalogs, service tags and allowlist as they are now, unless something is
    /// wrong in any of them.
    fn read_anew(&mut self) {
        match load(self.args, self.own) {
            Ok((site, list)) => {
                let resolvers = resolvers(site.profile());
                if resolvers != super::site::resolvers(self.site.profile()) {
                    for changes in &self.changes {
                        // Refused only when capturing has ended.
                        let _ = changes.send(Arc::clone(&resolvers));
                    }
                }
                (self.site, self.list) = (site, list);
                self.reloaded = true;
                let what = self.what_is_read();
                self.shared.note(format!("read {what} anew"));
            }
            Err(error) => self.shared.note(format!(
                "{} stay as they were, the new ones can't be used: {error:#}",
                self.what_is_read()
            )),
        }
    }

    fn what_is_read(&self) -> &'static str {
        match self.list {
            Some(_) => "profile, catalogs and allowlist",
            None => "profile and catalogs",
        }
    }

    fn say(&self, line: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        Ok(out.flush()?)
    }
}

/// The site, and what its firewall permits.
fn load(args: &audit::Args, own: &[IpAddr]) -> anyhow::Result<(Site, Option<Arc<Allowlist>>)> {
    let (site, tags) = args.site.load_for(own)?;
    Ok((site, args.permitted.read(tags.as_ref())?.map(Arc::new)))
}

/// The whole report on a line.
#[derive(serde::Serialize)]
struct LastLine<'r> {
    event: &'static str,
    #[serde(flatten)]
    report: &'r Report,
}

/// A file that always holds the latest report. Opened once: later there may be no right to.
struct Output {
    name: String,
    file: File,
}

impl Output {
    fn open(path: &std::path::Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let options = || File::options().write(true).create(true).truncate(false).open(path);
        let file = options().with_context(|| format!("{name}: cannot write"))?;
        Ok(Self { name, file })
    }

    fn write(&mut self, args: &audit::Args, report: &Report) -> anyhow::Result<()> {
        let mut text = Vec::new();
        args.output.write_to(report, args.format, &mut text)?;
        let mut put = || {
            self.file.rewind()?;
            self.file.write_all(&text)?;
            // Pipes and devices have no length.
            let _ = self.file.set_len(text.len() as u64);
            self.file.flush()
        };
        put().with_context(|| format!("{}: cannot write", self.name))
    }
}

/// A flag that SIGHUP raises.
fn reload_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let reload = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&reload))
        .context("cannot handle signals")?;
    Ok(reload)
}

/// A number of bytes that a cut-off may let through.
fn cutoff(text: &str) -> Result<u32, String> {
    match size(text)? {
        bytes if bytes < BUDGET => {
            Err("at least 64K: so much of each direction is read".to_owned())
        }
        bytes => Ok(bytes),
    }
}

/// A number with `s`, `m` or `h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number with s, m or h, as in 60s".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    let range = 100..=31 * 24 * 3_600_000;
    let millis = number.checked_mul(unit).filter(|millis| range.contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "from 100ms to 744h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("60").is_err() && duration("0s").is_err() && duration("s").is_err());
        assert!(duration("9999h").is_err());
    }
}
