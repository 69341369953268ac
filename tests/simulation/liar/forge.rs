//! Messages and answers, changed as a lying exchange would change them: pure text in, text out.
//! Finds candles and times by their shape, so that no exchange's wording is repeated here.

use connector_wss::market::{ContractType, Market, Venue};
use serde_json::{Value, json};

use crate::dice::Dice;

/// Which times of a message are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    All,
    /// The time that the exchange gives for what happened.
    Events,
    /// Where windows begin and end.
    Windows,
}

/// Changes the times of a message by `by_ms`. They are found by their size: `now_ms` or near it, in
/// ms or in seconds.
pub(crate) fn shift_times(value: &mut Value, times: Times, by_ms: i64, now_ms: i64) {
    match value {
        Value::Array(parts) => {
            parts.iter_mut().for_each(|part| shift_times(part, times, by_ms, now_ms));
        }
        Value::Object(parts) => {
            parts.values_mut().for_each(|part| shift_times(part, times, by_ms, now_ms));
        }
        Value::Number(_) | Value::String(_) => {
            let Some(number) = whole(value) else { return };
            let is_ms = (number - now_ms).abs() < NEAR_MS;
            let is_s = (number - now_ms / 1000).abs() < NEAR_MS / 1000;
            let ms = if is_ms { number } else { number.saturating_mul(1000) };
            let is_bound = ms.rem_euclid(60_000) == 0 || ms.rem_euclid(60_000) == 59_999;
            let is_meant = match times {
                Times::All => true,
                Times::Events => !is_bound,
                Times::Windows => is_bound,
            };
            if !is_meant || !(is_ms || is_s) {
                return;
            }
            let shifted = number + if is_ms { by_ms } else { by_ms / 1000 };
            *value = match value {
                Value::String(_) => shifted.to_string().into(),
                _ => shifted.into(),
            };
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        _ => value.as_i64(),
    }
}

/// Calls every candle of a message closed, where its exchange has a flag for that.
pub(crate) fn flag_closed(value: &mut Value) {
    for_each_candle(value, &mut |candle| match candle {
        Value::Object(fields) => {
            for (name, field) in fields {
                if matches!(&**name, "x" | "confirm" | "w") && field.is_boolean() {
                    *field = true.into();
                }
            }
        }
        Value::Array(cells) if cells.len() == 9 => cells[8] = "1".into(),
        _ => {}
    });
}

/// Calls `change` with each candle in a message or an answer: an object with prices, or a row of
/// cells that begins with a time.
pub(crate) fn for_each_candle(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    if is_candle(value) {
        return change(value);
    }
    match value {
        Value::Array(parts) => parts.iter_mut().for_each(|part| for_each_candle(part, change)),
        Value::Object(parts) => {
            parts.values_mut().for_each(|part| for_each_candle(part, change));
        }
        _ => {}
    }
}

fn is_candle(value: &Value) -> bool {
    match value {
        Value::Object(fields) => ["o", "open"].iter().any(|name| fields.contains_key(*name)),
        Value::Array(cells) => {
            cells.len() >= 6 && whole(&cells[0]).is_some_and(|time| time > 1_000_000_000)
        }
        _ => false,
    }
}

/// A cell of a candle, whatever its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Time,
    High,
    Low,
    Close,
    Volume,
}

fn cell(market: Market, candle: &mut Value, cell: Cell) -> Option<&mut Value> {
    let is_gate_spot =
        market.venue() == Venue::Gateio && market.contract_type() == ContractType::Spot;
    let (names, place, gate_place) = match cell {
        Cell::Time => (["t", "start"], 0, 0),
        Cell::High => (["h", "high"], 2, 3),
        Cell::Low => (["l", "low"], 3, 4),
        Cell::Close => (["c", "close"], 4, 2),
        Cell::Volume => (["v", "volume"], 5, 1),
    };
    match candle {
        Value::Object(fields) => {
            let name = names.into_iter().find(|name| fields.contains_key(*name))?;
            fields.get_mut(name)
        }
        Value::Array(cells) => cells.get_mut(if is_gate_spot { gate_place } else { place }),
        _ => None,
    }
}

/// The open time of a candle as it is written.
pub(crate) fn time_of(candle: &Value) -> Option<i64> {
    let time = match candle {
        Value::Object(fields) => ["t", "start"].iter().find_map(|name| fields.get(*name)),
        Value::Array(cells) => cells.first(),
        _ => None,
    };
    time.and_then(whole)
}

/// Makes a candle one that cannot be, or one that is written as none is; never another that could
/// be. The name of what was done.
pub(crate) fn corrupt(market: Market, candle: &mut Value, dice: &mut Dice) -> &'static str {
    let any = *dice.pick(&[Cell::High, Cell::Low, Cell::Close, Cell::Volume]);
    let text = cell(market, candle, any).and_then(|cell| cell.as_str().map(str::to_owned));
    let (name, bad): (_, Value) = match dice.below(12) {
        0 => return swap_extremes(market, candle),
        1 => return close_outside(market, candle),
        2 => ("negative", format!("-{}", text.unwrap_or("1".to_owned())).into()),
        3 => ("exponent", text.and_then(|text| with_exponent(&text)).into()),
        4 => ("null", Value::Null),
        5 => ("empty", "".into()),
        6 => ("nan", "NaN".into()),
        7 => ("plus", format!("+{}", text.unwrap_or("1".to_owned())).into()),
        8 => ("endless", "1".repeat(60).into()),
        9 => ("nested", json!([1])),
        10 => {
            if let Some(time) = cell(market, candle, Cell::Time)
                && let Some(number) = whole(time)
            {
                *time = match time {
                    Value::String(_) => (number + 1).to_string().into(),
                    _ => (number + 1).into(),
                };
            }
            return "misaligned";
        }
        _ => {
            match candle {
                Value::Array(cells) => cells.truncate(5),
                Value::Object(fields) => fields.retain(|name, _| name.len() > 1 || &**name < "l"),
                _ => {}
            }
            return "short";
        }
    };
    if let Some(cell) = cell(market, candle, any) {
        *cell = bad;
    }
    name
}

/// The same number with an exponent, as some programs write small ones.
fn with_exponent(digits: &str) -> Option<String> {
    let (whole, part) = digits.split_once('.')?;
    Some(format!("{whole}{part}E-{}", part.len()))
}

fn swap_extremes(market: Market, candle: &mut Value) -> &'static str {
    let read = |candle: &mut Value, which| cell(market, candle, which).cloned();
    let (high, low) = (read(candle, Cell::High), read(candle, Cell::Low));
    if high == low {
        return close_outside(market, candle);
    }
    if let (Some(high), Some(low)) = (high, low) {
        cell(market, candle, Cell::High).into_iter().for_each(|cell| *cell = low.clone());
        cell(market, candle, Cell::Low).into_iter().for_each(|cell| *cell = high.clone());
    }
    "high_below_low"
}

fn close_outside(market: Market, candle: &mut Value) -> &'static str {
    let high = cell(market, candle, Cell::High).and_then(|cell| cell.as_str().map(str::to_owned));
    if let (Some(high), Some(close)) = (high, cell(market, candle, Cell::Close)) {
        *close = format!("9{high}").into();
    }
    "close_outside"
}

/// A candle that could be, and is not: ten times as much was traded.
pub(crate) fn inflate(market: Market, candle: &mut Value) {
    let Some(volume) = cell(market, candle, Cell::Volume) else { return };
    *volume = match volume {
        Value::String(digits) => format!("9{digits}").into(),
        _ => (whole(volume).unwrap_or(0) + 1_000_000).into(),
    };
}

/// Times of messages and rows differ from now by no more than this; nothing else is as large.
const NEAR_MS: i64 = 10 * 86_400_000;
