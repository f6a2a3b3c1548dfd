//! The protocols between threads, tried in every order.
//!
//! The sources of the protocols are compiled here as they stand, in modules of the same names, but with loom's atomics
//! behind `primitives::sync` and loom's mutex where a heap has a system's lock. Whole heaps and statics are beyond loom: each
//! model puts a few protocol types together, and takes the steps that a heap takes.

#![cfg(test)]

mod cache;
mod models;
mod os;
mod primitives;
mod segment;
