use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// More than any input may make the targets hold at a time, in bytes. The fuzzer's own limits see
/// only pages that were touched.
const MOST: usize = 256 << 20;

/// The system's allocator, which fails, and so ends the run, when more than [`MOST`] is held.
struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

static HELD: AtomicUsize = AtomicUsize::new(0);

fn take(size: usize) -> bool {
    HELD.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= MOST
}

// SAFETY: everything is the system allocator's work, or a null pointer, which says failure.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if take(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if take(layout.size()) {
            unsafe { System.alloc_zeroed(layout) }
        } else {
            std::ptr::null_mut()
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let fits = take(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        if fits { unsafe { System.realloc(old, layout, size) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}
