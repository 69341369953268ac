//! A message's bytes to what it says: ours, and serde_json into borrowed structs of exactly the
//! fields that are read. Pushes are as the exchanges write them in 2026, then with white space and
//! with their fields in another order; further messages are answers. The rounds take turns.

use std::hint::black_box;
use std::time::Instant;

use connector_wss::clock::UnixMs;
use connector_wss::market::{Candle, Decimal, Market, Venue};
use connector_wss::venue::{self, Klines};
use connector_wss::wire::json::JsonReader;
use serde::Deserialize;

use crate::results::{Cell, Row};

const MARKETS: [(Venue, &str); 9] = [
    (Venue::Binance, "spot"),
    (Venue::Binance, "usdm"),
    (Venue::Binance, "coinm"),
    (Venue::Okx, "spot"),
    (Venue::Bybit, "spot"),
    (Venue::Bybit, "linear"),
    (Venue::Gateio, "spot"),
    (Venue::Gateio, "um"),
    (Venue::Hyperliquid, "usdm"),
];

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (venue, contract_type) in MARKETS {
        let market = Market::find(venue, contract_type).unwrap();
        let texts: Vec<String> = (0..MESSAGES).map(|index| message(market, index)).collect();
        for (spelling, respell) in SPELLINGS {
            let texts: Vec<String> = texts.iter().map(|text| respell(text)).collect();
            rows.push(compare_pushes(market, spelling, &texts, rounds));
        }
    }
    rows.extend(ANSWERS.map(|(venue, what, text)| compare_answers(venue, what, text, rounds)));
    rows
}

/// A name, and how to write a message that way.
type Spelling = (&'static str, fn(&str) -> String);

/// Ways to write the same.
const SPELLINGS: [Spelling; 3] = [
    ("", |text| text.to_owned()),
    (", white space", |text| {
        let tight = text.replace(' ', "");
        tight.replace(',', ", ").replace(':', ": ")
    }),
    (", another order", |text| {
        // By name.
        serde_json::from_str::<serde_json::Value>(text).unwrap().to_string()
    }),
];

fn compare_pushes(market: Market, spelling: &str, texts: &[String], rounds: usize) -> Row {
    let mut reader = JsonReader::default();
    for text in texts {
        assert!(venue::read_push(market, text, &mut Klines::new()).is_some(), "{text}");
        let candle = ours(&mut reader, market, text).expect("understood");
        assert_eq!(prices(&candle), prices(&with_serde(market, text)), "{text}");
    }
    let (mut ours_ns, mut nodes_ns, mut theirs_ns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours_ns.push(round(texts, |text| {
            black_box(ours(&mut reader, market, black_box(text)));
        }));
        nodes_ns.push(round(texts, |text| {
            black_box(over_nodes(&mut reader, market, black_box(text)));
        }));
        theirs_ns.push(round(texts, |text| {
            black_box(with_serde(market, black_box(text)));
        }));
    }
    let cells = vec![
        Cell::median("ours", ours_ns),
        Cell::median("ours, not in one pass", nodes_ns),
        Cell::median("serde_json", theirs_ns),
    ];
    Row::new("decode a push to its candle", &format!("{market}{spelling}"), "ns", cells)
}

/// What comes beside pushes, of each exchange.
const ANSWERS: [(Venue, &str, &str); 8] = [
    (Venue::Binance, "accepted", r#"{"result":null,"id":17}"#),
    (
        Venue::Binance,
        "refused",
        r#"{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":17}"#,
    ),
    (
        Venue::Okx,
        "accepted",
        r#"{"event":"subscribe","arg":{"channel":"candle1m","instId":"ABC-USDT"},"connId":"a4d3ae55"}"#,
    ),
    (
        Venue::Bybit,
        "accepted",
        r#"{"success":true,"ret_msg":"subscribe","conn_id":"d9avt8shteepr00gfc1g-4zd1x","req_id":"17","op":"subscribe"}"#,
    ),
    (
        Venue::Bybit,
        "pong",
        r#"{"success":true,"ret_msg":"pong","conn_id":"d9avt8shteepr00gfc1g-4zd1x","op":"ping"}"#,
    ),
    (
        Venue::Gateio,
        "accepted",
        r#"{"time":1790350200,"time_ms":1790350200123,"id":17,"conn_id":"b6a52f9d7a1c2e3f","trace_id":"9d8c7b6a5f4e3d2c","channel":"spot.candlesticks","event":"subscribe","payload":["1m","ABC_USDT"],"result":{"status":"success"}}"#,
    ),
    (
        Venue::Hyperliquid,
        "accepted",
        r#"{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"candle","interval":"1m","coin":"ABC"}}}"#,
    ),
    (Venue::Hyperliquid, "pong", r#"{"channel":"pong"}"#),
];

fn compare_answers(venue: Venue, what: &str, text: &str, rounds: usize) -> Row {
    let market = Market::of(venue).next().unwrap();
    let (mut reader, texts) = (JsonReader::default(), vec![text.to_owned(); 8]);
    assert!(answered(&mut reader, market, text), "{text}");
    let (mut ours_ns, mut theirs_ns) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours_ns.push(round(&texts, |text| {
            black_box(answered(&mut reader, market, black_box(text)));
        }));
        theirs_ns.push(round(&texts, |text| {
            let answer: Answer<'_> = serde_json::from_str(black_box(text)).unwrap();
            black_box(answer);
        }));
    }
    let cells = vec![Cell::median("ours", ours_ns), Cell::median("serde_json", theirs_ns)];
    Row::new("decode an answer", &format!("{} {what}", venue.name()), "ns", cells)
}

/// As the feed does it: first as a push, which it is not.
fn answered(reader: &mut JsonReader, market: Market, text: &str) -> bool {
    let mut klines = Klines::new();
    if venue::read_push(market, text, &mut klines).is_some() {
        return false;
    }
    reader.read_text(text, |root| venue::decode(market, root, &mut Klines::new()).is_ok())
        == Ok(true)
}

const MESSAGES: u64 = 8;
const PASSES: usize = 2_000;

/// Mean ns per message.
fn round(texts: &[String], mut decode: impl FnMut(&str)) -> f64 {
    let start = Instant::now();
    for _ in 0..PASSES {
        texts.iter().for_each(|text| decode(text));
    }
    start.elapsed().as_nanos() as f64 / (PASSES * texts.len()) as f64
}

fn prices(candle: &Candle) -> (UnixMs, [Decimal; 4]) {
    (candle.open_time, [candle.open, candle.high, candle.low, candle.close])
}

/// The last candle of a message.
fn ours(reader: &mut JsonReader, market: Market, text: &str) -> Option<Candle> {
    let mut klines = Klines::new();
    if venue::read_push(market, text, &mut klines).is_some() {
        return klines.last().map(|kline| kline.candle);
    }
    over_nodes(reader, market, text)
}

/// The same as if the message had escapes.
fn over_nodes(reader: &mut JsonReader, market: Market, text: &str) -> Option<Candle> {
    let read = reader.read_text(text, |root| {
        let mut klines = Klines::new();
        venue::decode(market, root, &mut klines).ok()?;
        klines.last().map(|kline| kline.candle)
    });
    read.ok().flatten()
}

/// Made-up pushes in each exchange's shape of 2026.
fn message(market: Market, index: u64) -> String {
    let start = 1_700_000_040_000 + index * 60_000;
    let (end, now, second) = (start + 59_999, start + 30_123, start / 1000);
    let (open, high) = (format!("4217{index}.10"), format!("4219{index}.95"));
    let (low, close) = (format!("4216{index}.01"), format!("4218{index}.37"));
    let (volume, turnover) = (format!("1{index}.48213"), format!("61{index}094.8812034"));
    let is_closed = index == 0;
    match (market.venue(), market.contract_type().name()) {
        (Venue::Binance, contract_type) => {
            // Spot has eight decimals.
            let zeros = if contract_type == "spot" { ["000000", "000", "0"] } else { [""; 3] };
            let [price, amount, sum] = zeros;
            let text = format!(
                r#"{{"e":"kline","E":{now},"s":"ABCUSDT","k":{{"t":{start}, "T":{end}, "s":"ABCUSDT", "i":"1m", "f":3301{index}5, "L":3302{index}9, "o":"{open}{price}", "c":"{close}{price}", "h":"{high}{price}", "l":"{low}{price}", "v":"{volume}{amount}", "n":10{index}5, "x":{is_closed}, "q":"{turnover}{sum}", "V":"5.12{price}", "Q":"215914.37{price}", "B":"0"}}}}"#
            );
            if contract_type == "usdm" { text } else { text.replace(' ', "") }
        }
        (Venue::Okx, _) => {
            let confirm = u8::from(is_closed);
            format!(
                r#"{{"arg":{{"channel":"candle1m","instId":"ABC-USDT"}},"data":[["{start}","{open}","{high}","{low}","{close}","{volume}","{turnover}","{turnover}","{confirm}"]]}}"#
            )
        }
        (Venue::Bybit, contract_type) => {
            let data = format!(
                r#""topic":"kline.1.ABCUSDT","data":[{{"start":{start},"end":{end},"interval":"1","open":"{open}","close":"{close}","high":"{high}","low":"{low}","volume":"{volume}","turnover":"{turnover}","confirm":{is_closed},"timestamp":{now}}}],"ts":{now}"#
            );
            match contract_type {
                "spot" => format!(r#"{{"type":"snapshot",{data}}}"#),
                _ => format!(r#"{{{data},"type":"snapshot"}}"#),
            }
        }
        (Venue::Gateio, "spot") => format!(
            r#"{{"time":{},"time_ms":{now},"channel":"spot.candlesticks","event":"update","result":{{"t":"{second}","v":"{turnover}","c":"{close}","h":"{high}","l":"{low}","o":"{open}","n":"1m_ABC_USDT","a":"{volume}","w":{is_closed}}}}}"#,
            now / 1000
        ),
        (Venue::Gateio, _) => format!(
            r#"{{"time":{},"time_ms":{now},"channel":"futures.candlesticks","event":"update","result":[{{"t":{second},"c":"{close}","h":"{high}","l":"{low}","o":"{open}","a":"{volume}","n":"1m_ABC_USDT","w":{is_closed},"v":54135{index}}}]}}"#,
            now / 1000
        ),
        (Venue::Hyperliquid, _) => format!(
            r#"{{"channel":"candle","data":{{"t":{start},"T":{end},"s":"@107","i":"1m","o":"{open}","c":"{close}","h":"{high}","l":"{low}","v":"{volume}","n":10{index}}}}}"#
        ),
    }
}

/// The fields of answers that are read, of all exchanges.
#[derive(Deserialize)]
#[allow(dead_code, reason = "only read from text")]
struct Answer<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    error: Option<AnswerError<'a>>,
    event: Option<&'a str>,
    arg: Option<OkxArg<'a>>,
    op: Option<&'a str>,
    success: Option<bool>,
    ret_msg: Option<&'a str>,
    req_id: Option<&'a str>,
    channel: Option<&'a str>,
    result: Option<AnswerResult<'a>>,
    data: Option<AnswerData<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only read from text")]
struct AnswerError<'a> {
    code: i64,
    msg: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only read from text")]
struct AnswerResult<'a> {
    status: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only read from text")]
struct AnswerData<'a> {
    method: &'a str,
    #[serde(borrow)]
    subscription: AnswerSubscription<'a>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only read from text")]
struct AnswerSubscription<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    interval: &'a str,
    coin: &'a str,
}

#[derive(Deserialize)]
struct BinancePush<'a> {
    #[serde(borrow, rename = "e")]
    event: &'a str,
    #[serde(rename = "E")]
    event_time: i64,
    #[serde(rename = "s")]
    symbol: &'a str,
    k: BinanceKline<'a>,
}

#[derive(Deserialize)]
struct BinanceKline<'a> {
    t: i64,
    #[serde(rename = "T")]
    end: i64,
    #[serde(borrow)]
    s: &'a str,
    i: &'a str,
    o: &'a str,
    c: &'a str,
    h: &'a str,
    l: &'a str,
    v: &'a str,
    n: u64,
    x: bool,
    q: &'a str,
}

#[derive(Deserialize)]
struct OkxPush<'a> {
    #[serde(borrow)]
    arg: OkxArg<'a>,
    data: OkxRows<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OkxArg<'a> {
    channel: &'a str,
    inst_id: &'a str,
}

#[derive(Deserialize)]
struct OkxRows<'a>(#[serde(borrow)] [[&'a str; 9]; 1]);

#[derive(Deserialize)]
struct BybitPush<'a> {
    #[serde(borrow)]
    topic: &'a str,
    data: [BybitKline<'a>; 1],
    ts: i64,
}

#[derive(Deserialize)]
struct BybitKline<'a> {
    start: i64,
    end: i64,
    #[serde(borrow)]
    interval: &'a str,
    open: &'a str,
    close: &'a str,
    high: &'a str,
    low: &'a str,
    volume: &'a str,
    turnover: &'a str,
    confirm: bool,
}

#[derive(Deserialize)]
struct GatePush<'a> {
    time_ms: i64,
    #[serde(borrow)]
    channel: &'a str,
    event: &'a str,
    result: GateKline<'a>,
}

#[derive(Deserialize)]
struct GateFuturesPush<'a> {
    time_ms: i64,
    #[serde(borrow)]
    channel: &'a str,
    event: &'a str,
    result: [GateContract<'a>; 1],
}

#[derive(Deserialize)]
struct GateContract<'a> {
    t: i64,
    v: u64,
    #[serde(borrow)]
    c: &'a str,
    h: &'a str,
    l: &'a str,
    o: &'a str,
    n: &'a str,
    w: bool,
}

#[derive(Deserialize)]
struct GateKline<'a> {
    #[serde(borrow)]
    t: &'a str,
    v: &'a str,
    c: &'a str,
    h: &'a str,
    l: &'a str,
    o: &'a str,
    n: &'a str,
    w: bool,
}

#[derive(Deserialize)]
struct HyperliquidPush<'a> {
    #[serde(borrow)]
    channel: &'a str,
    data: HyperliquidKline<'a>,
}

#[derive(Deserialize)]
struct HyperliquidKline<'a> {
    t: i64,
    #[serde(rename = "T")]
    end: i64,
    #[serde(borrow)]
    s: &'a str,
    i: &'a str,
    o: &'a str,
    c: &'a str,
    h: &'a str,
    l: &'a str,
    v: &'a str,
    n: u64,
}

fn candle(start: i64, prices: [&str; 4], volume: &str, quote: Option<&str>, trades: u64) -> Candle {
    let [open, high, low, close] = prices.map(digits);
    let (volume, other_volume) = (digits(volume), quote.map(digits));
    Candle { open_time: UnixMs(start), open, high, low, close, volume, other_volume, trades }
}

fn digits(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn with_serde(market: Market, text: &str) -> Candle {
    match (market.venue(), market.contract_type().name()) {
        (Venue::Binance, _) => {
            let push: BinancePush<'_> = serde_json::from_str(text).unwrap();
            let k = push.k;
            assert!(push.event == "kline" && push.symbol == k.s && k.i == "1m");
            assert!(k.end == k.t + 59_999 && k.t <= push.event_time);
            black_box(k.x);
            candle(k.t, [k.o, k.h, k.l, k.c], k.v, Some(k.q), k.n)
        }
        (Venue::Okx, _) => {
            let push: OkxPush<'_> = serde_json::from_str(text).unwrap();
            let OkxRows([[start, open, high, low, close, volume, _, quote, confirm]]) = push.data;
            assert!(push.arg.channel == "candle1m" && matches!(confirm, "0" | "1"));
            black_box(push.arg.inst_id);
            let start = start.parse().unwrap();
            candle(start, [open, high, low, close], volume, Some(quote), 0)
        }
        (Venue::Bybit, _) => {
            let push: BybitPush<'_> = serde_json::from_str(text).unwrap();
            let [k] = push.data;
            black_box((push.topic.strip_prefix("kline.1.").unwrap(), k.confirm));
            assert!(k.interval == "1" && k.end == k.start + 59_999 && k.start <= push.ts);
            candle(k.start, [k.open, k.high, k.low, k.close], k.volume, Some(k.turnover), 0)
        }
        (Venue::Gateio, "spot") => {
            let push: GatePush<'_> = serde_json::from_str(text).unwrap();
            let k = push.result;
            assert!(push.channel == "spot.candlesticks" && push.event == "update");
            black_box((k.n.strip_prefix("1m_").unwrap(), k.w, push.time_ms));
            let start = k.t.parse::<i64>().unwrap() * 1000;
            candle(start, [k.o, k.h, k.l, k.c], k.v, Some(k.v), 0)
        }
        (Venue::Gateio, _) => {
            let push: GateFuturesPush<'_> = serde_json::from_str(text).unwrap();
            let [k] = push.result;
            assert!(push.channel == "futures.candlesticks" && push.event == "update");
            black_box((k.n.strip_prefix("1m_").unwrap(), k.w, push.time_ms));
            let mut candle = candle(k.t * 1000, [k.o, k.h, k.l, k.c], "0", None, 0);
            candle.volume = Decimal::from_natural(k.v);
            candle
        }
        (Venue::Hyperliquid, _) => {
            let push: HyperliquidPush<'_> = serde_json::from_str(text).unwrap();
            let k = push.data;
            assert!(push.channel == "candle" && k.i == "1m" && k.end == k.t + 59_999);
            black_box(k.s);
            candle(k.t, [k.o, k.h, k.l, k.c], k.v, None, k.n)
        }
    }
}
