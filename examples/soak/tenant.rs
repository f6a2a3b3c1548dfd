//! A tenant: a heap with a limit, worked in until it has refused a few times, and destroyed with blocks still in it.

use mallocstate::{HugePages, MallocState, Mode, ReleasePolicy};

use crate::blocks::{Block, Random, check_all};
use crate::work::{align, size};

/// The life of one heap; the answer is how often it refused.
pub(crate) fn tenant(random: &mut Random) -> u64 {
    let limit = (256 << 10) << random.below(6);
    let huge = [HugePages::Never, HugePages::Adaptive, HugePages::Always][random.below(3)];
    let policy = ReleasePolicy { interval: 1 + random.below(4), batch: 1 + random.below(4) };
    let zero = random.below(4) == 0;
    let builder = MallocState::builder().name("tenant").limit(limit).huge_pages(huge).release_policy(policy);
    let builder = builder.zero_on_release(zero);
    if random.below(2) == 0 {
        live(builder.local().build().unwrap(), limit, random)
    } else {
        live(builder.build().unwrap(), limit, random)
    }
}

fn live<M: Mode>(mut heap: MallocState<M>, limit: usize, random: &mut Random) -> u64 {
    let mut blocks: Vec<Block> = Vec::new();
    let mut refused = 0;
    for _ in 0..100 + random.below(400) {
        let byte = random.byte();
        let done = match random.below(10) {
            0..6 => Block::new(&heap, size(random), align(random), byte).map(|block| blocks.push(block)).is_some(),
            6..8 if !blocks.is_empty() => {
                blocks.swap_remove(random.below(blocks.len())).free(&heap);
                true
            }
            // Only upwards: a shrink that must move may pass the limit.
            8 if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                let len = blocks[index].len();
                blocks[index].resize(&heap, len + size(random), 1, byte)
            }
            _ => heap.try_alloc_str("what stays to the end").is_ok(),
        };
        refused += u64::from(!done);
        assert!(heap.committed() <= limit, "{} of {limit}", heap.committed());
    }
    check_all(&mut heap);
    blocks.iter().for_each(Block::check);
    if random.below(3) == 0 {
        heap.reset();
        check_all(&mut heap);
        assert_eq!(heap.stats().live_blocks, 0);
    } else {
        assert!(heap.stats().live_blocks >= blocks.iter().filter(|block| block.len() > 0).count());
    }
    let mapped = heap.mapped();
    assert_eq!(heap.destroy().mapped(), mapped);
    refused
}
