//! What the two engines share when they stand on their own: a source, sums, records, and their end.

#![expect(unsafe_code, reason = "takes an engine's segments away")]

use core::fmt;

use crate::heap::{Mode, segment_usage};
use crate::os::PageSource;
use crate::primitives::sanitizer;
use crate::segment::{Account, Cursor, OwnerId, Records, Segment, SegmentBatch, Supply, SupplyOptions};

/// A source with an account and records of its own.
pub(super) struct Engine<M: Mode, S: PageSource> {
    source: S,
    account: Account,
    records: Records<M::Lock>,
    owner: OwnerId,
}

impl<M: Mode, S: PageSource> Engine<M, S> {
    pub(super) fn new(source: S) -> Self {
        let owner = OwnerId::next();
        sanitizer::pool_made(owner.pool());
        Self { source, account: Account::new(usize::MAX), records: Records::new(), owner }
    }

    pub(super) fn supply(&self) -> Supply<'_, S, M::Lock> {
        Supply {
            source: &self.source,
            account: &self.account,
            records: &self.records,
            owner: self.owner,
            options: SupplyOptions::DEFAULT,
            beyond_limit: false,
            reclaimed: None,
        }
    }

    /// The engine's number among the pools of a memory tool.
    pub(super) fn pool(&self) -> usize {
        self.owner.pool()
    }

    pub(super) fn mapped(&self) -> usize {
        self.account.mapped()
    }

    pub(super) fn committed(&self) -> usize {
        self.account.committed()
    }

    pub(super) fn segments(&self) -> EngineSegments<'_, M, S> {
        EngineSegments { engine: self, cursor: Cursor::new(), batch: SegmentBatch::new() }
    }
}

impl<M: Mode, S: PageSource> Drop for Engine<M, S> {
    fn drop(&mut self) {
        sanitizer::pool_gone(self.pool());
        while let Some(segment) = self.records.pop() {
            // SAFETY: the engine goes, and with it everything in the segment.
            let _ = unsafe { self.supply().unmap(segment) };
        }
    }
}

/// Iterates over the segments of an engine.
pub struct EngineSegments<'a, M: Mode, S: PageSource> {
    engine: &'a Engine<M, S>,
    cursor: Cursor,
    batch: SegmentBatch,
}

impl<M: Mode, S: PageSource> Iterator for EngineSegments<'_, M, S> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if let Some(segment) = self.batch.take_next() {
            return Some(segment);
        }
        self.batch = self.engine.records.next_batch(&mut self.cursor, segment_usage);
        self.batch.take_next()
    }
}

impl<M: Mode, S: PageSource> fmt::Debug for EngineSegments<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSegments").finish_non_exhaustive()
    }
}
