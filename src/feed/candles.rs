//! Candles on their way from a message to the ring: verdicts, finality, publishing. The hot path: a
//! push that fits its series allocates nothing and is logged nowhere.

use std::time::Duration;

use crate::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use crate::limits::REPAIR_WINDOWS_MAX;
use crate::market::{
    Candle, CandleUpdate, ClosedWindow, FinalBy, Instrument, InstrumentId, Market, Source, Span,
    Verdict,
};
use crate::messages::MarketEvent;
use crate::metrics::{DecodeErrorKind, FeedMetrics};
use crate::venue::{self, Finality, Kline, Klines};

use crate::feed::SessionId;
use crate::feed::exchange_clock::ExchangeClock;
use crate::feed::publish::PublishQueue;
use crate::feed::repair::rest_evidence::knows_less;
use crate::feed::session::subscribe_queue::SubscribeQueue;
use crate::feed::stream::{Check, ContractSize, Stream};
use crate::feed::streams::{Streams, begin_of};

/// Where candles go, and what is said about them on the way.
pub(crate) struct Publisher<'feed> {
    pub(crate) queue: &'feed mut PublishQueue,
    pub(crate) metrics: &'feed FeedMetrics,
    /// Streams whose windows are found to be missing: to be asked about in this turn.
    pub(crate) urgent: &'feed mut Vec<InstrumentId>,
    pub(crate) now: MonoNs,
    /// How long what was pushed had lain in the kernel.
    pub(crate) kernel: RoughLapse,
    /// How long a closed candle waits at most, if one before it is missing.
    pub(crate) hold: Duration,
}

impl<'feed> Publisher<'feed> {
    /// The way of what no push brought.
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

/// Where a message came from.
#[derive(Clone, Copy)]
pub(crate) struct MessageOrigin<'feed> {
    pub(crate) market: Market,
    pub(crate) session: SessionId,
    /// What the session carries.
    pub(crate) members: &'feed [InstrumentId],
    /// What the session was asked for.
    pub(crate) subscribe_queue: &'feed SubscribeQueue,
    /// Whether our Close is out.
    pub(crate) is_closing: bool,
}

impl MessageOrigin<'_> {
    fn carries(&self, stream: &Stream) -> bool {
        stream.unbroken_on == Some(self.session) || self.members.contains(&stream.id)
    }

    /// Returns whether the session may still push this series, though another one carries it now.
    /// The name counts: asked for anew, a series may have another id.
    fn may_push_still(&self, streams: &Streams, kline: &Kline<'_>) -> bool {
        let is_it = |id| {
            streams.stream(id).is_some_and(|left| {
                let Instrument { market, symbol, interval } = &left.instrument;
                let asked = (*market, &**symbol, *interval);
                asked == (self.market, kline.symbol, kline.interval)
            })
        };
        self.is_closing || self.subscribe_queue.leaving().any(is_it)
    }

    /// A candle of a stream that another session carries is an error only where this session has no
    /// reason to push it.
    fn excuse(
        &self,
        streams: &Streams,
        kline: &Kline<'_>,
        error: DecodeErrorKind,
    ) -> Result<(), DecodeErrorKind> {
        match error == DecodeErrorKind::Foreign && self.may_push_still(streams, kline) {
            true => Ok(()),
            false => Err(error),
        }
    }
}

/// Takes every candle of a message of one session, or none: a message that is wrong in one is not to
/// be trusted. Returns whether one of them was wanted.
pub(crate) fn take_klines(
    streams: &mut Streams,
    clock: &mut ExchangeClock,
    publisher: &mut Publisher<'_>,
    origin: MessageOrigin<'_>,
    klines: &Klines<'_>,
    now: Now,
) -> Result<bool, DecodeErrorKind> {
    // Nearly all messages have one.
    if let [kline] = &klines[..] {
        let stream = find(streams, origin.market, kline)?;
        return match judge(stream, clock, publisher, origin, (kline, now)) {
            Ok(()) => Ok(take_wanted(stream, clock, publisher, origin, (kline, now))),
            Err(error) => origin.excuse(streams, kline, error).map(|()| false),
        };
    }
    for kline in klines {
        let stream = find(streams, origin.market, kline)?;
        let judged = judge(stream, clock, publisher, origin, (kline, now));
        judged.or_else(|error| origin.excuse(streams, kline, error))?;
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
) -> Result<&'streams mut Stream, DecodeErrorKind> {
    streams.find(market, kline.symbol, kline.interval).ok_or(DecodeErrorKind::Unknown)
}

/// Judges whether a pushed candle may be taken at all.
fn judge(
    stream: &mut Stream,
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
    note_late(stream, publisher);
    Err(error)
}

/// How far the times of a push may lie ahead of the market's clock. After a jump over windows that
/// were not seen no more than a roll-over explains.
fn ahead_ms_max(stream: &Stream, kline: &Kline<'_>) -> i64 {
    let interval_ms = kline.interval.ms();
    let next = stream.series.next();
    match next.is_some_and(|next| kline.candle.open_time.0 > next.0 + JUMP_WINDOWS * interval_ms) {
        true => JUMP_AHEAD_MS,
        false => interval_ms + AHEAD_MS,
    }
}

/// Takes a candle, if its stream is wanted from this session. Returns whether it is.
fn take_wanted(
    stream: &mut Stream,
    clock: &ExchangeClock,
    publisher: &mut Publisher<'_>,
    origin: MessageOrigin<'_>,
    (kline, now): (&Kline<'_>, Now),
) -> bool {
    let is_wanted = stream.is_wanted && origin.carries(stream);
    if is_wanted && !is_out_of_time(stream, clock, publisher, kline, now) {
        take_kline(stream, clock, publisher, (origin.session, kline), now);
    }
    is_wanted
}

/// Puts a series right that began where it cannot be, by the clock on which others agree. Returns
/// whether this candle is of a window that was over before the series began, and is dropped.
fn is_out_of_time(
    stream: &mut Stream,
    clock: &ExchangeClock,
    publisher: &mut Publisher<'_>,
    kline: &Kline<'_>,
    now: Now,
) -> bool {
    let Kline { candle, interval, .. } = kline;
    let next = stream.series.next();
    let is_odd = next.is_none_or(|next| {
        let jump_ms = candle.open_time.0 - next.0;
        jump_ms < 0 || jump_ms > REPAIR_WINDOWS_MAX * interval.ms()
    });
    if !is_odd {
        return false;
    }
    let agreed = clock.agreed_now(stream.id, now);
    // Where nothing agrees yet, a push is at least not older than the window that a series begins
    // with.
    let begun = agreed.or(kline.event_time.filter(|_| next.is_none()));
    let Some(agreed) = begun else { return false };
    if next.is_none() {
        let is_over = interval.close_time(candle.open_time).0 + interval.ms() + AHEAD_MS < agreed.0;
        if is_over {
            note_late(stream, publisher);
            publisher.metrics.late.increment();
        }
        return is_over;
    }
    let latest = UnixMs(agreed.0 + interval.ms() + AHEAD_MS);
    if stream.series.watermark() <= Some(latest) && stream.series.forget_ahead(latest) {
        (stream.newest_open, stream.ran_before) = (None, None);
    }
    let begin = begin_of(stream, agreed, now.mono);
    let oldest = UnixMs(begin.0 - REPAIR_WINDOWS_MAX * interval.ms());
    if let Some(skipped) = stream.series.skip_before(oldest) {
        publish_gap(stream, publisher, skipped);
    }
    false
}

fn take_kline(
    stream: &mut Stream,
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
        Verdict::Late | Verdict::Misaligned => note_late(stream, publisher),
        _ => note_timely(stream, publisher),
    }
    if verdict == Verdict::Late && is_stale(stream, kline, clock, now) {
        stream.unbroken_on = None;
    }
    note_over(stream, publisher, is_unbroken, now.mono);
}

/// Returns whether a late message is about a window that others have left long ago: it comes from a
/// node that is behind, and what the stream said meanwhile about the newest window is lost.
fn is_stale(stream: &Stream, kline: &Kline<'_>, clock: &ExchangeClock, now: Now) -> bool {
    let Kline { candle, interval, .. } = kline;
    let is_before = stream.newest_open.is_some_and(|(_, open)| candle.open_time < open.open_time);
    is_before && clock.now(now).0 > interval.close_time(candle.open_time).0 + STALE_AFTER_MS
}

/// A message was late or refused.
fn note_late(stream: &mut Stream, publisher: &mut Publisher<'_>) {
    let first = stream.late.map_or(publisher.now, |(first, _)| first);
    stream.late = Some((first, publisher.now));
    let is_long = first.after(LATE_FOR) <= publisher.now;
    if is_long && !std::mem::replace(&mut stream.is_late, true) {
        publisher.metrics.late_instruments.add(1);
    }
}

/// A message was neither.
fn note_timely(stream: &mut Stream, publisher: &mut Publisher<'_>) {
    if stream.late.take().is_some() && std::mem::take(&mut stream.is_late) {
        publisher.metrics.late_instruments.add(-1);
    }
}

/// The first candle of a stream: its windows are owed from the one in which it was subscribed, by
/// the exchange's time.
fn begin(stream: &mut Stream, clock: &ExchangeClock, kline: &Kline<'_>, now: Now) {
    let interval = stream.instrument.interval;
    let running = kline.candle.open_time;
    let here = kline.event_time.unwrap_or_else(|| clock.now(now));
    let here = here.clamp(running, interval.close_time(running));
    let since = now.mono.since(stream.wanted_since).saturating_sub(DELIVERY_MAX).as_millis();
    let wanted = here.0.saturating_sub(i64::try_from(since).unwrap_or(i64::MAX));
    stream.series.begin(interval.open_time(UnixMs(wanted)).min(running));
}

/// A message of a later window shows that the next one is over. After a break it was surely missed;
/// else its end may still be on its way.
fn note_over(stream: &mut Stream, publisher: &mut Publisher<'_>, is_unbroken: bool, now: MonoNs) {
    let shown = stream.newest_open.as_ref().map(|(_, open)| open.open_time);
    if stream.series.next() >= shown {
        stream.repair.over_since = None;
    } else if !is_unbroken {
        (stream.repair.over_since, stream.repair.ask_at) = (Some(MonoNs(0)), now);
        publisher.urgent.push(stream.id);
    } else {
        stream.repair.over_since.get_or_insert(now);
    }
}

/// The first message of a later window ends the candle before it, if nothing of that one can have
/// been missed.
fn close_predecessor(
    stream: &mut Stream,
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

/// Whether a candle that was closed by its successor got further trades after all.
fn is_late_trade(stream: &Stream, kline: &Kline<'_>) -> bool {
    let closed = stream.series.published(kline.candle.open_time);
    closed.is_some_and(|closed| closed.trades < kline.candle.trades)
}

fn close(
    stream: &mut Stream,
    publisher: &mut Publisher<'_>,
    update: CandleUpdate,
    final_by: FinalBy,
) -> Verdict {
    let closed_window = ClosedWindow::Candle(CandleUpdate { final_by: Some(final_by), ..update });
    judge_closed(stream, publisher, &closed_window)
}

/// Takes what a window came to, as far as its series agrees. Whether it was news.
pub(crate) fn accept_closed(
    stream: &mut Stream,
    publisher: &mut Publisher<'_>,
    closed_window: &ClosedWindow,
) -> bool {
    let verdict = judge_closed(stream, publisher, closed_window);
    !matches!(verdict, Verdict::Duplicate | Verdict::Late | Verdict::Misaligned)
}

/// The same, with the series' word for it.
pub(crate) fn judge_closed(
    stream: &mut Stream,
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

/// Publishes what waited, as far as nothing before it is missing.
fn release(stream: &mut Stream, publisher: &mut Publisher<'_>) {
    while let Some(closed_window) = stream.series.pop_held() {
        publish(stream, publisher, &closed_window, 0);
    }
    let hold_until = stream.series.gap().map(|_| publisher.hold_until());
    if hold_until.is_none() || stream.repair.hold_until.is_none() {
        stream.repair.hold_until = hold_until;
    }
}

/// The hold is over: the hole is told as a gap, and what waited for it follows.
pub(crate) fn release_given_up(stream: &mut Stream, publisher: &mut Publisher<'_>) {
    if let Some(gap) = stream.series.give_up() {
        publish_gap(stream, publisher, gap);
    }
    stream.repair.hold_until = None;
    release(stream, publisher);
}

fn publish_gap(stream: &Stream, publisher: &mut Publisher<'_>, gap: Span) {
    let missing = gap.count(stream.instrument.interval);
    publisher.metrics.gaps.increment();
    publisher.metrics.gap_candles.add(missing);
    publisher.metrics.closed_queue_depth.add(1);
    let (instrument, first_missing) = (stream.id, gap.first);
    publisher.queue.push_closed(MarketEvent::Gap { instrument, first_missing, missing });
}

/// An open candle is made ready; where there is no room it replaces the one that waits. Not if it is
/// older than what was already seen.
fn take_open(
    stream: &mut Stream,
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
        // One connection keeps its order; on another, an older candle may come later.
        let is_behind = stream.newest_on != Some(session)
            && kline.candle.open_time == seen.open_time
            && knows_less(&kline.candle, seen);
        if kline.candle.open_time < seen.open_time || kline.event_time < *seen_at || is_behind {
            metrics.late.increment();
            return Verdict::Late;
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

/// Makes a settled window ready, and takes an open candle of it or of one before out of the queue.
fn publish(
    stream: &mut Stream,
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
            stream.repair.comparisons.note(&update, sequence, *now);
            MarketEvent::Candle(update)
        }
        ClosedWindow::Empty { open_time } => {
            metrics.empty_windows.increment();
            stream.repair.comparisons.note_empty(*open_time, *now);
            MarketEvent::Empty {
                instrument: stream.id,
                open_time: *open_time,
                is_backfilled: false,
            }
        }
    };
    metrics.closed_queue_depth.add(1);
    queue.push_closed(event);
    let end = closed_window.open_time();
    let is_past = |open: &mut CandleUpdate| open.candle.open_time <= end;
    if stream.waiting.take_if(is_past).is_some() {
        metrics.open_queue_depth.add(-1);
    }
}

/// A message may be so long on its way: a window that ended just before the subscription is not owed.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

/// A message about a window that ended longer ago, while a newer one runs, comes from a node that
/// is behind. Source: closing pushes are up to 4 s late, late trades come within seconds.
const STALE_AFTER_MS: i64 = 10_000;

/// A push may lie so far ahead of the market's clock, beside its own interval: clocks of hosts are
/// minutes apart at worst.
const AHEAD_MS: i64 = 300_000;

/// A push that leaves out more windows than these jumps.
const JUMP_WINDOWS: i64 = 2;

/// So far ahead of the market's clock a push may lie that jumps. Source: less than the jump itself,
/// and the clock may be a minute too early where pushes carry no time.
const JUMP_AHEAD_MS: i64 = 120_000;

/// A stream whose messages are all late for this long is reported. Source: a restated or late
/// closing push comes within seconds, and two windows pass meanwhile.
const LATE_FOR: Duration = Duration::from_secs(120);
