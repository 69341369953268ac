//! What the log said of the next attempt, and what the attempt really waited for.

use std::time::Duration;

use connector_wss::feed::{FeedConfig, LimitedAction, Usage};
use connector_wss::market::{InstrumentId, Market, Venue};
use connector_wss::messages::{BackfillFrom, Command, EventName, FeedEvent, Notice, Wish};
use connector_wss::metrics::{ConnectionErrorKind, WaitReason};

use super::pair::{Pair, START_MS, config, kline};
use super::world::{BTC, World};

const SECOND: Duration = Duration::from_secs(1);

fn market(venue: Venue, contract_type: &str) -> Market {
    Market::find(venue, contract_type).unwrap()
}

/// What was logged of `market` under these events.
fn lines(pair: &Pair, market: Market, events: &[EventName]) -> Vec<String> {
    let of =
        |notice: &&Notice| notice.about.market == Some(market) && events.contains(&notice.event);
    pair.notices.iter().filter(of).map(|notice| notice.text.clone()).collect()
}

/// The seconds behind `before` in a line.
fn seconds(line: &str, before: &str) -> f64 {
    let rest = line.split(before).nth(1).unwrap_or_else(|| panic!("{before}: {line}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn shown(pair: &Pair, market: Market) -> (Option<WaitReason>, i64) {
    let metrics = pair.metrics.market(market);
    let ahead_ms = metrics.wait_until_ms.value() - pair.now.unix_ms().0;
    (WaitReason::of_gauge(metrics.wait_reason.value()), ahead_ms / 1000)
}

#[test]
fn a_market_held_back_by_an_answer_to_its_sibling_said_that_it_tries_again_in_half_a_second() {
    for (venue, first, second, symbols) in [
        (Venue::Okx, "spot", "swap", ["BTC-USDT", "BTC-USDT-SWAP"]),
        (Venue::Bybit, "linear", "spot", ["BTCUSDT", "BTCUSDT"]),
        (Venue::Gateio, "spot", "um", ["BTC_USDT", "BTC_USDT"]),
    ] {
        for (status, wait_min) in [(429, 60.0), (403, 25.0)] {
            let mut pair = Pair::new();
            let (here, sibling) = (market(venue, first), market(venue, second));
            pair.manners.refuses_tcp = true;
            pair.subscribe_at(1, sibling, symbols[1]);
            let lost = lines(&pair, sibling, &[EventName::SessionLost]);
            assert!(seconds(&lost[0], "next attempt in ") <= 1.0, "{lost:?}");
            pair.manners.refuses_tcp = false;
            let headers = "Retry-After: 60\r\n".to_owned();
            let headers = if status == 429 { headers } else { String::new() };
            pair.manners.upgrade_answer = Some((status, headers, "no".to_owned()));
            pair.subscribe_at(0, here, symbols[0]);
            pair.pass(SECOND * 2);
            let waits = lines(&pair, sibling, &[EventName::WaitChanged]);
            assert_eq!(waits.len(), 1, "{sibling} {status}: {waits:?}");
            assert!(seconds(&waits[0], "for ") >= wait_min - 2.0, "{waits:?}");
            assert!(waits[0].contains(&format!("HTTP {status}")), "{waits:?}");
            let (reason, ahead) = shown(&pair, sibling);
            assert_eq!(reason, Some(WaitReason::Ban));
            assert!((20..=60).contains(&ahead), "{ahead}");
            let connects = pair.connects.len();
            pair.pass(SECOND * 20);
            assert_eq!(pair.connects.len(), connects, "{sibling} {status}");
        }
    }
}

#[test]
fn a_quiet_session_was_given_up_while_no_new_one_could_be_opened() {
    let mut pair = Pair::with(FeedConfig { ping_timeout: SECOND * 100_000, ..config() });
    let (here, sibling) = (market(Venue::Gateio, "spot"), market(Venue::Gateio, "um"));
    pair.manners.rest_status = Some(503);
    pair.subscribe_at(0, here, "BTC_USDT");
    pair.push(
        r#"{"time":1,"id":1,"channel":"spot.candlesticks","event":"subscribe","result":{"status":"success"}}"#,
    );
    let headers = "Retry-After: 600\r\n".to_owned();
    pair.manners.upgrade_answer = Some((429, headers, "no".to_owned()));
    pair.subscribe_at(1, sibling, "BTC_USDT");
    let silent = |pair: &Pair| {
        let errors = &pair.metrics.market(here).connection_errors;
        errors[ConnectionErrorKind::Silent as usize].value()
    };
    pair.pass(SECOND * 590);
    assert_eq!((silent(&pair), pair.peers.len()), (0, 1), "it may yet deliver");
    pair.manners.upgrade_answer = None;
    pair.pass(SECOND * 120);
    assert_eq!(silent(&pair), 1, "then it is tried anew");
}

#[test]
fn a_session_that_waits_for_the_budget_said_nothing_or_half_a_second() {
    let linear = market(Venue::Bybit, "linear");
    let usage = vec![Usage { market: linear, on: LimitedAction::Connect, at_ns: 0, count: 450 }];
    let mut pair = Pair::with(FeedConfig { usage, ..config() });
    pair.subscribe_at(0, linear, "BTCUSDT");
    let waits = lines(&pair, linear, &[EventName::WaitChanged]);
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!(seconds(&waits[0], "for ") > 300.0, "{waits:?}");
    assert!(waits[0].contains("allows one address"), "{waits:?}");
    let (reason, ahead) = shown(&pair, linear);
    assert_eq!(reason, Some(WaitReason::Budget));
    assert!(ahead >= 300, "{ahead}");
    pair.pass(SECOND * 200);
    let waits = lines(&pair, linear, &[EventName::WaitChanged]);
    assert_eq!(waits.len(), 1, "said once: {waits:?}");
    pair.pass(SECOND * 108);
    assert!(pair.connects.is_empty());
    pair.pass(SECOND * 3);
    assert_eq!(pair.connects.len(), 1);
    assert_eq!(shown(&pair, linear).0, None, "nothing waits any more");
}

#[test]
fn a_lost_session_names_the_budget_that_is_used_up_as_what_it_waits_for() {
    let linear = market(Venue::Bybit, "linear");
    let usage = vec![Usage { market: linear, on: LimitedAction::Connect, at_ns: 0, count: 299 }];
    let mut pair = Pair::with(FeedConfig { usage, ..config() });
    pair.manners.refuses_tcp = true;
    pair.subscribe_at(0, linear, "BTCUSDT");
    let lost = lines(&pair, linear, &[EventName::SessionLost]);
    assert!(seconds(&lost[0], "next attempt in ") > 300.0, "{lost:?}");
    assert!(lost[0].contains("allows one address"), "{lost:?}");
    assert_eq!(lines(&pair, linear, &[EventName::WaitChanged]), [""; 0], "it is said already");
}

#[test]
fn a_name_server_that_failed_opened_the_breaker_and_used_up_the_connects_of_an_exchange() {
    for (venue, contract_type, symbol) in [
        (Venue::Binance, "spot", "BTCUSDT"),
        (Venue::Okx, "swap", "BTC-USDT-SWAP"),
        (Venue::Bybit, "linear", "BTCUSDT"),
        (Venue::Gateio, "spot", "BTC_USDT"),
        (Venue::Hyperliquid, "usdm", "BTC"),
    ] {
        let market = market(venue, contract_type);
        let mut pair = Pair::new();
        pair.manners.fails_look_up = true;
        pair.subscribe_at(0, market, symbol);
        pair.pass(SECOND * 600);
        let asked: Vec<_> = pair.connects.iter().map(|connect| connect.0).collect();
        let pauses = asked.windows(2).map(|pair| pair[1].since(pair[0]));
        let (least, most) = (pauses.clone().min().unwrap(), pauses.max().unwrap());
        assert!(least >= SECOND && most <= SECOND * 3 / 2, "{market}: {least:?} to {most:?}");
        let metrics = pair.metrics.market(market);
        assert_eq!(metrics.breaker_state.value(), 0, "{market}");
        assert_eq!(metrics.consecutive_failures.value(), 0, "{market}");
        assert_eq!(metrics.connects.value(), 0, "{market}: none has left this host");
        let errors = metrics.connection_errors[ConnectionErrorKind::Dns as usize].value();
        assert_eq!(errors, asked.len() as u64, "{market}");
        assert_eq!(shown(&pair, market).0, Some(WaitReason::Backoff), "{market}");
        assert_eq!(lost(&pair), [(vec![InstrumentId(0)], "no name server answered".to_owned())]);
        pair.manners.fails_look_up = false;
        pair.pass(SECOND * 2);
        assert_eq!((pair.peers.len(), pair.connects.len()), (1, asked.len() + 1), "{market}");
        assert_eq!(pair.metrics.market(market).connects.value(), 1, "{market}");
    }
}

#[test]
fn every_session_of_an_exchange_without_an_address_asked_for_its_name() {
    let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 1, ..config() });
    pair.manners.fails_look_up = true;
    for id in 0..20 {
        pair.subscribe(id, "spot", &format!("S{id}USDT"));
    }
    let first = pair.connects.len();
    pair.pass(SECOND * 60);
    let asked = pair.connects.len() - first;
    assert!((40..=60).contains(&asked), "{asked} look-ups a minute for 20 sessions");
    pair.manners.fails_look_up = false;
    pair.pass(SECOND * 2);
    assert_eq!(pair.peers.len(), 20, "the name is known: all of them are let in");
}

#[test]
fn a_session_that_waits_for_the_breaker_names_it() {
    let spot = market(Venue::Binance, "spot");
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    pair.subscribe_at(0, spot, "BTCUSDT");
    pair.pass(SECOND * 40);
    let lost = lines(&pair, spot, &[EventName::SessionLost]);
    let held = lost.iter().find(|line| line.contains("the breaker is open")).unwrap();
    assert!(seconds(held, "next attempt in ") >= 29.0, "{held}");
    assert_eq!(shown(&pair, spot).0, Some(WaitReason::Breaker), "{lost:?}");
    pair.manners.refuses_tcp = false;
    pair.manners.is_still = true;
    pair.pass(SECOND * 120);
    assert_eq!(shown(&pair, spot), (None, -pair.now.unix_ms().0 / 1000));
}

#[test]
fn a_pause_of_rest_by_an_answer_to_a_sibling_has_its_line_too() {
    let (spot, swap) = (market(Venue::Okx, "spot"), market(Venue::Okx, "swap"));
    let mut pair = Pair::new();
    pair.manners.rest_status = Some(403);
    pair.subscribe_at(0, swap, "BTC-USDT-SWAP");
    pair.subscribe_at(1, spot, "BTC-USDT");
    for id in [InstrumentId(0), InstrumentId(1)] {
        let past =
            Command::Backfill { id, from: BackfillFrom::Last(3), to: None, wish: Wish::default() };
        pair.feed.handle_command(past, pair.now);
    }
    pair.pass(SECOND * 2);
    let events = [EventName::RestDenied, EventName::WaitChanged];
    for here in [spot, swap] {
        let lines = lines(&pair, here, &events);
        assert!(!lines.is_empty(), "{here}: {:?}", pair.notices);
        assert!(lines[0].contains("HTTP 403"), "{lines:?}");
    }
}

/// Whose clients were told that there is no session, and why.
fn lost(pair: &Pair) -> Vec<(Vec<InstrumentId>, String)> {
    let of = |event: &FeedEvent| match event {
        FeedEvent::SessionLost { instruments, why, .. } => Some((instruments.clone(), why.clone())),
        _ => None,
    };
    pair.events.iter().filter_map(of).collect()
}

#[test]
fn clients_of_a_session_that_never_came_up_were_told_nothing() {
    let spot = market(Venue::Binance, "spot");
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    pair.subscribe_at(0, spot, "BTCUSDT");
    pair.pass(SECOND * 20);
    assert_eq!(lost(&pair), [(vec![InstrumentId(0)], "refused".to_owned())], "once");
    // What it waits for is said with each attempt, for those who come later.
    assert_eq!(pair.waits[0].2, "", "the backoff");
    pair.pass(SECOND * 20);
    let (_, until, why) = pair.waits.last().unwrap().clone();
    assert!(until > pair.now.mono && why.contains("the breaker is open"), "{why}");
    pair.subscribe_at(1, spot, "ETHUSDT");
    assert_eq!(lost(&pair).last().unwrap().0, [InstrumentId(1)]);
    pair.manners.refuses_tcp = false;
    pair.manners.is_still = true;
    pair.pass(SECOND * 120);
    pair.push(&kline("BTCUSDT", 2, "2", false, START_MS + 160_000));
    let back = FeedEvent::SessionBack {
        market: spot,
        instruments: vec![InstrumentId(0), InstrumentId(1)],
    };
    assert_eq!(pair.events.last(), Some(&back));
}

#[test]
fn clients_of_a_session_that_waits_for_the_budget_were_told_nothing() {
    let linear = market(Venue::Bybit, "linear");
    let usage = vec![Usage { market: linear, on: LimitedAction::Connect, at_ns: 0, count: 450 }];
    let mut pair = Pair::with(FeedConfig { usage, ..config() });
    pair.subscribe_at(0, linear, "BTCUSDT");
    let told = lost(&pair);
    assert!(told.len() == 1 && told[0].1.contains("allows one address"), "{told:?}");
    let (_, until, why) = pair.waits[0].clone();
    assert!(until.since(pair.now.mono) > SECOND * 300 && why == told[0].1, "{until:?} {why}");
    pair.pass(SECOND * 100);
    assert_eq!(lost(&pair).len(), 1, "once");
}

#[test]
fn whoever_comes_while_there_is_no_session_was_not_told_what_it_waits_for() {
    let mut world = World::new();
    let first = world.open_with(BTC);
    world.texts(first);
    let spot = market(Venue::Binance, "spot");
    let words = "the breaker is open after 5 failures in a row";
    let until = world.now.mono.after(SECOND * 30);
    let waits = FeedEvent::Waits { market: spot, until, why: words.to_owned() };
    world.fanout.handle_feed(waits, world.now);
    world.session("BTCUSDT", false);
    let why = "there is no connection to binance spot: reset by peer";
    assert_eq!(world.texts(first)[0]["message"], format!("{why}; next attempt in 30 s: {words}"));
    world.pass(SECOND * 10);
    let late = world.open_with(BTC);
    let texts = world.texts(late);
    assert_eq!((&texts[0]["type"], &texts[1]["type"]), (&"subscribed".into(), &"notice".into()));
    assert_eq!(texts[1]["message"], format!("{why}; next attempt in 20 s: {words}"));
    world.pass(SECOND * 20);
    let late = world.open_with(BTC);
    assert_eq!(world.texts(late)[1]["message"], why, "an attempt is under way");
}
