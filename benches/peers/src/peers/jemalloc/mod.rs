//! jemalloc: explicit arenas, without a thread cache and with an explicit one, and its global allocator.

#![expect(unsafe_code, reason = "adapts a C interface")]

mod control;

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::NonNull;

use tikv_jemalloc_sys::{
    MALLOCX_ALIGN, MALLOCX_ARENA, MALLOCX_TCACHE, MALLOCX_TCACHE_NONE, malloc, mallocx, rallocx, realloc, sdallocx,
};

use self::control::{CREATE_ARENA, CREATE_CACHE, DESTROY_ARENA, DESTROY_CACHE, FLUSH_CACHE, FLUSH_THREAD, PURGE_ARENA};

use super::{In, Peer, Resize};

/// The number that stands for every arena.
const ALL_ARENAS: u32 = 4096;

/// Whatever is at least this long is aligned to it.
const NATURAL_ALIGN: usize = 16;

/// The flags that a layout's alignment needs.
#[inline(always)]
fn align_flags(layout: Layout) -> c_int {
    if layout.align() <= NATURAL_ALIGN && layout.align() <= layout.size() { 0 } else { MALLOCX_ALIGN(layout.align()) }
}

/// An explicit thread cache: for one thread at a time.
pub(super) struct Cache {
    /// A cell, since the cache is not to be used by threads at once.
    id: Cell<u32>,
}

/// What stands between an arena and its user.
pub(super) trait Caching {
    fn create() -> Self;
    fn flags(&self) -> c_int;
    fn flush(&self);
    fn end(&self);
}

impl Caching for () {
    fn create() -> Self {}

    #[inline(always)]
    fn flags(&self) -> c_int {
        MALLOCX_TCACHE_NONE
    }

    fn flush(&self) {}

    fn end(&self) {}
}

impl Caching for Cache {
    fn create() -> Self {
        Self { id: Cell::new(CREATE_CACHE.answer()) }
    }

    #[inline(always)]
    fn flags(&self) -> c_int {
        MALLOCX_TCACHE(self.id.get() as usize)
    }

    fn flush(&self) {
        FLUSH_CACHE.tell(self.id.get());
    }

    fn end(&self) {
        DESTROY_CACHE.tell(self.id.get());
    }
}

/// An explicit arena, destroyed with all its blocks.
pub(super) struct Arena<C: Caching> {
    arena: u32,
    cache: C,
}

pub(super) type JemallocArena = Arena<()>;
pub(super) type JemallocCachedArena = Arena<Cache>;

impl<C: Caching> Arena<C> {
    #[inline(always)]
    fn flags(&self) -> c_int {
        MALLOCX_ARENA(self.arena as usize) | self.cache.flags()
    }
}

// SAFETY: the arena's blocks are disjoint and stay until they are freed or the arena is destroyed.
unsafe impl<C: Caching> Peer for Arena<C> {
    type Handle<'heap>
        = In<'heap, Self>
    where
        C: 'heap;

    #[inline(always)]
    fn create() -> Self {
        Self { arena: CREATE_ARENA.answer(), cache: C::create() }
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the size is not zero, and arena and cache are there.
        NonNull::new(unsafe { mallocx(layout.size(), self.flags() | align_flags(layout)) }.cast())
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller gives the block up, which is of this layout.
        unsafe { sdallocx(block.as_ptr().cast(), layout.size(), self.cache.flags() | align_flags(layout)) }
    }

    fn reclaim(&self) {
        self.cache.flush();
        PURGE_ARENA.call_for(self.arena);
    }
}

// SAFETY: `rallocx` keeps what the block holds.
unsafe impl<C: Caching> Resize for Arena<C> {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, _: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller gives the block up, and the new size is not zero.
        NonNull::new(unsafe { rallocx(block.as_ptr().cast(), new.size(), self.flags() | align_flags(new)) }.cast())
    }
}

impl<C: Caching> Drop for Arena<C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.cache.end();
        DESTROY_ARENA.call_for(self.arena);
    }
}

/// The global allocator, whose blocks are freed one by one.
pub(super) struct JemallocGlobal;

// SAFETY: the allocator's blocks are disjoint and stay until they are freed.
unsafe impl Peer for JemallocGlobal {
    const WHOLESALE: bool = false;

    type Handle<'heap> = In<'heap, Self>;

    #[inline(always)]
    fn create() -> Self {
        Self
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let block = match align_flags(layout) {
            // SAFETY: it may be called at any time.
            0 => unsafe { malloc(layout.size()) },
            // SAFETY: the size is not zero.
            flags => unsafe { mallocx(layout.size(), flags) },
        };
        NonNull::new(block.cast())
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller gives the block up, which is of this layout.
        unsafe { sdallocx(block.as_ptr().cast(), layout.size(), align_flags(layout)) }
    }

    fn reclaim(&self) {
        FLUSH_THREAD.call();
        PURGE_ARENA.call_for(ALL_ARENAS);
    }
}

// SAFETY: both calls keep what the block holds.
unsafe impl Resize for JemallocGlobal {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, _: Layout, new: Layout) -> Option<NonNull<u8>> {
        let block = block.as_ptr().cast();
        let moved = match align_flags(new) {
            // SAFETY: the caller gives the block up.
            0 => unsafe { realloc(block, new.size()) },
            // SAFETY: the caller gives the block up, and the new size is not zero.
            flags => unsafe { rallocx(block, new.size(), flags) },
        };
        NonNull::new(moved.cast())
    }
}
