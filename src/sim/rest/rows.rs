//! What the answers of several exchanges are made of: windows asked for, candles, symbols.

use crate::market::{Market, Venue};
use crate::sim::exchange::Exchange;
use crate::sim::market::TrueCandle;
use crate::sim::stream::Track;
use crate::sim::windows;

use super::Query;

/// The path, the query, and the body of a request.
pub(crate) type Asked<'a> = (&'a str, &'a Query, &'a str);

pub(crate) fn find(venue: Venue, name: &str) -> Option<Market> {
    Market::find(venue, name)
}

/// Symbols of captures that are played, beside those listed.
pub(crate) fn played(exchange: &Exchange) -> Vec<String> {
    let messages = exchange.settings.playback.iter();
    let mut symbols: Vec<String> = messages.map(|one| one.symbol().to_owned()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols.retain(|symbol| exchange.market.find(symbol).is_none());
    symbols
}

/// Candles of `track` that open in `from..=to` (numbers of windows), the oldest first.
pub(crate) fn candles(
    exchange: &Exchange,
    Track { index, interval, .. }: Track,
    (from, to): (i64, i64),
    now_ms: i64,
) -> Vec<TrueCandle> {
    let last = to.min(now_ms.div_euclid(interval.ms()));
    let candle = |window: i64| {
        let elapsed_ms = exchange.row_elapsed_ms(interval, window, now_ms);
        windows::running(&exchange.market, index, (interval, window), elapsed_ms)
    };
    (from.max(0)..=last).map(candle).collect()
}

/// The newest `limit` windows up to `to`.
pub(crate) fn newest(to: i64, limit: i64, now_ms: i64, window_ms: i64) -> (i64, i64) {
    let last = to.min(now_ms.div_euclid(window_ms));
    (last - limit + 1, last)
}

pub(crate) fn number(query: &Query, key: &str) -> Option<i64> {
    query.get(key)?.parse().ok()
}

pub(crate) fn join(rows: Vec<String>) -> String {
    rows.join(",")
}

/// Number of the first window that opens at `start_ms` or later.
pub(crate) fn window_from(start_ms: i64, window_ms: i64) -> i64 {
    start_ms.max(0).saturating_add(window_ms - 1).div_euclid(window_ms)
}
