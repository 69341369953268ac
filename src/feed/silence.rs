//! Acknowledged but silent: streams that never deliver. Owns the questions to the exchange's REST
//! interface and what follows from the answers; whether a stream delivers is seen elsewhere.
//!
//! A quiet instrument looks like a dead stream. What tells them apart is that the exchange's own
//! newest candle changes between two answers while the session says nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::limits::{REST_BODY_BYTES, REST_ROW_BYTES, REST_ROWS_MAX, RESTS_ASKED_MAX};
use crate::market::{Candle, Instrument, InstrumentId, Market, Span};
use crate::messages::{RestRequest, RestResponse, Wish};
use crate::metrics::ConnectionErrorKind;
use crate::venue::{self, RestCandle, RestCandles, RestQuery, SymbolCheck};

use super::budget::Claim;
use super::gate::{Gates, SpentOn};
use super::plan::{Check, Shown};
use super::recall::recall_span;
use super::repair::{missing_span, rows_asked};
use super::session::{Phase, Session};
use super::turns::{Turn, Turns};
use super::{Feed, Output};

/// What an exchange's REST interface is asked about an instrument: the urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Windows that hold others back, or are over and not closed.
    Hole,
    /// Whether there is news of a symbol that has delivered and is silent.
    Doubt,
    /// Whether a name exists that the exchange's list does not have.
    Name,
    /// What a client wants of the past.
    Recall,
    /// Whether a symbol that has delivered nothing exists and has news.
    Symbol,
    /// Windows that were given up.
    Late,
    /// Whether a closed candle is still what it was.
    Compare,
    /// What time it is.
    Clock,
}

impl Ask {
    const COUNT: usize = 8;

    /// What is asked first stands first; names and the past take turns.
    const ORDERS: [[Self; Self::COUNT]; 2] = {
        use Ask::{Clock, Compare, Doubt, Hole, Late, Name, Recall, Symbol};
        [
            [Clock, Hole, Doubt, Name, Recall, Symbol, Late, Compare],
            [Clock, Hole, Doubt, Recall, Name, Symbol, Late, Compare],
        ]
    };

    /// For whom it is asked: what was delivered is completed before anything new is looked at.
    fn claim(self) -> Claim {
        match self {
            Self::Hole | Self::Doubt | Self::Late | Self::Clock => Claim::Served,
            Self::Name | Self::Recall | Self::Symbol | Self::Compare => Claim::New,
        }
    }
}

/// Questions under way and waiting.
#[derive(Debug)]
pub(super) struct Questions {
    /// By [`Market::index`] of the [`venue::budget_group`]; by [`Ask`]. Each instrument is in each
    /// at most once.
    waiting: Vec<[VecDeque<InstrumentId>; Ask::COUNT]>,
    /// The wishes of the past that wait, by the same index: [`Ask::Recall`].
    turns: Vec<Turns>,
    /// Requests under way, at most [`RESTS_ASKED_MAX`] of a group.
    asked: Vec<Asked>,
    next_id: u64,
}

/// One of those that wait.
#[derive(Clone, Copy, Debug)]
struct Question {
    ask: Ask,
    instrument: InstrumentId,
    /// Whose wish it is, for [`Ask::Recall`].
    wish: Option<Wish>,
}

#[derive(Debug)]
struct Asked {
    request: u64,
    ask: Ask,
    group: Market,
    instrument: InstrumentId,
    /// Whose wish it is, for [`Ask::Recall`].
    wish: Option<Wish>,
    /// The windows asked for.
    span: Option<Span>,
    /// When it was asked.
    at: MonoNs,
    /// Of the market's clock then, see [`Shown`].
    offset_ms: i64,
}

impl Asked {
    /// When the answer is taken for lost.
    fn until(&self) -> MonoNs {
        self.at.after(ANSWER_LOST)
    }
}

impl Default for Questions {
    fn default() -> Self {
        let waiting = Market::all().map(|_| Default::default()).collect();
        let turns = Market::all().map(|_| Turns::default()).collect();
        Self { waiting, turns, asked: Vec::new(), next_id: 0 }
    }
}

impl Questions {
    pub(super) fn push(&mut self, market: Market, ask: Ask, id: InstrumentId) {
        self.waiting[venue::budget_group(market).index()][ask as usize].push_back(id);
    }

    /// A wish of the past waits for its turn.
    pub(super) fn push_wish(&mut self, market: Market, turn: Turn) {
        self.turns[venue::budget_group(market).index()].push(turn);
    }

    /// Whether one more request of the group may be under way: one place is kept for what was
    /// served.
    fn has_room(&self, group: Market, claim: Claim) -> bool {
        let asked = self.asked.iter().filter(|asked| asked.group == group).count();
        match claim {
            Claim::Served => asked < RESTS_ASKED_MAX,
            Claim::New => asked < RESTS_ASKED_MAX - 1,
        }
    }

    /// The next question of the group and what it is about. `new_max`: requests of a window for all
    /// that is new.
    fn pop(
        &mut self,
        group: Market,
        (may_ask_new, may_compare): (bool, bool),
        new_max: usize,
        now: MonoNs,
    ) -> Option<Question> {
        let order = Ask::ORDERS[usize::from(self.next_id.is_multiple_of(2))];
        let waiting = &mut self.waiting[group.index()];
        let turns = &mut self.turns[group.index()];
        order
            .into_iter()
            .filter(|&ask| may_ask_new || ask.claim() == Claim::Served)
            .filter(|&ask| may_compare || ask != Ask::Compare)
            .find_map(|ask| match ask {
                Ask::Recall => {
                    let (instrument, wish) = turns.pop(new_max, now)?;
                    Some(Question { ask, instrument, wish: Some(wish) })
                }
                _ => {
                    let instrument = waiting[ask as usize].pop_front()?;
                    Some(Question { ask, instrument, wish: None })
                }
            })
    }

    /// A question that may not be asked now, though it was its turn.
    fn put_back(&mut self, group: Market, question: Question) {
        let Question { ask, instrument, wish } = question;
        match wish {
            Some(wish) => self.turns[group.index()].put_back((instrument, wish)),
            None => self.waiting[group.index()][ask as usize].push_front(instrument),
        }
    }

    /// When a waiting question may be asked or an answer is overdue, if nothing else brings it on.
    pub(super) fn deadline(&self, now: MonoNs, gates: &Gates) -> Option<MonoNs> {
        let groups = Market::all().filter(|&group| venue::budget_group(group) == group);
        let asks = groups.filter_map(|group| {
            let waiting = &self.waiting[group.index()];
            let asks = Ask::ORDERS[0].into_iter().filter(|&ask| !waiting[ask as usize].is_empty());
            let claims = asks.map(Ask::claim).filter(|&claim| self.has_room(group, claim));
            let at = claims.map(|claim| gates.rest_at(group, claim)).min();
            let has_room = self.has_room(group, Ask::Recall.claim());
            let turn = self.turns[group.index()].next_at().filter(|_| has_room);
            let turn = turn.map(|at| at.max(gates.rest_at(group, Ask::Recall.claim())));
            let at = at.into_iter().chain(turn).min()?;
            Some(at.max(now.after(ASK_PAUSE)))
        });
        asks.chain(self.asked.iter().map(Asked::until)).min()
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
                stream.asked_at = now;
                stream.check = Check::Due { at, shown: None };
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
            let Check::Due { at, shown } = stream.check else { continue };
            if stream.is_delivering {
                stream.check = Check::Idle;
            } else if at <= now {
                stream.check = Check::Asked { shown };
                let ask = match stream.claim() {
                    Claim::Served => Ask::Doubt,
                    Claim::New => Ask::Symbol,
                };
                self.questions.push(session.market, ask, id);
            } else {
                session.next_check = session.next_check.min(at);
            }
        }
    }

    /// Asks as much as may be asked at once. Nothing while the ring is full: answers need room.
    pub(super) fn ask_questions(&mut self, now: Now) {
        while let Some(lost) = self.questions.asked.iter().find(|asked| asked.until() <= now.mono) {
            self.finish_question(lost.request, Err("no answer came".to_owned()), now);
        }
        if self.is_stopping || !self.queue.has_room() {
            return;
        }
        for group in Market::all().filter(|&market| venue::budget_group(market) == market) {
            self.settle_checks_unasked(group, now);
            while self.may_ask(group, Claim::Served, now.mono) {
                let may_ask_new = self.may_ask(group, Claim::New, now.mono);
                let has_slack = self.gates.group(group).rest.has_slack(now.mono);
                let may_compare = has_slack || self.is_comparison_overdue(group, now.mono);
                let new_max = self.gates.group(group).rest.new_max();
                let may = (may_ask_new, may_compare);
                let Some(next) = self.questions.pop(group, may, new_max, now.mono) else { break };
                let Some(query) = self.query(next, now) else { continue };
                if !self.gates.pauses.admit(group, SpentOn::Rest, now.mono) {
                    // Another shard asks first.
                    self.questions.put_back(group, next);
                    break;
                }
                self.ask(group, next, query, now);
            }
        }
    }

    fn may_ask(&self, group: Market, claim: Claim, now: MonoNs) -> bool {
        self.questions.has_room(group, claim) && self.gates.rest_at(group, claim) <= now
    }

    /// While we are denied REST, checks of silent streams and of names are settled without it: a
    /// session can be silent for as long as a block lasts.
    fn settle_checks_unasked(&mut self, group: Market, now: Now) {
        let is_denied = self.gates.pauses.denied_for(group, SpentOn::Rest, now.mono).is_some();
        if !is_denied || self.gates.rest_at(group, Claim::Served) <= now.mono {
            return;
        }
        let waiting = &mut self.questions.waiting[group.index()];
        let [doubts, checks, names] = [Ask::Doubt, Ask::Symbol, Ask::Name]
            .map(|ask| std::mem::take(&mut waiting[ask as usize]));
        let denied = Err("we are denied REST".to_owned());
        for id in doubts.into_iter().chain(checks) {
            self.finish_check(id, 0, &denied, now);
        }
        names.into_iter().for_each(|id| self.learn_name(id, &denied, now));
    }

    /// Returns whether the comparison that has waited longest is not to wait for slack any more.
    fn is_comparison_overdue(&self, group: Market, now: MonoNs) -> bool {
        let first = self.questions.waiting[group.index()][Ask::Compare as usize].front();
        let stream = first.and_then(|&id| self.streams.stream(id));
        stream.is_some_and(|stream| stream.repair.comparisons.is_overdue(now))
    }

    /// The question, unless it is settled already.
    fn query(&mut self, question: Question, now: Now) -> Option<(Option<Span>, RestQuery)> {
        let Question { ask, instrument: id, wish } = question;
        let stream = self.streams.stream_mut(id)?;
        let Instrument { market, interval, .. } = stream.instrument;
        let exchange_now = self.clocks[market.index()].now(now);
        let span = match ask {
            Ask::Symbol | Ask::Doubt => {
                let is_asked = matches!(stream.check, Check::Asked { .. });
                if is_asked && stream.is_delivering {
                    stream.check = Check::Idle;
                }
                if !is_asked || stream.is_delivering {
                    return None;
                }
                return Some((None, self.symbol_query(id, now)?));
            }
            Ask::Clock => return Some((None, self.symbol_query(id, now)?)),
            Ask::Name => {
                return self.is_unplaced(id).then_some((None, self.symbol_query(id, now)?));
            }
            Ask::Hole | Ask::Late => {
                let span = missing_span(stream, exchange_now).filter(|_| stream.is_wanted);
                stream.repair.is_asking = span.is_some();
                span
            }
            Ask::Recall => {
                let ticket = wish.filter(|_| stream.is_wanted)?.ticket;
                let span = recall_span(stream, ticket, exchange_now, now.mono);
                if span.is_none() {
                    self.urgent.push(id);
                }
                span
            }
            Ask::Compare => self.comparison_span(id),
        }?;
        let base = &self.config.rest_bases[market.index()];
        let symbol = &self.streams.stream(id)?.instrument.symbol;
        let (from, to) = rows_asked(market, interval, span, exchange_now);
        let query = venue::candles_query(market, base, symbol, interval, from, to);
        Some((Some(span), query))
    }

    /// A question that shows whether a symbol exists, what is its newest row, and what time it is.
    fn symbol_query(&self, id: InstrumentId, now: Now) -> Option<RestQuery> {
        let Instrument { market, symbol, interval } = &self.streams.stream(id)?.instrument;
        let exchange_now = self.clocks[market.index()].now(now);
        let base = &self.config.rest_bases[market.index()];
        Some(venue::symbol_check_query(*market, base, symbol, *interval, exchange_now))
    }

    fn ask(
        &mut self,
        group: Market,
        Question { ask, instrument, wish }: Question,
        (span, query): (Option<Span>, RestQuery),
        now: Now,
    ) {
        let request = self.questions.next_id;
        self.questions.next_id += 1;
        let market = self.streams.stream(instrument).map(|stream| stream.instrument.market);
        let offset_ms = self.clocks[market.unwrap_or(group).index()].offset_ms(now);
        let (now, at) = (now.mono, now.mono);
        let asked = Asked { request, ask, group, instrument, wish, span, at, offset_ms };
        self.questions.asked.push(asked);
        let rest = &mut self.gates.group_mut(group).rest;
        rest.spend(ask.claim(), now);
        if let Some(wish) = wish {
            self.questions.turns[group.index()].spend(wish.client, rest.free_at(now));
        }
        self.market_metrics(group).rest_requests.increment();
        let RestQuery { url, body, headers } = query;
        let interval = self.streams.stream(instrument).map(|stream| stream.instrument.interval);
        let rows = span.zip(interval).map_or(0, |(span, interval)| span.count(interval));
        let rows = usize::try_from(rows).map_or(REST_ROWS_MAX, |rows| rows.min(REST_ROWS_MAX));
        let body_bytes_max = REST_BODY_BYTES + (rows + ROWS_BESIDE) * REST_ROW_BYTES;
        let request = RestRequest { id: request, url, body, headers, body_bytes_max };
        self.outputs.push_back(Output::Rest(request));
    }

    pub(super) fn finish_question(
        &mut self,
        request: u64,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let asked = &mut self.questions.asked;
        let Some(at) = asked.iter().position(|asked| asked.request == request) else { return };
        let Asked { ask, instrument: id, wish, span, at, offset_ms, .. } = asked.swap_remove(at);
        self.note_limits(id, at, &result, now);
        if let (Some(wish), Some(span)) = (wish, span) {
            return self.learn_recalled((id, wish), span, result, now);
        }
        match (ask, span) {
            (Ask::Hole | Ask::Late, Some(span)) => self.learn_missing(id, span, result, now),
            (Ask::Compare, Some(span)) => self.learn_comparison(id, span, result, now),
            (Ask::Clock, _) => {
                // That it is learnt is all that is wanted of the answer.
                let _rows = self.read_rows(id, result, now);
            }
            (Ask::Name, _) => self.learn_name(id, &result, now),
            (_, _) => self.finish_check(id, offset_ms, &result, now),
        }
    }

    /// `offset_ms`: of the market's clock when it was asked.
    fn finish_check(
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

    /// A quiet symbol is asked about ever more rarely.
    fn next_check_wait(&mut self, id: InstrumentId, first: Duration) -> Duration {
        let Some(stream) = self.streams.stream_mut(id) else { return first };
        let wait = stream.check_wait.max(first);
        stream.check_wait = (wait * 2).min(CHECK_WAIT_MAX.max(first));
        wait
    }

    fn recheck(&mut self, id: InstrumentId, shown: Option<Shown>, wait: Duration, now: MonoNs) {
        self.bring_forward(id, now.after(wait), shown);
    }

    /// Asks about `id` at this time, if it is still silent.
    pub(super) fn bring_forward(&mut self, id: InstrumentId, at: MonoNs, shown: Option<Shown>) {
        let Some(index) = self.carrier(id) else { return };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.check = Check::Due { at, shown };
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
            stream.check = Check::Due { at: now, shown: None };
            session.next_check = now;
        }
    }

    /// The exchange's candle of `id` changes and we are told nothing of it: if the whole session
    /// is silent, and still is when the push has had its time, it is lost; else the one stream is
    /// asked for again.
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
        if session.has_delivered {
            session.script.renew(id);
            if let Some(stream) = self.streams.stream_mut(id) {
                stream.asked_at = now;
                stream.note_break(now);
            }
            return self.recheck(id, shown, RECHECK_LONE, now);
        }
        if !std::mem::replace(&mut session.is_suspect, true) {
            return self.recheck(id, old, self.config.stream_idle_timeout / 2, now);
        }
        self.lose_silent(id, old, "nothing is delivered, though the exchange has news", now);
    }

    /// `rows` closed windows of `span`. One with trades that began after a silent stream was asked
    /// for is news that it did not deliver, though each look falls into a quiet minute.
    pub(super) fn judge_by_closed(
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

    /// Where REST has no answer, whole windows without one push decide.
    fn is_long_silent(&self, id: InstrumentId, now: MonoNs) -> bool {
        let Some(stream) = self.streams.stream(id) else { return false };
        let long = Duration::from_millis(stream.instrument.interval.ms().unsigned_abs());
        let session = self.carrier(id).map(|index| &self.sessions[index]);
        session.is_some_and(|session| match session.phase {
            Phase::Open { .. } => {
                !session.has_delivered && session.last_candle.after(long * LONG_SILENCE) <= now
            }
            _ => false,
        })
    }

    /// Gives up a session that delivers nothing, unless the exchange lets no new one be opened: one
    /// that may come back is better than none.
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

    /// The session on which `id` is to be delivered.
    pub(super) fn carrier(&self, id: InstrumentId) -> Option<usize> {
        self.sessions
            .iter()
            .position(|session| !session.is_replaced && session.members.contains(&id))
    }
}

/// Rows that an answer may have beside those of the windows asked about. Source: the rows around
/// them that are asked for, too, and both of a symbol check.
const ROWS_BESIDE: usize = 20;

/// A question that could not be asked now, for want of room or slack, is looked at again then.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// An answer that has not come by then never will: the ops core gave it up long before.
/// Source: the largest `CONNECTOR_REST_TIMEOUT` that makes sense, twice.
const ANSWER_LOST: Duration = Duration::from_secs(60);

/// A silent stream beside delivering ones is asked about this often.
const RECHECK_LONE: Duration = Duration::from_secs(60);

/// Longest pause between two questions about a symbol that is quiet and may be silent.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(600);

/// In so many windows two are whole: even one without trades is pushed when it closes.
const LONG_SILENCE: u32 = 3;
