//! Named faults: what can be made to go wrong on request, and how a request names it. A new fault
//! is a variant here, a row of [`Fault::parse`], and an arm in `exchange`.

use std::time::Duration;

/// One fault, done to one contract type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Drop every TCP connection now.
    Disconnect,
    /// Keep every TCP connection, and neither read nor write on it any more.
    HalfOpen,
    /// Acknowledge, and send nothing: on the present connections, and on those made for this time.
    Silence(Duration),
    /// Announce a shutdown on every connection.
    ShutdownNotice,
    /// Refuse new connections for this time.
    Refuse(Duration),
    /// Send every connection one message that is no JSON.
    Malformed,
    /// From now on the first data comes this time after a subscription.
    DelayFirst(Duration),
    /// The next push of every stream comes twice.
    Duplicate,
    /// The next closing push of every stream is left out.
    LostClose,
    /// The next closing push of every stream comes twice.
    DoubleClose,
    /// The next closing push of every stream comes after the first of the next minute.
    Reordered,
    /// The next minute of every stream is closed without its last trade, and restated 3 s later.
    RestatedClose,
    /// The next closing push of every stream comes 4 s late.
    LateClose,
    /// Nothing is traded in the next minute of every stream.
    EmptyMinute,
    /// Every stream is left out of the pushes until it is subscribed again.
    Muted,
    /// The exchange's clock is so much ahead, in pushes and REST's `Date`.
    ClockSkew(Duration),
    /// REST answers 429, then 418, for this time.
    RateLimit(Duration),
    /// REST answers 3 s late for this time.
    SlowRest(Duration),
    /// REST answers 500 with a page of HTML for this time.
    RestError(Duration),
    /// REST's answers end in the middle for this time.
    RestGarbage(Duration),
    /// REST's candles are those of 5 s ago for this time.
    RestStale(Duration),
    /// REST's row of a window that is just over lacks the end of it, beside a newer row, for this
    /// time; for 5 s that of any that ended within a minute.
    RestLags(Duration),
}

impl Fault {
    /// The names by which [`Self::parse`] knows faults.
    pub const NAMES: [&str; 22] = [
        "disconnect",
        "half_open",
        "silence",
        "shutdown_notice",
        "refuse",
        "malformed",
        "delay_first_ms",
        "duplicate",
        "lost_close",
        "double_close",
        "reordered",
        "restated_close",
        "late_close",
        "empty_minute",
        "muted",
        "clock_skew_ms",
        "rate_limit",
        "slow_rest",
        "rest_error",
        "rest_garbage",
        "rest_stale",
        "rest_lags",
    ];

    /// The fault called `name`. `value` is its number: seconds (`silence`, `refuse`, `rate_limit`,
    /// `slow_rest`, `rest_…`) or ms (`…_ms`); the others have none.
    pub fn parse(name: &str, value: u64) -> Option<Self> {
        let seconds = Duration::from_secs(value.min(SECONDS_MAX));
        Some(match name {
            "disconnect" => Self::Disconnect,
            "half_open" => Self::HalfOpen,
            "silence" => Self::Silence(seconds),
            "shutdown_notice" => Self::ShutdownNotice,
            "refuse" => Self::Refuse(seconds),
            "malformed" => Self::Malformed,
            "delay_first_ms" => Self::DelayFirst(Duration::from_millis(value.min(SECONDS_MAX))),
            "duplicate" => Self::Duplicate,
            "lost_close" => Self::LostClose,
            "double_close" => Self::DoubleClose,
            "reordered" => Self::Reordered,
            "restated_close" => Self::RestatedClose,
            "late_close" => Self::LateClose,
            "empty_minute" => Self::EmptyMinute,
            "muted" => Self::Muted,
            "clock_skew_ms" => Self::ClockSkew(Duration::from_millis(value.min(SECONDS_MAX))),
            "rate_limit" => Self::RateLimit(seconds),
            "slow_rest" => Self::SlowRest(seconds),
            "rest_error" => Self::RestError(seconds),
            "rest_garbage" => Self::RestGarbage(seconds),
            "rest_stale" => Self::RestStale(seconds),
            "rest_lags" => Self::RestLags(seconds),
            _ => return None,
        })
    }
}

/// A month: longer is a mistake, and keeps sums of times far from their end.
const SECONDS_MAX: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_fault_of_its_own() {
        let faults = Fault::NAMES.map(|name| Fault::parse(name, 1).unwrap());
        for (index, fault) in faults.iter().enumerate() {
            assert!(!faults[..index].contains(fault));
        }
        assert_eq!(Fault::parse("earthquake", 1), None);
    }
}
