//! A closed candle is compared with the exchange's own row some time later: always where its end was
//! a conclusion, now and then where it was the exchange's word. Owns which candles are compared and
//! when a difference is believed: when it is said twice.

use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::{
    Candle, CandleUpdate, FinalBy, Instrument, InstrumentId, Settled, Source, Span,
};
use crate::messages::RestResponse;
use crate::venue;

use super::Feed;
use super::candles::{Way, settle};
use super::rows::{Proof, Rows, restated};

/// A comparison to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) open_time: UnixMs,
    /// Not before.
    pub(super) at: MonoNs,
    /// Whether it waits or is asked.
    pub(super) is_asking: bool,
    /// What the row said differently last time.
    doubted: Option<Candle>,
    answers: u32,
}

impl Comparison {
    /// The comparison that a closed candle calls for, if any.
    pub(super) fn after(update: &CandleUpdate, sequence: i64, now: MonoNs) -> Option<Self> {
        let is_sampled = match update.final_by? {
            FinalBy::Successor => true,
            FinalBy::Rest => update.revision == 0,
            FinalBy::Flag => {
                (sequence + i64::from(update.instrument.0)).rem_euclid(SAMPLED_ONE_IN) == 0
            }
        };
        let open_time = update.candle.open_time;
        let at = now.after(COMPARE_AFTER);
        is_sampled.then_some(Self { open_time, at, is_asking: false, doubted: None, answers: 0 })
    }

    /// The window that REST is asked about.
    pub(super) fn span(&self) -> Span {
        Span { first: self.open_time, last: self.open_time }
    }
}

impl Feed {
    /// The exchange's row of a candle that was published.
    pub(super) fn learn_comparison(
        &mut self,
        id: InstrumentId,
        span: Span,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let read = self.read_rows(id, result, now.mono);
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let Some(compare) = stream.repair.compare.as_mut() else { return };
        compare.is_asking = false;
        if compare.open_time != span.first {
            return;
        }
        compare.answers += 1;
        compare.at = now.mono.after(COMPARE_AGAIN);
        let is_last = compare.answers >= ANSWERS_MAX;
        let metrics = self.metrics.market(market);
        let proof = read.map_or(Proof::Nothing, |(read, time)| {
            let omits_quiet = venue::omits_quiet(market);
            Rows { read: &read, time, interval, omits_quiet, running: None }.judge(span.first)
        });
        let ours = stream.series.published(span.first).copied();
        let (Proof::Closed(row), Some(ours)) = (proof, ours) else {
            stream.repair.compare.take_if(|_| is_last || ours.is_none());
            return;
        };
        let Some(theirs) = restated(&ours, &row) else {
            metrics.comparisons_same.increment();
            stream.repair.compare = None;
            return;
        };
        if compare.doubted.replace(theirs) != Some(theirs) {
            stream.repair.compare.take_if(|_| is_last);
            return;
        }
        metrics.comparisons_different.increment();
        stream.repair.compare = None;
        let settled = Settled::Candle(CandleUpdate {
            instrument: id,
            candle: theirs,
            event_time: None,
            received: now.mono,
            final_by: Some(FinalBy::Rest),
            source: Source::Rest,
            revision: 0,
        });
        let (queue, urgent, hold) = (&mut self.queue, &mut self.urgent, self.config.gap_hold);
        let mut way = Way { queue, metrics, urgent, now: now.mono, hold };
        settle(stream, &mut way, &settled);
    }
}

/// Of candles closed by the exchange's flag, one in so many is compared.
const SAMPLED_ONE_IN: i64 = 16;

/// Source: rows are some seconds late, restatements came within seconds.
const COMPARE_AFTER: Duration = Duration::from_secs(20);

/// A difference is believed if it is still there.
const COMPARE_AGAIN: Duration = Duration::from_secs(10);

/// Then a comparison that came to nothing is given up.
const ANSWERS_MAX: u32 = 4;
