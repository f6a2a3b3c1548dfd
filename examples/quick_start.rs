//! A heap as a value: collections in it, arena references into it, and its end.
//!
//! `cargo run --example quick_start`

use mallocstate::MallocState;
use mallocstate::collections::{Box, HashMap, Vec};

const TEXT: &str = "the quick brown fox jumps over the lazy dog while the quick cat sleeps";

/// A list whose links are references into a heap.
struct Node<'a> {
    word: &'a str,
    next: Option<&'a Node<'a>>,
}

fn main() {
    let heap = MallocState::new();

    // Collections and boxes take a reference to the heap. They free what they held when they go.
    let mut words = Vec::new_in(&heap);
    words.extend(TEXT.split(' '));
    let mut counts = HashMap::new_in(&heap);
    for word in &words {
        *counts.entry(*word).or_insert(0) += 1;
    }
    let most = Box::new_in(counts.iter().max_by_key(|&(_, count)| *count), &heap);
    assert_eq!(*most, Some((&"the", &3)));
    println!("{} words, {} different; the most frequent is {:?}", words.len(), counts.len(), *most);
    println!("{heap:?}");

    // Arena references live as long as the heap is borrowed. Nobody frees them one by one.
    let list = words.iter().fold(None, |next, word| {
        let word = heap.alloc_str(word);
        word.make_ascii_uppercase();
        Some(&*heap.alloc(Node { word, next }))
    });
    let backwards: std::vec::Vec<&str> = std::iter::successors(list, |node| node.next).map(|node| node.word).collect();
    assert_eq!(backwards.first(), Some(&"SLEEPS"));
    let nodes = backwards.len();
    assert_eq!(nodes, words.len());
    println!("backwards: {}", backwards.join(" "));

    // A box that is forgotten, as the nodes are: the heap's end finds it.
    std::mem::forget(Box::new_in([0_u64; 100], &heap));
    drop(most);
    drop((counts, words));
    let stats = heap.stats();
    assert_eq!(stats.committed, stats.live + stats.cached + stats.free + stats.overhead);
    println!("\n{stats}");

    // `destroy` takes the heap: while anything borrows it, this does not compile.
    let teardown = heap.destroy();
    println!("destroyed with {} live blocks of {} B:", teardown.live_blocks(), teardown.live());
    for class in teardown.classes() {
        println!("{:>6} blocks of {:>4} B", class.live_blocks, class.block_size);
    }
    println!("{} B mapped; {} B committed at the peak", teardown.mapped(), teardown.peak());
    // A string and a node for each word, and the box.
    assert_eq!(teardown.live_blocks(), 2 * nodes + 1);
    assert_eq!(teardown.refused(), 0);
}
