//! The coalescing engine on its own: blocks of any size, with boundary tags.

#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::Layout;
use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::api::engine::{Engine, EngineSegments};
use crate::coalesce::{CoalescingRoot, MediumRequest};
use crate::heap::{ConfigError, Local, Mode, Threaded, dangling, whole_block};
use crate::os::lock::Locked;
use crate::os::{PageSource, SystemPages};
use crate::primitives::corruption::Corruption;
use crate::primitives::sanitizer;
use crate::segment::Refusal;

/// Blocks of any size, split and merged by boundary tags (Knuth 1968, Lea's dlmalloc), found in two-level bins (Masmano's
/// TLSF, 2004), over a page source of its own.
///
/// What a heap uses for medium blocks, without its thread caches: one root under one lock. Each block costs 16 bytes
/// beside its size, rounded up to 16; what fits no segment gets a segment of its own.
///
/// ```
/// use mallocstate::CoalescingAllocator;
/// use mallocstate::allocator_api2::vec::Vec;
///
/// let blocks = CoalescingAllocator::new();
/// let mut bytes = Vec::new_in(&blocks);
/// bytes.extend_from_slice(&[7_u8; 100_000]);
/// assert_eq!(blocks.live().0, 1);
/// drop(bytes);
/// assert_eq!(blocks.destroy(), (0, 0));
/// ```
pub struct CoalescingAllocator<M: Mode = Threaded, S: PageSource = SystemPages> {
    engine: Engine<M, S>,
    root: Locked<M::Lock, CoalescingRoot>,
}

#[cfg(feature = "std")]
impl CoalescingAllocator {
    /// An engine that any number of threads may share, on the system's pages.
    pub fn new() -> Self {
        Self::over(SystemPages::new())
    }
}

#[cfg(feature = "std")]
impl Default for CoalescingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: PageSource> CoalescingAllocator<Threaded, S> {
    /// An engine that any number of threads may share, on a page source of its own.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the source's segment size is out of bounds.
    #[cfg(feature = "std")]
    pub fn new_in(source: S) -> Result<Self, ConfigError> {
        ConfigError::check_segment_size(S::SEGMENT_SIZE).map(|()| Self::over(source))
    }

    /// An engine for one thread at a time, on a page source of its own.
    ///
    /// # Errors
    ///
    /// As for `new_in`.
    pub fn local_in(source: S) -> Result<CoalescingAllocator<Local, S>, ConfigError> {
        ConfigError::check_segment_size(S::SEGMENT_SIZE).map(|()| CoalescingAllocator::over(source))
    }
}

impl<M: Mode, S: PageSource> CoalescingAllocator<M, S> {
    fn over(source: S) -> Self {
        Self { engine: Engine::new(source), root: Locked::new(CoalescingRoot::new(0)) }
    }

    fn take(&self, layout: Layout) -> Result<NonNull<[u8]>, Refusal> {
        let supply = self.engine.supply();
        let request = MediumRequest::new(layout.size(), layout.align(), false)?;
        let mut root = self.root.lock();
        let block = match root.allocate(&supply, request)? {
            Some(block) => block,
            None => root.allocate_in_new_segment(&supply, request, self.engine.mapped() == 0)?,
        };
        let whole = NonNull::slice_from_raw_parts(block.ptr, block.payload);
        Ok(sanitizer::hand_out(self.engine.pool(), whole, layout.size()))
    }

    /// Blocks handed out and not freed, and their usable bytes.
    pub fn live(&self) -> (usize, usize) {
        self.root.lock().out()
    }

    /// Bytes of address space.
    pub fn mapped(&self) -> usize {
        self.engine.mapped()
    }

    /// Bytes put to use.
    pub fn committed(&self) -> usize {
        self.engine.committed()
    }

    /// Every segment, oldest first.
    pub fn segments(&self) -> EngineSegments<'_, M, S> {
        self.engine.segments()
    }

    /// Gives unused memory back to the operating system; the answer is in bytes.
    pub fn reclaim(&self) -> usize {
        let reclaimed = Cell::new(0);
        let mut supply = self.engine.supply();
        supply.reclaimed = Some(&reclaimed);
        self.root.lock().reclaim(&supply);
        reclaimed.get()
    }

    /// Checks every block, tag and bin.
    ///
    /// # Errors
    ///
    /// A [`Corruption`] that says what contradicts what, and where.
    pub fn validate(&self) -> Result<(), Corruption> {
        self.root.lock().validate(&self.engine.supply())
    }

    /// Gives everything back; the answer is how many blocks had not been freed, and their usable bytes.
    pub fn destroy(self) -> (usize, usize) {
        self.live()
    }
}

// SAFETY: blocks lie in the engine's segments, which neither move nor go while the engine is there.
unsafe impl<M: Mode, S: PageSource> Allocator for CoalescingAllocator<M, S> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(dangling(layout.align()));
        }
        self.take(layout).map_err(|_| AllocError)
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            sanitizer::freed(self.engine.pool(), ptr);
            // SAFETY: the caller keeps the trait's contract.
            unsafe { self.root.lock().free(&self.engine.supply(), whole_block(ptr)) };
        }
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let in_place = old.size() != 0 && ptr.addr().get() % new.align() == 0;
        // SAFETY: a block that is not empty is one of this engine's.
        if in_place && unsafe { self.root.lock().grow_in_place(&self.engine.supply(), whole_block(ptr), new.size()) } {
            let grown = NonNull::slice_from_raw_parts(whole_block(ptr), new.size());
            return Ok(sanitizer::resize(self.engine.pool(), grown, old.size(), new.size()));
        }
        let block = self.allocate(new)?;
        // SAFETY: both blocks are at least this long, and in use at the same time.
        unsafe { ptr.copy_to_nonoverlapping(block.cast(), old.size()) };
        // SAFETY: the caller gives the old block up.
        unsafe { self.deallocate(ptr, old) };
        Ok(block)
    }
}

// SAFETY: the engine's memory has no thread; a moved engine takes its source along.
unsafe impl<M: Mode, S: PageSource + Send> Send for CoalescingAllocator<M, S> {}

// SAFETY: the engine is written under its locks.
unsafe impl<S: PageSource + Send + Sync> Sync for CoalescingAllocator<Threaded, S> {}

impl<M: Mode, S: PageSource> fmt::Debug for CoalescingAllocator<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalescingAllocator").field("committed", &self.committed()).finish_non_exhaustive()
    }
}
