//! What an exchange's REST rows prove about a window. Owns the rules of evidence; asks nothing and
//! publishes nothing. The local clock is no evidence here, only the exchange's own words are.

use std::time::UNIX_EPOCH;

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::market::{Candle, CandleUpdate, FinalBy, InstrumentId, Interval, Settled, Source};
use crate::messages::RestResponse;
use crate::venue::RestCandles;

/// What is known about a window from one answer.
// Nearly all are candles.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It closed with this candle.
    Closed(Candle),
    /// It is over, and nothing was traded in it.
    Empty,
    /// The exchange has newer windows, but this one not any more, or it never had.
    Gone,
    /// The answer has a row of it that makes no sense, or may have: that is neither a candle nor the
    /// lack of one.
    Unreadable,
    /// Nothing: it may be running, or the answer may be older than it.
    Nothing,
}

/// An answer, and what else is known when it is judged.
pub(super) struct Rows<'a> {
    pub(super) read: &'a RestCandles,
    /// The exchange's own time of the answer, if it said one.
    pub(super) time: Option<UnixMs>,
    pub(super) interval: Interval,
    /// Whether the exchange leaves windows without trades out.
    pub(super) omits_quiet: bool,
    /// The running candles that were pushed last, of the newest window and of one before: a row that
    /// knows less is out of date, for a while.
    pub(super) ran: [Option<Candle>; 2],
}

impl Rows<'_> {
    /// What the answer proves about the window `open_time`, which was asked for.
    ///
    /// A row is final if the exchange flags it so, if it has a newer row beside it, or, where quiet
    /// windows have no rows, if the exchange's own time is well past it: answers come from caches.
    pub(super) fn judge(&self, open_time: UnixMs) -> Proof {
        let rows = &self.read.candles;
        let found = rows.binary_search_by_key(&open_time, |row| row.candle.open_time);
        let newest = rows.last().map(|row| row.candle.open_time);
        let has_newer = newest > Some(open_time);
        let close_time = self.interval.close_time(open_time);
        let is_long_past = self.time > Some(UnixMs(close_time.0 + SETTLE_MS));
        if found.is_err() && self.read.is_unreadable(open_time) {
            return Proof::Unreadable;
        }
        let Ok(at) = found else {
            return match self.omits_quiet {
                true if self.is_empty_by_now(open_time) => Proof::Empty,
                false if rows.first().is_some_and(|row| row.candle.open_time > open_time) => {
                    Proof::Gone
                }
                _ => Proof::Nothing,
            };
        };
        let row = &rows[at];
        let is_over = match row.is_closed {
            Some(is_closed) => is_closed,
            None => has_newer || (self.omits_quiet && is_long_past),
        };
        match is_over && !self.knows_less(&row.candle) {
            true => Proof::Closed(row.candle),
            false => Proof::Nothing,
        }
    }

    fn running_of(&self, open_time: UnixMs) -> Option<&Candle> {
        self.ran.iter().flatten().find(|running| running.open_time == open_time)
    }

    /// Whether a window without a row is so long past that it never gets one. One that was pushed,
    /// flat, is waited for longer; one with trades, for ever.
    fn is_empty_by_now(&self, open_time: UnixMs) -> bool {
        let patience = match self.running_of(open_time) {
            Some(running) if !running.volume.is_zero() => return false,
            Some(_) => FLAT_ROW_MS,
            None => SETTLE_MS,
        };
        self.time > Some(UnixMs(self.interval.close_time(open_time).0 + patience))
    }

    fn knows_less(&self, row: &Candle) -> bool {
        let end = self.interval.close_time(row.open_time).0;
        let is_young = self.time <= Some(UnixMs(end + LAGGING_ROW_MS));
        is_young
            && self.running_of(row.open_time).is_some_and(|running| {
                running.trades > row.trades && row.trades > 0 || running.volume > row.volume
            })
    }
}

/// A window that closed with an exchange's row.
pub(super) fn closed_by_rest(instrument: InstrumentId, row: Candle, received: MonoNs) -> Settled {
    Settled::Candle(CandleUpdate {
        instrument,
        candle: row,
        event_time: None,
        received,
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(FinalBy::Rest),
        source: Source::Rest,
        revision: 0,
    })
}

/// `row` as far as it says something else than `candle`, which was published: what the exchange's
/// rows leave out is taken from the candle, and what pushes leave out is left out.
pub(super) fn restated(candle: &Candle, row: &Candle) -> Option<Candle> {
    let is_counted = candle.trades > 0 || candle.volume.is_zero();
    let has_count = row.trades > 0 && is_counted || row.volume.is_zero();
    let row = Candle {
        trades: if has_count { row.trades } else { candle.trades },
        quote_volume: candle.quote_volume.map(|ours| row.quote_volume.unwrap_or(ours)),
        ..*row
    };
    (row != *candle).then_some(row)
}

/// The exchange's own time of its answer: from the body, else from the `date` header, to the second.
pub(super) fn exchange_time(response: &RestResponse, read: &RestCandles) -> Option<UnixMs> {
    let header = || {
        let (_, value) = response.limit_headers.iter().find(|(name, _)| name == "date")?;
        let time = httpdate::parse_http_date(value).ok()?;
        let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since_epoch.as_millis()).ok().map(UnixMs)
    };
    read.server_time.or_else(header)
}

/// An answer may be so old. Source: Hyperliquid's rows of quiet minutes appear some seconds late;
/// caches of REST gateways hold for a second or a few.
const SETTLE_MS: i64 = 10_000;

/// The row of a flat candle that was pushed may be so late. Source: a window of the shortest interval.
const FLAT_ROW_MS: i64 = 60_000;

/// A row may lack so long what was pushed. Later it is the exchange's last word about its window.
const LAGGING_ROW_MS: i64 = 120_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Decimal;
    use crate::venue::RestCandle;

    fn candle(minute: i64, volume: &str, trades: u64) -> Candle {
        let price: Decimal = "1".parse().unwrap();
        Candle {
            open_time: UnixMs(minute * 60_000),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: volume.parse().unwrap(),
            quote_volume: None,
            trades,
        }
    }

    fn read(minutes: &[i64], is_closed: Option<bool>) -> RestCandles {
        let row = |&minute| RestCandle { candle: candle(minute, "9", 9), is_closed };
        RestCandles { candles: minutes.iter().map(row).collect(), ..RestCandles::default() }
    }

    /// The proof about minute 2, `late_ms` after its end.
    fn judge(
        read: &RestCandles,
        omits_quiet: bool,
        running: Option<&Candle>,
        late_ms: i64,
    ) -> Proof {
        let time = Some(UnixMs(3 * 60_000 + late_ms));
        let interval = Interval::M1;
        Rows { read, time, interval, omits_quiet, ran: [running.copied(), None] }
            .judge(UnixMs(120_000))
    }

    #[test]
    fn a_row_is_final_with_a_newer_one_beside_it() {
        let closed = Proof::Closed(candle(2, "9", 9));
        assert_eq!(judge(&read(&[1, 2, 3], None), false, None, 0), closed);
        assert_eq!(judge(&read(&[1, 2], None), false, None, 60_000), Proof::Nothing);
        assert_eq!(judge(&read(&[1, 2], None), true, None, 9_000), Proof::Nothing);
        assert_eq!(judge(&read(&[1, 2], None), true, None, 10_000), closed);
    }

    #[test]
    fn the_exchange_s_flag_is_the_last_word() {
        let closed = Proof::Closed(candle(2, "9", 9));
        assert_eq!(judge(&read(&[2], Some(true)), false, None, 0), closed);
        assert_eq!(judge(&read(&[2, 3], Some(false)), false, None, 60_000), Proof::Nothing);
    }

    #[test]
    fn a_row_that_knows_less_than_was_pushed_is_out_of_date() {
        let rows = read(&[2, 3], None);
        assert_eq!(judge(&rows, false, Some(&candle(2, "10", 0)), 0), Proof::Nothing);
        assert_eq!(judge(&rows, false, Some(&candle(2, "9", 10)), 0), Proof::Nothing);
        let more = candle(2, "10", 10);
        assert_eq!(judge(&rows, false, Some(&more), 119_999), Proof::Nothing);
        assert_eq!(judge(&rows, false, Some(&more), 120_000), Proof::Closed(candle(2, "9", 9)));
        assert_eq!(
            judge(&rows, false, Some(&candle(2, "8", 8)), 0),
            Proof::Closed(candle(2, "9", 9))
        );
        assert_eq!(
            judge(&rows, false, Some(&candle(1, "10", 0)), 0),
            Proof::Closed(candle(2, "9", 9))
        );
    }

    #[test]
    fn an_absent_row_is_an_empty_window_only_where_quiet_ones_have_none() {
        let rows = read(&[1, 3], None);
        assert_eq!(judge(&rows, true, None, 10_000), Proof::Empty);
        assert_eq!(judge(&rows, true, None, 5_000), Proof::Nothing);
        assert_eq!(judge(&rows, true, Some(&candle(2, "1", 0)), 100_000), Proof::Nothing);
        assert_eq!(judge(&rows, true, Some(&candle(2, "0", 0)), 10_000), Proof::Nothing);
        assert_eq!(judge(&rows, true, Some(&candle(2, "0", 0)), 60_000), Proof::Empty);
        assert_eq!(judge(&rows, false, None, 10_000), Proof::Nothing);
        assert_eq!(judge(&read(&[3], None), false, None, 0), Proof::Gone);
        assert_eq!(judge(&read(&[], None), true, None, 10_000), Proof::Empty);
        assert_eq!(judge(&read(&[], None), false, None, 10_000), Proof::Nothing);
    }

    #[test]
    fn a_row_that_makes_no_sense_is_no_empty_window() {
        let with = |windows: &[i64], is_anywhere| {
            let windows = windows.iter().map(|minute| UnixMs(minute * 60_000)).collect();
            let bad = crate::venue::BadRows { count: 1, windows, is_anywhere, ..<_>::default() };
            RestCandles { bad, ..read(&[1, 3], None) }
        };
        assert_eq!(judge(&with(&[2], false), true, None, 60_000), Proof::Unreadable);
        assert_eq!(judge(&with(&[], true), true, None, 60_000), Proof::Unreadable);
        assert_eq!(judge(&with(&[4], false), true, None, 60_000), Proof::Empty);
        let both = RestCandles { candles: read(&[2, 3], None).candles, ..with(&[2], false) };
        assert_eq!(judge(&both, false, None, 0), Proof::Closed(candle(2, "9", 9)));
    }

    #[test]
    fn what_rows_leave_out_is_no_restatement() {
        let ours = Candle { quote_volume: Some(Decimal::ZERO), ..candle(2, "9", 9) };
        assert_eq!(restated(&ours, &candle(2, "9", 0)), None);
        assert_eq!(restated(&candle(2, "9", 0), &Candle { trades: 5, ..ours }), None);
        let flat = candle(2, "0", 0);
        assert_eq!(restated(&flat, &candle(2, "9", 9)), Some(candle(2, "9", 9)));
        let theirs = candle(2, "10", 0);
        assert_eq!(restated(&ours, &theirs), Some(Candle { volume: theirs.volume, ..ours }));
    }
}
