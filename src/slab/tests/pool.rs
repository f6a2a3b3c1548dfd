//! The pool: which segment serves, which ones leave, and what the heap hosts.

#![expect(unsafe_code, reason = "reads descriptors and writes to what is hosted")]

use core::iter;
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::Home;
use crate::os::lock::Locked;
use crate::os::raw_locks::NoLock;
use crate::os::testing::{Call, TestPages};
use crate::os::{HugeAdvice, MIN_SEGMENT_SIZE, PageSource, RegionPages, SystemPages};
use crate::primitives::address::align_up;
use crate::segment::{HugePages, Refusal, ReleasePolicy, Supply, SupplyOptions, UNIT};
use crate::slab::pool::SlabPool;
use crate::slab::segment::SlabSegment;
use crate::slab::size_class::SizeClass;
use crate::slab::tables::{Reserved, SLAB_OVERHEAD};
use crate::slab::units::Run;

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

/// Units that slabs may have in a segment that is not the heap's first.
const FREE_UNITS: usize = SEGMENT / UNIT - SlabSegment::table_bytes(SEGMENT, Reserved::NOTHING).1.div_ceil(UNIT);

/// A slab's segment, its first unit and its run.
type Taken = (SlabSegment, usize, Run);

impl Home {
    fn with_policy(&self, interval: usize, batch: usize) -> Supply<'_, TestPages, NoLock> {
        let policy = ReleasePolicy { interval, batch };
        let options = SupplyOptions { policy, huge: HugePages::Adaptive, ..SupplyOptions::DEFAULT };
        Supply { options, ..self.supply(None) }
    }

    fn take(&self, run: Run) -> Taken {
        let class = SizeClass::of(64);
        let (segment, slab) = self.pool.lock().take_slab(&self.with_policy(9, 1), class, run).expect("a slab");
        // SAFETY: the slab was just made.
        (segment, unsafe { slab.as_ref() }.start() / UNIT, run)
    }

    /// Slabs until so many segments are mapped; the last one is the first in its segment.
    fn fill(&self, run: Run, segments: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        while self.source.outstanding_ranges() < segments {
            taken.push(self.take(run));
        }
        taken
    }

    fn give(&self, supply: &Supply<'_, TestPages, NoLock>, (segment, unit, run): Taken) {
        self.pool.lock().give_slab(supply, segment, unit, run, 0);
    }

    fn give_all(&self, taken: impl IntoIterator<Item = Taken>) {
        taken.into_iter().for_each(|slab| self.give(&self.with_policy(9, 1), slab));
    }

    fn reclaim_pool(&self) -> usize {
        self.pool.lock().reclaim(&self.with_policy(9, 1))
    }

    fn host(&self, bytes: usize) -> Result<NonNull<u8>, Refusal> {
        self.pool.lock().host(&self.supply(None), bytes)
    }
}

#[test]
fn segments_are_filled_before_others_are_mapped() {
    let home = Home::new(TestPages::new());
    let mut taken = home.fill(Run::One, 2);
    assert_eq!(taken.len(), FREE_UNITS + 1);
    let (first, second) = (taken[0].0, taken[FREE_UNITS].0);
    assert!(
        taken[..FREE_UNITS].iter().enumerate().all(|(index, slab)| slab.0 == first && slab.1 == taken[0].1 + index)
    );
    assert_eq!(home.account.committed(), 2 * second.overhead() + taken.len() * SLAB_OVERHEAD);
    // What came back in a full segment is used before the one with more room, but for what is too long for it.
    let back = taken.swap_remove(3);
    home.give_all([back]);
    let long = home.take(Run::Four);
    assert!(long.0 == second && long.1 % 4 == 0);
    assert_eq!(home.take(Run::One), back);
    home.give_all(taken.into_iter().chain([back, long]));
    assert_eq!((home.source.outstanding_ranges(), home.source.calls_of(Call::Map)), (2, 2));
    assert_eq!(home.reclaim_pool(), 2 * SEGMENT);
    assert_eq!((home.source.outstanding_ranges(), home.account.committed(), home.reclaim_pool()), (0, 0, 0));
}

#[test]
fn a_walk_leaves_out_a_slab_that_is_made_around_where_it_stands() {
    let home = Home::new(TestPages::new());
    let mut taken = vec![home.take(Run::One)];
    while taken[taken.len() - 1].1 % 4 != 0 {
        taken.push(home.take(Run::One));
    }
    let mut walk = taken[0].0.slabs();
    assert_eq!(walk.by_ref().take(taken.len()).count(), taken.len());
    let last = taken.pop().unwrap();
    home.give_all([last]);
    let long = home.take(Run::Four);
    assert_eq!((long.0, long.1), (last.0, last.1));
    // Behind its first unit there is no descriptor.
    assert_eq!(walk.next(), None);
    assert_eq!(long.0.slabs().count(), taken.len() + 1);
    home.give_all(taken.into_iter().chain([long]));
}

#[test]
fn a_heap_has_one_first_segment_at_a_time() {
    let home = Home::new(TestPages::new());
    let taken = home.fill(Run::Sixteen, 2);
    let [first, second] = [taken[0].0, taken[taken.len() - 1].0].map(|slab| slab.segment().huge());
    assert_eq!([first, second], [HugeAdvice::Against, HugeAdvice::For]);
    home.give_all(taken);
    home.reclaim_pool();
    let again = home.fill(Run::Sixteen, 2);
    assert_eq!([again[0].0, again[again.len() - 1].0].map(|slab| slab.segment().huge()), [first, second]);
}

#[test]
fn empty_segments_leave_by_the_policy_and_the_others_give_their_pages_back() {
    let home = Home::new(TestPages::new());
    let supply = home.with_policy(3, 2);
    let mut taken = home.fill(Run::Sixteen, 4);
    let mut mapped = Vec::new();
    while let Some(&(segment, ..)) = taken.first() {
        let (leaving, staying): (Vec<_>, _) = taken.into_iter().partition(|slab| slab.0 == segment);
        leaving.iter().for_each(|&(segment, unit, run)| _ = segment.segment().touch((unit + run.units()) * UNIT));
        leaving.into_iter().for_each(|slab| home.give(&supply, slab));
        mapped.push((home.source.outstanding_ranges(), home.source.calls_of(Call::Discard)));
        taken = staying;
    }
    assert_eq!(mapped, [(4, 0), (4, 0), (2, 1), (2, 1)]);
}

#[test]
fn a_segment_that_the_source_refuses_to_take_serves_on() {
    let home = Home::new(TestPages::new());
    home.give_all(home.fill(Run::Four, 1));
    home.source.refuse_call_once_after(Call::Unmap, 0);
    assert_eq!(home.pool.lock().release_empty(&home.supply(None), usize::MAX), 0);
    let slab = home.take(Run::Four);
    assert_eq!(home.source.calls_of(Call::Map), 1);
    home.give_all([slab]);
    assert_eq!(home.pool.lock().release_empty(&home.supply(None), 0), 0);
    assert_eq!(home.pool.lock().release_empty(&home.supply(None), 5), SEGMENT);
    assert_eq!(home.source.outstanding_ranges(), 0);
}

#[test]
fn free_units_that_were_used_are_discarded_once() {
    let home = Home::new(TestPages::new());
    if home.source.page_size() > UNIT {
        // A unit alone is not a whole page there.
        return;
    }
    let taken: Vec<Taken> = iter::repeat_with(|| home.take(Run::One)).take(6).collect();
    taken.iter().for_each(|&(segment, unit, _)| _ = segment.segment().touch((unit + 1) * UNIT));
    home.give_all([taken[0], taken[2], taken[3]]);
    assert_eq!((home.reclaim_pool(), home.source.calls_of(Call::Discard)), (3 * UNIT, 2));
    assert_eq!(home.reclaim_pool(), 0);
    home.give_all([home.take(Run::One), taken[5]]);
    home.source.refuse_call_once_after(Call::Discard, 0);
    assert_eq!(home.reclaim_pool(), UNIT);
    assert_eq!((home.reclaim_pool(), home.reclaim_pool()), (UNIT, 0));
}

#[test]
fn what_the_heap_hosts_lies_side_by_side_to_the_end_of_a_run() {
    let home = Home::new(TestPages::new().demanding_commits());
    let mut committed = 0;
    let mut host = |bytes: usize| {
        let place = home.host(bytes).expect("room");
        // SAFETY: the room is the test's.
        unsafe { place.write_bytes(1, bytes) };
        // It is charged page by page, as overhead of its segment.
        assert!(home.account.committed() - committed < align_up(bytes, home.source.page_size()) + (64 << 10));
        committed = home.account.committed();
        place.addr().get()
    };
    let first = host(1);
    assert_eq!([host(64), host(65)], [first + 64, first + 128]);
    assert_eq!(host(UNIT - 256), first + 256);
    // The run is full.
    let next = host(64);
    assert!(next >= first + UNIT && next % UNIT == 0);
    let long = host(3 * UNIT);
    assert!(long % (4 * UNIT) == 0 && !(next..next + UNIT).contains(&long));
    assert_eq!(host(UNIT), long + 3 * UNIT);
    let (segment, unit, _) = home.take(Run::One);
    let slab = segment.segment().addr() + unit * UNIT;
    assert!([first, next, long, long + UNIT, long + 2 * UNIT, long + 3 * UNIT].iter().all(|&run| slab != run));
    assert_eq!(home.account.committed(), segment.overhead() + SLAB_OVERHEAD);
    assert!(home.account.committed() > 5 * UNIT, "as much as is hosted");
    assert_eq!((home.host(17 * UNIT), home.source.outstanding_ranges()), (Err(Refusal::Size), 1));
}

#[test]
fn room_for_the_heap_that_is_refused_is_asked_for_again() {
    let home = Home::new(TestPages::new().demanding_commits());
    if home.source.page_size() >= UNIT {
        // The first page is the whole run there.
        return;
    }
    let place = home.host(64).unwrap();
    let committed = home.account.committed();
    home.source.refuse_after(0);
    assert_eq!(home.host(UNIT / 2), Err(Refusal::Source));
    home.source.refuse_nothing();
    assert_eq!(home.account.committed(), committed);
    assert_eq!(home.host(UNIT / 2).unwrap().addr().get(), place.addr().get() + 64);
}

#[test]
fn a_run_of_half_a_segment_and_more_is_refused_without_a_call() {
    let home = Home::over(TestPages::over(RegionPages::new(Box::leak(Box::new_uninit_slice(8 << 20)))));
    const { assert!(16 * UNIT >= MIN_SEGMENT_SIZE) };
    let refused = home.pool.lock().host(&home.supply(None), 5 * UNIT);
    assert_eq!((refused, home.source.calls()), (Err(Refusal::Size), 0));
    assert!(home.pool.lock().host(&home.supply(None), 3 * UNIT).is_ok());
}

#[test]
fn tables_that_leave_no_room_for_a_slab_are_refused() {
    let home = Home::new(TestPages::new());
    let pool = Locked::<NoLock, _>::new(SlabPool::new());
    for core in [SEGMENT / 2, SEGMENT] {
        let segment = pool.lock().add_segment(&home.supply(None), Reserved { core, nursery: false });
        assert_eq!(segment.err(), (core == SEGMENT).then_some(Refusal::Source));
    }
    let (touched, ..) = SlabSegment::table_bytes(SEGMENT, Reserved { core: SEGMENT / 2, nursery: false });
    assert_eq!(home.source.outstanding_ranges(), 1);
    assert!(home.account.committed() - touched < 4096);
}

#[test]
fn a_reset_takes_all_slabs_back_and_keeps_what_is_hosted() {
    let home = Home::new(TestPages::new());
    let place = home.host(100).unwrap();
    let taken = home.fill(Run::Four, 2);
    let overhead = taken[0].0.overhead() + taken[taken.len() - 1].0.overhead();
    home.pool.lock().reset(&home.supply(None));
    assert_eq!((home.account.committed(), home.source.outstanding_ranges()), (overhead, 2));
    assert_eq!(home.fill(Run::Four, 3).len(), 2 * (taken.len() - 1) + 1);
    assert_eq!(home.host(64).unwrap().addr().get(), place.addr().get() + 128);
}
