//! A set of at most 1024 small numbers: the free blocks of a slab.

/// One bit for each block of a slab.
#[derive(Clone, Debug)]
pub(crate) struct Bitmap {
    words: [u64; Bitmap::WORDS],
}

impl Bitmap {
    const WORDS: usize = 16;

    /// Numbers that fit: 0 to 1023.
    pub(crate) const BITS: usize = Self::WORDS * 64;

    #[cfg(test)]
    pub(crate) const fn new() -> Self {
        Self { words: [0; Self::WORDS] }
    }

    /// Takes all numbers out.
    pub(crate) fn clear(&mut self) {
        self.words = [0; Self::WORDS];
    }

    /// Whether `index` is in the set.
    pub(crate) fn contains(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Puts `start..end` in, a word at a time; stops at the first number that was in already, which is the answer then.
    #[inline]
    pub(crate) fn insert_run(&mut self, start: usize, end: usize) -> Result<(), usize> {
        debug_assert!(start < end && end <= Self::BITS);
        for index in start / 64..end.div_ceil(64) {
            let (first, last) = (start.saturating_sub(index * 64), (end - index * 64).min(64));
            let run = u64::MAX >> (64 - (last - first)) << first;
            let word = &mut self.words[index];
            if *word & run != 0 {
                return Err(index * 64 + (*word & run).trailing_zeros() as usize);
            }
            *word |= run;
        }
        Ok(())
    }

    /// How many numbers are in the set.
    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Takes up to `most` numbers out, lowest first, a word at a time.
    pub(crate) fn take(&mut self, most: usize, mut found: impl FnMut(usize)) -> usize {
        let mut taken = 0;
        for (index, word) in self.words.iter_mut().enumerate() {
            while *word != 0 {
                if taken == most {
                    return taken;
                }
                found(index * 64 + word.trailing_zeros() as usize);
                *word &= *word - 1;
                taken += 1;
            }
        }
        taken
    }

    /// The first run of numbers at or after `from`: its start and end.
    pub(crate) fn next_run(&self, from: usize) -> Option<(usize, usize)> {
        let start = (from..Self::BITS).find(|&index| self.contains(index))?;
        let end = (start..Self::BITS).find(|&index| !self.contains(index)).unwrap_or(Self::BITS);
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn takes_the_lowest_first_and_no_more_than_asked() {
        let mut bitmap = Bitmap::new();
        for index in [0, 63, 64, 500, 1023] {
            assert_eq!(bitmap.insert_run(index, index + 1), Ok(()));
            assert_eq!(bitmap.insert_run(index, index + 1), Err(index));
            assert!(bitmap.contains(index));
        }
        assert_eq!(bitmap.len(), 5);
        let mut taken = Vec::new();
        assert_eq!(bitmap.take(3, |index| taken.push(index)), 3);
        assert_eq!(taken, [0, 63, 64]);
        assert_eq!(bitmap.take(9, |index| taken.push(index)), 2);
        assert_eq!(taken, [0, 63, 64, 500, 1023]);
        assert_eq!(bitmap.len(), 0);
    }

    #[test]
    fn runs_are_found_in_order() {
        let mut bitmap = Bitmap::new();
        for (start, end) in [(62, 70), (10, 20), (1020, 1024)] {
            assert_eq!(bitmap.insert_run(start, end), Ok(()));
        }
        assert_eq!(bitmap.next_run(0), Some((10, 20)));
        assert_eq!(bitmap.next_run(20), Some((62, 70)));
        assert_eq!(bitmap.next_run(65), Some((65, 70)));
        assert_eq!(bitmap.next_run(70), Some((1020, 1024)));
        assert_eq!(bitmap.next_run(1024), None);
        bitmap.clear();
        assert_eq!(bitmap.next_run(0), None);
    }

    #[test]
    fn a_run_is_put_in_whole_up_to_a_number_that_was_in_already() {
        let runs = [(0, 1), (0, 64), (63, 65), (1, 63), (64, 128), (100, 300), (0, 1024), (1023, 1024)];
        for (start, end) in runs {
            let mut bitmap = Bitmap::new();
            assert_eq!(bitmap.insert_run(start, end), Ok(()));
            assert_eq!((bitmap.len(), bitmap.next_run(0)), (end - start, Some((start, end))));
            for twice in [start, (start + end) / 2, end - 1] {
                let mut bitmap = Bitmap::new();
                assert_eq!(bitmap.insert_run(twice, twice + 1), Ok(()));
                assert_eq!(bitmap.insert_run(start, end), Err(twice), "{start}..{end}");
            }
        }
    }
}
