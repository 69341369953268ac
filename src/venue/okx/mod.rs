//! OKX: spot, swap and futures. Facts from the API v5 documentation ("WebSocket / Candlesticks
//! channel", "Get candlesticks", "Get instruments", "Error code", read 2026-09-15).
//!
//! One session carries all instrument types: what differs is only what a symbol looks like and what
//! its volume counts.

use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

use arrayvec::ArrayVec;
use serde::Deserialize;

use crate::clock::UnixMs;
use crate::limits::SYMBOL_BYTES_MAX;
use crate::market::{Candle, ContractType, Interval, Listed};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{JsonReader, Value};

use super::fields::{
    decimal, integer, natural_text, no_sense, push_encoded, read_rows, text, with_path,
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
    /// The word for it in the instrument list.
    inst_type: &'static str,
    /// Whether `volCcy` is turnover in the quote currency; else it is the quantity in the base
    /// currency, and `vol` counts contracts.
    is_ccy_quote: bool,
}

const ROWS: [Row; 3] = [
    Row { contract_type: ContractType::Spot, inst_type: "SPOT", is_ccy_quote: true },
    Row { contract_type: ContractType::Swap, inst_type: "SWAP", is_ccy_quote: false },
    Row { contract_type: ContractType::Futures, inst_type: "FUTURES", is_ccy_quote: false },
];

fn row(contract_type: ContractType) -> &'static Row {
    let row = ROWS.iter().find(|row| row.contract_type == contract_type);
    row.expect("MARKETS and ROWS name the same contract types")
}

/// Asks for [`PONG`]. Frames of type ping are not answered by all of OKX's servers.
pub(super) const PING: &str = "ping";
/// The answer to [`PING`]: no JSON.
pub(super) const PONG: &str = "pong";

/// Source: "WebSocket / Overview": 3 new sessions a second per IP; 480 subscribe and unsubscribe
/// messages an hour on each session, each of any number of streams, heartbeats apart; cut after 30
/// s without a push. How many streams one session may have is not published (close codes 4008 and
/// 4009 tell that there is a number): 240 is below what others are seen to use.
///
/// REST: 40 candle requests in 2 s per IP, of at most 300 rows (older text: 100); a quarter is left
/// to others behind the same address.
pub(super) fn limits() -> Limits {
    Limits {
        streams_per_session: 240,
        streams_per_message: STREAMS_PER_MESSAGE,
        message_bytes: ARGS_BYTES_MAX,
        messages: 470,
        messages_window: Duration::from_secs(3600),
        counts_heartbeats: false,
        connects: 2,
        connects_window: Duration::from_millis(2200),
        sessions: UNLIMITED,
        streams: UNLIMITED,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 30,
        rest_window: Duration::from_secs(2),
        rest_rows: 100,
    }
}

const STREAMS_PER_MESSAGE: usize = 100;

/// The longest stream of a subscribe message, its comma included.
const ARG_BYTES_MAX: usize = r#"{"channel":"candle12Hutc","instId":""},"#.len() + SYMBOL_BYTES_MAX;
/// Source: "WebSocket / Subscribe": the streams of one message have at most 64 KB.
const ARGS_BYTES_MAX: usize = 64_000;
const _: () = assert!(STREAMS_PER_MESSAGE * ARG_BYTES_MAX <= ARGS_BYTES_MAX);

/// Candles are on `/business` only; `/public` refuses them with code 60018.
pub(super) fn endpoint(base: &Endpoint) -> Endpoint {
    with_path(base, "/ws/v5/business")
}

/// Without an id: acknowledgements and errors name the stream.
pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
    out.push_str(match op {
        SubscribeOp::Subscribe => r#"{"op":"subscribe","args":["#,
        SubscribeOp::Unsubscribe => r#"{"op":"unsubscribe","args":["#,
    });
    for (index, (symbol, interval)) in symbols.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let bar = bar(interval);
        write!(out, r#"{comma}{{"channel":"candle{bar}","instId":"{symbol}"}}"#)
            .expect("a String takes every write");
    }
    out.push_str("]}");
}

/// OKX's spelling of an interval. Windows of six hours and more open at UTC+8 unless they say
/// `utc`; shorter ones divide eight hours. 10 s and 8 h are not offered: OKX refuses them.
fn bar(interval: Interval) -> &'static str {
    match interval {
        Interval::H1 => "1H",
        Interval::H2 => "2H",
        Interval::H4 => "4H",
        Interval::H6 => "6Hutc",
        Interval::H12 => "12Hutc",
        Interval::D1 => "1Dutc",
        Interval::S1 | Interval::M1 | Interval::M3 | Interval::M5 => interval.name(),
        Interval::M15 | Interval::M30 => interval.name(),
        Interval::S10 | Interval::H8 => interval.name(),
    }
}

/// The interval of a candle channel whose windows can be read; that of another channel is `None`.
fn channel_interval(channel: &str) -> Option<Interval> {
    match channel.strip_prefix("candle")? {
        // What nearly every message says.
        "1m" => Some(Interval::M1),
        spelling => Interval::ALL.into_iter().find(|&interval| bar(interval) == spelling),
    }
}

/// Candle push, "WS / Candlesticks channel":
///
/// ```json
/// {"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1597026360000","8533.02","8553.74",
/// "8527.17","8548.26","45247.5","529585806.1","529585806.1","0"]]}
/// ```
///
/// A row is `[ts,open,high,low,close,vol,volCcy,volCcyQuote,confirm]`. Each stream is answered by
/// itself: `{"event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"},"connId":"…"}` or
/// `{"event":"error","code":"60018","msg":"… channel:candle1m,instId:X-Y doesn't exist. …"}`.
/// Before an upgrade: `{"event":"notice","code":"64008","msg":"The connection will soon be closed
/// …"}`.
pub(super) fn decode<'text>(
    contract_type: ContractType,
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    let outer = Outer::read(root)?;
    if outer.event.is_some() {
        return outer.event();
    }
    if outer.arg.is_none() && outer.data.is_none() {
        return Err(DecodeErrorKind::Unknown);
    }
    let (symbol, interval) = outer.stream()?;
    let data = outer.data.ok_or(DecodeErrorKind::MissingField)?.elements();
    for cells in data.ok_or(DecodeErrorKind::BadField)? {
        let RestCandle { candle, is_closed } = read_row(contract_type, cells, interval)?;
        let kline = Kline { symbol, interval, candle, is_closed, event_time: None };
        klines.try_push(kline).map_err(|_| DecodeErrorKind::BadField)?;
    }
    if klines.is_empty() { Err(DecodeErrorKind::BadField) } else { Ok(Message::Klines) }
}

/// The push of [`decode`] in one pass, its rows of nine cells.
pub(super) fn read_push<'text>(text: &'text str, klines: &mut Klines<'text>) -> Decoded<()> {
    let mut scan = Scanner::new(text);
    let mut stream = None;
    let mut fields = scan.enter_object(&USUAL)?;
    while let Some(key) = scan.next_field(&mut fields)? {
        match key {
            key::ARG => stream = Some(read_arg(&mut scan)?),
            key::DATA => {
                klines.clear();
                let mut rows = scan.enter_array()?;
                while scan.next_element(&mut rows)? {
                    let kline = read_cells(&mut scan)?;
                    klines.try_push(kline).map_err(|_| DecodeErrorKind::BadField)?;
                }
            }
            key::EVENT => return Err(DecodeErrorKind::Unknown),
            _ => scan.skip()?,
        }
    }
    scan.end()?;
    let (symbol, interval) = required(stream)?;
    for kline in klines.iter_mut() {
        if !interval.is_aligned(kline.candle.open_time) {
            return Err(DecodeErrorKind::Misaligned);
        }
        (kline.symbol, kline.interval) = (symbol, interval);
    }
    if klines.is_empty() { Err(DecodeErrorKind::BadField) } else { Ok(()) }
}

/// The symbol and interval of `arg`, which must name a candle channel.
#[inline(always)]
fn read_arg<'text>(source: &mut impl Source<'text>) -> Decoded<(&'text str, Interval)> {
    let (mut channel, mut symbol) = (None, None);
    let mut fields = source.enter_object(&USUAL_ARG)?;
    while let Some(key) = source.next_field(&mut fields)? {
        match key {
            key::CHANNEL => channel = Some(source.text()?),
            key::SYMBOL => symbol = Some(source.text()?),
            // Whatever the exchange adds.
            _ => source.skip()?,
        }
    }
    let interval = channel_interval(required(channel)?).ok_or(DecodeErrorKind::Unknown)?;
    Ok((required(symbol)?, interval))
}

/// A row of nine cells. Its symbol and its interval stand in `arg`.
#[inline(always)]
fn read_cells<'text>(scan: &mut Scanner<'text>) -> Decoded<Kline<'text>> {
    scan.expect(b'[')?;
    let open_time = UnixMs(scan.natural_text()?);
    let (open, high) = (scan.next_decimal()?, scan.next_decimal()?);
    let (low, close) = (scan.next_decimal()?, scan.next_decimal()?);
    let volume = scan.next_decimal()?;
    let (_, other_volume) = (scan.next_decimal()?, Some(scan.next_decimal()?));
    scan.expect(b',')?;
    let is_closed = match scan.text()? {
        "0" => Some(false),
        "1" => Some(true),
        _ => return Err(DecodeErrorKind::BadField),
    };
    scan.expect(b']')?;
    let candle = Candle { open_time, open, high, low, close, volume, other_volume, trades: 0 };
    Ok(Kline { symbol: "", interval: Interval::M1, candle, is_closed, event_time: None })
}

/// The fields of a push in the order in which they are sent.
const USUAL: [Guess; 2] = Guess::list("", ["arg", "data"]);
/// Those of `arg`.
const USUAL_ARG: [Guess; 2] = Guess::list("", ["channel", "instId"]);

/// The names of the fields that are read.
mod key {
    use super::Key;

    pub(super) const ARG: Key = Key::of("arg");
    pub(super) const CHANNEL: Key = Key::of("channel");
    pub(super) const SYMBOL: Key = Key::of("instId");
    pub(super) const DATA: Key = Key::of("data");
    pub(super) const EVENT: Key = Key::of("event");
}

/// The fields of every message, as far as they are known.
#[derive(Default)]
struct Outer<'tape, 'text> {
    event: Option<Value<'tape, 'text>>,
    arg: Option<Value<'tape, 'text>>,
    data: Option<Value<'tape, 'text>>,
    code: Option<Value<'tape, 'text>>,
    msg: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Outer<'tape, 'text> {
    fn read(root: Value<'tape, 'text>) -> Result<Self, DecodeErrorKind> {
        let mut outer = Self::default();
        for (key, value) in root.fields().ok_or(DecodeErrorKind::Unknown)? {
            let field = match key {
                "event" => &mut outer.event,
                "arg" => &mut outer.arg,
                "data" => &mut outer.data,
                "code" => &mut outer.code,
                "msg" => &mut outer.msg,
                // `connId`, `id`, `op`, and whatever the exchange adds.
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(outer)
    }

    fn stream(&self) -> Result<(&'text str, Interval), DecodeErrorKind> {
        read_arg(&mut required(self.arg)?)
    }

    fn event(&self) -> Result<Message<'text>, DecodeErrorKind> {
        let op = match text(self.event)? {
            "subscribe" => SubscribeOp::Subscribe,
            "unsubscribe" => SubscribeOp::Unsubscribe,
            "error" => return self.refusal(),
            // The connection will soon be closed for an upgrade.
            "notice" if text(self.code)? == "64008" => return Ok(Message::ShutdownNotice),
            _ => return Err(DecodeErrorKind::Unknown),
        };
        let (symbol, interval) = self.stream()?;
        Ok(Message::AcceptedOne { op, symbol, interval })
    }

    /// 60018: no such stream; the others of its message are served. 60014: too many requests.
    /// 60012 and 60013: the message or its arguments are wrong.
    fn refusal(&self) -> Result<Message<'text>, DecodeErrorKind> {
        let code = natural_text(self.code).or_else(|_| integer(self.code))?;
        let message = text(self.msg).unwrap_or_default();
        let by_arg = self.stream().ok().map(|(symbol, interval)| (symbol, Some(interval)));
        let by_words = || Some((named_symbol(message)?, named_interval(message)));
        let named = by_arg.or_else(by_words);
        let scope = match named {
            Some((symbol, interval)) => RefusalScope::One { symbol, interval },
            None => RefusalScope::Whole { id: None },
        };
        let kind = match code {
            60018 if named.is_some() => RefusalKind::UnknownSymbol,
            60014 => RefusalKind::NotNow(NotNow::Session),
            // The message is wrong: what it says may be our own words.
            60012 | 60013 => RefusalKind::Other,
            _ => not_now(message).map_or(RefusalKind::Other, RefusalKind::NotNow),
        };
        Ok(Message::Refused(Refusal { scope, kind, code: Some(code), message }))
    }
}

/// The symbol in `… channel:candle1m,instId:BTC-USDT doesn't exist. …`, which may hold `.` or `:`.
fn named_symbol(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("instId:")?;
    let word = rest.split([' ', ',', '"', '}']).next()?;
    let symbol = word.trim_end_matches(['.', ':', ';']);
    (!symbol.is_empty()).then_some(symbol)
}

/// Source: "WebSocket / Overview", close codes: 4008 and 4009, too many channels.
pub(super) fn read_close_code(code: u16) -> Option<NotNow> {
    matches!(code, 4008 | 4009).then_some(NotNow::OtherSession)
}

/// The interval in the same words.
fn named_interval(message: &str) -> Option<Interval> {
    let (_, rest) = message.split_once("channel:")?;
    channel_interval(rest.split([',', ' ']).next()?)
}

/// `[ts,open,high,low,close,vol,volCcy,volCcyQuote,confirm]`, all strings. Rows of before 2023 end
/// with `volCcy`; the flag, where there is one, is the last cell.
fn read_row(
    contract_type: ContractType,
    cells: Value<'_, '_>,
    interval: Interval,
) -> Result<RestCandle, DecodeErrorKind> {
    let mut row_cells = ArrayVec::<Value<'_, '_>, ROW_CELLS_MAX>::new();
    for cell in cells.elements().ok_or(DecodeErrorKind::BadField)? {
        row_cells.try_push(cell).map_err(|_| DecodeErrorKind::BadField)?;
    }
    let cell = |index: usize| row_cells.get(index).copied();
    let ccy = || row(contract_type).is_ccy_quote.then(|| decimal(cell(6))).transpose();
    let (is_closed, other_volume) = match row_cells.len() {
        7 => (None, ccy()?),
        8 => (Some(flag(cell(7))?), ccy()?),
        9 => (Some(flag(cell(8))?), Some(decimal(cell(7))?)),
        _ => return Err(DecodeErrorKind::BadField),
    };
    let open_time = UnixMs(natural_text(cell(0))?);
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    let candle = Candle {
        open_time,
        open: decimal(cell(1))?,
        high: decimal(cell(2))?,
        low: decimal(cell(3))?,
        close: decimal(cell(4))?,
        volume: decimal(cell(5))?,
        other_volume,
        trades: 0,
    };
    Ok(RestCandle { candle, is_closed })
}

const ROW_CELLS_MAX: usize = 9;

fn flag(confirm: Option<Value<'_, '_>>) -> Result<bool, DecodeErrorKind> {
    match text(confirm)? {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(DecodeErrorKind::BadField),
    }
}

/// `candles`: `after` asks for rows older than it, `before` for newer ones, both exclusive. The
/// latest 1440 rows can be had.
pub(super) fn candles_query(
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    let mut url = format!("{}/api/v5/market/candles?instId=", base.trim_end_matches('/'));
    push_encoded(&mut url, symbol);
    let rows = (to.0 - from.0) / interval.ms() + 1;
    let (bar, before, after) = (bar(interval), from.0 - 1, to.0 + 1);
    write!(url, "&bar={bar}&before={before}&after={after}&limit={rows}")
        .expect("a String takes every write");
    RestQuery { url, body: None, headers: &[] }
}

/// `{"code":"0","msg":"","data":[[…],…]}`, rows as pushed, newest first. Errors have another code:
/// 50011, too many requests, comes with HTTP 429 or 200; 51001: no such instrument.
pub(super) fn read_candles(
    contract_type: ContractType,
    json: &mut JsonReader,
    response: &RestResponse,
    interval: Interval,
) -> Result<RestCandles, RestError> {
    let read = json.read(&response.body, |root| {
        let outer = Outer::read(root).ok()?;
        let message = || text(outer.msg).unwrap_or_default().to_owned();
        Some(match (text(outer.code).ok()?, response.status) {
            ("0", 200) => {
                let read = |cells| read_row(contract_type, cells, interval);
                read_rows(outer.data?.elements()?, interval, 1, read)
            }
            ("50011", _) => Err(RestError::TooFast { wait: None }),
            ("51001", _) => Err(RestError::UnknownSymbol { message: message() }),
            (code, _) => Err(RestError::Failed { message: format!("{} ({code})", message()) }),
        })
    });
    read.ok().flatten().unwrap_or_else(|| Err(no_sense(response, "no candles")))
}

/// `instruments`: 20 requests in 2 s per IP and instrument type.
pub(super) fn instruments_query(contract_type: ContractType, base: &str) -> RestQuery {
    let inst_type = row(contract_type).inst_type;
    let base = base.trim_end_matches('/');
    let url = format!("{base}/api/v5/public/instruments?instType={inst_type}");
    RestQuery { url, body: None, headers: &[] }
}

/// The fields of the instrument list that are read.
#[derive(Deserialize)]
struct InstrumentList {
    code: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    data: Each<InstrumentInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstrumentInfo {
    inst_id: String,
    state: String,
}

/// `data[].state` is `live`, or why not (`suspend`, `preopen`, `expired`, …).
pub(super) fn read_instruments(body: impl Read) -> Result<InstrumentPage, String> {
    let list: InstrumentList = read_page(body)?;
    if list.code != "0" {
        return Err(format!("{} ({})", list.msg, list.code));
    }
    let listed = list.data.0.into_iter().map(|one| Listed {
        symbol: one.inst_id,
        halted: Some(one.state).filter(|state| state != "live"),
        known_as: None,
        contract_size: None,
    });
    Ok(InstrumentPage { listed: listed.collect(), ..InstrumentPage::default() })
}

#[cfg(test)]
mod tests;
