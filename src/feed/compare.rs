//! A closed candle is compared with the exchange's own row some time later: always where its end was
//! a conclusion, where its session broke soon after and where it was asked for soon after; now and then where it was the exchange's word. Owns
//! which candles are compared and when a difference is believed: when it is said twice.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::{Candle, CandleUpdate, FinalBy, Instrument, InstrumentId, Interval, Span};
use crate::messages::RestResponse;
use crate::venue;

use super::Feed;
use super::candles::{Way, settle};
use super::repair::rows_max;
use super::rows::{Proof, Rows, closed_by_rest, restated};

/// The comparisons of one stream that are still to be made.
#[derive(Debug, Default)]
pub(super) struct Comparisons {
    /// The oldest first.
    waiting: VecDeque<Comparison>,
    /// Whether a question waits or is asked.
    pub(super) is_asking: bool,
    /// The newest candle, and when it was published.
    newest: Option<(UnixMs, MonoNs)>,
}

/// A comparison to be made.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    open_time: UnixMs,
    /// Not before.
    at: MonoNs,
    /// What the row said differently last time.
    doubted: Option<Candle>,
    answers: u32,
}

impl Comparisons {
    /// A closed candle was published, with its sequence number.
    pub(super) fn note(&mut self, update: &CandleUpdate, sequence: i64, now: MonoNs) {
        let is_compared = match update.final_by {
            Some(FinalBy::Successor | FinalBy::Rest) => true,
            Some(FinalBy::Flag) => {
                (sequence + i64::from(update.instrument.0)).rem_euclid(SAMPLED_ONE_IN) == 0
            }
            None => false,
        };
        self.newest = Some((update.candle.open_time, now));
        if is_compared {
            self.push(update.candle.open_time, now);
        }
    }

    /// A candle of the past was told that ended so long ago.
    pub(super) fn note_recalled(&mut self, open_time: UnixMs, age_ms: i64, now: MonoNs) {
        let trusted_ms = (COMPARE_AFTER + COMPARE_AGAIN).as_millis();
        if i128::from(age_ms) < trusted_ms.cast_signed() {
            self.push(open_time, now);
        }
    }

    /// The stream broke: what the exchange said about the newest candle since may be lost.
    pub(super) fn note_break(&mut self, now: MonoNs) {
        let newest = self.newest.filter(|(_, at)| at.after(RESTATED_WITHIN) > now);
        if let Some((open_time, _)) = newest {
            self.push(open_time, now);
        }
    }

    /// Whether something is to be asked now.
    pub(super) fn is_due(&self, now: MonoNs) -> bool {
        !self.is_asking && self.waiting.iter().any(|one| one.at <= now)
    }

    /// The windows to be asked for.
    pub(super) fn span(&self, rows_max: i64, interval: Interval) -> Option<Span> {
        let times = self.waiting.iter().map(|one| one.open_time);
        let span = Span::new(times.clone().min()?, times.max()?)?;
        Some(span.head(rows_max, interval))
    }

    fn push(&mut self, open_time: UnixMs, now: MonoNs) {
        if self.waiting.iter().any(|one| one.open_time == open_time) {
            return;
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        let at = now.after(COMPARE_AFTER);
        self.waiting.push_back(Comparison { open_time, at, doubted: None, answers: 0 });
    }
}

impl Feed {
    /// The exchange's rows of candles that were published.
    pub(super) fn learn_comparison(
        &mut self,
        id: InstrumentId,
        span: Span,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let read = self.read_rows(id, result, now);
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let comparisons = &mut stream.repair.comparisons;
        comparisons.is_asking = false;
        let Ok((read, time)) = read else {
            let again = now.mono.after(COMPARE_AGAIN);
            comparisons.waiting.iter_mut().for_each(|one| one.at = one.at.max(again));
            return;
        };
        let omits_quiet = venue::omits_quiet(market);
        let rows = Rows { read: &read, time, interval, omits_quiet, ran: [None; 2] };
        let metrics = self.metrics.market(market);
        let (queue, urgent, hold) = (&mut self.queue, &mut self.urgent, self.config.gap_hold);
        let mut way = Way::new(queue, metrics, urgent, now.mono, hold);
        for mut one in std::mem::take(&mut comparisons.waiting) {
            if !span.contains(one.open_time) || one.at > now.mono {
                stream.repair.comparisons.waiting.push_back(one);
                continue;
            }
            let Some(ours) = stream.series.published(one.open_time) else { continue };
            one.answers += 1;
            one.at = now.mono.after(COMPARE_AGAIN);
            let theirs = match rows.judge(one.open_time) {
                Proof::Closed(row) => restated(ours, &row),
                _ if one.answers < ANSWERS_MAX => {
                    stream.repair.comparisons.waiting.push_back(one);
                    continue;
                }
                _ => continue,
            };
            let Some(theirs) = theirs else {
                metrics.comparisons_same.increment();
                continue;
            };
            if one.doubted.replace(theirs) != Some(theirs) {
                stream.repair.comparisons.waiting.push_back(one);
                continue;
            }
            metrics.comparisons_different.increment();
            let settled = closed_by_rest(id, theirs, now.mono);
            settle(stream, &mut way, &settled);
        }
    }

    /// What is asked to compare the candles of `id`.
    pub(super) fn comparison_span(&mut self, id: InstrumentId) -> Option<Span> {
        let stream = self.streams.stream_mut(id)?;
        let Instrument { market, interval, .. } = stream.instrument;
        let comparisons = &mut stream.repair.comparisons;
        let span = comparisons.span(rows_max(market), interval).filter(|_| stream.is_wanted);
        comparisons.is_asking = span.is_some();
        span
    }
}

/// Of candles closed by the exchange's flag, one in so many is compared.
const SAMPLED_ONE_IN: i64 = 16;

/// Source: rows are some seconds late, restatements came within seconds.
const COMPARE_AFTER: Duration = Duration::from_secs(20);

/// A difference is believed if it is still there.
const COMPARE_AGAIN: Duration = Duration::from_secs(10);

/// A candle published so shortly before a break may have been restated unheard.
const RESTATED_WITHIN: Duration = Duration::from_secs(120);

/// As many as the series remembers. Full: the oldest is not compared.
const WAITING_MAX: usize = 16;

/// Then a comparison that came to nothing is given up.
const ANSWERS_MAX: u32 = 6;
