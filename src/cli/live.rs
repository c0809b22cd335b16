//! Arguments of live captures.

use std::time::Duration;

use anyhow::bail;
use egress_auditor::{
    scan::Limits,
    source::{Cutoff, LiveOptions, Rings, SourceError},
};

/// Which interfaces to capture on, and how.
#[derive(clap::Args, Default)]
pub(crate) struct LiveArgs {
    /// Capture live on this interface, or on `any`; may be given several times. Ctrl-C ends it with
    /// the report.
    #[arg(
        short = 'i',
        long = "interface",
        value_name = "IFACE",
        value_delimiter = ',',
        conflicts_with = "files"
    )]
    pub(super) interface: Vec<String>,

    /// Capture only what this filter lets through (pcap-filter(7) syntax), with -i.
    #[arg(long, value_name = "EXPRESSION", requires = "interface", conflicts_with = "files")]
    pub(super) filter: Option<String>,

    /// Let the kernel drop the bulk of downloads too, with -i: large segments from ports 80 and 443
    /// in which no TLS record or HTTP answer begins. For links that are too fast otherwise. Costs
    /// the count of bytes that came in, and certificates and HTTP heads in several segments.
    #[arg(long, requires = "interface", conflicts_with = "files")]
    pub(super) prefilter: bool,

    /// The kernel's buffer for each interface (and ring), with -i: bytes, or with K, M or G.
    #[arg(
        long, value_name = "SIZE", default_value = "64M", value_parser = size,
        requires = "interface", conflicts_with = "files"
    )]
    buffer_size: u32,

    /// Memory that it may take in all, with -i: bytes, or with K, M or G; 1G if not given, or twice
    /// the buffers if that is more. The more, the more connections, names and destinations it can
    /// tell apart, and the more of unfinished handshakes and requests it can hold; what is beyond it
    /// is counted as evicted.
    #[arg(long, value_name = "SIZE", value_parser = bytes, requires = "interface", conflicts_with = "files")]
    memory: Option<u64>,

    /// Bytes to keep of each frame, with -i. Below about 2K, names in long ClientHellos get lost.
    #[arg(
        long, value_name = "BYTES", default_value = "256K", value_parser = snap_len,
        requires = "interface", conflicts_with = "files"
    )]
    snaplen: u32,

    /// Ask the interface for all frames on its wire, not just those for this host, with -i.
    #[arg(long, requires = "interface", conflicts_with = "files")]
    promiscuous: bool,
}

impl LiveArgs {
    /// True when the packets come from interfaces.
    pub(super) fn is_live(&self) -> bool {
        !self.interface.is_empty()
    }

    /// Bounds of the scan, from the memory that it may take with so many rings.
    pub(super) fn limits(&self, rings: usize, cutoff: bool) -> anyhow::Result<Limits> {
        let each = u64::from(self.buffer_size) + if cutoff { CUTOFF } else { 0 };
        let buffers = each * (self.interface.len() * rings) as u64;
        let memory = self.memory.unwrap_or(DEFAULT_MEMORY.max(2 * buffers));
        match limits(memory, buffers) {
            Some(limits) => Ok(limits),
            None => bail!(
                "--memory: too little beside {} MiB of buffers (--buffer-size, for each \
                 interface and ring): at least {} MiB",
                buffers >> 20,
                (2 * buffers).max(buffers + 2 * BASE) >> 20
            ),
        }
    }

    /// Starts to capture, on so many rings if that is possible. Says on standard error what can't be
    /// had.
    pub(super) fn open(
        &self,
        rings: usize,
        cutoff: Option<Cutoff>,
    ) -> Result<Vec<Rings>, SourceError> {
        let options = LiveOptions {
            snap_len: self.snaplen,
            buffer: self.buffer_size,
            promiscuous: self.promiscuous,
            filter: self.filter.clone(),
            prefilter: self.prefilter,
            cutoff,
        };
        let rings = Rings::open_beside(&self.interface, &options, rings)?;
        // The others' are the same.
        for (name, note) in rings.iter().take(1).flat_map(Rings::notes) {
            eprintln!("egress-auditor: interface {name}: {note}");
        }
        Ok(rings)
    }
}

/// What it may take when nobody says.
const DEFAULT_MEMORY: u64 = 1 << 30;

/// What the kernel's table of a cut-off takes.
const CUTOFF: u64 = 12 << 20;

/// What the program takes before it has seen a frame.
const BASE: u64 = 32 << 20;

/// What an entry of any table may take, with all that is made from it: its copy in the snapshot of
/// a window, the attempt, and a destination of its own in the report, in the one before, and in its
/// text. Measured: benches/live/soak.
const ENTRY: u64 = 6 << 10;

/// Bounds for a scan that lives in this much memory beside `buffers`; `None` when it's too little
/// to be of use.
fn limits(memory: u64, buffers: u64) -> Option<Limits> {
    if memory / 2 < buffers {
        return None;
    }
    let rest = memory.checked_sub(buffers + BASE)?;
    // Twice, as there is a copy of it while a window is judged.
    let payload = rest / 8;
    let entries = (rest - 2 * payload) / ENTRY;
    let part = |quarters: u64| usize::try_from(entries / 4 * quarters).unwrap_or(usize::MAX);
    let all = Limits::default();
    let bounded = Limits {
        flows: part(1).min(all.flows),
        lookups: part(1).min(all.lookups),
        connections: part(2).min(all.connections),
        payload: usize::try_from(payload).unwrap_or(usize::MAX).min(all.payload),
        ..all
    };
    (bounded.flows > 0).then_some(bounded)
}

/// How long a capture waits for frames before it looks at what else there is to do.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// Bytes, or with K, M or G, of a buffer.
pub(super) fn size(text: &str) -> Result<u32, String> {
    let bytes = u32::try_from(bytes(text)?).ok().filter(|&bytes| i32::try_from(bytes).is_ok());
    bytes.ok_or_else(|| "at most 2047M".to_owned())
}

/// Bytes, or with K, M or G.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..].to_ascii_uppercase()[..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("write a number of bytes, or one with K, M or G, as in 64M".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large a number".to_owned())
}

/// Too short, not even a DNS question's name would be there.
fn snap_len(text: &str) -> Result<u32, String> {
    match size(text)? {
        bytes if bytes < 96 => Err("at least 96, or headers are cut".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("256k"), Ok(256 << 10));
        assert_eq!(size("4096"), Ok(4096));
        assert!(size("4T").is_err() && size("2G").is_err() && size("M").is_err());
        assert!(size("").is_err() && snap_len("64").is_err());
        assert_eq!(bytes("8G"), Ok(8 << 30));
        assert!(bytes("99999999999G").is_err());
    }

    #[test]
    fn memory_bounds_the_tables() {
        let entries = |memory| {
            let limits = limits(memory, 64 << 20).unwrap();
            limits.flows + limits.lookups + limits.connections
        };
        assert!((110_000..130_000).contains(&entries(1 << 30)));
        let payload = |memory| limits(memory, 64 << 20).unwrap().payload;
        assert!((100 << 20..128 << 20).contains(&payload(1 << 30)));
        assert_eq!(payload(u64::MAX), 1 << 30);
        assert!(entries(4 << 30) > 4 * entries(1 << 30));
        // Never more than a file's audit may.
        assert_eq!(entries(u64::MAX), (1 << 20) + (1 << 20) + (1 << 22));
        assert!(limits(127 << 20, 64 << 20).is_none() && limits(0, 0).is_none());
        assert!(limits(BASE, 0).is_none() && limits(u64::MAX, u64::MAX / 2 + 1).is_none());
    }
}
