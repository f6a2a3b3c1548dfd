//! Random operations on heaps of every mode, over several page sources, against a shadow of what must be true.
//!
//! The sequences are the same in every run; `PROPTEST_RNG_SEED` draws others, `PROPTEST_CASES` more of them. A heap that
//! detects corruption aborts, and a test that aborts says nothing of its sequence: `MALLOCSTATE_TEST_TRACE=1` writes each
//! operation to standard error before it is applied.

#![expect(unsafe_code, reason = "reads and frees raw blocks")]

#[path = "model/draw.rs"]
mod draw;
#[path = "model/observed.rs"]
mod observed;
#[path = "model/operation.rs"]
mod operation;
#[path = "model/run.rs"]
mod run;
#[path = "model/shadow.rs"]
mod shadow;
mod support;

use std::ptr::NonNull;

use mallocstate::os::testing::TestPages;
use mallocstate::{Builder, HugePages, MallocState, Mode, PageSource, RegionPages, ReleasePolicy, SystemPages};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::draw::operation;
use crate::observed::Observed;
use crate::operation::Operation;
use crate::run::Run;
use crate::support::classes::Geometry;
use crate::support::{least_limit, where_global};

/// Every segment that becomes empty leaves the heap at once.
const EAGER: ReleasePolicy = ReleasePolicy { interval: 1, batch: 1 };

/// Runs random sequences that suit the segments of a source.
fn check<S: PageSource>(run: impl Fn(&[Operation])) {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = support::scale_u32(16);
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0x6d61_6c6c_6f63);
    }
    let operations = prop::collection::vec(operation(Geometry::of::<S>()), 1..160);
    let outcome = TestRunner::new(config).run(&operations, |operations| {
        run(&operations);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Runs the operations on a heap with options.
fn run_built<M: Mode, S: Observed + Copy>(builder: Builder<'_, M, S>, operations: &[Operation]) {
    Run::new(builder.build().expect("possible options")).run(operations);
}

/// Runs `work` with a source over a region of this many bytes, which has no heap left at the end, and looks whether
/// anything was written beside it.
fn with_region(len: usize, work: impl FnOnce(RegionPages)) {
    const BESIDE: usize = 1 << 20;
    let mut memory = vec![0xEE_u8; BESIDE + len + BESIDE];
    let region = NonNull::from(&mut memory[BESIDE..BESIDE + len]).cast();
    // SAFETY: the source and all heaps on it are gone before the memory is.
    work(unsafe { RegionPages::from_raw(region, len) });
    let untouched = |bytes: &[u8]| bytes.chunks(4096).all(|chunk| *chunk == [0xEE; 4096][..chunk.len()]);
    assert!(untouched(&memory[..BESIDE]), "written in front of the region");
    assert!(untouched(&memory[BESIDE + len..]), "written behind the region");
}

#[test]
fn threaded_heap_on_system_pages() {
    check::<SystemPages>(|operations| Run::new(MallocState::new()).run(operations));
}

#[test]
fn local_heap_on_system_pages() {
    check::<SystemPages>(|operations| Run::new(MallocState::local()).run(operations));
}

#[test]
fn global_heap() {
    where_global! { check::<SystemPages>(|operations| Run::new(MallocState::global()).run(operations)); }
}

#[test]
fn heap_with_every_option_turned() {
    check::<SystemPages>(|operations| {
        let builder = MallocState::builder().name("model").huge_pages(HugePages::Always).zero_on_release(true);
        run_built(builder.release_policy(EAGER), operations);
    });
}

#[test]
fn threaded_heap_on_checked_pages() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new();
        let builder = MallocState::builder().source(&pages).release_policy(EAGER);
        run_built(builder, operations);
    });
}

#[test]
fn local_heap_on_dirty_pages() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new().dirty();
        Run::new(MallocState::local_in(&pages)).run(operations);
    });
}

#[test]
fn threaded_heap_on_pages_that_demand_commits() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new().demanding_commits();
        Run::new(MallocState::new_in(&pages)).run(operations);
    });
}

#[test]
fn local_heap_on_dirty_pages_that_demand_commits() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new().dirty().demanding_commits();
        let builder = MallocState::builder().source(&pages).local().zero_on_release(true).release_policy(EAGER);
        run_built(builder, operations);
    });
}

#[test]
fn heap_on_pages_that_do_not_grow() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new().refusing_growth();
        Run::new(MallocState::new_in(&pages)).run(operations);
    });
}

#[test]
fn local_heap_in_a_region() {
    check::<RegionPages>(|operations| {
        with_region(1 << 20, |region| Run::new(MallocState::local_in(&region)).run(operations));
    });
}

#[test]
fn threaded_heap_in_a_dirty_region() {
    check::<RegionPages>(|operations| {
        with_region(3 << 20, |region| {
            let pages = TestPages::over(region).dirty();
            Run::new(MallocState::new_in(&pages)).run(operations);
        });
    });
}

#[test]
fn threaded_heap_with_a_useful_limit() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new();
        run_built(MallocState::builder().source(&pages).limit(256 << 10), operations);
    });
}

#[test]
fn local_heap_with_the_smallest_limit() {
    check::<SystemPages>(|operations| {
        let pages = TestPages::new().demanding_commits();
        let builder = MallocState::builder().source(&pages).local().limit(least_limit());
        run_built(builder, operations);
    });
}
