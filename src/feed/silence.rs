//! Acknowledged but silent: streams that never deliver. Owns the questions to the exchange's REST
//! interface and what follows from the answers; whether a stream delivers is seen elsewhere.
//!
//! A quiet instrument looks like a dead stream. What tells them apart is that the exchange's own
//! newest candle changes between two answers while the session says nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::market::{Instrument, InstrumentId, Market};
use crate::messages::{RestRequest, RestResponse, Severity};
use crate::metrics::ConnectionErrorKind;
use crate::venue::{self, RestQuery, SymbolCheck};

use super::plan::Check;
use super::session::{Phase, Session};
use super::{Feed, Output};

/// Questions under way and waiting.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Instruments to ask about; each at most once.
    waiting: VecDeque<InstrumentId>,
    /// Requests under way, at most [`ASKED_MAX`].
    asked: Vec<Asked>,
    next_id: u64,
    /// Per market: nothing is asked before, since the exchange said so.
    blocked_until: [MonoNs; Market::COUNT],
}

#[derive(Debug)]
struct Asked {
    request: u64,
    instrument: InstrumentId,
    /// When the answer is taken for lost.
    until: MonoNs,
}

impl Checks {
    /// When a waiting question may be asked or an answer is overdue, if nothing else brings it on.
    pub(super) fn deadline(&self, now: MonoNs) -> Option<MonoNs> {
        let has_room = !self.waiting.is_empty() && self.asked.len() < ASKED_MAX;
        let blocked = self.blocked_until.iter().copied();
        let ask = if has_room { blocked.filter(|&until| until > now).min() } else { None };
        ask.into_iter().chain(self.asked.iter().map(|asked| asked.until)).min()
    }
}

impl Feed {
    /// Those of `members` that were acknowledged on a session and may turn out to be silent.
    pub(super) fn arm_checks(&mut self, index: usize, members: &[InstrumentId], now: MonoNs) {
        let at = now.after(self.config.stream_idle_timeout);
        for &id in members {
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
                self.checks.waiting.push_back(id);
            } else {
                session.next_check = session.next_check.min(at);
            }
        }
    }

    /// Asks as much as may be asked at once.
    pub(super) fn ask_checks(&mut self, at: Now) {
        let now = at.mono;
        while let Some(lost) = self.checks.asked.iter().find(|asked| asked.until <= now) {
            self.finish_check(lost.request, Err("no answer came".to_owned()), now);
        }
        for _ in 0..self.checks.waiting.len() {
            if self.checks.asked.len() >= ASKED_MAX || self.is_stopping {
                return;
            }
            let Some(id) = self.checks.waiting.pop_front() else { return };
            let Some(stream) = self.streams.stream_mut(id) else { continue };
            let market = stream.instrument.market;
            if !matches!(stream.check, Check::Asked { .. }) {
                continue;
            }
            if stream.is_delivering {
                stream.check = Check::Idle;
            } else if self.checks.blocked_until[market.index()] > now {
                self.checks.waiting.push_back(id);
            } else {
                self.ask(id, at);
            }
        }
    }

    fn ask(&mut self, id: InstrumentId, now: Now) {
        let Some(stream) = self.streams.stream(id) else { return };
        let Instrument { market, symbol, interval } = &stream.instrument;
        let base = &self.config.rest_bases[market.index()];
        let query = venue::symbol_check_query(*market, base, symbol, *interval, now.unix_ms());
        let request_id = self.checks.next_id;
        self.checks.next_id += 1;
        let until = now.mono.after(ANSWER_LOST);
        self.checks.asked.push(Asked { request: request_id, instrument: id, until });
        let RestQuery { url, body, headers } = query;
        self.outputs.push_back(Output::Rest(RestRequest { id: request_id, url, body, headers }));
    }

    pub(super) fn finish_check(
        &mut self,
        request_id: u64,
        result: Result<RestResponse, String>,
        now: MonoNs,
    ) {
        let asked = &mut self.checks.asked;
        let Some(at) = asked.iter().position(|asked| asked.request == request_id) else { return };
        let id = asked.swap_remove(at).instrument;
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let Check::Asked { fingerprint } = stream.check else { return };
        stream.check = Check::Idle;
        let Instrument { market, interval, .. } = stream.instrument;
        let is_settled = stream.is_delivering || !stream.is_wanted;
        let verdict = match &result {
            Ok(response) => {
                self.note_limits(market, response, now);
                venue::read_symbol_check(market, &mut self.json, response, interval)
            }
            Err(_) => SymbolCheck::Undecided,
        };
        if is_settled {
            return;
        }
        let idle = self.config.stream_idle_timeout;
        match verdict {
            SymbolCheck::Unknown { message } => self.reject(id, &message, now),
            SymbolCheck::Undecided if self.is_long_silent(id, now) => self.lose_silent(id, now),
            SymbolCheck::Undecided => self.recheck(id, fingerprint, idle, now),
            SymbolCheck::Known { fingerprint: new } => match fingerprint {
                Some(old) if old != new => self.judge_silent(id, old, new, now),
                _ => self.recheck(id, Some(new), idle / 2, now),
            },
        }
    }

    fn note_limits(&mut self, market: Market, response: &RestResponse, now: MonoNs) {
        if matches!(response.status, 418 | 429) {
            let wait = response.retry_after.unwrap_or(RETRY_AFTER_DEFAULT);
            self.checks.blocked_until[market.index()] = now.after(wait);
            let text =
                format!("REST limit reached ({}): asking again in {wait:?}", response.status);
            self.notice(Severity::Warning, market, text);
        }
    }

    fn recheck(&mut self, id: InstrumentId, fingerprint: Option<u64>, wait: Duration, now: MonoNs) {
        let Some(index) = self.carrier(id) else { return };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let at = now.after(wait);
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
    fn carrier(&self, id: InstrumentId) -> Option<usize> {
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

/// Binance counts its limits by the minute.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(60);
