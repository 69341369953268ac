//! Clients that ask an exchange for too much, beside one in production whose sessions are cut
//! meanwhile: it is back within seconds, `/ready` says so, and no limit of an exchange is exceeded.
//! `STORM=1` has them in full.

use std::time::Duration;

use connector_wss::clock::MonoNs;
use connector_wss::limits::{CLIENT_UNCONFIRMED_MAX, REFUSED_PATIENCE};
use connector_wss::market::{Interval, Market, Venue};
use connector_wss::sim::faults::Fault;
use serde_json::{Value, json};

use super::client::{Client, Series};
use super::run::{Report, judge};
use super::scenarios::{invented, pass, some_of_each, world};
use super::world::World;

/// Seconds of a storm, and of a storm in full.
const SHORT_S: u64 = 90;
const FULL_S: u64 = 600;

fn is_full() -> bool {
    std::env::var_os("STORM").is_some()
}

fn request(market: Market, symbols: &[String]) -> Value {
    json!({
        "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
        "symbols": symbols,
    })
}

/// A new client that is judged by nobody.
fn hostile(world: &mut World) -> usize {
    let mut client = Client::new(MonoNs(u64::MAX));
    client.is_hostile = true;
    world.clients.push(client);
    let at = world.clients.len() - 1;
    world.accept(at);
    at
}

/// Lets `storm` loose each second. Meanwhile the sessions of one market after the other are cut,
/// and its series in production has to be heard of again in time.
fn weather(seed: u64, extra: usize, mut storm: impl FnMut(&mut World, u64)) -> World {
    let mut world = world(seed, Duration::from_millis(500), 2, extra);
    let is_loud = |one: &&Series| !one.1.starts_with("QUIET");
    let all = some_of_each(&world, 4);
    let series: Vec<Series> = Market::all()
        .filter_map(|market| {
            all.iter().filter(|one| one.0 == market.index()).find(is_loud).cloned()
        })
        .collect();
    world.clients.push(Client::new(MonoNs(u64::MAX)));
    world.accept(0);
    series.iter().for_each(|one| world.clients[0].subscribe(one, 0, false));
    pass(&mut world, 60);
    let seconds = if is_full() { FULL_S } else { SHORT_S };
    let mut cuts = series.iter().cycle();
    for second in 0..seconds {
        storm(&mut world, second);
        if second % 5 != 4 {
            pass(&mut world, 1);
            continue;
        }
        let one = cuts.next().unwrap();
        let (now, cut_ms) = (world.now.mono, world.true_ms());
        world.venues.exchanges[one.0].fault(Fault::Disconnect, now);
        let market = Market::all().nth(one.0).unwrap();
        let step = Duration::from_millis(100);
        let mut readiness = Vec::new();
        for _ in 0..40 {
            world.run_until(world.now.mono.after(step)).unwrap();
            readiness.push(world.is_ready(market));
        }
        assert!(readiness.contains(&false), "{market} is ready without a session, second {second}");
        // Hundreds of series that deliver need many sessions, which an exchange lets come one by
        // one.
        let is_ready = extra > 0 || readiness.last() == Some(&true);
        assert!(is_ready, "{market} is not ready, second {second}");
        let heard = world.clients[0].heard.get(one).copied().unwrap_or(0);
        let silent = world.true_ms() - cut_ms;
        assert!(heard > cut_ms + 200, "{market} is silent for {silent} ms, second {second}");
        assert_eq!(world.venues.limits_exceeded(), 0, "second {second}");
    }
    for at in 1..world.clients.len() {
        world.vanish(at);
    }
    pass(&mut world, 150 + REFUSED_PATIENCE.as_secs());
    assert!(Market::all().all(|market| world.is_ready(market)));
    assert_eq!(world.venues.limits_exceeded(), 0);
    assert_eq!(world.fanout_metrics.unconfirmed.value(), 0);
    assert_eq!(world.fanout_metrics.refused_names.value(), 0);
    assert_eq!(world.count(|part| part.rest_refused.value()), 0);
    let mut report = Report::default();
    judge(&mut world, &mut report).unwrap();
    println!("{report}");
    world
}

#[test]
fn invented_names_over_many_connections_cost_production_nothing() {
    let markets: Vec<Market> = Market::all().collect();
    let world = weather(21, 0, |world, second| {
        let market = markets[usize::try_from(second).unwrap() % markets.len()];
        for number in 0..3 {
            let at = hostile(world);
            let first = (usize::try_from(second).unwrap() * 3 + number) * CLIENT_UNCONFIRMED_MAX;
            let names: Vec<String> =
                (0..CLIENT_UNCONFIRMED_MAX).map(|one| invented(market, first + one)).collect();
            world.clients[at].say(&request(market, &names));
            if at > 12 {
                world.vanish(at - 12);
            }
        }
    });
    let rejected = world.count(|part| part.rejected.value());
    println!("{rejected} names were rejected");
    assert!(rejected > 1_000);
}

#[test]
fn one_typo_in_a_loop_costs_production_nothing() {
    let typos: Vec<(Market, String)> =
        Market::all().map(|market| (market, invented(market, 7))).collect();
    let world = weather(22, 0, |world, second| {
        if second == 0 {
            // It has a good one, too: so it is not closed.
            let at = hostile(world);
            let market = typos[0].0;
            let good = world.venues.symbols(market).swap_remove(0);
            world.clients[at].say(&request(market, &[good]));
        }
        for (market, name) in &typos {
            world.clients[1].say(&request(*market, std::slice::from_ref(name)));
        }
        // And a page that connects anew each second, since it is closed for its typo.
        let page = hostile(world);
        let (market, name) = &typos[0];
        world.clients[page].say(&request(*market, std::slice::from_ref(name)));
        if page > 4 {
            world.vanish(page - 2);
        }
    });
    let connects = world.count(|part| part.connects.value());
    println!("{connects} sessions were opened");
    assert!(world.fanout_metrics.refused_again.value() > 100);
}

#[test]
fn everything_that_is_listed_in_seven_intervals_costs_production_nothing() {
    let intervals = [
        Interval::M1,
        Interval::M5,
        Interval::M15,
        Interval::M30,
        Interval::H1,
        Interval::H4,
        Interval::D1,
    ];
    let extra = if is_full() { 130 } else { 2 };
    weather(23, extra, |world, second| {
        let Some(interval) = intervals.get(usize::try_from(second).unwrap()) else { return };
        let at = if second == 0 { hostile(world) } else { 1 };
        for market in Market::all().filter(|market| market.venue() != Venue::Hyperliquid) {
            let mut asked = request(market, &world.venues.symbols(market));
            asked["interval"] = interval.name().into();
            asked["source"] = "exchange".into();
            world.clients[at].say(&asked);
        }
    });
}
