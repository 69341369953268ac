//! Gate: spot, um (settled in USDT) and cm (settled in BTC). Facts from Gate's "Spot WebSocket v4",
//! "Futures WebSocket v4" (2026) and the REST pages SpotApi and FuturesApi, read 2026-09.

use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::UnixMs;
use crate::market::{Candle, ContractType, Decimal, Interval, Listed};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{Fields, JsonReader, Value};

use super::fields::{
    AHEAD_MS_MAX, decimal, decimal_or_number, names_other, natural, natural_text, no_sense,
    other_asked, pause_if_few, push_encoded, read_rows, seconds, text, with_path,
};
use super::listed::{Each, read_page};
use super::scan::{Decoded, Guess, Key, Scanner, Source, required};
use super::words::not_now;
use super::{
    Headers, InstrumentPage, Kline, Klines, Limits, Message, NotNow, Refusal, RefusalKind,
    RefusalScope, RestCandle, RestCandles, RestError, RestQuery, SubscribeOp, UNLIMITED,
};

/// Volumes with their decimals, on sockets and over REST; without it fractions of contracts are cut
/// off. Source: `X-Gate-Size-Decimal`, since 2025-12.
pub(super) const HEADERS: Headers = &[("x-gate-size-decimal", "1")];

/// What differs between the contract types.
struct Row {
    contract_type: ContractType,
    ws_path: &'static str,
    channel: &'static str,
    ping: &'static str,
    pong: &'static str,
    system: &'static str,
    /// Path and the name of the parameter that takes the symbol.
    candles: (&'static str, &'static str),
    instruments_path: &'static str,
    rest_rows: usize,
}

impl Row {
    fn is_spot(&self) -> bool {
        self.contract_type == ContractType::Spot
    }
}

const ROWS: [Row; 3] = [
    Row {
        contract_type: ContractType::Spot,
        ws_path: "/ws/v4/",
        channel: "spot.candlesticks",
        ping: "spot.ping",
        pong: "spot.pong",
        system: "spot.system",
        candles: ("/api/v4/spot/candlesticks", "currency_pair"),
        instruments_path: "/api/v4/spot/currency_pairs",
        rest_rows: 1000,
    },
    Row {
        contract_type: ContractType::Um,
        ws_path: "/v4/ws/usdt",
        channel: "futures.candlesticks",
        ping: "futures.ping",
        pong: "futures.pong",
        system: "futures.system",
        candles: ("/api/v4/futures/usdt/candlesticks", "contract"),
        instruments_path: "/api/v4/futures/usdt/contracts",
        rest_rows: 1999,
    },
    Row {
        contract_type: ContractType::Cm,
        ws_path: "/v4/ws/btc",
        channel: "futures.candlesticks",
        ping: "futures.ping",
        pong: "futures.pong",
        system: "futures.system",
        candles: ("/api/v4/futures/btc/candlesticks", "contract"),
        instruments_path: "/api/v4/futures/btc/contracts",
        rest_rows: 1999,
    },
];

fn row(contract_type: ContractType) -> &'static Row {
    let row = ROWS.iter().find(|row| row.contract_type == contract_type);
    row.expect("MARKETS and ROWS name the same contract types")
}

/// Source: API v4 introduction: 300 connections per IP, 200 public REST requests in 10 s per
/// endpoint and IP. No number for subscriptions, messages or new connections: 150 streams in one
/// burst were accepted (probe, 2026-09), so 150 a session, 50 messages a second and 10 new sessions
/// a second are ours. A socket without a frame of the client was closed after 30 s (same probe).
/// REST rows: 1,000 on spot; 2,000 on futures (others got 1,999). A quarter is left to others.
pub(super) fn limits(contract_type: ContractType) -> Limits {
    Limits {
        streams_per_session: 150,
        streams_per_message: 1,
        message_bytes: UNLIMITED,
        messages: 50,
        messages_window: Duration::from_secs(1),
        counts_heartbeats: true,
        connects: 10,
        connects_window: Duration::from_secs(1),
        sessions: 225,
        streams: UNLIMITED,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 150,
        rest_window: Duration::from_secs(10),
        rest_rows: row(contract_type).rest_rows,
    }
}

pub(super) fn endpoint(contract_type: ContractType, base: &Endpoint) -> Endpoint {
    with_path(base, row(contract_type).ws_path)
}

/// One symbol a message, the interval before it.
pub(super) fn write_subscribe<'a>(
    contract_type: ContractType,
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
    now: UnixMs,
) {
    out.clear();
    let event = match op {
        SubscribeOp::Subscribe => "subscribe",
        SubscribeOp::Unsubscribe => "unsubscribe",
    };
    let (channel, time) = (row(contract_type).channel, seconds(now));
    for (symbol, interval) in symbols.take(1) {
        let interval = interval.name();
        write!(
            out,
            r#"{{"time":{time},"id":{id},"channel":"{channel}","event":"{event}","payload":["{interval}","{symbol}"]}}"#
        )
        .expect("a String takes every write");
    }
}

/// Spot push, "Candlesticks channel", one candle, times as text:
///
/// ```json
/// {"time":1606292600,"time_ms":1606292600376,"channel":"spot.candlesticks","event":"update",
/// "result":{"t":"1606292580","v":"2362.32035","c":"19128.1","h":"19128.1","l":"19128.1",
/// "o":"19128.1","n":"1m_BTC_USDT","a":"3.8283","w":true}}
/// ```
///
/// Futures: `result` is an array, `t` a number, `v` contracts, as a number or as text; in 2026 it
/// comes last, behind `"a":"…","n":"…","w":…`. `w` may be missing, and so may `time_ms`, and in
/// older pushes `a`, the amount in the base asset.
///
/// Acknowledgement: `"event":"subscribe","result":{"status":"success"}`; refusal: an `error` object
/// whose words name the symbol last.
pub(super) fn decode<'text>(
    contract_type: ContractType,
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    let row = row(contract_type);
    let outer = Outer::read(root.fields().ok_or(DecodeErrorKind::Unknown)?);
    let channel = text(outer.channel)?;
    match outer.event.and_then(Value::text) {
        Some("update") if channel == row.channel => return outer.klines(row, klines),
        // Whatever the channel: which of ours is answered, tells the id.
        Some("subscribe" | "unsubscribe") => return outer.answer(),
        _ => {}
    }
    if channel == row.pong {
        return Ok(Message::Nothing);
    }
    if channel == row.system {
        let fields = outer.result.and_then(Value::fields).ok_or(DecodeErrorKind::MissingField)?;
        let kind = fields.into_iter().find(|(key, _)| *key == "type");
        return match text(kind.map(|(_, value)| value))? {
            "upgrade" => Ok(Message::ShutdownNotice),
            _ => Err(DecodeErrorKind::Unknown),
        };
    }
    // What is no JSON for it is answered without a channel.
    if outer.error().is_some() { outer.answer() } else { Err(DecodeErrorKind::Unknown) }
}

/// The push of [`decode`], in one pass.
pub(super) fn read_push<'text>(
    contract_type: ContractType,
    text: &'text str,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    let row = row(contract_type);
    let mut scan = Scanner::new(text);
    let (mut time, mut time_ms) = (None, None);
    let (mut is_ours, mut is_update) = (false, false);
    let mut fields = scan.enter_object(&USUAL)?;
    while let Some(key) = scan.next_field(&mut fields)? {
        match key {
            key::TIME => time = Some(scan.natural()?),
            key::TIME_MS => time_ms = Some(scan.natural()?),
            key::CHANNEL => is_ours = scan.text()? == row.channel,
            key::EVENT => is_update = scan.text()? == "update",
            key::RESULT => read_result(row, &mut scan, klines)?,
            _ => scan.skip()?,
        }
    }
    scan.end()?;
    if !is_ours || !is_update {
        return Err(DecodeErrorKind::Unknown);
    }
    push_at(klines, event_time(required(time)?, time_ms))
}

/// Replaces `klines` by those of `result`: on spot one, else an array.
#[inline(always)]
fn read_result<'text>(
    row: &Row,
    result: &mut impl Source<'text>,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    klines.clear();
    if row.is_spot() {
        return read_entry(row, result, klines);
    }
    let mut entries = result.enter_array()?;
    while result.next_element(&mut entries)? {
        read_entry(row, result, klines)?;
    }
    Ok(())
}

/// Completes `klines`, at least one, as those of a push that was made at `event_time`.
#[inline(always)]
fn push_at(klines: &mut Klines<'_>, event_time: UnixMs) -> Decoded<()> {
    for kline in klines.iter_mut() {
        if kline.candle.open_time.0 > event_time.0 + AHEAD_MS_MAX + ENVELOPE_LAG_MS {
            return Err(DecodeErrorKind::BadField);
        }
        kline.event_time = Some(event_time);
    }
    // Their order is not documented; a candle comes before the one that follows it.
    klines.sort_by_key(|kline| kline.candle.open_time);
    if klines.is_empty() { Err(DecodeErrorKind::MissingField) } else { Ok(()) }
}

/// When a message was made: to the ms where the exchange says it, else to the second.
#[inline(always)]
fn event_time(time: i64, time_ms: Option<i64>) -> UnixMs {
    UnixMs(time_ms.filter(|&time| time > 0).unwrap_or(time * 1000))
}

/// Source: "Spot WebSocket v4", error codes: 3 is a fault on the exchange's side.
const SERVICE_ERROR: i64 = 3;

/// The fields of every message, as far as they are known.
#[derive(Default)]
struct Outer<'tape, 'text> {
    time: Option<Value<'tape, 'text>>,
    time_ms: Option<Value<'tape, 'text>>,
    id: Option<Value<'tape, 'text>>,
    channel: Option<Value<'tape, 'text>>,
    event: Option<Value<'tape, 'text>>,
    error: Option<Value<'tape, 'text>>,
    result: Option<Value<'tape, 'text>>,
    payload: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Outer<'tape, 'text> {
    fn read(fields: Fields<'tape, 'text>) -> Self {
        let mut outer = Self::default();
        for (key, value) in fields {
            let field = match key {
                "time" => &mut outer.time,
                "time_ms" => &mut outer.time_ms,
                "id" => &mut outer.id,
                "channel" => &mut outer.channel,
                "event" => &mut outer.event,
                "error" => &mut outer.error,
                "result" => &mut outer.result,
                "payload" => &mut outer.payload,
                // `conn_id`, `trace_id`, and whatever the exchange adds.
                _ => continue,
            };
            *field = Some(value);
        }
        outer
    }

    fn error(&self) -> Option<Value<'tape, 'text>> {
        self.error.filter(|error| !error.is_null())
    }

    fn answer(&self) -> Result<Message<'text>, DecodeErrorKind> {
        let id = self.id.and_then(Value::integer);
        let Some(error) = self.error() else {
            let fields = self.result.ok_or(DecodeErrorKind::MissingField)?.fields();
            let mut fields = fields.ok_or(DecodeErrorKind::BadField)?;
            let status = fields.find(|(key, _)| *key == "status").map(|(_, value)| value);
            return match text(status)? {
                "success" => Ok(self.accepted(id)),
                _ => Err(DecodeErrorKind::BadField),
            };
        };
        let (mut code, mut message) = (None, error.text());
        for (key, value) in error.fields().into_iter().flatten() {
            match key {
                "code" => code = value.integer(),
                "message" => message = value.text(),
                _ => {}
            }
        }
        let message = message.unwrap_or_default();
        if message.starts_with("Alert sub ") {
            // It is subscribed already.
            return Ok(self.accepted(id));
        }
        let unknown = ["unknown currency pair: ", "unknown contract "];
        let symbol = unknown.iter().find_map(|words| message.strip_prefix(words));
        let kind = match (code, symbol) {
            (_, Some(_)) => RefusalKind::UnknownSymbol,
            (Some(SERVICE_ERROR), _) => RefusalKind::NotNow(NotNow::Session),
            _ => not_now(message).map_or(RefusalKind::Other, RefusalKind::NotNow),
        };
        let by_payload = self.stream().map(|(interval, symbol)| (symbol, Some(interval)));
        let named = by_payload.or(symbol.map(|symbol| (symbol, None)));
        let scope = match named {
            Some((symbol, interval)) if id.is_none() => RefusalScope::One { symbol, interval },
            Some((symbol, interval)) => RefusalScope::WholeBecauseOf { id, symbol, interval },
            None => RefusalScope::Whole { id },
        };
        Ok(Message::Refused(Refusal { scope, kind, code, message }))
    }

    /// What was accepted: the message with our id; without one, what the payload repeats.
    fn accepted(&self, id: Option<i64>) -> Message<'text> {
        let op = match self.event.and_then(Value::text) {
            Some("unsubscribe") => SubscribeOp::Unsubscribe,
            _ => SubscribeOp::Subscribe,
        };
        match self.stream().filter(|_| id.is_none()) {
            Some((interval, symbol)) => Message::AcceptedOne { op, symbol, interval },
            None => Message::Accepted { id },
        }
    }

    /// Interval and symbol of a payload that is repeated: `["1m","BTC_USDT"]`, or, as seen in a
    /// refusal, `["1m_BTC_USDT"]`.
    fn stream(&self) -> Option<(Interval, &'text str)> {
        let mut parts = self.payload?.elements()?.filter_map(Value::text);
        let first = parts.next()?;
        let (interval, symbol) = match parts.next() {
            Some(symbol) => (first, symbol),
            None => first.split_once('_')?,
        };
        Some((Interval::from_name(interval)?, symbol))
    }

    fn klines(
        &self,
        row: &Row,
        klines: &mut Klines<'text>,
    ) -> Result<Message<'text>, DecodeErrorKind> {
        let time_ms = self.time_ms.map(|time| natural(Some(time))).transpose()?;
        let event_time = event_time(natural(self.time)?, time_ms);
        read_result(row, &mut required(self.result)?, klines)?;
        push_at(klines, event_time)?;
        Ok(Message::Klines)
    }
}

/// The fields of one candle that are read.
#[derive(Default)]
struct Entry<'text> {
    /// In s.
    open_time: Option<i64>,
    volume: Option<Decimal>,
    /// In the base asset.
    amount: Option<Decimal>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    close: Option<Decimal>,
    /// Interval and symbol.
    name: Option<&'text str>,
    is_closed: Option<bool>,
}

/// Appends one candle.
#[inline(always)]
fn read_entry<'text>(
    row: &Row,
    source: &mut impl Source<'text>,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    let is_spot = row.is_spot();
    let mut entry = Entry::default();
    let usual = if is_spot { &USUAL_SPOT[..] } else { &USUAL_CONTRACT };
    let mut fields = source.enter_object(usual)?;
    while let Some(key) = source.next_field(&mut fields)? {
        match key {
            key::OPEN_TIME if is_spot => entry.open_time = Some(source.natural_text()?),
            key::OPEN_TIME => entry.open_time = Some(source.natural()?),
            key::VOLUME if is_spot => entry.volume = Some(source.decimal()?),
            // Contracts.
            key::VOLUME => entry.volume = Some(source.decimal_or_number()?),
            key::AMOUNT => entry.amount = Some(source.decimal()?),
            key::OPEN => entry.open = Some(source.decimal()?),
            key::HIGH => entry.high = Some(source.decimal()?),
            key::LOW => entry.low = Some(source.decimal()?),
            key::CLOSE => entry.close = Some(source.decimal()?),
            key::NAME => entry.name = Some(source.text()?),
            key::IS_CLOSED => entry.is_closed = Some(source.boolean()?),
            // Whatever the exchange adds.
            _ => source.skip()?,
        }
    }
    let name = required(entry.name)?.split_once('_');
    let (interval, symbol) = name.ok_or(DecodeErrorKind::BadField)?;
    let interval = Interval::from_name(interval).ok_or(DecodeErrorKind::Unknown)?;
    let open_time = UnixMs(required(entry.open_time)? * 1000);
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    if symbol.is_empty() {
        return Err(DecodeErrorKind::BadField);
    }
    let candle = Candle {
        open_time,
        open: required(entry.open)?,
        high: required(entry.high)?,
        low: required(entry.low)?,
        close: required(entry.close)?,
        volume: required(entry.volume)?,
        other_volume: entry.amount,
        trades: 0,
    };
    let is_closed = entry.is_closed;
    let kline = Kline { symbol, interval, candle, is_closed, event_time: None };
    klines.try_push(kline).map_err(|_| DecodeErrorKind::BadField)
}

/// The fields of a push in the order in which they are sent.
const USUAL: [Guess; 5] = Guess::list("", ["time", "time_ms", "channel", "event", "result"]);
/// Those of its candle on spot.
const USUAL_SPOT: [Guess; 9] = Guess::list("", ["t", "v", "c", "h", "l", "o", "n", "a", "w"]);
/// The same of a contract.
const USUAL_CONTRACT: [Guess; 9] = Guess::list("", ["t", "c", "h", "l", "o", "a", "n", "w", "v"]);

/// The names of the fields that are read.
mod key {
    use super::Key;

    pub(super) const TIME: Key = Key::of("time");
    pub(super) const TIME_MS: Key = Key::of("time_ms");
    pub(super) const CHANNEL: Key = Key::of("channel");
    pub(super) const EVENT: Key = Key::of("event");
    pub(super) const RESULT: Key = Key::of("result");
    pub(super) const OPEN_TIME: Key = Key::of("t");
    pub(super) const VOLUME: Key = Key::of("v");
    pub(super) const AMOUNT: Key = Key::of("a");
    pub(super) const OPEN: Key = Key::of("o");
    pub(super) const HIGH: Key = Key::of("h");
    pub(super) const LOW: Key = Key::of("l");
    pub(super) const CLOSE: Key = Key::of("c");
    pub(super) const NAME: Key = Key::of("n");
    pub(super) const IS_CLOSED: Key = Key::of("w");
}

pub(super) fn write_ping(contract_type: ContractType, out: &mut String, now: UnixMs) {
    let (time, channel) = (seconds(now), row(contract_type).ping);
    write!(out, r#"{{"time":{time},"channel":"{channel}"}}"#).expect("a String takes every write");
}

/// Source: API v4, "Rate limits": requests left, and the time of their reset in s.
pub(super) fn rest_exhausted(
    header: &dyn Fn(&str) -> Option<i64>,
    now: UnixMs,
) -> Option<Duration> {
    let reset = header("x-gate-ratelimit-reset-timestamp")?.saturating_mul(1000);
    pause_if_few(header("x-gate-ratelimit-requests-remain")?, reset, now)
}

/// `from` and `to` in seconds, both included; `limit` beside them is refused.
pub(super) fn candles_query(
    contract_type: ContractType,
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    let (path, parameter) = row(contract_type).candles;
    let mut url = format!("{}{path}?{parameter}=", base.trim_end_matches('/'));
    push_encoded(&mut url, symbol);
    let (interval, from, to) = (interval.name(), seconds(from), seconds(to));
    write!(url, "&interval={interval}&from={from}&to={to}").expect("a String takes every write");
    RestQuery { url, body: None, headers: HEADERS }
}

/// Spot: rows `["t","quote volume","c","h","l","o","base volume","closed"]`, the last one missing
/// before 2023. Futures: objects as pushed, without flag and amount; their `sum` is turnover that
/// pushes do not have, so it is not read. Errors: HTTP 4xx with `{"label":"…","message":"…"}`.
pub(super) fn read_candles(
    contract_type: ContractType,
    json: &mut JsonReader,
    response: &RestResponse,
    (symbol, interval): (&str, Interval),
) -> Result<RestCandles, RestError> {
    let row = row(contract_type);
    let name = format!("{}_{symbol}", interval.name());
    let read = json.read(&response.body, |root| {
        if response.status == 200 {
            if root.elements()?.any(|row| names_other(row, &[("n", &name)])) {
                return Some(Err(other_asked((symbol, interval))));
            }
            let read = |cells| match row.is_spot() {
                true => read_spot_row(cells, interval),
                false => read_futures_row(cells, interval),
            };
            return Some(read_rows(root.elements()?, interval, 1000, read));
        }
        let (mut label, mut message) = (None, None);
        for (key, value) in root.fields()? {
            match key {
                "label" => label = value.text(),
                "message" => message = value.text(),
                _ => {}
            }
        }
        let (label, message) = (label?, message.unwrap_or("").to_owned());
        Some(Err(match label {
            "INVALID_CURRENCY_PAIR" | "INVALID_CURRENCY" | "CONTRACT_NOT_FOUND" => {
                RestError::UnknownSymbol { message: format!("{label}: {message}") }
            }
            "TOO_MANY_REQUESTS" => RestError::TooFast { wait: None },
            _ => RestError::Failed { message: format!("{label}: {message}") },
        }))
    });
    read.ok().flatten().unwrap_or_else(|| Err(no_sense(response, "no candlesticks")))
}

fn read_spot_row(cells: Value<'_, '_>, interval: Interval) -> Result<RestCandle, DecodeErrorKind> {
    let mut cells = cells.elements().ok_or(DecodeErrorKind::BadField)?;
    let open_time = aligned(natural_text(cells.next())?, interval)?;
    let volume = decimal(cells.next())?;
    let (close, high) = (decimal(cells.next())?, decimal(cells.next())?);
    let (low, open) = (decimal(cells.next())?, decimal(cells.next())?);
    let other_volume = Some(decimal(cells.next())?);
    let is_closed = match cells.next() {
        Some(flag) => match text(Some(flag))? {
            "true" => Some(true),
            "false" => Some(false),
            _ => return Err(DecodeErrorKind::BadField),
        },
        None => None,
    };
    let candle = Candle { open_time, open, high, low, close, volume, other_volume, trades: 0 };
    Ok(RestCandle { candle, is_closed })
}

fn read_futures_row(
    object: Value<'_, '_>,
    interval: Interval,
) -> Result<RestCandle, DecodeErrorKind> {
    let (mut t, mut v, mut o, mut h, mut l, mut c) = (None, None, None, None, None, None);
    let mut a = None;
    for (key, value) in object.fields().ok_or(DecodeErrorKind::BadField)? {
        let field = match key {
            "t" => &mut t,
            "v" => &mut v,
            "o" => &mut o,
            "h" => &mut h,
            "l" => &mut l,
            "c" => &mut c,
            "a" => &mut a,
            _ => continue,
        };
        *field = Some(value);
    }
    let candle = Candle {
        open_time: aligned(natural(t)?, interval)?,
        open: decimal(o)?,
        high: decimal(h)?,
        low: decimal(l)?,
        close: decimal(c)?,
        volume: decimal_or_number(v)?,
        other_volume: a.map(|amount| decimal(Some(amount))).transpose()?,
        trades: 0,
    };
    Ok(RestCandle { candle, is_closed: None })
}

fn aligned(open_seconds: i64, interval: Interval) -> Result<UnixMs, DecodeErrorKind> {
    let open_time = UnixMs(open_seconds * 1000);
    if interval.is_aligned(open_time) { Ok(open_time) } else { Err(DecodeErrorKind::Misaligned) }
}

/// The whole list in one answer.
pub(super) fn instruments_query(contract_type: ContractType, base: &str) -> RestQuery {
    let path = row(contract_type).instruments_path;
    let url = format!("{}{path}", base.trim_end_matches('/'));
    RestQuery { url, body: None, headers: &[] }
}

/// The fields of `currency_pairs` and `contracts` that are read.
#[derive(Deserialize)]
struct Instrument {
    /// Spot's name.
    id: Option<String>,
    /// A contract's name.
    name: Option<String>,
    /// How much of the base asset one contract is; 0 of one that is counted in the quote asset.
    quanto_multiplier: Option<serde_json::Value>,
    trade_status: Option<String>,
    /// Newer contracts have it.
    status: Option<String>,
}

/// What `trade_status` and `status` say of an instrument that may trade. One that can only be sold
/// or only be bought trades; a contract `in_delisting` trades until it is delisted.
const MAY_TRADE: [&str; 5] = ["tradable", "sellable", "buyable", "trading", "delisting"];

/// An instrument trades if its state is in [`MAY_TRADE`], or if it has none.
pub(super) fn read_instruments(
    contract_type: ContractType,
    body: impl Read,
) -> Result<InstrumentPage, String> {
    let Each::<Instrument>(instruments) = read_page(body)?;
    let is_spot = row(contract_type).is_spot();
    let listed = instruments.into_iter().filter_map(|one| {
        let symbol = if is_spot { one.id } else { one.name }?;
        let state = if is_spot { one.trade_status } else { one.status };
        let halted = state.filter(|state| !MAY_TRADE.contains(&state.as_str()));
        let contract_size =
            one.quanto_multiplier.and_then(|size| size.as_str()?.parse::<Decimal>().ok());
        let contract_size = contract_size.filter(|size| !size.is_zero() && !size.is_negative());
        Some(Listed { contract_size, halted, ..Listed::new(symbol) })
    });
    Ok(InstrumentPage { listed: listed.collect(), ..InstrumentPage::default() })
}

/// Envelopes up to 40 s older than their content were seen on quiet books.
const ENVELOPE_LAG_MS: i64 = 60_000;

#[cfg(test)]
mod tests;
