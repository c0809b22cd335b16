//! What becomes of memory that is no longer used.
#![allow(unsafe_code)]

/// Has freed memory wait for its next use instead of being given back: a fifth of the time that a file
/// of many short connections takes is the kernel's, for pages that it clears anew. For commands that
/// end soon.
pub(super) fn keep_freed() {
    // The bindings name no constant for it.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: Sets a number in a table of options; one that doesn't exist is ignored.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) };
}
