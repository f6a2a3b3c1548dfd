//! The target `two_heaps`: two heaps at once, of any modes. Blocks do not mix, and one heap's end leaves the other whole.

use arbitrary::{Arbitrary, Result, Unstructured};
use mallocstate::{MallocState, Mode, SystemPages};

use crate::drive::{Patience, drive};
use crate::heap::{Kind, Options};
use crate::observed::Observed;
use crate::run::Run;
use crate::scripted::Scripted;
use crate::shadow::Block;
use crate::steps::{Step, some, until_the_end};

/// How the heaps are built, and what is done to which.
#[derive(Debug)]
pub struct Input {
    options: [Options; 2],
    patience: Patience,
    turns: Vec<Turn>,
}

#[derive(Debug)]
struct Turn {
    heap: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Steps(Vec<Step>),
    /// Destroys the heap and makes a new one.
    Renew,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let options = [input.arbitrary()?, input.arbitrary()?];
        Ok(Self { options, patience: input.arbitrary()?, turns: until_the_end(input)? })
    }
}

impl<'a> Arbitrary<'a> for Turn {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let bits = u8::arbitrary(input)?;
        let what = if bits >> 1 & 15 == 7 { What::Renew } else { What::Steps(some(input, bits >> 4)?) };
        Ok(Self { heap: usize::from(bits & 1), what })
    }
}

/// A heap with its shadow, whatever its types are.
trait Tenant {
    fn drive(&mut self, steps: &[Step], patience: Patience);
    fn compare(&mut self);
    fn blocks(&self) -> &[Block];
    fn contains(&self, address: *const u8) -> bool;
    fn finish(self: Box<Self>);
}

/// A run that never leaves its place for long.
struct Resident<M: Mode, S: Observed + Copy>(Option<Run<M, S>>);

impl<M: Mode, S: Observed + Copy> Resident<M, S> {
    fn new(heap: MallocState<M, S>) -> Box<Self> {
        Box::new(Self(Some(Run::new(heap))))
    }

    fn run(&self) -> &Run<M, S> {
        self.0.as_ref().expect("a run is back before anyone looks")
    }
}

impl<M: Mode, S: Observed + Copy> Tenant for Resident<M, S> {
    fn drive(&mut self, steps: &[Step], patience: Patience) {
        self.0 = self.0.take().map(|run| drive(run, steps, patience));
    }

    fn compare(&mut self) {
        self.0.as_mut().into_iter().for_each(Run::compare);
    }

    fn blocks(&self) -> &[Block] {
        &self.run().shadow.blocks
    }

    fn contains(&self, address: *const u8) -> bool {
        self.run().heap.contains(address)
    }

    fn finish(self: Box<Self>) {
        self.0.into_iter().for_each(Run::finish);
    }
}

fn tenant(options: Options, source: &Scripted) -> Box<dyn Tenant + '_> {
    match options.small {
        None => tenant_over(SystemPages::new(), options),
        Some(_) => tenant_over(source, options),
    }
}

fn tenant_over<'a, S: Observed + Copy + 'a>(source: S, options: Options) -> Box<dyn Tenant + 'a> {
    let builder = MallocState::builder().source(source);
    match options.kind {
        Kind::Threaded => Resident::new(options.apply(builder)),
        Kind::Local => Resident::new(options.apply(builder.local())),
        Kind::Global => Resident::new(options.apply(builder.global())),
    }
}

/// Takes both heaps through the turns.
pub fn run(input: &Input) {
    SystemPages::trim();
    let sources = input.options.map(|options| Scripted::new(options.small.unwrap_or_default()));
    let new = |heap: usize| tenant(input.options[heap], &sources[heap]);
    let mut heaps = [new(0), new(1)];
    for Turn { heap, what } in &input.turns {
        match what {
            What::Steps(steps) => heaps[*heap].drive(steps, input.patience),
            What::Renew => std::mem::replace(&mut heaps[*heap], new(*heap)).finish(),
        }
        heaps[1 - heap].compare();
        assert_apart(&*heaps[0], &*heaps[1]);
        assert_apart(&*heaps[1], &*heaps[0]);
    }
    heaps.into_iter().for_each(Tenant::finish);
}

/// No block of one is the other's.
fn assert_apart(heap: &dyn Tenant, other: &dyn Tenant) {
    for block in heap.blocks().iter().filter(|block| block.usable > 0) {
        assert!(heap.contains(block.start.as_ptr()), "{block:?} is its heap's");
        assert!(!other.contains(block.start.as_ptr()), "{block:?} is another heap's");
    }
}
