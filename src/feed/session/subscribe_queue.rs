//! The subscribe messages of one connection: which are due, which wait for an answer, and which are
//! sent again. Owns their order and pace; `refusals` decides what an answer means.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::limits::budget::{Budget, Claim};
use crate::feed::stream::FeedStream;
use crate::feed::streams::Streams;
use crate::market::{Instrument, InstrumentId, Market};
use crate::venue::{self, Limits, SubscribeOp};

/// The subscribe messages of one connection: wanted, sent, unanswered.
pub(crate) struct SubscribeQueue {
    /// What the exchange allows in messages on one connection.
    budget: Budget,
    /// Whether heartbeats count towards the budget.
    counts_heartbeats: bool,
    /// No message is sent before, because the exchange found us too fast.
    hold_until: MonoNs,
    /// Subscriptions to send, in order. Neighbours of one kind share a message.
    wanted: VecDeque<(SubscribeOp, InstrumentId)>,
    /// Subscriptions to send one by one, because a message with several was refused.
    singles: VecDeque<InstrumentId>,
    unanswered: Vec<Unanswered>,
    /// Messages with streams that are subscribed again; late answers to them may still arrive.
    withdrawn: Vec<Unanswered>,
    /// Most streams in one message; fewer once the exchange refused a message as too large.
    batch_max: usize,
    next_id: i64,
    pub(crate) text: String,
}

/// A subscribe message without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub(crate) id: i64,
    pub(crate) op: SubscribeOp,
    pub(crate) instruments: Vec<InstrumentId>,
    pub(crate) sent: MonoNs,
}

/// How the streams of a failed message are subscribed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Together,
    Alone,
}

impl SubscribeQueue {
    pub(crate) fn new(limits: &Limits) -> Self {
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

    /// Wants `op` for `id`. A wish that only takes back an unsent one cancels it.
    pub(crate) fn want(&mut self, op: SubscribeOp, id: InstrumentId) {
        let wishes = self.wanted.len() + self.singles.len();
        self.wanted.retain(|&(_, wanted)| wanted != id);
        self.singles.retain(|&wanted| wanted != id);
        self.forget_withdrawn(&[id]);
        let was_sent = wishes == self.wanted.len() + self.singles.len();
        if was_sent || op == SubscribeOp::Subscribe {
            self.wanted.push_back((op, id));
        }
    }

    /// Ends the stream of `id` and begins it again.
    pub(crate) fn renew(&mut self, id: InstrumentId) {
        self.want(SubscribeOp::Subscribe, id);
        self.wanted.pop_back();
        self.wanted.extend([(SubscribeOp::Unsubscribe, id), (SubscribeOp::Subscribe, id)]);
    }

    /// Subscribes each of `ids` with a message of its own.
    pub(crate) fn want_alone(&mut self, ids: impl Iterator<Item = InstrumentId>) {
        for id in ids {
            if !self.singles.contains(&id) {
                self.singles.push_back(id);
            }
        }
    }

    /// Subscribes the streams of `message` again. A late answer to the message still counts.
    pub(crate) fn ask_again(&mut self, message: Unanswered, how: Again) {
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

    /// Limits messages to half of `count` streams. Returns whether messages become smaller.
    pub(crate) fn shrink_batches(&mut self, count: usize) -> bool {
        let smaller = (count / 2).max(1);
        let is_change = smaller < self.batch_max.min(count);
        self.batch_max = self.batch_max.min(smaller);
        is_change
    }

    /// Takes `ids` out of the withdrawn messages.
    fn forget_withdrawn(&mut self, ids: &[InstrumentId]) {
        for message in &mut self.withdrawn {
            message.instruments.retain(|id| !ids.contains(id));
        }
        self.withdrawn.retain(|message| !message.instruments.is_empty());
    }

    /// The next message to send, if one is due now.
    pub(crate) fn next_text(
        &mut self,
        market: Market,
        streams: &Streams,
        now: Now,
    ) -> Option<&str> {
        // A message that is answered has reached the exchange, however long it was under way. So
        // messages that a slow network delivers together never exceed the budget.
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

    /// The claim of the next message, if there is one: served streams come before new ones.
    fn next_claim(&self, streams: &Streams) -> Option<Claim> {
        let wanted = self.wanted.iter().map(|&(_, id)| id);
        // One at a time, so that the consequence is the fault of that one.
        let may_be_alone = self.wanted.is_empty() && self.unanswered.is_empty();
        let mut named = wanted.chain(self.singles().filter(|_| may_be_alone)).peekable();
        named.peek()?;
        match named.any(|id| claim_of(streams, id) == Claim::Served) {
            true => Some(Claim::Served),
            false => Some(Claim::New),
        }
    }

    /// The content of the next message. All its streams have the same claim.
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

    /// Removes the message that the exchange answers with `id`; without an id, the only unanswered
    /// message. Its streams are no longer subscribed again.
    pub(crate) fn answered(&mut self, id: Option<i64>) -> Option<Unanswered> {
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

    /// Removes `id` from the message that named it, because the exchange answered about this one
    /// stream. Returns whether there was a message that did `op`.
    pub(crate) fn answered_one(&mut self, op: SubscribeOp, id: InstrumentId) -> bool {
        self.answered_name(op, |named| named == id).is_some()
    }

    /// The same for an answer that names a symbol. The symbol may have been subscribed under
    /// several ids: the id of the oldest message counts.
    pub(crate) fn answered_name(
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

    /// Removes `id` from the streams that wait to be sent again.
    fn unqueue(&mut self, op: SubscribeOp, id: InstrumentId) {
        self.wanted.retain(|&wanted| wanted != (op, id));
        if op == SubscribeOp::Subscribe {
            self.singles.retain(|&wanted| wanted != id);
        }
    }

    /// Returns whether a message with this id was sent on this connection.
    pub(crate) fn has_sent(&self, id: i64) -> bool {
        (1..self.next_id).contains(&id)
    }

    /// The streams that end, whether the message is sent or not. The exchange may still push them
    /// until it has answered.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = InstrumentId> {
        let is_end = |op: SubscribeOp| op == SubscribeOp::Unsubscribe;
        let wanted = self.wanted.iter().filter(move |wish| is_end(wish.0)).map(|wish| wish.1);
        let asked = self.unanswered.iter().chain(&self.withdrawn);
        let asked = asked.filter(move |message| is_end(message.op));
        wanted.chain(asked.flat_map(|message| message.instruments.iter().copied()))
    }

    /// The unanswered messages.
    pub(crate) fn unanswered(&self) -> &[Unanswered] {
        &self.unanswered
    }

    /// Removes and returns the unanswered messages that `is_taken` chooses.
    pub(crate) fn take_unanswered(
        &mut self,
        mut is_taken: impl FnMut(&Unanswered) -> bool,
    ) -> Vec<Unanswered> {
        self.unanswered.extract_if(.., |message| is_taken(message)).collect()
    }

    /// Returns whether `id` is in an unanswered subscribe message.
    pub(crate) fn is_unanswered(&self, id: InstrumentId) -> bool {
        let asked = self.unanswered.iter().filter(|message| message.op == SubscribeOp::Subscribe);
        asked.into_iter().any(|message| message.instruments.contains(&id))
    }

    /// The streams in unanswered subscribe messages.
    pub(crate) fn unanswered_instruments(&self) -> Vec<InstrumentId> {
        let asked = self.unanswered.iter().filter(|message| message.op == SubscribeOp::Subscribe);
        asked.flat_map(|message| message.instruments.iter().copied()).collect()
    }

    /// The streams that wait to be subscribed one by one.
    pub(crate) fn singles(&self) -> impl Iterator<Item = InstrumentId> {
        self.singles.iter().copied()
    }

    /// Returns whether an answer to a withdrawn message may still arrive.
    pub(crate) fn awaits_late_answers(&self) -> bool {
        !self.withdrawn.is_empty()
    }

    /// Every stream that waits to be sent, or was sent and not answered.
    pub(crate) fn named(&self) -> impl Iterator<Item = InstrumentId> {
        let wanted = self.wanted.iter().map(|&(_, id)| id).chain(self.singles.iter().copied());
        let asked = self.unanswered.iter().chain(&self.withdrawn);
        wanted.chain(asked.flat_map(|message| message.instruments.iter().copied()))
    }

    /// Sends no subscribe message before `until`.
    pub(crate) fn hold(&mut self, until: MonoNs) {
        self.hold_until = self.hold_until.max(until);
    }

    /// Returns whether every message is sent and answered.
    pub(crate) fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.singles.is_empty() && self.unanswered.is_empty()
    }

    /// When the oldest unanswered message was sent.
    pub(crate) fn unanswered_since(&self) -> Option<MonoNs> {
        self.unanswered.iter().map(|message| message.sent).min()
    }

    /// When the next message may be sent, if there is one.
    pub(crate) fn sends_at(&self, streams: &Streams) -> Option<MonoNs> {
        self.next_claim(streams).map(|claim| self.ready_at(claim))
    }

    /// When a subscribe message for `claim` may be sent.
    pub(crate) fn ready_at(&self, claim: Claim) -> MonoNs {
        self.budget.ready_at(claim).max(self.hold_until)
    }

    /// Returns whether the exchange forbids messages beyond `until`.
    pub(crate) fn is_held_beyond(&self, until: MonoNs) -> bool {
        self.hold_until > until
    }

    /// Returns whether a message may be sent within `patience`, or as soon as a due answer arrives.
    pub(crate) fn may_send_within(&self, patience: Duration, now: MonoNs) -> bool {
        self.budget.is_under_way() || self.ready_at(Claim::New) <= now.after(patience)
    }

    /// When the next heartbeat may be sent.
    pub(crate) fn heartbeats_at(&self) -> MonoNs {
        if self.counts_heartbeats { self.budget.ready_at(Claim::Served) } else { MonoNs(0) }
    }

    /// Counts a ping or a pong that was sent.
    pub(crate) fn spend_heartbeat(&mut self, now: MonoNs) {
        if self.counts_heartbeats {
            self.budget.spend(Claim::Served, now);
        }
    }
}

fn claim_of(streams: &Streams, id: InstrumentId) -> Claim {
    streams.stream(id).map_or(Claim::New, FeedStream::claim)
}
