//! The path of a candle from an exchange's message to the ring. Owns the verdict on each candle,
//! the evidence that a window is closed, and publishing. Knows no socket and no wire format. This
//! is the hot path: a push that continues its series allocates nothing and logs nothing.

use std::time::Duration;

use crate::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use crate::feed::SessionId;
use crate::feed::exchange_clock::ExchangeClock;
use crate::feed::publish::PublishQueue;
use crate::feed::repair::rest_evidence::knows_less;
use crate::feed::session::subscribe_queue::SubscribeQueue;
use crate::feed::stream::{Check, ContractSize, FeedStream};
use crate::feed::streams::{Streams, begin_of};
use crate::limits::REPAIR_WINDOWS_MAX;
use crate::market::{
    CandleUpdate, ClosedWindow, FinalBy, Instrument, InstrumentId, Market, Source, Span, Verdict,
};
use crate::messages::MarketEvent;
use crate::metrics::{DecodeErrorKind, FeedMetrics};
use crate::venue::{self, Finality, Kline, Klines};

/// What a candle needs on its way to the ring: the queue, the metrics and the time of this turn.
pub(crate) struct Publisher<'feed> {
    pub(crate) queue: &'feed mut PublishQueue,
    pub(crate) metrics: &'feed FeedMetrics,
    /// Streams with missing windows. REST is asked for them in this turn.
    pub(crate) urgent: &'feed mut Vec<InstrumentId>,
    pub(crate) now: MonoNs,
    /// How long the bytes of this push lay in the kernel before they were read.
    pub(crate) kernel: RoughLapse,
    /// How long a closed candle waits at most while a window before it is missing.
    pub(crate) hold: Duration,
}

impl<'feed> Publisher<'feed> {
    /// A publisher for candles that did not come by push. Their time in the kernel is unknown.
    pub(crate) fn new(
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

/// The session that received a message.
#[derive(Clone, Copy)]
pub(crate) struct MessageOrigin<'feed> {
    pub(crate) market: Market,
    pub(crate) session: SessionId,
    /// The instruments that the session carries.
    pub(crate) members: &'feed [InstrumentId],
    /// The subscribe messages of the session.
    pub(crate) subscribe_queue: &'feed SubscribeQueue,
    /// Whether we have sent our Close frame.
    pub(crate) is_closing: bool,
}

impl MessageOrigin<'_> {
    fn carries(&self, stream: &FeedStream) -> bool {
        stream.unbroken_on == Some(self.session) || self.members.contains(&stream.id)
    }

    /// Returns whether the session may still push this series although another session carries it
    /// now. The symbol is compared, not the id: a series that was subscribed again may have another
    /// id.
    fn may_still_push(&self, streams: &Streams, kline: &Kline<'_>) -> bool {
        let is_same = |id| {
            streams.stream(id).is_some_and(|stream| {
                let Instrument { market, symbol, interval } = &stream.instrument;
                let series = (*market, &**symbol, *interval);
                series == (self.market, kline.symbol, kline.interval)
            })
        };
        self.is_closing || self.subscribe_queue.leaving().any(is_same)
    }

    /// Ignores `error` if another session carries the stream and the exchange may still push it
    /// here. Such a candle is not an error, and is not taken.
    ///
    /// # Errors
    /// `error` in every other case.
    fn ignore_foreign(
        &self,
        streams: &Streams,
        kline: &Kline<'_>,
        error: DecodeErrorKind,
    ) -> Result<(), DecodeErrorKind> {
        match error == DecodeErrorKind::Foreign && self.may_still_push(streams, kline) {
            true => Ok(()),
            false => Err(error),
        }
    }
}

/// Takes all candles of one message, or none: if one candle is wrong, the message is not trusted.
/// Returns whether at least one candle was wanted.
///
/// # Errors
/// Why the message is not trusted; the caller counts it.
pub(crate) fn take_klines(
    streams: &mut Streams,
    clock: &mut ExchangeClock,
    publisher: &mut Publisher<'_>,
    origin: MessageOrigin<'_>,
    klines: &Klines<'_>,
    now: Now,
) -> Result<bool, DecodeErrorKind> {
    // Nearly all messages have one candle.
    if let [kline] = &klines[..] {
        let stream = find(streams, origin.market, kline)?;
        return match judge(stream, clock, publisher, origin, (kline, now)) {
            Ok(()) => Ok(take_wanted(stream, clock, publisher, origin, (kline, now))),
            Err(error) => origin.ignore_foreign(streams, kline, error).map(|()| false),
        };
    }
    for kline in klines {
        let stream = find(streams, origin.market, kline)?;
        let judged = judge(stream, clock, publisher, origin, (kline, now));
        judged.or_else(|error| origin.ignore_foreign(streams, kline, error))?;
    }
    let mut is_delivered = false;
    for kline in klines {
        let stream = find(streams, origin.market, kline)?;
        is_delivered |= take_wanted(stream, clock, publisher, origin, (kline, now));
    }
    Ok(is_delivered)
}

fn find<'streams>(
    streams: &'streams mut Streams,
    market: Market,
    kline: &Kline<'_>,
) -> Result<&'streams mut FeedStream, DecodeErrorKind> {
    streams.find(market, kline.symbol, kline.interval).ok_or(DecodeErrorKind::Unknown)
}

/// Checks whether a pushed candle may be taken at all.
///
/// # Errors
/// What is wrong with the candle, as the kind of decode error to count.
fn judge(
    stream: &mut FeedStream,
    clock: &mut ExchangeClock,
    publisher: &mut Publisher<'_>,
    origin: MessageOrigin<'_>,
    (kline, now): (&Kline<'_>, Now),
) -> Result<(), DecodeErrorKind> {
    if !kline.interval.is_aligned(kline.candle.open_time) {
        return Err(DecodeErrorKind::Misaligned);
    }
    if !stream.is_wanted {
        return Ok(());
    }
    if !origin.carries(stream) {
        return Err(DecodeErrorKind::Foreign);
    }
    let error = if !kline.candle.is_possible(venue::counts_trades(origin.market)) {
        DecodeErrorKind::Impossible
    } else if !clock.believes(stream.id, kline, ahead_ms_max(stream, kline), now) {
        DecodeErrorKind::Future
    } else {
        return Ok(());
    };
    mark_late(stream, publisher);
    Err(error)
}

/// How far the times of a push may lie ahead of the market's clock, in ms. The limit is lower for a
/// push that skips windows, so that a wrong time cannot skip them.
fn ahead_ms_max(stream: &FeedStream, kline: &Kline<'_>) -> i64 {
    let interval_ms = kline.interval.ms();
    let next = stream.series.next();
    match next.is_some_and(|next| kline.candle.open_time.0 > next.0 + JUMP_WINDOWS * interval_ms) {
        true => JUMP_AHEAD_MS,
        false => interval_ms + AHEAD_MS,
    }
}

/// Takes a candle if its stream is wanted from this session. Returns whether it is wanted.
fn take_wanted(
    stream: &mut FeedStream,
    clock: &ExchangeClock,
    publisher: &mut Publisher<'_>,
    origin: MessageOrigin<'_>,
    (kline, now): (&Kline<'_>, Now),
) -> bool {
    let is_wanted = stream.is_wanted && origin.carries(stream);
    if is_wanted && !is_too_old(stream, clock, publisher, kline, now) {
        take_kline(stream, clock, publisher, (origin.session, kline), now);
    }
    is_wanted
}

/// Returns whether the candle is dropped, because its window was over before the series began. On
/// the way, a series that began at an impossible time is corrected by the clock on which other
/// streams agree.
fn is_too_old(
    stream: &mut FeedStream,
    clock: &ExchangeClock,
    publisher: &mut Publisher<'_>,
    kline: &Kline<'_>,
    now: Now,
) -> bool {
    let Kline { candle, interval, .. } = kline;
    let next = stream.series.next();
    let is_unexpected = next.is_none_or(|next| {
        let jump_ms = candle.open_time.0 - next.0;
        jump_ms < 0 || jump_ms > REPAIR_WINDOWS_MAX * interval.ms()
    });
    if !is_unexpected {
        return false;
    }
    let agreed = clock.agreed_now(stream.id, now);
    // While other streams do not agree on a time, a series that has not begun takes the time that
    // the exchange wrote into the push.
    let exchange_now = agreed.or(kline.event_time.filter(|_| next.is_none()));
    let Some(exchange_now) = exchange_now else { return false };
    if next.is_none() {
        let is_over =
            interval.close_time(candle.open_time).0 + interval.ms() + AHEAD_MS < exchange_now.0;
        if is_over {
            mark_late(stream, publisher);
            publisher.metrics.late.increment();
        }
        return is_over;
    }
    let latest = UnixMs(exchange_now.0 + interval.ms() + AHEAD_MS);
    if stream.series.watermark() <= Some(latest) && stream.series.forget_ahead(latest) {
        (stream.newest_open, stream.ran_before) = (None, None);
    }
    let begin = begin_of(stream, exchange_now, now.mono);
    let oldest = UnixMs(begin.0 - REPAIR_WINDOWS_MAX * interval.ms());
    if let Some(skipped) = stream.series.skip_before(oldest) {
        publish_gap(stream, publisher, skipped);
    }
    false
}

fn take_kline(
    stream: &mut FeedStream,
    clock: &ExchangeClock,
    publisher: &mut Publisher<'_>,
    (session, kline): (SessionId, &Kline<'_>),
    now: Now,
) {
    if let Some(UnixMs(sent_ms)) = kline.event_time {
        let lag_us = now.unix_us.saturating_sub(sent_ms.saturating_mul(1000));
        if lag_us < 0 {
            publisher.metrics.event_time_ahead.increment();
        }
        publisher.metrics.receive_lag.record_ns(lag_us.max(0).unsigned_abs().saturating_mul(1000));
    }
    (stream.is_delivering, stream.check) = (true, Check::Idle);
    stream.message_rate.beat(now.mono);
    let is_unbroken = stream.unbroken_on.replace(session) == Some(session);
    if !is_unbroken {
        stream.unbroken_since = now.mono;
    }
    let is_past = stream.series.watermark() >= Some(kline.candle.open_time);
    if stream.series.next().is_none() && !is_past {
        begin(stream, clock, kline, now);
    }
    let finality = venue::finality(stream.instrument.market);
    if finality != Finality::Flag && is_unbroken && clock.has_begun(kline.candle.open_time, now) {
        close_predecessor(stream, publisher, kline, now);
    }
    let completed;
    let kline = match stream.contract_size {
        ContractSize::NotNeeded => kline,
        size => {
            completed = Kline { candle: size.complete(&kline.candle), ..*kline };
            &completed
        }
    };
    let update = CandleUpdate {
        instrument: stream.id,
        candle: kline.candle,
        event_time: kline.event_time,
        received: now.mono,
        until_ring: Lapse::default(),
        kernel: publisher.kernel,
        final_by: None,
        source: Source::Ws,
        revision: 0,
    };
    let verdict = match stream.series.judge_open(&kline.candle) {
        _ if kline.is_closed == Some(true) => close(stream, publisher, update, FinalBy::Flag),
        Verdict::Open => take_open(stream, publisher, update, (session, kline)),
        Verdict::Late if finality == Finality::Successor && is_late_trade(stream, kline) => {
            close(stream, publisher, update, FinalBy::Successor)
        }
        verdict => {
            publisher.metrics.late.increment();
            verdict
        }
    };
    match verdict {
        Verdict::Late | Verdict::Misaligned => mark_late(stream, publisher),
        _ => mark_timely(stream, publisher),
    }
    if verdict == Verdict::Late && is_stale(stream, kline, clock, now) {
        stream.unbroken_on = None;
    }
    mark_over(stream, publisher, is_unbroken, now.mono);
}

/// Returns whether a late message is about a window that ended long ago. Such a message comes from
/// a server that is behind, and messages about the newest window may have been missed.
fn is_stale(stream: &FeedStream, kline: &Kline<'_>, clock: &ExchangeClock, now: Now) -> bool {
    let Kline { candle, interval, .. } = kline;
    let is_before = stream.newest_open.is_some_and(|(_, open)| candle.open_time < open.open_time);
    is_before && clock.now(now).0 > interval.close_time(candle.open_time).0 + STALE_AFTER_MS
}

/// Records that a message was late or refused, and counts a stream that stays late.
fn mark_late(stream: &mut FeedStream, publisher: &mut Publisher<'_>) {
    let first = stream.late.map_or(publisher.now, |(first, _)| first);
    stream.late = Some((first, publisher.now));
    let is_long = first.after(LATE_FOR) <= publisher.now;
    if is_long && !std::mem::replace(&mut stream.is_late, true) {
        publisher.metrics.late_instruments.add(1);
    }
}

/// Records that a message was in time.
fn mark_timely(stream: &mut FeedStream, publisher: &mut Publisher<'_>) {
    if stream.late.take().is_some() && std::mem::take(&mut stream.is_late) {
        publisher.metrics.late_instruments.add(-1);
    }
}

/// Begins a series with its first candle. The series begins with the window that ran, by the
/// exchange's time, when the stream was subscribed.
fn begin(stream: &mut FeedStream, clock: &ExchangeClock, kline: &Kline<'_>, now: Now) {
    let interval = stream.instrument.interval;
    let running = kline.candle.open_time;
    let exchange_now = kline.event_time.unwrap_or_else(|| clock.now(now));
    let exchange_now = exchange_now.clamp(running, interval.close_time(running));
    let elapsed = now.mono.since(stream.wanted_since).saturating_sub(DELIVERY_MAX).as_millis();
    let elapsed_ms = i64::try_from(elapsed).unwrap_or(i64::MAX);
    let subscribed = UnixMs(exchange_now.0.saturating_sub(elapsed_ms));
    stream.series.begin(interval.open_time(subscribed).min(running));
}

/// Records whether a message of a later window shows that the next window is over. After a break
/// its closing message was missed for certain. Otherwise that message may still arrive.
fn mark_over(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    is_unbroken: bool,
    now: MonoNs,
) {
    let newest = stream.newest_open.as_ref().map(|(_, open)| open.open_time);
    if stream.series.next() >= newest {
        stream.repair.over_since = None;
    } else if !is_unbroken {
        stream.repair.over_since = Some(MonoNs(0));
        stream.repair.ask_at = now;
        publisher.urgent.push(stream.id);
    } else {
        stream.repair.over_since.get_or_insert(now);
    }
}

/// Closes the newest candle at the first message of a later window. The caller has checked that no
/// message can have been missed in between.
fn close_predecessor(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    kline: &Kline<'_>,
    now: Now,
) {
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
        kernel: publisher.kernel,
        final_by: None,
        source: Source::Ws,
        revision: 0,
    };
    close(stream, publisher, update, FinalBy::Successor);
}

/// Returns whether this candle has more trades than the closed candle published for its window.
fn is_late_trade(stream: &FeedStream, kline: &Kline<'_>) -> bool {
    let closed = stream.series.published(kline.candle.open_time);
    closed.is_some_and(|closed| closed.trades < kline.candle.trades)
}

fn close(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    update: CandleUpdate,
    final_by: FinalBy,
) -> Verdict {
    let closed_window = ClosedWindow::Candle(CandleUpdate { final_by: Some(final_by), ..update });
    judge_closed(stream, publisher, &closed_window)
}

/// Gives a closed window to its series and publishes what follows. Returns whether the window was
/// new or changed.
pub(crate) fn accept_closed(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    closed_window: &ClosedWindow,
) -> bool {
    let verdict = judge_closed(stream, publisher, closed_window);
    !matches!(verdict, Verdict::Duplicate | Verdict::Late | Verdict::Misaligned)
}

/// The same as [`accept_closed`], but returns the verdict of the series.
pub(crate) fn judge_closed(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    closed_window: &ClosedWindow,
) -> Verdict {
    let verdict = stream.series.accept_closed(closed_window);
    match verdict {
        Verdict::Next => {
            publish(stream, publisher, closed_window, 0);
            release(stream, publisher);
        }
        Verdict::Held => {
            stream.repair.hold_until.get_or_insert(publisher.hold_until());
            stream.repair.ask_at = MonoNs(0);
            publisher.metrics.held.increment();
            publisher.urgent.push(stream.id);
            if stream.series.is_overfull() {
                release_given_up(stream, publisher);
            }
        }
        Verdict::Repaired => {
            publisher.metrics.repaired.increment();
            publish(stream, publisher, closed_window, 0);
        }
        Verdict::Correction { revision } => {
            publisher.metrics.corrections.increment();
            publish(stream, publisher, closed_window, revision);
        }
        Verdict::Duplicate => publisher.metrics.duplicates.increment(),
        Verdict::Open | Verdict::Late | Verdict::Misaligned => publisher.metrics.late.increment(),
    }
    verdict
}

/// Publishes the held windows, up to the next window that is missing.
fn release(stream: &mut FeedStream, publisher: &mut Publisher<'_>) {
    while let Some(closed_window) = stream.series.pop_held() {
        publish(stream, publisher, &closed_window, 0);
    }
    let hold_until = stream.series.gap().map(|_| publisher.hold_until());
    if hold_until.is_none() || stream.repair.hold_until.is_none() {
        stream.repair.hold_until = hold_until;
    }
}

/// Ends the hold: publishes the missing windows as a gap, and then the windows that waited.
pub(crate) fn release_given_up(stream: &mut FeedStream, publisher: &mut Publisher<'_>) {
    if let Some(gap) = stream.series.give_up() {
        publish_gap(stream, publisher, gap);
    }
    stream.repair.hold_until = None;
    release(stream, publisher);
}

fn publish_gap(stream: &FeedStream, publisher: &mut Publisher<'_>, gap: Span) {
    let missing = gap.count(stream.instrument.interval);
    publisher.metrics.gaps.increment();
    publisher.metrics.gap_candles.add(missing);
    publisher.metrics.closed_queue_depth.add(1);
    let (instrument, first_missing) = (stream.id, gap.first);
    publisher.queue.push_closed(MarketEvent::Gap { instrument, first_missing, missing });
}

/// Queues an open candle for the ring. If the queue has no room, the candle replaces the stream's
/// open candle that waits for room. A candle older than the newest one seen is dropped.
fn take_open(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    update: CandleUpdate,
    (session, kline): (SessionId, &Kline<'_>),
) -> Verdict {
    let Publisher { queue, metrics, .. } = publisher;
    if let Some((seen_at, seen)) = &stream.newest_open {
        if (kline.event_time, kline.candle.open_time) == (*seen_at, seen.open_time)
            && *seen == kline.candle
        {
            metrics.duplicates.increment();
            return Verdict::Duplicate;
        }
        // Messages of one connection arrive in order. On another connection an older state of the
        // candle may arrive later.
        let is_behind = stream.newest_on != Some(session)
            && kline.candle.open_time == seen.open_time
            && knows_less(&kline.candle, seen);
        if kline.candle.open_time < seen.open_time || kline.event_time < *seen_at || is_behind {
            metrics.late.increment();
            return Verdict::Late;
        }
    }
    stream.newest_on = Some(session);
    let previous = stream.newest_open.replace((kline.event_time, kline.candle));
    if let Some((_, previous)) = previous
        && previous.open_time < kline.candle.open_time
    {
        stream.ran_before = Some(previous);
    }
    metrics.open_quotes.increment();
    if stream.waiting.is_none() && queue.has_room_for_open() {
        metrics.open_queue_depth.add(1);
        queue.push_open(update);
        return Verdict::Open;
    }
    if stream.waiting.replace(update).is_none() {
        metrics.open_queue_depth.add(1);
    }
    if !std::mem::replace(&mut stream.is_queued, true) {
        queue.push_conflated(stream.id);
    }
    Verdict::Open
}

/// Queues a closed window, and removes a waiting open candle of that window or of an earlier one.
fn publish(
    stream: &mut FeedStream,
    publisher: &mut Publisher<'_>,
    closed_window: &ClosedWindow,
    revision: u16,
) {
    let Publisher { queue, metrics, now, .. } = publisher;
    let event = match closed_window {
        ClosedWindow::Candle(update) => {
            let update = CandleUpdate { revision, ..*update };
            metrics.closed_quotes.increment();
            if let Some(final_by) = update.final_by {
                metrics.closed_by[final_by as usize].increment();
            }
            let sequence = stream.instrument.interval.seq(update.candle.open_time);
            stream.repair.verifications.add(&update, sequence, *now);
            MarketEvent::Candle(update)
        }
        ClosedWindow::Empty { open_time } => {
            metrics.empty_windows.increment();
            stream.repair.verifications.add_empty(*open_time, *now);
            MarketEvent::Empty {
                instrument: stream.id,
                open_time: *open_time,
                is_backfilled: false,
            }
        }
    };
    metrics.closed_queue_depth.add(1);
    queue.push_closed(event);
    let closed = closed_window.open_time();
    let is_past = |open: &mut CandleUpdate| open.candle.open_time <= closed;
    if stream.waiting.take_if(is_past).is_some() {
        metrics.open_queue_depth.add(-1);
    }
}

/// Longest time that a message takes to arrive. The begin of a series allows for it, so that a
/// window that ended before the subscription is not owed. Source: messages take up to one second.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

/// A message about a window that ended longer ago than this, while a newer window runs, comes from
/// a server that is behind. Source: closing pushes are up to 4 s late, late trades arrive within
/// seconds.
const STALE_AFTER_MS: i64 = 10_000;

/// How far a push may lie ahead of the market's clock, beyond its own interval. Source: clocks of
/// hosts are minutes apart at worst.
const AHEAD_MS: i64 = 300_000;

/// A push that skips more windows than this is a jump. Source: chosen, so that a short break of the
/// connection is no jump.
const JUMP_WINDOWS: i64 = 2;

/// How far a push that jumps may lie ahead of the market's clock. Source: less than the shortest
/// jump, three minutes; more than one minute, by which the clock may be slow where pushes carry no
/// time.
const JUMP_AHEAD_MS: i64 = 120_000;

/// A stream counts as late once all its messages have been late for this long. Source: restated and
/// late closing pushes arrive within seconds, and two windows pass in this time.
const LATE_FOR: Duration = Duration::from_secs(120);
