//! Randomness that a seed repeats.
//!
//! `SplitMix64`: a few lines, no dependency, and every number is as good a seed as any other.

/// A stream of numbers that its seed decides.
#[derive(Clone, Debug)]
pub struct Chance(u64);

/// The odd number next to 2⁶⁴ ÷ φ, by which the state moves on.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    /// The stream of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for the thing with that number, whatever other things have drawn.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut mixed = Self(seed ^ number.wrapping_mul(STEP));
        mixed.draw();
        Self(mixed.draw())
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit; zero if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The bias is one in 2⁵⁰ for limits as small as these.
        self.draw().checked_rem(limit).unwrap_or_default()
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn per_thousand(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }

    /// One of these, by their weights; none if all weights are zero.
    pub fn weighted<T: Copy>(&mut self, choices: &[(T, u64)]) -> Option<T> {
        let all = choices.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(all);
        choices.iter().find_map(|(choice, weight)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found.then_some(*choice)
        })
    }

    /// One of these, all as likely.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len()).unwrap_or(u64::MAX);
        choices.get(usize::try_from(self.below(count)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_one_does_not() {
        let draw = |seed| (0..8).map(|_| 0).scan(Chance::new(seed), |chance, _: i32| Some(chance.draw())).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(Chance::of(7, 1).draw(), Chance::of(7, 2).draw());
    }

    #[test]
    fn weights_are_kept_to() {
        let mut chance = Chance::new(1);
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            counts[chance.weighted(&[(0, 1), (1, 0), (2, 3)]).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2_300..2_700).contains(&counts[0]), "{counts:?}");
        assert_eq!(chance.weighted::<u8>(&[]), None);
        assert_eq!(chance.pick::<u8>(&[]), None);
    }
}
