//! The target `arithmetic`: the files of plain arithmetic, from the sources, against slow arithmetic.

mod coalesce;
mod heap;
pub(crate) mod os;
pub(crate) mod primitives;
pub(crate) mod segment;
pub(crate) mod slab;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::sizes::{Align, Size};
use crate::steps::until_the_end;
use crate::support::classes::Geometry;
use mallocstate::SystemPages;

/// Questions, asked one after another.
#[derive(Debug)]
pub struct Input(Vec<Question>);

#[derive(Arbitrary, Debug)]
enum Question {
    Class(Size),
    Slab { class: u8, largest: u8, offset: u32 },
    Route { size: Size, align: Align, fit: u8 },
    Round { value: u64, down: u8, shift: u8 },
    Bin(Length),
    Tag { len: Length, longer: Length, bits: u8 },
    Bins(coalesce::BinStep),
    Bits(slab::BitStep),
    Units(slab::UnitStep),
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(until_the_end(input)?))
    }
}

/// Any length to `usize::MAX`, steered towards powers of two and their sixteenths.
#[derive(Clone, Copy, Debug)]
struct Length(usize);

impl<'a> Arbitrary<'a> for Length {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (shift, sixteenths, beside) = (u8::arbitrary(input)?, u8::arbitrary(input)?, i8::arbitrary(input)?);
        let base = (16 + usize::from(sixteenths % 16)) << (shift % 60);
        Ok(Self(base.wrapping_add_signed(isize::from(beside))))
    }
}

/// Asks, and compares the answers.
pub fn run(input: &Input) {
    let geometry = Geometry::of::<SystemPages>();
    let (mut bins, mut bits, mut units) = (coalesce::Bins::new(), slab::Bits::new(), slab::Units::new());
    for question in &input.0 {
        match *question {
            Question::Class(size) => slab::check_class(size.in_bytes(geometry)),
            Question::Slab { class, largest, offset } => slab::check_slab(class, largest, offset),
            Question::Route { size, align, fit } => heap::check_routes(size, align, fit),
            Question::Round { value, down, shift } => primitives::check(value, down, shift),
            Question::Bin(Length(payload)) => coalesce::check_bin(payload),
            Question::Tag { len: Length(len), longer: Length(longer), bits } => coalesce::check_tag(len, longer, bits),
            Question::Bins(step) => bins.apply(step),
            Question::Bits(step) => bits.apply(step),
            Question::Units(step) => units.apply(step),
        }
    }
}
