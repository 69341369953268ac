//! Reading and writing what all dialects have in common: fields that must be there, numbers that
//! must be plain, texts in URLs.

use std::fmt::Write;
use std::time::Duration;

use crate::clock::UnixMs;
use crate::market::decimal::DecimalError;
use crate::market::{Candle, Decimal, Interval};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::Value;

use super::body::first_words;
use super::{BadRows, RestCandle, RestCandles, RestError};

type Field<'tape, 'text> = Option<Value<'tape, 'text>>;

pub(super) fn text<'text>(field: Field<'_, 'text>) -> Result<&'text str, DecodeErrorKind> {
    field.ok_or(DecodeErrorKind::MissingField)?.text().ok_or(DecodeErrorKind::BadField)
}

pub(super) fn integer(field: Field<'_, '_>) -> Result<i64, DecodeErrorKind> {
    field.ok_or(DecodeErrorKind::MissingField)?.integer().ok_or(DecodeErrorKind::BadField)
}

/// A time or a count: never negative, and small enough to be reckoned with.
pub(super) fn natural(field: Field<'_, '_>) -> Result<i64, DecodeErrorKind> {
    in_range(integer(field)?)
}

/// A time or a count in a string.
pub(super) fn natural_text(field: Field<'_, '_>) -> Result<i64, DecodeErrorKind> {
    let digits = text(field)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecodeErrorKind::BadField);
    }
    in_range(digits.parse().map_err(|_| DecodeErrorKind::BadField)?)
}

fn in_range(number: i64) -> Result<i64, DecodeErrorKind> {
    if (0..=NATURAL_MAX).contains(&number) { Ok(number) } else { Err(DecodeErrorKind::BadField) }
}

/// A price or a volume: a decimal in a string, never negative.
pub(super) fn decimal(field: Field<'_, '_>) -> Result<Decimal, DecodeErrorKind> {
    price(text(field)?)
}

/// A price or a volume, as text or as a number.
pub(super) fn decimal_or_number(field: Field<'_, '_>) -> Result<Decimal, DecodeErrorKind> {
    match field.and_then(Value::number) {
        Some(digits) => price(digits),
        None => decimal(field),
    }
}

fn price(digits: &str) -> Result<Decimal, DecodeErrorKind> {
    let decimal = Decimal::parse(digits.as_bytes()).map_err(|error| match error {
        DecimalError::Malformed => DecodeErrorKind::BadNumber,
        DecimalError::TooLong => DecodeErrorKind::NumberTooLong,
    })?;
    if decimal.is_negative() { Err(DecodeErrorKind::BadField) } else { Ok(decimal) }
}

/// The answer's JSON could not be read.
pub(super) fn no_sense(response: &RestResponse, what: &str) -> RestError {
    let words = first_words(&response.body);
    RestError::NoSense { message: format!("{what} (HTTP {}): {words:?}", response.status) }
}

/// Whether an object names something else than was asked in one of the fields `asked` (name and
/// value), as far as it has them as texts.
pub(super) fn names_other(object: Value<'_, '_>, asked: &[(&str, &str)]) -> bool {
    let mut fields = object.fields().into_iter().flatten();
    fields.any(|(key, value)| {
        let is_other = |(name, wanted): &(&str, &str)| {
            *name == key && value.text().is_some_and(|text| text != *wanted)
        };
        asked.iter().any(is_other)
    })
}

/// The answer is about something else than was asked: it proves nothing.
pub(super) fn other_asked((symbol, interval): (&str, Interval)) -> RestError {
    let message = format!("the answer is not about {symbol} {}", interval.name());
    RestError::Failed { message }
}

/// Reads the rows of an answer one by one: one that makes no sense costs only its window. Open
/// times are in units of `unit_ms`, first in a row that is an array, `t` in one that is an object.
pub(super) fn read_rows<'tape, 'text: 'tape>(
    rows: impl Iterator<Item = Value<'tape, 'text>>,
    interval: Interval,
    unit_ms: i64,
    read: impl Fn(Value<'tape, 'text>) -> Result<RestCandle, DecodeErrorKind>,
) -> Result<RestCandles, RestError> {
    let (mut candles, mut bad) = (Vec::new(), BadRows::default());
    for row in rows {
        match read(row) {
            Ok(row) => candles.push(row),
            Err(kind) => {
                if bad.count == 0 {
                    bad.first_words = format!("{}: {}", kind.label(), excerpt(row));
                }
                bad.count += 1;
                match window_of(row, interval, unit_ms) {
                    Some(open_time) => bad.windows.push(open_time),
                    None => bad.is_anywhere = true,
                }
            }
        }
    }
    if candles.is_empty() && bad.count > 0 {
        let BadRows { count, first_words, .. } = bad;
        let message = format!("none of {count} rows makes sense; the first, {first_words}");
        return Err(RestError::NoSense { message });
    }
    let candles = ascending(candles, &mut bad);
    // A window that has a good row, too, is not the one of the bad row.
    let has_row = |open_time: &UnixMs| {
        candles.binary_search_by_key(open_time, |row| row.candle.open_time).is_ok()
    };
    bad.is_anywhere |= bad.windows.iter().any(has_row);
    Ok(RestCandles { candles, server_time: None, bad })
}

/// The window of a row that makes no sense, if its open time does.
fn window_of(row: Value<'_, '_>, interval: Interval, unit_ms: i64) -> Option<UnixMs> {
    let cell = match row.elements() {
        Some(mut cells) => cells.next(),
        None => row.fields()?.find(|(key, _)| *key == "t").map(|(_, value)| value),
    };
    let time = natural(cell).or_else(|_| natural_text(cell)).ok()?;
    Some(interval.open_time(UnixMs(time.checked_mul(unit_ms)?)))
}

/// The beginning of a row, for a person.
fn excerpt(row: Value<'_, '_>) -> String {
    let mut text = String::new();
    write_excerpt(row, &mut text);
    first_words(text.as_bytes())
}

fn write_excerpt(value: Value<'_, '_>, out: &mut String) {
    let comma = |out: &mut String, at: usize| out.push_str(if at == 0 { "" } else { "," });
    if let Some(elements) = value.elements() {
        out.push('[');
        for (at, element) in elements.enumerate().take(EXCERPT_CELLS) {
            comma(out, at);
            write_excerpt(element, out);
        }
        out.push(']');
    } else if let Some(fields) = value.fields() {
        out.push('{');
        for (at, (key, field)) in fields.enumerate().take(EXCERPT_CELLS) {
            comma(out, at);
            let _ = write!(out, "\"{key}\":");
            write_excerpt(field, out);
        }
        out.push('}');
    } else if let Some(text) = value.text() {
        let _ = write!(out, "\"{}\"", &text[..text.floor_char_boundary(EXCERPT_BYTES)]);
    } else if let Some(number) = value.integer() {
        let _ = write!(out, "{number}");
    } else if let Some(flag) = value.boolean() {
        let _ = write!(out, "{flag}");
    } else {
        out.push_str(if value.is_null() { "null" } else { "(a fraction as a number)" });
    }
}

/// The pause until `reset_ms`, if so few requests remain.
pub(super) fn pause_if_few(remain: i64, reset_ms: i64, now: UnixMs) -> Option<Duration> {
    let left_ms = reset_ms.saturating_sub(now.0).clamp(0, RESET_MS_MAX);
    (remain <= REMAIN_MIN).then(|| Duration::from_millis(left_ms.unsigned_abs() + 500))
}

/// Ascending by open time. A window whose rows differ has none that makes sense.
fn ascending(mut candles: Vec<RestCandle>, bad: &mut BadRows) -> Vec<RestCandle> {
    candles.sort_by_key(|row| row.candle.open_time);
    candles.dedup();
    let is_same_window =
        |one: &RestCandle, next: &RestCandle| one.candle.open_time == next.candle.open_time;
    let mut one_each = Vec::with_capacity(candles.len());
    for rows in candles.chunk_by(is_same_window) {
        if let [row] = rows {
            one_each.push(*row);
            continue;
        }
        let open_time = rows[0].candle.open_time;
        if bad.count == 0 {
            bad.first_words = format!("two rows of {} differ", open_time.0);
        }
        bad.count += rows.len();
        bad.windows.push(open_time);
    }
    one_each
}

/// A hash of the newest candle with trades: another one once there were more. 0 without any: that
/// a minute has passed in which nothing was traded is no news.
pub(super) fn fingerprint(candles: &[RestCandle]) -> u64 {
    let traded = |row: &&RestCandle| row.candle.volume != Decimal::ZERO;
    let Some(newest) = candles.iter().rev().find(traded) else { return 0 };
    let Candle { open_time, open, high, low, close, volume, other_volume, trades } = &newest.candle;
    let times = [open_time.0.to_le_bytes(), trades.to_le_bytes()];
    let digits = [open, high, low, close, volume].map(Decimal::as_bytes);
    let quote = other_volume.as_ref().map_or(&b""[..], Decimal::as_bytes);
    let texts = digits.into_iter().chain([quote]).flat_map(|digits| digits.iter().chain(b","));
    let bytes = times.iter().flatten().chain(texts);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `base` as configured if it has a path, which then is the whole one; else with `path`.
pub(super) fn with_path(base: &Endpoint, path: &str) -> Endpoint {
    if base.path == "/" { base.join(path) } else { base.clone() }
}

/// Appends `text` as part of a URL's query.
pub(super) fn push_encoded(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' => url.push(byte.into()),
            _ => write!(url, "%{byte:02X}").expect("a String takes every write"),
        }
    }
}

/// Seconds since the Unix epoch, as some exchanges want them.
pub(super) fn seconds(at: UnixMs) -> i64 {
    at.0.div_euclid(1000)
}

/// A window may open so much later than the message that tells it was made: what is pushed at a
/// roll-over belongs together. Source: a minute, the shortest window that is served.
pub(super) const AHEAD_MS_MAX: i64 = 60_000;

/// No time in ms or count comes near; keeps all arithmetic on them from overflowing.
pub(super) const NATURAL_MAX: i64 = 1 << 53;

/// As many cells of a row that makes no sense, and bytes of each, go into the log.
const EXCERPT_CELLS: usize = 16;
/// See [`EXCERPT_CELLS`].
const EXCERPT_BYTES: usize = 40;

/// Requests left to others, and to answers that are still under way.
const REMAIN_MIN: i64 = 5;

/// No exchange counts requests in longer windows; a later reset is a misreading.
const RESET_MS_MAX: i64 = 60_000;
