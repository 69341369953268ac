//! One run from a seed: markets, clients, faults for a while, then peace; and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use connector_wss::market::{Interval, Market};
use connector_wss::metrics::DecodeErrorKind;

use super::book::{Book, MINUTE, Window, is_true};
use super::client::{Client, Series, is_derived};
use super::faults;
use super::hostile;
use super::world::World;

/// What happened in runs, added up.
#[derive(Default)]
pub(crate) struct Report {
    seeds: u64,
    faults: BTreeMap<&'static str, u64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    highest: BTreeMap<&'static str, u64>,
    virtual_ms: u64,
    /// An exchange whose bans last for ten minutes has banned the server.
    pub(crate) is_banned: bool,
}

impl Report {
    /// Of one run, in which nothing has happened yet.
    pub(crate) fn of_one() -> Self {
        Self { seeds: 1, ..Self::default() }
    }

    pub(crate) fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    pub(crate) fn count(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }

    /// The most that there was of something in any run.
    pub(crate) fn highest(&mut self, name: &'static str, value: u64) {
        let highest = self.highest.entry(name).or_default();
        *highest = value.max(*highest);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.virtual_ms += other.virtual_ms;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.counts {
            self.count(name, *count);
        }
        for (name, value) in &other.highest {
            self.highest(name, *value);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_ms as f64 / 3_600_000.0;
        writeln!(f, "{} seeds, {hours:.1} simulated hours", self.seeds)?;
        writeln!(f, "faults:")?;
        for (name, count) in &self.faults {
            writeln!(f, "  {name:24} {count:>9}")?;
        }
        writeln!(f, "what happened:")?;
        for (name, count) in &self.counts {
            writeln!(f, "  {name:24} {count:>9}")?;
        }
        for (name, value) in &self.highest {
            writeln!(f, "  at most {name:24} {value:>9}")?;
        }
        Ok(())
    }
}

/// Runs a seed. `Err`: what went wrong, with the latest notices of the server.
pub(crate) fn run(seed: u64) -> Result<Report, String> {
    let mut world = World::new(seed);
    let mut report = Report::of_one();
    explained(&mut world, |world| live(world, &mut report))?;
    Ok(report)
}

/// What went wrong in `happen`, with when that was and the latest notices of the server.
pub(crate) fn explained(
    world: &mut World,
    happen: impl FnOnce(&mut World) -> Result<(), String>,
) -> Result<(), String> {
    happen(world).map_err(|why| {
        let notices: Vec<String> = world.notices.iter().cloned().collect();
        format!("at {:.3} s: {why}\n{}", world.seconds(world.now.mono), notices.join("\n"))
    })
}

fn live(world: &mut World, report: &mut Report) -> Result<(), String> {
    let all: Vec<Market> = Market::all().collect();
    let count = 2 + world.dice.below(5);
    let markets: Vec<Market> = (0..count).map(|_| *world.dice.pick(&all)).collect();
    let series: BTreeSet<Series> = markets
        .iter()
        .flat_map(|&market| {
            let mut symbols = world.venues.symbols(market);
            let keep = 1 + world.dice.below(4);
            while symbols.len() > keep {
                let at = world.dice.below(symbols.len());
                symbols.remove(at);
            }
            let mut series = Vec::new();
            for symbol in symbols {
                // Now and then in another interval too, as the exchange has it or derived.
                let longer = *world.dice.pick(&[Interval::M3, Interval::M5]);
                let longer = (market.index(), symbol.clone(), longer);
                if (is_derived(&longer) || market.has_own(longer.2)) && world.dice.one_in(3) {
                    series.push(longer);
                }
                series.push((market.index(), symbol, Interval::M1));
            }
            series
        })
        .collect();
    let series: Vec<Series> = series.into_iter().collect();
    let clients = 2 + world.dice.below(6);
    for _ in 0..clients {
        let acts_at = world.now.mono.after(world.dice.ms(0, 90_000));
        world.clients.push(Client::new(acts_at));
    }
    hostile::join(world);
    let peace = world.now.mono.after(world.dice.ms(8 * 60_000, 20 * 60_000));
    let mut strikes_at = world.now.mono.after(world.dice.ms(20_000, 80_000));
    let mut restarts_at =
        world.dice.one_in(3).then(|| world.now.mono.after(world.dice.ms(240_000, 600_000)));
    while world.now.mono < peace {
        let next = world.clients.iter().map(|client| client.acts_at).min().unwrap();
        let next = next.min(strikes_at).min(peace).min(restarts_at.unwrap_or(peace));
        world.run_until(next)?;
        if restarts_at.is_some_and(|at| at <= world.now.mono) {
            restarts_at =
                world.dice.one_in(2).then(|| world.now.mono.after(world.dice.ms(60_000, 400_000)));
            count_server(world, report);
            judge_trust(world)?;
            let pause = match world.dice.below(4) {
                0 => Duration::ZERO,
                1 => world.dice.ms(1_000, 60_000),
                _ => world.dice.ms(60_000, 500_000),
            };
            world.restart_after(pause);
            report.fault("restart");
            wake_all(world, 3_000);
        }
        if strikes_at <= world.now.mono {
            faults::strike(world, &markets, report);
            strikes_at = world.now.mono.after(world.dice.ms(1_000, 45_000));
        }
        for at in 0..world.clients.len() {
            let client = &world.clients[at];
            match (client.acts_at <= world.now.mono, client.is_hostile) {
                (false, _) => {}
                (true, false) => act(world, at, &series, report),
                (true, true) => hostile::act(world, at, report),
            }
        }
    }
    faults::stop(world);
    hostile::leave(world);
    // Everybody who is away comes back, and stays.
    for at in 0..world.clients.len() {
        come_back(world, at, &series);
    }
    let peace = if report.is_banned { PEACE + BAN } else { PEACE };
    let patience = world.now.mono.after(peace);
    while world.now.mono < patience {
        let step = world.now.mono.after(Duration::from_secs(5)).min(patience);
        world.run_until(step)?;
        for at in 0..world.clients.len() {
            come_back(world, at, &series);
        }
    }
    count_server(world, report);
    judge(world, report)
}

fn wake_all(world: &mut World, within_ms: u64) {
    for at in 0..world.clients.len() {
        world.clients[at].acts_at = world.now.mono.after(world.dice.ms(0, within_ms));
    }
}

/// A client does one thing that clients do.
pub(crate) fn act(world: &mut World, at: usize, series: &[Series], report: &mut Report) {
    let pause = world.dice.ms(2_000, 70_000);
    world.clients[at].acts_at = world.now.mono.after(pause);
    let unix_ms = world.true_ms();
    if world.clients[at].id.is_none() {
        return come_back(world, at, series);
    }
    match world.dice.below(12) {
        0..=3 => {
            let one = world.dice.pick(series).clone();
            subscribe_new(world, at, &one);
        }
        4 => {
            let wanted: Vec<Series> = world.clients[at].wanted.keys().cloned().collect();
            if wanted.len() > 1 {
                let one = world.dice.pick(&wanted).clone();
                world.clients[at].unsubscribe(&one, unix_ms);
                report.fault("client_unsubscribes");
            }
        }
        5 | 6 => {
            world.vanish(at);
            report.fault("client_vanishes");
        }
        7 => {
            world.clients[at].say_close();
            report.fault("client_closes");
        }
        8 => {
            let until = world.now.mono.after(world.dice.ms(5_000, 100_000));
            world.clients[at].reads_at = until;
            world.clients[at].has_stopped_reading = true;
            report.fault("client_stops_reading");
        }
        9 => {
            for _ in 0..20 {
                let one = world.dice.pick(series).clone();
                match world.clients[at].wanted.contains_key(&one) {
                    true => world.clients[at].unsubscribe(&one, unix_ms),
                    false => subscribe_new(world, at, &one),
                }
            }
            report.fault("client_storms");
        }
        _ => {}
    }
}

fn subscribe_new(world: &mut World, at: usize, one: &Series) {
    if world.clients[at].wanted.contains_key(one) {
        return;
    }
    let history = if world.dice.one_in(2) { 1 + world.dice.below(60) as u32 } else { 0 };
    let closed_only = world.dice.one_in(4);
    world.clients[at].books.remove(one);
    world.clients[at].subscribe(one, history, closed_only);
}

/// Connects if it is not, and resumes what it had.
pub(crate) fn come_back(world: &mut World, at: usize, series: &[Series]) {
    if world.clients[at].is_hostile {
        return;
    }
    if world.clients[at].id.is_some() {
        for one in std::mem::take(&mut world.clients[at].lost) {
            if world.clients[at].wanted.contains_key(&one) {
                world.clients[at].subscribe(&one, 0, false);
            }
        }
        return;
    }
    world.accept(at);
    world.clients[at].reads_at = world.now.mono;
    world.clients[at].has_stopped_reading = false;
    world.clients[at].lost.clear();
    let wanted: Vec<(Series, bool)> =
        world.clients[at].wanted.iter().map(|(one, only)| (one.clone(), *only)).collect();
    for (one, closed_only) in &wanted {
        world.clients[at].subscribe(one, 0, *closed_only);
    }
    if wanted.is_empty() {
        let one = world.dice.pick(series).clone();
        subscribe_new(world, at, &one);
    }
}

pub(crate) fn count_server(world: &World, report: &mut Report) {
    report.count("rings full", world.rings_full);
    for (name, count) in [
        ("gaps", world.count(|one| one.gaps.value())),
        ("held", world.count(|one| one.held.value())),
        ("repaired late", world.count(|one| one.repaired.value())),
        ("empty windows", world.count(|one| one.empty_windows.value())),
        ("corrections", world.count(|one| one.corrections.value())),
        ("compared, same", world.count(|one| one.comparisons_same.value())),
        ("compared, different", world.count(|one| one.comparisons_different.value())),
        ("duplicates", world.count(|one| one.duplicates.value())),
        ("late", world.count(|one| one.late.value())),
        ("decode errors", world.count(|one| one.decode_errors.iter().map(|c| c.value()).sum())),
        ("sessions lost", world.count(|one| one.connection_errors.iter().map(|c| c.value()).sum())),
        ("closed by flag", world.count(|one| one.closed_by[0].value())),
        ("closed by successor", world.count(|one| one.closed_by[1].value())),
        ("closed by rest", world.count(|one| one.closed_by[2].value())),
        ("REST refused", world.count(|one| one.rest_refused.value())),
        ("conflated", world.fanout_metrics.conflated.value()),
        ("slow clients", world.fanout_metrics.slow_disconnects.value()),
    ] {
        report.count(name, count);
    }
}

/// Nothing that honest markets say is refused as a lie. But where the machine's own clock is far
/// behind, what comes first lies ahead of all that is known.
fn judge_trust(world: &World) -> Result<(), String> {
    let is_behind = world.wall_behind_us > WALL_BEHIND_US;
    let liar = world.venues.liar.as_ref().map(|liar| liar.market);
    for market in Market::all().filter(|&market| Some(market) != liar) {
        for kind in [DecodeErrorKind::Future, DecodeErrorKind::Impossible, DecodeErrorKind::Foreign]
        {
            let errors = world.shards.iter().map(|shard| shard.metrics.market(market));
            let count: u64 = errors.map(|one| one.decode_errors[kind as usize].value()).sum();
            if count > 0 && !(is_behind && kind == DecodeErrorKind::Future) {
                let kind = kind.label();
                return Err(format!("{count} honest candles of {market} were refused as {kind}"));
            }
        }
    }
    Ok(())
}

/// Everything that any client was told, against the truth.
pub(crate) fn judge(world: &mut World, report: &mut Report) -> Result<(), String> {
    let now = world.now.mono;
    report.virtual_ms = now.since(world.origin.mono).as_millis() as u64;
    report.count("REST requests", world.venues.rests);
    report.count("connects", world.venues.connects);
    report.count("pushes spoilt", world.venues.spoilt());
    let exceeded = world.venues.limits_exceeded();
    if exceeded > 0 {
        return Err(format!("limits of exchanges were exceeded {exceeded} times"));
    }
    judge_trust(world)?;
    let stored = world.ledger.judge(world.now)?;
    report.count("windows in the ledger", stored);
    report.count("ledger: windows not stored", world.ledger.not_stored);
    report.count("ledger: put back", world.ledger.put_back);
    report.count("ledger: questions answered", world.ledger.reads_answered);
    report.count("ledger: series resumed", world.ledger.resumed);
    let true_ms = world.true_ms();
    for at in 0..world.clients.len() {
        let client = &mut world.clients[at];
        if client.is_hostile {
            continue;
        }
        report.count("resumes", client.resumes);
        report.count("refused resumes", client.refused);
        report.count("closed candles told", client.closed_candles);
        if client.id.is_none() {
            return Err(format!("client {at} is not connected at the end"));
        }
        let live = std::mem::take(&mut client.books);
        let ended = std::mem::take(&mut client.ended);
        let wanted = client.wanted.clone();
        let unjudged = world.clients[at].unjudged.map(Market::index);
        for (series, book, end) in ended.into_iter().filter(|one| unjudged != Some(one.0.0)) {
            judge_values(world, at, &series, &book, end - SETTLED_MS, report)?;
        }
        for (series, book) in live {
            if !wanted.contains_key(&series) || unjudged == Some(series.0) {
                continue;
            }
            judge_values(world, at, &series, &book, i64::MAX, report)?;
            let name = format!("client {at}, {series:?}");
            if !book.missing.is_empty() {
                return Err(format!("{name}: {:?} was never repaired", book.missing));
            }
            // The newest windows may still be on their way to be proved.
            let step = series.2.ms();
            let running = true_ms.div_euclid(step) * step;
            let late = running - 2 * step;
            if book.next.is_none_or(|next| next < late) {
                return Err(format!("{name}: told up to {:?}, and it is {running}", book.next));
            }
            if !wanted[&series] {
                judge_running(world, &series, &book, running)
                    .map_err(|why| format!("{name}: {why}"))?;
            }
            report.count("series judged", 1);
        }
    }
    Ok(())
}

/// A series that is traded all the time runs: REST alone would bring its closed candles.
fn judge_running(
    world: &mut World,
    series: &Series,
    book: &Book,
    running: i64,
) -> Result<(), String> {
    let market = Market::all().nth(series.0).unwrap();
    let step = series.2.ms();
    let span = (running - 4 * step, running);
    let rows = world.venues.truth(market, &series.1, series.2, span, world.now.mono);
    let is_traded = rows.iter().all(|row| !row["volume"].as_str().is_some_and(is_zero));
    match is_traded && book.last_open.is_none_or(|last| last < running - step) {
        true => Err(format!("ran last in {:?}, and it is {running}", book.last_open)),
        false => Ok(()),
    }
}

/// Values as of the latest revision are the truth. Windows after `closed_window` may still have
/// been restated after the book ended.
fn judge_values(
    world: &mut World,
    at: usize,
    series: &Series,
    book: &Book,
    closed_window: i64,
    report: &mut Report,
) -> Result<(), String> {
    let (Some((&first, _)), Some((&last, _))) =
        (book.windows.first_key_value(), book.windows.last_key_value())
    else {
        return Ok(());
    };
    let market = Market::all().nth(series.0).unwrap();
    let rows = world.venues.truth(market, &series.1, series.2, (first, last), world.now.mono);
    for row in rows {
        let open_time = row["open_time"].as_i64().unwrap();
        let Some(window) = book.windows.get(&open_time) else { continue };
        let verdict = match window {
            Window::Candle { text, .. } => is_true(text, &row),
            Window::Empty if row["volume"].as_str().is_some_and(is_zero) => Ok(()),
            Window::Empty => Err(format!("told as empty: {row}")),
        };
        report.count("windows judged", 1);
        if let Some(first) = book.firsts.get(&open_time)
            && let Err(why) = is_true(first, &row)
            && !may_err(world, series, open_time, first)
        {
            return Err(format!("client {at}, {series:?}, {open_time} was wrongly closed: {why}"));
        }
        // What a derived candle lacks for ever it says. And flat minutes of a market that is quiet
        // for long have any price here.
        let is_whole = match window {
            Window::Candle { text, .. } if is_derived(series) => {
                !text.contains("missing_minutes") && !text.contains("\"volume\":0,")
            }
            _ => true,
        };
        if let Err(why) = verdict
            && is_whole
            && open_time + series.2.ms() < closed_window
        {
            let id = world.clients[at].id;
            return Err(format!(
                "client {at} ({id:?}), {series:?}, window {open_time}, settled {closed_window}: {why}"
            ));
        }
    }
    judge_changes(world, series, book).map_err(|why| format!("client {at}, {series:?}: {why}"))?;
    report.count("gaps told", book.gaps);
    report.count("past unavailable", book.unavailable.len() as u64);
    report.count("repairs told", book.repaired);
    report.count("corrections told", book.corrections);
    Ok(())
}

/// What trades were told of a window is in what closed it, and what corrects it is the truth:
/// unless the exchange itself pushed something else.
fn judge_changes(world: &mut World, series: &Series, book: &Book) -> Result<(), String> {
    if let Some((_, why)) = book.shrunk.iter().find(|(at, _)| !is_spoilt(world, series, *at)) {
        return Err(format!("trades were lost: {why}"));
    }
    for (open_time, text) in &book.corrected {
        if is_derived(series) || is_spoilt(world, series, *open_time) {
            continue;
        }
        let market = Market::all().nth(series.0).unwrap();
        let span = (*open_time, *open_time);
        let rows = world.venues.truth(market, &series.1, series.2, span, world.now.mono);
        rows.iter()
            .try_for_each(|row| is_true(text, row))
            .map_err(|why| format!("{open_time} was wrongly corrected: {why}"))?;
    }
    Ok(())
}

/// Whether the exchange's pushes about a window were not as they should be.
fn is_spoilt(world: &World, series: &Series, open_time: i64) -> bool {
    let (first, last) = (open_time / MINUTE, (open_time + series.2.ms()) / MINUTE - 1);
    world.spoilt.iter().any(|&(index, at)| index == series.0 && at - 1 <= last && first <= at + 2)
}

/// Whether the first word about a window may have been another than the last: the exchange said so
/// itself, or kept the end of the window from us.
fn may_err(world: &World, series: &Series, open_time: i64, text: &str) -> bool {
    let end = open_time + series.2.ms();
    let is_lagging = |&(index, from, to): &(usize, i64, i64)| {
        index == series.0 && from <= end && open_time <= to
    };
    let by_rest = text.contains("\"final_by\":\"rest\"") || is_derived(series);
    if by_rest && world.lags.iter().any(is_lagging) {
        return true;
    }
    // Of a derived candle only the last minute's evidence is named.
    let is_sure = text.contains("\"final_by\":\"rest\"") && !is_derived(series);
    let is_flat = is_derived(series) && text.contains("\"volume\":0,");
    (is_spoilt(world, series, open_time) && !is_sure)
        || is_flat
        || text.contains("\"missing_minutes\":")
}

fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|digit| matches!(digit, b'0' | b'.'))
}

/// After the faults everything is repaired and compared within this time: two of the longest
/// windows, and some more.
pub(crate) const PEACE: Duration = Duration::from_secs(12 * 60);

/// Source: Bybit's ban "lifts after 10 minutes" without a request.
const BAN: Duration = Duration::from_secs(10 * 60);

/// What a push may lie ahead of the wall clock, where nothing else shows the time.
const WALL_BEHIND_US: i64 = 300_000_000;

/// A candle told so long before a book ended is to be right: later nothing is corrected any more.
const SETTLED_MS: i64 = 17 * MINUTE;
