//! Clients' frames as the exchanges read them, and the answers in the exchanges' words: OKX, Bybit,
//! Gate and Hyperliquid. Pure text in, text out; Binance's are in [`crate::sim::venue::binance`].

use simd_json::OwnedValue;
use simd_json::prelude::*;

use crate::market::{ContractType, Interval, Market, Venue};

use super::windows::read;

/// What a client's frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Start these streams.
    Subscribe(Request),
    /// End these streams.
    Unsubscribe(Request),
    /// Answered by this text and nothing else.
    Answer(String),
}

/// A subscription as its client worded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's id as JSON; empty if there is none.
    pub id: String,
    /// What is named in it.
    pub topics: Vec<Topic>,
}

/// One stream that a client names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The exchange's spelling of it, which its answers repeat.
    pub name: String,
    /// The symbol and the length of the candles, if it is a stream of candles.
    pub candles: Option<(String, Interval)>,
}

/// Whether an answer is about a beginning or an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Of a beginning.
    Subscribe,
    /// Of an end.
    Unsubscribe,
}

impl Op {
    fn word(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// Reads a client's text frame; `now_ms`: the exchange's time.
pub fn parse(market: Market, text: &str, now_ms: i64) -> Frame {
    if market.venue() == Venue::Okx && text == "ping" {
        return Frame::Answer("pong".to_owned());
    }
    let mut bytes = text.as_bytes().to_vec();
    let value = simd_json::to_owned_value(&mut bytes).ok();
    match market.venue() {
        Venue::Okx => okx(value.as_ref(), text),
        Venue::Bybit => bybit(value.as_ref()),
        Venue::Gateio => gateio(market.contract_type(), value.as_ref(), now_ms),
        Venue::Hyperliquid | Venue::Binance => hyperliquid(value.as_ref(), text),
    }
}

fn string<'a>(value: &'a OwnedValue, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn raw_id(value: &OwnedValue, key: &str) -> String {
    value.get(key).map_or(String::new(), |id| simd_json::to_string(id).unwrap_or_default())
}

fn quoted(text: &str) -> String {
    simd_json::to_string(text).unwrap_or_default()
}

fn okx(value: Option<&OwnedValue>, text: &str) -> Frame {
    let invalid = || {
        let words = quoted(&format!("Invalid request: {text}"));
        Frame::Answer(format!(
            "{{\"event\":\"error\",\"code\":\"60012\",\"msg\":{words},\"connId\":\"{CONNECTION}\"}}"
        ))
    };
    let Some(value) = value else { return invalid() };
    if string(value, "op") == Some("login") {
        let words = "\"code\":\"60005\",\"msg\":\"Invalid apiKey\"";
        return Frame::Answer(format!(
            "{{\"event\":\"error\",{words},\"connId\":\"{CONNECTION}\"}}"
        ));
    }
    let Some(args) = value.get("args").and_then(|args| args.as_array()) else { return invalid() };
    let topic = |arg: &OwnedValue| {
        let channel = string(arg, "channel")?;
        // Channels that are not of one symbol name something else, such as `instType`.
        let others = || arg.as_object()?.iter().find(|(key, _)| *key != "channel");
        let symbol = string(arg, "instId");
        let (key, value) = match symbol {
            Some(symbol) => ("instId", symbol),
            None => others().and_then(|(key, one)| Some((key.as_str(), one.as_str()?)))?,
        };
        let name = format!("\"channel\":{},{}:{}", quoted(channel), quoted(key), quoted(value));
        let interval = channel.strip_prefix("candle").and_then(|bar| read(Venue::Okx, bar));
        Some(Topic { name, candles: symbol.map(str::to_owned).zip(interval) })
    };
    let Some(topics) = args.iter().map(topic).collect() else { return invalid() };
    let request = Request { id: raw_id(value, "id"), topics };
    match string(value, "op") {
        Some("subscribe") => Frame::Subscribe(request),
        Some("unsubscribe") => Frame::Unsubscribe(request),
        _ => invalid(),
    }
}

fn bybit(value: Option<&OwnedValue>) -> Frame {
    let id = value.map_or(String::new(), |value| raw_id(value, "req_id"));
    let op = value.and_then(|value| string(value, "op"));
    if op == Some("ping") {
        let id = if id.is_empty() { "\"\"".to_owned() } else { id };
        return Frame::Answer(format!(
            "{{\"success\":true,\"ret_msg\":\"pong\",\"conn_id\":\"{CONNECTION}\",\"req_id\":{id},\"op\":\"ping\"}}"
        ));
    }
    let args = value.and_then(|value| value.get("args")?.as_array().cloned());
    let Some(args) = args else {
        return Frame::Answer(bybit_error("subscribe", &id, "Params Error"));
    };
    let topics = args.iter().filter_map(|arg| arg.as_str()).map(|name| Topic {
        name: name.to_owned(),
        candles: name.strip_prefix("kline.").and_then(|rest| {
            let (code, symbol) = rest.split_once('.')?;
            Some((symbol.to_owned(), read(Venue::Bybit, code)?))
        }),
    });
    let request = Request { id: id.clone(), topics: topics.collect() };
    match op {
        Some("subscribe") => Frame::Subscribe(request),
        Some("unsubscribe") => Frame::Unsubscribe(request),
        _ => Frame::Answer(bybit_error("", &id, "error:invalid op")),
    }
}

fn gateio(contract_type: ContractType, value: Option<&OwnedValue>, now_ms: i64) -> Frame {
    let prefix = if contract_type == ContractType::Spot { "spot" } else { "futures" };
    let Some(value) = value else {
        let error = "\"error\":{\"code\":1,\"message\":\"request message need json scheme\"}";
        let head = gateio_head(now_ms);
        return Frame::Answer(format!("{{{head},\"channel\":\"\",\"event\":\"\",{error}}}"));
    };
    let channel = string(value, "channel").unwrap_or("");
    if channel.strip_prefix(prefix) == Some(".ping") {
        let head = gateio_head(now_ms);
        return Frame::Answer(format!(
            "{{{head},\"channel\":\"{prefix}.pong\",\"event\":\"\",\"result\":null}}"
        ));
    }
    let id = raw_id(value, "id");
    let payload = value.get("payload").and_then(|payload| payload.as_array());
    let names: Vec<&str> = payload.into_iter().flatten().filter_map(|one| one.as_str()).collect();
    let ([interval, symbol], true) = (&names[..], channel.ends_with(".candlesticks")) else {
        let channel = channel.replace(['"', '\\'], "?");
        let words = format!("Unknown channel {channel}");
        return Frame::Answer(gateio_refused(prefix, "subscribe", &id, "", &words, now_ms));
    };
    let name = format!("[{},{}]", quoted(interval), quoted(symbol));
    let candles = read(Venue::Gateio, interval).map(|interval| ((*symbol).to_owned(), interval));
    let request = Request { id, topics: vec![Topic { name, candles }] };
    match string(value, "event") {
        Some("unsubscribe") => Frame::Unsubscribe(request),
        _ => Frame::Subscribe(request),
    }
}

fn hyperliquid(value: Option<&OwnedValue>, text: &str) -> Frame {
    let invalid = || {
        let words = format!("Error parsing JSON into valid websocket request: {text}");
        Frame::Answer(format!("{{\"channel\":\"error\",\"data\":{}}}", quoted(&words)))
    };
    let Some(value) = value else { return invalid() };
    let method = string(value, "method");
    if method == Some("ping") {
        return Frame::Answer("{\"channel\":\"pong\"}".to_owned());
    }
    let Some(wanted) = value.get("subscription") else { return invalid() };
    let parts = (string(wanted, "type"), string(wanted, "coin"), string(wanted, "interval"));
    let (Some("candle"), Some(coin), Some(interval)) = parts else { return invalid() };
    let name = format!(
        "{{\"type\":\"candle\",\"interval\":{},\"coin\":{}}}",
        quoted(interval),
        quoted(coin)
    );
    let Some(length) = read(Venue::Hyperliquid, interval) else { return invalid() };
    let candles = Some((coin.to_owned(), length));
    let request = Request { id: String::new(), topics: vec![Topic { name, candles }] };
    match method {
        Some("subscribe") => Frame::Subscribe(request),
        Some("unsubscribe") => Frame::Unsubscribe(request),
        _ => invalid(),
    }
}

/// The answer to a frame (OKX: to one of its topics) that was accepted.
pub fn accepted(market: Market, op: Op, id: &str, topic: &str, now_ms: i64) -> String {
    let word = op.word();
    match market.venue() {
        Venue::Okx => {
            let id = optional("id", id);
            format!("{{{id}\"event\":\"{word}\",\"arg\":{{{topic}}},\"connId\":\"{CONNECTION}\"}}")
        }
        // Spot words it otherwise, and leaves out the id that was not given.
        Venue::Bybit if market.contract_type() == ContractType::Spot => {
            let id = optional("req_id", id);
            format!(
                "{{\"success\":true,\"ret_msg\":\"{word}\",\"conn_id\":\"{CONNECTION}\",{id}\"op\":\"{word}\"}}"
            )
        }
        Venue::Bybit => {
            let id = if id.is_empty() { "\"\"" } else { id };
            format!(
                "{{\"success\":true,\"ret_msg\":\"\",\"conn_id\":\"{CONNECTION}\",\"req_id\":{id},\"op\":\"{word}\"}}"
            )
        }
        Venue::Gateio => {
            let prefix =
                if market.contract_type() == ContractType::Spot { "spot" } else { "futures" };
            let (head, id) = (gateio_head(now_ms), optional("id", id));
            format!(
                "{{{head},{id}\"trace_id\":\"{TRACE}\",\"channel\":\"{prefix}.candlesticks\",\"event\":\"{word}\",\"payload\":{topic},\"result\":{{\"status\":\"success\"}}}}"
            )
        }
        Venue::Hyperliquid | Venue::Binance => format!(
            "{{\"channel\":\"subscriptionResponse\",\"data\":{{\"method\":\"{word}\",\"subscription\":{topic}}}}}"
        ),
    }
}

/// OKX: this topic is not served here.
pub fn okx_refused(id: &str, topic: &str) -> String {
    let words = topic.replace('"', "");
    let id = optional("id", id);
    format!(
        "{{{id}\"event\":\"error\",\"msg\":\"Subscribe failed, wrong URL or {words} doesn't exist. Please use the correct URL, channel and parameters referring to API document.\",\"code\":\"60018\",\"connId\":\"{CONNECTION}\"}}"
    )
}

/// OKX: more operations than are allowed.
pub fn okx_too_fast() -> String {
    format!(
        "{{\"event\":\"error\",\"code\":\"60014\",\"msg\":\"Requests too frequent\",\"connId\":\"{CONNECTION}\"}}"
    )
}

/// Bybit: the whole frame fails with these words.
pub fn bybit_error(op: &str, id: &str, words: &str) -> String {
    let id = if id.is_empty() { "\"\"" } else { id };
    let words = quoted(words);
    format!(
        "{{\"success\":false,\"ret_msg\":{words},\"conn_id\":\"{CONNECTION}\",\"req_id\":{id},\"op\":\"{op}\"}}"
    )
}

/// Gate: the frame with this payload fails with these words.
pub fn gateio_refused(
    prefix: &str,
    event: &str,
    id: &str,
    payload: &str,
    words: &str,
    now_ms: i64,
) -> String {
    let (head, id, words) = (gateio_head(now_ms), optional("id", id), quoted(words));
    let payload = optional("payload", payload);
    format!(
        "{{{head},{id}\"trace_id\":\"{TRACE}\",\"channel\":\"{prefix}.candlesticks\",\"event\":\"{event}\",{payload}\"error\":{{\"code\":2,\"message\":{words}}},\"result\":{{\"status\":\"fail\"}}}}"
    )
}

/// Hyperliquid: it is subscribed already, or not at all.
pub fn hyperliquid_already(op: Op, topic: &str) -> String {
    let word = match op {
        Op::Subscribe => "Already subscribed",
        Op::Unsubscribe => "Already unsubscribed",
    };
    format!("{{\"channel\":\"error\",\"data\":{}}}", quoted(&format!("{word}: {topic}")))
}

fn gateio_head(now_ms: i64) -> String {
    format!(
        "\"time\":{},\"time_ms\":{now_ms},\"conn_id\":\"{CONNECTION}\"",
        now_ms.div_euclid(1000)
    )
}

/// `"key":value,` or nothing.
fn optional(key: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("\"{key}\":{value},") }
}

const CONNECTION: &str = "c59a69fd3702aa1d";
const TRACE: &str = "5597c780565cf57ad16784743225b18b";
