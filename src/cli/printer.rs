//! Updates on stdout: a table for people, the server's messages for programs, CSV for tables. Owns
//! the columns; decides nothing.

use std::io::{self, BufWriter, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use crate::clock::UnixMs;

use super::arguments::Format;
use super::message::{Candle, Message};

/// Writes updates.
pub(super) struct Printer {
    format: Format,
    out: Box<dyn Write>,
    is_begun: bool,
}

impl Printer {
    /// To stdout, as `format` says; without one, a table on a terminal and JSON elsewhere.
    pub(super) fn stdout(format: Option<Format>) -> Self {
        let usual = if io::stdout().is_terminal() { Format::Table } else { Format::Json };
        let format = format.unwrap_or(usual);
        let out: Box<dyn Write> = match format {
            // No colours if the output is not a terminal, or if `NO_COLOR` is set.
            Format::Table => Box::new(anstream::AutoStream::auto(io::stdout())),
            Format::Json | Format::Csv => Box::new(BufWriter::new(io::stdout())),
        };
        Self { format, out, is_begun: false }
    }

    /// The lines before the first update.
    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_begun, true) {
            return Ok(());
        }
        match self.format {
            Format::Json => Ok(()),
            Format::Csv => self.record(&CSV_COLUMNS),
            Format::Table => {
                let (bold, end) = (Style::new().bold(), anstyle::Reset);
                writeln!(
                    self.out,
                    "{bold}{:<12}  {:<14} {:>9} {:>12} {:>12} {:>12} {:>12} {:>14} {:>7}  state{end}",
                    "time", "symbol", "window", "open", "high", "low", "close", "volume", "trades",
                )
            }
        }
    }

    /// A `quote` or a `correction`.
    pub(super) fn candle(&mut self, text: &str) -> io::Result<()> {
        self.begin()?;
        if self.format == Format::Json {
            return writeln!(self.out, "{text}");
        }
        let candle: Candle<'_> = serde_json::from_str(text)?;
        match self.format {
            Format::Csv => self.record(&csv_fields(&candle)),
            Format::Table | Format::Json => self.row(&candle),
        }
    }

    /// A `gap` or an `empty`: no candle, but part of the truth. CSV has no row for it: returns
    /// `false`, and the caller reports it.
    pub(super) fn gap(&mut self, text: &str, message: &Message<'_>) -> io::Result<bool> {
        self.begin()?;
        match self.format {
            Format::Csv => return Ok(false),
            Format::Json => writeln!(self.out, "{text}")?,
            Format::Table => {
                let (style, end) = (AnsiColor::Yellow.on_default(), anstyle::Reset);
                writeln!(self.out, "{style}{}{end}", gap_words(message))?;
            }
        }
        Ok(true)
    }

    /// Everything so far is on its way.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn record<T: AsRef<[u8]>>(&mut self, fields: &[T]) -> io::Result<()> {
        let mut line = csv::Writer::from_writer(Vec::new());
        line.write_record(fields)?;
        let line = line.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        self.out.write_all(&line)
    }

    fn row(&mut self, candle: &Candle<'_>) -> io::Result<()> {
        let number = |raw: &serde_json::value::RawValue| raw.get().parse().unwrap_or(0.0f64);
        let colour = match number(candle.close) < number(candle.open) {
            true => AnsiColor::Red.on_default(),
            false => AnsiColor::Green.on_default(),
        };
        let closed = if candle.is_closed_candle { Style::new().bold() } else { Style::new() };
        let end = anstyle::Reset;
        let (time, window) = (part(&candle.current_time, 11..23), clock_time(candle.open_time));
        writeln!(
            self.out,
            "{time:<12}  {closed}{:<14}{end} {:>3} {window:<5} {:>12} {:>12} {:>12} {colour}{:>12}{end} {:>14} {:>7}  {closed}{}{end}",
            candle.symbol,
            candle.interval,
            candle.open.get(),
            candle.high.get(),
            candle.low.get(),
            candle.close.get(),
            candle.volume.get(),
            candle.trade_num,
            state(candle),
        )
    }
}

/// The text for missing windows.
pub(super) fn gap_words(message: &Message<'_>) -> String {
    let symbol = message.symbol.as_deref().unwrap_or("?");
    let interval = message.interval.as_deref().unwrap_or("?");
    match (message.kind.as_ref(), message.from, message.open_time) {
        ("gap", Some(from), _) => {
            let reason = message.reason.as_deref().unwrap_or("not_received").replace('_', " ");
            let count = message.count.unwrap_or(1);
            format!("gap: {count} windows of {symbol} {interval} from {} ({reason})", UnixMs(from))
        }
        (_, _, Some(open_time)) => {
            format!("empty: nothing was traded of {symbol} {interval} at {}", UnixMs(open_time))
        }
        (kind, ..) => format!("{kind}: {symbol} {interval}"),
    }
}

fn state(candle: &Candle<'_>) -> String {
    let mut words = match (candle.is_closed_candle, &candle.final_by) {
        (true, Some(final_by)) => format!("closed by {final_by}"),
        (true, None) => "closed".to_owned(),
        (false, _) => "open".to_owned(),
    };
    if candle.kind != "quote" {
        words += &format!(", {} {}", candle.kind, candle.revision);
    }
    if let Some(missing) = candle.missing_minutes {
        words += &format!(", {missing} min missing");
    }
    words
}

/// `12:34` of the day in UTC.
fn clock_time(at_ms: i64) -> String {
    part(&UnixMs(at_ms).to_string(), 11..16).to_owned()
}

fn part(text: &str, range: std::ops::Range<usize>) -> &str {
    text.get(range).unwrap_or(text)
}

const CSV_COLUMNS: [&str; 24] = [
    "type",
    "current_time",
    "timestamp",
    "exchange",
    "symbol",
    "contract_type",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "trade_num",
    "is_closed_candle",
    "interval",
    "open_time",
    "close_time",
    "seq",
    "revision",
    "source",
    "final_by",
    "volume_unit",
    "quote_volume",
    "missing_minutes",
    "contract_volume",
];

/// As [`CSV_COLUMNS`] names them.
fn csv_fields(candle: &Candle<'_>) -> [String; CSV_COLUMNS.len()] {
    let text = |text: &str| text.to_owned();
    [
        text(&candle.kind),
        text(&candle.current_time),
        text(&candle.timestamp),
        text(&candle.exchange),
        text(&candle.symbol),
        text(&candle.contract_type),
        text(candle.open.get()),
        text(candle.high.get()),
        text(candle.low.get()),
        text(candle.close.get()),
        text(candle.volume.get()),
        candle.trade_num.to_string(),
        candle.is_closed_candle.to_string(),
        text(&candle.interval),
        candle.open_time.to_string(),
        candle.close_time.to_string(),
        candle.seq.to_string(),
        candle.revision.to_string(),
        text(&candle.source),
        text(candle.final_by.as_deref().unwrap_or_default()),
        text(&candle.volume_unit),
        text(candle.quote_volume.map_or("", |raw| raw.get())),
        candle.missing_minutes.map_or(String::new(), |missing| missing.to_string()),
        text(candle.contract_volume.map_or("", |raw| raw.get())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: &str = r#"{"type":"quote","current_time":"2026-01-31T12:34:56.789000+00:00","timestamp":"2026-01-31T12:34:56.700+00:00","exchange":"binance","symbol":"A,B","contract_type":"spot","open":0.10,"high":12345678901234567890.5,"low":0.1,"close":0.3,"volume":7,"trade_num":3,"is_closed_candle":true,"interval":"1m","open_time":60000,"close_time":119999,"seq":1,"revision":0,"source":"ws","final_by":"flag","volume_unit":"base","quote_volume":1.5}"#;

    #[test]
    fn csv_keeps_every_digit_and_quotes_what_needs_it() {
        let candle: Candle<'_> = serde_json::from_str(QUOTE).unwrap();
        let fields = csv_fields(&candle);
        assert_eq!(fields[6], "0.10");
        assert_eq!(fields[7], "12345678901234567890.5");
        let mut line = csv::Writer::from_writer(Vec::new());
        line.write_record(&fields).unwrap();
        let line = String::from_utf8(line.into_inner().unwrap()).unwrap();
        assert!(line.contains("\"A,B\"") && line.ends_with(",1.5,,\n"), "{line}");
    }

    #[test]
    fn the_state_says_by_what_a_candle_is_closed() {
        let candle: Candle<'_> = serde_json::from_str(QUOTE).unwrap();
        assert_eq!(state(&candle), "closed by flag");
        assert_eq!(clock_time(candle.open_time), "00:01");
    }
}
