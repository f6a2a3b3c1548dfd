//! The models, a file for each kind of protocol, and what they share.

#![expect(unsafe_code, reason = "reads and writes plain memory")]

mod account;
mod flushes;
mod leases;
mod locks;
mod published;
mod segments;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

/// Preemptions in one order, at most: most faults need one or two.
const PREEMPTIONS: usize = 3;

/// Tries `model` in every order with that many preemptions; the environment may say how many.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(model);
}

/// A thread of the model.
fn spawn<T: Send + Sync + 'static>(shared: &Arc<T>, body: impl FnOnce(&T) + 'static) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

/// Waits for threads of the model.
fn join<const COUNT: usize>(threads: [JoinHandle<()>; COUNT]) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Plain memory. Where one thread writes and another reads or writes, and nothing orders the two, loom fails.
struct Plain(UnsafeCell<usize>);

// SAFETY: it is there to be shared; loom says where that is wrong.
unsafe impl Sync for Plain {}

impl Plain {
    /// Memory that the current thread has written.
    fn new(value: usize) -> Self {
        Self(UnsafeCell::new(value))
    }

    fn get(&self) -> usize {
        // SAFETY: loom runs one thread at a time, and allows this access.
        self.0.with(|value| unsafe { value.read() })
    }

    fn set(&self, value: usize) {
        // SAFETY: as above.
        self.0.with_mut(|place| unsafe { place.write(value) });
    }

    fn add(&self, value: usize) {
        self.set(self.get() + value);
    }

    fn take(&self) -> usize {
        let value = self.get();
        self.set(0);
        value
    }
}
