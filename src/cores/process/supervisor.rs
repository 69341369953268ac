//! Notifies the supervisor that started the process, systemd: the server serves, it goes down, its
//! cores are alive, as sd_notify(3) describes. Without `NOTIFY_SOCKET` nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::{MonoNs, Now};
use crate::health;
use crate::limits::HEARTBEAT_STALE;
use crate::metrics::Metrics;

/// The ports are bound and every core runs; `status` is for people.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The drain begins. Asks the supervisor to wait for the whole drain, which may be longer than its
/// own limit.
pub fn stopping(drain_timeout: Duration) {
    let patience = drain_timeout.saturating_add(STOP_MARGIN).as_micros();
    let patience = u32::try_from(patience).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(patience),
        NotifyState::Status("going down: clients are told, what is owed is written"),
    ]);
}

/// Time of a stop beyond the drain. Source: the close of the sessions, the log, and a margin.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Notifies the supervisor that the cores are alive while `/health` judges them so: twice in the
/// interval that the supervisor expects. When a core is stuck, nothing is sent any more, and the
/// supervisor restarts the process.
#[derive(Debug)]
pub(crate) struct Watchdog {
    period: Duration,
    due: MonoNs,
    is_alive: bool,
}

impl Watchdog {
    /// `None`: `WATCHDOG_USEC` asks for no notification.
    pub(crate) fn asked_for() -> Option<Self> {
        sd_notify::watchdog_enabled().map(Self::new)
    }

    fn new(patience: Duration) -> Self {
        Self { period: patience / 2, due: MonoNs(0), is_alive: true }
    }

    /// How long the ops core may wait at most before it looks again.
    pub(crate) fn patience(&self) -> Duration {
        self.period
    }

    /// The ops core calls this in each of its turns.
    pub(crate) fn look(&mut self, metrics: &Metrics, now: Now) {
        for word in self.words(metrics, now) {
            match word {
                Word::Alive => notify(&[NotifyState::Watchdog]),
                Word::Stuck => {
                    tracing::error!(
                        "a core gave no sign of life for {HEARTBEAT_STALE:?}; the watchdog is told \
                         nothing more"
                    );
                    notify(&[NotifyState::Status("a core is stuck; /health names it")]);
                }
                Word::Recovered => {
                    tracing::warn!("every core is alive again");
                    notify(&[NotifyState::Status("serving again: a core was stuck")]);
                }
            }
        }
    }

    fn words(&mut self, metrics: &Metrics, now: Now) -> Vec<Word> {
        if now.mono < self.due {
            return Vec::new();
        }
        self.due = now.mono.after(self.period);
        let was_alive = std::mem::replace(&mut self.is_alive, health::health(metrics, now).ok);
        match (was_alive, self.is_alive) {
            (true, true) => vec![Word::Alive],
            (false, true) => vec![Word::Recovered, Word::Alive],
            (true, false) => vec![Word::Stuck],
            (false, false) => Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Alive,
    Stuck,
    Recovered,
}

/// The server serves even if the supervisor cannot be reached.
fn notify(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::warn!("the supervisor at NOTIFY_SOCKET cannot be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::CoreMetrics;

    fn at(ms: u64) -> Now {
        Now { mono: MonoNs(ms * 1_000_000), unix_us: 0 }
    }

    #[test]
    fn a_watchdog_is_told_twice_in_its_time_and_never_while_a_core_is_stuck() {
        let core = Arc::new(CoreMetrics::default());
        let metrics = Metrics {
            shards: Vec::new(),
            fanout: Arc::default(),
            ledger: Default::default(),
            cores: vec![("shard0".into(), Arc::clone(&core))],
        };
        let mut watchdog = Watchdog::new(Duration::from_secs(4));
        assert_eq!(watchdog.patience(), Duration::from_secs(2));
        let mut words = |ms| watchdog.words(&metrics, at(ms));
        assert_eq!(words(0), [Word::Alive]);
        assert_eq!(words(1_999), []);
        assert_eq!(words(2_000), [Word::Alive]);
        assert_eq!(words(4_999), [Word::Alive]);
        assert_eq!(words(7_000), [Word::Stuck]);
        assert_eq!(words(9_000), []);
        core.heartbeat_ns.set(9_000_000_000);
        assert_eq!(words(10_999), []);
        assert_eq!(words(11_000), [Word::Recovered, Word::Alive]);
        assert_eq!(words(13_000), [Word::Alive]);
    }
}
