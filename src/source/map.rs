//! The one place that maps files into memory.
#![allow(unsafe_code)]

use std::{fs::File, io};

pub(super) use memmap2::Mmap;
#[cfg(unix)]
use memmap2::{Advice, UncheckedAdvice};

/// Maps a file for one pass from front to back.
///
/// The mapping has the length that the file has now: what a running capture appends later isn't
/// seen. A file that another process *shortens* while it is mapped ends this process with SIGBUS
/// when a vanished page is touched; a capture that may be overwritten in place should be piped in
/// through `-` instead.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: The mapping is private and read-only. The bytes behind the slice may change when
    // someone writes to the file meanwhile, as any reader of a growing capture has to accept: every
    // length taken from them is checked against the slice, right before use and on a copy in a
    // register, and nothing but plain integers and byte strings is read from them.
    let map = unsafe { Mmap::map(file)? };
    #[cfg(unix)]
    {
        // Only advice: reading is as correct without it.
        let _ = map.advise(Advice::Sequential);
    }
    Ok(map)
}

/// Gives back the pages of a range that was read: whoever reads there again gets them from the file.
pub(super) fn release(map: &Mmap, offset: usize, len: usize) {
    #[cfg(unix)]
    {
        let len = len.min(map.len().saturating_sub(offset));
        // SAFETY: The mapping is private and never written to, so its pages hold what the file does,
        // and are mapped again from it at the next access.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len) };
    }
    #[cfg(not(unix))]
    let _ = (map, offset, len);
}

/// Maps the pages of a range at once, which costs less than to fault them in one by one.
pub(super) fn populate(map: &Mmap, offset: usize, len: usize) {
    #[cfg(target_os = "linux")]
    {
        // Only advice: kernels before 5.14 don't know it.
        let len = len.min(map.len().saturating_sub(offset));
        let _ = map.advise_range(Advice::PopulateRead, offset, len);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (map, offset, len);
}
