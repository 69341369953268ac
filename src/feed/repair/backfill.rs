//! The past that clients ask for: closed windows from before the stream's first one, by REST. Owns
//! how far back and how far forward is asked, so that the past joins the present without a hole:
//! where nothing was pushed yet, the end of the past is where the present begins.

use crate::clock::{MonoNs, Now, UnixMs};
use crate::limits::PAST_PATIENCE_MAX;
use crate::market::{Instrument, InstrumentId, Interval, Settled, Span, Verdict};
use crate::messages::{MarketEvent, RecallFrom, RestResponse, Wish};
use crate::venue::RestCandles;

use crate::feed::Feed;
use crate::feed::candles::{Way, settle_to};
use crate::feed::repair::missing::{oldest_row, pause, rows_max};
use crate::feed::repair::rest_evidence::{Proof, closed_by_rest, knows_less};
use crate::feed::repair::turns::Turn;
use crate::feed::stream::Recall;
use crate::feed::stream::{ContractSize, Stream};
use crate::feed::streams::begin_of;

/// The windows that are to be asked for, or that all is told.
pub(crate) enum RecallStep {
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
    /// What is next. `begin`: where the stream is to begin, if it has not; `oldest`: the exchange has
    /// no rows of windows before.
    fn step(
        &self,
        next: Option<UnixMs>,
        (begin, oldest): (UnixMs, UnixMs),
        interval: Interval,
    ) -> RecallStep {
        let end = self.to.unwrap_or(next.unwrap_or(begin).before(interval));
        let (first, cursor) = self.told.unwrap_or_else(|| {
            let first = match self.from {
                RecallFrom::Window(first) => first,
                RecallFrom::Last(count) => UnixMs(end.0 - (i64::from(count) - 1) * interval.ms()),
            };
            (first, first)
        });
        // Those that are gone are passed over at once, not one by one as time goes on.
        let is_gone = cursor.0 + GONE_AT_ONCE * interval.ms() < oldest.0;
        match Span::new(if is_gone { oldest } else { cursor }, end) {
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

/// Where the stream is to begin, if it has not, and the oldest window that REST knows.
fn bounds_of(stream: &Stream, exchange_now: UnixMs, now: MonoNs) -> (UnixMs, UnixMs) {
    let Instrument { market, interval, .. } = stream.instrument;
    (begin_of(stream, exchange_now, now), oldest_row(market, interval, exchange_now))
}

/// Hands out the wishes for which a question is to wait from now on.
pub(crate) fn due_wishes(stream: &mut Stream, now: MonoNs, mut ask: impl FnMut(Wish)) {
    if stream.contract_size != ContractSize::Awaited {
        let recalls = stream.repair.recalls.iter_mut();
        for recall in recalls.filter(|recall| !recall.is_asking && recall.ask_at <= now) {
            recall.is_asking = true;
            ask(recall.wish);
        }
    }
}

/// The wish of this number, if it has not ended.
fn recall_of(stream: &mut Stream, ticket: u64) -> Option<&mut Recall> {
    stream.repair.recalls.iter_mut().find(|recall| recall.wish.ticket == ticket)
}

/// The windows to be asked for now, if any are.
pub(crate) fn recall_span(
    stream: &mut Stream,
    ticket: u64,
    exchange_now: UnixMs,
    now: MonoNs,
) -> Option<Span> {
    let Instrument { market, interval, .. } = stream.instrument;
    let (next, bounds) = (stream.series.next(), bounds_of(stream, exchange_now, now));
    let recall = recall_of(stream, ticket)?;
    let step = recall.step(next, bounds, interval);
    recall.is_asking = matches!(step, RecallStep::Ask { .. });
    match step {
        RecallStep::Ask { first, span } => {
            if span.first == bounds.1 {
                recall.told = Some((first, span.first));
            }
            Some(span.head(rows_max(market), interval))
        }
        RecallStep::Done { .. } => None,
    }
}

impl Feed {
    /// Somebody wants closed candles of the past.
    pub(crate) fn recall(
        &mut self,
        id: InstrumentId,
        (from, to): (RecallFrom, Option<UnixMs>),
        wish: Wish,
        now: MonoNs,
    ) {
        let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else { return };
        let until = now.after(PAST_PATIENCE_MAX);
        let (told, failures, is_asking, ask_at) = (None, 0, false, now);
        let recall = Recall { wish, from, to, told, until, failures, is_asking, ask_at };
        stream.repair.recalls.push(recall);
        self.urgent.push(id);
    }

    /// Ends the wishes that need nothing more from REST, or have waited too long.
    pub(crate) fn end_recalls(&mut self, id: InstrumentId, now: Now) {
        let Self { streams, queue, metrics, clocks, .. } = self;
        let Some(stream) = streams.stream_mut(id) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let bounds = bounds_of(stream, clocks[market.index()].now(now), now.mono);
        let mut at = 0;
        while let Some(recall) = stream.repair.recalls.get(at) {
            let (first, through) = match recall.step(stream.series.next(), bounds, interval) {
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
                RecallStep::Ask { .. } => {
                    at += 1;
                    continue;
                }
            };
            let ticket = stream.repair.recalls.remove(at).wish.ticket;
            metrics.market(market).closed_queue_depth.add(1);
            let end = MarketEvent::RecallEnd { instrument: id, from: first, through, ticket };
            queue.push_closed(end);
        }
    }

    /// The rows of recalled windows.
    pub(crate) fn learn_recalled(
        &mut self,
        (id, wish): Turn,
        span: Span,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let read = match self.read_rows(id, result, now) {
            Ok((read, time)) => Some((read, time)),
            Err(error) => {
                self.tell_failed(id, "candles of the past", &error);
                None
            }
        };
        let exchange_now = self.clocks[market.index()].now(now);
        let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else { return };
        if read.is_some() && stream.series.next().is_none() {
            stream.series.begin(begin_of(stream, exchange_now, now.mono));
        }
        let told = match &read {
            Some((read, time)) => self.tell_recalled_rows(id, (read, *time), span, now),
            None => span.first,
        };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let (next, bounds) = (stream.series.next(), bounds_of(stream, exchange_now, now.mono));
        let again = stream.repair.first_answers.again_at(Span { first: told, ..span });
        // What was told meanwhile is not awaited any more.
        let awaited = |recall: &Recall| match recall.step(next, bounds, interval) {
            RecallStep::Ask { first, span: awaited } if awaited.first == span.first => Some(first),
            _ => None,
        };
        // It may have ended meanwhile.
        if let Some(recall) = recall_of(stream, wish.ticket) {
            recall.is_asking = false;
            let Some(first) = awaited(recall) else { return self.urgent.push(id) };
            recall.failures = if told > span.first { 0 } else { recall.failures + 1 };
            if told > span.first {
                recall.told = Some((first, told));
            }
            recall.ask_at = match told > span.last {
                true => now.mono,
                false => again.unwrap_or(now.mono.after(pause(recall.failures.saturating_sub(1)))),
            };
        }
        self.end_recalls(id, now);
        self.urgent.push(id);
    }

    /// Publishes what the rows prove of the windows `span`, up to the first of which they do not
    /// prove anything: that one is returned.
    fn tell_recalled_rows(
        &mut self,
        id: InstrumentId,
        read: (&RestCandles, Option<UnixMs>),
        span: Span,
        now: Now,
    ) -> UnixMs {
        let Some(rows) = self.rows(id, read, span, now) else { return span.first };
        let Self { streams, queue, metrics, urgent, config, clocks, .. } = self;
        let Some(stream) = streams.stream_mut(id) else { return span.first };
        let Instrument { market, interval, .. } = stream.instrument;
        let metrics = metrics.market(market);
        let mut way = Way::new(queue, metrics, urgent, now.mono, config.gap_hold);
        let exchange_now = clocks[market.index()].now(now);
        let (mut told, mut open_time) = (span.first, span.first);
        while open_time <= span.last {
            let proof = stream.repair.first_answers.prove(&rows, open_time, now.mono);
            let next = UnixMs(open_time.0 + interval.ms());
            // What is not proven yet is remembered of the later windows, too.
            if told == open_time && proof != Proof::Nothing {
                let age_ms = exchange_now.0 - interval.close_time(open_time).0;
                tell_recalled(stream, &mut way, (open_time, age_ms), proof, now.mono);
                told = next;
            }
            open_time = next;
        }
        told
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
        Proof::Closed(row) => {
            // A row that lags is no news about a candle that was published.
            let published = stream.series.published(open_time);
            let candle = published.filter(|ours| knows_less(&row, ours)).copied();
            closed_by_rest(stream, &candle.unwrap_or(row), now)
        }
        Proof::Empty => Settled::Empty { open_time },
        Proof::Unreadable => {
            way.metrics.closed_queue_depth.add(1);
            return way.queue.push_closed(MarketEvent::RecallGap { instrument, open_time });
        }
        Proof::Likely(_) | Proof::Gone | Proof::Nothing => return,
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

/// Windows that are gone from REST at least when a wish passes them over. Source: half of what the
/// oldest row may be wrong by.
const GONE_AT_ONCE: i64 = 30;
