//! Threads that work at once, and the clock over all of them.

use std::process::abort;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::timing::nanoseconds_per_unit;

/// Threads are woken for each part of a measurement, which takes some 50 µs: this much time makes it little.
const LEAST_BUDGET: Duration = Duration::from_millis(50);

/// What a crew has in common.
struct Clock {
    begin: Barrier,
    end: Barrier,
    amount: AtomicU64,
}

/// The amounts of units that a thread of a crew is to do, one after the other, each with all the others at once.
pub struct Amounts<'a> {
    clock: &'a Clock,
    works: bool,
}

impl Iterator for Amounts<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.works {
            self.clock.end.wait();
        }
        self.works = true;
        self.clock.begin.wait();
        Some(self.clock.amount.load(Relaxed)).filter(|&units| units > 0)
    }
}

impl Drop for Amounts<'_> {
    /// Ends the process when the thread panics: the others would wait for it.
    fn drop(&mut self) {
        if thread::panicking() {
            abort();
        }
    }
}

/// Nanoseconds of a processor that a unit takes when so many threads work at once.
///
/// `work` runs in each thread, makes ready, and does every amount of units: multiples of the grain, which is to take some
/// hundred microseconds at least. Threads that share a processor share its time.
///
/// # Panics
///
/// Where the system refuses to start a thread. A panic of `work` ends the process.
pub fn nanoseconds_of_crew(
    budget: Duration,
    threads: usize,
    grain: u64,
    work: impl Fn(usize, Amounts<'_>) + Sync,
) -> f64 {
    let clock = Clock { begin: Barrier::new(threads + 1), end: Barrier::new(threads + 1), amount: AtomicU64::new(0) };
    let elapsed = thread::scope(|scope| {
        let spawn = |index| {
            let (clock, work) = (&clock, &work);
            scope.spawn(move || work(index, Amounts { clock, works: false }))
        };
        let crew: Vec<_> = (0..threads).map(spawn).collect();
        let elapsed = nanoseconds_per_unit(budget.max(LEAST_BUDGET), |grains| {
            clock.amount.store(grains * grain, Relaxed);
            clock.begin.wait();
            clock.end.wait();
        });
        clock.amount.store(0, Relaxed);
        clock.begin.wait();
        // A scope waits for what its threads run, and joining for all that they do at their end: a heap of mimalloc must
        // not be destroyed while a thread that used it ends.
        for thread in crew {
            thread.join().expect("whoever panics ends the process");
        }
        elapsed
    });
    let processors = thread::available_parallelism().map_or(1, usize::from);
    elapsed / grain as f64 * processors.min(threads) as f64 / threads as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_does_every_amount() {
        let done = [const { AtomicU64::new(0) }; 3];
        nanoseconds_of_crew(Duration::from_millis(5), 3, 10, |index, amounts| {
            for units in amounts {
                thread::sleep(Duration::from_micros(10) * units as u32);
                done[index].fetch_add(units, Relaxed);
            }
        });
        let done = done.map(AtomicU64::into_inner);
        assert!(done[0] > 0 && done[0] % 10 == 0);
        assert_eq!(done, [done[0]; 3]);
    }
}
