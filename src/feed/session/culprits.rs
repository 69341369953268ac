//! The proof that a symbol ends its session. The symbol is alone on a session that ends soon after
//! the subscription, several times in a row. Meanwhile no other session of the market ends, and a
//! connection as young as those that ended stays open: the control. If there is no control, a
//! connection without symbols is opened.
//!
//! A network that often cuts sessions therefore proves nothing, nor does an exchange that cuts new
//! connections and keeps the old ones. A symbol that was once served for longer is never rejected
//! here: it waits on a session of its own, longer each time.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::Feed;
use crate::feed::session::suspects::{ENDS_TOGETHER, SHORT_LIFE, SOON, STRIKES_MAX, STRIKES_MIN};
use crate::feed::session::{Ends, Session, SessionPhase};
use crate::feed::stream::FeedStream;
use crate::market::{InstrumentId, Market};

impl FeedStream {
    /// Remembers a long life before the stream ends on its connection or begins on another one.
    pub(crate) fn remember_served(&mut self, now: MonoNs) {
        self.was_served |= self.accepted_at.is_some_and(|at| at.after(SHORT_LIFE) <= now);
    }
}

impl Session {
    /// Returns whether the session ended often enough for its symbol to wait longer than others.
    pub(crate) fn waits_alone(&self) -> bool {
        self.is_lone_suspect() && self.ends.count >= STRIKES_MAX
    }

    /// Returns whether the session carries one symbol, which is under suspicion.
    fn is_lone_suspect(&self) -> bool {
        self.is_quarantine && self.members.len() == 1
    }
}

impl Feed {
    /// Returns whether the symbol `only` is to blame, and not the network, for another end of its
    /// session, which was open since `opened`.
    pub(crate) fn is_proven(
        &mut self,
        index: usize,
        (only, opened): (InstrumentId, MonoNs),
        is_due: bool,
        now: MonoNs,
    ) -> bool {
        let Session { market, ends: Ends { count, since, is_answered, .. }, .. } =
            self.sessions[index];
        let has_witness = self.lives_beside(index, market, opened);
        if !has_witness || self.has_ended_beside(index, market, since) {
            let session = &mut self.sessions[index];
            session.ends.restart(now);
            session.backoff.reset();
            session.is_quarantine = is_due && has_witness;
            return false;
        }
        self.sessions[index].is_quarantine = is_due;
        let was_served = self.streams.stream(only).is_none_or(|stream| stream.was_served);
        if was_served || count < ENDS_TOGETHER {
            return false;
        }
        let Some(control) = self.control(index, market, since) else {
            self.begin_control(market, now);
            return false;
        };
        let has_lived = control.after(SOON) <= now;
        let enough = if is_answered { STRIKES_MAX } else { STRIKES_MIN };
        count >= enough && has_lived && self.serves_beside(Some(index), market, since)
    }

    /// Returns whether a session of `market` has ended or failed to connect since `since`. Sessions
    /// of lone suspects do not count.
    fn has_ended_beside(&self, index: usize, market: Market, since: MonoNs) -> bool {
        let mut others = self.sessions.iter().enumerate().filter(|&(at, _)| at != index);
        others.any(|(_, other)| {
            let is_ended = other.lost_at.is_some_and(|at| at >= since);
            is_ended && other.market == market && !other.is_lone_suspect()
        })
    }

    /// When the oldest living connection of `market` opened that is not much older than `since`.
    fn control(&self, index: usize, market: Market, since: MonoNs) -> Option<MonoNs> {
        let others = self.sessions.iter().enumerate().filter(|&(at, _)| at != index);
        let opened = others.filter_map(|(_, other)| match other.phase {
            SessionPhase::Open { since: opened } if other.market == market => {
                let is_served = other.members.is_empty() || other.accepted_at.is_some();
                (is_served && opened.after(CONTROL_AGE_MAX) >= since).then_some(opened)
            }
            _ => None,
        });
        opened.min()
    }

    /// Opens a connection without symbols, unless there is one.
    fn begin_control(&mut self, market: Market, now: MonoNs) {
        let is_begun = |session: &Session| {
            session.market == market && session.members.is_empty() && session.is_joinable()
        };
        let has_slack = self.gates.group(market).connects.has_slack(now);
        if has_slack && !self.sessions.iter().any(is_begun) && self.may_open_session(market) {
            let index = self.new_session(market, now);
            self.sessions[index].kept_until = now.after(CONTROL_LIFE);
        }
    }
}

/// A connection that opened at most this long before the first end is a control for it. Source: an
/// exchange's restart takes minutes, and cuts a connection of the minute before.
const CONTROL_AGE_MAX: Duration = Duration::from_secs(60);

/// How long a control is kept. Source: the longest waits of a symbol before the proof of six ends
/// are 16 s and 32 s.
const CONTROL_LIFE: Duration = Duration::from_secs(60);
