//! What was before: `history`, `since`, and how the past joins the stream.

use connector_wss::market::FinalBy;
use connector_wss::messages::{MarketEvent, RecallFrom};

use super::world::*;

fn since(minute: i64) -> String {
    asking(&format!("\"since\":{}", (MINUTE_0 + minute) * 60_000))
}

#[test]
fn history_that_is_known_comes_at_once_and_the_stream_follows() {
    let mut world = World::new();
    world.open_with(BTC);
    for minute in 0..5 {
        world.closed_candle("BTCUSDT", minute, &minute.to_string());
    }
    world.open_candle("BTCUSDT", 5, "5.5");
    let id = world.open_with(&asking("\"history\":3"));
    let quotes = ["quote BTCUSDT 2", "quote BTCUSDT 3", "quote BTCUSDT 4"];
    let expected = [&["subscribed"], &quotes[..], &["history", "quote BTCUSDT 5.5"]];
    assert_eq!(world.summary(id), expected.concat());
    world.closed_candle("BTCUSDT", 5, "5");
    assert_eq!(world.summary(id), ["quote BTCUSDT 5"]);
    assert_eq!(world.recalls(), []);
}

#[test]
fn what_is_not_known_is_recalled_and_nothing_overtakes_it() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"history\":3"));
    assert_eq!(world.recalls(), [(RecallFrom::Last(3), None)]);
    world.open_candle("BTCUSDT", 3, "3.5");
    world.recalled(0, "0");
    world.recalled(1, "1");
    assert_eq!(world.summary(id), ["subscribed"], "the past is not whole");
    world.closed_candle("BTCUSDT", 3, "3");
    world.recall_end(0, 2);
    // Minute 2 is still missing: it is asked for once more, then told as such.
    assert_eq!(world.recalls(), [(RecallFrom::Window(open_time(2)), Some(open_time(2)))]);
    world.recall_end(2, 2);
    assert_eq!(world.recalls().len(), 1);
    world.recall_end(2, 2);
    let texts = world.texts(id);
    let kinds: Vec<String> = texts.iter().map(summarize).collect();
    assert_eq!(kinds, ["quote BTCUSDT 1", "gap", "quote BTCUSDT 3", "history"]);
    assert_eq!(texts[1]["reason"], "unavailable");
    assert_eq!((&texts[3]["count"], &texts[3]["missing"]), (&2.into(), &1.into()));
}

#[test]
fn resuming_is_complete_or_refused_with_what_cannot_be_given() {
    let mut world = World::new();
    world.open_with(BTC);
    for minute in [0, 1, 4] {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    let id = world.open_with(&since(0));
    assert_eq!(world.summary(id), ["subscribed"]);
    let wanted = (RecallFrom::Window(open_time(2)), Some(open_time(3)));
    assert_eq!(world.recalls(), [wanted]);
    // Another one who needs the same waits for the same answer.
    let other = world.open_with(&since(1));
    assert_eq!(world.recalls(), []);
    world.recalled(2, "2");
    world.recall_end(2, 3);
    // What is absent is asked for again, for each of them, before it is given up.
    (0..3).for_each(|_| world.recall_end(3, 3));
    for id in [id, other] {
        let (texts, close) = world.got(id);
        let error = texts.last().unwrap();
        assert_eq!(error["system_message"], "since_incomplete");
        let minute = (MINUTE_0 + 3) * 60_000;
        assert_eq!(error["missing"], serde_json::json!([[minute, minute]]));
        assert_eq!(close.unwrap().0, 1008, "it has nothing else");
    }
    let id = world.open_with(&since(3));
    let expected = ["subscribed", "quote BTCUSDT 1", "history"];
    assert_eq!(world.summary(id), expected);
    let id = world.open_with(&since(4));
    assert_eq!(world.summary(id), ["subscribed", "history"], "nothing was missed");
}

#[test]
fn a_window_that_cannot_be_read_is_a_gap_and_keeps_nobody_from_what_follows() {
    let mut world = World::new();
    world.open_with(BTC);
    for minute in [0, 4] {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    let resuming = world.open_with(&since(0));
    let looking_back = world.open_with(&asking("\"history\":5"));
    world.recalls();
    world.recalled(1, "1");
    world.recall_gap(2);
    world.recalled(3, "3");
    world.recall_end(1, 3);
    world.open_candle("BTCUSDT", 5, "5.5");
    let rest = ["quote BTCUSDT 1", "gap", "quote BTCUSDT 3", "quote BTCUSDT 1", "history"];
    let live = ["quote BTCUSDT 5.5"];
    let expected = [&["subscribed"], &rest[..], &live].concat();
    assert_eq!(world.summary(resuming), expected);
    let expected = [&["subscribed", "quote BTCUSDT 1"], &rest[..], &live].concat();
    assert_eq!(world.summary(looking_back), expected);
    assert_eq!(world.recalls(), [], "asking again would not help");
}

#[test]
fn more_than_is_kept_is_refused_with_the_oldest_that_can_be_had() {
    let mut world = World::new();
    world.open_with(BTC);
    world.closed_candle("BTCUSDT", 20, "1");
    let id = world.open_with(&since(5));
    let (texts, _) = world.got(id);
    let error = texts.last().unwrap();
    assert_eq!(error["system_message"], "since_too_old");
    let (first, last) = ((MINUTE_0 + 6) * 60_000, (MINUTE_0 + 12) * 60_000);
    assert_eq!(error["missing"], serde_json::json!([[first, last]]));
    let right = format!("\"since\":{last}");
    assert!(error["message"].as_str().unwrap().contains(&right), "{error}");
    let id = world.open_with(&asking("\"history\":9"));
    assert_eq!(world.texts(id)[0]["system_message"], "history_too_long");
}

#[test]
fn an_empty_window_keeps_its_place_and_ends_the_running_candle() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.closed_candle("BTCUSDT", 0, "1");
    world.open_candle("BTCUSDT", 1, "1");
    world.texts(id);
    let instrument = world.ids["BTCUSDT"];
    let open_time = open_time(1);
    world.market(MarketEvent::Empty { instrument, open_time, is_recalled: false });
    let texts = world.texts(id);
    assert_eq!((&texts[0]["type"], &texts[0]["seq"]), (&"empty".into(), &(MINUTE_0 + 1).into()));
    let late = world.open_with(&asking("\"history\":2"));
    let kinds: Vec<String> = world.texts(late).iter().map(summarize).collect();
    let expected = ["subscribed", "quote BTCUSDT 1", "empty", "history"];
    assert_eq!(kinds, expected, "no candle runs");
}

#[test]
fn late_repairs_are_for_those_who_were_told_and_corrections_for_all() {
    let mut world = World::new();
    let early = world.open_with(BTC);
    world.closed_candle("BTCUSDT", 0, "1");
    let instrument = world.ids["BTCUSDT"];
    let first_missing = open_time(1);
    world.market(MarketEvent::Gap { instrument, first_missing, missing: 2 });
    world.closed_candle("BTCUSDT", 3, "1");
    let late = world.open_with(BTC);
    world.texts(early);
    assert_eq!(world.summary(late), ["subscribed", "quote BTCUSDT 1"]);
    world.closed_candle("BTCUSDT", 1, "1");
    assert_eq!(world.summary(early), ["quote BTCUSDT 1"]);
    assert_eq!(world.summary(late), [""; 0]);
    let mut update = world.update("BTCUSDT", 0, "2", Some(FinalBy::Rest));
    update.revision = 1;
    world.market(MarketEvent::Candle(update));
    assert_eq!(world.summary(early), ["correction BTCUSDT 2"]);
    assert_eq!(world.summary(late), ["correction BTCUSDT 2"], "it may hold it from before");
}

#[test]
fn what_an_earlier_subscription_left_in_the_ring_goes_nowhere() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.say(id, &BTC.replace('{', r#"{"op":"unsubscribe","#));
    world.pass(seconds(16));
    assert_eq!(world.unsubscribes(), 1);
    world.texts(id);
    world.closed_candle("BTCUSDT", 0, "1");
    assert_eq!(world.summary(id), [""; 0]);
    world.say(id, BTC);
    world.closed_candle("BTCUSDT", 1, "1");
    assert_eq!(world.summary(id), ["subscribed", "quote BTCUSDT 1"]);
}
