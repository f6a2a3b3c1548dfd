//! Slab roots: how bump ranges grow, and where blocks are that came back.

#![expect(unsafe_code, reason = "writes to raw blocks")]

use core::array;
use std::vec;
use std::vec::Vec;

use super::Home;
use crate::os::PageSource;
use crate::os::testing::{Call, TestPages};
use crate::primitives::abort::last_words;
use crate::primitives::address::align_up;
use crate::primitives::sanitizer;
use crate::segment::{Geometry, UNIT, Usage};
use crate::slab::depot::{Block, Magazine};
use crate::slab::locate::FREED_TWICE;
use crate::slab::range::BumpRange;
use crate::slab::root::{Refill, RootCounts, SlabContext, SlabRoot};
use crate::slab::segment::{SlabSegment, usage};
use crate::slab::size_class::SizeClass;
use crate::slab::slab::BUMPING;
use crate::slab::tables::{Reserved, SLAB_OVERHEAD};

/// Half of the largest small block: whole pages where these are small.
const LARGE: usize = <TestPages>::SMALL_MAX / 2;

/// A root, and what it works with.
struct Rooted {
    home: Home,
    class: SizeClass,
    root: SlabRoot,
}

impl Rooted {
    fn new(size: usize) -> Self {
        let home = Home::new(TestPages::new().demanding_commits());
        Self { home, class: SizeClass::of(size), root: SlabRoot::new() }
    }

    fn refill(&mut self, bump_end: Option<usize>) -> Refill {
        let context = SlabContext { supply: self.home.supply(None), pool: &self.home.pool };
        self.root.refill(&context, self.class, 64, bump_end).expect("blocks")
    }

    /// What the account, the root and the source count: bytes committed, and segments.
    fn sums(&self) -> [usize; 4] {
        let Home { account, source, .. } = &self.home;
        [account.committed(), self.root.counts().committed, source.committed_bytes(), source.calls_of(Call::Map)]
    }

    /// A range, whose bytes are charged, and of which no more is committed than that.
    fn range(&mut self, bump_end: Option<usize>) -> BumpRange {
        let before = self.sums();
        let refill = self.refill(bump_end);
        let after = self.sums();
        let [charged, grown, committed, mapped] = array::from_fn(|index| after[index] - before[index]);
        let page = self.home.source.page_size();
        if page <= UNIT {
            let tables =
                mapped * align_up(SlabSegment::table_bytes(<TestPages>::SEGMENT_SIZE, Reserved::NOTHING).1, page);
            assert!(committed <= grown + tables, "{committed} committed for {grown} and {tables}");
        }
        if mapped == 0 {
            assert!([0, SLAB_OVERHEAD].contains(&(charged - grown)), "{charged} charged for {grown}");
        }
        match refill {
            Refill::Range(range) => {
                sanitizer::surrender(range.start, range.len);
                // SAFETY: the range is the test's.
                unsafe { range.start.write_bytes(1, range.len) };
                range
            }
            Refill::Magazine(magazine) => panic!("{magazine:?}"),
        }
    }

    fn magazine(&mut self) -> Magazine {
        match self.refill(None) {
            Refill::Magazine(magazine) => magazine,
            Refill::Range(range) => panic!("{range:?}"),
        }
    }

    fn return_range(&mut self, start: usize, end: usize) {
        let context = SlabContext { supply: self.home.supply(None), pool: &self.home.pool };
        self.root.return_range(&context, start, end);
    }

    /// The range's blocks come back one by one.
    fn return_blocks_of(&mut self, range: &BumpRange) {
        let mut magazine = Magazine::empty();
        for offset in (0..range.len).step_by(self.class.size()) {
            // SAFETY: the block lies in the range.
            let block = unsafe { range.start.add(offset) };
            // SAFETY: it was handed out, and comes back once.
            magazine.push(unsafe { Block::new(block) });
        }
        let context = SlabContext { supply: self.home.supply(None), pool: &self.home.pool };
        self.root.return_blocks(&context, self.class, magazine);
    }

    fn discard(&mut self) -> usize {
        let context = SlabContext { supply: self.home.supply(None), pool: &self.home.pool };
        self.root.discard(&context)
    }

    fn check(&self) {
        assert_eq!(self.root.validate::<TestPages>(self.class), Ok(()));
    }
}

fn end_of(range: &BumpRange) -> usize {
    range.start.addr().get() + range.len
}

#[test]
fn a_range_is_as_long_as_those_before_it_until_its_slab_ends() {
    for limited in [false, true] {
        let mut rooted = Rooted::new(1 << 10);
        let slab_len = rooted.class.slab_len(<TestPages>::LARGEST_SLAB);
        let page = rooted.home.source.page_size();
        let least = if limited { page } else { page.max(UNIT) };
        rooted.home.account.set_limit(if limited { 1 << 30 } else { usize::MAX });
        let mut end = None;
        let mut lens: Vec<usize> = Vec::new();
        for slab in 0..3 {
            let (mut cut, mut next) = (0, if slab == 0 || limited { least } else { (slab_len / 2).max(least) });
            while cut < slab_len {
                let range = rooted.range(end);
                assert_eq!(range.len, next, "slab {slab}, after {lens:?}");
                assert!(cut == 0 || end == Some(range.start.addr().get()));
                lens.push(range.len);
                cut += range.len;
                next = cut.max(if limited { 0 } else { next }).min(slab_len - cut);
                end = Some(end_of(&range));
            }
            let counts = rooted.root.counts();
            assert_eq!((counts.out, counts.committed), ((slab + 1) * slab_len / 1024, (slab + 1) * slab_len));
            rooted.check();
        }
    }
}

#[test]
fn a_segment_is_used_as_far_as_its_slabs_are() {
    for size in [64, LARGE] {
        let mut rooted = Rooted::new(size);
        let mut ranges = vec![rooted.range(None)];
        while rooted.root.counts().committed < rooted.class.slab_len(<TestPages>::LARGEST_SLAB) {
            let end = ranges.last().map(end_of);
            ranges.push(rooted.range(end));
        }
        rooted.return_blocks_of(&BumpRange { len: size, ..ranges[0] });
        let mut sum = Usage::default();
        rooted.home.records.for_each(|segment| {
            let Usage { committed, in_use } = usage(segment);
            (sum.committed, sum.in_use) = (sum.committed + committed, sum.in_use + in_use);
        });
        assert_eq!(sum.committed, rooted.home.account.committed());
        assert_eq!(sum.in_use, ranges.iter().map(|range| range.len).sum::<usize>() - size);
    }
}

#[test]
fn a_range_of_large_blocks_has_one_at_least() {
    let size = LARGE / 4 * 5;
    let mut rooted = Rooted::new(size);
    let mut end = None;
    for count in 0..3 {
        let range = rooted.range(end);
        assert!(
            count > 0 || rooted.root.counts().committed == align_up(size.max(UNIT), rooted.home.source.page_size())
        );
        assert!(range.len >= size && range.len % size == 0, "{}", range.len);
        assert!(end.is_none_or(|end| range.start.addr().get() == end));
        end = Some(end_of(&range));
    }
    rooted.check();
}

#[test]
fn what_is_left_of_a_slab_is_cut_before_another_is_made() {
    let mut rooted = Rooted::new(1 << 10);
    let slab_len = rooted.class.slab_len(<TestPages>::LARGEST_SLAB);
    if rooted.home.source.page_size() >= slab_len {
        // The first range is the whole slab there.
        return;
    }
    let first = rooted.range(None);
    // The first half of the range was handed out; the rest comes back, and nobody cuts the slab any more.
    let end = end_of(&first);
    rooted.return_range(end - first.len / 2, end);
    rooted.check();
    let mut back = 0;
    while back < first.len / 2048 {
        let magazine = rooted.magazine();
        assert!((1..=64).contains(&magazine.len()));
        back += magazine.len();
    }
    assert_eq!(rooted.range(None).start.addr().get(), end);
    // Now somebody cuts it, and another cache gets another slab.
    let other = rooted.range(None).start.addr().get();
    assert_ne!(other / slab_len, end / slab_len);
    rooted.check();
}

#[test]
fn memory_that_was_used_is_not_known_to_be_zero() {
    let mut rooted = Rooted::new(64);
    let mut ranges = vec![rooted.range(None)];
    while ranges.iter().map(|range| range.len).sum::<usize>() < UNIT {
        let end = ranges.last().map(end_of);
        ranges.push(rooted.range(end));
    }
    for range in &ranges {
        rooted.return_range(range.start.addr().get(), end_of(range));
    }
    let context = SlabContext { supply: rooted.home.supply(None), pool: &rooted.home.pool };
    rooted.root.flush(&context, rooted.class);
    (rooted.class, rooted.root) = (SizeClass::of(128), SlabRoot::new());
    let mut end = None;
    for range in &ranges {
        let again = rooted.range(end);
        assert_eq!((again.start, again.len), (range.start, range.len));
        assert!(!again.zeroed);
        end = Some(end_of(&again));
    }
}

#[test]
fn a_magazine_is_gathered_from_several_slabs() {
    let mut rooted = Rooted::new(256);
    let ranges = [(); 2].map(|()| rooted.range(None));
    for range in &ranges {
        rooted.return_range(end_of(range) - range.len / 4 * 3, end_of(range));
    }
    let free = ranges.iter().map(|range| range.len / 4 * 3 / 256).sum::<usize>();
    let most = free - 2;
    let context = SlabContext { supply: rooted.home.supply(None), pool: &rooted.home.pool };
    for expected in [most, 2] {
        match rooted.root.refill(&context, rooted.class, most, None) {
            Ok(Refill::Magazine(magazine)) => assert_eq!(magazine.len(), expected),
            other => panic!("{other:?}"),
        }
        rooted.check();
    }
}

#[test]
fn one_empty_slab_is_kept_until_it_is_used() {
    let mut rooted = Rooted::new(1024);
    let ranges = [(); 2].map(|()| rooted.range(None));
    let committed = rooted.root.counts().committed;
    for (range, kept) in ranges.iter().zip([committed, committed / 2]) {
        rooted.return_range(range.start.addr().get(), end_of(range));
        assert_eq!(rooted.root.counts().committed, kept);
        rooted.check();
    }
    let magazine = rooted.magazine();
    rooted.check();
    let context = SlabContext { supply: rooted.home.supply(None), pool: &rooted.home.pool };
    rooted.root.return_blocks(&context, rooted.class, magazine);
    assert_eq!((rooted.root.counts().out, rooted.root.counts().committed), (0, committed / 2));
    rooted.root.flush(&context, rooted.class);
    assert_eq!(rooted.root.counts().committed, 0);
    rooted.check();
}

#[test]
fn a_slab_with_free_blocks_stands_before_those_without() {
    let mut rooted = Rooted::new(64);
    if rooted.home.source.page_size() >= UNIT {
        // The first range is the whole slab there.
        return;
    }
    let ranges = [(); 3].map(|()| rooted.range(None));
    // Nobody cuts them any more, and all that was cut is out.
    ranges.iter().for_each(|range| rooted.return_range(end_of(range), end_of(range)));
    rooted.check();
    for (range, blocks) in ranges.iter().rev().zip([1, 2, 3]) {
        rooted.return_blocks_of(&BumpRange { len: blocks * 64, ..*range });
        rooted.check();
    }
    assert_eq!(rooted.magazine().len(), 6);
    rooted.check();
}

#[test]
fn pages_of_free_blocks_are_discarded_once_and_committed_again() {
    let mut rooted = Rooted::new(LARGE);
    let mut ranges = vec![rooted.range(None)];
    while ranges.len() < 4 {
        let end = ranges.last().map(end_of);
        ranges.push(rooted.range(end));
    }
    let committed = rooted.home.source.committed_bytes();
    rooted.return_blocks_of(&ranges[1]);
    rooted.return_blocks_of(&ranges[3]);
    let free = ranges[1].len + ranges[3].len;
    rooted.home.source.refuse_call_once_after(Call::Discard, 0);
    let first = rooted.discard();
    assert!(first == ranges[1].len || first == ranges[3].len);
    // A slab that was refused in part is tried again as a whole; where pages are long, the two are in two slabs.
    assert!([free, free - first].contains(&rooted.discard()));
    assert_eq!(rooted.home.source.committed_bytes(), committed - free);
    assert_eq!(rooted.discard(), 0);
    let mut magazine = rooted.magazine();
    assert_eq!(magazine.len() * LARGE, free);
    while let Some(block) = magazine.pop() {
        let block = block.into_raw();
        sanitizer::surrender(block, LARGE);
        // SAFETY: the block is the test's.
        unsafe { block.write_bytes(2, LARGE) };
    }
    assert_eq!(rooted.home.source.committed_bytes(), committed);
    rooted.check();
}

#[test]
fn a_reset_forgets_all_but_how_far_ranges_have_grown() {
    let mut rooted = Rooted::new(1 << 10);
    let slab_len = rooted.class.slab_len(<TestPages>::LARGEST_SLAB);
    let mut end = None;
    let mut len = 0;
    while len < slab_len {
        let range = rooted.range(end);
        len += range.len;
        end = Some(end_of(&range));
    }
    rooted.home.pool.lock().reset(&rooted.home.supply(None));
    rooted.root.reset();
    assert_eq!(rooted.root.counts(), RootCounts::default());
    assert_eq!(rooted.range(None).len, (slab_len / 2).max(rooted.home.source.page_size()));
    rooted.check();
}

#[test]
fn damage_is_told_by_the_deep_check() {
    let mut rooted = Rooted::new(64);
    let range = rooted.range(None);
    rooted.return_range(range.start.addr().get(), end_of(&range));
    let said = |class| std::format!("{:?}", rooted.root.validate::<TestPages>(class));
    assert!(said(SizeClass::of(128)).contains("another class"));
    let spare = rooted.root.partial.first().expect("an empty slab");
    // SAFETY: a slab in the list is alive.
    unsafe { spare.as_ref() }.set(BUMPING, true);
    assert!(said(rooted.class).contains("the spare slab is in use"));
}

#[test]
fn the_blocks_that_come_back_are_those_that_are_free() {
    // What stands last goes first: a gap, neighbours up and down, both at once, and some of each.
    for order in [&[2, 0][..], &[0, 2], &[3, 2, 1, 0], &[0, 1, 2, 3], &[4, 6, 5], &[1, 0, 5, 7, 6, 3]] {
        let mut rooted = Rooted::new(64);
        let range = rooted.range(None);
        let blocks: Vec<_> = order
            .iter()
            // SAFETY: the range is longer.
            .map(|&index| unsafe { range.start.add(index * 64) })
            .collect();
        let mut magazine = Magazine::empty();
        // SAFETY: the blocks are free, and in no list.
        blocks.iter().for_each(|&block| magazine.push(unsafe { Block::new(block) }));
        let context = SlabContext { supply: rooted.home.supply(None), pool: &rooted.home.pool };
        rooted.root.return_blocks(&context, rooted.class, magazine);
        let mut free = rooted.magazine();
        let mut found: Vec<usize> = core::iter::from_fn(|| free.pop().map(|block| block.addr())).collect();
        let mut expected: Vec<usize> = blocks.iter().map(|block| block.addr().get()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{order:?}");
    }
}

#[test]
fn a_block_that_came_back_twice_is_named() {
    let errors = last_words("slab::tests::root::a_block_that_came_back_twice_is_named", || {
        let mut rooted = Rooted::new(64);
        let range = rooted.range(None);
        std::eprintln!("block {:#x}", range.start.addr().get() + 5 * 64);
        // What was pushed last goes first: block 5, and then, as in its run, blocks 4 and 5.
        let blocks = [5, 4, 5].map(|index| {
            // SAFETY: the range is longer.
            unsafe { range.start.add(index * 64) }
        });
        let mut magazine = Magazine::empty();
        // SAFETY: that one of them comes back twice is what the test is about.
        blocks.into_iter().for_each(|block| magazine.push(unsafe { Block::new(block) }));
        let context = SlabContext { supply: rooted.home.supply(None), pool: &rooted.home.pool };
        rooted.root.return_blocks(&context, rooted.class, magazine);
    });
    let said = errors.split_once("block ").and_then(|(_, rest)| rest.split_whitespace().next());
    assert!(
        said.is_some_and(|block| errors.contains(&std::format!("mallocstate: {FREED_TWICE}: {block}\n"))),
        "{errors}"
    );
}
