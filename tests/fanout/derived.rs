//! Candles longer than a minute, derived from the minutes of the exchange.

use connector_wss::limits::PAST_PATIENCE;
use connector_wss::market::{FinalBy, Interval};
use connector_wss::messages::{BackfillFrom, Command, MarketEvent};

use super::world::*;

/// Minute 1 of the world begins a window of five.
const FIVE: &str = "\"interval\":\"5m\"";

fn gap(world: &mut World, minute: i64, missing: u64) {
    let (instrument, first_missing) = (world.ids["BTCUSDT"], open_time(minute));
    world.market(MarketEvent::Gap { instrument, first_missing, missing });
}

/// `type`, window, open and close, what it lacks.
fn told(world: &mut World, id: connector_wss::fanout::ClientId) -> Vec<String> {
    let texts = world.texts(id).into_iter().filter(|text| text["type"] != "subscribed");
    let text = |text: serde_json::Value| {
        let kind = match (text["type"].as_str().unwrap(), &text["is_closed_candle"]) {
            ("quote", closed) if closed == true => "closed".to_owned(),
            ("quote", _) => "open".to_owned(),
            (kind, _) => kind.to_owned(),
        };
        if let Some(start) = text["open_time"].as_i64() {
            assert_eq!((start % 300_000, &text["interval"]), (0, &"5m".into()), "{text}");
            let minute = start / 60_000 - MINUTE_0;
            let lacks = &text["missing_minutes"];
            let values = format!("{minute} {kind} {}-{}", text["open"], text["close"]);
            return if lacks.is_null() { values } else { format!("{values} lacks {lacks}") };
        }
        kind
    };
    texts.map(text).collect()
}

#[test]
fn minutes_become_a_candle_that_closes_with_the_last_of_them() {
    let mut world = World::new();
    let id = world.open_with(&asking(FIVE));
    let subscribed = world.commands.iter().filter_map(|command| match command {
        Command::Subscribe { instrument, .. } => Some(instrument.interval),
        _ => None,
    });
    assert_eq!(subscribed.collect::<Vec<_>>(), [Interval::M1], "the exchange streams minutes");
    assert_eq!(world.backfills(), [(BackfillFrom::Last(5), None)]);
    world.open_candle("BTCUSDT", 3, "3.5");
    assert_eq!(told(&mut world, id), ["1 open 3.5-3.5 lacks 2"], "and says so at once");
    world.backfilled(1, "1");
    world.backfilled(2, "2");
    world.recall_end(-2, 2);
    assert_eq!(told(&mut world, id).last().unwrap(), "1 open 1-3.5");
    for minute in 3..6 {
        world.closed_candle("BTCUSDT", minute, &minute.to_string());
    }
    world.open_candle("BTCUSDT", 6, "6.5");
    let expected = ["1 open 1-3", "1 open 1-4", "1 closed 1-5", "6 open 6.5-6.5"];
    assert_eq!(told(&mut world, id), expected);
}

#[test]
fn a_derived_candle_names_its_origin_and_its_evidence() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"interval\":\"5m\",\"closed_only\":true"));
    world.recall_end(-2, 0);
    (1..6).for_each(|minute| world.closed_candle("BTCUSDT", minute, "2.5"));
    let closed = world.texts(id).pop().unwrap();
    assert_eq!(closed["source"], "derived");
    assert_eq!(closed["final_by"], "flag");
    assert_eq!(closed["seq"].as_i64(), Some((MINUTE_0 + 1) / 5));
    assert_eq!(closed["close_time"].as_i64(), Some((MINUTE_0 + 6) * 60_000 - 1));
    assert_eq!((closed["trade_num"].as_u64(), &closed["revision"]), (Some(5), &0.into()));
    assert!(closed.get("missing_minutes").is_none());
}

#[test]
fn a_window_that_lacks_a_minute_says_so_and_is_revised_when_it_comes() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"interval\":\"5m\",\"closed_only\":true"));
    world.recall_end(-2, 0);
    world.closed_candle("BTCUSDT", 1, "1");
    gap(&mut world, 2, 1);
    (3..6).for_each(|minute| world.closed_candle("BTCUSDT", minute, &minute.to_string()));
    assert_eq!(told(&mut world, id), ["1 closed 1-5 lacks 1"]);
    world.closed_candle("BTCUSDT", 2, "9");
    let texts = world.texts(id);
    assert_eq!((&texts[0]["type"], &texts[0]["revision"]), (&"correction".into(), &1.into()));
    assert_eq!(
        (texts[0]["high"].as_f64(), &texts[0]["previous"]["trade_num"]),
        (Some(9.0), &4.into())
    );
    let update = world.update("BTCUSDT", 5, "7", Some(FinalBy::Rest));
    world
        .market(MarketEvent::Candle(connector_wss::market::CandleUpdate { revision: 1, ..update }));
    assert_eq!(told(&mut world, id), ["1 correction 1-7"]);
    gap(&mut world, 6, 7);
    assert_eq!(told(&mut world, id), ["gap"], "no minute of it is known");
    (13..16).for_each(|minute| world.closed_candle("BTCUSDT", minute, "2"));
    assert_eq!(told(&mut world, id), ["11 closed 2-2 lacks 2"]);
    world.closed_candle("BTCUSDT", 8, "3");
    assert_eq!(told(&mut world, id), ["6 closed 3-3 lacks 4"], "late, and once");
}

#[test]
fn minutes_and_what_is_derived_from_them_share_one_stream_of_the_exchange() {
    let mut world = World::new();
    let minutes = world.open_with(BTC);
    world.open_candle("BTCUSDT", 1, "1.5");
    let id = world.open_with(&asking("\"interval\":\"5m\",\"limit\":2"));
    let other = world.open_with(&asking("\"interval\":\"15m\",\"limit\":1"));
    assert_eq!(told(&mut world, id), ["1 open 1.5-1.5"], "in the turn of the request");
    assert_eq!(world.close_of(other), Some(1000));
    assert_eq!(world.subscribes(), 1);
    world.socket(minutes).bytes.clear();
    world.open_candle("BTCUSDT", 1, "1.6");
    assert_eq!(world.close_of(id), Some(1000), "its limit is served");
    assert_eq!(world.summary(minutes), ["quote BTCUSDT 1.6"]);
    world.fanout.handle_lost(minutes, world.now);
    world.pass(seconds(14));
    assert_eq!(world.unsubscribes(), 0);
    world.pass(seconds(60));
    assert_eq!(world.unsubscribes(), 1, "the exchange is left once nothing is made of it");
    let again = world.open_with(&asking(FIVE));
    world.open_candle("BTCUSDT", 8, "3");
    assert_eq!(told(&mut world, again), ["6 open 3-3 lacks 2"]);
}

#[test]
fn history_of_a_derived_series_is_folded_of_recalled_minutes() {
    let mut world =
        World::with(connector_wss::fanout::FanoutConfig { history_candles: 40, ..config() });
    let id = world.open_with(&asking("\"interval\":\"5m\",\"history\":2"));
    assert_eq!(
        world.backfills(),
        [(BackfillFrom::Last(5), None), (BackfillFrom::Last(15), None)],
        "the running window, and the past up to it"
    );
    world.open_candle("BTCUSDT", 2, "2.5");
    (-4..2).for_each(|minute| world.backfilled(minute, &format!("{}", minute + 10)));
    world.recall_end(-4, 1);
    assert_eq!(told(&mut world, id), [""; 0], "the past is not whole");
    (-14..2).for_each(|minute| world.backfilled(minute, &format!("{}", minute + 100)));
    world.recall_end(-14, 1);
    let expected = ["-9 closed 91-95", "-4 closed 6-10", "history", "1 open 11-2.5"];
    assert_eq!(told(&mut world, id), expected, "what came first counts");
    (2..6).for_each(|minute| world.closed_candle("BTCUSDT", minute, "7"));
    assert_eq!(told(&mut world, id).last().unwrap(), "1 closed 11-7");
    // A minute of the past that was folded is restated.
    let update = world.update("BTCUSDT", 0, "99", Some(FinalBy::Rest));
    let update = connector_wss::market::CandleUpdate { revision: 1, ..update };
    world.market(MarketEvent::Candle(update));
    assert_eq!(told(&mut world, id), ["-4 correction 6-99"]);
    // Another one finds it all here.
    world.commands.clear();
    let since = open_time(-9).0;
    let resumed = world.open_with(&asking(&format!("\"interval\":\"5m\",\"since\":{since}")));
    assert_eq!(told(&mut world, resumed), ["-4 closed 6-99", "1 closed 11-7", "history"]);
    assert_eq!(world.backfills(), []);
}

#[test]
fn a_past_with_a_minute_that_cannot_be_had_is_refused_or_told_as_missing() {
    let mut world = World::new();
    world.open_with(BTC);
    world.closed_candle("BTCUSDT", 0, "1");
    let id = world.open_with(&asking("\"interval\":\"5m\",\"history\":1"));
    let wanted = [(BackfillFrom::Window(open_time(-4)), Some(open_time(-1)))];
    assert_eq!(world.backfills(), wanted);
    world.backfilled(-4, "1");
    world.recall_end(-4, -1);
    // Now that the end of the past is known the window is asked for by its name.
    world.recall_end(-3, -1);
    assert_eq!(told(&mut world, id), ["gap", "history"]);
}

#[test]
fn after_ten_seconds_the_windows_whose_minutes_have_come_are_sent_and_the_others_are_a_gap() {
    let mut world =
        World::with(connector_wss::fanout::FanoutConfig { history_candles: 40, ..config() });
    let id = world.open_with(&asking("\"interval\":\"5m\",\"history\":3"));
    world.open_candle("BTCUSDT", 2, "2.5");
    (-9..-3).for_each(|minute| world.backfilled(minute, "1"));
    world.texts(id);
    world.pass(PAST_PATIENCE);
    let texts = world.texts(id);
    let kinds: Vec<String> = texts.iter().map(summarize).collect();
    let candle = "quote BTCUSDT 1";
    assert_eq!(kinds, ["gap", candle, "gap", "history", "quote BTCUSDT 2.5"]);
    assert_eq!(texts[1]["open_time"], open_time(-9).0);
    let (count, missing) = (&texts[3]["count"], &texts[3]["missing"]);
    assert_eq!((count, missing), (&1.into(), &2.into()));
}

#[test]
fn a_refusal_or_a_lost_session_reaches_those_who_want_only_what_is_derived() {
    let mut world = World::new();
    let id = world.open_with(&asking(FIVE));
    world.texts(id);
    world.session("BTCUSDT", false);
    let notice = world.texts(id).pop().unwrap();
    assert_eq!(
        (&notice["code"], &notice["symbols"][0]),
        (&"session_lost".into(), &"BTCUSDT".into())
    );
    world.reject("BTCUSDT");
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["code"], "symbol_rejected");
    assert_eq!(close.map(|(code, _)| code), Some(1000));
    world.pass(seconds(60));
    let again = world.open_with(BTC);
    world.open_candle("BTCUSDT", 1, "1");
    assert_eq!(world.summary(again), ["subscribed", "quote BTCUSDT 1"]);
}

#[test]
fn what_cannot_be_derived_is_refused_with_what_can() {
    let mut world =
        World::with(connector_wss::fanout::FanoutConfig { history_candles: 120, ..config() });
    let id = world.open();
    for (what, code, says) in [
        ("\"interval\":\"7m\"", "unknown_interval", "1m, 3m, 5m"),
        ("\"interval\":\"1s\"", "unknown_interval", "1m, 3m, 5m"),
        ("\"interval\":\"1h\",\"history\":25", "history_too_long", "at most 24"),
        ("\"interval\":\"1m\",\"history\":121", "history_too_long", "at most 120"),
    ] {
        world.say(id, &asking(what).replacen('{', r#"{"op":"subscribe","#, 1));
        let error = world.error(id);
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
}
