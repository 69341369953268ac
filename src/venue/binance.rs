//! Binance: spot, usdm and coinm. Facts from binance-spot-api-docs (web-socket-streams.md,
//! rest-api.md, errors.md, read 2026-07-21) and the derivatives pages "Websocket Market Streams".
//!
//! Streams are asked for on the raw path `/ws`: its pushes are shorter than the combined form's and
//! name their symbol; both forms are understood.

use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::UnixMs;
use crate::market::{Candle, ContractType, Decimal, Interval, Listed};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{JsonReader, Value};

use super::fields::{
    AHEAD_MS_MAX, decimal, integer, natural, no_sense, push_encoded, read_rows, text,
};
use super::listed::{Each, read_page};
use super::scan::{Decoded, Guess, Key, Scanner, Source, required};
use super::words::not_now;
use super::{
    InstrumentPage, Kline, Klines, Limits, Message, NotNow, Refusal, RefusalKind, RefusalScope,
    RestCandle, RestCandles, RestError, RestQuery, SubscribeOp, UNLIMITED,
};

/// What differs between the contract types.
struct Row {
    contract_type: ContractType,
    /// Messages of ours in 1.1 s.
    messages: usize,
    /// The path of a session, where the configured URL has none.
    path: &'static str,
    /// The path that is tried when the first stays silent, if there is another.
    alternate: Option<&'static str>,
    klines_path: &'static str,
    instruments_path: &'static str,
    /// Klines requests a minute, and rows of one.
    rest: (usize, usize),
    /// Whether `q` is turnover in the quote asset.
    has_quote_volume: bool,
}

const ROWS: [Row; 3] = [
    Row {
        contract_type: ContractType::Spot,
        messages: 4,
        path: "/ws",
        alternate: None,
        klines_path: "/api/v3/klines",
        instruments_path: "/api/v3/exchangeInfo",
        rest: (2000, 1000),
        has_quote_volume: true,
    },
    Row {
        contract_type: ContractType::Usdm,
        messages: 8,
        path: "/market/ws",
        alternate: None,
        klines_path: "/fapi/v1/klines",
        instruments_path: "/fapi/v1/exchangeInfo",
        rest: (400, 499),
        has_quote_volume: true,
    },
    // That it wants `/market` too is not documented; others found the old path to be shut down
    // (November 2026). `v` counts contracts, `q` is the volume in the base asset, not turnover.
    Row {
        contract_type: ContractType::Coinm,
        messages: 8,
        path: "/market/ws",
        alternate: Some("/ws"),
        klines_path: "/dapi/v1/klines",
        instruments_path: "/dapi/v1/exchangeInfo",
        rest: (400, 499),
        has_quote_volume: false,
    },
];

fn row(contract_type: ContractType) -> &'static Row {
    let row = ROWS.iter().find(|row| row.contract_type == contract_type);
    row.expect("MARKETS and ROWS name the same contract types")
}

/// Source: web-socket-streams.md: 1024 streams a session, 5 messages a second on spot, 300 new
/// sessions in 5 minutes per IP, 24 h of life; a message beyond 4 KiB is ignored (seen);
/// derivatives: 10 messages a second, 1024 streams, no number for new sessions, so spot's. Messages
/// are counted over 1.1 s, since the network may push them together; a tenth of the new sessions is
/// left to others behind the same address.
///
/// REST: a klines request weighs 2 of 6,000 a minute on spot; on futures 2 up to 499 rows, of 2,400
/// that usdm and coinm share; a third is left for instrument lists and others.
pub(super) fn limits(contract_type: ContractType) -> Limits {
    let row = row(contract_type);
    Limits {
        streams_per_session: 1024,
        streams_per_message: 100,
        message_bytes: 4_000,
        messages: row.messages,
        messages_window: Duration::from_millis(1100),
        counts_heartbeats: true,
        connects: 270,
        connects_window: Duration::from_secs(300),
        sessions: UNLIMITED,
        streams: UNLIMITED,
        session_life: Some(Duration::from_secs(23 * 3600)),
        ping_interval_max: Duration::from_secs(60),
        rest_requests: row.rest.0,
        rest_window: Duration::from_secs(60),
        rest_rows: row.rest.1,
    }
}

/// The weight used in the exchange's running minute, all of this address's clients together.
/// Source: rest-api.md, `X-MBX-USED-WEIGHT-1M`; 6,000 a minute on spot, 2,400 on futures.
pub(super) fn rest_exhausted(
    contract_type: ContractType,
    header: &dyn Fn(&str) -> Option<i64>,
    now: UnixMs,
) -> Option<Duration> {
    let weight = if contract_type == ContractType::Spot { 6_000 } else { 2_400 };
    let is_exhausted = header("x-mbx-used-weight-1m")? > weight * 9 / 10;
    let left_ms = 61_000 - now.0.rem_euclid(60_000);
    is_exhausted.then(|| Duration::from_millis(left_ms.unsigned_abs()))
}

/// A base that ends with `/ws` or `/stream` is the whole URL, and one with another path the route
/// to `/ws` (usdm: `/market`; un-routed it acknowledges and stays silent).
pub(super) fn endpoint(
    contract_type: ContractType,
    base: &Endpoint,
    is_alternate: bool,
) -> Endpoint {
    let row = row(contract_type);
    let path = base.path.trim_end_matches('/');
    if path.ends_with("/ws") || path.ends_with("/stream") {
        return base.clone();
    }
    if !path.is_empty() {
        return base.join("/ws");
    }
    base.join(row.alternate.filter(|_| is_alternate).unwrap_or(row.path))
}

/// Stream names are in lower case, by Unicode's rules without a locale, as Java's
/// `toLowerCase(Locale.ROOT)` does it on the other side. Symbols of scripts without case, the only
/// non-ASCII ones listed, stay as they are.
pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
    out.push_str(match op {
        SubscribeOp::Subscribe => r#"{"method":"SUBSCRIBE","params":["#,
        SubscribeOp::Unsubscribe => r#"{"method":"UNSUBSCRIBE","params":["#,
    });
    for (index, (symbol, interval)) in symbols.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let (symbol, interval) = (symbol.to_lowercase(), interval.name());
        write!(out, r#"{comma}"{symbol}@kline_{interval}""#).expect("a String takes every write");
    }
    write!(out, r#"],"id":{id}}}"#).expect("a String takes every write");
}

/// Kline push, "Kline/Candlestick Streams", raw or as `data` of a combined one:
///
/// ```json
/// {"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,
/// "s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015",
/// "v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}
/// ```
///
/// `f`, `L`, `V`, `Q` and `B` are not read. usdm writes a space behind each comma of `k` (2026).
/// Acknowledgement: `{"result":null,"id":1}`.
pub(super) fn decode<'text>(
    contract_type: ContractType,
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    let outer = Outer::read(root)?;
    match outer.data.filter(|data| data.fields().is_some()) {
        Some(data) => Outer::read(data)?.message(contract_type, klines),
        None => outer.message(contract_type, klines),
    }
}

/// The push of [`decode`], in one pass.
pub(super) fn read_push<'text>(
    contract_type: ContractType,
    text: &'text str,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    let mut scan = Scanner::new(text);
    let mut push = Push::default();
    scan = push.read(contract_type, scan, Wrapping::Maybe, klines)?;
    scan.end()?;
    if !push.is_kline {
        return Err(DecodeErrorKind::Unknown);
    }
    let (symbol, event_time) = (required(push.symbol)?, required(push.event_time)?);
    complete(klines, symbol, UnixMs(event_time))
}

/// The fields of a push, raw or combined, beside its candle.
#[derive(Default)]
struct Push<'text> {
    is_kline: bool,
    event_time: Option<i64>,
    symbol: Option<&'text str>,
}

/// Whether an object may hold the push as its `data`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrapping {
    Maybe,
    /// It may not: the object is `data` itself.
    Unwrapped,
    /// It has been read.
    Done,
}

impl<'text> Push<'text> {
    /// Reads an object and returns the place behind it.
    fn read(
        &mut self,
        contract_type: ContractType,
        scan: Scanner<'text>,
        mut wrapping: Wrapping,
        klines: &mut Klines<'text>,
    ) -> Decoded<Scanner<'text>> {
        let mut scan = scan.own();
        let mut fields = scan.enter_object(&USUAL)?;
        while let Some(key) = scan.next_field(&mut fields)? {
            match key {
                key::DATA if wrapping != Wrapping::Unwrapped => {
                    wrapping = Wrapping::Done;
                    *self = Self::default();
                    klines.clear();
                    scan = self.read(contract_type, scan, Wrapping::Unwrapped, klines)?;
                }
                _ if wrapping == Wrapping::Done => scan.skip()?,
                key::EVENT => self.is_kline = scan.text()? == "kline",
                key::EVENT_TIME => self.event_time = Some(scan.natural()?),
                key::SYMBOL => self.symbol = Some(scan.text()?),
                key::KLINE => read_kline(contract_type, &mut scan, klines)?,
                // It is an answer.
                key::RESULT | key::ERROR => return Err(DecodeErrorKind::Unknown),
                _ => scan.skip()?,
            }
        }
        Ok(scan)
    }
}

/// Completes the candle of a push that names `symbol` and was made at `event_time`.
#[inline(always)]
fn complete(klines: &mut Klines<'_>, symbol: &str, event_time: UnixMs) -> Decoded<()> {
    let kline = klines.first_mut().ok_or(DecodeErrorKind::MissingField)?;
    // Of a future window: taken as closed, it would make every candle until then late.
    let is_ahead = kline.candle.open_time.0 > event_time.0 + AHEAD_MS_MAX;
    if is_ahead || kline.symbol != symbol {
        return Err(DecodeErrorKind::BadField);
    }
    kline.event_time = Some(event_time);
    Ok(())
}

/// The fields of every message, as far as they are known.
#[derive(Default)]
struct Outer<'tape, 'text> {
    event: Option<Value<'tape, 'text>>,
    event_time: Option<Value<'tape, 'text>>,
    symbol: Option<Value<'tape, 'text>>,
    kline: Option<Value<'tape, 'text>>,
    data: Option<Value<'tape, 'text>>,
    result: Option<Value<'tape, 'text>>,
    id: Option<Value<'tape, 'text>>,
    error: Option<Value<'tape, 'text>>,
    code: Option<Value<'tape, 'text>>,
    msg: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Outer<'tape, 'text> {
    fn read(root: Value<'tape, 'text>) -> Result<Self, DecodeErrorKind> {
        let mut outer = Self::default();
        for (key, value) in root.fields().ok_or(DecodeErrorKind::Unknown)? {
            let field = match key {
                "e" => &mut outer.event,
                "E" => &mut outer.event_time,
                "s" => &mut outer.symbol,
                "k" => &mut outer.kline,
                "data" => &mut outer.data,
                "result" => &mut outer.result,
                "id" => &mut outer.id,
                "error" => &mut outer.error,
                "code" => &mut outer.code,
                "msg" => &mut outer.msg,
                // The exchange may add fields at any time.
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(outer)
    }

    fn message(
        &self,
        contract_type: ContractType,
        klines: &mut Klines<'text>,
    ) -> Result<Message<'text>, DecodeErrorKind> {
        if self.event.is_some() || self.kline.is_some() {
            return match text(self.event)? {
                "kline" => {
                    let (symbol, event_time) = (text(self.symbol)?, natural(self.event_time)?);
                    read_kline(contract_type, &mut required(self.kline)?, klines)?;
                    complete(klines, symbol, UnixMs(event_time))?;
                    Ok(Message::Klines)
                }
                "serverShutdown" => Ok(Message::ShutdownNotice),
                _ => Err(DecodeErrorKind::Unknown),
            };
        }
        if self.error.is_some() || (self.code.is_some() && self.msg.is_some()) {
            return Ok(Message::Refused(self.refusal()));
        }
        match (self.code, self.result) {
            (Some(_), _) => Err(DecodeErrorKind::MissingField),
            (None, Some(result)) if result.is_null() => {
                Ok(Message::Accepted { id: Some(integer(self.id)?) })
            }
            // What is subscribed: nobody asked.
            (None, Some(result)) if result.is_array() => Ok(Message::Nothing),
            (None, Some(_)) => Err(DecodeErrorKind::BadField),
            (None, None) => Err(DecodeErrorKind::Unknown),
        }
    }

    /// `{"error":{"code":2,"msg":"…","data":"<stream>"},"id":1}`, as seen, where `data` and `id`
    /// may be absent; or the flat form of the documents.
    fn refusal(&self) -> Refusal<'text> {
        let (mut code, mut msg, mut stream) = (self.code, self.msg, self.data);
        for (key, value) in self.error.and_then(Value::fields).into_iter().flatten() {
            match key {
                "code" => code = Some(value),
                "msg" => msg = Some(value),
                "data" => stream = Some(value),
                _ => {}
            }
        }
        let code = code.and_then(Value::integer);
        let message = msg.or(self.error).and_then(Value::text).unwrap_or_default();
        let id = self.id.and_then(|id| id.integer().or_else(|| id.text()?.parse().ok()));
        let scope = match stream.and_then(Value::text).and_then(read_stream) {
            Some((symbol, interval)) => {
                RefusalScope::WholeBecauseOf { id, symbol, interval: Some(interval) }
            }
            None => RefusalScope::Whole { id },
        };
        let kind = match (code, not_now(message)) {
            (Some(TOO_MANY_STREAMS), _) => RefusalKind::NotNow(NotNow::OtherSession),
            (_, Some(limit)) => RefusalKind::NotNow(limit),
            (Some(INVALID_REQUEST), None) => RefusalKind::UnknownSymbol,
            (_, None) => RefusalKind::Other,
        };
        Refusal { scope, kind, code, message }
    }
}

/// Symbol and interval of a stream's name, `btcusdt@kline_1m`; the symbol as it stands there.
fn read_stream(name: &str) -> Option<(&str, Interval)> {
    let (symbol, spelling) = name.split_once("@kline_")?;
    Some((symbol, Interval::from_name(spelling)?))
}

/// Source: web-socket-streams.md, "Error Messages".
const INVALID_REQUEST: i64 = 2;
/// Source: seen as `{"error":{"code":4,"msg":"Too many subscriptions"},"id":1}`.
const TOO_MANY_STREAMS: i64 = 4;

/// The fields of `k` that are read.
#[derive(Default)]
struct Inner<'text> {
    open_time: Option<i64>,
    close_time: Option<i64>,
    symbol: Option<&'text str>,
    interval: Option<&'text str>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    close: Option<Decimal>,
    volume: Option<Decimal>,
    /// Where the market has it.
    other_volume: Option<Decimal>,
    trades: Option<i64>,
    is_closed: Option<bool>,
}

/// Replaces `klines` by the candle of `k`.
#[inline(always)]
fn read_kline<'text>(
    contract_type: ContractType,
    source: &mut impl Source<'text>,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    klines.clear();
    let has_quote_volume = row(contract_type).has_quote_volume;
    let is_spaced = contract_type == ContractType::Usdm;
    let mut inner = Inner::default();
    let mut fields = source.enter_object(if is_spaced { &USUAL_SPACED } else { &USUAL_KLINE })?;
    while let Some(key) = source.next_field(&mut fields)? {
        match key {
            key::OPEN_TIME => inner.open_time = Some(source.natural()?),
            key::CLOSE_TIME => inner.close_time = Some(source.natural()?),
            key::SYMBOL => inner.symbol = Some(source.text()?),
            key::INTERVAL => inner.interval = Some(source.text()?),
            key::OPEN => inner.open = Some(source.decimal()?),
            key::HIGH => inner.high = Some(source.decimal()?),
            key::LOW => inner.low = Some(source.decimal()?),
            key::CLOSE => inner.close = Some(source.decimal()?),
            key::VOLUME => inner.volume = Some(source.decimal()?),
            key::QUOTE_VOLUME if has_quote_volume => inner.other_volume = Some(source.decimal()?),
            key::TRADES => inner.trades = Some(source.natural()?),
            key::IS_CLOSED => inner.is_closed = Some(source.boolean()?),
            // `f`, `L`, `V`, `Q`, `B`, and whatever the exchange adds.
            _ => source.skip()?,
        }
    }
    let interval = Interval::from_name(required(inner.interval)?);
    let interval = interval.ok_or(DecodeErrorKind::BadField)?;
    let open_time = UnixMs(required(inner.open_time)?);
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    if required(inner.close_time)? != interval.close_time(open_time).0 {
        return Err(DecodeErrorKind::BadField);
    }
    if has_quote_volume {
        required(inner.other_volume)?;
    }
    let candle = Candle {
        open_time,
        open: required(inner.open)?,
        high: required(inner.high)?,
        low: required(inner.low)?,
        close: required(inner.close)?,
        volume: required(inner.volume)?,
        other_volume: inner.other_volume,
        trades: required(inner.trades)?.unsigned_abs(),
    };
    let (symbol, is_closed) = (required(inner.symbol)?, Some(required(inner.is_closed)?));
    klines.push(Kline { symbol, interval, candle, is_closed, event_time: None });
    Ok(())
}

/// The fields of a push in the order in which they are sent.
const USUAL: [Guess; 4] = Guess::list("", ["e", "E", "s", "k"]);
/// Those of `k`.
const USUAL_KLINE: [Guess; 17] = Guess::list("", KLINE_FIELDS);
/// The same on usdm.
const USUAL_SPACED: [Guess; 17] = Guess::list(" ", KLINE_FIELDS);
const KLINE_FIELDS: [&str; 17] =
    ["t", "T", "s", "i", "f", "L", "o", "c", "h", "l", "v", "n", "x", "q", "V", "Q", "B"];

/// The names of the fields that are read.
mod key {
    use super::Key;

    pub(super) const RESULT: Key = Key::of("result");
    pub(super) const ERROR: Key = Key::of("error");
    pub(super) const DATA: Key = Key::of("data");
    pub(super) const EVENT: Key = Key::of("e");
    pub(super) const EVENT_TIME: Key = Key::of("E");
    pub(super) const SYMBOL: Key = Key::of("s");
    pub(super) const KLINE: Key = Key::of("k");
    pub(super) const OPEN_TIME: Key = Key::of("t");
    pub(super) const CLOSE_TIME: Key = Key::of("T");
    pub(super) const INTERVAL: Key = Key::of("i");
    pub(super) const OPEN: Key = Key::of("o");
    pub(super) const HIGH: Key = Key::of("h");
    pub(super) const LOW: Key = Key::of("l");
    pub(super) const CLOSE: Key = Key::of("c");
    pub(super) const VOLUME: Key = Key::of("v");
    pub(super) const QUOTE_VOLUME: Key = Key::of("q");
    pub(super) const TRADES: Key = Key::of("n");
    pub(super) const IS_CLOSED: Key = Key::of("x");
}

/// `klines` with both times: at most [`Limits::rest_rows`] rows, ascending, the running one last.
pub(super) fn candles_query(
    contract_type: ContractType,
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    let path = row(contract_type).klines_path;
    let mut url = format!("{}{path}?symbol=", base.trim_end_matches('/'));
    push_encoded(&mut url, symbol);
    let rows = (to.0 - from.0) / interval.ms() + 1;
    let (interval, from, to) = (interval.name(), from.0, to.0);
    write!(url, "&interval={interval}&startTime={from}&endTime={to}&limit={rows}")
        .expect("a String takes every write");
    RestQuery { url, body: None, headers: &[] }
}

/// Rows `[openTime,"o","h","l","c","v",closeTime,"quote volume",trades,…]`, without a flag.
/// errors.md: an unknown symbol is HTTP 400 with `{"code":-1121,"msg":"Invalid symbol."}`; -1100
/// says that a parameter has illegal characters, which for us can only be the symbol.
pub(super) fn read_candles(
    contract_type: ContractType,
    json: &mut JsonReader,
    response: &RestResponse,
    interval: Interval,
) -> Result<RestCandles, RestError> {
    let read = json.read(&response.body, |root| {
        if response.status == 200 {
            let read = |cells| read_row(contract_type, cells, interval);
            return Some(read_rows(root.elements()?, interval, 1, read));
        }
        let outer = Outer::read(root).ok()?;
        let code = outer.code.and_then(Value::integer)?;
        let message = outer.msg.and_then(Value::text)?.to_owned();
        Some(Err(match code {
            -1121 | -1100 => RestError::UnknownSymbol { message },
            _ => RestError::Failed { message: format!("{message} ({code})") },
        }))
    });
    read.ok().flatten().unwrap_or_else(|| Err(no_sense(response, "no klines")))
}

fn read_row(
    contract_type: ContractType,
    cells: Value<'_, '_>,
    interval: Interval,
) -> Result<RestCandle, DecodeErrorKind> {
    let mut cells = cells.elements().ok_or(DecodeErrorKind::BadField)?;
    let open_time = UnixMs(natural(cells.next())?);
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    let (open, high) = (decimal(cells.next())?, decimal(cells.next())?);
    let (low, close) = (decimal(cells.next())?, decimal(cells.next())?);
    let volume = decimal(cells.next())?;
    if natural(cells.next())? != interval.close_time(open_time).0 {
        return Err(DecodeErrorKind::BadField);
    }
    let other_volume = decimal(cells.next())?;
    let other_volume = row(contract_type).has_quote_volume.then_some(other_volume);
    let trades = natural(cells.next())?.unsigned_abs();
    let candle = Candle { open_time, open, high, low, close, volume, other_volume, trades };
    Ok(RestCandle { candle, is_closed: None })
}

/// `exchangeInfo`: weight 20 on spot, 1 on futures.
pub(super) fn instruments_query(contract_type: ContractType, base: &str) -> RestQuery {
    let path = row(contract_type).instruments_path;
    let url = format!("{}{path}", base.trim_end_matches('/'));
    RestQuery { url, body: None, headers: &[] }
}

/// The fields of exchangeInfo that are read.
#[derive(Deserialize)]
struct ExchangeInfo {
    symbols: Each<SymbolInfo>,
}

#[derive(Deserialize)]
struct SymbolInfo {
    symbol: String,
    /// coinm spells it `contractStatus`.
    #[serde(alias = "contractStatus")]
    status: String,
}

/// `symbols[].status` is `TRADING`, or why not (`BREAK`, `SETTLING`, `PENDING_TRADING`, …). Of
/// `CANCEL_ONLY` (July 2026) no document says that nothing is pushed, so it is tried.
pub(super) fn read_instruments(body: impl Read) -> Result<InstrumentPage, String> {
    let info: ExchangeInfo = read_page(body)?;
    let listed = info.symbols.0.into_iter().map(|one| Listed {
        symbol: one.symbol,
        halted: Some(one.status).filter(|it| !matches!(it.as_str(), "TRADING" | "CANCEL_ONLY")),
        known_as: None,
        contract_size: None,
    });
    Ok(InstrumentPage { listed: listed.collect(), ..InstrumentPage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Market, Venue};
    use crate::venue::Denial;

    fn read(status: u16, body: &str) -> Result<RestCandles, RestError> {
        let body = body.as_bytes().to_vec();
        let response = RestResponse { status, retry_after: None, limit_headers: vec![], body };
        let spot = Market::find(Venue::Binance, "spot").unwrap();
        super::super::read_candles(
            spot,
            &mut JsonReader::default(),
            &response,
            ("BTCUSDT", Interval::M1),
        )
    }

    #[test]
    fn each_contract_type_has_its_path() {
        let path = |base: &str, contract_type, is_alternate| {
            endpoint(contract_type, &Endpoint::parse(base).unwrap(), is_alternate).to_string()
        };
        let spot = path("wss://stream.binance.com:9443", ContractType::Spot, true);
        assert_eq!(spot, "wss://stream.binance.com:9443/ws");
        let usdm = path("wss://fstream.binance.com/market", ContractType::Usdm, true);
        assert_eq!(usdm, "wss://fstream.binance.com/market/ws");
        let coinm = |base, is_alternate| path(base, ContractType::Coinm, is_alternate);
        let (market, old) = ("wss://dstream.binance.com/market/ws", "wss://dstream.binance.com/ws");
        assert_eq!(coinm("wss://dstream.binance.com", false), market);
        assert_eq!(coinm("wss://dstream.binance.com", true), old);
        assert_eq!(coinm("wss://dstream.binance.com/market", true), market);
        for whole in [market, old, "wss://dstream.binance.com/market/stream"] {
            assert_eq!((coinm(whole, false), coinm(whole, true)), (whole.into(), whole.into()));
        }
        let bare = path("wss://fstream.binance.com", ContractType::Usdm, false);
        assert_eq!(bare, usdm);
    }

    #[test]
    fn subscribe_messages_name_streams_in_lower_case() {
        let mut text = "old".to_owned();
        let symbols = [("BTCUSD_PERP", Interval::M1), ("币安人生USDT", Interval::M1)];
        write_subscribe(&mut text, SubscribeOp::Subscribe, 7, symbols.into_iter());
        let expected = r#"{"method":"SUBSCRIBE","params":["btcusd_perp@kline_1m","币安人生usdt@kline_1m"],"id":7}"#;
        assert_eq!(text, expected);
        write_subscribe(&mut text, SubscribeOp::Unsubscribe, 8, symbols.into_iter().take(1));
        let expected = r#"{"method":"UNSUBSCRIBE","params":["btcusd_perp@kline_1m"],"id":8}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_symbol_is_unknown_only_on_the_exchange_s_word() {
        let unknown = RestError::UnknownSymbol { message: "Invalid symbol.".to_owned() };
        assert_eq!(read(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#), Err(unknown));
        let wrong = read(400, r#"{"code":-1120,"msg":"Invalid interval."}"#);
        assert!(matches!(wrong, Err(RestError::Failed { .. })), "{wrong:?}");
        assert_eq!(read(502, "<html>"), Err(RestError::Denied { denial: Denial::Outage }));
        assert!(matches!(read(200, "{}"), Err(RestError::NoSense { .. })));
        let too_fast = read(429, r#"{"code":-1003,"msg":"Too much"}"#);
        assert_eq!(too_fast, Err(RestError::TooFast { wait: None }));
        assert_eq!(read(200, "[]").map(|read| read.candles.len()), Ok(0));
    }

    #[test]
    fn rows_become_candles() {
        let row = r#"[[1672515780000,"0.0010","0.0025","0.0015","0.0020","1000",1672515839999,"1.0",100,"500","0.5","0"]]"#;
        let read_one = read(200, row).unwrap();
        let candle = read_one.candles[0].candle;
        assert_eq!((candle.open_time, candle.trades), (UnixMs(1_672_515_780_000), 100));
        let digits = [candle.open, candle.high, candle.low, candle.close, candle.volume];
        assert_eq!(
            digits.map(|one| one.to_string()),
            ["0.001", "0.0025", "0.0015", "0.002", "1000"]
        );
        assert_eq!(candle.other_volume.map(|one| one.to_string()).as_deref(), Some("1"));
        assert!(read(200, &row.replace("1672515780000", "1672515780001")).is_err());
        assert!(read(200, &row.replace("\"1000\"", "-1")).is_err());
    }

    #[test]
    fn urls_are_percent_encoded() {
        let query = |symbol| {
            let (base, to) = ("https://api.binance.com/", UnixMs(120_000));
            candles_query(ContractType::Spot, base, symbol, Interval::M1, UnixMs(60_000), to).url
        };
        let expected = "https://api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m\
                        &startTime=60000&endTime=120000&limit=2";
        assert_eq!(query("BTCUSDT"), expected);
        assert!(query("币&").contains("symbol=%E5%B8%81%26&interval"));
    }

    #[test]
    fn what_does_not_trade_is_listed_with_its_state() {
        let body = r#"{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","x":{}},
            {"symbol":"LUNAUSDT","status":"BREAK"},{"symbol":"A","contractStatus":"TRADING"},
            {"symbol":"B","status":"CANCEL_ONLY"}]}"#;
        let page = read_instruments(body.as_bytes()).unwrap();
        let states: Vec<_> = page.listed.iter().map(|one| one.halted.as_deref()).collect();
        assert_eq!(states, [None, Some("BREAK"), None, None]);
    }
}
