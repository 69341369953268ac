//! Candles from push to ring: order, duplicates, gaps, conflation.

use std::time::Duration;

use connector_wss::clock::{RoughLapse, UnixMs};
use connector_wss::limits::OPEN_BURST_MAX;
use connector_wss::market::{FinalBy, InstrumentId, Source};
use connector_wss::messages::MarketEvent;
use connector_wss::wire::write_text_frame;

use super::pair::{Pair, START_MS, config, kline};

fn closes(pair: &Pair) -> Vec<(i64, String, bool)> {
    let minute = |time: UnixMs| (time.0 - START_MS) / 60_000;
    let row = |update: &connector_wss::market::CandleUpdate| {
        let candle = update.candle;
        (minute(candle.open_time), candle.close.to_string(), update.is_closed())
    };
    pair.candles().iter().map(row).collect()
}

fn row(minute: i64, close: &str, is_closed: bool) -> (i64, String, bool) {
    (minute, close.to_owned(), is_closed)
}

#[test]
fn a_push_becomes_a_candle_with_the_exchange_s_digits_and_times() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
    pair.pass(Duration::from_millis(250));
    pair.push(&kline("BTCUSDT", 0, "2.340000", false, START_MS + 200));
    let update = pair.candles()[0];
    assert_eq!(update.instrument, InstrumentId(0));
    assert_eq!(update.candle.close.as_str(), "2.34");
    assert_eq!(update.candle.volume.as_str(), "12.5");
    assert_eq!(update.candle.other_volume.unwrap().as_str(), "20");
    assert_eq!((update.candle.trades, update.revision), (7, 0));
    assert_eq!(update.event_time, Some(UnixMs(START_MS + 200)));
    assert_eq!((update.received, update.source), (pair.now.mono, Source::Ws));
    let latency = &pair.spot().receive_lag;
    assert_eq!(latency.sum_ns(), 50_000_000);
    pair.pass(Duration::from_secs(60));
    pair.push(&kline("BTCUSDT", 0, "2.35", true, START_MS + 60_260));
    assert_eq!(pair.candles()[1].final_by, Some(FinalBy::Flag));
    assert_eq!((pair.spot().open_quotes.value(), pair.spot().closed_quotes.value()), (1, 1));
}

#[test]
fn combined_form_and_non_ascii_symbols_are_understood() {
    let mut pair = Pair::subscribed(&["币安人生USDT"]);
    assert_eq!(pair.streams(), ["币安人生usdt@kline_1m"]);
    let raw = kline("币安人生USDT", 0, "2", false, START_MS);
    pair.push(&format!(r#"{{"stream":"币安人生usdt@kline_1m","data":{raw}}}"#));
    assert_eq!(closes(&pair), [row(0, "2", false)]);
}

#[test]
fn duplicate_late_and_restated_candles_are_told_apart() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    let at = START_MS + 60_010;
    pair.push(&kline("BTCUSDT", 0, "2", true, at));
    pair.push(&kline("BTCUSDT", 0, "2", true, at));
    pair.push(&kline("BTCUSDT", -1, "2", true, at));
    pair.push(&kline("BTCUSDT", 0, "2", false, at));
    pair.push(&kline("BTCUSDT", 0, "2.5", true, at));
    assert_eq!(closes(&pair), [row(0, "2", true), row(0, "2.5", true)]);
    assert_eq!(pair.candles()[1].revision, 1);
    let spot = pair.spot();
    assert_eq!((spot.duplicates.value(), spot.late.value()), (1, 2));
    assert_eq!(spot.corrections.value(), 1);
}

#[test]
fn a_hole_holds_the_next_candle_and_is_told_when_rest_has_no_answer() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.manners.rest_status = Some(500);
    pair.push(&kline("BTCUSDT", 0, "2", true, START_MS + 60_010));
    pair.cut();
    pair.pass(Duration::from_secs(240));
    pair.push(&kline("BTCUSDT", 3, "3", true, START_MS + 240_010));
    pair.pass(Duration::from_millis(4_900));
    assert_eq!(closes(&pair), [row(0, "2", true)]);
    pair.pass(Duration::from_millis(100));
    pair.push(&kline("BTCUSDT", 4, "4", true, START_MS + 300_010));
    let first_missing = UnixMs(START_MS + 60_000);
    let gap = MarketEvent::Gap { instrument: InstrumentId(0), first_missing, missing: 2 };
    assert_eq!(pair.published[1], gap);
    assert_eq!(pair.published.len(), 4);
    assert_eq!((pair.spot().gaps.value(), pair.spot().gap_candles.value()), (1, 2));
}

#[test]
fn windows_missed_while_unsubscribed_are_no_gap_and_nothing_is_said_twice() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "ETHUSDT"]);
    pair.manners.is_still = true;
    pair.push(&kline("BTCUSDT", 0, "2", true, START_MS + 60_010));
    pair.unsubscribe(0);
    assert_eq!(pair.streams(), ["ethusdt@kline_1m"]);
    pair.push(&kline("BTCUSDT", 1, "2", true, START_MS + 120_010));
    pair.pass(Duration::from_secs(330));
    pair.subscribe(0, "spot", "BTCUSDT");
    assert_eq!(pair.streams(), ["btcusdt@kline_1m", "ethusdt@kline_1m"]);
    pair.push(&kline("BTCUSDT", 0, "2", true, START_MS + 60_010));
    pair.pass(Duration::from_secs(30));
    pair.push(&kline("BTCUSDT", 5, "5", true, START_MS + 360_010));
    assert_eq!(closes(&pair), [row(0, "2", true), row(5, "5", true)]);
    assert_eq!((pair.spot().gaps.value(), pair.spot().late.value()), (0, 1));
    assert_eq!(pair.decode_errors_total(), 0);
}

#[test]
fn a_burst_of_open_candles_reaches_the_ring_whole_and_in_order() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.is_draining = false;
    for close in ["1", "2", "3"] {
        let at = START_MS + close.parse::<i64>().unwrap();
        pair.push(&kline("BTCUSDT", 0, close, false, at));
    }
    pair.push(&kline("BTCUSDT", 0, "4", true, START_MS + 60_010));
    pair.push(&kline("BTCUSDT", 1, "5", false, START_MS + 60_020));
    pair.is_draining = true;
    pair.pump();
    let opens = ["1", "2", "3"].map(|close| row(0, close, false));
    assert_eq!(closes(&pair)[..3], opens);
    assert_eq!(closes(&pair)[3..], [row(0, "4", true), row(1, "5", false)]);
    assert_eq!(pair.spot().open_queue_depth.value(), 0);
}

#[test]
fn beyond_the_burst_open_candles_are_conflated_and_never_overtake_a_closed_one() {
    let burst = i64::try_from(OPEN_BURST_MAX).unwrap();
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.is_draining = false;
    for at in 1..=burst + 3 {
        pair.push(&kline("BTCUSDT", 0, &at.to_string(), false, START_MS + at));
    }
    assert_eq!(pair.spot().open_queue_depth.value(), burst + 1);
    pair.push(&kline("BTCUSDT", 0, "4", true, START_MS + 60_010));
    assert_eq!(pair.spot().open_queue_depth.value(), burst);
    pair.push(&kline("BTCUSDT", 1, "5", false, START_MS + 60_020));
    pair.push(&kline("BTCUSDT", 1, "6", false, START_MS + 60_030));
    pair.push(&kline("BTCUSDT", 1, "5", false, START_MS + 60_020));
    pair.is_draining = true;
    pair.pump();
    let published = closes(&pair);
    assert_eq!(published.len(), OPEN_BURST_MAX + 2);
    assert_eq!(published[OPEN_BURST_MAX..], [row(0, "4", true), row(1, "6", false)]);
    assert_eq!(pair.spot().late.value(), 1);
    assert_eq!(pair.spot().closed_queue_depth.value(), 0);
    assert_eq!(pair.spot().open_queue_depth.value(), 0);
}

#[test]
fn a_full_closed_queue_holds_the_sockets_and_loses_nothing() {
    let mut pair = Pair::with(connector_wss::feed::FeedConfig { closed_queue_max: 2, ..config() });
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.is_draining = false;
    for minute in 0..3 {
        assert_eq!(pair.feed.wants_bytes(), minute < 2);
        pair.push(&kline("BTCUSDT", minute, "2", true, START_MS + 60_000 * (minute + 1)));
    }
    pair.feed.note_ring_full(pair.now);
    assert_eq!(pair.spot().queue_blocking.value(), 1);
    pair.pass(Duration::from_secs(120));
    assert_eq!(pair.peers.len(), 1, "a session that is not read is not lost");
    pair.is_draining = true;
    pair.pump();
    assert!(pair.feed.wants_bytes());
    assert_eq!(closes(&pair).len(), 3);
}

#[test]
fn a_candle_tells_how_long_its_own_read_had_lain_in_the_kernel() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    let lapses = [RoughLapse::of_ns(7_000), RoughLapse::UNKNOWN, RoughLapse::of_ns(90_000)];
    for (minute, lapse) in (0..).zip(lapses) {
        pair.feed.note_kernel(lapse);
        pair.push(&kline("BTCUSDT", minute, "2", true, START_MS + 60_000 * (minute + 1)));
    }
    let told: Vec<_> = pair.candles().iter().map(|update| update.kernel).collect();
    assert_eq!(told, lapses);
}

#[test]
fn pushes_cut_anywhere_by_the_network_are_the_same_candles() {
    let mut frames = Vec::new();
    for minute in 0..3 {
        let at = START_MS + 60_000 * (minute + 1);
        write_text_frame(&mut frames, kline("BTCUSDT", minute, "2", true, at).as_bytes());
        let next = kline("BTCUSDT", minute + 1, "3", false, at + 5);
        write_text_frame(&mut frames, next.as_bytes());
    }
    let mut expected = None;
    for chunk_bytes in [1, 2, 7, 64, 200, frames.len()] {
        let mut pair = Pair::subscribed(&["BTCUSDT"]);
        let session = pair.only();
        pair.is_draining = false;
        for chunk in frames.chunks(chunk_bytes) {
            pair.feed.handle_bytes(session, chunk, pair.now);
            while let Some(event) = pair.feed.next_published() {
                pair.published.push(event);
            }
        }
        let closed: Vec<_> = closes(&pair).into_iter().filter(|row| row.2).collect();
        assert_eq!(closed.len(), 3);
        assert_eq!(closes(&pair).last(), Some(&row(3, "3", false)));
        assert_eq!(*expected.get_or_insert(closed.clone()), closed);
    }
}
