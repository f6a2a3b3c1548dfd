//! The cache's books: order, bounds, what the system refuses.

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
    Spare { ptr, len: SEGMENT, dirty, zero_from: SEGMENT }
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

#[test]
fn long_ranges_have_half_of_the_bounds_and_the_oldest_leaves_for_the_next() {
    let cache = cache(64 * SEGMENT, 64 * SEGMENT);
    let mut cache = cache.lock();
    let long = |number: usize, len: usize| Spare { len: len * SEGMENT, ..spare(number, len * SEGMENT) };
    let mut offer = |number: usize, len: usize| {
        let (mut left, mut offered) = (std::vec::Vec::new(), long(number, len));
        loop {
            match cache.offer_long(offered, For) {
                LongOffer::Kept => return Some(left),
                LongOffer::AfterOldest { spare, oldest } => {
                    left.push(oldest.ptr.addr().get() / SEGMENT);
                    offered = spare;
                }
                LongOffer::Refused(_) => return None,
            }
        }
    };
    assert_eq!(offer(1, 33), None, "more than half");
    assert_eq!(offer(2, 10), Some(std::vec![]));
    assert_eq!(offer(3, 20), Some(std::vec![]));
    assert_eq!(offer(4, 15), Some(std::vec![2, 3]));
    for number in 5..12 {
        assert_eq!(offer(number, 2), Some(std::vec![]));
    }
    assert_eq!(offer(12, 2), Some(std::vec![4]), "eight at most");
    assert_eq!(cache.long.sums(), LongSums { mapped: 16 * SEGMENT, dirty: 16 * SEGMENT });
    assert_eq!((cache.mapped, cache.dirty), (16 * SEGMENT, 16 * SEGMENT));
    // Segments come first: what they take is not to be had.
    for number in 20..60 {
        assert!(matches!(cache.offer(spare(number, SEGMENT), Against), Offer::Kept));
    }
    assert!(matches!(cache.offer_long(long(90, 25), For), LongOffer::Refused(_)));
    assert!(matches!(cache.offer_long(long(91, 20), For), LongOffer::AfterOldest { .. }));
}
