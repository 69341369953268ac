//! The delay before a session connects again: it doubles with each failure, with seeded jitter. The
//! sessions decide what counts as a failure.

use std::time::Duration;

use crate::limits::BACKOFF_MAX;
use crate::rng::Rng;

/// The delays of one session: doubling, the upper half of each by chance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self, first: Duration, rng: &mut Rng) -> Duration {
        let doubled = first.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        rng.between(doubled / 2, doubled)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Most doublings. Source: 2^16 times any sensible delay is beyond [`BACKOFF_MAX`].
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn backoff_doubles_to_its_maximum_with_jitter() {
        let (mut backoff, mut rng) = (Backoff::default(), Rng::new(1));
        for expected_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let expected = SECOND * expected_s;
            let delay = backoff.next(SECOND, &mut rng);
            assert!(delay >= expected / 2 && delay <= expected, "{delay:?} of {expected:?}");
        }
        backoff.reset();
        assert!(backoff.next(SECOND, &mut rng) <= SECOND);
    }
}
