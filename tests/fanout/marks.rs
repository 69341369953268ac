//! The ends of intervals, and subscriptions of all that is streamed.

use connector_wss::clock::UnixMs;
use connector_wss::fanout::ClientId;
use connector_wss::messages::MarketEvent;

use super::world::*;

const MARKED: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"mark":true}"#;
const ALL: &str = r#"{"exchange":"binance","contract_type":"spot","symbols":["*"]}"#;

/// Each mark: minute, closed, empty, absent.
fn marks(world: &mut World, id: ClientId) -> Vec<String> {
    let texts = world.texts(id).into_iter().filter(|text| text["type"] == "mark");
    let text = |mark: serde_json::Value| {
        let minute = mark["open_time"].as_i64().unwrap() / 60_000 - MINUTE_0;
        assert_eq!(mark["seq"].as_i64(), Some(minute + MINUTE_0));
        let absent = mark["absent"].as_array().unwrap();
        assert_eq!(mark["absent_count"].as_u64(), Some(absent.len() as u64));
        let named = |one: &serde_json::Value| {
            format!(" {} {}", one["symbol"].as_str().unwrap(), one["reason"].as_str().unwrap())
        };
        let absent: String = absent.iter().map(named).collect();
        format!("{minute}: {} closed, {} empty{absent}", mark["closed"], mark["empty"])
    };
    texts.map(text).collect()
}

fn empty(world: &mut World, symbol: &str, minute: i64) {
    let open_time = UnixMs((MINUTE_0 + minute) * 60_000);
    let instrument = world.ids[symbol];
    world.market(MarketEvent::Empty { instrument, open_time, is_backfilled: false });
}

#[test]
fn the_mark_comes_when_the_last_series_has_closed() {
    let mut world = World::new();
    let other = world.open_with(TWO);
    let id = world.open_with(MARKED);
    world.closed_candle("BTCUSDT", 0, "1");
    world.closed_candle("ETHUSDT", 0, "1");
    marks(&mut world, id);
    world.closed_candle("BTCUSDT", 1, "1");
    assert_eq!(world.summary(id), ["quote BTCUSDT 1"], "one is awaited");
    world.open_candle("ETHUSDT", 2, "2");
    empty(&mut world, "ETHUSDT", 1);
    assert_eq!(marks(&mut world, id), ["1: 1 closed, 1 empty"]);
    let texts = world.texts(other);
    assert!(texts.iter().all(|text| text["type"] != "mark"), "only those who asked: {texts:?}");
    world.pass(seconds(60));
    assert_eq!(marks(&mut world, id), [""; 0], "once");
}

#[test]
fn the_first_mark_waits_for_every_series_of_which_the_window_was_running() {
    let mut world = World::new();
    world.open_with(TWO);
    let id = world.open_with(MARKED);
    world.open_candle("BTCUSDT", 0, "1");
    world.open_candle("ETHUSDT", 0, "1");
    world.closed_candle("BTCUSDT", 0, "2");
    assert_eq!(marks(&mut world, id), [""; 0], "the other one has been told of, too");
    world.closed_candle("ETHUSDT", 0, "2");
    assert_eq!(marks(&mut world, id), ["0: 2 closed, 0 empty"]);
}

#[test]
fn a_series_that_began_later_is_not_awaited() {
    let mut world = World::new();
    world.open_with(TWO);
    let id = world.open_with(MARKED);
    world.open_candle("BTCUSDT", 0, "1");
    world.open_candle("ETHUSDT", 1, "1");
    world.closed_candle("BTCUSDT", 0, "2");
    assert_eq!(marks(&mut world, id), ["0: 1 closed, 0 empty"]);
}

#[test]
fn who_is_late_is_named_with_the_reason() {
    let mut world = World::new();
    world.open_with(TWO);
    let id = world.open_with(MARKED);
    for symbol in ["BTCUSDT", "ETHUSDT"] {
        world.closed_candle(symbol, 0, "1");
    }
    marks(&mut world, id);
    world.closed_candle("BTCUSDT", 1, "1");
    world.pass(seconds(9));
    assert_eq!(marks(&mut world, id), [""; 0]);
    world.pass(seconds(2));
    assert_eq!(marks(&mut world, id), ["1: 1 closed, 0 empty ETHUSDT not_received"]);
    world.session("ETHUSDT", false);
    world.closed_candle("BTCUSDT", 2, "1");
    // The next minute ends before the patience does.
    world.closed_candle("BTCUSDT", 3, "1");
    assert_eq!(marks(&mut world, id), ["2: 1 closed, 0 empty ETHUSDT session_lost"]);
    world.session("ETHUSDT", true);
    let (instrument, first_missing) = (world.ids["ETHUSDT"], UnixMs((MINUTE_0 + 1) * 60_000));
    world.market(MarketEvent::Gap { instrument, first_missing, missing: 3 });
    assert_eq!(marks(&mut world, id), ["3: 1 closed, 0 empty ETHUSDT gap"]);
}

#[test]
fn marks_end_with_their_subscription_and_are_of_their_interval() {
    let mut world = World::new();
    let id = world.open_with(&MARKED.replace("\"mark\"", "\"interval\":\"5m\",\"mark\""));
    let subscribed = world.texts(id).remove(0);
    assert_eq!((&subscribed["mark"], &subscribed["source"]), (&true.into(), &"derived".into()));
    (1..6).for_each(|minute| world.closed_candle("BTCUSDT", minute, "1"));
    let mark = world.texts(id).pop().unwrap();
    assert_eq!(
        (&mark["type"], &mark["interval"], &mark["closed"]),
        (&"mark".into(), &"5m".into(), &1.into())
    );
    world.say(id, &ALL.replace('}', ",\"op\":\"unsubscribe\",\"interval\":\"1m\"}"));
    assert_eq!(world.error(id)["code"], "not_subscribed");
    world.say(id, &ALL.replace('}', ",\"op\":\"unsubscribe\",\"interval\":\"5m\"}"));
    assert_eq!(world.summary(id), ["unsubscribed"]);
    let again = world.open_with(BTC);
    (6..11).for_each(|minute| world.closed_candle("BTCUSDT", minute, "1"));
    assert_eq!(marks(&mut world, id), [""; 0]);
    assert_eq!(marks(&mut world, again), [""; 0]);
}

#[test]
fn a_star_means_all_that_is_streamed_there() {
    let mut world = World::new();
    let early = world.open_with(ALL);
    assert_eq!(world.error(early)["code"], "nothing_streamed");
    world.open_with(TWO);
    let id = world.open_with(ALL);
    let subscribed = world.texts(id).remove(0);
    assert_eq!(subscribed["symbols"], serde_json::json!(["BTCUSDT", "ETHUSDT"]));
    assert_eq!(world.subscribes(), 2, "the exchange is asked nothing");
    world.open_candle("ETHUSDT", 0, "3");
    assert_eq!(world.summary(id), ["quote ETHUSDT 3"]);
    let derived = world.open_with(&ALL.replace('}', ",\"interval\":\"5m\"}"));
    let texts = world.summary(derived);
    assert_eq!(texts, ["subscribed", "quote ETHUSDT 3"]);
}

/// A client of three series, which have all closed minute 0.
fn three() -> (World, ClientId) {
    let mut world = World::new();
    world.open_with(&BTC.replace("\"BTCUSDT\"", "\"ETHUSDT\",\"XRPUSDT\""));
    let id = world.open_with(MARKED);
    let symbols = ["BTCUSDT", "ETHUSDT", "XRPUSDT"];
    symbols.iter().for_each(|symbol| world.open_candle(symbol, 0, "1"));
    symbols.iter().for_each(|symbol| world.closed_candle(symbol, 0, "1"));
    assert_eq!(marks(&mut world, id), ["0: 3 closed, 0 empty"]);
    (world, id)
}

#[test]
fn no_mark_comes_one_series_early() {
    let (mut world, id) = three();
    for minute in 1..4 {
        for symbol in ["ETHUSDT", "BTCUSDT"] {
            world.closed_candle(symbol, minute, "1");
            assert_eq!(marks(&mut world, id), [""; 0], "{symbol} is not the last");
        }
        world.closed_candle("XRPUSDT", minute, "1");
        assert_eq!(marks(&mut world, id), [format!("{minute}: 3 closed, 0 empty")]);
    }
}

#[test]
fn a_series_that_begins_while_the_others_close_is_awaited_too() {
    let (mut world, id) = three();
    world.closed_candle("BTCUSDT", 1, "1");
    world.closed_candle("ETHUSDT", 1, "1");
    world.open_with(&BTC.replace("BTCUSDT", "SOLUSDT"));
    world.open_candle("SOLUSDT", 1, "1");
    world.closed_candle("XRPUSDT", 1, "1");
    assert_eq!(marks(&mut world, id), [""; 0], "the fourth is running");
    world.closed_candle("SOLUSDT", 1, "1");
    assert_eq!(marks(&mut world, id), ["1: 4 closed, 0 empty"]);
}

#[test]
fn a_series_that_ended_is_neither_awaited_nor_named() {
    let (mut world, id) = three();
    world.closed_candle("BTCUSDT", 1, "1");
    world.reject("ETHUSDT");
    world.closed_candle("XRPUSDT", 1, "1");
    world.pass(seconds(11));
    assert_eq!(marks(&mut world, id), ["1: 2 closed, 0 empty"]);
    world.closed_candle("XRPUSDT", 2, "1");
    world.closed_candle("BTCUSDT", 2, "1");
    assert_eq!(marks(&mut world, id), ["2: 2 closed, 0 empty"], "at once");
}
