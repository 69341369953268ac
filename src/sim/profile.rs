//! What the exchanges' documents fix about each market, as the simulator holds to it: paths, limits
//! and what breaking them does, heartbeats, when pushes come. One row per market.

use std::time::Duration;

use crate::market::{ContractType, Market, Venue};

/// What is fixed about one market.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The market.
    pub market: Market,
    /// What Binance's REST paths begin with; the others' are their dialects'.
    pub rest_prefix: &'static str,
    /// Rows one REST request for candles may ask for.
    pub klines_limit_max: u64,
    /// REST weight (requests, where they all weigh the same) in a window, per address.
    pub rest_limit: (u32, Duration),
    /// Client messages on one connection in a window, pings and pongs included where they are
    /// WebSocket's. More: the connection is cut.
    pub messages: Option<(u32, Duration)>,
    /// Client messages of one address in a window. More: the connection is cut.
    pub messages_address: Option<(usize, Duration)>,
    /// Subscribe and unsubscribe frames on one connection in a window. More: an error.
    pub operations: Option<(usize, Duration)>,
    /// New connections of one address in a window. More: refused.
    pub connects: Option<(usize, Duration)>,
    /// Connections of one address at once. More: refused.
    pub connections_max: usize,
    /// Streams of one connection. More: it is closed.
    pub streams_max: usize,
    /// Streams of one address. More: the connection is cut.
    pub streams_address_max: usize,
    /// How often the server pings, and how long a pong may take before the connection is cut.
    pub server_ping: Option<(Duration, Duration)>,
    /// A connection to which the server has sent nothing for this time is closed.
    pub quiet_server: Option<Duration>,
    /// A connection from which nothing has come for this time is cut; at Gate one without
    /// subscriptions only, at Bybit one to which nothing has been sent either.
    pub quiet_client: Option<Duration>,
    /// The closing push comes this long after the minute's last ms: least and most, in ms.
    pub close_delay_ms: (u64, u64),
    /// Running candles are pushed at most this often.
    pub push_interval_min: Duration,
    /// Paths on which candles are delivered begin with one of these (Binance), or are this.
    pub routed: &'static [&'static str],
    /// Paths that are accepted and acknowledged, and on which no candle ever comes.
    pub silent: &'static [&'static str],
    /// Whether pushes are skipped while nothing changed.
    pub only_changes: bool,
}

/// Every profile, by [`Market::index`].
pub fn profiles() -> Vec<Profile> {
    Market::all().map(profile).collect()
}

fn profile(market: Market) -> Profile {
    match market.venue() {
        Venue::Binance => binance(market),
        Venue::Okx => okx(market),
        Venue::Bybit => bybit(market),
        Venue::Gateio => gateio(market),
        Venue::Hyperliquid => hyperliquid(market),
    }
}

/// Nothing is limited, nothing is quiet for too long.
fn lax(market: Market) -> Profile {
    Profile {
        market,
        rest_prefix: "/",
        klines_limit_max: 1000,
        rest_limit: (u32::MAX, Duration::from_secs(60)),
        messages: None,
        messages_address: None,
        operations: None,
        connects: None,
        connections_max: usize::MAX,
        streams_max: usize::MAX,
        streams_address_max: usize::MAX,
        server_ping: None,
        quiet_server: None,
        quiet_client: None,
        close_delay_ms: (5, 120),
        push_interval_min: Duration::ZERO,
        routed: &[],
        silent: &[],
        only_changes: true,
    }
}

/// Source: binance-spot-api-docs `web-socket-streams.md`, `rest-api.md`; derivatives pages
/// "Websocket Market Streams" (USD-M, COIN-M) and "Base URL Split & Migration".
fn binance(market: Market) -> Profile {
    let futures = Profile {
        klines_limit_max: 1500,
        rest_limit: (2400, MINUTE),
        messages: Some((10, SECOND)),
        streams_max: 1024,
        server_ping: Some((SECOND * 180, SECOND * 600)),
        close_delay_ms: (200, 2000),
        ..lax(market)
    };
    match market.contract_type() {
        ContractType::Usdm => Profile {
            rest_prefix: "/fapi/v1/",
            routed: &["/market/"],
            silent: &["/public/", "/private/", "/"],
            ..futures
        },
        ContractType::Coinm => Profile {
            rest_prefix: "/dapi/v1/",
            routed: &["/market/", "/"],
            silent: &["/public/", "/private/"],
            ..futures
        },
        _ => Profile {
            rest_prefix: "/api/v3/",
            klines_limit_max: 1000,
            rest_limit: (6000, MINUTE),
            messages: Some((5, SECOND)),
            connects: Some((300, SECOND * 300)),
            server_ping: Some((SECOND * 20, SECOND * 60)),
            close_delay_ms: (5, 120),
            routed: &["/"],
            only_changes: false,
            ..futures
        },
    }
}

/// Source: API v5, "Overview" (3 connects a second, 480 operations an hour and connection), "Get
/// candlesticks" (300 rows, 40 requests in 2 s), close code 4004 after 30 s without a push.
fn okx(market: Market) -> Profile {
    Profile {
        klines_limit_max: 300,
        rest_limit: (40, SECOND * 2),
        operations: Some((480, SECOND * 3600)),
        connects: Some((3, SECOND)),
        quiet_server: Some(SECOND * 30),
        close_delay_ms: (50, 1500),
        push_interval_min: SECOND,
        routed: &["/ws/v5/business"],
        silent: &["/ws/v5/public"],
        ..lax(market)
    }
}

/// Source: "Connect" (500 connects in 5 min, 1,000 connections, cut after 10 min without pings and
/// data), "Rate limit" (600 requests in 5 s); closing pushes 5 to 1,005 ms late, as captured.
fn bybit(market: Market) -> Profile {
    Profile {
        rest_limit: (600, SECOND * 5),
        connects: Some((500, SECOND * 300)),
        connections_max: 1000,
        quiet_client: Some(SECOND * 600),
        close_delay_ms: (5, 1005),
        push_interval_min: SECOND,
        routed: match market.contract_type() {
            ContractType::Linear => &["/v5/public/linear"],
            ContractType::Inverse => &["/v5/public/inverse"],
            _ => &["/v5/public/spot"],
        },
        ..lax(market)
    }
}

/// Source: API v4 introduction (300 connections, 200 requests in 10 s); a socket without
/// subscriptions and without frames of the client was closed after 30 s.
fn gateio(market: Market) -> Profile {
    Profile {
        klines_limit_max: if market.contract_type() == ContractType::Spot { 1000 } else { 2000 },
        rest_limit: (200, SECOND * 10),
        connections_max: 300,
        quiet_client: Some(SECOND * 30),
        close_delay_ms: (50, 2000),
        push_interval_min: SECOND * 2,
        routed: match market.contract_type() {
            ContractType::Um => &["/v4/ws/usdt"],
            ContractType::Cm => &["/v4/ws/btc"],
            _ => &["/ws/v4"],
        },
        ..lax(market)
    }
}

/// Source: "Rate limits and user limits": 10 connections, 30 connects a minute, 1,000
/// subscriptions, 2,000 messages a minute, REST weight 1,200 a minute; "Timeouts and heartbeats":
/// 60 s.
fn hyperliquid(market: Market) -> Profile {
    Profile {
        klines_limit_max: 5000,
        rest_limit: (1200, MINUTE),
        messages_address: Some((2000, MINUTE)),
        connects: Some((30, MINUTE)),
        connections_max: 10,
        streams_address_max: 1000,
        quiet_server: Some(MINUTE),
        close_delay_ms: (1, 160),
        push_interval_min: Duration::from_millis(500),
        routed: &["/ws"],
        ..lax(market)
    }
}

/// Life of a connection where the venue ends it, then it is cut. Source: Binance's documents.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(24 * 3600);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
