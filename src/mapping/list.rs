//! A heap's mappings: those in use, and a small cache of freed ones.
//!
//! # Invariants
//!
//! - Every mapping of the heap is in one of the two lists, `live` exactly where it is in use.
//! - `blocks` and `bytes` count the live ones, `cached_entries` and `cached_bytes` the others.
//! - The cache keeps within its bounds, but for mappings that the source refused to take back.

#![expect(unsafe_code, reason = "turns users' pointers into mappings")]

use core::ptr::NonNull;

use super::segment::{Mapping, MappingHeader, OVERHEAD, OWN_HEADER};
use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::abort::corruption;
use crate::primitives::address::{align_up, checked_align_up, is_aligned};
use crate::primitives::corruption::Corruption;
use crate::primitives::list::List;
use crate::segment::{HUGE_PAGE, HugePages, Refusal, SegmentKind, SegmentRequest, Supply};

/// Most mappings that the cache keeps.
const CACHE_ENTRIES: usize = 8;

/// Most bytes of blocks that the cache keeps.
const CACHE_BYTES: usize = 64 << 20;

/// How many times as long as a request a cached mapping may be that serves it, up to [`STRETCHED_MAX`]. A vector that grows by
/// doubling, as one did before, finds the pages of that one, and room to grow in place.
const STRETCH: usize = 4;

/// Longer mappings serve only what needs most of them.
const STRETCHED_MAX: usize = 16 << 20;

/// A large block as it is handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MappingBlock {
    pub(crate) ptr: NonNull<u8>,
    /// Bytes from `ptr`, at least what was asked for.
    pub(crate) len: usize,
    /// Address from which on the block is known to be zero.
    pub(crate) zero_from: usize,
}

/// A heap's mappings.
pub(crate) struct MappingList {
    pub(super) live: List<MappingHeader>,
    /// The longest cached first.
    cached: List<MappingHeader>,
    blocks: usize,
    pub(super) bytes: usize,
    cached_entries: usize,
    cached_bytes: usize,
}

/// What a request needs of a mapping.
#[derive(Clone, Copy)]
struct Need {
    /// Bytes of the block, whole pages.
    len: usize,
    align: usize,
}

impl MappingList {
    pub(crate) const fn new() -> Self {
        Self { live: List::new(), cached: List::new(), blocks: 0, bytes: 0, cached_entries: 0, cached_bytes: 0 }
    }

    /// How many blocks are in use, and their bytes.
    pub(crate) const fn live(&self) -> (usize, usize) {
        (self.blocks, self.bytes)
    }

    /// Bytes of cached blocks: committed, but free.
    pub(crate) const fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Takes a block of at least `size` bytes at a multiple of `align`, a power of two.
    pub(crate) fn allocate<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        size: usize,
        align: usize,
    ) -> Result<MappingBlock, Refusal> {
        let len = checked_align_up(size.max(1), supply.page_size()).ok_or(Refusal::Size)?;
        let need = Need { len, align };
        match self.take_cached(supply, need) {
            Some(mapping) => Ok(self.hand_out(mapping)),
            None => self.map(supply, need),
        }
    }

    fn map<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        need: Need,
    ) -> Result<MappingBlock, Refusal> {
        // Behind an offset of SEGMENT_SIZE the block would not find its header.
        let far = need.align >= S::SEGMENT_SIZE;
        // A vector that doubles fills whole huge pages where they begin with its block, and not a page behind its headers.
        let gap = supply.options.huge != HugePages::Never && need.len >= HUGE_PAGE && S::SEGMENT_SIZE > HUGE_PAGE;
        let before = align_up(if gap { HUGE_PAGE } else { OVERHEAD }, supply.page_size()).max(need.align);
        let offset = if far { S::SEGMENT_SIZE } else { before };
        let len = need.len.checked_add(offset).filter(|&sum| sum <= isize::MAX as usize).ok_or(Refusal::Size)?;
        let request = SegmentRequest {
            len,
            least: len,
            align: need.align.max(S::SEGMENT_SIZE),
            offset: if far { S::SEGMENT_SIZE } else { 0 },
            gap,
            ..SegmentRequest::ordinary::<S>(SegmentKind::Mapping, 0, false)
        };
        supply.charge(OWN_HEADER + need.len)?;
        let segment = supply.map(request).inspect_err(|_| supply.refund(OWN_HEADER + need.len))?;
        // SAFETY: the segment is new.
        let mapping = unsafe { Mapping::write(segment, offset, need.len) };
        self.add_cached(mapping);
        if let Err(refusal) = supply.commit_charged(segment, offset, offset + need.len) {
            self.release(supply, mapping);
            return Err(refusal);
        }
        self.remove_cached(mapping);
        Ok(self.hand_out(mapping))
    }

    /// Takes the best cached mapping for the request out of the cache.
    fn take_cached<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, need: Need) -> Option<Mapping> {
        let stretched = need.len.saturating_mul(STRETCH).min(STRETCHED_MAX);
        let longest = need.len.saturating_add(need.len / 4).max(stretched);
        let serves = |mapping: &Mapping| {
            mapping.len() >= need.len
                && mapping.len() <= longest
                && is_aligned(mapping.block().addr().get(), need.align)
        };
        // The shortest; of these the last one freed, which is the warmest.
        let closer = |best: Mapping, next: Mapping| if next.len() <= best.len() { next } else { best };
        let mapping = mappings::<S>(&self.cached).filter(serves).reduce(closer)?;
        // Where pages need commits, a refused one may have left some without.
        let (offset, len) = (mapping.offset(), mapping.len());
        supply.commit_charged(mapping.common(), offset, offset + len).ok()?;
        self.remove_cached(mapping);
        Some(mapping)
    }

    /// Makes a mapping that is in no list a live one.
    fn hand_out(&mut self, mapping: Mapping) -> MappingBlock {
        mapping.set_in_use(true);
        self.blocks += 1;
        self.bytes += mapping.len();
        // SAFETY: the mapping is in no list.
        unsafe { self.live.push_back(mapping.own_header()) };
        let len = mapping.len();
        MappingBlock { ptr: mapping.block(), len, zero_from: mapping.touch(len) }
    }

    /// Takes a block back. Aborts where it is none of this list's blocks in use.
    ///
    /// # Safety
    ///
    /// The block was allocated from this list, and nobody uses it any more.
    pub(crate) unsafe fn free<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, block: NonNull<u8>) {
        let mapping = Self::checked(supply, block);
        #[cfg(feature = "hardened")]
        if !is_never_cached(supply, mapping) {
            // SAFETY: the caller gives the block up.
            unsafe { crate::primitives::fill::freed(mapping.block(), mapping.len()) };
        }
        self.retire(supply, mapping);
    }

    /// Puts a live mapping in the cache, and gives back what the cache has no room for.
    fn retire<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, mapping: Mapping) {
        // SAFETY: a mapping in use is in the live list.
        unsafe { self.live.remove(mapping.own_header()) };
        self.blocks -= 1;
        self.bytes -= mapping.len();
        mapping.set_in_use(false);
        mapping.poison_beyond(0);
        self.add_cached(mapping);
        if is_never_cached(supply, mapping) && self.release(supply, mapping) == 0 {
            return;
        }
        while self.cached_entries > CACHE_ENTRIES || self.cached_bytes > CACHE_BYTES {
            let Some(oldest) = mappings::<S>(&self.cached).next() else { break };
            if self.release(supply, oldest) == 0 {
                // The source refuses; the next free tries another one.
                break;
            }
        }
    }

    /// Gives a cached mapping back; the answer is its length, or 0 where the source refuses and it stays, as the one
    /// cached last.
    fn release<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, mapping: Mapping) -> usize {
        self.remove_cached(mapping);
        let (offset, len) = (mapping.offset(), mapping.len());
        let restore = |_| mapping.restore(offset, len);
        // SAFETY: the block is not in use, and no list leads to the mapping any more.
        if let Ok(released) = unsafe { supply.release(mapping.common(), OVERHEAD + len, restore) } {
            return released;
        }
        self.add_cached(mapping);
        0
    }

    fn add_cached(&mut self, mapping: Mapping) {
        self.cached_entries += 1;
        self.cached_bytes += mapping.len();
        // SAFETY: the mapping is in no list.
        unsafe { self.cached.push_back(mapping.own_header()) };
    }

    fn remove_cached(&mut self, mapping: Mapping) {
        self.cached_entries -= 1;
        self.cached_bytes -= mapping.len();
        // SAFETY: the mapping is in the cache.
        unsafe { self.cached.remove(mapping.own_header()) };
    }

    /// Gives all cached mappings back; the answer is their length.
    pub(crate) fn reclaim<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) -> usize {
        let mut released = 0;
        // A refused one comes back at the end; none is tried twice.
        for _ in 0..self.cached_entries {
            let Some(oldest) = mappings::<S>(&self.cached).next() else { break };
            released += self.release(supply, oldest);
        }
        released
    }

    /// Frees every block at once.
    pub(crate) fn reset<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) {
        while let Some(header) = self.live.first() {
            self.retire(supply, Mapping::of_header(header, S::SEGMENT_SIZE));
        }
    }

    /// The mapping of a block in use, after all checks.
    pub(super) fn checked<S: PageSource, L: RawLock>(supply: &Supply<'_, S, L>, block: NonNull<u8>) -> Mapping {
        // SAFETY: the caller says that the block belongs to this list.
        let segment = unsafe { supply.segment_of(block.addr().get()) };
        let Some(segment) = segment.filter(|segment| segment.is_live(supply.owner, SegmentKind::Mapping)) else {
            corruption("not a large block of this heap", block.as_ptr())
        };
        // SAFETY: a live segment of this kind has its header.
        let mapping = unsafe { Mapping::new(segment) };
        if mapping.block().addr() != block.addr() {
            corruption("not the start of a large block", block.as_ptr());
        }
        if !mapping.is_in_use() {
            corruption("a large block that is free already", block.as_ptr());
        }
        mapping
    }

    /// Checks that the block is one that users have of this list; the answer is its length. Aborts where it is not.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(crate) fn check<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>, block: NonNull<u8>) -> usize {
        Self::checked(supply, block).len()
    }

    /// Checks everything that the list knows.
    pub(crate) fn validate<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>) -> Result<(), Corruption> {
        let live = validate_all(supply, &self.live, true)?;
        Corruption::unless(live == (self.blocks, self.bytes), "the sums of mappings in use", 0)?;
        let cached = validate_all(supply, &self.cached, false)?;
        Corruption::unless(cached == (self.cached_entries, self.cached_bytes), "the sums of cached mappings", 0)
    }
}

/// Whether a mapping goes back to the source when it is freed.
fn is_never_cached<S: PageSource, L: RawLock>(supply: &Supply<'_, S, L>, mapping: Mapping) -> bool {
    supply.account.is_limited() || mapping.len() > CACHE_BYTES
}

fn mappings<S: PageSource>(list: &List<MappingHeader>) -> impl Iterator<Item = Mapping> {
    // SAFETY: the header is in the list.
    let headers = core::iter::successors(list.first(), |&header| unsafe { List::after(header) });
    headers.map(|header| Mapping::of_header(header, S::SEGMENT_SIZE))
}

fn validate_all<S: PageSource, L: RawLock>(
    supply: &Supply<'_, S, L>,
    list: &List<MappingHeader>,
    in_use: bool,
) -> Result<(usize, usize), Corruption> {
    let (mut count, mut bytes) = (0, 0);
    for mapping in mappings::<S>(list) {
        let segment = mapping.common();
        let is_ours = segment.is_live(supply.owner, SegmentKind::Mapping);
        Corruption::unless(is_ours, "a mapping of another heap", segment.addr())?;
        Corruption::unless(mapping.is_in_use() == in_use, "a mapping in the wrong list", segment.addr())?;
        let (offset, len) = (mapping.offset(), mapping.len());
        let page = supply.page_size();
        let fits = offset >= OVERHEAD && offset <= S::SEGMENT_SIZE && len <= segment.len() - offset;
        let whole = is_aligned(offset, page) && is_aligned(len, page);
        Corruption::unless(fits && whole, "the extent of a large block", segment.addr())?;
        count += 1;
        bytes += len;
    }
    Ok((count, bytes))
}
