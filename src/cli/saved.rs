//! What a capture told, unjudged, as a file: the state of a live audit, and what `merge` judges.
//!
//! gzip around a line that names the form and its version, and the data in postcard's wire format. gzip
//! brings the checksum.

use std::{
    borrow::Borrow,
    fmt, fs,
    io::{self, BufRead, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use egress_auditor::{report::LiveInput, scan::Census, source::InputStats};
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

/// The first line. Another version can't be read.
const FORM: &str = "egress-auditor/partial/3\n";

/// Unpacked, a file that is longer isn't one of ours.
const MAX_LEN: u64 = 1 << 30;

/// What a capture told.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved<C = Census> {
    /// The node that it is about.
    pub(super) node: Option<String>,
    pub(super) inputs: Vec<SavedInput>,
    pub(super) census: C,
}

/// What was read.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SavedInput {
    pub(super) stats: InputStats,
    /// Of an interface.
    pub(super) live: Option<LiveInput>,
}

/// Why a file can't be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It can't be read at all.
    #[cfg(feature = "live")]
    Io(io::Error),
    /// It isn't what this version writes.
    Damaged(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "live")]
            Self::Io(error) => write!(f, "cannot read: {error}"),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

/// True when a file begins as those that [`write`] makes: gzip.
pub(super) fn is_saved(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Reads what [`write`] wrote.
#[cfg(feature = "live")]
pub(super) fn read(path: &Path) -> Result<Saved, Unusable> {
    let file = fs::File::open(path).map_err(Unusable::Io)?;
    decode(io::BufReader::new(file))
}

/// The same, from bytes.
pub(super) fn decode(packed: impl BufRead) -> Result<Saved, Unusable> {
    let damaged = |what: &str| Unusable::Damaged(format!("not a whole partial: {what}"));
    let mut unpacked = MultiGzDecoder::new(packed).take(MAX_LEN);
    let mut form = Vec::new();
    let first = (&mut unpacked).take(FORM.len() as u64).read_to_end(&mut form);
    first.map_err(|error| damaged(&error.to_string()))?;
    if form != FORM.as_bytes() {
        let begins = String::from_utf8_lossy(&form);
        if begins.starts_with("egress-auditor/partial/") {
            let what = format!(
                "another version of egress-auditor wrote it ({}, not {}): make it anew with this one",
                begins.trim_end(),
                FORM.trim_end()
            );
            return Err(Unusable::Damaged(what));
        }
        return Err(damaged(&format!("it begins with {begins:?} and not with {FORM:?}")));
    }
    let mut data = Vec::new();
    unpacked.read_to_end(&mut data).map_err(|error| damaged(&error.to_string()))?;
    unpack(&data).map_err(|error| damaged(&error))
}

/// What is taken out of a file is what a capture can tell.
fn unpack(data: &[u8]) -> Result<Saved, String> {
    let told: Saved = postcard::from_bytes(data).map_err(|error| error.to_string())?;
    match told.census.flaw() {
        Some(flaw) => Err(flaw.to_owned()),
        None => Ok(told),
    }
}

/// Writes so that there is the old file or the new one, whatever happens meanwhile.
pub(super) fn write<C: Borrow<Census> + Serialize>(
    path: &Path,
    saved: &Saved<C>,
) -> io::Result<()> {
    let temporary = beside(path, "new");
    let put = || {
        // What an earlier run left there goes; a link that somebody else put there isn't followed.
        let _ = fs::remove_file(&temporary);
        let file = fs::File::options().write(true).create_new(true).open(&temporary)?;
        let mut packed = GzEncoder::new(BufWriter::new(file), Compression::fast());
        packed.write_all(FORM.as_bytes())?;
        postcard::to_io(saved, &mut packed).map_err(io::Error::other)?;
        let file = packed.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    put().inspect_err(|_| {
        // What is left of it is of no use.
        let _ = fs::remove_file(&temporary);
    })
}

/// Moves a file that can't be used out of the way. Gives its new name.
#[cfg(feature = "live")]
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, "damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// The name with something appended.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

#[cfg(test)]
mod tests {
    use egress_auditor::{
        base::{FrameId, Stamp, Timestamp},
        catalog::{Profile, Site, builtin},
        report::{
            Gate, ProfileUsed, Report, write_html, write_json, write_junit, write_markdown,
            write_ndjson, write_sarif, write_text,
        },
        scan::{Limits, Partial, Place, Scanner},
        source::{Format, Frame, Records},
        verdict::judge,
    };

    use super::*;

    const PROFILE: &str = "catalogs = [\"aks\"]\nfeatures = [\"os-updates\"]\n[network]\n\
        local = [\"10.77.1.0/24\"]\nproxies = [\"198.51.100.90:3128\"]\n";

    /// What a few fixtures tell, one after the other, packed.
    fn told() -> Vec<u8> {
        let mut scanner = Scanner::new(Place::Beginning, Limits::default(), [].into());
        let cases = "reachable reachable-tls12 http-plain proxy-connect dns-nxdomain syn-dropped quic \
                     proxy-denied reset-after-clienthello icmp-prohibited udp-ntp reachable";
        let mut number = 0;
        for case in cases.split_whitespace() {
            let path = format!("{}/fixtures/{case}/capture.pcap", env!("CARGO_MANIFEST_DIR"));
            let Ok(bytes) = fs::read(path) else { continue };
            let mut records = Records::new(&bytes, 0).unwrap();
            while let Ok(Some(frame)) = records.next() {
                number += 1;
                let stamp = Stamp { frame: FrameId::new(0, number), ..frame.stamp };
                scanner.push(&Frame { stamp, ..frame }, &mut ());
            }
        }
        let census = scanner.conclude(&mut ());
        let found = (census.connections.len(), census.kinds.len());
        assert!(found.0 > 2 && found.1 > 3, "{found:?}");
        let stats = InputStats {
            path: "eth0".into(),
            format: Format::Live,
            link_types: Vec::new(),
            frames: census.counters.frames,
            bytes: census.counters.bytes,
            first: Some(Timestamp::default()),
            last: None,
            dropped: Some(3),
            truncated: None,
        };
        let inputs = vec![SavedInput { stats, live: None }];
        postcard::to_allocvec(&Saved { node: Some("a".to_owned()), inputs, census }).unwrap()
    }

    /// All that becomes of what a file told.
    fn use_up(Saved { inputs, census, .. }: Saved, site: &Site) {
        let stats: Vec<_> = inputs.into_iter().map(|input| input.stats).collect();
        let report = Report::new(&stats, &census, ProfileUsed::default(), judge(&census, site));
        let mut out = Vec::new();
        write_text(&report, &mut out).unwrap();
        write_json(&report, &mut out).unwrap();
        write_ndjson(&report, &mut out).unwrap();
        write_markdown(&report, &mut out).unwrap();
        write_html(&report, &mut out).unwrap();
        write_junit(&report, &Gate::new([]), &mut out).unwrap();
        write_sarif(&report, &Gate::new([]), &mut out).unwrap();
        // A live audit goes on from it, with hardly any room.
        let limits = Limits { connections: 4, ..Limits::default() };
        let after = Partial::after(census, limits, [].into());
        let mut more = Scanner::new(Place::Later, limits, [].into());
        let time = Timestamp::from_nanos(u64::MAX / 2);
        let stamp = Stamp { time, frame: FrameId::new(0, 1) };
        let link = egress_auditor::source::LinkType::ETHERNET;
        more.push(&Frame { stamp, link, wire_len: 0, data: &[] }, &mut ());
        judge(&after.merge(more.finish(), &mut ()).conclude(&mut ()), site);
    }

    /// Small and repeatable (xorshift64*).
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
        }
    }

    #[test]
    fn whatever_a_file_holds_nothing_panics() {
        let site = Site::new(
            &[builtin("aks").unwrap()],
            Profile::parse(PROFILE, "profile").unwrap(),
            None,
        );
        let whole = told();
        use_up(unpack(&whole).unwrap(), &site);
        // Kinds that nobody was seen of, many.
        let mut empty = unpack(&whole).unwrap();
        let kinds = &mut empty.census.kinds;
        kinds.iter_mut().for_each(|(_, visits)| visits.clear());
        *kinds = std::iter::repeat_n(&**kinds, 20).flatten().cloned().collect();
        use_up(empty, &site);
        let mut random = Random(7);
        let mut read = 0;
        for _ in 0..1200 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(2) {
                let at = random.below(bytes.len());
                match random.below(12) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][random.below(6)],
                    // The longest numbers.
                    2 | 3 => drop(bytes.splice(at..=at, [[0xff; 9].as_slice(), &[1]].concat())),
                    4 => drop(bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                    5 => bytes.truncate(at + 1),
                    6 => {
                        let from = random.below(bytes.len());
                        let piece = bytes[from..(from + 40).min(bytes.len())].to_vec();
                        drop(bytes.splice(at..at, piece));
                    }
                    _ => bytes[at] = bytes[at].wrapping_add(1),
                }
            }
            if let Ok(told) = unpack(&bytes) {
                read += 1;
                use_up(told, &site);
            }
        }
        println!("{read} of 1200 could be read");
        assert!(read > 300, "{read}");
    }

    #[test]
    fn only_whole_files_of_this_form_are_read() {
        let packed = |text: &[u8]| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(text).unwrap();
            packed.finish().unwrap()
        };
        let whole = packed(&[FORM.as_bytes(), &told()].concat());
        assert!(decode(&whole[..]).is_ok());
        assert!(decode(&whole[..whole.len() - 9]).is_err());
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        assert!(decode(&damaged[..]).is_err());
        let older = packed(b"egress-auditor/partial/1\nwhatever");
        let error = decode(&older[..]).err().unwrap().to_string();
        assert!(error.contains("another version") && error.contains("partial/1"), "{error}");
        for bytes in [packed(b""), packed(b"hello"), packed(FORM.as_bytes()), b"\x1f\x8b".to_vec()]
        {
            assert!(decode(&bytes[..]).is_err());
        }
        let long = [FORM.as_bytes(), &[0xff; 60]].concat();
        assert!(decode(&packed(&long)[..]).is_err());
    }
}
