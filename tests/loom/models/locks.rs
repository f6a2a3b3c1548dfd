//! The locks of our own exclude, and what one holder has written the next one sees.

use std::array;
use std::sync::Arc;

use super::{check, join, spawn};
use crate::os::lock::{Locked, RawLock};
use crate::os::raw_locks::{futex, spin};

/// Threads that count to `ROUNDS` each, in one counter.
fn count<L: RawLock + Send + Sync, const THREADS: usize, const ROUNDS: usize>() {
    let counter = Arc::new(Locked::<L, usize>::new(0));
    drop(counter.lock());
    let threads: [_; THREADS] = array::from_fn(|_| {
        spawn(&counter, |counter| {
            for _ in 0..ROUNDS {
                let mut count = counter.lock();
                let seen = *count;
                *count = seen + 1;
            }
        })
    });
    join(threads);
    assert_eq!(*counter.lock(), THREADS * ROUNDS);
}

#[test]
fn a_spinning_lock() {
    check(count::<spin::SystemLock, 2, 2>);
}

/// A sleeper that nobody wakes is a deadlock, which loom reports.
#[test]
fn a_futex() {
    check(count::<futex::SystemLock, 2, 2>);
    check(count::<futex::SystemLock, 3, 1>);
}
