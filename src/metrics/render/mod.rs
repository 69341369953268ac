//! The counters as Prometheus text 0.0.4 or OpenMetrics 1.0. Pure; every family is there from the
//! start, with zeros for what has not happened.

use std::fmt::Write as _;

use super::process::ProcessFigures;
use super::{
    ConnectionErrorKind, Counter, DecodeErrorKind, FanoutMetrics, FeedMetrics, Gauge,
    HOP_BOUNDS_NS, HOP_LATENCY_BOUNDS_NS, Histogram, LedgerMetrics, Metrics,
    QUOTE_LATENCY_BOUNDS_NS, RECEIVE_LAG_BOUNDS_NS, RefusedBy, ShardMetrics, cumulative,
};
use crate::market::{FinalBy, Market, Venue};

/// The two forms of one exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What an `Accept` header asks for: OpenMetrics where it is named and not liked less than
    /// `text/plain`.
    pub fn accepted(accept: &str) -> Self {
        let best = |name: &str| accept.split(',').filter_map(|item| quality(item, name)).max();
        match (best("application/openmetrics-text"), best("text/plain")) {
            (Some(open), plain) if open > 0 && open >= plain.unwrap_or(0) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }
}

/// The quality, in thousandths, of one item of `Accept` if it names `media_type` in the one
/// version of it that is written here.
fn quality(item: &str, media_type: &str) -> Option<u32> {
    let mut parts = item.split(';').map(str::trim);
    parts.next().filter(|name| name.eq_ignore_ascii_case(media_type))?;
    let mut quality = 1000;
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
            ("q", value) => quality = thousandths(value)?,
            ("version", version) if !["1.0.0", "0.0.4"].contains(&version) => return None,
            _ => {}
        }
    }
    Some(quality)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn thousandths(text: &str) -> Option<u32> {
    let value: f64 = text.parse().ok()?;
    (0.0..=1.0).contains(&value).then_some((value * 1000.0).round() as u32)
}

/// Everything in `metrics`, and of the process what is known, as text.
pub fn render(metrics: &Metrics, process: Option<&ProcessFigures>, format: Format) -> String {
    let mut out = Exposition { text: String::with_capacity(32 * 1024), format };
    out.build_info();
    process.iter().for_each(|process| out.process(process));
    for row in MARKET_ROWS {
        out.market_row(metrics, row);
    }
    out.quote_latency(metrics);
    out.receive_lag(metrics);
    out.close_lag(metrics);
    for row in FANOUT_ROWS {
        out.family(row.name, row.kind, row.help);
        out.sample(row.name, row.kind, &[], &(row.read)(&metrics.fanout).to_string());
    }
    for row in LEDGER_ROWS {
        out.family(row.name, row.kind, row.help);
        out.sample(row.name, row.kind, &[], &(row.read)(&metrics.ledger).to_string());
    }
    out.refused(&metrics.fanout);
    out.hop_latency(&metrics.fanout);
    out.hops(metrics);
    out.shard_rows(metrics);
    out.core_rows(metrics);
    out.notices_dropped(metrics);
    if format == Format::OpenMetrics {
        out.text.push_str("# EOF\n");
    }
    out.text
}

/// One breaker over all shards: open if any is, else half-open if any is.
pub fn breaker_state(parts: &[&FeedMetrics]) -> i64 {
    let any = |state| parts.iter().any(|part| part.breaker_state.value() == state);
    if any(1) { 1 } else { 2 * i64::from(any(2)) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// How the shards' parts of one market become samples.
enum Read {
    /// One sample, added up over shards.
    Sum(fn(&FeedMetrics) -> i64),
    /// One sample, the greatest of the shards'.
    Max(fn(&FeedMetrics) -> i64),
    /// The breaker's rule.
    Breaker,
    /// A sample per value of a label, added up over shards.
    By(&'static str, fn(&FeedMetrics) -> Vec<(&'static str, i64)>),
    /// A sample per `error_type` and `cause`, added up over shards.
    ByCause(fn(&FeedMetrics) -> Causes),
}

/// Counts by `error_type` and `cause`.
type Causes = Vec<([&'static str; 2], i64)>;

struct MarketRow {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: Read,
}

struct FanoutRow {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&FanoutMetrics) -> i64,
}

struct LedgerRow {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&LedgerMetrics) -> i64,
}

fn count(counter: &Counter) -> i64 {
    i64::try_from(counter.value()).unwrap_or(i64::MAX)
}

fn quotes(part: &FeedMetrics) -> Vec<(&'static str, i64)> {
    vec![("True", count(&part.closed_quotes)), ("False", count(&part.open_quotes))]
}

/// By `error_type` and `cause`. A failed backfill is one of them, as in the Python connector.
fn connection_errors(part: &FeedMetrics) -> Causes {
    let kinds = ConnectionErrorKind::ALL.iter().zip(&part.connection_errors);
    let of_sessions =
        kinds.map(|(kind, counter)| ([kind.error_type(), kind.label()], count(counter)));
    let backfills = (["backfill_error", "rest"], count(&part.backfills_failed));
    of_sessions.chain([backfills]).collect()
}

fn decode_errors(part: &FeedMetrics) -> Vec<(&'static str, i64)> {
    let kinds = DecodeErrorKind::ALL.iter().zip(&part.decode_errors);
    kinds.map(|(kind, counter)| (kind.label(), count(counter))).collect()
}

fn closed_by(part: &FeedMetrics) -> Vec<(&'static str, i64)> {
    let evidence = FinalBy::ALL.iter().zip(&part.closed_by);
    evidence.map(|(by, counter)| (by.name(), count(counter))).collect()
}

fn backfills(part: &FeedMetrics) -> Vec<(&'static str, i64)> {
    vec![("success", count(&part.backfills_ok)), ("failure", count(&part.backfills_failed))]
}

fn comparisons(part: &FeedMetrics) -> Vec<(&'static str, i64)> {
    vec![("same", count(&part.comparisons_same)), ("different", count(&part.comparisons_different))]
}

/// `ns` in seconds, exactly: `0`, `1.5`, `0.000001`.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// An upper bound of a histogram as Go and Python spell it: `0.005`, `1.0`, `2.5e-06`.
fn bound(ns: u64) -> String {
    let whole = ns.is_multiple_of(1_000_000_000);
    match ns {
        1..100_000 => {
            let digits = ns.to_string();
            let fraction = digits[1..].trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            format!("{}{point}{fraction}e-{:02}", &digits[..1], 10 - digits.len())
        }
        _ if whole => format!("{}.0", ns / 1_000_000_000),
        _ => seconds(ns),
    }
}

struct Exposition {
    text: String,
    format: Format,
}

impl Exposition {
    /// The lines above a family's samples. `name` is without `_total` and `_info`.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (word, suffix) = match (kind, self.format) {
            (Kind::Counter, Format::Prometheus) => ("counter", "_total"),
            (Kind::Counter, Format::OpenMetrics) => ("counter", ""),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Histogram, _) => ("histogram", ""),
            (Kind::Info, Format::Prometheus) => ("gauge", "_info"),
            (Kind::Info, Format::OpenMetrics) => ("info", ""),
        };
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {word}");
        if let (Some(unit), Format::OpenMetrics) = (unit, self.format) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, name: &str, kind: Kind, labels: &[(&str, &str)], value: &str) {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let _ = write!(self.text, "{name}{suffix}");
        for (at, (label, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{open}{label}=\"{value}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn build_info(&mut self) {
        self.family("connector_build", Kind::Info, "What is running; the value is always 1.");
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("implementation", "rust")];
        self.sample("connector_build", Kind::Info, &labels, "1");
    }

    /// As the standard Prometheus clients have it.
    fn process(&mut self, process: &ProcessFigures) {
        let files_max = process.open_files_max.map_or("+Inf".to_owned(), |max| max.to_string());
        for (name, kind, help, value) in [
            (
                "process_cpu_seconds",
                Kind::Counter,
                "Total user and system CPU time spent in seconds.",
                process.cpu_seconds.to_string(),
            ),
            (
                "process_virtual_memory_bytes",
                Kind::Gauge,
                "Virtual memory size in bytes.",
                process.virtual_bytes.to_string(),
            ),
            (
                "process_resident_memory_bytes",
                Kind::Gauge,
                "Resident memory size in bytes.",
                process.resident_bytes.to_string(),
            ),
            (
                "process_start_time_seconds",
                Kind::Gauge,
                "Start time of the process since unix epoch in seconds.",
                process.start_seconds.to_string(),
            ),
            (
                "process_open_fds",
                Kind::Gauge,
                "Number of open file descriptors.",
                process.open_files.to_string(),
            ),
            ("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.", files_max),
        ] {
            self.family(name, kind, help);
            self.sample(name, kind, &[], &value);
        }
    }

    fn market_row(&mut self, metrics: &Metrics, row: &MarketRow) {
        self.family(row.name, row.kind, row.help);
        for market in Market::all() {
            let labels = market_labels(market);
            let parts: Vec<_> = metrics.shards.iter().map(|shard| shard.market(market)).collect();
            let mut one = |value: i64| self.sample(row.name, row.kind, &labels, &value.to_string());
            match row.read {
                Read::Sum(read) => one(parts.iter().map(|part| read(part)).sum()),
                Read::Max(read) => one(parts.iter().map(|part| read(part)).max().unwrap_or(0)),
                Read::Breaker => one(breaker_state(&parts)),
                Read::By(label, read) => {
                    for (value, total) in totals(&parts, read) {
                        let labels = [labels[0], labels[1], (label, value)];
                        self.sample(row.name, row.kind, &labels, &total.to_string());
                    }
                }
                Read::ByCause(read) => {
                    for ([error_type, cause], total) in totals(&parts, read) {
                        let more = [("error_type", error_type), ("cause", cause)];
                        let labels = [labels, more].concat();
                        self.sample(row.name, row.kind, &labels, &total.to_string());
                    }
                }
            }
        }
    }

    fn quote_latency(&mut self, metrics: &Metrics) {
        let name = "connector_quote_latency_seconds";
        self.family(name, Kind::Histogram, "From the exchange's event time to processed.");
        for market in Market::all() {
            let parts: Vec<_> =
                metrics.shards.iter().map(|shard| &shard.market(market).receive_lag).collect();
            self.histogram(name, &market_labels(market), &parts, &QUOTE_LATENCY_BOUNDS_NS);
        }
    }

    fn receive_lag(&mut self, metrics: &Metrics) {
        let name = "connector_receive_lag_seconds";
        let help = "From the exchange's event time to the read of its bytes; with the difference of the clocks.";
        self.family(name, Kind::Histogram, help);
        for venue in Venue::ALL {
            let labels = [("exchange", venue.name())];
            self.histogram(name, &labels, &metrics.receive_lags(venue), &RECEIVE_LAG_BOUNDS_NS);
        }
    }

    fn close_lag(&mut self, metrics: &Metrics) {
        let name = "connector_close_lag_seconds";
        let help = "From the end of a window to the turn that published its closed candle, pushed.";
        self.family(name, Kind::Histogram, help);
        for venue in Venue::ALL {
            let labels = [("exchange", venue.name())];
            self.histogram(name, &labels, &metrics.close_lags(venue), &RECEIVE_LAG_BOUNDS_NS);
        }
    }

    fn refused(&mut self, fanout: &FanoutMetrics) {
        let name = "connector_clients_refused";
        self.family(name, Kind::Counter, "Connections to the client port refused, by reason.");
        for by in RefusedBy::ALL {
            let count = fanout.refused.by(by).to_string();
            self.sample(name, Kind::Counter, &[("reason", by.label())], &count);
        }
    }

    fn hop_latency(&mut self, fanout: &FanoutMetrics) {
        let name = "connector_hop_latency_seconds";
        self.family(name, Kind::Histogram, "From an exchange's socket to a point on the way.");
        let hops = [
            ("received_to_published", &fanout.received_to_published),
            ("received_to_written", &fanout.received_to_written),
        ];
        for (hop, histogram) in hops {
            self.histogram(name, &[("hop", hop)], &[histogram], &HOP_LATENCY_BOUNDS_NS);
        }
    }

    fn hops(&mut self, metrics: &Metrics) {
        let name = "connector_hop_seconds";
        let help =
            "The way from an exchange's socket to a client's: parts, whole, and the kernel before.";
        self.family(name, Kind::Histogram, help);
        for (hop, parts) in metrics.hops() {
            self.histogram(name, &[("hop", hop)], &parts, &HOP_BOUNDS_NS);
        }
    }

    /// Histograms with the same bounds, added up and shown at some of these.
    fn histogram<const N: usize>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        parts: &[&Histogram<N>],
        shown_ns: &[u64],
    ) {
        let buckets = cumulative(parts);
        let is_shown = |upper: &Option<u64>| upper.is_none_or(|upper| shown_ns.contains(&upper));
        for (upper, count) in buckets.iter().filter(|(upper, _)| is_shown(upper)) {
            let upper = upper.map_or("+Inf".to_string(), bound);
            let labels: Vec<_> = labels.iter().copied().chain([("le", &*upper)]).collect();
            let name = format!("{name}_bucket");
            self.sample(&name, Kind::Histogram, &labels, &count.to_string());
        }
        let count = buckets.last().map_or(0, |(_, count)| *count).to_string();
        let sum = seconds(parts.iter().map(|part| part.sum_ns()).sum());
        self.sample(&format!("{name}_count"), Kind::Histogram, labels, &count);
        self.sample(&format!("{name}_sum"), Kind::Histogram, labels, &sum);
    }

    fn shard_rows(&mut self, metrics: &Metrics) {
        type Row = (&'static str, Kind, &'static str, fn(&ShardMetrics) -> i64);
        let depth: fn(&ShardMetrics) -> i64 = |shard| shard.ring_depth.value();
        let full: fn(&ShardMetrics) -> i64 = |shard| count(&shard.ring_full);
        let dropped: fn(&ShardMetrics) -> i64 = |shard| count(&shard.stamps_dropped);
        let dropped_help = "Kernel receive stamps across which the wall clock was set.";
        let rows: [Row; 3] = [
            ("connector_ring_depth", Kind::Gauge, "Slots in use of a shard's ring.", depth),
            ("connector_ring_full", Kind::Counter, "Times a shard found its ring full.", full),
            ("connector_kernel_stamps_dropped", Kind::Counter, dropped_help, dropped),
        ];
        for (name, kind, help, read) in rows {
            self.family(name, kind, help);
            for (index, shard) in metrics.shards.iter().enumerate() {
                let value = read(shard).to_string();
                self.sample(name, kind, &[("shard", &index.to_string())], &value);
            }
        }
    }

    fn core_rows(&mut self, metrics: &Metrics) {
        let name = "connector_core_busy_seconds";
        self.family(name, Kind::Counter, "Time in turns of a core that found work.");
        for (core, counters) in &metrics.cores {
            self.sample(name, Kind::Counter, &[("core", core)], &seconds(counters.busy_ns.value()));
        }
        let name = "connector_core_turns";
        self.family(name, Kind::Counter, "Turns of a core's duty cycle.");
        for (core, counters) in &metrics.cores {
            self.sample(
                name,
                Kind::Counter,
                &[("core", core)],
                &count(&counters.turns).to_string(),
            );
        }
        let name = "connector_core_parks";
        self.family(name, Kind::Counter, "Times a core went to sleep because it had no work.");
        for (core, counters) in &metrics.cores {
            self.sample(
                name,
                Kind::Counter,
                &[("core", core)],
                &count(&counters.parks).to_string(),
            );
        }
    }

    fn notices_dropped(&mut self, metrics: &Metrics) {
        let name = "connector_notices_dropped";
        self.family(name, Kind::Counter, "Log notices dropped because the log fell behind.");
        let total = i64::try_from(metrics.notices_dropped()).unwrap_or(i64::MAX);
        self.sample(name, Kind::Counter, &[], &total.to_string());
    }
}

/// What `read` gives of each part, added up over the parts.
fn totals<L>(parts: &[&FeedMetrics], read: fn(&FeedMetrics) -> Vec<(L, i64)>) -> Vec<(L, i64)> {
    let mut totals = read(&FeedMetrics::default());
    for (at, (_, value)) in parts.iter().flat_map(|part| read(part).into_iter().enumerate()) {
        totals[at].1 += value;
    }
    totals
}

fn market_labels(market: Market) -> [(&'static str, &'static str); 2] {
    [("exchange", market.venue().name()), ("contract_type", market.contract_type().name())]
}

fn gauge(gauge: &Gauge) -> i64 {
    gauge.value()
}

const fn market(name: &'static str, kind: Kind, read: Read, help: &'static str) -> MarketRow {
    MarketRow { name, kind, help, read }
}

const fn fanout(
    name: &'static str,
    kind: Kind,
    read: fn(&FanoutMetrics) -> i64,
    help: &'static str,
) -> FanoutRow {
    FanoutRow { name, kind, help, read }
}

const fn ledger(
    name: &'static str,
    kind: Kind,
    read: fn(&LedgerMetrics) -> i64,
    help: &'static str,
) -> LedgerRow {
    LedgerRow { name, kind, help, read }
}

#[rustfmt::skip]
const MARKET_ROWS: &[MarketRow] = &[
    market("connector_quotes_processed", Kind::Counter, Read::By("is_closed", quotes), "Candle updates processed."),
    market("connector_event_time_ahead", Kind::Counter, Read::Sum(|p| count(&p.event_time_ahead)), "Updates whose event time is in the future: a clock is wrong."),
    market("connector_active_connections", Kind::Gauge, Read::Sum(|p| gauge(&p.active_sessions)), "Live sessions to the exchange."),
    market("connector_wanted_connections", Kind::Gauge, Read::Sum(|p| gauge(&p.wanted_sessions)), "Sessions to the exchange that should be live."),
    market("connector_subscribed_instruments", Kind::Gauge, Read::Sum(|p| gauge(&p.instruments)), "Instruments subscribed at the exchange."),
    market("connector_late_instruments", Kind::Gauge, Read::Sum(|p| gauge(&p.late_instruments)), "Instruments that deliver only late or refused candles."),
    market("connector_connection_errors", Kind::Counter, Read::ByCause(connection_errors), "Sessions that were lost or did not come up, and backfills that failed, by cause."),
    market("connector_reconnections", Kind::Counter, Read::Sum(|p| count(&p.reconnections)), "Sessions opened again."),
    market("connector_rest_backfills", Kind::Counter, Read::By("status", backfills), "Repairs of gaps by REST."),
    market("connector_queue_depth_closed", Kind::Gauge, Read::Sum(|p| gauge(&p.closed_queue_depth)), "Closed candles waiting for the ring."),
    market("connector_queue_depth_open", Kind::Gauge, Read::Sum(|p| gauge(&p.open_queue_depth)), "Open candles waiting for the ring."),
    market("connector_queue_blocking_events", Kind::Counter, Read::Sum(|p| count(&p.queue_blocking)), "Times a candle found the ring full."),
    market("connector_circuit_breaker_state", Kind::Gauge, Read::Breaker, "0 closed, 1 open, 2 half-open."),
    market("connector_consecutive_failures", Kind::Gauge, Read::Max(|p| gauge(&p.consecutive_failures)), "Failures in a row."),
    market("connector_duplicates_filtered", Kind::Counter, Read::Sum(|p| count(&p.duplicates)), "Closed candles dropped because they were known already."),
    market("connector_late", Kind::Counter, Read::Sum(|p| count(&p.late)), "Candles dropped because they are older than the newest closed one."),
    market("connector_gaps", Kind::Counter, Read::Sum(|p| count(&p.gaps)), "Gaps found between closed candles."),
    market("connector_held", Kind::Counter, Read::Sum(|p| count(&p.held)), "Closed candles that waited for a missing one before them."),
    market("connector_repaired", Kind::Counter, Read::Sum(|p| count(&p.repaired)), "Candles that were sent as a gap and came late."),
    market("connector_empty_windows", Kind::Counter, Read::Sum(|p| count(&p.empty_windows)), "Windows without any trade."),
    market("connector_comparisons", Kind::Counter, Read::By("result", comparisons), "Closed candles compared with the exchange's REST rows."),
    market("connector_connects", Kind::Counter, Read::Sum(|p| count(&p.connects)), "Sessions opened, or tried."),
    market("connector_rest_requests", Kind::Counter, Read::Sum(|p| count(&p.rest_requests)), "REST requests, counted at the first of the contract types that share a limit."),
    market("connector_rest_refused", Kind::Counter, Read::Sum(|p| count(&p.rest_refused)), "REST requests answered with too many requests."),
    market("connector_rest_denied", Kind::Gauge, Read::Max(|p| gauge(&p.rest_denied)), "1 while a limit, a block or an outage stops REST."),
    market("connector_sessions_denied", Kind::Gauge, Read::Max(|p| gauge(&p.sessions_denied)), "1 while a limit, a block or an outage stops new sessions."),
    market("connector_session_wait_reason", Kind::Gauge, Read::Max(|p| gauge(&p.wait_reason)), "What new sessions wait for: 0 nothing, 1 backoff, 2 breaker, 3 ban, 4 budget."),
    market("connector_session_wait_until_seconds", Kind::Gauge, Read::Max(|p| gauge(&p.wait_until_ms) / 1000), "Unix time at which that wait ends; 0: nothing waits."),
    market("connector_rest_bad_rows", Kind::Counter, Read::Sum(|p| count(&p.bad_rows)), "Rows of REST answers that made no sense; their windows stay missing."),
    market("connector_gap_candles", Kind::Counter, Read::Sum(|p| count(&p.gap_candles)), "Windows missing in gaps."),
    market("connector_corrections", Kind::Counter, Read::Sum(|p| count(&p.corrections)), "Closed candles restated by the exchange."),
    market("connector_closed_by", Kind::Counter, Read::By("by", closed_by), "Closed candles, by their evidence."),
    market("connector_symbols_rejected", Kind::Counter, Read::Sum(|p| count(&p.rejected)), "Symbols that the exchange, or its list, rejected."),
    market("connector_decode_errors", Kind::Counter, Read::By("kind", decode_errors), "Messages dropped because they were not understood."),
];

#[rustfmt::skip]
const FANOUT_ROWS: &[FanoutRow] = &[
    fanout("connector_clients", Kind::Gauge, |f| gauge(&f.clients), "Clients connected."),
    fanout("connector_clients_accepted", Kind::Counter, |f| count(&f.accepted), "Clients accepted."),
    fanout("connector_client_subscriptions", Kind::Gauge, |f| gauge(&f.subscriptions), "Subscriptions of all clients."),
    fanout("connector_sent_messages", Kind::Counter, |f| count(&f.sent_messages), "Messages sent to clients."),
    fanout("connector_sent_bytes", Kind::Counter, |f| count(&f.sent_bytes), "Bytes sent to clients."),
    fanout("connector_conflated", Kind::Counter, |f| count(&f.conflated), "Open candles replaced before a client took them."),
    fanout("connector_slow_disconnects", Kind::Counter, |f| count(&f.slow_disconnects), "Clients closed because they did not keep up."),
    fanout("connector_ping_timeouts", Kind::Counter, |f| count(&f.ping_timeouts), "Clients closed because they answered no ping."),
    fanout("connector_send_failures", Kind::Counter, |f| count(&f.send_failures), "Writes to clients that the kernel refused because it had no memory."),
    fanout("connector_instrument_ids", Kind::Gauge, |f| gauge(&f.instruments), "Series that the server knows, of 32768."),
    fanout("connector_instrument_ids_unconfirmed", Kind::Gauge, |f| gauge(&f.unconfirmed), "Series whose symbol no exchange has confirmed, of 16384."),
    fanout("connector_refused_names", Kind::Gauge, |f| gauge(&f.refused_names), "Names rejected in the last minute, of 8192."),
    fanout("connector_refused_from_memory", Kind::Counter, |f| count(&f.refused_again), "Names rejected again without a question to the exchange."),
    fanout("connector_new_names_refused", Kind::Counter, |f| count(&f.new_names_refused), "New names rejected because the client brought too many."),
    fanout("connector_client_errors", Kind::Counter, |f| count(&f.client_errors), "Requests answered with an error."),
    fanout("connector_client_protocol_errors", Kind::Counter, |f| count(&f.protocol_errors), "Clients closed because they broke the WebSocket protocol."),
];

#[rustfmt::skip]
const LEDGER_ROWS: &[LedgerRow] = &[
    ledger("connector_ledger_enabled", Kind::Gauge, |l| gauge(&l.enabled), "Whether CONNECTOR_LEDGER_FILE names a file in which closed candles are stored."),
    ledger("connector_ledger_storing", Kind::Gauge, |l| gauge(&l.storing), "Whether the last attempt to write the ledger succeeded."),
    ledger("connector_ledger_rows", Kind::Counter, |l| count(&l.rows), "Rows written to the ledger."),
    ledger("connector_ledger_pruned_rows", Kind::Counter, |l| count(&l.pruned), "Rows removed from the ledger, since they were too old or too many."),
    ledger("connector_ledger_bytes", Kind::Gauge, |l| gauge(&l.bytes), "Size of the stored data, without room that is used again."),
    ledger("connector_ledger_newest_close_seconds", Kind::Gauge, |l| gauge(&l.newest_close_ms) / 1000, "Unix time of the end of the newest window that this process has stored; 0: none yet."),
    ledger("connector_ledger_queue_depth", Kind::Gauge, |l| gauge(&l.queue_depth), "Closed windows that wait to be stored, of 16384."),
    ledger("connector_ledger_errors", Kind::Counter, |l| count(&l.errors), "Attempts to open, read or write the ledger that failed."),
    ledger("connector_ledger_not_stored", Kind::Counter, |l| count(&l.not_stored), "Closed windows that were not stored, since too many waited."),
];

#[cfg(test)]
mod tests;
