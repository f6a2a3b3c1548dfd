//! Every row of the table.

use super::Group::{self, Churn, Collections, Heaps, Lives, Memory, Pairs, Threads};
use super::Must::{self, AtMost, Of, OfBest};
use super::Unit::{self, Kilobytes, Microseconds, Milliseconds, Nanoseconds, Ratio};
use super::{Stage, Work, Workload, pair};
use crate::peers::PeerId;
use crate::sizes::Sizes;

const SMALL: Sizes = Sizes::even(8, 256);
const SMALL_TO_MEDIUM: Sizes = Sizes::doublings(16, 64 << 10);
const LARGER_SMALL: Sizes = Sizes::doublings(256, 32 << 10);
const ALL_TIERS: Sizes = Sizes::doublings(16, 512 << 10);

const fn row(
    group: Group,
    name: &'static str,
    title: &'static str,
    unit: Unit,
    work: Work,
    must: Option<Must>,
) -> Workload {
    Workload { name, title, group, unit, work, must }
}

const fn known(name: &'static str, title: &'static str, bytes: u32, must: Must) -> Workload {
    row(Pairs, name, title, Nanoseconds, Work::PairKnown(bytes), Some(must))
}

const fn opaque(name: &'static str, title: &'static str, bytes: u32, must: Must) -> Workload {
    row(Pairs, name, title, Nanoseconds, Work::PairOpaque(bytes), Some(must))
}

const fn churn(name: &'static str, title: &'static str, sizes: Sizes, live: u32, must: Must) -> Workload {
    row(Churn, name, title, Nanoseconds, Work::Churn(sizes, live), Some(must))
}

const fn request(name: &'static str, title: &'static str, allocations: usize) -> Workload {
    row(Lives, name, title, Microseconds, Work::Request(allocations), Some(Of(1.0, PeerId::Bumpalo)))
}

const fn threads(name: &'static str, title: &'static str, work: Work, must: Option<Must>) -> Workload {
    row(Threads, name, title, Nanoseconds, work, must)
}

const fn heaps(name: &'static str, title: &'static str, count: u32) -> Workload {
    row(Heaps, name, title, Nanoseconds, Work::Heaps(count), None)
}

/// In the order in which they are measured and shown.
pub(super) const ROWS: &[Workload] = &[
    known("pair-32-known", "pair 32 B, layout known", pair::SIZES[0], OfBest(0.8)),
    opaque("pair-32", "pair 32 B, layout opaque", pair::SIZES[0], OfBest(0.8)),
    known("pair-1k-known", "pair 1 KiB, layout known", pair::SIZES[1], OfBest(0.8)),
    opaque("pair-1k", "pair 1 KiB, layout opaque", pair::SIZES[1], OfBest(0.8)),
    known("pair-16k-known", "pair 16 KiB, layout known", pair::SIZES[2], OfBest(0.8)),
    opaque("pair-16k", "pair 16 KiB, layout opaque", pair::SIZES[2], OfBest(0.8)),
    known("pair-256k-known", "pair 256 KiB, layout known", pair::SIZES[3], OfBest(0.8)),
    opaque("pair-256k", "pair 256 KiB, layout opaque", pair::SIZES[3], OfBest(0.8)),
    known("pair-4m-known", "pair 4 MiB, layout known", pair::SIZES[4], Of(2.0, PeerId::Dlmalloc)),
    opaque("pair-4m", "pair 4 MiB, layout opaque", pair::SIZES[4], Of(2.0, PeerId::Dlmalloc)),
    row(Churn, "batch-1000", "batch of 1000 × 48 B", Nanoseconds, Work::Batch(1000), Some(OfBest(0.9))),
    row(Churn, "batch-100000", "batch of 100 000 × 48 B", Nanoseconds, Work::Batch(100_000), Some(OfBest(1.0))),
    churn("churn-1000", "churn 8..256 B, 1000 live", SMALL, 1000, OfBest(1.0)),
    churn("churn-100000", "churn 8..256 B, 100 000 live", SMALL, 100_000, OfBest(1.0)),
    churn("churn-32k", "churn 256 B..32 KiB, 10 000 live", LARGER_SMALL, 10_000, OfBest(1.0)),
    churn("churn-512k", "churn 16 B..512 KiB, 1000 live", ALL_TIERS, 1000, Of(1.0, PeerId::Mimalloc)),
    request("request-50", "request of 50", 50),
    request("request-300", "request of 300", 300),
    request("request-5000", "request of 5000", 5000),
    row(Lives, "reset-50", "request of 50, then reset", Microseconds, Work::Reset(50), None),
    row(Lives, "reset-5000", "request of 5000, then reset", Microseconds, Work::Reset(5000), None),
    row(Lives, "arena", "arena's calls, new heap", Nanoseconds, Work::ArenaFresh, None),
    row(Lives, "arena-reset", "arena's calls, then reset", Nanoseconds, Work::ArenaReset, None),
    row(Lives, "life-empty", "create and destroy, empty", Nanoseconds, Work::Life(0), None),
    row(Lives, "life-one", "create and destroy, one block", Nanoseconds, Work::Life(1), None),
    threads("threads-1", "churn 8..256 B, one thread", Work::Threads(1), None),
    threads("threads-2", "churn 8..256 B, 2 threads", Work::Threads(2), Some(OfBest(0.9))),
    threads("threads-16", "churn 8..256 B, 16 threads", Work::Threads(16), None),
    threads("hand-over", "one thread allocates, another frees", Work::HandOver, Some(OfBest(0.8))),
    threads("ring", "blocks go round 4 threads", Work::Ring(4), None),
    threads("false-sharing", "a write to 8 B, 2 threads", Work::FalseSharing, None),
    row(Collections, "push", "Vec<u64>, push to 1 000 000", Nanoseconds, Work::Push, Some(OfBest(1.0))),
    row(Collections, "growth", "100 × Vec<u64>, push to 10 000", Nanoseconds, Work::Growth, None),
    row(Collections, "map", "map of boxes, 200 000 operations", Nanoseconds, Work::Map, Some(OfBest(1.0))),
    row(Collections, "json", "JSON document into a tree", Milliseconds, Work::Json, None),
    heaps("heaps-1", "churn in one heap", 1),
    heaps("heaps-100", "churn in 100 heaps in turn", 100),
    heaps("heaps-10000", "churn in 10 000 heaps in turn", 10_000),
    heaps("heaps-100000", "churn in 100 000 heaps in turn", 100_000),
    row(
        Memory,
        "resident-256",
        "8..256 B, 100 000 live",
        Ratio,
        Work::ResidentLive(SMALL, 100_000),
        Some(AtMost(1.12)),
    ),
    row(
        Memory,
        "resident-64k",
        "16 B..64 KiB, 10 000 live",
        Ratio,
        Work::ResidentLive(SMALL_TO_MEDIUM, 10_000),
        Some(AtMost(1.1)),
    ),
    row(Memory, "resident-10", "heap with ten 64 B blocks", Kilobytes, Work::ResidentSmall(10), Some(AtMost(8.0))),
    row(Memory, "fragmented", "nine in ten freed", Ratio, Work::Fragmented(Stage::Freed), None),
    row(Memory, "reclaimed", "nine in ten freed, reclaimed", Ratio, Work::Fragmented(Stage::Reclaimed), None),
    row(Memory, "refilled", "nine in ten freed, refilled", Ratio, Work::Fragmented(Stage::Refilled), None),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::ValueEnum;

    use super::*;
    use crate::workloads::Needs;

    /// Takes each row but those that need a process of their own.
    #[test]
    fn whoever_is_admitted_can_do_it() {
        for row in ROWS {
            let apart = matches!(row.group, Memory | Heaps) || row.work == Work::Json;
            for peer in PeerId::value_variants().iter().filter(|&&peer| row.work.admits(peer) && !apart) {
                let measured = peer.measure(row.work, Duration::from_micros(100));
                assert!(measured > 0.0 && measured.is_finite(), "{row} on {peer}: {measured}");
            }
        }
    }

    #[test]
    fn each_row_has_a_name_of_its_own_and_a_rival() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other != row), "{row}");
            assert!(PeerId::value_variants().iter().any(|&peer| row.is_rival(peer)), "{row}");
            if let Some(Of(_, peer)) = row.must {
                assert!(row.is_rival(peer), "{row} speaks of {peer}");
            }
        }
    }

    #[test]
    fn a_bump_arena_sits_out_where_blocks_are_used_again() {
        let find = |name| ROWS.iter().find(|row| row.name == name).unwrap();
        assert!(!find("churn-1000").work.admits(PeerId::Bumpalo));
        assert!(find("pair-32").work.admits(PeerId::Bumpalo) && !find("pair-32").is_rival(PeerId::Bumpalo));
        assert!(find("request-50").is_rival(PeerId::Bumpalo));
        assert_eq!(find("reset-50").work.needs(), Needs::Arena);
    }
}
