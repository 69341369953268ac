//! One market lies while the others are honest. What must come of it, whatever it sends:
//!
//! **Of the honest markets** everything that [`super::run`] demands, and that they are not touched:
//! no session of theirs is lost, no breaker opens, no symbol is rejected; and what is lost there by
//! chance is had from REST before a gap would be published, so that the liar takes no REST from
//! them. Markets that share the liar's host may be refused new sessions and REST where the host
//! blocks the whole address, and nothing else; so where its REST makes no sense.
//!
//! **Of the liar's market**, as far as a second source can show it:
//! 1. Nothing is over before its end: no closed candle, no `empty` and no gap of a window that has not
//!    ended by the honest time ([`super::client`]).
//! 2. No closed candle is wrong, in its first revision or in its last, though pushes or rows were: what
//!    cannot be, what is out of time, what is older than the window's end, and what comes on a session
//!    that does not carry it proves nothing. (A value that could be, pushed with the flag on the right
//!    session, is nobody's to doubt at once: no lie here is of that kind.)
//! 3. Every window is received or reported as missing, once and in order (a resume may lack windows whose
//!    rows make no sense, and reports them); after the lies have ended and
//!    the longest pause that they may cause is over, nothing is missing and the series run.
//! 4. A symbol may be rejected only if it is the one that the exchange refused; a limit of the address
//!    and a block reject nobody. No breaker opens while other sessions of the market are up beside it.
//! 5. Nothing grows: bytes for a socket that takes none ([`OUTGOING_MAX`]), notices
//!    ([`NOTICES_A_MINUTE`]), closed candles before the ring, requests to a host that blocks us
//!    ([`BLOCKED_RESTS_A_MINUTE`]).

use std::collections::BTreeSet;
use std::time::Duration;

use connector_wss::clock::MonoNs;
use connector_wss::market::{Interval, Market};
use connector_wss::metrics::{ConnectionErrorKind, FeedMetrics};
use connector_wss::sim::faults::Fault;
use connector_wss::venue::{self, Finality};

use super::client::{Client, Series, is_derived};
use super::dice::Dice;
use super::faults;
use super::liar::{Liar, Lie};
use super::run::{self, Report};
use super::world::World;

/// A run and who lies in it.
struct Play {
    liar: Market,
    /// Markets of the run that are honest.
    honest: Vec<Market>,
    series: Vec<Series>,
    /// The host has refused the whole address, or its REST was out of order.
    is_host_out: bool,
    /// The list has called the culprit halted: it is read again only in an hour.
    is_halted: bool,
    /// The most closed candles that waited for a ring.
    closed_waiting: i64,
    /// REST requests to the liar's host since it began to block us, and since when it does.
    blocked: Option<(u64, MonoNs)>,
}

/// Runs a seed with a liar. `Err`: what went wrong, with the latest notices of the server.
pub(crate) fn run(seed: u64) -> Result<Report, String> {
    let mut world = World::new(seed ^ LIARS_SEEDS);
    let symbols = 1 + world.dice.below(4);
    world.limit_sessions(symbols);
    let mut report = Report::of_one();
    let mut play = cast(&mut world);
    let liar = play.liar;
    run::explained(&mut world, |world| {
        live(world, &mut play, &mut report)?;
        run::judge(world, &mut report)?;
        judge_honest(world, &play)?;
        judge_liar(world, &play)
    })
    .map_err(|why| format!("{liar} lies: {why}"))?;
    let lies = world.venues.liar.as_ref().map_or(0, |liar| liar.lies);
    report.count("lies told", lies);
    report.count("rejections", world.clients.iter().map(|client| client.rejections).sum());
    report.highest("bytes waiting for a socket", world.unsent_max as u64);
    let notices = world.notice_counts[liar.index()];
    report.highest("notices of a liar", notices);
    Ok(report)
}

/// The markets, the symbols, the clients and the culprit of a run.
fn cast(world: &mut World) -> Play {
    let all: Vec<Market> = Market::all().collect();
    let liar = *world.dice.pick(&all);
    let mut markets = BTreeSet::from([liar.index()]);
    let kin: Vec<Market> = Market::of(liar.venue()).filter(|&market| market != liar).collect();
    markets.insert(world.dice.pick(&kin).index());
    for _ in 0..1 + world.dice.below(2) {
        markets.insert(world.dice.pick(&all).index());
    }
    let mut series = Vec::new();
    for &index in &markets {
        let mut symbols = world.venues.symbols(all[index]);
        let keep = if index == liar.index() { 5 } else { 1 + world.dice.below(3) };
        while symbols.len() > keep {
            let at = world.dice.below(symbols.len());
            symbols.remove(at);
        }
        for symbol in symbols {
            let longer = *world.dice.pick(&[Interval::M3, Interval::M5]);
            let longer = (index, symbol.clone(), longer);
            if (is_derived(&longer) || all[index].has_own(longer.2)) && world.dice.one_in(4) {
                series.push(longer);
            }
            series.push((index, symbol, Interval::M1));
        }
    }
    let of_liar: Vec<&Series> = series.iter().filter(|one| one.0 == liar.index()).collect();
    let culprit = world.dice.pick(&of_liar).1.clone();
    for _ in 0..2 + world.dice.below(3) {
        let mut client = Client::new(world.now.mono.after(world.dice.ms(0, 60_000)));
        client.culprit = Some((liar.index(), culprit.clone()));
        world.clients.push(client);
    }
    let symbols = world.venues.symbols(liar);
    let dice = Dice::new(world.dice.roll());
    world.venues.liar = Some(Liar::new(liar, culprit, symbols, dice));
    let honest = markets.into_iter().filter(|&index| index != liar.index()).map(|at| all[at]);
    Play {
        liar,
        honest: honest.collect(),
        series,
        is_host_out: false,
        is_halted: false,
        closed_waiting: 0,
        blocked: None,
    }
}

fn live(world: &mut World, play: &mut Play, report: &mut Report) -> Result<(), String> {
    if world.dice.one_in(4) {
        world.wall_step_us = *world.dice.pick(&[-7_200_000_000, 3_600_000_000]);
        world.wall_behind_us = world.wall_behind_us.max(-world.wall_step_us);
    }
    let peace = world.now.mono.after(world.dice.ms(8 * 60_000, 14 * 60_000));
    let mut lies_at = world.now.mono.after(world.dice.ms(1_000, 100_000));
    let mut strikes_at = lies_at;
    while world.now.mono < peace {
        let acts = world.clients.iter().map(|client| client.acts_at).min().unwrap();
        let step = world.now.mono.after(Duration::from_secs(5));
        world.run_until(acts.min(lies_at).min(strikes_at).min(peace).min(step))?;
        watch(world, play)?;
        if lies_at <= world.now.mono {
            lies_at = lie(world, play, report);
        }
        if strikes_at <= world.now.mono {
            strike(world, play, report);
            strikes_at = world.now.mono.after(world.dice.ms(5_000, 60_000));
        }
        for at in 0..world.clients.len() {
            if world.clients[at].acts_at <= world.now.mono {
                run::act(world, at, &play.series, report);
            }
        }
    }
    world.venues.liar.iter_mut().for_each(Liar::stop);
    faults::stop(world);
    if play.is_halted {
        give_up_culprit(world, play);
    }
    let pause = if play.is_host_out { PAUSE_MAX } else { Duration::ZERO };
    let end = world.now.mono.after(run::PEACE + pause);
    while world.now.mono < end {
        for at in 0..world.clients.len() {
            run::come_back(world, at, &play.series);
        }
        let step = world.now.mono.after(Duration::from_secs(5)).min(end);
        world.run_until(step)?;
        watch(world, play)?;
    }
    run::count_server(world, report);
    Ok(())
}

/// Nobody wants any longer what the list calls halted.
fn give_up_culprit(world: &mut World, play: &mut Play) {
    let now_ms = world.true_ms();
    let Some((index, symbol)) = world.clients[0].culprit.clone() else { return };
    play.series.retain(|one| (one.0, &one.1) != (index, &symbol));
    for client in &mut world.clients {
        let wanted: Vec<Series> = client.wanted.keys().cloned().collect();
        for one in wanted.iter().filter(|one| (one.0, &one.1) == (index, &symbol)) {
            client.unsubscribe(one, now_ms);
        }
    }
}

/// Begins a lie; when the next one is to begin.
fn lie(world: &mut World, play: &mut Play, report: &mut Report) -> MonoNs {
    let lie = any_lie(play.liar, &mut world.dice);
    let now = world.now.mono;
    let until = now.after(world.dice.ms(5_000, 150_000));
    world.venues.liar.iter_mut().for_each(|liar| liar.begin(lie, now, until));
    play.is_host_out |= lie.stops_rest();
    play.is_halted |= lie == Lie::Halted;
    if matches!(lie, Lie::RestDate(_)) && world.wall_step_us > 0 {
        world.clients.iter_mut().for_each(|client| client.unjudged = Some(play.liar));
    }
    report.fault(lie.name());
    world.note(&format!("{} {lie:?} until {:.0}", play.liar, world.seconds(until)));
    // Whoever streams already is not asked for again unless he loses his session.
    if lie.needs_subscribing() && world.dice.one_in(2) {
        break_sessions(world, play.liar, report);
    }
    // Now and then two at once.
    let earliest = if world.dice.one_in(4) { now } else { until };
    earliest.after(world.dice.ms(500, 40_000))
}

/// Any lie; with `LIE=name` one of that name, if the market has it.
fn any_lie(market: Market, dice: &mut Dice) -> Lie {
    let wanted = std::env::var("LIE").ok();
    let mut lies = (0..1_000).map(|_| Lie::any(market, dice));
    let found = lies.find(|lie| wanted.as_ref().is_none_or(|wanted| wanted == lie.name()));
    found.unwrap_or(Lie::PushValues)
}

fn break_sessions(world: &mut World, market: Market, report: &mut Report) {
    let now = world.now.mono;
    world.venues.exchanges[market.index()].fault(Fault::Disconnect, now);
    report.fault("disconnect");
}

/// What makes the server ask REST, for the liar's market and for honest ones.
fn strike(world: &mut World, play: &Play, report: &mut Report) {
    let honest = *world.dice.pick(&play.honest);
    let (market, kind) = match world.dice.below(4) {
        0 => return break_sessions(world, play.liar, report),
        1 => (play.liar, faults::LOST_CLOSE),
        2 => (play.liar, faults::MUTED),
        _ => (honest, faults::LOST_CLOSE),
    };
    // Where successors close candles, a lost end is a lie of its own, and REST may lie, too; and
    // where only trades are pushed, a session may lose all that it had to push.
    if kind == faults::MUTED || venue::finality(market) == Finality::Flag {
        faults::strike_stream(world, market, kind, report);
    }
}

/// What must hold all the time.
fn watch(world: &World, play: &mut Play) -> Result<(), String> {
    let parts = world.shards.iter().flat_map(|shard| &shard.metrics.markets);
    let waiting: i64 = parts.map(|part| part.closed_queue_depth.value()).max().unwrap();
    play.closed_waiting = play.closed_waiting.max(waiting);
    if waiting > CLOSED_WAITING_MAX {
        return Err(format!("{waiting} closed candles wait for a ring"));
    }
    if world.unsent_max > OUTGOING_MAX {
        return Err(format!("{} bytes wait for a socket that takes none", world.unsent_max));
    }
    let liar = world.venues.liar.as_ref().unwrap();
    let is_blocking = liar.is_active(|lie| matches!(lie, Lie::Blocked(_)), world.now.mono);
    let group = venue::budget_group(play.liar);
    let rests = count(world, group, |part| part.rest_requests.value());
    match play.blocked {
        None if is_blocking => play.blocked = Some((rests, world.now.mono)),
        Some((before, since)) if is_blocking => {
            let minutes = world.now.mono.since(since).as_secs() / 60;
            let most = (minutes + 1) * BLOCKED_RESTS_A_MINUTE * world.shards.len() as u64;
            if rests - before > most {
                return Err(format!("{} requests to a host that blocks us", rests - before));
            }
        }
        _ => play.blocked = None,
    }
    Ok(())
}

fn count(world: &World, market: Market, read: impl Fn(&FeedMetrics) -> u64) -> u64 {
    world.shards.iter().map(|shard| read(shard.metrics.market(market))).sum()
}

fn judge_honest(world: &World, play: &Play) -> Result<(), String> {
    for &market in &play.honest {
        let shares = venue::budget_group(market) == venue::budget_group(play.liar);
        let is_blocked = play.is_host_out && shares;
        for kind in ConnectionErrorKind::ALL {
            let losses = count(world, market, |part| part.connection_errors[kind as usize].value());
            let is_refused = is_blocked && kind == ConnectionErrorKind::Handshake;
            // Where REST is denied, only pushes show that a session lives: where nothing is pushed
            // of a window without trades, one with a quiet symbol is renewed every few minutes.
            let says_nothing = venue::finality(market) == Finality::Successor;
            let is_renewed = is_blocked && says_nothing && kind == ConnectionErrorKind::Silent;
            if losses > 0 && !is_refused && !is_renewed {
                return Err(format!("{market} is honest, and lost {losses} sessions: {kind:?}"));
            }
        }
        if world.breakers_opened[market.index()] > 0 && !is_blocked {
            return Err(format!("{market} is honest, and its breaker opened"));
        }
        let gaps = count(world, market, |part| part.gaps.value());
        if gaps > 0 && !is_blocked {
            return Err(format!("{market} is honest, and has {gaps} gaps"));
        }
        let rejected = count(world, market, |part| part.rejected.value());
        if rejected > 0 {
            return Err(format!("{market} is honest, and {rejected} symbols were rejected"));
        }
    }
    Ok(())
}

fn judge_liar(world: &World, play: &Play) -> Result<(), String> {
    let opened = world.breakers_opened[play.liar.index()];
    if opened > 0 && !play.is_host_out {
        return Err(format!("its breaker opened {opened} times beside sessions that were up"));
    }
    let minutes = world.now.mono.since(world.origin.mono).as_secs() / 60 + 1;
    let notices = world.notice_counts[play.liar.index()];
    if notices > minutes * NOTICES_A_MINUTE {
        return Err(format!("{notices} notices in {minutes} minutes"));
    }
    Ok(())
}

/// So that no seed of the liar's is one of the other runs.
const LIARS_SEEDS: u64 = 0x11a5_0000_0000;

/// No longer is a wait that a header asks for, but at Binance. Source: the limit of `Retry-After`.
const PAUSE_MAX: Duration = Duration::from_secs(16 * 60);

/// Bytes that may wait for one socket. Source: a pong for the newest ping, and subscriptions.
const OUTGOING_MAX: usize = 64 * 1024;

/// Source: what is seen without lies under all faults, doubled.
const NOTICES_A_MINUTE: u64 = 60;

/// Source: `closed_queue_max` of the simulation, and one answer of a hundred rows for each request
/// under way.
const CLOSED_WAITING_MAX: i64 = 200 + 4 * 100;

/// One shard's, once it knows. Source: the first requests, which are under way together, and a few.
const BLOCKED_RESTS_A_MINUTE: u64 = 10;
