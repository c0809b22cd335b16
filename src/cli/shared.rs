//! What a live audit shows to others while it runs.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use egress_auditor::{report::Report, source::LiveStats};

/// Written by who captures and who judges, read by who shows.
pub(super) struct Shared {
    began: Instant,
    /// Milliseconds after `began` at which the capture last showed that it goes on.
    beat: AtomicU64,
    live: Mutex<Vec<LiveStats>>,
    report: Mutex<Option<Arc<Report>>>,
    /// Messages that can't go to the terminal, since a view is on it.
    notes: Mutex<Option<Vec<String>>>,
}

const MAX_NOTES: usize = 16;

/// A capture that hasn't shown life for this long hangs: it should every quarter of a second.
const HANGS: Duration = Duration::from_secs(30);

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            beat: AtomicU64::new(0),
            live: Mutex::default(),
            report: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// The capture goes on.
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(now, Ordering::Relaxed);
    }

    /// Whether the capture goes on.
    pub(super) fn is_alive(&self) -> bool {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(beat) < HANGS
    }

    /// The interfaces' counters now.
    pub(super) fn set_live(&self, live: Vec<LiveStats>) {
        *lock(&self.live) = live;
    }

    pub(super) fn live(&self) -> Vec<LiveStats> {
        lock(&self.live).clone()
    }

    /// The report of all that was judged.
    pub(super) fn set_report(&self, report: Arc<Report>) {
        *lock(&self.report) = Some(report);
    }

    /// Keeps messages from now on, instead of printing them.
    #[cfg(feature = "tui")]
    pub(super) fn keep_notes(&self) {
        *lock(&self.notes) = Some(Vec::new());
    }

    /// Tells the user.
    pub(super) fn note(&self, text: String) {
        match &mut *lock(&self.notes) {
            None => eprintln!("egress-auditor: {text}"),
            Some(notes) => {
                // The last one is shown; a few more for whoever comes back.
                if notes.len() == MAX_NOTES {
                    notes.remove(0);
                }
                notes.push(text);
            }
        }
    }

    /// The messages that were kept.
    #[cfg(feature = "tui")]
    pub(super) fn notes(&self) -> Vec<String> {
        lock(&self.notes).clone().unwrap_or_default()
    }

    /// The latest report; `None` before the first window ends.
    pub(super) fn report(&self) -> Option<Arc<Report>> {
        lock(&self.report).clone()
    }
}

/// What is behind a lock is always whole, whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
