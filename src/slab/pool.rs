//! A heap's slab segments: where slab roots get runs of units, and the heap room for its own tables.
//!
//! # Invariants
//!
//! - A segment is in exactly one list: of the empty ones, or of those whose longest free run is of one length.
//! - An empty segment has no used units; the segment with the heap's core is never empty.

#![expect(unsafe_code, reason = "keeps segments in intrusive lists")]

use core::ptr::NonNull;

use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::address::align_up;
use crate::primitives::list::List;
use crate::primitives::sanitizer;
use crate::segment::{EmptiedCounter, Refusal, SegmentKind, SegmentRef, SegmentRequest, Supply, UNIT};
use crate::slab::segment::{SlabSegment, Tables};
use crate::slab::size_class::SizeClass;
use crate::slab::slab::Slab;
use crate::slab::tables::{Reserved, SLAB_OVERHEAD};
use crate::slab::units::{Run, find_run, is_set, longest_run, set_run};

const FULL: usize = 0;
/// The list of segments whose longest free run is `Run::One`; those of the longer ones follow.
const BY_RUN: usize = 1;
const EMPTY: usize = 4;
const LISTS: usize = 5;

/// The heap's own bump range: it lives in a unit and grows page by page.
struct Host {
    segment: Option<SlabSegment>,
    next: usize,
    committed: usize,
    end: usize,
}

/// All slab segments of a heap; used under its own lock, which comes after a root's.
pub(crate) struct SlabPool {
    lists: [List<Tables>; LISTS],
    emptied: EmptiedCounter,
    host: Host,
    segments: usize,
}

// SAFETY: segments have no thread; the pool's lock hands them from one to the next.
unsafe impl Send for SlabPool {}

impl SlabPool {
    pub(crate) const fn new() -> Self {
        Self {
            lists: [const { List::new() }; LISTS],
            emptied: EmptiedCounter::new(),
            host: Host { segment: None, next: 0, committed: 0, end: 0 },
            segments: 0,
        }
    }

    /// Maps a segment with what the heap has in its header, and takes it in.
    pub(crate) fn add_segment<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        heap: Reserved,
    ) -> Result<SlabSegment, Refusal> {
        let segment = supply.map(SegmentRequest::ordinary::<S>(SegmentKind::Slab, 0, self.segments == 0))?;
        // A source may hand out more than was asked for; a block's segment is found within the ordinary length.
        let len = segment.len().min(S::SEGMENT_SIZE);
        let (charge, tables, header) = SlabSegment::table_bytes(len, heap);
        let charged = supply.commit(segment, 0, tables.min(len), charge);
        if let Some(refusal) = charged.err().or((header + UNIT > len).then_some(Refusal::Source)) {
            if charged.is_ok() {
                supply.refund(charge);
            }
            // SAFETY: nobody has heard of the segment.
            unsafe { supply.abandon(segment) };
            return Err(refusal);
        }
        // SAFETY: the segment is new, and its tables are committed.
        let segment = unsafe { SlabSegment::write(segment, len, heap) };
        segment.segment().set_ready();
        self.segments += 1;
        self.enlist(segment);
        Ok(segment)
    }

    fn list_for(segment: SlabSegment) -> usize {
        if segment.used() == 0 && !segment.is_permanent() {
            return EMPTY;
        }
        segment.with_words(|free, _| longest_run(free)).map_or(FULL, |run| BY_RUN + run as usize)
    }

    fn enlist(&mut self, segment: SlabSegment) {
        let list = Self::list_for(segment);
        segment.set_list(list);
        // SAFETY: the segment is live and in no list.
        unsafe { self.lists[list].push_front(segment.as_tables()) };
    }

    fn delist(&mut self, segment: SlabSegment) {
        // SAFETY: the segment is in the list that it names.
        unsafe { self.lists[segment.list()].remove(segment.as_tables()) };
    }

    /// Puts the segment into the list that it belongs to now.
    fn relist(&mut self, segment: SlabSegment) {
        if segment.list() != Self::list_for(segment) {
            self.delist(segment);
            self.enlist(segment);
        }
    }

    /// A segment with a free run, and where the run is. Segments with shorter free runs are used up first; the walk over
    /// empty segments passes only over short ones.
    fn find(&self, run: Run) -> Option<(SlabSegment, usize)> {
        let fitting = (BY_RUN + run as usize..EMPTY).find_map(|list| self.lists[list].first());
        let mut next = fitting.or_else(|| self.lists[EMPTY].first());
        while let Some(tables) = next {
            let segment = SlabSegment::from_tables(tables);
            if let Some(unit) = segment.with_words(|free, _| find_run(free, run)) {
                return Some((segment, unit));
            }
            // SAFETY: the tables are in one of the pool's lists.
            next = unsafe { List::after(tables) };
        }
        None
    }

    fn find_or_map<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        run: Run,
    ) -> Result<(SlabSegment, usize), Refusal> {
        if let Some(found) = self.find(run) {
            return Ok(found);
        }
        // The first half of a segment has its header: a longer run never fits.
        if run.units() * UNIT * 2 > S::SEGMENT_SIZE {
            return Err(Refusal::Size);
        }
        let segment = self.add_segment(supply, Reserved::NOTHING)?;
        let unit = segment.with_words(|free, _| find_run(free, run)).ok_or(Refusal::Source)?;
        Ok((segment, unit))
    }

    /// Makes a slab of nothing but its descriptor, whose charge is paid here.
    pub(super) fn take_slab<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        class: SizeClass,
        run: Run,
    ) -> Result<(SlabSegment, NonNull<Slab>), Refusal> {
        supply.charge(SLAB_OVERHEAD)?;
        let found = self.find_or_map(supply, run).inspect_err(|_| supply.refund(SLAB_OVERHEAD));
        let (segment, unit) = found?;
        let slab = segment.make_slab(unit, run, class);
        self.relist(segment);
        Ok((segment, slab))
    }

    /// Takes back the units of a slab that committed `committed` bytes, and releases segments as the policy says.
    pub(super) fn give_slab<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        segment: SlabSegment,
        unit: usize,
        run: Run,
        committed: usize,
    ) {
        segment.give_run(unit, run);
        supply.uncharge(committed + SLAB_OVERHEAD);
        self.relist(segment);
        if segment.list() == EMPTY {
            let leaving = self.emptied.emptied(supply.options.policy);
            if leaving > 0 {
                self.release_empty(supply, leaving);
                self.discard(supply, EMPTY);
            }
        }
    }

    /// Releases up to `most` empty segments; the answer is their length in bytes.
    pub(crate) fn release_empty<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, most: usize) -> usize {
        let mut released = 0;
        for _ in 0..most {
            let Some(tables) = self.lists[EMPTY].pop_front() else { break };
            let segment = SlabSegment::from_tables(tables);
            let restore = |refused: SegmentRef| {
                if supply.options.zero_on_release {
                    // SAFETY: the segment is committed, and the tables of an empty one can be made again.
                    unsafe { SlabSegment::write(refused, refused.len().min(S::SEGMENT_SIZE), Reserved::NOTHING) };
                }
                segment.poison();
            };
            // SAFETY: nothing in an empty segment is in use, and the pool has let go of it.
            match unsafe { supply.release(segment.segment(), segment.overhead(), restore) } {
                Ok(len) => {
                    released += len;
                    self.segments -= 1;
                }
                Err(_) => {
                    self.enlist(segment);
                    break;
                }
            }
        }
        released
    }

    /// Discards the free units, in the segments of one list, that were used since they were last discarded.
    fn discard<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, list: usize) -> usize {
        let mut discarded = 0;
        let mut next = self.lists[list].first();
        while let Some(tables) = next {
            discarded += discard_units(supply, SlabSegment::from_tables(tables));
            // SAFETY: the tables are in one of the pool's lists.
            next = unsafe { List::after(tables) };
        }
        discarded
    }

    /// Releases what is empty and discards what is free; the answer is in bytes.
    pub(crate) fn reclaim<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) -> usize {
        let released = self.release_empty(supply, usize::MAX);
        released + (0..LISTS).map(|list| self.discard(supply, list)).sum::<usize>()
    }

    /// Room for `bytes` of the heap's own, aligned to 64, that stays until the heap goes. Not initialised.
    pub(crate) fn host<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        bytes: usize,
    ) -> Result<NonNull<u8>, Refusal> {
        let bytes = align_up(bytes, 64);
        if self.host.end - self.host.next < bytes {
            let run = Run::ALL.into_iter().find(|run| run.units() * UNIT >= bytes).ok_or(Refusal::Size)?;
            let (segment, unit) = self.find_or_map(supply, run)?;
            segment.host(unit, run);
            self.relist(segment);
            let start = unit * UNIT;
            self.host = Host { segment: Some(segment), next: start, committed: start, end: start + run.units() * UNIT };
        }
        let segment = self.host.segment.ok_or(Refusal::Source)?;
        let after = self.host.next + bytes;
        if after > self.host.committed {
            let target = align_up(after, supply.page_size()).min(self.host.end);
            let portion = target - self.host.committed;
            supply.commit(segment.segment(), self.host.committed, target, portion)?;
            segment.segment().touch(target);
            segment.add_overhead(portion);
            self.host.committed = target;
        }
        // SAFETY: the range lies within units that the segment has given to the heap.
        let place = unsafe { segment.segment().at(self.host.next) };
        sanitizer::unpoison(place, bytes);
        self.host.next = after;
        Ok(place)
    }

    /// Takes the units of all slabs back, under an exclusive borrow of the heap; segments stay.
    pub(crate) fn reset<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) {
        let mut kept = List::new();
        for list in 0..LISTS {
            while let Some(tables) = self.lists[list].pop_front() {
                let segment = SlabSegment::from_tables(tables);
                let before = super::usage(segment.segment()).committed;
                segment.give_all_slabs();
                supply.uncharge(before - segment.overhead());
                // SAFETY: the segment was just taken off its list.
                unsafe { kept.push_front(tables) };
            }
        }
        while let Some(tables) = kept.pop_front() {
            self.enlist(SlabSegment::from_tables(tables));
        }
    }
}

/// Discards the free units of a segment that were used since they were last discarded, run by run.
fn discard_units<S: PageSource, L: RawLock>(supply: &Supply<'_, S, L>, segment: SlabSegment) -> usize {
    // A page may be larger than a unit: only runs of free units that cover whole pages can go.
    let step = (supply.page_size() / UNIT).max(1);
    let end = segment.units() / step * step;
    let goes = |first: usize| {
        let mut units = first..first + step;
        segment.with_words(|free, dirty| {
            units.clone().all(|unit| is_set(free, unit)) && units.any(|unit| is_set(dirty, unit))
        })
    };
    let (mut discarded, mut next) = (0, 0);
    while next < end {
        let start = next;
        while next < end && goes(next) {
            next += step;
        }
        // SAFETY: the units are free.
        let bytes = unsafe { supply.discard(segment.segment(), start * UNIT, next * UNIT) }.unwrap_or(0);
        discarded += bytes;
        if bytes > 0 {
            segment.with_words(|_, dirty| (start..next).for_each(|unit| set_run(dirty, unit, Run::One, false)));
        }
        next += step;
    }
    discarded
}
