//! References from a heap that is used as an arena: values, strings and slices, freed all at once.

use std::hint::black_box;
use std::time::Duration;

use crate::peers::Arena;
use crate::timing::nanoseconds_per_unit;

/// Rounds of one value, one string and one slice.
const ROUNDS: usize = 100;

/// Copied from; strings of its beginning have different lengths.
const TEXT: &str = "the quick brown fox jumps over the lazy dog";

struct Node {
    left: u64,
    right: u64,
    weight: u32,
}

fn fill<A: Arena>(arena: &A) {
    let numbers = [1_u32; 32];
    for round in 0..ROUNDS {
        let node = arena.value(Node { left: round as u64, right: 1, weight: 2 });
        black_box((&node.left, &node.right, &node.weight));
        black_box(arena.text(&TEXT[..black_box(round % TEXT.len())]));
        black_box(arena.slice(&numbers[..black_box(round % numbers.len())]));
    }
}

/// Calls in one round of an arena.
const CALLS: f64 = 3.0 * ROUNDS as f64;

/// Time of one call in an arena that is made and destroyed around three hundred of them.
pub(super) fn measure_fresh<A: Arena>(budget: Duration) -> f64 {
    let arena = nanoseconds_per_unit(budget, |arenas| {
        for _ in 0..arenas {
            fill(&A::create());
        }
    });
    arena / CALLS
}

/// Time of one call in an arena that is reset after three hundred of them.
pub(super) fn measure_reset<A: Arena>(budget: Duration) -> f64 {
    let mut arena = A::create();
    let round = nanoseconds_per_unit(budget, |rounds| {
        for _ in 0..rounds {
            fill(&arena);
            arena.reset();
        }
    });
    round / CALLS
}
