//! How connections end, and what is still sent before they do.

use std::time::Duration;

use connector_wss::fanout::DrainKind;
use connector_wss::limits::MOVE_INTERVAL;
use connector_wss::messages::Command;

use super::world::*;

/// `frame` of a Close with this code.
fn code(code: u16) -> [u8; 2] {
    code.to_be_bytes()
}

#[test]
fn an_empty_close_is_answered_when_the_limit_is_served() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.say_close(id, b"");
    world.pass(seconds(2));
    for close in ["1", "2"] {
        world.open_candle("BTCUSDT", 0, close);
    }
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close), (3, None));
    world.open_candle("BTCUSDT", 0, "3");
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (1, 1005));
    world.half_close(id);
    assert!(world.socket(id).is_closed);
}

#[test]
fn an_empty_close_without_a_limit_is_answered_after_the_first_quote_of_each_series() {
    let mut world = World::new();
    let id = world.open_with(TWO);
    world.say_close(id, b"");
    world.open_candle("BTCUSDT", 0, "1");
    world.open_candle("BTCUSDT", 0, "2");
    assert_eq!(world.got(id).1, None);
    world.open_candle("ETHUSDT", 0, "1");
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (1, 1005));
}

#[test]
fn an_empty_close_is_answered_after_the_linger_at_the_latest() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.say_close(id, b"");
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.close_of(id), None);
    world.pass(Duration::from_millis(2));
    assert_eq!(world.close_of(id), Some(1005));
}

#[test]
fn a_fin_counts_as_an_empty_close_and_needs_no_drain() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.half_close(id);
    world.half_close(id);
    for close in ["1", "2", "3"] {
        world.open_candle("BTCUSDT", 0, close);
    }
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (4, 1000));
    assert!(world.socket(id).is_closed);
}

#[test]
fn close_1000_waits_only_for_series_without_a_quote() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.say_close(id, &code(1000));
    assert_eq!(world.close_of(id), None);
    world.open_candle("BTCUSDT", 0, "1");
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (1, 1000));
    let id = world.open_with(&BTC_3.replace("BTC", "ETH"));
    world.say_close(id, &code(1000));
    world.pass(Duration::from_millis(2_999));
    assert_eq!(world.close_of(id), None);
    world.pass(Duration::from_millis(2));
    assert_eq!(world.close_of(id), Some(1000));
}

#[test]
fn any_other_code_or_nothing_owed_is_answered_at_once() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.say_close(id, &code(1001));
    assert_eq!(world.close_of(id), Some(1001));
    let id = world.open();
    world.say_close(id, b"");
    assert_eq!(world.close_of(id), Some(1005));
    let id = world.open();
    world.half_close(id);
    assert_eq!(world.close_of(id), Some(1000));
}

#[test]
fn a_request_glued_to_its_close_is_served() {
    let mut world = World::new();
    let other = world.open_with(BTC);
    world.open_candle("BTCUSDT", 0, "1");
    let id = world.open();
    let bytes = [frame(0x81, BTC.as_bytes()), frame(0x88, b"")].concat();
    world.send(id, &bytes);
    let (texts, close) = world.got(id);
    assert_eq!((texts.len(), close.unwrap().0), (2, 1005));
    assert_eq!(world.got(other).1, None);
}

#[test]
fn after_our_close_comes_fin_and_reads_are_drained_for_a_second() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.say_close(id, &code(1001));
    assert!(world.socket(id).has_fin);
    world.send(id, b"whatever still comes");
    world.pass(Duration::from_millis(999));
    assert!(!world.socket(id).is_closed);
    world.pass(Duration::from_millis(2));
    assert!(world.socket(id).is_closed);
    assert_eq!(world.fanout.clients(), 0);
}

#[test]
fn broken_websocket_is_told_its_code() {
    let mut world = World::new();
    for (bytes, expected) in [
        (frame(0x83, b""), 1002),
        (frame(0x81, b"\xff\xfe"), 1007),
        (frame(0x81, &[b' '; 65_537]), 1009),
    ] {
        let id = world.open_with(BTC);
        world.send(id, &bytes);
        assert_eq!(world.close_of(id), Some(expected));
        assert!(world.socket(id).has_fin);
    }
    assert_eq!(world.metrics.protocol_errors.value(), 3);
}

#[test]
fn a_rejected_symbol_ends_for_itself_and_not_for_its_neighbours() {
    let mut world = World::new();
    let id = world.open_with(&TWO.replace('}', r#","id":"x"}"#));
    world.texts(id);
    world.refuse("ETHUSDT", false);
    let error = world.error(id);
    assert_eq!(error["code"], "symbol_rejected");
    assert_eq!(error["exchange_message"], "Invalid symbol.");
    assert_eq!((&error["symbols"], &error["id"]), (&serde_json::json!(["ETHUSDT"]), &"x".into()));
    assert_eq!((&error["exchange"], &error["contract_type"]), (&"binance".into(), &"spot".into()));
    world.open_candle("BTCUSDT", 0, "1");
    assert_eq!(world.summary(id), ["quote BTCUSDT 1"]);
    let before = world.subscribes();
    world.open_with(TWO);
    assert_eq!(world.subscribes(), before + 1, "asked again");
}

#[test]
fn a_client_with_nothing_but_rejected_symbols_is_closed_with_1000() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.texts(id);
    world.reject("BTCUSDT");
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["type"], "error");
    let (code, reason) = close.unwrap();
    assert_eq!(code, 1000);
    assert!(reason.contains("BTCUSDT"));
}

#[test]
fn the_drain_tells_everybody_and_admits_nobody() {
    let mut world = World::new();
    let early = world.accept();
    let id = world.open_with(BTC);
    world.texts(id);
    world.fanout.begin_drain(DrainKind::Closed, world.now);
    world.drive();
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["code"], "draining");
    assert_eq!(close.unwrap().0, 1001);
    let late = world.accept();
    for refused in [early, late] {
        let answer = String::from_utf8(world.socket(refused).bytes.clone()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "));
    }
    assert!(!world.fanout.is_drained());
    world.pass(seconds(2));
    assert!(world.fanout.is_drained());
    assert_eq!(world.metrics.clients.value(), 0);
}

#[test]
fn where_a_successor_comes_who_is_on_the_way_in_is_let_in_and_told() {
    for drain_kind in [DrainKind::Kept, DrainKind::Succeeded] {
        let mut world = World::new();
        let (asking, silent) = (world.accept(), world.accept());
        world.send(asking, b"GET / HTTP/1.1\r\nHost: h\r\n");
        world.fanout.begin_drain(drain_kind, world.now);
        world.drive();
        assert!(world.socket(asking).bytes.is_empty(), "nobody is refused");
        let rest = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        world.send(asking, rest.as_bytes());
        let answer = String::from_utf8_lossy(&world.socket(asking).bytes).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains(r#""code":"draining""#), "{answer}");
        assert!(answer.contains("connect again now") && world.socket(asking).has_fin, "{answer}");
        world.pass(seconds(3));
        assert!(world.socket(silent).bytes.starts_with(b"HTTP/1.1 408 "), "one that never asks");
        assert!(world.fanout.is_drained());
    }
}

#[test]
fn clients_move_to_a_successor_one_after_the_other_and_are_served_until_then() {
    let mut world = World::new();
    let clients: Vec<_> = (0..10).map(|_| world.open_with(BTC)).collect();
    for &id in &clients {
        world.texts(id);
    }
    world.fanout.begin_moves(seconds(1), world.now);
    let mut moved = Vec::new();
    for price in 1.. {
        world.pass(MOVE_INTERVAL);
        world.open_candle("BTCUSDT", 0, &price.to_string());
        for &id in clients.iter().filter(|id| !moved.contains(*id)).collect::<Vec<_>>() {
            let (texts, close) = world.got(id);
            let last = texts.last().unwrap();
            match close {
                None => assert_eq!(last["close"], price, "it is served as ever"),
                Some(close) => {
                    assert_eq!(close, (1001, "a new server is at this address".to_owned()));
                    assert_eq!(last["code"], "draining");
                    moved.push(id);
                }
            }
        }
        let told = usize::try_from(price).unwrap() + 1;
        assert!(moved.len() <= told, "{} at once", moved.len());
        if world.fanout.has_moved() {
            break;
        }
    }
    assert_eq!(moved, clients, "in order");
    world.fanout.begin_drain(DrainKind::Succeeded, world.now);
    world.pass(seconds(2));
    assert!(world.fanout.is_drained());
}

#[test]
fn a_server_that_is_full_says_503_and_when_to_come_back() {
    let mut world = World::with(connector_wss::fanout::FanoutConfig { clients_max: 1, ..config() });
    let first = world.open();
    let second = world.accept();
    let answer = String::from_utf8(world.socket(second).bytes.clone()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 5\r\n"));
    assert!(world.socket(second).has_fin);
    world.fanout.handle_lost(first, world.now);
    world.pass(seconds(2));
    world.open();
    assert_eq!((world.metrics.refused.value(), world.metrics.clients.value()), (1, 1));
}

#[test]
fn a_request_head_that_never_ends_is_answered_with_408() {
    let mut world = World::new();
    let id = world.accept();
    world.send(id, b"GET / HT");
    world.pass(Duration::from_millis(10_001));
    assert!(world.socket(id).bytes.starts_with(b"HTTP/1.1 408 "));
    let id = world.accept();
    world.send(id, b"POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(world.socket(id).bytes.starts_with(b"HTTP/1.1 405 "));
    assert!(world.socket(id).has_fin);
}

#[test]
fn a_silent_client_is_pinged_and_then_given_up() {
    let mut world = World::new();
    let (silent, alive) = (world.open_with(BTC), world.open_with(BTC));
    world.pass(Duration::from_millis(20_001));
    for id in [silent, alive] {
        let last = frames(&world.socket(id).bytes).pop().unwrap();
        assert_eq!(last.0, 0x89, "a ping");
    }
    world.send(alive, &frame(0x8a, b""));
    world.pass(seconds(20));
    assert_eq!(world.close_of(silent), Some(1008));
    world.pass(seconds(2));
    assert!(world.socket(silent).is_closed);
    assert!(!world.socket(alive).is_closed);
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut world = World::new();
    let id = world.open();
    world.send(id, &frame(0x89, b"hey"));
    assert_eq!(frames(&world.socket(id).bytes), [(0x8a, b"hey".to_vec())]);
}

#[test]
fn preloaded_instruments_are_subscribed_from_the_start_and_for_ever() {
    let preload = vec![spot("BTCUSDT")];
    let mut world = World::with(connector_wss::fanout::FanoutConfig { preload, ..config() });
    assert!(matches!(&world.commands[..], [Command::Subscribe { .. }]));
    world.open_candle("BTCUSDT", 0, "1");
    let id = world.open_with(&BTC_3.replace('3', "1"));
    assert_eq!(world.got(id).0.len(), 2);
    world.pass(seconds(60));
    assert_eq!((world.subscribes(), world.unsubscribes()), (1, 0));
}
