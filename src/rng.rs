//! Chance from a seed: the same seed, the same numbers. No secret depends on it.

use std::time::Duration;

/// SplitMix64. Spreads retries, makes handshake keys, and drives the tests.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that gives the same numbers for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// From `low` to `high`, both ends included, to the ms.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span_ms = u64::try_from(high.saturating_sub(low).as_millis()).unwrap_or(u64::MAX - 1);
        low + Duration::from_millis(self.roll() % (span_ms + 1))
    }

    /// Bytes for a key.
    pub fn nonce(&mut self) -> [u8; 16] {
        let wide = u128::from(self.roll()) << 64 | u128::from(self.roll());
        wide.to_be_bytes()
    }
}

/// Spreads the bits of `word` evenly: SplitMix64's last step.
pub fn mix(word: u64) -> u64 {
    let mixed = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// 2^64 divided by the golden ratio, odd. Source: SplitMix64 (Steele, Lea, Flood, 2014).
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
