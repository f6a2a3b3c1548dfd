//! A JSON document parsed into a tree whose nodes, strings and maps live in a heap, which is then destroyed.

use std::fmt;
use std::hint::black_box;
use std::mem;
use std::time::Duration;

use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::vec::Vec;
use fastrand::Rng;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use super::SEED;
use crate::peers::Peer;
use crate::timing::nanoseconds_per_unit;

/// Records of the document, some 500 bytes each.
const RECORDS: usize = 5000;

type Text<A> = Vec<u8, A>;

/// A node of the tree. Nothing is shared and nothing lies outside the heap.
enum Node<A: Allocator> {
    Null,
    Truth(bool),
    Number(f64),
    Text(Text<A>),
    List(Vec<Self, A>),
    Map(HashMap<Text<A>, Self, FixedState, A>),
}

impl<A: Allocator> Node<A> {
    /// A sum over everything in the tree, in whatever order.
    fn sum(&self) -> u64 {
        let of_text = |text: &Text<A>| text.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        match self {
            Self::Null => 0,
            Self::Truth(truth) => 1 + u64::from(*truth),
            Self::Number(number) => number.to_bits(),
            Self::Text(text) => of_text(text),
            Self::List(list) => list.iter().map(Self::sum).fold(3, u64::wrapping_add),
            Self::Map(map) => {
                map.iter().map(|(key, node)| of_text(key).wrapping_add(node.sum())).fold(5, u64::wrapping_add)
            }
        }
    }
}

/// Makes nodes in a heap out of whatever a parser finds.
#[derive(Clone, Copy)]
struct Plant<A>(A);

impl<A: Allocator + Copy> Plant<A> {
    fn text(self, text: &str) -> Text<A> {
        let mut bytes = Vec::with_capacity_in(text.len(), self.0);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }
}

impl<'de, A: Allocator + Copy> DeserializeSeed<'de> for Plant<A> {
    type Value = Node<A>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<A>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A map's key.
struct Key<A>(Plant<A>);

impl<'de, A: Allocator + Copy> DeserializeSeed<'de> for Key<A> {
    type Value = Text<A>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text<A>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<A: Allocator + Copy> Visitor<'_> for Key<A> {
    type Value = Text<A>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<A>, E> {
        Ok(self.0.text(text))
    }
}

impl<'de, A: Allocator + Copy> Visitor<'de> for Plant<A> {
    type Value = Node<A>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value of JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<A>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Node<A>, E> {
        Ok(Node::Truth(truth))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Node<A>, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Node<A>, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node<A>, E> {
        Ok(Node::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<A>, E> {
        Ok(Node::Text(self.text(text)))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Node<A>, S::Error> {
        let mut list = Vec::new_in(self.0);
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut entries: M) -> Result<Node<A>, M::Error> {
        let mut map = HashMap::with_hasher_in(FixedState::default(), self.0);
        while let Some((key, value)) = entries.next_entry_seed(Key(self), self)? {
            map.insert(key, value);
        }
        Ok(Node::Map(map))
    }
}

/// So many words of random letters.
fn words(rng: &mut Rng, count: usize) -> String {
    let words: std::vec::Vec<String> =
        (0..count).map(|_| (0..rng.usize(2..10)).map(|_| rng.lowercase()).collect()).collect();
    words.join(" ")
}

/// The document: the same bytes in every run.
fn document(records: usize) -> String {
    let mut rng = Rng::with_seed(SEED);
    let records: std::vec::Vec<_> = (0..records)
        .map(|id| {
            let tags: std::vec::Vec<_> = (0..rng.usize(0..8)).map(|_| words(&mut rng, 1)).collect();
            let points: std::vec::Vec<_> = (0..rng.usize(0..6)).map(|_| [rng.f64(), rng.f64()]).collect();
            let many = rng.usize(1..40);
            json!({
                "id": id,
                "name": words(&mut rng, 2),
                "active": rng.bool(),
                "parent": if rng.bool() { json!(rng.u32(..)) } else { json!(null) },
                "description": words(&mut rng, many),
                "tags": tags,
                "path": points,
                "owner": { "first": words(&mut rng, 1), "last": words(&mut rng, 1), "age": rng.u8(18..99) },
            })
        })
        .collect();
    json!({ "records": records, "total": records.len() }).to_string()
}

fn parse<A: Allocator + Copy>(document: &str, heap: A) -> serde_json::Result<Node<A>> {
    let mut deserializer = serde_json::Deserializer::from_str(document);
    let tree = Plant(heap).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(tree)
}

/// Time of one document: parsed into a heap of its own, which is then destroyed.
pub(super) fn measure<P: Peer>(budget: Duration) -> f64 {
    let document = document(RECORDS);
    let sum = |heap: &P| parse(&document, heap.handle()).expect("the document is JSON").sum();
    let expected = parse(&document, Global).expect("the document is JSON").sum();
    assert_eq!(sum(&P::create()), expected, "the tree in the heap is the document's");
    nanoseconds_per_unit(budget, |documents| {
        for _ in 0..documents {
            let heap = P::create();
            let tree = parse(&document, heap.handle()).expect("the document is JSON");
            black_box(&tree);
            if P::WHOLESALE {
                mem::forget(tree);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tree stands for.
    fn value<A: Allocator>(node: &Node<A>) -> serde_json::Value {
        let text = |text: &Text<A>| String::from_utf8_lossy(text).into_owned();
        match node {
            Node::Null => json!(null),
            Node::Truth(truth) => json!(truth),
            Node::Number(number) => json!(number),
            Node::Text(bytes) => json!(text(bytes)),
            Node::List(list) => list.iter().map(value).collect(),
            Node::Map(map) => map.iter().map(|(key, node)| (text(key), value(node))).collect(),
        }
    }

    #[test]
    fn the_tree_is_the_document() {
        let text = r#"{"a": [null, true, -1.5, "x\ny"], "b": {}, "c": "", "d": [[]]}"#;
        let tree = parse(text, Global).unwrap();
        assert_eq!(value(&tree), serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    #[test]
    fn the_document_is_of_some_megabytes_and_always_the_same() {
        let text = document(RECORDS);
        assert!((1_500_000..5_000_000).contains(&text.len()), "{} bytes", text.len());
        assert_eq!(document(10), document(10));
        assert!(parse(&text, Global).is_ok());
    }
}
