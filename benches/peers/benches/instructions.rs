//! `.ci/instructions`: instructions of the hot paths, counted by callgrind and held to what stands here.
//!
//! A count that has grown by more than 2 % fails. One that has shrunk is to be written here, so that it stays so. The
//! counts are of x86-64 Linux and one compiler; another compiler may need others.

#![expect(missing_docs, reason = "what the macros make is public")]

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use mallocstate::{LocalMallocState, MallocState};
use peers::peers::Peer;
use peers::workloads::counted::{Churn, Lives, Pairs, Requests};

/// Pairs, steps, lives and requests that are counted together.
const TIMES: u64 = 1000;

/// At most 2 % more instructions than this, over all of [`TIMES`].
fn held_to(instructions: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, instructions + instructions / 50)]));
    config
}

#[library_benchmark]
#[bench::threaded(args = (Pairs::<MallocState>::ready()), config = held_to(33_138))]
#[bench::local(args = (Pairs::<LocalMallocState>::ready()), config = held_to(27_064))]
fn pair_known<P: Peer>(pairs: Pairs<P>) -> Pairs<P> {
    pairs.known(TIMES);
    pairs
}

#[library_benchmark]
#[bench::threaded(args = (Pairs::<MallocState>::ready()), config = held_to(58_134))]
#[bench::local(args = (Pairs::<LocalMallocState>::ready()), config = held_to(51_063))]
fn pair_opaque<P: Peer>(pairs: Pairs<P>) -> Pairs<P> {
    pairs.opaque(TIMES);
    pairs
}

#[library_benchmark]
#[bench::threaded(args = (Churn::<MallocState>::ready(TIMES as usize)), config = held_to(71_955))]
#[bench::local(args = (Churn::<LocalMallocState>::ready(TIMES as usize)), config = held_to(65_845))]
fn churn_step<P: Peer>(mut churn: Churn<P>) -> Churn<P> {
    churn.replay();
    churn
}

#[library_benchmark]
#[bench::threaded(args = (Lives::<MallocState>::ready()), config = held_to(2_245_026))]
#[bench::local(args = (Lives::<LocalMallocState>::ready()), config = held_to(1_880_027))]
fn create_and_destroy<P: Peer>(mut lives: Lives<P>) -> Lives<P> {
    lives.live(TIMES);
    lives
}

#[library_benchmark]
#[bench::threaded(args = (Requests::<MallocState>::ready()), config = held_to(10_498_526))]
#[bench::local(args = (Requests::<LocalMallocState>::ready()), config = held_to(9_303_908))]
fn request_of_50<P: Peer>(mut requests: Requests<P>) -> Requests<P> {
    requests.serve(TIMES);
    requests
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [pair_known, pair_opaque, churn_step, create_and_destroy, request_of_50]
);

main!(library_benchmark_groups = hot_paths);
