//! The design, as built. Documentation only.
//!
//! # 1. Vocabulary
//!
//! | term | meaning |
//! | --- | --- |
//! | heap | one [`MallocState`](crate::MallocState), of whichever mode |
//! | page source | where a heap gets address space; the operating system by default |
//! | segment | a range from the page source, aligned to the segment size (4 MiB on 64-bit, 1 MiB on 32-bit), with a header in front. Kinds: slab segment, coalescing segment, mapping |
//! | unit | 16 KiB, the grain in which a slab segment is handed out |
//! | size class | a rounded block size; 16-byte steps to 512, then 8 classes a doubling, to 1 MiB. Small classes, to 32 KiB, are cut from slabs; medium classes come from coalescing roots |
//! | slab | 1, 4 or 16 aligned units cut into blocks of one small size class; its descriptor lives in the segment header |
//! | slab root | all slabs of one size class in a heap: lock, partial slabs, depot; made when it is first used |
//! | magazine | a last-in-first-out list of free blocks of one class, threaded through the blocks |
//! | bump range | fresh blocks of a class, side by side, that one thread cache cuts: the end of a slab |
//! | nursery | memory in a heap's first segment from which the first thread cache cuts a young heap's blocks of up to 4 KiB, one by one |
//! | thread cache | for each class the *loaded* and the *previous* magazine and a bump range; owned by one thread slot |
//! | depot | the full magazines that a slab root keeps |
//! | thread slot | a small integer leased to a running thread, recycled when it ends |
//! | coalescing root | segments of boundary-tagged blocks with size-indexed bins; lock |
//! | boundary tag | the word before a medium block that gives its length and state, mirrored in its right neighbour |
//! | bin | the free blocks of one size range in a coalescing root |
//! | mapping | a block so large that it is a segment of its own |
//! | core | everything of a heap that must not move: in the header of its first segment |
//! | route | which tier and class serve a layout |
//!
//! Slabs are Bonwick 1994; magazines and depot are Bonwick & Adams 2001; boundary tags are Knuth 1968 and Lea's dlmalloc;
//! two-level bins are TLSF (Masmano 2004).
//!
//! All quantities are in bytes. *Mapped* is the sum of the segments' lengths. *Committed* is what the heap has put to use:
//! headers as far as they are touched, bump ranges and the nursery as far as they have grown, coalescing blocks out of the bins, mappings, cached ones
//! included. `committed = live + cached + free + overhead`: *live* are the usable sizes of blocks with users, *cached* those
//! in magazines and depots, *free* is committed and of no other use, *overhead* is headers, descriptors and tables.
//!
//! # 2. The way of an allocation
//!
//! ```text
//!  Allocator / GlobalAlloc / malloc-style API
//!         │ Layout
//!         ▼
//!  heap ── to 1 MiB ─► thread cache ─(empty/full)─► ≤ 32 KiB: slab root: depot, bitmaps ──────► slab segment       ┐
//!       │                                          └► larger: coalescing root: bins, tags ─────► coalescing segment ├─► page source
//!       └─ larger ──────────────────────────────────► mapping list ─────────────────────────► mapping              ┘
//! ```
//!
//! | step | where |
//! | --- | --- |
//! | layout → route: size rounded up to its alignment, one shift to 512 bytes | `heap/route.rs`, `slab/size_class.rs` |
//! | the thread's cache: one thread-local load, one load from the table in the heap itself | `heap/caches.rs`, `cache/slot.rs` |
//! | pop the loaded magazine | `cache/magazine.rs` |
//! | out of line, while the heap is young: a block of the nursery | `cache/thread_cache.rs`, `slab/nursery.rs` |
//! | out of line: the next kilobyte of the bump range becomes the loaded magazine | `cache/magazine.rs` |
//! | out of line: previous magazine, depot, bitmaps of partial slabs, next portion, new slab | `cache/magazine.rs`, `slab/root.rs`, `slab/range.rs`, `slab/pool.rs` |
//! | a medium block: the cache's few, its root, other roots' free memory, a new segment | `heap/medium.rs`, `cache/medium.rs`, `coalesce/root.rs` |
//! | a large block: a cached mapping, a new one | `heap/large.rs`, `mapping/list.rs` |
//!
//! A free takes the class from the layout and pushes on the loaded magazine, whichever thread allocated the block: no look
//! at the slab, no owner check, no lock, no atomic read-modify-write.
//!
//! With the layout known when compiling, counted along the path that succeeds in an executable for x86-64 (`cargo asm` of
//! functions that call `allocate` and `deallocate` with a layout of 32 bytes, one codegen unit):
//!
//! | | instructions | loads | stores | branches |
//! | --- | --- | --- | --- | --- |
//! | allocate, threaded | 14 | 6 | 2 | 3 |
//! | free, threaded | 18 | 5 | 3 | 4 |
//! | allocate, local | 10 | 4 | 2 | 2 |
//! | free, local | 14 | 3 | 3 | 3 |
//!
//! The class of zero size has magazines that never have blocks nor room, so that zero sizes need no branch of their own on
//! the common path.
//!
//! ## Young heaps
//!
//! A new slab costs some 600 instructions and a page of its own, so that fifty blocks of twenty classes, and nothing more,
//! would cost twenty times that. The first blocks of all classes to 4 KiB therefore come from the nursery, as from a bump
//! arena: one behind the other, at about 60 instructions each, without a lock. A class goes there when its cache has nothing
//! else, until the nursery's 256 KiB are used up; then it has slabs. Where more comes back than its two magazines hold, it has a
//! root, whose depot takes the rest.
//!
//! All that a few blocks need lies in the first 4 KiB of the heap: headers, the core's own fields, the nursery's near part of
//! 1088 bytes, and the first cache's classes to 4 KiB. The larger classes lie behind, in memory that is not cleared where it is
//! known to be zero, and so not touched. A heap with ten blocks of 64 bytes takes one page (5.6 KB, with what its value and the
//! first heap of a process take) instead of two.
//!
//! A byte for each 16 bytes of the nursery says which class of block starts there, and whether the block came back: what a
//! slab has a bitmap and a descriptor for. Blocks that come back wait until all have; then the nursery is a new one.
//! `reclaim` discards free pages of it before that. A heap with a limit has none, and one that gets a limit opens no
//! more of it, since what waits there serves nobody; nor has a hardened heap, since a nursery hands blocks out in order.
//!
//! ## What differs from the plan, and why
//!
//! - *The medium part of a cache* keeps up to four pointers a class (two magazines of two) in the cache itself rather than
//!   threaded through the blocks: nothing of a medium block is touched. Its budget is a quarter of what
//!   the heap has committed, 4 MiB a thread at least and 16 at most: with 16 instead of 4, 16 B..512 KiB churn takes 59 ns
//!   instead of 77 (threaded 64 and 81, minimum of 15 short runs each); resident memory after churn of 16 B..64 KiB stayed
//!   the same.
//! - *The nursery* comes before a class's first slab; blocks from it are never known to be zero.
//! - *Classes are 16 bytes apart to 512 bytes*, not to 256, so that most layouts have their class without a load, which the
//!   way to the magazine would wait for. A pair of an opaque layout of 32 bytes took 7.5 ns instead of 8.5 (minimum of 75
//!   short runs each), 5000 blocks of mixed sizes 541 000 instructions instead of 548 000.
//! - *Classes above 512 bytes come from two tables*, 768 bytes together, where the layout is not known when compiling: the
//!   arithmetic, twice in a pair, took longer than the pair. A pair of an opaque layout of 1 KiB took 5.4 ns (threaded 6.0)
//!   instead of 9.7 (9.9), minimum of 7 runs each.
//! - *A freed mapping of up to 16 MiB serves requests down to a quarter of its length*, whole; longer ones down to four
//!   fifths. A vector that grows by doubling finds the pages of the one before it, and grows in place: twenty vectors of a
//!   million `u64`, pushed one after the other, took 3 221 page faults instead of 22 730, and half the time. What the mapping
//!   has too much stays in use with the block, and a zeroed request makes all of it zero.
//! - *A large block begins with a huge page*, 2 MiB behind its headers, where the heap asks for huge pages: a page behind
//!   the headers, its last page is touched before it grows, and the kernel then gives small pages to the 2 MiB that follow.
//!   The gap takes addresses only; the headers are written before the advice is given, and their page stays a small one. A
//!   vector of a million `u64` pushed in a new heap took 11 page faults instead of 1032, and 2.5 ns a push instead of 4.3.
//! - *A mapping of one to two MiB has the addresses of a whole segment* from [`SystemPages`](crate::os::SystemPages), except on
//!   32-bit systems and in hardened builds, where a guard ends it: from the process's cache, where that has one, and with room
//!   to grow. A map of boxes with a table of 1.5 MiB, made again and again in new heaps, took 2 269 page faults in 0.3 s
//!   instead of 19 977. What an earlier user touched far behind it is discarded, so that a block keeps at most twice its memory.
//! - *What a hot path counts is a whole word.* A magazine's room in half a word made a pair of 32 bytes 3.8 ns long; in 32 bits
//!   it takes 1.3 (opaque 3.6 and 2.1, minimum of 3 short runs each): processors forward the last store of a word to its next
//!   load in no time, but not that of a half.
//! - *A nursery hands out single blocks*, not runs that are linked first, of which a young heap uses but a part: a request of 50
//!   took 0.81 µs instead of 1.04, one of 300 4.2 instead of 4.6, and 3.8 with a nursery of 256 KiB instead of 64; one of 5000
//!   47.9 instead of 46.5, and 49.5 (local, minimum of 8 short runs each).
//! - *Ranges of up to 32 MiB are kept for the process*, eight of them, beside segments and in half of the same bounds. Each serves
//!   requests of half its length and more; and a block that at least doubles moves to one, where there is one, rather than to
//!   new pages ([`PageSource::is_ready`](crate::os::PageSource::is_ready)). A vector of a million `u64`, pushed in a new heap
//!   again and again, takes no page fault from the third time on.
//! - *Bump ranges of a heap without a limit grow by a unit at least*, which is a third of the ways to a new portion: a request
//!   of 5000 took 51.9 µs instead of 56.3. With a limit they begin with an OS page, as planned.
//! - *Fresh blocks are loaded, a kilobyte at a time*, rather than cut on the common path: whether the next block is a freed or
//!   a fresh one is a branch that no processor foresees where both are about. A request of 5000 took 94 µs instead of 102
//!   (threaded 99 and 107), one of 300 8.1 instead of 8.6 (9.0 and 9.6), a pair of an opaque layout of 1 KiB 6.0 ns threaded
//!   instead of 7.5; a document parsed into a tree, nothing of which is freed before its end, 11.3 ms instead of 10.8.
//! - *Blocks go back to a slab in runs*: what follows in a magazine and lies in the same slab is not looked up again, but its
//!   start and its bit are checked as ever; and neighbours, up or down, enter the bitmap a word at a time. 100 000 blocks of
//!   48 bytes, allocated and freed, took 68 instructions each instead of 197; 92 without the second half of that.
//! - *Magazines of blocks of up to 64 bytes* have 128 of them, and a full one is loaded on a short way: 1000 blocks of 48
//!   bytes took 43 instructions each, with the loop around them, instead of 48 (threaded 49 and 55).
//! - *`zero_from`* takes the place of a flag that says whether a range is zeroed: a segment that comes from the process's
//!   cache is known to be zero above what its earlier users touched, and a release says so too. One high-water mark a
//!   segment serves freshness, the dirty bound of the segment cache, and the bound for discards.
//! - *Caches beyond the inline table* (slots from 64 on) are found out of line, without a lock, before the long way. A heap has caches for the
//!   first 65 536 slots; threads beyond take blocks one by one from the roots.
//! - *Medium blocks are resized in place* in their root, tags and class counts along with them; small blocks never change
//!   their class in place.
//! - *Sources whose segments are longer than 4 MiB* have more blocks in a segment, not larger ones; with shorter segments
//!   the largest slab is a sixteenth of a segment, the largest small block an eighth of that, and the largest medium block
//!   32 times as long.
//! - *The peak* is kept when committed shrinks, not when it grows: each maximum lies right before a decrease.
//! - *A request may be served by less*: `MapRequest::least` says how short a segment may be, for the end of a region.
//! - *A block of exactly 1 MiB* is a medium one; mappings begin above.
//! - *The limit is lifted* for a shrink that must move, but not where a larger alignment makes it need a larger block. What
//!   its new block has opened may stay above the limit afterwards.
//! - *On Windows* an aligned range is reserved with room to spare, released, and reserved again at the aligned address.
//! - *Reclaim* passes `keep: false` to the source, which is how segments get past the process's cache.
//!
//! # 3. Invariants that hold the heap together
//!
//! - Nothing in a segment points to the `MallocState`: it may move at any time. It points to the core, which does not.
//! - A cache is written only by the thread that leases its slot, or under an exclusive borrow of the heap. The lease passes
//!   through the slot list's lock, which orders what one thread left behind before what the next one finds.
//! - What is made once is published with release and read with acquire; so is a request to flush. `tests/loom` tries these
//!   protocols in every order.
//! - Lock order: a root (slab, coalescing, mapping list), the slab pool, the records, the source's own. In the `Global`
//!   mode the registry comes before them all. No lock is held while a user's code runs, but for the page source's.
//! - Every size between requested and returned has the block's route. A block's route never changes but by a call that
//!   knows it.
//! - Charged before touched; uncharged after given back.
//! - A refusal leaves everything as it was, goes up to the call that the user made, and there, with no lock held, the heap
//!   gives up what it caches and tries once more.
//! - Provenance: a segment's is exposed when its header is written; addresses of blocks become pointers again in one
//!   function, `segment::at_address`. A pointer that a user frees may speak for less than its block.
//!
//! # 4. Layers
//!
//! ```text
//! api → heap → { cache → slab, coalesce; mapping } → segment → os → primitives
//! ```
//!
//! | folder | room for |
//! | --- | --- |
//! | `heap/` | what a user holds: options, routes, allocation, resizing, pressure and reclaim, iteration, stats, checks, modes |
//! | `api/` | its faces: allocator trait, arena, C-style calls, handles, collections, the engines on their own |
//! | `cache/` | what a thread owns: slot, magazines, the medium few |
//! | `slab/` | small blocks |
//! | `coalesce/` | medium blocks |
//! | `mapping/` | large blocks |
//! | `segment/` | the header all segments share, records, sums, address → segment |
//! | `os/` | pages, locks, the end of a thread |
//! | `primitives/` | what knows nothing of heaps |
//!
//! # 5. Misuse
//!
//! Freeing what is not a live block of the heap is undefined behaviour by the contract of every call that frees; what is
//! caught of it aborts with one line on standard error.
//!
//! | misuse | every build | debug builds, feature `hardened` |
//! | --- | --- | --- |
//! | free of the block freed last in its class | at once | at once |
//! | free of a small block twice | when it goes back to its slab | at once |
//! | free with the layout of another class | when it goes back to its slab | at once |
//! | free of an address that no block starts at, or of another heap's block | when it goes back to its slab or root | at once |
//! | write over the boundary tag of a medium block | when the block or its neighbour goes back | same |
//! | free of a mapping twice | at once, while its segment is still mapped | same |
//!
//! A check reads what stands beside the block. Where the page of that is gone, as with a segment that was unmapped, or on
//! Windows a page of a free block that `reclaim` gave back, the system ends the program instead, without that line.
//!
//! What goes back to the nursery is checked as what goes back to a slab; of two threads that free the same block there at the
//! very same moment, both may pass.
//!
//! What each check costs, in instructions of one allocation and its free together, whose layout is not known when
//! compiling, in the mode `Local` (callgrind: all checks less all but the one; measured when they were written):
//!
//! | | 32 bytes | 1 KiB | 100 000 bytes |
//! | --- | --- | --- | --- |
//! | no check (release build) | 59 | 59 | 105 |
//! | all checks | 476 | 535 | 106 948 |
//! | a bit for each small block: owner, class, start and bit, at both ends of its use | 281 | 281 | – |
//! | boundary tag, mark and neighbour of a medium block, at both ends | – | – | 266 |
//! | links that are encoded, and checked when read | 44 | 44 | – |
//! | the segment of an address is one of those known | 16 | 16 | 36 |
//! | the layout | 17 | 17 | 35 |
//! | freed memory is filled | 16 | 75 | 106 517 |
//! | guards, blocks in no order | with a segment, with a slab | same | same |
//!
//! # 6. Forks
//!
//! Around a fork, handlers hold the locks of `Global` heaps, of the slot list, of the segment cache and of leftover ranges,
//! so that the child finds them free (not that of a heap that has no core yet: asking such a heap for its segments while
//! another thread forks can leave it locked in the child). What other threads had in their caches is lost to the child, and
//! so is a leftover range that one of them was asking the system about; the heap's structures are whole. A `Threaded` heap
//! that another thread was using at that moment must not be used in the child.
//!
//! # 7. Memory tools
//!
//! AddressSanitizer and valgrind's memcheck watch the blocks of the C library. Built for one of the two, a heap tells it of
//! its own: what is free is poisoned, and what is handed out may be used to the byte that was asked for.
//!
//! ```text
//! RUSTFLAGS="--cfg mallocstate_asan -Zsanitizer=address" cargo +nightly run --target x86_64-unknown-linux-gnu
//! cargo build --features mallocstate/valgrind && valgrind target/debug/program
//! ```
//!
//! The feature is for x86-64 and aarch64 Linux, and does nothing elsewhere; a program that has it runs without valgrind, too.
//!
//! | fault, in each tier | AddressSanitizer says | memcheck says |
//! | --- | --- | --- |
//! | use of a block after its free, until it serves again | use-after-poison | invalid read or write |
//! | use of the byte behind a request, or in front of a medium or large block | use-after-poison | invalid read or write |
//! | free of a free block, resize of one | use-after-poison, a read of its first byte | invalid free, invalid read |
//! | a decision on bytes that were never written | nothing | uninitialised value |
//!
//! Both come before the checks of chapter 5. The slices that `allocate` and its kin return are then as long as the request,
//! since collections use what they are given; `usable_size` gives the rest of a block to whoever asks. What is live when a heap goes
//! is no leak. Segments that the process keeps for its next heap are poisoned meanwhile; a page source has its memory back
//! unpoisoned.
//!
//! There is no red zone: behind a small block that fills its class, or the last page of a mapping, may be memory in use. And
//! there is no quarantine: the block freed last is the first to serve again.
//!
//! All hooks are in `primitives/sanitizer` and `heap/watched.rs`; ordinary builds have empty ones.
