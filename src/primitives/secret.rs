//! A random secret of the process, and what the feature `hardened` makes of it: words that stand for addresses and cannot be
//! overwritten unnoticed, and orders that cannot be foreseen.
//!
//! ```text
//! bit    63 … 48   47 …………………… 4                      3 … 0
//!        check     address, mixed with place and secret  check
//! ```
//!
//! The check has 20 bits and depends on every other bit, on the secret, and on the word's place: what is written over a
//! word, and a word that is copied to another place, passes once in a million times. The upper 16 bits of an address are
//! those of the word's place: no system hands out addresses that differ in them unless it is asked to. This finds errors, and
//! keeps out who cannot read the heap's memory; a word that was read tells most of its place's key.
//!
//! The secret comes from the system's random numbers where there is a system, else from addresses, which is weaker: on a
//! target without randomised addresses it is the same in every run. A child process has its parent's.

use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bits of a word that check the others.
const CHECK: u64 = 0xFFFF_0000_0000_000F;

/// The bits that addresses have in common.
const UPPER: u64 = 0xFFFF_0000_0000_0000;

/// 2^64 divided by the golden ratio: odd, and without a pattern.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The secret; 0 until it is asked for.
static SECRET: AtomicUsize = AtomicUsize::new(0);

#[inline(always)]
fn secret() -> u64 {
    match SECRET.load(Relaxed) {
        0 => make_secret() as u64,
        secret => secret as u64,
    }
}

/// Makes the secret, once in the life of the process; allocates nothing.
#[cold]
fn make_secret() -> usize {
    let made = from_system().unwrap_or_else(from_addresses).max(1);
    match SECRET.compare_exchange(0, made, Relaxed, Relaxed) {
        Ok(_) => made,
        Err(other) => other,
    }
}

#[cfg(any(unix, windows))]
fn from_system() -> Option<usize> {
    let mut bytes = [0; size_of::<usize>()];
    getrandom::fill(&mut bytes).ok().map(|()| usize::from_ne_bytes(bytes))
}

#[cfg(not(any(unix, windows)))]
fn from_system() -> Option<usize> {
    None
}

/// Systems load programs and place stacks at random addresses.
fn from_addresses() -> usize {
    let local = 0_u8;
    let both = (ptr::from_ref(&local).addr() as u64) ^ mix(ptr::from_ref(&SECRET).addr() as u64);
    mix(both) as usize
}

/// Every bit of the answer depends on every bit of `value`.
#[inline(always)]
fn mix(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(GOLDEN);
    product as u64 ^ (product >> 64) as u64
}

/// The word that stands for `address`, a multiple of 16, at `place`.
#[inline(always)]
pub(crate) fn encode(place: usize, address: usize) -> u64 {
    encode_with(mix(secret() ^ place as u64), address)
}

#[inline(always)]
fn encode_with(key: u64, address: usize) -> u64 {
    let address = address as u64;
    (address ^ key) & !CHECK | mix(key ^ address) & CHECK
}

/// The address that the word at `place` stands for; `None` where the word was not made for this place.
#[inline(always)]
pub(crate) fn decode(place: usize, word: u64) -> Option<usize> {
    let key = mix(secret() ^ place as u64);
    let address = match (word ^ key) & !CHECK {
        0 => 0,
        lower => lower | place as u64 & UPPER,
    };
    let address = address as usize;
    (encode_with(key, address) == word).then_some(address)
}

/// A number below `bound`, which is not 0, that cannot be foreseen.
fn random_below(bound: usize) -> usize {
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    let drawn = DRAWN.fetch_add(1, Relaxed) as u64;
    (mix(secret() ^ mix(drawn ^ GOLDEN)) % bound as u64) as usize
}

/// Puts the items in an order that cannot be foreseen (Fisher & Yates).
pub(crate) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, random_below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const PLACE: usize = 0x7f12_3456_7890_u64 as usize;

    fn addresses() -> impl Iterator<Item = usize> {
        (0..2000_usize).map(|index| if index == 0 { 0 } else { PLACE & !15 ^ index << 4 })
    }

    #[test]
    fn a_word_stands_for_its_address_at_its_place_only() {
        let mut passed = 0;
        for address in addresses() {
            let word = encode(PLACE, address);
            assert_eq!(decode(PLACE, word), Some(address));
            passed += usize::from(decode(PLACE + 16, word).is_some());
        }
        assert!(passed <= 3, "{passed} of 2000 words passed elsewhere");
    }

    #[test]
    fn what_is_written_over_a_word_is_recognised() {
        let mut passed = 0;
        for address in addresses() {
            let word = encode(PLACE, address);
            let changed = (0..64).map(|bit| word ^ 1 << bit).chain((0..8).map(|byte| word ^ 0xA5 << (8 * byte)));
            let changed = changed.chain([0, !0, !word, address as u64, 0x4141_4141_4141_4141]);
            passed += changed.filter(|&changed| decode(PLACE, changed).is_some()).count();
        }
        // One in a million of 154 000.
        assert!(passed <= 5, "{passed} changed words passed");
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn upper_bits_are_those_of_the_place() {
        let (low, high) = (PLACE, 0xFFFF_FC7F_0000_1230);
        assert_eq!(decode(high, encode(high, high + 16)), Some(high + 16));
        assert_eq!(decode(high, encode(high, 0)), Some(0));
        assert_eq!(decode(high, encode(high, low)), None);
        assert_eq!(decode(low, encode(low, high)), None);
    }

    #[test]
    fn an_order_has_every_item_and_differs_from_the_last_one() {
        let mut items: Vec<usize> = (0..64).collect();
        let mut before = items.clone();
        for _ in 0..20 {
            shuffle(&mut items);
            assert_ne!(items, before);
            before.clone_from(&items);
            let mut sorted = items.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..64));
        }
    }

    #[test]
    fn every_number_is_drawn() {
        let mut drawn = [0_usize; 6];
        (0..6000).for_each(|_| drawn[random_below(6)] += 1);
        assert!(drawn.iter().all(|&times| (700..1300).contains(&times)), "{drawn:?}");
    }

    #[test]
    fn the_secret_stays_and_addresses_can_stand_in() {
        assert_eq!(secret(), secret());
        assert_ne!(secret(), 0);
        assert_ne!(from_addresses(), 0);
    }
}
