//! What the exchanges list, as far as it is known: halted symbols are refused, unknown ones doubted
//! or refused, misspelt ones explained. Owns when the lists are asked for. Without a list everything
//! works; the exchange then has the only word.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::limits::{INSTRUMENTS_MAX, LIST_PARTS_MAX, LIST_PATIENCE};
use crate::market::{Instrument, InstrumentId, Listed, Market, SymbolList, spelled};
use crate::messages::{About, EventName, FeedEvent};
use crate::text;
use crate::venue;

use crate::feed::session::placement::{Admission, Rejection};
use crate::feed::stream::{Check, ContractSize, Stream};
use crate::feed::{Feed, Output};

/// The lists of all markets.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    /// By [`Market::index`].
    markets: [Listing; Market::COUNT],
}

#[derive(Debug)]
struct Listing {
    list: Option<Arc<SymbolList>>,
    /// When it is to be asked for, or, while it was, when the answer is taken for lost.
    /// The end of time while nobody wants anything of this market.
    next_at: MonoNs,
    is_asked: bool,
    /// Whether it was once not to be had, and nothing has to wait for it any longer.
    has_failed: bool,
    /// Instruments that are not to be subscribed before the list is there, or their part of it.
    waiting: Vec<InstrumentId>,
    /// When they are tried unseen, though the answer is still to come. The end of time where none
    /// waits, or where the exchange drops a session that names what it does not know.
    unseen_at: MonoNs,
    /// The parts of the list that are wanted, and how many of them, the first, were asked for last.
    parts: Vec<String>,
    parts_asked: usize,
    /// What the exchange has refused, with its words: told when the list can say what was meant.
    refused: Vec<(InstrumentId, String)>,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            list: None,
            next_at: MonoNs(u64::MAX),
            is_asked: false,
            has_failed: false,
            waiting: Vec::new(),
            unseen_at: MonoNs(u64::MAX),
            parts: Vec::new(),
            parts_asked: 0,
            refused: Vec::new(),
        }
    }
}

impl Listing {
    /// Wants a part of the list. Returns whether its answer is still to come.
    fn want_part(&mut self, part: &str) -> bool {
        match self.parts.iter().position(|wanted| wanted == part) {
            Some(at) => at >= self.parts_asked || self.is_asked,
            None if self.parts.len() >= LIST_PARTS_MAX => false,
            None => {
                self.parts.push(part.to_owned());
                true
            }
        }
    }
}

impl Listing {
    /// Says how much a contract of `stream` is, as far as that is needed and known.
    fn size(&self, stream: &mut Stream) {
        let Instrument { market, ref symbol, .. } = stream.instrument;
        if !venue::needs_contract_size(market) {
            return;
        }
        let listed = self.list.as_deref().map(|list| list.find(symbol));
        stream.contract_size = match (listed, stream.contract_size) {
            (Some(Some(Listed { contract_size: Some(size), .. })), _) => ContractSize::Known(*size),
            (_, known @ ContractSize::Known(_)) => known,
            (None, _) if !self.has_failed => ContractSize::Awaited,
            _ => ContractSize::Unknown,
        };
    }
}

impl Listings {
    /// When [`Feed::ask_lists`] has something to do.
    pub(crate) fn deadline(&self) -> Option<MonoNs> {
        let due = self.markets.iter().map(|listing| listing.next_at.min(listing.unseen_at)).min();
        due.filter(|&due| due < MonoNs(u64::MAX))
    }

    /// Returns whether there is a list, and it shows that there is no `symbol`.
    pub(crate) fn lacks(&self, market: Market, symbol: &str) -> bool {
        let list = self.markets[market.index()].list.as_deref();
        let part = venue::list_part(market, symbol);
        list.is_some_and(|list| list.lacks(symbol, part))
    }

    /// `; did you mean …?`, if another contract type has `symbol`, or something near it is listed.
    pub(crate) fn hint(&self, market: Market, symbol: &str) -> String {
        let list = |of: Market| self.markets[of.index()].list.as_deref();
        let has = |of: &Market| list(*of).is_some_and(|list| list.find(symbol).is_some());
        let listed = Market::of(market.venue()).find(|of| *of != market && has(of));
        if let Some(of) = listed.or_else(|| spelled::contract_type(market, symbol)) {
            return format!("; did you mean \"contract_type\":\"{}\"?", of.contract_type().name());
        }
        list(market).map_or(String::new(), |list| list.did_you_mean(symbol))
    }
}

impl Feed {
    /// Rejects `id` for the exchange's `words`, once the list is there or known not to come, so that
    /// the error can name what may have been meant.
    pub(crate) fn reject_unknown(&mut self, id: InstrumentId, words: &str, now: MonoNs) {
        let Some(stream) = self.streams.stream(id) else { return };
        let listing = &mut self.listings.markets[stream.instrument.market.index()];
        if listing.list.is_none() && listing.is_asked && !listing.has_failed {
            listing.refused.push((id, words.to_owned()));
        } else {
            self.reject(id, &Rejection::Unknown(words), now);
        }
    }

    /// Asks for the lists that are due.
    pub(crate) fn ask_lists(&mut self, now: MonoNs) {
        if self.is_stopping || self.listings.deadline().is_none_or(|due| due > now) {
            return;
        }
        for market in Market::all() {
            let listing = &mut self.listings.markets[market.index()];
            if listing.unseen_at <= now {
                self.place_waiting(market, now);
            }
            let listing = &mut self.listings.markets[market.index()];
            if listing.next_at > now {
                continue;
            }
            if std::mem::take(&mut listing.is_asked) {
                self.take_list(market, Err("no answer came".to_owned()), now);
            } else {
                (listing.is_asked, listing.next_at) = (true, now.after(ANSWER_LOST));
                let parts = listing.parts.clone();
                listing.parts_asked = parts.len();
                self.outputs.push_back(Output::List { market, parts });
            }
        }
    }

    pub(crate) fn take_list(
        &mut self,
        market: Market,
        result: Result<Arc<SymbolList>, String>,
        now: MonoNs,
    ) {
        let listing = &mut self.listings.markets[market.index()];
        listing.is_asked = false;
        let refused = std::mem::take(&mut listing.refused);
        match result {
            Ok(list) if !list.is_empty() => {
                let is_unread = listing.parts.iter().any(|part| list.is_unread(part));
                let life = if list.is_cut() || is_unread { RETRY } else { FRESH };
                (listing.list, listing.next_at) = (Some(list), now.after(life));
                self.judge_silent_by_list(market, now);
                self.note_listings(market, now);
            }
            result => {
                listing.next_at = now.after(RETRY);
                let is_first = !std::mem::replace(&mut listing.has_failed, true);
                let why = result.err().unwrap_or_else(|| "it is empty".to_owned());
                if is_first && listing.list.is_none() {
                    let text = format!("no list of instruments: {why}; symbols are tried unseen");
                    self.notice(EventName::ListMissing, market, text);
                }
            }
        }
        let listing = &self.listings.markets[market.index()];
        for stream in self.streams.wanted().filter(|stream| stream.instrument.market == market) {
            if stream.contract_size == ContractSize::Awaited {
                self.urgent.push(stream.id);
            }
            listing.size(stream);
        }
        for (id, words) in refused {
            if self.streams.stream(id).is_some_and(|stream| stream.is_wanted) {
                self.reject(id, &Rejection::Unknown(&words), now);
            }
        }
        self.place_waiting(market, now);
    }

    /// What waited for the list goes on with it, or without it.
    fn place_waiting(&mut self, market: Market, now: MonoNs) {
        let listing = &mut self.listings.markets[market.index()];
        let is_unseen = listing.unseen_at <= now;
        listing.unseen_at = MonoNs(u64::MAX);
        for id in std::mem::take(&mut listing.waiting) {
            let Some(stream) = self.streams.stream(id).filter(|stream| stream.is_wanted) else {
                continue;
            };
            let symbol = stream.instrument.symbol.clone();
            let is_admitted =
                is_unseen || matches!(self.admit_listed(id, market, &symbol, now), Admission::Now);
            if is_admitted && self.carrier(id).is_none() {
                self.place(id, market, now);
            }
        }
    }

    /// What the list says about a new subscription. Rejects it where it is known to be vain.
    pub(crate) fn admit_listed(
        &mut self,
        id: InstrumentId,
        market: Market,
        symbol: &str,
        now: MonoNs,
    ) -> Admission {
        let is_unseen = self.listings.markets[market.index()].list.is_none();
        let may_wait =
            is_unseen && (venue::drops_unknown(market) || !self.has_place_unseen(market, now));
        let listing = &mut self.listings.markets[market.index()];
        if listing.next_at == MonoNs(u64::MAX) {
            listing.next_at = now;
        }
        self.streams.stream_mut(id).into_iter().for_each(|stream| listing.size(stream));
        let part = venue::list_part(market, symbol);
        let is_first_ask = part.is_some_and(|part| listing.want_part(part));
        let Some(list) = listing.list.clone() else {
            if may_wait && !listing.has_failed {
                let streams = &self.streams;
                if !venue::drops_unknown(market) {
                    listing.unseen_at = listing.unseen_at.min(now.after(UNSEEN_PATIENCE));
                }
                if listing.waiting.len() >= INSTRUMENTS_MAX {
                    // Those that left meanwhile make room.
                    listing
                        .waiting
                        .retain(|&id| streams.stream(id).is_some_and(|one| one.is_wanted));
                }
                listing.waiting.push(id);
                return Admission::Later;
            }
            return Admission::Now;
        };
        match list.find(symbol) {
            Some(listed) => match &listed.halted {
                None => Admission::Now,
                Some(state) => {
                    self.reject(id, &Rejection::Halted(state), now);
                    Admission::Rejected
                }
            },
            None if !venue::drops_unknown(market) => Admission::Now,
            None if list.lacks(symbol, part) => {
                self.reject(id, &Rejection::Unknown(""), now);
                Admission::Rejected
            }
            None if is_first_ask => {
                // The part that would have it is not read yet.
                if !listing.is_asked {
                    listing.next_at = now;
                }
                listing.waiting.push(id);
                Admission::Later
            }
            None => Admission::Now,
        }
    }

    /// How long an acknowledged stream may stay silent before REST is asked whether its symbol
    /// exists: not at all if it is not listed.
    pub(crate) fn patience_with(&self, market: Market, symbol: &str) -> Duration {
        match self.listings.lacks(market, symbol) {
            true => Duration::ZERO,
            false => self.config.stream_idle_timeout,
        }
    }

    /// A list has come: of what delivers and does not trade by the list, or does again, clients and
    /// log are told once. The stream is the better witness.
    fn note_listings(&mut self, market: Market, now: MonoNs) {
        let Some(list) = self.listings.markets[market.index()].list.clone() else { return };
        let mut changes = Vec::new();
        let here = |stream: &&mut Stream| {
            stream.instrument.market == market && delivers_lately(stream, now)
        };
        for stream in self.streams.wanted().filter(here) {
            let symbol = &stream.instrument.symbol;
            let state = match list.find(symbol) {
                Some(listed) => listed.halted.as_ref().map(|state| format!("lists it as {state}")),
                None if !list.lacks(symbol, venue::list_part(market, symbol)) => continue,
                None => Some("does not list it".to_owned()),
            };
            if stream.unlisted_as == state {
                continue;
            }
            let message = match &state {
                Some(state) => format!("{symbol} delivers, but {market} {state}: candles go on"),
                None => format!("{market} lists {symbol} as trading again"),
            };
            stream.unlisted_as = state;
            changes.push((stream.id, About::from(&stream.instrument), message));
        }
        for (instrument, about, message) in changes {
            let message = text::visible(&message).into_owned();
            self.notice(EventName::ListingChanged, about, message.clone());
            let event = FeedEvent::ListingChanged { instrument, market, message };
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// A list has come: what was subscribed before and has not delivered is judged by it.
    fn judge_silent_by_list(&mut self, market: Market, now: MonoNs) {
        let here = |stream: &&mut Stream| {
            stream.instrument.market == market && !delivers_lately(stream, now)
        };
        let silent = self.streams.wanted().filter(here);
        let silent: Vec<_> = silent
            .map(|stream| (stream.id, stream.instrument.symbol.clone(), stream.check))
            .collect();
        for (id, symbol, check) in silent {
            let is_waiting = self.carrier(id).is_none();
            if is_waiting || !matches!(self.admit_listed(id, market, &symbol, now), Admission::Now)
            {
                continue;
            }
            if let Check::Due { shown, .. } = check {
                let at = now.after(self.patience_with(market, &symbol));
                self.bring_forward(id, at, shown);
            }
        }
    }
}

/// Returns whether a stream delivers, or did until shortly before: its session may be lost.
fn delivers_lately(stream: &Stream, now: MonoNs) -> bool {
    let last = stream.message_rate.last();
    stream.is_delivering || last.is_some_and(|at| at.after(LATELY) > now)
}

/// What delivered this long ago is believed to go on, whatever the list says.
/// Source: no backoff and no silence that a check finds is longer.
const LATELY: Duration = Duration::from_secs(600);

/// A list is asked for anew after this long. Source: exchanges announce listings a day ahead.
const FRESH: Duration = Duration::from_secs(3600);

/// Names that do not fit on a market's first session wait for its list for this long. Source: the
/// longest list, 17 MB, at 30 Mbit/s.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(5);

/// A list that was not to be had is asked for again after this long.
const RETRY: Duration = Duration::from_secs(60);

/// A list that has not come by then never will.
const ANSWER_LOST: Duration = Duration::from_secs(120);
const _: () = assert!(ANSWER_LOST.as_secs() > LIST_PATIENCE.as_secs());
