//! From a session's bytes to messages, and from messages to what they change in the session:
//! acknowledgements, refusals, notices. Owns the order of reading; knows no rule about candles. The
//! hot path begins here and continues in [`crate::feed::candles`].

use crate::clock::{MonoNs, Now, RoughLapse};
use crate::feed::candles::{MessageOrigin, Publisher, take_klines};
use crate::feed::session::lifecycle::Socket;
use crate::feed::session::refusals::Refused;
use crate::feed::session::{Delivery, Session, SessionPhase};
use crate::feed::stream::FeedStream;
use crate::feed::streams::Streams;
use crate::feed::{Feed, SessionId};
use crate::market::{InstrumentId, Interval, Market};
use crate::messages::EventName;
use crate::metrics::{ConnectionErrorKind, DecodeErrorKind};
use crate::text;
use crate::venue::{self, Klines, Message, SubscribeOp};
use crate::wire::json::JsonReader;
use crate::wire::{Connection, Event};

/// What a message changes in its session, after its candles were taken.
enum Consequence {
    /// A candle of a wanted stream arrived.
    Delivered,
    /// Only candles of unwanted streams arrived, or the message changes nothing.
    Nothing,
    Accepted {
        id: Option<i64>,
    },
    AcceptedOne {
        op: SubscribeOp,
        symbol: String,
        interval: Interval,
    },
    Refused(Refused),
    ShuttingDown,
}

/// Reads a text of any kind and hands its candles to `take`.
///
/// # Errors
/// The kind of decode error, if the text is not understood or `take` refuses its candles.
fn read_any(
    json: &mut JsonReader,
    market: Market,
    text: &str,
    mut take: impl FnMut(&Klines<'_>) -> Result<Consequence, DecodeErrorKind>,
) -> Result<Consequence, DecodeErrorKind> {
    let read = json.read_text(text, |root| {
        let mut klines = Klines::new();
        match venue::decode(market, root, &mut klines)? {
            Message::Klines => take(&klines),
            Message::Accepted { id } => Ok(Consequence::Accepted { id }),
            Message::AcceptedOne { op, symbol, interval } => {
                Ok(Consequence::AcceptedOne { op, symbol: symbol.to_owned(), interval })
            }
            Message::Refused(refusal) => Ok(Consequence::Refused(Refused::new(&refusal))),
            Message::ShutdownNotice => Ok(Consequence::ShuttingDown),
            Message::Nothing => Ok(Consequence::Nothing),
        }
    });
    read.unwrap_or(Err(DecodeErrorKind::Json))
}

/// Breaks the streams that a dropped message names. It may have been the last message about a
/// window, so that no successor proves the window's end. If the message names no member and
/// `may_be_any` is set, all members are broken.
fn break_named(streams: &mut Streams, members: &[InstrumentId], text: &str, may_be_any: bool) {
    let names = |stream: &FeedStream| {
        let symbol = &*stream.instrument.symbol;
        let is_whole = |(at, _)| text.as_bytes().get(at + symbol.len()) == Some(&b'"');
        text.len() <= PUSH_BYTES_MAX && text.match_indices(symbol).any(is_whole)
    };
    let is_named = |id: &InstrumentId| streams.stream(*id).is_some_and(names);
    let named: Vec<_> = members.iter().copied().filter(is_named).collect();
    let broken = if named.is_empty() && may_be_any { members } else { &named };
    for &id in broken {
        if let Some(stream) = streams.stream_mut(id) {
            stream.unbroken_on = None;
        }
    }
}

/// A longer message is not searched for symbols. Source: pushes of one candle have at most 560
/// bytes.
const PUSH_BYTES_MAX: usize = 1024;

impl Feed {
    /// How long the bytes of the next [`Self::handle_bytes`] lay in the kernel. The driver calls
    /// this before each `handle_bytes`, or never.
    pub fn note_kernel(&mut self, kernel: RoughLapse) {
        self.kernel = kernel;
    }

    /// Takes bytes that were read from the session's socket at `now`.
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
            self.lose_wire(index, &error, Socket::Open, now);
            has_news = true;
        }
        if has_news {
            self.handle_timeout(now);
        }
        self.transmit(index);
    }

    /// Takes every complete message. Returns whether anything but candles happened.
    fn read_events(&mut self, index: usize, now: Now) -> bool {
        let mut has_news = false;
        loop {
            while let Some(is_news) = self.take_text(index, None, now) {
                has_news |= is_news;
            }
            let Some(wire) = &mut self.sessions[index].wire else { break };
            match wire.next_event() {
                Ok(None) => break,
                Ok(Some(Event::Text(text))) => {
                    has_news |= self.take_text(index, Some(&text), now).unwrap_or_default();
                }
                Ok(Some(event)) => {
                    self.take_control(index, event, now.mono);
                    has_news = true;
                }
                Err(error) => {
                    self.lose_wire(index, &error, Socket::Open, now);
                    return true;
                }
            }
        }
        has_news
    }

    fn take_control(&mut self, index: usize, event: Event, now: MonoNs) {
        match event {
            Event::Open { .. } => self.opened(index, now),
            Event::Ping => {
                let Session { wire, subscribe_queue, .. } = &mut self.sessions[index];
                // Otherwise its pong waits to be sent already.
                let is_owed = wire.as_ref().is_some_and(Connection::owes_pong);
                if !is_owed {
                    subscribe_queue.spend_heartbeat(now);
                }
            }
            Event::Pong(_) => {}
            Event::Close { code, reason } => {
                let limit = venue::read_close(self.sessions[index].market, code, &reason);
                let code = code.map_or("no code".to_owned(), |code| code.to_string());
                let why = format!("closed by the exchange: {code} {}", text::visible(&reason));
                self.suspect(index, limit, &why, now);
                self.lose_to(index, ConnectionErrorKind::Closed, &why, now);
            }
            Event::Binary(_) => {
                self.count_decode_error(index, DecodeErrorKind::Unknown, "binary message")
            }
            Event::Text(_) => unreachable!("texts are taken before"),
        }
    }

    /// Takes `text`, or else the next plain text of the connection. Returns whether anything but
    /// candles happened; `None` if there is no such text.
    fn take_text(&mut self, index: usize, text: Option<&str>, now: Now) -> Option<bool> {
        let Self {
            sessions, json, streams, queue, metrics, clocks, urgent, config, kernel, ..
        } = self;
        let Session {
            market,
            id,
            phase,
            members,
            subscribe_queue,
            wire,
            delivery,
            last_candle,
            ..
        } = &mut sessions[index];
        let (market, session) = (*market, *id);
        let is_closing = matches!(phase, SessionPhase::Closing { .. });
        let origin = MessageOrigin { market, session, members, subscribe_queue, is_closing };
        let text = match text {
            Some(text) => text,
            None => wire.as_mut()?.next_plain_text()?,
        };
        let metrics = metrics.market(market);
        let clock = &mut clocks[market.index()];
        let publisher = Publisher::new(queue, metrics, urgent, now.mono, config.gap_hold);
        let mut publisher = Publisher { kernel: *kernel, ..publisher };
        metrics.last_message_ms.set(now.unix_ms().0);
        if venue::is_plain_text(market, text) {
            return Some(false);
        }
        let mut take = |klines: &Klines<'_>| {
            let is_delivered = take_klines(streams, clock, &mut publisher, origin, klines, now)?;
            Ok(if is_delivered { Consequence::Delivered } else { Consequence::Nothing })
        };
        let outcome = {
            let mut klines = Klines::new();
            match venue::read_push(market, text, &mut klines) {
                Some(()) => take(&klines),
                None => read_any(json, market, text, take),
            }
        };
        match outcome {
            Ok(Consequence::Delivered) if *delivery == Delivery::Candles => {
                *last_candle = now.mono;
                return Some(!self.urgent.is_empty());
            }
            Ok(Consequence::Nothing) => return Some(false),
            _ => {}
        }
        if let Err(kind) = &outcome {
            break_named(streams, members, text, kind.is_of_push());
        }
        let text_bytes = text.len();
        let excerpt = text[..text.floor_char_boundary(EXCERPT_BYTES)].to_owned();
        match outcome {
            Ok(consequence) => self.follow(index, consequence, &excerpt, now.mono),
            Err(_) if self.is_greeting(index, text_bytes, &excerpt) => return Some(false),
            Err(kind) => {
                self.count_decode_error(index, kind, &excerpt);
                return Some(false);
            }
        }
        Some(true)
    }

    /// Changes the session as a message requires.
    fn follow(&mut self, index: usize, consequence: Consequence, excerpt: &str, now: MonoNs) {
        match consequence {
            Consequence::Nothing => {}
            Consequence::Delivered => {
                let session = &mut self.sessions[index];
                session.delivery = Delivery::Candles;
                session.last_candle = now;
                self.report_back(index);
                self.prove(index, now);
                self.take_over(index, now);
            }
            Consequence::Accepted { id } => {
                let subscribe_queue = &mut self.sessions[index].subscribe_queue;
                let Some(message) = subscribe_queue.answered(id) else {
                    if id.is_some_and(|id| subscribe_queue.has_sent(id)) {
                        return;
                    }
                    return self.count_decode_error(index, DecodeErrorKind::Unknown, excerpt);
                };
                self.accepted(index, message.op, &message.instruments, now);
            }
            Consequence::AcceptedOne { op, symbol, interval } => {
                let Session { subscribe_queue, members, .. } = &mut self.sessions[index];
                let streams = &self.streams;
                let is_meant = |id| {
                    let instrument = streams.stream(id).map(|stream| &stream.instrument);
                    instrument.is_some_and(|it| *it.symbol == *symbol && it.interval == interval)
                };
                let Some(id) = subscribe_queue.answered_name(op, is_meant) else {
                    // It was subscribed twice, because the first answer was late.
                    if op == SubscribeOp::Subscribe && members.iter().copied().any(is_meant) {
                        return;
                    }
                    return self.count_decode_error(index, DecodeErrorKind::Unknown, excerpt);
                };
                self.accepted(index, op, &[id], now);
            }
            Consequence::Refused(refused) => self.refused(index, &refused, excerpt, now),
            Consequence::ShuttingDown => self.renew_announced(index, now),
        }
    }

    /// Takes the exchange's acceptance of `op` for `ids`.
    fn accepted(&mut self, index: usize, op: SubscribeOp, ids: &[InstrumentId], now: MonoNs) {
        if op == SubscribeOp::Subscribe {
            self.sessions[index].accepted_at = Some(now);
            for &id in ids {
                if let Some(stream) = self.streams.stream_mut(id) {
                    stream.remember_served(now);
                    stream.accepted_at = Some(now);
                }
            }
            self.arm_checks(index, ids, now);
        }
        self.take_over(index, now);
    }

    /// Returns whether a text that is no message of the dialect is a greeting: a few words before
    /// any other message of a connection.
    fn is_greeting(&self, index: usize, bytes: usize, text: &str) -> bool {
        let session = &self.sessions[index];
        let is_first = !session.has_delivered() && session.accepted_at.is_none();
        let is_words = bytes == text.len()
            && text.contains(char::is_alphabetic)
            && !text.contains(|c: char| text::is_hidden(c) || "{}[]<>\"".contains(c));
        is_first && is_words
    }

    /// Counts a message that was not understood, and logs the first one of a connection.
    pub(crate) fn count_decode_error(
        &mut self,
        index: usize,
        kind: DecodeErrorKind,
        excerpt: &str,
    ) {
        let session = &mut self.sessions[index];
        let market = session.market;
        let is_first = !std::mem::replace(&mut session.has_logged_decode_error, true);
        self.market_metrics(market).decode_errors[kind as usize].increment();
        if is_first {
            let text = format!("not understood ({}): {excerpt:?}", kind.label());
            self.notice_of_session(EventName::NotUnderstood, index, text);
        }
    }
}

/// Most bytes of a misunderstood message that are logged. Source: chosen.
const EXCERPT_BYTES: usize = 200;
