//! One symbol in several intervals: streams of their own on one session, each with its windows, its
//! repairs and its end.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::FeedConfig;
use connector_wss::market::{FinalBy, Instrument, InstrumentId, Interval, Market, Source, Venue};
use connector_wss::messages::{Command, FeedEvent, MarketEvent, RestResponse};

use super::pair::{Pair, config, kline, market};

const SECOND: Duration = Duration::from_secs(1);
const FIVE: i64 = 300_000;
/// The start of the virtual exchange is within this window of five minutes, which is number 0.
const ZERO_MS: i64 = 1_699_999_800_000;

fn subscribe(pair: &mut Pair, id: u32, market: Market, symbol: &str, interval: Interval) {
    let instrument = Instrument { market, symbol: symbol.into(), interval };
    pair.feed.handle_command(
        Command::Subscribe { id: InstrumentId(id), instrument, tail: Vec::new() },
        pair.now,
    );
    pair.pump();
}

/// BTCUSDT of spot: minutes as id 0, five minutes as id 1. Silence alone makes nobody ask REST.
fn both() -> Pair {
    let mut pair = Pair::with(FeedConfig { stream_idle_timeout: SECOND * 1000, ..config() });
    pair.manners.is_still = true;
    subscribe(&mut pair, 0, market("spot"), "BTCUSDT", Interval::M1);
    subscribe(&mut pair, 1, market("spot"), "BTCUSDT", Interval::M5);
    pair
}

fn end(window: i64) -> i64 {
    ZERO_MS + (window + 1) * FIVE
}

/// A push of five minutes.
fn five(window: i64, close: &str, is_closed: bool, event_ms: i64) -> String {
    let (open, last) = (end(window - 1), end(window) - 1);
    let minute = kline("BTCUSDT", 0, close, is_closed, event_ms);
    let head = minute.find("\"t\":").unwrap();
    let tail = minute.find(",\"s\":\"BTCUSDT\",\"i\"").unwrap();
    let times = format!("\"t\":{open},\"T\":{last}");
    format!("{}{times}{}", &minute[..head], minute[tail..].replace("\"1m\"", "\"5m\""))
}

/// (id, window of five minutes, source) of what closed of five minutes.
fn closes(pair: &Pair) -> Vec<(i64, Source, Option<FinalBy>)> {
    let of_five = pair.candles().into_iter().filter(|one| one.instrument == InstrumentId(1));
    let closed = of_five.filter(|update| update.is_closed());
    closed
        .map(|one| ((one.candle.open_time.0 - ZERO_MS) / FIVE, one.source, one.final_by))
        .collect()
}

fn to(pair: &mut Pair, unix_ms: i64) {
    let left_ms = unix_ms - pair.now.unix_us / 1000;
    pair.pass(Duration::from_millis(u64::try_from(left_ms).unwrap()));
}

#[test]
fn two_intervals_of_a_symbol_share_a_session_and_nothing_else() {
    let mut pair = both();
    assert_eq!(pair.streams(), ["btcusdt@kline_1m", "btcusdt@kline_5m"]);
    assert_eq!(pair.connects.len(), 1);
    pair.push(&kline("BTCUSDT", 0, "2", false, pair.now.unix_us / 1000));
    pair.push(&five(0, "3", false, pair.now.unix_us / 1000));
    let told: Vec<_> =
        pair.candles().iter().map(|one| (one.instrument.0, one.is_closed())).collect();
    assert_eq!(told, [(0, false), (1, false)]);
    to(&mut pair, end(0) + 10);
    pair.push(&five(0, "4", true, end(0) + 10));
    assert_eq!(closes(&pair), [(0, Source::Ws, Some(FinalBy::Flag))]);
    pair.unsubscribe(1);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
    assert_eq!(pair.decode_errors_total(), 0);
    subscribe(&mut pair, 1, market("spot"), "BTCUSDT", Interval::M5);
    pair.cut();
    pair.pass(SECOND * 3);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m", "btcusdt@kline_5m"]);
}

#[test]
fn a_long_window_is_owed_when_it_is_over_and_asked_for_in_its_own_length() {
    let mut pair = both();
    pair.push(&five(0, "3", false, pair.now.unix_us / 1000));
    to(&mut pair, end(0) + 10);
    pair.push(&five(0, "4", true, end(0) + 10));
    pair.cut();
    // Two windows go by of which nothing is heard.
    pair.manners.rest_status = Some(500);
    to(&mut pair, end(2) - 1_000);
    let row = |window: i64| {
        let (open, last) = (end(window - 1), end(window) - 1);
        format!(r#"[{open},"1.10","9000.00","0.50","9","12.50",{last},"20.0",7,"1","2","0"]"#)
    };
    let body = format!("[{},{},{}]", row(1), row(2), row(3)).into_bytes();
    let answer = RestResponse { status: 200, retry_after: None, limit_headers: vec![], body };
    pair.manners.rest_status = None;
    pair.rests.clear();
    to(&mut pair, end(2) + 4_000);
    pair.rest_answers.push_back(answer);
    pair.push(&five(3, "5", false, end(2) + 4_000));
    to(&mut pair, end(2) + 8_000);
    let asked: Vec<&String> = pair.rests.iter().filter(|url| url.contains("interval=5m")).collect();
    let from = format!("startTime={}&", end(0));
    assert!(asked.last().unwrap().contains(&from), "{:?}", pair.rests);
    let rest = (Source::Rest, Some(FinalBy::Rest));
    let expected = [(0, Source::Ws, Some(FinalBy::Flag)), (1, rest.0, rest.1), (2, rest.0, rest.1)];
    assert_eq!(closes(&pair), expected);
    let gaps = pair.published.iter().filter(|event| matches!(event, MarketEvent::Gap { .. }));
    assert_eq!(gaps.count(), 0);
}

#[test]
fn a_push_of_the_next_long_window_before_its_time_is_garbled() {
    let mut pair = both();
    let now_ms = pair.now.unix_us / 1000;
    pair.push(&five(0, "3", false, now_ms));
    // The next window is minutes away.
    pair.push(&five(1, "3", true, end(0) - 61_000));
    assert_eq!((closes(&pair), pair.decode_errors_total()), (vec![], 1));
    pair.push(&five(1, "3", false, end(0) - 500));
    assert_eq!(pair.decode_errors_total(), 1);
}

#[test]
fn a_refusal_ends_the_interval_that_it_names() {
    let okx = Market::find(Venue::Okx, "spot").unwrap();
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    subscribe(&mut pair, 0, okx, "BTC-USDT", Interval::M1);
    subscribe(&mut pair, 1, okx, "BTC-USDT", Interval::H6);
    pair.manners.refuses_tcp = false;
    pair.pass(SECOND * 3);
    pair.push(
        r#"{"event":"error","code":"60018","msg":"Wrong URL or channel:candle6Hutc,instId:BTC-USDT doesn't exist.","connId":"a"}"#,
    );
    pair.push(
        r#"{"event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"},"connId":"a"}"#,
    );
    let rejected: Vec<InstrumentId> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            FeedEvent::Rejected { instrument, .. } => Some(*instrument),
            _ => None,
        })
        .collect();
    assert_eq!(rejected, [InstrumentId(1)]);
    let errors = &pair.metrics.market(okx).decode_errors;
    assert_eq!(errors.iter().map(|counter| counter.value()).sum::<u64>(), 0);
    let start = UnixMs(pair.now.unix_us / 60_000_000 * 60_000);
    pair.push(&format!(
        r#"{{"arg":{{"channel":"candle1m","instId":"BTC-USDT"}},"data":[["{}","1","1","1","1","1","1","1","0"]]}}"#,
        start.0
    ));
    assert_eq!(pair.candles().len(), 1, "its neighbour streams on");
}
