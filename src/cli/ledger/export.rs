//! Runs an export: page after page out of the ledger, window after window into the sink.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::UnixMs;
use crate::config::Config;
use crate::ledger::{self, StoredWindow};
use crate::market::{ClosedWindow, Span};

use super::arguments::{ExportArguments, ExportFormat};
use super::bar::Bar;
use super::output::Output;
use super::select::{self, Chosen, select, within};
use super::sink::Sink;
use super::{Failure, Reader};

/// Writes what is asked for, and one line about it to stderr.
///
/// # Errors
/// The command line is wrong, nothing matches, or the ledger or the output fails. The output file
/// is then as it was before.
pub fn run(config: &Config, asked: &ExportArguments, stop: &AtomicBool) -> Result<(), Failure> {
    if asked.format == ExportFormat::Parquet && asked.output.is_none() {
        return Err(Failure::Usage("parquet needs a file: --output candles.parquet".to_owned()));
    }
    let reader = Reader::open(asked.ledger.as_deref(), config)?;
    let list = ledger::series(&reader.connection).map_err(|error| reader.failure(&error))?;
    for name in list.unserved {
        note(&format!("{name} is left out: this version does not serve it"));
    }
    let selected = select(list.series, asked, &reader.path)?;
    let count = selected.len();
    let chosen = within(selected, asked)?;
    let export = Export { reader, asked, stop, counts: Counts::default() };
    export.run(&chosen, count)
}

/// What was exported.
#[derive(Default)]
struct Counts {
    candles: u64,
    empty: u64,
    unknown: u64,
    first: Option<UnixMs>,
    last: Option<UnixMs>,
}

impl Counts {
    fn count(&mut self, stored: &StoredWindow) {
        match stored.window {
            Some(ClosedWindow::Candle(_)) => self.candles += 1,
            Some(ClosedWindow::Empty { .. }) => self.empty += 1,
            None => {
                self.unknown += 1;
                return;
            }
        }
        let at = stored.open_time;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(Some(at));
    }
}

struct Export<'a> {
    reader: Reader,
    asked: &'a ExportArguments,
    stop: &'a AtomicBool,
    counts: Counts,
}

impl Export<'_> {
    /// `series`: the number of series that the options name.
    fn run(mut self, chosen: &[Chosen], series: usize) -> Result<(), Failure> {
        let path = self.asked.output.as_deref();
        let shares_terminal = path.is_none() && io::stdout().is_terminal();
        let windows = |(series, span): &Chosen| span.count(series.instrument.interval);
        let mut bar = Bar::new(chosen.iter().map(windows).sum(), "windows", !shares_terminal);
        let sink = Output::begin(path)
            .and_then(|output| Sink::new(self.asked.format, series, output))
            .map_err(|error| refused(path, &error));
        let mut sink = sink?;
        for one in chosen {
            if let Err(error) = self.series(one, &mut sink, &mut bar)? {
                return self.broken(&error);
            }
        }
        bar.end();
        if self.counts.last.is_none() {
            let all: Vec<_> = chosen.iter().map(|(series, _)| series.clone()).collect();
            return Err(Failure::Failed(select::outside(&all)));
        }
        match sink.finish() {
            Ok(()) => self.summarize(chosen.len(), &bar),
            Err(error) => return self.broken(&error),
        }
        Ok(())
    }

    /// Writes one series. The inner error is one of the output.
    fn series(
        &mut self,
        (series, span): &Chosen,
        sink: &mut Sink,
        bar: &mut Bar,
    ) -> Result<io::Result<()>, Failure> {
        let interval = series.instrument.interval;
        let mut from = span.first;
        while from <= span.last {
            if self.stop.load(Ordering::Relaxed) {
                let kept = self.asked.output.as_ref().map_or("", |_| "; the file is as before");
                return Err(Failure::Failed(format!("stopped by a signal{kept}")));
            }
            let rest = Span { first: from, ..*span };
            let page = series.windows(&self.reader.connection, rest, PAGE);
            let page = page.map_err(|error| self.reader.failure(&error))?;
            for stored in &page {
                self.counts.count(stored);
                if let Err(error) = sink.put(&series.instrument, stored) {
                    return Ok(Err(error));
                }
            }
            let is_full = i64::try_from(page.len()).is_ok_and(|length| length == PAGE);
            let end = page.last().filter(|_| is_full).map_or(span.last, |last| last.open_time);
            bar.advance(Span { first: from, last: end.max(from) }.count(interval));
            from = UnixMs(end.0 + interval.ms());
        }
        Ok(Ok(()))
    }

    /// What an error of the output means. A reader of the first lines only has them.
    fn broken(&self, error: &io::Error) -> Result<(), Failure> {
        let path = self.asked.output.as_deref();
        match (path, error.kind()) {
            (None, io::ErrorKind::BrokenPipe) => Ok(()),
            _ => Err(refused(path, error)),
        }
    }

    fn summarize(&self, series: usize, bar: &Bar) {
        let Counts { candles, empty, unknown, first, last } = &self.counts;
        let (Some(first), Some(last)) = (first, last) else { return };
        let mut line = format!("{candles} candles of {series} series from {first} to {last}");
        match (empty, self.asked.format) {
            (0, _) => {}
            (_, ExportFormat::Csv) => {
                line += &format!(", without {empty} empty windows (nothing was traded)");
            }
            _ => line += &format!(", and {empty} empty windows (nothing was traded)"),
        }
        if *unknown > 0 {
            line += &format!(", without {unknown} lost windows (unknown)");
        }
        if let Some(path) = &self.asked.output {
            let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
            line += &format!(": {}, {bytes} bytes", path.display());
        }
        note(&format!("{line}, in {:.1} s", bar.elapsed().as_secs_f64()));
    }
}

fn refused(path: Option<&Path>, error: &io::Error) -> Failure {
    let name = path.map_or("stdout".to_owned(), |path| path.display().to_string());
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room, or write to another disk"
        }
        io::ErrorKind::NotFound => "; its folder must exist",
        _ => "",
    };
    let kept = path.filter(|path| path.is_file()).map_or("", |_| "; the file is as before");
    Failure::Failed(format!("{name} cannot be written: {error}{advice}{kept}"))
}

fn note(words: &str) {
    let _written = writeln!(io::stderr(), "connector-cli: {words}");
}

/// Windows that are read at once, and held: about 3 MB. Source: SQLite reads them within some
/// hundredths of a second, for which a server's write-ahead log can wait.
const PAGE: i64 = 10_000;
