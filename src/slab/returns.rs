//! The way back: blocks from magazines enter the bitmaps of the slabs, or the nursery, that they were cut from.

#![expect(unsafe_code, reason = "reaches descriptors that lists and segments point to")]

use core::ptr;

use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::abort::corruption;
use crate::slab::depot::{Block, Magazine};
use crate::slab::locate::{FREED_TWICE, Origin, locate};
use crate::slab::nursery::Nursery;
use crate::slab::root::{SlabContext, SlabRoot};
use crate::slab::size_class::SizeClass;
use crate::slab::slab::DISCARDABLE;

impl SlabRoot {
    /// Sets the bits of blocks that go back to their slabs, or to the nursery, after checking that each is one of this heap
    /// and class.
    pub(crate) fn return_blocks<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
        mut magazine: Magazine,
    ) {
        let mut young = YoungReturns::none();
        while let Some(block) = magazine.pop() {
            let (slab, first) = match origin_of(context, &block, class) {
                Origin::Slab(slab, index) => (slab, index),
                Origin::Nursery(nursery, offset, _) => {
                    young.add(nursery, offset, block);
                    continue;
                }
            };
            // SAFETY: `locate` finds live slabs.
            let descriptor = unsafe { slab.as_ref() };
            let returned = descriptor.with_bits(|bits| {
                let size = class.size();
                let base = block.addr() - first * size;
                let mut returned = 0;
                let mut next = Some(first);
                while let Some(index) = next {
                    // Blocks are often freed in the order in which they were cut, or the other way round.
                    let addr = base + index * size;
                    let below = magazine.pop_run(addr, size.wrapping_neg(), index);
                    let above = if below == 0 { magazine.pop_run(addr, size, descriptor.cut() - 1 - index) } else { 0 };
                    if let Err(twice) = bits.insert_run(index - below, index + above + 1) {
                        corruption(FREED_TWICE, ptr::without_provenance(base + twice * size));
                    }
                    returned += below + above + 1;
                    // The next one may lie in the same slab still: then it need not be looked up.
                    next = magazine.pop_if(|block| descriptor.cut_block(block.wrapping_sub(base)));
                }
                returned
            });
            descriptor.set_free(descriptor.free() + returned);
            descriptor.set(DISCARDABLE, true);
            self.out -= returned;
            self.settle(context, slab);
        }
        young.count(class);
    }
}

/// What a block that goes back was cut from, after checking that it is one of this heap and class.
fn origin_of<'a, S: PageSource, L: RawLock>(
    context: &SlabContext<'a, S, L>,
    block: &Block,
    class: SizeClass,
) -> Origin<'a> {
    match locate(context, block.addr()) {
        Ok(origin) if origin.class() == class => origin,
        Ok(_) => corruption("block freed as one of another size class", ptr::without_provenance(block.addr())),
        Err(what) => corruption(what, ptr::without_provenance(block.addr())),
    }
}

/// Blocks that go back to the nursery together: they are counted once, at the end.
struct YoungReturns<'a> {
    nursery: Option<&'a Nursery>,
    blocks: usize,
}

impl<'a> YoungReturns<'a> {
    fn none() -> Self {
        Self { nursery: None, blocks: 0 }
    }

    fn add(&mut self, nursery: &'a Nursery, offset: usize, block: Block) {
        if !nursery.take_back(offset) {
            corruption(FREED_TWICE, block.into_raw().as_ptr());
        }
        self.nursery = Some(nursery);
        self.blocks += 1;
    }

    fn count(self, class: SizeClass) {
        if let Some(nursery) = self.nursery {
            nursery.count_returned(self.blocks * class.size());
        }
    }
}

/// Takes blocks back of a class that has no root: all are the nursery's.
pub(crate) fn return_without_root<S: PageSource, L: RawLock>(
    context: &SlabContext<'_, S, L>,
    class: SizeClass,
    mut magazine: Magazine,
) {
    let mut young = YoungReturns::none();
    while let Some(block) = magazine.pop() {
        match origin_of(context, &block, class) {
            Origin::Nursery(nursery, offset, _) => young.add(nursery, offset, block),
            Origin::Slab(..) => corruption("freed block is of a class that has none", block.into_raw().as_ptr()),
        }
    }
    young.count(class);
}
