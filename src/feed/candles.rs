//! Candles on their way from a message to the ring: verdicts, finality, publishing. The hot path: a
//! push that fits its series allocates nothing and is logged nowhere.

use crate::clock::{Now, UnixMs};
use crate::market::{CandleUpdate, FinalBy, Market, Source, Verdict};
use crate::messages::MarketEvent;
use crate::metrics::{DecodeErrorKind, FeedMetrics};
use crate::venue::{self, Finality, Kline, Klines};

use super::plan::{Check, Stream, Streams};
use super::publish::PublishQueue;

/// Takes every candle of a message, or none: a message that is wrong in one is not to be trusted.
/// Whether one of them was wanted.
pub(super) fn take_klines(
    streams: &mut Streams,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    market: Market,
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
        if stream.is_wanted {
            take_kline(stream, queue, metrics, kline, now);
            is_delivered = true;
        }
    }
    Ok(is_delivered)
}

fn take_kline(
    stream: &mut Stream,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    kline: &Kline<'_>,
    now: Now,
) {
    if let Some(UnixMs(sent_ms)) = kline.event_time {
        let latency_us = now.unix_us.saturating_sub(sent_ms.saturating_mul(1000)).max(0);
        metrics.quote_latency.record_ns(latency_us.unsigned_abs().saturating_mul(1000));
    }
    (stream.is_delivering, stream.check) = (true, Check::Idle);
    let finality = venue::finality(stream.instrument.market);
    if finality != Finality::Flag {
        close_predecessor(stream, queue, metrics, kline, now);
    }
    let update = CandleUpdate {
        instrument: stream.id,
        candle: kline.candle,
        event_time: kline.event_time,
        received: now.mono,
        final_by: None,
        source: Source::Ws,
        revision: 0,
    };
    if kline.is_closed == Some(true) {
        return close(stream, queue, metrics, update, FinalBy::Flag);
    }
    match stream.series.judge_open(&kline.candle) {
        Verdict::Open => take_open(stream, queue, metrics, update, kline),
        Verdict::Late if finality == Finality::Successor && is_afterthought(stream, kline) => {
            close(stream, queue, metrics, update, FinalBy::Successor);
        }
        _ => metrics.late.increment(),
    }
}

/// The first message of a later window ends the candle before it, if nothing of that one can have
/// been missed.
fn close_predecessor(
    stream: &mut Stream,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    kline: &Kline<'_>,
    now: Now,
) {
    let is_unbroken = std::mem::replace(&mut stream.is_unbroken, true);
    let Some((event_time, candle)) = stream.newest_open else { return };
    let is_closed = stream.series.watermark() >= Some(candle.open_time);
    if is_closed || !is_unbroken || kline.candle.open_time <= candle.open_time {
        return;
    }
    let update = CandleUpdate {
        instrument: stream.id,
        candle,
        event_time,
        received: now.mono,
        final_by: None,
        source: Source::Ws,
        revision: 0,
    };
    close(stream, queue, metrics, update, FinalBy::Successor);
}

/// Whether a candle that was closed by its successor got further trades after all.
fn is_afterthought(stream: &Stream, kline: &Kline<'_>) -> bool {
    let closed = stream.series.newest_closed();
    closed.is_some_and(|closed| {
        closed.open_time == kline.candle.open_time && closed.trades < kline.candle.trades
    })
}

/// Closes a candle, as far as its series agrees.
fn close(
    stream: &mut Stream,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    update: CandleUpdate,
    final_by: FinalBy,
) {
    let verdict = stream.series.close(&update.candle);
    let revision = if let Verdict::Correction { revision } = verdict { revision } else { 0 };
    let update = CandleUpdate { final_by: Some(final_by), revision, ..update };
    match verdict {
        Verdict::Duplicate => metrics.duplicates.increment(),
        Verdict::Closed | Verdict::Correction { .. } | Verdict::ClosedAfterGap { .. } => {
            take_closed(stream, queue, metrics, update, verdict);
        }
        Verdict::Late | Verdict::Open | Verdict::Misaligned => metrics.late.increment(),
    }
}

/// An open candle is made ready; where there is no room it replaces the one that waits. Not if it is
/// older than what was already seen.
fn take_open(
    stream: &mut Stream,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    update: CandleUpdate,
    kline: &Kline<'_>,
) {
    if let Some((seen_at, seen)) = &stream.newest_open {
        if (kline.event_time, kline.candle.open_time) == (*seen_at, seen.open_time)
            && *seen == kline.candle
        {
            return metrics.duplicates.increment();
        }
        if kline.candle.open_time < seen.open_time || kline.event_time < *seen_at {
            return metrics.late.increment();
        }
    }
    stream.newest_open = Some((kline.event_time, kline.candle));
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

/// A closed candle goes behind its gap, and takes an open one of its window or before out of the
/// queue.
pub(super) fn take_closed(
    stream: &mut Stream,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    update: CandleUpdate,
    verdict: Verdict,
) {
    let was_resumed = std::mem::replace(&mut stream.is_resumed, false);
    if let Verdict::ClosedAfterGap { first_missing, missing } = verdict
        && !was_resumed
    {
        metrics.gaps.increment();
        metrics.gap_candles.add(missing);
        metrics.closed_queue_depth.add(1);
        queue.push_closed(MarketEvent::Gap { instrument: stream.id, first_missing, missing });
    }
    if matches!(verdict, Verdict::Correction { .. }) {
        metrics.corrections.increment();
    }
    metrics.closed_quotes.increment();
    if let Some(final_by) = update.final_by {
        metrics.closed_by[final_by as usize].increment();
    }
    metrics.closed_queue_depth.add(1);
    queue.push_closed(MarketEvent::Candle(update));
    let is_past = |open: &mut CandleUpdate| open.candle.open_time <= update.candle.open_time;
    if stream.waiting.take_if(is_past).is_some() {
        metrics.open_queue_depth.add(-1);
    }
}

/// A candle without an exchange's time beside it that opens later than this after the local clock
/// is garbled. Source: clocks are minutes off; a replay or a simulation may run days ahead.
const FUTURE_MAX_MS: i64 = 30 * 86_400_000;
