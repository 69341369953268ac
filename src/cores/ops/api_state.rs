//! What the page on the ops port shows, as the JSON of `/api/state`: one reading of the counters.
//! Totals and cumulative histograms since the start; the reader computes rates and percentiles.

use serde::Serialize;

use crate::clock::Now;
use crate::config::Config;
use crate::cores::ops::denials::Denials;
use crate::cores::ops::setup::OpsSetup;
use crate::health::{self, CoreHealth, ExchangeHealth, Instruments};
use crate::limits::{LEDGER_RING_SLOTS, RING_SLOTS};
use crate::market::{Market, Venue};
use crate::metrics::{
    CoreMetrics, Counter, FanoutMetrics, FeedMetrics, Histogram, LedgerMetrics, Metrics,
    ShardMetrics, cumulative,
};

/// A JSON object.
pub(crate) fn body(setup: &OpsSetup, denials: &Denials, now: Now) -> String {
    let metrics = &setup.metrics;
    let denied = |market| denials.of(market, &setup.pauses, now.mono);
    let health = |market| health::exchange(metrics, market).with_denied(denied(market));
    let health: Vec<_> = Market::all().map(health).collect();
    let reason = health::unready(&health, setup.lifecycle.phase());
    let state = State {
        version: env!("CARGO_PKG_VERSION"),
        timestamp: health::timestamp(now.unix_us),
        uptime_seconds: now.mono.since(crate::clock::MonoNs(0)).as_secs_f64(),
        status: if reason.is_none() { "ready" } else { "not_ready" },
        reason,
        clients_port: ClientsPort::of(&setup.config, setup.client_port),
        clients: Clients::of(&metrics.fanout),
        instruments: Instruments::of(metrics),
        ledger: Ledger::of(&metrics.ledger),
        exchanges: Market::all().zip(health).map(|(m, health)| row(metrics, m, health)).collect(),
        shards: metrics.shards.iter().map(|shard| Shard::of(shard)).collect(),
        cores: metrics.cores.iter().map(|(name, core)| Core::of(name, core, now)).collect(),
        hops: metrics.hops().map(|(hop, parts)| Distribution::of(hop, &parts)).into(),
        receive_lags: Venue::ALL
            .map(|venue| Distribution::of(venue.name(), &metrics.receive_lags(venue)))
            .into(),
        close_lags: Venue::ALL
            .map(|venue| Distribution::of(venue.name(), &metrics.close_lags(venue)))
            .into(),
    };
    simd_json::to_string(&state).expect("names, numbers and texts always serialise")
}

#[derive(Serialize)]
struct State<'a> {
    version: &'static str,
    timestamp: String,
    uptime_seconds: f64,
    status: &'static str,
    reason: Option<&'static str>,
    clients_port: ClientsPort<'a>,
    clients: Clients,
    instruments: Instruments,
    ledger: Ledger,
    exchanges: Vec<Exchange>,
    shards: Vec<Shard>,
    cores: Vec<Core>,
    hops: Vec<Distribution>,
    /// As in `connector_receive_lag_seconds`.
    receive_lags: Vec<Distribution>,
    /// As in `connector_close_lag_seconds`.
    close_lags: Vec<Distribution>,
}

/// How a browser connects to the clients' port.
#[derive(Serialize)]
struct ClientsPort<'a> {
    port: u16,
    tls: bool,
    token: bool,
    /// Empty: any.
    origins: &'a [String],
    /// Most candles that `history` may request.
    history_candles: usize,
}

impl<'a> ClientsPort<'a> {
    fn of(config: &'a Config, port: u16) -> Self {
        Self {
            port,
            tls: config.wss_tls_cert_file.is_some(),
            token: config.wss_tokens_file.is_some(),
            origins: &config.wss_origins,
            history_candles: config.history_candles,
        }
    }
}

#[derive(Serialize)]
struct Clients {
    connected: i64,
    accepted: u64,
    refused: u64,
    subscriptions: i64,
    sent_messages: u64,
    sent_bytes: u64,
    conflated: u64,
    slow_disconnects: u64,
    ping_timeouts: u64,
    send_failures: u64,
}

impl Clients {
    fn of(fanout: &FanoutMetrics) -> Self {
        Self {
            connected: fanout.clients.value(),
            accepted: fanout.accepted.value(),
            refused: fanout.refused.value(),
            subscriptions: fanout.subscriptions.value(),
            sent_messages: fanout.sent_messages.value(),
            sent_bytes: fanout.sent_bytes.value(),
            conflated: fanout.conflated.value(),
            slow_disconnects: fanout.slow_disconnects.value(),
            ping_timeouts: fanout.ping_timeouts.value(),
            send_failures: fanout.send_failures.value(),
        }
    }
}

/// What is stored of the closed windows, since the start of this process.
#[derive(Serialize)]
struct Ledger {
    /// Whether a file is configured.
    enabled: bool,
    /// Whether the last attempt to write it succeeded.
    storing: bool,
    /// Rows written.
    rows: u64,
    /// Size of the stored data.
    bytes: i64,
    /// The end of the newest window that this process has stored.
    newest_close: Option<String>,
    queue_depth: i64,
    queue_slots: usize,
    errors: u64,
    not_stored: u64,
}

impl Ledger {
    fn of(ledger: &LedgerMetrics) -> Self {
        let newest_close_ms = ledger.newest_close_ms.value();
        let newest_close = (newest_close_ms > 0).then(|| health::timestamp(newest_close_ms * 1000));
        Self {
            enabled: ledger.enabled.value() == 1,
            storing: ledger.storing.value() == 1,
            rows: ledger.rows.value(),
            bytes: ledger.bytes.value(),
            newest_close,
            queue_depth: ledger.queue_depth.value(),
            queue_slots: LEDGER_RING_SLOTS,
            errors: ledger.errors.value(),
            not_stored: ledger.not_stored.value(),
        }
    }
}

/// One market: its state as in `/ready`, and its counters.
#[derive(Serialize)]
struct Exchange {
    #[serde(flatten)]
    health: ExchangeHealth,
    wanted_connections: i64,
    instruments: i64,
    closed_quotes: u64,
    reconnections: u64,
    gaps: u64,
    gap_candles: u64,
    repaired: u64,
    corrections: u64,
}

fn row(metrics: &Metrics, market: Market, health: ExchangeHealth) -> Exchange {
    let parts: Vec<_> = metrics.shards.iter().map(|shard| shard.market(market)).collect();
    let sum = |read: fn(&FeedMetrics) -> &Counter| parts.iter().map(|p| read(p).value()).sum();
    Exchange {
        health,
        wanted_connections: parts.iter().map(|part| part.wanted_sessions.value()).sum(),
        instruments: parts.iter().map(|part| part.instruments.value()).sum(),
        closed_quotes: sum(|part| &part.closed_quotes),
        reconnections: sum(|part| &part.reconnections),
        gaps: sum(|part| &part.gaps),
        gap_candles: sum(|part| &part.gap_candles),
        repaired: sum(|part| &part.repaired),
        corrections: sum(|part| &part.corrections),
    }
}

#[derive(Serialize)]
struct Shard {
    sessions: i64,
    ring_depth: i64,
    ring_slots: usize,
    ring_full: u64,
    closed_waiting: i64,
    open_waiting: i64,
}

impl Shard {
    fn of(shard: &ShardMetrics) -> Self {
        let markets = || shard.markets.iter();
        Self {
            sessions: markets().map(|market| market.active_sessions.value()).sum(),
            ring_depth: shard.ring_depth.value(),
            ring_slots: RING_SLOTS,
            ring_full: shard.ring_full.value(),
            closed_waiting: markets().map(|market| market.closed_queue_depth.value()).sum(),
            open_waiting: markets().map(|market| market.open_queue_depth.value()).sum(),
        }
    }
}

/// One core: its state as in `/health`, and its duty cycle.
#[derive(Serialize)]
struct Core {
    #[serde(flatten)]
    health: CoreHealth,
    busy_ns: u64,
    turns: u64,
    parks: u64,
}

impl Core {
    fn of(name: &str, core: &CoreMetrics, now: Now) -> Self {
        Self {
            health: CoreHealth::of(name, core, now),
            busy_ns: core.busy_ns.value(),
            turns: core.turns.value(),
            parks: core.parks.value(),
        }
    }
}

#[derive(Serialize)]
struct Distribution {
    name: &'static str,
    /// Upper bound in ns, and the number of values at or below it. The last entry has `null` and
    /// the number of all values.
    cumulative: Vec<(Option<u64>, u64)>,
}

impl Distribution {
    fn of<const N: usize>(name: &'static str, parts: &[&Histogram<N>]) -> Self {
        Self { name, cumulative: cumulative(parts) }
    }
}
