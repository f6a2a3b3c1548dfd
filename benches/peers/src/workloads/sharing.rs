//! Small blocks that two threads write to side by side: slow where blocks of both lie in one cache line.

use std::sync::Mutex;
use std::time::Duration;

use crate::crew::nanoseconds_of_crew;
use crate::peers::{Block, Peer, Size};

const THREADS: usize = 2;

/// Eight of them fit a cache line.
const SIZE: Size = Size::of(8);

/// Blocks that each thread has at a time.
const BLOCKS: usize = 8;

/// How often a block is written to before it is freed.
const WRITES: u32 = 100;

/// Time of one write.
///
/// Each thread begins with blocks that one thread allocated side by side, and from then on frees what it wrote to and
/// allocates anew.
pub(super) fn measure<P: Peer + Sync>(budget: Duration) -> f64 {
    let heap = P::create();
    let blocks: Vec<_> = (0..THREADS * BLOCKS).map(|_| Block::allocate(&heap, SIZE)).collect();
    let mut dealt: Vec<Vec<_>> = (0..THREADS).map(|_| Vec::with_capacity(BLOCKS)).collect();
    for (index, block) in blocks.into_iter().enumerate() {
        dealt[index % THREADS].push(block);
    }
    let dealt: Vec<_> = dealt.into_iter().map(Mutex::new).collect();
    let round = nanoseconds_of_crew(budget, THREADS, 1000, |index, amounts| {
        let mut blocks = dealt[index].try_lock().expect("each thread takes its own blocks");
        for rounds in amounts {
            for _ in 0..rounds {
                blocks.iter().for_each(|block| block.write(WRITES));
                blocks.drain(..).for_each(Block::free);
                blocks.extend((0..BLOCKS).map(|_| Block::allocate(&heap, SIZE)));
            }
        }
    });
    round / (BLOCKS as f64 * f64::from(WRITES))
}
