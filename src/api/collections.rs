//! Collections that live in a heap, by their usual names: allocator-api2's and hashbrown's, with the heap's borrow as the
//! default allocator.
//!
//! ```
//! use mallocstate::MallocState;
//! use mallocstate::collections::{Box, HashMap, Vec};
//!
//! let heap = MallocState::new();
//! let mut squares: Vec<u64> = Vec::new_in(&heap);
//! squares.extend([1, 4, 9]);
//! let boxed: Box<u64> = Box::new_in(16, &heap);
//! squares.push(*boxed);
//! let mut roots: HashMap<u64, usize> = HashMap::new_in(&heap);
//! roots.extend(squares.iter().zip(1..).map(|(&square, root)| (square, root)));
//! assert_eq!(roots[&16], 4);
//! ```
//!
//! These grow with `push` and `insert` as usual, and like all such collections abort the program when the heap refuses:
//! in a heap with a limit use `try_reserve` first.

#[cfg(feature = "std")]
type Default<'a> = &'a crate::heap::MallocState;
#[cfg(all(not(feature = "std"), any(feature = "alloc", feature = "hashbrown")))]
type Default<'a> = &'a crate::heap::LocalMallocState<crate::os::RegionPages>;

/// A vector in a heap.
#[cfg(feature = "alloc")]
pub type Vec<'a, T, A = Default<'a>> = allocator_api2::vec::Vec<T, A>;

/// A box in a heap.
#[cfg(feature = "alloc")]
pub type Box<'a, T, A = Default<'a>> = allocator_api2::boxed::Box<T, A>;

/// A hash map in a heap.
#[cfg(feature = "hashbrown")]
pub type HashMap<'a, K, V, A = Default<'a>, H = hashbrown::DefaultHashBuilder> = hashbrown::HashMap<K, V, H, A>;

/// A hash set in a heap.
#[cfg(feature = "hashbrown")]
pub type HashSet<'a, T, A = Default<'a>, H = hashbrown::DefaultHashBuilder> = hashbrown::HashSet<T, H, A>;
