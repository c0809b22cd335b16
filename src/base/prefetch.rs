//! Memory that will be needed soon.
#![allow(unsafe_code)]

/// Bytes that come into the cache at once.
const LINE: usize = 64;

/// Brings memory into the cache while something else is done. Does nothing where that isn't known how.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for at in (0..size_of_val(value)).step_by(LINE) {
            // SAFETY: A prefetch is a hint: it reads nothing and never faults, whatever the address
            // is. This one lies within the value.
            unsafe { _mm_prefetch(start.add(at), _MM_HINT_T0) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, LINE);
}
