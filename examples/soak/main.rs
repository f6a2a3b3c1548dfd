//! Heaps, threads and tenants at random, for as long as you like; ends with 1 if an invariant breaks or memory creeps.
//!
//! ```text
//! cargo run --release --example soak                        20 seconds
//! cargo run --release --example soak -- --seconds 600       by hand, before a release
//! ```
//!
//! Threads allocate, resize and free in heaps that they share, pass blocks to each other, start short-lived threads, make
//! tenants' heaps that run into their limits, iterate segments and reclaim. Every few seconds all of them rest: blocks are
//! gone, every heap is checked whole, and what is still resident then must not grow from rest to rest.
//! The program's own memory comes from a heap of the mode `Global`.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
mod rest;
mod tenant;
mod work;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, RwLock};
use std::time::{Duration, Instant};
use std::{panic, process, thread};

use blocks::Block;
use clap::Parser;
use mallocstate::{GlobalMallocState, MallocState};

use crate::rest::Rests;

#[global_allocator]
static GLOBAL: GlobalMallocState = MallocState::global();

/// Heaps, threads and tenants at random.
#[derive(Parser)]
struct Arguments {
    /// How long to go on, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(6..))]
    seconds: u64,
    /// Seconds from rest to rest.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Threads that work at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// Heaps that they share.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    heaps: u8,
    /// What the random numbers begin with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A heap that all threads work in; blocks in `passed` are for whoever takes them.
struct SharedHeap {
    heap: RwLock<MallocState>,
    passed: Mutex<Vec<Block>>,
}

/// What the threads have in common.
struct World {
    heaps: Vec<SharedHeap>,
    /// All threads are to free what they have and wait.
    resting: AtomicBool,
    over: AtomicBool,
    gate: Barrier,
    operations: AtomicU64,
    refusals: AtomicU64,
    tenants: AtomicU64,
}

impl World {
    fn new(arguments: &Arguments) -> Self {
        let heap = || SharedHeap { heap: RwLock::new(MallocState::new()), passed: Mutex::default() };
        Self {
            heaps: (0..arguments.heaps).map(|_| heap()).collect(),
            resting: AtomicBool::new(false),
            over: AtomicBool::new(false),
            gate: Barrier::new(usize::from(arguments.threads) + 1),
            operations: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            tenants: AtomicU64::new(0),
        }
    }
}

/// The system's malloc reserves 64 MiB of addresses for a thread that meets another in it, sooner or later: that would look
/// as if a heap lost them.
#[cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "sets an option of the C library")
)]
fn one_arena_of_malloc() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

fn main() -> ExitCode {
    one_arena_of_malloc();
    let arguments = Arguments::parse();
    // A thread that finds something wrong must not leave the others waiting at the gate.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        report(what);
        process::exit(1);
    }));
    let world = World::new(&arguments);
    let mut rests = Rests::new(arguments.seed);
    thread::scope(|scope| {
        for number in 0..u64::from(arguments.threads) {
            let world = &world;
            scope.spawn(move || work::work(world, arguments.seed << 8 | number));
        }
        let end = Instant::now() + Duration::from_secs(arguments.seconds);
        while !world.over.load(Relaxed) {
            thread::sleep(Duration::from_secs(arguments.interval));
            let busy = rest::footprint();
            world.resting.store(true, Relaxed);
            world.gate.wait();
            rests.check(&world, busy);
            world.over.store(Instant::now() >= end, Relaxed);
            world.resting.store(false, Relaxed);
            world.gate.wait();
        }
    });
    match rests.creep() {
        None => {
            println!("soak: nothing broke, memory does not creep");
            ExitCode::SUCCESS
        }
        Some(creep) => {
            eprintln!("soak: {creep}");
            ExitCode::FAILURE
        }
    }
}
