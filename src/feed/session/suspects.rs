//! Names that cost a session: found, kept apart, and rejected when it is proven. A session that ends
//! soon after names were asked for parts with them; if they are all it carries, and it ends so again,
//! it is halved. The half that lives is left alone, the other one is halved again until one name is
//! alone. Alone it waits for longer and longer, and hurts nobody. What proves its guilt is in
//! [`crate::feed::session::culprits`].

use std::time::Duration;

use crate::clock::MonoNs;
use crate::limits::CONNECT_PATIENCE;
use crate::market::{InstrumentId, Market};
use crate::messages::EventName;
use crate::venue::{NotNow, SubscribeOp};

use crate::feed::Feed;
use crate::feed::session::placement::Rejection;
use crate::feed::session::subscribe_queue::{Again, Unanswered};
use crate::feed::session::{End, Ends, Phase, Session};
use crate::feed::stream::{Check, Stream, Suspicion};

/// Where a member stood when its session ended; the most suspicious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It was asked for, or accepted shortly before, and did not deliver.
    Pending,
    /// It was accepted shortly before, and delivered.
    Fresh,
    /// It was not asked for on this connection.
    Unasked,
    /// It was accepted some time before.
    Accepted,
}

impl Stream {
    /// Counts a strike against this name, unless it has proven itself since the last one. Returns
    /// how many there are in a row.
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
    /// Whether it carries names under suspicion, beside which nobody is placed.
    pub(crate) fn is_apart(&self, now: MonoNs) -> bool {
        self.is_quarantine && !(self.has_delivered && self.has_lived(SHORT_LIFE, now))
    }

    pub(crate) fn has_lived(&self, time: Duration, now: MonoNs) -> bool {
        matches!(self.phase, Phase::Open { since } if since.after(time) <= now)
    }

    /// The session is about to be lost: if it lived for long, and did not end for a name, it is one
    /// like any other. If it did not come up, that is no name's fault.
    pub(crate) fn clear_of_suspicion(&mut self, now: MonoNs) {
        if !self.is_open() {
            self.ends = Ends::default();
        }
        if !self.has_lived(SHORT_LIFE, now) || self.ends.newest.is_some() {
            return;
        }
        if std::mem::take(&mut self.is_quarantine) && self.has_delivered {
            self.backoff.reset();
        }
        self.ends = Ends::default();
    }
}

impl Feed {
    /// A subscription has waited too long for its answer. Returns whether the session goes on: it
    /// answers or delivers otherwise, so that the names are to blame.
    pub(crate) fn isolate_unanswered(&mut self, index: usize, now: MonoNs) -> bool {
        let session = &mut self.sessions[index];
        let Some(since) = session.subscribe_queue.unanswered_since() else { return true };
        let is_alive = session.accepted_at.is_some_and(|at| at >= since)
            || (session.has_delivered && session.last_candle >= since);
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
            self.leave_again(index, message);
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

    /// Asks once more for the end of streams, but of those whose names the session carries again
    /// under other ids.
    fn leave_again(&mut self, index: usize, mut message: Unanswered) {
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

    /// The exchange ended a session: names that it was asked for shortly before come under
    /// suspicion, unless it was for a limit, or for a name that it has just refused. To be called
    /// before the session is lost.
    pub(crate) fn suspect(
        &mut self,
        index: usize,
        limit: Option<NotNow>,
        words: &str,
        now: MonoNs,
    ) {
        let session = &self.sessions[index];
        let is_renewal = session.is_replaced || session.replaces.is_some();
        let Phase::Open { since } = session.phase else { return };
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
        session.ends.note(End { opened: since, is_answered, suspects, words }, now);
    }

    /// Where a member stands on a connection that has been open since `since`.
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

    /// Judges the newest end of a session that is to be connected again: halves it, or rejects the
    /// only name. Returns whether it is still to be connected.
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

    /// Moves members of a session that is lost to a new one that carries only suspects, if one more
    /// is allowed; else they stay. What stays is under suspicion too, if it was not accepted before.
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

    /// How many sessions `market` has, and how many its instruments need.
    fn sessions_of(&self, market: Market) -> (usize, usize) {
        let of_market = |session: &&Session| session.market == market && session.is_joinable();
        let sessions = self.sessions.iter().filter(of_market);
        let members: usize = sessions.clone().map(|session| session.members.len()).sum();
        (sessions.count(), members.div_ceil(self.members_max(market)))
    }

    /// The exchange ended the session because it had too many streams: half of them move on.
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
                stream.note_break(now);
            }
        }
        let session = &mut self.sessions[index];
        session.members.retain(|member| !ids.contains(member));
        let reported_lost = session.reported_lost.clone();
        let to = self.new_session(market, now);
        let session = &mut self.sessions[to];
        session.members = ids.to_vec();
        session.reported_lost = reported_lost;
        Some(to)
    }

    /// Gives a name that the exchange's list does not have to a session of suspects, as long as
    /// connections are plentiful. Returns whether it did.
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

    /// Returns whether a session ends for the names that it was to try, while others deliver: no
    /// failure of the market.
    pub(crate) fn ends_for_suspects(&self, index: usize) -> bool {
        let session = &self.sessions[index];
        match session.phase {
            Phase::Open { since } if session.is_quarantine => {
                self.serves_beside(Some(index), session.market, since)
            }
            _ => false,
        }
    }

    /// Returns whether it is the name that is not answered: others were accepted since the strike
    /// before, or, after more strikes, a session has delivered since then.
    fn is_ignored(&self, id: InstrumentId) -> bool {
        let Some(stream) = self.streams.stream(id) else { return false };
        let Suspicion { strikes, struck_before, .. } = stream.suspicion;
        let market = stream.instrument.market;
        (strikes >= STRIKES_MIN && self.accepts_beside(stream))
            || (strikes >= STRIKES_MAX && self.serves_beside(None, market, struck_before))
    }

    /// Returns whether other names of the market were accepted since the strike before the last one.
    fn accepts_beside(&self, stream: &Stream) -> bool {
        let since = stream.suspicion.struck_before;
        self.streams.iter().any(|other| {
            let is_other = other.instrument.market == stream.instrument.market;
            let is_accepted = other.accepted_at.is_some_and(|at| at >= since);
            is_other && is_accepted && other.id != stream.id
        })
    }

    /// Returns whether a session of `market` other than `lost` lives, and has since `since`.
    pub(crate) fn lives_beside(&self, lost: usize, market: Market, since: MonoNs) -> bool {
        let lives = |session: &Session| {
            let is_old = matches!(session.phase, Phase::Open { since: open } if open <= since);
            is_old && session.accepted_at.is_some()
        };
        let beside = self.sessions.iter().enumerate().filter(|&(index, _)| index != lost);
        beside.into_iter().any(|(_, session)| session.market == market && lives(session))
    }

    /// Returns whether a session of `market` other than `lost` delivers, and has since `since`.
    pub(crate) fn serves_beside(&self, lost: Option<usize>, market: Market, since: MonoNs) -> bool {
        let lives = |session: &Session| {
            let is_old = matches!(session.phase, Phase::Open { since: open } if open <= since);
            is_old && session.has_delivered && session.last_candle >= since
        };
        let beside = self.sessions.iter().enumerate().filter(|&(index, _)| Some(index) != lost);
        beside.into_iter().any(|(_, session)| session.market == market && lives(session))
    }
}

/// A session that ends so soon after a subscription may have ended for it.
/// Source: an exchange that drops a session for a name does so within 0.2 s; with room.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A session that ends so soon after it opened may have ended for one of its names.
/// Source: three times [`SOON`], as many names are asked for one after another.
pub(crate) const SHORT_LIFE: Duration = Duration::from_secs(30);

/// A session that ends so soon after a name was refused ended for that name.
/// Source: exchanges that close after a refusal do so within 0.2 s; with room.
const REFUSAL_ENDS: Duration = Duration::from_secs(3);

/// Strikes that prove a name's guilt if others were accepted meanwhile: once among others, twice
/// alone.
pub(crate) const STRIKES_MIN: u8 = 3;

/// Strikes that prove it if another session lived on meanwhile. Source: with the backoff between
/// them they take some 20 s at least, longer than a restart of one of an exchange's servers.
pub(crate) const STRIKES_MAX: u8 = 6;

/// Short lives in a row after which a session is halved. Source: one is an accident.
pub(crate) const ENDS_TOGETHER: u8 = 2;

/// While a market has fewer sessions, one is halved though no other one lives to compare it with.
/// Source: of four parts one lives, unless each has a culprit of its own.
const BLIND_SESSIONS_MAX: usize = 4;

/// Sessions beyond those that a market's names need, for names to be kept apart; then names stay
/// where they are. Source: a culprit among a thousand is found in ten halvings.
const SPARE_SESSIONS_MAX: usize = 12;
