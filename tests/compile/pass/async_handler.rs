//! An async handler may hold `&MallocState`, a heap, or collections in it across an await, and is `Send`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mallocstate::collections::{HashMap, Vec};
use mallocstate::{MallocState, SharedMallocState};

/// Pending once.
async fn elsewhere() {
    let mut polled = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn count(heap: &MallocState, text: &str) -> usize {
    let mut counts = HashMap::new_in(heap);
    for word in text.split_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
        elsewhere().await;
    }
    let mut all: Vec<usize> = Vec::new_in(heap);
    all.extend(counts.values().copied());
    let greatest = heap.alloc(0);
    elsewhere().await;
    *greatest = all.iter().copied().max().unwrap_or(0);
    *greatest
}

/// The heap lives in the future itself.
async fn request(text: String) -> (usize, usize) {
    let heap = MallocState::new();
    let greatest = count(&heap, &text).await;
    elsewhere().await;
    (greatest, heap.destroy().live_blocks())
}

async fn shared(heap: SharedMallocState) -> usize {
    let mut numbers = mallocstate::allocator_api2::vec::Vec::new_in(heap.clone());
    elsewhere().await;
    numbers.extend(0..10);
    numbers.len()
}

fn assert_send<F: Future + Send>(future: F) -> F {
    future
}

fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

pub(crate) fn main() {
    let heap = MallocState::new();
    assert_eq!(run(assert_send(count(&heap, "a b a c a"))), 3);
    let in_a_thread = std::thread::spawn(|| run(assert_send(request("x y x".to_owned()))));
    assert_eq!(in_a_thread.join().unwrap(), (2, 1));
    assert_eq!(run(assert_send(shared(SharedMallocState::new(MallocState::new())))), 10);
}
