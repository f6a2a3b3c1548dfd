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

    /// Puts `index` in; false where it was in already.
    pub(crate) fn insert(&mut self, index: usize) -> bool {
        let word = &mut self.words[index / 64];
        let before = *word;
        *word |= 1 << (index % 64);
        *word != before
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
            assert!(bitmap.insert(index));
            assert!(!bitmap.insert(index));
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
        for index in (10..20).chain(62..70).chain(1020..1024) {
            bitmap.insert(index);
        }
        assert_eq!(bitmap.next_run(0), Some((10, 20)));
        assert_eq!(bitmap.next_run(20), Some((62, 70)));
        assert_eq!(bitmap.next_run(65), Some((65, 70)));
        assert_eq!(bitmap.next_run(70), Some((1020, 1024)));
        assert_eq!(bitmap.next_run(1024), None);
        bitmap.clear();
        assert_eq!(bitmap.next_run(0), None);
    }
}
