//! Everything that is known of one window, in sentences or as one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use crate::clock::{Clock, UnixMs};
use crate::config::Config;
use crate::ledger::{self, Explained, Kind, StoredSeries, StoredWindow};
use crate::market::{Candle, CandleUpdate, Instrument, Market, VolumeUnit};

use super::arguments::ExplainArguments;
use super::line::{JsonLine, Line};
use super::select::{is_symbol, listed, name};
use super::state::{State, evidence, origin};
use super::{Failure, Reader};
use crate::cli::arguments::{find_interval, find_venue};
use crate::cli::hints::did_you_mean;

/// Writes what is known. Returns whether the window is known.
///
/// # Errors
/// The command line is wrong, there is no such series, or the ledger cannot be read.
pub fn run(config: &Config, asked: &ExplainArguments) -> Result<bool, Failure> {
    let market = market(asked)?;
    let interval = find_interval(&asked.interval).map_err(Failure::Usage)?;
    let reader = Reader::open(asked.ledger.as_deref(), config)?;
    let failure = |error| reader.failure(&error);
    let list = ledger::series(&reader.connection).map_err(failure)?.series;
    let is_it = |series: &&StoredSeries| {
        let Instrument { market: its_market, interval: its_interval, .. } = series.instrument;
        its_market == market
            && its_interval == interval
            && is_symbol(&series.instrument, &asked.symbol)
    };
    let series = list.iter().find(is_it).ok_or_else(|| {
        no_series(&list, market, &format!("{market} {} {}", asked.symbol, interval.name()))
    })?;
    let open_time = interval.open_time(asked.time);
    let revisions = ledger::explain(&reader.connection, &series.instrument, open_time);
    let revisions = revisions.map_err(failure)?;
    let (before, after) = series.nearest(&reader.connection, open_time).map_err(failure)?;
    let known = Known { asked: asked.time, series, open_time, revisions, before, after };
    // A reader of the first lines only has closed the pipe: that is no error of ours.
    let _written = match asked.json {
        true => known.write_json(),
        false => known.write_text(Clock::new().now().unix_ms()),
    };
    Ok(known.state().is_known())
}

fn market(asked: &ExplainArguments) -> Result<Market, Failure> {
    let venue = find_venue(&asked.exchange).map_err(Failure::Usage)?;
    Market::find(venue, &asked.contract_type).ok_or_else(|| {
        let names: Vec<&str> =
            Market::of(venue).map(|market| market.contract_type().name()).collect();
        let near = did_you_mean(&asked.contract_type, &names);
        Failure::Usage(format!(
            "unknown contract type {:?} of {}; allowed: {}{near}",
            asked.contract_type,
            venue.name(),
            names.join(", ")
        ))
    })
}

fn no_series(list: &[StoredSeries], market: Market, wanted: &str) -> Failure {
    let names: Vec<String> = list.iter().map(|series| name(&series.instrument)).collect();
    let near = did_you_mean(wanted, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let (same, others): (Vec<_>, Vec<_>) =
        list.iter().partition(|series| series.instrument.market == market);
    let all: Vec<&StoredSeries> = same.into_iter().chain(others).collect();
    Failure::Failed(format!("the ledger has no series {wanted}{near}. {}", listed(&all)))
}

struct Known<'a> {
    /// The time that was asked for.
    asked: UnixMs,
    series: &'a StoredSeries,
    open_time: UnixMs,
    revisions: Explained,
    /// The nearest stored windows.
    before: Option<StoredWindow>,
    after: Option<StoredWindow>,
}

impl Known<'_> {
    fn state(&self) -> State {
        State::of(self.revisions.last().map(|(_, stored)| stored))
    }

    /// The window `steps` windows later, if it is stored.
    fn neighbour(&self, steps: i64) -> (UnixMs, State) {
        let at = UnixMs(self.open_time.0 + steps * self.series.instrument.interval.ms());
        let nearest = if steps < 0 { &self.before } else { &self.after };
        (at, State::of(nearest.as_ref().filter(|stored| stored.open_time == at)))
    }

    fn write_text(&self, now: UnixMs) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let instrument = &self.series.instrument;
        let interval = instrument.interval;
        let end = interval.close_time(self.open_time);
        writeln!(out, "{}: the window from {} to {end}", name(instrument), self.open_time)?;
        writeln!(out, "  number (seq) {}", interval.seq(self.open_time))?;
        if self.asked != self.open_time {
            writeln!(out, "  {} lies in it", self.asked)?;
        }
        writeln!(out, "  {}", self.state().words())?;
        if end >= now {
            writeln!(out, "  it is not over yet: only closed windows are stored")?;
        }
        for (at, (kind, stored)) in self.revisions.iter().enumerate().rev() {
            let is_newest = at + 1 == self.revisions.len();
            writeln!(out)?;
            let newest = if is_newest { ", the newest" } else { ", replaced" };
            writeln!(out, "revision {}{newest}", stored.revision)?;
            let older = at.checked_sub(1).map(|at| &self.revisions[at].1);
            self.write_revision(&mut out, Line { instrument, kind: *kind, stored }, older)?;
        }
        writeln!(out)?;
        self.write_neighbour(&mut out, "before", -1, self.before.as_ref())?;
        self.write_neighbour(&mut out, "after", 1, self.after.as_ref())?;
        let span = self.series.span;
        writeln!(out, "the series has windows from {} to {}", span.first, span.last)
    }

    fn write_revision(
        &self,
        out: &mut impl Write,
        line: Line<'_>,
        older: Option<&StoredWindow>,
    ) -> io::Result<()> {
        let stored = line.stored;
        match (line.update(), line.kind) {
            (Some(update), _) => write_candle(out, line, update)?,
            (None, Kind::Candle) => writeln!(out, "  its row makes no sense: it is unknown")?,
            (None, Kind::Empty) => writeln!(out, "  {}", State::Empty.words())?,
            (None, Kind::Lost) => writeln!(out, "  {}", State::Lost.words())?,
        }
        let after = stored.received.0 - line.close_time() - 1;
        let when = match after {
            0.. => format!("{} after the window's end", seconds(after)),
            _ => format!("{} before the window's end", seconds(-after)),
        };
        writeln!(out, "  received {}, {when}; row {}", stored.received, stored.position)?;
        if !stored.is_verified {
            writeln!(out, "  not confirmed yet by the exchange's REST rows")?;
        }
        let older = older.and_then(|older| Line::known(line.instrument, older)?.update());
        match (older, line.update()) {
            (Some(old), Some(new)) => {
                writeln!(out, "  changed: {}", changes(&old.candle, &new.candle))
            }
            _ => Ok(()),
        }
    }

    fn write_neighbour(
        &self,
        out: &mut impl Write,
        side: &str,
        steps: i64,
        nearest: Option<&StoredWindow>,
    ) -> io::Result<()> {
        let (at, state) = self.neighbour(steps);
        write!(out, "the window {side}, {at}: {}", state.words())?;
        match (state, nearest) {
            (State::Absent, Some(nearest)) => {
                writeln!(out, "; the nearest stored one {side} is {}", nearest.open_time)
            }
            (State::Absent, None) => writeln!(out, "; none is stored {side}"),
            _ => writeln!(out),
        }
    }

    fn write_json(&self) -> io::Result<()> {
        let instrument = &self.series.instrument;
        let revisions: serde_json::Result<Vec<_>> = self
            .revisions
            .iter()
            .map(|(kind, stored)| JsonLine::new(Line { instrument, kind: *kind, stored }))
            .collect();
        let neighbour = |steps| {
            let (open_time, state) = self.neighbour(steps);
            Neighbour { open_time: open_time.0, state }
        };
        let opens = |stored: &Option<StoredWindow>| stored.map(|stored| stored.open_time.0);
        let report = Report {
            exchange: instrument.market.venue().name(),
            contract_type: instrument.market.contract_type().name(),
            symbol: &instrument.symbol,
            interval: instrument.interval.name(),
            asked_time: self.asked.0,
            open_time: self.open_time.0,
            close_time: instrument.interval.close_time(self.open_time).0,
            seq: instrument.interval.seq(self.open_time),
            state: self.state(),
            known: self.state().is_known(),
            revisions: revisions?,
            before: neighbour(-1),
            after: neighbour(1),
            nearest_before: opens(&self.before),
            nearest_after: opens(&self.after),
            stored_from: self.series.span.first.0,
            stored_to: self.series.span.last.0,
        };
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    exchange: &'static str,
    contract_type: &'static str,
    symbol: &'a str,
    interval: &'static str,
    asked_time: i64,
    open_time: i64,
    close_time: i64,
    seq: i64,
    state: State,
    known: bool,
    /// The oldest first.
    revisions: Vec<JsonLine<'a>>,
    before: Neighbour,
    after: Neighbour,
    /// Open times of the nearest stored windows.
    nearest_before: Option<i64>,
    nearest_after: Option<i64>,
    /// Open times of the first and the last stored window of the series.
    stored_from: i64,
    stored_to: i64,
}

#[derive(Serialize)]
struct Neighbour {
    open_time: i64,
    state: State,
}

fn write_candle(out: &mut impl Write, line: Line<'_>, update: &CandleUpdate) -> io::Result<()> {
    let Candle { open, high, low, close, .. } = &update.candle;
    writeln!(
        out,
        "  open {}, high {}, low {}, close {}",
        open.as_str(),
        high.as_str(),
        low.as_str(),
        close.as_str()
    )?;
    let units = [VolumeUnit::Base, VolumeUnit::Quote, VolumeUnit::Contracts];
    let amounts = units.into_iter().filter_map(|unit| {
        let word = match unit {
            VolumeUnit::Base => "of the base asset",
            VolumeUnit::Quote => "of the quote asset",
            VolumeUnit::Contracts => "contracts",
        };
        line.amount(unit).map(|amount| format!("{} {word}", amount.as_str()))
    });
    let trades = match line.trades() {
        Some(count) => format!("{count} trades"),
        None => "trades not counted by the exchange".to_owned(),
    };
    writeln!(out, "  volume {}; {trades}", amounts.collect::<Vec<_>>().join(", "))?;
    let by = update.final_by.map_or("", evidence);
    writeln!(out, "  closed by {by}; {}", origin(update.source))?;
    match update.event_time {
        Some(at) => writeln!(out, "  the exchange's time of it {at}"),
        None => writeln!(out, "  the exchange gave no time of it"),
    }
}

/// `close 1 -> 2, trades 7 -> 8`.
fn changes(old: &Candle, new: &Candle) -> String {
    let decimals = [
        ("open", old.open, new.open),
        ("high", old.high, new.high),
        ("low", old.low, new.low),
        ("close", old.close, new.close),
        ("volume", old.volume, new.volume),
    ];
    let mut found: Vec<String> = decimals
        .iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("{what} {} -> {}", old.as_str(), new.as_str()))
        .collect();
    if old.other_volume != new.other_volume {
        let digits = |candle: &Candle| {
            candle.other_volume.map_or("unknown".to_owned(), |volume| volume.as_str().to_owned())
        };
        found.push(format!("other volume {} -> {}", digits(old), digits(new)));
    }
    if old.trades != new.trades {
        found.push(format!("trades {} -> {}", old.trades, new.trades));
    }
    if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
}

/// `0.012 s`.
fn seconds(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}
