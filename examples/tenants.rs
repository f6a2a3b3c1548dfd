//! A heap for each tenant, with a name and a limit. One runs out, and nobody else notices.
//!
//! `cargo run --example tenants`

use std::fmt;

use mallocstate::allocator_api2::alloc::AllocError;
use mallocstate::collections::{HashMap, Vec};
use mallocstate::{ConfigError, MIN_LIMIT, MallocState};

/// A tenant's notes by their keys, all in the tenant's heap.
struct Notes<'a> {
    heap: &'a MallocState,
    by_key: HashMap<'a, u64, Vec<'a, &'a str>>,
}

/// The tenant's heap has reached its limit. What was there before is still there.
#[derive(Debug)]
struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another note")
    }
}

impl From<AllocError> for Full {
    fn from(_: AllocError) -> Self {
        Self
    }
}

impl<'a> Notes<'a> {
    fn new(heap: &'a MallocState) -> Self {
        Self { heap, by_key: HashMap::new_in(heap) }
    }

    /// Adds a note. Whatever would grow reserves first: the plain `insert` and `push` abort where there is no memory.
    fn add(&mut self, key: u64, note: &str) -> Result<(), Full> {
        let note = &*self.heap.try_alloc_str(note)?;
        self.by_key.try_reserve(1).map_err(|_| Full)?;
        let notes = self.by_key.entry(key).or_insert_with(|| Vec::new_in(self.heap));
        notes.try_reserve(1).map_err(|_| Full)?;
        notes.push(note);
        Ok(())
    }

    fn len(&self) -> usize {
        self.by_key.values().map(|notes| notes.len()).sum()
    }

    fn bytes(&self) -> usize {
        self.by_key.values().flatten().map(|note| note.len()).sum()
    }
}

fn tenant(name: &str, limit: usize) -> Result<MallocState, ConfigError> {
    MallocState::builder().name(name).limit(limit).build()
}

fn main() -> Result<(), ConfigError> {
    // What no heap can have is said before there is a heap.
    let error = tenant("too small", MIN_LIMIT - 1).expect_err("a limit below the least");
    println!("{error}\n");

    let heaps = [tenant("Ada", 8 << 20)?, tenant("Blaise", 256 << 10)?, tenant("Charles", 8 << 20)?];
    let mut tenants = heaps.each_ref().map(Notes::new);
    let mut refused = [0; 3];
    for number in 0..30_000_u64 {
        for (notes, refused) in tenants.iter_mut().zip(&mut refused) {
            let note = format!("note {number} of {}", notes.heap.name());
            if let Err(full) = notes.add(number % 1000, &note) {
                if *refused == 0 {
                    println!("{}: {full}, after {}; the others go on\n", notes.heap.name(), notes.len());
                }
                *refused += 1;
            }
        }
    }

    for (notes, refused) in tenants.iter().zip(refused) {
        let heap = notes.heap;
        println!("{}: {} notes of {} B, {refused} refused", heap.name(), notes.len(), notes.bytes());
        println!("{}", heap.stats());
        assert_eq!(notes.len() + refused, 30_000);
        assert!(Some(heap.peak()) <= heap.limit());
    }
    assert!(refused[0] == 0 && refused[1] > 0 && refused[2] == 0);
    assert!(heaps[1].stats().failures.limit >= refused[1]);

    // More room, and the tenant that was full goes on where it stopped.
    heaps[1].set_limit(Some(8 << 20));
    tenants[1].add(1, "at last").expect("the limit was raised");

    drop(tenants);
    for heap in heaps {
        let (name, teardown) = (heap.name().to_owned(), heap.destroy());
        println!("{name}: {} blocks of {} B went with the heap", teardown.live_blocks(), teardown.live());
    }
    Ok(())
}
