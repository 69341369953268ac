//! Backfill: closed windows from before a series began, which clients want, fetched by REST. Owns
//! how far back and how far forward is fetched, so that history joins the live stream without a
//! gap. If no candle was pushed yet, the series begins where the backfill ends.

use crate::clock::{MonoNs, Now, UnixMs};
use crate::feed::Feed;
use crate::feed::candles::{Publisher, judge_closed};
use crate::feed::repair::missing::{oldest_row, pause, rows_max};
use crate::feed::repair::rest_evidence::{Proof, closed_by_rest, knows_less};
use crate::feed::repair::turns::Turn;
use crate::feed::stream::{Backfill, ContractSize, FeedStream};
use crate::feed::streams::begin_of;
use crate::limits::PAST_PATIENCE_MAX;
use crate::market::{ClosedWindow, Instrument, InstrumentId, Interval, Span, Verdict};
use crate::messages::{BackfillFrom, MarketEvent, RestResponse, Wish};
use crate::venue::RestCandles;

/// The next step of a backfill: windows to fetch, or the end.
pub(crate) enum BackfillStep {
    /// Fetch these windows. `first` is the first window of the whole backfill.
    Fetch { first: UnixMs, span: Span },
    /// Nothing is left to fetch; `through` was the last window.
    Done { first: UnixMs, through: UnixMs },
}

impl Backfill {
    /// The next step. `begin` is where the series will begin if it has not yet; REST has no windows
    /// before `oldest`.
    fn step(
        &self,
        next: Option<UnixMs>,
        (begin, oldest): (UnixMs, UnixMs),
        interval: Interval,
    ) -> BackfillStep {
        let end = self.to.unwrap_or(next.unwrap_or(begin).before(interval));
        let (first, cursor) = self.published.unwrap_or_else(|| {
            let first = match self.from {
                BackfillFrom::Window(first) => first,
                BackfillFrom::Last(count) => UnixMs(end.0 - (i64::from(count) - 1) * interval.ms()),
            };
            (first, first)
        });
        // Windows that REST no longer has are skipped at once, not one by one as time passes.
        let is_gone = cursor.0 + GONE_AT_ONCE * interval.ms() < oldest.0;
        match Span::new(if is_gone { oldest } else { cursor }, end) {
            Some(span) => BackfillStep::Fetch { first, span },
            None => BackfillStep::Done { first, through: end.max(first.before(interval)) },
        }
    }
}

impl UnixMs {
    fn before(self, interval: Interval) -> Self {
        Self(self.0 - interval.ms())
    }
}

/// Where the series will begin if it has not yet, and the oldest window that REST has.
fn bounds_of(stream: &FeedStream, exchange_now: UnixMs, now: MonoNs) -> (UnixMs, UnixMs) {
    let Instrument { market, interval, .. } = stream.instrument;
    (begin_of(stream, exchange_now, now), oldest_row(market, interval, exchange_now))
}

/// Calls `ask` for each wish that needs a request now, and marks it as waiting.
pub(crate) fn due_wishes(stream: &mut FeedStream, now: MonoNs, mut ask: impl FnMut(Wish)) {
    if stream.contract_size != ContractSize::Awaited {
        let backfills = stream.repair.backfills.iter_mut();
        for backfill in backfills.filter(|backfill| !backfill.is_asking && backfill.ask_at <= now) {
            backfill.is_asking = true;
            ask(backfill.wish);
        }
    }
}

/// The backfill with this ticket, if it has not ended.
fn backfill_of(stream: &mut FeedStream, ticket: u64) -> Option<&mut Backfill> {
    stream.repair.backfills.iter_mut().find(|backfill| backfill.wish.ticket == ticket)
}

/// The windows to fetch now, if there are any.
pub(crate) fn backfill_span(
    stream: &mut FeedStream,
    ticket: u64,
    exchange_now: UnixMs,
    now: MonoNs,
) -> Option<Span> {
    let Instrument { market, interval, .. } = stream.instrument;
    let (next, bounds) = (stream.series.next(), bounds_of(stream, exchange_now, now));
    let backfill = backfill_of(stream, ticket)?;
    let step = backfill.step(next, bounds, interval);
    backfill.is_asking = matches!(step, BackfillStep::Fetch { .. });
    match step {
        BackfillStep::Fetch { first, span } => {
            if span.first == bounds.1 {
                backfill.published = Some((first, span.first));
            }
            Some(span.head(rows_max(market), interval))
        }
        BackfillStep::Done { .. } => None,
    }
}

impl Feed {
    /// Begins a backfill that a client wants.
    pub(crate) fn backfill(
        &mut self,
        id: InstrumentId,
        (from, to): (BackfillFrom, Option<UnixMs>),
        wish: Wish,
        now: MonoNs,
    ) {
        let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else { return };
        let until = now.after(PAST_PATIENCE_MAX);
        let (published, failures, is_asking, ask_at) = (None, 0, false, now);
        let backfill = Backfill { wish, from, to, published, until, failures, is_asking, ask_at };
        stream.repair.backfills.push(backfill);
        self.urgent.push(id);
    }

    /// Ends the backfills that need nothing more from REST or have waited too long.
    pub(crate) fn end_backfills(&mut self, id: InstrumentId, now: Now) {
        let Self { streams, queue, metrics, clocks, .. } = self;
        let Some(stream) = streams.stream_mut(id) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let bounds = bounds_of(stream, clocks[market.index()].begin_now(now), now.mono);
        let mut at = 0;
        while let Some(backfill) = stream.repair.backfills.get(at) {
            let (first, through) = match backfill.step(stream.series.next(), bounds, interval) {
                BackfillStep::Done { first, through } => {
                    // The windows that follow are owed from here on, if none was owed before.
                    if backfill.to.is_none() {
                        stream.series.begin(UnixMs(through.0 + interval.ms()));
                    }
                    (first, through)
                }
                // Before the exchange's first candle or answer it is unknown where history ends.
                BackfillStep::Fetch { first, span }
                    if backfill.until <= now.mono
                        && (backfill.to.is_some() || stream.series.next().is_some()) =>
                {
                    (first, span.last)
                }
                BackfillStep::Fetch { .. } => {
                    at += 1;
                    continue;
                }
            };
            let ticket = stream.repair.backfills.remove(at).wish.ticket;
            metrics.market(market).closed_queue_depth.add(1);
            let end = MarketEvent::BackfillEnd { instrument: id, from: first, through, ticket };
            queue.push_closed(end);
        }
    }

    /// Takes the rows of fetched windows.
    pub(crate) fn apply_backfill(
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
                self.report_failed(id, "candles of the past", &error);
                None
            }
        };
        let exchange_now = self.clocks[market.index()].begin_now(now);
        let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else { return };
        if read.is_some() && stream.series.next().is_none() {
            stream.series.begin(begin_of(stream, exchange_now, now.mono));
        }
        let published = match &read {
            Some((read, time)) => self.publish_backfilled_rows(id, (read, *time), span, now),
            None => span.first,
        };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let (next, bounds) = (stream.series.next(), bounds_of(stream, exchange_now, now.mono));
        let again = stream.repair.first_answers.again_at(Span { first: published, ..span });
        // Windows that were published meanwhile are no longer awaited.
        let awaited = |backfill: &Backfill| match backfill.step(next, bounds, interval) {
            BackfillStep::Fetch { first, span: awaited } if awaited.first == span.first => {
                Some(first)
            }
            _ => None,
        };
        // The backfill may have ended meanwhile.
        if let Some(backfill) = backfill_of(stream, wish.ticket) {
            backfill.is_asking = false;
            let Some(first) = awaited(backfill) else { return self.urgent.push(id) };
            backfill.failures = if published > span.first { 0 } else { backfill.failures + 1 };
            if published > span.first {
                backfill.published = Some((first, published));
            }
            backfill.ask_at = match published > span.last {
                true => now.mono,
                false => {
                    again.unwrap_or(now.mono.after(pause(backfill.failures.saturating_sub(1))))
                }
            };
        }
        self.end_backfills(id, now);
        self.urgent.push(id);
    }

    /// Publishes what the rows prove about the windows of `span`, in order. Returns the first
    /// window without a proof.
    fn publish_backfilled_rows(
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
        let mut publisher = Publisher::new(queue, metrics, urgent, now.mono, config.gap_hold);
        let exchange_now = clocks[market.index()].now(now);
        let (mut published, mut open_time) = (span.first, span.first);
        while open_time <= span.last {
            let proof = stream.repair.first_answers.prove(&rows, open_time, now.mono);
            let next = UnixMs(open_time.0 + interval.ms());
            // Evidence about the later windows is remembered too.
            if published == open_time && proof != Proof::Nothing {
                let age_ms = exchange_now.0 - interval.close_time(open_time).0;
                publish_backfilled(stream, &mut publisher, (open_time, age_ms), proof, now.mono);
                published = next;
            }
            open_time = next;
        }
        published
    }
}

/// Publishes one fetched window, which ended `age_ms` ago by the exchange's clock: as a window of
/// the series if it is owed there, else only to the clients that want it.
fn publish_backfilled(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    (open_time, age_ms): (UnixMs, i64),
    proof: Proof,
    now: MonoNs,
) {
    let instrument = stream.id;
    let closed_window = match proof {
        Proof::Closed(row) => {
            // A row that lags is no correction of a published candle.
            let published = stream.series.published(open_time);
            let candle = published.filter(|ours| knows_less(&row, ours)).copied();
            closed_by_rest(stream, &candle.unwrap_or(row), now)
        }
        Proof::Empty => ClosedWindow::Empty { open_time },
        Proof::Unreadable => {
            publisher.metrics.closed_queue_depth.add(1);
            return publisher.queue.push_closed(MarketEvent::BackfillGap { instrument, open_time });
        }
        Proof::Likely(_) | Proof::Gone | Proof::Nothing => return,
    };
    let is_owed = stream.series.is_owed(open_time);
    if is_owed
        && !matches!(
            judge_closed(stream, publisher, &closed_window),
            Verdict::Late | Verdict::Duplicate
        )
    {
        return;
    }
    if let (false, ClosedWindow::Candle(update)) = (is_owed, &closed_window) {
        stream.series.remember(&update.candle);
        stream.repair.verifications.add_backfilled(open_time, age_ms, now);
    }
    let event = match closed_window {
        ClosedWindow::Candle(update) => MarketEvent::Backfilled(update),
        ClosedWindow::Empty { open_time } => {
            MarketEvent::Empty { instrument, open_time, is_backfilled: true }
        }
    };
    publisher.metrics.closed_queue_depth.add(1);
    publisher.queue.push_closed(event);
}

/// The smallest number of vanished windows that a backfill skips at once. Source: half of the error
/// of the oldest row, `REACH_ERROR`.
const GONE_AT_ONCE: i64 = 30;
