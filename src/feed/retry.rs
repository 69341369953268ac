//! When to try again: seeded jitter, backoff per session, breaker per market. Owns the counting of
//! failures; what a failure is, is decided by the sessions.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::limits::BACKOFF_MAX;

/// SplitMix64: spreads retries and makes handshake keys. No secret depends on it.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both ends included, to the ms.
    pub(super) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span_ms = u64::try_from(high.saturating_sub(low).as_millis()).unwrap_or(u64::MAX - 1);
        low + Duration::from_millis(self.roll() % (span_ms + 1))
    }

    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let wide = u128::from(self.roll()) << 64 | u128::from(self.roll());
        wide.to_be_bytes()
    }
}

/// How long one session waits before it connects again: doubling, the upper half of it by chance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn next(&mut self, first: Duration, dice: &mut Dice) -> Duration {
        let doubled = first.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        dice.between(doubled / 2, doubled)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Whether a market's sessions may connect at all.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    threshold: u32,
    recovery: Duration,
    half_open_calls: u32,
    state: BreakerState,
    /// Failures in a row since the last success.
    failures: u32,
    /// How long the next opening lasts: `recovery`, doubled each time a trial fails.
    open_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    Closed,
    Open { until: MonoNs },
    HalfOpen { trials: u32 },
}

impl Breaker {
    pub(super) fn new(threshold: u32, recovery: Duration, half_open_calls: u32) -> Self {
        Self {
            threshold: threshold.max(1),
            recovery,
            half_open_calls: half_open_calls.max(1),
            state: BreakerState::Closed,
            failures: 0,
            open_for: recovery,
        }
    }

    /// Asks to connect. True: do so, and report how it went. Turns half-open when its time is up.
    pub(super) fn admit(&mut self, now: MonoNs) -> bool {
        if matches!(self.state, BreakerState::Open { until } if until <= now) {
            self.state = BreakerState::HalfOpen { trials: 0 };
        }
        match &mut self.state {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen { trials } => {
                let is_admitted = *trials < self.half_open_calls;
                *trials += u32::from(is_admitted);
                is_admitted
            }
        }
    }

    /// When asking again may have another answer: the end of the open time; `None`: when a trial
    /// has come to an end.
    pub(super) fn ask_again_at(&self) -> Option<MonoNs> {
        match self.state {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed => Some(MonoNs(0)),
            BreakerState::HalfOpen { trials } if trials < self.half_open_calls => Some(MonoNs(0)),
            BreakerState::HalfOpen { .. } => None,
        }
    }

    /// A session is healthy. True if that closed the breaker.
    pub(super) fn succeed(&mut self) -> bool {
        let was_tripped = self.state != BreakerState::Closed;
        (self.state, self.failures, self.open_for) = (BreakerState::Closed, 0, self.recovery);
        was_tripped
    }

    /// A session failed before it was healthy. True if that opened the breaker.
    pub(super) fn fail(&mut self, now: MonoNs) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures < self.threshold => false,
            BreakerState::Open { .. } => false,
            BreakerState::Closed | BreakerState::HalfOpen { .. } => {
                self.state = BreakerState::Open { until: now.after(self.open_for) };
                self.open_for = (self.open_for * 2).min(BACKOFF_MAX.max(self.recovery));
                true
            }
        }
    }

    /// A trial was given up without a verdict.
    pub(super) fn forget(&mut self) {
        if let BreakerState::HalfOpen { trials } = &mut self.state {
            *trials = trials.saturating_sub(1);
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The gauge: 0 closed, 1 open, 2 half-open.
    pub(super) fn gauge(&self) -> i64 {
        match self.state {
            BreakerState::Closed => 0,
            BreakerState::Open { .. } => 1,
            BreakerState::HalfOpen { .. } => 2,
        }
    }
}

/// 2^16 times any sensible delay is beyond [`BACKOFF_MAX`].
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn backoff_doubles_to_its_maximum_with_jitter() {
        let (mut backoff, mut dice) = (Backoff::default(), Dice::new(1));
        for expected_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let expected = SECOND * expected_s;
            let delay = backoff.next(SECOND, &mut dice);
            assert!(delay >= expected / 2 && delay <= expected, "{delay:?} of {expected:?}");
        }
        backoff.reset();
        assert!(backoff.next(SECOND, &mut dice) <= SECOND);
    }

    #[test]
    fn breaker_opens_half_opens_and_doubles_its_open_time() {
        let mut breaker = Breaker::new(2, 30 * SECOND, 1);
        let at = |seconds: u32| MonoNs(0).after(SECOND * seconds);
        assert!(breaker.admit(at(0)) && !breaker.fail(at(0)) && breaker.admit(at(1)));
        assert!(breaker.fail(at(1)));
        assert_eq!((breaker.gauge(), breaker.ask_again_at()), (1, Some(at(31))));
        assert!(!breaker.admit(at(30)));
        assert!(breaker.admit(at(31)) && !breaker.admit(at(31)));
        assert_eq!((breaker.gauge(), breaker.ask_again_at()), (2, None));
        assert!(breaker.fail(at(32)));
        assert_eq!(breaker.ask_again_at(), Some(at(92)));
        assert!(breaker.admit(at(92)) && breaker.succeed());
        assert_eq!((breaker.gauge(), breaker.failures()), (0, 0));
        assert!(breaker.admit(at(93)) && breaker.admit(at(93)));
    }
}
