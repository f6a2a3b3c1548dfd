//! A slab segment: 4 MiB in units of 16 KiB, with everything that describes them in front.
//!
//! ```text
//! │ SegmentHeader │ Tables │ free units │ dirty units │ unit map │ reserved │ descriptors │ bitmaps │ (far) │ units …
//! └─ base                                               1 B a unit           one a unit    one a unit
//! ```
//!
//! The descriptor and the bitmap of a slab are those of its first unit; no block of a slab can overflow into them. What is
//! *reserved* belongs to the heap: its first segment keeps the nursery's near part there, and the heap's core. The nursery's
//! far part lies behind all tables.
//!
//! # Invariants
//!
//! - The unit map says of each unit whether it is free, or the run of the slab that it belongs to; a slab's first unit
//!   is a multiple of its run.
//! - A unit's free bit is set exactly when the map says that it is free.
//! - Tables, bitmaps of units and lists change only under the pool's lock.

#![expect(unsafe_code, reason = "lays tables out in raw segment memory")]

use core::cell::Cell;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::os::PageSource;
use crate::primitives::list::{Linked, Links};
use crate::primitives::sanitizer;
use crate::segment::{HEADER_BYTES, SegmentKind, SegmentRef, UNIT, Usage};
use crate::slab::bitmap::Bitmap;
use crate::slab::locate::segment_ref;
use crate::slab::nursery::Nursery;
use crate::slab::size_class::SizeClass;
use crate::slab::slab::Slab;
use crate::slab::tables::{BITMAPS, Reserved, SLAB_OVERHEAD, TableOffsets};
use crate::slab::units::{Run, set_from, set_run};

/// What the unit map says of a unit that no slab has.
const FREE: u8 = 0;
const HEADER: u8 = 1;
const HOSTED: u8 = 2;
/// What it says of a unit of a slab: this plus the run.
const SLAB: u8 = 3;

/// The fixed part of a slab segment's own header.
#[repr(C)]
pub(crate) struct Tables {
    links: Links<Tables>,
    segment: SegmentRef,
    units: usize,
    descriptors: usize,
    bitmaps: usize,
    /// Where the nursery is; 0 where there is none.
    nursery: usize,
    /// From this offset on, the header was zero when it was laid out.
    zero_from: usize,
    /// Bytes charged beside the common header and the slabs.
    overhead: AtomicUsize,
    /// Units that slabs or the heap have.
    used: Cell<usize>,
    /// The pool's list that the segment is in.
    list: Cell<usize>,
    /// The segment holds the heap's core and stays to the end.
    permanent: bool,
}

// SAFETY: always the same field.
unsafe impl Linked for Tables {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// A live slab segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlabSegment(SegmentRef);

impl SlabSegment {
    /// Bytes of header that a new segment is charged for at once, beside the common header; the length of its tables; and that
    /// of all its header.
    pub(super) const fn table_bytes(len: usize, heap: Reserved) -> (usize, usize, usize) {
        let offsets = TableOffsets::of(len / UNIT, heap);
        (offsets.overhead(), offsets.far, offsets.end)
    }

    /// Lays the tables out in a new segment, for its first `len` bytes.
    ///
    /// # Safety
    ///
    /// The segment is new, of `len` bytes at least, and its first `table_bytes(len, heap).1` bytes are committed.
    pub(super) unsafe fn write(segment: SegmentRef, len: usize, heap: Reserved) -> Self {
        let units = len / UNIT;
        let offsets = TableOffsets::of(units, heap);
        let zero_from = segment.touch(offsets.far);
        // SAFETY: the common header is followed by room for the tables.
        let place = unsafe { segment.at(HEADER_BYTES) }.cast::<Tables>();
        let tables = Tables {
            links: Links::new(),
            segment,
            units,
            descriptors: offsets.descriptors,
            bitmaps: offsets.bitmaps,
            nursery: if heap.nursery { offsets.nursery } else { 0 },
            zero_from,
            overhead: AtomicUsize::new(offsets.overhead()),
            used: Cell::new(0),
            list: Cell::new(0),
            permanent: heap.core > 0,
        };
        // SAFETY: the place is writable, aligned to 64, and nobody else's.
        unsafe { place.write(tables) };
        let this = Self(segment);
        // SAFETY: the words and the map lie within the committed header.
        let free = unsafe { segment.at(offsets.free) };
        // SAFETY: as above; the map ends where the nursery begins.
        unsafe { free.write_bytes(0, offsets.nursery - offsets.free) };
        let header_units = offsets.end.div_ceil(UNIT);
        this.map()[..header_units].iter().for_each(|entry| entry.store(HEADER, Relaxed));
        this.with_words(|free, _| set_from(free, header_units, units));
        if heap.nursery {
            // SAFETY: the nursery lies within the header.
            let place = unsafe { segment.at(offsets.nursery) };
            // SAFETY: the place is the nursery's, and so is what lies between it and the core, and behind the tables.
            unsafe { Nursery::write(place, segment, offsets.near, offsets.far, offsets.end) };
        }
        this.poison();
        this
    }

    /// Poisons all but the tables: slabs hand blocks out, and the heap what it hosts.
    pub(super) fn poison(self) {
        let tables = self.tables().bitmaps + self.units() * BITMAPS * size_of::<Bitmap>();
        let end = self.nursery().map_or(tables, Nursery::far);
        // SAFETY: the tables end within the segment.
        sanitizer::poison(unsafe { self.0.at(end) }, self.0.len() - end);
    }

    /// A segment of the slab kind, as one.
    pub(crate) fn of(segment: SegmentRef) -> Self {
        debug_assert!(segment.kind() == SegmentKind::Slab);
        Self(segment)
    }

    /// The segment that a slab lies in.
    pub(crate) fn of_slab<S: PageSource>(slab: NonNull<Slab>) -> Self {
        Self::of(segment_ref(slab, S::SEGMENT_SIZE))
    }

    pub(super) fn from_tables(tables: NonNull<Tables>) -> Self {
        // SAFETY: tables in a list are those of a live segment.
        Self(unsafe { tables.as_ref() }.segment)
    }

    pub(super) fn as_tables(self) -> NonNull<Tables> {
        // SAFETY: the tables follow the common header.
        unsafe { self.0.at(HEADER_BYTES) }.cast()
    }

    fn tables(&self) -> &Tables {
        // SAFETY: a slab segment's tables live as long as it does.
        unsafe { self.as_tables().as_ref() }
    }

    fn offsets(self) -> TableOffsets {
        // What is reserved moves only tables that are not asked for here.
        TableOffsets::of(self.tables().units, Reserved { core: 0, nursery: self.tables().nursery > 0 })
    }

    pub(crate) fn segment(self) -> SegmentRef {
        self.0
    }

    pub(super) fn units(self) -> usize {
        self.tables().units
    }

    pub(super) fn is_permanent(self) -> bool {
        self.tables().permanent
    }

    pub(super) fn list(self) -> usize {
        self.tables().list.get()
    }

    pub(super) fn set_list(self, list: usize) {
        self.tables().list.set(list);
    }

    pub(super) fn used(self) -> usize {
        self.tables().used.get()
    }

    /// First byte of what is reserved for the heap.
    pub(crate) fn reserved(self) -> NonNull<u8> {
        // SAFETY: what is reserved lies within the header.
        unsafe { self.0.at(self.offsets().reserved) }
    }

    /// Address from which on what is reserved was zero when the segment was laid out.
    pub(crate) fn zero_from(self) -> usize {
        self.0.addr() + self.tables().zero_from
    }

    /// The heap's nursery, where it lies in this segment.
    pub(crate) fn nursery<'a>(self) -> Option<&'a Nursery> {
        let offset = self.tables().nursery;
        if offset == 0 {
            return None;
        }
        // SAFETY: the nursery lies within the header.
        let nursery = unsafe { self.0.at(offset) }.cast::<Nursery>();
        // SAFETY: `write` made it, and it lives as long as the segment.
        Some(unsafe { nursery.as_ref() })
    }

    /// Bytes charged for the segment when no slab is in it, and its nursery is not open.
    pub(crate) fn overhead(self) -> usize {
        HEADER_BYTES + self.tables().overhead.load(Relaxed)
    }

    /// Says that the heap hosts `bytes` more in the segment.
    pub(super) fn add_overhead(self, bytes: usize) {
        self.tables().overhead.fetch_add(bytes, Relaxed);
    }

    /// Runs `change` on the words of the free and of the dirty units; the caller holds the pool's lock.
    pub(super) fn with_words<R>(self, change: impl FnOnce(&mut [u64], &mut [u64]) -> R) -> R {
        let offsets = self.offsets();
        // SAFETY: the words lie within the header.
        let free = unsafe { self.0.at(offsets.free) }.cast::<u64>();
        // SAFETY: as above.
        let dirty = unsafe { self.0.at(offsets.dirty) }.cast::<u64>();
        // SAFETY: `write` made them zero; the pool's lock makes the borrow the only one.
        let free = unsafe { slice::from_raw_parts_mut(free.as_ptr(), offsets.words) };
        // SAFETY: as above; the two do not overlap.
        let dirty = unsafe { slice::from_raw_parts_mut(dirty.as_ptr(), offsets.words) };
        change(free, dirty)
    }

    fn map(&self) -> &[AtomicU8] {
        let offsets = self.offsets();
        // SAFETY: the map lies within the header.
        let map = unsafe { self.0.at(offsets.map) }.cast::<AtomicU8>();
        // SAFETY: `write` made the bytes of all units, and they live as long as the segment.
        unsafe { slice::from_raw_parts(map.as_ptr(), self.units()) }
    }

    /// Gives a run of free units to a new slab and writes its descriptor.
    pub(super) fn make_slab(self, unit: usize, run: Run, class: SizeClass) -> NonNull<Slab> {
        let slab = self.descriptor(unit);
        // SAFETY: every bit pattern is a valid descriptor, and this one is nobody's yet.
        let descriptor = unsafe { slab.as_ref() };
        // SAFETY: the bitmap is that of the slab's first unit.
        unsafe { descriptor.reset(class, unit * UNIT, run as u8, self.bitmap(unit, 0)) };
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.allocated_words(unit).iter().for_each(|word| word.store(0, Relaxed));
        self.take_run(unit, run, SLAB + run as u8);
        slab
    }

    /// Gives a run of free units to the heap itself.
    pub(super) fn host(self, unit: usize, run: Run) {
        self.take_run(unit, run, HOSTED);
    }

    fn take_run(self, unit: usize, run: Run, meaning: u8) {
        self.with_words(|free, _| set_run(free, unit, run, false));
        // INVARIANT: the map names the slab only after its descriptor is written.
        self.map()[unit..unit + run.units()].iter().for_each(|entry| entry.store(meaning, Release));
        self.tables().used.set(self.used() + run.units());
    }

    /// Takes the units of a slab back.
    pub(super) fn give_run(self, unit: usize, run: Run) {
        // SAFETY: the units lie within the segment.
        sanitizer::poison(unsafe { self.0.at(unit * UNIT) }, run.units() * UNIT);
        self.map()[unit..unit + run.units()].iter().for_each(|entry| entry.store(FREE, Release));
        self.with_words(|free, dirty| {
            set_run(free, unit, run, true);
            set_run(dirty, unit, run, true);
        });
        self.tables().used.set(self.used() - run.units());
    }

    /// Takes the units of all slabs back, and all blocks of the nursery; what the heap hosts stays.
    pub(super) fn give_all_slabs(self) {
        if let Some(nursery) = self.nursery() {
            nursery.reset();
        }
        for (unit, run) in self.slab_units() {
            self.give_run(unit, run);
        }
    }

    fn descriptor(self, unit: usize) -> NonNull<Slab> {
        let offset = self.tables().descriptors + unit * size_of::<Slab>();
        // SAFETY: there is a descriptor for each unit in the header.
        unsafe { self.0.at(offset) }.cast()
    }

    fn bitmap(self, unit: usize, which: usize) -> NonNull<Bitmap> {
        let offset = self.tables().bitmaps + (which * self.units() + unit) * size_of::<Bitmap>();
        // SAFETY: there are bitmaps for each unit in the header.
        unsafe { self.0.at(offset) }.cast()
    }

    /// The allocated-bits of the slab that starts at `unit`.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    fn allocated_words(&self, unit: usize) -> &[core::sync::atomic::AtomicU32] {
        let words = self.bitmap(unit, 1).cast();
        // SAFETY: every bit pattern is a valid word, and only these atomics reach the second bitmap.
        unsafe { slice::from_raw_parts(words.as_ptr(), Bitmap::BITS / 32) }
    }

    /// The slab that covers the byte `offset` behind the segment's base.
    #[inline]
    pub(crate) fn slab_at(self, offset: usize) -> Option<NonNull<Slab>> {
        let unit = offset / UNIT;
        let run = Run::ALL.get(usize::from(self.map().get(unit)?.load(Acquire).wrapping_sub(SLAB)))?;
        Some(self.descriptor(unit & !(run.units() - 1)))
    }

    /// The first unit and the run of each slab. A slab that is made while this passes over its units is left out: its first
    /// unit was free, and only that one has a descriptor.
    fn slab_units(self) -> impl Iterator<Item = (usize, Run)> {
        let mut next = 0;
        core::iter::from_fn(move || {
            while let Some(entry) = self.map().get(next) {
                let run = Run::ALL.get(usize::from(entry.load(Acquire).wrapping_sub(SLAB)));
                let (unit, units) = (next, run.map_or(1, |run| run.units()));
                next = (unit & !(units - 1)) + units;
                if let Some(&run) = run.filter(|_| unit % units == 0) {
                    return Some((unit, run));
                }
            }
            None
        })
    }

    /// The descriptors of all slabs in the segment.
    pub(crate) fn slabs(self) -> impl Iterator<Item = NonNull<Slab>> {
        self.slab_units().map(move |(unit, _)| self.descriptor(unit))
    }

    /// Sets or clears the allocated-bit of a block; false where it had that value already.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(crate) fn set_allocated(self, slab: NonNull<Slab>, index: usize, allocated: bool) -> bool {
        // SAFETY: the descriptor lives as long as the segment.
        let unit = unsafe { slab.as_ref() }.start() / UNIT;
        let (word, bit) = (&self.allocated_words(unit)[index / 32], 1 << (index % 32));
        let before = if allocated { word.fetch_or(bit, Relaxed) } else { word.fetch_and(!bit, Relaxed) };
        (before & bit != 0) != allocated
    }

    /// The allocated-bit of a block.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(crate) fn is_allocated(self, slab: NonNull<Slab>, index: usize) -> bool {
        // SAFETY: the descriptor lives as long as the segment.
        let unit = unsafe { slab.as_ref() }.start() / UNIT;
        self.allocated_words(unit)[index / 32].load(Relaxed) >> (index % 32) & 1 == 1
    }
}

/// What of a slab segment is put to use; needs no lock but the records'.
pub(crate) fn usage(segment: SegmentRef) -> Usage {
    let segment = SlabSegment::of(segment);
    let mut usage = Usage { committed: segment.overhead(), in_use: 0 };
    for (unit, run) in segment.slab_units() {
        // SAFETY: descriptors live as long as the segment, and what is read here is atomic.
        let slab = unsafe { segment.descriptor(unit).as_ref() };
        // Another slab may be made there meanwhile: no figure passes what the run has.
        let committed = slab.committed().min(run.units() * UNIT);
        usage.committed += committed + SLAB_OVERHEAD;
        usage.in_use += (slab.cut().saturating_sub(slab.free()) * slab.class().size()).min(committed);
    }
    if let Some(nursery) = segment.nursery() {
        let young = nursery.usage();
        usage.committed += young.committed;
        usage.in_use += young.in_use;
    }
    usage
}
