//! One session to a venue: its connection, what is subscribed on it and what is still to be said.
//! Owns the wording and pacing of what we send; when it begins, ends and is replaced is the feed's.

mod culprits;
mod inbound;
pub(super) mod lifecycle;
pub(super) mod listings;
mod lookups;
pub(super) mod placement;
mod refusals;
pub(super) mod subscribe_queue;
mod suspects;

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::market::{InstrumentId, Market};
use crate::venue::{self, Heartbeat, SubscribeOp};
use crate::wire::Connection;

use crate::feed::SessionId;
use crate::feed::limits::backoff::Backoff;
use crate::feed::session::subscribe_queue::SubscribeQueue;
use crate::feed::streams::Streams;

/// A place for one session after another: the first connection, and those that replace it.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) market: Market,
    pub(crate) phase: Phase,
    /// From TCP being up to the end.
    pub(crate) wire: Option<Connection>,
    /// What is to be subscribed here, whatever the phase.
    pub(crate) members: Vec<InstrumentId>,
    pub(crate) subscribe_queue: SubscribeQueue,
    pub(crate) backoff: Backoff,
    /// Whether the breaker waits for a verdict about this attempt.
    pub(crate) is_on_trial: bool,
    /// When a session at this place was last lost, or did not come up.
    pub(crate) lost_at: Option<MonoNs>,
    /// Why it is lost, as the clients were told, who do not know yet that it is back.
    pub(crate) reported_lost: Option<String>,
    /// Whether they were told so of an exchange that lets no session in, until one is open.
    pub(crate) is_denied: bool,
    /// Whether to use the venue's alternate path.
    pub(crate) is_alternate: bool,
    /// Whether this connection delivered a candle.
    pub(crate) has_delivered: bool,
    /// Whether a decode error of this connection was told to the log.
    pub(crate) has_logged_decode_error: bool,
    /// Whether the exchange has news that this silent session did not deliver.
    pub(crate) is_suspect: bool,
    /// Whether the exchange said that this connection has as many streams as it may.
    pub(crate) is_full: bool,
    /// Whether it carries only names under suspicion: they are asked for one by one, and nobody
    /// else is placed here. See [`crate::feed::session::suspects`].
    pub(crate) is_quarantine: bool,
    /// How it ended soon after its members were asked for.
    pub(crate) ends: Ends,
    /// When a member was last rejected because the exchange refused it on this connection.
    pub(crate) refused_at: Option<MonoNs>,
    /// When the exchange last accepted a subscription on this connection.
    pub(crate) accepted_at: Option<MonoNs>,
    pub(crate) last_received: MonoNs,
    /// When the newest candle came; when the session opened, if none did.
    pub(crate) last_candle: MonoNs,
    /// When the unanswered ping was sent.
    pub(crate) ping_sent: Option<MonoNs>,
    pub(crate) next_ping: MonoNs,
    pub(crate) renew_at: MonoNs,
    /// Until then an announced shutdown is the one for which this session replaced another.
    pub(crate) announced_until: MonoNs,
    /// When a silent member is next to be looked at.
    pub(crate) next_check: MonoNs,
    /// Until then the session is kept though it has no members.
    pub(crate) kept_until: MonoNs,
    /// The place that this one replaces, once it delivers.
    pub(crate) replaces: Option<usize>,
    /// Whether another place is about to replace this one.
    pub(crate) is_replaced: bool,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The place is empty.
    Free,
    /// To be connected at this time, breaker and budget permitting.
    Waiting { until: MonoNs },
    /// TCP, then TLS and the upgrade, are under way.
    Connecting { since: MonoNs },
    /// Messages flow.
    Open { since: MonoNs },
    /// Our Close is out; then the place waits until `retry_at`, or is free.
    Closing { since: MonoNs, retry_at: Option<MonoNs> },
}

impl Session {
    pub(crate) fn new(id: SessionId, market: Market) -> Self {
        let limits = venue::limits(market);
        let subscribe_queue = SubscribeQueue::new(&limits);
        Self {
            id,
            market,
            phase: Phase::Free,
            wire: None,
            members: Vec::new(),
            subscribe_queue,
            backoff: Backoff::default(),
            is_on_trial: false,
            lost_at: None,
            reported_lost: None,
            is_denied: false,
            is_alternate: false,
            has_delivered: false,
            has_logged_decode_error: false,
            is_suspect: false,
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
            replaces: None,
            is_replaced: false,
        }
    }

    /// Whether a connection is open or being opened.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. } | Phase::Open { .. } | Phase::Closing { .. })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Returns whether the session's name is looked up, or TCP is under way.
    pub(crate) fn is_reaching(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. }) && self.wire.is_none()
    }

    /// Whether the connection has shown that it works.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_open() && !self.is_on_trial
    }

    /// Whether instruments may be added.
    pub(crate) fn is_joinable(&self) -> bool {
        !self.is_replaced
            && !matches!(self.phase, Phase::Free | Phase::Closing { retry_at: None, .. })
    }

    /// Whether it has no members, and was kept long enough.
    pub(crate) fn is_left(&self, now: MonoNs) -> bool {
        self.members.is_empty() && self.kept_until <= now
    }

    /// Forgets the connection, keeps the members.
    pub(crate) fn reset_connection(&mut self) {
        self.wire = None;
        let limits = venue::limits(self.market);
        self.subscribe_queue = SubscribeQueue::new(&limits);
        (self.has_delivered, self.has_logged_decode_error, self.is_suspect) = (false, false, false);
        (self.is_full, self.accepted_at, self.refused_at) = (false, None, None);
        (self.ping_sent, self.next_ping) = (None, MonoNs(u64::MAX));
        (self.renew_at, self.next_check) = (MonoNs(u64::MAX), MonoNs(u64::MAX));
    }

    pub(crate) fn add(&mut self, id: InstrumentId) {
        self.members.push(id);
        if self.is_open() {
            self.ask_for(id);
        }
    }

    /// Asks for all members, on a connection that has just opened.
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

    /// Ends the stream of `id` here, if it is one of ours. True if it was.
    pub(crate) fn remove(&mut self, id: InstrumentId) -> bool {
        let Some(at) = self.members.iter().position(|&member| member == id) else { return false };
        self.members.swap_remove(at);
        if self.is_open() {
            self.subscribe_queue.want(SubscribeOp::Unsubscribe, id);
        }
        true
    }

    /// The pause between two heartbeats: as configured, unless the exchange wants them sooner.
    pub(crate) fn ping_interval(&self, configured: Duration) -> Duration {
        configured.min(venue::limits(self.market).ping_interval_max)
    }

    /// Asks for a sign of life.
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

    /// Says what there is to say, as far as the budget goes. True if anything was said.
    pub(crate) fn speak(&mut self, streams: &Streams, now: Now) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let mut has_spoken = false;
        while let Some(text) = self.subscribe_queue.next_text(self.market, streams, now) {
            wire.send_text(text);
            has_spoken = true;
        }
        has_spoken
    }
}

/// The ends of a session that came soon after its names were asked for.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// How many in a row.
    pub(crate) count: u8,
    /// When the first of them was.
    pub(crate) since: MonoNs,
    /// Whether the exchange had accepted the names at one of them.
    pub(crate) is_answered: bool,
    /// The newest, until it is judged: when the session is connected again.
    pub(crate) newest: Option<End>,
}

#[derive(Debug)]
pub(crate) struct End {
    /// When the session had opened.
    pub(crate) opened: MonoNs,
    /// Whether the exchange had answered about all that it was asked for.
    pub(crate) is_answered: bool,
    /// How many of the session's members, the first ones, are to be parted from the rest.
    pub(crate) suspects: usize,
    /// The exchange's last words.
    pub(crate) words: String,
}

impl Ends {
    pub(crate) fn note(&mut self, end: End, now: MonoNs) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
        self.is_answered |= end.is_answered;
        self.newest = Some(end);
    }

    /// What was before proves nothing.
    pub(crate) fn restart(&mut self, now: MonoNs) {
        *self = Self { count: 1, since: now, is_answered: self.is_answered, newest: None };
    }
}
