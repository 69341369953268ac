//! Verification: a closed window is compared with the exchange's own REST row some time later. It
//! is always verified if its end was inferred, if its session broke soon after, or if it was
//! fetched soon after its end; a sample of the windows with the exchange's closed flag is verified
//! too. Owns which windows are verified. A difference is believed when two answers agree on it.

use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::feed::Feed;
use crate::feed::candles::{Publisher, accept_closed};
use crate::feed::repair::missing::rows_max;
use crate::feed::repair::rest_evidence::{
    LAGGING_ROW_MS, Proof, Rows, closed_by_rest, knows_less, restated,
};
use crate::feed::stream::{Verification, Verifications};
use crate::market::{
    Candle, CandleUpdate, FinalBy, Instrument, InstrumentId, Interval, Series, Span,
};
use crate::messages::{MarketEvent, RestResponse};

impl Verifications {
    /// Takes a published closed candle with its sequence number.
    pub(crate) fn add(&mut self, update: &CandleUpdate, sequence: i64, now: MonoNs) {
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

    /// Takes a published candle of a backfill, which ended `age_ms` before. Its row may still lag.
    pub(crate) fn add_backfilled(&mut self, open_time: UnixMs, age_ms: i64, now: MonoNs) {
        if age_ms < LAGGING_ROW_MS {
            self.push(open_time, now.after(VERIFY_AFTER), VERIFY_PATIENCE);
        }
    }

    /// Takes a window that was published as empty. Quiet windows are many, so that those of several
    /// minutes are verified with one request.
    pub(crate) fn add_empty(&mut self, open_time: UnixMs, now: MonoNs) {
        let together = u64::try_from(EMPTIES_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let at = MonoNs(now.after(EMPTIES_AFTER).0.next_multiple_of(together));
        self.push(open_time, at, VERIFY_PATIENCE);
    }

    /// Takes a break of the stream: a correction of the newest candle may be lost.
    pub(crate) fn mark_break(&mut self, now: MonoNs) {
        let newest = self.newest.filter(|(_, at)| at.after(RESTATED_WITHIN) > now);
        if let Some((open_time, _)) = newest {
            self.push(open_time, now.after(VERIFY_AFTER), VERIFY_PATIENCE);
        }
    }

    /// Returns whether a request is due now.
    pub(crate) fn is_due(&self, now: MonoNs) -> bool {
        !self.is_asking && self.waiting.iter().any(|one| one.due_at() <= now)
    }

    /// Returns whether a verification has waited long enough to be made without slack.
    pub(crate) fn is_overdue(&self, now: MonoNs) -> bool {
        self.waiting.iter().any(|one| one.due_at().after(one.patience) <= now)
    }

    /// The windows to fetch.
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
        let one =
            Verification { open_time, at, patience, doubted: None, answers: 0, is_same: false };
        self.waiting.push_back(one);
    }
}

/// What an answer means for a published window.
// Few are made, and none is kept.
#[allow(clippy::large_enum_variant)]
enum Judged {
    /// The window is fetched again.
    Again(Verification),
    /// The window is no longer remembered, or answers prove nothing about it.
    Dropped,
    /// The candle was the same twice.
    Confirmed,
    /// The candle was the same. The window is fetched again, later.
    Same(Verification),
    /// Two answers agree on this other candle.
    Different(Candle),
}

impl Verification {
    /// When this verification is a reason to send a request.
    fn due_at(&self) -> MonoNs {
        if self.is_same { self.at.after(VERIFY_ANYWAY) } else { self.at }
    }

    /// Compares the published window with the answer's row.
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
                Judged::Confirmed
            } else {
                Judged::Same(Self { is_same: true, doubted: None, ..self })
            };
        };
        self.is_same = false;
        if self.doubted.replace(theirs) == Some(theirs) {
            return Judged::Different(theirs);
        }
        // Trades only become more: a row with fewer of them more likely lags.
        let is_less = ours.is_some_and(|ours| knows_less(&theirs, ours));
        self.at = now.after(if is_less { VERIFY_LESS_AGAIN } else { VERIFY_AGAIN });
        Judged::Again(self)
    }
}

impl Feed {
    /// Takes the exchange's rows of published candles.
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
        let verifications = &mut stream.repair.verifications;
        verifications.is_asking = false;
        let Ok((read, time)) = read else {
            let again = now.mono.after(VERIFY_AGAIN);
            verifications.waiting.iter_mut().for_each(|one| one.at = one.at.max(again));
            return;
        };
        let Some(rows) = self.rows(id, (&read, time), span, now) else { return };
        let rows = Rows { ran: [None; 2], coverage: None, ..rows };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let metrics = self.metrics.market(market);
        let (queue, urgent, hold) = (&mut self.queue, &mut self.urgent, self.config.gap_hold);
        let mut publisher = Publisher::new(queue, metrics, urgent, now.mono, hold);
        for one in std::mem::take(&mut stream.repair.verifications.waiting) {
            if !span.contains(one.open_time) || one.at > now.mono {
                stream.repair.verifications.waiting.push_back(one);
                continue;
            }
            let open_time = one.open_time;
            match one.judge(&stream.series, &rows, now.mono) {
                Judged::Again(one) => stream.repair.verifications.waiting.push_back(one),
                Judged::Dropped => {}
                Judged::Confirmed => {
                    let instrument = stream.id;
                    publisher.metrics.closed_queue_depth.add(1);
                    publisher.queue.push_closed(MarketEvent::Verified { instrument, open_time });
                }
                Judged::Same(one) => {
                    metrics.comparisons_same.increment();
                    stream.repair.verifications.waiting.push_back(one);
                }
                Judged::Different(theirs) => {
                    metrics.comparisons_different.increment();
                    let closed_window = closed_by_rest(stream, &theirs, now.mono);
                    accept_closed(stream, &mut publisher, &closed_window);
                }
            }
        }
    }

    /// The windows to fetch for the verifications of `id`.
    pub(crate) fn verification_span(&mut self, id: InstrumentId) -> Option<Span> {
        let stream = self.streams.stream_mut(id)?;
        let Instrument { market, interval, .. } = stream.instrument;
        let verifications = &mut stream.repair.verifications;
        let span = verifications.span(rows_max(market), interval).filter(|_| stream.is_wanted);
        verifications.is_asking = span.is_some();
        span
    }
}

/// Of the candles with the exchange's closed flag, one in this number is verified. Source: chosen.
const SAMPLED_ONE_IN: i64 = 16;

/// Shortest age of a verified window. Source: rows are some seconds late, and restatements arrived
/// within seconds.
const VERIFY_AFTER: Duration = Duration::from_secs(20);

/// Pause before a difference is fetched again; it is believed if it is still there. An answer
/// without proof doubles the pause each time. Source: chosen.
const VERIFY_AGAIN: Duration = Duration::from_secs(10);

/// The same for a row with fewer trades than were published. Source: as long as rows lag.
const VERIFY_LESS_AGAIN: Duration = Duration::from_millis(LAGGING_ROW_MS.unsigned_abs());

/// After this time a verification no longer waits for slack in the exchange's limits. Source: a
/// series remembers a quarter of an hour, and one request verifies all of it.
const VERIFY_PATIENCE: Duration = Duration::from_secs(300);

/// The same for a candle that only one answer has shown, which may have lagged. Source: a client
/// should not trade on it for longer than a window.
const VERIFY_PATIENCE_REST: Duration = Duration::from_secs(30);

/// After this further time an equal candle is fetched again, if no other request included it.
/// Source: where every window is verified, a request is sent in each minute.
const VERIFY_ANYWAY: Duration = Duration::from_secs(90);

/// Shortest age of a verified empty window. Source: later than a server lags, and before the series
/// forgets the window.
const EMPTIES_AFTER: Duration = Duration::from_secs(60);
/// Empty windows of this time are verified together. Source: as for `EMPTIES_AFTER`.
const EMPTIES_EVERY: Duration = Duration::from_secs(300);

/// A candle that was published within this time before a break may have been corrected unseen.
/// Source: chosen, as long as rows lag.
const RESTATED_WITHIN: Duration = Duration::from_secs(120);

/// Most verifications of a stream; beyond, the oldest is dropped. Source: the windows that a series
/// remembers.
const WAITING_MAX: usize = 16;

/// Number of answers without proof after which a verification is dropped. Source: chosen.
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
            let mut verifications = Verifications::default();
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
            verifications.add(&update, 1, MonoNs(0));
            let overdue = |seconds: u64| verifications.is_overdue(MonoNs(seconds * 1_000_000_000));
            assert!(!overdue(20 + patience - 1), "{final_by:?}");
            assert!(overdue(20 + patience), "{final_by:?}");
        }
    }
}
