//! What an exchange may make grow, and how its failures are counted: pings, holds, pauses, backoff,
//! the breaker.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::{FeedConfig, SessionId};
use connector_wss::limits::HELD_WINDOWS_MAX;
use connector_wss::messages::{MarketEvent, RestResponse};

use super::pair::{Pair, START_MS, config, kline};

const SECOND: Duration = Duration::from_secs(1);

/// (minute, close) of every closed candle.
fn closes(pair: &Pair) -> Vec<(i64, String)> {
    let closed = pair.candles().into_iter().filter(|update| update.is_closed());
    closed
        .map(|update| {
            let minute = (update.candle.open_time.0 - START_MS) / 60_000;
            (minute, update.candle.close.to_string())
        })
        .collect()
}

fn row(minute: i64, close: &str) -> (i64, String) {
    (minute, close.to_owned())
}

/// Pushes the end of a minute when it has come.
fn close_minute(pair: &mut Pair, minute: i64, close: &str) {
    let end_ms = START_MS + (minute + 1) * 60_000 + 10;
    let wait_ms = end_ms - pair.now.unix_us / 1000;
    pair.pass(Duration::from_millis(wait_ms.max(0).unsigned_abs()));
    pair.push(&kline("BTCUSDT", minute, close, true, end_ms));
}

/// A pair that REST does not help, and that silence does not trouble.
fn alone() -> Pair {
    let mut pair = Pair::with(FeedConfig { stream_idle_timeout: SECOND * 10_000, ..config() });
    pair.manners.rest_status = Some(503);
    pair.subscribe(0, "spot", "BTCUSDT");
    pair
}

#[test]
fn pings_that_come_faster_than_pongs_leave_do_not_pile_up_and_the_newest_is_answered() {
    let mut pair = alone();
    let session = pair.only();
    let mut newest = [0; 8];
    for read in 0..200_u64 {
        let mut frames = Vec::new();
        for ping in 0..1000 {
            newest = (read * 1000 + ping).to_be_bytes();
            frames.extend([0x89, 8]);
            frames.extend(newest);
        }
        pair.feed.handle_bytes(session, &frames, pair.now);
        let owed = pair.feed.outgoing(session).len();
        assert!(owed <= 8 * 1024, "{owed} bytes after {read} reads");
    }
    let first = pair.feed.outgoing(session).len();
    pair.feed.consume_outgoing(session, first);
    let pong = pair.feed.outgoing(session);
    assert_eq!((pong.len(), pong[0], pong[1]), (14, 0x8A, 0x88), "one more pong: {pong:?}");
    let payload: Vec<u8> =
        pong[6..].iter().zip(pong[2..6].iter().cycle()).map(|(a, b)| a ^ b).collect();
    assert_eq!(payload, newest);
    pair.feed.consume_outgoing(session, 14);
    assert!(pair.feed.outgoing(session).is_empty());
}

#[test]
fn few_pings_are_all_answered() {
    let mut pair = alone();
    let session = pair.only();
    let frames: Vec<u8> = (0..10).flat_map(|ping| [0x89, 1, ping]).collect();
    pair.feed.handle_bytes(session, &frames, pair.now);
    assert_eq!(pair.feed.outgoing(session).len(), 10 * 7);
}

#[test]
fn a_second_gap_is_held_for_its_own_time_and_then_reported() {
    let mut pair = alone();
    close_minute(&mut pair, 0, "2");
    close_minute(&mut pair, 2, "2.2");
    pair.pass(SECOND * 2);
    pair.push(&kline("BTCUSDT", 4, "2.4", true, pair.now.unix_us / 1000));
    pair.pass(Duration::from_millis(2_900));
    assert_eq!(closes(&pair), [row(0, "2")]);
    pair.pass(SECOND);
    assert_eq!(closes(&pair), [row(0, "2"), row(2, "2.2")], "the first gap is given up");
    pair.pass(SECOND * 5);
    assert_eq!(closes(&pair), [row(0, "2"), row(2, "2.2"), row(4, "2.4")], "and the second");
    assert_eq!((pair.spot().gaps.value(), pair.spot().gap_candles.value()), (2, 2));
}

#[test]
fn a_candle_that_is_restated_while_it_is_held_is_published_as_restated() {
    let mut pair = alone();
    close_minute(&mut pair, 0, "2");
    close_minute(&mut pair, 2, "2.2");
    pair.push(&kline("BTCUSDT", 2, "2.7", true, START_MS + 180_500));
    pair.push(&kline("BTCUSDT", 2, "2.7", true, START_MS + 180_500));
    assert_eq!(pair.spot().duplicates.value(), 1);
    pair.pass(SECOND * 6);
    assert_eq!(closes(&pair), [row(0, "2"), row(2, "2.7")]);
    assert_eq!(pair.spot().corrections.value(), 0, "it was published once");
}

#[test]
fn a_flood_of_closed_candles_behind_a_gap_is_held_up_to_a_bound() {
    let mut pair = alone();
    // A recording: the machine's clock is far ahead of it.
    pair.now.unix_us += 86_400_000_000;
    pair.push(&kline("BTCUSDT", 0, "2", true, START_MS + 60_010));
    let last = i64::try_from(HELD_WINDOWS_MAX).unwrap() + 10;
    for minute in 2..=last {
        pair.push(&kline("BTCUSDT", minute, "2", true, START_MS + (minute + 1) * 60_000 + 10));
    }
    let missing = pair.published.iter().filter_map(|event| match event {
        MarketEvent::Gap { first_missing, missing, .. } => Some((*first_missing, *missing)),
        _ => None,
    });
    assert_eq!(missing.collect::<Vec<_>>(), [(UnixMs(START_MS + 60_000), 1)]);
    assert_eq!(closes(&pair).last(), Some(&row(last, "2")));
}

#[test]
fn a_handshake_that_is_refused_as_too_many_is_not_tried_again_before_its_time() {
    for (headers, wait_s) in [("Retry-After: 40\r\n", 40), ("Retry-After: 400\r\n", 400)] {
        let mut pair = Pair::new();
        pair.manners.upgrade_answer = Some((429, headers.to_owned(), String::new()));
        pair.subscribe(0, "spot", "BTCUSDT");
        assert_eq!(pair.connects.len(), 1);
        pair.pass(SECOND * (wait_s - 1));
        assert_eq!(pair.connects.len(), 1, "{headers}");
        pair.manners.upgrade_answer = None;
        pair.pass(SECOND * 3);
        assert_eq!(pair.connects.len(), 2, "{headers}");
        // Another session of the address waits as well.
        assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
    }
}

#[test]
fn a_session_that_has_delivered_begins_with_the_shortest_wait_again() {
    let patience = SECOND * 10_000;
    let settings =
        FeedConfig { breaker_threshold: 1000, stream_idle_timeout: patience, ..config() };
    let mut pair = Pair::with(settings);
    pair.manners.refuses_tcp = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.pass(SECOND * 300);
    let failed = pair.connects.len();
    assert!((8..=12).contains(&failed), "{failed} attempts, each twice as late");
    pair.manners.refuses_tcp = false;
    pair.pass(SECOND * 301);
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS + 1));
    for _ in 0..3 {
        let before = pair.connects.len();
        pair.cut();
        pair.pass(SECOND);
        assert_eq!(pair.connects.len(), before + 1, "within a second");
        pair.push(&kline("BTCUSDT", 0, "2", false, START_MS + 1));
    }
}

/// The session that carries `stream`.
fn carrier(pair: &Pair, stream: &str) -> Option<SessionId> {
    let carries =
        |(id, peer): (&SessionId, &super::pair::Peer)| peer.streams.contains(stream).then_some(*id);
    pair.peers.iter().find_map(carries)
}

#[test]
fn one_session_that_fails_again_and_again_does_not_close_its_market_for_the_others() {
    let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 1, ..config() });
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.subscribe(1, "spot", "ETHUSDT");
    for second in 0..300 {
        for symbol in ["BTCUSDT", "ETHUSDT"] {
            pair.push(&kline(symbol, 0, &format!("2.{second:03}1"), false, START_MS + second));
        }
        pair.pass(SECOND);
        if second == 0 {
            pair.manners.refuses_tcp = true;
            pair.subscribe(2, "spot", "LONEUSDT");
        }
        assert_eq!(pair.spot().breaker_state.value(), 0, "second {second}");
        assert_eq!(pair.spot().consecutive_failures.value(), 0);
    }
    let attempts = pair.connects.len() - 2;
    assert!((25..=70).contains(&attempts), "{attempts} attempts: neither rare nor a hammer");
    // A new symbol is let in, and the lone one comes back soon when it can.
    pair.manners.refuses_tcp = false;
    pair.subscribe(3, "spot", "SOLUSDT");
    pair.pass(SECOND * 11);
    assert!(carrier(&pair, "solusdt@kline_1m").is_some());
    assert!(carrier(&pair, "loneusdt@kline_1m").is_some());
}

#[test]
fn a_market_whose_sessions_all_fail_still_opens_its_breaker() {
    let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 1, ..config() });
    pair.manners.refuses_tcp = true;
    for (id, symbol) in (0..).zip(["BTCUSDT", "ETHUSDT", "SOLUSDT"]) {
        pair.subscribe(id, "spot", symbol);
    }
    pair.pass(SECOND * 5);
    assert_eq!(pair.spot().breaker_state.value(), 1);
    assert!(pair.spot().consecutive_failures.value() >= 5);
}

#[test]
fn once_one_session_works_again_its_neighbours_do_not_sleep_on_for_minutes() {
    let settings = FeedConfig { max_symbols_per_session: 1, breaker_threshold: 1000, ..config() };
    let mut pair = Pair::with(settings);
    pair.manners.is_still = true;
    pair.manners.refuses_tcp = true;
    for id in 0..4 {
        pair.subscribe(id, "spot", &format!("S{id}"));
    }
    pair.pass(SECOND * 900);
    pair.manners.refuses_tcp = false;
    let mut waited = 0;
    while pair.peers.is_empty() {
        pair.pass(SECOND);
        waited += 1;
        assert!(waited <= 300);
    }
    let up = pair.streams()[0].split('@').next().unwrap().to_uppercase();
    pair.push(&kline(&up, 0, "2", false, START_MS));
    pair.pass(SECOND * 11);
    assert_eq!(pair.peers.len(), 4);
}

#[test]
fn a_refused_answer_of_rest_leaves_the_hold_as_it_is() {
    let mut pair = alone();
    close_minute(&mut pair, 0, "2");
    close_minute(&mut pair, 2, "2.2");
    pair.manners.rest_status = None;
    for _ in 0..3 {
        let body = br#"[[1,"2"]]"#.to_vec();
        let answer = RestResponse { status: 200, retry_after: None, limit_headers: vec![], body };
        pair.rest_answers.push_back(answer);
    }
    pair.pass(SECOND * 6);
    assert_eq!(closes(&pair), [row(0, "2"), row(2, "2.2")]);
    assert_eq!(pair.spot().gap_candles.value(), 1);
}
