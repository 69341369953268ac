//! What candles that are made of minutes have told their clients wrongly.

use connector_wss::market::FinalBy;
use connector_wss::messages::MarketEvent;

use super::world::*;

/// The first minute of an hour.
fn hour() -> i64 {
    60 - MINUTE_0 % 60
}

/// Each quote and correction: which it is and how many minutes it lacks.
fn told(world: &mut World, id: connector_wss::fanout::ClientId) -> Vec<(String, u64)> {
    let texts = world.texts(id).into_iter();
    let candles = texts.filter(|text| text["type"] == "quote" || text["type"] == "correction");
    let lacks = |text: &serde_json::Value| text["missing_minutes"].as_u64().unwrap_or(0);
    candles.map(|text| (text["type"].as_str().unwrap().to_owned(), lacks(&text))).collect()
}

#[test]
fn each_row_of_the_running_hour_was_a_quote_and_used_up_the_limit() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"interval\":\"1h\",\"limit\":4"));
    let (first, running) = (hour(), hour() + 49);
    world.open_candle("BTCUSDT", running, "3");
    (first..running).for_each(|minute| world.backfilled(minute, "2"));
    // What is pushed meanwhile is told as ever.
    world.open_candle("BTCUSDT", running, "4");
    world.recall_end(running - 60, running - 1);
    let quote = |lacks: u64| ("quote".to_owned(), lacks);
    assert_eq!(told(&mut world, id), [quote(49), quote(0)]);
    world.recall_end(running - 60, running - 1);
    assert_eq!(told(&mut world, id), []);
    world.open_candle("BTCUSDT", running, "5");
    assert_eq!(told(&mut world, id), [quote(0)]);
    world.open_candle("BTCUSDT", running, "6");
    assert_eq!(world.close_of(id), Some(1000), "that was the fourth");
}

#[test]
fn each_recalled_row_of_an_hour_that_was_over_was_a_correction() {
    let mut world = World::new();
    let id = world.open_with(&asking("\"interval\":\"1h\""));
    let (first, last) = (hour(), hour() + 59);
    world.closed_candle("BTCUSDT", last - 1, "3");
    world.closed_candle("BTCUSDT", last, "3");
    assert_eq!(told(&mut world, id).last(), Some(&("quote".to_owned(), 58)));
    (first..last - 1).for_each(|minute| world.backfilled(minute, "2"));
    world.recall_end(first, last);
    assert_eq!(told(&mut world, id), [("correction".to_owned(), 0)]);
    let update = world.update("BTCUSDT", last, "3", Some(FinalBy::Rest));
    world.market(MarketEvent::Backfilled(update));
    world.recall_end(first, last);
    assert_eq!(told(&mut world, id), []);
}
