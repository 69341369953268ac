//! The requests to the exchanges' REST interfaces: which wait and which are under way. Owns their
//! order; `silence`, `missing`, `backfill` and `verify` own what is requested and what follows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::limits::budget::Claim;
use crate::feed::limits::rate_limits::{Gates, LimitedAction};
use crate::feed::repair::backfill::backfill_span;
use crate::feed::repair::missing::{missing_span, rows_asked};
use crate::feed::repair::turns::{Turn, Turns};
use crate::feed::stream::{Check, RestPurpose};
use crate::feed::{Feed, Output};
use crate::limits::{REST_BODY_BYTES, REST_ROW_BYTES, REST_ROWS_MAX, RESTS_ASKED_MAX};
use crate::market::{Instrument, InstrumentId, Market, Span};
use crate::messages::{RestRequest, RestResponse, Wish};
use crate::venue::{self, RestQuery};

impl RestPurpose {
    const COUNT: usize = 8;

    /// The order in which requests are sent. Symbols to look up and backfills take turns.
    const ORDERS: [[Self; Self::COUNT]; 2] = {
        use RestPurpose::{Backfill, Clock, Gap, Late, Name, Silent, Symbol, Verify};
        [
            [Clock, Gap, Silent, Name, Backfill, Symbol, Late, Verify],
            [Clock, Gap, Silent, Backfill, Name, Symbol, Late, Verify],
        ]
    };

    /// The claim of a purpose: streams that have delivered are repaired before new ones are
    /// checked.
    fn claim(self) -> Claim {
        match self {
            Self::Gap | Self::Silent | Self::Late | Self::Clock => Claim::Served,
            Self::Name | Self::Backfill | Self::Symbol | Self::Verify => Claim::New,
        }
    }
}

/// Requests that wait and requests under way.
#[derive(Debug)]
pub(crate) struct RestQueue {
    /// By [`Market::index`] of the [`venue::budget_group`], then by [`RestPurpose`]. Each
    /// instrument is at most once in each queue.
    waiting: Vec<[VecDeque<InstrumentId>; RestPurpose::COUNT]>,
    /// The backfills that wait, by the same index.
    turns: Vec<Turns>,
    /// Requests under way, at most [`RESTS_ASKED_MAX`] of a group.
    asked: Vec<Asked>,
    next_id: u64,
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    purpose: RestPurpose,
    instrument: InstrumentId,
    /// The client's wish, for [`RestPurpose::Backfill`].
    wish: Option<Wish>,
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    request: u64,
    purpose: RestPurpose,
    group: Market,
    instrument: InstrumentId,
    /// The client's wish, for [`RestPurpose::Backfill`].
    wish: Option<Wish>,
    /// The requested windows.
    span: Option<Span>,
    /// When the request was sent.
    at: MonoNs,
    /// The market's clock minus our monotonic clock at that time, see
    /// [`Shown`](crate::feed::stream::Shown).
    offset_ms: i64,
}

impl Asked {
    /// When the answer counts as lost.
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
    /// Queues a request about `id`.
    pub(crate) fn push(&mut self, market: Market, purpose: RestPurpose, id: InstrumentId) {
        self.waiting[venue::budget_group(market).index()][purpose as usize].push_back(id);
    }

    /// Queues a backfill for its turn.
    pub(crate) fn push_wish(&mut self, market: Market, turn: Turn) {
        self.turns[venue::budget_group(market).index()].push(turn);
    }

    /// Returns whether one more request of the group may be under way. One place is reserved for
    /// served streams.
    fn has_room(&self, group: Market, claim: Claim) -> bool {
        let asked = self.asked.iter().filter(|asked| asked.group == group).count();
        match claim {
            Claim::Served => asked < RESTS_ASKED_MAX,
            Claim::New => asked < RESTS_ASKED_MAX - 1,
        }
    }

    /// The next request of the group. `new_max` is the number of requests in a window for all new
    /// claims together.
    fn pop(
        &mut self,
        group: Market,
        (may_ask_new, may_verify): (bool, bool),
        new_max: usize,
        now: MonoNs,
    ) -> Option<Waiting> {
        let order = RestPurpose::ORDERS[usize::from(self.next_id.is_multiple_of(2))];
        let waiting = &mut self.waiting[group.index()];
        let turns = &mut self.turns[group.index()];
        order
            .into_iter()
            .filter(|&purpose| may_ask_new || purpose.claim() == Claim::Served)
            .filter(|&purpose| may_verify || purpose != RestPurpose::Verify)
            .find_map(|purpose| match purpose {
                RestPurpose::Backfill => {
                    let (instrument, wish) = turns.pop(new_max, now)?;
                    Some(Waiting { purpose, instrument, wish: Some(wish) })
                }
                _ => {
                    let instrument = waiting[purpose as usize].pop_front()?;
                    Some(Waiting { purpose, instrument, wish: None })
                }
            })
    }

    /// Puts back a request that may not be sent now, although it was its turn.
    fn put_back(&mut self, group: Market, next: Waiting) {
        let Waiting { purpose, instrument, wish } = next;
        match wish {
            Some(wish) => self.turns[group.index()].put_back((instrument, wish)),
            None => self.waiting[group.index()][purpose as usize].push_front(instrument),
        }
    }

    /// When a waiting request may be sent or an answer counts as lost.
    pub(crate) fn deadline(&self, now: MonoNs, gates: &Gates) -> Option<MonoNs> {
        let groups = Market::all().filter(|&group| venue::budget_group(group) == group);
        let asks = groups.filter_map(|group| {
            let waiting = &self.waiting[group.index()];
            let asks = RestPurpose::ORDERS[0]
                .into_iter()
                .filter(|&purpose| !waiting[purpose as usize].is_empty());
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
    /// Sends as many requests as are allowed at once. Sends none while the publish queue is full,
    /// because answers need room there.
    pub(crate) fn send_requests(&mut self, now: Now) {
        while let Some(lost) = self.rest_queue.asked.iter().find(|asked| asked.until() <= now.mono)
        {
            self.finish_request(lost.request, Err("no answer came".to_owned()), now);
        }
        if self.is_stopping || !self.queue.has_room() {
            return;
        }
        for group in Market::all().filter(|&market| venue::budget_group(market) == market) {
            self.finish_checks_unasked(group, now);
            while self.may_ask(group, Claim::Served, now.mono) {
                let may_ask_new = self.may_ask(group, Claim::New, now.mono);
                let has_slack = self.gates.group(group).rest.has_slack(now.mono);
                let may_verify = has_slack || self.is_verification_overdue(group, now.mono);
                let new_max = self.gates.group(group).rest.new_max();
                let may = (may_ask_new, may_verify);
                let Some(next) = self.rest_queue.pop(group, may, new_max, now.mono) else { break };
                let Some(query) = self.query(next, now) else { continue };
                if !self.gates.pauses.admit(group, LimitedAction::Rest, now.mono) {
                    // Another shard asks first.
                    self.rest_queue.put_back(group, next);
                    break;
                }
                self.send_request(group, next, query, now);
            }
        }
    }

    fn may_ask(&self, group: Market, claim: Claim, now: MonoNs) -> bool {
        self.rest_queue.has_room(group, claim) && self.gates.rest_at(group, claim) <= now
    }

    /// Finishes checks of silent streams and symbol look-ups without REST while REST is denied to
    /// us: a session can be silent for as long as a block lasts.
    fn finish_checks_unasked(&mut self, group: Market, now: Now) {
        let is_denied =
            self.gates.pauses.denied_for(group, LimitedAction::Rest, now.mono).is_some();
        if !is_denied || self.gates.rest_at(group, Claim::Served) <= now.mono {
            return;
        }
        let waiting = &mut self.rest_queue.waiting[group.index()];
        let [doubts, checks, names] = [RestPurpose::Silent, RestPurpose::Symbol, RestPurpose::Name]
            .map(|purpose| std::mem::take(&mut waiting[purpose as usize]));
        let denied = Err("we are denied REST".to_owned());
        for id in doubts.into_iter().chain(checks) {
            self.finish_check(id, 0, &denied, now);
        }
        names.into_iter().for_each(|id| self.apply_name(id, &denied, now));
    }

    /// Returns whether the verification at the head of the queue no longer waits for slack.
    fn is_verification_overdue(&self, group: Market, now: MonoNs) -> bool {
        let first = self.rest_queue.waiting[group.index()][RestPurpose::Verify as usize].front();
        let stream = first.and_then(|&id| self.streams.stream(id));
        stream.is_some_and(|stream| stream.repair.verifications.is_overdue(now))
    }

    /// The content of a request; `None` if its purpose is settled already.
    fn query(&mut self, next: Waiting, now: Now) -> Option<(Option<Span>, RestQuery)> {
        let Waiting { purpose, instrument: id, wish } = next;
        let stream = self.streams.stream_mut(id)?;
        let Instrument { market, interval, .. } = stream.instrument;
        let exchange_now = self.clocks[market.index()].now(now);
        let span = match purpose {
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
                let begin_now = self.clocks[market.index()].begin_now(now);
                let span = backfill_span(stream, ticket, begin_now, now.mono);
                if span.is_none() {
                    self.urgent.push(id);
                }
                span
            }
            RestPurpose::Verify => self.verification_span(id),
        }?;
        let base = &self.config.rest_bases[market.index()];
        let symbol = &self.streams.stream(id)?.instrument.symbol;
        let (from, to) = rows_asked(market, interval, span, exchange_now);
        let query = venue::candles_query(market, base, symbol, interval, from, to);
        Some((Some(span), query))
    }

    /// A query that shows whether a symbol exists, its newest row, and the exchange's time.
    fn symbol_query(&self, id: InstrumentId, now: Now) -> Option<RestQuery> {
        let Instrument { market, symbol, interval } = &self.streams.stream(id)?.instrument;
        let exchange_now = self.clocks[market.index()].now(now);
        let base = &self.config.rest_bases[market.index()];
        Some(venue::symbol_check_query(*market, base, symbol, *interval, exchange_now))
    }

    fn send_request(
        &mut self,
        group: Market,
        Waiting { purpose, instrument, wish }: Waiting,
        (span, query): (Option<Span>, RestQuery),
        now: Now,
    ) {
        let request = self.rest_queue.next_id;
        self.rest_queue.next_id += 1;
        let market = self.streams.stream(instrument).map(|stream| stream.instrument.market);
        let offset_ms = self.clocks[market.unwrap_or(group).index()].offset_ms(now);
        let (now, at) = (now.mono, now.mono);
        let asked = Asked { request, purpose, group, instrument, wish, span, at, offset_ms };
        let has_room = self.rest_queue.has_room(group, purpose.claim());
        assert!(has_room, "a request is sent only while few of its group are under way");
        self.rest_queue.asked.push(asked);
        let rest = &mut self.gates.group_mut(group).rest;
        rest.spend(purpose.claim(), now);
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

    /// Takes the answer to a request, or the reason why there is none.
    pub(crate) fn finish_request(
        &mut self,
        request: u64,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let asked = &mut self.rest_queue.asked;
        let Some(at) = asked.iter().position(|asked| asked.request == request) else { return };
        let Asked { purpose, instrument: id, wish, span, at, offset_ms, .. } =
            asked.swap_remove(at);
        self.apply_limits(id, at, &result, now);
        if let (Some(wish), Some(span)) = (wish, span) {
            return self.apply_backfill((id, wish), span, result, now);
        }
        match (purpose, span) {
            (RestPurpose::Gap | RestPurpose::Late, Some(span)) => {
                self.apply_missing(id, span, result, now)
            }
            (RestPurpose::Verify, Some(span)) => self.apply_verification(id, span, result, now),
            (RestPurpose::Clock, _) => {
                // Reading the answer sets the clock; nothing else is wanted from it.
                let _rows = self.read_rows(id, result, now);
            }
            (RestPurpose::Name, _) => self.apply_name(id, &result, now),
            (_, _) => self.finish_check(id, offset_ms, &result, now),
        }
    }
}

/// Rows that an answer may have in addition to those of the requested windows. Source: the
/// additional rows around them, and both rows of a symbol check.
const ROWS_BESIDE: usize = 20;

/// Pause before a request is tried again that found no room or slack. Source: chosen.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// An answer that has not arrived after this time counts as lost: the ops core gave it up long
/// before. Source: twice the largest sensible `CONNECTOR_REST_TIMEOUT`.
const ANSWER_LOST: Duration = Duration::from_secs(60);
