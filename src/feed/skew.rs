//! What time it is at an exchange, by its own messages. Owns the estimate; the local wall clock, which
//! may be wrong and may step, only stands in until the exchange has said something.

use crate::clock::{MonoNs, Now, UnixMs};

/// One market's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExchangeClock {
    /// What it last showed, and when that was.
    shown: Option<(UnixMs, MonoNs)>,
    /// Whether a push showed it: that is finer than what REST shows.
    is_pushed: bool,
}

impl ExchangeClock {
    /// A push said so now.
    pub(super) fn note(&mut self, time: UnixMs, now: MonoNs) {
        (self.shown, self.is_pushed) = (Some((time, now)), true);
    }

    /// An answer of its REST interface said so now, to the second.
    pub(super) fn learn(&mut self, time: UnixMs, now: MonoNs) {
        if !self.is_pushed {
            self.shown = Some((time, now));
        }
    }

    /// The exchange's time now, at most too early by a message's way.
    pub(super) fn now(&self, now: Now) -> UnixMs {
        let Some((time, at)) = self.shown else { return now.unix_ms() };
        let since_ms = i64::try_from(now.mono.since(at).as_millis()).unwrap_or(i64::MAX);
        UnixMs(time.0.saturating_add(since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_local_clock_changes_nothing() {
        let at = |seconds: u64, unix_ms: i64| Now {
            mono: MonoNs(seconds * 1_000_000_000),
            unix_us: unix_ms * 1_000,
        };
        let mut clock = ExchangeClock::default();
        assert_eq!(clock.now(at(1, 5_000)), UnixMs(5_000), "nothing else is known");
        clock.note(UnixMs(70_000), MonoNs(1_000_000_000));
        assert_eq!(clock.now(at(3, 7_000)), UnixMs(72_000));
        assert_eq!(clock.now(at(3, 9_999_000)), UnixMs(72_000));
    }
}
