//! The target `heap`: one heap of any mode, over the system's pages, small segments or a region, with any options.

use std::ptr::NonNull;

use arbitrary::{Arbitrary, Result, Unstructured};
use mallocstate::os::testing::TestPages;
use mallocstate::{Builder, HugePages, MIN_LIMIT, MallocState, Mode, RegionPages, ReleasePolicy, SystemPages};

use crate::drive::{Patience, drive};
use crate::observed::Observed;
use crate::run::Run;
use crate::scripted::{Habits, Scripted};
use crate::steps::{Step, until_the_end};

/// How the heap is built, and what is done to it.
#[derive(Debug)]
pub struct Input {
    options: Options,
    /// Where the heap is a local one: within a region of this many pages, and 16 more.
    region: Option<u16>,
    patience: Patience,
    steps: Vec<Step>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (options, pages) = (input.arbitrary()?, u16::arbitrary(input)?);
        let region = (pages % 4 == 0).then_some(pages / 64);
        Ok(Self { options, region, patience: input.arbitrary()?, steps: until_the_end(input)? })
    }
}

/// A mode of a heap.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Kind {
    Threaded,
    Local,
    Global,
}

/// What a builder is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    /// Small segments over a source with habits, or those of the system.
    pub(crate) small: Option<Habits>,
    /// In units of 16 KiB above the smallest.
    limit: Option<u8>,
    zero_on_release: bool,
    policy: ReleasePolicy,
    huge: HugePages,
}

impl<'a> Arbitrary<'a> for Options {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (modes, others) = (u8::arbitrary(input)?, u8::arbitrary(input)?);
        let bit = |bits: u8, index: u8| bits >> index & 1 == 1;
        let habits = if bit(modes, 7) { Habits::default() } else { input.arbitrary()? };
        Ok(Self {
            kind: [Kind::Threaded, Kind::Local, Kind::Global, Kind::Threaded][usize::from(modes % 4)],
            small: bit(modes, 2).then_some(habits),
            limit: if bit(modes, 3) && bit(modes, 4) { Some(input.arbitrary()?) } else { None },
            zero_on_release: bit(modes, 5),
            policy: ReleasePolicy { interval: usize::from(others % 4) + 1, batch: usize::from(others / 4 % 4) + 1 },
            huge: [HugePages::Adaptive, HugePages::Never, HugePages::Always][usize::from(others / 16 % 3)],
        })
    }
}

impl Options {
    /// Tells a builder everything but the mode and the source.
    pub(crate) fn apply<M: Mode, S: Observed>(self, mut builder: Builder<'_, M, S>) -> MallocState<M, S> {
        if let Some(units) = self.limit {
            builder = builder.limit(MIN_LIMIT + (usize::from(units) << 14));
        }
        let builder = builder.name("fuzz").release_policy(self.policy).huge_pages(self.huge);
        builder.zero_on_release(self.zero_on_release).build().expect("possible options")
    }
}

/// Takes the heap through the steps.
pub fn run(input: &Input) {
    SystemPages::trim();
    match (input.options.small, input.region) {
        (_, Some(pages)) if matches!(input.options.kind, Kind::Local) => run_in_region(usize::from(pages) + 16, input),
        (None, _) => run_over(SystemPages::new(), input),
        (Some(habits), _) => run_over(&Scripted::new(habits), input),
    }
}

fn run_over<S: Observed + Copy>(source: S, input: &Input) {
    let Input { options, patience, ref steps, .. } = *input;
    let builder = MallocState::builder().source(source);
    match options.kind {
        Kind::Threaded => drive(Run::new(options.apply(builder)), steps, patience).finish(),
        Kind::Local => drive(Run::new(options.apply(builder.local())), steps, patience).finish(),
        Kind::Global => drive(Run::new(options.apply(builder.global())), steps, patience).finish(),
    }
}

/// As [`run_over`], in a region of this many pages, with a look at what is beside it.
fn run_in_region(pages: usize, input: &Input) {
    const PAGE: usize = 4096;
    const BESIDE: u8 = 0xEE;
    let mut memory = vec![BESIDE; (pages + 2) * PAGE];
    let inside = PAGE..(pages + 1) * PAGE;
    // SAFETY: the source and the heap on it are gone before the memory is.
    let region: RegionPages =
        unsafe { RegionPages::from_raw(NonNull::from(&mut memory[inside.clone()]).cast(), inside.len()) };
    let source = TestPages::over(region);
    let Input { options, patience, ref steps, .. } = *input;
    drive(Run::new(options.apply(MallocState::builder().source(&source).local())), steps, patience).finish();
    drop(source);
    let beside = memory[..inside.start].iter().chain(&memory[inside.end..]);
    assert!(beside.copied().all(|byte| byte == BESIDE), "written beside the region");
}
