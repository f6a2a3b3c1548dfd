//! What a user holds: the heap as a value.

#![expect(unsafe_code, reason = "shares what the core points to")]

mod allocate;
mod caches;
#[cfg(any(debug_assertions, feature = "hardened"))]
mod checks;
mod core;
#[cfg(all(feature = "std", unix))]
pub(crate) mod fork;
pub(crate) mod global;
mod large;
mod medium;
mod mode;
mod options;
mod pressure;
mod resize;
mod route;
mod segments;
mod stats;
mod teardown;
mod validate;
mod watched;

use ::core::fmt;
use ::core::marker::PhantomData;
use ::core::mem;
use ::core::panic::{RefUnwindSafe, UnwindSafe};
use ::core::ptr::NonNull;
use ::core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::heap::core::Core;
use crate::heap::mode::parts::Table;
use crate::heap::options::Name;
use crate::os::lock::Locked;
use crate::os::{PageSource, SystemPages};
use crate::primitives::published::Published;
use crate::primitives::sanitizer;
use crate::segment::{Account, OwnerId, Records, Refusal, Supply, SupplyOptions};
use crate::slab::{Reserved, SlabContext, SlabPool};

pub use mode::{Local, Mode, Threaded};
pub use options::{Builder, ConfigError, MAX_NAME, MIN_LIMIT};
pub use segments::Segments;
pub use stats::{ClassStats, Failures, Stats};
pub use teardown::Teardown;

pub(crate) use allocate::{dangling, whole_block};
pub(crate) use resize::Extent;
pub(crate) use route::{Route, direct_usable};
pub(crate) use segments::usage as segment_usage;

/// A heap for one thread at a time: it may move to another thread, with all its blocks, but threads cannot share it.
///
/// ```compile_fail
/// let heap = mallocstate::MallocState::local();
/// std::thread::scope(|scope| {
///     scope.spawn(|| heap.malloc(1));
/// });
/// ```
///
/// ```
/// let heap = mallocstate::MallocState::local();
/// heap.alloc_str("moves along");
/// let heap = std::thread::spawn(move || heap).join().unwrap();
/// assert_eq!(heap.stats().live_blocks, 1);
/// ```
pub type LocalMallocState<S = SystemPages> = MallocState<Local, S>;

/// An instantiable heap.
///
/// A value that owns its memory: hand `&heap` to allocator-api2 collections, look at what it holds with
/// [`stats`](Self::stats) and [`segments`](Self::segments), and give it all back at once with [`destroy`](Self::destroy)
/// or by dropping the heap. Any number of heaps live side by side. A new heap costs nothing: it takes its first memory
/// when it is first asked for some, and it may be moved at any time, since no block and no segment points to it.
///
/// ```
/// use mallocstate::MallocState;
/// use mallocstate::collections::Vec;
///
/// let heap = MallocState::new();
/// let mut squares = Vec::new_in(&heap);
/// squares.extend((0..100_u64).map(|n| n * n));
/// assert_eq!(squares[99], 9801);
/// assert!(heap.committed() >= 800);
/// drop(squares);
/// assert_eq!(heap.destroy().live_blocks(), 0);
/// ```
///
/// Nothing that lives in a heap outlives it:
///
/// ```compile_fail
/// let numbers = {
///     let heap = mallocstate::MallocState::new();
///     mallocstate::collections::Vec::<u64>::new_in(&heap)
/// };
/// ```
///
/// # Running out of memory
///
/// `push` and `insert` of ordinary collections abort the program when the heap refuses. With a
/// [limit](Builder::limit), use `try_reserve` and the `try_` calls.
#[repr(C)]
pub struct MallocState<M: Mode = Threaded, S: PageSource = SystemPages> {
    caches: M::Table,
    core: Published<Core<M>>,
    /// What an attempt to make the core has mapped and could not give back.
    unmade: Locked<M::Lock, Records<M::Lock>>,
    account: Account,
    failures: [AtomicUsize; 3],
    options: SupplyOptions,
    name: Name,
    source: S,
    mode: PhantomData<M>,
}

// SAFETY: what the heap points to is its own segments, which have no thread; a moved heap takes its source along.
unsafe impl<M: Mode, S: PageSource + Send> Send for MallocState<M, S> {}

// SAFETY: a threaded heap is written through atomics, under locks, or in the cache of the one thread that leases its slot.
unsafe impl<S: PageSource + Send + Sync> Sync for MallocState<Threaded, S> {}

// No call of a heap unwinds half way: there is nothing broken to see after a panic elsewhere.
impl<M: Mode, S: PageSource + RefUnwindSafe> RefUnwindSafe for MallocState<M, S> {}
impl<M: Mode, S: PageSource + UnwindSafe> UnwindSafe for MallocState<M, S> {}

#[cfg(feature = "std")]
impl MallocState {
    /// A heap that any number of threads may share, on the system's pages.
    ///
    /// `const`, and takes no memory: it can be a `static`.
    ///
    /// ```
    /// use mallocstate::MallocState;
    ///
    /// static HEAP: MallocState = MallocState::new();
    /// let shared = mallocstate::collections::Box::new_in(7, &HEAP);
    /// assert_eq!(*shared, 7);
    /// ```
    pub const fn new() -> Self {
        Self::new_in(SystemPages::new())
    }

    /// Starts a heap with options: see [`Builder`].
    pub fn builder<'a>() -> Builder<'a, Threaded, SystemPages> {
        Builder::new(SystemPages::new())
    }

    /// A heap for one thread at a time, on the system's pages: no thread-locals, no locks.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::local();
    /// let word = heap.alloc_str("quick");
    /// word.make_ascii_uppercase();
    /// assert_eq!(word, "QUICK");
    /// ```
    pub const fn local() -> LocalMallocState {
        MallocState::local_in(SystemPages::new())
    }
}

#[cfg(feature = "std")]
impl Default for MallocState {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: PageSource> MallocState<Threaded, S> {
    /// A heap that any number of threads may share, on a page source of its own.
    ///
    /// A source whose segment size is no power of two, or out of bounds, does not compile.
    #[cfg(feature = "std")]
    pub const fn new_in(source: S) -> Self {
        Self::unlimited(source)
    }

    /// Starts a heap for one thread at a time with options, on a page source of its own. Works without an operating system.
    pub fn local_builder_in<'a>(source: S) -> Builder<'a, Local, S> {
        Builder::new(source)
    }

    /// A heap for one thread at a time, on a page source of its own. Works without an operating system.
    ///
    /// ```
    /// use core::mem::MaybeUninit;
    /// use mallocstate::{MallocState, RegionPages};
    ///
    /// let memory = vec![MaybeUninit::uninit(); 1 << 20].leak();
    /// let heap = MallocState::local_in(RegionPages::new(memory));
    /// let numbers = heap.alloc_slice_copy(&[1, 2, 3]);
    /// assert!(heap.contains(numbers.as_ptr()));
    /// ```
    pub const fn local_in(source: S) -> LocalMallocState<S> {
        MallocState::unlimited(source)
    }
}

/// Whether heaps have a nursery. Hardened ones do not: a nursery hands its blocks out in order.
const NURSERY: bool = !cfg!(feature = "hardened");

impl<M: Mode, S: PageSource> MallocState<M, S> {
    pub(crate) const fn unlimited(source: S) -> Self {
        const { assert!(ConfigError::check_segment_size(S::SEGMENT_SIZE).is_ok(), "segment size out of bounds") };
        Self::with_options(source, SupplyOptions::DEFAULT, usize::MAX, Name::EMPTY)
    }

    pub(crate) const fn with_options(source: S, options: SupplyOptions, limit: usize, name: Name) -> Self {
        Self {
            caches: M::Table::EMPTY,
            core: Published::nothing(),
            unmade: Locked::new(Records::new()),
            account: Account::new(limit),
            failures: [const { AtomicUsize::new(0) }; 3],
            options,
            name,
            source,
            mode: PhantomData,
        }
    }

    /// The name that the builder gave the heap; empty where it gave none.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Where the heap gets its address space.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Bytes of address space that the heap holds.
    pub fn mapped(&self) -> usize {
        self.account.mapped()
    }

    /// Bytes that the heap has put to use.
    pub fn committed(&self) -> usize {
        self.account.committed()
    }

    /// The highest [`committed`](Self::committed) so far, in bytes.
    pub fn peak(&self) -> usize {
        self.account.peak()
    }

    /// The most that the heap may commit, in bytes.
    pub fn limit(&self) -> Option<usize> {
        Some(self.account.limit()).filter(|&limit| limit != usize::MAX)
    }

    /// Changes the limit, in bytes; `None` lifts it. Where more is committed already, only new commits fail.
    ///
    /// A heap with a limit caches less: two magazines of at most `limit / 256` bytes a class, and no depot. What running
    /// threads have cached so far comes back when they next take the long way: each has at most 32 KiB a class, four
    /// blocks where these are larger than 8 KiB, what is left of a bump range, and 4 to 16 MiB of medium blocks. The first blocks of
    /// a heap share 256 KiB at most, which come back when all of them have.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// heap.set_limit(Some(1 << 20));
    /// let too_much = heap.try_alloc_slice_fill_with(2 << 20, |_| 0_u8);
    /// assert!(too_much.is_err());
    /// heap.set_limit(None);
    /// assert_eq!(heap.alloc_slice_fill_with(2 << 20, |_| 0_u8).len(), 2 << 20);
    /// ```
    pub fn set_limit(&self, limit: Option<usize>) {
        self.account.set_limit(limit.unwrap_or(usize::MAX));
        self.flush_depots();
    }

    /// The core, where the heap has had memory.
    pub(crate) fn core(&self) -> Option<&Core<M>> {
        self.core.get()
    }

    /// The core; makes the heap's first segment where there is none.
    fn core_or_make(&self) -> Result<&Core<M>, Refusal> {
        match self.core() {
            Some(core) => Ok(core),
            None => self.make_core(),
        }
    }

    /// Makes the first segment with the core in it, under the lock of what an earlier attempt has left behind.
    #[cold]
    fn make_core(&self) -> Result<&Core<M>, Refusal> {
        let lock = || {
            let making = M::making();
            (self.unmade.lock(), making)
        };
        // SAFETY: a core is published under the lock of `unmade`, and stays until the heap goes.
        unsafe { self.core.get_or_make(lock, |(unmade, making)| self.write_core(unmade, making)) }
    }

    fn write_core(&self, unmade: &mut Records<M::Lock>, making: &mut M::Making) -> Result<NonNull<Core<M>>, Refusal> {
        let (owner, mut pool) = (OwnerId::next(), SlabPool::new());
        let supply = self.supply(unmade, owner);
        // Under a limit, memory that no class gets back would be dear.
        let nursery = NURSERY && !supply.account.is_limited();
        let segment = pool.add_segment(&supply, Reserved { core: Core::<M>::HOME_BYTES, nursery })?;
        let nursery = segment.nursery().map(NonNull::from);
        let records = mem::replace(unmade, Records::new());
        // SAFETY: the segment's reserved part has room for a core, and is nobody else's.
        let core = unsafe { Core::<M>::write(segment.reserved(), owner, records, pool, nursery, segment.zero_from()) };
        // SAFETY: it was just written, and stays until the heap goes.
        M::enter(unsafe { core.as_ref() }, making);
        sanitizer::pool_made(owner.pool());
        Ok(core)
    }

    fn supply<'a>(&'a self, records: &'a Records<M::Lock>, owner: OwnerId) -> Supply<'a, S, M::Lock> {
        Supply {
            source: &self.source,
            account: &self.account,
            records,
            owner,
            options: self.options,
            beyond_limit: false,
            reclaimed: None,
        }
    }

    /// What the tiers work with.
    pub(crate) fn context<'a>(&'a self, core: &'a Core<M>) -> SlabContext<'a, S, M::Lock> {
        SlabContext { supply: self.supply(&core.records, core.owner), pool: &core.pool }
    }

    fn count_failure(&self, refusal: Refusal) {
        self.failures[refusal as usize].fetch_add(1, Relaxed);
    }
}

impl<M: Mode, S: PageSource> fmt::Debug for MallocState<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MallocState")
            .field("name", &self.name())
            .field("committed", &self.committed())
            .field("mapped", &self.mapped())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}
