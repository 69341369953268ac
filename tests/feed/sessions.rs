//! Sessions under an exchange's bad manners.

use std::time::Duration;

use connector_wss::feed::FeedConfig;
use connector_wss::market::InstrumentId;
use connector_wss::messages::FeedEvent;
use connector_wss::metrics::ConnectionErrorKind;

use super::pair::{Pair, START_MS, config, kline, market};

const SECOND: Duration = Duration::from_secs(1);

fn rejected(pair: &Pair) -> Vec<(InstrumentId, &str)> {
    let event = |event| match event {
        &FeedEvent::Rejected { instrument, ref exchange_message, .. } => {
            Some((instrument, exchange_message.as_str()))
        }
        _ => None,
    };
    pair.events.iter().filter_map(event).collect()
}

#[test]
fn a_lost_session_is_told_once_and_again_when_it_delivers() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "ETHUSDT"]);
    pair.cut();
    pair.manners.refuses_tcp = true;
    pair.pass(SECOND * 10);
    let instruments = vec![InstrumentId(0), InstrumentId(1)];
    let market = market("spot");
    let why = "reset by peer".to_owned();
    let lost = FeedEvent::SessionLost { market, instruments: instruments.clone(), why };
    assert_eq!(pair.events, [lost], "attempts that fail are no news");
    let attempt = "session 0 did not come up (tcp): refused; next attempt in ";
    assert!(pair.notices.iter().any(|notice| notice.text.starts_with(attempt)));
    pair.manners.refuses_tcp = false;
    pair.pass(SECOND * 60);
    assert_eq!(pair.events.len(), 1, "a connection that delivers nothing is no news either");
    pair.push(&kline("ETHUSDT", 0, "2", false, START_MS));
    pair.push(&kline("ETHUSDT", 0, "3", false, START_MS + 1));
    assert_eq!(pair.events[1..], [FeedEvent::SessionBack { market, instruments }]);
}

#[test]
fn a_cut_session_comes_back_with_all_its_streams() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "ETHUSDT"]);
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    let before = pair.only();
    assert_eq!(pair.spot().active_sessions.value(), 1);
    pair.cut();
    assert_eq!(pair.spot().active_sessions.value(), 0);
    assert_eq!(pair.spot().wanted_sessions.value(), 1);
    pair.pass(SECOND);
    assert_ne!(pair.only(), before);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m", "ethusdt@kline_1m"]);
    assert_eq!(pair.spot().reconnections.value(), 1);
    assert_eq!(pair.errors(ConnectionErrorKind::Closed), 1);
    // Nothing that is said about the old connection touches the new one.
    pair.feed.handle_closed(before, "late news", pair.now);
    pair.feed.handle_bytes(before, b"late bytes", pair.now);
    assert_eq!(pair.errors(ConnectionErrorKind::Closed), 1);
}

#[test]
fn a_dead_peer_is_asked_by_ping_and_then_lost() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.manners.is_still = true;
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    pair.pass(SECOND * 10);
    assert_eq!(pair.peers[&pair.only()].pings, 3, "every 3 s of silence");
    assert_eq!(pair.connects.len(), 1, "silence alone is no reconnect");
    pair.manners.is_dead = true;
    pair.pass(SECOND * 41);
    assert_eq!(pair.errors(ConnectionErrorKind::Timeout), 1);
    pair.manners.is_dead = false;
    pair.pass(SECOND * 40);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
}

#[test]
fn a_refused_upgrade_and_a_silent_one_are_retried() {
    let mut pair = Pair::new();
    pair.manners.refuses_upgrade = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    assert_eq!(pair.errors(ConnectionErrorKind::Handshake), 1);
    pair.manners.refuses_upgrade = false;
    pair.manners.is_dead = true;
    pair.pass(SECOND * 12);
    assert_eq!(pair.errors(ConnectionErrorKind::Timeout), 1);
    pair.manners.is_dead = false;
    pair.pass(SECOND * 12);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
}

#[test]
fn breaker_opens_half_opens_and_closes() {
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.pass(SECOND * 16);
    assert_eq!(pair.connects.len(), 5);
    assert_eq!(pair.spot().breaker_state.value(), 1);
    assert_eq!(pair.spot().consecutive_failures.value(), 5);
    pair.pass(SECOND * 10);
    assert_eq!(pair.connects.len(), 5, "an open breaker connects nothing");
    pair.manners.refuses_tcp = false;
    pair.manners.rest_status = Some(503);
    pair.pass(SECOND * 32);
    assert_eq!((pair.connects.len(), pair.spot().breaker_state.value()), (6, 2));
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    assert_eq!(pair.spot().breaker_state.value(), 0);
    assert_eq!(pair.spot().consecutive_failures.value(), 0);
}

#[test]
fn a_refused_message_rejects_only_the_bad_symbol() {
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    for (id, symbol) in ["BTCUSDT", "BAD", "ETHUSDT"].iter().enumerate() {
        pair.subscribe(u32::try_from(id).unwrap(), "spot", symbol);
    }
    pair.manners.refuses_tcp = false;
    pair.manners.refused.insert("bad@kline_1m".to_owned());
    pair.pass(SECOND * 3);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m", "ethusdt@kline_1m"]);
    assert_eq!(rejected(&pair), [(InstrumentId(1), "Invalid request: bad stream (2)")]);
    assert_eq!(pair.connects.len(), 2);
}

#[test]
fn a_silent_symbol_that_the_exchange_does_not_know_is_rejected_with_its_words() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "NOSUCH"]);
    pair.manners.unknown.insert("NOSUCH".to_owned());
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    pair.pass(SECOND * 9);
    assert!(pair.rests.is_empty());
    pair.push(&kline("BTCUSDT", 0, "3", false, START_MS + 9_000));
    pair.pass(SECOND * 2);
    assert_eq!(pair.rests.len(), 1);
    assert!(pair.rests[0].starts_with("http://spot/api/v3/klines?symbol=NOSUCH&interval=1m&"));
    assert_eq!(rejected(&pair), [(InstrumentId(1), "Invalid symbol.")]);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
    assert_eq!((pair.connects.len(), pair.spot().instruments.value()), (1, 1));
}

#[test]
fn a_session_that_acknowledges_and_stays_silent_is_lost() {
    let mut pair = Pair::new();
    pair.subscribe(0, "coinm", "BTCUSD_PERP");
    pair.pass(SECOND * 22);
    let coinm = pair.metrics.market(market("coinm"));
    assert_eq!(coinm.connection_errors[ConnectionErrorKind::Silent as usize].value(), 1);
    let paths: Vec<_> = pair.connects.iter().map(|connect| connect.1.path.as_str()).collect();
    assert_eq!(paths, ["/market/ws", "/ws"]);
    pair.push(&kline("BTCUSD_PERP", 0, "2", false, START_MS));
    assert_eq!(pair.candles()[0].candle.other_volume, None);
    pair.cut();
    pair.pass(SECOND * 2);
    assert_eq!(pair.connects[2].1.path, "/ws");
}

#[test]
fn a_session_that_falls_silent_later_is_lost_once_the_exchange_has_news() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "ETHUSDT"]);
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    pair.push(&kline("ETHUSDT", 0, "2", false, START_MS));
    pair.pass(SECOND * 9);
    assert!(pair.rests.is_empty());
    pair.pass(SECOND * 8);
    assert_eq!(pair.rests.len(), 2, "one symbol speaks for all");
    pair.push(&kline("ETHUSDT", 0, "3", false, START_MS + 17_000));
    pair.pass(SECOND * 9);
    assert_eq!(pair.errors(ConnectionErrorKind::Silent), 0, "it was only slow");
    pair.pass(SECOND * 14);
    assert_eq!(pair.errors(ConnectionErrorKind::Silent), 1);
    pair.pass(SECOND * 2);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m", "ethusdt@kline_1m"]);
}

#[test]
fn a_quiet_symbol_is_kept_while_rest_has_no_answer() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.manners.rest_status = Some(429);
    pair.pass(SECOND * 179);
    assert_eq!((pair.connects.len(), rejected(&pair).len()), (1, 0));
    assert!(pair.rests.len() <= 4, "a limit is obeyed: {} questions", pair.rests.len());
    pair.pass(SECOND * 121);
    assert_eq!(pair.errors(ConnectionErrorKind::Silent), 1);
    assert_eq!((pair.connects.len(), rejected(&pair).len()), (2, 0));
}

#[test]
fn a_lost_answer_does_not_end_the_questions() {
    let mut pair = Pair::subscribed(&["A", "B", "C", "D", "E"]);
    pair.manners.loses_rest = true;
    pair.pass(SECOND * 60);
    assert_eq!(pair.rests.len(), 3, "so many at once, beside what was served");
    pair.pass(SECOND * 30);
    assert!(pair.rests.len() > 3, "the others had their turn");
}

#[test]
fn message_rate_is_never_exceeded_by_600_symbols() {
    let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 1000, ..config() });
    for id in 0..600 {
        pair.subscribe(id, "spot", &format!("S{id}USDT"));
    }
    pair.manners.rest_status = Some(503);
    for second in 0..60 {
        pair.push(&kline("S0USDT", 0, "2", false, START_MS + second));
        pair.pass(SECOND);
    }
    let session = pair.only();
    assert_eq!(pair.peers[&session].streams.len(), 600);
    let heard = &pair.peers[&session].heard;
    assert!(heard.len() >= 6);
    for window in heard.windows(6) {
        assert!(window[5].since(window[0]) > SECOND, "5 messages a second at most");
    }
}

#[test]
fn instruments_fill_sessions_and_an_empty_session_is_closed() {
    let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 2, ..config() });
    for id in 0..5 {
        pair.subscribe(id, "usdm", &format!("S{id}"));
    }
    pair.pass(SECOND * 2);
    assert_eq!(pair.peers.len(), 3);
    assert!(pair.connects.iter().all(|connect| connect.1.path == "/market/ws"));
    pair.unsubscribe(4);
    assert_eq!(pair.peers.len(), 2);
    pair.unsubscribe(0);
    pair.subscribe(5, "usdm", "S5");
    assert_eq!(pair.peers.len(), 2, "the free place is taken first");
    assert_eq!(pair.streams(), ["s1@kline_1m", "s5@kline_1m", "s2@kline_1m", "s3@kline_1m"]);
}

#[test]
fn an_announced_shutdown_is_survived_without_a_pause() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    let old = pair.only();
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    pair.push(r#"{"e":"serverShutdown","E":1770123456789}"#);
    assert_eq!(pair.peers.len(), 2);
    pair.push(&kline("BTCUSDT", 0, "3", false, START_MS + 10));
    assert_ne!(pair.only(), old);
    assert_eq!(pair.candles().len(), 2);
    assert_eq!(pair.spot().wanted_sessions.value(), 1);
    assert_eq!(pair.errors(ConnectionErrorKind::Closed), 0);
    assert_eq!(pair.decode_errors_total(), 0);
}

#[test]
fn a_session_is_renewed_before_a_day_is_over() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.manners.is_still = true;
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
    pair.pass(SECOND * 3600 * 22);
    assert_eq!(pair.connects.len(), 1);
    pair.pass(SECOND * 3600 * 2);
    assert_eq!(pair.peers.len(), 2);
    pair.push(&kline("BTCUSDT", 1400, "2", false, START_MS + 1400 * 60_000));
    assert_eq!(pair.peers.len(), 1);
}

#[test]
fn stop_closes_every_session_and_opens_none() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.manners.refuses_tcp = true;
    pair.subscribe(1, "usdm", "BTCUSDT");
    assert!(!pair.feed.is_stopped());
    pair.stop();
    assert!(pair.feed.is_stopped());
    assert!(pair.peers.is_empty());
    pair.subscribe(2, "spot", "ETHUSDT");
    pair.pass(SECOND * 100);
    assert_eq!(pair.connects.len(), 2);
    assert_eq!(pair.feed.next_deadline(), None);
}

#[test]
fn a_peer_that_never_answers_our_close_is_left_after_a_second() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.manners.is_dead = true;
    pair.stop();
    assert!(!pair.feed.is_stopped());
    pair.pass(SECOND);
    assert!(pair.feed.is_stopped());
}

#[test]
fn a_protocol_error_ends_the_session_and_it_comes_back() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    pair.feed.handle_bytes(pair.only(), &[0xff; 16], pair.now);
    pair.pump();
    assert_eq!(pair.errors(ConnectionErrorKind::Protocol), 1);
    pair.pass(SECOND * 2);
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
}

#[test]
fn connects_stay_within_the_share_of_this_shard() {
    let settings =
        FeedConfig { max_symbols_per_session: 1, shards: 27, breaker_threshold: 1000, ..config() };
    let mut pair = Pair::with(settings);
    pair.manners.is_still = true;
    for id in 0..25 {
        pair.subscribe(id, "spot", &format!("S{id}"));
    }
    assert_eq!(pair.connects.len(), 7, "a third of ten is kept for what was served");
    pair.push(&kline("S0", 0, "2", false, START_MS));
    pair.pass(SECOND * 299);
    assert_eq!(pair.connects.len(), 7);
    for second in 0..90 {
        pair.push(&kline("S0", 0, "2", false, START_MS + second));
        pair.pass(SECOND * 10);
    }
    assert_eq!((pair.connects.len(), pair.peers.len()), (25, 25));
}
