//! One class of a thread cache: the loaded and the previous magazine, and a bump range. A class that lives from the nursery
//! has no range, and no root before its magazines overflow.
//!
//! ```text
//! allocate ◄── loaded ◄── bump range ◄── previous ◄── depot ◄── bitmaps ◄── portion, slab
//! free     ──► loaded ─────────────────► previous ──► depot ──► bitmaps
//! ```
//!
//! The two magazines are Bonwick & Adams 2001: a lock is taken once for at least `capacity` operations, since `previous`
//! is always full or empty.
//!
//! # Invariants
//!
//! - All zero is the empty state. `loaded` has `capacity - room` blocks, `previous` none or `capacity`.
//! - `bump` is null, or the cache cuts a slab, whose root there is; `bump_left` is a multiple of the block size, and the range
//!   ends at `bump + bump_left`.
//! - Only the thread that leases the cache's slot, or the holder of an exclusive borrow of the heap, writes; the atomics
//!   are for those who count.

#![expect(unsafe_code, reason = "the magazines are threaded through free blocks")]

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, Ordering::Relaxed};

use crate::os::PageSource;
use crate::os::lock::{Locked, RawLock};
use crate::primitives::abort::corruption;
use crate::segment::Refusal;
use crate::slab::return_without_root;
use crate::slab::{BLOCK_ALIGN, Block, BumpRange, Magazine, Refill, SizeClass, SlabContext, SlabRoot, link};

/// The cached blocks of one class.
#[repr(C, align(32))]
pub(crate) struct Magazines {
    loaded: Cell<*mut u8>,
    bump: Cell<*mut u8>,
    /// A whole word: processors forward one from its last store to its next load in no time, but no half of one.
    room: AtomicU32,
    capacity: AtomicU16,
    /// In multiples of `BLOCK_ALIGN`, which divides every block size.
    bump_left: AtomicU16,
    previous: AtomicPtr<u8>,
}

/// Fresh blocks are handed out in an order that cannot be foreseen.
const SHUFFLED: bool = cfg!(feature = "hardened");

/// Bytes of fresh blocks that are loaded at a time, where one block is not more; where they are shuffled, whole magazines.
const FRESH_BYTES: usize = if SHUFFLED { 1 << 20 } else { 1 << 10 };

impl Magazines {
    /// A block from the loaded magazine.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.loaded.get())?;
        // SAFETY: a block of the loaded magazine is free, and was linked when it came.
        self.loaded.set(unsafe { link::next(block) });
        self.room.store(self.room.load(Relaxed) + 1, Relaxed);
        Some(block)
    }

    /// The next block of the bump range, where none is loaded and blocks may come in order: as it is in its slab.
    #[inline]
    pub(crate) fn cut_one(&self, size: usize) -> Option<NonNull<u8>> {
        if SHUFFLED || !self.loaded.get().is_null() { None } else { self.cut(size) }
    }

    /// The next `len` bytes of the bump range.
    #[inline]
    fn cut(&self, len: usize) -> Option<NonNull<u8>> {
        let left = self.bump_left();
        if left == 0 {
            return None;
        }
        self.set_bump_left(left - len);
        let start = self.bump.get();
        self.bump.set(start.wrapping_add(len));
        // SAFETY: while something is left, `bump` points to it.
        Some(unsafe { NonNull::new_unchecked(start) })
    }

    /// The next block of the bump range, for a class that has none loaded; a few behind it are loaded, so that the next ones
    /// come as those do that were freed: which of both it is, no processor could foresee.
    #[inline]
    pub(crate) fn cut_fresh(&self, size: usize) -> Option<NonNull<u8>> {
        let (left, capacity) = (self.bump_left(), self.capacity());
        if left == 0 {
            return None;
        }
        let most = left.min(capacity * size).min(FRESH_BYTES);
        if most < 2 * size {
            return self.cut(size);
        }
        let mut end = most - most % size;
        let start = self.cut(end)?;
        let mut magazine = Magazine::empty();
        while end > 0 {
            end -= size;
            // SAFETY: what was cut starts there, and has more than `end` bytes.
            let block = unsafe { start.byte_add(end) };
            // SAFETY: what was cut is free, and in no list.
            magazine.push(unsafe { Block::new(block) });
        }
        #[cfg(feature = "hardened")]
        let mut magazine = magazine.shuffled();
        let block = magazine.pop()?;
        self.load(magazine);
        Some(block.into_raw())
    }

    /// Puts a block on the loaded magazine; hands it back where that is full.
    #[inline(always)]
    pub(crate) fn push(&self, block: Block) -> Result<(), Block> {
        let room = self.room.load(Relaxed);
        if room == 0 {
            return Err(block);
        }
        let (block, head) = (block.into_raw(), self.loaded.get());
        if block.as_ptr() == head {
            corruption("block freed twice", head);
        }
        // SAFETY: the block is free and ours.
        unsafe { link::set_next(block, head) };
        self.loaded.set(block.as_ptr());
        self.room.store(room - 1, Relaxed);
        Ok(())
    }

    fn loaded_len(&self) -> usize {
        self.capacity() - self.room()
    }

    /// Takes the loaded magazine out.
    fn take_loaded(&self) -> Magazine {
        let len = self.loaded_len();
        self.set_room(self.capacity());
        // SAFETY: by the first invariant, `loaded` starts a list of that length, which is no longer the cache's.
        unsafe { Magazine::from_raw(self.loaded.replace(ptr::null_mut()), len) }
    }

    /// Takes the previous magazine out, where there is one.
    fn take_previous(&self) -> Option<Magazine> {
        let head = NonNull::new(self.previous.load(Relaxed))?;
        self.previous.store(ptr::null_mut(), Relaxed);
        // SAFETY: by the first invariant, a previous magazine is full.
        Some(unsafe { Magazine::from_raw(head.as_ptr(), self.capacity()) })
    }

    /// Loads a magazine of at most `capacity` blocks where none is loaded.
    fn load(&self, magazine: Magazine) {
        self.set_room(self.capacity() - magazine.len());
        self.loaded.set(magazine.into_raw());
    }

    /// Sets how many blocks a magazine may have, where there are none.
    #[inline]
    fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity as u16, Relaxed);
        self.set_room(capacity);
    }

    /// Where the bump range ends, or has ended.
    pub(super) fn bump_end(&self) -> Option<usize> {
        let bump = NonNull::new(self.bump.get())?;
        Some(bump.addr().get() + self.bump_left())
    }

    /// A block of a full magazine, for a class whose loaded magazine and bump range are empty: of the previous one, or of one
    /// from the depot of the root, where that has been made.
    #[inline(never)]
    pub(crate) fn load_full<L: RawLock>(&self, root: Option<&Locked<L, SlabRoot>>) -> Option<NonNull<u8>> {
        let full = self.take_previous().or_else(|| root?.lock().take_full(self.capacity()))?;
        self.load(full);
        self.pop()
    }

    /// A block for a class whose loaded magazine and bump range are empty; says also whether it is all zero.
    pub(crate) fn refill<S: PageSource, L: RawLock>(
        &self,
        root: &Locked<L, SlabRoot>,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
    ) -> Result<(NonNull<u8>, bool), Refusal> {
        if let Some(previous) = self.take_previous() {
            self.load(previous);
        } else {
            let capacity = class.magazine_capacity(context.supply.account.limit());
            self.set_capacity(capacity);
            // Not in the `match` itself: the lock would be held in its arms.
            let refill = root.lock().refill(context, class, capacity, self.bump_end())?;
            match refill {
                // A full magazine of the depot may be of a time with another capacity.
                Refill::Magazine(mut magazine) => {
                    let block = magazine.pop().map(Block::into_raw);
                    let rest = self.load_within_capacity(magazine);
                    if rest.len() > 0 {
                        root.lock().return_blocks(context, class, rest);
                    }
                    return block.map(|block| (block, false)).ok_or(Refusal::Source);
                }
                Refill::Range(range) => {
                    self.set_range(&range);
                    let block = self.cut_fresh(class.size()).ok_or(Refusal::Source)?;
                    return Ok((block, range.zeroed));
                }
            }
        }
        self.pop().map(|block| (block, false)).ok_or(Refusal::Source)
    }

    /// Loads as many blocks as there is room for, and hands the others back.
    fn load_within_capacity(&self, mut magazine: Magazine) -> Magazine {
        let mut rest = Magazine::empty();
        while magazine.len() > self.capacity() {
            match magazine.pop() {
                Some(block) => rest.push(block),
                None => break,
            }
        }
        self.load(magazine);
        rest
    }

    /// Starts a bump range, where the last one has ended.
    #[inline]
    fn set_range(&self, range: &BumpRange) {
        self.bump.set(range.start.as_ptr());
        self.set_bump_left(range.len);
    }

    /// Whether there is a previous magazine: it is full.
    #[inline(always)]
    pub(crate) fn has_previous(&self) -> bool {
        !self.previous.load(Relaxed).is_null()
    }

    /// Whether there are blocks beside those of the loaded magazine.
    #[inline(always)]
    pub(super) fn has_more(&self) -> bool {
        self.bump_left.load(Relaxed) != 0 || self.has_previous()
    }

    /// Makes room for blocks that will be freed, in a class that has had none so far.
    #[inline(always)]
    pub(super) fn prepare(&self, class: SizeClass, limit: usize) {
        if self.capacity() == 0 {
            self.set_capacity(class.magazine_capacity(limit));
        }
    }

    /// Takes a block for which the loaded magazine has no room: the previous one moves on to the root, the loaded one
    /// becomes the previous. Classes without magazines give the block straight back to its slab.
    pub(crate) fn overflow<S: PageSource, L: RawLock>(
        &self,
        root: Option<&Locked<L, SlabRoot>>,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
        block: Block,
    ) {
        if self.capacity() == 0 {
            self.set_capacity(class.magazine_capacity(context.supply.account.limit()));
        } else {
            if block.addr() == self.loaded.get().addr() {
                corruption("block freed twice", block.into_raw().as_ptr());
            }
            if let Some(previous) = self.take_previous() {
                match root {
                    Some(root) => root.lock().take_magazine(context, class, previous),
                    None => return_without_root(context, class, previous),
                }
            }
            self.previous.store(self.take_loaded().into_raw(), Relaxed);
        }
        if let Err(block) = self.push(block) {
            return_one(root, context, class, block);
        }
    }

    /// Gives every block back to its slab, or to the nursery; the answer is how many there were, those of the bump range included.
    pub(crate) fn flush<S: PageSource, L: RawLock>(
        &self,
        root: Option<&Locked<L, SlabRoot>>,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
    ) -> usize {
        let (cached, range) = (self.cached(), self.bump_end());
        let left = self.bump_left();
        if cached > 0 || range.is_some() {
            let mut root = root.map(Locked::lock);
            for magazine in [Some(self.take_loaded()), self.take_previous()].into_iter().flatten() {
                match &mut root {
                    Some(root) => root.return_blocks(context, class, magazine),
                    None => return_without_root(context, class, magazine),
                }
            }
            if let (Some(end), Some(root)) = (range, &mut root) {
                root.return_range(context, end - left, end);
            }
        }
        self.forget();
        cached + left / class.size().max(1)
    }

    /// Forgets all blocks: their slabs are gone, or have them back.
    pub(crate) fn forget(&self) {
        self.loaded.set(ptr::null_mut());
        self.previous.store(ptr::null_mut(), Relaxed);
        self.bump.set(ptr::null_mut());
        self.set_bump_left(0);
        self.set_capacity(0);
    }

    /// Blocks in the two magazines.
    pub(crate) fn cached(&self) -> usize {
        let capacity = self.capacity();
        let loaded = capacity.saturating_sub(self.room());
        loaded + if self.previous.load(Relaxed).is_null() { 0 } else { capacity }
    }

    fn capacity(&self) -> usize {
        usize::from(self.capacity.load(Relaxed))
    }

    fn room(&self) -> usize {
        self.room.load(Relaxed) as usize
    }

    fn set_room(&self, room: usize) {
        self.room.store(room as u32, Relaxed);
    }

    /// Bytes left in the bump range.
    #[inline]
    pub(crate) fn bump_left(&self) -> usize {
        usize::from(self.bump_left.load(Relaxed)) * BLOCK_ALIGN
    }

    #[inline]
    fn set_bump_left(&self, bytes: usize) {
        self.bump_left.store((bytes / BLOCK_ALIGN) as u16, Relaxed);
    }

    /// The addresses of all cached blocks, for those who check them; the caller leases the cache. A null says that a list
    /// is broken: it ends early, or a link was overwritten.
    pub(crate) fn for_each_cached(&self, mut visit: impl FnMut(usize)) {
        let lists =
            [(self.loaded.get(), self.loaded_len()), (self.previous.load(Relaxed), self.cached() - self.loaded_len())];
        for (mut block, len) in lists {
            for _ in 0..len {
                visit(block.addr());
                let Some(cached) = NonNull::new(block) else { break };
                // SAFETY: by the first invariant, the list has `len` blocks, all free.
                let Some(next) = (unsafe { link::intact_next(cached) }) else { return visit(0) };
                block = next;
            }
        }
    }
}

/// A block for a thread that has no cache.
pub(crate) fn take_one<S: PageSource, L: RawLock>(
    root: &Locked<L, SlabRoot>,
    context: &SlabContext<'_, S, L>,
    class: SizeClass,
) -> Result<NonNull<u8>, Refusal> {
    let mut root = root.lock();
    match root.refill(context, class, 1, None)? {
        Refill::Magazine(mut magazine) => {
            let block = magazine.pop().map(Block::into_raw);
            if magazine.len() > 0 {
                root.return_blocks(context, class, magazine);
            }
            block.ok_or(Refusal::Source)
        }
        Refill::Range(range) => {
            let start = range.start.addr().get();
            root.return_range(context, start + class.size(), start + range.len);
            Ok(range.start)
        }
    }
}

/// Takes a block back from a thread that has no cache, or into a class without magazines.
pub(crate) fn return_one<S: PageSource, L: RawLock>(
    root: Option<&Locked<L, SlabRoot>>,
    context: &SlabContext<'_, S, L>,
    class: SizeClass,
    block: Block,
) {
    let mut magazine = Magazine::empty();
    magazine.push(block);
    match root {
        Some(root) => root.lock().return_blocks(context, class, magazine),
        None => return_without_root(context, class, magazine),
    }
}
