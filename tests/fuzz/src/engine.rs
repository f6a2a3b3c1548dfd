//! What the model asks of the two engines.

use std::alloc::Layout;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::{CoalescingAllocator, Corruption, Mode, PageSource, Segment, SlabAllocator};

/// An engine on its own.
pub(crate) trait Engine: Allocator {
    /// The smallest size that gets a block where the model expects one.
    const LEAST: usize;

    /// Whether it has blocks for this layout at all.
    fn serves(&self, layout: Layout) -> bool;
    /// Whether it must find room for the layout where this many bytes in a row are free.
    fn fits(&self, layout: Layout, gap: usize) -> bool;
    /// Panics where the engine's account of what is live is not the model's: blocks, and their usable bytes. `healthy`
    /// tells that the source has refused nothing so far.
    fn check_live(&self, blocks: usize, bytes: usize, healthy: bool);
    fn validate(&self) -> Result<(), Corruption>;
    fn segments(&self) -> Vec<Segment>;
    fn mapped(&self) -> usize;
    fn committed(&self) -> usize;
    fn reclaim(&self) -> usize;
}

impl<M: Mode, S: PageSource> Engine for CoalescingAllocator<M, S> {
    const LEAST: usize = 0;

    fn serves(&self, _: Layout) -> bool {
        true
    }

    fn fits(&self, layout: Layout, gap: usize) -> bool {
        // Bins are a sixteenth wide; a header is 16 bytes, a surplus of less than a block stays with its block, and so
        // does what growth rounds up to.
        layout.align() <= 16 && gap >= layout.size() + layout.size() / 8 + 256
    }

    fn check_live(&self, blocks: usize, bytes: usize, healthy: bool) {
        let live = self.live();
        assert!(live.0 == blocks && live.1 >= bytes, "{live:?} for {blocks}, {bytes}");
        // Growth in place answers with what was asked for, and keeps what it rounds up to; so does a single block in a
        // longer segment that the source did not take back.
        assert!(live.1 <= bytes + blocks * 48 || !healthy, "{live:?} for {blocks}, {bytes}");
    }

    fn validate(&self) -> Result<(), Corruption> {
        self.validate()
    }

    fn segments(&self) -> Vec<Segment> {
        self.segments().collect()
    }

    fn mapped(&self) -> usize {
        self.mapped()
    }

    fn committed(&self) -> usize {
        self.committed()
    }

    fn reclaim(&self) -> usize {
        self.reclaim()
    }
}

impl<M: Mode, S: PageSource> Engine for SlabAllocator<M, S> {
    const LEAST: usize = 1;

    fn serves(&self, layout: Layout) -> bool {
        layout.size() <= self.block_size() && (layout.align() <= 16 || self.block_size() % layout.align() == 0)
    }

    fn fits(&self, layout: Layout, gap: usize) -> bool {
        self.serves(layout) && gap >= 2 * self.block_size() + (512 << 10)
    }

    fn check_live(&self, blocks: usize, bytes: usize, _: bool) {
        assert_eq!(self.live_blocks(), blocks);
        assert_eq!(bytes, blocks * self.block_size());
    }

    fn validate(&self) -> Result<(), Corruption> {
        self.validate()
    }

    fn segments(&self) -> Vec<Segment> {
        self.segments().collect()
    }

    fn mapped(&self) -> usize {
        self.mapped()
    }

    fn committed(&self) -> usize {
        self.committed()
    }

    fn reclaim(&self) -> usize {
        self.reclaim()
    }
}
