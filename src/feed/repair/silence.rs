//! Silent streams: acknowledged but never delivering. Owns their REST checks and what follows from
//! the answers; other files see whether a stream delivers.
//!
//! A quiet instrument looks like a dead stream. The difference: for a dead stream the exchange's
//! own newest candle changes between two answers while the session delivers nothing.

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::Feed;
use crate::feed::limits::budget::Claim;
use crate::feed::session::{Delivery, Session, SessionPhase, Succession};
use crate::feed::stream::{Check, RestPurpose, Shown};
use crate::market::{Candle, Instrument, InstrumentId, Span};
use crate::messages::RestResponse;
use crate::metrics::ConnectionErrorKind;
use crate::venue::{self, RestCandle, RestCandles, SymbolCheck};

impl Feed {
    /// Plans a check of each of `members`, which the exchange has just acknowledged on the session.
    pub(crate) fn arm_checks(&mut self, index: usize, members: &[InstrumentId], now: MonoNs) {
        for &id in members {
            let Some(stream) = self.streams.stream(id) else { continue };
            let Instrument { market, symbol, .. } = &stream.instrument;
            let at = now.after(self.patience_with(*market, symbol));
            let stream = self.streams.stream_mut(id);
            if let Some(stream) = stream.filter(|stream| stream.is_wanted && !stream.is_delivering)
                && stream.check == Check::Idle
            {
                stream.asked_at = now;
                stream.check = Check::Due { at, shown: None };
                let next = &mut self.sessions[index].next_check;
                *next = at.min(*next);
            }
        }
    }

    /// Queues a check of each member that is due for one.
    pub(crate) fn collect_checks(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        session.next_check = MonoNs(u64::MAX);
        for &id in &session.members {
            let Some(stream) = self.streams.stream_mut(id) else { continue };
            let Check::Due { at, shown } = stream.check else { continue };
            if stream.is_delivering {
                stream.check = Check::Idle;
            } else if at <= now {
                stream.check = Check::Asked { shown };
                let purpose = match stream.claim() {
                    Claim::Served => RestPurpose::Silent,
                    Claim::New => RestPurpose::Symbol,
                };
                self.rest_queue.push(session.market, purpose, id);
            } else {
                session.next_check = session.next_check.min(at);
            }
        }
    }

    /// Takes the answer of a check. `offset_ms` is the market's clock minus our monotonic clock
    /// when the request was sent.
    pub(crate) fn finish_check(
        &mut self,
        id: InstrumentId,
        offset_ms: i64,
        result: &Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let Check::Asked { shown } = stream.check else { return };
        stream.check = Check::Idle;
        let Instrument { market, interval, ref symbol } = stream.instrument;
        let asked = (&**symbol, interval);
        let is_settled = stream.is_delivering || !stream.is_wanted;
        if shown.is_none() {
            stream.check_wait = Duration::ZERO;
        }
        let verdict = match result {
            Ok(response) => venue::read_symbol_check(market, &mut self.json, response, asked),
            Err(_) => SymbolCheck::Undecided,
        };
        if is_settled {
            return;
        }
        self.begin_silent(id, result, now);
        let (idle, now) = (self.config.stream_idle_timeout, now.mono);
        match verdict {
            SymbolCheck::Unknown { message } => self.reject_unknown(id, &message, now),
            SymbolCheck::Undecided if self.is_long_silent(id, now) => {
                self.lose_silent(id, shown, "nothing is delivered for minutes", now);
            }
            SymbolCheck::Undecided => self.recheck(id, shown, idle, now),
            SymbolCheck::Known { fingerprint } => {
                let new = Shown { fingerprint, offset_ms };
                match shown.filter(|old| old.is_comparable(new, interval)) {
                    Some(old) if new.is_news_after(old) => {
                        self.judge_silent(id, shown, Some(new), now);
                    }
                    Some(_) => {
                        let wait = self.next_check_wait(id, idle / 2);
                        self.recheck(id, Some(new), wait, now);
                    }
                    None => self.recheck(id, Some(new), idle / 2, now),
                }
            }
        }
    }

    /// The pause before the next check, which doubles while the symbol is quiet.
    fn next_check_wait(&mut self, id: InstrumentId, first: Duration) -> Duration {
        let Some(stream) = self.streams.stream_mut(id) else { return first };
        let wait = stream.check_wait.max(first);
        stream.check_wait = (wait * 2).min(CHECK_WAIT_MAX.max(first));
        wait
    }

    fn recheck(&mut self, id: InstrumentId, shown: Option<Shown>, wait: Duration, now: MonoNs) {
        self.bring_forward(id, now.after(wait), shown);
    }

    /// Plans a check of `id` at this time, made if the stream is still silent then.
    pub(crate) fn bring_forward(&mut self, id: InstrumentId, at: MonoNs, shown: Option<Shown>) {
        let Some(index) = self.carrier(id) else { return };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.check = Check::Due { at, shown };
        let next = &mut self.sessions[index].next_check;
        *next = at.min(*next);
    }

    /// When a session that has delivered has been silent for long enough to be checked.
    pub(crate) fn suspect_silence_at(&self, session: &Session) -> MonoNs {
        match session.has_delivered() {
            true => session.last_candle.after(self.config.stream_idle_timeout),
            false => MonoNs(u64::MAX),
        }
    }

    /// Checks a session that has delivered and fell silent, although its pings may be answered. It
    /// must prove itself again. One member is checked for all.
    pub(crate) fn suspect_silence(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        session.delivery = Delivery::Silent;
        let Some(&id) = session.members.first() else { return };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.is_delivering = false;
        if !matches!(stream.check, Check::Asked { .. }) {
            stream.check = Check::Due { at: now, shown: None };
            session.next_check = now;
        }
    }

    /// Handles a symbol with news at the exchange that its session did not deliver. A session that
    /// is silent as a whole is lost if it still is after some time; otherwise the one stream is
    /// subscribed again.
    fn judge_silent(
        &mut self,
        id: InstrumentId,
        old: Option<Shown>,
        shown: Option<Shown>,
        now: MonoNs,
    ) {
        let Some(index) = self.carrier(id) else { return };
        let session = &mut self.sessions[index];
        if !session.is_open() {
            return;
        }
        if session.has_delivered() {
            session.subscribe_queue.renew(id);
            if let Some(stream) = self.streams.stream_mut(id) {
                stream.asked_at = now;
                stream.mark_break(now);
            }
            return self.recheck(id, shown, RECHECK_LONE, now);
        }
        if session.delivery == Delivery::Silent {
            session.delivery = Delivery::Suspect;
            return self.recheck(id, old, self.config.stream_idle_timeout / 2, now);
        }
        self.lose_silent(id, old, "nothing is delivered, though the exchange has news", now);
    }

    /// Looks in the closed windows `rows` of `span` for news that a silent stream did not deliver:
    /// a window with trades that began after the subscription. Checks of the newest row alone may
    /// all fall into quiet minutes.
    pub(crate) fn judge_by_closed(
        &mut self,
        id: InstrumentId,
        span: Span,
        rows: &RestCandles,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream(id) else { return };
        let Check::Due { shown, .. } = stream.check else { return };
        if stream.is_delivering || !stream.is_wanted {
            return;
        }
        let silent = now.mono.since(stream.silent_since()).as_millis();
        let exchange_now = self.clocks[stream.instrument.market.index()].now(now);
        let since = exchange_now.0.saturating_sub(i64::try_from(silent).unwrap_or(i64::MAX));
        let is_news = |row: &RestCandle| {
            let Candle { open_time, volume, .. } = row.candle;
            let is_closed = span.contains(open_time) && !stream.series.is_owed(open_time);
            is_closed && open_time.0 >= since && !volume.is_zero()
        };
        if rows.candles.iter().any(is_news) {
            self.judge_silent(id, shown, shown, now.mono);
        }
    }

    /// Returns whether the session was silent for whole windows, which decides if REST has no
    /// answer.
    fn is_long_silent(&self, id: InstrumentId, now: MonoNs) -> bool {
        let Some(stream) = self.streams.stream(id) else { return false };
        let long = Duration::from_millis(stream.instrument.interval.ms().unsigned_abs());
        let session = self.carrier(id).map(|index| &self.sessions[index]);
        session.is_some_and(|session| match session.phase {
            SessionPhase::Open { .. } => {
                !session.has_delivered() && session.last_candle.after(long * LONG_SILENCE) <= now
            }
            _ => false,
        })
    }

    /// Ends a session that delivers nothing, unless no new one may be opened: a session that may
    /// deliver again is better than none.
    fn lose_silent(&mut self, id: InstrumentId, old: Option<Shown>, why: &str, now: MonoNs) {
        let Some(index) = self.carrier(id) else { return };
        let session = &mut self.sessions[index];
        if self.gates.sessions_at(session.market, Claim::Served) > now {
            return self.recheck(id, old, self.config.stream_idle_timeout, now);
        }
        session.is_alternate = !session.is_alternate;
        if let Some(wire) = &mut session.wire {
            wire.send_close(1000, "");
        }
        self.lose_to(index, ConnectionErrorKind::Silent, why, now);
    }

    /// The place of the session that carries `id`.
    pub(crate) fn carrier(&self, id: InstrumentId) -> Option<usize> {
        self.sessions.iter().position(|session| {
            session.succession != Succession::Replaced && session.members.contains(&id)
        })
    }
}

/// Pause between checks of a silent stream among delivering ones. Source: chosen.
const RECHECK_LONE: Duration = Duration::from_secs(60);

/// Longest pause between two checks of a quiet symbol. Source: chosen.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(600);

/// Number of windows after which a session without a push is lost. Source: two of them are whole,
/// and even a window without trades is pushed when it closes.
const LONG_SILENCE: u32 = 3;
