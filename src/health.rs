//! Whether the process lives and whether it serves: the bodies of `/health` and `/ready` as pure
//! functions of the counters, the time and the lifecycle. Knows no HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::clock::{MonoNs, Now, RFC3339_BYTES, UnixMs, write_rfc3339};
use crate::limits::{HEARTBEAT_STALE, INSTRUMENTS_MAX, UNCONFIRMED_MAX};
use crate::market::Market;
use crate::metrics::{CoreMetrics, FeedMetrics, Metrics, WaitReason, render};

/// The phase of the process between start and exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client port is not open yet.
    Starting,
    /// The client port is open.
    Serving,
    /// Going down: no new clients. Final.
    Draining,
}

/// The process's [`Phase`], shared between main and the ops core. Only moves forward.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Returns whether a successor answers at this process's ports.
    pub fn is_handed_over(&self) -> bool {
        self.0.load(Ordering::Acquire) == 3
    }

    /// Notes that the client port is open. Without effect once draining.
    pub fn serving(&self) {
        self.0.fetch_max(1, Ordering::AcqRel);
    }

    /// Notes that the server drains.
    pub fn draining(&self) {
        self.0.fetch_max(2, Ordering::AcqRel);
    }

    /// Notes that the server drains and that a successor answers at its ports.
    pub fn handed_over(&self) {
        self.0.fetch_max(3, Ordering::AcqRel);
    }
}

/// A body, and whether the status is 200 or 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the status is 200; otherwise 503.
    pub ok: bool,
    /// A JSON object.
    pub body: String,
}

/// `/health`: 200 if every core's heartbeat is younger than [`HEARTBEAT_STALE`]. A core that has
/// not begun has the age of the process.
pub fn health(metrics: &Metrics, now: Now) -> Report {
    let core = |(name, core): &(String, Arc<CoreMetrics>)| CoreHealth::of(name, core, now);
    let cores: Vec<_> = metrics.cores.iter().map(core).collect();
    let ok = cores.iter().all(|core| core.healthy);
    let status = if ok { "healthy" } else { "unhealthy" };
    report(ok, &HealthBody { status, timestamp: timestamp(now.unix_us), cores })
}

/// `/ready`: 200 if the server serves, each subscribed market has a live session, and every
/// instrument that has delivered has a session with more than late candles. This is checked per
/// shard, so that an extra session of one shard does not hide a missing one of another.
pub fn ready(metrics: &Metrics, now: Now, phase: Phase) -> Report {
    ready_with(metrics, now, phase, |_| None)
}

/// As [`ready`], with what each market denies us, for a person.
pub fn ready_with(
    metrics: &Metrics,
    now: Now,
    phase: Phase,
    denied: impl Fn(Market) -> Option<String>,
) -> Report {
    let with = |market| exchange(metrics, market).with_denied(denied(market));
    let exchanges: Vec<_> = Market::all().map(with).collect();
    let reason = unready(&exchanges, phase);
    let status = if reason.is_none() { "ready" } else { "not_ready" };
    let (timestamp, instruments) = (timestamp(now.unix_us), Instruments::of(metrics));
    report(reason.is_none(), &ReadyBody { status, timestamp, reason, instruments, exchanges })
}

/// Why the process is not ready; `None` if it is.
pub fn unready(exchanges: &[ExchangeHealth], phase: Phase) -> Option<&'static str> {
    let mut ill = exchanges.iter().filter(|exchange| !exchange.healthy).peekable();
    let is_ill = ill.peek().is_some();
    let reason = match ill.all(|exchange| exchange.is_late) {
        true => "a subscribed market delivers nothing but late candles",
        false => "a subscribed market has no live session",
    };
    match phase {
        Phase::Starting => Some("starting"),
        Phase::Draining => Some("draining"),
        Phase::Serving => is_ill.then_some(reason),
    }
}

/// One market's sessions, over all shards.
pub fn exchange(metrics: &Metrics, market: Market) -> ExchangeHealth {
    let parts: Vec<_> = metrics.shards.iter().map(|shard| shard.market(market)).collect();
    let sum = |read: fn(&FeedMetrics) -> i64| parts.iter().map(|part| read(part)).sum::<i64>();
    let max = |read: fn(&FeedMetrics) -> i64| parts.iter().map(|part| read(part)).max();
    let errors = parts.iter().flat_map(|part| &part.connection_errors);
    let quotes = parts.iter().map(|p| p.closed_quotes.value() + p.open_quotes.value());
    // Before the first delivery, one session on any shard is enough.
    let is_served = sum(|part| part.active_sessions.value()) > 0;
    let has_sessions = (is_served || sum(|part| part.instruments.value()) == 0)
        && parts.iter().all(|part| part.active_sessions.value() >= part.wanted_sessions.value());
    let last_message = max(|part| part.last_message_ms.value()).filter(|ms| *ms > 0);
    ExchangeHealth {
        exchange: market.venue().name(),
        contract_type: market.contract_type().name(),
        active_connections: sum(|part| part.active_sessions.value()),
        last_message_time: last_message.map(|ms| UnixMs(ms).to_string()),
        total_quotes: quotes.sum(),
        total_errors: errors.map(|count| count.value()).sum(),
        consecutive_failures: max(|part| part.consecutive_failures.value()).unwrap_or(0),
        circuit_state: match render::breaker_state(&parts) {
            0 => "closed",
            1 => "open",
            _ => "half_open",
        },
        denied: None,
        waiting: Waiting::of(&parts),
        is_late: has_sessions && parts.iter().any(|part| part.is_late()),
        healthy: has_sessions && !parts.iter().any(|part| part.is_late()),
    }
}

/// RFC 3339, to the µs.
pub fn timestamp(unix_us: i64) -> String {
    let mut text = [0; RFC3339_BYTES];
    let length = write_rfc3339(unix_us, 6, &mut text);
    String::from_utf8_lossy(&text[..length]).into_owned()
}

fn report(ok: bool, body: &impl Serialize) -> Report {
    let body = simd_json::to_string(body).expect("names, numbers and texts always serialise");
    Report { ok, body }
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    timestamp: String,
    cores: Vec<CoreHealth>,
}

/// One core in `/health`.
#[derive(Debug, Serialize)]
pub struct CoreHealth {
    name: String,
    heartbeat_age_seconds: f64,
    healthy: bool,
}

impl CoreHealth {
    /// The core of this name.
    pub fn of(name: &str, core: &CoreMetrics, now: Now) -> Self {
        let beat = u64::try_from(core.heartbeat_ns.value()).unwrap_or(0);
        let age = now.mono.since(MonoNs(beat));
        Self {
            name: name.to_owned(),
            heartbeat_age_seconds: age.as_secs_f64(),
            healthy: age < HEARTBEAT_STALE,
        }
    }
}

#[derive(Serialize)]
struct ReadyBody {
    status: &'static str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    instruments: Instruments,
    exchanges: Vec<ExchangeHealth>,
}

/// How full the table of instruments is, in `/ready` and `/api/state`.
#[derive(Debug, Serialize)]
pub struct Instruments {
    known: i64,
    known_max: usize,
    unconfirmed: i64,
    unconfirmed_max: usize,
}

impl Instruments {
    /// As the fan-out counts them.
    pub fn of(metrics: &Metrics) -> Self {
        Self {
            known: metrics.fanout.instruments.value(),
            known_max: INSTRUMENTS_MAX,
            unconfirmed: metrics.fanout.unconfirmed.value(),
            unconfirmed_max: UNCONFIRMED_MAX,
        }
    }
}

/// One exchange and contract type in `/ready`.
#[derive(Debug, Serialize)]
pub struct ExchangeHealth {
    exchange: &'static str,
    contract_type: &'static str,
    active_connections: i64,
    last_message_time: Option<String>,
    total_quotes: u64,
    total_errors: u64,
    consecutive_failures: i64,
    circuit_state: &'static str,
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    #[serde(skip)]
    is_late: bool,
}

/// What the next session of a market waits for, on the shard that waits longest.
#[derive(Debug, Serialize)]
struct Waiting {
    #[serde(rename = "for")]
    reason: &'static str,
    until: String,
    why: &'static str,
}

impl Waiting {
    fn of(parts: &[&FeedMetrics]) -> Option<Self> {
        let longest = parts.iter().max_by_key(|part| part.wait_until_ms.value())?;
        let reason = WaitReason::of_gauge(longest.wait_reason.value())?;
        let until = UnixMs(longest.wait_until_ms.value()).to_string();
        Some(Self { reason: reason.label(), until, why: reason.words() })
    }
}

impl ExchangeHealth {
    /// The same, with what the exchange denies us, for a person.
    pub fn with_denied(self, denied: Option<String>) -> Self {
        Self { denied, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ShardMetrics;

    fn metrics(shards: usize) -> Metrics {
        Metrics {
            shards: (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect(),
            fanout: Arc::default(),
            ledger: Default::default(),
            cores: vec![("shard0".into(), Arc::new(CoreMetrics::default()))],
        }
    }

    fn at(seconds: u64) -> Now {
        Now { mono: MonoNs(seconds * 1_000_000_000), unix_us: 1_709_209_445_123_456 }
    }

    fn json(report: &Report) -> serde_json::Value {
        serde_json::from_str(&report.body).unwrap()
    }

    #[test]
    fn health_fails_when_a_heartbeat_is_stale() {
        let metrics = metrics(1);
        assert!(health(&metrics, at(1)).ok);
        let report = health(&metrics, at(6));
        assert!(!report.ok);
        assert_eq!(json(&report)["status"], "unhealthy");
        metrics.cores[0].1.heartbeat_ns.set(5_000_000_000);
        let report = health(&metrics, at(6));
        assert_eq!(json(&report)["status"], "healthy");
        assert_eq!(json(&report)["timestamp"], "2024-02-29T12:24:05.123456+00:00");
    }

    #[test]
    fn ready_follows_the_lifecycle() {
        let (metrics, lifecycle) = (metrics(1), Lifecycle::default());
        assert!(!ready(&metrics, at(1), lifecycle.phase()).ok);
        lifecycle.serving();
        assert!(ready(&metrics, at(1), lifecycle.phase()).ok);
        lifecycle.draining();
        lifecycle.serving();
        let report = ready(&metrics, at(1), lifecycle.phase());
        assert!(!report.ok);
        assert_eq!(json(&report)["status"], "not_ready");
        assert_eq!(json(&report)["reason"], "draining");
    }

    #[test]
    fn ready_shows_how_full_the_table_of_instruments_is() {
        let metrics = metrics(1);
        metrics.fanout.instruments.set(7);
        metrics.fanout.unconfirmed.set(3);
        let expected = serde_json::json!({
            "known": 7, "known_max": 32_768, "unconfirmed": 3, "unconfirmed_max": 16_384,
        });
        assert_eq!(json(&ready(&metrics, at(1), Phase::Serving))["instruments"], expected);
    }

    #[test]
    fn ready_needs_a_session_on_every_shard_that_wants_one() {
        let metrics = metrics(2);
        metrics.shards[0].markets[1].active_sessions.set(2);
        metrics.shards[0].markets[1].wanted_sessions.set(1);
        metrics.shards[1].markets[1].instruments.set(1);
        assert!(ready(&metrics, at(1), Phase::Serving).ok, "it has not delivered");
        metrics.shards[1].markets[1].wanted_sessions.set(1);
        let report = ready(&metrics, at(1), Phase::Serving);
        assert!(!report.ok);
        assert_eq!(json(&report)["exchanges"][1]["healthy"], false);
        assert_eq!(json(&report)["exchanges"][0]["healthy"], true);
        metrics.shards[1].markets[1].active_sessions.set(1);
        let report = ready(&metrics, at(1), Phase::Serving);
        assert!(report.ok, "{}", report.body);
        metrics.shards[0].markets[2].instruments.set(1);
        assert!(!ready(&metrics, at(1), Phase::Serving).ok, "no session at all");
    }

    #[test]
    fn ready_needs_more_than_late_candles() {
        let metrics = metrics(1);
        let spot = &metrics.shards[0].markets[0];
        spot.active_sessions.set(1);
        spot.instruments.set(2);
        spot.late_instruments.set(1);
        assert!(ready(&metrics, at(1), Phase::Serving).ok, "the other one is as it should be");
        spot.late_instruments.set(2);
        let report = ready(&metrics, at(1), Phase::Serving);
        assert!(!report.ok);
        assert_eq!(json(&report)["exchanges"][0]["healthy"], false);
        assert_eq!(
            json(&report)["reason"],
            "a subscribed market delivers nothing but late candles"
        );
    }

    #[test]
    fn ready_names_what_a_market_waits_for_on_the_shard_that_waits_longest() {
        let metrics = metrics(2);
        for (shard, reason, until_ms) in [(0, 4, 1_709_209_445_123), (1, 1, 1_709_209_444_000)] {
            metrics.shards[shard].markets[0].wait_reason.set(reason);
            metrics.shards[shard].markets[0].wait_until_ms.set(until_ms);
        }
        let expected = serde_json::json!({
            "for": "budget", "until": "2024-02-29T12:24:05.123+00:00",
            "why": "what the exchange allows one address in new sessions is used up, or kept for \
                    series that have delivered",
        });
        let body = json(&ready(&metrics, at(1), Phase::Serving));
        assert_eq!(body["exchanges"][0]["waiting"], expected);
        assert!(body["exchanges"][1]["waiting"].is_null());
    }

    #[test]
    fn an_exchange_has_the_fields_of_the_python_server() {
        let metrics = metrics(1);
        let spot = &metrics.shards[0].markets[0];
        spot.closed_quotes.add(2);
        spot.open_quotes.add(3);
        spot.last_message_ms.set(1_709_209_445_123);
        spot.breaker_state.set(2);
        let body = json(&ready(&metrics, at(1), Phase::Serving));
        let expected = serde_json::json!({
            "exchange": "binance", "contract_type": "spot", "active_connections": 0,
            "last_message_time": "2024-02-29T12:24:05.123+00:00", "total_quotes": 5,
            "total_errors": 0, "consecutive_failures": 0, "circuit_state": "half_open",
            "healthy": true,
        });
        assert_eq!(body["exchanges"][0], expected);
        assert!(body["exchanges"][2]["last_message_time"].is_null());
    }
}
