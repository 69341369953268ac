//! Every counter of the program, in one place. One core writes each counter, and the ops core reads
//! it; a write is one relaxed store. Rendering is here too; serving is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::market::{FinalBy, Market, Venue};

pub use labels::{ConnectionErrorKind, DecodeErrorKind, RefusedBy, WaitReason};

pub mod labels;
pub mod process;
pub mod render;

/// A number that only grows, written by one thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `amount`. A load and a store, no locked instruction: there is one writer.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls, written by one thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.set(self.value() + amount);
    }

    /// The value now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of durations with fixed bounds, written by one thread.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper bounds in ns, ascending. What lies above the last is in the overflow bucket.
    bounds_ns: &'static [u64; N],
    buckets: [Counter; N],
    overflow: Counter,
    sum_ns: Counter,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram.
    pub fn new(bounds_ns: &'static [u64; N]) -> Self {
        assert!(bounds_ns.is_sorted(), "a bucket is found by bisection");
        let buckets = std::array::from_fn(|_| Counter::default());
        Self { bounds_ns, buckets, overflow: Counter::default(), sum_ns: Counter::default() }
    }

    /// Records one duration.
    pub fn record_ns(&self, duration_ns: u64) {
        let at = self.bounds_ns.partition_point(|&bound| bound < duration_ns);
        self.buckets.get(at).unwrap_or(&self.overflow).increment();
        self.sum_ns.add(duration_ns);
    }

    /// (upper bound in ns, number of durations up to it) for each bound, then (`None`, number of
    /// all).
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let last = [(None, self.overflow.value())];
        let bounded = self.bounds_ns.iter().zip(&self.buckets);
        let each = bounded.map(|(&bound, bucket)| (Some(bound), bucket.value())).chain(last);
        each.scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    /// All durations added up, in ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.value()
    }
}

/// Bounds of `connector_receive_lag_seconds` and `connector_close_lag_seconds`: finer than those of
/// `connector_quote_latency_seconds`, which are among them.
pub const RECEIVE_LAG_BOUNDS_NS: [u64; 18] = [
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    15_000_000,
    20_000_000,
    30_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
    300_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Bounds of `connector_quote_latency_seconds`, as the Python server had them.
pub const QUOTE_LATENCY_BOUNDS_NS: [u64; 10] = [
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Bounds of `connector_hop_seconds`: those of `connector_hop_latency_seconds`, and two for hops of
/// less than a microsecond.
pub const HOP_BOUNDS_NS: [u64; 16] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bounds of `connector_hop_latency_seconds`: 1 µs to 1 s.
pub const HOP_LATENCY_BOUNDS_NS: [u64; 14] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    1_000_000_000,
];

/// `connector_clients_refused_total`, by [`RefusedBy`].
#[derive(Debug, Default)]
pub struct Refused([Counter; RefusedBy::ALL.len()]);

impl Refused {
    /// Counts one more.
    pub fn increment(&self, by: RefusedBy) {
        self.0[by as usize].increment();
    }

    /// Number of connections rejected for one reason.
    pub fn by(&self, by: RefusedBy) -> u64 {
        self.0[by as usize].value()
    }

    /// Number of all rejected connections.
    pub fn value(&self) -> u64 {
        self.0.iter().map(Counter::value).sum()
    }
}

/// One shard's counters about one market. Written by the shard.
#[derive(Debug)]
#[repr(align(64))]
pub struct FeedMetrics {
    /// `connector_quotes_processed_total{is_closed="True"}`.
    pub closed_quotes: Counter,
    /// `connector_quotes_processed_total{is_closed="False"}`.
    pub open_quotes: Counter,
    /// `connector_receive_lag_seconds`, and `connector_quote_latency_seconds` of its buckets: from
    /// the exchange's event time, in ms, to the wall clock's reading of the turn that read the
    /// bytes. Later time inside the process is not included.
    pub receive_lag: Histogram<18>,
    /// `connector_event_time_ahead_total`: updates with an event time in the future. Then the lag
    /// of every update is too short, by the clock's error.
    pub event_time_ahead: Counter,
    /// `connector_active_connections`.
    pub active_sessions: Gauge,
    /// Sessions that should be live: the live ones, and those with an instrument that has
    /// delivered.
    pub wanted_sessions: Gauge,
    /// `connector_connection_errors_total`, by [`ConnectionErrorKind`].
    pub connection_errors: [Counter; ConnectionErrorKind::ALL.len()],
    /// `connector_reconnections_total`.
    pub reconnections: Counter,
    /// `connector_rest_backfills_total{status="success"}`.
    pub backfills_ok: Counter,
    /// `connector_rest_backfills_total{status="failure"}`, and among the connection errors.
    pub backfills_failed: Counter,
    /// `connector_queue_depth_closed`: closed candles waiting for the ring.
    pub closed_queue_depth: Gauge,
    /// `connector_queue_depth_open`: open candles waiting for the ring, at most one per series.
    pub open_queue_depth: Gauge,
    /// `connector_queue_blocking_events_total`: times the ring was full.
    pub queue_blocking: Counter,
    /// `connector_circuit_breaker_state`: 0 closed, 1 open, 2 half-open.
    pub breaker_state: Gauge,
    /// Failures in a row, of sessions and requests.
    pub consecutive_failures: Gauge,
    /// `connector_duplicates_filtered_total`.
    pub duplicates: Counter,
    /// `connector_late_total`: older than the watermark, dropped.
    pub late: Counter,
    /// `connector_gaps_total`: gaps found.
    pub gaps: Counter,
    /// `connector_gap_candles_total`: windows missing in them.
    pub gap_candles: Counter,
    /// `connector_corrections_total`: closed candles restated.
    pub corrections: Counter,
    /// `connector_held_total`: closed candles that waited for one before them.
    pub held: Counter,
    /// `connector_repaired_total`: windows published as a gap and delivered later.
    pub repaired: Counter,
    /// `connector_empty_windows_total`: windows published as without trades.
    pub empty_windows: Counter,
    /// `connector_comparisons_total{result="same"}`: closed candles that REST confirmed.
    pub comparisons_same: Counter,
    /// `connector_comparisons_total{result="different"}`: those that it restated.
    pub comparisons_different: Counter,
    /// `connector_connects_total`: attempts to open a session.
    pub connects: Counter,
    /// `connector_rest_requests_total`, counted at the first market of those that share a limit.
    pub rest_requests: Counter,
    /// `connector_rest_refused_total`: REST requests answered with "too many".
    pub rest_refused: Counter,
    /// `connector_rest_denied`: whether the exchange denies us REST.
    pub rest_denied: Gauge,
    /// `connector_sessions_denied`: whether the exchange denies us new sessions.
    pub sessions_denied: Gauge,
    /// `connector_session_wait_reason`: what the next session waits for, a [`WaitReason`]; 0: none
    /// waits.
    pub wait_reason: Gauge,
    /// `connector_session_wait_until_seconds`: when that is over, in ms since the epoch; 0: none
    /// waits.
    pub wait_until_ms: Gauge,
    /// `connector_rest_bad_rows_total`: rows of REST answers that made no sense.
    pub bad_rows: Counter,
    /// `connector_decode_errors_total`, by [`DecodeErrorKind`].
    pub decode_errors: [Counter; DecodeErrorKind::ALL.len()],
    /// `connector_symbols_rejected_total`: subscriptions rejected by the exchange or its list.
    pub rejected: Counter,
    /// `connector_closed_by_total`, by [`crate::market::FinalBy`].
    pub closed_by: [Counter; FinalBy::ALL.len()],
    /// `connector_subscribed_instruments`.
    pub instruments: Gauge,
    /// `connector_late_instruments`: those that have for minutes delivered only late or rejected
    /// candles.
    pub late_instruments: Gauge,
    /// Wall clock of the last message, ms since the epoch; 0 if there was none.
    pub last_message_ms: Gauge,
}

impl FeedMetrics {
    /// Returns whether every instrument delivers nothing but late or refused candles.
    pub fn is_late(&self) -> bool {
        let instruments = self.instruments.value();
        instruments > 0 && self.late_instruments.value() >= instruments
    }
}

impl Default for FeedMetrics {
    fn default() -> Self {
        Self {
            closed_quotes: Counter::default(),
            open_quotes: Counter::default(),
            receive_lag: Histogram::new(&RECEIVE_LAG_BOUNDS_NS),
            event_time_ahead: Counter::default(),
            active_sessions: Gauge::default(),
            wanted_sessions: Gauge::default(),
            connection_errors: Default::default(),
            reconnections: Counter::default(),
            backfills_ok: Counter::default(),
            backfills_failed: Counter::default(),
            closed_queue_depth: Gauge::default(),
            open_queue_depth: Gauge::default(),
            queue_blocking: Counter::default(),
            breaker_state: Gauge::default(),
            consecutive_failures: Gauge::default(),
            duplicates: Counter::default(),
            late: Counter::default(),
            gaps: Counter::default(),
            gap_candles: Counter::default(),
            corrections: Counter::default(),
            held: Counter::default(),
            repaired: Counter::default(),
            empty_windows: Counter::default(),
            comparisons_same: Counter::default(),
            comparisons_different: Counter::default(),
            connects: Counter::default(),
            rest_requests: Counter::default(),
            rest_refused: Counter::default(),
            rest_denied: Gauge::default(),
            sessions_denied: Gauge::default(),
            wait_reason: Gauge::default(),
            wait_until_ms: Gauge::default(),
            bad_rows: Counter::default(),
            decode_errors: Default::default(),
            rejected: Counter::default(),
            closed_by: Default::default(),
            instruments: Gauge::default(),
            late_instruments: Gauge::default(),
            last_message_ms: Gauge::default(),
        }
    }
}

/// The ledger's counters. Written by its thread, but for `not_stored`.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct LedgerMetrics {
    /// `connector_ledger_enabled`: whether a file is configured.
    pub enabled: Gauge,
    /// `connector_ledger_storing`: whether the last attempt to write succeeded.
    pub storing: Gauge,
    /// `connector_ledger_rows_total`: rows written.
    pub rows: Counter,
    /// `connector_ledger_pruned_rows_total`: rows removed since they were too old or too many.
    pub pruned: Counter,
    /// `connector_ledger_bytes`: size of the stored data.
    pub bytes: Gauge,
    /// `connector_ledger_newest_close_seconds`: end of the newest stored window, in ms since the
    /// epoch; 0 if none was stored yet.
    pub newest_close_ms: Gauge,
    /// `connector_ledger_queue_depth`: closed windows that wait to be written.
    pub queue_depth: Gauge,
    /// `connector_ledger_errors_total`: attempts to open or write the file that failed.
    pub errors: Counter,
    /// `connector_ledger_not_stored_total`: closed windows that were not stored, since too many
    /// waited. Written by the fan-out core.
    pub not_stored: Counter,
}

/// What every core reports about its own duty cycle. Written by the core.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct CoreMetrics {
    /// Monotonic ns of the latest turn: the heartbeat.
    pub heartbeat_ns: Gauge,
    /// `connector_core_busy_seconds_total`: time in turns that found work, in ns.
    pub busy_ns: Counter,
    /// `connector_core_turns_total`.
    pub turns: Counter,
    /// `connector_core_parks_total`.
    pub parks: Counter,
}

/// One shard's counters.
#[derive(Debug)]
pub struct ShardMetrics {
    /// Per market, by [`Market::index`].
    pub markets: [FeedMetrics; Market::COUNT],
    /// `connector_hop_seconds{hop="kernel"}`: from when the kernel received the last segment of a
    /// read to the end of that read, whatever it brought. Only some reads are measured.
    pub kernel_to_read: Histogram<16>,
    /// `connector_kernel_stamps_dropped_total`: stamps later than their read, or more than a second
    /// before it: the wall clock was set in between, or the socket was not read for a second.
    pub stamps_dropped: Counter,
    /// `connector_hop_seconds{hop="decode"}`: from the start of the turn that read a pushed
    /// candle's bytes to when the shard began to put that turn's candles into its ring. It includes
    /// decrypting, decoding, the checks of the series, and the wait for room or for an earlier
    /// window.
    pub received_to_ring: Histogram<16>,
    /// `connector_close_lag_seconds`, by [`Venue`]: from the end of a window, as the exchange's
    /// clock counts it, to our wall clock's reading of the turn in which its closed candle was
    /// published. Pushed candles only, each once.
    pub close_lags: [Histogram<18>; Venue::ALL.len()],
    /// `connector_ring_depth`: slots of the ring in use, at the last turn.
    pub ring_depth: Gauge,
    /// `connector_ring_full_total`.
    pub ring_full: Counter,
    /// `connector_notices_dropped_total`, this shard's part.
    pub notices_dropped: Counter,
}

impl ShardMetrics {
    /// The counters of one market.
    pub fn market(&self, market: Market) -> &FeedMetrics {
        &self.markets[market.index()]
    }
}

impl Default for ShardMetrics {
    fn default() -> Self {
        Self {
            markets: Default::default(),
            kernel_to_read: Histogram::new(&HOP_BOUNDS_NS),
            stamps_dropped: Counter::default(),
            received_to_ring: Histogram::new(&HOP_BOUNDS_NS),
            close_lags: std::array::from_fn(|_| Histogram::new(&RECEIVE_LAG_BOUNDS_NS)),
            ring_depth: Gauge::default(),
            ring_full: Counter::default(),
            notices_dropped: Counter::default(),
        }
    }
}

/// The fan-out core's counters.
#[derive(Debug)]
#[repr(align(64))]
pub struct FanoutMetrics {
    /// `connector_clients`.
    pub clients: Gauge,
    /// `connector_clients_accepted_total`.
    pub accepted: Counter,
    /// `connector_clients_refused_total`.
    pub refused: Refused,
    /// `connector_client_subscriptions`.
    pub subscriptions: Gauge,
    /// `connector_sent_messages_total`.
    pub sent_messages: Counter,
    /// `connector_sent_bytes_total`.
    pub sent_bytes: Counter,
    /// `connector_conflated_total`: open candles replaced before a client could take them.
    pub conflated: Counter,
    /// `connector_slow_disconnects_total`.
    pub slow_disconnects: Counter,
    /// `connector_ping_timeouts_total`: clients closed since they answered no ping.
    pub ping_timeouts: Counter,
    /// `connector_send_failures_total`: writes that the kernel refused for a reason of its own.
    pub send_failures: Counter,
    /// `connector_instrument_ids`: instruments that are known, at most
    /// [`crate::limits::INSTRUMENTS_MAX`].
    pub instruments: Gauge,
    /// `connector_instrument_ids_unconfirmed`: those of them that no list and no candle has
    /// confirmed, at most [`crate::limits::UNCONFIRMED_MAX`].
    pub unconfirmed: Gauge,
    /// `connector_refused_names`: names refused lately, at most
    /// [`crate::limits::REFUSED_NAMES_MAX`].
    pub refused_names: Gauge,
    /// `connector_refused_from_memory_total`: names answered from memory.
    pub refused_again: Counter,
    /// `connector_new_names_refused_total`: names new to their exchange, refused since their client
    /// had brought too many.
    pub new_names_refused: Counter,
    /// `connector_client_errors_total`: requests answered with an `error`.
    pub client_errors: Counter,
    /// `connector_client_protocol_errors_total`: clients closed for breaking WebSocket.
    pub protocol_errors: Counter,
    /// `connector_hop_latency_seconds{hop="received_to_published"}`: exchange socket to fan-out
    /// core.
    pub received_to_published: Histogram<16>,
    /// `connector_hop_seconds{hop="ring"}`: from where `decode` ends to the start of the fan-out's
    /// turn that took the candle out of the ring. Candles, like the two above and below: what is
    /// not pushed by an exchange has no way to be measured.
    pub ring_to_taken: Histogram<16>,
    /// `connector_hop_seconds{hop="write"}`: from there until a client's socket has taken its last
    /// byte; of each batch that a client is written, the oldest candle.
    pub taken_to_written: Histogram<16>,
    /// `connector_hop_seconds{hop="total"}`, and `connector_hop_latency_seconds` of
    /// `received_to_written`: exchange socket to client socket, of the same candles.
    pub received_to_written: Histogram<16>,
    /// `connector_notices_dropped_total`, this core's part.
    pub notices_dropped: Counter,
}

impl Default for FanoutMetrics {
    fn default() -> Self {
        Self {
            clients: Gauge::default(),
            accepted: Counter::default(),
            refused: Refused::default(),
            subscriptions: Gauge::default(),
            sent_messages: Counter::default(),
            sent_bytes: Counter::default(),
            conflated: Counter::default(),
            slow_disconnects: Counter::default(),
            ping_timeouts: Counter::default(),
            send_failures: Counter::default(),
            instruments: Gauge::default(),
            unconfirmed: Gauge::default(),
            refused_names: Gauge::default(),
            refused_again: Counter::default(),
            new_names_refused: Counter::default(),
            client_errors: Counter::default(),
            protocol_errors: Counter::default(),
            received_to_published: Histogram::new(&HOP_BOUNDS_NS),
            ring_to_taken: Histogram::new(&HOP_BOUNDS_NS),
            taken_to_written: Histogram::new(&HOP_BOUNDS_NS),
            received_to_written: Histogram::new(&HOP_BOUNDS_NS),
            notices_dropped: Counter::default(),
        }
    }
}

/// Everything the ops core shows.
#[derive(Debug)]
pub struct Metrics {
    /// Per shard.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// The fan-out core.
    pub fanout: Arc<FanoutMetrics>,
    /// The ledger.
    pub ledger: Arc<LedgerMetrics>,
    /// Duty cycles: name (`shard0`, `fanout`, `shard0+fanout` …) and counters, per executor.
    pub cores: Vec<(String, Arc<CoreMetrics>)>,
}

impl Metrics {
    /// `connector_notices_dropped_total`.
    pub fn notices_dropped(&self) -> u64 {
        let shards = self.shards.iter().map(|shard| shard.notices_dropped.value());
        shards.sum::<u64>() + self.fanout.notices_dropped.value()
    }

    /// `connector_hop_seconds`: each hop and its parts.
    pub fn hops(&self) -> [(&'static str, Vec<&Histogram<16>>); 5] {
        let fanout = &self.fanout;
        [
            ("kernel", self.shards.iter().map(|shard| &shard.kernel_to_read).collect()),
            ("decode", self.shards.iter().map(|shard| &shard.received_to_ring).collect()),
            ("ring", vec![&fanout.ring_to_taken]),
            ("write", vec![&fanout.taken_to_written]),
            ("total", vec![&fanout.received_to_written]),
        ]
    }

    /// Instruments subscribed at all exchanges together.
    pub fn subscribed_instruments(&self) -> i64 {
        let markets =
            Market::all().flat_map(|market| self.shards.iter().map(move |s| s.market(market)));
        markets.map(|part| part.instruments.value()).sum()
    }

    /// `connector_receive_lag_seconds`: the parts of one exchange.
    pub fn receive_lags(&self, venue: Venue) -> Vec<&Histogram<18>> {
        let markets =
            Market::of(venue).flat_map(|market| self.shards.iter().map(move |s| s.market(market)));
        markets.map(|part| &part.receive_lag).collect()
    }

    /// `connector_close_lag_seconds`: the parts of one exchange.
    pub fn close_lags(&self, venue: Venue) -> Vec<&Histogram<18>> {
        self.shards.iter().map(|shard| &shard.close_lags[venue as usize]).collect()
    }
}

/// The sum of [`Histogram::cumulative`] over several histograms with the same bounds. Each is read
/// once, so that the counts agree.
pub fn cumulative<const N: usize>(parts: &[&Histogram<N>]) -> Vec<(Option<u64>, u64)> {
    let mut buckets: Vec<(Option<u64>, u64)> = Vec::new();
    for part in parts {
        for (at, (bound, count)) in part.cumulative().enumerate() {
            match buckets.get_mut(at) {
                Some(bucket) => bucket.1 += count,
                None => buckets.push((bound, count)),
            }
        }
    }
    buckets
}
