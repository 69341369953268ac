//! Whether the sessions of a market may connect: closed, open after too many failures in a row,
//! half-open while a trial runs. The sessions decide what counts as a failure.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::limits::BACKOFF_MAX;

/// Decides whether the sessions of a market may connect.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    recovery: Duration,
    half_open_calls: u32,
    state: BreakerState,
    /// Failures in a row since the last success.
    failures: u32,
    /// How long the next opening lasts: `recovery`, doubled after each failed trial.
    open_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    Closed,
    Open { until: MonoNs },
    HalfOpen { trials: u32 },
}

impl Breaker {
    pub(crate) fn new(threshold: u32, recovery: Duration, half_open_calls: u32) -> Self {
        Self {
            threshold: threshold.max(1),
            recovery,
            half_open_calls: half_open_calls.max(1),
            state: BreakerState::Closed,
            failures: 0,
            open_for: recovery,
        }
    }

    /// Returns whether a session may connect. If it may, the caller reports the result. An open
    /// breaker becomes half-open when its time is over.
    pub(crate) fn admit(&mut self, now: MonoNs) -> bool {
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

    /// When [`Self::admit`] may change its answer: at the end of the open time; `None` if only the
    /// end of a trial changes it.
    pub(crate) fn ask_again_at(&self) -> Option<MonoNs> {
        match self.state {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed => Some(MonoNs(0)),
            BreakerState::HalfOpen { trials } if trials < self.half_open_calls => Some(MonoNs(0)),
            BreakerState::HalfOpen { .. } => None,
        }
    }

    /// Takes the success of a session. Returns whether this closed the breaker.
    pub(crate) fn succeed(&mut self) -> bool {
        let was_tripped = self.state != BreakerState::Closed;
        (self.state, self.failures, self.open_for) = (BreakerState::Closed, 0, self.recovery);
        was_tripped
    }

    /// Takes the failure of a session that never worked. Returns whether this opened the breaker.
    pub(crate) fn fail(&mut self, now: MonoNs) -> bool {
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

    /// Takes the end of a trial without a result.
    pub(crate) fn forget(&mut self) {
        if let BreakerState::HalfOpen { trials } = &mut self.state {
            *trials = trials.saturating_sub(1);
        }
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The gauge: 0 closed, 1 open, 2 half-open.
    pub(crate) fn gauge(&self) -> i64 {
        match self.state {
            BreakerState::Closed => 0,
            BreakerState::Open { .. } => 1,
            BreakerState::HalfOpen { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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
