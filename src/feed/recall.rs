//! The past that clients ask for: closed windows from before the stream's first one, by REST. Owns
//! how far back and how far forward is asked, so that the past joins the present without a hole:
//! where nothing was pushed yet, the end of the past is where the present begins.

use crate::clock::{MonoNs, Now, UnixMs};
use crate::limits::RECALL_PATIENCE;
use crate::market::{Instrument, InstrumentId, Interval, Settled, Span, Verdict};
use crate::messages::{MarketEvent, RecallFrom, RestResponse};
use crate::venue;

use super::Feed;
use super::candles::{Way, settle_to};
use super::plan::{Stream, begin_of};
use super::repair::{pause, rows_max};
use super::rows::{Proof, Rows, closed_by_rest};

/// One wish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recall {
    from: RecallFrom,
    to: Option<UnixMs>,
    /// The first window and the next to be told, once anything was told: before, "the last so many"
    /// may become others as the exchange's time is better known.
    told: Option<(UnixMs, UnixMs)>,
    /// Then what is known has to do.
    pub(super) until: MonoNs,
    failures: u32,
}

/// The windows that are to be asked for, or that all is told.
pub(super) enum RecallStep {
    Ask {
        first: UnixMs,
        span: Span,
    },
    /// Nothing is left; the last window was this one.
    Done {
        first: UnixMs,
        through: UnixMs,
    },
}

impl Recall {
    /// What is next. `begin`: where the stream is to begin, if it has not.
    fn step(&self, next: Option<UnixMs>, begin: UnixMs, interval: Interval) -> RecallStep {
        let end = self.to.unwrap_or(next.unwrap_or(begin).before(interval));
        let (first, cursor) = self.told.unwrap_or_else(|| {
            let first = match self.from {
                RecallFrom::Window(first) => first,
                RecallFrom::Last(count) => UnixMs(end.0 - (i64::from(count) - 1) * interval.ms()),
            };
            (first, first)
        });
        match Span::new(cursor, end) {
            Some(span) => RecallStep::Ask { first, span },
            None => RecallStep::Done { first, through: end.max(first.before(interval)) },
        }
    }
}

impl UnixMs {
    fn before(self, interval: Interval) -> Self {
        Self(self.0 - interval.ms())
    }
}

/// The windows to be asked for now, if any are.
pub(super) fn recall_span(stream: &mut Stream, exchange_now: UnixMs, now: MonoNs) -> Option<Span> {
    let Instrument { market, interval, .. } = stream.instrument;
    let (next, begin) = (stream.series.next(), begin_of(stream, exchange_now, now));
    match stream.repair.recalls.front_mut()?.step(next, begin, interval) {
        RecallStep::Ask { span, .. } => Some(span.head(rows_max(market), interval)),
        RecallStep::Done { .. } => None,
    }
}

impl Feed {
    /// Somebody wants closed candles of the past.
    pub(super) fn recall(
        &mut self,
        id: InstrumentId,
        from: RecallFrom,
        to: Option<UnixMs>,
        now: MonoNs,
    ) {
        let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else { return };
        let until = now.after(RECALL_PATIENCE);
        let recall = Recall { from, to, told: None, until, failures: 0 };
        stream.repair.recalls.push_back(recall);
        stream.repair.recall_at = now;
        self.urgent.push(id);
    }

    /// Ends the wishes that need nothing more from REST, or have waited too long.
    pub(super) fn end_recalls(&mut self, id: InstrumentId, now: Now) {
        let Self { streams, queue, metrics, clocks, .. } = self;
        let Some(stream) = streams.stream_mut(id) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let begin = begin_of(stream, clocks[market.index()].now(now), now.mono);
        while let Some(recall) = stream.repair.recalls.front_mut() {
            let (first, through) = match recall.step(stream.series.next(), begin, interval) {
                RecallStep::Done { first, through } => {
                    // What follows is owed from here on, if nothing was before.
                    if recall.to.is_none() {
                        stream.series.begin(UnixMs(through.0 + interval.ms()));
                    }
                    (first, through)
                }
                // Before the exchange has said anything nobody knows where the past ends.
                RecallStep::Ask { first, span }
                    if recall.until <= now.mono
                        && (recall.to.is_some() || stream.series.next().is_some()) =>
                {
                    (first, span.last)
                }
                RecallStep::Ask { .. } => return,
            };
            stream.repair.recalls.pop_front();
            metrics.market(market).closed_queue_depth.add(1);
            queue.push_closed(MarketEvent::RecallEnd { instrument: id, from: first, through });
        }
    }

    /// The rows of recalled windows.
    pub(super) fn learn_recalled(
        &mut self,
        id: InstrumentId,
        span: Span,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.repair.is_recalling = false;
        let Instrument { market, interval, .. } = stream.instrument;
        let read = match self.read_rows(id, result, now) {
            Ok((read, time)) => Some((read, time)),
            Err(error) => {
                self.tell_failed(id, "candles of the past", &error);
                None
            }
        };
        let Self { streams, queue, metrics, urgent, config, clocks, .. } = self;
        let Some(stream) = streams.stream_mut(id).filter(|one| one.is_wanted) else { return };
        let metrics = metrics.market(market);
        let mut way = Way::new(queue, metrics, urgent, now.mono, config.gap_hold);
        let mut told = span.first;
        let exchange_now = clocks[market.index()].now(now);
        if read.is_some() && stream.series.next().is_none() {
            let begin = begin_of(stream, exchange_now, now.mono);
            stream.series.begin(begin);
        }
        if let Some((read, time)) = &read {
            let omits_quiet = venue::omits_quiet(market);
            let rows = Rows { read, time: *time, interval, omits_quiet, ran: stream.ran() };
            while told <= span.last {
                let proof = rows.judge(told);
                if proof == Proof::Nothing {
                    break;
                }
                let age_ms = exchange_now.0 - interval.close_time(told).0;
                tell_recalled(stream, &mut way, (told, age_ms), proof, now.mono);
                told = UnixMs(told.0 + interval.ms());
            }
        }
        let (next, begin) = (stream.series.next(), begin_of(stream, exchange_now, now.mono));
        let repair = &mut stream.repair;
        // An answer may have been asked for by a wish that has ended meanwhile.
        let is_awaited = |recall: &Recall| {
            matches!(recall.step(next, begin, interval), RecallStep::Ask { span: awaited, .. }
                if awaited.first == span.first)
        };
        if let Some(recall) = repair.recalls.front_mut().filter(|recall| is_awaited(recall)) {
            recall.failures = if told > span.first { 0 } else { recall.failures + 1 };
            if told > span.first {
                let first = recall.told.map_or(span.first, |(first, _)| first);
                recall.told = Some((first, told));
            }
            let wait = if told > span.last { 0 } else { recall.failures.max(1) };
            repair.recall_at = match wait {
                0 => now.mono,
                failures => now.mono.after(pause(failures - 1)),
            };
        }
        self.end_recalls(id, now);
        self.urgent.push(id);
    }
}

/// Tells one window of the past, so old by the exchange's clock: as news where it was owed, else to those who asked.
fn tell_recalled(
    stream: &mut Stream,
    way: &mut Way<'_>,
    (open_time, age_ms): (UnixMs, i64),
    proof: Proof,
    now: MonoNs,
) {
    let instrument = stream.id;
    let settled = match proof {
        Proof::Closed(candle) => closed_by_rest(instrument, candle, now),
        Proof::Empty => Settled::Empty { open_time },
        Proof::Unreadable => {
            way.metrics.closed_queue_depth.add(1);
            return way.queue.push_closed(MarketEvent::RecallGap { instrument, open_time });
        }
        Proof::Gone | Proof::Nothing => return,
    };
    let is_owed = stream.series.is_owed(open_time);
    if is_owed && !matches!(settle_to(stream, way, &settled), Verdict::Late | Verdict::Duplicate) {
        return;
    }
    if let (false, Settled::Candle(update)) = (is_owed, &settled) {
        stream.series.remember(&update.candle);
        stream.repair.comparisons.note_recalled(open_time, age_ms, now);
    }
    let event = match settled {
        Settled::Candle(update) => MarketEvent::Recalled(update),
        Settled::Empty { open_time } => {
            MarketEvent::Empty { instrument, open_time, is_recalled: true }
        }
    };
    way.metrics.closed_queue_depth.add(1);
    way.queue.push_closed(event);
}
