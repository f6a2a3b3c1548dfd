//! Sizes and alignments out of few bytes, steered towards the bounds of classes, tiers, segments and pages.

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::support::classes::Geometry;

/// A size that becomes one in bytes where a heap's geometry is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    near: Near,
    /// Which of those there are.
    which: u8,
    /// How far beside it.
    beside: i8,
}

#[derive(Clone, Copy, Debug)]
enum Near {
    Tiny,
    SmallClass,
    MediumClass,
    Bound,
    Anywhere,
}

impl Size {
    pub(crate) fn in_bytes(self, geometry: Geometry) -> usize {
        let Geometry { segment, small_max, medium_max } = geometry;
        let which = usize::from(self.which);
        let pick = |sizes: &[usize]| sizes[which % sizes.len()];
        let beside = |size: usize, step: isize| size.saturating_add_signed(isize::from(self.beside) * step);
        match self.near {
            Near::Tiny => which,
            Near::SmallClass => beside(pick(&classes(geometry, 0..=small_max)), 1),
            Near::MediumClass => beside(pick(&classes(geometry, small_max + 1..=medium_max)), 1),
            Near::Bound => {
                let pages = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
                let tiers = [small_max, small_max * 2, medium_max / 2, medium_max, medium_max * 2];
                let segments = [segment / 16, segment / 2, segment, 2 * segment];
                let bounds = [&pages[..], &tiers[..], &segments[..]].concat();
                // Headers in front of blocks are a granule, two words of bookkeeping, or an OS page long.
                let bound = pick(&bounds);
                let step = [1, 16, 32, 4096][which / bounds.len() % 4];
                beside(bound, step)
            }
            Near::Anywhere => ((which << 8) | usize::from(self.beside as u8)) * (segment >> 15),
        }
    }
}

/// The classes of which the size lies in a range.
fn classes(geometry: Geometry, range: std::ops::RangeInclusive<usize>) -> Vec<usize> {
    geometry.classes().filter(|size| range.contains(size)).collect()
}

impl<'a> Arbitrary<'a> for Size {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let near = match u8::arbitrary(input)? % 16 {
            0..=3 => Near::Tiny,
            4..=8 => Near::SmallClass,
            9..=11 => Near::MediumClass,
            12..=14 => Near::Bound,
            _ => Near::Anywhere,
        };
        let which = u8::arbitrary(input)?;
        let beside = match near {
            Near::Tiny => 0,
            // Of a class, what is one beside it matters most.
            Near::SmallClass | Near::MediumClass => match i8::arbitrary(input)? {
                far @ (..-64 | 64..) => far / 4,
                near => near.rem_euclid(3) - 1,
            },
            Near::Bound | Near::Anywhere => i8::arbitrary(input)?,
        };
        Ok(Self { near, which, beside })
    }
}

/// An alignment: mostly small, sometimes to 1 GiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Align(pub(crate) usize);

impl<'a> Arbitrary<'a> for Align {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let shift = match u8::arbitrary(input)? {
            small @ ..150 => small % 5,
            page @ 150..220 => 5 + page % 9,
            segment @ 220..250 => 14 + segment % 10,
            huge => 24 + huge % 7,
        };
        Ok(Self(1 << shift))
    }
}
