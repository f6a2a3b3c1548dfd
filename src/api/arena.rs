//! The arena's way: references that live as long as the borrow of the heap.
//!
//! Nothing is freed one by one and no destructor runs: the values go with the heap, or with its next
//! [`reset`](MallocState::reset).

#![expect(unsafe_code, reason = "initialises blocks in place")]
#![expect(clippy::mut_from_ref, reason = "each call hands out memory of its own")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::slice;

use allocator_api2::alloc::AllocError;

use crate::heap::{MallocState, Mode};
use crate::os::PageSource;

/// Ends an infallible call that has failed, as the collections do.
#[cold]
fn fail(layout: Result<Layout, core::alloc::LayoutError>) -> ! {
    #[cfg(feature = "alloc")]
    if let Ok(layout) = layout {
        alloc::alloc::handle_alloc_error(layout);
    }
    panic!("a heap has no memory for {layout:?}")
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    fn place<T>(&self, layout: Layout) -> Result<NonNull<T>, AllocError> {
        self.allocate_block(layout).map(NonNull::cast).ok_or(AllocError)
    }

    /// Moves `value` into the heap.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// let point = heap.alloc((1, 2));
    /// point.0 += 10;
    /// assert_eq!(*point, (11, 2));
    /// ```
    ///
    /// # Panics
    ///
    /// Where there is no memory: as `Box::new` does.
    #[inline]
    pub fn alloc<T>(&self, value: T) -> &mut T {
        self.try_alloc(value).unwrap_or_else(|_| fail(Ok(Layout::new::<T>())))
    }

    /// Moves `value` into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] where there is no memory; `value` is then dropped.
    #[inline]
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, AllocError> {
        let place = self.place::<T>(Layout::new::<T>())?;
        // SAFETY: the block is large enough, aligned, and nobody else's.
        unsafe { place.write(value) };
        // SAFETY: it was just written, and stays for as long as the heap is borrowed.
        Ok(unsafe { &mut *place.as_ptr() })
    }

    /// Copies a string into the heap.
    ///
    /// # Panics
    ///
    /// Where there is no memory.
    #[inline]
    pub fn alloc_str(&self, text: &str) -> &mut str {
        self.try_alloc_str(text).unwrap_or_else(|_| fail(Ok(Layout::for_value(text))))
    }

    /// Copies a string into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] where there is no memory.
    #[inline]
    pub fn try_alloc_str(&self, text: &str) -> Result<&mut str, AllocError> {
        let bytes = self.try_alloc_slice_copy(text.as_bytes())?;
        // SAFETY: the bytes are a copy of a string's.
        Ok(unsafe { core::str::from_utf8_unchecked_mut(bytes) })
    }

    /// Copies a slice into the heap.
    ///
    /// # Panics
    ///
    /// Where there is no memory.
    #[inline]
    pub fn alloc_slice_copy<T: Copy>(&self, values: &[T]) -> &mut [T] {
        self.try_alloc_slice_copy(values).unwrap_or_else(|_| fail(Ok(Layout::for_value(values))))
    }

    /// Copies a slice into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] where there is no memory.
    #[inline]
    pub fn try_alloc_slice_copy<T: Copy>(&self, values: &[T]) -> Result<&mut [T], AllocError> {
        let place = self.place::<T>(Layout::for_value(values))?;
        // SAFETY: the block is as long as the slice, and new.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        // SAFETY: all elements were just written, and stay for as long as the heap is borrowed.
        Ok(unsafe { slice::from_raw_parts_mut(place.as_ptr(), values.len()) })
    }

    /// Makes a slice of `len` elements in the heap, each from its index.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// assert_eq!(heap.alloc_slice_fill_with(4, |index| index * index), [0, 1, 4, 9]);
    /// ```
    ///
    /// # Panics
    ///
    /// Where there is no memory, and where `make` does: the elements made so far are then forgotten.
    #[inline]
    pub fn alloc_slice_fill_with<T>(&self, len: usize, make: impl FnMut(usize) -> T) -> &mut [T] {
        self.try_alloc_slice_fill_with(len, make).unwrap_or_else(|_| fail(Layout::array::<T>(len)))
    }

    /// Makes a slice of `len` elements in the heap, each from its index.
    ///
    /// # Errors
    ///
    /// [`AllocError`] where there is no memory; `make` has then not been called.
    #[inline]
    pub fn try_alloc_slice_fill_with<T>(
        &self,
        len: usize,
        mut make: impl FnMut(usize) -> T,
    ) -> Result<&mut [T], AllocError> {
        let place = self.place::<T>(Layout::array::<T>(len).map_err(|_| AllocError)?)?;
        for index in 0..len {
            // SAFETY: the element is within the block.
            let element = unsafe { place.add(index) };
            // SAFETY: the block is nobody else's.
            unsafe { element.write(make(index)) };
        }
        // SAFETY: all elements were just written, and stay for as long as the heap is borrowed.
        Ok(unsafe { slice::from_raw_parts_mut(place.as_ptr(), len) })
    }
}
