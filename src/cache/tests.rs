//! Caches of one class take turns, step by step, as their threads might.

#![expect(unsafe_code, reason = "makes caches out of nothing, and frees raw blocks")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::vec::Vec;

use crate::cache::magazine::Magazines;
use crate::os::lock::Locked;
use crate::os::raw_locks::NoLock;
use crate::os::testing::TestPages;
use crate::segment::{Account, OwnerId, Records, Refusal, Supply, SupplyOptions};
use crate::slab::{Block, SizeClass, SlabContext, SlabPool, SlabRoot, class_of};

/// What of a heap two roots and their caches need.
struct Heap {
    source: TestPages,
    account: Account,
    records: Records<NoLock>,
    pool: Locked<NoLock, SlabPool>,
    owner: OwnerId,
}

/// A class, its root, and the caches of two threads.
struct Class {
    class: SizeClass,
    root: Locked<NoLock, SlabRoot>,
    caches: [Magazines; 2],
}

impl Heap {
    fn new() -> Self {
        Self {
            source: TestPages::new(),
            account: Account::new(usize::MAX),
            records: Records::new(),
            pool: Locked::new(SlabPool::new()),
            owner: OwnerId::next(),
        }
    }

    fn context(&self) -> SlabContext<'_, TestPages, NoLock> {
        let supply = Supply {
            source: &self.source,
            account: &self.account,
            records: &self.records,
            owner: self.owner,
            options: SupplyOptions::DEFAULT,
            beyond_limit: false,
            reclaimed: None,
        };
        SlabContext { supply, pool: &self.pool }
    }

    fn allocate(&self, of: &Class, thread: usize) -> Result<NonNull<u8>, Refusal> {
        match of.caches[thread].pop(of.class.size()) {
            Some(popped) => Ok(popped.block),
            None => of.caches[thread].refill(&of.root, &self.context(), of.class).map(|(block, _)| block),
        }
    }

    fn free(&self, of: &Class, thread: usize, block: NonNull<u8>) {
        // SAFETY: the tests free what they have allocated, once.
        let block = unsafe { Block::new(block) };
        if let Err(block) = of.caches[thread].push(block) {
            of.caches[thread].overflow(Some(&of.root), &self.context(), of.class, block);
        }
    }

    /// Nothing of the class stays in the thread's cache, in the depot, or in a spare slab.
    fn flush(&self, of: &Class, thread: usize) {
        of.caches[thread].flush(Some(&of.root), &self.context(), of.class);
        of.root.lock().flush(&self.context(), of.class);
    }
}

impl Class {
    fn new(size: usize) -> Self {
        // SAFETY: all zero is a cache without blocks.
        let cache = || unsafe { MaybeUninit::<Magazines>::zeroed().assume_init() };
        Self { class: SizeClass::of(size), root: Locked::new(SlabRoot::new()), caches: [cache(), cache()] }
    }
}

#[test]
fn a_cache_that_was_refused_keeps_its_slab() {
    let heap = Heap::new();
    let (class, other) = (Class::new(512), Class::new(256));
    let whole_slab = (16 << 10) / 512;
    let blocks: Vec<_> = (0..whole_slab).map(|_| heap.allocate(&class, 0).unwrap()).collect();
    // The first thread is refused, and remembers where its slab ends.
    heap.account.set_limit(heap.account.committed());
    assert_eq!(heap.allocate(&class, 0), Err(Refusal::Limit));
    heap.account.set_limit(usize::MAX);
    // Before it does anything else, the second one frees the whole slab, and another class looks for units.
    blocks.into_iter().for_each(|block| heap.free(&class, 1, block));
    heap.flush(&class, 1);
    let theirs: Vec<_> = (0..whole_slab).map(|_| heap.allocate(&other, 1).unwrap()).collect();
    for _ in 0..3 * whole_slab {
        let block = heap.allocate(&class, 0).unwrap();
        assert!(!theirs.contains(&block));
        // SAFETY: the block was just handed out.
        assert!(unsafe { class_of::<TestPages>(block.addr().get()) } == Some(class.class));
    }
}
