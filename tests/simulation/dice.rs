//! Chance from a seed: the same seed, the same run.

use std::time::Duration;

use connector_wss::rng::{GOLDEN, Rng};

pub(crate) struct Dice(Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::new(seed.wrapping_mul(GOLDEN) ^ 0x5157_2d1a_55ed_1e57))
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0.roll()
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.roll() % (high - low + 1))
    }
}
