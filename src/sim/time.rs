//! The simulator's own time: the wall clock at the start, running on `scale` times as fast.

use crate::clock::{MonoNs, Now};

/// Maps the monotonic clock to the time the simulated exchanges live in.
#[derive(Clone, Copy, Debug)]
pub struct SimTime {
    origin: Now,
    scale: u32,
}

impl SimTime {
    /// Time that starts at `origin` and runs `scale` times as fast as the clock (at least once).
    pub fn new(origin: Now, scale: u32) -> Self {
        Self { origin, scale: scale.max(1) }
    }

    /// The exchanges' time at `mono`, in ms since the Unix epoch.
    pub fn unix_ms(&self, mono: MonoNs) -> i64 {
        let elapsed = mono.since(self.origin.mono).as_nanos() * u128::from(self.scale) / 1_000_000;
        self.origin.unix_ms().0 + i64::try_from(elapsed).unwrap_or(i64::MAX / 2)
    }

    /// The first instant at which [`Self::unix_ms`] is at least `unix_ms`.
    pub fn mono(&self, unix_ms: i64) -> MonoNs {
        let elapsed = u64::try_from(unix_ms - self.origin.unix_ms().0).unwrap_or(0);
        MonoNs(self.origin.mono.0 + (elapsed * 1_000_000).div_ceil(u64::from(self.scale)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_time_runs_ahead_and_back_again() {
        let origin = Now { mono: MonoNs(5_000), unix_us: 1_000_000_000 };
        let time = SimTime::new(origin, 60);
        assert_eq!(time.unix_ms(MonoNs(5_000)), 1_000_000);
        assert_eq!(time.unix_ms(MonoNs(1_000_005_000)), 1_060_000);
        for unix_ms in 1_000_000..1_000_100 {
            assert_eq!(time.unix_ms(time.mono(unix_ms)), unix_ms);
        }
    }
}
