//! Refusals of an exchange: which of our messages is meant, which stream is at fault, and what
//! follows. A limit is no stream's fault: the stopped streams are subscribed again. A stream at
//! fault is rejected. If the exchange does not name the stream, each one is subscribed alone.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::Feed;
use crate::feed::session::Session;
use crate::feed::session::placement::Rejection;
use crate::feed::session::subscribe_queue::{Again, Unanswered};
use crate::limits::{CONNECT_PATIENCE, UNSUBSCRIBE_LINGER};
use crate::market::{Instrument, InstrumentId, Interval};
use crate::messages::EventName;
use crate::metrics::DecodeErrorKind;
use crate::text;
use crate::venue::{self, NotNow, RefusalKind, RefusalScope, SubscribeOp};

/// A [`venue::Refusal`] that outlives its message.
pub(crate) struct Refused {
    scope: Scope,
    kind: RefusalKind,
    /// The exchange's words and code.
    words: String,
}

enum Scope {
    Whole { id: Option<i64> },
    WholeBecauseOf { id: Option<i64>, stream: Named },
    One { stream: Named },
}

/// A stream as an exchange names it in a refusal.
struct Named {
    symbol: String,
    interval: Option<Interval>,
}

/// Which of our messages a refusal means.
enum Meant {
    /// One stream of a message; its other streams are served.
    One(InstrumentId),
    /// A message, and the stream at fault if the exchange names it.
    Message { message: Unanswered, culprit: Option<InstrumentId>, is_sure: bool },
    /// One of the messages under way; it is unknown which.
    Unclear,
    /// A message that no longer matters.
    Past,
}

impl Refused {
    pub(crate) fn new(refusal: &venue::Refusal<'_>) -> Self {
        let named = |symbol: &str, interval| Named { symbol: symbol.to_owned(), interval };
        let scope = match refusal.scope {
            RefusalScope::Whole { id } => Scope::Whole { id },
            RefusalScope::WholeBecauseOf { id, symbol, interval } => {
                Scope::WholeBecauseOf { id, stream: named(symbol, interval) }
            }
            RefusalScope::One { symbol, interval } => {
                Scope::One { stream: named(symbol, interval) }
            }
        };
        let words = text::visible(refusal.message);
        let words = match refusal.code {
            Some(code) => format!("{words} ({code})"),
            None => words.into_owned(),
        };
        Self { scope, kind: refusal.kind, words }
    }
}

impl Feed {
    pub(crate) fn refused(&mut self, index: usize, refused: &Refused, excerpt: &str, now: MonoNs) {
        let meant = self.meant(index, refused);
        if let RefusalKind::NotNow(limit) = refused.kind {
            return self.limited(index, limit, meant, refused, now);
        }
        match meant {
            Meant::One(id) => self.reject_refused(index, id, refused, now),
            Meant::Message { message, .. } if message.op == SubscribeOp::Unsubscribe => {
                let text = format!("an unsubscription was refused: {}", refused.words);
                self.notice_of_session(EventName::SubscriptionRefused, index, text);
            }
            Meant::Message { message, culprit: Some(culprit), .. } => {
                let subscribe_queue = &mut self.sessions[index].subscribe_queue;
                for &id in message.instruments.iter().filter(|&&id| id != culprit) {
                    subscribe_queue.want(SubscribeOp::Subscribe, id);
                }
                self.reject_refused(index, culprit, refused, now);
            }
            Meant::Message { message, culprit: None, is_sure } => {
                self.isolate_message(index, message, is_sure, refused, now);
            }
            Meant::Unclear => self.isolate_all(index, refused, excerpt, now),
            Meant::Past => {}
        }
    }

    /// Handles a refused message without a named stream: a lone stream is at fault; several streams
    /// are subscribed one by one.
    fn isolate_message(
        &mut self,
        index: usize,
        message: Unanswered,
        is_sure: bool,
        refused: &Refused,
        now: MonoNs,
    ) {
        let mut strikes = 0;
        for &id in &message.instruments {
            if let Some(stream) = self.streams.stream_mut(id) {
                strikes = stream.strike(now);
            }
        }
        match message.instruments[..] {
            [only] if is_sure || strikes >= 2 => self.reject_refused(index, only, refused, now),
            _ => self.sessions[index].subscribe_queue.ask_again(message, Again::Alone),
        }
    }

    /// Handles a refusal that may mean any of several messages: once the answers to the others have
    /// had time to arrive, each unanswered stream is subscribed alone.
    fn isolate_all(&mut self, index: usize, refused: &Refused, excerpt: &str, now: MonoNs) {
        let subscribe_queue = &mut self.sessions[index].subscribe_queue;
        let asked = subscribe_queue.take_unanswered(|message| message.op == SubscribeOp::Subscribe);
        if asked.is_empty() && subscribe_queue.awaits_late_answers() {
            return;
        }
        if asked.is_empty() {
            return self.count_decode_error(index, DecodeErrorKind::Unknown, excerpt);
        }
        subscribe_queue.hold(now.after(SETTLE));
        asked.into_iter().for_each(|message| subscribe_queue.ask_again(message, Again::Alone));
        let text =
            format!("a subscription was refused: {}; each is asked for alone", refused.words);
        self.notice_of_session(EventName::SubscriptionRefused, index, text);
    }

    /// Handles a limit or a fault of the exchange: no stream is rejected, and running streams go
    /// on.
    fn limited(
        &mut self,
        index: usize,
        limit: NotNow,
        meant: Meant,
        refused: &Refused,
        now: MonoNs,
    ) {
        let market = self.sessions[index].market;
        let moves_elsewhere = limit == NotNow::OtherSession && self.moves_elsewhere(index);
        let subscribe_queue = &mut self.sessions[index].subscribe_queue;
        let messages = match meant {
            Meant::Message { message, .. } => vec![message],
            Meant::One(id) => {
                subscribe_queue.want(SubscribeOp::Subscribe, id);
                Vec::new()
            }
            Meant::Unclear => subscribe_queue.take_unanswered(|_| true),
            Meant::Past => Vec::new(),
        };
        let largest = messages.iter().map(|message| message.instruments.len()).max();
        let until = now.after(LIMIT_PAUSE);
        let mut is_news = !subscribe_queue.is_held_beyond(now.after(SETTLE));
        match limit {
            NotNow::SmallerMessage if subscribe_queue.shrink_batches(largest.unwrap_or(0)) => {}
            NotNow::OtherSession if moves_elsewhere => {
                self.sessions[index].is_full = true;
                let ids = messages.iter().flat_map(|message| &message.instruments).copied();
                ids.collect::<Vec<_>>().into_iter().for_each(|id| self.move_on(index, id, now));
                let text = format!("the session is full: {}; others carry on", refused.words);
                return self.notice_of_session(EventName::SubscriptionRefused, index, text);
            }
            NotNow::Address => {
                is_news = self.gates.pauses.subscribes_at(market) <= now;
                self.gates.pauses.hold_subscribes(market, until);
            }
            _ => subscribe_queue.hold(until),
        }
        let subscribe_queue = &mut self.sessions[index].subscribe_queue;
        messages
            .into_iter()
            .for_each(|message| subscribe_queue.ask_again(message, Again::Together));
        if is_news {
            let text = format!(
                "a subscription was refused: {}; it is asked for again later",
                refused.words
            );
            self.notice_of_session(EventName::SubscriptionRefused, index, text);
        }
    }

    /// Returns whether refused streams fit better on another session: this session serves some, and
    /// no session of the market waits for its first acceptance.
    fn moves_elsewhere(&self, index: usize) -> bool {
        let Session { market, accepted_at, .. } = self.sessions[index];
        let waits = |session: &Session| {
            session.market == market && session.is_open() && session.accepted_at.is_none()
        };
        accepted_at.is_some() && !self.sessions.iter().any(waits) && self.may_open_session(market)
    }

    /// Gives a stream that is not served here to another session.
    fn move_on(&mut self, index: usize, id: InstrumentId, now: MonoNs) {
        let session = &mut self.sessions[index];
        if session.members.contains(&id) {
            let market = session.market;
            session.members.retain(|&member| member != id);
            self.place(id, market, now);
        }
    }

    /// Finds the message that a refusal means: by our id, by the named stream, by our words in the
    /// refusal, or because no other message is under way.
    fn meant(&mut self, index: usize, refused: &Refused) -> Meant {
        let asked = self.sessions[index].subscribe_queue.unanswered_instruments();
        let (id, named) = match &refused.scope {
            Scope::Whole { id } => (*id, None),
            Scope::WholeBecauseOf { id, stream } => (*id, Some(stream)),
            Scope::One { stream } => {
                let culprit = self.named(&asked, stream);
                let subscribe_queue = &mut self.sessions[index].subscribe_queue;
                match culprit.filter(|&id| subscribe_queue.answered_one(SubscribeOp::Subscribe, id))
                {
                    Some(id) => return Meant::One(id),
                    None => (None, Some(stream)),
                }
            }
        };
        let (message, is_sure) = match id {
            Some(id) => (self.sessions[index].subscribe_queue.answered(Some(id)), true),
            None => match self.message_named_by(index, named, &refused.words) {
                Some(message) => (Some(message), true),
                None => {
                    let is_sure = refused.kind == RefusalKind::UnknownSymbol;
                    (self.sessions[index].subscribe_queue.answered(None), is_sure)
                }
            },
        };
        let session = &self.sessions[index];
        let Some(mut message) = message else {
            let is_past = id.is_some_and(|id| session.subscribe_queue.has_sent(id));
            return if is_past { Meant::Past } else { Meant::Unclear };
        };
        if message.op == SubscribeOp::Subscribe {
            message.instruments.retain(|id| session.members.contains(id));
        }
        if message.instruments.is_empty() {
            return Meant::Past;
        }
        let culprit = named.and_then(|stream| self.named(&message.instruments, stream));
        let culprit = culprit.or_else(|| match &self.in_words(&message, &refused.words)[..] {
            [only] => Some(*only),
            _ => None,
        });
        Meant::Message { message, culprit, is_sure }
    }

    /// The unanswered message that names the stream; otherwise the only message with all its
    /// symbols in `words`.
    fn message_named_by(
        &mut self,
        index: usize,
        stream: Option<&Named>,
        words: &str,
    ) -> Option<Unanswered> {
        let unanswered = self.sessions[index].subscribe_queue.unanswered();
        let names = |message: &&Unanswered| {
            stream.is_some_and(|stream| self.named(&message.instruments, stream).is_some())
        };
        let is_repeated = |message: &&Unanswered| {
            let repeated = self.in_words(message, words).len();
            repeated > 0 && repeated == message.instruments.len()
        };
        let mut repeated = unanswered.iter().filter(is_repeated);
        let only = repeated.next().filter(|_| repeated.next().is_none());
        let id = unanswered.iter().find(names).or(only)?.id;
        self.sessions[index].subscribe_queue.answered(Some(id))
    }

    /// The streams of `message` with their symbols in `words`.
    fn in_words(&self, message: &Unanswered, words: &str) -> Vec<InstrumentId> {
        let is_there = |id: &&InstrumentId| {
            let stream = self.streams.stream(**id);
            stream.is_some_and(|stream| has_word(words, &stream.instrument.symbol))
        };
        message.instruments.iter().filter(is_there).copied().collect()
    }

    /// Rejects the stream at fault. It never began, so that no unsubscription is sent.
    fn reject_refused(&mut self, index: usize, id: InstrumentId, refused: &Refused, now: MonoNs) {
        let session = &mut self.sessions[index];
        session.members.retain(|&member| member != id);
        session.refused_at = Some(now);
        session.kept_until = now.after(UNSUBSCRIBE_LINGER);
        let words = &*refused.words;
        match refused.kind {
            RefusalKind::UnknownSymbol => self.reject_unknown(id, words, now),
            RefusalKind::NotNow(_) | RefusalKind::Other => {
                self.reject(id, &Rejection::Refused(words), now);
            }
        }
    }

    /// The one of `ids` that is named. Exchanges repeat a symbol in the case in which it was sent.
    fn named(&self, ids: &[InstrumentId], named: &Named) -> Option<InstrumentId> {
        let find = |is_same: &dyn Fn(&str, &str) -> bool| {
            ids.iter().copied().find(|&id| {
                self.streams.stream(id).is_some_and(|stream| {
                    let Instrument { symbol, interval, .. } = &stream.instrument;
                    let is_interval = named.interval.is_none_or(|named| named == *interval);
                    is_interval && is_same(symbol, &named.symbol)
                })
            })
        };
        find(&|symbol, named| symbol == named)
            .or_else(|| find(&|symbol, named| symbol.to_lowercase() == named.to_lowercase()))
    }
}

/// Returns whether `name` is in `words` as a whole symbol, in any case.
fn has_word(words: &str, name: &str) -> bool {
    let (words, name) = (words.to_lowercase(), name.to_lowercase());
    words.match_indices(&name).any(|(at, _)| {
        let before = words[..at].chars().next_back();
        let mut after = words[at + name.len()..].chars();
        let next = after.next();
        let is_dotted = next == Some('.') && after.next().is_some_and(char::is_alphanumeric);
        let is_part = |c: char, signs: &str| text::is_letter_or_digit(c) || signs.contains(c);
        !before.is_some_and(|c| is_part(c, "-"))
            && !next.is_some_and(|c| is_part(c, "-_:/"))
            && !is_dotted
    })
}

/// A stream that a limit stopped is subscribed again after this time. Source: OKX, Bybit and Gate
/// count in windows of seconds, Hyperliquid in a minute; there a dead connection counts as long.
const LIMIT_PAUSE: Duration = Duration::from_secs(60);

/// Answers that were under way at a refusal have arrived after this time. Source: ten
/// intercontinental round trips of 0.3 s.
const SETTLE: Duration = Duration::from_secs(3);
const _: () = assert!(SETTLE.as_secs() < CONNECT_PATIENCE.as_secs());

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn a_name_is_found_in_words_as_a_whole() {
        for (words, name, is_there) in [
            (r#"{"channel":"candle1m","instId":"ZZZ-BBB"}"#, "ZZZ-BBB", true),
            (r#"{"channel":"candle1m","instId":"ZZZ-BBB-SWAP"}"#, "ZZZ-BBB", false),
            ("channel:candle1m,instId:AAA-BBB.P doesn't exist.", "AAA-BBB.P", true),
            ("channel:candle1m,instId:AAA-BBB.P doesn't exist.", "AAA-BBB", false),
            ("no instId:AAA-BBB. Please", "AAA-BBB", true),
            ("invalid stream btcusdt@kline_1m", "BTCUSDT", true),
            ("topic:kline.1.NOPEUSDT", "NOPEUSDT", true),
            ("topic:kline.1.XNOPEUSDT", "NOPEUSDT", false),
            ("1m_BTC_USDT", "BTC_USDT", true),
            ("nothing", "BTC", false),
        ] {
            assert_eq!(has_word(words, name), is_there, "{name} in {words}");
        }
    }
}
