//! Which bin a payload length belongs to, and which bins hold anything: TLSF's two levels (Masmano 2004).
//!
//! ```text
//! row 0         payloads below 256, one bin for each multiple of 16
//! row r >= 1    payloads from 128 << r up to 256 << r, in 16 bins of equal width
//! ```
//!
//! Sixteen bins a doubling are twice the size classes of a doubling, so each medium size class is the lower bound of a
//! bin: whatever is in that bin serves it.

use super::boundary_tag::GRANULE;

const COLUMNS: usize = 16;
const COLUMN_BITS: u32 = COLUMNS.trailing_zeros();
/// Payloads below this length have row 0, in bytes.
const LINEAR: usize = COLUMNS * GRANULE;
const LINEAR_BITS: u32 = LINEAR.trailing_zeros();
/// Rows up to payloads just below 1 GiB, the largest segment.
const ROWS: usize = 30 - LINEAR_BITS as usize + 1;

/// How many bins there are.
pub(super) const BINS: usize = ROWS * COLUMNS;

/// The number of a bin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BinIndex(usize);

impl BinIndex {
    /// The bin that free blocks of this payload length are in; longer ones than any segment has are in none.
    pub(super) const fn of(payload: usize) -> Option<Self> {
        if payload < LINEAR {
            return Some(Self(payload / GRANULE));
        }
        let top = payload.ilog2();
        let row = (top - LINEAR_BITS + 1) as usize;
        let column = (payload >> (top - COLUMN_BITS)) % COLUMNS;
        let index = row * COLUMNS + column;
        if index < BINS { Some(Self(index)) } else { None }
    }

    /// The first bin of which every member has at least this payload length.
    pub(super) const fn serving(payload: usize) -> Option<Self> {
        match Self::of(payload) {
            Some(bin) if bin.lower_bound() < payload => bin.next(),
            bin => bin,
        }
    }

    /// The shortest payload length in this bin.
    pub(super) const fn lower_bound(self) -> usize {
        let (row, column) = (self.0 / COLUMNS, self.0 % COLUMNS);
        if row == 0 { column * GRANULE } else { (COLUMNS + column) << (row as u32 - 1 + LINEAR_BITS - COLUMN_BITS) }
    }

    const fn next(self) -> Option<Self> {
        if self.0 + 1 < BINS { Some(Self(self.0 + 1)) } else { None }
    }

    /// The bin's place in an array of [`BINS`].
    pub(super) const fn get(self) -> usize {
        self.0
    }

    /// Every bin.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..BINS).map(Self)
    }
}

/// Which bins hold anything.
///
/// # Invariants
///
/// - Bit `r` of `rows` is set exactly where `columns[r]` is not 0.
pub(super) struct BinMap {
    rows: u32,
    columns: [u16; ROWS],
}

impl BinMap {
    pub(super) const fn new() -> Self {
        Self { rows: 0, columns: [0; ROWS] }
    }

    pub(super) fn set(&mut self, bin: BinIndex) {
        let row = bin.0 / COLUMNS;
        self.columns[row] |= 1 << (bin.0 % COLUMNS);
        self.rows |= 1 << row;
    }

    pub(super) fn clear(&mut self, bin: BinIndex) {
        let row = bin.0 / COLUMNS;
        self.columns[row] &= !(1 << (bin.0 % COLUMNS));
        if self.columns[row] == 0 {
            // INVARIANT: no column of the row is left.
            self.rows &= !(1 << row);
        }
    }

    pub(super) fn contains(&self, bin: BinIndex) -> bool {
        self.columns[bin.0 / COLUMNS] >> (bin.0 % COLUMNS) & 1 != 0
    }

    /// The first bin from `bin` on that holds something.
    pub(super) fn first_from(&self, bin: BinIndex) -> Option<BinIndex> {
        let (row, column) = (bin.0 / COLUMNS, bin.0 % COLUMNS);
        let here = self.columns[row] & (u16::MAX << column);
        if here != 0 {
            return Some(BinIndex(row * COLUMNS + here.trailing_zeros() as usize));
        }
        let above = self.rows & (u32::MAX << (row + 1));
        if above == 0 {
            return None;
        }
        let row = above.trailing_zeros() as usize;
        Some(BinIndex(row * COLUMNS + self.columns[row].trailing_zeros() as usize))
    }

    /// Whether both levels agree.
    pub(super) fn is_consistent(&self) -> bool {
        self.columns.iter().enumerate().all(|(row, &columns)| (self.rows >> row & 1 != 0) == (columns != 0))
            && self.rows >> ROWS == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(payload: usize) -> BinIndex {
        BinIndex::of(payload).unwrap()
    }

    #[test]
    fn bins_are_ordered_and_every_payload_lies_within_its_bin() {
        let all: std::vec::Vec<BinIndex> = BinIndex::all().collect();
        assert_eq!(all.len(), BINS);
        for pair in all.windows(2) {
            let (low, high) = (pair[0].lower_bound(), pair[1].lower_bound());
            assert!(low < high);
            let step = ((high - low) / 64).max(GRANULE);
            for payload in (low..high).step_by(step).chain([high - GRANULE]) {
                assert_eq!(BinIndex::of(payload), Some(pair[0]));
                let serving = BinIndex::serving(payload).unwrap();
                assert_eq!(serving, if payload == low { pair[0] } else { pair[1] });
                assert!(serving.lower_bound() >= payload);
            }
        }
    }

    #[test]
    fn lengths_beyond_the_largest_segment_have_no_bin() {
        let beyond = 1 << 30;
        assert_eq!(BinIndex::of(beyond - GRANULE), BinIndex::all().last());
        assert_eq!(BinIndex::serving(beyond - GRANULE), None);
        assert_eq!(BinIndex::of(beyond), None);
        assert_eq!(BinIndex::serving(isize::MAX as usize), None);
        assert_eq!(BinIndex::of(usize::MAX), None);
    }

    #[test]
    fn medium_size_classes_are_lower_bounds() {
        for shift in 8..30 {
            for eighth in 8..16_usize {
                let class = eighth << (shift - 3);
                assert_eq!(bin(class).lower_bound(), class);
            }
        }
    }

    #[test]
    fn the_map_agrees_with_an_array() {
        let mut map = BinMap::new();
        let mut model = [false; BINS];
        let mut seed = 7_usize;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(0x5851_f42d).wrapping_add(0x1405_7b7f) & 0x7fff_ffff;
            let place = (seed >> 8) % BINS;
            if seed >> 4 & 3 == 0 {
                map.set(BinIndex(place));
                model[place] = true;
            } else {
                map.clear(BinIndex(place));
                model[place] = false;
            }
            assert!(map.is_consistent());
            assert_eq!(map.contains(BinIndex(place)), model[place]);
            let from = (seed >> 12) % BINS;
            let expected = (from..BINS).find(|&index| model[index]).map(BinIndex);
            assert_eq!(map.first_from(BinIndex(from)), expected);
        }
    }

    #[test]
    fn levels_that_disagree_are_told() {
        let mut map = BinMap::new();
        map.set(BinIndex(20));
        for (rows, columns) in [(0, 1), (1, 0), (1 << ROWS, 0)] {
            let damaged = BinMap { rows: map.rows ^ rows, columns: map.columns.map(|column| column ^ columns) };
            assert!(!damaged.is_consistent(), "{rows} {columns}");
        }
    }
}
