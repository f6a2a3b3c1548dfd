//! Boundary tags and bins, against fields of their own and a walk over all bins.

#[path = "../../../../src/coalesce/bin_index.rs"]
mod bin_index;
#[path = "../../../../src/coalesce/boundary_tag.rs"]
mod boundary_tag;

use arbitrary::Arbitrary;

use bin_index::{BINS, BinIndex, BinMap};
use boundary_tag::{BoundaryTag, FreePages, GRANULE};

/// Bytes in bins: less than the largest segment.
const MOST: usize = 1 << 30;

/// The lower bounds of all bins: multiples of 16 to 256, then sixteenths of each doubling.
fn lower_bounds() -> impl Iterator<Item = usize> {
    (0..16).map(|granules| granules * 16).chain((8..30).flat_map(|top| (16..32).map(move |part| part << (top - 4))))
}

/// Compares the bin of a payload, and the one to search from.
pub(super) fn check_bin(payload: usize) {
    let below = lower_bounds().take_while(|&bound| bound <= payload).count();
    let bin = BinIndex::of(payload);
    assert_eq!(bin.map(BinIndex::get), (payload < MOST).then(|| below - 1), "{payload}");
    let serving = lower_bounds().position(|bound| bound >= payload);
    assert_eq!(BinIndex::serving(payload).map(BinIndex::get), serving, "{payload}");
    if let Some(bin) = bin {
        assert_eq!(Some(bin.lower_bound()), lower_bounds().nth(bin.get()));
    }
}

/// Compares what a tag says with what it was made of.
pub(super) fn check_tag(len: usize, longer: usize, bits: u8) {
    let bit = |index: u8| bits >> index & 1 == 1;
    let [len, longer] = [len, longer].map(|len| (len & isize::MAX as usize) / GRANULE * GRANULE);
    let (last, direct) = (bit(0), bit(3));
    let pages = FreePages { discarded: bit(1), uncommitted: bit(2) };
    let free = BoundaryTag::free(len, last, pages);
    let allocated = BoundaryTag::allocated(len, last, direct);
    for (tag, len, last) in [(free, len, last), (free.resized(longer, bit(4)), longer, bit(4))] {
        assert_eq!((tag.len(), tag.is_last(), tag.pages()), (len, last, pages));
        assert!(tag.is_free() && !tag.is_direct(), "{tag:?}");
        check_copies(tag);
    }
    for (tag, len, last) in [(allocated, len, last), (allocated.resized(longer, bit(4)), longer, bit(4))] {
        assert_eq!((tag.len(), tag.is_last(), tag.is_direct()), (len, last, direct));
        assert!(!tag.is_free(), "{tag:?}");
        assert_eq!(tag == BoundaryTag::NONE, len == 0 && !last && !direct);
        check_copies(tag);
        #[cfg(any(debug_assertions, feature = "hardened"))]
        check_cached(tag);
    }
    let other = FreePages { discarded: bit(5), uncommitted: bit(6) };
    let both = FreePages { discarded: bit(1) && bit(5), uncommitted: bit(2) || bit(6) };
    assert_eq!((pages.merged(other), other.merged(pages)), (both, both));
    assert_eq!(pages.merged(FreePages::USED), FreePages { discarded: false, ..pages });
}

/// A tag survives as a word and as a mirror.
fn check_copies(tag: BoundaryTag) {
    assert_eq!((BoundaryTag::from_word(tag.word()), tag.mirrored()), (tag, tag));
    assert!(!tag.is_cached());
}

/// The cache's mark is in no mirror, goes with a new length, and changes nothing else.
#[cfg(any(debug_assertions, feature = "hardened"))]
fn check_cached(tag: BoundaryTag) {
    let cached = tag.cached();
    assert!(cached.is_cached() && cached != tag);
    assert_eq!((cached.mirrored(), cached.resized(tag.len(), tag.is_last())), (tag, tag));
    assert_eq!((cached.len(), cached.is_last(), cached.is_direct()), (tag.len(), tag.is_last(), tag.is_direct()));
}

/// A map of bins and the set that it must be.
pub(super) struct Bins {
    map: BinMap,
    set: [bool; BINS],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum BinStep {
    Set(u16),
    Clear(u16),
    First(u16),
}

impl Bins {
    pub(super) fn new() -> Self {
        Self { map: BinMap::new(), set: [false; BINS] }
    }

    pub(super) fn apply(&mut self, step: BinStep) {
        let (BinStep::Set(number) | BinStep::Clear(number) | BinStep::First(number)) = step;
        let place = usize::from(number) % BINS;
        let bin = BinIndex::all().nth(place).expect("a bin");
        match step {
            BinStep::Set(_) => {
                self.map.set(bin);
                self.set[place] = true;
            }
            BinStep::Clear(_) => {
                self.map.clear(bin);
                self.set[place] = false;
            }
            BinStep::First(_) => {
                let expected = (place..BINS).find(|&place| self.set[place]);
                assert_eq!(self.map.first_from(bin).map(BinIndex::get), expected);
            }
        }
        assert!(self.map.is_consistent());
        assert!(BinIndex::all().all(|bin| self.map.contains(bin) == self.set[bin.get()]));
    }
}
