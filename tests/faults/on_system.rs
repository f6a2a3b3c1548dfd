//! Heaps on the system's pages, and what their process has mapped.

use std::fs::{File, read_to_string};
use std::io::{BufRead, BufReader};
use std::ops::Range;

use mallocstate::{MallocState, Mode, PageSource, SystemPages};

use crate::blocks::check_all;
use crate::stamped::{Stamped, free_all};
use crate::support::returned::EXACT;

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

/// Whether an emulator or a memory tool, which maps memory of its own, stands between the test and the system.
pub(crate) fn is_watched() -> bool {
    EXACT || read_to_string("/proc/self/comm").is_ok_and(|name| name.starts_with("qemu"))
}

/// What a process has mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapped {
    maps: usize,
    pub(crate) bytes: usize,
}

impl Mapped {
    /// All but what lies in a range.
    pub(crate) fn beside(range: Range<usize>) -> Self {
        let address = |text: &str| usize::from_str_radix(text, 16).unwrap();
        // Line by line: the whole text could be long enough to become a map of its own.
        let maps = BufReader::new(File::open("/proc/self/maps").unwrap());
        let ranges = maps.lines().map(|line| {
            let line = line.unwrap();
            let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
            address(from)..address(to)
        });
        let others = ranges.filter(|other| other.start < range.start || other.end > range.end);
        others.fold(Self { maps: 0, bytes: 0 }, |Self { maps, bytes }, other| Self {
            maps: maps + 1,
            bytes: bytes + other.len(),
        })
    }
}

/// A heap and its blocks.
pub(crate) struct OnSystem<M: Mode> {
    pub(crate) heap: MallocState<M>,
    blocks: Vec<Stamped>,
}

impl<M: Mode> OnSystem<M> {
    pub(crate) fn new(heap: MallocState<M>) -> Self {
        // What is not refused later must not need memory of its own then.
        Self { heap, blocks: Vec::with_capacity(1000) }
    }

    /// Asks for blocks of all tiers.
    pub(crate) fn fill(&mut self) {
        Self::fill_all([self]);
    }

    /// Asks for blocks of all tiers, in turn, so that the heaps' ranges lie side by side.
    pub(crate) fn fill_all<'a>(tenants: impl IntoIterator<Item = &'a mut Self>) {
        let mut tenants: Vec<_> = tenants.into_iter().collect();
        // Together with the page in front, the last two fill segments, and so become one map with their neighbours.
        let page = SystemPages::new().page_size();
        let sizes =
            [100, 3000, SEGMENT / 10, SEGMENT / 5, SEGMENT / 5, SEGMENT / 2, SEGMENT - page, 2 * SEGMENT - page];
        for (number, size) in sizes.into_iter().enumerate() {
            let align = if number % 3 == 2 { 256 } else { 16 };
            for tenant in &mut tenants {
                tenant.blocks.extend(Stamped::new(&tenant.heap, size, align, number as u64));
            }
        }
    }

    /// Frees every other block.
    pub(crate) fn thin_out(&mut self) {
        for place in (0..self.blocks.len() / 2).rev() {
            self.blocks.swap_remove(2 * place).free(&self.heap);
        }
    }

    pub(crate) fn grow_all(&mut self) {
        for block in &mut self.blocks {
            let size = block.len() + SEGMENT / 3;
            block.resize(&self.heap, size, 16, false);
        }
    }

    pub(crate) fn check(&mut self) {
        self.blocks.iter().for_each(Stamped::check);
        assert_eq!(self.heap.validate_all(), Ok(()));
    }

    /// Nothing is refused any more: the heap works, and gives everything back.
    pub(crate) fn end(mut self) {
        self.check();
        let before = self.blocks.len();
        self.fill();
        assert_eq!(self.blocks.len(), before + 8);
        check_all(&mut self.heap);
        free_all(&self.heap, self.blocks);
        self.heap.reclaim();
        assert_eq!(self.heap.reclaim(), 0);
        assert_eq!(self.heap.destroy().refused(), 0);
    }
}
