//! The way of an update: it is encoded once, appended for every subscriber that keeps up, and owed
//! to the others, who get it from the outbox as their sockets take bytes.

use crate::clock::{Now, UnixMs};
use crate::fanout::clients::client::ClientPhase;
use crate::fanout::clients::rate_limit::Handling;
use crate::fanout::delivery::basic::{Form, is_basic};
use crate::fanout::delivery::outbox::Owed;
use crate::fanout::frame::{Class, FrameMeta, Hops};
use crate::fanout::history::{Restated, closed_window};
use crate::fanout::protocol::encode::{CandleType, write_unsigned};
use crate::fanout::{ClientId, Fanout, Output};
use crate::limits::{READY_BYTES_MAX, SHARE_BYTES_MAX};
use crate::market::{Candle, CandleUpdate, ClosedWindow, InstrumentId, Source, Span};
use crate::messages::EventName;
use crate::wire::{text_frame_payload, write_text_frame};

impl Fanout {
    /// Publishes a candle to every client that wants it, and keeps it if it is closed.
    pub(crate) fn publish_candle(&mut self, update: &CandleUpdate, now: Now) {
        let Some(stream) = self.hub.stream(update.instrument) else { return };
        if !stream.take(update) {
            return;
        }
        let is_confirmed = stream.is_confirmed;
        let kept_max = self.config.history_candles;
        let (mut replaced, mut is_end) = (None, false);
        if update.is_closed() {
            replaced = stream.history.put(&closed_window(update), kept_max);
            is_end = stream.history.advance(update.candle.open_time);
            if update.revision > 0 {
                let (open_time, serial) = (update.candle.open_time, self.publications);
                stream.history.add_correction(Restated { open_time, serial, previous: replaced });
                // A client that catches up from now on comes after this correction, even if it
                // reached no client.
                self.publications += 1;
            }
        }
        if !is_confirmed {
            self.hub.confirm(update.instrument);
            self.show_table();
        }
        if update.source == Source::Ws {
            let ring = update.until_ring.end(update.received);
            self.metrics.received_to_published.record_ns(now.mono.ns_since(update.received));
            self.metrics.ring_to_taken.record_ns(now.mono.ns_since(ring));
        }
        if self.hub.stream(update.instrument).is_some_and(|stream| stream.is_wanted()) {
            let meta = candle_meta(update, self.publications, now);
            self.warn_basic(update, &meta, now);
            self.write_update(update, replaced.as_ref(), now);
            self.publish(meta, now);
        }
        if is_end && !self.marks.is_empty() {
            self.advance_marks(update.instrument, update.candle.open_time, now);
        }
    }

    fn write_update(&mut self, update: &CandleUpdate, replaced: Option<&Candle>, now: Now) {
        let Some(stream) = self.hub.stream(update.instrument) else { return };
        let candle_type = match candle_class(update) {
            Class::Correction => CandleType::Correction,
            Class::Open | Class::Closed | Class::Empty | Class::Gap => CandleType::Quote,
        };
        self.payload.clear();
        let end = stream.labels.write_candle(&mut self.payload, candle_type, update, replaced, now);
        let is_wanted = stream.basic_count > 0 && candle_type == CandleType::Quote;
        self.basic.set(&self.payload[..end], is_wanted);
    }

    /// Publishes a window without trades.
    pub(crate) fn publish_empty(&mut self, instrument: InstrumentId, open_time: UnixMs, now: Now) {
        let Some(stream) = self.hub.stream(instrument).filter(|stream| stream.is_live()) else {
            return;
        };
        stream.history.put(&ClosedWindow::Empty { open_time }, self.config.history_candles);
        let is_end = stream.history.advance(open_time);
        self.payload.clear();
        stream.labels.write_empty(&mut self.payload, open_time, now);
        let meta = self.sent_meta(instrument, Class::Empty, open_time);
        self.publish(meta, now);
        if is_end && !self.marks.is_empty() {
            self.advance_marks(instrument, open_time, now);
        }
    }

    /// Publishes a gap. It is published in parts where a client needs only its later windows: that
    /// one has the others already, from before a restart.
    pub(crate) fn publish_gap(
        &mut self,
        instrument: InstrumentId,
        first: UnixMs,
        missing: u64,
        now: Now,
    ) {
        let Some(stream) = self.hub.stream(instrument).filter(|stream| stream.is_live()) else {
            return;
        };
        let span_ms = i64::try_from(missing).unwrap_or(i64::MAX).saturating_sub(1);
        let span_ms = span_ms.saturating_mul(stream.labels.interval().ms());
        let last = UnixMs(first.0.saturating_add(span_ms));
        let is_end = stream.history.advance(last);
        let interval = stream.labels.interval();
        let firsts = stream.interests.iter().map(|interest| interest.first);
        let mut begins: Vec<UnixMs> = firsts.filter(|&at| first < at && at <= last).collect();
        begins.push(first);
        begins.sort_unstable();
        begins.dedup();
        for (at, &begin) in begins.iter().enumerate() {
            let end = begins.get(at + 1).map_or(last, |next| UnixMs(next.0 - interval.ms()));
            let part = Span { first: begin, last: end }.count(interval).min(missing);
            let Some(stream) = self.hub.stream(instrument) else { return };
            self.payload.clear();
            stream.labels.write_gap(&mut self.payload, begin, part, "not_received", now);
            let meta = self.sent_meta(instrument, Class::Gap, begin);
            self.publish(meta, now);
        }
        if is_end && !self.marks.is_empty() {
            self.advance_marks(instrument, last, now);
        }
    }

    fn sent_meta(&self, instrument: InstrumentId, class: Class, open_time: UnixMs) -> FrameMeta {
        let serial = self.publications;
        FrameMeta { instrument, class, open_time, hops: None, history_of: None, serial }
    }

    /// Keeps a backfilled window.
    pub(crate) fn keep_backfilled(
        &mut self,
        instrument: InstrumentId,
        closed_window: &ClosedWindow,
    ) {
        let kept_max = self.config.history_candles;
        if let Some(stream) = self.hub.stream(instrument).filter(|stream| stream.is_live()) {
            stream.history.put_backfilled(closed_window, kept_max);
        }
    }

    /// Publishes the message in `payload`: one frame, the same bytes for every client. Clients that
    /// want only the basic fields of a quote share a second frame.
    pub(crate) fn publish(&mut self, meta: FrameMeta, now: Now) {
        if self.is_draining {
            return;
        }
        self.frame.clear();
        write_text_frame(&mut self.frame, &self.payload);
        self.publications += 1;
        let Self { hub, clients, frames, metrics, outputs, config, follow_up, slow, .. } = self;
        let (turn, turn_bytes, is_full) =
            (&mut self.turn, &mut self.turn_bytes, &mut self.is_one_full);
        let Some(stream) = hub.stream(meta.instrument) else { return };
        let has_basic = meta.is_quote() && stream.basic_count > 0;
        let basic = if has_basic { self.basic.bytes() } else { &[] };
        self.respelled.set(&stream.labels, stream.spellings(), (&self.payload, basic));
        let mut forms = Form::all(&self.frame, basic, self.respelled.frames());
        let groups = stream.interests_mut().chunk_by_mut(|a, b| a.client == b.client);
        for group in groups {
            let client = clients.at(group[0].client);
            if let [interest] = &*group
                && client.is_flowing()
                && interest.is_settled(&meta)
            {
                if !interest.wants(&meta) {
                    continue;
                }
                let form = &mut forms[interest.form(has_basic && interest.is_basic)];
                if let Some(ready) = form.part(turn).and_then(|part| client.flow(part, &meta)) {
                    form.sent += 1;
                    *is_full |= ready >= SHARE_BYTES_MAX;
                    continue;
                }
            }
            if client.is_closing() || !group.iter().any(|interest| interest.wants(&meta)) {
                continue;
            }
            let form = &mut forms[group[0].form(has_basic && is_basic(group, &meta))];
            if client.is_behind() {
                let id = form.owed(frames, meta);
                if client.outbox.owe(frames, id) {
                    metrics.conflated.increment();
                }
                group.iter_mut().for_each(|interest| interest.record(&meta));
                if client.outbox.bytes() > config.client_buffer_max {
                    client.phase = ClientPhase::Live { is_slow: true };
                    slow.push_back(client.id);
                }
                continue;
            }
            match form.part(turn) {
                Some(part) => client.append_part(turn, part),
                None => client.append_frames(turn, form.bytes),
            }
            form.sent += 1;
            *is_full |= client.is_full();
            if client.count(group, &meta) {
                follow_up.push(client.id);
            }
            if client.make_offer() {
                outputs.push_back(Output::Transmit { client: client.id });
            }
        }
        for form in forms {
            metrics.sent_messages.add(form.sent as u64);
            *turn_bytes += form.bytes.len() * form.sent;
        }
        self.follow_up(now);
    }

    /// Handles the clients for which the latest publication may have ended a subscription.
    fn follow_up(&mut self, now: Now) {
        while let Some(id) = self.follow_up.pop() {
            self.end_exhausted(id, now);
            self.accept_closed(id, now);
        }
    }

    /// Sends the running candle after the history.
    pub(crate) fn send_running(&mut self, id: ClientId, key: u32, of: InstrumentId, now: Now) {
        let newest = self.hub.stream(of).and_then(|stream| stream.latest(now));
        if newest.is_some_and(|update| !update.is_closed()) {
            self.send_latest(id, key, of, now);
        }
    }

    /// Sends a client the newest candle of an instrument to which one of its subscriptions has just
    /// begun. It counts for that subscription alone. A closed candle that another of its
    /// subscriptions has already received is not sent twice.
    pub(crate) fn send_latest(&mut self, id: ClientId, key: u32, of: InstrumentId, now: Now) {
        let Some(stream) = self.hub.stream(of) else { return };
        let Some(update) = stream.latest(now) else { return };
        let class = if update.is_closed() { Class::Closed } else { Class::Open };
        let meta = FrameMeta { class, hops: None, ..candle_meta(&update, self.publications, now) };
        let interests = stream.of_client(id.index);
        let own = interests.binary_search_by_key(&key, |interest| interest.key);
        let Ok(at) = own.map_err(|_| ()) else { return };
        let Some(client) = self.clients.find(id) else { return };
        let is_behind = client.is_behind();
        let is_known = interests
            .iter()
            .any(|other| other.key != key && other.wants(&meta) && (other.is_quoted || is_behind));
        let is_basic = interests[at].is_basic;
        if !interests[at].wants(&meta) || (class == Class::Closed && is_known) {
            return;
        }
        if is_basic {
            self.warn_basic_to(id, &update, now);
        }
        let Some(stream) = self.hub.stream(of) else { return };
        self.payload.clear();
        self.frame.clear();
        let (out, kind) = (&mut self.payload, CandleType::Quote);
        let end = stream.labels.write_candle(out, kind, &update, None, now);
        let behind = out.len() - end;
        stream.respell_for(id.index, out);
        let end = out.len() - behind;
        let bytes = if is_basic {
            self.basic.set(&self.payload[..end], true);
            self.basic.bytes()
        } else {
            write_text_frame(&mut self.frame, &self.payload);
            &self.frame
        };
        let Some(client) = self.clients.find(id) else { return };
        if is_behind {
            let frame = self.frames.insert(bytes, Some(meta));
            client.outbox.owe(&mut self.frames, frame);
            return;
        }
        client.append_frames(&mut self.turn, bytes);
        client.count(&mut stream.of_client(id.index)[at..=at], &meta);
        self.metrics.sent_messages.increment();
    }

    /// Moves what a client is owed into its outgoing bytes, as far as there is room.
    pub(crate) fn refill(&mut self, id: ClientId, now: Now) {
        loop {
            let Some(client) = self.clients.find(id) else { return };
            if !client.is_live() || client.ready_bytes() >= READY_BYTES_MAX {
                return;
            }
            let Some(owed) = client.outbox.pop(&self.frames) else { return };
            let may_have_ended = self.send_owed(id, owed);
            self.frames.release(owed.frame);
            if may_have_ended {
                self.end_exhausted(id, now);
            }
        }
    }

    /// Sends one owed frame if the client still wants it: a subscription may have ended meanwhile.
    /// Returns whether a subscription may have ended, or the close may be due.
    fn send_owed(&mut self, id: ClientId, Owed { frame, conflated }: Owed) -> bool {
        let Some(client) = self.clients.find(id) else { return false };
        let mut bytes = self.frames.bytes(frame);
        let Some(meta) = self.frames.meta(frame) else {
            client.append_frames(&mut self.turn, bytes);
            self.metrics.sent_messages.increment();
            return false;
        };
        let Some(stream) = self.hub.stream(meta.instrument) else { return false };
        let interests = stream.of_client(id.index);
        if !interests.iter().any(|interest| interest.wants(&meta)) {
            return false;
        }
        if conflated > 0 && !is_basic(interests, &meta) {
            mark_conflated(&mut self.payload, text_frame_payload(bytes), conflated);
            self.frame.clear();
            write_text_frame(&mut self.frame, &self.payload);
            bytes = &self.frame;
        }
        client.append_frames(&mut self.turn, bytes);
        self.metrics.sent_messages.increment();
        client.count(interests, &meta)
    }

    /// Notes that the driver has written the first `count` outgoing bytes of a client.
    ///
    /// When all are written, what is owed refills them: closed candles and answers first, then the
    /// newest open candles.
    ///
    /// # Panics
    /// If `count` exceeds what was outgoing.
    pub fn consume_outgoing(&mut self, id: ClientId, count: usize, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        client.consume_outgoing(&mut self.turn, count);
        self.metrics.sent_bytes.add(count as u64);
        if client.ready_bytes() > 0 {
            if count > 0 && client.pinged.is_some() {
                // The client takes what it is sent. Its pong may wait behind that.
                client.pinged = Some(now.mono);
            }
            return;
        }
        client.written(&mut self.turn);
        if let Some(meta @ FrameMeta { hops: Some(hops), .. }) = client.take_oldest() {
            self.metrics.received_to_written.record_ns(now.mono.ns_since(hops.received));
            self.metrics.taken_to_written.record_ns(now.mono.ns_since(hops.taken));
            self.slowest.record(&meta, &hops, now.mono);
        }
        match client.phase {
            ClientPhase::Flushing { .. } => self.shut_down(id, now),
            ClientPhase::Live { .. } => {
                self.refill(id, now);
                self.send_ready_history(id, now);
                self.accept_closed(id, now);
                self.offer(id);
                self.arm(id);
            }
            ClientPhase::Handshaking { .. } | ClientPhase::Draining { .. } => {}
        }
    }

    /// Closes a client that is owed too much. The close reason names the open time up to which it
    /// has all closed candles.
    pub(crate) fn close_slow(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id).filter(|client| client.is_live()) else { return };
        let hub = &self.hub;
        let interval = |id| hub.find_instrument(id).map(|one| one.interval);
        let owed = client.outbox.oldest_closed(&self.frames, interval);
        let since = owed.map(|(interval, open_time)| open_time.0 - interval.ms());
        let since = since.or(client.newest_closed.map(|open_time| open_time.0));
        let reason = match since {
            Some(since) => format!("too slow; complete up to \"since\":{since}"),
            None => "too slow; no closed candle was missed".to_owned(),
        };
        self.metrics.slow_disconnects.increment();
        let text = format!("client {} was closed (1013): {reason}", client.peer);
        self.notice(EventName::ClientSlow, text);
        self.close(id, CLOSE_SLOW, &reason, now);
    }

    /// Closes a client when nothing is owed: in answer to its own Close or FIN, or after all its
    /// limits, or for the drain.
    pub(crate) fn accept_closed(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id).filter(|client| client.is_live()) else { return };
        let is_late =
            client.pending_close.is_some_and(|pending_close| pending_close.until <= now.mono);
        if !is_late && (client.handling == Handling::NextTurn || !client.outbox.is_empty()) {
            return;
        }
        let is_served = client.is_served && client.subscriptions.is_empty();
        if is_served || client.is_close_due(now) {
            // After the client's own Close, this answers it with the client's code.
            self.close(id, CLOSE_NORMAL, "", now);
        } else if self.is_draining || client.is_draining {
            self.close(id, CLOSE_GOING_AWAY, self.drain_kind.reason(), now);
        }
    }
}

fn candle_class(update: &CandleUpdate) -> Class {
    match (update.is_closed(), update.revision) {
        (false, _) => Class::Open,
        (true, 0) => Class::Closed,
        (true, _) => Class::Correction,
    }
}

fn candle_meta(update: &CandleUpdate, serial: u64, now: Now) -> FrameMeta {
    FrameMeta {
        instrument: update.instrument,
        class: candle_class(update),
        open_time: update.candle.open_time,
        hops: (update.source == Source::Ws).then(|| Hops::new(update, now.mono)),
        history_of: None,
        serial,
    }
}

/// The frame is shared, so the field for one client goes into a copy.
fn mark_conflated(out: &mut Vec<u8>, quote: &[u8], conflated: u32) {
    out.clear();
    out.extend_from_slice(quote);
    let brace = out.pop();
    assert_eq!(brace, Some(b'}'), "a quote is an object");
    write_unsigned(out, b",\"conflated\":", u64::from(conflated));
    out.push(b'}');
}

/// Close codes, RFC 6455 section 7.4.1 and IANA's registry.
pub(crate) const CLOSE_NORMAL: u16 = 1000;
pub(crate) const CLOSE_GOING_AWAY: u16 = 1001;
pub(crate) const CLOSE_POLICY: u16 = 1008;
const CLOSE_SLOW: u16 = 1013;
