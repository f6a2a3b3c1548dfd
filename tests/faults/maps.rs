//! A process that has used up its maps: Linux allows 65 530 of them unless told otherwise, and where there are no more,
//! nothing can be mapped, and nothing given back from between two neighbours, since that would make two maps of one.
//!
//! Each test runs in a process of its own.

#![expect(unsafe_code, reason = "calls the system")]

use std::fs::read_to_string;
use std::ptr::{self, NonNull};

use mallocstate::os::{HugeAdvice, MapRequest, Release};
use mallocstate::{MallocState, Mode, PageSource, SystemPages};

use crate::child::in_child;
use crate::on_system::{Mapped, OnSystem, is_watched};

/// More maps than a test uses up: they take time, and memory of the system.
const MOST_MAPS: usize = 300_000;

/// How many maps a process may have; `None`, with a word about it, where they cannot be used up.
fn most_maps() -> Option<usize> {
    if is_watched() {
        println!("not tried: the emulator or memory tool needs maps of its own");
        return None;
    }
    let most = read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
    let tried = most.filter(|&most| most <= MOST_MAPS);
    if tried.is_none() {
        println!("not tried: a process may have {most:?} maps");
    }
    tried
}

/// Pages of which every second one can be told apart, which makes each of them a map.
struct Comb {
    start: NonNull<u8>,
    page: usize,
    pages: usize,
    /// Pages that are maps of their own.
    teeth: usize,
}

impl Comb {
    /// A comb without teeth, for so many maps.
    fn new(most: usize) -> Self {
        // SAFETY: asks for a constant of the system.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let (pages, flags) = (2 * most, libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE);
        // SAFETY: without `MAP_FIXED` no memory that is in use is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), pages * page, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: NonNull::new(start.cast()).unwrap(), page, pages, teeth: 0 }
    }

    /// Makes a page a map of its own, or part of its neighbours'; whether the system could.
    fn set(&self, page: usize, apart: bool) -> bool {
        let access = if apart { libc::PROT_READ } else { libc::PROT_NONE };
        // SAFETY: the page is within the comb.
        let start = unsafe { self.start.add(page * self.page) };
        // SAFETY: nobody uses the comb's pages.
        unsafe { libc::mprotect(start.as_ptr().cast(), self.page, access) == 0 }
    }

    /// Uses up all maps but `spare`.
    fn use_up(&mut self, spare: usize) {
        // A tooth takes two maps, the one at the very end takes one.
        while self.set(2 * self.teeth + 1, true) {
            self.teeth += 1;
        }
        let is_full = self.set(self.pages - 1, true);
        for _ in 0..self.teeth.min((spare + usize::from(!is_full)) / 2) {
            self.teeth -= 1;
            assert!(self.set(2 * self.teeth + 1, false));
        }
        if (spare + usize::from(!is_full)) % 2 == 1 {
            self.set(self.pages - 1, !is_full);
        }
    }

    /// What the process has mapped beside the comb.
    fn others(&self) -> Mapped {
        let start = self.start.addr().get();
        Mapped::beside(start..start + self.pages * self.page)
    }

    /// Gives back more maps than heaps need here.
    fn relax(&mut self) {
        for _ in 0..self.teeth.min(500) {
            self.teeth -= 1;
            assert!(self.set(2 * self.teeth + 1, false));
        }
    }
}

/// Heaps side by side live through a time without maps, and some end in it.
fn live_through<M: Mode>(make: fn() -> MallocState<M>, comb: &mut Comb, spare: usize) {
    let tenant = || OnSystem::new(make());
    let mut tenants: [_; 4] = std::array::from_fn(|_| Some(tenant()));
    for _ in 0..2 {
        OnSystem::fill_all(tenants.iter_mut().flatten());
    }
    let mut late = tenant();
    comb.use_up(spare);
    for tenant in tenants.iter_mut().flatten() {
        comb.use_up(spare);
        tenant.thin_out();
        tenant.check();
        tenant.grow_all();
        tenant.fill();
        tenant.heap.reclaim();
        tenant.check();
    }
    comb.use_up(spare);
    late.fill();
    late.check();
    for ending in [1, 2] {
        let OnSystem { heap, .. } = tenants[ending].take().unwrap();
        let live = heap.stats();
        comb.use_up(spare);
        let teardown = heap.destroy();
        assert_eq!((teardown.live_blocks(), teardown.live()), (live.live_blocks, live.live));
        assert_eq!(teardown.refused(), 0, "spare {spare}");
    }
    SystemPages::trim();
    comb.relax();
    tenants.into_iter().flatten().chain([late]).for_each(OnSystem::end);
    SystemPages::trim();
    assert_eq!(SystemPages::cached_bytes(), 0);
}

/// Nothing of what a process without maps has done is left.
fn without_maps<M: Mode>(name: &str, make: fn() -> MallocState<M>) {
    in_child(name, || {
        let Some(most) = most_maps() else { return };
        let mut comb = Comb::new(most);
        // What the standard library and the system make once is there before the count.
        live_through(make, &mut comb, most);
        let before = comb.others();
        for (spare, bound) in [(0, 0), (1, 256 << 20), (2, 0), (4, 256 << 20), (7, 0)] {
            SystemPages::set_cache_bounds(bound / 4, bound);
            live_through(make, &mut comb, spare);
            assert_eq!(comb.others(), before, "spare {spare}");
        }
    });
}

#[test]
fn threaded_heaps_without_maps() {
    without_maps("maps::threaded_heaps_without_maps", MallocState::new);
}

#[test]
fn local_heaps_without_maps() {
    without_maps("maps::local_heaps_without_maps", MallocState::local);
}

#[test]
fn global_heaps_without_maps() {
    without_maps("maps::global_heaps_without_maps", MallocState::global);
}

/// Maps that many bytes where the system likes.
fn map(len: usize, access: libc::c_int) -> NonNull<u8> {
    // SAFETY: without `MAP_FIXED` no memory that is in use is touched.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    NonNull::new(start.cast()).unwrap()
}

fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: the tests unmap what they mapped.
    assert_eq!(unsafe { libc::munmap(start.as_ptr().cast(), len) }, 0);
}

/// What is mapped to be trimmed merges with a neighbour, and then cannot be trimmed.
#[test]
fn what_cannot_be_trimmed_goes_back() {
    in_child("maps::what_cannot_be_trimmed_goes_back", || {
        let Some(most) = most_maps() else { return };
        let mut comb = Comb::new(most);
        let (page, segment) = (comb.page, SystemPages::SEGMENT_SIZE);
        let request = MapRequest { len: segment, least: segment, align: segment, offset: 0, huge: HugeAdvice::Against };
        let release = Release { zero_from: 0, huge: HugeAdvice::Against, keep: false };
        // A gap right below memory of the same kind, and no other one as high that is as long.
        let (below, above) = (8 * segment + page, 3 * page);
        let gap = map(below + above, libc::PROT_READ | libc::PROT_WRITE);
        unmap(gap, below);
        let before = comb.others();
        for spare in 0..4 {
            comb.use_up(spare);
            let outcomes = [(); 3].map(|()| SystemPages::new().map(request));
            comb.relax();
            for pages in outcomes.into_iter().flatten() {
                // SAFETY: the range was just handed out, and nobody uses it.
                unsafe { SystemPages::new().unmap(pages.ptr, pages.len, release) }.unwrap();
            }
            SystemPages::trim();
            assert_eq!((SystemPages::cached_bytes(), comb.others()), (0, before), "spare {spare}");
        }
    });
}
