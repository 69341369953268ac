//! Dialects: what each exchange wants to hear and what it says, as pure functions. Every venue
//! answers the same questions in the same order: limits, endpoint, subscribe, decode, heartbeat,
//! check of a symbol by REST, meaning of the volumes. Owns no session and no candle series.

use std::time::Duration;

use crate::clock::UnixMs;
use crate::market::{Candle, Interval, Market, Venue};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{JsonReader, Value};

pub mod binance;

/// What an exchange allows, less a margin of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams on one session.
    pub streams_per_session: usize,
    /// Streams named in one subscribe message.
    pub streams_per_message: usize,
    /// Messages of ours (pings, pongs and JSON) on one session within [`Self::messages_window`],
    /// one short of the exchange's number: a pong may come on top.
    pub messages: usize,
    /// The window in which [`Self::messages`] are counted.
    pub messages_window: Duration,
    /// New sessions of the whole process within [`Self::connects_window`].
    pub connects: usize,
    /// The window in which [`Self::connects`] are counted.
    pub connects_window: Duration,
    /// A session this old is replaced before the exchange cuts it.
    pub session_life: Duration,
}

/// What a subscribe message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeOp {
    /// Start streams.
    Subscribe,
    /// End streams.
    Unsubscribe,
}

/// A message from an exchange, understood; texts are borrowed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'text> {
    /// A candle.
    Kline(Kline<'text>),
    /// A subscribe message was accepted.
    Accepted {
        /// The id we gave it.
        id: i64,
    },
    /// A subscribe message was refused as a whole.
    Refused {
        /// The id we gave it, if the exchange could read it.
        id: Option<i64>,
        /// The exchange's error code.
        code: i64,
        /// The exchange's words.
        message: &'text str,
    },
    /// The exchange is about to close this session.
    ShutdownNotice,
}

/// A pushed candle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kline<'text> {
    /// The symbol in the venue's canonical spelling.
    pub symbol: &'text str,
    /// The length of the window.
    pub interval: Interval,
    /// The candle. Its open time is aligned to the interval.
    pub candle: Candle,
    /// The exchange's own closed flag.
    pub is_closed: bool,
    /// The exchange's time of this push.
    pub event_time: UnixMs,
}

/// How a session shows that it is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// By answering WebSocket pings.
    WebSocketPing,
}

/// What the exchange's REST interface says about a symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolCheck {
    /// It knows it. Two answers with other fingerprints: its candle has changed in between.
    Known {
        /// A hash of the newest candle as sent.
        fingerprint: u64,
    },
    /// It does not; its own words.
    Unknown {
        /// The exchange's words.
        message: String,
    },
    /// It did not say: too many requests, or a fault of its own.
    Undecided,
}

/// What `market` allows.
pub fn limits(market: Market) -> Limits {
    match market.venue() {
        Venue::Binance => binance::limits(market.contract_type()),
    }
}

/// Where to open a session: `base` as configured. `is_alternate`: at the market's other path, to
/// be tried when the first stays silent; where there is none, the same.
pub fn endpoint(market: Market, base: &Endpoint, is_alternate: bool) -> Endpoint {
    match market.venue() {
        Venue::Binance => binance::endpoint(market.contract_type(), base, is_alternate),
    }
}

/// Replaces `out` by the message that starts or ends the streams of `symbols`, which are canonical.
pub fn write_subscribe<'a>(
    market: Market,
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    match market.venue() {
        Venue::Binance => binance::write_subscribe(out, op, id, symbols),
    }
}

/// Understands one message.
///
/// # Errors
/// The kind to count; the message is of no use, the session is.
pub fn decode<'text>(
    market: Market,
    root: Value<'_, 'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    match market.venue() {
        Venue::Binance => binance::decode(market.contract_type(), root),
    }
}

/// How `market`'s sessions show that they are alive.
pub fn heartbeat(market: Market) -> Heartbeat {
    match market.venue() {
        Venue::Binance => Heartbeat::WebSocketPing,
    }
}

/// The URL whose answer tells whether the exchange knows `symbol`; `base` as configured.
pub fn symbol_check_url(market: Market, base: &str, symbol: &str, interval: Interval) -> String {
    match market.venue() {
        Venue::Binance => binance::symbol_check_url(market.contract_type(), base, symbol, interval),
    }
}

/// Understands the answer to [`symbol_check_url`].
pub fn read_symbol_check(
    market: Market,
    json: &mut JsonReader,
    response: &RestResponse,
) -> SymbolCheck {
    match market.venue() {
        Venue::Binance => binance::read_symbol_check(json, response),
    }
}

/// Whether `market`'s candles carry turnover in the quote currency beside their volume, whose
/// meaning is [`crate::market::instrument::MarketRow::volume_unit`].
pub fn has_quote_volume(market: Market) -> bool {
    match market.venue() {
        Venue::Binance => binance::has_quote_volume(market.contract_type()),
    }
}
