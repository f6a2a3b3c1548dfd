//! A doubly linked list threaded through its elements.
//!
//! The list owns nothing and points to nothing that moves: elements live in segments, and the head may move freely,
//! since no element points back to it. Pushing, removing and popping are O(1).
//!
//! # Invariants
//!
//! - `head` is null exactly when the list is empty; the first element's `prev` and the last one's `next` are null.
//! - `a.next == b` exactly when `b.prev == a`.

#![expect(unsafe_code, reason = "the links of an intrusive list are raw pointers")]

use core::cell::Cell;
use core::ptr::{self, NonNull};

/// The two links that an element carries.
pub(crate) struct Links<T> {
    next: Cell<*mut T>,
    prev: Cell<*mut T>,
}

impl<T> Links<T> {
    pub(crate) const fn new() -> Self {
        Self { next: Cell::new(ptr::null_mut()), prev: Cell::new(ptr::null_mut()) }
    }
}

/// A type that carries links.
///
/// # Safety
///
/// `links` always returns the same field of the element.
pub(crate) unsafe trait Linked: Sized {
    fn links(&self) -> &Links<Self>;
}

/// The ends of the list.
pub(crate) struct List<T> {
    head: *mut T,
    tail: *mut T,
}

// SAFETY: the list is a pair of pointers; whoever reaches it (always under a lock) may follow them from any thread.
unsafe impl<T> Send for List<T> {}

impl<T: Linked> List<T> {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut() }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    pub(crate) fn first(&self) -> Option<NonNull<T>> {
        NonNull::new(self.head)
    }

    /// The element after `element`.
    ///
    /// # Safety
    ///
    /// `element` is in a list whose lock the caller holds.
    pub(crate) unsafe fn after(element: NonNull<T>) -> Option<NonNull<T>> {
        // SAFETY: an element of a list is alive.
        let links = unsafe { element.as_ref() }.links();
        NonNull::new(links.next.get())
    }

    /// Puts `element` first.
    ///
    /// # Safety
    ///
    /// `element` is alive, in no list through these links, and stays alive until it is removed.
    pub(crate) unsafe fn push_front(&mut self, element: NonNull<T>) {
        // SAFETY: the caller says that the element is alive.
        let links = unsafe { element.as_ref() }.links();
        links.prev.set(ptr::null_mut());
        links.next.set(self.head);
        match NonNull::new(self.head) {
            // SAFETY: elements of the list are alive.
            Some(head) => unsafe { head.as_ref() }.links().prev.set(element.as_ptr()),
            None => self.tail = element.as_ptr(),
        }
        // INVARIANT: the new head's `prev` is null, and the old head points back to it.
        self.head = element.as_ptr();
    }

    /// Puts `element` last.
    ///
    /// # Safety
    ///
    /// As for [`push_front`](Self::push_front).
    pub(crate) unsafe fn push_back(&mut self, element: NonNull<T>) {
        // SAFETY: the caller says that the element is alive.
        let links = unsafe { element.as_ref() }.links();
        links.next.set(ptr::null_mut());
        links.prev.set(self.tail);
        match NonNull::new(self.tail) {
            // SAFETY: elements of the list are alive.
            Some(tail) => unsafe { tail.as_ref() }.links().next.set(element.as_ptr()),
            None => self.head = element.as_ptr(),
        }
        // INVARIANT: the new tail's `next` is null, and the old tail points to it.
        self.tail = element.as_ptr();
    }

    /// Puts `element` before `place`, or last where there is none.
    ///
    /// # Safety
    ///
    /// As for [`push_front`](Self::push_front); `place` is in this list.
    pub(crate) unsafe fn insert_before(&mut self, place: Option<NonNull<T>>, element: NonNull<T>) {
        let Some(place) = place else {
            // SAFETY: the caller keeps the contract of `push_back`.
            return unsafe { self.push_back(element) };
        };
        // SAFETY: elements of the list are alive.
        let after = unsafe { place.as_ref() }.links();
        let Some(before) = NonNull::new(after.prev.get()) else {
            // SAFETY: the caller keeps the contract of `push_front`.
            return unsafe { self.push_front(element) };
        };
        // SAFETY: the caller says that the element is alive.
        let links = unsafe { element.as_ref() }.links();
        links.prev.set(before.as_ptr());
        links.next.set(place.as_ptr());
        after.prev.set(element.as_ptr());
        // SAFETY: a neighbour is an element of the list, hence alive.
        unsafe { before.as_ref() }.links().next.set(element.as_ptr());
    }

    /// Takes `element` out.
    ///
    /// # Safety
    ///
    /// `element` is in this list.
    pub(crate) unsafe fn remove(&mut self, element: NonNull<T>) {
        // SAFETY: elements of the list are alive.
        let links = unsafe { element.as_ref() }.links();
        let (next, prev) = (links.next.get(), links.prev.get());
        match NonNull::new(prev) {
            // SAFETY: a neighbour is an element of the list, hence alive.
            Some(prev) => unsafe { prev.as_ref() }.links().next.set(next),
            None => self.head = next,
        }
        match NonNull::new(next) {
            // SAFETY: a neighbour is an element of the list, hence alive.
            Some(next) => unsafe { next.as_ref() }.links().prev.set(prev),
            None => self.tail = prev,
        }
    }

    /// Takes the first element out.
    pub(crate) fn pop_front(&mut self) -> Option<NonNull<T>> {
        let first = self.first()?;
        // SAFETY: it is this list's own head.
        unsafe { self.remove(first) };
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    struct Item {
        value: usize,
        links: Links<Item>,
    }

    // SAFETY: always the same field.
    unsafe impl Linked for Item {
        fn links(&self) -> &Links<Self> {
            &self.links
        }
    }

    fn contents(list: &List<Item>) -> std::vec::Vec<usize> {
        let mut values = std::vec::Vec::new();
        let mut next = list.first();
        while let Some(item) = next {
            // SAFETY: the item is in the list.
            values.push(unsafe { item.as_ref() }.value);
            // SAFETY: as above.
            next = unsafe { List::after(item) };
        }
        values
    }

    #[test]
    fn agrees_with_a_deque() {
        let items: std::vec::Vec<Item> = (0..8).map(|value| Item { value, links: Links::new() }).collect();
        let at = |index: usize| NonNull::from(&items[index]);
        let mut list = List::new();
        let mut model = VecDeque::new();
        let mut seed = 1_u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = (seed >> 20) as usize % items.len();
            let found = model.iter().position(|&value| value == index);
            match (found, (seed >> 30) % 4) {
                (Some(position), 0 | 1) => {
                    model.remove(position);
                    // SAFETY: the model says that it is in the list.
                    unsafe { list.remove(at(index)) };
                }
                (None, 0 | 1) => {
                    model.push_front(index);
                    // SAFETY: the model says that it is not in the list.
                    unsafe { list.push_front(at(index)) };
                }
                (None, 2) => {
                    model.push_back(index);
                    // SAFETY: the model says that it is not in the list.
                    unsafe { list.push_back(at(index)) };
                }
                _ => {
                    // SAFETY: items of the list are alive.
                    let popped = list.pop_front().map(|item| unsafe { item.as_ref() }.value);
                    assert_eq!(popped, model.pop_front());
                }
            }
            assert_eq!(VecDeque::from(contents(&list)), model);
            assert_eq!(list.is_empty(), model.is_empty());
        }
    }
}
