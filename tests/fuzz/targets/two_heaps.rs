//! Two heaps at once, whose blocks must not mix.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mallocstate_fuzz::two_heaps::{Input, run};

fuzz_target!(|input: Input| run(&input));
