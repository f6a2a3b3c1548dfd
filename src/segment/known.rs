//! Which addresses are those of live segments, for debug builds and the feature `hardened`: an address that is freed or
//! resized leads to no header before it is known that one is there.
//!
//! The records of a heap say so for certain, but they are a list. In front of them stands a table for the whole process,
//! in which a segment's address has one place: whoever maps a segment enters it, and whoever gives one back takes it out
//! first. Another segment may have pushed it out in between; then the records decide, and enter it again.

#![cfg_attr(
    all(test, feature = "std", any(unix, windows)),
    expect(unsafe_code, reason = "a test plays the part of a tier")
)]

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::os::MIN_SEGMENT_SIZE;

const PLACE_BITS: u32 = 12;

static TABLE: [AtomicUsize; 1 << PLACE_BITS] = [const { AtomicUsize::new(0) }; 1 << PLACE_BITS];

/// The place of a segment's address: multiplication by the golden ratio spreads neighbours evenly (Knuth 1973).
#[inline]
fn place(base: usize) -> &'static AtomicUsize {
    let spread = ((base / MIN_SEGMENT_SIZE) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    &TABLE[(spread >> (u64::BITS - PLACE_BITS)) as usize]
}

/// Says that a segment starts here. It is mapped, and nobody can give it back meanwhile.
pub(super) fn enter(base: usize) {
    place(base).store(base, Relaxed);
}

/// Says that no segment starts here any more.
pub(super) fn take_out(base: usize) {
    // Another segment's address stays.
    let _ = place(base).compare_exchange(base, 0, Relaxed, Relaxed);
}

/// Whether a segment starts here; where not, the table may have lost it.
#[inline]
pub(super) fn has(base: usize) -> bool {
    place(base).load(Relaxed) == base
}

#[cfg(all(test, feature = "std", any(unix, windows)))]
mod tests {
    use super::*;
    use crate::os::raw_locks::NoLock;
    use crate::os::{PageSource, SystemPages};
    use crate::segment::{Account, HEADER_BYTES, OwnerId, Records, SegmentKind, SegmentRequest, Supply, SupplyOptions};

    #[test]
    fn a_segment_is_known_for_life_even_where_the_table_has_lost_it() {
        let (source, account, records) = (SystemPages::new(), Account::new(usize::MAX), Records::<NoLock>::new());
        let (owner, options) = (OwnerId::next(), SupplyOptions::DEFAULT);
        let supply = Supply {
            source: &source,
            account: &account,
            records: &records,
            owner,
            options,
            beyond_limit: false,
            reclaimed: None,
        };
        let segment = supply.map(SegmentRequest::ordinary::<SystemPages>(SegmentKind::Slab, 0, true)).unwrap();
        let base = segment.addr();
        // SAFETY: any address will do here.
        let find = |offset: usize| unsafe { supply.segment_of(base.wrapping_add(offset)) };
        assert_eq!((find(16), find(SystemPages::SEGMENT_SIZE)), (Some(segment), Some(segment)));
        take_out(base);
        assert!(!has(base));
        assert_eq!(find(16), Some(segment));
        // SAFETY: nobody has heard of the segment.
        unsafe { supply.release(segment, HEADER_BYTES, |_| ()) }.unwrap();
        assert_eq!((has(base), find(16)), (false, None));
        assert_eq!(find(16_usize.wrapping_sub(base)), None);
    }

    #[test]
    fn neighbours_have_places_of_their_own() {
        // Strides of the shorter segments of 32-bit systems meet more often.
        let most = if cfg!(target_pointer_width = "64") { 500 } else { 448 };
        for size in [MIN_SEGMENT_SIZE, SystemPages::SEGMENT_SIZE, 2 * SystemPages::SEGMENT_SIZE] {
            let mut places: std::vec::Vec<_> =
                (0..512).map(|index| core::ptr::from_ref(place((index + 99) * size)).addr()).collect();
            places.sort_unstable();
            places.dedup();
            assert!(places.len() >= most, "{} of 512 places", places.len());
        }
    }
}
