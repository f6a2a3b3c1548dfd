//! What a [`TestPages`](super::TestPages) knows: ranges, calls, and which calls to refuse.

use core::ptr::NonNull;
use std::collections::{BTreeMap, BTreeSet};

use crate::os::source::PageError;

/// A call that a [`PageSource`](crate::os::PageSource) gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// [`PageSource::map`](crate::os::PageSource::map).
    Map,
    /// [`PageSource::commit`](crate::os::PageSource::commit).
    Commit,
    /// [`PageSource::discard`](crate::os::PageSource::discard).
    Discard,
    /// [`PageSource::unmap`](crate::os::PageSource::unmap).
    Unmap,
    /// [`PageSource::grow`](crate::os::PageSource::grow).
    Grow,
    /// [`PageSource::advise_huge`](crate::os::PageSource::advise_huge).
    Advise,
}

const CALLS: usize = 6;

/// Which calls are refused; the number is of calls that pass first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Never,
    Once(usize),
    From(usize),
}

impl Refusal {
    /// Whether this call is refused.
    fn step(&mut self) -> bool {
        let (now, next) = match *self {
            Self::Never => (false, Self::Never),
            Self::Once(0) => (true, Self::Never),
            Self::Once(calls) => (false, Self::Once(calls - 1)),
            Self::From(0) => (true, Self::From(0)),
            Self::From(calls) => (false, Self::From(calls - 1)),
        };
        *self = next;
        now
    }
}

/// The ranges that are handed out, the calls so far, and those to refuse.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Address and length of each range that is handed out.
    ranges: BTreeMap<usize, usize>,
    /// Address of each page that is committed, where commits are demanded.
    committed: BTreeSet<usize>,
    calls: [usize; CALLS],
    refusals: usize,
    any: Refusal,
    each: [Refusal; CALLS],
}

impl Ledger {
    pub(super) const NEW: Self = Self {
        ranges: BTreeMap::new(),
        committed: BTreeSet::new(),
        calls: [0; CALLS],
        refusals: 0,
        any: Refusal::Never,
        each: [Refusal::Never; CALLS],
    };

    /// Sets which calls are refused: of one kind, or of any.
    pub(super) fn refuse(&mut self, call: Option<Call>, refusal: Refusal) {
        match call {
            Some(call) => self.each[call as usize] = refusal,
            None => self.any = refusal,
        }
    }

    pub(super) fn refuse_nothing(&mut self) {
        self.any = Refusal::Never;
        self.each = [Refusal::Never; CALLS];
    }

    /// Calls so far, of one kind or of any.
    pub(super) fn calls(&self, call: Option<Call>) -> usize {
        call.map_or_else(|| self.calls.iter().sum(), |call| self.calls[call as usize])
    }

    pub(super) const fn refusals(&self) -> usize {
        self.refusals
    }

    /// Bytes in the ranges.
    pub(super) fn bytes(&self) -> usize {
        self.ranges.values().sum()
    }

    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Pages that are committed, where commits are demanded.
    pub(super) fn committed_pages(&self) -> usize {
        self.committed.len()
    }

    /// Notes which pages of a range are committed from here on.
    pub(super) fn set_committed(&mut self, ptr: NonNull<u8>, len: usize, page: usize, committed: bool) {
        let start = ptr.addr().get();
        if committed {
            self.committed.extend((start..start + len).step_by(page));
        } else {
            self.forget_committed(start, len);
        }
    }

    fn forget_committed(&mut self, start: usize, len: usize) {
        let mut behind = self.committed.split_off(&start).split_off(&(start + len));
        self.committed.append(&mut behind);
    }

    /// Counts a call, and refuses it where that was asked for.
    pub(super) fn begin(&mut self, call: Call) -> Result<(), PageError> {
        self.calls[call as usize] += 1;
        let (any, each) = (self.any.step(), self.each[call as usize].step());
        if any || each {
            self.refusals += 1;
            return Err(PageError);
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, address: usize, len: usize) {
        let other = self.ranges.range(..address + len).next_back().filter(|&(&other, &len)| other + len > address);
        assert!(other.is_none(), "pages handed out twice: {address:#x} and {other:x?}");
        self.ranges.insert(address, len);
    }

    pub(super) fn remove(&mut self, address: usize) {
        let len = self.ranges.remove(&address).unwrap_or(0);
        self.forget_committed(address, len);
    }

    /// Checks that a range is one that was handed out.
    pub(super) fn check_whole(&self, call: Call, ptr: NonNull<u8>, len: usize) {
        let known = self.ranges.get(&ptr.addr().get());
        assert!(known == Some(&len), "{call:?} of {len:#x} bytes at {ptr:?}, where {known:x?} were handed out");
    }

    /// Checks that a range lies within one that was handed out.
    pub(super) fn check_within(&self, call: Call, ptr: NonNull<u8>, len: usize, page: usize) {
        let address = ptr.addr().get();
        assert!(address % page == 0 && len % page == 0 && len > 0, "{call:?} of {len:#x} bytes at {ptr:?}: no pages");
        let range = self.ranges.range(..=address).next_back();
        let within = range.is_some_and(|(start, whole)| address + len <= start + whole);
        assert!(within, "{call:?} of {len:#x} bytes at {ptr:?}, which were not handed out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn page(number: usize) -> NonNull<u8> {
        NonNull::without_provenance(core::num::NonZero::new(number * PAGE).unwrap())
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::NEW;
        ledger.insert(4 * PAGE, 4 * PAGE);
        ledger
    }

    fn refused(refusal: Refusal) -> [bool; 4] {
        let mut ledger = Ledger::NEW;
        ledger.refuse(None, refusal);
        [(); 4].map(|()| ledger.begin(Call::Map).is_err())
    }

    #[test]
    fn calls_are_refused_as_asked() {
        assert_eq!(refused(Refusal::Never), [false, false, false, false]);
        assert_eq!(refused(Refusal::Once(1)), [false, true, false, false]);
        assert_eq!(refused(Refusal::From(2)), [false, false, true, true]);
    }

    #[test]
    fn one_kind_is_refused_alone() {
        let mut ledger = ledger();
        ledger.refuse(Some(Call::Grow), Refusal::From(0));
        assert_eq!(ledger.begin(Call::Map), Ok(()));
        assert_eq!(ledger.begin(Call::Grow), Err(PageError));
        assert_eq!((ledger.calls(None), ledger.calls(Some(Call::Grow)), ledger.refusals()), (2, 1, 1));
    }

    #[test]
    fn pages_are_committed_once() {
        let mut ledger = ledger();
        for (first, pages, committed, sum) in [(4, 3, true, 3), (5, 3, true, 4), (5, 1, false, 3), (4, 4, false, 0)] {
            ledger.set_committed(page(first), pages * PAGE, PAGE, committed);
            assert_eq!(ledger.committed_pages(), sum);
        }
    }

    #[test]
    fn work_within_a_range_passes() {
        let ledger = ledger();
        ledger.check_within(Call::Commit, page(4), 4 * PAGE, PAGE);
        ledger.check_within(Call::Commit, page(6), 2 * PAGE, PAGE);
        ledger.check_whole(Call::Unmap, page(4), 4 * PAGE);
    }

    #[test]
    #[should_panic(expected = "which were not handed out")]
    fn work_beyond_a_range_is_noticed() {
        ledger().check_within(Call::Discard, page(7), 2 * PAGE, PAGE);
    }

    #[test]
    #[should_panic(expected = "no pages")]
    fn work_on_half_a_page_is_noticed() {
        ledger().check_within(Call::Discard, page(4), PAGE / 2, PAGE);
    }

    #[test]
    #[should_panic(expected = "Unmap of")]
    fn half_a_range_given_back_is_noticed() {
        ledger().check_whole(Call::Unmap, page(4), 2 * PAGE);
    }

    #[test]
    #[should_panic(expected = "handed out twice")]
    fn an_overlap_is_noticed() {
        ledger().insert(2 * PAGE, 3 * PAGE);
    }
}
