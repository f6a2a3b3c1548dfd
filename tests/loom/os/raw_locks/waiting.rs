//! How a thread waits in a model: it looks again once; the system's queue of sleepers is a mutex and a condition.

use loom::sync::{Condvar, Mutex};

use crate::primitives::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub(super) use loom::hint::spin_loop;

/// As few as try every path.
pub(super) const SPINS: u32 = 1;

loom::lazy_static! {
    static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

/// Sleeps while the word has this value.
pub(super) fn sleep_while(word: &AtomicU32, value: u32) {
    let queue = QUEUE.0.lock().unwrap();
    // The system looks at the word as it is: adding nothing never reads what is out of date.
    if word.fetch_add(0, Relaxed) == value {
        drop(QUEUE.1.wait(queue));
    }
}

/// Wakes the thread that has slept longest.
pub(super) fn wake_one(_: &AtomicU32) {
    let _queue = QUEUE.0.lock().unwrap();
    QUEUE.1.notify_one();
}

/// Lets another thread run.
pub(super) fn give_way() {
    loom::thread::yield_now();
}
