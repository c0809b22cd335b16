use std::{
    collections::HashSet,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{Capture, SourceError};
use crate::base::Timestamp;

/// The inputs of one run, in the order in which to read them.
#[derive(Debug, Default)]
pub struct Plan {
    /// What to read: files by the time of their first frame, so that rotated captures are one
    /// capture; then files without frames by path; then streams as they were named.
    pub inputs: Vec<Input>,
    /// What lies in the named folders, or was named twice, and isn't read.
    pub skipped: Vec<Skipped>,
    /// What can't be read: a named file that isn't a capture, a folder without any, a file that
    /// can't be opened, `-` named twice.
    pub errors: Vec<SourceError>,
}

/// One file or stream to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// For [`Capture::open`].
    pub path: PathBuf,
    /// Capture time of the first frame; `None` when there is none, or for a stream.
    pub first: Option<Timestamp>,
    /// A pipe or the standard input: read once, not peeked at.
    pub stream: bool,
}

/// A file that isn't read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

/// Finds the captures that `paths` name (files, folders, pipes, `-`), and their order. Of folders,
/// the files in them that are captures by their first bytes; not the folders in them.
pub fn plan<P: AsRef<Path>>(paths: &[P]) -> Plan {
    let mut survey = Survey::default();
    for path in paths {
        survey.named(path.as_ref());
    }
    survey.finish()
}

#[derive(Default)]
struct Survey {
    plan: Plan,
    seen: HashSet<PathBuf>,
}

impl Survey {
    fn named(&mut self, path: &Path) {
        if path.as_os_str() == "-" {
            if self.is_new(path) {
                self.stream(path);
            } else {
                self.refuse(path, "the standard input can be named once only");
            }
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path),
            Ok(metadata) if metadata.is_file() => match peek(path) {
                Ok(input) => self.file(input),
                Err(error) => self.plan.errors.push(error),
            },
            Ok(_) => self.stream(path),
            Err(cause) => self.plan.errors.push(SourceError::Open { path: path.to_owned(), cause }),
        }
    }

    fn folder(&mut self, folder: &Path) {
        let listed: Result<Vec<PathBuf>, _> =
            fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
        let mut files = match listed {
            Ok(files) => files,
            Err(cause) => {
                let path = folder.to_owned();
                return self.plan.errors.push(SourceError::Open { path, cause });
            }
        };
        files.retain(|path| path.is_file());
        files.sort_unstable();
        let mut found = false;
        for path in files {
            match peek(&path) {
                Ok(input) => {
                    found = true;
                    self.file(input);
                }
                Err(SourceError::Damaged { path, damage }) => {
                    let reason = damage.what.into_owned();
                    self.plan.skipped.push(Skipped { path, reason });
                }
                Err(error) => {
                    found = true;
                    self.plan.errors.push(error);
                }
            }
        }
        if !found {
            self.refuse(folder, "the folder holds no captures");
        }
    }

    fn file(&mut self, input: Input) {
        if self.is_new(&input.path) {
            self.plan.inputs.push(input);
        } else {
            self.plan.skipped.push(Skipped { path: input.path, reason: "named twice".to_owned() });
        }
    }

    fn stream(&mut self, path: &Path) {
        self.plan.inputs.push(Input { path: path.to_owned(), first: None, stream: true });
    }

    fn refuse(&mut self, path: &Path, what: &'static str) {
        let path = path.to_owned();
        self.plan.errors.push(SourceError::Input { path, what });
    }

    fn is_new(&mut self, path: &Path) -> bool {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.seen.insert(real)
    }

    fn finish(mut self) -> Plan {
        // Stable: streams stay as they were named.
        self.plan.inputs.sort_by(|a, b| match (a.stream, b.stream) {
            (false, false) => {
                (a.first.is_none(), a.first, &a.path).cmp(&(b.first.is_none(), b.first, &b.path))
            }
            (a, b) => a.cmp(&b),
        });
        self.plan
    }
}

/// Opens a file and reads up to its first frame.
fn peek(path: &Path) -> Result<Input, SourceError> {
    let mut capture = Capture::open(path, 0)?;
    let mut first = None;
    // Damage behind the header is for the reading proper to tell.
    let _ = capture.for_each(|frame| {
        first = Some(frame.stamp.time);
        ControlFlow::Break(())
    });
    Ok(Input { path: path.to_owned(), first, stream: false })
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn capture(at: u32) -> Vec<u8> {
        [LE.pcap(MICROS, 0, 1), LE.record(at, 0, b"x")].concat()
    }

    fn names(plan: &Plan) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        plan.inputs.iter().map(|input| name(&input.path)).collect()
    }

    #[test]
    fn rotated_captures_are_read_in_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("ring1", &capture(30));
        write("ring2", &capture(10));
        write("ring3", &capture(20));
        write("a-tie", &capture(20));
        write("empty", &LE.pcap(MICROS, 0, 1));
        write("notes.txt", b"not a capture");
        write("just-made.pcap", b"");
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/deeper"), capture(1)).unwrap();

        let plan = plan(&[folder.path(), Path::new("-"), &folder.path().join("ring1")]);
        let expected = ["ring2", "a-tie", "ring3", "ring1", "empty", "-"];
        assert_eq!(names(&plan), expected);
        assert_eq!(plan.inputs[0].first, Some(Timestamp::from_parts(10, 0)));
        assert!(plan.inputs[5].stream);
        let skipped: Vec<_> = plan.skipped.iter().map(|s| s.reason.as_str()).collect();
        assert!(skipped[0].contains("empty"), "{skipped:?}");
        assert!(skipped[1].contains("text"), "{skipped:?}");
        assert_eq!(skipped[2], "named twice");
    }

    #[test]
    fn all_unreadable_inputs_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        fs::write(&text, "hello").unwrap();
        let missing = folder.path().join("missing");
        let bare = folder.path().join("bare");
        fs::create_dir(&bare).unwrap();
        let dash = PathBuf::from("-");
        let plan = plan(&[&text, &missing, &bare, &dash, &dash]);
        let lines: Vec<String> = plan.errors.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(names(&plan), ["-"]);
        assert!(lines[0].contains("text, not a capture"));
        assert!(lines[1].contains("cannot open"));
        assert!(lines[2].contains("holds no captures"));
        assert!(lines[3].contains("once"));
    }

    #[test]
    fn a_damaged_capture_is_still_an_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut");
        fs::write(&path, &capture(5)[..30]).unwrap();
        let plan = plan(&[path]);
        assert_eq!(plan.inputs[0].first, None);
    }
}
