//! Bybit, version 5: spot, linear and inverse. Facts from bybit-exchange/docs (v5: Connect, Kline
//! over WebSocket, Get Kline, Get Instruments Info, Rate Limit, read 2026-07-24).

use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::UnixMs;
use crate::limits::SYMBOL_BYTES_MAX;
use crate::market::{Candle, ContractType, Decimal, Interval, Listed};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{JsonReader, Value};

use super::body::field_text;
use super::fields::{
    AHEAD_MS_MAX, decimal, integer, names_other, natural, natural_text, no_sense, other_asked,
    pause_if_few, push_encoded, read_rows, text, with_path,
};
use super::listed::{Each, read_page};
use super::scan::{Decoded, Guess, Key, Scanner, Source, required};
use super::words::not_now;
use super::{
    InstrumentPage, Kline, Klines, Limits, Message, Refusal, RefusalKind, RefusalScope, RestCandle,
    RestCandles, RestError, RestQuery, SubscribeOp, UNLIMITED,
};

/// What differs between the contract types.
struct Row {
    contract_type: ContractType,
    path: &'static str,
    category: &'static str,
    streams_per_message: usize,
    /// Whether the instrument list comes in pages.
    is_paged: bool,
    /// Whether `turnover` is in the quote coin.
    has_quote_volume: bool,
}

const ROWS: [Row; 3] = [
    // Connect: at most 10 args in one message.
    Row {
        contract_type: ContractType::Spot,
        path: "/v5/public/spot",
        category: "spot",
        streams_per_message: 10,
        is_paged: false,
        has_quote_volume: true,
    },
    Row {
        contract_type: ContractType::Linear,
        path: "/v5/public/linear",
        category: "linear",
        streams_per_message: 100,
        is_paged: true,
        has_quote_volume: true,
    },
    // `volume` is in USD, `turnover` in the base coin.
    Row {
        contract_type: ContractType::Inverse,
        path: "/v5/public/inverse",
        category: "inverse",
        streams_per_message: 100,
        is_paged: true,
        has_quote_volume: false,
    },
];

fn row(contract_type: ContractType) -> &'static Row {
    let row = ROWS.iter().find(|row| row.contract_type == contract_type);
    row.expect("MARKETS and ROWS name the same contract types")
}

/// Asks for a sign of life.
pub(super) const PING: &str = r#"{"op":"ping"}"#;

/// Source: Connect: 500 new sessions in 5 minutes per IP; 1,000 sessions per IP; a heartbeat every
/// 20 s; no number for messages, 20 a second are ours. Rate Limit: 600 REST requests in 5 s per IP;
/// Get Kline: 1000 rows. A tenth of the sessions and a third of the requests are left to others
/// behind the same address.
pub(super) fn limits(contract_type: ContractType) -> Limits {
    Limits {
        streams_per_session: STREAMS_PER_SESSION,
        streams_per_message: row(contract_type).streams_per_message,
        message_bytes: TOPICS_BYTES_MAX,
        messages: 20,
        messages_window: Duration::from_secs(1),
        counts_heartbeats: true,
        connects: 450,
        connects_window: Duration::from_secs(300),
        sessions: 900,
        streams: UNLIMITED,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 400,
        rest_window: Duration::from_secs(5),
        rest_rows: 1000,
    }
}

const STREAMS_PER_SESSION: usize = 270;

/// The longest topic, in its quotes and with its comma.
const TOPIC_BYTES_MAX: usize = r#""kline.720.","#.len() + SYMBOL_BYTES_MAX;
/// Source: Connect: the topics of one session have at most 21,000 characters together.
const TOPICS_BYTES_MAX: usize = 21_000;
const _: () = assert!(STREAMS_PER_SESSION * TOPIC_BYTES_MAX <= TOPICS_BYTES_MAX);

/// Each contract type has its path.
pub(super) fn endpoint(contract_type: ContractType, base: &Endpoint) -> Endpoint {
    with_path(base, row(contract_type).path)
}

/// `req_id` comes back with the answer, which names no topic but one at fault.
pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
    let op = match op {
        SubscribeOp::Subscribe => "subscribe",
        SubscribeOp::Unsubscribe => "unsubscribe",
    };
    write!(out, r#"{{"req_id":"{id}","op":"{op}","args":["#).expect("a String takes every write");
    for (index, (symbol, interval)) in symbols.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let code = code(interval);
        write!(out, r#"{comma}"kline.{code}.{symbol}""#).expect("a String takes every write");
    }
    out.push_str("]}");
}

/// Bybit's spelling of an interval: its minutes, or `D`. Seconds and 8 h are not offered: Bybit
/// refuses them.
fn code(interval: Interval) -> &'static str {
    match interval {
        Interval::M1 => "1",
        Interval::M3 => "3",
        Interval::M5 => "5",
        Interval::M15 => "15",
        Interval::M30 => "30",
        Interval::H1 => "60",
        Interval::H2 => "120",
        Interval::H4 => "240",
        Interval::H6 => "360",
        Interval::H12 => "720",
        Interval::D1 => "D",
        Interval::S1 | Interval::S10 | Interval::H8 => interval.name(),
    }
}

fn from_code(spelling: &str) -> Option<Interval> {
    match spelling {
        // What nearly every message says.
        "1" => Some(Interval::M1),
        _ => Interval::ALL.into_iter().find(|&interval| code(interval) == spelling),
    }
}

/// The interval and symbol of `kline.1.BTCUSDT`.
fn read_topic(topic: &str) -> Option<(Interval, &str)> {
    let (spelling, symbol) = topic.strip_prefix("kline.")?.split_once('.')?;
    if symbol.is_empty() { None } else { Some((from_code(spelling)?, symbol)) }
}

/// Kline push, "WebSocket / Public / Kline"; two entries where one window ends and the next begins:
///
/// ```json
/// {"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5",
/// "open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081",
/// "turnover":"34666.4005","confirm":false,"timestamp":1672324988882}],"ts":1672324988882,
/// "type":"snapshot"}
/// ```
///
/// `timestamp` and `type` are not read. Answers: `{"success":true,"ret_msg":"subscribe","conn_id":
/// "…","req_id":"1","op":"subscribe"}`; `{"success":false,"ret_msg":"error:handler not found,topic:
/// kline.1.X","conn_id":"…","req_id":"1","op":"subscribe"}`, which fails all of a message. To a
/// heartbeat: `op` stays `ping`, or is `pong`.
pub(super) fn decode<'text>(
    contract_type: ContractType,
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    let outer = Outer::read(root)?;
    if outer.topic.is_none() && outer.data.is_none() {
        return outer.answer();
    }
    let topic = read_topic(text(outer.topic)?).ok_or(DecodeErrorKind::Unknown)?;
    let event_time = UnixMs(natural(outer.ts)?);
    read_entries(contract_type, &mut required(outer.data)?, klines)?;
    name(klines, topic, event_time)?;
    Ok(Message::Klines)
}

/// The push of [`decode`], in one pass.
pub(super) fn read_push<'text>(
    contract_type: ContractType,
    text: &'text str,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    let mut scan = Scanner::new(text);
    let (mut topic, mut event_time) = (None, None);
    let is_spot = contract_type == ContractType::Spot;
    let mut fields = scan.enter_object(if is_spot { &USUAL_SPOT } else { &USUAL })?;
    while let Some(key) = scan.next_field(&mut fields)? {
        match key {
            key::TOPIC => topic = Some(scan.text()?),
            key::DATA => read_entries(contract_type, &mut scan, klines)?,
            key::EVENT_TIME => event_time = Some(scan.natural()?),
            // It is an answer.
            key::SUCCESS | key::OP => return Err(DecodeErrorKind::Unknown),
            _ => scan.skip()?,
        }
    }
    scan.end()?;
    let topic = read_topic(required(topic)?).ok_or(DecodeErrorKind::Unknown)?;
    name(klines, topic, UnixMs(required(event_time)?))
}

/// Replaces `klines` by those of `data`, which do not say whose they are.
#[inline(always)]
fn read_entries<'text>(
    contract_type: ContractType,
    data: &mut impl Source<'text>,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    klines.clear();
    let mut entries = data.enter_array()?;
    while data.next_element(&mut entries)? {
        read_entry(contract_type, data, klines)?;
    }
    Ok(())
}

/// Completes `klines`, at least one, as those of the push of `topic` that was made at `event_time`.
#[inline(always)]
fn name<'text>(
    klines: &mut Klines<'text>,
    (interval, symbol): (Interval, &'text str),
    event_time: UnixMs,
) -> Decoded<()> {
    for kline in klines.iter_mut() {
        // Of a future window: taken as closed, it would make every candle until then late.
        let is_ahead = kline.candle.open_time.0 > event_time.0 + AHEAD_MS_MAX;
        if is_ahead || kline.interval != interval {
            return Err(DecodeErrorKind::BadField);
        }
        (kline.symbol, kline.event_time) = (symbol, Some(event_time));
    }
    if klines.is_empty() { Err(DecodeErrorKind::BadField) } else { Ok(()) }
}

/// The fields of every message, as far as they are known.
#[derive(Default)]
struct Outer<'tape, 'text> {
    topic: Option<Value<'tape, 'text>>,
    data: Option<Value<'tape, 'text>>,
    ts: Option<Value<'tape, 'text>>,
    op: Option<Value<'tape, 'text>>,
    success: Option<Value<'tape, 'text>>,
    ret_msg: Option<Value<'tape, 'text>>,
    req_id: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Outer<'tape, 'text> {
    fn read(root: Value<'tape, 'text>) -> Result<Self, DecodeErrorKind> {
        let mut outer = Self::default();
        for (key, value) in root.fields().ok_or(DecodeErrorKind::Unknown)? {
            let field = match key {
                "topic" => &mut outer.topic,
                "data" => &mut outer.data,
                "ts" => &mut outer.ts,
                "op" => &mut outer.op,
                "success" => &mut outer.success,
                "ret_msg" => &mut outer.ret_msg,
                "req_id" => &mut outer.req_id,
                // `type`, `conn_id`, `args`, and whatever the exchange adds.
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(outer)
    }

    fn answer(&self) -> Result<Message<'text>, DecodeErrorKind> {
        if self.op.is_none() && self.success.is_none() {
            return Err(DecodeErrorKind::Unknown);
        }
        let op = text(self.op)?;
        if op == "pong" {
            return Ok(Message::Nothing);
        }
        let success = self.success.ok_or(DecodeErrorKind::MissingField)?.boolean();
        match (op, success.ok_or(DecodeErrorKind::BadField)?) {
            ("ping", true) => Ok(Message::Nothing),
            ("subscribe" | "unsubscribe", true) => Ok(Message::Accepted { id: self.id() }),
            ("subscribe" | "unsubscribe", false) => self.refusal(),
            _ => Err(DecodeErrorKind::Unknown),
        }
    }

    /// Ours is a number; empty or absent where the message was not ours.
    fn id(&self) -> Option<i64> {
        natural_text(self.req_id).ok()
    }

    fn refusal(&self) -> Result<Message<'text>, DecodeErrorKind> {
        let (id, message) = (self.id(), text(self.ret_msg).unwrap_or_default());
        if message.contains("already subscribed") {
            return Ok(Message::Accepted { id });
        }
        let whole = RefusalScope::Whole { id };
        let is_topic = NO_SUCH_TOPIC.iter().any(|words| message.contains(words));
        let (scope, kind) = match named_stream(message) {
            Some((interval, symbol)) if is_topic => {
                let interval = Some(interval);
                let scope = RefusalScope::WholeBecauseOf { id, symbol, interval };
                (scope, RefusalKind::UnknownSymbol)
            }
            None if is_topic => (whole, RefusalKind::UnknownSymbol),
            _ => {
                let limit = not_now(message);
                (whole, limit.map_or(RefusalKind::Other, RefusalKind::NotNow))
            }
        };
        Ok(Message::Refused(Refusal { scope, kind, code: None, message }))
    }
}

/// How Bybit says that there is no such topic; as seen, since they are not documented.
const NO_SUCH_TOPIC: [&str; 3] = ["handler not found", "Invalid symbol", "Invalid topic"];

/// Interval and symbol of the first kline topic in `error:handler not found,topic:kline.1.X` or
/// `Invalid symbol :[kline.1.X]`.
fn named_stream(message: &str) -> Option<(Interval, &str)> {
    let rest = &message[message.find("kline.")?..];
    read_topic(rest.split([' ', ',', ']', '"']).next()?)
}

/// The fields of one entry of `data` that are read.
#[derive(Default)]
struct Entry<'text> {
    start: Option<i64>,
    end: Option<i64>,
    interval: Option<&'text str>,
    open: Option<Decimal>,
    close: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
    /// Where the market has it.
    turnover: Option<Decimal>,
    confirm: Option<bool>,
}

/// Appends the candle of one entry of `data`. Whose it is stands in the topic.
#[inline(always)]
fn read_entry<'text>(
    contract_type: ContractType,
    source: &mut impl Source<'text>,
    klines: &mut Klines<'text>,
) -> Decoded<()> {
    let has_turnover = row(contract_type).has_quote_volume;
    let mut entry = Entry::default();
    let mut fields = source.enter_object(&USUAL_ENTRY)?;
    while let Some(key) = source.next_field(&mut fields)? {
        match key {
            key::START => entry.start = Some(source.natural()?),
            key::END => entry.end = Some(source.natural()?),
            key::INTERVAL => entry.interval = Some(source.text()?),
            key::OPEN => entry.open = Some(source.decimal()?),
            key::CLOSE => entry.close = Some(source.decimal()?),
            key::HIGH => entry.high = Some(source.decimal()?),
            key::LOW => entry.low = Some(source.decimal()?),
            key::VOLUME => entry.volume = Some(source.decimal()?),
            key::TURNOVER if has_turnover => entry.turnover = Some(source.decimal()?),
            key::CONFIRM => entry.confirm = Some(source.boolean()?),
            // `timestamp`, and whatever the exchange adds.
            _ => source.skip()?,
        }
    }
    let open_time = UnixMs(required(entry.start)?);
    let interval = from_code(required(entry.interval)?).ok_or(DecodeErrorKind::BadField)?;
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    if required(entry.end)? != interval.close_time(open_time).0 {
        return Err(DecodeErrorKind::BadField);
    }
    if has_turnover {
        required(entry.turnover)?;
    }
    let candle = Candle {
        open_time,
        open: required(entry.open)?,
        high: required(entry.high)?,
        low: required(entry.low)?,
        close: required(entry.close)?,
        volume: required(entry.volume)?,
        other_volume: entry.turnover,
        trades: 0,
    };
    let is_closed = Some(required(entry.confirm)?);
    let kline = Kline { symbol: "", interval, candle, is_closed, event_time: None };
    klines.try_push(kline).map_err(|_| DecodeErrorKind::BadField)
}

/// The fields of a push in the order in which they are sent.
const USUAL: [Guess; 4] = Guess::list("", ["topic", "data", "ts", "type"]);
/// The same on spot.
const USUAL_SPOT: [Guess; 4] = Guess::list("", ["type", "topic", "data", "ts"]);
/// Those of an entry of `data`.
const USUAL_ENTRY: [Guess; 11] = Guess::list(
    "",
    [
        "start",
        "end",
        "interval",
        "open",
        "close",
        "high",
        "low",
        "volume",
        "turnover",
        "confirm",
        "timestamp",
    ],
);

/// The names of the fields that are read.
mod key {
    use super::Key;

    pub(super) const SUCCESS: Key = Key::of("success");
    pub(super) const OP: Key = Key::of("op");
    pub(super) const TOPIC: Key = Key::of("topic");
    pub(super) const DATA: Key = Key::of("data");
    pub(super) const EVENT_TIME: Key = Key::of("ts");
    pub(super) const START: Key = Key::of("start");
    pub(super) const END: Key = Key::of("end");
    pub(super) const INTERVAL: Key = Key::of("interval");
    pub(super) const OPEN: Key = Key::of("open");
    pub(super) const CLOSE: Key = Key::of("close");
    pub(super) const HIGH: Key = Key::of("high");
    pub(super) const LOW: Key = Key::of("low");
    pub(super) const VOLUME: Key = Key::of("volume");
    pub(super) const TURNOVER: Key = Key::of("turnover");
    pub(super) const CONFIRM: Key = Key::of("confirm");
}

fn other_volume(
    contract_type: ContractType,
    turnover: Option<Value<'_, '_>>,
) -> Result<Option<Decimal>, DecodeErrorKind> {
    row(contract_type).has_quote_volume.then(|| decimal(turnover)).transpose()
}

/// Source: rate-limit.md, `X-Bapi-Limit-Status` (requests left) and the time of their reset in ms.
pub(super) fn rest_exhausted(
    header: &dyn Fn(&str) -> Option<i64>,
    now: UnixMs,
) -> Option<Duration> {
    pause_if_few(header("x-bapi-limit-status")?, header("x-bapi-limit-reset-timestamp")?, now)
}

/// `kline` with both times: at most [`Limits::rest_rows`] rows, the newest first.
pub(super) fn candles_query(
    contract_type: ContractType,
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    let category = row(contract_type).category;
    let base = base.trim_end_matches('/');
    let mut url = format!("{base}/v5/market/kline?category={category}&symbol=");
    push_encoded(&mut url, symbol);
    let rows = (to.0 - from.0) / interval.ms() + 1;
    let (code, from, to) = (code(interval), from.0, to.0);
    write!(url, "&interval={code}&start={from}&end={to}&limit={rows}")
        .expect("a String takes every write");
    RestQuery { url, body: None, headers: &[] }
}

/// `{"retCode":0,"retMsg":"OK","result":{"list":[["start","open","high","low","close","volume",
/// "turnover"],…]},"time":1672025956592}`, without a flag. 10001 says that a parameter is wrong,
/// and its words which one; 10006: too many requests. HTTP 403 that [`is_limit`]: the address is
/// shut out for too many requests.
pub(super) fn read_candles(
    contract_type: ContractType,
    json: &mut JsonReader,
    response: &RestResponse,
    (symbol, interval): (&str, Interval),
) -> Result<RestCandles, RestError> {
    let named = [("symbol", symbol), ("category", row(contract_type).category)];
    let read = json.read(&response.body, |root| {
        let answer = Answer::read(root)?;
        let (code, message) = (integer(answer.code).ok()?, text(answer.message).ok()?);
        Some(match (code, response.status) {
            (0, 200) if answer.result.is_some_and(|result| names_other(result, &named)) => {
                Err(other_asked((symbol, interval)))
            }
            (0, 200) => {
                let read = |cells| read_row(contract_type, cells, interval);
                let rows = read_rows(answer.list()?.elements()?, interval, 1, read);
                let server_time = natural(answer.time).ok().map(UnixMs);
                rows.map(|rows| RestCandles { server_time, ..rows })
            }
            (10_006, _) => Err(RestError::TooFast { wait: None }),
            (10_001, _) if message.to_ascii_lowercase().contains("symbol") => {
                Err(RestError::UnknownSymbol { message: message.to_owned() })
            }
            _ => Err(RestError::Failed { message: format!("{message} ({code})") }),
        })
    });
    read.ok().flatten().unwrap_or_else(|| Err(no_sense(response, "no klines")))
}

/// Returns whether the body of an HTTP 403 says that we asked too often. The page of the content
/// network for a country that is shut out does not, nor does 10024, a country's rules.
pub(super) fn is_limit(body: &[u8]) -> bool {
    let words = String::from_utf8_lossy(&body[..body.len().min(LIMIT_WORDS_BYTES)]).to_lowercase();
    let code = field_text(body, "retCode");
    words.contains("too frequent") || code.is_some_and(|code| code != REGULATED)
}

/// Source: V5, "Error Codes": not available because of regulatory restrictions.
const REGULATED: &str = "10024";

/// The words are looked for in as much of a body.
const LIMIT_WORDS_BYTES: usize = 4 * 1024;

/// Source: Rate Limit: after HTTP 403 wait at least 10 minutes.
pub(super) const SHUT_OUT: Duration = Duration::from_secs(600);

/// The fields of a REST answer that are read.
#[derive(Default)]
struct Answer<'tape, 'text> {
    code: Option<Value<'tape, 'text>>,
    message: Option<Value<'tape, 'text>>,
    result: Option<Value<'tape, 'text>>,
    time: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Answer<'tape, 'text> {
    fn read(root: Value<'tape, 'text>) -> Option<Self> {
        let mut answer = Self::default();
        for (key, value) in root.fields()? {
            match key {
                "retCode" => answer.code = Some(value),
                "retMsg" => answer.message = Some(value),
                "time" => answer.time = Some(value),
                "result" => answer.result = Some(value),
                // `retExtInfo`, and whatever the exchange adds.
                _ => continue,
            }
        }
        Some(answer)
    }

    fn list(&self) -> Option<Value<'tape, 'text>> {
        let list = self.result?.fields()?.find(|(key, _)| *key == "list");
        list.map(|(_, list)| list)
    }
}

fn read_row(
    contract_type: ContractType,
    cells: Value<'_, '_>,
    interval: Interval,
) -> Result<RestCandle, DecodeErrorKind> {
    let mut cells = cells.elements().ok_or(DecodeErrorKind::BadField)?;
    let open_time = UnixMs(natural_text(cells.next())?);
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    let (open, high) = (decimal(cells.next())?, decimal(cells.next())?);
    let (low, close) = (decimal(cells.next())?, decimal(cells.next())?);
    let volume = decimal(cells.next())?;
    let turnover = cells.next().ok_or(DecodeErrorKind::MissingField)?;
    let other_volume = other_volume(contract_type, Some(turnover))?;
    let candle = Candle { open_time, open, high, low, close, volume, other_volume, trades: 0 };
    Ok(RestCandle { candle, is_closed: None })
}

/// `instruments-info`; `page` is the cursor that the page before gave.
pub(super) fn instruments_query(
    contract_type: ContractType,
    base: &str,
    page: Option<&str>,
) -> RestQuery {
    let row = row(contract_type);
    let (base, category) = (base.trim_end_matches('/'), row.category);
    let mut url = format!("{base}/v5/market/instruments-info?category={category}");
    if row.is_paged {
        url.push_str("&limit=1000");
    }
    if let Some(cursor) = page {
        url.push_str("&cursor=");
        push_cursor(&mut url, cursor);
    }
    RestQuery { url, body: None, headers: &[] }
}

/// Cursors come percent-encoded, and are given back as they came.
fn push_cursor(url: &mut String, cursor: &str) {
    for (index, part) in cursor.split('%').enumerate() {
        let is_encoded = part.len() >= 2 && part.bytes().take(2).all(|c| c.is_ascii_hexdigit());
        url.push_str(match (index, is_encoded) {
            (0, _) => "",
            (_, true) => "%",
            (_, false) => "%25",
        });
        push_encoded(url, part);
    }
}

/// The fields of instruments-info that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstrumentsInfo {
    ret_code: i64,
    #[serde(default)]
    ret_msg: String,
    result: Option<InstrumentsResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstrumentsResult {
    category: Option<String>,
    #[serde(default)]
    list: Each<InstrumentInfo>,
    next_page_cursor: Option<String>,
}

#[derive(Deserialize)]
struct InstrumentInfo {
    symbol: String,
    status: String,
}

/// `list[].status` is `Trading`, or why not (`Delivering`, `Closed`, …). Contracts in `PreLaunch`
/// trade already, and are not in the list unless it is asked for them: what is not listed is tried.
pub(super) fn read_instruments(
    contract_type: ContractType,
    body: impl Read,
) -> Result<InstrumentPage, String> {
    let info: InstrumentsInfo = read_page(body)?;
    let Some(result) = info.result.filter(|_| info.ret_code == 0) else {
        return Err(format!("{} ({})", info.ret_msg, info.ret_code));
    };
    let row = row(contract_type);
    if let Some(category) = result.category.filter(|category| category != row.category) {
        return Err(format!("the list of {category}, not of {}", row.category));
    }
    let cursor = result.next_page_cursor.filter(|cursor| row.is_paged && !cursor.is_empty());
    let next = cursor.filter(|_| !result.list.0.is_empty());
    let listed = result.list.0.into_iter().map(|one| Listed {
        symbol: one.symbol,
        halted: Some(one.status).filter(|it| !matches!(it.as_str(), "Trading" | "PreLaunch")),
        known_as: None,
        contract_size: None,
    });
    Ok(InstrumentPage { listed: listed.collect(), next, ..InstrumentPage::default() })
}

#[cfg(test)]
mod tests;
