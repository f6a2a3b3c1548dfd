//! The work of a request: counts words, with all that it builds in one allocator, and no call that aborts.
//!
//! A word is a longest run of alphanumeric characters, lower-cased character by character. The most frequent come first,
//! those of equal count in the order of their characters' codes.

use std::io;
use std::num::NonZeroUsize;
use std::str;

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::allocator_api2::vec::Vec;
use mallocstate::hashbrown::{DefaultHashBuilder, HashMap};
use serde::{Serialize, Serializer};

use crate::failure::{Failure, Place};

/// The longest body, in bytes.
pub(crate) const MAX_BODY: usize = 8 << 20;

/// Bytes of a word, in lower case.
type Word<A> = Box<[u8], A>;
type Box<T, A> = mallocstate::allocator_api2::boxed::Box<T, A>;
type Counts<A> = HashMap<Word<A>, u64, DefaultHashBuilder, A>;
type Ranking<A> = Vec<(Word<A>, u64), A>;

/// Everything that a request builds. Its owner drops it, or destroys the heap that it lives in.
pub(crate) struct Work<A: Allocator> {
    _text: Vec<u8, A>,
    _counts: Counts<A>,
    _ranking: Ranking<A>,
    pub(crate) answer: Vec<u8, A>,
}

/// Counts the words of a body, and writes the `top` most frequent down as JSON.
pub(crate) async fn count<A: Allocator + Copy>(
    body: &mut Body,
    top: NonZeroUsize,
    memory: A,
) -> Result<Work<A>, Failure> {
    let bytes = receive(body, memory).await?;
    let text = str::from_utf8(&bytes)?;
    let mut counts = count_words(text, memory)?;
    let ranking = rank(&mut counts, memory)?;
    let answer = write_answer(&ranking, top, memory)?;
    Ok(Work { _text: bytes, _counts: counts, _ranking: ranking, answer })
}

/// Takes the body in, chunk by chunk: the vector grows while the request waits for more.
async fn receive<A: Allocator>(body: &mut Body, memory: A) -> Result<Vec<u8, A>, Failure> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_BODY {
        return Err(Failure::TooLarge);
    }
    let mut text = Vec::new_in(memory);
    text.try_reserve_exact(announced).map_err(|_| Failure::OutOfMemory(Place::Text))?;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        if chunk.len() > MAX_BODY - text.len() {
            return Err(Failure::TooLarge);
        }
        text.try_reserve(chunk.len()).map_err(|_| Failure::OutOfMemory(Place::Text))?;
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn count_words<A: Allocator + Copy>(text: &str, memory: A) -> Result<Counts<A>, Failure> {
    let mut counts = HashMap::with_hasher_in(DefaultHashBuilder::default(), memory);
    let mut lower = Vec::new_in(memory);
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        lower_case(word, &mut lower)?;
        if let Some(count) = counts.get_mut(&lower[..]) {
            *count += 1;
            continue;
        }
        counts.try_reserve(1).map_err(|_| Failure::OutOfMemory(Place::Map))?;
        counts.insert(copy(&lower, memory)?, 1);
    }
    Ok(counts)
}

fn lower_case<A: Allocator>(word: &str, lower: &mut Vec<u8, A>) -> Result<(), Failure> {
    lower.clear();
    lower.try_reserve(word.len()).map_err(|_| Failure::OutOfMemory(Place::Words))?;
    if word.is_ascii() {
        lower.extend_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        return Ok(());
    }
    for character in word.chars().flat_map(char::to_lowercase) {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        // Some characters are longer in lower case.
        lower.try_reserve(bytes.len()).map_err(|_| Failure::OutOfMemory(Place::Words))?;
        lower.extend_from_slice(bytes);
    }
    Ok(())
}

/// A word of its own. The vector's capacity is exact, so that making it a box does not move it.
fn copy<A: Allocator>(bytes: &[u8], memory: A) -> Result<Word<A>, Failure> {
    let mut word = Vec::new_in(memory);
    word.try_reserve_exact(bytes.len()).map_err(|_| Failure::OutOfMemory(Place::Words))?;
    word.extend_from_slice(bytes);
    Ok(word.into_boxed_slice())
}

/// Moves the words out of the map, into the order of the answer.
fn rank<A: Allocator + Copy>(counts: &mut Counts<A>, memory: A) -> Result<Ranking<A>, Failure> {
    let mut ranking = Vec::new_in(memory);
    ranking.try_reserve_exact(counts.len()).map_err(|_| Failure::OutOfMemory(Place::Ranking))?;
    ranking.extend(counts.drain());
    ranking.sort_unstable_by(|(left, left_count), (right, right_count)| {
        right_count.cmp(left_count).then_with(|| left.cmp(right))
    });
    Ok(ranking)
}

fn write_answer<A: Allocator>(ranking: &Ranking<A>, top: NonZeroUsize, memory: A) -> Result<Vec<u8, A>, Failure> {
    let answer = Answer {
        words: ranking.iter().map(|(_, count)| count).sum(),
        distinct: ranking.len(),
        top: Top(&ranking[..top.get().min(ranking.len())]),
    };
    let mut json = Vec::new_in(memory);
    serde_json::to_writer(Reserving(&mut json), &answer).map_err(|_| Failure::OutOfMemory(Place::Answer))?;
    Ok(json)
}

#[derive(Serialize)]
struct Answer<T> {
    words: u64,
    distinct: usize,
    top: T,
}

struct Top<'a, A: Allocator>(&'a [(Word<A>, u64)]);

#[derive(Serialize)]
struct Counted<'a> {
    word: &'a str,
    count: u64,
}

impl<A: Allocator> Serialize for Top<'_, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The bytes were copied from whole characters.
        let words =
            self.0.iter().map(|(word, count)| Counted { word: str::from_utf8(word).unwrap_or("?"), count: *count });
        serializer.collect_seq(words)
    }
}

/// Writes to a vector and reserves first: the vector's own `Write` aborts where there is no memory.
struct Reserving<'a, A: Allocator>(&'a mut Vec<u8, A>);

impl<A: Allocator> io::Write for Reserving<'_, A> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_reserve(bytes.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
