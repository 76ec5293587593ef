//! The system's allocator with one word more: where a tensor's worth of memory is taken, the kernel is asked to back it with huge
//! pages. Networks take and drop maps of many megabytes all the time, and the kernel, which hands them out in pages of 4 KiB, had 18 % of the
//! time of Hiera at released widths. Linux alone; what is taken from whom, and given back when, stays the system's business.

use std::alloc::{GlobalAlloc, Layout, System};

/// Size of a huge page on the processors that matter here.
const PAGE: usize = 2 << 20;
/// Bytes from which it is worth a word with the kernel: at least one whole huge page lies inside.
const LARGE: usize = 2 * PAGE;

/// Stands in front of the system's allocator.
pub(crate) struct HugePages;

/// Asks for huge pages inside of a block; a kernel that has none leaves everything as it was.
fn advise(block: *mut u8, size: usize) {
    if size < LARGE || block.is_null() {
        return;
    }
    let start = (block as usize).next_multiple_of(PAGE);
    let end = (block as usize + size) / PAGE * PAGE;
    if start < end {
        #[expect(unsafe_code, reason = "there is no safe way to the kernel's advice")]
        // SAFETY: the range lies inside a block that was just handed out, and this advice changes no contents.
        unsafe {
            libc::madvise(
                block.wrapping_add(start - block as usize).cast(),
                end - start,
                libc::MADV_HUGEPAGE,
            );
        }
    }
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is passed on as it came; blocks are the system's own.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc_zeroed(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.realloc(block, layout, size) };
        advise(block, size);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}
