//! What a thread does between two rests.

use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use mallocstate::MallocState;

use crate::blocks::{Block, Random, free_all};
use crate::tenant::tenant;
use crate::{SharedHeap, World};

/// Blocks that a thread has in one heap, at most.
const MOST_BLOCKS: usize = 600;

/// A size of any magnitude, small ones most often.
pub(crate) fn size(random: &mut Random) -> usize {
    let bits = match random.below(100) {
        0..70 => 9,
        70..93 => 15,
        93..99 => 20,
        _ => 23,
    };
    let largest = 2 << random.below(bits);
    random.below(largest)
}

/// An alignment, mostly one that every block has.
pub(crate) fn align(random: &mut Random) -> usize {
    1 << if random.below(20) == 0 { random.below(17) } else { random.below(5) }
}

/// A thread's blocks in a heap that it shares.
struct Place<'a> {
    heap: RwLockReadGuard<'a, MallocState>,
    shared: &'a SharedHeap,
    blocks: Vec<Block>,
}

impl<'a> Place<'a> {
    fn new(shared: &'a SharedHeap) -> Self {
        Self { heap: shared.heap.read().unwrap(), shared, blocks: Vec::new() }
    }
}

/// Works until the world is over.
pub(crate) fn work(world: &World, seed: u64) {
    let mut random = Random::new(seed);
    while !world.over.load(Relaxed) {
        {
            let mut places: Vec<Place<'_>> = world.heaps.iter().map(Place::new).collect();
            while !world.resting.load(Relaxed) {
                burst(world, &mut places, &mut random);
            }
            for Place { heap, blocks, .. } in places {
                free_all(&*heap, blocks);
                // What a running thread caches is out of everybody else's reach.
                heap.reclaim();
            }
        }
        world.gate.wait();
        world.gate.wait();
    }
}

fn burst(world: &World, places: &mut [Place<'_>], random: &mut Random) {
    const OPERATIONS: usize = 500;
    for _ in 0..OPERATIONS {
        let index = random.below(places.len());
        if !step(&mut places[index], random) {
            world.refusals.fetch_add(1, Relaxed);
        }
    }
    world.operations.fetch_add(OPERATIONS as u64, Relaxed);
    let place = &places[random.below(places.len())];
    match random.below(40) {
        0..8 => {
            let refused = tenant(random);
            world.refusals.fetch_add(refused, Relaxed);
            world.tenants.fetch_add(1, Relaxed);
        }
        8..10 => drop(place.heap.reclaim()),
        10..14 => look_at_segments(place, random),
        14..16 => drop(place.heap.stats().to_string()),
        16 => assert_eq!(place.heap.validate(), Ok(())),
        17..19 => short_lived_thread(place, random),
        _ => (),
    }
}

/// One call; whether the heap could.
fn step(place: &mut Place<'_>, random: &mut Random) -> bool {
    let Place { heap, shared, blocks } = place;
    let heap = &**heap;
    let byte = random.byte();
    match random.below(100) {
        0..46 if blocks.len() < MOST_BLOCKS => {
            let (size, align) = (size(random), align(random));
            let zeroed = random.below(4) == 0;
            let made =
                if zeroed { Block::zeroed(heap, size, align, byte) } else { Block::new(heap, size, align, byte) };
            made.map(|block| blocks.push(block)).is_some()
        }
        0..86 if !blocks.is_empty() => {
            blocks.swap_remove(random.below(blocks.len())).free(heap);
            true
        }
        86..94 if !blocks.is_empty() => {
            let index = random.below(blocks.len());
            blocks[index].resize(heap, size(random), align(random), byte)
        }
        94..97 if !blocks.is_empty() => {
            let block = blocks.swap_remove(random.below(blocks.len()));
            shared.passed.lock().unwrap().push(block);
            true
        }
        _ => {
            let passed = shared.passed.lock().unwrap().pop();
            passed.into_iter().for_each(|block| block.free(heap));
            true
        }
    }
}

/// Iterates, while this thread and others allocate, free and reclaim in the same heap. The segment of a block that is there
/// throughout is seen once.
fn look_at_segments(place: &Place<'_>, random: &mut Random) {
    let Some(kept) = place.blocks.iter().find(|block| block.len() > 0) else { return };
    let mut seen = 0;
    for segment in place.heap.segments() {
        assert!(segment.in_use() <= segment.mapped() && segment.committed() <= segment.mapped(), "{segment:?}");
        seen += usize::from(segment.range().contains(&kept.addr()));
        let block = Block::new(&*place.heap, size(random), 16, 1);
        block.into_iter().for_each(|block| block.free(&*place.heap));
        if random.below(8) == 0 {
            place.heap.reclaim();
        }
    }
    assert_eq!(seen, 1);
}

/// A thread that ends, and leaves its cache to the next one and its blocks to anybody.
fn short_lived_thread(place: &Place<'_>, random: &mut Random) {
    let mut random = Random::new(random.below(usize::MAX) as u64);
    let (heap, passed) = (&*place.heap, &place.shared.passed);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut blocks: Vec<Block> = (0..200)
                .filter_map(|_| Block::new(heap, size(&mut random), align(&mut random), random.byte()))
                .collect();
            let left = blocks.split_off(blocks.len().saturating_sub(20));
            free_all(heap, blocks);
            passed.lock().unwrap().extend(left);
        });
    });
}
