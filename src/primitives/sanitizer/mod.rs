//! What a heap tells AddressSanitizer and valgrind about its memory; in ordinary builds all of it is empty.
//!
//! A tool watches the accesses of a program, and here it learns which memory the program may access: everything in a
//! segment is *poisoned* but for headers, tables, and the bytes that users have asked for.
//!
//! ```text
//! slab        │ headers, tables, core │ block 40 │▒▒▒▒▒▒▒▒▒│ block 33 ▒▒│▒▒▒▒▒▒▒▒▒▒▒ … │
//! coalescing  │ headers               ▒tag▒ block …………… ▒▒│▒tag▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ … │
//! mapping     │ headers               ▒▒▒▒▒ block ………………………………………………………… ▒▒│
//! ```
//!
//! The heap's own words in poisoned memory, links and boundary tags, are read and written by [`read`] and [`write`], which
//! the tool does not see. Unpoisoning them for a moment would let a user's access through that another thread makes.
//!
//! | | AddressSanitizer: `--cfg mallocstate_asan` | valgrind: feature `valgrind` |
//! | --- | --- | --- |
//! | poisoned | poisoned shadow | no access |
//! | unpoisoned | clean shadow | access, contents undefined |
//! | a block | nothing | a chunk of a memory pool, whose number is the heap's |
//! | `read`, `write` | in functions without instrumentation | while the thread's errors are not reported |

#[cfg(mallocstate_asan)]
#[path = "asan.rs"]
mod tool;
#[cfg(all(
    feature = "valgrind",
    not(mallocstate_asan),
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[path = "valgrind.rs"]
mod tool;
#[cfg(not(any(
    mallocstate_asan,
    all(
        feature = "valgrind",
        target_os = "linux",
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )
)))]
#[path = "none.rs"]
mod tool;

use core::ptr::NonNull;

#[cfg(all(feature = "std", target_os = "linux"))]
pub(crate) use tool::unreported;
pub(crate) use tool::{
    ENABLED, accessible, freed, leaving, moved, poison, pool_gone, pool_made, read, unpoison, write,
};

/// A block as its user gets it: under a tool the bytes asked for, and no more. At least one byte is unpoisoned, which the
/// free will look at.
#[inline(always)]
pub(crate) fn hand_out(pool: usize, block: NonNull<[u8]>, requested: usize) -> NonNull<[u8]> {
    if !ENABLED {
        return block;
    }
    tool::allocated(pool, block.cast(), requested.max(1));
    NonNull::slice_from_raw_parts(block.cast(), requested)
}

/// As [`hand_out`] for a block that its user has already, with `old` bytes, and that has just been resized.
#[inline(always)]
pub(crate) fn resize(pool: usize, block: NonNull<[u8]>, old: usize, requested: usize) -> NonNull<[u8]> {
    if !ENABLED {
        return block;
    }
    let kept = requested.max(1);
    tool::resized(pool, block.cast(), old, kept);
    poison_behind(block, kept);
    NonNull::slice_from_raw_parts(block.cast(), requested)
}

/// Poisons what a block has beyond its first `kept` bytes.
#[inline(always)]
pub(crate) fn poison_behind(block: NonNull<[u8]>, kept: usize) {
    if ENABLED && kept < block.len() {
        poison(block.cast().map_addr(|start| start.saturating_add(kept)), block.len() - kept);
    }
}

/// Says that all of a range holds something but for its first `from` bytes, of which nothing new is known.
#[inline(always)]
pub(crate) fn define_behind(range: NonNull<[u8]>, from: usize) {
    if ENABLED && from < range.len() {
        tool::define(range.cast().map_addr(|start| start.saturating_add(from)), range.len() - from);
    }
}

/// Unpoisons memory that goes back to where it came from, whoever may have it next.
#[inline(always)]
pub(crate) fn surrender(ptr: NonNull<u8>, len: usize) {
    unpoison(ptr, len);
    tool::define(ptr, len);
}
