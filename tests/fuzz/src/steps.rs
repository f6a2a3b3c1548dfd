//! What a target does to a heap, step by step, as it is read from the fuzzer's bytes.

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::operation::{ArenaCall, Operation, Pick};
use crate::sizes::{Align, Size};
use crate::support::classes::Geometry;

/// One step. Whatever it cannot apply to is left alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Allocate {
        size: Size,
        align: Align,
        zeroed: bool,
    },
    Burst {
        size: Size,
        count: u8,
        zeroed: bool,
    },
    Malloc {
        size: Size,
    },
    Calloc {
        count: u8,
        size: Size,
    },
    AlignedAlloc {
        size: Size,
        align: Align,
    },
    Arena {
        call: u8,
        len: u16,
    },
    Free {
        block: Pick,
        fit: u8,
    },
    FreeMany {
        block: Pick,
        count: u8,
        fit: u8,
    },
    Resize {
        block: Pick,
        fit: u8,
        size: Size,
        align: Align,
        zeroed: bool,
    },
    ResizeInPlace {
        block: Pick,
        fit: u8,
        size: Size,
    },
    Reset,
    Reclaim,
    /// In units of 16 KiB; 0 lifts the limit.
    SetLimit(u16),
    Move,
    Refuse(u8),
    /// Asks in every way for what nobody has.
    Impossible {
        block: Pick,
        beside: u16,
        align: u8,
    },
    /// Iterates over the segments, and uses the heap meanwhile.
    Walk {
        size: Size,
        reclaim: bool,
    },
    /// The steps that follow, this many, are those of another thread, which then ends.
    Thread {
        steps: u8,
    },
    /// Empties the cache of segments of the process.
    Trim,
}

impl Step {
    /// The model's operation, where it is one of those.
    pub(crate) fn operation(self, geometry: Geometry) -> Option<Operation> {
        let bytes = |size: Size| size.in_bytes(geometry);
        Some(match self {
            Self::Allocate { size, align: Align(align), zeroed } => {
                Operation::Allocate { size: bytes(size), align, zeroed }
            }
            Self::Burst { size, count, zeroed } => {
                Operation::Burst { size: bytes(size).min(geometry.small_max), count: usize::from(count), zeroed }
            }
            Self::Malloc { size } => Operation::Malloc { size: bytes(size) },
            Self::Calloc { count, size } => {
                let count = usize::from(count % 5);
                Operation::Calloc { count, size: bytes(size) / count.max(1) }
            }
            Self::AlignedAlloc { size, align: Align(align) } => Operation::AlignedAlloc { align, size: bytes(size) },
            Self::Arena { call, len } => {
                let calls = [ArenaCall::Value, ArenaCall::Text, ArenaCall::Copy, ArenaCall::Fill];
                Operation::Arena { call: calls[usize::from(call) % calls.len()], len: usize::from(len) }
            }
            Self::Free { block, fit } => Operation::Free { block, fit },
            Self::FreeMany { block, count, fit } => Operation::FreeMany { block, count: usize::from(count), fit },
            Self::Resize { block, fit, size, align: Align(align), zeroed } => {
                Operation::Resize { block, fit, size: bytes(size), align, zeroed }
            }
            Self::ResizeInPlace { block, fit, size } => Operation::ResizeInPlace { block, fit, size: bytes(size) },
            Self::Reset => Operation::Reset,
            Self::Reclaim => Operation::Reclaim,
            Self::SetLimit(units) => Operation::SetLimit((units != 0).then_some(usize::from(units) << 14)),
            Self::Move => Operation::Move,
            Self::Refuse(after) => Operation::Refuse(usize::from(after)),
            Self::Impossible { .. } | Self::Walk { .. } | Self::Thread { .. } | Self::Trim => return None,
        })
    }
}

impl<'a> Arbitrary<'a> for Pick {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(u16::from(u8::arbitrary(input)?) * 257))
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind = u8::arbitrary(input)?;
        let mut byte = || u8::arbitrary(input);
        Ok(match kind % 64 {
            0..=13 => Self::Allocate { zeroed: byte()? % 2 == 1, size: input.arbitrary()?, align: input.arbitrary()? },
            14..=15 => Self::Burst { count: byte()?, zeroed: byte()? % 2 == 1, size: input.arbitrary()? },
            16..=18 => Self::Malloc { size: input.arbitrary()? },
            19..=20 => Self::Calloc { count: byte()?, size: input.arbitrary()? },
            21..=22 => Self::AlignedAlloc { size: input.arbitrary()?, align: input.arbitrary()? },
            23..=24 => Self::Arena { call: byte()?, len: u16::from(byte()?) * 16 },
            25..=34 => Self::Free { fit: byte()?, block: input.arbitrary()? },
            35..=36 => Self::FreeMany { count: byte()?, fit: byte()?, block: input.arbitrary()? },
            37..=46 => {
                let (bits, fit) = (byte()?, byte()?);
                let (block, size) = (input.arbitrary()?, input.arbitrary()?);
                let align = if bits & 2 == 0 { Align(1) } else { input.arbitrary()? };
                Self::Resize { block, fit, size, align, zeroed: bits & 1 == 1 }
            }
            47..=49 => Self::ResizeInPlace { fit: byte()?, block: input.arbitrary()?, size: input.arbitrary()? },
            50 => Self::Reset,
            51..=53 => Self::Reclaim,
            54 => Self::SetLimit(match byte()? {
                unlimited @ 0..100 => u16::from(unlimited % 2) * 1024,
                units => u16::from(units) - 96,
            }),
            55 => Self::Move,
            56..=57 => Self::Refuse(byte()? % 8),
            58 => Self::Impossible { align: byte()?, block: input.arbitrary()?, beside: input.arbitrary()? },
            59..=60 => Self::Walk { reclaim: byte()? % 4 == 0, size: input.arbitrary()? },
            61..=62 => Self::Thread { steps: byte()? % 16 },
            _ => Self::Trim,
        })
    }
}

/// As many steps as the rest of the input has.
pub(crate) fn until_the_end<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let mut steps = Vec::new();
    while !input.is_empty() {
        steps.push(input.arbitrary()?);
    }
    Ok(steps)
}

/// One step and `more` behind it.
pub(crate) fn some(input: &mut Unstructured<'_>, more: u8) -> Result<Vec<Step>> {
    (0..=more).map(|_| input.arbitrary()).collect()
}
