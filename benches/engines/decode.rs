//! A message's bytes to its candle: ours, and serde_json into borrowed structs of exactly the
//! fields that are read, for the same candle. The rounds of both take turns.

use std::hint::black_box;
use std::time::Instant;

use connector_wss::clock::UnixMs;
use connector_wss::market::{Candle, Decimal, Market, Venue};
use connector_wss::venue::{self, Klines};
use connector_wss::wire::json::JsonReader;
use serde::Deserialize;

use crate::results::{Cell, Row};

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    Venue::ALL.into_iter().map(|venue| compare(venue, rounds)).collect()
}

fn compare(venue: Venue, rounds: usize) -> Row {
    let market = Market::find(venue, "spot").unwrap();
    let texts: Vec<String> = (0..MESSAGES).map(|index| message(venue, index)).collect();
    let mut reader = JsonReader::default();
    for text in &texts {
        let candle = ours(&mut reader, market, text).expect("understood");
        assert_eq!(prices(&candle), prices(&with_serde(venue, text)), "{text}");
    }
    let (mut ours_ns, mut general_ns, mut theirs_ns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours_ns.push(round(&texts, |text| {
            black_box(ours(&mut reader, market, black_box(text)));
        }));
        general_ns.push(round(&texts, |text| {
            black_box(general(&mut reader, market, black_box(text)));
        }));
        theirs_ns.push(round(&texts, |text| {
            black_box(with_serde(venue, black_box(text)));
        }));
    }
    let cells = vec![
        Cell::median("ours", ours_ns),
        Cell::median("ours, if not written as usual", general_ns),
        Cell::median("serde_json", theirs_ns),
    ];
    Row::new("decode a push to its candle", venue.name(), "ns", cells)
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
    if venue::read_usual(market, text, &mut klines).is_some() {
        return klines.last().map(|kline| kline.candle);
    }
    general(reader, market, text)
}

/// The same as if the message were not written as usual.
fn general(reader: &mut JsonReader, market: Market, text: &str) -> Option<Candle> {
    let read = reader.read(text.as_bytes(), |root| {
        let mut klines = Klines::new();
        venue::decode(market, root, &mut klines).ok()?;
        klines.last().map(|kline| kline.candle)
    });
    read.ok().flatten()
}

/// Made-up pushes in each exchange's shape.
fn message(venue: Venue, index: u64) -> String {
    let start = 1_700_000_040_000 + index * 60_000;
    let (end, now, second) = (start + 59_999, start + 30_123, start / 1000);
    let (open, high) = (format!("4217{index}.10"), format!("4219{index}.95"));
    let (low, close) = (format!("4216{index}.01"), format!("4218{index}.37"));
    let (volume, turnover) = (format!("1{index}.48213"), format!("61{index}094.8812034"));
    let is_closed = index == 0;
    match venue {
        Venue::Binance => format!(
            r#"{{"e":"kline","E":{now},"s":"ABCUSDT","k":{{"t":{start},"T":{end},"s":"ABCUSDT","i":"1m","f":3301{index}5,"L":3302{index}9,"o":"{open}000000","c":"{close}000000","h":"{high}000000","l":"{low}000000","v":"{volume}000","n":10{index}5,"x":{is_closed},"q":"{turnover}0","V":"5.12000000","Q":"215914.37000000","B":"0"}}}}"#
        ),
        Venue::Okx => {
            let confirm = u8::from(is_closed);
            format!(
                r#"{{"arg":{{"channel":"candle1m","instId":"ABC-USDT"}},"data":[["{start}","{open}","{high}","{low}","{close}","{volume}","{turnover}","{turnover}","{confirm}"]]}}"#
            )
        }
        Venue::Bybit => format!(
            r#"{{"type":"snapshot","topic":"kline.1.ABCUSDT","data":[{{"start":{start},"end":{end},"interval":"1","open":"{open}","close":"{close}","high":"{high}","low":"{low}","volume":"{volume}","turnover":"{turnover}","confirm":{is_closed},"timestamp":{now}}}],"ts":{now}}}"#
        ),
        Venue::Gateio => format!(
            r#"{{"time":{},"time_ms":{now},"channel":"spot.candlesticks","event":"update","result":{{"t":"{second}","v":"{turnover}","c":"{close}","h":"{high}","l":"{low}","o":"{open}","n":"1m_ABC_USDT","a":"{volume}","w":{is_closed}}}}}"#,
            now / 1000
        ),
        Venue::Hyperliquid => format!(
            r#"{{"channel":"candle","data":{{"t":{start},"T":{end},"s":"@107","i":"1m","o":"{open}","c":"{close}","h":"{high}","l":"{low}","v":"{volume}","n":10{index}}}}}"#
        ),
    }
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
struct GateKline<'a> {
    #[serde(borrow)]
    t: &'a str,
    v: &'a str,
    c: &'a str,
    h: &'a str,
    l: &'a str,
    o: &'a str,
    n: &'a str,
    a: &'a str,
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
    let (volume, quote_volume) = (digits(volume), quote.map(digits));
    Candle { open_time: UnixMs(start), open, high, low, close, volume, quote_volume, trades }
}

fn digits(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn with_serde(venue: Venue, text: &str) -> Candle {
    match venue {
        Venue::Binance => {
            let push: BinancePush<'_> = serde_json::from_str(text).unwrap();
            let k = push.k;
            assert!(push.event == "kline" && push.symbol == k.s && k.i == "1m");
            assert!(k.end == k.t + 59_999 && k.t <= push.event_time);
            black_box(k.x);
            candle(k.t, [k.o, k.h, k.l, k.c], k.v, Some(k.q), k.n)
        }
        Venue::Okx => {
            let push: OkxPush<'_> = serde_json::from_str(text).unwrap();
            let OkxRows([[start, open, high, low, close, volume, _, quote, confirm]]) = push.data;
            assert!(push.arg.channel == "candle1m" && matches!(confirm, "0" | "1"));
            black_box(push.arg.inst_id);
            let start = start.parse().unwrap();
            candle(start, [open, high, low, close], volume, Some(quote), 0)
        }
        Venue::Bybit => {
            let push: BybitPush<'_> = serde_json::from_str(text).unwrap();
            let [k] = push.data;
            black_box((push.topic.strip_prefix("kline.1.").unwrap(), k.confirm));
            assert!(k.interval == "1" && k.end == k.start + 59_999 && k.start <= push.ts);
            candle(k.start, [k.open, k.high, k.low, k.close], k.volume, Some(k.turnover), 0)
        }
        Venue::Gateio => {
            let push: GatePush<'_> = serde_json::from_str(text).unwrap();
            let k = push.result;
            assert!(push.channel == "spot.candlesticks" && push.event == "update");
            black_box((k.n.strip_prefix("1m_").unwrap(), k.w, push.time_ms, digits(k.a)));
            let start = k.t.parse::<i64>().unwrap() * 1000;
            candle(start, [k.o, k.h, k.l, k.c], k.v, None, 0)
        }
        Venue::Hyperliquid => {
            let push: HyperliquidPush<'_> = serde_json::from_str(text).unwrap();
            let k = push.data;
            assert!(push.channel == "candle" && k.i == "1m" && k.end == k.t + 59_999);
            black_box(k.s);
            candle(k.t, [k.o, k.h, k.l, k.c], k.v, None, k.n)
        }
    }
}
