//! The same count in plain std, and by other means: what the server's answers are checked against.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An answer of the server, or what it should be.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Answer {
    words: u64,
    distinct: usize,
    top: Vec<Counted>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Counted {
    word: String,
    count: u64,
}

/// The right answer.
pub(crate) fn count(text: &str, top: usize) -> Answer {
    let mut counts = BTreeMap::<String, u64>::new();
    let mut word = String::new();
    // A last character that ends the last word.
    for character in text.chars().chain(['\n']) {
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        } else if !word.is_empty() {
            *counts.entry(std::mem::take(&mut word)).or_default() += 1;
        }
    }
    let (words, distinct) = (counts.values().sum(), counts.len());
    // The map's order is that of the words, and a stable sort keeps it among equal counts.
    let mut ranking: Vec<_> = counts.into_iter().map(|(word, count)| Counted { word, count }).collect();
    ranking.sort_by_key(|counted| std::cmp::Reverse(counted.count));
    ranking.truncate(top);
    Answer { words, distinct, top: ranking }
}
