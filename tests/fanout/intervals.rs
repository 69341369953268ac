//! The same symbol in several intervals: series of their own, to a client too.

use connector_wss::clock::UnixMs;
use connector_wss::market::{CandleUpdate, FinalBy, InstrumentId, Interval};
use connector_wss::messages::{Command, FeedEvent, MarketEvent};

use super::world::*;

const FIVE: &str = r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"interval":"5m","source":"exchange"}"#;

/// What was subscribed at the shards: ids and intervals.
fn asked(world: &World) -> Vec<(InstrumentId, Interval)> {
    let asked = world.commands.iter().filter_map(|command| match command {
        Command::Subscribe { id, instrument, .. } => Some((*id, instrument.interval)),
        _ => None,
    });
    asked.collect()
}

/// A closed candle of the series `id`, in the window of five minutes before the start.
fn close(world: &mut World, id: InstrumentId) {
    let update = world.update("BTCUSDT", 0, "2.5", Some(FinalBy::Flag));
    let mut candle = update.candle;
    candle.open_time = UnixMs(Interval::M5.open_time(candle.open_time).0 - Interval::M5.ms());
    world.market(MarketEvent::Candle(CandleUpdate { instrument: id, candle, ..update }));
}

#[test]
fn the_exchange_s_own_longer_candles_are_subscribed_and_told_by_their_interval() {
    let mut world = World::new();
    let client = world.open_with(BTC);
    world.say(client, FIVE);
    let subscribed = &world.texts(client)[1];
    assert_eq!(
        (&subscribed["interval"], &subscribed["source"]),
        (&"5m".into(), &"exchange".into())
    );
    let [(minute, Interval::M1), (five, Interval::M5)] = asked(&world)[..] else { panic!() };
    assert_ne!(minute, five);
    close(&mut world, five);
    let told = &world.texts(client)[0];
    assert_eq!((&told["interval"], &told["is_closed_candle"]), (&"5m".into(), &true.into()));
    let (open, end) = (&told["open_time"], &told["close_time"]);
    assert_eq!(end.as_i64().unwrap() - open.as_i64().unwrap(), 299_999);
    assert_eq!(told["seq"], open.as_i64().unwrap() / 300_000);
    assert_eq!(told["source"], "ws");
}

#[test]
fn an_unsubscription_may_name_the_interval_and_an_error_does() {
    let mut world = World::new();
    let client = world.open_with(BTC);
    world.say(client, FIVE);
    world.texts(client);
    let end = r#"{"op":"unsubscribe","exchange":"binance","contract_type":"spot","interval":"5m"}"#;
    world.say(client, end);
    assert_eq!(world.summary(client), ["unsubscribed"]);
    world.say(client, r#"{"op":"list"}"#);
    let list = &world.texts(client)[0]["subscriptions"];
    assert_eq!((list.as_array().unwrap().len(), &list[0]["interval"]), (1, &"1m".into()));
    world.say(client, end);
    assert_eq!(world.error(client)["code"], "not_subscribed");
    world.say(client, FIVE);
    world.texts(client);
    let five = asked(&world).iter().rev().find(|(_, length)| *length == Interval::M5).unwrap().0;
    world.fanout.handle_feed(
        FeedEvent::Rejected {
            instrument: five,
            message: "no such stream".to_owned(),
            exchange_message: String::new(),
            is_lasting: true,
        },
        world.now,
    );
    world.drive();
    let error = world.error(client);
    assert_eq!((&error["interval"], &error["symbols"][0]), (&"5m".into(), &"BTCUSDT".into()));
}

#[test]
fn a_notice_names_a_symbol_once() {
    let mut world = World::new();
    let client = world.open_with(BTC);
    world.say(client, FIVE);
    world.texts(client);
    let instruments = asked(&world).iter().map(|(id, _)| *id).collect();
    let (market, why) = (spot("BTCUSDT").market, "reset by peer".to_owned());
    let event = FeedEvent::SessionLost { market, instruments, why };
    world.fanout.handle_feed(event, world.now);
    world.drive();
    assert_eq!(world.texts(client)[0]["symbols"], serde_json::json!(["BTCUSDT"]));
}

#[test]
fn derived_candles_and_the_exchange_s_own_are_two_series() {
    let mut world = World::new();
    let own = world.open_with(FIVE);
    let derived = world.open_with(&FIVE.replace(r#","source":"exchange""#, ""));
    assert_eq!(world.texts(own)[0]["source"], "exchange");
    assert_eq!(world.texts(derived)[0]["source"], "derived");
    let intervals: Vec<_> = asked(&world).into_iter().map(|(_, interval)| interval).collect();
    assert_eq!(intervals, [Interval::M5, Interval::M1], "one of each is asked of the exchange");
}
