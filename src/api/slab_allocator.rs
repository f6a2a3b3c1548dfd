//! The slab engine on its own: blocks of one size.

#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::Layout;
use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::api::engine::{Engine, EngineSegments};
use crate::heap::{ConfigError, Local, Mode, Threaded, whole_block};
use crate::os::lock::Locked;
use crate::os::{PageSource, SystemPages};
use crate::primitives::corruption::Corruption;
use crate::primitives::sanitizer;
use crate::segment::Geometry;
use crate::slab::{BLOCK_ALIGN, Block, Magazine, Refill, SizeClass, SlabContext, SlabPool, SlabRoot};

/// Blocks of one size, from slabs with bitmaps: Bonwick's object cache (1994), over a page source of its own.
///
/// What a heap uses for small blocks, without its thread caches: one slab root under one lock. Blocks are rounded up to
/// the next size class.
///
/// ```
/// use core::alloc::Layout;
/// use mallocstate::SlabAllocator;
/// use mallocstate::allocator_api2::boxed::Box;
///
/// let points = SlabAllocator::new(Layout::new::<[f64; 3]>())?;
/// assert_eq!(points.block_size(), 32);
/// let boxed: Vec<_> = (0..1000).map(|n| Box::new_in([f64::from(n); 3], &points)).collect();
/// assert_eq!(boxed[7][0], 7.0);
/// assert_eq!(points.live_blocks(), 1000);
/// drop(boxed);
/// assert_eq!(points.destroy(), 0);
/// # Ok::<(), mallocstate::ConfigError>(())
/// ```
pub struct SlabAllocator<M: Mode = Threaded, S: PageSource = SystemPages> {
    engine: Engine<M, S>,
    pool: Locked<M::Lock, SlabPool>,
    root: Locked<M::Lock, SlabRoot>,
    class: SizeClass,
}

#[cfg(feature = "std")]
impl SlabAllocator {
    /// An engine for blocks of this layout, which any number of threads may share, on the system's pages.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the layout is larger than a small block: 32 KiB with the system's pages.
    pub fn new(block: Layout) -> Result<Self, ConfigError> {
        Self::with_source(block, SystemPages::new())
    }
}

impl<S: PageSource> SlabAllocator<Threaded, S> {
    /// An engine that any number of threads may share, on a page source of its own.
    ///
    /// # Errors
    ///
    /// As for `new`; also where the source's segment size is out of bounds.
    #[cfg(feature = "std")]
    pub fn new_in(block: Layout, source: S) -> Result<Self, ConfigError> {
        Self::with_source(block, source)
    }

    /// An engine for one thread at a time, on a page source of its own.
    ///
    /// # Errors
    ///
    /// As for `new_in`.
    pub fn local_in(block: Layout, source: S) -> Result<SlabAllocator<Local, S>, ConfigError> {
        SlabAllocator::with_source(block, source)
    }
}

impl<M: Mode, S: PageSource> SlabAllocator<M, S> {
    fn with_source(block: Layout, source: S) -> Result<Self, ConfigError> {
        ConfigError::check_segment_size(S::SEGMENT_SIZE)?;
        let size = block.pad_to_align().size().max(1);
        if size > S::SMALL_MAX {
            return Err(ConfigError::at_most("block", size, S::SMALL_MAX));
        }
        let (pool, root) = (Locked::new(SlabPool::new()), Locked::new(SlabRoot::new()));
        Ok(Self { engine: Engine::new(source), pool, root, class: SizeClass::of(size) })
    }

    fn context(&self) -> SlabContext<'_, S, M::Lock> {
        SlabContext { supply: self.engine.supply(), pool: &self.pool }
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        self.class.size()
    }

    /// Blocks handed out and not freed.
    pub fn live_blocks(&self) -> usize {
        self.root.lock().counts().out
    }

    /// A block, uninitialised.
    ///
    /// # Errors
    ///
    /// [`AllocError`] where the page source has no more.
    pub fn allocate_block(&self) -> Result<NonNull<u8>, AllocError> {
        self.take(self.block_size()).map(NonNull::cast)
    }

    /// A block of which `requested` bytes are asked for.
    fn take(&self, requested: usize) -> Result<NonNull<[u8]>, AllocError> {
        let context = self.context();
        let mut root = self.root.lock();
        let block = match root.refill(&context, self.class, 1, None).map_err(|_| AllocError)? {
            Refill::Magazine(mut magazine) => magazine.pop().map(Block::into_raw).ok_or(AllocError)?,
            Refill::Range(range) => {
                let start = range.start.addr().get();
                root.return_range(&context, start + self.class.size(), start + range.len);
                range.start
            }
        };
        let whole = NonNull::slice_from_raw_parts(block, self.block_size());
        Ok(sanitizer::hand_out(self.engine.pool(), whole, requested))
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block is of this engine, and in use; the caller gives it up.
    pub unsafe fn free_block(&self, block: NonNull<u8>) {
        sanitizer::freed(self.engine.pool(), block);
        sanitizer::poison(block, self.block_size());
        let mut magazine = Magazine::empty();
        // SAFETY: the caller gives the block up; the pointer speaks for all of it.
        magazine.push(unsafe { Block::new(whole_block(block)) });
        self.root.lock().return_blocks(&self.context(), self.class, magazine);
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
        let mut context = self.context();
        context.supply.reclaimed = Some(&reclaimed);
        // What the source still refuses waits for the next time.
        let _ = context.supply.release_abandoned();
        let mut root = self.root.lock();
        root.flush(&context, self.class);
        root.discard(&context);
        self.pool.lock().reclaim(&context.supply);
        reclaimed.get()
    }

    /// Checks the engine's slabs.
    ///
    /// # Errors
    ///
    /// A [`Corruption`] that says what contradicts what, and where.
    pub fn validate(&self) -> Result<(), Corruption> {
        self.root.lock().validate::<S>(self.class)
    }

    /// Gives everything back; the answer is how many blocks had not been freed.
    pub fn destroy(self) -> usize {
        self.live_blocks()
    }
}

// SAFETY: blocks lie in the engine's segments, which neither move nor go while the engine is there.
unsafe impl<M: Mode, S: PageSource> Allocator for SlabAllocator<M, S> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // The block size is a multiple of each alignment that the class serves.
        let fits = layout.size() <= self.block_size()
            && (layout.align() <= BLOCK_ALIGN || self.block_size() % layout.align() == 0);
        if !fits {
            return Err(AllocError);
        }
        self.take(layout.size())
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, _: Layout) {
        // SAFETY: the caller keeps the trait's contract.
        unsafe { self.free_block(ptr) }
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if new.size() > self.block_size() || ptr.addr().get() % new.align() != 0 {
            return Err(AllocError);
        }
        let whole = NonNull::slice_from_raw_parts(whole_block(ptr), self.block_size());
        Ok(sanitizer::resize(self.engine.pool(), whole, old.size(), new.size()))
    }

    unsafe fn shrink(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller keeps the trait's contract; a smaller layout fits the block as well.
        unsafe { self.grow(ptr, old, new) }
    }
}

// SAFETY: the engine's memory has no thread; a moved engine takes its source along.
unsafe impl<M: Mode, S: PageSource + Send> Send for SlabAllocator<M, S> {}

// SAFETY: the engine is written under its locks.
unsafe impl<S: PageSource + Send + Sync> Sync for SlabAllocator<Threaded, S> {}

impl<M: Mode, S: PageSource> fmt::Debug for SlabAllocator<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabAllocator")
            .field("block_size", &self.block_size())
            .field("committed", &self.committed())
            .finish_non_exhaustive()
    }
}
