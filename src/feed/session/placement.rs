//! Which session carries which instrument: subscribe, reject, unsubscribe, within what an exchange
//! allows. Owns the choice of the session; knows no message.

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::session::{Session, SessionPhase};
use crate::feed::stream::Check;
use crate::feed::{Feed, Output};
use crate::limits::UNSUBSCRIBE_LINGER;
use crate::market::{ClosedWindow, Instrument, InstrumentId, Market};
use crate::messages::{About, EventName, FeedEvent, MarketEvent};
use crate::{text, venue};

/// Why an instrument has no stream.
pub(crate) enum Rejection<'words> {
    /// There is no such symbol; the exchange's words, if there are any.
    Unknown(&'words str),
    /// The exchange refuses it; the exchange's words.
    Refused(&'words str),
    /// It is listed and does not trade; the exchange's word for its state.
    Halted(&'words str),
    /// The exchange ends every session that subscribes it; its last words.
    Drops(&'words str),
    /// The exchange does not answer its subscription, but answers others.
    Unanswered,
    /// The exchange allows at most this number of streams.
    NoRoom(usize),
}

/// What the exchange's list decides about a new subscription.
pub(crate) enum Admission {
    Now,
    Later,
    Rejected,
}

impl Feed {
    /// Ends the stream of `id` for a reason that lies in the instrument, and reports the rejection.
    pub(crate) fn reject(&mut self, id: InstrumentId, why: &Rejection<'_>, now: MonoNs) {
        let Some(stream) = self.streams.stream(id).filter(|stream| stream.is_wanted) else {
            return;
        };
        let about = About::from(&stream.instrument);
        let Instrument { market, symbol, .. } = stream.instrument.clone();
        let (message, exchange_message) = match why {
            Rejection::Unknown(words) => {
                let hint = self.listings.hint(market, &symbol);
                (format!("{market} has no symbol {symbol}{hint}"), *words)
            }
            Rejection::Refused(words) => (format!("{market} refuses {symbol}"), *words),
            Rejection::Halted(state) => {
                (format!("{market} lists {symbol} as {state}: it is not trading"), *state)
            }
            Rejection::Drops(words) => {
                (format!("{market} drops the connection when it is asked for {symbol}"), *words)
            }
            Rejection::Unanswered => {
                (format!("{market} does not answer when it is asked for {symbol}"), "")
            }
            Rejection::NoRoom(streams) => (
                format!(
                    "{symbol} is one too many: {market} allows {streams} streams to one address, \
                     all contract types together"
                ),
                "",
            ),
        };
        self.market_metrics(market).rejected.increment();
        let colon = if exchange_message.is_empty() { "" } else { ": " };
        let line = format!("{symbol} is rejected: {message}{colon}{exchange_message}");
        self.notice(EventName::SymbolRejected, about, line);
        let (message, exchange_message) =
            (text::visible(&message).into_owned(), text::visible(exchange_message).into_owned());
        let is_lasting = !matches!(why, Rejection::NoRoom(_));
        let event = FeedEvent::Rejected { instrument: id, message, exchange_message, is_lasting };
        self.outputs.push_back(Output::Event(event));
        for session in self.sessions.iter_mut().filter(|session| session.is_open()) {
            if session.members.contains(&id) {
                session.kept_until = now.after(UNSUBSCRIBE_LINGER);
            }
        }
        self.unsubscribe(id, now);
    }

    pub(crate) fn subscribe(
        &mut self,
        id: InstrumentId,
        instrument: &Instrument,
        tail: &[ClosedWindow],
        now: MonoNs,
    ) {
        if self.is_stopping || !self.streams.want(id, instrument, tail, now) {
            return;
        }
        let market = instrument.market;
        let metrics = self.metrics.market(market);
        metrics.instruments.add(1);
        metrics.closed_queue_depth.add(1);
        self.queue.push_closed(MarketEvent::Begin { instrument: id });
        self.queue.reserve_conflated(self.streams.capacity());
        let symbol = &*instrument.symbol;
        if market.canonical_symbol(symbol).as_deref() != Some(symbol) {
            return self.reject(id, &Rejection::Unknown(""), now);
        }
        self.arm_watch(now);
        match self.admit_listed(id, market, symbol, now) {
            Admission::Now => self.place(id, market, now),
            // The list will arrive, and places the waiting ones.
            Admission::Later | Admission::Rejected => {}
        }
    }

    /// Gives an instrument to a session; an unlisted one only after REST knows it.
    pub(crate) fn place(&mut self, id: InstrumentId, market: Market, now: MonoNs) {
        let symbol = self.streams.stream(id).map(|stream| stream.instrument.symbol.clone());
        let is_unlisted = symbol.is_some_and(|symbol| self.listings.lacks(market, &symbol));
        let is_apart =
            is_unlisted && (self.look_up(id, market) || self.place_apart(id, market, now));
        if !is_apart {
            self.place_among(id, market, now);
        }
    }

    /// Gives an instrument to a session, listed or not.
    pub(crate) fn place_among(&mut self, id: InstrumentId, market: Market, now: MonoNs) {
        match self.place_for(market, now) {
            Some(index) => {
                self.sessions[index].add(id);
                self.report_lost_to(index, id);
            }
            None => {
                let limits = venue::limits(market);
                let by_sessions = limits.sessions.saturating_mul(limits.streams_per_session);
                let streams = limits.streams.min(by_sessions);
                self.reject(id, &Rejection::NoRoom(streams), now);
            }
        }
    }

    pub(crate) fn unsubscribe(&mut self, id: InstrumentId, now: MonoNs) {
        let Some(stream) = self.streams.stream_mut(id).filter(|stream| stream.is_wanted) else {
            return;
        };
        stream.is_wanted = false;
        stream.check = Check::Idle;
        stream.series.suspend();
        stream.repair.reset();
        let waiting = stream.waiting.take();
        let metrics = self.metrics.market(stream.instrument.market);
        metrics.instruments.add(-1);
        if std::mem::take(&mut stream.is_late) {
            metrics.late_instruments.add(-1);
        }
        if waiting.is_some() {
            metrics.open_queue_depth.add(-1);
        }
        for index in 0..self.sessions.len() {
            let session = &mut self.sessions[index];
            if session.remove(id) && session.is_left(now) {
                self.retire(index, now);
            }
        }
    }

    /// Ends the stream of `id` if it runs, and forgets it.
    pub(crate) fn forget(&mut self, id: InstrumentId, now: MonoNs) {
        self.unsubscribe(id, now);
        self.streams.forget(id);
    }

    /// Drops the forgotten streams that no session and no event names.
    pub(crate) fn drop_forgotten(&mut self) {
        if !self.streams.has_forgotten() || !self.queue.is_empty() {
            return;
        }
        let named: HashSet<InstrumentId> =
            self.sessions.iter().flat_map(|session| session.subscribe_queue.named()).collect();
        self.streams.drop_forgotten(|id| named.contains(&id));
    }

    /// A session for one more instrument: the first with room, else a new one, else the emptiest,
    /// within the exchange's limits.
    fn place_for(&mut self, market: Market, now: MonoNs) -> Option<usize> {
        let group = venue::budget_group(market);
        let sessions = self.sessions.iter().filter(|session| counts_for(session, group));
        let streams: usize = sessions.map(|session| session.members.len()).sum();
        if streams >= self.gates.group(market).streams_max {
            return None;
        }
        let venue_max = venue::limits(market).streams_per_session;
        let with_room = self.session_with_room(market, now);
        if with_room.is_some() {
            return with_room;
        }
        if self.may_open_session(market) {
            return Some(self.new_session(market, now));
        }
        // A session of suspects is better than none, and so is a full one.
        let fitting = self.sessions.iter().enumerate().filter(|(_, session)| {
            let is_here = session.market == market && session.is_joinable();
            is_here && session.members.len() < venue_max
        });
        let emptiest = fitting.min_by_key(|(_, session)| {
            (session.is_full, session.is_apart(now), session.members.len())
        });
        emptiest.map(|(index, _)| index)
    }

    /// The first session with room for one more instrument.
    fn session_with_room(&self, market: Market, now: MonoNs) -> Option<usize> {
        let members_max = self.members_max(market);
        self.sessions.iter().position(|session| {
            let is_ordinary = !session.is_full && !session.is_apart(now);
            let has_room = is_ordinary && session.members.len() < members_max;
            let is_soon = session.subscribe_queue.may_send_within(SEND_WAIT_MAX, now);
            session.market == market && session.is_joinable() && has_room && is_soon
        })
    }

    /// Returns whether an unverified symbol has a place without an extra session: on a session with
    /// room, or on the market's first.
    pub(crate) fn has_place_unseen(&self, market: Market, now: MonoNs) -> bool {
        let mut sessions =
            self.sessions.iter().filter(|session| session.phase != SessionPhase::Free);
        self.session_with_room(market, now).is_some()
            || !sessions.any(|session| session.market == market)
    }

    /// Most instruments on one session of `market`.
    pub(crate) fn members_max(&self, market: Market) -> usize {
        let venue_max = venue::limits(market).streams_per_session;
        self.config.max_symbols_per_session.clamp(1, venue_max)
    }

    /// Returns whether the exchange allows one more session of `market`. One session stays reserved
    /// for each other market of its group without a lasting session.
    pub(crate) fn may_open_session(&self, market: Market) -> bool {
        let group = venue::budget_group(market);
        let counting = || self.sessions.iter().filter(|session| counts_for(session, group));
        let has_none = |other: &Market| !counting().any(|session| session.market == *other);
        let others = Market::all().filter(|other| *other != market);
        let others = others.filter(|other| venue::budget_group(*other) == group);
        let owed = others.filter(has_none).count();
        let sessions = counting().count();
        sessions + owed < self.gates.group(market).sessions_max
    }
}

/// Returns whether `session` counts towards the limits of `group`.
fn counts_for(session: &Session, group: Market) -> bool {
    let is_ending =
        matches!(session.phase, SessionPhase::Free | SessionPhase::Closing { retry_at: None, .. });
    !is_ending && venue::budget_group(session.market) == group
}

/// A session that may send nothing for longer than this gets no new instruments while another
/// session may be opened. Source: OKX allows 480 operations an hour.
const SEND_WAIT_MAX: Duration = Duration::from_secs(10);
