//! Large blocks: each a mapping of its own.

#![expect(unsafe_code, reason = "hands out and takes back raw blocks")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::heap::allocate::Terms;
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::abort::corruption;

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// A mapping, and the address from which on it is known to be zero.
    #[cold]
    #[inline(never)]
    pub(crate) fn allocate_mapping(&self, layout: Layout, terms: Terms) -> Option<(NonNull<[u8]>, usize)> {
        let block = self.with_relief(|core| {
            let supply = self.context_on(core, terms).supply;
            core.mappings.lock().allocate(&supply, layout.size(), layout.align())
        })?;
        Some((NonNull::slice_from_raw_parts(block.ptr, block.len), block.zero_from))
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn free_mapping(&self, block: NonNull<u8>) {
        let Some(core) = self.core() else { corruption("freed block is of no heap", block.as_ptr()) };
        core.returns.fetch_add(1, Relaxed);
        let supply = self.context(core).supply;
        // SAFETY: the caller gives the block up; the list checks that it is one.
        unsafe { core.mappings.lock().free(&supply, block) };
    }
}
