//! Gate and Hyperliquid: exchanges whose candles carry no closed flag, or one that may be missing.

use connector_wss::market::{Interval, Market, Venue};
use connector_wss::messages::RestResponse;
use connector_wss::metrics::DecodeErrorKind;
use connector_wss::venue::{self, RestError};
use connector_wss::wire::json::JsonReader;
use serde_json::{Value, json};

use super::flagged::{Said, kind_of, pushed, said, window_ms};
use super::mutate::{assert_never_a_candle, assert_push_is_safe};
use super::{Plain, Sample, decode, digits, market, plain, samples};

/// What a file's name says of its messages; panics on a name that says nothing.
fn market_of(venue: Venue, sample: &Sample) -> Market {
    let words: &[(&str, &str)] = match venue {
        Venue::Gateio => {
            &[("spot", "spot"), ("um", "um"), ("cm", "cm"), ("delivery", "cm"), ("rest", "spot")]
        }
        _ => &[("perp", "usdm"), ("spot", "spot"), ("ws", "usdm")],
    };
    let first = sample.name.split('.').next().unwrap();
    let row = words.iter().find(|(word, _)| *word == first);
    market(venue, row.unwrap_or_else(|| panic!("whose messages has {}?", sample.name)).1)
}

/// The message as a session would have brought it.
fn message_of(sample: &Sample, text: &str) -> String {
    match sample.name.contains("result-only") {
        true => format!(
            r#"{{"time":1777455599,"time_ms":1777455599999,"channel":"spot.candlesticks","event":"update","result":{text}}}"#
        ),
        false => text.to_owned(),
    }
}

fn gateio(root: &Value) -> Said {
    let channel = root["channel"].as_str().unwrap();
    if channel.ends_with(".pong") {
        return said("Nothing".to_owned());
    }
    let id = root["id"].as_i64();
    if root["event"] != "update" {
        let error = &root["error"];
        if error.is_null() {
            assert_eq!(root["result"]["status"], "success");
            return said(gateio_accepted(root));
        }
        let (code, words) = (error["code"].as_i64(), error["message"].as_str().unwrap());
        if words.starts_with("Alert sub") {
            return said(gateio_accepted(root));
        }
        let unknown = words.strip_prefix("unknown contract ");
        let kind = if unknown.is_some() { "UnknownSymbol" } else { "Other" };
        let by_payload = gateio_stream(root).map(|(symbol, interval)| (symbol, Some(interval)));
        let scope = match by_payload.or(unknown.map(|symbol| (symbol, None))) {
            Some((symbol, interval)) if id.is_none() => {
                format!("One {{ symbol: {symbol:?}, interval: {interval:?} }}")
            }
            Some((symbol, interval)) => {
                format!(
                    "WholeBecauseOf {{ id: {id:?}, symbol: {symbol:?}, interval: {interval:?} }}"
                )
            }
            None => format!("Whole {{ id: {id:?} }}"),
        };
        return said(format!(
            "Refused(Refusal {{ scope: {scope}, kind: {kind}, code: {code:?}, message: {words:?} }})"
        ));
    }
    let time_ms = root["time_ms"].as_i64().filter(|&time| time > 0);
    let event_time = time_ms.unwrap_or_else(|| root["time"].as_i64().unwrap() * 1000);
    let result = &root["result"];
    let mut candles = Vec::new();
    for row in result.as_array().unwrap_or(&vec![result.clone()]) {
        let (interval, symbol) = row["n"].as_str().unwrap().split_once('_').unwrap();
        let Some(interval_ms) = window_ms(interval) else { return Err(DecodeErrorKind::Unknown) };
        let seconds = match &row["t"] {
            Value::String(seconds) => seconds.parse::<i64>().unwrap(),
            seconds => seconds.as_i64().unwrap(),
        };
        let volume = match &row["v"] {
            Value::Number(contracts) => contracts.to_string(),
            volume => digits(volume),
        };
        let [o, h, l, c] = ["o", "h", "l", "c"].map(|key| digits(&row[key]));
        candles.push(Plain {
            symbol: symbol.to_owned(),
            interval_ms,
            open_time: seconds * 1000,
            other_volume: row.get("a").map(digits),
            digits: [o, h, l, c, volume],
            trades: 0,
            is_closed: row["w"].as_bool(),
            event_time: Some(event_time),
        });
    }
    candles.sort_by_key(|candle| candle.open_time);
    // The documentation's example is of a time long before its own candles.
    let is_timeless = candles.iter().any(|candle| candle.open_time > event_time + 120_000);
    if is_timeless { Err(DecodeErrorKind::BadField) } else { pushed(candles) }
}

/// The stream of a payload that Gate repeats, `["1m","BTC_USDT"]` or `["1m_BTC_USDT"]`.
fn gateio_stream(root: &Value) -> Option<(&str, Interval)> {
    let first = root["payload"][0].as_str()?;
    let (interval, symbol) = match root["payload"][1].as_str() {
        Some(symbol) => (first, symbol),
        None => first.split_once('_')?,
    };
    Some((symbol, Interval::from_name(interval)?))
}

fn gateio_accepted(root: &Value) -> String {
    match gateio_stream(root).filter(|_| root["id"].is_null()) {
        Some((symbol, interval)) => {
            format!("AcceptedOne {{ op: Subscribe, symbol: {symbol:?}, interval: {interval:?} }}")
        }
        None => format!("Accepted {{ id: {:?} }}", root["id"].as_i64()),
    }
}

fn hyperliquid_candle(row: &Value) -> Option<Plain> {
    Some(Plain {
        symbol: row["s"].as_str().unwrap().to_owned(),
        interval_ms: window_ms(row["i"].as_str().unwrap())?,
        open_time: row["t"].as_i64().unwrap(),
        digits: ["o", "h", "l", "c", "v"].map(|key| digits(&row[key])),
        other_volume: None,
        trades: row["n"].as_u64().unwrap(),
        is_closed: None,
        event_time: None,
    })
}

fn hyperliquid(root: &Value) -> Said {
    let data = &root["data"];
    match root["channel"].as_str().unwrap() {
        "candle" => pushed(vec![hyperliquid_candle(data).unwrap()]),
        "pong" => said("Nothing".to_owned()),
        "subscriptionResponse" => {
            let subscription = &data["subscription"];
            if subscription["type"] != "candle" {
                return said("Nothing".to_owned());
            }
            let interval_ms = window_ms(subscription["interval"].as_str().unwrap()).unwrap();
            let interval = Interval::ALL.into_iter().find(|one| one.ms() == interval_ms).unwrap();
            said(format!(
                "AcceptedOne {{ op: Subscribe, symbol: {:?}, interval: {interval:?} }}",
                subscription["coin"].as_str().unwrap()
            ))
        }
        "error" => {
            let words = data.as_str().unwrap();
            // Those that were captured are about order books.
            if words.starts_with("Already ") {
                return said("Nothing".to_owned());
            }
            said(format!(
                "Refused(Refusal {{ scope: Whole {{ id: None }}, kind: Other, code: None, \
                 message: {words:?} }})"
            ))
        }
        other => panic!("{other}: add it here"),
    }
}

fn messages(venue: Venue) -> Vec<(Market, String, Said)> {
    let mut messages = Vec::new();
    for sample in samples(venue.name()) {
        let market = market_of(venue, &sample);
        if kind_of(&sample).starts_with("rest.") {
            continue;
        }
        assert!(!sample.texts.is_empty(), "{} is empty", sample.name);
        for text in &sample.texts {
            let text = message_of(&sample, text);
            let root = serde_json::from_str(&text).unwrap();
            let expected = match venue {
                Venue::Gateio => gateio(&root),
                _ => hyperliquid(&root),
            };
            messages.push((market, text, expected));
        }
    }
    messages
}

fn assert_read_as_expected(venue: Venue, least: usize) {
    let messages = messages(venue);
    let count = messages.len();
    for (market, text, expected) in messages {
        assert_eq!(decode(market, text.as_bytes()), expected, "{market}: {text}");
    }
    assert!(count == 0 || count >= least, "{count} messages");
}

#[test]
fn every_message_of_gate_is_read() {
    assert_read_as_expected(Venue::Gateio, 25);
}

#[test]
fn every_message_of_hyperliquid_is_read() {
    assert_read_as_expected(Venue::Hyperliquid, 20);
}

/// Fields that are not read, in spot's and in the futures' pushes; `a`, `w` and
/// `time_ms` may be missing.
const GATE_UNREAD: [&str; 3] = ["/id", "/error", "either /result/*/v"];
const GATE_OPTIONAL: [&str; 5] =
    ["/result/a", "/result/*/a", "/result/w", "/result/*/w", "/time_ms"];

/// An array of candles is documented, and numbers where the wire has texts.
const HYPERLIQUID_EITHER: [&str; 6] = [
    "either /data",
    "either /data/o",
    "either /data/h",
    "either /data/l",
    "either /data/c",
    "either /data/v",
];

fn assert_breaks_safely(market: Market, text: &str) {
    match decode(market, text.as_bytes()) {
        Ok(read) if !read.klines.is_empty() => match market.venue() {
            Venue::Gateio => {
                // `time` counts where there is no `time_ms`, and is read all the same.
                assert_push_is_safe(market, text, &GATE_UNREAD, &GATE_OPTIONAL);
            }
            _ => assert_push_is_safe(market, text, &HYPERLIQUID_EITHER, &[]),
        },
        _ => assert_never_a_candle(market, text),
    }
}

#[test]
fn captured_messages_break_safely() {
    for venue in [Venue::Gateio, Venue::Hyperliquid] {
        for (market, text, _) in messages(venue) {
            assert_breaks_safely(market, &text);
        }
    }
}

#[test]
fn made_up_messages_break_safely() {
    let spot = json!({"time": 1_700_000_045, "time_ms": 1_700_000_045_123_i64,
        "channel": "spot.candlesticks", "event": "update", "result": {"t": "1700000040",
        "v": "12.50", "c": "2", "h": "3", "l": "1", "o": "1.5", "n": "1m_BTC_USDT", "a": "6", "w": true}});
    let row = |t: i64, v: Value| json!({"t": t, "v": v, "c": "2", "h": "3", "l": "1", "o": "1.5", "n": "1m_BTC_USD", "a": "6"});
    let futures = json!({"time": 1_700_000_101, "channel": "futures.candlesticks",
        "event": "update", "result": [row(1_700_000_040, json!(80)), row(1_700_000_100, json!("0"))]});
    let candle = json!({"channel": "candle", "data": {"t": 1_700_000_040_000_i64,
        "T": 1_700_000_099_999_i64, "s": "kPEPE", "i": "1m", "o": "1.5", "c": "2", "h": "3",
        "l": "1", "v": "12.5", "n": 7}});
    for (venue, contract_type, push) in [
        (Venue::Gateio, "spot", &spot),
        (Venue::Gateio, "um", &futures),
        (Venue::Gateio, "cm", &futures),
        (Venue::Hyperliquid, "spot", &candle),
        (Venue::Hyperliquid, "usdm", &candle),
        (Venue::Hyperliquid, "coinm", &candle),
    ] {
        let market = market(venue, contract_type);
        assert!(!decode(market, push.to_string().as_bytes()).unwrap().klines.is_empty());
        assert_breaks_safely(market, &push.to_string());
    }
}

fn response(status: u16, body: &str) -> RestResponse {
    let body = body.as_bytes().to_vec();
    RestResponse { status, retry_after: None, limit_headers: Vec::new(), body }
}

/// The smallest distance of two rows; an hour where there is only one.
fn interval_of(times: &[i64]) -> Interval {
    let step = times.windows(2).map(|two| two[1] - two[0]).min();
    let alone = Interval::ALL.into_iter().rev().find(|one| times[0] % one.ms() == 0).unwrap();
    step.map_or(alone, |step| Interval::ALL.into_iter().find(|one| one.ms() == step).unwrap())
}

#[test]
fn every_body_of_rest_is_read() {
    let mut count = 0;
    for venue in [Venue::Gateio, Venue::Hyperliquid] {
        for sample in samples(venue.name()) {
            let market = market_of(venue, &sample);
            let body = &sample.texts[0];
            let root: Value = serde_json::from_str(body).unwrap_or_default();
            match kind_of(&sample) {
                "rest.klines" => assert_rows(market, body, &root),
                "rest.instruments" => {
                    let page = venue::read_instruments(market, None, body.as_bytes()).unwrap();
                    let listed = match venue {
                        Venue::Gateio => root.as_array().unwrap().len(),
                        _ => root["universe"].as_array().unwrap().len(),
                    };
                    assert_eq!(page.listed.len(), listed, "{}", sample.name);
                }
                "rest.error" => {
                    let read = venue::read_candles(
                        market,
                        &mut JsonReader::default(),
                        &response(400, body),
                        ("BTC", Interval::M1),
                    );
                    assert!(matches!(read, Err(RestError::Failed { .. })), "{read:?}");
                }
                _ => continue,
            }
            count += 1;
        }
    }
    assert!(count == 0 || count >= 10, "{count} bodies");
}

fn assert_rows(market: Market, body: &str, root: &Value) {
    let rows = root.as_array().unwrap();
    let expected: Vec<Plain> = rows
        .iter()
        .map(|row| match (market.venue(), market.contract_type().name()) {
            (Venue::Gateio, "spot") => {
                let [v, c, h, l, o, a] = [1, 2, 3, 4, 5, 6].map(|cell| digits(&row[cell]));
                Plain {
                    symbol: String::new(),
                    interval_ms: 0,
                    open_time: row[0].as_str().unwrap().parse::<i64>().unwrap() * 1000,
                    other_volume: Some(a),
                    digits: [o, h, l, c, v],
                    trades: 0,
                    is_closed: row.get(7).map(|flag| flag == "true"),
                    event_time: None,
                }
            }
            (Venue::Gateio, _) => {
                let [o, h, l, c] = ["o", "h", "l", "c"].map(|key| digits(&row[key]));
                Plain {
                    symbol: String::new(),
                    interval_ms: 0,
                    open_time: row["t"].as_i64().unwrap() * 1000,
                    other_volume: None,
                    digits: [o, h, l, c, row["v"].to_string().replace('"', "")],
                    trades: 0,
                    is_closed: None,
                    event_time: None,
                }
            }
            _ => {
                Plain { symbol: String::new(), interval_ms: 0, ..hyperliquid_candle(row).unwrap() }
            }
        })
        .collect();
    let times: Vec<i64> = expected.iter().map(|candle| candle.open_time).collect();
    let interval = match market.venue() {
        Venue::Gateio => interval_of(&times),
        _ => {
            let ms = window_ms(rows[0]["i"].as_str().unwrap()).unwrap();
            Interval::ALL.into_iter().find(|one| one.ms() == ms).unwrap()
        }
    };
    let json = &mut JsonReader::default();
    let asked = (rows[0]["s"].as_str().unwrap_or("BTC_USDT"), interval);
    let read = venue::read_candles(market, json, &response(200, body), asked).unwrap();
    let read: Vec<Plain> = read.candles.iter().map(|&row| plain("", 0, row)).collect();
    assert_eq!(read, expected, "{market}");
}
