//! Joins history and stream: what `history` and `since` ask for is sent first, oldest first, then
//! what is published. Owns the wait for it. Meanwhile the subscription receives nothing of the
//! series, so that nothing overtakes and nothing comes twice.

use std::cmp::Reverse;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::fanout::derive::derived_windows_max;
use crate::fanout::frame::{Class, FrameMeta};
use crate::fanout::protocol::candle_source::HistoryRequest;
use crate::fanout::protocol::encode::CandleType;
use crate::fanout::protocol::messages::Refusal;
use crate::fanout::series::{CatchUp, Series};
use crate::fanout::{ClientId, Fanout, Timer};
use crate::limits::{PAST_PATIENCE, PAST_PATIENCE_MAX, READY_BYTES_MAX};
use crate::market::{ClosedWindow, Instrument, InstrumentId, Interval, Span};
use crate::messages::{BackfillFrom, Command, Wish};
use crate::wire::write_text_frame;

/// The next step for a subscription that waits for history.
enum Step {
    Wait,
    /// Ask the shard for these windows, as in [`Command::Backfill`].
    Ask(BackfillFrom, Option<UnixMs>),
    /// Send what is known.
    Ready,
    /// More is wanted than is kept: from the first to the last window.
    TooOld(Span),
}

impl CatchUp {
    pub(crate) fn new(
        client: ClientId,
        key: u32,
        past: HistoryRequest,
        serial: u64,
        now: Now,
    ) -> Self {
        let (begun, first, ticket, asked_to) = (now.mono, None, 0, None);
        Self { client, key, past, serial, begun, first, ticket, asked_to }
    }

    /// What the shard needs to know about the asking client.
    fn wish(&self) -> Wish {
        let resumes = matches!(self.past, HistoryRequest::Since(_));
        Wish { client: self.client.index, ticket: self.ticket, resumes }
    }

    /// When REST has had its time. `progress`: when REST last answered with a past window of any
    /// series of the market. Until then this subscription waits for its turn.
    fn deadline(&self, progress: MonoNs) -> MonoNs {
        let paced = self.begun.max(progress).after(PAST_PATIENCE);
        paced.min(self.begun.after(PAST_PATIENCE_MAX))
    }

    /// The first window that is wanted, where `end` is the last one.
    fn first_of(&self, end: UnixMs, interval: Interval) -> UnixMs {
        match self.past {
            HistoryRequest::Last(count) => UnixMs(end.0 - (i64::from(count) - 1) * interval.ms()),
            HistoryRequest::Since(since) => UnixMs(interval.open_time(since).0 + interval.ms()),
        }
    }

    /// The next step. `is_over`: REST has had its time.
    fn step(&mut self, stream: &mut Series, kept: u64, is_over: bool) -> Step {
        let interval = stream.labels.interval();
        let Some(newest) = stream.history.newest() else {
            return if is_over { Step::Ready } else { self.ask_for_begin(stream) };
        };
        let is_new = self.first.is_none();
        let first = *self.first.get_or_insert(self.first_of(newest, interval));
        let Some(span) = Span::new(first, newest) else { return Step::Ready };
        // While the subscription waits, more windows are kept for it.
        if is_new && span.count(interval) > kept {
            return Step::TooOld(span);
        }
        let is_answered = stream.backfills.is_ended(self.ticket);
        // The next answer would not bring the windows that the last answer left out.
        let closed_to = self.asked_to.filter(|_| is_answered);
        let open = closed_to.map_or(first, |last| UnixMs(last.0 + interval.ms()).max(first));
        let open = Span::new(open, newest);
        let absent = open.map_or_else(Vec::new, |open| stream.history.unasked(open, interval));
        match (absent.first(), absent.last()) {
            (Some(oldest), Some(last)) if is_answered && !is_over => {
                self.ask_for(stream, Span { first: oldest.first, last: last.last })
            }
            (Some(_), Some(_)) if !is_over => Step::Wait,
            _ => Step::Ready,
        }
    }

    /// Asks the shard for the beginning of the stream, which is not known.
    fn ask_for_begin(&mut self, stream: &mut Series) -> Step {
        if self.ticket > 0 {
            return Step::Wait;
        }
        if let Some(ticket) = stream.backfills.find(|asked| asked.is_none()) {
            self.ticket = ticket;
            return Step::Wait;
        }
        self.ticket = stream.backfills.ask(None);
        let count = match self.past {
            HistoryRequest::Last(count) => count,
            HistoryRequest::Since(_) => 1,
        };
        Step::Ask(BackfillFrom::Last(count), None)
    }

    /// Asks the shard for these windows, unless it is asked already.
    fn ask_for(&mut self, stream: &mut Series, span: Span) -> Step {
        let covers = |asked: Span| asked.contains(span.first) && asked.contains(span.last);
        self.asked_to = Some(span.last);
        if let Some(ticket) = stream.backfills.find(|asked| asked.is_some_and(covers)) {
            self.ticket = ticket;
            return Step::Wait;
        }
        self.ticket = stream.backfills.ask(Some(span));
        Step::Ask(BackfillFrom::Window(span.first), Some(span.last))
    }
}

impl Fanout {
    /// Begins to serve the history of `of` to a subscription: at once if all of it is known.
    pub(crate) fn begin_catch_up(&mut self, catch_up: CatchUp, of: InstrumentId, now: Now) {
        let Some(stream) = self.hub.stream(of) else { return };
        stream.history.pin();
        stream.catch_ups.push(catch_up);
        self.further_catch_ups(of, now);
    }

    /// Takes the next step for every waiting subscription of a series: after the answer to a
    /// backfill, or after a timeout.
    pub(crate) fn further_catch_ups(&mut self, of: InstrumentId, now: Now) {
        let kept = self.kept_windows(of) as u64;
        let progress = self.backfill_progress[self.hub.instrument(of).market.index()];
        let is_over = |catch_up: &CatchUp| catch_up.deadline(progress) <= now.mono;
        let Some(stream) = self.hub.stream(of) else { return };
        if stream.catch_ups.iter().any(is_over) {
            self.publish_complete_windows(of, now);
        }
        let Some(stream) = self.hub.stream(of) else { return };
        let mut catch_ups = std::mem::take(&mut stream.catch_ups);
        let (mut commands, mut too_old, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        for catch_up in &mut catch_ups {
            let (id, key) = (catch_up.client, catch_up.key);
            let is_over = is_over(catch_up);
            match catch_up.step(stream, kept, is_over) {
                Step::Wait => {}
                Step::Ask(from, to) => {
                    let wish = catch_up.wish();
                    commands.push(Command::Backfill { id: of, from, to, wish });
                }
                Step::Ready => ready.push((id, key)),
                Step::TooOld(span) => too_old.push((id, key, span)),
            }
        }
        stream.catch_ups = catch_ups;
        commands.into_iter().for_each(|command| self.command(of, command, now));
        for (id, key, span) in too_old {
            self.refuse_too_old(id, key, of, span, now);
        }
        for (id, key) in ready {
            if let Some(client) = self.clients.find(id)
                && !client.catch_ups.contains(&(key, of))
            {
                client.catch_ups.push_back((key, of));
                self.send_ready_history(id, now);
            }
        }
        self.arm_catch_ups(of, now);
    }

    /// Sets the timer for the end of REST's time.
    fn arm_catch_ups(&mut self, of: InstrumentId, now: Now) {
        let Some(market) = self.hub.find_instrument(of).map(|one| one.market) else { return };
        let progress = self.backfill_progress[market.index()];
        let Some(stream) = self.hub.stream(of).filter(|stream| !stream.is_catch_up_timed) else {
            return;
        };
        // Those with an expired deadline wait for their client's socket.
        let deadlines = stream.catch_ups.iter().map(|catch_up| catch_up.deadline(progress));
        let Some(first) = deadlines.filter(|&at| at > now.mono).min() else { return };
        stream.is_catch_up_timed = true;
        self.timers.push(Reverse((first, Timer::CatchUps(of))));
    }

    /// REST may have had its time for some waiting subscriptions of a series.
    pub(crate) fn catch_ups_timeout(&mut self, of: InstrumentId, now: Now) {
        let Some(stream) = self.hub.stream(of) else { return };
        stream.is_catch_up_timed = false;
        if !stream.catch_ups.is_empty() {
            self.further_catch_ups(of, now);
        }
    }

    /// Notes that REST has answered with a past window of a series.
    pub(crate) fn record_backfill_progress(&mut self, of: InstrumentId, now: Now) {
        if let Some(instrument) = self.hub.find_instrument(of) {
            self.backfill_progress[instrument.market.index()] = now.mono;
        }
    }

    /// Number of closed windows of a series that a client may get. A derived series has no more
    /// than its minutes can be asked for.
    fn kept_windows(&self, of: InstrumentId) -> usize {
        let kept = self.config.history_candles;
        match self.hub.base(of) {
            Some(_) => kept.min(derived_windows_max(self.hub.instrument(of).interval)),
            None => kept,
        }
    }

    /// Rejects a subscription that wants more than is kept.
    fn refuse_too_old(
        &mut self,
        id: ClientId,
        key: u32,
        of: InstrumentId,
        Span { first, last: newest }: Span,
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

    /// Sends a client the history that is ready for it, series by series, as long as the client
    /// keeps up.
    pub(crate) fn send_ready_history(&mut self, id: ClientId, now: Now) {
        loop {
            let Some(client) = self.clients.find(id) else { return };
            let owed = client.outbox.bytes() + client.ready_bytes();
            if owed >= READY_BYTES_MAX {
                return;
            }
            let Some((key, of)) = client.catch_ups.pop_front() else { return };
            self.end_catch_up(id, key, of, now);
            self.offer(id);
        }
    }

    fn end_catch_up(&mut self, id: ClientId, key: u32, of: InstrumentId, now: Now) {
        let Some(&Instrument { interval, .. }) = self.hub.find_instrument(of) else { return };
        let Some(stream) = self.hub.stream(of) else { return };
        let own = |catch_up: &CatchUp| catch_up.client == id && catch_up.key == key;
        let Some(at) = stream.catch_ups.iter().position(own) else { return };
        let catch_up = stream.catch_ups.swap_remove(at);
        stream.history.unpin();
        let Some(newest) = self.hub.history_end(of) else {
            return self.catch_up_without_stream(&catch_up, of, now);
        };
        let first = catch_up.first.unwrap_or_else(|| catch_up.first_of(newest, interval));
        if let HistoryRequest::Since(since) = catch_up.past
            && since.0 > newest.0 + 2 * interval.ms()
            && since.0 > now.unix_ms().0 + CLOCKS_APART_MS
        {
            return self.refuse_future(&catch_up, of, (since, newest), now);
        }
        let Some(stream) = self.hub.stream(of) else { return };
        let span = Span::new(first, newest);
        let absent = span.map_or_else(Vec::new, |span| stream.history.absent(span, interval));
        let unasked = span.map_or_else(Vec::new, |span| stream.history.unasked(span, interval));
        if let (HistoryRequest::Since(_), false) = (catch_up.past, unasked.is_empty()) {
            return self.refuse_incomplete(&catch_up, of, absent, now);
        }
        for interest in stream.of_client(id.index).iter_mut().filter(|one| one.key == key) {
            (interest.is_catching_up, interest.is_begun, interest.first) = (false, true, first);
            interest.since_serial = self.publications;
        }
        let known: Vec<ClosedWindow> =
            span.into_iter().flat_map(|span| stream.history.known(span)).copied().collect();
        self.send_restated(id, &catch_up, of, first, now);
        let mut gaps = absent.iter().peekable();
        for closed_window in &known {
            while let Some(gap) = gaps.next_if(|gap| gap.first < closed_window.open_time()) {
                self.send_absent(id, key, of, *gap, now);
            }
            self.send_closed(id, key, of, closed_window, now);
        }
        gaps.for_each(|gap| self.send_absent(id, key, of, *gap, now));
        self.payload.clear();
        let absent: u64 = absent.iter().map(|span| span.count(interval)).sum();
        if let Some(stream) = self.hub.stream(of) {
            let counts = (known.len() as u64, absent);
            let windows = Some((first, newest));
            stream.labels.write_history(&mut self.payload, windows, counts, now);
            stream.respell_for(id.index, &mut self.payload);
        }
        self.send_payload(id);
        self.send_running(id, key, of, now);
        self.accept_closed(id, now);
    }

    /// Nothing has arrived for a series, and REST has had its time: the end of its history is
    /// unknown. The client receives the number of windows that it does not get, and then what is
    /// published.
    fn catch_up_without_stream(&mut self, catch_up: &CatchUp, of: InstrumentId, now: Now) {
        let interval = self.hub.instrument(of).interval;
        let (id, key) = (catch_up.client, catch_up.key);
        let count = match catch_up.past {
            HistoryRequest::Last(count) => u64::from(count),
            HistoryRequest::Since(_) => {
                let running = interval.open_time(now.unix_ms());
                let first = catch_up.first_of(running, interval);
                let last = UnixMs(running.0 - interval.ms()).max(first);
                return self.refuse_incomplete(catch_up, of, vec![Span { first, last }], now);
            }
        };
        let Some(stream) = self.hub.stream(of) else { return };
        for interest in stream.of_client(id.index).iter_mut().filter(|one| one.key == key) {
            (interest.is_catching_up, interest.since_serial) = (false, self.publications);
        }
        self.payload.clear();
        stream.labels.write_history(&mut self.payload, None, (0, count), now);
        stream.respell_for(id.index, &mut self.payload);
        self.send_payload(id);
        self.accept_closed(id, now);
    }

    /// Rejects a client that resumes after a candle that no server can have sent: by the exchange's
    /// candles and by our clock.
    fn refuse_future(
        &mut self,
        catch_up: &CatchUp,
        of: InstrumentId,
        (since, newest): (UnixMs, UnixMs),
        now: Now,
    ) {
        let Instrument { market, symbol, .. } = self.hub.instrument(of).clone();
        let message = format!(
            "\"since\": {} lies in the future; the newest closed candle of {symbol} opened at {}",
            since.0, newest.0
        );
        let refusal = Refusal::field("since_in_future", "since", message).about(market);
        let refusal = Refusal { symbols: vec![symbol.to_string()], ..*refusal };
        self.refuse_symbol(catch_up.client, catch_up.key, of, &refusal, now);
    }

    /// Rejects a client that resumes, since these windows are missing.
    fn refuse_incomplete(
        &mut self,
        catch_up: &CatchUp,
        of: InstrumentId,
        missing: Vec<Span>,
        now: Now,
    ) {
        let Instrument { market, symbol, .. } = self.hub.instrument(of).clone();
        let message = format!(
            "\"since\": not every closed candle of {symbol} after it could be had; \"missing\" \
             names the open times; try again, or subscribe without \"since\" or with a later one"
        );
        let refusal = Refusal {
            symbols: vec![symbol.to_string()],
            missing,
            ..*Refusal::field("since_incomplete", "since", message).about(market)
        };
        self.refuse_symbol(catch_up.client, catch_up.key, of, &refusal, now);
    }

    /// Sends the corrections of windows before `first`, where the history begins. A client that
    /// resumes may have missed them, and a waiting one received none.
    fn send_restated(
        &mut self,
        id: ClientId,
        catch_up: &CatchUp,
        of: InstrumentId,
        first: UnixMs,
        now: Now,
    ) {
        let is_resumed = matches!(catch_up.past, HistoryRequest::Since(_));
        let Some(stream) = self.hub.stream(of) else { return };
        let missed = stream.history.corrections_before(first).into_iter();
        for restated in missed.filter(|one| is_resumed || one.serial >= catch_up.serial) {
            let Some(stream) = self.hub.stream(of) else { return };
            let Some(ClosedWindow::Candle(update)) = stream.history.at(restated.open_time).copied()
            else {
                continue;
            };
            let (kind, previous) = (CandleType::Correction, restated.previous.as_ref());
            self.payload.clear();
            stream.labels.write_candle(&mut self.payload, kind, &update, previous, now);
            stream.respell_for(id.index, &mut self.payload);
            self.send_history(id, catch_up.key, of, (Class::Correction, restated.open_time));
        }
    }

    fn send_closed(
        &mut self,
        id: ClientId,
        key: u32,
        of: InstrumentId,
        closed_window: &ClosedWindow,
        now: Now,
    ) {
        let Some(stream) = self.hub.stream(of) else { return };
        self.payload.clear();
        match closed_window {
            ClosedWindow::Candle(update) => {
                stream.labels.write_candle(&mut self.payload, CandleType::Quote, update, None, now);
            }
            ClosedWindow::Empty { open_time } => {
                stream.labels.write_empty(&mut self.payload, *open_time, now);
            }
        }
        stream.respell_for(id.index, &mut self.payload);
        if matches!(closed_window, ClosedWindow::Candle(_))
            && let Some(interest) =
                stream.of_client(id.index).iter_mut().find(|interest| interest.key == key)
            && !std::mem::replace(&mut interest.is_quoted, true)
            && let Some(client) = self.clients.find(id)
        {
            client.subscription(key).unquoted -= 1;
        }
        self.send_history(id, key, of, (Class::Closed, closed_window.open_time()));
    }

    fn send_absent(&mut self, id: ClientId, key: u32, of: InstrumentId, gap: Span, now: Now) {
        let interval = self.hub.instrument(of).interval;
        let Some(stream) = self.hub.stream(of) else { return };
        self.payload.clear();
        let missing = gap.count(interval);
        stream.labels.write_gap(&mut self.payload, gap.first, missing, "unavailable", now);
        stream.respell_for(id.index, &mut self.payload);
        self.send_history(id, key, of, (Class::Gap, gap.first));
    }

    /// Sends the message in `payload`: at once, or after what the client is owed.
    fn send_history(
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
            let (history_of, serial) = (Some(key), self.publications);
            let meta =
                FrameMeta { instrument: of, class, open_time, hops: None, history_of, serial };
            let frame = self.frames.insert(&self.frame, Some(meta));
            client.outbox.owe(&mut self.frames, frame);
        } else {
            client.append_frames(&mut self.turn, &self.frame);
            self.metrics.sent_messages.increment();
        }
    }
}

/// Clocks of two hosts differ by less. Source: both are synchronised over the network.
const CLOCKS_APART_MS: i64 = 60_000;
