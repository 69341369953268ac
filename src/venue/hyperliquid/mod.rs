//! Hyperliquid: spot and perpetuals, the latter also under their old name coinm. Facts from the
//! official docs (websocket.md, rate-limits-and-user-limits.md, info-endpoint.md, read 2026-08-22)
//! and from probes of autumn 2026.
//!
//! One session carries all coins. A coin that does not exist costs the whole session, without a
//! word.

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

use super::fields::{names_other, no_sense, other_asked, read_rows, text, with_path};
use super::listed::{Each, read_page};
use super::scan::{Decoded, Guess, Key, Scanner, Source, required};
use super::words::not_now;
use super::{
    InstrumentPage, Kline, Klines, Limits, Message, Refusal, RefusalKind, RefusalScope, RestCandle,
    RestCandles, RestError, RestQuery, SubscribeOp, UNLIMITED,
};

/// What differs between the contract types: where their coins are listed.
struct Row {
    contract_type: ContractType,
    list: &'static str,
}

const ROWS: [Row; 3] = [
    Row { contract_type: ContractType::Spot, list: r#"{"type":"spotMeta"}"# },
    Row { contract_type: ContractType::Usdm, list: r#"{"type":"meta"}"# },
    Row { contract_type: ContractType::Coinm, list: r#"{"type":"meta"}"# },
];

fn row(contract_type: ContractType) -> &'static Row {
    let row = ROWS.iter().find(|row| row.contract_type == contract_type);
    row.expect("MARKETS and ROWS name the same contract types")
}

/// The greeting that may come first, in plain text; both official SDKs skip it.
pub(super) const HELLO: &str = "Websocket connection established";

/// Asks for a sign of life; the answer is `{"channel":"pong"}`.
pub(super) const PING: &str = r#"{"method":"ping"}"#;

/// Source: rate-limits-and-user-limits.md, all per IP: 10 connections, 30 new ones a minute, 1,000
/// subscriptions, 2,000 messages a minute (so 200 for each of nine sessions); a session to which
/// nothing is sent for 60 s is closed. REST: 1,200 of weight a minute, 20 and one more for every 60
/// candles: 45 requests of 100 rows are 990 at most. About a tenth of everything is left to others.
pub(super) fn limits() -> Limits {
    Limits {
        streams_per_session: 900,
        streams_per_message: 1,
        message_bytes: UNLIMITED,
        messages: 200,
        messages_window: Duration::from_secs(60),
        counts_heartbeats: true,
        connects: 27,
        connects_window: Duration::from_secs(60),
        sessions: 9,
        streams: 900,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 45,
        rest_window: Duration::from_secs(60),
        rest_rows: 500,
    }
}

pub(super) fn endpoint(base: &Endpoint) -> Endpoint {
    with_path(base, "/ws")
}

/// One coin a message; its spelling is the exchange's own, with its case.
pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
    let method = match op {
        SubscribeOp::Subscribe => "subscribe",
        SubscribeOp::Unsubscribe => "unsubscribe",
    };
    for (coin, interval) in symbols.take(1) {
        let interval = interval.name();
        write!(
            out,
            r#"{{"method":"{method}","subscription":{{"type":"candle","coin":"{coin}","interval":"{interval}"}}}}"#
        )
        .expect("a String takes every write");
    }
}

/// Candle push, "Subscriptions / candle", one candle (documented as an array, which is understood
/// too), all decimals as text:
///
/// ```json
/// {"channel":"candle","data":{"t":1788936660000,"T":1788936719999,"s":"BTC","i":"1m",
/// "o":"79139.0","c":"79118.0","h":"79139.0","l":"79110.0","v":"0.77139","n":89}}
/// ```
///
/// Acknowledgement: `subscriptionResponse` with the subscription, its fields in any order. Errors
/// are one text; `Already subscribed: {…}` is as good as an acknowledgement.
pub(super) fn decode<'text>(
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    let (mut channel, mut data) = (None, None);
    for (key, value) in root.fields().ok_or(DecodeErrorKind::Unknown)? {
        match key {
            "channel" => channel = Some(value),
            "data" => data = Some(value),
            // The exchange may add fields at any time.
            _ => {}
        }
    }
    match text(channel)? {
        "candle" => read_candle_push(data.ok_or(DecodeErrorKind::MissingField)?, klines),
        "subscriptionResponse" => read_response(data.ok_or(DecodeErrorKind::MissingField)?),
        "error" => Ok(read_error(text(data)?)),
        "pong" => Ok(Message::Nothing),
        _ => Err(DecodeErrorKind::Unknown),
    }
}

/// The push of [`decode`], in one pass.
pub(super) fn read_push<'text>(text: &'text str, klines: &mut Klines<'text>) -> Decoded<()> {
    let mut scan = Scanner::new(text);
    let mut is_candle = false;
    let mut fields = scan.enter_object(&USUAL)?;
    while let Some(key) = scan.next_field(&mut fields)? {
        match key {
            key::CHANNEL => {
                is_candle = scan.text()? == "candle";
                // It is an answer.
                if !is_candle {
                    return Err(DecodeErrorKind::Unknown);
                }
            }
            key::DATA => read_data(&mut scan, klines)?,
            _ => scan.skip()?,
        }
    }
    scan.end()?;
    if !is_candle {
        return Err(DecodeErrorKind::Unknown);
    }
    if klines.is_empty() { Err(DecodeErrorKind::MissingField) } else { Ok(()) }
}

/// Replaces `klines` by those of `data`: one, or an array.
#[inline(always)]
fn read_data<'text>(data: &mut impl Source<'text>, klines: &mut Klines<'text>) -> Decoded<()> {
    klines.clear();
    if !data.is_array() {
        return read_entry(data, klines);
    }
    let mut entries = data.enter_array()?;
    while data.next_element(&mut entries)? {
        read_entry(data, klines)?;
    }
    klines.sort_by_key(|kline| kline.candle.open_time);
    Ok(())
}

fn read_candle_push<'text>(
    mut data: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    read_data(&mut data, klines)?;
    if klines.is_empty() { Err(DecodeErrorKind::MissingField) } else { Ok(Message::Klines) }
}

/// The fields of one candle.
#[derive(Default)]
struct Entry<'text> {
    open_time: Option<i64>,
    close_time: Option<i64>,
    symbol: Option<&'text str>,
    interval: Option<&'text str>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    close: Option<Decimal>,
    volume: Option<Decimal>,
    trades: Option<i64>,
}

/// Appends one candle. Decimals are documented as numbers, and come as text.
#[inline(always)]
fn read_entry<'text>(source: &mut impl Source<'text>, klines: &mut Klines<'text>) -> Decoded<()> {
    let mut entry = Entry::default();
    let mut fields = source.enter_object(&USUAL_ENTRY)?;
    while let Some(key) = source.next_field(&mut fields)? {
        match key {
            key::OPEN_TIME => entry.open_time = Some(source.natural()?),
            key::CLOSE_TIME => entry.close_time = Some(source.natural()?),
            key::SYMBOL => entry.symbol = Some(source.text()?),
            key::INTERVAL => entry.interval = Some(source.text()?),
            key::OPEN => entry.open = Some(source.decimal_or_number()?),
            key::HIGH => entry.high = Some(source.decimal_or_number()?),
            key::LOW => entry.low = Some(source.decimal_or_number()?),
            key::CLOSE => entry.close = Some(source.decimal_or_number()?),
            key::VOLUME => entry.volume = Some(source.decimal_or_number()?),
            key::TRADES => entry.trades = Some(source.natural()?),
            _ => source.skip()?,
        }
    }
    let interval = Interval::from_name(required(entry.interval)?);
    let interval = interval.ok_or(DecodeErrorKind::Unknown)?;
    let open_time = UnixMs(required(entry.open_time)?);
    if !interval.is_aligned(open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    if required(entry.close_time)? != interval.close_time(open_time).0 {
        return Err(DecodeErrorKind::BadField);
    }
    let candle = Candle {
        open_time,
        open: required(entry.open)?,
        high: required(entry.high)?,
        low: required(entry.low)?,
        close: required(entry.close)?,
        volume: required(entry.volume)?,
        other_volume: None,
        trades: required(entry.trades)?.unsigned_abs(),
    };
    let symbol = required(entry.symbol)?;
    let kline = Kline { symbol, interval, candle, is_closed: None, event_time: None };
    klines.try_push(kline).map_err(|_| DecodeErrorKind::BadField)
}

/// The fields of a push in the order in which they are sent.
const USUAL: [Guess; 2] = Guess::list("", ["channel", "data"]);
/// Those of a candle.
const USUAL_ENTRY: [Guess; 10] =
    Guess::list("", ["t", "T", "s", "i", "o", "c", "h", "l", "v", "n"]);

/// The names of the fields that are read.
mod key {
    use super::Key;

    pub(super) const CHANNEL: Key = Key::of("channel");
    pub(super) const DATA: Key = Key::of("data");
    pub(super) const OPEN_TIME: Key = Key::of("t");
    pub(super) const CLOSE_TIME: Key = Key::of("T");
    pub(super) const SYMBOL: Key = Key::of("s");
    pub(super) const INTERVAL: Key = Key::of("i");
    pub(super) const OPEN: Key = Key::of("o");
    pub(super) const HIGH: Key = Key::of("h");
    pub(super) const LOW: Key = Key::of("l");
    pub(super) const CLOSE: Key = Key::of("c");
    pub(super) const VOLUME: Key = Key::of("v");
    pub(super) const TRADES: Key = Key::of("n");
}

fn read_response<'text>(data: Value<'_, 'text>) -> Result<Message<'text>, DecodeErrorKind> {
    let (mut method, mut subscription) = (None, None);
    for (key, value) in data.fields().ok_or(DecodeErrorKind::BadField)? {
        match key {
            "method" => method = Some(value),
            "subscription" => subscription = Some(value),
            _ => {}
        }
    }
    let op = match text(method)? {
        "subscribe" => SubscribeOp::Subscribe,
        "unsubscribe" => SubscribeOp::Unsubscribe,
        _ => return Err(DecodeErrorKind::Unknown),
    };
    let (mut kind, mut coin, mut interval) = (None, None, None);
    let fields = subscription.ok_or(DecodeErrorKind::MissingField)?.fields();
    for (key, value) in fields.ok_or(DecodeErrorKind::BadField)? {
        match key {
            "type" => kind = Some(value),
            "coin" => coin = Some(value),
            "interval" => interval = Some(value),
            _ => {}
        }
    }
    if text(kind)? != "candle" {
        // None of ours.
        return Ok(Message::Nothing);
    }
    let interval = Interval::from_name(text(interval)?).ok_or(DecodeErrorKind::Unknown)?;
    Ok(Message::AcceptedOne { op, symbol: text(coin)?, interval })
}

fn read_error(message: &str) -> Message<'_> {
    let already = [
        ("Already subscribed: ", SubscribeOp::Subscribe),
        ("Already unsubscribed: ", SubscribeOp::Unsubscribe),
    ];
    for (words, op) in already {
        let Some(subscription) = message.strip_prefix(words) else { continue };
        // Another kind of subscription is none of ours.
        return read_words(op, subscription).unwrap_or(Message::Nothing);
    }
    let scope = RefusalScope::Whole { id: None };
    // Behind a brace stand our own words.
    let own = message.split('{').next().unwrap_or_default();
    let kind = not_now(own).map_or(RefusalKind::Other, RefusalKind::NotNow);
    Message::Refused(Refusal { scope, kind, code: None, message })
}

/// The subscription that an error repeats: JSON within a text, of plain names.
fn read_words(op: SubscribeOp, subscription: &str) -> Option<Message<'_>> {
    let value = |key: &str| {
        let rest = subscription.split_once(key)?.1.strip_prefix("\":\"")?;
        Some(rest.split_once('"')?.0)
    };
    if value("\"type")? != "candle" {
        return None;
    }
    let interval = Interval::from_name(value("\"interval")?)?;
    Some(Message::AcceptedOne { op, symbol: value("\"coin")?, interval })
}

/// `POST /info` with `candleSnapshot`: ascending, both ends included, of the newest 5,000.
pub(super) fn candles_query(
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    let (interval, from, to) = (interval.name(), from.0, to.0);
    let body = format!(
        r#"{{"type":"candleSnapshot","req":{{"coin":"{symbol}","interval":"{interval}","startTime":{from},"endTime":{to}}}}}"#
    );
    RestQuery { body: Some(body), ..info(base) }
}

fn info(base: &str) -> RestQuery {
    let url = format!("{}/info", base.trim_end_matches('/'));
    RestQuery { url, body: None, headers: &[] }
}

/// Objects as pushed. What an unknown coin gets is not established (an empty array,
/// or HTTP 500 with `null`), so it is no verdict here: coins are known from the list.
pub(super) fn read_candles(
    json: &mut JsonReader,
    response: &RestResponse,
    (symbol, interval): (&str, Interval),
) -> Result<RestCandles, RestError> {
    let read = json.read(&response.body, |root| {
        if response.status != 200 {
            return None;
        }
        let named = [("s", symbol), ("i", interval.name())];
        if root.elements()?.any(|row| names_other(row, &named)) {
            return Some(Err(other_asked((symbol, interval))));
        }
        let read = |mut row: Value<'_, '_>| {
            let mut klines = Klines::new();
            read_entry(&mut row, &mut klines)?;
            Ok(RestCandle { candle: klines[0].candle, is_closed: None })
        };
        Some(read_rows(root.elements()?, interval, 1, read))
    });
    read.ok().flatten().unwrap_or_else(|| Err(no_sense(response, "no candleSnapshot")))
}

/// Spot: `spotMeta`. Perpetuals: `meta`; the page [`DEXS`] names the builders' exchanges, and any
/// other is that of one of them.
pub(super) fn instruments_query(
    contract_type: ContractType,
    base: &str,
    page: Option<&str>,
) -> RestQuery {
    let body = match page {
        None => row(contract_type).list.to_owned(),
        Some(DEXS) => r#"{"type":"perpDexs"}"#.to_owned(),
        Some(dex) => format!(r#"{{"type":"meta","dex":{}}}"#, serde_json::Value::from(dex)),
    };
    RestQuery { body: Some(body), ..info(base) }
}

#[derive(Deserialize)]
struct Meta {
    universe: Each<Perpetual>,
}

#[derive(Deserialize)]
struct Perpetual {
    name: String,
    #[serde(rename = "isDelisted")]
    is_delisted: Option<bool>,
}

#[derive(Deserialize)]
struct Dex {
    name: String,
}

#[derive(Deserialize)]
struct SpotMeta {
    universe: Each<SpotPair>,
    tokens: Each<Token>,
}

#[derive(Deserialize)]
struct SpotPair {
    name: String,
    tokens: Vec<usize>,
}

#[derive(Deserialize)]
struct Token {
    name: String,
    index: usize,
}

/// The builders' exchanges are parts of the list: a coin of theirs is called `dex:NAME`. There are
/// hundreds, and a page weighs as much as a request for candles.
pub(super) fn read_instruments(
    contract_type: ContractType,
    page: Option<&str>,
    body: impl Read,
) -> Result<InstrumentPage, String> {
    match (page, contract_type) {
        (Some(DEXS), _) => {
            // The first one is null: the exchange's own.
            let Each::<Dex>(dexs) = read_page(body)?;
            let parts = dexs.into_iter().map(|dex| dex.name).filter(|name| name != DEXS);
            Ok(InstrumentPage { parts: parts.collect(), ..InstrumentPage::default() })
        }
        (None, ContractType::Spot) => Ok(spot_page(&read_page(body)?)),
        (page, _) => {
            let meta: Meta = read_page(body)?;
            let listed = meta.universe.0.into_iter().map(|one| Listed {
                symbol: one.name,
                halted: one.is_delisted.filter(|&is| is).map(|_| "delisted".to_owned()),
                known_as: None,
                contract_size: None,
            });
            let parts_page = page.is_none().then(|| DEXS.to_owned());
            let listed = listed.collect();
            Ok(InstrumentPage { listed, parts_page, ..InstrumentPage::default() })
        }
    }
}

/// Coins are `@107`; people know them by the names of their tokens.
fn spot_page(meta: &SpotMeta) -> InstrumentPage {
    let token = |index: Option<&usize>| {
        let found = meta.tokens.0.iter().find(|token| Some(&token.index) == index);
        found.map_or("?", |token| token.name.as_str())
    };
    let listed = meta.universe.0.iter().map(|pair| {
        let known_as = format!("{}/{}", token(pair.tokens.first()), token(pair.tokens.get(1)));
        Listed {
            symbol: pair.name.clone(),
            halted: None,
            known_as: Some(known_as).filter(|name| *name != pair.name),
            contract_size: None,
        }
    });
    InstrumentPage { listed: listed.collect(), ..InstrumentPage::default() }
}

/// The page that names the builders' exchanges; no exchange can be called so.
const DEXS: &str = "(dexs)";

#[cfg(test)]
mod tests;
