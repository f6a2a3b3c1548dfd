//! mallocstate beside other heaps: the same work for each, measured in processes of their own.
//!
//! A [`Peer`](peers::Peer) is an adapter to one kind of heap, a [`Workload`](workloads::Workload) is what a heap is put
//! to. Work is generic over the peer and compiled for each, so that whatever a peer lets the compiler inline is
//! inlined. A new peer is a module of `peers` and a variant of [`PeerId`](peers::PeerId); a new row is an entry of
//! `workloads::rows`, and for a new kind of work a module beside it and a variant of [`Work`](workloads::Work).

pub mod crew;
pub mod memory;
pub mod peers;
pub mod report;
pub mod rounds;
pub mod scaling;
pub mod sizes;
pub mod timing;
pub mod workloads;
