//! Takes a heap and its shadow through steps, in this thread and in others.

use std::thread;

use arbitrary::Arbitrary;
use mallocstate::{Mode, SystemPages};

use crate::observed::Observed;
use crate::run::Run;
use crate::steps::Step;
use crate::{impossible, walk};

/// Threads that wait for one another at most.
const DEEPEST: usize = 4;

/// Something that moves to another thread while this one waits.
struct Sent<T>(T);

// SAFETY: what is sent has one user at a time, and comes back before its maker goes on.
unsafe impl<T> Send for Sent<T> {}

impl<T> Sent<T> {
    fn take(self) -> T {
        self.0
    }
}

/// How many steps there are between two comparisons: many make more steps in the same time, one finds the step.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Patience(u8);

/// Applies the steps one after another, and compares now and then, and in the end.
pub(crate) fn drive<M: Mode, S: Observed + Copy>(run: Run<M, S>, steps: &[Step], patience: Patience) -> Run<M, S> {
    let mut run = drive_in(run, steps, patience, 1);
    run.compare();
    run
}

fn drive_in<M: Mode, S: Observed + Copy>(
    mut run: Run<M, S>,
    mut steps: &[Step],
    patience: Patience,
    depth: usize,
) -> Run<M, S> {
    let between = usize::from(patience.0 % 16) + 1;
    while let Some((&step, rest)) = steps.split_first() {
        steps = rest;
        if let Step::Thread { steps: count } = step {
            let (inner, after) = rest.split_at(rest.len().min(usize::from(count)));
            if depth < DEEPEST {
                run = elsewhere(run, inner, patience, depth);
                steps = after;
            }
        } else {
            run = apply(run, step);
            if steps.len() % between == 0 {
                run.compare();
            }
        }
    }
    run
}

/// Applies the steps in a thread of their own, which then ends.
fn elsewhere<M: Mode, S: Observed + Copy>(
    mut run: Run<M, S>,
    steps: &[Step],
    patience: Patience,
    depth: usize,
) -> Run<M, S> {
    let alone = std::mem::replace(&mut run.alone, false);
    let sent = Sent(run);
    let work = || Sent(drive_in(sent.take(), steps, patience, depth + 1));
    let returned = thread::scope(|scope| scope.spawn(work).join());
    let mut run = returned.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).take();
    run.alone = alone;
    run
}

fn apply<M: Mode, S: Observed + Copy>(mut run: Run<M, S>, step: Step) -> Run<M, S> {
    if std::env::var_os("MALLOCSTATE_TEST_TRACE").is_some() {
        eprintln!("{step:?} {:?}", step.operation(run.geometry));
    }
    match step {
        Step::Impossible { block, beside, align } => impossible::ask(&mut run, block, beside, align),
        Step::Walk { size, reclaim } => walk::walk(&run, size.in_bytes(run.geometry), reclaim),
        Step::Trim => _ = SystemPages::trim(),
        _ => {}
    }
    match step.operation(run.geometry) {
        Some(operation) => run.apply(&operation),
        None => run,
    }
}
