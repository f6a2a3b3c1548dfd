//! Runs of units: which lengths a slab may have, and where a bitmap of free units has room for one.

use crate::segment::UNIT;

/// An aligned run of units that a slab takes up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Run {
    One,
    Four,
    Sixteen,
}

impl Run {
    /// All of them, shortest first.
    pub(crate) const ALL: [Self; 3] = [Self::One, Self::Four, Self::Sixteen];

    /// The run that a slab of this length takes.
    pub(crate) fn of_len(len: usize) -> Self {
        match len / UNIT {
            0 | 1 => Self::One,
            2..=4 => Self::Four,
            _ => Self::Sixteen,
        }
    }

    pub(crate) const fn units(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Sixteen => 16,
        }
    }

    const fn mask(self) -> u64 {
        (1 << self.units()) - 1
    }

    /// The bits of a word at which an aligned free run starts.
    const fn starts(self, word: u64) -> u64 {
        match self {
            Self::One => word,
            Self::Four => {
                let pairs = word & (word >> 1);
                pairs & (pairs >> 2) & 0x1111_1111_1111_1111
            }
            Self::Sixteen => {
                let pairs = word & (word >> 1);
                let fours = pairs & (pairs >> 2);
                let eights = fours & (fours >> 4);
                eights & (eights >> 8) & 0x0001_0001_0001_0001
            }
        }
    }
}

/// The first unit of the lowest aligned free run. Constant for segments of 4 MiB: four words.
pub(crate) fn find_run(words: &[u64], run: Run) -> Option<usize> {
    let index = words.iter().position(|&word| run.starts(word) != 0)?;
    Some(index * 64 + run.starts(words[index]).trailing_zeros() as usize)
}

/// The longest run that is free somewhere.
pub(crate) fn longest_run(words: &[u64]) -> Option<Run> {
    Run::ALL.into_iter().rev().find(|&run| find_run(words, run).is_some())
}

/// Marks the units of a run in a bitmap.
pub(crate) fn set_run(words: &mut [u64], first: usize, run: Run, value: bool) {
    let bits = run.mask() << (first % 64);
    let word = &mut words[first / 64];
    if value { *word |= bits } else { *word &= !bits }
}

/// Puts the units from `first` to `end` into an empty bitmap.
pub(crate) fn set_from(words: &mut [u64], first: usize, end: usize) {
    let below = |count: usize| if count >= 64 { u64::MAX } else { (1 << count) - 1 };
    for (index, word) in words.iter_mut().enumerate() {
        let start = index * 64;
        *word = below(end.saturating_sub(start)) & !below(first.saturating_sub(start));
    }
}

/// Whether a unit is in a bitmap.
pub(crate) fn is_set(words: &[u64], unit: usize) -> bool {
    words[unit / 64] >> (unit % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_find(words: &[u64], run: Run) -> Option<usize> {
        let step = run.units();
        (0..words.len() * 64).step_by(step).find(|&first| (first..first + step).all(|unit| is_set(words, unit)))
    }

    #[test]
    fn runs_are_found_where_a_walk_finds_them() {
        let mut seed = 7_u64;
        for round in 0..4000 {
            let mut words = [0_u64; 4];
            for word in &mut words {
                for _ in 0..=round % 4 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *word |= seed ^ (seed << 17);
                }
            }
            for run in Run::ALL {
                assert_eq!(find_run(&words, run), slow_find(&words, run));
            }
            let longest = Run::ALL.into_iter().rfind(|&run| slow_find(&words, run).is_some());
            assert_eq!(longest_run(&words), longest);
        }
    }

    #[test]
    fn marking_a_run_marks_just_its_units() {
        for run in Run::ALL {
            for first in (0..128).step_by(run.units()) {
                let mut words = [0_u64; 2];
                set_run(&mut words, first, run, true);
                for unit in 0..128 {
                    assert_eq!(is_set(&words, unit), (first..first + run.units()).contains(&unit));
                }
                assert_eq!(longest_run(&words), Some(run));
                set_run(&mut words, first, run, false);
                assert_eq!(words, [0, 0]);
            }
        }
    }

    #[test]
    fn a_range_of_units_is_just_that_range() {
        for (first, end) in [(0, 0), (0, 64), (3, 256), (5, 100), (64, 65), (100, 192), (70, 256)] {
            let mut words = [0; 4];
            set_from(&mut words, first, end);
            assert!((0..256).all(|unit| is_set(&words, unit) == (first..end).contains(&unit)), "{first}..{end}");
        }
    }

    #[test]
    fn a_slab_takes_the_run_of_its_length() {
        assert_eq!([UNIT, 4 * UNIT, 16 * UNIT].map(Run::of_len), Run::ALL);
    }
}
