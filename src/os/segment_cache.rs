//! Released segments of [`SystemPages`](super::SystemPages), and a few longer ranges, kept for the next heap of the process.
//!
//! Last in, first out, one stack for each advice about huge pages, both in one static array:
//!
//! ```text
//! spares:  A A A A A · · · · · · · · F F F
//!          Against ──►                ◄── For
//! ```
//!
//! # Invariants
//!
//! - `against + huge + reserved <= CAPACITY`; the places of the two stacks hold a spare, the others none.
//! - `dirty` and `mapped` are the sums over all spares, the long ones included; `dirty` is at most `dirty_bound` unless that
//!   was lowered since.
//! - Spares and reserved places take at most `mapped_bound` bytes of addresses, unless that was lowered since or the
//!   system refused to take a range back.
//! - No system call is made under the lock: a place is reserved for a range that is being worked on.

#![expect(unsafe_code, reason = "calls the system")]

use core::ptr::NonNull;

use super::leftovers;
use super::lock::Locked;
use super::long_ranges::{LongRanges, LongSums};
use super::native;
use super::ranges;
use super::raw_locks::SystemLock;
use super::source::{DEFAULT_SEGMENT_SIZE, HugeAdvice, PageError};
use crate::primitives::sanitizer;

/// Most segments the cache can keep, whatever its bounds.
const CAPACITY: usize = 1024;

/// Bytes of cached segments that may be dirty, until set otherwise.
const DIRTY_BOUND: usize = 64 << 20;

/// Bytes of addresses that cached segments may take, until set otherwise.
const MAPPED_BOUND: usize = if usize::BITS >= 64 { 256 << 20 } else { 32 << 20 };

/// A range that nobody uses, aligned as a segment is, and as long or longer.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) ptr: NonNull<u8>,
    pub(super) len: usize,
    /// From this offset on, the range takes no memory.
    pub(super) dirty: usize,
    /// From this offset on, every byte reads as zero once committed.
    pub(super) zero_from: usize,
}

// SAFETY: a spare owns its range; nobody else has a pointer into it.
unsafe impl Send for Spare {}

/// What became of a spare that was offered to the cache.
#[derive(Debug)]
enum Offer {
    Kept,
    /// There is a place, once the spare is clean.
    Reserved(Spare),
    /// There is no place.
    Refused(Spare),
}

/// What became of a range longer than a segment that was offered.
#[derive(Debug)]
enum LongOffer {
    Kept,
    /// The oldest has left to make room: the spare is to be offered again.
    AfterOldest {
        spare: Spare,
        oldest: Spare,
    },
    /// There is no room, whichever others leave.
    Refused(Spare),
}

struct SegmentCache {
    spares: [Option<Spare>; CAPACITY],
    against: usize,
    huge: usize,
    reserved: usize,
    long: LongRanges,
    mapped: usize,
    dirty: usize,
    dirty_bound: usize,
    mapped_bound: usize,
}

impl SegmentCache {
    const fn new(dirty_bound: usize, mapped_bound: usize) -> Self {
        let (spares, long) = ([const { None }; CAPACITY], LongRanges::new());
        Self { spares, against: 0, huge: 0, reserved: 0, long, mapped: 0, dirty: 0, dirty_bound, mapped_bound }
    }

    fn len(&self) -> usize {
        self.against + self.huge
    }

    fn has_place(&self) -> bool {
        self.len() + self.reserved < CAPACITY
    }

    /// The spare that came last, of those with the advice if there is one.
    fn take(&mut self, advice: HugeAdvice) -> Option<(Spare, HugeAdvice)> {
        let advice = match advice {
            HugeAdvice::Against if self.against == 0 => HugeAdvice::For,
            HugeAdvice::For if self.huge == 0 => HugeAdvice::Against,
            same => same,
        };
        let place = match advice {
            HugeAdvice::Against => self.against.checked_sub(1)?,
            HugeAdvice::For => CAPACITY - self.huge,
        };
        let spare = self.spares.get_mut(place)?.take()?;
        match advice {
            HugeAdvice::Against => self.against -= 1,
            HugeAdvice::For => self.huge -= 1,
        }
        self.leave(&spare);
        Some((spare, advice))
    }

    fn enter(&mut self, spare: &Spare) {
        self.dirty += spare.dirty;
        self.mapped += spare.len;
    }

    fn leave(&mut self, spare: &Spare) {
        self.dirty -= spare.dirty;
        self.mapped -= spare.len;
    }

    /// A long range for a request of so many bytes.
    fn take_long(&mut self, len: usize) -> Option<(Spare, HugeAdvice)> {
        let taken = self.long.take(len)?;
        self.leave(&taken.0);
        Some(taken)
    }

    fn take_oldest_long(&mut self) -> Option<Spare> {
        let (oldest, _) = self.long.take_oldest()?;
        self.leave(&oldest);
        Some(oldest)
    }

    /// Whether there is room for a long range beside others that are dirty and mapped so far. All long ones together have at
    /// most half of each bound, since segments serve every heap.
    fn has_room_beside(&self, spare: &Spare, long: LongSums) -> bool {
        let mapped = self.mapped - self.long.sums().mapped + self.reserved * DEFAULT_SEGMENT_SIZE;
        let dirty = self.dirty - self.long.sums().dirty;
        let long = LongSums { mapped: long.mapped + spare.len, dirty: long.dirty + spare.dirty };
        long.mapped <= (self.mapped_bound / 2).min(self.mapped_bound.saturating_sub(mapped))
            && long.dirty <= (self.dirty_bound / 2).min(self.dirty_bound.saturating_sub(dirty))
    }

    fn offer_long(&mut self, spare: Spare, advice: HugeAdvice) -> LongOffer {
        if !self.has_room_beside(&spare, LongSums::NONE) {
            return LongOffer::Refused(spare);
        }
        if self.long.is_full() || !self.has_room_beside(&spare, self.long.sums()) {
            if let Some(oldest) = self.take_oldest_long() {
                return LongOffer::AfterOldest { spare, oldest };
            }
        }
        self.enter(&spare);
        self.long.push(spare, advice);
        LongOffer::Kept
    }

    fn offer(&mut self, spare: Spare, advice: HugeAdvice) -> Offer {
        let mapped = self.mapped + (self.reserved + 1) * DEFAULT_SEGMENT_SIZE;
        if mapped > self.mapped_bound || !self.has_place() {
            return Offer::Refused(spare);
        }
        if self.dirty.saturating_add(spare.dirty) > self.dirty_bound {
            self.reserved += 1;
            return Offer::Reserved(spare);
        }
        self.push(spare, advice);
        Offer::Kept
    }

    /// Puts the spare in a place that was reserved for it.
    fn fill_reserved(&mut self, spare: Spare, advice: HugeAdvice) {
        self.reserved -= 1;
        self.push(spare, advice);
    }

    fn push(&mut self, spare: Spare, advice: HugeAdvice) {
        debug_assert!(self.has_place());
        self.enter(&spare);
        let place = match advice {
            HugeAdvice::Against => {
                self.against += 1;
                self.against - 1
            }
            HugeAdvice::For => {
                self.huge += 1;
                CAPACITY - self.huge
            }
        };
        self.spares[place] = Some(spare);
    }

    fn exceeds_bounds(&self) -> bool {
        self.dirty > self.dirty_bound || self.mapped > self.mapped_bound
    }
}

/// What the system does to a spare; each function says whether it succeeded.
#[derive(Clone, Copy)]
struct Calls {
    discard: fn(&mut Spare) -> bool,
    unmap: fn(&Spare) -> bool,
}

const SYSTEM: Calls = Calls {
    discard: |spare| {
        // SAFETY: a spare owns its range, and its contents are nobody's.
        let Ok(discarded) = (unsafe { native::discard(spare.ptr, spare.len) }) else { return false };
        spare.dirty = 0;
        spare.zero_from = if discarded.zeroed { 0 } else { spare.zero_from };
        true
    },
    unmap: |spare| {
        sanitizer::surrender(spare.ptr, spare.len);
        // SAFETY: a spare owns its range; the callers drop the spare on success.
        unsafe { ranges::unmap(spare.ptr, spare.len) }.is_ok()
    },
};

type Shared = Locked<SystemLock, SegmentCache>;

/// The cache of the process.
static CACHE: Shared = Locked::new(SegmentCache::new(DIRTY_BOUND, MAPPED_BOUND));

fn release_to(cache: &Shared, spare: Spare, advice: HugeAdvice, calls: Calls) -> Result<(), PageError> {
    let offer = cache.lock().offer(spare, advice);
    let spare = match offer {
        Offer::Kept => return Ok(()),
        Offer::Refused(spare) => spare,
        Offer::Reserved(mut spare) => {
            if (calls.discard)(&mut spare) {
                cache.lock().fill_reserved(spare, advice);
                return Ok(());
            }
            cache.lock().reserved -= 1;
            spare
        }
    };
    if (calls.unmap)(&spare) { Ok(()) } else { keep_unwanted(cache, spare, advice, calls) }
}

/// Keeps a range that the system does not take back, whatever addresses it takes; clean where it must be.
#[cold]
fn keep_unwanted(cache: &Shared, mut spare: Spare, advice: HugeAdvice, calls: Calls) -> Result<(), PageError> {
    let mut locked = cache.lock();
    if !locked.has_place() {
        return Err(PageError);
    }
    if locked.dirty.saturating_add(spare.dirty) <= locked.dirty_bound {
        locked.push(spare, advice);
        return Ok(());
    }
    locked.reserved += 1;
    drop(locked);
    let clean = (calls.discard)(&mut spare);
    let mut locked = cache.lock();
    if clean {
        locked.fill_reserved(spare, advice);
        Ok(())
    } else {
        locked.reserved -= 1;
        Err(PageError)
    }
}

/// Gives spares back to the system while `unwanted` says so and the system takes them; the answer is how many bytes.
fn evict(cache: &Shared, calls: Calls, unwanted: fn(&SegmentCache) -> bool) -> usize {
    let mut bytes = 0;
    loop {
        let mut locked = cache.lock();
        if !unwanted(&locked) {
            return bytes;
        }
        let Some((spare, advice)) = locked.take(HugeAdvice::For) else { return bytes };
        locked.reserved += 1;
        drop(locked);
        let gone = (calls.unmap)(&spare);
        let mut locked = cache.lock();
        if !gone {
            locked.fill_reserved(spare, advice);
            return bytes;
        }
        locked.reserved -= 1;
        bytes += DEFAULT_SEGMENT_SIZE;
    }
}

/// A segment, of those with the advice if there is one.
pub(super) fn take(advice: HugeAdvice) -> Option<(Spare, HugeAdvice)> {
    let taken = CACHE.lock().take(advice)?;
    hand_out(&taken.0);
    Some(taken)
}

/// A range longer than a segment, for a request of so many bytes.
pub(super) fn take_long(len: usize) -> Option<(Spare, HugeAdvice)> {
    let taken = CACHE.lock().take_long(len)?;
    hand_out(&taken.0);
    Some(taken)
}

/// Whether [`take_long`] would have an answer now, most of whose pages are there.
pub(super) fn has_long(len: usize) -> bool {
    CACHE.lock().long.has_pages_for(len)
}

fn hand_out(spare: &Spare) {
    sanitizer::unpoison(spare.ptr, spare.len);
    sanitizer::define_behind(NonNull::slice_from_raw_parts(spare.ptr, spare.len), spare.zero_from);
}

/// Takes a range in that is longer than a segment; false where the bounds leave no room, and the caller keeps it, as it was.
pub(super) fn release_long(spare: Spare, advice: HugeAdvice) -> bool {
    sanitizer::poison(spare.ptr, spare.len);
    let mut offered = spare;
    loop {
        let offer = CACHE.lock().offer_long(offered, advice);
        match offer {
            LongOffer::Kept => return true,
            LongOffer::AfterOldest { spare, oldest } => {
                give_back(oldest);
                offered = spare;
            }
            LongOffer::Refused(spare) => {
                sanitizer::surrender(spare.ptr, spare.len);
                return false;
            }
        }
    }
}

/// Gives a long range to the system, now or later; the answer is how many bytes are gone.
fn give_back(spare: Spare) -> usize {
    sanitizer::surrender(spare.ptr, spare.len);
    // SAFETY: a spare owns its range, whose first page is committed: its last user's header was there.
    if unsafe { leftovers::give_back_range(spare.ptr, spare.len) } { spare.len } else { 0 }
}

/// Gives long ranges back, the oldest first, while `unwanted` says so; the answer is how many bytes.
fn evict_long(unwanted: fn(&SegmentCache) -> bool) -> usize {
    let mut bytes = 0;
    loop {
        let mut locked = CACHE.lock();
        let oldest = if unwanted(&locked) { locked.take_oldest_long() } else { None };
        drop(locked);
        let Some(oldest) = oldest else { return bytes };
        bytes += give_back(oldest);
    }
}

/// Takes a segment in, or gives it back to the system where the bounds leave no room.
///
/// On failure the caller keeps the range, as it was.
pub(super) fn release(spare: Spare, advice: HugeAdvice) -> Result<(), PageError> {
    sanitizer::poison(spare.ptr, DEFAULT_SEGMENT_SIZE);
    release_to(&CACHE, spare, advice, SYSTEM)
}

/// Gives everything back to the system; the answer is how many bytes.
pub(super) fn trim() -> usize {
    evict_long(|_| true) + evict(&CACHE, SYSTEM, |cache| cache.len() > 0)
}

/// Bytes of addresses that cached ranges take.
pub(super) fn cached_bytes() -> usize {
    CACHE.lock().mapped
}

/// Sets the bounds, in bytes, and gives back what is beyond them.
pub(super) fn set_bounds(dirty: usize, mapped: usize) {
    let mut cache = CACHE.lock();
    cache.dirty_bound = dirty;
    cache.mapped_bound = mapped;
    drop(cache);
    evict_long(SegmentCache::exceeds_bounds);
    evict(&CACHE, SYSTEM, SegmentCache::exceeds_bounds);
}

/// The lock that is held around a fork.
#[cfg(unix)]
pub(crate) fn fork_lock() -> &'static SystemLock {
    CACHE.raw()
}

#[cfg(test)]
mod tests;
