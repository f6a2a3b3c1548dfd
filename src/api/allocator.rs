//! The allocator trait, for the heap by value; `&MallocState` follows from the trait crate.

#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::Layout;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::heap::{MallocState, Mode};
use crate::os::PageSource;

/// Implements the trait for a type that hands out the blocks of a heap, by the expression that leads to the heap.
macro_rules! implement_allocator {
    ([$($generics:tt)*] $type:ty, $state:ident => $heap:expr) => {
        // SAFETY: blocks lie in the heap's segments, which neither move nor go while the allocator or a clone of it
        // is there; every clone leads to the same heap.
        unsafe impl<$($generics)*> Allocator for $type {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                let $state = self;
                $heap.allocate_block(layout).ok_or(AllocError)
            }

            #[inline]
            fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                let $state = self;
                $heap.allocate_zeroed_block(layout).ok_or(AllocError)
            }

            #[inline]
            unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
                let $state = self;
                // SAFETY: the caller keeps the trait's contract.
                unsafe { $heap.free_block(ptr, layout) }
            }

            #[inline]
            unsafe fn grow(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
                let $state = self;
                // SAFETY: the caller keeps the trait's contract.
                unsafe { $heap.resize_block(ptr, $heap.extent(ptr, old), new) }.ok_or(AllocError)
            }

            #[inline]
            unsafe fn grow_zeroed(
                &self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, AllocError> {
                let $state = self;
                // SAFETY: the caller keeps the trait's contract.
                unsafe { $heap.grow_zeroed_block(ptr, $heap.extent(ptr, old), new) }.ok_or(AllocError)
            }

            #[inline]
            unsafe fn shrink(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
                let $state = self;
                // SAFETY: the caller keeps the trait's contract.
                unsafe { $heap.resize_block(ptr, $heap.extent(ptr, old), new) }.ok_or(AllocError)
            }
        }
    };
}

#[cfg(feature = "alloc")]
pub(crate) use implement_allocator;

implement_allocator!([M: Mode, S: PageSource] MallocState<M, S>, heap => heap);
