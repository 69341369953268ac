//! Clients that ask for what nobody should, among honest ones: names that do not exist, everything
//! that does, in every interval, the past again and again, floods, rubbish, and leaving in the
//! middle of it. Nobody judges what they hear; the honest ones may lose nothing by them, and no
//! exchange's limit may be exceeded for them.

use std::time::Duration;

use connector_wss::market::{Interval, Market};
use serde_json::{Value, json};

use super::client::Client;
use super::run::Report;
use super::scenarios::invented;
use super::world::World;

/// In every second run there are some.
pub(super) fn join(world: &mut World) {
    let count = if world.dice.one_in(2) { 1 + world.dice.below(3) } else { 0 };
    for _ in 0..count {
        let mut client = Client::new(world.now.mono.after(world.dice.ms(0, 60_000)));
        client.is_hostile = true;
        world.clients.push(client);
    }
}

/// They go for good.
pub(super) fn leave(world: &mut World) {
    for at in 0..world.clients.len() {
        if world.clients[at].is_hostile {
            world.vanish(at);
        }
    }
}

/// One does its worst.
pub(super) fn act(world: &mut World, at: usize, report: &mut Report) {
    world.clients[at].acts_at = world.now.mono.after(world.dice.ms(200, 10_000));
    if world.clients[at].id.is_none() {
        world.accept(at);
        world.clients[at].reads_at = world.now.mono;
    }
    let all: Vec<Market> = Market::all().collect();
    let market = *world.dice.pick(&all);
    let listed = world.venues.symbols(market);
    let interval = *world.dice.pick(&Interval::ALL);
    match world.dice.below(12) {
        0 | 1 => {
            let first = world.dice.below(100_000);
            let count = 1 + world.dice.below(300);
            let names: Vec<String> = (first..first + count).map(|n| invented(market, n)).collect();
            say(world, at, market, &names, json!({ "interval": interval.name() }));
            report.fault("hostile_invents_names");
        }
        2 => {
            let typo = [invented(market, 1)];
            (0..20).for_each(|_| say(world, at, market, &typo, json!({})));
            report.fault("hostile_repeats_a_typo");
        }
        3 => {
            let more = json!({ "interval": interval.name(), "source": "exchange" });
            say(world, at, market, &listed, more);
            report.fault("hostile_asks_for_all");
        }
        4 => {
            let history = 1 + world.dice.below(2_000);
            let more = json!({ "interval": interval.name(), "history": history });
            say(world, at, market, &listed, more);
            report.fault("hostile_asks_for_history");
        }
        5 => {
            let back_ms = world.dice.below(40_000_000) as i64 - 20_000_000;
            let since = (world.true_ms() - back_ms).div_euclid(60_000) * 60_000;
            say(world, at, market, &listed, json!({ "since": since }));
            report.fault("hostile_resumes_anywhere");
        }
        6 => {
            for _ in 0..10 {
                say(world, at, market, &listed, json!({}));
                say(world, at, market, &listed, json!({ "op": "unsubscribe" }));
            }
            report.fault("hostile_comes_and_goes");
        }
        7 => {
            (0..400).for_each(|_| world.clients[at].say(&json!({ "op": "ping" })));
            report.fault("hostile_floods");
        }
        8 => {
            let rubbish = [
                json!(null),
                json!([[[]]]),
                json!({ "op": 7 }),
                json!({ "symbols": "A".repeat(5_000) }),
                json!({ "exchange": "binance", "contract_type": "spot", "symbols": [{}] }),
            ];
            world.clients[at].say(world.dice.pick(&rubbish));
            report.fault("hostile_says_rubbish");
        }
        9 => {
            world.clients[at].reads_at = world.now.mono.after(Duration::from_secs(120));
            report.fault("hostile_stops_reading");
        }
        10 => {
            world.vanish(at);
            report.fault("hostile_vanishes");
        }
        _ => {
            world.clients[at].say_close();
            report.fault("hostile_closes");
        }
    }
}

fn say(world: &mut World, at: usize, market: Market, symbols: &[String], more: Value) {
    let mut request = json!({
        "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
        "symbols": symbols,
    });
    if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
        request.extend(more);
    }
    world.clients[at].say(&request);
}
