//! Arguments of live captures.

use std::time::Duration;

use egress_auditor::source::{LiveOptions, Rings, SourceError};

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
    #[arg(long, value_name = "EXPRESSION", requires = "interface")]
    pub(super) filter: Option<String>,

    /// Let the kernel drop the bulk of downloads too, with -i: large segments from ports 80 and 443
    /// in which no TLS record or HTTP answer begins. For links that are too fast otherwise. Costs
    /// the count of bytes that came in, and certificates and HTTP heads in several segments.
    #[arg(long, requires = "interface")]
    pub(super) prefilter: bool,

    /// The kernel's buffer for each interface, with -i: bytes, or with K, M or G.
    #[arg(
        long, value_name = "SIZE", default_value = "64M", value_parser = size,
        requires = "interface"
    )]
    buffer_size: u32,

    /// Bytes to keep of each frame, with -i. Below about 2K, names in long ClientHellos get lost.
    #[arg(
        long, value_name = "BYTES", default_value = "256K", value_parser = snap_len,
        requires = "interface"
    )]
    snaplen: u32,

    /// Ask the interface for all frames on its wire, not just those for this host, with -i.
    #[arg(long, requires = "interface")]
    promiscuous: bool,
}

impl LiveArgs {
    /// True when the packets come from interfaces.
    pub(super) fn is_live(&self) -> bool {
        !self.interface.is_empty()
    }

    /// Starts to capture. Says on standard error what can't be had.
    pub(super) fn open(&self) -> Result<Rings, SourceError> {
        let options = LiveOptions {
            snap_len: self.snaplen,
            buffer: self.buffer_size,
            promiscuous: self.promiscuous,
            filter: self.filter.clone(),
            prefilter: self.prefilter,
        };
        let rings = Rings::open(&self.interface, &options)?;
        for (name, note) in rings.notes() {
            eprintln!("egress-auditor: interface {name}: {note}");
        }
        Ok(rings)
    }
}

/// How long a capture waits for frames before it looks at what else there is to do.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// Bytes, or with K, M or G.
fn size(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..].to_ascii_uppercase()[..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("write a number of bytes, or one with K, M or G, as in 64M".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    let bytes = number.checked_mul(unit).filter(|&bytes| bytes <= i32::MAX as u64);
    bytes.and_then(|bytes| u32::try_from(bytes).ok()).ok_or_else(|| "at most 2047M".to_owned())
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
    }
}
