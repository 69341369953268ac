//! Writes windows as Parquet, group by group: at most [`GROUP_ROWS`] rows are held.

use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::ledger::StoredWindow;
use crate::market::{Candle, Decimal, Instrument, VolumeUnit};

use super::line::Line;
use super::output::Output;

/// Takes windows, and writes a group of rows whenever there are enough.
pub(super) struct ParquetWriter {
    writer: SerializedFileWriter<Output>,
    /// Each with the number of its instrument.
    rows: Vec<(usize, StoredWindow)>,
    instruments: Vec<Instrument>,
}

impl ParquetWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// The output takes nothing.
    pub(super) fn new(output: Output) -> io::Result<Self> {
        let schema = parse_message_type(&schema()).map_err(in_io)?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(in_io)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("connector-wss ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(output, Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(in_io)?;
        Ok(Self { writer, rows: Vec::new(), instruments: Vec::new() })
    }

    /// Takes a window that is known.
    ///
    /// # Errors
    /// The output does not take the group.
    pub(super) fn put(&mut self, instrument: &Instrument, stored: &StoredWindow) -> io::Result<()> {
        if self.instruments.last() != Some(instrument) {
            self.instruments.push(instrument.clone());
        }
        self.rows.push((self.instruments.len() - 1, *stored));
        if self.rows.len() < GROUP_ROWS {
            return Ok(());
        }
        self.write_group().map_err(in_io)
    }

    /// Writes the rest and the file's end.
    ///
    /// # Errors
    /// The output does not take it.
    pub(super) fn finish(mut self) -> io::Result<Output> {
        if !self.rows.is_empty() {
            self.write_group().map_err(in_io)?;
        }
        self.writer.into_inner().map_err(in_io)
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let Self { writer, rows, instruments } = self;
        let mut lines = Vec::with_capacity(rows.len());
        lines.extend(rows.iter().filter_map(|(at, row)| Line::known(&instruments[*at], row)));
        let mut group = writer.next_row_group()?;
        for (_, column) in COLUMNS {
            let Some(mut writer) = group.next_column()? else { break };
            write_column(writer.untyped(), column, &lines)?;
            writer.close()?;
        }
        group.close()?;
        rows.clear();
        instruments.clear();
        Ok(())
    }
}

fn write_column(
    writer: &mut ColumnWriter<'_>,
    column: &Column,
    lines: &[Line<'_>],
) -> Result<(), ParquetError> {
    let mut levels = Vec::with_capacity(lines.len());
    match (column, writer) {
        (Column::Name(value), ColumnWriter::ByteArrayColumnWriter(writer)) => {
            let values: Vec<ByteArray> = lines.iter().map(|line| value(line).into()).collect();
            writer.write_batch(&values, None, None)
        }
        (Column::Word(value), ColumnWriter::ByteArrayColumnWriter(writer)) => {
            let values = present(lines, &mut levels, |line| value(line).map(ByteArray::from));
            writer.write_batch(&values, Some(&levels), None)
        }
        (Column::Digits(value), ColumnWriter::ByteArrayColumnWriter(writer)) => {
            let text = |digits: &Decimal| ByteArray::from(digits.as_str());
            let values = present(lines, &mut levels, |line| value(line).map(text));
            writer.write_batch(&values, Some(&levels), None)
        }
        (Column::Double(value), ColumnWriter::DoubleColumnWriter(writer)) => {
            let number = |digits: &Decimal| digits.as_str().parse::<f64>().ok();
            let values = present(lines, &mut levels, |line| value(line).and_then(number));
            writer.write_batch(&values, Some(&levels), None)
        }
        (Column::Number(value) | Column::Time(value), ColumnWriter::Int64ColumnWriter(writer)) => {
            let values = present(lines, &mut levels, value);
            writer.write_batch(&values, Some(&levels), None)
        }
        _ => return Err(ParquetError::General("a column has another type than its rows".into())),
    }?;
    Ok(())
}

/// The values that are there, and for each line whether it has one.
fn present<T>(
    lines: &[Line<'_>],
    levels: &mut Vec<i16>,
    value: impl Fn(&Line<'_>) -> Option<T>,
) -> Vec<T> {
    let values = lines.iter().filter_map(|line| {
        let value = value(line);
        levels.push(i16::from(value.is_some()));
        value
    });
    values.collect()
}

/// What a column holds, and where it comes from.
enum Column {
    /// A text of every row.
    Name(for<'a> fn(&'a Line<'_>) -> &'a str),
    /// A text.
    Word(fn(&Line<'_>) -> Option<&'static str>),
    /// The exact digits of a decimal.
    Digits(for<'a> fn(&'a Line<'_>) -> Option<&'a Decimal>),
    /// The double next to a decimal.
    Double(for<'a> fn(&'a Line<'_>) -> Option<&'a Decimal>),
    /// A whole number.
    Number(fn(&Line<'_>) -> Option<i64>),
    /// Milliseconds since 1970.
    Time(fn(&Line<'_>) -> Option<i64>),
}

impl Column {
    /// Its type in a Parquet schema.
    fn declared(&self, name: &str) -> String {
        match self {
            Self::Name(_) => format!("REQUIRED BYTE_ARRAY {name} (STRING);"),
            Self::Word(_) | Self::Digits(_) => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
            Self::Double(_) => format!("OPTIONAL DOUBLE {name};"),
            Self::Number(_) => format!("OPTIONAL INT64 {name};"),
            Self::Time(_) => format!("OPTIONAL INT64 {name} (TIMESTAMP(MILLIS,true));"),
        }
    }
}

fn schema() -> String {
    let columns = COLUMNS.iter().map(|(name, column)| column.declared(name));
    format!("message candles {{ {} }}", columns.collect::<String>())
}

fn candle<'a>(line: &'a Line<'_>) -> Option<&'a Candle> {
    line.update().map(|update| &update.candle)
}

/// The columns, in their order.
const COLUMNS: &[(&str, Column)] = &[
    ("exchange", Column::Name(|line| line.instrument.market.venue().name())),
    ("contract_type", Column::Name(|line| line.instrument.market.contract_type().name())),
    ("symbol", Column::Name(|line| &line.instrument.symbol)),
    ("interval", Column::Name(|line| line.instrument.interval.name())),
    ("kind", Column::Name(|line| line.kind.name())),
    ("open_time", Column::Time(|line| Some(line.stored.open_time.0))),
    ("close_time", Column::Time(|line| Some(line.close_time()))),
    ("open", Column::Double(|line| Some(&candle(line)?.open))),
    ("high", Column::Double(|line| Some(&candle(line)?.high))),
    ("low", Column::Double(|line| Some(&candle(line)?.low))),
    ("close", Column::Double(|line| Some(&candle(line)?.close))),
    ("volume", Column::Double(|line| line.volume().map(|(volume, _)| volume))),
    ("quote_volume", Column::Double(|line| line.amount(VolumeUnit::Quote))),
    ("contract_volume", Column::Double(|line| line.amount(VolumeUnit::Contracts))),
    ("open_text", Column::Digits(|line| Some(&candle(line)?.open))),
    ("high_text", Column::Digits(|line| Some(&candle(line)?.high))),
    ("low_text", Column::Digits(|line| Some(&candle(line)?.low))),
    ("close_text", Column::Digits(|line| Some(&candle(line)?.close))),
    ("volume_text", Column::Digits(|line| line.volume().map(|(volume, _)| volume))),
    ("quote_volume_text", Column::Digits(|line| line.amount(VolumeUnit::Quote))),
    ("contract_volume_text", Column::Digits(|line| line.amount(VolumeUnit::Contracts))),
    ("volume_unit", Column::Word(|line| line.volume().map(|(_, unit)| unit.name()))),
    ("trade_num", Column::Number(|line| line.trades().and_then(|count| count.try_into().ok()))),
    ("seq", Column::Number(|line| Some(line.seq()))),
    ("revision", Column::Number(|line| Some(line.stored.revision.into()))),
    ("source", Column::Word(|line| line.update().map(|update| update.source.name()))),
    ("final_by", Column::Word(|line| Some(line.update()?.final_by?.name()))),
    ("event_time", Column::Time(|line| Some(line.update()?.event_time?.0))),
    ("received_time", Column::Time(|line| Some(line.stored.received.0))),
    ("position", Column::Number(|line| Some(line.stored.position))),
];

/// The cause below a writer's error, if that is one of the output.
fn in_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
    }
}

/// Rows of a group, which are held until it is written: about 30 MB. Source: readers skip whole
/// groups, and DuckDB reads one on one core; a smaller one compresses less.
const GROUP_ROWS: usize = 65_536;

/// Source: the level from which on zstd gains little more.
const ZSTD_LEVEL: i32 = 3;
