//! One session to a venue: its connection, its members, and the messages that it still has to send.
//! Owns the content and the pace of what we send. The feed decides when a session begins, ends and
//! is replaced.

mod culprits;
mod inbound;
pub(super) mod lifecycle;
pub(super) mod listings;
mod lookups;
pub(super) mod placement;
mod refusals;
pub(super) mod subscribe_queue;
mod suspects;
mod timers;

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::SessionId;
use crate::feed::limits::backoff::Backoff;
use crate::feed::session::subscribe_queue::SubscribeQueue;
use crate::feed::streams::Streams;
use crate::market::{InstrumentId, Market};
use crate::venue::{self, Heartbeat, SubscribeOp};
use crate::wire::Connection;

/// A place for one session after another: the first connection and those that replace it.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) market: Market,
    pub(crate) phase: SessionPhase,
    /// The connection, from TCP connect to the end.
    pub(crate) wire: Option<Connection>,
    /// The instruments to be subscribed here, whatever the phase.
    pub(crate) members: Vec<InstrumentId>,
    pub(crate) subscribe_queue: SubscribeQueue,
    pub(crate) backoff: Backoff,
    /// Whether the breaker waits for the result of this attempt: from the connect until the session
    /// has shown that it works, or ends.
    pub(crate) is_on_trial: bool,
    /// When a session at this place was last lost or failed to connect.
    pub(crate) lost_at: Option<MonoNs>,
    /// What clients received about the loss, until they receive that the session is back.
    pub(crate) reported_loss: Option<ReportedLoss>,
    /// Whether to connect to the venue's alternate path. It changes when a session is lost because
    /// it delivered nothing.
    pub(crate) is_alternate: bool,
    pub(crate) delivery: Delivery,
    /// Whether a decode error of this connection was logged.
    pub(crate) has_logged_decode_error: bool,
    /// Whether the exchange refused more streams on this connection.
    pub(crate) is_full: bool,
    /// Whether all members are under suspicion. They are then subscribed one by one, and no other
    /// instrument is placed here. See [`crate::feed::session::suspects`].
    pub(crate) is_quarantine: bool,
    /// The ends of sessions at this place soon after the members were subscribed.
    pub(crate) ends: Ends,
    /// When a member was last rejected because the exchange refused it on this connection.
    pub(crate) refused_at: Option<MonoNs>,
    /// When the exchange last accepted a subscription on this connection.
    pub(crate) accepted_at: Option<MonoNs>,
    pub(crate) last_received: MonoNs,
    /// When the newest candle arrived; before the first one, when the session opened.
    pub(crate) last_candle: MonoNs,
    /// When the unanswered ping was sent.
    pub(crate) ping_sent: Option<MonoNs>,
    pub(crate) next_ping: MonoNs,
    pub(crate) renew_at: MonoNs,
    /// An announced shutdown before this time is the one for which this session replaced another.
    pub(crate) announced_until: MonoNs,
    /// When the next silent member is checked.
    pub(crate) next_check: MonoNs,
    /// The session is kept until then although it has no members.
    pub(crate) kept_until: MonoNs,
    pub(crate) succession: Succession,
}

/// What a connection delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// No candle yet, or none for the configured idle time.
    Silent,
    /// As [`Self::Silent`], although the exchange has news.
    Suspect,
    /// Candles.
    Candles,
}

/// What the clients of a session received about its loss. Each variant holds the reason.
#[derive(Clone, Debug)]
pub(crate) enum ReportedLoss {
    /// The session is lost.
    Lost(String),
    /// The exchange lets no session in.
    Denied(String),
}

/// The part of a session while one session replaces another and both have the same members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// No replacement is under way.
    Alone,
    /// This session replaces the one at this place once it delivers.
    SuccessorOf(usize),
    /// Another session replaces this one, or has replaced it.
    Replaced,
}

/// The phase of a session. [`Session::enter`] makes every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPhase {
    /// The place is empty.
    Free,
    /// The session connects at this time if breaker and budget allow it.
    Waiting { until: MonoNs },
    /// TCP connects, then TLS and the upgrade.
    Connecting { since: MonoNs },
    /// The connection is open.
    Open { since: MonoNs },
    /// Our Close is sent. The place then waits until `retry_at`, or becomes free.
    Closing { since: MonoNs, retry_at: Option<MonoNs> },
}

impl SessionPhase {
    /// Returns whether a session in this phase may change to `next`.
    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Free => matches!(next, Self::Waiting { .. }),
            Self::Waiting { .. } => {
                matches!(next, Self::Waiting { .. } | Self::Connecting { .. } | Self::Free)
            }
            Self::Connecting { .. } => {
                matches!(next, Self::Open { .. } | Self::Closing { .. } | Self::Free)
            }
            Self::Open { .. } => matches!(next, Self::Closing { .. }),
            Self::Closing { .. } => {
                matches!(next, Self::Closing { .. } | Self::Waiting { .. } | Self::Free)
            }
        }
    }
}

impl Session {
    pub(crate) fn new(id: SessionId, market: Market) -> Self {
        let limits = venue::limits(market);
        let subscribe_queue = SubscribeQueue::new(&limits);
        Self {
            id,
            market,
            phase: SessionPhase::Free,
            wire: None,
            members: Vec::new(),
            subscribe_queue,
            backoff: Backoff::default(),
            is_on_trial: false,
            lost_at: None,
            reported_loss: None,
            is_alternate: false,
            delivery: Delivery::Silent,
            has_logged_decode_error: false,
            is_full: false,
            is_quarantine: false,
            ends: Ends::default(),
            refused_at: None,
            accepted_at: None,
            last_received: MonoNs(0),
            last_candle: MonoNs(0),
            ping_sent: None,
            next_ping: MonoNs(u64::MAX),
            renew_at: MonoNs(u64::MAX),
            announced_until: MonoNs(0),
            next_check: MonoNs(u64::MAX),
            kept_until: MonoNs(0),
            succession: Succession::Alone,
        }
    }

    /// Changes the phase. Every change is made here.
    ///
    /// # Panics
    /// If a session in its phase never changes to `next`.
    pub(crate) fn enter(&mut self, next: SessionPhase) {
        assert!(self.phase.may_become(next), "a session {:?} never becomes {next:?}", self.phase);
        self.phase = next;
    }

    /// Returns whether a connection is open, being opened or being closed.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(
            self.phase,
            SessionPhase::Connecting { .. }
                | SessionPhase::Open { .. }
                | SessionPhase::Closing { .. }
        )
    }

    /// Returns whether the connection is open.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, SessionPhase::Open { .. })
    }

    /// Returns whether the session's name is looked up, or TCP is under way.
    pub(crate) fn is_reaching(&self) -> bool {
        matches!(self.phase, SessionPhase::Connecting { .. }) && self.wire.is_none()
    }

    /// Returns whether the connection is open and has shown that it works.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_open() && !self.is_on_trial
    }

    /// Returns whether instruments may be added.
    pub(crate) fn is_joinable(&self) -> bool {
        self.succession != Succession::Replaced
            && !matches!(
                self.phase,
                SessionPhase::Free | SessionPhase::Closing { retry_at: None, .. }
            )
    }

    /// Returns whether the session has no members and is no longer kept.
    pub(crate) fn is_left(&self, now: MonoNs) -> bool {
        self.members.is_empty() && self.kept_until <= now
    }

    /// Returns whether the connection has delivered a candle and has not been idle since.
    pub(crate) fn has_delivered(&self) -> bool {
        self.delivery == Delivery::Candles
    }

    /// Ends the replacement of another session. Returns the place of that session, if there is one.
    pub(crate) fn take_predecessor(&mut self) -> Option<usize> {
        let Succession::SuccessorOf(old) = self.succession else { return None };
        self.succession = Succession::Alone;
        Some(old)
    }

    /// Notes that the exchange has let the session in. A later denial is reported again.
    pub(crate) fn end_denial(&mut self) {
        if let Some(ReportedLoss::Denied(why)) = &mut self.reported_loss {
            self.reported_loss = Some(ReportedLoss::Lost(std::mem::take(why)));
        }
    }

    /// Forgets the connection and keeps the members.
    pub(crate) fn reset_connection(&mut self) {
        self.wire = None;
        let limits = venue::limits(self.market);
        self.subscribe_queue = SubscribeQueue::new(&limits);
        self.delivery = Delivery::Silent;
        self.has_logged_decode_error = false;
        self.is_full = false;
        self.accepted_at = None;
        self.refused_at = None;
        self.ping_sent = None;
        self.next_ping = MonoNs(u64::MAX);
        self.renew_at = MonoNs(u64::MAX);
        self.next_check = MonoNs(u64::MAX);
    }

    pub(crate) fn add(&mut self, id: InstrumentId) {
        debug_assert!(!self.members.contains(&id), "a session subscribes a stream once");
        self.members.push(id);
        if self.is_open() {
            self.ask_for(id);
        }
    }

    /// Subscribes all members on a connection that has just opened.
    pub(crate) fn ask_for_all(&mut self) {
        for at in 0..self.members.len() {
            self.ask_for(self.members[at]);
        }
    }

    fn ask_for(&mut self, id: InstrumentId) {
        match self.is_quarantine {
            true => self.subscribe_queue.want_alone([id].into_iter()),
            false => self.subscribe_queue.want(SubscribeOp::Subscribe, id),
        }
    }

    /// Removes `id` from the members and ends its stream. Returns whether it was a member.
    pub(crate) fn remove(&mut self, id: InstrumentId) -> bool {
        let Some(at) = self.members.iter().position(|&member| member == id) else { return false };
        self.members.swap_remove(at);
        if self.is_open() {
            self.subscribe_queue.want(SubscribeOp::Unsubscribe, id);
        }
        true
    }

    /// The pause between two heartbeats: as configured, or shorter if the exchange requires it.
    pub(crate) fn ping_interval(&self, configured: Duration) -> Duration {
        configured.min(venue::limits(self.market).ping_interval_max)
    }

    /// Sends a heartbeat that the exchange answers.
    pub(crate) fn ping(&mut self, interval: Duration, now: Now) {
        let interval = self.ping_interval(interval);
        let Some(wire) = &mut self.wire else { return };
        match venue::heartbeat(self.market) {
            Heartbeat::WebSocketPing => wire.send_ping(&now.mono.0.to_be_bytes()),
            Heartbeat::Text => {
                venue::write_ping(self.market, &mut self.subscribe_queue.text, now.unix_ms());
                wire.send_text(&self.subscribe_queue.text);
            }
        }
        self.subscribe_queue.spend_heartbeat(now.mono);
        (self.ping_sent, self.next_ping) = (Some(now.mono), now.mono.after(interval));
    }

    /// Sends the subscribe messages that are due, as far as the budget allows. Returns whether any
    /// message was sent.
    pub(crate) fn send_due(&mut self, streams: &Streams, now: Now) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let mut has_sent = false;
        while let Some(text) = self.subscribe_queue.next_text(self.market, streams, now) {
            wire.send_text(text);
            has_sent = true;
        }
        has_sent
    }
}

/// The ends of sessions that came soon after their members were subscribed.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Number of such ends in a row.
    pub(crate) count: u8,
    /// When the first of them came.
    pub(crate) since: MonoNs,
    /// Whether the exchange had accepted the members before one of them.
    pub(crate) is_answered: bool,
    /// The newest end, until it is judged when the session connects again.
    pub(crate) newest: Option<End>,
}
/// An end of a session soon after its members were subscribed.
#[derive(Debug)]
pub(crate) struct End {
    /// When the session had opened.
    pub(crate) opened: MonoNs,
    /// Whether the exchange had answered every subscribe message.
    pub(crate) is_answered: bool,
    /// Number of members, from the first, that move away from the others.
    pub(crate) suspects: usize,
    /// The exchange's last words.
    pub(crate) words: String,
}

impl Ends {
    pub(crate) fn add(&mut self, end: End, now: MonoNs) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
        self.is_answered |= end.is_answered;
        self.newest = Some(end);
    }

    /// Begins to count again at `now`, because the ends before prove nothing.
    pub(crate) fn restart(&mut self, now: MonoNs) {
        *self = Self { count: 1, since: now, is_answered: self.is_answered, newest: None };
    }
}
