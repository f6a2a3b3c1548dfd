//! Random sizes of blocks, the same for every peer.

use fastrand::Rng;

use crate::peers::Size;

/// From which sizes to draw, in bytes, both ends included.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sizes {
    from: u32,
    to: u32,
    spread: Spread,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Spread {
    /// Every size as often.
    Even,
    /// Every doubling of sizes as often.
    Doublings,
}

impl Sizes {
    /// Every size as often.
    pub const fn even(from: u32, to: u32) -> Self {
        Self { from, to, spread: Spread::Even }
    }

    /// Every doubling of sizes as often: small blocks are many, and most memory is in large ones.
    pub const fn doublings(from: u32, to: u32) -> Self {
        Self { from, to, spread: Spread::Doublings }
    }

    /// A size at random.
    pub fn draw(self, rng: &mut Rng) -> Size {
        Size::of(match self.spread {
            Spread::Even => rng.u32(self.from..=self.to),
            Spread::Doublings => {
                let (from, to) = (f64::from(self.from), f64::from(self.to) + 1.0);
                ((from * (to / from).powf(rng.f64())) as u32).clamp(self.from, self.to)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_doubling_is_drawn_as_often() {
        let mut rng = Rng::with_seed(1);
        let mut doublings = [0; 8];
        for _ in 0..80_000 {
            let size = Sizes::doublings(256, 65_535).draw(&mut rng).bytes();
            doublings[(size / 256).ilog2() as usize] += 1;
        }
        assert!(doublings.iter().all(|count| (9_500..10_500).contains(count)), "{doublings:?}");
    }

    #[test]
    fn both_ends_are_drawn() {
        let mut rng = Rng::with_seed(1);
        for sizes in [Sizes::even(1, 4), Sizes::doublings(1, 4)] {
            let drawn: Vec<_> = (0..1000).map(|_| sizes.draw(&mut rng).bytes()).collect();
            assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1), Some(&4)));
        }
    }
}
