//! When something becomes due on a session: by its phase, and on an open session by its timers.
//! Owns each time once, so that the deadline and the action that waits for it cannot differ. A
//! timer stores nothing: its time follows from the session's fields. So the hot path sets no timer,
//! although a push may move one to a later time.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::Feed;
use crate::feed::session::{Session, SessionPhase};
use crate::limits::{CLOSE_DRAIN, CONNECT_PATIENCE};

/// What becomes due on an open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenTimer {
    /// The oldest subscription without an answer counts as lost.
    Answer,
    /// The ping without an answer counts as lost.
    Pong,
    /// A ping is sent.
    Ping,
    /// Subscribe messages are sent.
    Subscribe,
    /// The session has been open for long enough to count as working.
    Proof,
    /// Another session replaces it, before the exchange ends it.
    Renewal,
    /// The session has delivered and fell silent: it is checked as a whole.
    Silence,
    /// The next silent member is checked.
    Check,
    /// The session has no members any more: it is closed.
    Empty,
}

impl OpenTimer {
    /// All timers.
    const ALL: [Self; 9] = [
        Self::Answer,
        Self::Pong,
        Self::Ping,
        Self::Subscribe,
        Self::Proof,
        Self::Renewal,
        Self::Silence,
        Self::Check,
        Self::Empty,
    ];
}

impl Feed {
    /// When `timer` is due on an open session; `None` or the end of time: not for now.
    fn timer_at(&self, session: &Session, since: MonoNs, timer: OpenTimer) -> Option<MonoNs> {
        let subscribe_queue = &session.subscribe_queue;
        match timer {
            OpenTimer::Answer => {
                subscribe_queue.unanswered_since().map(|at| at.after(CONNECT_PATIENCE))
            }
            OpenTimer::Pong => session.ping_sent.map(|at| at.after(self.config.ping_timeout)),
            OpenTimer::Ping => ping_at(session, self.config.inactivity_timeout),
            OpenTimer::Subscribe => {
                let held = self.gates.pauses.subscribes_at(session.market);
                subscribe_queue.sends_at(&self.streams).map(|at| at.max(held))
            }
            OpenTimer::Proof => session.is_on_trial.then(|| since.after(HEALTHY_AFTER)),
            OpenTimer::Renewal => Some(session.renew_at),
            OpenTimer::Silence => Some(self.suspect_silence_at(session)),
            OpenTimer::Check => Some(session.next_check),
            OpenTimer::Empty => session.members.is_empty().then_some(session.kept_until),
        }
    }

    /// Returns whether the session is open and `timer` is due.
    pub(crate) fn is_timer_due(&self, index: usize, timer: OpenTimer, now: MonoNs) -> bool {
        let session = &self.sessions[index];
        let SessionPhase::Open { since } = session.phase else { return false };
        self.timer_at(session, since, timer).is_some_and(|at| at <= now)
    }

    /// When [`Feed::tick`] has something to do on the session.
    pub(crate) fn session_deadline(&self, session: &Session) -> Option<MonoNs> {
        let due = match session.phase {
            SessionPhase::Free => None,
            SessionPhase::Waiting { until } => {
                let connects_at = self.gates.connects_at(session.market, self.claim(session));
                let connects_at = connects_at.filter(|_| !self.is_being_resolved(session.market));
                let connects_at = connects_at.map(|at| at.max(until));
                let left_at = session.members.is_empty().then_some(session.kept_until);
                connects_at.into_iter().chain(left_at).min()
            }
            SessionPhase::Connecting { since } => Some(since.after(CONNECT_PATIENCE)),
            SessionPhase::Closing { since, .. } => Some(since.after(CLOSE_DRAIN)),
            SessionPhase::Open { since } => {
                let timers = OpenTimer::ALL.into_iter();
                timers.filter_map(|timer| self.timer_at(session, since, timer)).min()
            }
        };
        due.filter(|&due| due < MonoNs(u64::MAX))
    }
}

/// When a ping is sent: at a fixed pace, or after silence of a session that has delivered. `None`:
/// one is not answered yet.
fn ping_at(session: &Session, inactivity_timeout: Duration) -> Option<MonoNs> {
    if session.ping_sent.is_some() {
        return None;
    }
    let silent_at = match session.has_delivered() {
        true => session.last_received.after(inactivity_timeout),
        false => MonoNs(u64::MAX),
    };
    let budget_at = session.subscribe_queue.heartbeats_at();
    Some(session.next_ping.min(silent_at).max(budget_at))
}

/// An exchange that served a session this long works, even if no message arrived. Source: chosen,
/// one whole window.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
