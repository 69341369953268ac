//! What was before: `history`, `since`, and how the past joins the stream.

use connector_wss::limits::{PAST_PATIENCE, PAST_PATIENCE_MAX};
use connector_wss::market::FinalBy;
use connector_wss::messages::{BackfillFrom, Command, MarketEvent, Wish};

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
    assert_eq!(world.backfills(), []);
}

#[test]
fn what_is_not_known_is_recalled_and_nothing_overtakes_it() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"history\":3"));
    assert_eq!(world.backfills(), [(BackfillFrom::Last(3), None)]);
    world.open_candle("BTCUSDT", 3, "3.5");
    world.backfilled(0, "0");
    world.backfilled(1, "1");
    assert_eq!(world.summary(id), ["subscribed"], "the past is not whole");
    world.closed_candle("BTCUSDT", 3, "3");
    world.recall_end(0, 2);
    // Minute 2 is still missing: it is asked for by its name, and then a gap.
    assert_eq!(world.backfills(), [(BackfillFrom::Window(open_time(2)), Some(open_time(2)))]);
    world.recall_end(2, 2);
    assert_eq!(world.backfills(), []);
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
    let wanted = (BackfillFrom::Window(open_time(2)), Some(open_time(3)));
    assert_eq!(world.backfills(), [wanted]);
    // Another one who needs the same waits for the same answer.
    let other = world.open_with(&since(1));
    assert_eq!(world.backfills(), []);
    world.backfilled(2, "2");
    world.recall_end(2, 3);
    assert_eq!(world.backfills(), [], "asking again would not help");
    for id in [id, other] {
        let (texts, close) = world.got(id);
        let error = texts.last().unwrap();
        assert_eq!(error["code"], "since_incomplete");
        let minute = (MINUTE_0 + 3) * 60_000;
        assert_eq!(error["missing"], serde_json::json!([[minute, minute]]));
        assert_eq!(close.unwrap().0, 1000, "it has nothing else");
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
    world.backfills();
    world.backfilled(1, "1");
    world.recall_gap(2);
    world.backfilled(3, "3");
    world.recall_end(1, 3);
    world.open_candle("BTCUSDT", 5, "5.5");
    let rest = ["quote BTCUSDT 1", "gap", "quote BTCUSDT 3", "quote BTCUSDT 1", "history"];
    let live = ["quote BTCUSDT 5.5"];
    let expected = [&["subscribed"], &rest[..], &live].concat();
    assert_eq!(world.summary(resuming), expected);
    let expected = [&["subscribed", "quote BTCUSDT 1"], &rest[..], &live].concat();
    assert_eq!(world.summary(looking_back), expected);
    assert_eq!(world.backfills(), [], "asking again would not help");
}

#[test]
fn more_than_is_kept_is_refused_with_the_oldest_that_can_be_had() {
    let mut world = World::new();
    world.open_with(BTC);
    world.closed_candle("BTCUSDT", 20, "1");
    let id = world.open_with(&since(5));
    let (texts, _) = world.got(id);
    let error = texts.last().unwrap();
    assert_eq!(error["code"], "since_too_old");
    let (first, last) = ((MINUTE_0 + 6) * 60_000, (MINUTE_0 + 12) * 60_000);
    assert_eq!(error["missing"], serde_json::json!([[first, last]]));
    let right = format!("\"since\":{last}");
    assert!(error["message"].as_str().unwrap().contains(&right), "{error}");
    let id = world.open_with(&asking("\"history\":9"));
    assert_eq!(world.texts(id)[0]["code"], "history_too_long");
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
    world.market(MarketEvent::Empty { instrument, open_time, is_backfilled: false });
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

/// `type` and window of what is told of the past, and the closes of candles that run.
fn told(texts: &[serde_json::Value]) -> Vec<String> {
    let minute = |value: &serde_json::Value| value.as_i64().map(|at| at / 60_000 - MINUTE_0);
    let one = |text: &serde_json::Value| match text["type"].as_str().unwrap() {
        "quote" if text["is_closed_candle"] == false => format!("runs {}", text["close"]),
        "quote" => format!("candle {}", minute(&text["open_time"]).unwrap()),
        kind @ ("gap" | "history") => {
            let (from, to) = (minute(&text["from"]), minute(&text["to"]));
            let range = from.zip(to).map_or("?".to_owned(), |(from, to)| format!("{from}..{to}"));
            format!("{kind} {range}")
        }
        kind => kind.to_owned(),
    };
    texts.iter().map(one).collect()
}

#[test]
fn after_ten_seconds_without_rest_what_is_known_is_sent_and_the_live_candles_follow() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"history\":4"));
    world.backfilled(1, "1");
    world.open_candle("BTCUSDT", 3, "3.5");
    world.pass(PAST_PATIENCE - seconds(1));
    assert_eq!(world.summary(id), ["subscribed"], "REST has its time");
    world.pass(seconds(1));
    let texts = world.texts(id);
    let expected = ["gap -1..0", "candle 1", "gap 2..2", "history -1..2", "runs 3.5"];
    assert_eq!(told(&texts), expected);
    assert_eq!(texts[0]["reason"], "unavailable");
    assert_eq!((&texts[3]["count"], &texts[3]["missing"]), (&1.into(), &3.into()));
    // What REST brings too late is kept for others.
    world.backfilled(2, "2");
    world.recall_end(-1, 2);
    world.closed_candle("BTCUSDT", 3, "3");
    assert_eq!(told(&world.texts(id)), ["candle 3"]);
    let other = world.open_with(&asking("\"history\":2"));
    assert_eq!(told(&world.texts(other)), ["subscribed", "candle 2", "candle 3", "history 2..3"]);
}

#[test]
fn who_resumes_is_refused_after_ten_seconds_with_what_rest_did_not_give() {
    let mut world = World::new();
    world.open_with(BTC);
    for minute in [0, 4] {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    world.session("BTCUSDT", false);
    let id = world.open_with(&since(0));
    world.backfilled(2, "2");
    world.pass(PAST_PATIENCE);
    let (texts, close) = world.got(id);
    let error = texts.last().unwrap();
    assert_eq!(error["code"], "since_incomplete");
    let minutes = [1, 3].map(|minute| [open_time(minute).0; 2]);
    assert_eq!(error["missing"], serde_json::json!(minutes));
    assert_eq!(close.unwrap().0, 1000);
    // What came meanwhile is here.
    let id = world.open_with(&since(1));
    world.backfills();
    world.backfilled(3, "3");
    world.recall_end(1, 3);
    let past = ["candle 2", "candle 3", "candle 4", "history 2..4"];
    assert_eq!(told(&world.texts(id)).split_off(2), past);
}

#[test]
fn a_stream_of_which_nothing_was_heard_has_an_answer_after_ten_seconds_too() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"history\":4"));
    let resuming = world.open_with(&since(-2));
    world.pass(PAST_PATIENCE);
    let texts = world.texts(id);
    assert_eq!(told(&texts), ["subscribed", "history ?"]);
    assert_eq!((&texts[1]["count"], &texts[1]["missing"]), (&0.into(), &4.into()));
    let error = world.texts(resuming).pop().unwrap();
    assert_eq!(error["code"], "since_incomplete");
    let span = [open_time(-1).0, open_time(-1).0];
    assert_eq!(error["missing"], serde_json::json!([span]), "by the machine's clock");
    world.open_candle("BTCUSDT", 5, "5.5");
    world.closed_candle("BTCUSDT", 5, "5");
    assert_eq!(told(&world.texts(id)), ["runs 5.5", "candle 5"]);
}

#[test]
fn who_stands_in_line_for_rest_waits_while_the_line_moves_and_no_longer_than_a_minute() {
    let mut world = World::new();
    let patience = PAST_PATIENCE - seconds(1);
    world.open_with(&BTC.replace("BTCUSDT", "ETHUSDT"));
    world.open_candle("ETHUSDT", 3, "1");
    let first = world.open_with(&asking("\"history\":8"));
    let id = world.open_with(&BTC.replace("BTCUSDT", "ETHUSDT").replace('}', ",\"history\":2}"));
    let turns = i64::try_from(PAST_PATIENCE_MAX.as_secs() / patience.as_secs()).unwrap();
    for minute in 0..turns {
        world.pass(patience);
        for id in [first, id] {
            world.say(id, r#"{"op":"ping"}"#);
        }
        world.backfilled(minute, "1");
        let texts = world.texts(id);
        assert!(texts.iter().all(|text| text["type"] != "history"), "{texts:?}");
    }
    world.pass(PAST_PATIENCE_MAX - patience * u32::try_from(turns).unwrap());
    assert_eq!(told(&world.texts(id)), ["gap 1..2", "history 1..2", "runs 1"]);
}

#[test]
fn a_client_that_reads_nothing_when_its_time_is_over_costs_no_turns() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.socket(id).is_blocked = true;
    (0..170).for_each(|minute| world.closed_candle("BTCUSDT", minute, "1"));
    world.say(id, &BTC.replace("BTCUSDT", "ETHUSDT").replace('}', ",\"history\":4}"));
    world.open_candle("ETHUSDT", 0, "1");
    world.pass(PAST_PATIENCE);
    let deadline = world.fanout.next_deadline();
    assert!(deadline > Some(world.now.mono), "{deadline:?} at {:?}", world.now.mono);
    world.unblock(id);
    let texts = told(&world.texts(id));
    assert_eq!(texts[texts.len() - 3..], ["gap -4..-1", "history -4..-1", "runs 1"]);
}

#[test]
fn a_shard_is_told_whose_wish_it_is_and_whether_it_resumes() {
    let mut world = World::new();
    let symbols = ["A", "B", "C", "D"].map(|name| format!("{name}USDT"));
    let of = |symbol: &str, more: &str| asking(more).replace("BTCUSDT", symbol);
    let first = world.open_with(&of(&symbols[0], "\"history\":3"));
    world.open_with(&of(&symbols[1], &format!("\"since\":{}", open_time(-3).0)));
    // The running window of a derived series is the wish of whom it is made for first.
    world.open_with(&of(&symbols[2], "\"interval\":\"5m\""));
    world.say(first, &of(&symbols[3], "\"history\":2,\"interval\":\"5m\""));
    let wish = |command: &Command| match command {
        Command::Backfill { wish, .. } => Some(*wish),
        _ => None,
    };
    let wishes: Vec<Wish> = world.commands.iter().filter_map(wish).collect();
    let places: Vec<(u32, bool)> = wishes.iter().map(|one| (one.client, one.resumes)).collect();
    let of_first = wishes[0].client;
    let expected = [0, 1, 2, 0, 0].map(|at| (of_first + at, at == 1));
    assert_eq!(places, expected);
    assert_eq!(wishes[3..].iter().map(|one| one.ticket).collect::<Vec<_>>(), [1, 2]);
}
