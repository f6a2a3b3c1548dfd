//! What the fuzz targets do. Each module with an `Input` is a target; the model that they compare with is the one of
//! `tests/model.rs`, from the same files.

#![expect(unsafe_code, reason = "reads and frees raw blocks, implements a page source")]

pub mod arithmetic;
pub mod coalescing;
pub mod failing_source;
pub mod heap;
pub mod two_heaps;

mod drive;
mod engine;
mod impossible;
mod scripted;
mod sizes;
mod steps;
mod walk;

// The paths by which the files of arithmetic name one another.
use arithmetic::{os, primitives, segment, slab};

#[path = "../../model/observed.rs"]
mod observed;
#[path = "../../model/operation.rs"]
mod operation;
#[expect(dead_code, reason = "shared with tests, which use the rest")]
#[path = "../../blocks/probe.rs"]
mod probe;
#[expect(dead_code, reason = "shared with tests, which use the rest")]
#[path = "../../model/run.rs"]
mod run;
#[path = "../../model/shadow.rs"]
mod shadow;
#[path = "../../support/mod.rs"]
mod support;
