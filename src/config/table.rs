//! The list of variables: parsing, messages, `--help` and the check of `.env.example` all read it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use crate::limits::{
    CLIENT_BUFFER_BYTES_MAX, CLIENT_BUFFER_BYTES_MIN, CLIENT_SERIES_MAX, CLIENTS_MAX,
    CLOSED_QUEUE_MAX, CPUS_MAX, HISTORY_CANDLES_MAX, HISTORY_CANDLES_MIN, LEDGER_BYTES_MAX,
    LEDGER_BYTES_MIN, LEDGER_CATCH_UP_MAX, LEDGER_DAYS_MAX, SHARDS_MAX, SYMBOLS_PER_SESSION_MAX,
};
use crate::market::{ContractType, Market, Venue};
use crate::wire::Endpoint;

use super::{Config, Host, LogFormat, LogLevel, Preload, Wait, parse};

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// `CONNECTOR_…`, as in the environment and in `.env`.
    pub name: Cow<'static, str>,
    /// The long flag, without dashes: `CONNECTOR_WSS_PORT` is `wss-port`.
    pub flag: String,
    /// The text that is used if no flag, variable or file has one. An empty text means this too.
    pub default: &'static str,
    /// Unit of the value; empty if it has none.
    pub unit: &'static str,
    /// What it does, one sentence.
    pub effect: Cow<'static, str>,
    /// How its text becomes a field of [`Config`].
    pub kind: Kind,
}

/// The long flag of the variable `name`.
fn flag(name: &str) -> String {
    let short = name.strip_prefix("CONNECTOR_").unwrap_or(name);
    short.to_ascii_lowercase().replace('_', "-")
}

/// How a text is read, what is allowed, and the field it goes to.
#[derive(Debug)]
pub enum Kind {
    /// Seconds between the two, as a decimal number.
    Seconds(f64, f64, fn(&mut Config) -> &mut Duration),
    /// A whole number between the two.
    Count(usize, usize, fn(&mut Config) -> &mut usize),
    /// A whole number up to this; 0: without a limit of its own, which is this one.
    Limit(usize, fn(&mut Config) -> &mut usize),
    /// As [`Self::Count`]; empty leaves the choice to the program.
    PlannedCount(usize, usize, fn(&mut Config) -> &mut Option<usize>),
    /// As [`Self::Seconds`]; empty: as another variable says.
    InheritedSeconds(f64, f64, fn(&mut Config) -> &mut Option<Duration>),
    /// A TCP port; 0 for any free one.
    Port(fn(&mut Config) -> &mut u16),
    /// Yes or no.
    Boolean(fn(&mut Config) -> &mut bool),
    /// An IP address or a host name.
    Host(fn(&mut Config) -> &mut Host),
    /// A severity.
    Level(fn(&mut Config) -> &mut LogLevel),
    /// A way to write the log.
    Format(fn(&mut Config) -> &mut LogFormat),
    /// How cores wait.
    Wait(fn(&mut Config) -> &mut Wait),
    /// CPU numbers.
    Cpus(fn(&mut Config) -> &mut Vec<usize>),
    /// Symbols per market.
    Preload(fn(&mut Config) -> &mut Vec<Preload>),
    /// A folder.
    Folder(fn(&mut Config) -> &mut PathBuf),
    /// A file; empty: none.
    File(fn(&mut Config) -> &mut Option<PathBuf>),
    /// Origins of browsers' pages; `*`: any; empty: the host's own.
    Origins(fn(&mut Config) -> &mut Vec<String>),
    /// A market's WebSocket base URL.
    WsUrl(Market),
    /// A market's REST base URL.
    RestUrl(Market),
}

impl Kind {
    /// Puts `text` into its field. `Err`: [`Self::allowed`] says what would be right.
    pub(super) fn store(&self, config: &mut Config, text: &str) -> Result<(), ()> {
        let empty = text.is_empty();
        match self {
            Self::Seconds(min, max, field) => {
                let seconds = parse::seconds(text).filter(|s| (*min..=*max).contains(s));
                put(field(config), seconds.map(parse::duration))
            }
            Self::InheritedSeconds(_, _, field) if empty => put(field(config), Some(None)),
            Self::InheritedSeconds(min, max, field) => {
                let seconds = parse::seconds(text).filter(|s| (*min..=*max).contains(s));
                put(field(config), seconds.map(|seconds| Some(parse::duration(seconds))))
            }
            Self::Count(min, max, field) => {
                put(field(config), parse::count(text).filter(|n| (*min..=*max).contains(n)))
            }
            Self::Limit(max, field) => {
                let count = parse::count(text).filter(|count| count <= max);
                put(field(config), count.map(|count| if count == 0 { *max } else { count }))
            }
            Self::PlannedCount(_, _, field) if empty => put(field(config), Some(None)),
            Self::PlannedCount(min, max, field) => {
                let count = parse::count(text).filter(|n| (*min..=*max).contains(n));
                put(field(config), count.map(Some))
            }
            Self::Port(field) => {
                put(field(config), parse::count(text).and_then(|port| port.try_into().ok()))
            }
            Self::Boolean(field) => put(field(config), parse::boolean(text)),
            Self::Host(field) => put(field(config), parse::host(text)),
            Self::Level(field) => put(field(config), parse::level(text)),
            Self::Format(field) => put(field(config), parse::format(text)),
            Self::Wait(field) => put(field(config), parse::wait(text)),
            Self::Cpus(field) if empty => put(field(config), Some(Vec::new())),
            Self::Cpus(field) => put(field(config), parse::cpus(text, CPUS_MAX)),
            Self::Preload(field) => put(field(config), parse::preload(text)),
            Self::Folder(field) => put(field(config), Some(PathBuf::from(text))),
            Self::File(field) => put(field(config), Some((!empty).then(|| PathBuf::from(text)))),
            Self::Origins(field) => put(field(config), parse::origins(text)),
            Self::WsUrl(market) => {
                let url = parse::url(text, ["ws", "wss"]);
                let url = url.and_then(|url| Endpoint::parse(&url).ok());
                put(&mut config.endpoints[market.index()].ws_url, url)
            }
            Self::RestUrl(market) => {
                let url = parse::url(text, ["http", "https"]);
                let url = url.filter(|url| Endpoint::parse(url).is_ok());
                put(&mut config.endpoints[market.index()].rest_url, url)
            }
        }
    }

    /// `text` as an error may show it: the log of a failed start must not show the password in a
    /// URL.
    pub(super) fn shown(&self, text: &str) -> String {
        match self {
            Self::WsUrl(_) | Self::RestUrl(_) => parse::without_secrets(text),
            _ => text.to_owned(),
        }
    }

    /// What is allowed, to follow the word "give".
    pub fn allowed(&self) -> String {
        match self {
            Self::Seconds(min, max, _) => format!("a number of seconds from {min} to {max}"),
            Self::InheritedSeconds(min, max, _) => {
                format!("a number of seconds from {min} to {max}, or nothing")
            }
            Self::Count(min, max, _) => format!("a whole number from {min} to {max}"),
            Self::Limit(max, _) => {
                format!("a whole number from 1 to {max}, or 0 to leave it without a limit")
            }
            Self::PlannedCount(min, max, _) => {
                format!("a whole number from {min} to {max}, or nothing to leave it to the program")
            }
            Self::Port(_) => "a port from 0 to 65535".into(),
            Self::Boolean(_) => "true or false (also 1, 0, yes, no, on, off)".into(),
            Self::Host(_) => {
                "an IP address, such as 127.0.0.1, 0.0.0.0 or ::, or a host name of this machine"
                    .into()
            }
            Self::Level(_) => "DEBUG, INFO, WARNING, ERROR or CRITICAL".into(),
            Self::Format(_) => "text or json".into(),
            Self::Wait(_) => "spin, adaptive or park".into(),
            Self::Cpus(_) => "CPU numbers, each once, such as 2,3 or 2-5, or nothing".into(),
            Self::Preload(_) => preload_allowed(),
            Self::Folder(_) => "a folder".into(),
            Self::File(_) => "a file, or nothing".into(),
            Self::Origins(_) => {
                "origins between commas, such as https://app.example.com,http://localhost:3000, or *, \
                 or nothing"
                    .into()
            }
            Self::WsUrl(_) => "a URL ws://host[:port][/path] or wss://…".into(),
            Self::RestUrl(_) => "a URL http://host[:port][/path] or https://…".into(),
        }
    }
}

fn put<T>(field: &mut T, value: Option<T>) -> Result<(), ()> {
    *field = value.ok_or(())?;
    Ok(())
}

fn preload_allowed() -> String {
    let mut text: String =
        "exchange:contract_type:SYMBOL,SYMBOL;… with exchange:contract_type one of".into();
    for (index, market) in Market::all().enumerate() {
        let separator = if index == 0 { " " } else { ", " };
        let (venue, kind) = (market.venue().name(), market.contract_type().name());
        let _ = write!(text, "{separator}{venue}:{kind}");
    }
    text
}

/// The variable called `name`; the case must be right.
pub(super) fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

/// Every variable, in the order of `--help` and `.env.example`.
pub static VARIABLES: LazyLock<Vec<Variable>> = LazyLock::new(|| {
    let mut all = fixed();
    all.extend(Market::all().flat_map(endpoints));
    all
});

fn row(name: &'static str, default: &'static str, kind: Kind, effect: &'static str) -> Variable {
    let unit = match kind {
        Kind::Seconds(..) | Kind::InheritedSeconds(..) => "seconds",
        Kind::Count(_, CLIENT_BUFFER_BYTES_MAX | LEDGER_BYTES_MAX, _) => "bytes",
        Kind::Count(_, LEDGER_DAYS_MAX, _) => "days",
        _ => "",
    };
    let (flag, effect) = (flag(name), Cow::Borrowed(effect));
    Variable { name: Cow::Borrowed(name), flag, default, unit, effect, kind }
}

const DAY_S: f64 = 86_400.0;
const TICK_S: f64 = 0.01;
const MANY: usize = 1_000_000;

#[rustfmt::skip]
fn fixed() -> Vec<Variable> {
    use Kind::{
        Boolean, Count, Cpus, File, Folder, Host, InheritedSeconds, Level, Limit, Origins,
        PlannedCount, Port, Seconds,
    };
    vec![
        row("CONNECTOR_WSS_HOST", "127.0.0.1", Host(|c| &mut c.wss_host),
            "Address or host name on which both ports listen; 0.0.0.0: every IPv4 interface."),
        row("CONNECTOR_WSS_PORT", "8765", Port(|c| &mut c.wss_port),
            "Port for WebSocket clients; 0: any free port."),
        row("CONNECTOR_WSS_HEALTH_CHECK_PORT", "8766", Port(|c| &mut c.health_check_port),
            "Port for /health, /ready, /metrics and the page; 0: any free port."),
        row("CONNECTOR_WSS_HEALTH_CHECK_ENABLED", "true", Boolean(|c| &mut c.health_check_enabled),
            "Whether the server opens that port."),
        row("CONNECTOR_WSS_SUBSCRIBE_TIMEOUT", "10.0", Seconds(TICK_S, DAY_S, |c| &mut c.wss_subscribe_timeout),
            "Time for a client's first subscription; then it receives an error and is closed."),
        row("CONNECTOR_WSS_HANDSHAKE_TIMEOUT", "10", Seconds(TICK_S, DAY_S, |c| &mut c.wss_handshake_timeout),
            "Time for a client's opening request, with TLS; then it receives HTTP 408."),
        row("CONNECTOR_WSS_IDLE_TIMEOUT", "300", Seconds(0.0, DAY_S, |c| &mut c.wss_idle_timeout),
            "Time for which a client without subscriptions may stay silent; 0: for ever."),
        row("CONNECTOR_WSS_PING_INTERVAL", "", InheritedSeconds(0.0, DAY_S, |c| &mut c.wss_ping_interval),
            "Silence after which a client is pinged; 0: never; empty: as CONNECTOR_WS_PING_INTERVAL."),
        row("CONNECTOR_WSS_PING_TIMEOUT", "", InheritedSeconds(TICK_S, DAY_S, |c| &mut c.wss_ping_timeout),
            "Time for a pinged client to send something; then it is closed (1008); empty: as CONNECTOR_WS_PING_TIMEOUT."),
        row("CONNECTOR_WSS_CLIENTS_MAX", "10000", Count(1, CLIENTS_MAX, |c| &mut c.wss_clients_max),
            "Clients at the same time, at most; one more receives HTTP 503."),
        row("CONNECTOR_WSS_CONNECTIONS_PER_IP_MAX", "0", Count(0, CLIENTS_MAX, |c| &mut c.wss_connections_per_ip_max),
            "Connections from one address (IPv6: one /64) at the same time, at most; one more receives HTTP 429; 0: any number."),
        row("CONNECTOR_WSS_SUBSCRIPTIONS_MAX", "32768", Count(1, CLIENT_SERIES_MAX, |c| &mut c.wss_subscriptions_max),
            "Series that one client may subscribe, at most."),
        row("CONNECTOR_WSS_ORIGINS", "", Origins(|c| &mut c.wss_origins),
            "Web pages that may connect, such as https://app.example.com; *: any page; empty: pages of the host that they connect to."),
        row("CONNECTOR_WSS_TOKENS_FILE", "", File(|c| &mut c.wss_tokens_file),
            "File with tokens, one a line; every client must show one of them; read again on SIGHUP."),
        row("CONNECTOR_WSS_TLS_CERT_FILE", "", File(|c| &mut c.wss_tls_cert_file),
            "PEM file with the certificate for clients; the port then serves wss; read again on SIGHUP."),
        row("CONNECTOR_WSS_TLS_KEY_FILE", "", File(|c| &mut c.wss_tls_key_file),
            "PEM file with the certificate's private key."),
        row("CONNECTOR_WSS_LOG_LEVEL", "INFO", Level(|c| &mut c.wss_log_level),
            "Lowest level of log lines about clients and the process itself."),
        row("CONNECTOR_LOG_LEVEL", "INFO", Level(|c| &mut c.log_level),
            "Lowest level of log lines about exchanges and their streams."),
        row("CONNECTOR_LOG_FORMAT", "text", Kind::Format(|c| &mut c.log_format),
            "Format of log lines: text for people, or json, one object a line."),
        row("CONNECTOR_LOG_DIR", "logs", Folder(|c| &mut c.log_dir),
            "Folder of connector.log, which is rotated by size; the same lines go to stderr."),
        row("CONNECTOR_CLIENT_BUFFER_MAX", "1048576", Count(CLIENT_BUFFER_BYTES_MIN, CLIENT_BUFFER_BYTES_MAX, |c| &mut c.client_buffer_max),
            "What may wait for one client, at most; then it is closed as slow (1013)."),
        row("CONNECTOR_CLOSE_LINGER", "10", Seconds(0.0, DAY_S, |c| &mut c.close_linger),
            "Time for which a client that closed its side still receives what it asked for."),
        row("CONNECTOR_DRAIN_TIMEOUT", "5", Seconds(0.0, DAY_S, |c| &mut c.drain_timeout),
            "Time for which a stopping server still writes what it owes its clients."),
        row("CONNECTOR_TAKEOVER_SOCKET", "", File(|c| &mut c.takeover_socket),
            "Unix socket over which a new server takes over the ports of the running one, which then stops; empty: none."),
        row("CONNECTOR_PRELOAD", "", Kind::Preload(|c| &mut c.preload),
            "What to subscribe at start, such as binance:usdm:BTCUSDT;okx:swap:BTC-USDT-SWAP."),
        row("CONNECTOR_WAIT", "adaptive", Kind::Wait(|c| &mut c.wait),
            "How a core waits for work: spin (isolated CPUs), adaptive, or park (least CPU time)."),
        row("CONNECTOR_SHARDS", "", PlannedCount(1, SHARDS_MAX, |c| &mut c.shards),
            "Number of shards; empty: planned from the CPUs the process may use."),
        row("CONNECTOR_SHARD_CPUS", "", Cpus(|c| &mut c.shard_cpus),
            "CPU of each shard, such as 2,3; empty: planned."),
        row("CONNECTOR_FANOUT_CPU", "", PlannedCount(0, CPUS_MAX - 1, |c| &mut c.fanout_cpu),
            "CPU of the fan-out core; the CPU of a shard puts both on one executor; empty: planned."),
        row("CONNECTOR_OPS_CPU", "", PlannedCount(0, CPUS_MAX - 1, |c| &mut c.ops_cpu),
            "CPU of the ops core; empty: any CPU."),
        row("CONNECTOR_INACTIVITY_TIMEOUT", "3.0", Seconds(TICK_S, DAY_S, |c| &mut c.inactivity_timeout),
            "Silence after which a session is checked by a ping and a REST request; it is not reconnected for silence alone."),
        row("CONNECTOR_STREAM_IDLE_TIMEOUT", "10.0", Seconds(TICK_S, DAY_S, |c| &mut c.stream_idle_timeout),
            "Time for a symbol's first message; then the exchange is asked whether the symbol exists; also how long connector-cli --limit waits."),
        row("CONNECTOR_RECONNECT_DELAY", "1.0", Seconds(TICK_S, 300.0, |c| &mut c.reconnect_delay),
            "First pause before a lost session is connected again; it doubles each time, with jitter."),
        row("CONNECTOR_WS_PING_INTERVAL", "20.0", Seconds(TICK_S, DAY_S, |c| &mut c.ws_ping_interval),
            "Pause between pings to an exchange."),
        row("CONNECTOR_WS_PING_TIMEOUT", "20.0", Seconds(TICK_S, DAY_S, |c| &mut c.ws_ping_timeout),
            "Time for an exchange's answer to a ping; then the session is lost."),
        // One lost connection takes 50 symbols with it. With 50 the new sessions that an exchange
        // allows carry more than it lists: 13,500 series in five minutes (Binance), 22,500 (Bybit),
        // 2,700 a minute (OKX). OKX and Gate publish no limit of streams per session; Gate cuts
        // slow readers.
        row("CONNECTOR_MAX_SYMBOL_PER_WS", "50", Limit(SYMBOLS_PER_SESSION_MAX, |c| &mut c.symbols_per_session_max),
            "Symbols on one connection to an exchange, at most, within the exchange's own limit; 0: only that limit."),
        row("CONNECTOR_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "5", Count(1, MANY, |c| &mut c.breaker_failure_threshold),
            "Failures in a row that open the breaker of an exchange's contract type."),
        row("CONNECTOR_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "30.0", Seconds(TICK_S, 300.0, |c| &mut c.breaker_recovery_timeout),
            "First time for which a breaker stays open; it doubles each time, up to 300."),
        row("CONNECTOR_CIRCUIT_BREAKER_HALF_OPEN_CALLS", "1", Count(1, MANY, |c| &mut c.breaker_half_open_calls),
            "Attempts that a half-open breaker allows."),
        row("CONNECTOR_CLOSED_QUEUE_MAXSIZE", "1000", Limit(CLOSED_QUEUE_MAX, |c| &mut c.closed_queue_max),
            "Closed candles that may wait for the fan-out core, for each shard, at most; 0: one million."),
        row("CONNECTOR_OPEN_QUEUE_MAXSIZE", "0", Count(0, MANY, |c| &mut c.open_queue_max),
            "Accepted, without effect: an open candle that would have to wait is replaced by the newer one."),
        row("CONNECTOR_GAP_HOLD_TIMEOUT", "5", Seconds(0.0, DAY_S, |c| &mut c.gap_hold_timeout),
            "Time for which closed candles wait for a missing one before them; then a gap is sent."),
        row("CONNECTOR_HISTORY_CANDLES", "120", Count(HISTORY_CANDLES_MIN, HISTORY_CANDLES_MAX, |c| &mut c.history_candles),
            "Closed candles that are kept of each series, 256 bytes each; `history` and `since` reach as far back."),
        row("CONNECTOR_LEDGER_FILE", "data/candles.sqlite", File(|c| &mut c.ledger_file),
            "SQLite file in which closed candles are stored; empty, or --simulate without this variable: none."),
        row("CONNECTOR_LEDGER_DAYS", "7", Count(1, LEDGER_DAYS_MAX, |c| &mut c.ledger_days),
            "Days for which a closed candle stays stored."),
        row("CONNECTOR_LEDGER_BYTES_MAX", "10737418240", Count(LEDGER_BYTES_MIN, LEDGER_BYTES_MAX, |c| &mut c.ledger_bytes_max),
            "Stored candles, at most; above it the oldest are removed."),
        row("CONNECTOR_LEDGER_CATCH_UP", "60", Count(0, LEDGER_CATCH_UP_MAX, |c| &mut c.ledger_catch_up),
            "Windows of a series that the exchange is asked for after a start, at most; a series that lacks more begins anew."),
        row("CONNECTOR_DEDUPLICATION_WINDOW_SECONDS", "120.0", Seconds(0.0, 10_000_000.0, |c| &mut c.deduplication_window),
            "Accepted, without effect: the watermark of a series finds every duplicate."),
        row("CONNECTOR_DEDUPLICATION_MAX_ENTRIES", "10000", Count(0, usize::MAX, |c| &mut c.deduplication_entries_max),
            "Accepted, without effect, for the same reason."),
        row("CONNECTOR_REST_TIMEOUT", "5.0", Seconds(TICK_S, 300.0, |c| &mut c.rest_timeout),
            "Time for one REST request, from the look-up of the name to the end of the answer."),
        row("CONNECTOR_REST_POOL_CONNECTIONS", "10", Count(1, 256, |c| &mut c.rest_pool_connections),
            "Idle connections that stay open for REST requests, at most."),
        row("CONNECTOR_REST_POOL_MAXSIZE", "20", Count(1, 256, |c| &mut c.rest_pool_max),
            "REST requests at the same time, at most, each on a thread of its own."),
        row("CONNECTOR_TLS_CA_FILE", "", File(|c| &mut c.tls_ca_file),
            "PEM file with certificate authorities that are trusted beside the public ones."),
    ]
}

fn endpoints(market: Market) -> [Variable; 2] {
    let (ws_default, rest_default) = default_urls(market);
    let (venue, contract_type) = (market.venue().name(), market.contract_type().name());
    // The routes of Binance's WebSocket are paths to which more is added.
    let added = |suffix| match (suffix, market.venue()) {
        ("REST", _) | (_, Venue::Binance) => "paths are added",
        _ => "a path is added if the URL has none",
    };
    let url = |suffix, what, default, kind: fn(Market) -> Kind| {
        let name = format!("CONNECTOR_{venue}_{contract_type}_{suffix}_URL").to_ascii_uppercase();
        Variable {
            flag: flag(&name),
            name: Cow::Owned(name),
            default,
            unit: "",
            effect: Cow::Owned(format!("Base URL of {market} {what}; {}.", added(suffix))),
            kind: kind(market),
        }
    };
    [
        url("WS", "WebSocket", ws_default, Kind::WsUrl),
        url("REST", "REST", rest_default, Kind::RestUrl),
    ]
}

/// Returns whether `host` is in a public endpoint of an exchange.
pub fn is_exchange_host(host: &str) -> bool {
    let urls = Market::all().map(default_urls).flat_map(|(ws, rest)| [ws, rest]);
    let mut hosts = urls.filter_map(|url| Endpoint::parse(url).ok()).map(|one| one.host);
    hosts.any(|one| one.eq_ignore_ascii_case(host.trim_end_matches('.')))
}

/// The exchange's public endpoints, WebSocket and REST.
/// Source: the exchanges' documentation, 2026; Binance's USD-M klines are served below `/market`
/// only, Gate has another host for futures.
fn default_urls(market: Market) -> (&'static str, &'static str) {
    match (market.venue(), market.contract_type()) {
        (Venue::Binance, ContractType::Spot) => {
            ("wss://stream.binance.com:9443", "https://api.binance.com")
        }
        (Venue::Binance, ContractType::Usdm) => {
            ("wss://fstream.binance.com/market", "https://fapi.binance.com")
        }
        (Venue::Binance, ContractType::Coinm) => {
            ("wss://dstream.binance.com", "https://dapi.binance.com")
        }
        (Venue::Binance, _) => unreachable!("MARKETS has three of Binance"),
        (Venue::Okx, _) => ("wss://ws.okx.com:8443", "https://www.okx.com"),
        (Venue::Bybit, _) => ("wss://stream.bybit.com", "https://api.bybit.com"),
        (Venue::Gateio, ContractType::Spot) => ("wss://api.gateio.ws", "https://api.gateio.ws"),
        (Venue::Gateio, _) => ("wss://fx-ws.gateio.ws", "https://api.gateio.ws"),
        (Venue::Hyperliquid, _) => ("wss://api.hyperliquid.xyz", "https://api.hyperliquid.xyz"),
    }
}
