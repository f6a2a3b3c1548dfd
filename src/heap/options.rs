//! How a heap is built: the builder, its options, and what can be wrong with them.

use core::fmt;
use core::marker::PhantomData;

use crate::heap::{Local, MallocState, Mode};
use crate::os::{MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, PageSource};
use crate::segment::{HugePages, ReleasePolicy, SupplyOptions};

/// The smallest limit that [`Builder::limit`] takes, in bytes: room for a heap's own tables and some blocks. Where the source's
/// pages have more than 16 KiB, it takes four pages.
pub const MIN_LIMIT: usize = 64 << 10;

/// Pages that a heap needs at least.
const MIN_PAGES: usize = 4;

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME: usize = 63;

/// A heap's name, kept in the heap itself.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; MAX_NAME],
    len: u8,
}

impl Name {
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_NAME], len: 0 };

    fn new(name: &str) -> Option<Self> {
        let mut this = Self::EMPTY;
        this.bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        this.len = name.len() as u8;
        Some(this)
    }

    pub(crate) fn as_str(&self) -> &str {
        // The bytes are those of a whole `&str`.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

/// An option that no heap can have: which one, what it was, and what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigError {
    field: &'static str,
    value: usize,
    bound: Bound,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bound {
    AtLeast(usize),
    AtMost(usize),
    PowerOfTwo { from: usize, to: usize },
}

impl ConfigError {
    /// The name of the option.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The value that it had.
    pub fn value(&self) -> usize {
        self.value
    }

    pub(crate) const fn at_most(field: &'static str, value: usize, bound: usize) -> Self {
        Self { field, value, bound: Bound::AtMost(bound) }
    }

    const fn at_least(field: &'static str, value: usize, bound: usize) -> Self {
        Self { field, value, bound: Bound::AtLeast(bound) }
    }

    /// Whether a heap can live on a source's segments.
    pub(crate) const fn check_segment_size(value: usize) -> Result<(), Self> {
        let (from, to) = (MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE);
        if value.is_power_of_two() && value >= from && value <= to {
            return Ok(());
        }
        Err(Self { field: "SEGMENT_SIZE", value, bound: Bound::PowerOfTwo { from, to } })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, but must be ", self.field, self.value)?;
        match self.bound {
            Bound::AtLeast(bound) => write!(f, "at least {bound}"),
            Bound::AtMost(bound) => write!(f, "at most {bound}"),
            Bound::PowerOfTwo { from, to } => write!(f, "a power of two from {from} to {to}"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Builds a heap with options. Made by `MallocState::builder()`.
///
/// ```
/// use mallocstate::{HugePages, MallocState};
///
/// let heap = MallocState::builder().name("tenant 7").limit(16 << 20).huge_pages(HugePages::Never).build()?;
/// assert_eq!(heap.name(), "tenant 7");
/// assert_eq!(heap.limit(), Some(16 << 20));
///
/// let error = MallocState::builder().limit(1000).build().unwrap_err();
/// assert_eq!(error.to_string(), "limit is 1000, but must be at least 65536");
/// # Ok::<(), mallocstate::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder<'a, M: Mode, S: PageSource> {
    name: &'a str,
    limit: Option<usize>,
    options: SupplyOptions,
    source: S,
    mode: PhantomData<fn() -> M>,
}

impl<'a, M: Mode, S: PageSource> Builder<'a, M, S> {
    pub(crate) const fn new(source: S) -> Self {
        Self { name: "", limit: None, options: SupplyOptions::DEFAULT, source, mode: PhantomData }
    }

    /// Names the heap, in at most 63 bytes of UTF-8. The name is copied.
    #[must_use]
    pub fn name<'b>(self, name: &'b str) -> Builder<'b, M, S> {
        let Self { limit, options, source, mode, .. } = self;
        Builder { name, limit, options, source, mode }
    }

    /// Bounds what the heap may commit, in bytes; at least [`MIN_LIMIT`]. 256 KiB hold, where pages have 4 KiB, a block in each
    /// of the 24 classes to 512 bytes and one of 20 KiB. Only a shrink that must move may pass it; the page that its new block then opens, and
    /// the tables made for it, may stay above it until something else is freed.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: Some(bytes), ..self }
    }

    /// Says when empty segments leave the heap.
    #[must_use]
    pub fn release_policy(mut self, policy: ReleasePolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// Says when to ask for transparent huge pages.
    #[must_use]
    pub fn huge_pages(mut self, huge: HugePages) -> Self {
        self.options.huge = huge;
        self
    }

    /// Overwrites segments with zeros before they leave the heap, so that no other heap of the process finds what was in
    /// them. Costs a `memset` of what was touched.
    #[must_use]
    pub fn zero_on_release(mut self, zero: bool) -> Self {
        self.options.zero_on_release = zero;
        self
    }

    /// Takes address space from another source.
    #[must_use]
    pub fn source<T: PageSource>(self, source: T) -> Builder<'a, M, T> {
        let Self { name, limit, options, mode, .. } = self;
        Builder { name, limit, options, source, mode }
    }

    /// Makes it a heap for one thread at a time.
    #[must_use]
    pub fn local(self) -> Builder<'a, Local, S> {
        self.mode()
    }

    pub(crate) fn mode<N: Mode>(self) -> Builder<'a, N, S> {
        let Self { name, limit, options, source, .. } = self;
        Builder { name, limit, options, source, mode: PhantomData }
    }

    /// Makes the heap. No memory is taken before the first allocation.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the option, its value, and the bound that it breaks.
    pub fn build(self) -> Result<MallocState<M, S>, ConfigError> {
        ConfigError::check_segment_size(S::SEGMENT_SIZE)?;
        let limit = self.limit.unwrap_or(usize::MAX);
        let least = MIN_LIMIT.max(self.source.page_size().saturating_mul(MIN_PAGES));
        if limit < least {
            return Err(ConfigError::at_least("limit", limit, least));
        }
        let ReleasePolicy { interval, batch } = self.options.policy;
        for (field, value) in [("release_policy.interval", interval), ("release_policy.batch", batch)] {
            if value == 0 {
                return Err(ConfigError::at_least(field, value, 1));
            }
        }
        let name = Name::new(self.name).ok_or(ConfigError::at_most("name", self.name.len(), MAX_NAME))?;
        Ok(MallocState::with_options(self.source, self.options, limit, name))
    }
}
