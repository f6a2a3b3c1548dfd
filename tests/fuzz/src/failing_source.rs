//! The target `failing_source`: a heap over a page source that refuses by the fuzzer's choice. Nothing is lost.

use arbitrary::{Arbitrary, Result, Unstructured};
use mallocstate::{MallocState, Mode};

use crate::drive::{Patience, drive};
use crate::heap::{Kind, Options};
use crate::observed::Observed;
use crate::run::Run;
use crate::scripted::{Habits, Script, Scripted};
use crate::steps::{Step, some, until_the_end};

/// How the heap is built, what its source is like, and what is done to both.
#[derive(Debug)]
pub struct Input {
    options: Options,
    habits: Habits,
    patience: Patience,
    scenes: Vec<Scene>,
    /// The source goes on refusing while the heap is destroyed.
    stubborn: bool,
}

#[derive(Debug)]
enum Scene {
    Script(Script),
    Steps(Vec<Step>),
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (options, habits) = (input.arbitrary()?, input.arbitrary()?);
        let (patience, stubborn) = (input.arbitrary()?, input.arbitrary()?);
        Ok(Self { options, habits, patience, stubborn, scenes: until_the_end(input)? })
    }
}

impl<'a> Arbitrary<'a> for Scene {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let bits = u8::arbitrary(input)?;
        Ok(if bits % 5 == 0 { Self::Script(input.arbitrary()?) } else { Self::Steps(some(input, bits >> 4)?) })
    }
}

/// Takes the heap and its source through the steps.
pub fn run(input: &Input) {
    let Input { options, habits, .. } = *input;
    let source = Scripted::new(habits);
    let builder = MallocState::builder().source(&source);
    match options.kind {
        Kind::Threaded => play(Run::new(options.apply(builder)), input),
        Kind::Local => play(Run::new(options.apply(builder.local())), input),
        Kind::Global => play(Run::new(options.apply(builder.global())), input),
    }
}

fn play<M: Mode>(mut run: Run<M, &Scripted>, input: &Input) {
    for scene in &input.scenes {
        match scene {
            Scene::Script(script) => run.source.set_script(*script),
            Scene::Steps(steps) => run = drive(run, steps, input.patience),
        }
    }
    if !input.stubborn {
        return run.finish();
    }
    let (source, (blocks, bytes)) = (run.source, run.shadow.sums().totals());
    let teardown = run.heap.destroy();
    assert_eq!((teardown.live_blocks(), teardown.live()), (blocks, bytes));
    assert_eq!(Some(teardown.refused()), source.outstanding(), "what was refused is not what is missing");
}
