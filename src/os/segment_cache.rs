//! Released segments of [`SystemPages`](super::SystemPages), kept for the next heap of the process.
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
//! - `dirty` is the sum over the spares, and at most `dirty_bound` unless that was lowered since.
//! - Spares and reserved places take at most `mapped_bound` bytes of addresses, unless that was lowered since or the
//!   system refused to take a range back.
//! - No system call is made under the lock: a place is reserved for a range that is being worked on.

#![expect(unsafe_code, reason = "calls the system")]

use core::ptr::NonNull;

use super::lock::Locked;
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

/// A range of the length and alignment of a segment, that nobody uses.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) ptr: NonNull<u8>,
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

struct SegmentCache {
    spares: [Option<Spare>; CAPACITY],
    against: usize,
    huge: usize,
    reserved: usize,
    dirty: usize,
    dirty_bound: usize,
    mapped_bound: usize,
}

impl SegmentCache {
    const fn new(dirty_bound: usize, mapped_bound: usize) -> Self {
        let spares = [const { None }; CAPACITY];
        Self { spares, against: 0, huge: 0, reserved: 0, dirty: 0, dirty_bound, mapped_bound }
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
        self.dirty -= spare.dirty;
        Some((spare, advice))
    }

    fn offer(&mut self, spare: Spare, advice: HugeAdvice) -> Offer {
        let mapped = (self.len() + self.reserved + 1).saturating_mul(DEFAULT_SEGMENT_SIZE);
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
        self.dirty += spare.dirty;
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
        self.dirty > self.dirty_bound || self.len().saturating_mul(DEFAULT_SEGMENT_SIZE) > self.mapped_bound
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
        let Ok(discarded) = (unsafe { native::discard(spare.ptr, DEFAULT_SEGMENT_SIZE) }) else { return false };
        spare.dirty = 0;
        spare.zero_from = if discarded.zeroed { 0 } else { spare.zero_from };
        true
    },
    unmap: |spare| {
        sanitizer::surrender(spare.ptr, DEFAULT_SEGMENT_SIZE);
        // SAFETY: a spare owns its range; the callers drop the spare on success.
        unsafe { ranges::unmap(spare.ptr, DEFAULT_SEGMENT_SIZE) }.is_ok()
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
    sanitizer::unpoison(taken.0.ptr, DEFAULT_SEGMENT_SIZE);
    sanitizer::define_behind(NonNull::slice_from_raw_parts(taken.0.ptr, DEFAULT_SEGMENT_SIZE), taken.0.zero_from);
    Some(taken)
}

/// Takes a segment in, or gives it back to the system where the bounds leave no room.
///
/// On failure the caller keeps the range, as it was.
pub(super) fn release(spare: Spare, advice: HugeAdvice) -> Result<(), PageError> {
    sanitizer::poison(spare.ptr, DEFAULT_SEGMENT_SIZE);
    release_to(&CACHE, spare, advice, SYSTEM)
}

/// Gives all segments back to the system; the answer is how many bytes.
pub(super) fn trim() -> usize {
    evict(&CACHE, SYSTEM, |cache| cache.len() > 0)
}

/// Bytes of addresses that cached segments take.
pub(super) fn cached_bytes() -> usize {
    CACHE.lock().len() * DEFAULT_SEGMENT_SIZE
}

/// Sets the bounds, in bytes, and gives back what is beyond them.
pub(super) fn set_bounds(dirty: usize, mapped: usize) {
    let mut cache = CACHE.lock();
    cache.dirty_bound = dirty;
    cache.mapped_bound = mapped;
    drop(cache);
    evict(&CACHE, SYSTEM, SegmentCache::exceeds_bounds);
}

/// The lock that is held around a fork.
#[cfg(unix)]
pub(crate) fn fork_lock() -> &'static SystemLock {
    CACHE.raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use HugeAdvice::{Against, For};

    const SEGMENT: usize = DEFAULT_SEGMENT_SIZE;

    const WILLING: Calls = Calls {
        discard: |spare| {
            spare.dirty = 0;
            spare.zero_from = 0;
            true
        },
        unmap: |_| true,
    };
    const UNWILLING: Calls = Calls { discard: |_| false, unmap: |_| false };

    fn spare(number: usize, dirty: usize) -> Spare {
        let ptr = NonNull::without_provenance(core::num::NonZero::new(number * SEGMENT).unwrap());
        Spare { ptr, dirty, zero_from: SEGMENT }
    }

    fn cache(dirty_bound: usize, mapped_bound: usize) -> std::boxed::Box<Shared> {
        std::boxed::Box::new(Locked::new(SegmentCache::new(dirty_bound, mapped_bound)))
    }

    fn number(taken: Option<(Spare, HugeAdvice)>) -> Option<(usize, HugeAdvice)> {
        taken.map(|(spare, advice)| (spare.ptr.addr().get() / SEGMENT, advice))
    }

    #[test]
    fn last_in_first_out_and_the_right_advice_first() {
        let cache = cache(usize::MAX, usize::MAX);
        for (number, advice) in [(1, Against), (2, For), (3, Against), (4, For)] {
            release_to(&cache, spare(number, 1), advice, UNWILLING).unwrap();
        }
        assert_eq!(number(cache.lock().take(Against)), Some((3, Against)));
        assert_eq!(number(cache.lock().take(For)), Some((4, For)));
        assert_eq!(number(cache.lock().take(For)), Some((2, For)));
        assert_eq!(number(cache.lock().take(For)), Some((1, Against)));
        assert_eq!(number(cache.lock().take(For)), None);
        assert_eq!(number(cache.lock().take(Against)), None);
    }

    #[test]
    fn bounds_hold() {
        let cache = cache(2 * SEGMENT, 4 * SEGMENT);
        for number in 1..=10 {
            release_to(&cache, spare(number, SEGMENT), if number % 2 == 0 { For } else { Against }, WILLING).unwrap();
            let locked = cache.lock();
            assert_eq!(locked.len(), number.min(4));
            assert_eq!(locked.dirty, number.min(2) * SEGMENT);
            assert!(!locked.exceeds_bounds());
        }
        cache.lock().dirty_bound = 0;
        evict(&cache, WILLING, SegmentCache::exceeds_bounds);
        assert_eq!(cache.lock().dirty, 0);
        assert_eq!(evict(&cache, WILLING, |cache| cache.len() > 0), SEGMENT * cache.lock().len());
    }

    #[test]
    fn bounds_of_zero_keep_nothing() {
        let cache = cache(0, 0);
        release_to(&cache, spare(1, 0), Against, WILLING).unwrap();
        assert_eq!(cache.lock().len(), 0);
    }

    #[test]
    fn what_the_system_refuses_stays() {
        let cache = cache(SEGMENT, 0);
        release_to(&cache, spare(1, SEGMENT), Against, UNWILLING).unwrap();
        assert_eq!(cache.lock().len(), 1);
        // The second would be dirty beyond the bound and cannot be made clean: its owner keeps it.
        assert_eq!(release_to(&cache, spare(2, SEGMENT), Against, UNWILLING), Err(PageError));
        assert_eq!(evict(&cache, UNWILLING, |cache| cache.len() > 0), 0);
        assert_eq!(cache.lock().len(), 1);
        assert_eq!(cache.lock().reserved, 0);
    }

    #[test]
    fn a_full_array_refuses() {
        let cache = cache(usize::MAX, usize::MAX);
        for number in 1..=CAPACITY {
            release_to(&cache, spare(number, 0), Against, UNWILLING).unwrap();
        }
        assert_eq!(release_to(&cache, spare(CAPACITY + 1, 0), For, UNWILLING), Err(PageError));
    }
}
