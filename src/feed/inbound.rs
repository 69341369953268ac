//! From a session's bytes to the ring: messages, candles, verdicts, publishing. The hot path: a
//! push that fits its series allocates nothing and is logged nowhere.

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::{CandleUpdate, FinalBy, InstrumentId, Market, Source, Verdict};
use crate::messages::{MarketEvent, Severity};
use crate::metrics::{ConnectionErrorKind, DecodeErrorKind, FeedMetrics};
use crate::venue::{self, Kline, Klines, Message, RefusalScope, SubscribeOp};
use crate::wire::Event;

use super::plan::{Check, Stream, Streams};
use super::publish::{PublishQueue, instrument_of, is_closed};
use super::{Feed, SessionId};

/// What a message asks of its session, beside the candle already taken from it.
enum Consequence {
    /// A candle of a wanted stream came.
    Delivered,
    /// A candle that nobody wants any longer.
    Unwanted,
    Accepted {
        id: i64,
    },
    Refused {
        id: Option<i64>,
        words: String,
    },
    ShuttingDown,
}

impl Feed {
    /// Bytes came from the session's socket; `now` is when.
    pub fn handle_bytes(&mut self, session: SessionId, bytes: &[u8], now: Now) {
        let Some(index) = self.live(session) else { return };
        let session = &mut self.sessions[index];
        let Some(wire) = &mut session.wire else { return };
        (session.last_received, session.ping_sent) = (now.mono, None);
        let taken = wire.handle_bytes(bytes);
        let mut has_news = self.read_events(index, now);
        if let Err(error) = taken
            && self.sessions[index].wire.is_some()
        {
            self.lose_wire(index, &error, now.mono);
            has_news = true;
        }
        if has_news {
            self.handle_timeout(now);
        }
        self.transmit(index);
    }

    /// Takes every complete message. True if something but candles happened.
    fn read_events(&mut self, index: usize, now: Now) -> bool {
        let mut has_news = false;
        while let Some(wire) = &mut self.sessions[index].wire {
            match wire.next_event() {
                Ok(None) => break,
                Ok(Some(Event::Text(text))) => {
                    has_news |= self.take_text(index, text.as_str().as_bytes(), now);
                }
                Ok(Some(event)) => {
                    self.take_control(index, event, now.mono);
                    has_news = true;
                }
                Err(error) => {
                    self.lose_wire(index, &error, now.mono);
                    return true;
                }
            }
        }
        has_news
    }

    fn take_control(&mut self, index: usize, event: Event, now: MonoNs) {
        match event {
            Event::Open { .. } => self.opened(index, now),
            // Its pong is on its way already.
            Event::Ping => self.sessions[index].script.spend(now),
            Event::Pong(_) => {}
            Event::Close { code, reason } => {
                let code = code.map_or("no code".to_owned(), |code| code.to_string());
                let why = format!("closed by the exchange: {code} {reason}");
                self.lose_to(index, ConnectionErrorKind::Closed, &why, now);
            }
            Event::Binary(_) => self.complain(index, DecodeErrorKind::Unknown, b"binary message"),
            Event::Text(_) => unreachable!("texts are taken before"),
        }
    }

    fn take_text(&mut self, index: usize, text: &[u8], now: Now) -> bool {
        let market = self.sessions[index].market;
        let Self { json, streams, queue, metrics, .. } = self;
        let metrics = metrics.market(market);
        metrics.last_message_ms.set(now.unix_ms().0);
        if venue::is_plain_pong(market, text) {
            return false;
        }
        let read = json.read(text, |root| {
            let mut klines = Klines::new();
            match venue::decode(market, root, &mut klines)? {
                Message::Klines => {
                    let mut consequence = Ok(Consequence::Unwanted);
                    for kline in &klines {
                        consequence = take_kline(streams, queue, metrics, market, kline, now);
                    }
                    consequence
                }
                Message::Accepted { id: Some(id) } => Ok(Consequence::Accepted { id }),
                Message::Refused(refusal) => {
                    let RefusalScope::Whole { id } = refusal.scope else {
                        return Err(DecodeErrorKind::Unknown);
                    };
                    let words = format!("{} ({})", refusal.message, refusal.code.unwrap_or(0));
                    Ok(Consequence::Refused { id, words })
                }
                Message::ShutdownNotice => Ok(Consequence::ShuttingDown),
                Message::Accepted { id: None } | Message::AcceptedOne { .. } => {
                    Err(DecodeErrorKind::Unknown)
                }
                Message::Nothing => Ok(Consequence::Unwanted),
            }
        });
        match read.unwrap_or(Err(DecodeErrorKind::Json)) {
            Ok(Consequence::Delivered) if self.sessions[index].has_delivered => {
                self.sessions[index].last_candle = now.mono;
                false
            }
            Ok(Consequence::Unwanted) => false,
            Ok(consequence) => {
                self.follow(index, consequence, text, now.mono);
                true
            }
            Err(kind) => {
                self.complain(index, kind, text);
                false
            }
        }
    }

    fn follow(&mut self, index: usize, consequence: Consequence, text: &[u8], now: MonoNs) {
        match consequence {
            Consequence::Unwanted => {}
            Consequence::Delivered => {
                let session = &mut self.sessions[index];
                (session.has_delivered, session.is_suspect) = (true, false);
                session.last_candle = now;
                self.tell_back(index);
                self.prove(index);
                self.take_over(index, now);
            }
            Consequence::Accepted { id } => {
                let Some(message) = self.sessions[index].script.answered(Some(id)) else {
                    return self.complain(index, DecodeErrorKind::Unknown, text);
                };
                if message.op == SubscribeOp::Subscribe {
                    self.arm_checks(index, &message.instruments, now);
                }
                self.take_over(index, now);
            }
            Consequence::Refused { id, words } => self.refused(index, id, &words, text, now),
            Consequence::ShuttingDown => {
                self.renew(index, "the exchange announced a shutdown", now);
            }
        }
    }

    /// A refused message is said again one instrument at a time, so that only the one that the
    /// exchange does not want is rejected.
    fn refused(&mut self, index: usize, id: Option<i64>, words: &str, text: &[u8], now: MonoNs) {
        let session = &mut self.sessions[index];
        let Some(message) = session.script.answered(id) else {
            return self.complain(index, DecodeErrorKind::Unknown, text);
        };
        let members = &session.members;
        let is_member = |id: &InstrumentId| members.contains(id);
        match (message.op, &message.instruments[..]) {
            (SubscribeOp::Unsubscribe, _) => {
                let market = session.market;
                let text = format!("an unsubscription was refused: {words}");
                self.notice(Severity::Warning, market, text);
            }
            (SubscribeOp::Subscribe, &[only]) => self.reject(only, words, now),
            (SubscribeOp::Subscribe, several) => {
                session.script.want_alone(several.iter().copied().filter(is_member));
            }
        }
    }

    /// Counts a message that was not understood; the first of a connection is shown.
    fn complain(&mut self, index: usize, kind: DecodeErrorKind, text: &[u8]) {
        let session = &mut self.sessions[index];
        let market = session.market;
        let is_first = !std::mem::replace(&mut session.has_complained, true);
        self.market_metrics(market).decode_errors[kind as usize].increment();
        if is_first {
            let excerpt = String::from_utf8_lossy(&text[..text.len().min(EXCERPT_BYTES)]);
            let text = format!("not understood ({}): {excerpt:?}", kind.label());
            self.notice(Severity::Warning, market, text);
        }
    }

    /// The next event for the ring: what is ready in its order, then conflated open candles, one
    /// per instrument. To be called only when the ring has a free slot.
    pub fn next_published(&mut self) -> Option<MarketEvent> {
        let metrics = &self.metrics;
        let depth = |stream: &Stream| metrics.market(stream.instrument.market);
        if let Some(event) = self.queue.pop_ready() {
            if let Some(stream) = self.streams.stream(instrument_of(&event)) {
                let metrics = depth(stream);
                match is_closed(&event) {
                    true => metrics.closed_queue_depth.add(-1),
                    false => metrics.open_queue_depth.add(-1),
                }
            }
            return Some(event);
        }
        while let Some(id) = self.queue.pop_conflated() {
            let Some(stream) = self.streams.stream_mut(id) else { continue };
            stream.is_queued = false;
            if let Some(update) = stream.waiting.take() {
                depth(stream).open_queue_depth.add(-1);
                return Some(MarketEvent::Candle(update));
            }
        }
        None
    }
}

fn take_kline(
    streams: &mut Streams,
    queue: &mut PublishQueue,
    metrics: &FeedMetrics,
    market: Market,
    kline: &Kline<'_>,
    now: Now,
) -> Result<Consequence, DecodeErrorKind> {
    let stream = streams.find(market, kline.symbol, kline.interval);
    let stream = stream.ok_or(DecodeErrorKind::Unknown)?;
    if !stream.is_wanted {
        return Ok(Consequence::Unwanted);
    }
    if let Some(UnixMs(sent_ms)) = kline.event_time {
        let latency_us = now.unix_us.saturating_sub(sent_ms.saturating_mul(1000)).max(0);
        metrics.quote_latency.record_ns(latency_us.unsigned_abs().saturating_mul(1000));
    }
    let is_closed = kline.is_closed == Some(true);
    let verdict = match is_closed {
        true => stream.series.close(&kline.candle),
        false => stream.series.judge_open(&kline.candle),
    };
    if verdict == Verdict::Misaligned {
        return Err(DecodeErrorKind::Misaligned);
    }
    (stream.is_delivering, stream.check) = (true, Check::Idle);
    let update = CandleUpdate {
        instrument: stream.id,
        candle: kline.candle,
        event_time: kline.event_time,
        received: now.mono,
        final_by: is_closed.then_some(FinalBy::Flag),
        source: Source::Ws,
        revision: if let Verdict::Correction { revision } = verdict { revision } else { 0 },
    };
    match verdict {
        Verdict::Open => take_open(stream, queue, metrics, update, kline),
        Verdict::Duplicate => metrics.duplicates.increment(),
        Verdict::Late => metrics.late.increment(),
        Verdict::Misaligned => {}
        Verdict::Closed | Verdict::Correction { .. } | Verdict::ClosedAfterGap { .. } => {
            take_closed(stream, queue, metrics, update, verdict);
        }
    }
    Ok(Consequence::Delivered)
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
fn take_closed(
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
    metrics.closed_queue_depth.add(1);
    queue.push_closed(MarketEvent::Candle(update));
    let is_past = |open: &mut CandleUpdate| open.candle.open_time <= update.candle.open_time;
    if stream.waiting.take_if(is_past).is_some() {
        metrics.open_queue_depth.add(-1);
    }
}

/// As much of a message that was not understood as goes into the log.
const EXCERPT_BYTES: usize = 200;
