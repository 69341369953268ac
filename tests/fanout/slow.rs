//! Clients that do not keep up.

use connector_wss::clock::MonoNs;
use connector_wss::fanout::{ClientId, DrainKind, FanoutConfig, Output};
use connector_wss::limits::{CLOSE_WRITE_PATIENCE, SHARE_BYTES_MAX, SLOW_CUT_MAX};
use connector_wss::market::FinalBy;
use connector_wss::messages::MarketEvent;
use std::time::Duration;

use super::world::*;

/// A client that has its `subscribed`, and whose socket then takes nothing more.
fn blocked(world: &mut World, request: &str) -> ClientId {
    let id = world.open_with(request);
    world.texts(id);
    world.socket(id).is_blocked = true;
    id
}

#[test]
fn closed_candle_is_never_conflated() {
    let mut world = World::new();
    let id = blocked(&mut world, TWO);
    for minute in 0..20 {
        for price in ["1", "2", "3"] {
            world.open_candle("BTCUSDT", minute, price);
        }
        world.closed_candle("BTCUSDT", minute, &format!("{}", 100 + minute));
        world.open_candle("ETHUSDT", minute, &format!("{}", 200 + minute));
    }
    assert!(world.metrics.conflated.value() > 60);
    world.unblock(id);
    let mut expected = vec!["quote BTCUSDT 1".to_owned()];
    expected.extend((0..20).map(|minute| format!("quote BTCUSDT {}", 100 + minute)));
    expected.push("quote ETHUSDT 219".to_owned());
    assert_eq!(world.summary(id), expected, "the first was ready before the socket blocked");
    world.open_candle("BTCUSDT", 20, "9");
    assert_eq!(world.summary(id), ["quote BTCUSDT 9"]);
}

#[test]
fn a_client_that_is_behind_is_told_how_many_open_candles_were_conflated() {
    let mut world = World::new();
    let slow = blocked(&mut world, TWO);
    let quick = world.open_with(TWO);
    world.texts(quick);
    for price in ["1", "2", "3", "4"] {
        world.open_candle("BTCUSDT", 0, price);
    }
    world.open_candle("ETHUSDT", 0, "5");
    world.unblock(slow);
    let conflated = |texts: &[serde_json::Value]| -> Vec<Option<u64>> {
        texts.iter().map(|text| text.get("conflated").map(|n| n.as_u64().unwrap())).collect()
    };
    let texts = world.texts(slow);
    assert_eq!(texts.iter().map(summarize).collect::<Vec<_>>()[1], "quote BTCUSDT 4");
    assert_eq!(conflated(&texts), [None, Some(2), None], "the first was ready at once");
    assert_eq!(conflated(&world.texts(quick)), [None; 5]);
    world.open_candle("BTCUSDT", 0, "6");
    assert_eq!(conflated(&world.texts(slow)), [None], "what is over is not counted again");
}

#[test]
fn the_conflation_of_a_minute_ends_with_its_close() {
    let mut world = World::new();
    let id = blocked(&mut world, BTC);
    for price in ["1", "2", "3"] {
        world.open_candle("BTCUSDT", 0, price);
    }
    world.closed_candle("BTCUSDT", 0, "4");
    world.open_candle("BTCUSDT", 1, "5");
    world.unblock(id);
    let texts = world.texts(id);
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| text.get("conflated").is_none()), "{texts:?}");
}

#[test]
fn one_slow_client_costs_the_others_nothing() {
    let mut world = World::new();
    let slow = blocked(&mut world, BTC);
    let quick = world.open_with(BTC);
    world.texts(quick);
    for minute in 0..50 {
        world.closed_candle("BTCUSDT", minute, "1");
        assert_eq!(world.texts(quick).len(), 1);
    }
    world.unblock(slow);
    assert_eq!(world.texts(slow).len(), 50);
    assert_eq!(world.metrics.slow_disconnects.value(), 0);
}

#[test]
fn who_owes_too_much_is_closed_with_1013_and_told_where_to_resume() {
    let mut world = World::with(FanoutConfig { client_buffer_max: 3_000, ..config() });
    let id = blocked(&mut world, BTC);
    let quick = world.open_with(BTC);
    for minute in 0..20 {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    world.pass(Duration::ZERO);
    assert_eq!(world.metrics.slow_disconnects.value(), 1);
    assert_eq!(world.texts(quick).len(), 21);
    world.unblock(id);
    let (texts, close) = world.got(id);
    let (code, reason) = close.unwrap();
    assert_eq!(code, 1013);
    let newest = texts.last().unwrap()["open_time"].as_i64().unwrap();
    assert!(reason.contains(&format!("\"since\":{newest}")), "{reason}");
    assert!(world.socket(id).has_fin);
}

#[test]
fn thousands_that_are_too_slow_at_once_are_cut_off_a_few_in_a_turn_and_hear_no_more() {
    let mut world = World::with(FanoutConfig { client_buffer_max: 3_000, ..config() });
    let ids: Vec<_> = (0..3 * SLOW_CUT_MAX).map(|_| blocked(&mut world, BTC)).collect();
    for minute in 0..30 {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    let mut cut = Vec::new();
    while world.fanout.next_deadline() == Some(MonoNs(0)) {
        world.fanout.handle_timeout(world.now);
        cut.push(world.metrics.slow_disconnects.value());
    }
    let few = SLOW_CUT_MAX as u64;
    assert_eq!(cut, [few, 2 * few, 3 * few]);
    for id in ids {
        world.unblock(id);
        let (texts, close) = world.got(id);
        let newest = texts.last().unwrap()["open_time"].as_i64().unwrap();
        let reason = format!("too slow; complete up to \"since\":{newest}");
        assert_eq!(close, Some((1013, reason)));
    }
}

#[test]
fn a_slow_client_that_never_reads_is_dropped() {
    let mut world = World::with(FanoutConfig { client_buffer_max: 3_000, ..config() });
    let id = blocked(&mut world, BTC);
    for minute in 0..20 {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    world.pass(Duration::from_millis(5_001));
    assert!(world.socket(id).is_closed);
    assert_eq!(world.fanout.clients(), 0);
}

#[test]
fn a_limit_counts_what_is_sent_not_what_was_conflated() {
    let mut world = World::new();
    let id = blocked(&mut world, BTC_3);
    for price in ["1", "2", "3", "4", "5"] {
        world.open_candle("BTCUSDT", 0, price);
    }
    world.unblock(id);
    assert_eq!(world.summary(id), ["quote BTCUSDT 1", "quote BTCUSDT 5"]);
    for price in ["6", "7"] {
        world.open_candle("BTCUSDT", 0, price);
    }
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (1, 1000));
}

#[test]
fn a_close_waits_for_what_is_owed() {
    let mut world = World::new();
    let id = blocked(&mut world, BTC_3);
    for minute in 0..5 {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    world.say_close(id, b"");
    world.unblock(id);
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (3, 1005));
}

#[test]
fn the_drain_writes_what_is_owed() {
    let mut world = World::new();
    let id = blocked(&mut world, BTC);
    for minute in 0..5 {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    world.fanout.begin_drain(DrainKind::Closed, world.now);
    world.drive();
    world.unblock(id);
    let (texts, close) = world.got(id);
    assert_eq!(texts.len(), 6);
    assert_eq!((&texts[5]["type"], close.unwrap().0), (&"notice".into(), 1001));
}

#[test]
fn a_batch_beyond_what_may_be_ready_arrives_whole_and_in_order() {
    let mut world = World::with(FanoutConfig { client_buffer_max: 4 << 20, ..config() });
    let id = world.open_with(BTC);
    world.texts(id);
    let minutes = 2 * SHARE_BYTES_MAX as i64 / 400;
    for minute in 0..minutes {
        let update = world.update("BTCUSDT", minute, "1", Some(FinalBy::Flag));
        world.fanout.handle_market(&MarketEvent::Candle(update), world.now);
    }
    assert!(world.fanout.outgoing(id).len() < SHARE_BYTES_MAX + 1_000);
    world.drive();
    let times: Vec<i64> =
        world.texts(id).iter().map(|text| text["open_time"].as_i64().unwrap()).collect();
    assert_eq!(times.len() as i64, minutes);
    assert!(times.is_sorted());
}

#[test]
fn short_writes_lose_and_tear_nothing() {
    let mut world = World::new();
    let id = blocked(&mut world, TWO);
    for minute in 0..10 {
        world.open_candle("ETHUSDT", minute, "1");
        world.closed_candle("BTCUSDT", minute, "2");
        let part = world.fanout.outgoing(id).to_vec()[..40].to_vec();
        world.socket(id).bytes.extend_from_slice(&part);
        world.fanout.consume_outgoing(id, part.len(), world.now);
        world.drive();
    }
    world.say(id, r#"{"op":"ping"}"#);
    world.unblock(id);
    let summary = world.summary(id);
    let closed = summary.iter().filter(|text| *text == "quote BTCUSDT 2").count();
    assert_eq!((closed, summary.contains(&"pong".to_owned())), (10, true), "{summary:?}");
}

/// Clients that want the same, less, and more pieces than are shared. One asks something between
/// two publications of a turn, each after its socket has taken a part of what was published.
#[test]
fn what_is_shared_is_whole_and_in_order_wherever_a_socket_stops() {
    const PING: &[u8] = br#"{"op":"ping"}"#;
    let names = |step: usize| (0..80).step_by(step).map(|at| format!("S{at}")).collect::<Vec<_>>();
    for taken in [0, 1, 300, 1_000, 5_000, usize::MAX] {
        let mut world = World::new();
        let clients = [names(1), names(1), names(2), names(79)].map(|names| {
            let symbols = names.join(r#"",""#);
            let request = format!(
                r#"{{"exchange":"binance","contract_type":"spot","symbols":["{symbols}"]}}"#
            );
            let id = world.open_with(&request);
            world.texts(id);
            let expected = names.iter().map(|name| format!("quote {name} 1"));
            (id, expected.chain(["pong".to_owned()]).collect::<Vec<_>>())
        });
        for at in 0..80 {
            if at == 40 {
                world.fanout.handle_bytes(clients[0].0, &frame(0x81, PING), world.now);
            }
            let update = world.update(&format!("S{at}"), 0, "1", Some(FinalBy::Flag));
            world.fanout.handle_market(&MarketEvent::Candle(update), world.now);
        }
        let mut asked = Vec::new();
        while let Some(output) = world.fanout.poll_output() {
            let Output::Transmit { client } = output else { continue };
            if asked.contains(&client) {
                world.write(client);
                continue;
            }
            asked.push(client);
            let bytes = world.fanout.outgoing(client).to_vec();
            let part = &bytes[..taken.min(bytes.len())];
            world.socket(client).bytes.extend_from_slice(part);
            world.fanout.consume_outgoing(client, part.len(), world.now);
            world.fanout.handle_bytes(client, &frame(0x81, PING), world.now);
        }
        for (at, (id, mut expected)) in clients.into_iter().enumerate() {
            world.write(id);
            world.drive();
            if at == 0 {
                expected.insert(40, "pong".to_owned());
            }
            assert!(world.summary(id) == expected, "client {at} after {taken} bytes");
        }
    }
}

#[test]
fn a_pong_behind_bytes_that_are_being_taken_is_waited_for() {
    let mut world = World::new();
    let id = blocked(&mut world, BTC);
    for minute in 0..3 {
        world.closed_candle("BTCUSDT", minute, "2");
    }
    for _ in 0..12 {
        world.pass(Duration::from_secs(5));
        world.fanout.consume_outgoing(id, 1, world.now);
    }
    assert!(!world.socket(id).is_closed);
    world.pass(Duration::from_secs(21));
    assert_eq!(world.metrics.ping_timeouts.value(), 1);
    // It does not take its Close either.
    world.pass(CLOSE_WRITE_PATIENCE);
    assert!(world.socket(id).is_closed);
}

#[test]
fn answers_that_nobody_reads_are_bounded_too() {
    let mut world = World::with(FanoutConfig { client_buffer_max: 50_000, ..config() });
    let symbols: Vec<String> = (0..2000).map(|number| format!("\"SYMBOL{number}\"")).collect();
    let request = format!(
        r#"{{"exchange":"binance","contract_type":"spot","symbols":[{}]}}"#,
        symbols.join(",")
    );
    let id = blocked(&mut world, &request);
    for _ in 0..100 {
        world.say(id, r#"{"op":"list"}"#);
    }
    // A request of many symbols is a turn of its own.
    world.pass(Duration::ZERO);
    assert_eq!(world.metrics.slow_disconnects.value(), 1);
    world.unblock(id);
    let (_, close) = world.got(id);
    assert_eq!(close.unwrap().0, 1013);
}
