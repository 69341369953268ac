//! Symbols that end sessions: found, kept apart, and rejected once that is proven. A session that
//! ends soon after symbols were subscribed loses them to another one. If they are all its members
//! and it ends again, it is halved. The half that lives is left alone; the other half is halved
//! again until one symbol is alone. Alone it waits longer each time and harms no neighbour. Owns
//! the search; [`crate::feed::session::culprits`] owns the proof.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::Feed;
use crate::feed::session::placement::Rejection;
use crate::feed::session::subscribe_queue::{Again, Unanswered};
use crate::feed::session::{End, Ends, Session, SessionPhase, Succession};
use crate::feed::stream::{Check, FeedStream, Suspicion};
use crate::limits::CONNECT_PATIENCE;
use crate::market::{InstrumentId, Market};
use crate::messages::EventName;
use crate::venue::{NotNow, SubscribeOp};

/// The state of a member when its session ended, the most suspicious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It was subscribed, or accepted shortly before, and had not delivered.
    Pending,
    /// It was accepted shortly before, and had delivered.
    Fresh,
    /// It was not subscribed on this connection.
    Unasked,
    /// It was accepted some time before.
    Accepted,
}

impl FeedStream {
    /// Counts a strike against this symbol. Strikes before a delivery or a lasting acceptance no
    /// longer count. Returns the number of strikes in a row.
    pub(crate) fn strike(&mut self, now: MonoNs) -> u8 {
        let Suspicion { strikes, struck_at, .. } = self.suspicion;
        let has_delivered = self.message_rate.last().is_some_and(|at| at > struck_at);
        let has_settled =
            self.accepted_at.is_some_and(|at| at > struck_at && at.after(SOON) <= now);
        let strikes = if has_delivered || has_settled { 0 } else { strikes };
        let strikes = strikes.saturating_add(1);
        self.suspicion = Suspicion { strikes, struck_at: now, struck_before: struck_at };
        strikes
    }
}

impl Session {
    /// Returns whether the session carries symbols under suspicion, so that no other one is placed
    /// here.
    pub(crate) fn is_apart(&self, now: MonoNs) -> bool {
        self.is_quarantine && !(self.has_delivered() && self.has_lived(SHORT_LIFE, now))
    }

    /// Returns whether the session has been open for `time`.
    pub(crate) fn has_lived(&self, time: Duration, now: MonoNs) -> bool {
        matches!(self.phase, SessionPhase::Open { since } if since.after(time) <= now)
    }

    /// Prepares the loss of a session: one that lived long, and did not end for a symbol, is an
    /// ordinary one again. A session that failed to connect blames no symbol.
    pub(crate) fn clear_of_suspicion(&mut self, now: MonoNs) {
        if !self.is_open() {
            self.ends = Ends::default();
        }
        if !self.has_lived(SHORT_LIFE, now) || self.ends.newest.is_some() {
            return;
        }
        if std::mem::take(&mut self.is_quarantine) && self.has_delivered() {
            self.backoff.reset();
        }
        self.ends = Ends::default();
    }
}

impl Feed {
    /// Handles a subscription without an answer in time. Returns whether the session goes on: it
    /// answers others or delivers, so that the symbols are to blame.
    pub(crate) fn isolate_unanswered(&mut self, index: usize, now: MonoNs) -> bool {
        let session = &mut self.sessions[index];
        let Some(since) = session.subscribe_queue.unanswered_since() else { return true };
        let is_alive = session.accepted_at.is_some_and(|at| at >= since)
            || (session.has_delivered() && session.last_candle >= since);
        if !is_alive {
            return false;
        }
        let is_overdue = |sent: MonoNs| sent.after(CONNECT_PATIENCE) <= now;
        let overdue = session.subscribe_queue.take_unanswered(|message| is_overdue(message.sent));
        let (asked, left): (Vec<_>, Vec<_>) =
            overdue.into_iter().partition(|message| message.op == SubscribeOp::Subscribe);
        let is_lone = matches!(&asked[..], [one] if one.instruments.len() == 1);
        let names: Vec<InstrumentId> =
            asked.iter().flat_map(|message| message.instruments.iter().copied()).collect();
        asked
            .into_iter()
            .for_each(|message| session.subscribe_queue.ask_again(message, Again::Alone));
        for message in left {
            self.unsubscribe_again(index, message);
        }
        for &id in &names {
            if let Some(stream) = self.streams.stream_mut(id) {
                stream.strike(now);
            }
        }
        if is_lone && self.is_ignored(names[0]) {
            self.reject(names[0], &Rejection::Unanswered, now);
        }
        true
    }

    /// Sends unsubscriptions once more, except for symbols that the session carries again under
    /// other ids.
    fn unsubscribe_again(&mut self, index: usize, mut message: Unanswered) {
        let Session { market, members, subscribe_queue, .. } = &mut self.sessions[index];
        message.instruments.retain(|&id| {
            let left = self.streams.stream(id).map(|stream| stream.instrument.clone());
            let now = left.and_then(|left| {
                self.streams.find(*market, &left.symbol, left.interval).map(|stream| stream.id)
            });
            now.is_none_or(|now| now == id || !members.contains(&now))
        });
        if !message.instruments.is_empty() {
            subscribe_queue.ask_again(message, Again::Together);
        }
    }

    /// Suspects the symbols that a session had subscribed shortly before the exchange ended it. A
    /// limit, or a symbol that was just refused, explains the end without them. Called before the
    /// session is lost.
    pub(crate) fn suspect(
        &mut self,
        index: usize,
        limit: Option<NotNow>,
        words: &str,
        now: MonoNs,
    ) {
        let session = &self.sessions[index];
        let is_renewal = session.succession != Succession::Alone;
        let SessionPhase::Open { since } = session.phase else { return };
        if is_renewal || self.is_stopping {
            return;
        }
        if let Some(limit) = limit {
            if limit == NotNow::OtherSession {
                self.halve(index, words, now);
            }
            return;
        }
        if session.refused_at.is_some_and(|at| at.after(REFUSAL_ENDS) > now) {
            return;
        }
        let mut members: Vec<(Standing, InstrumentId)> = session
            .members
            .iter()
            .map(|&id| (self.standing(session, since, id, now), id))
            .collect();
        members.sort_by_key(|&(standing, _)| standing);
        let before = |end| members.partition_point(|&(standing, _)| standing < end);
        let (pending, asked) = (before(Standing::Fresh), before(Standing::Unasked));
        let accepted = members.len() - before(Standing::Accepted);
        let members: Vec<InstrumentId> = members.into_iter().map(|(_, id)| id).collect();
        if accepted > 0 && asked > 0 {
            return self.quarantine(index, &members[..asked], words, now);
        }
        let is_short = since.after(SHORT_LIFE) > now;
        if asked == 0 && !(accepted > 0 && is_short) {
            return;
        }
        let is_settled = asked == 0;
        let asked = if is_settled { accepted } else { asked };
        let half = asked.div_ceil(2);
        let suspects = if pending < asked { half.max(pending) } else { half };
        let session = &mut self.sessions[index];
        let is_answered = session.subscribe_queue.unanswered_since().is_none();
        if is_settled && members.len() == 1 {
            session.ends = Ends::default();
        }
        session.members = members;
        let words = words.to_owned();
        session.ends.add(End { opened: since, is_answered, suspects, words }, now);
    }

    /// The state of a member on a connection that has been open since `since`.
    fn standing(
        &self,
        session: &Session,
        since: MonoNs,
        id: InstrumentId,
        now: MonoNs,
    ) -> Standing {
        let subscribe_queue = &session.subscribe_queue;
        let is_waiting =
            || !session.is_quarantine && subscribe_queue.singles().any(|single| single == id);
        if subscribe_queue.is_unanswered(id) || is_waiting() {
            return Standing::Pending;
        }
        let Some(stream) = self.streams.stream(id) else { return Standing::Unasked };
        match stream.accepted_at.filter(|&at| at >= since) {
            None => Standing::Unasked,
            Some(at) if at.after(SOON) <= now => Standing::Accepted,
            Some(_) if stream.is_delivering => Standing::Fresh,
            Some(_) => Standing::Pending,
        }
    }

    /// Judges the newest end of a session before it connects again: halves the session, or rejects
    /// its only symbol. Returns whether the session is still to connect.
    pub(crate) fn judge_end(&mut self, index: usize, now: MonoNs) -> bool {
        let session = &mut self.sessions[index];
        let market = session.market;
        let Some(End { opened, suspects, words, .. }) = session.ends.newest.take() else {
            return true;
        };
        let count = session.ends.count;
        let is_due = count >= ENDS_TOGETHER || session.is_quarantine;
        if let [only] = session.members[..] {
            let is_proven = self.is_proven(index, (only, opened), is_due, now);
            if is_proven {
                self.reject(only, &Rejection::Drops(&words), now);
            }
            return !is_proven;
        }
        session.ends.count = count.min(ENDS_TOGETHER);
        let has_witness = self.lives_beside(index, market, opened);
        self.sessions[index].is_quarantine &= has_witness;
        let may_part = has_witness || self.sessions_of(market).0 < BLIND_SESSIONS_MAX;
        let members = &self.sessions[index].members;
        if is_due && may_part && members.len() > 1 {
            let ids = members[..suspects.clamp(1, members.len() - 1)].to_vec();
            self.quarantine(index, &ids, &words, now);
        }
        true
    }

    /// Moves members of a session to a new one that carries only suspects, if one more session is
    /// allowed. After a loss the remaining members are under suspicion too.
    fn quarantine(&mut self, index: usize, ids: &[InstrumentId], words: &str, now: MonoNs) {
        let session = &self.sessions[index];
        let (market, is_lost) = (session.market, !session.is_open());
        let (sessions, needed) = self.sessions_of(market);
        if sessions >= needed + SPARE_SESSIONS_MAX {
            return;
        }
        let Some(to) = self.move_members(index, ids, words, now) else { return };
        self.sessions[to].is_quarantine = true;
        let session = &mut self.sessions[index];
        session.ends = Ends::default();
        if is_lost {
            session.is_quarantine = true;
            session.backoff.reset();
        }
        let text = format!(
            "session {index} ended soon after symbols were asked for: {} of them move to \
             session {to}",
            ids.len()
        );
        self.notice_of_session(EventName::SessionReplaced, index, text);
    }

    /// The number of sessions of `market`, and the number that its instruments need.
    fn sessions_of(&self, market: Market) -> (usize, usize) {
        let of_market = |session: &&Session| session.market == market && session.is_joinable();
        let sessions = self.sessions.iter().filter(of_market);
        let members: usize = sessions.clone().map(|session| session.members.len()).sum();
        (sessions.count(), members.div_ceil(self.members_max(market)))
    }

    /// Moves half of the members away, because the exchange ended the session for too many streams.
    fn halve(&mut self, index: usize, words: &str, now: MonoNs) {
        let members = &self.sessions[index].members;
        let half = members[members.len().div_ceil(2)..].to_vec();
        if !half.is_empty() {
            self.move_members(index, &half, words, now);
        }
    }

    fn move_members(
        &mut self,
        index: usize,
        ids: &[InstrumentId],
        words: &str,
        now: MonoNs,
    ) -> Option<usize> {
        let market = self.sessions[index].market;
        if !self.may_open_session(market) {
            return None;
        }
        self.report_lost(index, words);
        for &id in ids {
            if let Some(stream) = self.streams.stream_mut(id) {
                (stream.is_delivering, stream.check) = (false, Check::Idle);
                stream.mark_break(now);
            }
        }
        let session = &mut self.sessions[index];
        session.members.retain(|member| !ids.contains(member));
        let reported_loss = session.reported_loss.clone();
        let to = self.new_session(market, now);
        let session = &mut self.sessions[to];
        session.members = ids.to_vec();
        session.reported_loss = reported_loss;
        Some(to)
    }

    /// Gives an unlisted symbol to a session of suspects, as long as connections are plentiful.
    /// Returns whether there was one.
    pub(crate) fn place_apart(&mut self, id: InstrumentId, market: Market, now: MonoNs) -> bool {
        let room = self.members_max(market);
        let is_fit = |session: &Session| {
            session.market == market
                && session.is_apart(now)
                && session.ends.count == 0
                && session.is_joinable()
                && session.members.len() < room
        };
        let found = self.sessions.iter().position(is_fit);
        let has_slack = self.gates.group(market).connects.has_slack(now);
        let index = match found {
            Some(index) => index,
            None if has_slack && self.may_open_session(market) => self.new_session(market, now),
            None => return false,
        };
        self.sessions[index].is_quarantine = true;
        self.sessions[index].add(id);
        true
    }

    /// Returns whether a session ended for its suspects while others deliver, so that the market
    /// did not fail.
    pub(crate) fn ends_for_suspects(&self, index: usize) -> bool {
        let session = &self.sessions[index];
        match session.phase {
            SessionPhase::Open { since } if session.is_quarantine => {
                self.serves_beside(Some(index), session.market, since)
            }
            _ => false,
        }
    }

    /// Returns whether the exchange ignores this symbol: it accepted others since the strike before
    /// the last one, or, after more strikes, a session has delivered since then.
    fn is_ignored(&self, id: InstrumentId) -> bool {
        let Some(stream) = self.streams.stream(id) else { return false };
        let Suspicion { strikes, struck_before, .. } = stream.suspicion;
        let market = stream.instrument.market;
        (strikes >= STRIKES_MIN && self.accepts_beside(stream))
            || (strikes >= STRIKES_MAX && self.serves_beside(None, market, struck_before))
    }

    /// Returns whether other symbols of the market were accepted since the strike before the last
    /// one.
    fn accepts_beside(&self, stream: &FeedStream) -> bool {
        let since = stream.suspicion.struck_before;
        self.streams.iter().any(|other| {
            let is_other = other.instrument.market == stream.instrument.market;
            let is_accepted = other.accepted_at.is_some_and(|at| at >= since);
            is_other && is_accepted && other.id != stream.id
        })
    }

    /// Returns whether a session of `market` other than `lost` has been open and accepted since
    /// `since`.
    pub(crate) fn lives_beside(&self, lost: usize, market: Market, since: MonoNs) -> bool {
        let lives = |session: &Session| {
            let is_old =
                matches!(session.phase, SessionPhase::Open { since: open } if open <= since);
            is_old && session.accepted_at.is_some()
        };
        let beside = self.sessions.iter().enumerate().filter(|&(index, _)| index != lost);
        beside.into_iter().any(|(_, session)| session.market == market && lives(session))
    }

    /// Returns whether a session of `market` other than `lost` has been open since `since` and
    /// delivers.
    pub(crate) fn serves_beside(&self, lost: Option<usize>, market: Market, since: MonoNs) -> bool {
        let lives = |session: &Session| {
            let is_old =
                matches!(session.phase, SessionPhase::Open { since: open } if open <= since);
            is_old && session.has_delivered() && session.last_candle >= since
        };
        let beside = self.sessions.iter().enumerate().filter(|&(index, _)| Some(index) != lost);
        beside.into_iter().any(|(_, session)| session.market == market && lives(session))
    }
}

/// A session that ends this soon after a subscription may have ended for it. Source: an exchange
/// that ends a session for a symbol does so within 0.2 s; with room.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A session that ends this soon after it opened may have ended for one of its symbols. Source:
/// three times [`SOON`], because symbols are subscribed one after another.
pub(crate) const SHORT_LIFE: Duration = Duration::from_secs(30);

/// A session that ends this soon after a refused symbol ended for that symbol. Source: exchanges
/// that close after a refusal do so within 0.2 s; with room.
const REFUSAL_ENDS: Duration = Duration::from_secs(3);

/// Strikes that prove a symbol's guilt if others were accepted meanwhile. Source: one strike among
/// others and two alone.
pub(crate) const STRIKES_MIN: u8 = 3;

/// Strikes that prove a symbol's guilt if another session lived on meanwhile. Source: with the
/// backoff between them they take at least some 20 s, longer than a restart of one of an exchange's
/// servers.
pub(crate) const STRIKES_MAX: u8 = 6;

/// Short lives in a row after which a session is halved. Source: one is an accident.
pub(crate) const ENDS_TOGETHER: u8 = 2;

/// With fewer sessions than this, a market's session is halved even if no other one lives to
/// compare it with. Source: of four parts one lives, unless each has a culprit of its own.
const BLIND_SESSIONS_MAX: usize = 4;

/// Sessions for suspects beyond those that a market's symbols need; with all in use, symbols stay
/// where they are. Source: ten halvings find a culprit among a thousand.
const SPARE_SESSIONS_MAX: usize = 12;
