//! A heap over a page source that refuses by the fuzzer's choice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mallocstate_fuzz::failing_source::{Input, run};

fuzz_target!(|input: Input| run(&input));
