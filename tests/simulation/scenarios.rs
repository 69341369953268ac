//! What must hold in cases that everybody meets once: half an hour without exchanges, a cold start
//! with everything at once, and everything lost at once; in virtual time.

use std::time::Duration;

use connector_wss::clock::{MonoNs, Now};
use connector_wss::market::{Interval, Market, Venue};
use connector_wss::sim::faults::Fault;

use super::client::{Client, Series};
use super::dice::Dice;
use super::run::{Report, judge};
use super::world::World;

pub(crate) fn world(seed: u64, push_interval: Duration, shards: usize, extra: usize) -> World {
    let now = Now { mono: MonoNs(1_000_000_000_000), unix_us: 1_700_000_000_000_000 };
    World::with(seed, Dice::new(seed), now, push_interval, (shards, extra))
}

/// One client that wants `series` with so much history.
fn subscribe(world: &mut World, series: &[Series], history: u32) {
    world.clients.push(Client::new(MonoNs(u64::MAX)));
    let at = world.clients.len() - 1;
    world.accept(at);
    for one in series {
        world.clients[at].subscribe(one, history, true);
    }
}

pub(crate) fn pass(world: &mut World, seconds: u64) {
    let end = world.now.mono.after(Duration::from_secs(seconds));
    world.run_until(end).unwrap();
}

pub(crate) fn some_of_each(world: &World, count: usize) -> Vec<Series> {
    let of = |market: Market| {
        let symbols = world.venues.symbols(market).into_iter().take(count);
        symbols.map(move |symbol| (market.index(), symbol, Interval::M1))
    };
    Market::all().flat_map(of).collect()
}

#[test]
fn after_half_an_hour_without_exchanges_every_candle_arrives_in_order() {
    let mut world = world(5, Duration::from_secs(5), 2, 0);
    let series = some_of_each(&world, 8);
    subscribe(&mut world, &series, 0);
    pass(&mut world, 200);
    let back = world.now.mono.after(Duration::from_secs(30 * 60));
    world.venues.outages.iter_mut().for_each(|outage| outage.dead_until = back);
    let (mut opened, mut queued) = (0, 0);
    while world.now.mono < back {
        pass(&mut world, 10);
        let parts = world.shards.iter().flat_map(|shard| &shard.metrics.markets);
        for part in parts {
            opened += usize::from(part.breaker_state.value() == 1);
            queued = queued.max(part.closed_queue_depth.value());
        }
    }
    assert!(opened > 0, "the breakers are open meanwhile");
    let missed_rests = world.venues.rests;
    let mut report = Report::default();
    for _ in 0..60 {
        pass(&mut world, 10);
        let parts = world.shards.iter().flat_map(|shard| &shard.metrics.markets);
        queued = queued.max(parts.map(|part| part.closed_queue_depth.value()).max().unwrap());
    }
    judge(&mut world, &mut report).unwrap();
    let told = report.counts["closed candles told"];
    assert!(told >= series.len() as u64 * 38, "{told} of {} series", series.len());
    assert!(queued <= 200 + 4 * 100, "{queued} waited for a ring");
    let rests = world.venues.rests - missed_rests;
    println!("{} series, {told} closed candles, {rests} REST requests afterwards", series.len());
    println!("{report}");
}

#[test]
fn what_was_given_up_is_repaired_once_rest_answers_again() {
    let mut world = world(9, Duration::from_secs(5), 2, 0);
    let series = some_of_each(&world, 8);
    subscribe(&mut world, &series, 0);
    pass(&mut world, 200);
    for market in Market::all() {
        let (now, exchange) = (world.now.mono, &mut world.venues.exchanges[market.index()]);
        exchange.fault(Fault::LostClose, now);
        exchange.fault(Fault::RestError(Duration::from_secs(150)), now);
    }
    pass(&mut world, 140);
    assert!(world.count(|one| one.gaps.value()) > 0, "the next windows did not wait for ever");
    // Nothing else is missing by which these would be asked for, too.
    pass(&mut world, 240);
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    assert!(report.counts["repairs told"] > 0);
    println!("{report}");
}

#[test]
fn rows_that_know_less_than_what_ran_close_nothing() {
    let mut world = world(10, Duration::from_secs(2), 2, 0);
    let series = some_of_each(&world, 8);
    world.clients.push(Client::new(MonoNs(u64::MAX)));
    world.accept(0);
    series.iter().for_each(|one| world.clients[0].subscribe(one, 0, false));
    pass(&mut world, 200);
    for market in Market::all() {
        let (now, exchange) = (world.now.mono, &mut world.venues.exchanges[market.index()]);
        exchange.fault(Fault::LostClose, now);
        exchange.fault(Fault::RestLags(Duration::from_secs(150)), now);
        let now_ms = exchange.unix_ms(now);
        world.lags.push((market.index(), now_ms, now_ms + 150_000));
    }
    // A row that lagged as the push did says the same: the second look at it comes minutes later.
    pass(&mut world, 420);
    let by_rest = world.count(|one| one.closed_by[2].value());
    assert!(by_rest > 0, "lost closes are found by REST");
    let books = world.clients[0].books.values();
    let shrunk: Vec<_> = books.flat_map(|book| &book.shrunk).collect();
    assert!(shrunk.is_empty(), "{shrunk:#?}");
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    println!("{report}");
}

#[test]
fn trades_that_come_after_a_successor_are_told_though_rest_fails() {
    let mut world = world(11, Duration::from_secs(2), 2, 0);
    let is_traded = |one: &Series| {
        let market = Market::all().nth(one.0).unwrap();
        market.venue() == Venue::Hyperliquid && !one.1.starts_with("QUIET")
    };
    let series: Vec<Series> = some_of_each(&world, 8).into_iter().filter(is_traded).collect();
    subscribe(&mut world, &series, 0);
    pass(&mut world, 200);
    for market in Market::of(Venue::Hyperliquid) {
        let (now, exchange) = (world.now.mono, &mut world.venues.exchanges[market.index()]);
        exchange.fault(Fault::RestError(Duration::from_secs(600)), now);
        exchange.fault(Fault::Reordered, now);
    }
    pass(&mut world, 130);
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    assert!(report.counts["corrections told"] > 0);
    println!("{report}");
}

#[test]
fn a_cold_start_and_a_mass_disconnect_keep_every_limit() {
    let count = std::env::var("SERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(450);
    // Hyperliquid allows 900 streams to an address, all contract types together.
    let mut world = world(6, Duration::from_secs(20), 3, count / 15);
    let series = some_of_each(&world, count / 15);
    for part in series.chunks(series.len() / 4 + 1) {
        subscribe(&mut world, part, 10);
    }
    pass(&mut world, 150);
    assert_eq!(world.venues.limits_exceeded(), 0, "of a cold start");
    for market in Market::all() {
        let now = world.now.mono;
        world.venues.exchanges[market.index()].fault(Fault::Disconnect, now);
    }
    pass(&mut world, 120);
    for market in Market::all() {
        let now = world.now.mono;
        world.venues.exchanges[market.index()].fault(Fault::HalfOpen, now);
    }
    // Hyperliquid answers 45 questions a minute.
    pass(&mut world, 420.max(count as u64));
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    assert_eq!(world.count(|one| one.rest_refused.value()), 0);
    println!("{} series", series.len());
    println!("{report}");
}

#[test]
fn a_storm_of_subscriptions_keeps_every_limit() {
    let mut world = world(8, Duration::from_secs(20), 2, 40);
    let series = some_of_each(&world, 40);
    subscribe(&mut world, &series[..15], 0);
    pass(&mut world, 30);
    let unix_ms = world.true_ms();
    // Each in a message of its own, and some of them taken back.
    for (at, one) in series.iter().enumerate() {
        world.clients[0].subscribe(one, 0, true);
        let end = world.now.mono.after(Duration::from_millis(30));
        world.run_until(end).unwrap();
        if at % 7 == 3 {
            world.clients[0].unsubscribe(&series[at - 1], unix_ms);
        }
    }
    pass(&mut world, 400);
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    println!("{report}");
}

/// A name that no exchange has, in the spelling of this one.
pub(crate) fn invented(market: Market, number: usize) -> String {
    match market.venue() {
        Venue::Okx => format!("NOSUCH{number}-USDT"),
        Venue::Gateio => format!("NOSUCH{number}_USDT"),
        Venue::Binance | Venue::Bybit | Venue::Hyperliquid => format!("NOSUCH{number}USDT"),
    }
}

#[test]
fn names_that_clients_invent_cost_the_others_no_candle_and_leave_nothing_behind() {
    let mut world = world(12, Duration::from_secs(5), 2, 0);
    let series = some_of_each(&world, 3);
    subscribe(&mut world, &series, 5);
    pass(&mut world, 100);
    let hostile: Vec<usize> = (1..4).collect();
    for _ in &hostile {
        let mut client = Client::new(MonoNs(u64::MAX));
        client.is_hostile = true;
        world.clients.push(client);
    }
    let kinds = [(Venue::Binance, "spot"), (Venue::Okx, "spot"), (Venue::Bybit, "linear")];
    let kinds = kinds.iter().chain(&[(Venue::Gateio, "spot"), (Venue::Binance, "usdm")]);
    let markets: Vec<Market> =
        kinds.map(|(venue, name)| Market::find(*venue, name).unwrap()).collect();
    for round in 0..100 {
        for &at in &hostile {
            let number = round * 10 + at;
            if round % 7 == at {
                world.vanish(at);
            }
            if world.clients[at].id.is_none() {
                world.accept(at);
            }
            let market = markets[number % markets.len()];
            let mut symbols: Vec<String> =
                (0..20).map(|one| invented(market, 1_000 * number + one)).collect();
            symbols.extend(world.venues.symbols(market).into_iter().take(2));
            let mut request = serde_json::json!({
                "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
                "symbols": symbols, "interval": if number % 3 == 0 { "5m" } else { "1m" },
            });
            world.clients[at].say(&request);
            if number % 2 == 0 {
                request["op"] = "unsubscribe".into();
                world.clients[at].say(&request);
            }
        }
        pass(&mut world, 3);
    }
    hostile.iter().for_each(|&at| world.vanish(at));
    pass(&mut world, 400);
    let rejected = world.count(|part| part.rejected.value());
    assert!(rejected > 1_000, "they were tried: {rejected}");
    assert_eq!(world.fanout_metrics.unconfirmed.value(), 0);
    assert_eq!(world.fanout_metrics.instruments.value(), i64::try_from(series.len()).unwrap());
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    println!("{report}");
}

#[test]
fn exchanges_that_cut_sessions_often_get_no_symbol_rejected() {
    let mut world = world(12, Duration::from_secs(5), 2, 20);
    let series = some_of_each(&world, 20);
    let (early, late) = series.split_at(series.len() / 2);
    subscribe(&mut world, early, 0);
    pass(&mut world, 20);
    let mut late = late.iter();
    // `make sim` has it in full.
    let rounds = if crate::number("SEEDS").is_some() { 150 } else { 60 };
    for _ in 0..rounds {
        let seconds = 1 + world.dice.roll() % 7;
        pass(&mut world, seconds);
        for market in Market::all() {
            if world.dice.below(3) == 0 {
                let now = world.now.mono;
                world.venues.exchanges[market.index()].fault(Fault::Disconnect, now);
            }
        }
        if let Some(one) = late.next() {
            world.clients[0].subscribe(one, 0, true);
        }
    }
    pass(&mut world, 600);
    assert_eq!(world.count(|one| one.rejected.value()), 0);
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    println!("{report}");
}

#[test]
fn a_process_that_is_started_again_and_again_keeps_every_limit() {
    let mut world = world(7, Duration::from_secs(20), 3, 20);
    let series = some_of_each(&world, 20);
    subscribe(&mut world, &series, 10);
    for seconds in [1, 2, 5, 3, 10, 1, 4, 8, 2, 6, 20, 3] {
        pass(&mut world, seconds);
        world.restart();
        world.accept(0);
        for one in &series {
            world.clients[0].subscribe(one, 10, true);
        }
    }
    pass(&mut world, 900);
    assert_eq!(world.count(|one| one.rest_refused.value()), 0);
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    println!("{report}");
}
