//! What a live audit shows to others while it runs.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use egress_auditor::{
    report::Report,
    scan::{Limits, Usage},
    source::LiveStats,
};

/// Written by who captures and who judges, read by who shows.
pub(super) struct Shared {
    began: Instant,
    /// Milliseconds after `began` at which each ring's reader last showed that it goes on.
    beats: Vec<AtomicU64>,
    /// What the interfaces counted, by ring.
    live: Mutex<Vec<Vec<LiveStats>>>,
    /// How full the tables of each ring's scan are, and their bounds.
    tables: Mutex<Vec<Option<(Usage, Limits)>>>,
    report: Mutex<Option<Arc<Report>>>,
    /// Messages that can't go to the terminal, since a view is on it.
    notes: Mutex<Option<Vec<String>>>,
}

const MAX_NOTES: usize = 16;

/// A capture that hasn't shown life for this long hangs: it should every quarter of a second.
const HANGS: Duration = Duration::from_secs(30);

impl Shared {
    pub(super) fn new(rings: usize) -> Self {
        Self {
            began: Instant::now(),
            beats: (0..rings).map(|_| AtomicU64::new(0)).collect(),
            live: Mutex::new(vec![Vec::new(); rings]),
            tables: Mutex::new(vec![None; rings]),
            report: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// The capture on a ring goes on.
    pub(super) fn beat(&self, ring: usize) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(beat) = self.beats.get(ring) {
            beat.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the capture goes on, on all rings.
    pub(super) fn is_alive(&self) -> bool {
        self.beats.iter().all(|beat| {
            let beat = Duration::from_millis(beat.load(Ordering::Relaxed));
            self.began.elapsed().saturating_sub(beat) < HANGS
        })
    }

    /// What the interfaces counted for a ring, now.
    pub(super) fn set_live(&self, ring: usize, live: Vec<LiveStats>) {
        if let Some(place) = lock(&self.live).get_mut(ring) {
            *place = live;
        }
    }

    /// What the interfaces counted for all.
    pub(super) fn live(&self) -> Vec<LiveStats> {
        let rings = lock(&self.live);
        let Some((first, others)) = rings.split_first() else { return Vec::new() };
        let mut sum = first.clone();
        for more in others {
            sum.iter_mut().zip(more).for_each(|(sum, more)| sum.beside(more));
        }
        sum
    }

    /// How full the tables of a ring's scan are, now.
    pub(super) fn set_tables(&self, ring: usize, usage: Usage, limits: Limits) {
        if let Some(place) = lock(&self.tables).get_mut(ring) {
            *place = Some((usage, limits));
        }
    }

    /// How full the tables of each ring's scan are, and their bounds; `None` before its capture began.
    pub(super) fn tables(&self) -> Vec<Option<(Usage, Limits)>> {
        lock(&self.tables).clone()
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
