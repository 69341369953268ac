//! Writes windows as CSV or JSON lines, or hands them to the Parquet writer.

use std::io::{self, BufWriter, Write};

use crate::ledger::StoredWindow;
use crate::market::{Decimal, Instrument, VolumeUnit};

use super::arguments::ExportFormat;
use super::line::{JsonLine, Line};
use super::output::Output;
use super::parquet::ParquetWriter;

/// Takes windows.
// There is one.
#[allow(clippy::large_enum_variant)]
pub(super) enum Sink {
    Csv {
        out: csv::Writer<Output>,
        /// The names of the series come first.
        is_named: bool,
        /// The header is written.
        is_begun: bool,
    },
    Jsonl(BufWriter<Output>),
    Parquet(Box<ParquetWriter>),
}

impl Sink {
    /// A sink for several series, or for one. Nothing is written before the first window.
    ///
    /// # Errors
    /// The output takes nothing.
    pub(super) fn new(format: ExportFormat, series: usize, output: Output) -> io::Result<Self> {
        Ok(match format {
            ExportFormat::Csv => {
                let out = csv::Writer::from_writer(output);
                Self::Csv { out, is_named: series > 1, is_begun: false }
            }
            ExportFormat::Jsonl => Self::Jsonl(BufWriter::new(output)),
            ExportFormat::Parquet => Self::Parquet(Box::new(ParquetWriter::new(output)?)),
        })
    }

    /// Takes one window.
    ///
    /// # Errors
    /// The output does not take it.
    pub(super) fn put(&mut self, instrument: &Instrument, stored: &StoredWindow) -> io::Result<()> {
        let Some(line) = Line::known(instrument, stored) else { return Ok(()) };
        match self {
            Self::Csv { out, is_named, is_begun } => {
                if !std::mem::replace(is_begun, true) {
                    let names = if *is_named { &NAMES[..] } else { &[] };
                    out.write_record(names.iter().chain(&BINANCE_COLUMNS))?;
                }
                write_csv(out, line, *is_named)
            }
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, &JsonLine::new(line)?)?;
                out.write_all(b"\n")
            }
            Self::Parquet(writer) => writer.put(instrument, stored),
        }
    }

    /// Everything is written.
    ///
    /// # Errors
    /// The output does not take the rest.
    pub(super) fn finish(self) -> io::Result<()> {
        let output = match self {
            Self::Csv { out, .. } => out.into_inner().map_err(csv::IntoInnerError::into_error)?,
            Self::Jsonl(out) => out.into_inner().map_err(io::IntoInnerError::into_error)?,
            Self::Parquet(writer) => writer.finish()?,
        };
        output.finish()
    }
}

/// An empty window has no row.
fn write_csv(out: &mut csv::Writer<Output>, line: Line<'_>, is_named: bool) -> io::Result<()> {
    let Some(update) = line.update() else { return Ok(()) };
    let Line { instrument, stored, .. } = line;
    if is_named {
        let row = instrument.market.row();
        out.write_field(row.venue.name())?;
        out.write_field(row.contract_type.name())?;
        out.write_field(&*instrument.symbol)?;
        out.write_field(instrument.interval.name())?;
    }
    let candle = &update.candle;
    out.write_field(stored.open_time.0.to_string())?;
    for price in [&candle.open, &candle.high, &candle.low, &candle.close] {
        out.write_field(price.as_str())?;
    }
    let digits = |number: Option<&Decimal>| number.map_or("", Decimal::as_str).to_owned();
    out.write_field(digits(line.volume().map(|(volume, _)| volume)))?;
    out.write_field(line.close_time().to_string())?;
    out.write_field(digits(line.amount(VolumeUnit::Quote)))?;
    out.write_field(line.trades().map_or(String::new(), |count| count.to_string()))?;
    // The taker's volumes are not known; the last column means nothing.
    for unknown in ["", "", ""] {
        out.write_field(unknown)?;
    }
    out.write_record(None::<&[u8]>)?;
    Ok(())
}

/// The columns of Binance's public data files. Source: the header of
/// `futures/um/daily/klines/*/1m/*.csv` on data.binance.vision, and the table "Klines" of
/// binance-public-data/README.md; the files of spot have the same columns without a header.
const BINANCE_COLUMNS: [&str; 12] = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
];

/// What names a series.
const NAMES: [&str; 4] = ["exchange", "contract_type", "symbol", "interval"];
