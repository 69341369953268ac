//! `"fields":"basic"`: quotes as the Python connector sends them, beside whole ones.

use connector_wss::market::{CandleUpdate, FinalBy};
use connector_wss::messages::MarketEvent;
use serde_json::Value;

use super::world::*;

/// The fields of the Python connector's quote, in its order.
const FIELDS: [&str; 13] = [
    "type",
    "current_time",
    "timestamp",
    "exchange",
    "symbol",
    "contract_type",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "trade_num",
    "is_closed_candle",
];

fn names(quote: &Value) -> Vec<&str> {
    quote.as_object().unwrap().keys().map(String::as_str).collect()
}

fn basic() -> String {
    asking("\"fields\":\"basic\"")
}

fn assert_basic(quote: &Value) {
    let mut expected = FIELDS.to_vec();
    let mut found = names(quote);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "{quote}");
}

/// Without the time of encoding, which differs between messages that were encoded apart.
fn values(quote: &Value) -> Vec<Value> {
    FIELDS.iter().filter(|name| **name != "current_time").map(|name| quote[name].clone()).collect()
}

#[test]
fn a_basic_quote_has_the_13_fields_in_their_order_and_the_values_of_the_whole_one() {
    let mut world = World::new();
    let (short, whole) = (world.open_with(&basic()), world.open_with(BTC));
    let subscribed = world.texts(short).remove(0);
    assert_eq!(subscribed["fields"], "basic");
    assert!(world.texts(whole)[0].get("fields").is_none());
    // What the first bytes are, the keys of a parsed object would not show.
    world.open_candle("BTCUSDT", 0, "1.5");
    let bytes = world.socket(short).bytes.clone();
    let text = String::from_utf8_lossy(&bytes);
    let at: Vec<usize> =
        FIELDS.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(at.is_sorted(), "{text}");
    world.closed_candle("BTCUSDT", 0, "2.5");
    let (short, whole) = (world.texts(short), world.texts(whole));
    assert_eq!((short.len(), whole.len()), (2, 2));
    for (short, whole) in short.iter().zip(&whole) {
        assert_basic(short);
        assert!(names(whole).len() > 20);
        assert_eq!(values(short), values(whole));
    }
    assert_eq!(short[1]["is_closed_candle"], true);
}

#[test]
fn a_basic_client_that_comes_later_or_is_behind_gets_nothing_else() {
    let mut world = World::new();
    let whole = world.open_with(BTC);
    world.open_candle("BTCUSDT", 0, "1");
    let id = world.open_with(&basic());
    let texts = world.texts(id);
    assert_eq!(texts.len(), 2, "the newest candle comes with the subscription");
    assert_basic(&texts[1]);
    world.texts(whole);
    for client in [id, whole] {
        world.socket(client).is_blocked = true;
    }
    for price in ["2", "3", "4", "5"] {
        world.open_candle("BTCUSDT", 0, price);
    }
    world.closed_candle("BTCUSDT", 0, "6");
    world.open_candle("BTCUSDT", 1, "7");
    world.open_candle("BTCUSDT", 1, "8");
    for client in [id, whole] {
        world.unblock(client);
    }
    let (texts, whole) = (world.texts(id), world.texts(whole));
    texts.iter().for_each(assert_basic);
    let summaries = |texts: &[Value]| texts.iter().map(summarize).collect::<Vec<_>>();
    assert_eq!(summaries(&texts), summaries(&whole), "the same candles");
    assert_eq!(whole.last().unwrap()["conflated"], 1);
}

#[test]
fn who_wants_both_gets_the_whole_quote_once_and_the_basic_one_after_the_other_has_ended() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.say(id, &basic());
    world.texts(id);
    world.open_candle("BTCUSDT", 0, "1");
    let texts = world.texts(id);
    assert_eq!(texts.len(), 1);
    assert_eq!(texts[0]["interval"], "1m");
    let limited = world.open_with(&asking("\"fields\":\"basic\",\"limit\":2"));
    world.open_candle("BTCUSDT", 0, "2");
    let (texts, close) = world.got(limited);
    texts[1..].iter().for_each(assert_basic);
    assert_eq!((texts.len(), close.unwrap().0), (3, 1000), "a limit counts them as any");
}

#[test]
fn a_correction_stays_whole_since_it_has_to_name_its_window() {
    let mut world = World::new();
    let id = world.open_with(&basic());
    world.closed_candle("BTCUSDT", 0, "1");
    world.texts(id);
    let closed = world.update("BTCUSDT", 0, "2", Some(FinalBy::Flag));
    world.market(MarketEvent::Candle(CandleUpdate { revision: 1, ..closed }));
    let texts = world.texts(id);
    assert_eq!((&texts[0]["type"], &texts[0]["revision"]), (&"correction".into(), &1.into()));
    assert!(texts[0]["open_time"].is_i64(), "{}", texts[0]);
}

#[test]
fn what_basic_cannot_mean_is_refused_with_what_is_right() {
    let mut world = World::new();
    let id = world.open();
    for (what, code, says) in [
        ("\"fields\":\"few\"", "unknown_fields", "all, basic"),
        ("\"fields\":13", "wrong_type", "all, basic"),
        ("\"fields\":\"basic\",\"history\":3", "basic_without_past", "open time"),
        ("\"fields\":\"basic\",\"since\":0", "basic_without_past", "open time"),
    ] {
        world.say(id, &asking(what).replacen('{', r#"{"op":"subscribe","#, 1));
        let error = world.error(id);
        assert_eq!((&error["code"], &error["field"]), (&code.into(), &"fields".into()), "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
    world.say(id, &asking("\"fields\":\"all\""));
    assert_eq!(world.summary(id), ["subscribed"]);
}

#[test]
fn what_the_basic_fields_leave_out_is_told_once_before_the_first_such_candle() {
    let mut world = World::new();
    let whole = world.open_with(&asking("\"interval\":\"5m\""));
    let id = world.open_with(&asking("\"interval\":\"5m\",\"fields\":\"basic\""));
    world.texts(id);
    world.open_candle("BTCUSDT", 3, "1");
    let late = world.open_with(&asking("\"interval\":\"5m\",\"fields\":\"basic\""));
    world.open_candle("BTCUSDT", 3, "2");
    for (client, begin) in [(id, 0), (late, 1)] {
        let texts = world.texts(client);
        assert_eq!(texts[begin]["code"], "not_in_basic", "{texts:?}");
        let (message, symbols) =
            (texts[begin]["message"].as_str().unwrap(), &texts[begin]["symbols"]);
        assert!(message.contains("5m") && message.contains("lacks 2 of its minutes"), "{message}");
        assert_eq!(symbols, &serde_json::json!(["BTCUSDT"]));
        texts[begin + 1..].iter().for_each(assert_basic);
        assert_eq!(texts.len() - begin, 3, "a notice and two candles");
    }
    (3..6).for_each(|minute| world.closed_candle("BTCUSDT", minute, "3"));
    (6..11).for_each(|minute| world.closed_candle("BTCUSDT", minute, "3"));
    world.texts(id).iter().for_each(assert_basic);
    // The next that lacks something is told anew.
    world.open_candle("BTCUSDT", 13, "1");
    assert_eq!(world.texts(id)[0]["code"], "not_in_basic");
    let texts = world.texts(whole);
    assert!(texts.iter().all(|text| text["type"] != "notice"), "it reads missing_minutes");
}

#[test]
fn a_candle_that_counts_contracts_is_told_to_those_who_do_not_see_its_unit() {
    let request = |more: &str| {
        format!(r#"{{"exchange":"gateio","contract_type":"cm","symbols":["BTC_USD"]{more}}}"#)
    };
    let mut world = World::new();
    let (id, whole) =
        (world.open_with(&request(r#","fields":"basic""#)), world.open_with(&request("")));
    let candle = |world: &mut World, minute: i64, base: Option<&str>| {
        let mut update = world.update("BTC_USD", minute, "1", Some(FinalBy::Rest));
        update.candle.other_volume = base.map(|base| base.parse().unwrap());
        world.market(MarketEvent::Candle(update));
    };
    candle(&mut world, 1, Some("0.5"));
    for minute in 2..4 {
        candle(&mut world, minute, None);
    }
    candle(&mut world, 4, Some("0.5"));
    candle(&mut world, 5, None);
    let told = world.texts(id);
    let kinds: Vec<&str> = told.iter().map(|text| text["type"].as_str().unwrap()).collect();
    let expected = ["subscribed", "quote", "notice", "quote", "quote", "quote", "notice", "quote"];
    assert_eq!(kinds, expected);
    assert!(told[2]["message"].as_str().unwrap().contains("counts contracts"), "{}", told[2]);
    assert!(world.texts(whole).iter().all(|text| text["type"] != "notice"));
}

#[test]
fn the_fields_are_those_of_each_subscription_and_all_of_them_where_two_share_a_series() {
    let mut world = World::new();
    let id = world.open_with(&basic());
    world.say(id, &BTC.replace("BTCUSDT", "ETHUSDT"));
    world.say(id, &asking("\"fields\":\"basic\"").replace("BTCUSDT", "SOLUSDT"));
    world.texts(id);
    for symbol in ["BTCUSDT", "ETHUSDT", "SOLUSDT"] {
        world.open_candle(symbol, 1, "1");
    }
    let texts = world.texts(id);
    assert_basic(&texts[0]);
    assert_eq!(texts[1]["interval"], "1m", "whole");
    assert_basic(&texts[2]);
    // In whichever order they come.
    world.say(id, BTC);
    world.texts(id);
    world.open_candle("BTCUSDT", 1, "2");
    let texts = world.texts(id);
    assert_eq!((texts.len(), &texts[0]["interval"]), (1, &"1m".into()));
}
