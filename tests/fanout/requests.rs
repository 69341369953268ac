//! What clients ask and what they are answered.

use connector_wss::clock::UnixMs;
use connector_wss::fanout::ClientId;
use connector_wss::limits::UNSUBSCRIBE_LINGER;
use connector_wss::market::FinalBy;
use connector_wss::messages::{Command, MarketEvent};
use std::time::Duration;

use super::world::*;

#[test]
fn subscribed_and_the_newest_candle_leave_in_the_turn_of_the_request() {
    let mut world = World::new();
    let first = world.open_with(BTC);
    assert_eq!(world.summary(first), ["subscribed"]);
    world.open_candle("BTCUSDT", 0, "7.50");
    assert_eq!(world.summary(first), ["quote BTCUSDT 7.5"]);
    let second = world.open_with(BTC);
    assert_eq!(world.summary(second), ["subscribed", "quote BTCUSDT 7.5"]);
    world.pass(seconds(180));
    let third = world.open_with(BTC);
    assert_eq!(world.summary(third), ["subscribed"], "two intervals old is not news");
}

#[test]
fn subscribed_names_what_was_accepted() {
    let mut world = World::new();
    let id = world.open_with(
        r#"{"exchange":"Binance","contract_type":"um","symbols":["btcusdt","BTCUSDT","x"],"id":9}"#,
    );
    let expected = serde_json::json!({
        "type": "subscribed", "exchange": "binance", "contract_type": "usdm",
        "symbols": ["BTCUSDT", "X"], "limit": 0, "interval": "1m", "closed_only": false,
        "id": 9
    });
    assert_eq!(world.texts(id), [expected]);
}

#[test]
fn all_clients_get_the_same_bytes_and_the_exchange_is_subscribed_once() {
    let mut world = World::new();
    let ids: Vec<ClientId> = (0..50).map(|_| world.open_with(BTC)).collect();
    assert_eq!(world.subscribes(), 1);
    for &id in &ids {
        world.socket(id).bytes.clear();
        world.socket(id).transmits = 0;
    }
    world.closed_candle("BTCUSDT", 0, "1.5");
    let expected = world.socket(ids[0]).bytes.clone();
    assert!(expected.len() > 200);
    for &id in &ids {
        assert_eq!(world.socket(id).bytes, expected);
        assert_eq!(world.socket(id).transmits, 1);
    }
    for &id in &ids {
        world.fanout.handle_lost(id, world.now);
    }
    world.pass(UNSUBSCRIBE_LINGER - Duration::from_millis(1));
    assert_eq!(world.unsubscribes(), 0);
    world.pass(Duration::from_millis(2));
    assert_eq!((world.unsubscribes(), world.fanout.clients()), (1, 0));
    assert_eq!(world.metrics.subscriptions.value(), 0);
}

#[test]
fn several_updates_in_one_batch_are_one_transmit() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.socket(id).transmits = 0;
    for close in ["1", "2", "3"] {
        let update = world.update("BTCUSDT", 0, close, None);
        world.fanout.handle_market(&MarketEvent::Candle(update), world.now);
    }
    world.drive();
    assert_eq!(world.socket(id).transmits, 1);
    assert_eq!(world.summary(id).len(), 4);
}

#[test]
fn a_limit_is_served_exactly_and_then_closed_normally() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    for close in ["1", "2", "3", "4"] {
        world.open_candle("BTCUSDT", 0, close);
    }
    let (texts, close) = world.got(id);
    assert_eq!(texts.len(), 4, "subscribed and three quotes");
    assert_eq!(close, Some((1000, String::new())));
    assert!(world.socket(id).has_fin && !world.socket(id).is_closed);
    world.half_close(id);
    assert!(world.socket(id).is_closed);
}

#[test]
fn the_newest_candle_counts_towards_the_limit() {
    let mut world = World::new();
    world.open_with(BTC);
    world.open_candle("BTCUSDT", 0, "1");
    let id = world.open_with(&BTC_3.replace('3', "1"));
    let (texts, close) = world.got(id);
    assert_eq!(texts.len(), 2);
    assert_eq!(close.unwrap().0, 1000);
}

#[test]
fn a_socket_stays_while_one_of_its_subscriptions_has_no_end() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    world.say(id, BTC);
    for close in ["1", "2", "3", "4", "5"] {
        world.open_candle("BTCUSDT", 0, close);
    }
    let (texts, close) = world.got(id);
    assert_eq!(texts.len(), 2 + 5, "a quote is sent once, however many subscriptions cover it");
    assert_eq!(close, None);
    world.say(id, r#"{"op":"list"}"#);
    assert_eq!(world.texts(id)[0]["subscriptions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_second_subscription_repeats_no_closed_candle() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.closed_candle("BTCUSDT", 0, "1");
    world.say(id, BTC);
    assert_eq!(world.summary(id), ["subscribed", "quote BTCUSDT 1", "subscribed"]);
    world.open_candle("BTCUSDT", 1, "2");
    assert_eq!(world.summary(id), ["quote BTCUSDT 2"]);
}

#[test]
fn closed_only_leaves_out_open_candles() {
    let mut world = World::new();
    let id = world.open_with(&BTC.replace('}', r#","closed_only":true}"#));
    world.open_candle("BTCUSDT", 0, "1");
    world.closed_candle("BTCUSDT", 0, "2");
    assert_eq!(world.summary(id), ["subscribed", "quote BTCUSDT 2"]);
}

#[test]
fn corrections_and_gaps_are_told_and_count_as_no_quote() {
    let mut world = World::new();
    let id = world.open_with(BTC_3);
    let mut update = world.update("BTCUSDT", 0, "2", Some(FinalBy::Rest));
    world.market(MarketEvent::Candle(update));
    world.texts(id);
    (update.revision, update.candle.close) = (1, "3".parse().unwrap());
    world.market(MarketEvent::Candle(update));
    let (instrument, first_missing) = (world.ids["BTCUSDT"], UnixMs((MINUTE_0 + 1) * 60_000));
    world.market(MarketEvent::Gap { instrument, first_missing, missing: 2 });
    let texts = world.texts(id);
    assert_eq!(summarize(&texts[0]), "correction BTCUSDT 3");
    assert_eq!((&texts[0]["previous"]["close"], &texts[0]["revision"]), (&2.into(), &1.into()));
    assert_eq!((&texts[1]["type"], &texts[1]["count"]), (&"gap".into(), &2.into()));
    world.say(id, r#"{"op":"list"}"#);
    assert_eq!(world.texts(id)[0]["subscriptions"][0]["remaining"], 2);
}

#[test]
fn list_ping_and_unsubscribe_answer_with_the_id() {
    let mut world = World::new();
    let id = world.open_with(TWO);
    world.texts(id);
    world.say(id, r#"{"op":"ping","id":"p"}"#);
    let pong = world.texts(id);
    assert_eq!((&pong[0]["type"], &pong[0]["id"]), (&"pong".into(), &"p".into()));
    world.say(id, &BTC.replace('{', r#"{"op":"unsubscribe","id":2,"#));
    let left = world.texts(id);
    assert_eq!((&left[0]["type"], &left[0]["id"]), (&"unsubscribed".into(), &2.into()));
    assert_eq!(left[0]["symbols"], serde_json::json!(["BTCUSDT"]));
    world.open_candle("BTCUSDT", 0, "1");
    world.open_candle("ETHUSDT", 0, "2");
    assert_eq!(world.summary(id), ["quote ETHUSDT 2"]);
    world.say(id, &BTC.replace('{', r#"{"op":"unsubscribe","#));
    assert_eq!(world.error(id)["code"], "not_subscribed");
    world.say(id, r#"{"op":"unsubscribe"}"#);
    assert_eq!(world.summary(id), ["unsubscribed"]);
    world.pass(seconds(16));
    assert_eq!((world.unsubscribes(), world.close_of(id)), (2, None));
}

#[test]
fn a_bad_request_that_names_an_op_or_comes_later_leaves_the_connection_open() {
    let mut world = World::new();
    let asking = r#"{"op":"subscribe","exchange":"binance","contract_type":"perp","id":5}"#;
    let id = world.open_with(asking);
    let error = world.error(id);
    assert_eq!(error["code"], "unknown_contract_type");
    assert_eq!((&error["field"], &error["id"]), (&"contract_type".into(), &5.into()));
    assert_eq!((&error["exchange"], &error["contract_type"]), (&"binance".into(), &"perp".into()));
    world.say(id, BTC);
    assert_eq!(world.summary(id), ["subscribed"]);
    world.send(id, &frame(0x82, b"\x01\x02"));
    assert_eq!(world.error(id)["code"], "invalid_json");
    assert_eq!(world.metrics.client_errors.value(), 2);
}

#[test]
fn a_first_request_that_leaves_no_subscription_is_answered_and_closed_with_1000() {
    let unknown = BTC.replace("binance", "mtgox");
    let unread = BTC.replace("[\"BTCUSDT\"]", "[]");
    for request in ["nonsense", "[]", "{}", &unknown, &unread] {
        let mut world = World::new();
        let id = world.open_with(request);
        let (texts, close) = world.got(id);
        assert_eq!((texts.len(), &texts[0]["type"]), (1, &"error".into()), "{request}: {texts:?}");
        assert_eq!(close.unwrap().0, 1000, "{request}");
        assert_eq!(world.metrics.client_errors.value(), 1);
    }
    let mut world = World::new();
    let id = world.open();
    world.say(id, r#"{"op":"ping"}"#);
    world.say(id, r#"{"op":"list"}"#);
    world.texts(id);
    world.send(id, &frame(0x82, b"\x01\x02"));
    assert_eq!(world.close_of(id), Some(1000), "what else was answered makes no difference");
}

#[test]
fn a_client_that_had_a_subscription_may_make_a_mistake() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.say(id, r#"{"op":"unsubscribe"}"#);
    world.texts(id);
    world.say(id, "nonsense");
    assert_eq!(world.error(id)["type"], "error");
    world.say(id, BTC);
    assert_eq!(world.summary(id), ["subscribed"]);
}

#[test]
fn who_subscribes_nothing_is_told_and_closed() {
    let mut world = World::new();
    let id = world.open_with(r#"{"op":"subscribe"}"#);
    world.texts(id);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.got(id), (Vec::new(), None));
    world.pass(Duration::from_millis(2));
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["code"], "subscribe_timeout");
    assert_eq!(close.unwrap().0, 1008);
}

#[test]
fn a_lost_session_is_told_to_whom_it_concerns_and_no_stale_candle_is_shown() {
    let mut world = World::new();
    let (both, other) = (world.open_with(TWO), world.open_with(BTC));
    world.open_candle("BTCUSDT", 0, "1");
    world.open_candle("ETHUSDT", 0, "2");
    world.texts(both);
    world.texts(other);
    world.session("ETHUSDT", false);
    let told = world.texts(both);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["system_message"], told[0]["message"]);
    assert_eq!((&told[0]["type"], &told[0]["code"]), (&"notice".into(), &"session_lost".into()));
    assert_eq!(told[0]["symbols"], serde_json::json!(["ETHUSDT"]));
    assert!(world.texts(other).is_empty(), "BTCUSDT has another session");
    world.open_candle("ETHUSDT", 0, "3");
    let late = world.open_with(TWO);
    let texts = world.texts(late);
    let kinds: Vec<_> = texts.iter().map(|text| (&text["type"], &text["symbol"])).collect();
    let quote = (&"quote".into(), &"BTCUSDT".into());
    assert_eq!(kinds[2..], [quote], "and nothing from before the loss");
    world.texts(both);
    world.session("ETHUSDT", true);
    assert_eq!(world.texts(both)[0]["code"], "session_back");
    world.open_candle("ETHUSDT", 0, "4");
    let later = world.open_with(TWO);
    assert_eq!(world.summary(later)[1..], ["quote BTCUSDT 1", "quote ETHUSDT 4"]);
}

#[test]
fn a_refusal_that_crossed_a_new_subscription_leaves_no_stream_behind() {
    let mut world = World::new();
    let first = world.open_with(BTC);
    world.say(first, r#"{"op":"unsubscribe"}"#);
    world.pass(UNSUBSCRIBE_LINGER);
    world.open_with(BTC);
    world.commands.clear();
    world.refuse("BTCUSDT", false);
    let id = world.ids["BTCUSDT"];
    assert_eq!(world.commands, [Command::Forget { id }]);
    world.open_with(BTC);
    assert!(matches!(world.commands[1], Command::Subscribe { .. }), "asked again");
}

#[test]
fn a_client_that_comes_while_the_session_is_lost_is_told_like_the_first() {
    let mut world = World::new();
    let first = world.open_with(BTC);
    world.texts(first);
    world.session("BTCUSDT", false);
    let told = world.texts(first);
    assert_eq!(told[0]["code"], "session_lost");
    let second = world.open_with(TWO);
    assert_eq!(world.texts(second)[1..], told, "about the symbol that is lost");
    let derived = BTC.replace("\"symbols\"", "\"interval\":\"5m\",\"symbols\"");
    let third = world.open_with(&derived);
    world.texts(third);
    world.session("BTCUSDT", true);
    let later = world.open_with(BTC);
    assert_eq!(world.texts(later).len(), 1, "nothing is lost any more");
}
