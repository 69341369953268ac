//! Joining the past to the stream: what `history` and `since` ask for is sent first, oldest first,
//! then what is published. Owns the wait for it: meanwhile the subscription hears nothing of the
//! series, so that nothing overtakes and nothing comes twice.

use crate::clock::{Now, UnixMs};
use crate::limits::READY_BYTES_MAX;
use crate::market::{Instrument, InstrumentId, Settled, Span};
use crate::messages::{Command, RecallFrom};
use crate::wire::write_text_frame;

use super::derive::derived_windows_max;
use super::encode::CandleType;
use super::outbox::{Class, FrameMeta};
use super::protocol::Refusal;
use super::request::Past;
use super::{ClientId, Fanout};

/// A subscription that waits for the past of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    pub(super) client: ClientId,
    pub(super) key: u32,
    past: Past,
    /// Publications before it.
    serial: u64,
    /// The first window that is wanted, once that is known.
    first: Option<UnixMs>,
    /// How often it was asked for what is absent.
    recalls: u32,
}

/// What a join still needs.
enum Need {
    Nothing,
    /// These windows, whose recall has not come back.
    Recall(Span),
}

impl Join {
    pub(super) fn new(client: ClientId, key: u32, past: Past, serial: u64) -> Self {
        Self { client, key, past, serial, first: None, recalls: 0 }
    }
}

impl Fanout {
    /// Begins to serve the past of `of` to a subscription; at once, if all of it is known.
    pub(super) fn begin_join(&mut self, join: Join, of: InstrumentId, now: Now) {
        let Some(stream) = self.hub.stream(of) else { return };
        stream.history.pin();
        stream.joins.push(join);
        self.further_joins(of, None, now);
    }

    /// Looks after the joins of a series. `recalled`: a recall of these windows has come back.
    pub(super) fn further_joins(
        &mut self,
        of: InstrumentId,
        recalled: Option<(UnixMs, UnixMs)>,
        now: Now,
    ) {
        let interval = self.hub.instrument(of).interval;
        let kept = self.kept_windows(of) as u64;
        let Some(stream) = self.hub.stream(of) else { return };
        let mut ready = Vec::new();
        let (mut commands, mut too_old) = (Vec::new(), Vec::new());
        for join in &mut stream.joins {
            let from = match join.past {
                Past::Last(count) => RecallFrom::Last(count),
                Past::Since(since) => {
                    RecallFrom::Window(UnixMs(interval.open_time(since).0 + interval.ms()))
                }
            };
            let Some(newest) = stream.history.newest() else {
                // Where the stream begins is not known: the shard finds out.
                if !stream.recalls.waiting().any(|asked| asked.is_none()) {
                    stream.recalls.ask(None);
                    let from = match from {
                        RecallFrom::Last(count) => RecallFrom::Last(count),
                        RecallFrom::Window(_) => RecallFrom::Last(1),
                    };
                    commands.push(Command::Recall { id: of, from, to: None });
                }
                continue;
            };
            let first = *join.first.get_or_insert(match from {
                RecallFrom::Window(first) => first,
                RecallFrom::Last(count) => {
                    UnixMs(newest.0 - (i64::from(count) - 1) * interval.ms())
                }
            });
            let span = Span::new(first, newest);
            if span.is_some_and(|span| span.count(interval) > kept) {
                too_old.push((join.client, join.key, first, newest));
                continue;
            }
            let absent = span.map_or_else(Vec::new, |span| stream.history.unasked(span, interval));
            let need = match (absent.first(), absent.last()) {
                (Some(oldest), Some(last)) if join.recalls < RECALLS_MAX => {
                    Need::Recall(Span { first: oldest.first, last: last.last })
                }
                _ => Need::Nothing,
            };
            match need {
                Need::Nothing => ready.push((join.client, join.key)),
                // The answer that has come may be another join's.
                Need::Recall(span) => {
                    let is_answered = recalled.is_some_and(|(from, _)| from <= span.first);
                    let covers = |asked: Option<Span>| {
                        asked.is_some_and(|it| it.contains(span.first) && it.contains(span.last))
                    };
                    let is_asked = stream.recalls.waiting().any(covers);
                    if !is_asked && (join.recalls == 0 || is_answered) {
                        join.recalls += 1;
                        stream.recalls.ask(Some(span));
                        let from = RecallFrom::Window(span.first);
                        commands.push(Command::Recall { id: of, from, to: Some(span.last) });
                    }
                }
            }
        }
        commands.into_iter().for_each(|command| self.command(of, command, now));
        for (id, key, first, newest) in too_old {
            self.refuse_too_old(id, key, of, first, newest, now);
        }
        for (id, key) in ready {
            if let Some(client) = self.clients.find(id)
                && !client.joins.contains(&(key, of))
            {
                client.joins.push_back((key, of));
                self.pump_joins(id, now);
            }
        }
    }

    /// How many closed windows of a series can be given: of a derived one not more than its minutes
    /// can be asked for.
    fn kept_windows(&self, of: InstrumentId) -> usize {
        let kept = self.config.history_candles;
        match self.hub.base(of) {
            Some(_) => kept.min(derived_windows_max(self.hub.instrument(of).interval)),
            None => kept,
        }
    }

    /// More is wanted than is kept.
    fn refuse_too_old(
        &mut self,
        id: ClientId,
        key: u32,
        of: InstrumentId,
        first: UnixMs,
        newest: UnixMs,
        now: Now,
    ) {
        let Instrument { market, interval, symbol } = self.hub.instrument(of).clone();
        let kept = self.kept_windows(of);
        let kept_ms = i64::try_from(kept).unwrap_or(i64::MAX).saturating_mul(interval.ms());
        let since = UnixMs(newest.0.saturating_sub(kept_ms));
        let message = format!(
            "\"since\": the last {kept} closed candles of {symbol} are kept \
             (CONNECTOR_HISTORY_CANDLES); \"missing\" cannot be given; ask for \"since\":{} or later",
            since.0
        );
        let refusal = Refusal {
            symbols: vec![symbol.to_string()],
            missing: Span::new(first, since).into_iter().collect(),
            ..*Refusal::field("since_too_old", "since", message).about(market)
        };
        self.refuse_symbol(id, key, of, &refusal, now);
    }

    /// Sends a client the past that is ready for it, series by series, as far as it keeps up.
    pub(super) fn pump_joins(&mut self, id: ClientId, now: Now) {
        loop {
            let Some(client) = self.clients.find(id) else { return };
            let owed = client.outbox.bytes() + client.ready_bytes();
            if owed >= READY_BYTES_MAX {
                return;
            }
            let Some((key, of)) = client.joins.pop_front() else { return };
            self.join(id, key, of, now);
            self.offer(id);
        }
    }

    fn join(&mut self, id: ClientId, key: u32, of: InstrumentId, now: Now) {
        let Some(Instrument { market, interval, symbol }) = self.hub.find_instrument(of).cloned()
        else {
            return;
        };
        let Some(stream) = self.hub.stream(of) else { return };
        let own = |join: &Join| join.client == id && join.key == key;
        let Some(at) = stream.joins.iter().position(own) else { return };
        let join = stream.joins.swap_remove(at);
        stream.history.unpin();
        let (Some(first), Some(newest)) = (join.first, stream.history.newest()) else { return };
        let span = Span::new(first, newest);
        let absent = span.map_or_else(Vec::new, |span| stream.history.absent(span, interval));
        let unasked = span.map_or_else(Vec::new, |span| stream.history.unasked(span, interval));
        if let (Past::Since(_), false) = (join.past, unasked.is_empty()) {
            let message = format!(
                "\"since\": not every closed candle of {symbol} after it can be given; \"missing\" \
                 names the open times; subscribe without \"since\" or with a later one"
            );
            let refusal = Refusal {
                symbols: vec![symbol.to_string()],
                missing: absent,
                ..*Refusal::field("since_incomplete", "since", message).about(market)
            };
            return self.refuse_symbol(id, key, of, &refusal, now);
        }
        for interest in stream.of_client(id.index).iter_mut().filter(|one| one.key == key) {
            (interest.is_joining, interest.is_begun, interest.first) = (false, true, first);
            interest.since_serial = self.publications;
        }
        let known: Vec<Settled> =
            span.into_iter().flat_map(|span| stream.history.known(span)).copied().collect();
        self.send_restated(id, &join, of, first, now);
        let mut gaps = absent.iter().peekable();
        for settled in &known {
            while let Some(gap) = gaps.next_if(|gap| gap.first < settled.open_time()) {
                self.send_absent(id, key, of, *gap, now);
            }
            self.send_settled(id, key, of, settled, now);
        }
        gaps.for_each(|gap| self.send_absent(id, key, of, *gap, now));
        self.payload.clear();
        let absent: u64 = absent.iter().map(|span| span.count(interval)).sum();
        if let Some(stream) = self.hub.stream(of) {
            let counts = (known.len() as u64, absent);
            stream.labels.write_history(&mut self.payload, first, newest, counts, now);
        }
        self.send_payload(id);
        self.send_running(id, key, of, now);
        self.settle(id, now);
    }

    /// Sends the corrections of windows before `first`, where the past begins. A client that
    /// resumes may have missed them, and it received none while it waited.
    fn send_restated(
        &mut self,
        id: ClientId,
        join: &Join,
        of: InstrumentId,
        first: UnixMs,
        now: Now,
    ) {
        let is_resumed = matches!(join.past, Past::Since(_));
        let Some(stream) = self.hub.stream(of) else { return };
        let missed = stream.history.restated_before(first).into_iter();
        for restated in missed.filter(|one| is_resumed || one.serial >= join.serial) {
            let Some(stream) = self.hub.stream(of) else { return };
            let Some(Settled::Candle(update)) = stream.history.at(restated.open_time).copied()
            else {
                continue;
            };
            let (kind, previous) = (CandleType::Correction, restated.previous.as_ref());
            self.payload.clear();
            stream.labels.write_candle(&mut self.payload, kind, &update, previous, now);
            self.send_past(id, join.key, of, (Class::Correction, restated.open_time));
        }
    }

    fn send_settled(
        &mut self,
        id: ClientId,
        key: u32,
        of: InstrumentId,
        settled: &Settled,
        now: Now,
    ) {
        let Some(stream) = self.hub.stream(of) else { return };
        self.payload.clear();
        match settled {
            Settled::Candle(update) => {
                stream.labels.write_candle(&mut self.payload, CandleType::Quote, update, None, now);
            }
            Settled::Empty { open_time } => {
                stream.labels.write_empty(&mut self.payload, *open_time, now);
            }
        }
        if matches!(settled, Settled::Candle(_))
            && let Some(interest) =
                stream.of_client(id.index).iter_mut().find(|interest| interest.key == key)
            && !std::mem::replace(&mut interest.is_quoted, true)
            && let Some(client) = self.clients.find(id)
        {
            client.subscription(key).unquoted -= 1;
        }
        self.send_past(id, key, of, (Class::Closed, settled.open_time()));
    }

    fn send_absent(&mut self, id: ClientId, key: u32, of: InstrumentId, gap: Span, now: Now) {
        let interval = self.hub.instrument(of).interval;
        let Some(stream) = self.hub.stream(of) else { return };
        self.payload.clear();
        let missing = gap.count(interval);
        stream.labels.write_gap(&mut self.payload, gap.first, missing, "unavailable", now);
        self.send_past(id, key, of, (Class::Gap, gap.first));
    }

    /// Sends the message in `payload`: at once, or behind what the client is owed.
    fn send_past(
        &mut self,
        id: ClientId,
        key: u32,
        of: InstrumentId,
        (class, open_time): (Class, UnixMs),
    ) {
        self.frame.clear();
        write_text_frame(&mut self.frame, &self.payload);
        let Some(client) = self.clients.find(id) else { return };
        if class == Class::Closed {
            client.newest_closed = client.newest_closed.max(Some(open_time));
        }
        if client.is_behind() {
            let (past_of, serial) = (Some(key), self.publications);
            let meta = FrameMeta { instrument: of, class, open_time, hops: None, past_of, serial };
            let frame = self.frames.insert(&self.frame, Some(meta));
            client.outbox.owe(&mut self.frames, frame);
        } else {
            client.append_frames(&mut self.run, &self.frame);
            self.metrics.sent_messages.increment();
        }
    }
}

/// How often a shard is asked for what is still absent: once more than needed, since a window that
/// closes meanwhile may have been told as missing.
const RECALLS_MAX: u32 = 2;
