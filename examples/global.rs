//! A heap as the program's global allocator: threads that meet at its locks, and forks while they allocate.
//!
//! `cargo run --example global`

#![cfg_attr(
    any(target_os = "linux", target_vendor = "apple", target_os = "freebsd", target_os = "netbsd"),
    expect(unsafe_code, reason = "forks")
)]

#[cfg(any(target_os = "linux", target_vendor = "apple", target_os = "freebsd", target_os = "netbsd"))]
fn main() -> std::process::ExitCode {
    program::run()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple", target_os = "freebsd", target_os = "netbsd")))]
fn main() {
    println!("this example forks, and needs the mode `Global`: this system lacks one or the other");
}

#[cfg(any(target_os = "linux", target_vendor = "apple", target_os = "freebsd", target_os = "netbsd"))]
mod program {
    //! What runs where there is a `fork` and the mode `Global`.

    use std::io;
    use std::panic::catch_unwind;
    use std::process::ExitCode;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use mallocstate::{GlobalMallocState, MallocState};

    #[global_allocator]
    static HEAP: GlobalMallocState = MallocState::global();

    const THREADS: u64 = 8;
    const BATCHES: u64 = 200;
    const BATCH: u64 = 1000;
    const FORKS: usize = 50;
    /// Seconds until a child that hangs is ended.
    const PATIENCE: u32 = 20;

    type Batch = Vec<Vec<u64>>;

    pub(crate) fn run() -> ExitCode {
        let workers: Vec<_> = ring().into_iter().map(|(to, from)| thread::spawn(move || work(&to, &from))).collect();
        let mut during = 0;
        let forked = (0..FORKS).try_for_each(|_| {
            during += usize::from(workers.iter().any(|worker| !worker.is_finished()));
            fork_and_wait()
        });
        let sums: Vec<u64> = workers.into_iter().filter_map(|worker| worker.join().ok()).collect();

        let stats = HEAP.stats();
        println!("{stats}");
        println!("{} threads done, {FORKS} forks, {during} of them while threads were at work", sums.len());
        let right = (0..BATCHES).flat_map(|batch| (0..BATCH).map(move |block| (batch + block) * len(block))).sum();
        let valid = HEAP.validate();
        let contained = HEAP.contains(sums.as_ptr()) && stats.live > 0;
        if forked.is_ok() && during > 0 && valid.is_ok() && contained && sums == [right; THREADS as usize] {
            println!("every block held what was put in, and every child could allocate and free");
            return ExitCode::SUCCESS;
        }
        eprintln!(
            "global: forks {forked:?}, {during} during work, heap {valid:?}, contained {contained}, {sums:?} for {right}"
        );
        ExitCode::FAILURE
    }

    /// For each thread, the way to the next one and the way from the one before.
    fn ring() -> Vec<(Sender<Batch>, Receiver<Batch>)> {
        let (mut senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
        senders.rotate_left(1);
        senders.into_iter().zip(receivers).collect()
    }

    /// Makes batches for the next thread, and sums up and frees those of the one before: far more blocks than a thread
    /// keeps for itself, so that the heap's locks are needed all the time.
    fn work(to: &Sender<Batch>, from: &Receiver<Batch>) -> u64 {
        let mut sum = 0;
        for batch in 0..BATCHES {
            let made = (0..BATCH).map(|block| vec![batch + block; len(block) as usize]).collect();
            // If the other thread is gone, the sums will not match.
            let _ = to.send(made);
            sum += from.recv().iter().flatten().flatten().sum::<u64>();
        }
        sum
    }

    /// Blocks of 8 B to 400 B, and now and then one of 40 kB.
    fn len(block: u64) -> u64 {
        if block % 100 == 99 { 5000 } else { 1 + block % 50 }
    }

    /// Forks. The child has but one thread; the heap's locks are free in it, whoever held them.
    fn fork_and_wait() -> io::Result<()> {
        // SAFETY: the child does nothing but what the heap's fork handlers make safe, and ends without unwinding.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: has no conditions.
                unsafe { libc::alarm(PATIENCE) };
                let status = if matches!(catch_unwind(allocate_and_free), Ok(true)) { 0 } else { 1 };
                // SAFETY: has no conditions, and runs nothing that other threads have left half done.
                unsafe { libc::_exit(status) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the child is this process's, and the status is a place to write to.
                if unsafe { libc::waitpid(child, &raw mut status, 0) } == child && status == 0 {
                    return Ok(());
                }
                Err(io::Error::other(format!("a child ended with status {status:#x}")))
            }
        }
    }

    fn allocate_and_free() -> bool {
        let blocks: Vec<Vec<u64>> = (0..BATCH).map(|block| vec![block; len(block) as usize]).collect();
        let right = (0..BATCH).map(|block| block * len(block)).sum::<u64>();
        blocks.iter().flatten().sum::<u64>() == right && HEAP.contains(blocks.as_ptr())
    }
}
