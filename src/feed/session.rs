//! One session to a venue: its connection, what is subscribed on it and what is still to be said.
//! Owns the wording and pacing of what we send; when it begins, ends and is replaced is the feed's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::market::{Instrument, InstrumentId, Market};
use crate::venue::{self, Heartbeat, Limits, SubscribeOp};
use crate::wire::Connection;

use super::SessionId;
use super::budget::{Budget, Claim};
use super::culprits::Ends;
use super::plan::{Stream, Streams};
use super::retry::Backoff;

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

/// The subscribe messages of one connection: wanted, sent, not yet answered.
pub(super) struct Script {
    budget: Budget,
    /// Whether heartbeats count too.
    counts_heartbeats: bool,
    /// The exchange said that we are too fast: nothing is said before.
    hold_until: MonoNs,
    /// What is to be said, in order; runs of one kind share a message.
    wanted: VecDeque<(SubscribeOp, InstrumentId)>,
    /// What is to be said one by one, since a message naming several was refused.
    singles: VecDeque<InstrumentId>,
    unanswered: Vec<Unanswered>,
    /// Messages whose streams are to be asked for again, and whose answers may still come.
    withdrawn: Vec<Unanswered>,
    /// Streams in one message at most, fewer once the exchange said that there were too many.
    batch_max: usize,
    next_id: i64,
    text: String,
}

/// A subscribe message without an answer yet.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    pub(super) id: i64,
    pub(super) op: SubscribeOp,
    pub(super) instruments: Vec<InstrumentId>,
    pub(super) sent: MonoNs,
}

/// How the streams of a message that came to nothing are asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Together,
    Alone,
}

impl Script {
    fn new(limits: &Limits) -> Self {
        Self {
            budget: Budget::new(limits.messages, limits.messages_window),
            counts_heartbeats: limits.counts_heartbeats,
            hold_until: MonoNs(0),
            wanted: VecDeque::new(),
            singles: VecDeque::new(),
            unanswered: Vec::new(),
            withdrawn: Vec::new(),
            batch_max: limits.streams_per_message,
            next_id: 1,
            text: String::new(),
        }
    }

    /// A wish that takes back an earlier one which was not yet said replaces it.
    pub(super) fn want(&mut self, op: SubscribeOp, id: InstrumentId) {
        let wishes = self.wanted.len() + self.singles.len();
        self.wanted.retain(|&(_, wanted)| wanted != id);
        self.singles.retain(|&wanted| wanted != id);
        self.forget_withdrawn(&[id]);
        let was_said = wishes == self.wanted.len() + self.singles.len();
        if was_said || op == SubscribeOp::Subscribe {
            self.wanted.push_back((op, id));
        }
    }

    /// Ends and begins the stream of `id` anew.
    pub(super) fn renew(&mut self, id: InstrumentId) {
        self.want(SubscribeOp::Subscribe, id);
        self.wanted.pop_back();
        self.wanted.extend([(SubscribeOp::Unsubscribe, id), (SubscribeOp::Subscribe, id)]);
    }

    pub(super) fn want_alone(&mut self, ids: impl Iterator<Item = InstrumentId>) {
        for id in ids {
            if !self.singles.contains(&id) {
                self.singles.push_back(id);
            }
        }
    }

    /// Asks again for the streams of `message`. An answer to it that comes all the same still counts.
    pub(super) fn ask_again(&mut self, message: Unanswered, how: Again) {
        match (how, message.op) {
            (Again::Alone, SubscribeOp::Subscribe) => {
                self.want_alone(message.instruments.iter().copied());
            }
            (_, op) => {
                let is_new = |id: &&InstrumentId| !self.wanted.contains(&(op, **id));
                let ids: Vec<_> = message.instruments.iter().filter(is_new).copied().collect();
                self.wanted.extend(ids.into_iter().map(|id| (op, id)));
            }
        }
        self.withdrawn.push(message);
    }

    /// From now on a message names at most half as many streams as `count`. Returns whether that
    /// is any change.
    pub(super) fn shrink_batches(&mut self, count: usize) -> bool {
        let smaller = (count / 2).max(1);
        let is_change = smaller < self.batch_max.min(count);
        self.batch_max = self.batch_max.min(smaller);
        is_change
    }

    fn forget_withdrawn(&mut self, ids: &[InstrumentId]) {
        for message in &mut self.withdrawn {
            message.instruments.retain(|id| !ids.contains(id));
        }
        self.withdrawn.retain(|message| !message.instruments.is_empty());
    }

    fn next_text(&mut self, market: Market, streams: &Streams, now: Now) -> Option<&str> {
        // What an answer has come to has reached the exchange, however long it was under way: so no
        // messages that a slow network brings together are too many.
        self.budget.end(self.unanswered.len(), now.mono);
        let claim = self.next_claim(streams)?;
        if self.ready_at(claim) > now.mono {
            return None;
        }
        let limits = venue::limits(market);
        let length_max = limits.streams_per_message.min(self.batch_max);
        let (op, mut instruments) = self.next_batch(length_max, streams)?;
        let id = self.next_id;
        self.next_id += 1;
        loop {
            let named = instruments.iter().filter_map(|&id| streams.stream(id));
            let symbols = named.map(|stream| {
                let Instrument { symbol, interval, .. } = &stream.instrument;
                (&**symbol, *interval)
            });
            venue::write_subscribe(market, &mut self.text, op, id, symbols, now.unix_ms());
            let (bytes, count) = (self.text.len(), instruments.len());
            if bytes <= limits.message_bytes || count <= 1 {
                break;
            }
            let fitting = (count * limits.message_bytes / bytes).clamp(1, count - 1);
            let rest = instruments.split_off(fitting);
            rest.into_iter().rev().for_each(|id| self.wanted.push_front((op, id)));
        }
        self.forget_withdrawn(&instruments);
        self.unanswered.push(Unanswered { id, op, instruments, sent: now.mono });
        self.budget.begin(claim, now.mono);
        Some(&self.text)
    }

    /// For whom the next thing is said, if there is any: what was served comes before what is new.
    fn next_claim(&self, streams: &Streams) -> Option<Claim> {
        let wanted = self.wanted.iter().map(|&(_, id)| id);
        // One at a time, so that what happens then is that one's doing.
        let may_be_alone = self.wanted.is_empty() && self.unanswered.is_empty();
        let mut named = wanted.chain(self.singles().filter(|_| may_be_alone)).peekable();
        named.peek()?;
        match named.any(|id| claim_of(streams, id) == Claim::Served) {
            true => Some(Claim::Served),
            false => Some(Claim::New),
        }
    }

    /// What the next message names: all for the same claim.
    fn next_batch(
        &mut self,
        length_max: usize,
        streams: &Streams,
    ) -> Option<(SubscribeOp, Vec<InstrumentId>)> {
        let claim = self.next_claim(streams)?;
        let is_meant = |id: InstrumentId| claim_of(streams, id) == claim;
        let meant = |wish: &&(SubscribeOp, InstrumentId)| is_meant(wish.1);
        let Some(&(op, _)) = self.wanted.iter().find(meant) else {
            let at = self.singles.iter().position(|&id| is_meant(id))?;
            return self.singles.remove(at).map(|id| (SubscribeOp::Subscribe, vec![id]));
        };
        let (mut batch, mut is_over) = (Vec::new(), false);
        self.wanted.retain(|&(wanted, id)| {
            is_over |= batch.len() == length_max || (is_meant(id) && wanted != op);
            let is_taken = !is_over && is_meant(id);
            if is_taken {
                batch.push(id);
            }
            !is_taken
        });
        Some((op, batch))
    }

    /// The message that the exchange answers with `id`; without one, the only unanswered message.
    /// What it names is no longer asked for again.
    pub(super) fn answered(&mut self, id: Option<i64>) -> Option<Unanswered> {
        let is_answered = |message: &Unanswered| id.is_none_or(|id| message.id == id);
        let is_clear = id.is_some() || self.unanswered.len() == 1;
        let found = self.unanswered.iter().position(is_answered).filter(|_| is_clear);
        if let Some(at) = found {
            return Some(self.unanswered.remove(at));
        }
        let at = self.withdrawn.iter().position(|message| Some(message.id) == id)?;
        let message = self.withdrawn.remove(at);
        message.instruments.iter().for_each(|&id| self.unqueue(message.op, id));
        Some(message)
    }

    /// The exchange answered about `id` alone: takes it out of the message that named it. Whether
    /// there was one that did `op`.
    pub(super) fn answered_one(&mut self, op: SubscribeOp, id: InstrumentId) -> bool {
        self.answered_name(op, |named| named == id).is_some()
    }

    /// The same where the answer says a name, which may have been asked for under several ids: the
    /// one that was asked for first.
    pub(super) fn answered_name(
        &mut self,
        op: SubscribeOp,
        is_meant: impl Fn(InstrumentId) -> bool,
    ) -> Option<InstrumentId> {
        let messages = self.unanswered.iter_mut().chain(&mut self.withdrawn);
        let (message, at) = messages.filter(|message| message.op == op).find_map(|message| {
            let at = message.instruments.iter().position(|&id| is_meant(id))?;
            Some((message, at))
        })?;
        let id = message.instruments.remove(at);
        self.unanswered.retain(|message| !message.instruments.is_empty());
        self.withdrawn.retain(|message| !message.instruments.is_empty());
        self.unqueue(op, id);
        Some(id)
    }

    /// `id` need not be asked for again.
    fn unqueue(&mut self, op: SubscribeOp, id: InstrumentId) {
        self.wanted.retain(|&wanted| wanted != (op, id));
        if op == SubscribeOp::Subscribe {
            self.singles.retain(|&wanted| wanted != id);
        }
    }

    /// Returns whether `id` is that of a message sent on this connection.
    pub(super) fn has_sent(&self, id: i64) -> bool {
        (1..self.next_id).contains(&id)
    }

    /// The streams whose end is asked for, or to be asked for: until the exchange has answered, it
    /// may still push them.
    pub(super) fn leaving(&self) -> impl Iterator<Item = InstrumentId> {
        let is_end = |op: SubscribeOp| op == SubscribeOp::Unsubscribe;
        let wanted = self.wanted.iter().filter(move |wish| is_end(wish.0)).map(|wish| wish.1);
        let asked = self.unanswered.iter().chain(&self.withdrawn);
        let asked = asked.filter(move |message| is_end(message.op));
        wanted.chain(asked.flat_map(|message| message.instruments.iter().copied()))
    }

    /// The unanswered messages.
    pub(super) fn unanswered(&self) -> &[Unanswered] {
        &self.unanswered
    }

    /// Takes out the unanswered messages that `is_taken` chooses.
    pub(super) fn take_unanswered(
        &mut self,
        mut is_taken: impl FnMut(&Unanswered) -> bool,
    ) -> Vec<Unanswered> {
        self.unanswered.extract_if(.., |message| is_taken(message)).collect()
    }

    /// Whether `id` was asked for and not answered yet.
    pub(super) fn is_unanswered(&self, id: InstrumentId) -> bool {
        let asked = self.unanswered.iter().filter(|message| message.op == SubscribeOp::Subscribe);
        asked.into_iter().any(|message| message.instruments.contains(&id))
    }

    /// What was asked for and not answered yet.
    pub(super) fn unanswered_instruments(&self) -> Vec<InstrumentId> {
        let asked = self.unanswered.iter().filter(|message| message.op == SubscribeOp::Subscribe);
        asked.flat_map(|message| message.instruments.iter().copied()).collect()
    }

    /// What is to be asked for one by one.
    pub(super) fn singles(&self) -> impl Iterator<Item = InstrumentId> {
        self.singles.iter().copied()
    }

    /// Returns whether an answer to a message that was withdrawn may still come.
    pub(super) fn awaits_late_answers(&self) -> bool {
        !self.withdrawn.is_empty()
    }

    /// Everything that is to be sent, or was sent and not answered.
    pub(super) fn named(&self) -> impl Iterator<Item = InstrumentId> {
        let wanted = self.wanted.iter().map(|&(_, id)| id).chain(self.singles.iter().copied());
        let asked = self.unanswered.iter().chain(&self.withdrawn);
        wanted.chain(asked.flat_map(|message| message.instruments.iter().copied()))
    }

    /// Says nothing before `until`.
    pub(super) fn hold(&mut self, until: MonoNs) {
        self.hold_until = self.hold_until.max(until);
    }

    /// Whether everything is said and answered.
    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.singles.is_empty() && self.unanswered.is_empty()
    }

    /// When the oldest unanswered message was sent.
    pub(super) fn unanswered_since(&self) -> Option<MonoNs> {
        self.unanswered.iter().map(|message| message.sent).min()
    }

    /// When there will be something to say.
    pub(super) fn speaks_at(&self, streams: &Streams) -> Option<MonoNs> {
        self.next_claim(streams).map(|claim| self.ready_at(claim))
    }

    /// When the next subscribe message may be sent for `claim`.
    pub(super) fn ready_at(&self, claim: Claim) -> MonoNs {
        self.budget.ready_at(claim).max(self.hold_until)
    }

    /// Whether nothing may be said before `until`, by the exchange's word.
    pub(super) fn is_held_beyond(&self, until: MonoNs) -> bool {
        self.hold_until > until
    }

    /// Whether something may be said within `patience`: an answer that is due allows it.
    pub(super) fn may_speak_within(&self, patience: Duration, now: MonoNs) -> bool {
        self.budget.is_under_way() || self.ready_at(Claim::New) <= now.after(patience)
    }

    /// When the next heartbeat may be sent.
    pub(super) fn heartbeats_at(&self) -> MonoNs {
        if self.counts_heartbeats { self.budget.ready_at(Claim::Served) } else { MonoNs(0) }
    }

    /// A ping or a pong was sent.
    pub(super) fn spend_heartbeat(&mut self, now: MonoNs) {
        if self.counts_heartbeats {
            self.budget.spend(Claim::Served, now);
        }
    }
}

fn claim_of(streams: &Streams, id: InstrumentId) -> Claim {
    streams.stream(id).map_or(Claim::New, Stream::claim)
}
