//! A bar that shows how far reading files has come: on standard error, only on a terminal.

use std::{io::IsTerminal, path::Path, sync::Arc, time::Duration};

use egress_auditor::source::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of one file at a time; nothing where nobody would see it.
pub(super) struct Bar {
    bar: ProgressBar,
    progress: Option<Arc<Progress>>,
}

impl Bar {
    /// Begins to show a file. `index` counts from 0.
    pub(super) fn new(path: &Path, index: u32, count: usize, progress: Arc<Progress>) -> Self {
        let seen = std::io::stderr().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(progress.total(), target);
        let template = match progress.total() {
            Some(_) => "{msg} {bar:24} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left",
            None => "{msg} {spinner} {bytes} {binary_bytes_per_sec}",
        };
        // A template that can't be read is a mistake of ours; the default serves as well.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
        bar.set_message(match count {
            1 => name,
            _ => format!("{name} ({} of {count})", index + 1),
        });
        if seen {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, progress: seen.then_some(progress) }
    }

    /// Looks how far reading has come; cheap, and does nothing when nobody sees it.
    pub(super) fn update(&self) {
        if let Some(progress) = &self.progress {
            self.bar.set_position(progress.done());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
