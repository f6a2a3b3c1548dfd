//! Ranges that have no owner any more and that the system does not take back.
//!
//! Linux refuses to unmap what lies between two neighbours where the process has as many maps as it may: that would make
//! two maps of one. Such a range waits here, without its memory, until the system takes it.
//!
//! ```text
//! first ──► │ next, start, len │ nothing … │ ──► │ next, start, len │ nothing … │ ◄── last
//! ```
//!
//! # Invariants
//!
//! - Somewhere in each range there is a node that says where it starts and how long it is.
//! - `count` and `bytes` speak of all ranges, those included that are out of the list while the system is asked.
//! - No system call is made under the lock.

#![expect(unsafe_code, reason = "keeps a list within the ranges; calls the system")]

use core::ptr::NonNull;

use super::lock::Locked;
use super::native;
use super::raw_locks::SystemLock;

/// What is written into a range.
struct Node {
    next: Option<NonNull<Node>>,
    start: NonNull<u8>,
    len: usize,
}

struct Leftovers {
    first: Option<NonNull<Node>>,
    last: Option<NonNull<Node>>,
    count: usize,
    bytes: usize,
}

// SAFETY: the list owns its ranges; nobody else has a pointer into them.
unsafe impl Send for Leftovers {}

impl Leftovers {
    const NONE: Self = Self { first: None, last: None, count: 0, bytes: 0 };

    /// Puts a node at the end.
    ///
    /// # Safety
    ///
    /// The place is writable, aligned for a node, and nobody's, and so is the whole range.
    unsafe fn push(&mut self, place: NonNull<Node>, start: NonNull<u8>, len: usize) {
        // SAFETY: the caller keeps the contract.
        unsafe { place.write(Node { next: None, start, len }) };
        match self.last.replace(place) {
            None => self.first = Some(place),
            // SAFETY: the list owns its nodes.
            Some(mut before) => unsafe { before.as_mut() }.next = Some(place),
        }
    }

    /// Takes the node out that came first, and says where.
    fn pop(&mut self) -> Option<(NonNull<Node>, Node)> {
        let place = self.first?;
        // SAFETY: the list owns its nodes, and this one is out of it from here on.
        let node = unsafe { place.read() };
        self.first = node.next;
        if node.next.is_none() {
            self.last = None;
        }
        Some((place, node))
    }
}

type Shared = Locked<SystemLock, Leftovers>;

/// What no heap and no cache of the process has.
static LEFTOVERS: Shared = Locked::new(Leftovers::NONE);

/// Whether the system takes a range back.
type Unmap = fn(NonNull<u8>, usize) -> bool;

const SYSTEM: Unmap = |ptr, len| {
    // SAFETY: nobody uses a range that is left over; where this succeeds it is forgotten.
    unsafe { native::unmap(ptr, len) }.is_ok()
};

/// Keeps a range.
///
/// # Safety
///
/// As for [`Leftovers::push`].
unsafe fn add(leftovers: &Shared, place: NonNull<Node>, start: NonNull<u8>, len: usize) {
    let mut locked = leftovers.lock();
    // SAFETY: the caller keeps the contract.
    unsafe { locked.push(place, start, len) };
    locked.count += 1;
    locked.bytes += len;
}

/// Asks the system to take up to `most` ranges back, each once; the answer is how many bytes that was.
fn retry_in(leftovers: &Shared, most: usize, unmap: Unmap) -> usize {
    let tries = leftovers.lock().count.min(most);
    let mut released = 0;
    for _ in 0..tries {
        let Some((place, Node { start, len, .. })) = leftovers.lock().pop() else { break };
        let taken = unmap(start, len);
        let mut locked = leftovers.lock();
        if taken {
            locked.count -= 1;
            locked.bytes -= len;
            released += len;
        } else {
            // SAFETY: the range is as it was.
            unsafe { locked.push(place, start, len) };
        }
    }
    released
}

/// Gives what the system has mapped back to it, now or later.
///
/// # Safety
///
/// `native::map` returned the range, or it is an end of such a one. At `place`, a whole page of it can be written to, and
/// nobody uses it any more.
#[cfg(any(unix, feature = "hardened"))]
pub(super) unsafe fn give_back(start: NonNull<u8>, len: usize, place: NonNull<u8>) {
    // SAFETY: the caller gives the range up.
    if unsafe { native::unmap(start, len) }.is_err() {
        // SAFETY: as above; the system has refused, and a page has room for a node.
        unsafe { add(&LEFTOVERS, place.cast(), start, len) };
    }
}

/// Gives a range back to the system, now or later; whether it is gone.
///
/// # Safety
///
/// `ranges::map` or `ranges::grow` returned the range; its first page is committed, and nobody uses it any more.
pub(super) unsafe fn give_back_range(ptr: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the caller gives the range up.
    let gone = unsafe { super::ranges::unmap(ptr, len) }.is_ok();
    if !gone {
        // SAFETY: as above; the system has refused.
        unsafe { keep(ptr, len) };
    }
    gone
}

/// Keeps a range that the system has refused to take back.
///
/// # Safety
///
/// As for [`give_back_range`].
#[cold]
pub(super) unsafe fn keep(ptr: NonNull<u8>, len: usize) {
    let page = native::page_size();
    if len > page {
        // SAFETY: the range is longer than a page.
        let rest = unsafe { ptr.add(page) };
        // SAFETY: nobody needs the contents. Where the system refuses, they stay.
        let _ = unsafe { native::discard(rest, len - page) };
    }
    #[cfg(feature = "hardened")]
    let (start, len) = super::guard::whole(ptr, len);
    #[cfg(not(feature = "hardened"))]
    let start = ptr;
    // SAFETY: the caller gives the range up, and its first page is committed.
    unsafe { add(&LEFTOVERS, ptr.cast(), start, len) };
}

/// Asks the system to take up to `most` ranges back; the answer is how many bytes that was.
pub(super) fn retry(most: usize) -> usize {
    retry_in(&LEFTOVERS, most, SYSTEM)
}

/// Bytes of addresses that are left over.
pub(super) fn bytes() -> usize {
    LEFTOVERS.lock().bytes
}

/// The lock that is held around a fork. A range that another thread is asking the system about is lost to the child.
#[cfg(unix)]
pub(crate) fn fork_lock() -> &'static SystemLock {
    LEFTOVERS.raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WILLING: Unmap = |_, _| true;
    const UNWILLING: Unmap = |_, _| false;
    /// Takes what is one page long.
    const WILLING_FOR_PAGES: Unmap = |_, len| len == PAGE;

    const PAGE: usize = 4096;

    /// Keeps a range of each length; only the nodes of these are there.
    fn keeping(lengths: &[usize]) -> Shared {
        let leftovers = Locked::new(Leftovers::NONE);
        for &len in lengths {
            let place = NonNull::from(std::boxed::Box::leak(std::boxed::Box::new([0_usize; 3])));
            // SAFETY: there is room for a node, which nobody else has.
            unsafe { add(&leftovers, place.cast(), place.cast(), len) };
        }
        leftovers
    }

    fn kept(leftovers: &Shared) -> (usize, usize) {
        let locked = leftovers.lock();
        (locked.count, locked.bytes)
    }

    #[test]
    fn what_the_system_refuses_stays_until_it_does_not() {
        let leftovers = keeping(&[PAGE, 2 * PAGE, 3 * PAGE, PAGE]);
        assert_eq!(kept(&leftovers), (4, 7 * PAGE));
        assert_eq!(retry_in(&leftovers, usize::MAX, UNWILLING), 0);
        assert_eq!(kept(&leftovers), (4, 7 * PAGE));
        assert_eq!(retry_in(&leftovers, usize::MAX, WILLING_FOR_PAGES), 2 * PAGE);
        assert_eq!(kept(&leftovers), (2, 5 * PAGE));
        assert_eq!(retry_in(&leftovers, usize::MAX, WILLING), 5 * PAGE);
        assert_eq!(kept(&leftovers), (0, 0));
        assert!(leftovers.lock().pop().is_none());
    }

    #[test]
    fn a_refused_range_lets_the_others_go_first() {
        let leftovers = keeping(&[3 * PAGE, PAGE, 2 * PAGE]);
        assert_eq!(retry_in(&leftovers, 1, WILLING_FOR_PAGES), 0);
        assert_eq!(retry_in(&leftovers, 1, WILLING_FOR_PAGES), PAGE);
        assert_eq!(retry_in(&leftovers, 1, WILLING), 2 * PAGE);
        assert_eq!(retry_in(&leftovers, 1, WILLING), 3 * PAGE);
    }
}
