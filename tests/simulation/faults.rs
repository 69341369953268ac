//! What goes wrong, by chance: one fault now and then, of every kind.

use std::time::Duration;

use connector_wss::clock::MonoNs;
use connector_wss::market::{Market, Venue};
use connector_wss::sim::exchange::LAG_MS;
use connector_wss::sim::faults::Fault;
use connector_wss::sim::http::Request;

use super::book::MINUTE;
use super::run::Report;
use super::world::World;

const REST_FAULTS: [&str; 5] =
    ["slow_rest", "rest_error", "rest_garbage", "rest_stale", "rest_lags"];

/// Does one fault to one of `markets`, and counts it.
pub(crate) fn strike(world: &mut World, markets: &[Market], report: &mut Report) {
    let market = *world.dice.pick(markets);
    let now = world.now.mono;
    let until = |ms: (u64, u64), world: &mut World| now.after(world.dice.ms(ms.0, ms.1));
    let kind = world.dice.below(24);
    let name = match kind {
        0..=9 => return strike_stream(world, market, kind, report),
        10 => fault(world, market, Fault::Disconnect),
        11 => fault(world, market, Fault::HalfOpen),
        12 => {
            let time = world.dice.ms(5_000, 90_000);
            fault(world, market, Fault::Silence(time))
        }
        13 => fault(world, market, Fault::ShutdownNotice),
        14 => {
            let time = world.dice.ms(5_000, 60_000);
            fault(world, market, Fault::Refuse(time))
        }
        15 => fault(world, market, Fault::Malformed),
        16 => {
            let name = *world.dice.pick(&REST_FAULTS);
            let seconds = 10 + world.dice.roll() % 110;
            if name == "rest_lags" {
                let now_ms = world.venues.exchanges[market.index()].unix_ms(now);
                let until = now_ms + i64::try_from(seconds).unwrap() * 1000;
                // Rows that lack their end whenever they are asked for are nothing to be told from.
                if world.lags.iter().any(|lag| lag.0 == market.index() && lag.2 > now_ms - MINUTE) {
                    return;
                }
                world.lags.push((market.index(), now_ms - LAG_MS.1, until));
            }
            fault(world, market, Fault::parse(name, seconds).unwrap());
            name
        }
        17 => {
            let seconds = 5 + world.dice.roll() % 60;
            let kind = market.contract_type().name();
            let target = format!(
                "/fault?name=rate_limit&value={seconds}&exchange={}&contract_type={kind}",
                market.venue().name()
            );
            let request = Request { target, ..Request::default() };
            let index = market.index();
            let venues = &mut world.venues;
            let answer = venues.rest.respond(&mut venues.exchanges, index, &request, now);
            assert_eq!(answer.status, 200);
            report.is_banned |= market.venue() == Venue::Bybit;
            "rate_limit"
        }
        18 => {
            let until = until((10_000, 240_000), world);
            world.venues.outages[market.index()].dead_until = until;
            "dead"
        }
        19 => {
            let until = until((10_000, 60_000), world);
            world.venues.outages[market.index()].no_name_until = until;
            fault(world, market, Fault::Disconnect);
            "no_name"
        }
        20 => {
            let until = until((10_000, 60_000), world);
            world.venues.outages[market.index()].hangs_up_until = until;
            fault(world, market, Fault::Disconnect);
            "hangs_up"
        }
        21 => {
            let step_us =
                *world.dice.pick(&[-7_200_000_000, -90_000_000, 45_000_000, 3_600_000_000]);
            world.wall_step_us += step_us;
            world.wall_behind_us = world.wall_behind_us.max(-world.wall_step_us);
            "wall_clock_step"
        }
        22 => {
            world.fanout_sleeps_until = until((300, 4_000), world);
            "fanout_stalls"
        }
        _ => {
            let skew = world.dice.ms(0, 800);
            fault(world, market, Fault::ClockSkew(skew));
            "clock_skew"
        }
    };
    report.fault(name);
}

fn fault(world: &mut World, market: Market, fault: Fault) -> &'static str {
    let now = world.now.mono;
    world.venues.exchanges[market.index()].fault(fault, now);
    match fault {
        Fault::Disconnect => "disconnect",
        Fault::HalfOpen => "half_open",
        Fault::Silence(_) => "silence",
        Fault::ShutdownNotice => "shutdown_notice",
        Fault::Refuse(_) => "refuse",
        Fault::Malformed => "malformed",
        _ => "other",
    }
}

/// Kinds of [`strike_stream`].
pub(crate) const LOST_CLOSE: usize = 1;
pub(crate) const MUTED: usize = 8;

/// One of the faults that strike the streams: one of them, or all of the market.
pub(crate) fn strike_stream(world: &mut World, market: Market, kind: usize, report: &mut Report) {
    const FAULTS: [(Fault, &str); 10] = [
        (Fault::Duplicate, "duplicate"),
        (Fault::LostClose, "lost_close"),
        (Fault::LostClose, "lost_close"),
        (Fault::DoubleClose, "double_close"),
        (Fault::Reordered, "reordered"),
        (Fault::RestatedClose, "restated_close"),
        (Fault::LateClose, "late_close"),
        (Fault::EmptyMinute, "empty_minute"),
        (Fault::Muted, "muted"),
        (Fault::Reordered, "reordered"),
    ];
    let (fault, name) = FAULTS[kind];
    let now = world.now.mono;
    let exchange = &mut world.venues.exchanges[market.index()];
    // Hyperliquid's words about a window are trades; that all are late is the same as lost.
    if market.venue() == Venue::Hyperliquid && matches!(fault, Fault::DoubleClose) {
        return;
    }
    let minute = exchange.unix_ms(now).div_euclid(MINUTE);
    world.spoilt.push((market.index(), minute));
    if world.dice.one_in(3) {
        exchange.fault(fault, now);
        return report.fault(name);
    }
    let listed = exchange.market.listings().len();
    let first = world.dice.below(listed);
    let hit = (0..listed).any(|at| exchange.fault_stream(fault, (first + at) % listed, now));
    if hit {
        report.fault(name);
    }
}

/// From now on nothing goes wrong any more.
pub(crate) fn stop(world: &mut World) {
    for outage in &mut world.venues.outages {
        outage.dead_until = outage.dead_until.min(world.now.mono);
        outage.no_name_until = outage.no_name_until.min(world.now.mono);
        outage.hangs_up_until = outage.hangs_up_until.min(world.now.mono);
    }
    world.fanout_sleeps_until = MonoNs(0);
    for market in Market::all() {
        let now = world.now.mono;
        let exchange = &mut world.venues.exchanges[market.index()];
        for fault in [
            Fault::Refuse(Duration::ZERO),
            Fault::SlowRest(Duration::ZERO),
            Fault::RestError(Duration::ZERO),
            Fault::RestGarbage(Duration::ZERO),
            Fault::RestStale(Duration::ZERO),
            Fault::RestLags(Duration::ZERO),
            Fault::ClockSkew(Duration::ZERO),
        ] {
            exchange.fault(fault, now);
        }
    }
}
