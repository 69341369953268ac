//! What the ledger keeps and gives back: the past before the exchange is asked, and where a series
//! goes on after a restart.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::fanout::FanoutConfig;
use connector_wss::limits::LEDGER_PATIENCE;
use connector_wss::market::{CandleUpdate, ClosedWindow, FinalBy, Instrument, InstrumentId};
use connector_wss::market::{Interval, Market, Span, Venue};
use connector_wss::messages::{BackfillFrom, Command, LedgerAnswer, LedgerEvent, MarketEvent};

use super::world::*;

fn since(minute: i64) -> String {
    asking(&format!("\"since\":{}", (MINUTE_0 + minute) * 60_000))
}

/// A world with a ledger, in which BTCUSDT's minute 8 was published.
fn begun() -> World {
    let mut world = World::with(FanoutConfig { has_ledger: true, ..config() });
    world.open_with(BTC);
    world.closed_candle("BTCUSDT", 8, "8");
    world.backfills();
    world
}

fn candle(world: &World, minute: i64) -> ClosedWindow {
    let update = world.update("BTCUSDT", minute, &minute.to_string(), Some(FinalBy::Flag));
    ClosedWindow::Candle(CandleUpdate { instrument: InstrumentId(0), ..update })
}

fn answer(world: &mut World, windows: Vec<ClosedWindow>) {
    let number = world.reads.remove(0).number;
    world.fanout.handle_ledger(LedgerAnswer { number, windows }, world.now);
    world.drive();
}

fn span(first: i64, last: i64) -> Span {
    Span { first: open_time(first), last: open_time(last) }
}

fn window(first: i64, last: i64) -> (BackfillFrom, Option<UnixMs>) {
    (BackfillFrom::Window(open_time(first)), Some(open_time(last)))
}

#[test]
fn what_the_ledger_has_costs_no_question_to_the_exchange() {
    let mut world = begun();
    let id = world.open_with(&since(4));
    assert_eq!(world.reads[0].span, span(5, 7));
    assert_eq!(&*world.reads[0].instrument.symbol, "BTCUSDT");
    let stored = vec![candle(&world, 5), ClosedWindow::Empty { open_time: open_time(6) }];
    let stored = [stored, vec![candle(&world, 7)]].concat();
    answer(&mut world, stored);
    let past = ["quote BTCUSDT 5", "empty", "quote BTCUSDT 7", "quote BTCUSDT 8", "history"];
    assert_eq!(world.summary(id), [&["subscribed"], &past[..]].concat());
    assert_eq!(world.backfills(), []);
}

#[test]
fn the_exchange_is_asked_for_what_the_ledger_lacks_and_no_more() {
    let mut world = begun();
    let id = world.open_with(&since(2));
    let stored = [3, 4, 7].map(|minute| candle(&world, minute));
    answer(&mut world, stored.into());
    assert_eq!(world.backfills(), [window(5, 6)]);
    world.backfilled(5, "5");
    world.backfilled(6, "6");
    world.recall_end(5, 6);
    let texts = world.summary(id);
    let minutes: Vec<String> = (3..=8).map(|minute| format!("quote BTCUSDT {minute}")).collect();
    assert_eq!(texts[1..7], minutes);
    assert!(world.reads.is_empty() && world.backfills().is_empty());
}

#[test]
fn a_ledger_that_does_not_answer_delays_nobody_for_long() {
    let mut world = begun();
    let id = world.open_with(&since(5));
    world.pass(LEDGER_PATIENCE - Duration::from_millis(1));
    assert_eq!(world.backfills(), []);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.backfills(), [window(6, 7)]);
    let late = vec![candle(&world, 6)];
    answer(&mut world, late);
    assert_eq!(world.summary(id), ["subscribed"], "nobody waits for it any more");
    world.backfilled(6, "6");
    world.backfilled(7, "7");
    world.recall_end(6, 7);
    let past = ["quote BTCUSDT 6", "quote BTCUSDT 7", "quote BTCUSDT 8", "history"];
    assert_eq!(world.summary(id), past);
}

#[test]
fn derived_candles_of_the_past_are_made_of_stored_minutes() {
    let mut world = begun();
    let request = BTC.replace('}', ",\"interval\":\"3m\",\"history\":1}");
    let id = world.open_with(&request);
    while !world.reads.is_empty() {
        let Span { first, last } = world.reads[0].span;
        let minutes = first.0 / 60_000 - MINUTE_0..=last.0 / 60_000 - MINUTE_0;
        let stored = minutes.map(|minute| candle(&world, minute)).collect();
        answer(&mut world, stored);
    }
    let texts = world.texts(id);
    let closed: Vec<_> = texts.iter().filter(|text| text["is_closed_candle"] == true).collect();
    assert_eq!(closed.len(), 1, "{texts:?}");
    assert_eq!(closed[0]["source"], "derived");
    assert_eq!(world.backfills(), []);
}

#[test]
fn the_ledger_keeps_closed_windows_and_nothing_else() {
    let mut world = begun();
    let instrument = world.ids["BTCUSDT"];
    let update = |final_by| world.update("BTCUSDT", 9, "9", final_by);
    let closed = update(Some(FinalBy::Flag));
    let open_time = open_time(9);
    let kept = [
        MarketEvent::Candle(closed),
        MarketEvent::Backfilled(closed),
        MarketEvent::Empty { instrument, open_time, is_backfilled: false },
        MarketEvent::Empty { instrument, open_time, is_backfilled: true },
    ]
    .map(|event| match world.fanout.ledger_event(&event) {
        Some(LedgerEvent::Closed { instrument, is_backfilled, .. }) => {
            Some((instrument.symbol.to_string(), is_backfilled))
        }
        _ => None,
    });
    let expected = [false, true, false, true].map(|it| Some(("BTCUSDT".to_owned(), it)));
    assert_eq!(kept, expected);
    for event in [
        MarketEvent::Candle(update(None)),
        MarketEvent::Gap { instrument, first_missing: open_time, missing: 1 },
        MarketEvent::BackfillGap { instrument, open_time },
        MarketEvent::Begin { instrument },
    ] {
        assert_eq!(world.fanout.ledger_event(&event), None, "{event:?}");
    }
    world.market(MarketEvent::Candle(closed));
}

/// A world whose wall clock is in minute 0, and in which an earlier process has published these
/// minutes.
fn resumed(minutes: std::ops::RangeInclusive<i64>) -> World {
    let plain = begun();
    let tail: Vec<ClosedWindow> = minutes.map(|minute| candle(&plain, minute)).collect();
    let instrument = Instrument {
        market: Market::find(Venue::Binance, "spot").unwrap(),
        symbol: "BTCUSDT".into(),
        interval: Interval::M1,
    };
    let tails = [(instrument, tail)].into_iter().collect();
    World::with(FanoutConfig { has_ledger: true, tails, catch_up: 60, ..config() })
}

fn tail(world: &World) -> Vec<i64> {
    match &world.commands[..] {
        [.., Command::Subscribe { tail, id, .. }] => tail
            .iter()
            .map(|window| match window {
                ClosedWindow::Candle(update) => {
                    assert_eq!(update.instrument, *id);
                    update.candle.open_time.0 / 60_000 - MINUTE_0
                }
                ClosedWindow::Empty { .. } => panic!("{window:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_series_goes_on_behind_the_last_stored_window_and_clients_get_it_at_once() {
    let mut world = resumed(-5..=-2);
    let id = world.open_with(&since(-4));
    assert_eq!(tail(&world), [-5, -4, -3, -2]);
    let past = ["subscribed", "quote BTCUSDT -3", "quote BTCUSDT -2", "history"];
    assert_eq!(world.summary(id), past);
    world.closed_candle("BTCUSDT", -1, "-1");
    assert_eq!(world.summary(id), ["quote BTCUSDT -1"], "what closed meanwhile follows in order");
    assert!(world.reads.is_empty() && world.backfills().is_empty());
}

#[test]
fn a_series_that_lacks_too_much_begins_anew() {
    for (newest, is_resumed) in [(-61, true), (-62, false)] {
        let mut world = resumed(newest - 1..=newest);
        world.open_with(BTC);
        assert_eq!(!tail(&world).is_empty(), is_resumed, "{newest}");
    }
}

#[test]
fn a_client_that_has_more_than_was_stored_is_told_of_the_part_of_a_gap_that_it_lacks() {
    let mut world = resumed(-5..=-4);
    let (ahead, live) = (world.open_with(&since(-3)), world.open_with(BTC));
    assert_eq!(world.summary(ahead), ["subscribed", "history"]);
    world.summary(live);
    let instrument = world.ids["BTCUSDT"];
    world.market(MarketEvent::Gap { instrument, first_missing: open_time(-3), missing: 3 });
    world.closed_candle("BTCUSDT", 0, "0");
    let spans = |texts: &[serde_json::Value]| -> Vec<_> {
        let gaps = texts.iter().filter(|text| text["type"] == "gap");
        gaps.map(|gap| (gap["from"].clone(), gap["to"].clone(), gap["count"].clone())).collect()
    };
    let gap = |first: i64, last: i64| {
        let at = |minute| serde_json::Value::from(open_time(minute).0);
        (at(first), at(last), (last - first + 1).into())
    };
    assert_eq!(spans(&world.texts(ahead)), [gap(-2, -1)]);
    assert_eq!(spans(&world.texts(live)), [gap(-3, -3), gap(-2, -1)]);
}
