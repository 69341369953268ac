//! Acknowledged but silent: streams that never deliver. Owns the questions to the exchange's REST
//! interface and what follows from the answers; whether a stream delivers is seen elsewhere.
//!
//! A quiet instrument looks like a dead stream. What tells them apart is that the exchange's own
//! newest candle changes between two answers while the session says nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::{Instrument, InstrumentId, Interval, Market};
use crate::messages::{RestRequest, RestResponse, Severity};
use crate::metrics::ConnectionErrorKind;
use crate::venue::{self, RestError, RestQuery, SymbolCheck};

use super::gate::Gates;
use super::plan::Check;
use super::session::{Phase, Session};
use super::{Feed, Output};

/// What an exchange's REST interface is asked about an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Whether the symbol exists and has news.
    Symbol,
    /// How its unclosed candle ended.
    Close,
}

/// Questions under way and waiting.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Instruments to ask about; each at most once for each purpose.
    waiting: VecDeque<(Purpose, InstrumentId)>,
    /// Requests under way, at most [`ASKED_MAX`].
    asked: Vec<Asked>,
    next_id: u64,
}

#[derive(Debug)]
struct Asked {
    request: u64,
    purpose: Purpose,
    instrument: InstrumentId,
    /// When the answer is taken for lost.
    until: MonoNs,
}

impl Questions {
    pub(super) fn push(&mut self, purpose: Purpose, id: InstrumentId) {
        self.waiting.push_back((purpose, id));
    }

    /// When a waiting question may be asked or an answer is overdue, if nothing else brings it on.
    pub(super) fn deadline(&self, now: MonoNs, gates: &Gates) -> Option<MonoNs> {
        let has_room = !self.waiting.is_empty() && self.asked.len() < ASKED_MAX;
        let ask = if has_room { gates.next_rest_at(now) } else { None };
        ask.into_iter().chain(self.asked.iter().map(|asked| asked.until)).min()
    }
}

impl Feed {
    /// Those of `members` that were acknowledged on a session and may turn out to be silent.
    pub(super) fn arm_checks(&mut self, index: usize, members: &[InstrumentId], now: MonoNs) {
        for &id in members {
            let Some(stream) = self.streams.stream(id) else { continue };
            let Instrument { market, symbol, .. } = &stream.instrument;
            let at = now.after(self.patience_with(*market, symbol));
            let stream = self.streams.stream_mut(id);
            if let Some(stream) = stream.filter(|stream| stream.is_wanted && !stream.is_delivering)
                && stream.check == Check::Idle
            {
                stream.check = Check::Due { at, fingerprint: None };
                let next = &mut self.sessions[index].next_check;
                *next = at.min(*next);
            }
        }
    }

    /// Puts the members of a session that are due to be looked at into the queue.
    pub(super) fn collect_checks(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        session.next_check = MonoNs(u64::MAX);
        for &id in &session.members {
            let Some(stream) = self.streams.stream_mut(id) else { continue };
            let Check::Due { at, fingerprint } = stream.check else { continue };
            if stream.is_delivering {
                stream.check = Check::Idle;
            } else if at <= now {
                stream.check = Check::Asked { fingerprint };
                self.questions.push(Purpose::Symbol, id);
            } else {
                session.next_check = session.next_check.min(at);
            }
        }
    }

    /// Asks as much as may be asked at once.
    pub(super) fn ask_questions(&mut self, now: Now) {
        while let Some(lost) = self.questions.asked.iter().find(|asked| asked.until <= now.mono) {
            self.finish_question(lost.request, Err("no answer came".to_owned()), now);
        }
        for _ in 0..self.questions.waiting.len() {
            if self.questions.asked.len() >= ASKED_MAX || self.is_stopping {
                return;
            }
            let Some((purpose, id)) = self.questions.waiting.pop_front() else { return };
            let Some(stream) = self.streams.stream_mut(id) else { continue };
            let market = stream.instrument.market;
            let is_moot = match purpose {
                Purpose::Symbol => {
                    let is_asked = matches!(stream.check, Check::Asked { .. });
                    if is_asked && stream.is_delivering {
                        stream.check = Check::Idle;
                    }
                    !is_asked || stream.is_delivering
                }
                Purpose::Close => {
                    let open_time = stream.newest_open.as_ref().map(|(_, open)| open.open_time);
                    let is_closed = stream.series.watermark() >= open_time;
                    stream.is_closing &= stream.is_wanted && !is_closed;
                    !stream.is_closing
                }
            };
            if is_moot {
                continue;
            }
            if self.gates.rest_at(market) > now.mono {
                self.questions.push(purpose, id);
            } else {
                self.ask(purpose, id, now);
            }
        }
    }

    fn ask(&mut self, purpose: Purpose, id: InstrumentId, now: Now) {
        let Some(stream) = self.streams.stream(id) else { return };
        let Instrument { market, symbol, interval } = &stream.instrument;
        let (market, interval) = (*market, *interval);
        let base = &self.config.rest_bases[market.index()];
        let query = match (purpose, &stream.newest_open) {
            (Purpose::Close, Some((_, open))) => {
                let rows = i64::try_from(CLOSE_ROWS_MAX).expect("a small number");
                let newest = UnixMs(open.open_time.0 + (rows - 1) * interval.ms());
                let to = interval.open_time(now.unix_ms()).clamp(open.open_time, newest);
                venue::candles_query(market, base, symbol, interval, open.open_time, to)
            }
            _ => venue::symbol_check_query(market, base, symbol, interval, now.unix_ms()),
        };
        let request = self.questions.next_id;
        self.questions.next_id += 1;
        let until = now.mono.after(ANSWER_LOST);
        self.questions.asked.push(Asked { request, purpose, instrument: id, until });
        self.gates.group_mut(market).rest.spend(now.mono);
        let RestQuery { url, body, headers } = query;
        self.outputs.push_back(Output::Rest(RestRequest { id: request, url, body, headers }));
    }

    pub(super) fn finish_question(
        &mut self,
        request: u64,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let asked = &mut self.questions.asked;
        let Some(at) = asked.iter().position(|asked| asked.request == request) else { return };
        let Asked { purpose, instrument: id, .. } = asked.swap_remove(at);
        if let (Ok(response), Some(stream)) = (&result, self.streams.stream(id)) {
            let Instrument { market, interval, .. } = stream.instrument;
            self.note_limits(market, interval, response, now.mono);
        }
        match purpose {
            Purpose::Symbol => self.finish_check(id, &result, now.mono),
            Purpose::Close => self.learn_close(id, result, now),
        }
    }

    fn finish_check(
        &mut self,
        id: InstrumentId,
        result: &Result<RestResponse, String>,
        now: MonoNs,
    ) {
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let Check::Asked { fingerprint } = stream.check else { return };
        stream.check = Check::Idle;
        let Instrument { market, interval, .. } = stream.instrument;
        let is_settled = stream.is_delivering || !stream.is_wanted;
        let verdict = match result {
            Ok(response) => venue::read_symbol_check(market, &mut self.json, response, interval),
            Err(_) => SymbolCheck::Undecided,
        };
        if is_settled {
            return;
        }
        let idle = self.config.stream_idle_timeout;
        match verdict {
            SymbolCheck::Unknown { message } => self.reject_unknown(id, &message, now),
            SymbolCheck::Undecided if self.is_long_silent(id, now) => self.lose_silent(id, now),
            SymbolCheck::Undecided => self.recheck(id, fingerprint, idle, now),
            SymbolCheck::Known { fingerprint: new } => match fingerprint {
                Some(old) if old != new && new != 0 => self.judge_silent(id, old, new, now),
                _ => self.recheck(id, Some(new), idle / 2, now),
            },
        }
    }

    /// An exchange that said "too fast" is not asked again before its pause is over.
    fn note_limits(
        &mut self,
        market: Market,
        interval: Interval,
        response: &RestResponse,
        now: MonoNs,
    ) {
        let read = venue::read_candles(market, &mut self.json, response, interval);
        let Err(RestError::TooFast { wait }) = read else { return };
        let wait = wait.unwrap_or(RETRY_AFTER_DEFAULT);
        self.gates.group_mut(market).rest_blocked_until = now.after(wait);
        let text = format!("REST limit reached ({}): asking again in {wait:?}", response.status);
        self.notice(Severity::Warning, market, text);
    }

    fn recheck(&mut self, id: InstrumentId, fingerprint: Option<u64>, wait: Duration, now: MonoNs) {
        self.bring_forward(id, now.after(wait), fingerprint);
    }

    /// Asks about `id` at this time, if it is still silent.
    pub(super) fn bring_forward(&mut self, id: InstrumentId, at: MonoNs, fingerprint: Option<u64>) {
        let Some(index) = self.carrier(id) else { return };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.check = Check::Due { at, fingerprint };
        let next = &mut self.sessions[index].next_check;
        *next = at.min(*next);
    }

    /// When a session that has delivered is silent for so long that REST is asked about it.
    pub(super) fn doubt_at(&self, session: &Session) -> MonoNs {
        match session.has_delivered {
            true => session.last_candle.after(self.config.stream_idle_timeout),
            false => MonoNs(u64::MAX),
        }
    }

    /// A session has delivered and fell silent, though its pings may be answered: from here on it
    /// has to prove itself anew. One member speaks for all.
    pub(super) fn doubt(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        session.has_delivered = false;
        let Some(&id) = session.members.first() else { return };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.is_delivering = false;
        if !matches!(stream.check, Check::Asked { .. }) {
            stream.check = Check::Due { at: now, fingerprint: None };
            session.next_check = now;
        }
    }

    /// The exchange's candle of `id` changes and we are told nothing of it: if the whole session
    /// is silent, and still is when the push has had its time, it is lost; else the one stream is
    /// asked for again.
    fn judge_silent(&mut self, id: InstrumentId, old: u64, fingerprint: u64, now: MonoNs) {
        let Some(index) = self.carrier(id) else { return };
        let session = &mut self.sessions[index];
        if !session.is_open() {
            return;
        }
        if session.has_delivered {
            session.script.want_alone([id].into_iter());
            return self.recheck(id, Some(fingerprint), RECHECK_LONE, now);
        }
        if !std::mem::replace(&mut session.is_suspect, true) {
            return self.recheck(id, Some(old), self.config.stream_idle_timeout / 2, now);
        }
        self.lose_silent(id, now);
    }

    /// Where REST has no answer, whole windows without one push decide.
    fn is_long_silent(&self, id: InstrumentId, now: MonoNs) -> bool {
        let session = self.carrier(id).map(|index| &self.sessions[index]);
        session.is_some_and(|session| match session.phase {
            Phase::Open { .. } => {
                !session.has_delivered && session.last_candle.after(LONG_SILENCE) <= now
            }
            _ => false,
        })
    }

    fn lose_silent(&mut self, id: InstrumentId, now: MonoNs) {
        let Some(index) = self.carrier(id) else { return };
        let session = &mut self.sessions[index];
        session.is_alternate = !session.is_alternate;
        if let Some(wire) = &mut session.wire {
            wire.send_close(1000, "");
        }
        let why = "nothing is delivered, though the exchange has news";
        self.lose_to(index, ConnectionErrorKind::Silent, why, now);
    }

    /// The session on which `id` is to be delivered.
    pub(super) fn carrier(&self, id: InstrumentId) -> Option<usize> {
        self.sessions
            .iter()
            .position(|session| !session.is_replaced && session.members.contains(&id))
    }
}

/// Questions under way at once. Source: a check has weight 2 of 6,000 a minute; four answers of
/// 0.2 s are 1,200 a minute.
const ASKED_MAX: usize = 4;

/// An answer that has not come by then never will: the ops core gave it up long before.
/// Source: the largest `CONNECTOR_REST_TIMEOUT` that makes sense, twice.
const ANSWER_LOST: Duration = Duration::from_secs(60);

/// A silent stream beside delivering ones is asked about this often.
const RECHECK_LONE: Duration = Duration::from_secs(60);

/// Two whole windows of a minute: even one without trades is pushed when it closes.
const LONG_SILENCE: Duration = Duration::from_secs(180);

/// The longest window in which an exchange counts its requests.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(60);

/// Candles asked for to close one. Source: after an hour of silence there is nothing to close.
const CLOSE_ROWS_MAX: usize = 60;
