//! Caches of one class take turns, step by step, as their threads might.

#![expect(unsafe_code, reason = "makes caches out of nothing, and frees raw blocks")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use crate::cache::chunks::{Chunks, Place};
use crate::cache::flush::FlushRequests;
use crate::cache::magazine::{Magazines, return_one, take_one};
use crate::cache::medium::MediumCache;
use crate::cache::thread_cache::{CachePtr, PlacedCache, ThreadCache};
use crate::os::lock::Locked;
use crate::os::raw_locks::NoLock;
use crate::os::testing::TestPages;
use crate::primitives::random::Random;
use crate::primitives::scale::scale;
use crate::segment::{Account, OwnerId, Records, Refusal, Supply, SupplyOptions};
#[cfg(not(feature = "hardened"))]
use crate::slab::Reserved;
use crate::slab::{Block, Nursery, SMALL_CLASSES, SizeClass, SlabContext, SlabPool, SlabRoot, class_of};

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
        let near = of.caches[thread].pop().or_else(|| of.caches[thread].cut_fresh(of.class.size()));
        match near {
            Some(block) => Ok(block),
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
        let cache = &of.caches[thread];
        let had = cache.cached() + cache.bump_left() / of.class.size();
        assert_eq!(cache.flush(Some(&of.root), &self.context(), of.class), had);
        assert_eq!((cache.cached(), cache.bump_left()), (0, 0));
        let depot = of.depot();
        assert_eq!(of.root.lock().flush(&self.context(), of.class), depot);
    }

    /// Every block out of the slabs is with a user, in a cache or in the depot, and in one of these only.
    fn check(&self, of: &Class, live: &[NonNull<u8>]) {
        let mut free = Vec::new();
        let mut cached = 0;
        for cache in &of.caches {
            cache.for_each_cached(|block| free.push(block));
            cached += cache.cached();
            assert_eq!(free.len(), cached);
            let bump = cache.bump_left() / of.class.size();
            cached += bump;
            // The bump range ends where its last block does.
            free.extend((1..=bump).filter_map(|back| Some(cache.bump_end()? - back * of.class.size())));
        }
        free.extend(live.iter().map(|block| block.addr().get()));
        let (all, counts) = (free.len(), of.root.lock().counts());
        free.sort_unstable();
        free.dedup();
        assert_eq!((free.len(), counts.out), (all, all + counts.depot));
        assert_eq!(of.root.lock().validate::<TestPages>(of.class), Ok(()));
    }

    /// What a magazine of the class may have.
    fn capacity(&self, of: &Class) -> usize {
        of.class.magazine_capacity(self.account.limit())
    }
}

impl Class {
    /// Blocks in the depot.
    fn depot(&self) -> usize {
        self.root.lock().counts().depot
    }

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

#[test]
fn the_block_that_was_freed_last_comes_first() {
    let heap = Heap::new();
    let class = Class::new(64);
    // A whole slab: what is left of a bump range would come before the previous magazine.
    let blocks: Vec<_> = (0..4 * heap.capacity(&class)).map(|_| heap.allocate(&class, 0).unwrap()).collect();
    assert_eq!(class.caches[0].bump_left(), 0);
    heap.check(&class, &blocks);
    blocks.iter().for_each(|&block| heap.free(&class, 0, block));
    // The older magazines went on to the depot.
    assert_eq!(class.caches[0].cached(), 2 * heap.capacity(&class));
    assert_eq!(class.depot(), 2 * heap.capacity(&class));
    heap.check(&class, &[]);
    for &block in blocks.iter().rev() {
        assert_eq!(heap.allocate(&class, 0), Ok(block));
    }
    assert_eq!((class.caches[0].cached(), class.depot()), (0, 0));
    heap.check(&class, &blocks);
}

#[test]
fn a_thread_without_a_cache_takes_one_block_of_a_full_magazine() {
    let heap = Heap::new();
    let class = Class::new(64);
    let blocks: Vec<_> = (0..4 * heap.capacity(&class)).map(|_| heap.allocate(&class, 0).unwrap()).collect();
    blocks.into_iter().for_each(|block| heap.free(&class, 0, block));
    assert_eq!(class.depot(), 2 * heap.capacity(&class));
    let block = take_one(&class.root, &heap.context(), class.class).unwrap();
    assert_eq!(class.depot(), heap.capacity(&class));
    // The others of the magazine are back in their slabs.
    heap.check(&class, &[block]);
}

#[test]
fn random_calls_lose_no_block_and_hand_none_out_twice() {
    for (size, seed) in [(16, 1), (48, 2), (512, 3), (4096, 4), (20 << 10, 5)] {
        let heap = Heap::new();
        let class = Class::new(size);
        let mut random = Random::new(seed);
        let mut live = Vec::new();
        for step in 0..scale(1200) {
            let thread = random.below(2);
            // Now and then few blocks are live, then many.
            let most = if step / 200 % 2 == 0 { 400 } else { 3 };
            match random.below(40) {
                0 => heap.flush(&class, thread),
                1 => heap.account.set_limit([usize::MAX, 64 << 20, 4 << 20][random.below(3)]),
                2 => live.extend(take_one(&class.root, &heap.context(), class.class)),
                3 if !live.is_empty() => {
                    let block = live.swap_remove(random.below(live.len()));
                    // SAFETY: the block is ours, and given up here.
                    return_one(Some(&class.root), &heap.context(), class.class, unsafe { Block::new(block) });
                }
                _ => {
                    while live.len() < random.below(most) {
                        let block = heap.allocate(&class, thread);
                        assert!(matches!(block, Ok(_) | Err(Refusal::Limit)));
                        let Ok(block) = block else { break };
                        live.push(block);
                    }
                    while live.len() > most || random.below(3) == 0 && !live.is_empty() {
                        heap.free(&class, thread, live.swap_remove(random.below(live.len())));
                    }
                }
            }
            heap.check(&class, &live);
        }
        live.into_iter().for_each(|block| heap.free(&class, 1, block));
        [0, 1].into_iter().for_each(|thread| heap.flush(&class, thread));
        let counts = class.root.lock().counts();
        assert_eq!((counts.out, counts.committed), (0, 0));
    }
}

#[test]
fn magazines_keep_to_a_new_limit() {
    let heap = Heap::new();
    let class = Class::new(64);
    let blocks: Vec<_> = (0..400).map(|_| heap.allocate(&class, 0).unwrap()).collect();
    blocks.into_iter().for_each(|block| heap.free(&class, 0, block));
    assert!(class.depot() > 0);
    // Full magazines of before are longer than what a magazine may have now.
    heap.account.set_limit(512 << 10);
    let few = heap.capacity(&class);
    assert!((1..64).contains(&few));
    class.caches[0].flush(Some(&class.root), &heap.context(), class.class);
    let block = heap.allocate(&class, 0).unwrap();
    assert_eq!(class.caches[0].cached(), few);
    heap.check(&class, &[block]);
    // And with the least of limits every block goes back to its slab at once.
    heap.flush(&class, 0);
    heap.account.set_limit(8 << 10);
    assert_eq!(heap.capacity(&class), 0);
    heap.free(&class, 0, block);
    assert_eq!((class.caches[0].cached(), class.root.lock().counts().out), (0, 0));
}

/// A thread's cache without blocks, for good.
fn thread_cache(requests: &FlushRequests) -> NonNull<ThreadCache> {
    cache_with(requests, None)
}

fn cache_with(requests: &FlushRequests, nursery: Option<&Nursery>) -> NonNull<ThreadCache> {
    let place = NonNull::from(Box::leak(Box::<PlacedCache>::new_uninit()));
    place.as_ptr().expose_provenance();
    // SAFETY: the place is a cache's, exposed, and nobody else's.
    unsafe { ThreadCache::write(place.cast(), requests, nursery, usize::MAX) }
}

/// In hardened heaps every magazine is shuffled first.
#[cfg(not(feature = "hardened"))]
#[test]
fn the_nursery_waits_until_what_was_freed_is_used_again() {
    let heap = Heap::new();
    let context = heap.context();
    let reserved = Reserved { core: 1000, nursery: true };
    let segment = heap.pool.lock().add_segment(&context.supply, reserved).unwrap();
    // SAFETY: it is there for good.
    let cache = unsafe { cache_with(&FlushRequests::none(), segment.nursery()).as_ref() };
    let class = SizeClass::of(64);
    let (small, capacity) = (cache.small(class), class.magazine_capacity(usize::MAX));
    let take = || cache.open_young(&context.supply, class);
    let blocks: Vec<_> = (0..=capacity).map(|_| take().unwrap()).collect();
    assert_eq!(small.cached(), 0);
    for block in blocks {
        // SAFETY: the block was taken above.
        if let Err(block) = small.push(unsafe { Block::new(block) }) {
            small.overflow(None, &context, class, block);
        }
    }
    // One is loaded; the others are the previous magazine.
    assert!(small.pop().is_some() && small.cached() == capacity);
    assert!(cache.take_young(class, usize::MAX).is_none() && take().is_none());
    assert!(cache.open_young(&context.supply, SizeClass::of(80)).is_some());
}

#[test]
fn each_class_is_fresh_or_not_by_itself() {
    // SAFETY: it is there for good.
    let cache = unsafe { thread_cache(&FlushRequests::none()).as_ref() };
    let classes = || (0..SMALL_CLASSES).map(SizeClass::from_index);
    for class in classes() {
        assert!(classes().all(|other| !cache.is_fresh(other)));
        cache.set_fresh(class, false);
        assert!(classes().all(|other| !cache.is_fresh(other)));
        cache.set_fresh(class, true);
        cache.set_fresh(class, true);
        assert!(classes().all(|other| cache.is_fresh(other) == (other == class)));
        cache.set_fresh(class, false);
    }
    classes().for_each(|class| cache.set_fresh(class, true));
    assert!(classes().all(|class| cache.is_fresh(class)));
    cache.forget();
    assert!(!classes().any(|class| cache.is_fresh(class)));
}

#[test]
fn each_request_to_flush_is_followed_once() {
    let requests = FlushRequests::none();
    requests.ask();
    // SAFETY: it is there for good.
    let cache = unsafe { thread_cache(&requests).as_ref() };
    for _ in 0..3 {
        assert!(!cache.is_asked_to_flush(&requests) && !cache.must_flush(&requests));
        requests.ask();
        requests.ask();
        assert!(cache.is_asked_to_flush(&requests) && cache.must_flush(&requests));
    }
}

#[test]
fn a_cache_has_its_medium_part_from_when_it_is_set() {
    // SAFETY: it is there for good.
    let cache = unsafe { thread_cache(&FlushRequests::none()).as_ref() };
    assert!(cache.medium().is_none());
    let place = NonNull::from(Box::leak(Box::<MediumCache>::new_uninit()));
    // SAFETY: the place is a medium part's, nobody else's, and there for good.
    unsafe { cache.set_medium(place.cast()) };
    let medium = cache.medium().expect("it was set");
    medium.set_budget(0, usize::MAX);
    assert!(medium.push(0, 40 << 10, NonNull::dangling()));
    cache.forget();
    assert_eq!(medium.cached(0), 0);
}

#[test]
fn an_entry_leads_to_its_cache_until_it_is_cleared() {
    let mut entry = CachePtr::null();
    let cache = thread_cache(&FlushRequests::none());
    assert!(entry.get().is_none());
    // SAFETY: the cache is there for good, and nobody else publishes here.
    unsafe { entry.set(cache) };
    assert!(entry.get().is_some_and(|found| NonNull::from(found) == cache));
    entry.clear();
    assert!(entry.get().is_none());
}

#[test]
fn an_entry_beyond_the_table_is_found_once_its_chunk_has_been_made() {
    let chunks = Chunks::<usize>::new();
    let [place, other] = [69, 128].map(|slot| Place::of(slot).expect("a slot of a chunk"));
    assert_eq!(chunks.get(place), None);
    let host = |_: &mut (), len| Ok::<_, ()>(NonNull::from(Box::leak(Box::<[usize]>::new_uninit_slice(len))).cast());
    // SAFETY: there is one thread; the room is there for good.
    let made = unsafe { chunks.get_or_make(place, || (), host, || 7) };
    assert_eq!(made, Ok(&7));
    assert_eq!(chunks.get(place).map(core::ptr::from_ref), made.ok().map(core::ptr::from_ref));
    assert_eq!(chunks.get(other), None);
}
