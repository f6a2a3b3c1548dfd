//! An entry for each slot beyond a heap's own table, in chunks of doubling size that are made when they are first used.
//!
//! ```text
//! slots   64..128   128..256   256..512   …   32 768..65 536
//! chunk      0          1          2      …         9
//! ```
//!
//! A chunk is published once, and never moves: see [`Published`].

#![expect(unsafe_code, reason = "finds entries in raw memory")]

use core::ptr::NonNull;

use crate::primitives::published::Published;

/// How many chunks there are.
const CHUNKS: usize = 10;

/// Slots of the first chunk, and of the heap's own table before it.
const FIRST_CHUNK: usize = 64;

/// Entries of type `T` by slot.
pub(crate) struct Chunks<T>([Published<T>; CHUNKS]);

/// The entry of a slot: its chunk, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    chunk: usize,
    index: usize,
}

impl Place {
    /// Where the entry of a slot is; `None` for slots before the first chunk, and for those beyond the last one.
    pub(crate) fn of(slot: usize) -> Option<Self> {
        let chunk = (slot / FIRST_CHUNK).checked_ilog2()? as usize;
        (chunk < CHUNKS).then(|| Self { chunk, index: slot - (FIRST_CHUNK << chunk) })
    }
}

impl<T> Chunks<T> {
    pub(crate) const fn new() -> Self {
        Self([const { Published::nothing() }; CHUNKS])
    }

    /// The entry, where its chunk has been made.
    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        // SAFETY: the chunk was published here.
        self.0[place.chunk].pointer().map(|chunk| unsafe { self.entry(chunk, place) })
    }

    /// The entry. Where this is the first use of its chunk, `host` finds room for as many entries as it is told, and all of
    /// them are `empty`.
    ///
    /// # Safety
    ///
    /// What `lock` answers excludes all others that would make a chunk here. The room is writable, nobody else's, and stays
    /// until `self` goes.
    pub(crate) unsafe fn get_or_make<G, E>(
        &self,
        place: Place,
        lock: impl FnOnce() -> G,
        host: impl FnOnce(&mut G, usize) -> Result<NonNull<T>, E>,
        empty: impl Fn() -> T,
    ) -> Result<&T, E> {
        let make = |guard: &mut G| {
            let len = FIRST_CHUNK << place.chunk;
            let chunk = host(guard, len)?;
            for index in 0..len {
                // SAFETY: there is room for that many entries.
                let entry = unsafe { chunk.add(index) };
                // SAFETY: the room is writable and nobody else's.
                unsafe { entry.write(empty()) };
            }
            Ok(chunk)
        };
        // SAFETY: the lock excludes, and the room stays.
        let chunk = unsafe { self.0[place.chunk].pointer_or_make(lock, make) }?;
        // SAFETY: the chunk was published here.
        Ok(unsafe { self.entry(chunk, place) })
    }

    /// An entry of a chunk.
    ///
    /// # Safety
    ///
    /// The chunk was published for the place's chunk number in `self`.
    unsafe fn entry(&self, chunk: NonNull<T>, place: Place) -> &T {
        // SAFETY: a place's index is below the length of its chunk.
        let entry = unsafe { chunk.add(place.index) };
        // SAFETY: what is published stays.
        unsafe { entry.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_beyond_the_table_has_a_place_of_its_own() {
        let mut expected = Place { chunk: 0, index: 0 };
        for slot in FIRST_CHUNK..FIRST_CHUNK << CHUNKS {
            assert_eq!(Place::of(slot), Some(expected));
            expected.index += 1;
            if expected.index == FIRST_CHUNK << expected.chunk {
                expected = Place { chunk: expected.chunk + 1, index: 0 };
            }
        }
        assert_eq!(Place::of(FIRST_CHUNK << CHUNKS), None);
        assert_eq!(Place::of(FIRST_CHUNK - 1), None);
    }
}
