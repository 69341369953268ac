//! One session to a venue: its connection, what is subscribed on it and what is still to be said.
//! Owns the wording and pacing of what we send; when it begins, ends and is replaced is the feed's.

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::market::{InstrumentId, Market};
use crate::venue::{self, Heartbeat, SubscribeOp};
use crate::wire::Connection;

use super::SessionId;
use super::retry::Backoff;
use super::script::Script;
use super::streams::Streams;

/// A place for one session after another: the first connection, and those that replace it.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) market: Market,
    pub(super) phase: Phase,
    /// From TCP being up to the end.
    pub(super) wire: Option<Connection>,
    /// What is to be subscribed here, whatever the phase.
    pub(super) members: Vec<InstrumentId>,
    pub(super) script: Script,
    pub(super) backoff: Backoff,
    /// Whether the breaker waits for a verdict about this attempt.
    pub(super) is_on_trial: bool,
    /// When a session at this place was last lost, or did not come up.
    pub(super) lost_at: Option<MonoNs>,
    /// Why it is lost, as the clients were told, who do not know yet that it is back.
    pub(super) told_lost: Option<String>,
    /// Whether they were told so of an exchange that lets no session in, until one is open.
    pub(super) is_denied: bool,
    /// Whether to use the venue's alternate path.
    pub(super) is_alternate: bool,
    /// Whether this connection delivered a candle.
    pub(super) has_delivered: bool,
    /// Whether a decode error of this connection was told to the log.
    pub(super) has_complained: bool,
    /// Whether the exchange has news that this silent session did not deliver.
    pub(super) is_suspect: bool,
    /// Whether the exchange said that this connection has as many streams as it may.
    pub(super) is_full: bool,
    /// Whether it carries only names under suspicion: they are asked for one by one, and nobody
    /// else is placed here. See [`super::suspects`].
    pub(super) is_quarantine: bool,
    /// How it ended soon after its members were asked for.
    pub(super) ends: Ends,
    /// When a member was last rejected because the exchange refused it on this connection.
    pub(super) refused_at: Option<MonoNs>,
    /// When the exchange last accepted a subscription on this connection.
    pub(super) accepted_at: Option<MonoNs>,
    pub(super) last_received: MonoNs,
    /// When the newest candle came; when the session opened, if none did.
    pub(super) last_candle: MonoNs,
    /// When the unanswered ping was sent.
    pub(super) ping_sent: Option<MonoNs>,
    pub(super) next_ping: MonoNs,
    pub(super) renew_at: MonoNs,
    /// Until then an announced shutdown is the one for which this session replaced another.
    pub(super) announced_until: MonoNs,
    /// When a silent member is next to be looked at.
    pub(super) next_check: MonoNs,
    /// Until then the session is kept though it has no members.
    pub(super) kept_until: MonoNs,
    /// The place that this one replaces, once it delivers.
    pub(super) replaces: Option<usize>,
    /// Whether another place is about to replace this one.
    pub(super) is_replaced: bool,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
    pub(super) fn new(id: SessionId, market: Market) -> Self {
        let limits = venue::limits(market);
        let script = Script::new(&limits);
        Self {
            id,
            market,
            phase: Phase::Free,
            wire: None,
            members: Vec::new(),
            script,
            backoff: Backoff::default(),
            is_on_trial: false,
            lost_at: None,
            told_lost: None,
            is_denied: false,
            is_alternate: false,
            has_delivered: false,
            has_complained: false,
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
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. } | Phase::Open { .. } | Phase::Closing { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether the connection has shown that it works.
    pub(super) fn is_proven(&self) -> bool {
        self.is_open() && !self.is_on_trial
    }

    /// Whether instruments may be added.
    pub(super) fn is_joinable(&self) -> bool {
        !self.is_replaced
            && !matches!(self.phase, Phase::Free | Phase::Closing { retry_at: None, .. })
    }

    /// Whether it has no members, and was kept long enough.
    pub(super) fn is_left(&self, now: MonoNs) -> bool {
        self.members.is_empty() && self.kept_until <= now
    }

    /// Forgets the connection, keeps the members.
    pub(super) fn reset_connection(&mut self) {
        self.wire = None;
        let limits = venue::limits(self.market);
        self.script = Script::new(&limits);
        (self.has_delivered, self.has_complained, self.is_suspect) = (false, false, false);
        (self.is_full, self.accepted_at, self.refused_at) = (false, None, None);
        (self.ping_sent, self.next_ping) = (None, MonoNs(u64::MAX));
        (self.renew_at, self.next_check) = (MonoNs(u64::MAX), MonoNs(u64::MAX));
    }

    pub(super) fn add(&mut self, id: InstrumentId) {
        self.members.push(id);
        if self.is_open() {
            self.ask_for(id);
        }
    }

    /// Asks for all members, on a connection that has just opened.
    pub(super) fn ask_for_all(&mut self) {
        for at in 0..self.members.len() {
            self.ask_for(self.members[at]);
        }
    }

    fn ask_for(&mut self, id: InstrumentId) {
        match self.is_quarantine {
            true => self.script.want_alone([id].into_iter()),
            false => self.script.want(SubscribeOp::Subscribe, id),
        }
    }

    /// Ends the stream of `id` here, if it is one of ours. True if it was.
    pub(super) fn remove(&mut self, id: InstrumentId) -> bool {
        let Some(at) = self.members.iter().position(|&member| member == id) else { return false };
        self.members.swap_remove(at);
        if self.is_open() {
            self.script.want(SubscribeOp::Unsubscribe, id);
        }
        true
    }

    /// The pause between two heartbeats: as configured, unless the exchange wants them sooner.
    pub(super) fn ping_interval(&self, configured: Duration) -> Duration {
        configured.min(venue::limits(self.market).ping_interval_max)
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self, interval: Duration, now: Now) {
        let interval = self.ping_interval(interval);
        let Some(wire) = &mut self.wire else { return };
        match venue::heartbeat(self.market) {
            Heartbeat::WebSocketPing => wire.send_ping(&now.mono.0.to_be_bytes()),
            Heartbeat::Text => {
                venue::write_ping(self.market, &mut self.script.text, now.unix_ms());
                wire.send_text(&self.script.text);
            }
        }
        self.script.spend_heartbeat(now.mono);
        (self.ping_sent, self.next_ping) = (Some(now.mono), now.mono.after(interval));
    }

    /// Says what there is to say, as far as the budget goes. True if anything was said.
    pub(super) fn speak(&mut self, streams: &Streams, now: Now) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let mut has_spoken = false;
        while let Some(text) = self.script.next_text(self.market, streams, now) {
            wire.send_text(text);
            has_spoken = true;
        }
        has_spoken
    }
}

/// The ends of a session that came soon after its names were asked for.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// How many in a row.
    pub(super) count: u8,
    /// When the first of them was.
    pub(super) since: MonoNs,
    /// Whether the exchange had accepted the names at one of them.
    pub(super) is_answered: bool,
    /// The newest, until it is judged: when the session is connected again.
    pub(super) newest: Option<End>,
}

#[derive(Debug)]
pub(super) struct End {
    /// When the session had opened.
    pub(super) opened: MonoNs,
    /// Whether the exchange had answered about all that it was asked for.
    pub(super) is_answered: bool,
    /// How many of the session's members, the first ones, are to be parted from the rest.
    pub(super) suspects: usize,
    /// The exchange's last words.
    pub(super) words: String,
}

impl Ends {
    pub(super) fn note(&mut self, end: End, now: MonoNs) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
        self.is_answered |= end.is_answered;
        self.newest = Some(end);
    }

    /// What was before proves nothing.
    pub(super) fn restart(&mut self, now: MonoNs) {
        *self = Self { count: 1, since: now, is_answered: self.is_answered, newest: None };
    }
}
