//! Candles on their way from a message to the ring: verdicts, finality, publishing. The hot path: a
//! push that fits its series allocates nothing and is logged nowhere.

use std::time::Duration;

use crate::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use crate::market::{
    Candle, CandleUpdate, FinalBy, InstrumentId, Market, Settled, Source, Verdict,
};
use crate::messages::MarketEvent;
use crate::metrics::{DecodeErrorKind, FeedMetrics};
use crate::venue::{self, Finality, Kline, Klines};

use super::SessionId;
use super::plan::{Check, Stream, Streams};
use super::publish::PublishQueue;
use super::rows::knows_less;
use super::skew::ExchangeClock;

/// Where candles go, and what is said about them on the way.
pub(super) struct Way<'feed> {
    pub(super) queue: &'feed mut PublishQueue,
    pub(super) metrics: &'feed FeedMetrics,
    /// Streams whose windows are found to be missing: to be asked about in this turn.
    pub(super) urgent: &'feed mut Vec<InstrumentId>,
    pub(super) now: MonoNs,
    /// How long what was pushed had lain in the kernel.
    pub(super) kernel: RoughLapse,
    /// How long a closed candle waits at most, if one before it is missing.
    pub(super) hold: Duration,
}

impl<'feed> Way<'feed> {
    /// The way of what no push brought.
    pub(super) fn new(
        queue: &'feed mut PublishQueue,
        metrics: &'feed FeedMetrics,
        urgent: &'feed mut Vec<InstrumentId>,
        now: MonoNs,
        hold: Duration,
    ) -> Self {
        Self { queue, metrics, urgent, now, kernel: RoughLapse::UNKNOWN, hold }
    }

    fn hold_until(&self) -> MonoNs {
        self.now.after(self.hold)
    }
}

/// Takes every candle of a message of one session, or none: a message that is wrong in one is not to
/// be trusted. Whether one of them was wanted.
pub(super) fn take_klines(
    streams: &mut Streams,
    clock: &mut ExchangeClock,
    way: &mut Way<'_>,
    (market, session): (Market, SessionId),
    klines: &Klines<'_>,
    now: Now,
) -> Result<bool, DecodeErrorKind> {
    let latest_open_ms = now.unix_ms().0 + FUTURE_MAX_MS;
    for kline in klines {
        // A single one is looked for only once, below.
        if klines.len() > 1 && streams.find(market, kline.symbol, kline.interval).is_none() {
            return Err(DecodeErrorKind::Unknown);
        }
        if kline.event_time.is_none() && kline.candle.open_time.0 > latest_open_ms {
            return Err(DecodeErrorKind::BadField);
        }
        if !kline.interval.is_aligned(kline.candle.open_time) {
            return Err(DecodeErrorKind::Misaligned);
        }
    }
    let mut is_delivered = false;
    for kline in klines {
        let stream = streams.find(market, kline.symbol, kline.interval);
        let stream = stream.ok_or(DecodeErrorKind::Unknown)?;
        if let Some(time) = kline.event_time {
            clock.note(time, now.mono);
        }
        if stream.is_wanted {
            take_kline(stream, clock, way, (session, kline), now);
            is_delivered = true;
        }
    }
    Ok(is_delivered)
}

fn take_kline(
    stream: &mut Stream,
    clock: &ExchangeClock,
    way: &mut Way<'_>,
    (session, kline): (SessionId, &Kline<'_>),
    now: Now,
) {
    if let Some(UnixMs(sent_ms)) = kline.event_time {
        let lag_us = now.unix_us.saturating_sub(sent_ms.saturating_mul(1000));
        if lag_us < 0 {
            way.metrics.event_time_ahead.increment();
        }
        way.metrics.receive_lag.record_ns(lag_us.max(0).unsigned_abs().saturating_mul(1000));
    }
    (stream.is_delivering, stream.check) = (true, Check::Idle);
    stream.rhythm.beat(now.mono);
    let is_unbroken = stream.unbroken_on.replace(session) == Some(session);
    if !is_unbroken {
        stream.unbroken_since = now.mono;
    }
    let is_past = stream.series.watermark() >= Some(kline.candle.open_time);
    if stream.series.next().is_none() && !is_past {
        begin(stream, clock, kline, now);
    }
    let finality = venue::finality(stream.instrument.market);
    if finality != Finality::Flag && is_unbroken {
        close_predecessor(stream, way, kline, now);
    }
    let update = CandleUpdate {
        instrument: stream.id,
        candle: kline.candle,
        event_time: kline.event_time,
        received: now.mono,
        until_ring: Lapse::default(),
        kernel: way.kernel,
        final_by: None,
        source: Source::Ws,
        revision: 0,
    };
    if kline.is_closed == Some(true) {
        close(stream, way, update, FinalBy::Flag);
    } else {
        match stream.series.judge_open(&kline.candle) {
            Verdict::Open => take_open(stream, way, update, (session, kline)),
            Verdict::Late if finality == Finality::Successor && is_afterthought(stream, kline) => {
                close(stream, way, update, FinalBy::Successor);
            }
            _ => way.metrics.late.increment(),
        }
    }
    note_over(stream, way, is_unbroken, now.mono);
}

/// The first candle of a stream: its windows are owed from the one in which it was subscribed, by
/// the exchange's time.
fn begin(stream: &mut Stream, clock: &ExchangeClock, kline: &Kline<'_>, now: Now) {
    let interval = stream.instrument.interval;
    let running = kline.candle.open_time;
    let here = kline.event_time.unwrap_or_else(|| clock.now(now));
    let here = here.clamp(running, interval.close_time(running));
    let since = now.mono.since(stream.wanted_since).saturating_sub(WAY_MAX).as_millis();
    let wanted = here.0.saturating_sub(i64::try_from(since).unwrap_or(i64::MAX));
    stream.series.begin(interval.open_time(UnixMs(wanted)).min(running));
}

/// A message of a later window shows that the next one is over. After a break it was surely missed;
/// else its end may still be on its way.
fn note_over(stream: &mut Stream, way: &mut Way<'_>, is_unbroken: bool, now: MonoNs) {
    let shown = stream.newest_open.as_ref().map(|(_, open)| open.open_time);
    if stream.series.next() >= shown {
        stream.repair.over_since = None;
    } else if !is_unbroken {
        (stream.repair.over_since, stream.repair.ask_at) = (Some(MonoNs(0)), now);
        way.urgent.push(stream.id);
    } else {
        stream.repair.over_since.get_or_insert(now);
    }
}

/// The first message of a later window ends the candle before it, if nothing of that one can have
/// been missed.
fn close_predecessor(stream: &mut Stream, way: &mut Way<'_>, kline: &Kline<'_>, now: Now) {
    let Some((event_time, candle)) = stream.newest_open else { return };
    let is_closed = stream.series.judge_open(&candle) != Verdict::Open;
    if is_closed || kline.candle.open_time <= candle.open_time {
        return;
    }
    let update = CandleUpdate {
        instrument: stream.id,
        candle,
        event_time,
        received: now.mono,
        until_ring: Lapse::default(),
        kernel: way.kernel,
        final_by: None,
        source: Source::Ws,
        revision: 0,
    };
    close(stream, way, update, FinalBy::Successor);
}

/// Whether a candle that was closed by its successor got further trades after all.
fn is_afterthought(stream: &Stream, kline: &Kline<'_>) -> bool {
    let closed = stream.series.published(kline.candle.open_time);
    closed.is_some_and(|closed| closed.trades < kline.candle.trades)
}

fn close(stream: &mut Stream, way: &mut Way<'_>, update: CandleUpdate, final_by: FinalBy) {
    let settled = Settled::Candle(CandleUpdate { final_by: Some(final_by), ..update });
    settle(stream, way, &settled);
}

/// Takes what a window came to, as far as its series agrees. Whether it was news.
pub(super) fn settle(stream: &mut Stream, way: &mut Way<'_>, settled: &Settled) -> bool {
    let verdict = settle_to(stream, way, settled);
    !matches!(verdict, Verdict::Duplicate | Verdict::Late | Verdict::Misaligned)
}

/// The same, with the series' word for it.
pub(super) fn settle_to(stream: &mut Stream, way: &mut Way<'_>, settled: &Settled) -> Verdict {
    let verdict = stream.series.settle(settled);
    match verdict {
        Verdict::Next => {
            publish(stream, way, settled, 0);
            release(stream, way);
        }
        Verdict::Held => {
            stream.repair.hold_until.get_or_insert(way.hold_until());
            stream.repair.ask_at = MonoNs(0);
            way.metrics.held.increment();
            way.urgent.push(stream.id);
        }
        Verdict::Repaired => {
            way.metrics.repaired.increment();
            publish(stream, way, settled, 0);
        }
        Verdict::Correction { revision } => {
            way.metrics.corrections.increment();
            publish(stream, way, settled, revision);
        }
        Verdict::Duplicate => way.metrics.duplicates.increment(),
        Verdict::Open | Verdict::Late | Verdict::Misaligned => way.metrics.late.increment(),
    }
    verdict
}

/// Publishes what waited, as far as nothing before it is missing.
fn release(stream: &mut Stream, way: &mut Way<'_>) {
    while let Some(settled) = stream.series.pop_held() {
        publish(stream, way, &settled, 0);
    }
    let hold_until = stream.series.hole().map(|_| way.hold_until());
    if hold_until.is_none() || stream.repair.hold_until.is_none() {
        stream.repair.hold_until = hold_until;
    }
}

/// The hold is over: the hole is told as a gap, and what waited for it follows.
pub(super) fn release_given_up(stream: &mut Stream, way: &mut Way<'_>) {
    let Some(hole) = stream.series.give_up() else { return };
    let missing = hole.count(stream.instrument.interval);
    way.metrics.gaps.increment();
    way.metrics.gap_candles.add(missing);
    way.metrics.closed_queue_depth.add(1);
    let (instrument, first_missing) = (stream.id, hole.first);
    way.queue.push_closed(MarketEvent::Gap { instrument, first_missing, missing });
    stream.repair.hold_until = None;
    release(stream, way);
}

/// An open candle is made ready; where there is no room it replaces the one that waits. Not if it is
/// older than what was already seen.
fn take_open(
    stream: &mut Stream,
    way: &mut Way<'_>,
    update: CandleUpdate,
    (session, kline): (SessionId, &Kline<'_>),
) {
    let Way { queue, metrics, .. } = way;
    if let Some((seen_at, seen)) = &stream.newest_open {
        if (kline.event_time, kline.candle.open_time) == (*seen_at, seen.open_time)
            && *seen == kline.candle
        {
            return metrics.duplicates.increment();
        }
        // One connection keeps its order; on another, an older candle may come later.
        let is_behind = stream.newest_on != Some(session)
            && kline.candle.open_time == seen.open_time
            && knows_less(&kline.candle, seen);
        if kline.candle.open_time < seen.open_time || kline.event_time < *seen_at || is_behind {
            return metrics.late.increment();
        }
    }
    stream.newest_on = Some(session);
    let before = stream.newest_open.replace((kline.event_time, kline.candle));
    let is_over = |(_, ran): &(_, Candle)| ran.open_time < kline.candle.open_time;
    if let Some((_, ran)) = before.filter(is_over) {
        stream.ran_before = Some(ran);
    }
    metrics.open_quotes.increment();
    if stream.waiting.is_none() && queue.has_room_for_open() {
        metrics.open_queue_depth.add(1);
        return queue.push_open(update);
    }
    if stream.waiting.replace(update).is_none() {
        metrics.open_queue_depth.add(1);
    }
    if !std::mem::replace(&mut stream.is_queued, true) {
        queue.push_conflated(stream.id);
    }
}

/// Makes a settled window ready, and takes an open candle of it or of one before out of the queue.
fn publish(stream: &mut Stream, way: &mut Way<'_>, settled: &Settled, revision: u16) {
    let Way { queue, metrics, now, .. } = way;
    let event = match settled {
        Settled::Candle(update) => {
            let update = CandleUpdate { revision, ..*update };
            metrics.closed_quotes.increment();
            if let Some(final_by) = update.final_by {
                metrics.closed_by[final_by as usize].increment();
            }
            let sequence = stream.instrument.interval.seq(update.candle.open_time);
            stream.repair.comparisons.note(&update, sequence, *now);
            MarketEvent::Candle(update)
        }
        Settled::Empty { open_time } => {
            metrics.empty_windows.increment();
            stream.repair.comparisons.note_empty(*open_time, *now);
            MarketEvent::Empty { instrument: stream.id, open_time: *open_time, is_recalled: false }
        }
    };
    metrics.closed_queue_depth.add(1);
    queue.push_closed(event);
    let end = settled.open_time();
    let is_past = |open: &mut CandleUpdate| open.candle.open_time <= end;
    if stream.waiting.take_if(is_past).is_some() {
        metrics.open_queue_depth.add(-1);
    }
}

/// A message may be so long on its way: a window that ended just before the subscription is not owed.
const WAY_MAX: Duration = Duration::from_secs(1);

/// A candle without an exchange's time beside it that opens later than this after the local clock
/// is garbled. Source: clocks are minutes off; a replay or a simulation may run days ahead.
const FUTURE_MAX_MS: i64 = 30 * 86_400_000;
