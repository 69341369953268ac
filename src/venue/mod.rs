//! Dialects: the messages to and from each exchange, as pure functions. Every venue answers the
//! same questions in the same order: limits, finality, endpoint, subscribe, decode, heartbeat,
//! candles by REST, check of a symbol by REST, instruments. Owns no session and no candle series.

use std::io::Read;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::clock::UnixMs;
use crate::limits::KLINES_PER_MESSAGE_MAX;
use crate::market::{Candle, ContractType, Interval, Listed, Market, Venue, VolumeUnit};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{JsonReader, Value};

pub mod binance;
mod body;
pub mod bybit;
mod denial;
mod fields;
pub mod gateio;
pub mod hyperliquid;
mod listed;
pub mod okx;
mod scan;
mod words;

pub use body::first_words;
pub use denial::{Denial, RetryAfter, denial, retry_after, retry_after_max};

/// What an exchange allows, less a margin of ours. "Per address" counts hold for all markets of one
/// [`budget_group`] and all shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams on one session.
    pub streams_per_session: usize,
    /// Streams named in one subscribe message.
    pub streams_per_message: usize,
    /// Bytes of one subscribe message.
    pub message_bytes: usize,
    /// Our messages on one session within [`Self::messages_window`]. It is one less than the limit
    /// of the exchange if a pong may come in addition.
    pub messages: usize,
    /// The window in which [`Self::messages`] are counted.
    pub messages_window: Duration,
    /// Whether heartbeats count as messages; if not, only subscriptions do.
    pub counts_heartbeats: bool,
    /// New sessions within [`Self::connects_window`], per address.
    pub connects: usize,
    /// The window in which [`Self::connects`] are counted.
    pub connects_window: Duration,
    /// Sessions at once, per address.
    pub sessions: usize,
    /// Streams at once, per address.
    pub streams: usize,
    /// A session this old is replaced before the exchange cuts it; `None`: the exchange does not
    /// cut sessions by their age, or not at a known one.
    pub session_life: Option<Duration>,
    /// Longest pause between two heartbeats of ours.
    pub ping_interval_max: Duration,
    /// REST requests of the kinds made here within [`Self::rest_window`], per address.
    pub rest_requests: usize,
    /// The window in which [`Self::rest_requests`] are counted.
    pub rest_window: Duration,
    /// Most candles of one REST request.
    pub rest_rows: usize,
}

/// No limit is published. Other limits are reached first.
pub const UNLIMITED: usize = usize::MAX;

/// On what evidence a candle of a market is closed, beside its REST row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// The exchange's flag, which always comes.
    Flag,
    /// The flag; if it was left out, the first message of a later window.
    FlagOrSuccessor,
    /// The first message of a later window: there is no flag.
    Successor,
}

/// What a subscribe message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeOp {
    /// Start streams.
    Subscribe,
    /// End streams.
    Unsubscribe,
}

/// A decoded message from an exchange. Its texts are borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'text> {
    /// At least one candle, in the [`Klines`] that were passed to [`decode`].
    Klines,
    /// A subscribe message was accepted as a whole.
    Accepted {
        /// Our id of the message; `None` if the exchange does not repeat it.
        id: Option<i64>,
    },
    /// One stream of a subscribe message was accepted.
    AcceptedOne {
        /// What was done.
        op: SubscribeOp,
        /// The symbol in the venue's canonical spelling.
        symbol: &'text str,
        /// The length of its candles.
        interval: Interval,
    },
    /// A subscribe message, or one stream of it, was refused.
    Refused(Refusal<'text>),
    /// The exchange is about to close this session.
    ShutdownNotice,
    /// An answer to a heartbeat, or another message that asks nothing of us.
    Nothing,
}

/// What was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'text> {
    /// The refused part, and its message.
    pub scope: RefusalScope<'text>,
    /// What the reason means to us.
    pub kind: RefusalKind,
    /// The exchange's error code, if it gives one.
    pub code: Option<i64>,
    /// The exchange's words.
    pub message: &'text str,
}

/// How much of a subscribe message was refused. Ids are those we gave the messages; `None` where
/// the exchange did not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalScope<'text> {
    /// The whole message, and the exchange does not name the stream at fault.
    Whole {
        /// The message.
        id: Option<i64>,
    },
    /// The whole message, because of one stream.
    WholeBecauseOf {
        /// The message.
        id: Option<i64>,
        /// The symbol at fault, as the exchange spells it.
        symbol: &'text str,
        /// The length of its candles, if the exchange names it.
        interval: Option<Interval>,
    },
    /// One stream of it; the others are served.
    One {
        /// The symbol at fault, as the exchange spells it.
        symbol: &'text str,
        /// The length of its candles, if the exchange names it.
        interval: Option<Interval>,
    },
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The exchange has no such stream.
    UnknownSymbol,
    /// A limit, or a fault of the exchange, and not of a symbol. The same streams may be subscribed
    /// in another way or later.
    NotNow(NotNow),
    /// Another reason, according to the text of the exchange.
    Other,
}

/// What has to change before the same streams may be subscribed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// A message names fewer streams.
    SmallerMessage,
    /// They need another session, because this one is full.
    OtherSession,
    /// Some time passes on this session: it was too fast, or the exchange has a fault of its own.
    Session,
    /// Some time passes: this address has too many streams, or sent too many messages.
    Address,
}

/// A pushed candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kline<'text> {
    /// The symbol in the venue's canonical spelling.
    pub symbol: &'text str,
    /// The length of the window.
    pub interval: Interval,
    /// The candle. Its open time is aligned to the interval.
    pub candle: Candle,
    /// The exchange's own closed flag; `None` if the message has none.
    pub is_closed: Option<bool>,
    /// The exchange's time of this push, if the message has one.
    pub event_time: Option<UnixMs>,
}

/// The candles of one message, in the order sent.
pub type Klines<'text> = ArrayVec<Kline<'text>, KLINES_PER_MESSAGE_MAX>;

/// How a session shows that it is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// By answering WebSocket pings.
    WebSocketPing,
    /// By answering the text of [`write_ping`].
    Text,
}

/// What to ask an exchange's REST interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestQuery {
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// `None`: GET. `Some`: POST of this JSON text.
    pub body: Option<String>,
    /// Further request headers, names in lower case.
    pub headers: Headers,
}

/// Header names in lower case and values, to be sent with a request.
pub type Headers = &'static [(&'static str, &'static str)];

/// A candle from an exchange's REST interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestCandle {
    /// The candle.
    pub candle: Candle,
    /// The exchange's own closed flag; `None` if rows have none.
    pub is_closed: Option<bool>,
}

/// The candles that an exchange's REST interface gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestCandles {
    /// Ascending by open time, each window once.
    pub candles: Vec<RestCandle>,
    /// The exchange's own time of the answer, if the body says it (Bybit).
    pub server_time: Option<UnixMs>,
    /// Rows that cannot be read.
    pub bad: BadRows,
}

impl RestCandles {
    /// Returns whether the answer has a row of the window `open_time` that cannot be read, or may
    /// have one.
    pub fn is_unreadable(&self, open_time: UnixMs) -> bool {
        self.bad.is_anywhere || self.bad.windows.contains(&open_time)
    }
}

/// The rows of an answer that cannot be read. Only their windows are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadRows {
    /// How many.
    pub count: usize,
    /// Their windows, as far as their open times can be read.
    pub windows: Vec<UnixMs>,
    /// Whether the window of one of them is not known. It may be any window without a row.
    pub is_anywhere: bool,
    /// The beginning of the first one.
    pub first_words: String,
}

/// Why an exchange's REST interface gave no candles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestError {
    /// Too many requests. The pause is in `Retry-After`, if the answer has one.
    TooFast {
        /// The pause that the exchange's documents name for this answer.
        wait: Option<Duration>,
    },
    /// A firewall or a rule blocks this address, or the exchange has an outage. It proves nothing
    /// about the symbol.
    Denied {
        /// Which of both, and so how soon it is asked again. Never a [`Denial::Limit`].
        denial: Denial,
    },
    /// It knows no such symbol; its own words.
    UnknownSymbol {
        /// The exchange's words.
        message: String,
    },
    /// Another error of the exchange about the request, as a text for the log.
    Failed {
        /// What was wrong.
        message: String,
    },
    /// An answer that cannot be read, as a text for the log.
    NoSense {
        /// What was expected, and the beginning of the answer.
        message: String,
    },
}

/// What the REST interface of an exchange shows about a symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolCheck {
    /// It knows it. Two answers with other fingerprints, the later not 0: there were trades in
    /// between.
    Known {
        /// A hash of the newest candle with trades; 0 if the newest two have none.
        fingerprint: u64,
    },
    /// It does not; its own words.
    Unknown {
        /// The exchange's words.
        message: String,
    },
    /// No answer about the symbol: too many requests, or a fault of the exchange.
    Undecided,
}

/// One page of an exchange's instrument list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstrumentPage {
    /// The symbols of this market on it.
    pub listed: Vec<Listed>,
    /// The next page, for [`instruments_query`].
    pub next: Option<String>,
    /// The page that names the list's parts, if it has any beside these pages.
    pub parts_page: Option<String>,
    /// These parts. Each is a page that is fetched when one of its symbols is wanted.
    pub parts: Vec<String>,
}

/// What `market` allows.
pub fn limits(market: Market) -> Limits {
    match market.venue() {
        Venue::Binance => binance::limits(market.contract_type()),
        Venue::Okx => okx::limits(),
        Venue::Bybit => bybit::limits(market.contract_type()),
        Venue::Gateio => gateio::limits(market.contract_type()),
        Venue::Hyperliquid => hyperliquid::limits(),
    }
}

/// The market in whose name the limits per address of `market` are counted: at OKX, Bybit, Gate and
/// Hyperliquid all contract types share them; Binance's have hosts and limits of their own.
pub fn budget_group(market: Market) -> Market {
    match market.venue() {
        Venue::Binance => market,
        Venue::Okx | Venue::Bybit | Venue::Gateio | Venue::Hyperliquid => {
            Market::of(market.venue()).next().unwrap_or(market)
        }
    }
}

/// How many of `shards` carry `market`, at least one: fewer where the exchange allows too few
/// sessions for one per shard and market of the [`budget_group`], or too few new ones in a window
/// for each shard to open one.
pub fn carriers(market: Market, shards: usize) -> usize {
    let group = budget_group(market);
    let markets = Market::all().filter(|&other| budget_group(other) == group).count();
    let limits = limits(market);
    (limits.sessions / markets.max(1)).min(limits.connects).clamp(1, shards.max(1))
}

/// On what evidence `market`'s candles are closed.
pub fn finality(market: Market) -> Finality {
    match market.venue() {
        Venue::Binance | Venue::Okx | Venue::Bybit => Finality::Flag,
        Venue::Gateio => Finality::FlagOrSuccessor,
        Venue::Hyperliquid => Finality::Successor,
    }
}

/// Whether REST leaves out windows without trades, or shows them late: then an absent row may mean
/// that nothing was traded. The others have a flat row for every window.
pub fn omits_quiet(market: Market) -> bool {
    match market.venue() {
        Venue::Binance | Venue::Okx | Venue::Bybit => false,
        Venue::Gateio | Venue::Hyperliquid => true,
    }
}

/// Whether candles say how many trades there were.
pub fn counts_trades(market: Market) -> bool {
    match market.venue() {
        Venue::Binance | Venue::Hyperliquid => true,
        Venue::Okx | Venue::Bybit | Venue::Gateio => false,
    }
}

/// How many windows back an exchange's REST interface has rows of; `None`: no end is known. Asked
/// for an older window it gives no row, or an error, whether or not the window was traded.
///
/// Source: OKX "Get candlesticks"; Gate's error "Maximum 10000 points ago are allowed"; Hyperliquid
/// "Candle snapshot".
pub fn rest_reach(market: Market) -> Option<i64> {
    match market.venue() {
        Venue::Binance | Venue::Bybit => None,
        Venue::Okx => Some(1_440),
        Venue::Gateio => Some(10_000),
        Venue::Hyperliquid => Some(5_000),
    }
}

/// How long no more REST requests may be sent, by the limits in an answer's headers, if
/// they are nearly used up: by us, or by others behind our address. `now`: the exchange's time.
pub fn rest_exhausted(market: Market, response: &RestResponse, now: UnixMs) -> Option<Duration> {
    let header = |name: &str| {
        let found = response.limit_headers.iter().find(|(key, _)| key == name)?;
        found.1.trim().parse::<i64>().ok()
    };
    match market.venue() {
        Venue::Binance => binance::rest_exhausted(market.contract_type(), &header, now),
        Venue::Bybit => bybit::rest_exhausted(&header, now),
        Venue::Gateio => gateio::rest_exhausted(&header, now),
        Venue::Okx | Venue::Hyperliquid => None,
    }
}

/// Where to open a session: `base` as configured. `is_alternate`: at the other path of the market,
/// which is tried if the first one delivers nothing. If there is no other path, it is the same.
pub fn endpoint(market: Market, base: &Endpoint, is_alternate: bool) -> Endpoint {
    match market.venue() {
        Venue::Binance => binance::endpoint(market.contract_type(), base, is_alternate),
        Venue::Okx => okx::endpoint(base),
        Venue::Bybit => bybit::endpoint(market.contract_type(), base),
        Venue::Gateio => gateio::endpoint(market.contract_type(), base),
        Venue::Hyperliquid => hyperliquid::endpoint(base),
    }
}

/// Further headers of the request that opens a session.
pub fn handshake_headers(market: Market) -> Headers {
    match market.venue() {
        Venue::Binance | Venue::Okx | Venue::Bybit | Venue::Hyperliquid => &[],
        Venue::Gateio => gateio::HEADERS,
    }
}

/// Replaces `out` by the message that starts or ends the streams of `symbols`, which are canonical
/// and at most [`Limits::streams_per_message`]. `now`: the local time.
pub fn write_subscribe<'a>(
    market: Market,
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
    now: UnixMs,
) {
    match market.venue() {
        Venue::Binance => binance::write_subscribe(out, op, id, symbols),
        Venue::Okx => okx::write_subscribe(out, op, symbols),
        Venue::Bybit => bybit::write_subscribe(out, op, id, symbols),
        Venue::Gateio => {
            gateio::write_subscribe(market.contract_type(), out, op, id, symbols, now);
        }
        Venue::Hyperliquid => hyperliquid::write_subscribe(out, op, symbols),
    }
}

/// Returns whether the exchange drops the whole session without an error after a subscription of an
/// unknown symbol.
pub fn drops_unknown(market: Market) -> bool {
    match market.venue() {
        Venue::Binance | Venue::Okx | Venue::Bybit | Venue::Gateio => false,
        Venue::Hyperliquid => true,
    }
}

/// Returns whether candles may count contracts alone, so that the base amount follows from the size
/// of a contract in the instrument list.
pub fn needs_contract_size(market: Market) -> bool {
    market.other_unit() == VolumeUnit::Base && market.volume_unit() == VolumeUnit::Contracts
}

/// Returns whether `text` is not JSON and needs no reaction: an answer to a heartbeat, at any
/// exchange, or Hyperliquid's greeting.
pub fn is_plain_text(market: Market, text: &str) -> bool {
    if text.starts_with('{') {
        return false;
    }
    let is_greeting = market.venue() == Venue::Hyperliquid && text.starts_with(hyperliquid::HELLO);
    is_greeting || text.trim_end().eq_ignore_ascii_case(okx::PONG)
}

/// The limit that a Close with `code` and `reason` shows; `None`: it shows none.
pub fn read_close(market: Market, code: Option<u16>, reason: &str) -> Option<NotNow> {
    let by_code = match market.venue() {
        Venue::Okx => okx::read_close_code(code?),
        Venue::Binance | Venue::Bybit | Venue::Gateio | Venue::Hyperliquid => None,
    };
    by_code.or_else(|| words::not_now(reason))
}

/// Decodes one message. Candles go into `klines`, which is empty. After an error the caller drops
/// the contents of `klines`.
///
/// # Errors
/// The kind of decode error to count. The message is dropped, and the session stays.
pub fn decode<'text>(
    market: Market,
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    match market.venue() {
        Venue::Binance => binance::decode(market.contract_type(), root, klines),
        Venue::Okx => okx::decode(market.contract_type(), root, klines),
        Venue::Bybit => bybit::decode(market.contract_type(), root, klines),
        Venue::Gateio => gateio::decode(market.contract_type(), root, klines),
        Venue::Hyperliquid => hyperliquid::decode(root, klines),
    }
}

/// Decodes a push of candles in one pass over its text. The order of fields and white space are
/// free. Candles go into `klines`, which is empty. `None`: the text is not such a push, holds
/// escapes, or is wrong. The caller then drops the contents of `klines` and calls [`decode`].
pub fn read_push<'text>(
    market: Market,
    text: &'text str,
    klines: &mut Klines<'text>,
) -> Option<()> {
    let contract_type = market.contract_type();
    let read = match market.venue() {
        Venue::Binance => binance::read_push(contract_type, text, klines),
        Venue::Okx => okx::read_push(text, klines),
        Venue::Bybit => bybit::read_push(contract_type, text, klines),
        Venue::Gateio => gateio::read_push(contract_type, text, klines),
        Venue::Hyperliquid => hyperliquid::read_push(text, klines),
    };
    read.ok()
}

/// How `market`'s sessions show that they are alive.
pub fn heartbeat(market: Market) -> Heartbeat {
    match market.venue() {
        Venue::Binance => Heartbeat::WebSocketPing,
        Venue::Okx | Venue::Bybit | Venue::Gateio | Venue::Hyperliquid => Heartbeat::Text,
    }
}

/// Replaces `out` by the text of a heartbeat if [`heartbeat`] is [`Heartbeat::Text`], else by
/// nothing. `now`: the local time.
pub fn write_ping(market: Market, out: &mut String, now: UnixMs) {
    out.clear();
    match market.venue() {
        Venue::Binance => {}
        Venue::Okx => out.push_str(okx::PING),
        Venue::Bybit => out.push_str(bybit::PING),
        Venue::Gateio => gateio::write_ping(market.contract_type(), out, now),
        Venue::Hyperliquid => out.push_str(hyperliquid::PING),
    }
}

/// Asks for the candles that open in `from..=to`, both aligned, at most [`Limits::rest_rows`];
/// `base` as configured.
pub fn candles_query(
    market: Market,
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    let contract_type = market.contract_type();
    match market.venue() {
        Venue::Binance => binance::candles_query(contract_type, base, symbol, interval, from, to),
        Venue::Okx => okx::candles_query(base, symbol, interval, from, to),
        Venue::Bybit => bybit::candles_query(contract_type, base, symbol, interval, from, to),
        Venue::Gateio => gateio::candles_query(contract_type, base, symbol, interval, from, to),
        Venue::Hyperliquid => hyperliquid::candles_query(base, symbol, interval, from, to),
    }
}

/// Understands the answer to [`candles_query`] of the same `symbol` and `interval`.
///
/// # Errors
/// [`RestError`]: the exchange refused, or its answer cannot be read, or names another symbol or
/// interval.
pub fn read_candles(
    market: Market,
    json: &mut JsonReader,
    response: &RestResponse,
    asked: (&str, Interval),
) -> Result<RestCandles, RestError> {
    match denial(market, response.status, &response.body) {
        Some(Denial::Limit { wait }) => return Err(RestError::TooFast { wait }),
        Some(denial) => return Err(RestError::Denied { denial }),
        None => {}
    }
    let (contract_type, interval) = (market.contract_type(), asked.1);
    match market.venue() {
        Venue::Binance => binance::read_candles(contract_type, json, response, interval),
        Venue::Okx => okx::read_candles(contract_type, json, response, interval),
        Venue::Bybit => bybit::read_candles(contract_type, json, response, asked),
        Venue::Gateio => gateio::read_candles(contract_type, json, response, asked),
        Venue::Hyperliquid => hyperliquid::read_candles(json, response, asked),
    }
}

/// Asks whether the exchange knows `symbol`, and how its newest candle is: [`candles_query`] of the
/// running window at `now` (the local time) and the one before.
pub fn symbol_check_query(
    market: Market,
    base: &str,
    symbol: &str,
    interval: Interval,
    now: UnixMs,
) -> RestQuery {
    let to = interval.open_time(now);
    candles_query(market, base, symbol, interval, UnixMs(to.0 - interval.ms()), to)
}

/// Understands the answer to [`symbol_check_query`].
pub fn read_symbol_check(
    market: Market,
    json: &mut JsonReader,
    response: &RestResponse,
    asked: (&str, Interval),
) -> SymbolCheck {
    match read_candles(market, json, response, asked) {
        Ok(read) => SymbolCheck::Known { fingerprint: fields::fingerprint(&read.candles) },
        Err(RestError::UnknownSymbol { message }) => SymbolCheck::Unknown { message },
        Err(_) => SymbolCheck::Undecided,
    }
}

/// The part of the instrument list of `market` for `symbol`, if the list has parts. `None`: its
/// main pages.
pub fn list_part(market: Market, symbol: &str) -> Option<&str> {
    match (market.venue(), market.contract_type()) {
        (Venue::Hyperliquid, ContractType::Spot) => None,
        (Venue::Hyperliquid, _) => symbol.split_once(':').map(|(dex, _)| dex),
        (Venue::Binance | Venue::Okx | Venue::Bybit | Venue::Gateio, _) => None,
    }
}

/// Asks for the instrument list of `market`: its first page, or one that an [`InstrumentPage`]
/// names.
pub fn instruments_query(market: Market, base: &str, page: Option<&str>) -> RestQuery {
    let contract_type = market.contract_type();
    match market.venue() {
        Venue::Binance => binance::instruments_query(contract_type, base),
        Venue::Okx => okx::instruments_query(contract_type, base),
        Venue::Bybit => bybit::instruments_query(contract_type, base, page),
        Venue::Gateio => gateio::instruments_query(contract_type, base),
        Venue::Hyperliquid => hyperliquid::instruments_query(contract_type, base, page),
    }
}

/// Decodes the body of an HTTP 200 to [`instruments_query`] of the same `page` while it is read.
/// Slow: not for a hot core.
///
/// # Errors
/// What is wrong with the body, for the log.
pub fn read_instruments(
    market: Market,
    page: Option<&str>,
    body: impl Read,
) -> Result<InstrumentPage, String> {
    let contract_type = market.contract_type();
    match market.venue() {
        Venue::Binance => binance::read_instruments(body),
        Venue::Okx => okx::read_instruments(body),
        Venue::Bybit => bybit::read_instruments(contract_type, body),
        Venue::Gateio => gateio::read_instruments(contract_type, body),
        Venue::Hyperliquid => hyperliquid::read_instruments(contract_type, page, body),
    }
}

#[cfg(test)]
mod tests;
