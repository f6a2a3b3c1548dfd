//! A few released ranges that are longer than a segment, for requests of about their length.
//!
//! The pages of such a range are there already, and a block that grows by doubling finds room to grow in place.
//!
//! # Invariants
//!
//! - The oldest range comes first, and no place before one is empty.

use super::segment_cache::Spare;
use super::source::HugeAdvice;

/// Bytes of the longest range that is kept.
pub(super) const LONGEST: usize = 32 << 20;

/// Ranges that are kept at most.
const PLACES: usize = 8;

/// How many times as long as a request a range may be that serves it: so much memory may a block take, at most.
const STRETCH: usize = 2;

/// Sums over ranges, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LongSums {
    pub(super) mapped: usize,
    pub(super) dirty: usize,
}

impl LongSums {
    pub(super) const NONE: Self = Self { mapped: 0, dirty: 0 };
}

pub(super) struct LongRanges {
    ranges: [Option<(Spare, HugeAdvice)>; PLACES],
}

impl LongRanges {
    pub(super) const fn new() -> Self {
        Self { ranges: [const { None }; PLACES] }
    }

    /// The place of the shortest range that serves a request of `len` bytes; of these, of the last one released.
    fn find(&self, len: usize) -> Option<usize> {
        let lengths = self.ranges.iter().map_while(|range| Some(range.as_ref()?.0.len)).enumerate();
        let serving = lengths.filter(|&(_, own)| own >= len && own / STRETCH <= len);
        serving.reduce(|best, next| if next.1 <= best.1 { next } else { best }).map(|(place, _)| place)
    }

    fn take_from(&mut self, place: usize) -> Option<(Spare, HugeAdvice)> {
        let taken = self.ranges[place].take();
        self.ranges[place..].rotate_left(1);
        taken
    }

    /// Whether a range is there for a request of `len` bytes, at least half of which have their pages.
    pub(super) fn has_pages_for(&self, len: usize) -> bool {
        let found = self.find(len).and_then(|place| self.ranges[place].as_ref());
        found.is_some_and(|(spare, _)| spare.dirty >= len / 2)
    }

    /// The sums over all ranges.
    pub(super) fn sums(&self) -> LongSums {
        self.ranges.iter().flatten().fold(LongSums::NONE, |sums, (spare, _)| LongSums {
            mapped: sums.mapped + spare.len,
            dirty: sums.dirty + spare.dirty,
        })
    }

    /// A range for a request of `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Option<(Spare, HugeAdvice)> {
        let place = self.find(len)?;
        self.take_from(place)
    }

    pub(super) fn take_oldest(&mut self) -> Option<(Spare, HugeAdvice)> {
        self.take_from(0)
    }

    pub(super) fn is_full(&self) -> bool {
        self.ranges[PLACES - 1].is_some()
    }

    /// Takes a range in where there is a place.
    pub(super) fn push(&mut self, spare: Spare, advice: HugeAdvice) {
        debug_assert!(!self.is_full());
        if let Some(place) = self.ranges.iter_mut().find(|place| place.is_none()) {
            *place = Some((spare, advice));
        }
    }
}

#[cfg(test)]
mod tests {
    use core::ptr::NonNull;

    use super::*;

    fn range(len: usize, number: usize) -> Spare {
        let ptr = NonNull::without_provenance(core::num::NonZero::new(number).unwrap());
        Spare { ptr, len, dirty: len, zero_from: len }
    }

    fn number(taken: Option<(Spare, HugeAdvice)>) -> Option<usize> {
        taken.map(|(spare, _)| spare.ptr.addr().get())
    }

    #[test]
    fn the_shortest_that_serves_comes_first_and_of_these_the_last_one() {
        let mut ranges = LongRanges::new();
        for (index, len) in [60, 50, 90, 50].into_iter().enumerate() {
            ranges.push(range(len, index + 1), HugeAdvice::For);
        }
        assert!(ranges.has_pages_for(25) && !ranges.has_pages_for(24) && !ranges.has_pages_for(91));
        assert_eq!(ranges.sums(), LongSums { mapped: 250, dirty: 250 });
        let taken = [45, 45, 45, 45, 45].map(|len| number(ranges.take(len)));
        assert_eq!(taken, [Some(4), Some(2), Some(1), Some(3), None]);
    }

    #[test]
    fn a_range_that_was_hardly_touched_has_no_pages() {
        let mut ranges = LongRanges::new();
        ranges.push(Spare { dirty: 20, ..range(60, 1) }, HugeAdvice::For);
        assert!(ranges.has_pages_for(40) && !ranges.has_pages_for(50));
        assert!(ranges.take(50).is_some());
    }

    #[test]
    fn the_oldest_leaves_where_there_is_no_place() {
        let mut ranges = LongRanges::new();
        for index in 0..3 * PLACES {
            if ranges.is_full() {
                assert_eq!(number(ranges.take_oldest()), Some(index + 1 - PLACES));
            }
            ranges.push(range(10, index + 1), HugeAdvice::Against);
        }
        let left: std::vec::Vec<_> = core::iter::from_fn(|| number(ranges.take_oldest())).collect();
        assert_eq!(left, (2 * PLACES + 1..=3 * PLACES).collect::<std::vec::Vec<_>>());
    }
}
