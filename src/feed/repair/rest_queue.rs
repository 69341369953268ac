//! The questions to the exchanges' REST interfaces: which wait and which are under way. Owns their
//! order; who asks and what follows from the answers is in `silence`, `repair`, `backfill`, `compare`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::limits::{REST_BODY_BYTES, REST_ROW_BYTES, REST_ROWS_MAX, RESTS_ASKED_MAX};
use crate::market::{Instrument, InstrumentId, Market, Span};
use crate::messages::{RestRequest, RestResponse, Wish};
use crate::venue::{self, RestQuery};

use crate::feed::limits::budget::Claim;
use crate::feed::limits::rate_limits::{Gates, LimitedAction};
use crate::feed::repair::backfill::backfill_span;
use crate::feed::repair::missing::{missing_span, rows_asked};
use crate::feed::repair::turns::{Turn, Turns};
use crate::feed::stream::{Check, RestPurpose};
use crate::feed::{Feed, Output};

impl RestPurpose {
    const COUNT: usize = 8;

    /// What is asked first stands first; names and the past take turns.
    const ORDERS: [[Self; Self::COUNT]; 2] = {
        use RestPurpose::{Backfill, Clock, Gap, Late, Name, Silent, Symbol, Verify};
        [
            [Clock, Gap, Silent, Name, Backfill, Symbol, Late, Verify],
            [Clock, Gap, Silent, Backfill, Name, Symbol, Late, Verify],
        ]
    };

    /// For whom it is asked: what was delivered is completed before anything new is looked at.
    fn claim(self) -> Claim {
        match self {
            Self::Gap | Self::Silent | Self::Late | Self::Clock => Claim::Served,
            Self::Name | Self::Backfill | Self::Symbol | Self::Verify => Claim::New,
        }
    }
}

/// Questions under way and waiting.
#[derive(Debug)]
pub(crate) struct RestQueue {
    /// By [`Market::index`] of the [`venue::budget_group`]; by [`RestPurpose`]. Each instrument is in each
    /// at most once.
    waiting: Vec<[VecDeque<InstrumentId>; RestPurpose::COUNT]>,
    /// The wishes of the past that wait, by the same index: [`RestPurpose::Backfill`].
    turns: Vec<Turns>,
    /// Requests under way, at most [`RESTS_ASKED_MAX`] of a group.
    asked: Vec<Asked>,
    next_id: u64,
}

/// One of those that wait.
#[derive(Clone, Copy, Debug)]
struct Question {
    ask: RestPurpose,
    instrument: InstrumentId,
    /// Whose wish it is, for [`RestPurpose::Backfill`].
    wish: Option<Wish>,
}

#[derive(Debug)]
struct Asked {
    request: u64,
    ask: RestPurpose,
    group: Market,
    instrument: InstrumentId,
    /// Whose wish it is, for [`RestPurpose::Backfill`].
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

impl Default for RestQueue {
    fn default() -> Self {
        let waiting = Market::all().map(|_| Default::default()).collect();
        let turns = Market::all().map(|_| Turns::default()).collect();
        Self { waiting, turns, asked: Vec::new(), next_id: 0 }
    }
}

impl RestQueue {
    pub(crate) fn push(&mut self, market: Market, ask: RestPurpose, id: InstrumentId) {
        self.waiting[venue::budget_group(market).index()][ask as usize].push_back(id);
    }

    /// A wish of the past waits for its turn.
    pub(crate) fn push_wish(&mut self, market: Market, turn: Turn) {
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
        (may_ask_new, may_verify): (bool, bool),
        new_max: usize,
        now: MonoNs,
    ) -> Option<Question> {
        let order = RestPurpose::ORDERS[usize::from(self.next_id.is_multiple_of(2))];
        let waiting = &mut self.waiting[group.index()];
        let turns = &mut self.turns[group.index()];
        order
            .into_iter()
            .filter(|&ask| may_ask_new || ask.claim() == Claim::Served)
            .filter(|&ask| may_verify || ask != RestPurpose::Verify)
            .find_map(|ask| match ask {
                RestPurpose::Backfill => {
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
    pub(crate) fn deadline(&self, now: MonoNs, gates: &Gates) -> Option<MonoNs> {
        let groups = Market::all().filter(|&group| venue::budget_group(group) == group);
        let asks = groups.filter_map(|group| {
            let waiting = &self.waiting[group.index()];
            let asks =
                RestPurpose::ORDERS[0].into_iter().filter(|&ask| !waiting[ask as usize].is_empty());
            let claims = asks.map(RestPurpose::claim).filter(|&claim| self.has_room(group, claim));
            let at = claims.map(|claim| gates.rest_at(group, claim)).min();
            let has_room = self.has_room(group, RestPurpose::Backfill.claim());
            let turn = self.turns[group.index()].next_at().filter(|_| has_room);
            let turn = turn.map(|at| at.max(gates.rest_at(group, RestPurpose::Backfill.claim())));
            let at = at.into_iter().chain(turn).min()?;
            Some(at.max(now.after(ASK_PAUSE)))
        });
        asks.chain(self.asked.iter().map(Asked::until)).min()
    }
}

impl Feed {
    /// Asks as much as may be asked at once. Nothing while the ring is full: answers need room.
    pub(crate) fn ask_questions(&mut self, now: Now) {
        while let Some(lost) = self.rest_queue.asked.iter().find(|asked| asked.until() <= now.mono)
        {
            self.finish_question(lost.request, Err("no answer came".to_owned()), now);
        }
        if self.is_stopping || !self.queue.has_room() {
            return;
        }
        for group in Market::all().filter(|&market| venue::budget_group(market) == market) {
            self.finish_checks_unasked(group, now);
            while self.may_ask(group, Claim::Served, now.mono) {
                let may_ask_new = self.may_ask(group, Claim::New, now.mono);
                let has_slack = self.gates.group(group).rest.has_slack(now.mono);
                let may_verify = has_slack || self.is_comparison_overdue(group, now.mono);
                let new_max = self.gates.group(group).rest.new_max();
                let may = (may_ask_new, may_verify);
                let Some(next) = self.rest_queue.pop(group, may, new_max, now.mono) else { break };
                let Some(query) = self.query(next, now) else { continue };
                if !self.gates.pauses.admit(group, LimitedAction::Rest, now.mono) {
                    // Another shard asks first.
                    self.rest_queue.put_back(group, next);
                    break;
                }
                self.ask(group, next, query, now);
            }
        }
    }

    fn may_ask(&self, group: Market, claim: Claim, now: MonoNs) -> bool {
        self.rest_queue.has_room(group, claim) && self.gates.rest_at(group, claim) <= now
    }

    /// While we are denied REST, checks of silent streams and of names are settled without it: a
    /// session can be silent for as long as a block lasts.
    fn finish_checks_unasked(&mut self, group: Market, now: Now) {
        let is_denied =
            self.gates.pauses.denied_for(group, LimitedAction::Rest, now.mono).is_some();
        if !is_denied || self.gates.rest_at(group, Claim::Served) <= now.mono {
            return;
        }
        let waiting = &mut self.rest_queue.waiting[group.index()];
        let [doubts, checks, names] = [RestPurpose::Silent, RestPurpose::Symbol, RestPurpose::Name]
            .map(|ask| std::mem::take(&mut waiting[ask as usize]));
        let denied = Err("we are denied REST".to_owned());
        for id in doubts.into_iter().chain(checks) {
            self.finish_check(id, 0, &denied, now);
        }
        names.into_iter().for_each(|id| self.apply_name(id, &denied, now));
    }

    /// Returns whether the comparison that has waited longest is not to wait for slack any more.
    fn is_comparison_overdue(&self, group: Market, now: MonoNs) -> bool {
        let first = self.rest_queue.waiting[group.index()][RestPurpose::Verify as usize].front();
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
            RestPurpose::Symbol | RestPurpose::Silent => {
                let is_asked = matches!(stream.check, Check::Asked { .. });
                if is_asked && stream.is_delivering {
                    stream.check = Check::Idle;
                }
                if !is_asked || stream.is_delivering {
                    return None;
                }
                return Some((None, self.symbol_query(id, now)?));
            }
            RestPurpose::Clock => return Some((None, self.symbol_query(id, now)?)),
            RestPurpose::Name => {
                return self.is_unplaced(id).then_some((None, self.symbol_query(id, now)?));
            }
            RestPurpose::Gap | RestPurpose::Late => {
                let span = missing_span(stream, exchange_now).filter(|_| stream.is_wanted);
                stream.repair.is_asking = span.is_some();
                span
            }
            RestPurpose::Backfill => {
                let ticket = wish.filter(|_| stream.is_wanted)?.ticket;
                let span = backfill_span(stream, ticket, exchange_now, now.mono);
                if span.is_none() {
                    self.urgent.push(id);
                }
                span
            }
            RestPurpose::Verify => self.comparison_span(id),
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
        let request = self.rest_queue.next_id;
        self.rest_queue.next_id += 1;
        let market = self.streams.stream(instrument).map(|stream| stream.instrument.market);
        let offset_ms = self.clocks[market.unwrap_or(group).index()].offset_ms(now);
        let (now, at) = (now.mono, now.mono);
        let asked = Asked { request, ask, group, instrument, wish, span, at, offset_ms };
        self.rest_queue.asked.push(asked);
        let rest = &mut self.gates.group_mut(group).rest;
        rest.spend(ask.claim(), now);
        if let Some(wish) = wish {
            self.rest_queue.turns[group.index()].spend(wish.client, rest.free_at(now));
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

    pub(crate) fn finish_question(
        &mut self,
        request: u64,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let asked = &mut self.rest_queue.asked;
        let Some(at) = asked.iter().position(|asked| asked.request == request) else { return };
        let Asked { ask, instrument: id, wish, span, at, offset_ms, .. } = asked.swap_remove(at);
        self.note_limits(id, at, &result, now);
        if let (Some(wish), Some(span)) = (wish, span) {
            return self.apply_backfill((id, wish), span, result, now);
        }
        match (ask, span) {
            (RestPurpose::Gap | RestPurpose::Late, Some(span)) => {
                self.apply_missing(id, span, result, now)
            }
            (RestPurpose::Verify, Some(span)) => self.apply_verification(id, span, result, now),
            (RestPurpose::Clock, _) => {
                // That it is learnt is all that is wanted of the answer.
                let _rows = self.read_rows(id, result, now);
            }
            (RestPurpose::Name, _) => self.apply_name(id, &result, now),
            (_, _) => self.finish_check(id, offset_ms, &result, now),
        }
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
