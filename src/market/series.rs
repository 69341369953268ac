//! The closed candles of one instrument in order: watermark, duplicates, late candles, gaps.
//! Owns the decision whether a candle may be published as closed; does not fetch, publish or log.

use crate::clock::UnixMs;

use super::candle::{Candle, Interval};

/// What a candle is to its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A running candle at or after the newest window seen: publish as open.
    Open,
    /// The next closed candle: publish as closed.
    Closed,
    /// A closed candle after a hole of `missing` windows that were never closed: publish as closed,
    /// report the gap once.
    ClosedAfterGap {
        /// Open time of the first missing window.
        first_missing: UnixMs,
        /// How many windows are missing, at least 1.
        missing: u64,
    },
    /// The newest closed candle once more, equal in every field: drop.
    Duplicate,
    /// The newest closed candle with other values: a restatement.
    Correction {
        /// Its revision, from 1.
        revision: u16,
    },
    /// Older than the newest closed candle, or a running candle of a window that is already closed:
    /// drop.
    Late,
    /// The open time is no multiple of the interval: drop, count as a decode error.
    Misaligned,
}

/// Watermark and newest closed candle of one instrument.
#[derive(Clone, Debug)]
pub struct Series {
    interval: Interval,
    /// The newest closed candle published; its open time is the watermark.
    ///
    /// Invariant: the open time never decreases. A candle at it is a duplicate or a correction,
    /// below it late; a jump of more than one interval is a gap, reported once.
    newest_closed: Option<Candle>,
    revision: u16,
}

impl Series {
    /// A series that has published nothing.
    pub fn new(interval: Interval) -> Self {
        Self { interval, newest_closed: None, revision: 0 }
    }

    /// Open time of the newest closed candle published.
    pub fn watermark(&self) -> Option<UnixMs> {
        self.newest_closed.map(|candle| candle.open_time)
    }

    /// The newest closed candle published.
    pub fn newest_closed(&self) -> Option<&Candle> {
        self.newest_closed.as_ref()
    }

    /// Judges a running candle. Changes nothing.
    pub fn judge_open(&self, candle: &Candle) -> Verdict {
        if !self.interval.is_aligned(candle.open_time) {
            return Verdict::Misaligned;
        }
        match self.watermark() {
            Some(watermark) if candle.open_time <= watermark => Verdict::Late,
            _ => Verdict::Open,
        }
    }

    /// Judges a closed candle, and moves the watermark if it is new.
    pub fn close(&mut self, candle: &Candle) -> Verdict {
        if !self.interval.is_aligned(candle.open_time) {
            return Verdict::Misaligned;
        }
        let Some(newest) = self.newest_closed else {
            return self.advance(candle, Verdict::Closed);
        };
        let step_ms = candle.open_time.0 - newest.open_time.0;
        match step_ms {
            ..0 => Verdict::Late,
            0 if *candle == newest => Verdict::Duplicate,
            0 => {
                self.newest_closed = Some(*candle);
                self.revision = self.revision.saturating_add(1);
                Verdict::Correction { revision: self.revision }
            }
            _ if step_ms == self.interval.ms() => self.advance(candle, Verdict::Closed),
            _ => {
                let first_missing = UnixMs(newest.open_time.0 + self.interval.ms());
                let missing = (step_ms / self.interval.ms() - 1).unsigned_abs();
                self.advance(candle, Verdict::ClosedAfterGap { first_missing, missing })
            }
        }
    }

    fn advance(&mut self, candle: &Candle, verdict: Verdict) -> Verdict {
        if let Some(watermark) = self.watermark() {
            assert!(candle.open_time > watermark, "the watermark never goes back");
        }
        self.newest_closed = Some(*candle);
        self.revision = 0;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Decimal;
    use proptest::prelude::*;

    fn candle(minute: i64, close: &str) -> Candle {
        let price: Decimal = close.parse().unwrap();
        Candle {
            open_time: UnixMs(minute * 60_000),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::ZERO,
            quote_volume: None,
            trades: 0,
        }
    }

    #[test]
    fn each_window_closes_once() {
        let mut series = Series::new(Interval::M1);
        assert_eq!(series.close(&candle(1, "1")), Verdict::Closed);
        assert_eq!(series.close(&candle(1, "1")), Verdict::Duplicate);
        assert_eq!(series.close(&candle(2, "1")), Verdict::Closed);
        assert_eq!(series.close(&candle(1, "1")), Verdict::Late);
        assert_eq!(series.watermark(), Some(UnixMs(120_000)));
    }

    #[test]
    fn a_restated_close_is_a_correction_with_its_own_revision() {
        let mut series = Series::new(Interval::M1);
        series.close(&candle(1, "1"));
        assert_eq!(series.close(&candle(1, "2")), Verdict::Correction { revision: 1 });
        assert_eq!(series.close(&candle(1, "2")), Verdict::Duplicate);
        assert_eq!(series.close(&candle(1, "3")), Verdict::Correction { revision: 2 });
        assert_eq!(series.close(&candle(2, "3")), Verdict::Closed);
        assert_eq!(series.close(&candle(2, "4")), Verdict::Correction { revision: 1 });
    }

    #[test]
    fn gap_is_reported_once() {
        let mut series = Series::new(Interval::M1);
        series.close(&candle(1, "1"));
        let gap = Verdict::ClosedAfterGap { first_missing: UnixMs(120_000), missing: 2 };
        assert_eq!(series.close(&candle(4, "1")), gap);
        assert_eq!(series.close(&candle(5, "1")), Verdict::Closed);
    }

    #[test]
    fn a_running_candle_of_a_closed_window_is_late() {
        let mut series = Series::new(Interval::M1);
        assert_eq!(series.judge_open(&candle(1, "1")), Verdict::Open);
        series.close(&candle(1, "1"));
        assert_eq!(series.judge_open(&candle(1, "1")), Verdict::Late);
        assert_eq!(series.judge_open(&candle(2, "1")), Verdict::Open);
    }

    #[test]
    fn a_misaligned_window_changes_nothing() {
        let mut series = Series::new(Interval::M1);
        let mut odd = candle(1, "1");
        odd.open_time.0 += 1;
        assert_eq!(series.close(&odd), Verdict::Misaligned);
        assert_eq!(series.judge_open(&odd), Verdict::Misaligned);
        assert_eq!(series.watermark(), None);
    }

    proptest! {
        /// Whatever arrives: each window is closed at most once, in order, and closed plus missing
        /// windows are exactly the span from the first to the last.
        #[test]
        fn closed_plus_missing_is_the_whole_span(minutes in proptest::collection::vec(1i64..60, 1..200)) {
            let mut series = Series::new(Interval::M1);
            let (mut closed, mut missing_total) = (Vec::new(), 0);
            for &minute in &minutes {
                match series.close(&candle(minute, "1")) {
                    Verdict::Closed => closed.push(minute),
                    Verdict::ClosedAfterGap { missing, .. } => {
                        missing_total += missing;
                        closed.push(minute);
                    }
                    _ => {}
                }
            }
            prop_assert!(closed.is_sorted_by(|a, b| a < b));
            let span = (closed[closed.len() - 1] - closed[0] + 1).unsigned_abs();
            prop_assert_eq!(closed.len() as u64 + missing_total, span);
        }
    }
}
