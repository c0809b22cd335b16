//! Memory that will be needed soon.
#![allow(unsafe_code)]

/// Bytes that come into the cache at once.
const LINE: usize = 64;

/// Brings memory into the cache while something else is done. Does nothing where that isn't known how.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(value, 0, size_of_val(value));
}

/// The same for so many bytes at an offset from a value. They may lie outside of it, or nowhere.
#[inline(always)]
pub fn prefetch_at<T: ?Sized>(value: &T, offset: usize, len: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>().wrapping_add(offset);
        for at in (0..len).step_by(LINE) {
            // SAFETY: A prefetch is a hint: it reads nothing and never faults, whatever the address is.
            unsafe { _mm_prefetch(start.wrapping_add(at), _MM_HINT_T0) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, offset, len, LINE);
}
