//! A heap of any mode and any options, against the model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mallocstate_fuzz::heap::{Input, run};

fuzz_target!(|input: Input| run(&input));
