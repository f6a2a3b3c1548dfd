//! The heaps that are compared, each behind the same trait.

#![expect(unsafe_code, reason = "the adapters' trait hands out raw blocks")]

mod block;
mod bumpalo;
mod dlmalloc;
mod handle;
mod id;
mod jemalloc;
mod mallocstate;
mod mimalloc;
mod rlsf;
mod rusty;
mod system;

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;

pub use block::{Block, Size, Slots, Table};
pub use handle::{In, Resize};
pub use id::PeerId;

/// One kind of heap, used the way its documentation recommends.
///
/// # Safety
///
/// A block that [`allocate`](Self::allocate) returns fits the layout, overlaps no block in use, and stays valid until it
/// is freed or the heap is dropped, wherever the heap is moved in between. A heap that is `Sync` hands out blocks to any
/// thread, and takes back in any thread what another got.
pub unsafe trait Peer: Sized {
    /// Whether dropping the heap gives back all that it holds. Otherwise each block is freed first.
    const WHOLESALE: bool = true;

    /// What collections in the heap take for an allocator.
    type Handle<'heap>: Allocator + Copy
    where
        Self: 'heap;

    /// A new, empty heap.
    fn create() -> Self;

    /// An allocator for collections in the heap.
    fn handle(&self) -> Self::Handle<'_>;

    /// A block for the layout, whose size is not zero.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block is from this heap, in use, and of this layout; the caller gives it up.
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout);

    /// Gives unused memory back to the system, by whatever call the heap has for it.
    fn reclaim(&self) {}
}

/// A heap that hands out references, and frees all of them at once.
pub trait Arena: Peer {
    /// Moves a value into the heap.
    fn value<T>(&self, value: T) -> &T;

    /// Copies a string into the heap.
    fn text(&self, text: &str) -> &str;

    /// Copies a slice into the heap.
    fn slice<T: Copy>(&self, values: &[T]) -> &[T];

    /// Frees everything and keeps the heap.
    fn reset(&mut self);
}
