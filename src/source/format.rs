use serde::{Deserialize, Serialize};

use super::{Damage, DamageKind};

/// A capture file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// pcap with timestamps in microseconds or nanoseconds (draft-ietf-opsawg-pcap), or one of its
    /// modified forms.
    Pcap,
    /// pcapng (draft-ietf-opsawg-pcapng).
    PcapNg,
    /// Frames from an interface, no file.
    Live,
}

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    /// By the first bytes: RFC 1952 section 2.3.1, RFC 8878 section 3.1. A name's suffix says
    /// nothing.
    pub(super) fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, as parallel compressors put first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Says what bytes that are no capture look like, and what to do with them.
pub(super) fn foreign(head: &[u8]) -> Damage {
    let what = match head {
        [] => "the file is empty; a running capture may not have written anything yet",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "compressed twice; decompress it once and try again"
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz data; decompress it with `xz -d` first",
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => "bzip2 data; decompress it with `bzip2 -d` first",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4 data; decompress it with `lz4 -d` first",
        [b'P', b'K', 3, 4, ..] => "a zip archive; unpack the captures first",
        [b'G', b'M', b'B', b'U', ..] | [b'R', b'T', b'S', b'S', ..] => {
            "a Microsoft Network Monitor capture; convert it with `editcap -F pcapng IN OUT`"
        }
        [b's', b'n', b'o', b'o', b'p', 0, 0, 0, ..] => {
            "a snoop capture; convert it with `editcap -F pcapng IN OUT`"
        }
        _ if is_event_trace(head) => EVENT_TRACE,
        _ if is_tar(head) => "a tar archive; unpack the captures first",
        _ => match head.trim_ascii_start() {
            [b'{' | b'[', ..] if is_text(head) => {
                "JSON, not a capture; give the pcap or pcapng file that it was made from"
            }
            _ if is_text(head) => {
                "text, not a capture; give the pcap or pcapng file, written by `tcpdump -w`"
            }
            _ if head.len() < 4 => "the file is shorter than a capture's header",
            _ => return unknown(head),
        },
    };
    Damage::new(0, DamageKind::NotACapture, what)
}

/// Advice for Windows event traces.
pub(super) const EVENT_TRACE: &str =
    "a Windows event trace (.etl); convert it with `pktmon etl2pcap FILE` first";

fn unknown(head: &[u8]) -> Damage {
    use std::fmt::Write;
    let mut hex = String::new();
    for byte in head.iter().take(8) {
        // Writing to a String can't fail.
        let _ = write!(hex, " {byte:02x}");
    }
    let what = format!("not a pcap or pcapng file, it starts with{hex}");
    Damage::new(0, DamageKind::NotACapture, what)
}

/// An event trace has no magic number; its first buffer holds a system trace header behind 72 bytes
/// of buffer header: version 2, header type 1 (32-bit) or 2 (64-bit), flags 0xc0.
fn is_event_trace(head: &[u8]) -> bool {
    matches!(head.get(72..76), Some([2, 0, 1 | 2, 0xc0]))
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

fn is_text(head: &[u8]) -> bool {
    let head = head.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(head);
    head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~') || *b >= 0x80)
        && head.iter().any(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(head: &[u8]) -> String {
        foreign(head).to_string()
    }

    #[test]
    fn names_what_it_is_instead() {
        assert!(says(b"").contains("empty"));
        assert!(says(b"GMBU\x00\x02").contains("Network Monitor"));
        assert!(says(b"snoop\0\0\0\0\0\0\x02").contains("snoop"));
        assert!(says(b"  {\"a\": 1}").contains("JSON"));
        assert!(says(b"10:00 IP 10.0.0.1 > 10.0.0.2").contains("text"));
        assert!(says(&[0xde, 0xad, 0, 1]).ends_with("starts with de ad 00 01"));
        let mut etl = vec![0; 80];
        etl[72..76].copy_from_slice(&[2, 0, 2, 0xc0]);
        assert!(says(&etl).contains("pktmon etl2pcap"));
    }

    #[test]
    fn encodings_by_magic() {
        assert_eq!(Encoding::detect(&[0x1f, 0x8b, 8, 0]), Encoding::Gzip);
        assert_eq!(Encoding::detect(&[0x28, 0xb5, 0x2f, 0xfd]), Encoding::Zstd);
        assert_eq!(Encoding::detect(&[0x5a, 0x2a, 0x4d, 0x18]), Encoding::Zstd);
        assert_eq!(Encoding::detect(&[0x0a, 0x0d, 0x0d, 0x0a]), Encoding::Plain);
    }
}
