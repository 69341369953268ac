//! Binance, OKX and Bybit: exchanges whose candles carry a closed flag.

use connector_wss::market::{Interval, Market, Venue};
use connector_wss::messages::RestResponse;
use connector_wss::metrics::DecodeErrorKind;
use connector_wss::venue::{self, RestError};
use connector_wss::wire::json::JsonReader;
use serde_json::Value;

use super::mutate::{assert_never_a_candle, assert_push_is_safe};
use super::{Decoded, Plain, Sample, decode, digits, market, plain, samples};

/// Messages that are no candle and no answer of ours, with the error they must be.
const REFUSED: [(Venue, &str, DecodeErrorKind); 4] = [
    // Daily candles at UTC+8.
    (Venue::Okx, "business.ws.ack.doc.jsonl", DecodeErrorKind::Unknown),
    (Venue::Okx, "spot.ws.kline.doc.jsonl", DecodeErrorKind::Unknown),
    // Other channels.
    (Venue::Okx, "public.ws.ack.jsonl", DecodeErrorKind::Unknown),
    // Another version, with times in seconds and prices as numbers.
    (Venue::Bybit, "legacy-v2.ws.kline.jsonl", DecodeErrorKind::Unknown),
];

pub(crate) type Said = Result<Decoded, DecodeErrorKind>;

/// What a file's name says of its messages; panics on a name that says nothing.
fn market_of(venue: Venue, sample: &Sample) -> Market {
    let name = sample.name.strip_prefix("sister-").unwrap_or(&sample.name);
    let words: &[(&str, &str)] = match venue {
        Venue::Binance => &[("spot", "spot"), ("usdm", "usdm"), ("coinm", "coinm"), ("ws", "spot")],
        Venue::Okx => &[
            ("spot", "spot"),
            ("swap", "swap"),
            ("futures", "futures"),
            ("option", "futures"),
            ("business", "spot"),
            ("public", "spot"),
            ("public-url", "spot"),
            ("ws", "spot"),
        ],
        _ => &[
            ("spot", "spot"),
            ("linear", "linear"),
            ("inverse", "inverse"),
            ("legacy-v2", "linear"),
            ("private-style", "linear"),
            ("ws", "spot"),
        ],
    };
    let contract_type = name.split('.').find_map(|part| {
        let word = words.iter().find(|(word, _)| *word == part)?;
        Some(word.1)
    });
    market(venue, contract_type.unwrap_or_else(|| panic!("whose messages has {name}?")))
}

/// `ws.kline`, `rest.klines`, …: the word of a file's name that says what is in it.
pub(crate) fn kind_of(sample: &Sample) -> &'static str {
    const KINDS: [&str; 10] = [
        "ws.kline",
        "ws.session",
        "ws.ack",
        "ws.error",
        "ws.pong",
        "ws.notice",
        "ws.server_shutdown",
        "rest.klines",
        "rest.instruments",
        "rest.error",
    ];
    let parts: Vec<_> = sample.name.split('.').collect();
    let is_in = |kind: &&str| parts.windows(2).any(|two| two.join(".") == **kind);
    KINDS.into_iter().find(is_in).unwrap_or_else(|| panic!("what is in {}?", sample.name))
}

pub(crate) fn pushed(klines: Vec<Plain>) -> Said {
    Ok(Decoded { message: "Klines".to_owned(), klines })
}

pub(crate) fn said(message: String) -> Said {
    Ok(Decoded { message, klines: Vec::new() })
}

/// The length of `5m` or `1H`; none of windows of no fixed length, or that do not begin at their
/// multiples.
pub(crate) fn window_ms(spelling: &str) -> Option<i64> {
    let (count, unit) = spelling.split_at(spelling.len() - 1);
    let unit_ms = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" | "H" => 3_600_000,
        "d" if count == "1" => 86_400_000,
        "d" | "w" | "M" | "D" | "W" => return None,
        other => panic!("{other}: add it here"),
    };
    Some(count.parse::<i64>().unwrap() * unit_ms)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is a string")).to_owned()
}

fn expected(market: Market, root: &Value) -> Said {
    match market.venue() {
        Venue::Binance => expected_binance(market, root),
        Venue::Okx => expected_okx(market, root),
        _ => expected_bybit(market, root),
    }
}

fn expected_binance(market: Market, root: &Value) -> Said {
    let push = root.get("data").unwrap_or(root);
    if push["e"] == "serverShutdown" {
        return said("ShutdownNotice".to_owned());
    }
    if push["e"] != "kline" {
        let id = root.get("id").and_then(Value::as_i64);
        let error = root.get("error").unwrap_or(root);
        let Some(code) = error.get("code").and_then(Value::as_i64) else {
            // A list of what is subscribed.
            return said(match root["result"].is_array() {
                true => "Nothing".to_owned(),
                false => format!("Accepted {{ id: {id:?} }}"),
            });
        };
        let message = error["msg"].as_str().unwrap();
        let kind = match (code, message.contains("too many parameters")) {
            (_, true) => "NotNow(SmallerMessage)",
            (2, false) => "UnknownSymbol",
            (_, false) => "Other",
        };
        return said(format!(
            "Refused(Refusal {{ scope: Whole {{ id: {id:?} }}, kind: {kind}, \
             code: Some({code}), message: {message:?} }})"
        ));
    }
    let k = &push["k"];
    let Some(interval_ms) = window_ms(k["i"].as_str().unwrap()) else {
        return Err(DecodeErrorKind::BadField);
    };
    pushed(vec![Plain {
        symbol: string(&push["s"]),
        interval_ms,
        open_time: k["t"].as_i64().unwrap(),
        digits: ["o", "h", "l", "c", "v"].map(|key| digits(&k[key])),
        other_volume: (market.contract_type().name() != "coinm").then(|| digits(&k["q"])),
        trades: k["n"].as_u64().unwrap(),
        is_closed: Some(k["x"].as_bool().unwrap()),
        event_time: Some(push["E"].as_i64().unwrap()),
    }])
}

fn expected_okx(market: Market, root: &Value) -> Said {
    if let Some(event) = root.get("event") {
        let symbol = root["arg"]["instId"].as_str();
        let message = root["msg"].as_str();
        return said(match (event.as_str().unwrap(), root["code"].as_str()) {
            ("subscribe", None) => {
                assert_eq!(root["arg"]["channel"], "candle1m");
                let symbol = symbol.unwrap();
                format!("AcceptedOne {{ op: Subscribe, symbol: {symbol:?}, interval: M1 }}")
            }
            ("error", Some("60018")) => {
                let words = message.unwrap();
                let at = words.find("instId:").unwrap() + 7;
                let symbol = words[at..].split_whitespace().next().unwrap();
                format!(
                    "Refused(Refusal {{ scope: One {{ symbol: {symbol:?}, interval: Some(M1) }}, \
                     kind: UnknownSymbol, code: Some(60018), message: {words:?} }})"
                )
            }
            ("error", Some(code)) => format!(
                "Refused(Refusal {{ scope: Whole {{ id: None }}, kind: Other, \
                 code: Some({code}), message: {:?} }})",
                message.unwrap()
            ),
            ("notice", Some("64008")) => "ShutdownNotice".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    let channel = root["arg"]["channel"].as_str().unwrap();
    let interval_ms = window_ms(channel.strip_prefix("candle").unwrap()).unwrap();
    let rows = root["data"].as_array().unwrap();
    let symbol = string(&root["arg"]["instId"]);
    pushed(rows.iter().map(|row| okx_row(market, &symbol, interval_ms, row)).collect())
}

fn okx_row(market: Market, symbol: &str, interval_ms: i64, row: &Value) -> Plain {
    let is_spot = market.contract_type().name() == "spot";
    let is_old = row.as_array().unwrap().len() == 7;
    Plain {
        symbol: symbol.to_owned(),
        interval_ms,
        open_time: string(&row[0]).parse().unwrap(),
        digits: [1, 2, 3, 4, 5].map(|index| digits(&row[index])),
        other_volume: match (is_old, is_spot) {
            (false, _) => Some(digits(&row[7])),
            (true, true) => Some(digits(&row[6])),
            (true, false) => None,
        },
        trades: 0,
        is_closed: (!is_old).then(|| row[8] == "1"),
        event_time: None,
    }
}

fn expected_bybit(market: Market, root: &Value) -> Said {
    let Some(topic) = root.get("topic") else {
        let id = root["req_id"].as_str().and_then(|id| id.parse::<i64>().ok());
        let words = root["ret_msg"].as_str();
        return said(match (root["op"].as_str().unwrap(), root["success"].as_bool()) {
            ("ping" | "pong", _) => "Nothing".to_owned(),
            (_, Some(true)) => format!("Accepted {{ id: {id:?} }}"),
            (_, Some(false)) if words.unwrap().contains("already subscribed") => {
                format!("Accepted {{ id: {id:?} }}")
            }
            (_, Some(false)) => format!(
                "Refused(Refusal {{ scope: Whole {{ id: {id:?} }}, kind: UnknownSymbol, \
                 code: None, message: {:?} }})",
                words.unwrap()
            ),
            (_, None) => panic!("{root}"),
        });
    };
    let topic: Vec<_> = topic.as_str().unwrap().splitn(3, '.').collect();
    let entries = root["data"].as_array().unwrap();
    let entry = |entry: &Value| Plain {
        symbol: topic[2].to_owned(),
        interval_ms: topic[1].parse::<i64>().unwrap() * 60_000,
        open_time: entry["start"].as_i64().unwrap(),
        digits: ["open", "high", "low", "close", "volume"].map(|key| digits(&entry[key])),
        other_volume: (market.contract_type().name() != "inverse")
            .then(|| digits(&entry["turnover"])),
        trades: 0,
        is_closed: Some(entry["confirm"].as_bool().unwrap()),
        event_time: Some(root["ts"].as_i64().unwrap()),
    };
    pushed(entries.iter().map(entry).collect())
}

fn refused(venue: Venue, sample: &Sample) -> Option<DecodeErrorKind> {
    let row = REFUSED.iter().find(|row| row.0 == venue && row.1 == sample.name);
    row.map(|row| row.2)
}

/// Every message of `venue`'s WebSocket samples, with its market and what it must be read as.
fn messages(venue: Venue) -> Vec<(Market, String, Said)> {
    let mut messages = Vec::new();
    for sample in samples(venue.name()) {
        let market = market_of(venue, &sample);
        if kind_of(&sample).starts_with("rest.") {
            continue;
        }
        assert!(!sample.texts.is_empty(), "{} is empty", sample.name);
        for text in &sample.texts {
            let said = match refused(venue, &sample) {
                Some(kind) => Err(kind),
                None => expected(market, &serde_json::from_str(text).unwrap()),
            };
            messages.push((market, text.clone(), said));
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
fn every_message_of_binance_is_read() {
    assert_read_as_expected(Venue::Binance, 100);
}

#[test]
fn every_message_of_okx_is_read() {
    assert_read_as_expected(Venue::Okx, 30);
}

#[test]
fn every_message_of_bybit_is_read() {
    assert_read_as_expected(Venue::Bybit, 100);
}

/// Fields of pushes that are not read, and cells that may be missing.
fn unread(market: Market) -> (&'static [&'static str], &'static [&'static str]) {
    const COINM: &[&str] = &["/k/q", "/data/k/q"];
    match (market.venue(), market.contract_type().name()) {
        (Venue::Binance, "coinm") => (COINM, &[]),
        (Venue::Binance, _) => (&[], &[]),
        // Rows of seven and eight cells are read too.
        (Venue::Okx, _) => (&[], &["/data/*/*"]),
        (_, "inverse") => (&["/data/*/timestamp", "/type", "/data/*/turnover"], &[]),
        _ => (&["/data/*/timestamp", "/type"], &[]),
    }
}

const BINANCE_UNREAD: [&str; 11] = [
    "/stream",
    "/k/f",
    "/k/L",
    "/k/V",
    "/k/Q",
    "/k/B",
    "/data/k/f",
    "/data/k/L",
    "/data/k/V",
    "/data/k/Q",
    "/data/k/B",
];

fn assert_breaks_safely(market: Market, text: &str) {
    let Ok(read) = decode(market, text.as_bytes()) else {
        return assert_never_a_candle(market, text);
    };
    if read.klines.is_empty() {
        return assert_never_a_candle(market, text);
    }
    let (fields, optional) = unread(market);
    let mut fields = fields.to_vec();
    match market.venue() {
        Venue::Binance => fields.extend(BINANCE_UNREAD),
        Venue::Okx
            if market.contract_type().name() != "spot" || read.klines[0].is_closed.is_some() =>
        {
            fields.push("/data/*/6");
        }
        _ => {}
    }
    assert_push_is_safe(market, text, &fields, optional);
}

#[test]
fn captured_messages_break_safely() {
    for venue in [Venue::Binance, Venue::Okx, Venue::Bybit] {
        for (market, text, _) in messages(venue) {
            assert_breaks_safely(market, &text);
        }
    }
}

/// One push and one of every other message of each contract type, made up.
const MADE_UP: [(Venue, &[&str], &[&str]); 3] = [
    (
        Venue::Binance,
        &["spot", "usdm", "coinm"],
        &[
            r#"{"e":"kline","E":1700000041000,"s":"ABCXYZ","k":{"t":1700000040000,"T":1700000099999,"s":"ABCXYZ","i":"1m","f":5,"L":9,"o":"10.50","c":"11.2","h":"12","l":"9.75","v":"100.5","n":5,"x":false,"q":"1055.25","V":"40","Q":"420","B":"0"}}"#,
            r#"{"stream":"abcxyz@kline_1m","data":{"e":"kline","E":1700000100001,"s":"ABCXYZ","k":{"t":1700000040000,"T":1700000099999,"s":"ABCXYZ","i":"1m","o":"10.50","c":"11.2","h":"12","l":"9.75","v":"100.5","n":5,"x":true,"q":"1055.25"}}}"#,
            r#"{"result":null,"id":7}"#,
            r#"{"code":2,"msg":"Invalid request: unknown stream","id":7}"#,
            r#"{"e":"serverShutdown","E":1700000041000}"#,
        ],
    ),
    (
        Venue::Okx,
        &["spot", "swap", "futures"],
        &[
            r#"{"arg":{"channel":"candle1m","instId":"ABC-XYZ"},"data":[["1700000040000","10.50","12","9.75","11.2","100.5","1055.25","1055.25","0"]]}"#,
            r#"{"arg":{"channel":"candle1m","instId":"ABC-XYZ"},"data":[["1700000040000","10.50","12","9.75","11.2","100.5","1055.25","1055.25","1"],["1700000100000","11.2","11.2","11.2","11.2","0","0","0","0"]]}"#,
            r#"{"event":"subscribe","arg":{"channel":"candle1m","instId":"ABC-XYZ"},"connId":"a1"}"#,
            r#"{"id":"9","event":"unsubscribe","op":"x","arg":{"channel":"candle1Dutc","instId":"ABC-XYZ"},"connId":"a1"}"#,
            r#"{"event":"error","code":"60018","msg":"channel:candle1m,instId:ABC-XYZ doesn't exist.","connId":"a1"}"#,
            r#"{"event":"error","code":"60014","msg":"Requests too frequent","connId":"a1"}"#,
            r#"{"event":"notice","code":"64008","msg":"soon closed","connId":"a1"}"#,
        ],
    ),
    (
        Venue::Bybit,
        &["spot", "linear", "inverse"],
        &[
            r#"{"topic":"kline.1.ABCXYZ","data":[{"start":1700000040000,"end":1700000099999,"interval":"1","open":"10.50","close":"11.2","high":"12","low":"9.75","volume":"100.5","turnover":"1055.25","confirm":false,"timestamp":1700000041000}],"ts":1700000041000,"type":"snapshot"}"#,
            r#"{"topic":"kline.1.ABCXYZ","data":[{"start":1700000040000,"end":1700000099999,"interval":"1","open":"10.50","close":"11.2","high":"12","low":"9.75","volume":"100.5","turnover":"1055.25","confirm":true,"timestamp":1700000100004},{"start":1700000100000,"end":1700000159999,"interval":"1","open":"11.2","close":"11.2","high":"11.2","low":"11.2","volume":"0","turnover":"0","confirm":false,"timestamp":1700000100004}],"ts":1700000100004,"type":"snapshot"}"#,
            r#"{"success":true,"ret_msg":"","conn_id":"a1","req_id":"7","op":"subscribe"}"#,
            r#"{"success":false,"ret_msg":"error:handler not found,topic:kline.1.ABCXYZ","conn_id":"a1","req_id":"7","op":"subscribe"}"#,
            r#"{"success":true,"ret_msg":"pong","conn_id":"a1","op":"ping"}"#,
            r#"{"req_id":"7","op":"pong","args":["1700000041000"],"conn_id":"a1"}"#,
        ],
    ),
];

#[test]
fn messages_of_every_kind_and_contract_type_break_safely() {
    for (venue, contract_types, texts) in MADE_UP {
        for contract_type in contract_types {
            let market = market(venue, contract_type);
            for text in texts {
                assert!(decode(market, text.as_bytes()).is_ok(), "{market}: {text}");
                assert_breaks_safely(market, text);
            }
        }
    }
}

fn response(status: u16, body: &str) -> RestResponse {
    let body = body.as_bytes().to_vec();
    RestResponse { status, retry_after: None, limit_headers: Vec::new(), body }
}

/// The rows of a REST body, and the length of their windows.
fn rest_rows(market: Market, root: &Value) -> (i64, Vec<Plain>) {
    let rows = match market.venue() {
        Venue::Binance => root,
        Venue::Okx => &root["data"],
        _ => &root["result"]["list"],
    };
    let rows = rows.as_array().unwrap();
    let open_time = |row: &Value| match &row[0] {
        Value::String(text) => text.parse::<i64>().unwrap(),
        number => number.as_i64().unwrap(),
    };
    let interval_ms = match (market.venue(), rows.len()) {
        (Venue::Binance, _) => rows[0][6].as_i64().unwrap() - open_time(&rows[0]) + 1,
        (_, 1) => 60_000,
        _ => open_time(&rows[0]) - open_time(&rows[1]),
    };
    let contract_type = market.contract_type().name();
    let plain = |row: &Value| match market.venue() {
        Venue::Okx => okx_row(market, "", interval_ms, row),
        venue => Plain {
            symbol: String::new(),
            interval_ms,
            open_time: open_time(row),
            digits: [1, 2, 3, 4, 5].map(|index| digits(&row[index])),
            other_volume: match (venue, contract_type) {
                (Venue::Binance, "coinm") | (Venue::Bybit, "inverse") => None,
                (Venue::Binance, _) => Some(digits(&row[7])),
                _ => Some(digits(&row[6])),
            },
            trades: if venue == Venue::Binance { row[8].as_u64().unwrap() } else { 0 },
            is_closed: None,
            event_time: None,
        },
    };
    let mut plains: Vec<_> = rows.iter().map(plain).collect();
    if market.venue() != Venue::Binance {
        plains.reverse();
    }
    (interval_ms, plains)
}

#[test]
fn every_rest_answer_is_read() {
    for venue in [Venue::Binance, Venue::Okx, Venue::Bybit] {
        for sample in samples(venue.name()) {
            let market = market_of(venue, &sample);
            let body = &sample.texts[0];
            match kind_of(&sample) {
                "rest.klines" => assert_candles(market, body),
                "rest.instruments" => assert_instruments(market, body),
                "rest.error" => {
                    let read = read_candles(market, Interval::M1, 400, body);
                    assert!(matches!(read, Err(RestError::Failed { .. })), "{read:?}");
                }
                kind => assert!(kind.starts_with("ws."), "{kind}"),
            }
        }
    }
}

fn read_candles(
    market: Market,
    interval: Interval,
    status: u16,
    body: &str,
) -> Result<venue::RestCandles, RestError> {
    let root: Value = serde_json::from_str(body).unwrap();
    let symbol = root["result"]["symbol"].as_str().unwrap_or("BTCUSDT");
    let (json, response) = (&mut JsonReader::default(), response(status, body));
    venue::read_candles(market, json, &response, (symbol, interval))
}

fn assert_candles(market: Market, body: &str) {
    let root: Value = serde_json::from_str(body).unwrap();
    let (interval_ms, expected) = rest_rows(market, &root);
    let interval = Interval::ALL.into_iter().find(|interval| interval.ms() == interval_ms);
    let Some(interval) = interval else {
        // Months.
        let read = read_candles(market, Interval::D1, 200, body);
        return assert!(matches!(read, Err(RestError::NoSense { .. })), "{read:?}");
    };
    let read = read_candles(market, interval, 200, body).unwrap();
    let rows: Vec<_> = read.candles.iter().map(|row| plain("", interval_ms, *row)).collect();
    assert_eq!(rows, expected, "{market}: {body}");
    assert_eq!(read.server_time.map(|at| at.0), root["time"].as_i64());
}

fn assert_instruments(market: Market, body: &str) {
    let root: Value = serde_json::from_str(body).unwrap();
    let (list, symbol, states, trading) = match market.venue() {
        Venue::Binance => {
            (&root["symbols"], "symbol", ["status", "contractStatus"], ["TRADING", "CANCEL_ONLY"])
        }
        Venue::Okx => (&root["data"], "instId", ["state"; 2], ["live"; 2]),
        _ => (&root["result"]["list"], "symbol", ["status"; 2], ["Trading", "PreLaunch"]),
    };
    let expected = list.as_array().unwrap().iter().map(|one| {
        let state = states.into_iter().find_map(|key| one[key].as_str()).unwrap().to_owned();
        (string(&one[symbol]), Some(state).filter(|state| !trading.contains(&state.as_str())))
    });
    let page = venue::read_instruments(market, None, body.as_bytes()).unwrap();
    let listed = page.listed.into_iter().map(|one| (one.symbol, one.halted));
    assert_eq!(listed.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert!(page.next.is_none() && page.parts_page.is_none());
}
