//! The plain arithmetic under the tiers, against slow arithmetic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mallocstate_fuzz::arithmetic::{Input, run};

fuzz_target!(|input: Input| run(&input));
