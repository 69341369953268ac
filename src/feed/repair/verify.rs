//! A closed window is compared with the exchange's own row some time later: always where its end was
//! a conclusion, where its session broke soon after and where it was asked for soon after; now and
//! then where it was the exchange's word. Owns which windows are compared and when a difference is
//! believed: when two answers agree on it.

use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::{
    Candle, CandleUpdate, FinalBy, Instrument, InstrumentId, Interval, Series, Span,
};
use crate::messages::RestResponse;

use crate::feed::Feed;
use crate::feed::candles::{Publisher, accept_closed};
use crate::feed::repair::missing::rows_max;
use crate::feed::repair::rest_evidence::{
    LAGGING_ROW_MS, Proof, Rows, closed_by_rest, knows_less, restated,
};
use crate::feed::stream::{Comparison, Comparisons};

impl Comparisons {
    /// A closed candle was published, with its sequence number.
    pub(crate) fn note(&mut self, update: &CandleUpdate, sequence: i64, now: MonoNs) {
        let (is_compared, patience) = match update.final_by {
            Some(FinalBy::Successor) => (true, VERIFY_PATIENCE),
            Some(FinalBy::Rest) => (true, VERIFY_PATIENCE_REST),
            Some(FinalBy::Flag) => {
                let number = sequence + i64::from(update.instrument.0);
                (number.rem_euclid(SAMPLED_ONE_IN) == 0, VERIFY_PATIENCE)
            }
            None => (false, VERIFY_PATIENCE),
        };
        self.newest = Some((update.candle.open_time, now));
        if is_compared {
            self.push(update.candle.open_time, now.after(VERIFY_AFTER), patience);
        }
    }

    /// A candle of the past was published that ended `age_ms` ago. Its row may still lag.
    pub(crate) fn note_backfilled(&mut self, open_time: UnixMs, age_ms: i64, now: MonoNs) {
        if age_ms < LAGGING_ROW_MS {
            self.push(open_time, now.after(VERIFY_AFTER), VERIFY_PATIENCE);
        }
    }

    /// A window was published as empty. Quiet windows are many: those of some minutes are compared
    /// in one request.
    pub(crate) fn note_empty(&mut self, open_time: UnixMs, now: MonoNs) {
        let together = u64::try_from(EMPTIES_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let at = MonoNs(now.after(EMPTIES_AFTER).0.next_multiple_of(together));
        self.push(open_time, at, VERIFY_PATIENCE);
    }

    /// The stream broke: what the exchange said about the newest candle since may be lost.
    pub(crate) fn note_break(&mut self, now: MonoNs) {
        let newest = self.newest.filter(|(_, at)| at.after(RESTATED_WITHIN) > now);
        if let Some((open_time, _)) = newest {
            self.push(open_time, now.after(VERIFY_AFTER), VERIFY_PATIENCE);
        }
    }

    /// Whether something is to be asked now.
    pub(crate) fn is_due(&self, now: MonoNs) -> bool {
        !self.is_asking && self.waiting.iter().any(|one| one.due_at() <= now)
    }

    /// Whether one has waited for so long that it is asked for without slack.
    pub(crate) fn is_overdue(&self, now: MonoNs) -> bool {
        self.waiting.iter().any(|one| one.due_at().after(one.patience) <= now)
    }

    /// The windows to be asked for.
    pub(crate) fn span(&self, rows_max: i64, interval: Interval) -> Option<Span> {
        let times = self.waiting.iter().map(|one| one.open_time);
        let span = Span::new(times.clone().min()?, times.max()?)?;
        Some(span.head(rows_max, interval))
    }

    fn push(&mut self, open_time: UnixMs, at: MonoNs, patience: Duration) {
        if self.waiting.iter().any(|one| one.open_time == open_time) {
            return;
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        let one = Comparison { open_time, at, patience, doubted: None, answers: 0, is_same: false };
        self.waiting.push_back(one);
    }
}

/// What an answer says about a published window.
// Few are made, and none is kept.
#[allow(clippy::large_enum_variant)]
enum Judged {
    /// To be asked again.
    Again(Comparison),
    /// The window is too old by now, or answers say nothing about it.
    Dropped,
    /// To be asked again, later.
    Same(Comparison),
    /// Two answers agree that it is this candle.
    Different(Candle),
}

impl Comparison {
    /// When it is a reason to ask.
    fn due_at(&self) -> MonoNs {
        if self.is_same { self.at.after(VERIFY_ANYWAY) } else { self.at }
    }

    /// Compares what was published with the answer's row.
    fn judge(mut self, series: &Series, rows: &Rows<'_>, now: MonoNs) -> Judged {
        let ours = series.published(self.open_time);
        if ours.is_none() && !series.is_empty(self.open_time) {
            return Judged::Dropped;
        }
        self.at = now.after(VERIFY_AGAIN * 2_u32.pow(self.answers.min(ANSWERS_MAX)));
        self.answers += 1;
        let Proof::Closed(row) = rows.judge(self.open_time) else {
            return if self.answers < ANSWERS_MAX { Judged::Again(self) } else { Judged::Dropped };
        };
        let theirs = match ours {
            Some(ours) => restated(ours, &row),
            None => (!row.volume.is_zero()).then_some(row),
        };
        let Some(theirs) = theirs else {
            self.at = now.after(VERIFY_LESS_AGAIN);
            return if self.is_same {
                Judged::Dropped
            } else {
                Judged::Same(Self { is_same: true, doubted: None, ..self })
            };
        };
        self.is_same = false;
        if self.doubted.replace(theirs) == Some(theirs) {
            return Judged::Different(theirs);
        }
        // Trades only become more: a row with fewer of them is rather one that lags.
        let is_less = ours.is_some_and(|ours| knows_less(&theirs, ours));
        self.at = now.after(if is_less { VERIFY_LESS_AGAIN } else { VERIFY_AGAIN });
        Judged::Again(self)
    }
}

impl Feed {
    /// The exchange's rows of candles that were published.
    pub(crate) fn apply_verification(
        &mut self,
        id: InstrumentId,
        span: Span,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let read = self.read_rows(id, result, now);
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let market = stream.instrument.market;
        let comparisons = &mut stream.repair.comparisons;
        comparisons.is_asking = false;
        let Ok((read, time)) = read else {
            let again = now.mono.after(VERIFY_AGAIN);
            comparisons.waiting.iter_mut().for_each(|one| one.at = one.at.max(again));
            return;
        };
        let Some(rows) = self.rows(id, (&read, time), span, now) else { return };
        let rows = Rows { ran: [None; 2], coverage: None, ..rows };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let metrics = self.metrics.market(market);
        let (queue, urgent, hold) = (&mut self.queue, &mut self.urgent, self.config.gap_hold);
        let mut publisher = Publisher::new(queue, metrics, urgent, now.mono, hold);
        for one in std::mem::take(&mut stream.repair.comparisons.waiting) {
            if !span.contains(one.open_time) || one.at > now.mono {
                stream.repair.comparisons.waiting.push_back(one);
                continue;
            }
            match one.judge(&stream.series, &rows, now.mono) {
                Judged::Again(one) => stream.repair.comparisons.waiting.push_back(one),
                Judged::Dropped => {}
                Judged::Same(one) => {
                    metrics.comparisons_same.increment();
                    stream.repair.comparisons.waiting.push_back(one);
                }
                Judged::Different(theirs) => {
                    metrics.comparisons_different.increment();
                    let closed_window = closed_by_rest(stream, &theirs, now.mono);
                    accept_closed(stream, &mut publisher, &closed_window);
                }
            }
        }
    }

    /// What is asked to compare the candles of `id`.
    pub(crate) fn comparison_span(&mut self, id: InstrumentId) -> Option<Span> {
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
const VERIFY_AFTER: Duration = Duration::from_secs(20);

/// A difference is believed if it is still there. An answer that says nothing is asked for again
/// after twice the time, each time.
const VERIFY_AGAIN: Duration = Duration::from_secs(10);

/// The same for a row with fewer trades than were published. Source: as long as rows lag.
const VERIFY_LESS_AGAIN: Duration = Duration::from_millis(LAGGING_ROW_MS.unsigned_abs());

/// A comparison waits no longer for slack in the exchange's limits. Source: a series remembers a
/// quarter of an hour, and one request compares all of it.
const VERIFY_PATIENCE: Duration = Duration::from_secs(300);

/// The same for a candle that only one answer has shown, which may have lagged. Source: a client
/// should not trade on it for longer than a window.
const VERIFY_PATIENCE_REST: Duration = Duration::from_secs(30);

/// What was the same is asked for again after so much more time, if nothing else was asked. Source:
/// where every window is compared, the next ones are asked for in each minute.
const VERIFY_ANYWAY: Duration = Duration::from_secs(90);

/// Empty windows are compared so long after at least, and those of so long together. Source: later
/// than a node lags, and before the series forgets them.
const EMPTIES_AFTER: Duration = Duration::from_secs(60);
const EMPTIES_EVERY: Duration = Duration::from_secs(300);

/// A candle published so shortly before a break may have been restated unheard.
const RESTATED_WITHIN: Duration = Duration::from_secs(120);

/// As many as the series remembers. Full: the oldest is not compared.
const WAITING_MAX: usize = 16;

/// Then a comparison that came to nothing is given up.
const ANSWERS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Lapse, RoughLapse};
    use crate::market::{Decimal, Source};

    #[test]
    fn a_candle_that_one_answer_alone_has_shown_waits_seconds_for_slack_others_minutes() {
        let one: Decimal = "1".parse().unwrap();
        let candle = Candle {
            open_time: UnixMs(0),
            open: one,
            high: one,
            low: one,
            close: one,
            volume: one,
            other_volume: None,
            trades: 1,
        };
        for (final_by, patience) in [(FinalBy::Rest, 30), (FinalBy::Successor, 300)] {
            let mut comparisons = Comparisons::default();
            let update = CandleUpdate {
                instrument: InstrumentId(1),
                candle,
                event_time: None,
                received: MonoNs(0),
                until_ring: Lapse::default(),
                kernel: RoughLapse::UNKNOWN,
                final_by: Some(final_by),
                source: Source::Ws,
                revision: 0,
            };
            comparisons.note(&update, 1, MonoNs(0));
            let overdue = |seconds: u64| comparisons.is_overdue(MonoNs(seconds * 1_000_000_000));
            assert!(!overdue(20 + patience - 1), "{final_by:?}");
            assert!(overdue(20 + patience), "{final_by:?}");
        }
    }
}
