use std::{ops::ControlFlow, sync::Arc};

use super::{
    Cursor, Damage, Frame, Records,
    map::{self, Mmap},
    stats::Tally,
};

/// Cuts a mapped capture into stretches that begin and end with a record.
///
/// Walks from record to record, which is several times as fast as reading them, and brings what the
/// reader needs first of each closer on the way: a guess at where records begin could be wrong, as
/// a capture's payload may itself be a capture.
#[derive(Debug)]
pub struct Cutter {
    map: Arc<Mmap>,
    /// `None` behind the last stretch.
    cursor: Option<Cursor>,
    size: u64,
}

/// A contiguous part of a capture's records.
#[derive(Debug)]
pub struct Stretch {
    pub(super) map: Arc<Mmap>,
    pub(super) start: Cursor,
    /// Behind the last record.
    pub(super) end: Cursor,
    pub(super) tally: Tally,
    /// Of the last stretch: what is wrong behind it, if anything.
    pub(super) last: Option<Option<Damage>>,
}

impl Cutter {
    pub(super) fn new(map: Arc<Mmap>, cursor: Cursor, size: u64) -> Self {
        Self { map, cursor: Some(cursor), size }
    }
}

impl Iterator for Cutter {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let start = self.cursor.take()?;
        let until = start.offset.saturating_add(self.size);
        let reach = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        map::populate(&self.map, reach(start.offset), reach(self.size));
        let mut records = Records::resume(&self.map, start.clone());
        let last = loop {
            match records.next() {
                Ok(Some(_)) if records.offset() < until => {}
                Ok(Some(_)) => break None,
                Ok(None) => break Some(None),
                Err(damage) => break Some(Some(damage)),
            }
        };
        let end = records.cursor().clone();
        if last.is_none() {
            self.cursor = Some(end.clone());
        }
        Some(Stretch { map: Arc::clone(&self.map), start, end, tally: Tally::default(), last })
    }
}

impl Stretch {
    /// Hands every frame to `on_frame` until it breaks off. Called again, begins anew.
    pub fn for_each<F>(&mut self, mut on_frame: F)
    where
        F: FnMut(Frame<'_>) -> ControlFlow<()>,
    {
        self.tally = Tally::default();
        let mut records = Records::resume(&self.map, self.start.clone());
        while records.offset() < self.end.offset
            && let Ok(Some(frame)) = records.next()
        {
            self.tally.count(&frame);
            if on_frame(frame).is_break() {
                break;
            }
        }
    }

    /// The memory that the frames lie in.
    pub fn backing(&self) -> Arc<dyn AsRef<[u8]> + Send + Sync> {
        Arc::clone(&self.map) as _
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Capture, testing::*},
        *,
    };

    type Seen = Vec<(u64, u64, Vec<u8>)>;

    fn all(bytes: &[u8], size: Option<u64>) -> (Seen, String, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let Ok(mut capture) = Capture::open(file.path(), 0) else { return Default::default() };
        let mut seen = Vec::new();
        let mut note = |frame: Frame<'_>| {
            let stamp = frame.stamp;
            seen.push((stamp.frame.number(), stamp.time.nanos(), frame.data.to_vec()));
            ControlFlow::Continue(())
        };
        let end = match size {
            None => capture.for_each(note),
            Some(size) => {
                let mut end = Ok(None);
                for mut stretch in capture.cut(size).unwrap() {
                    stretch.for_each(|_| ControlFlow::Break(()));
                    stretch.for_each(&mut note);
                    end = capture.have_read(stretch);
                }
                end.map(Option::unwrap)
            }
        };
        let end = format!(
            "{:?}",
            end.map_err(|error| error.to_string().replace(&file.path().display().to_string(), ""))
        );
        let stats = super::super::InputStats { path: "x".into(), ..capture.stats() };
        (seen, end, format!("{stats:?}"))
    }

    proptest! {
        #[test]
        fn stretches_hold_what_one_walk_finds(
            cut in 24usize..2000, size in 1u64..300, ng in any::<bool>(),
        ) {
            let bytes = if ng { small_pcapng() } else {
                let records = (0..20).flat_map(|n| LE.record(n, n, &vec![n as u8; n as usize]));
                [LE.pcap(MICROS, 0, 1), records.collect()].concat()
            };
            let bytes = &bytes[..bytes.len().min(cut)];
            prop_assert_eq!(all(bytes, Some(size)), all(bytes, None));
        }
    }
}
