//! What becomes of memory that is no longer used.
#![allow(unsafe_code)]

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// Milliseconds after which freed memory is given back. The bindings name no constant for it.
const PURGE_DELAY: mi_option_t = 15;

/// Has freed memory wait for its next use instead of being given back: a fifth of the time that a file
/// of many short connections takes is the kernel's, for pages that it clears anew. For commands that
/// end with their files; what reads a pipe may run for weeks, and a peak would stay. To be called before
/// the first thread is started.
pub(super) fn keep_freed() {
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: Sets a number in a table of options; one that doesn't exist is ignored. No other thread
    // allocates yet, which would read the table.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another version may have another table.
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: Reads a number in a table of options, which nothing in these tests sets.
        let delay = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay, 1000);
    }
}
