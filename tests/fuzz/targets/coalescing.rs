//! An engine on its own, against the model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mallocstate_fuzz::coalescing::{Input, run};

fuzz_target!(|input: Input| run(&input));
