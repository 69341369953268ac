//! Names that cost a session: found, kept apart, and rejected when it is proven. A name comes under
//! suspicion when its subscription stays unanswered, or when the exchange ends the session soon after
//! it was asked for. Suspects move to a session of their own, the quarantine, where they are asked
//! for one by one and hurt nobody; several that end it together are halved until one is alone.
//!
//! An outage is no proof: a name is rejected only when the exchange served others of the market all
//! the while.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::limits::CONNECT_PATIENCE;
use crate::market::{InstrumentId, Market};
use crate::venue::NotNow;

use super::Feed;
use super::placing::Rejection;
use super::plan::{Check, Stream};
use super::session::{Again, Phase, Session};

/// What a name is suspected of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspicion {
    /// How often in a row it was there when a session came to nothing.
    strikes: u8,
    /// When it was the last time.
    struck_at: MonoNs,
    /// And the time before.
    struck_before: MonoNs,
}

/// Why names are suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grounds {
    /// The exchange did not answer when it was asked for them.
    Unanswered,
    /// It accepted them shortly before the session ended.
    JustAccepted,
}

impl Stream {
    /// Counts a strike against this name, unless it has proven itself since the last one. Returns
    /// how many there are in a row.
    pub(super) fn strike(&mut self, now: MonoNs) -> u8 {
        let Suspicion { strikes, struck_at, .. } = self.suspicion;
        let has_delivered = self.rhythm.last().is_some_and(|at| at > struck_at);
        let has_settled =
            self.accepted_at.is_some_and(|at| at > struck_at && at.after(SOON) <= now);
        let strikes = if has_delivered || has_settled { 0 } else { strikes };
        let strikes = strikes.saturating_add(1);
        self.suspicion = Suspicion { strikes, struck_at: now, struck_before: struck_at };
        strikes
    }
}

impl Feed {
    /// A subscription has waited too long for its answer. Returns whether the session goes on: it
    /// answers or delivers otherwise, so that the names are to blame.
    pub(super) fn isolate_unanswered(&mut self, index: usize, now: MonoNs) -> bool {
        let session = &mut self.sessions[index];
        let Some(since) = session.script.unanswered_since() else { return true };
        let is_alive = session.accepted_at.is_some_and(|at| at >= since)
            || (session.has_delivered && session.last_candle >= since);
        if !is_alive {
            return false;
        }
        let is_overdue = |sent: MonoNs| sent.after(CONNECT_PATIENCE) <= now;
        let overdue = session.script.take_unanswered(|message| is_overdue(message.sent));
        let is_lone = matches!(&overdue[..], [one] if one.instruments.len() == 1);
        let names: Vec<InstrumentId> =
            overdue.iter().flat_map(|message| message.instruments.iter().copied()).collect();
        overdue.into_iter().for_each(|message| session.script.ask_again(message, Again::Alone));
        for &id in &names {
            self.strike(id, now);
        }
        if is_lone && self.is_proven(None, names[0], Grounds::Unanswered) {
            self.reject(names[0], &Rejection::Unanswered, now);
        }
        true
    }

    /// The exchange ended a session: names that it was asked for shortly before come under
    /// suspicion, unless it was for a limit. To be called before the session is lost.
    pub(super) fn suspect(
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
        let (grounds, suspects) = self.suspects(index, now);
        let strikes = suspects.iter().map(|&id| self.strike(id, now)).min().unwrap_or(0);
        match suspects[..] {
            [] => {}
            [only] if self.is_proven(Some(index), only, grounds) => {
                self.reject(only, &Rejection::Drops(words), now);
            }
            _ => self.part(index, &suspects, grounds, (strikes, since), words, now),
        }
    }

    /// The names that may have cost the session.
    fn suspects(&self, index: usize, now: MonoNs) -> (Grounds, Vec<InstrumentId>) {
        let session = &self.sessions[index];
        let mut asked = session.script.unanswered_instruments();
        if !session.is_quarantine {
            asked.extend(session.script.singles());
        }
        asked.retain(|id| session.members.contains(id));
        if !asked.is_empty() {
            return (Grounds::Unanswered, asked);
        }
        let is_new = |id: &&InstrumentId| {
            self.streams.stream(**id).is_some_and(|stream| {
                let is_recent = stream.accepted_at.is_some_and(|at| at.after(SOON) > now);
                is_recent && !stream.is_delivering
            })
        };
        (Grounds::JustAccepted, session.members.iter().filter(is_new).copied().collect())
    }

    /// Parts suspects from the others of their session, or halves them where there are no others.
    fn part(
        &mut self,
        index: usize,
        suspects: &[InstrumentId],
        grounds: Grounds,
        (strikes, since): (u8, MonoNs),
        words: &str,
        now: MonoNs,
    ) {
        let session = &self.sessions[index];
        let are_others_served = match grounds {
            Grounds::Unanswered => self.accepts_beside(suspects),
            Grounds::JustAccepted => self.serves_beside(Some(index), session.market, since),
        };
        let others = session.members.iter().filter(|id| !suspects.contains(id));
        let mut others = others.filter_map(|&id| self.streams.stream(id)).peekable();
        let has_others = others.peek().is_some();
        let are_proven = has_others && others.all(|stream| stream.is_delivering);
        let is_sure = are_proven && grounds == Grounds::Unanswered;
        let is_old = since.after(SOON * 2) <= now;
        if has_others {
            if is_sure || is_old || (are_others_served && strikes >= 2) {
                self.quarantine(index, suspects, words, now);
            }
        } else if suspects.len() == 1 {
            self.sessions[index].is_quarantine |= strikes >= 2;
        } else if (are_others_served && strikes >= 2) || (!session.is_quarantine && strikes >= 3) {
            self.quarantine(index, &suspects[suspects.len() / 2..], words, now);
            self.sessions[index].is_quarantine = true;
        }
    }

    /// Moves members of a session that is about to be lost to a new one that carries only suspects,
    /// if one more is allowed; else they stay.
    fn quarantine(&mut self, index: usize, ids: &[InstrumentId], words: &str, now: MonoNs) {
        if let Some(to) = self.move_members(index, ids, words, now) {
            self.sessions[to].is_quarantine = true;
        }
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
        self.tell_lost(index, words);
        for &id in ids {
            if let Some(stream) = self.streams.stream_mut(id) {
                (stream.is_delivering, stream.check) = (false, Check::Idle);
                stream.note_break(now);
            }
        }
        let session = &mut self.sessions[index];
        session.members.retain(|member| !ids.contains(member));
        let told_lost = session.told_lost.clone();
        let to = self.new_session(market, now);
        let session = &mut self.sessions[to];
        session.members = ids.to_vec();
        session.told_lost = told_lost;
        Some(to)
    }

    /// Gives a name that the exchange's list does not have to a session of suspects, as long as
    /// connections are plentiful. Returns whether it did.
    pub(super) fn place_apart(&mut self, id: InstrumentId, market: Market, now: MonoNs) -> bool {
        let room = self.members_max(market);
        let is_fit = |session: &Session| {
            session.market == market
                && session.is_quarantine
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
    pub(super) fn ends_for_suspects(&self, index: usize) -> bool {
        let session = &self.sessions[index];
        match session.phase {
            Phase::Open { since } if session.is_quarantine => {
                self.serves_beside(Some(index), session.market, since)
            }
            _ => false,
        }
    }

    fn strike(&mut self, id: InstrumentId, now: MonoNs) -> u8 {
        self.streams.stream_mut(id).map_or(0, |stream| stream.strike(now))
    }

    /// Returns whether it is the name and no outage: others were accepted since the strike before,
    /// or, after more strikes, a session other than `lost` has lived through the last two.
    fn is_proven(&self, lost: Option<usize>, id: InstrumentId, grounds: Grounds) -> bool {
        let Some(stream) = self.streams.stream(id) else { return false };
        let Suspicion { strikes, struck_before, .. } = stream.suspicion;
        let market = stream.instrument.market;
        let is_answered =
            grounds == Grounds::Unanswered && strikes >= STRIKES_MIN && self.accepts_beside(&[id]);
        is_answered || (strikes >= STRIKES_MAX && self.serves_beside(lost, market, struck_before))
    }

    /// Returns whether names of the market other than `suspects` were accepted since the strike
    /// before the last one.
    fn accepts_beside(&self, suspects: &[InstrumentId]) -> bool {
        let first = suspects.first().and_then(|&id| self.streams.stream(id));
        let Some(Stream { instrument, suspicion, .. }) = first else { return false };
        self.streams.iter().any(|other| {
            let is_other = other.instrument.market == instrument.market;
            let is_accepted = other.accepted_at.is_some_and(|at| at >= suspicion.struck_before);
            is_other && is_accepted && !suspects.contains(&other.id)
        })
    }

    /// Returns whether a session of `market` other than `lost` delivers, and has since `since`.
    pub(super) fn serves_beside(&self, lost: Option<usize>, market: Market, since: MonoNs) -> bool {
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
const SOON: Duration = Duration::from_secs(10);

/// Strikes that prove a name's guilt if others were accepted meanwhile: once among others, twice
/// alone.
const STRIKES_MIN: u8 = 3;

/// Strikes that prove it if another session lived on meanwhile. Source: with the backoff between
/// them they take some 20 s at least, longer than a restart of one of an exchange's servers.
const STRIKES_MAX: u8 = 6;
