//! A nursery's mechanism: what it cuts, takes back, and gives up.

#![expect(unsafe_code, reason = "writes to raw blocks")]

mod pool;
mod root;

use core::cell::Cell;
use std::vec::Vec;

use crate::os::lock::Locked;
use crate::os::raw_locks::NoLock;
use crate::os::testing::{Call, TestPages};
use crate::os::{PageSource, SystemPages};
use crate::primitives::sanitizer;
use crate::segment::{Account, OwnerId, Records, Supply, SupplyOptions, UNIT};
use crate::slab::nursery::{NEAR_BYTES, Nursery};
use crate::slab::pool::SlabPool;
use crate::slab::root::SlabContext;
use crate::slab::segment::SlabSegment;
use crate::slab::size_class::SizeClass;
use crate::slab::tables::Reserved;
use crate::slab::tag::NURSERY_CLASSES;

/// What a nursery needs, and the sums that it changes.
struct Home<S = SystemPages> {
    source: TestPages<S>,
    account: Account,
    records: Records<NoLock>,
    pool: Locked<NoLock, SlabPool>,
    owner: OwnerId,
}

/// Bytes of a nursery here.
const NURSERY: usize = Nursery::bytes_in(<TestPages>::SEGMENT_SIZE);

/// A block that is out: where it starts, and its class.
type Young = (usize, SizeClass);

impl<S: PageSource> Home<S> {
    fn over(source: TestPages<S>) -> Self {
        Self {
            source,
            account: Account::new(usize::MAX),
            records: Records::new(),
            pool: Locked::new(SlabPool::new()),
            owner: OwnerId::next(),
        }
    }

    fn supply<'a>(&'a self, reclaimed: Option<&'a Cell<usize>>) -> Supply<'a, TestPages<S>, NoLock> {
        Supply {
            source: &self.source,
            account: &self.account,
            records: &self.records,
            owner: self.owner,
            options: SupplyOptions::DEFAULT,
            beyond_limit: false,
            reclaimed,
        }
    }
}

impl Home {
    fn new(source: TestPages) -> Self {
        Self::over(source)
    }

    fn segment(&self) -> SlabSegment {
        let heap = Reserved { core: 1000, nursery: true };
        self.pool.lock().add_segment(&self.supply(None), heap).expect("a segment")
    }

    /// The class's next block.
    fn cut(&self, segment: SlabSegment, class: SizeClass) -> Option<Young> {
        let nursery = nursery(segment);
        if !nursery.open_for(&self.supply(None), class) {
            return None;
        }
        let block = nursery.cut(class).expect("as much as was opened");
        sanitizer::unpoison(block, class.size());
        Some((block.addr().get() - segment.segment().addr(), class))
    }

    /// A block of each class, again and again, until half of the nursery is out.
    fn cut_half(&self, segment: SlabSegment) -> Vec<Young> {
        let mut out = Vec::new();
        while nursery(segment).usage().in_use < NURSERY / 2 {
            out.extend(self.cut_each(segment));
        }
        out
    }

    /// A block of each class.
    fn cut_each(&self, segment: SlabSegment) -> Vec<Young> {
        classes().filter_map(|class| self.cut(segment, class)).collect()
    }

    /// Settles while memory is reclaimed; the answer is in bytes.
    fn reclaim(&self, segment: SlabSegment) -> usize {
        let reclaimed = Cell::new(0);
        nursery(segment).settle(&SlabContext { supply: self.supply(Some(&reclaimed)), pool: &self.pool });
        reclaimed.get()
    }

    /// Checks a nursery against what is out of it.
    fn check(&self, segment: SlabSegment, out: &[Young]) {
        let nursery = nursery(segment);
        assert_eq!(nursery.validate(), Ok(()));
        let mut counts = [0_usize; NURSERY_CLASSES];
        nursery.for_each_out(|class| counts[class.index()] += 1);
        for &(_, class) in out {
            counts[class.index()] -= 1;
        }
        assert!(counts.iter().all(|&count| count == 0));
        assert_eq!(nursery.usage().in_use, out.iter().map(|(_, class)| class.size()).sum::<usize>());
        assert_eq!(self.account.committed(), segment.overhead() + nursery.committed());
    }
}

fn nursery<'a>(segment: SlabSegment) -> &'a Nursery {
    segment.nursery().expect("a nursery")
}

fn give_back(segment: SlabSegment, (start, class): Young) -> bool {
    assert_eq!(nursery(segment).block_at(start), Some(class));
    let taken = nursery(segment).take_back(start);
    if taken {
        nursery(segment).count_returned(class.size());
    }
    taken
}

fn classes() -> impl Iterator<Item = SizeClass> {
    (1..NURSERY_CLASSES).map(SizeClass::from_index)
}

#[test]
fn blocks_lie_side_by_side_as_their_classes_are_aligned() {
    let home = Home::new(TestPages::new().demanding_commits());
    let segment = home.segment();
    let out: Vec<Young> =
        classes().take(30).flat_map(|class| [class; 3]).filter_map(|class| home.cut(segment, class)).collect();
    let mut end = 0;
    for &(start, class) in &out {
        assert!(start >= end && start % (1 << class.size().trailing_zeros()) == 0);
        for offset in (1..class.size()).chain([class.size() + 1]) {
            let inside = nursery(segment).block_at(start + offset);
            assert!(inside.is_none() || start + offset >= start + class.size(), "{start} {offset}");
        }
        end = start + class.size();
    }
    assert!(nursery(segment).block_at(end).is_none(), "this was not cut");
    home.check(segment, &out);
}

#[test]
fn it_serves_what_a_page_may_hold() {
    let home = Home::new(TestPages::new());
    let segment = home.segment();
    for size in [16, 4096] {
        assert!(home.cut(segment, SizeClass::of(size)).is_some());
    }
    for size in [0, 4097, 32 << 10] {
        assert!(home.cut(segment, SizeClass::of(size)).is_none());
        assert!(nursery(segment).cut(SizeClass::of(size)).is_none());
    }
}

#[test]
fn it_charges_what_it_opens_and_stops_at_its_end() {
    let home = Home::new(TestPages::new().demanding_commits());
    let segment = home.segment();
    let (before, page) = (home.account.committed(), home.source.page_size());
    let mut out: Vec<Young> = home.cut(segment, SizeClass::of(16)).into_iter().collect();
    assert!(home.account.committed() - before <= page);
    loop {
        let more = home.cut_each(segment);
        if more.is_empty() {
            break;
        }
        out.extend(more);
    }
    assert_eq!(home.account.committed() - before, NEAR_BYTES + NURSERY);
    home.check(segment, &out);
}

#[test]
fn what_is_not_open_is_not_cut_and_what_is_open_is_not_opened_again() {
    let home = Home::new(TestPages::new().demanding_commits());
    let segment = home.segment();
    let (nursery, small, large) = (nursery(segment), SizeClass::of(16), SizeClass::of(4096));
    assert!(nursery.cut(small).is_none() && nursery.cut(large).is_none());
    assert!(nursery.open_for(&home.supply(None), small));
    let committed = home.account.committed();
    assert!(nursery.open_for(&home.supply(None), small));
    assert_eq!(home.account.committed(), committed);
    assert!(nursery.cut(small).is_some());
    // What is open ends with a page: there is no room for a whole one behind the first blocks, where pages are small.
    assert!(home.source.page_size() > 4096 || nursery.cut(large).is_none());
    assert!(nursery.open_for(&home.supply(None), large) && nursery.cut(large).is_some());
}

#[test]
fn a_heap_with_a_limit_opens_nothing_more() {
    let home = Home::new(TestPages::new());
    let segment = home.segment();
    home.account.set_limit(1 << 30);
    assert!(home.cut(segment, SizeClass::of(16)).is_none());
    home.account.set_limit(usize::MAX);
    assert!(home.cut(segment, SizeClass::of(16)).is_some());
}

#[test]
fn a_commit_that_is_refused_leaves_it_as_it_was() {
    let home = Home::new(TestPages::new().demanding_commits());
    let segment = home.segment();
    home.source.refuse_after(0);
    assert!(home.cut(segment, SizeClass::of(16)).is_none());
    home.check(segment, &[]);
    home.source.refuse_nothing();
    let block = home.cut(segment, SizeClass::of(16)).expect("a block");
    home.check(segment, &[block]);
}

#[test]
fn what_came_back_is_taken_once_and_makes_a_new_nursery_when_all_did() {
    let home = Home::new(TestPages::new().demanding_commits());
    let segment = home.segment();
    let mut first_round = None;
    for _ in 0..3 {
        let mut out: Vec<Young> = home.cut_half(segment);
        assert_eq!(*first_round.get_or_insert_with(|| out.clone()), out, "as new");
        while let Some(block) = out.pop() {
            assert!(give_back(segment, block));
            assert!(!give_back(segment, block));
            home.check(segment, &out);
        }
        nursery(segment).settle(&SlabContext { supply: home.supply(None), pool: &home.pool });
        assert_eq!(home.account.committed(), segment.overhead());
    }
    // Where a page is longer, the nursery may have no whole one.
    assert!(home.reclaim(segment) > NURSERY / 4 || home.source.page_size() > NURSERY / 4);
    assert_eq!(home.reclaim(segment), 0);
}

#[test]
fn whole_pages_of_free_blocks_are_discarded_and_used_again() {
    let home = Home::new(TestPages::new().demanding_commits());
    let segment = home.segment();
    let mut out: Vec<Young> = home.cut_half(segment);
    let fill = |&(start, class): &Young| {
        // SAFETY: the block is out.
        let block = unsafe { segment.segment().at(start) };
        // SAFETY: it has this many bytes.
        unsafe { block.write_bytes(7, class.size()) };
    };
    out.iter().for_each(fill);
    let (first, last) = (out.remove(0), out.pop().expect("blocks"));
    let far = out.iter().find(|block| block.0 > first.0 + NEAR_BYTES).expect("blocks of the far part").0;
    out.drain(..).for_each(|block| assert!(give_back(segment, block)));
    let (reclaimed, page) = (home.reclaim(segment), home.source.page_size());
    assert!(reclaimed % page == 0 && reclaimed + 3 * page > last.0 - far, "{reclaimed}");
    assert_eq!(home.reclaim(segment), 0);
    home.check(segment, &[first, last]);
    [first, last].iter().for_each(fill);
    for block in [first, last] {
        assert!(give_back(segment, block));
    }
    home.reclaim(segment);
    let again: Vec<Young> = home.cut_half(segment);
    again.iter().for_each(fill);
    home.check(segment, &again);
}

#[test]
fn pages_that_the_source_refuses_to_discard_are_discarded_later() {
    let home = Home::new(TestPages::new());
    let segment = home.segment();
    let mut out: Vec<Young> = home.cut_half(segment);
    segment.segment().touch(out[out.len() - 1].0 + 4096);
    // Two runs of free blocks of the far part: each is refused once.
    let far = out[out.partition_point(|&(start, _)| start < out[0].0 + NEAR_BYTES)].0;
    let middle = out.partition_point(|&(start, _)| start < far + NURSERY / 4);
    let kept = [out.remove(middle), out.remove(0)];
    out.drain(..).for_each(|block| assert!(give_back(segment, block)));
    for refused in [1, 0] {
        home.source.refuse_call_once_after(Call::Discard, refused);
        home.reclaim(segment);
    }
    assert!(home.reclaim(segment) > 0 || home.source.page_size() > NURSERY / 4);
    assert_eq!(home.reclaim(segment), 0);
    home.check(segment, &kept);
}

#[test]
fn what_is_open_doubles() {
    let home = Home::new(TestPages::new());
    let segment = home.segment();
    let mut opened = Vec::new();
    while home.cut(segment, SizeClass::of(16)).is_some() {
        let committed = nursery(segment).committed();
        if opened.last() != Some(&committed) {
            opened.push(committed);
        }
    }
    assert_eq!((opened[0], opened[opened.len() - 1]), (NEAR_BYTES, NEAR_BYTES + NURSERY));
    // The far part ends its first step with a page.
    let (page, far) = (home.source.page_size(), |opened: &usize| opened - NEAR_BYTES);
    assert!(far(&opened[1]) <= page.min(NURSERY));
    for pair in opened[1..].windows(2) {
        let (before, after) = (far(&pair[0]), far(&pair[1]));
        assert!(after == NURSERY || (2 * before..2 * before + page).contains(&after), "{opened:?}");
    }
}

#[test]
fn counts_that_disagree_are_told() {
    let home = Home::new(TestPages::new());
    let segment = home.segment();
    let (start, _) = home.cut(segment, SizeClass::of(16)).expect("a block");
    assert!(nursery(segment).take_back(start));
    nursery(segment).count_returned(32);
    assert!(nursery(segment).validate().is_err());
}

#[test]
fn a_short_segment_has_a_small_one_and_room_for_slabs() {
    assert_eq!(Nursery::bytes_in(256 << 10), 16 << 10);
    assert_eq!(Nursery::bytes_in(4 << 20), 256 << 10);
    let (charge, tables, header) = SlabSegment::table_bytes(4 * UNIT, Reserved { core: 5000, nursery: true });
    assert!(charge < tables && tables < header && header <= UNIT);
}
