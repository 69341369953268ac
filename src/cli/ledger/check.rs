//! Whether a ledger is sound, what it has, and what it lacks. Windows that are absent or lost are
//! no fault of the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};

use crate::clock::UnixMs;
use crate::config::Config;
use crate::ledger::{self, Extent, LedgerError, StoredSeries};
use crate::market::Span;

use super::arguments::CheckArguments;
use super::bar::Bar;
use super::select::name;
use super::{Failure, Reader};

/// Writes what was found. Returns whether the file is sound.
///
/// # Errors
/// The file cannot be opened or read.
pub fn run(config: &Config, asked: &CheckArguments) -> Result<bool, Failure> {
    let reader = Reader::open(asked.file.as_deref(), config)?;
    if let Err(damage) = ledger::check(&reader.connection) {
        return Err(Failure::Failed(format!(
            "the ledger {}: {damage}. A server that starts with it sets it aside and begins a new \
             one; what can be read of it, connector-cli export still writes",
            reader.path.display()
        )));
    }
    let check = Check { reader, is_verbose: asked.verbose };
    match check.run() {
        Ok(is_sound) => Ok(is_sound),
        Err(Trouble::Ledger(error)) => Err(check.reader.failure(&error)),
        // A reader of the first lines only has closed the pipe: that is no error of ours.
        Err(Trouble::Stdout) => Ok(true),
    }
}

/// Why a check has ended early.
enum Trouble {
    Ledger(LedgerError),
    Stdout,
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Stdout
    }
}

struct Check {
    reader: Reader,
    is_verbose: bool,
}

/// What a series lacks between its first and its last window.
#[derive(Default)]
struct Absent {
    windows: u64,
    ranges: u64,
    longest: Option<Span>,
}

impl Check {
    fn run(&self) -> Result<bool, Trouble> {
        let mut out = io::stdout().lock();
        let extent = ledger::extent(&self.reader.connection)?;
        self.write_sizes(&mut out, extent)?;
        let list = ledger::series(&self.reader.connection)?;
        let first = list.series.iter().map(|series| series.span.first).min();
        let last = list.series.iter().map(|series| series.span.last).max();
        if let (Some(first), Some(last)) = (first, last) {
            let count = list.series.len();
            writeln!(out, "  {count} series with windows from {first} to {last}")?;
        }
        for name in &list.unserved {
            writeln!(out, "  {name}: this version does not serve it")?;
        }
        let is_sensible = self.rows(&mut out, extent)?;
        self.absent_windows(&mut out, &list.series)?;
        let verdict = if is_sensible { "the file is sound" } else { "the file is NOT sound" };
        writeln!(out, "{verdict}")?;
        Ok(is_sensible)
    }

    fn write_sizes(&self, out: &mut impl Write, extent: Extent) -> Result<(), Trouble> {
        let path = &self.reader.path;
        let bytes = |suffix: &str| {
            let mut name = OsString::from(path);
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |file| file.len())
        };
        writeln!(out, "{}", path.display())?;
        writeln!(out, "  quick_check ok, schema version {}", extent.schema)?;
        writeln!(
            out,
            "  {} bytes of data, {} bytes to be used again; file {} bytes, write-ahead log {} bytes",
            extent.data_bytes,
            extent.free_bytes,
            bytes(""),
            bytes("-wal")
        )?;
        Ok(())
    }

    /// Reads every row once. Returns whether each makes sense.
    fn rows(&self, out: &mut impl Write, extent: Extent) -> Result<bool, Trouble> {
        let total = extent.last.saturating_sub(extent.first).saturating_add(1).max(0);
        let mut bar = Bar::new(total.unsigned_abs(), "rows", true);
        let (mut rows, mut senseless, mut after) = (0, 0_u64, extent.first - 1);
        let mut lost: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            let page = ledger::scan(&self.reader.connection, after, PAGE)?;
            rows += page.rows;
            for position in page.senseless {
                senseless += 1;
                if senseless <= LISTED_MAX || self.is_verbose {
                    writeln!(out, "  WRONG: row {position} makes no sense")?;
                }
            }
            for (name, at) in page.lost {
                if self.is_verbose {
                    writeln!(out, "  lost: {name} {at}")?;
                }
                *lost.entry(name).or_default() += 1;
            }
            let Some(last) = page.last else { break };
            bar.advance((last - after).unsigned_abs());
            after = last;
        }
        bar.end();
        writeln!(out, "  {rows} rows, {senseless} of them make no sense")?;
        write_lost(out, &lost)?;
        Ok(senseless == 0)
    }

    fn absent_windows(&self, out: &mut impl Write, list: &[StoredSeries]) -> Result<(), Trouble> {
        let (mut windows, mut lacking) = (0, 0_u64);
        for series in list {
            let absent = self.absent(out, series)?;
            let Some(longest) = absent.longest else { continue };
            windows += absent.windows;
            lacking += 1;
            if lacking <= LISTED_MAX || self.is_verbose {
                writeln!(
                    out,
                    "  {}: {} absent windows in {} ranges, the longest from {} to {}",
                    name(&series.instrument),
                    absent.windows,
                    absent.ranges,
                    longest.first,
                    longest.last
                )?;
            }
        }
        if let Some(more @ 1..) = lacking.checked_sub(LISTED_MAX).filter(|_| !self.is_verbose) {
            writeln!(out, "  and {more} more series (--verbose lists all)")?;
        }
        writeln!(out, "  {windows} absent windows in {lacking} of {} series", list.len())?;
        Ok(())
    }

    fn absent(&self, out: &mut impl Write, series: &StoredSeries) -> Result<Absent, Trouble> {
        let interval = series.instrument.interval;
        let mut absent = Absent::default();
        let mut expected = series.span.first;
        loop {
            let rest = Span { first: expected, last: series.span.last };
            let page = series.open_times(&self.reader.connection, rest, PAGE)?;
            let is_full = i64::try_from(page.len()).is_ok_and(|length| length == PAGE);
            for at in page {
                if at > expected {
                    let last = UnixMs(at.0 - interval.ms());
                    let range = Span { first: expected, last };
                    absent.add(range, range.count(interval));
                    if self.is_verbose {
                        let count = range.count(interval);
                        let of = name(&series.instrument);
                        writeln!(out, "  absent: {of} {expected} to {last}, {count} windows")?;
                    }
                }
                expected = UnixMs(at.0 + interval.ms());
            }
            if !is_full || expected > series.span.last {
                return Ok(absent);
            }
        }
    }
}

impl Absent {
    fn add(&mut self, range: Span, count: u64) {
        self.windows += count;
        self.ranges += 1;
        let length = |range: Span| range.last.0 - range.first.0;
        if self.longest.is_none_or(|longest| length(range) > length(longest)) {
            self.longest = Some(range);
        }
    }
}

fn write_lost(out: &mut impl Write, lost: &BTreeMap<String, u64>) -> Result<(), Trouble> {
    let most = usize::try_from(LISTED_MAX).unwrap_or(usize::MAX);
    for (name, count) in lost.iter().take(most) {
        writeln!(out, "  {name}: {count} lost windows")?;
    }
    if let Some(more @ 1..) = lost.len().checked_sub(most) {
        writeln!(out, "  and {more} more series with lost windows")?;
    }
    writeln!(out, "  {} lost windows in {} series", lost.values().sum::<u64>(), lost.len())?;
    Ok(())
}

/// Rows or windows that are read at once. Source: as in an export.
const PAGE: i64 = 10_000;

/// Series and rows that are named without `--verbose`.
const LISTED_MAX: u64 = 20;
